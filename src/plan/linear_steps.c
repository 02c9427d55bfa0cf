/* Launches of linear attention as steps that fit the device, what they bind, and where the workspace lies. */
#include "plan/linear.h"

#include "common/linear_params.h"
#include <string.h>

_Static_assert(sizeof(rapt_linear_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_linear_push");
_Static_assert(sizeof(rapt_linear_params) <= sizeof(((rapt_plan *)0)->params),
               "rapt_plan.params is large enough");

/* What is bound of a tensor; of states at positions those that the launch touches. */
static rapt_window tensor_window(const rapt_linear_launch *l, const rapt_linear_problem *p, int tensor, const rapt_linear_part *x)
{
    const rapt_linear_tensor *t = &p->tensor[tensor];
    uint64_t b0 = x->bh0 / p->heads, b1 = (x->bh1 - 1) / p->heads;
    uint64_t h0 = b0 == b1 ? x->bh0 % p->heads : 0, h1 = b0 == b1 ? (x->bh1 - 1) % p->heads : p->heads - 1;
    uint64_t r0 = x->t0, r1 = x->t1;
    if (tensor == RAPT_L_STATE_IN || tensor == RAPT_L_STATE_OUT) {
        const uint64_t rows = (uint64_t)p->block * p->blocks, place = tensor == RAPT_L_STATE_OUT ? l->place : 0;
        r0 = (place - (place > 0 ? l->back : 0)) * rows;
        r1 = (place + 1) * rows;
    } else if (tensor == RAPT_L_NORM_IN || tensor == RAPT_L_NORM_OUT || tensor >= RAPT_L_SCALE_Q) {
        r0 = 0;
        r1 = 1;
    } else if (tensor == RAPT_L_DECAY && p->decay == RAPT_DECAY_HEAD) {
        r0 = 0;
        r1 = 1;
    } else if (p->varlen) { /* where a sequence lies is known on the device only */
        b0 = b1 = r0 = 0;
        r1 = p->total;
    }
    if (t->bytes == 0 || r1 <= r0)
        return (rapt_window){0, 0};
    h0 = h0 * t->heads / p->heads;
    h1 = h1 * t->heads / p->heads;
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

/* The running states of a part, in the workspace. */
static rapt_window carried_window(const rapt_plan *plan, const rapt_workspace_slot *slot, const rapt_linear_part *x)
{
    const rapt_linear_problem *p = &plan->linear;
    const uint64_t each = slot->bytes / (p->batch * p->heads);
    return (rapt_window){x->bh0 * each, (x->bh1 - x->bh0) * each};
}

/* Where the app's tensors are read and written when features are made ahead: by what maps, moves states and finishes. */
static const struct {
    uint8_t role, tensor;
    int8_t map; /* by what makes features of this alone: RAPT_MAP_*; -1: by others */
} app_tensors[] = {
    {RAPT_ROLE_SOURCE_Q, RAPT_L_Q, RAPT_MAP_Q},      {RAPT_ROLE_SOURCE_K, RAPT_L_K, RAPT_MAP_K},
    {RAPT_ROLE_SOURCE_V, RAPT_L_V, RAPT_MAP_V},      {RAPT_ROLE_SOURCE_A, RAPT_L_A, RAPT_MAP_A},
    {RAPT_ROLE_SOURCE_B, RAPT_L_B, RAPT_MAP_B},      {RAPT_ROLE_SCALE_Q, RAPT_L_SCALE_Q, RAPT_MAP_Q},
    {RAPT_ROLE_SCALE_K, RAPT_L_SCALE_K, RAPT_MAP_K}, {RAPT_ROLE_RESULT, RAPT_L_OUT, -1},
    {RAPT_ROLE_STATE_OUT, RAPT_L_STATE_OUT, -1},     {RAPT_ROLE_NORM_OUT, RAPT_L_NORM_OUT, -1},
    {RAPT_ROLE_STATE_IN, RAPT_L_STATE_IN, -1},       {RAPT_ROLE_NORM_IN, RAPT_L_NORM_IN, -1},
};

/* What these rows bind. Of roles that share a binding the one that is mapped is bound. */
static rapt_window mapped_window(const rapt_linear_launch *l, rapt_role role, const rapt_linear_part *x)
{
    static const uint8_t targets[] = {RAPT_ROLE_Q, RAPT_ROLE_K, RAPT_ROLE_V, RAPT_ROLE_A, RAPT_ROLE_B}; /* by RAPT_MAP_* */
    const rapt_plan *plan = l->plan;
    const rapt_linear_problem *o = &plan->outer;
    const rapt_workspace_slot *slot = slot_of(plan, role);
    const bool maps = plan->pipelines[l->pipeline].row->supports & RAPT_ROW_MAPS;
    const rapt_window none = {UINT64_MAX, 0};
    if (role == RAPT_ROLE_CU_Q)
        return (rapt_window){0, o->varlen ? (o->batch + 1) * 4 : 0};
    if (role == RAPT_ROLE_BETA)
        return tensor_window(l, o, RAPT_L_BETA, x);
    for (uint32_t i = 0; i < RAPT_COUNT(targets) && maps; i++)
        if (role == targets[i] && i != l->flags)
            return none;
    for (size_t i = 0; i < RAPT_COUNT(app_tensors); i++) {
        if (app_tensors[i].role != role)
            continue;
        if (app_tensors[i].map >= 0 && (uint32_t)app_tensors[i].map != l->flags) /* scales: a dummy where neither goes */
            return role == RAPT_ROLE_SCALE_Q && l->flags != RAPT_MAP_K ? (rapt_window){0, 0} : none;
        const bool reads_state = role == RAPT_ROLE_STATE_IN || role == RAPT_ROLE_NORM_IN;
        return tensor_window(l, o, app_tensors[i].tensor + (reads_state && o->in_place), x); /* IN is followed by OUT */
    }
    if (slot == NULL)
        return (rapt_window){0, 0};
    return role == RAPT_ROLE_STATE ? carried_window(plan, slot, x) : (rapt_window){0, slot->bytes};
}

/* What the launch binds for an operand; first UINT64_MAX: nothing, another operand has its binding. */
static rapt_window role_window(const rapt_linear_launch *l, const rapt_kernel_operand *op, const rapt_linear_part *x)
{
    const rapt_role role = (rapt_role)op->role;
    const bool reads =
        op->binding == RAPT_BIND_TEXEL_STATE; /* a state to begin with: one of three at this binding */
    const rapt_plan *plan = l->plan;
    const rapt_linear_problem *p = &plan->linear;
    const rapt_window none = {UINT64_MAX, 0};
    const bool walks = plan->pipelines[l->pipeline].row->supports & RAPT_LINEAR_IN_PASSES;
    const bool in_chunks = walks && l->pass != RAPT_PASS_WHOLE;
    const rapt_workspace_slot *slot = slot_of(plan, role);
    if (plan->pipelines[l->pipeline].row->supports &
        (RAPT_ROW_MAPS | RAPT_ROW_FINISHES | RAPT_ROW_MOVES | RAPT_ROW_APPLIES))
        return mapped_window(l, role, x);
    switch (role) {
    case RAPT_ROLE_OUT:
        if (l->pass == RAPT_PASS_CHUNKS)
            return none;
        break;
    case RAPT_ROLE_STEPS:
        if (walks && l->pass != RAPT_PASS_CHUNKS)
            return none;
        break;
    case RAPT_ROLE_STATE:
    case RAPT_ROLE_NORM:
        if (in_chunks || (reads && (l->flags & RAPT_LINEAR_READ_IN)))
            return none;
        if (!(l->flags & (reads ? RAPT_LINEAR_READ_STATE
                                : RAPT_LINEAR_READ_STATE | RAPT_LINEAR_WRITE_STATE | RAPT_LINEAR_WRITE_NORM)))
            return (rapt_window){0, 0};
        break;
    case RAPT_ROLE_CHUNKS:
    case RAPT_ROLE_CHUNK_NORMS:
        if (walks && !in_chunks)
            return none;
        if (reads && l->pass == RAPT_PASS_CHUNKS) /* nothing is read, but something must lie there */
            return (rapt_window){0, 0};
        break;
    case RAPT_ROLE_STATE_IN:
    case RAPT_ROLE_NORM_IN:
        if (reads && !(l->flags & RAPT_LINEAR_READ_IN))
            return none;
        if (!(l->flags & RAPT_LINEAR_READ_IN))
            return (rapt_window){0, 0};
        break;
    case RAPT_ROLE_CU_Q:
        return (rapt_window){0, p->varlen ? (p->batch + 1) * 4 : 0};
    default:
        break;
    }
    if (slot != NULL)
        return role == RAPT_ROLE_STATE ? carried_window(plan, slot, x) : (rapt_window){0, slot->bytes};
    const int tensor = rapt_linear_role_tensor(p, role);
    return tensor < 0 ? (rapt_window){0, 0} : tensor_window(l, p, tensor, x);
}

/* Whether every window of the part fits what the device binds; says which does not. */
static bool windows_fit(const rapt_linear_launch *l, const rapt_linear_part *x, rapt_error *error)
{
    const rapt_kernel_row *row = l->plan->pipelines[l->pipeline].row;
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        const uint64_t limit = rapt_window_limit(&l->plan->caps, (rapt_operand_kind)op->kind);
        const rapt_window w = role_window(l, op, x);
        if (w.bytes > limit) {
            rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                      "%s spans %llu bytes that kernel '%s' must bind at once; this device binds %llu",
                      rapt_role_name((rapt_role)op->role), (unsigned long long)w.bytes, row->name,
                      (unsigned long long)limit);
            return false;
        }
    }
    return true;
}

/* Where the workspace's part of a tensor begins, beside its window: features and outputs at the first token of the span,
 * running states at the rows of a block. */
static uint64_t slot_base(const rapt_linear_launch *l, rapt_role role, const rapt_linear_part *x)
{
    const rapt_plan *plan = l->plan;
    if (!plan->outer.mapped || slot_of(plan, role) == NULL)
        return 0;
    if (role == RAPT_ROLE_STATE)
        return l->state_row * plan->layout.chunk_pitch;
    const int tensor = rapt_linear_role_tensor(&plan->linear, role == RAPT_ROLE_SUMS ? RAPT_ROLE_OUT : role);
    if (plan->linear.varlen || tensor < RAPT_L_Q || tensor > RAPT_L_B)
        return 0;
    return 0 - x->t0 * plan->linear.tensor[tensor].stride[2];
}

/* Where the state lies that the launch reads or writes, beside the first. */
static uint64_t place_base(const rapt_linear_launch *l, const rapt_kernel_operand *op)
{
    const bool state = op->role == RAPT_ROLE_STATE || op->role == RAPT_ROLE_STATE_OUT,
               norm = op->role == RAPT_ROLE_NORM || op->role == RAPT_ROLE_NORM_OUT;
    if ((!state && !norm) || slot_of(l->plan, (rapt_role)op->role) != NULL)
        return 0;
    /* Other kernels than those that read through texels step back by themselves. */
    const uint32_t place = l->place - (op->binding == RAPT_BIND_TEXEL_STATE ? l->back : 0);
    const rapt_linear_problem *o = &l->plan->outer;
    return place * (uint64_t)o->block * o->blocks * (norm ? 1 : o->tensor[RAPT_L_STATE_OUT].stride[2]);
}

static rapt_status add_step(const rapt_linear_launch *l, const rapt_linear_part *x, rapt_error *error)
{
    rapt_plan *plan = l->plan;
    const rapt_kernel_row *row = plan->pipelines[l->pipeline].row;
    rapt_step *step;
    rapt_status status = rapt_plan_new_step(plan, &step, error);
    if (status != RAPT_OK)
        return status;
    step->pipeline = l->pipeline;
    step->phase = l->phase;
    const double flops = l->flops * (double)(x->bh1 - x->bh0) * (double)(x->t1 - x->t0);
    step->flops = flops < 1.8e19 ? (uint64_t)flops : UINT64_MAX;
    rapt_linear_push push = {.bh0 = (uint32_t)x->bh0,
                             .token0 = (uint32_t)x->t0,
                             .token1 = (uint32_t)x->t1,
                             .chunk = l->chunk ? l->chunk : (uint32_t)(x->t1 - x->t0),
                             .chunks = l->chunks,
                             .flags = l->flags,
                             .back = l->back};
    memcpy(step->push, &push, sizeof push);
    uint32_t *words = step->push;
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        const rapt_window w = role_window(l, op, x);
        step->windows[i] = w;
        if (w.first != UINT64_MAX && w.bytes != 0)
            words[rapt_binding_base(op->binding) - 1] =
                (uint32_t)(0 - w.first / rapt_plan_role_element(plan, (rapt_role)op->role) + slot_base(l, (rapt_role)op->role, x) +
                           place_base(l, op));
    }
    step->groups[0] = l->groups_x;
    step->groups[1] = (row->supports & RAPT_LINEAR_BY_CHUNK) && l->chunks ? l->chunks : 1;
    step->groups[2] = (uint32_t)(x->bh1 - x->bh0);
    return RAPT_OK;
}

