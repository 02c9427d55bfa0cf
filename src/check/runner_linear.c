#include "runner_linear.h"

#include "half.h"
#include "oracle_linear.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define QUICK (RAPT_CASE_QUICK | RAPT_CASE_FULL)
#define CORE (RAPT_CASE_CORE | QUICK)
#define FULL RAPT_CASE_FULL
#define SHAPE(b, h, tokens, k, v) .batch = b, .heads = h, .n = tokens, .d_k = k, .d_v = v
#define F32 .dtype = RAPT_F32
#define F16 .dtype = RAPT_F16
#define BF16 .dtype = RAPT_BF16
#define CHUNKS .form = RAPT_LINEAR_CHUNKED
#define STEPS .form = RAPT_LINEAR_RECURRENT
#define HEAD .decay = RAPT_CASE_DECAY_HEAD
#define TOKEN .decay = RAPT_CASE_DECAY_TOKEN
#define CHANNEL .decay = RAPT_CASE_DECAY_CHANNEL
#define DELTA .rule = RAPT_LINEAR_DELTA, .beta = true
#define DPLR .rule = RAPT_LINEAR_DPLR
#define NORMALIZE .flags = RAPT_LINEAR_NORMALIZE
#define LOG .flags = RAPT_LINEAR_LOG_DECAY
/* A rule in every type, with and without a gate, for rows that take that alone. */
#define RULE(name, tokens, type, dtype, ...)                                                                                    \
    {name "-" type, SHAPE(1, 2, tokens, 64, 64), dtype, __VA_ARGS__, TOKEN, .states = true, .groups = FULL},                    \
    {name "-gate-" type, SHAPE(1, 2, tokens, 64, 64), dtype, __VA_ARGS__, CHANNEL, .states = true, .groups = FULL}
#define DPLR_RULE(name, tokens, type, dtype)                                                                                    \
    {name "-" type, SHAPE(1, 2, tokens, 64, 64), dtype, DPLR, .states = true, .groups = FULL},                                  \
    {name "-gate-" type, SHAPE(1, 2, tokens, 64, 64), dtype, DPLR, CHANNEL, .states = true, .groups = FULL}
#define EACH_TYPE(prefix, tokens)                                                                                               \
    RULE(prefix "-none", tokens, "f32", F32, .rule = RAPT_LINEAR_NONE), RULE(prefix "-none", tokens, "f16", F16, .rule = RAPT_LINEAR_NONE), \
    RULE(prefix "-none", tokens, "bf16", BF16, .rule = RAPT_LINEAR_NONE), RULE(prefix "-delta", tokens, "f32", F32, DELTA),       \
    RULE(prefix "-delta", tokens, "f16", F16, DELTA), RULE(prefix "-delta", tokens, "bf16", BF16, DELTA),                         \
    DPLR_RULE(prefix "-dplr", tokens, "f32", F32), DPLR_RULE(prefix "-dplr", tokens, "f16", F16),                                 \
    DPLR_RULE(prefix "-dplr", tokens, "bf16", BF16)

