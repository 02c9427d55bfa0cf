/* Oracles of systems on maps: depthwise convolutions, regions, gates of channels. Tokens are (batch, n, channels). */
#include "oracle_system.h"

/* Comma list of two numbers, or one for both. */
static void pair_of(oracle *o, const char *name, int64_t out[2])
{
    char *end;
    out[0] = strtoll(text_of(o, name), &end, 10);
    out[1] = *end == ',' ? strtoll(end + 1, NULL, 10) : out[0];
}

static double *numbers(uint64_t count)
{
    return calloc((size_t)count + 1, sizeof(double));
}

/* Tokens of one batch entry. */
typedef struct tokens {
    const double *x;
    uint64_t n, channels;
} tokens;

static tokens entry(const rapt_check_array *a, uint64_t b)
{
    return (tokens){a->data + b * a->shape[1] * a->shape[2], a->shape[1], a->shape[2]};
}

/* One head of attention, channels [first, first + d), with a bias of (q.n, k.n) numbers or none, over pairs that are seen. */
typedef bool (*sees_pair)(const void *what, uint64_t i, uint64_t j);
static bool one_head(const oracle *o, tokens q, tokens k, tokens v, uint64_t first, uint64_t d, double scale, const double *bias,
                     sees_pair sees, const void *what, double *out)
{
    double unused;
    query one;
    const bool good = query_make(&one, k.n, d);
    for (uint64_t i = 0; i < q.n && good; i++) {
        for (uint64_t j = 0; j < k.n; j++) {
            one.seen[j] = sees == NULL || sees(what, i, j);
            one.s[j] = product(o, q.x + i * q.channels + first, k.x + j * k.channels + first, d, scale);
            if (bias != NULL)
                one.s[j] = r(o, one.s[j] + bias[i * k.n + j]);
            one.v[j] = v.x + j * v.channels + first;
        }
        one.out = out + i * q.channels + first;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good;
}

/* Means of cells: along a row, stored, then along the column. */
static double *pooled(const oracle *o, tokens x, const int64_t grid[2], const int64_t cell[2])
{
    const uint64_t across = (uint64_t)(grid[1] / cell[1]), down = (uint64_t)(grid[0] / cell[0]);
    double *out = numbers(down * across * x.channels);
    for (uint64_t at = 0; at < down * across * x.channels && out; at++) {
        const uint64_t cy = at / x.channels / across, cx = at / x.channels % across, c = at % x.channels;
        double sum = 0;
        for (int64_t y = 0; y < cell[0]; y++) {
            double row = 0;
            for (int64_t a = 0; a < cell[1]; a++)
                row = r(o, row + x.x[((cy * (uint64_t)cell[0] + (uint64_t)y) * (uint64_t)grid[1] + cx * (uint64_t)cell[1] + (uint64_t)a) * x.channels + c]);
            sum = r(o, sum + stored(o, r(o, row / (double)cell[1])));
        }
        out[at] = stored(o, r(o, sum / (double)cell[0]));
    }
    return out;
}

/* out + the depthwise convolution of v, zeros around the map: both are stored before. */
static void add_convolution(oracle *o, tokens v, const int64_t grid[2], double *out)
{
    const rapt_check_array *kernel = input(o, "kernel"), *bias = has(o, "kernel_bias") ? input(o, "kernel_bias") : NULL;
    const int64_t ky = (int64_t)kernel->shape[1], kx = (int64_t)kernel->shape[2];
    for (uint64_t at = 0; at < v.n * v.channels && !o->failed; at++) {
        const int64_t y = (int64_t)(at / v.channels) / grid[1], x = (int64_t)(at / v.channels) % grid[1];
        const uint64_t c = at % v.channels;
        double sum = bias ? bias->data[c] : 0;
        for (int64_t i = 0; i < ky; i++)
            for (int64_t j = 0; j < kx; j++) {
                const int64_t from_y = y + i - ky / 2, from_x = x + j - kx / 2;
                if (from_y >= 0 && from_y < grid[0] && from_x >= 0 && from_x < grid[1])
                    sum = r(o, sum + r(o, kernel->data[((int64_t)c * ky + i) * kx + j] * v.x[(from_y * grid[1] + from_x) * (int64_t)v.channels + (int64_t)c]));
            }
        o->to->score = fmax(o->to->score, fabs(sum));
        out[at] = stored(o, r(o, out[at] + stored(o, sum)));
    }
}

/* BiFormer, equations 3 to 8: affinity of regions by their mean queries and keys, the top ones gathered, attention to their tokens,
 * plus a depthwise convolution of V. */
typedef struct regions {
    const bool *taken; /* (count, count) */
    int64_t width, cell[2], across, count;
} regions;
static uint64_t region_of(const regions *g, uint64_t i)
{
    return (uint64_t)((int64_t)i / g->width / g->cell[0] * g->across + (int64_t)i % g->width / g->cell[1]);
}
static bool is_gathered(const void *what, uint64_t i, uint64_t j)
{
    const regions *g = what;
    return g->taken[region_of(g, i) * (uint64_t)g->count + region_of(g, j)];
}
static bool biformer(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = (uint64_t)whole(o, "heads"), channels = q->shape[2], d = channels / heads;
    int64_t grid[2], across[2];
    pair_of(o, "grid", grid);
    pair_of(o, "regions", across);
    const int64_t cell[2] = {grid[0] / across[0], grid[1] / across[1]}, count = across[0] * across[1], top = whole(o, "top");
    bool *taken = calloc((size_t)(count * count) + 1, sizeof *taken), good = taken && room(o, q->count, 0);
    const regions g = {taken, grid[1], {cell[0], cell[1]}, across[1], count};
    for (uint64_t b = 0; b < q->shape[0] && good; b++) {
        double *mq = pooled(o, entry(q, b), grid, cell), *mk = pooled(o, entry(k, b), grid, cell);
        good = mq && mk;
        for (int64_t i = 0; i < count && good; i++) {
            const double *mine = mq + i * (int64_t)channels;
            for (int64_t j = 0; j < count; j++) {
                const double own = product(o, mine, mk + j * (int64_t)channels, channels, 1);
                int64_t nearer = 0;
                for (int64_t other = 0; other < count; other++) {
                    const double s = product(o, mine, mk + other * (int64_t)channels, channels, 1);
                    nearer += s > own || (s == own && other < j);
                }
                taken[i * count + j] = nearer < top;
            }
        }
        double *out = o->to->out + b * q->shape[1] * channels;
        for (uint64_t h = 0; h < heads && good; h++)
            good = one_head(o, entry(q, b), entry(k, b), entry(v, b), h * d, d, scale_of(o, d), NULL, is_gathered, &g, out);
        if (good)
            add_convolution(o, entry(v, b), grid, out);
        free(mq);
        free(mk);
    }
    free(taken);
    return good && !o->failed;
}

/* LKCA: out_yx = sum of kernel_ij x_(y + i - K / 2, x + j - K / 2). */
static bool large_kernel(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *kernel = input(o, "kernel");
    const int64_t height = (int64_t)x->shape[2], width = (int64_t)x->shape[3], ky = (int64_t)kernel->shape[1], kx = (int64_t)kernel->shape[2];
    const bool good = room(o, x->count, 0);
    for (int64_t at = 0; at < (int64_t)x->count && good; at++) {
        const int64_t plane = at / (height * width), y = at / width % height, column = at % width;
        double sum = 0;
        for (int64_t i = 0; i < ky; i++)
            for (int64_t j = 0; j < kx; j++) {
                const int64_t fy = y + i - ky / 2, fx = column + j - kx / 2;
                if (fy >= 0 && fy < height && fx >= 0 && fx < width)
                    sum = r(o, sum + r(o, kernel->data[(plane % (int64_t)x->shape[1] * ky + i) * kx + j] * x->data[(plane * height + fy) * width + fx]));
            }
        o->to->score = fmax(o->to->score, 4 * fabs(sum));
        o->to->out[at] = stored(o, sum);
    }
    return good;
}

/* ECA, equation 5: x sigmoid(conv1d(mean x)). */
static bool channel_gates(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *kernel = input(o, "kernel");
    const int64_t n = (int64_t)x->shape[1], channels = (int64_t)x->shape[2], taps = (int64_t)kernel->shape[0];
    double *means = numbers((uint64_t)channels);
    const bool good = means && room(o, x->count, 0);
    for (int64_t b = 0; b < (int64_t)x->shape[0] && good; b++) {
        const double *from = x->data + b * n * channels;
        for (int64_t c = 0; c < channels; c++) {
            means[c] = 0;
            for (int64_t i = 0; i < n; i++)
                means[c] = r(o, means[c] + from[i * channels + c]);
            means[c] = stored(o, r(o, means[c] / (double)n));
        }
        for (int64_t c = 0; c < channels; c++) {
            double sum = 0;
            for (int64_t t = 0; t < taps; t++)
                if (c + t - taps / 2 >= 0 && c + t - taps / 2 < channels)
                    sum = r(o, sum + r(o, kernel->data[t] * means[c + t - taps / 2]));
            const double gate = stored(o, r(o, 1 / r(o, 1 + r(o, exp(-sum)))));
            for (int64_t i = 0; i < n; i++)
                o->to->out[(b * n + i) * channels + c] = stored(o, r(o, gate * from[i * channels + c]));
        }
    }
    free(means);
    return good && !o->failed;
}

/* Affine-Scaled Attention: alpha_i softmax(s)_i V + beta_i sum_{j<=i} v_j. */
static bool affine_scaled(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *alpha = input(o, "alpha"), *beta = input(o, "beta");
    const uint64_t heads = q->shape[1], n = q->shape[2], kv = v->shape[1], dv = v->shape[3];
    bool good = rows(o, always_causal, softmax, 0);
    for (uint64_t line = 0; line < q->shape[0] * heads && good; line++) {
        const uint64_t b = line / heads, g = line % heads * kv / heads;
        for (uint64_t e = 0; e < dv; e++) {
            double sum = 0;
            for (uint64_t i = 0; i < n; i++) {
                sum = r(o, sum + row4(v, b, g, i)[e]);
                o->to->score = fmax(o->to->score, fabs(sum));
                double *out = &o->to->out[(line * n + i) * dv + e];
                *out = stored(o, r(o, r(o, alpha->data[line * n + i] * *out) + r(o, beta->data[line * n + i] * stored(o, sum))));
            }
        }
    }
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"BiFormer (bi-level routing attention)", biformer},
    {"LKCA", large_kernel},
    {"ECA", channel_gates},
    {"Affine-Scaled Attention", affine_scaled},
};
const oracle_family rapt_oracles_vision = {entries, sizeof entries / sizeof *entries};
