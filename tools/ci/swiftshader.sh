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
few 3
without tool library
device_suite "SwiftShader" "$builds/native"
rapt_check "SwiftShader" "$builds/native" "3/8 7/8" "--quick --chosen --caps=" # as it is: it has little to take away
finish
