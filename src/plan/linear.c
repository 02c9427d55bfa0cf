/* Plans of linear attention: which form, which rows, and the steps that walk sequences in spans of bounded
 * memory. */
#include "plan/plan.h"

#include "common/linear_params.h"
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(rapt_linear_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_linear_push");
_Static_assert(sizeof(rapt_linear_params) <= sizeof(((rapt_plan *)0)->params),
               "rapt_plan.params is large enough");

#define DEFAULT_CHUNK 64
#define IN_PASSES (RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS | RAPT_ROW_ADDS)

#define REFUSE(...)                                                                                          \
    do {                                                                                                     \
        snprintf(reason, size, __VA_ARGS__);                                                                 \
        return false;                                                                                        \
    } while (0)

/* ---- rows */

static void fill_constants(rapt_plan_pipeline *pipeline, const rapt_plan *plan, uint32_t pass)
{
    const rapt_linear_problem *p = &plan->linear;
    for (uint32_t i = 0; i < pipeline->row->constant_count; i++) {
        const rapt_kernel_constant *c = &pipeline->row->constants[i];
        uint32_t value = 0;
        switch ((rapt_constant_source)c->source) {
        case RAPT_CONST_LITERAL:
            value = c->value;
            break;
        case RAPT_CONST_HEAD_DIM_QK:
            value = p->d_k;
            break;
        case RAPT_CONST_HEAD_DIM_V:
            value = p->d_v;
            break;
        case RAPT_CONST_ALIGNED:
            value = plan->aligned;
            break;
        case RAPT_CONST_VARLEN:
            value = p->varlen;
            break;
        case RAPT_CONST_DECAY:
            value = p->decay;
            break;
        case RAPT_CONST_LOG_DECAY:
            value = p->log_decay;
            break;
        case RAPT_CONST_BETA:
            value = p->beta;
            break;
        case RAPT_CONST_NORMALIZE:
            value = p->normalize;
            break;
        case RAPT_CONST_PHI:
            value = p->feature;
            break;
        case RAPT_CONST_PASS:
            value = pass;
            break;
        default: /* of attention */
            break;
        }
        pipeline->constants[i] = value;
    }
}

static bool dim_accepts(const char *name, uint32_t dim, uint32_t min, uint32_t max, uint32_t multiple,
                        char *reason, size_t size)
{
    if (dim < min || dim > max)
        REFUSE("takes %s %u to %u, not %u", name, min, max, dim);
    if (multiple > 1 && dim % multiple != 0)
        REFUSE("takes multiples of %u as %s, not %u", multiple, name, dim);
    return true;
}

/* The tensor of a role, or -1. STATE and NORM are those that are written, or those given where none are. */
static int role_tensor(const rapt_linear_problem *p, rapt_role role)
{
    switch (role) {
    case RAPT_ROLE_Q:
        return RAPT_L_Q;
    case RAPT_ROLE_K:
        return RAPT_L_K;
    case RAPT_ROLE_V:
        return RAPT_L_V;
    case RAPT_ROLE_OUT:
        return RAPT_L_OUT;
    case RAPT_ROLE_A:
        return RAPT_L_A;
    case RAPT_ROLE_B:
        return RAPT_L_B;
    case RAPT_ROLE_DECAY:
        return RAPT_L_DECAY;
    case RAPT_ROLE_BETA:
        return RAPT_L_BETA;
    case RAPT_ROLE_STATE_IN:
        return RAPT_L_STATE_IN;
    case RAPT_ROLE_NORM_IN:
        return RAPT_L_NORM_IN;
    case RAPT_ROLE_STATE:
        return p->tensor[RAPT_L_STATE_OUT].present ? RAPT_L_STATE_OUT : RAPT_L_STATE_IN;
    case RAPT_ROLE_NORM:
        return p->tensor[RAPT_L_NORM_OUT].present ? RAPT_L_NORM_OUT : RAPT_L_NORM_IN;
    default:
        return -1;
    }
}

static bool operands_accept(const rapt_kernel_row *row, const rapt_linear_problem *p, const rapt_caps *caps,
                            char *reason, size_t size)
{
    uint32_t storage = 0;
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        bool twice = false; /* two roles may share a binding: only one is bound */
        for (uint32_t j = 0; j < i; j++)
            twice |= row->operands[j].binding == op->binding;
        storage += op->kind == RAPT_OPERAND_STORAGE && !twice;
        const int tensor = role_tensor(p, (rapt_role)op->role);
        if (tensor < 0 || !p->tensor[tensor].present)
            continue;
        const rapt_linear_tensor *t = &p->tensor[tensor];
        const uint32_t usage =
            op->kind == RAPT_OPERAND_STORAGE ? RAPT_BUFFER_STORAGE : RAPT_BUFFER_UNIFORM_TEXEL;
        if (t->usage != 0 && !(t->usage & usage))
            REFUSE("needs the %s usage on the buffer of %s, which is not declared",
                   usage == RAPT_BUFFER_STORAGE ? "storage" : "uniform texel",
                   rapt_role_name((rapt_role)op->role));
        const uint32_t elements = rapt_operand_texel_elements((rapt_operand_kind)op->kind);
        bool fits = elements <= 1 || t->align >= elements * t->element;
        for (unsigned axis = 0; axis < 3 && elements > 1; axis++)
            fits &= t->stride[axis] % elements == 0;
        if (!fits)
            REFUSE("needs strides and offset of %s to be multiples of %u elements",
                   rapt_role_name((rapt_role)op->role), elements);
    }
    if (storage > caps->max_storage_buffers)
        REFUSE("needs %u storage buffers, the device has %u", storage, caps->max_storage_buffers);
    return true;
}

