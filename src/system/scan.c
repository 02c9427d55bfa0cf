/* Systems that scan along the sequence (rapt/scan.h), alone and beside attention. */
#include "system/system.h"

#include <math.h>
#include <string.h>

static bool between(rapt_system_builder *b, const char *name, rapt_dtype dtype, uint32_t rank,
                    const uint64_t *shape, rapt_system_view *view)
{
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, dtype, rank, shape, view);
}

/* (batch, n, channels) as one head. */
static rapt_system_view one_head(rapt_system_view view)
{
    return rapt_system_ranked(view, 4, (const int[]){0, -1, 1, 2});
}

/* ---- attention as a scan ---- */

/* Aaren: scores of one learned query, then the softmax of every prefix. */
bool rapt_system_aaren(rapt_system_builder *b)
{
    rapt_system_view q, k, v, scores, state, state_out, out;
    rapt_attention_desc common = RAPT_ATTENTION_DESC_INIT;
    if (!rapt_system_in(b, "k", 4, &k))
        return false;
    const uint64_t *size = k.tensor.size;
    const bool has_state = rapt_system_given(b, "state"), wants = rapt_system_wants(b, "state_out");
    if (!rapt_system_in_sized(b, "v", 4, (const uint64_t[]){size[0], size[1], size[2], 0}, &v) ||
        !rapt_system_in_sized(b, "q", 2, (const uint64_t[]){size[1], size[3]}, &q) ||
        !rapt_system_common(b, &common))
        return false;
    const uint64_t states[4] = {size[0], size[1], v.tensor.size[3], 3};
    if (v.tensor.size[0] != size[0] || v.tensor.size[1] != size[1] || v.tensor.size[2] != size[2] ||
        size[3] == 0)
        return rapt_system_refuse(b, "k and v must agree in batch, heads and tokens, and k needs channels");
    if ((has_state && !rapt_system_in_f32(b, "state", 4, states, &state)) ||
        !between(b, "scores", RAPT_F32, 3, size, &scores) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, v.tensor.size, &out) ||
        (wants && !rapt_system_new(b, RAPT_SYSTEM_OUT, "state_out", RAPT_F32, 4, states, &state_out)))
        return false;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    route.q = rapt_system_ranked(q, 4, (const int[]){-1, 0, -1, 1}).tensor;
    route.q.size[0] = size[0]; /* the same for all of the batch */
    route.q.stride[0] = 0;
    route.k = k.tensor;
    route.scores = rapt_system_ranked(scores, 4, (const int[]){0, 1, -1, 2}).tensor;
    route.block_q = route.block_k = route.top_k = 1;
    route.flags = common.flags & RAPT_ATTENTION_SCALE ? RAPT_ROUTE_SCALE : 0;
    route.scale = common.scale;
    rapt_system_step *s = rapt_system_route_step_add(b, "scores of the learned queries", &route);
    if (s == NULL)
        return false;
    s->q = q.at;
    s->k = k.at;
    s->scores = scores.at;
    const rapt_scan_desc scan = {.struct_size = sizeof scan, .op = RAPT_SCAN_SOFTMAX};
    s = rapt_system_scan_step_add(b, "softmax of every prefix", &scan, v, out);
    if (s == NULL)
        return false;
    rapt_system_give(&s->scan.scores, &s->scores, &scores);
    if (has_state)
        rapt_system_give(&s->scan.state_in, &s->state_in, &state);
    if (wants)
        rapt_system_give(&s->scan.state_out, &s->state_out, &state_out);
    return true;
}

/* ---- recurrences of numbers ---- */

/* minGRU and minLSTM: what is kept and what comes in add up to one. */
bool rapt_system_min_gru(rapt_system_builder *b)
{
    rapt_system_view x, keep, state, state_out, out;
    if (!rapt_system_in(b, "x", 3, &x))
        return false;
    const uint64_t *size = x.tensor.size, states[2] = {size[0], size[2]};
    const bool has_state = rapt_system_given(b, "state"), wants = rapt_system_wants(b, "state_out");
    if (!rapt_system_in_f32(b, "keep", 3, size, &keep) ||
        (has_state && !rapt_system_in_f32(b, "state", 2, states, &state)) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out) ||
        (wants && !rapt_system_new(b, RAPT_SYSTEM_OUT, "state_out", RAPT_F32, 2, states, &state_out)))
        return false;
    const rapt_scan_desc scan = {
        .struct_size = sizeof scan, .op = RAPT_SCAN_LINEAR, .flags = RAPT_SCAN_BLEND};
    rapt_system_step *s = rapt_system_scan_step_add(b, "a recurrence with a gate per channel", &scan,
                                                    one_head(x), one_head(out));
    if (s == NULL)
        return false;
    const rapt_system_view a = one_head(keep);
    rapt_system_give(&s->scan.a, &s->a, &a);
    static const int by_channel[] = {0, -1, 1, -1};
    if (has_state) {
        const rapt_system_view begin = rapt_system_ranked(state, 4, by_channel);
        rapt_system_give(&s->scan.state_in, &s->state_in, &begin);
    }
    if (wants) {
        const rapt_system_view end = rapt_system_ranked(state_out, 4, by_channel);
        rapt_system_give(&s->scan.state_out, &s->state_out, &end);
    }
    return true;
}

