/* Whatever happens to one device of a group, the call's results are complete and the same bits, in time, and nothing leaks.
 * RAPT_TEST_FAULT_RUNS: how often each kind of fault is tried at random places, beside all that are tried in order.
 * --table: afterwards, one line for each kind with its number of runs, for tests/fault_table.py. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* setenv */
#endif
#include "rig.h"
#include "vk_fault.h"

#include "check/cases.h"

#include <math.h>
#include <stdatomic.h>

enum { HEADS = 8, ROWS = 24, DIM = 8, COUNT = HEADS * ROWS * DIM, KEYS = 2048 };
#if defined(__SANITIZE_ADDRESS__)
#define LEAKS_ARE_SOUGHT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAKS_ARE_SOUGHT 1
#endif
#endif
#if !defined(LEAKS_ARE_SOUGHT)
#define LEAKS_ARE_SOUGHT 0
#endif

#define DEADLINE_MS 400.0f   /* where a device hangs */
#define PATIENCE_MS 60000.0f /* elsewhere: a software device may be slow */

/* Two devices through the injection, and a problem with the result that one device gives. */
typedef struct scene {
    rapt_device *devices[2];
    rapt_group *group;
    rapt_attention_desc desc;
    rapt_group_attention_args args;
    float *q, *k, *v, expected[COUNT], out[COUNT];
    atomic_uint events[RAPT_GROUP_REFUSES + 1];
} scene;

/* Calls of a group with a fault in them, each of which was checked. */
typedef enum fault { LOST, LOST_KEYS, NO_MEMORY, HANG, WRONG_CANARY, SHORT_MEMORY, SLOW, NOBODY, HOST_MEMORY, FAULTS } fault;
static unsigned fault_runs[FAULTS];
static const struct {
    const char *what, *result;
} faults[FAULTS] = {
    [LOST] = {"device lost, after any number of its calls", "complete, bit-equal; quarantined"},
    [LOST_KEYS] = {"the same while parts of the keys are merged", "complete, the same bits; quarantined"},
    [NO_MEMORY] = {"any call of the driver finds no memory, of device or host", "complete, bit-equal"},
    [HANG] = {"a submission never ends", "complete, bit-equal, in time; given up at its deadline"},
    [WRONG_CANARY] = {"work that does not run is reported as done", "complete, bit-equal; quarantined by its canary"},
    [SHORT_MEMORY] = {"device memory below what a part needs", "complete, bit-equal; smaller parts, or it sits out"},
    [SLOW] = {"device 2 to 100 times slower", "complete, bit-equal"},
    [NOBODY] = {"all devices fail", "the status, with what became of each"},
    [HOST_MEMORY] = {"any allocation of the host fails", "complete and bit-equal, or the status; no leak"},
};

static rig the_rig;
static scene the_scene;
static bool cuts_keys; /* one query of one head over many keys: parts of them, and merging */

static void count_event(void *user, const rapt_group_event *event)
{
    scene *s = user;
    atomic_fetch_add(&s->events[event->kind], 1);
}

static void rearm(void)
{
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    vk_fault_stall(-1);
    vk_fault_slow(100);
    vk_fault_skip_work(false);
    vk_fault_limit_memory(UINT64_MAX);
}

static void aim(const scene *s)
{
    vk_fault_aim(s->devices[1]->handle, s->devices[1]->queue);
}

static rapt_status call(scene *s, rapt_error *error)
{
    memset(s->out, 0xff, sizeof s->out);
    return rapt_group_attention(s->group, &s->desc, &s->args, error);
}

/* The call must go well, and be the right one. */
static void call_well(scene *s, const char *what)
{
    rapt_error error = {0};
    const rapt_status status = call(s, &error);
    if (status != RAPT_OK)
        fail_msg("%s: %s: %s", what, rapt_status_name(status), error.message);
    if (memcmp(s->out, s->expected, sizeof s->out) != 0)
        fail_msg("%s: a wrong or missing result", what);
}

