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
    RAPT_ATTENTION_QK_NORM = 16,    /* rows of q and k are divided by their root mean square first, see qk_norm_epsilon */
    RAPT_ATTENTION_ROPE_INTERLEAVED = 32, /* rope turns the pairs (2i, 2i + 1) instead of (i, i + rope_dim / 2) */
} rapt_attention_flags;

/* From scores s to weights. Those with a denominator are sums over the visible keys, and lse is its logarithm; the others
 * have none, and lse is 0. */
typedef enum rapt_link {
    RAPT_LINK_SOFTMAX = 0, /* exp(s) / sum exp(s) */
    RAPT_LINK_OFFBYONE,    /* exp(s) / (1 + sum exp(s)): a sink of logit 0; not with `sinks` */
    RAPT_LINK_SIGNED,      /* sign(s) exp(|s|) / sum exp(|s|) (Cog Attention, arXiv:2411.07176); sinks are positive */
    RAPT_LINK_SIGMOID,     /* 1 / (1 + exp(-s)) (arXiv:2409.04431, whose bias -log(nk) key_bias can add) */
    RAPT_LINK_LAPLACE,     /* (1 + erf((s - m) / (d sqrt(2)))) / 2, m = sqrt(1/2), d = sqrt(1/(4 pi)) (Mega, arXiv:2209.10655) */
    RAPT_LINK_RELU,        /* max(s, 0) */
    RAPT_LINK_NONE,        /* s */
    RAPT_LINK_CLIPPED,     /* clip((zeta - gamma) softmax(s) + gamma, 0, 1) (arXiv:2306.12929); in two passes over the
                            * keys, which are not split; lse is softmax's */
    RAPT_LINK_AFFINE,      /* alpha softmax(s) + beta, of visible keys (after Affine-Scaled Attention, with one alpha and beta
                            * for all); likewise in two passes */
    RAPT_LINK_COUNT
} rapt_link;
/* "softmax", "offbyone", ..: as the tool names them. "unknown" beyond the last. */
RAPT_API const char *rapt_link_name(rapt_link link);

/* What an output gate g multiplies by. */
typedef enum rapt_gate_kind {
    RAPT_GATE_SIGMOID = 0, /* 1 / (1 + exp(-g)) */
    RAPT_GATE_SILU,        /* g / (1 + exp(-g)) */
    RAPT_GATE_PRODUCT,     /* g */
    RAPT_GATE_KIND_COUNT
} rapt_gate_kind;

/* Neighbourhoods of a grid (NATTEN, arXiv:2204.07143; strides: GNA, arXiv:2504.16922): the sequence is a grid of 1 to 3 axes,
 * flattened with the last axis fastest, and a query sees keys of a window around it, along each axis. For an axis of length
 * n, kernel size K, dilation d, stride s, and the query at x: it sees keys of its own group x mod d, whose m places are
 * numbered y = floor(x / d). Queries of a block of s places share the window of its leader
 * c = min(floor(y / s) s + floor(s / 2), m - 1): K keys from clamp(c - floor(K / 2), 0, m - K). Along a causal axis
 * c = min(floor(y / s) s + s - 1, m - 1), and the keys are those of max(0, c - K + 1) .. c that are <= y. */
#define RAPT_GRID_MAX_RANK 3
typedef struct rapt_grid {
    uint32_t rank;                             /* axes, at most 3; 0: no grid */
    uint32_t size[RAPT_GRID_MAX_RANK];         /* of each axis, the slowest first; their product is nq and nk */
    uint32_t kernel_size[RAPT_GRID_MAX_RANK];  /* K >= 1; K d <= n */
    uint32_t dilation[RAPT_GRID_MAX_RANK];     /* 0: 1 */
    uint32_t stride[RAPT_GRID_MAX_RANK];       /* at most K; 0: 1 */
    uint32_t causal;                           /* bit per axis, bit 0 the first */
} rapt_grid;

