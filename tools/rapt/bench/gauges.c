/* The device suite, and the roofline that follows from it. */
#include "bench.h"

#include "bench/native.h"

#include <rapt/measure.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 256
#define NATIVE_ROUNDS 3 /* before a gauge, and as many behind it */
#define NATIVE_SECONDS 0.02
#define COMPILE_SECONDS 0.12 /* of one gauge, as foreseen */
#define QUICK_SECONDS                                                                                        \
    18.0 /* for all gauges of the quick mode; what comes later is left out, and said to be */

typedef struct extent_settings {
    double seconds, longest_ms;
    bool roofline_only;
} extent_settings;

static extent_settings settings(bench_extent extent)
{
    switch (extent) {
    case BENCH_GAUGES_ROOFLINE:
        return (extent_settings){0.06, 5, true};
    case BENCH_GAUGES_QUICK:
        return (extent_settings){0.06, 5, false};
    default:
        return (extent_settings){0.3, 20, false};
    }
}

/* ---- what a gauge stands for ---- */

static bool in_group(const rapt_gauge_info *g, const char *group)
{
    return strcmp(g->group, group) == 0;
}

/* Takes "f16" out of "coopmat-f16-f32-16x16x16": the first type in the name. */
static bool type_in(const char *name, char out[8])
{
    static const char *const types[] = {"bf16", "f32", "f16", "f64"};
    const char *first = NULL;
    for (size_t n = 0; n < TOOL_COUNT(types); n++) {
        const char *at = strstr(name, types[n]);
        if (at && (at == name || at[-1] == '-') && (!first || at < first)) {
            first = at;
            snprintf(out, 8, "%s", types[n]);
        }
    }
    return first != NULL;
}

/* The peak that this gauge measures: "f32", "matrix-f16"; false: none. */
static bool peak_key(const rapt_gauge_info *g, char out[24])
{
    char type[8];
    if (strcmp(g->unit, "FLOP/s") != 0 || !type_in(g->name, type))
        return false;
    snprintf(out, 24, "%s%s", in_group(g, "matrix") ? "matrix-" : "", type);
    return in_group(g, "matrix") || (in_group(g, "arithmetic") && strncmp(g->name, "fma", 3) == 0);
}

static bool is_read(const rapt_gauge_info *g)
{
    return strcmp(g->unit, "B/s") == 0 &&
           (in_group(g, "cache") || (in_group(g, "memory") && strstr(g->name, "read")));
}

static void note_peak(bench_roofline *r, const rapt_gauge_info *g, double best)
{
    char key[24];
    size_t n;
    if (is_read(g)) {
        for (n = 0; n < r->read_count && strcmp(r->reads[n].gauge, g->name) != 0; n++)
            ;
        if (n == TOOL_COUNT(r->reads))
            return;
        if (n == r->read_count)
            r->read_count++;
        snprintf(r->reads[n].gauge, sizeof r->reads[n].gauge, "%s", g->name);
        r->reads[n].bytes = (double)g->bytes;
        r->reads[n].rate = fmax(r->reads[n].rate, best);
    } else if (peak_key(g, key)) {
        for (n = 0; n < r->peak_count && strcmp(r->peaks[n].key, key) != 0; n++)
            ;
        if (n == TOOL_COUNT(r->peaks))
            return;
        if (n == r->peak_count)
            r->peak_count++;
        if (best > r->peaks[n].flops) {
            snprintf(r->peaks[n].key, sizeof r->peaks[n].key, "%s", key);
            snprintf(r->peaks[n].gauge, sizeof r->peaks[n].gauge, "%s", g->name);
            r->peaks[n].flops = best;
        }
    }
}

/* ---- the CPU's own rates beside it ---- */

typedef struct beside {
    rapt_native *native; /* NULL: not on this device */
    rapt_native_item items[2];
    size_t item_count, rounds;
    size_t cache_bytes; /* of a cache gauge: the one item is reading so much again and again */
    bool caches;        /* wanted */
    double rates[2][2 * NATIVE_ROUNDS]; /* FLOP/s or B/s */
} beside;

