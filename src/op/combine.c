/* From a descriptor of rapt/combine.h to its canonical problem. */
#include "op/combine.h"

#include "op/attention.h"

#include <math.h>
#include <string.h>

#define MAX_ROWS (1ull << 31) /* rows are numbered in 32 bits */

/* Whether a tensor has these sizes, or 1 where `may_be_one`; its place among the problem's. */
static rapt_status take(const rapt_tensor *t, const char *name, rapt_dtype dtype, const uint64_t want[4], uint32_t rank,
                        bool may_be_one, rapt_combine_tensor *out, rapt_error *error)
{
    if (t->dtype != dtype || t->rank != rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s of rank %u, must be %s of rank %u", name, rapt_dtype_name(t->dtype),
                         t->rank, rapt_dtype_name(dtype), rank);
    for (uint32_t axis = 0; axis < rank; axis++) {
        const bool inner = axis == 3;
        if (t->size[axis] != want[axis] && !(may_be_one && !inner && t->size[axis] == 1))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: axis %u has %llu entries, must be %llu%s", name, axis,
                             (unsigned long long)t->size[axis], (unsigned long long)want[axis], may_be_one && !inner ? " or 1" : "");
        if (t->size[axis] > 1 && t->stride[axis] < 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: negative stride %lld of axis %u", name, (long long)t->stride[axis], axis);
    }
    if (rank == 4 && t->size[3] > 1 && t->stride[3] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", name, (long long)t->stride[3]);
    const uint32_t element = rapt_dtype_size(dtype);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < element))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least %u", name, t->align, element);
    const uint64_t bytes = rapt_tensor_bytes(t);
    if (bytes > UINT64_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", name);
    *out = (rapt_combine_tensor){.inner = rank == 4 ? t->size[3] : 1,
                                 .bytes = bytes,
                                 .element = element,
                                 .align = t->align ? t->align : 16,
                                 .usage = t->usage,
                                 .present = true};
    for (unsigned axis = 0; axis < 3; axis++)
        out->stride[axis] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
    return RAPT_OK;
}

static bool is_there(const rapt_tensor *t)
{
    return t->dtype != RAPT_DTYPE_NONE;
}

static rapt_status check_top(const rapt_combine_desc *d, rapt_combine_problem *p, const uint64_t *shape, rapt_error *error)
{
    if (p->terms != 1 || !is_there(&d->weight[0]) || d->weight[0].size[1] != shape[1])
        return rapt_fail(error, RAPT_ERROR_INVALID, "the top heads are of one term, whose weight has %llu heads",
                         (unsigned long long)shape[1]);
    if (d->top == 0 || d->top > shape[1] || d->top_normalise > 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "top is %u, must be 1 to %llu, and top_normalise 0 or 1", d->top,
                         (unsigned long long)shape[1]);
    p->top = d->top;
    p->top_normalise = d->top_normalise != 0;
    return RAPT_OK;
}

static rapt_status take_terms(const rapt_combine_desc *d, rapt_combine_problem *p, const uint64_t *shape, rapt_error *error)
{
    static const char *const names[] = {"x[0]", "x[1]", "x[2]", "weight[0]", "weight[1]", "weight[2]"};
    for (unsigned t = 0; t < RAPT_COMBINE_TERMS; t++) {
        const bool there = is_there(&d->x[t]), weighed = is_there(&d->weight[t]);
        if (there && p->terms < t)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s is there, but the one before it is not", names[t]);
        if (!there && weighed)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s goes with its term", names[3 + t]);
        if (!there)
            continue;
        p->terms++;
        p->factor[t] = d->factor[t];
        rapt_status status = take(&d->x[t], names[t], p->from, shape, 4, true, &p->tensor[RAPT_C_X0 + t], error);
        if (status == RAPT_OK && weighed)
            status = take(&d->weight[t], names[3 + t], RAPT_F32, shape, 3, true, &p->tensor[RAPT_C_W0 + t], error);
        if (status != RAPT_OK)
            return status;
        if (!weighed && d->weights == RAPT_COMBINE_SOFTMAX)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s is missing: a softmax over the terms needs them all", names[3 + t]);
        if (!isfinite(d->factor[t]))
            return rapt_fail(error, RAPT_ERROR_INVALID, "factor[%u] is not finite", t);
    }
    if (p->terms == 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "there is no term: x[0] is missing");
    return p->weights == RAPT_COMBINE_TOP ? check_top(d, p, shape, error) : RAPT_OK;
}

