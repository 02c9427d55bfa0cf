/* Measured choices of linear attention: candidates are right, a choice decides the form and the chunks of later plans whatever the
 * batch, and one that cannot be taken any more is passed over. */
#include "rig.h"
#include "vk/exec.h"

#include <rapt/linear.h>

static rig the_rig;

enum { MOST = 64, HEADS = 2, TOKENS = 40, DIM = 16 };
static rapt_tune_candidate candidates[MOST];

static rapt_tensor tensor(uint64_t batch, uint64_t rows)
{
    rapt_tensor t = {.dtype = RAPT_F32, .rank = 4, .size = {batch, HEADS, rows, DIM}, .stride = {0, 0, DIM, 1}};
    t.stride[1] = (int64_t)(rows * DIM);
    t.stride[0] = HEADS * t.stride[1];
    return t;
}

static rapt_linear_desc small(uint64_t batch)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.q = d.k = d.v = d.out = tensor(batch, TOKENS);
    d.decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {HEADS}, .stride = {1}};
    d.state_out = tensor(batch, DIM);
    return d;
}

static rapt_plan *plan_of(const rapt_linear_desc *d)
{
    rapt_plan *plan;
    RIG_OK(rapt_linear_plan(the_rig.device, d, &plan, error));
    return plan;
}

/* Leaves one row to walk tokens, the default's, since each takes a driver long to compile. */
static void keep_one(const rapt_linear_desc *d)
{
    const rapt_kernel_table *table = rapt_kernels();
    rapt_plan *plan = plan_of(d);
    const rapt_kernel_row *row = plan->pipelines[0].row;
    for (uint32_t i = 0; i < table->row_count; i++)
        if (table->rows[i].family == RAPT_FAMILY_STATE && (table->rows[i].supports & (RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS)) &&
            &table->rows[i] != row)
            RIG_OK(rapt_device_block(the_rig.device, table->rows[i].name, "not in this test", NULL, error));
    rapt_plan_destroy(&plan);
}

/* Puts a choice in as if it had been measured. */
static void keep(const rapt_linear_desc *d, const char *kernel, rapt_linear_form form, uint32_t chunk)
{
    rapt_linear_problem p;
    rapt_hash key;
    bool stored;
    rapt_tuned t = RAPT_TUNED_INIT;
    RIG_OK(rapt_linear_problem_make(d, &p, error));
    assert_true(rapt_linear_tuning_key(&p, rapt_device_caps(the_rig.device), &key));
    snprintf(t.kernel, sizeof t.kernel, "%s", kernel);
    snprintf(t.default_kernel, sizeof t.default_kernel, "other");
    t.form = form;
    t.chunk = chunk;
    t.speedup = 2;
    RIG_OK(rapt_tuning_keep(the_rig.device, key, &t, &stored, error));
}

static void test_race(void **state)
{
    (void)state;
    static char text[1 << 17];
    rapt_linear_desc d = small(1);
    rapt_tune_options options = RAPT_TUNE_OPTIONS_INIT;
    rapt_tune_result r = RAPT_TUNE_RESULT_INIT;
    options.seconds = 0.05;
    rig_open(&the_rig, NULL);
    keep_one(&d);
    RIG_OK(rapt_linear_tune(the_rig.device, &d, &options, &r, candidates, MOST, error));
    assert_string_equal(r.problem, "linear f32, rule none, fixed decay, heads 2, tokens 40, d_k 16, d_v 16");
    assert_true(r.candidate_count > 2 && r.rounds >= 6 && !r.stopped && r.blocked == 0);
    unsigned winners = 0, defaults = 0, chunked = 0, recurrent = 0;
    for (uint32_t i = 0; i < r.candidate_count && i < MOST; i++) {
        const rapt_tune_candidate *c = &candidates[i];
        assert_true(c->state == RAPT_TUNE_TIMED || c->state == RAPT_TUNE_SLOW);
        assert_true(c->error <= 1 && c->samples > 0);
        winners += c->is_winner;
        defaults += c->is_default;
        chunked += c->chunk > 0;
        recurrent += c->chunk == 0;
        for (uint32_t k = 0; k < i; k++) /* none twice */
            assert_true(strcmp(c->kernel, candidates[k].kernel) != 0 || c->chunk != candidates[k].chunk);
    }
    assert_true(winners == 1 && defaults == 1 && candidates[0].is_default);
    assert_true(chunked > 0 && recurrent > 0);
    rapt_plan *plan = plan_of(&d);
    assert_true(rapt_plan_is_tuned(plan));
    assert_string_equal(plan->pipelines[0].row->name, r.kernel);
    assert_int_equal(plan->layout.chunk, r.chunk);
    assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text) > 1);
    assert_non_null(strstr(text, "\ntuned    "));
    rapt_plan_destroy(&plan);
    assert_int_equal(rapt_device_forget_tuned(the_rig.device), 1);
    rig_close(&the_rig);
}

