/* The known-answer probe: a small problem through the very rows and constants that a plan will use, compared with a
 * plain double-precision attention. */
#include "api/api.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A probe's tensors on the host, as doubles that are exact in the storage dtype. */
typedef struct probe_case {
    rapt_attention_desc desc;
    uint64_t heads_q, heads_kv, heads_out, sequences;
    uint64_t nq, nk;         /* of one sequence */
    uint64_t begin_q, begin_k; /* varlen: first rows of the second sequence; 0 and 0 else */
} probe_case;

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 1023u, bits;
    if (exponent == 0)
        return (sign ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
    bits = exponent == 31 ? 0x7f800000u | mantissa << 13 : (exponent + 112) << 23 | mantissa << 13;
    bits |= sign;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* Multiples of 1/64 in [-1, 1): exact in f32, f16 and bf16 (7 significant bits). */
static float probe_value(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)((int)(*state >> 25) - 64) / 64.0f;
}

static void put(uint8_t *at, rapt_dtype dtype, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (dtype == RAPT_F32) {
        memcpy(at, &value, 4);
        return;
    }
    uint16_t h;
    if (dtype == RAPT_BF16) {
        h = (uint16_t)(bits >> 16);
    } else {
        int exponent = (int)(bits >> 23 & 255) - 112;
        h = value == 0.0f ? 0 : (uint16_t)((bits >> 16 & 0x8000u) | (uint32_t)exponent << 10 | (bits >> 13 & 1023u));
    }
    memcpy(at, &h, 2);
}

static double get(const uint8_t *at, rapt_dtype dtype)
{
    uint16_t h;
    if (dtype == RAPT_F32) {
        float f;
        memcpy(&f, at, 4);
        return f;
    }
    memcpy(&h, at, 2);
    if (dtype == RAPT_F16)
        return half_to_float(h);
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* The smallest problem that exercises tiles, tails and the plan's own constants. */
static void make_case(const rapt_plan *plan, probe_case *c)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    memset(c, 0, sizeof *c);
    c->heads_kv = plan->group > 1 ? 1 : 2;
    c->heads_q = c->heads_out = plan->group > 1 ? plan->group : 2;
    c->sequences = p->varlen ? 2 : 1;
    c->nq = row->rows_per_tile + 3ull;
    if (plan->group > 1 || row->nq_max != 0)
        c->nq = RAPT_MIN(RAPT_MIN(c->nq, 3), row->nq_max ? RAPT_MAX(row->nq_max / plan->group, 1) : 3);
    if (p->nq == 1)
        c->nq = 1;
    else
        c->nq = RAPT_MAX(c->nq, 2);
    c->nk = 2ull * row->keys_per_tile + 3;
    c->begin_q = p->varlen ? c->nq : 0;
    c->begin_k = p->varlen ? c->nk : 0;
    uint64_t tokens_q = c->nq * c->sequences, tokens_k = c->nk * c->sequences;
    rapt_attention_desc *d = &c->desc;
    d->struct_size = sizeof *d;
    d->flags = p->causal ? RAPT_ATTENTION_CAUSAL : 0;
    const struct {
        rapt_tensor *t;
        uint64_t heads, tokens, dim;
    } tensors[] = {{&d->q, c->heads_q, tokens_q, p->head_dim_qk},
                   {&d->k, c->heads_kv, tokens_k, p->head_dim_qk},
                   {&d->v, c->heads_kv, tokens_k, p->head_dim_v},
                   {&d->out, c->heads_out, tokens_q, p->head_dim_v}};
    for (size_t i = 0; i < RAPT_COUNT(tensors); i++) {
        rapt_tensor *t = tensors[i].t;
        *t = rapt_tensor_bhnd(p->dtype, 1, tensors[i].heads, tensors[i].tokens, tensors[i].dim);
        /* Rows lie apart as aligned, or as unaligned, as the plan's own. */
        uint64_t pitch = rapt_align_up(tensors[i].dim, 8) + (plan->aligned ? 0 : 1);
        t->stride[2] = (int64_t)pitch;
        t->stride[1] = (int64_t)(pitch * tensors[i].tokens);
        t->stride[0] = (int64_t)(pitch * tensors[i].tokens * tensors[i].heads);
        t->align = plan->aligned ? 16 : 4;
    }
    d->lse = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, c->heads_out, tokens_q},
                           .stride = {(int64_t)(c->heads_out * tokens_q), (int64_t)tokens_q, 1}};
    d->sequences = p->varlen ? (uint32_t)c->sequences : 0;
    d->max_seqlen_q = p->varlen ? c->nq : 0;
    d->max_seqlen_k = p->varlen ? c->nk : 0;
    d->kernel = row->name;
    d->key_splits = plan->splits > 1 ? 2 : 1;
}

