#include "oracle_route.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double rounded(bool single, double x)
{
    return single ? (double)(float)x : x;
}

static double element(const rapt_tensor *t, const void *data, uint64_t b, uint64_t h, uint64_t row, uint64_t e)
{
    return rapt_check_load(data, t->dtype,
                           (int64_t)b * t->stride[0] + (int64_t)h * t->stride[1] + (int64_t)row * t->stride[2] +
                               (int64_t)e * t->stride[3]);
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void rapt_check_route_summary(const rapt_route_desc *d, const void *k, bool single, uint64_t b, uint64_t h, uint64_t block,
                              double *out)
{
    const uint64_t dim = d->k.size[3], begin = block * d->block_k, end = lower(begin + d->block_k, d->k.size[2]);
    for (uint64_t e = 0; e < dim; e++) {
        double sum = 0, least = INFINITY, most = -INFINITY;
        for (uint64_t j = begin; j < end; j++) {
            const double x = element(&d->k, k, b, h, j, e);
            sum = rounded(single, sum + x);
            least = fmin(least, x);
            most = fmax(most, x);
        }
        switch (d->summarise) {
        case RAPT_SUMMARY_MAX:
            out[e] = most;
            break;
        case RAPT_SUMMARY_MIN_MAX:
            out[e] = least;
            out[dim + e] = most;
            break;
        case RAPT_SUMMARY_LANDMARK:
            out[e] = element(&d->k, k, b, h, lower(begin + d->landmark, end - 1), e);
            break;
        default:
            out[e] = rounded(single, sum / (double)(end - begin));
            break;
        }
    }
}

/* ---- scores */

/* q . summary, or the bound that min and max give. */
static double product(const rapt_route_desc *d, const double *q, const double *summary, bool single)
{
    const uint64_t dim = d->k.size[3];
    const double scale = d->flags & RAPT_ROUTE_SCALE ? (double)d->scale : 1 / sqrt((double)dim);
    double sum = 0;
    for (uint64_t e = 0; e < dim; e++) {
        double x = q[e] * summary[e];
        if (d->summarise == RAPT_SUMMARY_MIN_MAX)
            x = fmax(x, q[e] * summary[dim + e]);
        sum = rounded(single, sum + rounded(single, x));
    }
    return rounded(single, rounded(single, scale) * sum);
}

/* Of one query head. `q_rows`: room for one query. */
static double head_score(const rapt_route_desc *d, const void *q, bool single, uint64_t b, uint64_t head, uint64_t tile,
                         const double *summary, double *row)
{
    const uint64_t dim = d->q.size[3], begin = tile * d->block_q, end = lower(begin + d->block_q, d->q.size[2]);
    if (d->queries == RAPT_ROUTE_MAX_QUERY) {
        double most = -INFINITY;
        for (uint64_t i = begin; i < end; i++) {
            for (uint64_t e = 0; e < dim; e++)
                row[e] = element(&d->q, q, b, head, i, e);
            most = fmax(most, product(d, row, summary, single));
        }
        return most;
    }
    for (uint64_t e = 0; e < dim; e++) {
        double sum = 0;
        for (uint64_t i = begin; i < end; i++)
            sum = rounded(single, sum + element(&d->q, q, b, head, i, e));
        row[e] = rounded(single, sum / (double)(end - begin));
    }
    return product(d, row, summary, single);
}

/* Key positions of a tile's first and last query. */
static void places(const rapt_route_desc *d, uint64_t nq, uint64_t nk, uint64_t tile, int64_t *first, int64_t *last)
{
    const int64_t diagonal = (int64_t)nk - (int64_t)nq + d->causal_offset;
    *first = (int64_t)(tile * d->block_q) + diagonal;
    *last = (int64_t)lower((tile + 1) * d->block_q, nq) - 1 + diagonal;
}

static bool visible(const rapt_route_desc *d, int64_t last, uint64_t block)
{
    return !(d->flags & RAPT_ROUTE_CAUSAL) || (int64_t)(block * d->block_k) <= last;
}

bool rapt_check_route_scores(const rapt_route_desc *d, const void *q, const void *k, const int32_t *within, bool single, uint64_t b, uint64_t head,
                             uint64_t tile, double *out)
{
    const uint64_t blocks = (d->k.size[2] + d->block_k - 1) / d->block_k, dim = d->k.size[3];
    const uint64_t group = d->q.size[1] / d->k.size[1];
    const bool shared = d->heads != RAPT_ROUTE_PER_HEAD;
    double *summary = malloc((size_t)(dim * 3) * sizeof *summary);
    int64_t first, last;
    places(d, d->q.size[2], d->k.size[2], tile, &first, &last);
    for (uint64_t j = 0; j < blocks && summary; j++) {
        const uint64_t head_k = shared ? head : head / group;
        rapt_check_route_summary(d, k, single, b, head_k, j, summary);
        double score = 0;
        for (uint64_t g = 0; g < (shared ? group : 1); g++) {
            const double s = head_score(d, q, single, b, shared ? head * group + g : head, tile, summary, summary + 2 * dim);
            score = g == 0 ? s : d->heads == RAPT_ROUTE_GROUP_MAX ? fmax(score, s) : rounded(single, score + s);
        }
        const bool left = d->within.dtype == RAPT_DTYPE_NONE ||
                          element(&d->within, within, b, shared ? head * group : head, tile, j / d->within_blocks) != 0;
        out[j] = visible(d, last, j) && left ? score : -INFINITY;
    }
    free(summary);
    return summary != NULL;
}

/* ---- selection */

typedef struct candidate {
    double score;
    uint64_t block;
} candidate;

static int better_first(const void *x, const void *y)
{
    const candidate *a = x, *b = y;
    const bool nan_a = isnan(a->score), nan_b = isnan(b->score);
    if (nan_a != nan_b)
        return nan_a ? 1 : -1;
    if (!nan_a && a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

bool rapt_check_route_select(const rapt_route_desc *d, uint64_t nq, uint64_t nk, uint64_t tile, const double *scores,
                             int32_t *taken)
{
    const uint64_t blocks = (nk + d->block_k - 1) / d->block_k;
    candidate *order = malloc((size_t)(blocks + 1) * sizeof *order);
    if (!order)
        return false;
    int64_t first, last;
    places(d, nq, nk, tile, &first, &last);
    const int64_t own = (first > 0 ? first : 0) / (int64_t)d->block_k;
    uint64_t count = 0, always = 0;
    double top = -INFINITY, total = 0, have = 0;
    for (uint64_t j = 0; j < blocks; j++) {
        taken[j] = 0;
        if (!visible(d, last, j))
            continue;
        const bool recent = d->always_last > 0 && last >= 0 && (int64_t)j + (int64_t)d->always_last > own &&
                            (int64_t)(j * d->block_k) <= last;
        taken[j] = j < d->always_first || recent;
        always += (uint64_t)taken[j];
        top = isnan(scores[j]) ? top : fmax(top, scores[j]);
        order[count++] = (candidate){scores[j], j};
    }
    qsort(order, (size_t)count, sizeof *order, better_first);
    for (uint64_t n = 0; n < count; n++) {
        const double weight = isnan(order[n].score) ? 0 : exp(order[n].score - top);
        total += weight;
        have += taken[order[n].block] ? weight : 0;
    }
    uint64_t left = d->top_k > always ? d->top_k - always : 0;
    for (uint64_t n = 0; n < count; n++) {
        const candidate *c = &order[n];
        if (taken[c->block])
            continue;
        if (d->select == RAPT_SELECT_TOP_K)
            taken[c->block] = left > 0 && n >= d->skip;
        else if (d->select == RAPT_SELECT_THRESHOLD)
            taken[c->block] = c->score >= (double)d->threshold;
        else
            taken[c->block] = d->mass >= 1.0f || have < (double)d->mass * total;
        have += taken[c->block] && !isnan(c->score) ? exp(c->score - top) : 0;
        left -= taken[c->block] && left > 0;
    }
    free(order);
    return true;
}
