/* From a choice of kernels to an ordered list of steps: which pipelines there are, what they need between
 * them, and in what order they run. */
#include "plan/boxes.h"

#include "common/attention_params.h"
#include <stdio.h>
#include <string.h>

static rapt_status add_workspace(rapt_plan *plan, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    uint64_t parts = 0, offset = 0;
    bool fits = plan->splits <= 1 ||
                (rapt_mul_u64(p->batch, p->heads_out, &parts) && rapt_mul_u64(parts, p->nq, &parts) &&
                 rapt_mul_u64(parts, plan->splits, &parts) && parts <= UINT32_MAX);
    const struct {
        rapt_role role;
        uint64_t floats;
    } slots[2] = {{RAPT_ROLE_PART_ACC, plan->part_stride}, {RAPT_ROLE_PART_ML, 2}};
    for (unsigned i = 0; i < 2 && fits && plan->splits > 1; i++) {
        uint64_t bytes;
        fits = rapt_mul_u64(parts, slots[i].floats * 4, &bytes) && bytes < UINT64_MAX / 4;
        if (fits) {
            plan->slots[plan->slot_count++] = (rapt_workspace_slot){slots[i].role, offset, bytes};
            plan->workspace_bytes = offset + bytes;
            offset = rapt_align_up(offset + bytes, 256);
        }
    }
    if (!fits)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "%u key splits of this problem need too large a workspace", plan->splits);
    const struct {
        rapt_role role;
        uint64_t bytes;
    } others[4] = {{RAPT_ROLE_LSE, p->lse_hidden ? p->bytes[RAPT_T_LSE] : 0},
                   {RAPT_ROLE_EXTRA, plan->extras.packed ? plan->extras.words * 4 : 0},
                   {RAPT_ROLE_Q, p->prepared ? p->bytes[RAPT_T_Q] : 0},
                   {RAPT_ROLE_K, p->prepared ? p->bytes[RAPT_T_K] : 0}};
    for (unsigned i = 0; i < RAPT_COUNT(others); i++) {
        if (others[i].bytes == 0)
            continue;
        if (others[i].bytes > INT64_MAX / 4)
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s of this problem needs too large a workspace",
                             rapt_role_name(others[i].role));
        plan->slots[plan->slot_count++] = (rapt_workspace_slot){others[i].role, offset, others[i].bytes};
        plan->workspace_bytes = offset + others[i].bytes;
        offset = rapt_align_up(plan->workspace_bytes, 256);
    }
    return RAPT_OK;
}

/* A pipeline's row with code of the app: without cu_seqlens and the extra operand where there are none, and
 * with the user's buffers. */
static void add_user_code(rapt_plan *plan, rapt_plan_pipeline *pipeline, struct rapt_user_row *own)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *base = pipeline->row;
    pipeline->base = base;
    pipeline->form = rapt_problem_form(p);
    pipeline->code = p->user_code;
    pipeline->user = plan->user_code;
    if (pipeline->form == 0)
        return;
    uint16_t count = 0;
    for (uint32_t i = 0; i < base->operand_count; i++)
        if (!rapt_role_left_out(p, (rapt_role)base->operands[i].role))
            own->operands[count++] = base->operands[i];
    for (uint32_t i = 0; i < p->user_count; i++)
        own->operands[count++] = (rapt_kernel_operand){.role = (uint8_t)(RAPT_ROLE_USER + i),
                                                       .binding = (uint8_t)(RAPT_BIND_USER + i)};
    memcpy(own->constants, base->constants, base->constant_count * sizeof own->constants[0]);
    own->constants[base->constant_count] =
        (rapt_kernel_constant){.id = RAPT_USER_GROUP_ID, .source = RAPT_CONST_GROUP, .name = "user_group"};
    own->row = *base;
    own->row.constants = own->constants;
    own->row.constant_count++;
    own->row.operands = own->operands;
    own->row.operand_count = count;
    pipeline->row = &own->row;
}

