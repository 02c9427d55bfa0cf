/* Any descriptor of a memory that learns, on any device's capabilities: a plan that keeps its limits, in which every token of every
 * head is read once and learnt in order, or a refusal with words. Rows are those of the built-in table; no device is there. */
#include "plan_input.h"

#include "common/memory_params.h"

/* A tensor of these sizes without gaps; its strides, and sometimes its sizes, made others. */
static rapt_tensor take_tensor(input *in, rapt_dtype dtype, uint32_t rank, uint64_t b, uint64_t h, uint64_t n, uint64_t d)
{
    const uint64_t size[4] = {b, h, rank == 4 ? n : d, d};
    rapt_tensor t = {.dtype = dtype, .rank = rank};
    uint64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        t.size[axis] = size[axis];
        t.stride[axis] = (int64_t)stride;
        stride *= RAPT_MAX(size[axis], 1);
    }
    const uint8_t odd = take_byte(in);
    if (odd & 1)
        t.stride[odd >> 1 & 3] = (int64_t)take_number(in);
    if ((odd & 0x38) == 0x38)
        t.size[odd >> 1 & 3] = take_number(in);
    if ((odd & 0xc0) == 0xc0) {
        t.align = take_byte(in);
        t.usage = take_byte(in);
    }
    return t;
}

static rapt_memory_desc take_desc(input *in)
{
    rapt_memory_desc d = RAPT_MEMORY_DESC_INIT;
    const uint8_t what = take_byte(in), has = take_byte(in);
    const rapt_dtype dtype = (rapt_dtype)(RAPT_F32 + what % 3);
    const uint64_t b = take_number(in), h = take_number(in), n = take_number(in), dim = take_number(in), dim_v = take_number(in);
    const uint32_t slice = (uint32_t)take_bytes(in, has & 1 ? 4 : 0);
    d.form = (rapt_memory_form)(what / 3 % 4);
    d.act = (rapt_memory_act)(what / 12 % 3);
    d.flags = (uint32_t)(what / 36 % 3);
    d.hidden = d.form == RAPT_MEMORY_MLP || has & 2 ? (uint32_t)take_number(in) : 0;
    d.chunk = has & 4 ? (uint32_t)take_number(in) : 0;
    d.workspace_limit = has & 8 ? take_number(in) : 0;
    memcpy(&d.slice_ms, &slice, sizeof slice);
    d.q = take_tensor(in, dtype, 4, b, h, n, dim);
    d.k = take_tensor(in, dtype, 4, b, h, n, dim);
    d.v = take_tensor(in, dtype, 4, b, h, n, dim_v);
    d.out = take_tensor(in, dtype, 4, b, h, n, dim_v);
    const uint64_t numbers = rapt_memory_numbers(d.form, dim, dim_v, d.hidden);
    if ((d.form != RAPT_MEMORY_SOFTMAX) != ((has & 16) != 0))
        d.rates = take_tensor(in, RAPT_F32, 4, b, has & 32 ? 1 : h, n, 3);
    if (has & 64)
        d.state_in = take_tensor(in, RAPT_F32, 3, b, h, 0, numbers);
    if (has & 128)
        d.state_out = take_tensor(in, RAPT_F32, 3, b, h, 0, numbers);
    return d;
}

/* A window lies within its tensor or the workspace, and a device can bind it. */
static void check_windows(const rapt_plan *plan, const rapt_step *s)
{
    static const rapt_role roles[RAPT_MEM_COUNT] = {RAPT_ROLE_Q,     RAPT_ROLE_K,        RAPT_ROLE_V,        RAPT_ROLE_OUT,
                                                    RAPT_ROLE_DECAY, RAPT_ROLE_STATE_IN, RAPT_ROLE_STATE_OUT};
    const rapt_kernel_row *row = plan->pipelines[0].row;
    for (uint32_t k = 0; k < row->operand_count; k++) {
        const rapt_window *w = &s->windows[k];
        uint64_t whole = plan->workspace_bytes;
        for (unsigned t = 0; t < RAPT_MEM_COUNT; t++)
            whole = row->operands[k].role == roles[t] ? plan->memory.tensor[t].bytes : whole;
        MUST(w->first <= whole && w->bytes <= whole - w->first);
        MUST(w->bytes <= rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE));
    }
}

