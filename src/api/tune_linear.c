/* Tuning linear attention: every row that accepts a problem, token by token and in chunks of several lengths (race.h does the
 * rest). */
#include "api/linear_reference.h"
#include "api/race.h"

#include <string.h>

#define SAMPLE_WORK 4e7 /* multiply-adds of what is gone through in double precision, about */
#define SAMPLE_PAIRS 2  /* (sequence, head) of it */

/* The tensors that all candidates share, and two results. */
typedef struct linear_proof {
    rapt_linear_trial c;
    rapt_linear_result results[RAPT_PROOF_RESULTS];
} linear_proof;

/* ---- what a race asks */

static rapt_status bind_proof(void *proof, rapt_plan *plan, rapt_binding **binding, rapt_error *error)
{
    return rapt_linear_bind(plan, &((linear_proof *)proof)->c.args, binding, error);
}

static rapt_status run_proof(void *proof, rapt_binding *binding, int which, rapt_error *error)
{
    linear_proof *p = proof;
    rapt_status status = rapt_linear_trial_reset(&p->c, error);
    if (status == RAPT_OK)
        status = rapt_submit(binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(binding, UINT64_MAX, error);
    return status == RAPT_OK ? rapt_linear_trial_fetch(&p->c, &p->results[which], error) : status;
}

/* The first tokens of the first and the last head, as many as the work allows. */
static double sample_proof(void *proof, int which)
{
    linear_proof *p = proof;
    const double token = 4 * (double)p->c.rows * (double)p->c.desc.v.size[3] * SAMPLE_PAIRS;
    const uint64_t most = RAPT_MAX((uint64_t)(SAMPLE_WORK / token), 16);
    double states;
    const double outputs = rapt_linear_trial_error(&p->c, &p->results[which], SAMPLE_PAIRS, most, &states);
    return RAPT_MAX(outputs, states);
}

static double compare_proof(void *proof, int *culprit)
{
    linear_proof *p = proof;
    const double worst =
        rapt_linear_trial_difference(&p->c, &p->results[RAPT_PROOF_LATEST], &p->results[RAPT_PROOF_REFERENCE]);
    /* States are held against the truth alone. Where outputs lie apart beyond the sample, the first candidate is believed. */
    const double latest = sample_proof(p, RAPT_PROOF_LATEST);
    *culprit = -1;
    if (worst <= 1 && latest <= 1)
        return RAPT_MAX(worst, latest);
    const double reference = sample_proof(p, RAPT_PROOF_REFERENCE);
    *culprit = reference > latest ? RAPT_PROOF_REFERENCE : RAPT_PROOF_LATEST;
    return RAPT_MAX(worst, RAPT_MAX(latest, reference));
}

static const rapt_race_rules rules = {bind_proof, run_proof, sample_proof, compare_proof};

/* ---- candidates */

static bool same_work(const rapt_plan *a, const rapt_plan *b)
{
    if (a->pipeline_count != b->pipeline_count || a->layout.chunk != b->layout.chunk)
        return false;
    for (uint32_t i = 0; i < a->pipeline_count; i++)
        if (a->pipelines[i].row != b->pipelines[i].row)
            return false;
    return true;
}

/* The plan that such a choice makes. row NULL: what is taken by default, which has to be there. */
static rapt_status add(rapt_race *race, const rapt_linear_desc *given, const rapt_kernel_row *row, rapt_linear_form form,
                       uint32_t chunk, rapt_error *error)
{
    rapt_linear_desc desc = *given;
    desc.kernel = row != NULL ? row->name : NULL;
    desc.form = form;
    desc.chunk = chunk;
    rapt_error why = {0};
    rapt_plan *plan = NULL;
    rapt_status status = rapt_linear_plan_new(race->device, &race->device->caps, &desc, &race->verdicts, &plan, &why);
    if (status != RAPT_OK) { /* a form or a length that this row does not have is no candidate */
        if (error != NULL && (row == NULL || status == RAPT_ERROR_OUT_OF_HOST_MEMORY))
            *error = why;
        return row == NULL || status == RAPT_ERROR_OUT_OF_HOST_MEMORY ? status : RAPT_OK;
    }
    for (uint32_t i = 0; i < race->count; i++)
        if (race->list[i].plan != NULL && same_work(race->list[i].plan, plan)) {
            rapt_plan_destroy(&plan);
            return RAPT_OK;
        }
    const rapt_kernel_row *main = plan->pipelines[0].row;
    const uint32_t actual = plan->layout.chunk;
    rapt_entrant *e = rapt_race_add(race, plan, main, row == NULL ? INT16_MAX : main->score[race->device->caps.device_class], &why,
                                    error);
    if (e == NULL)
        return RAPT_ERROR_OUT_OF_HOST_MEMORY;
    e->info.chunk = actual;
    e->info.key_splits = 1;
    if (row != NULL) {
        e->asked.form = form;
        e->asked.chunk = chunk;
    }
    e->usual = e->score >= 0;
    return RAPT_OK;
}

static rapt_status list_entrants(rapt_race *race, const rapt_linear_desc *desc, uint64_t tokens, rapt_error *error)
{
    static const uint32_t chunks[] = {16, 32, 64, 128, 256};
    const rapt_kernel_table *table = rapt_kernels();
    rapt_status status = add(race, desc, NULL, RAPT_LINEAR_AUTO, 0, error);
    for (uint32_t i = 0; i < table->row_count && status == RAPT_OK; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        const bool meant = row->score[race->device->caps.device_class] >= 0 || race->options.every_row;
        if (row->family != RAPT_FAMILY_STATE || !(row->supports & (RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS | RAPT_ROW_LEAPS)) || !meant ||
            rapt_quirk(row, &race->device->caps) != NULL || rapt_race_is_blocked(race, row))
            continue;
        if (row->supports & RAPT_ROW_WALKS)
            status = add(race, desc, row, RAPT_LINEAR_RECURRENT, 0, error);
        for (size_t k = 0; k < RAPT_COUNT(chunks) && status == RAPT_OK && chunks[k] < tokens; k++)
            status = add(race, desc, row, RAPT_LINEAR_CHUNKED, chunks[k], error);
    }
    return status;
}

/* ---- the call */

static rapt_status check_problem(rapt_race *race, const rapt_linear_desc *desc, rapt_linear_problem *p, rapt_error *error)
{
    rapt_status status = rapt_linear_problem_make(desc, p, error);
    if (status != RAPT_OK)
        return status;
    if (desc->kernel != NULL || desc->form != RAPT_LINEAR_AUTO || desc->chunk != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a forced %s leaves nothing to tune",
                         desc->kernel != NULL             ? "kernel"
                         : desc->form != RAPT_LINEAR_AUTO ? "form"
                                                          : "chunk");
    if (p->empty)
        return rapt_fail(error, RAPT_ERROR_INVALID, "an empty problem has nothing to tune");
    if (!rapt_linear_tuning_key(p, &race->device->caps, &race->key))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "linear attention with packed sequences, states at positions, the bidirectional form or features made ahead "
                         "is not tuned");
    if (race->device->caps.no_execution)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s only compiles", race->device->caps.device_name);
    return rapt_device_alive(race->device, error);
}

