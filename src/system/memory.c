/* Titans (arXiv:2501.00663): a memory that learns at test time (rapt/memory.h), alone, and beside attention as a gate, as context or
 * as a layer. */
#include "system/system.h"

enum { ALONE = 0, GATE, CONTEXT, LAYER };

typedef struct titans {
    rapt_system_view q, k, v, rates, state, state_out; /* of the memory */
    rapt_system_view aq, ak, av;                       /* of attention */
    rapt_system_view pk, pv;                           /* persistent tokens, the same for all batch entries */
    rapt_system_view out;
    uint64_t rows[4]; /* (batch, heads, n, d_v) */
    int64_t join, hidden, chunk, window;
    bool has_state, wants_state, has_persistent;
} titans;

static bool between_rows(rapt_system_builder *b, const titans *t, const char *name, uint32_t rank, rapt_system_view *to)
{
    return rapt_system_between(b, name, rank == 4 ? b->dtype : RAPT_F32, rank, t->rows, to);
}

/* ---- the memory */

static bool take_memory(rapt_system_builder *b, titans *t)
{
    if (!rapt_system_integer(b, "join", ALONE, LAYER, &t->join) || !rapt_system_integer(b, "hidden", 0, 2048, &t->hidden) ||
        !rapt_system_integer(b, "chunk", 1, 1024, &t->chunk) || !rapt_system_integer(b, "window", 1, 1 << 29, &t->window) ||
        !rapt_system_in(b, "q", 4, &t->q) || !rapt_system_in_sized(b, "k", 4, t->q.tensor.size, &t->k))
        return false;
    const uint64_t *s = t->q.tensor.size;
    if (s[2] == 0 || !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){s[0], s[1], s[2], 0}, &t->v))
        return s[2] == 0 ? rapt_system_refuse(b, "q has no tokens") : false;
    const uint64_t d_v = t->v.tensor.size[3];
    if (s[0] == 0 || s[1] == 0 || s[3] == 0 || d_v == 0 || s[3] > 512 || d_v > 512)
        return rapt_system_refuse(b, "q or v is empty, or d %llu or d_v %llu is beyond 512", (unsigned long long)s[3],
                                  (unsigned long long)d_v);
    for (int axis = 0; axis < 3; axis++)
        t->rows[axis] = s[axis];
    t->rows[3] = d_v;
    const rapt_memory_form form = t->hidden > 0 ? RAPT_MEMORY_MLP : RAPT_MEMORY_LINEAR;
    const uint64_t state[3] = {s[0], s[1], rapt_memory_numbers(form, s[3], d_v, (uint64_t)t->hidden)};
    t->has_state = rapt_system_given(b, "state");
    t->wants_state = rapt_system_wants(b, "state_out");
    if (t->hidden > 0 && !t->has_state)
        return rapt_system_refuse(b, "an MLP of zeros learns nothing: input 'state' is missing");
    return rapt_system_in_f32(b, "rates", 4, (const uint64_t[]){s[0], s[1], s[2], 3}, &t->rates) &&
           (!t->has_state || rapt_system_in_f32(b, "state", 3, state, &t->state)) &&
           (!t->wants_state || rapt_system_new(b, RAPT_SYSTEM_OUT, "state_out", RAPT_F32, 3, state, &t->state_out)) &&
           rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, t->rows, &t->out);
}

/* What queries read: of each token's memory, or of the one before its segment. */
static bool read_memory(rapt_system_builder *b, const titans *t, const char *what, rapt_system_view q, rapt_system_view out, bool before)
{
    rapt_memory_desc d = RAPT_MEMORY_DESC_INIT;
    d.form = t->hidden > 0 ? RAPT_MEMORY_MLP : RAPT_MEMORY_LINEAR;
    d.hidden = (uint32_t)t->hidden;
    d.chunk = (uint32_t)t->chunk;
    d.flags = before ? RAPT_MEMORY_READ_START : 0;
    rapt_system_step *s = rapt_system_memory_step_add(b, what, &d, q, t->k, t->v, out);
    if (s == NULL)
        return false;
    rapt_system_give(&s->memory.rates, &s->rates, &t->rates);
    if (t->has_state)
        rapt_system_give(&s->memory.state_in, &s->state_in, &t->state);
    if (t->wants_state && !before)
        rapt_system_give(&s->memory.state_out, &s->state_out, &t->state_out);
    return true;
}

/* ---- attention */

static bool take_persistent(rapt_system_builder *b, titans *t, uint64_t d)
{
    t->has_persistent = rapt_system_given(b, "persistent_k");
    if (!t->has_persistent)
        return true;
    if (!rapt_system_in_sized(b, "persistent_k", 3, (const uint64_t[]){t->rows[1], 0, d}, &t->pk) ||
        !rapt_system_in_sized(b, "persistent_v", 3, (const uint64_t[]){t->rows[1], t->pk.tensor.size[1], t->rows[3]}, &t->pv))
        return false;
    rapt_system_view *const views[] = {&t->pk, &t->pv};
    for (int n = 0; n < 2; n++) {
        *views[n] = rapt_system_axes(*views[n], (const int[]){-1, 0, 1, 2});
        views[n]->tensor.size[0] = t->rows[0];
    }
    return true;
}

