// Hook "walk": which rows a workgroup owns and which keys they visit. Dense, causal, varlen, key splits.
//
// A workgroup serves one (batch, head group, key split). The rows of a head group are numbered
//   row = query * p.group + head - head0,
// query-major, so that the rows of a tile see nearly the same keys. Keys and queries are numbered inside their
// sequence, and so is everything in a Walk except q_first and k_first.
//
// A kernel may define IS_CAUSAL, IS_WINDOW, IS_VARLEN, IS_PARTIAL, EXTRAS and GROUP (constants, specialization constants);
// else they are read from the parameters.
#ifdef GRID // see hook/grid.glsl: one dense sequence, whose keys are not split
#undef IS_CAUSAL
#define IS_CAUSAL false
#undef IS_WINDOW
#define IS_WINDOW false
#undef IS_PARTIAL
#define IS_PARTIAL false
#undef GROUP
#define GROUP 1u
#endif
#ifndef IS_CAUSAL
#define IS_CAUSAL ((p.flags & RAPT_PARAM_CAUSAL) != 0u)
#endif
#ifdef NO_VARLEN
#undef IS_VARLEN
#define IS_VARLEN false
#endif
#ifndef IS_VARLEN
#define IS_VARLEN ((p.flags & RAPT_PARAM_VARLEN) != 0u)
#endif
#ifndef IS_WINDOW
#define IS_WINDOW ((p.flags & RAPT_PARAM_WINDOW) != 0u)
#endif
#ifndef IS_PARTIAL
#define IS_PARTIAL ((p.flags & RAPT_PARAM_PARTIAL) != 0u)
#endif
#ifndef GROUP
#ifdef USER_CODE // so that the head is the same for a whole workgroup where no heads are packed, and reads by head are cheap
layout(constant_id = 31) const uint user_group = 1u;
#define GROUP user_group
#else
#define GROUP p.group
#endif
#endif
#ifdef NO_EXTRAS
#define IS_SINKS false
#define IS_ALIBI false
#define IS_KEY_BIAS false
#define IS_SEGMENTS false
#define IS_RELATIVE false
#define IS_DECAY false
#define IS_PLACED false
#define IS_BIAS false
#define IS_LOW false // some bias may be -inf
#define IS_BIASED false
#define IS_AWAY false
#define IS_LISTED false
#define IS_BLOCKS false
#define IS_PAGED false
#elif defined(EXTRAS)
const bool IS_SINKS = (EXTRAS & RAPT_PARAM_SINKS) != 0u;
const bool IS_ALIBI = (EXTRAS & RAPT_PARAM_ALIBI) != 0u;
const bool IS_KEY_BIAS = (EXTRAS & RAPT_PARAM_KEY_BIAS) != 0u;
const bool IS_SEGMENTS = (EXTRAS & RAPT_PARAM_SEGMENTS) != 0u;
const bool IS_RELATIVE = (EXTRAS & RAPT_PARAM_RELATIVE) != 0u;
const bool IS_DECAY = (EXTRAS & RAPT_PARAM_DECAY) != 0u;
const bool IS_PLACED = (EXTRAS & RAPT_PARAM_PLACED) != 0u;
#ifdef NO_BIAS
const bool IS_BIAS = false;
#else
const bool IS_BIAS = (EXTRAS & RAPT_PARAM_BIAS) != 0u;
#endif
// (|| breaks glslang 12's constants)
const bool IS_LOW = (EXTRAS & (RAPT_PARAM_BIAS | RAPT_PARAM_KEY_BIAS | RAPT_PARAM_RELATIVE)) != 0u;
const bool IS_BIASED = (EXTRAS & (RAPT_PARAM_BIAS | RAPT_PARAM_ALIBI | RAPT_PARAM_KEY_BIAS | RAPT_PARAM_RELATIVE)) != 0u;
const bool IS_AWAY = (EXTRAS & (RAPT_PARAM_ALIBI | RAPT_PARAM_RELATIVE | RAPT_PARAM_DECAY)) != 0u;
const bool IS_LISTED = (EXTRAS & RAPT_PARAM_LISTED) != 0u;
const bool IS_BLOCKS = (EXTRAS & RAPT_PARAM_BLOCKS) != 0u;
const bool IS_PAGED = (EXTRAS & RAPT_PARAM_PAGED) != 0u;
#else
#define IS_SINKS ((p.flags & RAPT_PARAM_SINKS) != 0u)
#define IS_ALIBI ((p.flags & RAPT_PARAM_ALIBI) != 0u)
#define IS_KEY_BIAS ((p.flags & RAPT_PARAM_KEY_BIAS) != 0u)
#define IS_SEGMENTS ((p.flags & RAPT_PARAM_SEGMENTS) != 0u)
#define IS_RELATIVE ((p.flags & RAPT_PARAM_RELATIVE) != 0u)
#define IS_DECAY ((p.flags & RAPT_PARAM_DECAY) != 0u)
#define IS_PLACED ((p.flags & RAPT_PARAM_PLACED) != 0u)
#define IS_BIAS ((p.flags & RAPT_PARAM_BIAS) != 0u)
#define IS_LOW (IS_BIAS || IS_KEY_BIAS || IS_RELATIVE)
#define IS_BIASED (IS_ALIBI || IS_LOW)
#define IS_AWAY (IS_ALIBI || IS_RELATIVE || IS_DECAY)
#define IS_LISTED ((p.flags & RAPT_PARAM_LISTED) != 0u)
#define IS_BLOCKS ((p.flags & RAPT_PARAM_BLOCKS) != 0u)
#define IS_PAGED ((p.flags & RAPT_PARAM_PAGED) != 0u)
#endif
// Keys of a batch entry that count: k_lengths, bound where cu_seqlens_k would be.
#ifdef NO_VARLEN
#define IS_RAGGED false
#elif defined(EXTRAS)
const bool IS_RAGGED = (EXTRAS & RAPT_PARAM_RAGGED) != 0u;
#else
#define IS_RAGGED ((p.flags & RAPT_PARAM_RAGGED) != 0u)
#endif

