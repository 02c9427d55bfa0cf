// Scores and outputs of a tile through shared memory: q, k and v are read once per workgroup, converted to f32, and
// kept in chunks that leave room for several workgroups on a core. For devices where loads from memory are slow
// beside shared memory, or where converting f16 costs an instruction per element.
//
//   CHUNK     vec4s of the rows of q and k that are staged together; a power of two that divides WG_SIZE
//   V_SLOTS   slots of weights (4 rows of v each) that are staged together; divides LANES
//
// The pool holds either a chunk of q and of k, or the weights and a chunk of v.
#define STAGE_PITCH (CHUNK + 1) // rows are padded by one vec4, which spreads them over the banks
#define K_POOL (TILE_ROWS * STAGE_PITCH)
#define V_POOL (TILE_ROWS * WEIGHT_PITCH)
#define V_POOL_COLUMNS (COLUMNS * LANES)
#define SCORE_POOL (K_POOL + TILE_KEYS * STAGE_PITCH)
#define OUTPUT_POOL (V_POOL + V_SLOTS * 4 * V_POOL_COLUMNS)
shared vec4 pool[SCORE_POOL > OUTPUT_POOL ? SCORE_POOL : OUTPUT_POOL];
#define weights pool

#define STAGE_ROWS (WG_SIZE / CHUNK) // rows that are copied at a time, one vec4 per lane
#define STAGE_Q_COPIES ((TILE_ROWS + STAGE_ROWS - 1) / STAGE_ROWS)
#define STAGE_K_COPIES ((TILE_KEYS + STAGE_ROWS - 1) / STAGE_ROWS)
#define V_COPIES (V_SLOTS * 4 * V_POOL_COLUMNS / WG_SIZE)

// What one lane copies of q and k: vec4 `stage_vec` of every STAGE_ROWS-th row.
uint stage_vec() { return gl_LocalInvocationIndex % CHUNK; }
uint stage_row(uint copy) { return gl_LocalInvocationIndex / CHUNK + STAGE_ROWS * copy; }

// Where the key that is copied in turn i begins, and a key's value.
#ifdef GRID
#define STAGED_KEY(i) k_start + KEY_TOKEN(stage_row(i)) * k_step
#define STAGED_VALUE(key) v_start + KEY_TOKEN(key) * v_step
#else
#define STAGED_KEY(i) tile + min(offset + i * STAGE_ROWS * k_step, last_offset)
#define STAGED_VALUE(key) v_row + key * v_step
#endif

// s = Q K^T, unscaled. Keys past the end repeat the last one; their scores are masked later.
void tile_scores(uint key0, uint last_key, inout float s[LANE_ROWS * 4])
{
    uint k_step = units(p.k_stride_s);
    uint tile = k_start + key0 * k_step, offset = stage_row(0) * k_step, last_offset = (last_key - key0) * k_step;
    [[dont_unroll]] for (uint chunk = 0; chunk < QK_VECS; chunk += CHUNK) {
        barrier(); // everyone is done with what the pool held
        uint d = chunk + stage_vec();
        bool inside = QK_VECS % CHUNK == 0 || d < QK_VECS;
        [[unroll]] for (uint i = 0; i < STAGE_Q_COPIES; i++)
            if (TILE_ROWS % STAGE_ROWS == 0 || stage_row(i) < TILE_ROWS)
                pool[stage_row(i) * STAGE_PITCH + stage_vec()] = inside ? load_q(stage_q_row[i], d) : vec4(0.0);
        [[unroll]] for (uint i = 0; i < STAGE_K_COPIES; i++)
            if (TILE_KEYS % STAGE_ROWS == 0 || stage_row(i) < TILE_KEYS)
                pool[K_POOL + stage_row(i) * STAGE_PITCH + stage_vec()] =
                    inside ? load_k(STAGED_KEY(i), d) : vec4(0.0);
        barrier();
        [[dont_unroll]] for (uint step = 0; step < CHUNK; step += QK_STEPS) {
            [[unroll]] for (uint u = 0; u < QK_STEPS; u++) {
                vec4 k[4];
                [[unroll]] for (uint c = 0; c < 4; c++)
                    k[c] = pool[K_POOL + (lane + LANES * c) * STAGE_PITCH + step + u];
                [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                    vec4 q = pool[tile_row(r) * STAGE_PITCH + step + u];
                    [[unroll]] for (uint c = 0; c < 4; c++)
                        s[r * 4 + c] = dot_fma(q, k[c], s[r * 4 + c]);
                }
            }
        }
    }
}

// The weights take the place of q and k in the pool: everyone must be done with those.
void before_weights()
{
#if REDUCE != 0 // else the barrier inside row_max does it
    barrier();
#endif
}
void after_weights() {} // tile_output has its own barriers
void after_tile() {}

// acc += P V of a tile of which `visible` keys are seen by some row; `masked`: not all by every row (see add_seen).
void tile_output(uint key0, uint visible, bool masked)
{
    uint v_step = units(p.v_stride_s);
    uint v_row = v_start + key0 * v_step;
    [[dont_unroll]] for (uint slot0 = 0; slot0 < LANES; slot0 += V_SLOTS) {
        if (slot0 != 0u)
            barrier(); // everyone is done with the previous slots
        [[unroll]] for (uint i = 0; i < V_COPIES; i++) {
            uint n = i * WG_SIZE + gl_LocalInvocationIndex;
            uint row = n / V_POOL_COLUMNS; // number 4 * slot + c
            uint key = slot0 + row / 4u + LANES * (row % 4u);
#ifndef GRID
            if (masked)
                key = min(key, visible - 1u);
#endif
            pool[V_POOL + n] = load_v(STAGED_VALUE(key), min(n % V_POOL_COLUMNS, V_VECS - 1u));
        }
        barrier();
        [[dont_unroll]] for (uint step = 0; step < V_SLOTS; step += PV_STEPS) {
            [[unroll]] for (uint u = 0; u < PV_STEPS; u++) {
                vec4 weight[LANE_ROWS];
                [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                    weight[r] = weights[tile_row(r) * WEIGHT_PITCH + slot0 + step + u];
                [[unroll]] for (uint c = 0; c < 4; c++) {
                    [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                        if (LANES * j < V_VECS) {
                            vec4 v = pool[V_POOL + ((step + u) * 4u + c) * V_POOL_COLUMNS + lane + LANES * j];
                            [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                                acc[r * COLUMNS + j] = masked ? add_seen(weight[r][c], v, acc[r * COLUMNS + j])
                                                              : fma(vec4(weight[r][c]), v, acc[r * COLUMNS + j]);
                        }
                    }
                }
            }
        }
    }
}
