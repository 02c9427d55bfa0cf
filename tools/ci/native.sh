#!/usr/bin/env bash
# The plain build, as the README has it: unit tests, what the library exports, the device of this machine.
source "$(dirname "$(realpath "$0")")/lib.bash"
build=$builds/native

idle() { # the build id alone is looked up every time
    ninja -C "$build" >"$logs/again.log"
    cat "$logs/again.log"
    ! grep -E 'Compiling|Linking|kernels_table' "$logs/again.log"
}

# Fails when `meson setup build && ninja -C build` as such warns of anything.
bare() {
    grep -E 'warning:|WARNING' "$logs/build.log" && return 1
    return 0
}

software() { # whether this machine has no other device
    "$build/tools/rapt/rapt" devices --json >"$TMPDIR/devices.json" && ! grep '"class"' "$TMPDIR/devices.json" | grep -qv '"software"'
}

python='' # of the environment, where it could be made
environment() { # without network there is none: what needs it says so
    local status=0
    timeout 300 tools/minilm/setup-venv || status=$?
    ((status != 3 && status != 124)) || { echo "no packages: no network?" && return 77; }
    return $status
}

need "build" build_native
check "build without warnings" bare || true
check "nothing is built twice" idle || true
check "symbols of librapt" tools/ci/check_symbols "$build/src/librapt.so.0" "$build/src/librapt_compiler.so.0" || true
check "the tool runs from the build folder" "$build/tools/rapt/rapt" --version || true
check "Python with numpy and the encoder's weights" environment || true
python=$(tools/minilm/setup-venv --existing 2>/dev/null) || true
check "the Python binding" env RAPT_BUILD="$build" python3 tools/minilm/test_minilm.py || true
check "a small language model decodes" env RAPT_BUILD="$build" python3 tools/gemma/test_gemma.py || true
check "the main job, with generated input" "${as_users_have_it[@]}" python3 tools/minilm/run.py --build "$build" --generated || true
[[ -z $python ]] || check "the main job, with a real encoder" "${as_users_have_it[@]}" "$python" tools/minilm/run.py --build "$build" || true
meson_tests unit "$build" --suite unit
meson_tests bench "$build" --suite bench
if software; then # lavapipe 26.1, whose LLVM takes a third of the time, has it all
    few 1
    without tool
    narrow device_suite "this machine's device" "$build"
    narrow rapt_check "this machine's device" "$build" "1/8 5/8" "--quick --chosen"
    narrow random_cases "this machine's device" "$build" 400
else
    device_suite "this machine's device" "$build"
    rapt_check "this machine's device" "$build" "1/2 2/2" --quick
    random_cases "this machine's device" "$build" 5000
    check "every case a hundred times, bit for bit" "$build/tools/rapt/rapt" check --chosen --caps "" --repeat 100 || true
fi
if [[ -e /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json ]]; then
    check "validation layers are silent" "$build/tools/rapt/rapt" check --validation --filter exact-f32 || true
else
    skip "validation layers are silent" "no validation layers (package vulkan-validationlayers)"
fi
finish
