/* Oracles of systems that merge parts under one softmax. */
#include "oracle_system.h"

/* FlashBlock: exp(L_o) O_o + sum of exp(s_j) v_j over exp(L_o) + sum of exp(s_j), j over the block's own keys. */
static void with_outside(const oracle *o, const query *q, const double *before, double lse_before)
{
    double top = lse_before, sum;
    for (uint64_t j = 0; j < q->n; j++)
        top = q->seen[j] ? fmax(top, q->s[j]) : top;
    sum = r(o, exp(r(o, lse_before - top)));
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = r(o, sum * before[e]);
    for (uint64_t j = 0; j < q->n; j++) {
        const double w = q->seen[j] ? weight(o, exp(r(o, q->s[j] - top))) : 0;
        sum = r(o, sum + w);
        for (uint64_t e = 0; e < q->d_v && q->seen[j]; e++)
            q->out[e] = r(o, q->out[e] + r(o, w * q->v[j][e]));
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = stored(o, r(o, q->out[e] / sum));
    *q->lse = r(o, top + r(o, log(sum)));
}

static bool flash_block(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *before = input(o, "out_before"),
                           *lse = input(o, "lse_before");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], d = q->shape[3], d_v = v->shape[3];
    const uint64_t rows_all = q->shape[0] * heads * nq;
    query one;
    bool good = query_make(&one, nk, d_v) && room(o, rows_all * d_v, rows_all);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (heads * nq), h = at / nq % heads, i = at % nq, g = h * k->shape[1] / heads;
        for (uint64_t j = 0; j < nk; j++) {
            one.seen[j] = true;
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), d, scale_of(o, d));
            one.v[j] = row4(v, b, g, j);
        }
        one.out = o->to->out + at * d_v;
        one.lse = o->to->lse + at;
        with_outside(o, &one, before->data + at * d_v, lse->data[at]);
    }
    query_free(&one);
    return good && !o->failed;
}

/* Landmark Attention, section 3, for query i whose block begins at token `own`: blocks have `block` tokens and a landmark behind
 * them, the best landmarks before `own` are taken. Softmax of the landmarks and of the own block's tokens up to i, landmarks apart; a
 * token of another block weighs its softmax within the block times its landmark's. */
static void landmark_row(const oracle *o, query *q, bool *taken, double *marks, uint64_t i, uint64_t block, int64_t top)
{
    const uint64_t size = block + 1, own = i / size * size, blocks = own / size;
    double most = -INFINITY, sum = 0;
    for (uint64_t m = 0; m < blocks; m++) {
        taken[m] = false;
        marks[m] = q->s[m * size + block];
    }
    take_largest(marks, blocks, top, taken);
    for (uint64_t m = 0; m < blocks; m++)
        most = taken[m] ? fmax(most, marks[m]) : most;
    for (uint64_t j = own; j <= i && j < own + block; j++)
        most = fmax(most, q->s[j]);
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = 0;
    for (uint64_t j = own; j <= i && j < own + block; j++) {
        const double w = weight(o, exp(r(o, q->s[j] - most)));
        sum = r(o, sum + w);
        for (uint64_t e = 0; e < q->d_v; e++)
            q->out[e] = r(o, q->out[e] + r(o, w * q->v[j][e]));
    }
    for (uint64_t m = 0; m < blocks; m++) {
        double within = 0, high = -INFINITY;
        if (!taken[m])
            continue;
        const double gate = weight(o, exp(r(o, marks[m] - most)));
        for (uint64_t j = m * size; j < m * size + block; j++)
            high = fmax(high, q->s[j]);
        for (uint64_t j = m * size; j < m * size + block; j++)
            within = r(o, within + weight(o, exp(r(o, q->s[j] - high))));
        sum = r(o, sum + gate);
        for (uint64_t e = 0; e < q->d_v; e++) {
            double x = 0;
            for (uint64_t j = m * size; j < m * size + block; j++)
                x = r(o, x + r(o, weight(o, exp(r(o, q->s[j] - high))) * q->v[j][e]));
            q->out[e] = r(o, q->out[e] + r(o, gate * stored(o, r(o, x / within))));
        }
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = stored(o, r(o, q->out[e] / sum));
}

static bool landmark(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], n = q->shape[2], d = q->shape[3], d_v = v->shape[3], rows_all = q->shape[0] * heads * n;
    double *marks = malloc((size_t)(n + 1) * sizeof *marks);
    bool *taken = malloc((size_t)n + 1);
    query one;
    bool good = query_make(&one, n, d_v) && room(o, rows_all * d_v, 0) && marks && taken;
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (heads * n), h = at / n % heads, i = at % n;
        for (uint64_t j = 0; j < n; j++) {
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, h, j), d, scale_of(o, d));
            one.v[j] = row4(v, b, h, j);
        }
        one.out = o->to->out + at * d_v;
        landmark_row(o, &one, taken, marks, i, (uint64_t)whole(o, "block"), whole(o, "top"));
    }
    query_free(&one);
    free(marks);
    free(taken);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"FlashBlock", flash_block},
    {"Landmark Attention", landmark},
};
const oracle_family rapt_oracles_merged = {entries, sizeof entries / sizeof *entries};
