#version 450
// Tiled attention on cooperative matrices: f16 q, k and v, f32 scores, sums and accumulators.
//
// A workgroup of SUBGROUPS subgroups owns TILE_ROWS query rows, ROW_TILES * TM per subgroup, and streams over the keys TILE_KEYS at
// a time. k and v are staged in shared memory as f16, padded with zeros to whole matrices. For one tile of keys a
// subgroup computes
//
//   scores   (TM x TILE_KEYS) = q (TM x D_QK) k^T     kept as accumulator matrices of TM x TN
//   weights  exp2(scores - m), elementwise            through shared memory, to change from accumulator to operand
//   acc      (TM x D_V) += weights v                  accumulator matrices of TM x TN
//
// Which element of a matrix a lane holds is the driver's secret. So whatever depends on an element's row or column comes
// as a matrix of the same type, hence the same places, loaded with stride 0: a vector along the rows (column-major) or
// along the columns (row-major).
//
// The build defines, as literals:
//   TM, TN, TK     shape of the matrices: (TM x TK) (TK x TN) -> (TM x TN)
//   SG_SIZE        required subgroup size, at least ROW_TILES * TM
//   SUBGROUPS      per workgroup
//   ROW_TILES      matrices along the rows of a subgroup: each matrix of k or v is loaded once for all of them
//   TILE_KEYS      keys per tile
//   D_QK, D_V      most head_dim; multiples of TK and TN
//   V_TRANSPOSED   1: v is kept transposed in shared memory, for devices whose matrix loads want contiguous columns
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require

#include "common/attention_params.h"
#include "coopmat/config.glsl"
#include "common/io.glsl"
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/finish.glsl"
#include "hook/user.glsl"
#include "coopmat/stage.glsl"
#include "coopmat/modify.glsl"

// A vector along the rows as a matrix.
Accumulator row_matrix(uint first)
{
    Accumulator x;
    coopMatLoad(x, scratch.row_values, first, 0, gl_CooperativeMatrixLayoutColumnMajor);
    return x;
}

Accumulator limit_matrix(uint first)
{
    Accumulator x;
    coopMatLoad(x, scratch.row_limits, first, 0, gl_CooperativeMatrixLayoutColumnMajor);
    return x;
}

