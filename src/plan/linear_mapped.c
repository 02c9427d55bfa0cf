/* Linear attention whose features are made ahead of the rest: maps that no row applies by itself, maps that make more
 * features than a row takes, and the bidirectional form.
 *
 * What is left, plan->linear, is a problem without a map, in single precision: q and k, a block of features at a time, lie
 * in the workspace, and so do v where its type is another or a normaliser's column of ones stands behind it, outputs that
 * are to be summed, divided or converted, and the running states. For each span of tokens and block of features:
 *     map -> the steps of a form (its rows know nothing of this) -> finish
 * with the states moved in before and out after all. Bidirectional: all spans give the states, then all give outputs. */
#include "plan/linear.h"

#include "common/linear_params.h"

typedef struct mapped {
    rapt_plan *plan;
    rapt_linear_form_plan form;
    rapt_linear_launch map, move, finish, apply; /* plan NULL: not needed */
    bool copies_v, copies_ab, finishes;
    uint32_t phase;
} mapped;

/* ---- the problem that is left */

/* A tensor of the workspace: its pitch for now, the rest when the span is known (place_tensors). */
static void put_tensor(rapt_linear_tensor *t, uint64_t pitch)
{
    const uint64_t heads = t->heads;
    *t = (rapt_linear_tensor){
        .heads = heads, .stride = {pitch, pitch, pitch}, .inner = pitch, .element = 4, .align = 16, .present = true};
}

static void make_rest(mapped *m)
{
    const rapt_linear_problem *o = &m->plan->outer;
    rapt_linear_problem *p = &m->plan->linear;
    const bool column = o->normalize || o->normalize_keys;
    m->copies_v = column || o->dtype != RAPT_F32;
    m->copies_ab = o->rule == RAPT_LINEAR_DPLR && o->dtype != RAPT_F32;
    m->finishes = m->copies_v || o->blocks > 1 || o->bidirectional;
    *p = *o;
    p->dtype = RAPT_F32;
    p->flops = o->flops / o->blocks;
    p->d_k = o->block;
    p->d_v = m->copies_v ? (uint32_t)rapt_align_up(o->d_v + column, 4) : o->d_v;
    p->feature = p->feature_k = RAPT_PHI_IDENTITY;
    p->normalize = p->in_place = false;
    p->beta = o->beta && !column; /* else v has it, and the ones have not */
    p->scale = m->finishes ? 1.0f : o->scale;
    for (unsigned i = RAPT_L_STATE_IN; i < RAPT_L_COUNT; i++)
        p->tensor[i] = (rapt_linear_tensor){.present = false};
    if (!p->beta)
        p->tensor[RAPT_L_BETA].present = false;
    const uint64_t keys = rapt_align_up(p->d_k, 4);
    put_tensor(&p->tensor[RAPT_L_Q], keys);
    put_tensor(&p->tensor[RAPT_L_K], keys);
    if (m->copies_v)
        put_tensor(&p->tensor[RAPT_L_V], p->d_v);
    for (unsigned i = RAPT_L_A; i <= RAPT_L_B && m->copies_ab; i++)
        put_tensor(&p->tensor[i], keys);
    if (m->finishes)
        put_tensor(&p->tensor[RAPT_L_OUT], rapt_align_up(p->d_v, 4));
}

/* ---- the workspace */

/* The tensors that lie there, and the role of each. */
static uint32_t workspace_tensors(const mapped *m, uint8_t tensors[6], rapt_role roles[6])
{
    uint32_t count = 0;
    tensors[count] = RAPT_L_Q, roles[count++] = RAPT_ROLE_Q;
    tensors[count] = RAPT_L_K, roles[count++] = RAPT_ROLE_K;
    if (m->copies_v)
        tensors[count] = RAPT_L_V, roles[count++] = RAPT_ROLE_V;
    if (m->copies_ab) {
        tensors[count] = RAPT_L_A, roles[count++] = RAPT_ROLE_A;
        tensors[count] = RAPT_L_B, roles[count++] = RAPT_ROLE_B;
    }
    if (m->finishes)
        tensors[count] = RAPT_L_OUT, roles[count++] = RAPT_ROLE_OUT;
    return count;
}

