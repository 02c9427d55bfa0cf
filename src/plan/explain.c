/* What a plan says of itself, for people and for programs. */
#include "plan/combine.h"

#include <stdio.h>
#include <string.h>

static void precision_text(const rapt_plan *plan, char *out, size_t size)
{
    const rapt_kernel_row *row = plan->pipelines[0].row;
    const char *dtype = rapt_dtype_name(plan->problem.dtype);
    /* Matrix units take 16-bit operands: the softmax weights are rounded to that before they multiply v. */
    if (row != NULL && (row->family == RAPT_FAMILY_COOPMAT || row->family == RAPT_FAMILY_COOPMAT2))
        snprintf(out, size, "%s storage, %s weights, f32 sums", dtype, dtype);
    else
        snprintf(out, size, "%s storage, f32 accumulate", dtype);
}

rapt_status rapt_plan_describe(const rapt_plan *plan, rapt_plan_info *info, rapt_error *error)
{
    if (plan == NULL || info == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", plan == NULL ? "plan" : "info");
    if (info->struct_size < sizeof(rapt_plan_info))
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_plan_info.struct_size is %u, expected %zu",
                         info->struct_size, sizeof(rapt_plan_info));
    rapt_plan_info out = {.struct_size = info->struct_size};
    snprintf(out.kernel, sizeof out.kernel, "%s", plan->pipelines[0].row ? plan->pipelines[0].row->name : "");
    if (plan->splits > 1 && plan->pipeline_count > 1)
        snprintf(out.merge_kernel, sizeof out.merge_kernel, "%s", plan->pipelines[1].row->name);
    precision_text(plan, out.precision, sizeof out.precision);
    out.workspace_bytes = plan->workspace_bytes;
    out.workspace_align = 256;
    out.parameter_bytes = rapt_align_up(plan->params_bytes, RAPT_STAND_IN_BYTES) + RAPT_STAND_IN_BYTES + rapt_align_up(plan->slice_count * 4ull, 256);
    out.flops = plan->problem.flops;
    out.bytes_read = plan->problem.bytes_read;
    out.bytes_written = plan->problem.bytes_written;
    out.steps = plan->step_count;
    out.chain = plan->phase_count;
    out.slices = plan->slice_count;
    out.key_splits = plan->splits;
    out.generation = plan->generation;
    *info = out;
    return RAPT_OK;
}

