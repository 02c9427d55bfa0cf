#version 450
#extension GL_GOOGLE_include_directive : require
// Does nothing, or, with SMALL, a little: for what a dispatch costs, and a pipeline. SALT makes it another pipeline.
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 64) in;
#ifdef SMALL
layout(constant_id = 1) const uint SALT = 0;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Results { uint results[]; };
void main()
{
    uint sum = SALT;
    for (uint i = 0u; i < pc.rows; i++)
        sum = sum * p.nq + i;
    results[gl_GlobalInvocationID.x] = sum;
}
#else
void main() {}
#endif
