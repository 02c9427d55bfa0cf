/* Systems that put several attentions together: differences, mixtures of experts and of heads, sources with scales of their own.
 * What is multiplied and added stands in rapt/combine.h. */
#include "system/system.h"

static bool between(rapt_system_builder *b, const char *name, const uint64_t shape[4], rapt_system_view *view)
{
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, b->dtype, 4, shape, view);
}

/* Rank 3 from other axes; -1: a new one of size 1. What weights of rows are read by. */
static rapt_system_view weights_of(rapt_system_view view, int batch, int heads, int n)
{
    rapt_system_view out = rapt_system_axes(view, (const int[]){batch, heads, n, -1});
    out.tensor.rank = 3;
    return out;
}

/* k and v that belong together, and to q. */
static bool take_pair(rapt_system_builder *b, const char *k_name, const char *v_name, const rapt_system_view *q, rapt_system_view *k,
                      rapt_system_view *v)
{
    const uint64_t *a = q->tensor.size;
    return rapt_system_in_sized(b, k_name, 4, (const uint64_t[]){a[0], 0, 0, a[3]}, k) &&
           rapt_system_in_sized(b, v_name, 4, (const uint64_t[]){a[0], k->tensor.size[1], k->tensor.size[2], 0}, v);
}

/* Differential attention: two maps subtracted, then a norm for each head. */
bool rapt_system_differential(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q, k, v, lambda, norm, part[2], out;
    float lambda_init = 0, epsilon = 0;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q.tensor.size[0], 0, 0, q.tensor.size[3]}, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){q.tensor.size[0], 0, k.tensor.size[2], 0}, &v) ||
        !rapt_system_common(b, &d) || !rapt_system_number(b, "lambda_init", &lambda_init) || !rapt_system_number(b, "eps", &epsilon))
        return false;
    const uint64_t heads = q.tensor.size[1] / 2, kv_heads = v.tensor.size[1];
    if (q.tensor.size[1] % 2 != 0 || heads == 0 || k.tensor.size[1] != 2 * kv_heads || kv_heads == 0 || heads % kv_heads != 0)
        return rapt_system_refuse(b, "%llu heads of q, %llu of k and %llu of v: q and k have two for each head, and v's heads divide these",
                                  (unsigned long long)q.tensor.size[1], (unsigned long long)k.tensor.size[1],
                                  (unsigned long long)kv_heads);
    const uint64_t shape[4] = {q.tensor.size[0], heads, q.tensor.size[2], v.tensor.size[3]};
    const bool weighed = rapt_system_given(b, "norm");
    if (!rapt_system_in_f32(b, "lambda", 1, &heads, &lambda) || (weighed && !rapt_system_in_f32(b, "norm", 1, &shape[3], &norm)) ||
        !between(b, "first", shape, &part[0]) || !between(b, "second", shape, &part[1]) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &out))
        return false;
    for (uint64_t n = 0; n < 2; n++)
        if (!rapt_system_step_add(b, n ? "the second map" : "the first map", &d, rapt_system_every(q, 1, n, 2),
                                  rapt_system_every(k, 1, n, 2), v, part[n], NULL))
            return false;
    const rapt_system_view by_head = weights_of(lambda, -1, 0, -1);
    const rapt_system_term terms[] = {{part[0], 1, NULL}, {part[1], -1, &by_head}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "their difference, normed", out, terms, 2);
    if (s == NULL)
        return false;
    s->combine.norm = 1;
    s->combine.norm_epsilon = epsilon;
    s->combine.out_factor = 1 - lambda_init;
    if (weighed) {
        s->combine.norm_weight = norm.tensor;
        s->combine.norm_weight.rank = 2; /* one line for all heads */
        s->combine.norm_weight.size[0] = 1;
        s->combine.norm_weight.size[1] = shape[3];
        s->combine.norm_weight.stride[1] = norm.tensor.stride[0];
        s->combine.norm_weight.stride[0] = 0;
        s->norm_weight = norm.at;
    }
    return true;
}

/* ---- routed heads ---- */

/* Heads weighed by a router: `top` of them, the others times 0. */
static bool add_top(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view x, rapt_system_view weight,
                    uint32_t top, bool normalise)
{
    const rapt_system_term term = {x, 1, &weight};
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &term, 1);
    if (s == NULL)
        return false;
    s->combine.weights = RAPT_COMBINE_TOP;
    s->combine.top = top;
    s->combine.top_normalise = normalise;
    return true;
}

