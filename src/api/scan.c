/* Planning and binding scans, and the one-call form. */
#include "api/api.h"

rapt_status rapt_scan_plan(rapt_device *device, const rapt_scan_desc *desc, rapt_plan **plan, rapt_error *error)
{
    rapt_status status = rapt_check_plan_device(device, plan, error);
    if (status != RAPT_OK)
        return status;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    return rapt_plan_owned(rapt_scan_plan_new(device, &device->caps, desc, &verdicts, plan, error), plan);
}

rapt_status rapt_scan_plan_for_caps(const rapt_caps *caps, const rapt_scan_desc *desc, rapt_plan **plan,
                                    rapt_error *error)
{
    const rapt_status status = rapt_check_plan_caps(caps, plan, error);
    return status == RAPT_OK ? rapt_scan_plan_new(NULL, caps, desc, NULL, plan, error) : status;
}

rapt_status rapt_scan_bind(rapt_plan *plan, const rapt_scan_args *args, rapt_binding **binding, rapt_error *error)
{
    rapt_status status = rapt_check_bind(plan, RAPT_OP_SCAN, "one of a scan", args ? &args->struct_size : NULL, sizeof *args,
                                         "rapt_scan_args", binding, error);
    if (status != RAPT_OK)
        return status;
    const rapt_scan_problem *p = &plan->scan;
    const rapt_scan_tensor *t = p->tensor;
    const bool softmax = p->op == RAPT_SCAN_SOFTMAX, recurs = rapt_scan_recurs(p);
    const rapt_named_slot slots[] = {
        {"x", RAPT_ROLE_X, &args->x, t[RAPT_S_X].bytes, t[RAPT_S_X].align, false},
        {softmax ? "scores" : "a", RAPT_ROLE_COEF, softmax ? &args->scores : &args->a, t[RAPT_S_COEF].bytes,
         t[RAPT_S_COEF].align, false},
        {recurs ? "b" : "weight", RAPT_ROLE_SCAN_B, recurs ? &args->b : &args->weight, t[RAPT_S_B].bytes,
         t[RAPT_S_B].align, false},
        {"out", RAPT_ROLE_OUT, &args->out, t[RAPT_S_OUT].bytes, t[RAPT_S_OUT].align, true},
        {"c", RAPT_ROLE_SCAN_C, &args->c, t[RAPT_S_C].bytes, t[RAPT_S_C].align, false},
        {"dt", RAPT_ROLE_DT, &args->dt, t[RAPT_S_DT].bytes, t[RAPT_S_DT].align, false},
        {"z", RAPT_ROLE_SCAN_Z, &args->z, t[RAPT_S_Z].bytes, t[RAPT_S_Z].align, false},
        {recurs ? "skip" : "bias", RAPT_ROLE_SKIP, recurs ? &args->skip : &args->bias, t[RAPT_S_SKIP].bytes,
         t[RAPT_S_SKIP].align, false},
        {"state_in", RAPT_ROLE_STATE_IN, &args->state_in, t[RAPT_S_STATE_IN].bytes, t[RAPT_S_STATE_IN].align, false},
        {"state_out", RAPT_ROLE_STATE, &args->state_out, t[RAPT_S_STATE_OUT].bytes, t[RAPT_S_STATE_OUT].align, true},
        {"cu_seqlens", RAPT_ROLE_CU_Q, &args->cu_seqlens, p->varlen ? (p->batch + 1) * 4 : 0, 4, false},
        {"workspace", RAPT_ROLE_PART_ACC, &args->workspace, args->workspace.buffer ? plan->workspace_bytes : 0, 256, true},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{0}};
    status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
    if (status != RAPT_OK)
        return status;
    /* Where nothing is written, the state is read where it was given (one in the workspace finds its place there). */
    if (bound[RAPT_ROLE_STATE].buffer == NULL)
        bound[RAPT_ROLE_STATE] = bound[RAPT_ROLE_STATE_IN];
    if (p->flags & RAPT_SCAN_IN_PLACE)
        bound[RAPT_ROLE_STATE_IN] = bound[RAPT_ROLE_STATE];
    status = rapt_check_bound_usage(plan, bound, error);
    return status == RAPT_OK ? rapt_binding_create(plan->device, plan, bound, binding, error) : status;
}

rapt_status rapt_scan_run(rapt_device *device, const rapt_scan_desc *desc, const rapt_scan_args *args, rapt_error *error)
{
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_status status = rapt_scan_plan(device, desc, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_scan_bind(plan, args, &binding, error);
    return rapt_run_once(status, &plan, &binding, error);
}
