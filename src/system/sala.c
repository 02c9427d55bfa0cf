/* MiniCPM-SALA: layers of InfLLM-V2 (arXiv:2509.24663), which score overlapping windows of keys, and layers with a decay per head. */
#include "system/system.h"

enum { MOST = 1 << 29, MOST_WINDOWS_OF_A_BLOCK = 16 };

typedef struct sala {
    rapt_system_qkv t;
    rapt_attention_desc attention;
    uint64_t batch, heads, kv, nq, nk, d;
    int64_t block, stride, top, first, window, dense;
    uint64_t windows, blocks, columns; /* columns: of the windows of all blocks, with the one before the first */
    rapt_system_view scores, padded;   /* (batch, heads, nq, windows), and (batch, kv, nq, columns) */
} sala;

static bool take(rapt_system_builder *b, sala *t)
{
    if (!rapt_system_common(b, &t->attention) || !rapt_system_integer(b, "block", 1, MOST, &t->block) ||
        !rapt_system_integer(b, "stride", 1, MOST / 2, &t->stride) || !rapt_system_integer(b, "top", 1, MOST, &t->top) ||
        !rapt_system_integer(b, "first", 0, MOST, &t->first) || !rapt_system_integer(b, "window", 1, MOST, &t->window) ||
        !rapt_system_integer(b, "dense", 0, MOST, &t->dense))
        return false;
    const uint64_t *q = t->t.q.tensor.size, *k = t->t.k.tensor.size;
    t->batch = q[0];
    t->heads = q[1];
    t->nq = q[2];
    t->d = q[3];
    t->kv = k[1];
    t->nk = k[2];
    if (t->batch == 0 || t->kv == 0 || t->heads % t->kv != 0 || t->nq == 0 || t->nq > t->nk || t->nk > MOST)
        return rapt_system_refuse(b, "%llu queries of %llu heads, %llu keys of %llu: at least one query, as many keys, and kv heads that divide "
                                  "the query heads are needed", (unsigned long long)t->nq, (unsigned long long)t->heads,
                                  (unsigned long long)t->nk, (unsigned long long)t->kv);
    if (t->block % t->stride != 0 || t->block / t->stride > MOST_WINDOWS_OF_A_BLOCK)
        return rapt_system_refuse(b, "blocks of %lld keys, windows every %lld: 1 to %d whole windows a block are possible", (long long)t->block,
                                  (long long)t->stride, MOST_WINDOWS_OF_A_BLOCK);
    t->windows = t->nk / (uint64_t)t->stride >= 2 ? t->nk / (uint64_t)t->stride - 1 : 0;
    t->blocks = rapt_div_up(t->nk, (uint64_t)t->block);
    t->columns = t->blocks * (uint64_t)(t->block / t->stride) + 1;
    return true;
}

/* ---- InfLLM-V2 ---- */

/* Mean keys of windows of two strides, each window half over the next: (batch, kv, windows, d). */
static bool make_windows(rapt_system_builder *b, const sala *t, rapt_system_view *windows)
{
    const uint64_t halves[4] = {t->batch, t->kv, rapt_div_up(t->nk, (uint64_t)t->stride), t->d},
                   shape[4] = {t->batch, t->kv, t->windows, t->d};
    rapt_system_view means;
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    if (!rapt_system_between(b, "half windows", RAPT_F32, 4, halves, &means) || !rapt_system_between(b, "windows", RAPT_F32, 4, shape, windows))
        return false;
    d.k = t->t.k.tensor;
    d.summary = means.tensor;
    d.block_q = d.top_k = 1;
    d.block_k = (uint64_t)t->stride;
    rapt_system_step *s = rapt_system_route_step_add(b, "means of half windows", &d);
    if (s == NULL)
        return false;
    s->k = t->t.k.at;
    s->summary = means.at;
    const rapt_system_term terms[] = {{rapt_system_part(means, 2, 0, t->windows), 0.5f, NULL},
                                      {rapt_system_part(means, 2, 1, t->windows), 0.5f, NULL}};
    return rapt_system_combine_step_add(b, "means of windows", *windows, terms, 2) != NULL;
}

