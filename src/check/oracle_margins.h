/* What col_sums and row_max of attention are to be, from attention itself. */
#ifndef RAPT_CHECK_ORACLE_MARGINS_H
#define RAPT_CHECK_ORACLE_MARGINS_H

#include "oracle_attention.h"

/* With V = 1 the output is the weights themselves: column sums are sums of its rows. And the largest score of a row is the
 * logarithm of its largest softmax weight, plus the row's log-sum-exp.
 *
 * col_sums, columns: as desc->col_sums has them; row_max, rows: (batch, heads, nq); contiguous, flags as of
 * rapt_check_attention_f64, a column's being RAPT_ROW_ANY where a query that sees it sees a NaN or an infinity.
 * Either pair may be NULL. Not with a gate, nor with pages and a key_bias at once. False when there is no memory. */
bool rapt_check_margins_f64(const rapt_attention_desc *desc, const rapt_check_inputs *in, double *col_sums,
                            uint8_t *columns, double *row_max, uint8_t *rows);

#endif
