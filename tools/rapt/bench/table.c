/* What people read in the terminal: at most 100 columns. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *bench_red(const bench *b)
{
    return b->colour ? "\033[31m" : "";
}

const char *bench_plain(const bench *b)
{
    return b->colour ? "\033[0m" : "";
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static const char *text(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

/* "53.1 GFLOP/s", "12.3 us" */
static void quantity(double value, const char *unit, char out[32])
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    if (strcmp(unit, "s") == 0) {
        tool_duration(value * 1e9, out);
        return;
    }
    size_t n = 0;
    for (; fabs(value) >= 1000 && n + 1 < TOOL_COUNT(prefixes); n++)
        value /= 1000;
    snprintf(out, 32, "%.3g %s%.15s", value, prefixes[n], unit);
}

/* "1.2", of a figure's half-width in percent; "?" where there is no interval. */
static void spread(const bench_figure *f, char out[16])
{
    const double s = bench_figure_spread(f);
    if (s < 0)
        snprintf(out, 16, "?");
    else
        snprintf(out, 16, "%.1f", 100 * s);
}

/* Text that ends in ".." where it is longer than `width`. */
static void fit(const char *from, int width, char *out, size_t capacity)
{
    const bool whole = (int)strlen(from) <= width;
    snprintf(out, capacity, "%.*s%s", whole ? width : width - 2, from, whole ? "" : "..");
}

/* ---- gauges ---- */

void bench_print_gauge_head(bench *b)
{
    fprintf(b->out, "%-34s %15s %6s  %-15s %15s %8s\n", "gauge", "median", "+-%", "CPU's own loop", "",
            "of that");
}

void bench_print_gauge(bench *b, const cJSON *g)
{
    char name[40], value[32], other[32] = "", share[16] = "", width[16];
    const char *status = text(g, "status");
    fit(text(g, "name"), 34, name, sizeof name);
    if (strcmp(status, "ok") != 0) {
        const bool wrong = strcmp(status, "refused") != 0;
        fprintf(b->out, "%s%-34s %s: %.54s%s\n", wrong ? bench_red(b) : "", name, status, text(g, "message"),
                wrong ? bench_plain(b) : "");
        return;
    }
    bench_figure f;
    bench_figure_read(cJSON_GetObjectItemCaseSensitive(g, "value"), &f);
    quantity(f.median, text(g, "unit"), value);
    spread(&f, width);
    const cJSON *native = cJSON_GetObjectItemCaseSensitive(g, "native");
    if (native) {
        quantity(number(cJSON_GetObjectItemCaseSensitive(native, "value"), "median"), text(g, "unit"), other);
        const cJSON *valid = cJSON_GetObjectItemCaseSensitive(native, "valid");
        snprintf(share, sizeof share, "%.0f %%%s", 100 * number(g, "of_native"),
                 cJSON_IsFalse(valid) ? "?" : "");
    }
    fprintf(b->out, "%-34s %15s %6s  %-15.15s %15s %8s\n", name, value, width,
            native ? text(native, "name") : "", other, share);
    fflush(b->out);
}

/* ---- cases ---- */

void bench_print_case_head(bench *b)
{
    fprintf(b->out, "%-23s %-26s %10s %5s %8s %8s %6s %6s\n", "case", "kernel", "median", "+-%", "GFLOP/s",
            "GB/s", "% roof", "cold s");
}

void bench_print_case(bench *b, const bench_device *d, const bench_case *c)
{
    static const char *const names[] = {"untimed", "ok", "wrong", "refused", "failed"};
    char name[32], kernel[32], median[32], width[16], share[16] = "";
    fit(c->c.name, 23, name, sizeof name);
    if (c->status != BENCH_OK) {
        const bool red = c->status == BENCH_WRONG || c->status == BENCH_FAILED;
        fprintf(b->out, "%s%-23s %s%s%s: %s%s\n", red ? bench_red(b) : "", name, names[c->status],
                c->info.kernel[0] ? ", " : "", c->info.kernel, c->message, red ? bench_plain(b) : "");
        fflush(b->out);
        return;
    }
    fit(c->info.kernel, 26, kernel, sizeof kernel);
    const bench_figure f = bench_figure_of(bench_case_samples(c), c->count);
    tool_duration(f.median * 1e9, median);
    spread(&f, width);
    const char *peak;
    bool memory;
    const double roof = bench_roof(&d->roof, c->info.kernel, c->c.dtype, c->flops, c->bytes, &peak, &memory);
    if (roof > 0)
        snprintf(share, sizeof share, "%.0f %c", 100 * c->flops / f.median / roof, memory ? 'M' : 'C');
    fprintf(b->out, "%-23s %-26s %10s %5s %8.4g %8.3g %6s %6.3f\n", name, kernel, median, width,
            c->flops / f.median / 1e9, c->bytes / f.median / 1e9, share, c->cold_seconds);
    fflush(b->out);
}

