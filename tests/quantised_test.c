/* Quantised keys and values: rows of packed words, descriptors, plans, and both families of kernels on the
 * device. */
#include "rig.h"

#include "check/quantised.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

static rapt_attention_desc quantised(rapt_dtype k, rapt_dtype v)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = d.out = rapt_tensor_bhnd(RAPT_F16, 2, 8, 1, 128);
    d.k = rapt_tensor_bhnd(k, 2, 2, 500, k == RAPT_F16 ? 128 : rapt_quantised_words(k, 128));
    d.v = rapt_tensor_bhnd(v, 2, 2, 500, v == RAPT_F16 ? 128 : rapt_quantised_words(v, 128));
    return d;
}

static void test_words(void **state)
{
    (void)state;
    assert_int_equal(rapt_quantised_words(RAPT_INT8, 128), 4 + 32);
    assert_int_equal(rapt_quantised_words(RAPT_FP8, 64), 4 + 16);
    assert_int_equal(rapt_quantised_words(RAPT_INT4, 256), 8 + 32);
    assert_int_equal(rapt_quantised_words(RAPT_INT4, 33), 4 + 8);
    assert_int_equal(rapt_quantised_words(RAPT_INT8, 1), 4 + 4);
    assert_int_equal(rapt_quantised_words(RAPT_INT8, 576), 20 + 144);
    assert_int_equal(rapt_quantised_words(RAPT_F16, 128), 0);
    assert_int_equal(rapt_quantised_words(RAPT_I32, 128), 0);
    const rapt_dtype dtypes[] = {RAPT_INT8, RAPT_INT4, RAPT_FP8};
    for (unsigned t = 0; t < 3; t++)
        for (uint64_t dim = 1; dim <= 600; dim += 7)
            assert_int_equal(rapt_quantised_words(dtypes[t], dim), rapt_check_row_words(dtypes[t], dim));
}

/* What the oracle stores is as near as promised, at all sizes of numbers. */
static void test_bounds(void **state)
{
    (void)state;
    const rapt_dtype dtypes[] = {RAPT_INT8, RAPT_INT4, RAPT_FP8};
    enum { DIM = 77 };
    float x[DIM], got[DIM];
    uint32_t row[64], random = 1;
    for (int n = 0; n < 300; n++)
        for (unsigned t = 0; t < 3; t++) {
            for (int e = 0; e < DIM; e++) {
                random = random * 1664525u + 1013904223u;
                x[e] = ldexpf((float)(int32_t)random, -31 + (int)(random >> 8 & 15) - n % 40);
            }
            rapt_check_quantise(dtypes[t], x, DIM, row);
            rapt_check_dequantise(dtypes[t], row, DIM, got);
            for (int e = 0; e < DIM; e++) {
                float largest = 0;
                for (int i = e / 32 * 32; i < DIM && i < e / 32 * 32 + 32; i++)
                    largest = fmaxf(largest, fabsf(x[i]));
                assert_true(fabs((double)got[e] - (double)x[e]) <=
                            rapt_check_quantised_bound(dtypes[t], (double)x[e], (double)largest));
            }
        }
}

static void refused(const rapt_attention_desc *d, const char *part)
{
    rapt_problem p;
    RIG_FAILS(rapt_attention_problem(d, &p, error), RAPT_ERROR_INVALID, part);
}

