/* Systems whose results are parts under one softmax: attention over disjoint keys, merged by its log-sum-exp. */
#include "system/system.h"

#define MOST (1 << 29)

static bool between(rapt_system_builder *b, const char *name, rapt_dtype dtype, uint32_t rank, const uint64_t *shape,
                    rapt_system_view *view)
{
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, dtype, rank, shape, view);
}

/* out = e^(L_1 - L) x_1 + e^(L_2 - L) x_2, L = log(e^L_1 + e^L_2). */
static rapt_system_step *merge(rapt_system_builder *b, rapt_system_view x1, rapt_system_view lse1, rapt_system_view x2,
                               rapt_system_view lse2, rapt_system_view out)
{
    const rapt_system_term terms[] = {{x1, 1, &lse1}, {x2, 1, &lse2}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "both under one softmax", out, terms, 2);
    if (s != NULL)
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
    return s;
}

/* FlashBlock: what an earlier step had over the keys outside the block, and the block's own part anew. */
bool rapt_system_cached_outside(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view before, lse_before, own, lse_own;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_in_sized(b, "out_before", 4, t.out.tensor.size, &before) ||
        !rapt_system_in_f32(b, "lse_before", 3, t.out.tensor.size, &lse_before) ||
        !between(b, "own part", b->dtype, 4, t.out.tensor.size, &own) ||
        !between(b, "its lse", RAPT_F32, 3, t.out.tensor.size, &lse_own) ||
        !rapt_system_step_add(b, "attention to the block's own keys", &d, t.q, t.k, t.v, own, &lse_own))
        return false;
    rapt_system_step *s = merge(b, before, lse_before, own, lse_own, t.out);
    if (s != NULL && t.has_lse) {
        s->combine.lse = t.lse.tensor;
        s->lse = t.lse.at;
    }
    return s != NULL;
}

/* ---- Landmark Attention ---- */

/* Blocks of `block` tokens and a landmark behind them; `rest` tokens after the last whole one. */
typedef struct landmarks {
    rapt_system_qkv t;
    rapt_attention_desc attention;
    uint64_t batch, heads, n, d, d_v, block, blocks, rest, top;
    rapt_system_view near, near_lse; /* a query's own block, and its logarithm */
    rapt_system_view inside;         /* (batch heads, blocks, n, d_v): attention within each block */
    rapt_system_view mask, far, far_lse;
} landmarks;

/* (batch, heads, n, w) as (batch heads, 1, n, w). False: heads do not follow on each other. */
static bool fold(rapt_system_builder *b, const char *name, rapt_system_view *x)
{
    rapt_tensor *t = &x->tensor;
    if (t->size[0] > 1 && t->size[1] > 1 && t->stride[0] != t->stride[1] * (int64_t)t->size[1])
        return rapt_system_refuse(b, "'%s': the heads of a batch entry must follow on those of the one before", name);
    if (t->size[1] == 1)
        t->stride[1] = t->stride[0];
    t->size[0] *= t->size[1];
    t->stride[0] = t->stride[1];
    t->size[1] = 1;
    return true;
}

/* Of a folded view: `count` tokens of each whole block, from its token `first` on, as (batch heads, blocks, count, w). */
static rapt_system_view of_blocks(const landmarks *l, rapt_system_view x, uint64_t first, uint64_t count)
{
    rapt_system_view out = rapt_system_part(x, 2, first, count);
    out.tensor.size[1] = l->blocks;
    out.tensor.stride[1] = x.tensor.stride[2] * (int64_t)(l->block + 1);
    return out;
}

