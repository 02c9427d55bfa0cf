/* From a choice of kernels to an ordered list of steps: boxes of the problem whose windows fit the device's limits
 * and whose work fits a time slice. */
#include "plan/plan.h"

#include "common/attention_params.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(rapt_attention_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_attention_push");
_Static_assert(sizeof(rapt_attention_params) <= sizeof(((rapt_plan *)0)->params), "rapt_plan.params is large enough");

_Static_assert((int)RAPT_PARAM_LINK_NONE == RAPT_LINK_NONE && (int)RAPT_PARAM_LINK_SIGMOID == RAPT_LINK_SIGMOID,
               "kernels number the links as the library does");

#define MAX_STEPS (1u << 20)
#define LOG2_E 1.44269504088896341f

/* Work of one kernel launch: batch entries, head groups, query tiles and key splits, each [first, last). */
enum { AXIS_BATCH, AXIS_GROUP, AXIS_TILE, AXIS_SPLIT, AXIS_COUNT };
typedef struct box {
    uint64_t lo[AXIS_COUNT], hi[AXIS_COUNT];
} box;

/* One launch kind: the row and how boxes map to its grid. */
typedef struct launch {
    rapt_plan *plan;
    uint8_t pipeline, phase;
    const rapt_kernel_row *row;
    uint32_t group;         /* heads per entry of AXIS_GROUP */
    uint64_t rows_per_tile; /* query rows (times group) per entry of AXIS_TILE */
    bool merge;             /* a merge or a map: AXIS_TILE counts rows and the grid is linear in them */
    double slice_flops;     /* most work of one box */
    bool *unfit;            /* set when no cut makes a window fit */
    uint64_t heads, length; /* of a merge or a map: rows are numbered (batch * heads + head) * length + index */
    enum { NOT_PREPARED, PREPARES_Q, PREPARES_K } prepares; /* what it rewrites */
} launch;

/* An index range along one axis of a tensor: bytes or elements do not matter here. */
typedef struct span {
    uint64_t lo, hi; /* inclusive */
    uint64_t stride;
    int axis; /* the axis of the box that would shorten it; -1: none */
} span;

static uint64_t queries_begin(const launch *l, const box *b)
{
    return b->lo[AXIS_TILE] * l->rows_per_tile / l->group;
}

static uint64_t queries_end(const launch *l, const box *b)
{
    const rapt_problem *p = &l->plan->problem;
    return RAPT_MIN(p->nq, rapt_div_up(b->hi[AXIS_TILE] * l->rows_per_tile, l->group));
}

/* The same of the extra operand: all of it where it is packed. */
static unsigned extra_spans(const rapt_plan *plan, const box *b, uint64_t h0, uint64_t h1, span spans[4],
                            uint64_t *inner)
{
    const rapt_problem *p = &plan->problem;
    if (plan->extras.packed) {
        *inner = plan->extras.words;
        spans[0] = (span){0, 0, 0, -1};
        return 1;
    }
    for (unsigned i = 0; i < RAPT_X_COUNT; i++) {
        const rapt_extra *x = &p->extra[i];
        if (x->bytes == 0)
            continue;
        *inner = x->count;
        spans[0] = (span){b->lo[AXIS_BATCH], b->hi[AXIS_BATCH] - 1, x->stride_b, AXIS_BATCH};
        spans[1] = (span){h0 * x->heads / p->heads_out, h1 * x->heads / p->heads_out, x->stride_h, AXIS_GROUP};
        if (x->batch == 1) /* with packed sequences: but for a block mask for each */
            spans[0] = (span){0, 0, 0, -1};
        return 2;
    }
    return 0;
}

/* The same of what rewrites q or k: boxes count heads and rows of these. */
static unsigned prepare_spans(const launch *l, const box *b, rapt_role role, span spans[4], uint64_t *inner)
{
    const rapt_problem *p = &l->plan->problem;
    const unsigned side = l->prepares - PREPARES_Q;
    const uint64_t *stride;
    if (role == RAPT_ROLE_SOURCE_Q + side) {
        stride = p->source[side].stride;
        *inner = p->source_dim;
    } else if (role == RAPT_ROLE_FACTOR_Q + side && p->rank > 0) {
        stride = p->factor[side].stride;
        *inner = p->rank;
    } else if (role == RAPT_ROLE_Q + side) {
        stride = p->stride[RAPT_T_Q + side];
        *inner = p->head_dim_qk;
    } else {
        return 0;
    }
    for (int axis = 0; axis < 3; axis++)
        spans[axis] = (span){b->lo[axis], b->hi[axis] - 1, stride[axis], axis};
    if (p->varlen) {
        spans[0] = (span){0, 0, 0, -1};
        spans[2] = (span){0, (side ? p->total_k : p->total_q) - 1, stride[2], -1};
    }
    return 3;
}

