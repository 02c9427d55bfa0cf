/* Oracles of systems that put attentions together: differences, mixtures, sources with scales. */
#include "oracle_system.h"

/* Heads first, first + step, .. of an array of rank 4; data: an array's, or something of the same shape. */
typedef struct heads {
    const double *data;
    uint64_t shape[4]; /* heads: those of the array */
    uint64_t first, step, count;
} heads;

static heads all_heads(const rapt_check_array *a)
{
    return (heads){a->data, {a->shape[0], a->shape[1], a->shape[2], a->shape[3]}, 0, 1, a->shape[1]};
}

static const double *line(const heads *t, uint64_t b, uint64_t h, uint64_t i)
{
    return t->data + ((b * t->shape[1] + t->first + h * t->step) * t->shape[2] + i) * t->shape[3];
}

/* Which keys position p sees. */
typedef struct view {
    bool causal;
    int64_t window; /* keys back from the query's own, that included; 0: all */
} view;

/* softmax(scale q k^T) v of every row; out and lse contiguous, lse may be NULL. */
static bool attention(oracle *o, const heads *q, const heads *k, const heads *v, view sees, double *out, double *lse)
{
    const uint64_t nq = q->shape[2], nk = k->shape[2], dv = v->shape[3], rows_all = q->shape[0] * q->count * nq;
    const double scale = scale_of(o, q->shape[3]);
    double unused;
    query one;
    const bool good = query_make(&one, nk, dv);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (q->count * nq), h = at / nq % q->count, i = at % nq, g = h * k->count / q->count;
        const int64_t p = (int64_t)(i + nk) - (int64_t)nq;
        for (uint64_t j = 0; j < nk; j++) {
            one.seen[j] = (!sees.causal || (int64_t)j <= p) && (sees.window == 0 || p - (int64_t)j < sees.window);
            one.s[j] = product(o, line(q, b, h, i), line(k, b, g, j), q->shape[3], scale);
            one.v[j] = line(v, b, g, j);
        }
        one.out = out + at * dv;
        one.lse = lse ? lse + at : &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good;
}

static view as_set(oracle *o)
{
    for (uint32_t n = 0; n < o->p->info->parameter_count; n++)
        if (strcmp(o->p->info->parameters[n].name, "causal") == 0)
            return (view){.causal = whole(o, "causal") != 0};
    return (view){.causal = false};
}

static bool given(const oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->input_count; n++)
        if (strcmp(o->p->inputs[n].name, name) == 0)
            return true;
    return false;
}

static double *numbers(uint64_t count)
{
    return calloc((size_t)count + 1, sizeof(double));
}

/* ---- */

/* DIFF Transformer, equations 1 and 3: (softmax(Q1 K1^T) - lambda softmax(Q2 K2^T)) V, RMSNorm per head, times 1 - lambda_init. */
static bool differential(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *lambda = input(o, "lambda");
    const uint64_t count = q->shape[1] / 2, n = q->shape[2], dv = v->shape[3], lines = q->shape[0] * count * n;
    const double init = strtod(text_of(o, "lambda_init"), NULL), eps = strtod(text_of(o, "eps"), NULL);
    const rapt_check_array *norm = given(o, "norm") ? input(o, "norm") : NULL;
    double *second = numbers(lines * dv);
    heads a = all_heads(q), b = all_heads(k), values = all_heads(v);
    a.step = b.step = 2;
    a.count = count;
    b.count = v->shape[1];
    bool good = second && room(o, lines * dv, 0) && attention(o, &a, &b, &values, as_set(o), o->to->out, NULL);
    a.first = b.first = 1;
    good = good && attention(o, &a, &b, &values, as_set(o), second, NULL);
    for (uint64_t at = 0; at < lines && good; at++) {
        double *out = o->to->out + at * dv, squares = 0;
        for (uint64_t e = 0; e < dv; e++) {
            out[e] = r(o, out[e] - r(o, lambda->data[at / n % count] * second[at * dv + e]));
            squares = r(o, squares + r(o, out[e] * out[e]));
        }
        const double factor = r(o, (1 - init) / r(o, sqrt(r(o, squares / (double)dv + eps))));
        for (uint64_t e = 0; e < dv; e++)
            out[e] = stored(o, r(o, r(o, out[e] * factor) * (norm ? norm->data[e] : 1)));
    }
    free(second);
    return good && !o->failed;
}

