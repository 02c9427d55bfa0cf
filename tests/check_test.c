/* The oracle side: 16-bit floats, the attention oracle, comparison, cases. */
#include "support.h"

#include "check/cases.h"
#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_attention.h"
#include "check/problem.h"

#include <float.h>
#include <math.h>

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- half ---- */

static void f16_all_values(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = rapt_check_from_f16((uint16_t)h);
        if (isnan(x)) {
            assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0);
            assert_int_equal(rapt_check_to_f16(x), h | 0x200);
            continue;
        }
        assert_int_equal(rapt_check_to_f16(x), h);
        const int exponent = h >> 10 & 31;
        const double mantissa = (double)(h & 0x3ff);
        const double magnitude = exponent == 31  ? (double)INFINITY
                                 : exponent == 0 ? ldexp(mantissa, -24)
                                                 : ldexp(1024 + mantissa, exponent - 25);
        assert_true((double)x == (h & 0x8000 ? -magnitude : magnitude));
        assert_int_equal(bits_of(x) >> 31, h >> 15);
    }
}

#if defined(__FLT16_MAX__) && (defined(__x86_64__) || defined(__aarch64__))
__extension__ typedef _Float16 half_of_compiler;
static uint16_t compilers_f16(float x)
{
    const half_of_compiler h = (half_of_compiler)x;
    uint16_t bits;
    memcpy(&bits, &h, sizeof bits);
    return bits;
}
#define HAVE_FLOAT16
#endif

/* Around every f16 value and every midpoint between two, where rounding is decided. */
static void f16_rounding(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        const float low = rapt_check_from_f16((uint16_t)h);
        const float high = h == 0x7bff ? 65536.0f : rapt_check_from_f16((uint16_t)(h + 1));
        const float middle = (low + high) / 2;
        const uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(rapt_check_to_f16(middle), even);
        assert_int_equal(rapt_check_to_f16(-middle), even | 0x8000);
        assert_int_equal(rapt_check_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(rapt_check_to_f16(nextafterf(middle, INFINITY)), h + 1);
#ifdef HAVE_FLOAT16
        const float near[] = {low, high, middle, nextafterf(middle, 0), nextafterf(middle, INFINITY)};
        for (unsigned n = 0; n < 5; n++)
            assert_int_equal(rapt_check_to_f16(near[n]), compilers_f16(near[n]));
#endif
    }
    assert_int_equal(rapt_check_to_f16(FLT_MAX), 0x7c00);
    assert_int_equal(rapt_check_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(rapt_check_to_f16(0x1p-26f), 0);
    assert_int_equal(rapt_check_to_f16(-FLT_TRUE_MIN), 0x8000);
#ifdef HAVE_FLOAT16
    for (uint64_t bits = 0; bits < 1ull << 32; bits += 65521) {
        const float x = float_of((uint32_t)bits);
        if (!isnan(x))
            assert_int_equal(rapt_check_to_f16(x), compilers_f16(x));
    }
#endif
}

static void bf16_all_values(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = rapt_check_from_bf16((uint16_t)h);
        const uint32_t bits = h << 16;
        if (isnan(float_of(bits))) {
            assert_true(isnan(x));
            assert_int_equal(rapt_check_to_bf16(x), h | 0x40);
            continue;
        }
        assert_int_equal(bits_of(x), bits);
        assert_int_equal(rapt_check_to_bf16(x), h);
        if ((h & 0x7fff) < 0x7f80) {
            const uint32_t even = h & 1 ? h + 1 : h;
            assert_int_equal(rapt_check_to_bf16(float_of(bits | 0x8000)), even);
            assert_int_equal(rapt_check_to_bf16(float_of(bits | 0x7fff)), h);
            assert_int_equal(rapt_check_to_bf16(float_of(bits | 0x8001)), h + 1);
        }
    }
}

/* ---- oracle ---- */

static rapt_tensor dense(rapt_dtype dtype, uint64_t b, uint64_t h, uint64_t n, uint64_t d)
{
    return (rapt_tensor){.dtype = dtype,
                         .rank = 4,
                         .size = {b, h, n, d},
                         .stride = {(int64_t)(h * n * d), (int64_t)(n * d), (int64_t)d, 1}};
}

