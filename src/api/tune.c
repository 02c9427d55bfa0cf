/* Tuning: every row that accepts a problem, proven, then timed in turns against the one that plans take by
 * default. */
#include "api/proof.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SECONDS 2.0
#define LEAST_ROUNDS 7 /* however long they take: the interval of a median needs 6 */
#define MOST_ROUNDS 200
#define SORTING_ROUNDS 3 /* which `seconds` leave out: few candidates survive them */
#define WORTH 1.02       /* a speedup below is noise, whatever its interval */
#define SHORT_QUERIES 16 /* query rows, packed heads included, up to which other key splits are tried */
#define MOST_SPLITS 256
#define WARM_UP_NS 300000000u /* of runs before, on GPUs, whose clocks rise only under load */

/* One candidate. `alive`: in the race; else info.state says why not. */
typedef struct entrant {
    rapt_tune_candidate info;
    const rapt_kernel_row *row;
    int score;
    uint32_t asked; /* key splits asked for; 0: as the row chooses by itself */
    bool alive, proven;
    rapt_plan *plan;
    rapt_binding *binding;
    double samples[MOST_ROUNDS];
} entrant;

typedef struct tuning {
    rapt_device *device;
    const rapt_attention_desc *desc;
    rapt_problem problem;
    rapt_hash key;
    rapt_tune_options options;
    rapt_verdicts verdicts; /* without measured choices */
    entrant *list;
    uint32_t count, capacity;
    uint32_t rounds;
    rapt_proof proof;
    bool stopped, stuck; /* by the caller; by a run that does not end, whose memory must be left alone */
} tuning;

/* false: the caller wants no more. */
static bool tell(tuning *t, const char *stage, const entrant *e, uint32_t done, uint32_t total)
{
    const rapt_tune_progress progress = {
        .stage = stage, .kernel = e->info.kernel, .done = done, .total = total};
    if (t->options.progress != NULL && t->options.progress(t->options.user, &progress) != 0)
        t->stopped = true;
    return !t->stopped;
}

static void drop(entrant *e, rapt_tune_state state, const char *reason)
{
    e->alive = false;
    e->info.state = state;
    snprintf(e->info.reason, sizeof e->info.reason, "%.*s", (int)sizeof e->info.reason - 1, reason);
    rapt_binding_destroy(&e->binding); /* its workspace is of use to others */
}

/* ---- candidates */

static rapt_status add(tuning *t, const rapt_kernel_row *row, int score, uint32_t asked, rapt_error *error)
{
    rapt_attention_desc desc = *t->desc;
    desc.kernel = row->name;
    if (asked != 0)
        desc.key_splits = asked;
    rapt_error why = {0};
    rapt_plan *plan = NULL;
    rapt_status status = rapt_plan_new(t->device, &t->device->caps, &desc, &t->verdicts, &plan, &why);
    if (status == RAPT_ERROR_OUT_OF_HOST_MEMORY) {
        if (error != NULL)
            *error = why;
        return status;
    }
    for (uint32_t i = 0; i < t->count && plan != NULL; i++) /* rounded to tiles, it may be there already */
        if (t->list[i].row == row && t->list[i].info.key_splits == plan->splits) {
            rapt_plan_destroy(&plan);
            return RAPT_OK;
        }
    if (t->count == t->capacity) {
        entrant *grown = rapt_realloc_array(&t->device->runtime->allocator, t->list, t->capacity,
                                            t->capacity + 16, sizeof *grown);
        if (grown == NULL) {
            rapt_plan_destroy(&plan);
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u candidates",
                             t->capacity + 16);
        }
        t->list = grown;
        t->capacity += 16;
    }
    entrant *e = &t->list[t->count++];
    memset(e, 0, sizeof *e);
    e->row = row;
    e->score = score;
    e->asked = asked;
    e->plan = plan;
    e->alive = plan != NULL;
    e->info.key_splits = plan != NULL ? plan->splits : asked;
    snprintf(e->info.kernel, sizeof e->info.kernel, "%s", row->name);
    if (plan == NULL)
        drop(e, RAPT_TUNE_FAILED, why.message);
    return RAPT_OK;
}

