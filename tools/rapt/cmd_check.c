/* rapt check: every kernel row and the planner's own choice against the oracle, over the cases of
 * src/check/cases.h and the capability masks. */
#include "args.h"
#include "check_report.h"
#include "progress.h"
#include "tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ORACLE_LIMIT 4e8 /* multiply-adds per case; beyond, rows are sampled */
#define RANDOM_LIMIT 1e7 /* of random cases, which are many */
#define MAX_REASONS 12   /* for refusals of random cases, told apart */
#define ROW_GROUP 5      /* random cases of a composition that one row is tried on */
#define MAX_MASKS 16     /* the first is the device as it is, or as --caps has it */
#define MAX_DETAILS 40   /* failures shown one by one */
#define MAX_FAILURES 500 /* kept for the report */

typedef struct check_options {
    tool_device_options device;
    const char *kernel, *filter, *one_case, *repeats, *report, *part, *random, *seed;
    bool quick, full, every_row, chosen, json, list;
} check_options;

/* What one kernel row, or the planner's choice under one mask, came to. */
typedef struct tally {
    const char *kernel; /* NULL: chosen */
    const char *family, *defines;
    size_t mask;
    size_t pass, fail, refused;
    double worst; /* largest error / tolerance of the passes */
    char worst_case[192], refusal[256];
} tally;

/* Why random cases were refused. */
typedef struct reason {
    char text[160];
    size_t count;
} reason;

typedef struct check {
    const check_options *o;
    check_coverage *coverage; /* NULL: none is gathered */
    rapt_runtime *runtime;
    const char *masks[MAX_MASKS];
    rapt_device *devices[MAX_MASKS]; /* NULL: the mask does not apply */
    size_t mask_count;
    tally *tallies;
    size_t tally_count;
    rapt_case *cases;
    size_t case_count;
    size_t runs, failures;
    size_t repeated, differing; /* repeats, and those of other bits than their first run */
    uint32_t repeats;
    uint32_t part, parts; /* this run's share: one of `parts`, from 0 */
    uint64_t random, seed; /* how many random cases; 0: those of the list */
    reason reasons[MAX_REASONS];
    size_t reason_count;
    check_failure *list; /* the first MAX_FAILURES of them */
    size_t list_count;
    FILE *report;
    tool_progress progress;
    cJSON *json;
    bool lost;
} check;

/* ---- set-up ---- */