/* Updated in place, with every kind of tensor that a rule takes. */
static void test_states(void **state)
{
    (void)state;
    rapt_linear_desc d = small(2);
    rapt_tune_options options = RAPT_TUNE_OPTIONS_INIT;
    rapt_tune_result r = RAPT_TUNE_RESULT_INIT;
    options.seconds = 0.01;
    options.dry_run = 1;
    d.rule = RAPT_LINEAR_DELTA;
    d.decay = (rapt_tensor){0};
    d.gate = tensor(2, TOKENS);
    d.beta = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {2, HEADS, TOKENS}, .stride = {HEADS * TOKENS, TOKENS, 1}};
    d.flags = RAPT_LINEAR_IN_PLACE | RAPT_LINEAR_LOG_DECAY;
    rig_open(&the_rig, NULL);
    keep_one(&d);
    RIG_OK(rapt_linear_tune(the_rig.device, &d, &options, &r, candidates, MOST, error));
    assert_non_null(strstr(r.problem, "rule delta, decay per channel"));
    for (uint32_t i = 0; i < r.candidate_count && i < MOST; i++)
        assert_true(candidates[i].error <= 1 && candidates[i].state != RAPT_TUNE_WRONG);
    assert_int_equal(rapt_device_tuned_count(the_rig.device), 0); /* a dry run */
    rig_close(&the_rig);
}

static void test_choice(void **state)
{
    (void)state;
    const rapt_linear_desc one = small(1), four = small(4);
    rig_open(&the_rig, NULL);
    rapt_plan *plan = plan_of(&one);
    assert_false(plan->has_tuned);
    char usual[64];
    snprintf(usual, sizeof usual, "%s", plan->pipelines[0].row->name);
    rapt_plan_destroy(&plan);
    keep(&four, usual, RAPT_LINEAR_CHUNKED, 8); /* measured at one batch, taken at another */
    plan = plan_of(&one);
    assert_int_equal(plan->layout.chunk, 8);
    assert_true(rapt_plan_is_tuned(plan));
    RIG_OK(rapt_plan_prepare(plan, error)); /* probes the very constants */
    assert_int_equal(plan->layout.chunk, 8);
    rapt_plan_destroy(&plan);
    rapt_linear_desc asked = one;
    asked.form = RAPT_LINEAR_RECURRENT; /* the app's wish goes first */
    plan = plan_of(&asked);
    assert_int_equal(plan->layout.chunk, 0);
    assert_false(plan->has_tuned);
    rapt_plan_destroy(&plan);
    /* A row that is blocked since, and one that is not there any more. */
    RIG_OK(rapt_device_block(the_rig.device, usual, NULL, NULL, error));
    plan = plan_of(&one);
    assert_string_not_equal(plan->pipelines[0].row->name, usual);
    assert_false(rapt_plan_is_tuned(plan));
    rapt_plan_destroy(&plan);
    RIG_OK(rapt_device_unblock(the_rig.device, usual, NULL, error));
    keep(&one, "gone", RAPT_LINEAR_CHUNKED, 16);
    plan = plan_of(&one);
    assert_string_equal(plan->pipelines[0].row->name, usual);
    assert_false(rapt_plan_is_tuned(plan));
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
}

