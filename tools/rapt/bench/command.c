/* rapt bench: what this device can do, and what attention makes of it. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* isatty, fileno */
#include <unistd.h>
#else
#include <io.h>
#define isatty _isatty
#define fileno _fileno
#endif
#include "args.h"
#include "bench.h"
#include "head.h"
#include "output.h"
#include "sensors.h"

#include "bench/os.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_THRESHOLD 10.0 /* percent */

static const struct {
    const char *name;
    double seconds; /* of timed runs per case */
} modes[BENCH_MODES] = {
    [BENCH_QUICK] = {"quick", 2.2}, [BENCH_FULL] = {"full", 3},       [BENCH_SUSTAINED] = {"sustained", 0},
    [BENCH_SWEEP] = {"sweep", 1}, [BENCH_REPLAY] = {"replay", 1.5}, [BENCH_COMPARE] = {"compare", 2},
    [BENCH_PEERS] = {"peers", 0},
};

/* ---- progress ---- */

void bench_progress(bench *b, double seconds, const char *what)
{
    b->done += seconds;
    if (!tool_interrupted())
        tool_progress_seconds(&b->progress, b->done, b->planned, what);
}

/* ---- one device ---- */

typedef struct device_list {
    uint32_t indices[BENCH_MAX_DEVICES];
    size_t count;
} device_list;

static bool add_device(bench *b, device_list *l, const char *selector, rapt_error *error)
{
    uint32_t index;
    if (rapt_device_find(b->runtime, selector, &index, error) != RAPT_OK)
        return false;
    for (size_t n = 0; n < l->count; n++)
        if (l->indices[n] == index)
            return true;
    if (l->count == BENCH_MAX_DEVICES)
        return tool_fail(error, RAPT_ERROR_INVALID, "more than %d devices", BENCH_MAX_DEVICES);
    l->indices[l->count++] = index;
    return true;
}

/* One word of --device: a selector, which may hold commas itself, a list of selectors, or all. */
static bool add_devices(bench *b, device_list *l, const char *word, rapt_error *error)
{
    rapt_error ignored;
    uint32_t count = 0, index;
    if (strcmp(word, "all") == 0) {
        if (rapt_device_count(b->runtime, &count, error) != RAPT_OK)
            return false;
        for (uint32_t n = 0; n < count; n++) {
            char text[16];
            snprintf(text, sizeof text, "%u", n);
            if (!add_device(b, l, text, error))
                return false;
        }
        return true;
    }
    if (!strchr(word, ',') || rapt_device_find(b->runtime, word, &index, &ignored) == RAPT_OK)
        return add_device(b, l, word, error);
    for (const char *at = word;; at++) {
        char one[256];
        const size_t length = strcspn(at, ",");
        snprintf(one, sizeof one, "%.*s", (int)(length < sizeof one ? length : sizeof one - 1), at);
        if (!add_device(b, l, one, error))
            return false;
        at += length;
        if (*at == 0)
            return true;
    }
}

static bool choose_devices(bench *b, device_list *l, rapt_error *error)
{
    *l = (device_list){.count = 0};
    for (const char *const *word = b->o->devices; *word; word++)
        if (!add_devices(b, l, *word, error))
            return false;
    return l->count > 0 || add_device(b, l, NULL, error);
}

static bench_extent extent_of(const bench_options *o)
{
    const bool whole = !o->cases && (!o->filter || o->gauges);
    if (o->mode == BENCH_FULL && whole)
        return BENCH_GAUGES_FULL;
    return (o->mode == BENCH_QUICK && whole) || o->gauges ? BENCH_GAUGES_QUICK : BENCH_GAUGES_ROOFLINE;
}

static bool has_sweeps(const bench_options *o)
{
    return o->mode == BENCH_SWEEP || (o->mode == BENCH_FULL && !o->cases);
}

static bench_sampling sampling(const bench *b, bench_mode mode)
{
    return (bench_sampling){.seconds = b->seconds > 0 ? b->seconds : modes[mode].seconds,
                            .samples = (size_t)b->samples};
}

