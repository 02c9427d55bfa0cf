/* The known-answer probe of memories that learn: each form over two heads, two chunks and a part of a third, with states in and
 * out, against its definition token by token. */
#include "api/api.h"

#include "api/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 1, HEADS = 2, N = 9, CHUNK = 4, D = 5, DV = 3, HIDDEN = 6 };
enum { MOST = HEADS * 2 * HIDDEN * (D + DV) }; /* elements of the largest tensor */

typedef struct memory_probe {
    rapt_memory_desc desc;
    const rapt_tensor *tensor[RAPT_MEM_COUNT];
    rapt_buffer *buffer[RAPT_MEM_COUNT];
    uint64_t count[RAPT_MEM_COUNT], bytes[RAPT_MEM_COUNT];
    double number[RAPT_MEM_COUNT][MOST]; /* of outputs: what they must be */
    uint8_t data[MOST * 4];
    rapt_binding *binding;
    bool submitted;
} memory_probe;

static void make_probe(memory_probe *r, rapt_dtype dtype, rapt_memory_form form)
{
    rapt_memory_desc *d = &r->desc;
    *d = (rapt_memory_desc)RAPT_MEMORY_DESC_INIT;
    d->form = form;
    d->act = RAPT_MEMORY_GELU;
    d->hidden = form == RAPT_MEMORY_MLP ? HIDDEN : 0;
    d->chunk = CHUNK;
    d->q = d->k = rapt_tensor_bhnd(dtype, BATCH, HEADS, N, D);
    d->v = d->out = rapt_tensor_bhnd(dtype, BATCH, HEADS, N, DV);
    if (form != RAPT_MEMORY_SOFTMAX)
        d->rates = rapt_tensor_bhnd(RAPT_F32, BATCH, HEADS, N, 3);
    const int64_t numbers = (int64_t)rapt_memory_numbers(form, D, DV, HIDDEN);
    d->state_in = d->state_out = (rapt_tensor){
        .dtype = RAPT_F32, .rank = 3, .size = {BATCH, HEADS, (uint64_t)numbers}, .stride = {HEADS * numbers, numbers, 1}};
    const rapt_tensor *const tensors[RAPT_MEM_COUNT] = {&d->q, &d->k, &d->v, &d->out, &d->rates, &d->state_in, &d->state_out};
    memcpy(r->tensor, tensors, sizeof tensors);
}

/* A head's memory as its definition has it. */
typedef struct head {
    const memory_probe *r;
    double m[HIDDEN * (D + DV)], s[HIDDEN * (D + DV)], at[HIDDEN * (D + DV)]; /* M, S; M as the chunk began */
    double a[HIDDEN], slope[HIDDEN];
} head;

/* M(x) with weights m; hidden layer and slopes stay in the head. */
static void recall(head *h, const double *m, const double *x, double *y)
{
    const bool mlp = h->r->desc.hidden > 0;
    for (unsigned u = 0; u < HIDDEN && mlp; u++) {
        double z = 0;
        for (unsigned e = 0; e < D; e++)
            z += x[e] * m[e * HIDDEN + u];
        const double t = tanh(sqrt(2 / 3.14159265358979323846) * (z + 0.044715 * z * z * z));
        h->a[u] = z * (1 + t) / 2;
        h->slope[u] = (1 + t) / 2 + z * (1 - t * t) / 2 * sqrt(2 / 3.14159265358979323846) * (1 + 3 * 0.044715 * z * z);
    }
    for (unsigned j = 0; j < DV; j++) {
        y[j] = 0;
        for (unsigned e = 0; e < (mlp ? HIDDEN : D); e++)
            y[j] += (mlp ? h->a[e] : x[e]) * m[(mlp ? D * HIDDEN : 0) + e * DV + j];
    }
}

static void learn_token(head *h, const double *k, const double *v, const double *rates)
{
    const bool mlp = h->r->desc.hidden > 0;
    double y[DV], g[HIDDEN * (D + DV)] = {0};
    recall(h, h->at, k, y);
    for (unsigned j = 0; j < DV; j++)
        for (unsigned e = 0; e < (mlp ? HIDDEN : D); e++)
            g[(mlp ? D * HIDDEN : 0) + e * DV + j] = 2 * (y[j] - v[j]) * (mlp ? h->a[e] : k[e]);
    for (unsigned u = 0; u < HIDDEN && mlp; u++) {
        double back = 0;
        for (unsigned j = 0; j < DV; j++)
            back += 2 * (y[j] - v[j]) * h->at[D * HIDDEN + u * DV + j];
        for (unsigned e = 0; e < D; e++)
            g[e * HIDDEN + u] = back * h->slope[u] * k[e];
    }
    for (unsigned w = 0; w < (mlp ? HIDDEN * (D + DV) : D * DV); w++) {
        h->s[w] = rates[1] * h->s[w] - rates[2] * g[w];
        h->m[w] = (1 - rates[0]) * h->m[w] + h->s[w];
    }
}

