#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// Softmax attention for software devices, where a lane is a lane of a CPU's vector registers.
//
// A workgroup is one subgroup of LANES lanes. For long queries (ROW_LANES = LANES) lane t owns the ROWS query rows
// tile * LANES * ROWS + r * LANES + t, with the rows' q (scaled) and output accumulators in registers, as vectors over its
// rows. K and V come through texel buffers, the cheapest wide load there: one fetch brings LANES * TEXEL
// consecutive elements of a key, TEXEL a lane, and each element is then broadcast from its lane by a shuffle and used by
// all rows. No barriers, no shared memory.
//
// For short queries (decode) ROW_LANES is smaller: the subgroup is cut into LANES / ROW_LANES strands of ROW_LANES lanes,
// all with the same rows; strand i visits every key whose number is i modulo the number of strands, and what
// the strands found is merged at the end.
//
// Every loop is unrolled, except the one over blocks of KEYS keys and those at the rim, which are rolled on purpose:
// unrolled storage-buffer accesses take these devices' compilers seconds.
//
// With GRID, rows and keys are places of boxes of a grid: hook/grid.glsl.
//
// LANES, ROW_LANES, ROWS (1 to 4), TEXEL_KIND, GRID, QUANTISED (of TEXEL_KIND 16) and Q_TEXELS (q too comes through a texel buffer) are defines. (As a specialization constant LANES is miscompiled by
// lavapipe 25.0.)
#include "common/attention_params.h"
#include "common/io.glsl"

#ifndef ROW_LANES
#define ROW_LANES LANES
#endif

layout(local_size_x = LANES) in;
layout(constant_id = 2) const uint KEYS = 4; // keys a block
layout(constant_id = 3) const uint HEAD_DIM_QK = 64;
layout(constant_id = 4) const uint HEAD_DIM_V = 64;
layout(constant_id = 5) const uint CAUSAL = 1;
layout(constant_id = 6) const uint VARLEN = 0;
layout(constant_id = 7) const uint PARTIAL = 0;
layout(constant_id = 8) const uint ALIGNED_ = 1;
layout(constant_id = 9) const uint WHOLE_KEYS = 0; // every row sees every key: 1, which fill all blocks; 2, but the last one
#define IS_CAUSAL (CAUSAL != 0u)
#define IS_VARLEN (VARLEN != 0u)
#define IS_PARTIAL (PARTIAL != 0u)
#define ALIGNED (ALIGNED_ != 0u)
#define IS_WHOLE (WHOLE_KEYS != 0u)
#define HAS_RIM (WHOLE_KEYS == 2u)
layout(constant_id = 10) const uint WINDOW = 0;
layout(constant_id = 11) const uint SOFT_CAP = 0;
layout(constant_id = 12) const uint EXTRAS_ = 0;
layout(constant_id = 13) const uint LINK_ = 0;
#define IS_WINDOW (WINDOW != 0u)
#define IS_SOFT_CAP (SOFT_CAP != 0u)
#define EXTRAS EXTRAS_
#define LINK LINK_
#ifdef GRID
layout(constant_id = 14) const uint GRID_RANK = 2;
#define GRID_ROWS (LANES * ROWS)
#endif
#ifdef QUANTISED
layout(constant_id = 15) const uint K_FORMAT = 0; // rapt_dtype of quantised keys, of quantised values; 0: stored plainly
layout(constant_id = 16) const uint V_FORMAT = 0;
#endif
#define NO_KV_BUFFERS
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/finish.glsl"
#include "hook/user.glsl"
#include "broadcast/texels.glsl"

// A vector over the rows of a lane, its component r, and what is asked of two such.
#if ROWS == 1
#define Rows float
#define RowLimits uint
#define RowFlags bool
#define ROW(v, r) v
#define ROW_AT(v, r) v
#define LESS(a, b) ((a) < (b))
#define ANY(flags) flags
#define EITHER(a, b) ((a) || (b))
#define BOTH(a, b) ((a) && (b))
#define SAME(a, b) ((a) == (b))
#define DIFFERENT(a, b) ((a) != (b))
#define DISTANCE(a, b) float(abs(int((a) - (b))))
#else
#if ROWS == 2
#define Rows vec2
#define RowInts ivec2
#define RowLimits uvec2
#define RowFlags bvec2
#elif ROWS == 3
#define Rows vec3
#define RowInts ivec3
#define RowLimits uvec3
#define RowFlags bvec3
#else
#define Rows vec4
#define RowInts ivec4
#define RowLimits uvec4
#define RowFlags bvec4
#endif
#define ROW(v, r) v[r]
#define ROW_AT(v, r) v[r] // r is computed
#define LESS(a, b) lessThan(a, b)
#define ANY(flags) any(flags)
#define EITHER(a, b) mix(b, RowFlags(true), a)
#define BOTH(a, b) mix(RowFlags(false), b, a)
#define SAME(a, b) equal(a, b)
#define DIFFERENT(a, b) notEqual(a, b)
#define DISTANCE(a, b) Rows(abs(RowInts((a) - (b))))
#endif

