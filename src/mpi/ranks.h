/* What librapt_mpi shares: the ranks, transfers with a deadline, and work on this rank's device. */
#ifndef RAPT_MPI_RANKS_H
#define RAPT_MPI_RANKS_H

#include <rapt/mpi.h>
#include <rapt/rapt.h>

#include <mpi.h>
#include <stdbool.h>

#define RANKS_REQUESTS 4 /* under way at a time */

struct rapt_ranks {
    rapt_device *device;
    MPI_Comm comm;
    int rank, count;
    double deadline; /* seconds, of a transfer */
    bool failed;     /* what the others have seen is not known any more */
    uint64_t bytes_sent;
    float *speeds; /* of each rank */
    MPI_Request requests[RANKS_REQUESTS];
    int request_count;
};

rapt_status ranks_fail(rapt_error *error, rapt_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* The beginning of every call. */
rapt_status ranks_ready(rapt_ranks *r, rapt_error *error);

/* ---- transfers: begun, looked after while the device works, waited for. Buffers stay until ranks_arrive is good; after a failure they
 * are still MPI's, and must be leaked. ---- */
rapt_status ranks_pass_on(rapt_ranks *r, const float *from, float *to, uint64_t floats, rapt_error *error); /* to the next rank, from the one before */
rapt_status ranks_gather_all(rapt_ranks *r, const float *from, float *to, uint64_t floats, rapt_error *error); /* to: of each rank */
/* counts: floats to each rank, where they begin in `from`, floats from each rank, where they begin in `to`; MPI's like the rest. */
rapt_status ranks_exchange(rapt_ranks *r, const float *from, float *to, const int *counts, rapt_error *error);
/* Refuses more floats than MPI takes at once. */
rapt_status ranks_count(const rapt_ranks *r, uint64_t floats, rapt_error *error);
rapt_status ranks_arrive(rapt_ranks *r, const char *what, rapt_error *error);
/* Whether MPI may still be at buffers of this call. */
bool ranks_are_pending(const rapt_ranks *r);

/* ---- the device ---- */

/* A buffer with these floats; data NULL: whatever. */
rapt_status ranks_buffer(rapt_ranks *r, const float *data, uint64_t floats, rapt_buffer **buffer, rapt_error *error);
/* Submits and waits, and lets transfers go on meanwhile. Destroys the binding. */
rapt_status ranks_run(rapt_ranks *r, rapt_binding **binding, rapt_error *error);
/* The sum of float32 terms (rows, d); with `lse` (NULL: without) of results over different keys, by their log-sum-exps. `out` and `out_lse` are new
 * buffers; the terms stay. */
rapt_status ranks_merge(rapt_ranks *r, uint32_t terms, uint64_t rows, uint64_t d, const rapt_slot *x, const rapt_slot *lse, rapt_buffer **out,
                        rapt_buffer **out_lse, rapt_error *error);

#endif
