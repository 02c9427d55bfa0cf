/* Oracles of systems that scan along the sequence: recurrences, state-space models, convolutions, and those
 * beside attention. */
#include "oracle_system.h"

static double sigmoid(const oracle *o, double x)
{
    return r(o, 1 / r(o, 1 + r(o, exp(-x))));
}
static double silu(const oracle *o, double x)
{
    return r(o, x * sigmoid(o, x));
}
static double softplus(const oracle *o, double x)
{
    return r(o, x > 30 ? x : log1p(exp(x)));
}

static bool given(const oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->input_count; n++)
        if (strcmp(o->p->inputs[n].name, name) == 0)
            return true;
    return false;
}

/* x / sqrt(mean of x^2 + eps) * w, stored; w NULL: none. */
static void rms_norm(const oracle *o, const double *x, uint64_t d, double eps, const double *w, double factor,
                     double *out)
{
    double square = 0;
    for (uint64_t e = 0; e < d; e++)
        square = r(o, square + r(o, x[e] * x[e]));
    const double root = r(o, 1 / r(o, sqrt(r(o, square / (double)d) + eps)));
    for (uint64_t e = 0; e < d; e++)
        out[e] = stored(o, r(o, r(o, x[e] * root) * (w ? w[e] : 1)) * factor);
}

/* ---- attention as a recurrence ---- */

/* Aaren, section 3.1, each prefix by itself; a state (m, u, w) joins as a token more. */
static bool aaren(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"),
                           *state = given(o, "state") ? input(o, "state") : NULL;
    const uint64_t heads = k->shape[1], n = k->shape[2], d = k->shape[3], d_v = v->shape[3],
                   lines = k->shape[0] * heads;
    const double scale = scale_of(o, d);
    double *s = malloc((size_t)(n + 1) * sizeof *s);
    const bool good = s && room(o, lines * n * d_v, 0);
    for (uint64_t line = 0; line < lines && good; line++) {
        for (uint64_t t = 0; t < n; t++)
            s[t] = product(o, q->data + line % heads * d, k->data + (line * n + t) * d, d, scale);
        for (uint64_t at = 0; at < n * d_v; at++) {
            const uint64_t last = at / d_v, e = at % d_v;
            const double *begin = state ? state->data + (line * d_v + e) * 3 : NULL;
            double top = begin ? begin[0] : -INFINITY, u, w;
            for (uint64_t t = 0; t <= last; t++)
                top = fmax(top, s[t]);
            u = begin ? r(o, begin[1] * r(o, exp(r(o, begin[0] - top)))) : 0;
            w = begin ? r(o, begin[2] * r(o, exp(r(o, begin[0] - top)))) : 0;
            for (uint64_t t = 0; t <= last; t++) {
                const double weight_t = r(o, exp(r(o, s[t] - top)));
                u = r(o, u + weight_t);
                w = r(o, w + r(o, weight_t * v->data[(line * n + t) * d_v + e]));
            }
            o->to->out[line * n * d_v + at] = stored(o, r(o, w / u));
        }
    }
    free(s);
    return good && !o->failed;
}

/* ---- recurrences of numbers ---- */

/* "Were RNNs All We Needed?", sections 3.1.3 and 3.2.3. */
static bool min_gru(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *keep = input(o, "keep"),
                           *state = given(o, "state") ? input(o, "state") : NULL;
    const uint64_t n = x->shape[1], channels = x->shape[2];
    if (!room(o, x->count, 0))
        return false;
    for (uint64_t line = 0; line < x->shape[0] * channels; line++) {
        const uint64_t b = line / channels, c = line % channels;
        double h = state ? state->data[line] : 0;
        for (uint64_t t = 0; t < n; t++) {
            const uint64_t at = (b * n + t) * channels + c;
            h = r(o, r(o, keep->data[at] * h) + r(o, r(o, 1 - keep->data[at]) * x->data[at]));
            o->to->out[at] = stored(o, h);
        }
    }
    return !o->failed;
}

