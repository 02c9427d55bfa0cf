/* Neighbourhoods of a grid, from NATTEN's formula. */
#ifndef RAPT_CHECK_ORACLE_GRID_H
#define RAPT_CHECK_ORACLE_GRID_H

#include <rapt/attention.h>
#include <stdbool.h>

/* Whether query i sees key j, both as indices of the flattened grid. */
bool rapt_check_grid_sees(const rapt_grid *grid, uint64_t i, uint64_t j);
/* (query, key) pairs of one head that are seen. */
double rapt_check_grid_pairs(const rapt_grid *grid);

#endif
