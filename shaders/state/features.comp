#version 450
#extension GL_GOOGLE_include_directive : require
// Features of q and k ahead of linear attention, in single precision, a block of them at a time; and v (a, b) beside them,
// where its type is another or a column of ones is to stand behind it.
//
// A workgroup has up to 64 rows of one head, in shared memory: it scales and standardises them, takes what sums over them
// the map needs, then writes pc.chunks .. + d_k - 1 of their features (zeros past the last). pc.flags: of which tensor.
#include "common/linear_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint MAP_Q = 0;
layout(constant_id = 1) const uint MAP_K = 0;
layout(constant_id = 2) const uint VARLEN = 0;
#define PHI 0u
#define VARLEN_BINDING 8
#include "state/tensors.glsl"

const uint PHI_TAYLOR2 = 6u, PHI_POLY = 7u, PHI_FOCUSED = 8u, PHI_LOGNORMAL = 9u, PHI_COSINE = 10u, PHI_USER = 11u;

layout(std430, set = 0, binding = 1) readonly buffer Source { WORD1 source_words[]; };
layout(std430, set = 0, binding = 2) readonly buffer Scales { float scales[]; };
layout(std430, set = 0, binding = RAPT_BIND_BETA) readonly buffer Betas { float betas[]; };
layout(std430, set = 0, binding = 4) buffer Target4 { vec4 target4[]; };

shared float s_x[RAPT_MAP_FLOATS]; // behind each row stands a one, the other factor of features that have but one
shared float s_factor[64]; // what the row's map multiplies by

#ifdef USER_CODE
#define usr_tanh tanh
#include "hook/user_code.glsl"
#endif

struct Place {
    uint source, target;           // of the first token at hand
    uint source_step, target_step; // from one to the next
    uint heads;                    // of the tensor
};

