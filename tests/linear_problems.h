/* Problems of linear attention for tests: their numbers, running them, and holding them against the oracle.
 */
#ifndef RAPT_TESTS_LINEAR_PROBLEMS_H
#define RAPT_TESTS_LINEAR_PROBLEMS_H

#include "rig.h"

#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_linear.h"
#include "plan/plan.h"

#include <math.h>

enum { DECAY_ONE, DECAY_HEAD, DECAY_TOKEN, DECAY_CHANNEL };

/* A problem; what is 0 is absent, or the usual. */
typedef struct lin {
    const char *name;
    rapt_dtype dtype;
    uint64_t batch, heads, heads_q, heads_k, heads_v, n, d_k, d_v;
    rapt_linear_rule rule;
    rapt_phi feature, feature_k; /* feature_k with own_k */
    float power, feature_scale;
    bool own_k, both, by_keys, standardize, scales; /* both: bidirectional */
    const char *map;            /* GLSL of RAPT_PHI_USER: user_map below */
    rapt_linear_form form;
    uint32_t chunk;
    int decay;
    double low, high; /* range of decays, or of their logarithms; both 0: 0.5 to 1 */
    double extreme;   /* every seventh decay is this; with `extremes` */
    bool extremes, log, beta, normalize, state_in, state_out, in_place, odd;
    double beta_is; /* every beta, if not 0; -1: 0 */
    uint32_t sequences;
    uint64_t length[6], max_seqlen;
    uint64_t limit;
    float slice_ms;
    double
        tolerance; /* times what is earned; 0: 1. Where the order of sums matters more than usual; says why */
    const char *kernel;
    uint64_t poison;  /* all of this token is NaN; 0: none */
    const uint64_t *positions; /* states after these too */
    uint32_t position_count;
    double collinear; /* delta, or dplr with `removes`: keys are one vector and so much noise */
    double removes;   /* dplr: keys have length 1, a is a key and b the same times minus this, as RWKV-7 has it; 0: small numbers */
    double large;     /* dplr: times a and b, if not 0 */
} lin;

/* Tensors of a run, in this order. */
enum { Q, K, V, OUT, A, B, DECAY, BETA, STATE_IN, STATE_OUT, NORM_IN, NORM_OUT, SCALE_Q, SCALE_K, CU, TENSORS };
typedef struct made {
    rapt_linear_desc d;
    rapt_tensor *tensor[TENSORS];
    void *data[TENSORS];
    uint64_t bytes[TENSORS];
    double *out, *state, *norm; /* results, contiguous */
    uint64_t out_count, state_count, norm_count;
    rapt_plan_info info;
    uint32_t chunk; /* as planned */
    uint64_t chain;
} made;

