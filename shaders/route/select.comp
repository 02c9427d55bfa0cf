#version 450
#extension GL_GOOGLE_include_directive : require
// Which blocks a row attends to, from their scores: the largest top_k (behind the `skip` largest), those from a threshold on, or
// the fewest whose softmax weights add up to a mass. Blocks that are always taken come first and use up the budget; ties go to
// the lower index; NaN is the lowest score. The mask is written for each query head of the row, the list in ascending order,
// filled up with -1.
//
// Scores are compared as integers in the same order. The cut, the key of the lowest score that is taken, is found by
// halving the range between the lowest and the largest, or quartering it: a pass over the row for each bit in which its scores
// differ, at most 32, or for every two of them.
//
// LANES invocations select for one row: 1, without shared memory and barriers, for software devices; or a workgroup, each
// invocation for a part of the blocks, so that lower indices lie in lower lanes. x: rows of this dispatch, z: (batch, row
// head). All values that steer loops with barriers in them are the same in all lanes.
#include "common/route_params.h"

#if LANES > 1
layout(local_size_x = LANES) in;
#else
layout(local_size_x = 64) in;
#endif
layout(constant_id = 0) const uint SELECT = 0; // rapt_select
layout(constant_id = 1) const uint SKIPS_ = 0;
const bool SKIPS = SKIPS_ != 0u;
RAPT_DECLARE_ROUTE_PARAMS
#include "route/sight.glsl"

const uint SELECT_TOP_K = 0u, SELECT_THRESHOLD = 1u, SELECT_MASS = 2u;

layout(std430, set = 0, binding = RAPT_BIND_SCORES) readonly buffer Scores { float scores[]; };
layout(std430, set = 0, binding = RAPT_BIND_MASK) writeonly buffer Mask { uint mask[]; };
layout(std430, set = 0, binding = RAPT_BIND_LIST) writeonly buffer List { int list[]; };

struct Row {
    uint scores;     // element of its first score
    uint begin, end; // the visible blocks of this invocation
    uint first, last, last_end; // always taken: blocks before `first`, and [last, last_end)
};

// In the order of the scores; 0 for NaN.
uint key_of(float score)
{
    const uint u = floatBitsToUint(score);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return 0u;
    return u == 0x80000000u ? u : (u >> 31) != 0u ? ~u : u | 0x80000000u; // -0 is 0
}

float score_of_key(uint key) { return uintBitsToFloat((key >> 31) != 0u ? key & 0x7fffffffu : ~key); }

bool is_always(Row w, uint block) { return block < w.first || (block >= w.last && block < w.last_end); }

#if LANES > 1
shared uint shared_uint[LANES];
shared float shared_float[LANES];
shared uvec3 shared_three[LANES];

// Sums over the workgroup, in the order of lanes; `before`: of the lanes before this one.
uint sum_all(uint x, out uint before)
{
    const uint lane = gl_LocalInvocationID.x;
    shared_uint[lane] = x;
    barrier();
    uint sum = 0u;
    before = 0u;
    for (uint i = 0u; i < uint(LANES); i++) {
        before = i == lane ? sum : before;
        sum += shared_uint[i];
    }
    barrier(); // before they are written again
    return sum;
}
uvec3 sum_all(uvec3 x)
{
    shared_three[gl_LocalInvocationID.x] = x;
    barrier();
    uvec3 sum = uvec3(0u);
    for (uint i = 0u; i < uint(LANES); i++)
        sum += shared_three[i];
    barrier();
    return sum;
}
float sum_all(float x)
{
    shared_float[gl_LocalInvocationID.x] = x;
    barrier();
    float sum = 0.0;
    for (uint i = 0u; i < uint(LANES); i++)
        sum += shared_float[i];
    barrier();
    return sum;
}
uint largest_all(uint x)
{
    shared_uint[gl_LocalInvocationID.x] = x;
    barrier();
    uint largest = 0u;
    for (uint i = 0u; i < uint(LANES); i++)
        largest = max(largest, shared_uint[i]);
    barrier();
    return largest;
}
#else
uint sum_all(uint x, out uint before)
{
    before = 0u;
    return x;
}
uvec3 sum_all(uvec3 x) { return x; }
float sum_all(float x) { return x; }
uint largest_all(uint x) { return x; }
#endif

