/* What linear attention is, in the fewest words: the recurrence, token by token. */
#ifndef RAPT_CHECK_ORACLE_LINEAR_H
#define RAPT_CHECK_ORACLE_LINEAR_H

#include <rapt/linear.h>
#include <stdbool.h>

/* Where element 0 of each tensor of a rapt_linear_desc lies in host memory; those that it has not are NULL.
 */
typedef struct rapt_check_linear_inputs {
    const void *q, *k, *v, *a, *b;
    const float *decay; /* or gate */
    const float *beta, *state_in, *norm_in;
    const int32_t *cu_seqlens; /* with desc->sequences; well-formed */
    const float *scale_q, *scale_k;
    double (*feature_map)(double x, uint64_t b, uint64_t h, uint64_t token, uint64_t i); /* of RAPT_PHI_USER */
} rapt_check_linear_inputs;

/* out: (batch, heads, N, d_v), state: (batch or sequences, heads, rows, d_v), norm: (batch or sequences, heads, rows), rows being
 * rapt_check_linear_rows (times positions + 1, with positions), all contiguous; state and norm may be NULL. Outputs of tokens outside every sequence are left
 * alone. `single`: every operation is rounded to single precision, and the output to its storage type: the
 * plainest implementation, which tolerances are earned from (compare.h). false: no memory. */
bool rapt_check_linear(const rapt_linear_desc *desc, const rapt_check_linear_inputs *in, bool single,
                       double *out, double *state, double *norm);
/* Rows of a state: d_k, or for maps of products as rapt/linear.h says. */
uint64_t rapt_check_linear_rows(const rapt_linear_desc *desc);

#endif
