/* Linear attention by its shape alone, for commands that run nothing of the user's: explain and tune. */
#ifndef RAPT_TOOL_LINEAR_OPTIONS_H
#define RAPT_TOOL_LINEAR_OPTIONS_H

#include "args.h"

#include <rapt/linear.h>

typedef struct tool_linear_options {
    const char *shape, *kv_heads, *rule, *decay, *feature, *dtype, *chunk, *kernel;
    bool log_decay, beta, normalize, state, in_place, recurrent;
} tool_linear_options;

/* Names by number, for tool_one_of: rules and maps by their enumerations, dtypes counted from RAPT_F32. */
const char *tool_rule_name(unsigned n);
const char *tool_feature_name(unsigned n);
const char *tool_dtype_name(unsigned n);

/* Contiguous tensors. False fills `error`. Strings of `o` must outlive `desc`. */
bool tool_linear_make(const tool_linear_options *o, rapt_linear_desc *desc, rapt_error *error);

#define TOOL_OPTIONS_LINEAR(o)                                                                                            \
    {"--shape", "B,H,N,DK[,DV]", "batch, heads, tokens, channels of q and k, and of v (default: the same)", &(o).shape, NULL}, \
        {"--kv-heads", "N", "heads of k and v; default H", &(o).kv_heads, NULL},                                          \
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default f32", &(o).dtype, NULL},                     \
        {"--rule", "none|delta|dplr", "how a token changes the state; default none", &(o).rule, NULL},                    \
        {"--decay", "fixed|token|channel", "alpha of a head, of each token, or of each token and channel; default: none", \
         &(o).decay, NULL},                                                                                               \
        {"--log-decay", NULL, "as its natural logarithm", NULL, &(o).log_decay},                                          \
        {"--beta", NULL, "with beta", NULL, &(o).beta},                                                                   \
        {"--feature", "NAME", "feature map of q and k; default identity", &(o).feature, NULL},                            \
        {"--normalize", NULL, "with the normaliser", NULL, &(o).normalize},                                               \
        {"--state", NULL, "with a state in and out", NULL, &(o).state},                                                   \
        {"--in-place", NULL, "with a state that is updated where it lies", NULL, &(o).in_place}

#endif