static const rapt_linear_case cases[] = {
    {"plain-f32", SHAPE(1, 2, 70, 64, 64), F32, CHUNKS, .groups = CORE},
    {"plain-f16", SHAPE(1, 2, 70, 64, 64), F16, CHUNKS, .groups = CORE},
    {"plain-bf16", SHAPE(1, 2, 70, 64, 64), BF16, CHUNKS, .groups = CORE},
    {"plain-steps-f32", SHAPE(1, 2, 37, 64, 64), F32, STEPS, .groups = CORE},
    {"plain-steps-f16", SHAPE(1, 2, 37, 64, 64), F16, STEPS, .groups = CORE},
    {"plain-steps-bf16", SHAPE(1, 2, 37, 64, 64), BF16, STEPS, .groups = CORE},
    {"head-decay", SHAPE(2, 2, 150, 32, 40), F32, CHUNKS, HEAD, .states = true, .groups = QUICK},
    {"head-decay-long", SHAPE(1, 1, 2203, 64, 64), F32, CHUNKS, HEAD, .states = true, .groups = FULL},
    {"token-decay", SHAPE(1, 2, 150, 64, 64), F32, CHUNKS, TOKEN, .states = true, .groups = QUICK},
    {"token-decay-extreme", SHAPE(1, 2, 150, 64, 64), F32, CHUNKS, TOKEN, .extreme = true, .states = true, .groups = QUICK},
    {"token-decay-log", SHAPE(1, 2, 150, 64, 64), F32, CHUNKS, TOKEN, LOG, .extreme = true, .groups = FULL},
    {"token-decay-steps", SHAPE(1, 2, 40, 64, 64), F16, STEPS, TOKEN, .states = true, .groups = FULL},
    {"gate", SHAPE(1, 2, 150, 64, 64), F32, CHUNKS, CHANNEL, .states = true, .groups = CORE},
    {"gate-f16", SHAPE(1, 2, 150, 64, 64), F16, CHUNKS, CHANNEL, .states = true, .groups = CORE},
    {"gate-bf16-odd", SHAPE(2, 2, 90, 33, 31), BF16, CHUNKS, CHANNEL, .odd = true, .states = true, .groups = QUICK},
    {"gate-log-extreme", SHAPE(1, 2, 150, 64, 64), F32, CHUNKS, CHANNEL, LOG, .extreme = true, .states = true, .groups = QUICK},
    {"gate-steps", SHAPE(1, 2, 40, 64, 64), F32, STEPS, CHANNEL, .states = true, .groups = QUICK},
    {"delta", SHAPE(1, 2, 70, 64, 64), F32, CHUNKS, DELTA, .states = true, .groups = CORE},
    {"delta-f16", SHAPE(1, 2, 70, 64, 64), F16, CHUNKS, DELTA, .states = true, .groups = QUICK},
    {"delta-steps", SHAPE(1, 2, 70, 64, 64), F32, STEPS, DELTA, .states = true, .groups = QUICK},
    {"gated-delta", SHAPE(1, 2, 70, 64, 64), F32, CHUNKS, DELTA, TOKEN, .states = true, .groups = QUICK},
    {"gated-delta-128", SHAPE(1, 1, 40, 128, 128), F16, STEPS, DELTA, TOKEN, .states = true, .groups = FULL},
    {"gated-delta-channels", SHAPE(2, 2, 70, 33, 17), F32, CHUNKS, DELTA, CHANNEL, .odd = true, .states = true, .groups = QUICK},
    {"gated-delta-channels-bf16", SHAPE(1, 2, 70, 64, 64), BF16, CHUNKS, DELTA, CHANNEL, .groups = FULL},
    {"dplr", SHAPE(1, 2, 60, 64, 32), F32, CHUNKS, DPLR, CHANNEL, .states = true, .groups = CORE},
    {"dplr-f16-odd", SHAPE(1, 2, 60, 17, 5), F16, CHUNKS, DPLR, CHANNEL, .odd = true, .groups = QUICK},
    {"dplr-steps", SHAPE(1, 2, 60, 64, 64), F32, STEPS, DPLR, CHANNEL, .states = true, .groups = QUICK},
    {"one-token", SHAPE(2, 4, 1, 128, 128), F32, TOKEN, .states = true, .groups = CORE},
    {"one-token-f16", SHAPE(2, 4, 1, 128, 128), F16, CHANNEL, .states = true, .groups = QUICK},
    {"one-token-delta", SHAPE(2, 4, 1, 128, 128), F32, DELTA, TOKEN, .states = true, .groups = QUICK},
    {"one-token-dplr", SHAPE(2, 4, 1, 64, 64), F32, DPLR, CHANNEL, .states = true, .groups = FULL},
    {"no-tokens", SHAPE(1, 2, 0, 16, 16), F32, .states = true, .groups = QUICK},
    {"shared-heads", SHAPE(1, 6, 40, 16, 24), F32, CHUNKS, TOKEN, .heads_k = 2, .groups = QUICK},
    {"shared-heads-delta", SHAPE(1, 4, 40, 32, 32), F32, CHUNKS, DELTA, TOKEN, .heads_k = 2, .groups = FULL},
    {"d-1", SHAPE(1, 1, 20, 1, 1), F32, CHUNKS, .groups = FULL},
    {"d-256", SHAPE(1, 1, 40, 256, 256), F32, CHUNKS, CHANNEL, .groups = QUICK},
    {"elu1", SHAPE(1, 2, 90, 64, 64), F32, CHUNKS, NORMALIZE, .feature = RAPT_PHI_ELU1, .states = true, .groups = QUICK},
    {"relu2", SHAPE(1, 2, 90, 24, 16), F16, CHUNKS, .feature = RAPT_PHI_RELU2, .groups = FULL},
    {"exp-steps", SHAPE(1, 2, 40, 24, 16), F32, STEPS, NORMALIZE, .feature = RAPT_PHI_EXP, .states = true, .groups = FULL},
    {"softmax", SHAPE(1, 2, 90, 24, 16), F32, CHUNKS, NORMALIZE, .feature = RAPT_PHI_SOFTMAX, .groups = QUICK},
    {"taylor2", SHAPE(1, 2, 70, 16, 64), F32, CHUNKS, NORMALIZE, .feature = RAPT_PHI_TAYLOR2, .states = true, .groups = CORE},
    {"taylor2-blocks-f16", SHAPE(1, 1, 40, 32, 24), F16, CHUNKS, NORMALIZE, .feature = RAPT_PHI_TAYLOR2, .groups = QUICK},
    {"focused", SHAPE(1, 2, 40, 32, 24), F32, CHUNKS, NORMALIZE, .feature = RAPT_PHI_FOCUSED, .groups = FULL},
    {"cosine-delta", SHAPE(1, 2, 40, 32, 24), BF16, STEPS, DELTA, TOKEN, .feature = RAPT_PHI_COSINE, .states = true, .groups = FULL},
    {"both-ways", SHAPE(2, 2, 90, 32, 24), F32, .feature = RAPT_PHI_ELU1,
     .flags = RAPT_LINEAR_BIDIRECTIONAL | RAPT_LINEAR_NORMALIZE, .groups = CORE},
    {"both-ways-by-keys-f16", SHAPE(1, 2, 90, 32, 24), F16, .feature = RAPT_PHI_SOFTMAX, .feature_k = RAPT_PHI_EXP,
     .flags = RAPT_LINEAR_BIDIRECTIONAL | RAPT_LINEAR_NORMALIZE_KEYS | RAPT_LINEAR_FEATURE_K, .groups = QUICK},
    {"varlen", SHAPE(1, 2, 160, 32, 16), F32, CHUNKS, TOKEN, .sequences = 4, .length = {29, 0, 130, 1}, .states = true, .groups = QUICK},
    {"varlen-steps-f16", SHAPE(1, 2, 60, 32, 16), F16, STEPS, CHANNEL, .sequences = 3, .length = {9, 50, 1}, .states = true, .groups = FULL},
    {"varlen-delta", SHAPE(1, 2, 100, 32, 16), F32, CHUNKS, DELTA, .sequences = 3, .length = {30, 4, 66}, .states = true, .groups = FULL},
    EACH_TYPE("rule", 40),
    EACH_TYPE("one", 1),
    {"spans", SHAPE(1, 2, 600, 32, 32), F32, CHUNKS, TOKEN, .workspace_limit = 100000, .states = true, .groups = QUICK},
    {"spans-taylor2", SHAPE(1, 2, 400, 8, 16), F32, CHUNKS, NORMALIZE, .feature = RAPT_PHI_TAYLOR2, .workspace_limit = 300000,
     .states = true, .groups = FULL},
};

