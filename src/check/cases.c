#include "cases.h"

#include "cases_grid.h"
#include "cases_random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- random numbers ---- */

uint64_t rapt_random_next(rapt_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t rapt_random_below(rapt_random *random, uint64_t bound)
{
    const uint64_t value = rapt_random_next(random);
    return bound == 0 ? 0 : value % bound; /* the bias is of no matter here */
}

uint64_t rapt_case_seed(const char *name)
{
    uint64_t seed = 0xcbf29ce484222325u;
    for (; *name; name++)
        seed = (seed ^ (uint8_t)*name) * 0x100000001b3u;
    return seed;
}

double rapt_random_normal(rapt_random *random)
{
    const double u = ((double)(rapt_random_next(random) >> 11) + 0.5) * 0x1p-53;
    const double v = ((double)(rapt_random_next(random) >> 11) + 0.5) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* ---- names ---- */

const char *rapt_case_layout_name(rapt_case_layout layout)
{
    static const char *const names[] = {"bhnd", "bnhd", "packed", "odd", "broadcast"};
    return (unsigned)layout < COUNT(names) ? names[layout] : "?";
}

const char *rapt_case_input_name(rapt_case_input input)
{
    static const char *const names[] = {"normal", "exact", "large", "poisoned"};
    return (unsigned)input < COUNT(names) ? names[input] : "?";
}

static const char *dtype_name(rapt_dtype dtype)
{
    return dtype == RAPT_F16 ? "f16" : dtype == RAPT_BF16 ? "bf16" : "f32";
}

const char *const rapt_case_masks_quick[] = {"floor", "no-16bit,no-fp16", NULL};
const char *const rapt_case_masks_full[] = {
    "floor",
    "no-subgroup",
    "no-subgroup-shuffle",
    "no-16bit,no-fp16",
    "no-fp16",
    "no-texel",
    "no-coopmat",
    "no-int64,no-8bit",
    "no-bda,no-timeline,no-push-descriptor",
    "shared=16384,invocations=128",
    "range=262144",
    NULL,
};

/* ---- the named cases ---- */

#define QUICK (RAPT_CASE_QUICK | RAPT_CASE_FULL)
#define CORE (RAPT_CASE_CORE | QUICK)
#define FULL RAPT_CASE_FULL
#define BENCH RAPT_CASE_BENCH
#define SHAPE(b, hq, hkv, q, k, d, dv)                                                                       \
    .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = q, .nk = k, .d_qk = d, .d_v = dv
#define F32 .dtype = RAPT_F32
#define F16 .dtype = RAPT_F16
#define BF16 .dtype = RAPT_BF16
#define CAUSAL(offset) .causal = true, .causal_offset = offset
#define INT8 .k_dtype = RAPT_INT8, .v_dtype = RAPT_INT8
#define INT4 .k_dtype = RAPT_INT4, .v_dtype = RAPT_INT4
#define FP8 .k_dtype = RAPT_FP8, .v_dtype = RAPT_FP8
#define BLOCKS(which, q, k) .blocks = which, .block_q = q, .block_k = k
#define WINDOW(left, right, sinks) .window = true, .window_left = left, .window_right = right, .sink_tokens = sinks

static const rapt_case named[] = {
    /* what masked keys hold; the first that each kernel row is tried on */
    {"poison-causal", SHAPE(1, 2, 2, 70, 70, 64, 64), F32, CAUSAL(0), .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    {"poison-causal-f16", SHAPE(1, 4, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    {"poison-decode", SHAPE(1, 4, 2, 4, 600, 128, 128), F32, CAUSAL(-70), .key_splits = 4,
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"poison-varlen", SHAPE(1, 2, 2, 40, 60, 32, 32), F32, CAUSAL(-3), .sequences = 3,
     .length_q = {10, 25, 5}, .length_k = {10, 20, 30}, .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"poison-causal-bf16", SHAPE(1, 4, 2, 70, 90, 64, 64), BF16, CAUSAL(-9), .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    {"poison-decode-f16", SHAPE(1, 4, 2, 4, 600, 128, 128), F16, CAUSAL(-70), .key_splits = 4,
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"poison-decode-bf16", SHAPE(1, 4, 2, 4, 600, 128, 128), BF16, CAUSAL(-70), .key_splits = 4,
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    /* windows */
    {"poison-window", SHAPE(1, 2, 2, 150, 150, 64, 64), F32, WINDOW(30, 5, 3), .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    {"poison-window-causal-f16", SHAPE(1, 4, 2, 150, 190, 64, 64), F16, CAUSAL(-9), WINDOW(40, -1, 0),
     .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"poison-window-bf16", SHAPE(1, 4, 2, 150, 150, 64, 64), BF16, CAUSAL(0), WINDOW(33, 0, 70),
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"poison-window-decode", SHAPE(1, 4, 2, 4, 600, 128, 128), F32, CAUSAL(-70), WINDOW(100, -1, 5),
     .key_splits = 4, .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"poison-window-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, WINDOW(11, 3, 2), .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"exact-window", SHAPE(1, 2, 2, 130, 130, 32, 24), F32, WINDOW(9, 9, 0), .input = RAPT_INPUT_EXACT,
     .groups = CORE},
    {"exact-window-sinks-f16", SHAPE(1, 4, 2, 65, 165, 64, 64), F16, CAUSAL(0), WINDOW(16, -1, 4),
     .input = RAPT_INPUT_EXACT, .groups = QUICK},
    {"window-diagonal", SHAPE(1, 2, 2, 70, 70, 64, 64), F32, WINDOW(0, 0, 0), .groups = FULL},
    {"window-left-only", SHAPE(1, 2, 2, 100, 100, 64, 64), F32, WINDOW(20, -1, 0), .groups = FULL},
    {"window-right-only", SHAPE(1, 2, 2, 100, 100, 64, 64), F16, WINDOW(-1, 20, 0), .groups = FULL},
    {"window-sees-all", SHAPE(1, 2, 2, 40, 40, 64, 64), F32, WINDOW(100, 100, 0), .groups = FULL},
    {"window-sees-nothing", SHAPE(1, 2, 2, 40, 40, 64, 64), F32, WINDOW(5, 5, 0), .causal_offset = 1000,
     .groups = FULL},
    {"window-sees-sinks-alone", SHAPE(1, 2, 2, 40, 90, 64, 64), F32, WINDOW(5, 5, 7), .causal_offset = INT64_MAX,
     .groups = QUICK},
    {"window-cross-odd", SHAPE(1, 3, 3, 90, 40, 33, 35), F16, WINDOW(12, 4, 1), .causal_offset = 6,
     .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"window-decode", SHAPE(2, 8, 2, 1, 777, 128, 128), F32, WINDOW(128, 0, 0), .groups = CORE},
    {"window-decode-f16", SHAPE(1, 8, 2, 1, 777, 128, 128), F16, CAUSAL(0), WINDOW(200, -1, 4), .groups = QUICK},
    {"window-long", SHAPE(1, 2, 1, 2000, 3000, 64, 64), F32, CAUSAL(0), WINDOW(256, -1, 4), .groups = FULL},
    {"window-long-f16", SHAPE(1, 1, 1, 5, 6000, 64, 64), F16, WINDOW(100, -1, 0), .causal_offset = -1500,
     .groups = FULL},
    /* soft caps */
    {"soft-cap", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .soft_cap = 1.5f, .groups = CORE},
    {"soft-cap-f16", SHAPE(1, 4, 2, 70, 70, 64, 64), F16, CAUSAL(0), .soft_cap = 50.0f, .groups = QUICK},
    {"soft-cap-bf16", SHAPE(1, 2, 2, 70, 90, 80, 80), BF16, CAUSAL(0), .soft_cap = 5.0f, .groups = FULL},
    {"soft-cap-large", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .soft_cap = 30.0f, .input = RAPT_INPUT_LARGE,
     .groups = FULL},
    {"soft-cap-poison", SHAPE(1, 4, 2, 4, 600, 128, 128), F32, CAUSAL(-70), .soft_cap = 20.0f, .key_splits = 4,
     .input = RAPT_INPUT_POISONED, .groups = FULL},
    /* sinks, ALiBi, key biases, segments */
    {"sinks", SHAPE(2, 4, 2, 40, 70, 64, 64), F32, .sinks = 1, .groups = CORE},
    {"sinks-causal-f16", SHAPE(1, 4, 2, 70, 50, 64, 64), F16, CAUSAL(0), .sinks = 2, .groups = QUICK},
    {"sinks-bf16", SHAPE(1, 2, 4, 20, 50, 80, 80), BF16, .sinks = 2, .groups = QUICK},
    {"sinks-decode", SHAPE(1, 8, 2, 1, 777, 128, 128), F32, .sinks = 1, .key_splits = 3, .groups = CORE},
    {"sinks-large", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .sinks = 1, .input = RAPT_INPUT_LARGE, .groups = FULL},
    {"sinks-no-keys", SHAPE(2, 3, 3, 5, 0, 8, 8), F32, .sinks = 1, .groups = FULL},
    {"sinks-varlen", SHAPE(1, 4, 2, 100, 130, 64, 64), F32, .sinks = 1, .sequences = 5,
     .length_q = {1, 33, 0, 60, 6}, .length_k = {64, 33, 5, 0, 28}, .groups = FULL},
    {"alibi", SHAPE(1, 4, 4, 70, 70, 64, 64), F32, .alibi = true, .groups = QUICK},
    {"alibi-causal-f16", SHAPE(1, 8, 2, 50, 90, 64, 64), F16, CAUSAL(-9), .alibi = true, .groups = CORE},
    {"alibi-offset", SHAPE(1, 2, 2, 20, 30, 64, 64), F32, .causal_offset = -7, .alibi = true, .groups = FULL},
    {"alibi-decode", SHAPE(1, 8, 2, 2, 500, 128, 128), F32, CAUSAL(0), .alibi = true, .key_splits = 3,
     .groups = QUICK},
    {"alibi-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, CAUSAL(0), .alibi = true, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"key-bias", SHAPE(2, 4, 2, 40, 70, 64, 64), F32, .key_bias = 1, .groups = CORE},
    {"key-bias-poison-f16", SHAPE(1, 4, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .key_bias = 2,
     .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"key-bias-all", SHAPE(2, 3, 3, 40, 45, 33, 35), F32, .key_bias = 3, .layout = RAPT_LAYOUT_ODD, .groups = QUICK},
    {"key-bias-decode", SHAPE(2, 8, 2, 1, 777, 128, 128), F32, .key_bias = 3, .key_splits = 3, .groups = CORE},
    {"key-bias-decode-heads", SHAPE(2, 8, 2, 1, 300, 128, 128), F32, .key_bias = 1, .groups = FULL},
    {"key-bias-one-key", SHAPE(1, 2, 2, 7, 6, 16, 16), F32, CAUSAL(-5), .key_bias = 3, .groups = FULL},
    {"key-bias-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, .key_bias = 2, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"bias", SHAPE(2, 4, 2, 40, 70, 64, 64), F32, .bias = 1, .groups = QUICK},
    {"bias-poison-f16", SHAPE(1, 4, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .bias = 2, .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    {"bias-all-odd", SHAPE(2, 3, 3, 40, 45, 33, 35), F32, .bias = 3, .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"bias-decode", SHAPE(2, 8, 2, 2, 777, 128, 128), F32, .bias = 1, .key_splits = 3, .groups = QUICK},
    {"bias-bf16", SHAPE(1, 2, 4, 20, 50, 80, 80), BF16, .bias = 2, .groups = FULL},
    {"bias-large", SHAPE(1, 2, 2, 300, 400, 64, 64), F32, CAUSAL(0), .bias = 3, .groups = FULL},
    /* where a key lies from a query */
    {"relative", SHAPE(2, 4, 2, 40, 90, 64, 64), F32, .relative = 1, .groups = QUICK},
    {"relative-causal-f16", SHAPE(1, 8, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .relative = 2, .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    {"relative-offset", SHAPE(1, 2, 2, 20, 30, 33, 35), F32, .causal_offset = -17, .relative = 1, .layout = RAPT_LAYOUT_ODD,
     .groups = FULL},
    {"relative-decode", SHAPE(1, 8, 2, 2, 500, 128, 128), F32, CAUSAL(0), .relative = 1, .key_splits = 3, .groups = QUICK},
    {"relative-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, .relative = 1, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"relative-places", SHAPE(2, 4, 4, 72, 72, 64, 64), F32, .relative = 1, .place_width = 9, .groups = CORE},
    {"relative-places-bf16", SHAPE(1, 4, 2, 50, 70, 64, 64), BF16, .relative = 2, .place_width = 7, .alibi = true, .groups = QUICK},
    {"decay", SHAPE(2, 4, 2, 40, 90, 64, 64), F32, .decay = true, .groups = QUICK},
    {"decay-retention-f16", SHAPE(1, 4, 4, 70, 70, 64, 64), F16, CAUSAL(0), .link = RAPT_LINK_NONE, .decay = true,
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"decay-decode", SHAPE(1, 8, 2, 2, 500, 128, 128), F32, CAUSAL(-20), .link = RAPT_LINK_NONE, .decay = true, .key_splits = 3,
     .groups = QUICK},
    {"decay-places", SHAPE(1, 4, 4, 88, 88, 64, 64), F32, .decay = true, .place_width = 11, .groups = CORE},
    {"decay-clipped", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, CAUSAL(0), .link = RAPT_LINK_CLIPPED, .decay = true, .sinks = 1,
     .groups = FULL},
    {"decay-signed-bf16", SHAPE(1, 4, 2, 40, 70, 80, 80), BF16, .link = RAPT_LINK_SIGNED, .decay = true, .relative = 2,
     .groups = FULL},
    {"decay-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, CAUSAL(0), .decay = true, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"all-places", SHAPE(2, 4, 2, 60, 90, 64, 64), F32, WINDOW(40, 30, 3), .soft_cap = 5, .sinks = 1, .alibi = true, .decay = true,
     .relative = 1, .place_width = 10, .key_bias = 2, .bias = 2, .segments = 2, BLOCKS(2, 16, 16), .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    /* what rewrites q and k */
    {"rope", SHAPE(2, 4, 2, 40, 70, 64, 64), F32, .rope = 1, .groups = CORE},
    {"rope-half-f16", SHAPE(1, 4, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .rope = 2, .input = RAPT_INPUT_POISONED,
     .groups = QUICK},
    {"rope-interleaved", SHAPE(1, 3, 3, 40, 45, 36, 35), F32, .rope = 3, .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"rope-bf16", SHAPE(1, 2, 4, 50, 20, 80, 80), BF16, .rope = 1, .groups = FULL},
    {"rope-far", SHAPE(1, 1, 1, 3, 40, 64, 64), F32, .rope = 1, .causal_offset = 1000000, .groups = FULL},
    {"rope-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, CAUSAL(0), .rope = 1, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"rope-packed", SHAPE(2, 4, 2, 60, 60, 64, 32), F32, .rope = 1, .layout = RAPT_LAYOUT_PACKED, .groups = FULL},
    {"qk-norm", SHAPE(2, 4, 2, 40, 70, 64, 64), F32, .qk_norm = true, .groups = CORE},
    {"qk-norm-odd-f16", SHAPE(1, 3, 3, 40, 45, 33, 35), F16, .qk_norm = true, .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"qk-norm-rope-decode", SHAPE(2, 8, 2, 2, 777, 128, 128), F32, CAUSAL(0), .rope = 1, .qk_norm = true, .key_splits = 3,
     .groups = FULL},
    {"qk-norm-broadcast", SHAPE(2, 4, 4, 20, 30, 64, 64), F32, .qk_norm = true, .layout = RAPT_LAYOUT_BROADCAST,
     .groups = FULL},
    {"low-rank", SHAPE(2, 4, 4, 40, 70, 64, 64), F32, .rank = 8, .groups = QUICK},
    {"low-rank-gqa-f16", SHAPE(1, 4, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .rank = 5, .input = RAPT_INPUT_POISONED,
     .groups = FULL},
    {"low-rank-wide", SHAPE(1, 2, 2, 20, 30, 320, 64), F32, .rank = 200, .groups = FULL},
    {"low-rank-bf16-odd", SHAPE(1, 2, 2, 40, 45, 33, 35), BF16, .rank = 3, .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"low-rank-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, .rank = 4, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"all-rewritten", SHAPE(2, 4, 2, 70, 90, 64, 64), F32, CAUSAL(0), WINDOW(40, -1, 3), .rope = 2, .qk_norm = true, .rank = 6,
     .sinks = 1, .alibi = true, .bias = 2, .gate = true, .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"segments", SHAPE(2, 2, 2, 70, 70, 64, 64), F32, .segments = 3, .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"segments-causal-f16", SHAPE(1, 4, 2, 50, 90, 64, 64), F16, CAUSAL(0), .segments = 2,
     .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"segments-cross", SHAPE(1, 2, 2, 60, 40, 64, 64), F32, .segments = 4, .groups = FULL},
    {"segments-decode", SHAPE(2, 8, 2, 2, 500, 128, 128), F32, .segments = 3, .key_splits = 3, .groups = QUICK},
    {"segments-exact", SHAPE(1, 2, 2, 64, 64, 32, 24), F32, .segments = 3, .input = RAPT_INPUT_EXACT, .groups = CORE},
    {"segments-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, CAUSAL(0), .segments = 3, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"all-extras", SHAPE(2, 4, 2, 70, 90, 64, 64), F32, CAUSAL(0), WINDOW(40, -1, 3), .soft_cap = 5, .sinks = 1,
     .alibi = true, .key_bias = 1, .bias = 1, .segments = 2, .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"all-extras-decode-f16", SHAPE(2, 8, 2, 3, 500, 128, 128), F16, .sinks = 2, .alibi = true, .key_bias = 3,
     .segments = 2, .key_splits = 4, .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"sinks-alibi", SHAPE(1, 4, 2, 33, 33, 64, 64), BF16, CAUSAL(0), .sinks = 1, .alibi = true, .groups = FULL},
    {"alibi-segments-varlen", SHAPE(1, 2, 2, 120, 140, 32, 32), F32, .alibi = true, .segments = 2, .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .input = RAPT_INPUT_POISONED, .groups = FULL},
    /* links */
    {"link-offbyone", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, CAUSAL(-32), .link = RAPT_LINK_OFFBYONE, .groups = QUICK},
    {"link-offbyone-decode-f16", SHAPE(1, 8, 2, 1, 777, 128, 128), F16, .link = RAPT_LINK_OFFBYONE, .key_splits = 3,
     .groups = FULL},
    {"link-signed", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .link = RAPT_LINK_SIGNED, .groups = CORE},
    {"link-signed-poison-f16", SHAPE(1, 4, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .link = RAPT_LINK_SIGNED, .sinks = 1,
     .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"link-signed-decode", SHAPE(1, 8, 2, 1, 777, 128, 128), F32, .link = RAPT_LINK_SIGNED, .key_bias = 3,
     .key_splits = 3, .groups = CORE},
    {"link-sigmoid", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .link = RAPT_LINK_SIGMOID, .groups = QUICK},
    {"link-sigmoid-poison-bf16", SHAPE(1, 4, 2, 70, 90, 64, 64), BF16, CAUSAL(-9), .link = RAPT_LINK_SIGMOID,
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"link-sigmoid-decode", SHAPE(1, 8, 2, 1, 777, 128, 128), F32, .link = RAPT_LINK_SIGMOID, .key_bias = 3,
     .key_splits = 3, .groups = QUICK},
    {"link-laplace", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .link = RAPT_LINK_LAPLACE, .groups = CORE},
    {"link-laplace-f16", SHAPE(1, 4, 2, 70, 50, 64, 64), F16, CAUSAL(0), .link = RAPT_LINK_LAPLACE, .alibi = true,
     .groups = QUICK},
    {"link-relu", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, CAUSAL(0), .link = RAPT_LINK_RELU, .soft_cap = 3, .groups = QUICK},
    {"link-relu-varlen", SHAPE(1, 4, 2, 100, 130, 64, 64), F32, .link = RAPT_LINK_RELU, .sequences = 5,
     .length_q = {1, 33, 0, 60, 6}, .length_k = {64, 33, 5, 0, 28}, .groups = FULL},
    {"link-none", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .link = RAPT_LINK_NONE, .groups = CORE},
    {"link-none-poison", SHAPE(1, 4, 2, 70, 90, 64, 64), F32, CAUSAL(-9), WINDOW(40, -1, 3), .link = RAPT_LINK_NONE,
     .segments = 2, .input = RAPT_INPUT_POISONED, .groups = FULL},
    {"link-clipped", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, CAUSAL(-25), .link = RAPT_LINK_CLIPPED, .groups = QUICK},
    {"link-clipped-poison-f16", SHAPE(1, 4, 2, 70, 90, 64, 64), F16, CAUSAL(-9), .link = RAPT_LINK_CLIPPED, .sinks = 1,
     .alibi = true, .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"link-clipped-decode", SHAPE(2, 8, 2, 1, 777, 128, 128), F32, .link = RAPT_LINK_CLIPPED, .no_lse = true,
     .groups = QUICK},
    {"link-clipped-varlen", SHAPE(1, 4, 2, 100, 130, 64, 64), F32, .link = RAPT_LINK_CLIPPED, .no_lse = true,
     .sequences = 5, .length_q = {1, 33, 0, 60, 6}, .length_k = {64, 33, 5, 0, 28}, .groups = FULL},
    {"link-none-split", SHAPE(1, 2, 2, 33, 200, 64, 64), F16, CAUSAL(0), .link = RAPT_LINK_NONE, .key_splits = 2,
     .groups = FULL},
    /* gates */
    {"gate", SHAPE(2, 4, 2, 40, 70, 64, 64), F32, .gate = true, .groups = CORE},
    {"gate-decode-f16", SHAPE(1, 8, 2, 1, 777, 128, 128), F16, .gate = true, .key_splits = 3, .groups = QUICK},
    {"gate-odd-bf16", SHAPE(2, 3, 3, 19, 23, 33, 35), BF16, CAUSAL(0), .gate = true, .layout = RAPT_LAYOUT_ODD,
     .groups = QUICK},
    {"gate-varlen", SHAPE(1, 4, 2, 100, 130, 64, 64), F32, .gate = true, .sinks = 1, .alibi = true, .sequences = 5,
     .length_q = {1, 33, 0, 60, 6}, .length_k = {64, 33, 5, 0, 28}, .groups = FULL},
    {"link-affine-poison", SHAPE(1, 4, 2, 70, 90, 64, 64), F32, CAUSAL(-9), .link = RAPT_LINK_AFFINE, .sinks = 1,
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"gate-clipped", SHAPE(1, 2, 2, 40, 70, 64, 64), F16, .gate = true, .link = RAPT_LINK_CLIPPED, .groups = FULL},
    /* block masks: some blocks of keys are hidden from all and poisoned, some lines are empty */
    {"blocks", SHAPE(1, 2, 2, 150, 150, 64, 64), F32, BLOCKS(3, 32, 32), .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"blocks-heads-f16", SHAPE(2, 4, 2, 150, 190, 64, 64), F16, BLOCKS(2, 64, 16), .input = RAPT_INPUT_POISONED,
     .groups = CORE},
    {"blocks-batch-odd", SHAPE(2, 3, 3, 97, 131, 33, 35), F32, BLOCKS(1, 7, 5), .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"blocks-one-by-one", SHAPE(1, 2, 2, 41, 67, 64, 64), BF16, BLOCKS(3, 1, 1), .input = RAPT_INPUT_POISONED,
     .groups = FULL},
    {"blocks-causal-bf16", SHAPE(1, 4, 2, 150, 190, 64, 64), BF16, CAUSAL(-9), BLOCKS(2, 24, 40),
     .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"blocks-window", SHAPE(1, 2, 2, 300, 300, 64, 64), F32, CAUSAL(0), WINDOW(90, -1, 3), BLOCKS(3, 48, 20),
     .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"blocks-decode", SHAPE(2, 8, 2, 1, 777, 128, 128), F32, BLOCKS(1, 1, 64), .key_splits = 3,
     .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"blocks-decode-f16", SHAPE(1, 8, 2, 3, 777, 128, 128), F16, CAUSAL(0), BLOCKS(2, 2, 48),
     .input = RAPT_INPUT_POISONED, .groups = QUICK},
    {"blocks-split", SHAPE(1, 2, 2, 150, 450, 64, 64), F32, BLOCKS(3, 64, 64), .key_splits = 4,
     .input = RAPT_INPUT_POISONED, .groups = FULL},
    {"blocks-varlen", SHAPE(1, 4, 2, 120, 140, 32, 32), F32, CAUSAL(0), BLOCKS(1, 16, 8), .sequences = 3,
     .length_q = {80, 25, 15}, .length_k = {90, 20, 30}, .groups = FULL},
    {"blocks-all-extras", SHAPE(2, 4, 2, 70, 90, 64, 64), F32, CAUSAL(0), WINDOW(40, -1, 3), .soft_cap = 5, .sinks = 1,
     .alibi = true, .key_bias = 1, .segments = 2, BLOCKS(1, 16, 16), .input = RAPT_INPUT_POISONED, .groups = CORE},
    {"blocks-clipped-f16", SHAPE(1, 2, 2, 70, 90, 64, 64), F16, .link = RAPT_LINK_CLIPPED, BLOCKS(3, 16, 16),
     .groups = FULL},
    {"blocks-none-link", SHAPE(1, 2, 2, 70, 90, 64, 64), F32, .link = RAPT_LINK_NONE, BLOCKS(2, 30, 9), .gate = true,
     .input = RAPT_INPUT_POISONED, .groups = FULL},
    {"blocks-fewer-q-heads", SHAPE(1, 2, 4, 40, 70, 64, 64), F32, BLOCKS(2, 16, 16), .groups = QUICK},
    {"blocks-exact", SHAPE(1, 2, 2, 130, 130, 32, 24), F32, BLOCKS(3, 20, 12), .input = RAPT_INPUT_EXACT, .groups = QUICK},
    {"blocks-no-keys", SHAPE(2, 3, 3, 5, 0, 8, 8), F32, BLOCKS(3, 4, 4), .groups = FULL},
    {"blocks-long", SHAPE(1, 2, 1, 1500, 3000, 64, 64), F32, BLOCKS(2, 128, 100), .groups = FULL},
    /* key-value caches: what no batch entry uses of a pool is poisoned always */
    {"pages-decode", SHAPE(3, 8, 2, 1, 600, 128, 128), F32, .page_size = 16, .ragged = true, .length_k = {600, 0, 333},
     .groups = CORE},
    {"pages-decode-f16", SHAPE(3, 8, 2, 1, 600, 128, 128), F16, .page_size = 16, .ragged = true, .length_k = {1, 577, 64},
     .key_splits = 3, .groups = CORE},
    {"pages-decode-bf16", SHAPE(2, 4, 4, 1, 300, 64, 64), BF16, .page_size = 32, .ragged = true, .length_k = {300, 17},
     .groups = FULL},
    {"pages-whole", SHAPE(2, 8, 2, 1, 640, 64, 64), F32, .page_size = 64, .groups = FULL},
    {"pages-any-size", SHAPE(2, 4, 2, 1, 190, 64, 64), F32, .page_size = 5, .ragged = true, .length_k = {188, 3},
     .groups = QUICK},
    {"pages-any-size-f16", SHAPE(2, 4, 2, 3, 190, 80, 72), F16, CAUSAL(0), .page_size = 7, .ragged = true,
     .length_k = {188, 2}, .key_splits = 2, .groups = FULL},
    {"pages-one-key", SHAPE(1, 2, 2, 1, 40, 64, 64), F32, .page_size = 1, .groups = FULL},
    {"pages-large", SHAPE(2, 4, 2, 2, 900, 64, 64), F32, CAUSAL(0), .page_size = 256, .ragged = true,
     .length_k = {700, 900}, .groups = FULL},
    {"pages-prefill", SHAPE(2, 4, 2, 70, 150, 64, 64), F32, CAUSAL(0), .page_size = 16, .ragged = true,
     .length_k = {150, 90}, .groups = QUICK},
    {"pages-window-f16", SHAPE(2, 8, 2, 2, 777, 128, 128), F16, CAUSAL(0), WINDOW(100, -1, 5), .page_size = 16,
     .ragged = true, .length_k = {777, 60}, .groups = FULL},
    {"pages-odd", SHAPE(2, 3, 3, 2, 97, 33, 35), F32, .page_size = 16, .ragged = true, .length_k = {97, 40},
     .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"pages-bnhd-bf16", SHAPE(2, 4, 2, 1, 200, 64, 64), BF16, .page_size = 16, .layout = RAPT_LAYOUT_BNHD, .groups = FULL},
    {"pages-all-extras", SHAPE(2, 4, 2, 3, 500, 128, 128), F32, CAUSAL(0), WINDOW(300, -1, 3), .soft_cap = 5, .sinks = 1,
     .alibi = true, .key_bias = 3, .bias = 1, .segments = 2, .gate = true, .page_size = 16, .ragged = true,
     .length_k = {431, 80}, .key_splits = 3, .groups = CORE},
    {"pages-blocks", SHAPE(2, 8, 2, 1, 777, 128, 128), F32, BLOCKS(1, 1, 64), .page_size = 32, .ragged = true,
     .length_k = {777, 500}, .key_splits = 3, .groups = FULL},
    {"pages-clipped", SHAPE(2, 4, 2, 1, 300, 64, 64), F32, .link = RAPT_LINK_CLIPPED, .page_size = 16, .ragged = true,
     .length_k = {300, 111}, .groups = FULL},
    {"pages-no-pages", SHAPE(2, 3, 3, 2, 0, 8, 8), F32, .page_size = 16, .groups = FULL},
    {"lengths-decode", SHAPE(3, 8, 2, 1, 600, 128, 128), F32, .ragged = true, .length_k = {600, 0, 333}, .groups = FULL},
    {"lengths-f16", SHAPE(3, 4, 2, 5, 300, 64, 64), F16, CAUSAL(-1), .ragged = true, .length_k = {300, 3, 290},
     .key_splits = 4, .groups = QUICK},
    {"lengths-window-bf16", SHAPE(2, 4, 2, 40, 300, 64, 64), BF16, WINDOW(60, 0, 4), .ragged = true, .length_k = {300, 90},
     .groups = FULL},
    {"lengths-segments-odd", SHAPE(2, 3, 3, 20, 90, 33, 35), F32, .segments = 3, .ragged = true, .length_k = {44, 90},
     .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"lengths-blocks", SHAPE(2, 2, 2, 150, 250, 64, 64), F32, BLOCKS(3, 32, 32), .ragged = true, .length_k = {120, 250},
     .groups = FULL},
    {"lengths-blocks-decode", SHAPE(3, 4, 2, 2, 300, 64, 64), F32, CAUSAL(0), BLOCKS(2, 1, 32), .ragged = true, .length_k = {3, 300, 150},
     .groups = FULL},
    /* quantised keys and values, in rows and in pages, each by itself */
    {"int8-decode", SHAPE(1, 8, 2, 1, 600, 128, 128), F32, INT8, .groups = CORE},
    {"int8-pages-f16", SHAPE(3, 8, 2, 1, 600, 128, 128), F16, INT8, .page_size = 16, .ragged = true, .length_k = {1, 577, 64},
     .key_splits = 3, .groups = FULL},
    {"int4-decode-f16", SHAPE(2, 4, 4, 1, 300, 64, 64), F16, INT4, .groups = QUICK},
    {"int4-pages", SHAPE(2, 8, 2, 2, 300, 128, 64), F32, CAUSAL(0), INT4, .page_size = 32, .ragged = true, .length_k = {300, 17},
     .groups = FULL},
    {"fp8-decode-bf16", SHAPE(2, 4, 1, 1, 300, 128, 128), BF16, FP8, .groups = FULL},
    {"fp8-pages", SHAPE(2, 4, 2, 3, 200, 96, 80), F32, CAUSAL(0), FP8, .page_size = 64, .layout = RAPT_LAYOUT_BNHD, .groups = FULL},
    {"int8-int4-f16", SHAPE(1, 8, 2, 1, 500, 256, 256), F16, .k_dtype = RAPT_INT8, .v_dtype = RAPT_INT4, .groups = FULL},
    {"f16-int4", SHAPE(2, 8, 2, 1, 300, 64, 64), F16, .v_dtype = RAPT_INT4, .page_size = 16, .groups = FULL},
    {"fp8-bf16", SHAPE(2, 4, 4, 1, 200, 64, 64), BF16, .k_dtype = RAPT_FP8, .groups = FULL},
    {"int8-f32", SHAPE(2, 4, 4, 1, 200, 64, 64), F32, .k_dtype = RAPT_INT8, .groups = FULL},
    {"int8-odd", SHAPE(2, 3, 3, 2, 97, 33, 35), F32, INT8, .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"int4-odd-f16", SHAPE(2, 3, 1, 2, 97, 37, 41), F16, INT4, .page_size = 7, .layout = RAPT_LAYOUT_ODD, .groups = FULL},
    {"int4-prefill-f16", SHAPE(1, 4, 2, 70, 150, 64, 64), F16, CAUSAL(0), INT4, .groups = FULL},
    {"int8-poisoned", SHAPE(1, 4, 2, 40, 90, 64, 64), F32, CAUSAL(0), INT8, .input = RAPT_INPUT_POISONED, .groups = FULL},
    {"fp8-all-extras", SHAPE(2, 4, 2, 3, 500, 128, 128), F16, CAUSAL(0), WINDOW(300, -1, 3), FP8, .soft_cap = 5, .sinks = 1,
     .alibi = true, .key_bias = 3, .bias = 1, .segments = 2, .gate = true, .page_size = 16, .ragged = true,
     .length_k = {431, 80}, .key_splits = 3, .groups = QUICK},
    {"int8-blocks-clipped", SHAPE(2, 4, 2, 1, 300, 64, 64), F32, INT8, .link = RAPT_LINK_CLIPPED, BLOCKS(1, 1, 64), .groups = FULL},
    {"int4-latent-bf16", SHAPE(1, 16, 1, 1, 130, 576, 512), BF16, INT4, .page_size = 16, .groups = FULL},
    {"int8-no-keys", SHAPE(2, 3, 3, 2, 0, 8, 8), F32, INT8, .groups = FULL},
    /* nothing at all */
    {"no-queries", SHAPE(2, 3, 3, 0, 5, 8, 8), F32, .groups = QUICK},
    {"no-keys", SHAPE(2, 3, 3, 5, 0, 8, 8), F32, .groups = CORE},
    {"no-keys-f16-odd", SHAPE(1, 2, 1, 3, 0, 5, 7), F16, .layout = RAPT_LAYOUT_ODD, .groups = QUICK},
    {"no-batch", SHAPE(0, 3, 3, 5, 5, 8, 8), F32, .groups = QUICK},
    {"one-element", SHAPE(1, 1, 1, 1, 1, 1, 1), F32, .groups = QUICK},
    {"one-element-f16", SHAPE(1, 1, 1, 1, 1, 1, 1), F16, .groups = QUICK},
    /* exact */
    {"exact-f32", SHAPE(2, 2, 2, 33, 70, 32, 24), F32, .input = RAPT_INPUT_EXACT, .groups = CORE},
    {"exact-f16-causal", SHAPE(1, 4, 2, 65, 65, 64, 64), F16, CAUSAL(0), .input = RAPT_INPUT_EXACT,
     .groups = CORE},
    {"exact-bf16-odd", SHAPE(1, 2, 1, 17, 130, 40, 9), BF16, CAUSAL(3), .layout = RAPT_LAYOUT_ODD,
     .input = RAPT_INPUT_EXACT, .groups = CORE},
    {"exact-split", SHAPE(1, 4, 2, 1, 1000, 64, 64), F32, .key_splits = 7, .input = RAPT_INPUT_EXACT,
     .groups = CORE},
    {"exact-uniform", SHAPE(1, 2, 2, 5, 64, 4, 16), F32, .input = RAPT_INPUT_EXACT, .groups = QUICK},
    {"exact-varlen", SHAPE(1, 2, 1, 26, 47, 64, 32), F32, CAUSAL(0), .sequences = 4,
     .length_q = {9, 0, 1, 16}, .length_k = {9, 3, 19, 16}, .input = RAPT_INPUT_EXACT, .groups = CORE},
    /* heads */
    {"gqa-4", SHAPE(1, 8, 2, 40, 40, 64, 64), F32, CAUSAL(0), .groups = QUICK},
    {"mqa", SHAPE(2, 5, 1, 19, 50, 32, 32), F16, .groups = QUICK},
    {"sqa-fewer-query-heads", SHAPE(1, 2, 6, 33, 33, 64, 64), F32, CAUSAL(0), .groups = CORE},
    {"heads-3-to-2", SHAPE(1, 3, 2, 18, 21, 16, 16), F32, .groups = QUICK},
    {"heads-2-to-5", SHAPE(2, 2, 5, 18, 21, 16, 16), F32, CAUSAL(1), .groups = QUICK},
    /* masks */
    {"causal-cross", SHAPE(1, 2, 2, 21, 80, 64, 64), F32, CAUSAL(0), .groups = QUICK},
    {"causal-more-queries", SHAPE(1, 2, 2, 80, 21, 64, 64), F32, CAUSAL(0), .groups = QUICK},
    {"causal-offset-minus-5", SHAPE(1, 2, 2, 40, 40, 64, 64), F32, CAUSAL(-5), .groups = QUICK},
    {"causal-offset-plus-7", SHAPE(1, 2, 2, 40, 40, 64, 64), F16, CAUSAL(7), .groups = QUICK},
    {"causal-sees-nothing", SHAPE(1, 2, 2, 20, 20, 64, 64), F32, CAUSAL(-100), .groups = QUICK},
    {"causal-offset-lowest", SHAPE(1, 1, 1, 20, 20, 8, 8), F32, CAUSAL(INT64_MIN), .groups = QUICK},
    {"causal-offset-highest", SHAPE(1, 1, 1, 20, 20, 8, 8), F32, CAUSAL(INT64_MAX), .groups = QUICK},
    {"causal-128", SHAPE(1, 2, 2, 128, 128, 64, 64), F32, CAUSAL(0), .groups = QUICK},
    /* range */
    {"large-scores", SHAPE(1, 2, 2, 40, 70, 64, 64), F32, .input = RAPT_INPUT_LARGE, .groups = CORE},
    {"large-scores-f16", SHAPE(1, 2, 2, 40, 70, 64, 64), F16, CAUSAL(0), .input = RAPT_INPUT_LARGE,
     .groups = QUICK},
    {"large-scores-split", SHAPE(1, 2, 2, 1, 500, 64, 64), F32, .key_splits = 5, .input = RAPT_INPUT_LARGE,
     .groups = QUICK},
    /* layouts */
    {"bnhd-f32", SHAPE(2, 3, 3, 37, 37, 64, 64), F32, CAUSAL(0), .layout = RAPT_LAYOUT_BNHD, .groups = QUICK},
    {"packed-qkv-f32", SHAPE(2, 4, 4, 37, 37, 64, 64), F32, .layout = RAPT_LAYOUT_PACKED, .groups = QUICK},
    {"packed-qkv-f16", SHAPE(1, 4, 2, 37, 37, 64, 64), F16, .layout = RAPT_LAYOUT_PACKED, .groups = CORE},
    {"odd-f32", SHAPE(2, 3, 3, 19, 23, 64, 64), F32, .layout = RAPT_LAYOUT_ODD, .groups = CORE},
    {"odd-f16", SHAPE(2, 3, 3, 19, 23, 33, 35), F16, .layout = RAPT_LAYOUT_ODD, .groups = CORE},
    {"odd-bf16", SHAPE(2, 4, 2, 19, 23, 64, 64), BF16, CAUSAL(0), .layout = RAPT_LAYOUT_ODD, .groups = CORE},
    {"broadcast-kv", SHAPE(3, 4, 4, 19, 23, 64, 64), F32, .layout = RAPT_LAYOUT_BROADCAST, .groups = QUICK},
    /* sequences of different lengths */
    {"varlen", SHAPE(1, 4, 2, 100, 130, 64, 64), F32, .sequences = 5, .length_q = {1, 33, 0, 60, 6},
     .length_k = {64, 33, 5, 0, 28}, .groups = CORE},
    {"varlen-causal-f16", SHAPE(1, 4, 2, 100, 100, 64, 64), F16, CAUSAL(0), .sequences = 4,
     .length_q = {17, 64, 2, 17}, .length_k = {17, 64, 2, 17}, .layout = RAPT_LAYOUT_BNHD, .groups = CORE},
    {"varlen-empty", SHAPE(1, 2, 2, 0, 0, 16, 16), F32, .sequences = 2, .groups = QUICK},
    {"varlen-bound", SHAPE(1, 2, 2, 70, 70, 32, 32), F32, .sequences = 2, .length_q = {50, 20},
     .length_k = {50, 20}, .max_seqlen_q = 32, .groups = QUICK},
    {"varlen-bound-causal", SHAPE(1, 2, 2, 70, 70, 32, 32), F32, CAUSAL(0), .sequences = 2,
     .length_q = {50, 20}, .length_k = {50, 20}, .max_seqlen_q = 32, .groups = QUICK},
    {"varlen-decode", SHAPE(1, 8, 2, 4, 900, 64, 64), F32, CAUSAL(0), .sequences = 4,
     .length_q = {1, 1, 1, 1}, .length_k = {400, 1, 99, 400}, .key_splits = 3, .groups = QUICK},
    /* few queries */
    {"decode", SHAPE(2, 8, 2, 1, 777, 128, 128), F32, .groups = CORE},
    {"decode-f16", SHAPE(1, 8, 2, 1, 777, 128, 128), F16, .groups = CORE},
    {"decode-4-causal", SHAPE(1, 8, 1, 4, 300, 64, 64), F32, CAUSAL(0), .groups = QUICK},
    {"split-2", SHAPE(1, 2, 2, 33, 200, 64, 64), F32, CAUSAL(0), .key_splits = 2, .groups = QUICK},
    {"split-more-than-keys", SHAPE(1, 2, 2, 3, 5, 64, 64), F32, .key_splits = 64, .groups = QUICK},
    {"no-lse", SHAPE(1, 2, 2, 33, 33, 64, 64), F32, .no_lse = true, .groups = QUICK},
    /* head dims of real models */
    {"head-dim-128", SHAPE(1, 2, 2, 70, 70, 128, 128), F32, CAUSAL(0), .groups = CORE},
    {"head-dim-256-f16", SHAPE(1, 2, 2, 35, 70, 256, 256), F16, .groups = CORE},
    {"head-dim-80-bf16", SHAPE(1, 2, 2, 70, 70, 80, 80), BF16, CAUSAL(0), .groups = CORE},
    {"head-dim-192-128", SHAPE(1, 2, 2, 35, 70, 192, 128), F16, CAUSAL(0), .groups = QUICK},
    {"head-dim-576-512", SHAPE(1, 4, 1, 9, 70, 576, 512), F32, CAUSAL(0), .groups = CORE},
    /* larger than a masked range=262144 */
    {"long-keys", SHAPE(1, 2, 1, 5, 3000, 64, 64), F32, CAUSAL(0), .groups = FULL},
    {"long-keys-f16", SHAPE(1, 2, 2, 40, 4099, 64, 64), F16, .groups = FULL},
    {"long-both", SHAPE(1, 1, 1, 1031, 1031, 64, 64), F32, CAUSAL(0), .groups = FULL},
    {"many-heads", SHAPE(9, 64, 8, 3, 17, 16, 16), F32, CAUSAL(0), .groups = FULL},
    {"wide-grid", SHAPE(1, 1, 1, 70001, 3, 4, 4), F32, .groups = FULL},
    /* bench */
    {"B1H8D64N1024f32", SHAPE(1, 8, 8, 1024, 1024, 64, 64), F32, .groups = BENCH},
    {"B1H8D64N1024f16", SHAPE(1, 8, 8, 1024, 1024, 64, 64), F16, .groups = BENCH},
    {"B1H8D64N2048f32", SHAPE(1, 8, 8, 2048, 2048, 64, 64), F32, .groups = BENCH},
    {"B1H8D64N2048f16", SHAPE(1, 8, 8, 2048, 2048, 64, 64), F16, .groups = BENCH},
    {"B1H8D64N2048f32c", SHAPE(1, 8, 8, 2048, 2048, 64, 64), F32, CAUSAL(0), .groups = BENCH},
    {"B1H8K2D64N1024f32", SHAPE(1, 8, 2, 1024, 1024, 64, 64), F32, .groups = BENCH},
    {"B1H8D128N1024f32", SHAPE(1, 8, 8, 1024, 1024, 128, 128), F32, .groups = BENCH},
    {"B1H8D128N1024f16", SHAPE(1, 8, 8, 1024, 1024, 128, 128), F16, .groups = BENCH},
    {"B1H8D128N2048f32", SHAPE(1, 8, 8, 2048, 2048, 128, 128), F32, .groups = BENCH},
    {"B1H8D128N2048f16", SHAPE(1, 8, 8, 2048, 2048, 128, 128), F16, .groups = BENCH},
    {"B1H32K8D128Q1N4096f32", SHAPE(1, 32, 8, 1, 4096, 128, 128), F32, .groups = BENCH},
    {"B1H32K8D128Q1N4096f16", SHAPE(1, 32, 8, 1, 4096, 128, 128), F16, .groups = BENCH},
    {"B1H32K8D128Q1N16384f32", SHAPE(1, 32, 8, 1, 16384, 128, 128), F32, .groups = BENCH},
    {"B1H32K8D128Q1N16384f16", SHAPE(1, 32, 8, 1, 16384, 128, 128), F16, .groups = BENCH},
};

/* ---- the sweep ---- */

typedef struct list {
    rapt_case *cases;
    size_t count, capacity;
    uint32_t groups;
    const char *filter;
    bool failed;
} list;

static void name_case(rapt_case *c)
{
    char blocks[40] = "", mask[32] = "", grid[100] = "", window[80] = "", cap[24] = "", extras[48] = "", split[16] = "", varlen[16] = "", dv[16] = "";
    if (c->causal)
        snprintf(mask, sizeof mask, "-causal%+lld", (long long)c->causal_offset);
    if (c->window)
        snprintf(window, sizeof window, "-w%lld,%lld,%llu%+lld", (long long)c->window_left,
                 (long long)c->window_right, (unsigned long long)c->sink_tokens, (long long)c->causal_offset);
    if (c->grid.rank > 0) {
        grid[0] = '-';
        rapt_grid_case_name(&c->grid, grid + 1, sizeof grid - 1);
    }
    if (c->soft_cap > 0)
        snprintf(cap, sizeof cap, "-cap%g", (double)c->soft_cap);
    if (c->sinks || c->alibi || c->key_bias || c->segments || c->link || c->gate || c->bias || c->rank || c->rope || c->qk_norm)
        snprintf(extras, sizeof extras, "-x%u%u%u%u%u-%u%u%u%s%s", c->sinks, c->alibi, c->key_bias, c->segments, (unsigned)c->link,
                 c->rank, c->rope, c->qk_norm, c->gate ? "g" : "", c->bias ? (const char *[]){"b1", "b2", "b3"}[c->bias - 1] : "");
    if (c->relative || c->decay)
        snprintf(extras + strlen(extras), sizeof extras - strlen(extras), "-r%u%s%u", c->relative, c->decay ? "d" : "p",
                 c->place_width);
    if (c->blocks)
        snprintf(blocks, sizeof blocks, "-b%u,%ux%u", c->blocks, c->block_q, c->block_k);
    if (c->key_splits > 0)
        snprintf(split, sizeof split, "-s%u", c->key_splits);
    if (c->sequences > 0)
        snprintf(varlen, sizeof varlen, "-v%u", c->sequences);
    if (c->d_v != c->d_qk)
        snprintf(dv, sizeof dv, "V%u", (unsigned)c->d_v);
    snprintf(c->name, sizeof c->name, "B%uH%uK%uD%u%sQ%uN%u%s%s%s%s%s%s%s%s%s-%s-%s", (unsigned)c->batch,
             (unsigned)c->q_heads, (unsigned)c->kv_heads, (unsigned)c->d_qk, dv, (unsigned)c->nq,
             (unsigned)c->nk, dtype_name(c->dtype), grid, mask, window, cap, extras, blocks, varlen, split, rapt_case_layout_name(c->layout),
             rapt_case_input_name(c->input));
}

static void add(list *l, rapt_case c)
{
    if (c.name[0] == 0)
        name_case(&c);
    if (!(c.groups & l->groups) || (l->filter && !strstr(c.name, l->filter)) || l->failed)
        return;
    if (l->count == l->capacity) {
        const size_t capacity = l->capacity > 0 ? 2 * l->capacity : 256;
        rapt_case *cases = realloc(l->cases, capacity * sizeof *cases);
        if (!cases) {
            l->failed = true;
            return;
        }
        l->cases = cases;
        l->capacity = capacity;
    }
    c.seed = rapt_case_seed(c.name);
    l->cases[l->count++] = c;
}

static const rapt_dtype dtypes[] = {RAPT_F32, RAPT_F16, RAPT_BF16};

/* Every head_dim of the list, as both, as Q's and K's, as V's. */
static void sweep_head_dims(list *l)
{
    static const uint16_t dims[] = {64,  1,   2,   3,   4,   5,   7,   8,   12,  16,  20,  31,  32,  33,  40,
                                    48,  63,  65,  72,  80,  96,  100, 112, 120, 127, 128, 129, 144, 160, 192,
                                    200, 224, 255, 256, 257, 320, 384, 448, 511, 512, 513, 575, 576};
    for (size_t n = 0; n < COUNT(dims); n++)
        for (unsigned t = 0; t < 3; t++) {
            const uint16_t d = dims[n], other = dims[(n * 7 + t * 5) % COUNT(dims)];
            rapt_case c = {SHAPE(1, 2, 1, 19, 37, d, d), .dtype = dtypes[t], .causal = (n + t) % 2 == 0};
            c.groups = (n % 4 == 0 && t == n / 4 % 3) ? QUICK : FULL;
            add(l, c);
            rapt_case mixed = {SHAPE(2, 1, 2, 9, 18, d, other), .dtype = dtypes[t], .groups = FULL};
            mixed.layout = (rapt_case_layout)((n + t) % RAPT_LAYOUT_COUNT);
            add(l, mixed);
            if (t == 0) {
                rapt_case decode = {SHAPE(1, 4, 2, 1, 70, d, d), .dtype = dtypes[n % 3], .groups = FULL};
                add(l, decode);
            }
        }
}

/* Lengths: 0, 1, primes, around powers of two. */
static void sweep_lengths(list *l)
{
    static const uint16_t lengths[] = {0,  1,  2,  3,  7,  8,   9,   15,  16,  17, 31,
                                       32, 33, 61, 64, 67, 127, 128, 131, 256, 257};
    for (size_t a = 0; a < COUNT(lengths); a++)
        for (size_t b = 0; b < COUNT(lengths); b++) {
            rapt_case c = {SHAPE(1, 2, 2, lengths[a], lengths[b], 64, 64), .dtype = dtypes[(a + b) % 3]};
            c.causal = (a ^ b) & 1;
            c.groups = (a * 5 + b) % 29 == 0 ? QUICK : (a + 2 * b) % 3 == 0 ? FULL : 0;
            add(l, c);
        }
}

static void sweep_heads(list *l)
{
    static const uint8_t heads[][2] = {{1, 1}, {7, 7}, {6, 3}, {9, 1}, {12, 4},
                                       {1, 4}, {2, 8}, {5, 3}, {3, 7}, {16, 2}};
    for (size_t n = 0; n < COUNT(heads); n++)
        for (unsigned q = 0; q < 3; q++) {
            static const uint8_t queries[] = {1, 5, 40};
            rapt_case c = {SHAPE(1 + n % 3, heads[n][0], heads[n][1], queries[q], 45, 64, 64),
                           .dtype = dtypes[n % 3]};
            c.causal = n % 2 == 0;
            c.groups = FULL;
            add(l, c);
        }
}

rapt_case *rapt_cases(uint32_t groups, const char *filter, size_t *count)
{
    list l = {.groups = groups, .filter = filter, .cases = malloc(sizeof(rapt_case)), .capacity = 1};
    *count = 0;
    if (!l.cases)
        return NULL;
    for (size_t n = 0; n < COUNT(named); n++)
        add(&l, named[n]);
    for (size_t n = 0; n < rapt_grid_case_count; n++)
        add(&l, rapt_grid_cases[n]);
    sweep_head_dims(&l);
    sweep_lengths(&l);
    sweep_heads(&l);
    rapt_random r = {2024};
    for (unsigned n = 0; n < 400; n++) {
        rapt_case c = rapt_case_mixed(&r);
        c.groups = n < 24 ? QUICK : FULL;
        add(&l, c);
    }
    for (unsigned n = 0; n < 200; n++) {
        rapt_case c = rapt_grid_case_random(&r);
        c.groups = n < 12 ? QUICK : FULL;
        add(&l, c);
    }
    if (l.failed) {
        free(l.cases);
        return NULL;
    }
    *count = l.count;
    return l.cases;
}

/* ---- shape names ---- */

static bool read_count(const char **at, char letter, uint64_t *out)
{
    if (**at != letter || (*at)[1] < '0' || (*at)[1] > '9')
        return false;
    char *end;
    const unsigned long value = strtoul(*at + 1, &end, 10);
    if (value > 1ul << 30)
        return false;
    *at = end;
    *out = value;
    return true;
}

/* q and the dtype of keys and values, or of keys and then of values. */
static bool read_quantised(const char **at, rapt_case *c)
{
    static const struct {
        const char *name;
        rapt_dtype dtype;
    } names[] = {{"int8", RAPT_INT8}, {"int4", RAPT_INT4}, {"fp8", RAPT_FP8}};
    rapt_dtype *const to[2] = {&c->k_dtype, &c->v_dtype};
    (*at)++;
    for (int i = 0; i < 2; i++)
        for (size_t n = 0; n < COUNT(names) && *to[i] == RAPT_DTYPE_NONE; n++)
            if (strncmp(*at, names[n].name, strlen(names[n].name)) == 0) {
                *to[i] = names[n].dtype;
                *at += strlen(names[n].name);
            }
    if (c->v_dtype == RAPT_DTYPE_NONE)
        c->v_dtype = c->k_dtype;
    return c->k_dtype != RAPT_DTYPE_NONE;
}

bool rapt_case_parse(const char *name, rapt_case *out)
{
    rapt_case c = {.groups = BENCH, .seed = 1};
    const char *at = name;
    if (rapt_case_random_parse(name, out))
        return true;
    if (strlen(name) >= sizeof c.name || !read_count(&at, 'B', &c.batch) || !read_count(&at, 'H', &c.q_heads))
        return false;
    if (!read_count(&at, 'K', &c.kv_heads))
        c.kv_heads = c.q_heads;
    if (!read_count(&at, 'D', &c.d_qk))
        return false;
    if (!read_count(&at, 'V', &c.d_v))
        c.d_v = c.d_qk;
    const bool queries = read_count(&at, 'Q', &c.nq);
    if (!read_count(&at, 'N', &c.nk))
        return false;
    if (!queries)
        c.nq = c.nk;
    for (unsigned t = 0; t < 3 && c.dtype == RAPT_DTYPE_NONE; t++)
        if (strncmp(at, dtype_name(dtypes[t]), strlen(dtype_name(dtypes[t]))) == 0) {
            c.dtype = dtypes[t];
            at += strlen(dtype_name(c.dtype));
        }
    c.causal = c.dtype != RAPT_DTYPE_NONE && *at == 'c';
    at += c.causal;
    if (c.dtype != RAPT_DTYPE_NONE && !c.causal && (!rapt_grid_case_parse(&at, c.nk, &c.grid) || (c.grid.rank > 0 && queries)))
        return false;
    uint64_t window;
    if (c.dtype != RAPT_DTYPE_NONE && c.grid.rank == 0 && read_count(&at, 'w', &window) && window <= 1ul << 29) {
        c.window = true;
        c.window_left = c.window_right = (int64_t)window;
    }
    uint64_t blocks;
    if (c.dtype != RAPT_DTYPE_NONE && read_count(&at, 'b', &blocks)) {
        if (blocks == 0)
            return false;
        c.blocks = 3;
        c.block_q = c.block_k = 64;
        c.blocks_of = (uint32_t)blocks;
    }
    uint64_t page;
    if (c.dtype != RAPT_DTYPE_NONE && read_count(&at, 'p', &page)) {
        if (page == 0 || c.nk % page != 0 || c.grid.rank > 0)
            return false;
        c.page_size = (uint32_t)page;
        c.all_pages = true;
    }
    if (c.dtype != RAPT_DTYPE_NONE && *at == 'q' && !read_quantised(&at, &c))
        return false;
    if (c.dtype == RAPT_DTYPE_NONE || *at != 0)
        return false;
    memcpy(c.name, name, strlen(name) + 1);
    *out = c;
    return true;
}

/* ---- exactness ---- */

static bool one_length_is_exact(const rapt_case *c, uint64_t nk)
{
    uint64_t bits = 0;
    while ((1ull << bits) < nk)
        bits++;
    const bool uniform = !c->causal && c->grid.rank == 0 && !c->window && !c->segments && !c->blocks && nk <= 128 && (nk & (nk - 1)) == 0;
    return 2 * bits <= c->d_qk || uniform;
}

bool rapt_case_is_exact(const rapt_case *c)
{
    if (c->input != RAPT_INPUT_EXACT || c->k_dtype || c->v_dtype || c->page_size || c->ragged || c->soft_cap > 0 || c->gate || c->link || c->sinks || c->alibi || c->key_bias || c->bias ||
        c->relative || c->decay || c->rank || c->rope || c->qk_norm)
        return false;
    if (c->sequences == 0)
        return one_length_is_exact(c, c->nk);
    for (uint32_t s = 0; s < c->sequences; s++)
        if (!one_length_is_exact(c, c->length_k[s]))
            return false;
    return true;
}
