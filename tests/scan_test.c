/* Scans on a device, against their formulas in double precision. */
#include "rig.h"

#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_scan.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

/* Tensors of a run, in this order. */
enum { X, A, SCORES, B, C, DT, SKIP, Z, WEIGHT, BIAS, OUT, STATE_IN, STATE_OUT, CU, TENSORS };
enum { NONE, FIXED, SHARED, EACH }; /* what `a` or the scores are */

/* A problem; what is 0 is absent, or the usual. */
typedef struct problem {
    const char *name;
    rapt_scan_op op;
    rapt_dtype dtype;
    uint64_t batch, heads, heads_a, n, d, states;
    uint64_t taps, taps_x; /* of convolutions */
    uint32_t ahead;
    rapt_scan_act act;
    uint32_t flags, chunk; /* chunk 0: one after the other */
    int coef;
    bool state_in, state_out, skip, z, odd, automatic, bias, generated;
    double extreme; /* every seventh a is this, with `extremes` */
    bool extremes;
    uint32_t sequences;
    uint64_t length[6], max_seqlen, limit, poison; /* poison: all of this token is NaN, and hidden; 0: none */
    float slice_ms;
    const char *kernel;
} problem;

typedef struct made {
    rapt_scan_desc d;
    rapt_tensor *tensor[TENSORS];
    void *data[TENSORS];
    uint64_t bytes[TENSORS];
    double *out, *state;
    uint64_t out_count, state_count;
    rapt_plan_info info;
    rapt_scan_layout layout;
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

/* Rows of rank 4 lie apart by a pitch; what is between holds NaN. */
static rapt_tensor view(rapt_dtype dtype, uint32_t rank, uint64_t a, uint64_t b, uint64_t c, uint64_t d, bool odd)
{
    rapt_tensor t = {.dtype = dtype, .rank = rank, .size = {a, b, c, d}};
    int64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        t.stride[axis] = stride;
        stride *= (int64_t)(t.size[axis] ? t.size[axis] : 1);
        if (rank == 4 && axis == 3)
            stride = odd ? stride | 1 : (stride + 11) / 8 * 8;
        else if (axis == 1)
            stride += odd ? 5 : 8;
    }
    t.align = odd ? rapt_dtype_size(dtype) : 16;
    return t;
}

static double number_for(const problem *p, int which, uint64_t index, uint64_t last)
{
    const double usual = gauss(), share = uniform();
    const bool second = p->flags & RAPT_SCAN_COMPLEX && last % 2 == 1;
    if (which == A && p->extremes && index % 7 == 3)
        return p->extreme;
    if (which == A && p->op == RAPT_SCAN_SELECTIVE)
        return -(double)(last + 1);
    if (which == A)
        return p->flags & RAPT_SCAN_LOG_A ? log(share) : second ? 0.4 * (share - 0.5) : 0.7 + 0.3 * share;
    if (which == SCORES && index % 11 == 5)
        return -INFINITY;
    if (which == SCORES)
        return 4 * usual;
    if (which == DT)
        return p->flags & RAPT_SCAN_SOFTPLUS ? usual : 0.1 * share;
    if ((which == STATE_IN || which == STATE_OUT) && p->op == RAPT_SCAN_SOFTMAX && last == 1)
        return 1 + share;
    return usual;
}

static void fill(const problem *p, made *m, int which)
{
    const rapt_tensor *t = m->tensor[which];
    uint64_t size[4] = {1, 1, 1, 1}, index = 0;
    memcpy(size, t->size, t->rank * sizeof *size);
    for (uint64_t a = 0; a < size[0]; a++)
        for (uint64_t b = 0; b < size[1]; b++)
            for (uint64_t c = 0; c < size[2]; c++)
                for (uint64_t d = 0; d < size[3]; d++) {
                    const int64_t at = (int64_t)a * t->stride[0] + (int64_t)b * t->stride[1] +
                                       (int64_t)c * t->stride[2] + (int64_t)d * t->stride[3];
                    double x = number_for(p, which, index++, t->rank == 3 ? c : d);
                    if (p->poison != 0 && c == p->poison && which == X)
                        x = NAN;
                    if (p->poison != 0 && c == p->poison && which == SCORES)
                        x = -INFINITY;
                    rapt_check_store(m->data[which], t->dtype, at, (float)x);
                }
}

