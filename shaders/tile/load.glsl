// Reads of q, k and v, four elements at a time, as floats.
//
// Where a row starts is kept in units of what one load takes: vec4s when everything is aligned, else elements.
uint units(uint element_index) { return ALIGNED ? element_index >> 2 : element_index; }

#define DEFINE_LOAD(name, words1, words4, head_dim)                                                         \
    vec4 name(uint row, uint vec)                                                                           \
    {                                                                                                       \
        if (ALIGNED)                                                                                        \
            return unpack4(words4[row + vec]);                                                              \
        uint index = row + vec * 4u;                                                                        \
        uint count = head_dim % 4u == 0u ? 4u : head_dim - vec * 4u;                                        \
        vec4 x = vec4(LOAD_ELEMENT(words1, index), 0.0, 0.0, 0.0);                                          \
        if (count > 1u) x.y = LOAD_ELEMENT(words1, index + 1u);                                             \
        if (count > 2u) x.z = LOAD_ELEMENT(words1, index + 2u);                                             \
        if (count > 3u) x.w = LOAD_ELEMENT(words1, index + 3u);                                             \
        return x;                                                                                           \
    }
DEFINE_LOAD(load_q, q_words1, q_words4, HEAD_DIM_QK)
#ifdef LOAD_Q_ALONE
// The kernel reads k and v in ways of its own.
#elif !defined(QUANTISED)
DEFINE_LOAD(load_k, k_words1, k_words4, HEAD_DIM_QK)
DEFINE_LOAD(load_v, v_words1, v_words4, HEAD_DIM_V)
uint units_k(uint element_index) { return units(element_index); }
uint units_v(uint element_index) { return units(element_index); }
#else
#include "common/quantised.glsl"
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyPacked { uint k_packed[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer ValuePacked { uint v_packed[]; };
DEFINE_LOAD(load_plain_k, k_words1, k_words4, HEAD_DIM_QK)
DEFINE_LOAD(load_plain_v, v_words1, v_words4, HEAD_DIM_V)

// Quantised rows start at a word.
#define DEFINE_LOAD_QUANTISED(name, plain, packed, format, head_dim)                                        \
    vec4 name(uint row, uint vec)                                                                           \
    {                                                                                                       \
        if (format == 0u)                                                                                   \
            return plain(row, vec);                                                                         \
        float scale = uintBitsToFloat(packed[row + (vec >> 3)]);                                            \
        return unpack_quantised(format, packed[row + scale_words(head_dim) + packed_word(format, vec)], vec, scale); \
    }
DEFINE_LOAD_QUANTISED(load_k, load_plain_k, k_packed, K_FORMAT, HEAD_DIM_QK)
DEFINE_LOAD_QUANTISED(load_v, load_plain_v, v_packed, V_FORMAT, HEAD_DIM_V)
uint units_k(uint index) { return K_FORMAT == 0u ? units(index) : index; }
uint units_v(uint index) { return V_FORMAT == 0u ? units(index) : index; }
#endif
