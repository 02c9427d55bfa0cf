#version 450
#extension GL_GOOGLE_include_directive : require
// Multiplies the output by the sigmoid of a gate of its shape: the gate at binding 1, the output at 4.
//
// Rows are numbered as part_number() does: (batch * heads_out + head) * nq + query. This dispatch serves the rows
// row0 .. row0 + rows - 1, ROWS a workgroup; an invocation owns four elements of a row.
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

DEFINE_LOAD4(load_out4, out_words1, out_words4)

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
        uint batch_head = row / p.nq;
        uint query = row - batch_head * p.nq;
        Walk w = walk_begin_queries(batch_head, 0u);
        if (query >= w.nq) // past the end of this sequence
            continue;
        uint d = vector * 4u, count = min(p.head_dim_v - d, 4u), at = o_row_index(w, w.head0, query);
        uint gate_at = pc.q_base + batch_or_zero(w) * p.g_stride_b + w.head0 * p.g_stride_h +
                       (w.q_first + query) * p.g_stride_s;
        vec4 gate = p.gate_by_row != 0u ? vec4(LOAD_ELEMENT(q_words1, gate_at)) : load_q4(gate_at + d, count);
        finish_store4(at, d, load_out4(at + d, count) / (1.0 + exp2(-LOG2_E * gate)));
    }
}