static bool take_landmarks(rapt_system_builder *b, landmarks *l)
{
    int64_t block = 1, top = 1;
    *l = (landmarks){.attention = RAPT_ATTENTION_DESC_INIT};
    rapt_system_qkv *t = &l->t;
    if (!rapt_system_qkv_take(b, t) || !rapt_system_common(b, &l->attention) || !rapt_system_integer(b, "block", 1, MOST, &block) ||
        !rapt_system_integer(b, "top", 1, MOST, &top))
        return false;
    const uint64_t *size = t->q.tensor.size;
    if (t->k.tensor.size[1] != size[1] || t->k.tensor.size[2] != size[2])
        return rapt_system_refuse(b, "q has %llu heads of %llu tokens, k %llu of %llu; they must be the same",
                                  (unsigned long long)size[1], (unsigned long long)size[2],
                                  (unsigned long long)t->k.tensor.size[1], (unsigned long long)t->k.tensor.size[2]);
    l->batch = size[0];
    l->heads = size[1];
    l->n = size[2];
    l->d = size[3];
    l->d_v = t->v.tensor.size[3];
    l->block = (uint64_t)block;
    l->blocks = l->n / (l->block + 1);
    l->rest = l->n - l->blocks * (l->block + 1);
    l->top = (uint64_t)top;
    if (l->batch == 0 || l->heads == 0 || l->n == 0 || l->n > MOST)
        return rapt_system_refuse(b, "no batch or heads, or %llu tokens; 1 to %d are possible", (unsigned long long)l->n, MOST);
    const uint64_t rows[4] = {l->batch, l->heads, l->n, l->d_v}, mask[4] = {l->batch, l->heads, l->n, l->blocks};
    const uint64_t folded[4] = {l->batch * l->heads, l->blocks, l->n, l->d_v};
    return between(b, "near", b->dtype, 4, rows, &l->near) && between(b, "near lse", RAPT_F32, 3, rows, &l->near_lse) &&
           (l->blocks == 0 || (between(b, "within blocks", b->dtype, 4, folded, &l->inside) &&
                               between(b, "mask", RAPT_I32, 4, mask, &l->mask) && between(b, "far", b->dtype, 4, rows, &l->far) &&
                               between(b, "far lse", RAPT_F32, 3, rows, &l->far_lse)));
}

/* An lse of rank 3 for views that of_blocks made. */
static rapt_system_view lse_of_blocks(const landmarks *l, rapt_system_view lse, uint64_t count)
{
    lse.tensor.size[0] = l->batch * l->heads;
    lse.tensor.size[1] = l->blocks;
    lse.tensor.size[2] = count;
    lse.tensor.stride[0] = (int64_t)l->n;
    lse.tensor.stride[1] = (int64_t)(l->block + 1);
    lse.tensor.stride[2] = 1;
    return lse;
}

/* Each query against the tokens of its own block that are not behind it, without the landmark. */
static bool attend_near(rapt_system_builder *b, const landmarks *l, rapt_system_view q, rapt_system_view k, rapt_system_view v)
{
    rapt_attention_desc d = l->attention;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    d.causal_offset = 1; /* the landmark's query has no key of its own */
    rapt_system_view near = l->near;
    const rapt_system_view lse = lse_of_blocks(l, l->near_lse, l->block + 1);
    if (l->blocks > 0 && (!fold(b, "near", &near) ||
                          !rapt_system_step_add(b, "a block's tokens among themselves", &d, of_blocks(l, q, 0, l->block + 1),
                                                of_blocks(l, k, 0, l->block), of_blocks(l, v, 0, l->block),
                                                of_blocks(l, near, 0, l->block + 1), &lse)))
        return false;
    const uint64_t first = l->n - l->rest;
    const rapt_system_view rest_lse = rapt_system_part(l->near_lse, 2, first, l->rest);
    d.causal_offset = 0;
    return l->rest == 0 ||
           rapt_system_step_add(b, "those after the last landmark", &d, rapt_system_part(l->t.q, 2, first, l->rest),
                                rapt_system_part(l->t.k, 2, first, l->rest), rapt_system_part(l->t.v, 2, first, l->rest),
                                rapt_system_part(l->near, 2, first, l->rest), &rest_lse) != NULL;
}

