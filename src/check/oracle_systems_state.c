/* Oracles of systems with a state per head: the recurrences token by token, and what feature maps stand for as weights of pairs of
 * tokens, without features. */
#include "oracle_system.h"

/* ---- recurrences ---- */

/* What a system has beside q, k and v; NULL: it has not. */
typedef struct recurrence {
    const char *decay; /* an input (heads), (batch, heads, n) or (batch, heads, n, d): of channel c at token t */
    bool delta;        /* what the state has for k_t is taken off first, all by an input beta */
    bool unit;         /* q and k are divided by their length */
    bool steps;        /* decay e^(dt_t a), and dt_t times what is written: inputs dt (batch, heads, n) and a (heads) */
} recurrence;

/* Head h of `heads` reads head floor(h * its heads / heads) of what has fewer. */
static const double *row_of(const rapt_check_array *t, uint64_t b, uint64_t h, uint64_t heads, uint64_t token)
{
    return row4(t, b, h * t->shape[1] / heads, token);
}

static double decay_of(const rapt_check_array *d, uint64_t line, uint64_t heads, uint64_t token, uint64_t c)
{
    return d->data[d->rank == 1 ? line % heads : d->rank == 3 ? token : token * d->shape[3] + c];
}

/* x, or x over its length, into `to`. */
static const double *maybe_unit(const oracle *o, bool unit, const double *x, uint64_t d, double *to)
{
    double squares = 0;
    if (!unit)
        return x;
    for (uint64_t c = 0; c < d; c++)
        squares = r(o, squares + r(o, x[c] * x[c]));
    for (uint64_t c = 0; c < d; c++)
        to[c] = squares == 0 ? 0 : r(o, x[c] / r(o, sqrt(squares)));
    return to;
}

/* S_t = (I - beta_t k_t k_t^T) A_t S_{t-1} + beta_t k_t v_t^T, out_t = S_t^T q_t; without delta S_t = A_t S_{t-1} + k_t v_t^T. */
static bool recur(oracle *o, recurrence what)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"),
                           *d = what.decay ? input(o, what.decay) : NULL, *beta = what.delta ? input(o, "beta") : NULL,
                           *dt = what.steps ? input(o, "dt") : NULL, *a = what.steps ? input(o, "a") : NULL;
    const uint64_t heads = (uint64_t)fmax((double)q->shape[1], fmax((double)k->shape[1], (double)v->shape[1])), n = q->shape[2],
                   dk = q->shape[3], dv = v->shape[3], lines = q->shape[0] * heads;
    double *state = calloc((size_t)(dk * dv + dv + 2 * dk) + 1, sizeof *state), *old = state + dk * dv, *units = old + dv;
    const bool good = state && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t line = at / n, t = at % n, b = line / heads, h = line % heads;
        const double *kt = maybe_unit(o, what.unit, row_of(k, b, h, heads, t), dk, units),
                     *qt = maybe_unit(o, what.unit, row_of(q, b, h, heads, t), dk, units + dk), *vt = row_of(v, b, h, heads, t);
        const double step = dt ? r(o, exp(r(o, dt->data[at] * a->data[h]))) : 1;
        for (uint64_t e = 0; e < dk * dv && t == 0; e++)
            state[e] = 0;
        for (uint64_t c = 0; c < dk && (d || dt); c++)
            for (uint64_t e = 0; e < dv; e++)
                state[c * dv + e] = r(o, state[c * dv + e] * (d ? decay_of(d, line, heads, at, c) : step));
        for (uint64_t e = 0; e < dv; e++) {
            old[e] = 0;
            for (uint64_t c = 0; c < dk && what.delta; c++)
                old[e] = r(o, old[e] + r(o, kt[c] * state[c * dv + e]));
        }
        const double rate = what.delta ? beta->data[at] : dt ? dt->data[at] : 1;
        for (uint64_t e = 0; e < dv; e++) {
            double sum = 0;
            for (uint64_t c = 0; c < dk; c++) {
                state[c * dv + e] = r(o, state[c * dv + e] + r(o, rate * r(o, kt[c] * r(o, vt[e] - old[e]))));
                sum = r(o, sum + r(o, qt[c] * state[c * dv + e]));
                o->to->score = fmax(o->to->score, fabs(qt[c] * state[c * dv + e]) * (double)dk);
            }
            o->to->out[at * dv + e] = stored(o, sum);
        }
    }
    free(state);
    return good && !o->failed;
}

