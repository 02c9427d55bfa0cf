/* Binding attention's tensors to a plan, and the one-call form. */
#include "api/api.h"

#include <string.h>

static rapt_status check_slot(const rapt_device *device, const rapt_named_slot *n, rapt_error *error)
{
    if (n->slot->buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is not bound", n->name);
    const rapt_buffer *b = n->slot->buffer;
    if (b->device != device)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s lies in a buffer of another device", n->name);
    if (n->slot->offset > b->size || n->bytes > b->size - n->slot->offset)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s needs %llu bytes at offset %llu, its buffer has %llu", n->name,
                         (unsigned long long)n->bytes, (unsigned long long)n->slot->offset,
                         (unsigned long long)b->size);
    if ((n->slot->offset + b->offset) % n->align != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "%s lies at byte %llu of its VkBuffer, but the plan was promised a multiple of %u "
                         "(rapt_tensor.align)",
                         n->name, (unsigned long long)(n->slot->offset + b->offset), n->align);
    return RAPT_OK;
}

/* Two slots overlap when their byte ranges in one VkBuffer do. */
static bool overlap(const rapt_named_slot *a, const rapt_named_slot *b)
{
    const rapt_buffer *x = a->slot->buffer, *y = b->slot->buffer;
    if (x->handle != y->handle)
        return false;
    uint64_t a0 = x->offset + a->slot->offset, b0 = y->offset + b->slot->offset;
    return a0 < b0 + b->bytes && b0 < a0 + a->bytes;
}

/* The uses that the plan's rows need of each operand's buffer. */
rapt_status rapt_check_bound_usage(const rapt_plan *plan, const rapt_bound bound[RAPT_ROLE_COUNT], rapt_error *error)
{
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        const rapt_kernel_row *row = plan->pipelines[i].row;
        for (uint32_t k = 0; k < row->operand_count; k++) {
            const rapt_kernel_operand *op = &row->operands[k];
            const rapt_buffer *b = bound[op->role].buffer;
            bool storage = op->kind == RAPT_OPERAND_STORAGE;
            if (b != NULL && !(b->usage & (storage ? RAPT_BUFFER_STORAGE : RAPT_BUFFER_UNIFORM_TEXEL)))
                return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                                 "kernel '%s' needs the %s usage on the buffer of %s, which has it not: "
                                 "say so in rapt_tensor.usage, and another kernel is chosen",
                                 row->name, storage ? "storage" : "uniform texel",
                                 rapt_role_name((rapt_role)op->role));
        }
    }
    return RAPT_OK;
}

rapt_status rapt_bind_slots(const rapt_plan *plan, const rapt_named_slot *slots, size_t count,
                            rapt_bound bound[RAPT_ROLE_COUNT], rapt_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (slots[i].bytes == 0)
            continue;
        rapt_status status = check_slot(plan->device, &slots[i], error);
        if (status != RAPT_OK)
            return status;
        bound[slots[i].role] = (rapt_bound){slots[i].slot->buffer, slots[i].slot->offset, slots[i].bytes, slots[i].output};
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            if (i != j && slots[i].output && slots[i].bytes != 0 && slots[j].bytes != 0 && overlap(&slots[i], &slots[j]))
                return rapt_fail(error, RAPT_ERROR_INVALID, "%s and %s overlap in memory", slots[i].name,
                                 slots[j].name);
    return RAPT_OK;
}

