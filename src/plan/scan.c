/* Plans of scans: which form, which rows, and the steps that walk sequences in spans of bounded memory. */
#include "plan/plan.h"

#include "common/scan_params.h"
#include "plan/turns.h"
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(rapt_scan_push) == RAPT_PUSH_WORDS * 4, "rapt_step.push is a rapt_scan_push");
_Static_assert(sizeof(rapt_scan_params) <= sizeof(((rapt_plan *)0)->params), "rapt_plan.params is large enough");
_Static_assert(RAPT_S_COUNT == RAPT_SCAN_TENSORS, "kernels count tensors as problems do");

#define LEAST_CHUNK 64u
#define MOST_CHUNK 1024u

#define REFUSE(...)                                                                                                    \
    do {                                                                                                               \
        snprintf(reason, size, __VA_ARGS__);                                                                           \
        return false;                                                                                                  \
    } while (0)

/* ---- rows */

static uint32_t kernel_flags(const rapt_scan_problem *p)
{
    const uint32_t known = RAPT_SCAN_LOG_A | RAPT_SCAN_BLEND | RAPT_SCAN_REVERSE | RAPT_SCAN_COMPLEX | RAPT_SCAN_SOFTPLUS |
                           RAPT_SCAN_CHANNELS_LAST;
    return (p->flags & known) | (p->varlen ? RAPT_SCAN_HAS_VARLEN : 0) |
           (p->tensor[RAPT_S_Z].present ? RAPT_SCAN_HAS_Z : 0) | (p->tensor[RAPT_S_SKIP].present ? RAPT_SCAN_HAS_SKIP : 0);
}

static void fill_constants(rapt_plan_pipeline *pipeline, const rapt_plan *plan, uint32_t pass)
{
    const rapt_scan_problem *p = &plan->scan;
    for (uint32_t i = 0; i < pipeline->row->constant_count; i++) {
        const rapt_kernel_constant *c = &pipeline->row->constants[i];
        uint32_t value = 0;
        switch ((rapt_constant_source)c->source) {
        case RAPT_CONST_LITERAL:
            value = c->value;
            break;
        case RAPT_CONST_SCAN_OP:
            value = p->op;
            break;
        case RAPT_CONST_SCAN_FLAGS:
            value = kernel_flags(p);
            break;
        case RAPT_CONST_COEF:
            value = p->coef;
            break;
        case RAPT_CONST_STATES:
            value = p->states;
            break;
        case RAPT_CONST_SCAN_ACT:
            value = p->act;
            break;
        case RAPT_CONST_ALIGNED:
            value = plan->aligned;
            break;
        case RAPT_CONST_PASS:
            value = pass;
            break;
        default: /* of other operators */
            break;
        }
        pipeline->constants[i] = value;
    }
}

/* The tensor of a role, or -1. STATE is the one that is written, or the one given where none is. */
static int role_tensor(const rapt_scan_problem *p, rapt_role role)
{
    switch (role) {
    case RAPT_ROLE_X:
        return RAPT_S_X;
    case RAPT_ROLE_COEF:
        return RAPT_S_COEF;
    case RAPT_ROLE_SCAN_B:
        return RAPT_S_B;
    case RAPT_ROLE_OUT:
        return RAPT_S_OUT;
    case RAPT_ROLE_SCAN_C:
        return RAPT_S_C;
    case RAPT_ROLE_DT:
        return RAPT_S_DT;
    case RAPT_ROLE_SCAN_Z:
        return RAPT_S_Z;
    case RAPT_ROLE_SKIP:
        return RAPT_S_SKIP;
    case RAPT_ROLE_STATE_IN:
        return p->flags & RAPT_SCAN_IN_PLACE ? RAPT_S_STATE_OUT : RAPT_S_STATE_IN;
    case RAPT_ROLE_STATE:
        return p->tensor[RAPT_S_STATE_OUT].present ? RAPT_S_STATE_OUT : RAPT_S_STATE_IN;
    default:
        return -1;
    }
}

