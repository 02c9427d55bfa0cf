#version 450
#extension GL_GOOGLE_include_directive : require
// Memories that learn at test time (include/rapt/memory.h), chunk by chunk.
//
// Within a chunk every gradient is taken at its first memory, so that M_t = A_t M + B_t S - sum over i <= t of c_ti x_i y_i^T,
// where x_i y_i^T is gradient i of a layer: outputs need M, S and products of tokens, never M_t itself. One mode a dispatch, the
// host's order of modes is plan/memory.c's. An invocation makes one element; neighbours make neighbours.
#include "common/memory_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;

RAPT_DECLARE_MEMORY_PARAMS

#if DTYPE == DTYPE_F32
#define WORD1 float
#define LOAD_ELEMENT(words, index) words[index]
#else
#define WORD1 uint
#define LOAD_ELEMENT(words, index) unpack1(words[(index) >> 1], index)
#endif

layout(std430, set = 0, binding = RAPT_MEMORY_BIND_Q) readonly buffer Queries { WORD1 q_words[]; };
layout(std430, set = 0, binding = RAPT_MEMORY_BIND_K) readonly buffer Keys { WORD1 k_words[]; };
layout(std430, set = 0, binding = RAPT_MEMORY_BIND_V) readonly buffer Values { WORD1 v_words[]; };
layout(std430, set = 0, binding = RAPT_MEMORY_BIND_OUT) buffer Out { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_MEMORY_BIND_RATES) readonly buffer Rates { float rates[]; };
layout(std430, set = 0, binding = RAPT_MEMORY_BIND_STATE_IN) readonly buffer StateIn { float state_in[]; };
layout(std430, set = 0, binding = RAPT_MEMORY_BIND_STATE_OUT) buffer StateOut { float state_out[]; };
layout(std430, set = 0, binding = RAPT_MEMORY_BIND_WORK) buffer Work { float work[]; };
#if DTYPE == DTYPE_F32
void store_out(uint index, float x) { out_words1[index] = x; }
#else
#include "scan/store_one.glsl"
#endif

#define NEG_INF uintBitsToFloat(0xff800000u)
#define IS_MLP (p.form == 1u)
#define IS_SOFTMAX (p.form == 2u)

uvec2 at_head; // (batch, head)
uint own;      // this head's part of the workspace

uint row_of(uint base, uvec4 stride, uint token)
{
    return pc.base[base - 1u] + at_head.x * stride.x + at_head.y * stride.y + (pc.token0 + token) * stride.z;
}
uint q_row(uint t) { return row_of(RAPT_MEMORY_BIND_Q, p.stride_q, t); }
uint k_row(uint t) { return row_of(RAPT_MEMORY_BIND_K, p.stride_k, t); }

float exp_of(float x) { return x == NEG_INF ? 0.0 : exp(x); } // exp(-inf) need not be 0 everywhere

// x itself, and the slope there.
vec2 act_and_slope(float x)
{
    if (p.act == 0u) {
        float s = 1.0 / (1.0 + exp(-x));
        return vec2(x * s, s * (1.0 + x * (1.0 - s)));
    }
    float inner = 0.7978845608 * (x + 0.044715 * x * x * x);
    float t = tanh(clamp(inner, -10.0, 10.0)); // beyond them it is 1, and may overflow
    return vec2(0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.7978845608 * (1.0 + 0.134145 * x * x));
}

void begin(uint e)
{
    float x = IS_SOFTMAX && e >= p.weights ? NEG_INF : 0.0;
    if ((pc.flags & RAPT_MEMORY_HAS_IN) != 0u)
        x = state_in[pc.base[RAPT_MEMORY_BIND_STATE_IN - 1] + at_head.x * p.stride_in.x + at_head.y * p.stride_in.y + e];
    work[own + e] = x;
}

// Column i: what gradient i (i = tokens: the first M, tokens + 1: the first S) counts in M_t for every t, and in S at the end.
void weigh(uint i)
{
    float s = i == pc.tokens + 1u ? 1.0 : 0.0, m = i == pc.tokens ? 1.0 : 0.0;
    for (uint t = 0u; t < pc.tokens; t++) {
        uint rate = row_of(RAPT_MEMORY_BIND_RATES, p.stride_rates, t);
        s = rates[rate + 1u] * s + (t == i ? rates[rate + 2u] : 0.0);
        m = (1.0 - rates[rate]) * m + s;
        work[own + p.weights_at + t * (p.chunk + 2u) + i] = m;
    }
    work[own + p.weights_at + p.chunk * (p.chunk + 2u) + i] = s;
}

float weight_of(uint t, uint i) { return work[own + p.weights_at + t * (p.chunk + 2u) + i]; }

