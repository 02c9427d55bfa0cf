#version 450
#extension GL_GOOGLE_include_directive : require
// Running states become what is given (state_in, norm_in), or 0. An invocation has four columns of one row.
#include "common/linear_params.h"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint NORMALIZE = 0;
#include "state/running.glsl"

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, b = bh / p.heads, h = bh - b * p.heads;
    const uint item = gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x, columns = (p.d_v + 3u) / 4u;
    const uint row = item / columns, column = (item - row * columns) * 4u;
    if (row >= p.d_k)
        return;
    const uint count = min(p.d_v - column, 4u);
    last_state(b, h, row, column, count, first_state(b, h, row, column, count));
    if (NORMALIZE != 0u && column == 0u)
        last_norm(b, h, row, first_norm(b, h, row));
}
