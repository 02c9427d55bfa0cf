#include "problem.h"

#include "compare.h"
#include "half.h"
#include "quantised.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 256 /* poisoned bytes before and after what tensors take */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) / align * align;
}

/* ---- shapes and places ---- */

static rapt_tensor tensor(rapt_dtype dtype, uint64_t b, uint64_t h, uint64_t n, uint64_t d,
                          const int64_t stride[3])
{
    return (rapt_tensor){
        .dtype = dtype, .rank = 4, .size = {b, h, n, d}, .stride = {stride[0], stride[1], stride[2], 1}};
}

static rapt_tensor lay_out(const rapt_case *c, uint64_t heads, uint64_t length, uint64_t dim, bool kv);

/* Keys or values, of `format` where that is one. */
static rapt_tensor lay_out_cache(const rapt_case *c, rapt_dtype format, uint64_t length, uint64_t dim)
{
    rapt_case as = *c;
    if (format == RAPT_DTYPE_NONE)
        return lay_out(c, c->kv_heads, length, dim, true);
    as.dtype = format;
    return lay_out(&as, c->kv_heads, length, rapt_check_row_words(format, dim), true);
}

/* A tensor of the case's layout, alone in its buffer. `kv`: broadcast applies. */
static rapt_tensor lay_out(const rapt_case *c, uint64_t heads, uint64_t length, uint64_t dim, bool kv)
{
    const int64_t h = (int64_t)heads, n = (int64_t)length, d = (int64_t)dim;
    switch (c->layout) {
    case RAPT_LAYOUT_BNHD:
    case RAPT_LAYOUT_PACKED: /* the output beside packed inputs */
        return tensor(c->dtype, c->batch, heads, length, dim, (const int64_t[]){n * h * d, d, h * d});
    case RAPT_LAYOUT_ODD: {
        const int64_t row = d + 3, head = n * row + 5;
        return tensor(c->dtype, c->batch, heads, length, dim, (const int64_t[]){h * head + 7, head, row});
    }
    case RAPT_LAYOUT_BROADCAST:
        if (kv)
            return tensor(c->dtype, c->batch, heads, length, dim, (const int64_t[]){0, 0, d});
        break;
    default:
        break;
    }
    return tensor(c->dtype, c->batch, heads, length, dim, (const int64_t[]){h * n * d, n * d, d});
}

static uint64_t tensor_bytes(const rapt_tensor *t)
{
    uint64_t last = 0;
    for (unsigned axis = 0; axis < t->rank; axis++) {
        if (t->size[axis] == 0)
            return 0;
        last += (t->size[axis] - 1) * (uint64_t)t->stride[axis];
    }
    return (last + 1) * rapt_check_dtype_size(t->dtype);
}

/* Gives a tensor a buffer of its own, at an odd element in the odd layout. */
static void place(rapt_check_problem *p, int op, rapt_tensor *t)
{
    const uint64_t element = rapt_check_dtype_size(t->dtype);
    const uint64_t odd = p->c.layout == RAPT_LAYOUT_ODD ? (2 * (uint64_t)op + 1) * element : 0;
    t->align = odd > 0 ? (uint32_t)element : 0;
    p->operands[op].offset = GUARD + odd;
    p->operands[op].bytes = align_up(GUARD + odd + tensor_bytes(t), 16) + GUARD;
    p->operands[op].shares = op;
}

/* Q, K and V as columns of one matrix where their lengths agree, else K and V alone. */
static void place_packed(rapt_check_problem *p)
{
    const rapt_case *c = &p->c;
    const uint64_t element = rapt_check_dtype_size(c->dtype);
    const bool all = c->nq == c->nk;
    const uint64_t q_columns = all ? c->q_heads * c->d_qk : 0, k_columns = c->kv_heads * c->d_qk;
    const int64_t row = (int64_t)(q_columns + k_columns + c->kv_heads * c->d_v),
                  matrix = (int64_t)c->nk * row;
    rapt_attention_desc *d = &p->desc;
    d->k = tensor(c->dtype, c->batch, c->kv_heads, c->nk, c->d_qk,
                  (const int64_t[]){matrix, (int64_t)c->d_qk, row});
    d->v = tensor(c->dtype, c->batch, c->kv_heads, c->nk, c->d_v,
                  (const int64_t[]){matrix, (int64_t)c->d_v, row});
    d->q = lay_out(c, c->q_heads, c->nq, c->d_qk, false);
    if (all)
        d->q = tensor(c->dtype, c->batch, c->q_heads, c->nq, c->d_qk,
                      (const int64_t[]){matrix, (int64_t)c->d_qk, row});
    else
        place(p, RAPT_OP_Q, &d->q);
    const int owner = all ? RAPT_OP_Q : RAPT_OP_K;
    const uint64_t bytes = align_up(c->batch * (uint64_t)matrix * element, 16) + 2 * GUARD;
    const uint64_t columns[3] = {0, q_columns, q_columns + k_columns};
    rapt_tensor *tensors[3] = {&d->q, &d->k, &d->v};
    for (int op = all ? RAPT_OP_Q : RAPT_OP_K; op <= RAPT_OP_V; op++) {
        p->operands[op] =
            (rapt_check_operand){.bytes = bytes, .offset = GUARD + columns[op] * element, .shares = owner};
        uint32_t align = 16;
        while (p->operands[op].offset % align != 0)
            align /= 2;
        tensors[op]->align = align;
    }
}

static void place_lse(rapt_check_problem *p)
{
    const rapt_case *c = &p->c;
    const int64_t gap = c->layout == RAPT_LAYOUT_ODD ? 3 : 0, row = (int64_t)c->nq + gap;
    rapt_tensor *t = &p->desc.lse;
    if (c->no_lse)
        return;
    *t = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {c->batch, p->heads, c->nq}};
    t->stride[0] = (int64_t)p->heads * row + gap;
    t->stride[1] = row;
    t->stride[2] = 1;
    if (c->layout == RAPT_LAYOUT_BNHD) { /* (batch, sequence, heads) in memory */
        t->stride[1] = 1;
        t->stride[2] = (int64_t)p->heads;
    }
    place(p, RAPT_OP_LSE, t);
}

