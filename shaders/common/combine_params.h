/* Parameters of the kernel that combines tensors row by row (map/combine.comp), compiled by C and by GLSL; attention_params.h
 * says what blocks, bases and addresses are. */
#ifndef RAPT_COMBINE_PARAMS_H
#define RAPT_COMBINE_PARAMS_H

#include "common/attention_params.h"

/* Bindings; base number b - 1 of the push constants belongs to binding b. Terms are at 1, 2, 3, or the gate at 3; their weights
 * at 5, 6, 7. */
#define RAPT_BIND_TERM 1
#define RAPT_BIND_TERM_WEIGHT 5
#define RAPT_BIND_NORM_WEIGHT 8 /* or the log-sum-exp */

/* CombineParams.flags */
#define RAPT_COMBINE_HAS_WEIGHT 1u /* shifted by the term's number */
#define RAPT_COMBINE_IS_SIGMOID 8u
#define RAPT_COMBINE_IS_SOFTMAX 16u
#define RAPT_COMBINE_HAS_NORM 32u
#define RAPT_COMBINE_HAS_NORM_WEIGHT 64u
#define RAPT_COMBINE_HAS_GATE 128u
#define RAPT_COMBINE_IS_SILU 256u
#define RAPT_COMBINE_HAS_LSE 512u
#define RAPT_COMBINE_IS_PRODUCT 1024u /* of the gate */
#define RAPT_COMBINE_IS_TOP 2048u
#define RAPT_COMBINE_TOP_NORMALISED 4096u
#define RAPT_COMBINE_ACT_SHIFT 16 /* a rapt_combine_act from this bit on */

#ifdef VULKAN
#define RAPT_UVEC4(name) uvec4 name
#define RAPT_VEC4(name) vec4 name
#else
#define RAPT_UVEC4(name) uint32_t name[4]
#define RAPT_VEC4(name) float name[4]
#endif

#define RAPT_COMBINE_PARAMS_FIELDS                                                                           \
    RAPT_UINT heads;                                                                                         \
    RAPT_UINT n;                                                                                             \
    RAPT_UINT d;                                                                                             \
    RAPT_UINT flags;                                                                                         \
    RAPT_UINT terms;                                                                                         \
    RAPT_FLOAT epsilon;                                                                                      \
    RAPT_FLOAT out_factor;                                                                                   \
    RAPT_UINT top;                                                                                           \
    RAPT_VEC4(factor); /* of terms, and the offset */                                                        \
    RAPT_UVEC4(stride_x0); /* of batch, heads, n; 0 where all have the same */                               \
    RAPT_UVEC4(stride_x1);                                                                                   \
    RAPT_UVEC4(stride_x2); /* or the gate's */                                                               \
    RAPT_UVEC4(stride_w0);                                                                                   \
    RAPT_UVEC4(stride_w1);                                                                                   \
    RAPT_UVEC4(stride_w2);                                                                                   \
    RAPT_UVEC4(stride_norm); /* of heads, the second; or those of the log-sum-exp */                         \
    RAPT_UVEC4(stride_out);

#define RAPT_COMBINE_PUSH_FIELDS                                                                             \
    RAPT_UINT base[8]; /* by binding - 1 */                                                                  \
    RAPT_UINT row0;    /* rows of this dispatch: (batch * heads + head) * n + index, from row0 on */         \
    RAPT_UINT rows;                                                                                          \
    RAPT_UINT unused0;                                                                                       \
    RAPT_UINT unused1;                                                                                       \
    RAPT_UINT unused2;                                                                                       \
    RAPT_UINT unused3;                                                                                       \
    RAPT_UINT unused4;                                                                                       \
    RAPT_UINT unused5;

#ifdef VULKAN
#define RAPT_DECLARE_COMBINE_PARAMS                                                                          \
    layout(std140, set = 0, binding = RAPT_BIND_PARAMS) uniform CombineParams { RAPT_COMBINE_PARAMS_FIELDS } p; \
    layout(push_constant, std430) uniform CombinePush { RAPT_COMBINE_PUSH_FIELDS } pc;
#else
typedef struct rapt_combine_params {
    RAPT_COMBINE_PARAMS_FIELDS
} rapt_combine_params;
typedef struct rapt_combine_push {
    RAPT_COMBINE_PUSH_FIELDS
} rapt_combine_push;
_Static_assert(sizeof(rapt_combine_push) == 64, "as large as that of attention");
_Static_assert(sizeof(rapt_combine_params) % 16 == 0, "std140 rounds blocks to 16 bytes");
#endif

#endif
