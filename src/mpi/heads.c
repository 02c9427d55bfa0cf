/* Attention spread over ranks by heads: two all-to-all exchanges, and between them whole sequences of a few heads on each rank. */
#include "spread.h"

#include <stdlib.h>
#include <string.h>

/* A rank's share has all heads of its own tokens; in between it has `own` kv heads, and their query heads, of all ranks' tokens. A message
 * is about the kv heads of one rank and the tokens of another. */
typedef struct heads {
    ranks_job whole, own; /* the share as it is given; attention of the own heads, with host rooms in `whole` alone */
    rapt_ranks_attention inner;
    uint64_t ranks, group, *first; /* rank t has kv heads first[t] .. first[t + 1] */
    int *counts;
} heads;

/* kv heads in proportion to speeds, rounded so that the sum is right: the same on all ranks. */
static void divide(const rapt_ranks *r, uint64_t kv_heads, uint64_t *first)
{
    double all = 0, before = 0;
    for (int t = 0; t < r->count; t++)
        all += (double)r->speeds[t];
    for (int t = 0; t < r->count; t++) {
        first[t] = (uint64_t)((double)kv_heads * before / all + 0.5);
        before += (double)r->speeds[t];
    }
    first[r->count] = kv_heads;
}

static uint64_t heads_of(const heads *h, uint64_t rank)
{
    return h->first[rank + 1] - h->first[rank];
}

/* Floats of one kv head, with its query heads, of one rank's tokens in all batches: on the way there and back. */
static uint64_t floats_there(const heads *h)
{
    const rapt_ranks_attention *s = h->whole.s;
    return s->batch * (h->group * s->queries * s->d_qk + s->keys * (s->d_qk + s->d_v));
}

static uint64_t floats_back(const heads *h)
{
    const rapt_ranks_attention *s = h->whole.s;
    return s->batch * h->group * s->queries * (s->d_v + 1);
}

/* Messages to and from each rank, one behind the other, of so many floats a kv head. Going there a message is about the receiver's heads,
 * coming back about the sender's. */
static rapt_status exchange(heads *h, bool back, float *from, float *to, const char *what, rapt_error *error)
{
    rapt_ranks *r = h->whole.r;
    const uint64_t each = back ? floats_back(h) : floats_there(h), own = heads_of(h, (uint64_t)r->rank);
    uint64_t at[2] = {0, 0};
    for (int t = 0; t < r->count; t++) {
        const uint64_t floats[2] = {each * (back ? own : heads_of(h, (uint64_t)t)), each * (back ? heads_of(h, (uint64_t)t) : own)};
        for (int way = 0; way < 2; way++) {
            h->counts[2 * way * r->count + t] = (int)floats[way];
            h->counts[(2 * way + 1) * r->count + t] = (int)at[way];
            at[way] += floats[way];
        }
    }
    rapt_status status = ranks_exchange(r, from, to, h->counts, error);
    return status == RAPT_OK ? ranks_arrive(r, what, error) : status;
}

/* ---- between a share (batch, lines, run), run being its tokens' entries, and messages (batch, some of the lines, run) ---- */

typedef struct cut {
    uint64_t batch, lines, first, count, run;
} cut;

static float *to_message(float *message, const float *share, const cut *c)
{
    for (uint64_t b = 0; b < c->batch; b++)
        memcpy(message + b * c->count * c->run, share + (b * c->lines + c->first) * c->run, c->count * c->run * sizeof *share);
    return message + c->batch * c->count * c->run;
}

static const float *from_message(const float *message, float *share, const cut *c)
{
    for (uint64_t b = 0; b < c->batch && share != NULL; b++)
        memcpy(share + (b * c->lines + c->first) * c->run, message + b * c->count * c->run, c->count * c->run * sizeof *share);
    return message + c->batch * c->count * c->run;
}

/* ---- between messages (lines, run) of each rank, `each` floats apart, and the device's (lines, ranks, run) ---- */

static rapt_status join(heads *h, const float *messages, uint64_t each, uint64_t lines, uint64_t run, rapt_buffer **buffer, rapt_error *error)
{
    float *room = h->whole.host[0];
    for (uint64_t rank = 0; rank < h->ranks; rank++)
        for (uint64_t line = 0; line < lines; line++)
            memcpy(room + (line * h->ranks + rank) * run, messages + rank * each + line * run, run * sizeof *room);
    return ranks_buffer(h->whole.r, room, h->ranks * lines * run, buffer, error);
}

static rapt_status part(heads *h, rapt_buffer *buffer, float *messages, uint64_t each, uint64_t lines, uint64_t run, rapt_error *error)
{
    float *room = h->whole.host[0];
    const rapt_status status = ranks_download(buffer, room, h->ranks * lines * run, error);
    for (uint64_t rank = 0; rank < h->ranks && status == RAPT_OK; rank++)
        for (uint64_t line = 0; line < lines; line++)
            memcpy(messages + rank * each + line * run, room + (line * h->ranks + rank) * run, run * sizeof *room);
    return status;
}

/* ---- the steps ---- */

