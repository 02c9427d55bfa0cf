/* Whether kernels compute what they should on a problem of any size: a sample of rows against double
 * precision, and all elements of one result against another's. */
#ifndef RAPT_API_PROOF_H
#define RAPT_API_PROOF_H

#include "api/race.h"

enum {
    RAPT_PROOF_CU_Q = RAPT_T_LSE + 1, /* after q, k, v, out and lse */
    RAPT_PROOF_CU_K,
    RAPT_PROOF_SINKS,
    RAPT_PROOF_ALIBI,
    RAPT_PROOF_TABLE,
    RAPT_PROOF_LENGTHS,
    RAPT_PROOF_BUFFERS
};

/* A problem with random inputs on host and device, and two results. */
typedef struct rapt_proof {
    rapt_device *device;
    rapt_attention_desc desc;
    rapt_problem problem;
    rapt_attention_args args; /* to bind: every candidate writes the same outputs */
    rapt_buffer *buffers[RAPT_PROOF_BUFFERS];
    uint64_t bytes[RAPT_PROOF_BUFFERS]; /* 0: it has no such tensor */
    uint8_t *data[RAPT_PROOF_BUFFERS];  /* of what is read */
    uint8_t *out[RAPT_PROOF_RESULTS];
    uint8_t *lse[RAPT_PROOF_RESULTS]; /* NULL where not wanted */
    double *scores, *row;             /* of one query */
} rapt_proof;

/* The memory and the inputs. Free in any case. */
rapt_status rapt_proof_make(rapt_device *device, const rapt_attention_desc *desc, const rapt_problem *problem,
                            rapt_proof *proof, rapt_error *error);
void rapt_proof_free(rapt_proof *proof);

/* Poisons the outputs, submits, waits, and takes the result down into out[which]. */
rapt_status rapt_proof_run(rapt_proof *proof, rapt_binding *binding, int which, rapt_error *error);
/* The worst error of a sample of rows as a share of what is allowed; infinite for NaN. */
double rapt_proof_sample(rapt_proof *proof, int which);
/* The worst difference between the latest result and the reference, as a share of what is allowed. Above 1,
 * *culprit is the result that is off from double precision in that row, or -1 where both are within bounds.
 */
double rapt_proof_compare(rapt_proof *proof, int *culprit);

#endif
