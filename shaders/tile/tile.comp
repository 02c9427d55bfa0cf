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
//   REDUCE         0: through shared memory, no subgroup operations; 1: clustered; 2: xor shuffles (reduce.glsl)
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

#include "common/attention_params.h"
#include "tile/config.glsl"
#include "common/io.glsl"
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/finish.glsl"

// Weights of the tile, one vec4 for each lane and row: slot `lane` of a row holds those of the keys lane + LANES * c.
// A row is padded by one vec4, which spreads the rows over the banks.
#define WEIGHT_PITCH (LANES + 1)
shared vec4 weights[TILE_ROWS * WEIGHT_PITCH];

#include "tile/reduce.glsl"

// In a tile that some row sees only in part, what stands in place of the weight of a key that the row does not see.
const float HIDDEN = -1.0;

uint lane, lane_group;
vec4 acc[LANE_ROWS * COLUMNS];

uint tile_row(uint r) { return lane_group + LANE_GROUPS * r; }

// acc += P V for the keys first_key + slot + LANES * c of one slot of weights, all of which every row sees.
void accumulate_slot(Walk w, uint first_key, uint slot)
{
    vec4 weight[LANE_ROWS];
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
        weight[r] = weights[tile_row(r) * WEIGHT_PITCH + slot];
    [[unroll]] for (uint c = 0; c < 4; c++) {
        uint v_row = v_row_index(w, first_key + slot + LANES * c);
        [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
            if (LANES * j < V_VECS) {
                uint column = v_column(lane, j);
                vec4 v = load_v4(v_row + column * 4u, v_count(column));
                [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                    acc[r * COLUMNS + j] = fma(vec4(weight[r][c]), v, acc[r * COLUMNS + j]);
            }
        }
    }
}

// The same for key number `key` of the tile, which some rows may not see: v may then be NaN, and a weight of zero
// would not keep it out.
void accumulate_hidden_key(Walk w, uint first_key, uint key)
{
    uint v_row = v_row_index(w, first_key + key);
    [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
        if (LANES * j < V_VECS) {
            uint column = v_column(lane, j);
            vec4 v = load_v4(v_row + column * 4u, v_count(column));
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                float weight = weights[tile_row(r) * WEIGHT_PITCH + key % LANES][key / LANES];
                vec4 sum = fma(vec4(weight), v, acc[r * COLUMNS + j]);
                acc[r * COLUMNS + j] = mix(sum, acc[r * COLUMNS + j], bvec4(weight == HIDDEN));
            }
        }
    }
}

