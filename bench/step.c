// step: one token of linear attention, in place on its states (H 32, d 128, f32), beside the best copy kernel
// of the device suite: bytes of states read and written a second, as a share of those that the copy reads and
// writes. Rounds of one copy and a step of each rule, one after the other. A step is timed only after its
// output and state were proven against double precision.
#include "os.h"
#include "stats.h"

#include "check/oracle_linear.h"

#include <rapt/rapt.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 32, DIM = 128, KINDS = 6, MOST_ROUNDS = 100, STEPS = 12 };

static const char help[] =
    "Usage: step [--rounds N] [--batch N]..\n"
    "\n"
    "Times one token of linear attention, in place on states of 32 heads of 128 x 128 f32, beside the copy "
    "kernel of the\n"
    "device suite; --batch: 1 and 8 unless given; --rounds: 7. A rate is that of the state's bytes, read "
    "once and written\n"
    "once, whatever else is read; its share of the copy's in the same round: median and 95 % interval.\n"
    "Exit status: 0 good, 1 wrong result or failure, 2 bad input.\n";

typedef struct kind {
    const char *name;
    rapt_linear_rule rule;
    bool decay, gate;
} kind;
static const kind kinds[KINDS] = {
    {"decay", RAPT_LINEAR_NONE, true, false},
    {"gate", RAPT_LINEAR_NONE, false, true},
    {"delta", RAPT_LINEAR_DELTA, false, false},
    {"gated delta", RAPT_LINEAR_DELTA, true, false},
    {"gated delta, per channel", RAPT_LINEAR_DELTA, false, true},
    {"dplr", RAPT_LINEAR_DPLR, false, true},
};

typedef enum part { Q, K, V, A, B, GATE, DECAY, BETA, STATE, OUT, PARTS } part;

typedef struct setup {
    rapt_device *device;
    uint64_t batch, count[PARTS];
    float *data[PARTS];
    rapt_buffer *buffer[PARTS];
    rapt_plan *plan[KINDS];
    rapt_binding *binding[KINDS];
    double rate[KINDS][MOST_ROUNDS], copy[MOST_ROUNDS];
} setup;

static float next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

static rapt_status open_setup(setup *s, rapt_error *error)
{
    const uint64_t heads = s->batch * HEADS, rows = heads * DIM;
    static const float low[PARTS] = {[GATE] = 0.9f, [DECAY] = 0.9f},
                       high[PARTS] = {[GATE] = 1, [DECAY] = 1, [BETA] = 1};
    rapt_status status = RAPT_OK;
    for (int i = 0; i < PARTS && status == RAPT_OK; i++) {
        uint32_t seed = (uint32_t)i + 1;
        s->count[i] = i == STATE ? rows * DIM : i == DECAY || i == BETA ? heads : rows;
        s->data[i] = malloc(s->count[i] * sizeof(float));
        if (s->data[i] == NULL)
            return RAPT_ERROR_OUT_OF_HOST_MEMORY;
        for (uint64_t n = 0; n < s->count[i]; n++)
            s->data[i][n] = high[i] > low[i] ? low[i] + (high[i] - low[i]) * (0.5f + 0.5f * next(&seed))
                                             : 0.088f * next(&seed);
        status = rapt_buffer_create(s->device, s->count[i] * 4, &s->buffer[i], error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(s->buffer[i], 0, s->data[i], s->count[i] * 4, error);
    }
    for (uint64_t n = 0; n < s->count[A] && status == RAPT_OK; n++) // a step forgets, whatever it has read
        s->data[A][n] = -s->data[B][n];
    return status == RAPT_OK ? rapt_buffer_upload(s->buffer[A], 0, s->data[A], s->count[A] * 4, error)
                             : status;
}

static void close_setup(setup *s)
{
    for (int i = 0; i < KINDS; i++) {
        rapt_binding_destroy(&s->binding[i]);
        rapt_plan_destroy(&s->plan[i]);
    }
    for (int i = 0; i < PARTS; i++) {
        rapt_buffer_destroy(&s->buffer[i]);
        free(s->data[i]);
        s->data[i] = NULL;
    }
}

static rapt_linear_desc describe(const setup *s, const kind *k)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    const rapt_tensor numbers = {
        .dtype = RAPT_F32, .rank = 3, .size = {s->batch, HEADS, 1}, .stride = {HEADS, 1, 1}};
    d.q = d.k = d.v = d.out = rapt_tensor_bhnd(RAPT_F32, s->batch, HEADS, 1, DIM);
    d.state_out = rapt_tensor_bhnd(RAPT_F32, s->batch, HEADS, DIM, DIM);
    d.rule = k->rule;
    d.flags = RAPT_LINEAR_IN_PLACE;
    if (k->gate)
        d.gate = d.q;
    if (k->decay)
        d.decay = numbers;
    if (k->rule == RAPT_LINEAR_DELTA)
        d.beta = numbers;
    if (k->rule == RAPT_LINEAR_DPLR)
        d.a = d.b = d.q;
    return d;
}

