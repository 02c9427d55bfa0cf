/* Linear attention on a device, against the recurrence in double precision. */
#include "rig.h"

#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_linear.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

enum { DECAY_ONE, DECAY_HEAD, DECAY_TOKEN, DECAY_CHANNEL };

/* A problem; what is 0 is absent, or the usual. */
typedef struct lin {
    const char *name;
    rapt_dtype dtype;
    uint64_t batch, heads, heads_q, heads_k, heads_v, n, d_k, d_v;
    rapt_linear_rule rule;
    rapt_phi feature;
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
    double collinear; /* delta: keys are one vector and so much noise */
} lin;

/* Tensors of a run, in this order. */
enum { Q, K, V, OUT, A, B, DECAY, BETA, STATE_IN, STATE_OUT, NORM_IN, NORM_OUT, CU, TENSORS };
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
static double uniform(void)
{
    seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(seed_state >> 11) * 0x1p-53;
}
static double gauss(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

/* Rows lie apart by a pitch; what is between holds NaN. */
static rapt_tensor view(rapt_dtype dtype, uint32_t rank, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                        bool odd)
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

static void fill(made *m, int which, double (*number)(const lin *, uint64_t, uint64_t), const lin *l)
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

static double normal(const lin *l, uint64_t i, uint64_t token)
{
    (void)l, (void)i, (void)token;
    return gauss();
}
static double unit_key(const lin *l, uint64_t i, uint64_t token) /* of about unit length */
{
    (void)i, (void)token;
    return gauss() / sqrt((double)l->d_k);
}
static double small_key(const lin *l, uint64_t i, uint64_t token)
{
    return 0.5 * unit_key(l, i, token);
}
static double decay_number(const lin *l, uint64_t i, uint64_t token)
{
    (void)token;
    const bool usual = l->low == 0 && l->high == 0;
    const double low = usual ? 0.5 : l->low, high = usual ? 1 : l->high;
    if (l->extremes && i % 7 == 3)
        return l->extreme;
    const double x = low + (high - low) * uniform();
    return l->log && usual ? log(x) : x;
}
static double beta_number(const lin *l, uint64_t i, uint64_t token)
{
    (void)i, (void)token;
    return l->beta_is != 0 ? fmax(l->beta_is, 0) : uniform();
}
static double positive(const lin *l, uint64_t i, uint64_t token)
{
    (void)l, (void)i, (void)token;
    return 0.5 + uniform();
}

/* Keys of the delta rule have length 1; with `collinear` they are nearly the same. */
static void normalize_keys(const lin *l, made *m)
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

/* Everything of one token. */
static void poison(const lin *l, made *m)
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

static void make(const lin *l, made *m)
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
    const rapt_tensor state = view(RAPT_F32, 4, states, heads, l->d_k, l->d_v, l->odd);
    const rapt_tensor norm = {.dtype = RAPT_F32,
                              .rank = 3,
                              .size = {states, heads, l->d_k},
                              .stride = {(int64_t)(heads * l->d_k), (int64_t)l->d_k, 1},
                              .align = 4};
    if (l->state_in)
        d->state_in = state;
    if (l->state_out || l->in_place)
        d->state_out = state;
    if (l->state_in && l->normalize)
        d->norm_in = norm;
    if ((l->state_out || l->in_place) && l->normalize)
        d->norm_out = norm;
    d->flags = RAPT_LINEAR_SCALE | (l->normalize ? RAPT_LINEAR_NORMALIZE : 0) |
               (l->log ? RAPT_LINEAR_LOG_DECAY : 0) | (l->in_place ? RAPT_LINEAR_IN_PLACE : 0);
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
                                           NULL};
    memcpy(m->tensor, tensors, sizeof tensors);
    double (*const numbers[TENSORS])(const lin *, uint64_t, uint64_t) = {
        normal,       l->rule == RAPT_LINEAR_NONE ? normal : unit_key,
        normal,       NULL,
        small_key,    small_key,
        decay_number, beta_number,
        normal,       l->in_place ? normal : NULL,
        positive,     l->in_place ? positive : NULL,
        NULL};
    for (int t = 0; t < CU; t++)
        if (tensors[t]->dtype)
            fill(m, t, numbers[t], l);
    if (l->rule == RAPT_LINEAR_DELTA)
        normalize_keys(l, m);
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
    m->state_count = states * heads * l->d_k * l->d_v;
    m->norm_count = states * heads * l->d_k;
    m->out = calloc(m->out_count + 1, sizeof(double));
    m->state = calloc(m->state_count + 1, sizeof(double));
    m->norm = calloc(m->norm_count + 1, sizeof(double));
    assert_true(m->out && m->state && m->norm);
}