static uint64_t seed_state;
static inline double uniform(void)
{
    seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(seed_state >> 11) * 0x1p-53;
}
static inline double gauss(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

/* Rows lie apart by a pitch; what is between holds NaN. */
static inline rapt_tensor view(rapt_dtype dtype, uint32_t rank, uint64_t a, uint64_t b, uint64_t c,
                               uint64_t d, bool odd)
{
    rapt_tensor t = {.dtype = dtype, .rank = rank, .size = {a, b, c, d}};
    const uint64_t pitch = rank == 4 ? (odd ? d | 1 : (d + 11) / 8 * 8) : odd ? 3 : 1;
    t.stride[3] = 1;
    t.stride[2] = (int64_t)pitch;
    t.stride[1] = (int64_t)(pitch * c + (odd ? 5 : 8));
    t.stride[0] = t.stride[1] * (int64_t)b;
    t.align = odd ? rapt_dtype_size(dtype) : 16;
    return t;
}

static inline void fill(made *m, int which, double (*number)(const lin *, uint64_t, uint64_t), const lin *l)
{
    const rapt_tensor *t = m->tensor[which];
    m->bytes[which] = rapt_tensor_bytes(t);
    m->data[which] = malloc(m->bytes[which] + 4);
    assert_non_null(m->data[which]);
    memset(m->data[which], 0xff, m->bytes[which] + 4);
    if (number == NULL)
        return;
    uint64_t size[4] = {1, 1, 1, 1}, count = 0;
    for (uint32_t axis = 0; axis < t->rank; axis++)
        size[axis] = t->size[axis];
    for (uint64_t a = 0; a < size[0]; a++)
        for (uint64_t b = 0; b < size[1]; b++)
            for (uint64_t c = 0; c < size[2]; c++)
                for (uint64_t d = 0; d < size[3]; d++) {
                    const int64_t at = (int64_t)a * t->stride[0] +
                                       (t->rank > 1 ? (int64_t)b * t->stride[1] : 0) +
                                       (t->rank > 2 ? (int64_t)c * t->stride[2] : 0) + (int64_t)d;
                    rapt_check_store(m->data[which], t->dtype, at, (float)number(l, count++, c));
                }
}

static inline double normal(const lin *l, uint64_t i, uint64_t token)
{
    (void)l, (void)i, (void)token;
    return gauss();
}
static inline double unit_key(const lin *l, uint64_t i, uint64_t token) /* of about unit length */
{
    (void)i, (void)token;
    return gauss() / sqrt((double)l->d_k);
}
static inline double small_key(const lin *l, uint64_t i, uint64_t token)
{
    return 0.5 * (l->large != 0 ? l->large : 1) * unit_key(l, i, token);
}
static inline double decay_number(const lin *l, uint64_t i, uint64_t token)
{
    (void)token;
    const bool usual = l->low == 0 && l->high == 0;
    const double low = usual ? 0.5 : l->low, high = usual ? 1 : l->high;
    if (l->extremes && i % 7 == 3)
        return l->extreme;
    const double x = low + (high - low) * uniform();
    return l->log && usual ? log(x) : x;
}
static inline double beta_number(const lin *l, uint64_t i, uint64_t token)
{
    (void)i, (void)token;
    return l->beta_is != 0 ? fmax(l->beta_is, 0) : uniform();
}
static inline double positive(const lin *l, uint64_t i, uint64_t token)
{
    (void)l, (void)i, (void)token;
    return 0.5 + uniform();
}

/* Keys of length 1; with `collinear` they are nearly the same. */
static inline void normalize_keys(const lin *l, made *m)
{
    const rapt_tensor *t = &m->d.k;
    double row[256];
    for (uint64_t b = 0; b < t->size[0]; b++)
        for (uint64_t h = 0; h < t->size[1]; h++)
            for (uint64_t i = 0; i < t->size[2]; i++) {
                const int64_t at =
                    (int64_t)b * t->stride[0] + (int64_t)h * t->stride[1] + (int64_t)i * t->stride[2];
                double square = 0;
                for (uint64_t x = 0; x < l->d_k; x++) {
                    row[x] = (double)rapt_check_load(m->data[K], t->dtype, at + (int64_t)x);
                    if (l->collinear > 0)
                        row[x] = 1 + l->collinear * row[x];
                    square += row[x] * row[x];
                }
                for (uint64_t x = 0; x < l->d_k; x++)
                    rapt_check_store(m->data[K], t->dtype, at + (int64_t)x, (float)(row[x] / sqrt(square)));
            }
}

/* What dplr reads is a key, and is taken away. */
static inline void remove_keys(const lin *l, made *m)
{
    const uint64_t count = m->bytes[K] / rapt_dtype_size(l->dtype); /* a and b lie as k does; NaN between rows stays */
    for (uint64_t i = 0; i < count; i++) {
        const float key = rapt_check_load(m->data[K], l->dtype, (int64_t)i);
        rapt_check_store(m->data[A], l->dtype, (int64_t)i, key);
        rapt_check_store(m->data[B], l->dtype, (int64_t)i, (float)-l->removes * key);
    }
}

/* Everything of one token. */
static inline void poison(const lin *l, made *m)
{
    const int which[] = {Q, K, V, A, B, DECAY, BETA};
    for (size_t n = 0; n < RAPT_COUNT(which); n++) {
        const rapt_tensor *t = m->tensor[which[n]];
        if (t->dtype == RAPT_DTYPE_NONE || t->rank == 1)
            continue;
        for (uint64_t x = 0; x < (t->rank == 4 ? t->size[3] : 1); x++)
            for (uint64_t h = 0; h < t->size[1]; h++)
                rapt_check_store(m->data[which[n]], t->dtype,
                                 (int64_t)h * t->stride[1] + (int64_t)l->poison * t->stride[2] + (int64_t)x,
                                 NAN);
    }
}

static inline rapt_tensor norms(uint64_t states, uint64_t heads, uint64_t rows)
{
    return (rapt_tensor){.dtype = RAPT_F32,
                         .rank = 3,
                         .size = {states, heads, rows},
                         .stride = {(int64_t)(heads * rows), (int64_t)rows, 1},
                         .align = 4};
}

static inline void make(const lin *l, made *m)
{
    memset(m, 0, sizeof *m);
    seed_state = 12345;
    rapt_linear_desc *d = &m->d;
    d->struct_size = sizeof *d;
    const uint64_t heads = l->heads ? l->heads : 1, batch = l->sequences ? 1 : l->batch ? l->batch : 1;
    const uint64_t states = l->sequences ? l->sequences : batch;
    d->q = view(l->dtype, 4, batch, l->heads_q ? l->heads_q : heads, l->n, l->d_k, l->odd);
    d->k = view(l->dtype, 4, batch, l->heads_k ? l->heads_k : heads, l->n, l->d_k, l->odd);
    d->v = view(l->dtype, 4, batch, l->heads_v ? l->heads_v : heads, l->n, l->d_v, l->odd);
    d->out = view(l->dtype, 4, batch, heads, l->n, l->d_v, l->odd);
    if (l->rule == RAPT_LINEAR_DPLR)
        d->a = d->b = d->k;
    if (l->decay == DECAY_HEAD)
        d->decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {heads}, .stride = {1}, .align = 4};
    if (l->decay == DECAY_TOKEN)
        d->decay = view(RAPT_F32, 3, batch, heads, l->n, 1, l->odd);
    if (l->decay == DECAY_CHANNEL)
        d->gate = view(RAPT_F32, 4, batch, heads, l->n, l->d_k, l->odd);
    if (l->beta)
        d->beta = view(RAPT_F32, 3, batch, heads, l->n, 1, l->odd);
    const uint64_t rows = rapt_linear_state_rows(l->feature, l->power, (uint32_t)l->d_k);
    const rapt_tensor state = view(RAPT_F32, 4, states, heads, rows, l->d_v, l->odd);
    const rapt_tensor norm = norms(states, heads, rows);
    const uint64_t all_rows = rows * (l->position_count + 1ull);
    if (l->state_in)
        d->state_in = state;
    if (l->state_out || l->in_place)
        d->state_out = view(RAPT_F32, 4, states, heads, all_rows, l->d_v, l->odd);
    if (l->state_in && l->normalize)
        d->norm_in = norm;
    if ((l->state_out || l->in_place) && l->normalize)
        d->norm_out = norms(states, heads, all_rows);
    d->positions = l->positions;
    d->position_count = l->position_count;
    d->flags = RAPT_LINEAR_SCALE | (l->normalize ? RAPT_LINEAR_NORMALIZE : 0) |
               (l->log ? RAPT_LINEAR_LOG_DECAY : 0) | (l->in_place ? RAPT_LINEAR_IN_PLACE : 0) |
               (l->own_k ? RAPT_LINEAR_FEATURE_K : 0) | (l->both ? RAPT_LINEAR_BIDIRECTIONAL : 0) |
               (l->by_keys ? RAPT_LINEAR_NORMALIZE_KEYS : 0) | (l->standardize ? RAPT_LINEAR_STANDARDIZE : 0);
    d->feature_k = l->feature_k;
    d->feature_power = l->power;
    d->feature_scale = l->feature_scale;
    d->feature_map = l->map;
    if (l->scales)
        d->scale_q = d->scale_k =
            (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {heads}, .stride = {1}, .align = 4};
    d->scale = 0.7f;
    d->rule = l->rule;
    d->feature = l->feature;
    d->form = l->form;
    d->chunk = l->chunk;
    d->sequences = l->sequences;
    d->max_seqlen = l->max_seqlen;
    d->workspace_limit = l->limit;
    d->slice_ms = l->slice_ms;
    d->kernel = l->kernel;
    rapt_tensor *const tensors[TENSORS] = {&d->q,
                                           &d->k,
                                           &d->v,
                                           &d->out,
                                           &d->a,
                                           &d->b,
                                           d->gate.dtype ? &d->gate : &d->decay,
                                           &d->beta,
                                           &d->state_in,
                                           &d->state_out,
                                           &d->norm_in,
                                           &d->norm_out,
                                           &d->scale_q,
                                           &d->scale_k,
                                           NULL};
    memcpy(m->tensor, tensors, sizeof tensors);
    double (*const numbers[TENSORS])(const lin *, uint64_t, uint64_t) = {
        normal,       l->rule == RAPT_LINEAR_NONE ? normal : unit_key,
        normal,       NULL,
        small_key,    small_key,
        decay_number, beta_number,
        normal,       l->in_place ? normal : NULL,
        positive,     l->in_place ? positive : NULL,
        positive,     positive,
        NULL};
    for (int t = 0; t < CU; t++)
        if (tensors[t]->dtype)
            fill(m, t, numbers[t], l);
    if (l->rule == RAPT_LINEAR_DELTA || l->removes != 0)
        normalize_keys(l, m);
    if (l->removes != 0)
        remove_keys(l, m);
    if (l->poison != 0)
        poison(l, m);
    if (l->sequences) {
        int32_t *cu = calloc(l->sequences + 1, 4);
        for (uint32_t s = 0; s < l->sequences; s++)
            cu[s + 1] = cu[s] + (int32_t)l->length[s];
        m->data[CU] = cu;
        m->bytes[CU] = (l->sequences + 1) * 4;
    }
    m->out_count = batch * heads * l->n * l->d_v;
    m->state_count = states * heads * all_rows * l->d_v;
    m->norm_count = states * heads * all_rows;
    m->out = calloc(m->out_count + 1, sizeof(double));
    m->state = calloc(m->state_count + 1, sizeof(double));
    m->norm = calloc(m->norm_count + 1, sizeof(double));
    assert_true(m->out && m->state && m->norm);
}