/* Adds the steps of a part, cut in halves along batch and heads until its windows and its grid fit. */
rapt_status rapt_linear_add_part(const rapt_linear_launch *l, const rapt_linear_part *x, rapt_error *error)
{
    const rapt_linear_problem *p = &l->plan->linear;
    const uint64_t count = x->bh1 - x->bh0;
    rapt_error why = {0};
    if (count <= l->plan->caps.max_groups[2] && windows_fit(l, x, &why))
        return add_step(l, x, error);
    if (count == 1) {
        if (error != NULL)
            *error = why;
        return RAPT_ERROR_UNSUPPORTED;
    }
    uint64_t middle = x->bh0 + count / 2; /* whole batch entries while there are several */
    if (x->bh0 / p->heads != (x->bh1 - 1) / p->heads) {
        middle = middle / p->heads * p->heads;
        if (middle <= x->bh0)
            middle = (x->bh0 / p->heads + 1) * p->heads;
    }
    rapt_linear_part low = *x, high = *x;
    low.bh1 = high.bh0 = middle;
    const rapt_status status = rapt_linear_add_part(l, &low, error);
    return status == RAPT_OK ? rapt_linear_add_part(l, &high, error) : status;
}

/* What features are made from, and where outputs and states go in the end. */
static void fill_map_params(const rapt_plan *plan, rapt_linear_params *params)
{
    const rapt_linear_problem *o = &plan->outer;
    const rapt_linear_tensor *t = o->tensor, *state_in = &t[o->in_place ? RAPT_L_STATE_OUT : RAPT_L_STATE_IN],
                             *norm_in = &t[o->in_place ? RAPT_L_NORM_OUT : RAPT_L_NORM_IN];
    static const uint8_t sources[] = {RAPT_L_Q, RAPT_L_K, RAPT_L_V, RAPT_L_A, RAPT_L_B, RAPT_L_OUT, RAPT_L_STATE_OUT};
    uint32_t *strides = &params->source_q_stride_b; /* in this order */
    for (unsigned i = 0; i < RAPT_COUNT(sources); i++)
        for (unsigned axis = 0; axis < 3; axis++)
            strides[i * 3 + axis] = (uint32_t)t[sources[i]].stride[axis];
    params->norm_out_stride_b = (uint32_t)t[RAPT_L_NORM_OUT].stride[0];
    params->norm_out_stride_h = (uint32_t)t[RAPT_L_NORM_OUT].stride[1];
    params->state_in_stride_b = (uint32_t)state_in->stride[0];
    params->state_in_stride_h = (uint32_t)state_in->stride[1];
    params->state_in_stride_k = (uint32_t)state_in->stride[2];
    params->norm_in_stride_b = (uint32_t)norm_in->stride[0];
    params->norm_in_stride_h = (uint32_t)norm_in->stride[1];
    params->heads_scale_q = (uint32_t)t[RAPT_L_SCALE_Q].heads;
    params->heads_scale_k = (uint32_t)t[RAPT_L_SCALE_K].heads;
    params->scale_q_stride = (uint32_t)t[RAPT_L_SCALE_Q].stride[1];
    params->scale_k_stride = (uint32_t)t[RAPT_L_SCALE_K].stride[1];
    params->source_dim = o->d_k;
    params->source_dim_v = o->d_v;
    params->map_power = o->power;
    params->map_scale = o->feature_scale;
    params->map_flags = (o->standardize ? RAPT_MAP_STANDARDIZE : 0) | (o->normalize ? RAPT_MAP_NORMALIZE : 0) |
                        (o->normalize_keys ? RAPT_MAP_NORMALIZE_KEYS : 0) |
                        (o->feature == RAPT_PHI_POLY && o->power == 1.0f ? RAPT_MAP_LINEAR : 0) |
                        (o->beta && !plan->linear.beta ? RAPT_MAP_BETA : 0);
    params->state_rows = o->block * o->blocks;
    params->result_scale = o->scale;
}

