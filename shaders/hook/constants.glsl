// Specialization constants that kernels of attention on tiles have alike, and what the hooks know them as. The build defines D_QK and
// D_V, the most head_dim of q and k and of v.
layout(constant_id = 0) const uint HEAD_DIM_QK = D_QK;
layout(constant_id = 1) const uint HEAD_DIM_V = D_V;
layout(constant_id = 2) const bool is_causal = false;
layout(constant_id = 3) const bool is_varlen = false;
layout(constant_id = 4) const bool is_partial = false;
layout(constant_id = 5) const uint group = 1;
#define IS_CAUSAL is_causal
#define IS_VARLEN is_varlen
#define IS_PARTIAL is_partial
#define GROUP group
