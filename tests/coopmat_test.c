/* Rows of matrix units with what changes scores, hides keys, makes weights of scores, and where keys lie, against the oracle: where keys
 * are hidden in the midst of a tile, and what they hold is not finite. Skipped where no such row is built in, or the device lists no such matrices. */
#include "rig.h"

static rig the_rig;

#define SHAPE(b, hq, hkv, q, k, d) .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = q, .nk = k, .d_qk = d, .d_v = d, .dtype = RAPT_F16, .seed = 3
#define POISONED .input = RAPT_INPUT_POISONED

#define WINDOW_CASES 3u /* the first of these: no modifier but windows */
static const rapt_case cases[] = {
    {"window", SHAPE(1, 2, 2, 70, 131, 64), .window = true, .window_left = 13, .window_right = 5},
    {"window, poisoned", SHAPE(1, 2, 1, 70, 131, 64), .window = true, .window_left = 13, .window_right = 5, POISONED},
    {"causal window, sink tokens", SHAPE(2, 2, 2, 90, 90, 40), .causal = true, .window = true, .window_left = 20, .window_right = -1,
     .sink_tokens = 3, POISONED},
    {"window, no key before it", SHAPE(1, 1, 1, 20, 400, 64), .window = true, .window_left = 30, .window_right = 0, .causal_offset = -9},
    {"window, packed heads, splits", SHAPE(1, 8, 2, 5, 300, 64), .causal = true, .window = true, .window_left = 200, .window_right = -1,
     .key_splits = 3},
    {"window, packed sequences", SHAPE(1, 2, 2, 100, 120, 32), .causal = true, .window = true, .window_left = 9, .window_right = -1,
     .sequences = 3, .length_q = {60, 0, 40}, .length_k = {50, 30, 40}},
    {"sinks", SHAPE(2, 4, 2, 33, 65, 64), .sinks = 1, .causal = true, .causal_offset = -40},
    {"sinks, splits", SHAPE(1, 2, 2, 9, 300, 64), .sinks = 2, .key_splits = 2},
    {"segments", SHAPE(2, 2, 2, 50, 67, 64), .segments = 3, POISONED},
    {"block mask", SHAPE(2, 4, 2, 101, 203, 64), .blocks = 1, .block_q = 7, .block_k = 5},
    {"block mask, poisoned", SHAPE(1, 2, 2, 64, 96, 64), .blocks = 1, .block_q = 16, .block_k = 12, POISONED},
    {"aligned blocks", SHAPE(1, 2, 2, 128, 256, 64), .blocks = 3, .block_q = 32, .block_k = 64},
    {"block mask, causal window, sinks", SHAPE(1, 4, 2, 80, 150, 64), .blocks = 2, .block_q = 9, .block_k = 11, .causal = true,
     .window = true, .window_left = 50, .window_right = -1, .sinks = 1, .soft_cap = 3},
    {"block mask, splits", SHAPE(1, 2, 2, 40, 700, 32), .blocks = 3, .block_q = 16, .block_k = 33, .key_splits = 3},
    {"alibi", SHAPE(1, 4, 2, 70, 131, 64), .alibi = true, .causal = true},
    {"alibi, poisoned", SHAPE(1, 4, 4, 70, 70, 64), .alibi = true, .causal = true, POISONED},
    {"key bias", SHAPE(2, 2, 2, 33, 77, 64), .key_bias = 1, .causal = true, .causal_offset = 5},
    {"dense bias", SHAPE(2, 4, 2, 41, 83, 48), .bias = 1},
    {"dense bias, soft cap, window", SHAPE(1, 2, 2, 41, 83, 64), .bias = 2, .soft_cap = 2, .window = true, .window_left = 9, .window_right = 30},
    {"relative positions", SHAPE(1, 4, 2, 50, 60, 64), .relative = 1},
    {"relative positions of a grid", SHAPE(1, 2, 2, 60, 60, 64), .relative = 2, .place_width = 7, .causal = true},
    {"low-rank bias", SHAPE(1, 2, 2, 40, 70, 40), .rank = 8},
    {"every bias, segments, sinks, splits", SHAPE(1, 4, 2, 37, 300, 64), .bias = 3, .key_bias = 3, .alibi = true, .relative = 2,
     .segments = 3, .sinks = 1, .key_splits = 2, POISONED},
    {"alibi, packed heads", SHAPE(1, 8, 2, 3, 200, 64), .alibi = true, .causal = true},
    {"alibi, packed sequences", SHAPE(1, 2, 2, 100, 120, 32), .alibi = true, .causal = true, .sequences = 3, .length_q = {60, 0, 40},
     .length_k = {50, 30, 40}},
    {"bias, block mask, poisoned", SHAPE(1, 2, 2, 64, 96, 64), .alibi = true, .blocks = 1, .block_q = 7, .block_k = 12, POISONED},
    {"decay", SHAPE(1, 4, 2, 60, 90, 64), .decay = true, .causal = true},
    {"decay of a grid, alibi", SHAPE(1, 2, 2, 60, 60, 64), .decay = true, .place_width = 9, .alibi = true, POISONED, .causal = true},
    {"decay, no link, splits", SHAPE(1, 2, 2, 60, 300, 64), .decay = true, .link = RAPT_LINK_NONE, .causal = true, .key_splits = 2},
    {"decay, clipped", SHAPE(1, 2, 2, 30, 70, 64), .decay = true, .link = RAPT_LINK_CLIPPED},
    {"off by one", SHAPE(2, 4, 2, 33, 65, 64), .link = RAPT_LINK_OFFBYONE, .causal = true, .causal_offset = -40},
    {"off by one, splits", SHAPE(1, 2, 2, 9, 300, 64), .link = RAPT_LINK_OFFBYONE, .key_splits = 3},
    {"signed", SHAPE(1, 2, 2, 70, 131, 64), .link = RAPT_LINK_SIGNED, .causal = true, POISONED},
    {"signed, sinks, splits", SHAPE(1, 2, 2, 9, 300, 64), .link = RAPT_LINK_SIGNED, .sinks = 1, .key_splits = 2},
    {"sigmoid", SHAPE(1, 4, 2, 70, 131, 64), .link = RAPT_LINK_SIGMOID, .causal = true, POISONED},
    {"sigmoid, splits", SHAPE(1, 4, 2, 9, 300, 64), .link = RAPT_LINK_SIGMOID, .key_splits = 3},
    {"sigmoid, key bias", SHAPE(2, 2, 2, 33, 77, 64), .link = RAPT_LINK_SIGMOID, .key_bias = 1},
    {"laplace", SHAPE(1, 2, 2, 40, 77, 64), .link = RAPT_LINK_LAPLACE, .causal = true},
    {"relu", SHAPE(1, 2, 2, 40, 77, 64), .link = RAPT_LINK_RELU, .window = true, .window_left = 9, .window_right = 3, POISONED},
    {"relu, large", SHAPE(1, 2, 2, 40, 77, 64), .link = RAPT_LINK_RELU, .input = RAPT_INPUT_LARGE},
    {"no link", SHAPE(1, 2, 2, 40, 77, 64), .link = RAPT_LINK_NONE, .causal = true, .causal_offset = -5, POISONED},
    {"no link, large", SHAPE(1, 2, 2, 40, 77, 64), .link = RAPT_LINK_NONE, .input = RAPT_INPUT_LARGE},
    {"clipped", SHAPE(1, 2, 2, 40, 77, 64), .link = RAPT_LINK_CLIPPED, .causal = true, POISONED},
    {"affine", SHAPE(1, 2, 2, 40, 77, 64), .link = RAPT_LINK_AFFINE, .segments = 2},
    {"pages", SHAPE(3, 4, 2, 20, 96, 64), .page_size = 8, .causal = true},
    {"pages of any size, holes, poisoned", SHAPE(2, 4, 2, 33, 77, 64), .page_size = 7, POISONED},
    {"pages, lengths, packed heads, splits", SHAPE(3, 8, 2, 1, 320, 64), .page_size = 16, .ragged = true, .length_k = {320, 5, 129},
     .key_splits = 3},
    {"lengths", SHAPE(3, 2, 2, 30, 70, 64), .ragged = true, .length_k = {70, 0, 33}, .causal = true, POISONED},
    {"pages, window, alibi, sinks", SHAPE(2, 4, 2, 50, 130, 64), .page_size = 10, .window = true, .window_left = 40, .window_right = 0,
     .alibi = true, .sinks = 1, POISONED},
    {"gate, rotary positions, norm", SHAPE(1, 2, 2, 40, 60, 64), .gate = true, .rope = 1, .qk_norm = true, .alibi = true},
};

