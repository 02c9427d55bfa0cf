#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The device's read rate: each workgroup sums pc.rows blocks of LOCAL_SIZE vec4, neighbours reading neighbours.
// pc.row0 vec4 lie in the buffer; every one is read once per dispatch.
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Sums { float sums[]; };
#ifdef TEXEL
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform textureBuffer source;
#define FETCH(i) texelFetch(source, int(i))
#else
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer Source { vec4 source[]; };
#define FETCH(i) source[i]
#endif

void main()
{
    // pc.rows is a multiple of 8; a workgroup's blocks lie one after the other.
    uint at = gl_WorkGroupID.x * pc.rows * LOCAL_SIZE + gl_LocalInvocationID.x;
    vec4 sum = vec4(0.0);
    [[dont_unroll]] for (uint i = 0u; i < pc.rows; i += 8u) {
        [[unroll]] for (uint s = 0u; s < 8u; s++)
            sum += FETCH(at + s * LOCAL_SIZE);
        at += 8u * LOCAL_SIZE;
    }
    sums[gl_GlobalInvocationID.x] = sum.x + sum.y + sum.z + sum.w;
}
