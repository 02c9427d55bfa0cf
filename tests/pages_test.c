/* Key-value caches in a descriptor and in a plan: what is refused, what is bound. Results are checked as all others are
 * (check/cases.c: pages-.., lengths-..). */
#include "common/attention_params.h"
#include "plan/plan.h"
#include <rapt/rapt.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Two batch entries of up to 10 pages of 16 keys, in a pool of 24 pages. */
static rapt_attention_desc paged(void)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = d.out = rapt_tensor_bhnd(RAPT_F32, 2, 8, 1, 64);
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 24, 2, 16, 64);
    d.page_size = 16;
    d.block_table = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {2, 10}, .stride = {12, 1}};
    d.k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {2}, .stride = {1}};
    return d;
}

static void test_problem(void **state)
{
    (void)state;
    rapt_problem p;
    rapt_error error = {0};
    const rapt_attention_desc d = paged();
    assert_int_equal(rapt_attention_problem(&d, &p, &error), RAPT_OK);
    assert_true(p.paged && p.ragged && rapt_problem_is_tunable(&p) && rapt_problem_has_extra_operand(&p));
    assert_int_equal(p.nk, 160);
    assert_int_equal(p.pages, 24);
    assert_int_equal(p.stride[RAPT_T_K][0], 2 * 16 * 64);
    assert_int_equal(p.extra[RAPT_X_PAGES].bytes, (12 + 10) * 4);
    assert_int_equal(p.bytes_read, 4 * (2 * 8 * 64 + 2 * 2 * 160 * 128)); /* q, and the keys of two entries, not the pool */
}

static void refused(const rapt_attention_desc *d, const char *part)
{
    rapt_problem p;
    rapt_error error = {0};
    assert_int_equal(rapt_attention_problem(d, &p, &error), RAPT_ERROR_INVALID);
    if (strstr(error.message, part) == NULL)
        fail_msg("'%s' does not say '%s'", error.message, part);
}

static void test_bad_descriptors(void **state)
{
    (void)state;
    rapt_attention_desc d = paged();
    d.block_table.dtype = RAPT_F32;
    refused(&d, "block_table is f32 of rank 2, must be i32 of rank 2: (batch, max_pages)");
    d = paged();
    d.block_table.size[0] = 3;
    refused(&d, "block_table is for 3 batch entries, q has 2");
    d = paged();
    d.block_table.stride[1] = 2;
    refused(&d, "stride 2 of its last axis");
    d = paged();
    d.block_table.stride[0] = -1;
    refused(&d, "stride -1 of batch");
    d = paged();
    d.block_table.stride[0] = INT64_MAX;
    refused(&d, "of batch");
    d = paged();
    d.page_size = 8;
    refused(&d, "k has pages of 16 keys, page_size is 8");
    d.page_size = 0;
    refused(&d, "page_size is 0");
    d = paged();
    d.block_table.size[1] = 1u << 26;
    refused(&d, "more than 2^29 keys");
    d = paged();
    d.v.size[0] = 23;
    refused(&d, "k and v disagree on batch: 24 and 23");
    d = paged();
    d.k_lengths.size[0] = 1;
    refused(&d, "k_lengths is for 1 batch entries");
    d = paged();
    d.k_lengths.align = 2;
    refused(&d, "k_lengths: align 2");
    d = paged();
    d.rope_base = 10000;
    refused(&d, "block_table does not go with rotary positions: keep keys that are turned");
    d = paged();
    d.block_table.dtype = RAPT_DTYPE_NONE;
    refused(&d, "page_size goes with block_table");
    d.page_size = 0;
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 2, 2, 160, 64);
    d.flags = RAPT_ATTENTION_QK_NORM;
    refused(&d, "k_lengths does not go with QK-norm");
    d.flags = 0;
    rapt_problem p;
    rapt_error error = {0};
    assert_int_equal(rapt_attention_problem(&d, &p, &error), RAPT_OK);
    d.key_bias = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, 1, 159}, .stride = {0, 0, 1}};
    refused(&d, "key_bias");
}

