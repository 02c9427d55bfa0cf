/* Oracles of systems that spread attention over devices: what each device has, by the papers' formulas. */
#include "oracle_system.h"

/* Share `index` of `count`: entries [*first, *end) of `total`. */
static void share(uint64_t total, uint64_t count, uint64_t index, uint64_t *first, uint64_t *end)
{
    const uint64_t each = (total + count - 1) / count;
    *first = index * each < total ? index * each : total;
    *end = *first + each < total ? *first + each : total;
}

/* ---- (O, L) of several devices ---- */

/* How one device's keys lie for an attention call; the parts' results are stored in between. */
typedef struct parts {
    uint64_t devices;
    double *out, *lse; /* of each */
} parts;

/* out = sum_r e^(L_r - L) O_r, L = log sum_r e^(L_r). */
static void merge(const oracle *o, const parts *p, const query *q)
{
    double top = -INFINITY, sum = 0;
    for (uint64_t n = 0; n < p->devices; n++)
        top = fmax(top, p->lse[n]);
    for (uint64_t n = 0; n < p->devices && top > -INFINITY; n++)
        sum = r(o, sum + r(o, exp(r(o, p->lse[n] - top))));
    *q->lse = top > -INFINITY ? r(o, top + r(o, log(sum))) : -INFINITY;
    for (uint64_t e = 0; e < q->d_v; e++) {
        double x = 0;
        for (uint64_t n = 0; n < p->devices && top > -INFINITY; n++)
            x = r(o, x + r(o, r(o, r(o, exp(r(o, p->lse[n] - top))) / sum) * p->out[n * q->d_v + e]));
        q->out[e] = stored(o, x);
    }
}

/* Softmax over what is seen, keys shared among the devices in order. */
static void over_devices(const oracle *o, const query *q)
{
    oracle *asked = (oracle *)o; /* parameters are read through it */
    parts p = {.devices = (uint64_t)whole(asked, "devices")};
    p.out = malloc((size_t)(p.devices * q->d_v + 1) * sizeof *p.out);
    p.lse = malloc((size_t)p.devices * sizeof *p.lse);
    for (uint64_t n = 0; n < p.devices && p.out && p.lse; n++) {
        uint64_t first, end;
        share(q->n, p.devices, n, &first, &end);
        const query part = {.n = end - first, .d_v = q->d_v, .s = q->s + first, .seen = q->seen + first, .v = q->v + first,
                            .out = p.out + n * q->d_v, .lse = p.lse + n};
        softmax(o, &part);
    }
    if (p.out && p.lse)
        merge(o, &p, q);
    asked->failed |= !p.out || !p.lse;
    free(p.out);
    free(p.lse);
}

static bool ring(oracle *o)
{
    return rows(o, maybe_causal, over_devices, 0);
}

/* Shared heads and requests are attention as ever. */
static bool offloaded(oracle *o)
{
    return rows(o, NULL, whole(o, "by") == 0 ? over_devices : softmax, 0);
}

/* Attention by its definition, with the usual scale. */
static bool heads_and_chunks(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], d_v = v->shape[3], all = q->shape[0] * heads * nq;
    double unused;
    query one;
    bool good = query_make(&one, k->shape[2], d_v) && room(o, all * d_v, 0);
    for (uint64_t at = 0; at < all && good; at++) {
        const uint64_t b = at / (heads * nq), h = at / nq % heads, i = at % nq, g = h * k->shape[1] / heads;
        for (uint64_t j = 0; j < one.n; j++) {
            one.seen[j] = true;
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), q->shape[3], 1 / sqrt((double)q->shape[3]));
            one.v[j] = row4(v, b, g, j);
        }
        one.out = o->to->out + at * d_v;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* ---- DistCA ---- */