/* Whether each tensor's rows begin at multiples of four elements. */
static bool rows_aligned(const rapt_linear_problem *p, const uint8_t *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const rapt_linear_tensor *t = &p->tensor[tensors[i]];
        for (unsigned axis = 0; axis < 3; axis++)
            if (t->stride[axis] % 4 != 0)
                return false;
        if (t->present && t->align < 4 * t->element)
            return false;
    }
    return true;
}

/* Whether what walks may take four columns at a time. */
static bool is_aligned(const rapt_linear_problem *p)
{
    static const uint8_t tensors[] = {RAPT_L_V, RAPT_L_OUT, RAPT_L_STATE_IN, RAPT_L_STATE_OUT};
    return p->d_v % 4 == 0 && rows_aligned(p, tensors, RAPT_COUNT(tensors));
}

/* Whether it is the row that writes the output: the one that may be forced. */
static bool is_main(uint32_t kind, const uint32_t *passes)
{
    return (kind & (RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS)) && passes[0] != RAPT_PASS_CHUNKS;
}

/* Judges one row for what it is to do (`kind`, RAPT_ROW_WALKS and so on) in the passes given. */
static bool row_accepts(const rapt_plan *plan, const rapt_kernel_row *row, const rapt_verdicts *verdicts,
                        uint32_t kind, const uint32_t *passes, uint32_t pass_count, rapt_candidate *c)
{
    const rapt_linear_problem *p = &plan->linear;
    const rapt_caps *caps = &plan->caps;
    char *reason = c->reason;
    const size_t size = sizeof c->reason;
    const bool main = is_main(kind, passes);
    const bool forced = main && strcmp(p->kernel, row->name) == 0;
    const uint32_t rules[] = {RAPT_ROW_RULE_NONE, RAPT_ROW_RULE_DELTA, RAPT_ROW_RULE_DPLR};
    if (main && p->kernel[0] != 0 && !forced)
        REFUSE("another kernel is forced");
    if (!(row->supports & rules[p->rule]))
        REFUSE("does not know rule %s", rapt_linear_rule_name((rapt_linear_rule)p->rule));
    if (row->score[caps->device_class] < 0 && !forced)
        REFUSE("not meant for devices of class %s: runs only when forced by name",
               rapt_class_name(caps->device_class));
    const char *quirk = rapt_quirk(row, caps);
    if (quirk != NULL && !forced)
        REFUSE("%s", quirk);
    char blocked[sizeof c->reason - 24];
    if (!forced && verdicts != NULL && verdicts->blocked != NULL &&
        verdicts->blocked(verdicts->user, row, blocked, sizeof blocked))
        REFUSE("is on the block list: %s", blocked);
    c->passed++;
    if (!(row->dtypes >> p->dtype & 1))
        REFUSE("does not store %s", rapt_dtype_name(p->dtype));
    c->passed++;
    if (!dim_accepts("d_k", p->d_k, row->head_dim_qk_min, row->head_dim_qk_max, row->head_dim_qk_multiple,
                     reason, size) ||
        !dim_accepts("d_v", p->d_v, row->head_dim_v_min, row->head_dim_v_max, row->head_dim_v_multiple,
                     reason, size))
        return false;
    c->passed++;
    if (!rapt_device_accepts(row, caps, reason, size) || !operands_accept(row, p, caps, reason, size))
        return false;
    c->passed++;
    if (p->varlen && !(row->supports & RAPT_ROW_VARLEN))
        REFUSE("has no form for packed sequences");
    if (p->beta && !(row->supports & RAPT_ROW_BETA))
        REFUSE("has no beta%s",
               p->varlen && p->rule == RAPT_LINEAR_NONE ? " beside packed sequences: scale v by it" : "");
    if (p->normalize && !(row->supports & RAPT_ROW_NORMALIZE))
        REFUSE("has no normaliser");
    if (row->nq_max != 0 && (passes[0] != RAPT_PASS_WHOLE || p->tokens > row->nq_max))
        REFUSE("is for at most %u token%s a sequence", (unsigned)row->nq_max, row->nq_max == 1 ? "" : "s");
    if (p->decay == RAPT_DECAY_CHANNEL && !(row->supports & RAPT_ROW_GATE))
        REFUSE("has no decays per channel");
    if (p->decay != RAPT_DECAY_CHANNEL && !(row->supports & RAPT_ROW_SCALAR_DECAY))
        REFUSE("is for decays per channel");
    if (p->feature == RAPT_PHI_SOFTMAX && !(row->supports & RAPT_ROW_SOFT_PHI))
        REFUSE("has no softmax over features");
    const uint8_t query = RAPT_L_Q;
    if (!(row->supports & RAPT_ROW_UNALIGNED) && (!plan->aligned || !rows_aligned(p, &query, 1)))
        REFUSE("needs offsets, strides and d_v that are multiples of 4 elements");
    c->passed++;
    for (uint32_t i = 0; i < pass_count && verdicts != NULL && verdicts->lookup != NULL; i++) {
        const char *why = NULL;
        rapt_plan_pipeline pipeline = {.row = row, .base = row};
        fill_constants(&pipeline, plan, passes[i]);
        if (verdicts->lookup(verdicts->user, &pipeline, &why) == RAPT_VERDICT_BAD)
            REFUSE("is refused on this device and driver: %s", why ? why : "its known-answer probe failed");
    }
    return true;
}

