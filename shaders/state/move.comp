#version 450
#extension GL_GOOGLE_include_directive : require
// States of the app to running ones in the workspace, and back. There the normaliser is a column behind those of v. An
// invocation has one row's four columns. pc.flags: RAPT_LINEAR_READ_IN to the workspace, else from it.
#include "common/linear_params.h"

layout(local_size_x = 64) in;
RAPT_DECLARE_LINEAR_PARAMS
layout(std430, set = 0, binding = 1) readonly buffer StatesIn { float states_in[]; };
layout(std430, set = 0, binding = 2) readonly buffer NormsIn { float norms_in[]; };
layout(std430, set = 0, binding = 3) buffer States { float states[]; };
layout(std430, set = 0, binding = 4) buffer StatesOut { float states_out[]; };
layout(std430, set = 0, binding = 5) buffer NormsOut { float norms_out[]; };

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, b = bh / p.heads, h = bh - b * p.heads;
    const uint item = gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x, vectors = p.state_stride_k / 4u;
    const uint row = item / vectors, column = (item - row * vectors) * 4u;
    if (row >= p.state_rows)
        return;
    const uint at = pc.base[2] + b * p.state_stride_b + h * p.state_stride_h + row * p.state_stride_k;
    const bool has_norm = (p.map_flags & RAPT_MAP_NORMALIZE) != 0u;
    for (uint d = column; d < column + 4u; d++) {
        const bool is_norm = d == p.source_dim_v;
        if ((pc.flags & RAPT_LINEAR_READ_IN) != 0u) {
            float x = 0.0;
            if (d < p.source_dim_v)
                x = states_in[pc.base[0] + b * p.state_in_stride_b + h * p.state_in_stride_h + row * p.state_in_stride_k + d];
            else if (is_norm && has_norm)
                x = norms_in[pc.base[1] + b * p.norm_in_stride_b + h * p.norm_in_stride_h + row];
            states[at + d] = x;
        } else if (d < p.source_dim_v && (pc.flags & RAPT_LINEAR_WRITE_STATE) != 0u) {
            states_out[pc.base[3] + b * p.state_out_stride_b + h * p.state_out_stride_h + row * p.state_out_stride_k + d] =
                states[at + d];
        } else if (is_norm && (pc.flags & RAPT_LINEAR_WRITE_NORM) != 0u) {
            norms_out[pc.base[4] + b * p.norm_out_stride_b + h * p.norm_out_stride_h + row] = states[at + d];
        }
    }
}
