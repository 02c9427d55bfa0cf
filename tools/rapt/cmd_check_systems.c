/* rapt check systems: every published system that works, as its recipe runs it on this device, against an oracle of its own. */
#include "args.h"
#include "check_report.h"
#include "problem_options.h"
#include "progress.h"
#include "tool.h"

#include "check/runner_system.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FAILURES 200 /* kept for the report */

typedef struct check_options {
    tool_device_options device;
    const char *filter, *report;
    bool full, json, list;
} check_options;

/* What one system came to. */
typedef struct tally {
    uint32_t index;
    rapt_system_info info;
    size_t pass, fail, refused;
    double worst; /* largest error / tolerance */
    char message[500];
} tally;

typedef struct check {
    const check_options *o;
    check_coverage *coverage; /* NULL: none is gathered */
    tool_device device;
    tally *tallies;
    size_t count, runs, failures;
    check_failure *list; /* the first MAX_FAILURES of them */
    size_t list_count;
    FILE *report;
    bool lost;
} check;

static bool list_systems(check *c)
{
    c->tallies = calloc(rapt_system_count() + 1, sizeof *c->tallies);
    for (uint32_t n = 0; n < rapt_system_count() && c->tallies; n++) {
        tally t = {.index = n, .info = RAPT_SYSTEM_INFO_INIT};
        rapt_system_describe(n, &t.info, NULL);
        if (t.info.works && (!c->o->filter || strstr(t.info.name, c->o->filter)))
            c->tallies[c->count++] = t;
    }
    return c->tallies != NULL;
}

static void keep_failure(check *c, const tally *t, const char *problem, const rapt_result *r)
{
    if (c->list_count == MAX_FAILURES)
        return;
    check_failure *f = &c->list[c->list_count++];
    *f = (check_failure){.mask = c->o->device.caps ? c->o->device.caps : "", .seed = rapt_case_seed(t->info.name), .result = *r};
    char start[300];
    snprintf(f->name, sizeof f->name, "%s", t->info.name);
    snprintf(f->shape, sizeof f->shape, "%s", problem);
    snprintf(f->message, sizeof f->message, "%s", t->message);
    snprintf(start, sizeof start, "rapt check systems --filter '%.200s'%s", t->info.name, c->o->full ? " --full" : "");
    check_command_line(f, &c->o->device, 0, start);
}

/* One problem in one type, rows `gap` elements apart. */
static void run_one(check *c, tally *t, const char *problem, rapt_dtype dtype, uint64_t gap)
{
    rapt_error error = {0};
    rapt_check_system system;
    rapt_system_trial *trial = calloc(1, sizeof *trial);
    rapt_result r = {.verdict = RAPT_CHECK_ERROR, .error = {.status = RAPT_ERROR_OUT_OF_HOST_MEMORY, .message = "no host memory"}};
    if (trial && rapt_check_system_make(&t->info, problem, dtype, rapt_case_seed(t->info.name), &system)) {
        const rapt_status status = rapt_system_trial_open(c->device.device, t->index, &system, gap, trial, &error);
        if (status == RAPT_OK)
            r = rapt_system_trial_check(trial);
        else
            r = (rapt_result){.verdict = status == RAPT_ERROR_UNSUPPORTED ? RAPT_CHECK_REFUSED : RAPT_CHECK_ERROR, .error = error};
        r.error.status = status == RAPT_OK ? r.error.status : status;
        rapt_system_trial_close(trial);
        rapt_check_system_free(&system);
    }
    free(trial);
    const double worst = r.out.tolerance > 0 ? r.out.max_abs / r.out.tolerance : 0;
    t->worst = worst > t->worst ? worst : t->worst;
    t->pass += r.verdict == RAPT_CHECK_PASS;
    t->refused += r.verdict == RAPT_CHECK_REFUSED;
    t->fail += r.verdict == RAPT_CHECK_FAIL || r.verdict == RAPT_CHECK_ERROR;
    c->runs += r.verdict != RAPT_CHECK_REFUSED;
    c->failures += r.verdict == RAPT_CHECK_FAIL || r.verdict == RAPT_CHECK_ERROR;
    c->lost = c->lost || r.error.status == RAPT_ERROR_DEVICE_LOST;
    if (r.verdict == RAPT_CHECK_PASS || (r.verdict == RAPT_CHECK_REFUSED && t->message[0]))
        return;
    snprintf(t->message, sizeof t->message, "%.160s, %s%s: %.280s", problem, rapt_dtype_name(dtype), gap ? ", rows with gaps" : "",
             r.verdict == RAPT_CHECK_FAIL ? r.message : r.error.message[0] ? r.error.message : rapt_status_name(r.error.status));
    if (r.verdict == RAPT_CHECK_REFUSED)
        return;
    fprintf(c->o->json ? stderr : stdout, "FAIL %s: %s\n", t->info.name, t->message);
    keep_failure(c, t, problem, &r);
}

static void run_tallies(check *c)
{
    tool_progress progress = tool_progress_begin(c->count);
    for (size_t n = 0; n < c->count && !c->lost && !tool_interrupted(); n++) {
        tally *t = &c->tallies[n];
        tool_progress_step(&progress, n, t->info.name);
        for (uint32_t k = 0; k < t->info.check_count && !c->lost; k++) {
            static const rapt_dtype types[] = {RAPT_F32, RAPT_F16, RAPT_BF16};
            for (size_t type = 0; type < TOOL_COUNT(types) && (type == 0 || k == 0 || c->o->full) && !c->lost; type++)
                run_one(c, t, t->info.checks[k], types[type], 0);
            if (c->o->full && !c->lost)
                run_one(c, t, t->info.checks[k], RAPT_F32, 3);
        }
    }
    tool_progress_clear(&progress);
}

