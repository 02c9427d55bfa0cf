/* What a scan means: validation of a descriptor and its canonical problem. Knows nothing of devices. */
#ifndef RAPT_OP_SCAN_H
#define RAPT_OP_SCAN_H

#include "base/base.h"
#include <rapt/scan.h>

/* Tensors of a problem, in this order everywhere. */
enum {
    RAPT_S_X,
    RAPT_S_COEF, /* a, or scores */
    RAPT_S_B, /* or weight */
    RAPT_S_OUT,
    RAPT_S_C,
    RAPT_S_DT,
    RAPT_S_Z,
    RAPT_S_SKIP, /* or bias */
    RAPT_S_STATE_IN,
    RAPT_S_STATE_OUT,
    RAPT_S_COUNT
};

/* Axes of a tensor as kernels see it; one that a tensor has not has stride 0. NUMBER: of a channel's n states, or taps. */
enum { RAPT_S_BATCH, RAPT_S_HEAD, RAPT_S_TOKEN, RAPT_S_CHANNEL, RAPT_S_NUMBER, RAPT_S_AXES };

/* What the coefficients of a linear scan are. The numbers are those of kernels. */
enum { RAPT_COEF_ONE, RAPT_COEF_SHARED, RAPT_COEF_CHANNEL }; /* none; one number for all channels of a head; one for each */

typedef struct rapt_scan_tensor {
    uint64_t size[RAPT_S_AXES]; /* 1 where it has no such axis */
    uint64_t stride[RAPT_S_AXES];
    uint64_t bytes; /* from the first to the end of the last element; 0: absent or empty */
    uint32_t element; /* bytes */
    uint32_t align, usage;
    bool present;
    bool whole; /* it is read anywhere from everywhere: weights */
} rapt_scan_tensor;

/* A validated problem: every default filled in, every irrelevant member zero. */
typedef struct rapt_scan_problem {
    rapt_dtype dtype;
    rapt_scan_op op;
    uint32_t flags; /* rapt_scan_flags */
    uint32_t coef;  /* RAPT_COEF_* */
    uint32_t channels; /* of a head: d */
    uint32_t states;   /* numbers of state a channel */
    uint64_t batch;    /* varlen: number of sequences */
    uint64_t heads, tokens; /* varlen: a bound on one sequence */
    uint64_t total;         /* length of the sequence axis */
    rapt_scan_tensor tensor[RAPT_S_COUNT];
    uint32_t form, act, ahead;
    uint32_t taps[2]; /* of convolutions: along tokens, or KY and KX */
    bool generated;   /* every token has taps of its own */
    bool varlen, empty;
    float slice_ms;
    uint32_t chunk; /* 0: choose */
    uint64_t workspace_limit;
    char kernel[64];
    /* Counts, of the recurrence; for varlen an upper bound. */
    uint64_t flops, bytes_read, bytes_written;
} rapt_scan_problem;

/* Fills `problem`. RAPT_ERROR_INVALID says which tensor, axis and value. */
rapt_status rapt_scan_problem_make(const rapt_scan_desc *desc, rapt_scan_problem *problem, rapt_error *error);

/* Whether tokens wait for those before them. */
static inline bool rapt_scan_recurs(const rapt_scan_problem *p)
{
    return p->op < RAPT_SCAN_CONV;
}

/* Numbers that what a chunk does to a state takes, for each channel: of what it multiplies by, and of what it adds. */
uint32_t rapt_scan_planes(const rapt_scan_problem *problem);

#endif
