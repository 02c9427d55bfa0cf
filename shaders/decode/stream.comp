#version 450
// Attention of few query rows over many keys: memory sets the pace, so every byte of k and v is read once, and neighbouring lanes
// read neighbouring bytes.
//
// A workgroup owns ROWS query rows and streams over the keys TILE_KEYS at a time. LANES neighbouring invocations are a team; a team
// takes every TEAMS-th key, for which
//
//   scores   each lane multiplies its vec4 columns of k with those of every row of q; shuffles add them up, so that each score ends
//            in one lane, its owner, which makes a weight of it
//   output   through shared memory every lane has all weights, and adds its vec4 columns of v to those of every row's accumulator
//
// A team keeps running maxima and sums of its own, so the loop has no barrier of the workgroup; the teams' results are merged in the
// end. Vec4 column j of a lane is COLUMN(columns of a lane, j); score KEYS r + u is that of row r and of the team's key u. Of fewer
// scores than lanes each has several owners.
//
// The build defines, as literals because sizes of arrays depend on them:
//   DTYPE          1 f32, 2 f16, 3 bf16: what q, k, v and out are stored as; arithmetic is f32
//   WG_SIZE        invocations
//   LANES          of a team; a power of two, at most the subgroup's size
//   ROWS           query rows; a power of two
//   D_QK, D_V      most head_dim of q and k, and of v and out
//   KEYS           of a tile, that a team takes: 4 unless defined
//   QUANTISED      defined: keys or values are quantised, K_FORMAT and V_FORMAT say how (packed.glsl)
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_shuffle : require

#include "common/attention_params.h"

layout(local_size_x = WG_SIZE) in;
#include "tile/constants.glsl"

#define TEAMS (WG_SIZE / LANES)
#ifndef KEYS
#define KEYS 4
#endif
#define SCORES (ROWS * KEYS)
#define OWN ((SCORES + LANES - 1) / LANES)       // scores that a lane owns
#define OWNERS (SCORES < LANES ? LANES / SCORES : 1) // lanes that own a score
#define TILE_KEYS (TEAMS * KEYS)
#define QK_COLUMNS ((D_QK + LANES * 4 - 1) / (LANES * 4)) // vec4 columns of q and k per lane
#define V_COLUMNS ((D_V + LANES * 4 - 1) / (LANES * 4))   // and of v
#define V_PITCH (V_COLUMNS * LANES)

const uint QK_VECS = (HEAD_DIM_QK + 3u) / 4u;
const uint V_VECS = (HEAD_DIM_V + 3u) / 4u;

// How far, in powers of two, weights may exceed one before a row's maximum is renewed.
const float RESCALE_ABOVE = 8.0;

#include "common/io.glsl"
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/finish.glsl"
#include "hook/user.glsl"
#ifdef QUANTISED
#define LOAD_Q_ALONE
#define COLUMN(columns, j) lane * (columns) + (j) // only ever added to
#include "decode/packed.glsl"
#else
#define COLUMN(columns, j) lane + LANES * (j)
#endif
#include "tile/load.glsl"

#ifndef USER_LOOP
#define USER_LOOP [[unroll]]
#endif

shared vec4 team_acc[TEAMS * V_PITCH];         // of one row
shared float team_weights[TEAMS * SCORES];
shared float team_maxima[ROWS * TEAMS], team_sums[ROWS * TEAMS * KEYS];

// In a tile that some row sees only in part, what stands in place of the weight of a key that the row does not see.
const float HIDDEN = -3.0e38;

float dot_fma(vec4 q, vec4 k, float x)
{
    x = fma(q.x, k.x, x);
    x = fma(q.y, k.y, x);
    x = fma(q.z, k.z, x);
    return fma(q.w, k.w, x);
}

// sum + weight v, unless the row does not see the key: v may then be NaN, and a weight of zero would not keep it out.
vec4 add_seen(float weight, vec4 v, vec4 sum)
{
    return mix(fma(vec4(weight), v, sum), sum, bvec4(weight == HIDDEN));
}

