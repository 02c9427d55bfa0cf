/* Orders and barriers of tasks, against the definition: every tie has a barrier between, and no order needs fewer. */
#include "support.h"

#include "check/cases.h"
#include "sched/hazard.h"

#include <string.h>

enum { MOST = 24, EACH = 3 };

typedef struct work {
    rapt_access access[MOST][EACH];
    rapt_task task[MOST];
    uint32_t count, level[MOST], order[MOST], place[MOST], barriers;
    bool barrier[MOST];
} work;

static void add(work *w, uint32_t accesses, const rapt_access *list)
{
    memcpy(w->access[w->count], list, accesses * sizeof *list);
    w->task[w->count] = (rapt_task){.accesses = w->access[w->count], .count = accesses};
    w->count++;
}

static void order(work *w)
{
    w->barriers = rapt_order_tasks(w->task, w->count, w->level, w->order, w->barrier);
    for (uint32_t i = 0; i < w->count; i++)
        w->place[w->order[i]] = i;
}

#define READS(m, from, to) {.memory = m, .begin = from, .end = to}
#define WRITES(m, from, to) {.memory = m, .begin = from, .end = to, .written = true}

static void test_ties(void **state)
{
    (void)state;
    const struct {
        rapt_access a, b;
        bool tied;
    } pairs[] = {
        {WRITES(1, 0, 8), READS(1, 4, 12), true},   /* read after write */
        {READS(1, 0, 8), WRITES(1, 7, 9), true},    /* write after read */
        {WRITES(1, 0, 8), WRITES(1, 0, 1), true},   /* write after write */
        {READS(1, 0, 8), READS(1, 0, 8), false},    /* two that read */
        {WRITES(1, 0, 8), READS(1, 8, 12), false},  /* side by side */
        {WRITES(1, 0, 8), READS(2, 0, 8), false},   /* elsewhere */
    };
    for (size_t i = 0; i < RAPT_COUNT(pairs); i++) {
        const rapt_task a = {.accesses = &pairs[i].a, .count = 1}, b = {.accesses = &pairs[i].b, .count = 1};
        assert_int_equal(rapt_tasks_tied(&a, &b), pairs[i].tied);
        assert_int_equal(rapt_tasks_tied(&b, &a), pairs[i].tied);
    }
}

/* Two chains, one task of each in turn: as many barriers as one chain has. */
static void test_chains(void **state)
{
    work w = {.count = 0};
    (void)state;
    for (uint32_t i = 0; i < 12; i++)
        add(&w, 2, (rapt_access[]){READS(1 + i % 2, 8ull * (i / 2), 8ull * (i / 2) + 8), WRITES(1 + i % 2, 8ull * (i / 2) + 8, 8ull * (i / 2) + 16)});
    order(&w);
    assert_int_equal(w.barriers, 5);
    w.task[3].fence_before = true; /* waits: what comes before stays before */
    order(&w);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(w.place[i] < 3, i < 3);
    w.task[3].fence_before = false;
    w.task[5].fence_behind = true; /* signals: what comes after stays behind */
    order(&w);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(w.place[i] <= 5, i <= 5);
}

/* A task that signals is behind all that was given before it, however early it could be. */
static void test_signals_come_last(void **state)
{
    work w = {.count = 0};
    (void)state;
    add(&w, 2, (rapt_access[]){READS(1, 0, 8), WRITES(2, 0, 8)});
    add(&w, 2, (rapt_access[]){READS(2, 0, 8), WRITES(3, 0, 8)});
    add(&w, 2, (rapt_access[]){READS(1, 0, 8), WRITES(4, 0, 8)});
    order(&w);
    assert_int_equal(w.place[2], 1); /* beside the first */
    w.task[2].fence_behind = true;
    order(&w);
    assert_int_equal(w.place[2], 2);
    assert_int_equal(w.barriers, 1);
}