/* The inputs of Mamba's selective scan. */
typedef struct selective {
    rapt_system_view x, dt, a, b, c, skip, z;
    bool has_z;
} selective;

static bool take_selective(rapt_system_builder *b, selective *t)
{
    if (!rapt_system_in(b, "x", 3, &t->x) ||
        !rapt_system_in_f32(b, "a", 2, (const uint64_t[]){t->x.tensor.size[2], 0}, &t->a))
        return false;
    const uint64_t *size = t->x.tensor.size, states = t->a.tensor.size[1],
                   ports[3] = {size[0], size[1], states};
    t->has_z = rapt_system_given(b, "z");
    if (states == 0 || states > RAPT_SCAN_MAX_STATES)
        return rapt_system_refuse(b, "a has %llu states a channel; 1 to %u are needed",
                                  (unsigned long long)states, RAPT_SCAN_MAX_STATES);
    return rapt_system_in_f32(b, "dt", 3, size, &t->dt) && rapt_system_in_f32(b, "b", 3, ports, &t->b) &&
           rapt_system_in_f32(b, "c", 3, ports, &t->c) &&
           rapt_system_in_f32(b, "skip", 1, &size[2], &t->skip) &&
           (!t->has_z || rapt_system_in_sized(b, "z", 3, size, &t->z));
}

static rapt_system_step *add_selective(rapt_system_builder *b, const selective *t, rapt_system_view out)
{
    const rapt_scan_desc scan = {
        .struct_size = sizeof scan, .op = RAPT_SCAN_SELECTIVE, .flags = RAPT_SCAN_SOFTPLUS};
    rapt_system_step *s =
        rapt_system_scan_step_add(b, "selective scan", &scan, one_head(t->x), one_head(out));
    if (s == NULL)
        return NULL;
    const rapt_system_view dt = one_head(t->dt), in = one_head(t->b), read = one_head(t->c),
                           z = one_head(t->z), a = rapt_system_ranked(t->a, 3, (const int[]){-1, 0, 1, -1}),
                           skip = rapt_system_ranked(t->skip, 2, (const int[]){-1, 0, -1, -1});
    rapt_system_give(&s->scan.dt, &s->dt, &dt);
    rapt_system_give(&s->scan.a, &s->a, &a);
    rapt_system_give(&s->scan.b, &s->b, &in);
    rapt_system_give(&s->scan.c, &s->c, &read);
    rapt_system_give(&s->scan.skip, &s->skip, &skip);
    if (t->has_z)
        rapt_system_give(&s->scan.z, &s->z, &z);
    return s;
}

/* Mamba's selective scan with its gate. */
bool rapt_system_mamba(rapt_system_builder *b)
{
    selective t = {0};
    rapt_system_view state, state_out, out;
    if (!take_selective(b, &t))
        return false;
    const uint64_t *size = t.x.tensor.size, states[3] = {size[0], size[2], t.a.tensor.size[1]};
    const bool has_state = rapt_system_given(b, "state"), wants = rapt_system_wants(b, "state_out");
    if ((has_state && !rapt_system_in_f32(b, "state", 3, states, &state)) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out) ||
        (wants && !rapt_system_new(b, RAPT_SYSTEM_OUT, "state_out", RAPT_F32, 3, states, &state_out)))
        return false;
    rapt_system_step *s = add_selective(b, &t, out);
    if (s != NULL && has_state) {
        const rapt_system_view begin = rapt_system_ranked(state, 4, (const int[]){0, -1, 1, 2});
        rapt_system_give(&s->scan.state_in, &s->state_in, &begin);
    }
    if (s != NULL && wants) {
        const rapt_system_view end = rapt_system_ranked(state_out, 4, (const int[]){0, -1, 1, 2});
        rapt_system_give(&s->scan.state_out, &s->state_out, &end);
    }
    return s != NULL;
}