static rapt_status run_all(rapt_race *race, const rapt_linear_desc *desc, const rapt_linear_problem *problem, linear_proof *p,
                           rapt_tune_result *result, rapt_error *error)
{
    p->c = (rapt_linear_trial){.desc = *desc,
                              .heads = problem->heads,
                              .tokens = problem->tokens,
                              .sequences = problem->batch,
                              .rows = problem->d_k};
    p->c.desc.flags |= RAPT_LINEAR_SCALE;
    p->c.desc.scale = problem->scale;
    rapt_linear_trial_name(&p->c);
    rapt_status status = list_entrants(race, desc, problem->tokens, error);
    if (status == RAPT_OK)
        status = rapt_linear_trial_open(&p->c, race->device, error);
    for (int i = 0; i < RAPT_PROOF_RESULTS && status == RAPT_OK; i++)
        status = rapt_linear_result_make(&p->c, race->device, &p->results[i], error);
    return status == RAPT_OK ? rapt_race_run(race, result, error) : status;
}

rapt_status rapt_linear_tune(rapt_device *device, const rapt_linear_desc *desc, const rapt_tune_options *options,
                             rapt_tune_result *result, rapt_tune_candidate *candidates, uint32_t capacity, rapt_error *error)
{
    rapt_race race;
    rapt_linear_problem problem;
    linear_proof proof = {0};
    rapt_status status = rapt_race_begin(&race, device, options, result, error);
    if (status == RAPT_OK)
        status = check_problem(&race, desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    *result = (rapt_tune_result){.struct_size = result->struct_size};
    rapt_linear_tuning_label(&problem, race.label, sizeof race.label);
    memcpy(result->problem, race.label, sizeof result->problem);
    race.rules = &rules;
    race.proof = &proof;
    status = run_all(&race, desc, &problem, &proof, result, error);
    rapt_race_end(&race, result, candidates, capacity);
    if (!race.stuck)
        for (int i = 0; i < RAPT_PROOF_RESULTS; i++)
            rapt_linear_result_free(&proof.c, device, &proof.results[i]);
    if (!race.stuck) /* else the device may still be writing into the buffers */
        rapt_linear_trial_close(&proof.c, device, true);
    return status;
}