rapt_status rapt_attention_bind(rapt_plan *plan, const rapt_attention_args *args, rapt_binding **binding,
                                rapt_error *error)
{
    if (plan == NULL || args == NULL || binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL",
                         plan == NULL ? "plan" : args == NULL ? "args" : "binding");
    *binding = NULL;
    if (args->struct_size < sizeof *args)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_attention_args.struct_size is %u, expected %zu",
                         args->struct_size, sizeof *args);
    if (plan->op != RAPT_OP_ATTENTION)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the plan is not one of attention");
    if (!plan->prepared)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the plan is not prepared: call rapt_plan_prepare first");
    const rapt_problem *p = &plan->problem;
    uint64_t cu_bytes = p->varlen ? (p->batch + 1) * 4 : 0;
    uint64_t workspace = args->workspace.buffer ? plan->workspace_bytes : 0;
    const rapt_source q = p->prepared ? p->source[0]
                                      : (rapt_source){.bytes = p->bytes[RAPT_T_Q], .align = p->align[RAPT_T_Q]};
    const rapt_source k = p->prepared ? p->source[1]
                                      : (rapt_source){.bytes = p->bytes[RAPT_T_K], .align = p->align[RAPT_T_K]};
    const rapt_named_slot slots[14 + RAPT_X_COUNT + RAPT_USER_BUFFERS] = {
        {"q", p->prepared ? RAPT_ROLE_SOURCE_Q : RAPT_ROLE_Q, &args->q, q.bytes, q.align, false},
        {"k", p->prepared ? RAPT_ROLE_SOURCE_K : RAPT_ROLE_K, &args->k, k.bytes, k.align, false},
        {"bias_u", RAPT_ROLE_FACTOR_Q, &args->bias_u, p->factor[0].bytes, p->factor[0].align, false},
        {"bias_v", RAPT_ROLE_FACTOR_K, &args->bias_v, p->factor[1].bytes, p->factor[1].align, false},
        {"v", RAPT_ROLE_V, &args->v, p->bytes[RAPT_T_V], p->align[RAPT_T_V], false},
        {"cu_seqlens_q", RAPT_ROLE_CU_Q, &args->cu_seqlens_q, cu_bytes, 4, false},
        {p->ragged ? "k_lengths" : "cu_seqlens_k", RAPT_ROLE_CU_K, p->ragged ? &args->k_lengths : &args->cu_seqlens_k,
         p->ragged ? p->batch * 4 : cu_bytes, 4, false},
        {"out", RAPT_ROLE_OUT, &args->out, p->bytes[RAPT_T_OUT], p->align[RAPT_T_OUT], true},
        {"lse", RAPT_ROLE_LSE, &args->lse, p->lse && !p->lse_hidden ? p->bytes[RAPT_T_LSE] : 0, p->align[RAPT_T_LSE], true},
        {"col_sums", RAPT_ROLE_COL_SUMS, &args->col_sums, p->bytes[RAPT_T_COL_SUMS], p->align[RAPT_T_COL_SUMS], true},
        {"row_max", RAPT_ROLE_ROW_MAX, &args->row_max, p->bytes[RAPT_T_ROW_MAX], p->align[RAPT_T_ROW_MAX], true},
        {"sinks", RAPT_ROLE_SINKS, &args->sinks, p->extra[RAPT_X_SINKS].bytes, 4, false},
        {"alibi", RAPT_ROLE_ALIBI, &args->alibi, p->extra[RAPT_X_ALIBI].bytes, 4, false},
        {"key_bias", RAPT_ROLE_KEY_BIAS, &args->key_bias, p->extra[RAPT_X_KEY_BIAS].bytes, 4, false},
        {"segments", RAPT_ROLE_SEGMENTS, &args->segments, p->extra[RAPT_X_SEGMENTS].bytes, 4, false},
        {"relative", RAPT_ROLE_RELATIVE, &args->relative, p->extra[RAPT_X_RELATIVE].bytes, 4, false},
        {"decay", RAPT_ROLE_WEIGHT_DECAY, &args->decay, p->extra[RAPT_X_DECAY].bytes, 4, false},
        {"block_mask", RAPT_ROLE_BLOCK_MASK, &args->block_mask, p->extra[RAPT_X_BLOCKS].bytes, 4, false},
        {"block_table", RAPT_ROLE_BLOCK_TABLE, &args->block_table, p->extra[RAPT_X_PAGES].bytes, 4, false},
        {"gate", RAPT_ROLE_GATE, &args->gate, p->bytes[RAPT_T_GATE], p->align[RAPT_T_GATE], false},
        {"bias", RAPT_ROLE_BIAS, &args->bias, p->bytes[RAPT_T_BIAS], RAPT_MAX(p->align[RAPT_T_BIAS], 4), false},
        {"workspace", RAPT_ROLE_PART_ACC, &args->workspace, workspace, 256, true},
        {p->user_names[0], RAPT_ROLE_USER, &args->user[0], p->user_elements[0] * 4ull, 4, false},
        {p->user_names[1], RAPT_ROLE_USER + 1, &args->user[1], p->user_elements[1] * 4ull, 4, false},
        {p->user_names[2], RAPT_ROLE_USER + 2, &args->user[2], p->user_elements[2] * 4ull, 4, false},
        {p->user_names[3], RAPT_ROLE_USER + 3, &args->user[3], p->user_elements[3] * 4ull, 4, false},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{0}};
    rapt_status status;
    status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
    for (unsigned x = RAPT_ROLE_SINKS; x <= RAPT_ROLE_BLOCK_TABLE && !plan->extras.packed; x++)
        if (bound[x].buffer != NULL)
            bound[RAPT_ROLE_EXTRA] = bound[x]; /* the only one */
    if (status != RAPT_OK)
        return status;
    if (p->prepared) /* where they come to lie */
        bound[RAPT_ROLE_Q] = bound[RAPT_ROLE_K] = bound[RAPT_ROLE_PART_ACC];
    status = rapt_check_bound_usage(plan, bound, error);
    if (status != RAPT_OK)
        return status;
    return rapt_binding_create(plan->device, plan, bound, binding, error);
}

rapt_status rapt_attention_run(rapt_device *device, const rapt_attention_desc *desc, const rapt_attention_args *args,
                               rapt_error *error)
{
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_status status = rapt_attention_plan(device, desc, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_attention_bind(plan, args, &binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(binding, UINT64_MAX, error);
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    return status;
}