/* The index ranges of a role inside a box; 0 when nothing of it is touched. `inner` elements follow the last one. */
static unsigned role_spans(const launch *l, const box *b, rapt_role role, span spans[4], uint64_t *inner)
{
    const rapt_plan *plan = l->plan;
    const rapt_problem *p = &plan->problem;
    uint64_t h0 = b->lo[AXIS_GROUP] * l->group, h1 = b->hi[AXIS_GROUP] * l->group - 1; /* output heads */
    uint64_t q0 = queries_begin(l, b), q1 = queries_end(l, b);
    uint64_t k0 = plan->first_key + b->lo[AXIS_SPLIT] * plan->split_keys;
    uint64_t k1 = RAPT_MIN(p->nk, plan->first_key + b->hi[AXIS_SPLIT] * plan->split_keys);
    int query_axis = AXIS_TILE, key_axis = AXIS_SPLIT;
    if (p->grid.rank > 0 && !l->merge) { /* keys are those around the tile's queries */
        const rapt_grid_range r = rapt_grid_tokens(&p->grid, &plan->grid, b->lo[AXIS_TILE], b->hi[AXIS_TILE]);
        q0 = r.q0;
        q1 = r.q1;
        k0 = r.k0;
        k1 = r.k1;
        key_axis = AXIS_TILE;
    }
    if (p->varlen) { /* where a sequence lies is known on the device only */
        q0 = k0 = 0;
        q1 = p->total_q;
        k1 = p->total_k;
        query_axis = key_axis = -1;
    }
    int tensor = rapt_role_tensor(role);
    *inner = 1;
    if (l->prepares && role != RAPT_ROLE_CU_Q && role != RAPT_ROLE_CU_K)
        return prepare_spans(l, b, role, spans, inner);
    switch (role) {
    case RAPT_ROLE_Q:
    case RAPT_ROLE_OUT:
    case RAPT_ROLE_GATE:
    case RAPT_ROLE_LSE:
        if (q1 <= q0 || (role == RAPT_ROLE_LSE && !p->lse))
            return 0;
        if (role == RAPT_ROLE_Q) {
            h0 = h0 * p->heads_q / p->heads_out;
            h1 = h1 * p->heads_q / p->heads_out;
        }
        spans[2] = (span){q0, q1 - 1, p->stride[tensor][2], query_axis};
        *inner = role == RAPT_ROLE_Q                                                ? p->head_dim_qk
                 : role == RAPT_ROLE_LSE || (role == RAPT_ROLE_GATE && p->gate_by_row) ? 1
                                                                                     : p->head_dim_v;
        break;
    case RAPT_ROLE_K:
    case RAPT_ROLE_V:
        if (k1 <= k0)
            return 0;
        h0 = h0 * p->heads_kv / p->heads_out;
        h1 = h1 * p->heads_kv / p->heads_out;
        spans[2] = (span){k0, k1 - 1, p->stride[tensor][2], key_axis};
        *inner = role == RAPT_ROLE_K ? p->head_dim_qk : p->head_dim_v;
        break;
    case RAPT_ROLE_BIAS:
        if (!p->bias || k1 <= k0 || q1 <= q0)
            return 0;
        h0 = h0 * p->heads_q / p->heads_out;
        h1 = h1 * p->heads_q / p->heads_out;
        spans[2] = (span){q0, q1 - 1, p->stride[tensor][2], AXIS_TILE};
        spans[3] = (span){k0, k1 - 1, 1, AXIS_SPLIT};
        break;
    case RAPT_ROLE_PART_ACC:
    case RAPT_ROLE_PART_ML: {
        if (plan->splits <= 1)
            return 0;
        q0 = queries_begin(l, b); /* (sequence, head, query, split) even when the tensors are packed */
        q1 = queries_end(l, b);
        uint64_t one = role == RAPT_ROLE_PART_ACC ? plan->part_stride : 2;
        spans[0] = (span){b->lo[AXIS_BATCH], b->hi[AXIS_BATCH] - 1, p->heads_out * p->nq * plan->splits * one,
                          AXIS_BATCH};
        spans[1] = (span){h0, h1, p->nq * plan->splits * one, AXIS_GROUP};
        spans[2] = (span){q0, q1 - 1, plan->splits * one, AXIS_TILE};
        spans[3] = (span){b->lo[AXIS_SPLIT], b->hi[AXIS_SPLIT] - 1, one, l->merge ? -1 : AXIS_SPLIT};
        *inner = one;
        return 4;
    }
    case RAPT_ROLE_USER:
    case RAPT_ROLE_USER_1:
    case RAPT_ROLE_USER_2:
    case RAPT_ROLE_USER_3:
        spans[0] = (span){0, p->user_elements[role - RAPT_ROLE_USER] - 1, 1, -1};
        return 1;
    case RAPT_ROLE_CU_Q:
    case RAPT_ROLE_CU_K:
        if (!p->varlen)
            return 0;
        spans[0] = (span){0, p->batch, 1, -1};
        return 1;
    case RAPT_ROLE_EXTRA:
        return extra_spans(plan, b, h0, h1, spans, inner);
    default:
        return 0;
    }
    uint64_t b0 = p->varlen ? 0 : b->lo[AXIS_BATCH], b1 = p->varlen ? 0 : b->hi[AXIS_BATCH] - 1;
    spans[0] = (span){b0, b1, p->stride[tensor][0], AXIS_BATCH};
    spans[1] = (span){h0, h1, p->stride[tensor][1], AXIS_GROUP};
    return role == RAPT_ROLE_BIAS ? 4 : 3;
}