/* exp(w[h] - max) over the sum of these; of the `top` largest alone where that is asked for; 0 of the others. */
static void top_weights(const oracle *o, const double *w, uint64_t count, int64_t top, bool normalise, double *out)
{
    double highest = -INFINITY, sum = 0;
    for (uint64_t h = 0; h < count; h++)
        highest = fmax(highest, w[h]);
    for (uint64_t h = 0; h < count; h++) {
        int64_t larger = 0;
        for (uint64_t g = 0; g < count; g++)
            larger += w[g] > w[h] || (w[g] == w[h] && g < h);
        out[h] = r(o, exp(r(o, w[h] - highest)));
        sum = r(o, sum + (larger < top || !normalise ? out[h] : 0));
        if (larger >= top)
            out[h] = 0;
    }
    for (uint64_t h = 0; h < count; h++)
        out[h] = r(o, out[h] / sum);
}

/* MoH, equations 5 to 7: g_h = alpha_1 softmax(W_s x)_h of shared heads, alpha_2 softmax(W_r x)_h of the top routed ones, else 0;
 * (alpha_1, alpha_2) = softmax(W_h x). */
static bool moh(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *router = input(o, "router"),
                           *shares = input(o, "shares");
    const uint64_t count = q->shape[1], n = q->shape[2], dv = v->shape[3], shared = (uint64_t)whole(o, "shared");
    const heads a = all_heads(q), b = all_heads(k), values = all_heads(v);
    double *g = numbers(count);
    const bool good = g && room(o, q->shape[0] * count * n * dv, 0) && attention(o, &a, &b, &values, as_set(o), o->to->out, NULL);
    for (uint64_t token = 0; token < q->shape[0] * n && good; token++) {
        const double *w = router->data + token * count;
        double alpha[2];
        top_weights(o, w, shared, (int64_t)shared, false, g);
        top_weights(o, w + shared, count - shared, whole(o, "top"), false, g + shared);
        top_weights(o, shares->data + token * 2, 2, 2, false, alpha);
        for (uint64_t h = 0; h < count; h++)
            for (uint64_t e = 0; e < dv; e++) {
                double *x = o->to->out + ((token / n * count + h) * n + token % n) * dv + e;
                *x = stored(o, r(o, alpha[h >= shared] * stored(o, r(o, g[h] * *x))));
            }
    }
    free(g);
    return good && !o->failed;
}

/* Mixture of Attention Heads, equations 2 to 4: w_e = p_e / sum of the chosen p; p = softmax(W_g x). */
static bool expert_heads(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *router = input(o, "g");
    const uint64_t count = q->shape[1], n = q->shape[2], dv = v->shape[3];
    const heads a = all_heads(q), b = all_heads(k), values = all_heads(v);
    double *g = numbers(count);
    const bool good = g && room(o, q->shape[0] * count * n * dv, 0) && attention(o, &a, &b, &values, as_set(o), o->to->out, NULL);
    for (uint64_t token = 0; token < q->shape[0] * n && good; token++) {
        top_weights(o, router->data + token * count, count, whole(o, "top"), true, g);
        for (uint64_t h = 0; h < count; h++)
            for (uint64_t e = 0; e < dv; e++) {
                double *x = o->to->out + ((token / n * count + h) * n + token % n) * dv + e;
                *x = stored(o, r(o, g[h] * *x));
            }
    }
    free(g);
    return good && !o->failed;
}

/* BAM: sum over experts of softmax(g)_e times their attention. What is mixed so far is stored after each. */
static bool soft_experts(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *g = input(o, "g");
    const uint64_t experts = (uint64_t)whole(o, "experts"), count = q->shape[1] / experts, n = q->shape[2], dv = v->shape[3],
                   elements = q->shape[0] * count * n * dv;
    double *one = numbers(elements);
    bool good = one && room(o, elements, 0);
    for (uint64_t e = 0; e < experts && good; e++) {
        heads a = all_heads(q), b = all_heads(k), values = all_heads(v);
        a.first = e * count;
        a.count = b.count = values.count = count;
        b.first = values.first = b.shape[1] == count ? 0 : e * count;
        good = attention(o, &a, &b, &values, as_set(o), one, NULL);
        for (uint64_t at = 0; at < elements && good; at++) {
            const uint64_t row = at / dv, token = row / (count * n) * n + row % n;
            double before = 0, own = exp(g->data[token * experts + e]);
            for (uint64_t other = 0; other < e; other++)
                before += exp(g->data[token * experts + other]);
            o->to->out[at] = stored(o, r(o, r(o, r(o, own / (own + before)) * one[at]) +
                                                r(o, r(o, before / (own + before)) * o->to->out[at])));
        }
    }
    free(one);
    return good && !o->failed;
}

