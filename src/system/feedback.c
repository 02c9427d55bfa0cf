/* Sessa: attention in a feedback path, s = f + B s with B strictly lower triangular (arXiv:2604.18580), solved chunk by chunk. */
#include "system/system.h"

enum { MOST_CHUNK = 256 }; /* rows of a state of linear attention */

/* Numbers of tokens. */
enum { GAMMA, ONE, LOWEST, LINES };

/* All in single precision but for out. */
typedef struct feedback {
    rapt_system_view q, k, f, s, out; /* q and k: of the feedback */
    rapt_system_view lines, scores, weights, rows, identity;
    rapt_system_view past, share, known, own_lse, past_lse, lse;
    uint64_t n, chunk;
    float gamma_max;
} feedback;

/* Tokens [first, first + count) of (batch, heads, n, ..). */
static rapt_system_view tokens(rapt_system_view x, uint64_t first, uint64_t count)
{
    return rapt_system_part(x, 2, first, count);
}

/* The first count x count of a matrix for each head. */
static rapt_system_view corner(rapt_system_view x, uint64_t count)
{
    return rapt_system_part(tokens(x, 0, count), 3, 0, count);
}

/* What the feedback works on: causal attention, or what the caller has made of it. */
static bool take_f(rapt_system_builder *b, feedback *t)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view in[3], single[3];
    if (!rapt_system_common(b, &d))
        return false;
    if (rapt_system_given(b, "f")) {
        if (!rapt_system_in(b, "f", 4, &in[0]) || !rapt_system_single(b, "f single", in[0], &t->f))
            return false;
        return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, in[0].tensor.size, &t->out);
    }
    if (!rapt_system_in(b, "q", 4, &in[0]) ||
        !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){in[0].tensor.size[0], 0, in[0].tensor.size[2], in[0].tensor.size[3]}, &in[1]) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){in[0].tensor.size[0], in[1].tensor.size[1], in[0].tensor.size[2], 0}, &in[2]))
        return false;
    const uint64_t *s = in[0].tensor.size, shape[4] = {s[0], s[1], s[2], in[2].tensor.size[3]};
    d.flags |= RAPT_ATTENTION_CAUSAL;
    return rapt_system_single(b, "q single", in[0], &single[0]) && rapt_system_single(b, "k single", in[1], &single[1]) &&
           rapt_system_single(b, "v single", in[2], &single[2]) && rapt_system_between(b, "f", RAPT_F32, 4, shape, &t->f) &&
           rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &t->out) &&
           rapt_system_step_add(b, "attention", &d, single[0], single[1], single[2], t->f, NULL);
}

static bool take(rapt_system_builder *b, feedback *t)
{
    rapt_system_view q, k, gamma;
    int64_t chunk = 1;
    if (!take_f(b, t) || !rapt_system_integer(b, "chunk", 1, MOST_CHUNK, &chunk) || !rapt_system_number(b, "gamma_max", &t->gamma_max))
        return false;
    const uint64_t *s = t->f.tensor.size;
    if (!rapt_system_in_sized(b, "q_b", 4, (const uint64_t[]){s[0], s[1], s[2], 0}, &q) ||
        !rapt_system_in_sized(b, "k_b", 4, q.tensor.size, &k) || !rapt_system_in_f32(b, "gamma", 3, s, &gamma))
        return false;
    t->n = s[2];
    t->chunk = RAPT_MIN((uint64_t)chunk, t->n);
    if (s[0] == 0 || s[1] == 0 || t->n == 0)
        return rapt_system_refuse(b, "there are no tokens");
    const uint64_t square[4] = {s[0], s[1], t->chunk, t->chunk}, part[4] = {s[0], s[1], t->chunk, s[3]};
    return rapt_system_single(b, "q_b single", q, &t->q) && rapt_system_single(b, "k_b single", k, &t->k) &&
           rapt_system_between(b, "s", RAPT_F32, 4, s, &t->s) && rapt_system_lines(b, "numbers", LINES, s, &t->lines) &&
           rapt_system_between(b, "scores", RAPT_F32, 4, square, &t->scores) &&
           rapt_system_between(b, "weights", RAPT_F32, 4, square, &t->weights) &&
           rapt_system_between(b, "rows", RAPT_F32, 4, square, &t->rows) &&
           rapt_system_between(b, "past", RAPT_F32, 4, part, &t->past) && rapt_system_between(b, "share", RAPT_F32, 4, part, &t->share) &&
           rapt_system_between(b, "known", RAPT_F32, 4, part, &t->known) && rapt_system_between(b, "own lse", RAPT_F32, 3, part, &t->own_lse) &&
           rapt_system_between(b, "past lse", RAPT_F32, 3, part, &t->past_lse) && rapt_system_between(b, "lse", RAPT_F32, 3, part, &t->lse) &&
           rapt_system_map(b, "gates", rapt_system_line(t->lines, GAMMA), rapt_system_axes(gamma, (const int[]){0, 1, 2, -1}), 1, 0,
                           RAPT_COMBINE_ACT_TANH) &&
           rapt_system_fill(b, "ones", rapt_system_line(t->lines, ONE), gamma, 1) &&
           rapt_system_fill(b, "less than any sum", rapt_system_line(t->lines, LOWEST), gamma, -1e30f);
}

