#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Scans with one number of state a channel (sums, maxima, linear recurrences, values that are held), and the three of softmax,
// over the tokens of a sequence or of each of its chunks: an invocation has four channels.
//
// With RAPT_SCAN_CHUNKS the state begins as what the operation leaves alone, and what is left at the end of a chunk goes to
// the workspace, beside the product of what multiplied it. Everything is multiplied up as it comes, nothing divided.
//
// SOFTMAX is a define: state (m, l, acc), where m and l are the same for all channels with one score, and every lane has its
// own copy. With LANES, for software devices, a workgroup is one subgroup and tokens are read through texel buffers.
#include "common/scan_params.h"
#include "common/io.glsl"

#ifdef LANES
layout(local_size_x = LANES) in;
#define SIDE LANES
#else
layout(local_size_x = 64) in;
#define SIDE 64u
#endif
layout(constant_id = 1) const uint FLAGS = 0;
layout(constant_id = 2) const uint COEF = 0;
layout(constant_id = 3) const uint OP = 0;
layout(constant_id = 4) const uint PASS = 0;
layout(constant_id = 5) const uint ALIGNED_ = 0;
#define ALIGNED (ALIGNED_ != 0u)
#define HAS_CU
#include "scan/sequence.glsl"

#define COEF_SHARED 1u
#define COEF_CHANNEL 2u
#define AHEAD 4u // tokens that are read together

#ifdef LANES
#if DTYPE == DTYPE_BF16
layout(set = 0, binding = RAPT_SCAN_TEXEL_X) uniform usamplerBuffer texels_x;
#define STORED4(texel) unpack4((texel).xy)
#else
layout(set = 0, binding = RAPT_SCAN_TEXEL_X) uniform samplerBuffer texels_x;
#define STORED4(texel) (texel)
#endif
#ifdef COEF_TEXELS
layout(set = 0, binding = RAPT_SCAN_TEXEL_COEF) uniform samplerBuffer texels_coef;
#endif
#else
layout(std430, set = 0, binding = RAPT_SCAN_BIND_X) readonly buffer X1 { WORD1 x_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_X) readonly buffer X4 { WORD4 x_words4[]; };
#endif
#ifndef COEF_TEXELS
layout(std430, set = 0, binding = RAPT_SCAN_BIND_COEF) readonly buffer Coef1 { float coefs1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_COEF) readonly buffer Coef4 { vec4 coefs4[]; };
#endif
layout(std430, set = 0, binding = RAPT_SCAN_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_STATE) buffer States { float states[]; };
layout(std430, set = 0, binding = RAPT_SCAN_BIND_STATE) buffer States4 { vec4 states4[]; };
#include "common/store.glsl"

#define NOTHING uintBitsToFloat(0xff800000u) // -inf

// Four channels from `index` on, of which `count` exist.
vec4 load_x(uint index, uint count)
{
#ifdef LANES
    return STORED4(texelFetch(texels_x, int(index >> 2)));
#else
    if (ALIGNED)
        return unpack4(x_words4[index >> 2]);
    vec4 x = vec4(0.0);
    for (uint i = 0u; i < count; i++)
        x[i] = LOAD_ELEMENT(x_words1, index + i);
    return x;
#endif
}
vec4 load_coef(uint index, uint count)
{
#ifdef COEF_TEXELS
    return texelFetch(texels_coef, int(index >> 2));
#else
    if (COEF == COEF_SHARED)
        return vec4(coefs1[index]);
    if (ALIGNED)
        return coefs4[index >> 2];
    vec4 x = vec4(0.0);
    for (uint i = 0u; i < count; i++)
        x[i] = coefs1[index + i * p.place[2 * RAPT_SCAN_COEF].w];
    return x;
#endif
}

// The state of four channels: one vector, or (m, l, acc).
#ifdef SOFTMAX
#define NUMBERS 3u
#else
#define NUMBERS 1u
#endif
struct State {
    vec4 n[NUMBERS];
};
State empty_state()
{
    State s;
#ifdef SOFTMAX
    s.n[0] = vec4(NOTHING);
    s.n[1] = vec4(0.0);
    s.n[2] = vec4(0.0);
#else
    s.n[0] = vec4(OP == OP_MAX ? NOTHING : OP == OP_HOLD ? NOTHING : 0.0); // (not ||: see hook/walk.glsl)
#endif
    return s;
}

// Numbers [n, n + 1) of a channel's state lie stride_n apart, channels stride_c.
State load_state(Sequence s, uint channel, uint count)
{
    const uint at = PLACE(RAPT_SCAN_STATE, pc.base[RAPT_SCAN_BIND_STATE - 1], s.b, s.h);
    const uint stride_c = p.place[2 * RAPT_SCAN_STATE].w, stride_n = p.place[2 * RAPT_SCAN_STATE + 1].x;
    State state = empty_state();
    [[unroll]] for (uint n = 0u; n < NUMBERS; n++)
        for (uint i = 0u; i < count; i++)
            state.n[n][i] = states[at + (channel + i) * stride_c + n * stride_n];
    return state;
}
void store_state(Sequence s, uint channel, uint count, State state)
{
    const uint at = PLACE(RAPT_SCAN_STATE, pc.base[RAPT_SCAN_BIND_STATE - 1], s.b, s.h);
    const uint stride_c = p.place[2 * RAPT_SCAN_STATE].w, stride_n = p.place[2 * RAPT_SCAN_STATE + 1].x;
    [[unroll]] for (uint n = 0u; n < NUMBERS; n++)
        for (uint i = 0u; i < count; i++)
            states[at + (channel + i) * stride_c + n * stride_n] = state.n[n][i];
}