static uint64_t saturating_mul(uint64_t a, uint64_t b)
{
    uint64_t out;
    return rapt_mul_u64(a, b, &out) && out < UINT64_MAX / 16 ? out : UINT64_MAX / 16;
}

/* Bytes of one token, in all tensors or in the largest. */
static uint64_t token_bytes(const mapped *m, bool largest)
{
    const rapt_linear_problem *p = &m->plan->linear;
    uint8_t tensors[6];
    rapt_role roles[6];
    uint64_t sum = 0;
    const uint32_t count = workspace_tensors(m, tensors, roles);
    for (uint32_t i = 0; i < count; i++) {
        const rapt_linear_tensor *t = &p->tensor[tensors[i]];
        const uint64_t bytes = saturating_mul(saturating_mul(t->heads, t->stride[2]), p->varlen ? 4 : p->batch * 4);
        const bool twice = tensors[i] == RAPT_L_OUT && p->blocks > 1; /* outputs and their sums */
        sum = largest ? RAPT_MAX(sum, bytes) : sum + bytes * (1 + twice);
    }
    return sum;
}

/* What one window over features may cover, of all rows that read them. */
static uint64_t feature_window(const rapt_plan *plan)
{
    uint64_t limit = rapt_window_limit(&plan->caps, RAPT_OPERAND_STORAGE);
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        const rapt_kernel_row *row = plan->pipelines[i].row;
        for (uint32_t k = 0; k < row->operand_count; k++) {
            const uint8_t role = row->operands[k].role;
            if (role == RAPT_ROLE_Q || role == RAPT_ROLE_K || role == RAPT_ROLE_V || role == RAPT_ROLE_A || role == RAPT_ROLE_B)
                limit = RAPT_MIN(limit, rapt_window_limit(&plan->caps, (rapt_operand_kind)row->operands[k].kind));
        }
    }
    return limit;
}

/* Shortens the span until what lies in the workspace can be bound and launched. */
static rapt_status fit_features(mapped *m, rapt_error *error)
{
    rapt_plan *plan = m->plan;
    const rapt_linear_problem *p = &plan->linear;
    const uint64_t unit = m->form.chunked ? plan->layout.chunk : 1, limit = feature_window(plan), each = token_bytes(m, true);
    const uint64_t groups = rapt_align_up(p->d_v, 4) / 4 + 1; /* a bound on workgroups of any launch, for 64 tokens */
    uint64_t *span = &plan->layout.span;
    while (true) {
        const uint64_t rows = p->varlen ? p->total : *span;
        const bool binds = saturating_mul(each, rows) <= limit;
        if (binds && saturating_mul(rapt_div_up(*span, 8), groups) <= plan->caps.max_groups[0])
            return RAPT_OK;
        if (*span <= unit || (p->varlen && !binds))
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                             "features of %llu tokens take %llu bytes that must be bound at once; this device binds %llu",
                             (unsigned long long)rows, (unsigned long long)saturating_mul(each, rows), (unsigned long long)limit);
        *span = RAPT_MAX(*span / 2 / unit * unit, unit);
    }
}

static void place_tensors(mapped *m)
{
    rapt_plan *plan = m->plan;
    rapt_linear_problem *p = &plan->linear;
    uint8_t tensors[6];
    rapt_role roles[6];
    const uint32_t count = workspace_tensors(m, tensors, roles);
    const uint64_t rows = p->varlen ? p->total : plan->layout.span;
    for (uint32_t i = 0; i < count; i++) {
        rapt_linear_tensor *t = &p->tensor[tensors[i]];
        t->stride[1] = t->stride[2] * rows;
        t->stride[0] = t->stride[1] * t->heads;
        const uint64_t bytes = t->stride[0] * (p->varlen ? 1 : p->batch) * 4;
        rapt_linear_add_slot(plan, roles[i], RAPT_MAX(bytes, 16));
        if (tensors[i] == RAPT_L_OUT && p->blocks > 1)
            rapt_linear_add_slot(plan, RAPT_ROLE_SUMS, RAPT_MAX(bytes, 16));
    }
}

