/* Runs a problem on a device through the public API and says whether the result is right. */
#ifndef RAPT_CHECK_RUNNER_H
#define RAPT_CHECK_RUNNER_H

#include "compare.h"
#include "problem.h"

#include <rapt/rapt.h>

/* What rapt_plan_info.precision says of kernels whose softmax weights are 16-bit. */
#define RAPT_HALF_WEIGHTS " weights,"

typedef enum rapt_check_verdict {
    RAPT_CHECK_PASS = 0,
    RAPT_CHECK_FAIL,    /* wrong numbers, writes where none belong, different bits in a second run, false
                             promises */
    RAPT_CHECK_REFUSED, /* the plan refused it, with a reason */
    RAPT_CHECK_ERROR,   /* a call failed */
} rapt_check_verdict;

typedef struct rapt_result {
    rapt_check_verdict verdict;
    rapt_error error; /* of REFUSED and ERROR */
    rapt_plan_info info;
    rapt_check_difference out, lse;
    double device_ns, wall_ns; /* of the run; device_ns is negative where the queue has no timestamps */
    uint32_t runs;      /* that were judged: 1 and the repeats */
    uint32_t wrong;     /* of them, those with wrong numbers or writes where none belong */
    uint32_t differing; /* of them, those whose bits are other than the first one's */
    char message[400];         /* of FAIL: what is wrong, in one line; with repeats, in how many */
} rapt_result;

/* A problem on a device: prepared, bound, ready to be submitted. */
typedef struct rapt_trial {
    rapt_device *device;
    const rapt_check_problem *problem;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *buffers[RAPT_OP_COUNT], *workspace, *user[RAPT_USER_BUFFERS];
    rapt_buffer *col_sums, *row_max; /* where the descriptor has them; whoever put them there judges them */
    rapt_plan_info info;
    double open_ns; /* of planning, preparing and binding; without the buffers */
} rapt_trial;

/* kernel: NULL or the row to force. Close in any case. */
rapt_status rapt_trial_open(rapt_device *device, const rapt_check_problem *problem, const char *kernel,
                            rapt_trial *trial, rapt_error *error);
void rapt_trial_close(rapt_trial *trial);

/* Submits and waits. Times in nanoseconds; either may be NULL. */
rapt_status rapt_trial_submit(rapt_trial *trial, double *device_ns, double *wall_ns, rapt_error *error);

/* Poisons outputs and workspace, submits 1 + repeats times, and compares each with the oracle and all bit for
 * bit. A wrong run does not end it: how many are wrong tells flaky hardware from a wrong kernel. */
rapt_result rapt_trial_check(rapt_trial *trial, uint32_t repeats);

/* Open, check, close. */
rapt_result rapt_check_run(rapt_device *device, const rapt_check_problem *problem, const char *kernel,
                           uint32_t repeats);

/* Of a clock that only runs forward. */
double rapt_check_now_ns(void);

const char *rapt_check_verdict_name(rapt_check_verdict verdict);

#endif
