/* What softmax attention means: validation of a descriptor and its canonical problem. Knows nothing of devices. */
#ifndef RAPT_OP_ATTENTION_H
#define RAPT_OP_ATTENTION_H

#include "op/grid.h"

/* Tensors of a problem, in this order everywhere. */
enum { RAPT_T_Q, RAPT_T_K, RAPT_T_V, RAPT_T_OUT, RAPT_T_LSE, RAPT_T_GATE, RAPT_T_BIAS, RAPT_T_COL_SUMS, RAPT_T_ROW_MAX, RAPT_T_COUNT };
/* Bytes of an element of one of them. */
#define RAPT_T_ELEMENT(problem, t)                                                                           \
    ((t) == RAPT_T_LSE || (t) >= RAPT_T_BIAS ? 4u : rapt_dtype_size(rapt_problem_dtype(problem, t)))

/* Extra vectors, in the order of RAPT_PARAM_SINKS and so on, the block mask and the table of pages, which are no bits of
 * rapt_problem.extras. */
enum { RAPT_X_SINKS, RAPT_X_ALIBI, RAPT_X_KEY_BIAS, RAPT_X_SEGMENTS, RAPT_X_RELATIVE, RAPT_X_DECAY, RAPT_X_BLOCKS, RAPT_X_PAGES,
       RAPT_X_COUNT };

/* One of them: (batch, heads, count) elements of 4 bytes; axes that do not matter are 1. */
typedef struct rapt_extra {
    uint64_t batch, heads, count;
    uint64_t stride_b, stride_h; /* elements; 0 where the axis has one entry. Those of `count` lie side by side */
    uint64_t bytes;
    uint32_t usage; /* rapt_buffer_usage bits */
} rapt_extra;

/* q or k as the app has them, where they are rewritten before attention, or a factor of a low-rank bias. */
typedef struct rapt_source {
    uint64_t stride[3]; /* elements, of batch, head, sequence; 0 where the axis has one entry */
    uint64_t bytes;
    uint32_t align, usage;
} rapt_source;

/* Sequences are at most this long, so that key positions (index + nk - nq + offset) fit 32-bit integers. */
#define RAPT_MAX_SEQUENCE (1ull << 29)
#define RAPT_MAX_HEAD_DIM 576u

/* A validated problem: every default filled in, every irrelevant member zero, so that equal problems are equal bytes. */
typedef struct rapt_problem {
    rapt_dtype dtype;
    uint32_t head_dim_qk, head_dim_v;
    uint64_t batch; /* varlen: number of sequences */
    uint64_t heads_q, heads_kv, heads_out;
    uint64_t nq, nk;           /* varlen: bounds on one sequence */
    uint64_t total_q, total_k; /* length of the sequence axes (dense: nq, nk) */
    uint64_t group;            /* output heads that share one kv head; 1 where the ratio is not whole */
    uint64_t stride[RAPT_T_COUNT][3]; /* elements, of batch, head, sequence; 0 where the axis has one entry */
    uint64_t bytes[RAPT_T_COUNT];     /* from the first to the end of the last element; 0: absent or empty */
    uint32_t align[RAPT_T_COUNT];     /* bytes */
    uint32_t usage[RAPT_T_COUNT];     /* rapt_buffer_usage bits */
    bool causal, varlen, lse, batch_tuned, gate;
    bool col_sums, col_sums_by_kv, row_max; /* outputs wanted; sums by kv head, else by output head */
    rapt_grid grid; /* see op/grid.h */
    bool window;                        /* and then: */
    int32_t window_left, window_right;  /* -1: unbounded */
    uint32_t sink_tokens;
    float soft_cap; /* 0: none */
    uint32_t link;   /* rapt_link */
    float link_offset, link_range; /* of links in two passes: the weight is link_range * softmax + link_offset, and maybe clipped */
    bool lse_hidden; /* `lse`, but the caller does not want it: it lies in the workspace */
    uint32_t extras; /* bit per RAPT_X_* */
    rapt_extra extra[RAPT_X_COUNT];
    uint32_t place_width;      /* columns that positions are places of; 0: a line */
    uint32_t relative_size[2]; /* entries of a head's table along rows and columns, odd; {1, entries} of a line */
    bool gate_by_row; /* one for a row of the output */
    bool bias; /* a dense one */
    bool prepared; /* q and k are rewritten first: head_dim_qk, strides and bytes are then those of what lies in the
                    * workspace, and of the app's: */
    rapt_source source[2], factor[2]; /* q, k */
    uint32_t source_dim, rank;        /* rank 0: no low-rank bias */
    float norm_epsilon;               /* negative: no norm */
    uint32_t rope_dim;                /* 0: none */
    bool rope_interleaved;
    double rope_base;
    bool blocks;               /* there is a block mask, extra[RAPT_X_BLOCKS], and then: */
    uint32_t block_q, block_k; /* sizes of a block */
    uint64_t block_pitch;      /* blocks along the keys */
    rapt_dtype k_format, v_format; /* of quantised keys and values; RAPT_DTYPE_NONE: they are of `dtype` */
    bool paged;                /* k and v lie in pages: their stride of batch is that of pages, and the table is
                                * extra[RAPT_X_PAGES]; then: */
    uint32_t page_size;        /* keys */
    uint64_t pages;            /* in the pool */
    bool ragged;               /* each batch entry has a number of keys of its own */
    uint32_t lengths_usage;    /* rapt_buffer_usage bits of the buffer that holds them */
    bool mask_tiles;           /* what mask_mod answers goes into lists of tiles; the plan may drop this where it was not asked for */
    bool score_mod, mask_mod;
    bool mask_by_batch, mask_by_head; /* mask_mod may answer otherwise for another batch entry, for another head; as user_code */
    uint32_t user_count;                       /* user buffers that score_mod and mask_mod may read */
    uint32_t user_elements[RAPT_USER_BUFFERS]; /* of 4 bytes */
    char user_names[RAPT_USER_BUFFERS][33];
    float user_constants[RAPT_USER_CONSTANTS];
    rapt_hash user_code; /* what the texts are; set by whoever has checked them (compiler/user.h) */
    bool bounded_q, bounded_k; /* varlen: the caller gave max_seqlen (dense: true) */
    bool empty;                /* no output element */
    int32_t causal_offset;     /* saturated to +-RAPT_MAX_SEQUENCE */
    float scale;
    uint32_t key_splits; /* 0: choose */
    float slice_ms;
    char kernel[64]; /* "" : choose */
    /* Counts. For varlen an upper bound, since the lengths lie on the device. */
    uint64_t flops, bytes_read, bytes_written;
} rapt_problem;

