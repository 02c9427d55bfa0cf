/* Linear attention in chunks: what each adds, states passed from one to the next, outputs from those; in spans of chunks whose
 * states fit the workspace. */
#include "plan/linear.h"

#include "common/linear_params.h"

/* Bytes of the workspace's states of chunks that all pipelines can bind. */
static uint64_t chunks_window(const rapt_plan *plan)
{
    uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        for (uint32_t k = 0; k < plan->pipelines[i].row->operand_count; k++)
            if (plan->pipelines[i].row->operands[k].role == RAPT_ROLE_CHUNKS)
                limit = RAPT_MIN(
                    limit, rapt_window_limit(&plan->caps,
                                             (rapt_operand_kind)plan->pipelines[i].row->operands[k].kind));
    return limit;
}

/* How many chunks the workspace holds, at most all; 0: not one. *need: bytes of one. */
static uint64_t chunks_at_once(const rapt_plan *plan, uint64_t all, uint64_t carry, uint64_t *need)
{
    const rapt_linear_problem *p = &plan->linear;
    const uint64_t states = p->batch * p->heads; /* fits: checked before */
    const uint64_t widest =
        4ull * RAPT_MAX((uint64_t)p->d_k * plan->layout.chunk_pitch, plan->layout.step_size);
    uint64_t each =
        4ull * ((uint64_t)p->d_k * (plan->layout.chunk_pitch + p->normalize) + plan->layout.step_size);
    *need = UINT64_MAX;
    if (!rapt_mul_u64(states, each, need) || *need > UINT64_MAX / 4)
        return 0;
    *need += carry + 1024; /* slots begin at multiples of 256 */
    if (*need > p->workspace_limit)
        return 0;
    uint64_t count = (p->workspace_limit - carry - 1024) / (states * each);
    count = RAPT_MIN(count, chunks_window(plan) / (states * widest));
    return RAPT_MIN(RAPT_MIN(count, all), plan->caps.max_groups[1]);
}

/* The row for what chunks add: one made for that, else one that walks. */
static rapt_status select_adds(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                               const rapt_kernel_row *main, const rapt_kernel_row **row, rapt_error *error)
{
    static const uint32_t chunks[] = {RAPT_PASS_CHUNKS}, both[] = {RAPT_PASS_OUT, RAPT_PASS_CHUNKS};
    const bool walks = main->supports & RAPT_ROW_WALKS;
    if (!(walks && plan->linear.kernel[0] != 0) &&
        rapt_linear_select(plan, table, verdicts, RAPT_ROW_ADDS, chunks, 1, row, NULL) == RAPT_OK)
        return RAPT_OK;
    return rapt_linear_select(plan, table, verdicts, RAPT_ROW_WALKS, walks ? both : chunks, walks ? 2 : 1, row,
                      error);
}