static bool operands_accept(const rapt_kernel_row *row, const rapt_scan_problem *p, const rapt_caps *caps, char *reason,
                            size_t size)
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
        const rapt_scan_tensor *t = &p->tensor[tensor];
        const uint32_t usage = op->kind == RAPT_OPERAND_STORAGE ? RAPT_BUFFER_STORAGE : RAPT_BUFFER_UNIFORM_TEXEL;
        if (t->usage != 0 && !(t->usage & usage))
            REFUSE("needs the %s usage on the buffer of %s, which is not declared",
                   usage == RAPT_BUFFER_STORAGE ? "storage" : "uniform texel", rapt_role_name((rapt_role)op->role));
        const uint32_t elements = rapt_operand_texel_elements((rapt_operand_kind)op->kind);
        bool fits = elements <= 1 || t->align >= elements * t->element;
        for (unsigned axis = 0; axis < RAPT_S_CHANNEL && elements > 1; axis++)
            fits &= t->stride[axis] % elements == 0;
        if (!fits)
            REFUSE("needs strides and offset of %s to be multiples of %u elements", rapt_role_name((rapt_role)op->role),
                   elements);
    }
    if (storage > caps->max_storage_buffers)
        REFUSE("needs %u storage buffers, the device has %u", storage, caps->max_storage_buffers);
    return true;
}

/* Whether what walks may take four channels at a time. */
static bool is_aligned(const rapt_scan_problem *p)
{
    const uint8_t tensors[] = {RAPT_S_X, RAPT_S_OUT, RAPT_S_COEF, RAPT_S_Z};
    if (p->channels % 4 != 0)
        return false;
    for (size_t i = 0; i < RAPT_COUNT(tensors); i++) {
        const rapt_scan_tensor *t = &p->tensor[tensors[i]];
        if (!t->present || (tensors[i] == RAPT_S_COEF && p->coef == RAPT_COEF_SHARED))
            continue;
        for (unsigned axis = 0; axis < RAPT_S_CHANNEL; axis++)
            if (t->stride[axis] % 4 != 0)
                return false;
        if (t->align < 4 * t->element || t->stride[RAPT_S_CHANNEL] != 1)
            return false;
    }
    return true;
}

/* Judges one row for what it is to do (RAPT_ROW_SCAN_WALKS, _CARRIES or _MAPS) in the passes given. */
static bool row_accepts(const rapt_plan *plan, const rapt_kernel_row *row, const rapt_verdicts *verdicts, uint32_t kind,
                        const uint32_t *passes, uint32_t pass_count, rapt_candidate *c)
{
    const rapt_scan_problem *p = &plan->scan;
    const rapt_caps *caps = &plan->caps;
    char *reason = c->reason;
    const size_t size = sizeof c->reason;
    const bool main = kind != RAPT_ROW_SCAN_CARRIES, forced = main && strcmp(p->kernel, row->name) == 0;
    if (main && p->kernel[0] != 0 && !forced)
        REFUSE("another kernel is forced");
    if (!(row->supports >> (RAPT_ROW_SCAN_OP_SHIFT + p->op) & 1))
        REFUSE("does not know operation %s", rapt_scan_op_name(p->op));
    if (row->score[caps->device_class] < 0 && !forced)
        REFUSE("not meant for devices of class %s: runs only when forced by name", rapt_class_name(caps->device_class));
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
    const bool numbers = p->op == RAPT_SCAN_SSM || p->op == RAPT_SCAN_SELECTIVE, pairs = p->flags & RAPT_SCAN_COMPLEX;
    if (numbers && !(row->supports & (pairs ? RAPT_ROW_SCAN_COMPLEX : RAPT_ROW_SCAN_REAL)))
        REFUSE("is for %s states", pairs ? "real" : "complex");
    const bool gated = p->tensor[RAPT_S_Z].present || p->tensor[RAPT_S_SKIP].present;
    if (p->op == RAPT_SCAN_CONV && p->generated != !!(row->supports & RAPT_ROW_SCAN_GENERATED))
        REFUSE("is for %s", p->generated ? "taps that all tokens share" : "taps of every token");
    if (kind == RAPT_ROW_SCAN_WALKS && gated && !(row->supports & RAPT_ROW_SCAN_GATED))
        REFUSE("has no place for skip and z");
    c->passed++;
    if (!rapt_device_accepts(row, caps, reason, size) || !operands_accept(row, p, caps, reason, size))
        return false;
    c->passed++;
    if (!(row->supports & RAPT_ROW_UNALIGNED) && !plan->aligned)
        REFUSE("needs offsets, strides and channels that are multiples of 4 elements");
    if (row->nq_max != 0 && (pass_count > 1 || passes[0] != RAPT_SCAN_WHOLE))
        REFUSE("walks whole sequences only");
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
        if (table->rows[i].family == RAPT_FAMILY_SCAN && strcmp(table->rows[i].name, name) == 0)
            return true;
    return false;
}