/* ---- a sustained run ---- */

void bench_print_sustained(bench *b, const cJSON *run)
{
    const cJSON *points = cJSON_GetObjectItemCaseSensitive(run, "points"), *p;
    const int count = cJSON_GetArraySize(points), step = count > 12 ? count / 12 : 1;
    const double flops = number(run, "flops");
    fprintf(b->out, "%s, %s\n%8s %12s %10s %8s %6s %8s\n", text(run, "case"), text(run, "kernel"), "t",
            "median", "GFLOP/s", "MHz", "deg C", "W");
    for (int n = 0; n < count; n += step) {
        char median[32], extra[3][16] = {"-", "-", "-"};
        p = cJSON_GetArrayItem(points, n);
        const double values[3] = {number(p, "clock_hz") / 1e6, number(p, "celsius"), number(p, "watts")};
        for (int k = 0; k < 3; k++)
            if (isfinite(values[k]))
                snprintf(extra[k], sizeof extra[k], "%.*f", k == 0 ? 0 : 1, values[k]);
        tool_duration(number(p, "seconds") * 1e9, median);
        fprintf(b->out, "%6.0f s %12s %10.4g %8s %6s %8s\n", number(p, "t"), median,
                flops / number(p, "seconds") / 1e9, extra[0], extra[1], extra[2]);
    }
    const double slowdown = number(run, "slowdown");
    fprintf(b->out, "the last tenth takes %.3f times as long as the first: %s\n", slowdown,
            slowdown > 1.05 ? "it slows down under load" : "it keeps its speed");
    fflush(b->out);
}

/* ---- comparison ---- */

typedef struct comparison {
    bench *b;
    cJSON *rows;
    bool *seen; /* of the baseline's cases */
    size_t counts[BASELINE_VERDICTS];
} comparison;

static void tell_row(comparison *k, const char *device, const char *name, baseline_verdict verdict,
                     const baseline_ratio *ratio, const char *why)
{
    bench *b = k->b;
    const bool red = verdict == BASELINE_SLOWER || verdict == BASELINE_WRONG;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "device", device);
    cJSON_AddStringToObject(o, "case", name);
    if (ratio) {
        cJSON *r = cJSON_AddObjectToObject(o, "ratio");
        cJSON_AddNumberToObject(r, "median", ratio->median);
        cJSON_AddNumberToObject(r, "low", ratio->low);
        cJSON_AddNumberToObject(r, "high", ratio->high);
        cJSON_AddStringToObject(o, "clock", ratio->device_clock ? "device" : "wall");
    }
    cJSON_AddStringToObject(o, "verdict", baseline_verdict_name(verdict));
    cJSON_AddStringToObject(o, "why", why);
    cJSON_AddItemToArray(k->rows, o);
    k->counts[verdict]++;
    char shown[40], range[64] = "";
    fit(name, 26, shown, sizeof shown);
    if (ratio)
        snprintf(range, sizeof range, "%.3f [%.3f, %.3f]", ratio->median, ratio->low, ratio->high);
    fprintf(b->out, "%s%-26s %-24s %-8s %.38s%s\n", red ? bench_red(b) : "", shown, range,
            baseline_verdict_name(verdict), why, red ? bench_plain(b) : "");
}

