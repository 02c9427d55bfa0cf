# Sourced by every lane: steps, counts, logs. A lane also runs alone: tools/ci/rules.sh
# shellcheck shell=bash
set -euo pipefail

root=$(dirname "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")")
lane=$(basename "$0" .sh)
builds=${RAPT_CI_BUILDS:-$root/build-ci}
logs=$builds/logs/$lane
results=${RAPT_CI_RESULTS:-$builds/logs/$lane.results}
lab=${RAPT_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/rapt/lab}
rm -rf "$logs"
mkdir -p "$logs"
[[ -n ${RAPT_CI_RESULTS:-} ]] || : >"$results"
cd "$root"

# Nothing of this machine's settings: no caches of earlier runs, no chosen devices.
for variable in $(compgen -e RAPT_ | grep -vE '^RAPT_(CI_|LAB)'); do
    unset "$variable"
done
unset VK_ICD_FILENAMES VK_DRIVER_FILES VK_ADD_DRIVER_FILES VK_INSTANCE_LAYERS VK_LAYER_PATH variable
export RAPT_CACHE_DIR=$builds/cache/$lane TMPDIR=$builds/tmp/$lane
# Mesa's own cache is new for each run, of one lane or of all: what one test made a driver compile, the next one has.
export MESA_SHADER_CACHE_DIR=$builds/cache/mesa
unset MESA_SHADER_CACHE_DISABLE
# Nearly all the time on a software device is LLVM's: lavapipe's kernels are not optimised, unless as_users_have_it
# or with tools/test --long.
unset GALLIVM_PERF
[[ -n ${RAPT_CI_LONG:-} ]] || export GALLIVM_PERF=nopt
unset LP_NATIVE_VECTOR_WIDTH
# A quarter of LLVM's time is malloc and free: a fifth less with this one. Not under sanitizers, which have their own.
allocator=$(find /usr/lib -name libjemalloc.so.2 2>/dev/null | head -n 1)
rm -rf "$RAPT_CACHE_DIR" "$TMPDIR"
[[ -n ${RAPT_CI_RESULTS:-} ]] || rm -rf "$MESA_SHADER_CACHE_DIR"
mkdir -p "$TMPDIR" "$MESA_SHADER_CACHE_DIR"
export RAPT_SPIRV_CACHE=$builds/spirv # of the builds: what one lane compiled, the others take

record() { # pass|fail|skip NAME SECONDS [WHY]
    printf '%s\t%s\t%s\n' "$1" "$lane" "$2" >>"$results"
    printf '  %-4s  %-52s %4s s%s\n' "$1" "$2" "$3" "${4:+  ($4)}"
}

skip() { # NAME WHY
    record skip "$1" 0 "$2"
}

# Runs a command as one test; its output goes to a log, the end of which is shown when it fails. A status of 77 is a
# skipped test, with the last line as the reason. RAPT_CI_LIMIT seconds at most (15 minutes).
check() { # NAME COMMAND...
    local name=$1 log start=$SECONDS status=0
    shift
    log=$logs/$(tr -c 'A-Za-z0-9.\n' '-' <<<"$name").log
    if [[ $(type -t "$1") == function ]]; then
        (set -euo pipefail; "$@") >"$log" 2>&1 </dev/null || status=$?
    else
        timeout -k 10 "${RAPT_CI_LIMIT:-900}" "$@" >"$log" 2>&1 </dev/null || status=$?
    fi
    case $status in
    0) record pass "$name" $((SECONDS - start)) ;;
    77) record skip "$name" $((SECONDS - start)) "$(tail -n 1 "$log")" ;;
    *)
        record fail "$name" $((SECONDS - start)) "status $status, $log"
        tail -n 25 "$log" | sed 's/^/      | /'
        return 1
        ;;
    esac
}

# A step that the rest of the lane needs: when it fails, the lane ends.
need() { # NAME COMMAND...
    check "$@" || finish
}

# Runs Meson's tests of a build folder and counts each one.
meson_tests() { # NAME BUILD [MESON ARGUMENT]...
    local name=$1 build=$2 base
    shift 2
    base=$(tr -c 'A-Za-z0-9.\n' '-' <<<"$name")
    rm -f "$build/meson-logs/$base"*.json
    meson test -C "$build" --no-rebuild --logbase "$base" --print-errorlogs "$@" >"$logs/$base.log" 2>&1 </dev/null ||
        true # the log says which
    local json # a wrapper's name becomes part of the file's
    json=$(find "$build/meson-logs" -name "$base*.json" | head -n 1)
    if [[ ! -s $json ]]; then
        record fail "$name: meson test" 0 "$logs/$base.log"
        tail -n 25 "$logs/$base.log" | sed 's/^/      | /'
        return
    fi
    local result test seconds
    while IFS=$'\t' read -r result test seconds; do
        record "$result" "$name: $test" "$seconds" "$([[ $result != fail ]] || echo "${json%.json}.txt")"
    done < <(python3 - "$json" <<'PYTHON'
import json, sys
for line in open(sys.argv[1]):
    t = json.loads(line)
    result = {"OK": "pass", "EXPECTEDFAIL": "pass", "SKIP": "skip"}.get(t["result"], "fail")
    print(result, t["name"].split(" / ")[-1], round(t["duration"]), sep="\t")
PYTHON
    )
}