/* ---- rows */

static rapt_status add_pipeline(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts, uint32_t kind,
                                rapt_linear_launch *launch, rapt_error *error)
{
    const rapt_kernel_row *row;
    const rapt_status status = rapt_linear_select(plan, table, verdicts, kind, (uint32_t[]){0}, 1, &row, error);
    if (status != RAPT_OK)
        return status;
    *launch = (rapt_linear_launch){.plan = plan, .pipeline = (uint8_t)plan->pipeline_count};
    rapt_plan_pipeline *pipeline = &plan->pipelines[plan->pipeline_count++];
    *pipeline = (rapt_plan_pipeline){.row = row, .base = row};
    rapt_linear_constants(pipeline, plan, 0);
    if (kind == RAPT_ROW_MAPS && plan->user_code != NULL) {
        pipeline->form = RAPT_FORM_USER;
        pipeline->code = plan->user_hash;
        pipeline->user = plan->user_code;
    }
    return RAPT_OK;
}

/* The rows of a form, from pipeline 0 on. */
static rapt_status choose_form(mapped *m, const rapt_kernel_table *table, const rapt_verdicts *verdicts, double slice_flops,
                               bool may_chunk, bool *chunks, rapt_error *error)
{
    static const uint32_t whole[] = {RAPT_PASS_WHOLE};
    rapt_plan *plan = m->plan;
    const rapt_linear_problem *p = &plan->linear;
    const rapt_kernel_row *row = NULL;
    rapt_status status;
    *chunks = p->bidirectional;
    if (p->bidirectional) {
        status = add_pipeline(plan, table, verdicts, RAPT_ROW_APPLIES, &m->apply, error);
        if (status != RAPT_OK || p->empty) /* nothing to cut into chunks */
            return status;
        return rapt_linear_chunked_form(plan, table, verdicts, plan->pipelines[0].row, slice_flops, RAPT_LINEAR_NO_OUT,
                                        &m->form, error);
    }
    status = rapt_linear_select_chunked(plan, table, verdicts, &row, error);
    if (status != RAPT_OK && p->form == RAPT_LINEAR_CHUNKED)
        return status;
    *chunks = status == RAPT_OK && may_chunk && !p->empty && rapt_linear_prefers_chunks(plan, row);
    if (*chunks)
        return rapt_linear_chunked_form(plan, table, verdicts, row, slice_flops, 0, &m->form, error);
    status = rapt_linear_select(plan, table, verdicts, RAPT_ROW_WALKS, whole, 1, &row, error);
    return status == RAPT_OK ? rapt_linear_recurrent_form(plan, row, slice_flops, &m->form, error) : status;
}

static rapt_status choose_others(mapped *m, const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error)
{
    rapt_plan *plan = m->plan;
    const rapt_linear_problem *o = &plan->outer;
    rapt_status status = add_pipeline(plan, table, verdicts, RAPT_ROW_MAPS, &m->map, error);
    if (status == RAPT_OK && m->finishes)
        status = add_pipeline(plan, table, verdicts, RAPT_ROW_FINISHES, &m->finish, error);
    if (status == RAPT_OK && (o->tensor[RAPT_L_STATE_IN].present || o->tensor[RAPT_L_STATE_OUT].present))
        status = add_pipeline(plan, table, verdicts, RAPT_ROW_MOVES, &m->move, error);
    return status;
}

/* ---- steps */

static rapt_status add_map(mapped *m, const rapt_linear_part *x, uint32_t tensor, uint32_t block, rapt_error *error)
{
    m->map.flags = tensor;
    m->map.chunks = block * m->plan->linear.d_k; /* the first feature */
    m->map.phase = m->phase;
    m->map.groups_x = (uint32_t)rapt_div_up(x->t1 - x->t0, RAPT_MAP_TOKENS(tensor == RAPT_MAP_V ? m->plan->outer.d_v : m->plan->outer.d_k));
    return rapt_linear_add_part(&m->map, x, error);
}

