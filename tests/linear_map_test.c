/* Feature maps that are made ahead of linear attention, and its bidirectional form, on a device, against the recurrence in
 * double precision. */
#include "linear_problems.h"

static rig the_rig;

#define TAYLOR .feature = RAPT_PHI_TAYLOR2
#define SMALL D(6, 8)

static const lin cases[] = {
    {"taylor2", RAPT_F32, .heads = 2, .n = 37, D(16, 64), REC, TAYLOR, .feature_scale = 0.25f},
    {"taylor2-chunked", RAPT_F32, .heads = 2, .n = 37, D(16, 24), CHU, TAYLOR, .normalize = true},
    {"taylor2-f16", RAPT_F16, .heads = 2, .n = 37, SMALL, CHU, TAYLOR, .normalize = true, .state_in = true,
     .state_out = true},
    {"taylor2-bf16-odd", RAPT_BF16, .heads = 1, .n = 21, D(5, 7), REC, TAYLOR, .odd = true, .decay = DECAY_TOKEN,
     .state_in = true, .state_out = true},
    {"taylor2-blocks", RAPT_F32, .heads = 2, .n = 37, D(32, 16), CHU, TAYLOR, .normalize = true, .state_in = true,
     .state_out = true},
    {"taylor2-blocks-plain", RAPT_F16, .batch = 2, .heads = 1, .n = 20, D(24, 12), REC, TAYLOR, .state_out = true},
    {"taylor2-spans", RAPT_F32, .heads = 2, .n = 200, D(8, 16), CHU, TAYLOR, .normalize = true, .limit = 120000,
     .state_in = true},
    {"taylor2-beta", RAPT_F32, .heads = 2, .n = 30, SMALL, CHU, TAYLOR, .normalize = true, .beta = true,
     .decay = DECAY_HEAD},
    {"taylor2-delta", RAPT_F32, .heads = 2, .n = 30, D(4, 8), CHU, TAYLOR, .rule = RAPT_LINEAR_DELTA, .beta = true,
     .beta_is = 0.1, .state_out = true},
    {"taylor2-step-in-place", RAPT_F32, .batch = 2, .heads = 2, .n = 1, D(16, 32), TAYLOR, .normalize = true,
     .in_place = true},
    {"taylor2-shared", RAPT_F32, .heads = 4, .heads_q = 4, .heads_k = 2, .heads_v = 1, .n = 20, SMALL, CHU, TAYLOR},
    {"taylor2-varlen", RAPT_F32, .heads = 2, .n = 60, SMALL, CHU, TAYLOR, .normalize = true, .sequences = 4,
     .length = {9, 0, 50, 1}, .state_in = true, .state_out = true},
    {"poly-1", RAPT_F32, .heads = 2, .n = 30, D(12, 16), CHU, .feature = RAPT_PHI_POLY, .power = 1},
    {"poly-1-blocks", RAPT_F32, .heads = 1, .n = 20, D(130, 16), CHU, .feature = RAPT_PHI_POLY, .power = 1},
    {"fastmax", RAPT_F32, .heads = 2, .n = 30, D(8, 16), CHU, .feature = RAPT_PHI_POLY, .standardize = true,
     .normalize = true},
    {"focused", RAPT_F32, .heads = 2, .n = 30, D(24, 16), CHU, .feature = RAPT_PHI_FOCUSED, .normalize = true},
    {"focused-power", RAPT_F16, .heads = 2, .n = 30, D(33, 17), REC, .feature = RAPT_PHI_FOCUSED, .power = 2.5f,
     .odd = true, .state_out = true},
    {"lognormal", RAPT_F32, .heads = 4, .n = 30, D(16, 16), CHU, .feature = RAPT_PHI_LOGNORMAL, .normalize = true,
     .scales = true, .feature_scale = 0.5f},
    {"cosine", RAPT_F32, .heads = 2, .n = 30, D(20, 16), REC, .feature = RAPT_PHI_COSINE, .decay = DECAY_CHANNEL},
    {"cosine-delta", RAPT_BF16, .heads = 2, .n = 40, D(16, 16), CHU, .feature = RAPT_PHI_COSINE,
     .rule = RAPT_LINEAR_DELTA, .beta = true, .decay = DECAY_TOKEN, .state_in = true, .state_out = true},
    {"cosine-dplr", RAPT_F16, .heads = 2, .n = 30, D(16, 8), CHU, .feature = RAPT_PHI_COSINE,
     .rule = RAPT_LINEAR_DPLR, .decay = DECAY_CHANNEL},
    {"both", RAPT_F32, .batch = 2, .heads = 2, .n = 37, D(32, 24), .both = true, .feature = RAPT_PHI_ELU1,
     .normalize = true},
    {"both-plain", RAPT_F16, .heads = 2, .n = 50, D(17, 5), CHU, .both = true, .state_in = true, .state_out = true},
    {"both-f32-odd", RAPT_F32, .heads = 2, .n = 50, D(17, 5), CHU, .both = true, .odd = true},
    {"both-blocks", RAPT_F32, .heads = 1, .n = 40, D(32, 8), .both = true, TAYLOR, .normalize = true},
    {"both-spans", RAPT_F32, .heads = 2, .n = 300, D(16, 16), CHU, .both = true, .feature = RAPT_PHI_EXP,
     .normalize = true, .limit = 60000},
    {"both-varlen", RAPT_F32, .heads = 2, .n = 60, D(16, 8), CHU, .both = true, .feature = RAPT_PHI_EXP,
     .normalize = true, .sequences = 4, .length = {9, 0, 50, 1}},
    {"both-by-keys", RAPT_F32, .heads = 2, .n = 40, D(16, 24), .both = true, .by_keys = true,
     .feature = RAPT_PHI_SOFTMAX, .feature_k = RAPT_PHI_EXP, .own_k = true},
    {"own-k", RAPT_F32, .heads = 2, .n = 30, D(16, 8), REC, .feature = RAPT_PHI_SOFTMAX, .feature_k = RAPT_PHI_RELU,
     .own_k = true, .scales = true},
    {"d-64", RAPT_F32, .heads = 1, .n = 20, D(64, 64), CHU, .feature = RAPT_PHI_POLY, .standardize = true,
     .normalize = true, .both = true},
};

