/* What scans are, in the fewest words: each formula of include/rapt/scan.h, token by token. */
#ifndef RAPT_CHECK_ORACLE_SCAN_H
#define RAPT_CHECK_ORACLE_SCAN_H

#include <rapt/scan.h>
#include <stdbool.h>

/* Where element 0 of each tensor of a rapt_scan_desc lies in host memory; those that it has not are NULL. */
typedef struct rapt_check_scan_inputs {
    const void *x, *z;
    const float *a, *scores, *b, *c, *dt, *skip, *weight, *bias, *state_in;
    const int32_t *cu_seqlens; /* with desc->sequences; well-formed */
} rapt_check_scan_inputs;

/* out: (batch, heads, N, d), state: (batch or sequences, heads, d, s), both contiguous; state may be NULL. Outputs of tokens
 * outside every sequence are left alone.  `single`: every operation is rounded to single precision, and the output to its
 * storage type: the plainest implementation, which tolerances are earned from (compare.h).  false: no memory. */
bool rapt_check_scan(const rapt_scan_desc *desc, const rapt_check_scan_inputs *in, bool single, double *out,
                     double *state);

#endif
