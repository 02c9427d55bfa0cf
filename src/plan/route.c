/* Plans of routing: which rows, and the steps that summarise, score and select, in spans of tiles of bounded memory. */
#include "plan/plan.h"
#include "plan/turns.h"

#include "common/route_params.h"
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(rapt_route_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_route_push");
_Static_assert(sizeof(rapt_route_params) <= sizeof(((rapt_plan *)0)->params), "rapt_plan.params is large enough");

#define REFUSE(...)                                                                                          \
    do {                                                                                                     \
        snprintf(reason, size, __VA_ARGS__);                                                                 \
        return false;                                                                                        \
    } while (0)

#define SELECT_FLOPS 128.0 /* about what the passes over one score cost */

static bool is_pooled(const rapt_route_problem *p)
{
    return p->rates && p->block_q > 1 && p->queries == RAPT_ROUTE_MEAN_QUERY;
}

/* Whether single keys stand for themselves, and are read where they lie. They are of one type with what is scored against them. */
static bool is_single(const rapt_route_problem *p)
{
    return p->rates && p->block_k == 1 && p->tensor[RAPT_R_K].present && !p->tensor[RAPT_R_SUMMARY].present &&
           (p->dtype == RAPT_F32 || !is_pooled(p));
}

/* Tiles that an invocation makes scores of at once; a single one is not made several times. */
static uint32_t patch_tiles(const rapt_route_problem *p, const rapt_kernel_row *row)
{
    return p->tiles <= 1 ? 1 : row->rows_per_tile;
}

/* ---- rows */

static void fill_constants(rapt_plan_pipeline *pipeline, const rapt_plan *plan)
{
    const rapt_route_problem *p = &plan->route;
    for (uint32_t i = 0; i < pipeline->row->constant_count; i++) {
        const rapt_kernel_constant *c = &pipeline->row->constants[i];
        uint32_t value = 0;
        switch ((rapt_constant_source)c->source) {
        case RAPT_CONST_LITERAL:
            value = c->value;
            break;
        case RAPT_CONST_ALIGNED:
            value = plan->aligned;
            break;
        case RAPT_CONST_SUMMARY:
            value = is_single(p) ? RAPT_SUMMARY_MEAN : p->summarise;
            break;
        case RAPT_CONST_SELECT:
            value = p->select;
            break;
        case RAPT_CONST_POOLED:
            value = is_pooled(p);
            break;
        case RAPT_CONST_SINGLE_KEYS:
            value = is_single(p);
            break;
        case RAPT_CONST_PATCH_TILES:
            value = patch_tiles(p, pipeline->row);
            break;
        case RAPT_CONST_PATCH_HEADS: /* of a single tile, those of a group */
            value = p->tiles <= 1 && p->heads_q > p->row_heads ? pipeline->row->rows_per_tile : 1;
            break;
        case RAPT_CONST_SKIPS:
            value = p->skip > 0;
            break;
        default: /* of other operators */
            break;
        }
        pipeline->constants[i] = value;
    }
}

/* The tensor of a role, or -1. */
static int role_tensor(rapt_role role)
{
    switch (role) {
    case RAPT_ROLE_Q:
        return RAPT_R_Q;
    case RAPT_ROLE_K:
        return RAPT_R_K;
    case RAPT_ROLE_SUMMARY:
        return RAPT_R_SUMMARY;
    case RAPT_ROLE_SCORES:
        return RAPT_R_SCORES;
    case RAPT_ROLE_MASK:
        return RAPT_R_MASK;
    case RAPT_ROLE_LIST:
        return RAPT_R_LIST;
    case RAPT_ROLE_WITHIN:
        return RAPT_R_WITHIN;
    default:
        return -1;
    }
}

/* Turns of loops: for each block of a selection, whose cut is found by halving twice; for each row of a summary. */
#define SELECT_TURNS 84u
#define SUMMARY_TURNS 5u

/* The most that scores read of a role, of its tensor or of what stands for it in the workspace; 0: another role is read in its place. */
static uint64_t most_bytes(const rapt_route_problem *p, rapt_role role)
{
    const int tensor = role_tensor(role);
    if ((role == RAPT_ROLE_Q && is_pooled(p)) || (role == RAPT_ROLE_POOLED && !is_pooled(p)) ||
        (role == RAPT_ROLE_K && !is_single(p)) || (role == RAPT_ROLE_SUMMARY && is_single(p)))
        return 0;
    const uint64_t lines = role == RAPT_ROLE_POOLED ? p->batch * p->heads_q * p->tiles : p->batch * p->heads_k * p->blocks;
    return tensor >= 0 && p->tensor[tensor].present ? p->tensor[tensor].bytes
           : role == RAPT_ROLE_POOLED || role == RAPT_ROLE_SUMMARY
               ? lines * p->head_dim * (p->summarise == RAPT_SUMMARY_MIN_MAX ? 8 : 4)
               : 0;
}

static bool row_accepts(const rapt_plan *plan, const rapt_kernel_row *row, const rapt_verdicts *verdicts, rapt_dtype dtype,
                        rapt_candidate *c)
{
    const rapt_route_problem *p = &plan->route;
    const rapt_caps *caps = &plan->caps;
    char *reason = c->reason, blocked[sizeof c->reason - 24];
    const size_t size = sizeof c->reason;
    if (row->score[caps->device_class] < 0)
        REFUSE("not meant for devices of class %s", rapt_class_name(caps->device_class));
    const char *quirk = rapt_quirk(row, caps);
    if (quirk != NULL)
        REFUSE("%s", quirk);
    if (verdicts != NULL && verdicts->blocked != NULL && verdicts->blocked(verdicts->user, row, blocked, sizeof blocked))
        REFUSE("is on the block list: %s", blocked);
    c->passed++;
    if (!(row->dtypes >> dtype & 1))
        REFUSE("does not store %s", rapt_dtype_name(dtype));
    c->passed++;
    if (!rapt_device_accepts(row, caps, reason, size))
        return false;
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const int tensor = role_tensor((rapt_role)row->operands[i].role);
        const rapt_operand_kind kind = (rapt_operand_kind)row->operands[i].kind;
        const uint32_t usage = kind == RAPT_OPERAND_STORAGE ? RAPT_BUFFER_STORAGE : RAPT_BUFFER_UNIFORM_TEXEL;
        if (tensor >= 0 && p->tensor[tensor].usage != 0 && !(p->tensor[tensor].usage & usage))
            REFUSE("needs the %s usage on the buffer of %s, which is not declared",
                   usage == RAPT_BUFFER_STORAGE ? "storage" : "uniform texel", rapt_role_name((rapt_role)row->operands[i].role));
        if (kind != RAPT_OPERAND_STORAGE && most_bytes(p, (rapt_role)row->operands[i].role) > rapt_window_limit(caps, kind))
            REFUSE("binds at most %llu bytes of texels on this device, fewer than %s has",
                   (unsigned long long)rapt_window_limit(caps, kind), rapt_role_name((rapt_role)row->operands[i].role));
    }
    if (!plan->aligned && !(row->supports & RAPT_ROW_UNALIGNED))
        REFUSE("needs offsets, strides and head dims that are multiples of 4 elements");
    c->passed++;
    const uint64_t lanes = row->rows_per_tile == 1 ? row->local_size : 1; /* that share a row */
    if ((row->supports & RAPT_ROW_SELECTS) && rapt_div_up(p->blocks, lanes) + lanes > rapt_most_steps(caps, SELECT_TURNS))
        REFUSE("may take more turns of loops than the %llu after which this driver ends them, without notice",
               (unsigned long long)rapt_loop_turns(caps));
    if ((row->supports & RAPT_ROW_SUMMARISES) && RAPT_MAX(p->block_k, p->block_q) > rapt_most_steps(caps, SUMMARY_TURNS))
        REFUSE("may take more turns of loops than the %llu after which this driver ends them, without notice",
               (unsigned long long)rapt_loop_turns(caps));
    const char *why = NULL;
    rapt_plan_pipeline pipeline = {.row = row, .base = row};
    fill_constants(&pipeline, plan);
    if (verdicts != NULL && verdicts->lookup != NULL &&
        verdicts->lookup(verdicts->user, &pipeline, &why) == RAPT_VERDICT_BAD)
        REFUSE("is refused on this device and driver: %s", why ? why : "its known-answer probe failed");
    return true;
}