/* Lightning Attention-2, equation 4 by its recurrence; RetNet, equation 6; GLA, equation 3; DeltaNet, section 2.2; Gated DeltaNet,
 * equation 10 (arXiv:2412.06464). */
static bool lambda_decay(oracle *o)
{
    return recur(o, (recurrence){.decay = "lambda"});
}
static bool gla(oracle *o)
{
    return recur(o, (recurrence){.decay = "alpha"});
}
static bool delta_net(oracle *o)
{
    return recur(o, (recurrence){.delta = true});
}
static bool gated_delta_net(oracle *o)
{
    return recur(o, (recurrence){.decay = "alpha", .delta = true});
}
static bool outer_products(oracle *o)
{
    return recur(o, (recurrence){0});
}

/* Mamba-2, equation 1 with the discretisation of section 7 (arXiv:2405.21060), and its skip connection. */
static bool ssd(oracle *o)
{
    if (!recur(o, (recurrence){.steps = true}))
        return false;
    const rapt_check_array *v = input(o, "v"), *skip = has(o, "skip") ? input(o, "skip") : NULL;
    for (uint64_t at = 0; at < v->count && skip; at++)
        o->to->out[at] = stored(o, r(o, o->to->out[at] + r(o, skip->data[at / v->shape[3] / v->shape[2] % v->shape[1]] * v->data[at])));
    return !o->failed;
}

/* RWKV-7, equation 14 (arXiv:2503.14456), transposed: S_t = (diag(w_t) - (a_t * kappa_t) kappa_t^T) S_{t-1} + k_t v_t^T. */
static bool rwkv7(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *w = input(o, "w"), *kappa = input(o, "kappa"),
                           *a = input(o, "a");
    const uint64_t n = q->shape[2], dk = q->shape[3], dv = v->shape[3], lines = q->shape[0] * q->shape[1];
    double *state = calloc((size_t)(dk * dv) + 1, sizeof *state);
    const bool good = state && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++)
        for (uint64_t e = 0; e < dv; e++) {
            double known = 0, sum = 0;
            for (uint64_t c = 0; c < dk; c++) {
                state[c * dv + e] = at % n == 0 ? 0 : state[c * dv + e];
                known = r(o, known + r(o, kappa->data[at * dk + c] * state[c * dv + e]));
            }
            for (uint64_t c = 0; c < dk; c++) {
                const uint64_t x = at * dk + c;
                const double off = r(o, stored(o, r(o, a->data[x] * kappa->data[x])) * known);
                state[c * dv + e] = r(o, r(o, r(o, w->data[x] * state[c * dv + e]) - off) + r(o, k->data[x] * v->data[at * dv + e]));
                sum = r(o, sum + r(o, q->data[x] * state[c * dv + e]));
                o->to->score = fmax(o->to->score, fabs(q->data[x] * state[c * dv + e]) * (double)dk);
            }
            o->to->out[at * dv + e] = stored(o, sum);
        }
    free(state);
    return good && !o->failed;
}

/* x of `d` channels over the root of its mean square, times `weight` where there is one, times `gate`; one over that root. */
static double norm_and_gate(const oracle *o, double *x, uint64_t d, const double *weight, const double *gate, bool sigmoid, double epsilon)
{
    double squares = 0;
    for (uint64_t c = 0; c < d; c++)
        squares = r(o, squares + r(o, x[c] * x[c]));
    const double root = r(o, sqrt(r(o, r(o, squares / (double)d) + epsilon)));
    for (uint64_t c = 0; c < d; c++) {
        const double y = r(o, r(o, x[c] / root) * (weight ? weight[c] : 1));
        x[c] = stored(o, r(o, y * (sigmoid ? r(o, 1 / r(o, 1 + exp(-gate[c]))) : gate[c])));
    }
    return 1 / root;
}

