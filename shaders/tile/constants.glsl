// And those of kernels with scalar arithmetic.
#include "hook/constants.glsl"
layout(constant_id = 6) const bool is_aligned = false;
layout(constant_id = 9) const bool is_window = false;
layout(constant_id = 10) const bool is_soft_cap = false;
layout(constant_id = 11) const uint extras = 0;
layout(constant_id = 12) const uint link = 0;
#define ALIGNED is_aligned
#define IS_WINDOW is_window
#define IS_SOFT_CAP is_soft_cap
#define EXTRAS extras
#define LINK link
