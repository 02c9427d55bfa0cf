#version 450
#extension GL_GOOGLE_include_directive : require
// Passes states from chunk to chunk: what is known of a chunk becomes the state at its beginning, and the running state goes
// on to the end. Without chunks it copies state_in to the running state. An invocation has one number of one channel's
// state: those that only add and multiply are independent of each other. Pairs of complex numbers and the three numbers of
// softmax are one invocation's.
#include "common/scan_params.h"

layout(local_size_x = 64) in;
layout(constant_id = 1) const uint FLAGS = 0;
layout(constant_id = 3) const uint OP = 0;
#define DTYPE 1
#include "common/io.glsl"
#include "scan/sequence.glsl"

#define COMPLEX FLAG(8u)

layout(std430, set = 0, binding = 1) readonly buffer StateIn { float state_in[]; };
layout(std430, set = 0, binding = 2) buffer Running { float running[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_STATE) buffer Chunks { float chunks[]; };

#define NOTHING uintBitsToFloat(0xff800000u) // -inf

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, b = bh / p.heads, h = bh - b * p.heads;
    const uint item = gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x;
    const uint row = item / p.channels, channel = item - row * p.channels;
    const uint width = OP == OP_SOFTMAX ? 3u : COMPLEX ? 2u : 1u; // numbers of an invocation
    const uint n = row * width;
    if (n >= p.states)
        return;
    vec3 state = OP == OP_SOFTMAX ? vec3(NOTHING, 0.0, 0.0) : vec3(OP == OP_MAX ? NOTHING : OP == OP_HOLD ? NOTHING : 0.0); // (not ||: see hook/walk.glsl)
    const uint to = PLACE(RAPT_SCAN_STATE, pc.base[1], b, h) + channel * p.place[2 * RAPT_SCAN_STATE].w;
    const uint to_n = p.place[2 * RAPT_SCAN_STATE + 1].x;
    const uint from = PLACE(RAPT_SCAN_STATE_IN, pc.base[0], b, h) + channel * p.place[2 * RAPT_SCAN_STATE_IN].w;
    const uint from_n = p.place[2 * RAPT_SCAN_STATE_IN + 1].x;
    for (uint i = 0u; i < width; i++) {
        if ((pc.flags & RAPT_SCAN_READ_IN) != 0u)
            state[i] = state_in[from + (n + i) * from_n];
        else if ((pc.flags & RAPT_SCAN_READ_STATE) != 0u)
            state[i] = running[to + (n + i) * to_n];
    }
    for (uint chunk = 0u; chunk < pc.chunks; chunk++) {
        const uint at = chunk_at(bh, chunk) + n * p.pitch + channel, by = at + p.states * p.pitch;
        vec3 add = vec3(0.0);
        for (uint i = 0u; i < width; i++) {
            add[i] = chunks[at + i * p.pitch];
            chunks[at + i * p.pitch] = state[i];
        }
        if (OP == OP_SUM) {
            state.x += add.x;
        } else if (OP == OP_MAX) {
            state.x = max(state.x, add.x);
        } else if (OP == OP_SOFTMAX) {
            const float top = max(state.x, add.x);
            const float keep = state.x == NOTHING ? 0.0 : exp(state.x - top);
            const float weight = add.x == NOTHING ? 0.0 : exp(add.x - top);
            state = vec3(top, state.yz * keep + add.yz * weight);
        } else if (COMPLEX) {
            const vec2 step = vec2(chunks[by], chunks[by + p.pitch]);
            state.xy = vec2(state.x * step.x - state.y * step.y, state.x * step.y + state.y * step.x) + add.xy;
        } else {
            state.x = state.x * chunks[by] + add.x;
        }
    }
    if ((pc.flags & RAPT_SCAN_WRITE_STATE) != 0u)
        for (uint i = 0u; i < width; i++)
            running[to + (n + i) * to_n] = state[i];
}
