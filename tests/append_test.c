/* Rows rewritten as they are placed in a cache: norms, rotary positions and quantisation, against their
 * definitions; and decoding from what was placed. */
#include "rig.h"

#include "check/half.h"
#include "check/oracle_rows.h"
#include "check/quantised.h"

#include <math.h>

static rig the_rig;

enum { MOST_WORDS = 64, MOST_DIM = 128 };

/* Rows of `batch` sequences, some of which name no slot, into pages in no order. */
typedef struct append {
    const char *name;
    rapt_dtype dtype, to; /* to: RAPT_DTYPE_NONE: as dtype */
    uint64_t batch, heads, m, dim, page_size;
    uint64_t gap; /* between rows of the cache */
    bool norm, weighted, rope, interleaved, one_list, one_position;
    uint32_t rope_dim;
    float size;     /* of the numbers; 0: 1 */
    float slice_ms; /* 0: as usual */
} append;

typedef struct arrays {
    rapt_rows_desc d;
    uint64_t pages;
    uint8_t *x, *out;
    int32_t *list, *positions;
    float *weights;
} arrays;

static bool quantised(const append *a)
{
    return rapt_check_is_quantised(a->to);
}

static arrays make(const append *a)
{
    arrays r = {.d = RAPT_ROWS_DESC_INIT};
    const uint64_t lists = a->one_list ? 1 : a->batch, lines = a->one_position ? 1 : a->batch;
    const uint64_t width = quantised(a) ? rapt_check_row_words(a->to, a->dim) : a->dim;
    r.pages = lists * a->m / a->page_size + 2;
    r.d.kind = RAPT_ROWS_PLACE;
    r.d.x = rapt_tensor_bhnd(a->dtype, a->batch, a->heads, a->m, a->dim);
    r.d.list = (rapt_tensor){
        .dtype = RAPT_I32, .rank = 3, .size = {lists, 1, a->m}, .stride = {(int64_t)a->m, (int64_t)a->m, 1}};
    r.d.out =
        rapt_tensor_bhnd(quantised(a) ? a->to : a->dtype, r.pages, a->heads, a->page_size, width + a->gap);
    r.d.out.size[3] = width;
    r.d.flags = (a->norm ? RAPT_ROWS_NORM : 0) | (a->interleaved ? RAPT_ROWS_ROPE_INTERLEAVED : 0);
    r.d.norm_epsilon = a->norm ? 1e-6f : 0;
    r.d.slice_ms = a->slice_ms;
    if (a->weighted)
        r.d.norm_weight = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {a->dim}, .stride = {1}};
    if (a->rope) {
        r.d.rope_base = 10000;
        r.d.rope_dim = a->rope_dim;
        r.d.positions =
            (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {lines, a->m}, .stride = {(int64_t)a->m, 1}};
    }
    float *numbers = rig_numbers(RAPT_F32, a->batch * a->heads * a->m * a->dim + 1, 5);
    r.x = calloc(rapt_tensor_bytes(&r.d.x) + 4, 1);
    r.out = malloc(rapt_tensor_bytes(&r.d.out) + 4);
    r.list = malloc((lists * a->m + 1) * 4);
    r.positions = malloc((lines * a->m + 1) * 4);
    r.weights = rig_numbers(RAPT_F32, a->dim, 6);
    assert_true(numbers && r.x && r.out && r.list && r.positions && r.weights);
    for (uint64_t i = 0; i < a->batch * a->heads * a->m * a->dim; i++)
        rapt_check_store(r.x, a->dtype, (int64_t)i, numbers[i] * (a->size != 0 ? a->size : 1));
    free(numbers);
    memset(r.out, 0xff, rapt_tensor_bytes(&r.d.out) + 4);
    const uint64_t slots = r.pages * a->page_size;
    for (uint64_t i = 0; i < lists * a->m; i++)
        r.list[i] = i % 7 == 3 ? (i % 2 ? -1 : (int32_t)slots) : (int32_t)(slots - 1 - i);
    for (uint64_t i = 0; i < lines * a->m; i++)
        r.positions[i] = (int32_t)(i * i * 37 % 131072) - (i == 2 ? 5 : 0);
    return r;
}

static void put_away(arrays *r)
{
    free(r->x);
    free(r->out);
    free(r->list);
    free(r->positions);
    free(r->weights);
}

static void run(arrays *r)
{
    rig_run_rows(
        the_rig.device, &r->d,
        &(rig_rows){
            .x = r->x, .list = r->list, .norm_weight = r->weights, .positions = r->positions, .out = r->out});
}

