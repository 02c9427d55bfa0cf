/* Parameters of every kernel of linear attention, compiled by C and by GLSL; attention_params.h says what blocks, bases
 * and addresses are. Here the third axis is the token, and tensors may have fewer heads than there are states: head h
 * reads head h * heads_x / heads.
 */
#ifndef RAPT_LINEAR_PARAMS_H
#define RAPT_LINEAR_PARAMS_H

#include "common/attention_params.h"
#ifndef VULKAN
#include <stddef.h>
#endif

/* Bindings; base number b - 1 of the push constants belongs to binding b. */
#define RAPT_BIND_DECAY 5 /* decay or gate */
#define RAPT_BIND_BETA 6
#define RAPT_BIND_NORM 7  /* running normalisers, or those of chunks */
#define RAPT_BIND_STATE 8 /* running states, or those of chunks */
#define RAPT_BIND_A 6
#define RAPT_BIND_B 7
#define RAPT_BIND_STEPS 4       /* what a chunk multiplies the state by, in place of the output */
#define RAPT_BIND_TEXEL_Q 11    /* uniform texel buffers over the windows of q, k (9), v (10), decay */
#define RAPT_BIND_TEXEL_DECAY 12
#define RAPT_BIND_TEXEL_A 14
#define RAPT_BIND_TEXEL_B 15
#define RAPT_BIND_TEXEL_STATE 13 /* states to begin with: running ones, state_in, or those of chunks */
#define RAPT_PUSH_READ_BASE 14    /* word of read_base */

/* What a kernel that walks tokens is for. */
#define RAPT_PASS_WHOLE 0u  /* from the running state to outputs and the running state */
#define RAPT_PASS_CHUNKS 1u /* from nothing to what each chunk adds to the state, and what it multiplies it by */
#define RAPT_PASS_OUT 2u    /* from the states at the beginning of each chunk to outputs */

/* LinearPush.flags */
#define RAPT_LINEAR_READ_STATE 1u  /* else it begins as 0 */
#define RAPT_LINEAR_WRITE_STATE 2u
#define RAPT_LINEAR_WRITE_NORM 8u  /* walks: the running normaliser is written back */
#define RAPT_LINEAR_NORM_ONLY 16u  /* and nothing else: no state is read or written, nor an output */
#define RAPT_LINEAR_READ_IN 4u     /* begins as state_in and norm_in */

/* LinearPush.flags of rows that map: which tensor; its first feature is pc.chunks. */
#define RAPT_MAP_Q 0u
#define RAPT_MAP_K 1u
#define RAPT_MAP_V 2u
#define RAPT_MAP_A 3u
#define RAPT_MAP_B 4u
/* map_flags */
#define RAPT_MAP_STANDARDIZE 1u    /* q and k less their mean, over their standard deviation */
#define RAPT_MAP_NORMALIZE 2u      /* a column of ones stands behind v: its sums are what outputs are divided by */
#define RAPT_MAP_NORMALIZE_KEYS 4u /* or what rows of the state are divided by */
#define RAPT_MAP_LINEAR 8u         /* maps of order 1: without products of two features */
#define RAPT_MAP_BETA 16u          /* v is multiplied by beta, as the column of ones is not */
/* Tokens of a workgroup of rows that map, at most 64, and floats that it shares: as many rows of `width` as fit, a one behind each. */
#define RAPT_MAP_FLOATS 2056u
#define RAPT_MAP_TOKENS(width) (RAPT_MAP_FLOATS / ((width) + 1u) < 64u ? RAPT_MAP_FLOATS / ((width) + 1u) : 64u)
/* LinearPush.flags of rows that finish: the first and the last block of features. */
#define RAPT_FINISH_FIRST 1u
#define RAPT_FINISH_LAST 2u