/* Norm, gate and log-sum-exp. */
static rapt_status take_finish(const rapt_combine_desc *d, rapt_combine_problem *p, const uint64_t *shape, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    p->norm = d->norm != 0;
    p->epsilon = p->norm ? d->norm_epsilon : 0.0f;
    if (!p->norm && (is_there(&d->norm_weight) || d->norm_epsilon != 0.0f))
        return rapt_fail(error, RAPT_ERROR_INVALID, "norm_weight and norm_epsilon go with norm");
    if (p->norm && (!isfinite(d->norm_epsilon) || d->norm_epsilon < 0.0f))
        return rapt_fail(error, RAPT_ERROR_INVALID, "norm_epsilon %g, must be at least 0", (double)d->norm_epsilon);
    if (is_there(&d->norm_weight)) { /* (1, heads or 1, 1, d) */
        rapt_tensor t = d->norm_weight;
        const uint64_t want[4] = {1, shape[1], 1, shape[3]};
        if (t.rank != 2)
            return rapt_fail(error, RAPT_ERROR_INVALID, "norm_weight: rank %u, must be (heads or 1, d)", t.rank);
        t = (rapt_tensor){.dtype = t.dtype, .rank = 4, .size = {1, t.size[0], 1, t.size[1]}, .stride = {0, t.stride[0], 0, t.stride[1]},
                          .align = t.align, .usage = t.usage};
        status = take(&t, "norm_weight", RAPT_F32, want, 4, true, &p->tensor[RAPT_C_NORM], error);
    }
    p->gate = is_there(&d->gate);
    if (status == RAPT_OK && p->gate) {
        if (p->terms == RAPT_COMBINE_TERMS)
            return rapt_fail(error, RAPT_ERROR_INVALID, "a gate goes with at most two terms");
        if ((unsigned)d->gate_kind >= RAPT_GATE_KIND_COUNT)
            return rapt_fail(error, RAPT_ERROR_INVALID, "gate_kind is %u, of %u", (unsigned)d->gate_kind, RAPT_GATE_KIND_COUNT);
        p->gate_kind = d->gate_kind;
        status = take(&d->gate, "gate", p->from, shape, 4, false, &p->tensor[RAPT_C_X2], error);
    }
    p->lse = is_there(&d->lse);
    if (status == RAPT_OK && p->lse) {
        if (p->weights != RAPT_COMBINE_SOFTMAX || p->norm)
            return rapt_fail(error, RAPT_ERROR_INVALID, "lse goes with a softmax over the terms and without a norm");
        status = rapt_tensor_check(&d->lse, "lse", 3, true, error);
        if (status == RAPT_OK)
            status = take(&d->lse, "lse", RAPT_F32, shape, 3, false, &p->tensor[RAPT_C_NORM], error);
    }
    return status;
}

rapt_status rapt_combine_problem_make(const rapt_combine_desc *d, rapt_combine_problem *p, rapt_error *error)
{
    memset(p, 0, sizeof *p);
    if (d == NULL || d->struct_size < sizeof *d)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_combine_desc is NULL, or its struct_size is not %zu", sizeof *d);
    const rapt_tensor *out = &d->out;
    if (out->dtype != RAPT_F32 && out->dtype != RAPT_F16 && out->dtype != RAPT_BF16)
        return rapt_fail(error, RAPT_ERROR_INVALID, "out: dtype %s, must be f32, f16 or bf16", rapt_dtype_name(out->dtype));
    if ((unsigned)d->weights >= RAPT_COMBINE_WEIGHTS_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "weights is %u, of %u", (unsigned)d->weights, RAPT_COMBINE_WEIGHTS_COUNT);
    if (!isfinite(d->out_factor) || d->slice_ms < 0.0f || !isfinite(d->slice_ms))
        return rapt_fail(error, RAPT_ERROR_INVALID, "out_factor %g and slice_ms %g: must be finite, the last at least 0",
                         (double)d->out_factor, (double)d->slice_ms);
    if ((unsigned)d->act >= RAPT_COMBINE_ACT_COUNT || !isfinite(d->offset))
        return rapt_fail(error, RAPT_ERROR_INVALID, "act is %u, of %u; offset is %g, must be finite", (unsigned)d->act, RAPT_COMBINE_ACT_COUNT,
                         (double)d->offset);
    p->dtype = out->dtype;
    p->from = d->x[0].dtype == RAPT_F32 ? RAPT_F32 : out->dtype;
    p->act = d->act;
    p->offset = d->offset;
    p->weights = d->weights;
    p->out_factor = d->out_factor;
    p->slice_ms = d->slice_ms > 0.0f ? d->slice_ms : 50.0f;
    rapt_status status = rapt_tensor_check(out, "out", 4, true, error);
    if (status == RAPT_OK)
        status = take(out, "out", out->dtype, out->size, 4, false, &p->tensor[RAPT_C_OUT], error);
    if (status == RAPT_OK)
        status = take_terms(d, p, out->size, error);
    if (status == RAPT_OK)
        status = take_finish(d, p, out->size, error);
    if (status != RAPT_OK)
        return status;
    uint64_t rows = 1;
    for (unsigned axis = 0; axis < 3; axis++)
        if ((out->size[axis] > 0 && !rapt_mul_u64(rows, out->size[axis], &rows)) || rows > MAX_ROWS)
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "out has more than 2^31 rows");
    p->batch = out->size[0];
    p->heads = out->size[1];
    p->n = out->size[2];
    p->d = out->size[3];
    p->empty = p->tensor[RAPT_C_OUT].bytes == 0;
    if (p->d == 0 || p->d > UINT32_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "d is %llu, must be 1 to 2^29", (unsigned long long)p->d);
    const uint64_t elements = p->empty ? 0 : rows * p->d;
    p->flops = elements * (2ull * p->terms * (p->norm ? 2 : 1) + 2);
    for (unsigned t = 0; t < RAPT_C_OUT; t++)
        if (!(t == RAPT_C_NORM && p->lse))
            p->bytes_read += p->tensor[t].bytes;
    p->bytes_written = p->tensor[RAPT_C_OUT].bytes + (p->lse ? p->tensor[RAPT_C_NORM].bytes : 0);
    return RAPT_OK;
}
