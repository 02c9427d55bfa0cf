#version 450
#extension GL_GOOGLE_include_directive : require
// Makes the lists of tiles that query tiles visit, from everything that hides keys: causality and windows, a block mask, and
// an app's mask_mod. hook/tiles.glsl says what a list is.
//
// Lists are numbered (batch * groups + group) * query tiles + tile. This dispatch makes pc.rows of them from pc.row0 on;
// pc.tiles is the number of query tiles, pc.split0 that of groups. LIST_LANES invocations make one list: 1, with neither
// shared memory nor barriers, for software devices; or 32, a workgroup of them, each for one tile of a span.
//
// Ranges of keys become ranges of bits, block by block, without a look at single keys: visible keys of the first and the last
// query of a block bound those of all between them. Only a mask_mod is asked pair by pair, inside tiles that are still
// visible then. Where segments are asked for, no tile is whole.
#define IS_PARTIAL false
#include "common/attention_params.h"
#include "common/io.glsl"

layout(local_size_x = 32) in;
#define NO_KV_BUFFERS
#include "common/buffers.glsl"
#include "hook/walk.glsl"
#include "hook/mask.glsl"
#include "hook/link.glsl"
#include "hook/score.glsl"
#include "hook/user.glsl"

layout(std430, set = 0, binding = RAPT_BIND_EXTRA) buffer TileLists { uint lists[]; };

// 32 tiles, from key `base` on; of them, those with a visible key, and those that some row does not see whole. This lane is
// for the keys [begin, end), whole tiles.
struct Span {
    uint base, begin, end, visible, broken;
};
#if LIST_LANES > 1
shared uint span_visible, span_broken;
#endif

// The tiles that keys [from, to) of the span lie in.
uint tile_bits(Span s, uint from, uint to)
{
    if (from >= to)
        return 0u;
    uint a = (from - s.base) / p.list_keys, b = (to - 1u - s.base) / p.list_keys;
    return (0xffffffffu << a) & (0xffffffffu >> (31u - b));
}

// Adds what queries whose sights lie between `first` and `last` see of the keys [from, to).
void add_keys(inout Span s, Sight first, Sight last, uint from, uint to)
{
    s.visible |= tile_bits(s, max(from, first.start), min(to, last.limit)) | tile_bits(s, from, min(to, last.sinks));
    uint open = max(from, first.sinks); // all see the sinks before it
    s.broken |= tile_bits(s, open, min(to, last.start)) | tile_bits(s, max(open, first.limit), to);
}

// The same of the blocks of the mask that lie in the span, for queries q0 .. q1 and all heads of the group.
void add_blocks(Walk w, inout Span s, uint q0, uint q1)
{
    uint heads = p.x_blocks_stride_h == 0u ? 1u : GROUP;
    for (uint i = q0 / p.block_q; i <= q1 / p.block_q; i++) {
        Sight first = sight(w, max(q0, i * p.block_q)), last = sight(w, min(q1, i * p.block_q + p.block_q - 1u));
        for (uint h = 0u; h < heads; h++) {
            uint line = block_line(w, w.head0 + h, i * p.block_q);
            for (uint j = s.begin / p.block_k; j * p.block_k < s.end; j++) {
                uint from = max(s.begin, j * p.block_k), to = min(s.end, j * p.block_k + p.block_k);
                if (block_shows(line, j * p.block_k))
                    add_keys(s, first, last, from, to);
                else
                    s.broken |= tile_bits(s, from, to);
            }
        }
    }
}

#if USER_MASK
// Asks the app about the pairs of one tile.
void ask_tile(Walk w, inout Span s, uint bit, uint row0, uint row_end)
{
    uint key0 = s.base + bit * p.list_keys, key_end = min(key0 + p.list_keys, s.end);
    bool some = false, all = (s.broken >> bit & 1u) == 0u;
    for (uint row = row0; row < row_end && (all || !some); row++) {
        uint query = row_query(row), head = user_head(w, row);
        Sight range = sight(w, query);
        uint line = IS_BLOCKS ? block_line(w, row_head(w, row), query) : 0u;
        for (uint key = key0; key < key_end; key++) {
            bool shown = user_mask(w.batch, head, query, key), seen = sees(w, range, key); // both, so that there is no branch
            shown = shown && seen;
            if (IS_BLOCKS)
                shown = shown && block_shows(line, key);
            some = some || shown;
            all = all && shown;
        }
    }
    s.visible &= some ? 0xffffffffu : ~(1u << bit);
    s.broken |= all ? 0u : 1u << bit;
}
#endif

void main()
{
#if LIST_LANES > 1
    uint item = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    bool writes = lane == 0u;
#else
    uint item = gl_GlobalInvocationID.x;
    const bool writes = true;
#endif
    if (item >= pc.rows)
        return;
    item += pc.row0;
    uint line = item / pc.tiles, tile = item - line * pc.tiles;
    uint batch = line / pc.split0, group = line - batch * pc.split0;
    Walk w = walk_begin(batch * (p.heads_out / GROUP) + group, 0u);
    uint rows = walk_rows(w), row0 = tile * p.list_rows;
    uint at = pc.x_base + p.x_lists + batch * p.lists_stride_b + group * p.lists_stride_g + tile * p.lists_pitch;
    uint count = 0u;
    if (row0 < rows) {
        uint row_end = min(row0 + p.list_rows, rows);
        uint q0 = row_query(row0), q1 = row_query(row_end - 1u);
        Sight first = sight(w, q0), last = sight(w, q1);
        uint keys = 32u * p.list_keys, end = sight_end(last);
        for (uint number = 0u; number * keys < end; number++) {
            Span s = Span(number * keys, number * keys, min(number * keys + keys, w.nk), 0u, 0u);
#if LIST_LANES > 1
            s.begin = min(s.base + lane * p.list_keys, w.nk);
            s.end = min(s.begin + p.list_keys, w.nk);
#endif
            if (s.begin < s.end) {
                if (IS_BLOCKS)
                    add_blocks(w, s, q0, q1);
                else
                    add_keys(s, first, last, s.begin, s.end);
                if (s.end % p.list_keys != 0u) // the last tile is cut short
                    s.broken |= tile_bits(s, s.end - 1u, s.end);
                if (IS_SEGMENTS)
                    s.broken = 0xffffffffu;
            }
#if USER_MASK
            for (uint left = s.visible; left != 0u; left &= left - 1u)
                ask_tile(w, s, uint(findLSB(left)), row0, row_end);
#endif
#if LIST_LANES > 1
            if (lane == 0u) {
                span_visible = 0u;
                span_broken = 0u;
            }
            barrier();
            atomicOr(span_visible, s.visible);
            atomicOr(span_broken, s.broken);
            barrier();
            s.visible = span_visible;
            s.broken = span_broken;
            barrier(); // before they are cleared again
#endif
            if (s.visible != 0u) {
                uint to = at + 1u + count * 3u;
                if (writes) {
                    lists[to] = number;
                    lists[to + 1u] = s.visible;
                    lists[to + 2u] = ~s.broken;
                }
                count++;
            }
        }
    }
    if (writes)
        lists[at] = count;
}