struct Walk {
    uint batch;              // batch entry, or sequence (varlen)
    uint head0;              // first output head of the group
    uint head_kv;            // the kv head that the group reads
    uint split;
    uint nq, nk;             // lengths of this sequence, at most those that the grid was made for
    uint length_q;           // its true number of queries
    uint q_first, k_first;   // its first row in the packed axes (dense: 0)
    int diagonal;            // query i stands at key i + diagonal - 1
    uint key_begin, key_end; // keys of this split, before any mask
};

// First row and length of a sequence: entries of cu_seqlens clamped, so that bad ones cannot lead outside the tensor.
uvec2 sequence_rows(int begin, int end, uint total)
{
    uint first = min(uint(max(begin, 0)), total);
    uint last = min(uint(max(end, 0)), total);
    return uvec2(first, last > first ? last - first : 0u);
}

// The query side alone. bh counts head groups: bh = batch * (heads_out / group) + group index.
Walk walk_begin_queries(uint bh, uint split)
{
    Walk w;
    uint groups = p.heads_out / GROUP;
    w.batch = bh / groups;
    w.head0 = (bh - w.batch * groups) * GROUP;
    w.head_kv = w.head0 * p.heads_kv / p.heads_out;
    w.split = split;
    w.nq = p.nq;
    w.q_first = 0u;
    w.length_q = p.nq;
#ifndef NO_VARLEN
    if (IS_VARLEN) {
        uvec2 q = sequence_rows(cu_seqlens_q[pc.cq_base + w.batch], cu_seqlens_q[pc.cq_base + w.batch + 1u],
                                p.total_q);
        w.q_first = q.x;
        w.length_q = q.y;
        w.nq = min(q.y, p.nq);
    }
#endif
    w.nk = 0u;
    w.k_first = 0u;
    w.diagonal = 0;
    w.key_begin = 0u;
    w.key_end = 0u;
    return w;
}