/* Whether a row that serves a tile with each lane has but one, and a long row of scores to go through. */
static bool leaves_lanes_idle(const rapt_route_problem *p, const rapt_kernel_row *row)
{
    return row->rows_per_tile > 1 && p->tiles <= 1 && p->blocks >= RAPT_ROUTE_MANY_BLOCKS;
}

/* The best row for `kind`, as the plan's next pipeline. */
static rapt_status add_pipeline(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, uint32_t kind,
                                rapt_dtype dtype, rapt_error *error)
{
    const rapt_candidate *nearest = NULL;
    const char *what = kind == RAPT_ROW_SUMMARISES ? "summaries" : kind == RAPT_ROW_SCORES ? "scores" : "selections";
    int best = -1;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        rapt_candidate *c = &plan->candidates[i];
        if (row->family != RAPT_FAMILY_ROUTE || !(row->supports & kind))
            continue;
        const bool chosen = c->chosen; /* for queries before, in another dtype */
        *c = (rapt_candidate){.row = row, .score = row->score[plan->caps.device_class], .chosen = chosen};
        if (kind == RAPT_ROW_SELECTS && leaves_lanes_idle(&plan->route, row))
            c->score--;
        if (!row_accepts(plan, row, verdicts, dtype, c)) {
            if (nearest == NULL || c->passed > nearest->passed)
                nearest = c;
        } else if (best < 0 || c->score > plan->candidates[best].score) {
            best = (int)i;
        }
    }
    if (best < 0)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no kernel for %s accepts this; the nearest, '%s', %s", what,
                         nearest ? nearest->row->name : "none", nearest ? nearest->reason : "is built in");
    plan->candidates[best].chosen = true;
    rapt_plan_pipeline *pipeline = &plan->pipelines[plan->pipeline_count++];
    *pipeline = (rapt_plan_pipeline){.row = &table->rows[best], .base = &table->rows[best]};
    fill_constants(pipeline, plan);
    return RAPT_OK;
}