/* O = softmax(scale * Q K^T + mask) V
 *
 * q    (batch, q_heads,  nq, head_dim_qk)   f32, f16 or bf16; q, k and v share one dtype, unless
 *                                          k or v is quantised
 * k    (batch, kv_heads, nk, head_dim_qk)
 * v    (batch, kv_heads, nk, head_dim_v)
 * out  (batch, max(q_heads, kv_heads), nq, head_dim_v), of the dtype of q
 * lse  (batch, max(q_heads, kv_heads), nq) float32, rank 3, any strides; dtype RAPT_DTYPE_NONE: not wanted.
 *      The natural logarithm of the sum of exp(score) of the visible keys.
 *
 * Scores and sums are float32. Query head h reads kv head floor(h * kv_heads / q_heads); with fewer query heads than
 * kv heads, output head g is query head floor(g * q_heads / kv_heads) against kv head g. A row that sees no key gives 0
 * and lse -inf. What a masked key holds, NaN and Inf included, reaches no output. out, lse, col_sums and
 * row_max must not overlap each other or an input.
 *
 * Packed sequences of different lengths (varlen): set `sequences`. The batch is then 1, the sequence axes are packed,
 * and cu_seqlens_q and cu_seqlens_k (int32, sequences + 1 entries, rising from 0 to the packed length) are bound on
 * the device; each sequence is aligned by itself. Kernels clamp what they read from them, so bad entries cannot
 * reach outside the tensors. Rows outside every sequence are not written.
 *
 * Key-value caches: set block_table, and keys and values lie in pages of a pool (PagedAttention, arXiv:2309.06180), with
 *
 * k    (pages, kv_heads, page_size, head_dim_qk), any strides
 * v    (pages, kv_heads, page_size, head_dim_v)
 *
 * and nk = max_pages * page_size: key j of batch entry b is slot j % page_size of page block_table[b, j / page_size]. Pages may
 * be shared, and come in any order. An entry that is not 0 .. pages - 1 is a hole: its keys are hidden, and nothing outside the
 * pool is read. With k_lengths, paged or not, batch entry b has k_lengths[b] keys: the first ones of nk, which then is only what
 * there is room for. Queries stand at the end of these: query i at position i + (k_lengths[b] - nq). Entries are clamped to
 * 0 .. nk. A batch entry of no keys gives 0 and lse -inf. What unused slots, pages and entries hold reaches no output.
 * Neither goes with packed sequences, a grid, QK-norm, rotary positions and low-rank biases: a cache holds keys as they
 * are multiplied.
 *
 * Keys, values or both may be quantised, in pages or not, one as the other or not: k or v is then RAPT_INT8, RAPT_INT4 or RAPT_FP8,
 * with rows of packed words in place of head_dim elements (rapt/tensor.h), and everything else as above. They are read as the
 * numbers that they stand for, in float32. What does not go with caches does not go with these either.
 *
 * head_dim_qk and head_dim_v: 1 to 576, independent of each other.
 *
 * Order of effects: QK-norm, rotary positions, scale, soft cap, biases (dense, low-rank, key bias, ALiBi, relative),
 * score_mod, masks (causality, window, segments, block mask, mask_mod: a key is visible where all of them show it), link,
 * decay. With packed sequences the key axes of key_bias and segments are packed as k's is.
 *
 * score_mod is GLSL with the function
 *     float score_mod(float score, uint b, uint h, uint q, uint k)
 * that returns the new score, mask_mod is GLSL with
 *     bool mask_mod(uint b, uint h, uint q, uint k)
 * true: visible; all rules of visibility hold at once, and a key that mask_mod hides is hidden as any other. b is the
 * batch entry (varlen: the sequence), h the query head, q and k the indices within their own sequence; scores are
 * natural (those of exp). Both may also be called for keys that are not visible, and nothing comes of it; mask_mod is called
 * once or more often for a pair, or not at all: it must answer the same each time. Several
 * score_mods are chained in order, several mask_mods must all be true. A score of -inf has the weight 0.
 *
 * A snippet has whole functions and constants: these two and helpers, over bool, int, uint, float, their vectors,
 * matrices and arrays, with GLSL's functions that compute; user_f(i) is user_constants[i], a user buffer is called by
 * its name. It has no directives and nothing that reaches other memory or other invocations; loops may run 4,096 times
 * in one call, together, and then end; computed indices are clamped. At most 64 KiB. RAPT_ERROR_INVALID says
 * "score_mod:LINE: what" of a text that breaks a rule (rapt_attention_plan) or that does not compile
 * (rapt_plan_prepare). Compiled by librapt_compiler at run time: RAPT_ERROR_UNSUPPORTED where that is not there.
 * SPIR-V, pipelines and their place in the caches go by the content of the texts. */
#define RAPT_USER_MODS 4
#define RAPT_USER_BUFFERS 4
#define RAPT_USER_CONSTANTS 16

/* Whether what mask_mod answers is gathered first, by tiles of queries and keys, in a pass of its own: the main pass then leaves
 * out tiles without a visible key, and asks mask_mod only in those that are visible in part. */
typedef enum rapt_tile_lists {
    RAPT_TILE_LISTS_CHOOSE = 0, /* for at least 128 queries and 256 keys, if the device binds a buffer more: a mask that hides
                                 * nothing costs up to a quarter more so, one that hides half takes about half the time */
    RAPT_TILE_LISTS_NEVER,
    RAPT_TILE_LISTS_ALWAYS,
} rapt_tile_lists;

