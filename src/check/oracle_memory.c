/* Titans (arXiv:2501.00663, equations 11 to 15) and Gecko's working memory by their definitions: M itself is carried from token to
 * token, and each gradient is written out as a matrix. */
#include "oracle_memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The weights of a memory, and what its last recall left. */
typedef struct memory {
    const rapt_check_memory *p;
    bool single;
    uint64_t count; /* of weights */
    double *m, *s;  /* M, and S; of softmax z */
    double *begin;  /* M as the chunk began */
    double *gradient;
    double *a, *slope, *y; /* hidden layer, slope of act there, M(x) */
} memory;

static double r(const memory *o, double x)
{
    return o->single ? (double)(float)x : x;
}

static void act(const memory *o, double x, double *to, double *slope)
{
    if (o->p->act == RAPT_MEMORY_SILU) {
        const double s = r(o, 1 / r(o, 1 + r(o, exp(-x))));
        *to = r(o, x * s);
        *slope = r(o, s * r(o, 1 + r(o, x * r(o, 1 - s))));
        return;
    }
    const double root = sqrt(2 / 3.14159265358979323846);
    const double t = r(o, tanh(r(o, root * r(o, x + r(o, 0.044715 * r(o, x * x * x))))));
    *to = r(o, 0.5 * r(o, x * r(o, 1 + t)));
    *slope = r(o, 0.5 * r(o, 1 + t) + r(o, 0.5 * x * r(o, 1 - r(o, t * t))) * root * r(o, 1 + 3 * 0.044715 * x * x));
}

/* to = x W, W (rows, columns). */
static void apply(const memory *o, const double *x, const double *w, uint64_t rows, uint64_t columns, double *to)
{
    for (uint64_t j = 0; j < columns; j++) {
        to[j] = 0;
        for (uint64_t i = 0; i < rows; i++)
            to[j] = r(o, to[j] + r(o, x[i] * w[i * columns + j]));
    }
}

/* o->y = M(x), of the weights m. */
static void recall(memory *o, const double *m, const double *x)
{
    const rapt_check_memory *p = o->p;
    if (p->form != RAPT_MEMORY_MLP) {
        apply(o, x, m, p->d, p->d_v, o->y);
        return;
    }
    apply(o, x, m, p->d, p->hidden, o->a);
    for (uint64_t u = 0; u < p->hidden; u++)
        act(o, o->a[u], &o->a[u], &o->slope[u]);
    apply(o, o->a, m + p->d * p->hidden, p->hidden, p->d_v, o->y);
}

/* grad |M(k) - v|^2 at the memory that the chunk began with. */
static void differentiate(memory *o, const double *k, const double *v)
{
    const rapt_check_memory *p = o->p;
    const bool mlp = p->form == RAPT_MEMORY_MLP;
    const double *w2 = o->begin + p->d * p->hidden;
    recall(o, o->begin, k);
    for (uint64_t j = 0; j < p->d_v; j++)
        o->y[j] = r(o, 2 * r(o, o->y[j] - v[j]));
    for (uint64_t u = 0; u < p->hidden && mlp; u++) {
        double back = 0;
        for (uint64_t j = 0; j < p->d_v; j++)
            back = r(o, back + r(o, o->y[j] * w2[u * p->d_v + j]));
        back = r(o, back * o->slope[u]);
        for (uint64_t e = 0; e < p->d; e++)
            o->gradient[e * p->hidden + u] = r(o, k[e] * back);
    }
    const double *x = mlp ? o->a : k;
    double *last = o->gradient + (mlp ? p->d * p->hidden : 0);
    for (uint64_t e = 0; e < (mlp ? p->hidden : p->d); e++)
        for (uint64_t j = 0; j < p->d_v; j++)
            last[e * p->d_v + j] = r(o, x[e] * o->y[j]);
}

static void learn_token(memory *o, uint64_t t)
{
    const double *rates = o->p->rates + t * 3;
    differentiate(o, o->p->k + t * o->p->d, o->p->v + t * o->p->d_v);
    for (uint64_t w = 0; w < o->count; w++) {
        o->s[w] = r(o, r(o, rates[1] * o->s[w]) - r(o, rates[2] * o->gradient[w]));
        o->m[w] = r(o, r(o, r(o, 1 - rates[0]) * o->m[w]) + o->s[w]);
    }
}

/* ---- Gecko */