static void by_softmax(const double *x, double *to)
{
    double sum = 0;
    for (unsigned e = 0; e < D; e++)
        sum += exp(x[e]);
    for (unsigned e = 0; e < D; e++)
        to[e] = exp(x[e]) / sum;
}

/* Gecko's step for the `count` tokens from k and v on; s holds z. */
static void learn_chunk(head *h, const double *k, const double *v, unsigned count)
{
    double error[CHUNK][DV], soft[D], y[DV];
    for (unsigned i = 0; i < count; i++) {
        by_softmax(k + i * D, soft);
        recall(h, h->m, soft, y);
        for (unsigned j = 0; j < DV; j++)
            error[i][j] = v[i * DV + j] - y[j];
    }
    for (unsigned r = 0; r < D; r++) {
        double sum = 0, step[DV] = {0};
        for (unsigned i = 0; i < count; i++) {
            sum += exp(k[i * D + r]);
            for (unsigned j = 0; j < DV; j++)
                step[j] += exp(k[i * D + r]) * error[i][j];
        }
        h->s[r] = log(exp(h->s[r]) + sum);
        for (unsigned j = 0; j < DV; j++)
            h->m[r * DV + j] += sum / exp(h->s[r]) * (step[j] / sum - h->m[r * DV + j]);
    }
}

/* Fills what outputs of a head must be. */
static void expect(memory_probe *r, unsigned line)
{
    head h = {.r = r};
    const bool soft = r->desc.form == RAPT_MEMORY_SOFTMAX;
    const uint64_t numbers = r->desc.state_in.size[2], weights = soft ? D * DV : numbers / 2;
    const double *state = r->number[RAPT_MEM_STATE_IN] + line * numbers;
    memcpy(h.m, state, (size_t)weights * sizeof *state);
    memcpy(h.s, state + weights, (size_t)(numbers - weights) * sizeof *state);
    for (unsigned t = 0; t < N; t++) {
        const double *q = r->number[RAPT_MEM_Q] + (line * N + t) * D, *k = r->number[RAPT_MEM_K] + (line * N + t) * D;
        const double *v = r->number[RAPT_MEM_V] + (line * N + t) * DV;
        double soft_q[D];
        by_softmax(q, soft_q);
        if (t % CHUNK == 0)
            memcpy(h.at, h.m, sizeof h.at);
        if (!soft)
            learn_token(&h, k, v, r->number[RAPT_MEM_RATES] + (line * N + t) * 3);
        recall(&h, h.m, soft ? soft_q : q, r->number[RAPT_MEM_OUT] + (line * N + t) * DV);
        const unsigned first = t / CHUNK * CHUNK;
        if (soft && (t + 1 == N || (t + 1) % CHUNK == 0))
            learn_chunk(&h, r->number[RAPT_MEM_K] + (line * N + first) * D, r->number[RAPT_MEM_V] + (line * N + first) * DV, t + 1 - first);
    }
    double *out = r->number[RAPT_MEM_STATE_OUT] + line * numbers;
    memcpy(out, h.m, (size_t)weights * sizeof *out);
    memcpy(out + weights, h.s, (size_t)(numbers - weights) * sizeof *out);
}

static rapt_status upload(memory_probe *r, rapt_device *device, unsigned t, uint32_t *seed, rapt_slot *slot, rapt_error *error)
{
    const rapt_tensor *x = r->tensor[t];
    r->bytes[t] = rapt_align_up(rapt_tensor_bytes(x), 4);
    r->count[t] = rapt_tensor_bytes(x) / rapt_dtype_size(x->dtype);
    memset(r->data, 0xff, (size_t)r->bytes[t]); /* NaN where outputs are not written */
    for (uint64_t i = 0; i < r->count[t] && t != RAPT_MEM_OUT && t != RAPT_MEM_STATE_OUT; i++) {
        float number = rapt_number_next(seed) * 0.5f;
        if (t == RAPT_MEM_RATES) /* alpha, eta and theta of moderate size */
            number = 0.25f + 0.25f * number;
        r->number[t][i] = (double)number;
        rapt_number_put(r->data + i * rapt_dtype_size(x->dtype), x->dtype, number);
    }
    rapt_status status = rapt_buffer_create(device, r->bytes[t], &r->buffer[t], error);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(r->buffer[t], 0, r->data, r->bytes[t], error);
    slot->buffer = r->buffer[t];
    return status;
}

