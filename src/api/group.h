/* What the parts of a group's public calls share: the group, and what its members keep from run to run. */
#ifndef RAPT_API_GROUP_H
#define RAPT_API_GROUP_H

#include "api/api.h"
#include "op/cut.h"
#include "sched/pool.h"

/* Tensors of a part on its device: those of a cut, then cu_seqlens and the user's buffers. */
enum { RAPT_PLACE_CU_Q = RAPT_CUT_TENSORS, RAPT_PLACE_CU_K, RAPT_PLACE_USER, RAPT_PLACES = RAPT_PLACE_USER + RAPT_USER_BUFFERS };

/* A buffer that a member keeps, and what it holds: runs of one call often share their keys. */
typedef struct rapt_place {
    rapt_buffer *buffer;
    uint64_t call; /* that filled it; 0: nobody */
    uint64_t first, size[RAPT_MAX_RANK];
} rapt_place;

/* Used by one run of the member at a time. */
typedef struct rapt_group_seat {
    rapt_place places[RAPT_PLACES];
    uint64_t planned;   /* the call whose whole has been planned on this device, and then: */
    const char *kernel; /* of a row; NULL: there is nothing to compute */
    uint32_t key_splits;
    void *scratch; /* host memory, for tensors with gaps */
    size_t scratch_bytes;
} rapt_group_seat;

struct rapt_group {
    rapt_allocator allocator;
    rapt_pool *pool;
    uint64_t timeout; /* ns, of a transfer */
    uint32_t parts;   /* for each device, at least */
    uint64_t calls;
    rapt_group_seat seats[RAPT_GROUP_MAX];
};

/* Gives back what a member keeps. */
void rapt_group_trim(rapt_group *group, uint32_t member);

#endif
