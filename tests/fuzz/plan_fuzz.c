/* Any attention descriptor on any device's capabilities, forced rows included: a plan that keeps its limits and covers
 * the problem, or a refusal with words. Rows are those of the built-in table; no device is there. */
#include "plan_input.h"

#include "common/attention_params.h"
#include "plan/plan.h"

/* A grid, mostly of as many places as the sequence then has. */
static void take_grid(input *in, rapt_attention_desc *d)
{
    const uint8_t what = take_byte(in);
    uint64_t places = 1;
    d->grid.rank = what & 3 ? what & 3 : 4;
    for (uint32_t axis = 0; axis < RAPT_GRID_MAX_RANK; axis++) {
        d->grid.size[axis] = (uint32_t)take_number(in);
        d->grid.kernel_size[axis] = (uint32_t)take_number(in);
        if (what & 4)
            d->grid.dilation[axis] = (uint32_t)take_number(in);
        if (what & 8)
            d->grid.stride[axis] = (uint32_t)take_number(in);
        if (what & 16) { /* so that they go together */
            d->grid.kernel_size[axis] = d->grid.kernel_size[axis] % RAPT_MAX(d->grid.size[axis], 1) + 1;
            d->grid.dilation[axis] =
                (uint32_t)(d->grid.dilation[axis] % (d->grid.size[axis] / d->grid.kernel_size[axis] + 1ull));
            d->grid.stride[axis] = (uint32_t)(d->grid.stride[axis] % (d->grid.kernel_size[axis] + 1ull));
        }
        places *= axis < d->grid.rank ? d->grid.size[axis] : 1;
    }
    d->grid.causal = what >> 5;
    if (what & 128) {
        d->q.size[2] = d->k.size[2] = d->v.size[2] = d->out.size[2] = d->lse.size[2] = places;
        d->flags &= ~(uint32_t)(RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW);
        d->window_left = d->window_right = 0;
        d->sink_tokens = 0;
        d->sequences = 0;
        d->max_seqlen_q = d->max_seqlen_k = 0;
        d->key_splits = 0;
    }
}