/* y times the first, or the second, of softmax(both). */
static bool add_share(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view y, rapt_system_view shares,
                      uint64_t which)
{
    const rapt_system_view first = weights_of(rapt_system_part(shares, 2, 0, 1), 0, 2, 1),
                           second = weights_of(rapt_system_part(shares, 2, 1, 1), 0, 2, 1);
    const rapt_system_term terms[] = {{y, which == 0, &first}, {y, which == 1, &second}};
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, terms, 2);
    if (s != NULL)
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
    return s != NULL;
}

/* MoH: shared heads and the best of the others, each part weighed by a softmax, and both parts by another. */
bool rapt_system_moh(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view router, shares, heads_out, weighed;
    int64_t top = 0, shared = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *shape = t.out.tensor.size, heads = shape[1];
    if (heads == 0 || heads > UINT32_MAX)
        return rapt_system_refuse(b, "%llu heads; 1 to 2^32 - 1 are needed", (unsigned long long)heads);
    if (!rapt_system_integer(b, "shared", 0, (int64_t)heads - 1, &shared) ||
        !rapt_system_integer(b, "top", 1, (int64_t)heads - shared, &top) ||
        !rapt_system_in_f32(b, "router", 3, (const uint64_t[]){shape[0], shape[2], heads}, &router) ||
        !rapt_system_in_f32(b, "shares", 3, (const uint64_t[]){shape[0], shape[2], 2}, &shares) ||
        !between(b, "heads", shape, &heads_out) || !between(b, "weighed", shape, &weighed) ||
        !rapt_system_step_add(b, "all heads", &d, t.q, t.k, t.v, heads_out, NULL))
        return false;
    for (uint64_t part = 0; part < 2; part++) {
        const uint64_t first = part ? (uint64_t)shared : 0, count = part ? heads - first : (uint64_t)shared;
        const rapt_system_view y = rapt_system_part(weighed, 1, first, count);
        if (count > 0 && (!add_top(b, part ? "the best routed heads" : "shared heads", y, rapt_system_part(heads_out, 1, first, count),
                                   weights_of(rapt_system_part(router, 2, first, count), 0, 2, 1), (uint32_t)(part ? top : shared),
                                   false) ||
                          !add_share(b, part ? "their share" : "the shared heads' share", rapt_system_part(t.out, 1, first, count), y,
                                     shares, part)))
            return false;
    }
    return true;
}

/* Mixture of attention heads: the best experts' queries on one pair of keys and values. */
bool rapt_system_expert_heads(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view g, heads_out;
    int64_t top = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *shape = t.out.tensor.size;
    return rapt_system_integer(b, "top", 1, (int64_t)RAPT_MIN(shape[1], 1u << 30), &top) &&
           rapt_system_in_f32(b, "g", 3, (const uint64_t[]){shape[0], shape[2], shape[1]}, &g) &&
           between(b, "experts", shape, &heads_out) &&
           rapt_system_step_add(b, "all experts", &d, t.q, t.k, t.v, heads_out, NULL) &&
           add_top(b, "the best of them", t.out, heads_out, weights_of(g, 0, 2, 1), (uint32_t)top, true);
}

/* BAM: every expert's attention, mixed by a softmax. Experts join one by one: what was mixed so far has their log-sum-exp. */
bool rapt_system_soft_experts(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q, k, v, g, out, one, mixed[2], sums[2];
    int64_t experts = 1;
    if (!rapt_system_in(b, "q", 4, &q) || !take_pair(b, "k", "v", &q, &k, &v) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "experts", 1, RAPT_SYSTEM_STEPS / 2, &experts))
        return false;
    const uint64_t *a = q.tensor.size, heads = a[1] / (uint64_t)experts, kv = k.tensor.size[1];
    const bool own = kv != heads;
    if (a[1] % (uint64_t)experts != 0 || heads == 0 || (own && kv != a[1]))
        return rapt_system_refuse(b, "%llu query heads, %llu kv heads and %lld experts: each expert has as many query heads, and kv heads "
                                  "are all experts' or each one's own", (unsigned long long)a[1], (unsigned long long)kv, (long long)experts);
    const uint64_t shape[4] = {a[0], heads, a[2], v.tensor.size[3]};
    if (!rapt_system_in_f32(b, "g", 3, (const uint64_t[]){a[0], a[2], (uint64_t)experts}, &g) || !between(b, "one", shape, &one) ||
        !between(b, "mixed", shape, &mixed[0]) || !between(b, "mixed_too", shape, &mixed[1]) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "sums", RAPT_F32, 3, shape, &sums[0]) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "sums_too", RAPT_F32, 3, shape, &sums[1]) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &out))
        return false;
    for (uint64_t e = 0; e < (uint64_t)experts; e++) {
        const bool last = e + 1 == (uint64_t)experts;
        const rapt_system_view weight = weights_of(rapt_system_part(g, 2, e, 1), 0, 2, 1), to = last ? out : mixed[e % 2];
        if (!rapt_system_step_add(b, "an expert's attention", &d, rapt_system_part(q, 1, e * heads, heads),
                                  own ? rapt_system_part(k, 1, e * heads, heads) : k, own ? rapt_system_part(v, 1, e * heads, heads) : v, one,
                                  NULL))
            return false;
        const rapt_system_term terms[] = {{one, 1, &weight}, {mixed[(e + 1) % 2], 1, &sums[(e + 1) % 2]}};
        rapt_system_step *s = rapt_system_combine_step_add(b, "it joins the others", to, terms, e > 0 ? 2 : 1);
        if (s == NULL)
            return false;
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
        if (!last) {
            s->combine.lse = sums[e % 2].tensor;
            s->lse = sums[e % 2].at;
        }
    }
    return true;
}