const rapt_linear_case *rapt_linear_cases(size_t *count)
{
    *count = COUNT(cases);
    return cases;
}

/* ---- a problem ---- */

/* Tensors, in this order. */
enum { Q, K, V, A, B, DECAY, BETA, STATE_IN, NORM_IN, SCALE_Q, SCALE_K, CU, OUT, STATE_OUT, NORM_OUT, TENSORS };

typedef struct rapt_linear_numbers {
    rapt_linear_desc desc;
    bool extreme;
    rapt_tensor *tensor[TENSORS]; /* of desc; NULL: there is none, as of cu_seqlens */
    void *image[TENSORS];         /* as uploaded; NULL: absent */
    uint64_t bytes[TENSORS], count[3];
    double *want[3], *plain[3]; /* of out, state and norm, contiguous */
    rapt_buffer *buffers[TENSORS];
    void *first[3], *got[3]; /* outputs as downloaded, of the first run and of this one */
} numbers;

static rapt_tensor tensor_of(const rapt_linear_case *c, rapt_dtype dtype, uint32_t rank, uint64_t heads, uint64_t rows, uint64_t inner)
{
    const uint64_t batch = c->sequences ? 1 : c->batch;
    const uint64_t pitch = rank == 3 ? 1 : c->odd ? inner | 1 : (inner + 11) / 8 * 8;
    rapt_tensor t = {.dtype = dtype, .rank = rank, .size = {batch, heads, rows, inner}, .align = c->odd ? rapt_dtype_size(dtype) : 16};
    t.stride[3] = 1;
    t.stride[2] = (int64_t)pitch;
    t.stride[1] = (int64_t)(pitch * rows + (c->odd ? 5 : 8));
    t.stride[0] = t.stride[1] * (int64_t)heads;
    return t;
}

