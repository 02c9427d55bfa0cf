/* Systems whose heads see a static pattern of blocks, or of tokens. */
#include "system/system.h"

/* Causal attention to what the recipe's pattern shows. */
static bool attend_to_pattern(rapt_system_builder *b, const rapt_system_qkv *t, const rapt_attention_desc *base, const char *what)
{
    rapt_attention_desc d = *base;
    rapt_tensor mask;
    rapt_error why = {0};
    if (rapt_pattern_tensor(&b->recipe->pattern, &mask, &why) != RAPT_OK)
        return rapt_system_refuse(b, "%s", why.message);
    rapt_system_view view;
    if (!rapt_system_new(b, RAPT_SYSTEM_PATTERN, "mask", RAPT_I32, 4, mask.size, &view))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    rapt_system_step *step = rapt_system_step_add(b, what, &d, t->q, t->k, t->v, t->out, t->has_lse ? &t->lse : NULL);
    if (step == NULL)
        return false;
    step->block_mask = view.at;
    step->attention.block_mask = view.tensor;
    step->attention.block_q = step->attention.block_k = b->recipe->pattern.block;
    return true;
}

/* S2-Attention: local blocks, and every stride-th block from an offset of the head's own on. */
bool rapt_system_s2(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t block = 1, local = 0, stride = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "block", 1, 1 << 29, &block) || !rapt_system_integer(b, "local", 0, 1 << 29, &local) ||
        !rapt_system_integer(b, "stride", 1, 1 << 29, &stride))
        return false;
    const uint64_t heads = t.q.tensor.size[1];
    if (heads == 0 || heads > UINT32_MAX)
        return rapt_system_refuse(b, "%llu query heads, 1 to 2^32 - 1 are needed", (unsigned long long)heads);
    rapt_pattern *p = &b->recipe->pattern;
    *p = (rapt_pattern){.struct_size = sizeof *p,
                        .kind = RAPT_PATTERN_STRIDED,
                        .nq = t.q.tensor.size[2],
                        .nk = t.k.tensor.size[2],
                        .heads = (uint32_t)heads,
                        .block = (uint32_t)block,
                        .local = (uint32_t)local,
                        .stride = (uint32_t)stride};
    return attend_to_pattern(b, &t, &d, "causal attention to local blocks and a stride of others");
}

/* Radial Attention, equation 4: frames i and j, places within them. */
static const char radial_mask[] =
    "bool mask_mod(uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    uint s = uint(user_f(0)), i = q / s, j = k / s;\n"
    "    uint apart = i > j ? i - j : j - i;\n"
    "    uint place = q - i * s, other = k - j * s;\n"
    "    uint inside = place > other ? place - other : other - place;\n"
    "    uint e = 1u; // 2^floor(log2(max(apart, 1)))\n"
    "    for (int n = 0; n < 30 && 2u * e <= apart; n++)\n"
    "        e *= 2u;\n"
    "    if (j == 0u) // the first frame\n"
    "        return true;\n"
    "    if (e <= s && inside < s / e)\n"
    "        return true;\n"
    "    return inside == 0u && apart % ((e + s - 1u) / s) == 0u;\n"
    "}\n";

bool rapt_system_radial(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t places = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "places", 1, 1 << 24, &places)) /* exact in single precision */
        return false;
    if (t.q.tensor.size[2] != t.k.tensor.size[2])
        return rapt_system_refuse(b, "%llu queries and %llu keys; as many of both are needed",
                                  (unsigned long long)t.q.tensor.size[2], (unsigned long long)t.k.tensor.size[2]);
    d.mask_mod[0] = radial_mask;
    d.user_constants[0] = (float)places;
    return rapt_system_step_add(b, "attention in bands that halve", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
}

/* MoA: the first blocks, and a span of each head's own that grows with the sequence. */
bool rapt_system_spans(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t block = 1, first = 0;
    uint32_t counts[2];
    float (*numbers)[RAPT_SYSTEM_HEADS] = b->recipe->numbers;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "block", 1, 1 << 29, &block) ||
        !rapt_system_integer(b, "first", 0, 1 << 29, &first) ||
        !rapt_system_numbers(b, "alpha", numbers[0], RAPT_SYSTEM_HEADS, &counts[0]) ||
        !rapt_system_numbers(b, "beta", numbers[1], RAPT_SYSTEM_HEADS, &counts[1]))
        return false;
    const uint64_t heads = t.q.tensor.size[1];
    if (counts[0] != heads || counts[1] != heads)
        return rapt_system_refuse(b, "%u numbers of alpha and %u of beta; one for each of %llu query heads is needed", counts[0],
                                  counts[1], (unsigned long long)heads);
    b->recipe->pattern = (rapt_pattern){.struct_size = sizeof(rapt_pattern),
                                        .kind = RAPT_PATTERN_SPANS,
                                        .nq = t.q.tensor.size[2],
                                        .nk = t.k.tensor.size[2],
                                        .heads = (uint32_t)heads,
                                        .block = (uint32_t)block,
                                        .global = (uint32_t)first,
                                        .causal = 1,
                                        .alpha = numbers[0],
                                        .beta = numbers[1]};
    return attend_to_pattern(b, &t, &d, "causal attention in spans of the heads' own");
}