/* Whether rows of q, k and summaries may be read four elements at a time. */
static bool is_aligned(const rapt_route_problem *p)
{
    for (unsigned i = 0; i <= RAPT_R_SUMMARY; i++) {
        const rapt_route_tensor *t = &p->tensor[i];
        for (unsigned axis = 0; axis < 3; axis++)
            if (t->stride[axis] % 4 != 0)
                return false;
        if (t->present && t->align < 4 * t->element)
            return false;
    }
    return p->head_dim % 4 == 0;
}

/* ---- steps */

/* One kind of launch, over (batch, head) and blocks or tiles. */
typedef struct launch {
    rapt_plan *plan;
    uint8_t pipeline;
    uint32_t side, phase;
    uint64_t heads;  /* that its (batch, head) numbers count */
    uint64_t tile0;  /* the first tile of the span that the workspace holds */
    double flops;    /* per (batch, head) and block or tile */
    double slice_flops;
} launch;

/* Part of it: (batch, head) numbers [bh0, bh1), blocks or tiles [r0, r1) of each. */
typedef struct part {
    uint64_t bh0, bh1, r0, r1;
} part;

static uint32_t kind_of(const launch *l)
{
    return l->plan->pipelines[l->pipeline].row->supports & (RAPT_ROW_SUMMARISES | RAPT_ROW_SCORES | RAPT_ROW_SELECTS);
}

/* The rows of a tensor's third axis that a part touches. */
static void row_range(const launch *l, int tensor, const part *x, uint64_t *r0, uint64_t *r1)
{
    const rapt_route_problem *p = &l->plan->route;
    *r0 = x->r0;
    *r1 = x->r1;
    if (tensor == RAPT_R_Q) {
        *r0 *= p->block_q;
        *r1 = RAPT_MIN(x->r1 * p->block_q, p->nq);
    } else if (tensor == RAPT_R_K) {
        *r0 *= p->block_k;
        *r1 = RAPT_MIN(x->r1 * p->block_k, p->nk);
    }
    if ((tensor == RAPT_R_SUMMARY || tensor == RAPT_R_K) && kind_of(l) == RAPT_ROW_SCORES) { /* a block has one row of either */
        *r0 = 0;
        *r1 = p->blocks;
    }
}

static rapt_window tensor_window(const launch *l, int tensor, const part *x)
{
    const rapt_route_problem *p = &l->plan->route;
    const rapt_route_tensor *t = &p->tensor[tensor];
    const bool of_keys = tensor == RAPT_R_K || tensor == RAPT_R_SUMMARY, of_queries = tensor == RAPT_R_Q || tensor == RAPT_R_MASK || tensor == RAPT_R_WITHIN;
    const uint64_t heads = of_keys ? p->heads_k : of_queries ? p->heads_q : p->row_heads;
    const uint64_t b0 = x->bh0 / l->heads, b1 = (x->bh1 - 1) / l->heads;
    uint64_t h0 = b0 == b1 ? x->bh0 % l->heads : 0, h1 = b0 == b1 ? (x->bh1 - 1) % l->heads : l->heads - 1, r0, r1;
    if (heads > l->heads) { /* a row's query heads */
        const uint64_t each = heads / l->heads;
        h0 *= each;
        h1 = h1 * each + each - 1;
    } else {
        h0 = h0 * heads / l->heads;
        h1 = h1 * heads / l->heads;
    }
    row_range(l, tensor, x, &r0, &r1);
    if (t->bytes == 0 || r1 <= r0)
        return (rapt_window){0, 0};
    const uint64_t first = b0 * t->stride[0] + h0 * t->stride[1] + r0 * t->stride[2];
    const uint64_t last = b1 * t->stride[0] + h1 * t->stride[1] + (r1 - 1) * t->stride[2] + t->inner;
    return (rapt_window){first * t->element, (last - first) * t->element};
}

