/* Column sums and row maxima of attention against attention itself (check/oracle_margins.h), over modifiers, layouts and cuts.
 * RAPT_TEST_COMPILER is librapt_compiler; without it code of an app is left out. RAPT_TEST_FEW: see support.h. */
#include "rig.h"

#include "check/compare.h"
#include "check/oracle_margins.h"
#include "check/problem.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

#define SHAPE(b, hq, hkv, q, k, d) .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = q, .nk = k, .d_qk = d, .d_v = d, .seed = 7

/* ---- one problem ---- */

/* Rows lie apart, and so do elements; what is between them must stay as it is. */
static rapt_tensor spread(uint64_t b, uint64_t h, uint64_t n)
{
    const int64_t row = 2 * (int64_t)n + 3, batch = row * (int64_t)h + 5;
    return (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {b, h, n}, .stride = {batch, row, 2}, .align = 4};
}

/* Takes the tensor's numbers out of a buffer and leaves poison, but where nothing may be written; then all must be poison. */
static double *take(rapt_buffer *buffer, const rapt_tensor *t, const uint8_t *flags, const char *name)
{
    const uint64_t bytes = rapt_tensor_bytes(t), count = t->size[0] * t->size[1] * t->size[2];
    uint32_t *words = malloc(bytes + 4);
    double *numbers = malloc((count + 1) * sizeof *numbers);
    assert_true(words != NULL && numbers != NULL);
    if (bytes > 0)
        RIG_OK(rapt_buffer_download(buffer, 0, words, bytes, error));
    for (uint64_t n = 0; n < count; n++) {
        const uint64_t at = n / t->size[2] / t->size[1] * (uint64_t)t->stride[0] +
                            n / t->size[2] % t->size[1] * (uint64_t)t->stride[1] + n % t->size[2] * (uint64_t)t->stride[2];
        float x;
        memcpy(&x, &words[at], 4);
        numbers[n] = (double)x;
        if (flags[n] != RAPT_ROW_UNTOUCHED)
            words[at] = RAPT_POISON;
    }
    for (uint64_t at = 0; at < bytes / 4; at++)
        if (words[at] != RAPT_POISON)
            fail_msg("%s: wrote between its elements, at word %u", name, (unsigned)at);
    free(words);
    return numbers;
}

/* Scores err by single precision's rounding at their own size, and at that of the log-sum-exp; sums by as much of themselves. */
static void compare(const char *what, const double *got, const double *want, const uint8_t *flags, uint64_t count, double score)
{
    double largest = 1;
    for (uint64_t n = 0; n < count; n++)
        largest = flags[n] == RAPT_ROW_DONE && isfinite(want[n]) ? fmax(largest, fabs(want[n])) : largest;
    const rapt_check_difference d = rapt_check_compare(got, want, flags, count, 1, 0x1p-19 * largest * fmax(1, score / 4));
    if (d.wrong > 0)
        fail_msg("%s: %u of %u wrong, worst %.9g for %.9g at %u", what, (unsigned)d.wrong, (unsigned)d.compared, d.got, d.want,
                 (unsigned)d.worst);
}

typedef struct expected {
    double *sums, *maxima;
    uint8_t *columns, *rows;
} expected;

static void expect(const rapt_check_problem *p, expected *e)
{
    const rapt_tensor *c = &p->desc.col_sums, *r = &p->desc.row_max;
    const uint64_t columns = c->size[0] * c->size[1] * c->size[2], rows = r->size[0] * r->size[1] * r->size[2];
    const rapt_check_inputs in = rapt_check_problem_inputs(p);
    *e = (expected){malloc((columns + 1) * sizeof(double)), malloc((rows + 1) * sizeof(double)), malloc(columns + 1), malloc(rows + 1)};
    assert_true(e->sums && e->maxima && e->columns && e->rows);
    assert_true(rapt_check_margins_f64(&p->desc, &in, e->sums, e->columns, e->maxima, e->rows));
}

static void judge(const rapt_check_problem *p, rapt_trial *t, const expected *e)
{
    const rapt_tensor *c = &p->desc.col_sums, *r = &p->desc.row_max;
    const uint64_t columns = c->size[0] * c->size[1] * c->size[2], rows = r->size[0] * r->size[1] * r->size[2];
    double score = 1;
    for (uint64_t n = 0; n < rows; n++)
        score = e->rows[n] == RAPT_ROW_DONE && isfinite(e->maxima[n]) ? fmax(score, fabs(e->maxima[n])) : score;
    double *sums = take(t->col_sums, c, e->columns, "col_sums"), *maxima = take(t->row_max, r, e->rows, "row_max");
    compare("col_sums", sums, e->sums, e->columns, columns, score);
    compare("row_max", maxima, e->maxima, e->rows, rows, score);
    free(sums);
    free(maxima);
}