// The log of the sum of exp of `count` elements of q (0) or k (1), `step` apart.
float log_sum(bool of_k, uint from, uint count, uint step)
{
    float top = NEG_INF, sum = 0.0;
    for (uint i = 0u; i < count; i++) {
        float x = of_k ? LOAD_ELEMENT(k_words, from + i * step) : LOAD_ELEMENT(q_words, from + i * step);
        if (x > top) {
            sum = sum * exp_of(top - x) + 1.0;
            top = x;
        } else {
            sum += exp_of(x - top);
        }
    }
    return top + log(sum);
}

void sums(uint e)
{
    uint m = pc.tokens;
    if (e < m) {
        work[own + p.sums_at + e] = log_sum(false, q_row(e), p.d, 1u);
    } else if (e < 2u * m) {
        work[own + p.sums_at + p.chunk + e - m] = log_sum(true, k_row(e - m), p.d, 1u);
    } else {
        uint r = e - 2u * m, at = own + p.sums_at + 2u * p.chunk + r;
        float chunk = log_sum(true, k_row(0u) + r, m, p.stride_k.z), before = work[own + p.weights + r];
        float top = max(chunk, before), z = top + log(exp_of(chunk - top) + exp_of(before - top));
        work[at] = chunk;
        work[at + p.d] = z;
        work[at + 2u * p.d] = exp_of(chunk - z);
    }
}

// Products of token t and the earlier token i, at the input of a layer.
void score(uint e)
{
    uint t = e / pc.tokens, i = e - t * pc.tokens;
    float sum = 0.0;
    if (i > t)
        return;
    if ((pc.flags & RAPT_MEMORY_SECOND) != 0u) {
        uint x = own + p.queries_at + t * p.hidden, y = own + p.keys_at + i * p.hidden;
        for (uint u = 0u; u < p.hidden; u++)
            sum += work[x + u] * work[y + u];
    } else {
        uint x = q_row(t), y = k_row(i);
        for (uint r = 0u; r < p.d; r++)
            sum += LOAD_ELEMENT(q_words, x + r) * LOAD_ELEMENT(k_words, y + r);
    }
    work[own + p.scores_at + t * p.chunk + i] = sum * weight_of(t, i);
}

// Column j of W^T x, W in the workspace: x a row of the workspace, of q, of k, or the softmax of one.
float recall_work(uint from, uint count, uint w, uint pitch, uint j)
{
    float sum = 0.0;
    for (uint r = 0u; r < count; r++)
        sum += work[from + r] * work[w + r * pitch + j];
    return sum;
}
float recall_q(uint from, uint w, uint pitch, uint j)
{
    float sum = 0.0;
    for (uint r = 0u; r < p.d; r++)
        sum += LOAD_ELEMENT(q_words, from + r) * work[w + r * pitch + j];
    return sum;
}
float recall_k(uint from, uint w, uint pitch, uint j)
{
    float sum = 0.0;
    for (uint r = 0u; r < p.d; r++)
        sum += LOAD_ELEMENT(k_words, from + r) * work[w + r * pitch + j];
    return sum;
}

void hidden_of_key(uint e)
{
    uint i = e / p.hidden, u = e - i * p.hidden;
    float x = recall_k(k_row(i), own, p.hidden, u);
    work[own + p.slopes_at + e] = x;
    work[own + p.keys_at + e] = act_and_slope(x).x;
}

void error_of(uint e)
{
    uint i = e / p.d_v, j = e - i * p.d_v, second = own + p.d * p.hidden;
    float v = LOAD_ELEMENT(v_words, row_of(RAPT_MEMORY_BIND_V, p.stride_v, i) + j), x = 0.0;
    if (IS_SOFTMAX) {
        uint from = k_row(i);
        float all = work[own + p.sums_at + p.chunk + i];
        for (uint r = 0u; r < p.d; r++)
            x += exp_of(LOAD_ELEMENT(k_words, from + r) - all) * work[own + r * p.d_v + j];
        x = v - x;
    } else {
        x = IS_MLP ? recall_work(own + p.keys_at + i * p.hidden, p.hidden, second, p.d_v, j) : recall_k(k_row(i), own, p.d_v, j);
        x = 2.0 * (x - v);
    }
    work[own + p.errors_at + e] = x;
}

void back(uint e)
{
    uint i = e / p.hidden, u = e - i * p.hidden, w = own + p.d * p.hidden + u * p.d_v, from = own + p.errors_at + i * p.d_v;
    float sum = 0.0;
    for (uint j = 0u; j < p.d_v; j++)
        sum += work[from + j] * work[w + j];
    work[own + p.slopes_at + e] = sum * act_and_slope(work[own + p.slopes_at + e]).y;
}

// What the gradients of tokens up to t take from column j.
float learnt(uint t, uint from, uint pitch, uint j)
{
    float sum = 0.0;
    for (uint i = 0u; i <= t; i++)
        sum += work[own + p.scores_at + t * p.chunk + i] * work[own + from + i * pitch + j];
    return sum;
}

// Of M_t: what its first memory counts, and its first S.
vec2 first_of(uint t) { return p.read_start != 0u ? vec2(1.0, 0.0) : vec2(weight_of(t, pc.tokens), weight_of(t, pc.tokens + 1u)); }

