#!/usr/bin/env bash
# Everything compiled by clang with the address and undefined-behaviour sanitizers.
source "$(dirname "$(realpath "$0")")/lib.bash"
build=$builds/sanitize
export CC=clang CXX=clang++
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export RAPT_CI_PATIENCE=5
need "build" build "$build" -Db_sanitize=address,undefined -Db_lundef=false -Dbench=false \
    -Dc_args=-fno-sanitize-recover=undefined -Dcompiler=enabled \
    "-Dcpp_args=-fno-sanitize-recover=undefined -fno-sanitize=vptr,function"
meson_tests "ASan+UBSan, unit" "$build" --suite unit --timeout-multiplier 5
# On a device, the C++ of validation layers and drivers is in the process too; librapt has none.
export LSAN_OPTIONS=suppressions=$root/tools/ci/leaks-device.supp:print_suppressions=0
few 1 # as this machine's device: its kernels are compiled by now
export RAPT_TEST_NO_BENCH=1 # lavapipe's working sets of the gauges take gigabytes
allocator=
narrow device_suite "ASan+UBSan, device" "$build"
narrow rapt_check "ASan+UBSan, device" "$build" "1/2 2/2" "--filter exact-f32"
finish
