#version 450
// Tiled attention on cooperative matrices: f16 q, k and v, f32 scores, sums and accumulators.
//
// A workgroup of SUBGROUPS subgroups owns TILE_ROWS query rows, TM per subgroup, and streams over the keys TILE_KEYS at
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
//   SG_SIZE        required subgroup size, at least TM
//   SUBGROUPS      per workgroup
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
#include "hook/finish.glsl"
#include "coopmat/stage.glsl"

shared float rows_exchange[TILE_ROWS * S_PITCH]; // a TM x TN matrix of each subgroup
shared float row_values[TILE_ROWS * 2];          // two vectors along the rows of each subgroup
shared float row_limits[TILE_ROWS];              // keys of this tile that each row sees
shared float column_numbers[TN];                 // 0, 1, ..

// A vector along the rows as a matrix.
Accumulator row_matrix(uint first)
{
    Accumulator x;
    coopMatLoad(x, row_values, first, 0, gl_CooperativeMatrixLayoutColumnMajor);
    return x;
}

void main()
{
    uint invocation = gl_LocalInvocationIndex, lane = gl_SubgroupInvocationID;
    uint sg_row = gl_SubgroupID * TM;       // first row of this subgroup in the tile
    uint exchange = sg_row * S_PITCH;
    uint values = gl_SubgroupID * 2 * TM;

    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    uint rows = walk_rows(w);
    // The last query tiles see the most keys: they start first.
    uint tile = pc.tile0 + (IS_CAUSAL ? pc.tiles - 1u - gl_WorkGroupID.x : gl_WorkGroupID.x);
    uint row0 = tile * TILE_ROWS;
    if (row0 >= rows)
        return;
    uint every_row_sees = key_limit(w, row_query(row0));
    uint some_row_sees = key_limit(w, row_query(min(row0 + TILE_ROWS, rows) - 1u));
    float scale = p.scale_log2 > 0.0 ? p.scale_log2 : 1.0; // see the tile kernel

    // Lane r < TM looks after row r of its subgroup. Rows past the end repeat the last one and are not written.
    uint row = min(row0 + sg_row + min(lane, TM - 1u), rows - 1u);
    uint limit = key_limit(w, row_query(row));
    float m_row = MAXIMUM_START;

    if (invocation < TN)
        column_numbers[invocation] = float(invocation);
    if (invocation == 0u)
        not_finite_tile = 0xffffffffu;
    k_start = units(k_row_index(w, 0u));
    v_start = units(v_row_index(w, 0u));
    stage_queries(w, row0, rows);
    barrier();
    MatrixA q[Q_TILES];
    [[unroll]] for (uint i = 0; i < Q_TILES; i++)
        coopMatLoad(q[i], pool, sg_row * K_PITCH + i * (TK / 4), K_PITCH, gl_CooperativeMatrixLayoutRowMajor);

    Accumulator acc[V_TILES];
    [[unroll]] for (uint j = 0; j < V_TILES; j++)
        acc[j] = Accumulator(0.0);
    Accumulator m = Accumulator(MAXIMUM_START); // running maximum of the element's row
    Accumulator l = Accumulator(0.0);           // running sum of the weights at this element's place

    [[dont_unroll]] for (uint key0 = w.key_begin; key0 < some_row_sees; key0 += TILE_KEYS) {
        bool whole = key0 + TILE_KEYS <= every_row_sees && p.scale_log2 > 0.0;
        barrier(); // everyone is done with q, or with the previous k, v
        stage_k(key0, w.key_end - 1u);
        stage_v(key0, w.key_end - 1u, some_row_sees, true);
        if (!whole)
            stage_v(key0, w.key_end - 1u, some_row_sees, false); // again, each lane over what it wrote
        if (lane < TM)
            row_limits[sg_row + lane] = float(min(limit > key0 ? limit - key0 : 0u, TILE_KEYS));
        barrier();

        Accumulator s[KEY_TILES];
        [[unroll]] for (uint n = 0; n < KEY_TILES; n++)
            s[n] = Accumulator(0.0);
        [[unroll]] for (uint i = 0; i < Q_TILES; i++) {
            [[unroll]] for (uint n = 0; n < KEY_TILES; n++) {
                MatrixB k;
                coopMatLoad(k, pool, n * TN * K_PITCH + i * (TK / 4), K_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
                s[n] = coopMatMulAdd(q[i], k, s[n]);
            }
        }

        if (!whole) {
            float early_scale = p.scale_log2 > 0.0 ? 1.0 : p.scale_log2;
            Accumulator limits, columns;
            coopMatLoad(limits, row_limits, sg_row, 0, gl_CooperativeMatrixLayoutColumnMajor);
            coopMatLoad(columns, column_numbers, 0, 0, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint n = 0; n < KEY_TILES; n++)
                [[unroll]] for (int i = 0; i < s[n].length(); i++)
                    s[n][i] = columns[i] + float(n * TN) < limits[i] ? s[n][i] * early_scale : NEG_INF;
        }

        // Running maxima, renewed when a row exceeds its own by more than RESCALE_ABOVE. No barrier inside a branch.
        float excess = NEG_INF;
        Accumulator tile_max = s[0];
        [[unroll]] for (uint n = 1; n < KEY_TILES; n++)
            [[unroll]] for (int i = 0; i < tile_max.length(); i++)
                tile_max[i] = max(tile_max[i], s[n][i]);
        [[unroll]] for (int i = 0; i < tile_max.length(); i++)
            excess = max(excess, fma(tile_max[i], scale, -m[i]));
        bool rescale = subgroupAny(excess > RESCALE_ABOVE);
        if (rescale)
            coopMatStore(tile_max, rows_exchange, exchange, S_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        if (rescale && lane < TM) {
            float row_max = rows_exchange[exchange + lane * S_PITCH];
            [[unroll]] for (uint i = 1; i < TN; i++)
                row_max = max(row_max, rows_exchange[exchange + lane * S_PITCH + i]);
            float m_new = row_max * scale - m_row > RESCALE_ABOVE ? row_max * scale : m_row;
            row_values[values + lane] = m_new;
            row_values[values + TM + lane] = exp2(m_row - m_new);
            m_row = m_new;
        }
        subgroupBarrier();
        if (rescale) {
            m = row_matrix(values);
            Accumulator factor = row_matrix(values + TM);
            [[unroll]] for (int i = 0; i < l.length(); i++)
                l[i] *= factor[i];
            [[unroll]] for (uint j = 0; j < V_TILES; j++)
                [[unroll]] for (int i = 0; i < l.length(); i++)
                    acc[j][i] *= factor[i];
        }
        subgroupBarrier();

        [[unroll]] for (uint n = 0; n < KEY_TILES; n++) {
            [[unroll]] for (int i = 0; i < l.length(); i++) {
                s[n][i] = exp2(fma(s[n][i], scale, -m[i]));
                l[i] += s[n][i];
            }
            coopMatStore(AccumulatorHalf(s[n]), weights, sg_row * P_PITCH + n * (TN / 4), P_PITCH,
                         gl_CooperativeMatrixLayoutRowMajor);
        }
        subgroupBarrier();
        MULTIPLY_BY_V(acc)

        // v holds NaN or infinities (staged as zeros) and some rows do not see all of its keys: those that do see them
        // get them now.
        if (!whole && not_finite_tile == key0) {
            find_not_finite(key0, some_row_sees);
            barrier();
            Accumulator limits;
            coopMatLoad(limits, row_limits, sg_row, 0, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint kind = 0; kind < NOT_FINITE_KINDS; kind++) {
                [[unroll]] for (uint j = 0; j < V_TILES; j++) {
                    Accumulator first;
                    coopMatLoad(first, first_not_finite, kind * D_V + j * TN, 0, gl_CooperativeMatrixLayoutRowMajor);
                    [[unroll]] for (int i = 0; i < l.length(); i++)
                        acc[j][i] = first[i] < limits[i] ? acc[j][i] + not_finite_value(kind) : acc[j][i];
                }
            }
        }
    }

    // Sums over the columns, then outputs, a matrix at a time.
    coopMatStore(l, rows_exchange, exchange, S_PITCH, gl_CooperativeMatrixLayoutRowMajor);
    subgroupBarrier();
    if (lane < TM) {
        float l_row = 0.0;
        [[unroll]] for (uint i = 0; i < TN; i++)
            l_row += rows_exchange[exchange + lane * S_PITCH + i];
        row_values[values + lane] = IS_PARTIAL ? 1.0 : finish_factor(l_row);
        if (row0 + sg_row + lane < rows)
            finish_store_sums(w, row_head(w, row), row_query(row), m_row, l_row);
    }
    subgroupBarrier();
    Accumulator factor = row_matrix(values);
    [[unroll]] for (uint j = 0; j < V_TILES; j++) {
        [[unroll]] for (int i = 0; i < factor.length(); i++)
            acc[j][i] *= factor[i];
        coopMatStore(acc[j], rows_exchange, exchange, S_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        [[unroll]] for (uint e = 0; e < (TM * TN / 4 + SG_SIZE - 1) / SG_SIZE; e++) {
            uint quad = e * SG_SIZE + lane, r = quad / (TN / 4), c = quad % (TN / 4) * 4;
            uint out_row = row0 + sg_row + r;
            if (r < TM && out_row < rows) {
                uint at = exchange + r * S_PITCH + c;
                vec4 x = vec4(rows_exchange[at], rows_exchange[at + 1], rows_exchange[at + 2], rows_exchange[at + 3]);
                uint head = row_head(w, out_row), query = row_query(out_row);
                if (IS_PARTIAL)
                    partial_store4(part_number(w, head, query), j * TN + c, x);
                else
                    finish_store4(o_row_index(w, head, query), j * TN + c, x);
            }
        }
        subgroupBarrier();
    }
}
