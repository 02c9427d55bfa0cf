/* Linear attention in chunks: what each adds, states passed from one to the next, outputs from those; or, by rows that leap, what
 * each does to any state, then states and outputs from one to the next. In spans of chunks that fit the workspace. */
#include "plan/linear.h"
#include "plan/turns.h"

#include "common/linear_params.h"

static bool leaps(const rapt_plan *plan)
{
    return plan->pipelines[0].row != NULL && (plan->pipelines[0].row->supports & RAPT_ROW_LEAPS);
}

/* Sets of rows that the tokens of a chunk write, one each, for rows that leap: dplr writes b beside keys. */
static uint32_t written_sets(const rapt_linear_problem *p)
{
    return p->rule == RAPT_LINEAR_DPLR ? 2 : 1;
}

/* Bytes of the workspace's states of chunks that all pipelines can bind. */
static uint64_t chunks_window(const rapt_plan *plan)
{
    uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        for (uint32_t k = 0; k < plan->pipelines[i].row->operand_count; k++)
            if (plan->pipelines[i].row->operands[k].role == RAPT_ROLE_CHUNKS ||
                plan->pipelines[i].row->operands[k].role == RAPT_ROLE_STEPS)
                limit = RAPT_MIN(
                    limit, rapt_window_limit(&plan->caps,
                                             (rapt_operand_kind)plan->pipelines[i].row->operands[k].kind));
    return limit;
}

/* How many chunks the workspace holds, at most all; 0: not one. *need: bytes of one. */
static uint64_t chunks_at_once(const rapt_plan *plan, uint64_t carry, uint64_t *need)
{
    const rapt_linear_problem *p = &plan->linear;
    const rapt_linear_layout *layout = &plan->layout;
    const uint64_t states = p->batch * p->heads; /* fits: checked before */
    const uint64_t rows = leaps(plan) ? 0 : p->d_k; /* of states of chunks */
    const uint64_t widest = 4ull * RAPT_MAX(rows * layout->chunk_pitch, layout->step_size);
    uint64_t each = 4ull * (rows * (layout->chunk_pitch + p->normalize) + layout->step_size), tokens;
    *need = UINT64_MAX;
    if (!rapt_mul_u64(states, each, &each) || !rapt_mul_u64(layout->token_bytes, layout->chunk, &tokens) ||
        each > UINT64_MAX / 8 || tokens > UINT64_MAX / 8 || layout->fixed_bytes > UINT64_MAX / 8)
        return 0;
    each += tokens;
    const uint64_t fixed = carry + layout->fixed_bytes + 1024; /* slots begin at multiples of 256 */
    *need = each + fixed;
    if (*need > p->workspace_limit)
        return 0;
    uint64_t count = (p->workspace_limit - fixed) / each;
    count = RAPT_MIN(count, chunks_window(plan) / (states * widest));
    return RAPT_MIN(RAPT_MIN(count, layout->chain), plan->caps.max_groups[1]);
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

/* The rows of the form, as pipelines 0 to 2. */
static rapt_status select_rows(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                               const rapt_kernel_row *row, uint32_t flags, rapt_error *error)
{
    const bool products = plan->linear.rule != RAPT_LINEAR_NONE, no_out = flags & RAPT_LINEAR_NO_OUT;
    const rapt_kernel_row *adds, *scan;
    rapt_status status = select_adds(plan, table, verdicts, row, &adds, error);
    if (status == RAPT_OK)
        status = rapt_linear_select(plan, table, verdicts, products ? RAPT_ROW_PRODUCTS : RAPT_ROW_SCANS, (uint32_t[]){0}, 1,
                                    &scan, error);
    if (status != RAPT_OK)
        return status;
    if (!no_out) {
        plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
        rapt_linear_constants(&plan->pipelines[0], plan, RAPT_PASS_OUT);
    }
    plan->pipelines[1] = (rapt_plan_pipeline){.row = adds, .base = adds};
    plan->pipelines[2] = (rapt_plan_pipeline){.row = scan, .base = scan};
    rapt_linear_constants(&plan->pipelines[1], plan, RAPT_PASS_CHUNKS);
    rapt_linear_constants(&plan->pipelines[2], plan, 0);
    plan->pipeline_count = 3;
    return RAPT_OK;
}

/* How many chunks one span has, by memory and by time. */
static rapt_status count_chunks(rapt_plan *plan, double slice_flops, uint64_t *out, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    const rapt_linear_layout *layout = &plan->layout;
    uint64_t carry = 0, need, count = chunks_at_once(plan, 0, &need);
    if (count > 0 && count < layout->chain && !layout->carried && !p->tensor[RAPT_L_STATE_OUT].present)
        count = rapt_linear_carry_bytes(plan, &carry) ? chunks_at_once(plan, carry, &need) : 0;
    if (count == 0 && need + carry <= p->workspace_limit)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "the chunked form of this problem binds %llu bytes of states at once, this device %llu",
                         (unsigned long long)need, (unsigned long long)chunks_window(plan));
    if (count == 0)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "the chunked form of this problem needs a workspace of %llu bytes at least, the limit is %llu",
                         (unsigned long long)(need + carry), (unsigned long long)p->workspace_limit);
    if ((double)p->flops > slice_flops)
        count = RAPT_MIN(count, (uint64_t)RAPT_MAX((double)layout->chain * slice_flops / (double)p->flops, 4.0));
    /* States are passed on in a loop over the chunks of a span; with products each takes one along the rows of a matrix, with
     * leaps those along its rows and its tokens. */
    const uint64_t turns = leaps(plan) ? 32 + p->d_k + (1ull + written_sets(p)) * layout->chunk : p->rule != RAPT_LINEAR_NONE ? 8 + (uint64_t)p->d_k : 4;
    count = RAPT_MIN(count, rapt_most_steps(&plan->caps, turns));
    *out = count;
    return rapt_check_turns(&plan->caps, layout->chunk * rapt_linear_token_turns(p), "a chunk of so many tokens", error);
}