static int open_devices(check *c)
{
    const char *const *more = c->o->full || c->random > 0 ? rapt_case_masks_full : rapt_case_masks_quick;
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

/* Rows of one family and storage type: with --quick the first stands for the others. */
static bool stands_for_others(const check *c, const rapt_kernel_info *info)
{
    const char *type = strstr(info->defines, "-DDTYPE=");
    for (size_t t = 0; t < c->tally_count; t++) {
        const char *other = c->tallies[t].defines ? strstr(c->tallies[t].defines, "-DDTYPE=") : NULL;
        if (strcmp(c->tallies[t].family, info->family) == 0 && type && other && strncmp(type, other, 9) == 0)
            return false;
    }
    return true;
}

/* One tally per mask and per row. Rows that merge cannot be forced: cases with key splits run them. */
static int list_tallies(check *c)
{
    static const char *const not_attention[] = {"merge", "peak", "map", "route", "state", "scan"};
    c->tallies = calloc(MAX_MASKS + rapt_kernel_count(), sizeof *c->tallies);
    if (!c->tallies)
        return tool_no_memory();
    for (size_t mask = 0; mask < c->mask_count && !c->o->kernel; mask++)
        if (c->devices[mask])
            c->tallies[c->tally_count++] = (tally){.family = "chosen", .mask = mask};
    for (uint32_t n = 0; n < rapt_kernel_count() && !c->o->chosen && (c->random == 0 || c->o->kernel); n++) {
        rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
        bool wanted = rapt_kernel_describe(n, &info, NULL) == RAPT_OK;
        for (size_t f = 0; f < TOOL_COUNT(not_attention) && wanted; f++)
            wanted = strcmp(info.family, not_attention[f]) != 0;
        if (wanted && c->o->kernel)
            wanted = strcmp(info.name, c->o->kernel) == 0;
        else if (wanted && !c->o->full && !c->o->every_row)
            wanted = stands_for_others(c, &info);
        if (wanted)
            c->tallies[c->tally_count++] =
                (tally){.kernel = info.name, .family = info.family, .defines = info.defines};
    }
    if (c->tally_count == 0)
        return tool_error(TOOL_BAD_INPUT, "kernel row '%s' is no attention kernel of its own", c->o->kernel);
    return TOOL_GOOD;
}

/* ---- running ---- */

static void tally_name(const check *c, const tally *t, char out[96])
{
    snprintf(out, 96, "%s%s%s", t->kernel ? t->kernel : "(chosen)", c->masks[t->mask][0] ? " " : "",
             c->masks[t->mask]);
}

static void report_failure(check *c, const rapt_check_problem *p, const tally *t, const char *message,
                           const rapt_result *r)
{
    const char *mask = c->masks[t->mask];
    const char *kernel = r->info.kernel[0] ? r->info.kernel : t->kernel ? t->kernel : "(chosen)";
    c->failures++;
    tool_progress_clear(&c->progress);
    if (c->failures <= MAX_DETAILS)
        fprintf(c->o->json ? stderr : stdout, "FAIL %s, kernel %s%s%s%s%s: %s\n", p->c.name, kernel,
                r->info.merge_kernel[0] ? " + " : "", r->info.merge_kernel, mask[0] ? ", caps " : "", mask,
                message);
    else if (c->failures == MAX_DETAILS + 1)
        fprintf(c->o->json ? stderr : stdout, "further failures are counted only\n");
    fflush(stdout);
    if (c->list_count == MAX_FAILURES)
        return;
    check_failure *f = &c->list[c->list_count++];
    *f = (check_failure){.forced = t->kernel != NULL, .forced_kernel = t->kernel, .mask = mask, .seed = p->c.seed, .result = *r};
    char start[300];
    snprintf(f->message, sizeof f->message, "%s", message);
    snprintf(f->name, sizeof f->name, "%s", p->c.name);
    check_shape_line(&p->c, f->shape, sizeof f->shape);
    /* Without a mask the usual ones would be tried as well. */
    snprintf(start, sizeof start, "rapt check --case '%s'%s", f->name, f->forced ? "" : mask[0] ? " --chosen" : " --chosen --caps ''");
    check_command_line(f, &c->o->device, c->repeats, start);
}

static double ratio(const rapt_check_difference *d)
{
    return d->tolerance > 0 ? d->max_abs / d->tolerance : 0;
}

/* An unforced problem of the list may be refused only where 16-bit stores are missing and its rows share words. Of random ones
 * some ask for what no kernel does together; invalid they must not be. */
static bool may_refuse(const check *c, const tally *t, const rapt_check_problem *p, const rapt_result *r)
{
    const rapt_caps *caps = rapt_device_caps(c->devices[t->mask]);
    return t->kernel || (c->random > 0 && r->error.status == RAPT_ERROR_UNSUPPORTED) || (p->c.dtype != RAPT_F32 && !(caps->features & RAPT_FEATURE_BIT(STORAGE_16BIT)));
}

static void note_reason(check *c, const char *message)
{
    char text[sizeof c->reasons[0].text];
    size_t n = 0;
    snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, message);
    while (n < c->reason_count && strcmp(c->reasons[n].text, text) != 0)
        n++;
    if (n == MAX_REASONS)
        return;
    if (n == c->reason_count)
        memcpy(c->reasons[c->reason_count++].text, text, sizeof text);
    c->reasons[n].count++;
}

static void note_refusal(check *c, tally *t, const rapt_error *error)
{
    t->refused++;
    snprintf(t->refusal, sizeof t->refusal, "%.255s", error->message);
    note_reason(c, error->message);
}

