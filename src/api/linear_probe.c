/* The known-answer probe of linear attention: a small problem through the very rows and constants that a plan
 * will use, compared with the recurrence in double precision. */
#include "api/linear_reference.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* (batch, heads, rows, inner), rows as far apart as the plan's are aligned. rank 3: without inner. */
static rapt_tensor tensor_of(rapt_dtype dtype, uint32_t rank, uint64_t batch, uint64_t heads, uint64_t rows,
                             uint64_t inner, bool aligned)
{
    const uint64_t pitch = rank == 3 ? 1 : rapt_align_up(inner, 8) + !aligned;
    rapt_tensor t = {.dtype = dtype, .rank = rank, .size = {batch, heads, rows, inner}};
    t.stride[0] = (int64_t)(heads * rows * pitch);
    t.stride[1] = (int64_t)(rows * pitch);
    t.stride[2] = (int64_t)pitch;
    t.stride[3] = 1;
    t.align = aligned ? 16 : 4;
    return t;
}

/* p: what it is like: plan->linear, or another of no more than RAPT_LINEAR_MAX_DIM features. */
static void make_case(const rapt_plan *plan, const rapt_linear_problem *p, rapt_linear_trial *c)
{
    const uint64_t rows = rapt_linear_state_rows((rapt_phi)p->feature, p->power, p->d_k);
    const bool aligned = plan->aligned, by_keys = p->normalize_keys,
               in = p->tensor[RAPT_L_STATE_IN].present || (p->mapped && !by_keys),
               out = (p->tensor[RAPT_L_STATE_OUT].present || plan->layout.carried || plan->layout.chunk != 0) && !by_keys;
    memset(c, 0, sizeof *c);
    c->heads = 2;
    c->sequences = p->varlen ? 2 : 1;
    c->tokens = plan->layout.chunk ? 2ull * plan->layout.chunk + 3 : RAPT_MAX(RAPT_MIN(p->tokens, 21), 1);
    rapt_linear_desc *d = &c->desc;
    d->struct_size = sizeof *d;
    d->flags = (p->normalize ? RAPT_LINEAR_NORMALIZE : 0) | (p->log_decay ? RAPT_LINEAR_LOG_DECAY : 0) |
               (p->in_place ? RAPT_LINEAR_IN_PLACE : 0) | RAPT_LINEAR_SCALE |
               (p->bidirectional && p->mapped ? RAPT_LINEAR_BIDIRECTIONAL : 0) |
               (by_keys && p->mapped ? RAPT_LINEAR_NORMALIZE_KEYS : 0) | (p->standardize && p->mapped ? RAPT_LINEAR_STANDARDIZE : 0) |
               (p->feature_k != p->feature ? RAPT_LINEAR_FEATURE_K : 0);
    d->scale = 0.5f;
    d->rule = (rapt_linear_rule)p->rule;
    d->feature = (rapt_phi)p->feature;
    d->form = plan->layout.chunk ? RAPT_LINEAR_CHUNKED : RAPT_LINEAR_RECURRENT;
    d->chunk = plan->layout.chunk;
    d->sequences = p->varlen ? (uint32_t)c->sequences : 0;
    d->max_seqlen = p->varlen ? c->tokens : 0;
    d->feature_k = p->feature_k != p->feature ? (rapt_phi)p->feature_k : RAPT_PHI_IDENTITY;
    d->feature_power = p->power;
    d->feature_scale = p->mapped ? 0.75f : 0.0f;
    d->feature_map = p->feature == RAPT_PHI_USER || p->feature_k == RAPT_PHI_USER ? rapt_linear_probe_feature_map : NULL;
    /* A row that is forced takes all passes that it can: not where another adds up. */
    const bool adds = plan->pipeline_count > 1 && (plan->pipelines[1].row->supports & RAPT_ROW_ADDS) &&
                      (plan->pipelines[0].row->supports & RAPT_ROW_WALKS);
    d->kernel = p->mapped || p->bidirectional || adds ? NULL : plan->pipelines[0].row->name;
    const uint64_t total = c->tokens * c->sequences;
    d->q = d->k = tensor_of(p->dtype, 4, 1, c->heads, total, p->d_k, aligned);
    d->v = d->out = tensor_of(p->dtype, 4, 1, c->heads, total, p->d_v, aligned);
    if (p->rule == RAPT_LINEAR_DPLR)
        d->a = d->b = d->q;
    if (p->decay == RAPT_DECAY_CHANNEL)
        d->gate = tensor_of(RAPT_F32, 4, 1, c->heads, total, p->d_k, aligned);
    else if (p->decay == RAPT_DECAY_TOKEN)
        d->decay = tensor_of(RAPT_F32, 3, 1, c->heads, total, 1, aligned);
    else if (p->decay == RAPT_DECAY_HEAD)
        d->decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {c->heads}, .stride = {1}, .align = 4};
    if (p->beta)
        d->beta = tensor_of(RAPT_F32, 3, 1, c->heads, total, 1, aligned);
    const rapt_tensor state = tensor_of(RAPT_F32, 4, c->sequences, c->heads, rows, p->d_v, aligned);
    const rapt_tensor norm = {.dtype = RAPT_F32,
                              .rank = 3,
                              .size = {c->sequences, c->heads, rows},
                              .stride = {(int64_t)(c->heads * rows), (int64_t)rows, 1},
                              .align = 4};
    if (in)
        d->state_in = state;
    if (out)
        d->state_out = state;
    if (p->normalize && in)
        d->norm_in = norm;
    if (p->normalize && out)
        d->norm_out = norm;
    c->rows = rows;
    rapt_linear_trial_name(c);
}

