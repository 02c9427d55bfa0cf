/* How a grid's queries and keys are tiled: pure, and what `rapt explain` predicts from. */
#ifndef RAPT_PLAN_GRID_H
#define RAPT_PLAN_GRID_H

#include "op/grid.h"

/* A tile of queries is a box of one group, `box` places along each axis. It visits the keys of the smallest
 * box that holds all its queries' windows, in rows of the last axis, some keys_per_tile of them at a time:
 * these are the tiles of keys. Tiles are numbered group by group, axis by axis, the last one fastest; those
 * that lie beyond a shorter group are empty. */
typedef struct rapt_grid_tiling {
    uint32_t box[RAPT_GRID_AXES];
    uint32_t tiles[RAPT_GRID_AXES]; /* along each axis, in a group */
    uint64_t tile_count;            /* of all groups */
    uint64_t key_tiles; /* visited by all query tiles of a head together; an estimate where an axis has more
                         * than 8,192 tiles */
    uint64_t most_key_tiles; /* by one query tile */
    bool whole;              /* every query sees every key of every key tile that its tile visits */
} rapt_grid_tiling;

/* The tiling that costs least of those with `rows` queries a tile. */
void rapt_grid_tile(const rapt_grid *grid, uint32_t rows, uint32_t keys_per_tile, rapt_grid_tiling *out);
/* The same for a box that is given. */
void rapt_grid_tile_as(const rapt_grid *grid, const uint32_t box[RAPT_GRID_AXES], uint32_t keys_per_tile,
                       rapt_grid_tiling *out);

/* The queries, and the keys that they visit, of the tiles [tile0, tile1), as ranges of the flattened grid that hold them:
 * narrow where the tiles are of one group. */
typedef struct rapt_grid_range {
    uint64_t q0, q1, k0, k1;
} rapt_grid_range;
rapt_grid_range rapt_grid_tokens(const rapt_grid *grid, const rapt_grid_tiling *tiling, uint64_t tile0,
                                 uint64_t tile1);

/* What a tiling comes to, with `rows` queries and `keys_per_tile` keys a tile: a line of text, or members of
 * a JSON object. Its speed-up bound is against the same kernel with all keys, by the tiles that both visit;
 * that of pairs is what computing only what is seen would give. */
void rapt_grid_explain(const rapt_grid *grid, const rapt_grid_tiling *tiling, uint32_t rows,
                       uint32_t keys_per_tile, bool json, rapt_text *text);
#endif
