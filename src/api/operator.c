/* What the public calls of all operators do alike. */
#include "api/api.h"

rapt_status rapt_check_plan_device(const rapt_device *device, rapt_plan **plan, rapt_error *error)
{
    if (device == NULL || plan == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", device == NULL ? "device" : "plan");
    *plan = NULL;
    return RAPT_OK;
}

rapt_status rapt_check_plan_caps(const rapt_caps *caps, rapt_plan **plan, rapt_error *error)
{
    if (caps == NULL || plan == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", caps == NULL ? "caps" : "plan");
    *plan = NULL;
    if ((unsigned)caps->device_class >= RAPT_CLASS_COUNT) /* rows are judged by it */
        return rapt_fail(error, RAPT_ERROR_INVALID, "caps.device_class is %d, of %d classes", (int)caps->device_class,
                         (int)RAPT_CLASS_COUNT);
    return RAPT_OK;
}

rapt_status rapt_plan_begin(rapt_device *device, rapt_plan **out, rapt_error *error)
{
    const rapt_allocator fallback = rapt_allocator_default(), *a = device != NULL ? &device->runtime->allocator : &fallback;
    rapt_plan *plan = rapt_calloc(a, 1, sizeof *plan);
    *out = plan;
    if (plan == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->allocator = *a;
    plan->device = device;
    return RAPT_OK;
}

rapt_status rapt_check_bind(const rapt_plan *plan, rapt_op op, const char *what, const uint32_t *struct_size, size_t size,
                            const char *type, rapt_binding **binding, rapt_error *error)
{
    if (plan == NULL || struct_size == NULL || binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL",
                         plan == NULL          ? "plan"
                         : struct_size == NULL ? "args"
                                               : "binding");
    *binding = NULL;
    if (*struct_size < size)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s.struct_size is %u, expected %zu", type, *struct_size, size);
    if (plan->op != op)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the plan is not %s", what);
    if (!plan->prepared)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the plan is not prepared: call rapt_plan_prepare first");
    return RAPT_OK;
}

rapt_status rapt_run_once(rapt_status status, rapt_plan **plan, rapt_binding **binding, rapt_error *error)
{
    if (status == RAPT_OK)
        status = rapt_submit(*binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(*binding, UINT64_MAX, error);
    rapt_binding_destroy(binding);
    rapt_plan_destroy(plan);
    return status;
}
