/* Systems whose tokens are of two kinds: some are keys of a softmax, the others go into a state. */
#include "system/system.h"

#include <math.h>

/* ---- Attention Surgery ---- */

/* Numbers of tokens. */
enum { ONE, LINEAR, SUM, LOG_SUM, BY_SUM, SHARE, LINES };

typedef struct surgery {
    rapt_system_view q, k, v, phi_q, phi_k, tokens, out; /* single precision but for out */
    rapt_system_view keys, values, soft, lse, highest, lines, state, read;
    float scale;
} surgery;

static bool take_surgery(rapt_system_builder *b, surgery *t)
{
    static const char *const names[] = {"q", "k", "v", "phi_q", "phi_k"},
                            *const single[] = {"q single", "k single", "v single", "phi_q single", "phi_k single"};
    rapt_system_view in[5], *const to[] = {&t->q, &t->k, &t->v, &t->phi_q, &t->phi_k};
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    for (int i = 0; i < 5; i++) {
        const uint64_t *s = in[0].tensor.size, want[4] = {s[0], s[1], s[2], i == 1 ? s[3] : i == 4 ? in[3].tensor.size[3] : 0};
        if (!(i == 0 ? rapt_system_in(b, names[i], 4, &in[i]) : rapt_system_in_sized(b, names[i], 4, want, &in[i])) ||
            !rapt_system_single(b, single[i], in[i], to[i]))
            return false;
    }
    const uint64_t *s = in[0].tensor.size;
    if (!rapt_system_common(b, &d) || !rapt_system_in_i32(b, "tokens", 2, (const uint64_t[]){s[0], 0}, &t->tokens))
        return false;
    const uint64_t m = t->tokens.tensor.size[1], dv = in[2].tensor.size[3];
    if (s[0] == 0 || s[1] == 0 || s[2] == 0 || m == 0)
        return rapt_system_refuse(b, "q or tokens is empty");
    t->scale = d.flags & RAPT_ATTENTION_SCALE ? d.scale : 1 / sqrtf((float)s[3]);
    const uint64_t keys[4] = {s[0], s[1], m, s[3]}, values[4] = {s[0], s[1], m, dv};
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, in[2].tensor.size, &t->out) &&
           rapt_system_between(b, "keys", RAPT_F32, 4, keys, &t->keys) && rapt_system_between(b, "values", RAPT_F32, 4, values, &t->values) &&
           rapt_system_between(b, "soft", RAPT_F32, 4, in[2].tensor.size, &t->soft) && rapt_system_between(b, "lse", RAPT_F32, 3, s, &t->lse) &&
           rapt_system_between(b, "highest", RAPT_F32, 3, s, &t->highest) &&
           rapt_system_between(b, "linear", RAPT_F32, 4, in[2].tensor.size, &t->state) &&
           rapt_system_between(b, "linear, over its sum", RAPT_F32, 4, in[2].tensor.size, &t->read) &&
           rapt_system_lines(b, "sums", LINES, s, &t->lines);
}

/* A list (batch, m) for all heads. */
static rapt_system_view for_heads(rapt_system_view list)
{
    return rapt_system_ranked(list, 3, (const int[]){0, -1, 1, -1});
}

/* Softmax over the tokens of its kind, and each query's highest score among them. */
static bool attend_soft(rapt_system_builder *b, const surgery *t)
{
    const rapt_system_view list = for_heads(t->tokens);
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.flags = RAPT_ATTENTION_SCALE;
    d.scale = t->scale;
    if (!rapt_system_rows_step_add(b, "keys of the softmax", RAPT_ROWS_GATHER, t->k, list, t->keys) ||
        !rapt_system_rows_step_add(b, "their values", RAPT_ROWS_GATHER, t->v, list, t->values))
        return false;
    rapt_system_step *s = rapt_system_step_add(b, "softmax tokens", &d, t->q, t->keys, t->values, t->soft, &t->lse);
    if (s != NULL)
        rapt_system_give(&s->attention.row_max, &s->row_max, &t->highest);
    return s != NULL;
}

/* phi(q_i) . sum over the other tokens of phi(k_j) x_j. */
static bool sum_linear(rapt_system_builder *b, const char *what, const surgery *t, rapt_system_view x, rapt_system_view to)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.flags = RAPT_LINEAR_BIDIRECTIONAL;
    rapt_system_step *s = rapt_system_linear_step_add(b, what, &d);
    if (s == NULL)
        return false;
    rapt_system_linear_give(s, t->phi_q, t->phi_k, x, to);
    const rapt_system_view counts = rapt_system_weights(rapt_system_line(t->lines, LINEAR));
    rapt_system_give(&s->linear.beta, &s->beta, &counts);
    return true;
}

