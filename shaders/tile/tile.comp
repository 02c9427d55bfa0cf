#version 450
// Tiled attention, scalar arithmetic: O = softmax(scale * Q K^T) V with the online softmax.
//
// A workgroup of LANES * LANE_GROUPS invocations owns TILE_ROWS query rows and streams over the keys TILE_KEYS at a
// time. LANES neighbouring invocations share LANE_ROWS rows. For one tile of keys:
//
//   scores   each lane computes a patch of LANE_ROWS x 4 scores, as dot products of vec4s   s = Q K^T
//   maximum  the lanes of a row agree on its running maximum m (reduce.glsl)                m' = max(m, s)
//   weights  exp2(s - m') go to shared memory, where every lane of the row finds them       P
//   output   each lane accumulates LANE_ROWS x COLUMNS vec4s of the output                  acc += P V
//
// Row r of a lane is  group + LANE_GROUPS * r  of the tile, its key c is  lane + LANES * c,  its vec4 column j of the
// output is  lane + LANES * j:  neighbouring lanes read neighbouring memory.
//
// The build defines, as literals because sizes of arrays depend on them:
//   DTYPE          1 f32, 2 f16, 3 bf16: what q, k, v and out are stored as; arithmetic is f32
//   WG_SIZE        invocations, LANES * LANE_GROUPS
//   LANES          lanes that share a row; a power of two
//   LANE_ROWS      rows per lane
//   D_QK, D_V      most head_dim of q and k, and of v and out
//   STAGE          0: q, k and v straight from memory (direct.glsl); 1: through shared memory (stage.glsl)
//   REDUCE         0: through shared memory, no subgroup operations; 1: subgroup shuffles (reduce.glsl)
//   QUANTISED      defined: keys or values are quantised, K_FORMAT and V_FORMAT say how; with STAGE 0
//   GRID           defined: rows and keys are places of boxes of a grid (hook/grid.glsl)
//   REDUCE_LOOP    defined, with REDUCE 0: in a loop that is not unrolled
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if REDUCE != 0
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif

#include "common/attention_params.h"
#include "tile/config.glsl"
#include "common/io.glsl"
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/finish.glsl"
#include "hook/user.glsl"
#include "tile/load.glsl"

// Weights of the tile in shared memory, one vec4 for each lane and row: slot `lane` of a row holds those of the keys
// lane + LANES * c. A row is padded by one vec4, which spreads the rows over the banks.
#define WEIGHT_PITCH (LANES + 1)

// In a tile that some row sees only in part, what stands in place of the weight of a key that the row does not see.
const float HIDDEN = -3.0e38;

uint lane, lane_group;       // this lane's place in its row, and the row group it works on
uint q_row[LANE_ROWS];       // where its rows of q start
#if STAGE
uint stage_q_row[(TILE_ROWS * CHUNK + WG_SIZE - 1) / WG_SIZE]; // and those that it copies
#endif
uint k_start, v_start;       // where key 0 of k and v is, or with pages (hook/pages.glsl) slot 0 of page 0
uint pages_line;             // and the table of pages
vec4 acc[LANE_ROWS * COLUMNS];

uint tile_row(uint r) { return lane_group + LANE_GROUPS * r; }

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

#ifdef GRID
#include "tile/grid.glsl"
#else
#define KEY_TOKEN(i) min(key0 + i, w.key_end - 1u)
#define USER_KEY(i) key0 + i
#define ALL_SEE(key0) (IS_LISTED ? tiles.whole : all_see(first, last, key0, TILE_KEYS))
#define SEES(r, c) sees(w, row_sight, key0 + lane + LANES * c)
#endif

#include "tile/reduce.glsl"
#if STAGE
#include "tile/stage.glsl"
#else
#include "tile/direct.glsl"
#endif

void main()
{
    lane = gl_LocalInvocationIndex % LANES;
    lane_group = gl_LocalInvocationIndex / LANES;

    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    uint rows = walk_rows(w);
    // The last query tiles see the most keys: they start first.
    uint tile = pc.tile0 + (IS_CAUSAL ? pc.tiles - 1u - gl_WorkGroupID.x : gl_WorkGroupID.x);
    uint row0 = tile * TILE_ROWS;
#ifdef GRID
    grid_begin(tile);
    if (grid.idle)
        return;
    grid_load_rows(w, row0);
#else
    if (row0 >= rows)
        return;
#endif

    // Rows past the end compute the last row again and write nothing.
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint row = min(row0 + tile_row(r), rows - 1u);
        q_row[r] = units(q_row_index(w, row_head(w, row), row_query(row)));
    }
