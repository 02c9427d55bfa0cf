#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Scores of (row, block): scale * query . summary, or for summaries of smallest and largest elements the bound
// scale * sum_c max(q_c min_c, q_c max_c) that no key's score exceeds where scale is positive (Quest, arXiv:2406.10774). Over
// the queries of a tile: that of their average (source: pooled), or the largest; over the query heads of a row: sum or largest.
//
// An invocation makes ROWS x BLOCKS scores at once: of several tiles, or of one tile and several query heads of a row, which share
// what is read of the blocks. x: patches of this dispatch, those of neighbouring tiles behind each other; z: (batch, row head). Blocks
// that no query of the tile may see get -inf.
#include "common/route_params.h"
#include "common/io.glsl"
#if DTYPE == DTYPE_F32
#define WORD1 float
#else
#define WORD1 uint
#endif

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint ALIGNED = 0;
layout(constant_id = 1) const uint SUMMARY = 0; // rapt_summary
layout(constant_id = 2) const uint POOLED = 0;  // the source is averages of tiles
layout(constant_id = 3) const uint SINGLE = 0;  // blocks are single keys, which stand for themselves: no summaries
layout(constant_id = 4) const uint TILES = 4;   // of a patch; either this
layout(constant_id = 5) const uint HEADS = 1;   // or this is 1
RAPT_DECLARE_ROUTE_PARAMS
#ifndef TEXELS
#include "route/elements.glsl"
#endif
#include "route/sight.glsl"

const uint ROWS = TILES * HEADS, BLOCKS = 4u, SUMMARY_MIN_MAX = 2u;
#define INFINITE uintBitsToFloat(0x7f800000u)

layout(std430, set = 0, binding = RAPT_BIND_SCORES) writeonly buffer Scores { float scores[]; };
layout(std430, set = 0, binding = RAPT_BIND_WITHIN) readonly buffer Within { uint within[]; };

#ifdef TEXELS // of four elements, as bits: everything is aligned
layout(set = 0, binding = RAPT_BIND_TEXEL_K) uniform usamplerBuffer texels_k;
layout(set = 0, binding = RAPT_BIND_TEXEL_Q) uniform usamplerBuffer texels_q;

vec4 stored(uvec4 texel)
{
#if DTYPE == DTYPE_F32
    return uintBitsToFloat(texel);
#else
    return unpack4(texel.xy);
#endif
}
vec4 source_vector(uint at, uint d) { return stored(texelFetch(texels_q, int((at + d) >> 2))); }
vec4 summary_vector(uint at, uint d)
{
    const uvec4 texel = texelFetch(texels_k, int((at + d) >> 2));
    return SINGLE != 0u ? stored(texel) : uintBitsToFloat(texel);
}
#else
layout(std430, set = 0, binding = RAPT_BIND_SUMMARY) readonly buffer Summary4 { vec4 summary4[]; };
layout(std430, set = 0, binding = RAPT_BIND_SUMMARY) readonly buffer Summary1 { float summary1[]; };
layout(std430, set = 0, binding = RAPT_BIND_SUMMARY) readonly buffer Keys4 { WORD4 keys4[]; };
layout(std430, set = 0, binding = RAPT_BIND_SUMMARY) readonly buffer Keys1 { WORD1 keys1[]; };
vec4 summary_vector(uint at, uint d)
{
    if (ALIGNED != 0u)
        return SINGLE != 0u ? unpack4(keys4[(at + d) >> 2]) : summary4[(at + d) >> 2];
    vec4 x = vec4(0.0);
    for (uint e = 0u; e < 4u; e++)
        if (d + e < p.head_dim)
            x[e] = SINGLE != 0u ? STORED_ELEMENT(keys1, at + d + e) : summary1[at + d + e];
    return x;
}
#endif

// Whether a coarser mask leaves a tile this block.
bool is_within(uint at, uint tile, uint block)
{
    if ((p.flags & RAPT_ROUTE_PARAM_WITHIN) == 0u)
        return true;
    return within[at + tile * p.within_stride_s + min(block, p.blocks - 1u) / p.within_blocks] != 0u;
}

