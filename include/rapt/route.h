/* Routing as an operator: which blocks of keys each tile of queries attends to, decided on the device. What it writes is what
 * attention reads (rapt_attention_desc.block_mask), so that nothing comes back to the host in between. Part of rapt (MIT licence). */
#ifndef RAPT_ROUTE_H
#define RAPT_ROUTE_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What stands for a block of keys. */
typedef enum rapt_summary {
    RAPT_SUMMARY_MEAN = 0, /* mean of its keys (MoBA, arXiv:2502.13189) */
    RAPT_SUMMARY_MAX,      /* largest element of each channel */
    RAPT_SUMMARY_MIN_MAX,  /* smallest and largest: 2 head_dim elements, the smallest first. A query's score is
                            * sum_c max(q_c min_c, q_c max_c), which no key of the block exceeds (Quest, arXiv:2406.10774) */
    RAPT_SUMMARY_LANDMARK, /* the key at place `landmark` of the block, or its last if it is shorter (Landmark Attention,
                            * arXiv:2305.16300) */
    RAPT_SUMMARY_COUNT
} rapt_summary;

/* Which blocks are taken. Equal scores: the lower block goes first; NaN counts as lower than -inf. */
typedef enum rapt_select {
    RAPT_SELECT_TOP_K = 0, /* the `top_k` largest scores, behind the `skip` largest */
    RAPT_SELECT_THRESHOLD, /* scores of at least `threshold` */
    RAPT_SELECT_MASS,      /* the fewest, largest first, whose weights softmax(scores over visible blocks) add up to `mass` */
    RAPT_SELECT_COUNT
} rapt_select;

/* The score of a tile of several queries, against one block. */
typedef enum rapt_route_queries {
    RAPT_ROUTE_MEAN_QUERY = 0, /* that of the mean of its queries */
    RAPT_ROUTE_MAX_QUERY,      /* the largest of its queries', also of those before the block */
    RAPT_ROUTE_QUERIES_COUNT
} rapt_route_queries;

/* Which heads select together. */
typedef enum rapt_route_heads {
    RAPT_ROUTE_PER_HEAD = 0, /* each query head for itself */
    RAPT_ROUTE_GROUP_SUM,    /* the query heads of a kv head, by the sum of their scores */
    RAPT_ROUTE_GROUP_MAX,    /* .. by the largest */
    RAPT_ROUTE_HEADS_COUNT
} rapt_route_heads;

typedef enum rapt_route_flags {
    RAPT_ROUTE_CAUSAL = 1, /* a tile's blocks end with that of its last query's position i + (nk - nq) + causal_offset */
    RAPT_ROUTE_SCALE = 2,  /* `scale` is set; else 1 / sqrt(head_dim) */
    RAPT_ROUTE_SCORES_GIVEN = 4, /* `scores` is read, not written: q, k and summary are absent */
} rapt_route_flags;

/* Blocks are block_k keys, tiles block_q queries, the last of each may be cut short: blocks = ceil(nk / block_k), tiles =
 * ceil(nq / block_q). A row is one selection: (batch, row head, tile), row heads being the query heads, or the kv heads where
 * those of a group select together.
 *
 * q        (batch, q_heads, nq, head_dim)    f32, f16 or bf16
 * k        (batch, kv_heads, nk, head_dim)   of the dtype of q; kv_heads divides q_heads
 * summary  (batch, kv_heads, blocks, head_dim or 2 head_dim) float32. Absent: made in the workspace, or not at all for blocks of
 *          one key, which are their own summaries. Given: written from block
 *          first_block on, and read as it is before it, so that it grows with a cache: pass the block that the first new key lies
 *          in. With first_block >= blocks all is read (a learned projection of the caller's, say) and k may be absent
 * scores   (batch, row heads, tiles, blocks) float32, written, -inf where no query of the tile may see the block; its strides
 *          of batch, heads and tiles may be 0 where it is given. Absent: made in the workspace
 * mask     (batch, q_heads, tiles, blocks) int32, 1 for blocks taken, else 0
 * list     (batch, row heads, tiles, list_size) int32: the blocks taken, rising, then -1. Blocks beyond list_size are not in it.
 *          With list_heads, entries count through the batch and so many heads: (b list_heads + floor(h list_heads / row heads)) blocks
 *          + block. Keys of all batch entries and heads are then one pool of pages, list is a table of them for each (b, h, tile), and
 *          -1 a hole: rapt_attention_desc.block_table, by which attention reads chosen keys where they lie
 *
 * within   (batch, q_heads, tiles, ceil(blocks / within_blocks)) int32: a tile's blocks whose entry is 0 get the score -inf, and are taken
 *          only where there are fewer others than top_k. The mask of a routing step with blocks within_blocks as large: a search that
 *          goes from coarse to fine (HiP, arXiv:2406.09827). Of query heads that select together the first one's counts. Not with
 *          scores that are given
 *
 * At least one of summary, scores, mask and list is written; without the last three q may be absent: keys are only summarised.
 * Last axes lie side by side, and those of mask without gaps from tile to tile. Sums are float32; the scores of a row do not depend on
 * the batch around it.
 *
 * Always taken, of the visible blocks: the first `always_first`; and with always_last > 0 the blocks of the tile's own positions and
 * the always_last - 1 before the first of those. They use up top_k, and their weights count in mass; where they are more than
 * top_k they are taken all the same. */
