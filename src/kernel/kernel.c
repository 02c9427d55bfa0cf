/* Names and sizes of the kernel table's enumerations. */
#include "kernel/kernel.h"

#include "base/base.h"

const char *rapt_family_name(rapt_family family)
{
    static const char *const names[] = {"tile", "broadcast", "coopmat", "coopmat2", "decode", "merge", "naive", "peak", "map",
                                        "route", "state", "scan"};
    _Static_assert(RAPT_COUNT(names) == RAPT_FAMILY_COUNT, "a family has no name");
    return (unsigned)family < RAPT_FAMILY_COUNT ? names[family] : "unknown";
}

bool rapt_family_has_score_mod(rapt_family family)
{
    return family == RAPT_FAMILY_TILE || family == RAPT_FAMILY_BROADCAST || family == RAPT_FAMILY_DECODE ||
           family == RAPT_FAMILY_NAIVE || family == RAPT_FAMILY_COOPMAT;
}

bool rapt_family_has_mask_mod(rapt_family family)
{
    return rapt_family_has_score_mod(family);
}

bool rapt_family_walks_lists(rapt_family family)
{
    return family == RAPT_FAMILY_TILE || family == RAPT_FAMILY_BROADCAST || family == RAPT_FAMILY_DECODE ||
           family == RAPT_FAMILY_COOPMAT;
}

const char *rapt_role_name(rapt_role role)
{
    static const char *const names[] = {"none", "q", "k", "v", "out", "lse", "cu_seqlens_q", "cu_seqlens_k",
                                        "partial accumulators", "partial sums", "the extra operand",
                                        "sinks", "alibi", "key_bias", "segments", "relative", "decay", "block_mask", "block_table", "gate", "bias", "q", "k", "bias_u",
                                        "bias_v", "col_sums", "row_max", "a", "b", "decay", "beta", "the state",
                                        "the normaliser", "state_in", "norm_in", "states of chunks",
                                        "normalisers of chunks", "steps of chunks", "summary", "averages of queries",
                                        "scores", "mask", "list", "within", "x", "weight", "x", "a or scores", "b or weight", "c", "dt", "z",
                                        "skip or bias",
                                        "x[0]", "x[1]", "x[2]", "weight[0]", "weight[1]", "weight[2]", "norm_weight",
                                        "v", "a", "b", "scale_q", "scale_k", "sums of outputs", "out", "state_out", "norm_out", "positions",
                                        "user buffer 0", "user buffer 1", "user buffer 2", "user buffer 3"};
    _Static_assert(RAPT_COUNT(names) == RAPT_ROLE_COUNT, "a role has no name");
    return (unsigned)role < RAPT_ROLE_COUNT ? names[role] : "unknown";
}

static const struct {
    uint8_t bytes, elements;
} texels[] = {
    [RAPT_OPERAND_STORAGE] = {0, 0},     [RAPT_OPERAND_TEXEL_R32F] = {4, 1},
    [RAPT_OPERAND_TEXEL_RGBA32F] = {16, 4}, [RAPT_OPERAND_TEXEL_RGBA16F] = {8, 4},
    [RAPT_OPERAND_TEXEL_RG32UI] = {8, 4}, [RAPT_OPERAND_TEXEL_RGBA32UI] = {16, 8},
    [RAPT_OPERAND_TEXEL_R16F] = {2, 1},  [RAPT_OPERAND_TEXEL_R16UI] = {2, 1},
    [RAPT_OPERAND_TEXEL_WORDS] = {16, 0},
};

uint32_t rapt_operand_texel_bytes(rapt_operand_kind kind)
{
    return (unsigned)kind < RAPT_COUNT(texels) ? texels[kind].bytes : 0;
}

uint32_t rapt_operand_texel_elements(rapt_operand_kind kind)
{
    return (unsigned)kind < RAPT_COUNT(texels) ? texels[kind].elements : 0;
}
