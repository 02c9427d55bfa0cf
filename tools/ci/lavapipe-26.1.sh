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
few
on=("$root/tools/ci/on-device" lvp)
device_suite "lavapipe 26.1" "$builds/lab" "${on[@]}"
# LLVM 19 takes a third of the time: here are all cases, of the list and composed at random.
rapt_check "lavapipe 26.1" "$builds/lab" "1/2 2/2" --quick "${on[@]}"
random_cases "lavapipe 26.1" "$builds/lab" 5000 "${on[@]}"
finish
