// linear: linear attention beside causal softmax attention of the same shape, B1H8D64 f32, both of rapt, on
// the default device: rounds of one run each, one after the other. Linear attention is timed only after its
// result was proven against double precision; of dense attention `peers` and `rapt check` do that.
#include "os.h"
#include "stats.h"

#include "check/oracle_linear.h"

#include <rapt/rapt.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 8, DIM = 64, KINDS = 7, MOST_ROUNDS = 100 };

static const char help[] = "Usage: linear [--rounds N] [--tokens N]..\n"
                           "\n"
                           "Times causal softmax attention, and linear attention with a fixed decay per "
                           "head, gates per channel, and gated\n"
                           "delta, B1H8D64 f32; --tokens: 1024, 4096 and 16384 unless given; --rounds: 7. "
                           "The ratio is that of the dense time\n"
                           "to the other in the same round: median and 95 % interval.\n"
                           "Exit status: 0 good, 1 wrong result or failure, 2 bad input.\n";

typedef struct kind {
    const char *name;
    bool dense, gate, delta;
    rapt_linear_form form;
} kind;
static const kind kinds[KINDS] = {
    {"dense, causal", true, false, false, RAPT_LINEAR_AUTO},
    {"decay, as planned", false, false, false, RAPT_LINEAR_AUTO},
    {"decay, recurrent", false, false, false, RAPT_LINEAR_RECURRENT},
    {"decay, chunked", false, false, false, RAPT_LINEAR_CHUNKED},
    {"gate, as planned", false, true, false, RAPT_LINEAR_AUTO},
    {"gate, chunked", false, true, false, RAPT_LINEAR_CHUNKED},
    {"gated delta, as planned", false, true, true, RAPT_LINEAR_AUTO},
};

typedef struct job {
    rapt_plan *plan;
    rapt_binding *binding;
    char kernel[64];
    double seconds[MOST_ROUNDS];
} job;

typedef struct setup {
    rapt_runtime *runtime;
    rapt_device *device;
    uint64_t tokens;
    float *q, *k, *v, *gate, *beta, *out, decay[HEADS];
    rapt_buffer *bq, *bk, *bv, *bgate, *bbeta, *bdecay, *bout;
    job jobs[KINDS];
} setup;

static float next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

static rapt_status fill(rapt_device *device, float **data, uint64_t count, float low, float high,
                        uint32_t seed, rapt_buffer **buffer, rapt_error *error)
{
    *data = malloc(count * sizeof **data);
    if (*data == NULL)
        return RAPT_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t i = 0; i < count; i++)
        (*data)[i] = low + (high - low) * (0.5f + 0.5f * next(&seed));
    rapt_status status = rapt_buffer_create(device, count * 4, buffer, error);
    return status == RAPT_OK ? rapt_buffer_upload(*buffer, 0, *data, count * 4, error) : status;
}

static rapt_status open_setup(setup *s, rapt_error *error)
{
    const uint64_t count = HEADS * s->tokens * DIM;
    rapt_status status = fill(s->device, &s->q, count, -1, 1, 1, &s->bq, error);
    if (status == RAPT_OK) // keys of at most length 1, for the delta rule
        status = fill(s->device, &s->k, count, -0.125f, 0.125f, 2, &s->bk, error);
    if (status == RAPT_OK)
        status = fill(s->device, &s->v, count, -1, 1, 3, &s->bv, error);
    if (status == RAPT_OK)
        status = fill(s->device, &s->gate, count, 0.9f, 1, 4, &s->bgate, error);
    if (status == RAPT_OK)
        status = fill(s->device, &s->beta, HEADS * s->tokens, 0, 1, 5, &s->bbeta, error);
    for (int h = 0; h < HEADS; h++)
        s->decay[h] = expf(-1.0f / (float)(32 << (h & 3)));
    if (status == RAPT_OK)
        status = rapt_buffer_create(s->device, sizeof s->decay, &s->bdecay, error);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(s->bdecay, 0, s->decay, sizeof s->decay, error);
    if (status == RAPT_OK)
        status = rapt_buffer_create(s->device, count * 4, &s->bout, error);
    s->out = malloc(count * sizeof *s->out);
    return status == RAPT_OK && s->out == NULL ? RAPT_ERROR_OUT_OF_HOST_MEMORY : status;
}