/* Whether elements are packed words (rapt/tensor.h). */
static inline bool rapt_dtype_is_quantised(rapt_dtype dtype)
{
    return dtype == RAPT_INT8 || dtype == RAPT_INT4 || dtype == RAPT_FP8;
}
/* What a tensor with the dtype of q is stored as, k and v maybe quantised; and the elements of one row of k or v. */
static inline rapt_dtype rapt_problem_dtype(const rapt_problem *p, unsigned t)
{
    const rapt_dtype format = t == RAPT_T_K ? p->k_format : t == RAPT_T_V ? p->v_format : RAPT_DTYPE_NONE;
    return format != RAPT_DTYPE_NONE ? format : p->dtype;
}
static inline uint64_t rapt_problem_row(const rapt_problem *p, unsigned t)
{
    const uint32_t head_dim = t == RAPT_T_K ? p->head_dim_qk : p->head_dim_v;
    const uint64_t words = rapt_quantised_words(rapt_problem_dtype(p, t), head_dim);
    return words > 0 ? words : head_dim;
}

/* Whether a link takes softmax's weights and so goes over the keys twice. */
static inline bool rapt_link_two_passes(uint32_t link)
{
    return link == RAPT_LINK_CLIPPED || link == RAPT_LINK_AFFINE;
}

/* Fills `problem`. RAPT_ERROR_INVALID says which tensor, axis and value. */
rapt_status rapt_attention_problem(const rapt_attention_desc *desc, rapt_problem *problem, rapt_error *error);

/* A tensor by itself: rank, strides, extent; of outputs also that no two elements share a place. */
rapt_status rapt_tensor_check(const rapt_tensor *t, const char *name, unsigned rank, bool output, rapt_error *error);
/* Of rapt_attention_problem: where positions lie, and the table of relative positions. Everything but block masks is there. */
rapt_status rapt_problem_places(const rapt_attention_desc *desc, rapt_problem *problem, rapt_error *error);
/* Of rapt_attention_problem: pages and lengths of batch entries (pages.c). Fills what the problem has of them, nk included. */
rapt_status rapt_problem_pages(const rapt_attention_desc *desc, rapt_problem *problem, rapt_error *error);
/* Of rapt_attention_problem: col_sums and row_max (margins.c). Everything else is there. */
rapt_status rapt_problem_margins(const rapt_attention_desc *desc, rapt_problem *problem, rapt_error *error);
/* An lse that the caller does not want, for later passes: in the workspace. */
void rapt_problem_hide_lse(rapt_problem *problem);
/* Of rapt_attention_problem: whatever rewrites q and k. The problem's scale and shapes are there. */
rapt_status rapt_problem_prepare(const rapt_attention_desc *desc, rapt_problem *problem, rapt_error *error);

/* Number of (query, key) pairs of one head of one sequence that the problem's range rules (causality, window) leave visible; the first query stands
 * at key position nk - nq + offset. */
uint64_t rapt_visible_pairs(const rapt_problem *masks, uint64_t nq, uint64_t nk, int64_t offset);
/* Whether the query at key position `place` (i + nk - nq + causal_offset) sees a key of its sequence; and what becomes of
 * a scaled score; before extra vectors, block masks and code of an app. The definition, for probes and proofs. */
bool rapt_problem_sees(const rapt_problem *problem, int64_t place, int64_t key);
/* The element of a dense block mask (batch, heads, lines, block_pitch) that says whether query i sees key j, and the number of
 * its lines. */
uint64_t rapt_block_element(const rapt_problem *problem, uint64_t batch, uint64_t head_q, uint64_t i, uint64_t j);
uint64_t rapt_block_lines(const rapt_problem *problem);
double rapt_problem_score(const rapt_problem *problem, double scaled);
/* Whether tuning knows what is right: softmax, with any mask by position, sinks, ALiBi, pages, lengths and quantised keys, and nothing else
 * beside the tensors. */
bool rapt_problem_is_tunable(const rapt_problem *problem);
/* How far a key is from the query at key position `place`: columns, and with place_width also rows; and the entry of a head's
 * table for them. */
uint64_t rapt_problem_distance(const rapt_problem *problem, int64_t place, int64_t key);
uint64_t rapt_problem_relative_entry(const rapt_problem *problem, int64_t place, int64_t key);
/* Whether kernels read the extra operand: vectors, a block mask, a table of pages, lists of tiles. */
bool rapt_problem_has_extra_operand(const rapt_problem *problem);
/* The first key that some query of a dense problem sees, sinks aside. */
uint64_t rapt_first_visible_key(const rapt_problem *problem);

#endif