static const rapt_workspace_slot *slot_of(const rapt_plan *plan, rapt_role role)
{
    for (uint32_t i = 0; i < plan->slot_count; i++)
        if (plan->slots[i].role == role)
            return &plan->slots[i];
    return NULL;
}

/* What the launch binds for a role; first UINT64_MAX: nothing, another operand has its binding. */
static rapt_window role_window(const launch *l, rapt_role role, const part *x)
{
    const rapt_plan *plan = l->plan;
    const rapt_window none = {UINT64_MAX, 0};
    const bool pooled = is_pooled(&plan->route);
    if (kind_of(l) == RAPT_ROW_SUMMARISES) {
        const bool keys = l->side == RAPT_SIDE_KEYS;
        if (role == (keys ? RAPT_ROLE_Q : RAPT_ROLE_K) || role == (keys ? RAPT_ROLE_POOLED : RAPT_ROLE_SUMMARY))
            return none;
    } else if (kind_of(l) == RAPT_ROW_SCORES &&
               (role == (pooled ? RAPT_ROLE_Q : RAPT_ROLE_POOLED) ||
                role == (is_single(&plan->route) ? RAPT_ROLE_SUMMARY : RAPT_ROLE_K))) {
        return none;
    }
    const rapt_workspace_slot *slot = slot_of(plan, role);
    if (slot != NULL)
        return (rapt_window){0, slot->bytes};
    const int tensor = role_tensor(role);
    return tensor < 0 ? (rapt_window){0, 0} : tensor_window(l, tensor, x);
}

/* Elements that are not there before the first one of a role's window: a span's first tile is at the slot's begin. */
static uint64_t span_begin(const launch *l, rapt_role role)
{
    const rapt_route_problem *p = &l->plan->route;
    if (slot_of(l->plan, role) == NULL)
        return 0;
    return role == RAPT_ROLE_SCORES ? l->tile0 * p->blocks : role == RAPT_ROLE_POOLED ? l->tile0 * p->head_dim : 0;
}

static uint64_t groups_x(const launch *l, const part *x)
{
    const rapt_route_problem *p = &l->plan->route;
    const rapt_kernel_row *row = l->plan->pipelines[l->pipeline].row;
    const uint64_t rows = x->r1 - x->r0;
    if (kind_of(l) == RAPT_ROW_SUMMARISES)
        return rapt_div_up(rows * rapt_div_up(p->head_dim, 4), row->local_size);
    if (kind_of(l) == RAPT_ROW_SCORES)
        return rapt_div_up(rapt_div_up(rows, patch_tiles(p, row)) * rapt_div_up(p->blocks, row->keys_per_tile), row->local_size);
    return rapt_div_up(rows, row->rows_per_tile);
}

static double part_flops(const launch *l, const part *x)
{
    return l->flops * (double)(x->bh1 - x->bh0) * (double)(x->r1 - x->r0);
}

/* Whether the device can do the part in one dispatch; says why not. */
static bool part_fits(const launch *l, const part *x, rapt_error *error)
{
    const rapt_plan *plan = l->plan;
    const rapt_kernel_row *row = plan->pipelines[l->pipeline].row;
    if (x->bh1 - x->bh0 > plan->caps.max_groups[2] || groups_x(l, x) > plan->caps.max_groups[0]) {
        rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%llu x %llu workgroups are more than this device dispatches",
                  (unsigned long long)groups_x(l, x), (unsigned long long)(x->bh1 - x->bh0));
        return false;
    }
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_role role = (rapt_role)row->operands[i].role;
        const uint64_t limit = rapt_window_limit(&plan->caps, (rapt_operand_kind)row->operands[i].kind);
        const rapt_window w = role_window(l, role, x);
        if (w.bytes > limit) {
            rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                      "%s spans %llu bytes that kernel '%s' must bind at once; this device binds %llu", rapt_role_name(role),
                      (unsigned long long)w.bytes, row->name, (unsigned long long)limit);
            return false;
        }
    }
    return true;
}