/* Scores of the windows that end at the query or before it; of others -inf. */
static bool score_windows(rapt_system_builder *b, const sala *t, rapt_system_view q, rapt_system_view windows)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    d.flags = RAPT_ROUTE_CAUSAL | (t->attention.flags & RAPT_ATTENTION_SCALE ? RAPT_ROUTE_SCALE : 0);
    d.scale = t->attention.scale;
    d.q = q.tensor;
    d.summary = windows.tensor; /* given: window w stands for the stride that it begins with */
    d.first_block = t->windows;
    d.nk = t->windows * (uint64_t)t->stride;
    d.block_q = d.top_k = 1;
    d.block_k = (uint64_t)t->stride;
    d.causal_offset = (int64_t)t->nk - (int64_t)d.nk - 2 * t->stride + 1;
    d.scores = t->scores.tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "scores of windows", &d);
    if (s == NULL)
        return false;
    s->q = q.at;
    s->summary = windows.at;
    s->scores = t->scores.at;
    return true;
}

/* A number seen everywhere, as rows of one element. */
static rapt_system_view everywhere(rapt_system_view number, uint64_t batch, uint64_t heads, uint64_t n)
{
    number.tensor.rank = 4;
    number.tensor.size[0] = batch;
    number.tensor.size[1] = heads;
    number.tensor.size[2] = n;
    number.tensor.size[3] = 1;
    number.tensor.stride[0] = number.tensor.stride[1] = number.tensor.stride[2] = 0;
    number.tensor.stride[3] = 1;
    return number;
}

/* The logarithm of the sum of exp(score) of each row: attention whose scores are a bias, of zeros, since what later keys hold must not
 * come near; a sink too small to count makes it finite where there is no window. */
static bool sum_windows(rapt_system_builder *b, const sala *t, rapt_system_view q, rapt_system_view lse)
{
    const uint64_t heads[4] = {1, 1, t->heads, 1}, unused[4] = {t->batch, t->heads, t->nq, 1};
    const uint64_t one[4] = {1, 1, 1, 1};
    rapt_system_view sinks, out, zero;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    if (!rapt_system_between(b, "sinks", RAPT_F32, 4, heads, &sinks) || !rapt_system_between(b, "of no use", RAPT_F32, 4, unused, &out) ||
        !rapt_system_fill(b, "sinks of no weight", sinks, q, -1e30f) || !rapt_system_between(b, "zero", RAPT_F32, 4, one, &zero) ||
        !rapt_system_fill(b, "zero", zero, q, 0))
        return false;
    const rapt_system_view any = everywhere(zero, t->batch, t->kv, t->windows);
    d.flags = RAPT_ATTENTION_SCALE;
    d.scale = 0;
    rapt_system_step *s = rapt_system_step_add(b, "sums over windows", &d, everywhere(zero, t->batch, t->heads, t->nq), any, any, out, &lse);
    if (s == NULL)
        return false;
    rapt_system_give(&s->attention.bias, &s->bias, &t->scores);
    sinks = rapt_system_ranked(sinks, 1, (const int[]){2, -1, -1, -1});
    rapt_system_give(&s->attention.sinks, &s->sinks, &sinks);
    return true;
}

/* softmax of each head's scores, exp(score - lse). */
static bool weigh_windows(rapt_system_builder *b, const sala *t, rapt_system_view lse, rapt_system_view weights)
{
    const uint64_t line[4] = {1, 1, t->windows, 1};
    rapt_system_view ones;
    if (!rapt_system_between(b, "ones", RAPT_F32, 4, line, &ones) || !rapt_system_fill(b, "ones", ones, lse, 1))
        return false;
    const rapt_system_term terms[] = {{t->scores, 1, NULL}, {rapt_system_axes(ones, (const int[]){-1, -1, -1, 2}), -1, &lse}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "weights of windows", weights, terms, 2);
    if (s != NULL)
        s->combine.act = RAPT_COMBINE_ACT_EXP;
    return s != NULL;
}