/* Runs a case with both outputs and compares all of what it gives. */
static void check(const rapt_case *c, const rapt_check_user *user, bool by_kv, const char *kernel, float slice_ms)
{
    rapt_check_problem p;
    rapt_trial t;
    expected e;
    print_message("  %s\n", c->name);
    assert_true(rapt_check_problem_make_user(c, user, 1, &p));
    const rapt_tensor *k = &p.desc.k;
    const uint64_t keys = c->page_size ? p.desc.block_table.size[1] * c->page_size : k->size[2];
    p.desc.col_sums = spread(c->batch, by_kv ? c->kv_heads : p.heads, keys);
    p.desc.row_max = spread(c->batch, p.heads, c->nq);
    p.desc.slice_ms = slice_ms;
    expect(&p, &e);
    RIG_OK(rapt_trial_open(the_rig.device, &p, kernel, &t, error));
    const rapt_result r = rapt_trial_check(&t, 0);
    if (r.verdict != RAPT_CHECK_PASS)
        fail_msg("%s: %s%s", c->name, r.message, r.error.message);
    for (unsigned run = 0; run < 2; run++) {
        if (rapt_tensor_bytes(&p.desc.col_sums) > 0)
            RIG_OK(rapt_buffer_fill(t.col_sums, 0, rapt_tensor_bytes(&p.desc.col_sums), RAPT_POISON, error));
        if (rapt_tensor_bytes(&p.desc.row_max) > 0)
            RIG_OK(rapt_buffer_fill(t.row_max, 0, rapt_tensor_bytes(&p.desc.row_max), RAPT_POISON, error));
        RIG_OK(rapt_trial_submit(&t, NULL, NULL, error));
        judge(&p, &t, &e);
    }
    rapt_trial_close(&t);
    rapt_check_problem_free(&p);
    free(e.sums);
    free(e.maxima);
    free(e.columns);
    free(e.rows);
}

/* ---- all that changes scores, weights and what is seen ---- */

static const struct {
    rapt_case c;
    bool by_kv;
} cases[] = {
    {{"plain", SHAPE(1, 2, 2, 70, 131, 32), .dtype = RAPT_F32}, false},
    {{"grouped heads", SHAPE(2, 6, 2, 33, 65, 32), .dtype = RAPT_F16, .causal = true}, true},
    {{"uneven heads", SHAPE(1, 5, 3, 17, 66, 20), .dtype = RAPT_F32}, true},
    {{"fewer query heads", SHAPE(1, 2, 4, 17, 66, 32), .dtype = RAPT_BF16, .no_lse = true}, false},
    {{"odd layout", SHAPE(2, 3, 1, 37, 130, 19), .dtype = RAPT_F16, .layout = RAPT_LAYOUT_ODD, .input = RAPT_INPUT_POISONED, .causal = true}, true},
    {{"one query", SHAPE(2, 8, 2, 1, 300, 64), .dtype = RAPT_F32, .no_lse = true}, true},
    {{"key splits", SHAPE(1, 4, 2, 5, 700, 64), .dtype = RAPT_F32, .key_splits = 3, .no_lse = true}, false},
    {{"wide heads", SHAPE(1, 1, 1, 9, 70, 150), .dtype = RAPT_F32}, false},
    {{"window and sink tokens", SHAPE(1, 2, 2, 150, 333, 32), .dtype = RAPT_F32, .window = true, .window_left = 40, .window_right = 9,
      .sink_tokens = 70, .input = RAPT_INPUT_POISONED}, false},
    {{"causal window", SHAPE(1, 2, 2, 150, 140, 32), .dtype = RAPT_F32, .causal = true, .causal_offset = -3, .window = true,
      .window_left = 17, .window_right = -1}, false},
    {{"sinks, soft cap, ALiBi", SHAPE(2, 4, 2, 20, 90, 32), .dtype = RAPT_F32, .sinks = 1, .soft_cap = 2, .alibi = true, .causal = true}, true},
    {{"biases", SHAPE(2, 2, 2, 21, 67, 32), .dtype = RAPT_F32, .bias = 1, .key_bias = 1, .relative = 1}, false},
    {{"segments, decay", SHAPE(1, 2, 2, 40, 67, 32), .dtype = RAPT_F32, .segments = 3, .decay = true}, false},
    {{"block mask", SHAPE(2, 4, 2, 101, 203, 32), .dtype = RAPT_F32, .blocks = 1, .block_q = 7, .block_k = 5}, true},
    {{"rope, norm, rank", SHAPE(1, 2, 2, 30, 50, 32), .dtype = RAPT_F32, .rope = 1, .qk_norm = true, .rank = 3}, false},
    {{"packed sequences", SHAPE(1, 4, 2, 100, 120, 32), .dtype = RAPT_F32, .causal = true, .sequences = 3, .length_q = {60, 0, 40},
      .length_k = {50, 30, 40}}, true},
    {{"lengths", SHAPE(3, 2, 2, 4, 90, 32), .dtype = RAPT_F32, .causal = true, .ragged = true, .length_k = {90, 0, 33}}, false},
    {{"pages", SHAPE(2, 4, 2, 4, 96, 32), .dtype = RAPT_F16, .page_size = 16}, true},
    {{"pages of lengths", SHAPE(2, 2, 2, 3, 90, 32), .dtype = RAPT_F32, .page_size = 10, .ragged = true, .length_k = {71, 12}}, false},
    {{"signed", SHAPE(1, 2, 2, 20, 66, 32), .dtype = RAPT_F32, .link = RAPT_LINK_SIGNED}, false},
    {{"off by one", SHAPE(1, 2, 2, 20, 66, 32), .dtype = RAPT_F32, .link = RAPT_LINK_OFFBYONE}, false},
    {{"sigmoid", SHAPE(1, 2, 2, 20, 66, 32), .dtype = RAPT_F32, .link = RAPT_LINK_SIGMOID, .causal = true}, false},
    {{"clipped", SHAPE(1, 2, 2, 20, 66, 32), .dtype = RAPT_F32, .link = RAPT_LINK_CLIPPED, .no_lse = true}, false},
    {{"no queries", SHAPE(1, 2, 2, 0, 66, 32), .dtype = RAPT_F32}, false},
    {{"no keys", SHAPE(1, 2, 2, 20, 0, 32), .dtype = RAPT_F32}, false},
};

