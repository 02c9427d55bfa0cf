#include "plan/grid.h"

#include <string.h>

/* What a query tile costs besides its keys, in key tiles of 4: reading q and writing the output. From timings
 * on lavapipe. */
#define TILE_COST 4
#define MAX_TILES 8192  /* along one axis; of more so many are looked at, evenly, and stand for the others */
#define MAX_LENGTHS 256 /* distinct lengths of key boxes along one axis; see `collect` */

/* How many tiles of an axis, in all groups, have a key box of a length. */
typedef struct length {
    uint64_t length, tiles;
} length;

typedef struct lengths {
    length of[MAX_LENGTHS];
    unsigned count;
    bool same; /* in every tile all queries have the same window */
} lengths;

static void count_length(lengths *l, uint64_t value, uint64_t tiles)
{
    unsigned i = 0;
    while (i < l->count && l->of[i].length != value)
        i++;
    if (i == MAX_LENGTHS) { /* counted as another length: what is told of such a grid is about right */
        i--;
        l->same = false;
    } else if (i == l->count) {
        l->of[l->count++] = (length){value, 0};
    }
    l->of[i].tiles += tiles;
}

/* Within a grid tiles see a few lengths only; along a causal axis the first kernel_size / box tiles see fewer
 * keys the nearer they are to the border. */
static void collect(const rapt_grid *g, unsigned axis, uint32_t box, lengths *l)
{
    memset(l, 0, sizeof *l);
    l->same = true;
    const uint32_t longer = g->size[axis] % g->dilation[axis];
    const uint32_t groups[2] = {longer, g->dilation[axis] - longer};
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t n = g->size[axis] / g->dilation[axis] + (i == 0);
        if (groups[i] == 0)
            continue;
        const uint64_t tiles = rapt_div_up(n, box), looks = RAPT_MIN(tiles, MAX_TILES);
        l->same = l->same && tiles == looks;
        for (uint64_t look = 0; look < looks; look++) {
            const uint64_t tile = look * tiles / looks, y = tile * box,
                           stands_for = (look + 1) * tiles / looks - tile;
            uint32_t begin, end, last_begin, last_end;
            rapt_grid_window(g, axis, n, (uint32_t)y, &begin, &end);
            rapt_grid_window(g, axis, n, (uint32_t)RAPT_MIN(y + box, n) - 1, &last_begin, &last_end);
            l->same = l->same && begin == last_begin && end == last_end;
            count_length(l, last_end - begin, groups[i] * stands_for);
        }
    }
}

void rapt_grid_tile_as(const rapt_grid *g, const uint32_t box[RAPT_GRID_AXES], uint32_t keys_per_tile,
                       rapt_grid_tiling *out)
{
    lengths axes[RAPT_GRID_AXES];
    memset(out, 0, sizeof *out);
    out->tile_count = 1;
    out->whole = true;
    for (unsigned axis = 0; axis < RAPT_GRID_AXES; axis++) {
        collect(g, axis, box[axis], &axes[axis]);
        out->box[axis] = box[axis];
        out->tiles[axis] = (uint32_t)rapt_div_up(rapt_grid_length(g, axis, 0), box[axis]);
        out->tile_count *= (uint64_t)out->tiles[axis] * g->dilation[axis];
        out->whole = out->whole && axes[axis].same;
    }
    for (unsigned a = 0; a < axes[0].count; a++)
        for (unsigned b = 0; b < axes[1].count; b++)
            for (unsigned c = 0; c < axes[2].count; c++) {
                const length *x = &axes[0].of[a], *y = &axes[1].of[b], *z = &axes[2].of[c];
                const uint64_t keys = x->length * y->length * z->length,
                               tiles = rapt_div_up(keys, keys_per_tile);
                out->key_tiles += tiles * x->tiles * y->tiles * z->tiles;
                out->most_key_tiles = RAPT_MAX(out->most_key_tiles, tiles);
                out->whole = out->whole && keys % keys_per_tile == 0;
            }
}