static void test_cases(void **state)
{
    (void)state;
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

/* A map of the app's own. */
static void test_user(void **state)
{
    (void)state;
    if (getenv("RAPT_TEST_COMPILER") == NULL) /* built without it */
        skip();
    static const char long_form[] =
        "float feature_map(float x, uint b, uint h, uint t, uint i)\n"
        "{ float y = float(b) + 0.5 * float(h);\n"
        "  for (uint n = 0u; n < t % 4u; n++) y += 0.25;\n"
        "  return x * x + y + 0.125 * float(i % 3u); }\n";
    const lin l = {"user", RAPT_F16, .batch = 2, .heads = 2, .n = 30, D(9, 8), CHU, .feature = RAPT_PHI_USER, .map = long_form,
                   .normalize = true};
    rig_open(&the_rig, &(rig_options){.compiler = getenv("RAPT_TEST_COMPILER")});
    check(the_rig.device, &l, 1);
    rapt_plan *plan;
    made m;
    make(&l, &m);
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"float feature_map(uint x) { return 1.0; }", "feature_map:1: 'feature_map' must be float feature_map(float x)"},
        {"float other(float x) { return x; }", "there is no float feature_map(float x)"},
        {"#include \"x\"\nfloat feature_map(float x) { return x; }", "feature_map:1:"},
        {"float feature_map(float x) { return user_f(1) * x; }", "'user_f' goes with score_mod"},
        {"float feature_map(float x) { return p.scale; }", ""},
    };
    for (size_t i = 0; i < RAPT_COUNT(wrong); i++) {
        rapt_error error = {0};
        m.d.feature_map = wrong[i].text;
        rapt_status status = rapt_linear_plan(the_rig.device, &m.d, &plan, &error);
        if (status == RAPT_OK) { /* text that only the compiler can refuse */
            status = rapt_plan_prepare(plan, &error);
            rapt_plan_destroy(&plan);
        }
        if (status == RAPT_OK || strstr(error.message, wrong[i].message) == NULL)
            fail_msg("'%s': status %d, %s", wrong[i].text, (int)status, error.message);
    }
    drop(&m);
    rig_close(&the_rig);
}

/* Lower rungs. */
static void test_masks(void **state)
{
    (void)state;
    static const char *const masks[] = {"floor", "no-subgroup", "no-texel", "range=65536", "texels=4096"};
    static const lin kinds[] = {
        {"taylor2", RAPT_F32, .batch = 2, .heads = 2, .n = 100, SMALL, CHU, TAYLOR, .normalize = true, .state_in = true},
        {"both", RAPT_F16, .heads = 2, .n = 300, D(16, 16), .both = true, .feature = RAPT_PHI_RELU2, .normalize = true},
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

/* What does not go together is refused in words. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        lin l;
        const char *message;
    } wrong[] = {
        {{"gate", RAPT_F32, .n = 4, SMALL, TAYLOR, .decay = DECAY_CHANNEL}, "gate has 6 channels"},
        {{"dplr", RAPT_F32, .n = 4, SMALL, TAYLOR, .rule = RAPT_LINEAR_DPLR}, "does not go with rule dplr"},
        {{"blocks", RAPT_F32, .n = 4, D(32, 8), TAYLOR, .rule = RAPT_LINEAR_DELTA}, "561 features: a rule other than none"},
        {{"maps", RAPT_F32, .n = 4, SMALL, TAYLOR, .own_k = true, .feature_k = RAPT_PHI_EXP}, "make 28 and 6 features"},
        {{"power", RAPT_F32, .n = 4, SMALL, TAYLOR, .power = 3}, "feature_power goes with"},
        {{"order", RAPT_F32, .n = 4, SMALL, .feature = RAPT_PHI_POLY, .power = 3}, "has order 1 or 2"},
        {{"both", RAPT_F32, .n = 4, SMALL, .both = true, .decay = DECAY_TOKEN}, "needs rule none without decays"},
        {{"keys", RAPT_F32, .n = 4, SMALL, .by_keys = true}, "needs RAPT_LINEAR_BIDIRECTIONAL"},
        {{"user", RAPT_F32, .n = 4, SMALL, .feature = RAPT_PHI_USER}, "RAPT_PHI_USER needs feature_map"},
        {{"forced", RAPT_F32, .n = 4, SMALL, .both = true, .kernel = "state-none-f32"}, "another kernel is forced"},
        {{"memory", RAPT_F32, .n = 4, D(64, 64), TAYLOR, .limit = 1000}, "workspace limit of 1000 bytes"},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(wrong); i++) {
        made m;
        rapt_plan *plan;
        rapt_error error = {0};
        make(&wrong[i].l, &m);
        assert_int_not_equal(rapt_linear_plan(the_rig.device, &m.d, &plan, &error), RAPT_OK);
        if (strstr(error.message, wrong[i].message) == NULL)
            fail_msg("%s: %s", wrong[i].l.name, error.message);
        drop(&m);
    }
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_user), cmocka_unit_test(test_masks),
                                 cmocka_unit_test(test_refusals)};
    return RIG_RUN("linear_map", tests);
}
