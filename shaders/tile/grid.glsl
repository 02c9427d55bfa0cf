// What the rows of a tile see of a grid, and the keys of the tile at hand, in shared memory: who needs one of them is another
// invocation than who worked it out.
shared uvec4 grid_begins[TILE_ROWS]; // of a row's windows, as places in the box of keys; w: its segment
shared uvec4 grid_counts[TILE_ROWS]; // how many places they have
shared uvec4 grid_keys[TILE_KEYS];   // places in the box of keys; w: the token

// By number in the tile.
#define KEY_TOKEN(i) grid_keys[i].w
#define USER_KEY(i) grid_keys[i].w
#define ALL_SEE(key0) (IS_SEGMENTS ? false : grid.same && key0 + TILE_KEYS <= grid.volume)
#define SEES(r, c) grid_sees(w, tile_row(r), lane + LANES * c)

// Both are followed by a barrier before what they wrote is read: that of grid_load_keys.
void grid_load_rows(Walk w, uint row0)
{
    for (uint i = gl_LocalInvocationIndex; i < TILE_ROWS; i += WG_SIZE) {
        Window window = grid_window(grid_place(row0 + i));
        uint segment = 0u;
        if (IS_SEGMENTS)
            segment = key_segment(w, row_query(row0 + i));
        grid_begins[i] = uvec4(window.begin - grid.key_first, segment);
        grid_counts[i] = uvec4(window.end - window.begin, 0u);
    }
}

void grid_load_keys(Walk w, uint key0)
{
    barrier(); // everyone is done with the keys before
    for (uint i = gl_LocalInvocationIndex; i < TILE_KEYS; i += WG_SIZE) {
        uvec3 key = grid_key(key0 + i);
        grid_keys[i] = uvec4(key, grid_key_token(key));
    }
    barrier();
}

bool grid_sees(Walk w, uint row, uint i)
{
    uvec4 key = grid_keys[i], begin = grid_begins[row], count = grid_counts[row];
    bool seen = key.z - begin.z < count.z;
    if (GRID_RANK > 1u)
        seen = seen && key.y - begin.y < count.y;
    if (GRID_RANK > 2u)
        seen = seen && key.x - begin.x < count.x;
    if (IS_SEGMENTS)
        seen = seen && key_segment(w, key.w) == begin.w;
    return seen;
}
