/* Oracles of systems that choose tokens, attend among these, and put the results back. Equal scores: the lower index goes first. */
#include "oracle_system.h"

/* Room for one row of attention over n tokens, and for the choice of some. */
typedef struct room_for {
    query one;
    double *score;
    bool *taken;
} room_for;

static bool room_make(room_for *x, uint64_t n, uint64_t d_v)
{
    const bool good = query_make(&x->one, n, d_v);
    x->score = malloc((size_t)(n + 1) * sizeof(double));
    x->taken = malloc((size_t)n + 1);
    return good && x->score && x->taken;
}

static void room_free(room_for *x)
{
    query_free(&x->one);
    free(x->score);
    free(x->taken);
}

/* Row i against the tokens that are taken, those up to i if it is causal; the result into `out`. */
static void attend(const oracle *o, room_for *x, const rapt_check_array *q, const rapt_check_array *k, const rapt_check_array *v,
                   const uint64_t at[4], bool causal, double scale, double *out)
{
    const uint64_t b = at[0], h = at[1], g = at[2], i = at[3];
    double lse;
    for (uint64_t j = 0; j < k->shape[2]; j++) {
        x->one.seen[j] = x->taken[j] && !(causal && j > i);
        x->one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), k->shape[3], scale);
        x->one.v[j] = row4(v, b, g, j);
    }
    x->one.out = out;
    x->one.lse = &lse;
    softmax(o, &x->one);
}

/* MoSA: I = the `top` tokens of largest r, the first ones among them in any case; A = softmax(Q_I K_I^T / sqrt(d) + M), M_ij = 0 where
 * I_i >= I_j; row I_i of the output is r_I_i (A V_I)_i, other rows are 0. */
static bool mosa(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *router = input(o, "router");
    const uint64_t heads = q->shape[1], n = q->shape[2], d_v = v->shape[3], rows_all = q->shape[0] * heads;
    const int64_t top = whole(o, "top"), first = whole(o, "first");
    room_for x;
    bool good = room_make(&x, n, d_v) && room(o, rows_all * n * d_v, 0);
    for (uint64_t row = 0; row < rows_all && good; row++) {
        const double *score = router->data + row * n;
        for (uint64_t j = 0; j < n; j++)
            x.taken[j] = (int64_t)j < first;
        take_largest(score, n, top - first, x.taken);
        for (uint64_t i = 0; i < n; i++) {
            double *out = o->to->out + (row * n + i) * d_v;
            attend(o, &x, q, k, v, (const uint64_t[]){row / heads, row % heads, row % heads, i}, true, scale_of(o, q->shape[3]), out);
            for (uint64_t e = 0; e < d_v; e++)
                out[e] = x.taken[i] ? stored(o, r(o, out[e] * score[i])) : 0;
        }
    }
    room_free(&x);
    return good && !o->failed;
}

/* A head of the Routing Transformer: for each centroid the `members` tokens of largest centroid . q, which attend causally among
 * themselves with K = Q. A token of several clusters gets the mean of its results, one of none 0. */
static void route_head(oracle *o, room_for *x, uint64_t b, uint64_t h, double *out, double *one, uint64_t *times)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *centroids = input(o, "centroids");
    const uint64_t n = q->shape[2], d = q->shape[3], d_v = v->shape[3], clusters = centroids->shape[1];
    memset(times, 0, (size_t)n * sizeof *times);
    memset(out, 0, (size_t)(n * d_v) * sizeof *out);
    for (uint64_t c = 0; c < clusters; c++) {
        for (uint64_t j = 0; j < n; j++) {
            x->taken[j] = false;
            x->score[j] = product(o, centroids->data + (h * clusters + c) * d, row4(q, b, h, j), d, 1);
        }
        take_largest(x->score, n, whole(o, "members"), x->taken);
        for (uint64_t i = 0; i < n; i++) {
            if (!x->taken[i])
                continue;
            attend(o, x, q, q, v, (const uint64_t[]){b, h, h, i}, true, scale_of(o, d), one);
            times[i]++;
            for (uint64_t e = 0; e < d_v; e++)
                out[i * d_v + e] = r(o, out[i * d_v + e] + one[e]);
        }
    }
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t e = 0; e < d_v; e++)
            out[i * d_v + e] = times[i] > 1 ? stored(o, r(o, out[i * d_v + e] / (double)times[i])) : out[i * d_v + e];
}