/* What is urgent, and what it needs, comes first; fences hold, and so do ties. */
static void test_urgent(void **state)
{
    work w = {.count = 0};
    (void)state;
    add(&w, 1, (rapt_access[]){WRITES(1, 0, 8)});                     /* 0 */
    add(&w, 2, (rapt_access[]){READS(1, 0, 8), WRITES(1, 8, 16)});    /* 1 needs 0 */
    add(&w, 1, (rapt_access[]){WRITES(2, 0, 8)});                     /* 2 */
    add(&w, 2, (rapt_access[]){READS(2, 0, 8), WRITES(3, 0, 8)});     /* 3 needs 2 */
    add(&w, 2, (rapt_access[]){READS(3, 0, 8), READS(1, 0, 8)});      /* 4 needs 3 and 0 */
    w.task[3].urgent = true;
    order(&w);
    const uint32_t want[5] = {2, 3, 0, 1, 4};
    assert_memory_equal(w.order, want, sizeof want);
    assert_int_equal(w.barriers, 2);
    w.task[4].urgent = true; /* needs all but 1 */
    order(&w);
    assert_int_equal(w.place[1], 4);
    w.task[0].fence_before = true; /* waits: it stays first, urgent or not */
    w.task[4].urgent = false;
    order(&w);
    const uint32_t fenced[5] = {0, 2, 3, 1, 4};
    assert_memory_equal(w.order, fenced, sizeof fenced);
    w.task[1].fence_behind = true; /* signals: nothing given after it comes before it */
    order(&w);
    const uint32_t parted[5] = {0, 1, 2, 3, 4};
    assert_memory_equal(w.order, parted, sizeof parted);
}

/* A task's own barriers part what is before it from what is behind it. */
static void test_barriers_inside(void **state)
{
    work w = {.count = 0};
    (void)state;
    add(&w, 1, (rapt_access[]){WRITES(1, 0, 8)});
    add(&w, 1, (rapt_access[]){WRITES(2, 0, 8)});
    add(&w, 2, (rapt_access[]){READS(1, 0, 8), WRITES(3, 0, 8)});
    order(&w);
    assert_int_equal(w.barriers, 1);
    w.task[1].barriers_inside = true;
    order(&w);
    assert_int_equal(w.barriers, 0);
    add(&w, 1, (rapt_access[]){READS(2, 0, 8)}); /* its last step is not parted from its reader */
    order(&w);
    assert_int_equal(w.barriers, 1);
    assert_true(w.barrier[w.place[3]]);
}

/* Random tasks: ties are kept in order with a barrier between, and there is one barrier for each step of the longest chain. With some of
 * them urgent, nothing that they do not need is before one, and the barriers are no more than the others' chain has on top. */
static void test_random(void **state)
{
    rapt_random random = {.state = 11};
    (void)state;
    for (int round = 0; round < 2000; round++) {
        work w = {.count = 0};
        const uint32_t count = 1 + (uint32_t)rapt_random_below(&random, MOST);
        for (uint32_t i = 0; i < count; i++) {
            rapt_access list[EACH];
            for (int k = 0; k < EACH; k++) {
                const uint64_t begin = rapt_random_below(&random, 40);
                list[k] = (rapt_access){.memory = rapt_random_below(&random, 4), .begin = begin,
                                        .end = begin + rapt_random_below(&random, 12), .written = rapt_random_below(&random, 3) == 0};
            }
            add(&w, (uint32_t)rapt_random_below(&random, EACH + 1), list);
            w.task[i].urgent = round % 2 == 1 && rapt_random_below(&random, 4) == 0;
        }
        bool needed[MOST] = {false}; /* by an urgent one, or one itself */
        for (uint32_t b = count; b-- > 0;) {
            needed[b] |= w.task[b].urgent;
            for (uint32_t a = 0; a < b && needed[b]; a++)
                needed[a] |= rapt_tasks_tied(&w.task[a], &w.task[b]);
        }
        order(&w);
        for (uint32_t i = 1; i < count; i++)
            assert_true(needed[w.order[i - 1]] || !needed[w.order[i]]);
        uint32_t longest = 0, chain[MOST];
        for (uint32_t b = 0; b < count; b++) {
            chain[b] = 0;
            for (uint32_t a = 0; a < b; a++) {
                if (!rapt_tasks_tied(&w.task[a], &w.task[b]))
                    continue;
                chain[b] = RAPT_MAX(chain[b], chain[a] + 1);
                assert_true(w.place[a] < w.place[b]);
                bool parted = false;
                for (uint32_t i = w.place[a] + 1; i <= w.place[b]; i++)
                    parted |= w.barrier[i];
                assert_true(parted);
            }
            longest = RAPT_MAX(longest, chain[b]);
        }
        if (round % 2 == 0)
            assert_int_equal(w.barriers, longest);
        else
            assert_in_range(w.barriers, longest, 2 * longest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_signals_come_last), cmocka_unit_test(test_barriers_inside),
        cmocka_unit_test(test_urgent),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests_name("hazard", tests, NULL, NULL);
}
