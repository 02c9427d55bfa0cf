/* rapt check linear: the planner's choice and every row of linear attention that can be forced, against the recurrence in double
 * precision, over the cases of src/check/runner_linear.c and capability masks. */
#include "args.h"
#include "check_report.h"
#include "progress.h"
#include "tool.h"

#include "check/runner_linear.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MASKS 8     /* the first is the device as it is, or as --caps has it */
#define MAX_DETAILS 40  /* failures shown one by one */
#define MAX_FAILURES 200 /* kept for the report */

typedef struct check_options {
    tool_device_options device;
    const char *kernel, *filter, *repeats, *report;
    bool full, chosen, json, list;
} check_options;

/* What one row, or the planner's choice under one mask, came to. */
typedef struct tally {
    const char *kernel; /* NULL: chosen */
    size_t mask, pass, fail, refused;
    double worst; /* largest error / tolerance */
    const char *worst_case;
    char refusal[200];
} tally;

typedef struct check {
    const check_options *o;
    check_coverage *coverage; /* NULL: none is gathered */
    rapt_runtime *runtime;
    const char *masks[MAX_MASKS];
    rapt_device *devices[MAX_MASKS]; /* NULL: the mask does not apply */
    size_t mask_count, tally_count, runs, failures;
    size_t repeated, differing; /* repeats, and those of other bits than their first run */
    tally *tallies;
    uint32_t repeats;
    check_failure *list; /* the first MAX_FAILURES of them */
    size_t list_count;
    FILE *report;
    cJSON *json;
    bool lost;
} check;

static bool wanted(const check_options *o, const rapt_linear_case *c)
{
    return (c->groups & (o->full ? RAPT_CASE_FULL : RAPT_CASE_QUICK)) && (!o->filter || strstr(c->name, o->filter));
}

static int open_devices(check *c)
{
    const char *const *more = c->o->full ? rapt_case_masks_full : rapt_case_masks_quick;
    const int code = tool_runtime_open(&c->o->device, &c->runtime);
    if (code != TOOL_GOOD)
        return code;
    c->masks[c->mask_count++] = c->o->device.caps ? c->o->device.caps : "";
    while (*more && !c->o->device.caps && !c->o->kernel && c->mask_count < MAX_MASKS)
        c->masks[c->mask_count++] = *more++;
    for (size_t n = 0; n < c->mask_count; n++) {
        rapt_error error = {0};
        rapt_device_options options = RAPT_DEVICE_OPTIONS_INIT;
        options.selector = c->o->device.device;
        options.caps_mask = c->masks[n];
        options.validation = c->o->device.validation;
        options.no_probe = c->o->device.no_probe;
        const rapt_status status = rapt_device_open(c->runtime, &options, &c->devices[n], &error);
        if (status == RAPT_OK)
            continue;
        if (status != RAPT_ERROR_INVALID || n == 0)
            return tool_status_error(status, &error);
        fprintf(stderr, "rapt: note: mask %s left out: %s\n", c->masks[n], error.message);
    }
    char line[1200];
    tool_device_line(rapt_device_caps(c->devices[0]), c->o->device.caps, line, sizeof line);
    fprintf(c->o->json ? stderr : stdout, "%s\n", line);
    return TOOL_GOOD;
}

/* One tally per mask and per row of the state family; those that cannot be forced refuse every case. */
static int list_tallies(check *c)
{
    c->tallies = calloc(MAX_MASKS + rapt_kernel_count(), sizeof *c->tallies);
    if (!c->tallies)
        return tool_no_memory();
    for (size_t mask = 0; mask < c->mask_count && !c->o->kernel; mask++)
        if (c->devices[mask])
            c->tallies[c->tally_count++] = (tally){.mask = mask};
    for (uint32_t n = 0; n < rapt_kernel_count() && !c->o->chosen; n++) {
        rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
        if (rapt_kernel_describe(n, &info, NULL) == RAPT_OK && strcmp(info.family, "state") == 0 &&
            (!c->o->kernel || strcmp(info.name, c->o->kernel) == 0))
            c->tallies[c->tally_count++] = (tally){.kernel = info.name};
    }
    return c->tally_count > 0 ? TOOL_GOOD
                              : tool_error(TOOL_BAD_INPUT, "kernel row '%s' is none of linear attention", c->o->kernel);
}

