/* rapt tune: which kernel is the fastest for a problem on this device, kept for every later plan; and the
 * list of those that are never to be chosen. */
#include "linear_options.h"
#include "problem_options.h"
#include "progress.h"

#include "check/problem.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CANDIDATES 128

typedef struct tune_options {
    tool_problem_options problem;
    tool_linear_options linear; /* with by_linear, instead of the problem */
    tool_device_options device;
    const char *cases, *seconds, *json, *block, *unblock, *reason;
    bool dry_run, every_row, batch, list, forget, by_linear;
} tune_options;

typedef struct tune {
    const tune_options *o;
    tool_device device;
    double seconds;
    bool text_to_stderr;
    cJSON *json, *rows;
    tool_progress progress;
    size_t wrong; /* candidates */
    bool stopped;
    rapt_tune_candidate candidates[MAX_CANDIDATES];
} tune;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static FILE *output(const tune *t)
{
    return t->text_to_stderr ? stderr : stdout;
}

static int on_progress(void *user, const rapt_tune_progress *p)
{
    tune *t = user;
    char what[160];
    snprintf(what, sizeof what, "%s %s", p->stage, p->kernel);
    t->progress.total = p->total;
    tool_progress_step(&t->progress, p->done, what);
    return interrupted;
}

/* ---- telling ---- */

static const char *const states[] = {"", "slow", "WRONG", "failed"};

static void print_candidate(const tune *t, const rapt_tune_candidate *c)
{
    char median[32] = "", low[32] = "", high[32] = "", gain[64] = "";
    if (c->samples > 0) {
        tool_duration(c->median_ns, median);
        tool_duration(c->min_ns, low);
        tool_duration(c->max_ns, high);
    }
    if (c->is_default)
        snprintf(gain, sizeof gain, "default");
    else if (c->samples > 0 && c->speedup_low > 0)
        snprintf(gain, sizeof gain, "%.2fx (%.2f to %.2f)", c->speedup, c->speedup_low, c->speedup_high);
    else if (c->samples > 0)
        snprintf(gain, sizeof gain, "%.2fx", c->speedup);
    fprintf(output(t), "%c %-36s %6u %12s %12s %12s  %-22s%s%s%s\n", c->is_winner ? '*' : ' ', c->kernel,
            t->o->by_linear ? c->chunk : c->key_splits, median, low, high, gain, states[c->state], c->reason[0] ? ": " : "", c->reason);
}

/* Of linear attention, in words. */
static const char *form_of(uint32_t chunk, char text[32])
{
    if (chunk == 0)
        return "token by token";
    snprintf(text, 32, "in chunks of %u", chunk);
    return text;
}

static void print_verdict(const tune *t, const rapt_tune_result *r)
{
    FILE *out = output(t);
    char form[2][32];
    const char *kept = t->o->dry_run ? "would be kept"
                       : r->stored   ? "kept"
                                     : "not kept: the cache folder cannot be written";
    if (r->stopped)
        fprintf(out, "stopped; nothing is kept\n");
    else if (strcmp(r->kernel, r->default_kernel) == 0 && r->key_splits == r->default_key_splits && r->chunk == r->default_chunk)
        fprintf(out, "%s: the default, %s; nothing is faster beyond the spread of %u rounds\n", kept,
                r->kernel, r->rounds);
    else if (t->o->by_linear)
        fprintf(out, "%s: %s %s instead of %s %s: %.2fx (%.2f to %.2f) in %u rounds\n", kept, r->kernel, form_of(r->chunk, form[0]),
                r->default_kernel, form_of(r->default_chunk, form[1]), r->speedup, r->speedup_low, r->speedup_high, r->rounds);
    else
        fprintf(out, "%s: %s with %u key split%s instead of %s with %u: %.2fx (%.2f to %.2f) in %u rounds\n",
                kept, r->kernel, r->key_splits, r->key_splits == 1 ? "" : "s", r->default_kernel,
                r->default_key_splits, r->speedup, r->speedup_low, r->speedup_high, r->rounds);
    if (r->blocked > 0)
        fprintf(out, "%u kernel%s gave wrong results and %s blocked from now on (rapt tune --list)\n",
                r->blocked, r->blocked == 1 ? "" : "s", r->blocked == 1 ? "is" : "are");
}

