/* Several devices at one piece of work: who takes which part, how fast each is, and what becomes of those that fail.
 * Knows nothing of what the work is: a line of units that may be cut anywhere. */
#ifndef RAPT_SCHED_POOL_H
#define RAPT_SCHED_POOL_H

#include "vk/vk.h"
#include <rapt/sched.h>

#define RAPT_POOL_UNITS 4096 /* of one call, at most */

/* One call's work. A part of it, a run, goes make -> load -> wait -> store -> end on one member; end comes in any case. Members run
 * at the same time, each one run at a time. */
typedef struct rapt_pool_work {
    void *user;
    uint64_t units;
    uint64_t kind; /* calls of equal kind run at equal rates */
    bool continues; /* the call before it: it counts in no part and no share */
    bool settles;   /* the app's memory is read between load and store too: the call is over only when every run has ended */
    /* Whether a member can run the unit; NULL: every one can. */
    bool (*may)(void *user, uint32_t member, uint64_t unit);
    /* The work in a range of units, in what the rates count. */
    double (*weight)(void *user, uint64_t first, uint64_t count);
    /* How many of `count` units from `first` on, at least 1, can be one run. */
    uint64_t (*fit)(void *user, uint64_t first, uint64_t count);
    /* Plans, prepares and takes memory; reads nothing of the app's, whose call may be over before this ends. */
    rapt_status (*make)(void *user, uint32_t member, uint64_t first, uint64_t count, void **run, rapt_error *error);
    rapt_status (*load)(void *run, rapt_error *error);                   /* reads the app's inputs, and submits */
    rapt_status (*wait)(void *run, uint64_t timeout, rapt_error *error); /* RAPT_ERROR_TIMEOUT: still running */
    rapt_status (*store)(void *run, rapt_error *error);                  /* writes the app's outputs */
    void (*end)(void *run);
    void (*trim)(void *user, uint32_t member); /* gives back what a member keeps between runs: its memory is short */
    void (*free)(void *user);                  /* nobody needs `user` any more */
} rapt_pool_work;

typedef struct rapt_pool rapt_pool;

/* `options`: with every default filled in. */
rapt_status rapt_pool_create(const rapt_allocator *allocator, rapt_device *const *devices, uint32_t count,
                             const rapt_group_options *options, rapt_pool **pool, rapt_error *error);
/* Waits for the runs under way, each at most its deadline. */
void rapt_pool_destroy(rapt_pool **pool);
uint32_t rapt_pool_count(const rapt_pool *pool);
rapt_device *rapt_pool_device(const rapt_pool *pool, uint32_t member);
/* Gives a member a device, and lets it take part again. RAPT_ERROR_BUSY while it runs something. */
rapt_status rapt_pool_set_device(rapt_pool *pool, uint32_t member, rapt_device *device, rapt_error *error);

/* Takes over `work`, whose free is called in any case. RAPT_ERROR_BUSY while there is a call already. */
rapt_status rapt_pool_begin(rapt_pool *pool, const rapt_pool_work *work, rapt_error *error);
/* Until the call is done, and no member reads or writes what is the app's: then its status. RAPT_ERROR_TIMEOUT: not yet. */
rapt_status rapt_pool_wait(rapt_pool *pool, uint64_t timeout, rapt_error *error);
void rapt_pool_describe(rapt_pool *pool, uint32_t member, rapt_group_member *out);

#endif