/* Columns of a state that a workgroup of a row that leaps owns: as leap.comp. */
static uint32_t leap_columns(uint32_t rows)
{
    return rows <= 64 ? 32 : rows <= 128 ? 16 : 8;
}

/* Floats that a chunk leaves in the workspace: shaders/state/chunk.glsl. */
static uint32_t solved_size(const rapt_linear_layout *layout, uint32_t sets)
{
    const uint32_t rows = layout->step_pitch, chunk = layout->chunk;
    return chunk * ((2 + sets) * rows + layout->chunk_pitch + sets * chunk) + rows;
}

/* The form of rows that leap: chunks are solved for side by side (pipeline 1), then walked (pipeline 0). */
static rapt_status leaping_form(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                const rapt_kernel_row *row, double slice_flops, rapt_linear_form_plan *form, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    rapt_linear_layout *layout = &plan->layout;
    const uint32_t sets = written_sets(p);
    const rapt_kernel_row *solves;
    layout->chunk = rapt_linear_leap_chunk(p);
    layout->chain = rapt_linear_chain(p, layout->chunk);
    layout->step_pitch = (uint32_t)rapt_align_up(p->d_k, 4 * row->local_size / layout->chunk);
    layout->step_size = solved_size(layout, sets);
    rapt_status status = rapt_linear_select(plan, table, verdicts, RAPT_ROW_SOLVES, (uint32_t[]){0}, 1, &solves, error);
    if (status != RAPT_OK)
        return status;
    plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
    plan->pipelines[1] = (rapt_plan_pipeline){.row = solves, .base = solves};
    plan->pipeline_count = 2;
    rapt_linear_constants(&plan->pipelines[0], plan, 0);
    rapt_linear_constants(&plan->pipelines[1], plan, 0);
    uint64_t count = 0;
    status = count_chunks(plan, slice_flops, &count, error);
    if (status != RAPT_OK)
        return status;
    form->chunked = true;
    form->begin = form->pass = (rapt_linear_launch){.plan = plan, .chunk = layout->chunk, .groups_x = 1};
    form->end = (rapt_linear_launch){0};
    form->begin.pipeline = 1;
    /* Of each set two products of each pair of tokens along d_k; half of one for each column that is solved for, or of values. */
    form->begin.flops = (double)layout->chunk * ((4.0 * sets + 1.0) * p->d_k + (double)sets * p->d_v);
    form->pass.groups_x = (uint32_t)rapt_div_up(p->d_v, leap_columns(layout->step_pitch));
    form->pass.flops = 2.0 * p->d_v * ((2.0 + sets) * p->d_k + 0.5 * sets * layout->chunk);
    layout->span = count * layout->chunk;
    status = rapt_linear_fit_span(&form->begin, layout->chunk, &layout->span, error);
    if (status == RAPT_OK)
        status = rapt_linear_fit_span(&form->pass, layout->chunk, &layout->span, error);
    layout->span = RAPT_MIN(rapt_div_up(layout->span, layout->chunk), layout->chain) * layout->chunk;
    return status;
}

