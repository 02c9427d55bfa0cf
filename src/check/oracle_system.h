/* What the oracles of published systems stand on: inputs and parameters by name, rounding, softmax by its definition, and the
 * walk over rows of attention. One file per family, oracle_systems_<family>.c, includes this; each ends with a table of its
 * oracles by name, which oracle_systems.c lists. */
#ifndef RAPT_CHECK_ORACLE_SYSTEM_H
#define RAPT_CHECK_ORACLE_SYSTEM_H

#include "systems.h"

#include "cases.h"
#include "half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct oracle oracle;
struct oracle {
    const rapt_check_system *p;
    rapt_check_precision precision;
    rapt_check_expected *to;
    bool failed; /* something missing */
    /* What is added to the score of query i of head h against key j; NULL: nothing. */
    double (*bias)(struct oracle *o, uint64_t b, uint64_t h, uint64_t i, uint64_t j, double scale);
    uint64_t head; /* of the query that is asked about */
};

static inline double r(const oracle *o, double x)
{
    return o->precision == RAPT_CHECK_DOUBLE ? x : (double)(float)x;
}

/* What a tensor in memory makes of a number. */
static inline double stored(const oracle *o, double x)
{
    return o->precision == RAPT_CHECK_DOUBLE ? x : (double)rapt_check_round(o->p->dtype, (float)x);
}

static inline double weight(const oracle *o, double x)
{
    return o->precision == RAPT_CHECK_HALF_WEIGHTS ? stored(o, x) : r(o, x);
}

static inline const rapt_check_array *input(oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->input_count; n++)
        if (strcmp(o->p->inputs[n].name, name) == 0)
            return &o->p->inputs[n];
    o->failed = true;
    return &o->p->inputs[0];
}

/* Whether an input that may be absent is there. */
static inline bool has(const oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->input_count; n++)
        if (strcmp(o->p->inputs[n].name, name) == 0)
            return true;
    return false;
}

static inline const char *text_of(oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->setting_count; n++)
        if (strcmp(o->p->settings[n].name, name) == 0)
            return o->p->settings[n].value;
    for (uint32_t n = 0; n < o->p->info->parameter_count; n++)
        if (strcmp(o->p->info->parameters[n].name, name) == 0)
            return o->p->info->parameters[n].shape;
    o->failed = true;
    return "0";
}

static inline int64_t whole(oracle *o, const char *name)
{
    return strtoll(text_of(o, name), NULL, 10);
}

static inline double scale_of(oracle *o, uint64_t d)
{
    const char *text = text_of(o, "scale");
    return strcmp(text, "1/sqrt(d)") == 0 ? 1 / sqrt((double)d) : strtod(text, NULL);
}

/* Row (a, b, c) of an array of rank 4. */
static inline const double *row4(const rapt_check_array *t, uint64_t a, uint64_t b, uint64_t c)
{
    return t->data + ((a * t->shape[1] + b) * t->shape[2] + c) * t->shape[3];
}

static inline double product(const oracle *o, const double *a, const double *b, uint64_t d, double scale)
{
    double sum = 0, size_a = 0, size_b = 0;
    for (uint64_t e = 0; e < d; e++) {
        sum = r(o, sum + r(o, a[e] * b[e]));
        size_a += a[e] * a[e];
        size_b += b[e] * b[e];
    }
    o->to->score = fmax(o->to->score, fabs(scale) * sqrt(size_a * size_b));
    return r(o, r(o, scale) * sum);
}

/* One query: its scores, where they count, and the rows of v. */
typedef struct query {
    uint64_t n, d_v;
    double *s;
    bool *seen;
    const double **v;
    double *out, *lse;
} query;