static void test_descriptors(void **state)
{
    (void)state;
    rapt_attention_desc d = quantised(RAPT_INT8, RAPT_INT4);
    rapt_problem p;
    RIG_OK(rapt_attention_problem(&d, &p, error));
    assert_true(p.k_format == RAPT_INT8 && p.v_format == RAPT_INT4 && p.head_dim_qk == 128 &&
                p.head_dim_v == 128);
    assert_true(rapt_problem_is_tunable(&p));
    assert_int_equal(p.bytes_read, 2 * 8 * 128 * 2 + 2 * 2 * 500 * (36 + 20) * 4);
    d.k.size[3] = 32;
    refused(&d, "k has rows of 32 words, but 128 elements of int8 are 36 words");
    d = quantised(RAPT_F16, RAPT_FP8);
    RIG_OK(rapt_attention_problem(&d, &p, error));
    assert_true(p.k_format == RAPT_DTYPE_NONE && p.v_format == RAPT_FP8);
    d.q.dtype = d.out.dtype = RAPT_INT8;
    refused(&d, "q: dtype int8, must be f32, f16 or bf16");
    d = quantised(RAPT_INT8, RAPT_INT8);
    d.out.dtype = RAPT_INT8;
    refused(&d, "q is f16 but out is int8");
    d = quantised(RAPT_INT8, RAPT_F16);
    d.v.dtype = RAPT_F32;
    refused(&d, "q is f16 but v is f32");
    d = quantised(RAPT_FP8, RAPT_FP8);
    d.rope_base = 10000;
    refused(&d, "fp8 does not go with rotary positions: keep keys that are turned");
    d = quantised(RAPT_F16, RAPT_INT4);
    d.sequences = 1;
    refused(&d, "int4 does not go with packed sequences");
    d = quantised(RAPT_INT8, RAPT_INT8);
    d.q = d.out = rapt_tensor_bhnd(RAPT_F16, 2, 8, 1, 600);
    d.k.size[3] = d.v.size[3] = rapt_quantised_words(RAPT_INT8, 600);
    refused(&d, "head_dim 600");
}

static uint32_t constant(const rapt_plan *plan, rapt_constant_source source)
{
    const rapt_plan_pipeline *p = &plan->pipelines[0];
    for (uint32_t i = 0; i < p->row->constant_count; i++)
        if (p->row->constants[i].source == source)
            return p->constants[i];
    return UINT32_MAX;
}

static void test_plans(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    rapt_plan *plan;
    rapt_attention_desc d = quantised(RAPT_INT8, RAPT_F16);
    RIG_OK(rapt_attention_plan_for_caps(&caps, &d, &plan, error));
    assert_string_equal(plan->pipelines[0].row->name, "tile-quantised-f16-d256");
    assert_int_equal(constant(plan, RAPT_CONST_K_FORMAT), RAPT_INT8);
    assert_int_equal(constant(plan, RAPT_CONST_V_FORMAT), 0);
    assert_int_equal(plan->aligned, 1);
    rapt_plan_destroy(&plan);
    d.kernel = "tile-r1-f16-d128";
    RIG_FAILS(rapt_attention_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED,
              "has no form for quantised keys and values");
    d = quantised(RAPT_F16, RAPT_F16);
    d.kernel = "tile-quantised-f16-d256";
    RIG_FAILS(rapt_attention_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED,
              "is for quantised keys and values");

    caps.device_class = RAPT_CLASS_SOFTWARE;
    caps.features = UINT64_MAX;
    caps.subgroup_size = caps.subgroup_size_min = caps.subgroup_size_max = 8;
    d = quantised(RAPT_FP8, RAPT_INT4);
    RIG_OK(rapt_attention_plan_for_caps(&caps, &d, &plan, error));
    assert_string_equal(plan->pipelines[0].row->name, "decode-quantised-f16-d128-r4");
    rapt_plan_destroy(&plan);
    d.k.stride[2] = 38; /* no whole texels */
    d.k.stride[1] = 38 * 500;
    d.k.stride[0] = 2 * 38 * 500;
    RIG_OK(rapt_attention_plan_for_caps(&caps, &d, &plan, error));
    assert_string_equal(plan->pipelines[0].row->name, "tile-quantised-f16-d256");
    rapt_plan_destroy(&plan);
}

