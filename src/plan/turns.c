#include "plan/turns.h"

#define RESERVE 4096u /* turns for what stands before and behind the loops that are counted here */
#define VECTOR 4u     /* a vector read or written element by element */

/* Saturating: counts of what no device could do may be large. */
static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t r;
    return rapt_mul_u64(a, b, &r) ? r : UINT64_MAX;
}

static uint64_t most_turns(const rapt_caps *caps)
{
    const uint64_t turns = rapt_loop_turns(caps);
    return turns == UINT64_MAX ? turns : turns - RESERVE;
}

uint64_t rapt_most_steps(const rapt_caps *caps, uint64_t turns)
{
    const uint64_t most = most_turns(caps);
    return most == UINT64_MAX ? RAPT_ANY_STEPS : RAPT_MAX(most / RAPT_MAX(turns, 1), 1);
}

rapt_status rapt_check_turns(const rapt_caps *caps, uint64_t turns, const char *what, rapt_error *error)
{
    if (turns <= most_turns(caps))
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s may take %llu turns of loops; this driver ends them after %llu, without notice", what,
                     (unsigned long long)turns, (unsigned long long)rapt_loop_turns(caps));
}

/* Of one tile of keys. Rolled loops of tile kernels go along head_dim, along a lane's slots of values, and, with long code of an app,
 * along the scores of a lane; the naive kernel's along head_dim for each key. */
static uint64_t tile_turns(const rapt_kernel_row *row, const rapt_problem *p)
{
    const uint64_t qk = rapt_div_up(p->head_dim_qk, VECTOR), v = rapt_div_up(p->head_dim_v, VECTOR);
    const uint64_t scores = (uint64_t)row->rows_per_tile * row->keys_per_tile / RAPT_MAX(row->local_size, 1);
    if (row->family == RAPT_FAMILY_NAIVE)
        return 1 + qk + v;
    uint64_t turns = 2 + 2 * qk + row->keys_per_tile;
    if (rapt_problem_form(p) != 0)
        turns += 4 * scores;
    if (row->family == RAPT_FAMILY_BROADCAST || row->family == RAPT_FAMILY_DECODE)
        turns += 2 * scores;
    if (p->paged) /* holes are looked for in each page of a tile */
        turns += row->keys_per_tile;
    return turns;
}

uint64_t rapt_most_keys(const rapt_kernel_row *row, const rapt_problem *p, const rapt_caps *caps)
{
    const uint64_t tiles = rapt_most_steps(caps, tile_turns(row, p));
    return tiles == RAPT_ANY_STEPS ? tiles : tiles * row->keys_per_tile;
}

bool rapt_lists_end(const rapt_kernel_row *row, const rapt_problem *p, const rapt_caps *caps, const rapt_choice *main)
{
    const uint64_t rows = main->row->rows_per_tile, keys = main->row->keys_per_tile;
    const bool wide = row->rows_per_tile == 1; /* a workgroup makes a list, each lane for a tile of a span */
    const uint64_t spans = rapt_div_up(p->nk, 32 * keys), tiles = wide ? 1 : 32;
    uint64_t span = 1;
    if (p->blocks)
        span += times(rows / p->block_q + 2, times(main->group, tiles * keys / p->block_k + 3));
    if (p->mask_mod)
        span += times(tiles, 1 + times(rows, 1 + keys));
    return times(spans, span) <= most_turns(caps);
}

uint64_t rapt_linear_token_turns(const rapt_linear_problem *p)
{
    return 32 + rapt_div_up(p->d_k, VECTOR); /* vectors read element by element, and a share of bringing rows to shared memory */
}

uint64_t rapt_scan_token_turns(const rapt_scan_problem *p)
{
    return 4 * VECTOR + p->states;
}

uint64_t rapt_conv_turns(const rapt_scan_problem *p)
{
    const uint64_t reads = p->generated ? 12 * VECTOR : 3 * VECTOR; /* of a tap; generated ones are those of eight tokens */
    const uint64_t taps = times(p->taps[0] + 8ull, p->taps[1] > 0 ? p->taps[1] + 8ull : 1);
    return times(taps, reads);
}
