#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The device's multiply-add rate: CHAINS independent chains a lane, enough to hide latency, in registers only.
// Each invocation does pc.rows * STEPS * CHAINS multiply-adds and stores the sum, so that nothing can be left out.
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 64) in;
layout(constant_id = 1) const uint CHAINS = 12;
layout(constant_id = 2) const uint STEPS = 64;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Sums { float sums[]; };

void main()
{
    float x = p.scale_log2 + 1e-9 * float(gl_LocalInvocationID.x); // about 1, but the compiler does not know
    float y = 1e-7;
    float chain[CHAINS];
    [[unroll]] for (uint c = 0u; c < CHAINS; c++)
        chain[c] = float(c);
    [[dont_unroll]] for (uint i = 0u; i < pc.rows; i++)
        [[unroll]] for (uint s = 0u; s < STEPS; s++)
            [[unroll]] for (uint c = 0u; c < CHAINS; c++)
                chain[c] = chain[c] * x + y;
    float sum = 0.0;
    [[unroll]] for (uint c = 0u; c < CHAINS; c++)
        sum += chain[c];
    sums[gl_GlobalInvocationID.x] = sum;
}