/* The same problem by the rows of both families: every format as keys and as values. */
static void test_kernels(void **state)
{
    (void)state;
    const rapt_dtype formats[][2] = {{RAPT_INT8, RAPT_INT4},
                                     {RAPT_INT4, RAPT_FP8},
                                     {RAPT_FP8, RAPT_DTYPE_NONE},
                                     {RAPT_DTYPE_NONE, RAPT_INT8}};
    const char *const kernels[] = {"tile-quantised-f16-d256", "decode-quantised-f16-d128-r4"};
    rig_open(&the_rig, NULL);
    for (unsigned n = 0; n < RAPT_COUNT(formats); n++) {
        rapt_case c = {.batch = 2,
                       .q_heads = 4,
                       .kv_heads = 1,
                       .nq = 1,
                       .nk = 75,
                       .d_qk = 64,
                       .d_v = 72,
                       .dtype = RAPT_F16,
                       .seed = n};
        snprintf(c.name, sizeof c.name, "formats %u", n);
        c.k_dtype = formats[n][0];
        c.v_dtype = formats[n][1];
        c.page_size = n % 2 ? 16 : 0;
        for (unsigned k = 0; k < 2; k++) {
            const rapt_result r = rig_try(&the_rig, &c, kernels[k], 0);
            assert_true(r.verdict == RAPT_CHECK_PASS || k == 1); /* not every device has the second */
        }
    }
    rig_close(&the_rig);
}

/* Rows of stream.comp: formats, pages, what is masked and how weights are made, rows in two tiles, lanes past the end. */
static void test_streams(void **state)
{
    (void)state;
    static const struct {
        const char *kernel;
        uint32_t lanes;
        uint64_t d, nq;
        rapt_dtype dtype;
        unsigned cases; /* a bit each: software devices are slow to compile them */
    } rows[] = {
        {"stream-quantised-f16-d64-r1", 8, 64, 1, RAPT_F16, 31},
        {"stream-quantised-l8-bf16-d128-r1", 8, 128, 1, RAPT_BF16, 1 | 2},
        {"stream-quantised-f16-d128-r1", 16, 128, 1, RAPT_F16, 4 | 8},
        {"stream-quantised-f32-d64-r4", 16, 64, 2, RAPT_F32, 16},
        {"stream-quantised-f16-d128-r4", 16, 128, 6, RAPT_F16, 2},
        {"stream-quantised-bf16-d256-r1", 32, 256, 1, RAPT_BF16, 2},
        {"stream-quantised-f16-d256-r4", 32, 256, 3, RAPT_F16, 1},
    };
    const rapt_case cases[] = {
        {.name = "int8, int4", .k_dtype = RAPT_INT8, .v_dtype = RAPT_INT4, .nk = 1100, .key_splits = 2},
        {.name = "int4, fp8, pages", .k_dtype = RAPT_INT4, .v_dtype = RAPT_FP8, .nk = 300, .page_size = 16, .ragged = true,
         .length_k = {299, 40}},
        {.name = "fp8, plain, masked", .k_dtype = RAPT_FP8, .nk = 260, .causal = true, .causal_offset = 200,
         .window = true, .window_left = 150, .window_right = -1, .sink_tokens = 3, .soft_cap = 5, .alibi = true,
         .sinks = 1},
        {.name = "plain, int8, blocks", .v_dtype = RAPT_INT8, .nk = 260, .blocks = 2, .block_q = 1, .block_k = 32,
         .key_bias = 2},
        {.name = "int4, int4, signed", .k_dtype = RAPT_INT4, .v_dtype = RAPT_INT4, .nk = 200,
         .link = RAPT_LINK_SIGNED, .decay = true},
    };
    rig_open(&the_rig, NULL);
    for (unsigned n = 0; n < RAPT_COUNT(rows); n++)
        for (unsigned i = 0; i < RAPT_COUNT(cases); i++) {
            if (!(rows[n].cases >> i & 1))
                continue;
            rapt_case c = cases[i];
            c.batch = 2;
            c.q_heads = 2;
            c.kv_heads = rows[n].nq == 1 ? 2 : 1;
            c.nq = rows[n].nq;
            c.d_qk = i == 2 ? rows[n].d - 20 : rows[n].d;
            c.d_v = i == 3 ? rows[n].d - 12 : rows[n].d;
            c.dtype = rows[n].dtype;
            c.seed = n * 10 + i;
            const rapt_result r = rig_try(&the_rig, &c, rows[n].kernel, 0);
            /* Only for want of lanes. */
            if (r.verdict != RAPT_CHECK_PASS && the_rig.device->caps.subgroup_size_max >= rows[n].lanes)
                fail_msg("%s: %s: %s", rows[n].kernel, c.name, r.error.message);
        }
    rig_close(&the_rig);
}