/* The row as it would choose, and with more and fewer key splits where the queries are few. */
static rapt_status add_row(tuning *t, const rapt_kernel_row *row, int score, rapt_error *error)
{
    const uint32_t first = t->count;
    rapt_status status = add(t, row, score, 0, error);
    if (status != RAPT_OK || t->count == first || !t->list[first].alive || t->problem.key_splits != 0 ||
        !(row->supports & RAPT_ROW_PARTIAL) || row->family == RAPT_FAMILY_NAIVE)
        return status;
    const rapt_plan *plan = t->list[first].plan;
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

static bool is_blocked(const tuning *t, const rapt_kernel_row *row)
{
    char reason[160];
    return t->verdicts.blocked != NULL && t->verdicts.blocked(t->verdicts.user, row, reason, sizeof reason);
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
            const bool foreign = t->options.every_row && row->score[t->device->caps.device_class] < 0 &&
                                 row->family != RAPT_FAMILY_MERGE && row->family != RAPT_FAMILY_PEAK &&
                                 !(row->supports & RAPT_ROW_BENCH_ONLY);
            if (!(naive ? yardstick : foreign && !yardstick) || rapt_quirk(row, &t->device->caps) != NULL ||
                is_blocked(t, row) || !(row->dtypes >> t->problem.dtype & 1))
                continue;
            const uint32_t before = t->count;
            status = add_row(t, row, row->score[t->device->caps.device_class], error);
            if (status == RAPT_OK && t->count > before && !t->list[before].alive)
                t->count = before; /* refused by what it can do: no candidate */
        }
    return status;
}

/* ---- proving */

/* What ends the tuning, rather than a candidate's part in it. */
static bool is_fatal(rapt_status status)
{
    return status == RAPT_ERROR_DEVICE_LOST || status == RAPT_ERROR_OUT_OF_HOST_MEMORY ||
           status == RAPT_ERROR_TIMEOUT;
}

static rapt_status failed(tuning *t, entrant *e, rapt_status status, const rapt_error *why, rapt_error *error)
{
    if (!is_fatal(status)) {
        drop(e, RAPT_TUNE_FAILED, why->message);
        return RAPT_OK;
    }
    t->stuck |= status == RAPT_ERROR_TIMEOUT || atomic_load(&t->device->hung);
    if (error != NULL)
        *error = *why;
    return status;
}

/* Pipelines, probe, binding. RAPT_OK with the entrant dropped where it cannot be made. */
static rapt_status open_entrant(tuning *t, entrant *e, rapt_error *error)
{
    rapt_error why = {0};
    rapt_status status = rapt_plan_prepare(e->plan, &why);
    if (status == RAPT_OK)
        status = rapt_attention_bind(e->plan, &t->proof.args, &e->binding, &why);
    return status == RAPT_OK ? RAPT_OK : failed(t, e, status, &why, error);
}

static rapt_status prove_run(tuning *t, entrant *e, int which, rapt_error *error)
{
    rapt_error why = {0};
    rapt_status status = rapt_proof_run(&t->proof, e->binding, which, &why);
    return status == RAPT_OK ? RAPT_OK : failed(t, e, status, &why, error);
}

static void drop_wrong(entrant *e, double share)
{
    char reason[sizeof e->info.reason];
    snprintf(reason, sizeof reason, "its results are off by %.3g times what is allowed", share);
    e->info.error = share;
    drop(e, RAPT_TUNE_WRONG, reason);
}

static entrant *first_alive(tuning *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->list[i].alive)
            return &t->list[i];
    return NULL;
}

/* One attempt with the first candidate alive as the reference. *again: the reference turned out wrong, or
 * fell out. */