static void summary_text(const check *c)
{
    printf("%-48s %4s %5s %5s %7s  %s\n", "system", "tier", "pass", "fail", "refused", "largest error / tolerance");
    for (size_t n = 0; n < c->count; n++) {
        const tally *t = &c->tallies[n];
        printf("%-48.48s %4.1s %5zu %5zu %7zu  ", t->info.name, t->info.tier, t->pass, t->fail, t->refused);
        if (t->pass > 0)
            printf("%.3f\n", t->worst);
        else
            printf("%.200s\n", t->message);
    }
    printf("%zu systems, %zu runs: %zu failed\n", c->count, c->runs, c->failures);
}

static check_report make_report(const check *c, check_row *rows, double seconds)
{
    for (size_t n = 0; n < c->count; n++) {
        const tally *t = &c->tallies[n];
        rows[n] = (check_row){.kernel = t->info.name,
                              .mask = c->o->device.caps ? c->o->device.caps : "",
                              .pass = t->pass,
                              .fail = t->fail,
                              .refused = t->refused,
                              .worst = t->worst,
                              .refusal = t->message};
    }
    return (check_report){.title = "rapt check systems",
                          .caps = rapt_device_caps(c->device.device),
                          .device = &c->o->device,
                          .set = c->o->filter ? c->o->filter : c->o->full ? "full" : "quick",
                          .runs = c->runs,
                          .failures = c->failures,
                          .seconds = seconds,
                          .list = c->list,
                          .list_count = c->list_count,
                          .rows = rows,
                          .row_count = c->count};
}

static int summary_json(const check *c, const check_report *report)
{
    cJSON *root = cJSON_CreateObject(), *systems = cJSON_AddArrayToObject(root, "systems");
    cJSON_AddItemToObject(root, "device", tool_caps_json(rapt_device_caps(c->device.device)));
    for (size_t n = 0; n < c->count; n++) {
        const tally *t = &c->tallies[n];
        cJSON *s = cJSON_CreateObject();
        cJSON_AddStringToObject(s, "name", t->info.name);
        cJSON_AddNumberToObject(s, "pass", (double)t->pass);
        cJSON_AddNumberToObject(s, "fail", (double)t->fail);
        cJSON_AddNumberToObject(s, "refused", (double)t->refused);
        cJSON_AddNumberToObject(s, "worst_error_to_tolerance", t->worst);
        if (t->message[0])
            cJSON_AddStringToObject(s, "message", t->message);
        cJSON_AddItemToArray(systems, s);
    }
    cJSON_AddNumberToObject(root, "runs", (double)c->runs);
    cJSON_AddNumberToObject(root, "failed", (double)c->failures);
    cJSON *failures = cJSON_AddArrayToObject(root, "failures");
    for (size_t n = 0; n < c->list_count; n++)
        cJSON_AddItemToArray(failures, check_failure_json(report, &c->list[n]));
    return check_json(c->coverage, "systems", root);
}

static int run_all(check *c)
{
    int code = tool_device_open(&c->o->device, c->o->json, &c->device);
    if (code != TOOL_GOOD)
        return code;
    tool_catch_interrupts();
    const double start = tool_now_ns();
    run_tallies(c);
    check_row *rows = calloc(c->count, sizeof *rows);
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

int check_systems(int argc, char **argv, check_coverage *coverage)
{
    check_options o = {0};
    const tool_option list[] = {
        {"--filter", "TEXT", "only systems whose name contains TEXT", &o.filter, NULL},
        {"--full", NULL, "every problem in f16 and bf16, not the first alone, and with gaps between rows", NULL, &o.full},
        {"--report", "FILE", "a page in Markdown for a bug report, as of rapt check", &o.report, NULL},
        {"--list", NULL, "print the systems that would run, and run nothing", NULL, &o.list},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--json", NULL, "the summary as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {"rapt check systems", "rapt check systems --filter Delta --full",
                                           "rapt check systems --caps floor --json", NULL};
    const tool_usage usage = {
        "rapt check systems [options]",
        "Runs the small problems of every published system that works, as its recipe has it, and\n"
        "compares the outputs with an oracle written from the paper's formula, in double precision,\n"
        "within twice the error of plain single precision. A line for each failure, a summary with\n"
        "a line for each system, exit code 1 if one failed. A system may be refused, with the reason\n"
        "(a limit of the device, no run-time compiler); that is no failure.",
        examples, list};
    size_t words;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &words, &code))
        return code;
    check c = {.o = &o, .coverage = coverage};
    c.list = calloc(MAX_FAILURES, sizeof *c.list);
    if (!c.list || !list_systems(&c)) {
        free(c.list);
        return tool_no_memory();
    }
    if (c.count == 0)
        code = tool_error(TOOL_BAD_INPUT, "no working system's name contains '%.60s'; rapt systems shows them", o.filter);
    else if (o.list)
        for (size_t n = 0; n < c.count; n++)
            printf("%s\n", c.tallies[n].info.name);
    else if ((code = check_report_open(o.report, &c.report)) == TOOL_GOOD)
        code = run_all(&c);
    check_coverage_add(coverage, c.device.device);
    tool_device_close(&c.device);
    free(c.tallies);
    free(c.list);
    if (c.report)
        fclose(c.report);
    return code;
}