static rapt_group_member member(scene *s, uint32_t index)
{
    rapt_group_member m = RAPT_GROUP_MEMBER_INIT;
    RIG_OK(rapt_group_describe(s->group, index, &m, error));
    return m;
}

static void scene_open(scene *s, const rig_options *given, uint32_t threads, float deadline_ms)
{
    rig_options options = given ? *given : (rig_options){0};
    memset(s, 0, sizeof *s);
    if (!vk_fault_open())
        skip();
    vk_fault_aim(NULL, NULL);
    rearm();
    options.get_proc = vk_fault_get_instance_proc;
    rig_open(&the_rig, &options);
    s->devices[0] = the_rig.device;
    RIG_OK(rapt_device_open(the_rig.runtime, NULL, &s->devices[1], error));
    aim(s);
    s->q = rig_numbers(RAPT_F32, COUNT, 1);
    s->k = rig_numbers(RAPT_F32, cuts_keys ? KEYS * DIM : COUNT, 2);
    s->v = rig_numbers(RAPT_F32, cuts_keys ? KEYS * DIM : COUNT, 3);
    s->desc = cuts_keys ? rig_desc(RAPT_F32, 1, 1, 1, 1, KEYS, DIM, false)
                        : rig_desc(RAPT_F32, 1, HEADS, HEADS, ROWS, ROWS, DIM, false);
    s->desc.kernel = "naive-f32"; /* compiles fastest */
    s->args = (rapt_group_attention_args){
        .struct_size = sizeof s->args, .q = s->q, .k = s->k, .v = s->v, .out = s->expected};
    const rapt_group_options group = {.struct_size = sizeof group,
                                      .threads = threads,
                                      .deadline_ms = deadline_ms,
                                      .event = count_event,
                                      .event_user = s};
    RIG_OK(rapt_group_create(s->devices, 2, &group, &s->group, error));
    rig_call one = {.desc = s->desc, .q = s->q, .k = s->k, .v = s->v, .out = s->expected};
    for (int i = 0; i < 2; i++)
        rig_run(s->devices[i], &one);
    s->args.out = s->out;
    /* The same bits every time, but not one device's: near them. n sums of values below 1, which reach sqrt(n), are rounded by 2^-24 of
     * themselves each: n 2^-24 in the end, of which the average is 2^-24. Scores of 8 products and their exponentials add a few. */
    if (cuts_keys) {
        const float *x = s->expected, *y = s->out;
        RIG_OK(call(s, error));
        for (int e = 0; e < DIM; e++)
            assert_true(fabsf(x[e] - y[e]) <= 16 * 0x1p-24f);
        memcpy(s->expected, s->out, sizeof s->expected);
    }
    call_well(s, "no fault");
}

static void scene_close(scene *s)
{
    rapt_group_destroy(&s->group);
    rapt_device_destroy(&s->devices[1]);
    rig_close(&the_rig);
    free(s->q);
    free(s->k);
    free(s->v);
    vk_fault_aim(NULL, NULL);
    rearm();
}

/* The second device anew, as an app would after a loss. `memory`: what its allocations may have, from its first on. */
/* The second member anew, or without a device. It may still be at a part that the call no longer waited for. */
static void set_device(scene *s, rapt_device *device)
{
    rapt_error e = {0};
    rapt_status status;
    while ((status = rapt_group_set_device(s->group, 1, device, &e)) == RAPT_ERROR_BUSY)
        rapt_group_wait(s->group, 1000000, NULL);
    if (status != RAPT_OK)
        fail_msg("%s", e.message);
}

static void reopen_within(scene *s, uint64_t memory)
{
    rearm();
    set_device(s, NULL);
    rapt_device_destroy(&s->devices[1]);
    vk_fault_aim(NULL, NULL);
    vk_fault_limit_memory(memory);
    RIG_OK(rapt_device_open(the_rig.runtime, NULL, &s->devices[1], error));
    set_device(s, s->devices[1]);
    aim(s);
    rig_forget(&the_rig);
    rig_call one = {.desc = s->desc, .q = s->q, .k = s->k, .v = s->v, .out = s->out};
    rig_run(s->devices[1], &one); /* its kernel has shown itself */
}