#define RAPT_LINEAR_PARAMS_FIELDS                                                                            \
    RAPT_UINT heads;                                                                                         \
    RAPT_UINT heads_q;                                                                                       \
    RAPT_UINT heads_k;                                                                                       \
    RAPT_UINT heads_v;                                                                                       \
    RAPT_UINT heads_a;                                                                                       \
    RAPT_UINT heads_b;                                                                                       \
    RAPT_UINT heads_decay;                                                                                   \
    RAPT_UINT heads_beta;                                                                                    \
    RAPT_UINT q_stride_b; /* q, k, v, out, a, b, decay, beta: three each, in this order */                   \
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
    RAPT_UINT a_stride_b;                                                                                    \
    RAPT_UINT a_stride_h;                                                                                    \
    RAPT_UINT a_stride_s;                                                                                    \
    RAPT_UINT b_stride_b;                                                                                    \
    RAPT_UINT b_stride_h;                                                                                    \
    RAPT_UINT b_stride_s;                                                                                    \
    RAPT_UINT decay_stride_b;                                                                                \
    RAPT_UINT decay_stride_h;                                                                                \
    RAPT_UINT decay_stride_s;                                                                                \
    RAPT_UINT beta_stride_b;                                                                                 \
    RAPT_UINT beta_stride_h;                                                                                 \
    RAPT_UINT beta_stride_s;                                                                                 \
    RAPT_UINT state_stride_b; /* of running states; those of d_k are the third */                            \
    RAPT_UINT state_stride_h;                                                                                \
    RAPT_UINT state_stride_k;                                                                                \
    RAPT_UINT norm_stride_b; /* of running normalisers */                                                    \
    RAPT_UINT norm_stride_h;                                                                                 \
    RAPT_UINT state_in_stride_b;                                                                             \
    RAPT_UINT state_in_stride_h;                                                                             \
    RAPT_UINT state_in_stride_k;                                                                             \
    RAPT_UINT norm_in_stride_b;                                                                              \
    RAPT_UINT norm_in_stride_h;                                                                              \
    RAPT_UINT d_k;                                                                                           \
    RAPT_UINT d_v;                                                                                           \
    RAPT_UINT tokens; /* of one sequence (varlen: at most) */                                                \
    RAPT_UINT total;  /* varlen: length of the packed axis, what cu_seqlens are clamped to */                \
    RAPT_FLOAT scale;                                                                                        \
    RAPT_UINT chunk_pitch; /* elements between two rows of the states of chunks: d_v, up to a multiple of 4 */ \
    RAPT_UINT step_size;   /* elements of what one chunk multiplies by: d_k, 1, or d_k times step_pitch */   \
    RAPT_UINT step_pitch;                                                                                    \
    RAPT_FLOAT result_scale; /* of outputs that are finished */                                             \
    RAPT_FLOAT map_scale;    /* of q before it is mapped */                                                   \
    RAPT_UINT source_q_stride_b; /* q, k, v, a, b and out of the app, where features are made first: three each */ \
    RAPT_UINT source_q_stride_h;                                                                             \
    RAPT_UINT source_q_stride_s;                                                                             \
    RAPT_UINT source_k_stride_b;                                                                             \
    RAPT_UINT source_k_stride_h;                                                                             \
    RAPT_UINT source_k_stride_s;                                                                             \
    RAPT_UINT source_v_stride_b;                                                                             \
    RAPT_UINT source_v_stride_h;                                                                             \
    RAPT_UINT source_v_stride_s;                                                                             \
    RAPT_UINT source_a_stride_b;                                                                             \
    RAPT_UINT source_a_stride_h;                                                                             \
    RAPT_UINT source_a_stride_s;                                                                             \
    RAPT_UINT source_b_stride_b;                                                                             \
    RAPT_UINT source_b_stride_h;                                                                             \
    RAPT_UINT source_b_stride_s;                                                                             \
    RAPT_UINT result_stride_b;                                                                               \
    RAPT_UINT result_stride_h;                                                                               \
    RAPT_UINT result_stride_s;                                                                               \
    RAPT_UINT state_out_stride_b;                                                                            \
    RAPT_UINT state_out_stride_h;                                                                            \
    RAPT_UINT state_out_stride_k;                                                                            \
    RAPT_UINT norm_out_stride_b;                                                                             \
    RAPT_UINT norm_out_stride_h;                                                                             \
    RAPT_UINT heads_scale_q; /* of scale_q and scale_k; 0: there are none */                                 \
    RAPT_UINT heads_scale_k;                                                                                 \
    RAPT_UINT scale_q_stride;                                                                                \
    RAPT_UINT scale_k_stride;                                                                                \
    RAPT_UINT source_dim;  /* features of q and k before they are mapped */                                  \
    RAPT_UINT source_dim_v;                                                                                  \
    RAPT_UINT map_flags;   /* RAPT_MAP_* */                                                                  \
    RAPT_FLOAT map_power;                                                                                    \
    RAPT_UINT state_rows;  /* of all blocks of features */                                                   \
    RAPT_LANES(lane); /* 0, 1, .. 15 read from memory, for shuffles a compiler must not fold */

#define RAPT_LINEAR_PUSH_FIELDS                                                                              \
    RAPT_UINT base[8]; /* by binding - 1 */                                                                  \
    RAPT_UINT bh0;     /* first (batch, head) of this dispatch: bh0 + gl_WorkGroupID.z */                    \
    RAPT_UINT token0;  /* the tokens of this dispatch: [token0, token1) of each sequence */                  \
    RAPT_UINT token1;                                                                                        \
    RAPT_UINT chunk;   /* tokens of one chunk; chunk number gl_WorkGroupID.y begins at token0 + number * chunk */ \
    RAPT_UINT chunks;  /* chunks per (batch, head) in the workspace */                                       \
    RAPT_UINT flags;                                                                                         \
    RAPT_UINT read_base; /* of states through a texel buffer */                                              \
    RAPT_UINT back; /* 1: the state to begin with is that after the position before; else 0 */

#ifdef VULKAN
#define RAPT_DECLARE_LINEAR_PARAMS                                                                           \
    layout(std140, set = 0, binding = RAPT_BIND_PARAMS) uniform LinearParams { RAPT_LINEAR_PARAMS_FIELDS } p; \
    layout(push_constant, std430) uniform LinearPush { RAPT_LINEAR_PUSH_FIELDS } pc;
#else
typedef struct rapt_linear_params {
    RAPT_LINEAR_PARAMS_FIELDS
} rapt_linear_params;
typedef struct rapt_linear_push {
    RAPT_LINEAR_PUSH_FIELDS
} rapt_linear_push;
_Static_assert(sizeof(rapt_linear_push) == 64, "as large as that of attention");
_Static_assert(sizeof(rapt_linear_params) % 16 == 0 && offsetof(rapt_linear_params, lane) % 16 == 0,
               "std140: vectors on 16 bytes, blocks of whole vectors");
#endif

#endif