static void check_steps(const rapt_plan *plan)
{
    const rapt_memory_problem *p = &plan->memory;
    const uint32_t local = plan->pipelines[0].row->local_size;
    const rapt_memory_params *params = (const rapt_memory_params *)(const void *)plan->params;
    uint64_t begun = 0, read = 0, ended = 0, next = 0;
    uint32_t slice = 0, phase = 0, last_mode = RAPT_MEMORY_BEGIN;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const rapt_step *s = &plan->steps[i];
        rapt_memory_push push;
        memcpy(&push, s->push, sizeof push);
        MUST(s->pipeline == 0 && s->groups[1] == 1);
        for (int axis = 0; axis < 3; axis++)
            MUST(s->groups[axis] >= 1 && s->groups[axis] <= plan->caps.max_groups[axis]);
        MUST(s->groups[0] == rapt_div_up(push.count, local));
        MUST((uint64_t)push.bh0 + s->groups[2] <= p->batch * p->heads);
        MUST((uint64_t)s->groups[2] * params->head_words * 4 <= plan->workspace_bytes);
        MUST(s->slice == slice || (i > 0 && s->slice == slice + 1));
        MUST(i == 0 ? s->phase == 0 : s->phase == phase + 1 && s->barrier);
        slice = s->slice;
        phase = s->phase;
        check_windows(plan, s);
        if (push.mode == RAPT_MEMORY_BEGIN) {
            MUST(last_mode == RAPT_MEMORY_BEGIN || next == p->n);
            MUST(push.bh0 == begun);
            begun += s->groups[2];
            next = 0;
        } else if (push.mode == RAPT_MEMORY_END) {
            MUST(next == p->n);
            ended += s->groups[2];
        } else if (push.mode == RAPT_MEMORY_OUTPUTS) { /* chunk after chunk, each behind the one that was learnt */
            MUST(push.token0 == next && push.tokens >= 1 && push.tokens <= p->chunk && push.count == (uint64_t)push.tokens * p->d_v);
            next += push.tokens;
            read += (uint64_t)push.tokens * s->groups[2];
        } else if (push.mode == RAPT_MEMORY_LEARN) {
            MUST(last_mode == RAPT_MEMORY_OUTPUTS);
        }
        last_mode = push.mode;
    }
    const uint64_t lines = p->batch * p->heads;
    MUST(begun == lines && read == lines * p->n);
    MUST(ended == (p->tensor[RAPT_MEM_STATE_OUT].present ? lines : 0));
    MUST(plan->slice_count == slice + 1 && plan->phase_count == phase + 1);
}

/* Places of a head's part of the workspace, in order. */
static void check_params(const rapt_plan *plan)
{
    const rapt_memory_problem *p = &plan->memory;
    const rapt_memory_params *params = (const rapt_memory_params *)(const void *)plan->params;
    const uint32_t at[] = {params->numbers,   params->weights_at, params->scores_at,  params->errors_at, params->slopes_at,
                           params->keys_at,   params->queries_at, params->sums_at,    params->head_words};
    for (size_t i = 1; i < RAPT_COUNT(at); i++)
        MUST(at[i] >= at[i - 1]);
    MUST(params->slopes_at - params->errors_at >= (uint64_t)p->chunk * p->d_v);
    MUST(params->sums_at - params->queries_at >= (uint64_t)p->chunk * p->hidden);
    MUST(plan->slot_count == 1 && plan->slots[0].bytes == plan->workspace_bytes && plan->workspace_bytes <= p->workspace_limit);
}

static rapt_status make(rapt_plan *plan, budget *memory, const rapt_memory_problem *problem, const rapt_caps *caps, rapt_error *error)
{
    memset(plan, 0, sizeof *plan);
    memory->left = 1u << 20;
    plan->allocator = (rapt_allocator){.user = memory, .alloc = budget_alloc, .realloc = budget_realloc, .free = budget_free};
    return rapt_memory_plan_make(plan, problem, caps, rapt_kernels(), NULL, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, size};
    budget memory[2];
    rapt_plan plan, twin;
    rapt_memory_problem problem;
    rapt_error error = {0};
    const rapt_caps caps = take_caps(&in);
    const rapt_memory_desc d = take_desc(&in);
    rapt_status status = rapt_memory_problem_make(&d, &problem, &error);
    if (status != RAPT_OK) {
        MUST(status == RAPT_ERROR_INVALID && error.status == status && error.message[0]);
        return 0;
    }
    status = make(&plan, &memory[0], &problem, &caps, &error);
    if (status == RAPT_OK && plan.step_count > 0) {
        check_params(&plan);
        check_steps(&plan);
    } else if (status == RAPT_OK) {
        MUST(problem.batch * problem.heads == 0 && plan.workspace_bytes == 0);
    } else {
        MUST(status == RAPT_ERROR_UNSUPPORTED || status == RAPT_ERROR_OUT_OF_HOST_MEMORY);
        MUST(error.status == status && error.message[0]);
    }
    if (take_byte(&in) % 4 == 1) {
        if (status != RAPT_ERROR_OUT_OF_HOST_MEMORY)
            check_explain(&plan, status == RAPT_OK ? NULL : error.message);
        MUST(make(&twin, &memory[1], &problem, &caps, NULL) == status && plan.step_count == twin.step_count);
        if (plan.step_count > 0)
            MUST(memcmp(plan.steps, twin.steps, plan.step_count * sizeof *plan.steps) == 0);
        rapt_plan_clear(&twin);
        MUST(memory[1].left == 1u << 20);
    }
    rapt_plan_clear(&plan);
    MUST(memory[0].left == 1u << 20);
    return 0;
}