/* Mamba, algorithm 2 with the discretisation of section 3.6 of its code: exp(D a), and D b. Outputs (batch,
 * n, channels), as they are before they are stored. */
static bool selective(oracle *o, double *out)
{
    const rapt_check_array *x = input(o, "x"), *dt = input(o, "dt"), *a = input(o, "a"), *in = input(o, "b"),
                           *read = input(o, "c"), *skip = input(o, "skip"),
                           *z = given(o, "z") ? input(o, "z") : NULL,
                           *state = given(o, "state") ? input(o, "state") : NULL;
    const uint64_t n = x->shape[1], channels = x->shape[2], states = a->shape[1];
    decaying s[RAPT_SCAN_MAX_STATES];
    for (uint64_t line = 0; line < x->shape[0] * channels; line++) {
        const uint64_t b = line / channels, c = line % channels;
        for (uint64_t i = 0; i < states; i++) {
            const double h = state ? state->data[line * states + i] : 0;
            s[i] = (decaying){h, fabs(h)};
        }
        for (uint64_t t = 0; t < n; t++) {
            const uint64_t token = b * n + t, at = token * channels + c;
            const double step = softplus(o, dt->data[at]);
            double y = r(o, skip->data[c] * x->data[at]), size = fabs(y);
            for (uint64_t i = 0; i < states; i++) {
                decay_step(o, &s[i], r(o, exp(r(o, step * a->data[c * states + i]))),
                           r(o, r(o, step * in->data[token * states + i]) * x->data[at]));
                y = r(o, y + r(o, read->data[token * states + i] * s[i].h));
                size += fabs(read->data[token * states + i] * s[i].reach);
            }
            o->to->score = fmax(o->to->score, size);
            out[at] = z ? r(o, y * silu(o, z->data[at])) : y;
        }
    }
    return !o->failed;
}

static bool mamba(oracle *o)
{
    const uint64_t count = input(o, "x")->count;
    const bool good = room(o, count, 0) && selective(o, o->to->out);
    for (uint64_t i = 0; i < count && good; i++)
        o->to->out[i] = stored(o, o->to->out[i]);
    return good;
}

/* softmax(scale q k^T) v, of q's and k's heads every `step`th from `first` on; causal, within `window` keys
 * (0: all). */
