// The fixed bindings as GLSL buffers, and element access by (wrapping) element index.
//
// Include after attention_params.h and io.glsl. A kernel that reads K and V through texel buffers defines
// NO_KV_BUFFERS; one without output (never so far) would define NO_OUT. ALIGNED may be defined as a constant (a
// specialization constant will do): true when every base, stride and head_dim is a multiple of 4 elements.
#ifndef ALIGNED
#define ALIGNED false
#endif

RAPT_DECLARE_ATTENTION_PARAMS

// WORD1: what the smallest addressable part of a tensor is stored in.
#if DTYPE == DTYPE_F32
#define WORD1 float
#define LOAD_ELEMENT(words, index) words[index]
#else
#define WORD1 uint
#define LOAD_ELEMENT(words, index) unpack1(words[(index) >> 1], index)
#endif

// Elements [index, index + count) of a tensor, zeros after them; count 1 to 4.
#define DEFINE_LOAD4(name, words1, words4)                                                                  \
    vec4 name(uint index, uint count)                                                                       \
    {                                                                                                       \
        if (ALIGNED)                                                                                        \
            return unpack4(words4[index >> 2]);                                                             \
        vec4 x = vec4(LOAD_ELEMENT(words1, index), 0.0, 0.0, 0.0);                                          \
        if (count > 1u) x.y = LOAD_ELEMENT(words1, index + 1u);                                             \
        if (count > 2u) x.z = LOAD_ELEMENT(words1, index + 2u);                                             \
        if (count > 3u) x.w = LOAD_ELEMENT(words1, index + 3u);                                             \
        return x;                                                                                           \
    }

layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer QueryElements { WORD1 q_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer QueryVectors { WORD4 q_words4[]; };
DEFINE_LOAD4(load_q4, q_words1, q_words4)

#ifndef NO_KV_BUFFERS
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyElements { WORD1 k_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyVectors { WORD4 k_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer ValueElements { WORD1 v_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer ValueVectors { WORD4 v_words4[]; };
DEFINE_LOAD4(load_k4, k_words1, k_words4)
DEFINE_LOAD4(load_v4, v_words1, v_words4)
#endif

layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer PartialAccumulators { float part_acc[]; };
layout(std430, set = 0, binding = RAPT_BIND_LSE) buffer LogSumExp { float lse_or_ml[]; };
#ifndef NO_VARLEN // defined for code of an app: the floor of storage buffers a stage is 8
layout(std430, set = 0, binding = RAPT_BIND_CU_Q) readonly buffer CuSeqlensQ { int cu_seqlens_q[]; };
layout(std430, set = 0, binding = RAPT_BIND_CU_K) readonly buffer CuSeqlensK { int cu_seqlens_k[]; };
#endif
#ifndef NO_EXTRAS // likewise
layout(std430, set = 0, binding = RAPT_BIND_EXTRA) readonly buffer ExtraNumbers { float extra_numbers[]; };
layout(std430, set = 0, binding = RAPT_BIND_EXTRA) readonly buffer ExtraWords { uint extra_words[]; };
#define EXTRA_NUMBER(i) extra_numbers[i]
#define EXTRA_WORD(i) extra_words[i]
#else
#define EXTRA_NUMBER(i) 0.0
#define EXTRA_WORD(i) 0u
#endif
#ifndef NO_BIAS // likewise
layout(std430, set = 0, binding = RAPT_BIND_CU_Q) readonly buffer DenseBias { float dense_bias[]; };
#define DENSE_BIAS(i) dense_bias[i]
#else
#define DENSE_BIAS(i) 0.0
#endif

#include "common/store.glsl"