/* The sum of the weights of a group's heads, into the columns that windows have; zeros around. */
static bool add_heads(rapt_system_builder *b, const sala *t, rapt_system_view weights)
{
    static const char *const names[] = {"some heads", "more heads"};
    const uint64_t group = t->heads / t->kv, shape[4] = {t->batch, t->kv, t->nq, t->windows};
    const rapt_system_view columns = rapt_system_part(t->padded, 3, 1, t->windows);
    rapt_system_view sum[2], last = {0};
    for (unsigned n = 0; n < 2 && group > 3; n++)
        if (!rapt_system_between(b, names[n], RAPT_F32, 4, shape, &sum[n]))
            return false;
    rapt_system_view every = t->padded; /* as a line, of which there is no gap anywhere */
    every.tensor.size[0] = every.tensor.size[1] = 1;
    every.tensor.size[2] = t->batch * t->kv * t->nq * t->columns;
    every.tensor.size[3] = 1;
    every.tensor.stride[2] = 1;
    if (!rapt_system_fill(b, "no windows", every, weights, 0))
        return false;
    for (uint64_t head = 0, call = 0; head < group; call++) {
        rapt_system_term terms[RAPT_COMBINE_TERMS];
        uint32_t count = 0;
        if (head > 0)
            terms[count++] = (rapt_system_term){last, 1, NULL};
        for (; count < RAPT_COMBINE_TERMS && head < group; head++)
            terms[count++] = (rapt_system_term){rapt_system_every(weights, 1, head, group), 1, NULL};
        last = head == group ? columns : sum[call % 2];
        if (!rapt_system_combine_step_add(b, "heads of a group together", last, terms, count))
            return false;
    }
    return true;
}

/* The largest weight of the windows that reach into a block: max(a, c) = relu(a - c) + c. */
static bool best_windows(rapt_system_builder *b, const sala *t, rapt_system_view *best)
{
    static const char *const names[] = {"best windows", "better windows"};
    const uint64_t every = (uint64_t)(t->block / t->stride), shape[4] = {t->batch * t->kv, t->nq, t->blocks, 1};
    rapt_system_view more, most[2], last = {0};
    if (!rapt_system_between(b, "by how much", RAPT_F32, 4, shape, &more) || !rapt_system_between(b, names[0], RAPT_F32, 4, shape, &most[0]) ||
        !rapt_system_between(b, names[1], RAPT_F32, 4, shape, &most[1]))
        return false;
    for (uint64_t n = 0; n <= every; n++) {
        rapt_system_view column = rapt_system_part(t->padded, 3, n, 1); /* of the windows of each block; rows lie without gaps */
        for (unsigned axis = 0; axis < 4; axis++)
            column.tensor.size[axis] = shape[axis];
        column.tensor.stride[0] = (int64_t)(t->nq * t->columns);
        column.tensor.stride[1] = (int64_t)t->columns;
        column.tensor.stride[2] = (int64_t)every;
        if (n > 0) {
            const rapt_system_term less[] = {{last, 1, NULL}, {column, -1, NULL}}, sum[] = {{more, 1, NULL}, {column, 1, NULL}};
            rapt_system_step *s = rapt_system_combine_step_add(b, "by how much a window is better", more, less, 2);
            if (s == NULL)
                return false;
            s->combine.act = RAPT_COMBINE_ACT_RELU;
            if (!rapt_system_combine_step_add(b, "the better one", most[n % 2], sum, 2))
                return false;
        }
        last = n > 0 ? most[n % 2] : column;
    }
    *best = last;
    best->tensor.size[0] = t->batch;
    best->tensor.size[1] = t->kv;
    best->tensor.size[2] = t->nq;
    best->tensor.size[3] = t->blocks;
    best->tensor.stride[0] = (int64_t)(t->kv * t->nq * t->blocks);
    best->tensor.stride[1] = (int64_t)(t->nq * t->blocks);
    best->tensor.stride[2] = (int64_t)t->blocks;
    best->tensor.stride[3] = 1;
    return true;
}