static rapt_status add_step(const launch *l, const part *x, rapt_error *error)
{
    rapt_plan *plan = l->plan;
    const rapt_kernel_row *row = plan->pipelines[l->pipeline].row;
    rapt_step *step;
    rapt_status status = rapt_plan_new_step(plan, &step, error);
    if (status != RAPT_OK)
        return status;
    const double flops = part_flops(l, x);
    step->pipeline = l->pipeline;
    step->phase = l->phase;
    step->flops = flops < 1.8e19 ? (uint64_t)flops : UINT64_MAX;
    rapt_route_push push = {
        .bh0 = (uint32_t)x->bh0, .first = (uint32_t)x->r0, .end = (uint32_t)x->r1, .side = l->side};
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        const rapt_role role = (rapt_role)op->role;
        const rapt_window w = role_window(l, role, x);
        step->windows[i] = w;
        if (w.first != UINT64_MAX && w.bytes != 0)
            push.base[rapt_binding_base(op->binding) - 1] =
                (uint32_t)(0 - w.first / rapt_plan_role_element(plan, role) - span_begin(l, role));
    }
    memcpy(step->push, &push, sizeof push);
    step->groups[0] = (uint32_t)groups_x(l, x);
    step->groups[1] = 1;
    step->groups[2] = (uint32_t)(x->bh1 - x->bh0);
    return RAPT_OK;
}

/* Adds the steps of a part, cut in halves until it fits the device and, while it has several rows, a slice. */
static rapt_status add_part(const launch *l, const part *x, rapt_error *error)
{
    const uint64_t heads = x->bh1 - x->bh0, rows = x->r1 - x->r0;
    rapt_error why = {0};
    if (heads == 0 || rows == 0)
        return RAPT_OK;
    const bool fits = part_fits(l, x, &why), large = part_flops(l, x) > l->slice_flops && (heads > 1 || rows > 64);
    if (fits && !large)
        return add_step(l, x, error);
    if (heads == 1 && rows == 1) {
        if (error != NULL)
            *error = why;
        return RAPT_ERROR_UNSUPPORTED;
    }
    part low = *x, high = *x;
    if (heads > 1) {
        uint64_t middle = x->bh0 + heads / 2; /* whole batch entries while there are several */
        if (x->bh0 / l->heads != (x->bh1 - 1) / l->heads)
            middle = RAPT_MAX(middle / l->heads, x->bh0 / l->heads + 1) * l->heads;
        low.bh1 = high.bh0 = middle;
    } else {
        low.r1 = high.r0 = x->r0 + rows / 2;
    }
    const rapt_status status = add_part(l, &low, error);
    return status == RAPT_OK ? add_part(l, &high, error) : status;
}

/* ---- the whole */

static bool add_slot(rapt_plan *plan, rapt_role role, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    uint64_t bytes;
    if (!rapt_mul_u64(a, b, &bytes) || !rapt_mul_u64(bytes, c, &bytes) || !rapt_mul_u64(bytes, d * 4, &bytes) ||
        bytes > UINT64_MAX / 8)
        return false;
    const uint64_t offset = rapt_align_up(plan->workspace_bytes, 256);
    plan->slots[plan->slot_count++] = (rapt_workspace_slot){role, offset, bytes};
    plan->workspace_bytes = offset + bytes;
    return true;
}

/* Places summaries, and what the workspace holds of a span of tiles; *span: how many it has. */
static rapt_status place(rapt_plan *plan, uint64_t *span, rapt_error *error)
{
    const rapt_route_problem *p = &plan->route;
    const uint64_t width = (uint64_t)p->head_dim * (p->summarise == RAPT_SUMMARY_MIN_MAX ? 2 : 1);
    const bool keeps_scores = p->rates && !p->tensor[RAPT_R_SCORES].present;
    *span = RAPT_MAX(p->tiles, 1);
    bool fits = p->scores_given || p->tensor[RAPT_R_SUMMARY].present || is_single(p) ||
                add_slot(plan, RAPT_ROLE_SUMMARY, p->batch, p->heads_k, p->blocks, width);
    uint64_t each = 0, more;
    if (fits && is_pooled(p) && rapt_mul_u64(p->batch, p->heads_q, &each))
        fits = rapt_mul_u64(each, 4ull * p->head_dim, &each);
    if (fits && keeps_scores)
        fits = rapt_mul_u64(p->batch, p->row_heads, &more) && rapt_mul_u64(more, 4 * p->blocks, &more) &&
               rapt_add_u64(each, more, &each);
    const uint64_t held = plan->workspace_bytes + 1024; /* slots begin at multiples of 256 */
    if (!fits || held > p->workspace_limit || (each > 0 && p->workspace_limit - held < each))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "routing this takes a workspace of %llu bytes and %llu a tile of queries, the limit is %llu",
                         (unsigned long long)held, (unsigned long long)each, (unsigned long long)p->workspace_limit);
    if (each > 0)
        *span = RAPT_MIN(*span, (p->workspace_limit - held) / each);
    /* What is bound of a slot is all of it. */
    const uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    *span = RAPT_MAX(RAPT_MIN(*span, each > 0 ? limit / each : *span), 1);
    if (is_pooled(p))
        fits = add_slot(plan, RAPT_ROLE_POOLED, p->batch, p->heads_q, *span, p->head_dim);
    if (fits && keeps_scores)
        fits = add_slot(plan, RAPT_ROLE_SCORES, p->batch, p->row_heads, *span, p->blocks);
    return fits ? RAPT_OK : rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the workspace of this problem overflows 64 bits");
}

