/* The options that describe an attention problem, by files or by shape: shared by run, explain and compile.
 */
#ifndef RAPT_TOOL_PROBLEM_OPTIONS_H
#define RAPT_TOOL_PROBLEM_OPTIONS_H

#include "args.h"
#include "block_options.h"
#include "cache_options.h"
#include "grid_options.h"
#include "tensor_file.h"
#include "tool.h"
#include "user_options.h"

#include "check/oracle_attention.h"

/* Tensors beside q, k and v, each a file of its own. */
enum {
    TOOL_X_SINKS,
    TOOL_X_ALIBI,
    TOOL_X_BIAS,
    TOOL_X_KEY_BIAS,
    TOOL_X_SEGMENTS,
    TOOL_X_GATE,
    TOOL_X_BIAS_U,
    TOOL_X_BIAS_V,
    TOOL_X_RELATIVE,
    TOOL_X_DECAY,
    TOOL_X_BLOCK_MASK,
    TOOL_X_COUNT
};

/* As they stand on the command line. */
typedef struct tool_problem_options {
    const char *q, *k, *v, *cu_q, *cu_k, *shape;
    const char *layout, *dtype, *scale, *causal_offset, *kernel, *key_splits;
    const char *window, *sink_tokens, *soft_cap, *link;
    tool_user_options user;
    const char *extra[TOOL_X_COUNT]; /* but those of --bias-lowrank and the block mask */
    const char *low_rank, *rope, *qk_norm, *place_width;
    tool_grid_options grid;
    tool_block_options blocks;
    tool_cache_options cache;
    bool causal;
} tool_problem_options;

/* Entries of an option table, for both kinds of commands. `o`: a tool_problem_options. */
#define TOOL_OPTIONS_FILES(o)                                                                                \
    {"--q", "FILE", "queries: npy file, or FILE.safetensors:NAME", &(o).q, NULL},                            \
        {"--k", "FILE", "keys", &(o).k, NULL}, {"--v", "FILE", "values", &(o).v, NULL},                      \
        {"--cu-seqlens-q", "FILE",                                                                           \
         "sequences of different lengths, packed along the sequence axis of one\n"                           \
         "batch: int32, rising from 0 to the packed length of the queries",                                  \
         &(o).cu_q, NULL},                                                                                   \
        {"--sinks", "FILE",                                                                                  \
         "a logit per head that joins the softmax without a value: float32\n"                                \
         "(query heads) or (output heads)",                                                                  \
         &(o).extra[TOOL_X_SINKS], NULL},                                                                                  \
        {"--alibi", "FILE", "slopes, float32 (query heads): scores get -slope * |p - j|", \
         &(o).extra[TOOL_X_ALIBI], NULL},                                                                    \
        {"--bias", "FILE",                                                                                   \
         "added to the scores: float32 (batch or 1, query heads or 1, queries,\n"                            \
         "keys); -inf: the key has no weight",                                                               \
         &(o).extra[TOOL_X_BIAS], NULL},                                                                     \
        {"--bias-lowrank", "U,V",                                                                            \
         "U V^T is added to the scores: two files, (batch or 1, query heads or 1,\n"                          \
         "queries, R) and (batch or 1, query heads or 1, keys, R)",                                           \
         &(o).low_rank, NULL},                                                                               \
        {"--bias-key", "FILE",                                                                               \
         "added to the scores of each key: float32 (batch or 1, query heads or 1,\n"                         \
         "keys); -inf: the key has no weight",                                                               \
         &(o).extra[TOOL_X_KEY_BIAS], NULL},                                                                               \
        {"--bias-relative", "FILE",                                                                          \
         "added to the scores by where a key lies from the query: float32 (query\n"                          \
         "heads or 1, 2X + 1), the entry X + (j - p), clamped; with --place-width\n"                          \
         "(query heads or 1, 2Y + 1, 2X + 1)",                                                               \
         &(o).extra[TOOL_X_RELATIVE], NULL},                                                                 \
        {"--decay", "FILE",                                                                                  \
         "weights, after the link, are multiplied by DECAY^|p - j|: float32 (query\n"                       \
         "heads); with --link none a retention",                                                             \
         &(o).extra[TOOL_X_DECAY], NULL},                                                                    \
        {"--segments", "FILE",                                                                               \
         "int32 (batch, keys): a query sees keys of its own segment; the last Nq\n"                          \
         "entries are the queries'",                                                                         \
         &(o).extra[TOOL_X_SEGMENTS], NULL},                                                                               \
        {"--gate", "FILE", "the output is multiplied by 1 / (1 + exp(-gate)); shaped like it",           \
         &(o).extra[TOOL_X_GATE], NULL},                                                                     \
         TOOL_OPTIONS_BLOCK_FILE((o).blocks),                                                                 \
    {                                                                                                        \
        "--cu-seqlens-k", "FILE", "the same for keys and values; as many entries", &(o).cu_k, NULL           \
    }
