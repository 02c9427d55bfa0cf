/* Lists of the tiles of keys that query tiles visit: where they lie, and the steps that make them. */
#include "plan/turns.h"

#include "common/attention_params.h"
#include <string.h>

#define SPAN_TILES 32u /* tiles that one entry of a list stands for, in 3 words */
#define MOST_ROWS 128u  /* of a tile of queries, at most */
#define ASK_FLOPS 32.0 /* about what one answer of a mask_mod costs */

bool rapt_lists_fit(const rapt_problem *p, const rapt_caps *caps)
{
    /* Asked pair by pair, in rows of the largest tiles: few keys where a driver counts turns of loops. */
    if (p->mask_mod && p->nk > rapt_most_steps(caps, MOST_ROWS))
        return false;
    /* q, k, v, out, lse, the extra operand */
    return 6u + (p->varlen ? 2u : 0u) + p->user_count <= caps->max_storage_buffers;
}

/* Words of all lists with tiles of `keys` keys; false where that is more than `most`. */
static bool measure(const rapt_plan *plan, rapt_list_layout *l, uint32_t keys, uint64_t most)
{
    uint64_t words;
    l->keys = keys;
    l->pitch = 1 + 3 * rapt_div_up(plan->problem.nk, (uint64_t)keys * SPAN_TILES);
    return rapt_mul_u64(l->batch * l->groups, l->tiles, &words) && rapt_mul_u64(words, l->pitch, &words) && words <= most;
}

rapt_status rapt_place_lists(rapt_plan *plan, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[0].base;
    const rapt_extra *mask = &p->extra[RAPT_X_BLOCKS];
    rapt_list_layout *l = &plan->lists;
    /* All rules but these are the same for all heads, and for all batch entries of one length: with lengths of their own they may have others. */
    const bool by_batch = p->varlen || p->ragged || p->mask_by_batch || mask->batch > 1, by_head = p->mask_by_head || mask->heads > 1;
    l->rows = row->rows_per_tile;
    l->batch = by_batch ? p->batch : 1;
    l->groups = by_head ? p->heads_out / plan->group : 1;
    l->tiles = rapt_div_up(p->nq * plan->group, l->rows);
    l->first = plan->extras.words;
    const uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE) / 4;
    /* Coarser tiles where long sequences would need more than the device binds. */
    uint32_t keys = row->keys_per_tile;
    while (!measure(plan, l, keys, limit - RAPT_MIN(limit, l->first)) && keys <= RAPT_MAX_SEQUENCE / 2)
        keys *= 2;
    if (!measure(plan, l, keys, limit - RAPT_MIN(limit, l->first)))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "%llu lists of tiles behind %llu bytes of other vectors do not fit what this device binds at once, %llu "
                         "bytes",
                         (unsigned long long)(l->batch * l->groups * l->tiles), (unsigned long long)l->first * 4,
                         (unsigned long long)limit * 4);
    l->stride_g = l->groups > 1 ? l->tiles * l->pitch : 0;
    l->stride_b = l->batch > 1 ? l->groups * l->tiles * l->pitch : 0;
    plan->extras.words += l->batch * l->groups * l->tiles * l->pitch;
    return RAPT_OK;
}

rapt_status rapt_add_lists(rapt_plan *plan, uint8_t pipeline, uint8_t phase, double slice_flops, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    const rapt_list_layout *l = &plan->lists;
    const rapt_kernel_row *row = plan->pipelines[pipeline].row;
    const uint64_t lists = l->batch * l->groups * l->tiles;
    /* Of one list: a look at each block, or at each pair. */
    double pairs = (double)l->rows * (double)p->nk;
    if (!p->mask_mod)
        pairs = p->blocks ? ((double)l->rows / p->block_q + 2) * (double)p->block_pitch : 1;
    const double flops = pairs * ASK_FLOPS;
    const uint64_t fit = (uint64_t)RAPT_MAX(1.0, RAPT_MIN(slice_flops / flops, 1e9));
    const uint64_t most = RAPT_MIN((uint64_t)plan->caps.max_groups[0] * row->rows_per_tile,
                                   rapt_align_up(fit, row->rows_per_tile));
    for (uint64_t first = 0; first < lists; first += most) {
        rapt_step *step;
        rapt_status status = rapt_plan_new_step(plan, &step, error);
        if (status != RAPT_OK)
            return status;
        step->pipeline = pipeline;
        step->phase = phase;
        rapt_attention_push push = {.rows = (uint32_t)RAPT_MIN(most, lists - first),
                                    .row0 = (uint32_t)first,
                                    .tiles = (uint32_t)l->tiles,
                                    .split0 = (uint32_t)l->groups,
                                    .key1 = (uint32_t)p->nk};
        memcpy(step->push, &push, sizeof push);
        step->flops = (uint64_t)RAPT_MIN(flops * push.rows, 1.8e19);
        step->groups[0] = (uint32_t)rapt_div_up(push.rows, row->rows_per_tile);
        step->groups[1] = step->groups[2] = 1;
        for (uint32_t i = 0; i < row->operand_count; i++) {
            const unsigned role = row->operands[i].role;
            if (role == RAPT_ROLE_EXTRA)
                step->windows[i].bytes = plan->extras.words * 4;
            else if (role == RAPT_ROLE_CU_K && p->ragged)
                step->windows[i].bytes = p->batch * 4;
            else if (role == RAPT_ROLE_CU_Q || role == RAPT_ROLE_CU_K)
                step->windows[i].bytes = p->varlen ? (p->batch + 1) * 4 : 0;
            else if (role >= RAPT_ROLE_USER)
                step->windows[i].bytes = p->user_elements[role - RAPT_ROLE_USER] * 4ull;
        }
    }
    return RAPT_OK;
}
