#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Tensors put together row by row (include/rapt/combine.h): up to three terms with weights, a norm over the row, a function, a gate.
//
// A workgroup serves ROWS rows, LANES invocations each; a lane owns every LANES-th four elements of its row. With a norm a row is
// summed up twice rather than kept: its terms are still in the cache.
#include "common/combine_params.h"
#include "common/io.glsl"

#define LANES 16u
#define ROWS 4u
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint ALIGNED_ = 0;
#define ALIGNED (ALIGNED_ != 0u)

RAPT_DECLARE_COMBINE_PARAMS

#if DTYPE == DTYPE_F32
#define WORD1 float
#define LOAD_ELEMENT(words, index) words[index]
#else
#define WORD1 uint
#define LOAD_ELEMENT(words, index) unpack1(words[(index) >> 1], index)
#endif

// Terms have the output's type, or are float32.
#ifdef FROM_F32
#define TERM1 float
#define TERM4 vec4
#define LOAD_TERM1(words, index) words[index]
#define UNPACK_TERM4(word) (word)
#else
#define TERM1 WORD1
#define TERM4 WORD4
#define LOAD_TERM1(words, index) LOAD_ELEMENT(words, index)
#define UNPACK_TERM4(word) unpack4(word)
#endif

// A term, or the gate: elements [index, index + count), zeros after them.
#define DECLARE_TERM(name, number)                                                                                      \
    layout(std430, set = 0, binding = RAPT_BIND_TERM + number) readonly buffer Elements##number { TERM1 words1_##number[]; }; \
    layout(std430, set = 0, binding = RAPT_BIND_TERM + number) readonly buffer Vectors##number { TERM4 words4_##number[]; }; \
    vec4 name(uint index, uint count)                                                                                   \
    {                                                                                                                   \
        if (ALIGNED)                                                                                                    \
            return UNPACK_TERM4(words4_##number[index >> 2]);                                                           \
        vec4 x = vec4(LOAD_TERM1(words1_##number, index), 0.0, 0.0, 0.0);                                               \
        if (count > 1u) x.y = LOAD_TERM1(words1_##number, index + 1u);                                                  \
        if (count > 2u) x.z = LOAD_TERM1(words1_##number, index + 2u);                                                  \
        if (count > 3u) x.w = LOAD_TERM1(words1_##number, index + 3u);                                                  \
        return x;                                                                                                       \
    }
DECLARE_TERM(load_term0, 0)
DECLARE_TERM(load_term1, 1)
DECLARE_TERM(load_term2, 2)
layout(std430, set = 0, binding = RAPT_BIND_TERM_WEIGHT) readonly buffer Weights0 { float weights0[]; };
layout(std430, set = 0, binding = RAPT_BIND_TERM_WEIGHT + 1) readonly buffer Weights1 { float weights1[]; };
layout(std430, set = 0, binding = RAPT_BIND_TERM_WEIGHT + 2) readonly buffer Weights2 { float weights2[]; };
layout(std430, set = 0, binding = RAPT_BIND_NORM_WEIGHT) buffer NormWeights { float norm_or_lse[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
#include "common/store.glsl"

shared float squares[LANES * ROWS];

#define NEG_INF uintBitsToFloat(0xff800000u)

bool has(uint flag) { return (p.flags & flag) != 0u; }

uint place(uvec3 at, uvec4 stride) { return at.x * stride.x + at.y * stride.y + at.z * stride.z; }

// The weight of the row's head where it is among the `top` largest of all heads, as RAPT_COMBINE_TOP has it.
float top_weight(uvec3 at)
{
    uint base = pc.base[RAPT_BIND_TERM_WEIGHT - 1] + at.x * p.stride_w0.x + at.z * p.stride_w0.z;
    float own = weights0[base + at.y * p.stride_w0.y], highest = NEG_INF, sum = 0.0;
    uint before = 0u;
    for (uint h = 0u; h < p.heads; h++) {
        float w = weights0[base + h * p.stride_w0.y];
        highest = max(highest, w);
        before += w > own ? 1u : 0u;
        if (h < at.y)
            before += w == own ? 1u : 0u;
    }
    for (uint h = 0u; h < p.heads; h++) {
        float w = weights0[base + h * p.stride_w0.y];
        bool counts = true;
        if (has(RAPT_COMBINE_TOP_NORMALISED)) {
            uint rank = 0u;
            for (uint g = 0u; g < p.heads; g++) {
                float other = weights0[base + g * p.stride_w0.y];
                rank += other > w ? 1u : 0u;
                if (g < h)
                    rank += other == w ? 1u : 0u;
            }
            counts = rank < p.top;
        }
        if (counts && w != NEG_INF) // exp(-inf) need not be 0
            sum += exp(w - highest);
    }
    if (before >= p.top || own == NEG_INF)
        return 0.0;
    return exp(own - highest) / sum;
}

// What each term of a row is multiplied by; 0 of those that are not there.
vec3 row_weights(uvec3 at)
{
    vec3 w = vec3(has(RAPT_COMBINE_IS_SOFTMAX) ? 0.0 : 1.0);
    if (has(RAPT_COMBINE_IS_TOP))
        w.x = top_weight(at);
    else if (has(RAPT_COMBINE_HAS_WEIGHT))
        w.x = weights0[pc.base[RAPT_BIND_TERM_WEIGHT - 1] + place(at, p.stride_w0)];
    if (has(RAPT_COMBINE_HAS_WEIGHT << 1))
        w.y = weights1[pc.base[RAPT_BIND_TERM_WEIGHT] + place(at, p.stride_w1)];
    if (has(RAPT_COMBINE_HAS_WEIGHT << 2))
        w.z = weights2[pc.base[RAPT_BIND_TERM_WEIGHT + 1] + place(at, p.stride_w2)];
    if (has(RAPT_COMBINE_IS_SIGMOID))
        w = mix(w, 1.0 / (1.0 + exp(-w)), bvec3(has(RAPT_COMBINE_HAS_WEIGHT), has(RAPT_COMBINE_HAS_WEIGHT << 1),
                                                  has(RAPT_COMBINE_HAS_WEIGHT << 2)));
    if (has(RAPT_COMBINE_IS_SOFTMAX)) {
        if (p.terms < 2u) w.y = NEG_INF;
        if (p.terms < 3u) w.z = NEG_INF;
        float top = max(w.x, max(w.y, w.z));
        vec3 e = mix(exp(w - top), vec3(0.0), equal(w, vec3(NEG_INF))); // exp(-inf) need not be 0 everywhere
        float sum = e.x + e.y + e.z;
        w = top == NEG_INF ? vec3(0.0) : e / sum;
        if (has(RAPT_COMBINE_HAS_LSE) && gl_LocalInvocationID.x % LANES == 0u)
            norm_or_lse[pc.base[RAPT_BIND_NORM_WEIGHT - 1] + place(at, p.stride_norm)] = top == NEG_INF ? NEG_INF : top + log(sum);
    }
    return w * p.factor.xyz;
}

// Four elements of the sum, from d on. A weight of 0 lets nothing through.
vec4 row_sum(uvec3 from, vec3 w, uint d)
{
    uint count = min(p.d - d, 4u);
    vec4 y = vec4(0.0);
    if (w.x != 0.0)
        y = w.x * load_term0(from.x + d, count);
    if (p.terms > 1u && w.y != 0.0)
        y += w.y * load_term1(from.y + d, count);
    if (p.terms > 2u && w.z != 0.0)
        y += w.z * load_term2(from.z + d, count);
    return y;
}

// rapt_combine_act.
vec4 act(vec4 y)
{
    switch (p.flags >> RAPT_COMBINE_ACT_SHIFT) {
    case 1u: return 1.0 / (1.0 + exp(-y));
    case 2u: return y / (1.0 + exp(-y));
    case 3u: return tanh(clamp(y, -10.0, 10.0)); // beyond them it is 1, and may overflow
    case 4u: return max(y, vec4(0.0));
    case 5u: return mix(exp(y), vec4(0.0), equal(y, vec4(NEG_INF))); // exp(-inf) need not be 0, log(0) not -inf
    case 6u: return mix(log(y), vec4(NEG_INF), equal(y, vec4(0.0)));
    case 7u: return sqrt(y);
    case 8u: return 1.0 / y;
    }
    return y;
}

void main()
{
    uint lane = gl_LocalInvocationID.x % LANES, local = gl_WorkGroupID.x * ROWS + gl_LocalInvocationID.x / LANES;
    uint row = pc.row0 + min(local, pc.rows - 1u); // rows beyond the last one repeat it and are not stored
    uint line = row / p.n, batch = line / p.heads;
    uvec3 at = uvec3(batch, line - batch * p.heads, row - line * p.n);
    uvec3 from = uvec3(pc.base[0] + place(at, p.stride_x0), pc.base[1] + place(at, p.stride_x1), pc.base[2] + place(at, p.stride_x2));
    vec3 w = row_weights(at);
    float factor = p.out_factor;
    if (has(RAPT_COMBINE_HAS_NORM)) {
        float sum = 0.0;
        for (uint d = lane * 4u; d < p.d; d += LANES * 4u) {
            vec4 y = row_sum(from, w, d);
            sum += dot(y, y);
        }
        squares[gl_LocalInvocationID.x] = sum;
        barrier();
        sum = 0.0;
        [[unroll]] for (uint i = 0u; i < LANES; i++)
            sum += squares[gl_LocalInvocationID.x / LANES * LANES + i];
        factor /= sqrt(sum / float(p.d) + p.epsilon);
    }
    if (local >= pc.rows)
        return;
    for (uint d = lane * 4u; d < p.d; d += LANES * 4u) {
        uint count = min(p.d - d, 4u);
        vec4 y = row_sum(from, w, d) * factor;
        if (has(RAPT_COMBINE_HAS_NORM_WEIGHT)) {
            uint norm = pc.base[RAPT_BIND_NORM_WEIGHT - 1] + at.y * p.stride_norm.y + d;
            for (uint i = 0u; i < count; i++)
                y[i] *= norm_or_lse[norm + i];
        }
        y = act(y + p.factor.w);
        if (has(RAPT_COMBINE_HAS_GATE)) {
            vec4 gate = load_term2(from.z + d, count);
            vec4 times = gate;
            if (!has(RAPT_COMBINE_IS_PRODUCT)) {
                times = 1.0 / (1.0 + exp(-gate));
                if (has(RAPT_COMBINE_IS_SILU))
                    times *= gate;
            }
            y *= times;
        }
        store_out4(pc.base[RAPT_BIND_OUT - 1] + place(at, p.stride_out) + d, y, count);
    }
}
