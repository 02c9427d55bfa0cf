/* The parameter block of attention's kernels. */
#include "plan/plan.h"

#include "common/attention_params.h"
#include <math.h>
#include <string.h>

_Static_assert(sizeof(rapt_attention_params) <= sizeof(((rapt_plan *)0)->params),
               "rapt_plan.params is large enough");
_Static_assert((int)RAPT_PARAM_LINK_NONE == RAPT_LINK_NONE &&
                   (int)RAPT_PARAM_LINK_SIGMOID == RAPT_LINK_SIGMOID,
               "kernels number the links as the library does");

#define LOG2_E 1.44269504088896341f

void rapt_rope_ratio(double base, uint32_t dim, uint32_t *low, uint32_t *high)
{
    const double ratio = pow(base, -2.0 / dim); /* below 1 */
    const uint64_t bits = ratio < 1.0 ? (uint64_t)ldexp(ratio, 64) : UINT64_MAX;
    *low = (uint32_t)bits;
    *high = (uint32_t)(bits >> 32);
}

/* Of what rewrites q and k. */
static void fill_prepare(const rapt_problem *p, rapt_attention_params *params)
{
    uint32_t *source = &params->source_q_stride_b,
             *factor = &params->factor_q_stride_b; /* q: three, k: three */
    for (unsigned i = 0; i < 6; i++) {
        source[i] = (uint32_t)p->source[i / 3].stride[i % 3];
        factor[i] = (uint32_t)p->factor[i / 3].stride[i % 3];
    }
    params->source_dim = p->source_dim;
    params->factor_rank = p->rank;
    params->factor_scale = p->rank > 0 ? 1.0f / p->scale : 0.0f;
    params->norm_epsilon = p->norm_epsilon;
    params->rope_dim = p->rope_dim;
    params->rope_interleaved = p->rope_interleaved;
    if (p->rope_dim > 0)
        rapt_rope_ratio(p->rope_base, p->rope_dim, &params->rope_ratio_low, &params->rope_ratio_high);
}

