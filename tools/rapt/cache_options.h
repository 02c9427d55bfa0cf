/* The options of key-value caches: pages and lengths. */
#ifndef RAPT_TOOL_CACHE_OPTIONS_H
#define RAPT_TOOL_CACHE_OPTIONS_H

#include "args.h"
#include "tensor_file.h"

#include <rapt/attention.h>

/* As they stand on the command line. */
typedef struct tool_cache_options {
    bool used; /* the command is one of decoding */
    const char *lengths, *page_size, *block_table;
    const char *quantised[2]; /* of keys, of values */
} tool_cache_options;

/* Entries of an option table. `o`: a tool_cache_options. */
#define TOOL_OPTIONS_CACHE(o)                                                                                \
    {"--lengths", "FILE",                                                                                    \
     "how many keys each batch entry has: int32 (batch), 0 to Nk; default: all",                             \
     &(o).lengths, NULL},                                                                                    \
        {"--page-size", "P",                                                                                 \
         "keep keys and values in pages of P keys: without --block-table the files\n"                        \
         "are cut into pages, which are shuffled; with it, P must be that of the pools",                     \
         &(o).page_size, NULL},                                                                              \
        {"--k-dtype", "int8|int4|fp8",                                                                       \
         "quantise the keys, in blocks of 32 elements with a scale each; default:\n"                         \
         "as --dtype",                                                                                       \
         &(o).quantised[0], NULL},                                                                           \
        {"--v-dtype", "int8|int4|fp8", "the same of the values", &(o).quantised[1], NULL},                   \
    {                                                                                                        \
        "--block-table", "FILE",                                                                             \
            "K and V are pools of pages, (pages, kv heads, P, head_dim): int32 (batch,\n"                    \
            "max pages), the page of keys 0 .. P-1, of P .. 2P-1, and so on; an entry\n"                     \
            "that is no page is a hole, whose keys are hidden",                                              \
            &(o).block_table, NULL                                                                           \
    }

/* The tensors of a cache beside k and v; free them in any case. */
typedef struct tool_cache {
    tensor_file table, lengths;
    rapt_tensor plain[2]; /* keys and values as the files have them, where desc has them quantised; else RAPT_DTYPE_NONE */
} tool_cache;

/* Fills what `desc`, whose q, k and v are there, has of caches; k and v and their files become pools of pages where that is asked
 * for. bnhd: axes of files are (pages, P, kv heads, head_dim). Files have no data when the problem is given by its shape.
 * What is to be quantised is so in the descriptor only. */
bool tool_cache_make(const tool_cache_options *o, bool bnhd, rapt_attention_desc *desc, tensor_file *k, tensor_file *v,
                     tool_cache *cache, rapt_error *error);
/* ", 512 pages of 16 keys, 3 lengths" */
void tool_cache_line(const rapt_attention_desc *desc, char *text, size_t capacity);

#endif
