#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef LANES
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// Walks the tokens of a sequence, or of each chunk of one, with the state in registers: S_t from S_(t-1), then
// o_t = scale * S_t^T phi(q_t).
//
// A workgroup has COLUMNS / 4 * PARTS invocations and owns COLUMNS columns of one state, each invocation four of them and
// of those the rows part * ROWS .. + ROWS - 1. What all columns need of a token (q, k, decays, a, b) is brought to shared
// memory, BLOCK tokens at a time; sums over the rows go through shared memory too.
//
// With RAPT_PASS_CHUNKS the state begins as 0 and what is left at the end of a chunk goes to the workspace. Beside it
// goes what the chunk multiplies a state by: the product of its decays, or for rules delta and dplr, which mix rows, a
// matrix. Each of its columns is what becomes of a column of the unit matrix when nothing is added, so the matrix is walked
// as d_k columns more. Decays are multiplied up, never divided: their extremes need no care.
//
// A normaliser is a column more, of values 1; each invocation keeps its own copy of its rows.
//
// For software devices (LANES is defined; see lanes.glsl) a workgroup is one subgroup without shared memory: a lane has
// four columns with all their rows, and what all columns need is fetched a span at a time and broadcast.
#include "common/linear_params.h"
#include "common/io.glsl"

#ifdef LANES
layout(local_size_x = LANES) in;
#define PARTS 1u
#else
layout(local_size_x = 128) in;
layout(constant_id = 0) const uint PARTS = 16; // of the rows
#endif
layout(constant_id = 1) const uint D_K = 64;
layout(constant_id = 2) const uint D_V = 64;
layout(constant_id = 3) const uint ALIGNED_ = 0;
layout(constant_id = 4) const uint DECAY = 0;
layout(constant_id = 5) const uint LOG_DECAY = 0;
layout(constant_id = 6) const uint BETA = 0;
layout(constant_id = 7) const uint NORMALIZE = 0;
layout(constant_id = 8) const uint PHI = 0;
layout(constant_id = 9) const uint PASS = 0;
layout(constant_id = 10) const uint VARLEN = 0;
#define ALIGNED (ALIGNED_ != 0u)
// RULE is a define: 0 none, 1 delta, 2 dplr. So is HAS_VARLEN: such rows of rule none have no beta.
#if RULE == 1
#define VARLEN_BINDING 7
#elif RULE == 0 && defined(HAS_VARLEN)
#define VARLEN_BINDING 6
#endif
#if RULE == 1 || (RULE == 0 && !defined(HAS_VARLEN))
#define HAS_BETA 1
#else
#define HAS_BETA 0
#endif
#include "state/tensors.glsl"

#ifdef LANES
#include "state/lanes.glsl"
const uint SIDE = LANES;
const uint STRIDE = D_K <= 64u ? 2u : 1u; // tokens a turn: what a loop hands on is blended with a mask each turn
#else
const uint SIDE = 128u / PARTS; // invocations side by side along the columns
#endif
const uint COLUMNS = SIDE * 4u;
const uint ROWS = (D_K + PARTS * 4u - 1u) / (PARTS * 4u) * 4u; // of an invocation; a multiple of 4
const uint DIM = ROWS * PARTS;                               // d_k, padded with zeros; at most 256
const uint BLOCK = DIM < 32u ? 16u : 512u / DIM;                    // tokens in shared memory
const uint BLOCKS_V = (D_V + COLUMNS - 1u) / COLUMNS;

