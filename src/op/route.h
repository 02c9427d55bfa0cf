/* What routing means: validation of a descriptor and its canonical problem. Knows nothing of devices. */
#ifndef RAPT_OP_ROUTE_H
#define RAPT_OP_ROUTE_H

#include "base/base.h"
#include <rapt/route.h>

/* Tensors of a problem, in this order everywhere. */
enum { RAPT_R_Q, RAPT_R_K, RAPT_R_SUMMARY, RAPT_R_SCORES, RAPT_R_MASK, RAPT_R_LIST, RAPT_R_WITHIN, RAPT_R_COUNT };

/* One tensor as (batch, heads, rows, inner): rows are tokens, blocks or tiles. */
typedef struct rapt_route_tensor {
    uint64_t stride[3]; /* elements, of batch, head, row; 0 where the axis has one entry or none */
    uint64_t inner;     /* elements behind each other at each row */
    uint64_t bytes;     /* from the first to the end of the last element; 0: absent or empty */
    uint32_t element;   /* bytes */
    uint32_t align, usage;
    bool present;
} rapt_route_tensor;

/* A validated problem: every default filled in, every irrelevant member zero. */
typedef struct rapt_route_problem {
    rapt_dtype dtype; /* of q and k */
    uint32_t head_dim;
    uint64_t batch, heads_q, heads_k, row_heads;
    uint64_t nq, nk, block_q, block_k, tiles, blocks;
    rapt_route_tensor tensor[RAPT_R_COUNT];
    uint32_t summarise, select, queries, heads;
    bool causal, scores_given;
    bool rates, selects;   /* scores are made; blocks are taken */
    uint64_t first_block;  /* blocks from it on are summarised */
    uint64_t within_blocks; /* of an entry of RAPT_R_WITHIN; 0: there is none */
    uint64_t landmark, top_k, list_size, list_heads, always_first, always_last, skip;
    int32_t diagonal;      /* query i stands at key position i + diagonal */
    float threshold, mass, scale, slice_ms;
    uint64_t workspace_limit;
    bool empty;
    uint64_t flops, bytes_read, bytes_written;
} rapt_route_problem;

/* Fills `problem`. RAPT_ERROR_INVALID says which tensor, axis and value. */
rapt_status rapt_route_problem_make(const rapt_route_desc *desc, rapt_route_problem *problem, rapt_error *error);

#endif