/* Seconds, as foreseen, of one device. */
static double foresee(bench *b, bench_device *d, size_t case_count)
{
    double sum = bench_gauges_seconds(d, extent_of(b->o)) + 0.5;
    if (b->o->mode == BENCH_SUSTAINED)
        return sum + (b->seconds > 0 ? b->seconds : 120);
    sum += (double)case_count * (sampling(b, b->o->mode).seconds + 1);
    for (size_t n = 0; n < bench_sweep_count() && has_sweeps(b->o); n++) {
        bench_sweep s;
        if (bench_sweep_make(n, d->caps, b->o->filter, b->o->kernel, &s))
            for (size_t k = 0; k < s.x_count * s.series_count; k++)
                sum += s.series[k / s.x_count].cases[k % s.x_count].left_out ? 0 : sampling(b, BENCH_SWEEP).seconds + 1;
        bench_sweep_free(&s);
    }
    return sum;
}

/* ---- cases and sweeps of a device ---- */

static bool above_roof(const bench_device *d, const bench_case *c)
{
    const char *peak;
    bool memory;
    const double roof = bench_roof(&d->roof, c->info.kernel, c->c.dtype, c->flops, c->bytes, &peak, &memory);
    return c->status == BENCH_OK && roof > 0 &&
           c->flops / bench_figure_of(bench_case_samples(c), c->count).median > roof;
}

/* A case that beats the peaks shows that something disturbed them: they are measured again, a few times at
 * most. */
static void settle_roof(bench *b, bench_device *d, const bench_case *cases, size_t count)
{
    for (int attempt = 0; attempt < 4 && !tool_interrupted() && !b->lost; attempt++) {
        bool above = false;
        for (size_t n = 0; n < count && !above; n++)
            above = above_roof(d, &cases[n]);
        if (!above)
            return;
        bench_gauges_again(b, d);
    }
}

static void tell_cases(bench *b, bench_device *d, const bench_case *cases, size_t count, cJSON *array)
{
    double total = 0, calls = 0;
    size_t timed = 0;
    size_t there = 0;
    for (size_t n = 0; n < count; n++)
        there += cases[n].status != BENCH_UNTIMED;
    if (there > 0)
        bench_print_case_head(b);
    for (size_t n = 0; n < count; n++) {
        const bench_case *c = &cases[n];
        if (c->status == BENCH_UNTIMED)
            continue;
        bench_print_case(b, d, c);
        cJSON_AddItemToArray(array, bench_case_json(d, c));
        if (c->status == BENCH_OK) {
            total += c->weight * bench_figure_of(bench_case_samples(c), c->count).median;
            calls += c->weight;
            timed++;
        }
    }
    if (b->o->mode != BENCH_REPLAY)
        return;
    cJSON *o = cJSON_AddObjectToObject(d->json, "replay");
    cJSON_AddStringToObject(o, "file", b->o->file);
    cJSON_AddNumberToObject(o, "problems", (double)count);
    cJSON_AddNumberToObject(o, "timed", (double)timed);
    cJSON_AddNumberToObject(o, "calls", calls);
    cJSON_AddNumberToObject(o, "seconds", total);
    char text[32];
    tool_duration(total * 1e9, text);
    fprintf(b->out, "%.0f calls of %zu problems, %zu of them timed: %s\n", calls, count, timed, text);
    if (b->recorded.omitted > 0) {
        cJSON_AddNumberToObject(o, "omitted", b->recorded.omitted);
        fprintf(b->out, "%.0f further calls were counted in the recording, not described: other operators and modifiers\n", b->recorded.omitted);
    }
}

/* A sweep's points are timed in the same rounds, like any list of cases. */
static void measure_sweep(bench *b, bench_device *d, bench_sweep *s)
{
    const size_t count = s->x_count * s->series_count;
    bench_case *all = calloc(count + 1, sizeof *all);
    size_t some = 0;
    for (size_t n = 0; n < count && all; n++)
        if (!s->series[n / s->x_count].cases[n % s->x_count].left_out)
            all[some++] = s->series[n / s->x_count].cases[n % s->x_count];
    if (all)
        bench_cases_measure(b, d, all, some, sampling(b, BENCH_SWEEP));
    some = 0;
    for (size_t n = 0; n < count && all; n++)
        if (!s->series[n / s->x_count].cases[n % s->x_count].left_out)
            s->series[n / s->x_count].cases[n % s->x_count] = all[some++];
    free(all);
}