static void place_lengths(rapt_check_problem *p)
{
    for (int op = RAPT_OP_CU_Q; op <= RAPT_OP_CU_K && p->c.sequences > 0; op++)
        p->operands[op] =
            (rapt_check_operand){.bytes = align_up((p->c.sequences + 1) * sizeof(int32_t), 16) + 2 * GUARD,
                                 .offset = GUARD,
                                 .shares = op};
}

/* A dense vector beside the tensors; in the odd layout its rows lie apart, and it starts at an odd element. */
static void place_extra(rapt_check_problem *p, int op, rapt_tensor *t, rapt_dtype dtype, uint32_t rank, const uint64_t *size)
{
    const int64_t gap = p->c.layout == RAPT_LAYOUT_ODD ? 3 : 0;
    *t = (rapt_tensor){.dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        t->size[axis] = size[axis];
        t->stride[axis] = stride;
        stride = stride * (int64_t)max_u64(size[axis], 1) + gap;
    }
    place(p, op, t);
}

/* The last two axes lie side by side in any layout. */
static void place_blocks(rapt_check_problem *p)
{
    const rapt_case *c = &p->c;
    rapt_attention_desc *d = &p->desc;
    const uint64_t gap = c->layout == RAPT_LAYOUT_ODD ? 3 : 0, batch = c->sequences ? c->sequences : c->batch;
    const uint64_t nq = c->sequences ? d->max_seqlen_q : c->nq, nk = c->sequences ? d->max_seqlen_k : c->nk;
    const uint64_t lines = (nq + c->block_q - 1) / c->block_q, pitch = (nk + c->block_k - 1) / c->block_k;
    rapt_tensor *t = &d->block_mask;
    *t = (rapt_tensor){.dtype = RAPT_I32,
                       .rank = 4,
                       .size = {c->blocks == 1 ? batch : 1, c->blocks == 3 ? 1 : c->q_heads, lines, pitch}};
    t->stride[3] = 1;
    t->stride[2] = (int64_t)pitch;
    t->stride[1] = (int64_t)(lines * pitch + gap);
    t->stride[0] = t->stride[1] * (int64_t)t->size[1] + (int64_t)gap;
    d->block_q = c->block_q;
    d->block_k = c->block_k;
    place(p, RAPT_OP_BLOCKS, t);
}

static void place_extras(rapt_check_problem *p)
{
    const rapt_case *c = &p->c;
    rapt_attention_desc *d = &p->desc;
    const uint64_t heads[] = {0, c->q_heads, p->heads};
    const uint64_t bias[3] = {c->key_bias == 1 ? c->batch : 1, c->key_bias == 3 ? 1 : c->q_heads, c->nk};
    if (c->sinks)
        place_extra(p, RAPT_OP_SINKS, &d->sinks, RAPT_F32, 1, &heads[c->sinks]);
    if (c->alibi)
        place_extra(p, RAPT_OP_ALIBI, &d->alibi, RAPT_F32, 1, &heads[1]);
    if (c->key_bias)
        place_extra(p, RAPT_OP_KEY_BIAS, &d->key_bias, RAPT_F32, 3, bias);
    if (c->bias)
        place_extra(p, RAPT_OP_BIAS, &d->bias, RAPT_F32, 4,
                    (const uint64_t[]){c->bias == 1 ? c->batch : 1, c->bias == 3 ? 1 : c->q_heads, c->nq, c->nk});
    if (c->rank) {
        place_extra(p, RAPT_OP_BIAS_U, &d->bias_u, c->dtype, 4, (const uint64_t[]){c->batch, c->q_heads, c->nq, c->rank});
        place_extra(p, RAPT_OP_BIAS_V, &d->bias_v, c->dtype, 4,
                    (const uint64_t[]){1, c->q_heads == c->kv_heads ? c->q_heads : 1, c->nk, c->rank});
    }
    if (c->relative && (c->place_width > 0 || c->grid.rank == 2))
        place_extra(p, RAPT_OP_RELATIVE, &d->relative, RAPT_F32, 3, (const uint64_t[]){c->relative == 1 ? c->q_heads : 1, 7, 9});
    else if (c->relative)
        place_extra(p, RAPT_OP_RELATIVE, &d->relative, RAPT_F32, 2, (const uint64_t[]){c->relative == 1 ? c->q_heads : 1, 43});
    if (c->relative && d->relative.rank == 3) /* the axes behind the heads without the gap that place_extra leaves */
        d->relative.stride[1] = 9;
    if (c->decay)
        place_extra(p, RAPT_OP_DECAY, &d->decay, RAPT_F32, 1, &heads[1]);
    if (c->segments)
        place_extra(p, RAPT_OP_SEGMENTS, &d->segments, RAPT_I32, 2, (const uint64_t[]){c->batch, c->nk});
    if (c->blocks)
        place_blocks(p);
}

/* A pool with room for all batch entries and two pages more, in the case's layout: of pages in place of batch entries. */
static void place_cache(rapt_check_problem *p)
{
    const rapt_case *c = &p->c;
    rapt_attention_desc *d = &p->desc;
    if (c->ragged)
        place_extra(p, RAPT_OP_LENGTHS, &d->k_lengths, RAPT_I32, 1, &c->batch);
    if (!c->page_size)
        return;
    const uint64_t numbers = c->nk / c->page_size;
    rapt_case pool = *c;
    pool.batch = c->batch * numbers + 2;
    d->page_size = c->page_size;
    d->k = lay_out_cache(&pool, c->k_dtype, c->page_size, c->d_qk);
    d->v = lay_out_cache(&pool, c->v_dtype, c->page_size, c->d_v);
    place(p, RAPT_OP_K, &d->k);
    place(p, RAPT_OP_V, &d->v);
    place_extra(p, RAPT_OP_TABLE, &d->block_table, RAPT_I32, 2, (const uint64_t[]){c->batch, numbers});
}

