/* What rewrites q and k before attention: QK-norm, rotary positions, low-rank biases. */
#include "op/attention.h"

#include <math.h>

static rapt_source source_of(const rapt_tensor *t)
{
    rapt_source s = {.bytes = rapt_tensor_bytes(t), .align = t->align ? t->align : 16, .usage = t->usage};
    for (unsigned axis = 0; axis < 3; axis++)
        s.stride[axis] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
    return s;
}

/* What is rewritten lies in the workspace: rows of `pitch` elements, without gaps. false: too large. */
static bool place_rewritten(rapt_problem *p, unsigned t, const rapt_tensor *source, uint64_t pitch)
{
    uint64_t head, batch, all;
    if (!rapt_mul_u64(source->size[2], pitch, &head) || !rapt_mul_u64(head, source->size[1], &batch) ||
        !rapt_mul_u64(batch, source->size[0], &all) || all > INT64_MAX / 8)
        return false;
    p->stride[t][0] = source->size[0] > 1 ? batch : 0;
    p->stride[t][1] = source->size[1] > 1 ? head : 0;
    p->stride[t][2] = source->size[2] > 1 ? pitch : 0;
    p->bytes[t] = all * rapt_dtype_size(p->dtype);
    p->align[t] = 16;
    p->usage[t] = 0;
    return true;
}

static rapt_status check_factors(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    const rapt_tensor *factors[2] = {&d->bias_u, &d->bias_v};
    static const char *const names[2] = {"bias_u", "bias_v"}, *const lengths[2] = {"nq", "nk"};
    if ((d->bias_u.dtype == RAPT_DTYPE_NONE) != (d->bias_v.dtype == RAPT_DTYPE_NONE))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is missing: a low-rank bias has both factors",
                         d->bias_u.dtype == RAPT_DTYPE_NONE ? "bias_u" : "bias_v");
    if (d->bias_u.dtype == RAPT_DTYPE_NONE)
        return RAPT_OK;
    for (unsigned i = 0; i < 2; i++) {
        const rapt_tensor *t = factors[i];
        if (t->dtype != p->dtype)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s, must be %s as q", names[i], rapt_dtype_name(t->dtype),
                             rapt_dtype_name(p->dtype));
        rapt_status status = rapt_tensor_check(t, names[i], 4, false, error);
        if (status != RAPT_OK)
            return status;
        const uint64_t length = (i ? &d->k : &d->q)->size[2];
        if ((t->size[0] != 1 && t->size[0] != d->q.size[0]) || (t->size[1] != 1 && t->size[1] != p->heads_q) ||
            t->size[2] != length || t->size[3] != d->bias_u.size[3])
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "%s is (%llu, %llu, %llu, %llu), must be (batch or 1, q_heads or 1, %s, R) with batch %llu, q_heads "
                             "%llu, %s %llu, R %llu",
                             names[i], (unsigned long long)t->size[0], (unsigned long long)t->size[1],
                             (unsigned long long)t->size[2], (unsigned long long)t->size[3], lengths[i],
                             (unsigned long long)d->q.size[0], (unsigned long long)p->heads_q, lengths[i],
                             (unsigned long long)length, (unsigned long long)d->bias_u.size[3]);
        p->factor[i] = source_of(t);
        if (i == 1 && t->size[1] > 1 && p->heads_q != p->heads_kv)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "bias_v has %llu heads, but %llu query heads share %llu kv heads: it must have 1",
                             (unsigned long long)t->size[1], (unsigned long long)p->heads_q,
                             (unsigned long long)p->heads_kv);
    }
    if (d->bias_u.size[3] < 1 || d->bias_u.size[3] > RAPT_MAX_HEAD_DIM)
        return rapt_fail(error, RAPT_ERROR_INVALID, "bias_u and bias_v: rank %llu, must be 1 to %u",
                         (unsigned long long)d->bias_u.size[3], RAPT_MAX_HEAD_DIM);
    p->rank = (uint32_t)d->bias_u.size[3];
    if (d->soft_cap != 0.0f)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "soft_cap comes before biases, and a low-rank bias is part of the dot product: not both");
    if (p->scale == 0.0f || !isfinite(1.0f / p->scale))
        return rapt_fail(error, RAPT_ERROR_INVALID, "scale %g: a low-rank bias is divided by it", (double)p->scale);
    return RAPT_OK;
}

static rapt_status check_rope(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    if (d->rope_base == 0.0) {
        if (d->rope_dim != 0 || (d->flags & RAPT_ATTENTION_ROPE_INTERLEAVED))
            return rapt_fail(error, RAPT_ERROR_INVALID, "rope_dim and RAPT_ATTENTION_ROPE_INTERLEAVED go with rope_base");
        return RAPT_OK;
    }
    if (!isfinite(d->rope_base) || d->rope_base <= 1.0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rope_base %g, must be above 1", d->rope_base);
    p->rope_dim = d->rope_dim ? d->rope_dim : p->head_dim_qk;
    if (p->rope_dim % 2 != 0 || p->rope_dim > p->head_dim_qk)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rope_dim %u, must be even and at most head_dim %u", p->rope_dim,
                         p->head_dim_qk);
    p->rope_base = d->rope_base;
    p->rope_interleaved = d->flags & RAPT_ATTENTION_ROPE_INTERLEAVED;
    return RAPT_OK;
}

rapt_status rapt_problem_prepare(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    p->norm_epsilon = -1.0f;
    if (d->flags & RAPT_ATTENTION_QK_NORM) {
        p->norm_epsilon = d->qk_norm_epsilon;
        if (!isfinite(p->norm_epsilon) || p->norm_epsilon < 0.0f)
            return rapt_fail(error, RAPT_ERROR_INVALID, "qk_norm_epsilon %g, must be at least 0",
                             (double)p->norm_epsilon);
    } else if (d->qk_norm_epsilon != 0.0f) {
        return rapt_fail(error, RAPT_ERROR_INVALID, "qk_norm_epsilon goes with RAPT_ATTENTION_QK_NORM");
    }
    rapt_status status = check_rope(d, p, error);
    if (status == RAPT_OK)
        status = check_factors(d, p, error);
    if (status != RAPT_OK)
        return status;
    p->prepared = p->norm_epsilon >= 0.0f || p->rope_dim > 0 || p->rank > 0;
    if (!p->prepared)
        return RAPT_OK;
    p->source_dim = p->head_dim_qk;
    p->source[0] = source_of(&d->q);
    p->source[1] = source_of(&d->k);
    const uint32_t dim = p->source_dim + p->rank;
    if (dim > RAPT_MAX_HEAD_DIM)
        return rapt_fail(error, RAPT_ERROR_INVALID, "head_dim %u and a bias of rank %u are %u together, at most %u",
                         p->source_dim, p->rank, dim, RAPT_MAX_HEAD_DIM);
    p->head_dim_qk = (dim + 3u) & ~3u; /* with zeros behind */
    const uint64_t pitch = rapt_align_up(p->head_dim_qk, 8);
    if (!place_rewritten(p, RAPT_T_Q, &d->q, pitch) || !place_rewritten(p, RAPT_T_K, &d->k, pitch))
        return rapt_fail(error, RAPT_ERROR_INVALID, "q and k of this problem are too large to be rewritten");
    return RAPT_OK;
}