/* The heads behind those that route see the latest `window` keys. k has these heads alone. */
static void local_head(oracle *o, room_for *x, uint64_t b, uint64_t h, uint64_t routed, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t n = q->shape[2], d = q->shape[3], d_v = v->shape[3];
    double lse;
    for (uint64_t i = 0; i < n; i++) {
        for (uint64_t j = 0; j < n; j++) {
            x->one.seen[j] = j <= i && (int64_t)j > (int64_t)i - whole(o, "window");
            x->one.s[j] = product(o, row4(q, b, h, i), row4(k, b, h - routed, j), d, scale_of(o, d));
            x->one.v[j] = row4(v, b, h, j);
        }
        x->one.out = out + i * d_v;
        x->one.lse = &lse;
        softmax(o, &x->one);
    }
}

static bool routing_transformer(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *centroids = input(o, "centroids");
    const uint64_t heads = q->shape[1], n = q->shape[2], d_v = v->shape[3], routed = centroids->shape[0];
    double *one = malloc((size_t)(d_v + 1) * sizeof *one);
    uint64_t *times = malloc((size_t)(n + 1) * sizeof *times);
    room_for x;
    bool good = room_make(&x, n, d_v) && room(o, q->shape[0] * heads * n * d_v, 0) && one && times;
    for (uint64_t row = 0; row < q->shape[0] * heads && good; row++) {
        double *out = o->to->out + row * n * d_v;
        if (row % heads < routed)
            route_head(o, &x, row / heads, row % heads, out, one, times);
        else
            local_head(o, &x, row / heads, row % heads, routed, out);
    }
    free(one);
    free(times);
    room_free(&x);
    return good && !o->failed;
}

/* Whether a comma list, or "none", names `number`. */
static bool listed(const char *text, uint64_t number)
{
    for (char *end; *text >= '0' && *text <= '9'; text = *end == ',' ? end + 1 : end)
        if (strtoull(text, &end, 10) == number)
            return true;
    return false;
}

/* A decode step through layers: a kv head that attends to all keys chooses the `top` of largest q . k, summed over its query heads,
 * for the same head of the layers behind it, up to the next that attends to all. */
static bool through_layers(oracle *o, const char *parameter, bool listed_is_full, bool by_head)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t count = q->shape[0], heads = q->shape[1], kv = k->shape[1], nk = k->shape[2], d = q->shape[3], d_v = v->shape[3];
    const uint64_t group = heads / kv;
    room_for x;
    bool good = room_make(&x, nk, d_v) && room(o, count * heads * d_v, 0);
    for (uint64_t g = 0; g < kv && good; g++) {
        bool *chosen = calloc((size_t)nk + 1, 1);
        for (uint64_t l = 0; l < count && chosen; l++) {
            const bool full = listed(text_of(o, parameter), by_head ? l * kv + g : l) == listed_is_full;
            for (uint64_t j = 0; j < nk; j++) {
                x.taken[j] = full || chosen[j];
                x.score[j] = 0;
                for (uint64_t h = g * group; h < (g + 1) * group; h++)
                    x.score[j] = r(o, x.score[j] + product(o, row4(q, l, h, 0), row4(k, l, g, j), d, scale_of(o, d)));
            }
            for (uint64_t h = g * group; h < (g + 1) * group; h++)
                attend(o, &x, q, k, v, (const uint64_t[]){l, h, g, 0}, false, scale_of(o, d), o->to->out + (l * heads + h) * d_v);
            if (full) {
                memset(chosen, 0, (size_t)nk);
                take_largest(x.score, nk, whole(o, "top"), chosen);
            }
        }
        good = chosen != NULL;
        free(chosen);
    }
    room_free(&x);
    return good && !o->failed;
}

static bool hylra(oracle *o)
{
    return through_layers(o, "sensitive", true, false);
}

static bool lychee(oracle *o)
{
    return through_layers(o, "sparse", false, true);
}

static const oracle_entry entries[] = {
    {"MoSA (expert-choice)", mosa},
    {"Routing Transformer", routing_transformer},
    {"HyLRA", hylra},
    {"LycheeDecode", lychee},
};
const oracle_family rapt_oracles_gathered = {entries, sizeof entries / sizeof *entries};
