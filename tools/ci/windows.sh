#!/usr/bin/env bash
# Windows: cross-built with mingw-w64; nothing runs.
source "$(dirname "$(realpath "$0")")/lib.bash"
build=$builds/windows
if ! command -v x86_64-w64-mingw32-gcc >/dev/null; then
    skip "windows" "no x86_64-w64-mingw32-gcc: tools/setup --tests"
    finish
fi
# The Vulkan headers alone, without the C library's that lie beside them.
headers=$builds/vulkan-headers
mkdir -p "$headers"
ln -sfn /usr/include/vulkan "$headers/vulkan"
ln -sfn /usr/include/vk_video "$headers/vk_video"

exports() {
    local names
    names=$(x86_64-w64-mingw32-objdump -p "$build/src/librapt-0.dll" |
        awk '/^\[Ordinal\/Name Pointer\] Table/ { on = 1; next } on && /^$/ { exit } on { print $NF }')
    grep -q '^rapt_runtime_create$' <<<"$names"
    ! grep -v '^rapt_' <<<"$names"
    ! x86_64-w64-mingw32-objdump -p "$build/src/librapt-0.dll" | grep -iE 'DLL Name: .*(vulkan|stdc)'
}

need "build" build "$build" --cross-file "$root/tools/cross/x86_64-windows.ini" -Dvulkan_headers="$headers" \
    -Dcompiler=disabled
check "exports and imports of the DLL" exports || true
finish
