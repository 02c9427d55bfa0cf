/* Cases of neighbourhoods: 1-D to 3-D, odd sizes, even kernels, dilation, stride, causal axes, borders. */
#include "cases_grid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define QUICK (RAPT_CASE_QUICK | RAPT_CASE_FULL)
#define CORE (RAPT_CASE_CORE | QUICK)
#define FULL RAPT_CASE_FULL
#define SHAPE(b, hq, hkv, n, d, dv) .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = n, .nk = n, .d_qk = d, .d_v = dv
#define F32 .dtype = RAPT_F32
#define F16 .dtype = RAPT_F16
#define BF16 .dtype = RAPT_BF16
#define POISONED .input = RAPT_INPUT_POISONED

const rapt_case rapt_grid_cases[] = {
    {"grid-2d", SHAPE(1, 2, 2, 255, 64, 64), F32, .grid = {2, {15, 17}, {7, 5}}, POISONED, .groups = CORE},
    {"grid-1d", SHAPE(1, 2, 2, 131, 64, 64), F32, .grid = {1, {131}, {13}}, POISONED, .groups = CORE},
    {"grid-3d", SHAPE(1, 2, 1, 315, 64, 64), F32, .grid = {3, {5, 7, 9}, {3, 3, 5}}, POISONED, .groups = CORE},
    {"grid-2d-f16", SHAPE(1, 4, 2, 182, 64, 64), F16, .grid = {2, {14, 13}, {4, 6}}, POISONED, .groups = CORE},
    {"grid-2d-bf16", SHAPE(2, 2, 2, 182, 40, 24), BF16, .grid = {2, {14, 13}, {5, 5}, {1, 2}}, POISONED, .groups = CORE},
    {"grid-2d-dilated", SHAPE(1, 2, 2, 400, 64, 64), F32, .grid = {2, {20, 20}, {5, 3}, {3, 5}}, POISONED, .groups = CORE},
    {"grid-2d-stride", SHAPE(1, 2, 2, 399, 64, 64), F32, .grid = {2, {19, 21}, {6, 5}, {1, 1}, {4, 3}}, POISONED,
     .groups = FULL},
    {"grid-2d-blocked", SHAPE(1, 2, 2, 256, 64, 64), F32, .grid = {2, {16, 16}, {4, 8}, {1, 1}, {4, 8}}, POISONED,
     .groups = QUICK},
    {"grid-2d-causal", SHAPE(1, 2, 2, 252, 64, 64), F32, .grid = {2, {14, 18}, {5, 6}, {1, 2}, {2, 3}, 1}, POISONED,
     .groups = FULL},
    {"grid-2d-causal-all-f16", SHAPE(1, 2, 2, 252, 64, 64), F16, .grid = {2, {14, 18}, {5, 6}, {2, 1}, {5, 6}, 3}, POISONED,
     .groups = FULL},
    {"grid-2d-dense", SHAPE(1, 2, 2, 99, 64, 64), F32, .grid = {2, {9, 11}, {9, 11}}, .groups = FULL},
    {"grid-2d-self", SHAPE(1, 2, 2, 99, 64, 64), F32, .grid = {2, {9, 11}, {1, 1}}, POISONED, .groups = FULL},
    {"grid-2d-thin", SHAPE(1, 2, 2, 100, 64, 64), F32, .grid = {2, {1, 100}, {1, 9}}, POISONED, .groups = QUICK},
    {"grid-1d-causal", SHAPE(1, 2, 2, 200, 64, 64), F32, .grid = {1, {200}, {31}, {3}, {7}, 1}, POISONED, .groups = QUICK},
    {"grid-1d-even-dilated", SHAPE(2, 2, 2, 150, 64, 64), F16, .grid = {1, {150}, {8}, {17}, {2}}, POISONED, .groups = FULL},
    {"grid-1d-blocked", SHAPE(1, 2, 2, 256, 64, 64), F32, .grid = {1, {256}, {32}, {1}, {32}}, POISONED, .groups = FULL},
    {"grid-1d-one", SHAPE(1, 1, 1, 1, 64, 64), F32, .grid = {1, {1}, {1}}, .groups = FULL},
    {"grid-3d-all", SHAPE(1, 2, 2, 560, 32, 48), F32, .grid = {3, {7, 8, 10}, {3, 4, 2}, {2, 1, 3}, {2, 3, 1}, 1}, POISONED,
     .groups = QUICK},
    {"grid-3d-causal-f16", SHAPE(1, 2, 2, 560, 64, 64), F16, .grid = {3, {7, 8, 10}, {7, 3, 4}, {1, 2, 1}, {1, 1, 4}, 5},
     POISONED, .groups = FULL},
    {"grid-odd-f32", SHAPE(2, 3, 3, 63, 33, 35), F32, .grid = {2, {7, 9}, {3, 4}}, .layout = RAPT_LAYOUT_ODD, .groups = CORE},
    {"grid-odd-f16", SHAPE(2, 3, 3, 63, 33, 35), F16, .grid = {2, {7, 9}, {3, 4}, {2, 1}}, .layout = RAPT_LAYOUT_ODD,
     .groups = FULL},
    {"grid-bnhd", SHAPE(2, 3, 3, 63, 64, 64), F32, .grid = {2, {7, 9}, {3, 4}}, .layout = RAPT_LAYOUT_BNHD, .groups = FULL},
    {"grid-packed-bf16", SHAPE(2, 4, 2, 63, 64, 64), BF16, .grid = {2, {7, 9}, {3, 4}}, .layout = RAPT_LAYOUT_PACKED,
     .groups = QUICK},
    {"grid-128", SHAPE(1, 2, 2, 130, 128, 128), F32, .grid = {2, {10, 13}, {7, 5}}, POISONED, .groups = CORE},
    {"grid-128-f16", SHAPE(1, 2, 2, 130, 128, 128), F16, .grid = {2, {10, 13}, {3, 5}, {3, 2}}, POISONED, .groups = CORE},
    {"grid-256", SHAPE(1, 2, 2, 130, 256, 200), F32, .grid = {2, {10, 13}, {7, 5}}, .groups = FULL},
    {"grid-512-bf16", SHAPE(1, 2, 2, 70, 320, 512), BF16, .grid = {2, {7, 10}, {3, 3}}, .groups = FULL},
    {"grid-sinks", SHAPE(1, 4, 2, 130, 64, 64), F32, .grid = {2, {10, 13}, {3, 5}}, .sinks = 1, .soft_cap = 3, .groups = QUICK},
    {"grid-relative", SHAPE(2, 4, 2, 130, 64, 64), F32, .grid = {2, {10, 13}, {5, 5}, {2, 1}}, .relative = 1, .groups = CORE},
    {"grid-relative-line-f16", SHAPE(1, 4, 4, 130, 64, 64), F16, .grid = {1, {130}, {27}}, .relative = 2, .groups = FULL},
    {"grid-bias-f16", SHAPE(2, 4, 2, 130, 64, 64), F16, .grid = {2, {10, 13}, {5, 5}, {2, 1}}, .key_bias = 1, .groups = FULL},
    {"grid-segments", SHAPE(1, 2, 2, 130, 64, 64), F32, .grid = {2, {10, 13}, {5, 5}}, .segments = 3, POISONED, .groups = FULL},
    {"grid-sigmoid", SHAPE(1, 2, 2, 130, 64, 64), F32, .grid = {2, {10, 13}, {5, 5}}, .link = RAPT_LINK_SIGMOID, POISONED,
     .groups = FULL},
    {"grid-clipped-gate", SHAPE(1, 2, 2, 130, 64, 64), F32, .grid = {2, {10, 13}, {5, 5}}, .link = RAPT_LINK_CLIPPED,
     .gate = true, .groups = QUICK},
    {"grid-sqa", SHAPE(1, 2, 6, 99, 64, 64), F32, .grid = {2, {9, 11}, {3, 4}}, .groups = FULL},
    {"grid-large-scores", SHAPE(1, 2, 2, 130, 64, 64), F32, .grid = {2, {10, 13}, {5, 5}}, .input = RAPT_INPUT_LARGE,
     .groups = FULL},
    {"grid-exact", SHAPE(1, 2, 2, 130, 32, 24), F32, .grid = {2, {10, 13}, {5, 4}, {2, 1}, {1, 3}}, .input = RAPT_INPUT_EXACT,
     .groups = QUICK},
    {"grid-long", SHAPE(1, 1, 1, 3111, 64, 64), F32, .grid = {2, {51, 61}, {13, 12}, {1, 1}, {1, 4}}, .groups = FULL},
};
const size_t rapt_grid_case_count = COUNT(rapt_grid_cases);