/* What the rows on matrices of a workgroup take: window, soft cap, packed heads and sequences, splits. */
static const rapt_case plain_cases[] = {
    {"plain", SHAPE(1, 2, 1, 70, 131, 64)},
    {"causal, poisoned", SHAPE(1, 4, 2, 70, 90, 64), .causal = true, .causal_offset = -9, POISONED},
    {"causal, no key for some rows", SHAPE(1, 4, 2, 80, 40, 64), .causal = true, .causal_offset = -5, POISONED},
    {"packed sequences", SHAPE(1, 2, 2, 100, 120, 64), .causal = true, .sequences = 3, .length_q = {60, 0, 40}, .length_k = {50, 30, 40}, POISONED},
    {"packed heads, splits, poisoned", SHAPE(2, 12, 2, 4, 300, 64), .causal = true, .causal_offset = -70, .key_splits = 4, POISONED},
    {"soft cap", SHAPE(1, 2, 2, 41, 83, 64), .soft_cap = 2, .causal = true},
    {"large scores", SHAPE(1, 2, 2, 41, 83, 64), .input = RAPT_INPUT_LARGE},
};

static void test_coopmat2(void **state)
{
    (void)state;
    static const char *const rows[] = {"coopmat2-f16-d64-emulated", "coopmat2-f16-d64"};
    unsigned ran = 0;
    rig_open(&the_rig, NULL);
    for (size_t r = 0; r < RAPT_COUNT(rows); r++) {
        bool there = false;
        for (uint32_t i = 0; i < rapt_kernels()->row_count; i++)
            there = there || strcmp(rapt_kernels()->rows[i].name, rows[r]) == 0;
        bool lists_them = true;
        for (size_t i = 0; i < RAPT_COUNT(plain_cases) + WINDOW_CASES && there && lists_them; i++) {
            const rapt_case *c = i < WINDOW_CASES ? &cases[i] : &plain_cases[i - WINDOW_CASES];
            const rapt_result result = rig_try(&the_rig, c, rows[r], 1);
            lists_them = result.verdict != RAPT_CHECK_REFUSED;
            if (!lists_them && (i > 0 || strstr(result.error.message, "has no form") != NULL))
                fail_msg("%s: %s", c->name, result.error.message);
            ran += lists_them;
        }
    }
    rig_close(&the_rig);
    if (ran == 0) /* no fp16: even the emulated row is refused */
        skip();
    print_message("  %u cases\n", ran);
}

