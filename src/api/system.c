/* A system's step on a device: the operator's own calls, with its tensors found among the recipe's. */
#include "api/api.h"

#include <rapt/system.h>

static rapt_slot slot(rapt_buffer *const *buffers, const rapt_system_operand *at)
{
    return at->tensor < 0 ? (rapt_slot){NULL, 0} : (rapt_slot){buffers[at->tensor], at->offset};
}

rapt_status rapt_system_step_plan(rapt_device *device, const rapt_system_step *step, rapt_plan **plan, rapt_error *error)
{
    if (step == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_system_step_plan: step is NULL");
    switch (step->op) {
    case RAPT_SYSTEM_LINEAR:
        return rapt_linear_plan(device, &step->linear, plan, error);
    case RAPT_SYSTEM_ROUTE:
        return rapt_route_plan(device, &step->route, plan, error);
    case RAPT_SYSTEM_ROWS:
        return rapt_rows_plan(device, &step->rows, plan, error);
    case RAPT_SYSTEM_COMBINE:
        return rapt_combine_plan(device, &step->combine, plan, error);
    case RAPT_SYSTEM_MEMORY:
        return rapt_memory_plan(device, &step->memory, plan, error);
    case RAPT_SYSTEM_SCAN:
        return rapt_scan_plan(device, &step->scan, plan, error);
    case RAPT_SYSTEM_ATTENTION:
        break;
    }
    return rapt_attention_plan(device, &step->attention, plan, error);
}

static rapt_status bind_scan(rapt_plan *plan, const rapt_system_step *step, rapt_buffer *const *buffers, rapt_binding **binding,
                             rapt_error *error)
{
    rapt_scan_args args = RAPT_SCAN_ARGS_INIT;
    args.x = slot(buffers, &step->x);
    args.out = slot(buffers, &step->out);
    args.a = slot(buffers, &step->a);
    args.scores = slot(buffers, &step->scores);
    args.b = slot(buffers, &step->b);
    args.c = slot(buffers, &step->c);
    args.dt = slot(buffers, &step->dt);
    args.skip = slot(buffers, &step->skip);
    args.z = slot(buffers, &step->z);
    args.weight = slot(buffers, &step->weight);
    args.bias = slot(buffers, &step->bias);
    args.state_in = slot(buffers, &step->state_in);
    args.state_out = slot(buffers, &step->state_out);
    return rapt_scan_bind(plan, &args, binding, error);
}

static rapt_status bind_memory(rapt_plan *plan, const rapt_system_step *step, rapt_buffer *const *buffers, rapt_binding **binding,
                               rapt_error *error)
{
    rapt_memory_args args = RAPT_MEMORY_ARGS_INIT;
    args.q = slot(buffers, &step->q);
    args.k = slot(buffers, &step->k);
    args.v = slot(buffers, &step->v);
    args.out = slot(buffers, &step->out);
    args.rates = slot(buffers, &step->rates);
    args.state_in = slot(buffers, &step->state_in);
    args.state_out = slot(buffers, &step->state_out);
    return rapt_memory_bind(plan, &args, binding, error);
}

rapt_status rapt_system_step_bind(rapt_plan *plan, const rapt_system_step *step, rapt_buffer *const *buffers,
                                  rapt_binding **binding, rapt_error *error)
{
    if (step == NULL || buffers == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_system_step_bind: %s is NULL", step == NULL ? "step" : "buffers");
    if (step->op == RAPT_SYSTEM_LINEAR) {
        rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
        args.q = slot(buffers, &step->q);
        args.k = slot(buffers, &step->k);
        args.v = slot(buffers, &step->v);
        args.out = slot(buffers, &step->out);
        args.decay = slot(buffers, &step->decay);
        args.beta = slot(buffers, &step->beta);
        args.state_in = slot(buffers, &step->state_in);
        args.state_out = slot(buffers, &step->state_out);
        args.a = slot(buffers, &step->a);
        args.b = slot(buffers, &step->b);
        args.norm_in = slot(buffers, &step->norm_in);
        args.norm_out = slot(buffers, &step->norm_out);
        args.scale_q = slot(buffers, &step->scale_q);
        args.scale_k = slot(buffers, &step->scale_k);
        return rapt_linear_bind(plan, &args, binding, error);
    }
    if (step->op == RAPT_SYSTEM_ROUTE) {
        rapt_route_args args = RAPT_ROUTE_ARGS_INIT;
        args.q = slot(buffers, &step->q);
        args.k = slot(buffers, &step->k);
        args.summary = slot(buffers, &step->summary);
        args.scores = slot(buffers, &step->scores);
        args.mask = slot(buffers, &step->mask);
        args.list = slot(buffers, &step->list);
        args.within = slot(buffers, &step->within);
        return rapt_route_bind(plan, &args, binding, error);
    }
    if (step->op == RAPT_SYSTEM_MEMORY)
        return bind_memory(plan, step, buffers, binding, error);
    if (step->op == RAPT_SYSTEM_SCAN)
        return bind_scan(plan, step, buffers, binding, error);
    if (step->op == RAPT_SYSTEM_ROWS) {
        rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
        args.x = slot(buffers, &step->x);
        args.list = slot(buffers, &step->list);
        args.weight = slot(buffers, &step->weight);
        args.out = slot(buffers, &step->out);
        return rapt_rows_bind(plan, &args, binding, error);
    }
    if (step->op == RAPT_SYSTEM_COMBINE) {
        rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
        args.out = slot(buffers, &step->out);
        args.norm_weight = slot(buffers, &step->norm_weight);
        args.gate = slot(buffers, &step->gate);
        args.lse = slot(buffers, &step->lse);
        for (unsigned t = 0; t < RAPT_COMBINE_TERMS; t++) {
            args.x[t] = slot(buffers, &step->term[t]);
            args.weight[t] = slot(buffers, &step->term_weight[t]);
        }
        return rapt_combine_bind(plan, &args, binding, error);
    }
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q = slot(buffers, &step->q);
    args.k = slot(buffers, &step->k);
    args.v = slot(buffers, &step->v);
    args.out = slot(buffers, &step->out);
    args.lse = slot(buffers, &step->lse);
    args.row_max = slot(buffers, &step->row_max);
    args.k_lengths = slot(buffers, &step->k_lengths);
    args.block_table = slot(buffers, &step->block_table);
    args.cu_seqlens_q = slot(buffers, &step->cu_seqlens_q);
    args.cu_seqlens_k = slot(buffers, &step->cu_seqlens_k);
    args.gate = slot(buffers, &step->gate);
    args.bias_u = slot(buffers, &step->bias_u);
    args.bias_v = slot(buffers, &step->bias_v);
    args.block_mask = slot(buffers, &step->block_mask);
    args.sinks = slot(buffers, &step->sinks);
    args.alibi = slot(buffers, &step->alibi);
    args.key_bias = slot(buffers, &step->key_bias);
    args.segments = slot(buffers, &step->segments);
    args.bias = slot(buffers, &step->bias);
    args.relative = slot(buffers, &step->relative);
    args.decay = slot(buffers, &step->decays);
    for (unsigned u = 0; u < RAPT_USER_BUFFERS; u++)
        args.user[u] = slot(buffers, &step->user[u]);
    return rapt_attention_bind(plan, &args, binding, error);
}
