/* Oracles of systems that search for spans or blocks of keys by routing vectors or by overlapping windows, the search included; and of
 * a cache with room for more keys than there are. */
#include "oracle_system.h"

/* ---- Superlinear (arXiv:2601.18401), as the authors' code has it (`get_spans`, `compute_qend_from_qanchor`, `merge_gate`) ---- */

/* ceil(factor sqrt(tokens)), exactly. */
static int64_t extent(double factor, double tokens)
{
    int64_t c = 0;
    while ((double)c * (double)c < factor * factor * tokens)
        c++;
    return c;
}

static int64_t power_of(int64_t x, int64_t power)
{
    int64_t y = 1;
    for (; power > 0; power--)
        y *= x;
    return y;
}

/* Anchors of the query at position p: keys p + 1 - i^power, i from index + 1 on. Scores of the best, and where they are; -1: none. */
static void best_anchors(oracle *o, uint64_t b, uint64_t h, uint64_t i, int64_t p, double *score, bool *taken, int64_t *at, double *best)
{
    const rapt_check_array *rq = input(o, "routing_q"), *rk = input(o, "routing_k");
    const int64_t power = whole(o, "power"), first = whole(o, "index") + 1, spans = whole(o, "spans");
    uint64_t count = 0;
    for (; power_of(first + (int64_t)count, power) <= p + 1; count++) {
        const int64_t j = p + 1 - power_of(first + (int64_t)count, power);
        taken[count] = false;
        score[count] = product(o, row4(rq, b, h, i), row4(rk, b, h * rk->shape[1] / rq->shape[1], (uint64_t)j), rq->shape[3], 1);
    }
    take_largest(score, count, spans, taken);
    int64_t found = 0;
    for (uint64_t n = 0; n < count; n++)
        if (taken[n]) {
            at[found] = p + 1 - power_of(first + (int64_t)n, power);
            best[found++] = score[n];
        }
    for (; found < spans; found++) {
        at[found] = -1;
        best[found] = -1e30;
    }
}

static bool superlinear(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], dv = v->shape[3], lines = q->shape[0] * heads * nq;
    const int64_t window = power_of(whole(o, "index") + 1, whole(o, "power")) - 1, spans = whole(o, "spans");
    const double backward = strtod(text_of(o, "backward"), NULL), forward = strtod(text_of(o, "forward"), NULL);
    double *score = malloc((size_t)(nk + 1) * sizeof *score), *part = malloc((size_t)(dv + 1) * sizeof *part);
    bool *taken = malloc((size_t)nk + 1);
    query one;
    const bool good = query_make(&one, nk, dv) && score && part && taken && spans <= 3 && room(o, lines * dv, 0);
    for (uint64_t line = 0; line < lines && good; line++) {
        const uint64_t b = line / nq / heads, h = line / nq % heads, i = line % nq;
        const int64_t p = (int64_t)(i + nk - nq), back = extent(backward, (double)p + 1), ahead = extent(forward, (double)p + 1);
        double *out = o->to->out + line * dv, best[3], top, sum = 0;
        int64_t at[3];
        best_anchors(o, b, h, i, p, score, taken, at, best);
        top = best[0];
        for (int64_t n = 1; n < spans; n++)
            top = fmax(top, best[n]);
        for (int64_t n = 0; n < spans; n++)
            sum = r(o, sum + r(o, exp(r(o, best[n] - top))));
        for (uint64_t e = 0; e < dv; e++)
            out[e] = 0;
        for (int64_t n = 0; n < spans; n++) {
            const int64_t end = at[n] + ahead < p - window ? at[n] + ahead : p - window;
            for (int64_t j = 0; j < (int64_t)nk; j++)
                one.seen[j] = (j > p - window && j <= p) || (at[n] >= 0 && j >= at[n] - back && j <= end);
            attend_row(o, &one, b, h, i, part);
            for (uint64_t e = 0; e < dv; e++)
                out[e] = r(o, out[e] + r(o, r(o, exp(r(o, best[n] - top)) / sum) * part[e]));
        }
        for (uint64_t e = 0; e < dv; e++)
            out[e] = stored(o, out[e]);
    }
    query_free(&one);
    free(score);
    free(part);
    free(taken);
    return good && !o->failed;
}

/* ---- MiniCPM-SALA: InfLLM-V2 (arXiv:2509.24663, section 3) and Lightning Attention ---- */

/* Adds to sum[w] head h's softmax over windows w, means of keys [w stride, (w + 2) stride), of those that end by position p. */
static void add_window_weights(oracle *o, uint64_t b, uint64_t h, uint64_t i, uint64_t p, double *score, double *sum)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t d = q->shape[3], g = h * k->shape[1] / q->shape[1], stride = (uint64_t)whole(o, "stride");
    double top = -INFINITY, all = 0;
    uint64_t count = 0;
    for (; (count + 2) * stride <= p + 1; count++) {
        score[count] = 0;
        for (uint64_t e = 0; e < d; e++) {
            double mean = 0;
            for (uint64_t j = count * stride; j < (count + 2) * stride; j++)
                mean = r(o, mean + row4(k, b, g, j)[e]);
            score[count] = r(o, score[count] + r(o, row4(q, b, h, i)[e] * r(o, mean / (double)(2 * stride))));
        }
        score[count] = r(o, score[count] * scale_of(o, d));
        top = fmax(top, score[count]);
    }
    for (uint64_t w = 0; w < count; w++)
        all = r(o, all + r(o, exp(r(o, score[w] - top))));
    for (uint64_t w = 0; w < count; w++)
        sum[w] = r(o, sum[w] + r(o, exp(r(o, score[w] - top)) / all));
}