/* The best row for `kind`. */
static rapt_status select_row(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, uint32_t kind,
                              const uint32_t *passes, uint32_t pass_count, const rapt_kernel_row **out, rapt_error *error)
{
    const rapt_candidate *nearest = NULL;
    const char *what = kind != RAPT_ROW_SCAN_CARRIES ? "scans" : "states of chunks";
    int best = -1;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        rapt_candidate *c = &plan->candidates[i];
        if (row->family != RAPT_FAMILY_SCAN || !(row->supports & kind))
            continue;
        *c = (rapt_candidate){.row = row, .score = row->score[plan->caps.device_class]};
        if (!row_accepts(plan, row, verdicts, kind, passes, pass_count, c)) {
            if (strcmp(row->name, plan->scan.kernel) == 0)
                c->passed = 100; /* its reason is what is asked for */
            if (nearest == NULL || c->passed > nearest->passed || (c->passed == nearest->passed && c->score > nearest->score))
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
    if (kind != RAPT_ROW_SCAN_CARRIES && plan->scan.kernel[0] != 0 && !row_named(table, plan->scan.kernel))
        return rapt_fail(error, RAPT_ERROR_INVALID, "no kernel of scans is named '%s' (rapt compile --list names them)",
                         plan->scan.kernel);
    if (nearest == NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no kernel for %s is built in", what);
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no kernel for %s accepts this; the nearest, '%s', %s", what,
                     nearest->row->name, nearest->reason);
}

/* ---- steps */

/* Part of the problem: (batch, head) numbers [bh0, bh1), tokens [t0, t1) of each, in the order of the scan. */
typedef struct part {
    uint64_t bh0, bh1, t0, t1;
} part;

/* One launch kind. */
typedef struct launch {
    rapt_plan *plan;
    uint8_t pipeline;
    uint32_t pass; /* of rows that walk */
    uint32_t flags;
    uint32_t phase;
    uint32_t chunk, chunks;
    uint32_t groups_x;
    uint32_t tokens; /* of a workgroup, without a recurrence */
    double flops; /* per token and head */
} launch;

/* What is bound of a tensor. */
static rapt_window tensor_window(const rapt_scan_problem *p, int tensor, const part *x)
{
    const rapt_scan_tensor *t = &p->tensor[tensor];
    if (t->whole)
        return (rapt_window){0, t->bytes};
    const uint64_t b0 = x->bh0 / p->heads, b1 = (x->bh1 - 1) / p->heads;
    uint64_t h0 = b0 == b1 ? x->bh0 % p->heads : 0, h1 = b0 == b1 ? (x->bh1 - 1) % p->heads : p->heads - 1;
    uint64_t t0 = p->flags & RAPT_SCAN_REVERSE ? p->tokens - x->t1 : x->t0, t1 = t0 + (x->t1 - x->t0);
    if (p->varlen) { /* where a sequence lies is known on the device only */
        t0 = 0;
        t1 = p->total;
    }
    if (t->stride[RAPT_S_TOKEN] == 0 && t->size[RAPT_S_TOKEN] <= 1) {
        t0 = 0;
        t1 = t->size[RAPT_S_TOKEN];
    }
    if (t->bytes == 0 || t1 <= t0)
        return (rapt_window){0, 0};
    h0 = h0 * t->size[RAPT_S_HEAD] / p->heads;
    h1 = h1 * t->size[RAPT_S_HEAD] / p->heads;
    const uint64_t first = b0 * t->stride[RAPT_S_BATCH] + h0 * t->stride[RAPT_S_HEAD] + t0 * t->stride[RAPT_S_TOKEN];
    const uint64_t last = b1 * t->stride[RAPT_S_BATCH] + h1 * t->stride[RAPT_S_HEAD] + (t1 - 1) * t->stride[RAPT_S_TOKEN] +
                          (t->size[RAPT_S_CHANNEL] - 1) * t->stride[RAPT_S_CHANNEL] +
                          (t->size[RAPT_S_NUMBER] - 1) * t->stride[RAPT_S_NUMBER] + 1;
    return (rapt_window){first * t->element, (last - first) * t->element};
}

static const rapt_workspace_slot *slot_of(const rapt_plan *plan, rapt_role role)
{
    for (uint32_t i = 0; i < plan->slot_count; i++)
        if (plan->slots[i].role == role)
            return &plan->slots[i];
    return NULL;
}

/* What a convolution reads of x for its outputs: the taps' reach around them, or whole grids. */
static part reach(const launch *l, const part *x)
{
    const rapt_scan_problem *p = &l->plan->scan;
    const uint64_t behind = p->taps[0] ? p->taps[0] - 1 : 0;
    part out = *x;
    if (p->op == RAPT_SCAN_CONV2D) {
        return (part){x->bh0 / p->heads * p->heads, rapt_div_up(x->bh1, p->heads) * p->heads, 0, p->tokens};
    }
    out.t1 = RAPT_MIN(p->tokens, x->t1 + p->ahead);
    if (l->flags & RAPT_SCAN_WRITE_STATE) /* the last part of the sequence, or all of it */
        out.t1 = p->tokens;
    out.t0 = out.t0 > behind ? out.t0 - behind : 0;
    return out;
}

/* What the launch binds for an operand; first UINT64_MAX: nothing, another operand has its binding. */
static rapt_window role_window(const launch *l, const rapt_kernel_operand *op, const part *x)
{
    const rapt_role role = (rapt_role)op->role;
    const rapt_plan *plan = l->plan;
    const rapt_scan_problem *p = &plan->scan;
    const rapt_window none = {UINT64_MAX, 0}, dummy = {0, 0};
    const bool walks = plan->pipelines[l->pipeline].row->supports & RAPT_ROW_SCAN_WALKS;
    const bool in_chunks = walks && l->pass != RAPT_SCAN_WHOLE, recurs = rapt_scan_recurs(p);
    switch (role) {
    case RAPT_ROLE_X:
        if (!recurs) {
            const part around = reach(l, x);
            return tensor_window(p, RAPT_S_X, &around);
        }
        break;
    case RAPT_ROLE_OUT:
        if (l->pass == RAPT_SCAN_CHUNKS)
            return dummy;
        break;
    case RAPT_ROLE_STATE:
        if (in_chunks)
            return none;
        if (!(l->flags & ((recurs ? RAPT_SCAN_READ_STATE : 0) | RAPT_SCAN_WRITE_STATE)))
            return dummy;
        break;
    case RAPT_ROLE_CHUNKS:
        if (walks && !in_chunks)
            return none;
        break;
    case RAPT_ROLE_STATE_IN:
        if (!(l->flags & (recurs ? RAPT_SCAN_READ_IN : RAPT_SCAN_READ_STATE)))
            return dummy;
        break;
    case RAPT_ROLE_CU_Q:
        return (rapt_window){0, p->varlen ? (p->batch + 1) * 4 : 0};
    default:
        break;
    }
    const rapt_workspace_slot *slot = slot_of(plan, role);
    if (slot != NULL)
        return (rapt_window){0, slot->bytes};
    const int tensor = role_tensor(p, role);
    return tensor < 0 ? dummy : tensor_window(p, tensor, x);
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
    const rapt_status status = rapt_plan_new_step(plan, &step, error);
    if (status != RAPT_OK)
        return status;
    step->pipeline = l->pipeline;
    step->phase = l->phase;
    const double flops = l->flops * (double)(x->bh1 - x->bh0) * (double)(x->t1 - x->t0);
    step->flops = flops < 1.8e19 ? (uint64_t)flops : UINT64_MAX;
    const rapt_scan_push push = {.bh0 = (uint32_t)x->bh0,
                                 .token0 = (uint32_t)x->t0,
                                 .token1 = (uint32_t)x->t1,
                                 .chunk = l->chunk ? l->chunk : (uint32_t)(x->t1 - x->t0),
                                 .chunks = l->chunks,
                                 .flags = l->flags};
    memcpy(step->push, &push, sizeof push);
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        const rapt_window w = role_window(l, op, x);
        step->windows[i] = w;
        if (w.first != UINT64_MAX && w.bytes != 0)
            step->push[rapt_binding_base(op->binding) - 1] =
                (uint32_t)(0 - w.first / rapt_plan_role_element(plan, (rapt_role)op->role));
    }
    step->groups[0] = l->groups_x;
    step->groups[1] = (row->supports & RAPT_ROW_SCAN_WALKS) && l->chunks ? l->chunks
                      : l->tokens ? (uint32_t)RAPT_MAX(rapt_div_up(x->t1 - x->t0, l->tokens), 1)
                                  : 1;
    step->groups[2] = (uint32_t)(x->bh1 - x->bh0);
    return RAPT_OK;
}

