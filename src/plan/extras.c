/* The extra operand: per-head vectors, keys' biases, segments and block masks of one call, packed into one
 * binding where there are several. */
#include "plan/plan.h"

#include "common/attention_params.h"
#include <string.h>

/* Where kernels find the extra vectors. */
rapt_status rapt_place_extras(rapt_plan *plan, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    rapt_extra_layout *layout = &plan->extras;
    memset(layout, 0, sizeof *layout);
    unsigned count = 0;
    for (unsigned i = 0; i < RAPT_X_COUNT; i++)
        count += p->extra[i].bytes != 0;
    layout->packed = count > 1 || plan->lists.listed;
    const uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    for (unsigned i = 0; i < RAPT_X_COUNT; i++) {
        const rapt_extra *x = &p->extra[i];
        layout->place[i].stride_b = x->stride_b;
        layout->place[i].stride_h = x->stride_h;
        if (!layout->packed || x->bytes == 0)
            continue;
        layout->place[i].first = layout->words;
        layout->place[i].stride_b =
            x->batch > 1 ? x->heads * x->count : 0; /* sizes are 2^30 x 2^20 at most */
        layout->place[i].stride_h = x->heads > 1 ? x->count : 0;
        uint64_t words;
        if (!rapt_mul_u64(x->batch * x->heads, x->count, &words) || words > limit / 4 ||
            (layout->words += words) > limit / 4 || x->bytes > limit)
            return rapt_fail(
                error, RAPT_ERROR_UNSUPPORTED,
                "%s spans %llu bytes that must be packed with others; this device binds %llu at once",
                rapt_role_name((rapt_role)(RAPT_ROLE_SINKS + i)), (unsigned long long)x->bytes,
                (unsigned long long)limit);
    }
    return plan->lists.listed ? rapt_place_lists(plan, error) : RAPT_OK;
}

/* The steps that pack them. */
rapt_status rapt_add_packs(rapt_plan *plan, uint8_t pipeline, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[pipeline].row;
    for (unsigned i = 0; i < RAPT_X_COUNT; i++) {
        const rapt_extra *x = &p->extra[i];
        const uint64_t words = x->bytes != 0 ? x->batch * x->heads * x->count : 0;
        const uint64_t most = (uint64_t)plan->caps.max_groups[0] * row->rows_per_tile;
        for (uint64_t word = 0; word < words; word += most) {
            rapt_step *step;
            rapt_status status = rapt_plan_new_step(plan, &step, error);
            if (status != RAPT_OK)
                return status;
            step->pipeline = pipeline;
            rapt_attention_push push = {.rows = (uint32_t)RAPT_MIN(most, words - word),
                                        .row0 = (uint32_t)word,
                                        .key0 = (uint32_t)plan->extras.place[i].first,
                                        .key1 = (uint32_t)x->count,
                                        .tiles = (uint32_t)x->heads,
                                        .split0 = (uint32_t)x->stride_b,
                                        .bh0 = (uint32_t)x->stride_h};
            memcpy(step->push, &push, sizeof push);
            step->groups[0] = (uint32_t)rapt_div_up(push.rows, row->rows_per_tile);
            step->groups[1] = step->groups[2] = 1;
            for (uint32_t k = 0; k < row->operand_count; k++) {
                const unsigned role = row->operands[k].role;
                rapt_window *window = &step->windows[k];
                if (role == RAPT_ROLE_EXTRA)
                    window->bytes = plan->extras.words * 4;
                else if (role == RAPT_ROLE_SINKS + i)
                    window->bytes = x->bytes;
                else
                    window->first = UINT64_MAX;
            }
        }
    }
    return RAPT_OK;
}
