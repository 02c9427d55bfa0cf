/* The ranks, and transfers with a deadline. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* sched_yield */
#include <sched.h>
#endif
#include "ranks.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_S 30.0
#define LOOK_NS 500000 /* between two looks at transfers while the device works */

rapt_status ranks_fail(rapt_error *error, rapt_status status, const char *format, ...)
{
    if (error == NULL)
        return status;
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    error->status = status;
    return status;
}

static rapt_status mpi_failed(rapt_ranks *r, int code, const char *what, rapt_error *error)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    for (int i = 0; i < length; i++)
        if (text[i] == '\n')
            text[i] = ' ';
    r->failed = true;
    return ranks_fail(error, RAPT_ERROR_IO, "rank %d of %d: %s: %.300s", r->rank, r->count, what, text);
}

/* The communicator's copy, and what the ranks tell of themselves. */
static rapt_status meet(rapt_ranks *r, MPI_Comm communicator, float speed, rapt_error *error)
{
    int code = MPI_Comm_dup(communicator, &r->comm);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_set_errhandler(r->comm, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_rank(r->comm, &r->rank);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_size(r->comm, &r->count);
    r->speeds = calloc((size_t)r->count + 1, sizeof *r->speeds);
    if (r->speeds == NULL)
        return ranks_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for ranks");
    if (code == MPI_SUCCESS)
        code = MPI_Allgather(&speed, 1, MPI_FLOAT, r->speeds, 1, MPI_FLOAT, r->comm);
    return code == MPI_SUCCESS ? RAPT_OK : mpi_failed(r, code, "the communicator", error);
}

rapt_status rapt_ranks_create(rapt_device *device, const void *communicator, const rapt_ranks_options *options, rapt_ranks **out,
                              rapt_error *error)
{
    int initialised = 0;
    if (device == NULL || communicator == NULL || out == NULL)
        return ranks_fail(error, RAPT_ERROR_INVALID, "device, communicator or ranks is NULL");
    *out = NULL;
    if (options != NULL && (options->struct_size < sizeof *options || !(options->deadline_ms >= 0) || !(options->speed >= 0 && options->speed < 1e30f)))
        return ranks_fail(error, RAPT_ERROR_INVALID, "rapt_ranks_options: struct_size is not %zu, or deadline_ms or speed is no number from 0 on", sizeof *options);
    MPI_Initialized(&initialised);
    if (!initialised)
        return ranks_fail(error, RAPT_ERROR_INVALID, "MPI is not initialised");
    rapt_ranks *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ranks_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for ranks");
    r->device = device;
    r->deadline = options != NULL && options->deadline_ms > 0 ? (double)options->deadline_ms * 1e-3 : DEADLINE_S;
    const rapt_status status = meet(r, *(const MPI_Comm *)communicator, options != NULL && options->speed > 0 ? options->speed : 1, error);
    if (status != RAPT_OK) {
        free(r->speeds);
        free(r);
        return status;
    }
    *out = r;
    return RAPT_OK;
}

void rapt_ranks_destroy(rapt_ranks **ranks)
{
    if (ranks == NULL || *ranks == NULL)
        return;
    if (!(*ranks)->failed) /* else it might wait for somebody who is gone */
        MPI_Comm_free(&(*ranks)->comm);
    free((*ranks)->speeds);
    free(*ranks);
    *ranks = NULL;
}

rapt_status rapt_ranks_describe(const rapt_ranks *r, rapt_ranks_info *info, rapt_error *error)
{
    if (r == NULL || info == NULL || info->struct_size < sizeof *info)
        return ranks_fail(error, RAPT_ERROR_INVALID, "ranks or info is NULL, or info->struct_size is not %zu", sizeof *info);
    *info = (rapt_ranks_info){info->struct_size, (uint32_t)r->rank, (uint32_t)r->count, r->bytes_sent};
    return RAPT_OK;
}

rapt_status ranks_ready(rapt_ranks *r, rapt_error *error)
{
    if (r == NULL)
        return ranks_fail(error, RAPT_ERROR_INVALID, "ranks is NULL");
    if (r->failed)
        return ranks_fail(error, RAPT_ERROR_IO, "rank %d of %d: an earlier call failed: destroy the ranks", r->rank, r->count);
    r->bytes_sent = 0;
    return RAPT_OK;
}

/* ---- transfers ---- */

static rapt_status begun(rapt_ranks *r, int code, const char *what, rapt_error *error)
{
    if (code != MPI_SUCCESS)
        return mpi_failed(r, code, what, error);
    r->request_count++;
    return RAPT_OK;
}

rapt_status ranks_count(const rapt_ranks *r, uint64_t floats, rapt_error *error)
{
    return floats <= INT_MAX ? RAPT_OK
                             : ranks_fail(error, RAPT_ERROR_UNSUPPORTED, "rank %d: %llu numbers in one transfer; MPI takes %d", r->rank,
                                          (unsigned long long)floats, INT_MAX);
}

bool ranks_are_pending(const rapt_ranks *r)
{
    return r->failed || r->request_count > 0;
}

rapt_status ranks_pass_on(rapt_ranks *r, const float *from, float *to, uint64_t floats, rapt_error *error)
{
    const int next = (r->rank + 1) % r->count, before = (r->rank + r->count - 1) % r->count;
    rapt_status status = ranks_count(r, floats, error);
    if (status == RAPT_OK)
        status = begun(r, MPI_Irecv(to, (int)floats, MPI_FLOAT, before, 0, r->comm, &r->requests[r->request_count]), "MPI_Irecv", error);
    if (status == RAPT_OK)
        status = begun(r, MPI_Isend(from, (int)floats, MPI_FLOAT, next, 0, r->comm, &r->requests[r->request_count]), "MPI_Isend", error);
    r->bytes_sent += status == RAPT_OK ? floats * sizeof *from : 0;
    return status;
}

rapt_status ranks_gather_all(rapt_ranks *r, const float *from, float *to, uint64_t floats, rapt_error *error)
{
    rapt_status status = ranks_count(r, floats, error);
    if (status == RAPT_OK)
        status = begun(r, MPI_Iallgather(from, (int)floats, MPI_FLOAT, to, (int)floats, MPI_FLOAT, r->comm, &r->requests[r->request_count]),
                       "MPI_Iallgather", error);
    r->bytes_sent += status == RAPT_OK ? floats * sizeof *from * (uint64_t)(r->count - 1) : 0;
    return status;
}

rapt_status ranks_exchange(rapt_ranks *r, const float *from, float *to, const int *counts, rapt_error *error)
{
    const int *sent = counts, *sent_at = counts + r->count, *taken = sent_at + r->count, *taken_at = taken + r->count;
    const rapt_status status = begun(r, MPI_Ialltoallv(from, sent, sent_at, MPI_FLOAT, to, taken, taken_at, MPI_FLOAT, r->comm,
                                                       &r->requests[r->request_count]), "MPI_Ialltoallv", error);
    for (int t = 0; t < r->count && status == RAPT_OK; t++)
        r->bytes_sent += t != r->rank ? (uint64_t)sent[t] * sizeof *from : 0;
    return status;
}

/* One look at what is under way. */
static rapt_status look(rapt_ranks *r, int *done, const char *what, rapt_error *error)
{
    MPI_Status statuses[RANKS_REQUESTS];
    const int code = MPI_Testall(r->request_count, r->requests, done, statuses);
    return code == MPI_SUCCESS ? RAPT_OK : mpi_failed(r, code, what, error);
}

/* Whoever waits leaves the core to ranks, and to devices, that have work. */
static void let_others(void)
{
#if !defined(_WIN32)
    sched_yield();
#endif
}

rapt_status ranks_arrive(rapt_ranks *r, const char *what, rapt_error *error)
{
    const double begin = MPI_Wtime();
    int done = 0;
    rapt_status status = RAPT_OK;
    while (status == RAPT_OK && !done) {
        status = look(r, &done, what, error);
        if (!done)
            let_others();
        if (status == RAPT_OK && !done && MPI_Wtime() - begin > r->deadline) {
            r->failed = true;
            status = ranks_fail(error, RAPT_ERROR_TIMEOUT, "rank %d of %d: %s was not there after %g ms: another rank is late or gone",
                                r->rank, r->count, what, r->deadline * 1e3);
        }
    }
    r->request_count = 0; /* after a failure they are left as they are */
    return status;
}

/* ---- the device ---- */

rapt_status ranks_buffer(rapt_ranks *r, const float *data, uint64_t floats, rapt_buffer **buffer, rapt_error *error)
{
    rapt_status status = rapt_buffer_create(r->device, floats * sizeof *data, buffer, error);
    return status == RAPT_OK && data != NULL ? rapt_buffer_upload(*buffer, 0, data, floats * sizeof *data, error) : status;
}

rapt_status ranks_run(rapt_ranks *r, rapt_binding **binding, rapt_error *error)
{
    rapt_status status = rapt_submit(*binding, error);
    const double begin = MPI_Wtime();
    while (status == RAPT_OK) {
        rapt_error why = {RAPT_OK, ""};
        int done;
        if (r->request_count > 0)
            status = look(r, &done, "a transfer", error);
        const rapt_status waited = rapt_wait(*binding, LOOK_NS, &why);
        if (waited == RAPT_OK)
            break;
        if (waited != RAPT_ERROR_TIMEOUT || MPI_Wtime() - begin > 600)
            status = ranks_fail(error, waited, "rank %d: %s", r->rank, why.message);
    }
    rapt_binding_destroy(binding);
    return status;
}

/* One step: the sum so far, after the first, and the next terms. */
typedef struct merging {
    uint32_t terms, next; /* of which so many are in the sum */
    uint64_t rows, d;
    const rapt_slot *x, *lse;
    rapt_buffer *sum, *sum_lse; /* NULL before the first step */
} merging;

static rapt_status merge_step(rapt_ranks *r, merging *m, rapt_error *error)
{
    rapt_combine_desc desc = RAPT_COMBINE_DESC_INIT;
    rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
    rapt_buffer *out = NULL, *out_lse = NULL;
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    uint32_t n = 0;
    desc.weights = m->lse != NULL ? RAPT_COMBINE_SOFTMAX : RAPT_COMBINE_PLAIN;
    desc.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, m->rows, m->d);
    desc.out.align = 4;
    rapt_tensor line = rapt_tensor_bhnd(RAPT_F32, 1, 1, m->rows, 1);
    line.rank = 3;
    line.align = 4;
    if (m->sum != NULL) {
        args.x[n] = (rapt_slot){m->sum, 0};
        args.weight[n++] = (rapt_slot){m->sum_lse, 0};
    }
    for (; n < RAPT_COMBINE_TERMS && m->next < m->terms; n++, m->next++) {
        args.x[n] = m->x[m->next];
        if (m->lse != NULL)
            args.weight[n] = m->lse[m->next];
    }
    for (uint32_t i = 0; i < n; i++) {
        desc.x[i] = desc.out;
        if (m->lse != NULL)
            desc.weight[i] = line;
    }
    rapt_status status = ranks_buffer(r, NULL, m->rows * m->d, &out, error);
    args.out.buffer = out;
    if (status == RAPT_OK && m->lse != NULL) {
        desc.lse = line;
        status = ranks_buffer(r, NULL, m->rows, &out_lse, error);
        args.lse.buffer = out_lse;
    }
    if (status == RAPT_OK)
        status = rapt_combine_plan(r->device, &desc, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_combine_bind(plan, &args, &binding, error);
    if (status == RAPT_OK)
        status = ranks_run(r, &binding, error);
    rapt_plan_destroy(&plan);
    rapt_buffer_destroy(&m->sum);
    rapt_buffer_destroy(&m->sum_lse);
    m->sum = out;
    m->sum_lse = out_lse;
    return status;
}

rapt_status ranks_merge(rapt_ranks *r, uint32_t terms, uint64_t rows, uint64_t d, const rapt_slot *x, const rapt_slot *lse, rapt_buffer **out,
                        rapt_buffer **out_lse, rapt_error *error)
{
    merging m = {.terms = terms, .rows = rows, .d = d, .x = x, .lse = lse};
    rapt_status status = RAPT_OK;
    while (status == RAPT_OK && m.next < terms)
        status = merge_step(r, &m, error);
    *out = m.sum;
    *out_lse = m.sum_lse;
    return status;
}