const uint DIM_QK = (HEAD_DIM_QK + 3u) & ~3u; // padded with zeros to whole vec4
const uint DIM_V = (HEAD_DIM_V + 3u) & ~3u;
const uint SPAN = ROW_LANES * TEXEL;          // consecutive elements of a key in one fetch
const uint SPANS_QK = (DIM_QK + SPAN - 1u) / SPAN;
const uint SPANS_V = (DIM_V + SPAN - 1u) / SPAN;
const uint STRANDS = LANES / ROW_LANES;
const uint BLOCK = KEYS * STRANDS; // keys an iteration
#define KEY(key) (WHOLE_KEYS == 1u ? (key) : min(key, end - 1u)) // keys past the end repeat the last one

// A row's maximum is followed only when it grows by more than this (in log2 units): weights stay below 2^10.
const float RESCALE_STEP = 10.0;

// Element i of the span of a key whose texels this strand's lanes hold, to all of them.
#define BROADCAST(texel, i) subgroupShuffle(TEXEL_ELEMENT(texel, (i) % TEXEL), source[(i) / TEXEL])

// Which rows see a key; without regard to segments, and with.
#define SEES_PLACE(key)                                                                                        \
    (IS_WINDOW ? EITHER(LESS(RowLimits(key) - start, count), LESS(RowLimits(key), sinks)) : LESS(RowLimits(key), limit))
#define SEES_SEGMENT(key)                                                                                      \
    (IS_SEGMENTS ? BOTH(SEES_PLACE(key), SAME(segment, RowLimits(key_segment(w, KEY(key))))) : SEES_PLACE(key))
#define SEES(key) (IS_PAGED ? BOTH(RowFlags(has_page), SEES_SEGMENT(key)) : SEES_SEGMENT(key))

// Key c of a block, and which rows see it. A grid's keys are kept in arrays, as they are counted on from one to the next.
#ifdef GRID
#define SEES_ALONG(axis, c) LESS(RowLimits(key[c][axis]) - grid_start[axis], grid_count[axis])
#define SEES_GRID(c)                                                                                           \
    (GRID_RANK == 1u   ? SEES_ALONG(2, c)                                                                      \
     : GRID_RANK == 2u ? BOTH(SEES_ALONG(1, c), SEES_ALONG(2, c))                                              \
                       : BOTH(SEES_ALONG(0, c), BOTH(SEES_ALONG(1, c), SEES_ALONG(2, c))))
#define TOKEN(c) token[c]
#define USER_KEY(c) token[c]
#define SEES_KEY(c)                                                                                            \
    (IS_SEGMENTS ? BOTH(SEES_GRID(c), SAME(segment, RowLimits(key_segment(w, token[c])))) : SEES_GRID(c))
#else
#define TOKEN(c) KEY(key0 + (c) * STRANDS)
#define USER_KEY(c) (key0 + (c) * STRANDS)
#define SEES_KEY(c) SEES(key0 + (c) * STRANDS)
#endif

// Whether all rows see all keys of a block.
#ifdef GRID
#define ALL_SEE(block) false
#elif USER_MASK
#define ALL_SEE(block) (IS_LISTED ? tiles.whole : false)
#else
#define ALL_SEE(block) (IS_LISTED ? tiles.whole : all_see(first, last, block, BLOCK))
#endif
#ifdef GRID
#define ALL_HAVE true
#else
#define ALL_HAVE (IS_PAGED ? has_page : true) // a page
#endif

