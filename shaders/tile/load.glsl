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
DEFINE_LOAD(load_k, k_words1, k_words4, HEAD_DIM_QK)
DEFINE_LOAD(load_v, v_words1, v_words4, HEAD_DIM_V)