static void run_one(check *c, const rapt_check_problem *p, tally *t)
{
    const rapt_result r = rapt_check_run(c->devices[t->mask], p, t->kernel, c->repeats);
    c->runs++;
    c->repeated += r.runs > 1 ? r.runs - 1 : 0;
    c->differing += r.differing;
    if (r.verdict == RAPT_CHECK_PASS) {
        const double worst = fmax(ratio(&r.out), ratio(&r.lse));
        t->pass++;
        if (worst > t->worst) {
            t->worst = worst;
            memcpy(t->worst_case, p->c.name, sizeof t->worst_case);
        }
    } else if (r.verdict == RAPT_CHECK_REFUSED && may_refuse(c, t, p, &r)) {
        note_refusal(c, t, &r.error);
    } else {
        char message[700];
        snprintf(message, sizeof message, "%s%s", r.verdict == RAPT_CHECK_REFUSED ? "refused: " : "",
                 r.verdict == RAPT_CHECK_FAIL ? r.message : r.error.message);
        t->fail++;
        report_failure(c, p, t, message, &r);
        c->lost = r.verdict == RAPT_CHECK_ERROR && r.error.status == RAPT_ERROR_DEVICE_LOST;
    }
}

/* Each row on one case only: then rows are counted for the progress, else cases. */
static bool counts_rows(const check *c, size_t first)
{
    return c->tallies[first].kernel && !c->o->filter && !c->o->one_case && !c->o->kernel && !c->o->full;
}

/* The number of the n-th random case. For a row alone few of each group: most compositions are not for it, and only a plan is made of these. */
static uint64_t random_number(const check *c, size_t n)
{
    return c->o->kernel ? n / ROW_GROUP * (uint64_t)RAPT_CASE_RANDOM_GROUP + n % ROW_GROUP : n;
}

/* Whether this run's part has case `n` for tally `t`: parts divide the cases, or the rows where each runs one case. */
static bool has_share(const check *c, size_t t, size_t n)
{
    const size_t unit = counts_rows(c, t) ? t : c->random > 0 ? (size_t)(random_number(c, n) / RAPT_CASE_RANDOM_GROUP) : n; /* a group's pipelines are made once */
    return unit % c->parts == c->part;
}

/* Which cases a tally takes. The bare choice, and a row alone: all. A mask: the core ones. A row: the first
 * core one that it accepts (if none: run_others), with --full all that it accepts. */
static bool takes(const check *c, const tally *t, const rapt_case *one, size_t n)
{
    if (c->random > 0 && !t->kernel) { /* each under one mask */
        const size_t mask = n / RAPT_CASE_RANDOM_GROUP % c->mask_count;
        return t->mask == (c->devices[mask] ? mask : 0);
    }
    if (c->o->filter || c->o->one_case || c->o->kernel || (!t->kernel && t->mask == 0))
        return true;
    return (one->groups & RAPT_CASE_CORE) && (!t->kernel || c->o->full || t->pass + t->fail == 0);
}

static bool plans(const check *c, const rapt_check_problem *p, const tally *t, rapt_error *why)
{
    rapt_attention_desc d = p->desc;
    rapt_plan *plan = NULL;
    d.kernel = t->kernel;
    const bool good = rapt_attention_plan(c->devices[t->mask], &d, &plan, why) == RAPT_OK;
    rapt_plan_destroy(&plan);
    return good;
}

/* Whether the row takes a case by chance, which most are not for: a plan costs far less than the oracle. */
static bool suits(check *c, const rapt_case *one, tally *t)
{
    if (c->random == 0 || !t->kernel)
        return true;
    rapt_check_problem p = {0};
    rapt_error error = {0};
    const bool good = !rapt_check_problem_make(one, 0, &p) || plans(c, &p, t, &error); /* no memory: told when it runs */
    rapt_check_problem_free(&p);
    if (!good)
        note_refusal(c, t, &error);
    return good;
}

static size_t finished_rows(const check *c, size_t first, size_t last)
{
    size_t finished = 0;
    for (size_t t = first; t < last; t++)
        finished += c->tallies[t].pass + c->tallies[t].fail > 0;
    return finished;
}

/* The tallies [first, last) over every case that they take. Pipelines of rows that are never chosen here can
 * be dear to compile: those come last. */