static void test_coopmat(void **state)
{
    (void)state;
    static const char *const rows[] = {"coopmat-f16-d64-8x8x8", "coopmat-f16-d64-16x16x16", "coopmat-f16-d64-16x16x16-t"};
    unsigned ran = 0;
    rig_open(&the_rig, NULL);
    for (size_t r = 0; r < RAPT_COUNT(rows); r++) {
        bool there = false;
        for (uint32_t i = 0; i < rapt_kernels()->row_count; i++)
            there = there || strcmp(rapt_kernels()->rows[i].name, rows[r]) == 0;
        for (size_t i = 0; i < RAPT_COUNT(cases) && there; i++) {
            const rapt_result result = rig_try(&the_rig, &cases[i], rows[r], 1);
            if (result.verdict == RAPT_CHECK_REFUSED) {
                if (i > 0 || strstr(result.error.message, "has no form") != NULL)
                    fail_msg("%s: %s", cases[i].name, result.error.message);
                break; /* from the first case on: the device lists no such matrices */
            }
            ran++;
        }
    }
    rig_close(&the_rig);
    if (ran == 0)
        skip();
    print_message("  %u cases\n", ran);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_coopmat), cmocka_unit_test(test_coopmat2)};
    return RIG_RUN("coopmat", tests);
}
