/* Plans of rapt/combine.h: one kernel, in boxes of rows whose windows fit the device. */
#include "plan/combine.h"

#include "common/combine_params.h"
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(rapt_combine_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_combine_push");
_Static_assert(sizeof(rapt_combine_params) <= sizeof(((rapt_plan *)0)->params), "rapt_plan.params is large enough");

/* Rows of one dispatch: batch entries, heads, indices, each [first, last). Rows are numbered through all three, so that an
 * axis is only cut where those before it have one entry. */
typedef struct box {
    uint64_t lo[3], hi[3];
} box;

/* The tensor at an operand's place; -1: none. */
static int role_tensor(const rapt_combine_problem *p, rapt_role role)
{
    if (role >= RAPT_ROLE_TERM_0 && role <= RAPT_ROLE_TERM_WEIGHT_2)
        return RAPT_C_X0 + (int)(role - RAPT_ROLE_TERM_0);
    if (role == RAPT_ROLE_OUT)
        return RAPT_C_OUT;
    return role == (p->lse ? RAPT_ROLE_LSE : RAPT_ROLE_NORM_WEIGHT) ? RAPT_C_NORM : -1;
}

/* What a box needs of a tensor; of weights that choose among heads, those of all heads. */
static rapt_window window_of(const rapt_combine_problem *p, unsigned tensor, const box *b)
{
    const rapt_combine_tensor *t = &p->tensor[tensor];
    const bool all_heads = tensor == RAPT_C_W0 && p->weights == RAPT_COMBINE_TOP;
    uint64_t first = 0, last = t->inner;
    if (t->bytes == 0)
        return (rapt_window){0, 0};
    for (unsigned axis = 0; axis < 3; axis++) {
        const bool whole = all_heads && axis == 1;
        first += (whole ? 0 : b->lo[axis]) * t->stride[axis];
        last += ((whole ? p->heads : b->hi[axis]) - 1) * t->stride[axis];
    }
    return (rapt_window){first * t->element, (last - first) * t->element};
}

static uint64_t rows_of(const box *b)
{
    return (b->hi[0] - b->lo[0]) * (b->hi[1] - b->lo[1]) * (b->hi[2] - b->lo[2]);
}

static rapt_status add_step(rapt_plan *plan, const box *b, rapt_error *error)
{
    const rapt_combine_problem *p = &plan->combine;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    rapt_step *step;
    rapt_status status = rapt_plan_new_step(plan, &step, error);
    if (status != RAPT_OK)
        return status;
    rapt_combine_push push = {.row0 = (uint32_t)((b->lo[0] * p->heads + b->lo[1]) * p->n + b->lo[2]), .rows = (uint32_t)rows_of(b)};
    memcpy(step->push, &push, sizeof push);
    step->flops = p->flops / (p->batch * p->heads * p->n) * push.rows;
    step->groups[0] = (uint32_t)rapt_div_up(push.rows, row->rows_per_tile);
    step->groups[1] = step->groups[2] = 1;
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const int tensor = role_tensor(p, (rapt_role)row->operands[i].role);
        if (tensor < 0) { /* another operand has its binding */
            step->windows[i].first = UINT64_MAX;
            continue;
        }
        step->windows[i] = window_of(p, (unsigned)tensor, b);
        if (step->windows[i].bytes > 0)
            step->push[row->operands[i].binding - 1] = (uint32_t)(0 - step->windows[i].first / p->tensor[tensor].element);
    }
    return RAPT_OK;
}

/* The steps of a box, cut in halves until windows, grid and work fit. */
static rapt_status add_box(rapt_plan *plan, const box *b, uint64_t most_rows, rapt_error *error)
{
    const rapt_combine_problem *p = &plan->combine;
    const uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    uint64_t bytes = 0;
    for (unsigned t = 0; t < RAPT_C_COUNT; t++)
        bytes = RAPT_MAX(bytes, window_of(p, t, b).bytes);
    if (bytes <= limit && rows_of(b) <= most_rows)
        return add_step(plan, b, error);
    unsigned axis = 0;
    while (axis < 2 && b->hi[axis] - b->lo[axis] == 1)
        axis++;
    const uint64_t size = b->hi[axis] - b->lo[axis];
    if (size == 1)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "a row of combined tensors spans %llu bytes; this device binds %llu at once",
                         (unsigned long long)bytes, (unsigned long long)limit);
    box low = *b, high = *b;
    low.hi[axis] = high.lo[axis] = b->lo[axis] + size / 2;
    rapt_status status = add_box(plan, &low, most_rows, error);
    return status == RAPT_OK ? add_box(plan, &high, most_rows, error) : status;
}

