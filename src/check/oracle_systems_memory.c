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

static const oracle_entry entries[] = {{"Titans", titans_all}};
const oracle_family rapt_oracles_memory = {entries, sizeof entries / sizeof *entries};