static rapt_attention_desc problem(uint64_t b, uint64_t hq, uint64_t hkv, uint64_t nq, uint64_t nk,
                                   uint64_t d, uint64_t dv)
{
    rapt_attention_desc desc = RAPT_ATTENTION_DESC_INIT;
    desc.q = dense(RAPT_F32, b, hq, nq, d);
    desc.k = dense(RAPT_F32, b, hkv, nk, d);
    desc.v = dense(RAPT_F32, b, hkv, nk, dv);
    desc.out = dense(RAPT_F32, b, hq > hkv ? hq : hkv, nq, dv);
    return desc;
}

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-12 * fmax(1, fabs((double)(b))))

/* Two keys with scores 0 and ln 3: weights 1/4 and 3/4. */
static void oracle_by_hand(void **state)
{
    (void)state;
    rapt_attention_desc desc = problem(1, 1, 1, 2, 2, 1, 2);
    desc.flags = RAPT_ATTENTION_SCALE;
    desc.scale = 2;
    const double ln3 = 1.0986122886681098;
    const float q[] = {1, -1}, k[] = {0, (float)(ln3 / 2)}, v[] = {4, 8, 12, -8};
    const rapt_check_inputs in = {.q = q, .k = k, .v = v};
    double out[4], lse[2];
    uint8_t rows[2] = {9, 9};
    assert_true(rapt_check_attention_f64(&desc, &in, 1, out, lse, rows));
    const double x = exp(2.0 * (double)k[1]); /* 3 but for the rounding of k */
    NEAR(out[0], (4 + x * 12) / (1 + x));
    NEAR(out[1], (8 - x * 8) / (1 + x));
    NEAR(out[2], (4 + 12 / x) / (1 + 1 / x));
    NEAR(lse[0], log(1 + x));
    NEAR(lse[1], log(1 + 1 / x));
    assert_true(fabs(out[0] - 10) < 1e-6 && fabs(out[1] + 4) < 1e-6 && fabs(lse[0] - log(4)) < 1e-6);
    assert_true(rows[0] == RAPT_ROW_DONE && rows[1] == RAPT_ROW_DONE);

    desc.flags = 0; /* the default scale is 1 / sqrt(1) */
    assert_true(rapt_check_attention_f64(&desc, &in, 1, out, lse, rows));
    NEAR(lse[0], log(1 + exp((double)k[1])));
    assert_int_equal(rapt_check_attention_pairs(&desc, &in), 4);
}

static void oracle_causal(void **state)
{
    (void)state;
    /* All scores 0: row i is the mean of the first keys that it sees; v of key j is j + 1. */
    static const struct {
        uint64_t nq, nk;
        int64_t offset;
        double first, last; /* keys seen by the first and the last query */
    } cases[] = {{3, 3, 0, 1, 3}, {2, 4, 0, 3, 4},         {4, 2, 0, 0, 2},        {3, 3, -5, 0, 0},
                 {3, 3, 1, 2, 3}, {3, 3, -1, 0, 2},        {3, 3, 100, 3, 3},      {1, 4, -2, 2, 2},
                 {4, 2, 2, 1, 2}, {2, 2, INT64_MIN, 0, 0}, {2, 2, INT64_MAX, 2, 2}};
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        rapt_attention_desc desc = problem(1, 1, 1, cases[n].nq, cases[n].nk, 1, 1);
        desc.flags = RAPT_ATTENTION_CAUSAL;
        desc.causal_offset = cases[n].offset;
        const float zero[4] = {0}, v[] = {1, 2, 3, 4};
        const rapt_check_inputs in = {.q = zero, .k = zero, .v = v};
        double out[4], lse[4];
        uint8_t rows[4];
        assert_true(rapt_check_attention_f64(&desc, &in, 1, out, lse, rows));
        const double seen[] = {cases[n].first, cases[n].last};
        const uint64_t at[] = {0, cases[n].nq - 1};
        for (int e = 0; e < 2; e++) {
            NEAR(out[at[e]], seen[e] > 0 ? (seen[e] + 1) / 2 : 0);
            assert_true(seen[e] > 0 ? fabs(lse[at[e]] - log(seen[e])) < 1e-12
                                    : lse[at[e]] == -(double)INFINITY);
        }
    }
}