/* ---- two attentions in one ---- */

/* Queries over their own keys, and the same or others over a second source; either weighed where the system has weights: one for
 * each source, or one for each token and source. */
bool rapt_system_two_sources(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT, second = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q2, k2, v2, part[2], weights, by_row[2];
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    second.flags = d.flags & ~(uint32_t)RAPT_ATTENTION_CAUSAL;
    second.scale = d.scale;
    q2 = t.q;
    const uint64_t *shape = t.out.tensor.size;
    if ((rapt_system_given(b, "q2") && !rapt_system_in_sized(b, "q2", 4, t.q.tensor.size, &q2)) || !take_pair(b, "k2", "v2", &q2, &k2, &v2))
        return false;
    if (k2.tensor.size[1] != t.k.tensor.size[1] || v2.tensor.size[3] != shape[3])
        return rapt_system_refuse(b, "both sources must agree in kv heads and d_v");
    const bool by_source = rapt_system_given(b, "weights"), by_token = rapt_system_given(b, "r");
    if ((by_source && !rapt_system_in_f32(b, "weights", 1, (const uint64_t[]){2}, &weights)) ||
        (by_token && !rapt_system_in_f32(b, "r", 3, (const uint64_t[]){shape[0], shape[2], 2}, &weights)) ||
        !between(b, "first", shape, &part[0]) || !between(b, "second", shape, &part[1]) ||
        !rapt_system_step_add(b, "the first source", &d, t.q, t.k, t.v, part[0], NULL) ||
        !rapt_system_step_add(b, "the second source", &second, q2, k2, v2, part[1], NULL))
        return false;
    for (uint64_t n = 0; n < 2 && (by_source || by_token); n++)
        by_row[n] = by_token ? weights_of(rapt_system_part(weights, 2, n, 1), 0, 2, 1)
                             : weights_of(rapt_system_part(weights, 0, n, 1), -1, 0, -1);
    const bool weighed = by_source || by_token;
    const rapt_system_term terms[] = {{part[0], 1, weighed ? &by_row[0] : NULL}, {part[1], 1, weighed ? &by_row[1] : NULL}};
    return rapt_system_combine_step_add(b, "their sum", t.out, terms, 2) != NULL;
}

/* Wings: what two learners read of their modalities joins the main attention, token by token. */
bool rapt_system_learners(rapt_system_builder *b)
{
    static const char *const k_names[] = {"k_visual", "k_text"}, *const v_names[] = {"v_visual", "v_text"},
                            *const parts[] = {"visual learner", "text learner"};
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT, cross = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view k, v, part[3], r, by_token[2];
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    cross.flags = d.flags & ~(uint32_t)RAPT_ATTENTION_CAUSAL;
    cross.scale = d.scale;
    const uint64_t *shape = t.out.tensor.size;
    if (!rapt_system_in_f32(b, "r", 3, (const uint64_t[]){shape[0], shape[2], 2}, &r) || !between(b, "main", shape, &part[2]) ||
        !rapt_system_step_add(b, "the main attention", &d, t.q, t.k, t.v, part[2], NULL))
        return false;
    for (uint64_t n = 0; n < 2; n++) {
        if (!take_pair(b, k_names[n], v_names[n], &t.q, &k, &v) || !between(b, parts[n], shape, &part[n]))
            return false;
        if (k.tensor.size[1] != t.k.tensor.size[1] || v.tensor.size[3] != shape[3])
            return rapt_system_refuse(b, "all sources must agree in kv heads and d_v");
        if (!rapt_system_step_add(b, parts[n], &cross, t.q, k, v, part[n], NULL))
            return false;
        by_token[n] = weights_of(rapt_system_part(r, 2, n, 1), 0, 2, 1);
    }
    const rapt_system_term terms[] = {{part[0], 1, &by_token[0]}, {part[1], 1, &by_token[1]}, {part[2], 1, NULL}};
    return rapt_system_combine_step_add(b, "their sum", t.out, terms, 3) != NULL;
}

