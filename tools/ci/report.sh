#!/usr/bin/env bash
# The report: its unit tests, its page of sample data in a real browser, and a report of this machine's device and one of SwiftShader,
# both left in build-ci/report, looked at in the browser too.
source "$(dirname "$(realpath "$0")")/lib.bash"
reports=$builds/report
icd=/usr/lib/chromium/vk_swiftshader_icd.json
rm -rf "$reports"
mkdir -p "$reports"

# Few and small cases: SwiftShader is slow.
cases=B1H8D64N128f32,B1H8D64N256f32,B1H8D64N256f32c,B1H8K2D128Q1N1024f32

bench() { # NAME OPTION...
    local name=$1
    shift
    "${as_users_have_it[@]}" "$builds/native/tools/rapt/rapt" bench quick --json "$reports/$name.json" --csv "$reports/$name.csv" --html "$reports/$name.html" "$@"
    [[ -s $reports/$name.html ]]
}

swiftshader() {
    export VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd
    bench swiftshader --case "$cases" --seconds 0.5
}

both() { # side by side, and the picture
    tools/report/report.py "${made[@]/%/.json}" -o "$reports/side-by-side.html" --picture "$reports/report.svg"
}

browser() { # PAGE...
    tools/report/test_browser.py --pictures "$reports/pictures" "$@"
}

check "unit tests" python3 -m unittest discover -s tools/report &
check "sample data in a browser" tools/report/test_browser.py || true
wait
need "build" build_native
made=()
! check "report of this machine's device" bench device || made+=("$reports/device")
if [[ -r $icd ]]; then
    ! check "report of SwiftShader" swiftshader || made+=("$reports/swiftshader")
else
    skip "report of SwiftShader" "no $icd (package chromium-common)"
fi
if ((${#made[@]} > 0)); then
    check "side by side" both || true
    check "the reports in a browser" browser "${made[@]/%/.html}" "$reports/side-by-side.html" || true
fi
finish