static void make(const problem *p, made *m)
{
    memset(m, 0, sizeof *m);
    seed_state = 4321;
    rapt_scan_desc *d = &m->d;
    const bool stateful = p->op == RAPT_SCAN_SSM || p->op == RAPT_SCAN_SELECTIVE, softmax = p->op == RAPT_SCAN_SOFTMAX;
    const uint64_t heads = p->heads ? p->heads : 1, batch = p->sequences ? 1 : p->batch ? p->batch : 1;
    const uint64_t held = p->sequences ? p->sequences : batch, some = p->heads_a ? p->heads_a : heads;
    const bool conv = p->op == RAPT_SCAN_CONV, grid = p->op == RAPT_SCAN_CONV2D;
    const uint64_t states = softmax ? 3 : stateful ? p->states : conv ? p->taps - 1 : 1;
    *d = (rapt_scan_desc){.struct_size = sizeof *d, .op = p->op, .flags = p->flags, .chunk = p->chunk, .kernel = p->kernel,
                          .form = p->automatic || conv || grid ? RAPT_SCAN_AUTO
                                  : p->chunk                   ? RAPT_SCAN_CHUNKED
                                                               : RAPT_SCAN_RECURRENT,
                          .sequences = p->sequences, .max_seqlen = p->max_seqlen, .workspace_limit = p->limit,
                          .slice_ms = p->slice_ms, .act = p->act, .ahead = p->ahead};
    rapt_tensor *const tensors[TENSORS] = {&d->x,    &d->a, &d->scores, &d->b,        &d->c,         &d->dt,
                                           &d->skip, &d->z, &d->weight, &d->bias, &d->out, &d->state_in, &d->state_out, NULL};
    memcpy(m->tensor, tensors, sizeof tensors);
    d->x = view(p->dtype, 4, batch, heads, p->n, p->d, p->odd);
    d->out = d->x;
    const rapt_tensor coef = p->coef == FIXED    ? view(RAPT_F32, 2, some, p->d, 0, 0, p->odd)
                             : p->coef == SHARED ? view(RAPT_F32, 3, batch, some, p->n, 0, p->odd)
                             : p->coef == EACH   ? view(RAPT_F32, 4, batch, some, p->n, p->d, p->odd)
                                                 : (rapt_tensor){.dtype = RAPT_DTYPE_NONE};
    *(softmax ? &d->scores : &d->a) = coef;
    if (stateful)
        d->a = d->b = d->c = view(RAPT_F32, 3, some, p->d, states, 0, p->odd);
    if (p->op == RAPT_SCAN_SELECTIVE) {
        d->b = d->c = view(RAPT_F32, 4, batch, some, p->n, states, p->odd);
        d->dt = view(RAPT_F32, 4, batch, heads, p->n, p->d, p->odd);
    }
    if (p->skip)
        d->skip = view(RAPT_F32, 2, heads, p->d, 0, 0, p->odd);
    if (p->z)
        d->z = d->x;
    const uint64_t planes = p->flags & RAPT_SCAN_CHANNELS_LAST ? p->d : heads; /* channels of a grid */
    if (grid)
        d->weight = view(RAPT_F32, 3, planes, p->taps, p->taps_x, 0, p->odd);
    else if (conv)
        d->weight = p->generated ? view(RAPT_F32, 4, batch, some, p->n, p->d * p->taps, p->odd)
                                 : view(RAPT_F32, 3, some, p->d, p->taps, 0, p->odd);
    if (p->bias)
        d->bias = grid ? view(RAPT_F32, 1, planes, 0, 0, 0, p->odd) : view(RAPT_F32, 2, some, p->d, 0, 0, p->odd);
    if (p->state_in)
        d->state_in = view(RAPT_F32, 4, held, heads, p->d, states, p->odd);
    if (p->state_out || (p->flags & RAPT_SCAN_IN_PLACE))
        d->state_out = view(RAPT_F32, 4, held, heads, p->d, states, !p->odd);
    for (int t = 0; t < CU; t++) {
        if (!tensors[t]->dtype)
            continue;
        m->bytes[t] = rapt_tensor_bytes(tensors[t]);
        m->data[t] = malloc(m->bytes[t] + 4);
        assert_non_null(m->data[t]);
        memset(m->data[t], 0xff, m->bytes[t] + 4);
        if (t != OUT && (t != STATE_OUT || (p->flags & RAPT_SCAN_IN_PLACE)))
            fill(p, m, t);
    }
    if (p->sequences) {
        int32_t *cu = calloc(p->sequences + 1, 4);
        for (uint32_t s = 0; s < p->sequences; s++)
            cu[s + 1] = cu[s] + (int32_t)p->length[s];
        m->data[CU] = cu;
        m->bytes[CU] = (p->sequences + 1) * 4;
    }
    m->out_count = batch * heads * p->n * p->d;
    m->state_count = held * heads * p->d * states;
    m->out = calloc(m->out_count + 1, sizeof *m->out);
    m->state = calloc(m->state_count + 1, sizeof *m->state);
    assert_true(m->out && m->state);
}

static void drop(made *m)
{
    for (int t = 0; t < TENSORS; t++)
        free(m->data[t]);
    free(m->out);
    free(m->state);
}

/* The contiguous numbers of a tensor of rank 4. */
static void take(const rapt_tensor *t, const void *data, double *to)
{
    for (uint64_t a = 0; a < t->size[0]; a++)
        for (uint64_t b = 0; b < t->size[1]; b++)
            for (uint64_t c = 0; c < t->size[2]; c++)
                for (uint64_t d = 0; d < t->size[3]; d++)
                    *to++ = (double)rapt_check_load(data, t->dtype,
                                                    (int64_t)a * t->stride[0] + (int64_t)b * t->stride[1] +
                                                        (int64_t)c * t->stride[2] + (int64_t)d * t->stride[3]);
}

