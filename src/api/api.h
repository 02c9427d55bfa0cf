/* The public calls that join the layers: plan, prepare, probe, bind. */
#ifndef RAPT_API_API_H
#define RAPT_API_API_H

#include "vk/exec.h"

/* rapt_attention_plan with chosen verdicts: NULL trusts every row (what a probe plans with). */
rapt_status rapt_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_attention_desc *desc,
                          const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error);

/* The same for linear attention. */
rapt_status rapt_linear_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_linear_desc *desc,
                                 const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error);

/* The same for routing. */
rapt_status rapt_route_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_route_desc *desc,
                                const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error);

/* The same for scans. */
rapt_status rapt_scan_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_scan_desc *desc,
                               const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error);

/* The same for memories that learn. */
rapt_status rapt_memory_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_memory_desc *desc,
                                 const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error);

/* The same for rows by index. */
rapt_status rapt_rows_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_rows_desc *desc,
                               const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error);

/* ---- what the public calls of all operators do alike ---- */

/* The arguments of rapt_.._plan, and of rapt_.._plan_for_caps; *plan is NULL then. */
rapt_status rapt_check_plan_device(const rapt_device *device, rapt_plan **plan, rapt_error *error);
rapt_status rapt_check_plan_caps(const rapt_caps *caps, rapt_plan **plan, rapt_error *error);
/* An empty plan by the device's allocator; device NULL: the default one. */
rapt_status rapt_plan_begin(rapt_device *device, rapt_plan **plan, rapt_error *error);
/* Notes that the plan is an app's own; hands `status` on. */
rapt_status rapt_plan_owned(rapt_status status, rapt_plan **plan);
/* The arguments of rapt_.._bind: a prepared plan of `op` ("the plan is not " what), and args by its struct_size (NULL: no args), at
 * least `size`, of this type. *binding is NULL then. */
rapt_status rapt_check_bind(const rapt_plan *plan, rapt_op op, const char *what, const uint32_t *struct_size, size_t size,
                            const char *type, rapt_binding **binding, rapt_error *error);
/* The end of rapt_.._run: submits, if all went well so far, waits, and destroys both. */
rapt_status rapt_run_once(rapt_status status, rapt_plan **plan, rapt_binding **binding, rapt_error *error);

/* What an operator's tensors are bound as. */
typedef struct rapt_named_slot {
    const char *name;
    rapt_role role;
    const rapt_slot *slot;
    uint64_t bytes; /* what must lie behind the offset; 0: not needed */
    uint32_t align; /* of the offset */
    bool output;
} rapt_named_slot;
/* Checks them (there, large enough, aligned; outputs overlap nothing) and fills `bound`. */
rapt_status rapt_bind_slots(const rapt_plan *plan, const rapt_named_slot *slots, size_t count,
                            rapt_bound bound[RAPT_ROLE_COUNT], rapt_error *error);
/* The uses that the plan's rows need of each operand's buffer. */
rapt_status rapt_check_bound_usage(const rapt_plan *plan, const rapt_bound bound[RAPT_ROLE_COUNT], rapt_error *error);

/* Compiles the plan's pipelines without judging them. On RAPT_ERROR_COMPILE *failed is the kernel at fault. */
rapt_status rapt_plan_compile(rapt_plan *plan, rapt_kernel **failed, rapt_error *error);

/* Runs a small problem with known answer through exactly the rows and constants of `plan` and notes the verdict.
 * RAPT_OK: the verdict is in the kernels. Other statuses: the probe could not be made (device lost, no memory). */
rapt_status rapt_probe_plan(rapt_plan *plan, rapt_error *error);
/* Its part for linear attention. */
rapt_status rapt_probe_linear(rapt_plan *plan, rapt_error *error);
rapt_status rapt_probe_route(rapt_plan *plan, rapt_error *error); /* .. and for routing */
rapt_status rapt_probe_rows(rapt_plan *plan, rapt_error *error);  /* .. and for rows by index */
rapt_status rapt_probe_place(rapt_plan *plan, rapt_error *error); /* .. that are rewritten as they are placed */
/* Its part for scans. */
rapt_status rapt_probe_scan(rapt_plan *plan, rapt_error *error);
rapt_status rapt_probe_memory(rapt_plan *plan, rapt_error *error); /* .. and for memories that learn */
/* And for what combines tensors. */
rapt_status rapt_probe_combine(rapt_plan *plan, rapt_error *error);
/* Notes a verdict on one of the plan's pipelines; what a probe's run ended with is noted likewise: true where that was the
 * end of it, and then *status is what rapt_probe_plan returns. */
void rapt_probe_note(const rapt_plan *plan, uint32_t pipeline, rapt_verdict_kind verdict, bool lasting, const char *reason);
bool rapt_probe_ended(const rapt_plan *plan, bool submitted, rapt_status *status, const rapt_error *why, rapt_error *error);
/* Waits for a probe's work, longer on software devices; notes a device that hangs. */
rapt_status rapt_probe_wait(rapt_device *device, rapt_binding *binding, rapt_error *error);

#endif
