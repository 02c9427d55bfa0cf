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

/* A plan and its binding to a seat's buffers, for the next part of the same shape: a call like the one before plans and binds nothing. */
typedef struct rapt_group_kept {
    rapt_hash key; /* of what it was made for */
    rapt_plan *plan; /* NULL: none */
    rapt_binding *binding;
    uint64_t call; /* that used it last */
} rapt_group_kept;
#define RAPT_GROUP_KEPT 6 /* of a member, the latest */

/* Used by one run of the member at a time. */
typedef struct rapt_group_seat {
    rapt_place places[RAPT_PLACES];
    rapt_group_kept kept[RAPT_GROUP_KEPT];
    uint64_t planned;   /* the call whose whole has been planned on this device, and then: */
    const char *kernel; /* of a row; NULL: there is nothing to compute */
    uint32_t key_splits;
    void *scratch; /* host memory, for tensors with gaps */
    size_t scratch_bytes;
} rapt_group_seat;

/* Results over parts of the keys, in host memory, and what they become: one attention, merged on a device. */
typedef struct rapt_group_merge rapt_group_merge;

struct rapt_group {
    rapt_allocator allocator;
    rapt_pool *pool;
    uint64_t timeout; /* ns, of a transfer */
    uint32_t parts;   /* for each device, at least */
    uint64_t calls;
    bool whole_keys;
    rapt_group_merge *merge; /* of the call that is under way, until its parts are done; NULL: there is nothing to merge */
    rapt_group_seat seats[RAPT_GROUP_MAX];
};

/* Equal for lengths of as many binary digits: devices' rates are remembered by it. */
static inline uint64_t rapt_group_length_kind(uint64_t length)
{
    uint64_t digits = 0;
    while (length >> digits != 0 && digits < 63)
        digits++;
    return digits;
}

/* Gives back what a member keeps. */
void rapt_group_trim(rapt_group *group, uint32_t member);
/* At least `bytes` of a member's memory in this place of the seat; where it is another buffer than before it is nobody's data, and what
 * was bound to the seat's buffers is gone. */
rapt_status rapt_group_take_place(rapt_device *device, rapt_group_seat *seat, unsigned place, uint64_t bytes, rapt_error *error);
/* Takes what is kept for this key: true, and it is the caller's, who gives it back with rapt_group_keep. Not if its slices were made for
 * another speed than the device has shown by now. */
bool rapt_group_take_kept(rapt_device *device, rapt_group_seat *seat, rapt_hash key, rapt_plan **plan, rapt_binding **binding);
/* Takes over a plan and a binding that is not in flight, of this call. */
void rapt_group_keep(rapt_group_seat *seat, rapt_hash key, uint64_t call, rapt_plan *plan, rapt_binding *binding);
/* At least so much host memory, as seat->scratch. */
rapt_status rapt_group_take_scratch(rapt_group *group, rapt_group_seat *seat, uint64_t bytes, rapt_error *error);

#define RAPT_GROUP_PARTS 64 /* of the keys, at most */
/* For `parts` results (batch, heads, nq, d), which become `out` and, unless its dtype is RAPT_DTYPE_NONE, `lse` of the app's at
 * these addresses. Every row of every part is attention to no key at first. */
rapt_status rapt_group_merge_new(rapt_group *group, uint32_t parts, const rapt_tensor *out, void *out_data, const rapt_tensor *lse,
                                 void *lse_data, rapt_group_merge **merge, rapt_error *error);
/* Where part 0 lies, each without gaps; the next one follows. Written under the pool's rules for what is the app's. */
void rapt_group_merge_parts(const rapt_group_merge *merge, rapt_tensor *out, void **out_data, rapt_tensor *lse, void **lse_data);
void rapt_group_merge_free(rapt_group_merge *merge);
/* Goes on with the call: the parts become one. Takes over `merge`. */
rapt_status rapt_group_merge_begin(rapt_group_merge *merge, rapt_error *error);

#endif