/* The kv head that a query head reads, and the query head that serves a kv head. */
static void oracle_heads(void **state)
{
    (void)state;
    static const struct {
        uint64_t hq, hkv, q_of[6], kv_of[6];
    } cases[] = {{4, 2, {0, 1, 2, 3}, {0, 0, 1, 1}},
                 {3, 2, {0, 1, 2}, {0, 0, 1}},
                 {2, 5, {0, 0, 0, 1, 1}, {0, 1, 2, 3, 4}},
                 {5, 3, {0, 1, 2, 3, 4}, {0, 0, 1, 1, 2}}};
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        rapt_attention_desc desc = problem(1, cases[n].hq, cases[n].hkv, 1, 1, 1, 1);
        const float q[] = {1, 2, 3, 4, 5}, k[] = {1, 10, 100, 1000, 10000}, v[] = {0, 1, 2, 3, 4};
        const rapt_check_inputs in = {.q = q, .k = k, .v = v};
        double out[6], lse[6];
        uint8_t rows[6];
        assert_true(rapt_check_attention_f64(&desc, &in, 1, out, lse, rows));
        const uint64_t heads = cases[n].hq > cases[n].hkv ? cases[n].hq : cases[n].hkv;
        for (uint64_t g = 0; g < heads; g++) {
            NEAR(out[g], (double)cases[n].kv_of[g]);
            NEAR(lse[g], (double)q[cases[n].q_of[g]] * (double)k[cases[n].kv_of[g]]);
        }
    }
}

static void oracle_sequences(void **state)
{
    (void)state;
    rapt_attention_desc desc = problem(1, 1, 1, 6, 5, 1, 1);
    desc.flags = RAPT_ATTENTION_CAUSAL;
    desc.sequences = 3;
    desc.max_seqlen_q = 2;
    const int32_t cu_q[] = {0, 3, 3, 5}, cu_k[] = {0, 2, 4, 5}; /* row 5 is in no sequence */
    const float zero[6] = {0}, v[] = {1, 2, 4, 8, 16};
    const rapt_check_inputs in = {.q = zero, .k = zero, .v = v, .cu_seqlens_q = cu_q, .cu_seqlens_k = cu_k};
    double out[6], lse[6];
    uint8_t rows[6];
    assert_true(rapt_check_attention_f64(&desc, &in, 1, out, lse, rows));
    const uint8_t want[] = {
        RAPT_ROW_DONE, RAPT_ROW_DONE, RAPT_ROW_UNTOUCHED, /* of 3 queries, the bound leaves 2 */
        RAPT_ROW_DONE, RAPT_ROW_DONE, RAPT_ROW_UNTOUCHED};
    assert_memory_equal(rows, want, sizeof rows);
    NEAR(out[0], 0); /* 3 queries on 2 keys: the first sees nothing */
    assert_true(lse[0] == -(double)INFINITY);
    NEAR(out[1], 1);
    NEAR(out[3], 0); /* 2 queries on 1 key */
    NEAR(out[4], 16);
    assert_int_equal(rapt_check_attention_pairs(&desc, &in), 2);
}

/* What a masked key holds never matters; who sees a NaN is marked. */
static void oracle_poison(void **state)
{
    (void)state;
    rapt_attention_desc desc = problem(1, 1, 1, 3, 3, 1, 1);
    desc.flags = RAPT_ATTENTION_CAUSAL;
    const float q[] = {1, 1, 1}, k[] = {0, 0, NAN}, v[] = {1, 3, INFINITY};
    const rapt_check_inputs in = {.q = q, .k = k, .v = v};
    double out[3], lse[3];
    uint8_t rows[3];
    for (int single = 0; single < 2; single++) {
        assert_true(
            (single ? rapt_check_attention_f32 : rapt_check_attention_f64)(&desc, &in, 1, out, lse, rows));
        assert_true(rows[0] == RAPT_ROW_DONE && rows[1] == RAPT_ROW_DONE && rows[2] == RAPT_ROW_ANY);
        assert_true(out[0] == 1 && fabs(out[1] - 2) < 1e-7);
    }
}

