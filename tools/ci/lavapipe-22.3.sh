#!/usr/bin/env bash
# Debian 12's own lavapipe, from the lab's folder: an old Mesa, where most optional capabilities are missing.
source "$(dirname "$(realpath "$0")")/lib.bash"
if [[ ! -d $lab/bookworm/usr ]]; then
    skip "lavapipe 22.3" "no $lab/bookworm: tools/lab/fetch-drivers bookworm"
    finish
fi
need "build" build_native
few 2
without tool library
on=("$root/tools/ci/on-device" lvp:bookworm)
narrow device_suite "lavapipe 22.3" "$builds/native" "${on[@]}"
narrow rapt_check "lavapipe 22.3" "$builds/native" "2/8 6/8" "--quick --chosen" "${on[@]}"
finish