static void test_cases(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(cases); i++)
        if (test_takes(i))
            check(&cases[i].c, NULL, cases[i].by_kv, NULL, 0);
    rig_close(&the_rig);
}

/* The row for GPUs, which give no rows from lane to lane: where the device chooses the other one, some of the cases again. */
static void test_without_shuffles(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.mask = "no-subgroup"});
    for (size_t i = 0; i < RAPT_COUNT(cases); i += 4)
        check(&cases[i].c, NULL, cases[i].by_kv, NULL, 0);
    rig_close(&the_rig);
}

/* Cut along queries and keys, each part goes on where the one before it ended. */
static void test_cut(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    const rapt_case c = {"cut", SHAPE(1, 4, 2, 400, 600, 32), .dtype = RAPT_F32, .causal = true};
    check(&c, NULL, true, NULL, 1e-4f);
    the_rig.device->caps.max_storage_range = 40960; /* 320 rows of q or k */
    check(&c, NULL, false, "naive-f32", 0);
    rig_close(&the_rig);
}

/* ---- code of an app ---- */

static double halved(const rapt_check_user *user, double score, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)user;
    return score * 0.5 + 0.125 * (double)((b + h + q + k) % 3);
}
static bool mostly(const rapt_check_user *user, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)user;
    return (b + 2 * h + 3 * q + k) % 5 != 1;
}
static const rapt_check_user user = {
    .score_text = {"float score_mod(float s, uint b, uint h, uint q, uint k) { return s * 0.5 + 0.125 * float((b + h + q + k) % 3u); }"},
    .mask_text = {"bool mask_mod(uint b, uint h, uint q, uint k) { return (b + 2u * h + 3u * q + k) % 5u != 1u; }"},
    .score_mod = halved,
    .mask_mod = mostly,
};

static void test_user(void **state)
{
    (void)state;
    if (getenv("RAPT_TEST_COMPILER") == NULL)
        skip();
    rig_open(&the_rig, &(rig_options){.compiler = getenv("RAPT_TEST_COMPILER")});
    const rapt_case c = {"score_mod and mask_mod", SHAPE(2, 4, 2, 30, 70, 32), .dtype = RAPT_F32, .causal = true};
    check(&c, &user, true, NULL, 0);
    rig_close(&the_rig);
}

/* ---- what is refused, and promised ---- */

static void test_refused(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 4, 2, 8, 16, 32, true);
    rapt_plan *plan = NULL;
    d.col_sums = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, 3, 16}, .stride = {48, 16, 1}};
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_INVALID, "col_sums is (1, 3, 16), must be (1, 4 or 2, 16)");
    d.col_sums.size[1] = 2;
    d.col_sums.stride[1] = 0;
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_INVALID, "col_sums: elements overlap");
    d.col_sums.stride[1] = 16;
    d.col_sums.dtype = RAPT_F16;
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_INVALID, "col_sums is f16, must be f32");
    d.col_sums = (rapt_tensor){0};
    d.row_max = d.lse;
    d.row_max.size[2] = 7;
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_INVALID, "row_max is (1, 4, 7), must be (1, 4, 8)");
    d = rig_desc(RAPT_F32, 1, 2, 2, 16, 16, 32, false);
    d.grid = (rapt_grid){.rank = 1, .size = {16}, .kernel_size = {3}};
    d.row_max = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, 2, 16}, .stride = {32, 16, 1}};
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_INVALID, "row_max does not go with a grid");
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_without_shuffles), cmocka_unit_test(test_cut), cmocka_unit_test(test_user),
                                 cmocka_unit_test(test_refused)};
    return RIG_RUN("margin", tests);
}