/* v and what else goes by whole spans. */
static rapt_status add_span_maps(mapped *m, const rapt_linear_part *x, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    if (m->copies_v)
        status = add_map(m, x, RAPT_MAP_V, 0, error);
    for (uint32_t tensor = RAPT_MAP_A; tensor <= RAPT_MAP_B && m->copies_ab && status == RAPT_OK; tensor++)
        status = add_map(m, x, tensor, 0, error);
    return status;
}

static rapt_status add_finish(mapped *m, const rapt_linear_part *x, uint32_t block, rapt_error *error)
{
    const rapt_linear_problem *p = &m->plan->linear;
    if (m->finish.plan == NULL)
        return RAPT_OK;
    m->finish.flags = (block == 0 ? RAPT_FINISH_FIRST : 0) | (block + 1 == p->blocks ? RAPT_FINISH_LAST : 0);
    m->finish.phase = m->phase++;
    m->finish.groups_x = (uint32_t)rapt_div_up((x->t1 - x->t0) * (p->tensor[RAPT_L_OUT].stride[2] / 4),
                                               m->plan->pipelines[m->finish.pipeline].row->rows_per_tile);
    return rapt_linear_add_part(&m->finish, x, error);
}

/* States in (RAPT_LINEAR_READ_IN) or out. */
static rapt_status add_move(mapped *m, uint32_t flags, rapt_error *error)
{
    const rapt_linear_problem *p = &m->plan->linear;
    const rapt_linear_part states = {0, p->batch * p->heads, 0, 0};
    const uint64_t items = (uint64_t)p->block * p->blocks * (m->plan->layout.chunk_pitch / 4);
    m->move.flags = flags;
    m->move.phase = m->phase++;
    m->move.groups_x = (uint32_t)rapt_div_up(items, m->plan->pipelines[m->move.pipeline].row->rows_per_tile);
    return rapt_linear_add_part(&m->move, &states, error);
}

/* The form's own steps for a block of features. */
static rapt_status add_form(mapped *m, const rapt_linear_part *x, uint32_t block, bool reads, rapt_error *error)
{
    const uint64_t row = (uint64_t)block * m->plan->linear.d_k;
    const uint32_t flags = (reads ? RAPT_LINEAR_READ_STATE : 0) | RAPT_LINEAR_WRITE_STATE;
    if (m->form.chunked) {
        m->form.pass.state_row = row;
        return rapt_linear_add_chunks(&m->form, x, flags, &m->phase, error);
    }
    m->form.walk.state_row = row;
    m->form.walk.flags = flags;
    m->form.walk.phase = m->phase++;
    return rapt_linear_add_part(&m->form.walk, x, error);
}

/* One span of tokens: states and outputs, or in the bidirectional form states alone. */
static rapt_status add_span(mapped *m, const rapt_linear_part *x, bool reads, rapt_error *error)
{
    const rapt_linear_problem *p = &m->plan->linear;
    rapt_status status = add_span_maps(m, x, error);
    for (uint32_t block = 0; block < p->blocks && status == RAPT_OK; block++) {
        if (!p->bidirectional)
            status = add_map(m, x, RAPT_MAP_Q, block, error);
        if (status == RAPT_OK)
            status = add_map(m, x, RAPT_MAP_K, block, error);
        m->phase++;
        if (status == RAPT_OK)
            status = add_form(m, x, block, reads, error);
        if (status == RAPT_OK && !p->bidirectional)
            status = add_finish(m, x, block, error);
    }
    return status;
}

