/* Oracles of systems with memories that learn. */
#include "oracle_system.h"

#include "oracle_memory.h"

/* Titans' tensors of one (batch, head). */
typedef struct titans {
    uint64_t b, h, n, d, d_v, chunk;
    int64_t join;
    double growth; /* what norms multiply errors by, at most */
} titans;

/* The memory read by the n rows of q, d each. out: (n, d_v), as it is stored. */
static bool remember(oracle *o, const titans *t, const double *q, bool before, double *out)
{
    const rapt_check_array *k = input(o, "k"), *v = input(o, "v"), *rates = input(o, "rates"), *state = has(o, "state") ? input(o, "state") : NULL;
    const uint64_t hidden = (uint64_t)whole(o, "hidden"), line = t->b * k->shape[1] + t->h;
    const rapt_check_memory memory = {.form = hidden ? RAPT_MEMORY_MLP : RAPT_MEMORY_LINEAR,
                                      .n = t->n,
                                      .d = t->d,
                                      .d_v = t->d_v,
                                      .hidden = hidden,
                                      .chunk = t->chunk,
                                      .read_start = before,
                                      .q = q,
                                      .k = row4(k, t->b, t->h, 0),
                                      .v = row4(v, t->b, t->h, 0),
                                      .rates = row4(rates, t->b, t->h, 0),
                                      .state = state ? state->data + line * state->shape[2] : NULL};
    if (!rapt_check_memory_run(&memory, o->precision != RAPT_CHECK_DOUBLE, out, NULL))
        return false;
    for (uint64_t i = 0; i < t->n * t->d_v; i++)
        out[i] = stored(o, out[i]);
    return true;
}

/* One softmax over persistent tokens, `m` of them, retrieved ones and tokens, n each: the average of each kind as it lies in memory
 * between steps, then all by their sums. */