/* Shapes that fit together, then some members are made others. */
static rapt_attention_desc take_desc(input *in, char kernel[80])
{
    const rapt_kernel_table *table = rapt_kernels();
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    const uint8_t what = take_byte(in), forms = take_byte(in);
    const rapt_dtype dtype = (rapt_dtype)(1 + what % 3);
    rapt_tensor (*const shapes[2])(rapt_dtype, uint64_t, uint64_t, uint64_t, uint64_t) = {rapt_tensor_bhnd,
                                                                                          rapt_tensor_bnhd};
    const uint64_t batch = take_number(in), hq = take_number(in), hkv = take_number(in);
    const uint64_t nq = take_number(in), nk = take_number(in);
    const uint64_t dim = 1 + take_bytes(in, 2) % 576, dim_v = what & 4 ? 1 + take_bytes(in, 2) % 576 : dim;
    const uint64_t heads = RAPT_MAX(hq, hkv);
    d.q = shapes[forms & 1](dtype, batch, hq, nq, dim);
    d.k = shapes[forms >> 1 & 1](dtype, batch, hkv, nk, dim);
    d.v = shapes[forms >> 2 & 1](dtype, batch, hkv, nk, dim_v);
    d.out = shapes[forms >> 3 & 1](dtype, batch, heads, nq, dim_v);
    if (what & 8)
        d.lse = (rapt_tensor){.dtype = RAPT_F32,
                              .rank = 3,
                              .size = {batch, heads, nq},
                              .stride = {(int64_t)(heads * nq), (int64_t)nq, 1}};
    d.flags = forms >> 4 & (RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_BATCH_TUNED);
    if (what & 16) {
        d.causal_offset = (int64_t)take_number(in) * (forms & 128 ? -1 : 1);
        d.sequences = (uint32_t)take_number(in);
        d.max_seqlen_q = take_number(in);
        d.max_seqlen_k = take_number(in);
    }
    if (what & 32)
        d.key_splits = (uint32_t)take_number(in);
    if (what & 64) {
        const uint32_t scale = (uint32_t)take_bytes(in, 4), slice = (uint32_t)take_bytes(in, 4);
        d.flags |= (uint32_t)take_byte(in);
        memcpy(&d.scale, &scale, sizeof scale);
        memcpy(&d.slice_ms, &slice, sizeof slice);
        const uint8_t more = take_byte(in);
        if (more & 1) {
            d.flags |= RAPT_ATTENTION_WINDOW;
            d.window_left = (int64_t)take_number(in) - 2;
            d.window_right = (int64_t)take_number(in) - 2;
            d.sink_tokens = take_number(in);
        }
        if (more & 2)
            d.soft_cap = d.scale;
        if (more & 2)
            d.link = (rapt_link)(take_byte(in) % 11);
        d.link_zeta = 1;
        if (more & 2 && take_byte(in) & 1)
            d.gate = shapes[forms & 1](dtype, batch, heads, nq, dim_v);
        if (more & 4)
            d.sinks = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {more & 8 ? hq : heads}, .stride = {1}};
        if (more & 16)
            d.alibi = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {hq}, .stride = {(int64_t)take_byte(in)}};
        if (more & 32)
            d.key_bias = (rapt_tensor){.dtype = RAPT_F32,
                                       .rank = 3,
                                       .size = {more & 8 ? 1 : batch, more & 64 ? 1 : hq, nk},
                                       .stride = {(int64_t)take_number(in), (int64_t)take_number(in), 1}};
        if (more & 64 && take_byte(in) & 1)
            d.bias = (rapt_tensor){.dtype = RAPT_F32,
                                   .rank = 4,
                                   .size = {more & 8 ? 1 : batch, more & 32 ? 1 : hq, nq, nk},
                                   .stride = {(int64_t)take_number(in), (int64_t)take_number(in), (int64_t)nk, 1}};
        if (more & 4 && take_byte(in) & 1) { /* what rewrites q and k */
            const uint8_t kinds = take_byte(in);
            d.flags |= kinds & 1 ? RAPT_ATTENTION_QK_NORM : 0;
            d.qk_norm_epsilon = kinds & 2 ? 1e-5f : 0;
            if (kinds & 4) {
                d.rope_base = (double)take_number(in);
                d.rope_dim = (uint32_t)take_byte(in) * 2;
                d.flags |= kinds & 8 ? RAPT_ATTENTION_ROPE_INTERLEAVED : 0;
            }
            if (kinds & 16) {
                const uint64_t rank = take_byte(in);
                d.bias_u = shapes[forms & 1](dtype, kinds & 32 ? 1 : batch, kinds & 64 ? 1 : hq, nq, rank);
                d.bias_v = shapes[forms & 1](dtype, kinds & 64 ? 1 : batch, kinds & 128 ? 1 : hq, nk, rank);
            }
        }
        if (more & 128)
            d.segments = (rapt_tensor){
                .dtype = RAPT_I32, .rank = 2, .size = {batch, nk}, .stride = {(int64_t)nk, 1}};
        if (more & 16 && take_byte(in) & 1) { /* where a key lies from a query */
            const uint8_t kinds = take_byte(in);
            const uint64_t rows = kinds & 1 ? 1 + take_byte(in) : 1, columns = take_number(in);
            d.place_width = kinds & 1 ? (uint32_t)take_number(in) : 0;
            if (kinds & 2)
                d.relative = (rapt_tensor){.dtype = RAPT_F32,
                                           .rank = kinds & 1 ? 3 : 2,
                                           .size = {kinds & 4 ? 1 : hq, kinds & 1 ? rows : columns, columns},
                                           .stride = {(int64_t)take_number(in), kinds & 1 ? (int64_t)columns : 1, 1}};
            if (kinds & 8)
                d.decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {hq}, .stride = {1}};
        }
        if (forms >> 7 & 1)
            take_grid(in, &d);
    }
    const uint8_t blocks = what & 64 ? take_byte(in) : 0;
    if (blocks & 1) {
        d.block_q = 1 + (uint32_t)take_number(in) % 4096;
        d.block_k = 1 + (uint32_t)take_number(in) % 4096;
        const uint64_t lines = rapt_div_up(blocks & 2 ? d.max_seqlen_q : nq, d.block_q),
                       pitch = rapt_div_up(blocks & 2 ? d.max_seqlen_k : nk, d.block_k);
        d.block_mask = (rapt_tensor){
            .dtype = RAPT_I32,
            .rank = 4,
            .size = {blocks & 4 ? 1 : blocks & 2 ? d.sequences : batch, blocks & 8 ? 1 : hq, lines, pitch},
            .stride = {(int64_t)take_number(in), (int64_t)(lines * pitch), (int64_t)pitch, 1}};
    }
    if (blocks & 16)
        d.col_sums = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {batch, blocks & 64 ? hkv : heads, nk},
                                   .stride = {(int64_t)((blocks & 64 ? hkv : heads) * nk), (int64_t)nk, 1}};
    if (blocks & 32)
        d.row_max = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {batch, heads, nq},
                                  .stride = {(int64_t)(heads * nq), (int64_t)nq, 1}};
    if (what & 128) {
        const uint64_t row = take_bytes(in, 2) % (table->row_count + 1);
        snprintf(kernel, 80, "%s", row < table->row_count ? table->rows[row].name : "no such kernel");
        d.kernel = kernel;
    }
    rapt_tensor *const tensors[] = {&d.q, &d.k, &d.v, &d.out, &d.lse, &d.sinks, &d.alibi, &d.key_bias, &d.segments, &d.gate,
                                    &d.bias,   &d.bias_u, &d.bias_v, &d.block_mask, &d.relative, &d.decay, &d.col_sums, &d.row_max};
    for (unsigned changes = take_byte(in) % 8; changes > 0; changes--) {
        rapt_tensor *t = tensors[take_byte(in) % RAPT_COUNT(tensors)];
        const uint8_t member = take_byte(in) % 12;
        const uint64_t value = take_number(in);
        if (member < 4)
            t->size[member] = value;
        else if (member < 8)
            t->stride[member - 4] = (int64_t)value;
        else if (member == 8)
            t->align = (uint32_t)value;
        else if (member == 9)
            t->usage = (uint32_t)value;
        else if (member == 10)
            t->rank = (uint32_t)value;
        else
            t->dtype = (rapt_dtype)(value % 6);
    }
    return d;
}