/* Outputs of one span from the states after all tokens. */
static rapt_status add_outputs(mapped *m, const rapt_linear_part *x, rapt_error *error)
{
    const rapt_linear_problem *p = &m->plan->linear;
    const uint32_t rows = m->plan->pipelines[m->apply.pipeline].row->rows_per_tile;
    rapt_status status = RAPT_OK;
    for (uint32_t block = 0; block < p->blocks && status == RAPT_OK; block++) {
        status = add_map(m, x, RAPT_MAP_Q, block, error);
        m->apply.phase = ++m->phase;
        m->apply.flags = RAPT_LINEAR_READ_STATE;
        m->apply.state_row = (uint64_t)block * p->d_k;
        m->apply.groups_x = (uint32_t)(rapt_div_up(x->t1 - x->t0, rows) * rapt_div_up(m->plan->layout.chunk_pitch, 64));
        m->apply.flops = 2.0 * p->d_k * p->d_v;
        if (status == RAPT_OK)
            status = rapt_linear_add_part(&m->apply, x, error);
        m->phase++;
        if (status == RAPT_OK)
            status = add_finish(m, x, block, error);
    }
    return status;
}

static rapt_status add_steps(mapped *m, rapt_error *error)
{
    const rapt_plan *plan = m->plan;
    const rapt_linear_problem *p = &plan->linear, *o = &plan->outer;
    const bool has_in = o->tensor[RAPT_L_STATE_IN].present || o->in_place;
    const uint64_t span = RAPT_MAX(plan->layout.span, 1), spans = RAPT_MAX(rapt_div_up(p->tokens, span), 1);
    rapt_status status = has_in ? add_move(m, RAPT_LINEAR_READ_IN, error) : RAPT_OK;
    for (rapt_linear_span s = {0}; status == RAPT_OK && rapt_linear_next_span(plan, &s);) {
        status = add_span(m, &s.part, has_in || !s.first, error);
        m->move.place = s.place;
        if (status == RAPT_OK && s.ends && o->tensor[RAPT_L_STATE_OUT].present)
            status = add_move(m, RAPT_LINEAR_WRITE_STATE | (o->tensor[RAPT_L_NORM_OUT].present ? RAPT_LINEAR_WRITE_NORM : 0), error);
    }
    for (uint64_t s = 0; s < spans && p->bidirectional && status == RAPT_OK; s++) {
        const rapt_linear_part x = {0, p->batch * p->heads, s * span, RAPT_MIN(p->tokens, (s + 1) * span)};
        status = add_outputs(m, &x, error);
    }
    return status;
}

rapt_status rapt_linear_plan_mapped(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                    double slice_flops, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    bool may_chunk = true, chunks;
    do {
        mapped m = {.plan = plan};
        make_rest(&m);
        const rapt_linear_problem *p = &plan->linear;
        plan->aligned = rapt_linear_is_aligned(p);
        plan->layout = (rapt_linear_layout){.chunk_pitch = (uint32_t)rapt_align_up(p->d_v, 4), .carried = true};
        plan->pipeline_count = plan->step_count = plan->slot_count = 0;
        plan->workspace_bytes = 0;
        const uint64_t bytes = token_bytes(&m, false);
        uint64_t carry;
        if (!rapt_linear_carry_bytes(plan, &carry))
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                             "running states of this problem take more than the workspace limit of %llu bytes, or than a "
                             "binding covers",
                             (unsigned long long)p->workspace_limit);
        plan->layout.fixed_bytes = carry + (p->varlen ? saturating_mul(bytes, p->total) : 0) + 14 * 256;
        plan->layout.token_bytes = p->varlen ? 0 : bytes;
        status = choose_form(&m, table, verdicts, slice_flops, may_chunk, &chunks, error);
        if (status == RAPT_OK)
            status = choose_others(&m, table, verdicts, error);
        if (status == RAPT_OK && !p->empty)
            status = fit_features(&m, error);
        if (status == RAPT_OK && !p->empty) {
            rapt_linear_chunk_slots(plan, &m.form);
            rapt_linear_add_slot(plan, RAPT_ROLE_STATE, carry);
            place_tensors(&m);
            status = add_steps(&m, error);
        }
        may_chunk = false;
    } while (status != RAPT_OK && chunks && plan->linear.form == RAPT_LINEAR_AUTO && !plan->linear.bidirectional);
    return status;
}
