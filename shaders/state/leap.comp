#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// From chunk to chunk by the delta rule or dplr, with what solve.comp made of each: a chunk is three products of small matrices
// and a token is never waited for. RULE is a define: 1 delta, 2 dplr, whose values are a second set of news that wait for nothing.
//
// A workgroup owns COLUMNS columns of one state, in shared memory and, four rows and four columns an invocation, in registers.
// Of each chunk (chunk.glsl says what is what): news += reads state; out = asks state + shares news; then
// state = decays state + writes^T news, of each set. Invocations of one subgroup have tokens (or rows of the state) side by side, so that
// what they read of the workspace lies side by side too, and what they read of shared memory is the same for all.
#include "common/linear_params.h"
#include "common/io.glsl"

layout(local_size_x = 128) in;
layout(constant_id = 1) const uint D_K = 64;
layout(constant_id = 2) const uint D_V = 64;
layout(constant_id = 3) const uint ALIGNED_ = 0;
layout(constant_id = 10) const uint VARLEN = 0;
layout(constant_id = 11) const uint CHUNK = 32;
#define ALIGNED (ALIGNED_ != 0u)
#define VARLEN_BINDING 7
const uint PHI = 0u; // solve.comp has seen to it
#include "state/tensors.glsl"
#include "state/chunk.glsl"
#define STATE_BINDING 8
#define STATE_IN_BINDING 2
#define EACH_COLUMN [[unroll]] for (uint i = 0u; i < 4u; i++) if (i < count) // a computed place in a vector takes it to memory
#include "state/running.glsl"

layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
layout(std430, set = 0, binding = 5) readonly buffer Steps4 { vec4 steps4[]; };
#include "common/store.glsl"
#if RULE == 2
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer Values { WORD1 v_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer Values4 { WORD4 v_words4[]; };

// Four columns of a value, of which `count` exist.
vec4 load_value(uint index, uint count)
{
    if (ALIGNED)
        return count == 0u ? vec4(0.0) : unpack4(v_words4[index >> 2]);
    vec4 x = vec4(0.0);
    EACH_COLUMN
        x[i] = LOAD_ELEMENT(v_words, index + i);
    return x;
}
#endif

const uint COLUMNS = DIM <= 64u ? 32u : DIM <= 128u ? 16u : 8u; // as rapt_linear_leap_columns
const uint QUADS = COLUMNS / 4u;
const uint SIDE = 128u / CHUNK;                           // of quads of columns, side by side
const uint TURNS = (QUADS + SIDE - 1u) / SIDE;            // of an invocation that has tokens
shared vec4 s_state[QUADS * DIM]; // (quad of columns, row % 4, row / 4)
shared vec4 s_news[QUADS * CHUNK]; // (quad of columns, token)
#if RULE == 2
shared vec4 s_values[QUADS * CHUNK];
#endif

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint begin = min(pc.token0, s.tokens), end = min(pc.token1, s.tokens);
    const uint chunks = (end - begin + CHUNK - 1u) / CHUNK; // that it has of pc.chunks
    const uint id = gl_LocalInvocationID.x, column0 = gl_WorkGroupID.x * COLUMNS;
    const uint token = id % CHUNK, side = id / CHUNK;              // as one that has a token
    const uint rows = id % DIM_QUADS, quad = id / DIM_QUADS;       // as one that has four rows of the state
    const uint column = column0 + quad * 4u, columns = quad < QUADS && column < D_V ? min(D_V - column, 4u) : 0u;

    vec4 state[4];
    [[unroll]] for (uint r = 0u; r < 4u; r++) {
        state[r] = first_state(s.b, s.h, rows * 4u + r, column, rows * 4u + r < D_K ? columns : 0u);
        if (quad < QUADS)
            s_state[(quad * 4u + r) * DIM_QUADS + rows] = state[r];
    }
    barrier();
    [[dont_unroll]] for (uint chunk = 0u; chunk < chunks; chunk++) {
        const uint at = (pc.base[4] + chunk_number(s, chunk) * p.step_size) / 4u;
        vec4 news[TURNS], outs[TURNS];
#if RULE == 2
        const uint at_token = begin + chunk * CHUNK + token;
        vec4 values[TURNS];
        [[unroll]] for (uint i = 0u; i < TURNS; i++) {
            const uint q = side + i * SIDE, c = column0 + q * 4u;
            values[i] = load_value(v_row(s, at_token) + c, at_token < end && q < QUADS && c < D_V ? min(D_V - c, 4u) : 0u);
        }
#endif
        [[unroll]] for (uint i = 0u; i < TURNS; i++) {
            const uint q = side + i * SIDE;
            outs[i] = news[i] = vec4(0.0);
            if (q < QUADS && column0 + q * 4u < D_V)
                news[i] = steps4[at + AT_NEWS + (column0 / 4u + q) * CHUNK + token];
        }
        if (side < QUADS)
            [[dont_unroll]] for (uint k = 0u; k < DIM_QUADS; k++) {
                const vec4 read = steps4[at + AT_READS + k * CHUNK + token], ask = steps4[at + AT_ASKS + k * CHUNK + token];
                [[unroll]] for (uint i = 0u; i < TURNS; i++)
                    [[unroll]] for (uint r = 0u; r < 4u; r++) {
                        const vec4 x = s_state[((side + i * SIDE) * 4u + r) * DIM_QUADS + k];
                        news[i] += read[r] * x;
                        outs[i] += ask[r] * x;
                    }
            }
        [[unroll]] for (uint i = 0u; i < TURNS; i++)
            if (side + i * SIDE < QUADS) {
                s_news[(side + i * SIDE) * CHUNK + token] = news[i];
#if RULE == 2
                s_values[(side + i * SIDE) * CHUNK + token] = values[i];
#endif
            }
        barrier();

        if (side < QUADS) {
            // Tokens after one's own are left out, not multiplied by 0: what they hold reaches no earlier one.
            [[dont_unroll]] for (uint j = 0u; j <= token / 4u; j++) {
                const vec4 share = steps4[at + AT_SHARES + j * CHUNK + token];
#if RULE == 2
                const vec4 share1 = steps4[at + AT_SHARES + SHARES + j * CHUNK + token];
#endif
                [[unroll]] for (uint i = 0u; i < TURNS; i++)
                    [[unroll]] for (uint r = 0u; r < 4u; r++) {
                        const vec4 x = s_news[(side + i * SIDE) * CHUNK + j * 4u + r];
                        outs[i] += j * 4u + r <= token ? share[r] * x : vec4(0.0);
#if RULE == 2
                        const vec4 value = s_values[(side + i * SIDE) * CHUNK + j * 4u + r];
                        outs[i] += j * 4u + r <= token ? share1[r] * value : vec4(0.0);
#endif
                    }
            }
            const uint place = begin + chunk * CHUNK + token;
            [[unroll]] for (uint i = 0u; i < TURNS; i++) {
                const uint c = column0 + (side + i * SIDE) * 4u;
                if (place < end && c < D_V)
                    store_out4(o_row(s, place) + c, outs[i], min(D_V - c, 4u));
            }
        }
        if (quad < QUADS) {
            const vec4 decay = steps4[at + AT_DECAYS + rows];
            [[unroll]] for (uint r = 0u; r < 4u; r++)
                state[r] *= decay[r];
            [[dont_unroll]] for (uint t = 0u; t < CHUNK; t++) {
                const vec4 key = steps4[at + AT_WRITES + t * DIM_QUADS + rows], x = s_news[quad * CHUNK + t];
                [[unroll]] for (uint r = 0u; r < 4u; r++)
                    state[r] += key[r] * x;
#if RULE == 2
                const vec4 key1 = steps4[at + AT_WRITES + WRITES + t * DIM_QUADS + rows], value = s_values[quad * CHUNK + t];
                [[unroll]] for (uint r = 0u; r < 4u; r++)
                    state[r] += key1[r] * value;
#endif
            }
            [[unroll]] for (uint r = 0u; r < 4u; r++)
                s_state[(quad * 4u + r) * DIM_QUADS + rows] = state[r];
        }
        barrier();
    }
    [[unroll]] for (uint r = 0u; r < 4u; r++)
        if (rows * 4u + r < D_K)
            last_state(s.b, s.h, rows * 4u + r, column, columns, state[r]);
}
