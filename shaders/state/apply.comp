#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Outputs of all tokens from one state, which holds all of them: o_t = S^T phi(q_t). Features and states are single
// precision, in the workspace.
//
// A workgroup has 16 tokens and 64 columns; an invocation four columns of four tokens.
#include "common/linear_params.h"
#define DTYPE 1
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint VARLEN = 0;
#define PHI 0u
#define VARLEN_BINDING 5
#include "state/tensors.glsl"

layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer Queries4 { vec4 q4[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer Out4 { vec4 out4[]; };
layout(std430, set = 0, binding = RAPT_BIND_STATE) readonly buffer States4 { vec4 states4[]; };
layout(std430, set = 0, binding = RAPT_BIND_STATE) readonly buffer States { float states[]; };

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint column_blocks = (p.state_stride_k + 63u) / 64u, block = gl_WorkGroupID.x / column_blocks;
    const uint lane = gl_LocalInvocationID.x;
    const uint column = ((gl_WorkGroupID.x - block * column_blocks) * 16u + lane % 16u) * 4u;
    const uint token0 = pc.token0 + (block * 4u + lane / 16u) * 4u, end = min(pc.token1, s.tokens);
    if (column >= p.state_stride_k || token0 >= end)
        return;
    const uint from = state_row(s);
    uint q_at[4];
    for (uint t = 0u; t < 4u; t++)
        q_at[t] = q_row(s, min(token0 + t, end - 1u)) / 4u;
    vec4 o[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    [[dont_unroll]] for (uint row = 0u; row < p.d_k; row += 4u) {
        vec4 state[4];
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            const bool exists = row + i < p.d_k;
            const uint at = from + (exists ? row + i : 0u) * p.state_stride_k;
            state[i] = exists ? states4[(at + column) / 4u] : vec4(0.0);
            if ((p.map_flags & RAPT_MAP_NORMALIZE_KEYS) != 0u) {
                const float sum = states[at + p.source_dim_v]; // of this feature over all tokens
                state[i] = sum == 0.0 ? vec4(0.0) : state[i] / sum;
            }
        }
        [[unroll]] for (uint t = 0u; t < 4u; t++) {
            const vec4 q = q4[q_at[t] + row / 4u];
            o[t] += q.x * state[0] + q.y * state[1] + q.z * state[2] + q.w * state[3];
        }
    }
    for (uint t = 0u; t < 4u; t++)
        if (token0 + t < end)
            out4[(o_row(s, token0 + t) + column) / 4u] = o[t];
}
