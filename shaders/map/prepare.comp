#version 450
#extension GL_GOOGLE_include_directive : require
// Rewrites q or k ahead of attention: RMS norm, then rotary positions (RoFormer, arXiv:2104.09864), then the factors of a
// low-rank bias behind them, so that [q, u / scale] . [k, v] * scale = scale q.k + u.v (FlashBias, arXiv:2505.12044).
//
// Source at binding 1, factors at 2, the rows that attention reads at 4: of head_dim_qk elements, zeros to a multiple of 4,
// with q's or k's strides. Rows are numbered (batch * heads + head) * length + index; pc.split0: 0 those of q, 1 of k. This
// dispatch serves rows row0 .. row0 + rows - 1, ROWS a workgroup.
#include "common/attention_params.h"
#include "common/io.glsl"

const uint ROWS = 64u; // one an invocation for the norm; then an invocation owns four elements of several rows
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint VARLEN = 0;
#define GROUP 1u
#define IS_CAUSAL false
#define IS_PARTIAL false
#define IS_WINDOW false
#define IS_VARLEN (VARLEN != 0u)
#define NO_EXTRAS
#define NO_BIAS
#define ALIGNED true // of what is written
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "common/rope.glsl"

shared float norms[ROWS];

bool is_keys() { return pc.split0 != 0u; }

// Where a row lies: its source, its factors, where it goes, and its position.
struct Row {
    uint source, factors, target;
    int place;
    bool there; // else it is past the end of its sequence
};

Row find_row(uint row)
{
    bool keys = is_keys();
    uint length = keys ? p.nk : p.nq, heads = keys ? p.heads_kv : p.heads_q;
    uint line = row / length, index = row - line * length;
    uint batch = line / heads, head = line - batch * heads;
    Walk w = walk_begin(batch * p.heads_out, 0u);
    uint token = index + (keys ? w.k_first : w.q_first), b = batch_or_zero(w);
    Row r;
    r.there = index < (keys ? w.nk : w.nq);
    r.place = keys ? int(index) : int(index) + w.diagonal - 1;
    if (keys) {
        r.source = pc.q_base + b * p.source_k_stride_b + head * p.source_k_stride_h + token * p.source_k_stride_s;
        r.factors = pc.k_base + b * p.factor_k_stride_b + head * p.factor_k_stride_h + token * p.factor_k_stride_s;
        r.target = pc.o_base + b * p.k_stride_b + head * p.k_stride_h + token * p.k_stride_s;
    } else {
        r.source = pc.q_base + b * p.source_q_stride_b + head * p.source_q_stride_h + token * p.source_q_stride_s;
        r.factors = pc.k_base + b * p.factor_q_stride_b + head * p.factor_q_stride_h + token * p.factor_q_stride_s;
        r.target = pc.o_base + b * p.q_stride_b + head * p.q_stride_h + token * p.q_stride_s;
    }
    return r;
}

float source_element(Row r, uint d) { return LOAD_ELEMENT(q_words1, r.source + d); }

// The pair that element d of the turned part is in.
uint pair_of(uint d) { return p.rope_interleaved != 0u ? d >> 1 : d % (p.rope_dim >> 1); }

float element(Row r, float norm, uint d, uvec2 turns)
{
    if (d < p.source_dim) {
        float x = source_element(r, d) * norm;
        if (d >= p.rope_dim)
            return x;
        uint half_dim = p.rope_dim >> 1;
        bool second = p.rope_interleaved != 0u ? (d & 1u) != 0u : d >= half_dim;
        uint other = p.rope_interleaved != 0u ? d ^ 1u : second ? d - half_dim : d + half_dim;
        float y = source_element(r, other) * norm;
        vec2 cs = turn(r.place, turns);
        return second ? x * cs.x + y * cs.y : x * cs.x - y * cs.y;
    }
    if (d < p.source_dim + p.factor_rank)
        return LOAD_ELEMENT(k_words1, r.factors + d - p.source_dim) * (is_keys() ? 1.0 : p.factor_scale);
    return 0.0;
}

void main()
{
    const uint first = gl_WorkGroupID.x * ROWS, lane = gl_LocalInvocationID.x;
    if (first + lane < pc.rows) {
        norms[lane] = 1.0;
        if (p.norm_epsilon >= 0.0) {
            Row r = find_row(pc.row0 + first + lane);
            float sum = 0.0;
            for (uint d = 0u; d < p.source_dim && r.there; d++) {
                float x = source_element(r, d);
                sum = fma(x, x, sum);
            }
            norms[lane] = 1.0 / sqrt(sum / float(p.source_dim) + p.norm_epsilon);
        }
    }
    barrier();
    const uvec2 ratio = uvec2(p.rope_ratio_low, p.rope_ratio_high);
    const uint vectors = (p.head_dim_qk + 3u) / 4u;
    const uint abreast = min(vectors, 64u); // vectors of a row that are made at once, by a team of invocations
    const uint teams = 64u / abreast, team = lane / abreast;
    for (uint v = lane % abreast; v < vectors; v += abreast) {
        uvec2 turns[4];
        for (uint i = 0u; i < 4u; i++)
            turns[i] = v * 4u + i < p.rope_dim ? turns_of_pair(pair_of(v * 4u + i), ratio) : uvec2(0u);
        for (uint i = team; team < teams && i < ROWS && first + i < pc.rows; i += teams) {
            Row r = find_row(pc.row0 + first + i);
            if (!r.there)
                continue;
            vec4 x;
            for (uint e = 0u; e < 4u; e++)
                x[e] = element(r, norms[i], v * 4u + e, turns[e]);
            out_words4[(r.target >> 2) + v] = pack4(x);
        }
    }
}
