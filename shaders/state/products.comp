#version 450
#extension GL_GOOGLE_include_directive : require
// Passes states from chunk to chunk where each chunk multiplies them by a matrix (rules delta and dplr): as scan.comp, but
// a workgroup has four columns, in shared memory, and an invocation every 64th of their rows.
#include "common/linear_params.h"

layout(local_size_x = 64) in;
#include "state/running.glsl"

layout(std430, set = 0, binding = 5) readonly buffer Steps4 { vec4 steps4[]; };
layout(std430, set = 0, binding = 8) buffer Chunks4 { vec4 chunks4[]; };

shared vec4 s_state[256];

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, b = bh / p.heads, h = bh - b * p.heads;
    const uint column = gl_WorkGroupID.x * 4u, columns = p.chunk_pitch / 4u;
    const uint count = min(p.d_v - column, 4u), lane = gl_LocalInvocationID.x;
    for (uint row = lane; row < 256u; row += 64u)
        s_state[row] = row < p.d_k ? first_state(b, h, row, column, count) : vec4(0.0);
    for (uint chunk = 0u; chunk < pc.chunks; chunk++) {
        const uint number = bh * pc.chunks + chunk;
        vec4 next[4];
        barrier();
        for (uint i = 0u; i < 4u; i++) {
            const uint row = i * 64u + lane;
            next[i] = vec4(0.0);
            if (row < p.d_k) {
                const uint at = CHUNKS_BASE / 4u + (number * p.d_k + row) * columns + gl_WorkGroupID.x;
                const uint step_at = (STEPS_BASE + number * p.step_size + row * p.step_pitch) / 4u;
                vec4 sum = chunks4[at];
                for (uint k = 0u; k < p.step_pitch / 4u; k++) {
                    const vec4 step = steps4[step_at + k];
                    sum += step.x * s_state[4u * k] + step.y * s_state[4u * k + 1u] + step.z * s_state[4u * k + 2u] +
                           step.w * s_state[4u * k + 3u];
                }
                chunks4[at] = s_state[row];
                next[i] = sum;
            }
        }
        barrier();
        for (uint i = 0u; i < 4u; i++)
            s_state[i * 64u + lane] = next[i];
    }
    barrier();
    for (uint row = lane; row < p.d_k; row += 64u)
        last_state(b, h, row, column, count, s_state[row]);
}