/* The steps that rewrite q and k. */
static rapt_status add_prepares(rapt_plan *plan, uint8_t pipeline, double slice_flops, bool *need_splits,
                                bool *unfit, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    rapt_status status = RAPT_OK;
    for (unsigned side = 0; side < 2 && status == RAPT_OK; side++) {
        const uint64_t heads = side ? p->heads_kv : p->heads_q, length = side ? p->nk : p->nq;
        rapt_launch prepare = {plan,  pipeline, 0,      plan->pipelines[pipeline].row,
                               1,     1,        true,   slice_flops,
                               unfit, heads,    length, side ? RAPT_PREPARES_K : RAPT_PREPARES_Q};
        rapt_box all = {{0}, {p->batch, heads, length, 1}};
        if (length > 0 && (side ? p->total_k : p->total_q) > 0)
            status = rapt_add_box(&prepare, &all, need_splits, error);
    }
    return status;
}

/* Which of the plan's pipelines does what, beside the first, which attends. */
typedef struct stages {
    uint8_t merge, second, prepare, pack, list, gate, row_max, col_sums;
    bool merges, two_passes,
        packs; /* the others: rapt_problem.prepared, rapt_plan.lists, rapt_problem.gate, .row_max, .col_sums */
} stages;

/* One more pipeline: the map that reads `role`. */
static rapt_status add_map(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                           rapt_role role, rapt_choice *choice, uint8_t *index, rapt_error *error)
{
    *index = (uint8_t)plan->pipeline_count++;
    return rapt_select_map(&plan->problem, &plan->caps, table, verdicts, role, choice, plan->candidates,
                           &plan->pipelines[*index], error);
}

/* What the row that was chosen says of the whole plan. */
static void take_choice(rapt_plan *plan, const rapt_choice *main)
{
    plan->step_count = 0;
    plan->pipeline_count = 1;
    plan->pipelines[0].row = main->row;
    memcpy(plan->pipelines[0].constants, main->constants, sizeof main->constants);
    add_user_code(plan, &plan->pipelines[0], &plan->user_rows[0]);
    plan->group = main->group;
    plan->splits = main->splits;
    plan->split_keys = main->split_keys;
    plan->first_key = main->first_key;
    plan->aligned = main->aligned;
    plan->grid = main->grid;
    plan->part_stride = (uint32_t)rapt_align_up(plan->problem.head_dim_v, 4);
    plan->slot_count = 0;
    plan->workspace_bytes = 0;
    plan->lists = (rapt_list_layout){.listed = main->listed};
}

/* The pipelines beside the first. `main` is the first's choice. */
static rapt_status add_pipelines(rapt_plan *plan, const rapt_kernel_table *table,
                                 const rapt_verdicts *verdicts, rapt_choice *main, stages *s,
                                 rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    rapt_status status = RAPT_OK;
    s->merges = plan->splits > 1;
    s->two_passes = rapt_link_two_passes(p->link); /* then keys are not split */
    s->packs = plan->extras.packed && (p->extras != 0 || p->blocks);
    if (s->merges) {
        rapt_choice merge;
        status = rapt_select_merge(p, &plan->caps, table, verdicts, plan->candidates, &merge, error);
        if (status != RAPT_OK)
            return status;
        s->merge = (uint8_t)plan->pipeline_count++;
        plan->pipelines[s->merge] = (rapt_plan_pipeline){.row = merge.row, .base = merge.row};
        memcpy(plan->pipelines[s->merge].constants, merge.constants, sizeof merge.constants);
    }
    if (s->two_passes) {
        rapt_choose_second_pass(p, main);
        s->second = (uint8_t)plan->pipeline_count++;
        plan->pipelines[s->second] = plan->pipelines[0]; /* with the same code of an app */
        memcpy(plan->pipelines[s->second].constants, main->constants, sizeof main->constants);
    }
    if (p->prepared)
        status = add_map(plan, table, verdicts, RAPT_ROLE_SOURCE_Q, main, &s->prepare, error);
    if (status == RAPT_OK && s->packs)
        status = add_map(plan, table, verdicts, RAPT_ROLE_SINKS, main, &s->pack, error);
    if (status == RAPT_OK && plan->lists.listed) {
        status = add_map(plan, table, verdicts, RAPT_ROLE_EXTRA, main, &s->list, error);
        if (status == RAPT_OK)
            add_user_code(plan, &plan->pipelines[s->list], &plan->user_rows[1]);
    }
    if (status == RAPT_OK && p->gate)
        status = add_map(plan, table, verdicts, RAPT_ROLE_GATE, main, &s->gate, error);
    const struct {
        bool there;
        rapt_role role;
        uint8_t *index;
    } margins[2] = {{p->row_max, RAPT_ROLE_ROW_MAX, &s->row_max}, {p->col_sums, RAPT_ROLE_COL_SUMS, &s->col_sums}};
    for (unsigned i = 0; i < RAPT_COUNT(margins) && status == RAPT_OK; i++) {
        if (!margins[i].there)
            continue;
        status = add_map(plan, table, verdicts, margins[i].role, main, margins[i].index, error);
        if (status == RAPT_OK)
            add_user_code(plan, &plan->pipelines[*margins[i].index], &plan->user_rows[2 + i]);
    }
    return status;
}

