#version 450
// Tiled attention on NVIDIA's cooperative matrices of a workgroup: f16 q, k and v, f32 scores, sums and accumulators.
//
// A workgroup owns TILE_ROWS query rows, and all of its invocations share every matrix:
//
//   scores   (TILE_ROWS x TILE_KEYS) = q (TILE_ROWS x D_QK) k^T     k read where it lies, transposed by the load
//   weights  exp2(scores - m), elementwise; rounded to f16 as an operand without a way through memory
//   acc      (TILE_ROWS x D_V) += weights v
//
// Online softmax with rows renewed rarely, as in the other kernels (RESCALE_ABOVE). Which element of a matrix an invocation
// holds is the driver's secret, but functions that it calls for each element are told row and column. In tiles that all rows see
// whole there are none of these.
//
// The build defines, as literals:
//   TILE_ROWS, TILE_KEYS, WG_SIZE   WG_SIZE one that the device lists, the others multiples of its granularities
//   D_QK, D_V                       most head_dim, likewise
//   EMULATED                        1: arrays in place of matrices (emulated.glsl), for devices without them: tests only
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int32 : require
#extension GL_EXT_control_flow_attributes : require
#if !EMULATED
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_NV_cooperative_matrix2 : require
#endif

#include "common/attention_params.h"
#include "coopmat2/config.glsl"
#include "common/io.glsl"
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/finish.glsl"

// What the functions below, which are given numbers only, know of the workgroup's tiles.
Walk walk;
uint first_row, rows; // of the query tile, and of the head group in all
uint first_key, keys_end; // of the tile of keys, and where keys end that any row sees
float early_scale;
uint k_first, v_first; // where key 0 lies

uint row_at(uint r) { return min(first_row + r, rows - 1u); } // rows past the end repeat the last one, and are not written

float16_t query_element(const in uint32_t r, const in uint32_t c, const in float16_t nothing)
{
    uint row = row_at(r);
    return c < HEAD_DIM_QK ? float16_t(LOAD_ELEMENT(q_words1, q_row_index(walk, row_head(walk, row), row_query(row)) + c)) : float16_t(0.0);
}

// Scores of what a row does not see are chosen away.
float mask_element(const in uint32_t r, const in uint32_t c, const in float score)
{
    uint key = first_key + c;
    return mask_score(score * early_scale, sees(walk, sight(walk, row_query(row_at(r))), key));
}

float value_element(uint key, uint d) { return LOAD_ELEMENT(v_words1, v_first + key * p.v_stride_s + d); }
bool is_finite(float x) { return abs(x) <= 65504.0; }
float16_t finite_only(float16_t x) { return is_finite(float(x)) ? x : float16_t(0.0); }

// What is not finite, in kinds: +infinity, -infinity, NaN.
const uint NOT_FINITE_KINDS = 3u;
float16_t is_kind(float16_t v, uint kind)
{
    float x = float(v);
    bool is = kind == 0u ? x > 65504.0 : kind == 1u ? x < -65504.0 : isnan(x);
    return is ? float16_t(1.0) : float16_t(0.0);
}
float value_of_kind(uint kind) { return uintBitsToFloat(kind == 0u ? 0x7f800000u : kind == 1u ? 0xff800000u : 0x7fc00000u); }

float output_element(const in uint32_t r, const in uint32_t c, const in float y)
{
    uint row = first_row + r;
    if (row < rows && c < HEAD_DIM_V) {
        uint head = row_head(walk, row), query = row_query(row);
        if (IS_PARTIAL)
            part_acc[pc.o_base + part_number(walk, head, query) * p.part_stride + c] = y;
        else
            out_halves[o_row_index(walk, head, query) + c] = float16_t(y);
    }
    return y;
}

float sums_element(const in uint32_t r, const in uint32_t c, const in float m, const in float l)
{
    uint row = first_row + r;
    if (row < rows && c == 0u)
        finish_store_sums(walk, row_head(walk, row), row_query(row), m, l);
    return m;
}

float larger(const in float a, const in float b) { return max(a, b); }
float added(const in float a, const in float b) { return a + b; }

#if EMULATED
#include "coopmat2/emulated.glsl"
#else
#include "coopmat2/matrices.glsl"
#endif

// Whether any invocation says so. A barrier; two places in turn, so that none is written while it is still read.
shared uint votes[2];
uint votes_taken = 0u;
bool any_of_workgroup(bool mine)
{
    votes_taken++;
    if (mine)
        votes[votes_taken & 1u] = votes_taken;
    barrier();
    return votes[votes_taken & 1u] == votes_taken;
}