typedef struct rapt_route_desc {
    uint32_t struct_size;
    uint32_t flags; /* rapt_route_flags */
    /* Absent while their dtype is RAPT_DTYPE_NONE: */
    rapt_tensor q, k, summary, scores, mask, list;
    uint64_t nq, nk;           /* lengths; 0: those of q and k. Needed where q or k is absent */
    uint64_t block_q, block_k; /* 1 to 2^29 */
    uint64_t first_block;      /* with summary */
    uint64_t landmark;         /* RAPT_SUMMARY_LANDMARK; below block_k */
    rapt_summary summarise;
    rapt_select select;
    rapt_route_queries queries;
    rapt_route_heads heads;
    uint64_t top_k;   /* RAPT_SELECT_TOP_K; at least 1 */
    float threshold;  /* RAPT_SELECT_THRESHOLD; of scaled scores */
    float mass;       /* RAPT_SELECT_MASS; above 0, at most 1 */
    uint64_t always_first, always_last;
    int64_t causal_offset;
    float scale;              /* any finite number */
    uint64_t workspace_limit; /* bytes; 0: 64 MiB. Scores of long sequences are then made and used in spans of tiles */
    float slice_ms;           /* time target of one slice in milliseconds; 0: 50 */
    rapt_tensor within;       /* absent while its dtype is RAPT_DTYPE_NONE */
    uint64_t within_blocks;   /* blocks of one of its entries; with within, at least 1 */
    uint64_t skip;            /* RAPT_SELECT_TOP_K, without always_first and always_last: so many of the largest are left out */
    uint64_t list_heads;      /* with list; a divisor of the row heads. 0: entries are blocks */
} rapt_route_desc;
#define RAPT_ROUTE_DESC_INIT {.struct_size = sizeof(rapt_route_desc)}

/* The tensors of one call. */
typedef struct rapt_route_args {
    uint32_t struct_size;
    rapt_slot q, k, summary, scores, mask, list;
    rapt_slot workspace; /* as in rapt_attention_args */
    rapt_slot within;
} rapt_route_args;
#define RAPT_ROUTE_ARGS_INIT {.struct_size = sizeof(rapt_route_args)}

/* As their counterparts of attention (rapt/plan.h); prepare, describe, explain, submit, record and wait are the same. */
RAPT_API rapt_status rapt_route_plan(rapt_device *device, const rapt_route_desc *desc, rapt_plan **plan, rapt_error *error);
RAPT_API rapt_status rapt_route_plan_for_caps(const rapt_caps *caps, const rapt_route_desc *desc, rapt_plan **plan,
                                              rapt_error *error);
RAPT_API rapt_status rapt_route_bind(rapt_plan *plan, const rapt_route_args *args, rapt_binding **binding, rapt_error *error);
RAPT_API rapt_status rapt_route_run(rapt_device *device, const rapt_route_desc *desc, const rapt_route_args *args,
                                    rapt_error *error);
/* "mean", "max", "min-max", "landmark"; "top-k", "threshold", "mass": as the tool names them. "unknown" beyond the last. */
RAPT_API const char *rapt_summary_name(rapt_summary summary);
RAPT_API const char *rapt_select_name(rapt_select select);

#ifdef __cplusplus
}
#endif
#endif
