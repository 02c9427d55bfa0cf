// What a lane of stream.comp holds of a key or of a value where keys, values or both are quantised (QUANTISED): words as they lie in
// memory, until they are multiplied, so that the reads of many keys are under way at once, in few registers.
//
// A lane's vec4 columns are neighbours,  lane * COLUMNS + j,  so they are in one block, of one scale: at most 8 columns. Two columns
// of int8 or fp8 are two words, read as one; of int4 they are one word. A row's scale is not multiplied into its elements but into what
// is made of them: a score, or a weight. K_FORMAT and V_FORMAT are rapt_dtypes, 0 for what is stored plainly.
//
// Rows must start at multiples of 4 words, and head_dim be a multiple of 4 (a row without "unaligned").
layout(constant_id = 13) const uint K_FORMAT = 0;
layout(constant_id = 14) const uint V_FORMAT = 0;

#include "common/quantised.glsl"
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyPacked { uint k_packed[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer ValuePacked { uint v_packed[]; };
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyPackedPairs { uvec2 k_pairs[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer ValuePackedPairs { uvec2 v_pairs[]; };

// Four elements over their scale, from the four bytes of a word, or for int4 from its lower 16 bits. The integers, made positive by
// turning their signs over, become the low bits of a float's mantissa: 2^23 + 16^i n, from which one multiply-add makes n. No integer
// is converted: some GPUs do that at a quarter of their rate.
vec4 integers(uvec4 n, vec4 unit, float excess)
{
    return fma(uintBitsToFloat(n | 0x4b000000u), unit, -(8388608.0 * unit + excess));
}
vec4 unscaled(uint format, uint word)
{
    if (format == FORMAT_INT4) {
        uint n = word ^ 0x8888u;
        return integers(uvec4(n & 0xfu, n & 0xf0u, n & 0xf00u, n & 0xf000u),
                        vec4(1.0, 0.0625, 0.00390625, 0.000244140625), 8.0);
    }
    if (format == FORMAT_INT8) {
        uint n = word ^ 0x80808080u, high = n >> 16;
        return integers(uvec4(n & 0xffu, n & 0xff00u, high & 0xffu, high & 0xff00u), vec4(1.0, 0.00390625, 1.0, 0.00390625), 128.0);
    }
    return unpack_fp8(word, 1.0);
}

#define PAIRS(columns) ((columns + 1) / 2)

// Of the row that starts at `row` (in vec4s, or in words where it is quantised), what `lane` holds. Lanes past the end hold the last
// columns once more where they are quantised, zeros where they are plain.
#define DEFINE_HELD(Held, hold, held, words4, packed, pairs, FORMAT, HEAD_DIM, COLUMNS)                     \
    struct Held {                                                                                           \
        WORD4 plain[COLUMNS];                                                                               \
        uvec2 pair[PAIRS(COLUMNS)];                                                                         \
        float scale;                                                                                        \
    };                                                                                                      \
    Held hold(uint row, uint lane)                                                                          \
    {                                                                                                       \
        Held h;                                                                                             \
        const uint vecs = HEAD_DIM / 4u;                                                                    \
        uint first = lane * COLUMNS;                                                                        \
        if (FORMAT == 0u) {                                                                                 \
            [[unroll]] for (uint j = 0; j < COLUMNS; j++)                                                   \
                h.plain[j] = vecs == COLUMNS * LANES || first + j < vecs ? words4[row + first + j] : WORD4(0); \
            h.scale = 1.0;                                                                                  \
            return h;                                                                                       \
        }                                                                                                   \
        first = vecs == COLUMNS * LANES ? first : min(first, (vecs - 1u) / COLUMNS * COLUMNS);              \
        uint data = row + scale_words(HEAD_DIM);                                                            \
        if (COLUMNS == 1)                                                                                   \
            h.pair[0].x = FORMAT == FORMAT_INT4 ? packed[data + first / 2u] >> (first % 2u * 16u)           \
                                                : packed[data + first];                                     \
        else                                                                                                \
            [[unroll]] for (uint i = 0; i < PAIRS(COLUMNS); i++)                                            \
                h.pair[i] = FORMAT == FORMAT_INT4 ? uvec2(packed[data + first / 2u + i]) >> uvec2(0, 16)    \
                                                  : pairs[(data + first) / 2u + i];                         \
        h.scale = uintBitsToFloat(packed[row + first / 8u]);                                                \
        return h;                                                                                           \
    }                                                                                                       \
    vec4 held(Held h, uint j)                                                                               \
    {                                                                                                       \
        return FORMAT == 0u ? unpack4(h.plain[j]) : unscaled(FORMAT, h.pair[j / 2u][j % 2u]);               \
    }
DEFINE_HELD(HeldKey, hold_k, held_k, k_words4, k_packed, k_pairs, K_FORMAT, HEAD_DIM_QK, QK_COLUMNS)
DEFINE_HELD(HeldValue, hold_v, held_v, v_words4, v_packed, v_pairs, V_FORMAT, HEAD_DIM_V, V_COLUMNS)
uint units_k(uint index) { return K_FORMAT == 0u ? index >> 2 : index; }
uint units_v(uint index) { return V_FORMAT == 0u ? index >> 2 : index; }
