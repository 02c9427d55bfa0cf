/* Oracles of systems that read keys one after the other and know when they have read enough, or have read the same before. */
#include "oracle_system.h"

typedef struct rated {
    double score;
    uint64_t key;
} rated;

static int higher_first(const void *x, const void *y)
{
    const rated *a = x, *b = y;
    return a->score > b->score ? -1 : a->score < b->score ? 1 : a->key < b->key ? -1 : a->key > b->key;
}

/* The first `count` keys in the order of their products with the mean of queries [first, end). */
static void rank_keys(oracle *o, uint64_t b, uint64_t h, uint64_t first, uint64_t end, uint64_t count, double *mean, rated *order)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t d = q->shape[3], g = h * k->shape[1] / q->shape[1];
    for (uint64_t e = 0; e < d; e++) {
        double sum = 0;
        for (uint64_t i = first; i < end; i++)
            sum += row4(q, b, h, i)[e];
        mean[e] = sum / (double)(end - first);
    }
    for (uint64_t j = 0; j < count; j++) {
        double sum = 0;
        for (uint64_t e = 0; e < d; e++)
            sum += mean[e] * row4(k, b, g, j)[e];
        order[j] = (rated){sum * scale_of(o, d), j};
    }
    qsort(order, (size_t)count, sizeof *order, higher_first);
}

/* Query i's softmax average over keys order[0, count), to `out`; its log-sum-exp. */
static double part_of(oracle *o, query *one, uint64_t b, uint64_t h, uint64_t i, const rated *order, uint64_t count, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t g = h * k->shape[1] / q->shape[1], d = q->shape[3];
    double lse = -INFINITY;
    for (uint64_t n = 0; n < count; n++) {
        one->s[n] = product(o, row4(q, b, h, i), row4(k, b, g, order[n].key), d, scale_of(o, d));
        one->v[n] = row4(v, b, g, order[n].key);
        one->seen[n] = true;
    }
    one->n = count;
    one->out = out;
    one->lse = &lse;
    softmax(o, one);
    one->lse = NULL;
    return lse;
}

/* Two averages over disjoint keys under one softmax, into the first; the log-sum-exp of both. */
static double join(const oracle *o, double *out, double lse, const double *other, double lse_other, uint64_t d_v)
{
    const double top = fmax(lse, lse_other), a = r(o, exp(r(o, lse - top))), b = r(o, exp(r(o, lse_other - top)));
    for (uint64_t e = 0; e < d_v; e++)
        out[e] = stored(o, r(o, r(o, r(o, a * out[e]) + r(o, b * other[e])) / r(o, a + b)));
    return r(o, top + r(o, log(r(o, a + b))));
}

typedef struct room_for {
    rated *order;
    double *mean, *part;
    query one;
} room_for;

/* S2O, one segment of queries, [first, end), of a head: its own keys up to each query, then the keys before it by rank, until a tile
 * adds less than the budget to what every query has. */
static void segment_of(oracle *o, room_for *t, uint64_t b, uint64_t h, uint64_t first, uint64_t end, double *out, double *lse)
{
    const uint64_t own = first + input(o, "k")->shape[2] - input(o, "q")->shape[2], d_v = input(o, "v")->shape[3],
                   growth = (uint64_t)whole(o, "growth");
    const double budget = strtod(text_of(o, "budget"), NULL);
    for (uint64_t i = first; i < end; i++) {
        for (uint64_t n = 0; n <= i - first; n++)
            t->order[n] = (rated){0, own + n};
        lse[i - first] = part_of(o, &t->one, b, h, i, t->order, i - first + 1, out + (i - first) * d_v);
    }
    rank_keys(o, b, h, first, end, own, t->mean, t->order);
    double gain = INFINITY;
    for (uint64_t at = 0, tile = (uint64_t)whole(o, "tile"); at < own && gain >= budget; at += tile, tile *= growth) {
        const uint64_t count = at + tile < own ? tile : own - at;
        gain = 0;
        for (uint64_t i = first; i < end; i++) {
            const double of_tile = part_of(o, &t->one, b, h, i, t->order + at, count, t->part);
            gain = fmax(gain, exp(of_tile - lse[i - first]));
            lse[i - first] = join(o, out + (i - first) * d_v, lse[i - first], t->part, of_tile, d_v);
        }
    }
}

