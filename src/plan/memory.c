/* Plans of memories that learn: modes of one kernel, chunk after chunk, over as many heads at once as the workspace holds. */
#include "plan/plan.h"
#include "plan/turns.h"

#include "common/memory_params.h"
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(rapt_memory_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_memory_push");
_Static_assert(sizeof(rapt_memory_params) <= sizeof(((rapt_plan *)0)->params), "rapt_plan.params is large enough");

/* (batch, head) numbers [bh0, bh1), whole batch entries where there are several, and the tokens whose windows a step binds. */
typedef struct part {
    uint64_t bh0, bh1, t0, t1;
} part;

/* The tensor of a role; -1: the workspace. */
static int role_tensor(rapt_role role)
{
    switch (role) {
    case RAPT_ROLE_Q:
        return RAPT_MEM_Q;
    case RAPT_ROLE_K:
        return RAPT_MEM_K;
    case RAPT_ROLE_V:
        return RAPT_MEM_V;
    case RAPT_ROLE_OUT:
        return RAPT_MEM_OUT;
    case RAPT_ROLE_DECAY:
        return RAPT_MEM_RATES;
    case RAPT_ROLE_STATE_IN:
        return RAPT_MEM_STATE_IN;
    case RAPT_ROLE_STATE_OUT:
        return RAPT_MEM_STATE_OUT;
    default:
        return -1;
    }
}

static rapt_window window_of(const rapt_memory_problem *p, int tensor, const part *x)
{
    const rapt_memory_tensor *t = &p->tensor[tensor];
    const uint64_t b0 = x->bh0 / p->heads, b1 = (x->bh1 - 1) / p->heads;
    const uint64_t h0 = b0 == b1 ? x->bh0 % p->heads : 0, h1 = b0 == b1 ? (x->bh1 - 1) % p->heads : p->heads - 1;
    const uint64_t t0 = t->rows > 1 ? x->t0 : 0, t1 = t->rows > 1 ? x->t1 : 1;
    if (t->bytes == 0 || t1 <= t0)
        return (rapt_window){0, 0};
    const uint64_t first = b0 * t->stride[0] + h0 * t->stride[1] + t0 * t->stride[2];
    const uint64_t last = b1 * t->stride[0] + h1 * t->stride[1] + (t1 - 1) * t->stride[2] + t->inner;
    return (rapt_window){first * t->element, (last - first) * t->element};
}

static bool windows_fit(const rapt_plan *plan, const part *x, uint64_t *bytes)
{
    *bytes = 0;
    for (int t = 0; t < RAPT_MEM_COUNT; t++)
        *bytes = RAPT_MAX(*bytes, window_of(&plan->memory, t, x).bytes);
    return *bytes <= rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
}

/* ---- steps */

typedef struct chunk_walk {
    rapt_plan *plan;
    part heads;      /* t0 and t1: what windows cover */
    uint32_t phase;
    uint32_t token0, tokens; /* the chunk */
} chunk_walk;

/* One mode over `count` elements of each head, `work` multiply-adds each. */
static rapt_status add_mode(const chunk_walk *w, uint32_t mode, uint32_t flags, uint64_t count, uint64_t work, rapt_error *error)
{
    rapt_plan *plan = w->plan;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    rapt_step *step;
    rapt_status status = rapt_plan_new_step(plan, &step, error);
    if (status != RAPT_OK)
        return status;
    rapt_memory_push push = {.bh0 = (uint32_t)w->heads.bh0, .token0 = w->token0, .tokens = w->tokens, .count = (uint32_t)count,
                             .mode = mode, .flags = flags};
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const int tensor = role_tensor((rapt_role)row->operands[i].role);
        if (tensor < 0) {
            step->windows[i] = (rapt_window){0, plan->slots[0].bytes};
            continue;
        }
        step->windows[i] = window_of(&plan->memory, tensor, &w->heads);
        if (step->windows[i].bytes > 0)
            push.base[row->operands[i].binding - 1] = (uint32_t)(0 - step->windows[i].first / plan->memory.tensor[tensor].element);
    }
    memcpy(step->push, &push, sizeof push);
    step->phase = w->phase;
    step->groups[0] = (uint32_t)rapt_div_up(count, row->local_size);
    step->groups[1] = 1;
    step->groups[2] = (uint32_t)(w->heads.bh1 - w->heads.bh0);
    step->flops = 2 * RAPT_MAX(work, 1) * count * step->groups[2];
    return RAPT_OK;
}

/* One of the modes of a chunk and its size. A barrier stands before each: what two of them write lies in one workspace. */
typedef struct chunk_mode {
    uint32_t mode, flags;
    uint64_t count, work;
} chunk_mode;

