/* A case on a device: opened and proven, run, let go. Attention comes from the table of cases or a recording, published systems from
 * their table, linear attention from a recording. */
#include "bench.h"

#include "bench/os.h"

#include <stdlib.h>
#include <string.h>

#define ORACLE_LIMIT 2e8  /* multiply-adds of a proof; beyond, rows are sampled */
#define LINEAR_LIMIT 4e9 /* of linear attention's, which is of all tokens: beyond, the case is refused */

bool bench_case_is_system(const bench_case *c)
{
    return c->system.problem[0] != 0;
}

bool bench_case_is_attention(const bench_case *c)
{
    return !bench_case_is_system(c) && c->linear == NULL;
}

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

/* Numbers of a problem as systems.h writes them: products of the comma lists before the bar. */
static double system_elements(const char *problem)
{
    double sum = 0, product = 0;
    for (const char *at = problem; *at && *at != '|'; at++) {
        char *end;
        if (*at == '=' || *at == ',') {
            const double number = (double)strtoull(at + 1, &end, 10);
            product = *at == '=' ? number : product * number;
            at = end - 1;
        } else if (*at == ' ') {
            sum += product;
            product = 0;
        }
    }
    return sum + product;
}

static double linear_bytes(const rapt_linear_desc *d)
{
    const rapt_tensor *const all[] = {&d->q, &d->k, &d->v, &d->out, &d->a, &d->b, &d->decay, &d->gate, &d->beta, &d->state_in, &d->state_out};
    double sum = 0;
    for (size_t n = 0; n < TOOL_COUNT(all); n++)
        sum += all[n]->dtype == RAPT_DTYPE_NONE ? 0 : span(all[n]);
    return sum;
}

double bench_case_bytes(const bench_case *at)
{
    const rapt_case *c = &at->c;
    const double element = (double)rapt_dtype_size(c->dtype);
    if (bench_case_is_system(at))
        return 2 * 4 * system_elements(at->system.problem); /* about as much comes out as goes in */
    if (at->linear)
        return linear_bytes(&at->linear->linear);
    if (at->as)
        return span(&at->as->q) + span(&at->as->k) + span(&at->as->v) + span(&at->as->out);
    return element * (output_elements(c) +
                      (double)c->batch * ((double)c->q_heads * (double)c->nq * (double)c->d_qk +
                                          (double)c->kv_heads * (double)c->nk * (double)(c->d_qk + c->d_v)));
}

/* Systems promise memory that they do not have and end who uses it: what cannot fit is not tried. The tensors
 * here and, on devices that share the memory, there; and four times the output in double precision for the
 * proof. */
static bool fits_memory(bench_case *c)
{
    const double proof = bench_case_is_attention(c) ? output_elements(&c->c) * 8 : bench_case_bytes(c);
    const double need = 2 * bench_case_bytes(c) + 4 * proof, have = (double)rapt_bench_ram_bytes();
    if (have <= 0 || need <= 0.75 * have)
        return true;
    snprintf(c->message, sizeof c->message,
             "its tensors and their proof need %.3g GB of memory, this machine has %.3g", need / 1e9,
             have / 1e9);
    c->status = BENCH_REFUSED;
    return false;
}

/* ---- what is told of it ---- */

void bench_case_fail(bench *b, bench_case *c, rapt_status status, const char *message)
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

static void describe_attention(bench_case *c, const bench_live *live)
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
    c->density = all > 0 ? pairs / all : 0;
    tell_why(c, live->trial.plan);
}

static void describe_linear(bench_case *c, const bench_live *live)
{
    c->info = live->linear.info;
    c->flops = (double)c->info.flops;
    c->density = 1;
    tell_why(c, live->linear.plan);
}

