/* Published systems on a device: a small problem, or one worth timing, of a row of the systems table, run through the public API
 * as its recipe says and held against its oracle. */
#ifndef RAPT_CHECK_RUNNER_SYSTEM_H
#define RAPT_CHECK_RUNNER_SYSTEM_H

#include "runner.h"
#include "systems.h"

typedef struct rapt_system_trial_step {
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_plan_info info;
} rapt_system_trial_step;

/* A problem with its recipe on a device: every step prepared and bound, inputs in place. */
typedef struct rapt_system_trial {
    rapt_device *device;
    const rapt_check_system *system;
    rapt_system_recipe *recipe;
    rapt_tensor layouts[RAPT_CHECK_FIELDS]; /* of the inputs */
    rapt_buffer *buffers[RAPT_SYSTEM_TENSORS];
    rapt_system_trial_step steps[RAPT_SYSTEM_STEPS];
    uint32_t main_step;       /* the one with the most work */
    rapt_plan_info info;      /* its kernels; work, dispatches and slices of all steps; inputs and outputs of the system once */
    bool lse;                 /* whether that output is there */
    bool counted;             /* work behind block masks that the steps make: known after the first check */
    rapt_check_expected exact, plain;
    double open_ns; /* of recipe, planning, preparing and binding */
} rapt_system_trial;

/* Rows of inputs lie `gap` elements apart, with NaN in between. Close in any case. */
rapt_status rapt_system_trial_open(rapt_device *device, uint32_t index, const rapt_check_system *system, uint64_t gap,
                                   rapt_system_trial *trial, rapt_error *error);
void rapt_system_trial_close(rapt_system_trial *trial);

/* Submits step after step and waits for each. The sums of their times in nanoseconds, device_ns negative without timestamps;
 * either may be NULL. */
rapt_status rapt_system_trial_submit(rapt_system_trial *trial, double *device_ns, double *wall_ns, rapt_error *error);

/* Poisons all that is written, runs once and compares the outputs with the oracle's, within twice the error of the plainest
 * implementation in single precision. result.out and .lse: of the outputs of these names. After it trial->info.flops counts the
 * pairs alone that block masks show, also those that the device made. */
rapt_result rapt_system_trial_check(rapt_system_trial *trial);

/* Problems worth timing, by name: SYSTEM@1024f32 is the table's `bench` with 1,024 tokens, SYSTEM#1f16 the first of its checks.
 * SYSTEM: what stands before the bracket of the table's name, or all of it, in lower case with dashes. */
typedef struct rapt_system_case {
    char name[128], problem[512]; /* problem: see systems.h */
    uint32_t index;               /* of the system */
    rapt_dtype dtype;
} rapt_system_case;

/* False: not of that form, no system of that name that works, or none with such a problem. */
bool rapt_system_case_parse(const char *name, rapt_system_case *out);
/* One of each system that works, with 1,024 tokens where it has a `bench`, else its first check. From malloc; NULL: no memory. */
rapt_system_case *rapt_system_cases(size_t *count);

#endif
