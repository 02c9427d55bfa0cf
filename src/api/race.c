/* See race.h. */
#include "api/race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SECONDS 2.0
#define LEAST_ROUNDS 7 /* however long they take: the interval of a median needs 6 */
#define SORTING_ROUNDS 3 /* which `seconds` leave out: few candidates survive them */
#define WORTH 1.02       /* a speedup below is noise, whatever its interval */
#define WARM_UP_NS 300000000u /* of runs before, on GPUs, whose clocks rise only under load */

/* false: the caller wants no more. */
static bool tell(rapt_race *t, const char *stage, const rapt_entrant *e, uint32_t done, uint32_t total)
{
    const rapt_tune_progress progress = {
        .stage = stage, .kernel = e->info.kernel, .done = done, .total = total};
    if (t->options.progress != NULL && t->options.progress(t->options.user, &progress) != 0)
        t->stopped = true;
    return !t->stopped;
}

static void drop(rapt_entrant *e, rapt_tune_state state, const char *reason)
{
    e->alive = false;
    e->info.state = state;
    snprintf(e->info.reason, sizeof e->info.reason, "%.*s", (int)sizeof e->info.reason - 1, reason);
    rapt_binding_destroy(&e->binding); /* its workspace is of use to others */
}

rapt_entrant *rapt_race_add(rapt_race *race, rapt_plan *plan, const rapt_kernel_row *row, int score, const rapt_error *why,
                            rapt_error *error)
{
    if (race->count == race->capacity) {
        rapt_entrant *grown = rapt_realloc_array(&race->device->runtime->allocator, race->list, race->capacity,
                                                 race->capacity + 16, sizeof *grown);
        if (grown == NULL) {
            rapt_plan_destroy(&plan);
            rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u candidates", race->capacity + 16);
            return NULL;
        }
        race->list = grown;
        race->capacity += 16;
    }
    rapt_entrant *e = &race->list[race->count++];
    memset(e, 0, sizeof *e);
    e->row = row;
    e->score = score;
    e->plan = plan;
    e->alive = plan != NULL;
    snprintf(e->info.kernel, sizeof e->info.kernel, "%s", row->name);
    if (plan == NULL)
        drop(e, RAPT_TUNE_FAILED, why->message);
    return e;
}

bool rapt_race_is_blocked(const rapt_race *race, const rapt_kernel_row *row)
{
    char reason[160];
    return race->verdicts.blocked != NULL && race->verdicts.blocked(race->verdicts.user, row, reason, sizeof reason);
}

/* ---- proving */

/* What ends the tuning, rather than a candidate's part in it. */
static bool is_fatal(rapt_status status)
{
    return status == RAPT_ERROR_DEVICE_LOST || status == RAPT_ERROR_OUT_OF_HOST_MEMORY ||
           status == RAPT_ERROR_TIMEOUT;
}

static rapt_status failed(rapt_race *t, rapt_entrant *e, rapt_status status, const rapt_error *why, rapt_error *error)
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
static rapt_status open_entrant(rapt_race *t, rapt_entrant *e, rapt_error *error)
{
    rapt_error why = {0};
    rapt_status status = rapt_plan_prepare(e->plan, &why);
    if (status == RAPT_OK)
        status = t->rules->bind(t->proof, e->plan, &e->binding, &why);
    return status == RAPT_OK ? RAPT_OK : failed(t, e, status, &why, error);
}

static rapt_status prove_run(rapt_race *t, rapt_entrant *e, int which, rapt_error *error)
{
    rapt_error why = {0};
    rapt_status status = t->rules->run(t->proof, e->binding, which, &why);
    return status == RAPT_OK ? RAPT_OK : failed(t, e, status, &why, error);
}

static void drop_wrong(rapt_entrant *e, double share)
{
    char reason[sizeof e->info.reason];
    snprintf(reason, sizeof reason, "its results are off by %.3g times what is allowed", share);
    e->info.error = share;
    drop(e, RAPT_TUNE_WRONG, reason);
}

