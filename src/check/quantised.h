/* Quantised rows on the host, as rapt/tensor.h has them. */
#ifndef RAPT_CHECK_QUANTISED_H
#define RAPT_CHECK_QUANTISED_H

#include <rapt/tensor.h>
#include <stdbool.h>
#include <stdint.h>

bool rapt_check_is_quantised(rapt_dtype dtype);
/* Words of a row; 0 of other dtypes. */
uint64_t rapt_check_row_words(rapt_dtype dtype, uint64_t dim);
/* Writes a whole row, and reads one. */
void rapt_check_quantise(rapt_dtype dtype, const float *x, uint64_t dim, uint32_t *row);
void rapt_check_dequantise(rapt_dtype dtype, const uint32_t *row, uint64_t dim, float *x);
/* How far what is read may be from x, whose block has `largest` as its largest |x|: half a step, and
 * roundings. */
double rapt_check_quantised_bound(rapt_dtype dtype, double x, double largest);

#endif