/* The steps of row maxima and column sums, from `phase` on. Of no queries the sums are 0. */
static rapt_status add_margins(rapt_plan *plan, const stages *s, uint32_t phase, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    const double slice_flops = plan->flops_per_second * (double)p->slice_ms * 1e-3 / 8; /* scores made without tiles are slower */
    bool row_unfit; /* the row that attends is not to blame */
    rapt_status status = RAPT_OK;
    if (p->row_max)
        status = rapt_add_margin(plan, s->row_max, RAPT_MARGIN_ROW_MAX, &phase, slice_flops, &row_unfit, error);
    if (p->col_sums && status == RAPT_OK)
        status = rapt_add_margin(plan, s->col_sums, rapt_margin_of(p, RAPT_ROLE_COL_SUMS), &phase, slice_flops, &row_unfit, error);
    return status;
}

/* The steps, in the order of their phases. */
static rapt_status add_steps(rapt_plan *plan, const rapt_choice *main, const stages *s, bool *need_splits,
                             bool *unfit, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    const double slice_flops = plan->flops_per_second * (double)p->slice_ms * 1e-3;
    rapt_status status = s->packs ? rapt_add_packs(plan, s->pack, error) : RAPT_OK;
    if (status == RAPT_OK && p->prepared)
        status = add_prepares(plan, s->prepare, slice_flops, need_splits, unfit, error);
    if (status == RAPT_OK && plan->lists.listed)
        status = rapt_add_lists(plan, s->list, s->packs, slice_flops, error);
    if (status != RAPT_OK)
        return status;
    uint64_t bh;
    if (!rapt_mul_u64(p->batch, p->heads_out, &bh) || bh > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "batch %llu times %llu heads is more than 2^32",
                         (unsigned long long)p->batch, (unsigned long long)p->heads_out);
    rapt_launch attend = {
        .plan = plan,
        .phase = (uint8_t)RAPT_MAX((unsigned)s->packs + plan->lists.listed, (unsigned)p->prepared),
        .row = plan->pipelines[0].row,
        .group = main->group,
        .rows_per_tile = main->row->rows_per_tile,
        .slice_flops = slice_flops,
        .unfit = unfit};
    rapt_box whole = {{0},
                      {p->batch, p->heads_out / main->group,
                       rapt_div_up(p->nq * main->group, main->row->rows_per_tile), plan->splits}};
    if (p->grid.rank > 0)
        whole.hi[RAPT_AXIS_TILE] = main->grid.tile_count;
    status = rapt_add_box(&attend, &whole, need_splits, error);
    if (status == RAPT_OK && !*need_splits && s->two_passes) {
        attend.pipeline = s->second;
        attend.phase++;
        status = rapt_add_box(&attend, &whole, need_splits, error);
    }
    if (status != RAPT_OK || *need_splits)
        return status;
    bool row_unfit; /* the row that attends is not to blame */
    rapt_launch finish = {.plan = plan,
                          .phase = attend.phase,
                          .group = 1,
                          .rows_per_tile = 1,
                          .merge = true,
                          .slice_flops = slice_flops,
                          .unfit = &row_unfit,
                          .heads = p->heads_out,
                          .length = p->nq};
    const rapt_box rows = {{0}, {p->batch, p->heads_out, p->nq, plan->splits}};
    const struct {
        bool there;
        uint8_t pipeline;
    } finishes[] = {{s->merges, s->merge}, {p->gate, s->gate}};
    for (unsigned i = 0; i < RAPT_COUNT(finishes) && status == RAPT_OK; i++) {
        if (!finishes[i].there)
            continue;
        finish.pipeline = finishes[i].pipeline;
        finish.row = plan->pipelines[finish.pipeline].row;
        finish.phase++;
        status = rapt_add_box(&finish, &rows, need_splits, error);
    }
    return status == RAPT_OK ? add_margins(plan, s, finish.phase + 1, error) : status;
}

