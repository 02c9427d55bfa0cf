#version 450
#extension GL_GOOGLE_include_directive : require
// Outputs from sums of single precision in the workspace: those of blocks of features added up, divided by the column of
// their normaliser or scaled, and stored in the app's type. An invocation has four columns of one token.
#include "common/linear_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint VARLEN = 0;
#define PHI 0u
#define VARLEN_BINDING 8
#define ALIGNED false
#include "state/tensors.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Parts4 { vec4 parts4[]; };
layout(std430, set = 0, binding = 1) readonly buffer Parts { float parts[]; };
layout(std430, set = 0, binding = 2) buffer Sums4 { vec4 sums4[]; };
layout(std430, set = 0, binding = 2) buffer Sums { float sums[]; };
layout(std430, set = 0, binding = 4) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = 4) buffer OutVectors { WORD4 out_words4[]; };
#include "common/store.glsl"

void main()
{
    const Sequence s = sequence_of(pc.bh0 + gl_WorkGroupID.z);
    const uint vectors = p.o_stride_s / 4u; // rows lie side by side
    const uint item = gl_WorkGroupID.x * 64u + gl_LocalInvocationID.x;
    const uint row = item / vectors, column = (item - row * vectors) * 4u, token = pc.token0 + row;
    if (token >= min(pc.token1, s.tokens))
        return;
    const uint place = s.batch * p.o_stride_b + s.h * p.o_stride_h + (s.first + token) * p.o_stride_s;
    const uint part_at = pc.base[0] + place, sum_at = pc.base[1] + place;
    const bool adds = (pc.flags & RAPT_FINISH_FIRST) == 0u, lasts = (pc.flags & RAPT_FINISH_LAST) != 0u;
    vec4 x = parts4[(part_at + column) / 4u];
    if (adds)
        x += sums4[(sum_at + column) / 4u];
    if (!lasts) {
        sums4[(sum_at + column) / 4u] = x;
        return;
    }
    if (column >= p.source_dim_v)
        return;
    float factor = p.result_scale;
    if ((p.map_flags & RAPT_MAP_NORMALIZE) != 0u) {
        float divisor = parts[part_at + p.source_dim_v];
        if (adds)
            divisor += sums[sum_at + p.source_dim_v];
        factor = divisor == 0.0 ? 0.0 : 1.0 / divisor; // the scale cancels
        x = divisor == 0.0 ? vec4(0.0) : x; // whatever it holds
    }
    const uint at = pc.base[3] + s.batch * p.result_stride_b + s.h * p.result_stride_h + (s.first + token) * p.result_stride_s;
    store_out4(at + column, x * factor, min(p.source_dim_v - column, 4u));
}