static void drop(made *m)
{
    for (int t = 0; t < TENSORS; t++)
        free(m->data[t]);
    free(m->out);
    free(m->state);
    free(m->norm);
}

/* The contiguous numbers of a tensor. */
static void take(const made *m, int which, double *to)
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
static void run(rapt_device *device, made *m, unsigned repeats)
{
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *buffers[TENSORS] = {NULL};
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.q,         &args.k,         &args.v,       &args.out,
                                       &args.a,         &args.b,         &args.decay,   &args.beta,
                                       &args.state_in,  &args.state_out, &args.norm_in, &args.norm_out,
                                       &args.cu_seqlens};
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

static rapt_check_linear_inputs inputs_of(const made *m)
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
                                      .cu_seqlens = m->data[CU]};
}

static void compare(const lin *l, const char *what, const double *got, const double *want,
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
static void check(rapt_device *device, const lin *l, unsigned repeats)
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

static const lin cases[] = {
    {"plain", RAPT_F32, .heads = 2, .n = 37, D(64, 64), REC},
    {"plain-chunked", RAPT_F32, .heads = 2, .n = 37, D(64, 64), CHU},
    {"head-decay", RAPT_F32, .batch = 2, .heads = 2, .n = 50, D(32, 40), REC, .decay = DECAY_HEAD},
    {"head-decay-chunked", RAPT_F32, .batch = 2, .heads = 2, .n = 50, D(32, 40), CHU, .decay = DECAY_HEAD},
    {"token-decay", RAPT_F16, .heads = 2, .n = 50, D(20, 12), REC, .decay = DECAY_TOKEN, .state_out = true},
    {"token-decay-chunked", RAPT_F16, .heads = 2, .n = 50, D(20, 12), CHU, .decay = DECAY_TOKEN,
     .state_in = true},
    {"gate", RAPT_BF16, .heads = 2, .n = 50, D(33, 7), REC, .decay = DECAY_CHANNEL, .state_in = true},
    {"gate-chunked", RAPT_BF16, .heads = 2, .n = 50, D(33, 7), CHU, .decay = DECAY_CHANNEL, .state_in = true,
     .state_out = true},
    {"gate-bf16", RAPT_BF16, .heads = 2, .n = 50, D(32, 16), REC, .decay = DECAY_CHANNEL, .state_in = true},
    {"gate-bf16-chunked", RAPT_BF16, .heads = 2, .n = 50, D(32, 16), CHU, .decay = DECAY_CHANNEL,
     .state_in = true},
    {"gate-log-odd", RAPT_F16, .heads = 2, .n = 41, D(33, 31), CHU, .decay = DECAY_CHANNEL, .log = true,
     .odd = true, .state_in = true, .state_out = true},
    {"beta", RAPT_F32, .heads = 2, .n = 40, D(16, 16), CHU, .beta = true, .decay = DECAY_TOKEN},
    {"delta", RAPT_F32, .heads = 2, .n = 70, D(64, 64), REC, .rule = RAPT_LINEAR_DELTA, .beta = true},
    {"delta-chunked", RAPT_F32, .heads = 2, .n = 70, D(64, 64), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true},
    {"gated-delta-chunked", RAPT_F16, .heads = 2, .n = 70, D(40, 24), CHU, .rule = RAPT_LINEAR_DELTA,
     .beta = true, .decay = DECAY_TOKEN, .state_in = true, .state_out = true},
    {"kda-chunked", RAPT_F32, .batch = 2, .heads = 2, .n = 70, D(33, 17), CHU, .rule = RAPT_LINEAR_DELTA,
     .beta = true, .decay = DECAY_CHANNEL, .odd = true, .state_in = true, .state_out = true},
    {"delta-without-beta", RAPT_BF16, .heads = 1, .n = 20, D(12, 64), REC, .rule = RAPT_LINEAR_DELTA},
    {"dplr", RAPT_F32, .heads = 2, .n = 60, D(64, 32), REC, .rule = RAPT_LINEAR_DPLR, .decay = DECAY_CHANNEL},
    {"dplr-chunked", RAPT_F32, .heads = 2, .n = 60, D(64, 32), CHU, .rule = RAPT_LINEAR_DPLR,
     .decay = DECAY_CHANNEL, .state_in = true, .state_out = true},
    {"dplr-f16", RAPT_F16, .heads = 2, .n = 33, D(17, 5), CHU, .rule = RAPT_LINEAR_DPLR, .odd = true},
    {"shared-heads", RAPT_F32, .heads = 6, .heads_q = 3, .heads_k = 2, .heads_v = 6, .n = 20, D(16, 24), CHU,
     .decay = DECAY_TOKEN},
    {"elu1", RAPT_F32, .heads = 1, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_ELU1, .normalize = true},
    {"relu", RAPT_F32, .heads = 1, .n = 40, D(24, 16), REC, .feature = RAPT_PHI_RELU},
    {"relu2", RAPT_F32, .heads = 1, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_RELU2},
    {"exp", RAPT_F32, .heads = 2, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_EXP, .normalize = true,
     .state_in = true, .state_out = true, .decay = DECAY_CHANNEL},
    {"softmax", RAPT_F16, .heads = 2, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_SOFTMAX, .normalize = true,
     .decay = DECAY_HEAD},
    {"softmax-recurrent", RAPT_F32, .heads = 2, .n = 21, D(65, 9), REC, .feature = RAPT_PHI_SOFTMAX,
     .normalize = true, .state_in = true, .state_out = true},
    {"in-place", RAPT_F32, .batch = 2, .heads = 2, .n = 3, D(32, 32), REC, .decay = DECAY_HEAD,
     .in_place = true, .normalize = true, .feature = RAPT_PHI_EXP},
    {"one", RAPT_F32, .batch = 2, .heads = 4, .n = 1, D(32, 40), .decay = DECAY_HEAD, .state_in = true,
     .state_out = true},
    {"one-gate-in-place", RAPT_F16, .batch = 2, .heads = 4, .n = 1, D(32, 40), .decay = DECAY_CHANNEL,
     .in_place = true, .feature = RAPT_PHI_ELU1, .beta = true},
    {"one-from-nothing", RAPT_BF16, .batch = 2, .heads = 4, .n = 1, D(32, 40), .state_out = true},
    {"one-delta", RAPT_F32, .batch = 2, .heads = 4, .n = 1, D(256, 40), .rule = RAPT_LINEAR_DELTA,
     .beta = true, .decay = DECAY_CHANNEL, .in_place = true},
    {"one-delta-packed", RAPT_F32, .heads = 2, .n = 3, D(32, 40), .rule = RAPT_LINEAR_DELTA, .beta = true,
     .decay = DECAY_TOKEN, .sequences = 5, .length = {1, 0, 1, 0, 1}, .max_seqlen = 1, .state_in = true,
     .state_out = true},
    {"one-dplr", RAPT_F32, .batch = 2, .heads = 2, .n = 1, D(64, 32), .rule = RAPT_LINEAR_DPLR,
     .decay = DECAY_CHANNEL, .state_in = true, .state_out = true},
    {"in-place-wide", RAPT_F32, .batch = 4, .heads = 8, .n = 5, D(32, 200), REC, .decay = DECAY_HEAD,
     .in_place = true, .normalize = true, .feature = RAPT_PHI_EXP},
    {"in-place-wide-f16", RAPT_F16, .batch = 4, .heads = 8, .n = 5, D(33, 200), REC, .in_place = true,
     .normalize = true, .feature = RAPT_PHI_EXP},
    {"in-place-chunked", RAPT_F32, .batch = 2, .heads = 2, .n = 35, D(32, 32), CHU, .rule = RAPT_LINEAR_DELTA,
     .in_place = true},
    {"d-1", RAPT_F16, .heads = 1, .n = 5, D(1, 1), REC},
    {"d-256", RAPT_F32, .heads = 1, .n = 20, D(256, 256), CHU, .decay = DECAY_CHANNEL, .state_out = true},
    {"d-256-dplr", RAPT_F32, .heads = 1, .n = 20, D(256, 130), CHU, .rule = RAPT_LINEAR_DPLR},
    {"no-tokens", RAPT_F32, .heads = 2, .n = 0, D(8, 8), .state_in = true, .state_out = true},
    {"no-tokens-chunked", RAPT_F32, .heads = 2, .n = 0, D(8, 8), CHU, .state_in = true, .state_out = true},
    {"varlen", RAPT_F32, .heads = 2, .n = 60, D(32, 16), REC, .decay = DECAY_TOKEN, .sequences = 4,
     .length = {9, 0, 50, 1}, .state_in = true, .state_out = true},
    {"varlen-chunked", RAPT_F16, .heads = 2, .n = 60, D(32, 16), CHU, .decay = DECAY_CHANNEL, .sequences = 4,
     .length = {9, 0, 50, 1}, .state_in = true, .state_out = true, .normalize = true,
     .feature = RAPT_PHI_EXP},
    {"varlen-delta", RAPT_F32, .heads = 2, .n = 64, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true,
     .sequences = 3, .length = {30, 4, 30}, .max_seqlen = 20, .state_out = true},
    {"spans", RAPT_F32, .heads = 2, .n = 150, D(32, 32), CHU, .decay = DECAY_TOKEN, .limit = 40000},
    {"spans-normalised", RAPT_F32, .heads = 2, .n = 150, D(32, 32), CHU, .normalize = true,
     .feature = RAPT_PHI_ELU1, .limit = 60000, .state_in = true},
    {"spans-delta", RAPT_F32, .heads = 2, .n = 150, D(32, 32), CHU, .rule = RAPT_LINEAR_DELTA, .limit = 80000,
     .state_in = true, .state_out = true},
    {"spans-recurrent", RAPT_F32, .heads = 2, .n = 1500, D(32, 32), REC, .decay = DECAY_TOKEN,
     .slice_ms = 0.001f, .state_in = true, .normalize = true, .feature = RAPT_PHI_ELU1},
};

static void test_cases(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        check(the_rig.device, &cases[i], 1);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", cases[i].name, strstr(the_rig.log, "validation: "));
    }
    rig_close(&the_rig);
}

