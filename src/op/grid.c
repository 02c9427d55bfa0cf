#include "op/grid.h"

rapt_status rapt_grid_check(const rapt_grid *given, uint64_t tokens, rapt_grid *out, rapt_error *error)
{
    *out = (rapt_grid){0};
    if (given->rank == 0)
        return RAPT_OK;
    if (given->rank > RAPT_GRID_AXES)
        return rapt_fail(error, RAPT_ERROR_INVALID, "grid: rank %u, must be 1 to %u (0: no grid)",
                         given->rank, RAPT_GRID_AXES);
    if (given->causal >> given->rank != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "grid: causal axes 0x%x of a grid of %u", given->causal,
                         given->rank);
    out->rank = given->rank;
    const unsigned absent = RAPT_GRID_AXES - given->rank;
    for (unsigned axis = 0; axis < absent; axis++)
        out->size[axis] = out->kernel_size[axis] = out->dilation[axis] = out->stride[axis] = 1;
    uint64_t count = 1;
    for (unsigned axis = 0; axis < given->rank; axis++) {
        const uint32_t n = given->size[axis], k = given->kernel_size[axis];
        const uint32_t d = given->dilation[axis] ? given->dilation[axis] : 1;
        const uint32_t s = given->stride[axis] ? given->stride[axis] : 1;
        if (k == 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "grid: the kernel size of axis %u is 0", axis);
        if ((uint64_t)k * d > n)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "grid: kernel size %u times dilation %u of axis %u is more than its length %u",
                             k, d, axis, n);
        if (s > k)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "grid: stride %u of axis %u is more than its kernel size %u", s, axis, k);
        if (!rapt_mul_u64(count, n, &count))
            count = UINT64_MAX;
        out->size[absent + axis] = n;
        out->kernel_size[absent + axis] = k;
        out->dilation[absent + axis] = d;
        out->stride[absent + axis] = s;
    }
    if (count != tokens)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "grid: its axes come to %llu places, but nq and nk are %llu",
                         (unsigned long long)count, (unsigned long long)tokens);
    out->causal = given->causal << absent;
    return RAPT_OK;
}

uint32_t rapt_grid_length(const rapt_grid *g, unsigned axis, uint32_t residue)
{
    return (g->size[axis] - residue + g->dilation[axis] - 1) / g->dilation[axis];
}

void rapt_grid_window(const rapt_grid *g, unsigned axis, uint32_t length, uint32_t y, uint32_t *begin,
                      uint32_t *end)
{
    const uint32_t k = g->kernel_size[axis], s = g->stride[axis];
    const uint32_t block = y - y % s; /* queries of a block share the window of its leader */
    if (g->causal >> axis & 1) {
        const uint32_t leader = RAPT_MIN(block + s - 1, length - 1);
        *begin = leader + 1 > k ? leader + 1 - k : 0;
        *end = y + 1;
        return;
    }
    const uint32_t leader = RAPT_MIN(block + s / 2, length - 1);
    *begin = RAPT_MIN(leader > k / 2 ? leader - k / 2 : 0, length - k);
    *end = *begin + k;
}

bool rapt_grid_sees(const rapt_grid *g, uint64_t query, uint64_t key)
{
    for (unsigned axis = RAPT_GRID_AXES; axis-- > 0;) {
        const uint32_t n = g->size[axis], d = g->dilation[axis];
        const uint32_t q = (uint32_t)(query % n), k = (uint32_t)(key % n);
        uint32_t begin, end;
        query /= n;
        key /= n;
        if (q % d != k % d)
            return false;
        rapt_grid_window(g, axis, rapt_grid_length(g, axis, q % d), q / d, &begin, &end);
        if (k / d < begin || k / d >= end)
            return false;
    }
    return true;
}

/* Of a causal axis and one of its groups. Every query sees the y + 1 keys up to itself, less those before its
 * window, which begins at leader + 1 - K where that is positive; the leader of block j = 1, 2, .. is j s - 1,
 * and m - 1 of what is left. */
static uint64_t causal_pairs(uint64_t m, uint64_t k, uint64_t s)
{
    const uint64_t blocks = m / s, first = k / s + 1; /* the first block whose window does not begin at 0 */
    const uint64_t count = blocks >= first ? blocks - first + 1 : 0,
                   sum = count ? (first + blocks) * count / 2 : 0;
    return m * (m + 1) / 2 - (s * sum - k * count) * s - (m - k) * (m % s);
}

uint64_t rapt_grid_pairs(const rapt_grid *g)
{
    uint64_t pairs = 1;
    for (unsigned axis = 0; axis < RAPT_GRID_AXES; axis++) {
        uint64_t seen = (uint64_t)g->size[axis] * g->kernel_size[axis];
        if (g->causal >> axis & 1) {
            /* Groups are of two lengths at most: those before size mod dilation have a place more. */
            const uint32_t longer = g->size[axis] % g->dilation[axis];
            const uint32_t counts[2] = {longer, g->dilation[axis] - longer};
            seen = 0;
            for (unsigned i = 0; i < 2; i++) {
                const uint32_t length = g->size[axis] / g->dilation[axis] + (i == 0);
                seen += counts[i] > 0
                            ? causal_pairs(length, g->kernel_size[axis], g->stride[axis]) * counts[i]
                            : 0;
            }
        }
        if (!rapt_mul_u64(pairs, seen, &pairs))
            return UINT64_MAX;
    }
    return pairs;
}

void rapt_grid_add_sizes(const rapt_grid *g, const uint32_t values[RAPT_GRID_AXES], bool json, rapt_text *t)
{
    rapt_text_add(t, "%s", json ? "[" : "");
    for (unsigned axis = RAPT_GRID_AXES - g->rank; axis < RAPT_GRID_AXES; axis++)
        rapt_text_add(t, "%s%u", axis == RAPT_GRID_AXES - g->rank ? "" : json ? "," : "x", values[axis]);
    rapt_text_add(t, "%s", json ? "]" : "");
}

void rapt_grid_describe(const rapt_grid *g, bool json, rapt_text *t)
{
    const struct {
        const char *text, *json;
        const uint32_t *values;
    } lists[] = {{", grid ", "\"size\":", g->size},
                 {", kernel ", ",\"kernel_size\":", g->kernel_size},
                 {", dilation ", ",\"dilation\":", g->dilation},
                 {", stride ", ",\"stride\":", g->stride}};
    for (size_t i = 0; i < RAPT_COUNT(lists); i++) {
        rapt_text_add(t, "%s", json ? lists[i].json : lists[i].text);
        rapt_grid_add_sizes(g, lists[i].values, json, t);
    }
    bool any = false;
    rapt_text_add(t, "%s", json ? ",\"causal\":[" : "");
    for (unsigned axis = RAPT_GRID_AXES - g->rank; axis < RAPT_GRID_AXES; axis++)
        if (g->causal >> axis & 1) {
            rapt_text_add(t, "%s%u",
                          any    ? ","
                          : json ? ""
                                 : ", causal axes ",
                          axis - (RAPT_GRID_AXES - g->rank));
            any = true;
        }
    rapt_text_add(t, "%s", json ? "]" : "");
}