rapt_case rapt_grid_case_random(rapt_random *r)
{
    static const uint8_t sizes[3][12] = {{1, 2, 5, 31, 32, 33, 64, 90, 127, 150, 200, 211},
                                         {1, 2, 3, 5, 7, 8, 9, 11, 13, 16, 17, 20},
                                         {1, 2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9}};
    static const uint16_t dims[] = {1, 8, 16, 24, 40, 64, 64, 64, 80, 128, 160};
    static const rapt_dtype dtypes[] = {RAPT_F32, RAPT_F16, RAPT_BF16};
    static const uint8_t heads[][2] = {{1, 1}, {2, 2}, {4, 2}, {3, 2}, {2, 4}};
    const uint8_t *pair = heads[rapt_random_below(r, COUNT(heads))];
    rapt_case c = {.batch = 1 + rapt_random_below(r, 2), .q_heads = pair[0], .kv_heads = pair[1]};
    rapt_grid *g = &c.grid;
    g->rank = 1 + (uint32_t)rapt_random_below(r, 3);
    c.nq = 1;
    for (uint32_t axis = 0; axis < g->rank; axis++) {
        const uint32_t n = sizes[g->rank - 1][rapt_random_below(r, 12)];
        g->size[axis] = n;
        g->dilation[axis] = rapt_random_below(r, 2) ? 1 : 1 + (uint32_t)rapt_random_below(r, n / 2);
        g->kernel_size[axis] = 1 + (uint32_t)rapt_random_below(r, n / g->dilation[axis]);
        g->stride[axis] = rapt_random_below(r, 2) ? 1 : 1 + (uint32_t)rapt_random_below(r, g->kernel_size[axis]);
        g->causal |= (uint32_t)(rapt_random_below(r, 4) == 0) << axis;
        c.nq *= n;
    }
    c.nk = c.nq;
    c.d_qk = dims[rapt_random_below(r, COUNT(dims))];
    c.d_v = rapt_random_below(r, 4) > 0 ? c.d_qk : dims[rapt_random_below(r, COUNT(dims))];
    c.dtype = dtypes[rapt_random_below(r, 3)];
    c.layout = (rapt_case_layout)rapt_random_below(r, RAPT_LAYOUT_COUNT);
    c.input = (rapt_case_input)rapt_random_below(r, RAPT_INPUT_COUNT);
    c.no_lse = rapt_random_below(r, 8) == 0;
    if (rapt_random_below(r, 6) == 0)
        c.soft_cap = (float)(1 + rapt_random_below(r, 50));
    if (rapt_random_below(r, 4) == 0) {
        c.sinks = (uint8_t)rapt_random_below(r, 3);
        c.key_bias = rapt_random_below(r, 2) ? (uint8_t)rapt_random_below(r, 4) : 0;
        c.segments = rapt_random_below(r, 3) == 0 ? 1 + (uint8_t)rapt_random_below(r, 4) : 0;
    }
    if (rapt_random_below(r, 5) == 0) {
        c.link = (rapt_link)rapt_random_below(r, RAPT_LINK_COUNT);
        c.sinks = c.link == RAPT_LINK_SOFTMAX || c.link == RAPT_LINK_SIGNED ? c.sinks : 0;
    }
    c.gate = rapt_random_below(r, 8) == 0;
    if (c.grid.rank < 3 && rapt_random_below(r, 5) == 0)
        c.relative = (uint8_t)(1 + rapt_random_below(r, 2));
    return c;
}

