/* Key-value caches: pages, and batch entries with numbers of keys of their own. */
#include "op/attention.h"

/* What takes its keys as packed, as a grid or anew for each call. */
static const char *not_with_caches(const rapt_attention_desc *d)
{
    return d->sequences > 0                           ? "packed sequences"
           : d->grid.rank > 0                         ? "a grid"
           : d->place_width > 0                       ? "place_width"
           : d->flags & RAPT_ATTENTION_QK_NORM        ? "QK-norm: keep keys that are normalised"
           : d->rope_base != 0.0                      ? "rotary positions: keep keys that are turned"
           : d->bias_u.dtype != RAPT_DTYPE_NONE       ? "a low-rank bias"
                                                      : NULL;
}

static rapt_status check_words(const rapt_tensor *t, const char *name, const char *shape, uint32_t rank, uint64_t batch,
                               rapt_error *error)
{
    if (t->dtype != RAPT_I32 || t->rank != rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s of rank %u, must be i32 of rank %u: %s", name,
                         rapt_dtype_name(t->dtype), t->rank, rank, shape);
    if (t->size[0] != batch)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is for %llu batch entries, q has %llu", name,
                         (unsigned long long)t->size[0], (unsigned long long)batch);
    if (t->size[rank - 1] > 1 && t->stride[rank - 1] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", name,
                         (long long)t->stride[rank - 1]);
    if (rank > 1 && t->size[0] > 1 && (t->stride[0] < 0 || t->stride[0] > INT64_MAX / 16 / (int64_t)t->size[0]))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of batch", name, (long long)t->stride[0]);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < 4))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least 4", name, t->align);
    return RAPT_OK;
}

static rapt_status check_table(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    const rapt_tensor *t = &d->block_table;
    rapt_status status = check_words(t, "block_table", "(batch, max_pages)", 2, d->q.size[0], error);
    if (status != RAPT_OK)
        return status;
    if (d->page_size < 1 || d->page_size > RAPT_MAX_SEQUENCE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "page_size is %u, must be 1 to 2^29", d->page_size);
    if (d->k.size[2] != d->page_size)
        return rapt_fail(error, RAPT_ERROR_INVALID, "k has pages of %llu keys, page_size is %u: with block_table its axes are "
                         "(pages, kv_heads, page_size, head_dim)", (unsigned long long)d->k.size[2], d->page_size);
    if (d->k.size[0] > INT32_MAX)
        return rapt_fail(error, RAPT_ERROR_INVALID, "k has %llu pages, at most 2^31 - 1", (unsigned long long)d->k.size[0]);
    if (t->size[1] > RAPT_MAX_SEQUENCE / d->page_size)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu pages of %u keys are more than 2^29 keys",
                         (unsigned long long)t->size[1], d->page_size);
    p->paged = true;
    p->page_size = d->page_size;
    p->pages = d->k.size[0];
    p->nk = p->pages > 0 ? t->size[1] * d->page_size : 0; /* of no pool no key can be seen */
    const bool lines = t->size[0] > 1;
    const uint64_t extent = (lines ? (t->size[0] - 1) * (uint64_t)t->stride[0] : 0) + t->size[1];
    p->extra[RAPT_X_PAGES] = (rapt_extra){.batch = t->size[0],
                                          .heads = 1,
                                          .count = t->size[1],
                                          .stride_b = lines ? (uint64_t)t->stride[0] : 0,
                                          .bytes = t->size[0] > 0 && t->size[1] > 0 ? extent * 4 : 0,
                                          .usage = t->usage};
    return RAPT_OK;
}

rapt_status rapt_problem_pages(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    const bool paged = d->block_table.dtype != RAPT_DTYPE_NONE, ragged = d->k_lengths.dtype != RAPT_DTYPE_NONE;
    const bool quantised = p->k_format || p->v_format;
    const char *other = paged || ragged || quantised ? not_with_caches(d) : NULL;
    if (other != NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s does not go with %s",
                         paged    ? "block_table"
                         : ragged ? "k_lengths"
                                  : rapt_dtype_name(p->k_format ? p->k_format : p->v_format),
                         other);
    if (!paged && d->page_size != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "page_size goes with block_table");
    rapt_status status = paged ? check_table(d, p, error) : RAPT_OK;
    if (status != RAPT_OK || !ragged)
        return status;
    p->ragged = true;
    p->lengths_usage = d->k_lengths.usage;
    return check_words(&d->k_lengths, "k_lengths", "(batch)", 1, d->q.size[0], error);
}
