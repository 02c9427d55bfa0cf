/* Planning and binding routing, and the one-call form. */
#include "api/api.h"

rapt_status rapt_route_plan(rapt_device *device, const rapt_route_desc *desc, rapt_plan **plan, rapt_error *error)
{
    if (device == NULL || plan == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", device == NULL ? "device" : "plan");
    *plan = NULL;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    return rapt_route_plan_new(device, &device->caps, desc, &verdicts, plan, error);
}

rapt_status rapt_route_plan_for_caps(const rapt_caps *caps, const rapt_route_desc *desc, rapt_plan **plan, rapt_error *error)
{
    if (caps == NULL || plan == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", caps == NULL ? "caps" : "plan");
    *plan = NULL;
    if ((unsigned)caps->device_class >= RAPT_CLASS_COUNT) /* rows are judged by it */
        return rapt_fail(error, RAPT_ERROR_INVALID, "caps.device_class is %d, of %d classes", (int)caps->device_class,
                         (int)RAPT_CLASS_COUNT);
    return rapt_route_plan_new(NULL, caps, desc, NULL, plan, error);
}

rapt_status rapt_route_bind(rapt_plan *plan, const rapt_route_args *args, rapt_binding **binding, rapt_error *error)
{
    if (plan == NULL || args == NULL || binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL",
                         plan == NULL   ? "plan"
                         : args == NULL ? "args"
                                        : "binding");
    *binding = NULL;
    if (args->struct_size < sizeof *args)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_route_args.struct_size is %u, expected %zu", args->struct_size,
                         sizeof *args);
    if (plan->op != RAPT_OP_ROUTE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the plan is not one of routing");
    if (!plan->prepared)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the plan is not prepared: call rapt_plan_prepare first");
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
        {"workspace", RAPT_ROLE_PART_ACC, &args->workspace, args->workspace.buffer ? plan->workspace_bytes : 0, 256, true},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{NULL, 0}};
    rapt_status status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
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
    if (status == RAPT_OK)
        status = rapt_submit(binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(binding, UINT64_MAX, error);
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    return status;
}
