/* Softmax attention as an operator. Part of rapt (MIT licence). */
#ifndef RAPT_ATTENTION_H
#define RAPT_ATTENTION_H

#include <rapt/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rapt_attention_flags {
    RAPT_ATTENTION_CAUSAL = 1,    /* only keys j <= p, p = i + (nk - nq) + causal_offset, are visible to query i */
    RAPT_ATTENTION_SCALE = 2,     /* `scale` is set; else 1 / sqrt(head_dim of q) */
    RAPT_ATTENTION_BATCH_TUNED = 4, /* kernel and key splits may depend on batch size and sequence lengths around a
                                     * row: faster for small batches, and a row's last bits may differ between batches */
    RAPT_ATTENTION_WINDOW = 8,      /* only keys p - window_left <= j <= p + window_right, and the first sink_tokens */
} rapt_attention_flags;

/* O = softmax(scale * Q K^T + mask) V
 *
 * q    (batch, q_heads,  nq, head_dim_qk)   f32, f16 or bf16; q, k and v share one dtype
 * k    (batch, kv_heads, nk, head_dim_qk)
 * v    (batch, kv_heads, nk, head_dim_v)
 * out  (batch, max(q_heads, kv_heads), nq, head_dim_v), of the dtype of q
 * lse  (batch, max(q_heads, kv_heads), nq) float32, rank 3, any strides; dtype RAPT_DTYPE_NONE: not wanted.
 *      The natural logarithm of the sum of exp(score) of the visible keys.
 *
 * Scores and sums are float32. Query head h reads kv head floor(h * kv_heads / q_heads); with fewer query heads than
 * kv heads, output head g is query head floor(g * q_heads / kv_heads) against kv head g. A row that sees no key gives 0
 * and lse -inf. What a masked key holds, NaN and Inf included, reaches no output. out and lse must not overlap
 * each other or an input.
 *
 * Packed sequences of different lengths (varlen): set `sequences`. The batch is then 1, the sequence axes are packed,
 * and cu_seqlens_q and cu_seqlens_k (int32, sequences + 1 entries, rising from 0 to the packed length) are bound on
 * the device; each sequence is aligned by itself. Kernels clamp what they read from them, so bad entries cannot
 * reach outside the tensors. Rows outside every sequence are not written.
 *
 * head_dim_qk and head_dim_v: 1 to 576, independent of each other. */
typedef struct rapt_attention_desc {
    uint32_t struct_size;
    uint32_t flags; /* rapt_attention_flags */
    rapt_tensor q, k, v, out, lse;
    float scale;                         /* of the scores; any finite number */
    int64_t causal_offset;               /* without RAPT_ATTENTION_CAUSAL and _WINDOW: ignored */
    uint32_t sequences;                  /* 0: dense */
    uint64_t max_seqlen_q, max_seqlen_k; /* varlen: bounds on one sequence's length (0: the packed length);
                                          * rows beyond max_seqlen_q are not computed. Kernel
                                          * and key splits follow from these bounds: keep them the same from batch
                                          * to batch where a row's bits must be too */
    const char *kernel;     /* force the kernel row of this name; refused loudly where it cannot run. NULL: choose */
    uint32_t key_splits;    /* 0: choose; else cut the keys into about this many parts and merge them */
    float slice_ms;         /* time target of one slice in milliseconds; 0: 50 */
    int64_t window_left, window_right; /* keys before and after the query's position; -1: all; at most 2^29. With
                                        * RAPT_ATTENTION_WINDOW only. Every rule of visibility holds at once: with
                                        * RAPT_ATTENTION_CAUSAL nothing after p is seen whatever window_right is */
    uint64_t sink_tokens;   /* the first keys of a sequence, exempt from the window (not from causality): attention
                             * sinks, Xiao et al., arXiv:2309.17453 */
    float soft_cap;         /* c > 0: scaled scores s become c tanh(s / c) before anything else (Gemma 2,
                             * arXiv:2408.00118); 0: not */
} rapt_attention_desc;
#define RAPT_ATTENTION_DESC_INIT {.struct_size = sizeof(rapt_attention_desc)}

/* The tensors of one call. */
typedef struct rapt_attention_args {
    uint32_t struct_size;
    rapt_slot q, k, v, out, lse;
    rapt_slot cu_seqlens_q, cu_seqlens_k;
    rapt_slot workspace; /* at least rapt_plan_info.workspace_bytes at a multiple of workspace_align; absent: the
                          * binding allocates it */
} rapt_attention_args;
#define RAPT_ATTENTION_ARGS_INIT {.struct_size = sizeof(rapt_attention_args)}

#ifdef __cplusplus
}
#endif
#endif
