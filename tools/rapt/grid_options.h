/* The options of `neighborhood`: attention of a grid. Files have its axes in place of the sequence. */
#ifndef RAPT_TOOL_GRID_OPTIONS_H
#define RAPT_TOOL_GRID_OPTIONS_H

#include "args.h"
#include "tensor_file.h"
#include "tool.h"

/* As they stand on the command line. */
typedef struct tool_grid_options {
    bool used; /* this is `neighborhood` */
    const char *kernel_size, *dilation, *stride, *causal;
} tool_grid_options;

/* `g`: a tool_grid_options. */
#define TOOL_OPTIONS_GRID(g)                                                                                 \
    {"--kernel-size", "KxK", "keys of a window along each axis, as 7x7; one number for each axis of the grid",  \
     &(g).kernel_size, NULL},                                                                                \
        {"--dilation", "DxD", "distance of the keys of a window; default 1", &(g).dilation, NULL},           \
        {"--stride", "SxS", "so many queries share a window; at most its size; default 1", &(g).stride, NULL}, \
    {                                                                                                        \
        "--causal", "AXES", "causal axes, as 0,1; the first is 0", &(g).causal, NULL                         \
    }

/* Everything but the sizes, which files or --shape tell. */
bool tool_grid_parse(const tool_grid_options *options, rapt_grid *grid, rapt_error *error);

/* Takes a file's grid axes, checks them against `grid` or, where that has none, sets them; `t` then has the four axes of a
 * sequence. */
bool tool_grid_flatten(const char *option, const char *path, bool bnhd, rapt_grid *grid, tensor_file *t,
                       rapt_error *error);

/* The places of a grid of `rank` axes whose lengths begin at `shape`; they become the grid's. */
bool tool_grid_sizes(const char *what, const uint64_t *shape, rapt_grid *grid, uint64_t *places, rapt_error *error);

/* "grid 64x64, kernel 7x7, .." and the same as JSON. */
void tool_grid_line(const rapt_grid *grid, char *text, size_t capacity);
void tool_grid_json(const rapt_grid *grid, cJSON *object);

#endif