static int run_tallies(check *c, size_t first, size_t last)
{
    if (first == last)
        return TOOL_GOOD;
    const bool rows = counts_rows(c, first);
    c->progress = tool_progress_begin(rows ? last - first : c->case_count);
    for (size_t n = 0; n < c->case_count && !c->lost && !tool_interrupted(); n++) {
        const rapt_case by_chance = c->random > 0 ? rapt_case_random(c->seed, random_number(c, n)) : (rapt_case){0};
        const rapt_case *one = c->random > 0 ? &by_chance : &c->cases[n];
        rapt_check_problem p = {0};
        bool made = false;
        for (size_t t = first; t < last && !c->lost && !tool_interrupted(); t++) {
            if (!has_share(c, t, n) || !takes(c, &c->tallies[t], one, n) || !suits(c, one, &c->tallies[t]))
                continue;
            if (!made && !rapt_check_problem_make(one, rapt_check_problem_row_step(one, c->random > 0 ? RANDOM_LIMIT : ORACLE_LIMIT), &p)) {
                rapt_check_problem_free(&p);
                return tool_no_memory();
            }
            made = true;
            char what[320], name[96];
            tally_name(c, &c->tallies[t], name);
            snprintf(what, sizeof what, "%s, %s", one->name, name);
            tool_progress_step(&c->progress, rows ? finished_rows(c, first, last) : n, what);
            run_one(c, &p, &c->tallies[t]);
        }
        if (made)
            rapt_check_problem_free(&p);
    }
    tool_progress_clear(&c->progress);
    return TOOL_GOOD;
}

/* The rows from tally `first` on that no core case suited, each on the first of all cases that it accepts: what a plan says of one
 * costs far less than its oracle. */
static int run_others(check *c, size_t first)
{
    size_t count, left = c->tally_count - first - finished_rows(c, first, c->tally_count);
    rapt_case *cases = rapt_cases(RAPT_CASE_FULL, NULL, &count);
    bool *tried = calloc(c->tally_count, sizeof *tried), memory = cases && tried;
    c->progress = tool_progress_begin(count);
    for (size_t n = 0; n < count && memory && left > 0 && !c->lost && !tool_interrupted(); n++) {
        rapt_check_problem p = {0};
        memory = rapt_check_problem_make(&cases[n], 0, &p);
        bool expected = false;
        tool_progress_step(&c->progress, n, cases[n].name);
        for (size_t t = first; t < c->tally_count && memory && !c->lost; t++) {
            tally *row = &c->tallies[t];
            if (tried[t] || row->pass + row->fail > 0 || !has_share(c, t, n) || !plans(c, &p, row, NULL))
                continue;
            if (!expected) {
                rapt_check_problem_free(&p);
                memory = rapt_check_problem_make(&cases[n], rapt_check_problem_row_step(&cases[n], ORACLE_LIMIT), &p);
            }
            expected = tried[t] = true;
            left--;
            if (memory)
                run_one(c, &p, row);
        }
        rapt_check_problem_free(&p);
    }
    tool_progress_clear(&c->progress);
    free(cases);
    free(tried);
    return memory ? TOOL_GOOD : tool_no_memory();
}

/* ---- telling ---- */

static void summary_text(const check *c, double seconds)
{
    printf("%-34s %7s %7s %7s  %s\n", "kernel", "pass", "fail", "refused", "largest error / tolerance");
    for (size_t n = 0; n < c->tally_count; n++) {
        const tally *t = &c->tallies[n];
        char name[96];
        tally_name(c, t, name);
        printf("%-34s %7zu %7zu %7zu  ", name, t->pass, t->fail, t->refused);
        if (t->pass > 0)
            printf("%.3f %s\n", t->worst, t->worst_case);
        else
            printf("%s%.200s\n", t->refused > 0 ? "never ran: " : "never ran", t->refusal);
    }
    if (c->repeated > 0)
        printf("%zu repeats: %zu gave other bits than their first run\n", c->repeated, c->differing);
    for (size_t n = 0; n < c->reason_count && c->random > 0; n++)
        printf("%zu refused: %s\n", c->reasons[n].count, c->reasons[n].text);
    printf("%zu runs of %zu cases in %.1f s: %zu failed\n", c->runs, c->case_count, seconds, c->failures);
}