void rapt_grid_tile(const rapt_grid *g, uint32_t rows, uint32_t keys_per_tile, rapt_grid_tiling *out)
{
    double best = 0;
    memset(out, 0, sizeof *out);
    for (uint32_t x = 1; x <= rows; x++) {
        if (rows % x != 0 || (x > 1 && g->rank < 3))
            continue;
        for (uint32_t y = 1; y <= rows / x; y++) {
            if (rows / x % y != 0 || (y > 1 && g->rank < 2))
                continue;
            rapt_grid_tiling t;
            rapt_grid_tile_as(g, (uint32_t[]){x, y, rows / x / y}, keys_per_tile, &t);
            const double cost = (double)t.key_tiles * keys_per_tile + 4.0 * TILE_COST * (double)t.tile_count;
            /* On a tie the longer rows: their places lie side by side in memory. */
            if (out->tile_count == 0 || cost < best) {
                best = cost;
                *out = t;
            }
        }
    }
}

rapt_grid_range rapt_grid_tokens(const rapt_grid *g, const rapt_grid_tiling *t, uint64_t tile0, uint64_t tile1)
{
    unsigned axis = 0; /* the slowest one that has places */
    while (axis + 1 < RAPT_GRID_AXES && g->size[axis] == 1)
        axis++;
    uint64_t tiles = 1, residues = 1, places = 1; /* of the axes behind it */
    for (unsigned a = axis + 1; a < RAPT_GRID_AXES; a++) {
        tiles *= t->tiles[a];
        residues *= g->dilation[a];
        places *= g->size[a];
    }
    const uint64_t in_group = tiles * t->tiles[axis], group = tile0 / in_group, last = tile1 - 1;
    if (last / in_group != group)
        return (rapt_grid_range){0, places * g->size[axis], 0, places * g->size[axis]};
    const uint32_t residue = (uint32_t)(group / residues), m = rapt_grid_length(g, axis, residue);
    const uint64_t first_y = tile0 / tiles % t->tiles[axis] * t->box[axis];
    const uint64_t end_y = (last / tiles % t->tiles[axis] + 1) * t->box[axis];
    const uint32_t y0 = (uint32_t)RAPT_MIN(first_y, m - 1), y1 = (uint32_t)RAPT_MIN(end_y, m) - 1;
    uint32_t begin, end, unused;
    rapt_grid_window(g, axis, m, y0, &begin, &unused);
    rapt_grid_window(g, axis, m, y1, &unused, &end);
    const uint64_t d = g->dilation[axis];
    return (rapt_grid_range){(y0 * d + residue) * places, (y1 * d + residue + 1) * places,
                             (begin * d + residue) * places, ((end - 1) * d + residue + 1) * places};
}

void rapt_grid_explain(const rapt_grid *g, const rapt_grid_tiling *tiling, uint32_t rows,
                       uint32_t keys_per_tile, bool json, rapt_text *t)
{
    const double places = (double)g->size[0] * g->size[1] * g->size[2], tiles = (double)tiling->tile_count;
    const double key_tiles = (double)tiling->key_tiles, pairs = (double)rapt_grid_pairs(g);
    const uint64_t count = (uint64_t)places;
    const double dense = (double)rapt_div_up(count, rows) * (double)rapt_div_up(count, keys_per_tile);
    const double visited = key_tiles / tiles * keys_per_tile;
    if (json) {
        rapt_text_add(t, "\"query_tile\":");
        rapt_grid_add_sizes(g, tiling->box, true, t);
        rapt_text_add(t,
                      ",\"query_tiles\":%.17g,\"key_tile\":%u,\"key_tiles\":%.17g,\"most_key_tiles\":%llu,"
                      "\"visited_keys_per_query\":%.6g,\"seen_keys_per_query\":%.6g,\"whole_tiles\":%s,"
                      "\"dense_key_tiles\":%.17g,\"speedup_bound\":%.6g,\"speedup_bound_of_pairs\":%.6g",
                      tiles, keys_per_tile, key_tiles, (unsigned long long)tiling->most_key_tiles, visited,
                      pairs / places, tiling->whole ? "true" : "false", dense, dense / key_tiles,
                      places * places / pairs);
        return;
    }
    rapt_text_add(t, "grid     queries in %.0f tiles of ", tiles);
    rapt_grid_add_sizes(g, tiling->box, false, t);
    rapt_text_add(
        t,
        " visit %.0f tiles of %u keys%s: %.4g keys a query, of which it sees %.4g\n"
        "         at most %.4gx the speed of all keys, by tiles; %.4gx, were only what is seen computed\n",
        key_tiles, keys_per_tile, tiling->whole ? ", all whole" : "", visited, pairs / places,
        dense / key_tiles, places * places / pairs);
}