static bool rate_blocks(rapt_system_builder *b, sala *t, rapt_system_view *best)
{
    const uint64_t by_window[4] = {t->batch, t->heads, t->nq, t->windows}, padded[4] = {t->batch, t->kv, t->nq, t->columns};
    rapt_system_view q, windows, lse, weights;
    return rapt_system_single(b, "q single", t->t.q, &q) && rapt_system_between(b, "scores of windows", RAPT_F32, 4, by_window, &t->scores) &&
           rapt_system_between(b, "lse of windows", RAPT_F32, 3, by_window, &lse) &&
           rapt_system_between(b, "weights of windows", RAPT_F32, 4, by_window, &weights) &&
           rapt_system_between(b, "weights of groups", RAPT_F32, 4, padded, &t->padded) && make_windows(b, t, &windows) &&
           score_windows(b, t, q, windows) && sum_windows(b, t, q, lse) && weigh_windows(b, t, lse, weights) &&
           add_heads(b, t, weights) && best_windows(b, t, best);
}

/* Causal attention to blocks that a group of query heads chooses together; to all keys where these are few. */
static bool sparse_layer(rapt_system_builder *b, sala *t, rapt_system_view out)
{
    rapt_system_view best, mask;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    if (!take(b, t))
        return false;
    t->attention.flags |= RAPT_ATTENTION_CAUSAL;
    if (t->nk <= (uint64_t)t->dense || t->windows == 0)
        return rapt_system_step_add(b, "causal attention, few keys", &t->attention, t->t.q, t->t.k, t->t.v, out, NULL) != NULL;
    const uint64_t shape[4] = {t->batch, t->heads, t->nq, t->blocks};
    if (!rate_blocks(b, t, &best) || !rapt_system_between(b, "mask", RAPT_I32, 4, shape, &mask))
        return false;
    route.flags = RAPT_ROUTE_CAUSAL | RAPT_ROUTE_SCORES_GIVEN;
    route.nq = t->nq;
    route.nk = t->nk;
    route.scores = best.tensor;
    route.mask = mask.tensor;
    route.block_q = 1;
    route.block_k = (uint64_t)t->block;
    route.always_first = (uint64_t)t->first;
    route.always_last = (uint64_t)(t->window / t->block) + 1;
    route.top_k = (uint64_t)t->top;
    rapt_system_step *s = rapt_system_route_step_add(b, "blocks are chosen", &route);
    if (s == NULL)
        return false;
    s->scores = best.at;
    s->mask = mask.at;
    s = rapt_system_step_add(b, "causal attention to these", &t->attention, t->t.q, t->t.k, t->t.v, out, NULL);
    if (s == NULL)
        return false;
    rapt_system_give(&s->attention.block_mask, &s->block_mask, &mask);
    s->attention.block_q = 1;
    s->attention.block_k = (uint32_t)t->block;
    return true;
}

/* ---- Lightning Attention ---- */

static bool lightning_layer(rapt_system_builder *b, const rapt_system_qkv *t, rapt_system_view out)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    rapt_system_view lambda;
    if (!rapt_system_in_f32(b, "lambda", 1, &out.tensor.size[1], &lambda))
        return false;
    rapt_system_step *s = rapt_system_linear_step_add(b, "linear attention with a decay per head", &d);
    if (s == NULL)
        return false;
    rapt_system_linear_give(s, t->q, t->k, t->v, out);
    rapt_system_give(&s->linear.decay, &s->decay, &lambda);
    return true;
}

bool rapt_system_sparse_and_lightning(rapt_system_builder *b)
{
    sala t = {.attention = RAPT_ATTENTION_DESC_INIT};
    rapt_system_view gate, plain;
    int64_t sparse = 0;
    const bool gated = rapt_system_given(b, "gate");
    if (!rapt_system_qkv_take(b, &t.t) || !rapt_system_integer(b, "sparse", 0, 1, &sparse))
        return false;
    plain = t.t.out;
    if ((gated && (!rapt_system_in_sized(b, "gate", 4, plain.tensor.size, &gate) ||
                   !rapt_system_between(b, "before the gate", b->dtype, 4, plain.tensor.size, &plain))) ||
        !(sparse ? sparse_layer(b, &t, plain) : lightning_layer(b, &t.t, plain)))
        return false;
    if (!gated)
        return true;
    const rapt_system_term term = {plain, 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, "output gate", t.t.out, &term, 1);
    if (s != NULL)
        rapt_system_give(&s->combine.gate, &s->gate, &gate);
    return s != NULL;
}