#if STAGE
    [[unroll]] for (uint i = 0; i < STAGE_Q_COPIES; i++) {
        uint row = min(row0 + stage_row(i), rows - 1u);
        stage_q_row[i] = units(q_row_index(w, row_head(w, row), row_query(row)));
    }
#endif
    k_start = units_k(k_head_index(w));
    v_start = units_v(v_head_index(w));
    pages_line = page_line(w.batch);
#ifdef GRID
    uint some_row_sees = grid.volume;
#else
    Sight first = sight(w, row_query(row0)), last = sight(w, row_query(min(row0 + TILE_ROWS, rows) - 1u));
    uint some_row_sees = sight_end(last);
#endif

    // A scale that is not positive would turn the maximum around; such scores are scaled early, and so are those that a hook
    // changes.
    bool late = !IS_SCORED && p.scale_log2 > 0.0;
    float scale = late ? p.scale_log2 : 1.0;

    float m[LANE_ROWS]; // running maximum, the same in all lanes of a row
    float l[LANE_ROWS]; // running sum of this lane's weights; summed over the lanes at the end
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint row = min(row0 + tile_row(r), rows - 1u);
        m[r] = start_maximum(w, row_head(w, row), row_query(row));
        l[r] = lane == 0u ? start_sum(w, m[r]) : 0.0;
        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
            acc[r * COLUMNS + j] = vec4(0.0);
    }

