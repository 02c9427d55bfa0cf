/* Parameters of every kernel that scans a sequence, compiled by C and by GLSL; attention_params.h says what blocks, bases and
 * addresses are. All tensors are addressed alike, by five axes, of which those that a tensor has not have stride 0:
 *
 *     base + batch * stride_b + (h * heads_x / heads) * stride_h + token * stride_t + channel * stride_c + n * stride_n
 */
#ifndef RAPT_SCAN_PARAMS_H
#define RAPT_SCAN_PARAMS_H

#include "common/attention_params.h"
#ifndef VULKAN
#include <stddef.h>
#endif

/* Bindings; base number b - 1 of the push constants belongs to binding b. Texel buffers: see rapt_binding_base. */
#define RAPT_SCAN_BIND_X 1
#define RAPT_SCAN_BIND_COEF 2
#define RAPT_SCAN_BIND_B 3
#define RAPT_SCAN_BIND_OUT 4
#define RAPT_SCAN_BIND_C 5
#define RAPT_SCAN_BIND_DT 6
#define RAPT_SCAN_BIND_CU 7
#define RAPT_SCAN_BIND_STATE 8 /* running states, or what is known of chunks */
#define RAPT_SCAN_TEXEL_X 11
#define RAPT_SCAN_TEXEL_COEF 9
#define RAPT_SCAN_TEXEL_B 10
#define RAPT_SCAN_TEXEL_C 12
#define RAPT_SCAN_TEXEL_DT 14
#define RAPT_SCAN_TEXEL_Z 13    /* z_base */
#define RAPT_SCAN_TEXEL_SKIP 16 /* skip_base */
#define RAPT_SCAN_PUSH_SKIP_BASE 15 /* word of skip_base */

/* Number of a tensor in `place`: as RAPT_S_* of src/op/scan.h. */
#define RAPT_SCAN_X 0
#define RAPT_SCAN_COEF 1
#define RAPT_SCAN_B 2
#define RAPT_SCAN_OUT 3
#define RAPT_SCAN_C 4
#define RAPT_SCAN_DT 5
#define RAPT_SCAN_Z 6
#define RAPT_SCAN_SKIP 7
#define RAPT_SCAN_STATE_IN 8
#define RAPT_SCAN_STATE 9 /* the running state: state_out, in the workspace, or state_in where it is only read */
#define RAPT_SCAN_TENSORS 10

/* What a kernel that walks tokens is for: the numbers of linear_params.h. */
#define RAPT_SCAN_WHOLE 0u  /* from the running state to outputs and the running state */
#define RAPT_SCAN_CHUNKS 1u /* to what each chunk does to a state */
#define RAPT_SCAN_OUTPUTS 2u /* from the states at the beginning of each chunk to outputs */

/* ScanPush.flags */
#define RAPT_SCAN_READ_STATE 1u /* else it begins as what the operation leaves alone */
#define RAPT_SCAN_WRITE_STATE 2u
#define RAPT_SCAN_READ_IN 4u /* of what passes states on: it begins as state_in */
#define RAPT_SCAN_STATE_ONLY 8u /* of convolutions: no outputs */

/* The constant FLAGS: those of rapt_scan_flags, and these. */
#define RAPT_SCAN_HAS_VARLEN 1024u
#define RAPT_SCAN_HAS_Z 2048u
#define RAPT_SCAN_HAS_SKIP 4096u

#ifdef VULKAN
#define RAPT_SCAN_PLACES uvec4 place[20] /* two for each tensor: strides b, h, t, c; stride n, its heads */
#else
#define RAPT_SCAN_PLACES uint32_t place[RAPT_SCAN_TENSORS][8]
#endif

#define RAPT_SCAN_PARAMS_FIELDS                                                                              \
    RAPT_UINT heads;                                                                                         \
    RAPT_UINT channels; /* of a head */                                                                      \
    RAPT_UINT states;   /* numbers of state a channel */                                                     \
    RAPT_UINT planes;   /* numbers a channel of what is known of a chunk: those that are added, those that multiply */ \
    RAPT_UINT tokens;   /* of one sequence (varlen: at most) */                                              \
    RAPT_UINT total;    /* varlen: length of the packed axis, what cu_seqlens are clamped to */              \
    RAPT_UINT pitch;    /* channels, up to a multiple of 4: numbers of a chunk lie (chunk, plane, pitch) */  \
    RAPT_UINT taps;     /* of convolutions: along tokens, or KY on a grid */                                 \
    RAPT_UINT taps_x;   /* KX */                                                                             \
    RAPT_UINT ahead;                                                                                         \
    RAPT_UINT axis_b;   /* sizes of a grid's x: of its second axis (channels, or Y), */                      \
    RAPT_UINT axis_c;   /* and of its third (Y, or X); the fourth is `channels` */                           \
    RAPT_SCAN_PLACES;                                                                                        \
    RAPT_LANES(lane); /* 0, 1, .. 15 read from memory, for shuffles a compiler must not fold */

#define RAPT_SCAN_PUSH_FIELDS                                                                                \
    RAPT_UINT base[8]; /* by binding - 1 */                                                                  \
    RAPT_UINT bh0;     /* first (batch, head) of this dispatch: bh0 + gl_WorkGroupID.z */                    \
    RAPT_UINT token0;  /* the tokens of this dispatch: [token0, token1) of each sequence, in the order of the scan */ \
    RAPT_UINT token1;                                                                                        \
    RAPT_UINT chunk;   /* tokens of one chunk; chunk number gl_WorkGroupID.y begins at token0 + number * chunk */ \
    RAPT_UINT chunks;  /* chunks per (batch, head) in the workspace */                                       \
    RAPT_UINT flags;                                                                                         \
    RAPT_UINT z_base;                                                                                        \
    RAPT_UINT skip_base;

#ifdef VULKAN
#define RAPT_DECLARE_SCAN_PARAMS                                                                             \
    layout(std140, set = 0, binding = RAPT_BIND_PARAMS) uniform ScanParams { RAPT_SCAN_PARAMS_FIELDS } p;    \
    layout(push_constant, std430) uniform ScanPush { RAPT_SCAN_PUSH_FIELDS } pc;
#else
typedef struct rapt_scan_params {
    RAPT_SCAN_PARAMS_FIELDS
} rapt_scan_params;
typedef struct rapt_scan_push {
    RAPT_SCAN_PUSH_FIELDS
} rapt_scan_push;
_Static_assert(sizeof(rapt_scan_push) == 64, "as large as that of attention");
_Static_assert(sizeof(rapt_scan_params) % 16 == 0 && offsetof(rapt_scan_params, place) % 16 == 0 &&
                   offsetof(rapt_scan_params, lane) % 16 == 0,
               "std140: vectors on 16 bytes, blocks of whole vectors");
#endif

#endif