static void explain_problem(const rapt_plan *plan, rapt_text *t)
{
    const rapt_problem *p = &plan->problem;
    if (plan->op == RAPT_OP_LINEAR) {
        rapt_linear_explain_problem(plan, t);
        return;
    }
    if (plan->op == RAPT_OP_ROUTE) {
        rapt_route_explain_problem(plan, t);
        return;
    }
    if (plan->op == RAPT_OP_ROWS) {
        rapt_rows_explain_problem(plan, t);
        return;
    }
    if (plan->op == RAPT_OP_SCAN) {
        rapt_scan_explain_problem(plan, t);
        return;
    }
    if (plan->op == RAPT_OP_MEMORY) {
        rapt_memory_explain_problem(plan, t);
        return;
    }
    if (plan->op == RAPT_OP_COMBINE) {
        rapt_combine_explain_problem(plan, t);
        return;
    }
    rapt_text_add(t, "attention %s", rapt_dtype_name(p->dtype));
    if (p->varlen)
        rapt_text_add(t, ", %llu packed sequences", (unsigned long long)p->batch);
    else
        rapt_text_add(t, ", batch %llu", (unsigned long long)p->batch);
    rapt_text_add(t, ", heads %llu:%llu, nq %llu, nk %llu, head_dim %u/%u%s", (unsigned long long)p->heads_q,
                  (unsigned long long)p->heads_kv, (unsigned long long)p->nq, (unsigned long long)p->nk,
                  p->head_dim_qk, p->head_dim_v, p->causal ? ", causal" : "");
    if (p->k_format || p->v_format)
        rapt_text_add(t, ", k %s, v %s", rapt_dtype_name(rapt_problem_dtype(p, RAPT_T_K)), rapt_dtype_name(rapt_problem_dtype(p, RAPT_T_V)));
    if (p->grid.rank > 0)
        rapt_grid_describe(&p->grid, false, t);
    if (p->causal && p->causal_offset != 0)
        rapt_text_add(t, " with offset %d", p->causal_offset);
    if (p->window)
        rapt_text_add(t, ", window %d,%d", p->window_left, p->window_right);
    if (p->sink_tokens > 0)
        rapt_text_add(t, " after %u sink tokens", p->sink_tokens);
    if (p->window && !p->causal && p->causal_offset != 0)
        rapt_text_add(t, " with offset %d", p->causal_offset);
    if (p->soft_cap > 0.0f)
        rapt_text_add(t, ", soft cap %g", (double)p->soft_cap);
    if (p->link != RAPT_LINK_SOFTMAX)
        rapt_text_add(t, ", link %s", rapt_link_name((rapt_link)p->link));
    for (unsigned i = 0; i < RAPT_X_BLOCKS; i++)
        if (p->extras >> i & 1)
            rapt_text_add(t, ", %s", rapt_role_name((rapt_role)(RAPT_ROLE_SINKS + i)));
    if (p->place_width > 0)
        rapt_text_add(t, ", places in rows of %u", p->place_width);
    if (p->bias)
        rapt_text_add(t, ", bias");
    if (p->norm_epsilon >= 0.0f)
        rapt_text_add(t, ", QK-norm with epsilon %g", (double)p->norm_epsilon);
    if (p->rope_dim > 0)
        rapt_text_add(t, ", rope of base %g over %u%s elements", p->rope_base, p->rope_dim,
                      p->rope_interleaved ? " interleaved" : "");
    if (p->rank > 0)
        rapt_text_add(t, ", bias of rank %u behind head_dim %u", p->rank, p->source_dim);
    if (p->blocks)
        rapt_text_add(t, ", block_mask of %u x %u", p->block_q, p->block_k);
    if (p->paged)
        rapt_text_add(t, ", %llu pages of %u keys", (unsigned long long)p->pages, p->page_size);
    if (p->ragged)
        rapt_text_add(t, ", at most nk keys a batch entry");
    if (p->gate)
        rapt_text_add(t, ", gate");
    if (p->row_max)
        rapt_text_add(t, ", row_max");
    if (p->col_sums)
        rapt_text_add(t, ", col_sums by %s head", p->col_sums_by_kv ? "kv" : "output");
    if (p->score_mod || p->mask_mod)
        rapt_text_add(t, ", %s%s%s with %u user buffer%s", p->score_mod ? "score_mod" : "",
                      p->score_mod && p->mask_mod ? ", " : "", p->mask_mod ? "mask_mod" : "", p->user_count,
                      p->user_count == 1 ? "" : "s");
    rapt_text_add(t, ", scale %g%s%s\n", (double)p->scale, p->lse ? ", lse" : "", plan->aligned ? "" : ", unaligned");
}

/* What was measured for this problem, and whether it is what runs. */
static void explain_tuned(const rapt_plan *plan, rapt_text *t)
{
    const rapt_tuned *m = &plan->tuned;
    rapt_text_add(t, "tuned    ");
    if (!rapt_plan_is_tuned(plan))
        rapt_text_add(t, "%s was the fastest measured, but cannot be taken now: see below\n", m->kernel);
    else if (strcmp(m->kernel, m->default_kernel) == 0 && m->key_splits == 0 && m->form == 0)
        rapt_text_add(t, "the default is the fastest of %u measured\n", m->candidates);
    else
        rapt_text_add(t, "%.2fx the default %s (%.2f to %.2f), of %u measured\n", m->speedup, m->default_kernel,
                      m->speedup_low, m->speedup_high, m->candidates);
}

static void explain_tuned_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_tuned *m = &plan->tuned;
    if (!plan->has_tuned)
        rapt_text_add(t, ",\"tuned\":null");
    else
        rapt_text_add(t,
                      ",\"tuned\":{\"kernel\":\"%s\",\"taken\":%s,\"default_kernel\":\"%s\",\"speedup\":%.6g,"
                      "\"speedup_low\":%.6g,\"speedup_high\":%.6g,\"candidates\":%u}",
                      m->kernel, rapt_plan_is_tuned(plan) ? "true" : "false", m->default_kernel, m->speedup,
                      m->speedup_low, m->speedup_high, m->candidates);
}

