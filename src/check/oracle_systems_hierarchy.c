/* Oracles of systems whose keys or states come in two kinds or several levels, and of flows: written pair by pair, without features,
 * scans or recurrences where the paper has a sum. */
#include "oracle_system.h"

static double dot(const oracle *o, const double *a, const double *b, uint64_t d)
{
    double sum = 0;
    for (uint64_t e = 0; e < d; e++)
        sum = r(o, sum + r(o, a[e] * b[e]));
    return sum;
}

static double sigmoid(const oracle *o, double x)
{
    return r(o, 1 / r(o, 1 + r(o, exp(-x))));
}

/* ---- Flowformer, equations 4 to 9 (arXiv:2202.06258); the causal form after its appendix and the authors' code ---- */

/* to_i = a_i . sum over j of c_j w_j, over all j or those up to i; w NULL: 1. */
static void flow(const oracle *o, const double *a, const double *c, const double *w, uint64_t n, uint64_t d, bool causal, double *to)
{
    for (uint64_t i = 0; i < n; i++) {
        to[i] = 0;
        for (uint64_t j = 0; j < (causal ? i + 1 : n); j++)
            to[i] = r(o, to[i] + r(o, dot(o, a + i * d, c + j * d, d) * (w ? w[j] : 1)));
    }
}

static bool flowformer(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t n = q->shape[2], d = q->shape[3], dv = v->shape[3], lines = q->shape[0] * q->shape[1];
    const bool causal = whole(o, "causal") != 0;
    double *room_for = malloc((size_t)(n * (2 * d + 8) + 1) * sizeof *room_for), *a = room_for, *c = a + n * d, *in = c + n * d, *out = in + n,
           *by_in = out + n, *by_out = by_in + n, *sink = by_out + n, *source = sink + n;
    const bool good = room_for && room(o, lines * n * dv, 0);
    for (uint64_t line = 0; line < lines && good; line++) {
        for (uint64_t e = 0; e < n * d; e++) {
            a[e] = sigmoid(o, q->data[line * n * d + e]);
            c[e] = sigmoid(o, k->data[line * n * d + e]);
        }
        flow(o, a, c, NULL, n, d, causal, in);
        flow(o, c, a, NULL, n, d, causal, out);
        for (uint64_t i = 0; i < n; i++) {
            by_in[i] = r(o, (causal ? (double)(i + 1) : 1) / in[i]);
            by_out[i] = r(o, (causal ? (double)(i + 1) : 1) / out[i]);
        }
        flow(o, a, c, by_out, n, d, causal, sink);
        flow(o, c, a, by_in, n, d, causal, source);
        double total = 0, so_far = 0;
        for (uint64_t i = 0; i < n; i++)
            total = r(o, total + r(o, exp(source[i])));
        for (uint64_t i = 0; i < n; i++) {
            const double places = causal ? (double)(i + 1) : 1, weight = r(o, exp(r(o, source[i] / places)));
            so_far = r(o, so_far + weight);
            by_out[i] = causal ? r(o, r(o, weight / so_far) * places) : r(o, r(o, weight / total) * (double)n); /* competition */
            double *to = o->to->out + (line * n + i) * dv;
            for (uint64_t e = 0; e < dv; e++)
                to[e] = 0;
            o->to->score = fmax(o->to->score, source[i]);
        }
        for (uint64_t i = 0; i < n; i++) {
            double *to = o->to->out + (line * n + i) * dv;
            for (uint64_t j = 0; j < (causal ? i + 1 : n); j++) {
                const double w = r(o, r(o, dot(o, a + i * d, c + j * d, d) / in[i]) * by_out[j]);
                for (uint64_t e = 0; e < dv; e++)
                    to[e] = r(o, to[e] + r(o, w * v->data[(line * n + j) * dv + e]));
            }
            const double share = sigmoid(o, causal ? r(o, sink[i] / (double)(i + 1)) : sink[i]);
            for (uint64_t e = 0; e < dv; e++)
                to[e] = stored(o, r(o, share * to[e]));
        }
    }
    free(room_for);
    return good && !o->failed;
}

/* ---- Native Hybrid Attention, section 3 (arXiv:2510.07019) ---- */