/* S4D: a diagonal state-space model of complex numbers. */
bool rapt_system_s4d(rapt_system_builder *b)
{
    rapt_system_view x, a, in, read, skip, out;
    if (!rapt_system_in(b, "x", 3, &x) ||
        !rapt_system_in_f32(b, "a", 2, (const uint64_t[]){x.tensor.size[2], 0}, &a))
        return false;
    const uint64_t *size = x.tensor.size, *ports = a.tensor.size;
    if (ports[1] == 0 || ports[1] % 2 != 0 || ports[1] > RAPT_SCAN_MAX_STATES)
        return rapt_system_refuse(b, "a has %llu numbers a channel; pairs are needed, at most %u numbers",
                                  (unsigned long long)ports[1], RAPT_SCAN_MAX_STATES);
    if (!rapt_system_in_f32(b, "b", 2, ports, &in) || !rapt_system_in_f32(b, "c", 2, ports, &read) ||
        !rapt_system_in_f32(b, "skip", 1, &size[2], &skip) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out))
        return false;
    const rapt_scan_desc scan = {.struct_size = sizeof scan, .op = RAPT_SCAN_SSM, .flags = RAPT_SCAN_COMPLEX};
    rapt_system_step *s =
        rapt_system_scan_step_add(b, "state-space model", &scan, one_head(x), one_head(out));
    if (s == NULL)
        return false;
    static const int by_channel[] = {-1, 0, 1, -1};
    const rapt_system_view views[] = {
        rapt_system_ranked(a, 3, by_channel), rapt_system_ranked(in, 3, by_channel),
        rapt_system_ranked(read, 3, by_channel), rapt_system_ranked(skip, 2, (const int[]){-1, 0, -1, -1})};
    rapt_system_give(&s->scan.a, &s->a, &views[0]);
    rapt_system_give(&s->scan.b, &s->b, &views[1]);
    rapt_system_give(&s->scan.c, &s->c, &views[2]);
    rapt_system_give(&s->scan.skip, &s->skip, &views[3]);
    return true;
}

/* Layers of two kinds: a selective scan, or causal attention where the parameter asks for it. */
bool rapt_system_selective_hybrid(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t softmax = 0;
    if (!rapt_system_integer(b, "softmax", 0, 1, &softmax))
        return false;
    if (!softmax)
        return rapt_system_mamba(b);
    if (rapt_system_given(b, "state") || rapt_system_wants(b, "state_out"))
        return rapt_system_refuse(b, "its attention layers have no states");
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    return rapt_system_step_add(b, "causal attention", &d, t.q, t.k, t.v, t.out, NULL) != NULL;
}

/* SambaY: a scan's outputs, before its own gate, gated by a layer above; or differential attention, in a
 * window. */
bool rapt_system_gated_memory(rapt_system_builder *b)
{
    selective t = {0};
    rapt_system_view g, memory, out;
    int64_t attention = 0, window = 0;
    if (!rapt_system_integer(b, "attention", 0, 1, &attention) ||
        !rapt_system_integer(b, "window", 0, 1 << 29, &window))
        return false;
    if (attention) {
        if (!rapt_system_differential(b))
            return false;
        for (uint32_t n = 0; n < b->recipe->step_count && window > 0; n++) {
            rapt_system_step *s = &b->recipe->steps[n];
            if (s->op != RAPT_SYSTEM_ATTENTION)
                continue;
            s->attention.flags |= RAPT_ATTENTION_WINDOW;
            s->attention.window_left = window - 1;
            s->attention.window_right = -1;
        }
        return true;
    }
    if (!take_selective(b, &t) || !rapt_system_in_sized(b, "g", 3, t.x.tensor.size, &g) ||
        !between(b, "memory", b->dtype, 3, t.x.tensor.size, &memory) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, t.x.tensor.size, &out) ||
        !add_selective(b, &t, memory))
        return false;
    const rapt_system_term term = {one_head(memory), 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, "gated memory unit", one_head(out), &term, 1);
    if (s == NULL)
        return false;
    const rapt_system_view gate = one_head(g);
    s->combine.gate_kind = RAPT_GATE_SILU;
    rapt_system_give(&s->combine.gate, &s->gate, &gate);
    return true;
}

