#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SHUFFLE
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// What is left of attention's scores along one axis: for each query its largest score, or for each key the sum of its weights
// over all queries (the "heavy hitters" of H2O, arXiv:2306.14048), once the log-sum-exps are there. Scores are made anew from q
// and k, with all modifiers.
//
// An invocation owns a query of an output head (row maxima), or a key of an output head or, of all heads that read it, of a kv
// head (column sums), and goes along the other axis: pc.rows places from pc.row0 on. Of an axis that is cut, each dispatch goes
// on with what the one before it left, so that sums are added in one order.
//
// With SHUFFLE each of eight lanes loads a row of the other axis and gives it to the others: on software devices a load is a branch
// for each lane, and a shuffle one instruction. No lane may leave early then.
//
// The result lies at binding 4; its strides are in fields of the push constants that mean something else to other kernels.
#include "common/attention_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint ALIGNED_ = 0;
layout(constant_id = 1) const uint LINK_ = 0;
layout(constant_id = 2) const uint MARGIN = 1; // rapt_margin of plan/plan.h: 1 row maxima, 2 sums by output head, 3 by kv head
#define LINK LINK_
#define ALIGNED (ALIGNED_ != 0u)
#define GROUP 1u
#define IS_PARTIAL false
#define NO_KV_BUFFERS // no values
#include "common/buffers.glsl"
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyElements { WORD1 k_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyVectors { WORD4 k_words4[]; };
DEFINE_LOAD4(load_k4, k_words1, k_words4)
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/user.glsl"

const bool IS_COLUMNS = MARGIN >= 2u;
uint result_index(Walk w, uint head, uint token)
{
    return pc.o_base + batch_or_zero(w) * pc.tiles + head * pc.split0 + token * pc.v_base;
}

vec4 load_own4(uint at, uint count)
{
    if (IS_COLUMNS)
        return load_k4(at, count);
    return load_q4(at, count);
}
vec4 load_other4(uint at, uint count)
{
    if (IS_COLUMNS)
        return load_q4(at, count);
    return load_k4(at, count);
}

#ifdef SHUFFLE
#define OTHERS 8u

// Dot products of the invocation's own row with eight others, of which this lane loads one: those of the first four and of the last.
#define PRODUCTS mat2x4
PRODUCTS products(uint own_at, uint at)
{
    PRODUCTS sums = PRODUCTS(0.0);
    [[dont_unroll]] for (uint d = 0u; d < p.head_dim_qk; d += 4u) {
        uint count = min(p.head_dim_qk - d, 4u);
        vec4 own = load_own4(own_at + d, count), other = load_other4(at + d, count);
        [[unroll]] for (uint i = 0u; i < OTHERS; i++) // from a lane that the compiler knows
            sums[i / 4u][i % 4u] += dot(own, subgroupShuffle(other, i));
    }
    return sums;
}
float product_of(PRODUCTS sums, uint i) { return sums[i / 4u][i % 4u]; }
#else
#define OTHERS 4u

// Dot products of the invocation's own row with four others.
#define PRODUCTS vec4
PRODUCTS products(uint own_at, uvec4 at)
{
    PRODUCTS sums = PRODUCTS(0.0);
    [[dont_unroll]] for (uint d = 0u; d < p.head_dim_qk; d += 4u) {
        uint count = min(p.head_dim_qk - d, 4u);
        vec4 own = load_own4(own_at + d, count);
        sums += vec4(dot(own, load_other4(at.x + d, count)), dot(own, load_other4(at.y + d, count)),
                     dot(own, load_other4(at.z + d, count)), dot(own, load_other4(at.w + d, count)));
    }
    return sums;
}
float product_of(PRODUCTS sums, uint i) { return sums[i]; }
#endif

bool shown(Walk w, Sight range, uint line, uint query, uint key)
{
    bool seen = sees(w, range, key);
    if (IS_BLOCKS)
        seen = seen && block_shows(line, min(key, w.key_end - 1u));
#if USER_MASK
    seen = seen && user_sees(w, query, key);
#endif
    return seen;
}

float score_of(Walk w, RowBias bias, uint query, uint key, float product)
{
    float score = score_bias(score_hook(product * p.scale_log2), bias, key);
#if USER_SCORE
    score = user_score_hook(w, query, key, score);
#endif
    return score;
}

// What multiplies the value of the key where m is the row's log-sum-exp.
float weight_of(float score, float m, RowBias bias, uint key)
{
    float weight = exp2((IS_SIGNED ? abs(score) : score) - m);
    if (IS_SHAPED)
        weight = IS_SIGNED ? sign(score) * weight : link_weight(score, m);
    if (IS_DECAY)
        weight *= decay_factor(bias, key);
    return score == NEG_INF ? 0.0 : weight;
}

// With the keys from `key` on, fewer than OTHERS of them at the end.
#ifdef SHUFFLE
#define PRODUCTS_WITH_KEYS(w, q_at, key, end) products(q_at, k_row_index(w, min(key + gl_SubgroupInvocationID % OTHERS, end - 1u)))
#define PRODUCTS_WITH_QUERIES(w, k_at, head, query, end) \
    products(k_at, q_row_index(w, head, min(query + gl_SubgroupInvocationID % OTHERS, end - 1u)))
#else
#define PRODUCTS_WITH_KEYS(w, q_at, key, end)                                               \
    products(q_at, uvec4(k_row_index(w, key), k_row_index(w, min(key + 1u, end - 1u)),      \
                   k_row_index(w, min(key + 2u, end - 1u)), k_row_index(w, min(key + 3u, end - 1u))))
#define PRODUCTS_WITH_QUERIES(w, k_at, head, query, end)                                                  \
    products(k_at, uvec4(q_row_index(w, head, query), q_row_index(w, head, min(query + 1u, end - 1u)),    \
                   q_row_index(w, head, min(query + 2u, end - 1u)), q_row_index(w, head, min(query + 3u, end - 1u))))
#endif

void row_maximum()
{
    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, 0u);
    uint first = (pc.tile0 + gl_WorkGroupID.x) * gl_WorkGroupSize.x, query = first + gl_LocalInvocationID.x;
    if (first >= w.nq)
        return;
    bool exists = query < w.nq;
    query = min(query, w.nq - 1u);
    Sight range = sight(w, query), tile = sight(w, first), last = sight(w, min(first + gl_WorkGroupSize.x, w.nq) - 1u);
    uint line = IS_BLOCKS ? block_line(w, w.head0, query) : 0u;
    uint begin = IS_WINDOW && tile.sinks == w.key_begin ? tile.start : w.key_begin;
    uint end = min(sight_end(last), pc.row0 + pc.rows), at = result_index(w, w.head0, w.q_first + query);
    RowBias bias = row_bias(w, w.head0, query);
    uint q_at = q_row_index(w, w.head0, query);
    float maximum = NEG_INF;
    if (pc.row0 > 0u)
        maximum = part_acc[at];
    [[dont_unroll]] for (uint some = max(begin, pc.row0); some < end; some += OTHERS) {
        PRODUCTS sums = PRODUCTS_WITH_KEYS(w, q_at, some, end);
        [[dont_unroll]] for (uint key = some; key < min(some + OTHERS, end); key++)
            if (shown(w, range, line, query, key))
                maximum = max(maximum, score_of(w, bias, query, key, product_of(sums, key - some)) * LN2);
    }
    if (exists)
        part_acc[at] = maximum;
}

