/* Plans of linear attention: which form, and what all plans begin with. */
#include "plan/linear.h"

#include "common/linear_params.h"
#include <string.h>

/* Whether chunks are worth their work: where heads and columns alone leave the device idle. Never by the
 * batch, so that a sequence's bits do not depend on what is around it. */
bool rapt_linear_prefers_chunks(const rapt_plan *plan, const rapt_kernel_row *row)
{
    const rapt_linear_problem *p = &plan->linear;
    const uint64_t groups = p->heads * rapt_div_up(p->d_v, 32);
    const uint64_t width = plan->caps.compute_units ? plan->caps.compute_units : 16;
    const bool tiles = row->supports & RAPT_ROW_OUTPUTS, leaps = row->supports & RAPT_ROW_LEAPS;
    const bool software =
        plan->caps.device_class == RAPT_CLASS_SOFTWARE; /* a group fills one of its threads */
    const uint64_t extra = tiles ? 1 : p->rule == RAPT_LINEAR_NONE ? 2 : 4; /* times the work, about */
    if (p->form != RAPT_LINEAR_AUTO)
        return p->form == RAPT_LINEAR_CHUNKED;
    if ((tiles || leaps) && p->kernel[0] != 0)
        return true;
    if (leaps && p->varlen && p->rule == RAPT_LINEAR_DPLR) /* no row walks those */
        return true;
    if (leaps && !software) /* hardly more work than token by token, and a chain as much shorter */
        return p->tokens > 2ull * rapt_linear_leap_chunk(p);
    return p->tokens > 2ull * (p->chunk ? p->chunk : RAPT_LINEAR_CHUNK) &&
           groups * (software ? extra : 1) < width * (software ? 1 : 4);
}

/* Steps of a problem without features made ahead: in chunks where they are preferred and fit. */
static rapt_status plan_forms(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, double slice_flops,
                              rapt_error *error)
{
    static const uint32_t whole[] = {RAPT_PASS_WHOLE};
    const rapt_linear_problem *p = &plan->linear;
    rapt_status status = RAPT_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        plan->layout = (rapt_linear_layout){.chunk_pitch = (uint32_t)rapt_align_up(p->d_v, 4)};
        plan->pipeline_count = plan->step_count = plan->slot_count = 0;
        plan->workspace_bytes = 0;
        const rapt_kernel_row *row;
        status = rapt_linear_select_chunked(plan, table, verdicts, &row, error);
        if (status != RAPT_OK && p->form == RAPT_LINEAR_CHUNKED)
            return status;
        const bool chunks = status == RAPT_OK && attempt == 0 && !p->empty && rapt_linear_prefers_chunks(plan, row);
        for (uint32_t i = 0; i < plan->candidate_count && !chunks; i++)
            plan->candidates[i].chosen = false; /* it was for chunks */
        if (!chunks)
            status = rapt_linear_select(plan, table, verdicts, RAPT_ROW_WALKS, whole, 1, &row, error);
        if (status == RAPT_OK)
            status = chunks ? rapt_linear_plan_chunked(plan, table, verdicts, row, slice_flops, error)
                            : rapt_linear_plan_recurrent(plan, table, verdicts, row, slice_flops, error);
        if (status == RAPT_OK || !chunks || p->form != RAPT_LINEAR_AUTO)
            break; /* else chunks were only what would have been faster */
    }
    return status;
}

/* The problem as its measured choice has it, if there is one that may be taken. */
static bool take_tuned(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts)
{
    rapt_linear_problem *p = &plan->linear;
    char reason[160];
    rapt_hash key;
    plan->has_tuned = p->kernel[0] == 0 && p->form == RAPT_LINEAR_AUTO && p->chunk == 0 && verdicts != NULL &&
                      verdicts->tuned != NULL && rapt_linear_tuning_key(p, &plan->caps, &key) &&
                      verdicts->tuned(verdicts->user, key, &plan->tuned);
    if (!plan->has_tuned || plan->tuned.form == RAPT_LINEAR_AUTO)
        return false;
    const rapt_kernel_row *row = NULL;
    for (uint32_t i = 0; i < table->row_count && row == NULL; i++)
        if (strcmp(table->rows[i].name, plan->tuned.kernel) == 0)
            row = &table->rows[i];
    if (row == NULL || rapt_quirk(row, &plan->caps) != NULL ||
        (verdicts->blocked != NULL && verdicts->blocked(verdicts->user, row, reason, sizeof reason)))
        return false;
    memcpy(p->kernel, plan->tuned.kernel, sizeof p->kernel);
    p->form = plan->tuned.form;
    p->chunk = plan->tuned.chunk;
    return true;
}

rapt_status rapt_linear_plan_make(rapt_plan *plan, const rapt_linear_problem *problem, const rapt_caps *caps,
                                  const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                  rapt_error *error)
{
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->op = RAPT_OP_LINEAR;
    plan->linear = plan->outer = *problem;
    plan->caps = *caps;
    plan->problem = (rapt_problem){.dtype = problem->dtype,
                                   .head_dim_qk = problem->d_k,
                                   .head_dim_v = problem->d_v,
                                   .slice_ms = problem->slice_ms,
                                   .varlen = problem->varlen,
                                   .scale = problem->scale,
                                   .flops = problem->flops,
                                   .bytes_read = problem->bytes_read,
                                   .bytes_written = problem->bytes_written};
    memcpy(plan->problem.kernel, problem->kernel, sizeof plan->problem.kernel);
    uint64_t states;
    if (!rapt_mul_u64(problem->batch, problem->heads, &states) || states > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "batch %llu times %llu heads is more than 2^32",
                         (unsigned long long)problem->batch, (unsigned long long)problem->heads);
    plan->candidates =
        rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    /* What was measured is attention's; walks reach a part of it. */
    plan->flops_per_second = rapt_assumed_flops_per_second(caps) / 4;
    plan->group = plan->splits = 1;
    plan->aligned = rapt_linear_is_aligned(problem);
    const double slice_flops = plan->flops_per_second * (double)problem->slice_ms * 1e-3;
    rapt_status status = RAPT_ERROR_UNSUPPORTED;
    if (problem->mapped) {
        status = rapt_linear_plan_mapped(plan, table, verdicts, slice_flops, error);
    } else {
        if (take_tuned(plan, table, verdicts))
            status = plan_forms(plan, table, verdicts, slice_flops, error);
        if (status == RAPT_ERROR_UNSUPPORTED) { /* no choice, or one that cannot be taken any more */
            plan->linear = *problem;
            status = plan_forms(plan, table, verdicts, slice_flops, error);
        }
    }
    if (status != RAPT_OK)
        return status;
    if (error != NULL)
        error->status = RAPT_OK;
    rapt_linear_fill_params(plan);
    rapt_plan_cut_slices(plan, slice_flops);
    return RAPT_OK;
}