static void check_row(const rapt_plan *plan, const rapt_kernel_row *row)
{
    const rapt_problem *p = &plan->problem;
    const rapt_caps *caps = &plan->caps;
    MUST((row->features & ~caps->features) == 0);
    MUST(row->local_size <= caps->max_invocations && row->shared_bytes <= caps->max_shared_bytes);
    MUST(RAPT_PUSH_WORDS * 4 <= caps->max_push_bytes);
    if (row->family == RAPT_FAMILY_MAP) {
        MUST(plan->extras.packed || p->gate || p->prepared || p->col_sums || p->row_max);
        return;
    }
    if (row->family == RAPT_FAMILY_ROUTE) {
        MUST(plan->lists.listed && p->blocks);
        return;
    }
    MUST(row->dtypes >> p->dtype & 1);
    MUST(p->head_dim_v >= row->head_dim_v_min && p->head_dim_v <= row->head_dim_v_max);
    MUST(plan->aligned || (row->supports & RAPT_ROW_UNALIGNED));
    if (row->family == RAPT_FAMILY_MERGE)
        return;
    MUST(p->head_dim_qk >= row->head_dim_qk_min && p->head_dim_qk <= row->head_dim_qk_max);
    MUST(!p->causal || (row->supports & RAPT_ROW_CAUSAL));
    MUST(!p->window || (row->supports & RAPT_ROW_WINDOW));
    MUST(p->soft_cap == 0 || (row->supports & RAPT_ROW_SOFT_CAP));
    MUST(p->link == RAPT_LINK_SOFTMAX || (row->supports & RAPT_ROW_LINKS));
    MUST((p->extras == 0 && !p->bias) || (row->supports & RAPT_ROW_EXTRAS));
    MUST(!p->blocks || (row->supports & RAPT_ROW_BLOCKS));
    MUST(!p->varlen || (row->supports & RAPT_ROW_VARLEN));
    MUST((p->grid.rank > 0) == ((row->supports & RAPT_ROW_GRID) != 0));
    MUST(plan->splits == 1 || (row->supports & RAPT_ROW_PARTIAL));
    MUST(plan->group == 1 || (row->supports & RAPT_ROW_GROUP));
    MUST(p->kernel[0] == '\0' || strcmp(p->kernel, row->name) == 0);
}