/* How far element e may be from `want`. */
static double allowed(const append *a, const double *want, uint64_t e)
{
    double largest = 0;
    for (uint64_t i = e / RAPT_QUANTISED_BLOCK * RAPT_QUANTISED_BLOCK;
         i < a->dim && i / RAPT_QUANTISED_BLOCK == e / RAPT_QUANTISED_BLOCK; i++)
        largest = fmax(largest, fabs(want[i]));
    if (quantised(a)) /* and what single precision makes of the number before */
        return rapt_check_quantised_bound(a->to, want[e], largest) * 1.001 + 0x1p-19 * largest;
    const double unit = a->dtype == RAPT_F32 ? 0x1p-20 : a->dtype == RAPT_F16 ? 0x1p-10 : 0x1p-7;
    return unit * fabs(want[e]) + 0x1p-19 * largest;
}

static void check_row(const append *a, const arrays *r, uint64_t b, uint64_t h, uint64_t i)
{
    const int32_t slot = r->list[(a->one_list ? 0 : b) * a->m + i];
    double want[MOST_DIM];
    float got[MOST_DIM];
    if (slot < 0 || (uint64_t)slot >= r->pages * a->page_size)
        return;
    for (uint64_t e = 0; e < a->dim; e++)
        want[e] =
            (double)rapt_check_load(r->x, a->dtype, (int64_t)(((b * a->heads + h) * a->m + i) * a->dim + e));
    rapt_check_place_row(&r->d, a->dim, a->weighted ? r->weights : NULL,
                         r->positions[(a->one_position ? 0 : b) * a->m + i], want);
    const int64_t at = slot / (int64_t)a->page_size * r->d.out.stride[0] + (int64_t)h * r->d.out.stride[1] +
                       slot % (int64_t)a->page_size * r->d.out.stride[2];
    if (quantised(a))
        rapt_check_dequantise(a->to, (const uint32_t *)(const void *)r->out + at, a->dim, got);
    for (uint64_t e = 0; e < a->dim; e++) {
        const double x =
            quantised(a) ? (double)got[e] : (double)rapt_check_load(r->out, a->dtype, at + (int64_t)e);
        if (!(fabs(x - want[e]) <= allowed(a, want, e)))
            fail_msg("%s: (%llu, %llu, %llu, %llu) is %.9g, not %.9g +- %.3g", a->name, (unsigned long long)b,
                     (unsigned long long)h, (unsigned long long)i, (unsigned long long)e, x, want[e],
                     allowed(a, want, e));
    }
    /* What was checked is made what was there, so that nothing else may differ from that. */
    memset(r->out + (uint64_t)at * rapt_dtype_size(r->d.out.dtype), 0xff,
           r->d.out.size[3] * rapt_dtype_size(r->d.out.dtype));
}

static void check(const append *a)
{
    arrays r = make(a);
    run(&r);
    for (uint64_t b = a->one_list ? a->batch - 1 : 0; b < a->batch; b++)
        for (uint64_t h = 0; h < a->heads; h++)
            for (uint64_t i = 0; i < a->m; i++)
                check_row(a, &r, b, h, i);
    for (uint64_t n = 0; n < rapt_tensor_bytes(&r.d.out); n++)
        if (r.out[n] != 0xff)
            fail_msg("%s: byte %llu was written", a->name, (unsigned long long)n);
    put_away(&r);
}

static void test_cases(void **state)
{
    (void)state;
    static const append cases[] = {
        {"int8", RAPT_F32, RAPT_INT8, 2, 3, 9, 64, 4},
        {"int4-f16", RAPT_F16, RAPT_INT4, 2, 3, 9, 128, 4, .gap = 4},
        {"fp8-bf16", RAPT_BF16, RAPT_FP8, 1, 2, 9, 40, 16},
        {"int8-odd", RAPT_F32, RAPT_INT8, 1, 2, 9, 33, 5, .gap = 3},
        {"int4-odd", RAPT_F32, RAPT_INT4, 2, 1, 9, 77, 1},
        {"fp8-one", RAPT_F32, RAPT_FP8, 1, 2, 3, 1, 4},
        {"int8-small", RAPT_F32, RAPT_INT8, 1, 2, 5, 32, 4, .size = 1e-25f},
        {"fp8-large", RAPT_F32, RAPT_FP8, 1, 2, 5, 32, 4, .size = 1e25f},
        {"norm", RAPT_F32, RAPT_DTYPE_NONE, 2, 2, 6, 24, 4, .norm = true},
        {"norm-weights-f16-odd", RAPT_F16, RAPT_DTYPE_NONE, 2, 2, 6, 23, 4, .gap = 2, .norm = true,
         .weighted = true},
        {"rope", RAPT_F32, RAPT_DTYPE_NONE, 2, 2, 9, 128, 4, .rope = true},
        {"rope-half-bf16", RAPT_BF16, RAPT_DTYPE_NONE, 1, 2, 9, 72, 4, .rope = true, .rope_dim = 20,
         .one_position = true},
        {"rope-interleaved", RAPT_F32, RAPT_DTYPE_NONE, 3, 2, 9, 64, 4, .rope = true, .interleaved = true,
         .one_position = true},
        {"all-int8", RAPT_F32, RAPT_INT8, 2, 2, 9, 128, 4, .norm = true, .weighted = true, .rope = true},
        {"all-int4-f16", RAPT_F16, RAPT_INT4, 2, 2, 9, 96, 4, .norm = true, .weighted = true, .rope = true,
         .interleaved = true},
        {"all-slices", RAPT_F32, RAPT_FP8, 2, 2, 150, 64, 16, .norm = true, .rope = true,
         .slice_ms = 0.0001f},
        {"one-list", RAPT_F32, RAPT_INT8, 1, 4, 9, 64, 4, .one_list = true},
        {"nothing", RAPT_F32, RAPT_INT8, 1, 2, 0, 64, 4},
    };
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        check(&cases[i]);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", cases[i].name, strstr(the_rig.log, "validation: "));
    }
    rig_close(&the_rig);
}