/* The bytes that the main step binds of a role. */
static uint64_t bound(const rapt_plan *plan, rapt_role role)
{
    for (uint32_t s = 0; s < plan->step_count; s++) {
        const rapt_kernel_row *row = plan->pipelines[plan->steps[s].pipeline].row;
        for (uint32_t i = 0; i < row->operand_count && plan->steps[s].pipeline == 0; i++)
            if (row->operands[i].role == role)
                return plan->steps[s].windows[i].bytes;
    }
    return 0;
}

static uint32_t extras_constant(const rapt_plan *plan)
{
    const rapt_plan_pipeline *p = &plan->pipelines[0];
    for (uint32_t i = 0; i < p->row->constant_count; i++)
        if (p->row->constants[i].source == RAPT_CONST_EXTRAS)
            return p->constants[i];
    return 0;
}

static void test_plan(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    rapt_error error = {0};
    rapt_plan *plan;
    rapt_attention_desc d = paged();
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_OK);
    assert_int_equal(bound(plan, RAPT_ROLE_K), 24 * 2 * 16 * 64 * 4); /* a page may lie anywhere in the pool */
    assert_int_equal(bound(plan, RAPT_ROLE_CU_K), 2 * 4);
    assert_int_equal(bound(plan, RAPT_ROLE_EXTRA), (12 + 10) * 4);
    assert_int_equal(extras_constant(plan), RAPT_PARAM_PAGED | RAPT_PARAM_RAGGED);
    assert_int_equal(plan->first_key, 0);
    rapt_attention_params params;
    memcpy(&params, plan->params, sizeof params);
    assert_int_equal(params.page_size, 16);
    assert_int_equal(params.pages, 24);
    assert_int_equal(params.x_pages_stride_b, 12);
    assert_int_equal(params.flags & (RAPT_PARAM_PAGED | RAPT_PARAM_RAGGED), RAPT_PARAM_PAGED | RAPT_PARAM_RAGGED);
    rapt_plan_destroy(&plan);

    /* A window leaves nothing out while lengths are not known. */
    d.flags = RAPT_ATTENTION_WINDOW | RAPT_ATTENTION_CAUSAL;
    d.window_left = 20;
    d.window_right = -1;
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_OK);
    assert_int_equal(plan->first_key, 0);
    rapt_plan_destroy(&plan);
}

static void test_refusals(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    caps.features = UINT64_MAX;
    caps.subgroup_size = caps.subgroup_size_min = caps.subgroup_size_max = 32;
    caps.max_shared_bytes = 65536;
    caps.max_invocations = caps.max_group_size[0] = 1024;
    rapt_error error = {0};
    rapt_plan *plan;
    rapt_attention_desc d = paged();
    d.kernel = "tile-stage-f32-d64";
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "has no form for keys in pages"));
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 2, 2, 160, 64);
    d.page_size = 0;
    d.block_table.dtype = RAPT_DTYPE_NONE;
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "has no form for batch entries of different lengths"));
    d.kernel = NULL;
    d.k_lengths.usage = RAPT_BUFFER_UNIFORM_TEXEL;
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "needs the storage usage on the buffer of k_lengths"));

    d = paged(); /* more than the floor binds at once: heads may be taken one by one, pages not */
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 1 << 17, 2, 16, 64);
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "k spans"));
}

/* Pages of other sizes than whole tiles of keys go to rows that look each key up. */
static void test_page_sizes(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    caps.device_class = RAPT_CLASS_SOFTWARE;
    caps.features = UINT64_MAX;
    caps.subgroup_size = caps.subgroup_size_min = caps.subgroup_size_max = 8;
    rapt_error error = {0};
    rapt_plan *plan;
    rapt_attention_desc d = paged();
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_OK);
    assert_string_equal(plan->pipelines[0].row->name, "decode-f32-d64-r4");
    rapt_plan_destroy(&plan);
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 24, 2, 5, 64);
    d.page_size = 5;
    d.kernel = "decode-f32-d64-r4";
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "takes pages of a multiple of 4 keys, not 5"));
    d.kernel = NULL;
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &d, &plan, &error), RAPT_OK);
    rapt_plan_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problem), cmocka_unit_test(test_bad_descriptors), cmocka_unit_test(test_plan),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_page_sizes),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