static void describe(rapt_check_problem *p)
{
    if (p->c.page_size)
        p->c.nk = (p->c.nk + p->c.page_size - 1) / p->c.page_size * p->c.page_size;
    const rapt_case *c = &p->c;
    rapt_attention_desc *d = &p->desc;
    d->struct_size = sizeof *d;
    d->key_splits = c->key_splits;
    if (c->causal) {
        d->flags |= RAPT_ATTENTION_CAUSAL;
        d->causal_offset = c->causal_offset;
    }
    if (c->alibi || c->relative || c->decay)
        d->causal_offset = c->causal_offset;
    d->place_width = c->place_width;
    if (c->window) {
        d->flags |= RAPT_ATTENTION_WINDOW;
        d->causal_offset = c->causal_offset;
        d->window_left = c->window_left;
        d->window_right = c->window_right;
        d->sink_tokens = c->sink_tokens;
    }
    if (c->rope) {
        d->causal_offset = c->causal_offset;
        d->rope_base = c->rope == 1 ? 10000 : 37.5;
        d->rope_dim = c->rope == 1 ? 0 : (uint32_t)(c->d_qk / 4 * 2);
        d->flags |= c->rope == 3 ? RAPT_ATTENTION_ROPE_INTERLEAVED : 0;
    }
    if (c->qk_norm) {
        d->flags |= RAPT_ATTENTION_QK_NORM;
        d->qk_norm_epsilon = 1e-5f;
    }
    d->grid = c->grid;
    d->soft_cap = c->soft_cap;
    d->link = c->link;
    d->link_alpha = c->link == RAPT_LINK_AFFINE ? 1.25f : 0;
    d->link_beta = c->link == RAPT_LINK_AFFINE ? 0.01f : 0;
    if (c->link == RAPT_LINK_CLIPPED) { /* so that some weights are clipped, but not most */
        d->link_gamma = -0.01f;
        d->link_zeta = 1.05f;
    }
    if (p->user) {
        memcpy(d->score_mod, p->user->score_text, sizeof d->score_mod);
        memcpy(d->mask_mod, p->user->mask_text, sizeof d->mask_mod);
        memcpy(d->user, p->user->buffers, sizeof d->user);
        memcpy(d->user_constants, p->user->constants, sizeof d->user_constants);
        d->tile_lists = p->user->tile_lists;
    }
    if (c->input == RAPT_INPUT_EXACT || c->input == RAPT_INPUT_LARGE) {
        d->flags |= RAPT_ATTENTION_SCALE;
        d->scale = c->input == RAPT_INPUT_EXACT ? 256 : (float)(2500 / sqrt((double)c->d_qk));
    }
    d->sequences = c->sequences;
    for (uint32_t s = 0; s < c->sequences; s++) {
        d->max_seqlen_q = max_u64(d->max_seqlen_q, c->length_q[s]);
        d->max_seqlen_k = max_u64(d->max_seqlen_k, c->length_k[s]);
    }
    if (c->max_seqlen_q > 0)
        d->max_seqlen_q = c->max_seqlen_q;
    if (c->layout == RAPT_LAYOUT_PACKED) {
        place_packed(p);
    } else {
        d->q = lay_out(c, c->q_heads, c->nq, c->d_qk, false);
        d->k = lay_out_cache(c, c->k_dtype, c->nk, c->d_qk);
        d->v = lay_out_cache(c, c->v_dtype, c->nk, c->d_v);
        place(p, RAPT_OP_Q, &d->q);
        place(p, RAPT_OP_K, &d->k);
        place(p, RAPT_OP_V, &d->v);
    }
    d->out = lay_out(c, p->heads, c->nq, c->d_v, false);
    place(p, RAPT_OP_OUT, &d->out);
    place_lse(p);
    if (c->gate) {
        d->gate = lay_out(c, p->heads, c->nq, c->d_v, false);
        place(p, RAPT_OP_GATE, &d->gate);
    }
    place_extras(p);
    place_lengths(p);
    place_cache(p);
}

/* As described from outside. */
static void describe_as(rapt_check_problem *p, const rapt_attention_desc *as)
{
    rapt_attention_desc *d = &p->desc;
    *d = *as;
    d->kernel = NULL;
    rapt_tensor *tensors[RAPT_OP_COUNT] = {
        [RAPT_OP_Q] = &d->q,           [RAPT_OP_K] = &d->k,               [RAPT_OP_V] = &d->v,         [RAPT_OP_OUT] = &d->out,
        [RAPT_OP_LSE] = &d->lse,       [RAPT_OP_SINKS] = &d->sinks,       [RAPT_OP_ALIBI] = &d->alibi, [RAPT_OP_KEY_BIAS] = &d->key_bias,
        [RAPT_OP_SEGMENTS] = &d->segments, [RAPT_OP_GATE] = &d->gate,     [RAPT_OP_BIAS] = &d->bias,   [RAPT_OP_BIAS_U] = &d->bias_u,
        [RAPT_OP_BIAS_V] = &d->bias_v, [RAPT_OP_RELATIVE] = &d->relative, [RAPT_OP_DECAY] = &d->decay, [RAPT_OP_TABLE] = &d->block_table,
        [RAPT_OP_LENGTHS] = &d->k_lengths};
    for (int op = 0; op < RAPT_OP_COUNT; op++)
        if (tensors[op] && tensors[op]->dtype != RAPT_DTYPE_NONE)
            place(p, op, tensors[op]);
    place_lengths(p);
}

/* ---- contents ---- */