// One step of adding x[SCORES] up over a team: lanes `apart` from each other halve the scores between them, the upper lane taking
// the upper half; once a lane has one, both have the sum.
#define LEFT(apart) (SCORES * (apart) / LANES)
#define ADD_ACROSS(apart)                                                                                   \
    if (LANES > apart) {                                                                                    \
        if (LEFT(apart) > 0) {                                                                              \
            bool upper = (lane & apart) != 0u;                                                              \
            [[unroll]] for (uint i = 0; i < LEFT(apart); i++) {                                             \
                float kept = upper ? x[(i + LEFT(apart)) % SCORES] : x[i];                                  \
                float sent = upper ? x[i] : x[(i + LEFT(apart)) % SCORES];                                  \
                x[i] = kept + subgroupShuffleXor(sent, apart);                                              \
            }                                                                                               \
        } else {                                                                                            \
            x[0] += subgroupShuffleXor(x[0], apart);                                                        \
        }                                                                                                   \
    }

#ifndef QUANTISED
// What a team has in shared memory for the four keys of a row.
vec4 team_row(uint team, uint r)
{
    uint at = team * SCORES + r * KEYS;
    return vec4(team_weights[at], team_weights[at + 1u], team_weights[at + 2u], team_weights[at + 3u]);
}
#endif