/* softmax(s) V, by its definition: exp over the sum of exp. */
static inline void softmax(const oracle *o, const query *q)
{
    double top = -INFINITY, sum = 0;
    for (uint64_t j = 0; j < q->n; j++)
        if (q->seen[j])
            top = fmax(top, q->s[j]);
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = 0;
    for (uint64_t j = 0; j < q->n; j++) {
        if (!q->seen[j])
            continue;
        const double w = weight(o, exp(r(o, q->s[j] - top)));
        sum = r(o, sum + w);
        for (uint64_t e = 0; e < q->d_v; e++)
            q->out[e] = r(o, q->out[e] + r(o, w * q->v[j][e]));
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = sum > 0 ? stored(o, r(o, q->out[e] / sum)) : 0;
    *q->lse = sum > 0 ? r(o, top + r(o, log(sum))) : -INFINITY;
}

/* Marks the `count` largest of n scores, beside what is marked already. Equal ones: the lower goes first. */
static inline void take_largest(const double *score, uint64_t n, int64_t count, bool *taken)
{
    for (; count > 0; count--) {
        uint64_t best = n;
        for (uint64_t j = 0; j < n; j++)
            if (!taken[j] && score[j] > -INFINITY && (best == n || score[j] > score[best]))
                best = j;
        if (best == n)
            return;
        taken[best] = true;
    }
}

/* ---- the walk over rows ---- */

/* Whether the query at key position p (the last query stands at the last key) sees key j; kv is its kv head.
 */
typedef bool (*sees_fn)(oracle *o, uint64_t kv, int64_t p, int64_t j);
typedef void (*attend_fn)(const oracle *o, const query *q);

static inline bool room(oracle *o, uint64_t outs, uint64_t lses)
{
    o->to->out = malloc((size_t)(outs + 1) * sizeof(double));
    o->to->lse = malloc((size_t)(lses + 1) * sizeof(double));
    o->to->out_count = outs;
    o->to->lse_count = lses;
    return !o->failed && o->to->out && o->to->lse;
}

static inline bool query_make(query *q, uint64_t n, uint64_t d_v)
{
    *q = (query){.n = n,
                 .d_v = d_v,
                 .s = malloc((size_t)(n + 1) * sizeof(double)),
                 .seen = malloc((size_t)n + 1),
                 .v = malloc((size_t)(n + 1) * sizeof(double *))};
    return q->s && q->seen && q->v;
}

static inline void query_free(query *q)
{
    free(q->s);
    free(q->seen);
    free(q->v);
}

/* q, k and v of rank 4; query head h reads kv head floor(h kv_heads / q_heads). cap: 0 for none. */
static inline bool rows(oracle *o, sees_fn sees, attend_fn attend, double cap)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t batch = q->shape[0], heads = q->shape[1], nq = q->shape[2], d = q->shape[3],
                   kv = k->shape[1], nk = k->shape[2], d_v = v->shape[3];
    const double scale = scale_of(o, d);
    query one;
    bool good = query_make(&one, nk, d_v) && room(o, batch * heads * nq * d_v, batch * heads * nq);
    for (uint64_t at = 0; at < batch * heads * nq && good; at++) {
        const uint64_t b = at / (heads * nq), h = at / nq % heads, i = at % nq, g = h * kv / heads;
        const int64_t p = (int64_t)i + (int64_t)nk - (int64_t)nq;
        o->head = h;
        for (uint64_t j = 0; j < nk; j++) {
            one.seen[j] = !sees || sees(o, g, p, (int64_t)j);
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), d, scale);
            if (o->bias)
                one.s[j] = r(o, one.s[j] + o->bias(o, b, h, i, j, scale));
            if (cap > 0)
                one.s[j] = r(o, cap * r(o, tanh(r(o, one.s[j] / cap))));
            one.v[j] = row4(v, b, g, j);
        }
        one.out = o->to->out + at * d_v;
        one.lse = o->to->lse + at;
        attend(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

static inline bool maybe_causal(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    return whole(o, "causal") == 0 || j <= p;
}

static inline bool always_causal(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)o;
    (void)kv;
    return j <= p;
}

/* A row of attention by q, k and v: query i of head h, over the keys that `one` has marked as seen. */
static inline void attend_row(oracle *o, query *one, uint64_t b, uint64_t h, uint64_t i, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t g = h * k->shape[1] / q->shape[1];
    double unused;
    for (uint64_t j = 0; j < k->shape[2]; j++) {
        one->s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), q->shape[3], scale_of(o, q->shape[3]));
        one->v[j] = row4(v, b, g, j);
    }
    one->out = out;
    one->lse = &unused;
    softmax(o, one);
    one->lse = NULL;
}

/* A state that decays by exponentials, and its size, once more for each exponential that it went through: each may be off by more than
 * one rounding (Vulkan grants exp2 3 ulp), and what they multiply is kept for many steps. */
typedef struct decaying {
    double h, reach;
} decaying;

static inline void decay_step(const oracle *o, decaying *s, double decay, double added)
{
    s->reach = decay * (s->reach + fabs(s->h)) + fabs(added);
    s->h = r(o, r(o, decay * s->h) + added);
}

/* An oracle by the system's name. */
typedef struct oracle_entry {
    const char *name;
    bool (*fn)(oracle *o);
} oracle_entry;

typedef struct oracle_family {
    const oracle_entry *entries;
    size_t count;
} oracle_family;

extern const oracle_family rapt_oracles_routed;
extern const oracle_family rapt_oracles_gathered;
extern const oracle_family rapt_oracles_gates;
extern const oracle_family rapt_oracles_hierarchy;
extern const oracle_family rapt_oracles_kinds;
extern const oracle_family rapt_oracles_memory;
extern const oracle_family rapt_oracles_merged;
extern const oracle_family rapt_oracles_mixture;
extern const oracle_family rapt_oracles_multi_token;
extern const oracle_family rapt_oracles_ranked;
extern const oracle_family rapt_oracles_search;
extern const oracle_family rapt_oracles_state;
extern const oracle_family rapt_oracles_tree;
extern const oracle_family rapt_oracles_scan;
extern const oracle_family rapt_oracles_convolved;
extern const oracle_family rapt_oracles_directions;
extern const oracle_family rapt_oracles_distributed;
extern const oracle_family rapt_oracles_program;
extern const oracle_family rapt_oracles_vision;

#endif