/* The log of the sum of exp of `count` numbers, `step` apart. */
static double log_sum(const memory *o, const double *x, uint64_t count, uint64_t step)
{
    double top = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < count; i++)
        top = fmax(top, x[i * step]);
    for (uint64_t i = 0; i < count; i++)
        sum = r(o, sum + r(o, exp(r(o, x[i * step] - top))));
    return r(o, top + r(o, log(sum)));
}

static void softmax(const memory *o, const double *x, double *to)
{
    const double sum = log_sum(o, x, o->p->d, 1);
    for (uint64_t e = 0; e < o->p->d; e++)
        to[e] = r(o, exp(r(o, x[e] - sum)));
}

/* The step behind tokens [first, last). soft: room for d numbers. */
static bool learn_chunk(memory *o, uint64_t first, uint64_t last, double *soft)
{
    const rapt_check_memory *p = o->p;
    double *errors = malloc((size_t)((last - first) * p->d_v) * sizeof *errors);
    if (errors == NULL)
        return false;
    for (uint64_t i = first; i < last; i++) {
        softmax(o, p->k + i * p->d, soft);
        recall(o, o->m, soft);
        for (uint64_t j = 0; j < p->d_v; j++)
            errors[(i - first) * p->d_v + j] = r(o, p->v[i * p->d_v + j] - o->y[j]);
    }
    for (uint64_t e = 0; e < p->d; e++) {
        const double *column = p->k + first * p->d + e;
        const double c = log_sum(o, column, last - first, p->d), both[2] = {o->s[e], c}, z = log_sum(o, both, 2, 1);
        const double ratio = r(o, exp(r(o, c - z)));
        for (uint64_t j = 0; j < p->d_v; j++) {
            double sum = 0;
            for (uint64_t i = 0; i < last - first; i++)
                sum = r(o, sum + r(o, r(o, exp(r(o, column[i * p->d] - c))) * errors[i * p->d_v + j]));
            double *w = &o->m[e * p->d_v + j];
            *w = r(o, *w + r(o, ratio * r(o, sum - *w)));
        }
        o->s[e] = z;
    }
    free(errors);
    return true;
}

/* ---- the walk */

static bool walk(memory *o, double *soft, double *out)
{
    const rapt_check_memory *p = o->p;
    const bool by_softmax = p->form == RAPT_MEMORY_SOFTMAX;
    bool good = true;
    for (uint64_t t = 0; t < p->n && good; t++) {
        if (t % p->chunk == 0)
            memcpy(o->begin, o->m, (size_t)o->count * sizeof *o->m);
        if (by_softmax)
            softmax(o, p->q + t * p->d, soft);
        else
            learn_token(o, t);
        recall(o, by_softmax || p->read_start ? o->begin : o->m, by_softmax ? soft : p->q + t * p->d);
        memcpy(out + t * p->d_v, o->y, (size_t)p->d_v * sizeof *out);
        if (by_softmax && (t + 1 == p->n || (t + 1) % p->chunk == 0))
            good = learn_chunk(o, t / p->chunk * p->chunk, t + 1, soft);
    }
    return good;
}

bool rapt_check_memory_run(const rapt_check_memory *p, bool single, double *out, double *state)
{
    const bool by_softmax = p->form == RAPT_MEMORY_SOFTMAX;
    const uint64_t count = p->form == RAPT_MEMORY_MLP ? p->hidden * (p->d + p->d_v) : p->d * p->d_v;
    const uint64_t others = by_softmax ? p->d : count;
    memory o = {.p = p, .single = single, .count = count};
    double *room = calloc((size_t)(3 * count + others + 2 * p->hidden + p->d_v + p->d), sizeof *room);
    if (room == NULL)
        return false;
    o.m = room;
    o.s = o.m + count;
    o.begin = o.s + others;
    o.gradient = o.begin + count;
    o.a = o.gradient + count;
    o.slope = o.a + p->hidden;
    o.y = o.slope + p->hidden;
    if (p->state)
        memcpy(o.m, p->state, (size_t)(count + others) * sizeof *room);
    else
        for (uint64_t e = 0; e < others && by_softmax; e++)
            o.s[e] = -INFINITY;
    const bool good = walk(&o, o.y + p->d_v, out);
    if (state)
        memcpy(state, o.m, (size_t)(count + others) * sizeof *room);
    free(room);
    return good;
}