static inline void drop(made *m)
{
    for (int t = 0; t < TENSORS; t++)
        free(m->data[t]);
    free(m->out);
    free(m->state);
    free(m->norm);
}

/* The contiguous numbers of a tensor. */
static inline void take(const made *m, int which, double *to)
{
    const rapt_tensor *t = m->tensor[which];
    const uint64_t inner = t->rank == 4 ? t->size[3] : 1;
    for (uint64_t a = 0; a < t->size[0]; a++)
        for (uint64_t b = 0; b < t->size[1]; b++)
            for (uint64_t c = 0; c < t->size[2]; c++)
                for (uint64_t d = 0; d < inner; d++)
                    *to++ = (double)rapt_check_load(m->data[which], t->dtype,
                                                    (int64_t)a * t->stride[0] + (int64_t)b * t->stride[1] +
                                                        (int64_t)c * t->stride[2] + (int64_t)d);
}

/* Plans, binds and runs; results in m. `repeats` times more, with the same bits. */
static inline void run(rapt_device *device, made *m, unsigned repeats)
{
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *buffers[TENSORS] = {NULL};
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.q,         &args.k,         &args.v,       &args.out,
                                       &args.a,         &args.b,         &args.decay,   &args.beta,
                                       &args.state_in,  &args.state_out, &args.norm_in, &args.norm_out,
                                       &args.scale_q,   &args.scale_k,   &args.cu_seqlens};
    RIG_OK(rapt_linear_plan(device, &m->d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    m->info = (rapt_plan_info)RAPT_PLAN_INFO_INIT;
    RIG_OK(rapt_plan_describe(plan, &m->info, error));
    m->chunk = plan->layout.chunk;
    m->chain = plan->layout.chain;
    for (int t = 0; t < TENSORS; t++) {
        if (m->data[t] == NULL)
            continue;
        RIG_OK(rapt_buffer_create(device, m->bytes[t] ? m->bytes[t] : 4, &buffers[t], error));
        slots[t]->buffer = buffers[t];
    }
    RIG_OK(rapt_linear_bind(plan, &args, &binding, error));
    uint8_t *first = malloc(m->bytes[OUT] + 1);
    for (unsigned r = 0; r <= repeats; r++) {
        for (int t = 0; t < TENSORS; t++)
            if (buffers[t] != NULL && m->bytes[t])
                RIG_OK(rapt_buffer_upload(buffers[t], 0, m->data[t], m->bytes[t], error));
        RIG_OK(rapt_submit(binding, error));
        RIG_OK(rapt_wait(binding, UINT64_MAX, error));
        if (repeats == 0)
            break;
        uint8_t *again = malloc(m->bytes[OUT] + 1);
        if (m->bytes[OUT])
            RIG_OK(rapt_buffer_download(buffers[OUT], 0, again, m->bytes[OUT], error));
        if (r > 0)
            assert_memory_equal(first, again, m->bytes[OUT]);
        memcpy(first, again, m->bytes[OUT]);
        free(again);
    }
    free(first);
    const int results[] = {OUT, STATE_OUT, NORM_OUT};
    double *const to[] = {m->out, m->state, m->norm};
    for (int i = 0; i < 3; i++)
        if (buffers[results[i]] != NULL && m->bytes[results[i]]) {
            void *keep = m->data[results[i]];
            m->data[results[i]] = malloc(m->bytes[results[i]] + 4);
            RIG_OK(rapt_buffer_download(buffers[results[i]], 0, m->data[results[i]], m->bytes[results[i]],
                                        error));
            take(m, results[i], to[i]);
            free(m->data[results[i]]);
            m->data[results[i]] = keep; /* what was uploaded: the oracle may need it */
        }
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    for (int t = 0; t < TENSORS; t++)
        rapt_buffer_destroy(&buffers[t]);
}

/* What the texts of `map` compute. */
static inline double user_map(double x, uint64_t b, uint64_t h, uint64_t token, uint64_t i)
{
    return x * x + (double)b + 0.5 * (double)h + 0.25 * (double)(token % 4) + 0.125 * (double)(i % 3);
}

static inline rapt_check_linear_inputs inputs_of(const made *m)
{
    const bool in_place = m->d.flags & RAPT_LINEAR_IN_PLACE;
    return (rapt_check_linear_inputs){.q = m->data[Q],
                                      .k = m->data[K],
                                      .v = m->data[V],
                                      .a = m->data[A],
                                      .b = m->data[B],
                                      .decay = m->data[DECAY],
                                      .beta = m->data[BETA],
                                      .state_in = in_place ? m->data[STATE_OUT] : m->data[STATE_IN],
                                      .norm_in = in_place ? m->data[NORM_OUT] : m->data[NORM_IN],
                                      .cu_seqlens = m->data[CU],
                                      .scale_q = m->data[SCALE_Q],
                                      .scale_k = m->data[SCALE_K],
                                      .feature_map = user_map};
}

static inline void compare(const lin *l, const char *what, const double *got, const double *want,
                           const double *plain, uint64_t count)
{
    double error = 0, size = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (isnan(want[i]))
            continue;
        error = fmax(error, rapt_check_distance(plain[i], want[i]));
        size = fmax(size, fabs(want[i]));
    }
    const double tolerance = rapt_check_tolerance(error, size) * (l->tolerance > 0 ? l->tolerance : 1);
    for (uint64_t i = 0; i < count; i++)
        if (!isnan(want[i]) && !(rapt_check_distance(got[i], want[i]) <= tolerance))
            fail_msg("%s (n %llu, d %llu/%llu): %s element %llu is %.9g, not %.9g: off by %.3g, allowed %.3g",
                     l->name, (unsigned long long)l->n, (unsigned long long)l->d_k,
                     (unsigned long long)l->d_v, what, (unsigned long long)i, got[i], want[i],
                     fabs(got[i] - want[i]), tolerance);
}