void main()
{
    const uint across = (pc.end - pc.first + TILES - 1u) / TILES, item = gl_GlobalInvocationID.x;
    const uint block0 = item / across * BLOCKS, tile0 = pc.first + item % across * TILES;
    if (block0 >= p.blocks)
        return;
    const uint bh = pc.bh0 + gl_WorkGroupID.z, batch = bh / p.row_heads, row_head = bh - batch * p.row_heads;
    const uint last_tile = min(tile0 + TILES, pc.end) - 1u, sub = POOLED != 0u ? 1u : p.block_q;
    const uint within_at = pc.base[RAPT_BIND_WITHIN - 1u] + batch * p.within_stride_b + row_head * p.shared_heads * p.within_stride_h;
    bool seen = false; // else no score of the patch is needed
    for (uint tile = tile0; tile <= last_tile; tile++)
        for (uint c = 0u; c < BLOCKS; c++)
            if (is_within(within_at, tile, block0 + c))
                seen = true;
    seen = seen && block0 < sight_of(last_tile).blocks;
    const uint head_k = row_head * p.shared_heads * p.heads_k / p.heads_q;
    uint summary_at[BLOCKS];
    [[unroll]] for (uint c = 0u; c < BLOCKS; c++)
        summary_at[c] = pc.base[RAPT_BIND_SUMMARY - 1u] +
                        (SINGLE != 0u ? batch * p.k_stride_b + head_k * p.k_stride_h : batch * p.summary_stride_b + head_k * p.summary_stride_h) +
                        min(block0 + c, p.blocks - 1u) * (SINGLE != 0u ? p.k_stride_s : p.summary_stride_s);

    float total[TILES][BLOCKS], of_head[ROWS][BLOCKS];
    [[unroll]] for (uint c = 0u; c < BLOCKS; c++) {
        [[unroll]] for (uint r = 0u; r < TILES; r++)
            total[r][c] = 0.0;
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            of_head[r][c] = 0.0;
    }
    const uint passes = seen ? (p.shared_heads + HEADS - 1u) / HEADS * sub : 0u;
    for (uint pass = 0u; pass < passes; pass++) {
        const uint head0 = pass / sub * HEADS, query = pass % sub;
        uint source_at[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            const uint tile = min(tile0 + r % TILES, last_tile);
            const uint head = row_head * p.shared_heads + min(head0 + r / TILES, p.shared_heads - 1u);
            source_at[r] = pc.base[RAPT_BIND_SOURCE - 1u];
            source_at[r] += POOLED != 0u
                                ? batch * p.pooled_stride_b + head * p.pooled_stride_h + tile * p.pooled_stride_s
                                : batch * p.q_stride_b + head * p.q_stride_h +
                                      min(tile * p.block_q + query, p.nq - 1u) * p.q_stride_s;
        }
        float sum[ROWS][BLOCKS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            [[unroll]] for (uint c = 0u; c < BLOCKS; c++)
                sum[r][c] = 0.0;
        for (uint d = 0u; d < p.head_dim; d += 4u) {
            vec4 x[ROWS];
            [[unroll]] for (uint r = 0u; r < ROWS; r++)
                x[r] = source_vector(source_at[r], d);
            [[unroll]] for (uint c = 0u; c < BLOCKS; c++) {
                const vec4 y = summary_vector(summary_at[c], d);
                if (SUMMARY == SUMMARY_MIN_MAX) {
                    const vec4 z = summary_vector(summary_at[c] + p.head_dim, d);
                    [[unroll]] for (uint r = 0u; r < ROWS; r++)
                        sum[r][c] += dot(max(x[r] * y, x[r] * z), vec4(1.0));
                } else {
                    [[unroll]] for (uint r = 0u; r < ROWS; r++)
                        sum[r][c] += dot(x[r], y);
                }
            }
        }
        const bool ends = query == sub - 1u, largest = (p.flags & RAPT_ROUTE_PARAM_MAX_HEADS) != 0u;
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            [[unroll]] for (uint c = 0u; c < BLOCKS; c++) {
                const float s = sum[r][c] * p.scale;
                of_head[r][c] = query == 0u ? s : max(of_head[r][c], s); // several queries: their largest is asked for
                const uint t = r % TILES, head = head0 + r / TILES;
                if (ends && head < p.shared_heads)
                    total[t][c] = head == 0u ? of_head[r][c]
                                  : largest  ? max(total[t][c], of_head[r][c])
                                             : total[t][c] + of_head[r][c];
            }
    }
    [[unroll]] for (uint r = 0u; r < TILES; r++) {
        const uint visible = sight_of(tile0 + r).blocks;
        const uint at = pc.base[RAPT_BIND_SCORES - 1u] + batch * p.scores_stride_b + row_head * p.scores_stride_h +
                        (tile0 + r) * p.scores_stride_s + block0;
        [[unroll]] for (uint c = 0u; c < BLOCKS; c++)
            if (tile0 + r < pc.end && block0 + c < p.blocks)
                scores[at + c] = block0 + c < visible && is_within(within_at, tile0 + r, block0 + c) ? total[r][c] : -INFINITE;
    }
}
