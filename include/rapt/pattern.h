/* Published static sparsity patterns as block masks (rapt_attention_desc.block_mask). Part of rapt (MIT licence).
 *
 * Pure functions on the host: the same pattern gives the same numbers; nothing is kept. Thread-safety: any thread. */
#ifndef RAPT_PATTERN_H
#define RAPT_PATTERN_H

#include <rapt/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/* P is the block that a block of queries stands at: its number, plus (nk - nq) / block. J is a block of keys, h a head of
 * `heads`. Division rounds down, but where ceil says not. With `causal`, also J <= P. A block mask shows whole blocks: on the
 * diagonal RAPT_ATTENTION_CAUSAL has to hide what comes after a query. */
typedef enum rapt_pattern_kind {
    /* Chunks of `chunk` blocks that see themselves, `before` chunks before and `after` behind:
     *   -after <= P / chunk - J / chunk <= before */
    RAPT_PATTERN_CHUNKS = 0,
    /* S2-Attention (arXiv:2407.17678), as its kernels have it: the nearest `local` blocks, and every stride-th block from an offset of the
     * head's own on, so that the heads together see every block; causal always:
     *   P - J < local, or (J + h max(1, stride / heads) + 1) mod stride = 0 */
    RAPT_PATTERN_STRIDED,
    /* Every stride-th block of a window, with offsets that let `stride` heads together see all of it:
     *   |P - J| <= local stride and (P - J + h) mod stride = 0, or P = J */
    RAPT_PATTERN_DILATED,
    /* Radial Attention (arXiv:2506.19852). A sequence is frames of `frame` tokens; token k of frame i sees token l of frame j, with
     * e = 2^(log2 max(|i - j|, 1)), the logarithm rounded down, if
     *   e <= frame and |k - l| + 1 <= frame / e, or |i - j| mod ceil(e / frame) = 0 and k = l, or j = 0 (the first frame)
     * Blocks with a visible pair are visible: with blocks of one token that is the rule itself. nq = nk. */
    RAPT_PATTERN_RADIAL,
    /* MoA (arXiv:2406.14909): the first `global` blocks, and a span of each head's own that grows with the sequence; causal always:
     *   J < global, or P - J < ceil(min(nk, alpha_h + beta_h nk) / block) */
    RAPT_PATTERN_SPANS,
    /* A prefix that sees and is seen by all, and a window around each block:
     *   J < global, or P < global, or |P - J| < local */
    RAPT_PATTERN_PREFIX,
    RAPT_PATTERN_COUNT
} rapt_pattern_kind;

typedef struct rapt_pattern {
    uint32_t struct_size;
    rapt_pattern_kind kind;
    uint64_t nq, nk;    /* tokens, at most 2^29; but for radial, nk - nq is a multiple of `block` */
    uint32_t heads;     /* heads of the mask; 1: the same for all */
    uint32_t block;     /* queries, and keys, of a block: block_q and block_k */
    uint32_t causal;    /* 1: J <= P */
    uint32_t chunk, before, after;  /* of chunks; chunk is at least 1 */
    uint32_t local, stride, global; /* in blocks; stride is at least 1 */
    uint32_t frame;                 /* tokens of a frame, at least 1 */
    const float *alpha, *beta;      /* of spans: `heads` numbers each, of tokens, and of the sequence; finite, at least 0 */
} rapt_pattern;
#define RAPT_PATTERN_INIT {.struct_size = sizeof(rapt_pattern)}

/* "chunks", "strided", ..; "unknown" beyond the last. */
RAPT_API const char *rapt_pattern_name(rapt_pattern_kind kind);
/* The mask's shape, (1, heads, lines, blocks of keys); contiguous int32. RAPT_ERROR_INVALID: one line that says what is wrong. */
RAPT_API rapt_status rapt_pattern_tensor(const rapt_pattern *pattern, rapt_tensor *tensor, rapt_error *error);
/* Fills the mask, `count` elements, with 1 and 0. */
RAPT_API rapt_status rapt_pattern_fill(const rapt_pattern *pattern, int32_t *mask, uint64_t count, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