/* w_1 Attention(q, k, v) + w_2 Attention(q2 or q, k2, v2). */
static bool two_sources(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *k2 = input(o, "k2"), *v2 = input(o, "v2"),
                           *q2 = given(o, "q2") ? input(o, "q2") : q;
    const uint64_t n = q->shape[2], count = q->shape[1], dv = v->shape[3], elements = q->shape[0] * count * n * dv;
    const heads a = all_heads(q), b = all_heads(k), c = all_heads(v), a2 = all_heads(q2), b2 = all_heads(k2), c2 = all_heads(v2);
    const rapt_check_array *by_source = given(o, "weights") ? input(o, "weights") : NULL, *by_token = given(o, "r") ? input(o, "r") : NULL;
    double *second = numbers(elements);
    const bool good = second && room(o, elements, 0) && attention(o, &a, &b, &c, as_set(o), o->to->out, NULL) &&
                      attention(o, &a2, &b2, &c2, (view){.causal = false}, second, NULL);
    for (uint64_t at = 0; at < elements && good; at++) {
        const uint64_t row = at / dv, token = row / (count * n) * n + row % n;
        const double *w = by_source ? by_source->data : by_token ? by_token->data + token * 2 : (const double[]){1, 1};
        o->to->out[at] = stored(o, r(o, r(o, w[0] * o->to->out[at]) + r(o, w[1] * second[at])));
    }
    free(second);
    return good && !o->failed;
}

/* SoftPAG: ((1 - u) A + u I) V. */
static bool towards_identity(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *u = input(o, "u");
    const uint64_t n = q->shape[2], count = q->shape[1], dv = v->shape[3], elements = q->shape[0] * count * n * dv;
    const heads a = all_heads(q), b = all_heads(k), c = all_heads(v);
    const bool good = room(o, elements, 0) && attention(o, &a, &b, &c, as_set(o), o->to->out, NULL);
    for (uint64_t at = 0; at < elements && good; at++) {
        const double share = u->data[at / (n * dv) % count];
        o->to->out[at] = stored(o, r(o, r(o, r(o, 1 - share) * o->to->out[at]) + r(o, share * v->data[at])));
    }
    return good && !o->failed;
}

/* Dual Attention: sum_j a_ij r_ij with r_ij,l = ql_i kl_j, then sum_j a_ij s_j. What stands between is stored. */
static bool relations(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *ql = input(o, "q_rel"), *kl = input(o, "k_rel"), *symbols = input(o, "symbols");
    const uint64_t count = q->shape[1], nq = q->shape[2], nk = k->shape[2], d = q->shape[3], relation = ql->shape[1], width = ql->shape[3],
                   ds = symbols->shape[2], rows_all = q->shape[0] * count * nq;
    const double scale = scale_of(o, d);
    double *sums = numbers(relation * width + ds), unused;
    query one;
    const bool good = query_make(&one, nk, 1) && sums && room(o, rows_all * (relation + ds), 0);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (count * nq), h = at / nq % count, i = at % nq, g = h * k->shape[1] / count;
        double *out = o->to->out + at * (relation + ds);
        for (uint64_t j = 0; j < nk; j++) {
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), d, scale);
            one.seen[j] = !as_set(o).causal || j + nq <= i + nk;
        }
        one.lse = &unused;
        for (uint64_t e = 0; e < relation * width + ds; e++) { /* element by element */
            for (uint64_t j = 0; j < nk; j++)
                one.v[j] = e < relation * width ? row4(kl, b, e / width, j) + e % width
                                                : symbols->data + (b * nk + j) * ds + e - relation * width;
            one.out = &sums[e];
            softmax(o, &one);
        }
        for (uint64_t l = 0; l < relation; l++) {
            double sum = 0;
            for (uint64_t e = 0; e < width; e++)
                sum = r(o, sum + stored(o, r(o, row4(ql, b, l, i)[e] * sums[l * width + e])));
            o->to->score = fmax(o->to->score, fabs(sum));
            out[l] = stored(o, r(o, (double)width * stored(o, r(o, sum / (double)width))));
        }
        for (uint64_t e = 0; e < ds; e++)
            out[relation + e] = sums[relation * width + e];
    }
    query_free(&one);
    free(sums);
    return good && !o->failed;
}

