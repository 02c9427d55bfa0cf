#!/usr/bin/env bash
# SwiftShader: a software device by other people, slow, with few optional capabilities and small limits.
source "$(dirname "$(realpath "$0")")/lib.bash"
icd=/usr/lib/chromium/vk_swiftshader_icd.json
if [[ ! -r $icd ]]; then
    skip "SwiftShader" "no $icd (package chromium-common)"
    finish
fi
need "build" build_native
export VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd RAPT_CI_PATIENCE=5
export RAPT_TEST_NO_BENCH=1 RAPT_TEST_USER_CASES=1 RAPT_TEST_FEW=1 # what depends on the driver is in the rest
device_tests "SwiftShader" "$builds/native" "--quick --chosen --caps=" # as it is: it has little to take away
finish
