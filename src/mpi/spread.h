/* One call of librapt_mpi that makes attention: what it has, and its steps. */
#ifndef RAPT_MPI_SPREAD_H
#define RAPT_MPI_SPREAD_H

#include "ranks.h"

/* What a call has on its device and in between. */
typedef struct ranks_job {
    rapt_ranks *r;
    const rapt_ranks_attention *s;
    uint64_t q_floats, k_floats, v_floats, out_floats, rows; /* of this rank's share; rows of out */
    rapt_buffer *q, *k, *v;
    rapt_buffer *part, *part_lse; /* of the keys that are there */
    rapt_buffer *out, *lse;       /* of all so far */
    float *host[2];
} ranks_job;

/* The beginning of a call; refuses shares that make no sense. */
rapt_status ranks_job_make(ranks_job *j, rapt_ranks *r, const rapt_ranks_attention *s, rapt_error *error);
/* The end of every call, good or not. */
rapt_status ranks_job_end(ranks_job *j, rapt_status status);
/* j->host, of so many floats each. */
rapt_status ranks_take_host(ranks_job *j, uint64_t first, uint64_t second, rapt_error *error);
/* To NULL: nothing. */
rapt_status ranks_download(rapt_buffer *from, float *to, uint64_t floats, rapt_error *error);

/* Attention of queries [q0, q0 + nq) of this rank to the first nk of the `keys` keys on the device. */
typedef struct ranks_piece {
    uint64_t q0, nq, nk, keys;
    bool causal;
    int64_t offset;
} ranks_piece;

/* Into new buffers j->part and j->part_lse; other rows see no key. */
rapt_status ranks_attend(ranks_job *j, const ranks_piece *p, rapt_error *error);

#endif