static const struct {
    const char *gauge; /* all whose names begin so */
    rapt_native_item item;
} natives[] = {
    {"read-", RAPT_NATIVE_READ},         {"copy", RAPT_NATIVE_COPY},         {"write", RAPT_NATIVE_WRITE},
    {"triad", RAPT_NATIVE_TRIAD},        {"mad-i32", RAPT_NATIVE_MAD_I32},   {"fma-f16", RAPT_NATIVE_FMA_F16},
    {"dot-i8", RAPT_NATIVE_DOT_I8},      {"exp2-f32", RAPT_NATIVE_EXP2},     {"rsqrt-f32", RAPT_NATIVE_RSQRT},
    {"cos-f32", RAPT_NATIVE_COS},        {"atomic-global-one", RAPT_NATIVE_ATOMIC_ONE},
    {"atomic-global-spread", RAPT_NATIVE_ATOMIC_SPREAD},
    {"atomic-shared-one", RAPT_NATIVE_ATOMIC_SPREAD}, /* one thread of the CPU runs all of a workgroup */
    {"atomic-shared-spread", RAPT_NATIVE_ATOMIC_SPREAD},
};

static void pair_up(beside *p, const rapt_gauge_info *g)
{
    p->item_count = p->rounds = p->cache_bytes = 0;
    char key[24];
    if (!p->native)
        return;
    if (peak_key(g, key) && (strcmp(key, "f32") == 0 || strcmp(key, "bf16") == 0)) {
        p->items[p->item_count++] = rapt_native_reference(p->native);
        if (rapt_native_has(p->native, RAPT_NATIVE_FMA_AVX512))
            p->items[p->item_count++] = RAPT_NATIVE_FMA_AVX512;
    } else if ((in_group(g, "cache") && p->caches) || in_group(g, "shared")) {
        p->items[p->item_count++] = RAPT_NATIVE_READ;
        p->cache_bytes = (size_t)g->bytes;
    }
    for (size_t n = 0; n < TOOL_COUNT(natives) && p->item_count == 0; n++)
        if (strncmp(g->name, natives[n].gauge, strlen(natives[n].gauge)) == 0 && rapt_native_has(p->native, natives[n].item))
            p->items[p->item_count++] = natives[n].item;
}

static void sample_native(beside *p)
{
    for (size_t round = 0; round < NATIVE_ROUNDS && p->item_count > 0; round++, p->rounds++)
        for (size_t n = 0; n < p->item_count; n++)
            p->rates[n][p->rounds] =
                1e9 * (p->cache_bytes > 0 ? rapt_native_sample_cache(p->native, p->cache_bytes, NATIVE_SECONDS)
                                          : rapt_native_sample(p->native, p->items[n], NATIVE_SECONDS));
}

static void add_native(cJSON *o, const beside *p, double median)
{
    if (p->item_count == 0 || p->rates[0][0] < 0)
        return;
    rapt_native_peaks peaks = {.reference_valid = true};
    const bool fma = p->item_count == 2;
    if (fma)
        rapt_native_judge(&peaks, p->rates[0], p->rates[1], p->rounds);
    const double native = bench_figure_of(p->rates[0], p->rounds).median;
    cJSON *n = cJSON_AddObjectToObject(o, "native");
    cJSON_AddStringToObject(n, "name", p->cache_bytes > 0 ? "cache_read" : rapt_native_item_name(p->items[0]));
    bench_figure_add(n, "value", p->rates[0], p->rounds, 1);
    cJSON_AddBoolToObject(n, "valid", peaks.reference_valid);
    if (!peaks.reference_valid)
        cJSON_AddStringToObject(n, "why",
                                "slower than 0.45 of the AVX-512 loop's rate: something disturbed it");
    if (fma) {
        cJSON *other = cJSON_AddObjectToObject(n, "other");
        cJSON_AddStringToObject(other, "name", rapt_native_item_name(p->items[1]));
        bench_figure_add(other, "value", p->rates[1], p->rounds, 1);
    }
    if (native > 0)
        cJSON_AddNumberToObject(o, "of_native", median / native);
}

/* ---- what is known of devices that we had ---- */

static const struct {
    const char *device, *key, *where; /* key: of a peak, or "read" */
    double value;
} best_known[] = {
    {"NVIDIA H200", "f32", "f32 multiply-adds, driver 580.159.04", 64.0e12},
    {"NVIDIA H200", "f16", "f16 multiply-adds, driver 580.159.04", 64.6e12},
    {"NVIDIA H200", "bf16", "bf16 multiply-adds, driver 580.159.04", 39.4e12},
    {"NVIDIA H200", "matrix-f16", "f16 matrices of 16x16x16, driver 580.159.04", 420e12},
    {"NVIDIA H200", "read", "memory read, driver 580.159.04", 4.2e12},
};