static void explain_text(const rapt_plan *plan, rapt_text *t, const char *failure)
{
    const rapt_caps *caps = &plan->caps;
    rapt_text_add(t, "device   %s, %s %s (class %s%s)\n", caps->device_name, caps->driver_name, caps->driver_info,
                  rapt_class_name(caps->device_class), caps->masked ? ", capabilities lowered" : "");
    rapt_text_add(t, "problem  ");
    explain_problem(plan, t);
    if (failure != NULL) {
        rapt_text_add(t, "refused  %s\n", failure);
    } else {
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        rapt_plan_describe(plan, &info, NULL);
        rapt_text_add(t, "kernel   %s%s%s; %s\n", info.kernel, info.merge_kernel[0] ? " + " : "", info.merge_kernel,
                      info.precision);
        if (plan->has_tuned)
            explain_tuned(plan, t);
        if (plan->op == RAPT_OP_ATTENTION)
            rapt_text_add(t, "tiles    %u rows x %u keys, %u head%s packed, %u key split%s of %u\n",
                      plan->pipelines[0].row->rows_per_tile, plan->pipelines[0].row->keys_per_tile, plan->group,
                      plan->group == 1 ? "" : "s", plan->splits, plan->splits == 1 ? "" : "s", plan->split_keys);
        if (plan->problem.grid.rank > 0)
            rapt_grid_explain(&plan->problem.grid, &plan->grid, plan->pipelines[0].row->rows_per_tile,
                              plan->pipelines[0].row->keys_per_tile, false, t);
        if (plan->lists.listed)
            rapt_text_add(t, "lists    %llu of the tiles that are visited, %u rows x %u keys each, of %llu bytes\n",
                          (unsigned long long)(plan->lists.batch * plan->lists.groups * plan->lists.tiles), plan->lists.rows,
                          plan->lists.keys, (unsigned long long)plan->lists.pitch * 4);
        rapt_text_add(t, "memory   workspace %llu bytes, parameters %llu bytes\n",
                      (unsigned long long)info.workspace_bytes, (unsigned long long)info.parameter_bytes);
        rapt_text_add(t, "work     %s%.4g Gflop, %.4g MB read, %.4g MB written\n",
                      plan->problem.varlen || plan->problem.ragged ? "at most " : "", (double)info.flops * 1e-9,
                      (double)info.bytes_read * 1e-6, (double)info.bytes_written * 1e-6);
        rapt_text_add(t, "order    %u dispatches in %u phases, %u slices of at most %g ms at %.3g GFLOP/s%s\n",
                      info.steps, info.chain, info.slices, (double)plan->problem.slice_ms,
                      plan->flops_per_second * 1e-9, plan->generation ? "; planned again after a failed probe" : "");
        uint32_t shown = RAPT_MIN(plan->step_count, 16);
        for (uint32_t i = 0; i < shown; i++) {
            const rapt_step *s = &plan->steps[i];
            rapt_text_add(t, "  %3u  %s%s  grid %u x %u x %u  slice %u  %.4g Gflop\n", i, s->barrier ? "barrier, " : "",
                          plan->pipelines[s->pipeline].row->name, s->groups[0], s->groups[1], s->groups[2], s->slice,
                          (double)s->flops * 1e-9);
        }
        if (shown < plan->step_count)
            rapt_text_add(t, "  ... and %u more\n", plan->step_count - shown);
    }
    rapt_text_add(t, "candidates, by preference on this class of device:\n");
    for (int score = INT16_MAX; score >= INT16_MIN; score--) {
        int next = INT16_MIN - 1; /* jump to the next score in use */
        for (uint32_t i = 0; i < plan->candidate_count; i++) {
            const rapt_candidate *c = &plan->candidates[i];
            if (c->row == NULL)
                continue;
            if (c->score == score)
                rapt_text_add(t, "  %c %4d  %-34s %s\n", c->chosen ? '*' : ' ', c->score, c->row->name,
                              c->chosen && c->row == plan->pipelines[0].row && rapt_plan_is_tuned(plan) ? "chosen: measured"
                              : c->chosen        ? "chosen"
                              : c->reason[0] ? c->reason
                                             : "eligible");
            else if (c->score < score)
                next = RAPT_MAX(next, c->score);
        }
        if (next <= INT16_MIN - 1)
            break;
        score = next + 1;
    }
}

