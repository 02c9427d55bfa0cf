/* What rows become as they are placed in a cache (rapt/rows.h), in double precision. */
#ifndef RAPT_CHECK_ORACLE_ROWS_H
#define RAPT_CHECK_ORACLE_ROWS_H

#include <rapt/rows.h>

/* A row of head_dim elements before it is rounded or quantised: x over its root mean square, times the
 * weights (NULL: none), and turned by its position (RoFormer, arXiv:2104.09864). In place. */
void rapt_check_place_row(const rapt_rows_desc *desc, uint64_t head_dim, const float *weights,
                          int32_t position, double *x);

#endif