/* A row of d for each head, or for one. */
static rapt_system_view norm_row(rapt_system_view view)
{
    return rapt_system_ranked(view, 2, (const int[]){-1, 0, -1, -1});
}

static bool add_norm(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view weight,
                     float epsilon, rapt_system_view out)
{
    const rapt_system_term term = {x, 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &term, 1);
    if (s == NULL)
        return false;
    const rapt_system_view row = norm_row(weight);
    s->combine.norm = 1;
    s->combine.norm_epsilon = epsilon;
    rapt_system_give(&s->combine.norm_weight, &s->norm_weight, &row);
    return true;
}

/* Hymba: windowed attention that sees the meta tokens, and a selective scan, on the same tokens; both normed,
 * then their mean. */
bool rapt_system_hymba(rapt_system_builder *b)
{
    selective t = {0};
    rapt_system_view q, k, v, norm[2], part[2], normed[2], out;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t window = 0, meta = 0;
    float epsilon = 0;
    if (!take_selective(b, &t))
        return false;
    const uint64_t *size = t.x.tensor.size;
    if (!rapt_system_in_sized(b, "q", 4, (const uint64_t[]){size[0], 0, size[1], 0}, &q) ||
        !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){size[0], 0, size[1], q.tensor.size[3]}, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){size[0], k.tensor.size[1], size[1], 0}, &v) ||
        !rapt_system_common(b, &d) || !rapt_system_integer(b, "window", 0, 1 << 29, &window) ||
        !rapt_system_integer(b, "meta", 0, 1 << 29, &meta) || !rapt_system_number(b, "eps", &epsilon))
        return false;
    const uint64_t heads = q.tensor.size[1], d_v = v.tensor.size[3], kv = k.tensor.size[1];
    if (d_v == 0 || heads == 0 || kv == 0 || heads % kv != 0 || size[2] / d_v != heads || size[2] % d_v != 0)
        return rapt_system_refuse(
            b,
            "x has %llu channels, attention %llu heads of %llu on %llu kv heads: both halves must be as wide",
            (unsigned long long)size[2], (unsigned long long)heads, (unsigned long long)d_v,
            (unsigned long long)kv);
    static const char *const names[2][2] = {{"attended", "attended_normed"}, {"scanned", "scanned_normed"}};
    for (int n = 0; n < 2; n++)
        if (!rapt_system_in_f32(b, n ? "beta2" : "beta1", 1, &size[2], &norm[n]) ||
            !between(b, names[n][0], b->dtype, 3, size, &part[n]) ||
            !between(b, names[n][1], b->dtype, 3, size, &normed[n]))
            return false;
    d.flags |= RAPT_ATTENTION_CAUSAL | (window > 0 ? RAPT_ATTENTION_WINDOW : 0);
    d.window_left = window > 0 ? (uint64_t)window - 1 : 0;
    d.sink_tokens = window > 0 ? (uint64_t)meta : 0;
    if (!rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out) ||
        !rapt_system_step_add(
            b, "softmax heads", &d, q, k, v,
            rapt_system_ranked(rapt_system_split(part[0], 2, d_v), 4, (const int[]){0, 2, 1, 3}), NULL) ||
        !add_selective(b, &t, part[1]))
        return false;
    for (int n = 0; n < 2; n++)
        if (!add_norm(b, n ? "norm of the scan" : "norm of attention", one_head(part[n]), norm[n], epsilon,
                      one_head(normed[n])))
            return false;
    const rapt_system_term terms[] = {{one_head(normed[0]), 0.5f, NULL}, {one_head(normed[1]), 0.5f, NULL}};
    return rapt_system_combine_step_add(b, "their mean", one_head(out), terms, 2) != NULL;
}

/* ---- recurrence and attention ---- */

/* The tokens of RAT, with batch and heads as one axis. */
typedef struct rat {
    rapt_system_view q, k, v, g; /* (lines, n, d) */
    rapt_system_view k_kept, v_kept, far,
        own;              /* what recurrences leave of k and v; outputs from far chunks; scores: (lines, n) */
    rapt_system_view lse; /* of far chunks: (lines, n) */
    uint64_t lines, n, d, chunk, chunks;
} rat;

/* `count` chunks from token `first` on, as heads: (lines, count, tokens of one, d). */
static rapt_system_view in_chunks(rapt_system_view view, uint64_t first, uint64_t count, uint64_t chunk)
{
    return rapt_system_split(rapt_system_part(view, 1, first, count * chunk), 1, chunk);
}

