/* Neighbourhoods of a grid: which keys a query sees. Knows nothing of devices. */
#ifndef RAPT_OP_GRID_H
#define RAPT_OP_GRID_H

#include "base/base.h"
#include <rapt/attention.h>

/* In a problem a grid has three axes whatever its rank, the slowest first: those in front that it lacks are 1
 * long, with kernel, dilation and stride 1. rank 0: no grid, and all zero. An axis is cut into `dilation`
 * groups, x mod dilation; within a group places are numbered y = x / dilation, and windows are ranges of
 * them. */
#define RAPT_GRID_AXES 3

/* Checks what the caller gave and fills `out` as above. `tokens`: the length that the grid must come to. */
rapt_status rapt_grid_check(const rapt_grid *given, uint64_t tokens, rapt_grid *out, rapt_error *error);

/* Places in the group `residue` of an axis. */
uint32_t rapt_grid_length(const rapt_grid *grid, unsigned axis, uint32_t residue);
/* What the query at place y of a group of this length sees along an axis: the places [*begin, *end), never
 * none. Both ends never fall as y grows, and the windows of neighbours overlap or touch. */
void rapt_grid_window(const rapt_grid *grid, unsigned axis, uint32_t length, uint32_t y, uint32_t *begin,
                      uint32_t *end);
/* Whether a query sees a key, both as indices of the flattened grid. */
bool rapt_grid_sees(const rapt_grid *grid, uint64_t query, uint64_t key);
/* (query, key) pairs of one head that are visible; saturates. */
uint64_t rapt_grid_pairs(const rapt_grid *grid);

/* In words: ", grid 64x64, kernel 7x7, .." or the members of a JSON object. */
void rapt_grid_describe(const rapt_grid *grid, bool json, rapt_text *text);
/* "4x8" or [4,8], of the axes that there are. */
void rapt_grid_add_sizes(const rapt_grid *grid, const uint32_t values[RAPT_GRID_AXES], bool json,
                         rapt_text *text);

#endif
