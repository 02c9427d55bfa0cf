#!/usr/bin/env bash
# The lab's newest lavapipe, with kernels compiled by the lab's glslang: cooperative matrices included.
source "$(dirname "$(realpath "$0")")/lib.bash"
if [[ ! -x $lab/amd64/usr/bin/glslang ]]; then
    skip "lavapipe 26.1" "no toolchain in $lab/amd64: tools/lab/fetch-drivers amd64 --with toolchain"
    finish
fi
mapfile -t toolchain < <(lab_toolchain)

nothing_dropped() {
    grep -q 'rows this toolchain cannot compile *: none' "$logs/build.log" "$builds/lab/meson-logs/meson-log.txt"
}

need "build" build "$builds/lab" -Dcompiler=enabled "${toolchain[@]}"
check "no row drops out of the table" nothing_dropped || true
meson_tests unit "$builds/lab" --suite unit
on=("$root/tools/ci/on-device" lvp)
device_suite "lavapipe 26.1" "$builds/lab" "${on[@]}"
# LLVM 19 takes a third of the time: here are all cases, of the list and composed at random.
rapt_check "lavapipe 26.1" "$builds/lab" "1/2 2/2" --quick "${on[@]}"
random_cases "lavapipe 26.1" "$builds/lab" 5000 "${on[@]}"
rapt=("${on[@]}" "$builds/lab/tools/rapt/rapt")
# Rows for GPUs, whose subgroups are wide: here of 8, and with vectors of 512 bits of 16.
check "stream-l8-f32-d64-r1" "${rapt[@]}" check --kernel stream-l8-f32-d64-r1 --part 1/4 &
mkdir -p "$builds/cache/mesa-wide"
check "stream-f16-d64-r4" env LP_NATIVE_VECTOR_WIDTH=512 MESA_SHADER_CACHE_DIR="$builds/cache/mesa-wide" \
    "${rapt[@]}" check --kernel stream-f16-d64-r4 --part 1/4 &
check "stream-quantised-f16-d128-r4" env LP_NATIVE_VECTOR_WIDTH=512 MESA_SHADER_CACHE_DIR="$builds/cache/mesa-wide" \
    "${rapt[@]}" check --kernel stream-quantised-f16-d128-r4 --case B1H4K1D128Q1N4096f16p16qint8int4 &
wait
check "every case a hundred times, bit for bit" "${rapt[@]}" check --chosen --caps "" --repeat 100 || true
finish
