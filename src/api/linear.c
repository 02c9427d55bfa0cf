/* Planning and binding linear attention, and the one-call form. */
#include "api/api.h"
#include "op/record.h"

rapt_status rapt_linear_plan(rapt_device *device, const rapt_linear_desc *desc, rapt_plan **plan,
                             rapt_error *error)
{
    rapt_status status = rapt_check_plan_device(device, plan, error);
    if (status != RAPT_OK)
        return status;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    status = rapt_plan_owned(rapt_linear_plan_new(device, &device->caps, desc, &verdicts, plan, error), plan);
    if (status == RAPT_OK) {
        (*plan)->recorded = rapt_record_takes_linear(&(*plan)->outer);
        (*plan)->record_key = rapt_record_linear_key(&(*plan)->outer);
    }
    return status;
}

rapt_status rapt_linear_plan_for_caps(const rapt_caps *caps, const rapt_linear_desc *desc, rapt_plan **plan,
                                      rapt_error *error)
{
    const rapt_status status = rapt_check_plan_caps(caps, plan, error);
    return status == RAPT_OK ? rapt_linear_plan_new(NULL, caps, desc, NULL, plan, error) : status;
}

/* Where features are made first, the app's tensors are what they are made from; those of the workspace find their place there. */
static void bind_sources(const rapt_plan *plan, rapt_bound bound[RAPT_ROLE_COUNT])
{
    static const uint8_t pairs[][2] = {
        {RAPT_ROLE_SOURCE_Q, RAPT_ROLE_Q}, {RAPT_ROLE_SOURCE_K, RAPT_ROLE_K},   {RAPT_ROLE_SOURCE_V, RAPT_ROLE_V},
        {RAPT_ROLE_SOURCE_A, RAPT_ROLE_A}, {RAPT_ROLE_SOURCE_B, RAPT_ROLE_B},   {RAPT_ROLE_RESULT, RAPT_ROLE_OUT},
        {RAPT_ROLE_STATE_OUT, RAPT_ROLE_STATE}, {RAPT_ROLE_NORM_OUT, RAPT_ROLE_NORM},
    };
    for (size_t i = 0; i < RAPT_COUNT(pairs); i++)
        bound[pairs[i][0]] = bound[pairs[i][1]];
    if (plan->outer.in_place) {
        bound[RAPT_ROLE_STATE_IN] = bound[RAPT_ROLE_STATE];
        bound[RAPT_ROLE_NORM_IN] = bound[RAPT_ROLE_NORM];
    }
    for (uint32_t i = 0; i < plan->slot_count; i++)
        bound[plan->slots[i].role] = (rapt_bound){0};
}

rapt_status rapt_linear_bind(rapt_plan *plan, const rapt_linear_args *args, rapt_binding **binding,
                             rapt_error *error)
{
    rapt_status status = rapt_check_bind(plan, RAPT_OP_LINEAR, "one of linear attention", args ? &args->struct_size : NULL, sizeof *args,
                                         "rapt_linear_args", binding, error);
    if (status != RAPT_OK)
        return status;
    const rapt_linear_problem *p = &plan->outer;
    const rapt_linear_tensor *t = p->tensor;
    const rapt_named_slot slots[] = {
        {"q", RAPT_ROLE_Q, &args->q, t[RAPT_L_Q].bytes, t[RAPT_L_Q].align, false},
        {"k", RAPT_ROLE_K, &args->k, t[RAPT_L_K].bytes, t[RAPT_L_K].align, false},
        {"v", RAPT_ROLE_V, &args->v, t[RAPT_L_V].bytes, t[RAPT_L_V].align, false},
        {"out", RAPT_ROLE_OUT, &args->out, t[RAPT_L_OUT].bytes, t[RAPT_L_OUT].align, true},
        {"a", RAPT_ROLE_A, &args->a, t[RAPT_L_A].bytes, t[RAPT_L_A].align, false},
        {"b", RAPT_ROLE_B, &args->b, t[RAPT_L_B].bytes, t[RAPT_L_B].align, false},
        {p->decay == RAPT_DECAY_CHANNEL ? "gate" : "decay", RAPT_ROLE_DECAY, &args->decay,
         t[RAPT_L_DECAY].bytes, t[RAPT_L_DECAY].align, false},
        {"beta", RAPT_ROLE_BETA, &args->beta, t[RAPT_L_BETA].bytes, t[RAPT_L_BETA].align, false},
        {"state_in", RAPT_ROLE_STATE_IN, &args->state_in, t[RAPT_L_STATE_IN].bytes, t[RAPT_L_STATE_IN].align,
         false},
        {"norm_in", RAPT_ROLE_NORM_IN, &args->norm_in, t[RAPT_L_NORM_IN].bytes, t[RAPT_L_NORM_IN].align,
         false},
        {"state_out", RAPT_ROLE_STATE, &args->state_out, t[RAPT_L_STATE_OUT].bytes, t[RAPT_L_STATE_OUT].align,
         true},
        {"norm_out", RAPT_ROLE_NORM, &args->norm_out, t[RAPT_L_NORM_OUT].bytes, t[RAPT_L_NORM_OUT].align,
         true},
        {"scale_q", RAPT_ROLE_SCALE_Q, &args->scale_q, t[RAPT_L_SCALE_Q].bytes, t[RAPT_L_SCALE_Q].align, false},
        {"scale_k", RAPT_ROLE_SCALE_K, &args->scale_k, t[RAPT_L_SCALE_K].bytes, t[RAPT_L_SCALE_K].align, false},
        {"cu_seqlens", RAPT_ROLE_CU_Q, &args->cu_seqlens, p->varlen ? (p->batch + 1) * 4 : 0, 4, false},
        {"workspace", RAPT_ROLE_PART_ACC, &args->workspace,
         args->workspace.buffer ? plan->workspace_bytes : 0, 256, true},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{0}};
    status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
    if (status != RAPT_OK)
        return status;
    /* Where nothing is written, states are read where they were given (those in the workspace find their
     * place there). */
    if (bound[RAPT_ROLE_STATE].buffer == NULL)
        bound[RAPT_ROLE_STATE] = bound[RAPT_ROLE_STATE_IN];
    if (bound[RAPT_ROLE_NORM].buffer == NULL)
        bound[RAPT_ROLE_NORM] = bound[RAPT_ROLE_NORM_IN];
    if (p->mapped)
        bind_sources(plan, bound);
    status = rapt_check_bound_usage(plan, bound, error);
    return status == RAPT_OK ? rapt_binding_create(plan->device, plan, bound, binding, error) : status;
}

rapt_status rapt_linear_run(rapt_device *device, const rapt_linear_desc *desc, const rapt_linear_args *args,
                            rapt_error *error)
{
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_status status = rapt_linear_plan(device, desc, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_linear_bind(plan, args, &binding, error);
    return rapt_run_once(status, &plan, &binding, error);
}