/* Whether this launch binds the role: partial results stand in for the output while the keys are split. */
static bool role_bound(const launch *l, rapt_role role)
{
    if (l->prepares) /* either side's operands share bindings */
        return role == RAPT_ROLE_CU_Q || role == RAPT_ROLE_CU_K ||
               ((role - RAPT_ROLE_Q) ^ (l->prepares == PREPARES_K)) == 0 ||
               role == (l->prepares == PREPARES_Q ? RAPT_ROLE_SOURCE_Q : RAPT_ROLE_SOURCE_K) ||
               role == (l->prepares == PREPARES_Q ? RAPT_ROLE_FACTOR_Q : RAPT_ROLE_FACTOR_K);
    if (l->merge)
        return true;
    if (role >= RAPT_ROLE_SINKS && role <= RAPT_ROLE_BLOCK_MASK)
        return false;
    if (role == RAPT_ROLE_BIAS || role == RAPT_ROLE_CU_Q) /* at one binding, but in rows for grids, which have no cu_seqlens */
        return (role == RAPT_ROLE_BIAS) == l->plan->problem.bias || l->plan->problem.grid.rank > 0;
    bool partial = role == RAPT_ROLE_PART_ACC || role == RAPT_ROLE_PART_ML;
    if (l->plan->splits > 1)
        return role != RAPT_ROLE_OUT && role != RAPT_ROLE_LSE;
    return !partial;
}

static uint64_t span_first(const span *spans, unsigned count)
{
    uint64_t first = 0;
    for (unsigned i = 0; i < count; i++)
        first += spans[i].lo * spans[i].stride;
    return first;
}

static uint64_t span_last(const span *spans, unsigned count)
{
    uint64_t last = 0;
    for (unsigned i = 0; i < count; i++)
        last += spans[i].hi * spans[i].stride;
    return last;
}

