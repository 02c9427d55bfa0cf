#version 450
#extension GL_GOOGLE_include_directive : require
// Rows placed in a cache, rewritten on the way: RMS norm, weights, rotary positions, and quantisation (rapt/rows.h). rows.comp places
// those that stay as they are.
//
// An invocation makes a block of 32 elements of one row, whole words of it, so that no two write one word. x: rows times blocks of
// this dispatch, z: (batch, head) of x.
#include "common/rows_params.h"
#include "common/io.glsl"
#include "common/rope.glsl"
#include "common/quantised.glsl"
#if DTYPE == DTYPE_F32
#define WORD1 float
#define LOAD_ELEMENT(words, index) words[index]
#else
#define WORD1 uint
#define LOAD_ELEMENT(words, index) unpack1(words[(index) >> 1], index)
#endif

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint ALIGNED_ = 0; // of out, where it is not quantised
layout(constant_id = 1) const uint FORMAT = 0; // rapt_dtype of quantised caches; 0: that of x
layout(constant_id = 2) const uint WEIGHTED = 0;
layout(constant_id = 3) const uint NORM = 0;
layout(constant_id = 4) const uint ROPE = 0; // 1: pairs (i, i + rope_dim / 2), 2: (2i, 2i + 1)
#define ALIGNED (ALIGNED_ != 0u)
RAPT_DECLARE_ROWS_PARAMS

const uint BLOCK = 32u;