/* "7x5", of the axes that there are. */
static void sizes_name(const rapt_grid *g, const uint32_t values[3], char *text, size_t capacity)
{
    size_t at = 0;
    for (uint32_t axis = 0; axis < g->rank; axis++)
        at += (size_t)snprintf(text + at, capacity - at, "%s%u", axis ? "x" : "", values[axis]);
}

void rapt_grid_case_name(const rapt_grid *g, char *text, size_t capacity)
{
    char n[40], k[40], d[40], s[40];
    sizes_name(g, g->size, n, sizeof n);
    sizes_name(g, g->kernel_size, k, sizeof k);
    sizes_name(g, g->dilation, d, sizeof d);
    sizes_name(g, g->stride, s, sizeof s);
    int at = snprintf(text, capacity, "g%sk%s", n, k);
    for (uint32_t axis = 0; axis < g->rank; axis++)
        if (g->dilation[axis] > 1) {
            at += snprintf(text + at, capacity - (size_t)at, "d%s", d);
            break;
        }
    for (uint32_t axis = 0; axis < g->rank; axis++)
        if (g->stride[axis] > 1) {
            at += snprintf(text + at, capacity - (size_t)at, "s%s", s);
            break;
        }
    if (g->causal)
        snprintf(text + at, capacity - (size_t)at, "c%u", g->causal);
}