static rapt_status give_tokens(heads *h, rapt_error *error)
{
    const rapt_ranks_attention *s = h->whole.s;
    float *to = h->whole.host[0];
    for (uint64_t t = 0; t < h->ranks; t++) {
        const uint64_t first = h->first[t], count = heads_of(h, t);
        to = to_message(to, s->q, &(cut){s->batch, s->q_heads, first * h->group, count * h->group, s->queries * s->d_qk});
        to = to_message(to, s->k, &(cut){s->batch, s->kv_heads, first, count, s->keys * s->d_qk});
        to = to_message(to, s->v, &(cut){s->batch, s->kv_heads, first, count, s->keys * s->d_v});
    }
    return exchange(h, false, h->whole.host[0], h->whole.host[1], "heads of other ranks' tokens", error);
}

static rapt_status work(heads *h, rapt_error *error)
{
    const rapt_ranks_attention *s = h->whole.s, *own = &h->inner;
    const uint64_t q_lines = s->batch * own->q_heads, lines = s->batch * own->kv_heads, there = floats_there(h) * own->kv_heads,
                   back = floats_back(h) * own->kv_heads, q_run = s->queries * s->d_qk, k_run = s->keys * s->d_qk;
    const ranks_piece all = {0, own->queries, own->keys, own->keys, s->causal, 0};
    float *messages = h->whole.host[1];
    rapt_status status = join(h, messages, there, q_lines, q_run, &h->own.q, error);
    if (status == RAPT_OK)
        status = join(h, messages + q_lines * q_run, there, lines, k_run, &h->own.k, error);
    if (status == RAPT_OK)
        status = join(h, messages + q_lines * q_run + lines * k_run, there, lines, s->keys * s->d_v, &h->own.v, error);
    if (status == RAPT_OK)
        status = ranks_attend(&h->own, &all, error);
    if (status == RAPT_OK)
        status = part(h, h->own.part, messages, back, q_lines, s->queries * s->d_v, error);
    if (status == RAPT_OK)
        status = part(h, h->own.part_lse, messages + q_lines * s->queries * s->d_v, back, q_lines, s->queries, error);
    return status;
}

static rapt_status take_results(heads *h, rapt_error *error)
{
    const rapt_ranks_attention *s = h->whole.s;
    const rapt_status status = exchange(h, true, h->whole.host[1], h->whole.host[0], "outputs of other ranks' heads", error);
    const float *from = h->whole.host[0];
    for (uint64_t t = 0; t < h->ranks && status == RAPT_OK; t++) {
        const uint64_t first = h->first[t] * h->group, count = heads_of(h, t) * h->group;
        from = from_message(from, s->out, &(cut){s->batch, s->q_heads, first, count, s->queries * s->d_v});
        from = from_message(from, s->lse, &(cut){s->batch, s->q_heads, first, count, s->queries});
    }
    return status;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Who has which heads, and room for it: what is sent or joined, what is received or parted. */
static rapt_status prepare(heads *h, rapt_error *error)
{
    rapt_ranks *r = h->whole.r;
    const rapt_ranks_attention *s = h->whole.s;
    h->ranks = (uint64_t)r->count;
    h->group = s->q_heads / s->kv_heads;
    h->first = malloc((h->ranks + 1) * sizeof *h->first);
    h->counts = malloc(4 * h->ranks * sizeof *h->counts);
    if (h->first == NULL || h->counts == NULL)
        return ranks_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %d ranks", r->count);
    divide(r, s->kv_heads, h->first);
    h->inner = *s;
    h->inner.kv_heads = heads_of(h, (uint64_t)r->rank);
    h->inner.q_heads = h->inner.kv_heads * h->group;
    h->inner.queries = h->ranks * s->queries;
    h->inner.keys = h->ranks * s->keys;
    h->own = (ranks_job){.r = r, .s = &h->inner, .rows = s->batch * h->inner.q_heads * h->inner.queries};
    h->own.out_floats = h->own.rows * s->d_v;
    const uint64_t message = most(floats_there(h), floats_back(h)), largest = s->batch * most(h->group * s->queries, s->keys) * most(s->d_qk, s->d_v);
    const uint64_t all = message * s->kv_heads, own = h->ranks * h->inner.kv_heads;
    rapt_status status = ranks_count(r, most(all, message * own), error);
    return status == RAPT_OK ? ranks_take_host(&h->whole, most(all, largest * own), message * own + 1, error) : status;
}

rapt_status rapt_ranks_heads(rapt_ranks *r, const rapt_ranks_attention *s, rapt_error *error)
{
    heads h = {.ranks = 0};
    rapt_status status = ranks_job_make(&h.whole, r, s, error);
    if (status != RAPT_OK)
        return status;
    status = prepare(&h, error);
    if (status == RAPT_OK)
        status = give_tokens(&h, error);
    if (status == RAPT_OK && h.inner.kv_heads > 0)
        status = work(&h, error);
    if (status == RAPT_OK)
        status = take_results(&h, error);
    status = ranks_job_end(&h.own, ranks_job_end(&h.whole, status));
    free(h.first);
    if (!ranks_are_pending(r))
        free(h.counts);
    return status;
}