/* Adding a constant to every score changes the LSE by it and the output not at all; values of 1 give 1; and
 * the largest scores do not overflow. */
static void oracle_identities(void **state)
{
    (void)state;
    enum { N = 13, D = 4 };
    rapt_attention_desc desc = problem(1, 1, 1, N, N, D, 2);
    desc.flags = RAPT_ATTENTION_SCALE;
    desc.scale = 1;
    float q[N * D], k[N * D], v[N * 2];
    rapt_random random = {5};
    for (int i = 0; i < N * D; i++) {
        q[i] =
            i % D == 0 ? 1 : (float)rapt_random_normal(&random); /* component 0 adds k[.][0] to each score */
        k[i] = i % D == 0 ? 0 : (float)rapt_random_normal(&random);
    }
    for (int i = 0; i < N; i++) {
        v[2 * i] = 1;
        v[2 * i + 1] = (float)rapt_random_normal(&random);
    }
    const rapt_check_inputs in = {.q = q, .k = k, .v = v};
    double out[N * 2], lse[N], out2[N * 2], lse2[N];
    uint8_t rows[N];
    assert_true(rapt_check_attention_f64(&desc, &in, 1, out, lse, rows));
    for (int i = 0; i < N; i++)
        k[i * D] = 8192;
    assert_true(rapt_check_attention_f64(&desc, &in, 1, out2, lse2, rows));
    for (int i = 0; i < N; i++) {
        NEAR(out[2 * i], 1);
        assert_true(fabs(out2[2 * i + 1] - out[2 * i + 1]) < 1e-10);
        assert_true(fabs(lse2[i] - lse[i] - 8192) < 1e-9);
    }
}

/* Any strides and every storage type give what the dense layout gives. */
static void oracle_layouts(void **state)
{
    (void)state;
    for (int dtype = RAPT_F32; dtype <= RAPT_BF16; dtype++)
        for (int layout = 0; layout < RAPT_LAYOUT_BROADCAST; layout++) {
            rapt_case c = {.batch = 2,
                           .q_heads = 3,
                           .kv_heads = 3,
                           .nq = 5,
                           .nk = 5,
                           .d_qk = 7,
                           .d_v = 6,
                           .dtype = (rapt_dtype)dtype,
                           .seed = 77,
                           .causal = true};
            rapt_check_problem a, b;
            assert_true(rapt_check_problem_make(&c, 1, &a));
            c.layout = (rapt_case_layout)layout;
            assert_true(rapt_check_problem_make(&c, 1, &b));
            assert_memory_equal(a.out, b.out, (size_t)(a.rows_total * c.d_v) * sizeof *a.out);
            assert_memory_equal(a.lse, b.lse, (size_t)a.rows_total * sizeof *a.lse);
            assert_true(b.tolerance_out > 0 && b.tolerance_out < (dtype == RAPT_F32 ? 1e-5 : 0.1));
            assert_int_equal(a.operands[RAPT_OP_Q].bytes % 16, 0);
            rapt_check_problem_free(&a);
            rapt_check_problem_free(&b);
        }
}

/* Skipped rows are marked, the first and the last of each head are not. */
static void oracle_row_step(void **state)
{
    (void)state;
    const rapt_case c = {
        .batch = 1, .q_heads = 2, .kv_heads = 2, .nq = 100, .nk = 10, .d_qk = 4, .d_v = 4, .dtype = RAPT_F32};
    assert_int_equal(rapt_check_problem_row_step(&c, 1e9), 1);
    const uint64_t step = rapt_check_problem_row_step(&c, 1600); /* of 2 * 100 * 10 * 8 */
    assert_int_equal(step, 10);
    rapt_check_problem p;
    assert_true(rapt_check_problem_make(&c, step, &p));
    unsigned done = 0;
    for (unsigned r = 0; r < 200; r++)
        done += p.rows[r] == RAPT_ROW_DONE;
    assert_true(done >= 20 && done <= 24);
    assert_true(p.rows[0] == RAPT_ROW_DONE && p.rows[99] == RAPT_ROW_DONE && p.rows[199] == RAPT_ROW_DONE);
    assert_int_equal(p.rows[1], RAPT_ROW_SKIPPED);
    rapt_check_problem_free(&p);
}

