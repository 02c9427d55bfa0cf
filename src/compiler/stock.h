/* The stock sources, everything under shaders/ that can be compiled or included, embedded by embed.py. */
#ifndef RAPT_COMPILER_STOCK_H
#define RAPT_COMPILER_STOCK_H

#include <stddef.h>

typedef struct rapt_stock_file {
    const char *name; /* "tile/tile.comp": the path below shaders/ */
    const char *text;
    size_t size;
} rapt_stock_file;

/* Sorted by name, as strcmp has it. */
extern const rapt_stock_file rapt_stock_files[];
extern const size_t rapt_stock_count;
/* Of all names and texts, hexadecimal. */
extern const char rapt_stock_hash[];

/* NULL when there is no such file. */
const rapt_stock_file *rapt_stock_find(const char *name);

#endif