#ifdef SOFTMAX
// x joins with score s; a score of -inf does not, whatever x is.
void join(inout State state, vec4 x, vec4 s)
{
    const vec4 top = max(state.n[0], s);
    const bvec4 seen = notEqual(s, vec4(NOTHING)), before = notEqual(state.n[0], vec4(NOTHING));
    const vec4 weight = mix(vec4(0.0), exp(s - top), seen), keep = mix(vec4(0.0), exp(state.n[0] - top), before);
    state.n[0] = top;
    state.n[1] = state.n[1] * keep + weight;
    state.n[2] = state.n[2] * keep + weight * mix(vec4(0.0), x, seen);
}
vec4 output_of(State state)
{
    return mix(vec4(0.0), state.n[2] / state.n[1], greaterThan(state.n[1], vec4(0.0)));
}
#else
vec4 output_of(State state) { return state.n[0]; }
#endif

void main()
{
    const uint bh = pc.bh0 + gl_WorkGroupID.z, chunk = gl_WorkGroupID.y;
    const Sequence s = sequence_of(bh);
    const uint own = (gl_WorkGroupID.x * SIDE + gl_LocalInvocationID.x) * 4u;
    if (own >= p.channels)
        return;
    const uint count = min(p.channels - own, 4u);
    const uint end = min(pc.token1, s.tokens), first = min(pc.token0 + chunk * pc.chunk, end);
    const uint last = min(first + pc.chunk, end);
#ifdef LANES
    const uint x_at = FIRST(RAPT_SCAN_X, pc.base[RAPT_SCAN_BIND_X - 1], s) + own;
#else
    const uint x_at = FIRST(RAPT_SCAN_X, pc.base[RAPT_SCAN_BIND_X - 1], s) + own;
#endif
    const uint coef_at = FIRST(RAPT_SCAN_COEF, pc.base[RAPT_SCAN_BIND_COEF - 1], s) + own * p.place[2 * RAPT_SCAN_COEF].w;
    const uint out_at = FIRST(RAPT_SCAN_OUT, pc.base[RAPT_SCAN_BIND_OUT - 1], s) + own;
    const uint x_step = STEP(RAPT_SCAN_X), coef_step = STEP(RAPT_SCAN_COEF), out_step = STEP(RAPT_SCAN_OUT);

    State state = empty_state();
    vec4 product = vec4(1.0);
    if (PASS == RAPT_SCAN_OUTPUTS) {
        const uint at = (chunk_at(bh, chunk) + own) / 4u;
        [[unroll]] for (uint n = 0u; n < NUMBERS; n++)
            state.n[n] = states4[at + n * (p.pitch / 4u)];
    } else if (PASS == RAPT_SCAN_WHOLE) {
        if ((pc.flags & RAPT_SCAN_READ_STATE) != 0u)
            state = load_state(s, own, count);
    }

    for (uint t = first; t < last; t += AHEAD) {
        vec4 x[AHEAD], a[AHEAD];
        [[unroll]] for (uint i = 0u; i < AHEAD; i++) {
            const uint token = min(t + i, last - 1u);
            x[i] = load_x(x_at + token * x_step, count);
            a[i] = vec4(1.0);
            if (COEF != 0u)
                a[i] = load_coef(coef_at + token * coef_step, count);
        }
        [[unroll]] for (uint i = 0u; i < AHEAD; i++) {
            if (t + i >= last)
                break;
#ifdef SOFTMAX
            join(state, x[i], a[i]);
#else
            if (OP == OP_MAX) {
                state.n[0] = max(state.n[0], x[i]);
            } else if (OP == OP_HOLD) {
                state.n[0] = mix(state.n[0], x[i], greaterThanEqual(abs(x[i] - state.n[0]), a[i]));
            } else {
                vec4 step = a[i];
                if (FLAG(1u))
                    step = exp(step);
                vec4 add = x[i];
                if (FLAG(2u))
                    add *= 1.0 - step;
                state.n[0] = state.n[0] * step + add;
                if (PASS == RAPT_SCAN_CHUNKS)
                    product *= step;
            }
#endif
            if (PASS != RAPT_SCAN_CHUNKS)
                store_out4(out_at + (t + i) * out_step, output_of(state), count);
        }
    }

    if (PASS == RAPT_SCAN_CHUNKS) {
        const uint at = (chunk_at(bh, chunk) + own) / 4u;
        [[unroll]] for (uint n = 0u; n < NUMBERS; n++)
            states4[at + n * (p.pitch / 4u)] = state.n[n];
        if (OP == OP_LINEAR)
            states4[at + p.pitch / 4u] = product;
    } else if (PASS == RAPT_SCAN_WHOLE) {
        if ((pc.flags & RAPT_SCAN_WRITE_STATE) != 0u)
            store_state(s, own, count, state);
    }
}