static void softmax_of_kinds(const oracle *o, const query *q, uint64_t m, uint64_t n, double *part)
{
    const uint64_t bounds[] = {0, m, m + n, m + 2 * n};
    double top = -INFINITY, all = 0;
    for (uint64_t j = 0; j < q->n; j++)
        top = q->seen[j] ? fmax(top, q->s[j]) : top;
    memset(q->out, 0, (size_t)q->d_v * sizeof *q->out);
    for (int kind = 0; kind < 3; kind++) {
        double sum = 0;
        memset(part, 0, (size_t)q->d_v * sizeof *part);
        for (uint64_t j = bounds[kind]; j < bounds[kind + 1]; j++) {
            const double w = q->seen[j] ? weight(o, exp(r(o, q->s[j] - top))) : 0;
            sum = r(o, sum + w);
            for (uint64_t e = 0; e < q->d_v && w > 0; e++)
                part[e] = r(o, part[e] + r(o, w * q->v[j][e]));
        }
        for (uint64_t e = 0; e < q->d_v && sum > 0; e++)
            q->out[e] = r(o, q->out[e] + r(o, sum * stored(o, r(o, part[e] / sum))));
        all = r(o, all + sum);
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = stored(o, r(o, q->out[e] / all));
}

/* Attention of rows q (n, e) to persistent tokens, to rows h where they are, and to rows k and v of e and d_v: of segments, or of
 * a window. out: (n, d_v). */
static bool attend(oracle *o, const titans *t, const double *q, const double *k, const double *v, const double *h, uint64_t e, double *out)
{
    const rapt_check_array *pk = has(o, "persistent_k") ? input(o, "persistent_k") : NULL, *pv = pk ? input(o, "persistent_v") : NULL;
    const uint64_t m = pk ? pk->shape[1] : 0, window = (uint64_t)whole(o, "window"), all = m + 2 * t->n;
    const double scale = scale_of(o, e);
    query one;
    double *part = malloc((size_t)t->d_v * sizeof *part);
    const bool good = query_make(&one, all, t->d_v) && part;
    for (uint64_t i = 0; i < t->n && good; i++) {
        const uint64_t segment = i / t->chunk;
        for (uint64_t j = 0; j < all; j++) {
            const bool persistent = j < m, retrieved = !persistent && j < m + t->n;
            const uint64_t at = persistent ? j : retrieved ? j - m : j - m - t->n;
            one.seen[j] = persistent ? true
                          : retrieved ? h != NULL && at / t->chunk == segment
                                      : at <= i && (h ? at / t->chunk == segment : at + window > i);
            one.v[j] = v;
            one.s[j] = 0;
            if (!one.seen[j])
                continue; /* there may be no such rows */
            const double *key = persistent ? pk->data + (t->h * m + at) * e : retrieved ? h + at * t->d_v : k + at * e;
            one.v[j] = persistent ? pv->data + (t->h * m + at) * t->d_v : retrieved ? h + at * t->d_v : v + at * t->d_v;
            one.s[j] = product(o, q + i * e, key, e, scale);
        }
        one.out = out + i * t->d_v;
        softmax_of_kinds(o, &one, m, t->n, part);
    }
    free(part);
    query_free(&one);
    return good;
}

/* x / sqrt(mean of x^2 + eps) * w; what x was multiplied by: a norm of little brings its errors up with it. */
static double norm(oracle *o, const double *x, uint64_t d, const double *w, double *out)
{
    double square = 0;
    for (uint64_t e = 0; e < d; e++)
        square = r(o, square + r(o, x[e] * x[e]));
    const double root = r(o, sqrt(r(o, r(o, square / (double)d) + strtod(text_of(o, "eps"), NULL))));
    for (uint64_t e = 0; e < d; e++)
        out[e] = r(o, r(o, x[e] / root) * w[e]);
    return 1 / root;
}

/* Section 4.2, equations 26 to 28, with the norms and the sigmoid of its last paragraph. */
static bool gate(oracle *o, titans *t, double *y, double *m, double *out)
{
    const rapt_check_array *q = input(o, "attention_q");
    const double *wy = input(o, "norm_attention")->data, *wm = input(o, "norm_memory")->data;
    if (o->failed || !remember(o, t, row4(input(o, "q"), t->b, t->h, 0), false, m) ||
        !attend(o, t, row4(q, t->b, t->h, 0), row4(input(o, "attention_k"), t->b, t->h, 0), row4(input(o, "attention_v"), t->b, t->h, 0),
                NULL, q->shape[3], y))
        return false;
    for (uint64_t i = 0; i < t->n; i++) {
        double *a = y + i * t->d_v, *g = m + i * t->d_v;
        t->growth = fmax(t->growth, norm(o, a, t->d_v, wy, a));
        t->growth = fmax(t->growth, norm(o, g, t->d_v, wm, g));
        for (uint64_t e = 0; e < t->d_v; e++)
            out[i * t->d_v + e] = stored(o, r(o, a[e] * r(o, 1 / r(o, 1 + r(o, exp(-stored(o, g[e])))))));
    }
    return true;
}

/* Section 4.1, equations 21 to 25: h = M of before the segment (q), attention over (persistent, h, segment), y times M_t(y). */
static bool context(oracle *o, const titans *t, double *y, double *m, double *out)
{
    const rapt_check_array *q = input(o, "attention_q");
    if (o->failed || !remember(o, t, row4(input(o, "q"), t->b, t->h, 0), true, m) ||
        !attend(o, t, row4(q, t->b, t->h, 0), row4(input(o, "attention_k"), t->b, t->h, 0), row4(input(o, "attention_v"), t->b, t->h, 0),
                m, q->shape[3], y) ||
        !remember(o, t, y, false, m))
        return false;
    for (uint64_t i = 0; i < t->n * t->d_v; i++)
        out[i] = stored(o, r(o, y[i] * m[i]));
    return true;
}

static bool titans_head(oracle *o, titans *t, double *room_y, double *room_m, double *out)
{
    const double *q = row4(input(o, "q"), t->b, t->h, 0);
    if (t->join == 1)
        return gate(o, t, room_y, room_m, out);
    if (t->join == 2)
        return context(o, t, room_y, room_m, out);
    if (t->join == 3) /* section 4.3: attention on what the memory gives */
        return remember(o, t, q, false, room_m) && attend(o, t, room_m, room_m, room_m, NULL, t->d_v, out);
    return remember(o, t, q, false, out);
}

static bool titans_all(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v");
    titans t = {.n = q->shape[2], .d = q->shape[3], .d_v = v->shape[3], .chunk = (uint64_t)whole(o, "chunk"), .join = whole(o, "join"), .growth = 1};
    const uint64_t each = t.n * t.d_v;
    double *rooms = malloc((size_t)(2 * each + 1) * sizeof *rooms);
    bool good = rooms && room(o, q->shape[0] * q->shape[1] * each, 0);
    for (uint64_t line = 0; line < q->shape[0] * q->shape[1] && good; line++) {
        t.b = line / q->shape[1];
        t.h = line % q->shape[1];
        good = titans_head(o, &t, rooms, rooms + each, o->to->out + line * each);
    }
    o->to->score *= t.growth;
    free(rooms);
    return good && !o->failed;
}

/* ---- Gecko, by the authors' code (XuezheMax/gecko-llm); its projections are the caller's */

static double number(oracle *o, const char *name)
{
    return strtod(text_of(o, name), NULL);
}

/* TimestepDecayNorm of one sequence's group of d channels from `first` on: moving averages of its mean and of its variance within a
 * token, each over 1 - beta^t. */
static void decaying_group(oracle *o, const double *x, uint64_t n, uint64_t channels, uint64_t first, uint64_t d, double *out)
{
    const double beta1 = number(o, "beta1"), beta2 = number(o, "beta2"), eps = number(o, "eps");
    const double *weights = input(o, "weight")->data + first, *biases = input(o, "bias")->data + first;
    double mean = 0, variance = 0, power1 = 1, power2 = 1;
    for (uint64_t t = 0; t < n; t++) {
        const double *row = x + t * channels + first;
        double sum = 0, squares = 0;
        for (uint64_t e = 0; e < d; e++)
            sum = r(o, sum + row[e]);
        const double average = r(o, sum / (double)d);
        for (uint64_t e = 0; e < d; e++)
            squares = r(o, squares + r(o, r(o, row[e] - average) * r(o, row[e] - average)));
        mean = r(o, r(o, beta1 * mean) + r(o, (1 - beta1) * average));
        variance = r(o, r(o, beta2 * variance) + r(o, (1 - beta2) * r(o, squares / (double)d)));
        power1 *= beta1;
        power2 *= beta2;
        const double centre = r(o, mean / (1 - power1)), over = r(o, 1 / r(o, sqrt(r(o, r(o, variance / (1 - power2)) + eps))));
        for (uint64_t e = 0; e < d; e++) {
            const double y = stored(o, r(o, r(o, row[e] - centre) * over));
            out[t * channels + first + e] = stored(o, r(o, r(o, y * weights[e]) + biases[e]));
        }
    }
}

static bool gecko_norm(oracle *o)
{
    const rapt_check_array *x = input(o, "x");
    const uint64_t n = x->shape[1], channels = x->shape[2], d = channels / (uint64_t)whole(o, "groups");
    if (!room(o, x->count, 0))
        return false;
    for (uint64_t b = 0; b < x->shape[0]; b++)
        for (uint64_t first = 0; first < channels; first += d)
            decaying_group(o, x->data + b * n * channels, n, channels, first, d, o->to->out + b * n * channels);
    return !o->failed;
}

/* h_t = q h_(t-1) + p x_t for each of a channel's states, x_t + Re(gamma h_t), and a norm over the channels. */
static bool gecko_average(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *keep = input(o, "keep"), *in = input(o, "in"), *read = input(o, "read");
    const double *weights = input(o, "weight")->data;
    const uint64_t n = x->shape[1], channels = x->shape[2], states = keep->shape[1] / 2;
    double growth = 1;
    if (o->failed || !room(o, x->count, 0))
        return false;
    for (uint64_t line = 0; line < x->shape[0] * channels; line++) {
        const uint64_t c = line % channels;
        double h[RAPT_SCAN_MAX_STATES] = {0};
        for (uint64_t t = 0; t < n; t++) {
            const uint64_t at = (line / channels * n + t) * channels + c;
            double y = x->data[at];
            for (uint64_t i = 0; i < states; i++) {
                const double *q = keep->data + (c * states + i) * 2, *p = in->data + (c * states + i) * 2, *g = read->data + (c * states + i) * 2;
                const double re = h[2 * i], im = h[2 * i + 1];
                h[2 * i] = r(o, r(o, r(o, q[0] * re) - r(o, q[1] * im)) + r(o, p[0] * x->data[at]));
                h[2 * i + 1] = r(o, r(o, r(o, q[0] * im) + r(o, q[1] * re)) + r(o, p[1] * x->data[at]));
                y = r(o, y + r(o, r(o, g[0] * h[2 * i]) - r(o, g[1] * h[2 * i + 1])));
                o->to->score = fmax(o->to->score, (double)states * (fabs(g[0] * h[2 * i]) + fabs(g[1] * h[2 * i + 1])));
            }
            o->to->out[at] = stored(o, y);
        }
    }
    for (uint64_t at = 0; at < x->count; at += channels) {
        growth = fmax(growth, norm(o, o->to->out + at, channels, weights, o->to->out + at));
        for (uint64_t c = 0; c < channels; c++)
            o->to->out[at + c] = stored(o, o->to->out[at + c]);
    }
    o->to->score *= growth;
    return true;
}

/* One (batch, head) of Gecko's attention: rows of q, k, those of the memory, and q and k as they are turned; n of d each. */
typedef struct gecko {
    uint64_t n, d, d_v, chunk;
    double *kind[6], *attended, *read;
} gecko;

/* norm(z) gamma + beta. */
static void gecko_kinds(oracle *o, const gecko *t, const double *z, uint64_t head)
{
    const rapt_check_array *gamma = input(o, "gamma"), *beta = input(o, "beta");
    const double eps = number(o, "eps");
    for (uint64_t i = 0; i < t->n; i++) {
        const double *row = z + i * t->d;
        double square = 0;
        for (uint64_t e = 0; e < t->d; e++)
            square = r(o, square + r(o, row[e] * row[e]));
        const double root = r(o, sqrt(r(o, r(o, square / (double)t->d) + eps)));
        for (uint64_t kind = 0; kind < 4; kind++)
            for (uint64_t e = 0; e < t->d; e++) {
                const uint64_t at = (kind * gamma->shape[1] + head) * t->d + e;
                t->kind[kind][i * t->d + e] = stored(o, r(o, r(o, stored(o, r(o, row[e] / root)) * gamma->data[at]) + beta->data[at]));
            }
    }
}

/* Rotary positions: pair (2p, 2p + 1) of token i as a complex number times e^(i angle). */
static void gecko_turn(oracle *o, const gecko *t, const double *x, double *out)
{
    const double base = number(o, "rope");
    for (uint64_t at = 0; at < t->n * t->d; at += 2) {
        const double angle = base == 0 ? 0 : (double)(at / t->d) * pow(base, -(double)(at % t->d) / (double)t->d);
        const double re = r(o, cos(angle)), im = r(o, sin(angle));
        out[at] = stored(o, r(o, r(o, x[at] * re) - r(o, x[at + 1] * im)));
        out[at + 1] = stored(o, r(o, r(o, x[at] * im) + r(o, x[at + 1] * re)));
    }
}

static bool gecko_attend(oracle *o, const gecko *t, const double *v)
{
    double unused;
    query one;
    const bool good = query_make(&one, t->n, t->d_v);
    for (uint64_t i = 0; i < t->n && good; i++) {
        for (uint64_t j = 0; j < t->n; j++) {
            one.seen[j] = j <= i && j / t->chunk + 1 >= i / t->chunk;
            one.s[j] = product(o, t->kind[4] + i * t->d, t->kind[5] + j * t->d, t->d, scale_of(o, t->d));
            one.v[j] = v + j * t->d_v;
        }
        one.out = t->attended + i * t->d_v;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good;
}

/* The first chunk has no memory. Queries of a chunk read what is known before the chunk that precedes theirs. */
static bool gecko_remember(const oracle *o, const gecko *t, const double *v)
{
    const uint64_t first = t->n < t->chunk ? t->n : t->chunk;
    memset(t->read, 0, (size_t)(first * t->d_v) * sizeof *t->read);
    const rapt_check_memory memory = {.form = RAPT_MEMORY_SOFTMAX,
                                      .n = t->n - first,
                                      .d = t->d,
                                      .d_v = t->d_v,
                                      .chunk = t->chunk,
                                      .q = t->kind[2] + first * t->d,
                                      .k = t->kind[3],
                                      .v = v};
    return rapt_check_memory_run(&memory, o->precision != RAPT_CHECK_DOUBLE, t->read + first * t->d_v, NULL);
}

static bool gecko_head(oracle *o, const gecko *t, uint64_t b, uint64_t h, double *out)
{
    const double *v = row4(input(o, "v"), b, h, 0), *gates = row4(input(o, "r"), b, h, 0);
    gecko_kinds(o, t, row4(input(o, "z"), b, h, 0), h);
    for (int n = 0; n < 2; n++)
        gecko_turn(o, t, t->kind[n], t->kind[4 + n]);
    if (o->failed || !gecko_attend(o, t, v) || !gecko_remember(o, t, v))
        return false;
    for (uint64_t at = 0; at < t->n * t->d_v; at++) {
        const double silu = r(o, gates[at] / r(o, 1 + r(o, exp(-gates[at]))));
        out[at] = stored(o, r(o, stored(o, r(o, t->attended[at] * silu)) + stored(o, t->read[at])));
    }
    return true;
}

static bool gecko_attention(oracle *o)
{
    const rapt_check_array *z = input(o, "z"), *v = input(o, "v");
    gecko t = {.n = z->shape[2], .d = z->shape[3], .d_v = v->shape[3], .chunk = (uint64_t)whole(o, "chunk")};
    const uint64_t each = t.n * t.d, outs = t.n * t.d_v;
    double *rooms = malloc((size_t)(6 * each + 2 * outs + 1) * sizeof *rooms);
    bool good = rooms && room(o, z->shape[0] * z->shape[1] * outs, 0);
    for (uint64_t n = 0; n < 6 && good; n++)
        t.kind[n] = rooms + n * each;
    for (uint64_t line = 0; line < z->shape[0] * z->shape[1] && good; line++) {
        t.attended = rooms + 6 * each;
        t.read = t.attended + outs;
        good = gecko_head(o, &t, line / z->shape[1], line % z->shape[1], o->to->out + line * outs);
    }
    free(rooms);
    return good && !o->failed;
}

static bool gecko_all(oracle *o)
{
    const char *part = text_of(o, "part");
    return strcmp(part, "norm") == 0      ? gecko_norm(o)
           : strcmp(part, "average") == 0 ? gecko_average(o)
                                          : gecko_attention(o);
}

static const oracle_entry entries[] = {{"Titans", titans_all}, {"Gecko", gecko_all}};
const oracle_family rapt_oracles_memory = {entries, sizeof entries / sizeof *entries};
