#version 450
#extension GL_GOOGLE_include_directive : require
// What stands for a block of keys (or a tile of queries, always by its mean): the mean of its rows, their largest elements,
// their smallest and largest ones behind each other, or one row. The last block may be cut short.
//
// An invocation makes four elements of one summary. x: summaries times vectors of this dispatch, z: (batch, head).
#include "common/route_params.h"
#include "common/io.glsl"
#if DTYPE == DTYPE_F32
#define WORD1 float
#else
#define WORD1 uint
#endif

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint ALIGNED = 0;
layout(constant_id = 1) const uint SUMMARY = 0; // rapt_summary; queries have their mean whatever it is
RAPT_DECLARE_ROUTE_PARAMS
#include "route/elements.glsl"

const uint SUMMARY_MEAN = 0u, SUMMARY_MAX = 1u, SUMMARY_MIN_MAX = 2u, SUMMARY_LANDMARK = 3u;

layout(std430, set = 0, binding = RAPT_BIND_SUMMARY) writeonly buffer Summary4 { vec4 summary4[]; };
layout(std430, set = 0, binding = RAPT_BIND_SUMMARY) writeonly buffer Summary1 { float summary1[]; };

void write_vector(uint at, uint d, vec4 x)
{
    if (ALIGNED != 0u)
        summary4[(at + d) >> 2] = x;
    else
        for (uint e = 0u; e < 4u; e++)
            if (d + e < p.head_dim)
                summary1[at + d + e] = x[e];
}

void main()
{
    const uint vectors = (p.head_dim + 3u) >> 2, item = gl_GlobalInvocationID.x;
    const uint block = pc.first + item / vectors, d = (item % vectors) << 2;
    if (block >= pc.end)
        return;
    const bool keys = pc.side == RAPT_SIDE_KEYS;
    const uint heads = keys ? p.heads_k : p.heads_q, bh = pc.bh0 + gl_WorkGroupID.z;
    const uint batch = bh / heads, head = bh - batch * heads;
    const uint size = keys ? p.block_k : p.block_q, length = keys ? p.nk : p.nq;
    const uint begin = block * size, end = min(begin + size, length), stride = keys ? p.k_stride_s : p.q_stride_s;
    uint at = pc.base[RAPT_BIND_SOURCE - 1u];
    at += keys ? batch * p.k_stride_b + head * p.k_stride_h : batch * p.q_stride_b + head * p.q_stride_h;
    uint to = pc.base[RAPT_BIND_SUMMARY - 1u];
    to += keys ? batch * p.summary_stride_b + head * p.summary_stride_h + block * p.summary_stride_s
               : batch * p.pooled_stride_b + head * p.pooled_stride_h + block * p.pooled_stride_s;
    const uint what = keys ? SUMMARY : SUMMARY_MEAN;
    if (what == SUMMARY_LANDMARK) {
        write_vector(to, d, source_vector(at + min(begin + p.landmark, end - 1u) * stride, d));
        return;
    }
    vec4 first = source_vector(at + begin * stride, d), sum = first, low = first, high = first;
    for (uint i = begin + 1u; i < end; i++) {
        const vec4 x = source_vector(at + i * stride, d);
        sum += x;
        low = min(low, x);
        high = max(high, x);
    }
    if (what == SUMMARY_MEAN) {
        write_vector(to, d, sum / float(end - begin));
    } else if (what == SUMMARY_MAX) {
        write_vector(to, d, high);
    } else {
        write_vector(to, d, low);
        write_vector(to + p.head_dim, d, high);
    }
}