void rapt_linear_fill_params(rapt_plan *plan)
{
    const rapt_linear_problem *p = &plan->linear;
    const rapt_linear_tensor *t = p->tensor;
    rapt_linear_params params = {
        .heads = (uint32_t)p->heads,
        .heads_q = (uint32_t)t[RAPT_L_Q].heads,
        .heads_k = (uint32_t)t[RAPT_L_K].heads,
        .heads_v = (uint32_t)t[RAPT_L_V].heads,
        .heads_a = (uint32_t)t[RAPT_L_A].heads,
        .heads_b = (uint32_t)t[RAPT_L_B].heads,
        .heads_decay = (uint32_t)t[RAPT_L_DECAY].heads,
        .heads_beta = (uint32_t)t[RAPT_L_BETA].heads,
        .d_k = p->d_k,
        .d_v = p->d_v,
        .tokens = (uint32_t)p->tokens,
        .total = (uint32_t)p->total,
        .scale = p->scale,
        .chunk_pitch = plan->layout.chunk_pitch,
        .step_size = plan->layout.step_size,
        .step_pitch = plan->layout.step_pitch,
    };
    uint32_t *strides = &params.q_stride_b; /* in the order of RAPT_L_* */
    for (unsigned i = 0; i <= RAPT_L_BETA; i++)
        for (unsigned axis = 0; axis < 3; axis++)
            strides[i * 3 + axis] = (uint32_t)t[i].stride[axis];
    const rapt_linear_tensor *state = &t[rapt_linear_role_tensor(p, RAPT_ROLE_STATE)],
                             *norm = &t[rapt_linear_role_tensor(p, RAPT_ROLE_NORM)];
    params.state_stride_b = (uint32_t)state->stride[0];
    params.state_stride_h = (uint32_t)state->stride[1];
    params.state_stride_k = (uint32_t)state->stride[2];
    params.norm_stride_b = (uint32_t)norm->stride[0];
    params.norm_stride_h = (uint32_t)norm->stride[1];
    if (plan->layout.carried) {
        params.state_stride_k = plan->layout.chunk_pitch;
        params.state_stride_h = params.state_stride_k * p->block * p->blocks;
        params.state_stride_b = params.state_stride_h * (uint32_t)p->heads;
        params.norm_stride_h = p->d_k;
        params.norm_stride_b = p->d_k * (uint32_t)p->heads;
    }
    params.state_in_stride_b = (uint32_t)t[RAPT_L_STATE_IN].stride[0];
    params.state_in_stride_h = (uint32_t)t[RAPT_L_STATE_IN].stride[1];
    params.state_in_stride_k = (uint32_t)t[RAPT_L_STATE_IN].stride[2];
    params.norm_in_stride_b = (uint32_t)t[RAPT_L_NORM_IN].stride[0];
    params.norm_in_stride_h = (uint32_t)t[RAPT_L_NORM_IN].stride[1];
    if (plan->outer.mapped)
        fill_map_params(plan, &params);
    for (uint32_t i = 0; i < 16; i++)
        params.lane[i] = i;
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
}

