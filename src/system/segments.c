/* Systems whose sequence is cut into pieces that see different things. */
#include "system/system.h"

/* Passages are causal, each by itself; the last block is causal over everything. Keys stand at their final
 * positions: within a passage only differences of positions count, so both parts may read the same ones. */
bool rapt_system_blocks(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_operand bounds;
    uint64_t count;
    int64_t last = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t n = t.q.tensor.size[2];
    if (t.q.tensor.size[0] != 1 || n != t.k.tensor.size[2] || n > INT32_MAX)
        return rapt_system_refuse(
            b, "batch %llu with %llu queries and %llu keys; batch 1 with as many of both is needed",
            (unsigned long long)t.q.tensor.size[0], (unsigned long long)n,
            (unsigned long long)t.k.tensor.size[2]);
    if (!rapt_system_integer(b, "last", 0, (int64_t)n, &last))
        return false;
    const uint64_t passages = n - (uint64_t)last;
    if (!rapt_system_bounds(b, "cu_seqlens", passages, &bounds, &count))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    rapt_system_view lse = t.lse;
    if (passages > 0 && count < 2)
        return rapt_system_refuse(
            b, "input 'cu_seqlens' has one entry; one more than there are passages is needed");
    if (passages > 0) {
        if (t.has_lse)
            lse = rapt_system_part(t.lse, 2, 0, passages);
        rapt_system_step *step =
            rapt_system_step_add(b, "each passage by itself", &d, rapt_system_part(t.q, 2, 0, passages),
                                 rapt_system_part(t.k, 2, 0, passages), rapt_system_part(t.v, 2, 0, passages),
                                 rapt_system_part(t.out, 2, 0, passages), t.has_lse ? &lse : NULL);
        if (!step)
            return false;
        step->attention.sequences = (uint32_t)(count - 1);
        step->cu_seqlens_q = step->cu_seqlens_k = bounds;
    }
    if (last == 0)
        return true;
    if (t.has_lse)
        lse = rapt_system_part(t.lse, 2, passages, (uint64_t)last);
    return rapt_system_step_add(
        b, "the last block over all", &d, rapt_system_part(t.q, 2, passages, (uint64_t)last), t.k, t.v,
        rapt_system_part(t.out, 2, passages, (uint64_t)last), t.has_lse ? &lse : NULL);
}
