#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Merge, as merge.comp has it, for devices where many lanes wait for memory at a time: a workgroup for each row. Its lanes agree on
// the row's maximum and sum; then strands of them add up every STRANDS-th split each, with several reads under way, and the strands
// are added up in order, so that the result is the same every time.
#include "common/attention_params.h"
#include "common/io.glsl"

#define WG_SIZE 128
#define AHEAD 4 // reads under way
layout(local_size_x = WG_SIZE) in;
layout(constant_id = 0) const uint VARLEN = 0;
layout(constant_id = 1) const uint ALIGNED_ = 0;
#define GROUP 1u
#define IS_CAUSAL false
#define IS_PARTIAL false
#define IS_VARLEN (VARLEN != 0u)
#define ALIGNED (ALIGNED_ != 0u)
#define NO_KV_BUFFERS
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/finish.glsl"

layout(std430, set = 0, binding = RAPT_BIND_Q) readonly buffer PartialAcc4 { vec4 parts_acc[]; };
layout(std430, set = 0, binding = RAPT_BIND_K) readonly buffer PartialMl2 { vec2 parts_ml[]; };

shared vec4 strand_sums[WG_SIZE];
shared float lane_values[WG_SIZE];

void main()
{
    uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationIndex;
    if (row >= pc.rows)
        return;
    row += pc.row0;
    uint batch_head = row / p.nq, query = row - batch_head * p.nq;
    Walk w = walk_begin_queries(batch_head, 0u);
    if (query >= w.nq) // past the end of this sequence
        return;
    uint part = row * p.splits, ml_at = pc.k_base / 2u + part;

    float m = MAXIMUM_START, l = 0.0;
    for (uint s = lane; s < p.splits; s += WG_SIZE)
        m = max(m, parts_ml[ml_at + s].x);
    lane_values[lane] = m;
    barrier();
    for (uint apart = WG_SIZE / 2u; apart > 0u; apart /= 2u) {
        if (lane < apart)
            lane_values[lane] = max(lane_values[lane], lane_values[lane + apart]);
        barrier();
    }
    m = lane_values[0];
    barrier();
    for (uint s = lane; s < p.splits; s += WG_SIZE) {
        vec2 ml = parts_ml[ml_at + s];
        l += ml.y * exp2(ml.x - m);
    }
    lane_values[lane] = l;
    barrier();
    for (uint apart = WG_SIZE / 2u; apart > 0u; apart /= 2u) {
        if (lane < apart)
            lane_values[lane] += lane_values[lane + apart];
        barrier();
    }
    l = lane_values[0];
    if (lane == 0u)
        finish_store_sums(w, w.head0, query, m, l);

    uint vectors = (p.head_dim_v + 3u) / 4u, width = min(vectors, WG_SIZE), strands = WG_SIZE / width, strand = lane / width;
    uint step = p.part_stride / 4u, acc_at = (pc.q_base + part * p.part_stride) / 4u, o_row = o_row_index(w, w.head0, query);
    for (uint first = 0u; first < vectors; first += width) {
        uint vector = first + lane - strand * width;
        vec4 acc = vec4(0.0);
        if (strand < strands && vector < vectors) {
            for (uint s0 = strand; s0 < p.splits; s0 += strands * AHEAD) {
                [[unroll]] for (uint i = 0; i < AHEAD; i++) {
                    uint s = min(s0 + i * strands, p.splits - 1u);
                    vec4 sum = fma(parts_acc[acc_at + vector + s * step], vec4(exp2(parts_ml[ml_at + s].x - m)), acc);
                    acc = mix(acc, sum, bvec4(s0 + i * strands < p.splits));
                }
            }
        }
        strand_sums[lane] = acc;
        barrier();
        if (strand == 0u && vector < vectors) {
            for (uint n = 1u; n < strands; n++)
                acc += strand_sums[n * width + lane];
            finish_store4(o_row, vector * 4u, acc * finish_factor(l));
        }
        barrier();
    }
}