/* LLM Modules: x and, gated token by token, what it reads of a large model's states. */
bool rapt_system_gated_reading(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view x, g, read;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *shape = t.out.tensor.size;
    if (!rapt_system_in_sized(b, "x", 4, shape, &x) || !rapt_system_in_f32(b, "g", 2, (const uint64_t[]){shape[0], shape[2]}, &g) ||
        !between(b, "read", shape, &read) || !rapt_system_step_add(b, "cross attention", &d, t.q, t.k, t.v, read, NULL))
        return false;
    const rapt_system_view by_token = weights_of(g, 0, -1, 1);
    const rapt_system_term terms[] = {{x, 1, NULL}, {read, 1, &by_token}};
    return rapt_system_combine_step_add(b, "gated, to x", t.out, terms, 2) != NULL;
}

/* HeadHunter / SoftPAG: the map pulled towards the identity, head by head: A V + u V - u A V. */
bool rapt_system_towards_identity(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view u, attended;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *shape = t.out.tensor.size;
    if (shape[1] != t.v.tensor.size[1] || shape[2] != t.v.tensor.size[2])
        return rapt_system_refuse(b, "as many queries as keys, and as many query heads as kv heads are needed");
    if (!rapt_system_in_f32(b, "u", 1, &shape[1], &u) || !between(b, "attended", shape, &attended) ||
        !rapt_system_step_add(b, "attention", &d, t.q, t.k, t.v, attended, NULL))
        return false;
    const rapt_system_view by_head = weights_of(u, -1, 0, -1);
    const rapt_system_term terms[] = {{attended, 1, NULL}, {t.v, 1, &by_head}, {attended, -1, &by_head}};
    return rapt_system_combine_step_add(b, "pulled towards its values", t.out, terms, 3) != NULL;
}

/* ---- q, k and v changed before attention ---- */

/* Focus directions: a vector per head added to q, and to k. */
bool rapt_system_directions(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view u[2], moved[2], *const from[2] = {&t.q, &t.k};
    float amount = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_number(b, "a", &amount))
        return false;
    for (int n = 0; n < 2; n++) {
        const uint64_t *shape = from[n]->tensor.size, want[2] = {shape[1], shape[3]};
        if (!rapt_system_in_sized(b, n ? "u_k" : "u_q", 2, want, &u[n]) || !between(b, n ? "k_moved" : "q_moved", shape, &moved[n]))
            return false;
        const rapt_system_term terms[] = {{*from[n], 1, NULL}, {rapt_system_axes(u[n], (const int[]){-1, 0, -1, 1}), amount, NULL}};
        if (!rapt_system_combine_step_add(b, n ? "keys are moved" : "queries are moved", moved[n], terms, 2))
            return false;
    }
    return rapt_system_step_add(b, "attention", &d, moved[0], moved[1], t.v, t.out, t.has_lse ? &t.lse : NULL);
}

/* MHE: heads made from one projection by embeddings, added or multiplied. */
bool rapt_system_embedded_heads(rapt_system_builder *b)
{
    static const char *const names[] = {"q", "k", "v"}, *const of_heads[] = {"q_heads", "k_heads", "v_heads"};
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view in[3], embeddings, made[3], out;
    int64_t multiply = 0;
    if (!rapt_system_in_sized(b, "q", 4, (const uint64_t[]){0, 1, 0, 0}, &in[0]))
        return false;
    const uint64_t *q = in[0].tensor.size;
    if (!rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q[0], 1, 0, q[3]}, &in[1]) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){q[0], 1, in[1].tensor.size[2], q[3]}, &in[2]) ||
        !rapt_system_in_sized(b, "embeddings", 3, (const uint64_t[]){3, 0, q[3]}, &embeddings) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "multiply", 0, 1, &multiply))
        return false;
    for (uint64_t n = 0; n < 3; n++) {
        const uint64_t shape[4] = {q[0], embeddings.tensor.size[1], in[n].tensor.size[2], q[3]};
        rapt_system_view e = rapt_system_axes(rapt_system_part(embeddings, 0, n, 1), (const int[]){-1, 1, -1, 2});
        const rapt_system_term terms[] = {{in[n], 1, NULL}, {e, 1, NULL}};
        if (!between(b, of_heads[n], shape, &made[n]))
            return false;
        rapt_system_step *s = rapt_system_combine_step_add(b, names[n], made[n], terms, multiply ? 1 : 2);
        if (s == NULL)
            return false;
        if (multiply) {
            e.tensor.size[0] = shape[0]; /* a gate has all sizes; these have no stride */
            e.tensor.size[2] = shape[2];
            s->combine.gate = e.tensor;
            s->combine.gate_kind = RAPT_GATE_PRODUCT;
            s->gate = e.at;
        }
    }
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4,
                           (const uint64_t[]){q[0], embeddings.tensor.size[1], q[2], q[3]}, &out) &&
           rapt_system_step_add(b, "attention", &d, made[0], made[1], made[2], out, NULL);
}

