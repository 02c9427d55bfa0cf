/* Parameters of every attention kernel, compiled by C and by GLSL.
 *
 * Two blocks: AttentionParams lives in a uniform buffer (binding 0) written once when tensors are bound;
 * AttentionPush is the push-constant block, written per dispatch. All members are 32-bit scalars or
 * 16-byte vectors on 16-byte boundaries, so that std140, std430 and C lay them out alike.
 *
 * Addresses are element indices into the window of the tensor that is bound, modulo 2^32:
 *   index(b, h, i, d) = base + b * stride_b + h * stride_h + i * stride_s + d
 * with absolute b, h, i. The host folds the start of the window into `base` (which may wrap around), so
 * a kernel never sees an offset of more than 32 bits and never needs to know where its window begins.
 */
#ifndef RAPT_ATTENTION_PARAMS_H
#define RAPT_ATTENTION_PARAMS_H

#ifdef VULKAN /* set by glslang for Vulkan GLSL */
#define RAPT_UINT uint
#define RAPT_INT int
#define RAPT_FLOAT float
#define RAPT_LANES(name) uvec4 name[4]
#else
#include <stdint.h>
#define RAPT_UINT uint32_t
#define RAPT_INT int32_t
#define RAPT_FLOAT float
#define RAPT_LANES(name) uint32_t name[16]
#endif

#if defined(GRID) && !defined(NO_VARLEN)
#define NO_VARLEN
#endif

/* AttentionParams.flags */
#define RAPT_PARAM_CAUSAL 1u  /* key j is visible to the query at position p when j <= p */
#define RAPT_PARAM_VARLEN 2u  /* b is a sequence; cu_seqlens give its rows in the packed axes */
#define RAPT_PARAM_LSE 4u     /* write the log-sum-exp */
#define RAPT_PARAM_PARTIAL 8u /* write (m, l, acc) of each key split instead of the output */
#define RAPT_PARAM_WINDOW 16u /* only the keys p - window_left .. p + window_right, and the first sink_tokens */
#define RAPT_PARAM_SOFT_CAP 32u
#define RAPT_PARAM_PAGED 64u   /* keys and values lie in pages: see hook/pages.glsl */
#define RAPT_PARAM_RAGGED 128u /* each batch entry has a number of keys of its own, at most nk */
#define RAPT_PARAM_LISTED 1024u /* query tiles visit the tiles of keys of their lists alone; see hook/tiles.glsl */
#define RAPT_PARAM_BLOCKS 2048u /* there is a block mask, which a key asks where its tile is not whole */
/* What lies in the extra operand: float32 vectors, and int32 segments. In this order wherever they are counted. */
#define RAPT_PARAM_BIAS 512u /* a number per (query, key), in an operand of its own */
#define RAPT_PARAM_EXTRA_SHIFT 12
#define RAPT_PARAM_SINKS 4096u     /* a logit per head that joins the softmax and has no value */
#define RAPT_PARAM_ALIBI 8192u     /* a slope per query head: -slope * |p - j| is added to scores */
#define RAPT_PARAM_KEY_BIAS 16384u /* a number per key, added to its scores; -inf hides the key */
#define RAPT_PARAM_SEGMENTS 32768u /* only keys of the query's own segment are visible */
#define RAPT_PARAM_RELATIVE 65536u /* a table of numbers per (key - query), added to scores */
#define RAPT_PARAM_DECAY 131072u   /* a number per query head: weights are multiplied by its power of the distance */
#define RAPT_PARAM_EXTRAS 258560u  /* all of these */
#define RAPT_PARAM_PLACED 262144u  /* positions are places of a grid of place_width columns, and distances |dy| + |dx| */
/* Links: from scores to weights. */
#define RAPT_PARAM_LINK_SHIFT 20
#define RAPT_PARAM_LINK_MASK 15u
#define RAPT_PARAM_LINK_OFFBYONE 1u
#define RAPT_PARAM_LINK_SIGNED 2u
#define RAPT_PARAM_LINK_SIGMOID 3u /* from here on: without a denominator */
#define RAPT_PARAM_LINK_LAPLACE 4u
#define RAPT_PARAM_LINK_RELU 5u
#define RAPT_PARAM_LINK_NONE 6u
#define RAPT_PARAM_LINK_CLIPPED 7u /* the second pass; the first is softmax */
#define RAPT_PARAM_LINK_AFFINE 8u  /* likewise */