static void add_json(tune *t, const char *name, const rapt_tune_result *r, uint32_t count)
{
    cJSON *row = cJSON_CreateObject();
    if (name)
        cJSON_AddStringToObject(row, "case", name);
    cJSON_AddStringToObject(row, "problem", r->problem);
    cJSON_AddStringToObject(row, "kernel", r->kernel);
    cJSON_AddNumberToObject(row, "key_splits", r->key_splits);
    cJSON_AddStringToObject(row, "default_kernel", r->default_kernel);
    cJSON_AddNumberToObject(row, "default_key_splits", r->default_key_splits);
    if (t->o->by_linear) {
        cJSON_AddNumberToObject(row, "chunk", r->chunk);
        cJSON_AddNumberToObject(row, "default_chunk", r->default_chunk);
    }
    tool_json_number(row, "speedup", r->speedup);
    tool_json_number(row, "speedup_low", r->speedup_low);
    tool_json_number(row, "speedup_high", r->speedup_high);
    cJSON_AddNumberToObject(row, "rounds", r->rounds);
    cJSON_AddBoolToObject(row, "stored", r->stored != 0);
    cJSON_AddBoolToObject(row, "stopped", r->stopped != 0);
    cJSON_AddNumberToObject(row, "blocked", r->blocked);
    cJSON *list = cJSON_AddArrayToObject(row, "candidates");
    for (uint32_t i = 0; i < count; i++) {
        const rapt_tune_candidate *c = &t->candidates[i];
        static const char *const names[] = {"timed", "slow", "wrong", "failed"};
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "kernel", c->kernel);
        cJSON_AddNumberToObject(o, "key_splits", c->key_splits);
        if (t->o->by_linear)
            cJSON_AddNumberToObject(o, "chunk", c->chunk);
        cJSON_AddStringToObject(o, "state", names[c->state]);
        cJSON_AddBoolToObject(o, "default", c->is_default != 0);
        cJSON_AddBoolToObject(o, "winner", c->is_winner != 0);
        cJSON_AddNumberToObject(o, "samples", c->samples);
        tool_json_figures(o, "time", (tool_figures){c->median_ns, c->min_ns, c->max_ns});
        tool_json_number(o, "speedup", c->speedup);
        tool_json_number(o, "speedup_low", c->speedup_low);
        tool_json_number(o, "speedup_high", c->speedup_high);
        tool_json_number(o, "error", c->error);
        cJSON_AddStringToObject(o, "reason", c->reason);
        cJSON_AddItemToArray(list, o);
    }
    cJSON_AddItemToArray(t->rows, row);
}

/* ---- tuning ---- */

/* Attention, or linear attention. */
static int tune_one(tune *t, const char *name, const rapt_attention_desc *given, const rapt_linear_desc *linear)
{
    rapt_tune_options options = RAPT_TUNE_OPTIONS_INIT;
    rapt_tune_result result = RAPT_TUNE_RESULT_INIT;
    rapt_error error = {0};
    options.seconds = t->seconds;
    options.dry_run = t->o->dry_run;
    options.every_row = t->o->every_row;
    options.progress = on_progress;
    options.user = t;
    t->progress = tool_progress_begin(1);
    rapt_status status;
    if (linear) {
        status = rapt_linear_tune(t->device.device, linear, &options, &result, t->candidates, MAX_CANDIDATES, &error);
    } else {
        rapt_attention_desc desc = *given;
        desc.flags |= t->o->batch ? RAPT_ATTENTION_BATCH_TUNED : 0;
        status = rapt_attention_tune(t->device.device, &desc, &options, &result, t->candidates, MAX_CANDIDATES, &error);
    }
    tool_progress_clear(&t->progress);
    const uint32_t count =
        result.candidate_count < MAX_CANDIDATES ? result.candidate_count : (uint32_t)MAX_CANDIDATES;
    fprintf(output(t), "\n%s%s%s\n", name ? name : "", name ? ": " : "", result.problem);
    if (count > 0)
        fprintf(output(t), "  %-36s %6s %12s %12s %12s  %s\n", "kernel", linear ? "chunk" : "splits", "median", "min", "max",
                "speed beside the default");
    for (uint32_t i = 0; i < count; i++) {
        print_candidate(t, &t->candidates[i]);
        t->wrong += t->candidates[i].state == RAPT_TUNE_WRONG;
    }
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    print_verdict(t, &result);
    fflush(stdout);
    t->stopped = result.stopped != 0;
    if (t->rows)
        add_json(t, name, &result, count);
    return TOOL_GOOD;
}

