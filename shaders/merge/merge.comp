#version 450
#extension GL_GOOGLE_include_directive : require
// Merge: partial results (m, l, acc) of a row's key splits to its output and log-sum-exp.
//
// Bindings: partial accumulators at 1 (base pc.q_base, multiple of 4; p.part_stride too), their (m, l) at 2 (base
// pc.k_base, even), output at 4, log-sum-exp at 5. Rows are numbered as part_number() does:
// (batch * heads_out + head) * nq + query. This dispatch merges the rows row0 .. row0 + rows - 1, ROWS a workgroup;
// an invocation owns four elements of a row, and walks its splits in order, so the result is the same every time.
#include "common/attention_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint ROWS = 4; // rows a workgroup
layout(constant_id = 1) const uint VARLEN = 0;
layout(constant_id = 2) const uint ALIGNED_ = 0;
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

void main()
{
    const uint vectors = (p.head_dim_v + 3u) / 4u; // of a row
    for (uint item = gl_LocalInvocationID.x; item < ROWS * vectors; item += gl_WorkGroupSize.x) {
        uint local_row = item / vectors;
        uint vector = item - local_row * vectors;
        uint row = gl_WorkGroupID.x * ROWS + local_row;
        if (row >= pc.rows)
            return;
        row += pc.row0;

        uint part = row * p.splits;
        uint acc_at = (pc.q_base + part * p.part_stride) / 4u + vector;
        uint ml_at = pc.k_base / 2u + part;
        float m = MAXIMUM_START, l = 0.0;
        vec4 acc = vec4(0.0);
        for (uint s = 0u; s < p.splits; s++) {
            vec2 ml = parts_ml[ml_at + s];
            float top = max(m, ml.x);
            float keep = exp2(m - top), take = exp2(ml.x - top);
            l = l * keep + ml.y * take;
            acc = acc * keep + parts_acc[acc_at + s * (p.part_stride / 4u)] * take;
            m = top;
        }

        uint batch_head = row / p.nq;
        uint query = row - batch_head * p.nq;
        Walk w = walk_begin_queries(batch_head, 0u);
        if (query >= w.nq) // past the end of this sequence
            continue;
        finish_store4(o_row_index(w, w.head0, query), vector * 4u, acc * finish_factor(l));
        if (vector == 0u)
            finish_store_sums(w, w.head0, query, m, l);
    }
}
