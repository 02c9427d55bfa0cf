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

static void feature(const walk *w, double *x)
{
    const uint64_t n = w->d_k;
    double top = x[0], sum = 0;
    for (uint64_t i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (uint64_t i = 0; i < n; i++) {
        switch (w->d->feature) {
        case RAPT_PHI_ELU1:
            x[i] = rounded(w, x[i] > 0 ? x[i] + 1 : exp(x[i]));
            break;
        case RAPT_PHI_RELU:
            x[i] = x[i] < 0 ? 0 : x[i];
            break;
        case RAPT_PHI_RELU2:
            x[i] = x[i] < 0 ? 0 : rounded(w, x[i] * x[i]);
            break;
        case RAPT_PHI_EXP:
            x[i] = rounded(w, exp(x[i]));
            break;
        case RAPT_PHI_SOFTMAX:
            x[i] = rounded(w, exp(rounded(w, x[i] - top)));
            sum = rounded(w, sum + x[i]);
            break;
        default:
            break;
        }
    }
    for (uint64_t i = 0; i < n && w->d->feature == RAPT_PHI_SOFTMAX; i++)
        x[i] = rounded(w, x[i] / sum);
}

/* S_t from S_(t-1), z_t from z_(t-1), and o_t. `b`: of the tensors, `token`: on their axis. */
static void step(const walk *w, uint64_t b, uint64_t h, uint64_t token, double *S, double *z, double *o)
{
    const rapt_linear_desc *d = w->d;
    const rapt_tensor *decays = d->gate.dtype ? &d->gate : &d->decay;
    const uint64_t n = w->d_k, m = w->d_v;
    const double beta = d->beta.dtype ? element(w, &d->beta, w->in->beta, b, h, token, 0) : 1;
    const double scale = d->flags & RAPT_LINEAR_SCALE ? (double)d->scale : 1;
    for (uint64_t i = 0; i < n; i++) {
        w->q[i] = element(w, &d->q, w->in->q, b, h, token, i);
        w->k[i] = element(w, &d->k, w->in->k, b, h, token, i);
    }
    feature(w, w->q);
    feature(w, w->k);
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
    double divisor = 0;
    for (uint64_t i = 0; i < n; i++) {
        z[i] = rounded(w, z[i] + w->k[i]);
        divisor = rounded(w, divisor + rounded(w, w->q[i] * z[i]));
    }
    for (uint64_t e = 0; e < m; e++) {
        double sum = 0;
        for (uint64_t i = 0; i < n; i++)
            sum = rounded(w, sum + rounded(w, w->q[i] * S[i * m + e]));
        if (d->flags & RAPT_LINEAR_NORMALIZE)
            o[e] = divisor == 0 ? 0 : sum / divisor; /* the scale cancels */
        else
            o[e] = sum * scale;
        if (w->single)
            o[e] = (double)rapt_check_round(d->out.dtype, (float)o[e]);
    }
}

bool rapt_check_linear(const rapt_linear_desc *d, const rapt_check_linear_inputs *in, bool single,
                       double *out, double *state, double *norm)
{
    const uint64_t n = d->q.size[3], m = d->v.size[3], heads = d->out.size[1], tokens = d->q.size[2];
    const uint64_t sequences = d->sequences ? d->sequences : d->q.size[0];
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
            for (uint64_t t = first; t < last; t++)
                step(&w, b, h, t, S, z, out + ((b * heads + h) * tokens + t) * m);
            for (uint64_t i = 0; i < n * m && state != NULL; i++)
                state[(s * heads + h) * n * m + i] = S[i];
            for (uint64_t i = 0; i < n && norm != NULL; i++)
                norm[(s * heads + h) * n + i] = z[i];
        }
    free(memory);
    return true;
}
