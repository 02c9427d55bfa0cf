// Hook "tiles": block masks, and the lists of the tiles of keys that a query tile visits (route/tiles.comp makes them).
//
// A list is for the rows of one query tile of the kernel that reads it, list_rows of them, and tiles of list_keys keys:
//   word 0: how many spans follow, each of 32 tiles (32 * list_keys keys), in ascending order, those with a visible key only
//   then 3 words a span: its number; a bit for each tile with a visible key; a bit for each tile that all rows see whole
// No query sees a key of a tile that is not listed, whatever the rule that hides it.

struct TileWalk {
    uint at, left;             // the next span's words, and how many spans are left
    uint base, visible, whole_ones; // first key of the span, its tiles that are still to come, and which are whole
    uint begin, end;           // keys of the tile
    bool whole;                // all rows see all of it
};

const TileWalk NO_TILES = TileWalk(0u, 0u, 0u, 0u, 0u, 0u, 0u, false);

void advance_tile(inout TileWalk t)
{
    if (t.visible == 0u && t.left > 0u) {
        t.base = EXTRA_WORD(t.at) * 32u * p.list_keys;
        t.visible = EXTRA_WORD(t.at + 1u);
        t.whole_ones = EXTRA_WORD(t.at + 2u);
        t.at += 3u;
        t.left--;
    }
    bool none = t.visible == 0u;
    uint place = none ? 0u : uint(findLSB(t.visible));
    t.visible &= t.visible - 1u;
    t.begin = none ? 0xffffffffu : t.base + place * p.list_keys;
    t.end = none ? 0xffffffffu : t.begin + p.list_keys;
    t.whole = (t.whole_ones >> place & 1u) != 0u;
}

// At the first tile that has keys from key_begin on. An idle workgroup has no list.
TileWalk tile_walk(Walk w, uint tile, bool idle)
{
    TileWalk t = NO_TILES;
    if (IS_LISTED && !idle) {
        t.at = pc.x_base + p.x_lists + w.batch * p.lists_stride_b + w.head0 / GROUP * p.lists_stride_g + tile * p.lists_pitch;
        t.left = EXTRA_WORD(t.at);
        t.at++;
        do
            advance_tile(t);
        while (IS_PARTIAL && t.end <= w.key_begin);
    }
    return t;
}

uint listed_tile(inout TileWalk t, uint key)
{
    if (key >= t.end)
        advance_tile(t);
    return max(key, t.begin);
}

// Where the block mask has the row's line, and whether a key (that exists) lies in a block that the row sees.
uint block_line(Walk w, uint head, uint query)
{
    return pc.x_base + p.x_blocks + w.batch * p.x_blocks_stride_b + (head * p.heads_q / p.heads_out) * p.x_blocks_stride_h +
           query / p.block_q * p.x_blocks_pitch;
}

bool block_shows(uint line, uint key) { return EXTRA_WORD(line + key / p.block_k) != 0u; }
