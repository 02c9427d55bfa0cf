/* Oracles of systems that merge parts under one softmax. */
#include "oracle_system.h"

/* The sum over a group of exp(s - most), and to `out` the group's softmax average, as it lies in memory between steps. */
static double group(const oracle *o, const query *q, uint64_t first, uint64_t end, double most, double *out)
{
    double sum = 0;
    memset(out, 0, (size_t)q->d_v * sizeof *out);
    for (uint64_t j = first; j < end; j++) {
        const double w = weight(o, exp(r(o, q->s[j] - most)));
        sum = r(o, sum + w);
        for (uint64_t e = 0; e < q->d_v; e++)
            out[e] = r(o, out[e] + r(o, w * q->v[j][e]));
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        out[e] = sum > 0 ? stored(o, r(o, out[e] / sum)) : 0;
    return sum;
}

static double largest(const query *q, uint64_t first, uint64_t end, double most)
{
    for (uint64_t j = first; j < end; j++)
        most = fmax(most, q->s[j]);
    return most;
}

/* FlashBlock: exp(L_o) O_o + sum of exp(s_j) v_j over exp(L_o) + sum of exp(s_j), j over the block's own keys. */
static void with_outside(const oracle *o, const query *q, double *own, const double *before, double lse_before)
{
    const double top = largest(q, 0, q->n, lse_before), sum = group(o, q, 0, q->n, top, own), outside = r(o, exp(r(o, lse_before - top)));
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = stored(o, r(o, r(o, r(o, outside * before[e]) + r(o, sum * own[e])) / r(o, outside + sum)));
    *q->lse = r(o, top + r(o, log(r(o, outside + sum))));
}

static bool flash_block(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *before = input(o, "out_before"),
                           *lse = input(o, "lse_before");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], d = q->shape[3], d_v = v->shape[3];
    const uint64_t rows_all = q->shape[0] * heads * nq;
    double *own = malloc((size_t)(d_v + 1) * sizeof *own);
    query one;
    bool good = query_make(&one, nk, d_v) && room(o, rows_all * d_v, rows_all) && own;
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (heads * nq), h = at / nq % heads, i = at % nq, g = h * k->shape[1] / heads;
        for (uint64_t j = 0; j < nk; j++) {
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), d, scale_of(o, d));
            one.v[j] = row4(v, b, g, j);
        }
        one.out = o->to->out + at * d_v;
        one.lse = o->to->lse + at;
        with_outside(o, &one, own, before->data + at * d_v, lse->data[at]);
    }
    free(own);
    query_free(&one);
    return good && !o->failed;
}

/* Landmark Attention, section 3, for query i whose block begins at token `own`: blocks have `block` tokens and a landmark behind
 * them, the best landmarks before `own` are taken. Softmax of the landmarks and of the own block's tokens up to i, landmarks apart; a
 * token of another block weighs its softmax within the block times its landmark's. `part`: room for 3 rows. */
static void landmark_row(const oracle *o, query *q, bool *taken, double *marks, double *part, uint64_t i, uint64_t block, int64_t top)
{
    const uint64_t size = block + 1, own = i / size * size, blocks = own / size, end = i < own + block ? i + 1 : own + block;
    double *near = part, *far = near + q->d_v, *inside = far + q->d_v, most = largest(q, own, end, -INFINITY), gates = 0;
    for (uint64_t m = 0; m < blocks; m++) {
        taken[m] = false;
        marks[m] = q->s[m * size + block];
    }
    take_largest(marks, blocks, top, taken);
    for (uint64_t m = 0; m < blocks; m++)
        most = taken[m] ? fmax(most, marks[m]) : most;
    const double tokens = group(o, q, own, end, most, near);
    memset(far, 0, (size_t)q->d_v * sizeof *far);
    for (uint64_t m = 0; m < blocks; m++) {
        if (!taken[m])
            continue;
        const double gate = weight(o, exp(r(o, marks[m] - most)));
        group(o, q, m * size, m * size + block, largest(q, m * size, m * size + block, -INFINITY), inside);
        gates = r(o, gates + gate);
        for (uint64_t e = 0; e < q->d_v; e++)
            far[e] = r(o, far[e] + r(o, gate * inside[e]));
    }
    for (uint64_t e = 0; e < q->d_v; e++) {
        const double retrieved = gates > 0 ? stored(o, r(o, far[e] / gates)) : 0, sum = r(o, tokens + gates);
        q->out[e] = stored(o, r(o, r(o, r(o, tokens * near[e]) + r(o, gates * retrieved)) / sum));
    }
}

static bool landmark(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], n = q->shape[2], d = q->shape[3], d_v = v->shape[3], rows_all = q->shape[0] * heads * n;
    double *marks = malloc((size_t)(n + 1) * sizeof *marks), *part = malloc((size_t)(3 * d_v + 1) * sizeof *part);
    bool *taken = malloc((size_t)n + 1);
    query one;
    bool good = query_make(&one, n, d_v) && room(o, rows_all * d_v, 0) && marks && part && taken;
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (heads * n), h = at / n % heads, i = at % n;
        for (uint64_t j = 0; j < n; j++) {
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, h, j), d, scale_of(o, d));
            one.v[j] = row4(v, b, h, j);
        }
        one.out = o->to->out + at * d_v;
        landmark_row(o, &one, taken, marks, part, i, (uint64_t)whole(o, "block"), whole(o, "top"));
    }
    query_free(&one);
    free(marks);
    free(part);
    free(taken);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"FlashBlock", flash_block},
    {"Landmark Attention", landmark},
};
const oracle_family rapt_oracles_merged = {entries, sizeof entries / sizeof *entries};
