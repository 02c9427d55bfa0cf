#version 450
#extension GL_GOOGLE_include_directive : require
// The yardstick: one invocation per query row, online softmax, nothing shared between rows. Runs on anything; what
// every other kernel is measured against, and the row of last resort.
#include "common/attention_params.h"
#include "common/io.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint HEAD_DIM_V = 64;
layout(constant_id = 1) const uint ALIGNED_ = 0;
layout(constant_id = 2) const uint LINK_ = 0;
#define LINK LINK_
#define ALIGNED (ALIGNED_ != 0u)
#ifdef GRID
layout(constant_id = 3) const uint GRID_RANK = 2;
#define GRID_ROWS 64u
#endif
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/finish.glsl"
#include "hook/user.glsl"

const uint DIM_V = (HEAD_DIM_V + 3u) & ~3u;

void main()
{
    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
#ifdef GRID
    grid_begin(pc.tile0 + gl_WorkGroupID.x);
#endif
    uint row = (pc.tile0 + gl_WorkGroupID.x) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
#ifdef GRID
    if (!row_exists(row, 0u))
        return;
#else
    if (row >= walk_rows(w))
        return;
#endif
    uint head = row_head(w, row), query = row_query(row);
    uint q_at = q_row_index(w, head, query);

    vec4 acc[DIM_V / 4u];
    for (uint d = 0u; d < DIM_V / 4u; d++)
        acc[d] = vec4(0.0);
    float m = start_maximum(w, head, query), l = start_sum(w, m);
    RowBias bias = row_bias(w, head, query);
#ifdef GRID
    Window window = grid_window(grid_place(row));
    for (uvec3 place = window.begin; place.x < window.end.x; place = grid_next(window, place)) {
        uint key = grid_token_of(place);
        if (IS_SEGMENTS && key_segment(w, key) != key_segment(w, query))
            continue;
#else
    Sight range = sight(w, query);
    uint line = IS_BLOCKS ? block_line(w, head, query) : 0u;
    for (uint key = w.key_begin; key < sight_end(range); key++) {
        if (!sees(w, range, key))
            continue;
        if (IS_BLOCKS && !block_shows(line, key))
            continue;
#endif
#if USER_MASK
        if (!user_sees(w, row, key))
            continue;
#endif
        uint k_at = k_row_index(w, key), v_at = v_row_index(w, key);
        float score = 0.0;
        for (uint d = 0u; d < p.head_dim_qk; d += 4u) {
            uint count = min(p.head_dim_qk - d, 4u);
            score += dot(load_q4(q_at + d, count), load_k4(k_at + d, count));
        }
        score = score_bias(score_hook(score * p.scale_log2), bias, key);
#if USER_SCORE
        score = user_score_hook(w, row, key, score);
        if (score == NEG_INF)
            continue;
#endif
        if (IS_LOW && score == NEG_INF)
            continue;
        float logit = IS_SIGNED ? abs(score) : score;
        float top = IS_ADDITIVE ? m : max(m, logit);
        float keep = exp2(m - top), weight = exp2(logit - top);
        m = top;
        l = IS_ADDITIVE ? l : l * keep + weight;
        if (IS_SHAPED)
            weight = IS_SIGNED ? sign(score) * weight : link_weight(score, m);
        if (IS_DECAY)
            weight *= decay_factor(bias, key);
        for (uint d = 0u; d < DIM_V / 4u; d++)
            acc[d] = acc[d] * keep + weight * load_v4(v_at + d * 4u, min(HEAD_DIM_V - d * 4u, 4u));
    }

    finish_store_sums(w, head, query, m, l);
    float factor = IS_PARTIAL ? 1.0 : finish_factor(l);
    uint o_at = o_row_index(w, head, query), part = part_number(w, head, query);
    for (uint d = 0u; d < DIM_V / 4u; d++) {
        if (IS_PARTIAL)
            partial_store4(part, d * 4u, acc[d]);
        else
            finish_store4(o_at, d * 4u, acc[d] * factor);
    }
}
