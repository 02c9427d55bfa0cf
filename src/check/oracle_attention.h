/* What attention is, in the fewest words: the oracle that every kernel is held against. */
#ifndef RAPT_CHECK_ORACLE_ATTENTION_H
#define RAPT_CHECK_ORACLE_ATTENTION_H

#include "user.h"

/* Where element (0, 0, 0, 0) of each tensor of a rapt_attention_desc lies in host memory. */
typedef struct rapt_check_inputs {
    const void *q, *k, *v;
    const int32_t *cu_seqlens_q, *cu_seqlens_k; /* with desc->sequences; well-formed */
    const rapt_check_user *user;                /* with desc's score_mod and mask_mod; else NULL */
    const void *bias_u, *bias_v;                /* of the dtype of q */
    const float *sinks, *alibi, *key_bias, *bias;      /* those that the descriptor has */
    const float *relative, *decay;                     /* likewise */
    const int32_t *segments;
    const void *gate; /* of the output's dtype */
    const int32_t *block_mask;
    const int32_t *block_table, *k_lengths;
} rapt_check_inputs;

/* What is to be expected of one output row. */
typedef enum rapt_check_row {
    RAPT_ROW_DONE = 0,      /* these numbers */
    RAPT_ROW_UNTOUCHED = 1, /* not written: outside every sequence, or beyond max_seqlen_q */
    RAPT_ROW_ANY = 2,       /* anything: a key that the row sees holds a NaN or an infinity */
    RAPT_ROW_SKIPPED = 3,   /* not computed here: left out by `row_step` */
} rapt_check_row;

/* out: (batch, heads, nq, head_dim_v); lse, rows: (batch, heads, nq); contiguous, heads = max(q_heads,
 * kv_heads). Rows that are not RAPT_ROW_DONE hold no numbers. row_step > 1 computes about every row_step-th
 * row, and the first and the last of each head. Return false when there is no memory.
 *
 * _f64: double precision from the exact values of the stored inputs.
 * _f32: the plainest single precision there is, its output rounded to the storage type; what a tolerance is
 *       earned from (see compare.h).
 * _half_weights: the same with the weights, at most 1, rounded to the storage type before they multiply v: what
 *       matrix units that take 16-bit operands compute (plan info: "f16 weights"). */
bool rapt_check_attention_f64(const rapt_attention_desc *desc, const rapt_check_inputs *in, uint64_t row_step,
                              double *out, double *lse, uint8_t *rows);
bool rapt_check_attention_f32(const rapt_attention_desc *desc, const rapt_check_inputs *in, uint64_t row_step,
                              double *out, double *lse, uint8_t *rows);
bool rapt_check_attention_half_weights(const rapt_attention_desc *desc, const rapt_check_inputs *in, uint64_t row_step,
                                       double *out, double *lse, uint8_t *rows);

/* Whether query i of nq sees key j of nk, of one sequence. */
bool rapt_check_attention_sees(const rapt_attention_desc *desc, uint64_t i, uint64_t nq, uint64_t nk, uint64_t j);

/* Visible (query, key) pairs, segments, block masks and code of an app aside, over all output heads: what flops are counted from. */
double rapt_check_attention_pairs(const rapt_attention_desc *desc, const rapt_check_inputs *in);
/* The same of one sequence's length, less what the block mask hides. */
double rapt_check_attention_block_pairs(const rapt_attention_desc *desc, const rapt_check_inputs *in);

#endif
