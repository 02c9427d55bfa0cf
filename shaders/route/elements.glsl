// Reading the source tensor (q, k, or queries averaged by tile) four elements at a time.
//
// ALIGNED: every base, stride and head_dim is a multiple of 4 elements; else elements are read one by one, and those past the
// row's end are 0.
layout(std430, set = 0, binding = RAPT_BIND_SOURCE) readonly buffer Source4 { WORD4 source4[]; };
layout(std430, set = 0, binding = RAPT_BIND_SOURCE) readonly buffer Source1 { WORD1 source1[]; };

#if DTYPE == DTYPE_F32
#define STORED_ELEMENT(words, at) words[at]
#else
#define STORED_ELEMENT(words, at) unpack1(words[(at) >> 1], at)
#endif

vec4 source_vector(uint at, uint d)
{
    if (ALIGNED != 0u)
        return unpack4(source4[(at + d) >> 2]);
    vec4 x = vec4(0.0);
    for (uint e = 0u; e < 4u; e++)
        if (d + e < p.head_dim)
            x[e] = STORED_ELEMENT(source1, at + d + e);
    return x;
}
