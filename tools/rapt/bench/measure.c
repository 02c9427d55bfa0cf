/* Cases: proven, then timed in rounds that take turns. */
#include "bench.h"
#include "sensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PROOF_SECONDS 1.0        /* as foreseen */
#define WARM_UP_SECONDS 1.0      /* of runs before, on GPUs: their clocks rise under load only */
#define SAMPLE_SECONDS 0.02      /* at least, where the number of samples is given: short runs are repeated */
#define BATCH_BYTES (1ull << 30) /* of tensors that are held at a time */
#define BATCH_CASES 24

/* Numbers of samples at which the narrowest interval that holds the median with 95 % does so with 97 % and
 * more, outliers at both ends left out: the next ones in between give no wider margin, only more work. 6 is
 * the least that gives an interval. */
static const size_t sample_counts[] = {24, 19, 14, 11, 8, 6};
#define MOST_TIMES                                                                                           \
    5 /* the time meant for a case that its samples may take; where 6 take more, 3 or 1 must do */

/* A case while it is measured. */
typedef struct contestant {
    bench_case *c;
    bench_live live;
    bool open;
    size_t wanted, runs; /* samples; runs in each */
    double joules;       /* of all samples; negative: not known */
} contestant;

/* ---- samples ---- */

/* The mean of so many runs, in seconds. */
static bool run(bench *b, contestant *at, size_t runs, double *device, double *wall)
{
    rapt_error error = {0};
    *device = *wall = 0;
    for (size_t n = 0; n < runs; n++) {
        double device_ns, wall_ns;
        const rapt_status status = bench_live_submit(&at->live, &device_ns, &wall_ns, &error);
        if (status != RAPT_OK) {
            bench_case_fail(b, at->c, status, error.message);
            return false;
        }
        *wall += wall_ns / 1e9 / (double)runs;
        *device = device_ns < 0 || *device < 0 ? -1 : *device + device_ns / 1e9 / (double)runs;
    }
    return true;
}

static void take_sample(bench *b, bench_device *d, contestant *at, double one)
{
    bench_case *c = at->c;
    double device, wall;
    /* Another case has run meanwhile: this one finds its data and code in no cache. */
    if (one < 0.1 && !run(b, at, 1, &device, &wall))
        return;
    const double before = sensors_joules(d->sensors);
    if (!run(b, at, at->runs, &device, &wall))
        return;
    const double after = sensors_joules(d->sensors);
    at->joules = before < 0 || after < before || at->joules < 0 ? -1 : at->joules + after - before;
    c->device[c->count] = device;
    c->wall[c->count] = wall;
    c->count++;
}