static void close_setup(setup *s)
{
    for (int i = 0; i < KINDS; i++) {
        rapt_binding_destroy(&s->jobs[i].binding);
        rapt_plan_destroy(&s->jobs[i].plan);
    }
    rapt_buffer **const buffers[] = {&s->bq, &s->bk, &s->bv, &s->bgate, &s->bbeta, &s->bdecay, &s->bout};
    float **const data[] = {&s->q, &s->k, &s->v, &s->gate, &s->beta, &s->out};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        rapt_buffer_destroy(buffers[i]);
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        free(*data[i]);
        *data[i] = NULL;
    }
    memset(s->jobs, 0, sizeof s->jobs);
}

static rapt_linear_desc describe(const setup *s, const kind *k)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.q = d.k = d.v = d.out = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, s->tokens, DIM);
    if (k->gate)
        d.gate = d.q;
    else
        d.decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {HEADS}, .stride = {1}};
    if (k->delta) {
        d.rule = RAPT_LINEAR_DELTA;
        d.beta = (rapt_tensor){.dtype = RAPT_F32,
                               .rank = 3,
                               .size = {1, HEADS, s->tokens},
                               .stride = {(int64_t)(HEADS * s->tokens), (int64_t)s->tokens, 1}};
    }
    d.form = k->form;
    return d;
}

static rapt_status prepare(setup *s, const kind *k, job *j, rapt_error *error)
{
    rapt_status status;
    if (k->dense) {
        rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
        d.q = d.k = d.v = d.out = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, s->tokens, DIM);
        d.flags = RAPT_ATTENTION_CAUSAL;
        status = rapt_attention_plan(s->device, &d, &j->plan, error);
    } else {
        const rapt_linear_desc d = describe(s, k);
        status = rapt_linear_plan(s->device, &d, &j->plan, error);
    }
    if (status == RAPT_OK)
        status = rapt_plan_prepare(j->plan, error);
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    if (status == RAPT_OK)
        status = rapt_plan_describe(j->plan, &info, error);
    snprintf(j->kernel, sizeof j->kernel, "%s", info.kernel);
    if (status == RAPT_OK && k->dense) {
        rapt_attention_args a = RAPT_ATTENTION_ARGS_INIT;
        a.q.buffer = s->bq;
        a.k.buffer = s->bk;
        a.v.buffer = s->bv;
        a.out.buffer = s->bout;
        status = rapt_attention_bind(j->plan, &a, &j->binding, error);
    } else if (status == RAPT_OK) {
        rapt_linear_args a = RAPT_LINEAR_ARGS_INIT;
        a.q.buffer = s->bq;
        a.k.buffer = s->bk;
        a.v.buffer = s->bv;
        a.out.buffer = s->bout;
        a.decay.buffer = k->gate ? s->bgate : s->bdecay;
        a.beta.buffer = s->bbeta;
        status = rapt_linear_bind(j->plan, &a, &j->binding, error);
    }
    return status;
}