/* HCAM: weights of chunks, softmax of q times the mean key among the top ones, times attention within each. */
static bool chunk_memory(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t nq = q->shape[2], nk = k->shape[2], d = q->shape[3], dv = v->shape[3], chunk = (uint64_t)whole(o, "chunk"),
                   chunks = nk / chunk, rows_all = q->shape[0] * q->shape[1] * nq;
    const double scale = scale_of(o, d);
    double *w = numbers(2 * chunks + d), *g = w + chunks, *mean = g + chunks, *within = numbers(dv), unused;
    query one;
    const bool good = query_make(&one, chunk, dv) && w && within && room(o, rows_all * dv, 0);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const double *x = q->data + at * d, *keys = k->data + at / nq * nk * d, *values = v->data + at / nq * nk * dv;
        double *out = o->to->out + at * dv;
        for (uint64_t c = 0; c < chunks; c++) {
            for (uint64_t e = 0; e < d; e++) {
                mean[e] = 0;
                for (uint64_t j = 0; j < chunk; j++)
                    mean[e] = r(o, mean[e] + keys[(c * chunk + j) * d + e]);
                mean[e] = r(o, mean[e] / (double)chunk);
            }
            w[c] = product(o, x, mean, d, scale);
        }
        top_weights(o, w, chunks, whole(o, "top"), true, g);
        for (uint64_t e = 0; e < dv; e++)
            out[e] = 0;
        for (uint64_t c = 0; c < chunks; c++) {
            for (uint64_t j = 0; j < chunk; j++) {
                one.s[j] = product(o, x, keys + (c * chunk + j) * d, d, scale);
                one.seen[j] = true;
                one.v[j] = values + (c * chunk + j) * dv;
            }
            one.out = within;
            one.lse = &unused;
            softmax(o, &one);
            for (uint64_t e = 0; e < dv; e++)
                out[e] = r(o, out[e] + stored(o, r(o, g[c] * within[e])));
        }
        for (uint64_t e = 0; e < dv; e++)
            out[e] = stored(o, r(o, (double)chunks * stored(o, r(o, out[e] / (double)chunks))));
    }
    query_free(&one);
    free(w);
    free(within);
    return good && !o->failed;
}

/* ---- q, k and v made first ---- */

static heads made(const double *data, uint64_t batch, uint64_t count, uint64_t n, uint64_t d)
{
    return (heads){data, {batch, count, n, d}, 0, 1, count};
}

/* (q + a u_q)(k + a u_k)^T. */
static bool directions(oracle *o)
{
    const rapt_check_array *from[2] = {input(o, "q"), input(o, "k")}, *v = input(o, "v"), *u[2] = {input(o, "u_q"), input(o, "u_k")};
    const double amount = strtod(text_of(o, "a"), NULL);
    const heads values = all_heads(v);
    double *moved[2];
    heads of[2];
    for (int n = 0; n < 2; n++) {
        const uint64_t *s = from[n]->shape;
        moved[n] = numbers(from[n]->count);
        of[n] = made(moved[n], s[0], s[1], s[2], s[3]);
        for (uint64_t at = 0; at < from[n]->count && moved[n] && !o->failed; at++)
            moved[n][at] = stored(o, r(o, from[n]->data[at] + r(o, amount * u[n]->data[at / (s[2] * s[3]) % s[1] * s[3] + at % s[3]])));
    }
    const uint64_t rows_all = of[0].shape[0] * of[0].count * of[0].shape[2];
    const bool good = moved[0] && moved[1] && room(o, rows_all * v->shape[3], rows_all) &&
                      attention(o, &of[0], &of[1], &values, as_set(o), o->to->out, o->to->lse);
    free(moved[0]);
    free(moved[1]);
    return good && !o->failed;
}

