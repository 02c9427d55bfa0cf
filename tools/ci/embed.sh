#!/usr/bin/env bash
# An app with its own VkDevice, built against an install prefix and as a Meson subproject.
source "$(dirname "$(realpath "$0")")/lib.bash"
prefix=$builds/prefix
rm -rf "$prefix" "$builds/moved"
need "build" build_native
need "install" meson install -C "$builds/native" --no-rebuild
mv "$prefix" "$builds/moved" # packages find themselves wherever they are
for way in pkg-config pkg-config-static cmake cmake-static meson; do
    check "embed through $way" tests/embed/run "$way" "$builds/moved" "$builds/embed" || true
done
check "the installed tool runs" "$builds/moved/bin/rapt" --version || true
finish