static void run(rapt_device *device, made *m)
{
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *buffers[TENSORS] = {NULL};
    rapt_scan_args args = RAPT_SCAN_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.x,    &args.a, &args.scores, &args.b,        &args.c,         &args.dt,
                                       &args.skip, &args.z, &args.weight, &args.bias, &args.out, &args.state_in, &args.state_out,
                                       &args.cu_seqlens};
    RIG_OK(rapt_scan_plan(device, &m->d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    m->info = (rapt_plan_info)RAPT_PLAN_INFO_INIT;
    RIG_OK(rapt_plan_describe(plan, &m->info, error));
    m->layout = plan->scan_layout;
    for (int t = 0; t < TENSORS; t++) {
        if (m->data[t] == NULL)
            continue;
        RIG_OK(rapt_buffer_create(device, m->bytes[t] ? m->bytes[t] : 4, &buffers[t], error));
        slots[t]->buffer = buffers[t];
    }
    RIG_OK(rapt_scan_bind(plan, &args, &binding, error));
    uint8_t *results[2] = {malloc(m->bytes[OUT] + 4), malloc(m->bytes[OUT] + 4)}; /* twice the same bits */
    for (int turn = 0; turn < 2; turn++) {
        for (int t = 0; t < TENSORS; t++)
            if (buffers[t] != NULL && m->bytes[t])
                RIG_OK(rapt_buffer_upload(buffers[t], 0, m->data[t], m->bytes[t], error));
        RIG_OK(rapt_submit(binding, error));
        RIG_OK(rapt_wait(binding, UINT64_MAX, error));
        if (m->bytes[OUT])
            RIG_OK(rapt_buffer_download(buffers[OUT], 0, results[turn], m->bytes[OUT], error));
    }
    assert_memory_equal(results[0], results[1], m->bytes[OUT]);
    take(&m->d.out, results[0], m->out);
    if (buffers[STATE_OUT] != NULL && m->bytes[STATE_OUT]) {
        uint8_t *state = malloc(m->bytes[STATE_OUT] + 4);
        RIG_OK(rapt_buffer_download(buffers[STATE_OUT], 0, state, m->bytes[STATE_OUT], error));
        take(&m->d.state_out, state, m->state);
        free(state);
    }
    free(results[0]);
    free(results[1]);
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    for (int t = 0; t < TENSORS; t++)
        rapt_buffer_destroy(&buffers[t]);
}

static void compare(const problem *p, const char *what, const double *got, const double *want, const double *plain,
                    uint64_t count)
{
    double error = 0, size = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!isfinite(want[i]))
            continue;
        error = fmax(error, rapt_check_distance(plain[i], want[i]));
        size = fmax(size, fabs(want[i]));
    }
    /* The device's e^x is not the host's. */
    const bool powers = p->op == RAPT_SCAN_SELECTIVE || p->op == RAPT_SCAN_SOFTMAX || (p->flags & RAPT_SCAN_LOG_A) ||
                        p->act != RAPT_SCAN_ACT_NONE;
    const double tolerance = rapt_check_tolerance(error, size) * (powers ? 2 : 1);
    for (uint64_t i = 0; i < count; i++)
        if (!isnan(want[i]) && got[i] != want[i] && !(rapt_check_distance(got[i], want[i]) <= tolerance))
            fail_msg("%s (n %llu, d %llu, states %llu): %s element %llu is %.9g, not %.9g: off by %.3g, allowed %.3g",
                     p->name, (unsigned long long)p->n, (unsigned long long)p->d, (unsigned long long)p->states, what,
                     (unsigned long long)i, got[i], want[i], fabs(got[i] - want[i]), tolerance);
}

/* Runs a problem and holds it against the oracle. */
static void check(rapt_device *device, const problem *p)
{
    made m;
    make(p, &m);
    run(device, &m);
    rapt_scan_desc d = m.d;
    const bool in_place = d.flags & RAPT_SCAN_IN_PLACE;
    if (in_place)
        d.state_in = d.state_out;
    const rapt_check_scan_inputs in = {.x = m.data[X],
                                       .z = m.data[Z],
                                       .a = m.data[A],
                                       .scores = m.data[SCORES],
                                       .b = m.data[B],
                                       .c = m.data[C],
                                       .dt = m.data[DT],
                                       .skip = m.data[SKIP],
                                       .weight = m.data[WEIGHT],
                                       .bias = m.data[BIAS],
                                       .state_in = in_place ? m.data[STATE_OUT] : m.data[STATE_IN],
                                       .cu_seqlens = m.data[CU]};
    double *want = calloc(2 * m.out_count + 1, sizeof *want), *state = calloc(2 * m.state_count + 1, sizeof *state);
    for (uint64_t i = 0; i < 2 * m.out_count; i++)
        want[i] = NAN; /* outside sequences: anything */
    assert_true(rapt_check_scan(&d, &in, false, want, state));
    assert_true(rapt_check_scan(&d, &in, true, want + m.out_count, state + m.state_count));
    compare(p, "out", m.out, want, want + m.out_count, m.out_count);
    if (d.state_out.dtype)
        compare(p, "state", m.state, state, state + m.state_count, m.state_count);
    free(want);
    free(state);
    drop(&m);
}