void main()
{
    lane = gl_LocalInvocationIndex % LANES;
    lane_group = gl_LocalInvocationIndex / LANES;

    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    uint rows = walk_rows(w);
    // The last query tiles see the most keys: they start first.
    uint tile = pc.tile0 + (IS_CAUSAL ? pc.tiles - 1u - gl_WorkGroupID.x : gl_WorkGroupID.x);
    uint row0 = tile * TILE_ROWS;
    if (row0 >= rows)
        return;

    // Rows past the end compute the last row again and write nothing.
    uint query[LANE_ROWS], q_row[LANE_ROWS];
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint row = min(row0 + tile_row(r), rows - 1u);
        query[r] = row_query(row);
        q_row[r] = q_row_index(w, row_head(w, row), query[r]);
    }
    uint every_row_sees = key_limit(w, row_query(row0));
    uint some_row_sees = key_limit(w, row_query(min(row0 + TILE_ROWS, rows) - 1u));

    // A scale that is not positive would turn the maximum around; such scores are scaled early.
    float scale = p.scale_log2 > 0.0 ? p.scale_log2 : 1.0;
    float early_scale = p.scale_log2 > 0.0 ? 1.0 : p.scale_log2;

    float m[LANE_ROWS]; // running maximum, the same in all lanes of a row
    float l[LANE_ROWS]; // running sum of this lane's weights; summed over the lanes at the end
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        m[r] = MAXIMUM_START;
        l[r] = 0.0;
        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
            acc[r * COLUMNS + j] = vec4(0.0);
    }

    [[dont_unroll]] for (uint key0 = w.key_begin; key0 < some_row_sees; key0 += TILE_KEYS) {
        bool whole = key0 + TILE_KEYS <= every_row_sees && p.scale_log2 > 0.0;

        uint k_row[4];
        [[unroll]] for (uint c = 0; c < 4; c++)
            k_row[c] = k_row_index(w, min(key0 + lane + LANES * c, w.key_end - 1u));

        float s[LANE_ROWS * 4];
        [[unroll]] for (uint i = 0; i < LANE_ROWS * 4; i++)
            s[i] = 0.0;
        [[dont_unroll]] for (uint step = 0; step < QK_VECS; step += QK_STEPS) {
            [[unroll]] for (uint u = 0; u < QK_STEPS; u++) {
                uint d = (step + u) * 4u;
                if (QK_VECS % QK_STEPS == 0 || d < HEAD_DIM_QK) {
                    vec4 k[4];
                    [[unroll]] for (uint c = 0; c < 4; c++)
                        k[c] = load_k4(k_row[c] + d, qk_count(d));
                    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                        vec4 q = load_q4(q_row[r] + d, qk_count(d));
                        [[unroll]] for (uint c = 0; c < 4; c++) {
                            float x = s[r * 4 + c];
                            x = fma(q.x, k[c].x, x);
                            x = fma(q.y, k[c].y, x);
                            x = fma(q.z, k[c].z, x);
                            s[r * 4 + c] = fma(q.w, k[c].w, x);
                        }
                    }
                }
            }
        }

        if (!whole) {
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                uint limit = key_limit(w, query[r]);
                [[unroll]] for (uint c = 0; c < 4; c++)
                    s[r * 4 + c] = mask_score(s[r * 4 + c] * early_scale, key0 + lane + LANES * c, limit);
            }
        }

        // Running maxima; what was accumulated under an older one is scaled down.
        float tile_max[LANE_ROWS];
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
            tile_max[r] = max(max(s[r * 4], s[r * 4 + 1]), max(s[r * 4 + 2], s[r * 4 + 3]));
        row_max(tile_max, lane, lane_group);
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
            float m_new = max(m[r], tile_max[r] * scale);
            float factor = exp2(m[r] - m_new);
            m[r] = m_new;
            l[r] *= factor;
            [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                acc[r * COLUMNS + j] *= factor;
        }

        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
            vec4 weight;
            [[unroll]] for (uint c = 0; c < 4; c++)
                weight[c] = exp2(fma(s[r * 4 + c], scale, -m[r]));
            l[r] += weight.x + weight.y + weight.z + weight.w;
            weights[tile_row(r) * WEIGHT_PITCH + lane] = weight;
        }
        if (!whole) {
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                uint limit = key_limit(w, query[r]);
                vec4 weight = weights[tile_row(r) * WEIGHT_PITCH + lane];
                [[unroll]] for (uint c = 0; c < 4; c++)
                    weight[c] = key0 + lane + LANES * c < limit ? weight[c] : HIDDEN;
                weights[tile_row(r) * WEIGHT_PITCH + lane] = weight;
            }
        }
        row_barrier();

        if (whole) {
            [[dont_unroll]] for (uint slot = 0; slot < LANES; slot += PV_STEPS)
                [[unroll]] for (uint u = 0; u < PV_STEPS; u++)
                    accumulate_slot(w, key0, slot + u);
        } else {
            [[dont_unroll]] for (uint key = 0; key < min(some_row_sees - key0, TILE_KEYS); key++)
                accumulate_hidden_key(w, key0, key);
        }
        row_barrier_before_weights();
    }

    row_sum(l, lane, lane_group);
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        uint row = row0 + tile_row(r);
        if (row < rows) {
            uint head = row_head(w, row);
            if (lane == 0u)
                finish_store_sums(w, head, query[r], m[r], l[r]);
            if (IS_PARTIAL) {
                uint part = part_number(w, head, query[r]);
                [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                    partial_store4(part, (lane + LANES * j) * 4u, acc[r * COLUMNS + j]);
            } else {
                uint o_row = o_row_index(w, head, query[r]);
                float factor = finish_factor(l[r]);
                [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                    finish_store4(o_row, (lane + LANES * j) * 4u, acc[r * COLUMNS + j] * factor);
            }
        }
    }
}
