/* Outputs of attention that sum up its scores along one axis: column sums and row maxima. */
#include "op/attention.h"

static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t r;
    return rapt_mul_u64(a, b, &r) ? r : UINT64_MAX;
}

void rapt_problem_hide_lse(rapt_problem *p)
{
    const uint64_t batch = p->varlen ? 1 : p->batch;
    p->lse = p->lse_hidden = true;
    p->stride[RAPT_T_LSE][0] = batch > 1 ? p->heads_out * p->total_q : 0;
    p->stride[RAPT_T_LSE][1] = p->heads_out > 1 ? p->total_q : 0;
    p->stride[RAPT_T_LSE][2] = p->total_q > 1;
    p->bytes[RAPT_T_LSE] = product(product(batch, p->heads_out), product(p->total_q, 4));
    p->align[RAPT_T_LSE] = 4;
}

/* Rank, strides and overlaps of these tensors are checked. */
static rapt_status check_shape(const rapt_tensor *t, const char *name, uint64_t batch, uint64_t heads, uint64_t other_heads,
                               uint64_t tokens, rapt_error *error)
{
    if (t->dtype != RAPT_F32)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s, must be f32", name, rapt_dtype_name(t->dtype));
    if (t->size[0] == batch && (t->size[1] == heads || t->size[1] == other_heads) && t->size[2] == tokens)
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_INVALID, "%s is (%llu, %llu, %llu), must be (%llu, %llu%s%.0llu, %llu)", name,
                     (unsigned long long)t->size[0], (unsigned long long)t->size[1], (unsigned long long)t->size[2],
                     (unsigned long long)batch, (unsigned long long)heads, other_heads != heads ? " or " : "",
                     (unsigned long long)(other_heads != heads ? other_heads : 0), (unsigned long long)tokens);
}

rapt_status rapt_problem_margins(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    p->col_sums = d->col_sums.dtype != RAPT_DTYPE_NONE;
    p->row_max = d->row_max.dtype != RAPT_DTYPE_NONE;
    if (!p->col_sums && !p->row_max)
        return RAPT_OK;
    const uint64_t batch = d->q.size[0];
    if (p->grid.rank > 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s does not go with a grid", p->col_sums ? "col_sums" : "row_max");
    if (p->k_format != RAPT_DTYPE_NONE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s does not go with quantised keys", p->col_sums ? "col_sums" : "row_max");
    rapt_status status = RAPT_OK;
    if (p->col_sums)
        status = check_shape(&d->col_sums, "col_sums", batch, p->heads_out, p->heads_kv, p->paged ? p->nk : d->k.size[2], error);
    if (p->row_max && status == RAPT_OK)
        status = check_shape(&d->row_max, "row_max", batch, p->heads_out, p->heads_out, p->total_q, error);
    if (status != RAPT_OK)
        return status;
    p->col_sums_by_kv = p->col_sums && p->heads_kv != p->heads_out && d->col_sums.size[1] == p->heads_kv;
    const bool divided = p->link < RAPT_LINK_SIGMOID || rapt_link_two_passes(p->link);
    if (p->col_sums && divided && !p->lse)
        rapt_problem_hide_lse(p);
    /* Each makes the scores once more, as reported; the counts saturate. */
    const uint64_t dim = p->prepared ? p->source_dim : p->head_dim_qk;
    const uint64_t passes = product(p->flops / (2 * (dim + p->head_dim_v)), 2 * dim);
    for (int n = 0; n < p->col_sums + p->row_max; n++)
        p->flops = p->flops > UINT64_MAX - passes ? UINT64_MAX : p->flops + passes;
    p->bytes_written += p->bytes[RAPT_T_COL_SUMS] + p->bytes[RAPT_T_ROW_MAX];
    return RAPT_OK;
}
