/* Parameters of the kernels that route, compiled by C and by GLSL; attention_params.h says what blocks, bases and addresses are.
 *
 * A row is what one selection is made for: (batch, row head, tile), a tile being block_q queries. Row heads are query heads, or
 * kv heads whose query heads share a selection.
 */
#ifndef RAPT_ROUTE_PARAMS_H
#define RAPT_ROUTE_PARAMS_H

#include "common/attention_params.h"
#ifndef VULKAN
#include <stddef.h>
#endif

/* Bindings; base number b - 1 of the push constants belongs to binding b. */
#define RAPT_BIND_SOURCE 1  /* q or k, or queries averaged by tile */
#define RAPT_BIND_SUMMARY 2 /* of keys, or of queries */
#define RAPT_BIND_SCORES 3
#define RAPT_BIND_MASK 4
#define RAPT_BIND_LIST 5
#define RAPT_BIND_WITHIN 6

/* RoutePush.side: whose blocks are summarised. */
#define RAPT_SIDE_KEYS 0u
#define RAPT_SIDE_QUERIES 1u

/* RouteParams.flags */
#define RAPT_ROUTE_PARAM_CAUSAL 1u
#define RAPT_ROUTE_PARAM_MAX_HEADS 2u   /* a row's score is the largest of its heads', else their sum */
#define RAPT_ROUTE_PARAM_MASK 4u        /* wanted */
#define RAPT_ROUTE_PARAM_LIST 8u
#define RAPT_ROUTE_PARAM_WITHIN 16u /* there is one */

/* Three strides in elements: of batch entries, heads, and tiles, tokens or blocks. */
#define RAPT_ROUTE_STRIDES(name)                                                                             \
    RAPT_UINT name##_stride_b;                                                                               \
    RAPT_UINT name##_stride_h;                                                                               \
    RAPT_UINT name##_stride_s;

#define RAPT_ROUTE_PARAMS_FIELDS                                                                             \
    RAPT_UINT heads_q;                                                                                       \
    RAPT_UINT heads_k;                                                                                       \
    RAPT_UINT row_heads;                                                                                     \
    RAPT_UINT shared_heads; /* query heads of a row: heads_q / row_heads */                                  \
    RAPT_UINT nq;                                                                                            \
    RAPT_UINT nk;                                                                                            \
    RAPT_UINT tiles;                                                                                         \
    RAPT_UINT blocks;                                                                                        \
    RAPT_UINT block_q;                                                                                       \
    RAPT_UINT block_k;                                                                                       \
    RAPT_UINT head_dim;                                                                                      \
    RAPT_UINT flags;                                                                                         \
    RAPT_INT diagonal; /* query i stands at key position i + diagonal */                                     \
    RAPT_UINT always_first;                                                                                  \
    RAPT_UINT always_last;                                                                                   \
    RAPT_UINT top_k;                                                                                         \
    RAPT_FLOAT threshold;                                                                                    \
    RAPT_FLOAT mass;                                                                                         \
    RAPT_FLOAT scale;                                                                                        \
    RAPT_UINT landmark; /* place in its block of the key that stands for it */                               \
    RAPT_UINT list_size;                                                                                     \
    RAPT_ROUTE_STRIDES(q)                                                                                    \
    RAPT_ROUTE_STRIDES(k)                                                                                    \
    RAPT_ROUTE_STRIDES(pooled) /* queries averaged by tile: (batch, query heads, tiles, head_dim) */         \
    RAPT_ROUTE_STRIDES(summary)                                                                              \
    RAPT_ROUTE_STRIDES(scores)                                                                               \
    RAPT_ROUTE_STRIDES(mask)                                                                                 \
    RAPT_ROUTE_STRIDES(list)                                                                                 \
    RAPT_ROUTE_STRIDES(within)                                                                               \
    RAPT_UINT within_blocks; /* of one of its entries */                                                     \
    RAPT_UINT skip;       /* so many of the largest are left out */                                          \
    RAPT_UINT list_heads; /* whose blocks entries of the list count through; 0: each its own */

#define RAPT_ROUTE_PUSH_FIELDS                                                                               \
    RAPT_UINT base[8]; /* by binding - 1 */                                                                  \
    RAPT_UINT bh0;     /* first (batch, head) of this dispatch: bh0 + gl_WorkGroupID.z */                    \
    RAPT_UINT first;   /* the tiles or blocks of this dispatch: [first, end) */                              \
    RAPT_UINT end;                                                                                           \
    RAPT_UINT side;                                                                                          \
    RAPT_UINT unused_push[4];

#ifdef VULKAN
#define RAPT_DECLARE_ROUTE_PARAMS                                                                            \
    layout(std140, set = 0, binding = RAPT_BIND_PARAMS) uniform RouteParams { RAPT_ROUTE_PARAMS_FIELDS } p;  \
    layout(push_constant, std430) uniform RoutePush { RAPT_ROUTE_PUSH_FIELDS } pc;
#else
typedef struct rapt_route_params {
    RAPT_ROUTE_PARAMS_FIELDS
} rapt_route_params;
typedef struct rapt_route_push {
    RAPT_ROUTE_PUSH_FIELDS
} rapt_route_push;
_Static_assert(sizeof(rapt_route_push) == 64, "as large as that of attention");
_Static_assert(sizeof(rapt_route_params) % 16 == 0, "std140 rounds blocks to 16 bytes");
#endif

#endif