/* Fixed bindings of set 0. 8 storage buffers at most: that is the floor of what devices offer. */
#define RAPT_BIND_PARAMS 0
#define RAPT_BIND_Q 1
#define RAPT_BIND_K 2
#define RAPT_BIND_V 3
#define RAPT_BIND_OUT 4  /* output, or the partial accumulators when RAPT_PARAM_PARTIAL */
#define RAPT_BIND_LSE 5  /* log-sum-exp, or the partial (m, l) when RAPT_PARAM_PARTIAL */
#define RAPT_BIND_CU_Q 6 /* cu_seqlens of q, int32[sequences + 1]; or the dense bias, which goes without */
#define RAPT_BIND_CU_K 7 /* or the numbers of keys of batch entries, int32[batch] */
#define RAPT_BIND_EXTRA 8 /* sinks, ALiBi slopes, key biases, segments, block masks, tables of pages: one of them, or several packed, before lists of tiles */
#define RAPT_BIND_TEXEL_K 9 /* uniform texel buffer over K's window */
#define RAPT_BIND_TEXEL_V 10
#define RAPT_BIND_TEXEL_Q 11
#define RAPT_BIND_USER 16 /* .. 19: buffers that code of the app reads */

#define RAPT_ATTENTION_PARAMS_FIELDS                                                                         \
    RAPT_UINT heads_out; /* max(heads_q, heads_kv): heads of out and lse */                                  \
    RAPT_UINT heads_q;                                                                                       \
    RAPT_UINT heads_kv;                                                                                      \
    RAPT_UINT group; /* output heads packed as rows of one tile (1: none); divides heads_out / heads_kv */   \
    RAPT_UINT nq;    /* queries of one sequence (varlen: the longest) */                                     \
    RAPT_UINT nk;                                                                                            \
    RAPT_UINT total_q; /* varlen: length of the packed axis, what cu_seqlens are clamped to */               \
    RAPT_UINT total_k;                                                                                       \
    RAPT_UINT head_dim_qk;                                                                                   \
    RAPT_UINT head_dim_v;                                                                                    \
    RAPT_UINT q_stride_b;                                                                                    \
    RAPT_UINT q_stride_h;                                                                                    \
    RAPT_UINT q_stride_s;                                                                                    \
    RAPT_UINT k_stride_b;                                                                                    \
    RAPT_UINT k_stride_h;                                                                                    \
    RAPT_UINT k_stride_s;                                                                                    \
    RAPT_UINT v_stride_b;                                                                                    \
    RAPT_UINT v_stride_h;                                                                                    \
    RAPT_UINT v_stride_s;                                                                                    \
    RAPT_UINT o_stride_b;                                                                                    \
    RAPT_UINT o_stride_h;                                                                                    \
    RAPT_UINT o_stride_s;                                                                                    \
    RAPT_UINT l_stride_b; /* lse */                                                                          \
    RAPT_UINT l_stride_h;                                                                                    \
    RAPT_UINT l_stride_s;                                                                                    \
    RAPT_UINT flags;                                                                                         \
    RAPT_INT causal_offset; /* query i stands at key position i + (nk - nq) + causal_offset */               \
    RAPT_FLOAT scale_log2;  /* scale * log2(e): the running maximum m is kept in these units */              \
    RAPT_UINT splits;       /* key splits per row (1: none): partials are (row, split) */                    \
    RAPT_UINT split_keys;   /* keys per split, a multiple of the kernel's key tile */                        \
    RAPT_UINT part_stride;  /* elements between two partial accumulators */                                  \
    RAPT_FLOAT soft_cap;         /* c * log2(e): scores in units of log2 are kept within it */                \
    RAPT_FLOAT soft_cap_inverse; /* 1 / soft_cap */                                                          \
    RAPT_INT window_left;        /* -1: unbounded */                                                         \
    RAPT_INT window_right;                                                                                   \
    RAPT_UINT sink_tokens;       /* the first keys, which no window hides */                                 \
    RAPT_UINT x_sinks;           /* where each extra vector begins in the extra operand, and its strides */    \
    RAPT_UINT x_sinks_stride_h;                                                                              \
    RAPT_UINT x_sinks_heads; /* q_heads or heads_out */                                                      \
    RAPT_UINT x_alibi;                                                                                       \
    RAPT_UINT x_alibi_stride_h; /* of query heads */                                                         \
    RAPT_UINT x_key_bias;                                                                                    \
    RAPT_UINT x_key_bias_stride_b;                                                                           \
    RAPT_UINT x_key_bias_stride_h; /* of query heads */                                                      \
    RAPT_UINT x_segments;                                                                                    \
    RAPT_UINT x_segments_stride_b;                                                                           \
    RAPT_UINT x_relative; /* the table: lines of relative_pitch entries, one for dy = -half_y .. half_y; in the middle dx = 0 */ \
    RAPT_UINT x_relative_stride_h; /* of query heads */                                                      \
    RAPT_UINT relative_pitch; /* 2 half_x + 1 */                                                             \
    RAPT_UINT relative_half_y; /* 0 of a line */                                                             \
    RAPT_UINT relative_half_x;                                                                               \
    RAPT_UINT place_width; /* with RAPT_PARAM_PLACED */                                                      \
    RAPT_UINT x_decay;                                                                                       \
    RAPT_UINT x_decay_stride_h; /* of query heads */                                                         \
    RAPT_FLOAT link_offset;                                                                                  \
    RAPT_FLOAT link_range; /* see rapt_problem */                                                                \
    RAPT_UINT g_stride_b;  /* gate */                                                                        \
    RAPT_UINT g_stride_h;                                                                                    \
    RAPT_UINT g_stride_s;                                                                                    \
    RAPT_UINT bias_stride_b;                                                                                 \
    RAPT_UINT bias_stride_h; /* of query heads */                                                            \
    RAPT_UINT bias_stride_q;                                                                                 \
    RAPT_UINT source_q_stride_b; /* q, k and the factors of a low-rank bias before map/prepare.comp rewrites them */\
    RAPT_UINT source_q_stride_h;                                                                             \
    RAPT_UINT source_q_stride_s;                                                                             \
    RAPT_UINT source_k_stride_b;                                                                             \
    RAPT_UINT source_k_stride_h;                                                                             \
    RAPT_UINT source_k_stride_s;                                                                             \
    RAPT_UINT factor_q_stride_b;                                                                             \
    RAPT_UINT factor_q_stride_h;                                                                             \
    RAPT_UINT factor_q_stride_s;                                                                             \
    RAPT_UINT factor_k_stride_b;                                                                             \
    RAPT_UINT factor_k_stride_h;                                                                             \
    RAPT_UINT factor_k_stride_s;                                                                             \
    RAPT_UINT source_dim;                                                                                    \
    RAPT_UINT factor_rank;                                                                                   \
    RAPT_FLOAT factor_scale; /* 1 / scale */                                                                 \
    RAPT_FLOAT norm_epsilon; /* negative: no norm */                                                         \
    RAPT_UINT rope_dim;                                                                                      \
    RAPT_UINT rope_interleaved;                                                                              \
    RAPT_UINT rope_ratio_low; /* of the turns of neighbouring pairs: a 64-bit fraction */                    \
    RAPT_UINT rope_ratio_high;                                                                               \
    RAPT_UINT gate_by_row;                                                                                   \
    RAPT_UINT unused0;                                                                                       \
    RAPT_UINT x_blocks; /* the block mask in the extra operand: (batch or sequences, query heads, queries / block_q, */ \
    RAPT_UINT x_blocks_stride_b; /* keys / block_k) words, and the words from one line of it to the next */   \
    RAPT_UINT x_blocks_stride_h;                                                                             \
    RAPT_UINT x_blocks_pitch;                                                                                \
    RAPT_UINT block_q; /* queries and keys of one block */                                                   \
    RAPT_UINT block_k;                                                                                       \
    RAPT_UINT x_lists; /* lists of tiles in the extra operand: (batch, head groups, query tiles), each of lists_pitch */ \
    RAPT_UINT lists_stride_b; /* words; strides are 0 where all have the same */                              \
    RAPT_UINT lists_stride_g;                                                                                \
    RAPT_UINT lists_pitch;                                                                                   \
    RAPT_UINT list_rows; /* query rows and keys of a listed tile */                                           \
    RAPT_UINT list_keys;                                                                                     \
    RAPT_UINT x_pages; /* tables of pages in the extra operand, a line for each batch entry */                \
    RAPT_UINT x_pages_stride_b;                                                                              \
    RAPT_UINT page_size; /* keys */                                                                          \
    RAPT_UINT pages;     /* in the pool, at least 1 */                                                       \
    RAPT_LANES(lane); /* 0, 1, .. 15 read from memory, for shuffles a compiler must not fold */