/* States and normalisers: of each batch entry or sequence. */
static rapt_tensor state_of(const rapt_linear_case *c, uint32_t rank, uint64_t rows)
{
    rapt_tensor t = tensor_of(c, RAPT_F32, rank, c->heads, rows, rank == 4 ? c->d_v : 1);
    t.size[0] = c->sequences ? c->sequences : c->batch;
    return t;
}

/* Number of element i of tensor t; numbers that keep every rule's state small. */
static double number(const numbers *p, int t, uint64_t i, rapt_random *random)
{
    const double x = rapt_random_normal(random), share = 1 / (1 + exp(-x)), d_k = (double)p->desc.q.size[3];
    switch (t) {
    case K:
        return p->desc.rule == RAPT_LINEAR_NONE ? x : x / sqrt(d_k);
    case A:
    case B:
        return 0.5 * x / sqrt(d_k);
    case DECAY: {
        const bool log_decay = p->desc.flags & RAPT_LINEAR_LOG_DECAY;
        if (p->extreme && i % 7 == 3)
            return log_decay ? -80 : 0;
        return log_decay ? log(0.5 + 0.5 * share) : 0.5 + 0.5 * share;
    }
    case BETA:
        return share;
    case NORM_IN:
    case NORM_OUT:
    case SCALE_Q:
    case SCALE_K:
        return 0.5 + share;
    default:
        return x;
    }
}

