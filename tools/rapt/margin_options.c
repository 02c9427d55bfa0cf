/* Row maxima and column sums, asked for on the command line. */
#include "problem_options.h"

static rapt_tensor margin(uint64_t batch, uint64_t heads, uint64_t n)
{
    return (rapt_tensor){.dtype = RAPT_F32,
                         .rank = 3,
                         .size = {batch, heads, n},
                         .stride = {(int64_t)(heads * n), (int64_t)n, 1}};
}

void tool_want_margins(rapt_attention_desc *d, bool row_max, bool col_sums, bool by_kv_head)
{
    const uint64_t batch = d->q.size[0];
    const uint64_t nk = d->block_table.dtype != RAPT_DTYPE_NONE ? d->block_table.size[1] * d->page_size : d->k.size[2];
    if (row_max)
        d->row_max = margin(batch, d->out.size[1], d->q.size[2]);
    if (col_sums)
        d->col_sums = margin(batch, by_kv_head ? d->k.size[1] : d->out.size[1], nk);
}