void main()
{
    uint lane = gl_LocalInvocationIndex % LANES, team = gl_LocalInvocationIndex / LANES;

    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    uint rows = walk_rows(w);
    uint tile = pc.tile0 + gl_WorkGroupID.x, row0 = tile * ROWS;
    if (row0 >= rows)
        return;
    Sight first = sight(w, row_query(row0)), last = sight(w, row_query(min(row0 + ROWS, rows) - 1u));
    uint some_row_sees = sight_end(last), last_key = w.key_end - 1u;
    uint k_start = units_k(k_head_index(w)), v_start = units_v(v_head_index(w)), pages_line = page_line(w.batch);
    bool late = !IS_SCORED && p.scale_log2 > 0.0; // see the tile kernel
    float scale = late ? p.scale_log2 : 1.0;

    // Rows past the end compute the last row again and write nothing.
    vec4 q[ROWS * QK_COLUMNS], acc[ROWS * V_COLUMNS];
    float m[ROWS]; // running maxima, the same in all lanes of a team
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint row = min(row0 + r, rows - 1u), head = row_head(w, row), query = row_query(row);
        uint q_row = units(q_row_index(w, head, query));
        [[unroll]] for (uint j = 0; j < QK_COLUMNS; j++) {
            uint column = COLUMN(QK_COLUMNS, j);
            q[r * QK_COLUMNS + j] = QK_VECS == QK_COLUMNS * LANES || column < QK_VECS ? load_q(q_row, column) : vec4(0.0);
        }
        [[unroll]] for (uint j = 0; j < V_COLUMNS; j++)
            acc[r * V_COLUMNS + j] = vec4(0.0);
        m[r] = start_maximum(w, head, query);
    }
    // Of what this lane owns: row, key among the team's, running maximum, running sum.
    uint own_row[OWN], own_key[OWN];
    float own_m[OWN], own_l[OWN];
    [[unroll]] for (uint n = 0; n < OWN; n++) {
        uint score = lane / OWNERS * OWN + n;
        own_row[n] = score / KEYS;
        own_key[n] = score % KEYS * TEAMS + team;
        uint row = min(row0 + own_row[n], rows - 1u);
        own_m[n] = start_maximum(w, row_head(w, row), row_query(row));
        own_l[n] = own_key[n] == 0u ? start_sum(w, own_m[n]) : 0.0;
    }

    TileWalk tiles = tile_walk(w, tile, false);
    [[dont_unroll]] for (uint key0 = next_tile(w, first, last, tiles, w.key_begin, TILE_KEYS); key0 < some_row_sees;
                         key0 = next_tile(w, first, last, tiles, key0 + TILE_KEYS, TILE_KEYS)) {
#if USER_MASK
        bool whole = IS_LISTED && tiles.whole;
#else
        bool whole = IS_LISTED ? tiles.whole : all_see(first, last, key0, TILE_KEYS);
#endif
        whole = whole && (IS_SCORED || p.scale_log2 > 0.0);
        if (IS_PAGED)
            whole = keys_have_pages(pages_line, key0, min(key0 + TILE_KEYS, w.key_end)) && whole;

        // Keys past the end repeat the last one; their scores are masked.
#ifdef QUANTISED
        HeldKey k[KEYS];
        HeldValue v[KEYS];
        [[unroll]] for (uint u = 0; u < KEYS; u++) {
            uint key = min(key0 + u * TEAMS + team, last_key);
            k[u] = hold_k(k_start + key_offset(pages_line, key, units_k(p.k_stride_b), units_k(p.k_stride_s)), lane);
        }
        [[unroll]] for (uint u = 0; u < KEYS; u++) {
            uint key = min(key0 + u * TEAMS + team, last_key);
            v[u] = hold_v(v_start + key_offset(pages_line, key, units_v(p.v_stride_b), units_v(p.v_stride_s)), lane);
        }
        float x[SCORES];
        [[unroll]] for (uint u = 0; u < KEYS; u++) {
            [[unroll]] for (uint j = 0; j < QK_COLUMNS; j++) {
                vec4 four = held_k(k[u], j);
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    x[r * KEYS + u] = dot_fma(q[r * QK_COLUMNS + j], four, j == 0u ? 0.0 : x[r * KEYS + u]);
            }
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                x[r * KEYS + u] *= k[u].scale;
        }
#else
        vec4 k[KEYS * QK_COLUMNS], v[KEYS * V_COLUMNS];
        [[unroll]] for (uint u = 0; u < KEYS; u++) {
            uint key = min(key0 + u * TEAMS + team, last_key);
            uint k_row = k_start + key_offset(pages_line, key, units_k(p.k_stride_b), units_k(p.k_stride_s));
            [[unroll]] for (uint j = 0; j < QK_COLUMNS; j++) {
                uint column = lane + LANES * j;
                k[u * QK_COLUMNS + j] = QK_VECS == QK_COLUMNS * LANES || column < QK_VECS ? load_k(k_row, column) : vec4(0.0);
            }
        }
        [[unroll]] for (uint u = 0; u < KEYS; u++) {
            uint key = min(key0 + u * TEAMS + team, last_key);
            uint v_row = v_start + key_offset(pages_line, key, units_v(p.v_stride_b), units_v(p.v_stride_s));
            [[unroll]] for (uint j = 0; j < V_COLUMNS; j++) {
                uint column = lane + LANES * j;
                v[u * V_COLUMNS + j] = V_VECS == V_COLUMNS * LANES || column < V_VECS ? load_v(v_row, column) : vec4(0.0);
            }
        }

        float x[SCORES];
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            [[unroll]] for (uint u = 0; u < KEYS; u++) {
                x[r * KEYS + u] = 0.0;
                [[unroll]] for (uint j = 0; j < QK_COLUMNS; j++)
                    x[r * KEYS + u] = dot_fma(q[r * QK_COLUMNS + j], k[u * QK_COLUMNS + j], x[r * KEYS + u]);
            }
#endif
        ADD_ACROSS(16u)
        ADD_ACROSS(8u)
        ADD_ACROSS(4u)
        ADD_ACROSS(2u)
        ADD_ACROSS(1u)

        float s[OWN], shape[OWN]; // and signs, or weights
        bool seen[OWN], exceeds = false;
        USER_LOOP for (uint n = 0; n < OWN; n++) {
            uint row = min(row0 + own_row[n], rows - 1u), key = key0 + own_key[n], token = min(key, last_key);
            s[n] = x[n];
            if (IS_SCORED)
                s[n] = score_hook(s[n] * p.scale_log2);
            if (IS_BIASED)
                s[n] = score_bias(s[n], row_bias(w, row_head(w, row), row_query(row)), token);
#if USER_SCORE
            s[n] = user_score_hook(w, row, key, s[n]);
#endif
            seen[n] = true;
            if (!whole) {
                seen[n] = sees(w, sight(w, row_query(row)), key);
                if (IS_BLOCKS)
                    seen[n] = block_shows(block_line(w, row_head(w, row), row_query(row)), token) && seen[n];
#if USER_MASK
                seen[n] = user_sees(w, row, key) && seen[n];
#endif
                s[n] = mask_score(s[n] * (IS_SCORED || late ? 1.0 : p.scale_log2), seen[n]);
            }
            if (IS_SHAPED) {
                bool none = s[n] == NEG_INF;
                shape[n] = none ? 0.0 : IS_SIGNED ? sign(s[n]) : link_weight(s[n], own_m[n]);
                s[n] = none ? s[n] : abs(s[n]);
            }
            exceeds = exceeds || (!IS_ADDITIVE && fma(s[n], scale, -own_m[n]) > RESCALE_ABOVE);
        }

        // A row's maximum is renewed only when it is exceeded by more than RESCALE_ABOVE: mostly in the first tiles. No barrier inside
        // a branch.
        if (subgroupAny(exceeds)) {
            uint team_lane = gl_SubgroupInvocationID - lane;
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                float most = NEG_INF;
                [[unroll]] for (uint u = 0; u < KEYS; u++) {
                    uint score = r * KEYS + u;
                    most = max(most, subgroupShuffle(s[score % OWN], team_lane + score / OWN * OWNERS) * scale);
                }
                float m_new = most - m[r] > RESCALE_ABOVE ? most : m[r], factor = exp2(m[r] - m_new);
                m[r] = m_new;
                [[unroll]] for (uint j = 0; j < V_COLUMNS; j++)
                    acc[r * V_COLUMNS + j] *= factor;
                [[unroll]] for (uint n = 0; n < OWN; n++) {
                    own_m[n] = own_row[n] == r ? m_new : own_m[n];
                    own_l[n] *= own_row[n] == r ? factor : 1.0;
                }
            }
        }

        [[unroll]] for (uint n = 0; n < OWN; n++) {
            float weight = exp2(fma(s[n], scale, -own_m[n]));
            weight = s[n] == NEG_INF ? 0.0 : weight; // exp2(-inf) need not be 0 everywhere
            if (!IS_ADDITIVE)
                own_l[n] += weight;
            if (IS_SHAPED)
                weight = IS_SIGNED ? weight * shape[n] : shape[n];
            if (IS_DECAY) {
                uint row = min(row0 + own_row[n], rows - 1u);
                weight *= decay_factor(row_bias(w, row_head(w, row), row_query(row)), min(key0 + own_key[n], last_key));
            }
            team_weights[team * SCORES + lane / OWNERS * OWN + n] = seen[n] ? weight : HIDDEN;
        }
        subgroupBarrier();