static bool row_named(const rapt_kernel_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->row_count; i++)
        if (table->rows[i].family == RAPT_FAMILY_STATE && strcmp(table->rows[i].name, name) == 0)
            return true;
    return false;
}

/* The best row for `kind`. */
static rapt_status select_row(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                              uint32_t kind, const uint32_t *passes, uint32_t pass_count,
                              const rapt_kernel_row **out, rapt_error *error)
{
    const rapt_candidate *nearest = NULL;
    const char *what = is_main(kind, passes)                     ? "linear attention"
                       : kind & (RAPT_ROW_WALKS | RAPT_ROW_ADDS) ? "chunks"
                       : kind == RAPT_ROW_COPIES                 ? "copying"
                                                                 : "scanning";
    int best = -1;
    bool known = false;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        rapt_candidate *c = &plan->candidates[i];
        if (row->family != RAPT_FAMILY_STATE || !(row->supports & kind))
            continue;
        known |= strcmp(row->name, plan->linear.kernel) == 0;
        *c = (rapt_candidate){.row = row, .score = row->score[plan->caps.device_class]};
        if (!row_accepts(plan, row, verdicts, kind, passes, pass_count, c)) {
            if (strcmp(row->name, plan->linear.kernel) == 0)
                c->passed = 100; /* its reason is what is asked for */
            if (nearest == NULL || c->passed > nearest->passed ||
                (c->passed == nearest->passed && c->score > nearest->score))
                nearest = c;
        } else if (best < 0 || c->score > plan->candidates[best].score) {
            best = (int)i;
        }
    }
    if (best >= 0) {
        plan->candidates[best].chosen = true;
        *out = &table->rows[best];
        return RAPT_OK;
    }
    if (is_main(kind, passes) && plan->linear.kernel[0] != 0 && !known &&
        !row_named(table, plan->linear.kernel))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "no kernel of linear attention is named '%s' (rapt compile --list "
                         "names them)",
                         plan->linear.kernel);
    if (nearest == NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no kernel for %s is built in", what);
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no kernel for %s accepts this; the nearest, '%s', %s",
                     what, nearest->row->name, nearest->reason);
}

/* ---- steps */

/* Part of the problem: (batch, head) numbers [bh0, bh1), tokens [t0, t1) of each. */
typedef struct part {
    uint64_t bh0, bh1, t0, t1;
} part;

