// Constants of the cooperative-matrix kernel.
#define WG_SIZE (SG_SIZE * SUBGROUPS)
layout(local_size_x = WG_SIZE) in;

#include "hook/constants.glsl"
layout(constant_id = 6) const bool is_aligned = false;
layout(constant_id = 7) const bool is_soft_cap = false;
layout(constant_id = 8) const bool is_window = false;
layout(constant_id = 9) const uint extras = 0;
layout(constant_id = 10) const uint link = 0;
#define IS_WINDOW is_window
#define IS_SOFT_CAP is_soft_cap
#define EXTRAS extras
#define LINK link
#define ALIGNED is_aligned

#define SG_ROWS (ROW_TILES * TM)  // query rows per subgroup
#define TILE_ROWS (SUBGROUPS * SG_ROWS)
#define Q_TILES (D_QK / TK)       // matrices along head_dim of q and k
#define V_TILES (D_V / TN)        // along head_dim of v
#define KEY_TILES (TILE_KEYS / TN) // along the keys, of scores
#define WEIGHT_TILES (TILE_KEYS / TK) // and of weights

const uint QK_VECS = (HEAD_DIM_QK + 3u) / 4u;
const uint V_VECS = (HEAD_DIM_V + 3u) / 4u;
// How far, in powers of two, weights may exceed one before a row's maximum is renewed; f16 holds them up to 2^15.
const float RESCALE_ABOVE = 8.0;

#define MatrixA coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>
#define MatrixB coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>
#define Accumulator coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>
#define AccumulatorHalf coopmat<float16_t, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>