static bool rat_recur(rapt_system_builder *b, const rat *t, rapt_system_view x, rapt_system_view out,
                      uint64_t first, uint64_t count, uint64_t chunk)
{
    const rapt_scan_desc scan = {
        .struct_size = sizeof scan, .op = RAPT_SCAN_LINEAR, .flags = RAPT_SCAN_BLEND};
    rapt_system_step *s =
        rapt_system_scan_step_add(b, "recurrence within chunks", &scan, in_chunks(x, first, count, chunk),
                                  in_chunks(out, first, count, chunk));
    if (s == NULL)
        return false;
    const rapt_system_view a = in_chunks(t->g, first, count, chunk);
    rapt_system_give(&s->scan.a, &s->a, &a);
    return true;
}

/* Queries against the last keys of chunks before their own. As heads stand the places in a chunk, as tokens
 * the chunks, so that chunk c sees the keys of 0 .. c - 1; the queries behind the last whole chunk see them
 * all. */
static bool rat_far(rapt_system_builder *b, const rat *t, const rapt_attention_desc *base)
{
    static const int swapped[] = {0, 2, 1, 3};
    const uint64_t whole = t->chunks * t->chunk, rest = t->n - whole;
    rapt_system_view k = t->k_kept, v = t->v_kept;
    k = rapt_system_ranked(rapt_system_every(rapt_system_part(k, 1, 0, whole), 1, t->chunk - 1, t->chunk), 4,
                           (const int[]){0, -1, 1, 2});
    v = rapt_system_ranked(rapt_system_every(rapt_system_part(v, 1, 0, whole), 1, t->chunk - 1, t->chunk), 4,
                           (const int[]){0, -1, 1, 2});
    rapt_attention_desc d = *base;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    d.causal_offset = -1;
    if (t->chunks > 0) {
        const rapt_system_view lse =
            rapt_system_ranked(rapt_system_split(rapt_system_part(t->lse, 1, 0, whole), 1, t->chunk), 3,
                               (const int[]){0, 2, 1, -1});
        if (!rapt_system_step_add(
                b, "attention to the chunks before", &d,
                rapt_system_ranked(in_chunks(t->q, 0, t->chunks, t->chunk), 4, swapped), k, v,
                rapt_system_ranked(in_chunks(t->far, 0, t->chunks, t->chunk), 4, swapped), &lse))
            return false;
    }
    if (rest == 0)
        return true;
    const rapt_system_view lse =
        rapt_system_ranked(rapt_system_part(t->lse, 1, whole, rest), 3, (const int[]){0, -1, 1, -1});
    return rapt_system_step_add(b, "the rest's attention to all chunks", base,
                                in_chunks(t->q, whole, 1, rest), k, v, in_chunks(t->far, whole, 1, rest),
                                &lse) != NULL;
}

/* Scores of each query against its own token's key. */
static bool rat_own(rapt_system_builder *b, const rat *t, const rapt_attention_desc *base)
{
    static const int each[] = {0, 1, -1, 2};
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    route.q = rapt_system_ranked(t->q, 4, each).tensor;
    route.k = rapt_system_ranked(t->k_kept, 4, each).tensor;
    route.scores = rapt_system_ranked(t->own, 4, (const int[]){0, 1, -1, -1}).tensor;
    route.block_q = route.block_k = route.top_k = 1;
    route.flags = base->flags & RAPT_ATTENTION_SCALE ? RAPT_ROUTE_SCALE : 0;
    route.scale = base->scale;
    rapt_system_step *s = rapt_system_route_step_add(b, "scores of the own token", &route);
    if (s == NULL)
        return false;
    s->q = t->q.at;
    s->k = t->k_kept.at;
    s->scores = t->own.at;
    return true;
}

/* RAT: recurrences within chunks; one softmax over what those of earlier chunks ended with, and the own one
 * as far as it is. */