static bool causal_heads(oracle *o, uint64_t first, uint64_t step, int64_t window, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1] / step, kv = k->shape[1] / step, nq = q->shape[2], nk = k->shape[2],
                   d = q->shape[3], d_v = v->shape[3];
    const double scale = scale_of(o, d);
    double lse;
    query one;
    const bool good = query_make(&one, nk, d_v);
    for (uint64_t at = 0; at < q->shape[0] * heads * nq && good; at++) {
        const uint64_t b = at / nq / heads, h = at / nq % heads, i = at % nq, g = h * kv / heads;
        const int64_t p = (int64_t)(i + nk) - (int64_t)nq;
        for (uint64_t j = 0; j < nk; j++) {
            one.seen[j] = (int64_t)j <= p && (window == 0 || p - (int64_t)j < window);
            one.s[j] = product(o, row4(q, b, h * step + first, i), row4(k, b, g * step + first, j), d, scale);
            one.v[j] = row4(v, b, g, j);
        }
        one.out = out + at * d_v;
        one.lse = &lse;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

static bool mamba_or_attention(oracle *o)
{
    const rapt_check_array *q;
    if (whole(o, "softmax") == 0)
        return mamba(o);
    q = input(o, "q");
    return room(o, q->count / q->shape[3] * input(o, "v")->shape[3], 0) &&
           causal_heads(o, 0, 1, 0, o->to->out);
}

/* SambaY, equation 2: m * SiLU(W1 x), m the scan before its gate; and differential attention as in the DIFF
 * Transformer. */
static bool samba_y(oracle *o)
{
    if (whole(o, "attention") == 0) {
        const rapt_check_array *g = input(o, "g");
        const bool good = room(o, g->count, 0) && selective(o, o->to->out);
        for (uint64_t i = 0; i < g->count && good; i++)
            o->to->out[i] = stored(o, r(o, stored(o, o->to->out[i]) * silu(o, g->data[i])));
        return good;
    }
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *lambda = input(o, "lambda"),
                           *norm = input(o, "norm");
    const uint64_t heads = q->shape[1] / 2, nq = q->shape[2], d_v = v->shape[3],
                   lines = q->shape[0] * heads * nq;
    const double eps = strtod(text_of(o, "eps"), NULL), init = strtod(text_of(o, "lambda_init"), NULL);
    const int64_t window = whole(o, "window");
    double *second = malloc((size_t)(lines * d_v + 1) * sizeof *second);
    const bool good = second && room(o, lines * d_v, 0) && causal_heads(o, 0, 2, window, o->to->out) &&
                      causal_heads(o, 1, 2, window, second);
    for (uint64_t at = 0; at < lines && good; at++) {
        double *out = o->to->out + at * d_v;
        for (uint64_t e = 0; e < d_v; e++)
            out[e] = r(o, out[e] - r(o, lambda->data[at / nq % heads] * second[at * d_v + e]));
        rms_norm(o, out, d_v, eps, norm->data, 1 - init, out);
    }
    free(second);
    return good && !o->failed;
}

/* S4D, section 2, as a recurrence. */
static bool s4d(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *a = input(o, "a"), *in = input(o, "b"), *read = input(o, "c"),
                           *skip = input(o, "skip");
    const uint64_t n = x->shape[1], channels = x->shape[2], states = a->shape[1] / 2;
    double h[RAPT_SCAN_MAX_STATES];
    if (!room(o, x->count, 0))
        return false;
    for (uint64_t line = 0; line < x->shape[0] * channels; line++) {
        const uint64_t b = line / channels, c = line % channels;
        memset(h, 0, sizeof h);
        for (uint64_t t = 0; t < n; t++) {
            const uint64_t at = (b * n + t) * channels + c;
            double y = r(o, skip->data[c] * x->data[at]);
            for (uint64_t i = 0; i < states; i++) {
                const double *p = a->data + (c * states + i) * 2, *w = in->data + (c * states + i) * 2,
                             *v = read->data + (c * states + i) * 2;
                const double re = h[2 * i], im = h[2 * i + 1];
                h[2 * i] = r(o, r(o, r(o, p[0] * re) - r(o, p[1] * im)) + r(o, w[0] * x->data[at]));
                h[2 * i + 1] = r(o, r(o, r(o, p[0] * im) + r(o, p[1] * re)) + r(o, w[1] * x->data[at]));
                y = r(o, y + r(o, r(o, v[0] * h[2 * i]) - r(o, v[1] * h[2 * i + 1])));
                o->to->score =
                    fmax(o->to->score, (double)states * (fabs(v[0] * h[2 * i]) + fabs(v[1] * h[2 * i + 1])));
            }
            o->to->out[at] = stored(o, y);
        }
    }
    return !o->failed;
}

/* ---- beside attention ---- */

/* Hymba, equation 4: causal attention within the window and to the meta tokens, beside Mamba. */
static bool hymba(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"),
                           *beta1 = input(o, "beta1"), *beta2 = input(o, "beta2");
    const uint64_t heads = q->shape[1], n = q->shape[2], d = q->shape[3], d_v = v->shape[3], kv = k->shape[1],
                   channels = heads * d_v, tokens = q->shape[0] * n;
    const int64_t window = whole(o, "window"), meta = whole(o, "meta");
    const double scale = scale_of(o, d), eps = strtod(text_of(o, "eps"), NULL);
    double *attended = malloc((size_t)(2 * tokens * channels + 2 * channels + 2) * sizeof *attended),
           *scanned = attended + tokens * channels, *first = scanned + tokens * channels,
           *second = first + channels, lse;
    query one;
    bool good =
        query_make(&one, n, d_v) && attended && room(o, tokens * channels, 0) && selective(o, scanned);
    for (uint64_t at = 0; at < tokens * heads && good; at++) {
        const uint64_t b = at / heads / n, i = at / heads % n, h = at % heads, g = h * kv / heads;
        for (uint64_t j = 0; j < n; j++) {
            one.seen[j] = j <= i && (window == 0 || (int64_t)(i - j) < window || (int64_t)j < meta);
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), d, scale);
            one.v[j] = row4(v, b, g, j);
        }
        one.out = attended + at * d_v;
        one.lse = &lse;
        softmax(o, &one);
    }
    for (uint64_t t = 0; t < tokens && good; t++) {
        for (uint64_t e = 0; e < channels; e++)
            scanned[t * channels + e] = stored(o, scanned[t * channels + e]);
        rms_norm(o, attended + t * channels, channels, eps, beta1->data, 1, first);
        rms_norm(o, scanned + t * channels, channels, eps, beta2->data, 1, second);
        for (uint64_t e = 0; e < channels; e++)
            o->to->out[t * channels + e] = stored(o, r(o, r(o, 0.5 * first[e]) + r(o, 0.5 * second[e])));
    }
    query_free(&one);
    free(attended);
    return good && !o->failed;
}

