/* rapt bench: cases, each proven correct, then timed. */
#include "args.h"
#include "progress.h"
#include "tool.h"

#include "check/runner.h"

#include <stdlib.h>
#include <string.h>

#define ORACLE_LIMIT 2e8 /* multiply-adds of the proof; beyond, rows are sampled */
#define MAX_SAMPLES 1000
#define DEFAULT_SAMPLES 15
#define DEFAULT_SECONDS 2.0 /* of timed runs per case, but 5 samples at least */
#define WARM_UP_SECONDS 1.0 /* of runs before, on GPUs */

typedef struct bench_options {
    tool_device_options device;
    const char *cases, *filter, *kernel, *samples, *json, *compare, *threshold;
    bool list;
} bench_options;

typedef struct bench {
    const bench_options *o;
    tool_device device;
    rapt_case *cases;
    size_t count;
    int64_t samples; /* 0: by time */
    double threshold;
    cJSON *json, *rows, *old;
    bool text_to_stderr;
    rapt_roofline roof; /* measured on this device; zeros where it could not be */
    size_t wrong, regressions;
} bench;

/* ---- cases ---- */

/* A comma list of names: of the table, or spelled as shapes. */
static bool parse_cases(bench *b, rapt_error *error)
{
    size_t known_count;
    rapt_case *known = rapt_cases(RAPT_CASE_FULL | RAPT_CASE_BENCH, NULL, &known_count);
    size_t room = 1;
    for (const char *at = b->o->cases; *at; at++)
        room += *at == ',';
    b->cases = calloc(room, sizeof *b->cases);
    bool good = known && b->cases;
    if (!good)
        tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
    for (const char *at = b->o->cases; good;) {
        char name[192];
        const size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), at);
        rapt_case *c = &b->cases[b->count++];
        bool found = false;
        for (size_t n = 0; n < known_count && !found; n++)
            if (strcmp(known[n].name, name) == 0) {
                *c = known[n];
                found = true;
            }
        if (!found && !rapt_case_parse(name, c))
            good = tool_fail(error, RAPT_ERROR_INVALID,
                             "case '%.80s': neither a known name nor of the form "
                             "B<n>H<n>[K<n>]D<n>[V<n>][Q<n>]N<n>f32|f16|bf16[c], as in B1H8D64N1024f32",
                             name);
        if (at[length] == 0)
            break;
        at += length + 1;
    }
    free(known);
    return good;
}

/* ---- an earlier run ---- */

static bool read_old(bench *b, rapt_error *error)
{
    const char *path = b->o->compare;
    FILE *file = fopen(path, "rb");
    char *text = malloc((1 << 24) + 1);
    size_t size = 0;
    if (file && text)
        size = fread(text, 1, 1 << 24, file);
    const bool complete = file && text && !ferror(file) && feof(file);
    if (file)
        fclose(file);
    if (complete) {
        text[size] = 0;
        b->old = cJSON_Parse(text);
    }
    free(text);
    if (!complete || !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(b->old, "cases")))
        return tool_fail(error, RAPT_ERROR_IO, "%s: %s", path,
                         complete ? "not a result of rapt bench --json" : "cannot be read");
    return true;
}

/* The earlier median of the same case in nanoseconds; 0: none. */
static double old_median(const bench *b, const char *name, bool device)
{
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(b->old, "cases"), *row;
    cJSON_ArrayForEach(row, cases)
    {
        const cJSON *old_name = cJSON_GetObjectItemCaseSensitive(row, "case");
        if (!cJSON_IsString(old_name) || strcmp(old_name->valuestring, name) != 0)
            continue;
        const cJSON *figures = cJSON_GetObjectItemCaseSensitive(row, device ? "device" : "wall");
        const cJSON *median = cJSON_GetObjectItemCaseSensitive(figures, "median_ns");
        return cJSON_IsNumber(median) ? median->valuedouble : 0;
    }
    return 0;
}

/* ---- timing ---- */

