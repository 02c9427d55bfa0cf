// Constants of the kernel on matrices of a workgroup.
layout(local_size_x = WG_SIZE) in;

#include "hook/constants.glsl"
layout(constant_id = 6) const bool is_soft_cap = false;
layout(constant_id = 7) const bool is_window = false;
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
