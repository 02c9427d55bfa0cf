#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Depthwise convolution on a grid. The last axis lies side by side, and an invocation has four of its places (neighbours along
// X of one channel, or with CHANNELS_LAST channels of one place) in TILE places of the axis before it.
#include "common/scan_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 1) const uint FLAGS = 0;
layout(constant_id = 5) const uint ALIGNED_ = 0;
layout(constant_id = 7) const uint ACT = 0;
#define ALIGNED (ALIGNED_ != 0u)
#include "scan/sequence.glsl"
#define CHANNELS_LAST FLAG(64u)

layout(std430, set = 0, binding = RAPT_SCAN_BIND_X) readonly buffer X1 { WORD1 x_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_X) readonly buffer X4 { WORD4 x_words4[]; };
layout(std430, set = 0, binding = 2) readonly buffer Biases { float biases[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_B) readonly buffer Weights { float weights[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
#include "common/store.glsl"
#include "scan/act.glsl"

#define TILE 4u

vec4 load_x(uint at, uint count)
{
    vec4 v = vec4(0.0);
    if (ALIGNED)
        return unpack4(x_words4[at >> 2]);
    for (uint k = 0u; k < count; k++)
        v[k] = LOAD_ELEMENT(x_words1, at + k);
    return v;
}

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, batch = bh / p.heads, second = bh - batch * p.heads;
    const uint third = pc.token0 + gl_WorkGroupID.y * TILE, own = (gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x) * 4u;
    if (own >= p.channels || third >= pc.token1)
        return;
    const uint count = min(p.channels - own, 4u);
    const uint x_at = pc.base[RAPT_SCAN_BIND_X - 1] + batch * p.place[2 * RAPT_SCAN_X].x;
    const uint stride_b = p.place[2 * RAPT_SCAN_X].y, stride_c = p.place[2 * RAPT_SCAN_X].z;
    const uint w_channel = p.place[2 * RAPT_SCAN_B].w, w_row = p.place[2 * RAPT_SCAN_B].z, w_tap = p.place[2 * RAPT_SCAN_B + 1].x;
    const uint w_at = pc.base[RAPT_SCAN_BIND_B - 1] + (CHANNELS_LAST ? own : second) * w_channel;
    vec4 sum[TILE];
    vec4 bias = vec4(0.0);
    if (FLAG(RAPT_SCAN_HAS_SKIP))
        for (uint i = 0u; i < count; i++)
            bias[i] = biases[pc.base[1] + (CHANNELS_LAST ? own + i : second) * p.place[2 * RAPT_SCAN_SKIP].w];
    [[unroll]] for (uint i = 0u; i < TILE; i++)
        sum[i] = bias;

    if (CHANNELS_LAST) { // axes (Y, X, channels): taps of a row pass by as in conv.comp
        for (uint i = 0u; i < p.taps; i++) {
            const uint y = second + i - p.taps / 2u; // above the map: wraps around
            if (y >= p.axis_b)
                continue;
            vec4 w[TILE];
            [[unroll]] for (uint t = 0u; t < TILE; t++)
                w[t] = vec4(0.0);
            for (uint n = 0u; n < p.taps_x + TILE - 1u; n++) {
                const uint x = third + n - p.taps_x / 2u;
                [[unroll]] for (uint t = TILE - 1u; t > 0u; t--)
                    w[t] = w[t - 1u];
                w[0] = vec4(0.0);
                if (n < p.taps_x)
                    for (uint k = 0u; k < count; k++)
                        w[0][k] = weights[w_at + k * w_channel + i * w_row + n * w_tap];
                if (x >= p.axis_c)
                    continue;
                const vec4 v = load_x(x_at + y * stride_b + x * stride_c + own, count);
                [[unroll]] for (uint t = 0u; t < TILE; t++)
                    if (n - t < p.taps_x) // n < t: far beyond
                        sum[t] += w[t] * v;
            }
        }
    } else { // axes (channels, Y, X): a row of x goes to all outputs that it reaches
        for (uint n = 0u; n < p.taps + TILE - 1u; n++) {
            const uint y = third + n - p.taps / 2u;
            if (y >= p.axis_c)
                continue;
            const uint at = x_at + second * stride_b + y * stride_c;
            for (uint j = 0u; j < p.taps_x; j++) {
                vec4 v = vec4(0.0);
                for (uint k = 0u; k < count; k++) {
                    const uint x = own + k + j - p.taps_x / 2u;
                    if (x < p.channels)
                        v[k] = LOAD_ELEMENT(x_words1, at + x);
                }
                [[unroll]] for (uint t = 0u; t < TILE; t++)
                    if (n - t < p.taps)
                        sum[t] += weights[w_at + (n - t) * w_row + j * w_tap] * v;
            }
        }
    }
    const uint out_at = pc.base[RAPT_SCAN_BIND_OUT - 1] + batch * p.place[2 * RAPT_SCAN_OUT].x + second * p.place[2 * RAPT_SCAN_OUT].y + own;
    [[unroll]] for (uint t = 0u; t < TILE; t++)
        if (third + t < pc.token1)
            store_out4(out_at + (third + t) * p.place[2 * RAPT_SCAN_OUT].z, act(sum[t]), count);
}