// Whether this invocation's part of the tile's v holds NaN or infinities.
bool holds_not_finite()
{
    bool found = false;
    uint count = min(first_key + TILE_KEYS, keys_end) - first_key;
    [[dont_unroll]] for (uint e = gl_LocalInvocationIndex; e < count * HEAD_DIM_V; e += WG_SIZE)
        found = !is_finite(value_element(first_key + e / HEAD_DIM_V, e % HEAD_DIM_V)) || found;
    return found;
}

void main()
{
    walk = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    rows = walk_rows(walk);
    // The last query tiles see the most keys: they start first.
    uint tile = pc.tile0 + (IS_CAUSAL ? pc.tiles - 1u - gl_WorkGroupID.x : gl_WorkGroupID.x);
    first_row = tile * TILE_ROWS;
    if (first_row >= rows)
        return;
    Sight first = sight(walk, row_query(first_row)), last = sight(walk, row_query(min(first_row + TILE_ROWS, rows) - 1u));
    keys_end = sight_end(last);
    bool late = !IS_SCORED && p.scale_log2 > 0.0; // see the tile kernel
    float scale = late ? p.scale_log2 : 1.0;
    early_scale = IS_SCORED || late ? 1.0 : p.scale_log2;
    k_first = k_head_index(walk);
    v_first = v_head_index(walk);

    if (gl_LocalInvocationIndex < 2u)
        votes[gl_LocalInvocationIndex] = 0u;
    barrier();

    QUERIES q;
    LOAD_QUERIES(q)
    OUTPUTS acc;
    SCORES m, l; // running maximum and sum: m the same in all columns, l to be added over them in the end
    FILL(acc, 0.0)
    FILL(m, MAXIMUM_START)
    FILL(l, 0.0)
    KEY_LAYOUTS

    TileWalk tiles = NO_TILES;
    [[dont_unroll]] for (first_key = next_tile(walk, first, last, tiles, walk.key_begin, TILE_KEYS); first_key < keys_end;
                         first_key = next_tile(walk, first, last, tiles, first_key + TILE_KEYS, TILE_KEYS)) {
        bool whole = all_see(first, last, first_key, TILE_KEYS) && (IS_SCORED || p.scale_log2 > 0.0);
        SCORES s;
        FILL(s, 0.0)
        MULTIPLY_BY_K(s, q, whole)
        if (IS_SCORED) {
            EACH_ELEMENT for (int i = 0; i < s.length(); i++)
                s[i] = score_hook(s[i] * p.scale_log2);
        }
        if (!whole)
            EACH_SCORE(s, mask_element)

        // Running maxima, renewed when a row exceeds its own by more than RESCALE_ABOVE: seldom.
        float excess = NEG_INF;
        EACH_ELEMENT for (int i = 0; i < s.length(); i++)
            excess = max(excess, fma(s[i], scale, -m[i]));
        if (any_of_workgroup(excess > RESCALE_ABOVE)) {
            SCORES factor;
            ROW_MAXIMA(factor, s)
            EACH_ELEMENT for (int i = 0; i < s.length(); i++) {
                float tile_m = factor[i] * scale, old = m[i];
                m[i] = tile_m - old > RESCALE_ABOVE ? tile_m : old;
                factor[i] = exp2(old - m[i]);
                l[i] *= factor[i];
            }
            OUTPUTS factors;
            SPREAD(factors, factor)
            EACH_ELEMENT for (int i = 0; i < acc.length(); i++)
                acc[i] *= factors[i];
        }

        // Tiles in which a row sees keys that another does not: 0 times NaN is NaN. The rows that see them get them here.
        bool odd = false;
        if (!whole)
            odd = any_of_workgroup(holds_not_finite());
        if (odd)
            ADD_NOT_FINITE(acc, s)

        // Summed as rounded: what rounding adds to or takes from all weights alike then cancels.
        EACH_ELEMENT for (int i = 0; i < s.length(); i++) {
            s[i] = AS_WEIGHT(exp2(fma(s[i], scale, -m[i])));
            l[i] += s[i];
        }
        if (!odd)
            MULTIPLY_BY_V(acc, s, whole)
        else
            MULTIPLY_BY_FINITE_V(acc, s)
    }

    SCORES sums;
    ROW_SUMS(sums, l)
    if (IS_PARTIAL || (p.flags & RAPT_PARAM_LSE) != 0u)
        STORE_SUMS(m, sums)
    if (!IS_PARTIAL) {
        OUTPUTS factors;
        SPREAD(factors, sums)
        EACH_ELEMENT for (int i = 0; i < acc.length(); i++)
            acc[i] *= finish_factor(factors[i]);
    }
    EACH_OUTPUT(acc, output_element)
}