rapt_status rapt_linear_chunked_form(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                     const rapt_kernel_row *row, double slice_flops, uint32_t flags,
                                     rapt_linear_form_plan *form, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    rapt_linear_layout *layout = &plan->layout;
    const bool products = p->rule != RAPT_LINEAR_NONE;
    if (row->supports & RAPT_ROW_LEAPS)
        return leaping_form(plan, table, verdicts, row, slice_flops, form, error);
    layout->chunk = p->chunk ? p->chunk : RAPT_LINEAR_CHUNK;
    layout->chain = rapt_linear_chain(p, layout->chunk);
    layout->step_pitch = products ? (uint32_t)rapt_align_up(p->d_k, 4) : 0;
    layout->step_size = products                         ? p->d_k * layout->step_pitch
                        : p->decay == RAPT_DECAY_CHANNEL ? p->d_k
                        : p->decay == RAPT_DECAY_ONE     ? 0
                                                         : 1;
    uint64_t count = 0;
    rapt_status status = select_rows(plan, table, verdicts, row, flags, error);
    if (status == RAPT_OK)
        status = count_chunks(plan, slice_flops, &count, error);
    if (status != RAPT_OK)
        return status;
    const rapt_kernel_row *adds = plan->pipelines[1].row, *scan = plan->pipelines[2].row;
    const uint32_t columns = rapt_linear_column_blocks(adds, p->d_v) + (products ? rapt_linear_column_blocks(adds, p->d_k) : 0);
    const double flops = rapt_linear_token_flops(p);
    const rapt_linear_launch any = {.plan = plan, .chunk = layout->chunk};
    form->chunked = true;
    form->begin = form->pass = form->end = any;
    form->begin.pipeline = 1;
    form->begin.pass = RAPT_PASS_CHUNKS;
    form->begin.groups_x =
        adds->supports & RAPT_ROW_ADDS ? (uint32_t)rapt_div_up(p->d_k, adds->rows_per_tile) : columns;
    form->begin.flops = flops * (products ? 1.0 + (double)p->d_k / p->d_v : 0.6);
    form->pass.pipeline = 2;
    form->pass.groups_x = (uint32_t)(products ? rapt_div_up(p->d_v, 4)
                                              : rapt_div_up((uint64_t)p->d_k * layout->chunk_pitch / 4, scan->rows_per_tile));
    form->pass.flops = flops / layout->chunk * (products ? p->d_k : 1.0);
    form->end.pass = RAPT_PASS_OUT;
    form->end.flops = flops;
    /* Tokens first: their windows may ask for shorter spans. */
    layout->span = count * layout->chunk;
    status = rapt_linear_fit_span(&form->begin, layout->chunk, &layout->span, error);
    if (flags & RAPT_LINEAR_NO_OUT) {
        form->end.plan = NULL;
    } else if (status == RAPT_OK) {
        form->end.groups_x = row->supports & RAPT_ROW_OUTPUTS ? (uint32_t)rapt_div_up(layout->chunk, row->rows_per_tile)
                                                              : rapt_linear_column_blocks(row, p->d_v);
        status = rapt_linear_fit_span(&form->end, layout->chunk, &layout->span, error);
    }
    layout->span = RAPT_MIN(rapt_div_up(layout->span, layout->chunk), layout->chain) * layout->chunk;
    return status;
}

void rapt_linear_chunk_slots(rapt_plan *plan, const rapt_linear_form_plan *form)
{
    const rapt_linear_problem *p = &plan->linear;
    const rapt_linear_layout *layout = &plan->layout;
    if (!form->chunked)
        return;
    const uint64_t all = p->batch * p->heads * (layout->span / layout->chunk);
    if (!leaps(plan))
        rapt_linear_add_slot(plan, RAPT_ROLE_CHUNKS, all * p->d_k * layout->chunk_pitch * 4);
    if (p->normalize)
        rapt_linear_add_slot(plan, RAPT_ROLE_CHUNK_NORMS, all * p->d_k * 4);
    if (layout->step_size != 0)
        rapt_linear_add_slot(plan, RAPT_ROLE_STEPS, all * layout->step_size * 4);
}

rapt_status rapt_linear_add_chunks(rapt_linear_form_plan *form, const rapt_linear_part *x, uint32_t flags, uint32_t *phase,
                                   rapt_error *error)
{
    rapt_linear_launch *const launches[] = {&form->begin, &form->pass, &form->end};
    form->pass.flags = flags;
    for (unsigned i = 0; i < RAPT_COUNT(launches); i++) {
        if (launches[i]->plan == NULL)
            continue;
        /* The last span may have fewer chunks. */
        launches[i]->chunks = (uint32_t)RAPT_MAX(rapt_div_up(x->t1 - x->t0, launches[i]->chunk), 1);
        launches[i]->phase = (*phase)++;
        const rapt_status status = rapt_linear_add_part(launches[i], x, error);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

rapt_status rapt_linear_plan_chunked(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                     const rapt_kernel_row *row, double slice_flops, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    const rapt_linear_layout *layout = &plan->layout;
    const bool has_in = p->tensor[RAPT_L_STATE_IN].present, has_out = p->tensor[RAPT_L_STATE_OUT].present;
    rapt_linear_form_plan form = {0};
    rapt_status status = rapt_linear_chunked_form(plan, table, verdicts, row, slice_flops, 0, &form, error);
    if (status != RAPT_OK)
        return status;
    rapt_linear_chunk_slots(plan, &form);
    const uint64_t spans = rapt_div_up(layout->chain * layout->chunk, layout->span);
    if (spans > 1 && !has_out)
        status = rapt_linear_add_carry(plan, error);
    uint32_t phase = 0;
    for (rapt_linear_span s = {0}; status == RAPT_OK && rapt_linear_next_span(plan, &s);) {
        const uint32_t flags = (s.first && has_in ? RAPT_LINEAR_READ_IN : 0) |
                               (!s.first || p->in_place ? RAPT_LINEAR_READ_STATE : 0) |
                               (has_out || layout->carried ? RAPT_LINEAR_WRITE_STATE : 0);
        form.pass.place = s.place;
        form.pass.back = s.begins && !s.first;
        status = rapt_linear_add_chunks(&form, &s.part, flags, &phase, error);
    }
    return status;
}