static rapt_status prepare(setup *s, int i, rapt_error *error)
{
    const kind *k = &kinds[i];
    const rapt_linear_desc d = describe(s, k);
    rapt_status status = rapt_linear_plan(s->device, &d, &s->plan[i], error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(s->plan[i], error);
    rapt_linear_args a = RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[PARTS] = {&a.q, &a.k, &a.v, &a.a, &a.b, NULL, NULL, &a.beta, &a.state_out, &a.out};
    for (int n = 0; n < PARTS; n++)
        if (slots[n] != NULL)
            slots[n]->buffer = s->buffer[n];
    a.decay.buffer = s->buffer[k->gate ? GATE : DECAY];
    return status == RAPT_OK ? rapt_linear_bind(s->plan[i], &a, &s->binding[i], error) : status;
}

static rapt_status run(rapt_binding *binding, double *seconds, rapt_error *error)
{
    const double start = rapt_bench_now();
    rapt_status status = rapt_submit(binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(binding, UINT64_MAX, error);
    *seconds = rapt_bench_now() - start;
    return status;
}

static double worst_of(const float *got, const double *want, uint64_t count)
{
    double worst = 0;
    for (uint64_t i = 0; i < count; i++) {
        const double off = fabs((double)got[i] - want[i]);
        worst = off <= worst ? worst : isnan(off) ? (double)INFINITY : off;
    }
    return worst;
}

// One step from what was uploaded: the largest error of output and state, whose numbers are below 1. NAN: no
// memory.
static double prove(setup *s, int i, rapt_error *error)
{
    double seconds, off = (double)NAN;
    rapt_linear_desc d = describe(s, &kinds[i]);
    d.flags = 0; // for the oracle: a state given, and another wanted
    d.state_in = d.state_out;
    float *got = malloc((s->count[OUT] + s->count[STATE]) * sizeof *got);
    double *want = malloc((s->count[OUT] + s->count[STATE]) * sizeof *want);
    const rapt_check_linear_inputs in = {.q = s->data[Q],
                                         .k = s->data[K],
                                         .v = s->data[V],
                                         .decay = s->data[kinds[i].gate ? GATE : DECAY],
                                         .beta = s->data[BETA],
                                         .a = s->data[A],
                                         .b = s->data[B],
                                         .state_in = s->data[STATE]};
    rapt_status status = got != NULL && want != NULL ? RAPT_OK : RAPT_ERROR_OUT_OF_HOST_MEMORY;
    if (status == RAPT_OK)
        status = rapt_buffer_upload(s->buffer[STATE], 0, s->data[STATE], s->count[STATE] * 4, error);
    if (status == RAPT_OK)
        status = run(s->binding[i], &seconds, error);
    if (status == RAPT_OK)
        status = rapt_buffer_download(s->buffer[OUT], 0, got, s->count[OUT] * 4, error);
    if (status == RAPT_OK)
        status = rapt_buffer_download(s->buffer[STATE], 0, got + s->count[OUT], s->count[STATE] * 4, error);
    if (status == RAPT_OK && rapt_check_linear(&d, &in, false, want, want + s->count[OUT], NULL))
        off = worst_of(got, want, s->count[OUT] + s->count[STATE]);
    free(got);
    free(want);
    return off;
}

// Bytes a second that the copy kernel reads and writes.
static rapt_status copy_rate(rapt_device *device, double *rate, rapt_error *error)
{
    uint32_t count = 0;
    rapt_status status = rapt_device_gauge_count(device, &count, error);
    for (uint32_t i = 0; i < count && status == RAPT_OK; i++) {
        rapt_gauge_info info = RAPT_GAUGE_INFO_INIT;
        rapt_gauge_options options = RAPT_GAUGE_OPTIONS_INIT;
        rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
        status = rapt_device_gauge(device, i, &info, error);
        if (status != RAPT_OK || strcmp(info.name, "copy") != 0)
            continue;
        options.seconds = 0.1;
        status = rapt_device_measure(device, i, &options, NULL, 0, &result, error);
        *rate = result.median;
        return status;
    }
    return status == RAPT_OK ? RAPT_ERROR_UNSUPPORTED : status;
}

// The median rate of a few steps.
static rapt_status step_rate(const setup *s, int i, double *rate, rapt_error *error)
{
    double seconds[STEPS];
    rapt_status status = run(s->binding[i], &seconds[0], error);
    for (int n = 0; n < STEPS && status == RAPT_OK; n++)
        status = run(s->binding[i], &seconds[n], error);
    *rate = 8.0 * (double)s->count[STATE] / rapt_stats_of(seconds, STEPS).median;
    return status;
}

static int bench(setup *s, int rounds)
{
    rapt_error error = {0};
    rapt_status status = open_setup(s, &error);
    for (int i = 0; i < KINDS && status == RAPT_OK; i++) {
        status = prepare(s, i, &error);
        const double off = status == RAPT_OK ? prove(s, i, &error) : 0;
        if (status == RAPT_OK && !(off < 1e-5)) {
            fprintf(stderr, "step: %s, batch %llu: wrong by %g %s\n", kinds[i].name,
                    (unsigned long long)s->batch, off, error.message);
            return 1;
        }
    }
    for (int r = 0; r < rounds && status == RAPT_OK; r++) {
        status = copy_rate(s->device, &s->copy[r], &error);
        for (int i = 0; i < KINDS && status == RAPT_OK; i++)
            status = step_rate(s, i, &s->rate[i][r], &error);
    }
    if (status != RAPT_OK) {
        fprintf(stderr, "step: %s: %s\n", rapt_status_name(status), error.message);
        return 1;
    }
    printf("batch %llu: copy kernel %.3g GB/s\n", (unsigned long long)s->batch,
           rapt_stats_of(s->copy, (size_t)rounds).median * 1e-9);
    for (int i = 0; i < KINDS; i++) {
        const rapt_interval share = rapt_stats_ratio(s->rate[i], s->copy, (size_t)rounds, 0.95);
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        if (rapt_plan_describe(s->plan[i], &info, &error) != RAPT_OK)
            return 1;
        printf("  %-26s %-28s %6.3g GB/s, %3.0f %% of the copy [%.0f, %.0f]\n", kinds[i].name, info.kernel,
               rapt_stats_of(s->rate[i], (size_t)rounds).median * 1e-9, share.median * 100, share.low * 100,
               share.high * 100);
    }
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t batches[16] = {1, 8};
    int sizes = 2, given = 0, rounds = 7;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        const long number = i + 1 < argc ? strtol(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--rounds") == 0 && number >= 1 && number <= MOST_ROUNDS) {
            rounds = (int)number;
        } else if (strcmp(argv[i], "--batch") == 0 && number >= 1 && number <= 1024 && given < 16) {
            batches[given++] = (uint64_t)number;
            sizes = given;
        } else {
            fprintf(stderr, "step: '%s': see step --help\n", argv[i]);
            return 2;
        }
        i++;
    }
    static setup s;
    rapt_runtime *runtime = NULL;
    rapt_error error = {0};
    rapt_status status = rapt_runtime_create(NULL, &runtime, &error);
    if (status == RAPT_OK)
        status = rapt_device_open(runtime, NULL, &s.device, &error);
    int code = status == RAPT_OK ? 0 : 1;
    if (code != 0)
        fprintf(stderr, "step: %s\n", error.message);
    else
        printf("%s, %s\n", rapt_device_caps(s.device)->device_name, rapt_device_caps(s.device)->driver_info);
    for (int i = 0; i < sizes && code == 0; i++) {
        s.batch = batches[i];
        code = bench(&s, rounds);
        close_setup(&s);
    }
    rapt_device_destroy(&s.device);
    rapt_runtime_destroy(&runtime);
    return code;
}