#define TOOL_OPTIONS_MEANING(o)                                                                              \
    {"--layout", "bhnd|bnhd",                                                                                \
     "axes of the files: (batch, heads, sequence, head_dim), the default, or\n"                              \
     "(batch, sequence, heads, head_dim)",                                                                   \
     &(o).layout, NULL},                                                                                     \
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default: that of the files",            \
         &(o).dtype, NULL},                                                                                  \
        {"--causal", NULL, "query i sees keys j <= i + (Nk - Nq) + offset", NULL, &(o).causal},              \
        {"--causal-offset", "N", "the offset; may be negative; default 0", &(o).causal_offset, NULL},        \
        {"--window", "L[,R]",                                                                                \
         "query i at p = i + (Nk - Nq) + offset sees keys p - L <= j <= p + R; one\n"                        \
         "number: both sides; -1: unbounded",                                                                \
         &(o).window, NULL},                                                                                 \
        {"--sink-tokens", "N", "the first N keys are exempt from --window", &(o).sink_tokens, NULL},         \
        {"--place-width", "W",                                                                               \
         "queries and keys are places of a grid of W columns, row by row: of --alibi\n"                      \
         "and --decay distances are then |dy| + |dx|",                                                        \
         &(o).place_width, NULL},                                                                            \
        {"--qk-norm", "EPS",                                                                                 \
         "rows of Q and K are divided by sqrt(mean of squares + EPS) first", &(o).qk_norm, NULL},            \
        {"--rope", "BASE[,DIM][,interleaved]",                                                               \
         "rotary positions: the first DIM elements (default: all) of Q and K in\n"                           \
         "pairs (i, i + DIM/2), interleaved: (2i, 2i + 1)",                                                   \
         &(o).rope, NULL},                                                                                   \
        {"--softcap", "X", "scaled scores s become X * tanh(s / X)", &(o).soft_cap, NULL},                   \
        {"--link", "NAME",                                                                                   \
         "from scores to weights: softmax (the default), offbyone, signed, sigmoid,\n"                      \
         "laplace, relu, none, clipped:GAMMA,ZETA, affine:ALPHA,BETA",                                                                              \
         &(o).link, NULL},                                                                                   \
        TOOL_OPTIONS_USER((o).user), TOOL_OPTIONS_BLOCKS((o).blocks),                                        \
        {"--scale", "X", "scores are X * q.k; default 1/sqrt(head_dim)", &(o).scale, NULL},                  \
        {"--kernel", "NAME",                                                                                 \
         "force this kernel row (see rapt compile --list); refused where it\ncannot run", &(o).kernel,       \
         NULL},                                                                                              \
    {                                                                                                        \
        "--key-splits", "N", "cut the keys into about N parts and merge; default: chosen", &(o).key_splits,  \
            NULL                                                                                             \
    }