Walk walk_begin(uint bh, uint split)
{
    Walk w = walk_begin_queries(bh, split);
    w.nk = p.nk;
    uint length_k = p.nk;
#ifndef NO_VARLEN
    if (IS_VARLEN) {
        uvec2 k = sequence_rows(cu_seqlens_k[pc.ck_base + w.batch], cu_seqlens_k[pc.ck_base + w.batch + 1u],
                                p.total_k);
        w.k_first = k.x;
        length_k = k.y;
        w.nk = min(k.y, p.nk);
    }
    if (IS_RAGGED) {
        length_k = min(uint(max(cu_seqlens_k[pc.ck_base + w.batch], 0)), p.nk);
        w.nk = length_k;
    }
#endif
    // Where queries stand follows from a sequence's true length, even if it is longer than what the grid was made for.
    // Lengths, offset and window are at most 2^29 each: nothing overflows.
    w.diagonal = int(length_k) - int(w.length_q) + 1 + p.causal_offset;
    w.key_begin = pc.key0;
    w.key_end = min(w.nk, pc.key1);
    if (IS_PARTIAL) {
        w.key_begin = pc.key0 + split * p.split_keys;
        w.key_end = min(w.key_end, w.key_begin + p.split_keys);
    }
    return w;
}

#ifdef GRID
#include "hook/grid.glsl"
#define ROW_EXISTS(row, rows) row_exists(row, rows)
#else
// Rows of this workgroup's head group.
uint walk_rows(Walk w) { return w.nq * GROUP; }
uint row_query(uint row) { return row / GROUP; }
#define ROW_EXISTS(row, rows) row < rows
#endif
uint row_head(Walk w, uint row) { return w.head0 + row % GROUP; }

// The keys that a query sees: [start, limit), and without a window start is key_begin; with one also those below `sinks`.
// All lie between key_begin and key_end, and grow with the query. Of these, with segments, only the keys of `segment`, and
// none if the query has no segment: then limit is key_begin, and so is sinks.
struct Sight {
    uint start, limit, sinks, segment;
};

uint batch_or_zero(Walk w) { return IS_VARLEN ? 0u : w.batch; }

#include "hook/pages.glsl"

// The segment of a key of the sequence. Keys that are loaded lie below key_end.
uint key_segment(Walk w, uint key)
{
    return EXTRA_WORD(pc.x_base + p.x_segments + batch_or_zero(w) * p.x_segments_stride_b + w.k_first + key);
}

Sight sight(Walk w, uint query)
{
    Sight s;
    int after = int(query) + w.diagonal; // the key after the query's place
    uint causal = IS_CAUSAL ? min(w.key_end, uint(max(after, 0))) : w.key_end;
    s.limit = max(causal, w.key_begin);
    s.start = w.key_begin;
    s.sinks = w.key_begin;
    if (IS_WINDOW) {
        s.sinks = max(min(causal, p.sink_tokens), w.key_begin);
        if (p.window_right >= 0)
            s.limit = max(min(s.limit, uint(max(after + p.window_right, 0))), w.key_begin);
        if (p.window_left >= 0)
            s.start = max(min(uint(max(after - 1 - p.window_left, 0)), w.key_end), w.key_begin);
        s.limit = max(s.limit, s.start); // so that limit - start is the number of keys
    }
    s.segment = 0u;
    if (IS_SEGMENTS) {
        int key = int(query) + w.diagonal - 1 - p.causal_offset; // whose segment the query shares
        if (key < 0)
            s.limit = s.start = s.sinks = w.key_begin;
        else if (w.k_first + uint(key) < p.total_k) // but for the query before the first of none
            s.segment = key_segment(w, uint(key));
    }
    return s;
}

