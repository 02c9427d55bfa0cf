/* Systems that are dense softmax attention: they differ in which heads share what, in what is masked, and in
 * the order of the sums, which is the engine's own affair. */
#include "system/system.h"

/* One call; `flags` on top of what the parameters say. */
static bool one_call(rapt_system_builder *b, const rapt_system_qkv *t, uint32_t flags,
                     rapt_system_step **step)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    if (!rapt_system_common(b, &d))
        return false;
    d.flags |= flags;
    *step = rapt_system_step_add(b, "attention", &d, t->q, t->k, t->v, t->out, t->has_lse ? &t->lse : NULL);
    return *step != NULL;
}

/* softmax(scale Q K^T + mask) V. */
bool rapt_system_dense(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_step *step;
    return rapt_system_qkv_take(b, &t) && one_call(b, &t, 0, &step);
}

/* One key/value head for all query heads. */
bool rapt_system_mqa(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_step *step;
    if (!rapt_system_qkv_take(b, &t))
        return false;
    if (t.k.tensor.size[1] != 1)
        return rapt_system_refuse(b, "k has %llu heads; one is shared by all query heads",
                                  (unsigned long long)t.k.tensor.size[1]);
    return one_call(b, &t, 0, &step);
}

/* Groups of query heads share a key/value head. */
bool rapt_system_gqa(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_step *step;
    if (!rapt_system_qkv_take(b, &t))
        return false;
    const uint64_t q_heads = t.q.tensor.size[1], kv_heads = t.k.tensor.size[1];
    if (kv_heads == 0 || q_heads % kv_heads != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads",
                                  (unsigned long long)q_heads, (unsigned long long)kv_heads);
    return one_call(b, &t, 0, &step);
}

/* A cache with room for more keys than there are: each batch entry has its own number of them. */
bool rapt_system_lengths(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_step *step;
    rapt_system_view lengths;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_in_i32(b, "lengths", 1, &t.q.tensor.size[0], &lengths) || !one_call(b, &t, 0, &step))
        return false;
    rapt_system_give(&step->attention.k_lengths, &step->k_lengths, &lengths);
    return true;
}

/* Sequences without padding, one after the other along the sequence axis. */
bool rapt_system_packed(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_step *step;
    rapt_system_operand bounds;
    uint64_t count;
    if (!rapt_system_qkv_take(b, &t))
        return false;
    const uint64_t *q = t.q.tensor.size, *k = t.k.tensor.size;
    if (q[0] != 1 || q[2] != k[2])
        return rapt_system_refuse(
            b, "batch %llu with %llu queries and %llu keys; batch 1 with as many of both is needed",
            (unsigned long long)q[0], (unsigned long long)q[2], (unsigned long long)k[2]);
    if (!rapt_system_bounds(b, "cu_seqlens", q[2], &bounds, &count))
        return false;
    if (count < 2)
        return rapt_system_refuse(
            b, "input 'cu_seqlens' has one entry; one more than there are sequences is needed");
    if (!one_call(b, &t, 0, &step))
        return false;
    step->attention.sequences = (uint32_t)(count - 1);
    step->cu_seqlens_q = step->cu_seqlens_k = bounds;
    return true;
}

/* The queries are the last tokens of the keys' sequence and are causal among themselves; what comes before
 * them is seen by all. */
bool rapt_system_queries_behind(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_step *step;
    if (!rapt_system_qkv_take(b, &t))
        return false;
    if (t.q.tensor.size[2] > t.k.tensor.size[2])
        return rapt_system_refuse(
            b, "%llu queries, but %llu keys: the queries' own keys are the last of them",
            (unsigned long long)t.q.tensor.size[2], (unsigned long long)t.k.tensor.size[2]);
    return one_call(b, &t, RAPT_ATTENTION_CAUSAL, &step);
}

