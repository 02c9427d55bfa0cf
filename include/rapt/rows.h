/* Rows by index as an operator: gathering rows that a list names, and putting them back, which is what routing's lists are for; placing
 * new rows in a cache. Part of rapt (MIT licence). */
#ifndef RAPT_ROWS_H
#define RAPT_ROWS_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rapt_rows_kind {
    RAPT_ROWS_GATHER = 0,   /* out row i is x row list[i] */
    RAPT_ROWS_SCATTER,      /* out row list[i] is x row i; the sum where several runs name it */
    RAPT_ROWS_SCATTER_MEAN, /* .. the mean */
    RAPT_ROWS_PLACE,        /* x row i is written to slot list[i] of a cache, and nothing else is: new keys or values behind old ones */
    RAPT_ROWS_KIND_COUNT
} rapt_rows_kind;

/* x       (batch, heads, n or m, d)  f32, f16 or bf16; gathered from: n rows, scattered: m
 * list    (batch, heads, m) int32, the numbers of rows, n of them in all. An entry that is no such number (-1, say) names none:
 *         gathered, it gives zeros
 * weight  (batch, heads, n) float32; absent: 1. Rows are multiplied by the weight of the row that they come from or go to
 * out     (batch, heads, m or n, d)  of the dtype of x; scattered: rows that no entry names are 0
 *
 * Placing: out is a cache (pages, heads, page_size, d) with the heads of x, any strides; slot s is place s % page_size of page
 * s / page_size, and list, (batch or 1, heads or a divisor, m), has slots, each at most once; -1 or what is no slot: the row is left
 * out. This is how caches grow, in whatever form attention reads them: pages of a pool with a block table (slot = page page_size +
 * place), a tensor with room for nk keys for each batch entry (pages are batch entries, page_size nk), or a ring (slot = position
 * modulo its size; sinks before it). The window of a head over all pages must fit one binding. No weight.
 *
 * Rows may be rewritten as they are placed, in float32, in this order:
 *
 * norm        with RAPT_ROWS_NORM: x / sqrt(mean(x^2) + norm_epsilon)
 * norm_weight (d) float32: times it, element by element; with RAPT_ROWS_NORM
 * rope        with rope_base: pairs of elements are turned as rapt/attention.h turns them, by the row's own position, an entry of
 *             positions, (batch or 1, m) int32, any number
 * quantised   with out of RAPT_INT8, RAPT_INT4 or RAPT_FP8, whose last axis is the words of a row (rapt/tensor.h); blocks whose
 *             largest |x| is below 2^-100 become 0
 *
 * Queries take the same way: a list of 0 .. m - 1, and a "cache" with a page for each batch entry.
 *
 * Decoding with a window of W tokens (local layers), or with S sinks before it (streaming heads, as of StreamingLLM, arXiv:2309.17453,
 * and DuoAttention, arXiv:2410.10819): the cache has room for S + W keys, token p goes to slot p < S ? p : S + (p - S) % W, turned by
 * position p, and attention reads the cache with k_lengths min(p + 1, S + W), without causality and window: what is there is what is
 * seen, and keys that are turned need no order. Of streaming heads beside others, either kind has a cache and a call of its own, over
 * the heads that are its own by strides. tools/gemma decodes so. */
/* Keys and values that the device has no room for lie in host memory (rapt_buffer_create_host) and come back by index, as Landmark
 * Attention, Ltri-LLM and S3-Attention retrieve theirs, without the host's doing:
 *
 *   new rows      are placed there like in any cache, and summaries of blocks, which stay on the device, grow (rapt/route.h)
 *   each step     a route takes blocks by their summaries and lists them; the list gathers them, (1, kv_heads, nk / block_k, block_k
 *                 head_dim) being what keys are as rows of whole blocks, into a pool of top_k blocks on the device; attention reads
 *                 the pool
 *
 * No more than the pool is ever on the device. As nodes of a graph (rapt/graph.h), with two pools taking turns, the next layer's blocks
 * come while this one's attention runs: nothing ties them. tests/spill_test.c does all of this. */

typedef enum rapt_rows_flags {
    RAPT_ROWS_NORM = 1,
    RAPT_ROWS_ROPE_INTERLEAVED = 2, /* rope turns the pairs (2i, 2i + 1) instead of (i, i + rope_dim / 2) */
} rapt_rows_flags;

/*
 *
 * Scattering looks a row up in the list, which is therefore made of `runs` runs of m / runs entries, each rising up to its first
 * entry below 0, as rapt_route_desc.list is: no order of writing decides anything. Heads are those of out; each other tensor may
 * have fewer, of which they are a multiple: head h reads head floor(h * its heads / heads); list and weight may have a batch of 1.
 * Sums are float32. out must not overlap an input. */
typedef struct rapt_rows_desc {
    uint32_t struct_size;
    rapt_rows_kind kind;
    rapt_tensor x, list, out;
    rapt_tensor weight; /* absent while its dtype is RAPT_DTYPE_NONE */
    uint64_t runs;      /* scattering; 0: 1 */
    float slice_ms;     /* time target of one slice in milliseconds; 0: 50 */
    uint32_t flags;     /* rapt_rows_flags: from here on, of placing only */
    float norm_epsilon; /* at least 0 */
    rapt_tensor norm_weight, positions; /* absent while their dtype is RAPT_DTYPE_NONE */
    double rope_base;   /* above 1; 0: rows are not turned */
    uint32_t rope_dim;  /* elements at the front of each row that are turned, even; 0: d */
} rapt_rows_desc;
#define RAPT_ROWS_DESC_INIT {.struct_size = sizeof(rapt_rows_desc)}

/* The tensors of one call. */
typedef struct rapt_rows_args {
    uint32_t struct_size;
    rapt_slot x, list, out, weight;
    rapt_slot norm_weight, positions;
} rapt_rows_args;
#define RAPT_ROWS_ARGS_INIT {.struct_size = sizeof(rapt_rows_args)}

/* As their counterparts of attention (rapt/plan.h); prepare, describe, explain, submit, record and wait are the same. No
 * workspace is needed. */
RAPT_API rapt_status rapt_rows_plan(rapt_device *device, const rapt_rows_desc *desc, rapt_plan **plan, rapt_error *error);
RAPT_API rapt_status rapt_rows_plan_for_caps(const rapt_caps *caps, const rapt_rows_desc *desc, rapt_plan **plan,
                                             rapt_error *error);
RAPT_API rapt_status rapt_rows_bind(rapt_plan *plan, const rapt_rows_args *args, rapt_binding **binding, rapt_error *error);
RAPT_API rapt_status rapt_rows_run(rapt_device *device, const rapt_rows_desc *desc, const rapt_rows_args *args,
                                   rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