static bool fill(numbers *p, int t, rapt_random *random)
{
    const rapt_tensor *at = p->tensor[t];
    const uint64_t inner = at->rank == 4 ? at->size[3] : 1, rows = at->rank == 1 ? 1 : at->size[2],
                   heads = at->rank == 1 ? at->size[0] : at->size[1], batch = at->rank == 1 ? 1 : at->size[0];
    const bool read = t < OUT || (t > OUT && (p->desc.flags & RAPT_LINEAR_IN_PLACE));
    uint64_t i = 0;
    p->bytes[t] = rapt_tensor_bytes(at);
    p->image[t] = malloc(p->bytes[t] + 8);
    if (p->image[t] == NULL)
        return false;
    for (uint64_t word = 0; word < p->bytes[t] / 4 + 1; word++)
        memcpy((char *)p->image[t] + word * 4, &(uint32_t){RAPT_POISON}, 4);
    for (uint64_t b = 0; b < batch && read; b++)
        for (uint64_t h = 0; h < heads; h++)
            for (uint64_t row = 0; row < rows; row++)
                for (uint64_t e = 0; e < inner; e++) {
                    const int64_t place = at->rank == 1 ? (int64_t)h * at->stride[0]
                                                        : (int64_t)b * at->stride[0] + (int64_t)h * at->stride[1] +
                                                              (int64_t)row * at->stride[2] + (int64_t)e;
                    rapt_check_store(p->image[t], at->dtype, place, (float)number(p, t, i++, random));
                }
    return true;
}

static rapt_linear_desc describe(const rapt_linear_case *c)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    const uint64_t heads_k = c->heads_k ? c->heads_k : c->heads;
    d.flags = c->flags | RAPT_LINEAR_SCALE;
    d.scale = 0.7f;
    d.rule = c->rule;
    d.form = c->form;
    d.feature = c->feature;
    d.feature_k = c->feature_k;
    d.chunk = c->form == RAPT_LINEAR_CHUNKED ? 16 : 0;
    d.sequences = c->sequences;
    d.workspace_limit = c->workspace_limit;
    d.q = d.k = tensor_of(c, c->dtype, 4, heads_k, c->n, c->d_k);
    d.v = d.out = tensor_of(c, c->dtype, 4, c->heads, c->n, c->d_v);
    if (c->rule == RAPT_LINEAR_DPLR)
        d.a = d.b = d.k;
    if (c->decay == RAPT_CASE_DECAY_HEAD)
        d.decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {c->heads}, .stride = {1}, .align = 4};
    if (c->decay == RAPT_CASE_DECAY_TOKEN)
        d.decay = tensor_of(c, RAPT_F32, 3, c->heads, c->n, 1);
    if (c->decay == RAPT_CASE_DECAY_CHANNEL)
        d.gate = tensor_of(c, RAPT_F32, 4, c->heads, c->n, c->d_k);
    if (c->beta)
        d.beta = tensor_of(c, RAPT_F32, 3, c->heads, c->n, 1);
    const uint64_t rows = rapt_linear_state_rows(c->feature, 0, (uint32_t)c->d_k);
    if (c->states)
        d.state_in = d.state_out = state_of(c, 4, rows);
    if (c->states && (c->flags & RAPT_LINEAR_NORMALIZE))
        d.norm_in = d.norm_out = state_of(c, 3, rows);
    return d;
}

/* To the oracle, states in place are states in and out that lie alike. */
static bool expect(numbers *p)
{
    const bool in_place = p->desc.flags & RAPT_LINEAR_IN_PLACE;
    rapt_linear_desc d = p->desc;
    if (in_place) {
        d.state_in = d.state_out;
        d.norm_in = d.norm_out;
    }
    const rapt_check_linear_inputs in = {.q = p->image[Q],
                                         .k = p->image[K],
                                         .v = p->image[V],
                                         .a = p->image[A],
                                         .b = p->image[B],
                                         .decay = p->image[DECAY],
                                         .beta = p->image[BETA],
                                         .state_in = p->image[in_place ? STATE_OUT : STATE_IN],
                                         .norm_in = p->image[in_place ? NORM_OUT : NORM_IN],
                                         .scale_q = p->image[SCALE_Q],
                                         .scale_k = p->image[SCALE_K],
                                         .cu_seqlens = p->image[CU]};
    const uint64_t states = d.sequences ? d.sequences : d.q.size[0], rows = rapt_check_linear_rows(&d), heads = d.out.size[1];
    p->count[0] = d.out.size[0] * heads * d.out.size[2] * d.out.size[3];
    p->count[1] = states * heads * rows * d.out.size[3];
    p->count[2] = states * heads * rows;
    for (int n = 0; n < 3; n++) {
        p->want[n] = calloc(p->count[n] + 1, sizeof(double));
        p->plain[n] = calloc(p->count[n] + 1, sizeof(double));
        if (p->want[n] == NULL || p->plain[n] == NULL)
            return false;
    }
    return rapt_check_linear(&d, &in, false, p->want[0], p->want[1], p->want[2]) &&
           rapt_check_linear(&d, &in, true, p->plain[0], p->plain[1], p->plain[2]);
}