/* Strides of what lies in the workspace without gaps. */
static void contiguous(uint32_t *strides, uint64_t heads, uint64_t rows, uint64_t inner)
{
    strides[2] = (uint32_t)inner;
    strides[1] = (uint32_t)(rows * inner);
    strides[0] = (uint32_t)(heads * rows * inner);
}

static void fill_params(rapt_plan *plan, uint64_t span)
{
    const rapt_route_problem *p = &plan->route;
    const rapt_route_tensor *t = p->tensor;
    rapt_route_params params = {
        .heads_q = (uint32_t)p->heads_q,
        .heads_k = (uint32_t)p->heads_k,
        .row_heads = (uint32_t)p->row_heads,
        .shared_heads = (uint32_t)(p->row_heads ? p->heads_q / p->row_heads : 1),
        .nq = (uint32_t)p->nq,
        .nk = (uint32_t)p->nk,
        .tiles = (uint32_t)p->tiles,
        .blocks = (uint32_t)p->blocks,
        .block_q = (uint32_t)p->block_q,
        .block_k = (uint32_t)p->block_k,
        .head_dim = p->head_dim,
        .flags = (p->causal ? RAPT_ROUTE_PARAM_CAUSAL : 0) |
                 (p->heads == RAPT_ROUTE_GROUP_MAX ? RAPT_ROUTE_PARAM_MAX_HEADS : 0) |
                 (t[RAPT_R_MASK].present ? RAPT_ROUTE_PARAM_MASK : 0) | (t[RAPT_R_LIST].present ? RAPT_ROUTE_PARAM_LIST : 0) |
                 (t[RAPT_R_WITHIN].present ? RAPT_ROUTE_PARAM_WITHIN : 0),
        .diagonal = p->diagonal,
        .always_first = (uint32_t)p->always_first,
        .always_last = (uint32_t)p->always_last,
        .top_k = (uint32_t)p->top_k,
        .threshold = p->threshold,
        .mass = p->mass,
        .scale = p->scale,
        .landmark = (uint32_t)p->landmark,
        .list_size = (uint32_t)p->list_size,
        .skip = (uint32_t)p->skip,
        .list_heads = (uint32_t)p->list_heads,
        .within_blocks = (uint32_t)RAPT_MAX(p->within_blocks, 1),
    };
    const struct {
        uint32_t *strides;
        int tensor;
    } all[] = {{&params.q_stride_b, RAPT_R_Q},           {&params.k_stride_b, RAPT_R_K},
               {&params.summary_stride_b, RAPT_R_SUMMARY}, {&params.scores_stride_b, RAPT_R_SCORES},
               {&params.mask_stride_b, RAPT_R_MASK},       {&params.list_stride_b, RAPT_R_LIST},
               {&params.within_stride_b, RAPT_R_WITHIN}};
    for (size_t i = 0; i < RAPT_COUNT(all); i++)
        for (unsigned axis = 0; axis < 3; axis++)
            all[i].strides[axis] = (uint32_t)t[all[i].tensor].stride[axis];
    if (!t[RAPT_R_SUMMARY].present)
        contiguous(&params.summary_stride_b, p->heads_k, p->blocks,
                   (uint64_t)p->head_dim * (p->summarise == RAPT_SUMMARY_MIN_MAX ? 2 : 1));
    if (!t[RAPT_R_SCORES].present)
        contiguous(&params.scores_stride_b, p->row_heads, span, p->blocks);
    contiguous(&params.pooled_stride_b, p->heads_q, span, p->head_dim);
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
}

/* The pipelines, that of the last step first; which does what. */
typedef struct stages {
    int select, scores, summary, pool;
} stages;