/* A case of the table or spelled as a shape; only its descriptor is wanted. */
static int tune_case(tune *t, const rapt_case *c)
{
    rapt_check_problem p;
    const bool made = rapt_check_problem_make(c, 0, &p);
    const int code = made ? tune_one(t, c->name, &p.desc, NULL) : tool_no_memory();
    rapt_check_problem_free(&p);
    return code;
}

static bool find_case(const char *name, const rapt_case *known, size_t count, rapt_case *out)
{
    for (size_t n = 0; n < count; n++)
        if (strcmp(known[n].name, name) == 0) {
            *out = known[n];
            return true;
        }
    return rapt_case_parse(name, out);
}

static int tune_cases(tune *t)
{
    const bool usual = strcmp(t->o->cases, "usual") == 0;
    size_t count;
    rapt_case *known = rapt_cases(usual ? RAPT_CASE_BENCH : RAPT_CASE_FULL | RAPT_CASE_BENCH, NULL, &count);
    int code = known ? TOOL_GOOD : tool_no_memory();
    for (size_t n = 0; n < count && usual && code == TOOL_GOOD && !t->stopped; n++)
        code = tune_case(t, &known[n]);
    for (const char *at = t->o->cases; !usual && code == TOOL_GOOD && !t->stopped;) {
        char name[192];
        rapt_case c;
        const size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), at);
        if (find_case(name, known, count, &c))
            code = tune_case(t, &c);
        else
            code = tool_error(TOOL_BAD_INPUT,
                              "case '%.80s': neither a known name (rapt bench --list) nor a shape such as "
                              "B1H8D64N1024f32",
                              name);
        if (at[length] == 0)
            break;
        at += length + 1;
    }
    free(known);
    return code;
}

static int tune_shape(tune *t)
{
    rapt_error error = {0};
    tool_problem problem = {0};
    rapt_linear_desc linear;
    int code = TOOL_GOOD;
    if (t->o->by_linear ? !tool_linear_make(&t->o->linear, &linear, &error)
                        : !tool_problem_make(&t->o->problem, false, &problem, &error))
        code = tool_report(&error);
    else
        code = tune_one(t, NULL, &problem.desc, t->o->by_linear ? &linear : NULL);
    tool_problem_free(&problem);
    return code;
}

static int run_tuning(tune *t)
{
    t->json = t->o->json ? cJSON_CreateObject() : NULL;
    if (t->json) {
        cJSON_AddItemToObject(t->json, "device", tool_caps_json(rapt_device_caps(t->device.device)));
        cJSON_AddBoolToObject(t->json, "dry_run", t->o->dry_run);
        t->rows = cJSON_AddArrayToObject(t->json, "problems");
    }
    signal(SIGINT, on_interrupt);
    int code = t->o->cases ? tune_cases(t) : tune_shape(t);
    signal(SIGINT, SIG_DFL);
    if (t->json && cJSON_GetArraySize(t->rows) > 0) { /* what was measured before something failed, too */
        cJSON *json = t->json;
        t->json = NULL;
        const int written = tool_json_print(json, t->o->json);
        code = code == TOOL_GOOD ? written : code;
    }
    if (code == TOOL_GOOD && t->wrong > 0)
        return tool_error(TOOL_CHECK_FAILED, "%zu candidate%s gave wrong results", t->wrong,
                          t->wrong == 1 ? "" : "s");
    return code;
}

