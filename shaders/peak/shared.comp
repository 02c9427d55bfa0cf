#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The device's rates of shared memory and of atomics: pc.rows * STEPS steps a lane.
//   KIND 1: reads of a vec4 each from shared memory, neighbours beside neighbours
//   KIND 2, 3: atomic additions of 1 in shared memory, to one address or to one a lane
//   KIND 4, 5: the same in a buffer that begins with zeros
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 2) const uint STEPS = 16;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer Results { uint results[]; };
#define WORDS 256u
#if KIND == 1
shared vec4 tile[WORDS];
#elif KIND <= 3
shared uint tile[WORDS];
#endif

void main()
{
    uint lane = gl_LocalInvocationID.x, out_at = gl_GlobalInvocationID.x * 2u;
#if KIND <= 3
    for (uint i = lane; i < WORDS; i += LOCAL_SIZE)
#if KIND == 1
        tile[i] = vec4(float(i & 7u));
    vec4 sum = vec4(0.0);
#else
        tile[i] = 0u;
#endif
    barrier();
#endif
#if KIND == 4
    uint at = 0u;
#elif KIND == 5
    uint at = out_at;
#else
    uint at = KIND == 2 ? 0u : lane;
#endif
    [[dont_unroll]] for (uint i = 0u; i < pc.rows; i++)
        [[unroll]] for (uint s = 0u; s < STEPS; s++) {
#if KIND == 1
            sum += tile[(at + s) & (WORDS - 1u)];
        }
#elif KIND <= 3
            atomicAdd(tile[at], p.nk);
        }
#else
            atomicAdd(results[at], p.nk);
        }
#endif
#if KIND == 1
    results[out_at] = floatBitsToUint(sum.x);
    results[out_at + 1u] = floatBitsToUint(sum.w);
#elif KIND <= 3
    barrier();
    results[out_at] = tile[at];
    results[out_at + 1u] = tile[at];
#endif
}