/* Upper bound of the work in a box. */
static double box_flops(const launch *l, const box *b)
{
    const rapt_problem *p = &l->plan->problem;
    if (l->prepares)
        return 20.0 * p->head_dim_qk * (double)(b->hi[AXIS_TILE] - b->lo[AXIS_TILE]) *
               (double)(b->hi[AXIS_GROUP] - b->lo[AXIS_GROUP]) * (double)(b->hi[AXIS_BATCH] - b->lo[AXIS_BATCH]);
    if (l->merge)
        return 4.0 * l->plan->splits * l->plan->part_stride * (double)(b->hi[AXIS_TILE] - b->lo[AXIS_TILE]) *
               (double)(b->hi[AXIS_GROUP] - b->lo[AXIS_GROUP]) * (double)(b->hi[AXIS_BATCH] - b->lo[AXIS_BATCH]);
    const double others = (double)((b->hi[AXIS_GROUP] - b->lo[AXIS_GROUP]) * l->group) *
                          (double)(b->hi[AXIS_BATCH] - b->lo[AXIS_BATCH]) * 2.0 * (p->head_dim_qk + p->head_dim_v);
    if (p->grid.rank > 0) { /* what is computed, not what is seen; alike in all tiles, about */
        const rapt_grid_tiling *t = &l->plan->grid;
        return (double)t->key_tiles * l->row->keys_per_tile * l->row->rows_per_tile *
               (double)(b->hi[AXIS_TILE] - b->lo[AXIS_TILE]) / (double)t->tile_count * others;
    }
    uint64_t q0 = queries_begin(l, b), q1 = queries_end(l, b);
    int64_t shift = (int64_t)p->causal_offset - (int64_t)p->nq;
    double pairs = (double)rapt_visible_pairs(p, q1, p->nk, shift + (int64_t)q1) -
                   (double)rapt_visible_pairs(p, q0, p->nk, shift + (int64_t)q0);
    pairs *= (double)(b->hi[AXIS_SPLIT] - b->lo[AXIS_SPLIT]) / l->plan->splits;
    return pairs * others;
}

static uint64_t box_size(const box *b, int axis)
{
    return b->hi[axis] - b->lo[axis];
}

/* Batch and head group make one axis of the grid, so heads are only cut within one batch entry. A merge is linear in
 * (batch, head, query), so there queries are only cut within one head. */
static int cut_axis(const launch *l, const box *b, int axis)
{
    if (axis == AXIS_TILE && l->merge && box_size(b, AXIS_GROUP) > 1)
        axis = AXIS_GROUP;
    if ((axis == AXIS_GROUP || (axis == AXIS_TILE && l->merge)) && box_size(b, AXIS_BATCH) > 1)
        axis = AXIS_BATCH;
    return axis;
}