/* Row `row` of the tasks: its task's keys, up to as many before the last as the row is before its task's last. */
static void task_row(oracle *o, query *one, uint64_t h, uint64_t row, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *cu_q = input(o, "cu_q"), *cu_k = input(o, "cu_k");
    const int32_t *q_rows = input(o, "q_rows")->bounds, *k_rows = input(o, "k_rows")->bounds;
    const uint64_t g = h * k->shape[1] / q->shape[1];
    double unused;
    uint64_t task = 0;
    while ((uint64_t)cu_q->bounds[task + 1] <= row)
        task++;
    const uint64_t behind = (uint64_t)cu_q->bounds[task + 1] - 1 - row;
    one->n = (uint64_t)(cu_k->bounds[task + 1] - cu_k->bounds[task]);
    for (uint64_t j = 0; j < one->n; j++) {
        const uint64_t key = (uint64_t)k_rows[(uint64_t)cu_k->bounds[task] + j];
        one->seen[j] = j + behind < one->n;
        one->s[j] = product(o, row4(q, 0, h, (uint64_t)q_rows[row]), row4(k, 0, g, key), q->shape[3], scale_of(o, q->shape[3]));
        one->v[j] = row4(v, 0, g, key);
    }
    one->out = out;
    one->lse = &unused;
    softmax(o, one);
}

static bool tasks(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *back = input(o, "back"), *k_rows = input(o, "k_rows");
    const uint64_t heads = q->shape[1], n = q->shape[2], d_v = v->shape[3];
    query one;
    bool good = query_make(&one, k_rows->shape[2], d_v) && room(o, heads * n * d_v, 0);
    for (uint64_t at = 0; at < heads * n && good; at++)
        task_row(o, &one, at / n, (uint64_t)back->bounds[at % n], o->to->out + at * d_v);
    query_free(&one);
    return good && !o->failed;
}

/* ---- LASP-2 ---- */

/* Algorithm 2: out_t = (mask * Q_t K_t^T) V_t + Q_t M, M the sum of K_u^T V_u over the devices before. */
static void chunk_rows(oracle *o, uint64_t b, uint64_t h, uint64_t first, uint64_t end, const double *before, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t d = q->shape[3], d_v = v->shape[3], g = h * k->shape[1] / q->shape[1];
    for (uint64_t i = first; i < end; i++) {
        const double *qi = row4(q, b, h, i);
        double *to = out + i * d_v;
        for (uint64_t e = 0; e < d_v; e++) {
            double sum = 0;
            for (uint64_t c = 0; c < d; c++) {
                sum = r(o, sum + r(o, qi[c] * before[c * d_v + e]));
                o->to->score = fmax(o->to->score, fabs(qi[c] * before[c * d_v + e]) * (double)d);
            }
            for (uint64_t j = first; j <= i; j++)
                sum = r(o, sum + r(o, product(o, qi, row4(k, b, g, j), d, 1) * row4(v, b, g, j)[e]));
            to[e] = stored(o, sum);
        }
    }
}

static void add_state(oracle *o, uint64_t b, uint64_t h, uint64_t first, uint64_t end, double *state)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t d = q->shape[3], d_v = v->shape[3], g = h * k->shape[1] / q->shape[1];
    for (uint64_t c = 0; c < d; c++)
        for (uint64_t e = 0; e < d_v; e++) {
            double own = 0;
            for (uint64_t j = first; j < end; j++)
                own = r(o, own + r(o, row4(k, b, g, j)[c] * row4(v, b, g, j)[e]));
            state[c * d_v + e] = r(o, state[c * d_v + e] + own);
        }
}

static bool lasp_2(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v");
    const uint64_t n = q->shape[2], d = q->shape[3], d_v = v->shape[3], lines = q->shape[0] * q->shape[1];
    const uint64_t devices = (uint64_t)whole(o, "devices");
    if (whole(o, "softmax") != 0)
        return rows(o, always_causal, softmax, 0);
    double *state = malloc((size_t)(d * d_v + 1) * sizeof *state);
    const bool good = state && room(o, lines * n * d_v, 0);
    for (uint64_t line = 0; line < lines && good; line++) {
        memset(state, 0, (size_t)(d * d_v) * sizeof *state);
        for (uint64_t device = 0; device < devices; device++) {
            uint64_t first, end;
            share(n, devices, device, &first, &end);
            chunk_rows(o, line / q->shape[1], line % q->shape[1], first, end, state, o->to->out + line * n * d_v);
            add_state(o, line / q->shape[1], line % q->shape[1], first, end, state);
        }
    }
    free(state);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"Ring Attention", ring},
    {"BurstAttention", ring},
    {"LASP-2 / LASP-2H", lasp_2},
    {"Lamina (attention offloading)", offloaded},
    {"DistCA (core attention disaggregation)", tasks},
    {"Distributed MHA (million-scale)", heads_and_chunks},
};
const oracle_family rapt_oracles_distributed = {entries, sizeof entries / sizeof *entries};
