/* An earlier result of rapt bench, and whether a case has become slower. */
#ifndef RAPT_TOOL_BENCH_BASELINE_H
#define RAPT_TOOL_BENCH_BASELINE_H

#include "figure.h"

#include <rapt/status.h>

typedef struct baseline_case {
    const char *device, *name; /* into `json` */
    bool ok;                   /* else it was wrong, refused or failed, and has no figures */
    bench_figure clock[2];     /* seconds: by the device's clock, by the wall's; count 0 where not measured */
    bool by_name;              /* can be run again by its name; else of a replay */
} baseline_case;

typedef struct baseline {
    cJSON *json;
    const char *started; /* "" where it does not say */
    baseline_case *cases;
    size_t count;
} baseline;

/* False with one line in `error`, naming the file and the place in it, for what rapt bench --json did not
 * write. Free in any case. */
bool baseline_read(const char *path, baseline *out, rapt_error *error);
void baseline_free(baseline *b);

/* NULL: not there. A case of another device counts only if the baseline knows one device alone. */
const baseline_case *baseline_find(const baseline *b, const char *device, const char *name);

bool baseline_knows(const baseline *b, const char *device);

typedef enum baseline_verdict {
    BASELINE_SAME,
    BASELINE_SLOWER,
    BASELINE_FASTER,
    BASELINE_NEW,     /* not in the baseline, or without a time there */
    BASELINE_MISSING, /* in the baseline alone, or without a time now */
    BASELINE_WRONG,   /* now */
    BASELINE_UNKNOWN, /* too few samples on either side for an interval */
    BASELINE_VERDICTS
} baseline_verdict;
const char *baseline_verdict_name(baseline_verdict verdict);

typedef struct baseline_ratio {
    double median, low, high; /* of new to old time; 1.1: a tenth slower */
    bool device_clock;
} baseline_ratio;

/* Slower only if the medians' intervals lie apart and the ratio of the medians is beyond 1 + threshold;
 * faster likewise, beyond 1 / (1 + threshold). Clocks: the device's if both have it, else the wall's;
 * neither: BASELINE_NEW. Without a 95 % interval on both sides there is no telling: BASELINE_UNKNOWN. */
baseline_verdict baseline_judge(const baseline_case *old, const bench_figure now[2], double threshold,
                                baseline_ratio *ratio);

#endif