/* Elements of a row, whatever its words. */
static uint64_t row_elements(const rapt_check_problem *p, int op, const rapt_tensor *t)
{
    return op == RAPT_OP_K ? p->c.d_qk : op == RAPT_OP_V ? p->c.d_v : t->size[3];
}

static bool make_images(rapt_check_problem *p)
{
    for (int op = 0; op < RAPT_OP_COUNT; op++) {
        rapt_check_operand *o = &p->operands[op];
        if (o->bytes == 0 || op == RAPT_OP_OUT || op == RAPT_OP_LSE)
            continue;
        if (o->shares != op) {
            o->image = p->operands[o->shares].image;
            continue;
        }
        uint32_t *words = malloc(o->bytes);
        if (!words)
            return false;
        for (uint64_t w = 0; w < o->bytes / 4; w++)
            words[w] = RAPT_POISON;
        o->image = words;
    }
    const rapt_tensor *tensors[2] = {&p->desc.k, &p->desc.v};
    for (int n = 0; n < 2; n++) {
        const rapt_tensor *t = tensors[n];
        if (!rapt_check_is_quantised(t->dtype))
            continue;
        p->numbers[n] = calloc((size_t)(t->size[0] * t->size[1] * t->size[2] * row_elements(p, RAPT_OP_K + n, t) + 1), sizeof(float));
        if (!p->numbers[n])
            return false;
    }
    return true;
}

static void *data(const rapt_check_problem *p, int op)
{
    return p->operands[op].image ? (char *)p->operands[op].image + p->operands[op].offset : NULL;
}

static void put(rapt_check_problem *p, int op, const rapt_tensor *t, const uint64_t at[4], double value)
{
    int64_t index = 0;
    if (rapt_check_is_quantised(t->dtype)) {
        const uint64_t row = (at[0] * t->size[1] + at[1]) * t->size[2] + at[2];
        p->numbers[op - RAPT_OP_K][row * row_elements(p, op, t) + at[3]] = (float)value;
        return;
    }
    for (int axis = 0; axis < 4; axis++)
        index += (int64_t)at[axis] * t->stride[axis];
    rapt_check_store(data(p, op), t->dtype, index, (float)value);
}

/* One sequence: rows [q0, q0 + nq) and [k0, k0 + nk) of the sequence axes. */
typedef struct span {
    uint64_t q0, nq, k0, nk;
    bool odd; /* an odd one of several sequences */
    uint64_t number;
} span;

static uint32_t spans(const rapt_case *c, span out[RAPT_CASE_SEQUENCES])
{
    if (c->sequences == 0) {
        out[0] = (span){0, c->nq, 0, c->nk, false, 0};
        return 1;
    }
    uint64_t q0 = 0, k0 = 0;
    for (uint32_t s = 0; s < c->sequences; s++) {
        out[s] = (span){q0, c->length_q[s], k0, c->length_k[s], s % 2 == 1, s};
        q0 += c->length_q[s];
        k0 += c->length_k[s];
    }
    return c->sequences;
}

/* Whether the block mask shows a key to a query of any batch entry and head. */
static bool block_shows(const rapt_check_problem *p, const span *s, uint64_t i, uint64_t j)
{
    const rapt_tensor *m = &p->desc.block_mask;
    const int32_t *mask = data(p, RAPT_OP_BLOCKS);
    for (uint64_t b = 0; b < m->size[0]; b++)
        for (uint64_t h = 0; h < m->size[1]; h++)
            if ((p->c.sequences == 0 || m->size[0] == 1 || b == s->number) &&
                mask[(int64_t)b * m->stride[0] + (int64_t)h * m->stride[1] + (int64_t)(i / p->c.block_q) * m->stride[2] +
                     (int64_t)(j / p->c.block_k)] != 0)
                return true;
    return false;
}

/* Whether any batch entry and head may; segments are the same in all. */
static bool sees(const rapt_check_problem *p, const span *s, uint64_t i, uint64_t j)
{
    if (!rapt_check_attention_sees(&p->desc, i, s->nq, s->nk, j) || (p->c.blocks && !block_shows(p, s, i, j)))
        return false;
    if (!p->c.segments)
        return true;
    const int32_t *segments = (const int32_t *)data(p, RAPT_OP_SEGMENTS) + s->k0;
    return i + s->nk >= s->nq && segments[j] == segments[i + s->nk - s->nq];
}

/* One of the keys that query i sees, at random; 0 where it sees none. */
static uint64_t visible_key(const rapt_check_problem *p, const span *s, uint64_t i, rapt_random *random)
{
    uint64_t count = 0;
    for (uint64_t j = 0; j < s->nk; j++)
        count += sees(p, s, i, j);
    uint64_t left = rapt_random_below(random, count);
    for (uint64_t j = 0; j < s->nk; j++)
        if (sees(p, s, i, j) && left-- == 0)
            return j;
    return 0;
}

static void fill_normal(rapt_check_problem *p, rapt_random *random)
{
    const rapt_tensor *tensors[] = {&p->desc.q, &p->desc.k, &p->desc.v};
    for (int op = RAPT_OP_Q; op <= RAPT_OP_V; op++) {
        const rapt_tensor *t = tensors[op];
        uint64_t at[4];
        for (at[0] = 0; at[0] < t->size[0]; at[0]++)
            for (at[1] = 0; at[1] < t->size[1]; at[1]++)
                for (at[2] = 0; at[2] < t->size[2]; at[2]++)
                    for (at[3] = 0; at[3] < row_elements(p, op, t); at[3]++)
                        put(p, op, t, at, rapt_random_normal(random));
    }
}

/* Key j spells its number in pairs of components, (1, 0) for a set bit and (0, 1) for a clear one; a query
 * spells the number it looks for as (0, -1) and (-1, 0): their product is minus the number of bits that
 * differ, and where none does every single term is 0, whatever a kernel scales first. Without room for the
 * bits, queries are 0. */
