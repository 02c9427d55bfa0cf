/* Oracles of systems that search for keys from coarse to fine, the search included. */
#include "oracle_system.h"

/* Which keys a row sees. */
typedef void (*search_fn)(oracle *o, uint64_t b, uint64_t h, uint64_t i, double *score, bool *taken, bool *seen);

static bool searched(oracle *o, search_fn search)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], dv = v->shape[3], all = q->shape[0] * heads * nq;
    double *score = malloc((size_t)(nk + 1) * sizeof *score);
    bool *taken = malloc((size_t)(2 * nk + 2));
    query one;
    const bool good = query_make(&one, nk, dv) && score && taken && room(o, all * dv, 0);
    for (uint64_t at = 0; at < all && good; at++) {
        const uint64_t b = at / nq / heads, h = at / nq % heads, i = at % nq;
        search(o, b, h, i, score, taken, one.seen);
        attend_row(o, &one, b, h, i, o->to->out + at * dv);
    }
    query_free(&one);
    free(score);
    free(taken);
    return good && !o->failed;
}

static double dot(const oracle *o, const double *a, const double *b, uint64_t d)
{
    double sum = 0;
    for (uint64_t e = 0; e < d; e++)
        sum = r(o, sum + r(o, a[e] * b[e]));
    return sum;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* HiP, section 3 (arXiv:2406.09827): for each block of queries, chunks of keys are halved until they are blocks; of the halves those
 * go on whose middle keys score highest with any query of the block. Halves behind the block's last query are none. */
static void halving(oracle *o, uint64_t b, uint64_t h, uint64_t i, double *score, bool *taken, bool *seen)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t nq = q->shape[2], nk = k->shape[2], g = h * k->shape[1] / q->shape[1], block_q = (uint64_t)whole(o, "block_q"),
                   block_k = (uint64_t)whole(o, "block_k"), kept = (uint64_t)whole(o, "top") / block_k, first = i / block_q * block_q,
                   end = lower(first + block_q, nq), last = end - 1 + nk - nq;
    bool *before = taken + nk + 1;
    uint64_t size = block_k;
    while ((nk + size - 1) / size > kept)
        size *= 2;
    for (uint64_t n = 0; n < nk; n++)
        taken[n] = true;
    for (; size > block_k; size /= 2) {
        const uint64_t half = size / 2;
        memcpy(before, taken, (size_t)nk);
        for (uint64_t n = 0; n * half < nk; n++) {
            const uint64_t middle = lower(n * half + half / 2, lower(n * half + half, nk) - 1);
            taken[n] = false;
            score[n] = -INFINITY;
            for (uint64_t x = first; x < end && before[n / 2] && n * half <= last; x++)
                score[n] = fmax(score[n], dot(o, row4(q, b, h, x), row4(k, b, g, middle), q->shape[3]));
        }
        take_largest(score, (nk + half - 1) / half, (int64_t)kept, taken);
    }
    for (uint64_t j = 0; j < nk; j++)
        seen[j] = j <= i + nk - nq && (nk <= (uint64_t)whole(o, "top") || taken[j / block_k]);
}

static bool hip(oracle *o)
{
    return searched(o, halving);
}

/* mean of rows [first, end) of x, times the mean of the keys [from, to). */
static double of_means(oracle *o, uint64_t b, uint64_t h, uint64_t first, uint64_t end, uint64_t from, uint64_t to)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t g = h * k->shape[1] / q->shape[1];
    double sum = 0;
    for (uint64_t e = 0; e < q->shape[3]; e++) {
        double x = 0, y = 0;
        for (uint64_t i = first; i < end; i++)
            x = r(o, x + row4(q, b, h, i)[e]);
        for (uint64_t j = from; j < to; j++)
            y = r(o, y + row4(k, b, g, j)[e]);
        sum = r(o, sum + r(o, r(o, x / (double)(end - first)) * r(o, y / (double)(to - from))));
    }
    return sum;
}