/* A window lies within its tensor or workspace slot, and a device can bind it. */
static void check_window(const rapt_plan *plan, const rapt_kernel_operand *op, const rapt_window *w)
{
    const rapt_problem *p = &plan->problem;
    const int tensor = rapt_role_tensor((rapt_role)op->role);
    uint64_t whole = 0;
    if (w->first == UINT64_MAX || w->bytes == 0)
        return;
    if (tensor >= 0)
        whole = p->bytes[tensor];
    else if (op->role == RAPT_ROLE_CU_Q || op->role == RAPT_ROLE_CU_K)
        whole = (p->batch + 1) * 4;
    else if (op->role >= RAPT_ROLE_SINKS && op->role <= RAPT_ROLE_BLOCK_TABLE)
        whole = p->extra[op->role - RAPT_ROLE_SINKS].bytes;
    else if (op->role == RAPT_ROLE_EXTRA && !plan->extras.packed)
        for (unsigned x = 0; x < RAPT_X_COUNT; x++) /* the only one */
            whole += p->extra[x].bytes;
    else if (op->role == RAPT_ROLE_SOURCE_Q || op->role == RAPT_ROLE_SOURCE_K)
        whole = p->source[op->role - RAPT_ROLE_SOURCE_Q].bytes;
    else if (op->role == RAPT_ROLE_FACTOR_Q || op->role == RAPT_ROLE_FACTOR_K)
        whole = p->factor[op->role - RAPT_ROLE_FACTOR_Q].bytes;
    for (uint32_t i = 0; i < plan->slot_count; i++)
        if (plan->slots[i].role == (rapt_role)op->role)
            whole = plan->slots[i].bytes;
    MUST(w->first <= whole && w->bytes <= whole - w->first);
    MUST(w->bytes <= rapt_window_limit(&plan->caps, (rapt_operand_kind)op->kind));
}

