/* Plans of rows by index: one kernel, over parts of (batch, head) and rows that the device can bind. */
#include "plan/plan.h"
#include "plan/turns.h"

#include "common/rows_params.h"
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(rapt_rows_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_rows_push");
_Static_assert(sizeof(rapt_rows_params) <= sizeof(((rapt_plan *)0)->params), "rapt_plan.params is large enough");

#define ROW_FLOPS 16.0 /* about what four elements cost */

static void fill_constants(rapt_plan_pipeline *pipeline, const rapt_plan *plan)
{
    for (uint32_t i = 0; i < pipeline->row->constant_count; i++) {
        const uint32_t source = pipeline->row->constants[i].source;
        pipeline->constants[i] = source == RAPT_CONST_ALIGNED     ? plan->aligned
                                 : source == RAPT_CONST_ROWS_KIND ? plan->rows.kind
                                 : source == RAPT_CONST_WEIGHTED
                                     ? plan->rows.tensor[RAPT_M_WEIGHT].present || plan->rows.tensor[RAPT_M_NORM_WEIGHT].present
                                 : source == RAPT_CONST_OUT_FORMAT ? plan->rows.format
                                 : source == RAPT_CONST_NORMED     ? plan->rows.norm
                                 : source == RAPT_CONST_ROPE       ? (plan->rows.rope_dim > 0) + (uint32_t)plan->rows.rope_interleaved
                                                                  : pipeline->row->constants[i].value;
    }
}

static bool row_accepts(const rapt_plan *plan, const rapt_kernel_row *row, const rapt_verdicts *verdicts, rapt_candidate *c)
{
    rapt_plan_pipeline pipeline = {.row = row, .base = row};
    fill_constants(&pipeline, plan);
    if (row->dtypes >> plan->rows.dtype & 1)
        return rapt_pipeline_accepted(&pipeline, &plan->caps, verdicts, c);
    snprintf(c->reason, sizeof c->reason, "does not store %s", rapt_dtype_name(plan->rows.dtype));
    return false;
}

static rapt_status select_row(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    const rapt_candidate *nearest = NULL;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        rapt_candidate *c = &plan->candidates[i];
        if (row->family != RAPT_FAMILY_MAP || !(row->supports & (plan->rows.rewrites ? RAPT_ROW_PLACES_ROWS : RAPT_ROW_MOVES_ROWS)))
            continue;
        *c = (rapt_candidate){.row = row, .score = row->score[plan->caps.device_class]};
        c->chosen = row_accepts(plan, row, verdicts, c);
        if (c->chosen) {
            plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
            fill_constants(&plan->pipelines[0], plan);
            plan->pipeline_count = 1;
            return RAPT_OK;
        }
        if (nearest == NULL || (row->dtypes >> plan->rows.dtype & 1))
            nearest = c;
    }
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no kernel moves these rows; the nearest, '%s', %s",
                     nearest ? nearest->row->name : "none", nearest ? nearest->reason : "is built in");
}

/* Whether rows may be moved four elements at a time. */
static bool is_aligned(const rapt_rows_problem *p)
{
    if (p->format != RAPT_DTYPE_NONE)
        return true; /* it is read element by element, and written word by word */
    const unsigned tensors[] = {RAPT_M_X, RAPT_M_OUT};
    for (size_t i = 0; i < RAPT_COUNT(tensors); i++) {
        const rapt_rows_tensor *t = &p->tensor[tensors[i]];
        if (tensors[i] == RAPT_M_X && p->rewrites)
            continue; /* likewise */
        if (t->align < 4 * t->element || t->stride[0] % 4 || t->stride[1] % 4 || t->stride[2] % 4)
            return false;
    }
    return p->head_dim % 4 == 0;
}

/* ---- steps */

/* (batch, head) numbers [bh0, bh1), rows [r0, r1) of each. */
typedef struct part {
    uint64_t bh0, bh1, r0, r1;
} part;