// What the blocks with keys from `cut` on are worth: their number, or their weights beside a score of `top`.
uvec3 count_from(Row w, uvec3 cuts)
{
    uvec3 count = uvec3(0u);
    for (uint j = w.begin; j < w.end; j++)
        if (!is_always(w, j))
            count += uvec3(greaterThanEqual(uvec3(key_of(scores[w.scores + j])), cuts));
    return sum_all(count);
}
float weight_from(Row w, uint cut, float top)
{
    float sum = 0.0;
    for (uint j = w.begin; j < w.end; j++) {
        const uint key = key_of(scores[w.scores + j]);
        sum += !is_always(w, j) && key >= cut && key != 0u ? exp(scores[w.scores + j] - top) : 0.0;
    }
    return sum_all(sum);
}

// What is taken: all blocks above the key `cut`, and `ties` of those with it, besides those that are always taken.
struct Cut {
    uint key, ties;
};
const Cut ALL = Cut(0u, 0xffffffffu), NONE = Cut(0xffffffffu, 0u);

// The largest, `count` of them with those that are always taken.
Cut cut_top_k(Row w, uint forced, uint count)
{
    if (count <= forced)
        return NONE;
    const uint need = count - forced;
    uint low = 0xffffffffu, high = 0u, free = 0u, before;
    for (uint j = w.begin; j < w.end; j++)
        if (!is_always(w, j)) {
            const uint key = key_of(scores[w.scores + j]);
            low = min(low, key);
            high = max(high, key);
            free++;
        }
    if (sum_all(free, before) <= need)
        return ALL;
    low = ~largest_all(~low);
    high = largest_all(high);
    while (low < high) { // at least `need` keys from low on, fewer from high + 1 on: a quarter of them is left each time
        const uint step = (high - low) / 4u + 1u;
        const uvec3 cuts = min(low + step * uvec3(1u, 2u, 3u), uvec3(high)), count = count_from(w, cuts);
        const bvec3 exact = equal(count, uvec3(need));
        if (any(exact))
            return Cut(exact.x ? cuts.x : exact.y ? cuts.y : cuts.z, 0xffffffffu);
        high = count.x < need ? cuts.x - 1u : count.y < need ? cuts.y - 1u : count.z < need ? cuts.z - 1u : high;
        low = count.z > need ? cuts.z : count.y > need ? cuts.y : count.x > need ? cuts.x : low;
    }
    return Cut(low, need - count_from(w, uvec3(low + 1u)).x);
}

Cut cut_mass(Row w)
{
    if (p.mass >= 1.0)
        return ALL;
    uint low = 0xffffffffu, high = 0u, top_key = 0u;
    for (uint j = w.begin; j < w.end; j++) {
        const uint key = key_of(scores[w.scores + j]);
        top_key = max(top_key, key);
        if (!is_always(w, j)) {
            low = min(low, key);
            high = max(high, key);
        }
    }
    low = ~largest_all(~low);
    high = largest_all(high);
    top_key = largest_all(top_key);
    if (top_key == 0u || low > high) // nothing but NaN, or nothing to choose
        return NONE;
    const float top = min(max(score_of_key(top_key), -3.0e38), 3.0e38); // infinite scores have infinite weights, or none
    float always = 0.0;
    for (uint j = w.begin; j < w.end; j++)
        if (is_always(w, j) && key_of(scores[w.scores + j]) != 0u)
            always += exp(scores[w.scores + j] - top);
    always = sum_all(always);
    const float need = p.mass * (always + weight_from(w, 0u, top)) - always;
    if (!(need > 0.0))
        return NONE;
    while (low < high) { // the keys from low on are enough, those from high + 1 on are not
        const uint middle = low + (high - low) / 2u + 1u;
        if (weight_from(w, middle, top) >= need)
            low = middle;
        else
            high = middle - 1u;
    }
    const float missing = need - weight_from(w, low + 1u, top), each = exp(score_of_key(low) - top);
    return Cut(low, each > 0.0 && missing < 3.0e38 ? uint(clamp(ceil(missing / each), 1.0, 1.0e9)) : 0xffffffffu);
}

// How many blocks with the key of the cut are left to the blocks of this invocation.
uint ties_left(Row w, Cut cut)
{
    uint ties = 0u, before;
    for (uint j = w.begin; j < w.end; j++)
        ties += !is_always(w, j) && key_of(scores[w.scores + j]) == cut.key ? 1u : 0u;
    sum_all(ties, before);
    return cut.ties - min(cut.ties, before);
}

// Whether the next block, in their order, is from the cut on; `left`: of those with its key.
bool is_from(Cut cut, uint key, inout uint left)
{
    const bool tie = key == cut.key && left > 0u;
    left -= tie ? 1u : 0u;
    return key > cut.key || tie;
}

