/* What rapt/combine.h says, element by element: the oracle of its kernel. */
#ifndef RAPT_CHECK_ORACLE_COMBINE_H
#define RAPT_CHECK_ORACLE_COMBINE_H

#include <rapt/combine.h>
#include <stdbool.h>

/* Where element 0 of each tensor of a rapt_combine_desc lies in host memory. */
typedef struct rapt_check_combine_inputs {
    const void *x[RAPT_COMBINE_TERMS], *gate;
    const float *weight[RAPT_COMBINE_TERMS], *norm_weight;
} rapt_check_combine_inputs;

/* One row: out of d elements and, unless NULL, the log-sum-exp. single: every operation rounded to single precision, and the
 * output to its type; else double throughout. */
void rapt_check_combine_row(const rapt_combine_desc *desc, const rapt_check_combine_inputs *in, const uint64_t row[3], bool single,
                            double *out, double *lse);

#endif