bool rapt_system_rat(rapt_system_builder *b)
{
    rat t = {0};
    rapt_system_view gate, out;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t chunk = 16;
    if (!rapt_system_in(b, "q", 4, &t.q))
        return false;
    uint64_t size[4];
    memcpy(size, t.q.tensor.size, sizeof size);
    if (size[3] == 0 || size[2] >= 1ull << 62)
        return rapt_system_refuse(b, "q needs channels, and fewer than 2^62 tokens");
    if (!rapt_system_in_sized(b, "k", 4, size, &t.k) || !rapt_system_in_sized(b, "v", 4, size, &t.v) ||
        !rapt_system_in_f32(b, "g", 4, size, &t.g) || !rapt_system_in_sized(b, "gate", 4, size, &gate) ||
        !rapt_system_common(b, &d) || !rapt_system_integer(b, "chunk", 1, 65536, &chunk) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, size, &out))
        return false;
    for (unsigned axis = 0; axis < 3; axis++)
        if (size[axis] == 0 || t.k.tensor.size[axis] != size[axis] || t.v.tensor.size[axis] != size[axis])
            return rapt_system_refuse(b, "q, k and v must agree in all axes, none of them empty");
    if (!rapt_system_merge(b, "q_copy", &t.q) || !rapt_system_merge(b, "k_copy", &t.k) ||
        !rapt_system_merge(b, "v_copy", &t.v) || !rapt_system_merge(b, "g_copy", &t.g))
        return false;
    t.lines = t.q.tensor.size[0];
    t.n = size[2];
    t.d = size[3];
    t.chunk = (uint64_t)chunk;
    t.chunks = t.n / t.chunk;
    const uint64_t lines[3] = {t.lines, t.n, t.d}, whole = t.chunks * t.chunk;
    if (!between(b, "k_kept", b->dtype, 3, lines, &t.k_kept) ||
        !between(b, "v_kept", b->dtype, 3, lines, &t.v_kept) ||
        !between(b, "far", b->dtype, 3, lines, &t.far) ||
        !between(b, "far_lse", RAPT_F32, 2, lines, &t.lse) ||
        !between(b, "own_scores", RAPT_F32, 2, lines, &t.own))
        return false;
    if (t.chunks > 0 && (!rat_recur(b, &t, t.k, t.k_kept, 0, t.chunks, t.chunk) ||
                         !rat_recur(b, &t, t.v, t.v_kept, 0, t.chunks, t.chunk)))
        return false;
    if (whole < t.n && (!rat_recur(b, &t, t.k, t.k_kept, whole, 1, t.n - whole) ||
                        !rat_recur(b, &t, t.v, t.v_kept, whole, 1, t.n - whole)))
        return false;
    if (!rat_far(b, &t, &d) || !rat_own(b, &t, &d))
        return false;
    const uint64_t heads = size[1];
    const rapt_system_view far = rapt_system_split(t.far, 0, heads),
                           kept = rapt_system_split(t.v_kept, 0, heads),
                           far_lse = rapt_system_split(t.lse, 0, heads),
                           own = rapt_system_split(t.own, 0, heads);
    const rapt_system_term terms[] = {{far, 1, &far_lse}, {kept, 1, &own}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "one softmax over both, gated", out, terms, 2);
    if (s == NULL)
        return false;
    s->combine.weights = RAPT_COMBINE_SOFTMAX;
    s->combine.gate_kind = RAPT_GATE_SIGMOID;
    rapt_system_give(&s->combine.gate, &s->gate, &gate);
    return true;
}

/* ---- convolutions ---- */

/* SiLU of q or k, each row then divided by its length. */
static bool add_unit(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view activated,
                     rapt_system_view out)
{
    const rapt_system_term first = {x, 1, NULL}, second = {activated, 1, NULL};
    const float d = (float)x.tensor.size[3];
    rapt_system_step *s = rapt_system_combine_step_add(b, "SiLU", activated, &first, 1);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_SIGMOID;
    rapt_system_give(&s->combine.gate, &s->gate, &x);
    s = rapt_system_combine_step_add(b, what, out, &second, 1);
    if (s == NULL)
        return false;
    s->combine.norm = 1; /* x / sqrt(mean x^2 + 1e-6 / d) / sqrt(d) */
    s->combine.norm_epsilon = 1e-6f / d;
    s->combine.out_factor = 1 / sqrtf(d);
    return true;
}

/* What JetBlock takes, and what lies between its steps. */
typedef struct jet_block {
    rapt_system_view q, k, v, alpha, beta, kernels, gate, norm;
    rapt_system_view state[2],
        tokens[2];         /* to begin with, and at the end: of the delta rule, and of the convolution */
    bool has[2], wants[2]; /* states, and tokens, of either kind */
    rapt_system_view activated, unit[2], convolved, mixed, out;
    float scale, epsilon;
    uint32_t chunk;
} jet_block;

