#include "oracle_grid.h"

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* One axis: n places, kernel K, dilation d, stride s; x the query, k the key. */
static bool sees(int64_t n, int64_t K, int64_t d, int64_t s, bool causal, int64_t x, int64_t k)
{
    const int64_t group = x % d, y = x / d;
    int64_t m = 0; /* places of the query's group */
    for (int64_t place = group; place < n; place += d)
        m++;
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

bool rapt_check_grid_sees(const rapt_grid *g, uint64_t i, uint64_t j)
{
    for (uint32_t axis = g->rank; axis-- > 0;) {
        const int64_t n = g->size[axis], d = g->dilation[axis] ? g->dilation[axis] : 1,
                      s = g->stride[axis] ? g->stride[axis] : 1;
        if (!sees(n, g->kernel_size[axis], d, s, g->causal >> axis & 1, (int64_t)i % n, (int64_t)j % n))
            return false;
        i /= (uint64_t)n;
        j /= (uint64_t)n;
    }
    return true;
}