static void check_steps(const rapt_plan *plan)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    const uint64_t tiles = p->grid.rank > 0 ? plan->grid.tile_count : rapt_div_up(p->nq * plan->group, row->rows_per_tile);
    const uint64_t bh = p->batch * (p->heads_out / plan->group);
    uint64_t groups = 0, merged = 0, packed = 0, gated = 0, lists = 0, rewritten = 0;
    const bool listed = plan->lists.listed, has_packs = plan->extras.packed && (p->extras || p->blocks);
    const uint32_t before = RAPT_MAX((unsigned)has_packs + listed, (unsigned)p->prepared);
    const uint32_t maps = (unsigned)has_packs + listed + p->prepared; /* between the main ones and the gate */
    const bool two_passes = rapt_link_two_passes(p->link);
    const uint32_t others = plan->pipeline_count - p->row_max - p->col_sums; /* which come last */
    uint64_t margins = 0;
    uint32_t slice = 0, phase = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const rapt_step *s = &plan->steps[i];
        rapt_attention_push push;
        memcpy(&push, s->push, sizeof push);
        const bool gates = p->gate && s->pipeline == others - 1;
        const bool makes_lists = listed && s->pipeline == others - 1 - p->gate;
        const bool packs = has_packs && s->pipeline == others - 1 - p->gate - listed;
        MUST(s->pipeline < plan->pipeline_count);
        const bool prepares = p->prepared && s->pipeline == others - p->gate - maps;
        const bool margin = s->pipeline >= others;
        MUST(margin || s->phase == (packs || prepares ? 0u
                          : makes_lists     ? has_packs
                          : gates           ? others - 1 - maps + before
                                            : s->pipeline + before));
        for (int axis = 0; axis < 3; axis++)
            MUST(s->groups[axis] >= 1 && s->groups[axis] <= plan->caps.max_groups[axis]);
        MUST(s->slice == slice || (i > 0 && s->slice == slice + 1));
        MUST(s->phase >= phase && s->barrier == (i > 0 && s->phase != phase));
        slice = s->slice;
        phase = s->phase;
        const rapt_kernel_row *r = plan->pipelines[s->pipeline].row;
        for (uint32_t k = 0; k < r->operand_count; k++)
            check_window(plan, &r->operands[k], &s->windows[k]);
        if (margin) {
            MUST(s->phase >= others - maps + before && push.rows % r->rows_per_tile == 0);
            margins += (uint64_t)s->groups[0] * s->groups[2] * RAPT_MAX(push.rows / r->rows_per_tile, 1);
            continue;
        }
        if (prepares) {
            rewritten += push.rows;
            continue;
        }
        if (packs) {
            packed += push.rows;
            continue;
        }
        if (makes_lists) {
            MUST(push.row0 == lists && rapt_div_up(push.rows, r->rows_per_tile) == s->groups[0]);
            lists += push.rows;
            continue;
        }
        if (gates) {
            gated += push.rows;
            continue;
        }
        if (s->pipeline == 1 && !two_passes) {
            MUST((uint64_t)push.row0 + push.rows <= p->batch * p->heads_out * p->nq);
            MUST(rapt_div_up(push.rows, r->rows_per_tile) == s->groups[0]);
            merged += push.rows;
            continue;
        }
        MUST((uint64_t)push.tile0 + s->groups[0] <= tiles);
        MUST((uint64_t)push.split0 + s->groups[1] <= plan->splits);
        MUST((uint64_t)push.bh0 + s->groups[2] <= bh);
        groups += (uint64_t)s->groups[0] * s->groups[1] * s->groups[2];
    }
    MUST(p->grid.rank == 0 || (tiles * row->rows_per_tile >= p->nq && plan->splits == 1));
    MUST(groups == bh * tiles * plan->splits * (two_passes ? 2 : 1));
    MUST(merged == (plan->splits > 1 ? p->batch * p->heads_out * p->nq : 0));
    const rapt_list_layout *l = &plan->lists;
    MUST(lists == (listed ? l->batch * l->groups * l->tiles : 0));
    MUST(packed == (has_packs ? plan->extras.words - lists * l->pitch : 0));
    MUST(!listed || (l->first == packed && l->pitch >= 1 + 3 * rapt_div_up(p->nk, 32ull * l->keys) &&
                     l->keys % row->keys_per_tile == 0 && l->rows == row->rows_per_tile));
    MUST(rewritten == (p->prepared ? p->batch * (p->heads_q * p->nq + p->heads_kv * (p->total_k ? p->nk : 0)) : 0));
    const uint64_t queries = rapt_div_up(p->nq, 64), keys = rapt_div_up(p->nk, 64);
    MUST(margins == (p->row_max ? p->batch * p->heads_out * queries * RAPT_MAX(keys, 1) : 0) +
                        (p->col_sums ? p->batch * (p->col_sums_by_kv ? p->heads_kv : p->heads_out) * keys * RAPT_MAX(queries, 1) : 0));
    MUST(gated == (p->gate ? p->batch * p->heads_out * p->nq : 0));
    MUST(plan->slice_count == slice + 1 && plan->phase_count == phase + 1);
}

