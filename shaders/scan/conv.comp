#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Depthwise convolution along the tokens: an invocation has four channels of TILE tokens. The taps pass by once: as token
// number s of those that the tile sees is read, output i takes it with tap s - i. What a tap does not reach is not
// multiplied, whatever lies there.
#include "common/scan_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 1) const uint FLAGS = 0;
layout(constant_id = 5) const uint ALIGNED_ = 0;
layout(constant_id = 7) const uint ACT = 0;
#define ALIGNED (ALIGNED_ != 0u)
#define HAS_CU
#include "scan/sequence.glsl"

#define TILE 4u

layout(std430, set = 0, binding = RAPT_SCAN_BIND_X) readonly buffer X1 { WORD1 x_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_X) readonly buffer X4 { WORD4 x_words4[]; };
layout(std430, set = 0, binding = 2) readonly buffer Biases { float biases[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_B) readonly buffer Weights { float weights[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
layout(std430, set = 0, binding = 5) buffer StateIn { float state_in[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_STATE) buffer StateOut { float state_out[]; };
#include "common/store.glsl"
#include "scan/act.glsl"

// What lies `back` tokens before the first: the state's numbers, the newest last.
vec4 before(Sequence s, uint own, uint count, uint back)
{
    vec4 x = vec4(0.0);
    if ((pc.flags & RAPT_SCAN_READ_STATE) == 0u || back > p.states)
        return x;
    const uint at = PLACE(RAPT_SCAN_STATE_IN, pc.base[4], s.b, s.h) + (p.states - back) * p.place[2 * RAPT_SCAN_STATE_IN + 1].x;
    for (uint i = 0u; i < count; i++)
        x[i] = state_in[at + (own + i) * p.place[2 * RAPT_SCAN_STATE_IN].w];
    return x;
}

// Four channels of a token in the order of the scan, at most `count` of which exist; zeros beyond the last.
vec4 token(Sequence s, uint x_at, uint x_step, uint own, uint count, int t)
{
    if (t < 0)
        return before(s, own, count, uint(-t));
    if (uint(t) >= s.tokens)
        return vec4(0.0);
    const uint at = x_at + uint(t) * x_step;
    if (ALIGNED)
        return unpack4(x_words4[at >> 2]);
    vec4 x = vec4(0.0);
    for (uint i = 0u; i < count; i++)
        x[i] = LOAD_ELEMENT(x_words1, at + i);
    return x;
}

vec4 taps_at(uint at, uint count)
{
    vec4 w = vec4(0.0);
    for (uint i = 0u; i < count; i++)
        w[i] = weights[at + i * p.place[2 * RAPT_SCAN_B].w];
    return w;
}

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint own = (gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x) * 4u;
    if (own >= p.channels)
        return;
    const uint count = min(p.channels - own, 4u);
    const uint end = min(pc.token1, s.tokens), first = min(pc.token0 + gl_WorkGroupID.y * TILE, end);
    const uint x_at = FIRST(RAPT_SCAN_X, pc.base[RAPT_SCAN_BIND_X - 1], s) + own, x_step = STEP(RAPT_SCAN_X);
    const uint out_at = FIRST(RAPT_SCAN_OUT, pc.base[RAPT_SCAN_BIND_OUT - 1], s) + own, out_step = STEP(RAPT_SCAN_OUT);
    const uint w_at = FIRST(RAPT_SCAN_B, pc.base[RAPT_SCAN_BIND_B - 1], s) + own * p.place[2 * RAPT_SCAN_B].w;
    const uint w_step = STEP(RAPT_SCAN_B), w_tap = p.place[2 * RAPT_SCAN_B + 1].x;

    if ((pc.flags & RAPT_SCAN_STATE_ONLY) == 0u && first < end) {
        vec4 sum[TILE], w[TILE];
        vec4 bias = vec4(0.0);
        if (FLAG(RAPT_SCAN_HAS_SKIP))
            for (uint i = 0u; i < count; i++)
                bias[i] = biases[PLACE(RAPT_SCAN_SKIP, pc.base[1], 0u, s.h) + (own + i) * p.place[2 * RAPT_SCAN_SKIP].w];
        [[unroll]] for (uint i = 0u; i < TILE; i++) {
            sum[i] = bias;
            w[i] = vec4(0.0);
        }
        for (uint n = 0u; n < p.taps + TILE - 1u; n++) {
            const vec4 x = token(s, x_at, x_step, own, count, int(first + n + p.ahead) - int(p.taps - 1u));
#ifndef GENERATED
            [[unroll]] for (uint i = TILE - 1u; i > 0u; i--)
                w[i] = w[i - 1u];
            w[0] = n < p.taps ? taps_at(w_at + n * w_tap, count) : vec4(0.0);
#endif
            [[unroll]] for (uint i = 0u; i < TILE; i++)
                if (n - i < p.taps) { // n < i: far beyond
#ifdef GENERATED
                    if (first + i < end)
                        w[i] = taps_at(w_at + (first + i) * w_step + (n - i) * w_tap, count);
#endif
                    sum[i] += w[i] * x;
                }
        }
        [[unroll]] for (uint i = 0u; i < TILE; i++)
            if (first + i < end)
                store_out4(out_at + (first + i) * out_step, act(sum[i]), count);
    }

    if ((pc.flags & RAPT_SCAN_WRITE_STATE) != 0u && gl_WorkGroupID.y == 0u) {
        const uint at = PLACE(RAPT_SCAN_STATE, pc.base[RAPT_SCAN_BIND_STATE - 1], s.b, s.h);
        for (uint n = 0u; n < p.states; n++) { // the oldest first: a number moves down only, so states may be in place
            const vec4 x = token(s, x_at, x_step, own, count, int(s.tokens + n) - int(p.states));
            for (uint i = 0u; i < count; i++)
                state_out[at + (own + i) * p.place[2 * RAPT_SCAN_STATE].w + n * p.place[2 * RAPT_SCAN_STATE + 1].x] = x[i];
        }
    }
}
