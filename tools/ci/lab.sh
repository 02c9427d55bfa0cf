#!/usr/bin/env bash
# The lab's cheap part: its own unit tests, and what six vendors' compilers make of the default rows at head_dim 64 and
# 128 in f32 and f16: no spills, and the gates of tools/lab/gpus.py.
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
    check "$gpu: no spills, gates hold" python3 tools/lab/report.py "$builds/lab-kernels/kernels.json" --gpu "$gpu" \
        --rows='-(f32|f16)-d(64|128)(-|$)' --markdown "$logs/$name.md" || true
done
finish
