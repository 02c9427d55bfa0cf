// Fetches of sixteen elements at a time, where keys, values or both are quantised: common/quantised.glsl says what their rows
// look like. Part of broadcast/texels.glsl.
#include "common/quantised.glsl"

uvec4 texel_k(uint at) { return texelFetch(texels_k, int(at)); }
uvec4 texel_v(uint at) { return texelFetch(texels_v, int(at)); }

// The scale of the block that element d is in, of the four in a texel.
float scale_of(uvec4 scales, uint d)
{
    const uvec2 two = mix(scales.xy, scales.zw, bvec2((d & 64u) != 0u));
    return uintBitsToFloat(mix(two.x, two.y, (d & 32u) != 0u));
}

// E4M3 through halves, which these devices widen in one instruction: 2^8 times the number, two at a time.
vec4 unpack_fp8_halves(uint word, float scale)
{
    const uint even = (word & 0x007f007fu) << 7 | (word & 0x00800080u) << 8;
    const uint odd = (word >> 1 & 0x3f803f80u) | (word & 0x80008000u);
    const vec2 a = unpackHalf2x16(even), b = unpackHalf2x16(odd);
    return vec4(a.x, b.x, a.y, b.y) * (scale * 256.0);
}

#if DTYPE == DTYPE_F32
#define PLAIN_PART(fetch, at, i) uintBitsToFloat(fetch((at) / 4u + (i)))
#else
uvec2 half_of(uvec4 words, bool high) { return mix(words.xy, words.zw, bvec2(high)); }
#define PLAIN_PART(fetch, at, i) unpack4(half_of(fetch((at) / 8u + (i) / 2u), (i) % 2u != 0u))
#endif

// Elements d .. d + 15 of the row that starts at `row`, in elements, or in words where it is quantised.
#define DEFINE_FETCH(name, fetch, FORMAT, HEAD_DIM)                                                         \
    Texel name(uint row, uint d)                                                                            \
    {                                                                                                       \
        Texel t;                                                                                            \
        if (FORMAT == 0u) {                                                                                 \
            [[unroll]] for (uint i = 0u; i < 4u; i++)                                                       \
                t.part[i] = PLAIN_PART(fetch, row + d, i);                                                  \
            return t;                                                                                       \
        }                                                                                                   \
        const float scale = scale_of(fetch(row / 4u + d / 128u), d);                                        \
        const uint data = (row + scale_words(HEAD_DIM)) / 4u;                                               \
        if (FORMAT == FORMAT_INT4) {                                                                        \
            const uvec4 words = fetch(data + d / 32u);                                                      \
            const uvec2 sixteen = mix(words.xy, words.zw, bvec2((d & 16u) != 0u));                          \
            [[unroll]] for (uint i = 0u; i < 4u; i++)                                                       \
                t.part[i] = unpack_int4(sixteen[i / 2u] >> (i % 2u * 16u), scale);                          \
            return t;                                                                                       \
        }                                                                                                   \
        const uvec4 words = fetch(data + d / 16u);                                                          \
        [[unroll]] for (uint i = 0u; i < 4u; i++) {                                                         \
            if (FORMAT == FORMAT_INT8)                                                                      \
                t.part[i] = unpack_int8(words[i], scale);                                                   \
            else                                                                                            \
                t.part[i] = unpack_fp8_halves(words[i], scale);                                             \
        }                                                                                                   \
        return t;                                                                                           \
    }
DEFINE_FETCH(fetch_any_k, texel_k, K_FORMAT, HEAD_DIM_QK)
DEFINE_FETCH(fetch_v, texel_v, V_FORMAT, HEAD_DIM_V)

// Elements from head_dim on are another row's, or nobody's: K's become 0; see above.
Texel fetch_k(uint row, uint d)
{
    Texel t = fetch_any_k(row, d);
    [[unroll]] for (uint i = 0u; i < 4u && HEAD_DIM_QK % (ROW_LANES * TEXEL) != 0u; i++)
        t.part[i] = mix(vec4(0.0), t.part[i], bvec4(d + 4u * i < HEAD_DIM_QK));
    return t;
}