# A build folder with these options, made anew when they are others than before; then builds it.
build() { # FOLDER OPTION...
    local folder=$1 stamp
    shift
    stamp=$(printf '%q ' "$@")
    if [[ ! -e $folder/build.ninja || $(cat "$folder/ci-options" 2>/dev/null) != "$stamp" ]]; then
        rm -rf "$folder"
        meson setup "$folder" -Dwerror=true "$@"
        echo "$stamp" >"$folder/ci-options"
    fi
    ninja -C "$folder"
}

# The plain build, shared by several lanes.
build_native() {
    build "$builds/native" --prefix="$builds/prefix" -Dcompiler=enabled
}

# Options that take GLSL compiler, validator and optimizer from the lab: they know cooperative matrices.
lab_toolchain() {
    local tool
    for tool in glslang:glslang spirv_val:spirv-val spirv_opt:spirv-opt; do
        printf '%s\n' "-D${tool%%:*}=$root/tools/lab/run-on,tool,${tool##*:}"
    done
}

# Before a command: lavapipe's compiler as it comes.
as_users_have_it=(env -u GALLIVM_PERF)

# A command with lavapipe's vectors of half the width: half the code to compile, and a device with subgroups of 4. What Mesa keeps is
# not told apart by width. With tools/test --long, as wide as they are.
narrow() { # COMMAND...
    if [[ -n ${RAPT_CI_LONG:-} ]]; then
        "$@"
    else
        mkdir -p "$builds/cache/mesa-narrow"
        LP_NATIVE_VECTOR_WIDTH=128 MESA_SHADER_CACHE_DIR=$builds/cache/mesa-narrow "$@"
    fi
}

# A quarter of the longest lists of cases, the Kth: lavapipe 26.1, whose LLVM takes a third of the time, runs them all, and
# each other software device a part of them. Not with tools/test --long.
few() { # K
    [[ -n ${RAPT_CI_LONG:-} ]] || export RAPT_TEST_FEW=$1 RAPT_TEST_USER_CASES=1
}

# Leaves out suites of tests that are about the same on every driver: the tool as a black box, what librapt does with any driver. Not with
# tools/test --long.
left_out=()
without() { # SUITE...
    local suite
    [[ -z ${RAPT_CI_LONG:-} ]] || return 0
    for suite in "$@"; do
        left_out+=(--no-suite "$suite")
    done
}

# Meson's 'device' suite. The wrapper, a command or nothing, starts programs on the device.
device_suite() { # NAME BUILD [WRAPPER...]
    local name=$1 build=$2 wrapper
    shift 2
    wrapper=$*
    LD_PRELOAD=$allocator meson_tests "$name" "$build" --suite device "${left_out[@]}" --timeout-multiplier "${RAPT_CI_PATIENCE:-1}" \
        ${wrapper:+--wrapper "$wrapper"}
}

# Parts of the tool's own checks, side by side: most of it is the driver's compiler, on one core. All with tools/test --long.
rapt_check() { # NAME BUILD "PART PART" CHECK_OPTIONS [WRAPPER...]
    local name=$1 build=$2 part
    local -a parts options
    read -ra parts <<<"$3"
    read -ra options <<<"$4"
    shift 4
    [[ -z ${RAPT_CI_LONG:-} ]] || parts=(1/2 2/2)
    for part in "${parts[@]}"; do
        LD_PRELOAD=$allocator check "$name: rapt check, part $part" "$@" "$build/tools/rapt/rapt" check --part "$part" "${options[@]}" &
    done
    wait
}

# Cases composed at random, in two parts side by side.
random_cases() { # NAME BUILD COUNT [WRAPPER...]
    local name=$1 build=$2 count=$3 part
    shift 3
    for part in 1/2 2/2; do
        LD_PRELOAD=$allocator check "$name: $count random cases, part $part" "$@" "$build/tools/rapt/rapt" check --random "$count" --part "$part" &
    done
    wait
}

finish() {
    rm -rf "$TMPDIR"
    if [[ -z ${RAPT_CI_RESULTS:-} ]]; then
        "$root/tools/ci/count" "$results" || exit 1
    fi
    exit 0
}