/* Blocks that query i of a group reads: the first ones, those of the window, and the others whose best window weighs most. */
static void choose_blocks(oracle *o, uint64_t b, uint64_t g, uint64_t i, double *room_for, bool *taken)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t nk = k->shape[2], group = q->shape[1] / k->shape[1], block = (uint64_t)whole(o, "block"), stride = (uint64_t)whole(o, "stride"),
                   blocks = (nk + block - 1) / block, p = i + nk - q->shape[2], own = p / block, local = (uint64_t)(whole(o, "window") / whole(o, "block"));
    double *score = room_for, *sum = room_for + nk + 1, *best = sum + nk + 1;
    int64_t top = whole(o, "top");
    for (uint64_t w = 0; w <= nk; w++)
        sum[w] = 0;
    for (uint64_t h = g * group; h < (g + 1) * group; h++)
        add_window_weights(o, b, h, i, p, score, sum);
    for (uint64_t n = 0; n < blocks; n++) {
        best[n] = 0;
        for (uint64_t w = 0; w + 2 <= nk / stride; w++) /* windows that reach into it */
            if ((w + 2) * stride > n * block && w * stride < (n + 1) * block)
                best[n] = fmax(best[n], sum[w]);
        best[n] = n > own ? -INFINITY : best[n];
        taken[n] = n <= own && (n < (uint64_t)whole(o, "first") || n + local >= own);
        top -= taken[n];
    }
    take_largest(best, blocks, top, taken);
}

/* sum over j of lambda^(i - j) (q_i . k_j) v_j */
static void lightning_row(oracle *o, uint64_t b, uint64_t h, uint64_t i, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t dv = v->shape[3], g = h * k->shape[1] / q->shape[1];
    double decay = 1;
    for (uint64_t e = 0; e < dv; e++)
        out[e] = 0;
    for (uint64_t j = i + 1; j-- > 0;) {
        const double w = r(o, decay * product(o, row4(q, b, h, i), row4(k, b, g, j), q->shape[3], 1));
        for (uint64_t e = 0; e < dv; e++)
            out[e] = r(o, out[e] + r(o, w * row4(v, b, g, j)[e]));
        decay = r(o, decay * input(o, "lambda")->data[h]);
    }
    for (uint64_t e = 0; e < dv; e++)
        out[e] = stored(o, out[e]);
}

static bool sala(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *gate = has(o, "gate") ? input(o, "gate") : NULL;
    const uint64_t heads = q->shape[1], n = q->shape[2], nk = k->shape[2], dv = v->shape[3], lines = q->shape[0] * heads,
                   block = (uint64_t)whole(o, "block");
    const bool sparse = whole(o, "sparse") != 0, all = nk <= (uint64_t)whole(o, "dense") || nk < 2 * (uint64_t)whole(o, "stride");
    double *numbers = malloc((size_t)(3 * nk + 3) * sizeof *numbers);
    bool *taken = malloc((size_t)nk + 1);
    query one;
    const bool good = query_make(&one, nk, dv) && numbers && taken && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t b = at / n / heads, h = at / n % heads, i = at % n;
        double *out = o->to->out + at * dv;
        if (sparse) {
            if (!all)
                choose_blocks(o, b, h * k->shape[1] / heads, i, numbers, taken);
            for (uint64_t j = 0; j < nk; j++)
                one.seen[j] = j <= i + nk - n && (all || taken[j / block]);
            attend_row(o, &one, b, h, i, out);
        } else {
            lightning_row(o, b, h, i, out);
        }
        for (uint64_t e = 0; e < dv && gate; e++)
            out[e] = stored(o, r(o, out[e] * r(o, 1 / r(o, 1 + r(o, exp(-gate->data[at * dv + e]))))));
    }
    query_free(&one);
    free(numbers);
    free(taken);
    return good && !o->failed;
}

/* ---- vAttention (arXiv:2405.04437): attention as it is, over the keys that there are; the last query stands at the last of them */

static bool vattention(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *lengths = input(o, "lengths");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], dv = input(o, "v")->shape[3], lines = q->shape[0] * heads * nq;
    query one;
    const bool good = query_make(&one, nk, dv) && lengths->bounds && room(o, lines * dv, 0);
    for (uint64_t line = 0; line < lines && good; line++) {
        const uint64_t b = line / nq / heads, h = line / nq % heads, i = line % nq;
        const int64_t there = lengths->bounds[b], p = (int64_t)i + there - (int64_t)nq;
        for (int64_t j = 0; j < (int64_t)nk; j++)
            one.seen[j] = j < there && (j <= p || whole(o, "causal") == 0);
        attend_row(o, &one, b, h, i, o->to->out + line * dv);
    }
    query_free(&one);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"vAttention", vattention},
    {"Superlinear Multi-Step Attention", superlinear},
    {"MiniCPM-SALA (InfLLM-V2 + Lightning)", sala},
};
const oracle_family rapt_oracles_search = {entries, sizeof entries / sizeof *entries};