/* What a gated recurrence within each chunk leaves of x, token by token. */
static void keep_in_chunks(const oracle *o, const rapt_check_array *x, const rapt_check_array *g,
                           uint64_t chunk, double *out)
{
    const uint64_t n = x->shape[2], d = x->shape[3];
    for (uint64_t line = 0; line < x->shape[0] * x->shape[1]; line++)
        for (uint64_t e = 0; e < d; e++) {
            double h = 0;
            for (uint64_t t = 0; t < n; t++) {
                const uint64_t at = (line * n + t) * d + e;
                h = t % chunk == 0 ? 0 : h;
                h = r(o, r(o, g->data[at] * h) + r(o, r(o, 1 - g->data[at]) * x->data[at]));
                out[at] = stored(o, h);
            }
        }
}

/* RAT, equations 2 to 4: one softmax over the ends of the chunks before and the own token. */
static bool rat(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *g = input(o, "g"),
                           *gate = input(o, "gate");
    const uint64_t n = q->shape[2], d = q->shape[3], chunk = (uint64_t)whole(o, "chunk"),
                   lines = q->shape[0] * q->shape[1];
    const double scale = scale_of(o, d);
    double *k_kept = malloc((size_t)(2 * q->count + 1) * sizeof *k_kept), *v_kept = k_kept + q->count, lse;
    query one;
    const bool good = query_make(&one, n / chunk + 1, d) && k_kept && room(o, q->count, 0);
    if (good) {
        keep_in_chunks(o, k, g, chunk, k_kept);
        keep_in_chunks(o, v, g, chunk, v_kept);
    }
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t line = at / n, t = at % n;
        one.n = t / chunk + 1;
        for (uint64_t c = 0; c < one.n; c++) {
            const uint64_t token = line * n + (c + 1 < one.n ? c * chunk + chunk - 1 : t);
            one.seen[c] = true;
            one.s[c] = product(o, q->data + at * d, k_kept + token * d, d, scale);
            one.v[c] = v_kept + token * d;
        }
        one.out = o->to->out + at * d;
        one.lse = &lse;
        softmax(o, &one);
        for (uint64_t e = 0; e < d; e++)
            one.out[e] = stored(o, r(o, one.out[e] * sigmoid(o, gate->data[at * d + e])));
    }
    query_free(&one);
    free(k_kept);
    return good && !o->failed;
}

/* Mega, equations 1 to 16, of which the projections are the caller's. */
static bool mega_average(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *keep = input(o, "keep"), *in = input(o, "in"),
                           *read = input(o, "read");
    const uint64_t n = x->shape[1], channels = x->shape[2], states = keep->shape[1];
    double h[RAPT_SCAN_MAX_STATES];
    if (!room(o, x->count, 0))
        return false;
    for (uint64_t line = 0; line < x->shape[0] * channels; line++) {
        const uint64_t b = line / channels, c = line % channels;
        memset(h, 0, sizeof h);
        for (uint64_t t = 0; t < n; t++) {
            const uint64_t at = (b * n + t) * channels + c;
            double y = 0;
            for (uint64_t i = 0; i < states; i++) {
                const uint64_t port = c * states + i;
                h[i] = r(o, r(o, keep->data[port] * h[i]) + r(o, in->data[port] * x->data[at]));
                y = r(o, y + r(o, read->data[port] * h[i]));
                o->to->score = fmax(o->to->score, (double)states * fabs(read->data[port] * h[i]));
            }
            o->to->out[at] = stored(o, y);
        }
    }
    return !o->failed;
}