/* What the probe holds on to while it runs. */
typedef struct probe_run {
    rapt_linear_trial c;
    rapt_linear_result result;
    rapt_binding *binding;
    bool submitted;
} probe_run;

static rapt_status run_case(probe_run *r, rapt_plan *small, double *share, double *states, rapt_error *error)
{
    rapt_device *device = small->device;
    rapt_status status = rapt_linear_trial_open(&r->c, device, error);
    if (status == RAPT_OK)
        status = rapt_linear_result_make(&r->c, device, &r->result, error);
    if (status == RAPT_OK)
        status = rapt_linear_bind(small, &r->c.args, &r->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(r->binding, error);
    r->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, r->binding, error);
    if (status == RAPT_OK)
        status = rapt_linear_trial_fetch(&r->c, &r->result, error);
    if (status == RAPT_OK)
        *share = rapt_linear_trial_error(&r->c, &r->result, UINT64_MAX, UINT64_MAX, states);
    return status;
}

static void free_run(probe_run *r, rapt_device *device)
{
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    const bool idle = r->binding == NULL || rapt_wait(r->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT ||
                      atomic_load(&device->hung);
    if (idle)
        rapt_binding_destroy(&r->binding);
    rapt_linear_result_free(&r->c, device, &r->result);
    rapt_linear_trial_close(&r->c, device, idle);
}

static bool same_pipeline(const rapt_plan_pipeline *a, const rapt_plan_pipeline *b)
{
    return a->row == b->row && a->form == b->form && memcmp(a->constants, b->constants, sizeof a->constants) == 0;
}

/* The first pipeline of the plan that the small one does not go through; pipeline_count: all are. Of plans that make features
 * first: those that are `maps` or those that are not. */
static uint32_t missing_pipeline(const rapt_plan *plan, const rapt_plan *small, bool maps)
{
    const uint32_t own = RAPT_ROW_MAPS | RAPT_ROW_FINISHES | RAPT_ROW_MOVES | RAPT_ROW_APPLIES;
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        bool there = maps != ((plan->pipelines[i].row->supports & own) != 0);
        for (uint32_t k = 0; k < small->pipeline_count; k++)
            there |= same_pipeline(&plan->pipelines[i], &small->pipelines[k]);
        if (!there)
            return i;
    }
    return plan->pipeline_count;
}

/* Notes what a probe has shown of the pipelines that both plans have. */
static void note_pipelines(const rapt_plan *plan, const rapt_plan *small, const rapt_plan_pipeline *culprit, bool good,
                           const char *reason)
{
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        for (uint32_t k = 0; k < small->pipeline_count; k++)
            if (same_pipeline(&plan->pipelines[i], &small->pipelines[k]) && (good || &small->pipelines[k] == culprit))
                rapt_probe_note(plan, i, good ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true, reason);
}

/* Runs one case; the plan's pipelines that it goes through are then known. */
static rapt_status probe_case(rapt_plan *plan, const rapt_linear_problem *p, rapt_error *error)
{
    rapt_device *device = plan->device;
    const bool maps = p->mapped;
    const char *name = plan->pipelines[0].row->name;
    const uint64_t begin = rapt_now_ns();
    probe_run r = {.submitted = false};
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    rapt_error why = {0};
    make_case(plan, p, &r.c);
    const rapt_verdicts verdicts = rapt_device_verdicts(device); /* what is refused is refused here too */
    rapt_status status = rapt_linear_plan_new(device, &device->caps, &r.c.desc, &verdicts, &small, &why);
    if (status != RAPT_OK)
        rapt_fail_prefix(&why, status, "the probe of kernel '%s'", name);
    else if (missing_pipeline(plan, small, maps) != plan->pipeline_count)
        status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED, "the probe of kernel '%s' does not reach its constants",
                           plan->pipelines[missing_pipeline(plan, small, maps)].row->name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    double share = 0, states = 0;
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_case(&r, small, &share, &states, &why);
        free_run(&r, device);
    }
    if (rapt_probe_ended(plan, r.submitted, &status, &why, error)) {
        rapt_plan_destroy(&small);
        return status;
    }
    /* Wrong states of chunks are the fault of what adds them up (or scans them, which is simpler); what is wrong where
     * features are made first, of what makes them. */
    uint32_t culprit = states > 1 && small->layout.chunk != 0 ? 1 : 0;
    for (uint32_t i = 0; i < small->pipeline_count && maps; i++)
        if (small->pipelines[i].row->supports & RAPT_ROW_MAPS)
            culprit = i;
    share = fmax(share, states);
    char reason[160] = "";
    if (share > 1)
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
    note_pipelines(plan, small, &small->pipelines[culprit], share <= 1, reason);
    rapt_log_write(&device->runtime->log, RAPT_LOG_DEBUG, "probe of %s%s: %.3g of the tolerance, %.1f ms", name,
                   maps ? " with features" : "", share, (double)(rapt_now_ns() - begin) * 1e-6);
    rapt_plan_destroy(&small);
    return RAPT_OK;
}

rapt_status rapt_probe_linear(rapt_plan *plan, rapt_error *error)
{
    rapt_linear_problem p = plan->linear;
    if (plan->outer.mapped) { /* what walks, by itself; then what makes features and the like, with few of them */
        p.mapped = false;
        p.power = 0;
    }
    rapt_status status = probe_case(plan, &p, error);
    if (status != RAPT_OK || !plan->outer.mapped)
        return status;
    p = plan->outer;
    const bool first_order = p.feature == RAPT_PHI_POLY && p.power == 1.0f;
    p.d_k = RAPT_MIN(p.d_k, p.blocks == 1 ? 7 : first_order ? 128 : 15); /* the fewest that make more than one block too */
    p.in_place = false;
    return probe_case(plan, &p, error);
}
