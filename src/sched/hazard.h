/* In which order pieces of work run on a queue, and where barriers stand: from what each reads and writes. Knows nothing of devices. */
#ifndef RAPT_SCHED_HAZARD_H
#define RAPT_SCHED_HAZARD_H

#include "base/base.h"
#include "plan/plan.h"

typedef struct rapt_task {
    const rapt_access *accesses;
    uint32_t count;
    bool barriers_inside;            /* it has some of its own, between its first and its last step */
    bool fence_before, fence_behind; /* no task given before it comes after it, and none given after it before it, with either; with
                                      * fence_before it comes before all that is given after it, with fence_behind after all before */
    bool urgent;                     /* it, and what it is tied to before it, comes before all others between two fences */
} rapt_task;

/* Tasks run as if one after the other, in the order given. order[i]: the task that is recorded as the i-th; barrier[i]: whether a full one
 * stands before it. Each task is as early as the longest chain of tasks that it depends on allows (within what fences part, and behind what is urgent), so that there are
 * as few barriers as that chain needs. Returns how many there are. level: room for a number for each task. */
uint32_t rapt_order_tasks(const rapt_task *tasks, uint32_t count, uint32_t *level, uint32_t *order, bool *barrier);
/* Whether `b`, given after `a`, must see what `a` did, or must not disturb it. */
bool rapt_tasks_tied(const rapt_task *a, const rapt_task *b);

#endif