/* Adds the steps of a part, cut in halves along batch and heads until its windows and its grid fit. */
static rapt_status add_part(const launch *l, const part *x, rapt_error *error)
{
    const rapt_scan_problem *p = &l->plan->scan;
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
    const rapt_scan_problem *p = &plan->scan;
    const uint32_t pitch = plan->scan_layout.pitch;
    rapt_scan_params params = {.heads = (uint32_t)p->heads,
                               .channels = p->channels,
                               .states = p->states,
                               .planes = rapt_scan_planes(p),
                               .tokens = (uint32_t)p->tokens,
                               .total = (uint32_t)p->total,
                               .pitch = pitch,
                               .taps = p->taps[0],
                               .taps_x = p->taps[1],
                               .ahead = p->ahead,
                               .axis_b = (uint32_t)p->heads,
                               .axis_c = (uint32_t)p->tokens};
    for (unsigned i = 0; i < RAPT_S_COUNT; i++) {
        const int which = i == RAPT_SCAN_STATE      ? role_tensor(p, RAPT_ROLE_STATE)
                          : i == RAPT_SCAN_STATE_IN ? role_tensor(p, RAPT_ROLE_STATE_IN)
                                                    : (int)i;
        const rapt_scan_tensor *t = &p->tensor[which];
        for (unsigned axis = 0; axis < RAPT_S_AXES; axis++)
            params.place[i][axis] = (uint32_t)t->stride[axis];
        params.place[i][RAPT_S_AXES] = (uint32_t)t->size[RAPT_S_HEAD];
    }
    if (plan->scan_layout.carried) {
        uint32_t *state = params.place[RAPT_SCAN_STATE];
        state[RAPT_S_NUMBER] = pitch;
        state[RAPT_S_CHANNEL] = 1;
        state[RAPT_S_HEAD] = pitch * p->states;
        state[RAPT_S_BATCH] = pitch * p->states * (uint32_t)p->heads;
        state[RAPT_S_AXES] = (uint32_t)p->heads;
    }
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

/* Bytes of `count` sets of numbers for every (batch, head): chunks, or the running state. */
static bool numbers_bytes(const rapt_plan *plan, uint64_t count, uint32_t planes, uint64_t *bytes)
{
    const rapt_scan_problem *p = &plan->scan;
    return rapt_mul_u64(p->batch, p->heads, bytes) && rapt_mul_u64(*bytes, count, bytes) &&
           rapt_mul_u64(*bytes, 4ull * planes * plan->scan_layout.pitch, bytes);
}

/* A place for the running state where the caller has none. */
static rapt_status add_carry(rapt_plan *plan, rapt_error *error)
{
    const rapt_scan_problem *p = &plan->scan;
    uint64_t bytes = 0;
    if (p->tensor[RAPT_S_STATE_OUT].present)
        return RAPT_OK;
    if (!numbers_bytes(plan, 1, p->states, &bytes) ||
        bytes > RAPT_MIN(p->workspace_limit, rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE)))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "states between spans of this problem take %llu bytes, the workspace limit is %llu: give "
                         "state_out, or a higher limit",
                         (unsigned long long)bytes, (unsigned long long)p->workspace_limit);
    add_slot(plan, RAPT_ROLE_STATE, bytes);
    plan->scan_layout.carried = true;
    return RAPT_OK;
}