/* Which blocks a query reads: those before its own whose landmarks score highest. */
static bool choose_blocks(rapt_system_builder *b, const landmarks *l)
{
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    const rapt_system_view k = rapt_system_part(l->t.k, 2, 0, l->n - l->rest);
    route.flags = RAPT_ROUTE_CAUSAL;
    route.q = l->t.q.tensor;
    route.k = k.tensor;
    route.mask = l->mask.tensor;
    route.block_q = 1;
    route.block_k = l->block + 1;
    route.causal_offset = (int64_t)l->rest - (int64_t)(l->block + 1);
    route.summarise = RAPT_SUMMARY_LANDMARK;
    route.landmark = l->block;
    route.top_k = l->top;
    rapt_system_step *s = rapt_system_route_step_add(b, "landmarks are chosen", &route);
    if (s == NULL)
        return false;
    s->q = l->t.q.at;
    s->k = k.at;
    s->mask = l->mask.at;
    return true;
}

/* Softmax over the landmarks that were chosen, with what attention within their blocks gave for values, which is each query's own:
 * here a query is a head of one row. */
static bool attend_far(rapt_system_builder *b, const landmarks *l, rapt_system_view q, rapt_system_view k)
{
    const uint64_t rows = l->batch * l->heads;
    rapt_system_view query = q, marks = of_blocks(l, k, l->block, 1), values = l->inside, out = l->far, lse = l->far_lse;
    query.tensor.size[1] = l->n;
    query.tensor.stride[1] = q.tensor.stride[2];
    query.tensor.size[2] = 1;
    marks.tensor.size[1] = l->n;
    marks.tensor.size[2] = l->blocks;
    marks.tensor.stride[2] = marks.tensor.stride[1];
    marks.tensor.stride[1] = 0; /* the same for all */
    values.tensor.size[1] = l->n;
    values.tensor.size[2] = l->blocks;
    values.tensor.stride[1] = l->inside.tensor.stride[2];
    values.tensor.stride[2] = l->inside.tensor.stride[1];
    const uint64_t size[4] = {rows, l->n, 1, l->d_v};
    const int64_t stride[4] = {(int64_t)(l->n * l->d_v), (int64_t)l->d_v, (int64_t)l->d_v, 1};
    for (unsigned axis = 0; axis < 4; axis++) {
        out.tensor.size[axis] = size[axis];
        out.tensor.stride[axis] = stride[axis];
        if (axis < 3) {
            lse.tensor.size[axis] = size[axis];
            lse.tensor.stride[axis] = axis == 0 ? (int64_t)l->n : 1;
        }
    }
    rapt_system_step *s = rapt_system_step_add(b, "attention to landmarks", &l->attention, query, marks, values, out, &lse);
    if (s == NULL)
        return false;
    const uint64_t mask[4] = {rows, l->n, 1, l->blocks};
    s->block_mask = l->mask.at;
    s->attention.block_mask = l->mask.tensor;
    for (unsigned axis = 0; axis < 4; axis++)
        s->attention.block_mask.size[axis] = mask[axis];
    s->attention.block_mask.stride[0] = (int64_t)(l->n * l->blocks);
    s->attention.block_mask.stride[1] = s->attention.block_mask.stride[2] = (int64_t)l->blocks;
    s->attention.block_q = s->attention.block_k = 1;
    return true;
}

/* Landmark Attention, at inference: grouped softmax over the own block and the blocks of the best landmarks. */
bool rapt_system_landmarks(rapt_system_builder *b)
{
    landmarks l;
    if (!take_landmarks(b, &l))
        return false;
    rapt_system_view q = l.t.q, k = l.t.k, v = l.t.v;
    if (!fold(b, "q", &q) || !fold(b, "k", &k) || !fold(b, "v", &v) || !attend_near(b, &l, q, k, v))
        return false;
    if (l.blocks == 0) {
        const rapt_system_term term = {l.near, 1, NULL};
        return rapt_system_combine_step_add(b, "as it is", l.t.out, &term, 1) != NULL;
    }
    rapt_system_view every = q;
    every.tensor.size[1] = l.blocks;
    every.tensor.stride[1] = 0; /* each query meets each block */
    return rapt_system_step_add(b, "attention within each block", &l.attention, every, of_blocks(&l, k, 0, l.block),
                                of_blocks(&l, v, 0, l.block), l.inside, NULL) != NULL &&
           choose_blocks(b, &l) && attend_far(b, &l, q, k) && merge(b, l.near, l.near_lse, l.far, l.far_lse, l.t.out) != NULL;
}