static rapt_status find_rows(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, stages *s,
                             rapt_error *error)
{
    const rapt_route_problem *p = &plan->route;
    const bool pooled = is_pooled(p);
    rapt_status status = RAPT_OK;
    *s = (stages){-1, -1, -1, -1};
    if (p->selects) {
        s->select = (int)plan->pipeline_count;
        status = add_pipeline(plan, table, verdicts, RAPT_ROW_SELECTS, p->dtype, error);
    }
    if (status == RAPT_OK && p->rates) {
        s->scores = (int)plan->pipeline_count;
        status = add_pipeline(plan, table, verdicts, RAPT_ROW_SCORES, pooled ? RAPT_F32 : p->dtype, error);
    }
    if (status == RAPT_OK && !p->scores_given && ((p->first_block < p->blocks && !is_single(p)) || pooled)) {
        s->summary = s->pool = (int)plan->pipeline_count;
        status = add_pipeline(plan, table, verdicts, RAPT_ROW_SUMMARISES, p->dtype, error);
    }
    return status;
}

static rapt_status add_steps(rapt_plan *plan, const stages *s, uint64_t span, double slice_flops, rapt_error *error)
{
    const rapt_route_problem *p = &plan->route;
    const double head_dim = p->head_dim, shared = p->row_heads ? (double)p->heads_q / (double)p->row_heads : 1;
    const double queries = p->queries == RAPT_ROUTE_MAX_QUERY ? (double)p->block_q : 1;
    launch l = {.plan = plan, .slice_flops = slice_flops};
    rapt_status status = RAPT_OK;
    if (p->first_block < p->blocks && !is_single(p)) {
        l.pipeline = (uint8_t)s->summary;
        l.side = RAPT_SIDE_KEYS;
        l.heads = p->heads_k;
        l.flops = 4 * head_dim * (double)p->block_k;
        status = add_part(&l, &(part){0, p->batch * p->heads_k, p->first_block, p->blocks}, error);
    }
    uint32_t phase = 0;
    for (uint64_t t0 = 0; t0 < p->tiles && (p->rates || p->selects) && status == RAPT_OK; t0 += span) {
        const uint64_t t1 = RAPT_MIN(p->tiles, t0 + span);
        l.tile0 = t0;
        if (is_pooled(p)) {
            l.pipeline = (uint8_t)s->pool;
            l.side = RAPT_SIDE_QUERIES;
            l.heads = p->heads_q;
            l.flops = 4 * head_dim * (double)p->block_q;
            l.phase = phase;
            status = add_part(&l, &(part){0, p->batch * p->heads_q, t0, t1}, error);
        }
        l.heads = p->row_heads;
        const part rows = {0, p->batch * p->row_heads, t0, t1};
        if (status == RAPT_OK && p->rates && p->blocks > 0) {
            l.pipeline = (uint8_t)s->scores;
            l.flops = 2 * head_dim * (double)p->blocks * shared * queries;
            l.phase = ++phase;
            status = add_part(&l, &rows, error);
        }
        if (status == RAPT_OK && p->selects) {
            l.pipeline = (uint8_t)s->select;
            l.flops = SELECT_FLOPS * (double)RAPT_MAX(p->blocks, p->list_size);
            l.phase = ++phase;
            status = add_part(&l, &rows, error);
        }
        phase++;
    }
    return status;
}

rapt_status rapt_route_plan_make(rapt_plan *plan, const rapt_route_problem *problem, const rapt_caps *caps,
                                 const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->op = RAPT_OP_ROUTE;
    plan->route = *problem;
    plan->caps = *caps;
    plan->problem = (rapt_problem){.dtype = problem->dtype,
                                   .head_dim_qk = problem->head_dim,
                                   .head_dim_v = problem->head_dim,
                                   .slice_ms = problem->slice_ms,
                                   .scale = problem->scale,
                                   .flops = problem->flops,
                                   .bytes_read = problem->bytes_read,
                                   .bytes_written = problem->bytes_written};
    uint64_t rows;
    if (!rapt_mul_u64(problem->batch, RAPT_MAX(problem->heads_q, problem->heads_k), &rows) || rows > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "batch %llu times %llu heads is more than 2^32",
                         (unsigned long long)problem->batch, (unsigned long long)problem->heads_q);
    plan->candidates = rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    plan->pipeline_count = plan->step_count = plan->slot_count = 0;
    plan->workspace_bytes = 0;
    plan->flops_per_second = rapt_assumed_flops_per_second(caps) / 8; /* mostly reading */
    plan->group = plan->splits = 1;
    plan->aligned = is_aligned(problem);
    const double slice_flops = plan->flops_per_second * (double)problem->slice_ms * 1e-3;
    uint64_t span = 1;
    stages s;
    rapt_status status = find_rows(plan, table, verdicts, &s, error);
    if (status == RAPT_OK && !problem->empty)
        status = place(plan, &span, error);
    if (status == RAPT_OK)
        fill_params(plan, span);
    if (status == RAPT_OK && !problem->empty)
        status = add_steps(plan, &s, span, slice_flops, error);
    if (status != RAPT_OK)
        return status;
    rapt_plan_cut_slices(plan, slice_flops);
    return RAPT_OK;
}

