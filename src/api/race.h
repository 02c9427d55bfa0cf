/* What tuning does with candidates of any operator: each is proven, then they are timed in turns, and one may replace the
 * default. */
#ifndef RAPT_API_RACE_H
#define RAPT_API_RACE_H

#include "api/api.h"

#define RAPT_RACE_ROUNDS 200 /* at most */

/* Results that are held against each other. */
enum { RAPT_PROOF_REFERENCE, RAPT_PROOF_LATEST, RAPT_PROOF_RESULTS };

/* One candidate. `alive`: in the race; else info.state says why not. */
typedef struct rapt_entrant {
    rapt_tune_candidate info;
    const rapt_kernel_row *row; /* that does the main work */
    int score;
    rapt_tuned asked; /* what a plan is asked for to be this one: key_splits, form, chunk */
    bool usual;       /* plans may take it by themselves: the best score of these is the default */
    bool blockable;   /* its row alone is to blame for wrong results */
    bool alive;
    rapt_plan *plan;
    rapt_binding *binding;
    double samples[RAPT_RACE_ROUNDS];
} rapt_entrant;

/* What only the operator knows: `proof` is the tensors that all candidates read and write. */
typedef struct rapt_race_rules {
    rapt_status (*bind)(void *proof, rapt_plan *plan, rapt_binding **binding, rapt_error *error);
    /* Poisons the outputs, submits, waits, and takes the result down as result `which`. */
    rapt_status (*run)(void *proof, rapt_binding *binding, int which, rapt_error *error);
    /* The worst error of a sample of a result, as a share of what is allowed; infinite for NaN. */
    double (*sample)(void *proof, int which);
    /* The worst difference between the latest result and the reference, likewise. Above 1, *culprit is the result that is off from
     * double precision, or -1 where both are within bounds. */
    double (*compare)(void *proof, int *culprit);
} rapt_race_rules;

typedef struct rapt_race {
    rapt_device *device;
    rapt_tune_options options;
    rapt_verdicts verdicts; /* without measured choices */
    rapt_hash key;          /* what the choice is kept under */
    char label[192];        /* what it holds for, in words */
    const rapt_race_rules *rules;
    void *proof;
    rapt_entrant *list;
    uint32_t count, capacity, rounds;
    bool stopped, stuck; /* by the caller; by a run that does not end, whose memory must be left alone */
} rapt_race;

/* Checks what every call of tuning is given, and takes the options. */
rapt_status rapt_race_begin(rapt_race *race, rapt_device *device, const rapt_tune_options *options, rapt_tune_result *result,
                            rapt_error *error);
/* One more candidate, zeroed but for plan, row, its name and score. The plan is the race's from now on; NULL: none can be made,
 * because of `why`. NULL: no memory, said in `error`. */
rapt_entrant *rapt_race_add(rapt_race *race, rapt_plan *plan, const rapt_kernel_row *row, int score, const rapt_error *why,
                            rapt_error *error);
bool rapt_race_is_blocked(const rapt_race *race, const rapt_kernel_row *row);
/* Proves, times, chooses, keeps. */
rapt_status rapt_race_run(rapt_race *race, rapt_tune_result *result, rapt_error *error);
/* Fills what both have; the proof may be freed unless race->stuck. */
void rapt_race_end(rapt_race *race, rapt_tune_result *result, rapt_tune_candidate *candidates, uint32_t capacity);

#endif