/* A problem that the library takes, so that its sizes go together. */
static bool make(numbers *p, const uint32_t *lengths)
{
    rapt_linear_desc *d = &p->desc;
    rapt_tensor *const tensors[TENSORS] = {&d->q,        &d->k,       &d->v,       &d->a,       &d->b, d->gate.dtype ? &d->gate : &d->decay, &d->beta,
                                           &d->state_in, &d->norm_in, &d->scale_q, &d->scale_k, NULL,  &d->out, &d->state_out, &d->norm_out};
    memcpy(p->tensor, tensors, sizeof tensors);
    rapt_random random = {0x11ea5 + d->q.size[2]};
    for (int t = 0; t < TENSORS; t++)
        if (tensors[t] != NULL && tensors[t]->dtype != RAPT_DTYPE_NONE && !fill(p, t, &random))
            return false;
    if (d->sequences) {
        int32_t *cu = calloc(d->sequences + 1, sizeof *cu);
        if (cu == NULL)
            return false;
        for (uint32_t s = 0; s < d->sequences; s++)
            cu[s + 1] = cu[s] + (int32_t)lengths[s];
        p->image[CU] = cu;
        p->bytes[CU] = (d->sequences + 1) * sizeof *cu;
    }
    return expect(p);
}

/* ---- a run ---- */

static rapt_status bind(rapt_linear_trial *t, rapt_error *error)
{
    numbers *p = t->numbers;
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.q,        &args.k,       &args.v,       &args.a,       &args.b,          &args.decay, &args.beta,
                                       &args.state_in, &args.norm_in, &args.scale_q, &args.scale_k, &args.cu_seqlens, &args.out,   &args.state_out,
                                       &args.norm_out};
    rapt_status status = RAPT_OK;
    for (int n = 0; n < TENSORS && status == RAPT_OK; n++) {
        if (p->image[n] == NULL)
            continue;
        const uint64_t bytes = (p->bytes[n] + 3) / 4 * 4;
        status = rapt_buffer_create(t->device, bytes ? bytes : 4, &p->buffers[n], error);
        slots[n]->buffer = p->buffers[n];
    }
    const double begin = rapt_check_now_ns();
    if (status == RAPT_OK)
        status = rapt_linear_bind(t->plan, &args, &t->binding, error);
    t->open_ns += rapt_check_now_ns() - begin;
    return status;
}