/* Runs a problem and holds it against the oracle. */
static inline void check(rapt_device *device, const lin *l, unsigned repeats)
{
    made m;
    make(l, &m);
    run(device, &m, repeats);
    rapt_linear_desc d = m.d;
    if (d.flags & RAPT_LINEAR_IN_PLACE) {
        d.state_in = d.state_out;
        d.norm_in = d.norm_out;
    }
    const rapt_check_linear_inputs in = inputs_of(&m);
    double *want = calloc(2 * m.out_count + 1, sizeof *want),
           *state = calloc(2 * m.state_count + 1, sizeof *state);
    double *norm = calloc(2 * m.norm_count + 1, sizeof *norm);
    for (uint64_t i = 0; i < 2 * m.out_count; i++)
        want[i] = NAN; /* outside sequences: anything */
    assert_true(rapt_check_linear(&d, &in, false, want, state, norm));
    assert_true(
        rapt_check_linear(&d, &in, true, want + m.out_count, state + m.state_count, norm + m.norm_count));
    compare(l, "out", m.out, want, want + m.out_count, m.out_count);
    if (d.state_out.dtype)
        compare(l, "state", m.state, state, state + m.state_count, m.state_count);
    if (d.norm_out.dtype)
        compare(l, "norm", m.norm, norm, norm + m.norm_count, m.norm_count);
    free(want);
    free(state);
    free(norm);
    drop(&m);
}

#define D(k, v) .d_k = k, .d_v = v
#define REC .form = RAPT_LINEAR_RECURRENT
#define CHU .form = RAPT_LINEAR_CHUNKED, .chunk = 16

#endif
