// Contestants timed side by side: each first proven correct, then run in interleaved rounds together with the
// machine's own peaks.
#ifndef RAPT_BENCH_MEASURE_H
#define RAPT_BENCH_MEASURE_H

#include "native.h"
#include "peer.h"
#include "stats.h"

#include <signal.h>

typedef struct rapt_bench_entry {
    // Set by the caller.
    const rapt_peer_kind *kind;
    rapt_peer *peer;
    const rapt_bench_case *c;
    const rapt_bench_inputs *inputs;

    // Results. Not ready: refused, failed or wrong, as error says; then nothing else below is meaningful but
    // the difference, if checked is set.
    bool ready, checked;
    rapt_bench_error error;
    rapt_bench_difference difference; // the worse of the result before and the one after the timed runs
    double first_seconds;             // the very first run, which compiles where anything is compiled
    int runs_per_sample;              // as many as it takes to fill min_sample_seconds
    double *seconds,
        *host_seconds; // per run, one of each for every round; host: CPU time of the calling thread

    rapt_peer_job *job; // while measuring
} rapt_bench_entry;

typedef struct rapt_bench_plan {
    int rounds;
    double min_sample_seconds; // runs shorter than this are repeated within a sample
    double settle_seconds;     // pause before each sample: thread pools spin on for a while after their work
    double native_seconds;     // length of one native sample; 0: no native peaks
    double patience_seconds;   // a round in which other programs took more than quiet_share of the CPUs is
    double quiet_share; // done again, until this much time has gone into such rounds; 0: all rounds count
    bool progress;      // on standard error
} rapt_bench_plan;

extern const rapt_bench_plan rapt_bench_plan_default;

typedef struct rapt_bench_group {
    rapt_bench_entry *entries;
    int count;
    rapt_bench_plan plan;
    rapt_native *native;                   // NULL: no native peaks
    double *rates[RAPT_NATIVE_ITEM_COUNT]; // one for each round, NULL where not measured
    rapt_native_peaks peaks;
    double *others;   // of each round: the share of all CPUs that other programs took, -1 where unknown
    int rounds_again; // rounds done again
} rapt_bench_group;

// Fills in everything. False only where nothing could be measured at all (memory); entries that are not ready
// tell why by themselves. Free with rapt_bench_group_free.
bool rapt_bench_measure(rapt_bench_group *group, rapt_bench_error *error);
// Set it, also from a signal handler, to end early: the round at hand is finished, what was measured stays, and entries that
// have no round yet say that they were interrupted. plan.rounds is then what there was time for.
extern volatile sig_atomic_t rapt_bench_stopped;
void rapt_bench_group_free(rapt_bench_group *group);

// How often the first takes the second's time: median of the rounds' ratios, with its 95 % interval.
rapt_interval rapt_bench_time_ratio(const rapt_bench_group *group, const rapt_bench_entry *a,
                                    const rapt_bench_entry *b);
// The part (1 = all) of a native rate that work per second is, of the same round each: work in flop for FMA
// items, in bytes for memory. Count 0 where that item was not measured.
rapt_interval rapt_bench_share(const rapt_bench_group *group, const rapt_bench_entry *entry,
                               rapt_native_item item, double work);

#endif
