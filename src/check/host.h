/* A problem as rapt_group_attention takes it: tensors in host memory, and outputs that are held against the oracle's.
 */
#ifndef RAPT_CHECK_HOST_H
#define RAPT_CHECK_HOST_H

#include "problem.h"

#include <rapt/sched.h>

typedef struct rapt_check_host {
    rapt_check_problem problem;
    rapt_group_attention_args args;
    void *out, *lse; /* memory of the outputs; the tensors begin at args.out and args.lse */
    double tolerance; /* of out, earned; for kernels whose weights are 16-bit rapt_check_problem_half_weights is the one */
} rapt_check_host;

/* A case whose oracle takes about `work` multiply-adds: about every so many-th row where that is not enough for all. false: no memory.
 * Free in any case. Modifiers and caches beyond q, k, v and packed sequences are not passed on. */
bool rapt_check_host_make(const rapt_case *c, double work, rapt_check_host *host);
void rapt_check_host_free(rapt_check_host *host);
/* The output against the oracle's, in the rows that it has; `message` says how far off the worst is. */
bool rapt_check_host_right(const rapt_check_host *host, char *message, size_t capacity);

#endif