void rapt_linear_add_slot(rapt_plan *plan, rapt_role role, uint64_t bytes)
{
    const uint64_t offset = rapt_align_up(plan->workspace_bytes, 256);
    plan->slots[plan->slot_count++] = (rapt_workspace_slot){role, offset, bytes};
    plan->workspace_bytes = offset + bytes;
}

/* Bytes of running states in the workspace. */
bool rapt_linear_carry_bytes(const rapt_plan *plan, uint64_t *bytes)
{
    const rapt_linear_problem *p = &plan->linear;
    uint64_t states;
    return rapt_mul_u64(p->batch, p->heads, &states) &&
           rapt_mul_u64(states, 4ull * p->block * p->blocks * (plan->layout.chunk_pitch + p->normalize), bytes) &&
           *bytes <= RAPT_MIN(p->workspace_limit, rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE));
}

rapt_status rapt_linear_add_carry(rapt_plan *plan, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    uint64_t bytes = 0;
    if (!rapt_linear_carry_bytes(plan, &bytes))
        return rapt_fail(
            error, RAPT_ERROR_UNSUPPORTED,
            "states between spans of this problem take %llu bytes, the workspace limit is %llu: give "
            "state_out, or a higher limit",
            (unsigned long long)bytes, (unsigned long long)p->workspace_limit);
    rapt_linear_add_slot(plan, RAPT_ROLE_STATE, p->batch * p->heads * p->d_k * plan->layout.chunk_pitch * 4);
    if (p->normalize)
        rapt_linear_add_slot(plan, RAPT_ROLE_NORM, p->batch * p->heads * p->d_k * 4);
    plan->layout.carried = true;
    return RAPT_OK;
}