/* What GPUs choose, by class, query rows and where rows of words lie. */
static void test_choices(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    caps.features = UINT64_MAX;
    const struct {
        rapt_device_class of;
        uint32_t subgroup, heads;
        uint64_t d, stride;
        const char *kernel;
    } choices[] = {
        {RAPT_CLASS_NVIDIA, 32, 1, 128, 0, "stream-quantised-f16-d128-r1"},
        {RAPT_CLASS_NVIDIA, 32, 4, 128, 0, "stream-quantised-f16-d128-r4"},
        {RAPT_CLASS_NVIDIA, 32, 8, 128, 0, "stream-quantised-f16-d128-r4"},
        {RAPT_CLASS_NVIDIA, 32, 16, 128, 0, "tile-quantised-f16-d256"},
        {RAPT_CLASS_NVIDIA, 32, 1, 128, 38, "tile-quantised-f16-d256"},
        {RAPT_CLASS_NVIDIA, 32, 1, 62, 0, "tile-quantised-f16-d256"},
        {RAPT_CLASS_NVIDIA, 32, 1, 576, 0, "tile-quantised-f16-d512"},
        {RAPT_CLASS_AMD_RDNA, 64, 1, 64, 0, "stream-quantised-f16-d64-r1"},
        {RAPT_CLASS_AMD_RDNA, 32, 3, 256, 0, "stream-quantised-f16-d256-r4"},
        {RAPT_CLASS_APPLE, 32, 4, 64, 0, "stream-quantised-f16-d64-r4"},
        {RAPT_CLASS_INTEL, 8, 1, 128, 0, "stream-quantised-l8-f16-d128-r1"},
        {RAPT_CLASS_INTEL, 16, 1, 128, 0, "stream-quantised-f16-d128-r1"},
        {RAPT_CLASS_INTEL, 16, 4, 128, 0, "tile-quantised-f16-d256"}, /* whose compiler spills */
        {RAPT_CLASS_MALI, 16, 1, 128, 0, "tile-quantised-f16-d256"},
    };
    for (unsigned i = 0; i < RAPT_COUNT(choices); i++) {
        caps.device_class = choices[i].of;
        caps.subgroup_size = caps.subgroup_size_min = caps.subgroup_size_max = choices[i].subgroup;
        rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
        const uint64_t words = rapt_quantised_words(RAPT_INT8, choices[i].d);
        d.q = rapt_tensor_bhnd(RAPT_F16, 2, 2 * choices[i].heads, 1, choices[i].d);
        d.out = rapt_tensor_bhnd(RAPT_F16, 2, 2 * choices[i].heads, 1, choices[i].d < 576 ? choices[i].d : 512);
        d.k = rapt_tensor_bhnd(RAPT_INT8, 2, 2, 500, words);
        d.v = rapt_tensor_bhnd(RAPT_INT8, 2, 2, 500, rapt_quantised_words(RAPT_INT8, d.out.size[3]));
        if (choices[i].stride > 0) {
            d.k.stride[2] = (int64_t)choices[i].stride;
            d.k.stride[1] = 500 * d.k.stride[2];
            d.k.stride[0] = 2 * d.k.stride[1];
        }
        rapt_plan *plan;
        RIG_OK(rapt_attention_plan_for_caps(&caps, &d, &plan, error));
        if (strcmp(plan->pipelines[0].row->name, choices[i].kernel) != 0)
            fail_msg("choice %u: %s, not %s", i, plan->pipelines[0].row->name, choices[i].kernel);
        rapt_plan_destroy(&plan);
    }
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words), cmocka_unit_test(test_bounds),  cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_plans), cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_choices), cmocka_unit_test(test_streams),
    };
    return RIG_RUN("quantised", tests);
}