void main()
{
    uint invocation = gl_LocalInvocationIndex, lane = gl_SubgroupInvocationID;
    uint sg_row = gl_SubgroupID * SG_ROWS; // first row of this subgroup in the tile
    uint exchange = sg_row * S_PITCH;
    uint values = sg_row * 2;

    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    uint rows = walk_rows(w);
    // The last query tiles see the most keys: they start first.
    uint tile = pc.tile0 + (IS_CAUSAL ? pc.tiles - 1u - gl_WorkGroupID.x : gl_WorkGroupID.x);
    uint row0 = tile * TILE_ROWS;
    if (row0 >= rows)
        return;
    Sight first = sight(w, row_query(row0)), last = sight(w, row_query(min(row0 + TILE_ROWS, rows) - 1u));
    uint some_row_sees = sight_end(last);
    bool late = !IS_SCORED && p.scale_log2 > 0.0; // see the tile kernel
    float scale = late ? p.scale_log2 : 1.0;

    // Lane r < SG_ROWS looks after row r of its subgroup. Rows past the end repeat the last one and are not written.
    uint row = min(row0 + sg_row + min(lane, SG_ROWS - 1u), rows - 1u);
    uint limit = sight(w, row_query(row)).limit;
    float m_row = MAXIMUM_START, m_first, l_first = 0.0;
    if (STARTS) {
        m_row = start_maximum(w, row_head(w, row), row_query(row));
        l_first = start_sum(w, m_row);
    }
    m_first = m_row;

    if (invocation < TN)
        scratch.column_numbers[invocation] = float(invocation);
    if (invocation == 0u)
        scratch.not_finite_tile.x = 0xffffffffu;
    k_start = units(k_head_index(w));
    v_start = units(v_head_index(w));
    pages_line = page_line(w.batch);
    MatrixA q[ROW_TILES * Q_TILES];
    Accumulator acc[ROW_TILES * V_TILES];
    Accumulator m[ROW_TILES]; // running maximum of the element's row
    Accumulator l[ROW_TILES]; // running sum of the weights at this element's place; in a second pass the row's log-sum-exp
    Accumulator l_exact[ROW_TILES]; // with SUMS_TWICE, the sum before weights are rounded
    [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
        barrier(); // everyone is done with the q before
        stage_queries(w, row0, rows, t);
        barrier();
        [[unroll]] for (uint i = 0; i < Q_TILES; i++)
            coopMatLoad(q[t * Q_TILES + i], scratch.pool, gl_SubgroupID * TM * K_PITCH + i * (TK / 4), K_PITCH,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < V_TILES; j++)
            acc[t * V_TILES + j] = Accumulator(0.0);
        m[t] = Accumulator(MAXIMUM_START);
        l[t] = Accumulator(0.0);
        l_exact[t] = Accumulator(0.0);
    }
    if (STARTS || IS_SECOND_PASS) {
        if (lane < SG_ROWS)
            scratch.row_values[values + lane] = IS_SECOND_PASS ? start_maximum(w, row_head(w, row), row_query(row)) : m_row;
        subgroupBarrier();
        [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
            if (IS_SECOND_PASS)
                l[t] = row_matrix(values + t * TM);
            else
                m[t] = row_matrix(values + t * TM);
        }
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
        barrier(); // everyone is done with q, or with the previous k, v
        stage_k(key0, w.key_end - 1u);
        stage_v(key0, w.key_end - 1u, some_row_sees, true);
        if (!whole)
            stage_v(key0, w.key_end - 1u, some_row_sees, false); // again, each lane over what it wrote
        if (lane < SG_ROWS)
            scratch.row_limits[sg_row + lane] = float(min(limit > key0 ? limit - key0 : 0u, TILE_KEYS));
        barrier();

        Accumulator s[ROW_TILES * KEY_TILES];
        [[unroll]] for (uint n = 0; n < ROW_TILES * KEY_TILES; n++)
            s[n] = Accumulator(0.0);
        [[unroll]] for (uint i = 0; i < Q_TILES; i++) {
            [[unroll]] for (uint n = 0; n < KEY_TILES; n++) {
                MatrixB k;
                coopMatLoad(k, scratch.pool, n * TN * K_PITCH + i * (TK / 4), K_PITCH,
                            gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
                    s[t * KEY_TILES + n] = coopMatMulAdd(q[t * Q_TILES + i], k, s[t * KEY_TILES + n]);
            }
        }

        if (IS_SCORED) {
            [[unroll]] for (uint n = 0; n < ROW_TILES * KEY_TILES; n++)
                [[unroll]] for (int i = 0; i < s[n].length(); i++)
                    s[n][i] = score_hook(s[n][i] * p.scale_log2);
        }

        Accumulator decay[ROW_TILES * KEY_TILES];
        if (IS_HOOKED) {
            float early_scale = IS_SCORED || late ? 1.0 : p.scale_log2;
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
                [[unroll]] for (uint n = 0; n < KEY_TILES; n++) {
                    uint i = t * KEY_TILES + n, matrix_row = row0 + sg_row + t * TM, matrix_key = key0 + n * TN;
                    coopMatStore(s[i], scratch.rows_exchange, exchange, S_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                    subgroupBarrier();
                    hook_scores(w, exchange, matrix_row, rows, matrix_key, whole, early_scale);
                    subgroupBarrier();
                    coopMatLoad(s[i], scratch.rows_exchange, exchange, S_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                    subgroupBarrier();
                    if (IS_DECAY) {
                        place_decay(w, exchange, matrix_row, rows, matrix_key);
                        subgroupBarrier();
                        coopMatLoad(decay[i], scratch.rows_exchange, exchange, S_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                        subgroupBarrier();
                    }
                }
        }

        if (IS_PAIRWISE && !IS_HOOKED && !whole) {
            float early_scale = IS_SCORED || late ? 1.0 : p.scale_log2;
            show_keys(w, row0 + sg_row, rows, sg_row, key0);
            subgroupBarrier();
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
                [[unroll]] for (uint n = 0; n < KEY_TILES; n++) {
                    AccumulatorHalf seen;
                    coopMatLoad(seen, scratch.weights, (sg_row + t * TM) * P_PITCH + n * (TN / 4), P_PITCH,
                                gl_CooperativeMatrixLayoutRowMajor);
                    [[unroll]] for (int i = 0; i < seen.length(); i++)
                        s[t * KEY_TILES + n][i] = mask_score(s[t * KEY_TILES + n][i] * early_scale, seen[i] > float16_t(0.0));
                }
        }
        if (!IS_PAIRWISE && !whole) {
            float early_scale = IS_SCORED || late ? 1.0 : p.scale_log2;
            Accumulator columns;
            coopMatLoad(columns, scratch.column_numbers, 0, 0, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
                Accumulator limits = limit_matrix(sg_row + t * TM);
                [[unroll]] for (uint n = t * KEY_TILES; n < (t + 1) * KEY_TILES; n++)
                    [[unroll]] for (int i = 0; i < limits.length(); i++)
                        s[n][i] = columns[i] + float((n - t * KEY_TILES) * TN) < limits[i] ? s[n][i] * early_scale
                                                                                           : NEG_INF;
            }
        }

        if (IS_ADDITIVE) {
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
                [[unroll]] for (uint n = t * KEY_TILES; n < (t + 1) * KEY_TILES; n++)
                    [[unroll]] for (int i = 0; i < s[n].length(); i++) {
                        float x = s[n][i] == NEG_INF ? 0.0 : link_weight(s[n][i], l[t][i]);
                        s[n][i] = IS_DECAY ? x * exp2(decay[n][i]) : x;
                    }
        }

        // Running maxima, renewed when a row exceeds its own by more than RESCALE_ABOVE. No barrier inside a branch.
        float excess = NEG_INF;
        Accumulator tile_max[ROW_TILES];
        [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
            tile_max[t] = s[t * KEY_TILES];
            if (IS_SHAPED) {
                [[unroll]] for (int i = 0; i < m[t].length(); i++)
                    tile_max[t][i] = score_size(tile_max[t][i]);
            }
            [[unroll]] for (uint n = t * KEY_TILES + 1; n < (t + 1) * KEY_TILES; n++)
                [[unroll]] for (int i = 0; i < s[n].length(); i++)
                    tile_max[t][i] = max(tile_max[t][i], score_size(s[n][i]));
            [[unroll]] for (int i = 0; i < m[t].length(); i++)
                excess = max(excess, IS_ADDITIVE ? size_maximum(tile_max[t][i], scale) - m[t][i] : fma(tile_max[t][i], scale, -m[t][i]));
        }
        bool rescale = subgroupAny(excess > RESCALE_ABOVE);
        if (rescale) {
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
                coopMatStore(tile_max[t], scratch.rows_exchange, exchange + t * TM * S_PITCH, S_PITCH,
                             gl_CooperativeMatrixLayoutRowMajor);
        }
        subgroupBarrier();
        if (rescale && lane < SG_ROWS) {
            float row_max = scratch.rows_exchange[exchange + lane * S_PITCH];
            [[unroll]] for (uint i = 1; i < TN; i++)
                row_max = max(row_max, scratch.rows_exchange[exchange + lane * S_PITCH + i]);
            float tile_m = size_maximum(row_max, scale);
            float m_new = tile_m - m_row > RESCALE_ABOVE ? tile_m : m_row;
            scratch.row_values[values + lane] = m_new;
            scratch.row_values[values + SG_ROWS + lane] = exp2(m_row - m_new);
            m_row = m_new;
        }
        subgroupBarrier();
        if (rescale) {
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
                m[t] = row_matrix(values + t * TM);
                Accumulator factor = row_matrix(values + SG_ROWS + t * TM);
                if (!IS_ADDITIVE) {
                    [[unroll]] for (int i = 0; i < factor.length(); i++)
                        l[t][i] *= factor[i];
                }
                if (SUMS_TWICE) {
                    [[unroll]] for (int i = 0; i < factor.length(); i++)
                        l_exact[t][i] *= factor[i];
                }
                [[unroll]] for (uint j = t * V_TILES; j < (t + 1) * V_TILES; j++)
                    [[unroll]] for (int i = 0; i < factor.length(); i++)
                        acc[j][i] *= factor[i];
            }
        }
        subgroupBarrier();

        [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
            [[unroll]] for (uint n = 0; n < KEY_TILES; n++) {
                // Summed as rounded: what rounding adds to or takes from all weights alike then cancels.
                AccumulatorHalf weight;
                [[unroll]] for (int i = 0; i < weight.length(); i++) {
                    float score = s[t * KEY_TILES + n][i], size = weight_size(score, scale, m[t][i]);
                    weight[i] = float16_t(size);
                    if (!IS_ADDITIVE)
                        l[t][i] += IS_DECAY ? size : float(weight[i]);
                    if (SUMS_TWICE)
                        l_exact[t][i] += size;
                    if (IS_DECAY && !IS_ADDITIVE)
                        weight[i] = float16_t(size * exp2(decay[t * KEY_TILES + n][i]));
                    if (IS_SHAPED)
                        weight[i] *= float16_t(sign(score));
                }
                coopMatStore(weight, scratch.weights, (sg_row + t * TM) * P_PITCH + n * (TN / 4),
                             P_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            }
        }
        subgroupBarrier();
        MULTIPLY_BY_V(acc)

        // v holds NaN or infinities (staged as zeros) and some rows do not see all of its keys: those that do see them
        // get them now.
        if (IS_PAIRWISE && !whole && scratch.not_finite_tile.x == key0) {
            // By a product: how many of those there are among the keys that a row sees; where weights have signs, first among those
            // of positive weight, then of negative.
            [[dont_unroll]] for (uint pass = 0; pass < NOT_FINITE_KINDS * (IS_SHAPED ? 2u : 1u); pass++) {
                uint kind = pass % NOT_FINITE_KINDS;
                bool negative = pass >= NOT_FINITE_KINDS;
                barrier();
                if (IS_HOOKED || IS_SHAPED) {
                    [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
                        [[unroll]] for (uint n = 0; n < KEY_TILES; n++) {
                            AccumulatorHalf seen;
                            [[unroll]] for (int i = 0; i < seen.length(); i++) {
                                float x = s[t * KEY_TILES + n][i];
                                bool counts = IS_SHAPED ? (negative ? x < 0.0 && x != NEG_INF : x > 0.0) : x != NEG_INF;
                                seen[i] = float16_t(counts ? 1.0 : 0.0);
                            }
                            coopMatStore(seen, scratch.weights, (sg_row + t * TM) * P_PITCH + n * (TN / 4), P_PITCH,
                                         gl_CooperativeMatrixLayoutRowMajor);
                        }
                } else if (pass == 0u) {
                    show_keys(w, row0 + sg_row, rows, sg_row, key0);
                }
                stage_not_finite(kind, key0, some_row_sees);
                barrier();
                [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
                    [[unroll]] for (uint j = 0; j < V_TILES; j++) {
                        Accumulator count = Accumulator(0.0);
                        [[unroll]] for (uint c = 0; c < WEIGHT_TILES; c++) {
                            MatrixA seen;
                            MatrixB there;
                            coopMatLoad(seen, scratch.weights, (sg_row + t * TM) * P_PITCH + c * (TK / 4), P_PITCH,
                                        gl_CooperativeMatrixLayoutRowMajor);
                            LOAD_V(there, c, j);
                            count = coopMatMulAdd(seen, there, count);
                        }
                        [[unroll]] for (int i = 0; i < count.length(); i++)
                            if (count[i] > 0.0)
                                acc[t * V_TILES + j][i] += negative ? -not_finite_value(kind) : not_finite_value(kind);
                    }
            }
        }
        if (!IS_PAIRWISE && !whole && scratch.not_finite_tile.x == key0) {
            find_not_finite(key0, some_row_sees);
            barrier();
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
                Accumulator limits = limit_matrix(sg_row + t * TM);
                [[unroll]] for (uint kind = 0; kind < NOT_FINITE_KINDS; kind++) {
                    [[unroll]] for (uint j = 0; j < V_TILES; j++) {
                        Accumulator first;
                        coopMatLoad(first, scratch.first_not_finite, kind * D_V + j * TN, 0,
                                    gl_CooperativeMatrixLayoutRowMajor);
                        [[unroll]] for (int i = 0; i < first.length(); i++)
                            if (first[i] < limits[i])
                                acc[t * V_TILES + j][i] += not_finite_value(kind);
                    }
                }
            }
        }
    }

    // Sums over the columns, then outputs, a matrix at a time.
    float l_row_exact = 0.0;
    if (SUMS_TWICE) {
        [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
            coopMatStore(l_exact[t], scratch.rows_exchange, exchange + t * TM * S_PITCH, S_PITCH,
                         gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        if (lane < SG_ROWS)
            l_row_exact = row_total(exchange + lane * S_PITCH);
        subgroupBarrier();
    }
    [[unroll]] for (uint t = 0; t < ROW_TILES; t++)
        coopMatStore(l[t], scratch.rows_exchange, exchange + t * TM * S_PITCH, S_PITCH,
                     gl_CooperativeMatrixLayoutRowMajor);
    subgroupBarrier();
    if (lane < SG_ROWS) {
        float l_row = row_total(exchange + lane * S_PITCH), start = STARTS ? l_first * exp2(m_first - m_row) : 0.0;
        l_row += start;
        float m_out = m_row, factor = IS_PARTIAL ? 1.0 : finish_factor(l_row);
        if (SUMS_TWICE) {
            float exact = l_row_exact + start;
            factor = IS_PARTIAL && l_row > 0.0 ? exact / l_row : factor;
            l_row = exact;
        }
        if (IS_ADDITIVE) { // partial results add up: their m is 0, and their l 1 in all
            factor = exp2(m_row);
            m_out = 0.0;
            l_row = start_sum(w, 0.0);
        }
        scratch.row_values[values + lane] = factor;
        if (row0 + sg_row + lane < rows)
            finish_store_sums(w, row_head(w, row), row_query(row), m_out, l_row);
    }
    subgroupBarrier();
    [[unroll]] for (uint t = 0; t < ROW_TILES; t++) {
        Accumulator factor = row_matrix(values + t * TM);
        [[unroll]] for (uint j = 0; j < V_TILES; j++) {
            Accumulator x = acc[t * V_TILES + j];
            [[unroll]] for (int i = 0; i < factor.length(); i++)
                x[i] *= factor[i];
            coopMatStore(x, scratch.rows_exchange, exchange, S_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
            [[unroll]] for (uint e = 0; e < (TM * TN / 4 + SG_SIZE - 1) / SG_SIZE; e++) {
                uint quad = e * SG_SIZE + lane, r = quad / (TN / 4), c = quad % (TN / 4) * 4;
                uint out_row = row0 + sg_row + t * TM + r;
                if (r < TM && out_row < rows) {
                    uint at = exchange + r * S_PITCH + c;
                    vec4 y = vec4(scratch.rows_exchange[at], scratch.rows_exchange[at + 1],
                                  scratch.rows_exchange[at + 2], scratch.rows_exchange[at + 3]);
                    uint head = row_head(w, out_row), query = row_query(out_row);
                    if (IS_PARTIAL)
                        partial_store4(part_number(w, head, query), j * TN + c, y);
                    else
                        finish_store4(o_row_index(w, head, query), j * TN + c, y);
                }
            }
            subgroupBarrier();
        }
    }
}