static rapt_status run(job *j, double *seconds, rapt_error *error)
{
    const double start = rapt_bench_now();
    rapt_status status = rapt_submit(j->binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(j->binding, UINT64_MAX, error);
    *seconds = rapt_bench_now() - start;
    return status;
}

// The largest error as a share of the largest output; NAN where there is no memory.
static double error_of(const setup *s, const kind *k)
{
    const uint64_t count = HEADS * s->tokens * DIM;
    double *want = malloc(count * sizeof *want), worst = 0, size = 0;
    rapt_linear_desc d = describe(s, k);
    d.form = RAPT_LINEAR_AUTO;
    const rapt_check_linear_inputs in = {
        .q = s->q, .k = s->k, .v = s->v, .decay = k->gate ? s->gate : s->decay, .beta = s->beta};
    if (want == NULL || !rapt_check_linear(&d, &in, false, want, NULL, NULL))
        return (double)NAN;
    for (uint64_t i = 0; i < count; i++) {
        const double off = fabs((double)s->out[i] - want[i]);
        worst = off <= worst ? worst : isnan(off) ? (double)INFINITY : off;
        size = fmax(size, fabs(want[i]));
    }
    free(want);
    return worst / size;
}

static int bench(setup *s, int rounds)
{
    rapt_error error = {0};
    rapt_status status = open_setup(s, &error);
    for (int i = 0; i < KINDS && status == RAPT_OK; i++) {
        double seconds;
        status = prepare(s, &kinds[i], &s->jobs[i], &error);
        if (status == RAPT_OK)
            status = run(&s->jobs[i], &seconds, &error);
        if (status == RAPT_OK)
            status = rapt_buffer_download(s->bout, 0, s->out, HEADS * s->tokens * DIM * 4, &error);
        if (status != RAPT_OK || kinds[i].dense)
            continue;
        const double off = error_of(s, &kinds[i]);
        if (!(off < 1e-5)) {
            fprintf(stderr, "linear: %s at %llu tokens is wrong by %g of its largest output\n", kinds[i].name,
                    (unsigned long long)s->tokens, off);
            return 1;
        }
    }
    for (int r = 0; r < rounds && status == RAPT_OK; r++)
        for (int i = 0; i < KINDS && status == RAPT_OK; i++)
            status = run(&s->jobs[i], &s->jobs[i].seconds[r], &error);
    if (status != RAPT_OK) {
        fprintf(stderr, "linear: %s: %s\n", rapt_status_name(status), error.message);
        return 1;
    }
    for (int i = 0; i < KINDS; i++) {
        const job *j = &s->jobs[i];
        const rapt_interval ratio = rapt_stats_ratio(s->jobs[0].seconds, j->seconds, (size_t)rounds, 0.95);
        const double median = rapt_stats_of(j->seconds, (size_t)rounds).median;
        printf("%6llu  %-24s %-28s %10.3f ms %8.3f us/token  %7.3gx [%.3g, %.3g]\n",
               (unsigned long long)s->tokens, kinds[i].name, j->kernel, median * 1e3,
               median * 1e6 / (double)s->tokens, ratio.median, ratio.low, ratio.high);
    }
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t tokens[16] = {1024, 4096, 16384};
    int sizes = 3, given = 0, rounds = 7;
    for (int i = 1; i < argc; i++) {
        const bool value = i + 1 < argc;
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        const long number = value ? strtol(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--rounds") == 0 && number >= 1 && number <= MOST_ROUNDS) {
            rounds = (int)number;
        } else if (strcmp(argv[i], "--tokens") == 0 && number >= 1 && number <= 1 << 24 && given < 16) {
            tokens[given++] = (uint64_t)number;
            sizes = given;
        } else {
            fprintf(stderr, "linear: '%s': see linear --help\n", argv[i]);
            return 2;
        }
        i++;
    }
    static setup s;
    rapt_error error = {0};
    rapt_status status = rapt_runtime_create(NULL, &s.runtime, &error);
    if (status == RAPT_OK)
        status = rapt_device_open(s.runtime, NULL, &s.device, &error);
    int code = status == RAPT_OK ? 0 : 1;
    if (code != 0)
        fprintf(stderr, "linear: %s\n", error.message);
    else
        printf("%s, %s\n", rapt_device_caps(s.device)->device_name, rapt_device_caps(s.device)->driver_info);
    for (int i = 0; i < sizes && code == 0; i++) {
        s.tokens = tokens[i];
        code = bench(&s, rounds);
        close_setup(&s);
    }
    rapt_device_destroy(&s.device);
    rapt_runtime_destroy(&s.runtime);
    return code;
}