/* What is bound of a tensor. */
static rapt_window tensor_window(const rapt_linear_problem *p, int tensor, const part *x)
{
    const rapt_linear_tensor *t = &p->tensor[tensor];
    uint64_t b0 = x->bh0 / p->heads, b1 = (x->bh1 - 1) / p->heads;
    uint64_t h0 = b0 == b1 ? x->bh0 % p->heads : 0, h1 = b0 == b1 ? (x->bh1 - 1) % p->heads : p->heads - 1;
    uint64_t r0 = x->t0, r1 = x->t1;
    if (tensor == RAPT_L_STATE_IN || tensor == RAPT_L_STATE_OUT) {
        r0 = 0;
        r1 = p->d_k;
    } else if (tensor == RAPT_L_NORM_IN || tensor == RAPT_L_NORM_OUT) {
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

/* One launch kind. */
typedef struct launch {
    rapt_plan *plan;
    uint8_t pipeline;
    uint32_t pass; /* of rows that walk */
    uint32_t flags;
    uint32_t phase;
    uint32_t chunk, chunks;
    uint32_t groups_x;
    double flops; /* per token and head */
} launch;

static const rapt_workspace_slot *slot_of(const rapt_plan *plan, rapt_role role)
{
    for (uint32_t i = 0; i < plan->slot_count; i++)
        if (plan->slots[i].role == role)
            return &plan->slots[i];
    return NULL;
}

/* What the launch binds for an operand; first UINT64_MAX: nothing, another operand has its binding. */
static rapt_window role_window(const launch *l, const rapt_kernel_operand *op, const part *x)
{
    const rapt_role role = (rapt_role)op->role;
    const bool reads =
        op->binding == RAPT_BIND_TEXEL_STATE; /* a state to begin with: one of three at this binding */
    const rapt_plan *plan = l->plan;
    const rapt_linear_problem *p = &plan->linear;
    const rapt_window none = {UINT64_MAX, 0};
    const bool walks = plan->pipelines[l->pipeline].row->supports & IN_PASSES;
    const bool in_chunks = walks && l->pass != RAPT_PASS_WHOLE;
    const rapt_workspace_slot *slot = slot_of(plan, role);
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
        return (rapt_window){0, slot->bytes};
    const int tensor = role_tensor(p, role);
    return tensor < 0 ? (rapt_window){0, 0} : tensor_window(p, tensor, x);
}

/* Whether every window of the part fits what the device binds; says which does not. */
static bool windows_fit(const launch *l, const part *x, rapt_error *error)
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

static rapt_status add_step(const launch *l, const part *x, rapt_error *error)
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
                             .flags = l->flags};
    memcpy(step->push, &push, sizeof push);
    uint32_t *words = step->push;
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        const rapt_window w = role_window(l, op, x);
        step->windows[i] = w;
        if (w.first != UINT64_MAX && w.bytes != 0)
            words[rapt_binding_base(op->binding) - 1] =
                (uint32_t)(0 - w.first / rapt_plan_role_element(plan, (rapt_role)op->role));
    }
    step->groups[0] = l->groups_x;
    step->groups[1] = (row->supports & IN_PASSES) && l->chunks ? l->chunks : 1;
    step->groups[2] = (uint32_t)(x->bh1 - x->bh0);
    return RAPT_OK;
}

/* Adds the steps of a part, cut in halves along batch and heads until its windows and its grid fit. */
static rapt_status add_part(const launch *l, const part *x, rapt_error *error)
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
    part low = *x, high = *x;
    low.bh1 = high.bh0 = middle;
    const rapt_status status = add_part(l, &low, error);
    return status == RAPT_OK ? add_part(l, &high, error) : status;
}

/* ---- the forms */

static void fill_params(rapt_plan *plan)
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
    const rapt_linear_tensor *state = &t[role_tensor(p, RAPT_ROLE_STATE)],
                             *norm = &t[role_tensor(p, RAPT_ROLE_NORM)];
    params.state_stride_b = (uint32_t)state->stride[0];
    params.state_stride_h = (uint32_t)state->stride[1];
    params.state_stride_k = (uint32_t)state->stride[2];
    params.norm_stride_b = (uint32_t)norm->stride[0];
    params.norm_stride_h = (uint32_t)norm->stride[1];
    if (plan->layout.carried) {
        params.state_stride_k = plan->layout.chunk_pitch;
        params.state_stride_h = params.state_stride_k * p->d_k;
        params.state_stride_b = params.state_stride_h * (uint32_t)p->heads;
        params.norm_stride_h = p->d_k;
        params.norm_stride_b = p->d_k * (uint32_t)p->heads;
    }
    params.state_in_stride_b = (uint32_t)t[RAPT_L_STATE_IN].stride[0];
    params.state_in_stride_h = (uint32_t)t[RAPT_L_STATE_IN].stride[1];
    params.state_in_stride_k = (uint32_t)t[RAPT_L_STATE_IN].stride[2];
    params.norm_in_stride_b = (uint32_t)t[RAPT_L_NORM_IN].stride[0];
    params.norm_in_stride_h = (uint32_t)t[RAPT_L_NORM_IN].stride[1];
    for (uint32_t i = 0; i < 16; i++)
        params.lane[i] = i;
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
}

static void add_slot(rapt_plan *plan, rapt_role role, uint64_t bytes)
{
    const uint64_t offset = rapt_align_up(plan->workspace_bytes, 256);
    plan->slots[plan->slot_count++] = (rapt_workspace_slot){role, offset, bytes};
    plan->workspace_bytes = offset + bytes;
}

/* Bytes of running states in the workspace. */
static bool carry_bytes(const rapt_plan *plan, uint64_t *bytes)
{
    const rapt_linear_problem *p = &plan->linear;
    uint64_t states;
    return rapt_mul_u64(p->batch, p->heads, &states) &&
           rapt_mul_u64(states, 4ull * p->d_k * (plan->layout.chunk_pitch + p->normalize), bytes) &&
           *bytes <= RAPT_MIN(p->workspace_limit, rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE));
}