// base: of the tensor in pc.base; strides as its source and its target have them.
#define PLACE(name, X)                                                                                       \
    Place(pc.base[0] + s.batch * p.source_##name##_stride_b + (s.h * p.heads_##X / p.heads) * p.source_##name##_stride_h + \
              (s.first + token) * p.source_##name##_stride_s,                                                \
          pc.base[3] + s.batch * p.name##_stride_b + (s.h * p.heads_##X / p.heads) * p.name##_stride_h +     \
              (s.first + token) * p.name##_stride_s,                                                         \
          p.source_##name##_stride_s, p.name##_stride_s, p.heads_##X)
Place place_of(Sequence s, uint token)
{
    if (pc.flags == RAPT_MAP_Q)
        return PLACE(q, q);
    if (pc.flags == RAPT_MAP_K)
        return PLACE(k, k);
    if (pc.flags == RAPT_MAP_V)
        return PLACE(v, v);
    if (pc.flags == RAPT_MAP_A)
        return PLACE(a, a);
    return PLACE(b, b);
}

// Invocations along rows of `width` items, a power of two of them side by side: divisions by what is not known beforehand
// are dear on software devices.
struct Spread {
    uint lane, lanes; // the first item, and from one to the next
    uint row, rows;
};
Spread spread(uint width)
{
    const uint id = gl_LocalInvocationID.x;
    uint shift = 0u;
    while (shift < 6u && (1u << shift) < width)
        shift++;
    return Spread(id & ((1u << shift) - 1u), 1u << shift, id >> shift, 64u >> shift);
}

float head_scale(uint h)
{
    if (pc.flags == RAPT_MAP_Q && p.heads_scale_q != 0u)
        return p.map_scale * scales[pc.base[1] + (h * p.heads_scale_q / p.heads) * p.scale_q_stride];
    if (pc.flags == RAPT_MAP_K && p.heads_scale_k != 0u)
        return scales[pc.base[1] + (h * p.heads_scale_k / p.heads) * p.scale_k_stride];
    return pc.flags == RAPT_MAP_Q ? p.map_scale : 1.0;
}

float value_scale(Sequence s, uint token)
{
    return pc.flags != RAPT_MAP_V || (p.map_flags & RAPT_MAP_BETA) == 0u
               ? 1.0
               : betas[pc.base[RAPT_BIND_BETA - 1u] + s.batch * p.beta_stride_b + (s.h * p.heads_beta / p.heads) * p.beta_stride_h +
                       (s.first + token) * p.beta_stride_s];
}

float relu(float x) { return x < 0.0 ? 0.0 : x; } // NaN stays

// x to the power of the map, x at least 0.
float raised(float x)
{
    uint whole = uint(p.map_power);
    if (float(whole) != p.map_power || whole > 16u)
        return x == 0.0 ? 0.0 : pow(x, p.map_power);
    float y = 1.0;
    for (uint i = 0u; i < whole; i++)
        y *= x;
    return y;
}

// One row in shared memory: scaled, standardised, and the factor of maps that need sums over the row. One invocation.
void reduce_row(uint row, uint map, bool standardize)
{
    const uint d = p.source_dim, at = row * (d + 1u);
    s_x[at + d] = 1.0;
    if (standardize) {
        float mean = 0.0, variance = 0.0;
        for (uint i = 0u; i < d; i++)
            mean += s_x[at + i];
        mean /= float(d);
        for (uint i = 0u; i < d; i++)
            variance += (s_x[at + i] - mean) * (s_x[at + i] - mean);
        const float deviation = sqrt(variance / float(d));
        for (uint i = 0u; i < d; i++)
            s_x[at + i] = deviation == 0.0 ? 0.0 : (s_x[at + i] - mean) / deviation;
    }
    float factor = 1.0;
    if (map == PHI_COSINE || map == PHI_FOCUSED) {
        // Of the row over its largest element, so that no power over- or underflows.
        float top = 0.0, squares = 0.0, powers = 0.0;
        for (uint i = 0u; i < d; i++)
            top = max(top, map == PHI_COSINE ? abs(s_x[at + i]) : s_x[at + i]);
        for (uint i = 0u; i < d && top > 0.0; i++) {
            const float x = (map == PHI_COSINE ? s_x[at + i] : relu(s_x[at + i])) / top;
            const float y = map == PHI_COSINE ? 0.0 : raised(x);
            s_x[at + i] = map == PHI_COSINE ? x : y;
            squares += x * x;
            powers += y * y;
        }
        factor = top == 0.0 ? 0.0 : map == PHI_COSINE ? 1.0 / sqrt(squares) : top * sqrt(squares / powers);
    } else if (map == PHI_SOFTMAX) {
        float top = -3.4e38, sum = 0.0;
        for (uint i = 0u; i < d; i++)
            top = max(top, s_x[at + i]);
        for (uint i = 0u; i < d; i++) {
            s_x[at + i] = exp(s_x[at + i] - top);
            sum += s_x[at + i];
        }
        factor = 1.0 / sum;
    }
    s_factor[row] = factor;
}

// Feature `f` of 1, x_i, then x_i x_j with i <= j, as two factors and a number: those with i < j stand for two, so their
// products are whole and those of i = j half: sum over all i, j of x_i x_j y_i y_j / 2 = (x.y)^2 / 2.
struct Pair {
    uint i, j;
    float weight;
};
Pair pair_of(uint f)
{
    const uint d = p.source_dim;
    if (f <= d)
        return Pair(f == 0u ? d : f - 1u, d, 1.0);
    const uint number = f - 1u - d;
    if ((p.map_flags & RAPT_MAP_LINEAR) != 0u || number >= d * (d + 1u) / 2u)
        return Pair(d, d, 0.0);
    // Row i of the triangle begins at i * (2 d + 1 - i) / 2.
    const float b = float(2u * d + 1u);
    uint i = uint(max(0.0, 0.5 * (b - sqrt(max(b * b - 8.0 * float(number), 0.0)))));
    while (i > 0u && i * (2u * d + 1u - i) / 2u > number)
        i--;
    while ((i + 1u) * (2u * d - i) / 2u <= number)
        i++;
    const uint j = i + number - i * (2u * d + 1u - i) / 2u;
    return Pair(i, j, i == j ? 0.70710678118654752 : 1.0);
}

// Maps of one element, x being feature f of a row.
float feature(float x, uint row, uint f, uint map, Sequence s, uint token)
{
    if (map == PHI_ELU1)
        return x > 0.0 ? x + 1.0 : exp(min(x, 0.0));
    if (map == PHI_RELU)
        return relu(x);
    if (map == PHI_RELU2)
        return relu(x) * relu(x);
    if (map == PHI_EXP || map == PHI_LOGNORMAL)
        return exp(x);
    if (map == PHI_SOFTMAX || map == PHI_COSINE || map == PHI_FOCUSED)
        return x * s_factor[row];
#ifdef USER_CODE
    if (map == PHI_USER)
        return user_feature(x, s.b, s.h, token, f);
#endif
    return x;
}

// Four features of the rows at hand, from feature 4 v of this block on.
void write_features(Spread w, uint v, uint map, Sequence s, uint begin, uint end, Place place)
{
    const uint d = p.source_dim;
    const bool products = map == PHI_TAYLOR2 || map == PHI_POLY;
    Pair pair[4];
    for (uint c = 0u; c < 4u; c++)
        pair[c] = products ? pair_of(pc.chunks + v * 4u + c) : Pair(min(pc.chunks + v * 4u + c, d), d, 1.0);
    for (uint row = w.row; begin + row < end; row += w.rows) {
        vec4 x;
        for (uint c = 0u; c < 4u; c++) {
            const uint f = pc.chunks + v * 4u + c;
            const float y = s_x[row * (d + 1u) + pair[c].i];
            x[c] = products            ? pair[c].weight * y * s_x[row * (d + 1u) + pair[c].j]
                   : f < d             ? feature(y, row, f, map, s, begin + row)
                                      : 0.0;
        }
        target4[(place.target + row * place.target_step) / 4u + v] = x;
    }
}

// The same of v, a and b, with a one behind the row of v.
void write_values(Spread w, uint v, uint width, bool is_value, uint begin, uint end, Place place)
{
    for (uint row = w.row; begin + row < end; row += w.rows) {
        vec4 x;
        for (uint c = 0u; c < 4u; c++) {
            const uint d = v * 4u + c;
            x[c] = d < width ? s_x[row * (width + 1u) + d] : is_value && d == width ? 1.0 : 0.0;
        }
        target4[(place.target + row * place.target_step) / 4u + v] = x;
    }
}

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint lane = gl_LocalInvocationID.x;
    const bool is_value = pc.flags == RAPT_MAP_V, maps = pc.flags <= RAPT_MAP_K;
    const uint map = pc.flags == RAPT_MAP_Q ? MAP_Q : pc.flags == RAPT_MAP_K ? MAP_K : 0u;
    const uint width = is_value ? p.source_dim_v : p.source_dim;
    const uint begin = pc.token0 + gl_WorkGroupID.x * RAPT_MAP_TOKENS(width);
    const uint end = min(min(pc.token1, s.tokens), begin + RAPT_MAP_TOKENS(width));
    const Place place = place_of(s, begin);
    // Heads that share a row of the tensor write it once.
    if (s.h > 0u && (s.h - 1u) * place.heads / p.heads == s.h * place.heads / p.heads)
        return;
    const float scale = head_scale(s.h);
    const Spread r = spread(width);
    for (uint row = r.row; begin + row < end; row += r.rows) {
        const float factor = scale * value_scale(s, begin + row);
        for (uint d = r.lane; d < width; d += r.lanes)
            s_x[row * (width + 1u) + d] = LOAD_ELEMENT(source_words, place.source + row * place.source_step + d) * factor;
    }
    barrier();
    if (maps && begin + lane < end)
        reduce_row(lane, map, (p.map_flags & RAPT_MAP_STANDARDIZE) != 0u);
    barrier();
    const uint vectors = ((is_value ? p.d_v : p.d_k) + 3u) / 4u;
    const Spread w = spread(vectors);
    for (uint v = w.lane; v < vectors; v += w.lanes) {
        if (maps)
            write_features(w, v, map, s, begin, end, place);
        else
            write_values(w, v, width, is_value, begin, end, place);
    }
}