// The queries that may see one of the keys [first, last]: [x, y).
uvec2 queries_of(Walk w, uint first, uint last)
{
    int begin = 0, end = int(w.nq), at = 1 - w.diagonal; // the query that stands at key 0
    bool after_sinks = IS_WINDOW && first >= p.sink_tokens;
    if (IS_CAUSAL)
        begin = max(begin, int(first) + at);
    if (after_sinks && p.window_right >= 0)
        begin = max(begin, int(first) - p.window_right + at);
    if (after_sinks && p.window_left >= 0)
        end = min(end, int(last) + p.window_left + at + 1);
    return uvec2(max(uint(begin), pc.row0), min(uint(max(end, 0)), pc.row0 + pc.rows));
}

// What the query's scores are held against.
float maximum_of(Walk w, uint head, uint query)
{
    float m = 0.0;
    if (IS_SECOND_PASS || !IS_ADDITIVE)
        m = max(lse_or_ml[lse_index(w, head, query)] * LOG2_E, MAXIMUM_START);
    return m;
}

// What the query gives the key; `product` is that of their rows.
float weight_of_pair(Walk w, uint head, uint query, uint key, float product, float m)
{
    uint line = IS_BLOCKS ? block_line(w, head, query) : 0u;
    if (!shown(w, sight(w, query), line, query, key))
        return 0.0;
    RowBias bias = row_bias(w, head, query);
    return weight_of(score_of(w, bias, query, key, product), m, bias, key);
}

void column_sum()
{
    bool by_kv = MARGIN == 3u;
    uint heads = by_kv ? p.heads_kv : p.heads_out, number = pc.bh0 + gl_WorkGroupID.z;
    uint batch = number / heads, place = number - batch * heads;
    // With kv heads: all output heads that read this one.
    uint head = by_kv ? (place * p.heads_out + p.heads_kv - 1u) / p.heads_kv : place;
    uint head_end = by_kv ? ((place + 1u) * p.heads_out + p.heads_kv - 1u) / p.heads_kv : place + 1u;
    Walk w = walk_begin(batch * p.heads_out + head, 0u);
    uint first = (pc.tile0 + gl_WorkGroupID.x) * gl_WorkGroupSize.x, key = first + gl_LocalInvocationID.x;
    uint keys = IS_VARLEN ? w.nk : p.nk;
    if (first >= keys)
        return;
    bool exists = key < keys;
    key = min(key, keys - 1u);
    uint at = result_index(w, place, w.k_first + key);
    uint k_at = k_row_index(w, key);
    uvec2 queries = queries_of(w, first, first + gl_WorkGroupSize.x - 1u);
    float sum = 0.0;
    if (pc.row0 > 0u)
        sum = part_acc[at];
    [[dont_unroll]] for (; head < head_end; head++) {
        w = walk_begin(batch * p.heads_out + head, 0u);
        [[dont_unroll]] for (uint some = queries.x; some < queries.y; some += OTHERS) {
            PRODUCTS sums = PRODUCTS_WITH_QUERIES(w, k_at, head, some, queries.y);
#ifdef SHUFFLE
            float m_of_lane = maximum_of(w, head, min(some + gl_SubgroupInvocationID % OTHERS, queries.y - 1u));
#endif
            [[dont_unroll]] for (uint query = some; query < min(some + OTHERS, queries.y); query++) {
#ifdef SHUFFLE
                float m = subgroupShuffle(m_of_lane, query - some);
#else
                float m = maximum_of(w, head, query);
#endif
                sum += weight_of_pair(w, head, query, key, product_of(sums, query - some), m);
            }
        }
    }
    if (exists)
        part_acc[at] = sum;
}

void main()
{
    if (IS_COLUMNS)
        column_sum();
    else
        row_maximum();
}
