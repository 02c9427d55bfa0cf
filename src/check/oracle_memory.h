/* What rapt/memory.h says, token by token: the oracle of its kernel, and of systems with such memories. */
#ifndef RAPT_CHECK_ORACLE_MEMORY_H
#define RAPT_CHECK_ORACLE_MEMORY_H

#include <rapt/memory.h>
#include <stdbool.h>

/* One head's sequence: rows of n tokens without gaps. */
typedef struct rapt_check_memory {
    rapt_memory_form form;
    rapt_memory_act act;
    uint64_t n, d, d_v, hidden, chunk;
    bool read_start;
    const double *q, *k, *v; /* (n, d), (n, d), (n, d_v) */
    const double *rates;     /* (n, 3): alpha, eta, theta; of softmax NULL */
    const double *state;     /* what it begins with, rapt_memory_numbers; NULL: nothing */
} rapt_check_memory;

/* out: (n, d_v); state: rapt_memory_numbers, or NULL. single: every operation is rounded to single precision, what an output's type
 * makes of it is the caller's. false: no memory. */
bool rapt_check_memory_run(const rapt_check_memory *memory, bool single, double *out, double *state);

#endif
