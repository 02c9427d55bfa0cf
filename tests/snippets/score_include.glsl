// error: 2: no directives
#include "common/io.glsl"
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
