// Constants of the tile kernel: sizes that the build defines, what a pipeline is specialised for, and what follows.
layout(local_size_x = WG_SIZE) in;

#include "tile/constants.glsl"
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