static void tell_sweep(bench *b, bench_device *d, const bench_sweep *s, cJSON *sweeps)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", s->name);
    cJSON_AddStringToObject(o, "axis", s->axis);
    cJSON_AddStringToObject(o, "unit", s->unit);
    cJSON_AddStringToObject(o, "speed", s->speed);
    cJSON *array = cJSON_AddArrayToObject(o, "series");
    for (size_t n = 0; n < s->series_count; n++) {
        cJSON *series = cJSON_CreateObject();
        cJSON_AddStringToObject(series, "label", s->series[n].label);
        cJSON *points = cJSON_AddArrayToObject(series, "points");
        fprintf(b->out, "\nsweep of %s: %s\n", s->axis, s->series[n].label);
        bench_print_case_head(b);
        for (size_t x = 0; x < s->x_count; x++) {
            if (s->series[n].cases[x].status == BENCH_UNTIMED)
                continue;
            bench_print_case(b, d, &s->series[n].cases[x]);
            cJSON *point = cJSON_CreateObject();
            const bool density = strcmp(s->axis, "density") == 0;
            cJSON_AddNumberToObject(point, "x", density ? s->series[n].cases[x].density : s->xs[x]);
            cJSON_AddItemToObject(point, "case", bench_case_json(d, &s->series[n].cases[x]));
            cJSON_AddItemToArray(points, point);
        }
        cJSON_AddItemToArray(array, series);
    }
    cJSON_AddItemToArray(sweeps, o);
}

static void measure_sweeps(bench *b, bench_device *d)
{
    bench_sweep s[8] = {{0}};
    const size_t count = bench_sweep_count() < TOOL_COUNT(s) ? bench_sweep_count() : TOOL_COUNT(s);
    for (size_t n = 0; n < count; n++)
        if (bench_sweep_make(n, d->caps, b->o->filter, b->o->kernel, &s[n]))
            measure_sweep(b, d, &s[n]);
    bench_gauges_again(b, d);
    for (size_t n = 0; n < count; n++)
        for (size_t k = 0; k < s[n].series_count; k++)
            settle_roof(b, d, s[n].series[k].cases, s[n].x_count);
    tool_progress_clear(&b->progress);
    cJSON *sweeps = cJSON_AddArrayToObject(d->json, "sweeps");
    for (size_t n = 0; n < count; n++) {
        if (s[n].series_count > 0)
            tell_sweep(b, d, &s[n], sweeps);
        bench_sweep_free(&s[n]);
    }
}

static void measure_device(bench *b, bench_device *d, bench_case *cases, size_t count)
{
    const bool sweep_only = b->o->mode == BENCH_SWEEP && !b->o->cases;
    cJSON *array = cJSON_AddArrayToObject(d->json, "cases");
    if (b->o->mode == BENCH_SUSTAINED) {
        bench_sustained(b, d, cases, count);
    } else if (!sweep_only) {
        bench_cases_measure(b, d, cases, count, sampling(b, b->o->mode));
        bench_gauges_again(b, d);
        settle_roof(b, d, cases, count);
        tool_progress_clear(&b->progress);
        tell_cases(b, d, cases, count, array);
    }
    if (has_sweeps(b->o) && !b->o->cases)
        measure_sweeps(b, d);
    cJSON_AddItemToObject(d->json, "roofline", bench_roofline_json(&d->roof));
    cJSON_AddItemToObject(d->json, "sensors", sensors_json(d->sensors));
}

static void print_roofline(bench *b, const bench_device *d)
{
    for (size_t n = 0; n < d->roof.peak_count; n++)
        fprintf(b->out, "%s%s %.4g GFLOP/s", n > 0 ? ", " : "roofline: ", d->roof.peaks[n].key,
                d->roof.peaks[n].flops / 1e9);
    const cJSON *json = cJSON_GetObjectItemCaseSensitive(d->json, "roofline"),
                *memory = cJSON_GetObjectItemCaseSensitive(json, "bytes_per_second"),
                *cache = cJSON_GetObjectItemCaseSensitive(json, "cache_bytes_per_second");
    if (memory && cache)
        fprintf(b->out, "; read %.4g GB/s%s", memory->valuedouble / 1e9,
                cache->valuedouble > memory->valuedouble ? "" : "\n");
    if (memory && cache && cache->valuedouble > memory->valuedouble)
        fprintf(b->out, ", from caches up to %.4g GB/s\n", cache->valuedouble / 1e9);
}

