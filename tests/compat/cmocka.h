/* The part of cmocka's interface that our tests use, for targets that have no cmocka package (cross builds): the same
 * output, one process, no mocking. */
#ifndef RAPT_TESTS_COMPAT_CMOCKA_H
#define RAPT_TESTS_COMPAT_CMOCKA_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func, teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f) {#f, f, NULL, NULL, NULL}
#define cmocka_unit_test_setup(f, setup) {#f, f, setup, NULL, NULL}
#define cmocka_unit_test_teardown(f, teardown) {#f, f, NULL, teardown, NULL}
#define cmocka_unit_test_setup_teardown(f, setup, teardown) {#f, f, setup, teardown, NULL}

static jmp_buf compat_out; /* taken with 1 by a failed check, with 2 by skip() */

#if defined(__GNUC__)
#define COMPAT_UNUSED __attribute__((unused))
#define COMPAT_NORETURN __attribute__((unused, noreturn))
#else
#define COMPAT_UNUSED
#define COMPAT_NORETURN
#endif

COMPAT_UNUSED static void print_message(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

COMPAT_UNUSED static void print_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

COMPAT_NORETURN static void compat_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "[  ERROR   ] --- ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n[   LINE   ] --- %s:%d: error: Failure!\n", file, line);
    va_end(args);
    longjmp(compat_out, 1);
}

COMPAT_UNUSED static void compat_int(int wanted_equal, uint64_t a, uint64_t b, const char *file, int line)
{
    if ((a == b) != wanted_equal)
        compat_fail(file, line, "%#" PRIx64 " %s %#" PRIx64, a, wanted_equal ? "!=" : "==", b);
}

COMPAT_UNUSED static void compat_string(int wanted_equal, const char *a, const char *b, const char *file, int line)
{
    if ((strcmp(a, b) == 0) != wanted_equal)
        compat_fail(file, line, "\"%s\" %s \"%s\"", a, wanted_equal ? "!=" : "==", b);
}

#define fail_msg(...) compat_fail(__FILE__, __LINE__, __VA_ARGS__)
#define fail() compat_fail(__FILE__, __LINE__, "failed")
#define skip() longjmp(compat_out, 2)
#define assert_true(c) ((c) ? (void)0 : compat_fail(__FILE__, __LINE__, "%s", #c))
#define assert_false(c) ((c) ? compat_fail(__FILE__, __LINE__, "not %s", #c) : (void)0)
#define assert_null(p) assert_true((p) == NULL)
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_ptr_equal(a, b) assert_true((const void *)(a) == (const void *)(b))
#define assert_ptr_not_equal(a, b) assert_true((const void *)(a) != (const void *)(b))
#define assert_int_equal(a, b) compat_int(1, (uint64_t)(a), (uint64_t)(b), __FILE__, __LINE__)
#define assert_int_not_equal(a, b) compat_int(0, (uint64_t)(a), (uint64_t)(b), __FILE__, __LINE__)
#define assert_string_equal(a, b) compat_string(1, a, b, __FILE__, __LINE__)
#define assert_string_not_equal(a, b) compat_string(0, a, b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)
#define assert_memory_not_equal(a, b, size) assert_true(memcmp(a, b, size) != 0)
#define assert_in_range(v, low, high) assert_true((uint64_t)(v) >= (uint64_t)(low) && (uint64_t)(v) <= (uint64_t)(high))
#define assert_not_in_range(v, low, high)                                                                    \
    assert_false((uint64_t)(v) >= (uint64_t)(low) && (uint64_t)(v) <= (uint64_t)(high))
#define assert_float_equal(a, b, epsilon) assert_true((a) - (b) <= (epsilon) && (b) - (a) <= (epsilon))

#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                            \
    compat_run(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_run_group_tests(tests, setup, teardown) cmocka_run_group_tests_name("", tests, setup, teardown)

/* Returns 1 when the test failed. */
static int compat_one(const struct CMUnitTest *test, void **state)
{
    printf("[ RUN      ] %s\n", test->name);
    fflush(stdout);
    int outcome = setjmp(compat_out);
    if (outcome == 0) {
        if (test->setup_func != NULL && test->setup_func(state) != 0)
            compat_fail(test->name, 0, "the setup failed");
        test->test_func(state);
        if (test->teardown_func != NULL && test->teardown_func(state) != 0)
            compat_fail(test->name, 0, "the teardown failed");
    }
    printf("%s %s\n", outcome == 0 ? "[       OK ]" : outcome == 2 ? "[  SKIPPED ]" : "[  FAILED  ]", test->name);
    return outcome == 1;
}

COMPAT_UNUSED static int compat_run(const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
                                    CMFixtureFunction teardown)
{
    void *group = NULL;
    int failures = 0;
    printf("[==========] Running %u test(s).\n", (unsigned)count);
    if (setup != NULL && setup(&group) != 0) {
        fprintf(stderr, "[  ERROR   ] the group's setup failed\n");
        return (int)count;
    }
    for (size_t i = 0; i < count; i++) {
        void *state = tests[i].initial_state != NULL ? tests[i].initial_state : group;
        failures += compat_one(&tests[i], &state);
    }
    if (teardown != NULL && teardown(&group) != 0)
        failures++;
    printf("[==========] %u test(s) run, %d failed.\n", (unsigned)count, failures);
    return failures;
}

#endif
