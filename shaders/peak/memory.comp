#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The device's memory rates. Each workgroup walks pc.rows blocks of LOCAL_SIZE elements of TYPE (a multiple of 8),
// neighbours beside neighbours, from element pc.row0 on, and comes round at pc.key0 + 1 elements, a power of two.
//   KIND 1: read; 2: write; 3: copy; 4: triad, to = from + 3 * also
// Element i of what is read is FILL(i): eight neighbouring blocks hold 0 to 7 once for every lane, so that sums are known.
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
RAPT_DECLARE_ATTENTION_PARAMS
#define FILL(i) TYPE(float((((i) / LOCAL_SIZE) ^ (i)) & 7u))

#if KIND == 1
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Sums { float sums[]; };
#else
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer To { TYPE to[]; };
#endif
#ifdef TEXEL
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform textureBuffer source;
#define FETCH(i) TYPE(texelFetch(source, int(i)))
#elif KIND != 2
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer From { TYPE from[]; };
#define FETCH(i) from[i]
#endif
#if KIND == 4
layout(std430, set = 0, binding = RAPT_BIND_V) readonly buffer Also { TYPE also[]; };
#endif

void main()
{
    uint block = gl_WorkGroupID.x * pc.rows * LOCAL_SIZE, lane = gl_LocalInvocationID.x;
#if KIND == 1
    TYPE sum = TYPE(0.0);
#endif
    [[dont_unroll]] for (uint i = 0u; i < pc.rows; i += UNROLL) {
        uint at = pc.row0 + (block & pc.key0) + lane;
        [[unroll]] for (uint s = 0u; s < UNROLL; s++) {
            uint n = at + s * LOCAL_SIZE;
#if KIND == 1
            sum += FETCH(n);
#elif KIND == 2
            to[n] = FILL(n + pc.key1);
#elif KIND == 3
            to[n] = FETCH(n);
#else
            to[n] = FETCH(n) + 3.0 * also[n];
#endif
        }
        block += UNROLL * LOCAL_SIZE;
    }
#if KIND == 1
    sums[gl_GlobalInvocationID.x] = dot(sum, TYPE(1.0)); // of the components
#endif
}