static double laplace(const oracle *o, double s)
{
    const double mu = sqrt(0.5), sigma = sqrt(1 / (4 * 3.14159265358979323846));
    return r(o, 0.5 * r(o, 1 + r(o, erf(r(o, (s - mu) / (sigma * sqrt(2)))))));
}

static bool mega_attention(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"),
                           *gamma = input(o, "gamma"), *bias = given(o, "bias") ? input(o, "bias") : NULL;
    const uint64_t n = q->shape[1], d = q->shape[2], d_v = v->shape[2];
    const bool by_laplace = strcmp(text_of(o, "link"), "laplace") == 0, causal = whole(o, "causal") != 0;
    const double tau = strtod(text_of(o, "tau"), NULL);
    const uint64_t chunk = whole(o, "chunk") > 0 ? (uint64_t)whole(o, "chunk") : n;
    double lse;
    query one;
    const bool good = query_make(&one, n, d_v) && room(o, v->count, 0);
    for (uint64_t at = 0; at < q->shape[0] * n && good; at++) {
        const uint64_t b = at / n, i = at % n, first = i / chunk * chunk,
                       end = first + chunk < n ? first + chunk : n;
        const double over = tau != 0 ? tau : by_laplace ? (double)(end - first) : sqrt((double)d);
        double *out = o->to->out + at * d_v;
        for (uint64_t j = 0; j < n; j++) {
            one.seen[j] = j >= first && j < end && (!causal || j <= i);
            one.s[j] = product(o, q->data + at * d, k->data + (b * n + j) * d, d, 1 / over);
            if (bias) {
                const int64_t reach = (int64_t)(bias->count / 2), far = (int64_t)j - (int64_t)i;
                one.s[j] = r(o, one.s[j] + bias->data[reach + (far < -reach  ? -reach
                                                               : far > reach ? reach
                                                                             : far)]);
            }
            one.v[j] = v->data + (b * n + j) * d_v;
        }
        one.out = out;
        one.lse = &lse;
        if (!by_laplace)
            softmax(o, &one);
        for (uint64_t e = 0; e < d_v; e++) {
            double sum = 0;
            for (uint64_t j = 0; j < n && by_laplace; j++)
                if (one.seen[j])
                    sum = r(o, sum + r(o, weight(o, laplace(o, one.s[j])) * one.v[j][e]));
            out[e] = by_laplace ? stored(o, sum) : out[e];
            out[e] = stored(o, r(o, out[e] * silu(o, gamma->data[at * d_v + e])));
        }
    }
    query_free(&one);
    return good && !o->failed;
}

static bool mega_update(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *h = input(o, "h"), *phi = input(o, "phi");
    if (!room(o, x->count, 0))
        return false;
    for (uint64_t i = 0; i < x->count; i++) {
        const double gate = sigmoid(o, phi->data[i]), candidate = stored(o, silu(o, h->data[i]));
        const double step = stored(o, r(o, gate * r(o, candidate - x->data[i])));
        o->to->out[i] = stored(o, r(o, x->data[i] + step));
    }
    return !o->failed;
}

static bool mega(oracle *o)
{
    const char *part = text_of(o, "part");
    return strcmp(part, "average") == 0     ? mega_average(o)
           : strcmp(part, "attention") == 0 ? mega_attention(o)
                                            : mega_update(o);
}

/* SeqBoat, section 3 and the authors' local attention: the chosen tokens alone, each within `window` of the
 * chosen. */
