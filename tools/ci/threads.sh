#!/usr/bin/env bash
# The tests that use threads (caches, compiler, queues), under the thread sanitizer.
source "$(dirname "$(realpath "$0")")/lib.bash"
build=$builds/threads
export CC=clang CXX=clang++
export TSAN_OPTIONS=suppressions=$root/tools/ci/races.supp:halt_on_error=0:exitcode=66:ignore_noninstrumented_modules=1
need "build" build "$build" -Db_sanitize=thread -Db_lundef=false -Dbench=false -Dcompiler=enabled
narrow meson_tests "TSan" "$build" --suite threads --timeout-multiplier 5
finish