/* Behind them, and known to kernels with code of the app only. */
#ifdef VULKAN
#if defined(USER_CODE) || defined(GRID)
#define RAPT_ATTENTION_USER_FIELDS                                                                           \
    vec4 user_constants[4];                                                                                  \
    uvec4 user_base; /* element of each window where the buffer begins */                                    \
    uvec4 user_last; /* its last element's index */
#else
#define RAPT_ATTENTION_USER_FIELDS
#endif
#else
#define RAPT_ATTENTION_USER_FIELDS                                                                           \
    float user_constants[16];                                                                                \
    uint32_t user_base[4], user_last[4];
#endif

/* Behind those, and known to kernels for neighbourhoods of a grid only: by axis, the slowest first; see hook/grid.glsl. */
#if !defined(VULKAN)
#define RAPT_ATTENTION_GRID_FIELDS                                                                           \
    uint32_t grid_size[3], grid_causal, grid_kernel[3], unused_kernel, grid_dilation[3], unused_dilation,    \
        grid_stride[3], unused_stride, grid_box[3], unused_box, grid_tiles[3], unused_tiles;
#elif defined(GRID)
#define RAPT_ATTENTION_GRID_FIELDS                                                                           \
    uvec3 grid_size;                                                                                         \
    uint grid_causal;    /* bit per axis */                                                                  \
    uvec3 grid_kernel;   /* size of the window */                                                            \
    uvec3 grid_dilation;                                                                                     \
    uvec3 grid_stride;                                                                                       \
    uvec3 grid_box;      /* queries of a tile */                                                             \
    uvec3 grid_tiles;    /* in a group */