/* One more step, all zero. */
rapt_status rapt_plan_new_step(rapt_plan *plan, rapt_step **out, rapt_error *error)
{
    if (plan->step_count == plan->step_capacity) {
        uint32_t capacity = plan->step_capacity ? plan->step_capacity * 2 : 16;
        if (capacity > MAX_STEPS)
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the plan would need more than %u dispatches", MAX_STEPS);
        rapt_step *grown = rapt_realloc_array(&plan->allocator, plan->steps, plan->step_capacity, capacity,
                                              sizeof *plan->steps);
        if (grown == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u steps", capacity);
        plan->steps = grown;
        plan->step_capacity = capacity;
    }
    rapt_step *step = &plan->steps[plan->step_count++];
    memset(step, 0, sizeof *step);
    *out = step;
    return RAPT_OK;
}

static rapt_status add_step(const launch *l, const box *b, double flops, rapt_error *error)
{
    rapt_plan *plan = l->plan;
    const rapt_problem *p = &plan->problem;
    rapt_step *step;
    rapt_status status = rapt_plan_new_step(plan, &step, error);
    if (status != RAPT_OK)
        return status;
    step->pipeline = l->pipeline;
    step->phase = l->phase;
    step->flops = flops < 1.8e19 ? (uint64_t)flops : UINT64_MAX;
    rapt_attention_push push = {0};
    uint64_t groups = p->heads_out / l->group;
    if (l->merge) {
        uint64_t rows = box_size(b, AXIS_BATCH) * box_size(b, AXIS_GROUP) * box_size(b, AXIS_TILE);
        push.row0 = (uint32_t)((b->lo[AXIS_BATCH] * l->heads + b->lo[AXIS_GROUP]) * l->length + b->lo[AXIS_TILE]);
        push.split0 = l->prepares == PREPARES_K;
        push.rows = (uint32_t)rows;
        step->groups[0] = (uint32_t)rapt_div_up(rows, l->row->rows_per_tile);
        step->groups[1] = step->groups[2] = 1;
    } else {
        push.tile0 = (uint32_t)b->lo[AXIS_TILE];
        push.tiles = (uint32_t)box_size(b, AXIS_TILE);
        push.split0 = (uint32_t)b->lo[AXIS_SPLIT];
        push.bh0 = (uint32_t)(b->lo[AXIS_BATCH] * groups + b->lo[AXIS_GROUP]);
        push.key0 = (uint32_t)plan->first_key;
        push.key1 = (uint32_t)p->nk;
        step->groups[0] = push.tiles;
        step->groups[1] = (uint32_t)box_size(b, AXIS_SPLIT);
        step->groups[2] = (uint32_t)(box_size(b, AXIS_BATCH) * box_size(b, AXIS_GROUP));
    }
    memcpy(step->push, &push, sizeof push);
    for (uint32_t i = 0; i < l->row->operand_count; i++) {
        const rapt_kernel_operand *op = &l->row->operands[i];
        rapt_window *window = &step->windows[i];
        span spans[4];
        uint64_t inner;
        if (!role_bound(l, (rapt_role)op->role)) {
            window->first = UINT64_MAX;
            continue;
        }
        unsigned count = role_spans(l, b, (rapt_role)op->role, spans, &inner);
        if (count == 0)
            continue;
        uint64_t first = span_first(spans, count), element = rapt_problem_role_element(p, (rapt_role)op->role);
        window->first = first * element;
        window->bytes = (span_last(spans, count) + inner - first) * element;
        /* Storage bindings start at an element whatever the texel; texel views likewise: kernels divide. */
        uint32_t binding = rapt_binding_base(op->binding);
        if (op->role < RAPT_ROLE_USER) /* user buffers have their bases among the parameters */
            step->push[binding - 1] = (uint32_t)(0 - first);
    }
    return RAPT_OK;
}

/* Adds the steps of a box, cut in halves until its windows, its grid and its work fit. */
static rapt_status add_box(const launch *l, const box *b, bool *need_splits, rapt_error *error)
{
    const rapt_caps *caps = &l->plan->caps;
    int axis = -1;
    for (uint32_t i = 0; i < l->row->operand_count && axis < 0; i++) {
        const rapt_kernel_operand *op = &l->row->operands[i];
        span spans[4];
        uint64_t inner;
        unsigned count = role_bound(l, (rapt_role)op->role) ? role_spans(l, b, (rapt_role)op->role, spans, &inner) : 0;
        if (count == 0)
            continue;
        uint64_t bytes = (span_last(spans, count) + inner - span_first(spans, count)) *
                         rapt_problem_role_element(&l->plan->problem, (rapt_role)op->role);
        uint64_t limit = rapt_window_limit(caps, (rapt_operand_kind)op->kind);
        if (bytes <= limit)
            continue;
        uint64_t widest = 0;
        bool keys_are_whole = false;
        for (unsigned s = 0; s < count; s++) {
            uint64_t width = (spans[s].hi - spans[s].lo) * spans[s].stride;
            int candidate = spans[s].axis < 0 ? -1 : cut_axis(l, b, spans[s].axis);
            if (spans[s].axis == AXIS_SPLIT && width > 0 && box_size(b, AXIS_SPLIT) == 1)
                keys_are_whole = true;
            if (candidate >= 0 && box_size(b, candidate) > 1 && width > widest) {
                widest = width;
                axis = candidate;
            }
        }
        if (axis < 0 && keys_are_whole && (l->row->supports & RAPT_ROW_PARTIAL)) {
            *need_splits = true;
            return RAPT_OK;
        }
        *l->unfit = axis < 0;
        if (axis < 0)
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                             "%s spans %llu bytes that kernel '%s' must bind at once; this device binds %llu",
                             rapt_role_name((rapt_role)op->role), (unsigned long long)bytes, l->row->name,
                             (unsigned long long)limit);
    }
    double flops = box_flops(l, b);
    if (axis < 0) {
        if (l->merge) {
            uint64_t rows = box_size(b, AXIS_BATCH) * box_size(b, AXIS_GROUP) * box_size(b, AXIS_TILE);
            if (rapt_div_up(rows, l->row->rows_per_tile) > caps->max_groups[0])
                axis = cut_axis(l, b, box_size(b, AXIS_TILE) > 1 ? AXIS_TILE : AXIS_GROUP);
        } else if (box_size(b, AXIS_TILE) > caps->max_groups[0]) {
            axis = AXIS_TILE;
        } else if (box_size(b, AXIS_SPLIT) > caps->max_groups[1]) {
            axis = AXIS_SPLIT;
        } else if (box_size(b, AXIS_BATCH) * box_size(b, AXIS_GROUP) > caps->max_groups[2]) {
            axis = cut_axis(l, b, AXIS_GROUP);
        } else if (flops > l->slice_flops) {
            const int order[] = {AXIS_BATCH, AXIS_GROUP, AXIS_TILE, AXIS_SPLIT};
            for (unsigned i = 0; i < RAPT_COUNT(order) && axis < 0; i++)
                if (box_size(b, order[i]) > 1)
                    axis = order[i];
        }
    }
    if (axis < 0)
        return add_step(l, b, flops, error);
    for (int half = 0; half < 2 && !*need_splits; half++) {
        box part = *b;
        uint64_t middle = b->lo[axis] + box_size(b, axis) / 2;
        if (half == 0)
            part.hi[axis] = middle;
        else
            part.lo[axis] = middle;
        rapt_status status = add_box(l, &part, need_splits, error);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

/* Of what rewrites q and k. */
static void fill_prepare(const rapt_problem *p, rapt_attention_params *params)
{
    uint32_t *source = &params->source_q_stride_b, *factor = &params->factor_q_stride_b; /* q: three, k: three */
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
    if (p->rope_dim > 0) {
        const double ratio = pow(p->rope_base, -2.0 / p->rope_dim); /* below 1 */
        const uint64_t bits = ratio < 1.0 ? (uint64_t)ldexp(ratio, 64) : UINT64_MAX;
        params->rope_ratio_low = (uint32_t)bits;
        params->rope_ratio_high = (uint32_t)(bits >> 32);
    }
}

static void fill_params(rapt_plan *plan)
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
        .x_lists = (uint32_t)plan->lists.first,
        .lists_stride_b = (uint32_t)plan->lists.stride_b,
        .lists_stride_g = (uint32_t)plan->lists.stride_g,
        .lists_pitch = (uint32_t)plan->lists.pitch,
        .list_rows = plan->lists.rows,
        .list_keys = plan->lists.keys,
    };
    const struct {
        uint32_t *first, *stride_b, *stride_h;
    } extras[RAPT_X_COUNT] = {
        {&params.x_sinks, NULL, &params.x_sinks_stride_h},
        {&params.x_alibi, NULL, &params.x_alibi_stride_h},
        {&params.x_key_bias, &params.x_key_bias_stride_b, &params.x_key_bias_stride_h},
        {&params.x_segments, &params.x_segments_stride_b, NULL},
        {&params.x_blocks, &params.x_blocks_stride_b, &params.x_blocks_stride_h},
    };
    params.flags |= (p->bias ? RAPT_PARAM_BIAS : 0) | p->extras << RAPT_PARAM_EXTRA_SHIFT | p->link << RAPT_PARAM_LINK_SHIFT |
                    (p->blocks ? RAPT_PARAM_BLOCKS : 0) | (plan->lists.listed ? RAPT_PARAM_LISTED : 0);
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

/* Throughput that slices assume until the device has shown its own: low enough to be safe on slow ones. */
double rapt_assumed_flops_per_second(const rapt_caps *caps)
{
    switch (caps->device_class) {
    case RAPT_CLASS_SOFTWARE:
        return 5e10 * RAPT_MAX(caps->compute_units, 1); /* and no watchdog */
    case RAPT_CLASS_V3D:
    case RAPT_CLASS_POWERVR:
    case RAPT_CLASS_MALI:
        return 1e10;
    case RAPT_CLASS_ADRENO:
        return 5e10;
    default:
        return 2e11;
    }
}

/* Puts steps into slices of about the time target, and barriers between phases. */
void rapt_plan_cut_slices(rapt_plan *plan, double slice_flops)
{
    double sum = 0;
    uint32_t slice = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        rapt_step *step = &plan->steps[i];
        if (i > 0 && sum + (double)step->flops > slice_flops) {
            slice++;
            sum = 0;
        }
        sum += (double)step->flops;
        step->slice = slice;
        step->barrier = i > 0 && step->phase != plan->steps[i - 1].phase;
    }
    plan->slice_count = plan->step_count ? slice + 1 : 0;
    plan->phase_count = plan->step_count ? plan->steps[plan->step_count - 1].phase + 1u : 0;
}

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
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%u key splits of this problem need too large a workspace",
                         plan->splits);
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

