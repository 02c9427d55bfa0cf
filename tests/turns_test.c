/* Plans for a driver that ends loops on its own after so many turns (lavapipe before Mesa 23): what is long is cut or refused, and
 * what was planned before for other drivers stays as it was. */
#include "support.h"

#include "plan/plan.h"
#include "plan/turns.h"

#include <rapt/rapt.h>

/* The floor, as lavapipe of this version. */
static rapt_caps lavapipe(const char *version)
{
    rapt_caps caps;
    rapt_caps_floor(&caps);
    caps.driver_id = 13;
    caps.device_class = RAPT_CLASS_SOFTWARE;
    snprintf(caps.driver_info, sizeof caps.driver_info, "Mesa %s (LLVM 15.0.6)", version);
    return caps;
}

static rapt_attention_desc attention(uint64_t nq, uint64_t nk)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = d.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, nq, 64);
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 1, 1, nk, 64);
    d.kernel = "naive-f32";
    d.key_splits = 1;
    return d;
}

static rapt_plan *planned(const rapt_caps *caps, const rapt_attention_desc *d)
{
    rapt_plan *plan = NULL;
    rapt_error error = {0};
    if (rapt_attention_plan_for_caps(caps, d, &plan, &error) != RAPT_OK)
        fail_msg("%s", error.message);
    return plan;
}

static void refused(rapt_status status, const rapt_error *error, const char *part)
{
    assert_int_equal(status, RAPT_ERROR_UNSUPPORTED);
    if (strstr(error->message, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error->message, part);
}

static void test_limit(void **state)
{
    (void)state;
    rapt_caps old = lavapipe("22.3.6"), new = lavapipe("25.0.7-2");
    assert_int_equal(rapt_loop_turns(&old), 65535);
    assert_true(rapt_loop_turns(&new) == UINT64_MAX && rapt_most_steps(&new, 3) == RAPT_ANY_STEPS);
    assert_true(rapt_most_steps(&old, 100) < 656 && rapt_most_steps(&old, 1u << 20) == 1);
    old.driver_id = 1;
    assert_true(rapt_loop_turns(&old) == UINT64_MAX);
}

/* Keys are cut, however few parts the caller asked for; a link of two passes cannot be. */
static void test_keys(void **state)
{
    (void)state;
    const rapt_caps old = lavapipe("22.3.6"), new = lavapipe("25.0.7");
    rapt_attention_desc d = attention(64, 20000);
    rapt_plan *plan = planned(&new, &d);
    assert_int_equal(plan->splits, 1);
    rapt_plan_destroy(&plan);
    plan = planned(&old, &d);
    assert_true(plan->splits > 1 && (uint64_t)plan->split_keys * (64 / 4) <= 65535);
    assert_true(plan->split_keys <= rapt_most_keys(plan->pipelines[0].row, &plan->problem, &old));
    rapt_plan_destroy(&plan);
    d.kernel = NULL;
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 1, 1, 1u << 20, 64);
    plan = planned(&old, &d);
    assert_true(plan->splits > 1);
    rapt_plan_destroy(&plan);
    d = attention(64, 20000);
    d.link = RAPT_LINK_AFFINE;
    rapt_error error = {0};
    refused(rapt_attention_plan_for_caps(&old, &d, &plan, &error), &error, "65535");
    assert_null(plan);
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 1, 1, 1000, 64);
    plan = planned(&old, &d);
    rapt_plan_destroy(&plan);
}

/* Parts that a merge would take too long for. */
static void test_merge(void **state)
{
    (void)state;
    const rapt_caps old = lavapipe("22.3.6");
    rapt_attention_desc d = attention(1, 1u << 20);
    rapt_plan *plan = NULL;
    rapt_error error = {0};
    d.key_splits = 1u << 16;
    refused(rapt_attention_plan_for_caps(&old, &d, &plan, &error), &error, "65535");
}

static void test_grid(void **state)
{
    (void)state;
    const rapt_caps old = lavapipe("22.3.6"), new = lavapipe("25.0.7");
    rapt_attention_desc d = attention(1u << 16, 1u << 16);
    d.kernel = "naive-grid-f32";
    d.key_splits = 0;
    d.grid = (rapt_grid){.rank = 1, .size = {1u << 16}, .kernel_size = {99}};
    rapt_plan *plan = planned(&old, &d);
    rapt_plan_destroy(&plan);
    d.grid.kernel_size[0] = 1u << 16;
    plan = planned(&new, &d);
    rapt_plan_destroy(&plan);
    rapt_error error = {0};
    refused(rapt_attention_plan_for_caps(&old, &d, &plan, &error), &error, "65535");
}

