#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// Outputs of rule none from the states at the beginning of each chunk, for software devices (lanes.glsl).
//
// A workgroup is one subgroup; lane t owns the ROWS tokens r0 + r * LANES + t of a chunk, their queries and outputs in
// registers. Keys of the chunk are walked backwards, from the last token down: a token's decay from key to query is then a
// running product, so no decay, however small, is divided by or exponentiated. With decays per channel (GATE) it is the
// query that is multiplied up. What is left at the chunk's beginning meets the state there.
#include "common/linear_params.h"
#include "common/io.glsl"

layout(local_size_x = LANES) in;
layout(constant_id = 0) const uint KEYS = 4; // an iteration
layout(constant_id = 1) const uint D_K = 64;
layout(constant_id = 2) const uint D_V = 64;
layout(constant_id = 3) const uint ALIGNED_ = 1;
layout(constant_id = 4) const uint DECAY = 0;
layout(constant_id = 5) const uint LOG_DECAY = 0;
layout(constant_id = 6) const uint BETA = 0;
layout(constant_id = 7) const uint NORMALIZE = 0;
layout(constant_id = 8) const uint PHI = 0;
#define ALIGNED true // rows that are not are refused
#include "state/tensors.glsl"
#include "state/lanes.glsl"

layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer Queries4 { WORD4 q_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_BETA) readonly buffer Betas { float betas[]; };
layout(std430, set = 0, binding = RAPT_BIND_NORM) readonly buffer Norms { float norms[]; };
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform STORED texels_k;
layout(set = 0, binding = RAPT_BIND_TEXEL_V) uniform STORED texels_v;
layout(set = 0, binding = RAPT_BIND_TEXEL_STATE) uniform samplerBuffer texels_state;
#ifdef GATE
layout(set = 0, binding = RAPT_BIND_TEXEL_DECAY) uniform samplerBuffer texels_decay;
#else
layout(std430, set = 0, binding = RAPT_BIND_DECAY) readonly buffer Decays { float decays[]; };
#endif
#include "common/store.glsl"

vec4 fetch_k(uint row, uint d)
{
    vec4 k = phi(STORED4(texelFetch(texels_k, int((row + d) / 4u))));
    return D_K % SPAN == 0u || d < D_K ? k : vec4(0.0); // beyond is another row's
}

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint chunk = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
    const uint begin = min(pc.token0 + chunk * pc.chunk, s.tokens);
    const uint end = min(min(begin + pc.chunk, pc.token1), s.tokens);
    const uint row0 = begin + gl_WorkGroupID.x * (LANES * ROWS);
    // No early return: these devices would then mask everything after it.
    const bool idle = row0 >= end;
    READ_LANES(source)

    RowInts place; // tokens past the last are computed and not stored
    [[unroll]] for (uint r = 0u; r < ROWS; r++)
        place[r] = row0 + r * LANES + lane;
    float q_read[D_K * ROWS]; // with computed indices
    [[dont_unroll]] for (uint r = 0u; r < ROWS && !idle; r++) {
        uint at = q_row(s, min(row0 + r * LANES + lane, end - 1u));
        [[dont_unroll]] for (uint d = 0u; d < D_K; d += 4u) {
            vec4 x = phi(unpack4(q_words4[(at + d) / 4u]));
            q_read[d * ROWS + r] = x.x;
            q_read[(d + 1u) * ROWS + r] = x.y;
            q_read[(d + 2u) * ROWS + r] = x.z;
            q_read[(d + 3u) * ROWS + r] = x.w;
        }
    }
    Rows q[D_K]; // indexed by constants only: registers
    [[unroll]] for (uint d = 0u; d < D_K; d++)
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            q[d][r] = q_read[d * ROWS + r];
    Rows acc[D_V];
    [[unroll]] for (uint d = 0u; d < D_V; d++)
        acc[d] = Rows(0.0);
    Rows decayed = Rows(1.0), l = Rows(0.0); // from the token at hand to the queries; the normaliser
    float fixed_decay = 1.0;
#ifndef GATE
    if (DECAY == DECAY_HEAD)
        fixed_decay = decay_of(decays[pc.base[RAPT_BIND_DECAY - 1u] + (s.h * p.heads_decay / p.heads) * p.decay_stride_h]);