/* ---- the lists ---- */

static int print_lists(tune *t)
{
    rapt_device *d = t->device.device;
    cJSON *root = t->o->json ? cJSON_CreateObject() : NULL;
    cJSON *choices = root ? cJSON_AddArrayToObject(root, "tuned") : NULL;
    cJSON *blocks = root ? cJSON_AddArrayToObject(root, "blocked") : NULL;
    rapt_tuned c = RAPT_TUNED_INIT;
    rapt_blocked b = RAPT_BLOCKED_INIT;
    fprintf(output(t), "%u measured choices\n", rapt_device_tuned_count(d));
    for (uint32_t i = 0; rapt_device_tuned(d, i, &c, NULL) == RAPT_OK; i++) {
        const bool same = strcmp(c.kernel, c.default_kernel) == 0 && c.key_splits == 0 && c.form == 0;
        char splits[32] = "";
        if (c.key_splits > 0)
            snprintf(splits, sizeof splits, " with %u key splits", c.key_splits);
        else if (c.chunk > 0)
            snprintf(splits, sizeof splits, " in chunks of %u", c.chunk);
        else if (c.form == RAPT_LINEAR_RECURRENT)
            snprintf(splits, sizeof splits, " token by token");
        if (same)
            fprintf(output(t), "  %s: the default, %s, of %u\n", c.problem, c.kernel, c.candidates);
        else
            fprintf(output(t), "  %s: %s%s, %.2fx (%.2f to %.2f) the default %s, of %u\n", c.problem,
                    c.kernel, splits, c.speedup, c.speedup_low, c.speedup_high, c.default_kernel,
                    c.candidates);
        if (!root)
            continue;
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "problem", c.problem);
        cJSON_AddStringToObject(o, "kernel", c.kernel);
        cJSON_AddNumberToObject(o, "key_splits", c.key_splits);
        if (c.form != 0)
            cJSON_AddNumberToObject(o, "chunk", c.chunk);
        cJSON_AddStringToObject(o, "default_kernel", c.default_kernel);
        tool_json_number(o, "speedup", c.speedup);
        tool_json_number(o, "speedup_low", c.speedup_low);
        tool_json_number(o, "speedup_high", c.speedup_high);
        cJSON_AddNumberToObject(o, "candidates", c.candidates);
        cJSON_AddItemToArray(choices, o);
    }
    fprintf(output(t), "%u kernels blocked\n", rapt_device_blocked_count(d));
    for (uint32_t i = 0; rapt_device_blocked(d, i, &b, NULL) == RAPT_OK; i++) {
        fprintf(output(t), "  %s: %s\n", b.kernel, b.reason);
        if (!root)
            continue;
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "kernel", b.kernel);
        cJSON_AddStringToObject(o, "reason", b.reason);
        cJSON_AddItemToArray(blocks, o);
    }
    return root ? tool_json_print(root, t->o->json) : TOOL_GOOD;
}

static int change_lists(tune *t)
{
    rapt_device *d = t->device.device;
    rapt_error error = {0};
    uint32_t stored = 1;
    if (t->o->block && rapt_device_block(d, t->o->block, t->o->reason, &stored, &error) != RAPT_OK)
        return tool_report(&error);
    if (t->o->unblock && rapt_device_unblock(d, t->o->unblock, &stored, &error) != RAPT_OK)
        return tool_report(&error);
    if (!stored)
        return tool_error(TOOL_BAD_INPUT,
                          "the block list cannot be kept: no cache folder that can be written");
    if (t->o->block)
        fprintf(output(t), "%s is blocked\n", t->o->block);
    if (t->o->unblock)
        fprintf(output(t), "%s is not blocked any more\n", t->o->unblock);
    if (t->o->forget)
        fprintf(output(t), "%u measured choices forgotten\n", rapt_device_forget_tuned(d));
    return TOOL_GOOD;
}

