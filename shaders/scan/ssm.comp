#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// State-space scans with STATES numbers of state a channel, in registers of the channel's invocation: fixed a, b and c, real
// or complex, or the selective scan, where a is e^(dt_t a) and b and c are those of the token.
//
// With RAPT_SCAN_CHUNKS the state begins as 0 and what is left at the end of a chunk goes to the workspace, beside what the
// chunk multiplies a state by. Of the selective scan that is e^(a sum of dt): one number is summed up instead of n products.
#include "common/scan_params.h"
#include "common/io.glsl"

#ifdef LANES
layout(local_size_x = LANES) in;
#define SIDE LANES
#else
layout(local_size_x = 64) in;
#define SIDE 64u
#endif
layout(constant_id = 1) const uint FLAGS = 0;
layout(constant_id = 4) const uint PASS = 0;
layout(constant_id = 6) const uint STATES = 16;
#define HAS_CU
#include "scan/sequence.glsl"

#ifdef COMPLEX
#define NUMBER vec2
#define ONE vec2(1.0, 0.0)
#define PAIRS (STATES / 2u)
#else
#define NUMBER float
#define ONE 1.0
#define PAIRS STATES
#endif

layout(std430, set = 0, binding = RAPT_SCAN_BIND_X) readonly buffer X1 { WORD1 x_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_COEF) readonly buffer Factors { float factors[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_STATE) buffer States { float states[]; };
#if defined(SELECTIVE) && defined(LANES)
layout(set = 0, binding = RAPT_SCAN_TEXEL_B) uniform samplerBuffer texels_b;
layout(set = 0, binding = RAPT_SCAN_TEXEL_C) uniform samplerBuffer texels_c;
#else
layout(std430, set = 0, binding = RAPT_SCAN_BIND_B) readonly buffer Writes { float writes[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_C) readonly buffer Reads { float reads[]; };
#endif
#ifdef SELECTIVE
layout(std430, set = 0, binding = RAPT_SCAN_BIND_DT) readonly buffer Steps { float steps[]; };
#endif
#ifdef GATED
#if DTYPE == DTYPE_BF16
layout(set = 0, binding = RAPT_SCAN_TEXEL_Z) uniform usamplerBuffer texels_z;
float load_z(uint at) { return uintBitsToFloat(texelFetch(texels_z, int(at)).x << 16); }
#else
layout(set = 0, binding = RAPT_SCAN_TEXEL_Z) uniform samplerBuffer texels_z;
float load_z(uint at) { return texelFetch(texels_z, int(at)).x; }
#endif
layout(set = 0, binding = RAPT_SCAN_TEXEL_SKIP) uniform samplerBuffer texels_skip;
#endif

#if DTYPE == DTYPE_F32
void store_out(uint at, float x) { out_words1[at] = x; }
#else
#include "scan/store_one.glsl"
#endif

NUMBER times(NUMBER a, NUMBER b)
{
#ifdef COMPLEX
    return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
#else
    return a * b;
#endif
}
float real_part(NUMBER a)
{
#ifdef COMPLEX
    return a.x;
#else
    return a;
#endif
}

// Number i of a vector whose first lies at `at` and whose numbers lie `stride` apart.
#ifdef COMPLEX
#define VECTOR(words, at, i, stride) vec2(words[(at) + (i) * 2u * (stride)], words[(at) + ((i) * 2u + 1u) * (stride)])
#define PUT(words, at, i, stride, number)                                                                    \
    {                                                                                                        \
        words[(at) + (i) * 2u * (stride)] = (number).x;                                                      \
        words[(at) + ((i) * 2u + 1u) * (stride)] = (number).y;                                               \
    }
#else
#define VECTOR(words, at, i, stride) words[(at) + (i) * (stride)]
#define PUT(words, at, i, stride, number) { words[(at) + (i) * (stride)] = (number); }
#endif

#ifdef SELECTIVE
float softplus(float x)
{
    const float e = exp(min(x, 20.0));
    return x > 20.0 ? x : e < 1e-3 ? e * (1.0 - 0.5 * e) : log(1.0 + e);
}
#endif

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, chunk = gl_WorkGroupID.y;
    const Sequence s = sequence_of(bh);
    const uint own = gl_WorkGroupID.x * SIDE + gl_LocalInvocationID.x;
    if (own >= p.channels)
        return;
    const uint end = min(pc.token1, s.tokens), first = min(pc.token0 + chunk * pc.chunk, end);
    const uint last = min(first + pc.chunk, end);
    const uint x_at = FIRST(RAPT_SCAN_X, pc.base[RAPT_SCAN_BIND_X - 1], s) + own, x_step = STEP(RAPT_SCAN_X);
    const uint out_at = FIRST(RAPT_SCAN_OUT, pc.base[RAPT_SCAN_BIND_OUT - 1], s) + own, out_step = STEP(RAPT_SCAN_OUT);
    const uint a_at = PLACE(RAPT_SCAN_COEF, pc.base[RAPT_SCAN_BIND_COEF - 1], s.batch, s.h) +
                      own * p.place[2 * RAPT_SCAN_COEF].w;
    const uint a_n = p.place[2 * RAPT_SCAN_COEF + 1].x;
    const uint b_n = p.place[2 * RAPT_SCAN_B + 1].x, c_n = p.place[2 * RAPT_SCAN_C + 1].x;
    const uint b_at = FIRST(RAPT_SCAN_B, pc.base[RAPT_SCAN_BIND_B - 1], s) + own * p.place[2 * RAPT_SCAN_B].w;
    const uint c_at = FIRST(RAPT_SCAN_C, pc.base[RAPT_SCAN_BIND_C - 1], s) + own * p.place[2 * RAPT_SCAN_C].w;
    float skip = 0.0;
#ifdef GATED
    const uint z_at = FIRST(RAPT_SCAN_Z, pc.z_base, s) + own, z_step = STEP(RAPT_SCAN_Z);
    if (FLAG(RAPT_SCAN_HAS_SKIP))
        skip = texelFetch(texels_skip, int(PLACE(RAPT_SCAN_SKIP, pc.skip_base, s.batch, s.h) +
                                           own * p.place[2 * RAPT_SCAN_SKIP].w)).x;
#endif

    NUMBER a[PAIRS], h[PAIRS];
#ifdef SELECTIVE
    const uint dt_at = FIRST(RAPT_SCAN_DT, pc.base[RAPT_SCAN_BIND_DT - 1], s) + own, dt_step = STEP(RAPT_SCAN_DT);
    const uint b_step = STEP(RAPT_SCAN_B), c_step = STEP(RAPT_SCAN_C);
    float sum = 0.0; // of dt
#else
    NUMBER b[PAIRS], c[PAIRS], product[PAIRS];
#endif
    const uint state_at = PLACE(RAPT_SCAN_STATE, pc.base[RAPT_SCAN_BIND_STATE - 1], s.b, s.h) +
                          own * p.place[2 * RAPT_SCAN_STATE].w;
    const uint state_n = p.place[2 * RAPT_SCAN_STATE + 1].x, chunk_own = chunk_at(bh, chunk) + own;
    for (uint i = 0u; i < PAIRS; i++) {
        a[i] = VECTOR(factors, a_at, i, a_n);
        h[i] = NUMBER(0.0);
#ifndef SELECTIVE
        b[i] = VECTOR(writes, b_at, i, b_n);
        c[i] = VECTOR(reads, c_at, i, c_n);
        product[i] = ONE;
#endif
        if (PASS == RAPT_SCAN_OUTPUTS) {
            h[i] = VECTOR(states, chunk_own, i, p.pitch);
        } else if (PASS == RAPT_SCAN_WHOLE) {
            if ((pc.flags & RAPT_SCAN_READ_STATE) != 0u)
                h[i] = VECTOR(states, state_at, i, state_n);
        }
    }

    for (uint t = first; t < last; t++) {
        const float x = LOAD_ELEMENT(x_words1, x_at + t * x_step);
        float y = skip * x;
#ifdef SELECTIVE
        float dt = steps[dt_at + t * dt_step];
        if (FLAG(16u))
            dt = softplus(dt);
        sum += dt;
        const float add = dt * x;
        const uint b_row = b_at + t * b_step, c_row = c_at + t * c_step;
        for (uint i = 0u; i < PAIRS; i++) {
#ifdef LANES
            h[i] = exp(dt * a[i]) * h[i] + add * texelFetch(texels_b, int(b_row + i * b_n)).x;
            y += texelFetch(texels_c, int(c_row + i * c_n)).x * h[i];
#else
            h[i] = exp(dt * a[i]) * h[i] + add * writes[b_row + i * b_n];
            if (PASS != RAPT_SCAN_CHUNKS)
                y += reads[c_row + i * c_n] * h[i];
#endif
        }
#else
        for (uint i = 0u; i < PAIRS; i++) {
            h[i] = times(a[i], h[i]) + b[i] * x;
            if (PASS == RAPT_SCAN_CHUNKS)
                product[i] = times(product[i], a[i]);
            else
                y += real_part(times(c[i], h[i]));
        }
#endif
        if (PASS != RAPT_SCAN_CHUNKS) {
#ifdef GATED
            if (FLAG(RAPT_SCAN_HAS_Z)) {
                const float z = load_z(z_at + t * z_step);
                y *= z / (1.0 + exp(-z));
            }
#endif
            store_out(out_at + t * out_step, y);
        }
    }

    for (uint i = 0u; i < PAIRS; i++) {
        if (PASS == RAPT_SCAN_CHUNKS) {
            PUT(states, chunk_own, i, p.pitch, h[i])
#ifdef SELECTIVE
            PUT(states, chunk_own + STATES * p.pitch, i, p.pitch, exp(sum * a[i]))
#else
            PUT(states, chunk_own + STATES * p.pitch, i, p.pitch, product[i])
#endif
        } else if (PASS == RAPT_SCAN_WHOLE) {
            if ((pc.flags & RAPT_SCAN_WRITE_STATE) != 0u)
                PUT(states, state_at, i, state_n, h[i])
        }
    }
}