static void check_plan(const rapt_plan *plan)
{
    const rapt_problem *p = &plan->problem;
    const bool two_passes = rapt_link_two_passes(p->link);
    MUST(plan->splits == 1 || !two_passes);
    MUST(plan->pipeline_count == 1u + (plan->splits > 1 || two_passes) + p->prepared +
                                   (plan->extras.packed && (p->extras || p->blocks)) + plan->lists.listed + p->gate + p->row_max + p->col_sums);
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        check_row(plan, plan->pipelines[i].row);
    MUST(p->group % plan->group == 0);
    MUST(plan->workspace_bytes <= INT64_MAX);
    MUST((plan->splits > 1 || plan->extras.packed || p->lse_hidden || (p->prepared && p->bytes[RAPT_T_Q] + p->bytes[RAPT_T_K] > 0)) == (plan->workspace_bytes > 0) || p->empty);
    uint64_t end = 0;
    for (uint32_t i = 0; i < plan->slot_count; i++) {
        MUST(plan->slots[i].offset >= end);
        end = plan->slots[i].offset + plan->slots[i].bytes;
    }
    MUST(end == plan->workspace_bytes);
    if (p->empty && p->bytes[RAPT_T_COL_SUMS] > 0)
        MUST(plan->step_count > 0);
    else if (p->empty)
        MUST(plan->step_count == 0 && plan->slice_count == 0 && plan->phase_count == 0);
    else
        check_steps(plan);
}

/* A share of the rows, so that each has its turn at being the best, and planning is quick. */
static rapt_kernel_table take_table(input *in, rapt_kernel_row *rows)
{
    const rapt_kernel_table *all = rapt_kernels();
    rapt_kernel_table table = *all;
    const uint8_t salt = take_byte(in);
    table.rows = rows;
    table.row_count = 0;
    for (uint32_t i = 0; i < all->row_count; i++)
        if (salt == 255 || all->rows[i].family == RAPT_FAMILY_MERGE || all->rows[i].family == RAPT_FAMILY_MAP || all->rows[i].family == RAPT_FAMILY_ROUTE || (i + salt) % 16 == 0)
            rows[table.row_count++] = all->rows[i];
    return table;
}

static rapt_status make(rapt_plan *plan, budget *memory, const rapt_problem *problem, const rapt_caps *caps,
                        const rapt_kernel_table *table, rapt_error *error)
{
    memset(plan, 0, sizeof *plan);
    memory->left = 1u << 20;
    plan->allocator = (rapt_allocator){
        .user = memory, .alloc = budget_alloc, .realloc = budget_realloc, .free = budget_free};
    return rapt_plan_make(plan, problem, caps, table, NULL, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rapt_kernel_row rows[1024];
    input in = {data, size};
    char kernel[80];
    budget memory[2];
    rapt_plan plan, twin;
    rapt_problem problem;
    rapt_error error = {0};
    MUST(rapt_kernels()->row_count <= RAPT_COUNT(rows));
    const rapt_caps caps = take_caps(&in);
    const rapt_attention_desc d = take_desc(&in, kernel);
    const rapt_kernel_table table = take_table(&in, rows);
    rapt_status status = rapt_attention_problem(&d, &problem, &error);
    if (status != RAPT_OK) {
        MUST(status == RAPT_ERROR_INVALID && error.status == status && error.message[0]);
        return 0;
    }
    status = make(&plan, &memory[0], &problem, &caps, &table, &error);
    if (status == RAPT_OK) {
        MUST(error.status == RAPT_OK);
        check_plan(&plan);
    } else {
        MUST(status == RAPT_ERROR_UNSUPPORTED || status == RAPT_ERROR_OUT_OF_HOST_MEMORY ||
             (status == RAPT_ERROR_INVALID && problem.kernel[0]));
        MUST(error.status == status && error.message[0]);
    }
    if (take_byte(&in) % 4 == 1) { /* most of the time would go into words */
        if (status != RAPT_ERROR_OUT_OF_HOST_MEMORY)
            check_explain(&plan, status == RAPT_OK ? NULL : error.message);
        MUST(make(&twin, &memory[1], &problem, &caps, &table, NULL) == status);
        MUST(plan.step_count == twin.step_count);
        if (plan.step_count > 0)
            MUST(memcmp(plan.steps, twin.steps, plan.step_count * sizeof *plan.steps) == 0);
        MUST(memcmp(plan.params, twin.params, sizeof plan.params) == 0);
        rapt_plan_clear(&twin);
        MUST(memory[1].left == 1u << 20);
    }
    rapt_plan_clear(&plan);
    MUST(memory[0].left == 1u << 20);
    return 0;
}
