/* Cases: proven, then timed in rounds that take turns. */
#include "bench.h"
#include "grid_options.h"
#include "sensors.h"

#include "bench/os.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ORACLE_LIMIT 2e8         /* multiply-adds of a proof; beyond, rows are sampled */
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

/* ---- sizes ---- */

static double span(const rapt_tensor *t)
{
    double last = 0;
    for (uint32_t axis = 0; axis < t->rank; axis++)
        last += t->size[axis] > 0 ? ((double)t->size[axis] - 1) * (double)t->stride[axis] : 0;
    return (last + 1) * (double)rapt_dtype_size(t->dtype);
}

static double output_elements(const rapt_case *c)
{
    return (double)c->batch * (double)(c->q_heads > c->kv_heads ? c->q_heads : c->kv_heads) * (double)c->nq *
           (double)c->d_v;
}

/* Of its tensors, gaps included. */
static double bytes_of(const bench_case *at)
{
    const rapt_case *c = &at->c;
    if (at->as)
        return span(&at->as->q) + span(&at->as->k) + span(&at->as->v) + span(&at->as->out);
    const double element = (double)rapt_dtype_size(c->dtype);
    return element * (output_elements(c) +
                      (double)c->batch * ((double)c->q_heads * (double)c->nq * (double)c->d_qk +
                                          (double)c->kv_heads * (double)c->nk * (double)(c->d_qk + c->d_v)));
}

/* Systems promise memory that they do not have and end who uses it: what cannot fit is not tried. The tensors
 * here and, on devices that share the memory, there; and four times the output in double precision for the
 * proof. */
static bool fits_memory(bench_case *c)
{
    const double need = 2 * bytes_of(c) + 4 * 8 * output_elements(&c->c),
                 have = (double)rapt_bench_ram_bytes();
    if (have <= 0 || need <= 0.75 * have)
        return true;
    snprintf(c->message, sizeof c->message,
             "its tensors and their proof need %.3g GB of memory, this machine has %.3g", need / 1e9,
             have / 1e9);
    c->status = BENCH_REFUSED;
    return false;
}

/* ---- proof ---- */

static void fail(bench *b, bench_case *c, rapt_status status, const char *message)
{
    c->status = status == RAPT_ERROR_UNSUPPORTED ? BENCH_REFUSED : BENCH_FAILED;
    const int code = tool_exit_code(status);
    b->lost = b->lost || code == TOOL_DEVICE_LOST;
    b->failed_code = code > b->failed_code && c->status == BENCH_FAILED ? code : b->failed_code;
    snprintf(c->message, sizeof c->message, "%.390s", message[0] ? message : rapt_status_name(status));
}

/* One line from the plan's list of reasons. */
static void tell_why(bench_case *c, const rapt_plan *plan)
{
    char *text = tool_explain(plan, RAPT_JSON);
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    const cJSON *one, *next = NULL, *chosen = NULL;
    size_t eligible = 0;
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(json, "candidates"))
    {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "chosen"))) {
            chosen = one;
        } else if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "eligible"))) {
            next = next ? next : one;
            eligible++;
        }
    }
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(chosen, "reason"),
                *score = cJSON_GetObjectItemCaseSensitive(chosen, "score"),
                *other = cJSON_GetObjectItemCaseSensitive(next, "kernel");
    if (c->kernel)
        snprintf(c->why, sizeof c->why, "asked for by name");
    else if (cJSON_IsString(reason) && reason->valuestring[0])
        snprintf(c->why, sizeof c->why, "%.190s", reason->valuestring);
    else if (cJSON_IsNumber(score))
        snprintf(c->why, sizeof c->why, "preference %.0f; %zu other rows could%s%.64s", score->valuedouble,
                 eligible, cJSON_IsString(other) ? ", next " : "",
                 cJSON_IsString(other) ? other->valuestring : "");
    cJSON_Delete(json);
    free(text);
}

static void describe(bench_case *c, const bench_live *live)
{
    const rapt_check_problem *p = &live->problem;
    const rapt_check_inputs in = rapt_check_problem_inputs(p);
    const double pairs = c->c.blocks && c->c.sequences == 0 ? rapt_check_attention_block_pairs(&p->desc, &in)
                                                            : rapt_check_attention_pairs(&p->desc, &in);
    double all = 0;
    for (uint32_t s = 0; s < c->c.sequences; s++)
        all += (double)c->c.length_q[s] * (double)c->c.length_k[s];
    if (c->c.sequences == 0)
        all = (double)c->c.nq * (double)c->c.nk * (double)c->c.batch;
    all *= (double)p->heads;
    c->info = live->trial.info;
    c->flops = 2.0 * (double)(c->c.d_qk + c->c.d_v) * pairs;
    c->bytes = (double)c->info.bytes_read + (double)c->info.bytes_written;
    c->density = all > 0 ? pairs / all : 0;
}

