/* Tuning attention: every row that accepts a problem, and key splits where the queries are few (race.h does the rest). */
#include "api/proof.h"
#include "api/race.h"

#include <string.h>

#define SHORT_QUERIES 16 /* query rows, packed heads included, up to which other key splits are tried */
#define MOST_SPLITS 256

typedef struct tuning {
    rapt_race race;
    const rapt_attention_desc *desc;
    rapt_problem problem;
} tuning;

/* ---- what a race asks */

static rapt_status bind_proof(void *proof, rapt_plan *plan, rapt_binding **binding, rapt_error *error)
{
    return rapt_attention_bind(plan, &((rapt_proof *)proof)->args, binding, error);
}

static rapt_status run_proof(void *proof, rapt_binding *binding, int which, rapt_error *error)
{
    return rapt_proof_run(proof, binding, which, error);
}

static double sample_proof(void *proof, int which)
{
    return rapt_proof_sample(proof, which);
}

static double compare_proof(void *proof, int *culprit)
{
    return rapt_proof_compare(proof, culprit);
}

static const rapt_race_rules rules = {bind_proof, run_proof, sample_proof, compare_proof};

/* ---- candidates */

static rapt_status add(tuning *t, const rapt_kernel_row *row, int score, uint32_t asked, rapt_error *error)
{
    rapt_race *race = &t->race;
    rapt_attention_desc desc = *t->desc;
    desc.kernel = row->name;
    if (asked != 0)
        desc.key_splits = asked;
    rapt_error why = {0};
    rapt_plan *plan = NULL;
    rapt_status status = rapt_plan_new(race->device, &race->device->caps, &desc, &race->verdicts, &plan, &why);
    if (status == RAPT_ERROR_OUT_OF_HOST_MEMORY) {
        if (error != NULL)
            *error = why;
        return status;
    }
    for (uint32_t i = 0; i < race->count && plan != NULL; i++) /* rounded to tiles, it may be there already */
        if (race->list[i].row == row && race->list[i].info.key_splits == plan->splits) {
            rapt_plan_destroy(&plan);
            return RAPT_OK;
        }
    rapt_entrant *e = rapt_race_add(race, plan, row, score, &why, error);
    if (e == NULL)
        return RAPT_ERROR_OUT_OF_HOST_MEMORY;
    e->asked.key_splits = asked;
    e->info.key_splits = plan != NULL ? plan->splits : asked;
    e->usual = asked == 0 && row->family != RAPT_FAMILY_NAIVE && score >= 0;
    e->blockable = asked == 0 || e->info.key_splits <= 1; /* other splits may be the fault of what merges them */
    return RAPT_OK;
}

/* The row as it would choose, and with more and fewer key splits where the queries are few. */
static rapt_status add_row(tuning *t, const rapt_kernel_row *row, int score, rapt_error *error)
{
    const uint32_t first = t->race.count;
    rapt_status status = add(t, row, score, 0, error);
    if (status != RAPT_OK || t->race.count == first || !t->race.list[first].alive || t->problem.key_splits != 0 ||
        !(row->supports & RAPT_ROW_PARTIAL) || row->family == RAPT_FAMILY_NAIVE)
        return status;
    const rapt_plan *plan = t->race.list[first].plan;
    const uint32_t splits = plan->splits;
    if (splits == 1 && t->problem.nq * plan->group > SHORT_QUERIES)
        return RAPT_OK;
    const uint32_t others[] = {1, splits / 4, splits / 2, splits * 2, splits * 4};
    for (size_t i = 0; i < RAPT_COUNT(others) && status == RAPT_OK; i++)
        if (others[i] > 0 && others[i] <= MOST_SPLITS &&
            (others[i] == 1 || t->problem.nk / others[i] >= RAPT_MAX(row->keys_per_tile, 16)))
            status = add(t, row, score, others[i], error);
    return status;
}

/* Those that the planner's predicates accept, best score first; then, if asked for, those meant for other
 * devices; last the naive one. `plan` is the default's. */