static int run_device(bench *b, uint32_t index, size_t devices_left, cJSON *devices)
{
    char selector[16], line[1200];
    rapt_error error = {0};
    bench_device d = {0};
    rapt_device_options o = RAPT_DEVICE_OPTIONS_INIT;
    snprintf(selector, sizeof selector, "%u", index);
    o.selector = selector;
    o.caps_mask = b->o->caps;
    rapt_status status = rapt_device_open(b->runtime, &o, &d.device, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    d.caps = rapt_device_caps(d.device);
    tool_device_line(d.caps, b->o->caps, line, sizeof line);
    fprintf(b->out, "%s\n", line);
    fflush(b->out);
    size_t count = 0;
    const bool needs_cases = b->o->mode != BENCH_SWEEP || b->o->cases;
    bench_case *cases = needs_cases ? bench_suite(b, &d, &count, &error) : NULL;
    int code = TOOL_GOOD;
    if (d.caps->no_execution) {
        code =
            tool_error(TOOL_REFUSED, "%.200s compiles only: nothing can be timed on it", d.caps->device_name);
    } else if (needs_cases && !cases) {
        code = tool_report(&error);
    } else {
        d.sensors = sensors_open("/sys", d.caps);
        d.json = cJSON_CreateObject();
        cJSON_AddItemToObject(d.json, "device", tool_caps_json(d.caps));
        b->planned = b->done + (double)devices_left * foresee(b, &d, count);
        bench_gauges_measure(b, &d, extent_of(b->o));
        free(cases); /* what it is given depends on what it can do */
        cases = needs_cases ? bench_suite(b, &d, &count, &error) : NULL;
        measure_device(b, &d, cases, cases ? count : 0);
        print_roofline(b, &d);
        cJSON_AddItemToArray(devices, d.json);
    }
    for (size_t n = 0; n < count && cases; n++)
        bench_case_free(&cases[n]);
    free(cases);
    sensors_close(d.sensors);
    rapt_device_destroy(&d.device);
    return code;
}

/* ---- the whole ---- */

static int run_devices(bench *b)
{
    device_list l;
    rapt_error error = {0};
    const tool_device_options runtime = {.verbose = b->o->verbose};
    int code = tool_runtime_open(&runtime, &b->runtime);
    if (code != TOOL_GOOD)
        return code;
    if (!choose_devices(b, &l, &error))
        return tool_report(&error);
    b->progress = tool_progress_begin(1);
    cJSON *devices = cJSON_AddArrayToObject(b->json, "devices");
    for (size_t n = 0; n < l.count && !tool_interrupted(); n++) {
        b->lost = false;
        const int one = run_device(b, l.indices[n], l.count - n, devices);
        code = b->lost ? TOOL_DEVICE_LOST : one > code ? one : code;
    }
    tool_progress_clear(&b->progress);
    return code;
}

/* The worst that happened decides: Ctrl-C before all, then a lost device. */
static int judge(const bench *b, int code)
{
    if (b->wrong > 0)
        tool_error(0, "wrong results: %zu", b->wrong);
    if (b->regressions > 0)
        tool_error(0, "more than %.3g %% slower than in the baseline: %zu of the cases", 100 * b->threshold,
                   b->regressions);
    if (b->failed > 0)
        tool_error(0, "failed: %zu of the cases, see above", b->failed);
    if (tool_interrupted())
        return tool_error(TOOL_INTERRUPTED, "interrupted; what was measured until then is kept");
    if (code == TOOL_DEVICE_LOST)
        return tool_error(TOOL_DEVICE_LOST, "the device was lost; what was measured until then is kept");
    if (b->wrong > 0 || b->regressions > 0)
        return TOOL_CHECK_FAILED;
    if (code != TOOL_GOOD)
        return code;
    if (b->failed > 0)
        return b->failed_code;
    if (b->ok == 0 && b->refused > 0)
        return tool_error(TOOL_REFUSED, "the device refused all %zu cases", b->refused);
    return TOOL_GOOD;
}

static int run(bench *b, int argc, char **argv)
{
    const bench_options *o = b->o;
    rapt_error error = {0};
    if (!output_check(&o->to, &error))
        return tool_error(TOOL_BAD_INPUT, "%s", error.message);
    const bool on_stdout = (o->to.json && strcmp(o->to.json, "-") == 0) || (o->to.csv && strcmp(o->to.csv, "-") == 0);
    b->out = on_stdout ? stderr : stdout;
    b->colour = isatty(fileno(b->out)) != 0;
    b->json = head_json(modes[o->mode].name, argc, argv);
    tool_catch_interrupts();
    const double start = rapt_bench_now(), others = rapt_bench_others_cpu();
    int code = o->mode == BENCH_PEERS ? bench_peers(b) : o->shared ? bench_shared(b) : run_devices(b);
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(b->json, "devices")) == 0 &&
        o->mode != BENCH_PEERS && !o->shared && code != TOOL_GOOD)
        return code; /* there is nothing to be written */
    if (o->mode == BENCH_PEERS && !cJSON_GetObjectItemCaseSensitive(b->json, "peers"))
        return code;
    const double share = rapt_bench_others_share(others, start);
    if (share >= 0 && o->mode != BENCH_PEERS) { /* whose own work would count as others' */
        cJSON_AddNumberToObject(cJSON_GetObjectItemCaseSensitive(b->json, "host"), "others_share", share);
        if (share > 0.05)
            fprintf(b->out, "other programs took %.0f %% of the CPUs' time meanwhile\n", 100 * share);
    }
    cJSON_ReplaceItemInObjectCaseSensitive(b->json, "seconds", cJSON_CreateNumber(rapt_bench_now() - start));
    cJSON_ReplaceItemInObjectCaseSensitive(b->json, "interrupted", cJSON_CreateBool(tool_interrupted()));
    if (!cJSON_HasObjectItem(b->json, "devices"))
        cJSON_AddArrayToObject(b->json, "devices");
    if (b->old.count > 0)
        bench_compare(b, o->mode == BENCH_COMPARE ? o->file : o->compare);
    fflush(b->out);
    const int written = output_write(&o->to, b->json);
    return written != TOOL_GOOD ? written : judge(b, code);
}