// Whether a visible block, the next in their order, is taken; `left`: of the ties of cut and of what is left out.
bool is_taken(Row w, Cut cut, Cut skipped, uint block, inout uvec2 left)
{
    if (is_always(w, block))
        return true;
    const uint key = key_of(scores[w.scores + block]);
    bool from = is_from(cut, key, left.x);
    if (SKIPS && is_from(skipped, key, left.y))
        from = false;
    return from;
}

// Blocks from `cut` on, but for those from `skipped` on.
void write_row(Row w, Cut cut, Cut skipped, uint batch, uint row_head, uint tile, uint part_begin, uint part_end)
{
    uint taken = 0u, taken_before;
    uvec2 first_left = uvec2(ties_left(w, cut), 0u);
    if (SKIPS)
        first_left.y = ties_left(w, skipped);
    uvec2 left = first_left;
    const uint mask_at = pc.base[RAPT_BIND_MASK - 1u] + batch * p.mask_stride_b + tile * p.mask_stride_s;
    const uint list_at = pc.base[RAPT_BIND_LIST - 1u] + batch * p.list_stride_b + row_head * p.list_stride_h +
                         tile * p.list_stride_s;
    const bool masks = (p.flags & RAPT_ROUTE_PARAM_MASK) != 0u, lists = (p.flags & RAPT_ROUTE_PARAM_LIST) != 0u;
    for (uint j = w.begin; j < w.end; j++)
        taken += is_taken(w, cut, skipped, j, left) ? 1u : 0u;
    const uint count = sum_all(taken, taken_before);
    const uint through = p.list_heads == 0u ? 0u : (batch * p.list_heads + row_head * p.list_heads / p.row_heads) * p.blocks;
    left = first_left;
    uint place = taken_before;
    for (uint j = part_begin; j < part_end; j++) {
        bool take = false;
        if (j >= w.begin && j < w.end)
            take = is_taken(w, cut, skipped, j, left);
        for (uint h = 0u; h < p.shared_heads && masks; h++)
            mask[mask_at + (row_head * p.shared_heads + h) * p.mask_stride_h + j] = take ? 1u : 0u;
        if (take && lists && place < p.list_size)
            list[list_at + place] = int(through + j);
        place += take ? 1u : 0u;
    }
    if (!lists)
        return;
#if LANES > 1
    for (uint i = count + gl_LocalInvocationID.x; i < p.list_size; i += uint(LANES))
#else
    for (uint i = count; i < p.list_size; i++)
#endif
        list[list_at + i] = -1;
}

void main()
{
#if LANES > 1
    const uint tile = pc.first + gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
#else
    const uint tile = pc.first + gl_GlobalInvocationID.x, lane = 0u;
#endif
    if (tile >= pc.end)
        return;
    const uint bh = pc.bh0 + gl_WorkGroupID.z, batch = bh / p.row_heads, row_head = bh - batch * p.row_heads;
    const RouteSight sight = sight_of(tile);
    const uint part = (p.blocks + uint(LANES) - 1u) / uint(LANES);
    const uint part_begin = min(lane * part, p.blocks), part_end = min(part_begin + part, p.blocks);
    Row w;
    w.scores = pc.base[RAPT_BIND_SCORES - 1u] + batch * p.scores_stride_b + row_head * p.scores_stride_h +
               tile * p.scores_stride_s;
    w.begin = min(part_begin, sight.blocks);
    w.end = min(part_end, sight.blocks);
    w.first = min(p.always_first, sight.blocks);
    w.last_end = p.always_last > 0u ? sight.own_end : 0u;
    w.last = p.always_last > 0u ? max(w.first, sight.own + 1u - min(p.always_last, sight.own + 1u)) : 0u;
    const uint forced = w.first + (w.last_end > w.last ? w.last_end - w.last : 0u);
    Cut cut = NONE, skipped = NONE;
    if (SELECT == SELECT_TOP_K) {
        cut = cut_top_k(w, forced, SKIPS ? p.skip + min(p.top_k, 0xffffffffu - p.skip) : p.top_k);
        if (SKIPS)
            skipped = cut_top_k(w, 0u, p.skip);
    } else if (SELECT == SELECT_THRESHOLD)
        cut = Cut(max(key_of(p.threshold), 1u), 0xffffffffu);
    else
        cut = cut_mass(w);
    write_row(w, cut, skipped, batch, row_head, tile, part_begin, part_end);
}