/* MHE, section 3: q_h = q + e_h, or q * e_h; k and v alike. */
static bool embedded_heads(oracle *o)
{
    const rapt_check_array *from[3] = {input(o, "q"), input(o, "k"), input(o, "v")}, *e = input(o, "embeddings");
    const uint64_t count = e->shape[1], d = e->shape[2];
    const bool multiply = whole(o, "multiply") != 0;
    double *data[3];
    heads of[3];
    bool good = true;
    for (int t = 0; t < 3; t++) {
        const uint64_t batch = from[t]->shape[0], n = from[t]->shape[2];
        data[t] = numbers(batch * count * n * d);
        of[t] = made(data[t], batch, count, n, d);
        good = good && data[t] && !o->failed;
        for (uint64_t at = 0; at < batch * count * n * d && good; at++) {
            const double x = from[t]->data[(at / (count * n * d) * n + at / d % n) * d + at % d],
                         with = e->data[((uint64_t)t * count + at / (n * d) % count) * d + at % d];
            data[t][at] = stored(o, r(o, multiply ? x * with : x + with));
        }
    }
    good = good && room(o, of[0].shape[0] * count * of[0].shape[2] * d, 0) &&
           attention(o, &of[0], &of[1], &of[2], as_set(o), o->to->out, NULL);
    for (int t = 0; t < 3; t++)
        free(data[t]);
    return good && !o->failed;
}

/* FcaFormer: softmax(Q [K; c_b K_b]^T) [V; c_b V_b]. */
static bool forward_cross(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *own[2] = {input(o, "k"), input(o, "v")},
                           *before[2] = {input(o, "k_before"), input(o, "v_before")}, *scales = input(o, "scales");
    const uint64_t n = own[0]->shape[2], more = before[0]->shape[2], each = more / scales->shape[0], lines = own[0]->shape[0] * own[0]->shape[1];
    const heads queries = all_heads(q);
    double *data[2];
    heads of[2];
    for (int t = 0; t < 2; t++) {
        const uint64_t d = own[t]->shape[3];
        data[t] = numbers(lines * (n + more) * d);
        of[t] = made(data[t], own[t]->shape[0], own[t]->shape[1], n + more, d);
        for (uint64_t at = 0; at < lines * (n + more) * d && data[t] && !o->failed; at++) {
            const uint64_t bh = at / ((n + more) * d), j = at / d % (n + more);
            data[t][at] = j < n ? own[t]->data[(bh * n + j) * d + at % d]
                                : stored(o, r(o, scales->data[(j - n) / each] * before[t]->data[(bh * more + j - n) * d + at % d]));
        }
    }
    const bool good = data[0] && data[1] && room(o, q->shape[0] * q->shape[1] * q->shape[2] * own[1]->shape[3], 0) &&
                      attention(o, &queries, &of[0], &of[1], (view){.causal = false}, o->to->out, NULL);
    free(data[0]);
    free(data[1]);
    return good && !o->failed;
}

/* Slices of x as heads: (batch, heads, n, channels / heads). */
static double *sliced(const rapt_check_array *x, uint64_t count)
{
    const uint64_t n = x->shape[1], channels = x->shape[2], d = channels / count;
    double *out = numbers(x->count);
    for (uint64_t at = 0; at < x->count && out; at++)
        out[((at / (n * channels) * count + at % channels / d) * n + at / channels % n) * d + at % d] = x->data[at];
    return out;
}

/* Optimised: softmax(Q K^T) X; Efficient: softmax(Q X^T) X; Super: softmax(Q K^T) (W_A X), each head with its slice of X. */
static bool slices(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *x = input(o, "x");
    const uint64_t count = q->shape[1], n = x->shape[1], d = x->shape[2] / count;
    double *v = sliced(x, count), *keys = sliced(x, count), *mixed = numbers(x->count);
    bool good = v && keys && mixed && !o->failed && room(o, q->shape[0] * count * q->shape[2] * d, 0);
    if (given(o, "w_a") && good) {
        const rapt_check_array *w = input(o, "w_a");
        for (uint64_t at = 0; at < x->count; at++) {
            const uint64_t bh = at / (n * d), i = at / d % n;
            for (uint64_t j = 0; j < n; j++)
                mixed[at] = r(o, mixed[at] + r(o, w->data[i * n + j] * v[(bh * n + j) * d + at % d]));
        }
        for (uint64_t at = 0; at < x->count; at++)
            v[at] = stored(o, mixed[at]);
    }
    const heads queries = all_heads(q), values = made(v, q->shape[0], count, n, d),
                k = given(o, "k") ? all_heads(input(o, "k")) : made(keys, q->shape[0], count, n, d);
    good = good && attention(o, &queries, &k, &values, as_set(o), o->to->out, NULL);
    free(v);
    free(keys);
    free(mixed);
    return good && !o->failed;
}