rapt_status rapt_linear_plan_chunked(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                     const rapt_kernel_row *row, double slice_flops, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    rapt_linear_layout *layout = &plan->layout;
    const bool has_in = p->tensor[RAPT_L_STATE_IN].present, has_out = p->tensor[RAPT_L_STATE_OUT].present;
    const bool products = p->rule != RAPT_LINEAR_NONE;
    layout->chunk = p->chunk ? p->chunk : RAPT_LINEAR_CHUNK;
    layout->chain = RAPT_MAX(rapt_div_up(p->tokens, layout->chunk), 1);
    layout->step_pitch = products ? (uint32_t)rapt_align_up(p->d_k, 4) : 0;
    layout->step_size = products                         ? p->d_k * layout->step_pitch
                        : p->decay == RAPT_DECAY_CHANNEL ? p->d_k
                        : p->decay == RAPT_DECAY_ONE     ? 0
                                                         : 1;
    const rapt_kernel_row *scan, *adds;
    rapt_status status = select_adds(plan, table, verdicts, row, &adds, error);
    if (status != RAPT_OK)
        return status;
    plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
    plan->pipelines[1] = (rapt_plan_pipeline){.row = adds, .base = adds};
    rapt_linear_constants(&plan->pipelines[0], plan, RAPT_PASS_OUT);
    rapt_linear_constants(&plan->pipelines[1], plan, RAPT_PASS_CHUNKS);
    status = rapt_linear_select(plan, table, verdicts, products ? RAPT_ROW_PRODUCTS : RAPT_ROW_SCANS, (uint32_t[]){0},
                        1, &scan, error);
    if (status != RAPT_OK)
        return status;
    plan->pipelines[2] = (rapt_plan_pipeline){.row = scan, .base = scan};
    rapt_linear_constants(&plan->pipelines[2], plan, 0);
    plan->pipeline_count = 3;
    const uint64_t states = p->batch * p->heads;
    uint64_t carry = 0, need;
    uint64_t count = chunks_at_once(plan, layout->chain, 0, &need);
    if (count > 0 && count < layout->chain && !has_out) { /* states are carried from span to span */
        if (!rapt_linear_carry_bytes(plan, &carry))
            count = 0;
        else
            count = chunks_at_once(plan, layout->chain, carry, &need);
    }
    if (count == 0 && need + carry <= p->workspace_limit)
        return rapt_fail(
            error, RAPT_ERROR_UNSUPPORTED,
            "the chunked form of this problem binds %llu bytes of states at once, this device %llu",
            (unsigned long long)need, (unsigned long long)chunks_window(plan));
    if (count == 0)
        return rapt_fail(
            error, RAPT_ERROR_UNSUPPORTED,
            "the chunked form of this problem needs a workspace of %llu bytes at least, the limit is %llu",
            (unsigned long long)(need + carry), (unsigned long long)p->workspace_limit);
    const double all = (double)p->flops;
    if (all > slice_flops)
        count = RAPT_MIN(count, (uint64_t)RAPT_MAX((double)layout->chain * slice_flops / all, 4.0));
    /* Tokens first: their windows may ask for shorter spans. */
    const double flops = rapt_linear_token_flops(p);
    rapt_linear_launch begin = {plan,
                    1,
                    RAPT_PASS_CHUNKS,
                    0,
                    0,
                    layout->chunk,
                    (uint32_t)count,
                    adds->supports & RAPT_ROW_ADDS
                        ? (uint32_t)rapt_div_up(p->d_k, adds->rows_per_tile)
                        : rapt_linear_column_blocks(adds, p->d_v) + (products ? rapt_linear_column_blocks(adds, p->d_k) : 0),
                    flops * (products ? 1.0 + (double)p->d_k / p->d_v : 0.6)};
    rapt_linear_launch pass = {
        plan,
        2,
        0,
        0,
        0,
        layout->chunk,
        (uint32_t)count,
        products ? (uint32_t)rapt_div_up(p->d_v, 4)
                 : (uint32_t)rapt_div_up((uint64_t)p->d_k * layout->chunk_pitch / 4, scan->rows_per_tile),
        flops / layout->chunk * (products ? p->d_k : 1.0)};
    rapt_linear_launch end = {plan,
                  0,
                  RAPT_PASS_OUT,
                  0,
                  0,
                  layout->chunk,
                  (uint32_t)count,
                  row->supports & RAPT_ROW_OUTPUTS ? (uint32_t)rapt_div_up(layout->chunk, row->rows_per_tile)
                                                   : rapt_linear_column_blocks(row, p->d_v),
                  flops};
    uint64_t span = count * layout->chunk;
    status = rapt_linear_fit_span(&begin, layout->chunk, &span, error);
    if (status == RAPT_OK)
        status = rapt_linear_fit_span(&end, layout->chunk, &span, error);
    if (status != RAPT_OK)
        return status;
    count = RAPT_MIN(rapt_div_up(span, layout->chunk), layout->chain);
    begin.chunks = pass.chunks = end.chunks = (uint32_t)count;
    layout->span = count * layout->chunk;
    const uint64_t spans = rapt_div_up(layout->chain, count);
    rapt_linear_add_slot(plan, RAPT_ROLE_CHUNKS, states * count * p->d_k * layout->chunk_pitch * 4);
    if (p->normalize)
        rapt_linear_add_slot(plan, RAPT_ROLE_CHUNK_NORMS, states * count * p->d_k * 4);
    if (layout->step_size != 0)
        rapt_linear_add_slot(plan, RAPT_ROLE_STEPS, states * count * layout->step_size * 4);
    if (spans > 1 && !has_out) {
        status = rapt_linear_add_carry(plan, error);
        if (status != RAPT_OK)
            return status;
    }
    for (uint64_t s = 0; s < spans; s++) {
        const rapt_linear_part x = {0, states, s * layout->span, RAPT_MIN(p->tokens, (s + 1) * layout->span)};
        /* The last span may have fewer chunks. */
        begin.chunks = pass.chunks = end.chunks =
            (uint32_t)RAPT_MAX(rapt_div_up(x.t1 - x.t0, layout->chunk), 1);
        begin.phase = (uint32_t)s * 3;
        pass.phase = begin.phase + 1;
        end.phase = begin.phase + 2;
        pass.flags = (s == 0 && has_in ? RAPT_LINEAR_READ_IN : 0) |
                     (s > 0 || p->in_place ? RAPT_LINEAR_READ_STATE : 0) |
                     (has_out || layout->carried ? RAPT_LINEAR_WRITE_STATE : 0);
        status = rapt_linear_add_part(&begin, &x, error);
        if (status == RAPT_OK)
            status = rapt_linear_add_part(&pass, &x, error);
        if (status == RAPT_OK)
            status = rapt_linear_add_part(&end, &x, error);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}
