/* Minutes of one case: what a device keeps up once it is warm. */
#include "bench.h"
#include "sensors.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_SECONDS 120.0
#define WINDOWS 60 /* points of the curve, but none shorter than.. */
#define WINDOW_SECONDS 1.0
#define ENDS 10        /* the first and the last tenth are compared */
#define MAX_RUNS 65536 /* of a window whose times are kept */

typedef struct window {
    double t, seconds; /* since the start, at its middle; median of its runs */
    size_t runs;
    double hertz, celsius, watts; /* negative: not known */
} window;

/* Runs until the window's end. False when a run failed or Ctrl-C came before there was one. */
static bool measure_window(bench *b, bench_device *d, bench_case *c, bench_live *live, double start,
                           double end, double *times, window *w)
{
    rapt_error error = {0};
    size_t kept = 0;
    const double begin = tool_now_ns() / 1e9, joules = sensors_joules(d->sensors);
    *w = (window){.watts = -1};
    do {
        double device_ns, wall_ns;
        const rapt_status status = bench_live_submit(live, &device_ns, &wall_ns, &error);
        if (status != RAPT_OK) {
            c->status = BENCH_FAILED;
            b->failed_code = tool_exit_code(status);
            b->lost = b->failed_code == TOOL_DEVICE_LOST;
            snprintf(c->message, sizeof c->message, "%.390s", error.message);
            return false;
        }
        if (kept < MAX_RUNS)
            times[kept++] = (device_ns >= 0 ? device_ns : wall_ns) / 1e9;
        w->runs++;
    } while (tool_now_ns() / 1e9 < end && !tool_interrupted());
    const double now = tool_now_ns() / 1e9, after = sensors_joules(d->sensors);
    w->t = (begin + now) / 2 - start;
    w->seconds = bench_figure_of(times, kept).median;
    w->hertz = sensors_hertz(d->sensors);
    w->celsius = sensors_celsius(d->sensors);
    if (joules >= 0 && after >= joules && now > begin)
        w->watts = (after - joules) / (now - begin);
    return true;
}

static double median_of(const window *windows, size_t count)
{
    double *seconds = malloc((count + 1) * sizeof *seconds);
    for (size_t n = 0; n < count && seconds; n++)
        seconds[n] = windows[n].seconds;
    const double median = seconds ? bench_figure_of(seconds, count).median : 0;
    free(seconds);
    return median;
}

static void add_known(cJSON *o, const char *name, double value)
{
    if (value >= 0)
        cJSON_AddNumberToObject(o, name, value);
}

static cJSON *run_json(const bench_case *c, const window *windows, size_t count)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "case", c->c.name);
    cJSON_AddStringToObject(o, "kernel", c->info.kernel);
    cJSON_AddNumberToObject(o, "flops", c->flops);
    cJSON_AddNumberToObject(o, "bytes", c->bytes);
    cJSON *points = cJSON_AddArrayToObject(o, "points");
    for (size_t n = 0; n < count; n++) {
        cJSON *p = cJSON_CreateObject();
        cJSON_AddNumberToObject(p, "t", windows[n].t);
        cJSON_AddNumberToObject(p, "seconds", windows[n].seconds);
        cJSON_AddNumberToObject(p, "runs", (double)windows[n].runs);
        add_known(p, "clock_hz", windows[n].hertz);
        add_known(p, "celsius", windows[n].celsius);
        add_known(p, "watts", windows[n].watts);
        cJSON_AddItemToArray(points, p);
    }
    const size_t end = count / ENDS > 0 ? count / ENDS : 1;
    const double first = median_of(windows, end), last = median_of(windows + count - end, end);
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(o, "first"), "seconds", first);
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(o, "last"), "seconds", last);
    if (first > 0)
        cJSON_AddNumberToObject(o, "slowdown", last / first);
    return o;
}

static void sustain(bench *b, bench_device *d, bench_case *c, double seconds, cJSON *array)
{
    bench_live live;
    window *windows = calloc(WINDOWS + 1, sizeof *windows);
    double *times = calloc(MAX_RUNS, sizeof *times);
    size_t count = 0;
    const double length = seconds / WINDOWS > WINDOW_SECONDS ? seconds / WINDOWS : WINDOW_SECONDS;
    bool good = bench_case_open(b, d, c, &live) && windows && times;
    const double start = tool_now_ns() / 1e9;
    for (; good && count < WINDOWS && !tool_interrupted(); count++) {
        const double end = start + (double)(count + 1) * length;
        if (count > 0 && end > start + seconds + length / 2)
            break;
        bench_progress(b, length, c->c.name);
        good = measure_window(b, d, c, &live, start, end < start + seconds ? end : start + seconds, times,
                              &windows[count]);
        if (!good)
            break;
    }
    if (count > 0 && good) { /* still right after minutes of it? */
        const rapt_result again = bench_live_check(&live);
        c->status = again.verdict == RAPT_CHECK_PASS ? BENCH_OK : BENCH_WRONG;
        snprintf(c->message, sizeof c->message, "after %.0f s: %.350s", tool_now_ns() / 1e9 - start,
                 again.verdict == RAPT_CHECK_FAIL ? again.message : again.error.message);
    }
    tool_progress_clear(&b->progress);
    if (c->status == BENCH_OK) {
        c->message[0] = 0;
        cJSON *run = run_json(c, windows, count);
        cJSON_AddItemToArray(array, run);
        bench_print_sustained(b, run);
        b->ok++;
    } else if (c->status != BENCH_UNTIMED) { /* a row that says why there is no curve */
        b->wrong += c->status == BENCH_WRONG;
        b->refused += c->status == BENCH_REFUSED;
        b->failed += c->status == BENCH_FAILED;
        cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(d->json, "cases"), bench_case_json(d, c));
        bench_print_case(b, d, c);
    }
    bench_case_close(&live);
    free(windows);
    free(times);
}

void bench_sustained(bench *b, bench_device *d, bench_case *cases, size_t count)
{
    const double seconds = b->seconds > 0 ? b->seconds : DEFAULT_SECONDS;
    cJSON *array = cJSON_AddArrayToObject(d->json, "sustained");
    for (size_t n = 0; n < count && !tool_interrupted() && !b->lost; n++)
        sustain(b, d, &cases[n], seconds / (double)count, array);
}
