/* Where each tensor of a part lies in the whole's, and which rules of visibility move with it. */
#include "op/cut.h"

typedef enum cut_axis { AXIS_NONE = 0, AXIS_BATCH, AXIS_Q_HEAD, AXIS_KV_HEAD, AXIS_OUT_HEAD, AXIS_QUERY, AXIS_KEY, AXIS_BLOCK_Q,
                        AXIS_BLOCK_K, AXIS_COUNT } cut_axis;

/* What the axes of each tensor count. */
static const uint8_t axes[RAPT_CUT_TENSORS][RAPT_MAX_RANK] = {
    [RAPT_CUT_Q] = {AXIS_BATCH, AXIS_Q_HEAD, AXIS_QUERY},
    [RAPT_CUT_K] = {AXIS_BATCH, AXIS_KV_HEAD, AXIS_KEY},
    [RAPT_CUT_V] = {AXIS_BATCH, AXIS_KV_HEAD, AXIS_KEY},
    [RAPT_CUT_OUT] = {AXIS_BATCH, AXIS_OUT_HEAD, AXIS_QUERY},
    [RAPT_CUT_LSE] = {AXIS_BATCH, AXIS_OUT_HEAD, AXIS_QUERY},
    [RAPT_CUT_SINKS] = {AXIS_Q_HEAD}, /* or of output heads */
    [RAPT_CUT_ALIBI] = {AXIS_Q_HEAD},
    [RAPT_CUT_KEY_BIAS] = {AXIS_BATCH, AXIS_Q_HEAD, AXIS_KEY},
    [RAPT_CUT_SEGMENTS] = {AXIS_BATCH, AXIS_KEY},
    [RAPT_CUT_GATE] = {AXIS_BATCH, AXIS_OUT_HEAD, AXIS_QUERY},
    [RAPT_CUT_BIAS] = {AXIS_BATCH, AXIS_Q_HEAD, AXIS_QUERY, AXIS_KEY},
    [RAPT_CUT_BIAS_U] = {AXIS_BATCH, AXIS_Q_HEAD, AXIS_QUERY},
    [RAPT_CUT_BIAS_V] = {AXIS_BATCH, AXIS_Q_HEAD, AXIS_KEY},
    [RAPT_CUT_BLOCKS] = {AXIS_BATCH, AXIS_Q_HEAD, AXIS_BLOCK_Q, AXIS_BLOCK_K},
    [RAPT_CUT_RELATIVE] = {AXIS_Q_HEAD},
    [RAPT_CUT_DECAY] = {AXIS_Q_HEAD},
};

rapt_tensor *rapt_cut_tensor(rapt_attention_desc *desc, unsigned tensor)
{
    rapt_tensor *const all[RAPT_CUT_TENSORS] = {
        &desc->q,        &desc->k,    &desc->v,    &desc->out,    &desc->lse,    &desc->sinks,     &desc->alibi,
        &desc->key_bias, &desc->segments, &desc->gate, &desc->bias, &desc->bias_u, &desc->bias_v, &desc->block_mask,
        &desc->relative, &desc->decay,
    };
    return all[tensor];
}

