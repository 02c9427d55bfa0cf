/* Linear attention token by token: sequences are walked in spans of bounded time. */
#include "plan/linear.h"
#include "plan/turns.h"

#include "common/linear_params.h"

static bool has_operand(const rapt_kernel_row *row, rapt_role role)
{
    for (uint32_t i = 0; i < row->operand_count; i++)
        if (row->operands[i].role == role)
            return true;
    return false;
}

rapt_status rapt_linear_recurrent_form(rapt_plan *plan, const rapt_kernel_row *row, double slice_flops,
                                       rapt_linear_form_plan *form, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    rapt_linear_layout *layout = &plan->layout;
    layout->chain = layout->span = p->tokens;
    plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
    rapt_linear_constants(&plan->pipelines[0], plan, RAPT_PASS_WHOLE);
    plan->pipeline_count = 1;
    form->chunked = false;
    form->walk = (rapt_linear_launch){.plan = plan,
                                      .pass = RAPT_PASS_WHOLE,
                                      .groups_x = rapt_linear_column_blocks(row, p->d_v),
                                      .flops = rapt_linear_token_flops(p)};
    if (p->empty)
        return RAPT_OK;
    const double all = (double)p->flops;
    if (all > slice_flops) /* whatever the batch is cut into, a slice ends after a span */
        layout->span = (uint64_t)RAPT_MAX((double)p->tokens * slice_flops / all, 256.0);
    layout->span = RAPT_MIN(layout->span, rapt_most_steps(&plan->caps, rapt_linear_token_turns(p)));
    if (layout->token_bytes != 0) {
        const uint64_t limit = p->workspace_limit;
        if (layout->fixed_bytes >= limit || (limit - layout->fixed_bytes) / layout->token_bytes == 0)
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                             "features of one token of this problem need a workspace of %llu bytes, the limit is %llu",
                             (unsigned long long)(layout->fixed_bytes + layout->token_bytes), (unsigned long long)limit);
        layout->span = RAPT_MIN(layout->span, (limit - layout->fixed_bytes) / layout->token_bytes);
    }
    return rapt_linear_fit_span(&form->walk, 1, &layout->span, error);
}

rapt_status rapt_linear_plan_recurrent(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                       const rapt_kernel_row *row, double slice_flops, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    const rapt_linear_layout *layout = &plan->layout;
    const bool has_in = p->tensor[RAPT_L_STATE_IN].present, has_out = p->tensor[RAPT_L_STATE_OUT].present;
    rapt_linear_form_plan form = {0};
    rapt_status status = rapt_linear_recurrent_form(plan, row, slice_flops, &form, error);
    if (status != RAPT_OK || p->empty)
        return status;
    rapt_linear_launch walk = form.walk;
    const uint64_t spans = RAPT_MAX(rapt_div_up(p->tokens, RAPT_MAX(layout->span, 1)), 1);
    if (spans > 1 && !has_out) {
        status = rapt_linear_add_carry(plan, error);
        if (status != RAPT_OK)
            return status;
    }
    /* Rows that read states at a place of their own need no copy. */
    const bool reads_in = has_operand(row, RAPT_ROLE_STATE_IN) && !p->normalize;
    const bool copies = has_in && (has_out || layout->carried) && !reads_in;
    const rapt_linear_part all_states = {0, p->batch * p->heads, 0, p->tokens};
    if (copies) {
        const rapt_kernel_row *copy;
        status = rapt_linear_select(plan, table, verdicts, RAPT_ROW_COPIES, (uint32_t[]){0}, 1, &copy, error);
        if (status != RAPT_OK)
            return status;
        plan->pipelines[1] = (rapt_plan_pipeline){.row = copy, .base = copy};
        rapt_linear_constants(&plan->pipelines[1], plan, 0);
        plan->pipeline_count = 2;
        const uint64_t items = (uint64_t)p->d_k * rapt_div_up(p->d_v, 4);
        const rapt_linear_launch l = {.plan = plan,
                                      .pipeline = 1,
                                      .flags = RAPT_LINEAR_READ_IN | RAPT_LINEAR_WRITE_STATE,
                                      .groups_x = (uint32_t)rapt_div_up(items, copy->rows_per_tile)};
        rapt_linear_part states = all_states;
        states.t1 = 0;
        status = rapt_linear_add_part(&l, &states, error);
        if (status != RAPT_OK)
            return status;
        walk.phase++;
    }
    for (rapt_linear_span s = {0}; rapt_linear_next_span(plan, &s);) {
        const bool writes = has_out || layout->carried, norm_here = walk.groups_x == 1;
        walk.place = s.place;
        walk.back = s.begins && !s.first;
        walk.flags = (s.first && has_in && reads_in          ? RAPT_LINEAR_READ_IN
                      : !s.first || has_in || p->in_place ? RAPT_LINEAR_READ_STATE
                                                           : 0) |
                     (writes ? RAPT_LINEAR_WRITE_STATE : 0) |
                     (writes && norm_here ? RAPT_LINEAR_WRITE_NORM : 0);
        status = rapt_linear_add_part(&walk, &s.part, error);
        if (status != RAPT_OK)
            return status;
        walk.phase++;
        if (writes && p->normalize && !norm_here) {
            walk.flags =
                (walk.flags & RAPT_LINEAR_READ_STATE) | RAPT_LINEAR_WRITE_NORM | RAPT_LINEAR_NORM_ONLY;
            walk.groups_x = 1;
            status = rapt_linear_add_part(&walk, &s.part, error);
            if (status != RAPT_OK)
                return status;
            walk.groups_x = rapt_linear_column_blocks(row, p->d_v);
            walk.phase++;
        }
    }
    return RAPT_OK;
}
