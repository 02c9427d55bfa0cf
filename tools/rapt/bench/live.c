/* A case on a device: opened and proven, run, let go. Attention comes from the table of cases, published systems from theirs. */
#include "bench.h"

#include "bench/os.h"

#include <stdlib.h>
#include <string.h>

#define ORACLE_LIMIT 2e8 /* multiply-adds of a proof; beyond, rows are sampled */

bool bench_case_is_system(const bench_case *c)
{
    return c->system.problem[0] != 0;
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

double bench_case_bytes(const bench_case *at)
{
    const rapt_case *c = &at->c;
    const double element = (double)rapt_dtype_size(c->dtype);
    if (bench_case_is_system(at))
        return 2 * 4 * system_elements(at->system.problem); /* about as much comes out as goes in */
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
    const double proof = bench_case_is_system(c) ? bench_case_bytes(c) : output_elements(&c->c) * 8;
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
    if (!rapt_check_problem_make_as(&c->c, c->as, step, &live->problem)) {
        bench_case_fail(b, c, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no host memory for its tensors and the proof");
        return false;
    }
    const rapt_status status = rapt_trial_open(d->device, &live->problem, c->kernel, &live->trial, error);
    if (status != RAPT_OK)
        bench_case_fail(b, c, status, error->message);
    else
        describe_attention(c, live);
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
    if (status != RAPT_OK)
        bench_case_fail(b, c, status, error->message);
    return status == RAPT_OK;
}

bool bench_case_open(bench *b, bench_device *d, bench_case *c, bench_live *live)
{
    rapt_error error = {0};
    rapt_memory_info before, after;
    *live = (bench_live){.is_system = bench_case_is_system(c), .info = RAPT_SYSTEM_INFO_INIT};
    c->status = BENCH_UNTIMED;
    c->joules = -1;
    if (!fits_memory(c))
        return false;
    rapt_device_memory(d->device, &before);
    if (!(live->is_system ? open_system : open_attention)(b, d, c, live, &error))
        return false;
    rapt_device_memory(d->device, &after);
    c->memory_bytes = after.used_bytes > before.used_bytes ? after.used_bytes - before.used_bytes : 0;
    const rapt_result proof = bench_live_check(live);
    if (live->is_system)
        describe_system(c, live);
    c->bytes = (double)c->info.bytes_read + (double)c->info.bytes_written;
    c->proof = proof.out;
    c->rows = live->is_system ? proof.out.compared : c->c.d_v > 0 ? proof.out.compared / c->c.d_v : 0;
    c->cold_seconds = ((live->is_system ? live->system_trial->open_ns : live->trial.open_ns) + proof.wall_ns) / 1e9;
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
    return live->is_system ? rapt_system_trial_submit(live->system_trial, device_ns, wall_ns, error)
                           : rapt_trial_submit(&live->trial, device_ns, wall_ns, error);
}

rapt_result bench_live_check(bench_live *live)
{
    return live->is_system ? rapt_system_trial_check(live->system_trial) : rapt_trial_check(&live->trial, 0);
}

void bench_case_close(bench_live *live)
{
    if (live->system_trial)
        rapt_system_trial_close(live->system_trial);
    free(live->system_trial);
    rapt_check_system_free(&live->system);
    rapt_trial_close(&live->trial);
    rapt_check_problem_free(&live->problem);
}