/* Keys and values are the inputs x themselves, for all heads. */
bool rapt_system_shared_kv(rapt_system_builder *b)
{
    rapt_system_qkv t = {.has_lse = rapt_system_wants(b, "lse")};
    rapt_system_view x;
    rapt_system_step *step;
    if (!rapt_system_in(b, "q", 4, &t.q) || !rapt_system_in(b, "x", 3, &x))
        return false;
    t.k = t.v = rapt_system_axes(x, (const int[]){0, -1, 1, 2});
    const uint64_t *q = t.q.tensor.size, *k = t.k.tensor.size;
    if (q[0] != k[0] || q[3] != k[3])
        return rapt_system_refuse(
            b, "q is (%llu, .., %llu), x (%llu, .., %llu): batch and width must be the same",
            (unsigned long long)q[0], (unsigned long long)q[3], (unsigned long long)k[0],
            (unsigned long long)k[3]);
    const uint64_t out[4] = {q[0], RAPT_MAX(q[1], 1), q[2], k[3]};
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, out, &t.out) &&
           (!t.has_lse || rapt_system_new(b, RAPT_SYSTEM_OUT, "lse", RAPT_F32, 3, out, &t.lse)) &&
           one_call(b, &t, 0, &step);
}

/* Each token looks at the layers below it: the tokens are the batch, the layers the keys. */
bool rapt_system_depth(rapt_system_builder *b)
{
    rapt_system_qkv t = {0};
    rapt_system_view q, k, v;
    rapt_system_step *step;
    if (!rapt_system_in(b, "q", 3, &q) || !rapt_system_in(b, "k", 4, &k) || !rapt_system_in(b, "v", 4, &v))
        return false;
    const uint64_t *a = q.tensor.size, *c = k.tensor.size, *e = v.tensor.size;
    if (a[0] != c[1] || a[1] != c[2] || a[2] != c[3] || c[0] != e[0] || c[1] != e[1] || c[2] != e[2])
        return rapt_system_refuse(
            b,
            "shapes disagree: q (%llu, %llu, %llu), k (%llu, %llu, %llu, %llu), v (%llu, %llu, %llu, %llu)",
            (unsigned long long)a[0], (unsigned long long)a[1], (unsigned long long)a[2],
            (unsigned long long)c[0], (unsigned long long)c[1], (unsigned long long)c[2],
            (unsigned long long)c[3], (unsigned long long)e[0], (unsigned long long)e[1],
            (unsigned long long)e[2], (unsigned long long)e[3]);
    rapt_system_view out;
    if (!rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, (const uint64_t[]){a[0], a[1], e[3]}, &out))
        return false;
    t.q = rapt_system_axes(q, (const int[]){0, 1, -1, 2});
    t.k = rapt_system_axes(k, (const int[]){1, 2, 0, 3});
    t.v = rapt_system_axes(v, (const int[]){1, 2, 0, 3});
    t.out = rapt_system_axes(out, (const int[]){0, 1, -1, 2});
    return one_call(b, &t, 0, &step);
}

/* UMoE: each expert mixes the inputs before its network: their queries share keys, and the values are the inputs themselves. */
bool rapt_system_pre_mixing(rapt_system_builder *b)
{
    rapt_system_qkv t = {.has_lse = false};
    rapt_system_view x;
    rapt_system_step *step;
    if (!rapt_system_in(b, "q", 4, &t.q))
        return false;
    const uint64_t *q = t.q.tensor.size;
    if (!rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q[0], 1, 0, q[3]}, &t.k) ||
        !rapt_system_in_sized(b, "x", 3, (const uint64_t[]){q[0], t.k.tensor.size[2], 0}, &x))
        return false;
    t.v = rapt_system_axes(x, (const int[]){0, -1, 1, 2});
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, (const uint64_t[]){q[0], RAPT_MAX(q[1], 1), q[2], x.tensor.size[2]}, &t.out) &&
           one_call(b, &t, 0, &step);
}