/* K_t = diag(alpha_t) K_(t-1) + (1 - alpha_t) k_t^T, V alike, m slots; softmax(q_t [K_t; k of the window]) [V_t; v of the window]. */
static bool slots(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *alpha = input(o, "alpha"),
                           *qs = has(o, "q_slots") ? input(o, "q_slots") : q, *ks = has(o, "k_slots") ? input(o, "k_slots") : k;
    const uint64_t n = q->shape[2], d = q->shape[3], dv = v->shape[3], m = alpha->shape[3], lines = q->shape[0] * q->shape[1];
    const int64_t window = whole(o, "window");
    const double scale = scale_of(o, d);
    double *keys = malloc((size_t)(m * (d + dv) + 1) * sizeof *keys), *values = keys + m * d, unused;
    query one;
    const bool good = query_make(&one, m + n, dv) && keys && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t t = at % n, line = at / n;
        for (uint64_t s = 0; s < m; s++) {
            const double keep = alpha->data[at * m + s], take = r(o, 1 - keep);
            for (uint64_t e = 0; e < d; e++)
                keys[s * d + e] = r(o, r(o, keep * (t == 0 ? 0 : keys[s * d + e])) + r(o, take * ks->data[at * d + e]));
            for (uint64_t e = 0; e < dv; e++)
                values[s * dv + e] = r(o, r(o, keep * (t == 0 ? 0 : values[s * dv + e])) + r(o, take * v->data[at * dv + e]));
            one.seen[s] = true;
            one.s[s] = product(o, qs->data + at * d, keys + s * d, d, scale);
            one.v[s] = values + s * dv;
        }
        for (uint64_t j = 0; j < n; j++) {
            one.seen[m + j] = j <= t && (int64_t)j > (int64_t)t - window;
            one.s[m + j] = product(o, q->data + at * d, k->data + (line * n + j) * d, d, scale);
            one.v[m + j] = v->data + (line * n + j) * dv;
        }
        one.out = o->to->out + at * dv;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    free(keys);
    return good && !o->failed;
}

/* ---- Log-Linear Attention, section 3 (arXiv:2506.04761) ---- */

/* Which of the segments before token t token s is in, by the greedy partition of its appendix: from the end of the past the longest
 * power of two that its place allows. 0: t itself; l: of 2^(l - 1) tokens. */
static unsigned level_of(uint64_t t, uint64_t s)
{
    uint64_t end = t;
    if (s == t)
        return 0;
    for (;;) {
        const uint64_t length = end & (~end + 1); /* the lowest bit */
        unsigned level = 1;
        while (1ull << (level - 1) < length)
            level++;
        if (s >= end - length)
            return level;
        end -= length;
    }
}

/* o_t = sum over s <= t of lambda_t,level(t, s) (q_t^T C_t .. C_(s+1) k_s) beta_s v_s, C_t = alpha_t (I - beta_t k_t k_t^T), or alpha_t:
 * the transitions are applied to k_s one by one. */
static bool log_linear(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *lambda = input(o, "lambda"), *alpha = input(o, "alpha"),
                           *beta = has(o, "beta") ? input(o, "beta") : NULL;
    const uint64_t n = q->shape[2], d = q->shape[3], dv = v->shape[3], levels = lambda->shape[3], lines = q->shape[0] * q->shape[1];
    double *moved = malloc((size_t)(d + 1) * sizeof *moved);
    const bool good = moved && room(o, lines * n * dv, 0);
    for (uint64_t e = 0; e < lines * n * dv && good; e++)
        o->to->out[e] = 0;
    for (uint64_t line = 0; line < lines && good; line++)
        for (uint64_t s = 0; s < n; s++) {
            const double *ks = k->data + (line * n + s) * d;
            for (uint64_t e = 0; e < d; e++)
                moved[e] = beta ? r(o, beta->data[line * n + s] * ks[e]) : ks[e];
            for (uint64_t t = s; t < n; t++) {
                const uint64_t at = line * n + t;
                const double known = t > s && beta ? r(o, beta->data[at] * dot(o, k->data + at * d, moved, d)) : 0;
                for (uint64_t e = 0; e < d && t > s; e++)
                    moved[e] = r(o, alpha->data[at] * r(o, moved[e] - r(o, known * k->data[at * d + e])));
                const double w = r(o, lambda->data[at * levels + level_of(t, s)] * dot(o, q->data + at * d, moved, d));
                o->to->score = fmax(o->to->score, fabs(w) * (double)d);
                for (uint64_t e = 0; e < dv; e++)
                    o->to->out[at * dv + e] = r(o, o->to->out[at * dv + e] + r(o, w * v->data[(line * n + s) * dv + e]));
            }
        }
    for (uint64_t e = 0; e < lines * n * dv && good; e++)
        o->to->out[e] = stored(o, o->to->out[e]);
    free(moved);
    return good && !o->failed;
}

/* ---- Attention Surgery, section 3 (arXiv:2509.24899) ---- */