static bool take_attention(rapt_system_builder *b, titans *t)
{
    const uint64_t *s = t->rows;
    return rapt_system_in_sized(b, "attention_q", 4, (const uint64_t[]){s[0], s[1], s[2], 0}, &t->aq) &&
           rapt_system_in_sized(b, "attention_k", 4, t->aq.tensor.size, &t->ak) &&
           rapt_system_in_sized(b, "attention_v", 4, s, &t->av) && take_persistent(b, t, t->aq.tensor.size[3]);
}

/* Parts of attention under one softmax. */
typedef struct parts {
    rapt_system_view x[RAPT_COMBINE_TERMS], lse[RAPT_COMBINE_TERMS];
    uint32_t count;
} parts;

/* Room for one part more. */
static bool add_room(rapt_system_builder *b, const titans *t, const char *name, const char *lse, parts *p)
{
    return between_rows(b, t, name, 4, &p->x[p->count]) && between_rows(b, t, lse, 3, &p->lse[p->count++]);
}

static bool attend_persistent(rapt_system_builder *b, const titans *t, const rapt_attention_desc *base, rapt_system_view q, parts *p)
{
    return !t->has_persistent ||
           (add_room(b, t, "of persistent tokens", "their lse", p) &&
            rapt_system_step_add(b, "attention to the persistent tokens", base, q, t->pk, t->pv, p->x[p->count - 1], &p->lse[p->count - 1]));
}

static bool merge_parts(rapt_system_builder *b, const parts *p, rapt_system_view out)
{
    rapt_system_term terms[RAPT_COMBINE_TERMS];
    for (uint32_t n = 0; n < p->count; n++)
        terms[n] = (rapt_system_term){p->x[n], 1, &p->lse[n]};
    rapt_system_step *s = rapt_system_combine_step_add(b, "one softmax over all", out, terms, p->count);
    if (s == NULL)
        return false;
    s->combine.weights = RAPT_COMBINE_SOFTMAX;
    return true;
}

/* A causal window, and the persistent tokens before it. */
static bool attend_window(rapt_system_builder *b, const titans *t, rapt_system_view q, rapt_system_view k, rapt_system_view v,
                          rapt_system_view out)
{
    rapt_attention_desc base = RAPT_ATTENTION_DESC_INIT;
    parts p = {.count = 0};
    if (!rapt_system_common(b, &base))
        return false;
    rapt_attention_desc d = base;
    d.flags |= RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW;
    d.window_left = t->window - 1;
    d.window_right = -1;
    if (!t->has_persistent)
        return rapt_system_step_add(b, "attention to the window", &d, q, k, v, out, NULL) != NULL;
    return add_room(b, t, "of the window", "the window's lse", &p) &&
           rapt_system_step_add(b, "attention to the window", &d, q, k, v, p.x[0], &p.lse[0]) &&
           attend_persistent(b, t, &base, q, &p) && merge_parts(b, &p, out);
}

/* `count` segments from token `first` on, as heads: (lines, count, tokens of one, d). */
static rapt_system_view in_segments(rapt_system_view view, uint64_t first, uint64_t count, uint64_t size)
{
    return rapt_system_split(rapt_system_part(view, 1, first, count * size), 1, size);
}

/* Attention within segments, with batch and heads as one axis: (lines, n, d), and (lines, n) for the lse. */
static bool attend_segments(rapt_system_builder *b, const titans *t, const char *what, const rapt_attention_desc *d, rapt_system_view q,
                            rapt_system_view k, rapt_system_view v, rapt_system_view out, rapt_system_view lse)
{
    const uint64_t size = (uint64_t)t->chunk, whole = t->rows[2] / size;
    const struct {
        uint64_t first, count, size;
    } runs[] = {{0, whole, size}, {whole * size, 1, t->rows[2] % size}};
    for (int n = 0; n < 2; n++) {
        const uint64_t f = runs[n].first, c = runs[n].count, z = runs[n].size;
        const rapt_system_view of_lse = in_segments(lse, f, c, z ? z : 1);
        if (c > 0 && z > 0 &&
            !rapt_system_step_add(b, what, d, in_segments(q, f, c, z), in_segments(k, f, c, z), in_segments(v, f, c, z),
                                  in_segments(out, f, c, z), &of_lse))
            return false;
    }
    return true;
}

