/* Systems that go through a few latent queries: what they gather is what the tokens then read. */
#include "system/system.h"

/* z = softmax(latents K^T) V, out = softmax(K latents^T) z. */
bool rapt_system_latent(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view latents, k, v, z, out;
    if (!rapt_system_in(b, "latents", 3, &latents) || !rapt_system_in(b, "k", 4, &k) ||
        !rapt_system_in(b, "v", 4, &v) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *a = latents.tensor.size, *c = k.tensor.size, *e = v.tensor.size;
    if (a[0] != c[1] || a[2] != c[3] || c[0] != e[0] || c[1] != e[1] || c[2] != e[2])
        return rapt_system_refuse(
            b,
            "shapes disagree: latents (%llu, %llu, %llu), k (%llu, %llu, %llu, %llu), v (%llu, %llu, %llu, "
            "%llu)",
            (unsigned long long)a[0], (unsigned long long)a[1], (unsigned long long)a[2],
            (unsigned long long)c[0], (unsigned long long)c[1], (unsigned long long)c[2],
            (unsigned long long)c[3], (unsigned long long)e[0], (unsigned long long)e[1],
            (unsigned long long)e[2], (unsigned long long)e[3]);
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "z", b->dtype, 4, (const uint64_t[]){c[0], c[1], a[1], e[3]},
                         &z) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, e, &out))
        return false;
    rapt_system_view everywhere =
        rapt_system_axes(latents, (const int[]){-1, 0, 1, 2}); /* for every batch entry */
    everywhere.tensor.size[0] = c[0];
    return rapt_system_step_add(b, "latents gather", &d, everywhere, k, v, z, NULL) &&
           rapt_system_step_add(b, "tokens read", &d, k, everywhere, z, out, NULL);
}

/* ---- Combiner ---- */

/* Tokens as (batch heads, spans, tokens of a span, d). */
static rapt_system_view spans_of(rapt_system_view view, uint64_t span)
{
    const rapt_tensor t = view.tensor;
    const bool rank3 = t.rank == 3; /* one number a row */
    view.tensor.rank = rank3 ? 3 : 4;
    view.tensor.size[0] = t.size[0] * t.size[1];
    view.tensor.stride[0] = t.stride[1];
    view.tensor.size[1] = t.size[2] / span;
    view.tensor.stride[1] = t.stride[2] * (int64_t)span;
    view.tensor.size[2] = span;
    view.tensor.stride[2] = t.stride[2];
    return view;
}

static const char earlier_spans[] = "bool mask_mod(uint b, uint h, uint q, uint k) { return k < q / uint(user_f(0)); }\n";

/* A query sees the tokens of its span up to itself, and what stands for each span before: its mean key, with the values that its
 * mean query gathers. */
bool rapt_system_combiner(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT, mean = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view pooled[2], gathered, part[2], lse[2];
    int64_t span = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "span", 1, 1 << 23, &span))
        return false;
    const uint64_t *s = t.q.tensor.size, each = (uint64_t)span;
    const rapt_system_view *const in[3] = {&t.q, &t.k, &t.v};
    if (s[1] != t.k.tensor.size[1] || s[2] != t.k.tensor.size[2] || s[2] % each != 0 || s[2] > (1 << 23) ||
        (s[0] > 0 && s[1] > UINT64_MAX / s[0]))
        return rapt_system_refuse(b, "as many queries as keys, whole spans of %llu up to 2^23, and as many query heads as kv heads are needed",
                                  (unsigned long long)each);
    for (int n = 0; n < 3; n++)
        if (s[0] > 1 && in[n]->tensor.stride[0] != (int64_t)s[1] * in[n]->tensor.stride[1])
            return rapt_system_refuse(b, "batch entries of q, k and v must lie one behind the other");
    const uint64_t summaries[4] = {s[0], s[1], s[2] / each, s[3]}, values[4] = {s[0], s[1], s[2] / each, t.v.tensor.size[3]};
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "q_pooled", b->dtype, 4, summaries, &pooled[0]) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "k_pooled", b->dtype, 4, summaries, &pooled[1]) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "gathered", b->dtype, 4, values, &gathered) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "near", b->dtype, 4, t.out.tensor.size, &part[0]) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "far", b->dtype, 4, t.out.tensor.size, &part[1]) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "near_lse", RAPT_F32, 3, t.out.tensor.size, &lse[0]) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "far_lse", RAPT_F32, 3, t.out.tensor.size, &lse[1]))
        return false;
    mean.flags = RAPT_ATTENTION_SCALE; /* 0: all weights alike */
    for (int n = 0; n < 2; n++) {
        const rapt_system_view x = spans_of(*in[n], each);
        if (!rapt_system_step_add(b, n ? "mean keys" : "mean queries", &mean, rapt_system_part(x, 2, 0, 1), x, x, spans_of(pooled[n], 1), NULL))
            return false;
    }
    const rapt_system_view q = spans_of(t.q, each), k = spans_of(t.k, each), v = spans_of(t.v, each), near_lse = spans_of(lse[0], each);
    rapt_attention_desc causal = d, earlier = d;
    causal.flags |= RAPT_ATTENTION_CAUSAL;
    earlier.mask_mod[0] = earlier_spans;
    earlier.user_constants[0] = (float)span;
    if (!rapt_system_step_add(b, "spans gather their values", &d, spans_of(pooled[0], 1), k, v, spans_of(gathered, 1), NULL) ||
        !rapt_system_step_add(b, "tokens of the own span", &causal, q, k, v, spans_of(part[0], each), &near_lse) ||
        !rapt_system_step_add(b, "spans before", &earlier, t.q, pooled[1], gathered, part[1], &lse[1]))
        return false;
    const rapt_system_term terms[] = {{part[0], 1, &lse[0]}, {part[1], 1, &lse[1]}};
    rapt_system_step *step = rapt_system_combine_step_add(b, "both under one softmax", t.out, terms, 2);
    if (step == NULL)
        return false;
    step->combine.weights = RAPT_COMBINE_SOFTMAX;
    if (t.has_lse) {
        step->combine.lse = t.lse.tensor;
        step->lse = t.lse.at;
    }
    return true;
}