/* ConsistEdit: (1 - m) x + m x_source for those of q, k and v whose source is given. */
static bool replaced(oracle *o)
{
    static const char *const names[] = {"q", "k", "v"}, *const sources[] = {"q_source", "k_source", "v_source"};
    const rapt_check_array *mask = input(o, "mask");
    double *data[3];
    heads of[3];
    bool good = true;
    for (int t = 0; t < 3; t++) {
        const rapt_check_array *x = input(o, names[t]), *with = given(o, sources[t]) ? input(o, sources[t]) : NULL;
        const uint64_t *s = x->shape;
        data[t] = numbers(x->count);
        of[t] = made(data[t], s[0], s[1], s[2], s[3]);
        good = good && data[t] && !o->failed;
        for (uint64_t at = 0; at < x->count && good; at++) {
            const double m = mask->data[at / (s[1] * s[2] * s[3]) * s[2] + at / s[3] % s[2]];
            data[t][at] = with ? stored(o, r(o, r(o, r(o, 1 - m) * x->data[at]) + r(o, m * with->data[at]))) : x->data[at];
        }
    }
    good = good && room(o, of[0].shape[0] * of[0].count * of[0].shape[2] * of[2].shape[3], 0) &&
           attention(o, &of[0], &of[1], &of[2], as_set(o), o->to->out, NULL);
    for (int t = 0; t < 3; t++)
        free(data[t]);
    return good && !o->failed;
}

/* out_h times xi_h. */
static bool weighed_heads(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *xi = input(o, "xi");
    const uint64_t each = q->shape[2] * v->shape[3], elements = q->shape[0] * q->shape[1] * each;
    const heads a = all_heads(q), b = all_heads(k), c = all_heads(v);
    const bool good = room(o, elements, 0) && attention(o, &a, &b, &c, as_set(o), o->to->out, NULL);
    for (uint64_t at = 0; at < elements && good; at++)
        o->to->out[at] = stored(o, r(o, xi->data[at / each % q->shape[1]] * o->to->out[at]));
    return good && !o->failed;
}

/* ---- rotary positions and windows ---- */

/* Half-split pairs of q and k turned by position * base^(-2 i / d): RoFormer, equation 34. */
static double *turned(const oracle *o, const rapt_check_array *x, double base, int64_t first)
{
    const uint64_t n = x->shape[2], d = x->shape[3];
    double *out = numbers(x->count);
    for (uint64_t at = 0; at < x->count && out; at++) {
        const uint64_t e = at % d, pair = e % (d / 2);
        const double angle = (double)(first + (int64_t)(at / d % n)) * pow(base, -2.0 * (double)pair / (double)d),
                     a = x->data[at - e + pair], c = x->data[at - e + pair + d / 2];
        const double co = r(o, cos(angle)), si = r(o, sin(angle));
        out[at] = stored(o, e < d / 2 ? r(o, r(o, a * co) - r(o, c * si)) : r(o, r(o, c * co) + r(o, a * si)));
    }
    return out;
}

static bool rotated(oracle *o, double base, view sees, double *out, double *lse)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    double *tq = turned(o, q, base, (int64_t)k->shape[2] - (int64_t)q->shape[2]), *tk = turned(o, k, base, 0);
    const heads a = made(tq, q->shape[0], q->shape[1], q->shape[2], q->shape[3]),
                b = made(tk, k->shape[0], k->shape[1], k->shape[2], k->shape[3]), c = all_heads(v);
    const bool good = tq && tk && attention(o, &a, &b, &c, sees, out, lse);
    free(tq);
    free(tk);
    return good && !o->failed;
}

/* RNoPE-SWA: layers without positions are causal, rotary ones windowed. */
static bool rotary_window(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t rows_all = q->shape[0] * q->shape[1] * q->shape[2];
    const heads a = all_heads(q), b = all_heads(k), c = all_heads(v);
    if (!room(o, rows_all * v->shape[3], rows_all))
        return false;
    return whole(o, "local") ? rotated(o, strtod(text_of(o, "base"), NULL), (view){true, whole(o, "window")}, o->to->out, o->to->lse)
                             : attention(o, &a, &b, &c, (view){.causal = true}, o->to->out, o->to->lse) && !o->failed;
}

