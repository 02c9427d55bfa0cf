/* Attention and linear attention spread over ranks. */
#include "spread.h"

#include <stdlib.h>
#include <string.h>

rapt_status ranks_job_make(ranks_job *j, rapt_ranks *r, const rapt_ranks_attention *s, rapt_error *error)
{
    *j = (ranks_job){.r = r, .s = s};
    rapt_status status = ranks_ready(r, error);
    if (status != RAPT_OK)
        return status;
    if (s == NULL || s->struct_size < sizeof *s || s->q == NULL || s->k == NULL || s->v == NULL || s->out == NULL)
        return ranks_fail(error, RAPT_ERROR_INVALID, "rapt_ranks_attention: struct_size is not %zu, or q, k, v or out is NULL", sizeof *s);
    if (s->batch < 1 || s->q_heads < 1 || s->kv_heads < 1 || s->q_heads % s->kv_heads != 0 || s->queries < 1 || s->keys < 1 || s->d_qk < 1 ||
        s->d_v < 1 || s->causal > 1 || (s->causal && s->queries != s->keys))
        return ranks_fail(error, RAPT_ERROR_INVALID, "rapt_ranks_attention: batch %llu, heads %llu on %llu, queries %llu, keys %llu, causal %u",
                          (unsigned long long)s->batch, (unsigned long long)s->q_heads, (unsigned long long)s->kv_heads,
                          (unsigned long long)s->queries, (unsigned long long)s->keys, s->causal);
    j->rows = s->batch * s->q_heads * s->queries;
    j->q_floats = j->rows * s->d_qk;
    j->out_floats = j->rows * s->d_v;
    j->k_floats = s->batch * s->kv_heads * s->keys * s->d_qk;
    j->v_floats = s->batch * s->kv_heads * s->keys * s->d_v;
    return RAPT_OK;
}

rapt_status ranks_job_end(ranks_job *j, rapt_status status)
{
    rapt_buffer **const all[] = {&j->q, &j->k, &j->v, &j->part, &j->part_lse, &j->out, &j->lse};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        rapt_buffer_destroy(all[i]);
    for (int i = 0; i < 2 && !ranks_are_pending(j->r); i++)
        free(j->host[i]);
    j->r->failed |= status != RAPT_OK; /* the others are not told */
    return status;
}

rapt_status ranks_take_host(ranks_job *j, uint64_t first, uint64_t second, rapt_error *error)
{
    j->host[0] = malloc((size_t)first * sizeof(float));
    j->host[1] = malloc((size_t)second * sizeof(float));
    return j->host[0] != NULL && j->host[1] != NULL ? RAPT_OK : ranks_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for what ranks exchange");
}

rapt_status ranks_download(rapt_buffer *from, float *to, uint64_t floats, rapt_error *error)
{
    return to != NULL ? rapt_buffer_download(from, 0, to, floats * sizeof *to, error) : RAPT_OK;
}

/* ---- attention ---- */

static void describe(const ranks_job *j, const ranks_piece *p, rapt_attention_desc *d)
{
    const rapt_ranks_attention *s = j->s;
    *d = (rapt_attention_desc)RAPT_ATTENTION_DESC_INIT;
    d->q = rapt_tensor_bhnd(RAPT_F32, s->batch, s->q_heads, s->queries, s->d_qk);
    d->k = rapt_tensor_bhnd(RAPT_F32, s->batch, s->kv_heads, p->keys, s->d_qk);
    d->v = rapt_tensor_bhnd(RAPT_F32, s->batch, s->kv_heads, p->keys, s->d_v);
    d->out = rapt_tensor_bhnd(RAPT_F32, s->batch, s->q_heads, s->queries, s->d_v);
    d->lse = d->out;
    d->lse.rank = 3;
    d->lse.stride[0] = (int64_t)(s->q_heads * s->queries);
    d->lse.stride[1] = (int64_t)s->queries;
    d->lse.stride[2] = 1;
    d->q.size[2] = d->out.size[2] = d->lse.size[2] = p->nq;
    d->k.size[2] = d->v.size[2] = p->nk;
    d->q.align = d->out.align = d->lse.align = 4;
    d->flags = (p->causal ? RAPT_ATTENTION_CAUSAL : 0u) | (s->scale != 0 ? RAPT_ATTENTION_SCALE : 0u);
    d->causal_offset = p->offset;
    d->scale = s->scale;
}