/* Lists of a mask_mod that is asked about every pair are left out; asked for, they come from the row with more lanes, or not at all. */
static void test_lists(void **state)
{
    (void)state;
    const rapt_caps old = lavapipe("22.3.6"), new = lavapipe("25.0.7");
    rapt_attention_desc d = attention(256, 2048);
    d.kernel = "tile-f32-d64";
    d.key_splits = 0;
    d.mask_mod[0] = "bool mask_mod(uint b, uint h, uint q, uint k) { return q != k; }";
    rapt_plan *plan = planned(&new, &d);
    assert_true(plan->lists.listed);
    assert_string_equal(plan->pipelines[plan->pipeline_count - 1].base->name, "tiles");
    rapt_plan_destroy(&plan);
    plan = planned(&old, &d);
    assert_false(plan->lists.listed);
    rapt_plan_destroy(&plan);
    d.tile_lists = RAPT_TILE_LISTS_ALWAYS;
    plan = planned(&old, &d);
    assert_string_equal(plan->pipelines[plan->pipeline_count - 1].base->name, "tiles-wide");
    rapt_plan_destroy(&plan);
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 1, 1, 1u << 20, 64);
    rapt_error error = {0};
    refused(rapt_attention_plan_for_caps(&old, &d, &plan, &error), &error, "65535");
}

/* Column sums go along queries in parts. */
static void test_margins(void **state)
{
    (void)state;
    const rapt_caps old = lavapipe("22.3.6"), new = lavapipe("25.0.7");
    rapt_attention_desc d = attention(30000, 64);
    d.slice_ms = 1e6f;
    d.col_sums = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, 1, 64}, .stride = {64, 64, 1}};
    rapt_plan *plan = planned(&new, &d);
    const uint32_t phases = plan->phase_count;
    rapt_plan_destroy(&plan);
    plan = planned(&old, &d);
    assert_true(plan->phase_count > phases);
    for (uint32_t i = 0; i < plan->step_count; i++)
        assert_true(plan->steps[i].push[14] <= 30000 && (plan->steps[i].phase < phases - 1 || plan->steps[i].push[14] < 10000)); /* rows */
    rapt_plan_destroy(&plan);
}

/* Recurrences hand their state over more often; chunks that are too long are refused where they were asked for. */
static void test_recurrences(void **state)
{
    (void)state;
    const rapt_caps old = lavapipe("22.3.6"), new = lavapipe("25.0.7");
    rapt_linear_desc l = RAPT_LINEAR_DESC_INIT;
    rapt_plan *plan;
    rapt_error error = {0};
    l.q = l.k = l.v = l.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, 100000, 64);
    l.form = RAPT_LINEAR_RECURRENT;
    l.scale = 1;
    l.slice_ms = 1e6f;
    assert_int_equal(rapt_linear_plan_for_caps(&new, &l, &plan, &error), RAPT_OK);
    assert_int_equal(plan->layout.span, 100000);
    rapt_plan_destroy(&plan);
    assert_int_equal(rapt_linear_plan_for_caps(&old, &l, &plan, &error), RAPT_OK);
    assert_true(plan->layout.span * rapt_linear_token_turns(&plan->linear) <= 65535);
    rapt_plan_destroy(&plan);
    rapt_scan_desc s = RAPT_SCAN_DESC_INIT;
    s.op = RAPT_SCAN_SUM;
    s.x = s.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, 200000, 64);
    s.form = RAPT_SCAN_RECURRENT;
    s.slice_ms = 1e6f;
    assert_int_equal(rapt_scan_plan_for_caps(&new, &s, &plan, &error), RAPT_OK);
    assert_int_equal(plan->scan_layout.span, 200000);
    rapt_plan_destroy(&plan);
    assert_int_equal(rapt_scan_plan_for_caps(&old, &s, &plan, &error), RAPT_OK);
    assert_true(plan->scan_layout.span * rapt_scan_token_turns(&plan->scan) <= 65535);
    rapt_plan_destroy(&plan);
    s.form = RAPT_SCAN_CHUNKED;
    s.chunk = 60000;
    refused(rapt_scan_plan_for_caps(&old, &s, &plan, &error), &error, "65535");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limit), cmocka_unit_test(test_keys),    cmocka_unit_test(test_merge),
                                       cmocka_unit_test(test_grid),  cmocka_unit_test(test_lists),   cmocka_unit_test(test_margins),
                                       cmocka_unit_test(test_recurrences)};
    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