/* Every length around the edges of chunks and blocks. */
static void test_lengths(void **state)
{
    (void)state;
    static const uint64_t primes[] = {37, 61, 127, 257, 509};
    static const lin kinds[] = {
        {"tiles", RAPT_F32, .heads = 2, D(32, 40), CHU, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"tiles-gate", RAPT_F32, .heads = 2, D(24, 16), CHU, .decay = DECAY_CHANNEL, .state_in = true,
         .state_out = true},
        {"walk", RAPT_F16, .heads = 2, D(20, 12), CHU, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"delta", RAPT_F32, .heads = 2, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true,
         .state_in = true, .state_out = true},
        {"dplr", RAPT_F32, .heads = 2, D(64, 32), CHU, .rule = RAPT_LINEAR_DPLR, .decay = DECAY_CHANNEL,
         .state_in = true, .state_out = true},
        {"recurrent", RAPT_F16, .heads = 2, D(20, 12), REC, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++) {
        lin l = kinds[i];
        for (l.n = 1; l.n <= 33; l.n++)
            check(the_rig.device, &l, 0);
        for (size_t n = 0; n < RAPT_COUNT(primes); n++) {
            l.n = primes[n];
            check(the_rig.device, &l, 0);
        }
    }
    rig_close(&the_rig);
}

/* Decays at their extremes: nothing overflows, nothing that counts is lost. */
static void test_extremes(void **state)
{
    (void)state;
    static const struct {
        double low, high, extreme;
        bool log;
    } ranges[] = {
        {0.9, 1, 0, false},         {1, 1, 1 - 1e-7, false},       {1 - 1e-7, 1, 1, false},
        {0, 0.001, 1, false},       {-80, -79, -0.01, true},       {-0.1, -0.01, -80, true},
        {-1e-7, -1e-8, -200, true}, {-1e4, -1e4, -INFINITY, true},
    };
    static const lin kinds[] = {
        {"token", RAPT_F32, .heads = 2, .n = 70, D(32, 40), CHU, .decay = DECAY_TOKEN},
        {"token-walk", RAPT_F32, .heads = 2, .n = 70, D(32, 40), CHU, .decay = DECAY_TOKEN,
         .kernel = "state-none-f32"},
        {"gate", RAPT_F32, .heads = 2, .n = 70, D(24, 16), CHU, .decay = DECAY_CHANNEL},
        {"gate-walk", RAPT_F32, .heads = 2, .n = 70, D(24, 16), CHU, .decay = DECAY_CHANNEL,
         .kernel = "state-none-f32"},
        {"gate-recurrent", RAPT_F32, .heads = 2, .n = 70, D(24, 16), REC, .decay = DECAY_CHANNEL},
        {"gated-delta", RAPT_F32, .heads = 2, .n = 70, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA,
         .beta = true, .decay = DECAY_TOKEN},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
        for (size_t r = 0; r < RAPT_COUNT(ranges); r++) {
            lin l = kinds[i];
            l.low = ranges[r].low;
            l.high = ranges[r].high;
            l.extreme = ranges[r].extreme;
            l.extremes = l.state_in = l.state_out = true;
            l.log = ranges[r].log;
            check(the_rig.device, &l, 0);
        }
    rig_close(&the_rig);
}

/* Beta at 0 and 2, keys that are nearly the same. */
static void test_delta(void **state)
{
    (void)state;
    static const double betas[] = {-1, 1, 2};
    rig_open(&the_rig, NULL);
    for (int form = RAPT_LINEAR_RECURRENT; form <= RAPT_LINEAR_CHUNKED; form++)
        for (size_t i = 0; i < RAPT_COUNT(betas); i++)
            for (int collinear = 0; collinear < 2; collinear++) {
                const lin l = {"delta",
                               RAPT_F32,
                               .heads = 2,
                               .n = 100,
                               D(32, 16),
                               .rule = RAPT_LINEAR_DELTA,
                               .form = (rapt_linear_form)form,
                               .chunk = 16,
                               .beta = true,
                               .beta_is = betas[i],
                               .collinear = collinear ? 1e-3 : 0,
                               .state_in = true,
                               .state_out = true};
                check(the_rig.device, &l, 0);
            }
    rig_close(&the_rig);
}

/* What a token holds reaches no earlier one. */
static void test_poison(void **state)
{
    (void)state;
    static const lin kinds[] = {
        {"tiles", RAPT_F32, .heads = 2, .n = 70, D(32, 40), CHU, .decay = DECAY_TOKEN},
        {"tiles-gate", RAPT_F32, .heads = 2, .n = 70, D(24, 16), CHU, .decay = DECAY_CHANNEL},
        {"tiles-beta", RAPT_F32, .heads = 2, .n = 40, D(16, 16), CHU, .beta = true, .decay = DECAY_TOKEN},
        {"walk", RAPT_F16, .heads = 2, .n = 70, D(20, 12), CHU, .decay = DECAY_TOKEN},
        {"delta", RAPT_F32, .heads = 2, .n = 70, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
        for (uint64_t token = 15; token < 36; token += 5) {
            lin l = kinds[i];
            l.poison = token;
            check(the_rig.device, &l, 0);
        }
    rig_close(&the_rig);
}

/* Tokens [first, last) of a problem, as a problem of their own. */
static void piece(const made *m, uint64_t first, uint64_t last, made *part)
{
    *part = *m;
    rapt_linear_desc *d = &part->d;
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
                                           NULL};
    memcpy(part->tensor, tensors, sizeof tensors);
    for (int t = 0; t <= BETA; t++) {
        rapt_tensor *x = tensors[t];
        if (x->dtype == RAPT_DTYPE_NONE || x->rank == 1)
            continue;
        x->size[2] = last - first;
        part->data[t] = (char *)m->data[t] + first * (uint64_t)x->stride[2] * rapt_dtype_size(x->dtype);
        part->bytes[t] = rapt_tensor_bytes(x);
    }
    part->out_count = m->out_count / m->d.q.size[2] * (last - first);
    part->out = calloc(part->out_count + 1, sizeof(double));
    part->state = calloc(part->state_count + 1, sizeof(double));
    part->norm = calloc(part->norm_count + 1, sizeof(double));
    assert_true(part->out && part->state && part->norm);
}

/* A call of N tokens is two of N1 and N2 with the state handed over; and one, then steps of one token in
 * place. */
static void test_handover(void **state)
{
    (void)state;
    static const lin kinds[] = {
        {"recurrent", RAPT_F32, .heads = 1, .n = 75, D(32, 40), REC, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"recurrent-delta", RAPT_F32, .heads = 1, .n = 75, D(32, 16), REC, .rule = RAPT_LINEAR_DELTA,
         .beta = true, .state_in = true, .state_out = true},
        {"tiles", RAPT_F32, .heads = 1, .n = 75, D(32, 40), CHU, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"chunked-delta", RAPT_F32, .heads = 1, .n = 75, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA,
         .beta = true, .state_in = true, .state_out = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++) {
        const lin *l = &kinds[i];
        made whole;
        make(l, &whole);
        run(the_rig.device, &whole, 0);
        double size = 0;
        for (uint64_t e = 0; e < whole.out_count; e++)
            size = fmax(size, fabs(whole.out[e]));
        made first, second;
        piece(&whole, 0, 33, &first);
        run(the_rig.device, &first, 0);
        piece(&whole, 33, 75, &second);
        float *handed = malloc(whole.bytes[STATE_IN]);
        for (uint64_t r = 0; r < l->d_k; r++)
            for (uint64_t c = 0; c < l->d_v; c++)
                handed[(int64_t)r * whole.d.state_in.stride[2] + (int64_t)c] =
                    (float)first.state[r * l->d_v + c];
        second.data[STATE_IN] = handed;
        run(the_rig.device, &second, 0);
        /* The recurrent form has one order of sums; chunks begin elsewhere. */
        const double allowed = l->form == RAPT_LINEAR_RECURRENT ? 0 : 1e-5 * size;
        for (uint64_t e = 0; e < whole.out_count; e++) {
            const double got = e < first.out_count ? first.out[e] : second.out[e - first.out_count];
            if (fabs(got - whole.out[e]) > allowed)
                fail_msg("%s: element %llu is %.9g in two calls, %.9g in one", l->name, (unsigned long long)e,
                         got, whole.out[e]);
        }
        for (uint64_t e = 0; e < whole.state_count; e++)
            assert_true(fabs(second.state[e] - whole.state[e]) <=
                        (allowed > 0 ? 1e-5 * (1 + fabs(whole.state[e])) : 0));
        /* Decode: token by token in place. */
        for (uint64_t t = 33; t < 75; t++) {
            made one;
            piece(&whole, t, t + 1, &one);
            one.d.form = RAPT_LINEAR_AUTO;
            one.d.flags |= RAPT_LINEAR_IN_PLACE;
            one.d.state_in = (rapt_tensor){0};
            one.data[STATE_IN] = NULL;
            one.data[STATE_OUT] = handed;
            run(the_rig.device, &one, 0);
            for (uint64_t e = 0; e < l->d_v; e++) {
                const double want = whole.out[t * l->d_v + e];
                if (fabs(one.out[e] - want) > 1e-5 * (size + fabs(want)))
                    fail_msg("%s: element %llu of token %llu is %.9g as a step, %.9g in the whole", l->name,
                             (unsigned long long)e, (unsigned long long)t, one.out[e], want);
            }
            for (uint64_t r = 0; r < l->d_k; r++)
                for (uint64_t c = 0; c < l->d_v; c++)
                    handed[(int64_t)r * whole.d.state_in.stride[2] + (int64_t)c] =
                        (float)one.state[r * l->d_v + c];
            free(one.out);
            free(one.state);
            free(one.norm);
        }
        made *const parts[] = {&first, &second};
        for (int n = 0; n < 2; n++) {
            free(parts[n]->out);
            free(parts[n]->state);
            free(parts[n]->norm);
        }
        free(handed);
        drop(&whole);
    }
    rig_close(&the_rig);
}

/* Lower rungs: the same numbers with fewer capabilities and smaller limits, down to the floor. */
static void test_masks(void **state)
{
    (void)state;
    static const char *const masks[] = {
        "floor",       "no-subgroup",          "no-texel",   "shared=16384,invocations=128",
        "range=65536", "no-texel,range=65536", "texels=4096"};
    static const lin kinds[] = {
        {"token", RAPT_F32, .batch = 3, .heads = 4, .n = 300, D(32, 40), CHU, .decay = DECAY_TOKEN,
         .state_in = true},
        {"gate-auto", RAPT_F32, .heads = 2, .n = 300, D(24, 16), .decay = DECAY_CHANNEL, .state_in = true,
         .state_out = true},
        {"delta", RAPT_F32, .batch = 2, .heads = 2, .n = 300, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA,
         .beta = true},
        {"long", RAPT_F32, .heads = 1, .n = 3000, D(32, 16), REC, .rule = RAPT_LINEAR_DELTA, .beta = true},
    };
    for (size_t m = 0; m < RAPT_COUNT(masks); m++) {
        rig_open(&the_rig, &(rig_options){.mask = masks[m]});
        for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
            check(the_rig.device, &kinds[i], 0);
        rig_close(&the_rig);
    }
}

static void test_long(void **state)
{
    (void)state;
    const lin l = {"long",
                   RAPT_F32,
                   .heads = 1,
                   .n = 43884,
                   D(24, 16),
                   .form = RAPT_LINEAR_CHUNKED,
                   .decay = DECAY_CHANNEL,
                   .low = 0.2,
                   .high = 1,
                   .limit = 300000,
                   .state_in = true,
                   .state_out = true};
    rig_open(&the_rig, NULL);
    check(the_rig.device, &l, 0);
    rig_close(&the_rig);
}

/* What a plan promises: its workspace below the limit however long the sequence, its chain. */
static void test_plans(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    for (uint64_t n = 1024; n <= 1u << 20; n *= 4) {
        rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
        rapt_plan *plan;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        d.q = d.k = d.v = d.out = rapt_tensor_bhnd(RAPT_F32, 1, 8, n, 64);
        d.form = RAPT_LINEAR_CHUNKED;
        RIG_OK(rapt_linear_plan(the_rig.device, &d, &plan, error));
        RIG_OK(rapt_plan_describe(plan, &info, error));
        assert_true(info.workspace_bytes <= 64u << 20);
        assert_int_equal(plan->layout.chain, n / plan->layout.chunk);
        const uint64_t spans = (n + plan->layout.span - 1) / plan->layout.span;
        assert_int_equal(info.chain, 3 * spans);
        uint64_t covered = 0; /* every token has one place in the passes that write outputs */
        for (uint32_t i = 0; i < plan->step_count; i++) {
            const rapt_step *s = &plan->steps[i];
            assert_true(s->barrier == (i > 0 && s->phase != plan->steps[i - 1].phase));
            covered += s->pipeline == 0 ? (uint64_t)s->groups[1] * s->groups[2] * plan->layout.chunk : 0;
        }
        assert_int_equal(covered, n * 8);
        char *text = malloc(1 << 20);
        assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, 1 << 20) < 1 << 20);
        char chain[64];
        snprintf(chain, sizeof chain, "a chain of %llu steps", (unsigned long long)(n / plan->layout.chunk));
        assert_non_null(strstr(text, chain));
        free(text);
        rapt_plan_destroy(&plan);
        d.form = RAPT_LINEAR_RECURRENT;
        RIG_OK(rapt_linear_plan(the_rig.device, &d, &plan, error));
        assert_int_equal(plan->layout.chain, n);
        rapt_plan_destroy(&plan);
    }
    rig_close(&the_rig);
}

/* Each mistake has its status and its words. */
static void test_mistakes(void **state)
{
    (void)state;
    rapt_plan *plan;
    rig_open(&the_rig, NULL);
    rapt_device *device = the_rig.device;
    rapt_linear_desc good = RAPT_LINEAR_DESC_INIT;
    good.q = good.k = rapt_tensor_bhnd(RAPT_F32, 1, 4, 100, 16);
    good.v = good.out = rapt_tensor_bhnd(RAPT_F32, 1, 4, 100, 24);
    const rapt_tensor scalars = {.dtype = RAPT_F32, .rank = 3, .size = {1, 4, 100}, .stride = {400, 100, 1}};
    const rapt_tensor states = rapt_tensor_bhnd(RAPT_F32, 1, 4, 16, 24);
#define WRONG(status, part, ...)                                                                             \
    do {                                                                                                     \
        rapt_linear_desc d = good;                                                                           \
        __VA_ARGS__;                                                                                         \
        RIG_FAILS(rapt_linear_plan(device, &d, &plan, error), status, part);                                 \
        assert_null(plan);                                                                                   \
    } while (0)
    const rapt_status bad = RAPT_ERROR_INVALID;
    WRONG(bad, "struct_size", d.struct_size = 8);
    WRONG(bad, "flags 0x100", d.flags = 256);
    WRONG(bad, "rule is 9", d.rule = (rapt_linear_rule)9);
    WRONG(bad, "feature is 77", d.feature = (rapt_phi)77);
    WRONG(bad, "form is 5", d.form = (rapt_linear_form)5);
    WRONG(bad, "q: dtype i32", d.q.dtype = RAPT_I32);
    WRONG(bad, "k is f16, must be f32", d.k.dtype = RAPT_F16);
    WRONG(bad, "v: axis 2 has 99 entries, must be 100", d.v.size[2] = 99);
    WRONG(bad, "k: axis 1 has 3 entries, must be a divisor of 4", d.k.size[1] = 3);
    WRONG(bad, "k: axis 3 has 8", d.k.size[3] = 8);
    WRONG(bad, "out: rank 3", d.out.rank = 3);
    WRONG(bad, "v: negative stride", d.v.stride[2] = -1);
    WRONG(bad, "q: stride 2 of its last axis", d.q.stride[3] = 2);
    WRONG(bad, "q: align 3", d.q.align = 3);
    WRONG(bad, "d_k is 257", d.q = d.k = rapt_tensor_bhnd(RAPT_F32, 1, 4, 100, 257));
    WRONG(bad, "exclude each other", d.decay = scalars, d.gate = d.q);
    WRONG(bad, "decay: rank 2", d.decay = scalars, d.decay.rank = 2);
    WRONG(bad, "decay is f16", d.decay = scalars, d.decay.dtype = RAPT_F16);
    WRONG(bad, "gate: axis 3", d.gate = good.v);
    WRONG(bad, "needs decay or gate", d.flags = RAPT_LINEAR_LOG_DECAY);
    WRONG(bad, "beta does not go with rule dplr", d.rule = RAPT_LINEAR_DPLR, d.a = d.b = d.k,
          d.beta = scalars);
    WRONG(bad, "needs a and b", d.rule = RAPT_LINEAR_DPLR, d.a = d.k);
    WRONG(bad, "rule dplr only", d.a = d.b = d.k);
    WRONG(bad, "normaliser needs rule none", d.rule = RAPT_LINEAR_DELTA, d.flags = RAPT_LINEAR_NORMALIZE);
    WRONG(bad, "come together", d.state_in = states, d.flags = RAPT_LINEAR_NORMALIZE);
    WRONG(bad, "need RAPT_LINEAR_NORMALIZE", d.norm_out = scalars);
    WRONG(bad, "IN_PLACE needs state_out", d.flags = RAPT_LINEAR_IN_PLACE);
    WRONG(bad, "state_in: axis 3", d.state_in = states, d.state_in.size[3] = 25);
    WRONG(bad, "state_out is f16", d.state_out = states, d.state_out.dtype = RAPT_F16);
    WRONG(bad, "max_seqlen goes with", d.max_seqlen = 5);
    WRONG(bad, "need batch 1", d.sequences = 2, d.q.size[0] = 2);
    WRONG(bad, "scale is not finite", d.flags = RAPT_LINEAR_SCALE, d.scale = NAN);
    WRONG(bad, "chunk is 2000", d.chunk = 2000);
    WRONG(bad, "slice_ms", d.slice_ms = -1);
    WRONG(bad, "no kernel of linear attention is named 'nonsense'", d.kernel = "nonsense");
    WRONG(bad, "no kernel of linear attention is named 'naive-f32'", d.kernel = "naive-f32");
    WRONG(RAPT_ERROR_UNSUPPORTED, "'state-none-f16', does not store f32", d.kernel = "state-none-f16");
    WRONG(RAPT_ERROR_UNSUPPORTED, "does not know rule delta", d.rule = RAPT_LINEAR_DELTA,
          d.kernel = "state-none-f32");
    WRONG(RAPT_ERROR_UNSUPPORTED, "bytes at least, the limit is 1000", d.form = RAPT_LINEAR_CHUNKED,
          d.workspace_limit = 1000);
    WRONG(RAPT_ERROR_UNSUPPORTED, "packed sequences", d.rule = RAPT_LINEAR_DPLR, d.a = d.b = d.k,
          d.sequences = 2);
    WRONG(RAPT_ERROR_UNSUPPORTED, "usage on the buffer of", d.out.usage = RAPT_BUFFER_UNIFORM_TEXEL);
    RIG_FAILS(rapt_linear_plan(device, NULL, &plan, error), bad, "NULL");

    /* Binding. */
    rapt_buffer *small, *large;
    rapt_binding *binding;
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    RIG_OK(rapt_buffer_create(device, 64, &small, error));
    RIG_OK(rapt_buffer_create(device, 1 << 18, &large, error));
    RIG_OK(rapt_linear_plan(device, &good, &plan, error));
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "not prepared");
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "q is not bound");
    args.q.buffer = args.k.buffer = args.v.buffer = large;
    args.out.buffer = small;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "out needs 38400 bytes");
    args.out.buffer = large;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "overlap");
    args.out.offset = 1 << 17;
    RIG_OK(rapt_linear_bind(plan, &args, &binding, error));
    rapt_binding_destroy(&binding);
    args.out.offset += 4;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "promised a multiple of 16");
    args.struct_size = 4;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "struct_size");
    const rapt_attention_args other = RAPT_ATTENTION_ARGS_INIT;
    RIG_FAILS(rapt_attention_bind(plan, &other, &binding, error), bad, "not one of attention");
    rapt_plan_destroy(&plan);
    rapt_buffer_destroy(&small);
    rapt_buffer_destroy(&large);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),    cmocka_unit_test(test_lengths), cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_delta),    cmocka_unit_test(test_poison),  cmocka_unit_test(test_handover),
        cmocka_unit_test(test_masks),    cmocka_unit_test(test_long),    cmocka_unit_test(test_plans),
        cmocka_unit_test(test_mistakes),
    };
    return RIG_RUN("linear", tests);
}