/* ---- explain */

static const char *heads_text(const rapt_route_problem *p)
{
    static const char *const texts[] = {"per head", "per kv head by sums", "per kv head by largest scores"};
    return p->scores_given ? "scores given" : texts[p->heads];
}

void rapt_route_explain_problem(const rapt_plan *plan, rapt_text *t)
{
    const rapt_route_problem *p = &plan->route;
    rapt_text_add(t, "routing %s, batch %llu, heads %llu:%llu, nq %llu in tiles of %llu, nk %llu in blocks of %llu, head_dim %u",
                  rapt_dtype_name(p->dtype), (unsigned long long)p->batch, (unsigned long long)p->heads_q,
                  (unsigned long long)p->heads_k, (unsigned long long)p->nq, (unsigned long long)p->block_q,
                  (unsigned long long)p->nk, (unsigned long long)p->block_k, p->head_dim);
    rapt_text_add(t, ", summary %s, select %s", rapt_summary_name((rapt_summary)p->summarise),
                  p->selects ? rapt_select_name((rapt_select)p->select) : "nothing");
    if (p->select == RAPT_SELECT_TOP_K)
        rapt_text_add(t, " %llu", (unsigned long long)p->top_k);
    else
        rapt_text_add(t, " %g", (double)(p->select == RAPT_SELECT_MASS ? p->mass : p->threshold));
    rapt_text_add(t, ", %s%s%s", heads_text(p), p->causal ? ", causal" : "", plan->aligned ? "" : ", unaligned");
    if (p->always_first + p->always_last > 0)
        rapt_text_add(t, ", always the first %llu and last %llu blocks", (unsigned long long)p->always_first,
                      (unsigned long long)p->always_last);
    if (p->skip > 0)
        rapt_text_add(t, ", behind the %llu largest", (unsigned long long)p->skip);
    if (p->list_heads > 0)
        rapt_text_add(t, ", entries through %llu heads", (unsigned long long)p->list_heads);
    if (p->within_blocks > 0)
        rapt_text_add(t, ", within a mask of %llu blocks an entry", (unsigned long long)p->within_blocks);
    rapt_text_add(t, "\n");
}

void rapt_route_explain_problem_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_route_problem *p = &plan->route;
    rapt_text_add(t,
                  "{\"op\":\"route\",\"dtype\":\"%s\",\"batch\":%llu,\"q_heads\":%llu,\"kv_heads\":%llu,\"row_heads\":%llu,"
                  "\"nq\":%llu,\"nk\":%llu,\"block_q\":%llu,\"block_k\":%llu,\"tiles\":%llu,\"blocks\":%llu,\"head_dim\":%u,"
                  "\"summary\":\"%s\",\"select\":\"%s\",\"top_k\":%llu,\"threshold\":%.9g,\"mass\":%.9g,\"causal\":%s,"
                  "\"always_first\":%llu,\"always_last\":%llu,\"within_blocks\":%llu,\"skip\":%llu,\"list_heads\":%llu,\"aligned\":%s}",
                  rapt_dtype_name(p->dtype), (unsigned long long)p->batch, (unsigned long long)p->heads_q,
                  (unsigned long long)p->heads_k, (unsigned long long)p->row_heads, (unsigned long long)p->nq,
                  (unsigned long long)p->nk, (unsigned long long)p->block_q, (unsigned long long)p->block_k,
                  (unsigned long long)p->tiles, (unsigned long long)p->blocks, p->head_dim,
                  rapt_summary_name((rapt_summary)p->summarise), rapt_select_name((rapt_select)p->select),
                  (unsigned long long)p->top_k, (double)p->threshold, (double)p->mass, p->causal ? "true" : "false",
                  (unsigned long long)p->always_first, (unsigned long long)p->always_last, (unsigned long long)p->within_blocks,
                  (unsigned long long)p->skip, (unsigned long long)p->list_heads, plan->aligned ? "true" : "false");
}