/* ---- the command line ---- */

/* The words: a mode, and the file of replay and compare. */
static bool read_mode(bench_options *o, const char *const *words, size_t count, rapt_error *error)
{
    o->mode = BENCH_QUICK;
    if (count == 0)
        return true;
    int mode = 0;
    while (mode < BENCH_MODES && strcmp(words[0], modes[mode].name) != 0)
        mode++;
    if (mode == BENCH_MODES)
        return tool_fail(
            error, RAPT_ERROR_INVALID,
            "unknown mode '%.60s': quick, full, sustained, sweep, replay FILE, compare FILE, peers",
            words[0]);
    o->mode = (bench_mode)mode;
    const bool needs_file = o->mode == BENCH_REPLAY || o->mode == BENCH_COMPARE;
    if (needs_file && count < 2)
        return tool_fail(error, RAPT_ERROR_INVALID, "rapt bench %s needs a file: %s", words[0],
                         o->mode == BENCH_REPLAY ? "one recorded with RAPT_RECORD"
                                                 : "an earlier --json file");
    if (!needs_file && count == 2)
        return tool_fail(error, RAPT_ERROR_INVALID, "'%.80s' is one word too many", words[1]);
    o->file = needs_file ? words[1] : NULL;
    return true;
}

static bool read_numbers(bench *b, rapt_error *error)
{
    const bench_options *o = b->o;
    double percent = DEFAULT_THRESHOLD;
    if (o->samples && !tool_integer("--samples", o->samples, 1, BENCH_MAX_SAMPLES, &b->samples, error))
        return false;
    if (o->seconds && !tool_number("--seconds", o->seconds, &b->seconds, error))
        return false;
    if (o->seconds && !(b->seconds >= 0.01 && b->seconds <= 86400))
        return tool_fail(error, RAPT_ERROR_INVALID, "--seconds: %.60s is not from 0.01 to 86400", o->seconds);
    if (o->threshold && !tool_number("--threshold", o->threshold, &percent, error))
        return false;
    if (percent < 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--threshold: %.60s is negative", o->threshold);
    b->threshold = percent / 100;
    return true;
}

static bool ready(bench *b, rapt_error *error)
{
    const bench_options *o = b->o;
    if (o->cases && o->filter)
        return tool_fail(error, RAPT_ERROR_INVALID, "--case and --filter exclude each other");
    if (o->cases && o->mode == BENCH_REPLAY)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "replay takes its cases from the file: --case has no place there");
    if (o->shared && (o->mode != BENCH_QUICK || o->devices[0] || o->to.csv || o->to.html || o->compare || o->kernel || o->gauges))
        return tool_fail(error, RAPT_ERROR_INVALID, "--devices goes with --case, --filter, --samples, --caps and --json alone");
    if (o->compare && o->mode == BENCH_COMPARE)
        return tool_fail(error, RAPT_ERROR_INVALID, "compare FILE and --compare FILE exclude each other");
    if (!read_numbers(b, error))
        return false;
    const char *old = o->mode == BENCH_COMPARE ? o->file : o->compare;
    if (old && !baseline_read(old, &b->old, error))
        return false;
    if (o->mode == BENCH_REPLAY && !replay_read(o->file, &b->recorded, error))
        return false;
    /* Names that are none, and filters that fit nothing, are found before a device is. */
    rapt_caps caps;
    const bench_device any = {.caps = &caps};
    size_t count;
    rapt_caps_floor(&caps);
    if (o->mode == BENCH_SWEEP && o->filter && !o->cases && !bench_sweep_named(o->filter))
        return tool_fail(error, RAPT_ERROR_INVALID, "no sweep's name or line contains '%.60s'", o->filter);
    if (o->mode == BENCH_SWEEP || o->mode == BENCH_COMPARE ||
        (!o->cases && !o->filter && o->mode != BENCH_REPLAY))
        return true;
    bench_case *cases = bench_suite(b, &any, &count, error);
    free(cases);
    return cases != NULL;
}