static void fill_exact(rapt_check_problem *p, rapt_random *random)
{
    const rapt_case *c = &p->c;
    span all[RAPT_CASE_SEQUENCES];
    const uint32_t count = spans(c, all);
    for (uint32_t n = 0; n < count; n++) {
        const span *s = &all[n];
        uint64_t bits = 0;
        while ((1ull << bits) < s->nk)
            bits++;
        const bool spelled = 2 * bits <= c->d_qk;
        for (uint64_t b = 0; b < c->batch; b++) {
            for (uint64_t h = 0; h < c->kv_heads; h++)
                for (uint64_t j = 0; j < s->nk; j++) {
                    for (uint64_t e = 0; e < c->d_qk; e++) {
                        const bool set = spelled && e / 2 < bits && (j >> e / 2 & 1) == (e % 2 == 0);
                        put(p, RAPT_OP_K, &p->desc.k, (const uint64_t[]){b, h, s->k0 + j, e}, set);
                    }
                    for (uint64_t e = 0; e < c->d_v; e++) {
                        const double value = spelled ? (double)rapt_random_below(random, 17) - 8
                                                     : (double)rapt_random_below(random, 3) - 1;
                        put(p, RAPT_OP_V, &p->desc.v, (const uint64_t[]){b, h, s->k0 + j, e}, value);
                    }
                }
            for (uint64_t h = 0; h < c->q_heads; h++)
                for (uint64_t i = 0; i < s->nq; i++) {
                    const uint64_t target = visible_key(p, s, i, random);
                    for (uint64_t e = 0; e < c->d_qk; e++) {
                        const bool set = spelled && e / 2 < bits && (target >> e / 2 & 1) == (e % 2 == 1);
                        put(p, RAPT_OP_Q, &p->desc.q, (const uint64_t[]){b, h, s->q0 + i, e}, set ? -1 : 0);
                    }
                }
        }
    }
}

static bool hidden_by_user(const rapt_check_problem *p, const span *s, uint64_t j)
{
    if (!p->user || !p->user->mask_mod)
        return false;
    for (uint64_t h = 0; h < p->c.q_heads; h++)
        for (uint64_t i = 0; i < s->nq; i++)
            if (p->user->mask_mod(p->user, 0, h, i, j))
                return false;
    return true;
}

/* Whether key j is out of sight of the first half of the queries; with a window or a grid, of the second quarter, so that there are
 * such keys on both sides of it. */
static bool out_of_sight(const rapt_check_problem *p, const span *s, uint64_t j)
{
    if (hidden_by_user(p, s, j) || (p->c.blocks && p->c.blocks_of == 0 && j / p->c.block_k % 4 == 1)) /* see fill_blocks */
        return true;
    for (uint64_t i = p->c.window || p->c.grid.rank > 0 ? s->nq / 4 : 0; i <= s->nq / 2; i++)
        if (sees(p, s, i, j))
            return false;
    return true;
}