#define LINEAR RAPT_SCAN_LINEAR
static const problem cases[] = {
    {"sum", RAPT_SCAN_SUM, RAPT_F32, .batch = 2, .heads = 3, .n = 50, .d = 8},
    {"sum-chunked", RAPT_SCAN_SUM, RAPT_F32, .batch = 2, .heads = 3, .n = 50, .d = 8, .chunk = 16, .state_out = true},
    {"sum-wide", RAPT_SCAN_SUM, RAPT_F16, .n = 9, .d = 1100, .chunk = 4, .state_in = true},
    {"max", RAPT_SCAN_MAX, RAPT_F16, .heads = 2, .n = 41, .d = 12, .state_out = true},
    {"max-chunked", RAPT_SCAN_MAX, RAPT_BF16, .heads = 2, .n = 41, .d = 7, .odd = true, .chunk = 8, .state_in = true,
     .state_out = true},
    {"hold", RAPT_SCAN_HOLD, RAPT_F32, .batch = 2, .heads = 3, .n = 50, .d = 8, .coef = FIXED, .state_out = true},
    {"hold-odd", RAPT_SCAN_HOLD, RAPT_F16, .heads = 4, .heads_a = 2, .n = 41, .d = 7, .coef = EACH, .odd = true, .state_in = true, .state_out = true},
    {"hold-reverse", RAPT_SCAN_HOLD, RAPT_BF16, .heads = 2, .n = 300, .d = 12, .coef = SHARED, .flags = RAPT_SCAN_REVERSE, .slice_ms = 0.0001f},
    {"hold-varlen", RAPT_SCAN_HOLD, RAPT_F32, .heads = 2, .n = 60, .d = 12, .coef = FIXED, .sequences = 4, .length = {9, 0, 50, 1}, .state_out = true},
    {"linear-fixed", LINEAR, RAPT_F32, .batch = 2, .heads = 2, .n = 61, .d = 20, .coef = FIXED, .state_in = true},
    {"linear-fixed-chunked", LINEAR, RAPT_F32, .batch = 2, .heads = 2, .n = 61, .d = 20, .coef = FIXED, .chunk = 16},
    {"linear-shared", LINEAR, RAPT_F16, .batch = 2, .heads = 2, .n = 61, .d = 20, .coef = SHARED, .state_out = true},
    {"linear-shared-heads", LINEAR, RAPT_F32, .heads = 6, .heads_a = 2, .n = 31, .d = 8, .coef = SHARED, .chunk = 8,
     .state_in = true, .state_out = true},
    {"linear-each", LINEAR, RAPT_BF16, .batch = 2, .heads = 2, .n = 61, .d = 20, .coef = EACH, .chunk = 16,
     .state_in = true, .state_out = true},
    {"linear-each-odd", LINEAR, RAPT_F16, .heads = 2, .n = 61, .d = 21, .coef = EACH, .odd = true, .chunk = 16,
     .state_in = true, .state_out = true},
    {"linear-log", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 20, .coef = EACH, .flags = RAPT_SCAN_LOG_A, .chunk = 8,
     .state_out = true},
    {"blend", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 20, .coef = EACH, .flags = RAPT_SCAN_BLEND, .chunk = 8},
    {"blend-log-odd", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 3, .coef = SHARED, .odd = true,
     .flags = RAPT_SCAN_BLEND | RAPT_SCAN_LOG_A, .state_out = true},
    {"without-a", LINEAR, RAPT_F32, .heads = 2, .n = 30, .d = 4, .chunk = 8},
    {"reverse", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 20, .coef = EACH, .flags = RAPT_SCAN_REVERSE, .chunk = 8,
     .state_in = true, .state_out = true},
    {"reverse-recurrent", LINEAR, RAPT_F16, .heads = 2, .n = 61, .d = 20, .coef = SHARED, .flags = RAPT_SCAN_REVERSE},
    {"in-place", LINEAR, RAPT_F32, .batch = 3, .heads = 2, .n = 1, .d = 20, .coef = EACH, .flags = RAPT_SCAN_IN_PLACE},
    {"in-place-chunked", LINEAR, RAPT_F32, .batch = 3, .heads = 2, .n = 37, .d = 20, .coef = EACH,
     .flags = RAPT_SCAN_IN_PLACE, .chunk = 8},
    {"zeros", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 20, .coef = EACH, .extremes = true, .extreme = 0, .chunk = 8},
    {"ones", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 20, .coef = EACH, .extremes = true, .extreme = 1, .chunk = 8},
    {"log-80", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 20, .coef = EACH, .extremes = true, .extreme = -80,
     .flags = RAPT_SCAN_LOG_A, .chunk = 8, .state_out = true},
    {"log-inf", LINEAR, RAPT_F32, .heads = 2, .n = 61, .d = 20, .coef = EACH, .extremes = true, .extreme = -INFINITY,
     .flags = RAPT_SCAN_LOG_A, .chunk = 8, .state_out = true},
    {"softmax", RAPT_SCAN_SOFTMAX, RAPT_F32, .batch = 2, .heads = 2, .n = 40, .d = 16, .coef = SHARED},
    {"softmax-chunked", RAPT_SCAN_SOFTMAX, RAPT_F16, .batch = 2, .heads = 2, .n = 40, .d = 16, .coef = SHARED, .chunk = 8,
     .state_in = true, .state_out = true},
    {"softmax-each", RAPT_SCAN_SOFTMAX, RAPT_F32, .heads = 2, .n = 40, .d = 7, .coef = EACH, .odd = true, .chunk = 8,
     .state_out = true},
    {"softmax-poison", RAPT_SCAN_SOFTMAX, RAPT_F32, .heads = 2, .n = 40, .d = 8, .coef = SHARED, .chunk = 8, .poison = 13,
     .state_out = true},
    {"softmax-one", RAPT_SCAN_SOFTMAX, RAPT_F32, .batch = 2, .n = 1, .d = 8, .coef = SHARED, .flags = RAPT_SCAN_IN_PLACE},
    {"ssm", RAPT_SCAN_SSM, RAPT_F32, .heads = 2, .n = 50, .d = 9, .states = 16, .skip = true, .state_out = true},
    {"ssm-chunked", RAPT_SCAN_SSM, RAPT_F16, .batch = 2, .heads = 2, .n = 50, .d = 9, .states = 5, .chunk = 16, .z = true,
     .state_in = true, .state_out = true},
    {"ssm-complex", RAPT_SCAN_SSM, RAPT_F32, .heads = 2, .n = 50, .d = 9, .states = 8, .skip = true, .chunk = 16,
     .flags = RAPT_SCAN_COMPLEX, .state_in = true, .state_out = true},
    {"ssm-complex-64", RAPT_SCAN_SSM, RAPT_BF16, .n = 20, .d = 5, .states = 64, .z = true, .odd = true,
     .flags = RAPT_SCAN_COMPLEX | RAPT_SCAN_REVERSE},
    {"selective", RAPT_SCAN_SELECTIVE, RAPT_F32, .n = 50, .d = 70, .states = 16, .skip = true, .z = true,
     .state_out = true},
    {"selective-chunked", RAPT_SCAN_SELECTIVE, RAPT_F16, .batch = 2, .n = 50, .d = 20, .states = 16, .skip = true, .z = true,
     .flags = RAPT_SCAN_SOFTPLUS, .chunk = 16, .state_in = true, .state_out = true},
    {"selective-groups", RAPT_SCAN_SELECTIVE, RAPT_BF16, .heads = 4, .heads_a = 2, .n = 33, .d = 6, .states = 3,
     .odd = true, .chunk = 16, .state_out = true},
    {"selective-step", RAPT_SCAN_SELECTIVE, RAPT_F32, .batch = 3, .n = 1, .d = 70, .states = 16, .skip = true,
     .flags = RAPT_SCAN_SOFTPLUS | RAPT_SCAN_IN_PLACE},
    {"selective-reverse", RAPT_SCAN_SELECTIVE, RAPT_F32, .n = 50, .d = 7, .states = 16, .flags = RAPT_SCAN_REVERSE,
     .chunk = 8},
    {"varlen", LINEAR, RAPT_F32, .heads = 2, .n = 60, .d = 12, .coef = EACH, .sequences = 4, .length = {9, 0, 50, 1},
     .state_in = true, .state_out = true},
    {"varlen-chunked", LINEAR, RAPT_F16, .heads = 2, .n = 60, .d = 12, .coef = SHARED, .sequences = 4,
     .length = {9, 0, 50, 1}, .chunk = 8, .state_in = true, .state_out = true, .flags = RAPT_SCAN_REVERSE},
    {"varlen-softmax", RAPT_SCAN_SOFTMAX, RAPT_F32, .heads = 2, .n = 60, .d = 12, .coef = SHARED, .sequences = 3,
     .length = {30, 4, 26}, .max_seqlen = 20, .chunk = 8, .state_out = true},
    {"varlen-selective", RAPT_SCAN_SELECTIVE, RAPT_F32, .n = 60, .d = 12, .states = 4, .sequences = 3,
     .length = {30, 4, 26}, .chunk = 8, .state_in = true, .state_out = true, .skip = true},
    {"no-tokens", LINEAR, RAPT_F32, .heads = 2, .n = 0, .d = 8, .coef = EACH, .state_in = true, .state_out = true},
    {"no-tokens-chunked", RAPT_SCAN_SOFTMAX, RAPT_F32, .heads = 2, .n = 0, .d = 8, .coef = SHARED, .chunk = 8,
     .state_in = true, .state_out = true},
    {"one-channel", LINEAR, RAPT_F16, .n = 33, .d = 1, .coef = EACH, .chunk = 8},
    {"spans", LINEAR, RAPT_F32, .heads = 2, .n = 300, .d = 8, .coef = EACH, .chunk = 8, .limit = 4096},
    {"spans-softmax", RAPT_SCAN_SOFTMAX, RAPT_F32, .heads = 2, .n = 300, .d = 8, .coef = SHARED, .chunk = 8, .limit = 6000,
     .state_in = true},
    {"spans-reverse", RAPT_SCAN_SELECTIVE, RAPT_F32, .n = 300, .d = 8, .states = 4, .chunk = 8, .limit = 4096,
     .flags = RAPT_SCAN_REVERSE, .state_in = true, .state_out = true},
    {"spans-recurrent", LINEAR, RAPT_F32, .heads = 2, .n = 1500, .d = 8, .coef = EACH, .slice_ms = 0.0001f,
     .state_in = true},
    {"conv", RAPT_SCAN_CONV, RAPT_F32, .batch = 2, .heads = 3, .n = 21, .d = 8, .taps = 4, .act = RAPT_SCAN_ACT_SILU,
     .state_in = true, .state_out = true},
    {"conv-bias-odd", RAPT_SCAN_CONV, RAPT_F16, .heads = 4, .heads_a = 2, .n = 10, .d = 7, .taps = 3, .bias = true, .odd = true,
     .state_out = true},
    {"conv-reverse", RAPT_SCAN_CONV, RAPT_BF16, .heads = 2, .n = 9, .d = 12, .taps = 4, .flags = RAPT_SCAN_REVERSE,
     .act = RAPT_SCAN_ACT_SIGMOID, .bias = true, .state_in = true},
    {"conv-ahead", RAPT_SCAN_CONV, RAPT_F32, .heads = 2, .n = 19, .d = 5, .taps = 5, .ahead = 2},
    {"conv-one-tap", RAPT_SCAN_CONV, RAPT_F32, .n = 6, .d = 300, .taps = 1},
    {"conv-long", RAPT_SCAN_CONV, RAPT_F32, .n = 70, .d = 4, .taps = 70},
    {"conv-in-place", RAPT_SCAN_CONV, RAPT_F32, .batch = 2, .n = 23, .d = 8, .taps = 5, .flags = RAPT_SCAN_IN_PLACE},
    {"conv-step", RAPT_SCAN_CONV, RAPT_F16, .batch = 3, .heads = 2, .n = 1, .d = 8, .taps = 4, .act = RAPT_SCAN_ACT_SILU,
     .flags = RAPT_SCAN_IN_PLACE},
    {"conv-steps-reverse", RAPT_SCAN_CONV, RAPT_F32, .n = 2, .d = 6, .taps = 9, .flags = RAPT_SCAN_IN_PLACE | RAPT_SCAN_REVERSE},
    {"conv-generated", RAPT_SCAN_CONV, RAPT_F32, .batch = 2, .heads = 2, .n = 18, .d = 8, .taps = 4, .generated = true,
     .act = RAPT_SCAN_ACT_SILU, .state_in = true, .state_out = true},
    {"conv-generated-odd", RAPT_SCAN_CONV, RAPT_BF16, .heads = 2, .heads_a = 1, .n = 11, .d = 3, .taps = 3, .generated = true,
     .odd = true},
    {"conv-varlen", RAPT_SCAN_CONV, RAPT_F32, .heads = 2, .n = 60, .d = 12, .taps = 4, .sequences = 4, .length = {9, 0, 50, 1},
     .state_in = true, .state_out = true},
    {"conv-varlen-ahead", RAPT_SCAN_CONV, RAPT_F32, .n = 60, .d = 12, .taps = 4, .sequences = 3, .length = {9, 2, 49},
     .max_seqlen = 30, .ahead = 3},
    {"conv-no-tokens", RAPT_SCAN_CONV, RAPT_F32, .n = 0, .d = 8, .taps = 4, .state_in = true, .state_out = true},
    {"conv-spans", RAPT_SCAN_CONV, RAPT_F32, .heads = 2, .n = 900, .d = 8, .taps = 4, .slice_ms = 0.0001f, .state_in = true,
     .state_out = true},
    {"conv-spans-in-place", RAPT_SCAN_CONV, RAPT_F32, .n = 900, .d = 8, .taps = 4, .slice_ms = 0.0001f,
     .flags = RAPT_SCAN_IN_PLACE | RAPT_SCAN_REVERSE},
    {"grid", RAPT_SCAN_CONV2D, RAPT_F32, .batch = 2, .heads = 3, .n = 7, .d = 12, .taps = 3, .taps_x = 5, .bias = true},
    {"grid-odd", RAPT_SCAN_CONV2D, RAPT_F16, .heads = 2, .n = 5, .d = 9, .taps = 5, .taps_x = 1, .odd = true,
     .act = RAPT_SCAN_ACT_SILU},
    {"grid-last", RAPT_SCAN_CONV2D, RAPT_F32, .batch = 2, .heads = 6, .n = 7, .d = 12, .taps = 3, .taps_x = 3, .bias = true,
     .flags = RAPT_SCAN_CHANNELS_LAST},
    {"grid-last-odd", RAPT_SCAN_CONV2D, RAPT_BF16, .heads = 4, .n = 3, .d = 5, .taps = 3, .taps_x = 7, .odd = true,
     .flags = RAPT_SCAN_CHANNELS_LAST, .act = RAPT_SCAN_ACT_SIGMOID},
    {"automatic", LINEAR, RAPT_F32, .heads = 1, .n = 2000, .d = 8, .coef = SHARED, .automatic = true, .state_out = true},
};