static int role_tensor(rapt_role role)
{
    return role == RAPT_ROLE_ROWS          ? RAPT_M_X
           : role == RAPT_ROLE_LIST        ? RAPT_M_LIST
           : role == RAPT_ROLE_WEIGHT      ? RAPT_M_WEIGHT
           : role == RAPT_ROLE_NORM_WEIGHT ? RAPT_M_NORM_WEIGHT
           : role == RAPT_ROLE_POSITIONS   ? RAPT_M_POSITIONS
                                           : RAPT_M_OUT;
}

static rapt_window window_of(const rapt_rows_problem *p, int tensor, const part *x)
{
    const rapt_rows_tensor *t = &p->tensor[tensor];
    const uint64_t b0 = x->bh0 / p->heads, b1 = (x->bh1 - 1) / p->heads;
    uint64_t h0 = b0 == b1 ? x->bh0 % p->heads : 0, h1 = b0 == b1 ? (x->bh1 - 1) % p->heads : p->heads - 1;
    if (tensor == RAPT_M_OUT && p->kind == RAPT_ROWS_PLACE) { /* the slots of these heads */
        if (t->bytes == 0)
            return (rapt_window){0, 0};
        const uint64_t slots = (p->n / p->run - 1) * t->stride[0] + (p->run - 1) * t->stride[2] + t->inner;
        return (rapt_window){h0 * t->stride[1] * t->element, ((h1 - h0) * t->stride[1] + slots) * t->element};
    }
    if (tensor == RAPT_M_NORM_WEIGHT)
        return (rapt_window){0, t->bytes};
    const bool by_row = p->kind == RAPT_ROWS_PLACE || tensor == RAPT_M_OUT || (tensor == RAPT_M_LIST && p->kind == RAPT_ROWS_GATHER);
    const uint64_t r0 = by_row ? x->r0 : 0, r1 = by_row ? x->r1 : t->rows;
    if (t->bytes == 0 || r1 <= r0)
        return (rapt_window){0, 0};
    h0 = h0 * t->heads / p->heads;
    h1 = h1 * t->heads / p->heads;
    const uint64_t first = b0 * t->stride[0] + h0 * t->stride[1] + r0 * t->stride[2];
    const uint64_t last = b1 * t->stride[0] + h1 * t->stride[1] + (r1 - 1) * t->stride[2] + t->inner;
    return (rapt_window){first * t->element, (last - first) * t->element};
}

/* Elements that an invocation makes. */
static uint32_t elements_at_once(const rapt_plan *plan)
{
    return plan->rows.rewrites ? RAPT_QUANTISED_BLOCK : 4;
}

static uint64_t groups_of(const rapt_plan *plan, const part *x)
{
    return rapt_div_up((x->r1 - x->r0) * rapt_div_up(plan->rows.head_dim, elements_at_once(plan)), plan->pipelines[0].row->local_size);
}

static double flops_of(const rapt_plan *plan, const part *x)
{
    const double rewriting = plan->rows.rope_dim > 0 ? 16.0 : plan->rows.rewrites ? 4.0 : 1.0;
    return rewriting * ROW_FLOPS * (double)rapt_div_up(plan->rows.head_dim, 4) * (double)(x->r1 - x->r0) * (double)(x->bh1 - x->bh0);
}

static bool part_fits(const rapt_plan *plan, const part *x, rapt_error *error)
{
    const rapt_kernel_row *row = plan->pipelines[0].row;
    const uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_role role = (rapt_role)row->operands[i].role;
        const uint64_t bytes = window_of(&plan->rows, role_tensor(role), x).bytes;
        if (bytes > limit) {
            rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s spans %llu bytes that must be bound at once; this device binds %llu",
                      rapt_role_name(role), (unsigned long long)bytes, (unsigned long long)limit);
            return false;
        }
    }
    return x->bh1 - x->bh0 <= plan->caps.max_groups[2] && groups_of(plan, x) <= plan->caps.max_groups[0];
}

