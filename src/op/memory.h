/* What a memory that learns means: validation of a descriptor and its canonical problem. Knows nothing of devices. */
#ifndef RAPT_OP_MEMORY_H
#define RAPT_OP_MEMORY_H

#include "base/base.h"
#include <rapt/memory.h>

/* Tensors of a problem, in this order everywhere. */
enum { RAPT_MEM_Q, RAPT_MEM_K, RAPT_MEM_V, RAPT_MEM_OUT, RAPT_MEM_RATES, RAPT_MEM_STATE_IN, RAPT_MEM_STATE_OUT, RAPT_MEM_COUNT };

/* One of them as (batch, heads, n, inner); states have one n. */
typedef struct rapt_memory_tensor {
    uint64_t stride[3]; /* elements; 0 where all along the axis have the same */
    uint64_t rows, inner;
    uint64_t bytes; /* from the first to the end of the last element; 0: absent or empty */
    uint32_t element, align, usage;
    bool present;
} rapt_memory_tensor;

/* A validated problem: every default filled in, every irrelevant member zero. */
typedef struct rapt_memory_problem {
    rapt_dtype dtype;
    uint64_t batch, heads, n;
    uint32_t d, d_v, hidden, chunk; /* hidden 0: no MLP */
    uint32_t form, act;             /* rapt_memory_form, rapt_memory_act */
    bool read_start;
    uint64_t weights, numbers; /* of M; of a head's state */
    rapt_memory_tensor tensor[RAPT_MEM_COUNT];
    float slice_ms;
    uint64_t workspace_limit;
    uint64_t flops, bytes_read, bytes_written;
} rapt_memory_problem;

/* Fills `problem`. RAPT_ERROR_INVALID says which tensor, axis and value. */
rapt_status rapt_memory_problem_make(const rapt_memory_desc *desc, rapt_memory_problem *problem, rapt_error *error);

#endif