/* Halves a span of tokens until what one head needs of it fits; whole chunks while there are such. */
static rapt_status fit_span(const launch *l, uint64_t unit, uint64_t *span, rapt_error *error)
{
    const rapt_scan_problem *p = &l->plan->scan;
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

/* Workgroups along the channels, and of what passes states on. */
static uint32_t channel_groups(const rapt_kernel_row *row, const rapt_scan_problem *p)
{
    return (uint32_t)rapt_div_up(p->channels, row->rows_per_tile);
}
static uint32_t carry_groups(const rapt_kernel_row *row, const rapt_scan_problem *p)
{
    return (uint32_t)rapt_div_up((uint64_t)p->channels * p->states, row->rows_per_tile);
}

static double token_flops(const rapt_scan_problem *p)
{
    const uint64_t walked = RAPT_MAX((p->varlen ? p->total : p->batch * p->tokens) * p->heads, 1);
    return (double)p->flops / (double)walked;
}

static void set_pipeline(rapt_plan *plan, uint32_t n, const rapt_kernel_row *row, uint32_t pass)
{
    plan->pipelines[n] = (rapt_plan_pipeline){.row = row, .base = row};
    fill_constants(&plan->pipelines[n], plan, pass);
    plan->pipeline_count = n + 1;
}

static rapt_status plan_recurrent(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                  const rapt_kernel_row *row, double slice_flops, rapt_error *error)
{
    const rapt_scan_problem *p = &plan->scan;
    const bool has_in = p->tensor[RAPT_S_STATE_IN].present, has_out = p->tensor[RAPT_S_STATE_OUT].present;
    const bool in_place = p->flags & RAPT_SCAN_IN_PLACE;
    uint64_t span = p->tokens;
    plan->scan_layout.chain = p->tokens;
    set_pipeline(plan, 0, row, RAPT_SCAN_WHOLE);
    if (p->empty)
        return RAPT_OK;
    launch walk = {.plan = plan, .pass = RAPT_SCAN_WHOLE, .groups_x = channel_groups(row, p), .flops = token_flops(p)};
    if ((double)p->flops > slice_flops) /* whatever the batch is cut into, a slice ends after a span */
        span = (uint64_t)RAPT_MAX((double)p->tokens * slice_flops / (double)p->flops, 256.0);
    span = RAPT_MIN(span, rapt_most_steps(&plan->caps, rapt_scan_token_turns(p)));
    rapt_status status = fit_span(&walk, 1, &span, error);
    plan->scan_layout.span = span;
    const uint64_t spans = RAPT_MAX(rapt_div_up(p->tokens, RAPT_MAX(span, 1)), 1);
    if (status == RAPT_OK && spans > 1)
        status = add_carry(plan, error);
    if (status != RAPT_OK)
        return status;
    const part all = {0, p->batch * p->heads, 0, 0};
    if (has_in && (has_out || plan->scan_layout.carried)) { /* the state to begin with goes where the running one is */
        const rapt_kernel_row *carry;
        status = select_row(plan, table, verdicts, RAPT_ROW_SCAN_CARRIES, (uint32_t[]){0}, 1, &carry, error);
        if (status != RAPT_OK)
            return status;
        set_pipeline(plan, 1, carry, 0);
        const launch copy = {.plan = plan,
                             .pipeline = 1,
                             .flags = RAPT_SCAN_READ_IN | RAPT_SCAN_WRITE_STATE,
                             .groups_x = carry_groups(carry, p)};
        status = add_part(&copy, &all, error);
        walk.phase++;
    }
    for (uint64_t n = 0; n < spans && status == RAPT_OK; n++) {
        part x = all;
        x.t0 = n * span;
        x.t1 = RAPT_MIN(p->tokens, x.t0 + span);
        walk.flags = (n > 0 || has_in || in_place ? RAPT_SCAN_READ_STATE : 0) |
                     (has_out || plan->scan_layout.carried ? RAPT_SCAN_WRITE_STATE : 0);
        status = add_part(&walk, &x, error);
        walk.phase++;
    }
    return status;
}

static rapt_status plan_map(rapt_plan *plan, const rapt_kernel_row *row, double slice_flops, rapt_error *error)
{
    const rapt_scan_problem *p = &plan->scan;
    const bool has_out = p->tensor[RAPT_S_STATE_OUT].present, in_place = p->flags & RAPT_SCAN_IN_PLACE;
    set_pipeline(plan, 0, row, 0);
    if (p->empty)
        return RAPT_OK;
    launch map = {.plan = plan,
                  .groups_x = channel_groups(row, p),
                  .tokens = row->keys_per_tile,
                  .flags = p->tensor[RAPT_S_STATE_IN].present || in_place ? RAPT_SCAN_READ_STATE : 0,
                  .flops = token_flops(p)};
    uint64_t span = RAPT_MIN(p->tokens, (uint64_t)plan->caps.max_groups[1] * map.tokens);
    if ((double)p->flops > slice_flops)
        span = RAPT_MIN(span, (uint64_t)RAPT_MAX((double)p->tokens * slice_flops / (double)p->flops, 256.0));
    rapt_status status = rapt_check_turns(&plan->caps, rapt_conv_turns(p), "a convolution of so many taps", error);
    if (status == RAPT_OK)
        status = fit_span(&map, 1, &span, error);
    if (status != RAPT_OK)
        return status;
    plan->scan_layout.span = span;
    plan->scan_layout.chain = 1;
    const uint64_t spans = RAPT_MAX(rapt_div_up(p->tokens, RAPT_MAX(span, 1)), 1);
    /* A state in place is written when nobody reads it any more: by those who read it, or a phase later. */
    const bool later = has_out && in_place && p->tokens > map.tokens;
    part x = {0, p->batch * p->heads, 0, 0};
    for (uint64_t n = 0; n < spans && status == RAPT_OK; n++) {
        x.t0 = n * span;
        x.t1 = RAPT_MIN(p->tokens, x.t0 + span);
        if (n + 1 == spans && has_out && !later)
            map.flags |= RAPT_SCAN_WRITE_STATE;
        status = add_part(&map, &x, error);
    }
    if (status == RAPT_OK && later) {
        map.flags |= RAPT_SCAN_WRITE_STATE | RAPT_SCAN_STATE_ONLY;
        map.phase = 1;
        x.t0 = x.t1; /* no tokens but the last that the taps reach */
        status = add_part(&map, &x, error);
    }
    return status;
}

/* Tokens of a chunk: enough of them to fill the device, few enough to leave it something to do at once. */
static uint32_t choose_chunk(const rapt_plan *plan, const rapt_kernel_row *row)
{
    const rapt_scan_problem *p = &plan->scan;
    const uint64_t groups = RAPT_MAX(p->heads * channel_groups(row, p), 1);
    const uint64_t width = plan->caps.compute_units ? plan->caps.compute_units : 16;
    const bool software = plan->caps.device_class == RAPT_CLASS_SOFTWARE;
    const uint64_t wanted = RAPT_MAX(width * (software ? 1 : 8) / groups, 1);
    if (p->chunk != 0)
        return p->chunk;
    const uint64_t most = RAPT_MIN(MOST_CHUNK, RAPT_MAX(rapt_most_steps(&plan->caps, rapt_scan_token_turns(p)) / 4 * 4, 4));
    return (uint32_t)RAPT_MIN(RAPT_MAX(rapt_align_up(rapt_div_up(p->tokens, wanted), 4), LEAST_CHUNK), most);
}

#define CARRY_TURNS 8u /* turns of loops that passing states on takes for each chunk */

static rapt_status plan_chunked(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                const rapt_kernel_row *row, double slice_flops, rapt_error *error)
{
    const rapt_scan_problem *p = &plan->scan;
    rapt_scan_layout *layout = &plan->scan_layout;
    const bool has_in = p->tensor[RAPT_S_STATE_IN].present, has_out = p->tensor[RAPT_S_STATE_OUT].present;
    const bool in_place = p->flags & RAPT_SCAN_IN_PLACE;
    const rapt_kernel_row *carry;
    layout->chunk = choose_chunk(plan, row);
    const uint64_t chunks = RAPT_MAX(rapt_div_up(p->tokens, layout->chunk), 1);
    layout->chain = chunks + 2ull * RAPT_MIN(layout->chunk, p->tokens);
    set_pipeline(plan, 0, row, RAPT_SCAN_OUTPUTS);
    set_pipeline(plan, 1, row, RAPT_SCAN_CHUNKS);
    rapt_status status = select_row(plan, table, verdicts, RAPT_ROW_SCAN_CARRIES, (uint32_t[]){0}, 1, &carry, error);
    if (status != RAPT_OK)
        return status;
    set_pipeline(plan, 2, carry, 0);
    status = rapt_check_turns(&plan->caps, layout->chunk * rapt_scan_token_turns(p), "a chunk of so many tokens", error);
    if (status != RAPT_OK)
        return status;
    uint64_t one = 0, room = RAPT_MIN(p->workspace_limit, rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE));
    if (!numbers_bytes(plan, 1, rapt_scan_planes(p), &one) || one > UINT64_MAX / 4 || 2 * one + 512 > room)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "the chunked form of this problem needs a workspace of %llu bytes at least, there may be %llu",
                         (unsigned long long)(2 * one + 512), (unsigned long long)room);
    uint64_t count = RAPT_MIN(RAPT_MIN((room - one - 512) / one, chunks), plan->caps.max_groups[1]);
    if ((double)p->flops * 2 > slice_flops)
        count = RAPT_MIN(count, (uint64_t)RAPT_MAX((double)chunks * slice_flops / ((double)p->flops * 2), 4.0));
    count = RAPT_MIN(count, rapt_most_steps(&plan->caps, CARRY_TURNS));
    const double flops = token_flops(p);
    launch begin = {.plan = plan, .pipeline = 1, .pass = RAPT_SCAN_CHUNKS, .chunk = layout->chunk,
                    .groups_x = channel_groups(row, p), .flops = flops};
    launch pass = {.plan = plan, .pipeline = 2, .chunk = layout->chunk, .groups_x = carry_groups(carry, p),
                   .flops = flops / layout->chunk};
    launch end = begin;
    end.pipeline = 0;
    end.pass = RAPT_SCAN_OUTPUTS;
    uint64_t span = count * layout->chunk;
    status = fit_span(&begin, layout->chunk, &span, error);
    if (status == RAPT_OK)
        status = fit_span(&end, layout->chunk, &span, error);
    if (status != RAPT_OK)
        return status;
    count = RAPT_MIN(rapt_div_up(span, layout->chunk), chunks);
    layout->span = count * layout->chunk;
    const uint64_t spans = rapt_div_up(chunks, count);
    add_slot(plan, RAPT_ROLE_CHUNKS, one * count);
    if (spans > 1)
        status = add_carry(plan, error);
    for (uint64_t n = 0; n < spans && status == RAPT_OK; n++) {
        const part x = {0, p->batch * p->heads, n * layout->span, RAPT_MIN(p->tokens, (n + 1) * layout->span)};
        begin.chunks = pass.chunks = end.chunks = (uint32_t)RAPT_MAX(rapt_div_up(x.t1 - x.t0, layout->chunk), 1);
        begin.phase = (uint32_t)n * 3;
        pass.phase = begin.phase + 1;
        end.phase = begin.phase + 2;
        pass.flags = (n == 0 && has_in ? RAPT_SCAN_READ_IN : n > 0 || in_place ? RAPT_SCAN_READ_STATE : 0) |
                     (has_out || layout->carried ? RAPT_SCAN_WRITE_STATE : 0);
        status = add_part(&begin, &x, error);
        if (status == RAPT_OK)
            status = add_part(&pass, &x, error);
        if (status == RAPT_OK)
            status = add_part(&end, &x, error);
    }
    return status;
}