rapt_status ranks_attend(ranks_job *j, const ranks_piece *p, rapt_error *error)
{
    rapt_attention_desc d;
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    describe(j, p, &d);
    rapt_status status = ranks_buffer(j->r, NULL, j->out_floats, &j->part, error);
    if (status == RAPT_OK)
        status = ranks_buffer(j->r, NULL, j->rows, &j->part_lse, error);
    if (status == RAPT_OK && p->nq < j->s->queries) {
        status = rapt_buffer_fill(j->part, 0, j->out_floats * sizeof(float), 0, error);
        if (status == RAPT_OK)
            status = rapt_buffer_fill(j->part_lse, 0, j->rows * sizeof(float), 0xff800000u, error); /* -inf */
    }
    args.q = (rapt_slot){j->q, p->q0 * j->s->d_qk * sizeof(float)};
    args.k.buffer = j->k;
    args.v.buffer = j->v;
    args.out = (rapt_slot){j->part, p->q0 * j->s->d_v * sizeof(float)};
    args.lse = (rapt_slot){j->part_lse, p->q0 * sizeof(float)};
    if (status == RAPT_OK)
        status = rapt_attention_plan(j->r->device, &d, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_attention_bind(plan, &args, &binding, error);
    if (status == RAPT_OK)
        status = ranks_run(j->r, &binding, error);
    rapt_plan_destroy(&plan);
    return status;
}

/* What is there becomes what there was so far, merged with it. */
static rapt_status add_part(ranks_job *j, rapt_error *error)
{
    rapt_buffer *out = j->part, *lse = j->part_lse;
    rapt_status status = RAPT_OK;
    if (j->out != NULL) {
        const rapt_slot x[] = {{j->out, 0}, {j->part, 0}}, weight[] = {{j->lse, 0}, {j->part_lse, 0}};
        status = ranks_merge(j->r, 2, j->rows, j->s->d_v, x, weight, &out, &lse, error);
        rapt_buffer_destroy(&j->out);
        rapt_buffer_destroy(&j->lse);
        rapt_buffer_destroy(&j->part);
        rapt_buffer_destroy(&j->part_lse);
    }
    j->out = out;
    j->lse = lse;
    j->part = j->part_lse = NULL;
    return status;
}

/* ---- the ring ---- */

/* This rank's queries and the keys of rank `from`. Causal shares are chunks r and 2 ranks - 1 - r: of an earlier rank's keys everybody sees the
 * first chunk, of a later rank's keys the second chunk of queries sees all. Either way it is half of all pairs. */
static ranks_piece of_round(const ranks_job *j, int from)
{
    const rapt_ranks_attention *s = j->s;
    ranks_piece p = {0, s->queries, s->keys, s->keys, s->causal && from == j->r->rank, 0};
    if (s->causal && from < j->r->rank)
        p.nk /= 2;
    if (s->causal && from > j->r->rank)
        p.q0 = p.nq = s->queries / 2;
    return p;
}

static rapt_status go_round(ranks_job *j, rapt_error *error)
{
    rapt_ranks *r = j->r;
    rapt_status status = RAPT_OK;
    memcpy(j->host[0], j->s->k, j->k_floats * sizeof(float));
    memcpy(j->host[0] + j->k_floats, j->s->v, j->v_floats * sizeof(float));
    for (int round = 0; round < r->count && status == RAPT_OK; round++) {
        float *have = j->host[round % 2], *next = j->host[(round + 1) % 2];
        const ranks_piece p = of_round(j, (r->rank + r->count - round) % r->count);
        if (round + 1 < r->count)
            status = ranks_pass_on(r, have, next, j->k_floats + j->v_floats, error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(j->k, 0, have, j->k_floats * sizeof(float), error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(j->v, 0, have + j->k_floats, j->v_floats * sizeof(float), error);
        if (status == RAPT_OK)
            status = ranks_attend(j, &p, error);
        if (status == RAPT_OK)
            status = add_part(j, error);
        if (status == RAPT_OK && r->request_count > 0)
            status = ranks_arrive(r, "the next keys and values of the ring", error);
    }
    return status;
}

rapt_status rapt_ranks_ring(rapt_ranks *r, const rapt_ranks_attention *s, rapt_error *error)
{
    ranks_job j;
    rapt_status status = ranks_job_make(&j, r, s, error);
    if (status == RAPT_OK && s->causal && s->queries % 2 != 0)
        status = ranks_fail(error, RAPT_ERROR_INVALID, "%llu tokens are not two chunks", (unsigned long long)s->queries);
    if (status != RAPT_OK)
        return status;
    status = ranks_take_host(&j, j.k_floats + j.v_floats, j.k_floats + j.v_floats, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, s->q, j.q_floats, &j.q, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, NULL, j.k_floats, &j.k, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, NULL, j.v_floats, &j.v, error);
    if (status == RAPT_OK)
        status = go_round(&j, error);
    if (status == RAPT_OK)
        status = ranks_download(j.out, s->out, j.out_floats, error);
    if (status == RAPT_OK)
        status = ranks_download(j.lse, s->lse, j.rows, error);
    return ranks_job_end(&j, status);
}

/* ---- keys and values gathered ---- */

/* From (ranks, lines, tokens, d) to (lines, ranks tokens, d), on the way to the device. */
static rapt_status upload_gathered(ranks_job *j, const float *from, float *room, uint64_t d, rapt_buffer **buffer, rapt_error *error)
{
    const uint64_t ranks = (uint64_t)j->r->count, lines = j->s->batch * j->s->kv_heads, run = j->s->keys * d;
    for (uint64_t rank = 0; rank < ranks; rank++)
        for (uint64_t line = 0; line < lines; line++)
            memcpy(room + (line * ranks + rank) * run, from + (rank * lines + line) * run, run * sizeof *room);
    return ranks_buffer(j->r, room, ranks * lines * run, buffer, error);
}

rapt_status rapt_ranks_gather(rapt_ranks *r, const rapt_ranks_attention *s, rapt_error *error)
{
    ranks_job j;
    rapt_status status = ranks_job_make(&j, r, s, error);
    if (status != RAPT_OK)
        return status;
    const uint64_t ranks = (uint64_t)r->count, k = ranks * j.k_floats, v = ranks * j.v_floats;
    const ranks_piece p = {0, s->queries, ranks * s->keys, ranks * s->keys, s->causal,
                     ((int64_t)r->rank + 1 - (int64_t)ranks) * (int64_t)s->queries};
    status = ranks_take_host(&j, k + v, k > v ? k : v, error);
    if (status == RAPT_OK)
        status = ranks_gather_all(r, s->k, j.host[0], j.k_floats, error);
    if (status == RAPT_OK)
        status = ranks_gather_all(r, s->v, j.host[0] + k, j.v_floats, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, s->q, j.q_floats, &j.q, error);
    if (status == RAPT_OK)
        status = ranks_arrive(r, "keys and values of all ranks", error);
    if (status == RAPT_OK)
        status = upload_gathered(&j, j.host[0], j.host[1], s->d_qk, &j.k, error);
    if (status == RAPT_OK)
        status = upload_gathered(&j, j.host[0] + k, j.host[1], s->d_v, &j.v, error);
    if (status == RAPT_OK)
        status = ranks_attend(&j, &p, error);
    if (status == RAPT_OK)
        status = ranks_download(j.part, s->out, j.out_floats, error);
    if (status == RAPT_OK)
        status = ranks_download(j.part_lse, s->lse, j.rows, error);
    return ranks_job_end(&j, status);
}

/* ---- decoding ---- */

/* (out, lse) of each rank, one behind the other, under one softmax. */
static rapt_status merge_gathered(ranks_job *j, const float *all, rapt_error *error)
{
    const uint64_t each = j->out_floats + j->rows, ranks = (uint64_t)j->r->count;
    rapt_slot *x = calloc(2 * ranks, sizeof *x);
    rapt_status status = x != NULL ? ranks_buffer(j->r, all, ranks * each, &j->q, error)
                                   : ranks_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %d ranks", j->r->count);
    for (uint64_t i = 0; i < ranks && status == RAPT_OK; i++) {
        x[i] = (rapt_slot){j->q, i * each * sizeof(float)};
        x[ranks + i] = (rapt_slot){j->q, (i * each + j->out_floats) * sizeof(float)};
    }
    if (status == RAPT_OK)
        status = ranks_merge(j->r, (uint32_t)ranks, j->rows, j->s->d_v, x, x + ranks, &j->out, &j->lse, error);
    free(x);
    return status;
}

rapt_status rapt_ranks_decode(rapt_ranks *r, const rapt_ranks_attention *s, rapt_error *error)
{
    ranks_job j;
    rapt_status status = ranks_job_make(&j, r, s, error);
    if (status == RAPT_OK && s->causal)
        status = ranks_fail(error, RAPT_ERROR_INVALID, "decoding over ranks has no causality: all keys are seen");
    if (status != RAPT_OK)
        return status;
    const uint64_t each = j.out_floats + j.rows;
    const ranks_piece p = {0, s->queries, s->keys, s->keys, false, 0};
    status = ranks_take_host(&j, each, (uint64_t)r->count * each, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, s->q, j.q_floats, &j.q, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, s->k, j.k_floats, &j.k, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, s->v, j.v_floats, &j.v, error);
    if (status == RAPT_OK)
        status = ranks_attend(&j, &p, error);
    if (status == RAPT_OK)
        status = ranks_download(j.part, j.host[0], j.out_floats, error);
    if (status == RAPT_OK)
        status = ranks_download(j.part_lse, j.host[0] + j.out_floats, j.rows, error);
    if (status == RAPT_OK)
        status = ranks_gather_all(r, j.host[0], j.host[1], each, error);
    if (status == RAPT_OK)
        status = ranks_arrive(r, "outputs of all ranks", error);
    rapt_buffer_destroy(&j.q);
    if (status == RAPT_OK)
        status = merge_gathered(&j, j.host[1], error);
    if (status == RAPT_OK)
        status = ranks_download(j.out, s->out, j.out_floats, error);
    if (status == RAPT_OK)
        status = ranks_download(j.lse, s->lse, j.rows, error);
    return ranks_job_end(&j, status);
}

/* ---- linear attention ---- */

typedef struct states {
    rapt_buffer *q, *k, *v, *out, *own, *all, *before, *unused;
} states;

/* One call over this rank's tokens: from `before` (NULL: nothing) to `after` (NULL: not wanted). */
static rapt_status walk(rapt_ranks *r, const rapt_ranks_state *s, const states *t, rapt_buffer *before, rapt_buffer *after, rapt_error *error)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    d.q = d.k = rapt_tensor_bhnd(RAPT_F32, s->batch, s->heads, s->tokens, s->d_k);
    d.v = d.out = rapt_tensor_bhnd(RAPT_F32, s->batch, s->heads, s->tokens, s->d_v);
    args.q.buffer = t->q;
    args.k.buffer = t->k;
    args.v.buffer = t->v;
    args.out.buffer = t->out;
    args.state_in.buffer = before;
    args.state_out.buffer = after;
    if (before != NULL)
        d.state_in = rapt_tensor_bhnd(RAPT_F32, s->batch, s->heads, s->d_k, s->d_v);
    if (after != NULL)
        d.state_out = rapt_tensor_bhnd(RAPT_F32, s->batch, s->heads, s->d_k, s->d_v);
    rapt_status status = rapt_linear_plan(r->device, &d, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_linear_bind(plan, &args, &binding, error);
    if (status == RAPT_OK)
        status = ranks_run(r, &binding, error);
    rapt_plan_destroy(&plan);
    return status;
}

/* The sum of the states of the ranks before this one. */
static rapt_status add_states(rapt_ranks *r, const rapt_ranks_state *s, states *t, const float *all, rapt_error *error)
{
    const uint64_t each = s->batch * s->heads * s->d_k * s->d_v, count = (uint64_t)r->rank;
    rapt_slot *x = calloc(count, sizeof *x);
    rapt_status status = x != NULL ? ranks_buffer(r, all, count * each, &t->all, error)
                                   : ranks_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %d ranks", r->count);
    for (uint64_t i = 0; i < count && status == RAPT_OK; i++)
        x[i] = (rapt_slot){t->all, i * each * sizeof(float)};
    if (status == RAPT_OK)
        status = ranks_merge(r, (uint32_t)count, each / s->d_v, s->d_v, x, NULL, &t->before, &t->unused, error);
    free(x);
    return status;
}

static rapt_status walk_all(rapt_ranks *r, const rapt_ranks_state *s, states *t, float *own, float *all, rapt_error *error)
{
    const uint64_t each = s->batch * s->heads * s->d_k * s->d_v, rows = s->batch * s->heads * s->tokens;
    rapt_status status = ranks_buffer(r, s->q, rows * s->d_k, &t->q, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, s->k, rows * s->d_k, &t->k, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, s->v, rows * s->d_v, &t->v, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, NULL, rows * s->d_v, &t->out, error);
    if (status == RAPT_OK)
        status = ranks_buffer(r, NULL, each, &t->own, error);
    if (status == RAPT_OK)
        status = walk(r, s, t, NULL, t->own, error);
    if (status == RAPT_OK)
        status = ranks_download(t->own, own, each, error);
    if (status == RAPT_OK)
        status = ranks_gather_all(r, own, all, each, error);
    if (status == RAPT_OK)
        status = ranks_arrive(r, "states of all ranks", error);
    if (status == RAPT_OK && r->rank > 0)
        status = add_states(r, s, t, all, error);
    if (status == RAPT_OK && r->rank > 0)
        status = walk(r, s, t, t->before, NULL, error);
    return status == RAPT_OK ? ranks_download(t->out, s->out, rows * s->d_v, error) : status;
}

rapt_status rapt_ranks_linear(rapt_ranks *r, const rapt_ranks_state *s, rapt_error *error)
{
    states t = {NULL};
    rapt_status status = ranks_ready(r, error);
    if (status != RAPT_OK)
        return status;
    if (s == NULL || s->struct_size < sizeof *s || s->q == NULL || s->k == NULL || s->v == NULL || s->out == NULL || s->batch < 1 ||
        s->heads < 1 || s->tokens < 1 || s->d_k < 1 || s->d_v < 1)
        return ranks_fail(error, RAPT_ERROR_INVALID, "rapt_ranks_state: struct_size is not %zu, or something is NULL or 0", sizeof *s);
    const uint64_t each = s->batch * s->heads * s->d_k * s->d_v;
    float *own = malloc((size_t)each * sizeof *own), *all = malloc((size_t)each * (size_t)r->count * sizeof *all);
    status = own != NULL && all != NULL ? walk_all(r, s, &t, own, all, error)
                                        : ranks_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for states");
    rapt_buffer **const buffers[] = {&t.q, &t.k, &t.v, &t.out, &t.own, &t.all, &t.before, &t.unused};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        rapt_buffer_destroy(buffers[i]);
    if (!ranks_are_pending(r)) {
        free(own);
        free(all);
    }
    r->failed |= status != RAPT_OK;
    return status;
}