static void linear_shape_line(const rapt_linear_case *c, char *text, size_t capacity)
{
    static const char *const rules[] = {"none", "delta", "dplr"}, *const decays[] = {"", ", decay by head", ", by token", ", by channel"};
    snprintf(text, capacity, "%s, batch %" PRIu64 ", heads %" PRIu64 ", n %" PRIu64 ", d_k %" PRIu64 ", d_v %" PRIu64 ", rule %s%s%s%s%s%s",
             rapt_dtype_name(c->dtype), c->batch, c->heads, c->n, c->d_k, c->d_v,
             (size_t)c->rule < TOOL_COUNT(rules) ? rules[c->rule] : "?", (size_t)c->decay < TOOL_COUNT(decays) ? decays[c->decay] : "",
             c->beta ? ", beta" : "", c->states ? ", states in and out" : "", c->odd ? ", gaps of odd sizes" : "",
             c->sequences > 0 ? ", packed sequences" : "");
}

static void tell_failure(check *c, const tally *t, const rapt_linear_case *one, const rapt_result *r, const char *message)
{
    const char *mask = c->masks[t->mask];
    if (++c->failures <= MAX_DETAILS)
        fprintf(c->o->json ? stderr : stdout, "FAIL %s, kernel %s%s%s: %s\n", one->name, t->kernel ? t->kernel : "(chosen)",
                mask[0] ? ", caps " : "", mask, message);
    if (c->list_count == MAX_FAILURES)
        return;
    check_failure *f = &c->list[c->list_count++];
    *f = (check_failure){.forced = t->kernel != NULL, .forced_kernel = t->kernel, .mask = mask, .result = *r};
    char start[300];
    snprintf(f->name, sizeof f->name, "%s", one->name);
    snprintf(f->message, sizeof f->message, "%s", message);
    linear_shape_line(one, f->shape, sizeof f->shape);
    snprintf(start, sizeof start, "rapt check linear%s --filter '%s'%s", c->o->full || !(one->groups & RAPT_CASE_QUICK) ? " --full" : "", one->name,
             f->forced ? "" : mask[0] ? " --chosen" : " --chosen --caps ''");
    check_command_line(f, &c->o->device, c->repeats, start);
}

static double ratio(const rapt_check_difference *d)
{
    return d->tolerance > 0 ? d->max_abs / d->tolerance : 0;
}

static void run_one(check *c, tally *t, const rapt_linear_case *one)
{
    const rapt_result r = rapt_check_linear_run(c->devices[t->mask], one, t->kernel, c->repeats);
    const double worst = ratio(&r.out) > ratio(&r.lse) ? ratio(&r.out) : ratio(&r.lse);
    if (r.verdict == RAPT_CHECK_REFUSED) {
        t->refused++;
        snprintf(t->refusal, sizeof t->refusal, "%.190s", r.error.message);
        if (!t->kernel && c->masks[t->mask][0] == 0) /* the bare device takes every case */
            tell_failure(c, t, one, &r, r.error.message);
        return;
    }
    c->runs++;
    c->repeated += r.runs > 1 ? r.runs - 1 : 0;
    c->differing += r.differing;
    c->lost |= r.error.status == RAPT_ERROR_DEVICE_LOST;
    if (r.verdict != RAPT_CHECK_PASS) {
        t->fail++;
        tell_failure(c, t, one, &r, r.verdict == RAPT_CHECK_FAIL ? r.message : r.error.message);
        return;
    }
    t->pass++;
    if (worst >= t->worst) {
        t->worst = worst;
        t->worst_case = one->name;
    }
}

/* The bare choice, and a row alone, run all cases; a mask the core ones; a row the first that it accepts of all there are, with
 * --full every one. */
static bool takes(const check *c, const tally *t, const rapt_linear_case *one)
{
    if (c->o->filter || c->o->kernel || (!t->kernel && t->mask == 0))
        return wanted(c->o, one);
    return t->kernel ? c->o->full || t->pass + t->fail == 0 : one->groups & RAPT_CASE_CORE;
}