/* Uploads, runs, and compares: *share above 1 is wrong. */
static rapt_status run_probe(memory_probe *r, rapt_plan *plan, double *share, rapt_error *error)
{
    rapt_device *device = plan->device;
    uint32_t seed = 161803;
    rapt_memory_args args = RAPT_MEMORY_ARGS_INIT;
    rapt_slot *const slots[RAPT_MEM_COUNT] = {&args.q, &args.k, &args.v, &args.out, &args.rates, &args.state_in, &args.state_out};
    rapt_status status = RAPT_OK;
    for (unsigned t = 0; t < RAPT_MEM_COUNT && status == RAPT_OK; t++)
        if (r->tensor[t]->dtype != RAPT_DTYPE_NONE)
            status = upload(r, device, t, &seed, slots[t], error);
    if (status == RAPT_OK)
        status = rapt_memory_bind(plan, &args, &r->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(r->binding, error);
    r->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, r->binding, error);
    for (unsigned line = 0; line < HEADS && status == RAPT_OK; line++)
        expect(r, line);
    for (unsigned t = RAPT_MEM_OUT; t <= RAPT_MEM_STATE_OUT && status == RAPT_OK; t += RAPT_MEM_STATE_OUT - RAPT_MEM_OUT) {
        const rapt_dtype dtype = r->tensor[t]->dtype;
        const double unit = dtype == RAPT_F32 ? 0x1p-14 : dtype == RAPT_F16 ? 0x1p-9 : 0x1p-6;
        status = rapt_buffer_download(r->buffer[t], 0, r->data, r->bytes[t], error);
        for (uint64_t i = 0; i < r->count[t] && status == RAPT_OK; i++) {
            const double want = r->number[t][i], got = rapt_number_get(r->data + i * rapt_dtype_size(dtype), dtype);
            const double off = fabs(got - want) / (unit * (1 + fabs(want)));
            *share = fmax(*share, off == off ? off : INFINITY);
        }
    }
    return status;
}

/* One form of the plan's row. */
static rapt_status probe_form(memory_probe *r, const rapt_plan *plan, rapt_memory_form form, double *share, rapt_error *error)
{
    rapt_device *device = plan->device;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    memset(r, 0, sizeof *r);
    make_probe(r, plan->problem.dtype, form);
    rapt_status status = rapt_memory_plan_new(device, &device->caps, &r->desc, &verdicts, &small, error);
    if (status == RAPT_OK && small->pipelines[0].row != plan->pipelines[0].row)
        status = rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the probe does not reach kernel '%s'", plan->pipelines[0].row->name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, error);
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_probe(r, small, share, error);
    }
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (r->binding == NULL || rapt_wait(r->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT ||
        atomic_load(&device->hung)) {
        rapt_binding_destroy(&r->binding);
        for (unsigned t = 0; t < RAPT_MEM_COUNT; t++)
            rapt_buffer_destroy(&r->buffer[t]);
    }
    rapt_plan_destroy(&small);
    return status;
}

rapt_status rapt_probe_memory(rapt_plan *plan, rapt_error *error)
{
    const rapt_allocator *a = &plan->device->runtime->allocator;
    rapt_error why = {0};
    double share = 0;
    char reason[160] = "";
    bool submitted = false;
    rapt_status status = RAPT_OK;
    memory_probe *r = rapt_calloc(a, 1, sizeof *r);
    if (r == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
    for (unsigned form = 0; form < RAPT_MEMORY_FORM_COUNT && status == RAPT_OK; form++) {
        status = probe_form(r, plan, (rapt_memory_form)form, &share, &why);
        submitted = r->submitted;
    }
    rapt_free(a, r, sizeof *r);
    if (rapt_probe_ended(plan, submitted, &status, &why, error))
        return status;
    if (share > 1)
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
    rapt_probe_note(plan, 0, share <= 1 ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true, reason);
    return RAPT_OK;
}