/* One try with at least `least_splits` key splits. */
static rapt_status try_plan(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                            uint32_t least_splits, bool *need_splits, bool *unfit, rapt_error *error)
{
    rapt_choice main;
    stages s = {0};
    rapt_status status =
        rapt_select_row(&plan->problem, &plan->caps, table, verdicts, plan->has_tuned ? &plan->tuned : NULL,
                        least_splits, plan->candidates, &main, error);
    if (status != RAPT_OK)
        return status;
    take_choice(plan, &main);
    status = rapt_place_extras(plan, error);
    if (status == RAPT_OK)
        status = add_workspace(plan, error);
    if (status == RAPT_OK)
        status = add_pipelines(plan, table, verdicts, &main, &s, error);
    if (status != RAPT_OK)
        return status;
    return plan->problem.empty ? add_margins(plan, &s, 0, error) : add_steps(plan, &main, &s, need_splits, unfit, error);
}

/* With as many key splits as the windows demand. *unfit: the row that was chosen cannot be cut to fit. */
static rapt_status fit_plan(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                            bool *unfit, rapt_error *error)
{
    bool need_splits = true;
    rapt_status status = RAPT_OK;
    *unfit = false;
    for (uint32_t least = 1; need_splits; least = RAPT_MAX(least, 1) * 2) {
        if (least > 1u << 16) {
            *unfit = true;
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                             "keys and values do not fit this device's buffer ranges");
        }
        need_splits = false;
        status = try_plan(plan, table, verdicts, least, &need_splits, unfit, error);
        if (status == RAPT_ERROR_UNSUPPORTED && least == 1 &&
            !*unfit) { /* what splits or merges may be out of order */
            least = 0;
            status = try_plan(plan, table, verdicts, least, &need_splits, unfit, error);
        }
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

rapt_status rapt_plan_make(rapt_plan *plan, const rapt_problem *problem, const rapt_caps *caps,
                           const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->problem = *problem;
    plan->caps = *caps;
    plan->candidates =
        rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    plan->flops_per_second = verdicts != NULL && verdicts->flops_per_second > 0
                                 ? verdicts->flops_per_second
                                 : rapt_assumed_flops_per_second(caps);
    rapt_hash key;
    plan->has_tuned = problem->kernel[0] == 0 && verdicts != NULL && verdicts->tuned != NULL &&
                      rapt_tuning_key(problem, caps, &key) &&
                      verdicts->tuned(verdicts->user, key, &plan->tuned);
    rapt_error why = {0};
    bool unfit;
    rapt_status status;
    /* A row whose launches cannot be cut small enough is taken out, and the next best has its turn. */
    while ((status = fit_plan(plan, table, verdicts, &unfit, &why)) == RAPT_ERROR_UNSUPPORTED && unfit &&
           problem->kernel[0] == 0) {
        for (uint32_t i = 0; i < plan->candidate_count; i++) {
            rapt_candidate *c = &plan->candidates[i];
            if (c->row != plan->pipelines[0].base)
                continue;
            c->unfit = true;
            c->chosen = false;
            c->passed = 100;
            snprintf(c->reason, sizeof c->reason, "%.*s", (int)sizeof c->reason - 1, why.message);
        }
    }
    if (status != RAPT_OK) {
        if (error != NULL)
            *error = why;
        return status;
    }
    rapt_fill_params(plan);
    rapt_plan_cut_slices(plan, plan->flops_per_second * (double)plan->problem.slice_ms * 1e-3);
    return RAPT_OK;
}

bool rapt_plan_is_tuned(const rapt_plan *plan)
{
    return plan->has_tuned && plan->pipelines[0].row != NULL &&
           strcmp(plan->pipelines[0].row->name, plan->tuned.kernel) == 0;
}

void rapt_plan_clear(rapt_plan *plan)
{
    if (plan->steps != NULL)
        rapt_free(&plan->allocator, plan->steps, plan->step_capacity * sizeof *plan->steps);
    plan->steps = NULL;
    plan->step_count = plan->step_capacity = 0;
    rapt_arena_free(&plan->arena);
    plan->candidates = NULL;
}