/* What a key holds, and what it does not. */
static void test_keys(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_linear_problem p;
    rapt_hash base, other;
    rapt_caps_floor(&caps);
    rapt_linear_desc d = small(1), e = small(3);
    RIG_OK(rapt_linear_problem_make(&d, &p, error));
    assert_true(rapt_linear_tuning_key(&p, &caps, &base));
    RIG_OK(rapt_linear_problem_make(&e, &p, error));
    assert_true(rapt_linear_tuning_key(&p, &caps, &other));
    assert_true(rapt_hash_equal(base, other)); /* the batch is no part of it */
    for (int change = 0; change < 5; change++) {
        e = small(1);
        if (change == 0)
            e.rule = RAPT_LINEAR_DELTA;
        else if (change == 1)
            e.feature = RAPT_PHI_RELU;
        else if (change == 2)
            e.state_out = (rapt_tensor){0};
        else if (change == 3)
            e.k = e.v = (rapt_tensor){.dtype = RAPT_F32, .rank = 4, .size = {1, 1, TOKENS, DIM}, .stride = {TOKENS * DIM, TOKENS * DIM, DIM, 1}};
        else
            caps.max_shared_bytes *= 2;
        RIG_OK(rapt_linear_problem_make(&e, &p, error));
        assert_true(rapt_linear_tuning_key(&p, &caps, &other));
        assert_false(rapt_hash_equal(base, other));
    }
}

static void test_refusals(void **state)
{
    (void)state;
    rapt_tune_options options = RAPT_TUNE_OPTIONS_INIT;
    rapt_tune_result r = RAPT_TUNE_RESULT_INIT;
    rig_open(&the_rig, NULL);
#define FAILS(desc, status, words) \
    RIG_FAILS(rapt_linear_tune(the_rig.device, desc, &options, &r, candidates, MOST, error), status, words)
    rapt_linear_desc d = small(1);
    RIG_FAILS(rapt_linear_tune(NULL, &d, &options, &r, NULL, 0, error), RAPT_ERROR_INVALID, "device");
    RIG_FAILS(rapt_linear_tune(the_rig.device, &d, &options, NULL, NULL, 0, error), RAPT_ERROR_INVALID, "result");
    d.chunk = 8;
    d.form = RAPT_LINEAR_CHUNKED;
    FAILS(&d, RAPT_ERROR_INVALID, "forced form");
    d = small(1);
    d.kernel = "state-none-f32";
    FAILS(&d, RAPT_ERROR_INVALID, "forced kernel");
    d = small(0);
    FAILS(&d, RAPT_ERROR_INVALID, "empty");
    d = small(1);
    d.decay = (rapt_tensor){0};
    d.flags = RAPT_LINEAR_BIDIRECTIONAL;
    FAILS(&d, RAPT_ERROR_UNSUPPORTED, "not tuned");
    const uint64_t position = 3;
    d = small(1);
    d.state_out = tensor(1, 2 * DIM);
    d.positions = &position;
    d.position_count = 1;
    FAILS(&d, RAPT_ERROR_UNSUPPORTED, "positions");
    d = small(1);
    d.q.size[3] = 8;
    FAILS(&d, RAPT_ERROR_INVALID, "");
    options.seconds = -1;
    d = small(1);
    FAILS(&d, RAPT_ERROR_INVALID, "seconds");
#undef FAILS
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_race), cmocka_unit_test(test_states),   cmocka_unit_test(test_choice),
        cmocka_unit_test(test_keys), cmocka_unit_test(test_refusals),
    };
    return RIG_RUN("tune_linear", tests);
}