int tool_bench(int argc, char **argv)
{
    bench_options o = {0};
    const tool_option options[] = {
        {"--case", "LIST",
         "comma list of case names, or shapes such as B1H8K2D64N1024f32 (batch, query\n"
         "heads, [kv heads], head_dim, [V head_dim], [Q queries], keys, dtype, c: causal,\n"
         "w<keys>: window, g64x64k7x7: a grid and its kernel size, then d<dilation>,\n"
         "s<stride>, c<bits of the causal axes>), or systems as in gla@4096f32: its tokens,\n"
         "or gla#1f16: the first of its checks",
         &o.cases, NULL, 0},
        {"--filter", "TEXT",
         "only usual cases whose name contains TEXT; @ stands in the names of all systems\n"
         "that are worth timing, # in those of the others",
         &o.filter, NULL, 0},
        {"--gauges", "TEXT", "only gauges of the device whose name or group contains TEXT", &o.gauges, NULL,
         0},
        {"--kernel", "NAME", "force this kernel row", &o.kernel, NULL, 0},
        {"--samples", "N", "samples per case; default: 6 to 14, as time allows", &o.samples, NULL, 0},
        {"--seconds", "S", "of timed runs per case (quick 2, full 3); of all of a sustained run (120)",
         &o.seconds, NULL, 0},
        {"--json", "FILE", "results as JSON into FILE, - for standard output", &o.to.json, NULL, 0},
        {"--csv", "FILE", "results as CSV", &o.to.csv, NULL, 0},
        {"--html", "FILE", "results as a page with pictures; needs python3", &o.to.html, NULL, 0},
        {"--compare", "FILE", "an earlier --json file: exit code 1 when a case became slower", &o.compare,
         NULL, 0},
        {"--threshold", "X", "by more than X percent of its median, the intervals lying apart; default 10",
         &o.threshold, NULL, 0},
        {"--list", NULL, "print the names of the mode's cases and run nothing", NULL, &o.list, 0},
        {"--device", "SEL",
         "index, UUID, or part of a name; may be repeated, or be a comma list, or all;\n"
         "default as for rapt devices",
         o.devices, NULL, BENCH_MAX_DEVICES},
        {"--caps", "SPEC", "lower what the device can do, see rapt run --help", &o.caps, NULL, 0},
        {"--devices", "LIST",
         "one attention shared by these devices, as a comma list, beside each alone: times,\n"
         "transfers and all, and the part of all their rates together that they reach; with\n"
         "--case or --filter, default B1H8D64N1024f32",
         &o.shared, NULL, 0},
        {"--distributed", NULL,
         "attention over the ranks of mpirun instead: --distributed --help tells its\n"
         "options; in builds with MPI",
         NULL, &o.distributed, 0},
        {"--verbose", NULL, "tell what the library does, on standard error", NULL, &o.verbose, 0},
        {NULL, NULL, NULL, NULL, NULL, 0},
    };
    static const char *const examples[] = {
        "rapt bench --html report.html",
        "rapt bench full --json full.json --csv full.csv",
        "rapt bench sweep --filter linear --html linear.html",
        "rapt bench --case B1H8D64N1024f32,B1H8D64N2048f32c --samples 30",
        "rapt bench sustained --seconds 600 --device nvidia",
        "RAPT_RECORD=shapes.jsonl my-app && rapt bench replay shapes.jsonl",
        "rapt bench compare full.json --threshold 5",
        "rapt bench --devices 0,1 --case B1H8D64N2048f32",
        "mpirun -n 4 rapt bench --distributed --tokens 4096",
        NULL,
    };
    const tool_usage usage = {
        "rapt bench [quick|full|sustained|sweep|replay FILE|compare BASELINE|peers] [options]",
        "Measures what a device can do, and times attention on it.\n"
        "\n"
        "  quick      the device's rates, and ten cases: less than a minute (the default)\n"
        "  full       the same at length, every usual case, and the sweeps\n"
        "  sustained  one case for minutes: throughput over time, clocks, heat, energy\n"
        "  sweep      speed against sequence length, density, head_dim; softmax beside linear; caches\n"
        "  replay     the problems that a program recorded under RAPT_RECORD=FILE\n"
        "  compare    the cases of an earlier --json file again: has any become slower?\n"
        "  peers      other libraries on the same cases, as far as they are there\n"
        "\n"
        "Each case is first held against the double-precision oracle (large ones on a sample of\n"
        "their rows), before and after it is timed, and a wrong one has no time. Times are the\n"
        "device's own where its queue has timestamps, else wall time; +-% is half the width of\n"
        "the median's 95 % interval. FLOP are counted over visible query-key pairs, bytes as\n"
        "every input and output once. % roof is the part of what the roofline measured in the\n"
        "same run allows at this ratio of the two: C bound by compute, M by memory.\n"
        "Ctrl-C ends it early (exit code 130) and keeps what was measured.",
        examples, options};
    const char *words[2] = {NULL, NULL};
    rapt_error error = {0};
    size_t count;
    int code;
    for (int n = 1; n < argc; n++)
        if (strcmp(argv[n], "--distributed") == 0)
            return bench_distributed(argc, argv);
    if (!tool_arguments(argc, argv, &usage, words, 2, &count, &code))
        return code;
    if (!read_mode(&o, words, count, &error))
        return tool_report(&error);
    if (o.list && o.mode != BENCH_REPLAY && o.mode != BENCH_COMPARE) {
        bench_suite_print(stdout, o.mode);
        return TOOL_GOOD;
    }
    if (o.shared && !o.cases && !o.filter)
        o.cases = "B1H8D64N1024f32";
    bench b = {.o = &o};
    if (!ready(&b, &error))
        code = tool_report(&error);
    else if ((code = tool_kernel_known(o.kernel)) == TOOL_GOOD && o.list)
        for (size_t n = 0; n < b.old.count + b.recorded.count; n++)
            printf("%s\n",
                   n < b.old.count ? b.old.cases[n].name : b.recorded.problems[n - b.old.count].c.name);
    else if (code == TOOL_GOOD)
        code = run(&b, argc, argv);
    rapt_runtime_destroy(&b.runtime);
    cJSON_Delete(b.json);
    baseline_free(&b.old);
    replay_free(&b.recorded);
    return code;
}
