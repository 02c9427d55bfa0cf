/* Row maxima and column sums: launches of shaders/map/margin.comp, a phase for each range of the axis that it goes along. */
#include "plan/boxes.h"
#include "plan/turns.h"

/* Turns of loops for four places of one head. */
static uint64_t four_turns(const rapt_problem *p)
{
    return 16 + rapt_div_up(p->head_dim_qk, 4);
}

/* Places of the inner axis that one dispatch goes along: as long as a workgroup stays within a time slice, and its loops end where
 * they should. At least one tile. */
static uint64_t first_range(const rapt_plan *plan, const rapt_launch *l, uint64_t inner, double slice_flops)
{
    const rapt_problem *p = &plan->problem;
    const double heads = l->margin != RAPT_MARGIN_ROW_MAX ? (double)rapt_div_up(p->heads_out, l->heads) : 1;
    const double place = 2.0 * p->head_dim_qk * heads * l->row->local_size;
    const double steps = (double)RAPT_MIN(rapt_most_steps(&plan->caps, four_turns(p)), 1u << 30) * 4 / heads;
    const double range = RAPT_MAX(1.0, RAPT_MIN(slice_flops / place, steps));
    return RAPT_MAX(1, RAPT_MIN((uint64_t)range / l->rows_per_tile, rapt_div_up(inner, l->rows_per_tile)));
}

rapt_status rapt_add_margin(rapt_plan *plan, uint8_t pipeline, rapt_margin margin, uint32_t *phase, double slice_flops,
                            bool *unfit, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[pipeline].row;
    const bool columns = margin != RAPT_MARGIN_ROW_MAX;
    rapt_launch l = {.plan = plan,
                     .pipeline = pipeline,
                     .row = row,
                     .group = 1,
                     .rows_per_tile = row->rows_per_tile,
                     .slice_flops = slice_flops,
                     .unfit = unfit,
                     .heads = margin == RAPT_MARGIN_KV_HEADS ? p->heads_kv : p->heads_out,
                     .margin = margin};
    const uint64_t queries = rapt_div_up(p->nq, row->rows_per_tile), keys = rapt_div_up(p->nk, row->rows_per_tile);
    const int inner = columns ? RAPT_AXIS_TILE : RAPT_AXIS_SPLIT;
    const uint64_t tiles = columns ? queries : keys;
    const rapt_box whole = {{0}, {p->batch, l.heads, queries, keys}};
    const uint32_t first_step = plan->step_count, first_phase = *phase;
    if (p->bytes[columns ? RAPT_T_COL_SUMS : RAPT_T_ROW_MAX] == 0)
        return RAPT_OK;
    for (uint64_t range = first_range(plan, &l, columns ? p->nq : p->nk, slice_flops);; range /= 2) {
        bool shorter = false;
        plan->step_count = first_step;
        *phase = first_phase;
        uint64_t at = 0;
        do { /* once where there is nothing to go along: for zeros, and -inf */
            rapt_box part = whole;
            part.lo[inner] = at;
            part.hi[inner] = RAPT_MIN(at + range, tiles);
            l.phase = (*phase)++;
            rapt_status status = rapt_add_box(&l, &part, &shorter, error);
            if (status != RAPT_OK)
                return status;
            at += range;
        } while (at < tiles && !shorter);
        if (!shorter)
            return RAPT_OK;
    }
}