void main()
{
    const uint lane = gl_LocalInvocationID.x % ROW_LANES; // in its strand
    const uint strand = gl_LocalInvocationID.x / ROW_LANES;
    Walk w = walk_begin(pc.bh0 + gl_WorkGroupID.z, pc.split0 + gl_WorkGroupID.y);
    uint tile = gl_WorkGroupID.x;
    if (IS_CAUSAL)
        tile = mirror_tile(tile, pc.tiles);
    const uint row0 = (pc.tile0 + tile) * (ROW_LANES * ROWS);
    const uint rows = walk_rows(w);
#ifdef GRID
    grid_begin(pc.tile0 + tile);
    const bool idle = grid.idle;
#else
    // Past the end of a short sequence. No early return: these devices would then mask everything after it.
    const bool idle = row0 >= rows;
#endif

    // Rows beyond the last one repeat it and are not stored.
#ifndef Q_TEXELS
    float q_read[DIM_QK * ROWS];
#endif
    RowLimits start, count, limit, sinks, segment; // see Sight; count = limit - start
    RowLimits place; // see RowBias
    Rows slope, decay, m, l;
    RowLimits line; // of the block mask
    uint key_bias_at = 0u;
    uint bias_at[ROWS];
    RowBias away[ROWS]; // for what depends on where a key lies
#ifdef GRID
    RowLimits grid_start[3], grid_count[3]; // the windows, as places in the box of keys
#endif
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = min(row0 + r * ROW_LANES + lane, rows - 1u);
#ifdef GRID
        Window window = grid_window(grid_place(row));
        [[unroll]] for (uint axis = 3u - GRID_RANK; axis < 3u; axis++) {
            ROW(grid_start[axis], r) = window.begin[axis] - grid.key_first[axis];
            ROW(grid_count[axis], r) = window.end[axis] - window.begin[axis];
        }
        if (IS_SEGMENTS)
            ROW(segment, r) = key_segment(w, row_query(row));
#else
        Sight s = sight(w, row_query(row));
        ROW(start, r) = s.start;
        ROW(count, r) = s.limit - s.start;
        ROW(limit, r) = s.limit;
        ROW(sinks, r) = s.sinks;
        ROW(segment, r) = s.segment;
#endif
        if (IS_BLOCKS)
            ROW(line, r) = block_line(w, row_head(w, row), row_query(row));
        if (IS_BIASED ? true : IS_DECAY) { // (not ||: see walk.glsl)
            RowBias bias = row_bias(w, row_head(w, row), row_query(row));
            away[r] = bias;
            ROW(decay, r) = bias.decay;
            ROW(place, r) = bias.place;
            ROW(slope, r) = bias.slope;
            bias_at[r] = bias.bias_at;
            key_bias_at = bias.key_bias_at; // of all rows: with such biases heads share a workgroup only if they share these
        }
        ROW(m, r) = start_maximum(w, row_head(w, row), row_query(row));
        ROW(l, r) = strand == 0u ? start_sum(w, ROW(m, r)) : 0.0;
    }
#ifdef Q_TEXELS // for tiles of few keys, beside which q counts
    Rows q[DIM_QK];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        const uint row = min(row0 + r * ROW_LANES + lane, rows - 1u);
        const uint q_at = q_row_index(w, row_head(w, row), row_query(row));
        [[unroll]] for (uint d = 0u; d < DIM_QK; d += TEXEL) {
            const Texel t = texel_of(texelFetch(texels_q, int((q_at + d) / TEXEL)));
            [[unroll]] for (uint e = 0u; e < min(TEXEL, DIM_QK - d); e++)
                ROW(q[d + e], r) = TEXEL_ELEMENT(t, e) * p.scale_log2;
        }
    }
#else
    [[dont_unroll]] for (uint r = 0u; r < ROWS && !idle; r++) {
        uint row = min(row0 + r * ROW_LANES + lane, rows - 1u);
        uint at = q_row_index(w, row_head(w, row), row_query(row));
        [[dont_unroll]] for (uint d = 0u; d < DIM_QK; d += 4u) {
            vec4 v = load_q4(at + d, min(HEAD_DIM_QK - d, 4u)) * p.scale_log2;
            q_read[d * ROWS + r] = v.x;
            q_read[(d + 1u) * ROWS + r] = v.y;
            q_read[(d + 2u) * ROWS + r] = v.z;
            q_read[(d + 3u) * ROWS + r] = v.w;
        }
    }
    Rows q[DIM_QK]; // indexed by constants only: registers
    [[unroll]] for (uint d = 0u; d < DIM_QK; d++)
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            ROW(q[d], r) = q_read[d * ROWS + r];
#endif

    Rows acc[DIM_V];
    [[unroll]] for (uint d = 0u; d < DIM_V; d++)
        acc[d] = Rows(0.0);
    uint source[ROW_LANES]; // the lanes of this strand, read from memory: a folded shuffle index makes slower code
    [[unroll]] for (uint e = 0u; e < ROW_LANES; e++)
        source[e] = strand * ROW_LANES + p.lane[e >> 2][e & 3u];

    uint k_from = k_head_index(w), v_from = v_head_index(w); // where key 0 would be