/* Whether chunks are worth their work, which is twice as much: where channels alone leave the device idle. Never by the
 * batch, so that a sequence's bits do not depend on what is around it. */
static bool prefers_chunks(const rapt_plan *plan, const rapt_kernel_row *row)
{
    const rapt_scan_problem *p = &plan->scan;
    const uint64_t groups = p->heads * channel_groups(row, p);
    const uint64_t width = plan->caps.compute_units ? plan->caps.compute_units : 16;
    const bool software = plan->caps.device_class == RAPT_CLASS_SOFTWARE; /* a group fills one of its threads */
    if (p->form != RAPT_SCAN_AUTO)
        return p->form == RAPT_SCAN_CHUNKED;
    return p->tokens > 4ull * (p->chunk ? p->chunk : LEAST_CHUNK) && groups * 2 < width * (software ? 1 : 4);
}

rapt_status rapt_scan_plan_make(rapt_plan *plan, const rapt_scan_problem *problem, const rapt_caps *caps,
                                const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    static const uint32_t whole[] = {RAPT_SCAN_WHOLE}, chunked[] = {RAPT_SCAN_OUTPUTS, RAPT_SCAN_CHUNKS};
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->op = RAPT_OP_SCAN;
    plan->scan = *problem;
    plan->caps = *caps;
    plan->problem = (rapt_problem){.dtype = problem->dtype,
                                   .slice_ms = problem->slice_ms,
                                   .varlen = problem->varlen,
                                   .flops = problem->flops,
                                   .bytes_read = problem->bytes_read,
                                   .bytes_written = problem->bytes_written};
    memcpy(plan->problem.kernel, problem->kernel, sizeof plan->problem.kernel);
    uint64_t states;
    if (!rapt_mul_u64(problem->batch, problem->heads, &states) || states > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "batch %llu times %llu heads is more than 2^32",
                         (unsigned long long)problem->batch, (unsigned long long)problem->heads);
    plan->candidates = rapt_arena_alloc(&plan->arena, RAPT_MAX(table->row_count, 1), sizeof *plan->candidates);
    if (plan->candidates == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->candidate_count = table->row_count;
    /* Scans wait for memory: what they reach of the arithmetic is little. */
    plan->flops_per_second = rapt_assumed_flops_per_second(caps) / 16;
    plan->group = plan->splits = 1;
    plan->aligned = is_aligned(problem);
    const double slice_flops = plan->flops_per_second * (double)problem->slice_ms * 1e-3;
    rapt_status status = RAPT_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        plan->scan_layout = (rapt_scan_layout){.pitch = (uint32_t)rapt_align_up(problem->channels, 4)};
        plan->pipeline_count = plan->step_count = plan->slot_count = 0;
        plan->workspace_bytes = 0;
        const rapt_kernel_row *row;
        if (!rapt_scan_recurs(problem)) {
            status = select_row(plan, table, verdicts, RAPT_ROW_SCAN_MAPS, whole, 1, &row, error);
            if (status == RAPT_OK)
                status = plan_map(plan, row, slice_flops, error);
            break;
        }
        status = select_row(plan, table, verdicts, RAPT_ROW_SCAN_WALKS, chunked, 2, &row, error);
        if (status != RAPT_OK && problem->form == RAPT_SCAN_CHUNKED)
            return status;
        const bool chunks = status == RAPT_OK && attempt == 0 && !problem->empty && prefers_chunks(plan, row);
        if (!chunks)
            status = select_row(plan, table, verdicts, RAPT_ROW_SCAN_WALKS, whole, 1, &row, error);
        if (status == RAPT_OK)
            status = chunks ? plan_chunked(plan, table, verdicts, row, slice_flops, error)
                            : plan_recurrent(plan, table, verdicts, row, slice_flops, error);
        if (status == RAPT_OK || !chunks || problem->form != RAPT_SCAN_AUTO)
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
