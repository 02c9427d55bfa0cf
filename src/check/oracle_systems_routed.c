/* Oracles of systems that choose what to attend to, the choice included. Equal scores: the lower index goes first. */
#include "oracle_system.h"

/* The row at hand: query i of head (b, h), which stands at key position p and reads kv head g. */
typedef struct chooser {
    const rapt_check_array *q, *k;
    uint64_t b, h, i, g;
    int64_t p;
    double *score; /* room for nk numbers */
    bool *taken;   /* and as many flags */
} chooser;

/* Fills `seen` for the row's nk keys. */
typedef void (*choose_fn)(oracle *o, const chooser *c, bool *seen);

/* Softmax attention of every row over the keys that were chosen for it. */
static bool chosen_rows(oracle *o, choose_fn choose)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], d = q->shape[3], kv = k->shape[1], nk = k->shape[2];
    const uint64_t rows_all = q->shape[0] * heads * nq;
    const double scale = scale_of(o, d);
    query one;
    chooser c = {.q = q, .k = k, .score = malloc((size_t)(nk + 1) * sizeof(double)), .taken = malloc((size_t)nk + 1)};
    bool good = query_make(&one, nk, v->shape[3]) && room(o, rows_all * v->shape[3], rows_all) && c.score && c.taken;
    for (uint64_t at = 0; at < rows_all && good; at++) {
        c.b = at / (heads * nq);
        c.h = at / nq % heads;
        c.i = at % nq;
        c.g = c.h * kv / heads;
        c.p = (int64_t)c.i + (int64_t)nk - (int64_t)nq;
        choose(o, &c, one.seen);
        for (uint64_t j = 0; j < nk; j++) {
            one.s[j] = product(o, row4(q, c.b, c.h, c.i), row4(k, c.b, c.g, j), d, scale);
            if (o->bias)
                one.s[j] = r(o, one.s[j] + o->bias(o, c.b, c.h, c.i, j, scale));
            one.v[j] = row4(v, c.b, c.g, j);
        }
        one.out = o->to->out + at * v->shape[3];
        one.lse = o->to->lse + at;
        softmax(o, &one);
    }
    query_free(&one);
    free(c.score);
    free(c.taken);
    return good && !o->failed;
}

/* x . mean of the keys [first, end). */
static double product_with_mean(const oracle *o, const chooser *c, const double *x, uint64_t first, uint64_t end)
{
    double sum = 0;
    for (uint64_t e = 0; e < c->k->shape[3]; e++) {
        double mean = 0;
        for (uint64_t j = first; j < end; j++)
            mean = r(o, mean + row4(c->k, c->b, c->g, j)[e]);
        sum = r(o, sum + r(o, x[e] * r(o, mean / (double)(end - first))));
    }
    return sum;
}

/* MoBA, section 2.2, equations 4 to 6: s_i = <q, mean_pool(K[I_i])>, -inf for blocks that begin behind the query, +inf for its
 * own; the `top` blocks of largest s_i; causality within the own block. */
static void choose_moba(oracle *o, const chooser *c, bool *seen)
{
    const uint64_t nk = c->k->shape[2], block = (uint64_t)whole(o, "block"), blocks = (nk + block - 1) / block;
    for (uint64_t n = 0; n < blocks; n++) {
        const uint64_t first = n * block, end = first + block < nk ? first + block : nk;
        c->taken[n] = false;
        c->score[n] = c->p < (int64_t)first ? -INFINITY
                      : c->p < (int64_t)end ? INFINITY
                                            : product_with_mean(o, c, row4(c->q, c->b, c->h, c->i), first, end);
    }
    take_largest(c->score, blocks, whole(o, "top"), c->taken);
    for (uint64_t j = 0; j < nk; j++)
        seen[j] = c->taken[j / block] && (int64_t)j <= c->p;
}
static bool moba(oracle *o)
{
    return chosen_rows(o, choose_moba);
}

/* DARE, section 3: the `top` keys of largest q . k, and softmax attention to these. */
static void choose_top_keys(oracle *o, const chooser *c, bool *seen)
{
    for (uint64_t j = 0; j < c->k->shape[2]; j++) {
        seen[j] = false;
        c->score[j] = product(o, row4(c->q, c->b, c->h, c->i), row4(c->k, c->b, c->g, j), c->k->shape[3], 1);
    }
    take_largest(c->score, c->k->shape[2], whole(o, "top"), seen);
}
static bool top_keys(oracle *o)
{
    return chosen_rows(o, choose_top_keys);
}

/* The number of key j and the row's kv head in an input (batch, kv_heads, nk). */
static double of_key(oracle *o, const char *name, uint64_t b, uint64_t g, uint64_t j)
{
    const rapt_check_array *a = input(o, name);
    return a->data[(b * a->shape[1] + g) * a->shape[2] + j];
}

/* Attention-Gate: the mask of evicted tokens is that of their gates below a threshold, the first tokens excepted. */
static void choose_kept(oracle *o, const chooser *c, bool *seen)
{
    for (uint64_t j = 0; j < c->k->shape[2]; j++)
        seen[j] = ((int64_t)j < whole(o, "always") ||
                   of_key(o, "keep", c->b, c->g, j) >= (double)strtof(text_of(o, "threshold"), NULL)) &&
                  (whole(o, "causal") == 0 || (int64_t)j <= c->p);
}
static bool kept_keys(oracle *o)
{
    return chosen_rows(o, choose_kept);
}

/* DMA: the mask has, of the keys up to the query, the `keep` of largest delta; delta is added to the scores. */
static void choose_important(oracle *o, const chooser *c, bool *seen)
{
    for (uint64_t j = 0; j < c->k->shape[2]; j++) {
        seen[j] = false;
        c->score[j] = (int64_t)j <= c->p ? of_key(o, "delta", c->b, c->g, j) : -INFINITY;
    }
    take_largest(c->score, c->k->shape[2], whole(o, "keep"), seen);
}
static double add_delta(oracle *o, uint64_t b, uint64_t h, uint64_t i, uint64_t j, double scale)
{
    (void)i;
    (void)scale;
    return of_key(o, "delta", b, h * input(o, "k")->shape[1] / input(o, "q")->shape[1], j);
}
static bool important_keys(oracle *o)
{
    o->bias = add_delta;
    return chosen_rows(o, choose_important);
}

static const oracle_entry entries[] = {
    {"MoBA", moba},
    {"DARE", top_keys},
    {"Attention-Gate KV eviction", kept_keys},
    {"Dynamic Mask Attention (DMA / flash-dmattn)", important_keys},
};
const oracle_family rapt_oracles_routed = {entries, sizeof entries / sizeof *entries};