#ifdef QUANTISED
        [[unroll]] for (uint u = 0; u < KEYS; u++) {
            float weight[ROWS];
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                weight[r] = team_weights[team * SCORES + r * KEYS + u];
            [[unroll]] for (uint j = 0; j < V_COLUMNS; j++) {
                vec4 four = held_v(v[u], j);
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    vec4 sum = acc[r * V_COLUMNS + j], more = fma(vec4(weight[r] * v[u].scale), four, sum);
                    acc[r * V_COLUMNS + j] = whole ? more : mix(more, sum, bvec4(weight[r] == HIDDEN));
                }
            }
        }
#else
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            vec4 weight = team_row(team, r);
            [[unroll]] for (uint u = 0; u < KEYS; u++)
                [[unroll]] for (uint j = 0; j < V_COLUMNS; j++)
                    acc[r * V_COLUMNS + j] = whole ? fma(vec4(weight[u]), v[u * V_COLUMNS + j], acc[r * V_COLUMNS + j])
                                                   : add_seen(weight[u], v[u * V_COLUMNS + j], acc[r * V_COLUMNS + j]);
        }
#endif
        subgroupBarrier();
    }

    if (lane == 0u) {
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            team_maxima[r * TEAMS + team] = m[r];
    }
    [[unroll]] for (uint n = 0; n < OWN; n++)
        if (lane % OWNERS == 0u)
            team_sums[own_row[n] * (TEAMS * KEYS) + own_key[n]] = own_l[n];
    barrier();
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float m_row = team_maxima[r * TEAMS], l_row = 0.0;
        for (uint t = 1; t < TEAMS; t++)
            m_row = max(m_row, team_maxima[r * TEAMS + t]);
        for (uint t = 0; t < TEAMS * KEYS; t++)
            l_row += team_sums[r * (TEAMS * KEYS) + t] * exp2(team_maxima[r * TEAMS + t % TEAMS] - m_row);
        float factor = exp2(m[r] - m_row);
        [[unroll]] for (uint j = 0; j < V_COLUMNS; j++)
            team_acc[team * V_PITCH + COLUMN(V_COLUMNS, j)] = acc[r * V_COLUMNS + j] * factor;
        barrier();
        uint row = row0 + r;
        if (row < rows) {
            uint head = row_head(w, row), query = row_query(row);
            if (gl_LocalInvocationIndex == 0u)
                finish_store_sums(w, head, query, m_row, l_row);
            for (uint column = gl_LocalInvocationIndex; column < V_VECS; column += WG_SIZE) {
                vec4 sum = team_acc[column];
                for (uint t = 1; t < TEAMS; t++)
                    sum += team_acc[t * V_PITCH + column];
                if (IS_PARTIAL)
                    partial_store4(part_number(w, head, query), column * 4u, sum);
                else
                    finish_store4(o_row_index(w, head, query), column * 4u, sum * finish_factor(l_row));
            }
        }
        barrier();
    }
}