static const char *with_extra(const rapt_problem *p, unsigned extra)
{
    return p->extras >> extra & 1 ? "true" : "false";
}

static void explain_attention_json(const rapt_plan *plan, rapt_text *t)
{
    const rapt_problem *p = &plan->problem;
    rapt_text_add(t,
                  ",\"masked\":%s,\"problem\":{\"op\":\"attention\",\"dtype\":\"%s\",\"batch\":%llu,\"varlen\":%s,"
                  "\"q_heads\":%llu,\"kv_heads\":%llu,\"nq\":%llu,\"nk\":%llu,\"head_dim_qk\":%u,\"head_dim_v\":%u,"
                  "\"causal\":%s,\"causal_offset\":%d,\"window\":%s,\"window_left\":%d,\"window_right\":%d,"
                  "\"sink_tokens\":%u,\"soft_cap\":%.9g,\"link\":\"%s\",\"gate\":%s,\"bias\":%s,\"sinks\":%s,\"alibi\":%s,\"key_bias\":%s,"
                  "\"segments\":%s,\"block_mask\":%s,\"block_q\":%u,\"block_k\":%u,\"page_size\":%u,\"pages\":%llu,\"k_lengths\":%s,\"score_mod\":%s,\"mask_mod\":%s,\"user_buffers\":%u,\"scale\":%.9g,\"lse\":%s,\"aligned\":%s"
                  ",\"qk_norm_epsilon\":%.9g,\"rope_base\":%.17g,\"rope_dim\":%u,\"rope_interleaved\":%s,\"bias_rank\":%u"
                  ",\"relative\":%s,\"decay\":%s,\"place_width\":%u,\"k_dtype\":\"%s\",\"v_dtype\":\"%s\",\"col_sums\":%s,\"row_max\":%s",
                  plan->caps.masked ? "true" : "false", rapt_dtype_name(p->dtype), (unsigned long long)p->batch,
                  p->varlen ? "true" : "false", (unsigned long long)p->heads_q, (unsigned long long)p->heads_kv,
                  (unsigned long long)p->nq, (unsigned long long)p->nk, p->head_dim_qk, p->head_dim_v,
                  p->causal ? "true" : "false", p->causal_offset, p->window ? "true" : "false", p->window_left,
                  p->window_right, p->sink_tokens, (double)p->soft_cap, rapt_link_name((rapt_link)p->link),
                  p->gate ? "true" : "false", p->bias ? "true" : "false", with_extra(p, RAPT_X_SINKS),
                  with_extra(p, RAPT_X_ALIBI), with_extra(p, RAPT_X_KEY_BIAS), with_extra(p, RAPT_X_SEGMENTS),
                  p->blocks ? "true" : "false", p->block_q, p->block_k, p->page_size, (unsigned long long)p->pages,
                  p->ragged ? "true" : "false",
                  p->score_mod ? "true" : "false", p->mask_mod ? "true" : "false", p->user_count, (double)p->scale,
                  p->lse ? "true" : "false",
                  plan->aligned ? "true" : "false", (double)p->norm_epsilon, p->rope_base, p->rope_dim,
                  p->rope_interleaved ? "true" : "false", p->rank, with_extra(p, RAPT_X_RELATIVE), with_extra(p, RAPT_X_DECAY),
                  p->place_width, rapt_dtype_name(rapt_problem_dtype(p, RAPT_T_K)), rapt_dtype_name(rapt_problem_dtype(p, RAPT_T_V)), p->col_sums ? "true" : "false",
                  p->row_max ? "true" : "false");
    if (p->grid.rank > 0) {
        rapt_text_add(t, ",\"grid\":{");
        rapt_grid_describe(&p->grid, true, t);
        rapt_text_add(t, "}");
    }
    rapt_text_add(t, "}");
}