static bool take_jet(rapt_system_builder *b, jet_block *t)
{
    rapt_attention_desc common = RAPT_ATTENTION_DESC_INIT;
    int64_t chunk = 0;
    if (!rapt_system_in(b, "q", 4, &t->q) || !rapt_system_in_sized(b, "k", 4, t->q.tensor.size, &t->k))
        return false;
    const uint64_t *size = t->q.tensor.size;
    if (!rapt_system_in_sized(b, "v", 4, (const uint64_t[]){size[0], size[1], size[2], 0}, &t->v) ||
        !rapt_system_common(b, &common) || !rapt_system_integer(b, "chunk", 1, 1024, &chunk) ||
        !rapt_system_number(b, "eps", &t->epsilon))
        return false;
    const uint64_t d_v = t->v.tensor.size[3];
    for (unsigned axis = 0; axis < 4; axis++)
        if (t->k.tensor.size[axis] != size[axis] || (axis < 3 && t->v.tensor.size[axis] != size[axis]) ||
            size[3] == 0 || d_v == 0 || d_v > 1u << 20)
            return rapt_system_refuse(
                b, "q, k and v must agree in batch, heads, tokens and d, and have channels, at most 2^20");
    t->chunk = (uint32_t)chunk;
    t->scale = common.flags & RAPT_ATTENTION_SCALE ? common.scale : 1 / sqrtf((float)size[3]);
    const uint64_t taps[4] = {size[0], size[1], size[2], 4 * d_v};
    return rapt_system_in_f32(b, "alpha", 3, size, &t->alpha) &&
           rapt_system_in_f32(b, "beta", 3, size, &t->beta) &&
           rapt_system_in_f32(b, "kernels", 4, taps, &t->kernels) &&
           rapt_system_in_sized(b, "gate", 4, t->v.tensor.size, &t->gate) &&
           rapt_system_in_f32(b, "norm", 1, &d_v, &t->norm);
}

/* States where they are given or wanted, and all that is written. */
static bool make_jet(rapt_system_builder *b, jet_block *t)
{
    static const char *const in[] = {"state", "tokens"}, *const to[] = {"state_out", "tokens_out"};
    const uint64_t *size = t->q.tensor.size, *wide = t->v.tensor.size;
    const uint64_t sizes[2][4] = {{size[0], size[1], size[3], wide[3]}, {size[0], size[1], wide[3], 3}};
    for (int n = 0; n < 2; n++) {
        rapt_system_view *const views = n ? t->tokens : t->state;
        t->has[n] = rapt_system_given(b, in[n]);
        t->wants[n] = rapt_system_wants(b, to[n]);
        if ((t->has[n] && !rapt_system_in_f32(b, in[n], 4, sizes[n], &views[0])) ||
            (t->wants[n] && !rapt_system_new(b, RAPT_SYSTEM_OUT, to[n], RAPT_F32, 4, sizes[n], &views[1])))
            return false;
    }
    return between(b, "activated", b->dtype, 4, size, &t->activated) &&
           between(b, "unit_q", b->dtype, 4, size, &t->unit[0]) &&
           between(b, "unit_k", b->dtype, 4, size, &t->unit[1]) &&
           between(b, "convolved", b->dtype, 4, wide, &t->convolved) &&
           between(b, "mixed", b->dtype, 4, wide, &t->mixed) &&
           rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, wide, &t->out);
}

static bool convolve_jet(rapt_system_builder *b, const jet_block *t)
{
    const rapt_scan_desc conv = {.struct_size = sizeof conv, .op = RAPT_SCAN_CONV, .act = RAPT_SCAN_ACT_SILU};
    rapt_system_step *s =
        rapt_system_scan_step_add(b, "convolution of v by generated taps", &conv, t->v, t->convolved);
    if (s == NULL)
        return false;
    rapt_system_give(&s->scan.weight, &s->weight, &t->kernels);
    if (t->has[1])
        rapt_system_give(&s->scan.state_in, &s->state_in, &t->tokens[0]);
    if (t->wants[1])
        rapt_system_give(&s->scan.state_out, &s->state_out, &t->tokens[1]);
    return true;
}