layout(std430, set = 0, binding = RAPT_BIND_ROWS) readonly buffer RowElements { WORD1 x_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_ROW_LIST) readonly buffer List { int list[]; };
layout(std430, set = 0, binding = RAPT_BIND_WEIGHT) readonly buffer Weights { float weights[]; };
layout(std430, set = 0, binding = RAPT_BIND_POSITIONS) readonly buffer Positions { int positions[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutPacked { uint out_packed[]; };
#include "common/store.glsl"

uint row_at;    // where the row of x begins
float factor;   // of its norm
int place;      // its position
uint last_pair; // whose turns these are
uvec2 turns;

float normed(uint d)
{
    const float x = LOAD_ELEMENT(x_words1, row_at + d) * factor;
    return WEIGHTED != 0u ? x * weights[pc.base[RAPT_BIND_WEIGHT - 1u] + d] : x;
}

// Element d. Those of a block come one after the other, so that the turns of most pairs follow from those of the one before.
float element(uint d)
{
    const float x = normed(d);
    if (ROPE == 0u || d >= p.rope_dim)
        return x;
    const uint half_dim = p.rope_dim >> 1;
    const bool second = ROPE == 2u ? (d & 1u) != 0u : d >= half_dim;
    const uint other = ROPE == 2u ? d ^ 1u : second ? d - half_dim : d + half_dim;
    const uint pair = ROPE == 2u ? d >> 1 : second ? other : d;
    const uvec2 ratio = uvec2(p.rope_ratio_low, p.rope_ratio_high);
    if (pair == last_pair + 1u)
        turns = multiply(turns, ratio);
    else if (pair != last_pair)
        turns = turns_of_pair(pair, ratio);
    last_pair = pair;
    const vec2 cs = turn(place, turns);
    const float y = normed(other);
    return second ? x * cs.x + y * cs.y : x * cs.x - y * cs.y;
}

// E4M3 of |x| <= 448, to nearest, of two the even one.
uint pack_fp8(float x)
{
    const uint bits = floatBitsToUint(x) & 0x7fffffffu;
    const uint normal = (bits + 0x7ffffu + ((bits >> 20) & 1u)) >> 20;
    const uint code = bits < 0x3c800000u ? uint(roundEven(abs(x) * 512.0)) : normal - 960u; // 2^-6; 120 * 8
    return min(code, 0x7eu) | (floatBitsToUint(x) >> 24 & 0x80u);
}

uint pack_code(float x)
{
    if (FORMAT == FORMAT_FP8)
        return pack_fp8(clamp(x, -448.0, 448.0));
    const float most = FORMAT == FORMAT_INT8 ? 127.0 : 7.0;
    return uint(int(clamp(roundEven(x), -most, most))) & (FORMAT == FORMAT_INT8 ? 0xffu : 0xfu);
}

void store_quantised(uint out_at, uint block, float x[BLOCK])
{
    float largest = 0.0;
    bool finite = true;
    for (uint e = 0u; e < BLOCK; e++) {
        largest = max(largest, abs(x[e]));
        finite = finite && (floatBitsToUint(x[e]) & 0x7f800000u) != 0x7f800000u;
    }
    const float most = FORMAT == FORMAT_INT8 ? 127.0 : FORMAT == FORMAT_INT4 ? 7.0 : 448.0;
    const bool zero = largest < 7.888609052210118e-31; // 2^-100
    const float scale = largest / most, inverse = zero || !finite ? 0.0 : most / largest;
    out_packed[out_at + block] = finite ? (zero ? 0u : floatBitsToUint(scale)) : 0x7fc00000u;
    const uint scales = scale_words(p.head_dim), blocks = (p.head_dim + BLOCK - 1u) / BLOCK;
    for (uint i = blocks; block + 1u == blocks && i < scales; i++)
        out_packed[out_at + i] = 0u;
    const uint bits = FORMAT == FORMAT_INT4 ? 4u : 8u, per_word = 32u / bits;
    const uint first = block * bits, end = min(first + bits, (p.head_dim * bits + 127u) / 128u * 4u); // a block is `bits` words
    for (uint i = first; i < end; i++) {
        uint word = 0u;
        for (uint n = 0u; n < per_word; n++) {
            const float number = finite ? x[(i - first) * per_word + n] * inverse : 0.0;
            word |= pack_code(number) << n * bits;
        }
        out_packed[out_at + scales + i] = word;
    }
}

void main()
{
    const uint blocks = (p.head_dim + BLOCK - 1u) / BLOCK, item = gl_GlobalInvocationID.x;
    const uint row = pc.first + item / blocks, block = item % blocks;
    if (row >= pc.end)
        return;
    const uint bh = pc.bh0 + gl_WorkGroupID.z, batch = bh / p.heads, head = bh - batch * p.heads;
    const int slot = list[pc.base[RAPT_BIND_ROW_LIST - 1u] + batch * p.list_stride_b +
                          head * p.heads_list / p.heads * p.list_stride_h + row * p.list_stride_s];
    if (slot < 0 || slot >= int(p.n))
        return;
    row_at = pc.base[RAPT_BIND_ROWS - 1u] + batch * p.x_stride_b + head * p.x_stride_h + row * p.x_stride_s;
    const uint out_at = pc.base[RAPT_BIND_OUT - 1u] + uint(slot) / p.run * p.out_stride_b + head * p.out_stride_h +
                        uint(slot) % p.run * p.out_stride_s;
    factor = 1.0;
    if (NORM != 0u) {
        float sum = 0.0;
        for (uint d = 0u; d < p.head_dim; d++) {
            const float x = LOAD_ELEMENT(x_words1, row_at + d);
            sum = fma(x, x, sum);
        }
        factor = 1.0 / sqrt(sum / float(p.head_dim) + p.norm_epsilon);
    }
    if (ROPE != 0u)
        place = positions[pc.base[RAPT_BIND_POSITIONS - 1u] + batch * p.position_stride_b + row * p.position_stride_s];
    last_pair = 0xfffffffeu;
    float x[BLOCK];
    for (uint e = 0u; e < BLOCK; e++)
        x[e] = block * BLOCK + e < p.head_dim ? element(block * BLOCK + e) : 0.0;
    if (FORMAT != 0u) {
        store_quantised(out_at, block, x);
        return;
    }
    for (uint e = 0u; e < BLOCK && block * BLOCK + e < p.head_dim; e += 4u)
        store_out4(out_at + block * BLOCK + e, vec4(x[e], x[e + 1u], x[e + 2u], x[e + 3u]),
                   min(p.head_dim - block * BLOCK - e, 4u));
}
