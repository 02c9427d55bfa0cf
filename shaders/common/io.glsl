// Reading and writing f32, f16 and bf16 tensors through 32-bit words: no 16-bit storage is needed.
//
// DTYPE (1 f32, 2 f16, 3 bf16) is defined by the build. The buffers of one binding are declared several times
// with different element types; Vulkan allows that, and it costs nothing.
#define DTYPE_F32 1
#define DTYPE_F16 2
#define DTYPE_BF16 3

#if DTYPE == DTYPE_F32
#define WORD4 vec4          // four elements
#else
#define WORD4 uvec2
#endif

// Four elements as floats, from what is stored.
vec4 unpack4(WORD4 w)
{
#if DTYPE == DTYPE_F32
    return w;
#elif DTYPE == DTYPE_F16
    return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
#else
    return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
#endif
}

// One of the two 16-bit elements of a word.
float unpack1(uint word, uint index)
{
#if DTYPE == DTYPE_F16
    return unpackHalf2x16(word >> ((index & 1u) * 16u)).x;
#else
    return uintBitsToFloat((word >> ((index & 1u) * 16u)) << 16);
#endif
}

// Round to nearest even; NaN stays NaN.
uint pack_bf16(float x)
{
    uint u = floatBitsToUint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (u >> 16) | 0x40u;
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

uint pack1(float x)
{
#if DTYPE == DTYPE_F16
    return packHalf2x16(vec2(x, 0.0));
#else
    return pack_bf16(x);
#endif
}

WORD4 pack4(vec4 x)
{
#if DTYPE == DTYPE_F32
    return x;
#elif DTYPE == DTYPE_F16
    return uvec2(packHalf2x16(x.xy), packHalf2x16(x.zw));
#else
    return uvec2(pack_bf16(x.x) | (pack_bf16(x.y) << 16), pack_bf16(x.z) | (pack_bf16(x.w) << 16));
#endif
}

bool not_finite(vec4 x)
{
    return any(isinf(x)) || any(isnan(x));
}
