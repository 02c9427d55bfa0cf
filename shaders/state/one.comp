#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// One token of each sequence, for software devices (lanes.glsl): the state goes by once, row by row, and is not kept in
// registers. A lane has four columns in each of up to four blocks. What rules delta and dplr read of the state takes a walk
// of its own before.
#include "common/linear_params.h"
#include "common/io.glsl"

layout(local_size_x = LANES) in;
layout(constant_id = 1) const uint D_K = 64;
layout(constant_id = 2) const uint D_V = 64;
layout(constant_id = 4) const uint DECAY = 0;
layout(constant_id = 5) const uint LOG_DECAY = 0;
layout(constant_id = 6) const uint BETA = 0;
layout(constant_id = 8) const uint PHI = 0;
layout(constant_id = 10) const uint VARLEN = 0;
#define ALIGNED true // rows that are not are refused
#if RULE == 1
#define VARLEN_BINDING 7
#endif
#include "state/tensors.glsl"
#include "state/lanes.glsl"

layout(set = 0, binding = RAPT_BIND_TEXEL_Q) uniform STORED texels_q;
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform STORED texels_k;
layout(set = 0, binding = RAPT_BIND_TEXEL_V) uniform STORED texels_v;
layout(set = 0, binding = RAPT_BIND_TEXEL_STATE) uniform samplerBuffer texels_state;
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
#ifdef GATE
layout(set = 0, binding = RAPT_BIND_TEXEL_DECAY) uniform samplerBuffer texels_decay;
#else
layout(std430, set = 0, binding = RAPT_BIND_DECAY) readonly buffer Decays { float decays[]; };
#endif
#if RULE == 2
layout(set = 0, binding = RAPT_BIND_TEXEL_A) uniform STORED texels_a;
layout(set = 0, binding = RAPT_BIND_TEXEL_B) uniform STORED texels_b;
ROW_INDEX(a, a, RAPT_BIND_A)
ROW_INDEX(b, b, RAPT_BIND_B)
#else
layout(std430, set = 0, binding = RAPT_BIND_BETA) readonly buffer Betas { float betas[]; };
#endif
layout(std430, set = 0, binding = RAPT_BIND_STATE) buffer States4 { vec4 states4[]; };
#include "common/store.glsl"

// Rows row .. row + 3 of a vector over rows: all lanes fetch the same.
#define FETCH(texels, at, row) texelFetch(texels, int(((at) + (row)) / 4u))
#define FETCH_STORED(texels, at, row) STORED4(FETCH(texels, at, row))

// Column blocks of a lane: what a token holds is fetched once for all of them, and rows are read from end to end.
const uint BLOCKS = (D_V + SPAN - 1u) / SPAN < 4u ? (D_V + SPAN - 1u) / SPAN : 4u;

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint token = min(pc.token0, max(s.tokens, 1u) - 1u);
    const bool exists = pc.token0 < min(pc.token1, s.tokens); // else the state is handed on as it is
    const uint first = gl_WorkGroupID.x * BLOCKS * SPAN + gl_LocalInvocationID.x * 4u; // column
    const bool given = (pc.flags & RAPT_LINEAR_READ_IN) != 0u;
    const bool reads = (pc.flags & (RAPT_LINEAR_READ_IN | RAPT_LINEAR_READ_STATE)) != 0u;
    const bool keeps = (pc.flags & RAPT_LINEAR_WRITE_STATE) != 0u;
    const uint pitch = (given ? p.state_in_stride_k : p.state_stride_k) / 4u; // in vectors, as from and to
    const uint read_at = pc.read_base + (given ? s.b * p.state_in_stride_b + s.h * p.state_in_stride_h
                                               : s.b * p.state_stride_b + s.h * p.state_stride_h);
    const uint to = (state_row(s) + first) / 4u;
    const uint k_at = k_row(s, token), q_at = q_row(s, token);
#ifdef GATE
    const uint gate_at = decay_row(s, token);
#endif
    uint from[BLOCKS];
    vec4 add[BLOCKS], known[BLOCKS], o[BLOCKS];
    [[unroll]] for (uint n = 0u; n < BLOCKS; n++) {
        const uint column = min(first + n * SPAN, D_V - 4u); // that is fetched: there is one
        from[n] = (read_at + column) / 4u;
        add[n] = exists ? STORED4(texelFetch(texels_v, int((v_row(s, token) + column) / 4u))) : vec4(0.0);
        known[n] = o[n] = vec4(0.0);
    }
    float alpha = 1.0;
#ifndef GATE
    if (DECAY == DECAY_HEAD && exists)
        alpha = decay_of(decays[pc.base[RAPT_BIND_DECAY - 1u] + (s.h * p.heads_decay / p.heads) * p.decay_stride_h]);
    else if (DECAY == DECAY_TOKEN && exists)
        alpha = decay_of(decays[decay_row(s, token)]);
#endif
#define STATE(row, n) texelFetch(texels_state, int(from[n] + (row) * pitch))
#if RULE != 0
    [[dont_unroll]] for (uint row = 0u; row < (reads && exists ? D_K : 0u); row += 4u) {
#if RULE == 1
        vec4 weight = phi(FETCH_STORED(texels_k, k_at, row)) * alpha;
#ifdef GATE
        weight *= decay_of(FETCH(texels_decay, gate_at, row));
#endif
#else
        const vec4 weight = FETCH_STORED(texels_a, a_row(s, token), row);
#endif
        [[unroll]] for (uint c = 0u; c < 4u; c++)
            [[unroll]] for (uint n = 0u; n < BLOCKS; n++)
                known[n] += STATE(row + c, n) * weight[c];
    }
#endif
    float beta = 1.0;
#if RULE != 2
    if (BETA != 0u && exists)
        beta = betas[pc.base[RAPT_BIND_BETA - 1u] + s.batch * p.beta_stride_b +
                     (s.h * p.heads_beta / p.heads) * p.beta_stride_h + (s.first + token) * p.beta_stride_s];
#endif
    [[unroll]] for (uint n = 0u; n < BLOCKS; n++)
        add[n] = (RULE == 1 ? add[n] - known[n] : add[n]) * beta;
    [[dont_unroll]] for (uint row = 0u; row < D_K; row += 4u) {
        const vec4 key = exists ? phi(FETCH_STORED(texels_k, k_at, row)) : vec4(0.0);
        const vec4 query = phi(FETCH_STORED(texels_q, q_at, row));
        vec4 factor = vec4(alpha);
#ifdef GATE
        factor = exists ? decay_of(FETCH(texels_decay, gate_at, row)) : vec4(1.0);
#endif
#if RULE == 2
        const vec4 write = FETCH_STORED(texels_b, b_row(s, token), row);
#endif
        [[unroll]] for (uint c = 0u; c < 4u; c++)
            [[unroll]] for (uint n = 0u; n < BLOCKS; n++) {
                vec4 x = add[n] * key[c];
                if (reads)
                    x += STATE(row + c, n) * factor[c];
#if RULE == 2
                x += known[n] * write[c];
#endif
                o[n] += x * query[c];
                if (keeps && first + n * SPAN < D_V)
                    states4[to + (row + c) * (p.state_stride_k / 4u) + n * LANES] = x;
            }
    }
    [[unroll]] for (uint n = 0u; n < BLOCKS; n++)
        if (exists && first + n * SPAN < D_V)
            store_out4(o_row(s, token) + first + n * SPAN, o[n] * p.scale, 4u);
}