static void reopen(scene *s)
{
    reopen_within(s, UINT64_MAX);
}

static unsigned random_runs(void)
{
    const char *runs = getenv("RAPT_TEST_FAULT_RUNS");
    return runs ? (unsigned)atoi(runs) : 0;
}

/* ---- the device is lost at any call, or a call finds no memory ---- */

/* Waits for an event: who is late or lost may tell after the call is over. */
static bool comes(scene *s, rapt_group_event_kind kind)
{
    const uint64_t begin = rapt_now_ns(), patience = (uint64_t)(DEADLINE_MS * 1e6f) + 5000000000u;
    while (atomic_load(&s->events[kind]) == 0 && rapt_now_ns() - begin < patience)
        rapt_group_wait(s->group, 1000000, NULL);
    return atomic_load(&s->events[kind]) != 0;
}

static void forget_events(scene *s)
{
    for (size_t i = 0; i < RAPT_COUNT(s->events); i++)
        atomic_store(&s->events[i], 0);
}

/* One call with the fault after `n` calls of the device. False: it was not reached. */
static bool fault_at(scene *s, int n, VkResult result)
{
    char what[160];
    forget_events(s);
    vk_fault_arm(n, result, NULL);
    snprintf(what, sizeof what, "%d calls, then %d", n, (int)result);
    call_well(s, what);
    const char *fired = vk_fault_fired();
    if (!fired)
        return false;
    if (result == VK_ERROR_DEVICE_LOST && strcmp(fired, "vkGetQueryPoolResults") != 0) { /* which only tells times */
        if (!comes(s, RAPT_GROUP_QUARANTINED))
            fail_msg("%s: %s: no event", what, fired);
        const rapt_group_member m = member(s, 1);
        assert_int_equal(m.quarantined, 1);
        assert_int_equal(m.status, RAPT_ERROR_DEVICE_LOST);
        assert_non_null(strstr(m.message, "lost"));
        call_well(s, "after a loss");
        assert_int_equal(member(s, 1).parts, 0);
    }
    return true;
}

static unsigned fault_everywhere(uint32_t threads, VkResult result)
{
    scene *s = &the_scene;
    unsigned runs = 0, reached = 0, n = 0;
    rapt_random random = {.state = 5};
    scene_open(s, NULL, threads, PATIENCE_MS);
    for (; n < 400; n++) {
        if (!test_takes(n))
            continue;
        const bool fired = fault_at(s, (int)n, result);
        reopen(s);
        if (!fired && ++reached > 2) /* with threads a member may get less in one call than in another */
            break;
        runs++;
    }
    for (unsigned i = 0; i < random_runs(); i++, runs++) {
        fault_at(s, (int)rapt_random_below(&random, n + 1), result);
        reopen(s);
    }
    call_well(s, "at the end");
    scene_close(s);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
    fault_runs[cuts_keys ? LOST_KEYS : result == VK_ERROR_DEVICE_LOST ? LOST : NO_MEMORY] += runs;
    return runs;
}

static void test_lost_at_any_call(void **state)
{
    (void)state;
    const unsigned alone = fault_everywhere(0, VK_ERROR_DEVICE_LOST);
    const unsigned threads = fault_everywhere(1, VK_ERROR_DEVICE_LOST);
    print_message("  device lost: %u runs without threads, %u with\n", alone, threads);
}

static void test_parts_of_keys(void **state)
{
    (void)state;
    cuts_keys = true;
    const unsigned lost = fault_everywhere(0, VK_ERROR_DEVICE_LOST);
    cuts_keys = false;
    print_message("  parts of the keys: device lost: %u runs\n", lost);
}

