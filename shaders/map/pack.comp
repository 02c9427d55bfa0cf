#version 450
#extension GL_GOOGLE_include_directive : require
// Packs an extra vector: (batch, heads, count) words with strides, at binding 1, to dense ones at binding 4.
//
// pc.rows words from pc.row0 on. pc.key1 is count, pc.tiles heads; pc.split0 and pc.bh0 are the strides of batch and heads,
// in words; what is written starts at pc.o_base + pc.key0.
#include "common/attention_params.h"

layout(local_size_x = 64) in;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer Source { uint source[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Packed { uint dense[]; };

void main()
{
    uint item = gl_GlobalInvocationID.x;
    if (item >= pc.rows)
        return;
    item += pc.row0;
    uint line = item / pc.key1, batch = line / pc.tiles;
    dense[pc.o_base + pc.key0 + item] =
        source[pc.q_base + batch * pc.split0 + (line - batch * pc.tiles) * pc.bh0 + (item - line * pc.key1)];
}