/* What the device reaches in kernels that only multiply, or only read: what percentages are of. */
static void measure_roofline(bench *b)
{
    FILE *out = b->text_to_stderr ? stderr : stdout;
    rapt_error error = {0};
    b->roof = (rapt_roofline)RAPT_ROOFLINE_INIT;
    if (rapt_device_measure_roofline(b->device.device, 0, &b->roof, &error) != RAPT_OK) {
        b->roof = (rapt_roofline)RAPT_ROOFLINE_INIT;
        fprintf(out, "roofline: unknown: %s\n", error.message);
        return;
    }
    fprintf(out, "roofline: %.4g TFLOP/s in f32, %.4g GB/s read\n", b->roof.flops_per_second / 1e12,
            b->roof.read_bytes_per_second / 1e9);
    if (b->json) {
        cJSON *o = cJSON_AddObjectToObject(b->json, "roofline");
        tool_json_number(o, "tflops_per_s", b->roof.flops_per_second / 1e12);
        tool_json_number(o, "read_gbytes_per_s", b->roof.read_bytes_per_second / 1e9);
    }
}

static double percent(double value, double of)
{
    return of > 0 ? 100 * value / of : 0;
}

/* Clocks of GPUs rise only under load: until then times are those of an idle device. Software devices have none. */
static rapt_status warm_up(const bench *b, rapt_trial *t, rapt_error *error)
{
    const double start = tool_now_ns();
    rapt_status status = RAPT_OK;
    while (status == RAPT_OK && rapt_device_caps(b->device.device)->device_class != RAPT_CLASS_SOFTWARE &&
           tool_now_ns() - start < WARM_UP_SECONDS * 1e9)
        status = rapt_trial_submit(t, NULL, NULL, error);
    return status;
}