/* FcaFormer: keys and values of earlier blocks, times a number each, behind the own ones. */
bool rapt_system_forward_cross(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view before[2], scales, joined[2], *const own[2] = {&t.k, &t.v};
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t n = t.k.tensor.size[2];
    for (int i = 0; i < 2; i++) {
        const uint64_t *s = own[i]->tensor.size, want[4] = {s[0], s[1], i ? before[0].tensor.size[2] : 0, s[3]};
        if (!rapt_system_in_sized(b, i ? "v_before" : "k_before", 4, want, &before[i]))
            return false;
    }
    const uint64_t all = before[0].tensor.size[2];
    if (!rapt_system_in_f32(b, "scales", 1, (const uint64_t[]){0}, &scales))
        return false;
    const uint64_t blocks = scales.tensor.size[0];
    if (blocks == 0 || blocks > (RAPT_SYSTEM_STEPS - 3) / 2 || all % blocks != 0 || n > UINT64_MAX - all)
        return rapt_system_refuse(b, "%llu earlier keys of %llu blocks: as many for each of 1 to %d blocks are needed",
                                  (unsigned long long)all, (unsigned long long)blocks, (RAPT_SYSTEM_STEPS - 3) / 2);
    for (int i = 0; i < 2; i++) {
        const uint64_t *s = own[i]->tensor.size, shape[4] = {s[0], s[1], n + all, s[3]};
        const rapt_system_term term = {*own[i], 1, NULL};
        if (!between(b, i ? "v_all" : "k_all", shape, &joined[i]) ||
            !rapt_system_combine_step_add(b, i ? "own values" : "own keys", rapt_system_part(joined[i], 2, 0, n), &term, 1))
            return false;
        for (uint64_t block = 0; block < blocks; block++) {
            const uint64_t each = all / blocks;
            const rapt_system_view scale = weights_of(rapt_system_part(scales, 0, block, 1), -1, 0, -1);
            const rapt_system_term scaled = {rapt_system_part(before[i], 2, block * each, each), 1, &scale};
            if (!rapt_system_combine_step_add(b, i ? "values of a block before" : "keys of a block before",
                                              rapt_system_part(joined[i], 2, n + block * each, each), &scaled, 1))
                return false;
        }
    }
    return rapt_system_step_add(b, "attention over all", &d, t.q, joined[0], joined[1], t.out, NULL);
}

/* Optimised, Efficient and Super Attention: values, and keys that are not given, are slices of x; of Super the values go through
 * a matrix along the tokens first, which is attention with the matrix for weights. */