#ifdef GRID
    const uint end = idle ? 0u : grid.volume;
    uvec3 next_key = uvec3(0u);
    const TileWalk tiles = NO_TILES;
    [[dont_unroll]] for (uint block = 0u; block < end; block += BLOCK) {
        uvec3 key[KEYS];
        uint token[KEYS];
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            key[c] = next_key;
            token[c] = grid_key_token(next_key);
            grid_advance(next_key);
        }
#else
    // Keys that some row of the tile sees end at `end`.
    const Sight first = sight(w, row_query(row0)), last = sight(w, row_query(min(row0 + ROW_LANES * ROWS, rows) - 1u));
    const uint end = idle ? w.key_begin : sight_end(last);
    TileWalk tiles = tile_walk(w, pc.tile0 + tile, idle);
    uint page_first = 0x80000000u; // the first key of the page that k_from and v_from are for: of none yet
    bool has_page = true;
    [[dont_unroll]] for (uint block = next_tile(w, first, last, tiles, w.key_begin, BLOCK); block < end;
                         block = next_tile(w, first, last, tiles, block + BLOCK, BLOCK)) {
        const uint key0 = block + strand; // this strand's keys: key0 + c * STRANDS
        if (IS_PAGED) { // a block lies in one page: its size is a multiple of BLOCK
            if (block - page_first >= p.page_size) {
                const uint number = block / p.page_size, entry = page_entry(page_line(w.batch), number);
                page_first = number * p.page_size;
                has_page = entry < p.pages;
                k_from = k_head_index(w) + page_of_entry(entry) * p.k_stride_b - page_first * p.k_stride_s;
                v_from = v_head_index(w) + page_of_entry(entry) * p.v_stride_b - page_first * p.v_stride_s;
            }
        }
#endif
        Rows s[KEYS]; // scores, then weights
        RowFlags seen[KEYS];
        uint at[KEYS];
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            s[c] = Rows(0.0);
            at[c] = k_from + TOKEN(c) * p.k_stride_s;
        }
        [[unroll]] for (uint span = 0u; span < SPANS_QK; span++) {
            Texel k[KEYS];
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                k[c] = fetch_k(at[c], span * SPAN + lane * TEXEL);
            [[unroll]] for (uint i = 0u; i < min(SPAN, DIM_QK - span * SPAN); i++)
                [[unroll]] for (uint c = 0u; c < KEYS; c++)
                    s[c] += q[span * SPAN + i] * BROADCAST(k[c], i);
        }

        if (IS_SOFT_CAP) {
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                [[unroll]] for (uint r = 0u; r < ROWS; r++)
                    ROW(s[c], r) = score_hook(ROW(s[c], r));
        }

        if (IS_BIAS) {
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                [[unroll]] for (uint r = 0u; r < ROWS; r++)
                    ROW(s[c], r) += DENSE_BIAS(bias_at[r] + TOKEN(c)) * LOG2_E;
        }
        if (IS_KEY_BIAS) {
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                s[c] += EXTRA_NUMBER(key_bias_at + TOKEN(c)) * LOG2_E;
        }
        Rows distance[KEYS];
        if (IS_ALIBI ? true : IS_DECAY) {
            [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                distance[c] = DISTANCE(place, RowLimits(TOKEN(c)));
                [[unroll]] for (uint r = 0u; r < ROWS && IS_PLACED; r++)
                    ROW(distance[c], r) = far(away[r], TOKEN(c));
            }
        }
        if (IS_ALIBI) {
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                s[c] -= slope * distance[c];
        }
        if (IS_RELATIVE) {
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                [[unroll]] for (uint r = 0u; r < ROWS; r++)
                    ROW(s[c], r) += relative_bias(away[r], TOKEN(c));
        }

#if USER_SCORE
        USER_LOOP for (uint c = 0u; c < KEYS; c++)
            USER_LOOP for (uint r = 0u; r < ROWS; r++)
                ROW(s[c], r) = user_score_hook(w, min(row0 + r * ROW_LANES + lane, rows - 1u), USER_KEY(c),
                                               ROW(s[c], r));
