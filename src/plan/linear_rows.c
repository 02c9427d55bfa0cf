/* Which kernel rows a plan of linear attention takes, and their constants. */
#include "plan/linear.h"

#include "common/linear_params.h"
#include <stdio.h>
#include <string.h>

#define REFUSE(...)                                                                                          \
    do {                                                                                                     \
        snprintf(reason, size, __VA_ARGS__);                                                                 \
        return false;                                                                                        \
    } while (0)

void rapt_linear_constants(rapt_plan_pipeline *pipeline, const rapt_plan *plan, uint32_t pass)
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
        case RAPT_CONST_CHUNK:
            value = rapt_linear_leap_chunk(p);
            break;
        case RAPT_CONST_MAP_Q:
            value = plan->outer.feature;
            break;
        case RAPT_CONST_MAP_K:
            value = plan->outer.feature_k;
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
int rapt_linear_role_tensor(const rapt_linear_problem *p, rapt_role role)
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
        const int tensor = rapt_linear_role_tensor(p, (rapt_role)op->role);
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
bool rapt_linear_is_aligned(const rapt_linear_problem *p)
{
    static const uint8_t tensors[] = {RAPT_L_V, RAPT_L_OUT, RAPT_L_STATE_IN, RAPT_L_STATE_OUT};
    return p->d_v % 4 == 0 && rows_aligned(p, tensors, RAPT_COUNT(tensors));
}

/* Whether it is the row that writes the output: the one that may be forced. */
static bool is_main(uint32_t kind, const uint32_t *passes)
{
    const uint32_t writes = RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS | RAPT_ROW_LEAPS;
    return (kind & RAPT_ROW_APPLIES) || ((kind & writes) && passes[0] != RAPT_PASS_CHUNKS);
}

uint32_t rapt_linear_leap_chunk(const rapt_linear_problem *p)
{
    return p->chunk ? p->chunk : RAPT_LINEAR_LEAP;
}

/* Whether what is solved for may have such chunks: 128 invocations are as many for each token. */
static bool chunk_accepts(const rapt_linear_problem *p, char *reason, size_t size)
{
    const uint32_t chunk = rapt_linear_leap_chunk(p);
    if (chunk != RAPT_LINEAR_LEAP && chunk != RAPT_LINEAR_LEAP / 2)
        REFUSE("takes chunks of %u or %u tokens, not %u", RAPT_LINEAR_LEAP, RAPT_LINEAR_LEAP / 2, chunk);
    return true;
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
        REFUSE("another kernel %s", plan->problem.kernel[0] == 0 ? "was measured to be faster" : "is forced");
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
    const rapt_dtype dtype = kind & (RAPT_ROW_MAPS | RAPT_ROW_FINISHES) ? plan->outer.dtype : p->dtype;
    if (!(row->dtypes >> dtype & 1))
        REFUSE("does not store %s", rapt_dtype_name(dtype));
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
    if ((row->supports & (RAPT_ROW_SOLVES | RAPT_ROW_LEAPS)) && !chunk_accepts(p, reason, size))
        return false;
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
        rapt_linear_constants(&pipeline, plan, passes[i]);
        if (kind == RAPT_ROW_MAPS && plan->user_code != NULL) {
            pipeline.form = RAPT_FORM_USER;
            pipeline.code = plan->user_hash;
        }
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
rapt_status rapt_linear_select(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                              uint32_t kind, const uint32_t *passes, uint32_t pass_count,
                              const rapt_kernel_row **out, rapt_error *error)
{
    const rapt_candidate *nearest = NULL;
    const char *what = is_main(kind, passes)                     ? "linear attention"
                       : kind & (RAPT_ROW_WALKS | RAPT_ROW_ADDS) ? "chunks"
                       : kind == RAPT_ROW_SOLVES                 ? "solving for chunks"
                       : kind == RAPT_ROW_COPIES                 ? "copying"
                       : kind == RAPT_ROW_MAPS                   ? "feature maps"
                       : kind == RAPT_ROW_FINISHES               ? "finishing outputs"
                       : kind == RAPT_ROW_MOVES                  ? "moving states"
                       : kind == RAPT_ROW_APPLIES                ? "bidirectional linear attention"
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

rapt_status rapt_linear_select_chunked(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                       const rapt_kernel_row **out, rapt_error *error)
{
    static const uint32_t passes[] = {RAPT_PASS_OUT};
    const uint32_t walks = RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS;
    const rapt_kernel_row *solves;
    rapt_error why = {0};
    rapt_status status = rapt_linear_select(plan, table, verdicts, walks | RAPT_ROW_LEAPS, passes, 1, out, error);
    if (status != RAPT_OK || !((*out)->supports & RAPT_ROW_LEAPS) ||
        rapt_linear_select(plan, table, verdicts, RAPT_ROW_SOLVES, passes, 1, &solves, &why) == RAPT_OK)
        return status;
    if (strcmp(plan->linear.kernel, (*out)->name) == 0) {
        if (error != NULL)
            *error = why;
        return why.status;
    }
    status = rapt_linear_select(plan, table, verdicts, walks, passes, 1, out, error);
    for (uint32_t i = 0; i < plan->candidate_count; i++) {
        rapt_candidate *c = &plan->candidates[i];
        if (c->row == NULL || !(c->row->supports & RAPT_ROW_LEAPS) || !c->chosen)
            continue;
        c->chosen = false;
        snprintf(c->reason, sizeof c->reason, "no row solves for its chunks");
    }
    return status;
}