/* Where kernels find the extra vectors. */
static rapt_status place_extras(rapt_plan *plan, rapt_error *error)
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
        layout->place[i].stride_b = x->batch > 1 ? x->heads * x->count : 0; /* sizes are 2^30 x 2^20 at most */
        layout->place[i].stride_h = x->heads > 1 ? x->count : 0;
        uint64_t words;
        if (!rapt_mul_u64(x->batch * x->heads, x->count, &words) || words > limit / 4 ||
            (layout->words += words) > limit / 4 || x->bytes > limit)
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                             "%s spans %llu bytes that must be packed with others; this device binds %llu at once",
                             rapt_role_name((rapt_role)(RAPT_ROLE_SINKS + i)), (unsigned long long)x->bytes,
                             (unsigned long long)limit);
    }
    return plan->lists.listed ? rapt_place_lists(plan, error) : RAPT_OK;
}

/* The steps that pack them. */
static rapt_status add_packs(rapt_plan *plan, uint8_t pipeline, rapt_error *error)
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

/* A pipeline's row with code of the app: without cu_seqlens and the extra operand where there are none, and with the user's
 * buffers. */
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
        own->operands[count++] = (rapt_kernel_operand){
            .role = (uint8_t)(RAPT_ROLE_USER + i), .binding = (uint8_t)(RAPT_BIND_USER + i)};
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
static rapt_status add_prepares(rapt_plan *plan, uint8_t pipeline, double slice_flops, bool *need_splits, bool *unfit,
                                rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    rapt_status status = RAPT_OK;
    for (unsigned side = 0; side < 2 && status == RAPT_OK; side++) {
        const uint64_t heads = side ? p->heads_kv : p->heads_q, length = side ? p->nk : p->nq;
        launch prepare = {plan,        pipeline, 0,     plan->pipelines[pipeline].row, 1, 1, true,
                          slice_flops, unfit,    heads, length,                        side ? PREPARES_K : PREPARES_Q};
        box all = {{0}, {p->batch, heads, length, 1}};
        if (length > 0 && (side ? p->total_k : p->total_q) > 0)
            status = add_box(&prepare, &all, need_splits, error);
    }
    return status;
}

