/* Native Hybrid Attention: gated slots that hold what is older than a window, under one softmax with it (arXiv:2510.07019). */
#include "system/system.h"

#include <math.h>

typedef struct slots {
    rapt_system_view q, k, v, qs, ks, alpha, out; /* single precision, but for out; qs and ks: of the slots */
    rapt_system_view free, scores, read, read_lse, near, near_lse;
    uint64_t m;
    int64_t window;
    float scale;
} slots;

static bool take(rapt_system_builder *b, slots *t)
{
    rapt_system_view q, k, v, qs, ks;
    rapt_attention_desc common = RAPT_ATTENTION_DESC_INIT;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in_sized(b, "k", 4, q.tensor.size, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){q.tensor.size[0], q.tensor.size[1], q.tensor.size[2], 0}, &v) ||
        !rapt_system_common(b, &common) || !rapt_system_integer(b, "window", 0, 1 << 29, &t->window))
        return false;
    const uint64_t *s = q.tensor.size;
    qs = q;
    ks = k;
    if ((rapt_system_given(b, "q_slots") && !rapt_system_in_sized(b, "q_slots", 4, s, &qs)) ||
        (rapt_system_given(b, "k_slots") && !rapt_system_in_sized(b, "k_slots", 4, s, &ks)) ||
        !rapt_system_in_f32(b, "alpha", 4, (const uint64_t[]){s[0], s[1], s[2], 0}, &t->alpha))
        return false;
    t->m = t->alpha.tensor.size[3];
    if (s[0] == 0 || s[1] == 0 || s[2] == 0 || s[3] == 0 || t->m == 0)
        return rapt_system_refuse(b, "q or alpha is empty");
    t->scale = common.flags & RAPT_ATTENTION_SCALE ? common.scale : 1 / sqrtf((float)s[3]);
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, v.tensor.size, &t->out) &&
           rapt_system_single(b, "q single", q, &t->q) && rapt_system_single(b, "k single", k, &t->k) &&
           rapt_system_single(b, "v single", v, &t->v) && rapt_system_single(b, "q of slots, single", qs, &t->qs) &&
           rapt_system_single(b, "k of slots, single", ks, &t->ks) &&
           rapt_system_between(b, "free", RAPT_F32, 4, t->alpha.tensor.size, &t->free) &&
           rapt_system_between(b, "scores", RAPT_F32, 4, t->alpha.tensor.size, &t->scores) &&
           rapt_system_between(b, "read", RAPT_F32, 4, v.tensor.size, &t->read) &&
           rapt_system_between(b, "read lse", RAPT_F32, 3, s, &t->read_lse) &&
           rapt_system_map(b, "one minus alpha", t->free, t->alpha, -1, 1, RAPT_COMBINE_ACT_NONE);
}

/* (batch heads, n, w), each with one head. */
static rapt_system_view one_head(rapt_system_view folded)
{
    return rapt_system_ranked(folded, 4, (const int[]){0, -1, 1, 2});
}

/* (batch heads, n, m) with a head for each slot, of values one wide. */
static rapt_system_view slot_heads(rapt_system_view folded)
{
    return rapt_system_ranked(folded, 4, (const int[]){0, 2, 1, -1});
}

/* The slots' keys times each query: K'_t q_t = sum over j of the decay since j, (1 - alpha_j) k_j . q_t, a recurrence of d numbers
 * for each slot. Then its softmax over slots reads values, which the same decays hold. */
static bool read_slots(rapt_system_builder *b, const slots *t)
{
    rapt_system_view q = t->qs, k = t->ks, v = t->v, alpha = t->alpha, free = t->free, scores = t->scores, read = t->read;
    if (!rapt_system_merge(b, "q by head", &q) || !rapt_system_merge(b, "k by head", &k) || !rapt_system_merge(b, "v by head", &v) ||
        !rapt_system_merge(b, "alpha by head", &alpha) || !rapt_system_merge(b, "free by head", &free) ||
        !rapt_system_merge(b, "scores by head", &scores) || !rapt_system_merge(b, "read by head", &read))
        return false;
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.flags = RAPT_LINEAR_SCALE;
    d.scale = t->scale;
    rapt_system_step *s = rapt_system_linear_step_add(b, "scores of slots", &d);
    if (s == NULL)
        return false;
    rapt_system_linear_give(s, one_head(q), one_head(k), slot_heads(free), slot_heads(scores));
    const rapt_system_view decay = rapt_system_weights(slot_heads(alpha));
    rapt_system_give(&s->linear.decay, &s->decay, &decay);
    d = (rapt_linear_desc)RAPT_LINEAR_DESC_INIT;
    d.feature = RAPT_PHI_SOFTMAX;
    d.feature_k = RAPT_PHI_IDENTITY;
    d.flags = RAPT_LINEAR_FEATURE_K;
    s = rapt_system_linear_step_add(b, "slots are read", &d);
    if (s == NULL)
        return false;
    rapt_system_linear_give(s, one_head(scores), one_head(free), one_head(v), one_head(read));
    const rapt_system_view gate = one_head(alpha);
    rapt_system_give(&s->linear.gate, &s->decay, &gate);
    return true;
}

/* log of the sum over slots of e^score, as that of attention whose scores are a bias. */
static bool sum_slots(rapt_system_builder *b, const slots *t)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q = rapt_system_part(t->scores, 3, 0, 1), keys = rapt_system_part(t->scores, 2, 0, 1), unused;
    const uint64_t *s = t->scores.tensor.size, shape[4] = {s[0], s[1], s[2], 1};
    keys.tensor.size[2] = t->m;
    keys.tensor.stride[2] = 1;
    keys.tensor.size[3] = 1;
    d.flags = RAPT_ATTENTION_SCALE; /* 0 */
    if (!rapt_system_between(b, "unused", RAPT_F32, 4, shape, &unused))
        return false;
    /* A bias has as many batch entries and heads as queries. */
    rapt_system_step *step = rapt_system_step_add(b, "their log-sum-exp", &d, q, keys, keys, unused, &t->read_lse);
    if (step == NULL)
        return false;
    rapt_system_give(&step->attention.bias, &step->bias, &t->scores);
    return true;
}

bool rapt_system_slots(rapt_system_builder *b)
{
    slots t = {.window = 0};
    if (!take(b, &t) || !read_slots(b, &t))
        return false;
    if (t.window == 0)
        return rapt_system_map(b, "as it is", t.out, t.read, 1, 0, RAPT_COMBINE_ACT_NONE);
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.flags = RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW | RAPT_ATTENTION_SCALE;
    d.window_left = t.window - 1;
    d.window_right = -1;
    d.scale = t.scale;
    const uint64_t *s = t.out.tensor.size;
    if (!sum_slots(b, &t) || !rapt_system_between(b, "near", RAPT_F32, 4, s, &t.near) ||
        !rapt_system_between(b, "near lse", RAPT_F32, 3, s, &t.near_lse) ||
        !rapt_system_step_add(b, "the window", &d, t.q, t.k, t.v, t.near, &t.near_lse))
        return false;
    const rapt_system_term terms[] = {{t.near, 1, &t.near_lse}, {t.read, 1, &t.read_lse}};
    rapt_system_step *step = rapt_system_combine_step_add(b, "both under one softmax", t.out, terms, 2);
    if (step != NULL)
        step->combine.weights = RAPT_COMBINE_SOFTMAX;
    return step != NULL;
}
