#version 450
#extension GL_GOOGLE_include_directive : require
// Passes states from chunk to chunk: what a chunk adds becomes the state at its beginning, and the running state goes on
// to the end. An invocation has four columns of one row, and walks the chunks.
#include "common/linear_params.h"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint NORMALIZE = 0;
layout(constant_id = 1) const uint DECAY = 0;
#include "state/running.glsl"

layout(std430, set = 0, binding = 5) readonly buffer Steps { float steps[]; };
layout(std430, set = 0, binding = 6) buffer ChunkNorms { float chunk_norms[]; };
layout(std430, set = 0, binding = 8) buffer Chunks4 { vec4 chunks4[]; };

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, b = bh / p.heads, h = bh - b * p.heads;
    const uint item = gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x, columns = p.chunk_pitch / 4u;
    const uint row = item / columns, column = (item - row * columns) * 4u;
    if (row >= p.d_k)
        return;
    const uint count = min(p.d_v - column, 4u), size = p.d_k * columns;
    const bool has_norm = NORMALIZE != 0u && column == 0u;
    vec4 state = first_state(b, h, row, column, count);
    float norm = has_norm ? first_norm(b, h, row) : 0.0;
    for (uint chunk = 0u; chunk < pc.chunks; chunk++) {
        const uint number = bh * pc.chunks + chunk, at = CHUNKS_BASE / 4u + number * size + item;
        const float step = DECAY == 0u ? 1.0 : steps[STEPS_BASE + number * p.step_size + (p.step_size > 1u ? row : 0u)];
        const vec4 add = chunks4[at];
        chunks4[at] = state;
        state = state * step + add;
        if (has_norm) {
            const uint norm_at = CHUNK_NORMS_BASE + number * p.d_k + row;
            const float add_norm = chunk_norms[norm_at];
            chunk_norms[norm_at] = norm;
            norm = norm * step + add_norm;
        }
    }
    last_state(b, h, row, column, count, state);
    if (has_norm)
        last_norm(b, h, row, norm);
}