bool sees(Walk w, Sight s, uint key)
{
    bool seen = IS_WINDOW ? key - s.start < s.limit - s.start || key < s.sinks : key < s.limit;
    if (IS_SEGMENTS)
        seen = seen && key_segment(w, min(key, w.key_end - 1u)) == s.segment;
    if (IS_PAGED)
        seen = key_has_page(page_line(w.batch), min(key, w.key_end - 1u)) && seen;
    return seen;
}

// The end of the keys that a query with this sight visits.
uint sight_end(Sight s) { return IS_WINDOW ? max(s.limit, s.sinks) : s.limit; }

// Whether every query between two, with the sights of the first and the last, sees all keys of [key, key + count).
bool all_see(Sight first, Sight last, uint key, uint count)
{
    if (IS_SEGMENTS)
        return false;
    if (!IS_WINDOW)
        return key + count <= first.limit;
    return (key >= last.start && key + count <= first.limit) || key + count <= first.sinks;
}

#include "hook/tiles.glsl"

// The tile of `count` keys to visit when the one at `key` is next in line: the next one of the list; without a list over the
// gap between the sinks of the last query and the window of the first.
uint next_tile(Walk w, Sight first, Sight last, inout TileWalk tiles, uint key, uint count)
{
    if (IS_LISTED)
        return listed_tile(tiles, key);
    if (IS_WINDOW && key >= last.sinks)
        key = max(key, w.key_begin + (first.start - w.key_begin) / count * count);
    return key;
}

// Mirrored tile order, 0, n-1, 1, n-2, ..: causal tiles cost more the later they come, and devices that cut the grid
// into a few contiguous parts (software ones) then give every part the same work.
uint mirror_tile(uint x, uint tiles) { return (x & 1u) == 0u ? x >> 1 : tiles - 1u - (x >> 1); }

// Element indices of the first element of a row. Sums wrap around modulo 2^32, as attention_params.h defines.
uint q_row_index(Walk w, uint head, uint query)
{
    return pc.q_base + batch_or_zero(w) * p.q_stride_b + (head * p.heads_q / p.heads_out) * p.q_stride_h +
           (w.q_first + query) * p.q_stride_s;
}
// The first keys and values of the workgroup's head: of its sequence, or of page 0.
uint k_head_index(Walk w)
{
    uint first = pc.k_base + w.head_kv * p.k_stride_h;
    return IS_PAGED ? first : first + batch_or_zero(w) * p.k_stride_b + w.k_first * p.k_stride_s;
}
uint v_head_index(Walk w)
{
    uint first = pc.v_base + w.head_kv * p.v_stride_h;
    return IS_PAGED ? first : first + batch_or_zero(w) * p.v_stride_b + w.k_first * p.v_stride_s;
}
uint k_row_index(Walk w, uint key)
{
    return k_head_index(w) + key_offset(page_line(w.batch), key, p.k_stride_b, p.k_stride_s);
}
uint v_row_index(Walk w, uint key)
{
    return v_head_index(w) + key_offset(page_line(w.batch), key, p.v_stride_b, p.v_stride_s);
}
uint o_row_index(Walk w, uint head, uint query)
{
    return pc.o_base + batch_or_zero(w) * p.o_stride_b + head * p.o_stride_h + (w.q_first + query) * p.o_stride_s;
}
uint lse_index(Walk w, uint head, uint query)
{
    return pc.l_base + batch_or_zero(w) * p.l_stride_b + head * p.l_stride_h + (w.q_first + query) * p.l_stride_s;
}
// Number of the partial result (row, split). Its accumulator starts at pc.o_base + number * p.part_stride, its (m, l)
// at pc.l_base + number * 2.
uint part_number(Walk w, uint head, uint query)
{
    return ((w.batch * p.heads_out + head) * p.nq + query) * p.splits + w.split;
}
