/* Parameters of the kernel of memories that learn (state/memory.comp), compiled by C and by GLSL; attention_params.h says what
 * blocks, bases and addresses are. */
#ifndef RAPT_MEMORY_PARAMS_H
#define RAPT_MEMORY_PARAMS_H

#include "common/attention_params.h"

/* Bindings; base number b - 1 of the push constants belongs to binding b. */
#define RAPT_MEMORY_BIND_Q 1
#define RAPT_MEMORY_BIND_K 2
#define RAPT_MEMORY_BIND_V 3
#define RAPT_MEMORY_BIND_OUT 4
#define RAPT_MEMORY_BIND_RATES 5
#define RAPT_MEMORY_BIND_STATE_IN 6
#define RAPT_MEMORY_BIND_STATE_OUT 7
#define RAPT_MEMORY_BIND_WORK 8

/* MemoryPush.mode: what a dispatch makes, an element an invocation. */
#define RAPT_MEMORY_BEGIN 0u    /* the running state, from state_in or of nothing */
#define RAPT_MEMORY_WEIGHTS 1u  /* what each gradient of the chunk counts at each of its tokens, and what its first M and S do */
#define RAPT_MEMORY_SUMS 2u     /* softmax: logs of sums of exp along rows of q and k, and along the chunk */
#define RAPT_MEMORY_SCORES 3u   /* (token, token before): products of what a layer reads, times the weight */
#define RAPT_MEMORY_HIDDEN_K 4u /* MLP: the hidden layer of the keys */
#define RAPT_MEMORY_ERRORS 5u   /* (token, d_v): 2 (M(k) - v), or v - M(k) of softmax */
#define RAPT_MEMORY_BACK 6u     /* MLP: the same at the hidden layer */
#define RAPT_MEMORY_HIDDEN_Q 7u /* MLP: the hidden layer of the queries */
#define RAPT_MEMORY_OUTPUTS 8u
#define RAPT_MEMORY_LEARN 9u    /* the state behind the chunk */
#define RAPT_MEMORY_END 10u     /* to state_out */

/* MemoryPush.flags */
#define RAPT_MEMORY_HAS_IN 1u
#define RAPT_MEMORY_SECOND 2u /* scores: of the second layer */

#ifdef VULKAN
#define RAPT_MEMORY_UVEC4(name) uvec4 name
#else
#define RAPT_MEMORY_UVEC4(name) uint32_t name[4]
#endif

/* The *_at are places of a head's part of the workspace, `head_words` long; chunks have `chunk` tokens at most. */
#define RAPT_MEMORY_PARAMS_FIELDS                                                                            \
    RAPT_UINT heads;                                                                                         \
    RAPT_UINT d;                                                                                             \
    RAPT_UINT d_v;                                                                                           \
    RAPT_UINT hidden;                                                                                        \
    RAPT_UINT form;       /* rapt_memory_form */                                                             \
    RAPT_UINT act;        /* rapt_memory_act */                                                              \
    RAPT_UINT read_start;                                                                                    \
    RAPT_UINT chunk;                                                                                         \
    RAPT_UINT weights;    /* of M; S follows */                                                              \
    RAPT_UINT numbers;    /* of the state, at the beginning of the part */                                   \
    RAPT_UINT head_words;                                                                                    \
    RAPT_UINT weights_at; /* (chunk + 1, chunk + 2): row t gradients, M, S as of M_t; the last row as of S */ \
    RAPT_UINT scores_at;  /* (chunk, chunk) */                                                               \
    RAPT_UINT errors_at;  /* (chunk, d_v) */                                                                 \
    RAPT_UINT slopes_at;  /* (chunk, hidden): inputs of act for keys, then errors there */                   \
    RAPT_UINT keys_at;    /* (chunk, hidden): act of them */                                                 \
    RAPT_UINT queries_at; /* (chunk, hidden) */                                                              \
    RAPT_UINT sums_at;    /* softmax: of q (chunk), of k (chunk), of channels (d), then new z (d), shares (d) */ \
    RAPT_UINT unused0;                                                                                       \
    RAPT_UINT unused1;                                                                                       \
    RAPT_MEMORY_UVEC4(stride_q); /* of batch, heads, n */                                                    \
    RAPT_MEMORY_UVEC4(stride_k);                                                                             \
    RAPT_MEMORY_UVEC4(stride_v);                                                                             \
    RAPT_MEMORY_UVEC4(stride_out);                                                                           \
    RAPT_MEMORY_UVEC4(stride_rates);                                                                         \
    RAPT_MEMORY_UVEC4(stride_in);                                                                            \
    RAPT_MEMORY_UVEC4(stride_state_out);

#define RAPT_MEMORY_PUSH_FIELDS                                                                              \
    RAPT_UINT base[8]; /* by binding - 1 */                                                                  \
    RAPT_UINT bh0;     /* first (batch, head): bh0 + gl_WorkGroupID.z, whose part of the workspace is gl_WorkGroupID.z's */ \
    RAPT_UINT token0;  /* the chunk: its first token, and how many */                                        \
    RAPT_UINT tokens;                                                                                        \
    RAPT_UINT count;   /* elements of this dispatch */                                                       \
    RAPT_UINT mode;                                                                                          \
    RAPT_UINT flags;                                                                                         \
    RAPT_UINT unused2;                                                                                       \
    RAPT_UINT unused3;

#ifdef VULKAN
#define RAPT_DECLARE_MEMORY_PARAMS                                                                           \
    layout(std140, set = 0, binding = RAPT_BIND_PARAMS) uniform MemoryParams { RAPT_MEMORY_PARAMS_FIELDS } p; \
    layout(push_constant, std430) uniform MemoryPush { RAPT_MEMORY_PUSH_FIELDS } pc;
#else
typedef struct rapt_memory_params {
    RAPT_MEMORY_PARAMS_FIELDS
} rapt_memory_params;
typedef struct rapt_memory_push {
    RAPT_MEMORY_PUSH_FIELDS
} rapt_memory_push;
_Static_assert(sizeof(rapt_memory_push) == 64, "as large as that of attention");
_Static_assert(sizeof(rapt_memory_params) % 16 == 0 && offsetof(rapt_memory_params, stride_q) % 16 == 0,
               "std140: vectors on 16 bytes, blocks of whole vectors");
#endif

#endif
