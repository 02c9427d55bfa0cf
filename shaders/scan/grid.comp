#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Depthwise convolution on a grid. The last axis lies side by side, and an invocation has four of its places: four
// neighbours along X of one channel, or with CHANNELS_LAST four channels of one place.
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

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, batch = bh / p.heads, second = bh - batch * p.heads;
    const uint third = pc.token0 + gl_WorkGroupID.y, own = (gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x) * 4u;
    if (own >= p.channels || third >= pc.token1)
        return;
    const uint count = min(p.channels - own, 4u);
    const uint x_at = pc.base[RAPT_SCAN_BIND_X - 1] + batch * p.place[2 * RAPT_SCAN_X].x;
    const uint stride_b = p.place[2 * RAPT_SCAN_X].y, stride_c = p.place[2 * RAPT_SCAN_X].z;
    const uint w_at = pc.base[RAPT_SCAN_BIND_B - 1], w_channel = p.place[2 * RAPT_SCAN_B].w;
    const uint w_row = p.place[2 * RAPT_SCAN_B].z, w_tap = p.place[2 * RAPT_SCAN_B + 1].x;
    const uint channel = CHANNELS_LAST ? own : second; // the first of its channels
    const uint height = CHANNELS_LAST ? p.axis_b : p.axis_c, width = CHANNELS_LAST ? p.axis_c : p.channels;
    const uint row = CHANNELS_LAST ? second : third;
    vec4 sum = vec4(0.0);
    if (FLAG(RAPT_SCAN_HAS_SKIP))
        for (uint i = 0u; i < count; i++)
            sum[i] = biases[pc.base[1] + (CHANNELS_LAST ? own + i : second) * p.place[2 * RAPT_SCAN_SKIP].w];
    for (uint i = 0u; i < p.taps; i++) {
        const uint y = row + i - p.taps / 2u;
        if (y >= height) // above: wraps around
            continue;
        for (uint j = 0u; j < p.taps_x; j++) {
            const uint tap = w_at + channel * w_channel + i * w_row + j * w_tap;
            const uint shift = j - p.taps_x / 2u; // modulo 2^32
            if (CHANNELS_LAST) {
                const uint x = third + shift;
                if (x >= width)
                    continue;
                const uint at = x_at + y * stride_b + x * stride_c + own;
                vec4 v = vec4(0.0), w = vec4(0.0);
                for (uint k = 0u; k < count; k++)
                    w[k] = weights[tap + k * w_channel];
                if (ALIGNED) {
                    v = unpack4(x_words4[at >> 2]);
                } else {
                    for (uint k = 0u; k < count; k++)
                        v[k] = LOAD_ELEMENT(x_words1, at + k);
                }
                sum += w * v;
            } else {
                const uint at = x_at + second * stride_b + y * stride_c;
                const float w = weights[tap];
                for (uint k = 0u; k < count; k++) {
                    const uint x = own + k + shift;
                    if (x < width)
                        sum[k] += w * LOAD_ELEMENT(x_words1, at + x);
                }
            }
        }
    }
    const uint out_at = pc.base[RAPT_SCAN_BIND_OUT - 1] + batch * p.place[2 * RAPT_SCAN_OUT].x +
                        second * p.place[2 * RAPT_SCAN_OUT].y + third * p.place[2 * RAPT_SCAN_OUT].z + own;
    store_out4(out_at, act(sum), count);
}
