/* Cases composed at random are problems that validation takes, whatever a device makes of them. */
#include "support.h"

#include "check/problem.h"
#include "op/attention.h"

static void random_cases_are_valid(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++)
        for (uint64_t n = 0; n < 100 * RAPT_CASE_RANDOM_GROUP; n += 191) {
            const rapt_case c = rapt_case_random(seed, n);
            rapt_check_problem p = {0};
            rapt_problem problem;
            rapt_error error;
            assert_true(rapt_check_problem_make(&c, 0, &p));
            if (rapt_attention_problem(&p.desc, &problem, &error) != RAPT_OK)
                fail_msg("%s: %s", c.name, error.message);
            rapt_check_problem_free(&p);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_cases_are_valid)};
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