static rapt_status prove_against_first(tuning *t, bool *again, rapt_error *error)
{
    *again = true;
    entrant *reference = first_alive(t);
    if (reference == NULL)
        return rapt_fail(error, RAPT_ERROR_WRONG_RESULT,
                         "no kernel computes this problem right on this device; of '%s': %s",
                         t->count > 0 ? t->list[0].info.kernel : "",
                         t->count > 0 ? t->list[0].info.reason : "");
    for (entrant *e = reference; e < t->list + t->count; e++) {
        if (!e->alive)
            continue;
        if (!tell(t, "proving", e, (uint32_t)(e - t->list), t->count))
            return RAPT_OK;
        rapt_status status = e->binding == NULL ? open_entrant(t, e, error) : RAPT_OK;
        if (status == RAPT_OK && e->alive)
            status = prove_run(t, e, e == reference ? RAPT_PROOF_REFERENCE : RAPT_PROOF_LATEST, error);
        if (status != RAPT_OK)
            return status;
        if (!e->alive && e == reference)
            return RAPT_OK;
        if (!e->alive)
            continue;
        int culprit = -1;
        double share;
        if (e == reference) {
            share = rapt_proof_sample(&t->proof, RAPT_PROOF_REFERENCE);
            culprit = share > 1 ? RAPT_PROOF_REFERENCE : -1;
        } else {
            share = rapt_proof_compare(&t->proof, &culprit);
        }
        e->info.error = share;
        if (culprit == RAPT_PROOF_REFERENCE) {
            drop_wrong(reference, share);
            return RAPT_OK;
        }
        if (culprit == RAPT_PROOF_LATEST)
            drop_wrong(e, share);
    }
    *again = false;
    return RAPT_OK;
}

static rapt_status prove(tuning *t, rapt_error *error)
{
    bool again = true;
    rapt_status status = RAPT_OK;
    while (again && status == RAPT_OK && !t->stopped) /* each time one candidate fewer */
        status = prove_against_first(t, &again, error);
    return status;
}

/* What is wrong goes onto the block list: the row, where it is as it would be chosen; other key splits alone
 * may be the fault of what merges them. */
static uint32_t block_wrong(tuning *t)
{
    uint32_t blocked = 0;
    for (uint32_t i = 0; i < t->count && !t->options.dry_run; i++) {
        const entrant *e = &t->list[i];
        char reason[160], label[120];
        if (e->info.state != RAPT_TUNE_WRONG || (e->asked != 0 && e->info.key_splits > 1) ||
            is_blocked(t, e->row))
            continue;
        rapt_tuning_label(&t->problem, label, sizeof label);
        snprintf(reason, sizeof reason, "off by %.3g times what is allowed: %.100s", e->info.error, label);
        if (rapt_device_block(t->device, e->row->name, reason, NULL, NULL) == RAPT_OK) {
            rapt_log_write(&t->device->runtime->log, RAPT_LOG_WARNING, "kernel %s is blocked: %s",
                           e->row->name, reason);
            blocked++;
        }
    }
    return blocked;
}