/* A letter, and numbers with an x between, as many as axes; *rank 0: as many as there are. */
static bool read_sizes(const char **at, char letter, uint32_t *rank, uint32_t values[3])
{
    uint32_t count = 0;
    if (**at != letter)
        return false;
    do {
        char *end;
        if ((*at)[1] < '0' || (*at)[1] > '9' || count == 3)
            return false;
        const unsigned long value = strtoul(*at + 1, &end, 10);
        if (value < 1 || value > 1ul << 29)
            return false;
        values[count++] = (uint32_t)value;
        *at = end;
    } while (**at == 'x');
    if (*rank == 0)
        *rank = count;
    return count == *rank;
}

bool rapt_grid_case_parse(const char **at, uint64_t places, rapt_grid *g)
{
    *g = (rapt_grid){0};
    if (**at != 'g')
        return true;
    if (!read_sizes(at, 'g', &g->rank, g->size) || !read_sizes(at, 'k', &g->rank, g->kernel_size))
        return false;
    for (uint32_t axis = 0; axis < g->rank; axis++)
        g->dilation[axis] = g->stride[axis] = 1;
    if ((**at == 'd' && !read_sizes(at, 'd', &g->rank, g->dilation)) ||
        (**at == 's' && !read_sizes(at, 's', &g->rank, g->stride)))
        return false;
    if (**at == 'c') {
        if ((*at)[1] < '0' || (*at)[1] > '7')
            return false;
        g->causal = (uint32_t)((*at)[1] - '0');
        *at += 2;
    }
    uint64_t count = 1;
    for (uint32_t axis = 0; axis < g->rank; axis++) {
        if ((uint64_t)g->kernel_size[axis] * g->dilation[axis] > g->size[axis] || g->stride[axis] > g->kernel_size[axis])
            return false;
        count *= g->size[axis]; /* 2^87 at most; what overflows is no length of a sequence */
        if (count > 1u << 30)
            return false;
    }
    return count == places && g->causal >> g->rank == 0;
}