void hidden_of_query(uint e)
{
    uint t = e / p.hidden, u = e - t * p.hidden;
    vec2 first = first_of(t);
    float x = first.x * recall_q(q_row(t), own, p.hidden, u);
    if (p.read_start == 0u)
        x += first.y * recall_q(q_row(t), own + p.weights, p.hidden, u) - learnt(t, p.slopes_at, p.hidden, u);
    work[own + p.queries_at + e] = act_and_slope(x).x;
}

void outputs(uint e)
{
    uint t = e / p.d_v, j = e - t * p.d_v, from = q_row(t);
    float x = 0.0;
    if (IS_SOFTMAX) {
        float all = work[own + p.sums_at + t];
        for (uint r = 0u; r < p.d; r++)
            x += exp_of(LOAD_ELEMENT(q_words, from + r) - all) * work[own + r * p.d_v + j];
    } else {
        vec2 first = first_of(t);
        uint second = p.d * p.hidden, row = own + p.queries_at + t * p.hidden;
        x = first.x * (IS_MLP ? recall_work(row, p.hidden, own + second, p.d_v, j) : recall_q(from, own, p.d_v, j));
        if (p.read_start == 0u) {
            uint s = own + p.weights;
            x += first.y * (IS_MLP ? recall_work(row, p.hidden, s + second, p.d_v, j) : recall_q(from, s, p.d_v, j));
            x -= learnt(t, p.errors_at, p.d_v, j);
        }
    }
    store_out(row_of(RAPT_MEMORY_BIND_OUT, p.stride_out, t) + j, x);
}

void learn_softmax(uint e)
{
    uint at = own + p.sums_at + 2u * p.chunk;
    if (e >= p.weights) {
        work[own + e] = work[at + p.d + e - p.weights];
        return;
    }
    uint r = e / p.d_v, j = e - r * p.d_v;
    float sum = 0.0, chunk = work[at + r];
    for (uint i = 0u; i < pc.tokens; i++)
        sum += exp_of(LOAD_ELEMENT(k_words, k_row(i) + r) - chunk) * work[own + p.errors_at + i * p.d_v + j];
    work[own + e] += work[at + 2u * p.d + r] * (sum - work[own + e]);
}

void learn(uint e)
{
    bool second = IS_MLP && e >= p.d * p.hidden;
    uint columns = IS_MLP && !second ? p.hidden : p.d_v, of_layer = second ? e - p.d * p.hidden : e;
    uint r = of_layer / columns, j = of_layer - r * columns, y = own + (columns == p.hidden && !second && IS_MLP ? p.slopes_at : p.errors_at) + j;
    uint last = pc.tokens - 1u;
    float m = 0.0, s = 0.0;
    for (uint i = 0u; i < pc.tokens; i++) {
        float x = second ? work[own + p.keys_at + i * p.hidden + r] : LOAD_ELEMENT(k_words, k_row(i) + r);
        float gradient = x * work[y + i * columns];
        m += weight_of(last, i) * gradient;
        s += weight_of(p.chunk, i) * gradient;
    }
    float m0 = work[own + e], s0 = work[own + p.weights + e];
    work[own + e] = weight_of(last, pc.tokens) * m0 + weight_of(last, pc.tokens + 1u) * s0 - m;
    work[own + p.weights + e] = weight_of(p.chunk, pc.tokens + 1u) * s0 - s;
}

void main()
{
    uint e = gl_GlobalInvocationID.x, bh = pc.bh0 + gl_WorkGroupID.z;
    if (e >= pc.count)
        return;
    at_head = uvec2(bh / p.heads, bh % p.heads);
    own = pc.base[RAPT_MEMORY_BIND_WORK - 1] + gl_WorkGroupID.z * p.head_words;
    switch (pc.mode) {
    case RAPT_MEMORY_BEGIN: begin(e); break;
    case RAPT_MEMORY_WEIGHTS: weigh(e); break;
    case RAPT_MEMORY_SUMS: sums(e); break;
    case RAPT_MEMORY_SCORES: score(e); break;
    case RAPT_MEMORY_HIDDEN_K: hidden_of_key(e); break;
    case RAPT_MEMORY_ERRORS: error_of(e); break;
    case RAPT_MEMORY_BACK: back(e); break;
    case RAPT_MEMORY_HIDDEN_Q: hidden_of_query(e); break;
    case RAPT_MEMORY_OUTPUTS: outputs(e); break;
    case RAPT_MEMORY_LEARN: if (IS_SOFTMAX) learn_softmax(e); else learn(e); break;
    case RAPT_MEMORY_END:
        state_out[pc.base[RAPT_MEMORY_BIND_STATE_OUT - 1] + at_head.x * p.stride_state_out.x + at_head.y * p.stride_state_out.y + e] = work[own + e];
        break;
    }
}
