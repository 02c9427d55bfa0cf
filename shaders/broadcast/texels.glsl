// K and V as texel buffers: TEXEL elements of one key a lane.
//
// TEXEL_KIND is defined by the sidecar, in step with the operand's kind:
//   1 one element a texel (r32f, r16f): any base and stride
//   4 four elements a texel (rgba32f, rgba16f)
//   8 eight 16-bit elements a texel, raw (rgba32ui)
//   2 one 16-bit element a texel, raw (r16ui)
//   5 four 16-bit elements a texel, raw (rg32ui)
//   16 sixteen elements of rows of which some are quantised, from as many texels of four words as hold them (words)
#if TEXEL_KIND == 1 || TEXEL_KIND == 4
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform samplerBuffer texels_k;
layout(set = 0, binding = RAPT_BIND_TEXEL_V) uniform samplerBuffer texels_v;
#else
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform usamplerBuffer texels_k;
layout(set = 0, binding = RAPT_BIND_TEXEL_V) uniform usamplerBuffer texels_v;
#endif

#ifdef Q_TEXELS
#if TEXEL_KIND == 1 || TEXEL_KIND == 4
layout(set = 0, binding = RAPT_BIND_TEXEL_Q) uniform samplerBuffer texels_q;
#else
layout(set = 0, binding = RAPT_BIND_TEXEL_Q) uniform usamplerBuffer texels_q;
#endif
#endif

// NaN or Inf. Asked of the bits: compilers turn a comparison of what was a half back into one of halves, which these
// devices do one by one.
bool exponent_full(vec4 x)
{
    return any(equal(floatBitsToUint(x) & 0x7f800000u, uvec4(0x7f800000u)));
}

#if TEXEL_KIND == 8
const uint TEXEL = 8u;
struct Texel { vec4 low, high; };
#define TEXEL_ELEMENT(t, x) ((x) < 4u ? (t).low[(x) & 3u] : (t).high[(x) & 3u])
Texel texel_of(uvec4 u) { return Texel(unpack4(u.xy), unpack4(u.zw)); }
bool texel_not_finite(Texel t) { return exponent_full(t.low) || exponent_full(t.high); }
#elif TEXEL_KIND == 16
const uint TEXEL = 16u;
struct Texel { vec4 part[4]; };
#define TEXEL_ELEMENT(t, x) (t).part[(x) >> 2][(x) & 3u]
bool texel_not_finite(Texel t)
{
    return exponent_full(t.part[0]) || exponent_full(t.part[1]) || exponent_full(t.part[2]) || exponent_full(t.part[3]);
}
#elif TEXEL_KIND == 4 || TEXEL_KIND == 5
const uint TEXEL = 4u;
#define Texel vec4
#define TEXEL_ELEMENT(t, x) (t)[x]
#if TEXEL_KIND == 4
Texel texel_of(vec4 t) { return t; }
#else
Texel texel_of(uvec4 t) { return unpack4(t.xy); }
#endif
bool texel_not_finite(Texel t) { return exponent_full(t); }
#else
const uint TEXEL = 1u;
#define Texel float
#define TEXEL_ELEMENT(t, x) (t)
#if TEXEL_KIND == 1
Texel texel_of(vec4 t) { return t.x; }
#else
Texel texel_of(uvec4 t) { return unpack1(t.x, 0u); }
#endif
bool texel_not_finite(Texel t) { return exponent_full(vec4(t, 0.0, 0.0, 0.0)); }
#endif

// Elements d .. d + TEXEL - 1 of the row that starts at element `row`. Those from head_dim on are another row's, or
// nobody's: K's become 0, as they would be multiplied by q's zeros; V's only reach accumulators that are never stored.
#if TEXEL_KIND == 16
#include "broadcast/quantised.glsl"
#else
Texel fetch_k(uint row, uint d)
{
    Texel t = texel_of(texelFetch(texels_k, int((row + d) / TEXEL)));
    if (HEAD_DIM_QK % (ROW_LANES * TEXEL) == 0u && HEAD_DIM_QK % 4u == 0u)
        return t;
#if TEXEL_KIND == 8
    t.low = d < HEAD_DIM_QK ? t.low : vec4(0.0);
    t.high = d + 4u < HEAD_DIM_QK ? t.high : vec4(0.0);
    return t;
#else
    return d < HEAD_DIM_QK ? t : Texel(0.0);
#endif
}
Texel fetch_v(uint row, uint d)
{
    return texel_of(texelFetch(texels_v, int((row + d) / TEXEL)));
}
#endif