static rapt_status open_trial(rapt_device *device, const rapt_linear_desc *desc, const uint32_t *lengths, bool extreme, const char *kernel,
                              rapt_linear_trial *t, rapt_error *error)
{
    *t = (rapt_linear_trial){.device = device, .info = RAPT_PLAN_INFO_INIT};
    rapt_linear_desc d = *desc;
    d.kernel = kernel;
    const double begin = rapt_check_now_ns();
    rapt_status status = rapt_linear_plan(device, &d, &t->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(t->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_describe(t->plan, &t->info, error);
    t->open_ns = rapt_check_now_ns() - begin;
    if (status != RAPT_OK)
        return status;
    t->numbers = calloc(1, sizeof *t->numbers);
    if (t->numbers != NULL) {
        t->numbers->desc = d;
        t->numbers->extreme = extreme;
    }
    if (t->numbers == NULL || !make(t->numbers, lengths)) {
        snprintf(error->message, sizeof error->message, "no memory for the problem's numbers and the proof");
        return error->status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
    }
    return bind(t, error);
}

rapt_status rapt_linear_trial_open(rapt_device *device, const rapt_linear_desc *desc, const uint32_t *lengths, const char *kernel,
                                   rapt_linear_trial *t, rapt_error *error)
{
    return open_trial(device, desc, lengths, false, kernel, t, error);
}

void rapt_linear_trial_close(rapt_linear_trial *t)
{
    numbers *p = t->numbers;
    rapt_binding_destroy(&t->binding);
    rapt_plan_destroy(&t->plan);
    if (p == NULL)
        return;
    for (int n = 0; n < TENSORS; n++) {
        rapt_buffer_destroy(&p->buffers[n]);
        free(p->image[n]);
    }
    for (int n = 0; n < 3; n++) {
        free(p->want[n]);
        free(p->plain[n]);
        free(p->first[n]);
        free(p->got[n]);
    }
    free(p);
    t->numbers = NULL;
}

rapt_status rapt_linear_trial_submit(rapt_linear_trial *t, double *device_ns, double *wall_ns, rapt_error *error)
{
    const double begin = rapt_check_now_ns();
    rapt_status status = rapt_submit(t->binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(t->binding, UINT64_MAX, error);
    if (wall_ns != NULL)
        *wall_ns = rapt_check_now_ns() - begin;
    rapt_timing timing;
    rapt_binding_timing(t->binding, &timing);
    if (device_ns != NULL)
        *device_ns = timing.device_ns;
    return status;
}

static void fail(rapt_result *r, const char *message)
{
    if (r->verdict == RAPT_CHECK_PASS)
        snprintf(r->message, sizeof r->message, "%s", message);
    r->verdict = RAPT_CHECK_FAIL;
}

/* One output of a run: its numbers, and what lies between them. n: 0 out, 1 state, 2 norm. */
static void judge(const numbers *p, int n, const char *name, rapt_result *r)
{
    const rapt_tensor *at = p->tensor[OUT + n];
    const uint64_t inner = at->rank == 4 ? at->size[3] : 1, rows = at->size[0] * at->size[1] * at->size[2];
    const uint32_t element = rapt_dtype_size(at->dtype), poison = RAPT_POISON;
    double *values = malloc((size_t)(p->count[n] + 1) * sizeof *values), error = 0, size = 0;
    uint8_t *judged = malloc((size_t)rows + 1);
    char text[160];
    if (values == NULL || judged == NULL) {
        fail(r, "no memory for the results");
    } else {
        memset(judged, RAPT_ROW_DONE, (size_t)rows);
        for (uint64_t i = 0; i < p->count[n]; i++) {
            const uint64_t row = i / inner;
            const int64_t place = (int64_t)(row / at->size[2] / at->size[1]) * at->stride[0] +
                                  (int64_t)(row / at->size[2] % at->size[1]) * at->stride[1] + (int64_t)(row % at->size[2]) * at->stride[2] +
                                  (int64_t)(i % inner);
            values[i] = (double)rapt_check_load(p->got[n], at->dtype, place);
            memcpy((char *)p->got[n] + (size_t)place * element, &poison, element);
            error = fmax(error, rapt_check_distance(p->plain[n][i], p->want[n][i]));
            size = fmax(size, fabs(p->want[n][i]));
        }
        const rapt_check_difference d =
            rapt_check_compare(values, p->want[n], judged, rows, inner, rapt_check_tolerance(error, size));
        rapt_check_difference *kept = n == 0 ? &r->out : &r->lse;
        if (n < 2 && (r->runs == 0 || d.wrong > 0))
            *kept = d;
        rapt_check_describe(&d, name, (const uint64_t[4]){at->size[0], at->size[1], at->size[2], inner}, text, sizeof text);
        if (d.wrong > 0)
            fail(r, text);
        for (uint64_t byte = 0; byte + 4 <= p->bytes[OUT + n]; byte += 4)
            if (memcmp((char *)p->got[n] + byte, &poison, 4) != 0) {
                snprintf(text, sizeof text, "%s: wrote outside its rows, at byte %llu", name, (unsigned long long)byte);
                fail(r, text);
                break;
            }
    }
    free(values);
    free(judged);
}

static rapt_status run_once(rapt_linear_trial *t, uint32_t run, rapt_result *r)
{
    static const char *const names[] = {"out", "state", "norm"};
    numbers *p = t->numbers;
    rapt_status status = RAPT_OK;
    for (int n = 0; n < TENSORS && status == RAPT_OK; n++)
        if (p->buffers[n] != NULL && p->bytes[n] > 0)
            status = rapt_buffer_upload(p->buffers[n], 0, p->image[n], p->bytes[n], &r->error);
    if (status == RAPT_OK)
        status = rapt_linear_trial_submit(t, &r->device_ns, &r->wall_ns, &r->error);
    for (int n = 0; n < 3 && status == RAPT_OK; n++) {
        const uint64_t bytes = p->bytes[OUT + n];
        if (p->buffers[OUT + n] == NULL || bytes == 0)
            continue;
        void **to = run == 0 ? &p->first[n] : &p->got[n];
        if (*to == NULL && (*to = malloc(bytes + 4)) == NULL)
            return RAPT_ERROR_OUT_OF_HOST_MEMORY;
        if (p->got[n] == NULL && (p->got[n] = malloc(bytes + 4)) == NULL)
            return RAPT_ERROR_OUT_OF_HOST_MEMORY;
        status = rapt_buffer_download(p->buffers[OUT + n], 0, *to, bytes, &r->error);
        if (status != RAPT_OK)
            break;
        if (run == 0)
            memcpy(p->got[n], p->first[n], bytes);
        else if (memcmp(p->first[n], p->got[n], bytes) != 0) {
            r->differing++;
            fail(r, "a repeat gave other bits than the first run");
        }
        judge(p, n, names[n], r);
    }
    r->runs++;
    return status;
}

/* What is left of a check once the trial is open, or could not be opened. */
static void run(rapt_linear_trial *t, rapt_status status, const char *kernel, uint32_t repeats, rapt_result *r)
{
    r->info = t->info;
    if (status == RAPT_ERROR_UNSUPPORTED)
        r->verdict = RAPT_CHECK_REFUSED;
    else if (status == RAPT_OK && kernel != NULL && strcmp(r->info.kernel, kernel) != 0)
        fail(r, "another row ran than the forced one");
    for (uint32_t n = 0; n <= repeats && status == RAPT_OK; n++)
        status = run_once(t, n, r);
    if (status != RAPT_OK && r->verdict != RAPT_CHECK_REFUSED)
        r->verdict = RAPT_CHECK_ERROR;
    r->wrong = r->verdict == RAPT_CHECK_FAIL;
}

rapt_result rapt_linear_trial_check(rapt_linear_trial *t, uint32_t repeats)
{
    rapt_result r = {.verdict = RAPT_CHECK_PASS};
    run(t, RAPT_OK, NULL, repeats, &r);
    return r;
}

rapt_result rapt_check_linear_run(rapt_device *device, const rapt_linear_case *c, const char *kernel, uint32_t repeats)
{
    rapt_linear_trial t;
    rapt_result r = {.verdict = RAPT_CHECK_PASS};
    const rapt_linear_desc d = describe(c);
    run(&t, open_trial(device, &d, c->length, c->extreme, kernel, &t, &r.error), kernel, repeats, &r);
    rapt_linear_trial_close(&t);
    return r;
}