static int start(tune *t)
{
    const tune_options *o = t->o;
    rapt_error error = {0};
    const bool changes = o->block || o->unblock || o->forget;
    if (o->by_linear && !o->linear.shape)
        return tool_error(TOOL_BAD_INPUT, "what to tune? --shape B,H,N,DK[,DV]");
    if (!o->by_linear && !o->cases && !o->problem.shape && !o->list && !changes)
        return tool_error(TOOL_BAD_INPUT, "what to tune? --shape B,HQ,HKV,%s,D[,DV]%s",
                          o->problem.grid.used ? "X[,Y[,Z]]" : "NQ,NK", o->problem.grid.used ? "" : " or --case LIST");
    if ((o->cases || o->problem.shape) && (o->list || changes))
        return tool_error(TOOL_BAD_INPUT, "--list, --forget, --block and --unblock go without a problem");
    if (o->cases && o->problem.shape)
        return tool_error(TOOL_BAD_INPUT, "--shape and --case exclude each other");
    if (o->seconds && !tool_number("--seconds", o->seconds, &t->seconds, &error))
        return tool_report(&error);
    if (t->seconds < 0)
        return tool_error(TOOL_BAD_INPUT, "--seconds '%.40s': must not be negative", o->seconds);
    t->text_to_stderr = o->json && strcmp(o->json, "-") == 0;
    int code = tool_kernel_known(o->block);
    if (code == TOOL_GOOD)
        code = tool_kernel_known(o->unblock);
    if (code == TOOL_GOOD)
        code = tool_device_open(&o->device, t->text_to_stderr, &t->device);
    if (code == TOOL_GOOD && changes)
        code = change_lists(t);
    if (code == TOOL_GOOD && o->list)
        return print_lists(t);
    return code != TOOL_GOOD || changes ? code : run_tuning(t);
}

