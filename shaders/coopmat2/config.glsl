// Constants of the kernel on matrices of a workgroup.
layout(local_size_x = WG_SIZE) in;

layout(constant_id = 0) const uint HEAD_DIM_QK = D_QK;
layout(constant_id = 1) const uint HEAD_DIM_V = D_V;
layout(constant_id = 2) const bool is_causal = false;
layout(constant_id = 3) const bool is_varlen = false;
layout(constant_id = 4) const bool is_partial = false;
layout(constant_id = 5) const uint group = 1;
layout(constant_id = 6) const bool is_soft_cap = false;
layout(constant_id = 7) const bool is_window = false;
#define IS_CAUSAL is_causal
#define IS_VARLEN is_varlen
#define IS_PARTIAL is_partial
#define GROUP group
#define IS_SOFT_CAP is_soft_cap
#define IS_WINDOW is_window
#define LINK 0u
#define EXTRAS 0u
#define NO_EXTRAS
#define NO_BIAS

// How far, in powers of two, weights may exceed one before a row's maximum is renewed; f16 holds them up to 2^15.
const float RESCALE_ABOVE = 8.0;

// Tensor loads begin at multiples of 16 bytes.
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer KeyLines { uvec4 k_lines[]; };
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer ValueLines { uvec4 v_lines[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutHalves { float16_t out_halves[]; };
