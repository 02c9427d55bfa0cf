/* Problems of linear attention for `rapt check linear`: a list of cases, and running one on a device through the public API
 * against the recurrence in double precision. */
#ifndef RAPT_CHECK_RUNNER_LINEAR_H
#define RAPT_CHECK_RUNNER_LINEAR_H

#include "runner.h"

typedef enum rapt_linear_case_decay { RAPT_CASE_DECAY_ONE = 0, RAPT_CASE_DECAY_HEAD, RAPT_CASE_DECAY_TOKEN, RAPT_CASE_DECAY_CHANNEL } rapt_linear_case_decay;

/* What is 0 is absent, or the usual. */
typedef struct rapt_linear_case {
    const char *name;
    rapt_dtype dtype;
    uint64_t batch, heads, heads_k, n, d_k, d_v; /* heads_k: of q and k; 0: as many */
    rapt_linear_rule rule;
    rapt_linear_form form;
    rapt_linear_case_decay decay;
    rapt_phi feature, feature_k;
    uint32_t flags; /* rapt_linear_flags */
    bool beta, states, odd; /* states: in and out; odd: gaps of odd sizes between rows, bases at odd elements */
    bool extreme;           /* some decays are 0, or their logarithms -80 */
    uint32_t sequences, length[4];
    uint64_t workspace_limit;
    uint32_t groups; /* RAPT_CASE_QUICK, _FULL, _CORE */
} rapt_linear_case;

/* All cases, in an order that never changes. */
const rapt_linear_case *rapt_linear_cases(size_t *count);

/* As rapt_check_run. result.out is of the output, result.lse of the final states. Gaps between rows and the workspace hold NaN, and
 * nothing may be written into the gaps. */
rapt_result rapt_check_linear_run(rapt_device *device, const rapt_linear_case *c, const char *kernel, uint32_t repeats);

/* A problem on a device with numbers made for it: prepared, bound, ready to be submitted; as rapt_trial. */
typedef struct rapt_linear_trial {
    rapt_device *device;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_plan_info info;
    double open_ns; /* of planning, preparing and binding; without the buffers */
    struct rapt_linear_numbers *numbers;
} rapt_linear_trial;

/* lengths: of desc->sequences, together all tokens. Neither a feature map of an app nor states at positions. kernel: NULL or the row to
 * force. The problem is planned before there is memory for it; the proof, of every element, takes host memory of 16 bytes an output
 * element. Close in any case. */
rapt_status rapt_linear_trial_open(rapt_device *device, const rapt_linear_desc *desc, const uint32_t *lengths, const char *kernel,
                                   rapt_linear_trial *trial, rapt_error *error);
void rapt_linear_trial_close(rapt_linear_trial *trial);
/* Submits and waits. Times in nanoseconds; either may be NULL. States in place go on from where they are. */
rapt_status rapt_linear_trial_submit(rapt_linear_trial *trial, double *device_ns, double *wall_ns, rapt_error *error);
/* From the numbers as made, 1 + repeats times; as rapt_check_linear_run. */
rapt_result rapt_linear_trial_check(rapt_linear_trial *trial, uint32_t repeats);

#endif
