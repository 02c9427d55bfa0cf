/* rapt bench from inside: what its parts share. One run measures gauges and cases on one device after the
 * other; results become JSON at once, and tables, CSV and the page of the report are made from that. */
#ifndef RAPT_TOOL_BENCH_H
#define RAPT_TOOL_BENCH_H

#include "baseline.h"
#include "figure.h"
#include "output.h"
#include "progress.h"
#include "replay.h"
#include "tool.h"

#include "check/runner_linear.h"
#include "check/runner_system.h"

#define BENCH_MAX_DEVICES 16
#define BENCH_MAX_SAMPLES 1000

typedef enum bench_mode {
    BENCH_QUICK,
    BENCH_FULL,
    BENCH_SUSTAINED,
    BENCH_SWEEP,
    BENCH_REPLAY,
    BENCH_COMPARE,
    BENCH_PEERS,
    BENCH_MODES
} bench_mode;

typedef struct bench_options {
    const char *devices[BENCH_MAX_DEVICES + 1];
    const char *caps, *cases, *filter, *kernel, *gauges, *samples, *seconds, *threshold;
    output_files to;
    const char *compare;
    const char *shared; /* devices that share each case */
    bool list, verbose, distributed; /* distributed: another program reads the options */
    bench_mode mode;
    const char *file; /* of replay and compare */
} bench_options;

/* ---- what a device can do ---- */

typedef struct sensors sensors;

typedef struct bench_roofline {
    struct {
        char key[24]; /* "f32", "f16", "matrix-f16" */
        char gauge[64];
        double flops; /* per second */
    } peaks[16];
    size_t peak_count;
    struct {
        char gauge[64];
        double bytes, rate; /* working set; bytes per second */
    } reads[64];
    size_t read_count;
} bench_roofline;

typedef struct bench_device {
    rapt_device *device;
    const rapt_caps *caps;
    sensors *sensors;
    bench_roofline roof;
    cJSON *json; /* DEVICE, see RESULTS.md */
} bench_device;

typedef struct bench {
    const bench_options *o;
    rapt_runtime *runtime;
    cJSON *json;
    FILE *out; /* where tables go */
    bool colour;
    int64_t samples;  /* 0: by time */
    double seconds;   /* --seconds, 0: the mode's own */
    double threshold; /* of comparisons: 0.1 is 10 % */
    baseline old;
    replay recorded;
    tool_progress progress;
    double planned, done; /* seconds, as foreseen */
    size_t ok, wrong, refused, failed, regressions;
    int failed_code; /* the exit code that failures stand for */
    bool lost;       /* the device is: nothing more can be measured on it */
} bench;

void bench_progress(bench *b, double seconds, const char *what); /* so many more of `planned` are done */

/* ---- cases ---- */

typedef enum bench_status { BENCH_UNTIMED, BENCH_OK, BENCH_WRONG, BENCH_REFUSED, BENCH_FAILED } bench_status;

/* A case on a device: what it is, and what came of it. */
typedef struct bench_case {
    rapt_case c;             /* of a system and of linear attention: name and dtype alone */
    rapt_system_case system; /* without a problem: attention, as c says */
    bool left_out;           /* of a sweep: too long for this device */
    const rapt_attention_desc *as; /* a recorded problem; NULL: as the case says */
    const replay_problem *linear;  /* a recorded problem of linear attention; NULL: another */
    double weight;                 /* of a recorded problem: how often it was computed */
    const char *kernel;            /* forced; NULL: chosen */

    bench_status status; /* BENCH_UNTIMED: interrupted before there was a time */
    char message[400], why[200];
    rapt_plan_info info;
    rapt_check_difference proof;
    uint64_t rows, memory_bytes;
    bool sampled;
    double cold_seconds, flops, bytes, density;
    double *device, *wall; /* seconds of a run; device[0] is negative without timestamps */
    size_t count;
    double joules; /* of a run; negative: not known */
} bench_case;

/* How cases are timed: about `seconds` each, or so many samples. */
typedef struct bench_sampling {
    double seconds;
    size_t samples;
} bench_sampling;

/* Proves each case, then times those that are right in rounds that take turns, so that a drift of the machine
 * meets them all alike. Never fails as a whole: each case tells what became of it. */
void bench_cases_measure(bench *b, bench_device *d, bench_case *cases, size_t count, bench_sampling how);
void bench_case_free(bench_case *c);
bool bench_has_device_clock(const bench_case *c);
const double *bench_case_samples(const bench_case *c); /* by the clock that rates come from */

