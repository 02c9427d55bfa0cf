#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const rapt_bench_plan rapt_bench_plan_default = {
    .rounds = 9,
    .min_sample_seconds = 0.02,
    .settle_seconds = 0.01,
    .native_seconds = 0.02,
    .quiet_share = 0.05,
};

#define COVERAGE 0.95

static void progress(const rapt_bench_group *group, const rapt_bench_entry *entry, const char *what)
{
    if (group->plan.progress)
        fprintf(stderr, "%s %s: %s\n", entry->c->name, entry->kind->name, what);
}

// Reads the output and compares it; the entry stays ready only if it is right.
static void check(rapt_bench_entry *entry)
{
    const rapt_bench_difference allowed = entry->kind->tolerance(entry->c);
    float *out = malloc(rapt_bench_q_count(entry->c) * sizeof *out);
    if (!out) {
        entry->ready = rapt_bench_fail(&entry->error, "no memory for the output");
        return;
    }
    entry->ready = entry->kind->read(entry->job, out, &entry->error);
    if (entry->ready) {
        const rapt_bench_difference d = rapt_bench_compare(entry->c, entry->inputs, out);
        entry->difference.max_abs = fmax(entry->difference.max_abs, d.max_abs);
        entry->difference.rms = fmax(entry->difference.rms, d.rms);
        entry->checked = true;
        if (!(d.max_abs <= allowed.max_abs && d.rms <= allowed.rms))
            entry->ready = rapt_bench_fail(
                &entry->error, "wrong result: largest error %.2e, relative rms %.2e; allowed %.0e, %.0e",
                d.max_abs, d.rms, allowed.max_abs, allowed.rms);
    }
    free(out);
}

static bool sample(rapt_bench_entry *entry, int runs, double *seconds, double *host)
{
    const double host_begin = rapt_bench_thread_cpu(), begin = rapt_bench_now();
    for (int i = 0; i < runs; i++)
        if (!entry->kind->run(entry->job, &entry->error))
            return false;
    *seconds = (rapt_bench_now() - begin) / runs;
    *host = (rapt_bench_thread_cpu() - host_begin) / runs;
    return true;
}

static void start(rapt_bench_group *group, rapt_bench_entry *entry)
{
    const size_t rounds = (size_t)group->plan.rounds;
    double host;
    if (rapt_bench_stopped) {
        rapt_bench_fail(&entry->error, "interrupted before it was timed");
        return;
    }
    entry->seconds = calloc(rounds, sizeof *entry->seconds);
    entry->host_seconds = calloc(rounds, sizeof *entry->host_seconds);
    if (!entry->seconds || !entry->host_seconds) {
        rapt_bench_fail(&entry->error, "out of memory");
        return;
    }
    progress(group, entry, "first run");
    entry->job = entry->kind->prepare(entry->peer, entry->c, entry->inputs, &entry->error);
    if (!entry->job || !sample(entry, 1, &entry->first_seconds, &host))
        return;
    check(entry);
    double warm = 0;
    if (entry->ready)
        entry->ready = sample(entry, 1, &warm, &host);
    if (entry->ready) {
        const double runs = warm > 0 ? ceil(group->plan.min_sample_seconds / warm) : 1;
        entry->runs_per_sample = runs < 1 ? 1 : runs > 1000 ? 1000 : (int)runs;
    }
    if (!entry->ready)
        progress(group, entry, entry->error.text);
}

static bool native_round(rapt_bench_group *group, int round)
{
    for (int item = 0; item < RAPT_NATIVE_ITEM_COUNT; item++)
        if (group->rates[item]) {
            group->rates[item][round] = rapt_native_sample(group->native, item, group->plan.native_seconds);
            if (group->rates[item][round] < 0)
                return false;
        }
    return true;
}

static bool wanted(const rapt_native *native, rapt_native_item item)
{
    // The portable loop tells nothing where there is a better one.
    return rapt_native_has(native, item) &&
           (item != RAPT_NATIVE_FMA_PORTABLE || rapt_native_reference(native) == item);
}

static bool one_round(rapt_bench_group *group, int round)
{
    for (int step = 0; step < group->count; step++) {
        // Every other round runs backwards, so that nobody always comes after the same neighbour.
        rapt_bench_entry *entry = &group->entries[round % 2 ? group->count - 1 - step : step];
        if (!entry->ready)
            continue;
        rapt_bench_sleep(group->plan.settle_seconds);
        entry->ready =
            sample(entry, entry->runs_per_sample, &entry->seconds[round], &entry->host_seconds[round]);
    }
    if (!group->native)
        return true;
    rapt_bench_sleep(group->plan.settle_seconds);
    return native_round(group, round);
}