/* ---- comparison ---- */

static void compare_numbers(void **state)
{
    (void)state;
    assert_true(rapt_check_distance(1, 1) == 0 && rapt_check_distance(0.0, -0.0) == 0);
    assert_true(rapt_check_distance(-(double)INFINITY, -(double)INFINITY) == 0);
    assert_true(isinf(rapt_check_distance((double)INFINITY, -(double)INFINITY)));
    assert_true(isinf(rapt_check_distance(1, -(double)INFINITY)));
    assert_true(isinf(rapt_check_distance((double)NAN, 1)) &&
                isinf(rapt_check_distance((double)NAN, (double)NAN)));
    assert_true(rapt_check_tolerance(3, 0) == 6 && rapt_check_tolerance(0, 4) == 0x1p-20);

    const double want[] = {1, 2, 3, 4, 5, 6}, got[] = {1, 2.5, 3, 400, 5, 6.25};
    const uint8_t rows[] = {RAPT_ROW_DONE, RAPT_ROW_ANY, RAPT_ROW_DONE};
    rapt_check_difference d = rapt_check_compare(got, want, rows, 3, 2, 0.5);
    assert_true(d.compared == 4 && d.wrong == 0 && d.worst == 1 && d.max_abs == 0.5 && d.got == 2.5 &&
                d.want == 2);
    assert_true(fabs(d.rms - sqrt((0.25 + 0.0625) / 4)) < 1e-15);
    d = rapt_check_compare(got, want, rows, 3, 2, 0.3);
    assert_int_equal(d.wrong, 1);
    d = rapt_check_compare(got, want, rows, 3, 2, 0);
    assert_int_equal(d.wrong, 2);
    char text[300];
    rapt_check_describe(&d, "out", (const uint64_t[]){1, 1, 3, 2}, text, sizeof text);
    assert_non_null(strstr(text, "out[0, 0, 0, 1] is 2.5, not 2"));
    assert_non_null(strstr(text, "2 of 4"));

    const double nan_got[] = {1, 2, 3, 4, 5, (double)NAN};
    d = rapt_check_compare(nan_got, want, rows, 3, 2, 1e9);
    assert_true(d.wrong == 1 && d.nans == 1 && d.first_nan == 5);
    rapt_check_describe(&d, "out", (const uint64_t[]){1, 1, 3, 2}, text, sizeof text);
    assert_non_null(strstr(text, "NaN, the first at out[0, 0, 2, 1]"));
    assert_true(rapt_check_max_distance(got, want, rows, 3, 2) == 0.5);
}

/* ---- cases ---- */

static void cases_are_sound(void **state)
{
    (void)state;
    size_t count, quick_count;
    rapt_case *all = rapt_cases(RAPT_CASE_FULL | RAPT_CASE_BENCH, NULL, &count);
    rapt_case *quick = rapt_cases(RAPT_CASE_QUICK, NULL, &quick_count);
    assert_non_null(all);
    assert_non_null(quick);
    assert_true(quick_count > 60 && quick_count < 230 && count > 500);
    for (size_t n = 0; n < count; n++) {
        const rapt_case *c = &all[n];
        assert_true(c->d_qk >= 1 && c->d_qk <= 576 && c->d_v >= 1 && c->d_v <= 576);
        assert_true(c->q_heads >= 1 && c->kv_heads >= 1);
        assert_true(!(c->groups & RAPT_CASE_QUICK) || (c->groups & RAPT_CASE_FULL));
        assert_true(!(c->groups & RAPT_CASE_CORE) || (c->groups & RAPT_CASE_QUICK));
        if (c->sequences > 0) {
            uint64_t nq = 0, nk = 0;
            for (uint32_t s = 0; s < c->sequences; s++) {
                nq += c->length_q[s];
                nk += c->length_k[s];
            }
            assert_true(c->batch == 1 && nq == c->nq && nk == c->nk);
        }
        for (size_t m = 0; m < n; m++)
            if (strcmp(c->name, all[m].name) == 0) /* a repeated name is the same problem, drawn twice */
                assert_true(c->seed == all[m].seed);
    }
    size_t one;
    rapt_case *filtered = rapt_cases(RAPT_CASE_QUICK, "causal-sees-nothing", &one);
    assert_int_equal(one, 1);
    for (size_t n = 0; n < quick_count; n++)
        if (strcmp(quick[n].name, "causal-sees-nothing") == 0)
            assert_memory_equal(&quick[n], filtered, sizeof *filtered);
    free(filtered);
    free(quick);
    free(all);
}

