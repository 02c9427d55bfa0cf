/* Parameters of the kernel for rows by index, compiled by C and by GLSL; attention_params.h says what blocks, bases and addresses
 * are. Heads are those of out: head h reads head h * heads_x / heads. */
#ifndef RAPT_ROWS_PARAMS_H
#define RAPT_ROWS_PARAMS_H

#include "common/attention_params.h"

/* Bindings; base number b - 1 of the push constants belongs to binding b. out is at RAPT_BIND_OUT. */
#define RAPT_BIND_ROWS 1
#define RAPT_BIND_ROW_LIST 2
#define RAPT_BIND_WEIGHT 3    /* or the norm's */
#define RAPT_BIND_POSITIONS 5 /* of rows that are turned */

#define RAPT_ROWS_PARAMS_FIELDS                                                                              \
    RAPT_UINT heads;                                                                                         \
    RAPT_UINT heads_x;                                                                                       \
    RAPT_UINT heads_list;                                                                                    \
    RAPT_UINT heads_weight;                                                                                  \
    RAPT_UINT head_dim;                                                                                      \
    RAPT_UINT n;   /* rows that entries number */                                                            \
    RAPT_UINT runs;                                                                                          \
    RAPT_UINT run; /* entries of one */                                                                      \
    RAPT_UINT x_stride_b;                                                                                    \
    RAPT_UINT x_stride_h;                                                                                    \
    RAPT_UINT x_stride_s;                                                                                    \
    RAPT_UINT list_stride_b;                                                                                 \
    RAPT_UINT list_stride_h;                                                                                 \
    RAPT_UINT list_stride_s;                                                                                 \
    RAPT_UINT weight_stride_b;                                                                               \
    RAPT_UINT weight_stride_h;                                                                               \
    RAPT_UINT weight_stride_s;                                                                               \
    RAPT_UINT out_stride_b;                                                                                  \
    RAPT_UINT out_stride_h;                                                                                  \
    RAPT_UINT out_stride_s;                                                                                  \
    RAPT_UINT position_stride_b; /* from here on: of rows that are rewritten as they are placed */           \
    RAPT_UINT position_stride_s;                                                                             \
    RAPT_UINT rope_dim;                                                                                      \
    RAPT_UINT rope_ratio_low; /* of the turns of neighbouring pairs: a 64-bit fraction */                    \
    RAPT_UINT rope_ratio_high;                                                                               \
    RAPT_FLOAT norm_epsilon;                                                                                 \
    RAPT_UINT unused0;                                                                                       \
    RAPT_UINT unused1;

#define RAPT_ROWS_PUSH_FIELDS                                                                                \
    RAPT_UINT base[8]; /* by binding - 1 */                                                                  \
    RAPT_UINT bh0;     /* first (batch, head) of this dispatch: bh0 + gl_WorkGroupID.z */                    \
    RAPT_UINT first;   /* the rows of out of this dispatch: [first, end) */                                  \
    RAPT_UINT end;                                                                                           \
    RAPT_UINT unused_push[5];

#ifdef VULKAN
#define RAPT_DECLARE_ROWS_PARAMS                                                                             \
    layout(std140, set = 0, binding = RAPT_BIND_PARAMS) uniform RowsParams { RAPT_ROWS_PARAMS_FIELDS } p;    \
    layout(push_constant, std430) uniform RowsPush { RAPT_ROWS_PUSH_FIELDS } pc;
#else
typedef struct rapt_rows_params {
    RAPT_ROWS_PARAMS_FIELDS
} rapt_rows_params;
typedef struct rapt_rows_push {
    RAPT_ROWS_PUSH_FIELDS
} rapt_rows_push;
_Static_assert(sizeof(rapt_rows_push) == 64, "as large as that of attention");
_Static_assert(sizeof(rapt_rows_params) % 16 == 0, "std140 rounds blocks to 16 bytes");
#endif

#endif
