/* Every published system that works, run on the device against its oracle. */
#include "rig.h"

#include "check/runner_system.h"

static rig R;
static rapt_check_system S;

static bool has_code(const rapt_system_recipe *recipe)
{
    bool any = false;
    for (uint32_t n = 0; n < recipe->step_count; n++)
        any |= recipe->steps[n].attention.mask_mod[0] != NULL || recipe->steps[n].attention.score_mod[0] != NULL;
    return any;
}

static void check_one(uint32_t index, const rapt_system_info *info, const char *check, rapt_dtype dtype,
                      uint64_t gap)
{
    rapt_system_trial trial;
    rapt_error error = {0};
    if (!rapt_check_system_make(info, check, dtype, 0x5e3d + rapt_case_seed(info->name), &S))
        fail_msg("%s: %s", info->name, check);
    const rapt_status status = rapt_system_trial_open(R.device, index, &S, gap, &trial, &error);
    const bool skipped = status == RAPT_ERROR_UNSUPPORTED && has_code(trial.recipe) && strstr(error.message, "no run-time compiler") &&
                         !getenv("RAPT_TEST_COMPILER"); /* built without one */
    if (status != RAPT_OK && !skipped)
        fail_msg("%s, %s, %s: %s: %s", info->name, check, rapt_dtype_name(dtype), rapt_status_name(status), error.message);
    const rapt_result r = skipped ? (rapt_result){.verdict = RAPT_CHECK_PASS} : rapt_system_trial_check(&trial);
    if (r.verdict != RAPT_CHECK_PASS)
        fail_msg("%s, %s, %s: %s", info->name, check, rapt_dtype_name(dtype), r.verdict == RAPT_CHECK_FAIL ? r.message : r.error.message);
    rapt_system_trial_close(&trial);
    rapt_check_system_free(&S);
}

/* The names that rapt bench knows them by lead back to them. */
static void cases_by_name(void **state)
{
    size_t count;
    rapt_system_case *list = rapt_system_cases(&count), one;
    unsigned works = 0;
    (void)state;
    assert_non_null(list);
    for (uint32_t n = 0; n < rapt_system_count(); n++) {
        rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
        RIG_OK(rapt_system_describe(n, &info, error));
        works += info.works;
    }
    assert_int_equal(count, works);
    for (size_t n = 0; n < count; n++) {
        rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
        RIG_OK(rapt_system_describe(list[n].index, &info, error));
        if (!rapt_system_case_parse(list[n].name, &one) || one.index != list[n].index)
            fail_msg("%s is not found as %s", info.name, list[n].name);
        if (!rapt_check_system_make(&info, one.problem, RAPT_F32, 1, &S))
            fail_msg("%s: '%s' is no problem", list[n].name, one.problem);
        rapt_check_system_free(&S);
    }
    static const char *const bad[] = {"", "gla", "gla@", "gla@f32", "gla@0f32", "gla@1024", "gla@1024f64", "gla@99999999f32", "gla#0f32",
                                      "gla#9f32", "@1024f32", "nosuchsystem#1f32", "gla@1024f32c"};
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++)
        if (rapt_system_case_parse(bad[n], &one))
            fail_msg("'%s' is taken as a case", bad[n]);
    assert_true(rapt_system_case_parse("gla@300f16", &one));
    assert_int_equal(one.dtype, RAPT_F16);
    assert_non_null(strstr(one.problem, ",300,"));
    assert_null(strchr(one.problem, 'N'));
    free(list);
}

static void every_system_that_works(void **state)
{
    unsigned count = 0;
    const char *only = getenv("RAPT_TEST_SYSTEM"); /* part of a name: for work on one of them */
    (void)state;
    rig_open(&R, &(rig_options){.compiler = getenv("RAPT_TEST_COMPILER")});
    for (uint32_t n = 0; n < rapt_system_count(); n++) {
        rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
        RIG_OK(rapt_system_describe(n, &info, error));
        if (only ? !strstr(info.name, only) : !test_takes(n))
            continue;
        for (uint32_t c = 0; c < info.check_count && info.works; c++) {
            check_one(n, &info, info.checks[c], RAPT_F32, 0);
            if (c == 0) /* once in 16 bits, once with gaps: each makes pipelines of its own, which takes time */
                check_one(n, &info, info.checks[c], RAPT_F16, 0);
            if (c + 1 == info.check_count)
                check_one(n, &info, info.checks[c], RAPT_F32, 3);
            count++;
        }
    }
    assert_true(count > 0);
    rig_close(&R);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cases_by_name), cmocka_unit_test(every_system_that_works)};
    return cmocka_run_group_tests_name("system_run", tests, NULL, NULL);
}
