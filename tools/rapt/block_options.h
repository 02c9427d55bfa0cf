/* The options of block masks: from a file, or a pattern. */
#ifndef RAPT_TOOL_BLOCK_OPTIONS_H
#define RAPT_TOOL_BLOCK_OPTIONS_H

#include "args.h"
#include "tensor_file.h"

#include <rapt/attention.h>

/* As they stand on the command line. */
typedef struct tool_block_options {
    const char *mask, *pattern, *block, *lists;
} tool_block_options;

/* Entries of an option table. `o`: a tool_block_options. */
#define TOOL_OPTIONS_BLOCK_FILE(o)                                                                           \
    {                                                                                                        \
        "--block-mask", "FILE",                                                                              \
            "block-sparse attention: (batch or 1, query heads or 1, blocks of queries,\n"                    \
            "blocks of keys), any type; nonzero: visible, if all other rules show it too",                   \
            &(o).mask, NULL                                                                                  \
    }
#define TOOL_OPTIONS_BLOCKS(o)                                                                               \
    {"--block", "QxK", "queries and keys of one block of --block-mask; any sizes", &(o).block, NULL},        \
        {"--pattern", "NAME:N[,N..]",                                                                        \
         "a published pattern in blocks of --block BxB (rapt/pattern.h):\n"                                  \
         "chunks:CHUNK,BEFORE[,AFTER], strided:LOCAL,STRIDE (S2-Attention),\n"                               \
         "dilated:LOCAL,STRIDE, radial:FRAME, prefix:GLOBAL,LOCAL, and MoA's\n"                              \
         "spans:GLOBAL,ALPHA,BETA[,ALPHA,BETA..] for all query heads or for each",                           \
         &(o).pattern, NULL},                                                                                \
    {                                                                                                        \
        "--tile-lists", "choose|never|always",                                                               \
            "whether --mask-mod is first asked by tiles, so that hidden ones are left out", &(o).lists, NULL \
    }

/* Fills block_mask, block_q, block_k and tile_lists of `desc`, whose tensors are there. The mask's elements, int32, are in
 * `mask`, which the caller frees. */
bool tool_blocks_make(const tool_block_options *o, rapt_attention_desc *desc, tensor_file *mask, rapt_error *error);

#endif