static rapt_status sample(const bench *b, rapt_trial *t, double *device, double *wall, size_t *count,
                          rapt_error *error)
{
    const rapt_status warm = warm_up(b, t, error);
    if (warm != RAPT_OK)
        return warm;
    const double start = tool_now_ns();
    const size_t wanted = b->samples > 0 ? (size_t)b->samples : DEFAULT_SAMPLES;
    for (*count = 0; *count < wanted; (*count)++) {
        if (b->samples == 0 && *count >= 5 && tool_now_ns() - start > DEFAULT_SECONDS * 1e9)
            break;
        const rapt_status status = rapt_trial_submit(t, &device[*count], &wall[*count], error);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

static void tell(bench *b, const rapt_trial *t, const rapt_result *proof, double *device, double *wall,
                 size_t count)
{
    const rapt_case *c = &t->problem->c;
    const tool_figures d = tool_figures_of(device, count), w = tool_figures_of(wall, count);
    const bool stamps = d.min >= 0;
    const tool_figures *f = stamps ? &d : &w;
    const double bytes = (double)t->info.bytes_read + (double)t->info.bytes_written;
    const double tflops = f->median > 0 ? (double)t->info.flops / f->median / 1e3 : 0;
    const double gbytes = f->median > 0 ? bytes / f->median : 0;
    const double of_flops = percent(tflops * 1e12, b->roof.flops_per_second);
    const double of_bytes = percent(gbytes * 1e9, b->roof.read_bytes_per_second);
    const double old = b->old ? old_median(b, c->name, stamps) : 0;
    const bool slower = old > 0 && f->median > old * (1 + b->threshold / 100);
    b->regressions += slower;
    char median[32], low[32], high[32], change[48] = "";
    tool_duration(f->median, median);
    tool_duration(f->min, low);
    tool_duration(f->max, high);
    if (old > 0)
        snprintf(change, sizeof change, "  %+.1f %%%s", 100 * (f->median / old - 1),
                 slower ? " REGRESSION" : "");
    fprintf(b->text_to_stderr ? stderr : stdout, "%-26s %-28s %12s %12s %12s %9.4g %5.1f %9.4g %5.1f%s\n",
            c->name, t->info.kernel, median, low, high, tflops, of_flops, gbytes, of_bytes, change);
    fflush(stdout);
    if (!b->rows)
        return;
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "case", c->name);
    cJSON_AddStringToObject(row, "kernel", t->info.kernel);
    cJSON_AddStringToObject(row, "merge_kernel", t->info.merge_kernel);
    cJSON_AddStringToObject(row, "precision", t->info.precision);
    cJSON_AddNumberToObject(row, "key_splits", t->info.key_splits);
    cJSON_AddNumberToObject(row, "workspace_bytes", (double)t->info.workspace_bytes);
    cJSON_AddNumberToObject(row, "samples", (double)count);
    if (stamps)
        tool_json_figures(row, "device", d);
    else
        cJSON_AddNullToObject(row, "device");
    tool_json_figures(row, "wall", w);
    cJSON_AddNumberToObject(row, "flops", (double)t->info.flops);
    cJSON_AddNumberToObject(row, "bytes", bytes);
    tool_json_number(row, "tflops_per_s", tflops);
    tool_json_number(row, "gbytes_per_s", gbytes);
    if (b->roof.flops_per_second > 0) {
        tool_json_number(row, "percent_of_flops", of_flops);
        tool_json_number(row, "percent_of_read", of_bytes);
    }
    tool_json_number(row, "max_error", proof->out.max_abs);
    tool_json_number(row, "tolerance", proof->out.tolerance);
    if (old > 0)
        tool_json_number(row, "slower_percent", 100 * (f->median / old - 1));
    cJSON_AddItemToArray(b->rows, row);
}

static int bench_case(bench *b, const rapt_case *c)
{
    rapt_check_problem p;
    rapt_trial t = {0};
    rapt_error error = {0};
    rapt_status status = RAPT_OK;
    double *device = malloc(MAX_SAMPLES * sizeof *device), *wall = malloc(MAX_SAMPLES * sizeof *wall);
    int code = TOOL_GOOD;
    if (!rapt_check_problem_make(c, rapt_check_problem_row_step(c, ORACLE_LIMIT), &p) || !device || !wall) {
        code = tool_no_memory();
    } else if ((status = rapt_trial_open(b->device.device, &p, b->o->kernel, &t, &error)) == RAPT_OK) {
        const rapt_result proof = rapt_trial_check(&t, 0);
        size_t count = 0;
        if (proof.verdict == RAPT_CHECK_FAIL) {
            b->wrong++;
            tool_error(0, "%s, kernel %s: wrong, not timed: %s", c->name, t.info.kernel, proof.message);
        } else if (proof.verdict != RAPT_CHECK_PASS) {
            error = proof.error;
            status = error.status;
        } else if ((status = sample(b, &t, device, wall, &count, &error)) == RAPT_OK) {
            tell(b, &t, &proof, device, wall, count);
        }
    }
    rapt_trial_close(&t);
    rapt_check_problem_free(&p);
    free(device);
    free(wall);
    if (status != RAPT_OK)
        code = tool_error(tool_exit_code(status), "%s: %s", c->name, error.message);
    return code;
}

static int run_all(bench *b)
{
    int code = tool_kernel_known(b->o->kernel);
    if (code == TOOL_GOOD)
        code = tool_device_open(&b->o->device, b->text_to_stderr, &b->device);
    if (code != TOOL_GOOD)
        return code;
    measure_roofline(b);
    fprintf(b->text_to_stderr ? stderr : stdout, "%-26s %-28s %12s %12s %12s %9s %5s %9s %5s\n", "case",
            "kernel", "median", "min", "max", "TFLOP/s", "%", "GB/s", "%");
    tool_progress progress = tool_progress_begin(b->count);
    for (size_t n = 0; n < b->count && code == TOOL_GOOD; n++) {
        tool_progress_step(&progress, n, b->cases[n].name);
        tool_progress_clear(&progress);
        code = bench_case(b, &b->cases[n]);
    }
    if (code == TOOL_GOOD && b->json) {
        cJSON_AddItemToObject(b->json, "device", tool_caps_json(rapt_device_caps(b->device.device)));
        cJSON *json = b->json;
        b->json = NULL;
        code = tool_json_print(json, b->o->json);
    }
    if (code == TOOL_GOOD && b->wrong > 0)
        return tool_error(TOOL_CHECK_FAILED, "%zu of %zu cases gave wrong results", b->wrong, b->count);
    if (code == TOOL_GOOD && b->regressions > 0)
        return tool_error(TOOL_CHECK_FAILED, "%zu of %zu cases are more than %.3g %% slower than in %s",
                          b->regressions, b->count, b->threshold, b->o->compare);
    return code;
}

static int start(bench *b)
{
    rapt_error error = {0};
    const bench_options *o = b->o;
    bool good = true;
    if (o->cases && o->filter)
        good = tool_fail(&error, RAPT_ERROR_INVALID, "--case and --filter exclude each other");
    good =
        good && (!o->samples || tool_integer("--samples", o->samples, 1, MAX_SAMPLES, &b->samples, &error));
    good = good && (!o->threshold || tool_number("--threshold", o->threshold, &b->threshold, &error));
    good = good && (!o->compare || read_old(b, &error));
    if (good && o->cases) {
        good = parse_cases(b, &error);
    } else if (good) {
        b->cases = rapt_cases(RAPT_CASE_BENCH, o->filter, &b->count);
        good = b->cases || tool_fail(&error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
        if (good && b->count == 0)
            good = tool_fail(&error, RAPT_ERROR_INVALID,
                             "no case's name contains '%.60s'; rapt bench --list shows them", o->filter);
    }
    if (!good)
        return tool_report(&error);
    for (size_t n = 0; n < b->count && o->list; n++)
        printf("%s\n", b->cases[n].name);
    if (o->list)
        return TOOL_GOOD;
    b->text_to_stderr = o->json && strcmp(o->json, "-") == 0;
    b->json = o->json ? cJSON_CreateObject() : NULL;
    b->rows = b->json ? cJSON_AddArrayToObject(b->json, "cases") : NULL;
    return run_all(b);
}

int tool_bench(int argc, char **argv)
{
    bench_options o = {0};
    const tool_option options[] = {
        {"--case", "LIST",
         "comma list of case names, or shapes such as B1H8K2D64N1024f32 (batch, query\n"
         "heads, [kv heads], head_dim, [V head_dim], [Q queries], keys, dtype, c: causal)",
         &o.cases, NULL},
        {"--filter", "TEXT", "only usual cases whose name contains TEXT", &o.filter, NULL},
        {"--kernel", "NAME", "force this kernel row", &o.kernel, NULL},
        {"--samples", "N", "timed runs per case; default 15, or as many as 2 s allow, at least 5", &o.samples,
         NULL},
        {"--json", "FILE", "results as JSON into FILE, - for standard output", &o.json, NULL},
        {"--compare", "FILE", "an earlier --json file: exit code 1 when a case became slower", &o.compare,
         NULL},
        {"--threshold", "X", "by more than X percent of its median; default 10", &o.threshold, NULL},
        {"--list", NULL, "print the names of the usual cases and run nothing", NULL, &o.list},
        {"--device", "SEL", "index, UUID, or part of a name; default as for rapt devices", &o.device.device,
         NULL},
        {"--caps", "SPEC", "lower what the device can do, see rapt run --help", &o.device.caps, NULL},
        {"--verbose", NULL, "tell what the library does, on standard error", NULL, &o.device.verbose},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {
        "rapt bench",
        "rapt bench --case B1H8D64N1024f32,B1H8D64N2048f32c --samples 30",
        "rapt bench --filter Q1 --json decode.json",
        "rapt bench --filter Q1 --compare decode.json --threshold 5",
        NULL,
    };
    const tool_usage usage = {
        "rapt bench [options]",
        "Times attention cases on the device: each is first held against the double-precision\n"
        "oracle (large ones on a sample of their rows), and a wrong one is not timed. Times are\n"
        "the device's own where its queue has timestamps, else wall time; FLOP are counted over\n"
        "visible query-key pairs, bytes as every input and output once; percentages are of\n"
        "the roofline measured first: f32 multiply-adds, and memory reads.",
        examples, options};
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &count, &code))
        return code;
    bench b = {.o = &o, .threshold = 10};
    code = start(&b);
    tool_device_close(&b.device);
    free(b.cases);
    cJSON_Delete(b.json);
    cJSON_Delete(b.old);
    return code;
}