/* Of several steps the one with the most work speaks for all. */
static void describe_system(bench_case *c, const bench_live *live)
{
    const rapt_system_trial *t = live->system_trial;
    c->info = t->info;
    c->flops = (double)t->info.flops;
    c->density = 1;
    tell_why(c, t->steps[t->main_step].plan);
    if (t->recipe->step_count > 1) {
        char why[sizeof c->why];
        snprintf(why, sizeof why, "%s", c->why);
        snprintf(c->why, sizeof c->why, "step %u of %u, %.60s: %.100s", t->main_step + 1, t->recipe->step_count,
                 t->recipe->steps[t->main_step].what, why);
    }
}

/* ---- opening ---- */

static bool open_attention(bench *b, bench_device *d, bench_case *c, bench_live *live, rapt_error *error)
{
    const uint64_t step = rapt_check_problem_row_step(&c->c, ORACLE_LIMIT);
    c->sampled = step > 1;
    if (c->as) { /* what a file says goes together only if the library says so: before the oracle reads it */
        rapt_plan *plan = NULL;
        const rapt_status status = rapt_attention_plan(d->device, c->as, &plan, error);
        rapt_plan_destroy(&plan);
        if (status != RAPT_OK) {
            bench_case_fail(b, c, status, error->message);
            return false;
        }
    }
    if (!rapt_check_problem_make_as(&c->c, c->as, step, &live->problem)) {
        bench_case_fail(b, c, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no host memory for its tensors and the proof");
        return false;
    }
    const rapt_status status = rapt_trial_open(d->device, &live->problem, c->kernel, &live->trial, error);
    live->open_ns = live->trial.open_ns;
    if (status != RAPT_OK)
        bench_case_fail(b, c, status, error->message);
    return status == RAPT_OK;
}

static bool open_system(bench *b, bench_device *d, bench_case *c, bench_live *live, rapt_error *error)
{
    rapt_system_info *info = &live->info;
    rapt_status status = c->kernel ? RAPT_ERROR_INVALID : rapt_system_describe(c->system.index, info, error);
    if (c->kernel)
        snprintf(error->message, sizeof error->message, "a system's kernels cannot be forced");
    if (status == RAPT_OK && !rapt_check_system_make(info, c->system.problem, c->c.dtype, 1, &live->system)) {
        status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
        snprintf(error->message, sizeof error->message, "its tensors hold more than a proof can take in");
    }
    live->system_trial = calloc(1, sizeof *live->system_trial);
    if (status == RAPT_OK && !live->system_trial)
        status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
    if (status == RAPT_OK)
        status = rapt_system_trial_open(d->device, c->system.index, &live->system, 0, live->system_trial, error);
    live->open_ns = live->system_trial ? live->system_trial->open_ns : 0;
    if (status != RAPT_OK)
        bench_case_fail(b, c, status, error->message);
    return status == RAPT_OK;
}

/* Every token's update of the state, in double precision and in single. */
static bool open_linear(bench *b, bench_device *d, bench_case *c, bench_live *live, rapt_error *error)
{
    const rapt_linear_desc *desc = &c->linear->linear;
    const double rows = rapt_linear_state_rows(desc->feature, desc->feature_power, (uint32_t)(desc->q.size[3] > 256 ? 256 : desc->q.size[3])),
                 work = (double)desc->q.size[0] * (double)desc->out.size[1] * (double)desc->q.size[2] * rows * (double)desc->out.size[3];
    rapt_status status = RAPT_OK;
    if (work > LINEAR_LIMIT) {
        status = RAPT_ERROR_UNSUPPORTED;
        snprintf(error->message, sizeof error->message, "its proof would update %.3g elements of states, at most %.3g", work, LINEAR_LIMIT);
    }
    if (status == RAPT_OK)
        status = rapt_linear_trial_open(d->device, desc, c->linear->lengths, c->kernel, &live->linear, error);
    live->open_ns = live->linear.open_ns;
    if (status != RAPT_OK)
        bench_case_fail(b, c, status, error->message);
    return status == RAPT_OK;
}

/* ---- what differs from kind to kind ---- */

static rapt_status submit_attention(bench_live *live, double *device_ns, double *wall_ns, rapt_error *error)
{
    return rapt_trial_submit(&live->trial, device_ns, wall_ns, error);
}

static rapt_status submit_system(bench_live *live, double *device_ns, double *wall_ns, rapt_error *error)
{
    return rapt_system_trial_submit(live->system_trial, device_ns, wall_ns, error);
}

static rapt_status submit_linear(bench_live *live, double *device_ns, double *wall_ns, rapt_error *error)
{
    return rapt_linear_trial_submit(&live->linear, device_ns, wall_ns, error);
}

static rapt_result check_attention(bench_live *live)
{
    return rapt_trial_check(&live->trial, 0);
}

static rapt_result check_system(bench_live *live)
{
    return rapt_system_trial_check(live->system_trial);
}

static rapt_result check_linear(bench_live *live)
{
    return rapt_linear_trial_check(&live->linear, 0);
}

typedef struct bench_live_kind {
    bool (*open)(bench *b, bench_device *d, bench_case *c, bench_live *live, rapt_error *error);
    rapt_result (*check)(bench_live *live);
    rapt_status (*submit)(bench_live *live, double *device_ns, double *wall_ns, rapt_error *error);
    void (*describe)(bench_case *c, const bench_live *live); /* behind the proof */
} live_kind;

static const live_kind attention = {open_attention, check_attention, submit_attention, describe_attention},
                       systems = {open_system, check_system, submit_system, describe_system},
                       linear = {open_linear, check_linear, submit_linear, describe_linear};

/* How many rows the proof was of: of a system elements, of attention rows of head_dim. */
static uint64_t proven(const bench_case *c, const rapt_check_difference *d)
{
    if (bench_case_is_attention(c))
        return c->c.d_v > 0 ? d->compared / c->c.d_v : 0;
    return d->compared;
}

bool bench_case_open(bench *b, bench_device *d, bench_case *c, bench_live *live)
{
    rapt_error error = {0};
    rapt_memory_info before, after;
    *live = (bench_live){.kind = bench_case_is_system(c) ? &systems : c->linear ? &linear : &attention, .info = RAPT_SYSTEM_INFO_INIT};
    c->status = BENCH_UNTIMED;
    c->joules = -1;
    if (!fits_memory(c))
        return false;
    rapt_device_memory(d->device, &before);
    if (!live->kind->open(b, d, c, live, &error))
        return false;
    rapt_device_memory(d->device, &after);
    c->memory_bytes = after.used_bytes > before.used_bytes ? after.used_bytes - before.used_bytes : 0;
    const rapt_result proof = bench_live_check(live);
    live->kind->describe(c, live);
    c->bytes = (double)c->info.bytes_read + (double)c->info.bytes_written;
    c->proof = proof.out;
    c->rows = proven(c, &proof.out);
    c->cold_seconds = (live->open_ns + proof.wall_ns) / 1e9;
    if (proof.verdict == RAPT_CHECK_FAIL) {
        c->status = BENCH_WRONG;
        snprintf(c->message, sizeof c->message, "%s", proof.message);
    } else if (proof.verdict != RAPT_CHECK_PASS) {
        bench_case_fail(b, c, proof.error.status, proof.error.message);
    }
    return c->status == BENCH_UNTIMED;
}

rapt_status bench_live_submit(bench_live *live, double *device_ns, double *wall_ns, rapt_error *error)
{
    return live->kind->submit(live, device_ns, wall_ns, error);
}

rapt_result bench_live_check(bench_live *live)
{
    return live->kind->check(live);
}

void bench_case_close(bench_live *live)
{
    if (live->system_trial)
        rapt_system_trial_close(live->system_trial);
    free(live->system_trial);
    rapt_check_system_free(&live->system);
    rapt_trial_close(&live->trial);
    rapt_check_problem_free(&live->problem);
    rapt_linear_trial_close(&live->linear);
}