bool rapt_system_slices(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT, mix = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q, k, x, v, w, mixed, out;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in_sized(b, "x", 3, (const uint64_t[]){q.tensor.size[0], 0, 0}, &x) ||
        !rapt_system_common(b, &d))
        return false;
    const uint64_t heads = q.tensor.size[1], n = x.tensor.size[1], channels = x.tensor.size[2];
    if (heads == 0 || channels % heads != 0)
        return rapt_system_refuse(b, "%llu channels for %llu heads", (unsigned long long)channels, (unsigned long long)heads);
    v = rapt_system_axes(x, (const int[]){0, -1, 1, 2});
    v.tensor.size[1] = heads;
    v.tensor.stride[1] = (int64_t)(channels / heads);
    v.tensor.size[3] = channels / heads;
    v.tensor.align = rapt_dtype_size(b->dtype); /* slices begin anywhere */
    k = v;
    if (rapt_system_given(b, "k") && !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q.tensor.size[0], heads, n, q.tensor.size[3]}, &k))
        return false;
    if (k.tensor.size[3] != q.tensor.size[3])
        return rapt_system_refuse(b, "q has head dim %llu, the slices of x %llu", (unsigned long long)q.tensor.size[3],
                                  (unsigned long long)k.tensor.size[3]);
    if (rapt_system_given(b, "w_a")) {
        if (!rapt_system_in_f32(b, "w_a", 2, (const uint64_t[]){n, n}, &w) || !between(b, "mixed", v.tensor.size, &mixed))
            return false;
        mix.flags = RAPT_ATTENTION_SCALE; /* 0: the weights are the bias alone */
        mix.link = RAPT_LINK_NONE;
        mix.bias = rapt_system_axes(w, (const int[]){-1, -1, 0, 1}).tensor;
        rapt_system_step *s = rapt_system_step_add(b, "values along the tokens", &mix, v, v, v, mixed, NULL);
        if (s == NULL)
            return false;
        s->bias = w.at;
        v = mixed;
    }
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4,
                           (const uint64_t[]){q.tensor.size[0], heads, q.tensor.size[2], channels / heads}, &out) &&
           rapt_system_step_add(b, "attention", &d, q, k, v, out, NULL);
}

/* ConsistEdit: q, k or v of a source in place of the own ones where a mask says so: x + m x_source - m x. */
bool rapt_system_replaced(rapt_system_builder *b)
{
    static const char *const sources[] = {"q_source", "k_source", "v_source"}, *const mixed[] = {"q_mixed", "k_mixed", "v_mixed"};
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view mask, *const own[3] = {&t.q, &t.k, &t.v};
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t n = t.q.tensor.size[2];
    if (n != t.k.tensor.size[2])
        return rapt_system_refuse(b, "%llu queries and %llu keys; as many of both are needed", (unsigned long long)n,
                                  (unsigned long long)t.k.tensor.size[2]);
    if (!rapt_system_in_f32(b, "mask", 2, (const uint64_t[]){t.q.tensor.size[0], n}, &mask))
        return false;
    const rapt_system_view by_token = weights_of(mask, 0, -1, 1);
    for (int i = 0; i < 3; i++) {
        rapt_system_view source, to;
        if (!rapt_system_given(b, sources[i]))
            continue;
        if (!rapt_system_in_sized(b, sources[i], 4, own[i]->tensor.size, &source) || !between(b, mixed[i], own[i]->tensor.size, &to))
            return false;
        const rapt_system_term terms[] = {{*own[i], 1, NULL}, {source, 1, &by_token}, {*own[i], -1, &by_token}};
        if (!rapt_system_combine_step_add(b, "the source's in place of the own", to, terms, 3))
            return false;
        *own[i] = to;
    }
    return rapt_system_step_add(b, "joint attention", &d, t.q, t.k, t.v, t.out, NULL);
}

/* Heads times a number each. */
bool rapt_system_weighed_heads(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view xi, attended;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *s = t.out.tensor.size;
    if (!rapt_system_in_f32(b, "xi", 1, &s[1], &xi) || !between(b, "attended", s, &attended) ||
        !rapt_system_step_add(b, "attention", &d, t.q, t.k, t.v, attended, NULL))
        return false;
    const rapt_system_view by_head = weights_of(xi, -1, 0, -1);
    const rapt_system_term term = {attended, 1, &by_head};
    return rapt_system_combine_step_add(b, "heads times their numbers", t.out, &term, 1) != NULL;
}

/* Affine-Scaled Attention: alpha times attention plus beta times the running sum of the values. */
bool rapt_system_affine_scaled(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_scan_desc sum = RAPT_SCAN_DESC_INIT;
    rapt_system_view alpha, beta, attended, sums;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *s = t.out.tensor.size, kv = t.k.tensor.size[1];
    if (s[2] != t.k.tensor.size[2] || kv == 0 || kv > RAPT_SYSTEM_STEPS - 2 || s[1] % kv != 0)
        return rapt_system_refuse(b, "as many queries as keys, and 1 to %d kv heads that divide the query heads are needed",
                                  RAPT_SYSTEM_STEPS - 2);
    d.flags |= RAPT_ATTENTION_CAUSAL;
    if (!rapt_system_in_f32(b, "alpha", 3, s, &alpha) || !rapt_system_in_f32(b, "beta", 3, s, &beta) ||
        !between(b, "attended", s, &attended) || !between(b, "sums", t.v.tensor.size, &sums) ||
        !rapt_system_step_add(b, "causal attention", &d, t.q, t.k, t.v, attended, NULL) ||
        !rapt_system_scan_step_add(b, "sums of values so far", &sum, t.v, sums))
        return false;
    const uint64_t group = s[1] / kv;
    for (uint64_t g = 0; g < kv; g++) { /* the query heads of a kv head share its sums */
        const rapt_system_view a = rapt_system_part(alpha, 1, g * group, group), c = rapt_system_part(beta, 1, g * group, group);
        const rapt_system_term terms[] = {{rapt_system_part(attended, 1, g * group, group), 1, &a}, {rapt_system_part(sums, 1, g, 1), 1, &c}};
        if (!rapt_system_combine_step_add(b, "both, times their numbers", rapt_system_part(t.out, 1, g * group, group), terms, 2))
            return false;
    }
    return true;
}