static void run_tallies(check *c)
{
    size_t count;
    const rapt_linear_case *cases = rapt_linear_cases(&count);
    tool_progress progress = tool_progress_begin(c->tally_count);
    for (size_t t = 0; t < c->tally_count; t++)
        for (size_t n = 0; n < count && !c->lost && !tool_interrupted(); n++)
            if (takes(c, &c->tallies[t], &cases[n])) {
                tool_progress_step(&progress, t, cases[n].name);
                run_one(c, &c->tallies[t], &cases[n]);
            }
    tool_progress_clear(&progress);
}

/* Rows that cannot be forced: they make features, pass states on, and the like. */
static bool beside_others(const tally *t)
{
    return t->pass + t->fail == 0 && strstr(t->refusal, "another kernel is forced") != NULL;
}

static void summary_text(const check *c)
{
    printf("%-34s %7s %7s %7s  %s\n", "kernel", "pass", "fail", "refused", "largest error / tolerance");
    for (size_t n = 0; n < c->tally_count; n++) {
        const tally *t = &c->tallies[n];
        char name[96];
        snprintf(name, sizeof name, "%s%s%s", t->kernel ? t->kernel : "(chosen)", c->masks[t->mask][0] ? " " : "", c->masks[t->mask]);
        printf("%-34s %7zu %7zu %7zu  ", name, t->pass, t->fail, t->refused);
        if (t->worst_case)
            printf("%.3f %s\n", t->worst, t->worst_case);
        else
            printf("never ran%s%.160s\n", t->refused ? ": " : "", beside_others(t) ? "runs beside other rows only" : t->refusal);
    }
    printf("%zu runs: %zu failed\n", c->runs, c->failures);
}

static check_report make_report(const check *c, check_row *rows, double seconds)
{
    for (size_t n = 0; n < c->tally_count; n++) {
        const tally *t = &c->tallies[n];
        rows[n] = (check_row){.kernel = t->kernel ? t->kernel : "(chosen)",
                              .mask = c->masks[t->mask],
                              .pass = t->pass,
                              .fail = t->fail,
                              .refused = t->refused,
                              .worst = t->worst,
                              .worst_case = t->worst_case,
                              .refusal = beside_others(t) ? "runs beside other rows only" : t->refusal};
    }
    return (check_report){.title = "rapt check linear",
                          .caps = rapt_device_caps(c->devices[0]),
                          .device = &c->o->device,
                          .set = c->o->filter ? c->o->filter : c->o->full ? "full" : "quick",
                          .repeats = c->repeats,
                          .runs = c->runs,
                          .failures = c->failures,
                          .repeated = c->repeated,
                          .differing = c->differing,
                          .seconds = seconds,
                          .list = c->list,
                          .list_count = c->list_count,
                          .rows = rows,
                          .row_count = c->tally_count};
}

static int summary_json(check *c, const check_report *report)
{
    cJSON *root = c->json, *kernels = cJSON_AddArrayToObject(root, "kernels");
    c->json = NULL;
    for (size_t n = 0; n < c->tally_count; n++) {
        const tally *t = &c->tallies[n];
        cJSON *k = cJSON_CreateObject();
        cJSON_AddStringToObject(k, "name", t->kernel ? t->kernel : "(chosen)");
        cJSON_AddStringToObject(k, "caps", c->masks[t->mask]);
        cJSON_AddNumberToObject(k, "pass", (double)t->pass);
        cJSON_AddNumberToObject(k, "fail", (double)t->fail);
        cJSON_AddNumberToObject(k, "refused", (double)t->refused);
        cJSON_AddNumberToObject(k, "worst_error_to_tolerance", t->worst);
        cJSON_AddItemToArray(kernels, k);
    }
    cJSON_AddNumberToObject(root, "runs", (double)c->runs);
    cJSON_AddNumberToObject(root, "failed", (double)c->failures);
    cJSON *failures = cJSON_AddArrayToObject(root, "failures");
    for (size_t n = 0; n < c->list_count; n++)
        cJSON_AddItemToArray(failures, check_failure_json(report, &c->list[n]));
    return check_json(c->coverage, "linear", root);
}

