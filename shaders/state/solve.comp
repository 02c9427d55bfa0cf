#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The delta rule and dplr within chunks, all chunks at once: what leap.comp needs to take a chunk in one step.
//
// With u_t = v_t - k_t^T D_t S_(t-1), the rule is S_t = D_t S_(t-1) + beta_t k_t u_t^T. Let G(t, j) be the product of the decays
// after token j up to t, element by element, and S_0 the state before the chunk: then
//     u_t = v_t - (G(t, 0) k_t)^T S_0 - sum over j < t of a_tj u_j,   a_tj = k_t . (G(t, j) beta_j k_j)
// and so u = T v - T (G k) S_0 with T = (1 + a)^-1, a being strictly lower triangular: forward substitution, column by column
// (the WY form of Yang et al., arXiv 2406.06484, with the decays of arXiv 2412.06464 and 2510.26692). Decays are multiplied up
// along tokens while keys wait in registers, never divided nor kept as sums of logarithms: their extremes need no care.
//
// Rule dplr is S_t = D_t S_(t-1) + b_t u_t^T + k_t v_t^T, where u_t = S_(t-1)^T a_t reads the state as it was:
//     u_t = (G(t-1, 0) a_t)^T S_0 + sum over j < t of (a_t . G(t-1, j) b_j) u_j + (a_t . G(t-1, j) k_j) v_j
// A solve for u serves again, with a right side of two parts. Two sets of rows are written then, the b_j with what is solved for
// (set 0) and the k_j with values (set 1), and are taken one after the other by the same code, the values first.
//
// A workgroup has one chunk. Invocation (part, j) keeps a part of key j, decayed up to the token at hand; tokens pass through
// shared memory, BLOCK at a time.
#include "common/linear_params.h"
#include "common/io.glsl"

layout(local_size_x = 128) in;
layout(constant_id = 1) const uint D_K = 64;
layout(constant_id = 2) const uint D_V = 64;
layout(constant_id = 4) const uint DECAY = 0;
layout(constant_id = 5) const uint LOG_DECAY = 0;
layout(constant_id = 6) const uint BETA = 0;
layout(constant_id = 8) const uint PHI = 0;
layout(constant_id = 10) const uint VARLEN = 0;
layout(constant_id = 11) const uint CHUNK = 32;
// RULE is a define: 1 delta, 2 dplr.
#if RULE == 2
#define VARLEN_BINDING 8
#else
#define VARLEN_BINDING 7
#endif
#include "state/tensors.glsl"
#include "state/chunk.glsl"

layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer Queries { WORD1 q_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer Keys { WORD1 k_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer Values { WORD1 v_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_STEPS) buffer Steps { float steps[]; };
layout(std430, set = 0, binding = RAPT_BIND_DECAY) readonly buffer Decays { float decays[]; };
#if RULE == 2
layout(std430, set = 0, binding = RAPT_BIND_A) readonly buffer Reads { WORD1 a_words[]; };
layout(std430, set = 0, binding = RAPT_BIND_B) readonly buffer Writes { WORD1 b_words[]; };
ROW_INDEX(a, a, RAPT_BIND_A)
ROW_INDEX(b, b, RAPT_BIND_B)
#else
layout(std430, set = 0, binding = RAPT_BIND_BETA) readonly buffer Betas { float betas[]; };
#endif

const uint BLOCK = DIM > 128u ? 2u : 4u;    // tokens in shared memory
shared vec4 s_q[BLOCK * DIM_QUADS], s_k[BLOCK * DIM_QUADS]; // (token, quad); s_k: what reads the state, keys or dplr's a
shared vec4 s_decay[DECAY == DECAY_CHANNEL ? BLOCK * DIM_QUADS : 1u];
shared float s_alpha[CHUNK], s_beta[CHUNK];
shared float s_known[BLOCK][128], s_asked[BLOCK][128]; // parts of products: (token, part, j)
shared vec4 s_a[CHUNK * CHUNK / 4u];                    // (t, j)

// Four floats of the workspace; one view of it, so that no compiler takes two for different memory.
void store_quad(uint at, vec4 x)
{
    steps[at * 4u] = x.x;
    steps[at * 4u + 1u] = x.y;
    steps[at * 4u + 2u] = x.z;
    steps[at * 4u + 3u] = x.w;
}

float decay_of(float x) { return LOG_DECAY != 0u ? exp(x) : x; }

// The numbers of a token.
float token_decay(Sequence s, uint token)
{
    if (DECAY == DECAY_HEAD)
        return decay_of(decays[pc.base[RAPT_BIND_DECAY - 1u] + (s.h * p.heads_decay / p.heads) * p.decay_stride_h]);
    return DECAY == DECAY_TOKEN ? decay_of(decays[decay_row(s, token)]) : 1.0;
}
float token_beta(Sequence s, uint token)
{
#if RULE != 2
    if (BETA == 0u)
        return 1.0;
    return betas[pc.base[RAPT_BIND_BETA - 1u] + s.batch * p.beta_stride_b + (s.h * p.heads_beta / p.heads) * p.beta_stride_h +
                 (s.first + token) * p.beta_stride_s];
#else
    return 1.0;
#endif
}

// Elements 4 quad .. + 3 of a row; those beyond d_k are 0.
#define UNMAPPED(x) (x)
#define MAPPED_QUAD(x, words, at, quad, map)                                                                 \
    vec4 x = vec4(0.0);                                                                                      \
    [[unroll]] for (uint r = 0u; r < 4u; r++) if ((quad) * 4u + r < D_K)                                     \
        x[r] = map(LOAD_ELEMENT(words, (at) + (quad) * 4u + r));
#define QUAD(x, words, at, quad) MAPPED_QUAD(x, words, at, quad, phi)
#if RULE == 2
#define READING_QUAD(x, s, token, quad) MAPPED_QUAD(x, a_words, a_row(s, token), quad, UNMAPPED)
#else
#define READING_QUAD(x, s, token, quad) QUAD(x, k_words, k_row(s, token), quad)
#endif

// Brings tokens first .. of the chunk to shared memory; those past its end as zeros.
void stage(Sequence s, uint begin, uint first, uint count)
{
    for (uint item = gl_LocalInvocationID.x; item < BLOCK * DIM_QUADS; item += 128u) {
        const uint t = first + item / DIM_QUADS, quad = item % DIM_QUADS;
        vec4 key = vec4(0.0), query = vec4(0.0), factor = vec4(1.0);
        if (t < count) {
            READING_QUAD(k, s, begin + t, quad)
            QUAD(q, q_words, q_row(s, begin + t), quad)
            key = k;
            query = q * p.scale;
            if (DECAY == DECAY_CHANNEL) {
                const uint at = decay_row(s, begin + t) + quad * 4u;
                [[unroll]] for (uint r = 0u; r < 4u; r++)
                    if (quad * 4u + r < D_K)
                        factor[r] = decay_of(decays[at + r]);
            }
        }
        s_k[item] = key;
        s_q[item] = query;
        if (DECAY == DECAY_CHANNEL)
            s_decay[item] = factor;
    }
}

// Keys and queries, decayed from the beginning of the chunk: what tokens take from the state before it. `passed` goes along.
void pass_rows(uint at, uint first, inout vec4 passed)
{
    const uint quad = gl_LocalInvocationID.x;
    if (quad >= DIM_QUADS)
        return;
    [[unroll]] for (uint t = 0u; t < BLOCK; t++) {
#if RULE == 2
        store_quad(at + AT_READS + quad * CHUNK + first + t, passed * s_k[t * DIM_QUADS + quad]);
#endif
        passed *= DECAY == DECAY_CHANNEL ? s_decay[t * DIM_QUADS + quad] : vec4(s_alpha[first + t]);
#if RULE != 2
        store_quad(at + AT_READS + quad * CHUNK + first + t, -passed * s_k[t * DIM_QUADS + quad]);
#endif
        store_quad(at + AT_ASKS + quad * CHUNK + first + t, passed * s_q[t * DIM_QUADS + quad]);
    }
}

// The sums over parts of a block's products: into s_a, and to the workspace.
void sum_parts(uint at, uint first, uint which)
{
    for (uint item = gl_LocalInvocationID.x; item < BLOCK * CHUNK; item += 128u) {
        const uint t = item / CHUNK, j = item % CHUNK, token = first + t;
        float known = 0.0, asked = 0.0;
        [[unroll]] for (uint part = 0u; part < PARTS; part++) {
            known += s_known[t][part * CHUNK + j];
            asked += s_asked[t][part * CHUNK + j];
        }
        s_a[(token * CHUNK + j) / 4u][j % 4u] = known; // of these only j < token is read
        steps[(at + AT_SHARES + which * SHARES + j / 4u * CHUNK + token) * 4u + j % 4u] = j <= token ? asked : 0.0;
    }
}

// Forward substitution of one column of `reads` (d_k of them), or of `news`; of set 1 what values add to the right side of `news`.
void solve_column(Sequence s, uint at, uint begin, uint count, uint column, uint which)
{
    const bool reads = column < DIM;
    const uint c = reads ? column : column - DIM;
    const uint to = (at + (reads ? AT_READS : AT_NEWS) + c / 4u * CHUNK) * 4u + c % 4u;
    float x[CHUNK];
#if RULE == 2
    [[unroll]] for (uint t = 0u; t < CHUNK; t++)
        x[t] = 0.0; // else a compiler may keep what it was for one set through the next
#endif
    [[unroll]] for (uint t = 0u; t < CHUNK; t++) {
        float right = 0.0;
#if RULE == 2
        float value = 0.0;
        if (which == 0u)
            right = steps[to + t * 4u];
        else if (t < count && c < D_V)
            value = LOAD_ELEMENT(v_words, v_row(s, begin + t) + c);
        [[unroll]] for (uint j = 0u; j < t; j++)
            right += s_a[(t * CHUNK + j) / 4u][j % 4u] * x[j];
        x[t] = which == 0u ? right : value;
#else
        if (reads)
            right = steps[to + t * 4u];
        else if (t < count && c < D_V)
            right = LOAD_ELEMENT(v_words, v_row(s, begin + t) + c);
        [[unroll]] for (uint j = 0u; j < t; j++)
            right -= s_a[(t * CHUNK + j) / 4u][j % 4u] * x[j];
        x[t] = right;
#endif
        steps[to + t * 4u] = right;
    }
}

// The rows that are written, of one set: their products with all tokens, and what those make of columns.
void take_set(Sequence s, uint at, uint begin, uint count, uint which)
{
    const uint id = gl_LocalInvocationID.x, own = id % CHUNK, part = id / CHUNK, quad0 = part * PART_QUADS;
    vec4 key[PART_QUADS]; // of token `own`, times beta, decayed (but by `scale`)
    float scale = 1.0;
    const float beta = own < count ? token_beta(s, begin + own) : 0.0;
#if RULE == 2
    const uint row = which == 0u ? b_row(s, begin + own) : k_row(s, begin + own);
#else
    const uint row = k_row(s, begin + own);
#endif
    [[unroll]] for (uint i = 0u; i < PART_QUADS; i++) {
        key[i] = vec4(0.0);
        if (own < count) {
#if RULE == 2
            if (which == 0u) { // branches of a quad each: where all loads stand in one, some compilers spill
                MAPPED_QUAD(b, b_words, row, quad0 + i, UNMAPPED)
                key[i] = b;
            } else {
                QUAD(k, k_words, row, quad0 + i)
                key[i] = k;
            }
#else
            QUAD(k, k_words, row, quad0 + i)
            key[i] = k * beta;
#endif
        }
    }
    vec4 passed = vec4(1.0);
    [[dont_unroll]] for (uint first = 0u; first < CHUNK; first += BLOCK) {
        stage(s, begin, first, count);
        barrier();
        if (which == 0u)
            pass_rows(at, first, passed);
        [[unroll]] for (uint t = 0u; t < BLOCK; t++) {
            const bool later = first + t > own;
            float known = 0.0, asked = 0.0;
#if RULE == 2 // what reads the state reads it before token t decays it
            const float before = scale;
#endif
            if (DECAY == DECAY_HEAD || DECAY == DECAY_TOKEN)
                scale *= later ? s_alpha[first + t] : 1.0;
            [[unroll]] for (uint i = 0u; i < PART_QUADS; i++) {
                const uint item = t * DIM_QUADS + quad0 + i;
#if RULE == 2
                known += dot(s_k[item], key[i]);
#endif
                if (DECAY == DECAY_CHANNEL)
                    key[i] *= later ? s_decay[item] : vec4(1.0);
#if RULE != 2
                known += dot(s_k[item], key[i]);
#endif
                asked += dot(s_q[item], key[i]);
            }
#if RULE == 2
            s_known[t][id] = known * before;
#else
            s_known[t][id] = known * scale;
#endif
            s_asked[t][id] = asked * scale;
        }
        barrier();
        sum_parts(at, first, which);
    }
    [[unroll]] for (uint i = 0u; i < PART_QUADS; i++)
        store_quad(at + AT_WRITES + which * WRITES + own * DIM_QUADS + quad0 + i, key[i] * scale);
    if (which == 0u && id < DIM_QUADS)
        store_quad(at + AT_DECAYS + id, passed);
    memoryBarrierBuffer(); // reads pass from those that have quads to those that have columns
    barrier();
    [[dont_unroll]] for (uint column = id + which * DIM; column < DIM + p.chunk_pitch; column += 128u)
        solve_column(s, at, begin, count, column, which);
}

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint begin = min(pc.token0 + gl_WorkGroupID.y * CHUNK, s.tokens);
    const uint count = min(min(begin + CHUNK, pc.token1), s.tokens) - begin;
    if (count == 0u)
        return;
    const uint at = (pc.base[RAPT_BIND_STEPS - 1u] + chunk_number(s, gl_WorkGroupID.y) * p.step_size) / 4u;
    const uint id = gl_LocalInvocationID.x;
    if (id < CHUNK) {
        s_alpha[id] = id < count ? token_decay(s, begin + id) : 1.0;
        s_beta[id] = id < count ? token_beta(s, begin + id) : 0.0;
    }
#if RULE == 2
    [[dont_unroll]] for (uint i = 0u; i < SETS; i++)
        take_set(s, at, begin, count, SETS - 1u - i);
#else
    take_set(s, at, begin, count, 0u);
#endif
}