static void test_no_memory_at_any_call(void **state)
{
    (void)state;
    const unsigned alone = fault_everywhere(0, VK_ERROR_OUT_OF_DEVICE_MEMORY);
    const unsigned threads = fault_everywhere(1, VK_ERROR_OUT_OF_HOST_MEMORY);
    print_message("  out of memory: %u runs without threads, %u with\n", alone, threads);
}

/* ---- hangs ---- */

/* The call ends without the device that hangs, and the device is given up at its deadline. */
static void hang(scene *s, unsigned submits)
{
    char what[80];
    forget_events(s);
    vk_fault_stall((int)submits);
    snprintf(what, sizeof what, "a hang after %u submissions", submits);
    for (int calls = 0; calls < 50 && !vk_fault_stalled(); calls++) { /* with threads a member may get no part of a call */
        const uint64_t begin = rapt_now_ns();
        call_well(s, what);
        const double took = (double)(rapt_now_ns() - begin) * 1e-9;
        if (took > 2.0 + (double)DEADLINE_MS * 1e-3 * 2)
            fail_msg("%s: the call took %.1f s", what, took);
    }
    if (!comes(s, RAPT_GROUP_QUARANTINED))
        fail_msg("%s: no event", what);
    const rapt_group_member m = member(s, 1);
    assert_int_equal(m.quarantined, 1);
    assert_int_equal(m.status, RAPT_ERROR_TIMEOUT);
    call_well(s, "after a hang");
    reopen(s);
}

__attribute__((unused)) static void test_hangs(void **state)
{
    (void)state;
    scene *s = &the_scene;
    unsigned runs = 0;
    for (uint32_t threads = 0; threads < 2; threads++) {
        scene_open(s, NULL, threads, DEADLINE_MS);
        for (unsigned submits = 0; submits < 3; submits++, runs++)
            hang(s, submits);
        for (unsigned i = 0; i < random_runs() / 50; i++, runs++) /* each leaves a device behind, as it must */
            hang(s, i % 5);
        call_well(s, "at the end");
        scene_close(s);
        vk_fault_close();
    }
    fault_runs[HANG] += runs;
    print_message("  hangs: %u runs\n", runs);
}

/* ---- work that does not run, memory that is short, a slow device ---- */

static void test_wrong_canary(void **state)
{
    (void)state;
    scene *s = &the_scene;
    unsigned runs = 0;
    for (uint32_t threads = 0; threads < 2; threads++) {
        scene_open(s, NULL, threads, PATIENCE_MS);
        for (unsigned i = 0; i < 3 + random_runs() / 10; i++, runs++) {
            forget_events(s);
            vk_fault_skip_work(true);
            call_well(s, "work that does not run");
            if (comes(s, RAPT_GROUP_QUARANTINED)) {
                assert_int_equal(member(s, 1).status, RAPT_ERROR_INCOMPLETE);
                assert_non_null(strstr(member(s, 1).message, "canary"));
            } else {
                assert_int_equal(threads, 1); /* it never got a part */
            }
            reopen(s);
        }
        scene_close(s);
        assert_int_equal(vk_fault_live(), 0);
        vk_fault_close();
    }
    fault_runs[WRONG_CANARY] += runs;
    print_message("  wrong canaries: %u runs\n", runs);
}

