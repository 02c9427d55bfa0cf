/* Planning and binding rapt/combine.h, and its known-answer probe. */
#include "api/api.h"

#include "api/numbers.h"
#include "plan/combine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static rapt_status plan_new(rapt_device *device, const rapt_caps *caps, const rapt_combine_desc *desc, const rapt_verdicts *verdicts, rapt_plan **out,
                            rapt_error *error)
{
    rapt_combine_problem problem;
    *out = NULL;
    rapt_status status = rapt_combine_problem_make(desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_plan_begin(device, out, error);
    if (status != RAPT_OK)
        return status;
    rapt_plan *plan = *out;
    status = rapt_combine_plan_make(plan, &problem, caps, rapt_kernels(), verdicts, error);
    if (status != RAPT_OK)
        rapt_plan_destroy(out);
    return status;
}

rapt_status rapt_combine_plan(rapt_device *device, const rapt_combine_desc *desc, rapt_plan **plan, rapt_error *error)
{
    rapt_status status = rapt_check_plan_device(device, plan, error);
    if (status != RAPT_OK)
        return status;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    return rapt_plan_owned(plan_new(device, &device->caps, desc, &verdicts, plan, error), plan);
}

rapt_status rapt_combine_plan_for_caps(const rapt_caps *caps, const rapt_combine_desc *desc, rapt_plan **plan, rapt_error *error)
{
    const rapt_status status = rapt_check_plan_caps(caps, plan, error);
    return status == RAPT_OK ? plan_new(NULL, caps, desc, NULL, plan, error) : status;
}

rapt_status rapt_combine_bind(rapt_plan *plan, const rapt_combine_args *args, rapt_binding **binding, rapt_error *error)
{
    rapt_status status = rapt_check_bind(plan, RAPT_OP_COMBINE, "one that combines tensors", args ? &args->struct_size : NULL, sizeof *args,
                                         "rapt_combine_args", binding, error);
    if (status != RAPT_OK)
        return status;
    const rapt_combine_problem *p = &plan->combine;
    const rapt_combine_tensor *t = p->tensor;
    const rapt_named_slot slots[] = {
        {"out", RAPT_ROLE_OUT, &args->out, t[RAPT_C_OUT].bytes, t[RAPT_C_OUT].align, true},
        {"x[0]", RAPT_ROLE_TERM_0, &args->x[0], t[RAPT_C_X0].bytes, t[RAPT_C_X0].align, false},
        {"x[1]", RAPT_ROLE_TERM_1, &args->x[1], t[RAPT_C_X1].bytes, t[RAPT_C_X1].align, false},
        {p->gate ? "gate" : "x[2]", RAPT_ROLE_TERM_2, p->gate ? &args->gate : &args->x[2], t[RAPT_C_X2].bytes, t[RAPT_C_X2].align, false},
        {"weight[0]", RAPT_ROLE_TERM_WEIGHT_0, &args->weight[0], t[RAPT_C_W0].bytes, 4, false},
        {"weight[1]", RAPT_ROLE_TERM_WEIGHT_1, &args->weight[1], t[RAPT_C_W1].bytes, 4, false},
        {"weight[2]", RAPT_ROLE_TERM_WEIGHT_2, &args->weight[2], t[RAPT_C_W2].bytes, 4, false},
        {"norm_weight", RAPT_ROLE_NORM_WEIGHT, &args->norm_weight, p->lse ? 0 : t[RAPT_C_NORM].bytes, 4, false},
        {"lse", RAPT_ROLE_LSE, &args->lse, p->lse ? t[RAPT_C_NORM].bytes : 0, 4, true},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{0}};
    status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
    if (status == RAPT_OK)
        status = rapt_check_bound_usage(plan, bound, error);
    return status == RAPT_OK ? rapt_binding_create(plan->device, plan, bound, binding, error) : status;
}

/* ---- the probe: two rows of heads of weighted terms, with a norm and a gate */

enum { BATCH = 2, HEADS = 2, N = 3, D = 68, ROWS = BATCH * HEADS * N };
enum { X0, X1, GATE, W0, W1, NORM, OUT, TENSORS };

typedef struct probe {
    rapt_combine_desc desc;
    const rapt_tensor *tensor[TENSORS];
    rapt_buffer *buffer[TENSORS];
    uint64_t bytes[TENSORS];
    double number[TENSORS][ROWS * D]; /* (row, element), of NORM (head, element) */
    rapt_binding *binding;
    bool submitted;
} probe;

static void make_probe(const rapt_plan *plan, probe *r)
{
    const int64_t pitch = plan->aligned ? 72 : 69;
    rapt_combine_desc *d = &r->desc;
    *d = (rapt_combine_desc)RAPT_COMBINE_DESC_INIT;
    d->out = rapt_tensor_bhnd(plan->problem.dtype, BATCH, HEADS, N, D);
    d->out.stride[2] = pitch;
    d->out.stride[1] = pitch * N;
    d->out.stride[0] = pitch * N * HEADS;
    d->out.align = plan->aligned ? 16 : 4;
    d->x[0] = d->x[1] = d->gate = d->out;
    d->x[0].dtype = d->x[1].dtype = d->gate.dtype = plan->combine.from;
    d->act = RAPT_COMBINE_ACT_TANH;
    d->offset = 0.25f;
    d->weight[0] = d->weight[1] =
        (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {BATCH, HEADS, N}, .stride = {HEADS * N, N, 1}};
    d->weights = RAPT_COMBINE_SOFTMAX;
    d->factor[1] = -0.5f;
    d->out_factor = 0.75f;
    d->norm = 1;
    d->norm_epsilon = 0.0625f;
    d->norm_weight = (rapt_tensor){.dtype = RAPT_F32, .rank = 2, .size = {HEADS, D}, .stride = {D, 1}};
    d->gate_kind = RAPT_GATE_SILU;
    const rapt_tensor *const tensors[TENSORS] = {&d->x[0], &d->x[1], &d->gate, &d->weight[0], &d->weight[1], &d->norm_weight, &d->out};
    memcpy(r->tensor, tensors, sizeof tensors);
}

/* Where element e of a row lies. */
static uint64_t element(const probe *r, unsigned t, uint64_t row, uint64_t e)
{
    const rapt_tensor *x = r->tensor[t];
    const uint64_t at[3] = {row / (HEADS * N), row / N % HEADS, row % N};
    if (t == NORM)
        return row * D + e;
    return at[0] * (uint64_t)x->stride[0] + at[1] * (uint64_t)x->stride[1] + at[2] * (uint64_t)x->stride[2] + e;
}

static double expected(const probe *r, uint64_t row, uint64_t e)
{
    const rapt_combine_desc *d = &r->desc;
    const double a = exp(r->number[W0][row]), b = exp(r->number[W1][row]), gate = r->number[GATE][row * D + e];
    double squares = 0, y = 0;
    for (uint64_t i = 0; i < D; i++) {
        const double sum = (a * r->number[X0][row * D + i] + (double)d->factor[1] * b * r->number[X1][row * D + i]) / (a + b);
        squares += sum * sum;
        y = i == e ? sum : y;
    }
    y *= r->number[NORM][row / N % HEADS * D + e] / sqrt(squares / D + (double)d->norm_epsilon);
    return tanh(y * (double)d->out_factor + (double)d->offset) * gate / (1 + exp(-gate));
}

/* Uploads, runs, and compares: *share above 1 is wrong. */
static rapt_status run_probe(probe *r, rapt_plan *plan, double *share, rapt_error *error)
{
    rapt_device *device = plan->device;
    const rapt_allocator *a = &device->runtime->allocator;
    const uint32_t size = rapt_dtype_size(plan->problem.dtype);
    uint32_t seed = 271828;
    rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.x[0], &args.x[1], &args.gate, &args.weight[0], &args.weight[1], &args.norm_weight, &args.out};
    rapt_status status = RAPT_OK;
    uint8_t *bytes = NULL;
    for (unsigned t = 0; t < TENSORS && status == RAPT_OK; t++) {
        const rapt_tensor *x = r->tensor[t];
        const uint64_t rows = t == NORM ? HEADS : ROWS, inner = t == W0 || t == W1 ? 1 : D;
        r->bytes[t] = rapt_align_up(rapt_tensor_bytes(x), 4);
        bytes = rapt_calloc(a, r->bytes[t], 1);
        if (bytes == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
        memset(bytes, 0xff, r->bytes[t]); /* NaN wherever nothing is written below */
        for (uint64_t row = 0; row < rows && t != OUT; row++)
            for (uint64_t e = 0; e < inner; e++) {
                const float number = rapt_number_next(&seed) * (t == GATE ? 3.0f : 1.0f);
                r->number[t][row * inner + e] = (double)number;
                rapt_number_put(bytes + element(r, t, row, e) * rapt_dtype_size(x->dtype), x->dtype, number);
            }
        status = rapt_buffer_create(device, r->bytes[t], &r->buffer[t], error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(r->buffer[t], 0, bytes, r->bytes[t], error);
        slots[t]->buffer = r->buffer[t];
        if (t != OUT || status != RAPT_OK)
            rapt_free(a, bytes, r->bytes[t]);
    }
    if (status != RAPT_OK)
        return status;
    status = rapt_combine_bind(plan, &args, &r->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(r->binding, error);
    r->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, r->binding, error);
    if (status == RAPT_OK)
        status = rapt_buffer_download(r->buffer[OUT], 0, bytes, r->bytes[OUT], error);
    const double unit = size == 4 ? 0x1p-16 : plan->problem.dtype == RAPT_F16 ? 0x1p-10 : 0x1p-7;
    for (uint64_t row = 0; row < ROWS && status == RAPT_OK; row++)
        for (uint64_t e = 0; e < D; e++) {
            const double want = expected(r, row, e);
            const double got = rapt_number_get(bytes + element(r, OUT, row, e) * size, plan->problem.dtype);
            const double error_share = fabs(got - want) / (unit * (1 + fabs(want)));
            *share = fmax(*share, error_share == error_share ? error_share : INFINITY);
        }
    rapt_free(a, bytes, r->bytes[OUT]);
    return status;
}

rapt_status rapt_probe_combine(rapt_plan *plan, rapt_error *error)
{
    rapt_device *device = plan->device;
    const rapt_allocator *a = &device->runtime->allocator;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    rapt_error why = {0};
    double share = 0;
    char reason[160] = "";
    probe *r = rapt_calloc(a, 1, sizeof *r);
    if (r == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
    make_probe(plan, r);
    rapt_status status = plan_new(device, &device->caps, &r->desc, &verdicts, &small, &why);
    if (status == RAPT_OK && (small->pipelines[0].row != plan->pipelines[0].row || small->aligned != plan->aligned))
        status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED, "the probe of kernel '%s' does not reach its constants",
                           plan->pipelines[0].row->name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_probe(r, small, &share, &why);
    }
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (r->binding == NULL || rapt_wait(r->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT ||
        atomic_load(&device->hung)) {
        rapt_binding_destroy(&r->binding);
        for (unsigned t = 0; t < TENSORS; t++)
            rapt_buffer_destroy(&r->buffer[t]);
    }
    rapt_plan_destroy(&small);
    const bool submitted = r->submitted;
    rapt_free(a, r, sizeof *r);
    if (rapt_probe_ended(plan, submitted, &status, &why, error))
        return status;
    if (share > 1)
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
    rapt_probe_note(plan, 0, share <= 1 ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true, reason);
    return RAPT_OK;
}
