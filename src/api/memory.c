/* Planning and binding memories that learn. */
#include "api/api.h"

rapt_status rapt_memory_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_memory_desc *desc,
                                 const rapt_verdicts *verdicts, rapt_plan **out, rapt_error *error)
{
    rapt_memory_problem problem;
    *out = NULL;
    rapt_status status = rapt_memory_problem_make(desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_plan_begin(device, out, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_memory_plan_make(*out, &problem, caps, rapt_kernels(), verdicts, error);
    if (status != RAPT_OK)
        rapt_plan_destroy(out);
    return status;
}

rapt_status rapt_memory_plan(rapt_device *device, const rapt_memory_desc *desc, rapt_plan **plan, rapt_error *error)
{
    rapt_status status = rapt_check_plan_device(device, plan, error);
    if (status != RAPT_OK)
        return status;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    return rapt_plan_owned(rapt_memory_plan_new(device, &device->caps, desc, &verdicts, plan, error), plan);
}

rapt_status rapt_memory_plan_for_caps(const rapt_caps *caps, const rapt_memory_desc *desc, rapt_plan **plan, rapt_error *error)
{
    const rapt_status status = rapt_check_plan_caps(caps, plan, error);
    return status == RAPT_OK ? rapt_memory_plan_new(NULL, caps, desc, NULL, plan, error) : status;
}

rapt_status rapt_memory_bind(rapt_plan *plan, const rapt_memory_args *args, rapt_binding **binding, rapt_error *error)
{
    rapt_status status = rapt_check_bind(plan, RAPT_OP_MEMORY, "one of a memory", args ? &args->struct_size : NULL, sizeof *args,
                                         "rapt_memory_args", binding, error);
    if (status != RAPT_OK)
        return status;
    const rapt_memory_tensor *t = plan->memory.tensor;
    const rapt_named_slot slots[] = {
        {"q", RAPT_ROLE_Q, &args->q, t[RAPT_MEM_Q].bytes, t[RAPT_MEM_Q].align, false},
        {"k", RAPT_ROLE_K, &args->k, t[RAPT_MEM_K].bytes, t[RAPT_MEM_K].align, false},
        {"v", RAPT_ROLE_V, &args->v, t[RAPT_MEM_V].bytes, t[RAPT_MEM_V].align, false},
        {"out", RAPT_ROLE_OUT, &args->out, t[RAPT_MEM_OUT].bytes, t[RAPT_MEM_OUT].align, true},
        {"rates", RAPT_ROLE_DECAY, &args->rates, t[RAPT_MEM_RATES].bytes, t[RAPT_MEM_RATES].align, false},
        {"state_in", RAPT_ROLE_STATE_IN, &args->state_in, t[RAPT_MEM_STATE_IN].bytes, t[RAPT_MEM_STATE_IN].align, false},
        {"state_out", RAPT_ROLE_STATE_OUT, &args->state_out, t[RAPT_MEM_STATE_OUT].bytes, t[RAPT_MEM_STATE_OUT].align, true},
        {"workspace", RAPT_ROLE_PART_ACC, &args->workspace, args->workspace.buffer ? plan->workspace_bytes : 0, 256, true},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{0}};
    status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
    if (status == RAPT_OK)
        status = rapt_check_bound_usage(plan, bound, error);
    return status == RAPT_OK ? rapt_binding_create(plan->device, plan, bound, binding, error) : status;
}