/* ---- timing */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(const double *sorted, uint32_t n)
{
    return n == 0 ? 0 : (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/* From which place, counted from either end, an interval of sorted samples holds the median with 95 % at
 * least: the signs of n samples are a binomial. 0: n is too small. */
static uint32_t interval_rank(uint32_t n)
{
    double term = pow(0.5, n), below = 0;
    uint32_t rank = 0;
    for (uint32_t k = 0; k < n / 2; k++) {
        below += term;
        if (below > 0.025)
            break;
        rank = k + 1;
        term *= (double)(n - k) / (double)(k + 1);
    }
    return rank;
}

/* Fills the figures of one candidate from its samples and the default's. */
static void take_figures(entrant *e, const entrant *by)
{
    double sorted[MOST_ROUNDS];
    const uint32_t n = e->info.samples;
    memcpy(sorted, e->samples, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    e->info.median_ns = median_of(sorted, n);
    e->info.min_ns = n > 0 ? sorted[0] : 0;
    e->info.max_ns = n > 0 ? sorted[n - 1] : 0;
    const uint32_t pairs = by != NULL ? RAPT_MIN(n, by->info.samples) : 0;
    for (uint32_t i = 0; i < pairs; i++)
        sorted[i] = by->samples[i] / e->samples[i];
    qsort(sorted, pairs, sizeof *sorted, ascending);
    const uint32_t rank = interval_rank(pairs);
    e->info.speedup = median_of(sorted, pairs);
    e->info.speedup_low = rank > 0 ? sorted[rank - 1] : 0;
    e->info.speedup_high = rank > 0 ? sorted[pairs - rank] : 0;
}

static rapt_status time_one(tuning *t, entrant *e, double *ns, rapt_error *error)
{
    rapt_error why = {0};
    rapt_timing timing;
    const uint64_t begin = rapt_now_ns();
    rapt_status status = rapt_submit(e->binding, &why);
    if (status == RAPT_OK)
        status = rapt_wait(e->binding, UINT64_MAX, &why);
    const double wall = (double)(rapt_now_ns() - begin);
    if (status != RAPT_OK)
        return failed(t, e, status, &why, error);
    rapt_binding_timing(e->binding, &timing);
    *ns = fmax(timing.device_ns > 0 ? timing.device_ns : wall, 1);
    return RAPT_OK;
}

/* Each candidate once, beginning with another one each time, so that none always follows the same. */
static rapt_status run_round(tuning *t, rapt_error *error)
{
    for (uint32_t n = 0; n < t->count; n++) {
        entrant *e = &t->list[(n + t->rounds) % t->count];
        double ns = 0;
        if (!e->alive)
            continue;
        rapt_status status = time_one(t, e, &ns, error);
        if (status != RAPT_OK)
            return status;
        if (e->alive)
            e->samples[e->info.samples++] = ns;
    }
    t->rounds++;
    return RAPT_OK;
}

/* Left out is what in its fastest run is that much over the best median: the fewer the rounds, the more it
 * takes. */
static double slow_factor(uint32_t rounds)
{
    return rounds < 2 ? 3 : rounds < SORTING_ROUNDS ? 2 : 1.3;
}

/* Leaves out what cannot win any more. The default stays: speedups are against it. */
static void drop_slow(tuning *t, const entrant *by_default)
{
    double best = INFINITY;
    for (uint32_t i = 0; i < t->count; i++) {
        entrant *e = &t->list[i];
        if (e->alive)
            take_figures(e, by_default);
        if (e->alive && e->info.median_ns < best)
            best = e->info.median_ns;
    }
    for (uint32_t i = 0; i < t->count; i++)
        if (t->list[i].alive && &t->list[i] != by_default &&
            t->list[i].info.min_ns > best * slow_factor(t->rounds))
            drop(&t->list[i], RAPT_TUNE_SLOW, "");
}

static rapt_status race(tuning *t, entrant *by_default, rapt_error *error)
{
    double ignored;
    rapt_status status = RAPT_OK;
    const bool gpu = t->device->caps.device_class != RAPT_CLASS_SOFTWARE;
    for (uint64_t begin = rapt_now_ns();
         gpu && status == RAPT_OK && by_default->alive && rapt_now_ns() - begin < WARM_UP_NS;)
        status = time_one(t, by_default, &ignored, error);
    const double wanted = t->options.seconds * 1e9;
    uint64_t begin = rapt_now_ns();
    while (status == RAPT_OK && t->rounds < MOST_ROUNDS && by_default->alive) {
        const double spent = (double)(rapt_now_ns() - begin);
        if (spent >= wanted && t->rounds >= LEAST_ROUNDS)
            break;
        const double share = fmax(spent / wanted, (double)t->rounds / MOST_ROUNDS);
        if (!tell(t, "timing", by_default, (uint32_t)(100 * fmin(share, 1)), 100))
            break;
        status = run_round(t, error);
        if (status == RAPT_OK && by_default->alive)
            drop_slow(t, by_default);
        if (t->rounds == SORTING_ROUNDS)
            begin = rapt_now_ns();
    }
    return status;
}

/* ---- the choice */

/* The one the planner would take without measurements: the best score, as it is by itself. */
static entrant *find_default(tuning *t)
{
    entrant *best = NULL;
    for (uint32_t i = 0; i < t->count; i++) {
        entrant *e = &t->list[i];
        if (e->alive && e->asked == 0 && e->row->family != RAPT_FAMILY_NAIVE && e->score >= 0 &&
            (best == NULL || e->score > best->score))
            best = e;
    }
    return best;
}

static entrant *find_winner(tuning *t, entrant *by_default)
{
    entrant *best = by_default;
    for (uint32_t i = 0; i < t->count; i++) {
        entrant *e = &t->list[i];
        if (e->alive && e != by_default && e->info.speedup_low > WORTH &&
            (best == by_default || e->info.speedup_low > best->info.speedup_low))
            best = e;
    }
    return best;
}

static rapt_status choose(tuning *t, entrant *by_default, rapt_tune_result *result, rapt_error *error)
{
    uint32_t timed = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        take_figures(&t->list[i], by_default);
        timed += t->list[i].info.samples > 0;
    }
    entrant *winner = find_winner(t, by_default);
    by_default->info.is_default = 1;
    winner->info.is_winner = !t->stopped;
    const bool same = winner == by_default;
    rapt_tuned tuned;
    memset(&tuned, 0, sizeof tuned);
    tuned.struct_size = sizeof tuned;
    tuned.key_splits = winner->asked;
    tuned.candidates = timed;
    tuned.speedup = same ? 1 : winner->info.speedup;
    tuned.speedup_low = same ? 1 : winner->info.speedup_low;
    tuned.speedup_high = same ? 1 : winner->info.speedup_high;
    snprintf(tuned.kernel, sizeof tuned.kernel, "%s", winner->row->name);
    snprintf(tuned.default_kernel, sizeof tuned.default_kernel, "%s", by_default->row->name);
    rapt_tuning_label(&t->problem, tuned.problem, sizeof tuned.problem);
    memcpy(result->kernel, tuned.kernel, sizeof result->kernel);
    memcpy(result->default_kernel, tuned.default_kernel, sizeof result->default_kernel);
    result->key_splits = winner->info.key_splits;
    result->default_key_splits = by_default->info.key_splits;
    result->speedup = tuned.speedup;
    result->speedup_low = tuned.speedup_low;
    result->speedup_high = tuned.speedup_high;
    if (t->stopped || t->options.dry_run)
        return RAPT_OK;
    bool stored;
    rapt_status status = rapt_tuning_keep(t->device, t->key, &tuned, &stored, error);
    result->stored = stored;
    return status;
}

static rapt_status run_all(tuning *t, rapt_tune_result *result, rapt_error *error)
{
    rapt_plan *plan = NULL;
    rapt_status status = rapt_plan_new(t->device, &t->device->caps, t->desc, &t->verdicts, &plan, error);
    if (status == RAPT_OK)
        status = list_entrants(t, plan, error);
    rapt_plan_destroy(&plan);
    if (status == RAPT_OK)
        status = rapt_proof_make(t->device, t->desc, &t->problem, &t->proof, error);
    if (status == RAPT_OK)
        status = prove(t, error);
    if (!t->stuck)
        result->blocked = block_wrong(t);
    if (status != RAPT_OK || t->stopped)
        return status;
    entrant *by_default = find_default(t);
    if (by_default == NULL)
        return rapt_fail(error, RAPT_ERROR_WRONG_RESULT,
                         "no kernel but the naive one computes this problem right on %s",
                         t->device->caps.device_name);
    status = race(t, by_default, error);
    if (status == RAPT_OK && !by_default->alive)
        return rapt_fail(error, RAPT_ERROR_INCOMPLETE, "kernel '%s' failed while it was timed: %s",
                         by_default->info.kernel, by_default->info.reason);
    return status == RAPT_OK ? choose(t, by_default, result, error) : status;
}

static void close_all(tuning *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        rapt_binding_destroy(&t->list[i].binding);
        rapt_plan_destroy(&t->list[i].plan);
    }
    if (!t->stuck) /* else the device may still be writing into the buffers */
        rapt_proof_free(&t->proof);
}

static rapt_status check_arguments(rapt_device *device, const rapt_attention_desc *desc,
                                   const rapt_tune_options *options, const rapt_tune_result *result,
                                   tuning *t, rapt_error *error)
{
    if (device == NULL || result == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", device == NULL ? "device" : "result");
    if (result->struct_size < sizeof *result || (options != NULL && options->struct_size < sizeof *options))
        return rapt_fail(error, RAPT_ERROR_INVALID, "struct_size of %s: use its _INIT",
                         result->struct_size < sizeof *result ? "rapt_tune_result" : "rapt_tune_options");
    if (options != NULL)
        t->options = *options;
    if (!isfinite(t->options.seconds) || t->options.seconds < 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_tune_options.seconds is %g", t->options.seconds);
    if (t->options.seconds == 0)
        t->options.seconds = DEFAULT_SECONDS;
    rapt_status status = rapt_attention_problem(desc, &t->problem, error);
    if (status != RAPT_OK)
        return status;
    if (desc->kernel != NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a forced kernel ('%.64s') leaves nothing to tune",
                         desc->kernel);
    if (desc->score_mod[0] != NULL || desc->mask_mod[0] != NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "problems with score_mod or mask_mod are not tuned: what is right there only the app knows");
    if (!rapt_problem_is_plain(&t->problem))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "problems with sinks, biases, ALiBi, segments, block masks, rotary positions, QK-norm, a link or a gate "
                         "are not tuned: nothing proves results of these");
    if (t->problem.empty)
        return rapt_fail(error, RAPT_ERROR_INVALID, "an empty problem has nothing to tune");
    if (!rapt_tuning_key(&t->problem, &device->caps, &t->key))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "packed sequences are tuned for their bounds: set max_seqlen_q and max_seqlen_k");
    if (device->caps.no_execution)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s only compiles", device->caps.device_name);
    return rapt_device_alive(device, error);
}

rapt_status rapt_attention_tune(rapt_device *device, const rapt_attention_desc *desc,
                                const rapt_tune_options *options, rapt_tune_result *result,
                                rapt_tune_candidate *candidates, uint32_t capacity, rapt_error *error)
{
    tuning t = {.device = device, .desc = desc};
    rapt_status status = check_arguments(device, desc, options, result, &t, error);
    if (status != RAPT_OK)
        return status;
    *result = (rapt_tune_result){.struct_size = result->struct_size};
    rapt_tuning_label(&t.problem, result->problem, sizeof result->problem);
    t.verdicts = rapt_device_verdicts(device);
    t.verdicts.tuned = NULL;
    const double throughput = rapt_device_throughput(device, NULL);
    status = run_all(&t, result, error);
    rapt_device_throughput(device, &throughput);
    result->candidate_count = t.count;
    result->rounds = t.rounds;
    result->stopped = t.stopped;
    for (uint32_t i = 0; i < t.count && candidates != NULL && i < capacity; i++)
        candidates[i] = t.list[i].info;
    close_all(&t);
    rapt_free(&device->runtime->allocator, t.list, t.capacity * sizeof *t.list);
    return status;
}