static bool seqboat(oracle *o)
{
    if (strcmp(text_of(o, "part"), "average") == 0)
        return mega_average(o);
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *p = input(o, "p"),
                           *gate = input(o, "r");
    const uint64_t n = q->shape[1], d = q->shape[2], d_v = v->shape[2];
    const int64_t window = whole(o, "window"), causal = whole(o, "causal");
    const bool by_laplace = strcmp(text_of(o, "link"), "laplace") == 0;
    const double tau = by_laplace ? (double)(causal ? window : 2 * window) : sqrt((double)d);
    double lse;
    query one;
    const bool good = query_make(&one, n, d_v) && room(o, v->count, 0);
    for (uint64_t at = 0; at < q->shape[0] * n && good; at++) {
        const uint64_t b = at / n;
        double *out = o->to->out + at * d_v;
        int64_t place = 0; /* of the key less that of the query, among the chosen */
        for (uint64_t j = b * n; j < at; j++)
            place -= p->data[j] >= 0.5;
        for (uint64_t j = 0; j < n; j++) {
            const bool chosen = p->data[b * n + j] >= 0.5;
            one.seen[j] = chosen && place >= -window && place <= (causal ? 0 : window);
            one.s[j] = product(o, q->data + at * d, k->data + (b * n + j) * d, d, 1 / tau);
            one.v[j] = v->data + (b * n + j) * d_v;
            place += chosen;
        }
        one.out = out;
        one.lse = &lse;
        if (!by_laplace)
            softmax(o, &one);
        for (uint64_t e = 0; e < d_v; e++) {
            double sum = 0;
            for (uint64_t j = 0; j < n && by_laplace; j++)
                if (one.seen[j])
                    sum = r(o, sum + r(o, weight(o, laplace(o, one.s[j])) * one.v[j][e]));
            out[e] = p->data[at] >= 0.5
                         ? stored(o, r(o, p->data[at] * (by_laplace ? stored(o, sum) : out[e])))
                         : 0;
            out[e] = stored(o, r(o, out[e] * silu(o, gate->data[at * d_v + e])));
        }
    }
    query_free(&one);
    return good && !o->failed;
}

/* ---- convolutions ---- */

/* SiLU(x) / |SiLU(x)| of a row. */
static void unit_row(const oracle *o, const double *x, uint64_t d, double *out)
{
    for (uint64_t e = 0; e < d; e++)
        out[e] = stored(o, silu(o, x[e]));
    rms_norm(o, out, d, 1e-6 / (double)d, NULL, 1 / sqrt((double)d), out);
}

/* A token of the gated delta rule. */
static void delta_step(oracle *o, double *state, uint64_t d, uint64_t d_v, const double *q, const double *k,
                       const double *v, double alpha, double beta, double scale, double *out)
{
    for (uint64_t e = 0; e < d_v; e++) {
        double old = 0, sum = 0;
        for (uint64_t c = 0; c < d; c++) {
            state[c * d_v + e] = r(o, state[c * d_v + e] * alpha);
            old = r(o, old + r(o, k[c] * state[c * d_v + e]));
        }
        for (uint64_t c = 0; c < d; c++) {
            state[c * d_v + e] = r(o, state[c * d_v + e] + r(o, beta * r(o, k[c] * r(o, v[e] - old))));
            sum = r(o, sum + r(o, q[c] * state[c * d_v + e]));
            o->to->score = fmax(o->to->score, fabs(q[c] * state[c * d_v + e]) * (double)d);
        }
        out[e] = stored(o, r(o, scale * sum));
    }
}

