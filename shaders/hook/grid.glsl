// Hook "grid": neighbourhoods of a grid in place of a sequence (src/op/grid.h says what a query sees, src/plan/grid.h what
// tiles are). Included by hook/walk.glsl where the build defines GRID.
//
// A workgroup's rows are the places of a box of one group, GRID_ROWS of them (the kernel defines that), the last axis fastest;
// those beyond the group's end repeat its last places and are not stored. Its keys are those of the box that holds the
// windows of all its queries, numbered likewise from 0 to grid.volume - 1. `token` is the index of a query or key in its
// sequence. Vectors are by axis, the slowest first; axes in front that the grid lacks have one place. GRID_RANK: a
// specialization constant.
#define GRID_AXES(v) uvec3(GRID_RANK > 2u ? (v).x : 1u, GRID_RANK > 1u ? (v).y : 1u, (v).z)

struct Grid {
    uvec3 residue, places; // the group: x mod dilation, and how many places it has
    uvec3 first;           // the tile's first query
    bool idle;             // beyond the end of this group
    uvec3 key_first, key_count;
    uint volume;
    bool same;             // every query sees all these keys
    uvec3 steps;           // from key to key of the box, in tokens
    uint token;            // of the first key
} grid;

// Windows along each axis: what the query at place y sees, [begin, end).
struct Window {
    uvec3 begin, end;
};

Window grid_window(uvec3 y)
{
    uvec3 k = GRID_AXES(p.grid_kernel), s = GRID_AXES(p.grid_stride);
    bvec3 causal = notEqual(uvec3(p.grid_causal) >> uvec3(0u, 1u, 2u) & 1u, uvec3(0u));
    uvec3 leader = min(y - y % s + mix(s >> 1u, s - 1u, causal), grid.places - 1u);
    uvec3 begin = leader - min(mix(k >> 1u, k - 1u, causal), leader);
    begin = mix(min(begin, grid.places - k), begin, causal);
    return Window(begin, mix(begin + k, y + 1u, causal));
}

// The place after one, row by row, of a window.
uvec3 grid_next(Window w, uvec3 y)
{
    y.z++;
    if (y.z == w.end.z) {
        y.z = w.begin.z;
        y.y++;
    }
    if (y.y == w.end.y) {
        y.y = w.begin.y;
        y.x++;
    }
    return y;
}

// The token of a place of the group.
uint grid_token_of(uvec3 place)
{
    uvec3 n = GRID_AXES(p.grid_size), x = place * GRID_AXES(p.grid_dilation) + grid.residue;
    return (x.x * n.y + x.y) * n.z + x.z;
}

void grid_begin(uint tile)
{
    uvec3 tiles = GRID_AXES(p.grid_tiles), box = GRID_AXES(p.grid_box), d = GRID_AXES(p.grid_dilation);
    uvec3 n = GRID_AXES(p.grid_size);
    uint group = tile / tiles.z, groups = group / tiles.y;
    grid.first = uvec3(groups % tiles.x, group % tiles.y, tile % tiles.z) * box;
    uint rest = groups / tiles.x;
    grid.residue = uvec3(rest / d.z / d.y, rest / d.z % d.y, rest % d.z);
    grid.places = (n - grid.residue + d - 1u) / d;
    grid.idle = any(greaterThanEqual(grid.first, grid.places));
    Window a = grid_window(min(grid.first, grid.places - 1u)), b = grid_window(min(grid.first + box, grid.places) - 1u);
    grid.key_first = a.begin;
    grid.key_count = b.end - a.begin;
    grid.volume = grid.key_count.x * grid.key_count.y * grid.key_count.z;
    grid.same = all(equal(a.begin, b.begin)) && all(equal(a.end, b.end));
    grid.steps = d * uvec3(n.y * n.z, n.z, 1u);
    grid.token = grid_token_of(grid.key_first);
}

// Where a row is in the group, were the group long enough. GRID_ROWS is small: the quotients are exact.
uvec3 grid_row(uint row)
{
    uvec3 box = GRID_AXES(p.grid_box);
    uint i = row % GRID_ROWS;
    uint line = uint((float(i) + 0.5) / float(box.z)), plane = uint((float(line) + 0.5) / float(box.y));
    return grid.first + uvec3(plane, line - plane * box.y, i - line * box.z);
}
uvec3 grid_place(uint row) { return min(grid_row(row), grid.places - 1u); }

uint walk_rows(Walk w) { return 0xffffffffu; }
bool row_exists(uint row, uint rows) { return all(lessThan(grid_row(row), grid.places)); }
uint row_query(uint row) { return grid_token_of(grid_place(row)); }

// Keys, as places in the box. Counting on from the last one the slowest axis grows beyond the box, where no query sees
// anything, and the token is the last key's.
void grid_advance(inout uvec3 key)
{
    key.z++;
    if (GRID_RANK > 1u) {
        bool carry = key.z == grid.key_count.z;
        key.z = carry ? 0u : key.z;
        key.y += carry ? 1u : 0u;
    }
    if (GRID_RANK > 2u) {
        bool carry = key.y == grid.key_count.y;
        key.y = carry ? 0u : key.y;
        key.x += carry ? 1u : 0u;
    }
}

uvec3 grid_key(uint number)
{
    uint line = GRID_RANK > 1u ? number / grid.key_count.z : 0u;
    uint plane = GRID_RANK > 2u ? line / grid.key_count.y : 0u;
    return uvec3(plane, line - plane * grid.key_count.y, number - line * grid.key_count.z);
}

uint grid_key_token(uvec3 key)
{
    uint token = grid.token + (GRID_RANK == 1u ? min(key.z, grid.key_count.z - 1u) : key.z) * grid.steps.z;
    if (GRID_RANK > 1u)
        token += (GRID_RANK == 2u ? min(key.y, grid.key_count.y - 1u) : key.y) * grid.steps.y;
    if (GRID_RANK > 2u)
        token += min(key.x, grid.key_count.x - 1u) * grid.steps.x;
    return token;
}