static uint64_t element(const rapt_tensor *t, uint64_t head, uint64_t row)
{
    return head * (uint64_t)t->stride[1] + row * (uint64_t)t->stride[2];
}

/* Compares one output row with the definition. Returns the worst error as a share of the tolerance; NaN counts as
 * infinite. */
static double row_error(const probe_case *c, uint8_t *const data[5], uint64_t sequence, uint64_t head, uint64_t query,
                        double *scores)
{
    const rapt_attention_desc *d = &c->desc;
    rapt_dtype dtype = d->q.dtype;
    uint32_t size = rapt_dtype_size(dtype);
    uint64_t dim_qk = d->q.size[3], dim_v = d->v.size[3];
    uint64_t kv = head * c->heads_kv / c->heads_out;
    uint64_t qrow = sequence * c->begin_q + query, k0 = sequence * c->begin_k;
    const uint8_t *q = data[0] + element(&d->q, head * c->heads_q / c->heads_out, qrow) * size;
    double scale = 1.0 / sqrt((double)dim_qk), max = -DBL_MAX, sum = 0, worst = 0;
    int64_t last = d->flags & RAPT_ATTENTION_CAUSAL ? (int64_t)query + (int64_t)c->nk - (int64_t)c->nq
                                                    : (int64_t)c->nk - 1;
    uint64_t visible = last < 0 ? 0 : RAPT_MIN((uint64_t)last + 1, c->nk);
    for (uint64_t j = 0; j < visible; j++) {
        const uint8_t *k = data[1] + element(&d->k, kv, k0 + j) * size;
        double s = 0;
        for (uint64_t x = 0; x < dim_qk; x++)
            s += get(q + x * size, dtype) * get(k + x * size, dtype);
        scores[j] = s * scale;
        max = fmax(max, scores[j]);
    }
    for (uint64_t j = 0; j < visible; j++)
        sum += scores[j] = exp(scores[j] - max);
    /* f16 matrices round the weights to 11 bits; storage rounds the output. */
    double unit = dtype == RAPT_BF16 ? 0x1p-8 : dtype == RAPT_F16 ? 0x1p-10 : 0x1p-15;
    const uint8_t *o = data[3] + element(&d->out, head, qrow) * size;
    for (uint64_t x = 0; x < dim_v; x++) {
        double want = 0;
        for (uint64_t j = 0; j < visible; j++)
            want += scores[j] * get(data[2] + (element(&d->v, kv, k0 + j) + x) * size, dtype);
        want = visible ? want / sum : 0;
        double error = fabs(get(o + x * size, dtype) - want) / (unit * (1 + fabs(want)));
        worst = error <= worst ? worst : error == error ? error : INFINITY;
    }
    float lse;
    memcpy(&lse, data[4] + (head * d->lse.size[2] + qrow) * 4, 4);
    double want = visible ? max + log(sum) : -INFINITY;
    double error = isinf(want) ? (lse == want ? 0 : INFINITY)
                               : fabs((double)lse - want) / (fmax(unit, 0x1p-12) * (1 + fabs(want)));
    return error <= worst ? worst : error == error ? error : INFINITY;
}

