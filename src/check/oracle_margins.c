#include "oracle_margins.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A problem whose values are the rows of a unit matrix, and whose keys lie in no pages. */
typedef struct unit_problem {
    rapt_attention_desc desc;
    rapt_check_inputs in;
    float *v, *key_bias;
    void *k;
    double *weights, *lse;
    uint8_t *rows;
} unit_problem;

static rapt_tensor contiguous(rapt_dtype dtype, uint64_t b, uint64_t h, uint64_t n, uint64_t d)
{
    return rapt_tensor_bhnd(dtype, b, h, n, d);
}

/* Keys of pages, gathered; those without a page are hidden by a bias. */
static bool gather_keys(unit_problem *p)
{
    rapt_attention_desc *d = &p->desc;
    const rapt_tensor from = d->k;
    const uint64_t batch = d->q.size[0], heads = from.size[1], nk = d->block_table.size[1] * d->page_size, dim = from.size[3];
    const size_t element = rapt_check_dtype_size(from.dtype);
    d->k = contiguous(from.dtype, batch, heads, nk, dim);
    d->key_bias = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {batch, 1, nk}, .stride = {(int64_t)nk, 0, 1}};
    p->k = calloc((size_t)(batch * heads * nk * dim) + 1, element);
    p->key_bias = calloc((size_t)(batch * nk) + 1, sizeof *p->key_bias);
    if (!p->k || !p->key_bias)
        return false;
    for (uint64_t b = 0; b < batch; b++)
        for (uint64_t j = 0; j < nk; j++) {
            const int32_t page = p->in.block_table[(int64_t)b * d->block_table.stride[0] + (int64_t)(j / d->page_size)];
            const bool there = page >= 0 && (uint64_t)page < from.size[0];
            p->key_bias[b * nk + j] = there ? 0 : -INFINITY;
            for (uint64_t h = 0; h < heads && there; h++)
                memcpy((char *)p->k + ((b * heads + h) * nk + j) * dim * element,
                       (const char *)p->in.k + (size_t)((int64_t)page * from.stride[0] + (int64_t)h * from.stride[1] +
                                                        (int64_t)(j % d->page_size) * from.stride[2]) * element,
                       (size_t)dim * element);
        }
    p->in.k = p->k;
    p->in.key_bias = p->key_bias;
    p->in.block_table = NULL;
    d->block_table = (rapt_tensor){0};
    d->page_size = 0;
    return true;
}

static bool unit_make(unit_problem *p, const rapt_attention_desc *desc, const rapt_check_inputs *in)
{
    *p = (unit_problem){.desc = *desc, .in = *in};
    if (in->block_table && !gather_keys(p))
        return false;
    rapt_attention_desc *d = &p->desc;
    const uint64_t nk = d->k.size[2], matrices = d->k.size[0] * d->k.size[1];
    const uint64_t rows = d->out.size[0] * d->out.size[1] * d->out.size[2];
    d->v = contiguous(RAPT_F32, d->k.size[0], d->k.size[1], nk, nk);
    d->out.size[3] = nk;
    p->v = calloc((size_t)(matrices * nk * nk) + 1, sizeof *p->v);
    p->weights = calloc((size_t)(rows * nk) + 1, sizeof *p->weights);
    p->lse = calloc((size_t)rows + 1, sizeof *p->lse);
    p->rows = calloc((size_t)rows + 1, 1);
    for (uint64_t j = 0; p->v && j < matrices * nk; j++)
        p->v[j * nk + j % nk] = 1;
    p->in.v = p->v;
    return p->v && p->weights && p->lse && p->rows;
}

static void unit_free(unit_problem *p)
{
    free(p->v);
    free(p->k);
    free(p->key_bias);
    free(p->weights);
    free(p->lse);
    free(p->rows);
}

static void add_columns(const unit_problem *p, uint64_t kinds, double *sums, uint8_t *columns)
{
    const rapt_attention_desc *d = &p->desc;
    const uint64_t batch = d->out.size[0], heads = d->out.size[1], nq = d->out.size[2], nk = d->k.size[2];
    for (uint64_t n = 0; n < batch * kinds * nk; n++) {
        sums[n] = 0;
        columns[n] = RAPT_ROW_DONE;
    }
    for (uint64_t row = 0; row < batch * heads * nq; row++) {
        const uint64_t b = row / nq / heads, g = row / nq % heads, at = (b * kinds + g * kinds / heads) * nk;
        for (uint64_t j = 0; j < nk; j++)
            if (p->rows[row] == RAPT_ROW_DONE)
                sums[at + j] += p->weights[row * nk + j];
            else if (p->rows[row] == RAPT_ROW_ANY && rapt_check_attention_sees(d, row % nq, nq, nk, j))
                columns[at + j] = RAPT_ROW_ANY;
    }
    for (uint64_t j = 0; d->sequences > 0 && j < nk; j++)
        if ((int64_t)j < p->in.cu_seqlens_k[0] || (int64_t)j >= p->in.cu_seqlens_k[d->sequences])
            for (uint64_t h = 0; h < kinds; h++)
                columns[h * nk + j] = RAPT_ROW_UNTOUCHED;
}

bool rapt_check_margins_f64(const rapt_attention_desc *desc, const rapt_check_inputs *in, double *col_sums,
                            uint8_t *columns, double *row_max, uint8_t *rows)
{
    unit_problem p;
    bool good = unit_make(&p, desc, in);
    if (good && col_sums) {
        good = rapt_check_attention_f64(&p.desc, &p.in, 1, p.weights, p.lse, p.rows);
        if (good)
            add_columns(&p, desc->col_sums.size[1], col_sums, columns);
    }
    if (good && row_max) {
        p.desc.link = RAPT_LINK_SOFTMAX;
        p.desc.decay = p.desc.sinks = (rapt_tensor){0};
        good = rapt_check_attention_f64(&p.desc, &p.in, 1, p.weights, p.lse, p.rows);
        const uint64_t nk = p.desc.k.size[2], count = p.desc.out.size[0] * p.desc.out.size[1] * p.desc.out.size[2];
        for (uint64_t row = 0; good && row < count; row++) {
            double largest = 0;
            for (uint64_t j = 0; j < nk; j++)
                largest = fmax(largest, p.weights[row * nk + j]);
            rows[row] = p.rows[row];
            row_max[row] = largest > 0 ? log(largest) + p.lse[row] : -INFINITY;
        }
    }
    unit_free(&p);
    return good;
}