/* What a chunk goes through, in order; the number of modes. learns: somebody reads the memory behind it. */
static unsigned chunk_modes(const rapt_memory_problem *p, uint64_t m, bool learns, chunk_mode *to)
{
    const bool mlp = p->hidden > 0, soft = p->form == RAPT_MEMORY_SOFTMAX, start = p->read_start;
    const bool gradients = learns || (!start && !soft);
    unsigned n = 0;
    if (soft)
        to[n++] = (chunk_mode){RAPT_MEMORY_SUMS, 0, 2 * m + p->d, m};
    else
        to[n++] = (chunk_mode){RAPT_MEMORY_WEIGHTS, 0, m + 2, m};
    if (mlp && gradients)
        to[n++] = (chunk_mode){RAPT_MEMORY_HIDDEN_K, 0, m * p->hidden, p->d};
    if (gradients)
        to[n++] = (chunk_mode){RAPT_MEMORY_ERRORS, 0, m * p->d_v, mlp ? p->hidden : p->d};
    if (!start && !soft)
        to[n++] = (chunk_mode){RAPT_MEMORY_SCORES, 0, m * m, p->d};
    if (mlp && gradients)
        to[n++] = (chunk_mode){RAPT_MEMORY_BACK, 0, m * p->hidden, p->d_v};
    if (mlp)
        to[n++] = (chunk_mode){RAPT_MEMORY_HIDDEN_Q, 0, m * p->hidden, start ? p->d : 2ull * p->d + m};
    if (mlp && !start)
        to[n++] = (chunk_mode){RAPT_MEMORY_SCORES, RAPT_MEMORY_SECOND, m * m, p->hidden};
    to[n++] = (chunk_mode){RAPT_MEMORY_OUTPUTS, 0, m * p->d_v, (mlp ? p->hidden : p->d) * (start || soft ? 1ull : 2ull) + m};
    if (learns)
        to[n++] = (chunk_mode){RAPT_MEMORY_LEARN, 0, soft ? p->numbers : p->weights, 2 * m};
    return n;
}

#define MOST_MODES 12u

/* All tokens of some heads. Windows cover all of them, or a chunk's where those are too large. */
static rapt_status add_heads(chunk_walk *w, rapt_error *error)
{
    const rapt_memory_problem *p = &w->plan->memory;
    const bool has_in = p->tensor[RAPT_MEM_STATE_IN].present, has_out = p->tensor[RAPT_MEM_STATE_OUT].present;
    uint64_t bytes;
    const bool whole = windows_fit(w->plan, &w->heads, &bytes);
    if (!whole)
        w->heads.t1 = p->chunk; /* of all tokens, since these do not fit */
    rapt_status status = add_mode(w, RAPT_MEMORY_BEGIN, has_in ? RAPT_MEMORY_HAS_IN : 0, p->numbers, 1, error);
    w->phase++;
    for (uint64_t t = 0; t < p->n && status == RAPT_OK; t += p->chunk) {
        chunk_mode modes[MOST_MODES];
        w->token0 = (uint32_t)t;
        w->tokens = (uint32_t)RAPT_MIN(p->chunk, p->n - t);
        if (!whole) {
            w->heads.t0 = t;
            w->heads.t1 = t + w->tokens;
        }
        const unsigned count = chunk_modes(p, w->tokens, has_out || t + w->tokens < p->n, modes);
        for (unsigned i = 0; i < count && status == RAPT_OK; i++, w->phase++)
            status = add_mode(w, modes[i].mode, modes[i].flags, modes[i].count, modes[i].work, error);
    }
    if (status != RAPT_OK || !has_out)
        return status;
    status = add_mode(w, RAPT_MEMORY_END, 0, p->numbers, 1, error);
    w->phase++;
    return status;
}

/* The heads of a part, cut in halves until a chunk's windows, its work and the workspace fit. */
static rapt_status add_part(chunk_walk *w, const part *x, uint64_t most_heads, rapt_error *error)
{
    const uint64_t heads = w->plan->memory.heads, count = x->bh1 - x->bh0;
    const part chunk = {x->bh0, x->bh1, 0, RAPT_MIN(w->plan->memory.chunk, w->plan->memory.n)};
    uint64_t bytes;
    if (windows_fit(w->plan, &chunk, &bytes) && count <= most_heads) {
        w->heads = *x;
        return add_heads(w, error);
    }
    if (count == 1)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "a chunk of one head spans %llu bytes; this device binds %llu at once",
                         (unsigned long long)bytes, (unsigned long long)rapt_window_limit(&w->plan->caps, RAPT_OPERAND_STORAGE));
    uint64_t middle = x->bh0 + count / 2; /* whole batch entries while there are several */
    if (x->bh0 / heads != (x->bh1 - 1) / heads)
        middle = RAPT_MAX(middle / heads, x->bh0 / heads + 1) * heads;
    part low = *x, high = *x;
    low.bh1 = high.bh0 = middle;
    const rapt_status status = add_part(w, &low, most_heads, error);
    return status == RAPT_OK ? add_part(w, &high, most_heads, error) : status;
}