/* Which tokens are of the other kind: 1 less what the list puts back. */
static bool mark_linear(rapt_system_builder *b, const surgery *t)
{
    const rapt_system_view soft = rapt_system_line(t->lines, SHARE), ones = rapt_system_line(t->lines, ONE);
    return rapt_system_fill(b, "ones", ones, t->q, 1) &&
           rapt_system_rows_step_add(b, "softmax tokens are marked", RAPT_ROWS_SCATTER,
                                     rapt_system_part(ones, 2, 0, t->tokens.tensor.size[1]), for_heads(t->tokens), soft) &&
           rapt_system_map(b, "the others", rapt_system_line(t->lines, LINEAR), soft, -1, 1, RAPT_COMBINE_ACT_NONE);
}

/* Softmax tokens and linear tokens over one sum: e^(lse - c) soft + linear, c the highest score. */
bool rapt_system_surgery(rapt_system_builder *b)
{
    surgery t;
    if (!take_surgery(b, &t) || !attend_soft(b, &t) || !mark_linear(b, &t))
        return false;
    const rapt_system_view sum = rapt_system_line(t.lines, SUM), log_sum = rapt_system_line(t.lines, LOG_SUM),
                           by_sum = rapt_system_line(t.lines, BY_SUM), share = rapt_system_line(t.lines, SHARE);
    const rapt_system_view lse = rapt_system_axes(t.lse, (const int[]){0, 1, 2, -1});
    const rapt_system_view highest = rapt_system_axes(t.highest, (const int[]){0, 1, 2, -1});
    if (!sum_linear(b, "sum of the linear tokens' weights", &t, rapt_system_line(t.lines, ONE), sum) ||
        !sum_linear(b, "linear tokens", &t, t.v, t.state) ||
        !rapt_system_map(b, "its logarithm", log_sum, sum, 1, 0, RAPT_COMBINE_ACT_LOG) ||
        !rapt_system_map(b, "one over it", by_sum, sum, 1, 0, RAPT_COMBINE_ACT_RECIPROCAL) ||
        !rapt_system_weigh(b, "their mean", t.read, t.state, by_sum, 1, RAPT_COMBINE_ACT_NONE))
        return false;
    const rapt_system_term less[] = {{lse, 1, NULL}, {highest, -1, NULL}};
    if (!rapt_system_combine_step_add(b, "the softmax's sum, less its highest score", share, less, 2))
        return false;
    const rapt_system_view soft_weight = rapt_system_weights(share), linear_weight = rapt_system_weights(log_sum);
    const rapt_system_term terms[] = {{t.soft, 1, &soft_weight}, {t.read, 1, &linear_weight}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "both over one sum", t.out, terms, 2);
    if (s != NULL)
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
    return s != NULL;
}

/* ---- NAtS-L ---- */