void rapt_fill_params(rapt_plan *plan)
{
    const rapt_problem *p = &plan->problem;
    rapt_attention_params params = {
        .heads_out = (uint32_t)p->heads_out,
        .heads_q = (uint32_t)p->heads_q,
        .heads_kv = (uint32_t)p->heads_kv,
        .group = plan->group,
        .nq = (uint32_t)p->nq,
        .nk = (uint32_t)p->nk,
        .total_q = (uint32_t)p->total_q,
        .total_k = (uint32_t)p->total_k,
        .head_dim_qk = p->head_dim_qk,
        .head_dim_v = p->head_dim_v,
        .flags = (p->causal ? RAPT_PARAM_CAUSAL : 0) | (p->varlen ? RAPT_PARAM_VARLEN : 0) |
                 (p->lse ? RAPT_PARAM_LSE : 0) | (plan->splits > 1 ? RAPT_PARAM_PARTIAL : 0) |
                 (p->window ? RAPT_PARAM_WINDOW : 0) | (p->soft_cap > 0.0f ? RAPT_PARAM_SOFT_CAP : 0),
        .causal_offset = p->causal_offset,
        .scale_log2 = p->scale * LOG2_E,
        .splits = plan->splits,
        .split_keys = plan->split_keys,
        .part_stride = plan->part_stride,
        .soft_cap = p->soft_cap * LOG2_E,
        .soft_cap_inverse = p->soft_cap > 0.0f ? 1.0f / (p->soft_cap * LOG2_E) : 0.0f,
        .window_left = p->window_left,
        .window_right = p->window_right,
        .sink_tokens = p->sink_tokens,
        .link_offset = p->link_offset,
        .link_range = p->link_range,
        .x_sinks_heads = (uint32_t)p->extra[RAPT_X_SINKS].heads,
        .block_q = p->block_q,
        .block_k = p->block_k,
        .x_blocks_pitch = (uint32_t)p->block_pitch,
        .relative_pitch = p->relative_size[1],
        .relative_half_y = p->relative_size[0] / 2,
        .relative_half_x = p->relative_size[1] / 2,
        .place_width = p->place_width,
        .x_lists = (uint32_t)plan->lists.first,
        .lists_stride_b = (uint32_t)plan->lists.stride_b,
        .lists_stride_g = (uint32_t)plan->lists.stride_g,
        .lists_pitch = (uint32_t)plan->lists.pitch,
        .list_rows = plan->lists.rows,
        .list_keys = plan->lists.keys,
        .page_size = p->page_size,
        .pages = (uint32_t)p->pages,
    };
    const struct {
        uint32_t *first, *stride_b, *stride_h;
    } extras[RAPT_X_COUNT] = {
        {&params.x_sinks, NULL, &params.x_sinks_stride_h},
        {&params.x_alibi, NULL, &params.x_alibi_stride_h},
        {&params.x_key_bias, &params.x_key_bias_stride_b, &params.x_key_bias_stride_h},
        {&params.x_segments, &params.x_segments_stride_b, NULL},
        {&params.x_relative, NULL, &params.x_relative_stride_h},
        {&params.x_decay, NULL, &params.x_decay_stride_h},
        {&params.x_blocks, &params.x_blocks_stride_b, &params.x_blocks_stride_h},
        {&params.x_pages, &params.x_pages_stride_b, NULL},
    };
    params.flags |= (p->bias ? RAPT_PARAM_BIAS : 0) | p->extras << RAPT_PARAM_EXTRA_SHIFT |
                    p->link << RAPT_PARAM_LINK_SHIFT | (p->blocks ? RAPT_PARAM_BLOCKS : 0) |
                    (plan->lists.listed ? RAPT_PARAM_LISTED : 0) | (p->place_width > 0 ? RAPT_PARAM_PLACED : 0) |
                    (p->paged ? RAPT_PARAM_PAGED : 0) |
                    (p->ragged ? RAPT_PARAM_RAGGED : 0);
    for (unsigned i = 0; i < RAPT_X_COUNT; i++) {
        *extras[i].first = (uint32_t)plan->extras.place[i].first;
        if (extras[i].stride_b != NULL)
            *extras[i].stride_b = (uint32_t)plan->extras.place[i].stride_b;
        if (extras[i].stride_h != NULL)
            *extras[i].stride_h = (uint32_t)plan->extras.place[i].stride_h;
    }
    uint32_t *strides = &params.q_stride_b; /* q, k, v, out, lse: three each, in this order */
    for (unsigned t = 0; t <= RAPT_T_LSE; t++)
        for (unsigned axis = 0; axis < 3; axis++)
            strides[t * 3 + axis] = (uint32_t)p->stride[t][axis];
    params.g_stride_b = (uint32_t)p->stride[RAPT_T_GATE][0];
    params.g_stride_h = (uint32_t)p->stride[RAPT_T_GATE][1];
    params.g_stride_s = (uint32_t)p->stride[RAPT_T_GATE][2];
    params.gate_by_row = p->gate_by_row;
    params.bias_stride_b = (uint32_t)p->stride[RAPT_T_BIAS][0];
    params.bias_stride_h = (uint32_t)p->stride[RAPT_T_BIAS][1];
    params.bias_stride_q = (uint32_t)p->stride[RAPT_T_BIAS][2];
    if (p->prepared)
        fill_prepare(p, &params);
    for (uint32_t i = 0; i < 16; i++)
        params.lane[i] = i;
    memcpy(params.grid_size, p->grid.size, sizeof p->grid.size);
    memcpy(params.grid_kernel, p->grid.kernel_size, sizeof p->grid.kernel_size);
    memcpy(params.grid_dilation, p->grid.dilation, sizeof p->grid.dilation);
    memcpy(params.grid_stride, p->grid.stride, sizeof p->grid.stride);
    memcpy(params.grid_box, plan->grid.box, sizeof plan->grid.box);
    memcpy(params.grid_tiles, plan->grid.tiles, sizeof plan->grid.tiles);
    params.grid_causal = p->grid.causal;
    memcpy(params.user_constants, p->user_constants, sizeof params.user_constants);
    for (uint32_t i = 0; i < p->user_count; i++)
        params.user_last[i] = p->user_elements[i] - 1;
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
}
