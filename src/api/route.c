/* Planning and binding routing, and the one-call form. */
#include "api/api.h"

rapt_status rapt_route_plan(rapt_device *device, const rapt_route_desc *desc, rapt_plan **plan, rapt_error *error)
{
    rapt_status status = rapt_check_plan_device(device, plan, error);
    if (status != RAPT_OK)
        return status;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    return rapt_plan_owned(rapt_route_plan_new(device, &device->caps, desc, &verdicts, plan, error), plan);
}

rapt_status rapt_route_plan_for_caps(const rapt_caps *caps, const rapt_route_desc *desc, rapt_plan **plan, rapt_error *error)
{
    const rapt_status status = rapt_check_plan_caps(caps, plan, error);
    return status == RAPT_OK ? rapt_route_plan_new(NULL, caps, desc, NULL, plan, error) : status;
}

rapt_status rapt_route_bind(rapt_plan *plan, const rapt_route_args *args, rapt_binding **binding, rapt_error *error)
{
    rapt_status status = rapt_check_bind(plan, RAPT_OP_ROUTE, "one of routing", args ? &args->struct_size : NULL, sizeof *args,
                                         "rapt_route_args", binding, error);
    if (status != RAPT_OK)
        return status;
    const rapt_route_problem *p = &plan->route;
    const rapt_route_tensor *t = p->tensor;
    const rapt_named_slot slots[] = {
        {"q", RAPT_ROLE_Q, &args->q, t[RAPT_R_Q].bytes, t[RAPT_R_Q].align, false},
        {"k", RAPT_ROLE_K, &args->k, t[RAPT_R_K].bytes, t[RAPT_R_K].align, false},
        {"summary", RAPT_ROLE_SUMMARY, &args->summary, t[RAPT_R_SUMMARY].bytes, t[RAPT_R_SUMMARY].align,
         p->first_block < p->blocks},
        {"scores", RAPT_ROLE_SCORES, &args->scores, t[RAPT_R_SCORES].bytes, t[RAPT_R_SCORES].align, !p->scores_given},
        {"mask", RAPT_ROLE_MASK, &args->mask, t[RAPT_R_MASK].bytes, t[RAPT_R_MASK].align, true},
        {"list", RAPT_ROLE_LIST, &args->list, t[RAPT_R_LIST].bytes, t[RAPT_R_LIST].align, true},
        {"within", RAPT_ROLE_WITHIN, &args->within, t[RAPT_R_WITHIN].bytes, t[RAPT_R_WITHIN].align, false},
        {"workspace", RAPT_ROLE_PART_ACC, &args->workspace, args->workspace.buffer ? plan->workspace_bytes : 0, 256, true},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{0}};
    status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
    if (status == RAPT_OK)
        status = rapt_check_bound_usage(plan, bound, error);
    return status == RAPT_OK ? rapt_binding_create(plan->device, plan, bound, binding, error) : status;
}

rapt_status rapt_route_run(rapt_device *device, const rapt_route_desc *desc, const rapt_route_args *args, rapt_error *error)
{
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_status status = rapt_route_plan(device, desc, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_route_bind(plan, args, &binding, error);
    return rapt_run_once(status, &plan, &binding, error);
}