/* Whole numbers up to the largest code are stored exactly; blocks of zeros are zeros, those with NaN or Inf
 * are NaN as a whole, and their neighbours are not. */
static void test_exact_zero_and_bad(void **state)
{
    (void)state;
    static const append a = {"bad", RAPT_F32, RAPT_INT8, 1, 1, 4, 96, 8};
    static const rapt_dtype formats[] = {RAPT_INT8, RAPT_INT4, RAPT_FP8};
    rig_open(&the_rig, NULL);
    for (unsigned f = 0; f < 3; f++) {
        append of = a;
        of.to = formats[f];
        arrays r = make(&of);
        float *x = (float *)(void *)r.x, got[96];
        for (int i = 0; i < 4 * 96; i++)
            x[i] = (float)((i * 5) % 15 - 7);
        for (int i = 0; i < 4 * 96; i += 32) /* the largest code, so that scales are 1 */
            x[i] = f == 0 ? 127.0f : f == 1 ? -7.0f : 448.0f;
        memset(x + 32, 0, 32 * sizeof *x);
        x[96 + 5] = NAN;
        x[2 * 96 + 95] = -INFINITY;
        run(&r);
        for (int i = 0; i < 3; i++) { /* of four rows the last one names no slot */
            const int64_t at = r.list[i] / 8 * r.d.out.stride[0] + r.list[i] % 8 * r.d.out.stride[2];
            rapt_check_dequantise(formats[f], (const uint32_t *)(const void *)r.out + at, 96, got);
            for (int e = 0; e < 96; e++) {
                const bool bad = (i == 1 && e < 32) || (i == 2 && e >= 64);
                const float want = x[i * 96 + e];
                if (bad ? !isnan(got[e]) : !(fabsf(got[e] - want) <= 1e-6f * fabsf(want)))
                    fail_msg("%s: element %d of row %d is %g, of %g", rapt_dtype_name(formats[f]), e, i,
                             (double)got[e], (double)want);
            }
        }
        put_away(&r);
    }
    rig_close(&the_rig);
}

/* Streaming heads, as rapt/rows.h has them: a ring behind sinks, of keys turned as they are placed, against
 * attention over all keys with a window and sinks, which turns them itself. */