/* A buffer that score_mod and mask_mod read as NAME(i): `float NAME(uint i)`, or int for RAPT_I32. i is clamped to
 * count - 1. Bound as rapt_attention_args.user. */
typedef struct rapt_user_buffer {
    const char *name; /* a letter, then letters, digits and _, at most 32; NULL: no such buffer, and none after it */
    rapt_dtype dtype; /* RAPT_F32 or RAPT_I32 */
    uint64_t count;   /* elements, at least 1 */
} rapt_user_buffer;

typedef struct rapt_attention_desc {
    uint32_t struct_size;
    uint32_t flags; /* rapt_attention_flags */
    rapt_tensor q, k, v, out, lse;
    float scale;                         /* of the scores; any finite number */
    int64_t causal_offset;               /* without RAPT_ATTENTION_CAUSAL, _WINDOW, alibi, relative, decay
                                          * and rope: ignored */
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
    /* Attention as a program: GLSL as text, ended by NULL after at most RAPT_USER_MODS. Copied. See above. */
    const char *score_mod[RAPT_USER_MODS], *mask_mod[RAPT_USER_MODS];
    rapt_user_buffer user[RAPT_USER_BUFFERS];
    float user_constants[RAPT_USER_CONSTANTS]; /* user_f(i); new values need no new compilation */
    rapt_link link;         /* not softmax: rows of 16-bit matrix units are refused */
    float link_gamma, link_zeta; /* with RAPT_LINK_CLIPPED: at most 0, at least 1 */
    float link_alpha, link_beta; /* with RAPT_LINK_AFFINE */
    /* Absent while their dtype is RAPT_DTYPE_NONE: */
    rapt_tensor sinks;    /* (q_heads or max(q_heads, kv_heads)) float32: a logit per head that joins the softmax without
                           * a value, and so counts in the lse (StreamingLLM's zero sink; gpt-oss). A row that sees no key
                           * then gives 0, and lse is that logit */
    rapt_tensor alibi;    /* (q_heads) float32: scores get -slope * |p - j|, p the query's key position (as above;
                           * causal_offset counts) and j the key (Press et al., arXiv:2108.12409) */
    rapt_tensor key_bias; /* (batch or 1, q_heads or 1, nk) float32, added to the scores of a key; -inf: the key has no
                           * weight (it is then no visible key, but its value must be finite) */
    rapt_tensor segments; /* (batch, nk) int32: a query sees keys of its own segment only. The query at index i of a
                           * sequence belongs to the segment of key i + (nk - nq); where there is no such key it sees none */
    rapt_tensor gate;     /* like out, of its dtype; its stride of head_dim may be 0, one gate for a row: out is multiplied
                           * by 1 / (1 + exp(-gate)), in a pass of its own once it is rounded to its dtype; lse is as without (Gated Attention, arXiv:2505.06708) */
    rapt_tensor bias;     /* (batch or 1, q_heads or 1, nq, nk) float32, added to the scores; -inf: as of key_bias. Not with
                           * packed sequences */
    rapt_tensor bias_u, bias_v; /* both or neither, of the dtype of q: (batch or 1, q_heads or 1, nq, R) and (batch or 1,
                           * q_heads or 1, nk, R), whose product u v^T is added to the scores without reading (nq, nk)
                           * numbers (FlashBias, arXiv:2505.12044). head_dim_qk + R is at most 576; bias_v has one head
                           * unless kv_heads = q_heads. Their strides of R are 1; with packed sequences they are packed too.
                           * Not with soft_cap, which comes before biases, and scale must not be 0 */
    /* QK-norm, rotary positions and low-rank biases rewrite q and k into the workspace, in their dtype, in a pass of its own
     * before attention: of a key that many calls see, keep what is rewritten instead. */
    float qk_norm_epsilon; /* with RAPT_ATTENTION_QK_NORM: x / sqrt(mean(x^2) + epsilon); at least 0 */
    double rope_base;      /* above 1: pair i of q and k is turned by position * rope_base^(-2i / rope_dim) (RoFormer,
                            * arXiv:2104.09864), a key's position being its index in its sequence, a query's
                            * i + (nk - nq) + causal_offset; 0: not */
    uint32_t rope_dim;     /* elements at the front of each row that are turned, even; 0: head_dim_qk */
    rapt_grid grid;       /* neighbourhoods; nq and nk are then equal. Not with packed sequences, RAPT_ATTENTION_CAUSAL,
                           * RAPT_ATTENTION_WINDOW and alibi, and keys are not split */
    /* Block-sparse attention: query i sees key j only if block_mask[b, h, i / block_q, j / block_k] is not 0, besides all
     * other rules of visibility. (batch or 1, q_heads or 1, ceil(nq / block_q), ceil(nk / block_k)) int32, the last two axes
     * without gaps; the last blocks may be cut. With packed sequences: (sequences or 1, ..), i and j within the sequence, nq and
     * nk its bounds max_seqlen_q and max_seqlen_k. Blocks may have any size; a first pass on the device lists the tiles of
     * the kernel's own size that are visible, and hidden ones cost nothing: neither keys nor values of theirs are read.
     * plan info's flops count what the other rules show. */
    rapt_tensor block_mask;
    uint32_t block_q, block_k;  /* 1 to 2^29, with block_mask */
    rapt_tile_lists tile_lists; /* with mask_mod and without block_mask, which makes lists of both */
    /* Where a key lies from a query. p is the query's key position as of alibi. With place_width W > 0 positions are places of a
     * grid of W columns, row by row: x lies in row floor(x / W), column x mod W, and distances are |dy| + |dx| (Manhattan),
     * also alibi's; nq is then at most nk, and causal_offset 0, without packed sequences. With W = 0 they lie on a line, and
     * distances are |p - j|. */
    rapt_tensor relative; /* float32, added to the scores; -inf: as of key_bias. On a line (q_heads or 1, 2 X + 1), whose entry
                           * X + min(max(j - p, -X), X) counts (T5's buckets spelled out, arXiv:1910.10683; clipped distances,
                           * arXiv:1803.02155). With place_width or a grid of two axes (q_heads or 1, 2 Y + 1, 2 X + 1), likewise by
                           * rows and columns (windows of Swin, arXiv:2103.14030: Y and X are the window's sizes less 1). The axes
                           * behind the heads lie without gaps */
    rapt_tensor decay;    /* (q_heads) float32 in (0, 1]: weights, after the link, are multiplied by decay^distance, and the
                           * denominator and lse are as without: with link none the retention of RetNet (arXiv:2307.08621), (Q K^T * D) V,
                           * with softmax and place_width RMT's (softmax(Q K^T) * D) V (arXiv:2309.11523). Decays that join the
                           * softmax, as RMT's code has them, are alibi's with slopes -ln(decay). Not with a grid */
    uint32_t place_width; /* at most 2^29; a grid of two axes has its own */
    rapt_tensor block_table;    /* (batch, max_pages) int32, entries of a line side by side: k and v lie in pages. See above */
    uint32_t page_size;         /* keys of a page, 1 to 2^29, with block_table. Any size; some kernels take multiples of their
                                 * own tile of keys only: 16, 32, 64 suit all */
    rapt_tensor k_lengths;      /* (batch) int32: how many keys each batch entry has */
    /* More outputs, each in a pass of its own that makes the scores again, after out and lse. float32, rank 3, any strides; absent
     * while their dtype is RAPT_DTYPE_NONE. Not with a grid or quantised keys. */
    rapt_tensor col_sums; /* (batch, kv_heads or max(q_heads, kv_heads), nk): what all queries give a key, the sum of its weights
                           * (those that multiply v) over the queries that see it; with kv_heads also over the output heads that
                           * read it. Accumulated attention, by which caches evict (H2O, arXiv:2306.14048). 0 for a key that nobody
                           * sees. With packed sequences (1, .., the packed length), and keys outside every sequence are not written */
    rapt_tensor row_max;  /* like lse: the largest score of the keys that the query sees, sinks aside; -inf where it sees none. The
                           * partial result (m, l, acc) of other libraries is then (row_max, exp(lse - row_max),
                           * out * exp(lse - row_max)); rapt/combine.h merges (lse, out) as they are */
} rapt_attention_desc;
#define RAPT_ATTENTION_DESC_INIT {.struct_size = sizeof(rapt_attention_desc)}

/* The tensors of one call. */
typedef struct rapt_attention_args {
    uint32_t struct_size;
    rapt_slot q, k, v, out, lse;
    rapt_slot cu_seqlens_q, cu_seqlens_k;
    rapt_slot workspace; /* at least rapt_plan_info.workspace_bytes at a multiple of workspace_align; absent: the
                          * binding allocates it */
    rapt_slot user[RAPT_USER_BUFFERS]; /* as rapt_attention_desc.user has them; multiples of 4 bytes */
    rapt_slot sinks, alibi, key_bias, segments; /* those that the descriptor has; each at a multiple of 4 bytes */
    rapt_slot gate, bias, bias_u, bias_v;
    rapt_slot block_mask, relative, decay, block_table, k_lengths; /* at multiples of 4 bytes */
    rapt_slot col_sums, row_max;
} rapt_attention_args;
#define RAPT_ATTENTION_ARGS_INIT {.struct_size = sizeof(rapt_attention_args)}

#ifdef __cplusplus
}
#endif
#endif
