// Constants of the tile kernel: sizes that the build defines, what a pipeline is specialised for, and what follows.
layout(local_size_x = WG_SIZE) in;

layout(constant_id = 0) const uint HEAD_DIM_QK = D_QK;
layout(constant_id = 1) const uint HEAD_DIM_V = D_V;
layout(constant_id = 2) const bool is_causal = false;
layout(constant_id = 3) const bool is_varlen = false;
layout(constant_id = 4) const bool is_partial = false;
layout(constant_id = 5) const uint group = 1;
layout(constant_id = 6) const bool is_aligned = false;
layout(constant_id = 9) const bool is_window = false;
layout(constant_id = 10) const bool is_soft_cap = false;
layout(constant_id = 11) const uint extras = 0;
layout(constant_id = 12) const uint link = 0;
#ifdef GRID
layout(constant_id = 13) const uint GRID_RANK = 2;
#define GRID_ROWS TILE_ROWS
#endif
layout(constant_id = 7) const uint QK_STEPS = 1; // vec4 steps in the body of the loop along q and k
layout(constant_id = 8) const uint PV_STEPS = 1; // vec4s of weights in the body of the loop along the keys; 1, 2, 4
#ifdef QUANTISED
layout(constant_id = 13) const uint K_FORMAT = 0; // rapt_dtype of quantised keys, of quantised values; 0: stored plainly
layout(constant_id = 14) const uint V_FORMAT = 0;
#endif
#define IS_CAUSAL is_causal
#define IS_WINDOW is_window
#define IS_SOFT_CAP is_soft_cap
#define EXTRAS extras
#define LINK link
#define IS_VARLEN is_varlen
#define IS_PARTIAL is_partial
#define GROUP group
#define ALIGNED is_aligned

#define LANE_GROUPS (WG_SIZE / LANES)
#define TILE_ROWS (LANE_GROUPS * LANE_ROWS)
#define TILE_KEYS (LANES * 4)
#define COLUMNS ((D_V + LANES * 4 - 1) / (LANES * 4)) // vec4 columns of the output per lane

// How far, in powers of two, weights may exceed one before a row's maximum is renewed.
const float RESCALE_ABOVE = 8.0;

const uint QK_VECS = (HEAD_DIM_QK + 3u) / 4u; // vec4 steps along q and k
const uint V_VECS = (HEAD_DIM_V + 3u) / 4u;   // vec4 columns of v

// Column j of a lane. Lanes past the last column load that one again; what they compute from it is not written.
uint v_column(uint lane, uint j)
{
    uint column = lane + LANES * j;
    return V_VECS % LANES == 0u ? column : min(column, V_VECS - 1u);
}
