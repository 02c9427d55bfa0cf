#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The device's rate of one subgroup operation: CHAINS independent chains a lane, pc.rows * STEPS steps each.
//   KIND 1: shuffle with the neighbour, 2: sum, 3: broadcast, 4: ballot
// Each step adds what the operation gave, so that the end is known from the number of steps and the subgroup's size.
#extension GL_KHR_shader_subgroup_basic : require
#if KIND == 1
#extension GL_KHR_shader_subgroup_shuffle : require
#elif KIND == 2
#extension GL_KHR_shader_subgroup_arithmetic : require
#else
#extension GL_KHR_shader_subgroup_ballot : require
#endif
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 64) in;
layout(constant_id = 1) const uint CHAINS = 4;
layout(constant_id = 2) const uint STEPS = 4;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Results { uint results[]; };

void main()
{
    uint id = gl_SubgroupInvocationID, one = p.nk; // 1, but the compiler does not know
    uint chain[CHAINS];
    [[unroll]] for (uint c = 0u; c < CHAINS; c++)
        chain[c] = id * 2u;
    [[dont_unroll]] for (uint i = 0u; i < pc.rows; i++)
        [[unroll]] for (uint s = 0u; s < STEPS; s++)
            [[unroll]] for (uint c = 0u; c < CHAINS; c++) {
#if KIND == 1
                chain[c] = subgroupShuffle(chain[c], id ^ one) + one;
#elif KIND == 2
                chain[c] += subgroupAdd((chain[c] & one) + one);
#elif KIND == 3
                chain[c] = subgroupBroadcast(chain[c], 1u) + id + one;
#else
                chain[c] += subgroupBallotBitCount(subgroupBallot((chain[c] & one) == 0u));
#endif
            }
    uint low = chain[0], high = chain[0];
    [[unroll]] for (uint c = 1u; c < CHAINS; c++) {
        low = min(low, chain[c]);
        high = max(high, chain[c]);
    }
    results[gl_GlobalInvocationID.x * 2u] = low == high ? low : 0xffffffffu;
    results[gl_GlobalInvocationID.x * 2u + 1u] = id | gl_SubgroupSize << 16;
}