static bool in_list(const int32_t *list, uint64_t count, uint64_t token)
{
    for (uint64_t i = 0; i < count; i++)
        if (list[i] == (int32_t)token)
            return true;
    return false;
}

/* (sum over S of e^(s_ij - c_i) v_j + sum over L of phi(q_i) . phi(k_j) v_j) over the same without v, c_i the highest s_ij of S. */
static bool surgery(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *fq = input(o, "phi_q"), *fk = input(o, "phi_k"),
                           *tokens = input(o, "tokens");
    const uint64_t heads = q->shape[1], n = q->shape[2], d = q->shape[3], dv = v->shape[3], features = fq->shape[3], m = tokens->shape[1],
                   lines = q->shape[0] * heads;
    const double scale = scale_of(o, d);
    const bool good = tokens->bounds && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t line = at / n;
        const int32_t *list = tokens->bounds + line / heads * m;
        double top = -INFINITY, sum = 0, *out = o->to->out + at * dv;
        for (uint64_t j = 0; j < n; j++)
            if (in_list(list, m, j))
                top = fmax(top, product(o, q->data + at * d, k->data + (line * n + j) * d, d, scale));
        for (uint64_t e = 0; e < dv; e++)
            out[e] = 0;
        for (uint64_t j = 0; j < n; j++) {
            const double w = in_list(list, m, j)
                                 ? r(o, exp(r(o, product(o, q->data + at * d, k->data + (line * n + j) * d, d, scale) - top)))
                                 : dot(o, fq->data + at * features, fk->data + (line * n + j) * features, features);
            sum = r(o, sum + w);
            for (uint64_t e = 0; e < dv; e++)
                out[e] = r(o, out[e] + r(o, w * v->data[(line * n + j) * dv + e]));
        }
        for (uint64_t e = 0; e < dv; e++)
            out[e] = stored(o, r(o, out[e] / sum));
    }
    return good && !o->failed;
}

/* ---- NAtS-L ---- */

/* Tokens of a chunk are keys of the softmax where its second score is the higher; else the gated delta rule takes them in. */
static bool two_kinds(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *scores = input(o, "scores"), *alpha = input(o, "alpha"),
                           *beta = input(o, "beta");
    const uint64_t heads = q->shape[1], kv = k->shape[1], n = q->shape[2], d = q->shape[3], dv = v->shape[3], chunk = (uint64_t)whole(o, "chunk"),
                   chunks = scores->shape[1], lines = q->shape[0] * heads;
    const double scale = scale_of(o, d);
    double *state = malloc((size_t)(d * dv + 1) * sizeof *state), unused;
    query one;
    const bool good = query_make(&one, n, dv) && state && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t line = at / n, b = line / heads, h = line % heads, g = h * kv / heads, t = at % n;
        const double *pair = scores->data + b * chunks * 2, *kt = row4(k, b, g, t), *vt = row4(v, b, g, t), *qt = row4(q, b, h, t);
        for (uint64_t j = 0; j < n; j++) {
            one.seen[j] = j <= t && pair[j / chunk * 2 + 1] > pair[j / chunk * 2];
            one.s[j] = product(o, qt, row4(k, b, g, j), d, scale);
            one.v[j] = row4(v, b, g, j);
        }
        one.out = o->to->out + at * dv;
        one.lse = &unused;
        softmax(o, &one);
        const bool written = !(pair[t / chunk * 2 + 1] > pair[t / chunk * 2]);
        for (uint64_t e = 0; e < dv; e++) {
            double known = 0, read = 0;
            for (uint64_t c = 0; c < d; c++) {
                double *s = &state[c * dv + e];
                *s = t == 0 ? 0 : written ? r(o, alpha->data[at] * *s) : *s;
                known = r(o, known + r(o, kt[c] * *s));
            }
            for (uint64_t c = 0; c < d; c++) {
                double *s = &state[c * dv + e];
                if (written)
                    *s = r(o, *s + r(o, beta->data[at] * r(o, kt[c] * r(o, vt[e] - known))));
                read = r(o, read + r(o, qt[c] * *s));
                o->to->score = fmax(o->to->score, fabs(qt[c] * *s) * (double)d);
            }
            one.out[e] = stored(o, r(o, one.out[e] + stored(o, read)));
        }
    }
    query_free(&one);
    free(state);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"Flowformer (Flow-Attention)", flowformer},
    {"NHA (Native Hybrid Attention)", slots},
    {"Log-Linear Attention", log_linear},
    {"Attention Surgery", surgery},
    {"NAtS-L", two_kinds},
};
const oracle_family rapt_oracles_hierarchy = {entries, sizeof entries / sizeof *entries};
