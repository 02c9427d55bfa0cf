/* The public calls that join the layers: plan, prepare, probe, bind. */
#ifndef RAPT_API_API_H
#define RAPT_API_API_H

#include "vk/exec.h"

/* rapt_attention_plan with chosen verdicts: NULL trusts every row (what a probe plans with). */
rapt_status rapt_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_attention_desc *desc,
                          const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error);

/* Compiles the plan's pipelines without judging them. On RAPT_ERROR_COMPILE *failed is the kernel at fault. */
rapt_status rapt_plan_compile(rapt_plan *plan, rapt_kernel **failed, rapt_error *error);

/* Runs a small problem with known answer through exactly the rows and constants of `plan` and notes the verdict.
 * RAPT_OK: the verdict is in the kernels. Other statuses: the probe could not be made (device lost, no memory). */
rapt_status rapt_probe_plan(rapt_plan *plan, rapt_error *error);

#endif