static void compare_case(comparison *k, const char *device, const cJSON *json)
{
    const char *name = text(json, "name"), *status = text(json, "status");
    const baseline_case *old = baseline_find(&k->b->old, device, name);
    bench_figure now[2] = {{0}};
    baseline_ratio ratio;
    for (size_t n = 0; n < k->b->old.count && old; n++) /* the same case may be part of a sweep too */
        if (strcmp(k->b->old.cases[n].name, name) == 0 && strcmp(k->b->old.cases[n].device, old->device) == 0)
            k->seen[n] = true;
    if (strcmp(status, "wrong") == 0) {
        tell_row(k, device, name, BASELINE_WRONG, NULL, text(json, "message"));
        return;
    }
    if (strcmp(status, "ok") != 0) {
        if (old && old->ok)
            tell_row(k, device, name, BASELINE_MISSING, NULL, text(json, "message"));
        return;
    }
    bench_figure_read(cJSON_GetObjectItemCaseSensitive(json, "device"), &now[0]);
    bench_figure_read(cJSON_GetObjectItemCaseSensitive(json, "wall"), &now[1]);
    if (!old || !old->ok) {
        tell_row(k, device, name, BASELINE_NEW, NULL,
                 old ? "it had no time in the baseline" : "not in the baseline");
        return;
    }
    const baseline_verdict verdict = baseline_judge(old, now, k->b->threshold, &ratio);
    char why[120] = "";
    if (verdict == BASELINE_NEW)
        snprintf(why, sizeof why, "the baseline has the other clock only");
    else if (verdict == BASELINE_UNKNOWN)
        snprintf(why, sizeof why, "too few samples for an interval");
    else if (verdict != BASELINE_SAME)
        snprintf(why, sizeof why, "intervals apart, beyond %.3g %%", 100 * k->b->threshold);
    else if (ratio.median > 1 + k->b->threshold || ratio.median * (1 + k->b->threshold) < 1)
        snprintf(why, sizeof why, "the intervals meet");
    else if (ratio.low > 1 || ratio.high < 1)
        snprintf(why, sizeof why, "intervals apart, within %.3g %%", 100 * k->b->threshold);
    tell_row(k, device, name, verdict, verdict == BASELINE_NEW ? NULL : &ratio, why);
    k->b->regressions += verdict == BASELINE_SLOWER;
}

static void compare_device(comparison *k, const cJSON *device)
{
    const char *name = text(cJSON_GetObjectItemCaseSensitive(device, "device"), "name");
    const cJSON *json, *sweep, *series, *point;
    if (k->b->old.count > 0 && strcmp(k->b->old.cases[0].device, name) != 0 && !baseline_knows(&k->b->old, name))
        fprintf(k->b->out, "note: the baseline was taken on %.80s\n", k->b->old.cases[0].device);
    cJSON_ArrayForEach(json, cJSON_GetObjectItemCaseSensitive(device, "cases"))
    {
        compare_case(k, name, json);
    }
    cJSON_ArrayForEach(sweep, cJSON_GetObjectItemCaseSensitive(device, "sweeps"))
    {
        cJSON_ArrayForEach(series, cJSON_GetObjectItemCaseSensitive(sweep, "series"))
        {
            cJSON_ArrayForEach(point, cJSON_GetObjectItemCaseSensitive(series, "points"))
            {
                compare_case(k, name, cJSON_GetObjectItemCaseSensitive(point, "case"));
            }
        }
    }
}

void bench_compare(bench *b, const char *path)
{
    comparison k = {.b = b, .seen = calloc(b->old.count + 1, sizeof(bool))};
    const cJSON *device;
    if (!k.seen)
        return;
    cJSON *o = cJSON_AddObjectToObject(b->json, "comparison");
    cJSON_AddStringToObject(o, "baseline", path);
    cJSON_AddStringToObject(o, "started", b->old.started);
    cJSON_AddNumberToObject(o, "threshold", b->threshold);
    k.rows = cJSON_AddArrayToObject(o, "cases");
    fprintf(b->out, "\nbeside %s of %s; times as parts of that run's:\n", path,
            b->old.started[0] ? b->old.started : "unknown date");
    fprintf(b->out, "%-26s %-24s %-8s\n", "case", "ratio [interval]", "verdict");
    cJSON_ArrayForEach(device, cJSON_GetObjectItemCaseSensitive(b->json, "devices"))
    {
        compare_device(&k, device);
    }
    for (size_t n = 0; n < b->old.count; n++)
        if (!k.seen[n] && b->old.cases[n].ok && !b->o->filter && !b->o->cases)
            tell_row(&k, b->old.cases[n].device, b->old.cases[n].name, BASELINE_MISSING, NULL,
                     tool_interrupted()        ? "interrupted before it"
                     : !b->old.cases[n].by_name ? "of a replay, which this run is not"
                                                : "not among this run's cases");
    for (int n = 0; n < BASELINE_VERDICTS; n++)
        fprintf(b->out, "%s%zu %s", n > 0 ? ", " : "", k.counts[n],
                baseline_verdict_name((baseline_verdict)n));
    fprintf(b->out, "\n");
    free(k.seen);
}
