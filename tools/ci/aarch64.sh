#!/usr/bin/env bash
# ARM64 Linux: cross-built, unit tests under qemu.
source "$(dirname "$(realpath "$0")")/lib.bash"
build=$builds/aarch64
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64-static >/dev/null; then
    skip "aarch64" "no aarch64-linux-gnu-gcc or no qemu-aarch64-static: tools/setup --tests"
    finish
fi
need "build" build "$build" --cross-file "$root/tools/cross/aarch64-linux.ini" -Dcompiler=disabled -Dbench=false
meson_tests "qemu" "$build" --suite unit --timeout-multiplier 10
finish