/* Opens and proves; how long a run takes decides how many there will be. */
static void enter(bench *b, bench_device *d, contestant *at, bench_sampling how, double *one)
{
    bench_case *c = at->c;
    double device;
    *one = 0;
    at->open = bench_case_open(b, d, c, &at->live);
    if (!at->open || b->lost)
        return;
    const double start = tool_now_ns();
    const bool gpu = d->caps->device_class != RAPT_CLASS_SOFTWARE;
    do {
        if (!run(b, at, 1, &device, one))
            return;
    } while (gpu && tool_now_ns() - start < 0.1 * 1e9);
    at->wanted = how.samples;
    for (size_t n = 0; n < TOOL_COUNT(sample_counts) && how.samples == 0; n++) {
        at->wanted = sample_counts[n];
        if (*one * (double)at->wanted <= how.seconds)
            break;
    }
    while (how.samples == 0 && at->wanted > 1 && *one * (double)at->wanted > MOST_TIMES * how.seconds)
        at->wanted /= 2;
    const double length = how.samples > 0 ? SAMPLE_SECONDS : how.seconds / (double)at->wanted;
    const double runs = *one > 0 ? (how.samples > 0 ? ceil(length / *one) : floor(length / *one)) : 1;
    at->runs = runs < 1 ? 1 : runs > 100000 ? 100000 : (size_t)runs;
    c->device = calloc(at->wanted, sizeof *c->device);
    c->wall = calloc(at->wanted, sizeof *c->wall);
    if (!c->device || !c->wall)
        bench_case_fail(b, c, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no host memory for its times");
}

static void warm_up(bench *b, const bench_device *d, contestant *all, size_t count)
{
    const double start = tool_now_ns();
    double device, wall;
    for (size_t n = 0; n < count && d->caps->device_class != RAPT_CLASS_SOFTWARE; n++)
        while (all[n].wanted > 0 && all[n].c->status == BENCH_UNTIMED &&
               tool_now_ns() - start < WARM_UP_SECONDS * 1e9)
            if (!run(b, &all[n], 1, &device, &wall))
                break;
}

/* A result that has gone wrong meanwhile takes the times with it. */
static void leave(bench *b, contestant *at)
{
    bench_case *c = at->c;
    if (c->status == BENCH_UNTIMED && c->count > 0 && !b->lost) {
        c->status = BENCH_OK;
        c->joules = at->joules < 0 ? -1 : at->joules / ((double)c->count * (double)at->runs);
        const rapt_result again = bench_live_check(&at->live);
        if (again.verdict == RAPT_CHECK_FAIL) {
            c->status = BENCH_WRONG;
            snprintf(c->message, sizeof c->message, "right at first, wrong after it was timed: %.330s",
                     again.message);
        } else if (again.verdict != RAPT_CHECK_PASS) {
            bench_case_fail(b, c, again.error.status, again.error.message);
        }
    }
    if (c->status != BENCH_OK)
        c->count = 0;
    bench_case_close(&at->live);
}

static void measure_batch(bench *b, bench_device *d, contestant *all, size_t count, bench_sampling how)
{
    double one[BATCH_CASES] = {0};
    size_t rounds = 0;
    for (size_t n = 0; n < count && !tool_interrupted() && !b->lost; n++) {
        bench_progress(b, 0, all[n].c->c.name);
        enter(b, d, &all[n], how, &one[n]);
        bench_progress(b, PROOF_SECONDS, all[n].c->c.name);
        rounds = all[n].wanted > rounds ? all[n].wanted : rounds;
    }
    warm_up(b, d, all, count);
    for (size_t round = 0; round < rounds; round++)
        for (size_t step = 0; step < count && !tool_interrupted() && !b->lost; step++) {
            /* Every other round runs backwards, so that nobody always comes after the same neighbour. */
            const size_t n = round % 2 ? count - 1 - step : step;
            if (all[n].c->status != BENCH_UNTIMED || round >= all[n].wanted)
                continue;
            bench_progress(b, how.seconds / (double)all[n].wanted, all[n].c->c.name);
            take_sample(b, d, &all[n], one[n]);
        }
    for (size_t n = 0; n < count; n++)
        leave(b, &all[n]);
}

static void count_up(bench *b, const bench_case *c)
{
    b->ok += c->status == BENCH_OK;
    b->wrong += c->status == BENCH_WRONG;
    b->refused += c->status == BENCH_REFUSED;
    b->failed += c->status == BENCH_FAILED;
}

void bench_cases_measure(bench *b, bench_device *d, bench_case *cases, size_t count, bench_sampling how)
{
    for (size_t first = 0; first < count && !b->lost && !tool_interrupted();) {
        contestant all[BATCH_CASES] = {{0}};
        size_t n = 0;
        double bytes = 0;
        while (n < BATCH_CASES && first + n < count) {
            bytes += bench_case_bytes(&cases[first + n]);
            if (n > 0 && bytes > (double)BATCH_BYTES)
                break;
            all[n].c = &cases[first + n];
            n++;
        }
        measure_batch(b, d, all, n, how);
        for (size_t at = first; at < first + n; at++)
            count_up(b, &cases[at]);
        first += n;
    }
}

void bench_case_free(bench_case *c)
{
    free(c->device);
    free(c->wall);
    c->device = c->wall = NULL;
    c->count = 0;
}

bool bench_has_device_clock(const bench_case *c)
{
    return c->count > 0 && c->device[0] >= 0;
}

const double *bench_case_samples(const bench_case *c)
{
    return bench_has_device_clock(c) ? c->device : c->wall;
}