/* Keys that some queries do not see, and every key of the odd sequences. */
static void poison_keys(rapt_check_problem *p)
{
    const rapt_case *c = &p->c;
    const double poison[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    span all[RAPT_CASE_SEQUENCES];
    const uint32_t count = spans(c, all);
    for (uint32_t n = 0; n < count; n++) {
        const span *s = &all[n];
        for (uint64_t j = 0; j < s->nk; j++)
            for (uint64_t b = 0; b < c->batch && (s->odd || out_of_sight(p, s, j)); b++)
                for (uint64_t h = 0; h < c->kv_heads; h++) {
                    for (uint64_t e = 0; e < c->d_qk; e++)
                        put(p, RAPT_OP_K, &p->desc.k, (const uint64_t[]){b, h, s->k0 + j, e},
                            poison[(j + e) % 3]);
                    for (uint64_t e = 0; e < c->d_v; e++)
                        put(p, RAPT_OP_V, &p->desc.v, (const uint64_t[]){b, h, s->k0 + j, e},
                            poison[(j + e + 1) % 3]);
                    if (c->key_bias == 3)
                        ((float *)data(p, RAPT_OP_KEY_BIAS))[s->k0 + j] = NAN;
                }
    }
}

/* Sinks about the size of scores, usual slopes, biases of which some are -inf, segments of unequal lengths that come again
 * (so that segments are no blocks). */
static void fill_extras(rapt_check_problem *p, rapt_random *random)
{
    const rapt_attention_desc *d = &p->desc;
    float *sinks = data(p, RAPT_OP_SINKS), *alibi = data(p, RAPT_OP_ALIBI), *bias = data(p, RAPT_OP_KEY_BIAS);
    int32_t *segments = data(p, RAPT_OP_SEGMENTS);
    for (uint64_t h = 0; sinks && h < d->sinks.size[0]; h++)
        sinks[(int64_t)h * d->sinks.stride[0]] = (float)(2 * rapt_random_normal(random));
    for (uint64_t h = 0; alibi && h < d->alibi.size[0]; h++)
        alibi[(int64_t)h * d->alibi.stride[0]] = (float)exp2(-8.0 * (double)(h + 1) / (double)d->alibi.size[0]);
    float *relative = data(p, RAPT_OP_RELATIVE), *decay = data(p, RAPT_OP_DECAY);
    const uint64_t entries = d->relative.size[1] * (d->relative.rank == 3 ? d->relative.size[2] : 1);
    for (uint64_t n = 0; relative && n < d->relative.size[0] * entries; n++)
        relative[(int64_t)(n / entries) * d->relative.stride[0] + (int64_t)(n % entries)] =
            n % 17 == 3 ? -INFINITY : (float)rapt_random_normal(random);
    for (uint64_t h = 0; decay && h < d->decay.size[0]; h++) /* RetNet's, from 1 - 2^-2 on: shorter than these problems */
        decay[(int64_t)h * d->decay.stride[0]] = (float)(1 - exp2(-2.0 - (double)h));
    for (uint64_t b = 0; bias && b < d->key_bias.size[0]; b++)
        for (uint64_t h = 0; h < d->key_bias.size[1]; h++)
            for (uint64_t j = 0; j < d->key_bias.size[2]; j++)
                bias[(int64_t)b * d->key_bias.stride[0] + (int64_t)h * d->key_bias.stride[1] + (int64_t)j] =
                    (j + h) % 9 == 0 ? -INFINITY : (float)rapt_random_normal(random);
    uint64_t at[4];
    for (at[0] = 0; at[0] < d->gate.size[0]; at[0]++)
        for (at[1] = 0; at[1] < d->gate.size[1]; at[1]++)
            for (at[2] = 0; at[2] < d->gate.size[2]; at[2]++)
                for (at[3] = 0; at[3] < d->gate.size[3]; at[3]++)
                    put(p, RAPT_OP_GATE, &d->gate, at, 3 * rapt_random_normal(random));
    const rapt_tensor *factors[2] = {&d->bias_u, &d->bias_v};
    for (int f = 0; f < 2; f++)
        for (at[0] = 0; at[0] < factors[f]->size[0]; at[0]++)
            for (at[1] = 0; at[1] < factors[f]->size[1]; at[1]++)
                for (at[2] = 0; at[2] < factors[f]->size[2]; at[2]++)
                    for (at[3] = 0; at[3] < factors[f]->size[3]; at[3]++)
                        put(p, RAPT_OP_BIAS_U + f, factors[f], at, rapt_random_normal(random));
    for (at[0] = 0; at[0] < d->bias.size[0]; at[0]++)
        for (at[1] = 0; at[1] < d->bias.size[1]; at[1]++)
            for (at[2] = 0; at[2] < d->bias.size[2]; at[2]++)
                for (at[3] = 0; at[3] < d->bias.size[3]; at[3]++)
                    put(p, RAPT_OP_BIAS, &d->bias, at,
                        (at[1] + at[2] + at[3]) % 7 == 0 ? (double)-INFINITY : rapt_random_normal(random));
    for (uint64_t b = 0; segments && b < d->segments.size[0]; b++)
        for (uint64_t j = 0; j < d->segments.size[1]; j++)
            segments[(int64_t)b * d->segments.stride[0] + (int64_t)j] = (int32_t)(j * j / 97 % p->c.segments) - 1;
}

/* One of every blocks_of blocks; or about half of the blocks, at random; of four blocks of keys one is hidden from all queries, and of five lines one is empty. */
static void fill_blocks(rapt_check_problem *p, rapt_random *random)
{
    const rapt_tensor *m = &p->desc.block_mask;
    int32_t *mask = data(p, RAPT_OP_BLOCKS);
    for (uint64_t b = 0; mask && b < m->size[0]; b++)
        for (uint64_t h = 0; h < m->size[1]; h++)
            for (uint64_t i = 0; i < m->size[2]; i++)
                for (uint64_t j = 0; j < m->size[3]; j++) {
                    const int32_t shown = rapt_random_below(random, 2) ? (int32_t)rapt_random_next(random) | 1 : 0;
                    mask[(int64_t)b * m->stride[0] + (int64_t)h * m->stride[1] + (int64_t)i * m->stride[2] + (int64_t)j] =
                        p->c.blocks_of > 0            ? (j + 7 * i) % p->c.blocks_of == 0
                        : i % 5 == 3 || j % 4 == 1 ? 0
                                                   : shown;
                }
}

/* Every page in some order that is not theirs; the first one is shared by all batch entries, of seven one is missing, where the case
 * has not all of them. */
static void fill_table(rapt_check_problem *p)
{
    const rapt_tensor *t = &p->desc.block_table;
    int32_t *table = data(p, RAPT_OP_TABLE);
    const uint64_t pages = p->desc.k.size[0];
    for (uint64_t b = 0; table && b < t->size[0]; b++)
        for (uint64_t n = 0; n < t->size[1]; n++) {
            const bool all = p->c.all_pages;
            const uint64_t page = n == 0 && !all ? 1 : pages - 1 - (n * t->size[0] + b) % pages; /* a small pool is shared */
            table[(int64_t)b * t->stride[0] + (int64_t)n] =
                n % 7 == 3 && !all ? (b % 2 ? -1 - (int32_t)n : (int32_t)(pages + n)) : (int32_t)page;
        }
    int32_t *lengths = data(p, RAPT_OP_LENGTHS);
    for (uint64_t b = 0; lengths && b < p->c.batch; b++)
        lengths[b] = (int32_t)p->c.length_k[b];
}

/* What no batch entry uses: slots of the pool, or keys for which there is but room. */
static void poison_unused(rapt_check_problem *p)
{
    const rapt_case *c = &p->c;
    const rapt_tensor *k = &p->desc.k, *t = &p->desc.block_table;
    const int32_t *table = data(p, RAPT_OP_TABLE);
    const double poison[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (uint64_t line = 0; line < k->size[0]; line++)
        for (uint64_t slot = 0; slot < k->size[2]; slot++) {
            bool used = false;
            for (uint64_t b = 0; b < c->batch && !used; b++) {
                const uint64_t length = c->ragged ? c->length_k[b] : c->nk;
                if (!table)
                    used = b == line && slot < length;
                for (uint64_t n = 0; table && n < t->size[1] && !used; n++)
                    used = table[(int64_t)b * t->stride[0] + (int64_t)n] == (int64_t)line &&
                           n * c->page_size + slot < length;
            }
            for (uint64_t h = 0; h < c->kv_heads && !used; h++) {
                for (uint64_t e = 0; e < c->d_qk; e++)
                    put(p, RAPT_OP_K, k, (const uint64_t[]){line, h, slot, e}, poison[(slot + e) % 3]);
                for (uint64_t e = 0; e < c->d_v; e++)
                    put(p, RAPT_OP_V, &p->desc.v, (const uint64_t[]){line, h, slot, e}, poison[(slot + e + 1) % 3]);
            }
        }
}

/* Quantised tensors from their numbers, which become what is stored. */
static void quantise(rapt_check_problem *p)
{
    const rapt_tensor *tensors[2] = {&p->desc.k, &p->desc.v};
    for (int n = 0; n < 2; n++) {
        const rapt_tensor *t = tensors[n];
        const uint64_t dim = row_elements(p, RAPT_OP_K + n, t);
        float *x = p->numbers[n];
        for (uint64_t row = 0; x && row < t->size[0] * t->size[1] * t->size[2]; row++, x += dim) {
            const uint64_t line = row / t->size[2];
            const int64_t at = (int64_t)(line / t->size[1]) * t->stride[0] + (int64_t)(line % t->size[1]) * t->stride[1] +
                               (int64_t)(row % t->size[2]) * t->stride[2];
            uint32_t *words = (uint32_t *)data(p, RAPT_OP_K + n) + at;
            rapt_check_quantise(t->dtype, x, dim, words);
            rapt_check_dequantise(t->dtype, words, dim, x);
        }
    }
}

static void fill(rapt_check_problem *p)
{
    rapt_random random = {p->c.seed}, more = {~p->c.seed}; /* inputs do not depend on whether there are such vectors */
    fill_extras(p, &more);
    fill_blocks(p, &more);
    if (p->c.input == RAPT_INPUT_EXACT)
        fill_exact(p, &random);
    else
        fill_normal(p, &random);
    if (p->c.page_size || p->c.ragged) {
        fill_table(p);
        poison_unused(p);
    } else if (p->c.input == RAPT_INPUT_POISONED) {
        poison_keys(p);
    }
    quantise(p);
    for (int op = RAPT_OP_CU_Q; op <= RAPT_OP_CU_K && p->c.sequences > 0; op++) {
        int32_t *cu = data(p, op);
        cu[0] = 0;
        for (uint32_t s = 0; s < p->c.sequences; s++)
            cu[s + 1] = cu[s] + (int32_t)(op == RAPT_OP_CU_Q ? p->c.length_q[s] : p->c.length_k[s]);
    }
}

/* ---- expectations ---- */

/* The largest finite |x| of a tensor, and the largest length of its finite rows. */
typedef struct extent {
    double element, row;
} extent;

static extent extent_of(const rapt_check_problem *p, int op, const rapt_tensor *t)
{
    extent largest = {0, 0};
    for (uint64_t b = 0; b < t->size[0]; b++)
        for (uint64_t h = 0; h < t->size[1]; h++)
            for (uint64_t i = 0; i < t->size[2]; i++) {
                double squares = 0;
                const uint64_t dim = row_elements(p, op, t);
                for (uint64_t e = 0; e < dim; e++) {
                    const int64_t at = (int64_t)b * t->stride[0] + (int64_t)h * t->stride[1] +
                                       (int64_t)i * t->stride[2] + (int64_t)e;
                    const double x = fabs((double)(rapt_check_is_quantised(t->dtype)
                                                       ? p->numbers[op - RAPT_OP_K][((b * t->size[1] + h) * t->size[2] + i) * dim + e]
                                                       : rapt_check_load(data(p, op), t->dtype, at)));
                    squares += x * x;
                    if (isfinite(x) && x > largest.element)
                        largest.element = x;
                }
                if (isfinite(squares) && squares > largest.row * largest.row)
                    largest.row = sqrt(squares);
            }
    return largest;
}

/* What no partial sum of a score exceeds: scale * |q| |k|, and biases. */
static double score_bound(const rapt_check_problem *p)
{
    const rapt_attention_desc *d = &p->desc;
    const double scale =
        d->flags & RAPT_ATTENTION_SCALE ? fabs((double)d->scale) : 1 / sqrt((double)d->q.size[3]);
    double bound = scale * extent_of(p, RAPT_OP_Q, &d->q).row * extent_of(p, RAPT_OP_K, &d->k).row;
    const double places = (double)(p->c.nq + p->c.nk) + fabs((double)d->causal_offset);
    bound += (p->c.relative ? 4 : 0) + (p->c.key_bias ? 4 : 0) + (p->c.bias ? 4 : 0) + 4 * sqrt((double)p->c.rank); /* normally distributed */
    bound += p->c.alibi ? fmin(places, 1e6) * (double)((const float *)data(p, RAPT_OP_ALIBI))[0] : 0; /* the steepest */
    return bound;
}

static double largest_out(const rapt_check_problem *p)
{
    double largest = 0;
    for (uint64_t n = 0; n < p->rows_total * p->c.d_v; n++)
        if (p->rows[n / p->c.d_v] == RAPT_ROW_DONE && isfinite(p->out[n]))
            largest = fmax(largest, fabs(p->out[n]));
    return largest;
}

/* What rounding the largest output to its storage type may change, at most. */
static double rounding(const rapt_check_problem *p)
{
    const double largest = largest_out(p);
    const int bits = p->c.dtype == RAPT_F16 ? 11 : p->c.dtype == RAPT_BF16 ? 8 : 24;
    return largest > 0 ? ldexp(1, ilogb(largest) - bits) : 0;
}

static bool expect(rapt_check_problem *p, uint64_t row_step)
{
    const uint64_t d = p->c.d_v;
    const size_t rows = (size_t)p->rows_total + 1;
    double *out = malloc(rows * d * sizeof *out), *lse = malloc(rows * sizeof *lse);
    p->out = calloc(rows * d, sizeof *out);
    p->lse = calloc(rows, sizeof *lse);
    p->rows = malloc(rows);
    const rapt_check_inputs in = rapt_check_problem_inputs(p);
    const bool good = out && lse && p->out && p->lse && p->rows &&
                      rapt_check_attention_f32(&p->desc, &in, row_step, out, lse, p->rows) &&
                      rapt_check_attention_f64(&p->desc, &in, row_step, p->out, p->lse, p->rows);
    if (good) {
        p->exact = rapt_case_is_exact(&p->c);
        for (uint64_t n = 0; n < p->rows_total * d && p->exact;
             n++) /* exp(-256) is 0 in single precision only */
            p->out[n] = (double)rapt_check_round(p->c.dtype, (float)p->out[n]);
        const double score = score_bound(p), value = extent_of(p, RAPT_OP_V, &p->desc.v).element;
        double largest_lse = fmax(1, score);
        for (uint64_t r = 0; r < p->rows_total; r++)
            if (p->rows[r] == RAPT_ROW_DONE && isfinite(p->lse[r]))
                largest_lse = fmax(largest_lse, fabs(p->lse[r]));
        p->plain_out = rapt_check_max_distance(out, p->out, p->rows, p->rows_total, d);
        p->plain_lse = rapt_check_max_distance(lse, p->lse, p->rows, p->rows_total, 1);
        p->row_step = row_step;
        p->magnitude_out = fmax(value * fmax(1, score / 4), largest_out(p)); /* sums of some links are larger than any value */
        p->tolerance_out = p->exact ? 0 : rapt_check_tolerance(fmax(p->plain_out, rounding(p)), p->magnitude_out);
        p->tolerance_lse = rapt_check_tolerance(p->plain_lse, largest_lse);
    }
    free(out);
    free(lse);
    return good;
}

double rapt_check_problem_half_weights(const rapt_check_problem *p)
{
    if (p->exact || p->c.dtype == RAPT_F32)
        return p->tolerance_out;
    const size_t rows = (size_t)p->rows_total + 1;
    double *out = malloc(rows * p->c.d_v * sizeof *out), *lse = malloc(rows * sizeof *lse), tolerance = -1;
    uint8_t *which = malloc(rows);
    const rapt_check_inputs in = rapt_check_problem_inputs(p);
    if (out && lse && which && rapt_check_attention_half_weights(&p->desc, &in, p->row_step, out, lse, which)) {
        const double plain = rapt_check_max_distance(out, p->out, p->rows, p->rows_total, p->c.d_v);
        tolerance = rapt_check_tolerance(fmax(fmax(plain, p->plain_out), 2 * rounding(p)), p->magnitude_out); /* of the weights, and the output */
    }
    free(out);
    free(lse);
    free(which);
    return tolerance;
}

rapt_check_inputs rapt_check_problem_inputs(const rapt_check_problem *p)
{
    return (rapt_check_inputs){.q = data(p, RAPT_OP_Q),
                               .k = data(p, RAPT_OP_K),
                               .v = data(p, RAPT_OP_V),
                               .cu_seqlens_q = data(p, RAPT_OP_CU_Q),
                               .cu_seqlens_k = data(p, RAPT_OP_CU_K),
                               .sinks = data(p, RAPT_OP_SINKS),
                               .alibi = data(p, RAPT_OP_ALIBI),
                               .key_bias = data(p, RAPT_OP_KEY_BIAS),
                               .bias = data(p, RAPT_OP_BIAS),
                               .bias_u = data(p, RAPT_OP_BIAS_U),
                               .bias_v = data(p, RAPT_OP_BIAS_V),
                               .segments = data(p, RAPT_OP_SEGMENTS),
                               .gate = data(p, RAPT_OP_GATE),
                               .relative = data(p, RAPT_OP_RELATIVE),
                               .decay = data(p, RAPT_OP_DECAY),
                               .block_mask = data(p, RAPT_OP_BLOCKS),
                               .block_table = data(p, RAPT_OP_TABLE),
                               .k_lengths = data(p, RAPT_OP_LENGTHS),
                               .user = p->user};
}

uint64_t rapt_check_problem_row_step(const rapt_case *c, double limit)
{
    const double rows = (double)c->batch * (double)max_u64(c->q_heads, c->kv_heads) * (double)c->nq;
    const double work = rows * (double)c->nk * (double)(c->d_qk + c->d_v);
    return work <= limit ? 1 : (uint64_t)ceil(work / limit);
}

static bool make(rapt_check_problem *p, const rapt_attention_desc *as, uint64_t row_step)
{
    const rapt_case *c = &p->c;
    p->heads = max_u64(c->q_heads, c->kv_heads);
    p->rows_total = c->batch * p->heads * c->nq;
    if (as)
        describe_as(p, as);
    else
        describe(p);
    if (!make_images(p))
        return false;
    fill(p);
    return row_step == 0 || expect(p, row_step);
}

bool rapt_check_problem_make(const rapt_case *c, uint64_t row_step, rapt_check_problem *p)
{
    *p = (rapt_check_problem){.c = *c};
    return make(p, NULL, row_step);
}

bool rapt_check_problem_make_user(const rapt_case *c, const rapt_check_user *user, uint64_t row_step,
                                  rapt_check_problem *p)
{
    *p = (rapt_check_problem){.c = *c, .user = user};
    return make(p, NULL, row_step);
}

bool rapt_check_problem_make_as(const rapt_case *c, const rapt_attention_desc *as, uint64_t row_step,
                                rapt_check_problem *p)
{
    *p = (rapt_check_problem){.c = *c};
    return make(p, as, row_step);
}

void rapt_check_problem_free(rapt_check_problem *p)
{
    for (int op = 0; op < RAPT_OP_COUNT; op++)
        if (p->operands[op].shares == op)
            free(p->operands[op].image);
    free(p->numbers[0]);
    free(p->numbers[1]);
    free(p->out);
    free(p->lse);
    free(p->rows);
    *p = (rapt_check_problem){0};
}
