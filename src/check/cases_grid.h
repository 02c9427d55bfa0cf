#ifndef RAPT_CHECK_CASES_GRID_H
#define RAPT_CHECK_CASES_GRID_H

#include "cases.h"

#include <stddef.h>

/* What cases.c takes into the list. */
extern const rapt_case rapt_grid_cases[];
extern const size_t rapt_grid_case_count;
rapt_case rapt_grid_case_random(rapt_random *random);
/* What a case's name says of its grid. */
void rapt_grid_case_name(const rapt_grid *grid, char *text, size_t capacity);
/* The same backwards: what stands at *at, which moves behind it; nothing there: no grid. False: it is wrong,
 * or of another number of places. */
bool rapt_grid_case_parse(const char **at, uint64_t places, rapt_grid *grid);

#endif
