/* Systems whose queries see a band of keys, the first few keys, or both; head by head if need be. */
#include "system/system.h"

#define MOST (1 << 29)

/* Both sides: |i - j| <= window / 2, aligned at the ends of queries and keys. */
bool rapt_system_local(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t window = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "window", 0, MOST, &window))
        return false;
    d.flags |= RAPT_ATTENTION_WINDOW;
    d.window_left = d.window_right = window / 2;
    return rapt_system_step_add(b, "attention in the window", &d, t.q, t.k, t.v, t.out,
                                t.has_lse ? &t.lse : NULL);
}

/* The query's own key and the window - 1 before it. */
static void causal_window(rapt_attention_desc *d, int64_t window, int64_t sinks)
{
    d->flags |= RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW;
    d->window_left = window - 1;
    d->window_right = -1;
    d->sink_tokens = (uint64_t)sinks;
}

bool rapt_system_causal_window(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t window = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "window", 1, MOST, &window))
        return false;
    causal_window(&d, window, 0);
    return rapt_system_step_add(b, "causal attention in the window", &d, t.q, t.k, t.v, t.out,
                                t.has_lse ? &t.lse : NULL);
}

/* The first keys, and the latest. */
bool rapt_system_streaming(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t sinks = 0, recent = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "sinks", 0, MOST, &sinks) ||
        !rapt_system_integer(b, "recent", 1, MOST, &recent))
        return false;
    causal_window(&d, recent, sinks);
    return rapt_system_step_add(b, "sinks and the latest keys", &d, t.q, t.k, t.v, t.out,
                                t.has_lse ? &t.lse : NULL);
}

/* Causal, with capped logits; window 0: a layer that sees all. */
bool rapt_system_capped(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t window = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "window", 0, MOST, &window))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    if (window > 0)
        causal_window(&d, window, 0);
    return rapt_system_step_add(b, "causal attention, capped", &d, t.q, t.k, t.v, t.out,
                                t.has_lse ? &t.lse : NULL);
}

/* Key/value heads of two kinds: some see all that is causal, the others sinks and the latest keys. Neighbours
 * of one kind share a step. */
bool rapt_system_duo(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc full = RAPT_ATTENTION_DESC_INIT;
    int64_t sinks = 0, recent = 1, list[RAPT_SYSTEM_STEPS];
    uint32_t count;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &full) ||
        !rapt_system_integer(b, "sinks", 0, MOST, &sinks) ||
        !rapt_system_integer(b, "recent", 1, MOST, &recent))
        return false;
    const uint64_t heads = t.k.tensor.size[1], q_heads = t.q.tensor.size[1];
    if (heads == 0 || q_heads % heads != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads",
                                  (unsigned long long)q_heads, (unsigned long long)heads);
    if (!rapt_system_list(b, "retrieval", (int64_t)heads - 1, list, RAPT_SYSTEM_STEPS, &count))
        return false;
    const uint64_t group = q_heads / heads;
    rapt_attention_desc streaming = full;
    full.flags |= RAPT_ATTENTION_CAUSAL;
    causal_window(&streaming, recent, sinks);
    uint32_t next = 0; /* of the list */
    for (uint64_t head = 0; head < heads;) {
        const bool retrieval = next < count && (uint64_t)list[next] == head;
        uint64_t run = 0;
        if (retrieval)
            for (; next < count && (uint64_t)list[next] == head + run; next++)
                run++;
        else
            run = (next < count ? (uint64_t)list[next] : heads) - head;
        const rapt_system_view lse =
            t.has_lse ? rapt_system_part(t.lse, 1, head * group, run * group) : t.lse;
        if (!rapt_system_step_add(
                b, retrieval ? "retrieval heads" : "streaming heads", retrieval ? &full : &streaming,
                rapt_system_part(t.q, 1, head * group, run * group), rapt_system_part(t.k, 1, head, run),
                rapt_system_part(t.v, 1, head, run), rapt_system_part(t.out, 1, head * group, run * group),
                t.has_lse ? &lse : NULL))
            return false;
        head += run;
    }
    return true;
}

/* RNoPE-SWA: layers that see all, on q and k as they are, and layers with rotary positions in a window. */
bool rapt_system_rotary_window(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t local = 0, window = 1;
    float base = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "local", 0, 1, &local) ||
        !rapt_system_integer(b, "window", 1, MOST, &window) || !rapt_system_number(b, "base", &base))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    if (local) {
        causal_window(&d, window, 0);
        d.rope_base = (double)base;
    }
    return rapt_system_step_add(b, local ? "rotary, in the window" : "over all that is causal", &d, t.q, t.k, t.v, t.out,
                                t.has_lse ? &t.lse : NULL);
}