#endif

        // Fetches are calls, and compilers order arithmetic as they like between two calls. These are here, all of them,
        // to keep the scores of several keys in progress above, and the accumulators below in one stretch.
        Texel v[KEYS * SPANS_V];
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            at[c] = v_from + TOKEN(c) * p.v_stride_s;
            [[unroll]] for (uint span = 0u; span < SPANS_V; span++)
                v[c * SPANS_V + span] = fetch_v(at[c], span * SPAN + lane * TEXEL);
        }

#ifdef GRID
        const uint blocks_shown = 0u;
#else
        uint blocks_shown = 0xffffffffu; // bit c * ROWS + r: the block of key c for row r. Rolled: see the loads of q
        if (IS_BLOCKS && !tiles.whole) {
            [[dont_unroll]] for (uint i = 0u; i < KEYS * ROWS; i++) {
                uint c = i / ROWS, from = ROW_AT(line, i - c * ROWS);
                blocks_shown &= block_shows(from, KEY(key0 + c * STRANDS)) ? 0xffffffffu : ~(1u << i);
            }
        }
#endif

#if USER_MASK
        RowFlags shown[KEYS];
        [[unroll]] for (uint c = 0u; c < KEYS; c++)
            shown[c] = RowFlags(true);
        if (!IS_LISTED || !tiles.whole) {
            USER_LOOP for (uint c = 0u; c < KEYS; c++)
                USER_LOOP for (uint r = 0u; r < ROWS; r++)
                    ROW(shown[c], r) = user_sees(w, min(row0 + r * ROW_LANES + lane, rows - 1u), USER_KEY(c));
        }
#endif

        // No branch for blocks that all rows see: what a branch may change is blended lane by lane after it.
        [[unroll]] for (uint c = 0u; c < KEYS && !IS_WHOLE; c++) {
            seen[c] = SEES_KEY(c);
            [[unroll]] for (uint r = 0u; r < ROWS && IS_BLOCKS; r++)
                ROW(seen[c], r) = ROW(seen[c], r) && (blocks_shown >> (c * ROWS + r) & 1u) != 0u;
#if USER_MASK
            seen[c] = BOTH(seen[c], shown[c]);
#endif
            s[c] = mix(Rows(NEG_INF), s[c], seen[c]);
        }

        Rows shape[KEYS]; // signs, or weights
        if (IS_SHAPED) {
            [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                const RowFlags none = SAME(s[c], Rows(NEG_INF));
                [[unroll]] for (uint r = 0u; r < ROWS; r++)
                    ROW(shape[c], r) = IS_SIGNED ? sign(ROW(s[c], r)) : link_weight(ROW(s[c], r), ROW(m, r));
                shape[c] = mix(shape[c], Rows(0.0), none);
                s[c] = mix(abs(s[c]), s[c], none);
            }
        }

        // Follow the maximum, each row for itself.
        Rows top = s[0];
        [[unroll]] for (uint c = 1u; c < KEYS; c++)
            top = max(top, s[c]);
#ifdef GRID // rows see their first keys in many different blocks, and then have nothing yet that is to be rescaled
        m = mix(m, max(top, m), SAME(m, Rows(MAXIMUM_START)));
#endif
        const Rows grown = top - m;
        const RowFlags grows = LESS(Rows(RESCALE_STEP), grown);
        if (!IS_ADDITIVE && ANY(grows)) {
            const Rows shrink = mix(Rows(1.0), exp2(-grown), grows); // 1.0 leaves a row's bits alone
            m = mix(m, top, grows);
            l *= shrink;
            [[unroll]] for (uint d = 0u; d < DIM_V; d++)
                acc[d] *= shrink;
        }
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
#if USER_SCORE
            const Rows logit = s[c];
#endif
            const RowFlags no_weight = SAME(s[c], Rows(NEG_INF));
            s[c] = exp2(s[c] - m);
            if (!IS_WHOLE)
                s[c] = mix(Rows(0.0), s[c], seen[c]); // exp2(-inf) need not be 0 on these devices
#if USER_SCORE // and code of an app may make such scores
            s[c] = mix(s[c], Rows(0.0), LESS(logit, Rows(-3.0e38)));
#endif
            if (IS_LOW)
                s[c] = mix(s[c], Rows(0.0), no_weight);
#ifndef GRID
            if (HAS_RIM) { // the last key again, without weight
                const float there = key0 + c * STRANDS < end ? 1.0 : 0.0;
                s[c] *= there;
                if (IS_SHAPED)
                    shape[c] *= there;
            }
