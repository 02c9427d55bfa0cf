#include "oracle_grid.h"

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* One axis: n places, kernel K, dilation d, stride s; x the query, k the key. */
static bool sees(int64_t n, int64_t K, int64_t d, int64_t s, bool causal, int64_t x, int64_t k)
{
    const int64_t group = x % d, y = x / d, m = (n - 1 - group) / d + 1; /* places of the query's group */
    if (k % d != group)
        return false;
    const int64_t j = k / d;
    if (causal) {
        const int64_t c = clamp(y / s * s + s - 1, 0, m - 1);
        return j > c - K && j <= c && j <= y;
    }
    const int64_t c = clamp(y / s * s + s / 2, 0, m - 1), start = clamp(c - K / 2, 0, m - K);
    return j >= start && j < start + K;
}

static int64_t or_one(uint32_t x)
{
    return x ? x : 1;
}

bool rapt_check_grid_sees(const rapt_grid *g, uint64_t i, uint64_t j)
{
    for (uint32_t axis = g->rank; axis-- > 0;) {
        const int64_t n = g->size[axis];
        if (!sees(n, g->kernel_size[axis], or_one(g->dilation[axis]), or_one(g->stride[axis]),
                  g->causal >> axis & 1, (int64_t)i % n, (int64_t)j % n))
            return false;
        i /= (uint64_t)n;
        j /= (uint64_t)n;
    }
    return true;
}

double rapt_check_grid_pairs(const rapt_grid *g)
{
    double pairs = 1;
    for (uint32_t axis = 0; axis < g->rank; axis++) {
        const int64_t n = g->size[axis], K = g->kernel_size[axis], d = or_one(g->dilation[axis]),
                      far = (K + or_one(g->stride[axis])) * d; /* no key is farther */
        double seen = 0;
        for (int64_t x = 0; x < n; x++)
            for (int64_t k = clamp(x - far, 0, n); k < clamp(x + far, 0, n); k++)
                seen += sees(n, K, d, or_one(g->stride[axis]), g->causal >> axis & 1, x, k);
        pairs *= seen;
    }
    return pairs;
}