/* A segment's tokens see the persistent ones, all that was retrieved for the segment, and those of it up to themselves. */
static bool attend_context(rapt_system_builder *b, const titans *t, rapt_system_view retrieved, rapt_system_view out)
{
    rapt_attention_desc base = RAPT_ATTENTION_DESC_INIT;
    parts p = {.count = 0};
    rapt_system_view q = t->aq, k = t->ak, v = t->av, x[2], lse[2];
    if (!rapt_system_common(b, &base) || !add_room(b, t, "of the segment", "the segment's lse", &p) ||
        !add_room(b, t, "of what was retrieved", "its lse", &p) || !rapt_system_merge(b, "attention_q side by side", &q) ||
        !rapt_system_merge(b, "attention_k side by side", &k) || !rapt_system_merge(b, "attention_v side by side", &v) ||
        !rapt_system_merge(b, "retrieved side by side", &retrieved))
        return false;
    for (int n = 0; n < 2; n++) {
        x[n] = p.x[n];
        lse[n] = p.lse[n];
        if (!rapt_system_merge(b, "", &x[n]) || !rapt_system_merge(b, "", &lse[n])) /* contiguous: nothing is copied */
            return false;
    }
    rapt_attention_desc causal = base;
    causal.flags |= RAPT_ATTENTION_CAUSAL;
    return attend_segments(b, t, "attention within the segment", &causal, q, k, v, x[0], lse[0]) &&
           attend_segments(b, t, "attention to what was retrieved", &base, q, retrieved, retrieved, x[1], lse[1]) &&
           attend_persistent(b, t, &base, t->aq, &p) && merge_parts(b, &p, out);
}

/* ---- joins */

/* out = norm(x; weight), times sigmoid(gate), or gate itself, where there is one. */
static bool norm_and_gate(rapt_system_builder *b, const char *what, rapt_system_view x, const rapt_system_view *weight,
                          const rapt_system_view *gate, rapt_gate_kind kind, rapt_system_view out)
{
    const rapt_system_term term = {x, 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &term, 1);
    if (s == NULL)
        return false;
    if (weight != NULL) {
        const rapt_system_view row = rapt_system_ranked(*weight, 2, (const int[]){-1, 0, -1, -1});
        s->combine.norm = 1;
        if (!rapt_system_number(b, "eps", &s->combine.norm_epsilon))
            return false;
        rapt_system_give(&s->combine.norm_weight, &s->norm_weight, &row);
    }
    if (gate != NULL) {
        s->combine.gate_kind = kind;
        rapt_system_give(&s->combine.gate, &s->gate, gate);
    }
    return true;
}

/* Memory as a gate, section 4.2: both normed, one behind a sigmoid. */
static bool as_gate(rapt_system_builder *b, titans *t)
{
    rapt_system_view y, m, gate, weights[2];
    return take_attention(b, t) && rapt_system_in_f32(b, "norm_attention", 1, &t->rows[3], &weights[0]) &&
           rapt_system_in_f32(b, "norm_memory", 1, &t->rows[3], &weights[1]) && between_rows(b, t, "attended", 4, &y) &&
           between_rows(b, t, "remembered", 4, &m) && between_rows(b, t, "gate", 4, &gate) &&
           attend_window(b, t, t->aq, t->ak, t->av, y) && read_memory(b, t, "memory", t->q, m, false) &&
           norm_and_gate(b, "norm of the memory", m, &weights[1], NULL, 0, gate) &&
           norm_and_gate(b, "norm of attention, gated", y, &weights[0], &gate, RAPT_GATE_SIGMOID, t->out);
}

/* Memory as context, section 4.1. */
static bool as_context(rapt_system_builder *b, titans *t)
{
    rapt_system_view retrieved, y, m;
    if (!take_attention(b, t))
        return false;
    if (t->q.tensor.size[3] != t->rows[3] || t->aq.tensor.size[3] != t->rows[3])
        return rapt_system_refuse(b, "what is retrieved is a key, what is attended a query: all d and d_v must be the same");
    return between_rows(b, t, "retrieved", 4, &retrieved) && between_rows(b, t, "attended", 4, &y) &&
           between_rows(b, t, "remembered", 4, &m) && read_memory(b, t, "retrieving", t->q, retrieved, true) &&
           attend_context(b, t, retrieved, y) && read_memory(b, t, "memory", y, m, false) &&
           norm_and_gate(b, "attention times memory", y, NULL, &m, RAPT_GATE_PRODUCT, t->out);
}

/* Memory as a layer, section 4.3. */
static bool as_layer(rapt_system_builder *b, titans *t)
{
    rapt_system_view m;
    return take_persistent(b, t, t->rows[3]) && between_rows(b, t, "remembered", 4, &m) &&
           read_memory(b, t, "memory", t->q, m, false) && attend_window(b, t, m, m, m, t->out);
}

bool rapt_system_titans(rapt_system_builder *b)
{
    titans t = {0};
    if (!take_memory(b, &t))
        return false;
    return t.join == GATE      ? as_gate(b, &t)
           : t.join == CONTEXT ? as_context(b, &t)
           : t.join == LAYER   ? as_layer(b, &t)
                               : read_memory(b, &t, "memory", t.q, t.out, false);
}