static bool s2o(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = v->shape[2], d_v = v->shape[3], all = q->shape[0] * heads,
                   segment = (uint64_t)whole(o, "segment");
    room_for t = {.order = malloc((size_t)(nk + 1) * sizeof *t.order),
                  .mean = malloc((size_t)(q->shape[3] + 1) * sizeof *t.mean),
                  .part = malloc((size_t)(d_v + 1) * sizeof *t.part)};
    const bool good = query_make(&t.one, nk, d_v) && t.order && t.mean && t.part && room(o, all * nq * d_v, all * nq);
    for (uint64_t at = 0; at < all && good; at++)
        for (uint64_t first = 0; first < nq; first += segment) {
            const uint64_t end = first + segment < nq ? first + segment : nq, row = at * nq + first;
            segment_of(o, &t, at / heads, at % heads, first, end, o->to->out + row * d_v, o->to->lse + row);
        }
    free(t.order);
    free(t.mean);
    free(t.part);
    query_free(&t.one);
    return good && !o->failed;
}

/* ---- DeltaLLM ---- */

/* k' of one head: elements that change by less than the threshold stay what they were. */
static void hold(oracle *o, uint64_t b, uint64_t g, double *held)
{
    const rapt_check_array *k = input(o, "k");
    const uint64_t d = k->shape[3], nk = k->shape[2];
    const double threshold = (double)strtof(text_of(o, "threshold"), NULL);
    for (uint64_t at = 0; at < nk * d; at++) {
        const double now = k->data[(b * k->shape[1] + g) * nk * d + at], change = at >= d ? now - held[at - d] : INFINITY;
        held[at] = has(o, "held") ? input(o, "held")->data[(b * k->shape[1] + g) * nk * d + at] : fabs(change) >= threshold ? now : held[at - d];
    }
}

/* Scores of query i against keys before `end` as sums of its products with their differences; of those from `end` on as they are. */
static void delta_scores(oracle *o, query *one, uint64_t b, uint64_t h, uint64_t i, uint64_t end, const double *held)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t d = q->shape[3], g = h * k->shape[1] / q->shape[1];
    double sum = 0;
    for (uint64_t j = 0; j < one->n; j++) {
        for (uint64_t e = 0; e < d && j < end; e++)
            sum = r(o, sum + r(o, row4(q, b, h, i)[e] * (held[j * d + e] - (j > 0 ? held[(j - 1) * d + e] : 0))));
        one->s[j] = product(o, row4(q, b, h, i), j < end ? held + j * d : row4(k, b, g, j), d, scale_of(o, d));
        if (j < end)
            one->s[j] = r(o, r(o, scale_of(o, d)) * sum);
        one->v[j] = row4(v, b, g, j);
    }
}

static bool delta_llm(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], d_v = input(o, "v")->shape[3], all = q->shape[0] * heads * nq,
                   window = (uint64_t)whole(o, "window");
    double *held = malloc((size_t)(nk * q->shape[3] + 1) * sizeof *held), *part = malloc((size_t)(d_v + 1) * sizeof *part), lse;
    query one;
    const bool good = query_make(&one, nk, d_v) && held && part && room(o, all * d_v, all);
    for (uint64_t at = 0; at < all && good; at++) {
        const uint64_t b = at / nq / heads, h = at / nq % heads, i = at % nq, p = i + nk - nq, end = p + 1 > window ? p + 1 - window : 0;
        if (i == 0)
            hold(o, b, h * k->shape[1] / heads, held);
        delta_scores(o, &one, b, h, i, end, held);
        for (uint64_t j = 0; j < nk; j++)
            one.seen[j] = j < end;
        one.out = part;
        one.lse = &lse;
        softmax(o, &one);
        for (uint64_t j = 0; j < nk; j++)
            one.seen[j] = j >= end && j <= p;
        one.out = o->to->out + at * d_v;
        one.lse = o->to->lse + at;
        softmax(o, &one);
        *one.lse = join(o, one.out, *one.lse, part, lse, d_v);
    }
    free(held);
    free(part);
    query_free(&one);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"DeltaLLM", delta_llm},
    {"S2O (online permutation, early stop)", s2o},
};
const oracle_family rapt_oracles_ranked = {entries, sizeof entries / sizeof *entries};