static rapt_status add_carry(rapt_plan *plan, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    uint64_t bytes = 0;
    if (!carry_bytes(plan, &bytes))
        return rapt_fail(
            error, RAPT_ERROR_UNSUPPORTED,
            "states between spans of this problem take %llu bytes, the workspace limit is %llu: give "
            "state_out, or a higher limit",
            (unsigned long long)bytes, (unsigned long long)p->workspace_limit);
    add_slot(plan, RAPT_ROLE_STATE, p->batch * p->heads * p->d_k * plan->layout.chunk_pitch * 4);
    if (p->normalize)
        add_slot(plan, RAPT_ROLE_NORM, p->batch * p->heads * p->d_k * 4);
    plan->layout.carried = true;
    return RAPT_OK;
}

/* Halves a span of tokens until what one head needs of it fits; whole chunks while there are such. */
static rapt_status fit_span(const launch *l, uint64_t unit, uint64_t *span, rapt_error *error)
{
    const rapt_linear_problem *p = &l->plan->linear;
    while (true) {
        rapt_error why = {0};
        const part one = {0, 1, 0, RAPT_MIN(*span, p->tokens)};
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

static uint32_t column_blocks(const rapt_kernel_row *row, uint32_t columns)
{
    return (uint32_t)rapt_div_up(columns, row->rows_per_tile);
}

static double token_flops(const rapt_linear_problem *p)
{
    const uint64_t walked = RAPT_MAX((p->varlen ? p->total : p->batch * p->tokens) * p->heads, 1);
    return (double)p->flops / (double)walked;
}

static bool has_operand(const rapt_kernel_row *row, rapt_role role)
{
    for (uint32_t i = 0; i < row->operand_count; i++)
        if (row->operands[i].role == role)
            return true;
    return false;
}

static rapt_status plan_recurrent(rapt_plan *plan, const rapt_kernel_table *table,
                                  const rapt_verdicts *verdicts, const rapt_kernel_row *row,
                                  double slice_flops, rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    rapt_linear_layout *layout = &plan->layout;
    const bool has_in = p->tensor[RAPT_L_STATE_IN].present, has_out = p->tensor[RAPT_L_STATE_OUT].present;
    layout->chain = p->tokens;
    plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
    fill_constants(&plan->pipelines[0], plan, RAPT_PASS_WHOLE);
    plan->pipeline_count = 1;
    if (p->empty)
        return RAPT_OK;
    launch walk = {plan, 0, RAPT_PASS_WHOLE, 0, 0, 0, 0, column_blocks(row, p->d_v), token_flops(p)};
    layout->span = p->tokens;
    const double all = (double)p->flops;
    if (all > slice_flops) /* whatever the batch is cut into, a slice ends after a span */
        layout->span = (uint64_t)RAPT_MAX((double)p->tokens * slice_flops / all, 256.0);
    rapt_status status = fit_span(&walk, 1, &layout->span, error);
    if (status != RAPT_OK)
        return status;
    const uint64_t spans = RAPT_MAX(rapt_div_up(p->tokens, RAPT_MAX(layout->span, 1)), 1);
    if (spans > 1 && !has_out) {
        status = add_carry(plan, error);
        if (status != RAPT_OK)
            return status;
    }
    /* Rows that read states at a place of their own need no copy. */
    const bool reads_in = has_operand(row, RAPT_ROLE_STATE_IN) && !p->normalize;
    const bool copies = has_in && (has_out || layout->carried) && !reads_in;
    const part all_states = {0, p->batch * p->heads, 0, p->tokens};
    if (copies) {
        const rapt_kernel_row *copy;
        status = select_row(plan, table, verdicts, RAPT_ROW_COPIES, (uint32_t[]){0}, 1, &copy, error);
        if (status != RAPT_OK)
            return status;
        plan->pipelines[1] = (rapt_plan_pipeline){.row = copy, .base = copy};
        fill_constants(&plan->pipelines[1], plan, 0);
        plan->pipeline_count = 2;
        launch l = {
            plan, 1, 0, RAPT_LINEAR_READ_IN | RAPT_LINEAR_WRITE_STATE,
            0,    0, 0, (uint32_t)rapt_div_up((uint64_t)p->d_k * rapt_div_up(p->d_v, 4), copy->rows_per_tile),
            0};
        part states = all_states;
        states.t1 = 0;
        status = add_part(&l, &states, error);
        if (status != RAPT_OK)
            return status;
        walk.phase++;
    }
    for (uint64_t span = 0; span < spans; span++) {
        part x = all_states;
        x.t0 = span * layout->span;
        x.t1 = RAPT_MIN(p->tokens, x.t0 + layout->span);
        const bool writes = has_out || layout->carried, norm_here = walk.groups_x == 1;
        walk.flags = (span == 0 && has_in && reads_in     ? RAPT_LINEAR_READ_IN
                      : span > 0 || has_in || p->in_place ? RAPT_LINEAR_READ_STATE
                                                          : 0) |
                     (writes ? RAPT_LINEAR_WRITE_STATE : 0) |
                     (writes && norm_here ? RAPT_LINEAR_WRITE_NORM : 0);
        status = add_part(&walk, &x, error);
        if (status != RAPT_OK)
            return status;
        walk.phase++;
        if (writes && p->normalize && !norm_here) {
            walk.flags =
                (walk.flags & RAPT_LINEAR_READ_STATE) | RAPT_LINEAR_WRITE_NORM | RAPT_LINEAR_NORM_ONLY;
            walk.groups_x = 1;
            status = add_part(&walk, &x, error);
            if (status != RAPT_OK)
                return status;
            walk.groups_x = column_blocks(row, p->d_v);
            walk.phase++;
        }
    }
    return RAPT_OK;
}

/* Bytes of the workspace's states of chunks that all pipelines can bind. */
static uint64_t chunks_window(const rapt_plan *plan)
{
    uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        for (uint32_t k = 0; k < plan->pipelines[i].row->operand_count; k++)
            if (plan->pipelines[i].row->operands[k].role == RAPT_ROLE_CHUNKS)
                limit = RAPT_MIN(
                    limit, rapt_window_limit(&plan->caps,
                                             (rapt_operand_kind)plan->pipelines[i].row->operands[k].kind));
    return limit;
}

/* How many chunks the workspace holds, at most all; 0: not one. *need: bytes of one. */
static uint64_t chunks_at_once(const rapt_plan *plan, uint64_t all, uint64_t carry, uint64_t *need)
{
    const rapt_linear_problem *p = &plan->linear;
    const uint64_t states = p->batch * p->heads; /* fits: checked before */
    const uint64_t widest =
        4ull * RAPT_MAX((uint64_t)p->d_k * plan->layout.chunk_pitch, plan->layout.step_size);
    uint64_t each =
        4ull * ((uint64_t)p->d_k * (plan->layout.chunk_pitch + p->normalize) + plan->layout.step_size);
    *need = UINT64_MAX;
    if (!rapt_mul_u64(states, each, need) || *need > UINT64_MAX / 4)
        return 0;
    *need += carry + 1024; /* slots begin at multiples of 256 */
    if (*need > p->workspace_limit)
        return 0;
    uint64_t count = (p->workspace_limit - carry - 1024) / (states * each);
    count = RAPT_MIN(count, chunks_window(plan) / (states * widest));
    return RAPT_MIN(RAPT_MIN(count, all), plan->caps.max_groups[1]);
}

/* The row for what chunks add: one made for that, else one that walks. */
static rapt_status select_adds(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                               const rapt_kernel_row *main, const rapt_kernel_row **row, rapt_error *error)
{
    static const uint32_t chunks[] = {RAPT_PASS_CHUNKS}, both[] = {RAPT_PASS_OUT, RAPT_PASS_CHUNKS};
    const bool walks = main->supports & RAPT_ROW_WALKS;
    if (!(walks && plan->linear.kernel[0] != 0) &&
        select_row(plan, table, verdicts, RAPT_ROW_ADDS, chunks, 1, row, NULL) == RAPT_OK)
        return RAPT_OK;
    return select_row(plan, table, verdicts, RAPT_ROW_WALKS, walks ? both : chunks, walks ? 2 : 1, row,
                      error);
}

static rapt_status plan_chunked(rapt_plan *plan, const rapt_kernel_table *table,
                                const rapt_verdicts *verdicts, const rapt_kernel_row *row, double slice_flops,
                                rapt_error *error)
{
    const rapt_linear_problem *p = &plan->linear;
    rapt_linear_layout *layout = &plan->layout;
    const bool has_in = p->tensor[RAPT_L_STATE_IN].present, has_out = p->tensor[RAPT_L_STATE_OUT].present;
    const bool products = p->rule != RAPT_LINEAR_NONE;
    layout->chunk = p->chunk ? p->chunk : DEFAULT_CHUNK;
    layout->chain = RAPT_MAX(rapt_div_up(p->tokens, layout->chunk), 1);
    layout->step_pitch = products ? (uint32_t)rapt_align_up(p->d_k, 4) : 0;
    layout->step_size = products                         ? p->d_k * layout->step_pitch
                        : p->decay == RAPT_DECAY_CHANNEL ? p->d_k
                        : p->decay == RAPT_DECAY_ONE     ? 0
                                                         : 1;
    const rapt_kernel_row *scan, *adds;
    rapt_status status = select_adds(plan, table, verdicts, row, &adds, error);
    if (status != RAPT_OK)
        return status;
    plan->pipelines[0] = (rapt_plan_pipeline){.row = row, .base = row};
    plan->pipelines[1] = (rapt_plan_pipeline){.row = adds, .base = adds};
    fill_constants(&plan->pipelines[0], plan, RAPT_PASS_OUT);
    fill_constants(&plan->pipelines[1], plan, RAPT_PASS_CHUNKS);
    status = select_row(plan, table, verdicts, products ? RAPT_ROW_PRODUCTS : RAPT_ROW_SCANS, (uint32_t[]){0},
                        1, &scan, error);
    if (status != RAPT_OK)
        return status;
    plan->pipelines[2] = (rapt_plan_pipeline){.row = scan, .base = scan};
    fill_constants(&plan->pipelines[2], plan, 0);
    plan->pipeline_count = 3;
    const uint64_t states = p->batch * p->heads;
    uint64_t carry = 0, need;
    uint64_t count = chunks_at_once(plan, layout->chain, 0, &need);
    if (count > 0 && count < layout->chain && !has_out) { /* states are carried from span to span */
        if (!carry_bytes(plan, &carry))
            count = 0;
        else
            count = chunks_at_once(plan, layout->chain, carry, &need);
    }
    if (count == 0 && need + carry <= p->workspace_limit)
        return rapt_fail(
            error, RAPT_ERROR_UNSUPPORTED,
            "the chunked form of this problem binds %llu bytes of states at once, this device %llu",
            (unsigned long long)need, (unsigned long long)chunks_window(plan));
    if (count == 0)
        return rapt_fail(
            error, RAPT_ERROR_UNSUPPORTED,
            "the chunked form of this problem needs a workspace of %llu bytes at least, the limit is %llu",
            (unsigned long long)(need + carry), (unsigned long long)p->workspace_limit);
    const double all = (double)p->flops;
    if (all > slice_flops)
        count = RAPT_MIN(count, (uint64_t)RAPT_MAX((double)layout->chain * slice_flops / all, 4.0));
    /* Tokens first: their windows may ask for shorter spans. */
    const double flops = token_flops(p);
    launch begin = {plan,
                    1,
                    RAPT_PASS_CHUNKS,
                    0,
                    0,
                    layout->chunk,
                    (uint32_t)count,
                    adds->supports & RAPT_ROW_ADDS
                        ? (uint32_t)rapt_div_up(p->d_k, adds->rows_per_tile)
                        : column_blocks(adds, p->d_v) + (products ? column_blocks(adds, p->d_k) : 0),
                    flops * (products ? 1.0 + (double)p->d_k / p->d_v : 0.6)};
    launch pass = {
        plan,
        2,
        0,
        0,
        0,
        layout->chunk,
        (uint32_t)count,
        products ? (uint32_t)rapt_div_up(p->d_v, 4)
                 : (uint32_t)rapt_div_up((uint64_t)p->d_k * layout->chunk_pitch / 4, scan->rows_per_tile),
        flops / layout->chunk * (products ? p->d_k : 1.0)};
    launch end = {plan,
                  0,
                  RAPT_PASS_OUT,
                  0,
                  0,
                  layout->chunk,
                  (uint32_t)count,
                  row->supports & RAPT_ROW_OUTPUTS ? (uint32_t)rapt_div_up(layout->chunk, row->rows_per_tile)
                                                   : column_blocks(row, p->d_v),
                  flops};
    uint64_t span = count * layout->chunk;
    status = fit_span(&begin, layout->chunk, &span, error);
    if (status == RAPT_OK)
        status = fit_span(&end, layout->chunk, &span, error);
    if (status != RAPT_OK)
        return status;
    count = RAPT_MIN(rapt_div_up(span, layout->chunk), layout->chain);
    begin.chunks = pass.chunks = end.chunks = (uint32_t)count;
    layout->span = count * layout->chunk;
    const uint64_t spans = rapt_div_up(layout->chain, count);
    add_slot(plan, RAPT_ROLE_CHUNKS, states * count * p->d_k * layout->chunk_pitch * 4);
    if (p->normalize)
        add_slot(plan, RAPT_ROLE_CHUNK_NORMS, states * count * p->d_k * 4);
    if (layout->step_size != 0)
        add_slot(plan, RAPT_ROLE_STEPS, states * count * layout->step_size * 4);
    if (spans > 1 && !has_out) {
        status = add_carry(plan, error);
        if (status != RAPT_OK)
            return status;
    }
    for (uint64_t s = 0; s < spans; s++) {
        const part x = {0, states, s * layout->span, RAPT_MIN(p->tokens, (s + 1) * layout->span)};
        /* The last span may have fewer chunks. */
        begin.chunks = pass.chunks = end.chunks =
            (uint32_t)RAPT_MAX(rapt_div_up(x.t1 - x.t0, layout->chunk), 1);
        begin.phase = (uint32_t)s * 3;
        pass.phase = begin.phase + 1;
        end.phase = begin.phase + 2;
        pass.flags = (s == 0 && has_in ? RAPT_LINEAR_READ_IN : 0) |
                     (s > 0 || p->in_place ? RAPT_LINEAR_READ_STATE : 0) |
                     (has_out || layout->carried ? RAPT_LINEAR_WRITE_STATE : 0);
        status = add_part(&begin, &x, error);
        if (status == RAPT_OK)
            status = add_part(&pass, &x, error);
        if (status == RAPT_OK)
            status = add_part(&end, &x, error);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

/* Whether chunks are worth their work: where heads and columns alone leave the device idle. Never by the
 * batch, so that a sequence's bits do not depend on what is around it. */
static bool prefers_chunks(const rapt_plan *plan, const rapt_kernel_row *row)
{
    const rapt_linear_problem *p = &plan->linear;
    const uint64_t groups = p->heads * rapt_div_up(p->d_v, 32);
    const uint64_t width = plan->caps.compute_units ? plan->caps.compute_units : 16;
    const bool tiles = row->supports & RAPT_ROW_OUTPUTS;
    const bool software =
        plan->caps.device_class == RAPT_CLASS_SOFTWARE; /* a group fills one of its threads */
    const uint64_t extra = tiles ? 1 : p->rule == RAPT_LINEAR_NONE ? 2 : 4; /* times the work, about */
    if (p->form != RAPT_LINEAR_AUTO)
        return p->form == RAPT_LINEAR_CHUNKED;
    if (tiles && p->kernel[0] != 0)
        return true;
    return p->tokens > 2ull * (p->chunk ? p->chunk : DEFAULT_CHUNK) &&
           groups * (software ? extra : 1) < width * (software ? 1 : 4);
}

rapt_status rapt_linear_plan_make(rapt_plan *plan, const rapt_linear_problem *problem, const rapt_caps *caps,
                                  const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                  rapt_error *error)
{
    static const uint32_t whole[] = {RAPT_PASS_WHOLE}, chunked[] = {RAPT_PASS_OUT};
    const uint32_t any = RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS;
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->op = RAPT_OP_LINEAR;
    plan->linear = *problem;
    plan->caps = *caps;
    plan->problem = (rapt_problem){.dtype = problem->dtype,
                                   .head_dim_qk = problem->d_k,
                                   .head_dim_v = problem->d_v,
                                   .slice_ms = problem->slice_ms,
                                   .varlen = problem->varlen,
                                   .scale = problem->scale,
                                   .flops = problem->flops,
                                   .bytes_read = problem->bytes_read,
                                   .bytes_written = problem->bytes_written};
    memcpy(plan->problem.kernel, problem->kernel, sizeof plan->problem.kernel);
    uint64_t states;
    if (!rapt_mul_u64(problem->batch, problem->heads, &states) || states > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "batch %llu times %llu heads is more than 2^32",
                         (unsigned long long)problem->batch, (unsigned long long)problem->heads);
    plan->candidates =
        rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    /* What was measured is attention's; walks reach a part of it. */
    plan->flops_per_second = rapt_assumed_flops_per_second(caps) / 4;
    plan->group = plan->splits = 1;
    plan->aligned = is_aligned(problem);
    const double slice_flops = plan->flops_per_second * (double)problem->slice_ms * 1e-3;
    rapt_status status = RAPT_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        plan->layout = (rapt_linear_layout){.chunk_pitch = (uint32_t)rapt_align_up(problem->d_v, 4)};
        plan->pipeline_count = plan->step_count = plan->slot_count = 0;
        plan->workspace_bytes = 0;
        const rapt_kernel_row *row;
        status = select_row(plan, table, verdicts, any, chunked, 1, &row, error);
        if (status != RAPT_OK && problem->form == RAPT_LINEAR_CHUNKED)
            return status;
        const bool chunks = status == RAPT_OK && attempt == 0 && !problem->empty && prefers_chunks(plan, row);
        if (!chunks)
            status = select_row(plan, table, verdicts, RAPT_ROW_WALKS, whole, 1, &row, error);
        if (status == RAPT_OK)
            status = chunks ? plan_chunked(plan, table, verdicts, row, slice_flops, error)
                            : plan_recurrent(plan, table, verdicts, row, slice_flops, error);
        if (status == RAPT_OK || !chunks || problem->form != RAPT_LINEAR_AUTO)
            break; /* else chunks were only what would have been faster */
    }
    if (status != RAPT_OK)
        return status;
    if (error != NULL)
        error->status = RAPT_OK;
    fill_params(plan);
    rapt_plan_cut_slices(plan, slice_flops);
    return RAPT_OK;
}