#ifdef LANES
layout(set = 0, binding = RAPT_BIND_TEXEL_Q) uniform STORED texels_q;
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform STORED texels_k;
layout(set = 0, binding = RAPT_BIND_TEXEL_STATE) uniform samplerBuffer texels_state;
#else
layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer Queries { WORD1 q_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer Keys { WORD1 k_words[]; };
#endif
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer Values { WORD1 v_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer Values4 { WORD4 v_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_STEPS) buffer Steps { float steps[]; };
#ifdef GATE // with LANES: rows for decays per channel
layout(set = 0, binding = RAPT_BIND_TEXEL_DECAY) uniform samplerBuffer texels_decay;
#else
layout(std430, set = 0, binding = RAPT_BIND_DECAY) readonly buffer Decays { float decays[]; };
#endif
#if HAS_BETA
layout(std430, set = 0, binding = RAPT_BIND_BETA) readonly buffer Betas { float betas[]; };
#endif
#if RULE == 0
layout(std430, set = 0, binding = RAPT_BIND_NORM) buffer Norms { float norms[]; };
#endif
#if RULE == 2
#ifdef LANES
layout(set = 0, binding = RAPT_BIND_TEXEL_A) uniform STORED texels_a;
layout(set = 0, binding = RAPT_BIND_TEXEL_B) uniform STORED texels_b;
#else
layout(std430, set = 0, binding = RAPT_BIND_A) readonly buffer Reads { WORD1 a_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_B) readonly buffer Writes { WORD1 b_words[]; };
#endif
ROW_INDEX(a, a, RAPT_BIND_A)
ROW_INDEX(b, b, RAPT_BIND_B)
#endif
layout(std430, set = 0, binding = RAPT_BIND_STATE) buffer States { float states[]; };
layout(std430, set = 0, binding = RAPT_BIND_STATE) buffer States4 { vec4 states4[]; };
#include "common/store.glsl"

#ifndef LANES
shared vec4 s_q[128], s_k[128], s_decay[128]; // (token, row)
#if RULE == 2
shared vec4 s_a[128], s_b[128];
#endif
shared float s_alpha[16], s_beta[16];
shared vec4 s_sum[2][128];
#endif

// Four columns from `index` on, of which `count` exist (0 to 4).
vec4 load_v(uint index, uint count)
{
    if (ALIGNED)
        return count == 0u ? vec4(0.0) : unpack4(v_words4[index >> 2]);
    vec4 x = vec4(0.0);
    for (uint i = 0u; i < count; i++)
        x[i] = LOAD_ELEMENT(v_words, index + i);
    return x;
}
vec4 load_state(uint index, uint count)
{
    if (ALIGNED)
        return count == 0u ? vec4(0.0) : states4[index >> 2];
    vec4 x = vec4(0.0);
    for (uint i = 0u; i < count; i++)
        x[i] = states[index + i];
    return x;
}
void store_state(uint index, vec4 x, uint count)
{
    if (ALIGNED) {
        if (count != 0u)
            states4[index >> 2] = x;
        return;
    }
    for (uint i = 0u; i < count; i++)
        states[index + i] = x[i];
}

#ifdef LANES
#define sum_parts(x, place, wanted) (x)
#define IS_LIVE live
#define ONLY_LIVE(x) (live ? (x) : vec4(0.0))
#define SPREAD(texels, i) BROADCAST(texels[(i) / SPAN], (i) % SPAN)
#define KEY(i) SPREAD(k, i)
#define QUERY(i) SPREAD(q, i)
#define FACTOR(i) SPREAD(factors, i)
#define READ(i) SPREAD(a, i)
#define WRITE(i) SPREAD(b, i)
// Elements of a vector over rows that this lane holds.
#define FETCH(texels, at, span) texelFetch(texels, int(((at) + min((span) * SPAN + lane * 4u, D_K - 4u)) / 4u))
#define FETCH_STORED(texels, at, span) STORED4(FETCH(texels, at, span))
#else
float decay_of(float x) { return LOG_DECAY != 0u ? exp(x) : x; }
vec4 decay_of(vec4 x) { return LOG_DECAY != 0u ? exp(x) : x; }

#endif

// The numbers of a token.
float token_decay(Sequence s, uint token)
{
#ifndef GATE
    if (DECAY == DECAY_HEAD)
        return decay_of(decays[pc.base[RAPT_BIND_DECAY - 1u] + (s.h * p.heads_decay / p.heads) * p.decay_stride_h]);
    if (DECAY == DECAY_TOKEN)
        return decay_of(decays[decay_row(s, token)]);
#endif
    return 1.0;
}
float token_beta(Sequence s, uint token)
{
#if HAS_BETA
    if (BETA != 0u)
        return betas[pc.base[RAPT_BIND_BETA - 1u] + s.batch * p.beta_stride_b +
                     (s.h * p.heads_beta / p.heads) * p.beta_stride_h + (s.first + token) * p.beta_stride_s];
#endif
    return 1.0;
}

#ifndef LANES
#define IS_LIVE true
#define ONLY_LIVE(x) (x)
#define KEY(i) s_k[at + (i) / 4u][(i) % 4u]
#define QUERY(i) s_q[at + (i) / 4u][(i) % 4u]
#define FACTOR(i) s_decay[at + (i) / 4u][(i) % 4u]
#define READ(i) s_a[at + (i) / 4u][(i) % 4u]
#define WRITE(i) s_b[at + (i) / 4u][(i) % 4u]

// Element `row` of a vector over rows; those beyond d_k are 0.
#define VECTOR(words, at, row) ((row) < D_K ? LOAD_ELEMENT(words, (at) + (row)) : 0.0)
#define VECTOR4(words, at, row)                                                                              \
    vec4(VECTOR(words, at, row), VECTOR(words, at, (row) + 1u), VECTOR(words, at, (row) + 2u),                \
         VECTOR(words, at, (row) + 3u))

vec4 mapped(vec4 x, uint row)
{
    return vec4(row < D_K ? phi(x.x) : 0.0, row + 1u < D_K ? phi(x.y) : 0.0, row + 2u < D_K ? phi(x.z) : 0.0,
                row + 3u < D_K ? phi(x.w) : 0.0);
}

// A row of features becomes its softmax, in one invocation.
float feature_sum(float top, uint at, bool is_query)
{
    float sum = 0.0;
    for (uint i = 0u; i < D_K; i++)
        sum += exp((is_query ? s_q[at + i / 4u][i % 4u] : s_k[at + i / 4u][i % 4u]) - top);
    return sum;
}
void soften(uint at, bool is_query)
{
    float top = -3.4e38;
    for (uint i = 0u; i < D_K; i++)
        top = max(top, is_query ? s_q[at + i / 4u][i % 4u] : s_k[at + i / 4u][i % 4u]);
    float share = 1.0 / feature_sum(top, at, is_query);
    for (uint i = 0u; i < D_K; i++) {
        if (is_query)
            s_q[at + i / 4u][i % 4u] = exp(s_q[at + i / 4u][i % 4u] - top) * share;
        else
            s_k[at + i / 4u][i % 4u] = exp(s_k[at + i / 4u][i % 4u] - top) * share;
    }
}

// Brings tokens [token, token + count) to shared memory.
void stage(Sequence s, uint token, uint count)
{
    barrier(); // what was there has been read
    for (uint item = gl_LocalInvocationID.x; item < count * (DIM / 4u); item += 128u) {
        uint t = item / (DIM / 4u), row = (item - t * (DIM / 4u)) * 4u;
        s_k[item] = mapped(VECTOR4(k_words, k_row(s, token + t), row), row);
        if (PASS != RAPT_PASS_CHUNKS)
            s_q[item] = mapped(VECTOR4(q_words, q_row(s, token + t), row), row);
        if (DECAY == DECAY_CHANNEL) {
            uint at = decay_row(s, token + t) + row;
            s_decay[item] = decay_of(vec4(row < D_K ? decays[at] : 0.0, row + 1u < D_K ? decays[at + 1u] : 0.0,
                                          row + 2u < D_K ? decays[at + 2u] : 0.0, row + 3u < D_K ? decays[at + 3u] : 0.0));
        }
#if RULE == 2
        s_a[item] = VECTOR4(a_words, a_row(s, token + t), row);
        s_b[item] = VECTOR4(b_words, b_row(s, token + t), row);
#endif
    }
    if (gl_LocalInvocationID.x < count) {
        s_alpha[gl_LocalInvocationID.x] = token_decay(s, token + gl_LocalInvocationID.x);
        s_beta[gl_LocalInvocationID.x] = token_beta(s, token + gl_LocalInvocationID.x);
    }
    barrier();
    if (PHI == PHI_SOFTMAX) {
        if (gl_LocalInvocationID.x < count)
            soften(gl_LocalInvocationID.x * (DIM / 4u), false);
        else if (PASS != RAPT_PASS_CHUNKS && gl_LocalInvocationID.x - count < count)
            soften((gl_LocalInvocationID.x - count) * (DIM / 4u), true);
        barrier();
    }
}

// The sum over all parts, to those who want it. No two calls after each other may have the same `place`: so one barrier
// does.
vec4 sum_parts(vec4 x, uint place, bool wanted)
{
    if (PARTS == 1u)
        return x;
    const uint lane = gl_LocalInvocationID.x % SIDE;
    s_sum[place][gl_LocalInvocationID.x] = x;
    barrier();
    vec4 sum = vec4(0.0);
    for (uint part = 0u; part < PARTS && wanted; part++)
        sum += s_sum[place][part * SIDE + lane];
    return sum;
}
#endif

void store_step(uint index, vec4 x)
{
    for (uint c = 0u; c < 4u; c++)
        steps[index + c] = x[c];
}

// Rows of registers from and to memory. Software devices take seconds to compile unrolled accesses; elsewhere computed
// indices take registers to memory.
#ifdef LANES
#define ROWS_FROM_MEMORY(type, registers, load)                                                              \
    {                                                                                                        \
        type copy[ROWS];                                                                                     \
        [[dont_unroll]] for (uint i = 0u; i < ROWS; i++) copy[i] = load;                                     \
        [[unroll]] for (uint i = 0u; i < ROWS; i++) registers[i] = copy[i];                                  \
    }
#define ROWS_TO_MEMORY(type, registers, store)                                                               \
    {                                                                                                        \
        type copy[ROWS];                                                                                     \
        [[unroll]] for (uint i = 0u; i < ROWS; i++) copy[i] = registers[i];                                  \
        [[dont_unroll]] for (uint i = 0u; i < ROWS; i++) {                                                   \
            const type x = copy[i];                                                                          \
            store;                                                                                           \
        }                                                                                                    \
    }
#else
#define ROWS_FROM_MEMORY(type, registers, load)                                                              \
    [[unroll]] for (uint i = 0u; i < ROWS; i++) if (row0 + i < D_K) registers[i] = load;
#define ROWS_TO_MEMORY(type, registers, store)                                                               \
    {                                                                                                        \
        [[unroll]] for (uint i = 0u; i < ROWS; i++) if (row0 + i < D_K)                                      \
        {                                                                                                    \
            const type x = registers[i];                                                                     \
            store;                                                                                           \
        }                                                                                                    \
    }
#endif

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint chunk = gl_WorkGroupID.y;
    const uint begin = min(pc.token0 + chunk * pc.chunk, s.tokens);
    const uint end = min(min(begin + pc.chunk, pc.token1), s.tokens);
    const uint lane = gl_LocalInvocationID.x % SIDE, part = gl_LocalInvocationID.x / SIDE;
    const bool unit = RULE != 0 && PASS == RAPT_PASS_CHUNKS && gl_WorkGroupID.x >= BLOCKS_V; // columns of the matrix
    const uint column = ((unit ? gl_WorkGroupID.x - BLOCKS_V : gl_WorkGroupID.x) * SIDE + lane) * 4u;
    const uint width = unit ? D_K : D_V;
    const uint count = column < width ? min(width - column, 4u) : 0u;
    const uint row0 = part * ROWS;
    const bool has_norm = RULE == 0 && NORMALIZE != 0u;

    vec4 state[ROWS];
    float norm[ROWS];
    vec4 step[ROWS / 4u]; // of decays: what the chunk multiplies rows by
    [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        state[i] = vec4(0.0);
        norm[i] = 0.0;
        if (unit) {
            const uint at = row0 + i - column; // the unit matrix
            state[i] = vec4(at == 0u, at == 1u, at == 2u, at == 3u);
        }
    }
    [[unroll]] for (uint i = 0u; i < ROWS / 4u; i++)
        step[i] = vec4(1.0);
    const uint reads = RAPT_LINEAR_READ_STATE | RAPT_LINEAR_READ_IN;
    const bool norm_only = PASS == RAPT_PASS_WHOLE && (pc.flags & RAPT_LINEAR_NORM_ONLY) != 0u;
    if (PASS == RAPT_PASS_OUT || (PASS == RAPT_PASS_WHOLE && (pc.flags & reads) != 0u)) {
#ifdef LANES
        const bool given = (pc.flags & RAPT_LINEAR_READ_IN) != 0u;
        const uint at = PASS == RAPT_PASS_OUT ? chunk_state_read(s, chunk)
                        : given ? pc.read_base + s.b * p.state_in_stride_b + s.h * p.state_in_stride_h
                                : pc.read_base + s.b * p.state_stride_b + s.h * p.state_stride_h;
        const uint pitch = PASS == RAPT_PASS_OUT ? p.chunk_pitch : given ? p.state_in_stride_k : p.state_stride_k;
        ROWS_FROM_MEMORY(vec4, state, texelFetch(texels_state, int((at + i * pitch + min(column, D_V - 4u)) / 4u)))
#else
        const uint at = PASS == RAPT_PASS_OUT ? chunk_state(s, chunk) : state_from(s);
        const uint pitch = PASS == RAPT_PASS_OUT ? p.chunk_pitch : p.state_stride_k;
        ROWS_FROM_MEMORY(vec4, state, load_state(at + (row0 + i) * pitch + column, count))
#endif
#if RULE == 0
        if (NORMALIZE != 0u) {
            const uint norm_at = PASS == RAPT_PASS_OUT ? chunk_norm(s, chunk) : norm_row(s) - pc.back * p.d_k;
            ROWS_FROM_MEMORY(float, norm, norms[norm_at + row0 + i])
        }
#endif
    }

#ifdef LANES
    READ_LANES(source)
    [[dont_unroll]] for (uint token0 = begin; token0 < end; token0 += STRIDE) {
        [[unroll]] for (uint n = 0u; n < STRIDE; n++) {
            const uint t = 0u, token = min(token0 + n, end - 1u);
            const bool live = n == 0u || token0 + n < end; // else nothing changes
            vec4 q[SPANS_K], k[SPANS_K], factors[SPANS_K];
            [[unroll]] for (uint span = 0u; span < SPANS_K; span++) {
                k[span] = phi(FETCH_STORED(texels_k, k_row(s, token), span));
                q[span] = PASS == RAPT_PASS_CHUNKS ? vec4(0.0) : phi(FETCH_STORED(texels_q, q_row(s, token), span));
#ifdef GATE
                factors[span] = decay_of(FETCH(texels_decay, decay_row(s, token), span));
#else
                factors[span] = vec4(1.0);
#endif
            }
#if RULE == 2
            vec4 a[SPANS_K], b[SPANS_K];
            [[unroll]] for (uint span = 0u; span < SPANS_K; span++) {
                a[span] = FETCH_STORED(texels_a, a_row(s, token), span);
                b[span] = FETCH_STORED(texels_b, b_row(s, token), span);
            }
#endif
            const float alpha = live ? token_decay(s, token) : 1.0, beta = token_beta(s, token);
            [[unroll]] for (uint span = 0u; span < (n != 0u ? SPANS_K : 0u); span++) {
                k[span] = live ? k[span] : vec4(0.0);
                factors[span] = live ? factors[span] : vec4(1.0);
#if RULE == 2
                b[span] = live ? b[span] : vec4(0.0);
#endif
            }
#else
    [[dont_unroll]] for (uint token = begin; token < end; token += BLOCK) {
        const uint tokens = min(BLOCK, end - token);
        stage(s, token, tokens);
        [[dont_unroll]] for (uint t = 0u; t < tokens; t++) {
            const uint at = (t * DIM + row0) / 4u;
            const float alpha = s_alpha[t], beta = s_beta[t];
#endif
            const vec4 value = unit ? vec4(0.0) : load_v(v_row(s, token + t) + column, count);
#if RULE == 2
            // Read the state as it was.
            vec4 read = vec4(0.0);
            [[unroll]] for (uint i = 0u; i < ROWS; i++)
                read += state[i] * READ(i);
            read = ONLY_LIVE(sum_parts(read, PASS == RAPT_PASS_CHUNKS ? t & 1u : 0u, true));
#endif
#define DECAYED(i) (DECAY == DECAY_CHANNEL ? FACTOR(i) : alpha)
#if RULE == 1
            vec4 known = vec4(0.0);
            [[unroll]] for (uint i = 0u; i < ROWS; i++)
                known += state[i] * (DECAY == DECAY_CHANNEL ? KEY(i) * FACTOR(i) : KEY(i));
            if (DECAY != DECAY_CHANNEL)
                known *= alpha;
            const vec4 add = ONLY_LIVE((value - sum_parts(known, PASS == RAPT_PASS_CHUNKS ? t & 1u : 0u, true)) * beta);
#else
            const vec4 add = ONLY_LIVE(value * beta);
#endif
            // One walk over the rows: software devices keep most of them in memory.
            vec4 o = vec4(0.0);
            float z = 0.0;
            [[unroll]] for (uint i = 0u; i < ROWS; i++) {
                const float key = KEY(i);
                vec4 x = DECAY == DECAY_ONE ? state[i] : state[i] * DECAYED(i);
                x += add * key;
#if RULE == 2
                x += read * WRITE(i);
#endif
                state[i] = x;
                norm[i] = norm[i] * DECAYED(i) + key;
                step[i / 4u][i % 4u] *= DECAYED(i);
                if (PASS != RAPT_PASS_CHUNKS) {
                    o += x * QUERY(i);
                    z += norm[i] * QUERY(i);
                }
            }
            if (PASS != RAPT_PASS_CHUNKS) {
                const bool writes = part == t % PARTS; // the parts take turns
                if (has_norm) {
                    z = sum_parts(vec4(z, 0.0, 0.0, 0.0), 0u, writes).x;
                    o = sum_parts(o, 1u, writes);
                    o = z == 0.0 ? vec4(0.0) : o / z; // the scale cancels
                } else {
                    o = sum_parts(o, RULE == 0 ? t & 1u : 1u, writes) * p.scale;
                }
                if (writes && IS_LIVE && count != 0u && !norm_only)
                    store_out4(o_row(s, token + t) + column, o, count);
            }
        }
    }

    if (PASS == RAPT_PASS_CHUNKS && unit) {
        const uint at = pc.base[RAPT_BIND_STEPS - 1u] + chunk_number(s, chunk) * p.step_size;
        if (column < p.step_pitch) // with zeros up to the pitch
            ROWS_TO_MEMORY(vec4, state, store_step(at + (row0 + i) * p.step_pitch + column, x))
        return;
    }
    if (PASS == RAPT_PASS_CHUNKS || (PASS == RAPT_PASS_WHOLE && (pc.flags & RAPT_LINEAR_WRITE_STATE) != 0u)) {
        const uint at = PASS == RAPT_PASS_CHUNKS ? chunk_state(s, chunk) : state_row(s);
        const uint pitch = PASS == RAPT_PASS_CHUNKS ? p.chunk_pitch : p.state_stride_k;
        ROWS_TO_MEMORY(vec4, state, store_state(at + (row0 + i) * pitch + column, x, count))
    }
#if RULE == 0
    // Workgroups of other columns read the running normaliser: with several of them it is written by a dispatch of its own.
    const bool first = gl_WorkGroupID.x == 0u && lane == 0u;
    if (first && NORMALIZE != 0u &&
        (PASS == RAPT_PASS_CHUNKS || (PASS == RAPT_PASS_WHOLE && (pc.flags & RAPT_LINEAR_WRITE_NORM) != 0u))) {
        const uint norm_at = PASS == RAPT_PASS_CHUNKS ? chunk_norm(s, chunk) : norm_row(s);
        ROWS_TO_MEMORY(float, norm, norms[norm_at + row0 + i] = x)
    }
    if (first && PASS == RAPT_PASS_CHUNKS && DECAY != DECAY_ONE) {
        const uint step_at = pc.base[RAPT_BIND_STEPS - 1u] + chunk_number(s, chunk) * p.step_size;
        [[unroll]] for (uint i = 0u; i < ROWS; i++)
            if (row0 + i < p.step_size)
                steps[step_at + row0 + i] = step[i / 4u][i % 4u];
    }
#endif
}
