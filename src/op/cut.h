/* Cutting one softmax attention into parts that are attentions themselves. Knows nothing of devices. */
#ifndef RAPT_OP_CUT_H
#define RAPT_OP_CUT_H

#include "op/attention.h"

/* Tensors of a descriptor, in this order everywhere. */
enum { RAPT_CUT_Q, RAPT_CUT_K, RAPT_CUT_V, RAPT_CUT_OUT, RAPT_CUT_LSE, RAPT_CUT_SINKS, RAPT_CUT_ALIBI, RAPT_CUT_KEY_BIAS,
       RAPT_CUT_SEGMENTS, RAPT_CUT_GATE, RAPT_CUT_BIAS, RAPT_CUT_BIAS_U, RAPT_CUT_BIAS_V, RAPT_CUT_BLOCKS,
       RAPT_CUT_RELATIVE, RAPT_CUT_DECAY, RAPT_CUT_TENSORS };
static inline bool rapt_cut_is_output(unsigned tensor)
{
    return tensor == RAPT_CUT_OUT || tensor == RAPT_CUT_LSE;
}
/* The size of the descriptor whose members are all known here (block_table, k_lengths, col_sums and row_max:
 * group_attention.c refuses them): see
 * tests/cut_test.c. */
#define RAPT_CUT_KNOWN_DESC 2056
/* Where the descriptor has one of them; its dtype is RAPT_DTYPE_NONE where it is absent. */
rapt_tensor *rapt_cut_tensor(rapt_attention_desc *desc, unsigned tensor);

typedef struct rapt_range {
    uint64_t first, count;
} rapt_range;

/* A part: batch entries (packed sequences: sequences), head units, queries and keys. A head unit is the fewest heads of q, k, v
 * and out that belong together: the greatest common divisor of q_heads and kv_heads counts them. */
typedef struct rapt_cut {
    rapt_range batch, heads, queries, keys;
} rapt_cut;

/* The whole of a valid descriptor. */
rapt_cut rapt_cut_whole(const rapt_attention_desc *desc);
/* Why an axis cannot be cut, or NULL where it can. Queries are cut at multiples of *unit. A part's results are the whole's own for
 * batch, heads and queries; those of parts of the keys are to be merged by their lse. */
const char *rapt_cut_refuses_heads(const rapt_attention_desc *desc); /* batch and heads */
const char *rapt_cut_refuses_queries(const rapt_attention_desc *desc, uint64_t *unit);
const char *rapt_cut_refuses_keys(const rapt_attention_desc *desc, uint64_t *unit);

/* The part's descriptor: sizes, causal_offset and what else follows from where it lies; strides are those of the whole. first[]:
 * the element of the whole's tensor at which the part's begins. With packed sequences cu_q and cu_k are the host's
 * cu_seqlens. Axes that are refused above must be whole in `cut`. */
void rapt_attention_cut(const rapt_attention_desc *desc, const rapt_cut *cut, const int32_t *cu_q, const int32_t *cu_k,
                        rapt_attention_desc *part, uint64_t first[RAPT_CUT_TENSORS]);

#endif
