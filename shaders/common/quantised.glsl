// Rows of quantised dtypes (rapt/tensor.h): float32 scales of blocks of 32 elements, then elements from the lowest bits of words on.
// K_FORMAT and the like are rapt_dtypes, 0 for what is stored plainly.
const uint FORMAT_INT8 = 5u, FORMAT_INT4 = 6u, FORMAT_FP8 = 7u;

// Words of a row in front of its elements.
uint scale_words(uint head_dim) { return (head_dim + 127u) / 128u * 4u; }

// Four elements times a scale, from the four bytes of a word, or from its lower 16 bits. Numbers stay at the top of their words,
// as multiples of 2^24 or 2^28: one shift less.
vec4 unpack_int8(uint word, float scale)
{
    return vec4(ivec4(uvec4(word << 24, word << 16, word << 8, word) & 0xff000000u)) * (scale * 5.9604644775390625e-8);
}
vec4 unpack_int4(uint word, float scale)
{
    return vec4(ivec4(uvec4(word << 28, word << 24, word << 20, word << 16) & 0xf0000000u)) * (scale * 3.7252902984619141e-9);
}

// E4M3. With x the number as a float of three bits of mantissa and a biased exponent, a normal one is x, a subnormal one
// 2 x - 2^-6, and the smaller of the two is right for both: no subnormal float is met.
vec4 unpack_fp8(uint word, float scale)
{
    uvec4 bits = uvec4(word << 24, word << 16, word << 8, word);
    vec4 x = uintBitsToFloat((bits >> 4 & 0x07f00000u) + 0x3c000000u);
    x = min(x, 2.0 * x - 0.015625);
    return uintBitsToFloat(floatBitsToUint(x) | (bits & 0x80000000u)) * scale;
}

// Elements 4 i .. 4 i + 3 from the words that hold them: the word, or for int4 half of it.
uint packed_word(uint format, uint i) { return format == FORMAT_INT4 ? i >> 1 : i; }
vec4 unpack_quantised(uint format, uint word, uint i, float scale)
{
    if (format == FORMAT_INT4)
        return unpack_int4(word >> ((i & 1u) * 16u), scale);
    return format == FORMAT_INT8 ? unpack_int8(word, scale) : unpack_fp8(word, scale);
}