static int run_all(check *c)
{
    int code = tool_kernel_known(c->o->kernel);
    if (code == TOOL_GOOD)
        code = open_devices(c);
    if (code == TOOL_GOOD)
        code = list_tallies(c);
    if (code != TOOL_GOOD)
        return code;
    tool_catch_interrupts();
    const double start = tool_now_ns();
    run_tallies(c);
    check_row *rows = calloc(c->tally_count, sizeof *rows);
    if (!rows)
        return tool_no_memory();
    const check_report report = make_report(c, rows, (tool_now_ns() - start) / 1e9);
    if (c->o->json)
        code = summary_json(c, &report);
    else
        summary_text(c);
    const int written = check_report_close(&report, c->o->report, &c->report);
    code = code == TOOL_GOOD ? written : code;
    free(rows);
    return code == TOOL_GOOD ? tool_check_code(c->lost, c->runs, c->failures, c->runs > 0) : code;
}

static int list_cases(const check_options *o)
{
    size_t count, shown = 0;
    const rapt_linear_case *cases = rapt_linear_cases(&count);
    for (size_t n = 0; n < count; n++)
        if (wanted(o, &cases[n])) {
            shown++;
            if (o->list)
                printf("%s\n", cases[n].name);
        }
    return shown > 0 ? TOOL_GOOD
                     : tool_error(TOOL_BAD_INPUT, "no case's name contains '%.60s'; rapt check linear --full --list shows them", o->filter);
}

int check_linear(int argc, char **argv, check_coverage *coverage)
{
    check_options o = {0};
    const tool_option list[] = {
        {"--full", NULL, "every case, more masks, every row on all it accepts, three times each and compared bit\nfor bit", NULL, &o.full},
        {"--kernel", "NAME", "only this kernel row, forced", &o.kernel, NULL},
        {"--chosen", NULL, "only what the planner chooses; no row is forced", NULL, &o.chosen},
        {"--filter", "TEXT", "only cases whose name contains TEXT", &o.filter, NULL},
        {"--caps", "SPEC", "only under this mask (see rapt run --help), not under the usual ones", &o.device.caps, NULL},
        {"--repeat", "N", "run each N times more and compare the bits; default 0, full 2", &o.repeats, NULL},
        {"--report", "FILE", "a page in Markdown for a bug report, as of rapt check", &o.report, NULL},
        {"--list", NULL, "print the names of the cases and run nothing", NULL, &o.list},
        {"--device", "SEL", "index, UUID, or part of a name; default as for rapt devices", &o.device.device, NULL},
        {"--no-probe", NULL, "without the known-answer probe before a row's first use", NULL, &o.device.no_probe},
        {"--validation", NULL, "run under the Vulkan validation layer, where installed", NULL, &o.device.validation},
        {"--verbose", NULL, "tell what the library does, on standard error", NULL, &o.device.verbose},
        {"--json", NULL, "the summary and every failure as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {"rapt check linear", "rapt check linear --chosen --filter delta", "rapt check linear --kernel NAME --json",
                                           NULL};
    const tool_usage usage = {
        "rapt check linear [options]",
        "Computes cases of linear attention on the device and compares outputs and states with the\n"
        "recurrence in double precision, within twice the error of plain single precision. Gaps\n"
        "between rows hold NaN and must not be written. The planner's choice runs every case, and\n"
        "the core ones under masks that lower the device; then kernel rows are forced.\n"
        "One line per failure, a summary, exit code 1 if there was one.",
        examples, list};
    size_t words;
    int code;
    rapt_error error = {0};
    int64_t repeats;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &words, &code))
        return code;
    repeats = o.full ? 2 : 0;
    if (o.chosen && o.kernel)
        return tool_error(TOOL_BAD_INPUT, "--chosen and --kernel exclude each other");
    if (o.repeats && !tool_integer("--repeat", o.repeats, 0, 10000, &repeats, &error))
        return tool_report(&error);
    code = list_cases(&o);
    if (o.list || code != TOOL_GOOD)
        return code;
    check c = {.o = &o, .coverage = coverage, .repeats = (uint32_t)repeats, .json = o.json ? cJSON_CreateObject() : NULL};
    c.list = calloc(MAX_FAILURES, sizeof *c.list);
    code = c.list ? check_report_open(o.report, &c.report) : tool_no_memory();
    if (code == TOOL_GOOD)
        code = run_all(&c);
    for (size_t n = 0; n < c.mask_count; n++) {
        check_coverage_add(coverage, c.devices[n]);
        rapt_device_destroy(&c.devices[n]);
    }
    rapt_runtime_destroy(&c.runtime);
    free(c.tallies);
    free(c.list);
    if (c.report)
        fclose(c.report);
    cJSON_Delete(c.json);
    return code;
}