/* A norm of little brings its errors up with it: rise is the largest of what norm_and_gate() returned. */
static void raise_score(const oracle *o, double rise)
{
    o->to->score *= fmax(1, rise);
}

/* TransNormerLLM, section 3.2: Lightning Attention, SRMSNorm over all heads of a token, a gate. */
static bool transnormer(oracle *o)
{
    const rapt_check_array *v = input(o, "v"), *gate = input(o, "gate");
    const uint64_t heads = v->shape[1], n = v->shape[2], d = v->shape[3], channels = heads * d;
    double *all = malloc((size_t)(v->count + 1) * sizeof *all);
    const bool good = all && recur(o, (recurrence){.decay = "lambda"});
    double rise = 0;
    for (uint64_t at = 0; at < v->shape[0] * n && good; at++) {
        for (uint64_t c = 0; c < channels; c++)
            all[at * channels + c] = o->to->out[((at / n * heads + c / d) * n + at % n) * d + c % d];
        rise = fmax(rise, norm_and_gate(o, all + at * channels, channels, NULL, gate->data + at * channels, false, strtod(text_of(o, "eps"), NULL)));
    }
    raise_score(o, rise);
    if (good)
        memcpy(o->to->out, all, (size_t)v->count * sizeof *all);
    free(all);
    return good && !o->failed;
}

/* Kimi Linear, equation 1 (arXiv:2510.26692), q and k of unit length, a norm and sigmoid(gate) behind; or latent-KV attention. */
static bool kimi(oracle *o)
{
    if (whole(o, "mla") > 0) {
        const rapt_check_array *q = input(o, "q"), *k = input(o, "k");
        const uint64_t n = q->shape[2], d_v = (uint64_t)whole(o, "mla"), all = q->shape[0] * q->shape[1] * n;
        query one;
        const bool good = query_make(&one, k->shape[2], d_v) && room(o, all * d_v, all);
        for (uint64_t at = 0; at < all && good; at++) {
            const uint64_t b = at / n / q->shape[1], i = at % n + k->shape[2] - n;
            for (uint64_t j = 0; j < k->shape[2]; j++) {
                one.seen[j] = j <= i;
                one.v[j] = row4(k, b, 0, j);
                one.s[j] = product(o, row4(q, b, at / n % q->shape[1], at % n), one.v[j], q->shape[3], scale_of(o, q->shape[3]));
            }
            one.out = o->to->out + at * d_v;
            one.lse = o->to->lse + at;
            softmax(o, &one);
        }
        query_free(&one);
        return good && !o->failed;
    }
    if (!recur(o, (recurrence){.decay = "alpha", .delta = true, .unit = true}))
        return false;
    const rapt_check_array *gate = input(o, "gate"), *norm = has(o, "norm") ? input(o, "norm") : NULL;
    double rise = 0;
    for (uint64_t at = 0; at < gate->count; at += gate->shape[3])
        rise = fmax(rise, norm_and_gate(o, o->to->out + at, gate->shape[3], norm ? norm->data : NULL, gate->data + at, true,
                                        strtod(text_of(o, "eps"), NULL)));
    raise_score(o, rise);
    return !o->failed;
}

/* Ring-linear 2.0 (arXiv:2510.19338): Lightning Attention, a norm for each head, sigmoid(gate); or causal attention. */
static bool ring_linear(oracle *o)
{
    if (whole(o, "softmax") != 0)
        return rows(o, always_causal, softmax, 0);
    if (!recur(o, (recurrence){.decay = "lambda"}))
        return false;
    const rapt_check_array *gate = input(o, "gate"), *norm = has(o, "norm") ? input(o, "norm") : NULL;
    double rise = 0;
    for (uint64_t at = 0; at < gate->count; at += gate->shape[3])
        rise = fmax(rise, norm_and_gate(o, o->to->out + at, gate->shape[3], norm ? norm->data : NULL, gate->data + at, true,
                                        strtod(text_of(o, "eps"), NULL)));
    raise_score(o, rise);
    return !o->failed;
}

/* ---- weights of pairs ---- */

/* The weight of a key row for a query row, both of d features, of head h. *size: what its partial sums may come to. */
typedef double (*weigh_fn)(oracle *o, const double *q, const double *k, uint64_t d, uint64_t h, double *size);