/* Attention Buckets: one pass for each rotary base, side by side as heads. */
bool rapt_system_rotary_passes(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q, k, v, out;
    float bases[RAPT_SYSTEM_STEPS];
    uint32_t count;
    if (!rapt_system_in(b, "q", 4, &q) ||
        !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q.tensor.size[0], 0, 0, q.tensor.size[3]}, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){k.tensor.size[0], k.tensor.size[1], k.tensor.size[2], 0}, &v) ||
        !rapt_system_common(b, &d) || !rapt_system_numbers(b, "bases", bases, RAPT_SYSTEM_STEPS, &count))
        return false;
    const uint64_t heads = q.tensor.size[1], shape[4] = {q.tensor.size[0], heads * count, q.tensor.size[2], v.tensor.size[3]};
    if (heads < k.tensor.size[1] || heads > UINT64_MAX / RAPT_SYSTEM_STEPS)
        return rapt_system_refuse(b, "%llu query heads for %llu kv heads", (unsigned long long)heads,
                                  (unsigned long long)k.tensor.size[1]);
    if (!rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &out))
        return false;
    for (uint32_t pass = 0; pass < count; pass++) {
        d.rope_base = (double)bases[pass];
        if (!rapt_system_step_add(b, "a pass with its base", &d, q, k, v, rapt_system_part(out, 1, pass * heads, heads), NULL))
            return false;
    }
    return true;
}

/* Keys of a dilated window on both sides, and the first ones. */
static const char dilated_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                   "{\n"
                                   "    uint global = uint(user_f(0)), each = uint(user_f(1)), dilation = uint(user_f(2));\n"
                                   "    uint at = q + global; // queries are those behind the global tokens\n"
                                   "    uint apart = at > k ? at - k : k - at;\n"
                                   "    return k < global || (apart % dilation == 0u && apart <= each * dilation);\n"
                                   "}\n";

/* Longformer: the first tokens see all, by projections of their own, and are seen by all; the others see windows. */
bool rapt_system_longformer(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view qg, kg, vg;
    int64_t window = 0, dilation = 1, global = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "window", 0, 1 << 23, &window) ||
        !rapt_system_integer(b, "dilation", 1, 1 << 23, &dilation) || !rapt_system_integer(b, "global", 0, 1 << 23, &global))
        return false;
    const uint64_t n = t.q.tensor.size[2], first = (uint64_t)global;
    if (n != t.k.tensor.size[2] || first > n)
        return rapt_system_refuse(b, "%llu queries, %llu keys and %llu global tokens: as many of both, and no more of the last",
                                  (unsigned long long)n, (unsigned long long)t.k.tensor.size[2], (unsigned long long)first);
    if (first > 0 && (!rapt_system_in_sized(b, "q_global", 4, (const uint64_t[]){t.q.tensor.size[0], t.q.tensor.size[1], first,
                                                                                 t.q.tensor.size[3]}, &qg) ||
                      !rapt_system_in_sized(b, "k_global", 4, t.k.tensor.size, &kg) ||
                      !rapt_system_in_sized(b, "v_global", 4, t.v.tensor.size, &vg) ||
                      !rapt_system_step_add(b, "global tokens over all", &d, qg, kg, vg, rapt_system_part(t.out, 2, 0, first), NULL)))
        return false;
    if (first == n)
        return true;
    if (dilation > 1) {
        d.mask_mod[0] = dilated_mask;
        d.user_constants[0] = (float)global;
        d.user_constants[1] = (float)(window / 2);
        d.user_constants[2] = (float)dilation;
    } else {
        d.flags |= RAPT_ATTENTION_WINDOW;
        d.window_left = d.window_right = window / 2;
        d.sink_tokens = first;
    }
    return rapt_system_step_add(b, "the others in their windows", &d, rapt_system_part(t.q, 2, first, n - first), t.k, t.v,
                                rapt_system_part(t.out, 2, first, n - first), NULL);
}

/* Twins: layers with windows, and layers in which all read one key per window. */
bool rapt_system_windows_or_all(rapt_system_builder *b)
{
    int64_t local = 1;
    return rapt_system_integer(b, "local", 0, 1, &local) && (local ? rapt_system_windows(b) : rapt_system_dense(b));
}

/* FreeSwim: a branch with windows of the trained extent, pushed inward at borders, and one that sees all. */
bool rapt_system_inward_windows(rapt_system_builder *b)
{
    int64_t full = 0;
    return rapt_system_integer(b, "full", 0, 1, &full) && (full ? rapt_system_dense(b) : rapt_system_neighborhood(b));
}

/* MixFormer: the target sees itself, the search region both. */
bool rapt_system_target_and_search(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t target = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t n = t.q.tensor.size[2];
    if (n != t.k.tensor.size[2] || n > MOST)
        return rapt_system_refuse(b, "%llu queries and %llu keys; as many of both are needed", (unsigned long long)n,
                                  (unsigned long long)t.k.tensor.size[2]);
    if (!rapt_system_integer(b, "target", 1, (int64_t)n - 1, &target))
        return false;
    const uint64_t first = (uint64_t)target;
    return rapt_system_step_add(b, "the target over itself", &d, rapt_system_part(t.q, 2, 0, first), rapt_system_part(t.k, 2, 0, first),
                                rapt_system_part(t.v, 2, 0, first), rapt_system_part(t.out, 2, 0, first), NULL) &&
           rapt_system_step_add(b, "the search region over both", &d, rapt_system_part(t.q, 2, first, n - first), t.k, t.v,
                                rapt_system_part(t.out, 2, first, n - first), NULL);
}
