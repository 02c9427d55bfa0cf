/* What linear attention means: validation of a descriptor and its canonical problem. Knows nothing of
 * devices. */
#ifndef RAPT_OP_LINEAR_H
#define RAPT_OP_LINEAR_H

#include "base/base.h"
#include <rapt/linear.h>

/* Tensors of a problem, in this order everywhere. DECAY is decay or gate. */
enum {
    RAPT_L_Q,
    RAPT_L_K,
    RAPT_L_V,
    RAPT_L_OUT,
    RAPT_L_A,
    RAPT_L_B,
    RAPT_L_DECAY,
    RAPT_L_BETA,
    RAPT_L_STATE_IN,
    RAPT_L_STATE_OUT,
    RAPT_L_NORM_IN,
    RAPT_L_NORM_OUT,
    RAPT_L_SCALE_Q,
    RAPT_L_SCALE_K,
    RAPT_L_COUNT
};

/* What the decay is. The numbers are those of kernels. */
enum { RAPT_DECAY_ONE, RAPT_DECAY_HEAD, RAPT_DECAY_TOKEN, RAPT_DECAY_CHANNEL };

#define RAPT_LINEAR_MAX_DIM 256u

/* One tensor as (batch, heads, rows, inner): rows are tokens, or the d_k rows of a state. */
typedef struct rapt_linear_tensor {
    uint64_t heads;
    uint64_t stride[3]; /* elements, of batch, head, row; 0 where the axis has one entry or none */
    uint64_t inner;     /* elements behind each other at each row */
    uint64_t bytes;     /* from the first to the end of the last element; 0: absent or empty */
    uint32_t element;   /* bytes */
    uint32_t align, usage;
    bool present;
} rapt_linear_tensor;

/* A validated problem: every default filled in, every irrelevant member zero. */
typedef struct rapt_linear_problem {
    rapt_dtype dtype;
    uint32_t d_k, d_v;
    uint64_t batch;         /* varlen: number of sequences */
    uint64_t heads, tokens; /* varlen: a bound on one sequence */
    uint64_t total;         /* length of the sequence axis */
    rapt_linear_tensor tensor[RAPT_L_COUNT];
    uint32_t rule, feature, feature_k, form, decay;
    bool log_decay, beta, normalize, in_place, varlen, empty;
    bool bidirectional, normalize_keys, standardize;
    bool mapped;            /* features are made by a pass of their own */
    float power;            /* of the map; poly: its order */
    float feature_scale;    /* of q before the map */
    uint32_t block, blocks; /* features of one block, and how many; states have block times blocks rows */
    float scale, slice_ms;
    uint32_t chunk; /* 0: choose */
    uint64_t workspace_limit;
    const uint64_t *positions; /* after which the state is wanted; those of the descriptor, or of a plan */
    uint32_t position_count;
    char kernel[64];
    /* Counts, of the recurrence; for varlen an upper bound. */
    uint64_t flops, bytes_read, bytes_written;
} rapt_linear_problem;

/* The part of rapt_linear_problem_make that features are: members, blocks. desc: checked but for them. */
rapt_status rapt_linear_problem_map(const rapt_linear_desc *desc, rapt_linear_problem *problem, rapt_error *error);

/* Fills `problem`. RAPT_ERROR_INVALID says which tensor, axis and value. */
rapt_status rapt_linear_problem_make(const rapt_linear_desc *desc, rapt_linear_problem *problem,
                                     rapt_error *error);

#endif