/* What there is to report, over memory that `rows` is. */
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
                              .refusal = t->refusal};
    }
    return (check_report){.title = "rapt check",
                          .caps = rapt_device_caps(c->devices[0]),
                          .device = &c->o->device,
                          .set = c->random > 0  ? "random"
                                 : c->o->one_case ? c->o->one_case
                                 : c->o->filter ? c->o->filter
                                 : c->o->full   ? "full"
                                                : "quick",
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

static int summary_json(check *c, const check_report *report, double seconds)
{
    cJSON *root = c->json;
    c->json = NULL;
    cJSON_AddItemToObject(root, "device", tool_caps_json(rapt_device_caps(c->devices[0])));
    cJSON *masks = cJSON_AddArrayToObject(root, "caps");
    for (size_t n = 0; n < c->mask_count; n++)
        if (c->devices[n])
            cJSON_AddItemToArray(masks, cJSON_CreateString(c->masks[n]));
    cJSON *kernels = cJSON_AddArrayToObject(root, "kernels");
    for (size_t n = 0; n < c->tally_count; n++) {
        const tally *t = &c->tallies[n];
        cJSON *k = cJSON_CreateObject();
        cJSON_AddStringToObject(k, "name", t->kernel ? t->kernel : "(chosen)");
        cJSON_AddStringToObject(k, "family", t->family);
        cJSON_AddStringToObject(k, "caps", c->masks[t->mask]);
        cJSON_AddNumberToObject(k, "pass", (double)t->pass);
        cJSON_AddNumberToObject(k, "fail", (double)t->fail);
        cJSON_AddNumberToObject(k, "refused", (double)t->refused);
        cJSON_AddNumberToObject(k, "worst_error_to_tolerance", t->worst);
        cJSON_AddStringToObject(k, "worst_case", t->worst_case);
        cJSON_AddItemToArray(kernels, k);
    }
    cJSON_AddNumberToObject(root, "cases", (double)c->case_count);
    cJSON_AddNumberToObject(root, "runs", (double)c->runs);
    cJSON_AddNumberToObject(root, "failed", (double)c->failures);
    cJSON_AddNumberToObject(root, "repeats", (double)c->repeated);
    cJSON_AddNumberToObject(root, "repeats_differing", (double)c->differing);
    cJSON *failures = cJSON_AddArrayToObject(root, "failures");
    for (size_t n = 0; n < c->list_count; n++)
        cJSON_AddItemToArray(failures, check_failure_json(report, &c->list[n]));
    cJSON_AddNumberToObject(root, "seconds", seconds);
    return check_json(c->coverage, "attention", root);
}

static int run_all(check *c)
{
    tool_catch_interrupts();
    int code = tool_kernel_known(c->o->kernel);
    if (code == TOOL_GOOD)
        code = open_devices(c);
    fflush(stdout);
    if (code == TOOL_GOOD)
        code = list_tallies(c);
    const double start = tool_now_ns();
    size_t chosen = 0;
    while (chosen < c->tally_count && !c->tallies[chosen].kernel)
        chosen++;
    if (code == TOOL_GOOD)
        code = run_tallies(c, 0, chosen);
    if (code == TOOL_GOOD && !c->lost && !tool_interrupted())
        code = run_tallies(c, chosen, c->tally_count);
    if (code == TOOL_GOOD && chosen < c->tally_count && counts_rows(c, chosen))
        code = run_others(c, chosen);
    if (code != TOOL_GOOD)
        return code;
    const double seconds = (tool_now_ns() - start) / 1e9;
    size_t passes = 0;
    for (size_t n = 0; n < c->tally_count; n++)
        passes += c->tallies[n].pass;
    check_row *rows = calloc(c->tally_count, sizeof *rows);
    if (!rows)
        return tool_no_memory();
    const check_report report = make_report(c, rows, seconds);
    if (c->o->json)
        code = summary_json(c, &report, seconds);
    else
        summary_text(c, seconds);
    const int written = check_report_close(&report, c->o->report, &c->report);
    code = code == TOOL_GOOD ? written : code;
    free(rows);
    const bool nothing_due = c->parts > 1 && c->runs == 0;
    return code == TOOL_GOOD ? tool_check_code(c->lost, c->runs, c->failures, passes > 0 || nothing_due) : code;
}

static int list_cases(const check *c)
{
    for (size_t n = 0; n < c->case_count; n++) {
        const rapt_case by_chance = c->random > 0 ? rapt_case_random(c->seed, random_number(c, n)) : (rapt_case){0};
        printf("%s\n", c->random > 0 ? by_chance.name : c->cases[n].name);
    }
    return TOOL_GOOD;
}

static void check_close(check *c)
{
    for (size_t n = 0; n < c->mask_count; n++) {
        check_coverage_add(c->coverage, c->devices[n]);
        rapt_device_destroy(&c->devices[n]);
    }
    rapt_runtime_destroy(&c->runtime);
    free(c->tallies);
    free(c->cases);
    free(c->list);
    if (c->report)
        fclose(c->report);
    cJSON_Delete(c->json);
}

/* Of all cases the one that was named, or a shape spelled out. */
static bool keep_case(check *c)
{
    size_t found = 0;
    while (found < c->case_count && strcmp(c->cases[found].name, c->o->one_case) != 0)
        found++;
    if (c->case_count == 0 || (found == c->case_count && !rapt_case_parse(c->o->one_case, &c->cases[0])))
        return false;
    if (found < c->case_count)
        c->cases[0] = c->cases[found];
    c->case_count = 1;
    return true;
}

static bool parse_part(const char *text, check *c)
{
    char *slash, *end = NULL;
    const long part = strtol(text, &slash, 10);
    const long parts = *slash == '/' ? strtol(slash + 1, &end, 10) : 0;
    if (parts < 1 || parts > 1000 || end == NULL || *end != 0 || part < 1 || part > parts)
        return false;
    c->part = (uint32_t)part - 1;
    c->parts = (uint32_t)parts;
    return true;
}

int check_attention(int argc, char **argv, check_coverage *coverage)
{
    check_options o = {0};
    const tool_option options[] = {
        {"--quick", NULL, "some hundred cases, two masks, each row on one case (the default)", NULL,
         &o.quick},
        {"--full", NULL,
         "every case, every mask, every row, three times each and compared bit for\n"
         "bit; hours on a software device, which is slow to compile",
         NULL, &o.full},
        {"--every-row", NULL, "every kernel row on one case, not only the first of each family and type",
         NULL, &o.every_row},
        {"--kernel", "NAME", "only this kernel row, forced", &o.kernel, NULL},
        {"--chosen", NULL, "only what the planner chooses; no row is forced", NULL, &o.chosen},
        {"--filter", "TEXT", "only cases whose name contains TEXT", &o.filter, NULL},
        {"--caps", "SPEC", "only under this mask (see rapt run --help), not under the usual ones",
         &o.device.caps, NULL},
        {"--case", "NAME", "only the case of exactly this name, or of a shape such as B1H8D64N1024f32",
         &o.one_case, NULL},
        {"--repeat", "N",
         "run each N times more, compare the bits, and tell how many differed; default 0,\nfull 2. For flaky "
         "hardware: 100",
         &o.repeats, NULL},
        {"--part", "I/N", "the Ith of N parts of it, for N runs side by side: 1/2 and 2/2 are all of it", &o.part, NULL},
        {"--random", "N", "N cases composed at random instead of those of the list, each under one of the masks, or those that suit --kernel", &o.random, NULL},
        {"--seed", "S", "which random cases; default 1", &o.seed, NULL},
        {"--report", "FILE",
         "a page in Markdown for a bug report: the device and its driver, every failure\nwith the "
         "command that shows it again, every row",
         &o.report, NULL},
        {"--list", NULL, "print the names of the cases and run nothing", NULL, &o.list},
        {"--device", "SEL", "index, UUID, or part of a name; default as for rapt devices", &o.device.device,
         NULL},
        {"--no-probe", NULL,
         "without the known-answer probe before a row's first use: a row that is wrong then\n"
         "shows in the case itself by how much; one that hangs hangs",
         NULL, &o.device.no_probe},
        {"--validation", NULL, "run under the Vulkan validation layer, where installed", NULL,
         &o.device.validation},
        {"--verbose", NULL, "tell what the library does, on standard error", NULL, &o.device.verbose},
        {"--json", NULL, "the summary and every failure as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {
        "rapt check",
        "rapt check --full --device llvmpipe",
        "rapt check --caps floor --filter causal --chosen",
        "rapt check --kernel NAME --json",
        "rapt check --every-row --report report.md",
        "rapt check --chosen --repeat 100 --report flaky.md",
        "rapt check --random 5000 --seed 7",
        "rapt check --random 20000 --kernel NAME",
        "rapt check --part 1/2 & rapt check --part 2/2; wait",
        "rapt check all",
        NULL,
    };
    const tool_usage usage = {
        "rapt check [options]",
        "Computes attention cases on the device and compares with a plain double-precision\n"
        "oracle: small-integer cases for equality, the others within twice the error of a plain\n"
        "single-precision computation. Buffers, gaps and scratch start as NaN, and nothing\n"
        "outside the results may be written. The planner's choice runs every case, bare and under\n"
        "masks that lower the device; then kernel rows are forced.\n"
        "One line per failure, a summary, exit code 1 if there was one.\n"
        "Others have a help of their own: rapt check linear, for linear attention; rapt check systems,\n"
        "for the published systems; rapt check all, for these three and which rows they ran.",
        examples, options};
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &count, &code))
        return code;
    if (o.quick && o.full)
        return tool_error(TOOL_BAD_INPUT, "--quick and --full exclude each other");
    if (o.chosen && o.kernel)
        return tool_error(TOOL_BAD_INPUT, "--chosen and --kernel exclude each other");
    rapt_error error = {0};
    int64_t repeats = o.full ? 2 : 0;
    if (o.one_case && o.filter)
        return tool_error(TOOL_BAD_INPUT, "--case and --filter exclude each other");
    if (o.repeats && !tool_integer("--repeat", o.repeats, 0, 10000, &repeats, &error))
        return tool_report(&error);
    int64_t random = 0, seed = 1;
    if ((o.random && !tool_integer("--random", o.random, 1, 10000000, &random, &error)) ||
        (o.seed && !tool_integer("--seed", o.seed, 0, INT64_MAX, &seed, &error)))
        return tool_report(&error);
    if (o.random && (o.filter || o.one_case || o.full || o.every_row || o.quick))
        return tool_error(TOOL_BAD_INPUT, "--random takes no other choice of cases, and of rows --kernel alone");
    if (o.seed && !o.random)
        return tool_error(TOOL_BAD_INPUT, "--seed goes with --random");
    check c = {.o = &o, .coverage = coverage, .repeats = (uint32_t)repeats, .parts = 1,
               .random = (uint64_t)random, .seed = (uint64_t)seed};
    if (o.part && !parse_part(o.part, &c))
        return tool_error(TOOL_BAD_INPUT, "--part %.40s: is not I/N with I from 1 to N, and N at most 1000", o.part);
    c.cases = rapt_cases(o.one_case ? RAPT_CASE_FULL | RAPT_CASE_BENCH
                         : o.full   ? RAPT_CASE_FULL
                                    : RAPT_CASE_QUICK,
                         o.filter, &c.case_count);
    c.case_count = c.random > 0 && c.cases ? c.random : c.case_count;
    c.list = calloc(MAX_FAILURES, sizeof *c.list);
    c.json = o.json ? cJSON_CreateObject() : NULL;
    if (!c.cases || !c.list)
        code = tool_no_memory();
    else if (o.one_case && !keep_case(&c))
        code = tool_error(TOOL_BAD_INPUT,
                          "case '%.80s': neither a known name (rapt check --full --list) nor a shape such as "
                          "B1H8D64N1024f32",
                          o.one_case);
    else if (c.case_count == 0)
        code = tool_error(TOOL_BAD_INPUT, "no case's name contains '%.60s'; rapt check --list shows them",
                          o.filter);
    else if (o.list)
        code = list_cases(&c);
    else if ((code = check_report_open(o.report, &c.report)) == TOOL_GOOD)
        code = run_all(&c);
    check_close(&c);
    return code;
}