bool bench_case_open(bench *b, bench_device *d, bench_case *c, bench_live *live)
{
    rapt_error error = {0};
    rapt_memory_info before, after;
    *live = (bench_live){0};
    c->status = BENCH_UNTIMED;
    c->joules = -1;
    if (!fits_memory(c))
        return false;
    const uint64_t step = rapt_check_problem_row_step(&c->c, ORACLE_LIMIT);
    c->sampled = step > 1;
    rapt_device_memory(d->device, &before);
    if (!rapt_check_problem_make_as(&c->c, c->as, step, &live->problem)) {
        fail(b, c, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no host memory for its tensors and the proof");
        return false;
    }
    const rapt_status status = rapt_trial_open(d->device, &live->problem, c->kernel, &live->trial, &error);
    if (status != RAPT_OK) {
        fail(b, c, status, error.message);
        return false;
    }
    rapt_device_memory(d->device, &after);
    c->memory_bytes = after.used_bytes > before.used_bytes ? after.used_bytes - before.used_bytes : 0;
    describe(c, live);
    tell_why(c, live->trial.plan);
    const rapt_result proof = rapt_trial_check(&live->trial, 0);
    c->proof = proof.out;
    c->rows = c->c.d_v > 0 ? proof.out.compared / c->c.d_v : 0;
    c->cold_seconds = (live->trial.open_ns + proof.wall_ns) / 1e9;
    if (proof.verdict == RAPT_CHECK_FAIL) {
        c->status = BENCH_WRONG;
        snprintf(c->message, sizeof c->message, "%s", proof.message);
    } else if (proof.verdict != RAPT_CHECK_PASS) {
        fail(b, c, proof.error.status, proof.error.message);
    }
    return c->status == BENCH_UNTIMED;
}

void bench_case_close(bench_live *live)
{
    rapt_trial_close(&live->trial);
    rapt_check_problem_free(&live->problem);
}

/* ---- samples ---- */

/* The mean of so many runs, in seconds. */
static bool run(bench *b, contestant *at, size_t runs, double *device, double *wall)
{
    rapt_error error = {0};
    *device = *wall = 0;
    for (size_t n = 0; n < runs; n++) {
        double device_ns, wall_ns;
        const rapt_status status = rapt_trial_submit(&at->live.trial, &device_ns, &wall_ns, &error);
        if (status != RAPT_OK) {
            fail(b, at->c, status, error.message);
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
        fail(b, c, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no host memory for its times");
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
        const rapt_result again = rapt_trial_check(&at->live.trial, 0);
        if (again.verdict == RAPT_CHECK_FAIL) {
            c->status = BENCH_WRONG;
            snprintf(c->message, sizeof c->message, "right at first, wrong after it was timed: %.330s",
                     again.message);
        } else if (again.verdict != RAPT_CHECK_PASS) {
            fail(b, c, again.error.status, again.error.message);
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
    for (size_t n = 0; n < count && !bench_interrupted() && !b->lost; n++) {
        bench_progress(b, 0, all[n].c->c.name);
        enter(b, d, &all[n], how, &one[n]);
        bench_progress(b, PROOF_SECONDS, all[n].c->c.name);
        rounds = all[n].wanted > rounds ? all[n].wanted : rounds;
    }
    warm_up(b, d, all, count);
    for (size_t round = 0; round < rounds; round++)
        for (size_t step = 0; step < count && !bench_interrupted() && !b->lost; step++) {
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
    for (size_t first = 0; first < count && !b->lost && !bench_interrupted();) {
        contestant all[BATCH_CASES] = {{0}};
        size_t n = 0;
        double bytes = 0;
        while (n < BATCH_CASES && first + n < count) {
            bytes += bytes_of(&cases[first + n]);
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

/* ---- JSON ---- */

const char *bench_case_group(const bench_case *c)
{
    if (c->c.sequences > 0)
        return "varlen";
    if (c->c.nq <= 16 && c->c.nk > c->c.nq)
        return "decode";
    if (c->c.grid.rank > 0)
        return "neighborhood";
    if (c->c.q_heads != c->c.kv_heads)
        return "gqa";
    if (c->c.window)
        return "window";
    if (c->c.causal)
        return "causal";
    return c->c.nq != c->c.nk ? "cross" : "dense";
}

static void add_shape(cJSON *o, const rapt_case *c)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {{"batch", c->batch}, {"q_heads", c->q_heads},  {"kv_heads", c->kv_heads}, {"nq", c->nq},
                   {"nk", c->nk},       {"head_dim_qk", c->d_qk}, {"head_dim_v", c->d_v}};
    cJSON *shape = cJSON_AddObjectToObject(o, "shape");
    for (size_t n = 0; n < TOOL_COUNT(members); n++)
        cJSON_AddNumberToObject(shape, members[n].name, (double)members[n].value);
    if (c->sequences > 0)
        cJSON_AddNumberToObject(shape, "sequences", c->sequences);
}

static void add_plan(cJSON *o, const bench_case *c)
{
    const rapt_plan_info *i = &c->info;
    cJSON_AddStringToObject(o, "kernel", i->kernel);
    cJSON_AddStringToObject(o, "merge_kernel", i->merge_kernel);
    cJSON_AddStringToObject(o, "why", c->why);
    cJSON_AddStringToObject(o, "precision", i->precision);
    cJSON_AddNumberToObject(o, "key_splits", i->key_splits);
    cJSON_AddNumberToObject(o, "steps", i->steps);
    cJSON_AddNumberToObject(o, "slices", i->slices);
    cJSON_AddNumberToObject(o, "flops", c->flops);
    cJSON_AddNumberToObject(o, "bytes", c->bytes);
    cJSON_AddNumberToObject(o, "density", c->density);
    if (c->bytes > 0)
        cJSON_AddNumberToObject(o, "intensity", c->flops / c->bytes);
    cJSON_AddNumberToObject(o, "workspace_bytes", (double)i->workspace_bytes);
    cJSON_AddNumberToObject(o, "memory_bytes", (double)c->memory_bytes);
}

static void add_proof(cJSON *o, const bench_case *c)
{
    cJSON *proof = cJSON_AddObjectToObject(o, "proof");
    tool_json_number(proof, "max_error", c->proof.max_abs);
    tool_json_number(proof, "tolerance", c->proof.tolerance);
    cJSON_AddNumberToObject(proof, "rows", (double)c->rows);
    cJSON_AddBoolToObject(proof, "sampled", c->sampled);
}

static void add_times(cJSON *o, const bench_device *d, const bench_case *c)
{
    const bool stamps = bench_has_device_clock(c);
    const double median = bench_figure_of(bench_case_samples(c), c->count).median;
    bench_figure_add(o, "device", c->device, stamps ? c->count : 0, 1);
    bench_figure_add(o, "wall", c->wall, c->count, 1);
    cJSON_AddStringToObject(o, "clock", stamps ? "device" : "wall");
    tool_json_number(o, "cold_seconds", c->cold_seconds);
    if (c->joules > 0)
        cJSON_AddNumberToObject(o, "joules", c->joules);
    if (!(median > 0))
        return;
    cJSON_AddNumberToObject(o, "flops_per_second", c->flops / median);
    cJSON_AddNumberToObject(o, "bytes_per_second", c->bytes / median);
    const char *peak = "";
    bool memory;
    const double roof = bench_roof(&d->roof, c->info.kernel, c->c.dtype, c->flops, c->bytes, &peak, &memory);
    if (roof > 0) {
        cJSON_AddNumberToObject(o, "roof", roof);
        cJSON_AddNumberToObject(o, "of_roof", c->flops / median / roof);
        cJSON_AddStringToObject(o, "bound", memory ? "memory" : "compute");
        cJSON_AddStringToObject(o, "peak", peak);
    }
}

cJSON *bench_case_json(const bench_device *d, const bench_case *c)
{
    static const char *const names[] = {"untimed", "ok", "wrong", "refused", "failed"};
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", c->c.name);
    cJSON_AddStringToObject(o, "system", "attention");
    cJSON_AddStringToObject(o, "group", bench_case_group(c));
    cJSON_AddStringToObject(o, "dtype", rapt_dtype_name(c->c.dtype));
    add_shape(o, &c->c);
    cJSON_AddBoolToObject(o, "causal", c->c.causal);
    if (c->c.grid.rank > 0)
        tool_grid_json(&c->c.grid, o);
    if (c->c.window) {
        const int sides[] = {(int)c->c.window_left, (int)c->c.window_right};
        cJSON_AddItemToObject(o, "window", cJSON_CreateIntArray(sides, 2));
        cJSON_AddNumberToObject(o, "sink_tokens", (double)c->c.sink_tokens);
    }
    if (c->weight > 0)
        cJSON_AddNumberToObject(o, "calls", c->weight);
    cJSON_AddStringToObject(o, "status", names[c->status]);
    if (c->message[0])
        cJSON_AddStringToObject(o, "message", c->message);
    if (c->info.kernel[0])
        add_plan(o, c);
    if (c->info.kernel[0] && c->status != BENCH_FAILED)
        add_proof(o, c);
    if (c->status == BENCH_OK)
        add_times(o, d, c);
    return o;
}