/* Sums along an axis by attention with all weights alike, which gives means: (batch, lines, count, d) -> (batch, lines, 1, d), to be
 * multiplied by count. */
static bool add_means(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view out)
{
    rapt_attention_desc mean = RAPT_ATTENTION_DESC_INIT;
    mean.flags = RAPT_ATTENTION_SCALE; /* 0 */
    return rapt_system_step_add(b, what, &mean, rapt_system_part(x, 2, 0, 1), x, x, out, NULL) != NULL;
}

/* Dual Attention: sum_j a_ij <ql_i, kl_j> = <ql_i, sum_j a_ij kl_j> for each relation l, then sum_j a_ij s_j behind them. */
bool rapt_system_relations(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q, k, q_rel, k_rel, symbols, gathered, products, means, out;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q.tensor.size[0], 0, 0, q.tensor.size[3]}, &k) ||
        !rapt_system_common(b, &d))
        return false;
    const uint64_t *s = q.tensor.size, kv = k.tensor.size[1], nk = k.tensor.size[2];
    if (!rapt_system_in_sized(b, "q_rel", 4, (const uint64_t[]){s[0], 0, s[2], 0}, &q_rel) ||
        !rapt_system_in_sized(b, "k_rel", 4, (const uint64_t[]){s[0], q_rel.tensor.size[1], nk, q_rel.tensor.size[3]}, &k_rel) ||
        !rapt_system_in_sized(b, "symbols", 3, (const uint64_t[]){s[0], nk, 0}, &symbols))
        return false;
    const uint64_t relations = q_rel.tensor.size[1], width = q_rel.tensor.size[3], ds = symbols.tensor.size[2];
    if (relations == 0 || relations > (RAPT_SYSTEM_STEPS - 1) / 4 || width == 0 || s[1] == 0 || kv == 0 || s[1] % kv != 0 || ds > (1 << 20))
        return rapt_system_refuse(b, "%llu relations of %llu, %llu heads and %llu kv heads: 1 to %d relations, and kv heads that divide the heads",
                                  (unsigned long long)relations, (unsigned long long)width, (unsigned long long)s[1],
                                  (unsigned long long)kv, (RAPT_SYSTEM_STEPS - 1) / 4);
    const uint64_t wide[4] = {s[0], s[1], s[2], width}, one[4] = {s[0], s[1], s[2], 1}, all[4] = {s[0], s[1], s[2], relations + ds};
    if (!between(b, "gathered", wide, &gathered) || !between(b, "products", wide, &products) || !between(b, "means", one, &means) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, all, &out))
        return false;
    for (uint64_t l = 0; l < relations; l++) {
        rapt_system_view v = rapt_system_part(k_rel, 1, l, 1), times = rapt_system_part(q_rel, 1, l, 1), from = products, to = means;
        v.tensor.size[1] = kv; /* the same for all heads */
        v.tensor.stride[1] = 0;
        times.tensor.size[1] = s[1];
        times.tensor.stride[1] = 0;
        const rapt_system_term term = {gathered, 1, NULL};
        if (!rapt_system_step_add(b, "relational keys are gathered", &d, q, k, v, gathered, NULL))
            return false;
        rapt_system_step *step = rapt_system_combine_step_add(b, "times relational queries", products, &term, 1);
        if (step == NULL)
            return false;
        step->combine.gate_kind = RAPT_GATE_PRODUCT;
        rapt_system_give(&step->combine.gate, &step->gate, &times);
        /* (batch heads, n, width, 1): elements as keys */
        from.tensor = (rapt_tensor){.dtype = b->dtype, .rank = 4, .size = {s[0] * s[1], s[2], width, 1},
                                    .stride = {(int64_t)(s[2] * width), (int64_t)width, 1, 1}};
        to.tensor = (rapt_tensor){.dtype = b->dtype, .rank = 4, .size = {s[0] * s[1], s[2], 1, 1}, .stride = {(int64_t)s[2], 1, 1, 1}};
        const rapt_system_term sum = {means, (float)width, NULL};
        if (!add_means(b, "summed up", from, to) ||
            !rapt_system_combine_step_add(b, "a relation", rapt_system_part(out, 3, l, 1), &sum, 1))
            return false;
    }
    if (ds == 0)
        return true;
    rapt_system_view v = rapt_system_axes(symbols, (const int[]){0, -1, 1, 2});
    v.tensor.size[1] = kv;
    return rapt_system_step_add(b, "symbols", &d, q, k, v, rapt_system_part(out, 3, relations, ds), NULL) != NULL;
}