/* Halves a span of tokens until what one head needs of it fits; whole chunks while there are such. */
rapt_status rapt_linear_fit_span(const rapt_linear_launch *l, uint64_t unit, uint64_t *span, rapt_error *error)
{
    const rapt_linear_problem *p = &l->plan->linear;
    while (true) {
        rapt_error why = {0};
        const rapt_linear_part one = {0, 1, 0, RAPT_MIN(*span, p->tokens)};
        if (windows_fit(l, &one, &why))
            return RAPT_OK;
        if (*span <= unit || p->varlen) {
            if (error != NULL)
                *error = why;
            return RAPT_ERROR_UNSUPPORTED;
        }
        *span = RAPT_MAX(*span / 2 / unit * unit, unit);
    }
}

/* The tokens before position number `place`, or all. */
static uint64_t position(const rapt_linear_problem *p, uint32_t place)
{
    return place < p->position_count ? RAPT_MIN(p->positions[place], p->tokens) : p->tokens;
}

bool rapt_linear_next_span(const rapt_plan *plan, rapt_linear_span *s)
{
    const rapt_linear_problem *p = &plan->linear;
    s->first = !s->started;
    if (s->ends && s->place == p->position_count)
        return false;
    if (s->ends)
        s->place++;
    s->begins = s->first || s->ends;
    const uint64_t begin = s->part.t1, last = position(p, s->place);
    s->part = (rapt_linear_part){0, p->batch * p->heads, begin, RAPT_MIN(last, begin + RAPT_MAX(plan->layout.span, 1))};
    s->started = true;
    s->ends = s->part.t1 == last;
    return true;
}

uint64_t rapt_linear_chain(const rapt_linear_problem *p, uint64_t chunk)
{
    uint64_t chain = 0;
    for (uint32_t place = 0; place <= p->position_count; place++)
        chain += rapt_div_up(position(p, place) - (place > 0 ? position(p, place - 1) : 0), chunk);
    return RAPT_MAX(chain, 1);
}

uint32_t rapt_linear_column_blocks(const rapt_kernel_row *row, uint32_t columns)
{
    return (uint32_t)rapt_div_up(columns, row->rows_per_tile);
}

double rapt_linear_token_flops(const rapt_linear_problem *p)
{
    const uint64_t walked = RAPT_MAX((p->varlen ? p->total : p->batch * p->tokens) * p->heads, 1);
    return (double)p->flops / (double)walked;
}
