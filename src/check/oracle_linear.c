#include "oracle_linear.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>

typedef struct walk {
    const rapt_linear_desc *d;
    const rapt_check_linear_inputs *in;
    bool single;
    uint64_t heads, d_k, d_v;
    double *q, *k, *read; /* of the token at hand */
} walk;

static double rounded(const walk *w, double x)
{
    return w->single ? (double)(float)x : x;
}

/* Element x of row (b, h, token) of a tensor with as many heads as it has. */
static double element(const walk *w, const rapt_tensor *t, const void *data, uint64_t b, uint64_t h,
                      uint64_t token, uint64_t x)
{
    if (t->rank == 1)
        return rapt_check_load(data, t->dtype, (int64_t)(h * t->size[0] / w->heads) * t->stride[0]);
    const uint64_t head = h * t->size[1] / w->heads;
    int64_t at = (int64_t)b * t->stride[0] + (int64_t)head * t->stride[1] + (int64_t)token * t->stride[2];
    if (t->rank == 4)
        at += (int64_t)x * t->stride[3];
    return rapt_check_load(data, t->dtype, at);
}

/* How many features a map makes of d_k. */
static uint64_t feature_count(const rapt_linear_desc *d)
{
    const uint64_t n = d->q.size[3];
    if (d->feature == RAPT_PHI_TAYLOR2 || (d->feature == RAPT_PHI_POLY && d->feature_power != 1.0f))
        return 1 + n + n * (n + 1) / 2;
    return d->feature == RAPT_PHI_POLY ? 1 + n : n;
}

uint64_t rapt_check_linear_rows(const rapt_linear_desc *d)
{
    const uint64_t features = feature_count(d), blocks = (features + 127) / 128, each = (features + blocks - 1) / blocks;
    const bool products = d->feature == RAPT_PHI_TAYLOR2 || d->feature == RAPT_PHI_POLY;
    return products ? blocks * ((each + 3) / 4 * 4) : features;
}

/* x less its mean, over its standard deviation. */
static void standardize(const walk *w, double *x, uint64_t n)
{
    double mean = 0, variance = 0;
    for (uint64_t i = 0; i < n; i++)
        mean = rounded(w, mean + x[i]);
    mean = rounded(w, mean / (double)n);
    for (uint64_t i = 0; i < n; i++)
        variance = rounded(w, variance + rounded(w, (x[i] - mean) * (x[i] - mean)));
    const double deviation = rounded(w, sqrt(variance / (double)n));
    for (uint64_t i = 0; i < n; i++)
        x[i] = deviation == 0 ? 0 : rounded(w, rounded(w, x[i] - mean) / deviation);
}

static double norm_of(const walk *w, const double *x, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum = rounded(w, sum + rounded(w, x[i] * x[i]));
    return rounded(w, sqrt(sum));
}

/* 1, x_i, then x_i x_j for i <= j, those of i = j over sqrt(2); in place, from the end. */
static void products(const walk *w, double *x, uint64_t n)
{
    const bool linear = w->d->feature == RAPT_PHI_POLY && w->d->feature_power == 1.0f;
    uint64_t at = 1 + n;
    for (uint64_t i = n; i > 0; i--)
        x[i] = x[i - 1];
    x[0] = 1;
    for (uint64_t i = 1; i <= n && !linear; i++)
        for (uint64_t j = i; j <= n; j++)
            x[at++] = rounded(w, i == j ? rounded(w, x[i] * x[i]) * 0.70710678118654752 : x[i] * x[j]);
    for (const uint64_t rows = rapt_check_linear_rows(w->d); at < rows; at++)
        x[at] = 0;
}

/* y^p |y| / |y^p|, y = relu(x). */
static void focus(const walk *w, double *x, uint64_t n)
{
    const double p = w->d->feature_power != 0 ? (double)w->d->feature_power : 3;
    for (uint64_t i = 0; i < n; i++)
        x[i] = x[i] < 0 ? 0 : x[i];
    const double before = norm_of(w, x, n);
    for (uint64_t i = 0; i < n; i++)
        x[i] = rounded(w, pow(x[i], p));
    const double after = norm_of(w, x, n);
    for (uint64_t i = 0; i < n; i++)
        x[i] = after == 0 ? 0 : rounded(w, x[i] * rounded(w, before / after));
}