static void add_best_known(cJSON *o, const bench_device *d, const rapt_gauge_info *g, double median)
{
    char key[24] = "";
    if (is_read(g) && in_group(g, "memory"))
        snprintf(key, sizeof key, "read");
    else if (!peak_key(g, key))
        return;
    for (size_t n = 0; n < TOOL_COUNT(best_known); n++)
        if (strstr(d->caps->device_name, best_known[n].device) && strcmp(key, best_known[n].key) == 0) {
            cJSON *known = cJSON_AddObjectToObject(o, "best_known");
            cJSON_AddNumberToObject(known, "value", best_known[n].value);
            cJSON_AddStringToObject(known, "where", best_known[n].where);
            cJSON_AddNumberToObject(o, "of_best_known", median / best_known[n].value);
        }
}

/* ---- one gauge ---- */

static const char *status_name(rapt_status status)
{
    switch (status) {
    case RAPT_OK:
        return "ok";
    case RAPT_ERROR_UNSUPPORTED:
        return "refused";
    case RAPT_ERROR_WRONG_RESULT:
        return "wrong";
    default:
        return "failed";
    }
}

static cJSON *describe(const rapt_gauge_info *g)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", g->name);
    cJSON_AddStringToObject(o, "group", g->group);
    cJSON_AddStringToObject(o, "unit", g->unit);
    cJSON_AddStringToObject(o, "what", g->what);
    cJSON_AddStringToObject(o, "kernel", g->kernel);
    cJSON_AddBoolToObject(o, "lower_is_better", g->lower_is_better != 0);
    cJSON_AddNumberToObject(o, "bytes", (double)g->bytes);
    if (g->limit[0])
        cJSON_AddStringToObject(o, "limit", g->limit);
    return o;
}

static cJSON *measure(bench *b, bench_device *d, uint32_t index, const rapt_gauge_info *g,
                      const extent_settings *s, beside *p)
{
    rapt_gauge_options o = RAPT_GAUGE_OPTIONS_INIT;
    rapt_gauge_result r = RAPT_GAUGE_RESULT_INIT;
    rapt_error error = {0};
    double values[MAX_VALUES];
    o.seconds = s->seconds;
    o.longest_ms = s->longest_ms;
    cJSON *json = describe(g);
    rapt_status status = g->refusal[0] ? RAPT_ERROR_UNSUPPORTED : RAPT_OK;
    snprintf(error.message, sizeof error.message, "%s", g->refusal);
    pair_up(p, g);
    if (status == RAPT_OK) {
        sample_native(p);
        status = rapt_device_measure(d->device, index, &o, values, MAX_VALUES, &r, &error);
        sample_native(p);
    }
    b->lost = b->lost || tool_exit_code(status) == TOOL_DEVICE_LOST;
    b->wrong += status == RAPT_ERROR_WRONG_RESULT;
    cJSON_AddStringToObject(json, "status", status_name(status));
    if (status != RAPT_OK) {
        cJSON_AddStringToObject(json, "message", error.message[0] ? error.message : rapt_status_name(status));
        return json;
    }
    const uint32_t count = r.samples < MAX_VALUES ? r.samples : MAX_VALUES;
    cJSON_AddStringToObject(json, "clock", r.device_clock ? "device" : "wall");
    bench_figure_add(json, "value", values, count, 1);
    const double median = bench_figure_of(values, count).median;
    add_native(json, p, median);
    add_best_known(json, d, g, median);
    note_peak(&d->roof, g, r.best);
    return json;
}

/* ---- all of them ---- */

static bool gauge_at(const bench_device *d, uint32_t index, rapt_gauge_info *g)
{
    *g = (rapt_gauge_info)RAPT_GAUGE_INFO_INIT;
    return rapt_device_gauge(d->device, index, g, NULL) == RAPT_OK;
}

static uint32_t gauge_count(const bench_device *d)
{
    uint32_t count = 0;
    return rapt_device_gauge_count(d->device, &count, NULL) == RAPT_OK ? count : 0;
}

/* Does it bound a case? Kernels that do without matrix units sum in single precision, whatever they store. */
static bool is_peak(const rapt_gauge_info *g)
{
    char key[24];
    return is_read(g) || (peak_key(g, key) && (strcmp(key, "f32") == 0 || in_group(g, "matrix")));
}

static bool chosen(const bench *b, const rapt_gauge_info *g)
{
    return !b->o->gauges || strstr(g->name, b->o->gauges) || strstr(g->group, b->o->gauges);
}