static rapt_status list_entrants(tuning *t, const rapt_plan *plan, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    for (int score = INT16_MAX, next; score >= 0 && status == RAPT_OK; score = next) {
        next = -1;
        for (uint32_t i = 0; i < plan->candidate_count && status == RAPT_OK; i++) {
            const rapt_candidate *c = &plan->candidates[i];
            if (c->row == NULL || c->reason[0] != 0 || c->row->family == RAPT_FAMILY_MERGE)
                continue;
            if (c->score == score)
                status = add_row(t, c->row, c->score, error);
            else if (c->score < score)
                next = RAPT_MAX(next, c->score);
        }
    }
    const rapt_kernel_table *table = rapt_kernels();
    for (int naive = 0; naive < 2; naive++)
        for (uint32_t i = 0; i < table->row_count && status == RAPT_OK; i++) {
            const rapt_kernel_row *row = &table->rows[i];
            const bool yardstick = row->family == RAPT_FAMILY_NAIVE;
            const bool foreign = t->race.options.every_row && row->score[t->race.device->caps.device_class] < 0 &&
                                 row->family != RAPT_FAMILY_MERGE && row->family != RAPT_FAMILY_PEAK &&
                                 !(row->supports & RAPT_ROW_BENCH_ONLY);
            if (!(naive ? yardstick : foreign && !yardstick) || rapt_quirk(row, &t->race.device->caps) != NULL ||
                rapt_race_is_blocked(&t->race, row) || !(row->dtypes >> t->problem.dtype & 1))
                continue;
            const uint32_t before = t->race.count;
            status = add_row(t, row, row->score[t->race.device->caps.device_class], error);
            if (status == RAPT_OK && t->race.count > before && !t->race.list[before].alive)
                t->race.count = before; /* refused by what it can do: no candidate */
        }
    return status;
}

/* ---- the call */

static rapt_status check_problem(tuning *t, rapt_error *error)
{
    const rapt_attention_desc *desc = t->desc;
    const rapt_caps *caps = &t->race.device->caps;
    rapt_status status = rapt_attention_problem(desc, &t->problem, error);
    if (status != RAPT_OK)
        return status;
    if (desc->kernel != NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a forced kernel ('%.64s') leaves nothing to tune",
                         desc->kernel);
    if (desc->score_mod[0] != NULL || desc->mask_mod[0] != NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "problems with score_mod or mask_mod are not tuned: what is right there only the app knows");
    if (!rapt_problem_is_tunable(&t->problem))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "problems with biases, decay, segments, block masks, rotary positions, QK-norm, a link, a gate, col_sums or row_max "
                         "are not tuned: nothing proves results of these");
    if (t->problem.empty)
        return rapt_fail(error, RAPT_ERROR_INVALID, "an empty problem has nothing to tune");
    if (!rapt_tuning_key(&t->problem, caps, &t->race.key))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "packed sequences are tuned for their bounds: set max_seqlen_q and max_seqlen_k");
    if (caps->no_execution)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s only compiles", caps->device_name);
    return rapt_device_alive(t->race.device, error);
}

static rapt_status run_all(tuning *t, rapt_proof *proof, rapt_tune_result *result, rapt_error *error)
{
    rapt_race *race = &t->race;
    rapt_plan *plan = NULL;
    rapt_status status = rapt_plan_new(race->device, &race->device->caps, t->desc, &race->verdicts, &plan, error);
    if (status == RAPT_OK)
        status = list_entrants(t, plan, error);
    rapt_plan_destroy(&plan);
    if (status == RAPT_OK)
        status = rapt_proof_make(race->device, t->desc, &t->problem, proof, error);
    return status == RAPT_OK ? rapt_race_run(race, result, error) : status;
}

rapt_status rapt_attention_tune(rapt_device *device, const rapt_attention_desc *desc,
                                const rapt_tune_options *options, rapt_tune_result *result,
                                rapt_tune_candidate *candidates, uint32_t capacity, rapt_error *error)
{
    tuning t = {.desc = desc};
    rapt_proof proof = {0};
    rapt_status status = rapt_race_begin(&t.race, device, options, result, error);
    if (status == RAPT_OK)
        status = check_problem(&t, error);
    if (status != RAPT_OK)
        return status;
    *result = (rapt_tune_result){.struct_size = result->struct_size};
    rapt_tuning_label(&t.problem, t.race.label, sizeof t.race.label);
    memcpy(result->problem, t.race.label, sizeof result->problem);
    t.race.rules = &rules;
    t.race.proof = &proof;
    const double throughput = rapt_device_throughput(device, NULL);
    status = run_all(&t, &proof, result, error);
    rapt_device_throughput(device, &throughput);
    rapt_race_end(&t.race, result, candidates, capacity);
    if (!t.race.stuck) /* else the device may still be writing into the buffers */
        rapt_proof_free(&proof);
    return status;
}