static rapt_status add_step(rapt_plan *plan, const part *x, rapt_error *error)
{
    const rapt_kernel_row *row = plan->pipelines[0].row;
    rapt_step *step;
    rapt_status status = rapt_plan_new_step(plan, &step, error);
    if (status != RAPT_OK)
        return status;
    rapt_rows_push push = {.bh0 = (uint32_t)x->bh0, .first = (uint32_t)x->r0, .end = (uint32_t)x->r1};
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const int tensor = role_tensor((rapt_role)row->operands[i].role);
        step->windows[i] = window_of(&plan->rows, tensor, x);
        if (step->windows[i].bytes != 0)
            push.base[row->operands[i].binding - 1] =
                (uint32_t)(0 - step->windows[i].first / plan->rows.tensor[tensor].element);
    }
    memcpy(step->push, &push, sizeof push);
    step->flops = (uint64_t)RAPT_MIN(flops_of(plan, x), 1.8e19);
    step->groups[0] = (uint32_t)groups_of(plan, x);
    step->groups[1] = 1;
    step->groups[2] = (uint32_t)(x->bh1 - x->bh0);
    return RAPT_OK;
}

/* Adds the steps of a part, cut in halves until it fits the device and a slice. */
static rapt_status add_part(rapt_plan *plan, const part *x, double slice_flops, rapt_error *error)
{
    const uint64_t heads = x->bh1 - x->bh0, rows = x->r1 - x->r0;
    rapt_error why = {0};
    if (heads == 0 || rows == 0)
        return RAPT_OK;
    if (part_fits(plan, x, &why) && (flops_of(plan, x) <= slice_flops || (heads == 1 && rows <= 64)))
        return add_step(plan, x, error);
    if (heads == 1 && rows == 1) {
        if (error != NULL)
            *error = why;
        return RAPT_ERROR_UNSUPPORTED;
    }
    part low = *x, high = *x;
    if (heads > 1) {
        uint64_t middle = x->bh0 + heads / 2; /* whole batch entries while there are several */
        if (x->bh0 / plan->rows.heads != (x->bh1 - 1) / plan->rows.heads)
            middle = RAPT_MAX(middle / plan->rows.heads, x->bh0 / plan->rows.heads + 1) * plan->rows.heads;
        low.bh1 = high.bh0 = middle;
    } else {
        low.r1 = high.r0 = x->r0 + rows / 2;
    }
    const rapt_status status = add_part(plan, &low, slice_flops, error);
    return status == RAPT_OK ? add_part(plan, &high, slice_flops, error) : status;
}

static void fill_params(rapt_plan *plan)
{
    const rapt_rows_problem *p = &plan->rows;
    const rapt_rows_tensor *t = p->tensor;
    rapt_rows_params params = {.heads = (uint32_t)p->heads,
                               .heads_x = (uint32_t)t[RAPT_M_X].heads,
                               .heads_list = (uint32_t)t[RAPT_M_LIST].heads,
                               .heads_weight = (uint32_t)t[RAPT_M_WEIGHT].heads,
                               .head_dim = p->head_dim,
                               .n = (uint32_t)p->n,
                               .runs = (uint32_t)p->runs,
                               .run = (uint32_t)p->run};
    uint32_t *strides = &params.x_stride_b; /* in the order of RAPT_M_* */
    for (unsigned i = 0; i <= RAPT_M_OUT; i++)
        for (unsigned axis = 0; axis < 3; axis++)
            strides[i * 3 + axis] = (uint32_t)t[i].stride[axis];
    params.position_stride_b = (uint32_t)t[RAPT_M_POSITIONS].stride[0];
    params.position_stride_s = (uint32_t)t[RAPT_M_POSITIONS].stride[2];
    params.norm_epsilon = p->norm_epsilon;
    params.rope_dim = p->rope_dim;
    if (p->rope_dim > 0)
        rapt_rope_ratio(p->rope_base, p->rope_dim, &params.rope_ratio_low, &params.rope_ratio_high);
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
}

#define RUN_TURNS 40u /* turns of loops that looking a row up in one run takes, and reading it */

