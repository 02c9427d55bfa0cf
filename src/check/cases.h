/* The one list of attention problems: the tests, `rapt check` and the benchmarks all take theirs from here.
 */
#ifndef RAPT_CHECK_CASES_H
#define RAPT_CHECK_CASES_H

#include <rapt/attention.h>
#include <stdbool.h>

/* Groups, as bits. Every quick case is a full one too. */
enum {
    RAPT_CASE_QUICK = 1,
    RAPT_CASE_FULL = 2,
    RAPT_CASE_BENCH = 4, /* worth timing */
    RAPT_CASE_CORE = 8,  /* the few that stand for all where a pipeline is dear: every one a quick one too */
};

typedef enum rapt_case_layout {
    RAPT_LAYOUT_BHND = 0,
    RAPT_LAYOUT_BNHD,
    RAPT_LAYOUT_PACKED,    /* q, k and v are columns of one (batch, sequence, all heads * head_dim) matrix */
    RAPT_LAYOUT_ODD,       /* gaps of odd sizes between rows, heads and batches, bases at odd elements */
    RAPT_LAYOUT_BROADCAST, /* BHND; k and v have batch and head strides of 0 */
    RAPT_LAYOUT_COUNT
} rapt_case_layout;

typedef enum rapt_case_input {
    RAPT_INPUT_NORMAL = 0, /* normally distributed */
    RAPT_INPUT_EXACT,      /* small integers whose attention is exact in every type; see rapt_case_is_exact */
    RAPT_INPUT_LARGE,      /* scores to about +-1e4 */
    RAPT_INPUT_POISONED, /* normal, and keys that some queries do not see hold NaN, +Inf and -Inf */
    RAPT_INPUT_COUNT
} rapt_case_input;

#define RAPT_CASE_SEQUENCES 256 /* at most */

typedef struct rapt_case {
    char name[192];
    uint64_t batch, q_heads, kv_heads, nq, nk;
    uint64_t d_qk, d_v;
    rapt_dtype dtype;
    rapt_dtype k_dtype, v_dtype; /* of quantised keys and values; RAPT_DTYPE_NONE: dtype */
    bool causal, no_lse, window;
    int64_t causal_offset;
    int64_t window_left, window_right; /* -1: unbounded */
    uint64_t sink_tokens;
    float soft_cap; /* 0: none */
    uint8_t sinks;    /* 1: one for each query head, 2: for each output head; 0: none */
    uint8_t key_bias; /* 1: for each batch entry and query head, 2: for each query head, 3: the same for all; 0: none */
    uint8_t bias;     /* dense; likewise */
    uint8_t rank;     /* of a low-rank bias; 0: none */
    uint8_t rope;     /* 1: of base 10000 over the whole head_dim, 2: of half of it, 3: likewise, interleaved; 0: none */
    bool qk_norm;
    uint8_t segments; /* how many; 0: none */
    uint8_t blocks;   /* a block mask, 1: for each batch entry (or sequence) and query head, 2: for each query head, 3: the same
                       * for all; 0: none */
    uint32_t block_q, block_k; /* its blocks */
    uint32_t blocks_of; /* of so many blocks in a line, one is visible; 0: about half of the blocks, at random */
    bool alibi, gate, decay;
    uint8_t relative;     /* a table, 1: for each query head, 2: the same for all; 0: none */
    uint32_t place_width; /* 0: positions lie on a line */
    uint32_t page_size; /* keys lie in pages of so many, some of them shared and some missing; 0: they do not. nk is rounded up
                         * to whole pages */
    bool all_pages;     /* none of them shared or missing */
    bool ragged;        /* batch entry b has length_k[b] keys, at most nk; not with sequences */
    rapt_link link;
    rapt_grid grid; /* rank 0: none */
    rapt_case_layout layout;
    uint32_t sequences; /* 0: dense; else batch is 1 and nq, nk are the sums of the lengths */
    uint32_t length_q[RAPT_CASE_SEQUENCES], length_k[RAPT_CASE_SEQUENCES];
    uint32_t max_seqlen_q; /* below a length: the rows beyond it must stay untouched; 0: the longest */
    uint32_t key_splits;   /* 0: the plan chooses */
    rapt_case_input input;
    uint64_t seed;
    uint32_t groups;
} rapt_case;

/* All cases of any of `groups` whose name contains `filter` (NULL: all), in an order that never changes.
 * The caller frees it. NULL when there is no memory. */
rapt_case *rapt_cases(uint32_t groups, const char *filter, size_t *count);

/* Parses shape names such as B1H8K2D64N1024f32 or B1H32K8D128Q1N4096f16c: batch, query heads, [kv heads],
 * head_dim, [V head_dim], [queries], keys, f32|f16|bf16, [c for causal],
 * [w and the keys of a window before and after the query]: B1H8D64N4096f32cw255;
 * [p and the keys of a page, of whole pages]: B1H32K8D128Q1N4096f16p16;
 * [q and int8|int4|fp8, of keys and values or of keys and then of values; at the end]: B1H32K8D128Q1N4096f16qint8int4;
 * [b and n: a block mask that shows one block of 64 x 64 of every n]: B1H8D64N4096f32b8;
 * [g and the axes of a grid, k and its kernel size, [d dilation], [s stride], [c and a bit per causal axis]]:
 * B1H8D64N4096f32g64x64k7x7s4x4c1. */
bool rapt_case_parse(const char *name, rapt_case *out);

/* Case `number` of those that `seed` stands for, named random-SEED-NUMBER (rapt_case_parse knows the name): layouts, types,
 * modifiers, walks and caches composed at random, valid as a problem, though a device may refuse it. Numbers of one group, from
 * a multiple of RAPT_CASE_RANDOM_GROUP on, differ in sizes and inputs alone: their pipelines are the same few. */
#define RAPT_CASE_RANDOM_GROUP 200
rapt_case rapt_case_random(uint64_t seed, uint64_t number);

/* RAPT_INPUT_EXACT: either each query matches one key alone (score 0, all others -256 and less, so that their
 * weights are 0 in single precision), or all scores are 0 and the number of keys is a power of two. False
 * where the case's shape allows neither; its inputs are then integers, compared with a tolerance. */
bool rapt_case_is_exact(const rapt_case *c);

/* Masks that rapt check lowers the device by (see rapt_caps_mask), NULL-ended. */
extern const char *const rapt_case_masks_quick[];
extern const char *const rapt_case_masks_full[];

const char *rapt_case_layout_name(rapt_case_layout layout);
const char *rapt_case_input_name(rapt_case_input input);

/* From a name, so that what else there is does not change its inputs. */
uint64_t rapt_case_seed(const char *name);

/* Deterministic random numbers (splitmix64). */
typedef struct rapt_random {
    uint64_t state;
} rapt_random;
uint64_t rapt_random_next(rapt_random *random);
uint64_t rapt_random_below(rapt_random *random, uint64_t bound); /* 0 .. bound - 1; bound 0 gives 0 */
double rapt_random_normal(rapt_random *random);

#endif
