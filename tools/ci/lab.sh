#!/usr/bin/env bash
# The lab's cheap part: its own unit tests, and what five vendors' compilers make of the default rows: no spills, the
# gates of tools/lab/gpus.py, and no figure worse than in tools/lab/baseline.json, where the driver is the version it was
# made with. What the compilers answered is kept in the build folder: only kernels that have changed are compiled again.
source "$(dirname "$(realpath "$0")")/lib.bash"

kernels() { # compiles the kernel table as the build does, without building librapt
    local run_on=$root/tools/lab/run-on
    python3 src/kernel/generate.py --shaders shaders --caps include/rapt/caps.h \
        --glslang "$run_on;tool;glslang" --spirv-val "$run_on;tool;spirv-val" --spirv-opt "$run_on;tool;spirv-opt" \
        --cache "$builds/spirv" --output "$builds/lab-kernels/kernels_table.c" --manifest "$builds/lab-kernels/kernels.json"
}

check "unit tests" python3 -m unittest discover -s tools/lab || true
gpus=(radv:navi31 radv:polaris10 turnip:740 turnip:630 nvk:172 hk)
[[ ! -e $lab/intel/libintel_noop_drm_shim.so ]] || gpus+=(anv:dg2)
if [[ ! -x $lab/amd64/usr/bin/glslang || ! -e $lab/amd64/usr/lib/x86_64-linux-gnu/libamdgpu_noop_drm_shim.so ]]; then
    for gpu in "${gpus[@]}"; do
        skip "$gpu" "no drivers in $lab/amd64: tools/lab/fetch-drivers amd64 --with toolchain"
    done
    finish
fi
export RAPT_LAB=$lab
mkdir -p "$builds/lab-kernels"
need "pipestats" tools/lab/build-tools
need "kernels" kernels
for gpu in "${gpus[@]}"; do
    name=${gpu//:/-}
    check "$gpu: no spills, gates hold, none worse" python3 tools/lab/report.py "$builds/lab-kernels/kernels.json" \
        --gpu "$gpu" --against tools/lab/baseline.json --slack 5 --cache "$builds/lab-answers" \
        --markdown "$logs/$name.md" --json "$logs/$name.json" || true
    reason=$(sed -n 's/^report.py: not compared: //p' "$logs/$name--"*.log)
    [[ -z $reason ]] || skip "$gpu: baseline" "$reason"
done
finish