/* out_i = sum_j w_ij v_j / sum_j w_ij over all tokens, or those up to i. */
static bool weighed(oracle *o, weigh_fn weigh, bool causal)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], n = q->shape[2], dv = v->shape[3], lines = q->shape[0] * heads;
    const bool good = room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t b = at / n / heads, h = at / n % heads, i = at % n;
        double *out = o->to->out + at * dv, sum = 0, size = 0;
        for (uint64_t e = 0; e < dv; e++)
            out[e] = 0;
        for (uint64_t j = 0; j < (causal ? i + 1 : n); j++) {
            double largest = 0;
            const double w = weigh(o, row4(q, b, h, i), row_of(k, b, h, heads, j), q->shape[3], h, &largest);
            sum = r(o, sum + w);
            size += largest;
            for (uint64_t e = 0; e < dv; e++)
                out[e] = r(o, out[e] + r(o, w * row_of(v, b, h, heads, j)[e]));
        }
        for (uint64_t e = 0; e < dv; e++)
            out[e] = sum != 0 ? stored(o, r(o, out[e] / sum)) : 0;
        o->to->score = fmax(o->to->score, 4 * size / fabs(sum)); /* how much of them cancels */
    }
    return good && !o->failed;
}

static double dot(const oracle *o, const double *a, const double *b, uint64_t d)
{
    double sum = 0;
    for (uint64_t c = 0; c < d; c++)
        sum = r(o, sum + r(o, a[c] * b[c]));
    return sum;
}

/* BASED, section 3: the second-order Taylor series of exp(q k / sqrt(d)). */
static double weigh_based(oracle *o, const double *q, const double *k, uint64_t d, uint64_t h, double *size)
{
    (void)h;
    const double s = r(o, dot(o, q, k, d) / sqrt((double)d)), most = sqrt(dot(o, q, q, d) * dot(o, k, k, d) / (double)d);
    *size = 1 + most + most * most / 2;
    return r(o, 1 + r(o, s + r(o, s * s / 2)));
}

static bool recent(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    return j <= p && j > p - whole(o, "window");
}
static bool based(oracle *o)
{
    return whole(o, "window") > 0 ? rows(o, recent, softmax, 0) : weighed(o, weigh_based, true);
}

/* Fastmax, section 2.2 (arXiv:2402.07901): f(s) = sum_{l <= p} s^l / l! of q and k less their mean, over their deviation. */
static double weigh_fastmax(oracle *o, const double *q, const double *k, uint64_t d, uint64_t h, double *size)
{
    const double *x[2] = {q, k};
    double mean[2] = {0, 0}, deviation[2] = {0, 0}, s = 0;
    (void)h;
    for (unsigned n = 0; n < 2; n++) {
        for (uint64_t c = 0; c < d; c++)
            mean[n] = r(o, mean[n] + x[n][c]);
        mean[n] = r(o, mean[n] / (double)d);
        for (uint64_t c = 0; c < d; c++)
            deviation[n] = r(o, deviation[n] + r(o, (x[n][c] - mean[n]) * (x[n][c] - mean[n])));
        deviation[n] = r(o, sqrt(r(o, deviation[n] / (double)d)));
    }
    for (uint64_t c = 0; c < d; c++)
        s = r(o, s + r(o, r(o, (q[c] - mean[0]) / deviation[0]) * r(o, (k[c] - mean[1]) / deviation[1])));
    const bool second = whole(o, "p") > 1;
    *size = 1 + (double)d + (second ? (double)(d * d) / 2 : 0); /* both have the length sqrt(d) */
    return r(o, 1 + r(o, s + (second ? r(o, s * s / 2) : 0)));
}
static bool fastmax(oracle *o)
{
    return weighed(o, weigh_fastmax, whole(o, "causal") != 0);
}

