#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// Softmax attention for software devices, where a lane is a lane of a CPU's vector registers.
//
// A workgroup is one subgroup of LANES lanes; lane t owns the ROWS query rows tile * LANES * ROWS + r * LANES + t, with
// the row's q (scaled) and output accumulator in registers. K and V come through texel buffers, the cheapest wide load
// there: one fetch brings LANES * TEXEL consecutive elements of a key, TEXEL a lane, and each element is
// then broadcast from its lane by a shuffle and used by all rows. No barriers, no shared memory.
//
// Everything that sizes an array is a specialization constant: the loops are meant to be unrolled entirely, except
// the one over key blocks.
#include "common/attention_params.h"
#include "common/io.glsl"

layout(local_size_x = LANES) in; // LANES is a define: as a specialization constant, lavapipe 25.0 miscompiles it
layout(constant_id = 1) const uint ROWS = 4;
layout(constant_id = 2) const uint KEYS = 2; // keys a block
layout(constant_id = 3) const uint HEAD_DIM_QK = 64;
layout(constant_id = 4) const uint HEAD_DIM_V = 64;
layout(constant_id = 5) const uint CAUSAL = 1;
layout(constant_id = 6) const uint VARLEN = 0;
layout(constant_id = 7) const uint PARTIAL = 0;
layout(constant_id = 8) const uint ALIGNED_ = 1;
#define IS_CAUSAL (CAUSAL != 0u)
#define IS_VARLEN (VARLEN != 0u)
#define IS_PARTIAL (PARTIAL != 0u)
#define ALIGNED (ALIGNED_ != 0u)
#define NO_KV_BUFFERS
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/finish.glsl"
#include "broadcast/texels.glsl"

const uint DIM_QK = (HEAD_DIM_QK + 3u) & ~3u; // padded with zeros to whole vec4
const uint DIM_V = (HEAD_DIM_V + 3u) & ~3u;
const uint SPAN = LANES * TEXEL;              // elements of one fetch
const uint SPANS_QK = (DIM_QK + SPAN - 1u) / SPAN;
const uint SPANS_V = (DIM_V + SPAN - 1u) / SPAN;

