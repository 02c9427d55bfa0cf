/* Boxes of a problem, cut in halves until their windows fit the device's limits and their work fits a time
 * slice: each becomes a step. */
#include "plan/boxes.h"

#include "common/attention_params.h"
#include <string.h>

_Static_assert(sizeof(rapt_attention_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_attention_push");

/* An index range along one axis of a tensor: bytes or elements do not matter here. */
typedef struct span {
    uint64_t lo, hi; /* inclusive */
    uint64_t stride;
    int axis; /* the axis of the box that would shorten it; -1: none */
} span;

static bool is_columns(const rapt_launch *l)
{
    return l->margin >= RAPT_MARGIN_HEADS;
}

static uint64_t queries_begin(const rapt_launch *l, const rapt_box *b)
{
    return b->lo[RAPT_AXIS_TILE] * l->rows_per_tile / l->group;
}

static uint64_t queries_end(const rapt_launch *l, const rapt_box *b)
{
    const rapt_problem *p = &l->plan->problem;
    return RAPT_MIN(p->nq, rapt_div_up(b->hi[RAPT_AXIS_TILE] * l->rows_per_tile, l->group));
}

/* The same of the extra operand: all of it where it is packed. */
static unsigned extra_spans(const rapt_plan *plan, const rapt_box *b, uint64_t h0, uint64_t h1, span spans[4],
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
        spans[0] = (span){b->lo[RAPT_AXIS_BATCH], b->hi[RAPT_AXIS_BATCH] - 1, x->stride_b, RAPT_AXIS_BATCH};
        spans[1] =
            (span){h0 * x->heads / p->heads_out, h1 * x->heads / p->heads_out, x->stride_h, RAPT_AXIS_GROUP};
        if (x->batch == 1) /* with packed sequences: but for a block mask for each */
            spans[0] = (span){0, 0, 0, -1};
        return 2;
    }
    return 0;
}

/* The same of what rewrites q or k: boxes count heads and rows of these. */
static unsigned prepare_spans(const rapt_launch *l, const rapt_box *b, rapt_role role, span spans[4],
                              uint64_t *inner)
{
    const rapt_problem *p = &l->plan->problem;
    const unsigned side = l->prepares - RAPT_PREPARES_Q;
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

/* The index ranges of a role inside a box; 0 when nothing of it is touched. `inner` elements follow the last
 * one. */
static unsigned role_spans(const rapt_launch *l, const rapt_box *b, rapt_role role, span spans[4],
                           uint64_t *inner)
{
    const rapt_plan *plan = l->plan;
    const rapt_problem *p = &plan->problem;
    uint64_t h0 = b->lo[RAPT_AXIS_GROUP] * l->group,
             h1 = b->hi[RAPT_AXIS_GROUP] * l->group - 1; /* output heads */
    uint64_t q0 = queries_begin(l, b), q1 = queries_end(l, b);
    uint64_t k0 = plan->first_key + b->lo[RAPT_AXIS_SPLIT] * plan->split_keys;
    uint64_t k1 = RAPT_MIN(p->nk, plan->first_key + b->hi[RAPT_AXIS_SPLIT] * plan->split_keys);
    if (l->row->family == RAPT_FAMILY_COOPMAT2) /* tensor loads begin at key 0, whose place must not wrap around */
        k0 = 0;
    if (l->margin) {
        h0 = rapt_div_up(b->lo[RAPT_AXIS_GROUP] * p->heads_out, l->heads); /* all that read these heads */
        h1 = rapt_div_up(b->hi[RAPT_AXIS_GROUP] * p->heads_out, l->heads) - 1;
        k0 = b->lo[RAPT_AXIS_SPLIT] * l->rows_per_tile;
        k1 = RAPT_MIN(p->nk, b->hi[RAPT_AXIS_SPLIT] * l->rows_per_tile);
    }
    int query_axis = RAPT_AXIS_TILE, key_axis = RAPT_AXIS_SPLIT;
    if (p->grid.rank > 0 && !l->merge) { /* keys are those around the tile's queries */
        const rapt_grid_range r =
            rapt_grid_tokens(&p->grid, &plan->grid, b->lo[RAPT_AXIS_TILE], b->hi[RAPT_AXIS_TILE]);
        q0 = r.q0;
        q1 = r.q1;
        k0 = r.k0;
        k1 = r.k1;
        key_axis = RAPT_AXIS_TILE;
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
        *inner = role == RAPT_ROLE_Q                                                   ? p->head_dim_qk
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
        *inner = rapt_problem_row(p, (unsigned)tensor);
        if (p->paged) { /* any page */
            spans[0] = (span){0, p->pages - 1, p->stride[tensor][0], -1};
            spans[1] = (span){h0, h1, p->stride[tensor][1], RAPT_AXIS_GROUP};
            spans[2] = (span){0, p->page_size - 1, p->stride[tensor][2], -1};
            return 3;
        }
        break;
    case RAPT_ROLE_ROW_MAX:
    case RAPT_ROLE_COL_SUMS: {
        const bool keys = role == RAPT_ROLE_COL_SUMS;
        if (keys ? k1 <= k0 : q1 <= q0)
            return 0;
        h0 = b->lo[RAPT_AXIS_GROUP];
        h1 = b->hi[RAPT_AXIS_GROUP] - 1;
        spans[2] = (span){keys ? k0 : q0, (keys ? k1 : q1) - 1, p->stride[tensor][2], keys ? key_axis : query_axis};
        break;
    }
    case RAPT_ROLE_BIAS:
        if (!p->bias || k1 <= k0 || q1 <= q0)
            return 0;
        h0 = h0 * p->heads_q / p->heads_out;
        h1 = h1 * p->heads_q / p->heads_out;
        spans[2] = (span){q0, q1 - 1, p->stride[tensor][2], RAPT_AXIS_TILE};
        spans[3] = (span){k0, k1 - 1, 1, RAPT_AXIS_SPLIT};
        break;
    case RAPT_ROLE_PART_ACC:
    case RAPT_ROLE_PART_ML: {
        if (plan->splits <= 1)
            return 0;
        q0 = queries_begin(l, b); /* (sequence, head, query, split) even when the tensors are packed */
        q1 = queries_end(l, b);
        uint64_t one = role == RAPT_ROLE_PART_ACC ? plan->part_stride : 2;
        spans[0] = (span){b->lo[RAPT_AXIS_BATCH], b->hi[RAPT_AXIS_BATCH] - 1,
                          p->heads_out * p->nq * plan->splits * one, RAPT_AXIS_BATCH};
        spans[1] = (span){h0, h1, p->nq * plan->splits * one, RAPT_AXIS_GROUP};
        spans[2] = (span){q0, q1 - 1, plan->splits * one, RAPT_AXIS_TILE};
        spans[3] =
            (span){b->lo[RAPT_AXIS_SPLIT], b->hi[RAPT_AXIS_SPLIT] - 1, one, l->merge ? -1 : RAPT_AXIS_SPLIT};
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
        if (p->ragged && role == RAPT_ROLE_CU_K) { /* numbers of keys */
            spans[0] = (span){0, p->batch - 1, 1, -1};
            return 1;
        }
        if (!p->varlen)
            return 0;
        spans[0] = (span){0, p->batch, 1, -1};
        return 1;
    case RAPT_ROLE_EXTRA:
        return extra_spans(plan, b, h0, h1, spans, inner);
    default:
        return 0;
    }
    uint64_t b0 = p->varlen ? 0 : b->lo[RAPT_AXIS_BATCH], b1 = p->varlen ? 0 : b->hi[RAPT_AXIS_BATCH] - 1;
    spans[0] = (span){b0, b1, p->stride[tensor][0], RAPT_AXIS_BATCH};
    spans[1] = (span){h0, h1, p->stride[tensor][1], RAPT_AXIS_GROUP};
    return role == RAPT_ROLE_BIAS ? 4 : 3;
}

/* Whether this launch binds the role: partial results stand in for the output while the keys are split. */
static bool role_bound(const rapt_launch *l, rapt_role role)
{
    if (l->prepares) /* either side's operands share bindings */
        return role == RAPT_ROLE_CU_Q || role == RAPT_ROLE_CU_K ||
               ((role - RAPT_ROLE_Q) ^ (l->prepares == RAPT_PREPARES_K)) == 0 ||
               role == (l->prepares == RAPT_PREPARES_Q ? RAPT_ROLE_SOURCE_Q : RAPT_ROLE_SOURCE_K) ||
               role == (l->prepares == RAPT_PREPARES_Q ? RAPT_ROLE_FACTOR_Q : RAPT_ROLE_FACTOR_K);
    if (l->merge)
        return true;
    if (role == RAPT_ROLE_ROW_MAX || role == RAPT_ROLE_COL_SUMS)
        return (role == RAPT_ROLE_COL_SUMS) == is_columns(l);
    if (role >= RAPT_ROLE_SINKS && role <= RAPT_ROLE_BLOCK_TABLE)
        return false;
    if (role == RAPT_ROLE_BIAS ||
        role == RAPT_ROLE_CU_Q) /* at one binding, but in rows for grids, which have no cu_seqlens */
        return (role == RAPT_ROLE_BIAS) == l->plan->problem.bias || l->plan->problem.grid.rank > 0;
    bool partial = role == RAPT_ROLE_PART_ACC || role == RAPT_ROLE_PART_ML;
    if (l->plan->splits > 1 && !l->margin)
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

/* The most pairs of packed sequences in a box, where one of the largest has `pairs` in queries [q0, q1): only so many sequences reach q0, each
 * query meets at most nk keys, and each key at most the box's queries. (All keys of short sequences may be in one split.) */
static double packed_pairs(const rapt_problem *p, double sequences, uint64_t q0, uint64_t q1, double pairs)
{
    const double reach = (double)(p->total_q / (q0 + 1)), keys = (double)p->nk * (double)p->total_q, queries = (double)(q1 - q0) * (double)p->total_k;
    return RAPT_MIN(RAPT_MIN(sequences, reach) * pairs, RAPT_MIN(keys, queries));
}

/* Upper bound of the work in a box. */
static double box_flops(const rapt_launch *l, const rapt_box *b)
{
    const rapt_problem *p = &l->plan->problem;
    if (l->prepares)
        return 20.0 * p->head_dim_qk * (double)(b->hi[RAPT_AXIS_TILE] - b->lo[RAPT_AXIS_TILE]) *
               (double)(b->hi[RAPT_AXIS_GROUP] - b->lo[RAPT_AXIS_GROUP]) *
               (double)(b->hi[RAPT_AXIS_BATCH] - b->lo[RAPT_AXIS_BATCH]);
    if (l->merge)
        return 4.0 * l->plan->splits * l->plan->part_stride *
               (double)(b->hi[RAPT_AXIS_TILE] - b->lo[RAPT_AXIS_TILE]) *
               (double)(b->hi[RAPT_AXIS_GROUP] - b->lo[RAPT_AXIS_GROUP]) *
               (double)(b->hi[RAPT_AXIS_BATCH] - b->lo[RAPT_AXIS_BATCH]);
    const double batch = (double)(b->hi[RAPT_AXIS_BATCH] - b->lo[RAPT_AXIS_BATCH]);
    const double others = (double)((b->hi[RAPT_AXIS_GROUP] - b->lo[RAPT_AXIS_GROUP]) * l->group) * 2.0 * (p->head_dim_qk + p->head_dim_v);
    if (p->grid.rank > 0) { /* what is computed, not what is seen; alike in all tiles, about */
        const rapt_grid_tiling *t = &l->plan->grid;
        return (double)t->key_tiles * l->row->keys_per_tile * l->row->rows_per_tile *
               (double)(b->hi[RAPT_AXIS_TILE] - b->lo[RAPT_AXIS_TILE]) / (double)t->tile_count * batch * others;
    }
    uint64_t q0 = queries_begin(l, b), q1 = queries_end(l, b);
    int64_t shift = (int64_t)p->causal_offset - (int64_t)p->nq;
    double pairs = (double)rapt_visible_pairs(p, q1, p->nk, shift + (int64_t)q1) -
                   (double)rapt_visible_pairs(p, q0, p->nk, shift + (int64_t)q0);
    const double share = (double)(b->hi[RAPT_AXIS_SPLIT] - b->lo[RAPT_AXIS_SPLIT]);
    if (l->margin) { /* without values, of all output heads that read these */
        const double heads = (double)(b->hi[RAPT_AXIS_GROUP] - b->lo[RAPT_AXIS_GROUP]) * (double)p->heads_out / (double)l->heads;
        return pairs * share / (double)RAPT_MAX(rapt_div_up(p->nk, l->rows_per_tile), 1) * heads * 2.0 * p->head_dim_qk * batch;
    }
    pairs *= share / l->plan->splits;
    return (p->varlen ? packed_pairs(p, batch, q0, q1, pairs) : batch * pairs) * others;
}

static uint64_t box_size(const rapt_box *b, int axis)
{
    return b->hi[axis] - b->lo[axis];
}

/* The axis along which the invocations of a margin go; -1: none. */
static int inner_axis(const rapt_launch *l)
{
    return l->margin == RAPT_MARGIN_NONE ? -1 : is_columns(l) ? RAPT_AXIS_TILE : RAPT_AXIS_SPLIT;
}

/* And the one that its grid counts. */
static int outer_axis(const rapt_launch *l)
{
    return is_columns(l) ? RAPT_AXIS_SPLIT : RAPT_AXIS_TILE;
}

/* Batch and head group make one axis of the grid, so heads are only cut within one batch entry. A merge is
 * linear in (batch, head, query), so there queries are only cut within one head. */
static int cut_axis(const rapt_launch *l, const rapt_box *b, int axis)
{
    if (axis == inner_axis(l))
        return -1;
    if (axis == RAPT_AXIS_TILE && l->merge && box_size(b, RAPT_AXIS_GROUP) > 1)
        axis = RAPT_AXIS_GROUP;
    if ((axis == RAPT_AXIS_GROUP || (axis == RAPT_AXIS_TILE && l->merge)) && box_size(b, RAPT_AXIS_BATCH) > 1)
        axis = RAPT_AXIS_BATCH;
    return axis;
}

static rapt_status add_step(const rapt_launch *l, const rapt_box *b, double flops, rapt_error *error)
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
        uint64_t rows =
            box_size(b, RAPT_AXIS_BATCH) * box_size(b, RAPT_AXIS_GROUP) * box_size(b, RAPT_AXIS_TILE);
        push.row0 = (uint32_t)((b->lo[RAPT_AXIS_BATCH] * l->heads + b->lo[RAPT_AXIS_GROUP]) * l->length +
                               b->lo[RAPT_AXIS_TILE]);
        push.split0 = l->prepares == RAPT_PREPARES_K;
        push.rows = (uint32_t)rows;
        step->groups[0] = (uint32_t)rapt_div_up(rows, l->row->rows_per_tile);
        step->groups[1] = step->groups[2] = 1;
    } else if (l->margin) {
        const int outer = outer_axis(l), inner = inner_axis(l);
        const uint64_t *stride = p->stride[is_columns(l) ? RAPT_T_COL_SUMS : RAPT_T_ROW_MAX];
        push.tile0 = (uint32_t)b->lo[outer];
        push.bh0 = (uint32_t)(b->lo[RAPT_AXIS_BATCH] * l->heads + b->lo[RAPT_AXIS_GROUP]);
        push.row0 = (uint32_t)(b->lo[inner] * l->rows_per_tile);
        push.rows = (uint32_t)(box_size(b, inner) * l->rows_per_tile);
        push.key1 = (uint32_t)p->nk;
        push.tiles = (uint32_t)stride[0];
        push.split0 = (uint32_t)stride[1];
        push.v_base = (uint32_t)stride[2];
        step->groups[0] = (uint32_t)box_size(b, outer);
        step->groups[1] = 1;
        step->groups[2] = (uint32_t)(box_size(b, RAPT_AXIS_BATCH) * box_size(b, RAPT_AXIS_GROUP));
    } else {
        push.tile0 = (uint32_t)b->lo[RAPT_AXIS_TILE];
        push.tiles = (uint32_t)box_size(b, RAPT_AXIS_TILE);
        push.split0 = (uint32_t)b->lo[RAPT_AXIS_SPLIT];
        push.bh0 = (uint32_t)(b->lo[RAPT_AXIS_BATCH] * groups + b->lo[RAPT_AXIS_GROUP]);
        push.key0 = (uint32_t)plan->first_key;
        push.key1 = (uint32_t)p->nk;
        step->groups[0] = push.tiles;
        step->groups[1] = (uint32_t)box_size(b, RAPT_AXIS_SPLIT);
        step->groups[2] = (uint32_t)(box_size(b, RAPT_AXIS_BATCH) * box_size(b, RAPT_AXIS_GROUP));
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
        uint64_t first = span_first(spans, count),
                 element = rapt_problem_role_element(p, (rapt_role)op->role);
        window->first = first * element;
        window->bytes = (span_last(spans, count) + inner - first) * element;
        /* Storage bindings start at an element whatever the texel; texel views likewise: kernels divide. */
        uint32_t binding = rapt_binding_base(op->binding);
        if (op->role < RAPT_ROLE_USER) /* user buffers have their bases among the parameters */
            step->push[binding - 1] = (uint32_t)(0 - first);
    }
    return RAPT_OK;
}

/* One half of a box, or the other. */
static rapt_box half_of(const rapt_box *b, int axis, int half)
{
    rapt_box part = *b;
    const uint64_t middle = b->lo[axis] + box_size(b, axis) / 2;
    if (half == 0)
        part.hi[axis] = middle;
    else
        part.lo[axis] = middle;
    return part;
}

/* The axis that makes a box of too much work smaller: the first of these, of packed sequences the one whose halves may have least: fewer sequences
 * need not be less work. Not so on software devices: their threads take contiguous parts of a dispatch, and where one sequence has all the
 * work one thread would do it. -1: none. */
static int work_axis(const rapt_launch *l, const rapt_box *b)
{
    static const int order[] = {RAPT_AXIS_BATCH, RAPT_AXIS_GROUP, RAPT_AXIS_TILE, RAPT_AXIS_SPLIT};
    const bool packed = l->plan->problem.varlen && !l->merge && !l->prepares && !l->margin && l->plan->caps.device_class != RAPT_CLASS_SOFTWARE;
    double least = 0;
    int axis = -1;
    for (unsigned i = 0; i < RAPT_COUNT(order); i++) {
        if (order[i] == inner_axis(l) || box_size(b, order[i]) <= 1 || cut_axis(l, b, order[i]) != order[i])
            continue;
        const rapt_box first = half_of(b, order[i], 0), second = half_of(b, order[i], 1);
        const double work = packed ? RAPT_MAX(box_flops(l, &first), box_flops(l, &second)) : 0;
        if (axis < 0 || work < least) {
            axis = order[i];
            least = work;
        }
    }
    return axis;
}

/* Adds the steps of a box, cut in halves until its windows, its grid and its work fit. */
rapt_status rapt_add_box(const rapt_launch *l, const rapt_box *b, bool *need_splits, rapt_error *error)
{
    const rapt_caps *caps = &l->plan->caps;
    int axis = -1;
    for (uint32_t i = 0; i < l->row->operand_count && axis < 0; i++) {
        const rapt_kernel_operand *op = &l->row->operands[i];
        span spans[4];
        uint64_t inner;
        unsigned count =
            role_bound(l, (rapt_role)op->role) ? role_spans(l, b, (rapt_role)op->role, spans, &inner) : 0;
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
            if (spans[s].axis == RAPT_AXIS_SPLIT && width > 0 && box_size(b, RAPT_AXIS_SPLIT) == 1)
                keys_are_whole = true;
            if (candidate >= 0 && box_size(b, candidate) > 1 && width > widest) {
                widest = width;
                axis = candidate;
            }
        }
        const bool splits = l->margin != RAPT_MARGIN_NONE ? box_size(b, inner_axis(l)) > 1
                                                          : keys_are_whole && (l->row->supports & RAPT_ROW_PARTIAL) &&
                                                                l->row->family != RAPT_FAMILY_COOPMAT2;
        if (axis < 0 && splits) {
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
            uint64_t rows =
                box_size(b, RAPT_AXIS_BATCH) * box_size(b, RAPT_AXIS_GROUP) * box_size(b, RAPT_AXIS_TILE);
            if (rapt_div_up(rows, l->row->rows_per_tile) > caps->max_groups[0])
                axis = cut_axis(l, b, box_size(b, RAPT_AXIS_TILE) > 1 ? RAPT_AXIS_TILE : RAPT_AXIS_GROUP);
        } else if (l->margin && box_size(b, outer_axis(l)) > caps->max_groups[0]) {
            axis = outer_axis(l);
        } else if (!l->margin && box_size(b, RAPT_AXIS_TILE) > caps->max_groups[0]) {
            axis = RAPT_AXIS_TILE;
        } else if (!l->margin && box_size(b, RAPT_AXIS_SPLIT) > caps->max_groups[1]) {
            axis = RAPT_AXIS_SPLIT;
        } else if (box_size(b, RAPT_AXIS_BATCH) * box_size(b, RAPT_AXIS_GROUP) > caps->max_groups[2]) {
            axis = cut_axis(l, b, RAPT_AXIS_GROUP);
        } else if (flops > l->slice_flops) {
            axis = work_axis(l, b);
        }
    }
    if (axis < 0)
        return add_step(l, b, flops, error);
    for (int half = 0; half < 2 && !*need_splits; half++) {
        const rapt_box part = half_of(b, axis, half);
        rapt_status status = rapt_add_box(l, &part, need_splits, error);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}