#else
#define RAPT_ATTENTION_GRID_FIELDS
#endif

#define RAPT_ATTENTION_PUSH_FIELDS                                                                           \
    RAPT_UINT q_base;                                                                                        \
    RAPT_UINT k_base;                                                                                        \
    RAPT_UINT v_base;                                                                                        \
    RAPT_UINT o_base;  /* of out, or of the partial accumulators */                                          \
    RAPT_UINT l_base;  /* of lse, or of the partial (m, l) pairs, in floats */                               \
    RAPT_UINT cq_base; /* of cu_seqlens */                                                                   \
    RAPT_UINT ck_base;                                                                                       \
    RAPT_UINT x_base; /* of the extra operand */                                                             \
    RAPT_UINT                                                                                                \
        tile0; /* first query tile of this dispatch: tile = tile0 + gl_WorkGroupID.x (or its mirror) */      \
    RAPT_UINT tiles;  /* query tiles of this dispatch = gl_NumWorkGroups.x */                                \
    RAPT_UINT split0; /* first key split: split = split0 + gl_WorkGroupID.y */                               \
    RAPT_UINT                                                                                                \
        bh0; /* first (batch, head group): bh = bh0 + gl_WorkGroupID.z; b = bh / (heads_out / group) */      \
    RAPT_UINT key0; /* keys this dispatch may visit: [key0, key1); split s begins at key0 + s * split_keys */ \
    RAPT_UINT key1;                                                                                          \
    RAPT_UINT rows; /* merge, map kernels: number of rows of this dispatch */                                \
    RAPT_UINT row0;

#ifdef VULKAN
#define RAPT_DECLARE_ATTENTION_PARAMS                                                                        \
    layout(std140, set = 0, binding = RAPT_BIND_PARAMS)                                                      \
        uniform AttentionParams{RAPT_ATTENTION_PARAMS_FIELDS RAPT_ATTENTION_USER_FIELDS RAPT_ATTENTION_GRID_FIELDS} p;                                             \
    layout(push_constant, std430) uniform AttentionPush{RAPT_ATTENTION_PUSH_FIELDS} pc;
#else
typedef struct rapt_attention_params {
    RAPT_ATTENTION_PARAMS_FIELDS
    RAPT_ATTENTION_USER_FIELDS
    RAPT_ATTENTION_GRID_FIELDS
} rapt_attention_params;
typedef struct rapt_attention_push {
    RAPT_ATTENTION_PUSH_FIELDS
} rapt_attention_push;
_Static_assert(sizeof(rapt_attention_push) <= 128, "push constants: 128 bytes is the floor");
_Static_assert(sizeof(rapt_attention_params) % 16 == 0, "std140 rounds blocks to 16 bytes");
#endif

#endif
