/* Systems whose tokens are places of a grid, and whose queries see what is near along each axis. */
#include "system/system.h"

#define MOST (1 << 29)

/* One number for each axis of the grid, or one for all. */
static bool per_axis(rapt_system_builder *b, const char *name, uint32_t rank,
                     uint32_t out[RAPT_GRID_MAX_RANK])
{
    uint32_t count;
    if (!rapt_system_sizes(b, name, MOST, out, RAPT_GRID_MAX_RANK, &count))
        return false;
    if (count > 1 && count != rank)
        return rapt_system_refuse(b, "parameter '%s' has %u numbers, the grid has %u axes", name, count,
                                  rank);
    for (uint32_t axis = 1; axis < rank && count == 1; axis++)
        out[axis] = out[0];
    return true;
}

bool rapt_system_neighborhood(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_grid *g = &d.grid;
    int64_t causal[RAPT_GRID_MAX_RANK];
    uint32_t count;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_sizes(b, "grid", MOST, g->size, RAPT_GRID_MAX_RANK, &g->rank) ||
        !per_axis(b, "kernel_size", g->rank, g->kernel_size) ||
        !per_axis(b, "dilation", g->rank, g->dilation) || !per_axis(b, "stride", g->rank, g->stride) ||
        !rapt_system_list(b, "causal_axes", (int64_t)g->rank - 1, causal, RAPT_GRID_MAX_RANK, &count))
        return false;
    for (uint32_t n = 0; n < count; n++)
        g->causal |= 1u << causal[n];
    return rapt_system_step_add(b, "neighborhood attention", &d, t.q, t.k, t.v, t.out,
                                t.has_lse ? &t.lse : NULL);
}