static void fill_params(rapt_plan *plan)
{
    const rapt_combine_problem *p = &plan->combine;
    rapt_combine_params params = {
        .heads = (uint32_t)p->heads,
        .n = (uint32_t)p->n,
        .d = (uint32_t)p->d,
        .flags = (p->weights == RAPT_COMBINE_SIGMOID ? RAPT_COMBINE_IS_SIGMOID : 0) |
                 (p->weights == RAPT_COMBINE_SOFTMAX ? RAPT_COMBINE_IS_SOFTMAX : 0) | (p->norm ? RAPT_COMBINE_HAS_NORM : 0) |
                 (p->norm && p->tensor[RAPT_C_NORM].present ? RAPT_COMBINE_HAS_NORM_WEIGHT : 0) |
                 (p->gate ? RAPT_COMBINE_HAS_GATE : 0) | (p->gate && p->gate_kind == RAPT_GATE_SILU ? RAPT_COMBINE_IS_SILU : 0) |
                 (p->gate && p->gate_kind == RAPT_GATE_PRODUCT ? RAPT_COMBINE_IS_PRODUCT : 0) |
                 (p->weights == RAPT_COMBINE_TOP ? RAPT_COMBINE_IS_TOP : 0) | (p->top_normalise ? RAPT_COMBINE_TOP_NORMALISED : 0) |
                 (p->lse ? RAPT_COMBINE_HAS_LSE : 0) | p->act << RAPT_COMBINE_ACT_SHIFT,
        .terms = p->terms,
        .epsilon = p->epsilon,
        .out_factor = p->out_factor,
        .top = p->top,
    };
    params.factor[RAPT_COMBINE_TERMS] = p->offset;
    uint32_t *const strides[RAPT_C_COUNT] = {params.stride_x0, params.stride_x1, params.stride_x2,   params.stride_w0,
                                             params.stride_w1, params.stride_w2, params.stride_norm, params.stride_out};
    for (unsigned t = 0; t < RAPT_COMBINE_TERMS; t++) {
        params.factor[t] = p->factor[t];
        params.flags |= p->tensor[RAPT_C_W0 + t].present ? RAPT_COMBINE_HAS_WEIGHT << t : 0;
    }
    for (unsigned t = 0; t < RAPT_C_COUNT; t++)
        for (unsigned axis = 0; axis < 3; axis++)
            strides[t][axis] = (uint32_t)p->tensor[t].stride[axis];
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
}

/* Whether rows may be read and written four elements at a time. */
static bool is_aligned(const rapt_combine_problem *p)
{
    static const uint8_t tensors[] = {RAPT_C_X0, RAPT_C_X1, RAPT_C_X2, RAPT_C_OUT};
    for (unsigned i = 0; i < RAPT_COUNT(tensors); i++) {
        const rapt_combine_tensor *t = &p->tensor[tensors[i]];
        for (unsigned axis = 0; axis < 3; axis++)
            if (t->stride[axis] % 4 != 0)
                return false;
        if (t->present && t->align < 4 * t->element)
            return false;
    }
    return p->d % 4 == 0;
}

/* The row that reads and stores these types. */
static rapt_status select_row(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    const rapt_combine_problem *p = &plan->combine;
    const char *why = "is not built in";
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        if (row->family != RAPT_FAMILY_MAP || row->operand_count == 0 || row->operands[0].role != RAPT_ROLE_TERM_0 ||
            row->dtypes != (1u << p->dtype | 1u << p->from))
            continue;
        rapt_candidate *c = &plan->candidates[i];
        *c = (rapt_candidate){.row = row, .score = row->score[plan->caps.device_class]};
        plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
        for (uint32_t k = 0; k < row->constant_count; k++)
            plan->pipelines[0].constants[k] =
                row->constants[k].source == RAPT_CONST_ALIGNED ? plan->aligned : row->constants[k].value;
        c->chosen = rapt_pipeline_accepted(&plan->pipelines[0], &plan->caps, verdicts, c);
        for (unsigned t = 0; t < RAPT_C_COUNT && c->chosen; t++)
            if (p->tensor[t].usage != 0 && !(p->tensor[t].usage & RAPT_BUFFER_STORAGE)) {
                c->chosen = false;
                snprintf(c->reason, sizeof c->reason, "needs the storage usage on the buffer of every tensor");
            }
        if (c->chosen)
            return RAPT_OK;
        why = c->reason;
    }
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the kernel that combines tensors %s", why);
}