/* What goes with decoding from a cache. */
#define TOOL_OPTIONS_DECODE(o)                                                                               \
    {"--q", "FILE", "queries, the last ones of each batch entry: npy file, or FILE.safetensors:NAME",        \
     &(o).q, NULL},                                                                                          \
        {"--k", "FILE", "keys: (batch, kv heads, Nk, head_dim), or with --block-table a pool of pages",      \
         &(o).k, NULL},                                                                                      \
        {"--v", "FILE", "values, likewise", &(o).v, NULL}, TOOL_OPTIONS_CACHE((o).cache),                    \
        {"--causal", NULL, "of several queries, i sees keys j <= i + (length - Nq)", NULL, &(o).causal},     \
        {"--window", "L[,R]", "a query at p sees keys p - L <= j <= p + R; -1: unbounded", &(o).window,      \
         NULL},                                                                                              \
        {"--sink-tokens", "N", "the first N keys are exempt from --window", &(o).sink_tokens, NULL},         \
        {"--softcap", "X", "scaled scores s become X * tanh(s / X)", &(o).soft_cap, NULL},                   \
        {"--sinks", "FILE", "a logit per head that joins the softmax: float32 (query heads)",                \
         &(o).extra[TOOL_X_SINKS], NULL},                                                                    \
        {"--alibi", "FILE", "slopes, float32 (query heads): scores get -slope * |p - j|",                    \
         &(o).extra[TOOL_X_ALIBI], NULL},                                                                    \
        {"--scale", "X", "scores are X * q.k; default 1/sqrt(head_dim)", &(o).scale, NULL},                  \
        {"--layout", "bhnd|bnhd",                                                                            \
         "axes of the files: (batch or pages, heads, sequence, head_dim), the default,\n"                    \
         "or (batch or pages, sequence, heads, head_dim)",                                                   \
         &(o).layout, NULL},                                                                                 \
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default: that of the files",            \
         &(o).dtype, NULL},                                                                                  \
        {"--kernel", "NAME",                                                                                 \
         "force this kernel row (see rapt compile --list); refused where it\ncannot run", &(o).kernel,       \
         NULL},                                                                                              \
    {                                                                                                        \
        "--splits", "N", "cut the keys into about N parts and merge; default: chosen", &(o).key_splits, NULL \
    }
/* What goes with a grid. */
#define TOOL_OPTIONS_NEIGHBORHOOD(o)                                                                         \
    TOOL_OPTIONS_GRID((o).grid),                                                                             \
        {"--scale", "X", "scores are X * q.k; default 1/sqrt(head_dim)", &(o).scale, NULL},                  \
        {"--softcap", "X", "scaled scores s become X * tanh(s / X)", &(o).soft_cap, NULL},                   \
        {"--sinks", "FILE",                                                                                  \
         "a logit per head that joins the softmax without a value: float32\n"                                \
         "(query heads) or (output heads)",                                                                  \
         &(o).extra[TOOL_X_SINKS], NULL},                                                                            \
        {"--bias-relative", "FILE",                                                                          \
         "added to the scores by where a key lies from the query, on grids of one\n"                         \
         "and two axes: float32 (heads or 1, [2Y + 1,] 2X + 1)",                                             \
         &(o).extra[TOOL_X_RELATIVE], NULL},                                                                 \
        {"--gate", "FILE", "the output is multiplied by 1 / (1 + exp(-gate)); shaped like it",           \
         &(o).extra[TOOL_X_GATE], NULL},                                                                     \
        {"--link", "NAME", "from scores to weights, as of rapt run attention", &(o).link, NULL},             \
        TOOL_OPTIONS_USER((o).user),                                                                         \
        {"--layout", "bhnd|bnhd",                                                                            \
         "axes of the files: (batch, heads, X[, Y[, Z]], head_dim), the default, or\n"                       \
         "(batch, X[, Y[, Z]], heads, head_dim)",                                                            \
         &(o).layout, NULL},                                                                                 \
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default: that of the files",            \
         &(o).dtype, NULL},                                                                                  \
    {                                                                                                        \
        "--kernel", "NAME",                                                                                  \
            "force this kernel row (see rapt compile --list); refused where it\ncannot run", &(o).kernel, NULL \
    }