/* One try with at least `least_splits` key splits. */
static rapt_status try_plan(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                            uint32_t least_splits, bool *need_splits, bool *unfit, rapt_error *error)
{
    const rapt_problem *p = &plan->problem;
    rapt_choice main, merge;
    rapt_status status = rapt_select_row(p, &plan->caps, table, verdicts, plan->has_tuned ? &plan->tuned : NULL,
                                         least_splits, plan->candidates, &main, error);
    if (status != RAPT_OK)
        return status;
    plan->step_count = 0;
    plan->pipeline_count = 1;
    plan->pipelines[0].row = main.row;
    memcpy(plan->pipelines[0].constants, main.constants, sizeof main.constants);
    add_user_code(plan, &plan->pipelines[0], &plan->user_rows[0]);
    plan->group = main.group;
    plan->splits = main.splits;
    plan->split_keys = main.split_keys;
    plan->first_key = main.first_key;
    plan->aligned = main.aligned;
    plan->grid = main.grid;
    plan->part_stride = (uint32_t)rapt_align_up(p->head_dim_v, 4);
    plan->slot_count = 0;
    plan->workspace_bytes = 0;
    plan->lists = (rapt_list_layout){.listed = main.listed};
    status = place_extras(plan, error);
    if (status == RAPT_OK)
        status = add_workspace(plan, error);
    if (status != RAPT_OK)
        return status;
    if (plan->splits > 1) {
        status = rapt_select_merge(p, &plan->caps, table, verdicts, plan->candidates, &merge, error);
        if (status != RAPT_OK)
            return status;
        plan->pipelines[plan->pipeline_count] = (rapt_plan_pipeline){.row = merge.row, .base = merge.row};
        memcpy(plan->pipelines[plan->pipeline_count++].constants, merge.constants, sizeof merge.constants);
    }
    const bool two_passes = rapt_link_two_passes(p->link); /* then keys are not split */
    if (two_passes) {
        rapt_choose_second_pass(p, &main);
        rapt_plan_pipeline *second = &plan->pipelines[plan->pipeline_count++];
        *second = plan->pipelines[0]; /* with the same code of an app */
        memcpy(second->constants, main.constants, sizeof main.constants);
    }
    const uint8_t prepares = (uint8_t)plan->pipeline_count;
    if (p->prepared) {
        status = rapt_select_map(p, &plan->caps, table, verdicts, RAPT_ROLE_SOURCE_Q, &main, plan->candidates,
                                 &plan->pipelines[plan->pipeline_count++], error);
        if (status != RAPT_OK)
            return status;
    }
    const bool packs = plan->extras.packed && (p->extras != 0 || p->blocks);
    const uint8_t pack = (uint8_t)plan->pipeline_count;
    if (packs) {
        status = rapt_select_map(p, &plan->caps, table, verdicts, RAPT_ROLE_SINKS, &main, plan->candidates,
                                 &plan->pipelines[plan->pipeline_count++], error);
        if (status != RAPT_OK)
            return status;
    }
    const uint8_t list = (uint8_t)plan->pipeline_count;
    if (plan->lists.listed) {
        status = rapt_select_map(p, &plan->caps, table, verdicts, RAPT_ROLE_EXTRA, &main, plan->candidates,
                                 &plan->pipelines[plan->pipeline_count++], error);
        if (status != RAPT_OK)
            return status;
        add_user_code(plan, &plan->pipelines[list], &plan->user_rows[1]);
    }
    if (p->gate) {
        status = rapt_select_map(p, &plan->caps, table, verdicts, RAPT_ROLE_GATE, &main, plan->candidates,
                                 &plan->pipelines[plan->pipeline_count++], error);
        if (status != RAPT_OK)
            return status;
    }
    if (p->empty)
        return RAPT_OK;
    const double slice_flops = plan->flops_per_second * (double)p->slice_ms * 1e-3;
    status = packs ? add_packs(plan, pack, error) : RAPT_OK;
    if (status == RAPT_OK && p->prepared)
        status = add_prepares(plan, prepares, slice_flops, need_splits, unfit, error);
    if (status == RAPT_OK && plan->lists.listed)
        status = rapt_add_lists(plan, list, packs, slice_flops, error);
    if (status != RAPT_OK)
        return status;
    const uint8_t phase = (uint8_t)RAPT_MAX((unsigned)packs + plan->lists.listed, (unsigned)p->prepared);
    uint64_t bh;
    if (!rapt_mul_u64(p->batch, p->heads_out, &bh) || bh > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "batch %llu times %llu heads is more than 2^32",
                         (unsigned long long)p->batch, (unsigned long long)p->heads_out);
    launch attend = {.plan = plan,
                     .phase = phase,
                     .row = plan->pipelines[0].row,
                     .group = main.group,
                     .rows_per_tile = main.row->rows_per_tile,
                     .slice_flops = slice_flops,
                     .unfit = unfit};
    box whole = {{0}, {p->batch, p->heads_out / main.group, rapt_div_up(p->nq * main.group, main.row->rows_per_tile),
                       plan->splits}};
    if (p->grid.rank > 0)
        whole.hi[AXIS_TILE] = main.grid.tile_count;
    status = add_box(&attend, &whole, need_splits, error);
    if (status == RAPT_OK && !*need_splits && two_passes) {
        attend.pipeline = 1;
        attend.phase++;
        status = add_box(&attend, &whole, need_splits, error);
    }
    if (status != RAPT_OK || *need_splits)
        return status;
    bool merge_unfit;
    launch combine = {plan, 1, (uint8_t)(phase + 1), merge.row, 1, 1, true, slice_flops, &merge_unfit,
                      p->heads_out, p->nq, NOT_PREPARED};
    box rows = {{0}, {p->batch, p->heads_out, p->nq, plan->splits}};
    if (plan->splits > 1)
        status = add_box(&combine, &rows, need_splits, error);
    if (status != RAPT_OK || !p->gate)
        return status;
    const uint8_t last = (uint8_t)(plan->pipeline_count - 1);
    launch gate = {plan, last, (uint8_t)(phase + 1 + (plan->splits > 1 || two_passes)), plan->pipelines[last].row, 1, 1,
                   true, slice_flops, &merge_unfit, p->heads_out, p->nq, NOT_PREPARED};
    return add_box(&gate, &rows, need_splits, error);
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
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "keys and values do not fit this device's buffer ranges");
        }
        need_splits = false;
        status = try_plan(plan, table, verdicts, least, &need_splits, unfit, error);
        if (status == RAPT_ERROR_UNSUPPORTED && least == 1 && !*unfit) { /* what splits or merges may be out of order */
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
    plan->candidates = rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    plan->flops_per_second = verdicts != NULL && verdicts->flops_per_second > 0 ? verdicts->flops_per_second
                                                                                : rapt_assumed_flops_per_second(caps);
    rapt_hash key;
    plan->has_tuned = problem->kernel[0] == 0 && verdicts != NULL && verdicts->tuned != NULL &&
                      rapt_tuning_key(problem, caps, &key) && verdicts->tuned(verdicts->user, key, &plan->tuned);
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
    fill_params(plan);
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
