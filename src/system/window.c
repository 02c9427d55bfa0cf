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