#define TOOL_OPTIONS_SHAPE(o)                                                                                \
    {                                                                                                        \
        "--shape", "B,HQ,HKV,NQ,NK,D[,DV]",                                                                  \
            "batch, query heads, kv heads, queries, keys, head_dim of Q and K, and of V\n"                   \
            "(default: the same)",                                                                           \
            &(o).shape, NULL                                                                                 \
    }
#define TOOL_OPTIONS_DEVICE(o)                                                                               \
    {"--device", "SEL",                                                                                      \
     "index, UUID, or part of a name; default: RAPT_DEVICE, else discrete,\n"                                \
     "integrated, virtual, lavapipe, other software devices",                                                \
     &(o).device, NULL},                                                                                     \
        {"--caps", "SPEC",                                                                                   \
         "lower what the device can do: floor, or a comma list of no-subgroup,\n"                            \
         "no-fp16, no-16bit, no-8bit, no-int64, no-bda, no-texel, no-coopmat,\n"                             \
         "no-push-descriptor, no-timeline, shared=N, invocations=N, buffers=N,\n"                            \
         "push=N, range=N, texels=N",                                                                        \
         &(o).caps, NULL},                                                                                   \
        {"--validation", NULL, "run under the Vulkan validation layer, where installed", NULL,               \
         &(o).validation},                                                                                   \
    {                                                                                                        \
        "--verbose", NULL, "tell what the library does, on standard error", NULL, &(o).verbose               \
    }

/* A problem, and the files it came from. */
typedef struct tool_problem {
    tool_user user;                  /* what desc's snippets and user buffers point into */
    rapt_attention_desc desc;        /* dense tensors in the layout asked for */
    tensor_file q, k, v, cu_q, cu_k; /* q, k, v: of desc's dtype; without data when given by shape */
    tensor_file extra[TOOL_X_COUNT];
    tool_cache cache;
    rapt_dtype file_dtype;
    bool bnhd;
} tool_problem;

/* Reads, checks and converts. want_lse: desc.lse is filled. Free in any case. */
bool tool_problem_make(const tool_problem_options *options, bool want_lse, tool_problem *out,
                       rapt_error *error);
void tool_problem_free(tool_problem *problem);

/* The oracle's view of the files: cu_seqlens, and the data where there are any. */
rapt_check_inputs tool_problem_inputs(const tool_problem *problem);
/* 2 * (head_dim_qk + head_dim_v) per visible pair. */
double tool_problem_flops(const tool_problem *problem);
/* Where one of the tensors beside them stands in a descriptor and in the arguments. */
rapt_tensor *tool_extra_tensor(rapt_attention_desc *desc, unsigned extra);
rapt_slot *tool_extra_slot(rapt_attention_args *args, unsigned extra);
cJSON *tool_problem_json(const tool_problem *problem);
void tool_problem_line(const tool_problem *problem, char *text, size_t capacity);

/* The axes of the output, or of the LSE, as files have them; returns how many. */
uint32_t tool_problem_out_shape(const tool_problem *problem, uint64_t shape[TENSOR_FILE_RANK]);
/* Asks for row maxima and column sums, without gaps (margin_options.c). */
void tool_want_margins(rapt_attention_desc *desc, bool row_max, bool col_sums, bool by_kv_head);
uint32_t tool_problem_lse_shape(const tool_problem *problem, uint64_t shape[TENSOR_FILE_RANK]);

/* BASE[,DIM][,interleaved] of --rope; dim 0: not given. */
bool tool_rope(const char *value, double *base, uint32_t *dim, bool *interleaved, rapt_error *error);

/* Rounds or widens what a file holds to another type of numbers. */
bool tool_convert(tensor_file *t, rapt_dtype dtype, rapt_error *error);

#endif