#endif
            if (!IS_ADDITIVE)
                l += s[c];
            if (IS_SHAPED)
                s[c] = IS_SIGNED ? s[c] * shape[c] : shape[c];
            if (IS_DECAY)
                s[c] *= exp2(decay * distance[c]);
        }

        if (!IS_WHOLE && !(ALL_SEE(block) && ALL_HAVE)) { // some row does not see some key of this block
            // 0 * NaN is NaN: if V holds anything that is not finite here, add it key by key, in the same order, to the
            // rows that see it.
            uint odd = 0u;
            [[unroll]] for (uint i = 0u; i < KEYS * SPANS_V; i++)
                odd |= texel_not_finite(v[i]) ? 1u : 0u;
            [[unroll]] for (uint step = 1u; step < LANES; step *= 2u)
                odd |= subgroupShuffleXor(odd, step);
            if (odd != 0u) {
                [[dont_unroll]] for (uint c = 0u; c < KEYS; c++) {
                    Rows weight = s[0];
                    [[unroll]] for (uint i = 1u; i < KEYS; i++)
                        weight = c == i ? s[i] : weight;
#ifdef GRID
                    uint key_token = token[0];
                    [[unroll]] for (uint i = 1u; i < KEYS; i++)
                        key_token = c == i ? token[i] : key_token;
                    uint again = v_from + key_token * p.v_stride_s;
#else
                    uint again = v_from + KEY(key0 + c * STRANDS) * p.v_stride_s;
#endif
                    [[unroll]] for (uint span = 0u; span < SPANS_V; span++) {
                        Texel t = fetch_v(again, span * SPAN + lane * TEXEL);
                        [[unroll]] for (uint i = 0u; i < min(SPAN, DIM_V - span * SPAN); i++)
#if USER_MASK || defined(GRID) // of a key that a row sees the weight is 0 only where it makes no difference
                            acc[span * SPAN + i] += mix(weight * BROADCAST(t, i), Rows(0.0), SAME(weight, Rows(0.0)));
#else
                            acc[span * SPAN + i] += mix(Rows(0.0), weight * BROADCAST(t, i),
                                                        IS_BLOCKS ? DIFFERENT(weight, Rows(0.0)) : SEES(key0 + c * STRANDS));
#endif
                    }
                }
                continue;
            }
        }
        [[unroll]] for (uint d = 0u; d < DIM_V; d++)
            [[unroll]] for (uint c = 0u; c < KEYS; c++)
                acc[d] += s[c] * BROADCAST(v[c * SPANS_V + d / SPAN], d % SPAN);
    }

    float result[DIM_V * ROWS]; // a copy with computed indices, again for rolled loops
    [[unroll]] for (uint d = 0u; d < DIM_V; d++)
        [[unroll]] for (uint r = 0u; r < ROWS; r++)
            result[d * ROWS + r] = ROW(acc[d], r);
    float m_of[ROWS], l_of[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        m_of[r] = ROW(m, r);
        l_of[r] = ROW(l, r);
    }
    // Merge the strands, pairwise; the first one then has it all.
    [[unroll]] for (uint step = ROW_LANES; step < LANES; step *= 2u) {
        [[dont_unroll]] for (uint r = 0u; r < ROWS; r++) {
            float m_other = subgroupShuffleXor(m_of[r], step), l_other = subgroupShuffleXor(l_of[r], step);
            float top = max(m_of[r], m_other);
            float keep = exp2(m_of[r] - top), take = exp2(m_other - top);
            m_of[r] = top;
            l_of[r] = l_of[r] * keep + l_other * take;
            [[dont_unroll]] for (uint d = 0u; d < DIM_V; d++) {
                float mine = result[d * ROWS + r];
                result[d * ROWS + r] = mine * keep + subgroupShuffleXor(mine, step) * take;
            }
        }
    }
    [[dont_unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = row0 + r * ROW_LANES + lane;
        if (ROW_EXISTS(row, rows) && strand == 0u) {
            uint head = row_head(w, row), query = row_query(row);
            finish_store_sums(w, head, query, m_of[r], l_of[r]);
            float factor = IS_PARTIAL ? 1.0 : finish_factor(l_of[r]);
            uint part = part_number(w, head, query);
            uint out_at = o_row_index(w, head, query);
            [[dont_unroll]] for (uint d = 0u; d < DIM_V; d += 4u) {
                uint i = d * ROWS + r;
                vec4 y = vec4(result[i], result[i + ROWS], result[i + 2u * ROWS], result[i + 3u * ROWS]) * factor;
                if (IS_PARTIAL)
                    partial_store4(part, d, y);
                else
                    finish_store4(out_at, d, y);
            }
        }
    }
}