/* The oracle itself gives exact results on the exact cases, and every quick case has an oracle and a
 * tolerance. */
static void cases_quick_problems(void **state)
{
    (void)state;
    size_t count;
    unsigned exact = 0, poisoned = 0;
    rapt_case *cases = rapt_cases(RAPT_CASE_QUICK, NULL, &count);
    for (size_t n = 0; n < count; n++) {
        rapt_check_problem p;
        assert_true(rapt_check_problem_make(&cases[n], 1, &p));
        uint64_t done = 0, any = 0;
        for (uint64_t r = 0; r < p.rows_total; r++) {
            done += p.rows[r] == RAPT_ROW_DONE;
            any += p.rows[r] == RAPT_ROW_ANY;
        }
        assert_true(p.rows_total == 0 || done > 0);
        if (cases[n].input != RAPT_INPUT_POISONED)
            assert_int_equal(any, 0);
        poisoned += any > 0;
        if (p.exact) {
            exact++;
            assert_true(p.plain_out == 0);
            for (uint64_t r = 0; r < p.rows_total; r++)
                for (uint64_t e = 0; e < cases[n].d_v; e++) {
                    const float x = (float)p.out[r * cases[n].d_v + e];
                    assert_true(rapt_check_round(cases[n].dtype, x) == x);
                }
        } else
            assert_true(p.tolerance_out >= 0 && p.tolerance_lse > 0 && isfinite(p.tolerance_out));
        rapt_check_problem_free(&p);
    }
    assert_true(exact >= 6 && poisoned >= 4);
    free(cases);
}

static void case_names(void **state)
{
    (void)state;
    rapt_case c;
    assert_true(rapt_case_parse("B1H32K8D128V64Q2N4096f16c", &c));
    assert_true(c.batch == 1 && c.q_heads == 32 && c.kv_heads == 8 && c.d_qk == 128 && c.d_v == 64 &&
                c.nq == 2 && c.nk == 4096 && c.dtype == RAPT_F16 && c.causal);
    assert_true(rapt_case_parse("B2H8D64N1024bf16", &c));
    assert_true(c.kv_heads == 8 && c.d_v == 64 && c.nq == 1024 && c.dtype == RAPT_BF16 && !c.causal);
    assert_true(rapt_case_parse("B1H8D64N1024f32cw255", &c));
    assert_true(rapt_case_parse("B1H8D64N4096f32g64x64k7x8d2x1s4x4c2", &c) && c.grid.rank == 2 && c.grid.size[1] == 64 &&
                c.grid.kernel_size[1] == 8 && c.grid.dilation[0] == 2 && c.grid.stride[0] == 4 && c.grid.causal == 2);
    assert_true(rapt_case_parse("B1H8D64N60f32g3x4x5k3x1x5", &c) && c.grid.rank == 3 && c.grid.stride[2] == 1);
    assert_false(rapt_case_parse("B1H8D64N60f32g3x4k3x1", &c)); /* of other lengths */
    assert_false(rapt_case_parse("B1H8D64N60f32g5x12k3", &c));
    assert_false(rapt_case_parse("B1H8D64N60f32g5x12k3x13", &c));
    assert_false(rapt_case_parse("B1H8D64N60f32g5x12k3x3c4", &c));
    assert_false(rapt_case_parse("B1H8D64N60f32g5x12k3x3s4x1", &c));
    assert_false(rapt_case_parse("B1H8D64Q5N60f32g5x12k3x3", &c));
    assert_true(rapt_case_parse("B1H8D64N1024f32cw255", &c));
    assert_true(c.causal && c.window && c.window_left == 255 && c.window_right == 255 && c.sink_tokens == 0);
    assert_true(rapt_case_parse("B1H8D64N4096f32b8", &c));
    assert_true(c.blocks == 3 && c.block_q == 64 && c.block_k == 64 && c.blocks_of == 8 && !c.causal);
    assert_false(rapt_case_parse("B1H8D64N4096f32b0", &c));
    assert_true(rapt_case_parse("B1H32K8D128Q1N4096f16p16qint8", &c));
    assert_true(c.page_size == 16 && c.all_pages && c.k_dtype == RAPT_INT8 && c.v_dtype == RAPT_INT8);
    assert_false(rapt_case_parse("B1H32K8D128Q1N4096f16p0", &c));
    assert_false(rapt_case_parse("B1H32K8D128Q1N4100f16p16", &c)); /* not whole pages */
    static const char *const bad[] = {"",
                                      "B1H8D64N1024f32w",
                                      "B1H8D64N1024f32w1c",
                                      "B1",
                                      "B1H8D64N",
                                      "B1H8D64N1024",
                                      "B1H8D64N1024f64",
                                      "B1H8D64N-1f32",
                                      "B1H8D64N1024f32x",
                                      "B1H8D64N99999999999f32",
                                      "H8D64N1024f32"};
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++)
        assert_false(rapt_case_parse(bad[n], &c));
}