rapt_status rapt_combine_plan_make(rapt_plan *plan, const rapt_combine_problem *problem, const rapt_caps *caps,
                                   const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->op = RAPT_OP_COMBINE;
    plan->combine = *problem;
    plan->caps = *caps;
    plan->problem = (rapt_problem){.dtype = problem->dtype,
                                   .slice_ms = problem->slice_ms,
                                   .flops = problem->flops,
                                   .bytes_read = problem->bytes_read,
                                   .bytes_written = problem->bytes_written};
    plan->candidates = rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    /* What was measured is attention's; this is bound by memory. */
    plan->flops_per_second = rapt_assumed_flops_per_second(caps) / 16;
    plan->group = plan->splits = 1;
    plan->aligned = is_aligned(problem);
    plan->step_count = plan->slot_count = 0;
    plan->workspace_bytes = 0;
    rapt_status status = select_row(plan, table, verdicts, error);
    if (status != RAPT_OK)
        return status;
    plan->pipeline_count = 1;
    if (!problem->empty) {
        const double slice_flops = plan->flops_per_second * (double)problem->slice_ms * 1e-3;
        const double row_flops = (double)problem->flops / (double)(problem->batch * problem->heads * problem->n);
        const double most = RAPT_MIN(slice_flops / row_flops, (double)caps->max_groups[0] * plan->pipelines[0].row->rows_per_tile);
        const box all = {{0, 0, 0}, {problem->batch, problem->heads, problem->n}};
        status = add_box(plan, &all, (uint64_t)RAPT_MAX(most, 1.0), error);
        if (status != RAPT_OK)
            return status;
        rapt_plan_cut_slices(plan, slice_flops);
    }
    fill_params(plan);
    return RAPT_OK;
}

uint32_t rapt_combine_role_element(const rapt_plan *plan, rapt_role role)
{
    const int tensor = role_tensor(&plan->combine, role);
    return tensor >= 0 && plan->combine.tensor[tensor].present ? plan->combine.tensor[tensor].element : 4;
}

void rapt_combine_explain_problem(const rapt_plan *plan, rapt_text *t)
{
    static const char *const weights[] = {"plain", "sigmoid", "softmax", "top"};
    static const char *const gates[] = {", sigmoid gate", ", SiLU gate", ", product"};
    static const char *const acts[RAPT_COMBINE_ACT_COUNT] = {"", ", sigmoid", ", SiLU", ", tanh", ", relu", ", exp", ", log", ", sqrt", ", reciprocal"};
    const rapt_combine_problem *p = &plan->combine;
    rapt_text_add(t, "combine %s%s, %u term%s with %s weights, batch %llu, heads %llu, n %llu, d %llu%s%s%s%s%s\n",
                  rapt_dtype_name(p->dtype), p->from != p->dtype ? " from f32" : "", p->terms, p->terms == 1 ? "" : "s",
                  weights[p->weights], (unsigned long long)p->batch,
                  (unsigned long long)p->heads, (unsigned long long)p->n, (unsigned long long)p->d, p->norm ? ", norm" : "", acts[p->act],
                  p->gate ? gates[p->gate_kind] : "", p->lse ? ", lse" : "",
                  plan->aligned ? "" : ", unaligned");
}

void rapt_combine_explain_problem_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_combine_problem *p = &plan->combine;
    rapt_text_add(t,
                  "{\"op\":\"combine\",\"dtype\":\"%s\",\"terms\":%u,\"weights\":%u,\"batch\":%llu,\"heads\":%llu,\"n\":%llu,\"d\":%llu,"
                  "\"norm\":%s,\"gate\":%s,\"gate_kind\":%u,\"top\":%u,\"lse\":%s,\"aligned\":%s,\"from\":\"%s\",\"act\":%u}",
                  rapt_dtype_name(p->dtype), p->terms, p->weights, (unsigned long long)p->batch, (unsigned long long)p->heads,
                  (unsigned long long)p->n, (unsigned long long)p->d, p->norm ? "true" : "false", p->gate ? "true" : "false",
                  p->gate_kind, p->top, p->lse ? "true" : "false", plan->aligned ? "true" : "false",
                  rapt_dtype_name(p->from), p->act);
}
