/* The delta rule and dplr from chunk to chunk with the tokens of a chunk solved for together, against the recurrence in double precision;
 * rows are forced, since a software device walks token by token. Most have chunks of 16: those of 32 take LLVM ten seconds each.
 * RAPT_TEST_FEW: see support.h. */
#include "linear_problems.h"

#include "api/api.h"
#include "common/linear_params.h"
#include "plan/linear.h"

static rig the_rig;

#define DELTA .rule = RAPT_LINEAR_DELTA
/* What is earned is twice the error of single precision token by token; solved for together, a token's sums go through those of
 * the tokens before it in its chunk, each rounded once more: up to 1.19 times what is earned was seen in these cases. */
#define LEAP(type) .form = RAPT_LINEAR_CHUNKED, .kernel = "state-leap-delta-" type, DELTA, .tolerance = 2
#define DPLR(type) .form = RAPT_LINEAR_CHUNKED, .kernel = "state-leap-dplr-" type, .rule = RAPT_LINEAR_DPLR
#define BOTH_STATES .state_in = true, .state_out = true

static void test_cases(void **state)
{
    (void)state;
    static const lin cases[] = {
        {"plain", RAPT_F32, .heads = 2, .n = 70, D(64, 64), LEAP("f32")},
        {"beta", RAPT_F32, .batch = 2, .heads = 2, .n = 70, D(64, 64), LEAP("f32"), .chunk = 16, .beta = true, BOTH_STATES},
        {"head-decay", RAPT_F16, .heads = 3, .n = 70, D(40, 24), LEAP("f16"), .chunk = 16, .decay = DECAY_HEAD, .beta = true, BOTH_STATES},
        {"token-decay-bf16", RAPT_BF16, .heads = 2, .n = 70, D(64, 64), LEAP("bf16"), .decay = DECAY_TOKEN, .beta = true, BOTH_STATES},
        {"channels", RAPT_F32, .batch = 2, .heads = 2, .n = 70, D(33, 17), LEAP("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .beta = true,
         .odd = true, BOTH_STATES},
        {"channels-f16-odd", RAPT_F16, .heads = 2, .n = 45, D(31, 33), LEAP("f16"), .chunk = 16, .decay = DECAY_CHANNEL, .log = true,
         .odd = true, .state_out = true},
        {"channels-bf16-odd", RAPT_BF16, .heads = 2, .n = 45, D(7, 63), LEAP("bf16"), .chunk = 16, .decay = DECAY_CHANNEL, .log = true, .odd = true},
        {"between", RAPT_F32, .heads = 1, .n = 40, D(96, 80), LEAP("f32"), .chunk = 16, .decay = DECAY_TOKEN, .beta = true, BOTH_STATES},
        {"wide", RAPT_F32, .heads = 1, .n = 70, D(128, 128), LEAP("f32"), .decay = DECAY_CHANNEL, .beta = true, BOTH_STATES},
        {"widest", RAPT_F32, .heads = 1, .n = 40, D(256, 256), LEAP("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .beta = true, BOTH_STATES},
        {"widest-halved", RAPT_F32, .heads = 1, .n = 40, D(250, 130), LEAP("f32"), .chunk = 16, .decay = DECAY_TOKEN, BOTH_STATES},
        {"d-1", RAPT_F16, .heads = 1, .n = 20, D(1, 1), LEAP("f16"), .chunk = 16},
        {"shared-heads", RAPT_F32, .heads = 6, .heads_q = 3, .heads_k = 2, .heads_v = 6, .n = 40, D(16, 24), LEAP("f32"), .chunk = 16, .beta = true},
        {"elu1", RAPT_F32, .heads = 2, .n = 40, D(24, 16), LEAP("f32"), .chunk = 16, .feature = RAPT_PHI_ELU1, .decay = DECAY_TOKEN,
         /* Features of length over 1 let the state grow without end. */ .low = 0.3, .high = 0.5, .beta = true, .beta_is = 0.05},
        {"in-place", RAPT_F32, .batch = 2, .heads = 2, .n = 35, D(32, 32), LEAP("f32"), .chunk = 16, .in_place = true},
        {"no-tokens", RAPT_F32, .heads = 2, .n = 0, D(8, 8), .rule = RAPT_LINEAR_DELTA, .form = RAPT_LINEAR_CHUNKED, .chunk = 32, BOTH_STATES},
        {"packed", RAPT_F32, .heads = 2, .n = 130, D(32, 16), LEAP("f32"), .beta = true, .decay = DECAY_TOKEN, .sequences = 5,
         .length = {30, 0, 66, 1, 33}, BOTH_STATES},
        {"packed-cut", RAPT_F16, .heads = 2, .n = 64, D(32, 16), LEAP("f16"), .chunk = 16, .beta = true, .decay = DECAY_CHANNEL, .sequences = 3,
         .length = {30, 4, 30}, .max_seqlen = 20, .state_out = true},
        {"spans", RAPT_F32, .heads = 2, .n = 300, D(32, 32), LEAP("f32"), .beta = true, .decay = DECAY_TOKEN, .limit = 80000},
        {"spans-states", RAPT_F32, .heads = 2, .n = 300, D(32, 32), LEAP("f32"), .chunk = 16, .limit = 80000, BOTH_STATES},
        {"slices", RAPT_F32, .heads = 2, .n = 300, D(32, 32), LEAP("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .slice_ms = 0.001f},
        {"dplr", RAPT_F32, .batch = 2, .heads = 2, .n = 70, D(64, 64), DPLR("f32"), .decay = DECAY_CHANNEL, BOTH_STATES},
        {"dplr-f16-odd-elu1-shared-heads", RAPT_F16, .heads = 6, .heads_q = 3, .heads_k = 2, .heads_v = 3, .n = 45, D(31, 33), DPLR("f16"),
         .chunk = 16, .feature = RAPT_PHI_ELU1, .decay = DECAY_CHANNEL, .log = true, .odd = true, .state_out = true},
        {"dplr-packed-bf16", RAPT_BF16, .heads = 2, .n = 130, D(40, 24), DPLR("bf16"), .chunk = 16, .decay = DECAY_HEAD, .sequences = 5,
         .length = {30, 0, 66, 1, 33}, BOTH_STATES},
        {"dplr-widest", RAPT_F32, .heads = 1, .n = 40, D(256, 130), DPLR("f32"), .chunk = 16, .decay = DECAY_TOKEN, BOTH_STATES},
        {"dplr-spans", RAPT_F32, .heads = 2, .n = 200, D(32, 16), DPLR("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .limit = 80000, .in_place = true},
    };
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        if (!test_takes(i))
            continue;
        check(the_rig.device, &cases[i], 1);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", cases[i].name, strstr(the_rig.log, "validation: "));
    }
    rig_close(&the_rig);
}

/* Every length around the edges of chunks, of both sizes. */
static void test_lengths(void **state)
{
    (void)state;
    static const uint64_t primes[] = {67, 97, 127, 257, 509};
    static const lin kinds[] = {
        {"tokens", RAPT_F32, .heads = 2, D(32, 16), LEAP("f32"), .beta = true, .decay = DECAY_TOKEN, BOTH_STATES},
        {"channels-16", RAPT_F32, .heads = 2, D(32, 16), LEAP("f32"), .chunk = 16, .beta = true, .decay = DECAY_CHANNEL, BOTH_STATES},
        {"dplr-16", RAPT_F32, .heads = 2, D(32, 16), DPLR("f32"), .chunk = 16, .decay = DECAY_CHANNEL, BOTH_STATES},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++) {
        lin l = kinds[i];
        for (l.n = 1; l.n <= 65; l.n++)
            check(the_rig.device, &l, 0);
        for (size_t n = 0; n < RAPT_COUNT(primes); n++) {
            l.n = primes[n];
            check(the_rig.device, &l, 0);
        }
    }
    rig_close(&the_rig);
}

/* Decays at their extremes: nothing overflows, nothing that counts is lost. */
static void test_extremes(void **state)
{
    (void)state;
    static const struct {
        double low, high, extreme;
        bool log;
    } ranges[] = {
        {0.9, 1, 0, false},         {1, 1, 1 - 1e-7, false},       {1 - 1e-7, 1, 1, false},
        {0, 0.001, 1, false},       {-80, -79, -0.01, true},       {-0.1, -0.01, -80, true},
        {-1e-7, -1e-8, -200, true}, {-1e4, -1e4, -INFINITY, true},
    };
    rig_open(&the_rig, NULL);
    for (int decay = DECAY_TOKEN; decay <= DECAY_CHANNEL; decay++)
        for (size_t r = 0; r < RAPT_COUNT(ranges); r++) {
            lin l = {"extremes", RAPT_F32, .heads = 2, .n = 70, D(32, 16), LEAP("f32"), .chunk = 16, .beta = true, .decay = decay,
                     .low = ranges[r].low, .high = ranges[r].high, .extreme = ranges[r].extreme, .extremes = true,
                     .log = ranges[r].log, BOTH_STATES};
            check(the_rig.device, &l, 0);
            if (decay == DECAY_TOKEN)
                continue;
            l.name = "extremes-dplr";
            l.rule = RAPT_LINEAR_DPLR;
            l.kernel = "state-leap-dplr-f32";
            l.beta = false;
            l.removes = 0.5;
            l.tolerance = 0;
            check(the_rig.device, &l, 0);
        }
    rig_close(&the_rig);
}

/* Beta at 0, 1 and 2, keys that are nearly the same: the systems that are solved stay bounded. Of dplr less than 2 is removed: with decays
 * that do not decay what is removed, twice a key would grow. */
static void test_keys(void **state)
{
    (void)state;
    static const double betas[] = {-1, 1, 2}, noise[] = {0, 1e-1, 1e-3, 1e-6}, removed[] = {1, 1.8};
    rig_open(&the_rig, NULL);
    for (uint32_t chunk = 16; chunk <= 32; chunk += 16)
        for (size_t i = 0; i < RAPT_COUNT(betas); i++)
            for (size_t c = 0; c < RAPT_COUNT(noise); c++) {
                const lin l = {"keys", RAPT_F32, .heads = 2, .n = 100, D(32, 16), LEAP("f32"), .chunk = chunk, .beta = true,
                               .beta_is = betas[i], .collinear = noise[c], BOTH_STATES};
                check(the_rig.device, &l, 0);
            }
    for (size_t i = 0; i < RAPT_COUNT(removed); i++)
        for (size_t c = 0; c < RAPT_COUNT(noise); c++) {
            const lin l = {"keys-dplr", RAPT_F32, .heads = 2, .n = 100, D(32, 16), DPLR("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .low = 0.9,
                           .high = 1, .removes = removed[i], .collinear = noise[c], .tolerance = 2, BOTH_STATES}; /* up to 1.75 times what is earned was seen */
            check(the_rig.device, &l, 0);
        }
    for (double large = 2; large <= 8; large *= 2) { /* a and b of this half length each; decays keep what they make in bounds */
        const lin l = {"large-dplr", RAPT_F32, .heads = 2, .n = 100, D(32, 16), DPLR("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .low = 0.2,
                       .high = 0.4, .large = large, BOTH_STATES};
        check(the_rig.device, &l, 0);
    }
    rig_close(&the_rig);
}

/* What a token holds reaches no earlier one. */
static void test_poison(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    for (int decay = DECAY_ONE; decay <= DECAY_CHANNEL; decay++)
        for (uint64_t token = 29; token < 38; token++) {
            const lin l = {"poison", RAPT_F32, .heads = 2, .n = 70, D(32, 16), LEAP("f32"), .chunk = 16, .beta = true, .decay = decay, .poison = token};
            check(the_rig.device, &l, 0);
        }
    for (uint64_t token = 29; token < 35; token++) {
        const lin l = {"poison-dplr", RAPT_F32, .heads = 2, .n = 70, D(32, 16), DPLR("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .poison = token};
        check(the_rig.device, &l, 0);
    }
    rig_close(&the_rig);
}

/* States within a sequence. */
static void test_positions(void **state)
{
    (void)state;
    static const uint64_t some[] = {0, 1, 32, 40, 97};
#define AT .positions = some, .position_count = RAPT_COUNT(some), .state_out = true
    static const lin kinds[] = {
        {"from-state", RAPT_F32, .batch = 2, .heads = 2, .n = 130, D(32, 16), LEAP("f32"), .beta = true, .decay = DECAY_TOKEN,
         .state_in = true, AT},
        {"spans", RAPT_F32, .heads = 2, .n = 130, D(32, 16), LEAP("f32"), .decay = DECAY_CHANNEL, .limit = 70000, AT},
        {"packed", RAPT_F32, .heads = 2, .n = 160, D(32, 16), LEAP("f32"), .decay = DECAY_TOKEN, .sequences = 4,
         .length = {9, 0, 150, 1}, .state_in = true, AT},
        {"dplr", RAPT_F32, .batch = 2, .heads = 2, .n = 130, D(32, 16), DPLR("f32"), .chunk = 16, .decay = DECAY_CHANNEL, .state_in = true, AT},
    };
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
        check(the_rig.device, &kinds[i], 0);
    assert_int_equal(atomic_load(&the_rig.runtime->validation_messages), 0);
    rig_close(&the_rig);
}

/* The same numbers with fewer capabilities and smaller limits, down to the floor. */
static void test_masks(void **state)
{
    (void)state;
    static const char *const masks[] = {"floor", "shared=16384,invocations=128", "range=65536"};
    static const lin kinds[] = {
        {"tokens", RAPT_F32, .batch = 2, .heads = 1, .n = 200, D(32, 16), LEAP("f32"), .beta = true, .decay = DECAY_TOKEN},
        {"channels", RAPT_F32, .heads = 1, .n = 200, D(32, 16), LEAP("f32"), .chunk = 16, .decay = DECAY_CHANNEL, BOTH_STATES},
        {"dplr", RAPT_F32, .heads = 1, .n = 200, D(32, 16), DPLR("f32"), .chunk = 16, .decay = DECAY_CHANNEL, BOTH_STATES},
    };
    for (size_t m = 0; m < RAPT_COUNT(masks); m++) {
        if (!test_takes(m))
            continue;
        rig_open(&the_rig, &(rig_options){.mask = masks[m]});
        for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
            check(the_rig.device, &kinds[i], 0);
        rig_close(&the_rig);
    }
}

/* ---- what is planned for GPUs */

static rapt_plan *planned(const rapt_caps *caps, const rapt_linear_desc *d)
{
    rapt_plan *plan;
    rapt_error error = {0};
    if (rapt_linear_plan_for_caps(caps, d, &plan, &error) != RAPT_OK)
        fail_msg("%s", error.message);
    return plan;
}

static const char *main_row(const rapt_plan *plan)
{
    return plan->pipelines[0].row->name;
}

static rapt_linear_desc delta(uint64_t n, uint64_t d_k)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.rule = RAPT_LINEAR_DELTA;
    d.q = d.k = rapt_tensor_bhnd(RAPT_F16, 1, 32, n, d_k);
    d.v = d.out = rapt_tensor_bhnd(RAPT_F16, 1, 32, n, 128);
    return d;
}

static rapt_linear_desc dplr(uint64_t n, uint64_t d_k)
{
    rapt_linear_desc d = delta(n, d_k);
    d.rule = RAPT_LINEAR_DPLR;
    d.a = d.b = d.k;
    return d;
}

/* The chain is a step a chunk: what is dispatched shows it, and the workspace stays below its limit. */
static void check_chain(const rapt_caps *caps, rapt_linear_desc (*problem)(uint64_t, uint64_t), const char *row)
{
    for (uint64_t n = 1000; n <= 1u << 20; n = n * 7 + 3) {
        const rapt_linear_desc d = problem(n, 128);
        rapt_plan *plan = planned(caps, &d);
        assert_string_equal(main_row(plan), row);
        assert_int_equal(plan->layout.chunk, RAPT_LINEAR_LEAP);
        assert_int_equal(plan->layout.chain, (n + RAPT_LINEAR_LEAP - 1) / RAPT_LINEAR_LEAP);
        assert_true(plan->workspace_bytes <= 64u << 20);
        uint64_t solved = 0, walked = 0; /* chunks of all heads; tokens of all columns of all heads */
        for (uint32_t i = 0; i < plan->step_count; i++) {
            const rapt_step *s = &plan->steps[i];
            rapt_linear_push push;
            memcpy(&push, s->push, sizeof push);
            if (s->pipeline == 1)
                solved += (uint64_t)s->groups[1] * s->groups[2];
            else
                walked += (uint64_t)(push.token1 - push.token0) * s->groups[0] * s->groups[2];
            assert_true(s->pipeline == 1 || s->groups[1] == 1); /* chunks are passed one after the other in a workgroup */
            assert_true((push.token1 - push.token0 + push.chunk - 1) / push.chunk <= push.chunks);
        }
        assert_int_equal(solved, plan->layout.chain * 32);
        assert_int_equal(walked, n * 32 * (128 / 16));
        char *text = malloc(1 << 20), chain[64];
        assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, 1 << 20) < 1 << 20);
        snprintf(chain, sizeof chain, "a chain of %llu steps", (unsigned long long)plan->layout.chain);
        assert_non_null(strstr(text, chain));
        assert_non_null(strstr(text, "solved for together"));
        free(text);
        rapt_plan_destroy(&plan);
    }
}
static void test_chain(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_caps caps = the_rig.device->caps;
    caps.device_class = RAPT_CLASS_NVIDIA;
    check_chain(&caps, delta, "state-leap-delta-f16");
    check_chain(&caps, dplr, "state-leap-dplr-f16");
    rig_close(&the_rig);
}

/* Of dplr packed sequences have no other rows than those that leap: those take them on every device, however short. */
static void test_dplr_choice(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_caps caps = the_rig.device->caps;
    static const struct {
        rapt_device_class device;
        uint64_t n;
        bool packed, leaps;
    } choices[] = {
        {RAPT_CLASS_MALI, 4096, false, true}, {RAPT_CLASS_MALI, 64, false, false},     {RAPT_CLASS_MALI, 20, true, true},
        {RAPT_CLASS_MALI, 4096, true, true},  {RAPT_CLASS_SOFTWARE, 4096, false, false}, {RAPT_CLASS_SOFTWARE, 20, true, true},
    };
    for (size_t i = 0; i < RAPT_COUNT(choices); i++) {
        rapt_linear_desc d = dplr(choices[i].n, 64);
        d.sequences = choices[i].packed ? 3 : 0;
        caps.device_class = choices[i].device;
        rapt_plan *plan = planned(&caps, &d);
        if ((strcmp(main_row(plan), "state-leap-dplr-f16") == 0) != choices[i].leaps)
            fail_msg("choice %zu: %s", i, main_row(plan));
        rapt_plan_destroy(&plan);
    }
    rapt_error error = {0};
    rapt_plan *plan;
    rapt_linear_desc d = dplr(100, 64);
    d.sequences = 3;
    d.form = RAPT_LINEAR_RECURRENT;
    assert_int_equal(rapt_linear_plan_for_caps(&caps, &d, &plan, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "has no form for packed sequences"));
    rig_close(&the_rig);
}

/* Which problems go to these rows, and which to others. */
static void test_choice(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_caps caps = the_rig.device->caps;
    rapt_linear_desc d = delta(4096, 64);
    caps.device_class = RAPT_CLASS_SOFTWARE;
    rapt_plan *plan = planned(&caps, &d); /* software: measured to be slower than token by token */
    assert_null(strstr(main_row(plan), "leap"));
    rapt_plan_destroy(&plan);
    caps.device_class = RAPT_CLASS_MALI;
    static const struct {
        uint64_t n;
        uint32_t chunk;
        rapt_linear_form form;
        rapt_phi feature;
        const char *row;
        uint32_t planned;
    } choices[] = {
        {4096, 0, RAPT_LINEAR_AUTO, RAPT_PHI_IDENTITY, "state-leap-delta-f16", 32},
        {4096, 16, RAPT_LINEAR_AUTO, RAPT_PHI_IDENTITY, "state-leap-delta-f16", 16},
        {65, 0, RAPT_LINEAR_AUTO, RAPT_PHI_IDENTITY, "state-leap-delta-f16", 32},
        {64, 0, RAPT_LINEAR_AUTO, RAPT_PHI_IDENTITY, "state-delta-f16", 0},
        {4096, 0, RAPT_LINEAR_RECURRENT, RAPT_PHI_IDENTITY, "state-delta-f16", 0},
        {4096, 64, RAPT_LINEAR_CHUNKED, RAPT_PHI_IDENTITY, "state-delta-f16", 64},
        {4096, 0, RAPT_LINEAR_CHUNKED, RAPT_PHI_SOFTMAX, "state-delta-f16", 64},
        {40, 0, RAPT_LINEAR_CHUNKED, RAPT_PHI_IDENTITY, "state-leap-delta-f16", 32},
    };
    for (size_t i = 0; i < RAPT_COUNT(choices); i++) {
        d = delta(choices[i].n, 64);
        d.chunk = choices[i].chunk;
        d.form = choices[i].form;
        d.feature = choices[i].feature;
        plan = planned(&caps, &d);
        if (strcmp(main_row(plan), choices[i].row) != 0 || plan->layout.chunk != choices[i].planned)
            fail_msg("choice %zu: %s in chunks of %u", i, main_row(plan), plan->layout.chunk);
        for (uint32_t c = 0; c < plan->candidate_count; c++) { /* chosen are those that run */
            bool runs = false;
            for (uint32_t k = 0; k < plan->pipeline_count; k++)
                runs |= plan->pipelines[k].base == plan->candidates[c].row;
            assert_true(runs || !plan->candidates[c].chosen);
        }
        rapt_plan_destroy(&plan);
    }
    rapt_error error = {0};
    d = delta(100, 64);
    d.kernel = "state-leap-delta-f16";
    d.form = RAPT_LINEAR_CHUNKED;
    d.chunk = 64;
    assert_int_equal(rapt_linear_plan_for_caps(&caps, &d, &plan, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "takes chunks of 32 or 16 tokens, not 64"));
    rig_close(&the_rig);
}

static bool is_blocked(void *user, const rapt_kernel_row *row, char *reason, size_t capacity)
{
    snprintf(reason, capacity, "for this test");
    return strstr(row->name, user) != NULL;
}

/* Where no row solves for chunks, chunks are walked; a row that is forced says so. */
static void test_blocked(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_caps caps = the_rig.device->caps;
    caps.device_class = RAPT_CLASS_MALI;
    const rapt_verdicts verdicts = {.user = "state-solve", .blocked = is_blocked};
    rapt_linear_desc d = delta(4096, 64);
    d.form = RAPT_LINEAR_CHUNKED;
    rapt_plan *plan;
    RIG_OK(rapt_linear_plan_new(the_rig.device, &caps, &d, &verdicts, &plan, error));
    assert_string_equal(main_row(plan), "state-delta-f16");
    char *text = malloc(1 << 20);
    assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, 1 << 20) < 1 << 20);
    assert_non_null(strstr(text, "no row solves for its chunks"));
    free(text);
    rapt_plan_destroy(&plan);
    d.kernel = "state-leap-delta-f16";
    RIG_FAILS(rapt_linear_plan_new(the_rig.device, &caps, &d, &verdicts, &plan, error), RAPT_ERROR_UNSUPPORTED, "on the block list");
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),     cmocka_unit_test(test_lengths), cmocka_unit_test(test_extremes), cmocka_unit_test(test_keys),
        cmocka_unit_test(test_poison),    cmocka_unit_test(test_positions), cmocka_unit_test(test_masks), cmocka_unit_test(test_chain),
        cmocka_unit_test(test_choice),    cmocka_unit_test(test_dplr_choice), cmocka_unit_test(test_blocked),
    };
    return RIG_RUN("linear_leap", tests);
}
