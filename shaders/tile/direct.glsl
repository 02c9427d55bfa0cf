// Scores and outputs of a tile straight from memory: the lanes of a workgroup that read the same rows of q, k and v
// find them in the cache. Shared memory holds the weights alone, so that many workgroups fit on a core.
shared vec4 weights[TILE_ROWS * WEIGHT_PITCH];

// s = Q K^T, unscaled. Keys past the end repeat the last one; their scores are masked later.
void tile_scores(uint key0, uint last_key, inout float s[LANE_ROWS * 4])
{
    uint k_row[4];
    [[unroll]] for (uint c = 0; c < 4; c++)
#ifdef GRID
        k_row[c] = k_start + KEY_TOKEN(lane + LANES * c) * units_k(p.k_stride_s);
#else
        k_row[c] = k_start + key_offset(pages_line, min(key0 + lane + LANES * c, last_key), units_k(p.k_stride_b), units_k(p.k_stride_s));
#endif
    [[dont_unroll]] for (uint step = 0; step < QK_VECS; step += QK_STEPS) {
        [[unroll]] for (uint u = 0; u < QK_STEPS; u++) {
            uint d = step + u;
            if (QK_VECS % QK_STEPS == 0 || d < QK_VECS) {
                vec4 q[LANE_ROWS];
                [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                    q[r] = load_q(q_row[r], d);
                [[unroll]] for (uint c = 0; c < 4; c++) {
                    vec4 k = load_k(k_row[c], d);
                    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                        s[r * 4 + c] = dot_fma(q[r], k, s[r * 4 + c]);
                }
            }
        }
    }
}

void before_weights() {}
void after_weights() { row_barrier(); }
void after_tile() { row_barrier_after_tile(); }

// acc += P V of a tile of which `visible` keys are seen by some row; `masked`: not all by every row (see add_seen).
void tile_output(uint key0, uint visible, bool masked)
{
    uint v_step = units_v(p.v_stride_s);
    uint v_row = v_start + key0 * v_step;
    [[dont_unroll]] for (uint slot0 = 0; slot0 < LANES; slot0 += PV_STEPS) {
        [[unroll]] for (uint u = 0; u < PV_STEPS; u++) {
            vec4 weight[LANE_ROWS];
            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                weight[r] = weights[tile_row(r) * WEIGHT_PITCH + slot0 + u];
            [[unroll]] for (uint c = 0; c < 4; c++) {
#ifdef GRID
                uint row = v_start + KEY_TOKEN(slot0 + u + LANES * c) * v_step;
#else
                uint row = v_row + c * (LANES * v_step);
                if (masked)
                    row = v_start + (key0 + min(slot0 + u + LANES * c, visible - 1u)) * v_step;
                if (IS_PAGED)
                    row = v_start + key_offset(pages_line, key0 + min(slot0 + u + LANES * c, visible - 1u), units_v(p.v_stride_b), v_step);
#endif
                [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                    if (LANES * j < V_VECS) {
                        vec4 v = load_v(row, v_column(lane, j));
                        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                            acc[r * COLUMNS + j] = masked ? add_seen(weight[r][c], v, acc[r * COLUMNS + j])
                                                          : fma(vec4(weight[r][c]), v, acc[r * COLUMNS + j]);
                    }
                }
            }
            v_row += v_step;
        }
    }
}