/* Attention Buckets: the same with each base. */
static bool rotary_passes(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v");
    const char *at = text_of(o, "bases");
    uint64_t passes = 1, each = q->shape[1] * q->shape[2] * v->shape[3], count = 0;
    for (const char *c = at; *c; c++)
        passes += *c == ',';
    double *one = numbers(q->shape[0] * each);
    bool good = one && room(o, q->shape[0] * passes * each, 0);
    for (; count < passes && good; count++) {
        char *end;
        good = rotated(o, strtod(at, &end), as_set(o), one, NULL);
        for (uint64_t b = 0; b < q->shape[0] && good; b++)
            memcpy(o->to->out + (b * passes + count) * each, one + b * each, each * sizeof *one);
        at = end + (*end == ',');
    }
    free(one);
    return good;
}

/* Longformer, section 3.1: dilated windows, and global tokens that see and are seen; their queries read other projections. */
static bool longformer(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const int64_t window = whole(o, "window"), dilation = whole(o, "dilation"), global = whole(o, "global");
    const bool any = global > 0;
    const rapt_check_array *qg = any ? input(o, "q_global") : q, *kg = any ? input(o, "k_global") : k, *vg = any ? input(o, "v_global") : v;
    const uint64_t count = q->shape[1], n = q->shape[2], dv = v->shape[3], rows_all = q->shape[0] * count * n;
    const double scale = scale_of(o, q->shape[3]);
    double unused;
    query one;
    const bool good = query_make(&one, n, dv) && room(o, rows_all * dv, 0);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (count * n), h = at / n % count, g = h * k->shape[1] / count;
        const int64_t i = (int64_t)(at % n);
        for (int64_t j = 0; j < (int64_t)n; j++) {
            const bool is_global = i < global;
            one.seen[j] = is_global || j < global || (llabs(i - j) % dilation == 0 && llabs(i - j) / dilation <= window / 2);
            one.s[j] = product(o, row4(is_global ? qg : q, b, h, (uint64_t)i), row4(is_global ? kg : k, b, g, (uint64_t)j), q->shape[3], scale);
            one.v[j] = row4(is_global ? vg : v, b, g, (uint64_t)j);
        }
        one.out = o->to->out + at * dv;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* MoA, section 3: the first block, and a span of alpha + beta N, in whole blocks. */
static bool in_span(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    const int64_t block = whole(o, "block"), n = (int64_t)input(o, "k")->shape[2];
    const char *alpha = text_of(o, "alpha"), *beta = text_of(o, "beta");
    char *end;
    (void)kv;
    for (uint64_t h = 0; h < o->head; h++) {
        alpha = strchr(alpha, ',') + 1;
        beta = strchr(beta, ',') + 1;
    }
    const double span = fmin((double)n, strtod(alpha, &end) + strtod(beta, &end) * (double)n);
    return j <= p && (j / block < whole(o, "first") || p / block - j / block < (int64_t)ceil(span / (double)block));
}
static bool spans(oracle *o)
{
    return rows(o, in_span, softmax, 0);
}

static const oracle_entry entries[] = {
    {"Differential attention (DIFF Transformer)", differential},
    {"MoH (Mixture-of-Head attention)", moh},
    {"MoA (Mixture of Attention Heads)", expert_heads},
    {"BAM (soft mixture of attention experts)", soft_experts},
    {"IMAGDressing-v1", two_sources},
    {"FireEdit (hybrid visual cross-attention)", two_sources},
    {"MoA (personalised generation)", two_sources},
    {"HeadHunter / SoftPAG", towards_identity},
    {"Focus directions", directions},
    {"MHE attention", embedded_heads},
    {"FcaFormer (forward cross attention)", forward_cross},
    {"Optimised / Efficient / Super Attention", slices},
    {"Dual Attention / relational attention", relations},
    {"HCAM", chunk_memory},
    {"ConsistEdit", replaced},
    {"Head pruning study", weighed_heads},
    {"RNoPE-SWA", rotary_window},
    {"Attention Buckets", rotary_passes},
    {"Longformer", longformer},
    {"MoA (automatic mixture of sparse attention)", spans},
};
const oracle_family rapt_oracles_mixture = {entries, sizeof entries / sizeof *entries};
