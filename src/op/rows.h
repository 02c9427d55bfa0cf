/* What moving rows by index means: validation of a descriptor and its canonical problem. Knows nothing of devices. */
#ifndef RAPT_OP_ROWS_H
#define RAPT_OP_ROWS_H

#include "base/base.h"
#include <rapt/rows.h>

/* Tensors of a problem, in this order everywhere. */
enum { RAPT_M_X, RAPT_M_LIST, RAPT_M_WEIGHT, RAPT_M_OUT, RAPT_M_NORM_WEIGHT, RAPT_M_POSITIONS, RAPT_M_COUNT };

/* One tensor as (batch, heads, rows, inner). */
typedef struct rapt_rows_tensor {
    uint64_t heads, rows, inner;
    uint64_t stride[3]; /* elements, of batch, head, row; 0 where the axis has one entry or none */
    uint64_t bytes;     /* from the first to the end of the last element; 0: absent or empty */
    uint32_t element;   /* bytes */
    uint32_t align, usage;
    bool present;
} rapt_rows_tensor;

/* A validated problem: every default filled in. */
typedef struct rapt_rows_problem {
    rapt_dtype dtype;
    rapt_dtype format; /* of a quantised cache; RAPT_DTYPE_NONE: it is of `dtype` */
    uint32_t kind, head_dim;
    bool rewrites; /* placing: rows are normalised, turned or quantised */
    bool norm, rope_interleaved;
    float norm_epsilon;
    uint32_t rope_dim; /* 0: none */
    double rope_base;
    uint64_t batch, heads;
    uint64_t n, rows; /* what entries number; rows of out, placing: of x */
    uint64_t runs, run; /* placing: run is a page's slots */
    rapt_rows_tensor tensor[RAPT_M_COUNT];
    float slice_ms;
    uint64_t flops, bytes_read, bytes_written;
} rapt_rows_problem;

/* Fills `problem`. RAPT_ERROR_INVALID says which tensor, axis and value. */
rapt_status rapt_rows_problem_make(const rapt_rows_desc *desc, rapt_rows_problem *problem, rapt_error *error);

#endif
