/* Lower rungs on one machine: the same numbers with fewer capabilities and smaller limits, down to the floor;
 * and tensors larger than what a device binds at once. RAPT_TEST_FEW: see support.h. */
#include "rig.h"

#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_attention.h"

#include <stdlib.h>

static rig the_rig;

#define SHAPE(b, hq, hkv, q, k, d, dv)                                                                       \
    .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = q, .nk = k, .d_qk = d, .d_v = dv, .seed = 11

/* `windows`: some tensor is larger than 64 KiB. Shapes share what kernels are specialized for: compiling
 * takes long. */
static const struct masked_case {
    rapt_case c;
    bool windows;
} cases[] = {
    {{"causal", SHAPE(1, 2, 2, 70, 70, 32, 32), .dtype = RAPT_F32, .causal = true}, false},
    {{"odd-f16", SHAPE(1, 2, 1, 9, 37, 21, 11), .dtype = RAPT_F16, .layout = RAPT_LAYOUT_ODD, .causal = true},
     false},
    {{"bf16", SHAPE(1, 2, 2, 20, 33, 32, 32), .dtype = RAPT_BF16}, false},
    {{"varlen", SHAPE(1, 2, 1, 26, 31, 32, 32), .dtype = RAPT_F32, .causal = true, .sequences = 3,
      .length_q = {9, 0, 17}, .length_k = {9, 5, 17}},
     false},
    {{"long-keys", SHAPE(1, 2, 2, 5, 1500, 32, 32), .dtype = RAPT_F32, .causal = true}, true},
    {{"long-keys-f16", SHAPE(2, 1, 1, 3, 2100, 32, 32), .dtype = RAPT_F16}, true},
    {{"long-queries", SHAPE(1, 2, 2, 1500, 9, 32, 32), .dtype = RAPT_F32, .causal = true}, true},
    {{"many-heads", SHAPE(5, 64, 8, 3, 17, 32, 32), .dtype = RAPT_F32, .causal = true}, true},
    {{"long-bnhd", SHAPE(1, 4, 4, 7, 600, 32, 32), .dtype = RAPT_F32, .causal = true,
      .layout = RAPT_LAYOUT_BNHD},
     true},
};

static void run_masked(const char *mask, bool windows, bool must_cut)
{
    unsigned steps = 0;
    rig_open(&the_rig, &(rig_options){.mask = mask});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        if (windows != cases[i].windows)
            continue;
        const rapt_result result = rig_check(&the_rig, &cases[i].c, NULL, 1);
        steps += result.info.steps;
        if (must_cut && result.info.steps < 2)
            fail_msg("%s under %s: %u step", cases[i].c.name, mask, result.info.steps);
    }
    print_message("  %-24s %u steps\n", mask, steps);
    rig_close(&the_rig);
}

static void test_capabilities(void **state)
{
    (void)state;
    static const char *const masks[] = {"floor", "no-subgroup", "no-16bit,no-fp16", "no-texel",
                                        "shared=16384,invocations=128"};
    for (size_t i = 0; i < RAPT_COUNT(masks); i++)
        if (test_takes(i))
            run_masked(masks[i], false, false);
}

/* Small ranges: keys are split, heads and queries cut, at any size of window. */
static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *mask;
        bool cut;
    } masks[] = {
        {"no-subgroup,no-texel,no-16bit,range=65536", true},
        {"range=65536", false},              /* texel buffers may still hold all */
        {"range=50001,texels=12345", false}, /* multiples of nothing */
        {"range=65536,no-texel", true},
        {"texels=65536", false},
    };
    for (size_t i = 0; i < RAPT_COUNT(masks); i++)
        if (test_takes(i))
            run_masked(masks[i].mask, true, masks[i].cut);
}

/* What no cut can make fit is refused with the sizes. */
static void test_range_too_small(void **state)
{
    (void)state;
    rapt_plan *plan;
    const rapt_attention_desc d = rig_desc(RAPT_F32, 1, 1, 1, 300, 300, 512, false);
    rig_open(&the_rig, &(rig_options){.mask = "range=4096,texels=256"});
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "bytes");
    rig_close(&the_rig);
}

/* A probe of whole tiles would not fit where the problem itself does. */
static void test_probe_in_small_range(void **state)
{
    (void)state;
    const rapt_case c = {.name = "few wide rows", SHAPE(1, 1, 1, 2, 9, 512, 512), .dtype = RAPT_F32};
    rig_open(&the_rig, &(rig_options){.mask = "range=32768,texels=2048"});
    rig_check(&the_rig, &c, NULL, 1);
    rig_close(&the_rig);
}