/* Chunks go to a gated delta state or to the keys of a softmax, whichever scores higher; every query reads both. */
bool rapt_system_two_kinds_of_chunks(rapt_system_builder *b)
{
    enum { TO_STATE, TO_SOFTMAX };
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_linear_desc linear = RAPT_LINEAR_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_system_view scores, alpha, beta, one, kinds, marks, decay, rate, mask, part[2];
    int64_t chunk = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "chunk", 1, 1 << 20, &chunk))
        return false;
    const uint64_t *s = t.out.tensor.size, n = s[2], chunks = rapt_div_up(n, (uint64_t)chunk), kv = t.k.tensor.size[1];
    if (s[0] == 0 || kv == 0 || n == 0 || t.k.tensor.size[2] != n || s[1] % kv != 0)
        return rapt_system_refuse(b, "as many queries as keys, none of them none, and kv heads that divide the query heads are needed");
    if (!rapt_system_in_f32(b, "scores", 3, (const uint64_t[]){s[0], chunks, 2}, &scores) || !rapt_system_in_f32(b, "alpha", 3, s, &alpha) ||
        !rapt_system_in_f32(b, "beta", 3, s, &beta) ||
        !rapt_system_between(b, "one", RAPT_F32, 4, (const uint64_t[]){1, 1, 1, 1}, &one) ||
        !rapt_system_between(b, "kinds", RAPT_F32, 4, (const uint64_t[]){s[0], 2, chunks, 1}, &kinds) ||
        !rapt_system_between(b, "marks", RAPT_F32, 4, (const uint64_t[]){s[0], chunks, (uint64_t)chunk, 1}, &marks) ||
        !rapt_system_between(b, "decay", RAPT_F32, 4, (const uint64_t[]){s[0], s[1], n, 1}, &decay) ||
        !rapt_system_between(b, "rate", RAPT_F32, 4, (const uint64_t[]){s[0], s[1], n, 1}, &rate) ||
        !rapt_system_between(b, "mask", RAPT_I32, 4, (const uint64_t[]){s[0], s[1], 1, chunks}, &mask) ||
        !rapt_system_between(b, "of the softmax", b->dtype, 4, s, &part[0]) || !rapt_system_between(b, "of the state", b->dtype, 4, s, &part[1]) ||
        !rapt_system_fill(b, "one", one, scores, 1))
        return false;
    /* The higher score's kind gets 1, the other 0. */
    const rapt_system_view by_kind = rapt_system_ranked(scores, 3, (const int[]){0, 2, 1, -1});
    rapt_system_step *step = rapt_system_combine_step_add(b, "chunks are routed", kinds, &(rapt_system_term){one, 1, &by_kind}, 1);
    if (step == NULL)
        return false;
    step->combine.weights = RAPT_COMBINE_TOP;
    step->combine.top = step->combine.top_normalise = 1;
    const rapt_system_view of_state = rapt_system_axes(rapt_system_part(kinds, 1, TO_STATE, 1), (const int[]){0, 2, -1, -1});
    if (!rapt_system_map(b, "and their tokens", marks, of_state, 1, 0, RAPT_COMBINE_ACT_NONE))
        return false;
    rapt_system_view in_state = marks; /* (batch, 1, n, 1), chunks side by side */
    in_state.tensor.size[1] = 1;
    in_state.tensor.size[2] = n;
    in_state.tensor.stride[2] = 1;
    const rapt_system_view marked = rapt_system_weights(in_state), gates = rapt_system_axes(alpha, (const int[]){0, 1, 2, -1});
    const rapt_system_term terms[] = {{gates, 1, &marked}, {one, -1, &marked}}; /* 1 where a token is not of the state's */
    step = rapt_system_combine_step_add(b, "decays of the state's tokens", decay, terms, 2);
    if (step == NULL)
        return false;
    step->combine.offset = 1;
    if (!rapt_system_weigh(b, "and what they write", rate, rapt_system_axes(beta, (const int[]){0, 1, 2, -1}), in_state, 1, RAPT_COMBINE_ACT_NONE))
        return false;
    linear.rule = RAPT_LINEAR_DELTA;
    step = rapt_system_linear_step_add(b, "the gated delta rule over the state's tokens", &linear);
    if (step == NULL)
        return false;
    rapt_system_linear_give(step, t.q, t.k, t.v, part[1]);
    const rapt_system_view decays = rapt_system_weights(decay), rates = rapt_system_weights(rate);
    rapt_system_give(&step->linear.decay, &step->decay, &decays);
    rapt_system_give(&step->linear.beta, &step->beta, &rates);
    route.flags = RAPT_ROUTE_SCORES_GIVEN;
    route.nq = route.nk = n;
    route.block_q = n;
    route.block_k = (uint64_t)chunk;
    route.select = RAPT_SELECT_THRESHOLD;
    route.threshold = 0.5f;
    rapt_system_view given = rapt_system_axes(rapt_system_part(kinds, 1, TO_SOFTMAX, 1), (const int[]){0, 1, -1, 2});
    given.tensor.size[1] = s[1]; /* the same for all heads */
    given.tensor.stride[1] = 0;
    rapt_system_give(&route.scores, &(rapt_system_operand){0}, &given);
    route.mask = mask.tensor;
    step = rapt_system_route_step_add(b, "chunks of the softmax", &route);
    if (step == NULL)
        return false;
    step->scores = given.at;
    step->mask = mask.at;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    step = rapt_system_step_add(b, "causal attention to these", &d, t.q, t.k, t.v, part[0], NULL);
    if (step == NULL)
        return false;
    rapt_system_give(&step->attention.block_mask, &step->block_mask, &mask);
    step->attention.block_q = (uint32_t)n;
    step->attention.block_k = (uint32_t)chunk;
    const rapt_system_term both[] = {{part[0], 1, NULL}, {part[1], 1, NULL}};
    return rapt_system_combine_step_add(b, "their sum", t.out, both, 2) != NULL;
}