#endif
    const uint beta_at = pc.base[RAPT_BIND_BETA - 1u] + s.batch * p.beta_stride_b +
                         (s.h * p.heads_beta / p.heads) * p.beta_stride_h;

    // Blocks of KEYS tokens, the last that a row sees first.
    const uint blocks = idle ? 0u : (min(row0 + LANES * ROWS, end) - begin + KEYS - 1u) / KEYS;
    [[dont_unroll]] for (uint block = blocks; block > 0u; block--) {
        const uint key0 = begin + (block - 1u) * KEYS;
        Rows w[KEYS];
        RowFlags seen[KEYS];
        uint at[KEYS];
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            w[c] = Rows(0.0);
            seen[c] = lessThanEqual(RowInts(key0 + c), place);
            at[c] = k_row(s, min(key0 + c, end - 1u));
        }
        [[unroll]] for (uint span = 0u; span < SPANS_K; span++) {
            vec4 k[KEYS];
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                k[c] = fetch_k(at[c], span * SPAN + lane * 4u);
#ifdef GATE
            vec4 alpha[KEYS];
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                alpha[c] = decay_of(texelFetch(
                    texels_decay, int((decay_row(s, min(key0 + c, end - 1u)) + min(span * SPAN + lane * 4u, D_K - 4u)) / 4u)));
#endif
            [[unroll]] for (uint i = 0u; i < min(SPAN, D_K - span * SPAN); i++)
                [[unroll]] for (uint n = 0u; n < KEYS; n++) {
                    const uint c = KEYS - 1u - n;
                    w[c] += q[span * SPAN + i] * BROADCAST(k[c], i);
#ifdef GATE // tokens before the key see it through one decay more
                    q[span * SPAN + i] *= mix(Rows(1.0), Rows(BROADCAST(alpha[c], i)), seen[c]);
#endif
                }
        }
        vec4 v[KEYS * SPANS_V];
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            at[c] = v_row(s, min(key0 + c, end - 1u));
            [[unroll]] for (uint span = 0u; span < SPANS_V; span++)
                v[c * SPANS_V + span] =
                    STORED4(texelFetch(texels_v, int((at[c] + min(span * SPAN + lane * 4u, D_V - 4u)) / 4u)));
        }
        [[unroll]] for (uint n = 0u; n < KEYS; n++) {
            const uint c = KEYS - 1u - n;
            w[c] = mix(Rows(0.0), w[c] * decayed, seen[c]);
            if (NORMALIZE != 0u)
                l += w[c];
            if (BETA != 0u)
                w[c] *= betas[beta_at + (s.first + min(key0 + c, end - 1u)) * p.beta_stride_s];
#ifndef GATE
            if (DECAY == DECAY_TOKEN)
                decayed *= mix(Rows(1.0), Rows(decay_of(decays[decay_row(s, min(key0 + c, end - 1u))])), seen[c]);
            else if (DECAY == DECAY_HEAD)
                decayed *= mix(Rows(1.0), Rows(fixed_decay), seen[c]);
#endif
        }
        if (key0 + KEYS > row0) { // some row does not see some key
            // 0 * NaN is NaN: what a later token holds must not reach an earlier one.
            uint odd = 0u;
            [[unroll]] for (uint i = 0u; i < KEYS * SPANS_V; i++)
                odd |= not_finite4(v[i]) ? 1u : 0u;
            [[unroll]] for (uint lanes = 1u; lanes < LANES; lanes *= 2u)
                odd |= subgroupShuffleXor(odd, lanes);
            if (odd != 0u) {
                [[dont_unroll]] for (uint c = 0u; c < KEYS; c++) {
                    Rows weight = w[0];
                    [[unroll]] for (uint i = 1u; i < KEYS; i++)
                        weight = c == i ? w[i] : weight;
                    const uint again = v_row(s, min(key0 + c, end - 1u));
                    const RowFlags sees = lessThanEqual(RowInts(key0 + c), place);
                    [[unroll]] for (uint span = 0u; span < SPANS_V; span++) {
                        const vec4 t =
                            STORED4(texelFetch(texels_v, int((again + min(span * SPAN + lane * 4u, D_V - 4u)) / 4u)));
                        [[unroll]] for (uint i = 0u; i < min(SPAN, D_V - span * SPAN); i++)
                            acc[span * SPAN + i] += mix(Rows(0.0), weight * BROADCAST(t, i), sees);
                    }
                }
                continue;
            }
        }
        [[unroll]] for (uint d = 0u; d < D_V; d++)
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                acc[d] += w[c] * BROADCAST(v[c * SPANS_V + d / SPAN], d % SPAN);
    }

    // The state at the beginning of the chunk: its rows are as keys of their own, with queries for weights.
#ifdef GATE
    [[unroll]] for (uint d = 0u; d < D_K; d++)
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            q_read[d * ROWS + r] = q[d][r];
#endif
    const uint state_at = chunk_state_read(s, chunk);
    [[dont_unroll]] for (uint d = 0u; d < (idle ? 0u : D_K); d += 4u) {
        Rows w[4];
        vec4 v[4u * SPANS_V];
        [[unroll]] for (uint c = 0u; c < 4u; c++) {
            [[unroll]] for (uint r = 0u; r < ROWS; r++)
                w[c][r] = q_read[(d + c) * ROWS + r];
            w[c] *= decayed;
            if (NORMALIZE != 0u)
                l += w[c] * norms[chunk_norm(s, chunk) + d + c];
            [[unroll]] for (uint span = 0u; span < SPANS_V; span++)
                v[c * SPANS_V + span] = texelFetch(
                    texels_state, int((state_at + (d + c) * p.chunk_pitch + min(span * SPAN + lane * 4u, D_V - 4u)) / 4u));
        }
        [[unroll]] for (uint e = 0u; e < D_V; e++)
            [[unroll]] for (uint c = 0u; c < 4u; c++)
                acc[e] += w[c] * BROADCAST(v[c * SPANS_V + e / SPAN], e % SPAN);
    }

    float result[D_V * ROWS]; // a copy with computed indices, again for rolled loops
    Rows factor = Rows(p.scale);
    if (NORMALIZE != 0u)
        factor = mix(1.0 / l, Rows(0.0), equal(l, Rows(0.0))); // the scale cancels
    [[unroll]] for (uint d = 0u; d < D_V; d++)
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            result[d * ROWS + r] = acc[d][r] * factor[r];
    [[dont_unroll]] for (uint r = 0u; r < ROWS; r++) {
        const uint token = row0 + r * LANES + lane;
        if (token < end) {
            const uint at = o_row(s, token);
            [[dont_unroll]] for (uint d = 0u; d < D_V; d += 4u) {
                const uint i = d * ROWS + r;
                store_out4(at + d, vec4(result[i], result[i + ROWS], result[i + 2u * ROWS], result[i + 3u * ROWS]), 4u);
            }
        }
    }
}
