/* Linear attention as the definition has it, in double precision, on tensors of random numbers on host and device: what probes
 * and tuning hold kernels against. */
#ifndef RAPT_API_LINEAR_REFERENCE_H
#define RAPT_API_LINEAR_REFERENCE_H

#include "api/api.h"

typedef struct rapt_linear_trial {
    rapt_linear_desc desc;
    rapt_tensor *tensor[RAPT_L_COUNT]; /* of desc, in the order of RAPT_L_* */
    uint64_t heads, tokens, sequences; /* tokens of each; sequences: batch entries where they are not packed */
    uint64_t rows;                     /* of states */
    uint8_t *data[RAPT_L_COUNT];
    uint64_t bytes[RAPT_L_COUNT];
    rapt_buffer *buffer[RAPT_L_COUNT], *cu_seqlens;
    rapt_linear_args args; /* to bind */
    int32_t *cu;           /* of packed sequences, as long as each other */
    double *state, *norm;  /* (d_k, d_v) and (d_k): the reference's, of one sequence and head */
} rapt_linear_trial;

/* What a run wrote: tensors as the descriptor has them, or NULL. */
typedef struct rapt_linear_result {
    uint8_t *out, *state, *norm;
} rapt_linear_result;

/* What stands for every app's feature map: the row with code of an app is trusted when this comes out right. */
extern const char rapt_linear_probe_feature_map[];

/* Names the tensors of c->desc, which is filled in, as are heads, tokens, sequences and rows. */
void rapt_linear_trial_name(rapt_linear_trial *c);
/* The memory, the numbers, the buffers. To be closed in any case. */
rapt_status rapt_linear_trial_open(rapt_linear_trial *c, rapt_device *device, rapt_error *error);
/* Buffers too where `idle`: else work that is still running may touch them. */
void rapt_linear_trial_close(rapt_linear_trial *c, rapt_device *device, bool idle);
/* Memory for a result. To be freed in any case. */
rapt_status rapt_linear_result_make(const rapt_linear_trial *c, const rapt_device *device, rapt_linear_result *r, rapt_error *error);
void rapt_linear_result_free(const rapt_linear_trial *c, const rapt_device *device, rapt_linear_result *r);

/* Puts what is written back to what it was before a run: NaN, or the state that is updated in place. */
rapt_status rapt_linear_trial_reset(rapt_linear_trial *c, rapt_error *error);
/* Takes what a run wrote down from the device. */
rapt_status rapt_linear_trial_fetch(rapt_linear_trial *c, rapt_linear_result *r, rapt_error *error);

/* The worst error of a result as a share of what is allowed: of the first `most_tokens` tokens of at most `pairs` (sequence, head),
 * the first, the last and evenly between. *states: the same of their final states, where all tokens are gone through.
 * Infinite for NaN. */
double rapt_linear_trial_error(rapt_linear_trial *c, const rapt_linear_result *r, uint64_t pairs, uint64_t most_tokens,
                              double *states);
/* The worst difference of two results' outputs, in all elements, as a share of what is allowed of two. */
double rapt_linear_trial_difference(const rapt_linear_trial *c, const rapt_linear_result *a, const rapt_linear_result *b);

#endif
