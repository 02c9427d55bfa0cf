/* Ties between tasks: read after write, write after read, write after write, byte range by byte range. */
#include "sched/hazard.h"

bool rapt_tasks_tied(const rapt_task *a, const rapt_task *b)
{
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++) {
            const rapt_access *x = &a->accesses[i], *y = &b->accesses[k];
            if (x->memory == y->memory && (x->written || y->written) && x->begin < y->end && y->begin < x->end)
                return true;
        }
    return false;
}

/* The length of the longest chain of ties that ends at each of tasks [first, end). */
static void find_levels(const rapt_task *tasks, uint32_t first, uint32_t end, uint32_t *level)
{
    for (uint32_t i = first; i < end; i++) {
        level[i] = 0;
        for (uint32_t k = first; k < i; k++)
            if (level[k] >= level[i] && rapt_tasks_tied(&tasks[k], &tasks[i]))
                level[i] = level[k] + 1;
    }
}

#define LATER 0x80000000u /* set in the level of what is not urgent */

/* Parts tasks [first, end) into those that are urgent, or that an urgent one needs, and those that come behind them. The first of them
 * stays first where it is a fence, and the last last. */
static void find_urgent(const rapt_task *tasks, uint32_t first, uint32_t end, uint32_t *level)
{
    const uint32_t last = tasks[end - 1].fence_behind ? end - 1 : end;
    for (uint32_t i = first; i < end; i++)
        if (i >= last || (!tasks[i].urgent && !(i == first && tasks[i].fence_before)))
            level[i] |= LATER;
    for (uint32_t i = last; i-- > first;)
        for (uint32_t k = first; k < i && !(level[i] & LATER); k++)
            if (rapt_tasks_tied(&tasks[k], &tasks[i]))
                level[k] &= ~LATER;
}

/* Tasks [first, end): the urgent ones, then the others; level by level, each level in the order given. */
static void sort_levels(uint32_t first, uint32_t end, const uint32_t *level, uint32_t *order)
{
    uint32_t at = first, urgent = 0;
    for (uint32_t i = first; i < end; i++)
        urgent += !(level[i] & LATER);
    for (uint32_t now = 0; at < end; now = at == first + urgent && !(now & LATER) ? LATER : now + 1)
        for (uint32_t i = first; i < end; i++)
            if (level[i] == now)
                order[at++] = i;
}

/* A barrier parts all that is before it from all that is behind it: one stands where a task is tied to one recorded since the last. */
static uint32_t place_barriers(const rapt_task *tasks, uint32_t count, const uint32_t *order, bool *barrier)
{
    uint32_t since = 0, barriers = 0;
    for (uint32_t i = 0; i < count; i++) {
        const rapt_task *task = &tasks[order[i]];
        barrier[i] = false;
        for (uint32_t k = since; k < i && !barrier[i]; k++)
            barrier[i] = rapt_tasks_tied(&tasks[order[k]], task);
        barriers += barrier[i];
        if (barrier[i] || task->barriers_inside) /* its last steps may still be under way */
            since = i;
    }
    return barriers;
}

uint32_t rapt_order_tasks(const rapt_task *tasks, uint32_t count, uint32_t *level, uint32_t *order, bool *barrier)
{
    for (uint32_t first = 0, end; first < count; first = end) {
        end = first + 1;
        while (end < count && !tasks[end].fence_before && !tasks[end - 1].fence_behind)
            end++;
        find_levels(tasks, first, end, level);
        for (uint32_t i = first; i < end && tasks[end - 1].fence_behind; i++) /* what parts comes last, not only before what follows */
            level[end - 1] = RAPT_MAX(level[end - 1], level[i]);
        find_urgent(tasks, first, end, level);
        sort_levels(first, end, level, order);
    }
    return place_barriers(tasks, count, order, barrier);
}