// A row's maximum is followed only when it grows by more than this (in log2 units): weights stay below 2^10.
const float RESCALE_STEP = 10.0;

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    uint x = gl_WorkGroupID.x;
    if (IS_CAUSAL)
        x = mirror_tile(x, pc.tiles);
    const uint row0 = (pc.tile0 + x) * (LANES * ROWS);
    const uint rows = walk_rows(w);
    if (row0 >= rows)
        return;

    // q, scaled, through a rolled loop: unrolled storage-buffer reads take these compilers seconds. Rows beyond
    // the last one repeat it and are not stored.
    float q[ROWS * DIM_QK];
    uint limit[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = min(row0 + r * LANES + lane, rows - 1u);
        limit[r] = key_limit(w, row_query(row));
    }
    [[dont_unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = min(row0 + r * LANES + lane, rows - 1u);
        uint at = q_row_index(w, row_head(w, row), row_query(row));
        [[dont_unroll]] for (uint d = 0u; d < DIM_QK; d += 4u) {
            vec4 v = load_q4(at + d, min(HEAD_DIM_QK - d, 4u)) * p.scale_log2;
            q[r * DIM_QK + d] = v.x;
            q[r * DIM_QK + d + 1u] = v.y;
            q[r * DIM_QK + d + 2u] = v.z;
            q[r * DIM_QK + d + 3u] = v.w;
        }
    }

    float acc[ROWS * DIM_V];
    float m[ROWS], l[ROWS];
    [[unroll]] for (uint i = 0u; i < ROWS * DIM_V; i++)
        acc[i] = 0.0;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        m[r] = MAXIMUM_START;
        l[r] = 0.0;
    }
    uint source[LANES]; // 0, 1, .. read from memory: a folded shuffle index makes slower code
    [[unroll]] for (uint e = 0u; e < LANES; e++)
        source[e] = p.lane[e >> 2][e & 3u];

    // Keys that all rows of the tile see end at `whole`, keys that some row sees at `end`.
    const uint whole = key_limit(w, row_query(row0));
    const uint end = key_limit(w, row_query(min(row0 + LANES * ROWS, rows) - 1u));
    [[dont_unroll]] for (uint key0 = w.key_begin; key0 < end; key0 += KEYS) {
        float s[ROWS * KEYS]; // scores, then weights
        [[unroll]] for (uint i = 0u; i < ROWS * KEYS; i++)
            s[i] = 0.0;
        uint k_at[KEYS];
        [[unroll]] for (uint c = 0u; c < KEYS; c++)
            k_at[c] = k_row_index(w, min(key0 + c, end - 1u));
        [[unroll]] for (uint b = 0u; b < SPANS_QK; b++) {
            Texel k[KEYS];
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                k[c] = fetch_k(k_at[c], b * SPAN + lane * TEXEL);
            [[unroll]] for (uint e = 0u; e < LANES; e++)
                [[unroll]] for (uint x = 0u; x < TEXEL; x++)
                    if (b * SPAN + e * TEXEL + x < DIM_QK)
                        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                            float element = subgroupShuffle(TEXEL_ELEMENT(k[c], x), source[e]);
                            [[unroll]] for (uint r = 0u; r < ROWS; r++)
                                s[r * KEYS + c] += q[r * DIM_QK + b * SPAN + e * TEXEL + x] * element;
                        }
        }

        const bool edge = key0 + KEYS > whole; // some row does not see some key of this block
        if (edge) {
            [[unroll]] for (uint r = 0u; r < ROWS; r++)
                [[unroll]] for (uint c = 0u; c < KEYS; c++)
                    s[r * KEYS + c] = mask_score(s[r * KEYS + c], key0 + c, limit[r]);
        }

        // Follow the maximum, each row for itself.
        float top[ROWS];
        bool any_grows = false;
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            top[r] = s[r * KEYS];
            [[unroll]] for (uint c = 1u; c < KEYS; c++)
                top[r] = max(top[r], s[r * KEYS + c]);
            any_grows = any_grows || top[r] > m[r] + RESCALE_STEP;
        }
        if (any_grows) {
            [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                bool grows = top[r] > m[r] + RESCALE_STEP;
                float shrink = grows ? exp2(m[r] - top[r]) : 1.0; // 1.0 leaves a row's bits alone
                m[r] = grows ? top[r] : m[r];
                l[r] *= shrink;
                [[unroll]] for (uint d = 0u; d < DIM_V; d++)
                    acc[r * DIM_V + d] *= shrink;
            }
        }
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                s[r * KEYS + c] = exp2(s[r * KEYS + c] - m[r]);
        if (edge) { // exp2(-inf) need not be 0 on these devices
            [[unroll]] for (uint r = 0u; r < ROWS; r++)
                [[unroll]] for (uint c = 0u; c < KEYS; c++)
                    s[r * KEYS + c] = key0 + c < limit[r] ? s[r * KEYS + c] : 0.0;
        }
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                l[r] += s[r * KEYS + c];

        uint v_at[KEYS];
        [[unroll]] for (uint c = 0u; c < KEYS; c++)
            v_at[c] = v_row_index(w, min(key0 + c, end - 1u));
        if (edge) {
            // 0 * NaN is NaN: if V holds anything that is not finite here, add it key by key, to the rows that see it.
            bool odd = false;
            [[dont_unroll]] for (uint c = 0u; c < KEYS; c++)
                [[dont_unroll]] for (uint b = 0u; b < SPANS_V; b++)
                    odd = odd || texel_not_finite(fetch_v(v_row_index(w, min(key0 + c, end - 1u)), b * SPAN + lane * TEXEL));
            [[unroll]] for (uint step = LANES / 2u; step > 0u; step /= 2u)
                odd = odd || subgroupShuffleXor(odd ? 1u : 0u, step) != 0u;
            if (odd) {
                [[dont_unroll]] for (uint c = 0u; c < KEYS; c++) {
                    if (key0 + c >= end)
                        break;
                    [[unroll]] for (uint b = 0u; b < SPANS_V; b++) {
                        Texel v = fetch_v(v_row_index(w, key0 + c), b * SPAN + lane * TEXEL);
                        [[unroll]] for (uint e = 0u; e < LANES; e++)
                            [[unroll]] for (uint x = 0u; x < TEXEL; x++)
                                if (b * SPAN + e * TEXEL + x < DIM_V) {
                                    float element = subgroupShuffle(TEXEL_ELEMENT(v, x), source[e]);
                                    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                                        float weight = s[r * KEYS];
                                        [[unroll]] for (uint i = 1u; i < KEYS; i++)
                                            weight = c == i ? s[r * KEYS + i] : weight;
                                        acc[r * DIM_V + b * SPAN + e * TEXEL + x] +=
                                            key0 + c < limit[r] ? weight * element : 0.0;
                                    }
                                }
                    }
                }
                continue;
            }
        }
        [[unroll]] for (uint b = 0u; b < SPANS_V; b++) {
            Texel v[KEYS];
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                v[c] = fetch_v(v_at[c], b * SPAN + lane * TEXEL);
            [[unroll]] for (uint e = 0u; e < LANES; e++)
                [[unroll]] for (uint x = 0u; x < TEXEL; x++)
                    if (b * SPAN + e * TEXEL + x < DIM_V)
                        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                            float element = subgroupShuffle(TEXEL_ELEMENT(v[c], x), source[e]);
                            [[unroll]] for (uint r = 0u; r < ROWS; r++)
                                acc[r * DIM_V + b * SPAN + e * TEXEL + x] += s[r * KEYS + c] * element;
                        }
        }
    }

    float result[ROWS * DIM_V]; // a copy with computed indices, again for a rolled loop
    float factor[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float f = IS_PARTIAL ? 1.0 : finish_factor(l[r]);
        [[unroll]] for (uint d = 0u; d < DIM_V; d++)
            result[r * DIM_V + d] = acc[r * DIM_V + d] * f;
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = row0 + r * LANES + lane;
        if (row < rows)
            finish_store_sums(w, row_head(w, row), row_query(row), m[r], l[r]);
    }
    [[dont_unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = row0 + r * LANES + lane;
        if (row < rows) {
            uint head = row_head(w, row), query = row_query(row);
            uint part = part_number(w, head, query);
            uint at = o_row_index(w, head, query);
            [[dont_unroll]] for (uint d = 0u; d < DIM_V; d += 4u) {
                uint i = r * DIM_V + d;
                vec4 y = vec4(result[i], result[i + 1u], result[i + 2u], result[i + 3u]);
                if (IS_PARTIAL)
                    partial_store4(part, d, y);
                else
                    finish_store4(at, d, y);
            }
        }
    }
}