volatile sig_atomic_t rapt_bench_stopped;

bool rapt_bench_measure(rapt_bench_group *group, rapt_bench_error *error)
{
    int rounds = group->plan.rounds;
    const int count = group->count;
    if (group->plan.native_seconds > 0) {
        group->native = rapt_native_open(error);
        if (!group->native)
            return false;
        for (int item = 0; item < RAPT_NATIVE_ITEM_COUNT; item++)
            if (wanted(group->native, item)) {
                group->rates[item] = calloc((size_t)rounds, sizeof(double));
                if (!group->rates[item])
                    return rapt_bench_fail(error, "out of memory");
            }
        rapt_native_describe(group->native, &group->peaks);
    }
    for (int i = 0; i < count; i++)
        start(group, &group->entries[i]);

    group->others = calloc((size_t)rounds, sizeof *group->others);
    if (!group->others)
        return rapt_bench_fail(error, "out of memory");
    double patience = group->plan.patience_seconds;
    for (int round = 0; round < rounds;) {
        if (rapt_bench_stopped) {
            rounds = group->plan.rounds = round;
            break;
        }
        const double others = rapt_bench_others_cpu(), begin = rapt_bench_now();
        if (!one_round(group, round))
            return rapt_bench_fail(error, "native peaks: a thread could not be made");
        group->others[round] = rapt_bench_others_share(others, begin);
        if (group->plan.progress)
            fprintf(stderr, "round %d of %d, other programs took %.0f %% of the CPUs\n", round + 1, rounds,
                    100 * group->others[round]);
        if (group->others[round] > group->plan.quiet_share && patience > 0) {
            rapt_bench_sleep(0.2); // rather than add to the crowd
            patience -= rapt_bench_now() - begin;
            group->rounds_again++;
        } else {
            round++;
        }
    }
    for (int i = 0; i < count && rounds == 0; i++)
        if (group->entries[i].ready)
            group->entries[i].ready = rapt_bench_fail(&group->entries[i].error, "interrupted before it was timed");
    for (int i = 0; i < count; i++)
        if (group->entries[i].ready)
            check(&group->entries[i]);
    group->peaks.others_share = rapt_stats_of(group->others, (size_t)rounds).median;
    for (int item = 0; group->native && item < RAPT_NATIVE_ITEM_COUNT; item++)
        if (group->rates[item]) {
            const rapt_stats s = rapt_stats_of(group->rates[item], (size_t)rounds);
            group->peaks.item[item] = (rapt_native_rate){true, s.median, s.max, rounds};
        }
    if (group->native)
        rapt_native_judge(&group->peaks, group->rates[RAPT_NATIVE_FMA_AVX2],
                          group->rates[RAPT_NATIVE_FMA_AVX512], (size_t)rounds);
    return true;
}

void rapt_bench_group_free(rapt_bench_group *group)
{
    for (int i = 0; i < group->count; i++) {
        rapt_bench_entry *entry = &group->entries[i];
        if (entry->job)
            entry->kind->release(entry->job);
        free(entry->seconds);
        free(entry->host_seconds);
        entry->job = NULL;
        entry->seconds = entry->host_seconds = NULL;
    }
    for (int item = 0; item < RAPT_NATIVE_ITEM_COUNT; item++) {
        free(group->rates[item]);
        group->rates[item] = NULL;
    }
    free(group->others);
    group->others = NULL;
    rapt_native_close(group->native);
    group->native = NULL;
}

rapt_interval rapt_bench_time_ratio(const rapt_bench_group *group, const rapt_bench_entry *a,
                                    const rapt_bench_entry *b)
{
    const size_t count = a->ready && b->ready ? (size_t)group->plan.rounds : 0;
    return rapt_stats_ratio(a->seconds, b->seconds, count, COVERAGE);
}

rapt_interval rapt_bench_share(const rapt_bench_group *group, const rapt_bench_entry *entry,
                               rapt_native_item item, double work)
{
    const double *rates = group->rates[item];
    const size_t count = entry->ready && rates ? (size_t)group->plan.rounds : 0;
    double *needed = count ? malloc(count * sizeof *needed) : NULL; // seconds at the native rate
    for (size_t i = 0; needed && i < count; i++)
        needed[i] = work / (rates[i] * 1e9);
    const rapt_interval share = rapt_stats_ratio(needed, entry->seconds, needed ? count : 0, COVERAGE);
    free(needed);
    return share;
}
