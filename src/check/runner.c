#if !defined(_WIN32)
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#endif
#include "runner.h"

#include "half.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GUARD 256 /* poisoned bytes behind the workspace */

const char *rapt_check_verdict_name(rapt_check_verdict verdict)
{
    static const char *const names[] = {"pass", "fail", "refused", "error"};
    return names[verdict];
}

double rapt_check_now_ns(void)
{
    struct timespec t;
#if defined(CLOCK_MONOTONIC)
    clock_gettime(CLOCK_MONOTONIC, &t);
#else
    timespec_get(&t, TIME_UTC);
#endif
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- a trial ---- */

/* From the first to the last element of a tensor of rank 3; 0: none. */
static uint64_t words(const rapt_tensor *t)
{
    uint64_t last = 0;
    for (unsigned axis = 0; axis < 3; axis++)
        last += (t->size[axis] - 1) * (uint64_t)t->stride[axis];
    return t->size[0] && t->size[1] && t->size[2] ? last + 1 : 0;
}

static rapt_status make_buffers(rapt_trial *t, rapt_error *error)
{
    for (int op = 0; op < RAPT_OP_COUNT; op++) {
        const rapt_check_operand *o = &t->problem->operands[op];
        if (o->bytes == 0 || o->shares != op)
            continue;
        rapt_status status = rapt_buffer_create(t->device, o->bytes, &t->buffers[op], error);
        if (status == RAPT_OK && o->image)
            status = rapt_buffer_upload(t->buffers[op], 0, o->image, o->bytes, error);
        if (status != RAPT_OK)
            return status;
    }
    const rapt_check_user *user = t->problem->user;
    for (int n = 0; user && n < RAPT_USER_BUFFERS && user->buffers[n].name; n++) {
        const uint64_t bytes = user->buffers[n].count * 4;
        rapt_status status = rapt_buffer_create(t->device, bytes, &t->user[n], error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(t->user[n], 0, user->data[n], bytes, error);
        if (status != RAPT_OK)
            return status;
    }
    const rapt_tensor *const margins[2] = {&t->problem->desc.col_sums, &t->problem->desc.row_max};
    for (int n = 0; n < 2; n++) {
        const uint64_t bytes = margins[n]->dtype != RAPT_DTYPE_NONE ? words(margins[n]) * 4 : 0;
        rapt_status status =
            bytes > 0 ? rapt_buffer_create(t->device, bytes + GUARD, n ? &t->row_max : &t->col_sums, error) : RAPT_OK;
        if (status != RAPT_OK)
            return status;
    }
    if (t->info.workspace_bytes == 0)
        return RAPT_OK;
    const uint64_t bytes = (t->info.workspace_bytes + 15) / 16 * 16 + GUARD;
    return rapt_buffer_create(t->device, bytes, &t->workspace, error);
}

static rapt_slot slot(const rapt_trial *t, int op)
{
    const rapt_check_operand *o = &t->problem->operands[op];
    if (o->bytes == 0)
        return (rapt_slot){0};
    return (rapt_slot){.buffer = t->buffers[o->shares], .offset = o->offset};
}

rapt_status rapt_trial_open(rapt_device *device, const rapt_check_problem *problem, const char *kernel,
                            rapt_trial *t, rapt_error *error)
{
    *t = (rapt_trial){.device = device, .problem = problem, .info = RAPT_PLAN_INFO_INIT};
    rapt_attention_desc desc = problem->desc;
    desc.kernel = kernel;
    const double start = rapt_check_now_ns();
    rapt_status status = rapt_attention_plan(device, &desc, &t->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(t->plan, error);
    t->open_ns = rapt_check_now_ns() - start;
    if (status == RAPT_OK)
        status = rapt_plan_describe(t->plan, &t->info, error);
    if (status == RAPT_OK)
        status = make_buffers(t, error);
    if (status != RAPT_OK)
        return status;
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q = slot(t, RAPT_OP_Q);
    args.k = slot(t, RAPT_OP_K);
    args.v = slot(t, RAPT_OP_V);
    args.out = slot(t, RAPT_OP_OUT);
    args.lse = slot(t, RAPT_OP_LSE);
    args.cu_seqlens_q = slot(t, RAPT_OP_CU_Q);
    args.cu_seqlens_k = slot(t, RAPT_OP_CU_K);
    args.sinks = slot(t, RAPT_OP_SINKS);
    args.alibi = slot(t, RAPT_OP_ALIBI);
    args.key_bias = slot(t, RAPT_OP_KEY_BIAS);
    args.relative = slot(t, RAPT_OP_RELATIVE);
    args.decay = slot(t, RAPT_OP_DECAY);
    args.segments = slot(t, RAPT_OP_SEGMENTS);
    args.gate = slot(t, RAPT_OP_GATE);
    args.bias = slot(t, RAPT_OP_BIAS);
    args.bias_u = slot(t, RAPT_OP_BIAS_U);
    args.bias_v = slot(t, RAPT_OP_BIAS_V);
    args.block_mask = slot(t, RAPT_OP_BLOCKS);
    args.block_table = slot(t, RAPT_OP_TABLE);
    args.k_lengths = slot(t, RAPT_OP_LENGTHS);
    args.workspace.buffer = t->workspace;
    args.col_sums.buffer = t->col_sums;
    args.row_max.buffer = t->row_max;
    for (int n = 0; n < RAPT_USER_BUFFERS; n++)
        args.user[n].buffer = t->user[n];
    const double bind = rapt_check_now_ns();
    status = rapt_attention_bind(t->plan, &args, &t->binding, error);
    t->open_ns += rapt_check_now_ns() - bind;
    return status;
}

void rapt_trial_close(rapt_trial *t)
{
    rapt_binding_destroy(&t->binding);
    rapt_buffer_destroy(&t->workspace);
    rapt_buffer_destroy(&t->col_sums);
    rapt_buffer_destroy(&t->row_max);
    for (int n = 0; n < RAPT_USER_BUFFERS; n++)
        rapt_buffer_destroy(&t->user[n]);
    for (int op = 0; op < RAPT_OP_COUNT; op++)
        rapt_buffer_destroy(&t->buffers[op]);
    rapt_plan_destroy(&t->plan);
}

rapt_status rapt_trial_submit(rapt_trial *t, double *device_ns, double *wall_ns, rapt_error *error)
{
    const double start = rapt_check_now_ns();
    rapt_status status = rapt_submit(t->binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(t->binding, UINT64_MAX, error);
    if (wall_ns)
        *wall_ns = rapt_check_now_ns() - start;
    if (device_ns && status == RAPT_OK) {
        rapt_timing timing = {0};
        rapt_binding_timing(t->binding, &timing);
        *device_ns = timing.device_ns;
    }
    return status;
}

/* ---- what came back ---- */

/* The whole of an output buffer, taken apart. */
typedef struct output {
    const char *name;
    int op;
    rapt_tensor t;       /* rank 4: an LSE has a last axis of 1 */
    void *image, *first; /* as downloaded; of the first run */
    double *values;      /* contiguous */
} output;

static bool output_make(const rapt_check_problem *p, int op, output *o)
{
    *o = (output){.op = op, .name = op == RAPT_OP_OUT ? "out" : "lse"};
    o->t = op == RAPT_OP_OUT ? p->desc.out : p->desc.lse;
    if (op == RAPT_OP_LSE) {
        o->t.rank = 4;
        o->t.size[3] = 1;
        o->t.stride[3] = 1;
    }
    const uint64_t count = o->t.size[0] * o->t.size[1] * o->t.size[2] * o->t.size[3];
    o->image = malloc(p->operands[op].bytes);
    o->first = malloc(p->operands[op].bytes);
    o->values = malloc((count + 1) * sizeof *o->values);
    return o->image && o->first && o->values;
}

static void output_free(output *o)
{
    free(o->image);
    free(o->first);
    free(o->values);
}

/* Takes the numbers out of the image, leaving poison in their places. */
static void output_take(const rapt_check_problem *p, output *o, unsigned char *image)
{
    const rapt_tensor *t = &o->t;
    const size_t element = rapt_check_dtype_size(t->dtype);
    const uint32_t poison = RAPT_POISON;
    unsigned char *data = image + p->operands[o->op].offset;
    double *value = o->values;
    uint64_t row = 0;
    for (uint64_t b = 0; b < t->size[0]; b++)
        for (uint64_t h = 0; h < t->size[1]; h++)
            for (uint64_t i = 0; i < t->size[2]; i++, row++)
                for (uint64_t e = 0; e < t->size[3]; e++) {
                    const int64_t at = (int64_t)b * t->stride[0] + (int64_t)h * t->stride[1] +
                                       (int64_t)i * t->stride[2] + (int64_t)e;
                    *value++ = (double)rapt_check_load(data, t->dtype, at);
                    if (p->rows[row] != RAPT_ROW_UNTOUCHED)
                        memcpy(data + (size_t)at * element, &poison, element);
                }
}

/* Offset of the first byte that is not poison, or UINT64_MAX. */
static uint64_t find_spill(const void *image, uint64_t bytes)
{
    const uint32_t poison = RAPT_POISON;
    for (uint64_t at = 0; at + 4 <= bytes; at += 4)
        if (memcmp((const char *)image + at, &poison, 4) != 0)
            return at;
    return UINT64_MAX;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
fail(rapt_result *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (r->verdict == RAPT_CHECK_PASS)
        vsnprintf(r->message, sizeof r->message, format, args);
    r->verdict = RAPT_CHECK_FAIL;
    va_end(args);
}

/* What one run did wrong, as bits. */
enum { RUN_WRONG = 1, RUN_DIFFERS = 2 };

static unsigned judge_output(const rapt_check_problem *p, output *o, double tolerance, uint32_t run, rapt_result *r)
{
    unsigned faults = 0;
    const uint64_t bytes = p->operands[o->op].bytes;
    if (run == 0)
        memcpy(o->first, o->image, bytes);
    else if (memcmp(o->first, o->image, bytes) != 0)
        faults |= RUN_DIFFERS;
    if (faults & RUN_DIFFERS)
        fail(r, "%s: run %u gave other bits than run 1", o->name, run + 1);
    output_take(p, o, o->image);
    const bool is_out = o->op == RAPT_OP_OUT;
    const rapt_check_difference d =
        rapt_check_compare(o->values, is_out ? p->out : p->lse, p->rows, p->rows_total, o->t.size[3],
                           tolerance);
    rapt_check_difference *kept = is_out ? &r->out : &r->lse;
    if (run == 0 || (d.wrong > 0 && kept->wrong == 0))
        *kept = d;
    if (d.wrong > 0) {
        faults |= RUN_WRONG;
        if (r->verdict == RAPT_CHECK_PASS)
            rapt_check_describe(&d, o->name, o->t.size, r->message, sizeof r->message);
        r->verdict = RAPT_CHECK_FAIL;
    }
    const uint64_t spill = find_spill(o->image, bytes);
    if (spill == UINT64_MAX)
        return faults;
    fail(r, "%s: wrote outside its rows, at byte %llu of %llu of its buffer", o->name, (unsigned long long)spill,
         (unsigned long long)bytes);
    return faults | RUN_WRONG;
}

static unsigned judge_workspace(const rapt_trial *t, rapt_result *r)
{
    uint32_t guard[GUARD / 4];
    const uint64_t at = (t->info.workspace_bytes + 15) / 16 * 16;
    if (!t->workspace || rapt_buffer_download(t->workspace, at, guard, sizeof guard, &r->error) != RAPT_OK)
        return 0;
    const uint64_t spill = find_spill(guard, sizeof guard);
    if (spill == UINT64_MAX)
        return 0;
    fail(r, "workspace: wrote %llu bytes behind the %llu bytes it was promised", (unsigned long long)spill,
         (unsigned long long)at);
    return RUN_WRONG;
}

/* How often, behind what it was the first time. */
static void tell_repeats(rapt_result *r)
{
    const size_t length = strlen(r->message);
    if (r->verdict == RAPT_CHECK_FAIL && r->runs > 1)
        snprintf(r->message + length, sizeof r->message - length,
                 " (%u of %u runs wrong; %u of %u repeats gave other bits than the first run)", r->wrong, r->runs,
                 r->differing, r->runs - 1);
}

/* What the plan promised. */
static void judge_plan(const rapt_trial *t, rapt_result *r)
{
    const rapt_check_problem *p = t->problem;
    const rapt_check_inputs in = rapt_check_problem_inputs(p);
    const int margins = (p->desc.col_sums.dtype != RAPT_DTYPE_NONE) + (p->desc.row_max.dtype != RAPT_DTYPE_NONE);
    const double dims = (double)(p->c.d_qk + p->c.d_v) + margins * (double)p->c.d_qk; /* each makes the scores again */
    const double flops = 2.0 * dims * rapt_check_attention_pairs(&p->desc, &in);
    if (p->c.sequences == 0 && (double)t->info.flops != flops)
        fail(r, "the plan promises %.0f flops, the problem has %.0f", (double)t->info.flops, flops);
}

static rapt_status poison(rapt_trial *t, rapt_error *error)
{
    rapt_buffer *buffers[] = {t->buffers[RAPT_OP_OUT], t->buffers[RAPT_OP_LSE], t->workspace};
    const uint64_t bytes[] = {t->problem->operands[RAPT_OP_OUT].bytes,
                              t->problem->operands[RAPT_OP_LSE].bytes,
                              (t->info.workspace_bytes + 15) / 16 * 16 + GUARD};
    rapt_status status = RAPT_OK;
    for (int n = 0; n < 3 && status == RAPT_OK; n++)
        if (buffers[n])
            status = rapt_buffer_fill(buffers[n], 0, bytes[n], RAPT_POISON, error);
    return status;
}

rapt_result rapt_trial_check(rapt_trial *t, uint32_t repeats)
{
    const rapt_check_problem *p = t->problem;
    rapt_result r = {.info = t->info};
    output outputs[2] = {{0}};
    const int count = p->desc.lse.dtype != RAPT_DTYPE_NONE ? 2 : 1;
    rapt_status status = RAPT_OK;
    for (int n = 0; n < count; n++)
        if (!output_make(p, RAPT_OP_OUT + n, &outputs[n])) {
            status = r.error.status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
            snprintf(r.error.message, sizeof r.error.message, "no memory for the results");
        }
    const bool half_weights = strstr(t->info.precision, RAPT_HALF_WEIGHTS) != NULL;
    const double tolerances[2] = {half_weights ? rapt_check_problem_half_weights(p) : p->tolerance_out,
                                  p->tolerance_lse};
    if (tolerances[0] < 0) {
        status = r.error.status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
        snprintf(r.error.message, sizeof r.error.message, "no memory for the tolerance");
    }
    for (uint32_t run = 0; run <= repeats && status == RAPT_OK; run++) {
        unsigned faults = 0;
        status = poison(t, &r.error);
        if (status == RAPT_OK)
            status = rapt_trial_submit(t, &r.device_ns, &r.wall_ns, &r.error);
        for (int n = 0; n < count && status == RAPT_OK; n++) {
            output *o = &outputs[n];
            status = rapt_buffer_download(t->buffers[o->op], 0, o->image, p->operands[o->op].bytes, &r.error);
            if (status == RAPT_OK)
                faults |= judge_output(p, o, tolerances[n], run, &r);
        }
        if (status != RAPT_OK)
            break;
        faults |= judge_workspace(t, &r);
        r.runs++;
        r.wrong += (faults & RUN_WRONG) != 0;
        r.differing += (faults & RUN_DIFFERS) != 0;
    }
    judge_plan(t, &r);
    tell_repeats(&r);
    if (status != RAPT_OK)
        r.verdict = RAPT_CHECK_ERROR;
    for (int n = 0; n < count; n++)
        output_free(&outputs[n]);
    return r;
}

rapt_result rapt_check_run(rapt_device *device, const rapt_check_problem *problem, const char *kernel,
                           uint32_t repeats)
{
    rapt_trial trial;
    rapt_error error = {0};
    rapt_result result = {.verdict = RAPT_CHECK_ERROR};
    const rapt_status status = rapt_trial_open(device, problem, kernel, &trial, &error);
    if (status == RAPT_OK && kernel && strcmp(trial.info.kernel, kernel) != 0) {
        result.info = trial.info;
        result.verdict = RAPT_CHECK_FAIL;
        snprintf(result.message, sizeof result.message, "forced %s, but the plan took %s", kernel,
                 trial.info.kernel);
    } else if (status == RAPT_OK) {
        result = rapt_trial_check(&trial, repeats);
    } else {
        result.verdict = status == RAPT_ERROR_UNSUPPORTED ? RAPT_CHECK_REFUSED : RAPT_CHECK_ERROR;
        result.info = trial.info;
        result.error = error;
    }
    rapt_trial_close(&trial);
    return result;
}