#ifdef GRID
    const TileWalk tiles = NO_TILES;
    [[dont_unroll]] for (uint key0 = 0u; key0 < some_row_sees; key0 += TILE_KEYS) {
        grid_load_keys(w, key0);
#else
    TileWalk tiles = tile_walk(w, tile, false);
    [[dont_unroll]] for (uint key0 = next_tile(w, first, last, tiles, w.key_begin, TILE_KEYS); key0 < some_row_sees;
                         key0 = next_tile(w, first, last, tiles, key0 + TILE_KEYS, TILE_KEYS)) {
#endif
#if USER_MASK
        bool whole = IS_LISTED && tiles.whole && (IS_SCORED || p.scale_log2 > 0.0);
#else
        bool whole = ALL_SEE(key0) && (IS_SCORED || p.scale_log2 > 0.0);
#endif

        if (IS_PAGED)
            whole = keys_have_pages(pages_line, key0, min(key0 + TILE_KEYS, w.key_end)) && whole;

        float s[LANE_ROWS * 4];
        [[unroll]] for (uint i = 0; i < LANE_ROWS * 4; i++)
            s[i] = 0.0;
        tile_scores(key0, w.key_end - 1u, s);
        if (IS_SCORED) {
            [[unroll]] for (uint i = 0; i < LANE_ROWS * 4; i++)
                s[i] = score_hook(s[i] * p.scale_log2);
        }
        if (IS_BIASED) {
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                uint row = min(row0 + tile_row(r), rows - 1u);
                RowBias bias = row_bias(w, row_head(w, row), row_query(row));
                [[unroll]] for (uint c = 0; c < 4; c++)
                    s[r * 4 + c] = score_bias(s[r * 4 + c], bias, KEY_TOKEN(lane + LANES * c));
            }
        }

#if USER_SCORE
        USER_LOOP for (uint r = 0; r < LANE_ROWS; r++) {
            uint row = min(row0 + tile_row(r), rows - 1u);
            USER_LOOP for (uint c = 0; c < 4; c++)
                s[r * 4 + c] = user_score_hook(w, row, USER_KEY(lane + LANES * c), s[r * 4 + c]);
        }
#endif

        if (!whole) {
            float early_scale = IS_SCORED || late ? 1.0 : p.scale_log2;
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
#ifndef GRID
                Sight row_sight = sight(w, row_query(min(row0 + tile_row(r), rows - 1u)));
#endif
                [[unroll]] for (uint c = 0; c < 4; c++)
                    s[r * 4 + c] = mask_score(s[r * 4 + c] * early_scale, SEES(r, c));
            }
            if (IS_BLOCKS) {
                [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                    uint row = min(row0 + tile_row(r), rows - 1u);
                    uint line = block_line(w, row_head(w, row), row_query(row));
                    [[unroll]] for (uint c = 0; c < 4; c++)
                        s[r * 4 + c] = mask_score(s[r * 4 + c], block_shows(line, min(key0 + lane + LANES * c, w.key_end - 1u)));
                }
            }
#if USER_MASK
            USER_LOOP for (uint r = 0; r < LANE_ROWS; r++) {
                uint row = min(row0 + tile_row(r), rows - 1u);
                USER_LOOP for (uint c = 0; c < 4; c++)
                    s[r * 4 + c] = user_sees(w, row, USER_KEY(lane + LANES * c)) ? s[r * 4 + c] : NEG_INF;
            }
#endif
        }

        float shape[LANE_ROWS * 4]; // signs, or weights
        if (IS_SHAPED) {
            [[unroll]] for (uint i = 0; i < LANE_ROWS * 4; i++) {
                bool none = s[i] == NEG_INF;
                shape[i] = none ? 0.0 : IS_SIGNED ? sign(s[i]) : link_weight(s[i], m[i / 4]);
                s[i] = none ? s[i] : abs(s[i]);
            }
        }

        // Running maxima. A row's maximum is renewed only when it is exceeded by more than RESCALE_ABOVE: weights then
        // stay below 2^RESCALE_ABOVE, and most tiles need not rescale what was accumulated. Each row decides by itself;
        // the vote only skips work that would multiply by one.
        float tile_max[LANE_ROWS];
        float excess = NEG_INF;
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
            tile_max[r] = max(max(s[r * 4], s[r * 4 + 1]), max(s[r * 4 + 2], s[r * 4 + 3]));
            if (IS_ADDITIVE)
                tile_max[r] = m[r]; // which stays
            excess = max(excess, fma(tile_max[r], scale, -m[r]));
        }
        if (any_lane(excess > RESCALE_ABOVE)) {
            row_max(tile_max, lane, lane_group);
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                float tile_m = tile_max[r] * scale;
                float m_new = tile_m - m[r] > RESCALE_ABOVE ? tile_m : m[r];
                float factor = exp2(m[r] - m_new);
                m[r] = m_new;
                l[r] *= factor;
                [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                    acc[r * COLUMNS + j] *= factor;
            }
        }

        before_weights();
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
            vec4 weight;
            [[unroll]] for (uint c = 0; c < 4; c++)
                weight[c] = exp2(fma(s[r * 4 + c], scale, -m[r]));
            if (IS_LOW) { // exp2(-inf) need not be 0 everywhere, and a row of nothing else must come to 0
                [[unroll]] for (uint c = 0; c < 4; c++)
                    weight[c] = s[r * 4 + c] == NEG_INF ? 0.0 : weight[c];
            }
            if (!IS_ADDITIVE)
                l[r] += weight.x + weight.y + weight.z + weight.w;
            if (IS_SHAPED) {
                [[unroll]] for (uint c = 0; c < 4; c++)
                    weight[c] = IS_SIGNED ? weight[c] * shape[r * 4 + c] : shape[r * 4 + c];
            }
            if (IS_DECAY) {
                uint row = min(row0 + tile_row(r), rows - 1u);
                RowBias bias = row_bias(w, row_head(w, row), row_query(row));
                [[unroll]] for (uint c = 0; c < 4; c++)
                    weight[c] *= decay_factor(bias, KEY_TOKEN(lane + LANES * c));
            }
            weights[tile_row(r) * WEIGHT_PITCH + lane] = weight;
        }
        if (!whole) {
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
#ifndef GRID
                Sight row_sight = sight(w, row_query(min(row0 + tile_row(r), rows - 1u)));
#endif
                vec4 weight = weights[tile_row(r) * WEIGHT_PITCH + lane];
                [[unroll]] for (uint c = 0; c < 4; c++)
#if USER_MASK // asked once; a score of -inf has no part in the sum either way
                    weight[c] = s[r * 4 + c] == NEG_INF ? HIDDEN : weight[c];
#else
                    weight[c] = (IS_BLOCKS ? s[r * 4 + c] != NEG_INF : SEES(r, c)) ? weight[c] : HIDDEN;
#endif
                weights[tile_row(r) * WEIGHT_PITCH + lane] = weight;
            }
        }
        after_weights();
        if (whole)
            tile_output(key0, TILE_KEYS, false);
        else
            tile_output(key0, min(some_row_sees - key0, TILE_KEYS), true);
        after_tile();
    }

    row_sum(l, lane, lane_group);
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint row = row0 + tile_row(r);
        if (ROW_EXISTS(row, rows)) {
            uint head = row_head(w, row), query = row_query(row);
            if (lane == 0u)
                finish_store_sums(w, head, query, m[r], l[r]);
            if (IS_PARTIAL) {
                uint part = part_number(w, head, query);
                [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                    partial_store4(part, (lane + LANES * j) * 4u, acc[r * COLUMNS + j]);
            } else {
                uint o_row = o_row_index(w, head, query);
                float factor = finish_factor(l[r]);
                [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                    finish_store4(o_row, (lane + LANES * j) * 4u, acc[r * COLUMNS + j] * factor);
            }
        }
    }
}