/* A device with too little memory for what it is given: smaller parts, and it says so. */
static void test_short_of_memory(void **state)
{
    (void)state;
    scene *s = &the_scene;
    enum { BATCH = 16, TOKENS = 512, WIDE = 64 };
    const size_t count = (size_t)BATCH * TOKENS * WIDE;
    scene_open(s, NULL, 0, PATIENCE_MS);
    float *q = rig_numbers(RAPT_F32, count, 1), *out = malloc(count * sizeof *out), *expected = malloc(count * sizeof *out);
    assert_true(out && expected);
    rig_call one = {.desc = rig_desc(RAPT_F32, BATCH, 1, 1, TOKENS, TOKENS, WIDE, false), .q = q, .k = q, .v = q, .out = expected};
    one.desc.flags = RAPT_ATTENTION_CAUSAL;
    rig_run(s->devices[0], &one);
    rapt_group_attention_args args = {.struct_size = sizeof args, .q = q, .k = q, .v = q, .out = out};
    forget_events(s);
    /* Both alike, so that the second gets half of what is left: four entries, of which no tensor fits. */
    reopen_within(s, 300 << 10);
    /* Again while the first, by chance, has done all before the second came to a part. */
    for (int i = 0; i < 4 || (atomic_load(&s->events[RAPT_GROUP_SMALLER]) == 0 && i < 60); i++) {
        if (i >= 4)
            set_device(s, s->devices[1]); /* as if new: nothing is known of its speed */
        memset(out, 0xff, count * sizeof *out);
        RIG_OK(rapt_group_attention(s->group, &one.desc, &args, error));
        assert_memory_equal(out, expected, count * sizeof *out);
        assert_int_equal(member(s, 1).quarantined, 0);
        fault_runs[SHORT_MEMORY]++;
    }
    assert_true(atomic_load(&s->events[RAPT_GROUP_SMALLER]) > 0);
    assert_true(member(s, 1).parts > 0);
    /* Not even the smallest part. */
    forget_events(s);
    set_device(s, s->devices[1]);
    vk_fault_limit_memory(1 << 10);
    RIG_OK(rapt_group_attention(s->group, &one.desc, &args, error));
    assert_memory_equal(out, expected, count * sizeof *out);
    assert_true(atomic_load(&s->events[RAPT_GROUP_SITS_OUT]) > 0);
    assert_int_equal(member(s, 1).status, RAPT_ERROR_OUT_OF_DEVICE_MEMORY);
    fault_runs[SHORT_MEMORY]++;
    vk_fault_limit_memory(UINT64_MAX);
    RIG_OK(rapt_group_attention(s->group, &one.desc, &args, error));
    free(q);
    free(out);
    free(expected);
    scene_close(s);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

static void test_slow_device(void **state)
{
    (void)state;
    scene *s = &the_scene;
    scene_open(s, NULL, 1, PATIENCE_MS);
    for (unsigned percent = 200; percent <= 10000; percent *= 5)
        for (int i = 0; i < 4; i++) {
            vk_fault_slow(percent);
            call_well(s, "a slow device");
            fault_runs[SLOW]++;
        }
    scene_close(s);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

/* A call like those before it makes nothing on its device, and one of another shape does. */
static void test_plans_are_kept(void **state)
{
    (void)state;
    scene *s = &the_scene;
    scene_open(s, NULL, 1, PATIENCE_MS);
    rapt_group *both = s->group;
    RIG_OK(rapt_group_create(&s->devices[1], 1, NULL, &s->group, error)); /* alone: its parts are the same in every call, once its rate is known */
    for (int i = 0; i < 4; i++)
        call_well(s, "one device");
    vk_fault_arm(0, VK_ERROR_OUT_OF_DEVICE_MEMORY, "vkCreateDescriptorPool");
    for (int i = 0; i < 4; i++)
        call_well(s, "one device again");
    assert_null(vk_fault_fired());
    rapt_attention_desc fewer = s->desc;
    fewer.q.size[2] = fewer.out.size[2] = ROWS - 1;
    RIG_OK(rapt_group_attention(s->group, &fewer, &s->args, error)); /* once more, without what it kept */
    assert_non_null(vk_fault_fired());
    rapt_group_destroy(&s->group);
    s->group = both;
    scene_close(s);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

/* ---- nobody left, and host memory ---- */

static void test_nobody_left(void **state)
{
    (void)state;
    scene *s = &the_scene;
    for (uint32_t threads = 0; threads < 2; threads++) {
        scene_open(s, NULL, threads, PATIENCE_MS);
        vk_fault_aim(NULL, NULL);
        vk_fault_skip_work(true);
        RIG_FAILS(call(s, error), RAPT_ERROR_INCOMPLETE, "no device is left; 0: ");
        vk_fault_skip_work(false);
        RIG_FAILS(call(s, error), RAPT_ERROR_NO_DEVICE, "canary");
        fault_runs[NOBODY] += 2;
        for (uint32_t i = 0; i < 2; i++)
            RIG_OK(rapt_group_set_device(s->group, i, s->devices[i], error));
        call_well(s, "both back again");
        scene_close(s);
        assert_int_equal(vk_fault_live(), 0);
        vk_fault_close();
    }
}

typedef struct counted {
    atomic_size_t alive;
    atomic_long until; /* the next failure; negative: none */
} counted;

static void *counted_realloc(void *user, void *old, size_t old_size, size_t size)
{
    counted *c = user;
    if (atomic_load(&c->until) >= 0 && atomic_fetch_sub(&c->until, 1) == 0)
        return NULL;
    void *memory = realloc(old, size);
    if (memory != NULL)
        atomic_fetch_add(&c->alive, size - old_size);
    return memory;
}

static void *counted_alloc(void *user, size_t size)
{
    return counted_realloc(user, NULL, 0, size);
}

static void counted_free(void *user, void *old, size_t size)
{
    counted *c = user;
    free(old);
    atomic_fetch_sub(&c->alive, old ? size : 0);
}

/* Each allocation of a call fails once: the call goes well on other memory, or says why not. */
static void test_every_allocation(void **state)
{
    (void)state;
    scene *s = &the_scene;
    counted c = {.until = -1};
    const rapt_allocator allocator = {&c, counted_alloc, counted_realloc, counted_free};
    unsigned failed = 0, n = 0;
    scene_open(s, &(rig_options){.allocator = &allocator}, 0, PATIENCE_MS);
    for (bool fired = true; fired && n < 2000; n++) {
        rapt_error error = {0};
        s->desc.slice_ms = 50 + (float)n * 0x1p-10f; /* another one than was planned for: what is kept is of no use */
        atomic_store(&c.until, (long)n);
        const rapt_status status = call(s, &error);
        fired = atomic_load(&c.until) < 0;
        atomic_store(&c.until, -1);
        if (status == RAPT_OK)
            assert_memory_equal(s->out, s->expected, sizeof s->out);
        else
            assert_int_equal(status, RAPT_ERROR_OUT_OF_HOST_MEMORY);
        failed += status != RAPT_OK;
        assert_int_equal(member(s, 0).quarantined + member(s, 1).quarantined, 0);
    }
    fault_runs[HOST_MEMORY] += n;
    print_message("  host memory: %u allocations, %u calls failed\n", n, failed);
    call_well(s, "after all that");
    scene_close(s);
    assert_int_equal(atomic_load(&c.alive), 0);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

int main(int argc, char **argv)
{
#if !defined(_WIN32) /* no lavapipe there */
    setenv("LP_NUM_THREADS", "1", 0);
#endif
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_at_any_call),
        cmocka_unit_test(test_parts_of_keys),
        cmocka_unit_test(test_no_memory_at_any_call),
        cmocka_unit_test(test_wrong_canary),
        cmocka_unit_test(test_short_of_memory),
        cmocka_unit_test(test_slow_device),
        cmocka_unit_test(test_plans_are_kept),
        cmocka_unit_test(test_nobody_left),
        cmocka_unit_test(test_every_allocation),
#if !LEAKS_ARE_SOUGHT
        cmocka_unit_test(test_hangs), /* the last: what a hung device holds stays for good */
#endif
    };
    const int failed = RIG_RUN("sched_fault", tests);
    if (failed != 0 || argc < 2 || strcmp(argv[1], "--table") != 0)
        return failed;
    for (int i = 0; i < FAULTS; i++)
        printf("| %s | %u | %s |\n", faults[i].what, fault_runs[i], faults[i].result);
    return 0;
}