/* Light Forcing: for each block of queries the best frames by means, then the best blocks in them, and the latest `local` blocks up to
 * its own. */
static void frames(oracle *o, uint64_t b, uint64_t h, uint64_t i, double *score, bool *taken, bool *seen)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t nq = q->shape[2], nk = k->shape[2], block = (uint64_t)whole(o, "block"), frame = (uint64_t)whole(o, "frame"),
                   first = i / block * block, end = lower(first + block, nq), own = (first + nk - nq) / block,
                   own_end = (end - 1 + nk - nq) / block + 1, local = (uint64_t)whole(o, "local"), blocks = (nk + block - 1) / block;
    bool *of_frame = taken + nk + 1;
    for (uint64_t f = 0; f * frame < nk; f++) {
        of_frame[f] = false;
        score[f] = of_means(o, b, h, first, end, f * frame, lower(f * frame + frame, nk));
    }
    take_largest(score, (nk + frame - 1) / frame, whole(o, "frames"), of_frame);
    int64_t left = whole(o, "top") + (int64_t)local;
    for (uint64_t n = 0; n < blocks; n++) {
        taken[n] = local > 0 && n + local > own && n < own_end;
        left -= taken[n];
        score[n] = of_frame[n * block / frame] ? of_means(o, b, h, first, end, n * block, lower(n * block + block, nk)) : -INFINITY;
    }
    take_largest(score, blocks, left, taken);
    for (uint64_t j = 0; j < nk; j++)
        seen[j] = taken[j / block];
}

static bool light_forcing(oracle *o)
{
    return searched(o, frames);
}

/* LServe, section 3.5 (arXiv:2502.14866): of logical pages S = sum_c max(q_c kmin_c, q_c kmax_c), a page's the highest of its own, and of the
 * group's heads; the first and the last page are read in any case. Streaming heads: sinks and the latest keys. */
static void pages(oracle *o, uint64_t b, uint64_t h, uint64_t i, double *score, bool *taken, bool *seen)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
    const uint64_t nk = k->shape[2], kv = k->shape[1], group = q->shape[1] / kv, g = h / group, page = (uint64_t)whole(o, "page"),
                   logical = (uint64_t)whole(o, "logical"), count = (nk + page - 1) / page;
    (void)i;
    if (g + (uint64_t)whole(o, "streaming") >= kv) {
        for (uint64_t j = 0; j < nk; j++)
            seen[j] = j < (uint64_t)whole(o, "sinks") || j + (uint64_t)whole(o, "recent") >= nk;
        return;
    }
    for (uint64_t n = 0; n < count; n++) {
        score[n] = -INFINITY;
        taken[n] = n == 0 || n + 1 == count;
        for (uint64_t x = g * group; x < (g + 1) * group; x++)
            for (uint64_t from = n * page; from < lower(n * page + page, nk); from += logical) {
                double bound = 0;
                for (uint64_t e = 0; e < q->shape[3]; e++) {
                    double least = INFINITY, most = -INFINITY;
                    for (uint64_t j = from; j < lower(from + logical, nk); j++) {
                        least = fmin(least, row4(k, b, g, j)[e]);
                        most = fmax(most, row4(k, b, g, j)[e]);
                    }
                    bound = r(o, bound + r(o, fmax(row4(q, b, x, 0)[e] * least, row4(q, b, x, 0)[e] * most)));
                }
                score[n] = fmax(score[n], bound);
            }
    }
    const uint64_t budget = ((uint64_t)whole(o, "budget") + page - 1) / page;
    take_largest(score, count, (int64_t)budget - (count > 1 ? 2 : 1), taken);
    for (uint64_t j = 0; j < nk; j++)
        seen[j] = taken[j / page];
}

static bool lserve(oracle *o)
{
    return searched(o, pages);
}

static const oracle_entry entries[] = {
    {"HiP (Hierarchically Pruned) Attention", hip},
    {"Light Forcing", light_forcing},
    {"LServe", lserve},
};
const oracle_family rapt_oracles_tree = {entries, sizeof entries / sizeof *entries};
