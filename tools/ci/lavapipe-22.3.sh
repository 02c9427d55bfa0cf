#!/usr/bin/env bash
# Debian 12's own lavapipe, from the lab's folder: an old Mesa, where most optional capabilities are missing.
source "$(dirname "$(realpath "$0")")/lib.bash"
if [[ ! -d $lab/bookworm/usr ]]; then
    skip "lavapipe 22.3" "no $lab/bookworm: tools/lab/fetch-drivers bookworm"
    finish
fi
need "build" build_native
narrow_vectors
export RAPT_TEST_NO_BENCH=1 RAPT_TEST_USER_CASES=1 RAPT_TEST_FEW=1 # what depends on the driver is in the rest
device_tests "lavapipe 22.3" "$builds/native" "--quick --chosen" "$root/tools/ci/on-device" lvp:bookworm
finish