/* ---- parameters and the row */

/* Fills the parameters; the words of a head's part of the workspace. */
static uint64_t fill_params(rapt_plan *plan)
{
    const rapt_memory_problem *p = &plan->memory;
    const bool soft = p->form == RAPT_MEMORY_SOFTMAX;
    const uint32_t c = p->chunk;
    uint32_t at = (uint32_t)rapt_align_up(p->numbers, 4);
    rapt_memory_params params = {.heads = (uint32_t)p->heads, .d = p->d, .d_v = p->d_v, .hidden = p->hidden, .form = p->form,
                                 .act = p->act, .read_start = p->read_start, .chunk = c, .weights = (uint32_t)p->weights,
                                 .numbers = (uint32_t)p->numbers};
    const struct {
        uint32_t *at, words;
    } places[] = {{&params.weights_at, soft ? 0 : (c + 1) * (c + 2)},
                  {&params.scores_at, soft || p->read_start ? 0 : c * c},
                  {&params.errors_at, c * p->d_v},
                  {&params.slopes_at, c * p->hidden},
                  {&params.keys_at, c * p->hidden},
                  {&params.queries_at, c * p->hidden},
                  {&params.sums_at, soft ? 2 * c + 3 * p->d : 0}};
    for (unsigned i = 0; i < RAPT_COUNT(places); i++) {
        *places[i].at = at;
        at += (uint32_t)rapt_align_up(places[i].words, 4);
    }
    params.head_words = at;
    uint32_t *const strides[RAPT_MEM_COUNT] = {params.stride_q,     params.stride_k,  params.stride_v,        params.stride_out,
                                             params.stride_rates, params.stride_in, params.stride_state_out};
    for (unsigned t = 0; t < RAPT_MEM_COUNT; t++)
        for (unsigned axis = 0; axis < 3; axis++)
            strides[t][axis] = (uint32_t)p->tensor[t].stride[axis];
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
    return at;
}

static rapt_status select_row(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    const rapt_memory_problem *p = &plan->memory;
    const char *why = "is not built in";
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        if (row->family != RAPT_FAMILY_MAP || !(row->supports & RAPT_ROW_LEARNS) || !(row->dtypes >> p->dtype & 1))
            continue;
        rapt_candidate *c = &plan->candidates[i];
        *c = (rapt_candidate){.row = row, .score = row->score[plan->caps.device_class]};
        plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
        c->chosen = rapt_pipeline_accepted(&plan->pipelines[0], &plan->caps, verdicts, c);
        for (unsigned t = 0; t < RAPT_MEM_COUNT && c->chosen; t++)
            if (p->tensor[t].usage != 0 && !(p->tensor[t].usage & RAPT_BUFFER_STORAGE)) {
                c->chosen = false;
                snprintf(c->reason, sizeof c->reason, "needs the storage usage on the buffer of every tensor");
            }
        if (c->chosen)
            return RAPT_OK;
        why = c->reason;
    }
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the kernel of memories %s", why);
}

/* Heads that are walked together: as many as the workspace and a slice have room for. */
static rapt_status fit_heads(rapt_plan *plan, uint64_t head_words, double slice_flops, uint64_t *most, rapt_error *error)
{
    const rapt_memory_problem *p = &plan->memory;
    const uint64_t room = RAPT_MIN(p->workspace_limit, rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE));
    chunk_mode modes[MOST_MODES];
    if (head_words * 4 > room)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the memory of one head takes a workspace of %llu bytes, there may be %llu",
                         (unsigned long long)(head_words * 4), (unsigned long long)room);
    const unsigned count = chunk_modes(p, p->chunk, true, modes);
    double longest = 1;
    uint64_t turns = 1, widest = p->numbers;
    for (unsigned i = 0; i < count; i++) {
        widest = RAPT_MAX(widest, modes[i].count);
        longest = RAPT_MAX(longest, 2.0 * (double)modes[i].count * (double)RAPT_MAX(modes[i].work, 1));
        turns = RAPT_MAX(turns, modes[i].work + RAPT_MAX(p->d, p->chunk));
    }
    if (rapt_div_up(widest, plan->pipelines[0].row->local_size) > plan->caps.max_groups[0])
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%llu elements a head are more groups than this device's %u",
                         (unsigned long long)widest, plan->caps.max_groups[0]);
    const double in_slice = RAPT_MAX(RAPT_MIN(slice_flops / longest, (double)UINT32_MAX), 1.0);
    *most = RAPT_MIN(RAPT_MIN(room / (head_words * 4), plan->caps.max_groups[2]), (uint64_t)in_slice);
    return rapt_check_turns(&plan->caps, turns, "a memory of this size", error);
}

