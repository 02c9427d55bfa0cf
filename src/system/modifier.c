/* Systems that change the scores, the weights or the output of dense attention. */
#include "system/system.h"

/* Signed weights: Cog Attention. */
bool rapt_system_signed(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    d.link = RAPT_LINK_SIGNED;
    return rapt_system_step_add(b, "attention with signed weights", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
}

/* A bias of low rank, behind q and k: FlashBias. */
bool rapt_system_low_rank(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view u, w;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *q = t.q.tensor.size, *k = t.k.tensor.size;
    if (!rapt_system_in_sized(b, "u", 4, (const uint64_t[]){q[0], q[1], q[2], 0}, &u) ||
        !rapt_system_in_sized(b, "w", 4, (const uint64_t[]){q[0], q[1], k[2], u.tensor.size[3]}, &w))
        return false;
    if (q[1] != k[1])
        return rapt_system_refuse(b, "%llu query heads and %llu kv heads: w has a head for each, so they must be as many",
                                  (unsigned long long)q[1], (unsigned long long)k[1]);
    d.bias_u = u.tensor;
    d.bias_v = w.tensor;
    rapt_system_step *s = rapt_system_step_add(b, "attention with factors of the bias", &d, t.q, t.k, t.v, t.out,
                                               t.has_lse ? &t.lse : NULL);
    if (s == NULL)
        return false;
    s->bias_u = u.at;
    s->bias_v = w.at;
    return true;
}

static bool gated(rapt_system_builder *b, const rapt_system_qkv *t, const rapt_attention_desc *base,
                  const rapt_system_view *gate)
{
    rapt_attention_desc d = *base;
    d.gate = gate->tensor;
    rapt_system_step *s = rapt_system_step_add(b, "attention and its gate", &d, t->q, t->k, t->v, t->out,
                                               t->has_lse ? &t->lse : NULL);
    if (s != NULL)
        s->gate = gate->at;
    return s != NULL;
}

/* A sigmoid gate for each element of the output, or for each head and query. */
bool rapt_system_gated(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view g;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_in(b, "g", 4, &g))
        return false;
    uint64_t *each = &g.tensor.size[3];
    if (*each == 1) { /* one for a head and query */
        *each = t.out.tensor.size[3];
        g.tensor.stride[3] = 0;
    }
    for (unsigned axis = 0; axis < 4; axis++)
        if (g.tensor.size[axis] != t.out.tensor.size[axis])
            return rapt_system_refuse(b, "input 'g' has %llu entries along axis %u; %llu are needed", (unsigned long long)g.tensor.size[axis],
                                      axis, (unsigned long long)t.out.tensor.size[axis]);
    return gated(b, &t, &d, &g);
}

/* Quantizable Transformers: clipped weights, or a sigmoid gate for each head and query. */
bool rapt_system_quantizable(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view g;
    int64_t by_gate = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "gated", 0, 1, &by_gate) ||
        !rapt_system_number(b, "gamma", &d.link_gamma) || !rapt_system_number(b, "zeta", &d.link_zeta))
        return false;
    if (by_gate) {
        d.link_gamma = d.link_zeta = 0;
        if (!rapt_system_in_sized(b, "g", 3, t.out.tensor.size, &g))
            return false;
        g.tensor.rank = 4; /* the same for all of a row */
        g.tensor.size[3] = t.out.tensor.size[3];
        g.tensor.stride[3] = 0;
        return gated(b, &t, &d, &g);
    }
    d.link = RAPT_LINK_CLIPPED;
    return rapt_system_step_add(b, "attention with clipped weights", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
}
