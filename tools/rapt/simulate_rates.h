/* What one device does a second, for rapt simulate: measured here, or read from a file of rapt bench. */
#ifndef RAPT_TOOL_SIMULATE_RATES_H
#define RAPT_TOOL_SIMULATE_RATES_H

#include "tool.h"

#include <rapt/simulate.h>

/* 0: not known, or not asked for. */
typedef struct simulate_rates {
    double flops, linear_flops, memory, copy, copy_call, call; /* as in rapt_cluster */
    char from[700];                                 /* where they come from, in words */
} simulate_rates;

/* The problem whose rates are wanted; tokens and keys: how many to measure with. */
typedef struct simulate_problem {
    rapt_dtype dtype;
    uint64_t batch, q_heads, kv_heads, d_qk, d_v, tokens, keys;
    bool causal, attention, decode, linear; /* what is wanted */
} simulate_problem;

/* On an open device: medians of several runs through the public API. An exit code. */
int simulate_measure(rapt_device *device, const simulate_problem *p, simulate_rates *out);
/* From the first device of a file that `rapt bench --json` wrote: the cases nearest in dtype and head_dim. */
bool simulate_read_rates(const char *path, const simulate_problem *p, simulate_rates *out, rapt_error *error);

#endif