/* Fills host data, runs the plan, and judges. *error_share above 1: wrong. */
static rapt_status run_case(rapt_device *device, const probe_case *c, rapt_plan *plan, double *error_share,
                            rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    const rapt_tensor *tensors[5] = {&c->desc.q, &c->desc.k, &c->desc.v, &c->desc.out, &c->desc.lse};
    uint64_t bytes[6];
    uint8_t *data[5] = {NULL};
    double *scores = NULL;
    rapt_buffer *buffers[6] = {NULL};
    rapt_binding *binding = NULL;
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_slot *slots[6] = {&args.q, &args.k, &args.v, &args.out, &args.lse, &args.cu_seqlens_q};
    int32_t cu[6] = {0, (int32_t)c->begin_q, (int32_t)(2 * c->begin_q), 0, (int32_t)c->begin_k,
                     (int32_t)(2 * c->begin_k)};
    uint32_t state = 12345;
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 6 && status == RAPT_OK; i++) {
        bytes[i] = i < 5 ? rapt_align_up(rapt_tensor_bytes(tensors[i]), 4) : sizeof cu;
        status = rapt_buffer_create(device, bytes[i], &buffers[i], error);
        slots[i]->buffer = buffers[i];
        if (status != RAPT_OK || i == 5)
            continue;
        data[i] = rapt_calloc(a, 1, bytes[i]);
        if (data[i] == NULL) {
            status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
            break;
        }
        memset(data[i], 0xff, bytes[i]); /* NaN wherever nothing is written below */
        uint32_t size = rapt_dtype_size(tensors[i]->dtype);
        if (i < 3)
            for (uint64_t h = 0; h < tensors[i]->size[1]; h++)
                for (uint64_t s = 0; s < tensors[i]->size[2]; s++)
                    for (uint64_t x = 0; x < tensors[i]->size[3]; x++)
                        put(data[i] + (element(tensors[i], h, s) + x) * size, tensors[i]->dtype,
                            probe_value(&state) * (i == 0 ? 4.0f : 1.0f));
        status = rapt_buffer_upload(buffers[i], 0, data[i], bytes[i], error);
    }
    scores = rapt_calloc(a, c->nk, sizeof *scores);
    if (status == RAPT_OK && scores == NULL)
        status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
    if (status == RAPT_OK)
        status = rapt_buffer_upload(buffers[5], 0, cu, sizeof cu, error);
    args.cu_seqlens_k = (rapt_slot){buffers[5], 3 * sizeof cu[0]};
    if (status == RAPT_OK)
        status = rapt_attention_bind(plan, &args, &binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(binding, 60ull * 1000000000, error);
    for (int i = 3; i < 5 && status == RAPT_OK; i++)
        status = rapt_buffer_download(buffers[i], 0, data[i], bytes[i], error);
    *error_share = 0;
    if (status == RAPT_OK)
        for (uint64_t s = 0; s < c->sequences; s++)
            for (uint64_t h = 0; h < c->heads_out; h++)
                for (uint64_t i = 0; i < c->nq; i++)
                    *error_share = fmax(*error_share, row_error(c, data, s, h, i, scores));
    rapt_binding_destroy(&binding);
    for (int i = 0; i < 6; i++)
        rapt_buffer_destroy(&buffers[i]);
    for (int i = 0; i < 5; i++)
        rapt_free(a, data[i], data[i] ? bytes[i] : 0);
    rapt_free(a, scores, c->nk * sizeof *scores);
    return status;
}

static void note_all(const rapt_plan *plan, rapt_verdict_kind verdict, const char *reason)
{
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        rapt_kernel *kernel = rapt_kernel_find(plan->device, &plan->pipelines[i]);
        /* A wrong result of a pair blames the row that has not been right before. */
        if (kernel != NULL && (verdict == RAPT_VERDICT_GOOD || kernel->verdict == RAPT_VERDICT_UNKNOWN))
            rapt_kernel_note(plan->device, kernel, verdict, reason);
    }
}

rapt_status rapt_probe_plan(rapt_plan *plan, rapt_error *error)
{
    rapt_device *device = plan->device;
    probe_case c;
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    make_case(plan, &c);
    uint64_t begin = rapt_now_ns();
    rapt_status status = rapt_plan_new(device, &device->caps, &c.desc, NULL, &small, error);
    if (status != RAPT_OK)
        return rapt_fail_prefix(error, status, "the probe of kernel '%s'", plan->pipelines[0].row->name);
    bool same = small->pipeline_count == plan->pipeline_count;
    for (uint32_t i = 0; same && i < plan->pipeline_count; i++)
        same = small->pipelines[i].row == plan->pipelines[i].row &&
               memcmp(small->pipelines[i].constants, plan->pipelines[i].constants,
                      sizeof plan->pipelines[i].constants) == 0;
    if (!same)
        status = rapt_fail(error, RAPT_ERROR_INVALID, "the probe of kernel '%s' does not reach its constants",
                           plan->pipelines[0].row->name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, error);
    double share = 0;
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_case(device, &c, small, &share, error);
    }
    rapt_plan_destroy(&small);
    if (status == RAPT_ERROR_TIMEOUT || status == RAPT_ERROR_INCOMPLETE) {
        note_all(plan, RAPT_VERDICT_BAD, "its known-answer probe did not finish");
        return RAPT_OK;
    }
    if (status != RAPT_OK)
        return status;
    if (share > 1) {
        char reason[160];
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
        note_all(plan, RAPT_VERDICT_BAD, reason);
    } else {
        note_all(plan, RAPT_VERDICT_GOOD, "");
    }
    rapt_log_write(&device->runtime->log, RAPT_LOG_DEBUG, "probe of %s: %.3g of the tolerance, %.1f ms",
                   plan->pipelines[0].row->name, share, (double)(rapt_now_ns() - begin) * 1e-6);
    return RAPT_OK;
}
