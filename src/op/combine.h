/* What putting tensors together means: validation of a descriptor and its canonical problem. Knows nothing of devices. */
#ifndef RAPT_OP_COMBINE_H
#define RAPT_OP_COMBINE_H

#include "base/base.h"
#include <rapt/combine.h>

/* Tensors of a problem, in this order everywhere. The gate is at the third term's place, the log-sum-exp at the norm's. */
enum { RAPT_C_X0, RAPT_C_X1, RAPT_C_X2, RAPT_C_W0, RAPT_C_W1, RAPT_C_W2, RAPT_C_NORM, RAPT_C_OUT, RAPT_C_COUNT };

/* One of them as (batch, heads, n, inner). */
typedef struct rapt_combine_tensor {
    uint64_t stride[3]; /* elements; 0 where all along the axis have the same */
    uint64_t inner;
    uint64_t bytes; /* from the first to the end of the last element; 0: absent or empty */
    uint32_t element, align, usage;
    bool present;
} rapt_combine_tensor;

/* A validated problem: every default filled in, every irrelevant member zero. */
typedef struct rapt_combine_problem {
    rapt_dtype dtype, from; /* of out; of terms and gate */
    uint64_t batch, heads, n, d;
    rapt_combine_tensor tensor[RAPT_C_COUNT];
    uint32_t terms, weights; /* rapt_combine_weights */
    uint32_t gate_kind, top, act; /* rapt_gate_kind; of RAPT_COMBINE_TOP; rapt_combine_act */
    bool norm, gate, lse, top_normalise, empty;
    float factor[RAPT_COMBINE_TERMS], out_factor, offset, epsilon, slice_ms;
    uint64_t flops, bytes_read, bytes_written;
} rapt_combine_problem;

/* Fills `problem`. RAPT_ERROR_INVALID says which tensor, axis and value. */
rapt_status rapt_combine_problem_make(const rapt_combine_desc *desc, rapt_combine_problem *problem, rapt_error *error);

#endif