/* HCAM: attention within every chunk, and the best chunks' results weighed by how near their means are. */
bool rapt_system_chunk_memory(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_system_view scores, within, weighed, means;
    int64_t chunk = 1, top = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "chunk", 1, 1 << 23, &chunk))
        return false;
    const uint64_t *s = t.out.tensor.size, each = (uint64_t)chunk, nk = t.k.tensor.size[2], chunks = nk / each;
    rapt_system_view *const in[3] = {&t.q, &t.k, &t.v};
    if (s[1] != t.k.tensor.size[1] || s[1] != t.q.tensor.size[1] || chunks == 0 || nk % each != 0 || chunks > UINT32_MAX || s[0] == 0)
        return rapt_system_refuse(b, "whole chunks of %llu keys, and as many query heads as kv heads are needed", (unsigned long long)each);
    for (int n = 0; n < 3; n++) {
        rapt_tensor *x = &in[n]->tensor;
        if (x->size[0] > 1 && x->stride[0] != (int64_t)x->size[1] * x->stride[1])
            return rapt_system_refuse(b, "batch entries of q, k and v must lie one behind the other");
    }
    const uint64_t lines = s[0] * s[1], dv = s[3], of_chunks[4] = {lines, chunks, s[2], dv};
    if (!rapt_system_integer(b, "top", 1, (int64_t)chunks, &top) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "scores", RAPT_F32, 4, (const uint64_t[]){s[0], s[1], s[2], chunks}, &scores) ||
        !between(b, "within", of_chunks, &within) || !between(b, "weighed", of_chunks, &weighed) || !between(b, "means", s, &means))
        return false;
    route.q = t.q.tensor;
    route.k = t.k.tensor;
    route.scores = scores.tensor;
    route.block_q = 1;
    route.block_k = each;
    route.top_k = (uint64_t)top;
    route.flags = d.flags & RAPT_ATTENTION_SCALE ? RAPT_ROUTE_SCALE : 0;
    route.scale = d.scale;
    rapt_system_step *step = rapt_system_route_step_add(b, "chunks are scored by their means", &route);
    if (step == NULL)
        return false;
    step->q = t.q.at;
    step->k = t.k.at;
    step->scores = scores.at;
    for (int n = 0; n < 3; n++) { /* (lines, chunks, tokens, d) */
        rapt_tensor *x = &in[n]->tensor;
        x->size[0] = lines;
        x->stride[0] = x->stride[1];
        x->size[1] = chunks;
        x->stride[1] = n ? x->stride[2] * chunk : 0;
        x->size[2] = n ? each : x->size[2];
    }
    if (!rapt_system_step_add(b, "attention within each chunk", &d, t.q, t.k, t.v, within, NULL))
        return false;
    rapt_system_view weight = scores;
    weight.tensor = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {lines, chunks, s[2]},
                                  .stride = {(int64_t)(s[2] * chunks), 1, (int64_t)chunks}};
    if (!add_top(b, "the best chunks", weighed, within, weight, (uint32_t)top, true))
        return false;
    rapt_system_view from = weighed, to = means;
    from.tensor = (rapt_tensor){.dtype = b->dtype, .rank = 4, .size = {lines, s[2], chunks, dv},
                                .stride = {(int64_t)(chunks * s[2] * dv), (int64_t)dv, (int64_t)(s[2] * dv), 1}};
    to.tensor = (rapt_tensor){.dtype = b->dtype, .rank = 4, .size = {lines, s[2], 1, dv}, .stride = {(int64_t)(s[2] * dv), (int64_t)dv, (int64_t)dv, 1}};
    const rapt_system_term sum = {means, (float)chunks, NULL};
    return add_means(b, "summed up", from, to) && rapt_system_combine_step_add(b, "over chunks", t.out, &sum, 1) != NULL;
}