rapt_status rapt_memory_plan_make(rapt_plan *plan, const rapt_memory_problem *problem, const rapt_caps *caps,
                                  const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->op = RAPT_OP_MEMORY;
    plan->memory = *problem;
    plan->caps = *caps;
    plan->problem = (rapt_problem){.dtype = problem->dtype,
                                   .head_dim_qk = problem->d,
                                   .head_dim_v = problem->d_v,
                                   .slice_ms = problem->slice_ms,
                                   .flops = problem->flops,
                                   .bytes_read = problem->bytes_read,
                                   .bytes_written = problem->bytes_written};
    plan->candidates = rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    plan->flops_per_second = rapt_assumed_flops_per_second(caps) / 16; /* every product reads both factors */
    plan->group = plan->splits = 1;
    plan->step_count = plan->slot_count = 0;
    plan->workspace_bytes = 0;
    const uint64_t lines = problem->batch * problem->heads, head_words = fill_params(plan);
    const double slice_flops = plan->flops_per_second * (double)problem->slice_ms * 1e-3;
    rapt_status status = select_row(plan, table, verdicts, error);
    if (status != RAPT_OK)
        return status;
    plan->pipeline_count = 1;
    if (lines == 0)
        return RAPT_OK;
    uint64_t most = 1;
    status = fit_heads(plan, head_words, slice_flops, &most, error);
    if (status != RAPT_OK)
        return status;
    plan->workspace_bytes = RAPT_MIN(most, lines) * head_words * 4;
    plan->slots[plan->slot_count++] = (rapt_workspace_slot){RAPT_ROLE_CHUNKS, 0, plan->workspace_bytes};
    chunk_walk walk = {.plan = plan};
    status = add_part(&walk, &(part){0, lines, 0, problem->n}, most, error);
    if (status == RAPT_OK)
        rapt_plan_cut_slices(plan, slice_flops);
    return status;
}

uint32_t rapt_memory_role_element(const rapt_plan *plan, rapt_role role)
{
    const int tensor = role_tensor(role);
    return tensor >= 0 && tensor <= RAPT_MEM_OUT ? rapt_dtype_size(plan->memory.dtype) : 4;
}

static const char *form_name(const rapt_memory_problem *p)
{
    static const char *const names[RAPT_MEMORY_FORM_COUNT] = {"linear", "mlp", "softmax"};
    return names[p->form];
}

void rapt_memory_explain_problem(const rapt_plan *plan, rapt_text *t)
{
    const rapt_memory_problem *p = &plan->memory;
    rapt_text_add(t, "memory %s, %s, batch %llu, heads %llu, n %llu, d %u, d_v %u", form_name(p), rapt_dtype_name(p->dtype),
                  (unsigned long long)p->batch, (unsigned long long)p->heads, (unsigned long long)p->n, p->d, p->d_v);
    if (p->hidden)
        rapt_text_add(t, ", hidden %u, %s", p->hidden, p->act == RAPT_MEMORY_GELU ? "GELU" : "SiLU");
    rapt_text_add(t, ", chunks of %u%s%s%s\n", p->chunk, p->read_start ? ", read at their start" : "",
                  p->tensor[RAPT_MEM_STATE_IN].present ? ", state in" : "", p->tensor[RAPT_MEM_STATE_OUT].present ? ", state out" : "");
}

void rapt_memory_explain_problem_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_memory_problem *p = &plan->memory;
    rapt_text_add(t,
                  "{\"op\":\"memory\",\"form\":\"%s\",\"dtype\":\"%s\",\"batch\":%llu,\"heads\":%llu,\"n\":%llu,\"d\":%u,\"d_v\":%u,"
                  "\"hidden\":%u,\"act\":%u,\"chunk\":%u,\"read_start\":%s}",
                  form_name(p), rapt_dtype_name(p->dtype), (unsigned long long)p->batch, (unsigned long long)p->heads,
                  (unsigned long long)p->n, p->d, p->d_v, p->hidden, p->act, p->chunk, p->read_start ? "true" : "false");
}