rapt_status rapt_rows_plan_make(rapt_plan *plan, const rapt_rows_problem *problem, const rapt_caps *caps,
                                const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->op = RAPT_OP_ROWS;
    plan->rows = *problem;
    plan->caps = *caps;
    plan->problem = (rapt_problem){.dtype = problem->dtype,
                                   .head_dim_qk = problem->head_dim,
                                   .head_dim_v = problem->head_dim,
                                   .slice_ms = problem->slice_ms,
                                   .flops = problem->flops,
                                   .bytes_read = problem->bytes_read,
                                   .bytes_written = problem->bytes_written};
    uint64_t lines;
    if (!rapt_mul_u64(problem->batch, problem->heads, &lines) || lines > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "batch %llu times %llu heads is more than 2^32",
                         (unsigned long long)problem->batch, (unsigned long long)problem->heads);
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
    rapt_status status = select_row(plan, table, verdicts, error);
    if (status == RAPT_OK && problem->kind != RAPT_ROWS_GATHER && problem->kind != RAPT_ROWS_PLACE)
        status = rapt_check_turns(caps, problem->runs * RUN_TURNS, "rows put back by so many runs", error);
    if (status == RAPT_OK)
        status = add_part(plan, &(part){0, lines, 0, problem->rows}, slice_flops, error);
    if (status != RAPT_OK)
        return status;
    fill_params(plan);
    rapt_plan_cut_slices(plan, slice_flops);
    return RAPT_OK;
}

static const char *kind_name(const rapt_rows_problem *p)
{
    static const char *const names[] = {"gathered", "scattered", "scattered by means", "placed"};
    return names[p->kind];
}

void rapt_rows_explain_problem(const rapt_plan *plan, rapt_text *t)
{
    const rapt_rows_problem *p = &plan->rows;
    rapt_text_add(t, "rows %s by index, %s, batch %llu, heads %llu (x %llu, list %llu), %llu rows from or to %llu, of %u%s%s",
                  kind_name(p), rapt_dtype_name(p->dtype), (unsigned long long)p->batch, (unsigned long long)p->heads,
                  (unsigned long long)p->tensor[RAPT_M_X].heads, (unsigned long long)p->tensor[RAPT_M_LIST].heads,
                  (unsigned long long)(p->run * p->runs), (unsigned long long)p->n, p->head_dim,
                  p->tensor[RAPT_M_WEIGHT].present ? ", weighted" : "", plan->aligned ? "" : ", unaligned");
    if (p->norm)
        rapt_text_add(t, ", norm with epsilon %g%s", (double)p->norm_epsilon, p->tensor[RAPT_M_NORM_WEIGHT].present ? " and weights" : "");
    if (p->rope_dim > 0)
        rapt_text_add(t, ", rope of base %g over %u%s elements", p->rope_base, p->rope_dim, p->rope_interleaved ? " interleaved" : "");
    if (p->format)
        rapt_text_add(t, ", to %s", rapt_dtype_name(p->format));
    rapt_text_add(t, "\n");
}

void rapt_rows_explain_problem_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_rows_problem *p = &plan->rows;
    rapt_text_add(t,
                  "{\"op\":\"rows\",\"kind\":\"%s\",\"dtype\":\"%s\",\"batch\":%llu,\"heads\":%llu,\"entries\":%llu,\"n\":%llu,"
                  "\"head_dim\":%u,\"weighted\":%s,\"aligned\":%s,\"norm_epsilon\":%.9g,\"rope_dim\":%u,\"to\":\"%s\"}",
                  kind_name(p), rapt_dtype_name(p->dtype), (unsigned long long)p->batch, (unsigned long long)p->heads,
                  (unsigned long long)(p->run * p->runs), (unsigned long long)p->n, p->head_dim,
                  p->tensor[RAPT_M_WEIGHT].present ? "true" : "false", plan->aligned ? "true" : "false",
                  p->norm ? (double)p->norm_epsilon : -1.0, p->rope_dim, rapt_dtype_name(p->format ? p->format : p->dtype));
}