/* A case that is right and ready to run. */
typedef struct bench_live {
    const struct bench_live_kind *kind;
    double open_ns; /* of planning, preparing and binding */
    rapt_check_problem problem; /* of attention */
    rapt_trial trial;
    rapt_system_info info; /* of a system */
    rapt_check_system system;
    rapt_system_trial *system_trial;
    rapt_linear_trial linear;
} bench_live;
bool bench_case_open(bench *b, bench_device *d, bench_case *c, bench_live *live);
void bench_case_close(bench_live *live);
rapt_status bench_live_submit(bench_live *live, double *device_ns, double *wall_ns, rapt_error *error);
rapt_result bench_live_check(bench_live *live);
/* Notes that it failed, or that the device refused it. */
void bench_case_fail(bench *b, bench_case *c, rapt_status status, const char *message);
bool bench_case_is_system(const bench_case *c);
bool bench_case_is_attention(const bench_case *c); /* softmax attention, whose sizes are in c->c */
double bench_case_bytes(const bench_case *c); /* of its tensors, gaps included; of systems a guess */

/* CASE of RESULTS.md. */
cJSON *bench_case_json(const bench_device *d, const bench_case *c);
const char *bench_case_group(const bench_case *c);

/* ---- suites ---- */

/* Each list is to be freed. */
bench_case *bench_suite(const bench *b, const bench_device *d, size_t *count, rapt_error *error);
/* Names, one a line, of what a mode would time. */
void bench_suite_print(FILE *out, bench_mode mode);

typedef struct bench_sweep_series {
    const char *label;
    bench_case *cases; /* at xs[..] of the sweep */
} bench_sweep_series;
typedef struct bench_sweep {
    const char *name, *axis, *unit;
    const char *speed; /* what its lines are compared by: "work", FLOP or bytes a second; where those differ "calls" a second, or
                        * "time of a token" */
    double xs[16];
    size_t x_count, series_count;
    bench_sweep_series series[8];
} bench_sweep;
size_t bench_sweep_count(void);
/* The index-th sweep for such a device. Free in any case. */
bool bench_sweep_make(size_t index, const rapt_caps *caps, const char *filter, const char *kernel,
                      bench_sweep *out);
bool bench_sweep_named(const char *filter); /* does it leave anything? */
void bench_sweep_free(bench_sweep *s);

/* ---- gauges and the roofline ---- */

typedef enum bench_extent { BENCH_GAUGES_ROOFLINE, BENCH_GAUGES_QUICK, BENCH_GAUGES_FULL } bench_extent;
/* Fills d->roof and d->json's gauges. */
void bench_gauges_measure(bench *b, bench_device *d, bench_extent extent);
double bench_gauges_seconds(const bench_device *d, bench_extent extent); /* as foreseen */
/* Peaks are measured once more behind the cases: the better one counts. */
void bench_gauges_again(bench *b, bench_device *d);
double bench_peak(const bench_roofline *r, const char *key); /* FLOP/s; 0: unknown */
cJSON *bench_roofline_json(const bench_roofline *r);
/* FLOP/s that the roofline allows a kernel at this work; 0: unknown. *peak: key of the peak that bounds it.
 */
double bench_roof(const bench_roofline *r, const char *kernel, rapt_dtype dtype, double flops, double bytes,
                  const char **peak, bool *memory_bound);

/* ---- modes of their own ---- */

void bench_sustained(bench *b, bench_device *d, bench_case *cases, size_t count);
/* Fills b->json's peers. Returns an exit code. */
int bench_peers(bench *b);
/* Cases shared by the devices of o->shared. Fills b->json's shared. Returns an exit code. */
int bench_shared(bench *b);
/* Hands over to the program that runs under MPI. argv[0] is "bench". */
int bench_distributed(int argc, char **argv);

/* ---- tables ---- */

void bench_print_gauge_head(bench *b);
void bench_print_gauge(bench *b, const cJSON *gauge);
void bench_print_case_head(bench *b);
void bench_print_case(bench *b, const bench_device *d, const bench_case *c);
void bench_print_sustained(bench *b, const cJSON *run);
/* Fills b->json's comparison from the cases in b->json, prints it, counts regressions. */
void bench_compare(bench *b, const char *path);
const char *bench_red(const bench *b);
const char *bench_plain(const bench *b);

/* Lines of all results in `json` (see RESULTS.md), to be freed; NULL: no memory. */
char *bench_csv(const cJSON *json);

#endif