int tool_tune(int argc, char **argv)
{
    tune_options o = {0};
    tool_problem_options *p = &o.problem;
    const tool_option options[] = {
        TOOL_OPTIONS_SHAPE(o.problem),
        {"--case", "LIST", "comma list of case names or shapes, as in rapt bench; usual: all that it times",
         &o.cases, NULL},
        {"--layout", "bhnd|bnhd",
         "axes in memory: (batch, heads, sequence, head_dim), the default, or with\nsequence before heads",
         &p->layout, NULL},
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default f32", &p->dtype, NULL},
        {"--causal", NULL, "query i sees keys j <= i + (Nk - Nq) + offset", NULL, &p->causal},
        {"--causal-offset", "N", "the offset; may be negative; default 0", &p->causal_offset, NULL},
        {"--batch", NULL, "for calls with RAPT_ATTENTION_BATCH_TUNED, and this batch alone", NULL, &o.batch},
        {"--seconds", "X", "of timed runs a problem, about; default 2", &o.seconds, NULL},
        {"--every-row", NULL, "rows too that are not meant for this kind of device", NULL, &o.every_row},
        {"--dry-run", NULL, "keep nothing", NULL, &o.dry_run},
        {"--list", NULL, "print what is kept, and the block list", NULL, &o.list},
        {"--forget", NULL, "forget every measured choice on this device", NULL, &o.forget},
        {"--block", "ROW", "never choose this kernel row on this device", &o.block, NULL},
        {"--reason", "TEXT", "why, for the list", &o.reason, NULL},
        {"--unblock", "ROW", "take it off the list", &o.unblock, NULL},
        {"--json", "FILE", "the results as JSON into FILE, - for standard output", &o.json, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_option grid_options[] = {
        {"--shape", "B,HQ,HKV,X[,Y[,Z]],D[,DV]",
         "batch, query heads, kv heads, axes of the grid, head_dim of Q and K, and\nof V (default: the same)", &p->shape, NULL},
        TOOL_OPTIONS_GRID(p->grid),
        {"--layout", "bhnd|bnhd", "axes in memory: heads before the grid, the default, or behind it", &p->layout, NULL},
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default f32", &p->dtype, NULL},
        {"--batch", NULL, "for calls with RAPT_ATTENTION_BATCH_TUNED, and this batch alone", NULL, &o.batch},
        {"--seconds", "X", "of timed runs, about; default 2", &o.seconds, NULL},
        {"--every-row", NULL, "rows too that are not meant for this kind of device", NULL, &o.every_row},
        {"--dry-run", NULL, "keep nothing", NULL, &o.dry_run},
        {"--json", "FILE", "the results as JSON into FILE, - for standard output", &o.json, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const grid_examples[] = {
        "rapt tune neighborhood --shape 1,8,8,64,64,64 --kernel-size 7x7",
        "rapt tune neighborhood --shape 1,4,4,16,32,32,64 --kernel-size 5x7x7 --causal 0 --seconds 10",
        NULL,
    };
    static const char *const examples[] = {
        "rapt tune --shape 1,8,8,1024,1024,64",
        "rapt tune neighborhood --help",
        "rapt tune linear --help",
        "rapt tune --case B1H32K8D128Q1N4096f16,B1H8D64N2048f32c --seconds 10",
        "rapt tune --case usual --dry-run --json tuned.json",
        "rapt tune --block naive-f32 --reason \"hangs on this driver\"",
        "rapt tune --list",
        NULL,
    };
    const tool_usage usage = {
        "rapt tune --shape B,HQ,HKV,NQ,NK,D[,DV] | --case LIST [options]",
        "Times every kernel row that takes the problem, the naive one too, each proven first, in turns\n"
        "with the one that is chosen by default. One that is faster by more than the spread is kept in\n"
        "the cache folder, for this device, driver and build; from then on plans take it, whatever the\n"
        "batch, and rapt explain says so. A row that gives wrong results goes onto the block list, and\n"
        "the exit code is 1.",
        examples, options};
    const tool_usage grid_usage = {"rapt tune neighborhood --shape B,HQ,HKV,X[,Y[,Z]],D[,DV] --kernel-size KxK [options]",
                                   "The same for neighborhood attention (see rapt run neighborhood --help).", grid_examples,
                                   grid_options};
    const tool_option linear_options[] = {
        TOOL_OPTIONS_LINEAR(o.linear),
        {"--seconds", "X", "of timed runs, about; default 2", &o.seconds, NULL},
        {"--every-row", NULL, "rows too that are not meant for this kind of device", NULL, &o.every_row},
        {"--dry-run", NULL, "keep nothing", NULL, &o.dry_run},
        {"--json", "FILE", "the results as JSON into FILE, - for standard output", &o.json, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const linear_examples[] = {
        "rapt tune linear --shape 1,8,4096,64 --decay fixed",
        "rapt tune linear --shape 1,16,2048,128 --rule delta --decay token --beta --dtype f16",
        NULL,
    };
    const tool_usage linear_usage = {
        "rapt tune linear --shape B,H,N,DK[,DV] [options]",
        "The same for linear attention (see rapt run linear --help): every kernel row, token by token and\n"
        "in chunks of 16 to 256 tokens.",
        linear_examples, linear_options};
    const char *words[1];
    size_t count;
    int code;
    p->grid.used = argc > 1 && strcmp(argv[1], "neighborhood") == 0;
    o.by_linear = argc > 1 && strcmp(argv[1], "linear") == 0;
    if (!tool_arguments(argc, argv, p->grid.used ? &grid_usage : o.by_linear ? &linear_usage : &usage, words,
                        p->grid.used || o.by_linear, &count, &code))
        return code;
    static tune t; /* large */
    t = (tune){.o = &o};
    code = start(&t);
    tool_device_close(&t.device);
    cJSON_Delete(t.json);
    return code;
}