/* Scores of a chunk's tokens against those before them, -inf elsewhere. */
static bool products(rapt_system_builder *b, rapt_system_view q, rapt_system_view k, rapt_system_view out)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    d.q = q.tensor;
    d.k = k.tensor;
    d.scores = out.tensor;
    d.block_q = d.block_k = d.top_k = 1;
    d.flags = RAPT_ROUTE_CAUSAL;
    d.causal_offset = -1;
    rapt_system_step *s = rapt_system_route_step_add(b, "scores within a chunk", &d);
    if (s == NULL)
        return false;
    s->q = q.at;
    s->k = k.at;
    s->scores = out.at;
    return true;
}

/* What the tokens of a chunk get from those before it, `known`, and the logarithm of all their weights. */
static bool from_past(rapt_system_builder *b, const feedback *t, uint64_t first, uint64_t count)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    const rapt_system_view q = tokens(t->q, first, count), k = tokens(t->k, first, count), f = tokens(t->f, first, count);
    const rapt_system_view known = tokens(t->known, 0, count), share = tokens(t->share, 0, count), past = tokens(t->past, 0, count);
    const rapt_system_view own_lse = tokens(t->own_lse, 0, count), past_lse = tokens(t->past_lse, 0, count), lse = tokens(t->lse, 0, count);
    const rapt_system_view gamma = rapt_system_weights(tokens(rapt_system_line(t->lines, GAMMA), first, count)),
                           lowest = rapt_system_weights(tokens(rapt_system_line(t->lines, LOWEST), first, count));
    d.flags = RAPT_ATTENTION_CAUSAL;
    d.causal_offset = -1;
    if (!rapt_system_step_add(b, "sums of a chunk's own weights", &d, q, k, f, past, &own_lse))
        return false;
    d.flags = 0;
    if (first > 0 && !rapt_system_step_add(b, "attention to what is known", &d, q, tokens(t->k, 0, first), tokens(t->s, 0, first), past, &past_lse))
        return false;
    const rapt_system_term sums[] = {{past, first > 0, first > 0 ? &past_lse : &lowest}, {past, 0, &own_lse}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "its share of all weights", share, sums, 2);
    if (s == NULL)
        return false;
    s->combine.weights = RAPT_COMBINE_SOFTMAX;
    rapt_system_give(&s->combine.lse, &s->lse, &lse);
    const rapt_system_term terms[] = {{f, 1, NULL}, {share, t->gamma_max, &gamma}};
    return rapt_system_combine_step_add(b, "known so far", known, terms, 2) != NULL;
}

/* s_t = known_t + sum over earlier tokens of the chunk of B_tj s_j: a state whose row j is s_j, of which B_t reads and to which token t
 * writes row t. */
static bool solve(rapt_system_builder *b, const feedback *t, uint64_t first, uint64_t count)
{
    const rapt_system_view scores = corner(t->scores, count), weights = corner(t->weights, count), rows = corner(t->rows, count);
    const rapt_system_view lse = tokens(t->lse, 0, count), gamma = tokens(rapt_system_line(t->lines, GAMMA), first, count);
    rapt_system_view ones = rapt_system_axes(rapt_system_line(t->lines, ONE), (const int[]){-1, -1, -1, 2}), diagonal = corner(t->identity, count);
    ones.tensor.size[3] = count;
    diagonal.tensor.size[0] = t->q.tensor.size[0]; /* the same for all */
    diagonal.tensor.stride[0] = 0;
    if (!products(b, tokens(t->q, first, count), tokens(t->k, first, count), scores))
        return false;
    const rapt_system_term terms[] = {{scores, 1, NULL}, {ones, -1, &lse}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "as weights", weights, terms, 2);
    if (s == NULL)
        return false;
    s->combine.act = RAPT_COMBINE_ACT_EXP;
    if (!rapt_system_weigh(b, "gated", rows, weights, gamma, t->gamma_max, RAPT_COMBINE_ACT_NONE))
        return false;
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.rule = RAPT_LINEAR_DPLR;
    s = rapt_system_linear_step_add(b, "feedback within a chunk", &d);
    if (s == NULL)
        return false;
    rapt_system_linear_give(s, diagonal, diagonal, tokens(t->known, 0, count), tokens(t->s, first, count));
    rapt_system_give(&s->linear.a, &s->a, &rows);
    rapt_system_give(&s->linear.b, &s->b, &diagonal);
    return true;
}

bool rapt_system_feedback(rapt_system_builder *b)
{
    feedback t = {.gamma_max = 1};
    if (!take(b, &t) || !rapt_system_identity(b, rapt_system_line(t.lines, ONE), t.chunk, &t.identity))
        return false;
    for (uint64_t first = 0; first < t.n; first += t.chunk) {
        const uint64_t count = RAPT_MIN(t.chunk, t.n - first);
        if (!from_past(b, &t, first, count) || !solve(b, &t, first, count))
            return false;
    }
    return rapt_system_map(b, "as it is", t.out, t.s, 1, 0, RAPT_COMBINE_ACT_NONE);
}