double bench_gauges_seconds(const bench_device *d, bench_extent extent)
{
    const extent_settings s = settings(extent);
    double sum = 0;
    rapt_gauge_info g;
    for (uint32_t n = 0; n < gauge_count(d); n++)
        if (gauge_at(d, n, &g) && !g.refusal[0] && (!s.roofline_only || is_peak(&g)))
            sum += s.seconds + COMPILE_SECONDS;
    return extent == BENCH_GAUGES_QUICK && sum > QUICK_SECONDS ? QUICK_SECONDS : sum;
}

/* Where there are no gauges for it. */
static void roofline_alone(bench *b, bench_device *d)
{
    rapt_roofline r = RAPT_ROOFLINE_INIT;
    rapt_error error = {0};
    if (rapt_device_measure_roofline(d->device, 0, &r, &error) != RAPT_OK) {
        fprintf(b->out, "roofline: unknown: %s\n", error.message);
        return;
    }
    bench_roofline *roof = &d->roof;
    rapt_gauge_info fma = {.name = "fma-f32", .group = "arithmetic", .unit = "FLOP/s"};
    note_peak(roof, &fma, r.flops_per_second);
    const size_t n =
        roof->read_count < TOOL_COUNT(roof->reads) ? roof->read_count++ : TOOL_COUNT(roof->reads) - 1;
    snprintf(roof->reads[n].gauge, sizeof roof->reads[n].gauge, "%.63s", r.read_kernel);
    roof->reads[n].bytes = 0; /* for working sets of any size */
    roof->reads[n].rate = r.read_bytes_per_second;
}

void bench_gauges_measure(bench *b, bench_device *d, bench_extent extent)
{
    const extent_settings s = settings(extent);
    const uint32_t count = gauge_count(d);
    const double start = tool_now_ns();
    size_t left_out = 0, shown = 0;
    rapt_gauge_info g;
    rapt_bench_error native_error;
    beside p = {.caches = extent == BENCH_GAUGES_FULL};
    cJSON **all = calloc(count + 1, sizeof *all);
    if (d->caps->device_class == RAPT_CLASS_SOFTWARE && count > 0)
        p.native = rapt_native_open(&native_error);
    for (int pass = 0; pass < 2; pass++) /* the roofline's own first */
        for (uint32_t n = 0; n < count && all && !tool_interrupted() && !b->lost; n++) {
            if (!gauge_at(d, n, &g) || is_peak(&g) != (pass == 0) || (pass == 1 && s.roofline_only) ||
                !chosen(b, &g))
                continue;
            if (extent == BENCH_GAUGES_QUICK && pass == 1 && tool_now_ns() - start > QUICK_SECONDS * 1e9) {
                left_out++;
                continue;
            }
            bench_progress(b, g.refusal[0] ? 0 : s.seconds + COMPILE_SECONDS, g.name);
            all[n] = measure(b, d, n, &g, &s, &p);
            tool_progress_clear(&b->progress);
            if (shown++ == 0)
                bench_print_gauge_head(b);
            bench_print_gauge(b, all[n]);
        }
    tool_progress_clear(&b->progress);
    if (left_out > 0)
        fprintf(b->out, "%zu gauges left out for time; rapt bench full measures them\n", left_out);
    cJSON *array = cJSON_AddArrayToObject(d->json, "gauges");
    for (uint32_t n = 0; n < count && all; n++)
        if (all[n])
            cJSON_AddItemToArray(array, all[n]);
    free(all);
    rapt_native_close(p.native);
    if (!b->lost && !tool_interrupted() && (bench_peak(&d->roof, "f32") <= 0 || d->roof.read_count == 0))
        roofline_alone(b, d);
}

void bench_gauges_again(bench *b, bench_device *d)
{
    const uint32_t count = gauge_count(d);
    rapt_gauge_info g;
    for (uint32_t n = 0; n < count && !tool_interrupted() && !b->lost; n++) {
        if (!gauge_at(d, n, &g) || g.refusal[0])
            continue;
        bool bound = false; /* it bounds something already: no other could have become the best by a hair */
        for (size_t k = 0; k < d->roof.peak_count; k++)
            bound = bound || strcmp(d->roof.peaks[k].gauge, g.name) == 0;
        for (size_t k = 0; k < d->roof.read_count; k++)
            bound = bound || strcmp(d->roof.reads[k].gauge, g.name) == 0;
        rapt_gauge_options o = RAPT_GAUGE_OPTIONS_INIT;
        rapt_gauge_result r = RAPT_GAUGE_RESULT_INIT;
        o.seconds = 0.05;
        o.longest_ms = 10;
        if (bound && rapt_device_measure(d->device, n, &o, NULL, 0, &r, NULL) == RAPT_OK)
            note_peak(&d->roof, &g, r.best);
    }
}