static bool mix_jet(rapt_system_builder *b, const jet_block *t)
{
    rapt_linear_desc linear = RAPT_LINEAR_DESC_INIT;
    linear.rule = RAPT_LINEAR_DELTA;
    linear.chunk = t->chunk;
    linear.flags = RAPT_LINEAR_SCALE;
    linear.scale = t->scale;
    rapt_system_step *s = rapt_system_linear_step_add(b, "gated delta rule", &linear);
    if (s == NULL)
        return false;
    rapt_system_give(&s->linear.q, &s->q, &t->unit[0]);
    rapt_system_give(&s->linear.k, &s->k, &t->unit[1]);
    rapt_system_give(&s->linear.v, &s->v, &t->convolved);
    rapt_system_give(&s->linear.out, &s->out, &t->mixed);
    rapt_system_give(&s->linear.decay, &s->decay, &t->alpha);
    rapt_system_give(&s->linear.beta, &s->beta, &t->beta);
    if (t->has[0])
        rapt_system_give(&s->linear.state_in, &s->state_in, &t->state[0]);
    if (t->wants[0])
        rapt_system_give(&s->linear.state_out, &s->state_out, &t->state[1]);
    return true;
}

/* JetBlock: the gated delta rule, on values behind a convolution whose taps the tokens made. */
bool rapt_system_jet_block(rapt_system_builder *b)
{
    jet_block t = {0};
    if (!take_jet(b, &t) || !make_jet(b, &t) ||
        !add_unit(b, "q of unit length", t.q, t.activated, t.unit[0]) ||
        !add_unit(b, "k of unit length", t.k, t.activated, t.unit[1]) || !convolve_jet(b, &t) ||
        !mix_jet(b, &t) || !add_norm(b, "gated norm", t.mixed, t.norm, t.epsilon, t.out))
        return false;
    rapt_system_step *s = &b->recipe->steps[b->recipe->step_count - 1];
    s->combine.gate_kind = RAPT_GATE_SILU;
    rapt_system_give(&s->combine.gate, &s->gate, &t.gate);
    return true;
}

/* Hyena of order 2, causal; ConfHyena's sees both ways. */
static bool hyena(rapt_system_builder *b, bool causal)
{
    rapt_system_view v, x1, x2, filter, gated, convolved, out;
    if (!rapt_system_in(b, "v", 3, &v))
        return false;
    const uint64_t *size = v.tensor.size;
    if (!rapt_system_in_sized(b, "x1", 3, size, &x1) || !rapt_system_in_sized(b, "x2", 3, size, &x2) ||
        !rapt_system_in_f32(b, "filter", 2, (const uint64_t[]){size[2], 0}, &filter) ||
        !between(b, "gated", b->dtype, 3, size, &gated) ||
        !between(b, "convolved", b->dtype, 3, size, &convolved) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out))
        return false;
    for (unsigned axis = 0; axis < 3; axis++)
        if (x1.tensor.size[axis] != size[axis] || x2.tensor.size[axis] != size[axis])
            return rapt_system_refuse(b, "v, x1 and x2 must agree in all axes");
    const uint64_t taps = filter.tensor.size[1];
    if (taps == 0 || taps > RAPT_SCAN_MAX_TAPS || (!causal && taps % 2 == 0))
        return rapt_system_refuse(b, "a filter of %llu taps; 1 to %u are needed%s", (unsigned long long)taps,
                                  RAPT_SCAN_MAX_TAPS, causal ? "" : ", an odd number of them");
    const rapt_system_view gates[] = {one_head(x2), one_head(x1)}, in[] = {one_head(v), one_head(convolved)},
                           to[] = {one_head(gated), one_head(out)};
    for (int n = 0; n < 2; n++) {
        const rapt_system_term term = {in[n], 1, NULL};
        rapt_system_step *s = rapt_system_combine_step_add(b, n ? "times x1" : "times x2", to[n], &term, 1);
        if (s == NULL)
            return false;
        s->combine.gate_kind = RAPT_GATE_PRODUCT;
        rapt_system_give(&s->combine.gate, &s->gate, &gates[n]);
        if (n == 1)
            break;
        const rapt_scan_desc conv = {
            .struct_size = sizeof conv, .op = RAPT_SCAN_CONV, .ahead = causal ? 0 : (uint32_t)(taps / 2)};
        s = rapt_system_scan_step_add(b, "long convolution", &conv, to[0], in[1]);
        if (s == NULL)
            return false;
        const rapt_system_view weight = rapt_system_ranked(filter, 3, (const int[]){-1, 0, 1, -1});
        rapt_system_give(&s->scan.weight, &s->weight, &weight);
    }
    return true;
}
bool rapt_system_hyena(rapt_system_builder *b)
{
    return hyena(b, true);
}
bool rapt_system_conf_hyena(rapt_system_builder *b)
{
    return hyena(b, false);
}