static void soften(const walk *w, double *x, uint64_t n)
{
    double top = x[0], sum = 0;
    for (uint64_t i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (uint64_t i = 0; i < n; i++) {
        x[i] = rounded(w, exp(rounded(w, x[i] - top)));
        sum = rounded(w, sum + x[i]);
    }
    for (uint64_t i = 0; i < n; i++)
        x[i] = rounded(w, x[i] / sum);
}

/* Maps of one element. */
static double one_feature(const walk *w, rapt_phi map, double x)
{
    switch (map) {
    case RAPT_PHI_ELU1:
        return rounded(w, x > 0 ? x + 1 : exp(x));
    case RAPT_PHI_RELU:
        return x < 0 ? 0 : x;
    case RAPT_PHI_RELU2:
        return x < 0 ? 0 : rounded(w, x * x);
    case RAPT_PHI_EXP:
    case RAPT_PHI_LOGNORMAL:
        return rounded(w, exp(x));
    default:
        return x;
    }
}

/* What becomes of one row of q or k. */
static void feature(const walk *w, rapt_phi map, double scale, double *x, uint64_t b, uint64_t h, uint64_t token)
{
    const uint64_t n = w->d->q.size[3];
    for (uint64_t i = 0; i < n; i++)
        x[i] = rounded(w, x[i] * scale);
    if (w->d->flags & RAPT_LINEAR_STANDARDIZE)
        standardize(w, x, n);
    if (map == RAPT_PHI_TAYLOR2 || map == RAPT_PHI_POLY)
        products(w, x, n);
    else if (map == RAPT_PHI_FOCUSED)
        focus(w, x, n);
    else if (map == RAPT_PHI_SOFTMAX)
        soften(w, x, n);
    else if (map == RAPT_PHI_COSINE) {
        const double length = norm_of(w, x, n);
        for (uint64_t i = 0; i < n; i++)
            x[i] = length == 0 ? 0 : rounded(w, x[i] / length);
    } else {
        for (uint64_t i = 0; i < n; i++)
            x[i] = map == RAPT_PHI_USER ? rounded(w, w->in->feature_map(x[i], b, h, token, i)) : one_feature(w, map, x[i]);
    }
}

static void features_of(const walk *w, bool keys, uint64_t b, uint64_t h, uint64_t token, uint64_t place, double *x)
{
    const rapt_linear_desc *d = w->d;
    const rapt_tensor *t = keys ? &d->k : &d->q, *scales = keys ? &d->scale_k : &d->scale_q;
    const rapt_phi map = keys && (d->flags & RAPT_LINEAR_FEATURE_K) ? d->feature_k : d->feature;
    double scale = scales->dtype ? element(w, scales, keys ? w->in->scale_k : w->in->scale_q, b, h, 0, 0) : 1;
    if (!keys && d->feature_scale != 0)
        scale = rounded(w, scale * (double)d->feature_scale);
    for (uint64_t i = 0; i < d->q.size[3]; i++)
        x[i] = element(w, t, keys ? w->in->k : w->in->q, b, h, token, i);
    feature(w, map, scale, x, b, h, place);
}

/* S_t from S_(t-1) and z_t from z_(t-1). `b`: of the tensors, `token`: on their axis; `place`: within its sequence. */
static void update(const walk *w, uint64_t b, uint64_t h, uint64_t token, uint64_t place, double *S, double *z)
{
    const rapt_linear_desc *d = w->d;
    const rapt_tensor *decays = d->gate.dtype ? &d->gate : &d->decay;
    const uint64_t n = w->d_k, m = w->d_v;
    const double beta = d->beta.dtype ? element(w, &d->beta, w->in->beta, b, h, token, 0) : 1;
    features_of(w, true, b, h, token, place, w->k);
    /* dplr: what a_t reads of S_(t-1) */
    for (uint64_t e = 0; e < m && d->rule == RAPT_LINEAR_DPLR; e++) {
        w->read[e] = 0;
        for (uint64_t i = 0; i < n; i++)
            w->read[e] = rounded(
                w, w->read[e] + rounded(w, element(w, &d->a, w->in->a, b, h, token, i) * S[i * m + e]));
    }
    /* A_t S_(t-1) */
    for (uint64_t i = 0; i < n && decays->dtype; i++) {
        double alpha = element(w, decays, w->in->decay, b, h, token, i);
        if (d->flags & RAPT_LINEAR_LOG_DECAY)
            alpha = rounded(w, exp(alpha));
        z[i] = rounded(w, z[i] * alpha);
        for (uint64_t e = 0; e < m; e++)
            S[i * m + e] = rounded(w, S[i * m + e] * alpha);
    }
    for (uint64_t e = 0; e < m; e++) {
        double known = 0; /* delta: what the state has for k_t */
        for (uint64_t i = 0; i < n && d->rule == RAPT_LINEAR_DELTA; i++)
            known = rounded(w, known + rounded(w, w->k[i] * S[i * m + e]));
        const double add = rounded(w, beta * rounded(w, element(w, &d->v, w->in->v, b, h, token, e) - known));
        for (uint64_t i = 0; i < n; i++) {
            if (d->rule == RAPT_LINEAR_DPLR)
                S[i * m + e] = rounded(
                    w, S[i * m + e] + rounded(w, element(w, &d->b, w->in->b, b, h, token, i) * w->read[e]));
            S[i * m + e] = rounded(w, S[i * m + e] + rounded(w, w->k[i] * add));
        }
    }
    for (uint64_t i = 0; i < n; i++)
        z[i] = rounded(w, z[i] + w->k[i]);
}

/* o_t. */
static void output(const walk *w, uint64_t b, uint64_t h, uint64_t token, uint64_t place, const double *S, const double *z,
                   double *o)
{
    const rapt_linear_desc *d = w->d;
    const uint64_t n = w->d_k, m = w->d_v;
    const double scale = d->flags & RAPT_LINEAR_SCALE ? (double)d->scale : 1;
    const bool by_keys = d->flags & RAPT_LINEAR_NORMALIZE_KEYS;
    double divisor = 0;
    features_of(w, false, b, h, token, place, w->q);
    for (uint64_t i = 0; i < n; i++)
        divisor = rounded(w, divisor + rounded(w, w->q[i] * z[i]));
    for (uint64_t e = 0; e < m; e++) {
        double sum = 0;
        for (uint64_t i = 0; i < n; i++)
            sum = rounded(w, sum + rounded(w, w->q[i] * (!by_keys     ? S[i * m + e]
                                                         : z[i] != 0 ? rounded(w, S[i * m + e] / z[i])
                                                                     : 0)));
        if (d->flags & RAPT_LINEAR_NORMALIZE)
            o[e] = divisor == 0 ? 0 : sum / divisor; /* the scale cancels */
        else
            o[e] = sum * scale;
        if (w->single)
            o[e] = (double)rapt_check_round(d->out.dtype, (float)o[e]);
    }
}

/* Where states of one head go: after positions, and after the last token. */
typedef struct states {
    double *state, *norm; /* NULL: nowhere */
    uint32_t place;
} states;

/* Keeps S and z for each place up to the number of tokens seen. */
static void keep(const walk *w, states *to, bool last, uint64_t seen, const double *S, const double *z)
{
    const uint64_t n = w->d_k, size = n * w->d_v;
    const uint32_t count = w->d->position_count;
    for (; to->place < count ? last || w->d->positions[to->place] <= seen : last && to->place == count; to->place++) {
        for (uint64_t i = 0; i < size && to->state != NULL; i++)
            to->state[to->place * size + i] = S[i];
        for (uint64_t i = 0; i < n && to->norm != NULL; i++)
            to->norm[to->place * n + i] = z[i];
    }
}

bool rapt_check_linear(const rapt_linear_desc *d, const rapt_check_linear_inputs *in, bool single,
                       double *out, double *state, double *norm)
{
    const uint64_t n = rapt_check_linear_rows(d), m = d->v.size[3], heads = d->out.size[1], tokens = d->q.size[2];
    const uint64_t sequences = d->sequences ? d->sequences : d->q.size[0];
    const bool both = d->flags & RAPT_LINEAR_BIDIRECTIONAL;
    double *memory = calloc(n * m + 4 * n + m + 1, sizeof *memory);
    if (memory == NULL)
        return false;
    double *S = memory, *z = S + n * m;
    const walk w = {d, in, single, heads, n, m, z + n, z + 2 * n, z + 4 * n};
    for (uint64_t s = 0; s < sequences; s++)
        for (uint64_t h = 0; h < heads; h++) {
            for (uint64_t i = 0; i < n; i++) {
                z[i] = in->norm_in ? (double)in->norm_in[(int64_t)s * d->norm_in.stride[0] +
                                                         (int64_t)h * d->norm_in.stride[1] + (int64_t)i]
                                   : 0;
                for (uint64_t e = 0; e < m; e++)
                    S[i * m + e] = in->state_in
                                       ? (double)in->state_in[(int64_t)s * d->state_in.stride[0] +
                                                              (int64_t)h * d->state_in.stride[1] +
                                                              (int64_t)i * d->state_in.stride[2] + (int64_t)e]
                                       : 0;
            }
            uint64_t first = d->sequences ? (uint64_t)in->cu_seqlens[s] : 0;
            uint64_t last = d->sequences ? (uint64_t)in->cu_seqlens[s + 1] : tokens;
            if (d->max_seqlen != 0 && last - first > d->max_seqlen)
                last = first + d->max_seqlen;
            const uint64_t b = d->sequences ? 0 : s;
            const uint64_t at = (s * heads + h) * (d->position_count + 1ull);
            states to = {state != NULL ? state + at * n * m : NULL, norm != NULL ? norm + at * n : NULL, 0};
            for (uint64_t t = first; t < last; t++) {
                keep(&w, &to, false, t - first, S, z);
                update(&w, b, h, t, t - first, S, z);
                if (!both)
                    output(&w, b, h, t, t - first, S, z, out + ((b * heads + h) * tokens + t) * m);
            }
            for (uint64_t t = first; t < last && both; t++)
                output(&w, b, h, t, t - first, S, z, out + ((b * heads + h) * tokens + t) * m);
            keep(&w, &to, true, last - first, S, z);
        }
    free(memory);
    return true;
}