/* Weights of 16 bits earn a wider tolerance than single-precision ones, but not a wide one. */
static void test_half_weights(void **state)
{
    (void)state;
    const rapt_case c = {.name = "weights", .batch = 1, .q_heads = 2, .kv_heads = 1, .nq = 19, .nk = 37, .d_qk = 4,
                         .d_v = 4, .dtype = RAPT_F16, .seed = 3};
    rapt_check_problem p;
    assert_true(rapt_check_problem_make(&c, 1, &p));
    const double half = rapt_check_problem_half_weights(&p);
    assert_true(half > p.tolerance_out && half < 8 * p.tolerance_out);
    rapt_check_problem_free(&p);
    rapt_case f32 = c;
    f32.dtype = RAPT_F32; /* nothing to round to */
    assert_true(rapt_check_problem_make(&f32, 1, &p));
    assert_true(rapt_check_problem_half_weights(&p) == p.tolerance_out);
    rapt_check_problem_free(&p);
}

/* By seed and number, by name, and alike in what pipelines are specialized for. */
static void random_cases_are_known_by_name(void **state)
{
    (void)state;
    static const char *const wrong[] = {"random-1", "random-1-", "random--1-2", "random-1-2x", "random-01-2", "random-1-2-3"};
    rapt_case parsed;
    for (uint64_t n = 0; n < 3 * RAPT_CASE_RANDOM_GROUP; n++) {
        const rapt_case c = rapt_case_random(7, n), first = rapt_case_random(7, n / RAPT_CASE_RANDOM_GROUP * RAPT_CASE_RANDOM_GROUP);
        assert_true(rapt_case_parse(c.name, &parsed));
        assert_memory_equal(&parsed, &c, sizeof c);
        assert_true(c.dtype == first.dtype && c.d_qk == first.d_qk && c.d_v == first.d_v && c.layout == first.layout);
        assert_true(c.link == first.link && c.causal == first.causal && c.window == first.window && c.grid.rank == first.grid.rank);
        assert_true(c.batch > 0 && c.d_qk + c.rank <= 576);
        if (n > 0)
            assert_true(c.seed != rapt_case_random(7, n - 1).seed && c.seed != rapt_case_random(8, n).seed);
    }
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++)
        if (rapt_case_parse(wrong[n], &parsed))
            fail_msg("'%s' is taken as a case", wrong[n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_cases_are_known_by_name),
        cmocka_unit_test(test_half_weights),
        cmocka_unit_test(f16_all_values),    cmocka_unit_test(f16_rounding),
        cmocka_unit_test(bf16_all_values),   cmocka_unit_test(oracle_by_hand),
        cmocka_unit_test(oracle_causal),     cmocka_unit_test(oracle_heads),
        cmocka_unit_test(oracle_sequences),  cmocka_unit_test(oracle_poison),
        cmocka_unit_test(oracle_identities), cmocka_unit_test(oracle_layouts),
        cmocka_unit_test(oracle_row_step),   cmocka_unit_test(compare_numbers),
        cmocka_unit_test(cases_are_sound),   cmocka_unit_test(cases_quick_problems),
        cmocka_unit_test(case_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
