#include "oracle_combine.h"

#include "half.h"

#include <math.h>

static double r(bool single, double x)
{
    return single ? (double)(float)x : x;
}

/* Where a row of a tensor begins; axes of one entry stand for all. */
static int64_t row_at(const rapt_tensor *t, const uint64_t row[3])
{
    int64_t at = 0;
    for (int axis = 0; axis < 3; axis++)
        at += t->size[axis] > 1 ? (int64_t)row[axis] * t->stride[axis] : 0;
    return at;
}

static double act(rapt_combine_act kind, double y)
{
    switch (kind) {
    case RAPT_COMBINE_ACT_SIGMOID: return 1 / (1 + exp(-y));
    case RAPT_COMBINE_ACT_SILU: return y / (1 + exp(-y));
    case RAPT_COMBINE_ACT_TANH: return tanh(y);
    case RAPT_COMBINE_ACT_RELU: return fmax(y, 0);
    case RAPT_COMBINE_ACT_EXP: return exp(y);
    case RAPT_COMBINE_ACT_LOG: return log(y);
    case RAPT_COMBINE_ACT_SQRT: return sqrt(y);
    case RAPT_COMBINE_ACT_RECIPROCAL: return 1 / y;
    default: return y;
    }
}

/* The weight of a row's head among all heads, where it is one of the largest. */
static double top_weight(const rapt_combine_desc *d, const float *weight, const uint64_t row[3], bool single)
{
    const uint64_t heads = d->out.size[1];
    bool taken[64] = {false}; /* more heads are not checked */
    double w[64], highest = -INFINITY, sum = 0;
    for (uint64_t h = 0; h < heads; h++) {
        w[h] = (double)weight[row_at(&d->weight[0], (const uint64_t[]){row[0], h, row[2]})];
        highest = fmax(highest, w[h]);
    }
    for (uint32_t n = 0; n < d->top; n++) {
        uint64_t best = heads;
        for (uint64_t h = 0; h < heads; h++)
            if (!taken[h] && (best == heads || w[h] > w[best]))
                best = h;
        taken[best] = true;
    }
    for (uint64_t h = 0; h < heads; h++)
        if (taken[h] || !d->top_normalise)
            sum = r(single, sum + r(single, exp(r(single, w[h] - highest))));
    return taken[row[1]] && w[row[1]] > -INFINITY ? r(single, r(single, exp(r(single, w[row[1]] - highest))) / sum) : 0;
}

/* f(w_t) of each term; and the log of the sum of exp(w_t). */
static void weights_of(const rapt_combine_desc *d, const rapt_check_combine_inputs *in, const uint64_t row[3], bool single,
                       double w[RAPT_COMBINE_TERMS], double *lse)
{
    double top = -INFINITY, sum = 0;
    for (int t = 0; t < RAPT_COMBINE_TERMS; t++) {
        const bool there = d->x[t].dtype != RAPT_DTYPE_NONE, weighed = d->weight[t].dtype != RAPT_DTYPE_NONE;
        w[t] = !there ? (d->weights == RAPT_COMBINE_SOFTMAX ? -INFINITY : 0)
               : weighed ? (double)in->weight[t][row_at(&d->weight[t], row)]
                         : 1;
        if (there && weighed && d->weights == RAPT_COMBINE_SIGMOID)
            w[t] = r(single, 1 / r(single, 1 + r(single, exp(-w[t]))));
        top = fmax(top, w[t]);
    }
    if (d->weights == RAPT_COMBINE_TOP)
        w[0] = top_weight(d, in->weight[0], row, single);
    *lse = -INFINITY;
    if (d->weights != RAPT_COMBINE_SOFTMAX)
        return;
    for (int t = 0; t < RAPT_COMBINE_TERMS; t++) {
        w[t] = top > -INFINITY ? r(single, exp(r(single, w[t] - top))) : 0;
        sum = r(single, sum + w[t]);
    }
    for (int t = 0; t < RAPT_COMBINE_TERMS && sum > 0; t++)
        w[t] = r(single, w[t] / sum);
    *lse = sum > 0 ? r(single, top + r(single, log(sum))) : -INFINITY;
}

void rapt_check_combine_row(const rapt_combine_desc *d, const rapt_check_combine_inputs *in, const uint64_t row[3], bool single,
                            double *out, double *lse)
{
    const uint64_t dim = d->out.size[3];
    double w[RAPT_COMBINE_TERMS], unused, squares = 0, factor = (double)d->out_factor;
    weights_of(d, in, row, single, w, lse ? lse : &unused);
    for (uint64_t e = 0; e < dim; e++) {
        out[e] = 0;
        for (int t = 0; t < RAPT_COMBINE_TERMS; t++) {
            const double weight = r(single, w[t] * (double)d->factor[t]);
            if (weight != 0)
                out[e] = r(single, out[e] + r(single, weight * (double)rapt_check_load(in->x[t], d->x[t].dtype,
                                                                                      row_at(&d->x[t], row) + (int64_t)e)));
        }
        squares = r(single, squares + r(single, out[e] * out[e]));
    }
    if (d->norm)
        factor = r(single, factor / r(single, sqrt(r(single, squares / (double)dim + (double)d->norm_epsilon))));
    for (uint64_t e = 0; e < dim; e++) {
        out[e] = r(single, out[e] * factor);
        if (d->norm_weight.dtype != RAPT_DTYPE_NONE)
            out[e] = r(single, out[e] * (double)in->norm_weight[(d->norm_weight.size[0] > 1 ? (int64_t)row[1] * d->norm_weight.stride[0] : 0) +
                                                               (int64_t)e]);
        out[e] = r(single, act(d->act, r(single, out[e] + (double)d->offset)));
        if (d->gate.dtype != RAPT_DTYPE_NONE) {
            const double g = (double)rapt_check_load(in->gate, d->gate.dtype, row_at(&d->gate, row) + (int64_t)e);
            const double times = d->gate_kind == RAPT_GATE_PRODUCT ? g : (d->gate_kind == RAPT_GATE_SILU ? g : 1) / r(single, 1 + r(single, exp(-g)));
            out[e] = r(single, out[e] * r(single, times));
        }
        if (single)
            out[e] = (double)rapt_check_round(d->out.dtype, (float)out[e]);
    }
}