/* As src/check/compare.h has it: within twice the error of the plainest single precision. */
static void assert_near_oracle(const rapt_attention_desc *d, const rapt_check_inputs *in, const double *got,
                               const double *got_lse)
{
    const size_t rows = d->out.size[0] * d->out.size[1] * d->out.size[2], count = rows * d->out.size[3];
    double *out = calloc(2 * count, sizeof *out), *lse = calloc(2 * rows, sizeof *lse);
    uint8_t *which = calloc(rows, 1);
    assert_true(out && lse && which);
    assert_true(rapt_check_attention_f32(d, in, 1, out + count, lse + rows, which));
    assert_true(rapt_check_attention_f64(d, in, 1, out, lse, which));
    const struct {
        const char *name;
        const double *got, *want, *plain;
        uint64_t size;
    } tensors[] = {{"out", got, out, out + count, d->out.size[3]}, {"lse", got_lse, lse, lse + rows, 1}};
    for (int i = 0; i < 2; i++) {
        const double plain = rapt_check_max_distance(tensors[i].plain, tensors[i].want, which, rows, tensors[i].size);
        const rapt_check_difference difference =
            rapt_check_compare(tensors[i].got, tensors[i].want, which, rows, tensors[i].size,
                               rapt_check_tolerance(plain, 1));
        if (difference.wrong > 0)
            fail_msg("%s: %llu of %llu differ by up to %g, the tolerance is %g", tensors[i].name,
                     (unsigned long long)difference.wrong, (unsigned long long)difference.compared,
                     difference.max_abs, difference.tolerance);
    }
    free(out);
    free(lse);
    free(which);
}

/* K and V as columns of rows so wide that few keys span more than a device binds (128 MiB at the floor). */
static void test_tensor_beyond_range(void **state)
{
    (void)state;
    enum { NQ = 2, DIM = 64, PITCH = 8192 };
    /* Texel buffers may be larger; where storage buffers are, the mask is to make them no more than that. */
    rig_open(&the_rig, &(rig_options){.mask = "no-texel"});
    uint64_t range = the_rig.device->caps.max_storage_range;
    if (range > 128u << 20) {
        rig_close(&the_rig);
        rig_open(&the_rig, &(rig_options){.mask = "no-texel,range=134217728"});
        range = 128u << 20;
    }
    const uint64_t nk = range / (PITCH * 2) + 100, bytes = nk * PITCH * 2;
    uint16_t *rows = calloc(nk, PITCH * 2);
    char *q = rig_numbers(RAPT_F16, NQ * DIM, 1), *values = rig_numbers(RAPT_F16, nk * DIM * 2, 2);
    assert_non_null(rows);
    for (uint64_t j = 0; j < nk; j++)
        memcpy(rows + j * PITCH, values + j * DIM * 4, DIM * 4);
    rapt_attention_desc d = rig_desc(RAPT_F16, 1, 1, 1, NQ, nk, DIM, true);
    d.k.stride[2] = d.v.stride[2] = PITCH;
    rapt_buffer *buffers[4];
    const uint64_t sizes[] = {NQ * DIM * 2, bytes, NQ * DIM * 2, NQ * 4};
    for (int i = 0; i < 4; i++)
        RIG_OK(rapt_buffer_create(the_rig.device, sizes[i], &buffers[i], error));
    RIG_OK(rapt_buffer_upload(buffers[0], 0, q, sizes[0], error));
    RIG_OK(rapt_buffer_upload(buffers[1], 0, rows, bytes, error));
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q.buffer = buffers[0];
    args.k.buffer = buffers[1];
    args.v = (rapt_slot){buffers[1], DIM * 2};
    args.out.buffer = buffers[2];
    args.lse.buffer = buffers[3];
    rapt_plan *plan;
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    assert_true(info.key_splits >= 2);
    assert_true(info.steps >= 3);
    rapt_plan_destroy(&plan);
    RIG_OK(rapt_attention_run(the_rig.device, &d, &args, error));
    uint16_t stored[NQ * DIM];
    float stored_lse[NQ];
    RIG_OK(rapt_buffer_download(buffers[2], 0, stored, sizeof stored, error));
    RIG_OK(rapt_buffer_download(buffers[3], 0, stored_lse, sizeof stored_lse, error));
    double got[NQ * DIM], got_lse[NQ];
    for (int i = 0; i < NQ * DIM; i++)
        got[i] = (double)rapt_check_from_f16(stored[i]);
    for (int i = 0; i < NQ; i++)
        got_lse[i] = (double)stored_lse[i];
    assert_near_oracle(&d, &(rapt_check_inputs){.q = q, .k = rows, .v = rows + DIM}, got, got_lse);
    for (int i = 0; i < 4; i++)
        rapt_buffer_destroy(&buffers[i]);
    free(rows);
    free(q);
    free(values);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capabilities),        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_range_too_small),     cmocka_unit_test(test_probe_in_small_range),
        cmocka_unit_test(test_tensor_beyond_range),
    };
    return RIG_RUN("mask", tests);
}
