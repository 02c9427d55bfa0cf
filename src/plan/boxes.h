/* A launch of one kernel row over a box of the problem, as steps that fit the device. Between plan.c and
 * boxes.c. */
#ifndef RAPT_PLAN_BOXES_H
#define RAPT_PLAN_BOXES_H

#include "plan/plan.h"

/* Work of one kernel launch: batch entries, head groups, query tiles and key splits, each [first, last). */
enum { RAPT_AXIS_BATCH, RAPT_AXIS_GROUP, RAPT_AXIS_TILE, RAPT_AXIS_SPLIT, RAPT_AXIS_COUNT };
typedef struct rapt_box {
    uint64_t lo[RAPT_AXIS_COUNT], hi[RAPT_AXIS_COUNT];
} rapt_box;

/* One launch kind: the row and how boxes map to its grid. */
typedef struct rapt_launch {
    rapt_plan *plan;
    uint8_t pipeline;
    uint32_t phase;
    const rapt_kernel_row *row;
    uint32_t group;         /* heads per entry of RAPT_AXIS_GROUP */
    uint64_t rows_per_tile; /* query rows (times group) per entry of RAPT_AXIS_TILE */
    bool merge;             /* a merge or a map: RAPT_AXIS_TILE counts rows and the grid is linear in them */
    double slice_flops;     /* most work of one box */
    bool *unfit;            /* set when no cut makes a window fit */
    uint64_t heads,
        length; /* of a merge or a map: rows are numbered (batch * heads + head) * length + index */
    enum { RAPT_NOT_PREPARED, RAPT_PREPARES_Q, RAPT_PREPARES_K } prepares; /* what it rewrites */
    /* Row maxima or column sums: RAPT_AXIS_GROUP counts `heads`, the last two axes tiles of queries and of keys, rows_per_tile
     * of each. Invocations go along keys or queries, and a box is not cut there: *need_splits asks for a shorter one. */
    rapt_margin margin;
} rapt_launch;

/* Adds the steps of a box, cut in halves until its windows, its grid and its work fit. *need_splits: it would
 * fit if the keys were split further, and nothing is to be read into the steps. */
rapt_status rapt_add_box(const rapt_launch *l, const rapt_box *b, bool *need_splits, rapt_error *error);

#endif