static rapt_entrant *first_alive(rapt_race *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->list[i].alive)
            return &t->list[i];
    return NULL;
}

/* One attempt with the first candidate alive as the reference. *again: the reference turned out wrong, or
 * fell out. */
static rapt_status prove_against_first(rapt_race *t, bool *again, rapt_error *error)
{
    *again = true;
    rapt_entrant *reference = first_alive(t);
    if (reference == NULL)
        return rapt_fail(error, RAPT_ERROR_WRONG_RESULT,
                         "no kernel computes this problem right on this device; of '%s': %s",
                         t->count > 0 ? t->list[0].info.kernel : "",
                         t->count > 0 ? t->list[0].info.reason : "");
    for (rapt_entrant *e = reference; e < t->list + t->count; e++) {
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
            share = t->rules->sample(t->proof, RAPT_PROOF_REFERENCE);
            culprit = share > 1 ? RAPT_PROOF_REFERENCE : -1;
        } else {
            share = t->rules->compare(t->proof, &culprit);
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

static rapt_status prove(rapt_race *t, rapt_error *error)
{
    bool again = true;
    rapt_status status = RAPT_OK;
    while (again && status == RAPT_OK && !t->stopped) /* each time one candidate fewer */
        status = prove_against_first(t, &again, error);
    return status;
}

/* What is wrong goes onto the block list: the row, where it is as it would be chosen; other key splits alone
 * may be the fault of what merges them. */
static uint32_t block_wrong(rapt_race *t)
{
    uint32_t blocked = 0;
    for (uint32_t i = 0; i < t->count && !t->options.dry_run; i++) {
        const rapt_entrant *e = &t->list[i];
        char reason[160];
        if (e->info.state != RAPT_TUNE_WRONG || !e->blockable || rapt_race_is_blocked(t, e->row))
            continue;
        snprintf(reason, sizeof reason, "off by %.3g times what is allowed: %.100s", e->info.error, t->label);
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
static void take_figures(rapt_entrant *e, const rapt_entrant *by)
{
    double sorted[RAPT_RACE_ROUNDS];
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

static rapt_status time_one(rapt_race *t, rapt_entrant *e, double *ns, rapt_error *error)
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
static rapt_status run_round(rapt_race *t, rapt_error *error)
{
    for (uint32_t n = 0; n < t->count; n++) {
        rapt_entrant *e = &t->list[(n + t->rounds) % t->count];
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
static void drop_slow(rapt_race *t, const rapt_entrant *by_default)
{
    double best = INFINITY;
    for (uint32_t i = 0; i < t->count; i++) {
        rapt_entrant *e = &t->list[i];
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

static rapt_status race(rapt_race *t, rapt_entrant *by_default, rapt_error *error)
{
    double ignored;
    rapt_status status = RAPT_OK;
    const bool gpu = t->device->caps.device_class != RAPT_CLASS_SOFTWARE;
    for (uint64_t begin = rapt_now_ns();
         gpu && status == RAPT_OK && by_default->alive && rapt_now_ns() - begin < WARM_UP_NS;)
        status = time_one(t, by_default, &ignored, error);
    const double wanted = t->options.seconds * 1e9;
    uint64_t begin = rapt_now_ns();
    while (status == RAPT_OK && t->rounds < RAPT_RACE_ROUNDS && by_default->alive) {
        const double spent = (double)(rapt_now_ns() - begin);
        if (spent >= wanted && t->rounds >= LEAST_ROUNDS)
            break;
        const double share = fmax(spent / wanted, (double)t->rounds / RAPT_RACE_ROUNDS);
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
static rapt_entrant *find_default(rapt_race *t)
{
    rapt_entrant *best = NULL;
    for (uint32_t i = 0; i < t->count; i++) {
        rapt_entrant *e = &t->list[i];
        if (e->alive && e->usual && (best == NULL || e->score > best->score))
            best = e;
    }
    return best;
}

static rapt_entrant *find_winner(rapt_race *t, rapt_entrant *by_default)
{
    rapt_entrant *best = by_default;
    for (uint32_t i = 0; i < t->count; i++) {
        rapt_entrant *e = &t->list[i];
        if (e->alive && e != by_default && e->info.speedup_low > WORTH &&
            (best == by_default || e->info.speedup_low > best->info.speedup_low))
            best = e;
    }
    return best;
}

static rapt_status choose(rapt_race *t, rapt_entrant *by_default, rapt_tune_result *result, rapt_error *error)
{
    uint32_t timed = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        take_figures(&t->list[i], by_default);
        timed += t->list[i].info.samples > 0;
    }
    rapt_entrant *winner = find_winner(t, by_default);
    by_default->info.is_default = 1;
    winner->info.is_winner = !t->stopped;
    const bool same = winner == by_default;
    rapt_tuned tuned;
    memset(&tuned, 0, sizeof tuned); /* what is written holds no chance bytes */
    tuned.struct_size = sizeof tuned;
    tuned.key_splits = winner->asked.key_splits;
    tuned.form = winner->asked.form;
    tuned.chunk = winner->asked.chunk;
    tuned.candidates = timed;
    tuned.speedup = same ? 1 : winner->info.speedup;
    tuned.speedup_low = same ? 1 : winner->info.speedup_low;
    tuned.speedup_high = same ? 1 : winner->info.speedup_high;
    snprintf(tuned.kernel, sizeof tuned.kernel, "%s", winner->row->name);
    snprintf(tuned.default_kernel, sizeof tuned.default_kernel, "%s", by_default->row->name);
    snprintf(tuned.problem, sizeof tuned.problem, "%s", t->label);
    memcpy(result->kernel, tuned.kernel, sizeof result->kernel);
    memcpy(result->default_kernel, tuned.default_kernel, sizeof result->default_kernel);
    result->key_splits = winner->info.key_splits;
    result->default_key_splits = by_default->info.key_splits;
    result->chunk = winner->info.chunk;
    result->default_chunk = by_default->info.chunk;
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

rapt_status rapt_race_run(rapt_race *t, rapt_tune_result *result, rapt_error *error)
{
    rapt_status status = prove(t, error);
    if (!t->stuck)
        result->blocked = block_wrong(t);
    if (status != RAPT_OK || t->stopped)
        return status;
    rapt_entrant *by_default = find_default(t);
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

/* ---- one call */

rapt_status rapt_race_begin(rapt_race *race, rapt_device *device, const rapt_tune_options *options, rapt_tune_result *result,
                            rapt_error *error)
{
    if (device == NULL || result == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", device == NULL ? "device" : "result");
    if (result->struct_size < sizeof *result || (options != NULL && options->struct_size < sizeof *options))
        return rapt_fail(error, RAPT_ERROR_INVALID, "struct_size of %s: use its _INIT",
                         result->struct_size < sizeof *result ? "rapt_tune_result" : "rapt_tune_options");
    *race = (rapt_race){.device = device};
    if (options != NULL)
        race->options = *options;
    if (!isfinite(race->options.seconds) || race->options.seconds < 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_tune_options.seconds is %g", race->options.seconds);
    if (race->options.seconds == 0)
        race->options.seconds = DEFAULT_SECONDS;
    race->verdicts = rapt_device_verdicts(device);
    race->verdicts.tuned = NULL;
    return RAPT_OK;
}

void rapt_race_end(rapt_race *race, rapt_tune_result *result, rapt_tune_candidate *candidates, uint32_t capacity)
{
    result->candidate_count = race->count;
    result->rounds = race->rounds;
    result->stopped = race->stopped;
    for (uint32_t i = 0; i < race->count; i++) {
        if (candidates != NULL && i < capacity)
            candidates[i] = race->list[i].info;
        rapt_binding_destroy(&race->list[i].binding);
        rapt_plan_destroy(&race->list[i].plan);
    }
    rapt_free(&race->device->runtime->allocator, race->list, race->capacity * sizeof *race->list);
}