static uint64_t head_units(const rapt_attention_desc *desc)
{
    uint64_t a = desc->q.size[1], b = desc->k.size[1];
    while (b != 0) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

rapt_cut rapt_cut_whole(const rapt_attention_desc *desc)
{
    return (rapt_cut){.batch = {0, desc->sequences > 0 ? desc->sequences : desc->q.size[0]},
                      .heads = {0, head_units(desc)},
                      .queries = {0, desc->q.size[2]},
                      .keys = {0, desc->k.size[2]}};
}

const char *rapt_cut_refuses_heads(const rapt_attention_desc *desc)
{
    return desc->score_mod[0] != NULL || desc->mask_mod[0] != NULL ? "score_mod and mask_mod know a part's indices only" : NULL;
}

const char *rapt_cut_refuses_queries(const rapt_attention_desc *desc, uint64_t *unit)
{
    *unit = desc->block_mask.dtype != RAPT_DTYPE_NONE ? desc->block_q : 1;
    if (desc->sequences > 0)
        return "packed sequences are cut between sequences";
    if (desc->grid.rank > 0)
        return "the neighbourhoods of a grid are not ranges";
    if (desc->place_width > 0)
        return "with place_width every query stands at a key";
    if (desc->segments.dtype != RAPT_DTYPE_NONE)
        return "a query's segment is that of the key beside it";
    return rapt_cut_refuses_heads(desc);
}

const char *rapt_cut_refuses_keys(const rapt_attention_desc *desc, uint64_t *unit)
{
    uint64_t unit_q;
    *unit = desc->block_mask.dtype != RAPT_DTYPE_NONE ? desc->block_k : 1;
    if (desc->link != RAPT_LINK_SOFTMAX)
        return "only softmax merges by its lse";
    if (desc->gate.dtype != RAPT_DTYPE_NONE)
        return "a gate comes after all keys";
    if (desc->rope_base > 1)
        return "rotary positions count keys from the first";
    return rapt_cut_refuses_queries(desc, &unit_q);
}

/* The ranges of all kinds of axes. */
static void axis_ranges(const rapt_attention_desc *desc, const rapt_cut *cut, rapt_range range[AXIS_COUNT])
{
    const uint64_t units = head_units(desc), q = desc->q.size[1], kv = desc->k.size[1], out = RAPT_MAX(q, kv);
    const uint64_t each[3] = {units ? q / units : 0, units ? kv / units : 0, units ? out / units : 0};
    range[AXIS_NONE] = (rapt_range){0, UINT64_MAX};
    range[AXIS_BATCH] = cut->batch;
    for (unsigned i = 0; i < 3; i++)
        range[AXIS_Q_HEAD + i] = (rapt_range){cut->heads.first * each[i], cut->heads.count * each[i]};
    range[AXIS_QUERY] = cut->queries;
    range[AXIS_KEY] = cut->keys;
    if (desc->block_mask.dtype != RAPT_DTYPE_NONE) {
        range[AXIS_BLOCK_Q] = (rapt_range){cut->queries.first / desc->block_q, rapt_div_up(cut->queries.count, desc->block_q)};
        range[AXIS_BLOCK_K] = (rapt_range){cut->keys.first / desc->block_k, rapt_div_up(cut->keys.count, desc->block_k)};
    }
}

/* Packed sequences: the batch axis is 1, or counts sequences (block masks); the others follow from cu_seqlens. */
static void pack_ranges(const rapt_cut *cut, const int32_t *cu_q, const int32_t *cu_k, rapt_range range[AXIS_COUNT])
{
    const uint64_t from = cut->batch.first, to = from + cut->batch.count;
    range[AXIS_QUERY] = (rapt_range){(uint64_t)cu_q[from], (uint64_t)(cu_q[to] - cu_q[from])};
    range[AXIS_KEY] = (rapt_range){(uint64_t)cu_k[from], (uint64_t)(cu_k[to] - cu_k[from])};
}

void rapt_attention_cut(const rapt_attention_desc *desc, const rapt_cut *cut, const int32_t *cu_q, const int32_t *cu_k,
                        rapt_attention_desc *part, uint64_t first[RAPT_CUT_TENSORS])
{
    rapt_range range[AXIS_COUNT];
    *part = *desc;
    axis_ranges(desc, cut, range);
    if (desc->sequences > 0) {
        const rapt_range blocks[2] = {{0, desc->block_mask.size[2]}, {0, desc->block_mask.size[3]}};
        pack_ranges(cut, cu_q, cu_k, range);
        range[AXIS_BLOCK_Q] = blocks[0]; /* of one sequence */
        range[AXIS_BLOCK_K] = blocks[1];
        part->sequences = (uint32_t)cut->batch.count; /* the bounds stay: kernel and key splits follow from them */
    }
    for (unsigned i = 0; i < RAPT_CUT_TENSORS; i++) {
        rapt_tensor *t = rapt_cut_tensor(part, i);
        first[i] = 0;
        for (unsigned axis = 0; axis < t->rank && t->dtype != RAPT_DTYPE_NONE; axis++) {
            cut_axis kind = (cut_axis)axes[i][axis];
            if (i == RAPT_CUT_SINKS && t->size[0] != desc->q.size[1])
                kind = AXIS_OUT_HEAD;
            const bool is_packed = desc->sequences > 0 && kind == AXIS_BATCH && i != RAPT_CUT_BLOCKS;
            const bool shared = t->size[axis] == 1 && (kind == AXIS_BATCH || kind == AXIS_Q_HEAD); /* one for all */
            if (kind == AXIS_NONE || is_packed || shared)
                continue;
            first[i] += range[kind].first * (uint64_t)t->stride[axis];
            t->size[axis] = range[kind].count;
        }
    }
    /* Query and key keep their distance: p - j = (i + nk - nq + causal_offset) - j, with i, j, nq and nk the part's. */
    if (desc->sequences == 0) {
        const int64_t most = (int64_t)RAPT_MAX_SEQUENCE, offset = RAPT_MAX(-most, RAPT_MIN(most, desc->causal_offset));
        part->causal_offset = offset + (int64_t)(desc->k.size[2] - desc->q.size[2]) +
                              (int64_t)(cut->queries.first - cut->keys.first) -
                              (int64_t)(part->k.size[2] - part->q.size[2]);
        part->sink_tokens = desc->sink_tokens > cut->keys.first ? desc->sink_tokens - cut->keys.first : 0;
        if (cut->keys.first > 0) /* their logit joins once */
            part->sinks = (rapt_tensor){0};
    }
}