/* Jet-Nemotron, section 3 and the authors' JetBlock. */
static bool jet_block(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"),
                           *alpha = input(o, "alpha"), *beta = input(o, "beta"), *taps = input(o, "kernels"),
                           *gate = input(o, "gate"), *norm = input(o, "norm"),
                           *begin = given(o, "state") ? input(o, "state") : NULL,
                           *before = given(o, "tokens") ? input(o, "tokens") : NULL;
    const uint64_t n = q->shape[2], d = q->shape[3], d_v = v->shape[3], lines = q->shape[0] * q->shape[1];
    const double scale = scale_of(o, d), eps = strtod(text_of(o, "eps"), NULL);
    double *state = malloc((size_t)(d * d_v + 2 * d + d_v + 1) * sizeof *state), *q_unit = state + d * d_v,
           *k_unit = q_unit + d, *convolved = k_unit + d;
    const bool good = state && room(o, lines * n * d_v, 0);
    for (uint64_t line = 0; line < lines && good; line++) {
        for (uint64_t i = 0; i < d * d_v; i++)
            state[i] = begin ? begin->data[line * d * d_v + i] : 0;
        for (uint64_t t = 0; t < n; t++) {
            const uint64_t token = line * n + t;
            double *out = o->to->out + token * d_v;
            unit_row(o, q->data + token * d, d, q_unit);
            unit_row(o, k->data + token * d, d, k_unit);
            for (uint64_t e = 0; e < d_v; e++) {
                double sum = 0;
                for (uint64_t j = 0; j < 4; j++) {
                    const double x = t + j >= 3 ? v->data[(token + j - 3) * d_v + e]
                                     : before   ? before->data[(line * d_v + e) * 3 + t + j]
                                                : 0;
                    sum = r(o, sum + r(o, taps->data[(token * d_v + e) * 4 + j] * x));
                }
                convolved[e] = stored(o, silu(o, sum));
            }
            delta_step(o, state, d, d_v, q_unit, k_unit, convolved, alpha->data[token], beta->data[token],
                       scale, out);
            rms_norm(o, out, d_v, eps, norm->data, 1, out);
            for (uint64_t e = 0; e < d_v; e++)
                out[e] = stored(o, r(o, out[e] * silu(o, gate->data[token * d_v + e])));
        }
    }
    free(state);
    return good && !o->failed;
}

/* y = x1 * (h conv (x2 * v)); `ahead` tokens of the filter's are behind the token. */
static bool hyena_with(oracle *o, bool causal)
{
    const rapt_check_array *v = input(o, "v"), *x1 = input(o, "x1"), *x2 = input(o, "x2"),
                           *filter = input(o, "filter");
    const int64_t n = (int64_t)v->shape[1], channels = (int64_t)v->shape[2], taps = (int64_t)filter->shape[1],
                  ahead = causal ? 0 : taps / 2;
    if (!room(o, v->count, 0))
        return false;
    for (int64_t at = 0; at < (int64_t)v->count; at++) {
        const int64_t c = at % channels, t = at / channels % n, b = at / channels / n;
        double sum = 0, size = 0;
        for (int64_t from = 0; from < n; from++) {
            const int64_t tap = taps - 1 + from - t - ahead;
            if (tap < 0 || tap >= taps)
                continue;
            const int64_t there = (b * n + from) * channels + c;
            const double x = stored(o, r(o, x2->data[there] * v->data[there]));
            sum = r(o, sum + r(o, filter->data[c * taps + tap] * x));
            size += fabs(filter->data[c * taps + tap] * x);
        }
        o->to->score = fmax(o->to->score, size * fabs(x1->data[at]));
        o->to->out[at] = stored(o, r(o, stored(o, sum) * x1->data[at]));
    }
    return !o->failed;
}
static bool hyena(oracle *o)
{
    return hyena_with(o, true);
}
static bool conf_hyena(oracle *o)
{
    return hyena_with(o, false);
}

static const oracle_entry entries[] = {
    {"Aaren", aaren},
    {"minGRU / minLSTM", min_gru},
    {"Mamba (selective scan)", mamba},
    {"S4D", s4d},
    {"Mega", mega},
    {"SeqBoat (SMA)", seqboat},
    {"Zamba", mamba_or_attention},
    {"MambaFormer (ICL study)", mamba_or_attention},
    {"SambaY / GMU (Phi4-mini-Flash)", samba_y},
    {"Hymba", hymba},
    {"RAT", rat},
    {"Jet-Nemotron (JetBlock)", jet_block},
    {"Hyena (order 2)", hyena},
    {"ConfHyena", conf_hyena},
};
const oracle_family rapt_oracles_scan = {entries, sizeof entries / sizeof *entries};
