#!/usr/bin/env bash
# libFuzzer on every parser, on capability masks, cache files and descriptors of attention and memories: RAPT_CI_FUZZ seconds each (20),
# from seeds that are written here and from what earlier runs found, under ASan and UBSan.
source "$(dirname "$(realpath "$0")")/lib.bash"
build=$builds/fuzz
corpus=$builds/fuzz-corpus
targets=(plan memory caps store snippet npy safetensors)
export CC=clang CXX=clang++
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1

# An input that breaks something is kept among the logs; the log ends with its base64.
fuzz() { # TARGET
    local folder=$corpus/$1
    mkdir -p "$folder" "$logs/artifacts"
    timeout -k 10 300 "$build/tests/fuzz/$1_fuzz" -max_total_time="${RAPT_CI_FUZZ:-20}" -timeout=10 -rss_limit_mb=1024 \
        -max_len=4096 -len_control=0 -print_final_stats=1 -error_exitcode=1 -artifact_prefix="$logs/artifacts/$1-" "$folder" "$seeds/$1"
}

fuzz_and_keep() { # TARGET: the status goes to a file, since these run side by side
    local status=0
    fuzz "$1" >"$logs/fuzz-$1.log" 2>&1 </dev/null || status=$?
    echo "$status" >"$logs/fuzz-$1.status"
}

outcome() { # TARGET
    cat "$logs/fuzz-$1.log"
    grep '^Done [1-9][0-9]* runs' "$logs/fuzz-$1.log" # else the end of the log says why
    return "$(cat "$logs/fuzz-$1.status")"
}

need "build" build "$build" -Dfuzz=true -Db_lundef=false -Dbench=false -Dcompiler=disabled
seeds=$TMPDIR/seeds
python3 tests/fuzz/seeds.py "$seeds"
for target in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do
        wait -n
    done
    fuzz_and_keep "$target" &
done
wait
for target in "${targets[@]}"; do
    check "fuzz $target" outcome "$target" || true
done
finish