/* LLN, section 4 (arXiv:2311.13541): sum over features of e^(alpha q) e^(beta k). */
static double weigh_lognormal(oracle *o, const double *q, const double *k, uint64_t d, uint64_t h, double *size)
{
    const double alpha = input(o, "alpha")->data[h], beta = input(o, "beta")->data[h];
    double sum = 0;
    for (uint64_t c = 0; c < d; c++)
        sum = r(o, sum + r(o, r(o, exp(r(o, alpha * q[c]))) * r(o, exp(r(o, beta * k[c])))));
    return *size = sum;
}
static bool lognormal(oracle *o)
{
    return weighed(o, weigh_lognormal, whole(o, "causal") != 0);
}

/* Linear Transformer, equation 7 (arXiv:2006.16236): phi(x) = elu(x) + 1. */
static double weigh_elu(oracle *o, const double *q, const double *k, uint64_t d, uint64_t h, double *size)
{
    double sum = 0;
    (void)h;
    for (uint64_t c = 0; c < d; c++)
        sum = r(o, sum + r(o, r(o, q[c] > 0 ? q[c] + 1 : exp(q[c])) * r(o, k[c] > 0 ? k[c] + 1 : exp(k[c]))));
    return *size = sum;
}
static bool linear_transformer(oracle *o)
{
    return weighed(o, weigh_elu, whole(o, "causal") != 0);
}

/* Efficient Attention, section 3.2 (arXiv:1812.01243): rho_q(Q) (rho_k(K)^T V), rho_q a softmax along the features of a query, rho_k
 * along the tokens of a feature. The weights of a row sum to 1 as they are. */
static double share(const oracle *o, const double *x, uint64_t stride, uint64_t n, uint64_t at)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum = r(o, sum + r(o, exp(x[i * stride])));
    return r(o, r(o, exp(x[at * stride])) / sum);
}
static bool efficient(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], n = q->shape[2], d = q->shape[3], dv = v->shape[3], lines = q->shape[0] * heads;
    const bool good = room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t b = at / n / heads, h = at / n % heads, i = at % n;
        double *out = o->to->out + at * dv;
        for (uint64_t e = 0; e < dv; e++) {
            double sum = 0;
            for (uint64_t j = 0; j < n; j++) {
                double w = 0;
                for (uint64_t c = 0; c < d; c++)
                    w = r(o, w + r(o, share(o, row4(q, b, h, i), 1, d, c) * share(o, row4(k, b, h, 0) + c, d, n, j)));
                sum = r(o, sum + r(o, w * row4(v, b, h, j)[e]));
            }
            out[e] = stored(o, sum);
        }
    }
    return good && !o->failed;
}

/* ---- layers of two kinds ---- */

static bool decayed_hybrid(oracle *o)
{
    if (whole(o, "softmax") != 0)
        return rows(o, always_causal, softmax, 0);
    return recur(o, (recurrence){.decay = has(o, "lambda") ? "lambda" : "a"});
}
static bool mamba_llama(oracle *o)
{
    return whole(o, "softmax") != 0 ? rows(o, always_causal, softmax, 0) : ssd(o);
}

static const oracle_entry entries[] = {
    {"Lightning Attention-2", lambda_decay},
    {"RetNet", lambda_decay},
    {"GLA (Gated Linear Attention)", gla},
    {"DeltaNet (parallel)", delta_net},
    {"Gated DeltaNet", gated_delta_net},
    {"Attention as Pavlovian conditioning", outer_products},
    {"Lightning Attention (TransNormerLLM)", transnormer},
    {"Kimi Linear (KDA + MLA)", kimi},
    {"Ring-linear 2.0", ring_linear},
    {"RWKV-7 (Goose)", rwkv7},
    {"Mamba-2 (SSD)", ssd},
    {"Mamba in the Llama", mamba_llama},
    {"Linear Transformer", linear_transformer},
    {"BASED", based},
    {"FAST / Fastmax", fastmax},
    {"Linear Log-Normal Attention", lognormal},
    {"Efficient Attention", efficient},
    {"MiniMax-M1 / Text-01 hybrid", decayed_hybrid},
    {"HybriDNA", decayed_hybrid},
    {"MaTVLM", decayed_hybrid},
    {"Nemotron-H group-aware SSM pruning", decayed_hybrid},
};
const oracle_family rapt_oracles_state = {entries, sizeof entries / sizeof *entries};
