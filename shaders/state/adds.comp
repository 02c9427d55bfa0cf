#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// What each chunk adds to the state by rule none, sum of decayed k_j v_j^T, and what it multiplies it by, for software
// devices (lanes.glsl).
//
// A workgroup is one subgroup; lane t owns four rows of the state, 4 t .. 4 t + 3 of its 4 * LANES, with all their columns
// in registers. Tokens are walked backwards, from the last down: what comes after a key is then a running product. A key's
// elements lie in the lanes that own their rows; those of a value are broadcast.
#include "common/linear_params.h"
#include "common/io.glsl"

#define ROWS 4
layout(local_size_x = LANES) in;
layout(constant_id = 0) const uint KEYS = 4; // an iteration
layout(constant_id = 1) const uint D_K = 64;
layout(constant_id = 2) const uint D_V = 64;
layout(constant_id = 4) const uint DECAY = 0;
layout(constant_id = 5) const uint LOG_DECAY = 0;
layout(constant_id = 6) const uint BETA = 0;
layout(constant_id = 7) const uint NORMALIZE = 0;
layout(constant_id = 8) const uint PHI = 0;
#include "state/tensors.glsl"
#include "state/lanes.glsl"

layout(std430, set = 0, binding = RAPT_BIND_STEPS) buffer Steps { float steps[]; };
layout(std430, set = 0, binding = RAPT_BIND_BETA) readonly buffer Betas { float betas[]; };
layout(std430, set = 0, binding = RAPT_BIND_NORM) buffer Norms { float norms[]; };
layout(std430, set = 0, binding = RAPT_BIND_STATE) buffer States4 { vec4 states4[]; };
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform STORED texels_k;
layout(set = 0, binding = RAPT_BIND_TEXEL_V) uniform STORED texels_v;
#ifdef GATE
layout(set = 0, binding = RAPT_BIND_TEXEL_DECAY) uniform samplerBuffer texels_decay;
#else
layout(std430, set = 0, binding = RAPT_BIND_DECAY) readonly buffer Decays { float decays[]; };
#endif

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint chunk = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
    const uint begin = min(pc.token0 + chunk * pc.chunk, s.tokens);
    const uint end = min(min(begin + pc.chunk, pc.token1), s.tokens);
    const uint row0 = gl_WorkGroupID.x * SPAN + lane * 4u, row = min(row0, D_K - 4u);
    READ_LANES(source)

    vec4 acc[D_V];
    [[unroll]] for (uint d = 0u; d < D_V; d++)
        acc[d] = vec4(0.0);
    vec4 decayed = vec4(1.0), norm = vec4(0.0); // from the token at hand to the end of the chunk
    float fixed_decay = 1.0;
#ifndef GATE
    if (DECAY == DECAY_HEAD)
        fixed_decay = decay_of(decays[pc.base[RAPT_BIND_DECAY - 1u] + (s.h * p.heads_decay / p.heads) * p.decay_stride_h]);
#endif
    const uint beta_at = pc.base[RAPT_BIND_BETA - 1u] + s.batch * p.beta_stride_b +
                         (s.h * p.heads_beta / p.heads) * p.beta_stride_h;
    const uint blocks = (end - begin + KEYS - 1u) / KEYS;
    [[dont_unroll]] for (uint block = 0u; block < blocks; block++) {
        vec4 k[KEYS], v[KEYS * SPANS_V];
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            const uint back = block * KEYS + c + 1u; // tokens from the end; past the beginning there are none
            const bool exists = back <= end - begin;
            const uint token = exists ? end - back : begin;
            k[c] = phi(STORED4(texelFetch(texels_k, int((k_row(s, token) + row) / 4u))));
            k[c] = exists ? k[c] * decayed : vec4(0.0);
            if (NORMALIZE != 0u)
                norm += k[c];
            if (BETA != 0u)
                k[c] *= exists ? betas[beta_at + (s.first + token) * p.beta_stride_s] : 0.0;
#ifdef GATE
            const vec4 alpha = decay_of(texelFetch(texels_decay, int((decay_row(s, token) + row) / 4u)));
            decayed *= exists ? alpha : vec4(1.0);
#else
            if (DECAY == DECAY_TOKEN) {
                const float alpha = decay_of(decays[decay_row(s, token)]);
                decayed *= exists ? alpha : 1.0;
            } else if (DECAY == DECAY_HEAD) {
                decayed *= exists ? fixed_decay : 1.0;
            }
#endif
            [[unroll]] for (uint span = 0u; span < SPANS_V; span++) {
                const vec4 value =
                    STORED4(texelFetch(texels_v, int((v_row(s, token) + min(span * SPAN + lane * 4u, D_V - 4u)) / 4u)));
                v[c * SPANS_V + span] = exists ? value : vec4(0.0);
            }
        }
        [[unroll]] for (uint d = 0u; d < D_V; d++)
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                acc[d] += k[c] * BROADCAST(v[c * SPANS_V + d / SPAN], d % SPAN);
    }

    float result[D_V * 4u]; // a copy with computed indices, for rolled loops
    [[unroll]] for (uint d = 0u; d < D_V; d++)
        [[unroll]] for (uint r = 0u; r < 4u; r++)
            result[d * 4u + r] = acc[d][r];
    if (row0 < D_K) {
        const uint at = chunk_state(s, chunk);
        [[dont_unroll]] for (uint r = 0u; r < 4u; r++)
            [[dont_unroll]] for (uint d = 0u; d < D_V; d += 4u) {
                const uint i = d * 4u + r;
                states4[(at + (row0 + r) * p.chunk_pitch + d) / 4u] =
                    vec4(result[i], result[i + 4u], result[i + 8u], result[i + 12u]);
            }
        const uint step_at = pc.base[RAPT_BIND_STEPS - 1u] + chunk_number(s, chunk) * p.step_size;
        [[unroll]] for (uint r = 0u; r < 4u; r++) {
            if (DECAY != DECAY_ONE && row0 + r < p.step_size)
                steps[step_at + row0 + r] = decayed[r];
            if (NORMALIZE != 0u)
                norms[chunk_norm(s, chunk) + row0 + r] = norm[r];
        }
    }
}