static void test_streaming_heads(void **state)
{
    (void)state;
    enum {
        HEADS = 2,
        N = 23,
        DIM = 16,
        SINKS = 2,
        WINDOW = 7,
        ROOM = SINKS + WINDOW,
        CALLS = 5,
        COUNT = HEADS * N * DIM
    };
    float ring[HEADS * DIM], plain[HEADS * DIM], q[HEADS * DIM], cache[2][HEADS * ROOM * DIM];
    rig_open(&the_rig, NULL);
    float *k = rig_numbers(RAPT_F32, COUNT, 1), *v = rig_numbers(RAPT_F32, COUNT, 2),
          *q_given = rig_numbers(RAPT_F32, HEADS * DIM, 3);
    memset(cache, 0xff, sizeof cache);
    rapt_rows_desc d = RAPT_ROWS_DESC_INIT;
    d.kind = RAPT_ROWS_PLACE;
    for (int32_t first = 0; first < N; first += CALLS) { /* a slot at most once a call */
        const int32_t count = RAPT_MIN(CALLS, N - first);
        int32_t slots[CALLS], places[CALLS];
        for (int32_t i = 0; i < count; i++) {
            places[i] = first + i;
            slots[i] = places[i] < SINKS ? places[i] : SINKS + (places[i] - SINKS) % WINDOW;
        }
        for (int t = 0; t < 2; t++) { /* keys are turned, values not */
            d.x = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, (uint64_t)count, DIM);
            d.x.stride[1] = N * DIM;
            d.out = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, ROOM, DIM);
            d.list = (rapt_tensor){
                .dtype = RAPT_I32, .rank = 3, .size = {1, 1, (uint64_t)count}, .stride = {count, count, 1}};
            d.rope_base = t ? 0 : 10000;
            d.positions =
                t ? (rapt_tensor){.dtype = RAPT_DTYPE_NONE}
                  : (rapt_tensor){
                        .dtype = RAPT_I32, .rank = 2, .size = {1, (uint64_t)count}, .stride = {count, 1}};
            rig_run_rows(
                the_rig.device, &d,
                &(rig_rows){
                    .x = (t ? v : k) + first * DIM, .list = slots, .positions = places, .out = cache[t]});
        }
    }
    const int32_t zero = 0, last = N - 1;
    d.x = d.out = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, 1, DIM);
    d.list = (rapt_tensor){.dtype = RAPT_I32, .rank = 3, .size = {1, 1, 1}, .stride = {1, 1, 1}};
    d.positions = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {1, 1}, .stride = {1, 1}};
    d.rope_base = 10000;
    rig_run_rows(the_rig.device, &d, &(rig_rows){.x = q_given, .list = &zero, .positions = &last, .out = q});
    rig_call call = {.desc = rig_desc(RAPT_F32, 1, HEADS, HEADS, 1, ROOM, DIM, false),
                     .q = q,
                     .k = cache[0],
                     .v = cache[1],
                     .out = ring};
    rig_run(the_rig.device, &call);
    call = (rig_call){.desc = rig_desc(RAPT_F32, 1, HEADS, HEADS, 1, N, DIM, false),
                      .q = q_given,
                      .k = k,
                      .v = v,
                      .out = plain};
    call.desc.flags = RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW;
    call.desc.window_left = WINDOW - 1;
    call.desc.window_right = -1;
    call.desc.sink_tokens = SINKS;
    call.desc.rope_base = 10000;
    rig_run(the_rig.device, &call);
    for (int i = 0; i < HEADS * DIM; i++)
        assert_true(fabsf(ring[i] - plain[i]) <= 1e-5f * (1 + fabsf(plain[i])));
    free(k);
    free(v);
    free(q_given);
    rig_close(&the_rig);
}

static void test_refusals(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    static const append a = {"refused", RAPT_F32,     RAPT_INT8,        2,           2, 4, 64,
                             4,         .norm = true, .weighted = true, .rope = true};
    arrays r = make(&a);
    rapt_plan *plan = NULL;
    RIG_OK(rapt_rows_plan_for_caps(&caps, &r.d, &plan, error)); /* no 8-bit storage is needed */
    char text[4096];
    rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text);
    assert_non_null(
        strstr(text, "norm with epsilon 1e-06 and weights, rope of base 10000 over 64 elements, to int8"));
    rapt_plan_destroy(&plan);
#define REFUSED(change, part)                                                                                \
    do {                                                                                                     \
        rapt_rows_desc d = r.d;                                                                              \
        change;                                                                                              \
        RIG_FAILS(rapt_rows_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, part);               \
        assert_null(plan);                                                                                   \
    } while (0)
    REFUSED(d.out.size[3] = 16, "out has rows of 16 words, but 64 elements of int8 are 20 words");
    REFUSED(d.x.dtype = RAPT_INT8, "x: dtype int8");
    REFUSED((d.kind = RAPT_ROWS_GATHER, d.out = d.x), "goes with placing");
    REFUSED(d.flags = 8, "unknown flags");
    REFUSED(d.flags = 0, "norm_epsilon and norm_weight go with RAPT_ROWS_NORM");
    REFUSED(d.norm_epsilon = -1, "norm_epsilon is -1");
    REFUSED(d.norm_weight.size[0] = 63, "norm_weight: 1 x 63 entries, must be 1 or 1 x 64");
    REFUSED(d.norm_weight.dtype = RAPT_F16, "norm_weight is f16 of rank 1, must be f32");
    REFUSED(d.rope_base = 0.5, "rope_base is 0.5");
    REFUSED(d.rope_base = 0, "go with rope_base");
    REFUSED(d.rope_dim = 7, "rope_dim is 7");
    REFUSED(d.rope_dim = 66, "rope_dim is 66");
    REFUSED(d.positions.dtype = RAPT_DTYPE_NONE, "rope_base goes with positions");
    REFUSED(d.positions.size[0] = 3, "positions: 3 x 4 entries, must be 2 or 1 x 4");
    put_away(&r);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_exact_zero_and_bad),
                                 cmocka_unit_test(test_streaming_heads), cmocka_unit_test(test_refusals)};
    return RIG_RUN("append", tests);
}