static void explain_json(const rapt_plan *plan, rapt_text *t, const char *failure)
{
    const rapt_problem *p = &plan->problem;
    rapt_text_add(t, "{\"device\":");
    rapt_text_add_json(t, plan->caps.device_name);
    rapt_text_add(t, ",\"driver\":");
    rapt_text_add_json(t, plan->caps.driver_info);
    rapt_text_add(t, ",\"class\":");
    rapt_text_add_json(t, rapt_class_name(plan->caps.device_class));
    if (plan->op != RAPT_OP_ATTENTION) {
        rapt_text_add(t, ",\"masked\":%s,\"problem\":", plan->caps.masked ? "true" : "false");
        (plan->op == RAPT_OP_LINEAR  ? rapt_linear_explain_problem_json
         : plan->op == RAPT_OP_ROUTE ? rapt_route_explain_problem_json
         : plan->op == RAPT_OP_ROWS  ? rapt_rows_explain_problem_json
         : plan->op == RAPT_OP_SCAN  ? rapt_scan_explain_problem_json
         : plan->op == RAPT_OP_MEMORY ? rapt_memory_explain_problem_json
                                     : rapt_combine_explain_problem_json)(plan, t);
    } else {
        explain_attention_json(plan, t);
    }
    if (failure != NULL) {
        rapt_text_add(t, ",\"refused\":");
        rapt_text_add_json(t, failure);
    } else {
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        rapt_plan_describe(plan, &info, NULL);
        rapt_text_add(t,
                      ",\"kernel\":\"%s\",\"merge_kernel\":\"%s\",\"precision\":\"%s\",\"group\":%u,\"key_splits\":%u,"
                      "\"split_keys\":%u,\"tile_lists\":%llu,\"workspace_bytes\":%llu,\"parameter_bytes\":%llu,\"flops\":%llu,"
                      "\"bytes_read\":%llu,\"bytes_written\":%llu,\"chain\":%u,\"slices\":%u,\"slice_ms\":%g,"
                      "\"assumed_gflops\":%.6g,\"generation\":%u,\"steps\":[",
                      info.kernel, info.merge_kernel, info.precision, plan->group, plan->splits, plan->split_keys,
                      (unsigned long long)(plan->lists.batch * plan->lists.groups * plan->lists.tiles),
                      (unsigned long long)info.workspace_bytes, (unsigned long long)info.parameter_bytes,
                      (unsigned long long)info.flops, (unsigned long long)info.bytes_read,
                      (unsigned long long)info.bytes_written, info.chain, info.slices, (double)p->slice_ms,
                      plan->flops_per_second * 1e-9, info.generation);
        for (uint32_t i = 0; i < plan->step_count; i++) {
            const rapt_step *s = &plan->steps[i];
            rapt_text_add(t, "%s{\"kernel\":\"%s\",\"grid\":[%u,%u,%u],\"slice\":%u,\"phase\":%u,\"flops\":%llu}",
                          i ? "," : "", plan->pipelines[s->pipeline].row->name, s->groups[0], s->groups[1],
                          s->groups[2], s->slice, s->phase, (unsigned long long)s->flops);
        }
        rapt_text_add(t, "]");
        if (p->grid.rank > 0) {
            rapt_text_add(t, ",\"grid\":{");
            rapt_grid_explain(&p->grid, &plan->grid, plan->pipelines[0].row->rows_per_tile,
                              plan->pipelines[0].row->keys_per_tile, true, t);
            rapt_text_add(t, "}");
        }
    }
    explain_tuned_json(plan, t);
    rapt_text_add(t, ",\"candidates\":[");
    bool first = true;
    for (uint32_t i = 0; i < plan->candidate_count; i++) {
        const rapt_candidate *c = &plan->candidates[i];
        if (c->row == NULL)
            continue;
        rapt_text_add(t, "%s{\"kernel\":\"%s\",\"score\":%d,\"chosen\":%s,\"eligible\":%s,\"reason\":", first ? "" : ",",
                      c->row->name, c->score, c->chosen ? "true" : "false", c->reason[0] ? "false" : "true");
        rapt_text_add_json(t, c->reason);
        rapt_text_add(t, "}");
        first = false;
    }
    rapt_text_add(t, "]}");
}

size_t rapt_plan_explain_to(const rapt_plan *plan, rapt_text_format format, const char *failure, char *buffer,
                            size_t capacity)
{
    rapt_text t = rapt_text_over(buffer, capacity);
    if (format == RAPT_JSON)
        explain_json(plan, &t, failure);
    else
        explain_text(plan, &t, failure);
    return t.length + 1;
}

size_t rapt_plan_explain(const rapt_plan *plan, rapt_text_format format, char *buffer, size_t capacity)
{
    if (plan == NULL)
        return 0;
    return rapt_plan_explain_to(plan, format, NULL, buffer, capacity);
}