/* ---- the roofline ---- */

/* The fastest read of a working set of at least this size. Rates fall with size, so the largest set measured
 * that is not larger bounds it from above, and no larger one does worse than that bound. NULL-ended by index:
 * SIZE_MAX for none. */
static size_t best_read(const bench_roofline *r, double bytes)
{
    double floor_bytes = -1;
    size_t best = SIZE_MAX, smallest = SIZE_MAX;
    for (size_t n = 0; n < r->read_count; n++) {
        if (r->reads[n].bytes <= bytes && r->reads[n].bytes > floor_bytes)
            floor_bytes = r->reads[n].bytes;
        if (smallest == SIZE_MAX || r->reads[n].bytes < r->reads[smallest].bytes)
            smallest = n;
    }
    if (floor_bytes < 0)
        floor_bytes = smallest == SIZE_MAX ? 0 : r->reads[smallest].bytes;
    for (size_t n = 0; n < r->read_count; n++)
        if (r->reads[n].bytes >= floor_bytes && (best == SIZE_MAX || r->reads[n].rate > r->reads[best].rate))
            best = n;
    return best;
}

static bool on_matrix_units(const char *kernel)
{
    for (uint32_t n = 0; n < rapt_kernel_count(); n++) {
        rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
        if (rapt_kernel_describe(n, &info, NULL) == RAPT_OK && strcmp(info.name, kernel) == 0)
            return strcmp(info.family, "coopmat") == 0;
    }
    return false;
}

double bench_peak(const bench_roofline *r, const char *key)
{
    for (size_t n = 0; n < r->peak_count; n++)
        if (strcmp(r->peaks[n].key, key) == 0)
            return r->peaks[n].flops;
    return 0;
}

double bench_roof(const bench_roofline *r, const char *kernel, rapt_dtype dtype, double flops, double bytes,
                  const char **peak, bool *memory_bound)
{
    char key[24] = "f32"; /* whatever is stored: sums are single precision */
    if (on_matrix_units(kernel))
        snprintf(key, sizeof key, "matrix-%s", rapt_dtype_name(dtype));
    double rate = 0;
    for (size_t n = 0; n < r->peak_count; n++)
        if (strcmp(r->peaks[n].key, key) == 0) {
            rate = r->peaks[n].flops;
            *peak = r->peaks[n].key;
        }
    const size_t read = best_read(r, bytes);
    if (rate <= 0 || read == SIZE_MAX || bytes <= 0)
        return 0;
    const double by_memory = flops / bytes * r->reads[read].rate;
    *memory_bound = by_memory < rate;
    return *memory_bound ? by_memory : rate;
}

cJSON *bench_roofline_json(const bench_roofline *r)
{
    if (r->peak_count == 0 && r->read_count == 0)
        return cJSON_CreateNull();
    cJSON *o = cJSON_CreateObject();
    cJSON *flops = cJSON_AddObjectToObject(o, "flops"), *gauges = cJSON_AddObjectToObject(o, "flops_gauge");
    for (size_t n = 0; n < r->peak_count; n++) {
        cJSON_AddNumberToObject(flops, r->peaks[n].key, r->peaks[n].flops);
        cJSON_AddStringToObject(gauges, r->peaks[n].key, r->peaks[n].gauge);
    }
    const size_t memory = best_read(r, INFINITY);
    double cache = 0;
    cJSON *reads = cJSON_CreateArray();
    for (size_t n = 0; n < r->read_count; n++) {
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "gauge", r->reads[n].gauge);
        cJSON_AddNumberToObject(one, "bytes", r->reads[n].bytes);
        cJSON_AddNumberToObject(one, "bytes_per_second", r->reads[n].rate);
        cJSON_AddItemToArray(reads, one);
        cache = fmax(cache, r->reads[n].rate);
    }
    if (memory != SIZE_MAX) {
        cJSON_AddNumberToObject(o, "bytes_per_second", r->reads[memory].rate);
        cJSON_AddStringToObject(o, "bytes_gauge", r->reads[memory].gauge);
        cJSON_AddNumberToObject(o, "cache_bytes_per_second", cache);
    }
    cJSON_AddItemToObject(o, "reads", reads);
    return o;
}