static void run_cases(const char *mask)
{
    rig_open(&the_rig, &(rig_options){.validation = true, .mask = mask});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        if (!test_takes(i) || (mask != NULL && (cases[i].z || cases[i].skip)))
            continue; /* the latter need texel buffers */
        check(the_rig.device, &cases[i]);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", cases[i].name, strstr(the_rig.log, "validation: "));
    }
    rig_close(&the_rig);
}

static void test_cases(void **state)
{
    (void)state;
    run_cases(NULL);
}

/* The least that a device may have. */
static void test_floor(void **state)
{
    (void)state;
    run_cases("floor");
}

/* Every length around the edges of chunks, and primes. */
static void test_lengths(void **state)
{
    (void)state;
    static const uint64_t primes[] = {37, 61, 127, 257};
    static const problem kinds[] = {
        {"linear", LINEAR, RAPT_F32, .heads = 2, .d = 8, .coef = EACH, .chunk = 8, .state_in = true, .state_out = true},
        {"softmax", RAPT_SCAN_SOFTMAX, RAPT_F32, .heads = 2, .d = 8, .coef = SHARED, .chunk = 8, .state_out = true},
        {"selective", RAPT_SCAN_SELECTIVE, RAPT_F16, .d = 5, .states = 4, .chunk = 8, .state_in = true, .state_out = true},
        {"conv", RAPT_SCAN_CONV, RAPT_F32, .heads = 2, .d = 8, .taps = 4, .state_in = true, .state_out = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t k = 0; k < RAPT_COUNT(kinds); k++)
        for (uint64_t n = 1; n <= 17 + RAPT_COUNT(primes); n++) {
            problem p = kinds[k];
            p.n = n <= 17 ? n : primes[n - 18];
            check(the_rig.device, &p);
        }
    rig_close(&the_rig);
}

/* One call of N tokens equals two, of N1 and N2, with the state handed over: bit for bit, as sums keep their order. */
static void test_handed_over(void **state)
{
    (void)state;
    static const problem kinds[] = {
        {"linear", LINEAR, RAPT_F32, .heads = 2, .n = 40, .d = 8, .coef = EACH, .state_in = true, .state_out = true},
        {"max", RAPT_SCAN_MAX, RAPT_F32, .heads = 2, .n = 40, .d = 8, .state_in = true, .state_out = true},
        {"hold", RAPT_SCAN_HOLD, RAPT_F32, .heads = 2, .n = 40, .d = 8, .coef = EACH, .state_in = true, .state_out = true},
        {"softmax", RAPT_SCAN_SOFTMAX, RAPT_F32, .heads = 2, .n = 40, .d = 8, .coef = SHARED, .state_in = true,
         .state_out = true},
        {"selective", RAPT_SCAN_SELECTIVE, RAPT_F32, .n = 40, .d = 5, .states = 4, .state_in = true, .state_out = true},
        {"conv", RAPT_SCAN_CONV, RAPT_F32, .n = 40, .d = 5, .taps = 4, .state_in = true, .state_out = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t k = 0; k < RAPT_COUNT(kinds); k++) {
        const uint64_t cut = 23;
        made whole, part;
        make(&kinds[k], &whole);
        run(the_rig.device, &whole);
        make(&kinds[k], &part);
        part.d.state_out = part.d.state_in; /* the same places */
        free(part.data[STATE_OUT]);
        part.bytes[STATE_OUT] = part.bytes[STATE_IN];
        part.data[STATE_OUT] = malloc(part.bytes[STATE_IN] + 4);
        memcpy(part.data[STATE_OUT], part.data[STATE_IN], part.bytes[STATE_IN]);
        double *out = calloc(whole.out_count, sizeof *out);
        const int tokens[] = {X, A, SCORES, B, C, DT, OUT};
        for (int half = 0; half < 2; half++) {
            const uint64_t first = half ? cut : 0, count = half ? kinds[k].n - cut : cut;
            made m = part;
            memcpy(m.tensor, (rapt_tensor *[TENSORS]){&m.d.x, &m.d.a, &m.d.scores, &m.d.b, &m.d.c, &m.d.dt, &m.d.skip,
                                                      &m.d.z, &m.d.weight, &m.d.bias, &m.d.out, &m.d.state_in, &m.d.state_out,
                                                      NULL},
                   sizeof m.tensor);
            for (size_t i = 0; i < RAPT_COUNT(tokens); i++) {
                rapt_tensor *t = m.tensor[tokens[i]];
                if (!t->dtype || t->rank < 3 || t->size[2] != kinds[k].n)
                    continue;
                t->size[2] = count;
                const uint64_t skip = first * (uint64_t)t->stride[2] * rapt_dtype_size(t->dtype);
                m.data[tokens[i]] = (uint8_t *)part.data[tokens[i]] + skip;
                m.bytes[tokens[i]] = rapt_tensor_bytes(t);
            }
            m.out_count = whole.out_count / kinds[k].n * count;
            run(the_rig.device, &m);
            const uint64_t heads = m.d.x.size[1], d = m.d.x.size[3];
            for (uint64_t h = 0; h < heads; h++)
                memcpy(out + (h * kinds[k].n + first) * d, m.out + h * count * d, count * d * sizeof *out);
            /* m.state is contiguous, state_in has its own strides */
            uint64_t n = 0;
            const rapt_tensor *s = &m.d.state_in;
            for (uint64_t h = 0; h < s->size[1]; h++)
                for (uint64_t e = 0; e < s->size[2]; e++)
                    for (uint64_t i = 0; i < s->size[3]; i++)
                        rapt_check_store(part.data[STATE_IN], RAPT_F32,
                                         (int64_t)h * s->stride[1] + (int64_t)e * s->stride[2] + (int64_t)i,
                                         (float)m.state[n++]);
        }
        for (uint64_t i = 0; i < whole.out_count; i++)
            if (out[i] != whole.out[i])
                fail_msg("%s: element %llu is %.9g in two parts, %.9g in one", kinds[k].name, (unsigned long long)i, out[i],
                         whole.out[i]);
        for (uint64_t i = 0; i < whole.state_count; i++)
            assert_true(part.state[i] == whole.state[i]);
        free(out);
        drop(&whole);
        drop(&part);
    }
    rig_close(&the_rig);
}

/* What the plan says of its chain and its workspace. */
static void test_plan(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    caps.compute_units = 64;
    rapt_scan_desc d = {.struct_size = sizeof d, .op = LINEAR, .x = rapt_tensor_bhnd(RAPT_F32, 1, 1, 65536, 64)};
    d.out = d.x;
    rapt_plan *plan;
    RIG_OK(rapt_scan_plan_for_caps(&caps, &d, &plan, error));
    assert_true(plan->scan_layout.chunk >= 64 && plan->scan_layout.chunk <= 1024);
    assert_true(plan->scan_layout.chain == 65536 / plan->scan_layout.chunk + 2 * plan->scan_layout.chunk);
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    RIG_OK(rapt_plan_describe(plan, &info, error));
    assert_true(info.workspace_bytes <= 65536 / plan->scan_layout.chunk * 2 * 64 * 4 + 512);
    assert_int_equal(info.chain % 3, 0); /* begin, pass, end */
    rapt_plan_destroy(&plan);
    d.x = rapt_tensor_bhnd(RAPT_F32, 1, 64, 65536, 1024); /* channels fill the device */
    d.out = d.x;
    RIG_OK(rapt_scan_plan_for_caps(&caps, &d, &plan, error));
    assert_int_equal(plan->scan_layout.chunk, 0);
    assert_int_equal(plan->scan_layout.chain, 65536);
    rapt_plan_destroy(&plan);
}

static void test_refusals(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    rapt_plan *plan;
    const rapt_tensor x = rapt_tensor_bhnd(RAPT_F32, 1, 2, 10, 8), none = {.dtype = RAPT_DTYPE_NONE};
    rapt_scan_desc d = {.struct_size = sizeof d, .op = LINEAR, .x = x, .out = x};
    d.flags = RAPT_SCAN_BLEND;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "need a");
    d.flags = RAPT_SCAN_COMPLEX;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "do not go with operation linear");
    d.flags = 0;
    d.scores = x;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "operation linear has no scores");
    d.scores = none;
    d.op = RAPT_SCAN_SOFTMAX;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "operation softmax needs scores");
    d.op = LINEAR;
    d.a = rapt_tensor_bhnd(RAPT_F32, 1, 2, 9, 8);
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "a: axis 2 has 9 entries, must be 10");
    d.a = rapt_tensor_bhnd(RAPT_F16, 1, 2, 10, 8);
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "a is f16, must be f32");
    d.a = none;
    d.op = RAPT_SCAN_CONV;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "operation conv needs weight");
    d.weight = view(RAPT_F32, 3, 2, 8, 4, 0, false);
    d.ahead = 4;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "must be below the 4 taps");
    d.ahead = 1;
    d.state_out = view(RAPT_F32, 4, 1, 2, 8, 3, false);
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "looks ahead has no state");
    d.ahead = 0;
    d.form = RAPT_SCAN_CHUNKED;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "neither form nor chunk");
    d.form = RAPT_SCAN_AUTO;
    d.act = (rapt_scan_act)9;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "act is 9");
    d.act = RAPT_SCAN_ACT_NONE;
    d.kernel = "scan-conv-generated-f32";
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "is for taps of every token");
    d.kernel = NULL;
    d.op = RAPT_SCAN_CONV2D;
    d.state_out = none;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "weight has 8 x 4 taps, must be odd");
    d.weight = none;
    d.op = (rapt_scan_op)99;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "op is 99");
    d.op = RAPT_SCAN_SUM;
    d.kernel = "no-such";
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, "no kernel of scans is named");
    d.kernel = "scan-softmax-f32";
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "does not know operation sum");
    d.kernel = NULL;
    d.op = RAPT_SCAN_SSM;
    d.a = d.b = d.c = view(RAPT_F32, 3, 2, 8, 4, 0, false);
    d.z = d.x;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "needs texel");
    d.op = RAPT_SCAN_SUM;
    d.a = d.b = d.c = d.z = none;
    d.form = RAPT_SCAN_CHUNKED;
    d.workspace_limit = 100;
    RIG_FAILS(rapt_scan_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "bytes at least, there may be 100");
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),    cmocka_unit_test(test_refusals),    cmocka_unit_test(test_cases),
        cmocka_unit_test(test_lengths), cmocka_unit_test(test_handed_over), cmocka_unit_test(test_floor),
    };
    return RIG_RUN("scan", tests);
}
