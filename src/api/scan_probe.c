/* The known-answer probe of scans: a small problem through the very rows and constants that a plan will use, compared with
 * the recurrence in double precision. */
#include "api/api.h"

#include "api/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PROBE_CHUNK 8u
#define PROBE_HEADS 2u

typedef struct scan_case {
    rapt_scan_desc desc;
    rapt_tensor *tensor[RAPT_S_COUNT];
    uint64_t tokens, sequences; /* tokens of each */
    uint64_t channels, states;
    uint8_t *data[RAPT_S_COUNT];
    uint64_t bytes[RAPT_S_COUNT];
    rapt_buffer *buffer[RAPT_S_COUNT], *cu_seqlens;
    rapt_binding *binding;
    bool submitted;
} scan_case;

static bool is_there(const scan_case *c, unsigned t)
{
    return c->tensor[t]->dtype != RAPT_DTYPE_NONE;
}

/* Contiguous but for rows of rank 4, which lie as far apart as the plan's are aligned. */
static rapt_tensor tensor_of(rapt_dtype dtype, uint32_t rank, const uint64_t size[4], bool aligned)
{
    rapt_tensor t = {.dtype = dtype, .rank = rank, .align = aligned ? 16 : 4};
    int64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        t.size[axis] = size[axis];
        t.stride[axis] = stride;
        stride *= (int64_t)size[axis];
        if (rank == 4 && axis == 3)
            stride = (int64_t)rapt_align_up((uint64_t)stride, 4) + (aligned ? 4 : 1);
    }
    return t;
}

/* Weights of what does not recur. */
static void make_weights(const rapt_plan *plan, scan_case *c, const uint64_t rows[4])
{
    const rapt_scan_problem *p = &plan->scan;
    rapt_scan_desc *d = &c->desc;
    const uint64_t taps = c->states + 1, channels = p->flags & RAPT_SCAN_CHANNELS_LAST ? c->channels : PROBE_HEADS;
    const uint64_t fixed[] = {PROBE_HEADS, c->channels, taps, 1}, grid[] = {channels, 3, 5, 1};
    const uint64_t own[] = {rows[0], rows[1], rows[2], c->channels * taps};
    if (p->op == RAPT_SCAN_CONV && p->generated) {
        d->weight = tensor_of(RAPT_F32, 4, own, plan->aligned);
    } else if (p->op == RAPT_SCAN_CONV) {
        d->weight = tensor_of(RAPT_F32, 3, fixed, plan->aligned);
    } else if (p->op == RAPT_SCAN_CONV2D) {
        d->weight = tensor_of(RAPT_F32, 3, grid, plan->aligned);
        if (p->tensor[RAPT_S_SKIP].present)
            d->bias = tensor_of(RAPT_F32, 1, grid, plan->aligned);
    }
}

static void make_case(const rapt_plan *plan, scan_case *c)
{
    const rapt_scan_problem *p = &plan->scan;
    const bool aligned = plan->aligned, stateful = p->op == RAPT_SCAN_SSM || p->op == RAPT_SCAN_SELECTIVE;
    const bool chunked = plan->scan_layout.chunk != 0, carried = plan->scan_layout.carried;
    memset(c, 0, sizeof *c);
    c->sequences = p->varlen ? 2 : 1;
    c->tokens = chunked ? 2 * PROBE_CHUNK + 3 : RAPT_MAX(RAPT_MIN(p->tokens, 19), 1);
    c->channels = aligned ? 12 : 7;
    c->states = p->op == RAPT_SCAN_CONV ? RAPT_MIN(p->states, 3) : p->states;
    rapt_scan_desc *d = &c->desc;
    *d = (rapt_scan_desc){.struct_size = sizeof *d,
                          .flags = p->flags,
                          .op = p->op,
                          .form = !rapt_scan_recurs(p) ? RAPT_SCAN_AUTO : chunked ? RAPT_SCAN_CHUNKED : RAPT_SCAN_RECURRENT,
                          .act = (rapt_scan_act)p->act,
                          .ahead = RAPT_MIN(p->ahead, (uint32_t)c->states),
                          .chunk = chunked ? PROBE_CHUNK : 0,
                          .sequences = p->varlen ? (uint32_t)c->sequences : 0,
                          .max_seqlen = p->varlen ? c->tokens : 0,
                          .kernel = plan->pipelines[0].row->name};
    rapt_tensor *const tensors[RAPT_S_COUNT] = {&d->x,  p->op == RAPT_SCAN_SOFTMAX ? &d->scores : &d->a,
                                                rapt_scan_recurs(p) ? &d->b : &d->weight, &d->out,
                                                &d->c,  &d->dt,
                                                &d->z,  rapt_scan_recurs(p) ? &d->skip : &d->bias,
                                                &d->state_in, &d->state_out};
    memcpy(c->tensor, tensors, sizeof tensors);
    const uint64_t total = c->tokens * c->sequences;
    const uint64_t rows[] = {1, PROBE_HEADS, total, c->channels}, numbers[] = {PROBE_HEADS, c->channels, c->states, 1};
    const uint64_t ports[] = {1, PROBE_HEADS, total, c->states};
    const uint64_t state[] = {c->sequences, PROBE_HEADS, c->channels, c->states};
    d->x = d->out = tensor_of(p->dtype, 4, rows, aligned);
    if (stateful)
        d->a = tensor_of(RAPT_F32, 3, numbers, aligned);
    else if (p->coef != RAPT_COEF_ONE)
        *c->tensor[RAPT_S_COEF] = tensor_of(RAPT_F32, p->coef == RAPT_COEF_SHARED ? 3 : 4, rows, aligned);
    if (stateful)
        d->b = d->c = p->op == RAPT_SCAN_SSM ? d->a : tensor_of(RAPT_F32, 4, ports, aligned);
    if (p->op == RAPT_SCAN_SELECTIVE)
        d->dt = tensor_of(RAPT_F32, 4, rows, aligned);
    if (p->tensor[RAPT_S_Z].present)
        d->z = d->x;
    if (p->tensor[RAPT_S_SKIP].present)
        *c->tensor[RAPT_S_SKIP] = tensor_of(RAPT_F32, 2, numbers, aligned);
    make_weights(plan, c, rows);
    if (p->tensor[RAPT_S_STATE_IN].present)
        d->state_in = tensor_of(RAPT_F32, 4, state, aligned);
    if (p->tensor[RAPT_S_STATE_OUT].present || carried || chunked)
        d->state_out = tensor_of(RAPT_F32, 4, state, aligned);
}

static double get(const scan_case *c, unsigned which, uint64_t i, uint64_t j, uint64_t k, uint64_t l)
{
    const rapt_tensor *t = c->tensor[which];
    const uint64_t at[4] = {i, j, k, l};
    int64_t place = 0;
    for (uint32_t axis = 0; axis < t->rank; axis++)
        place += (int64_t)at[axis] * t->stride[axis];
    return rapt_number_get(c->data[which] + (uint64_t)place * rapt_dtype_size(t->dtype), t->dtype);
}

/* Numbers that keep every operation's state small. */
static float number_for(const scan_case *c, unsigned which, uint64_t last, uint32_t *seed)
{
    const rapt_scan_op op = c->desc.op;
    const float x = rapt_number_next(seed); /* in [-1, 1) */
    const bool second = c->desc.flags & RAPT_SCAN_COMPLEX && last % 2 == 1;
    if (which == RAPT_S_COEF && op == RAPT_SCAN_SELECTIVE)
        return -1.25f - x;
    if (which == RAPT_S_COEF && op != RAPT_SCAN_SOFTMAX) {
        const float a = second ? 0.5f * x : 0.625f + 0.25f * x;
        return c->desc.flags & RAPT_SCAN_LOG_A ? logf(a) : a;
    }
    if (which == RAPT_S_COEF && x < -0.75f)
        return -INFINITY; /* a hidden token */
    if (which == RAPT_S_DT)
        return c->desc.flags & RAPT_SCAN_SOFTPLUS ? x : 0.5f + 0.25f * x;
    if ((which == RAPT_S_STATE_IN || which == RAPT_S_STATE_OUT) && op == RAPT_SCAN_SOFTMAX && last == 1)
        return 1.5f + x;
    return x;
}

static void fill(scan_case *c, unsigned which, uint32_t *seed)
{
    const rapt_tensor *t = c->tensor[which];
    uint64_t size[4] = {1, 1, 1, 1};
    memcpy(size, t->size, t->rank * sizeof *size);
    for (uint64_t i = 0; i < size[0]; i++)
        for (uint64_t j = 0; j < size[1]; j++)
            for (uint64_t k = 0; k < size[2]; k++)
                for (uint64_t l = 0; l < size[3]; l++) {
                    const int64_t at = (int64_t)i * t->stride[0] + (int64_t)j * t->stride[1] +
                                       (int64_t)k * t->stride[2] + (int64_t)l * t->stride[3];
                    const float x = number_for(c, which, t->rank == 3 ? k : l, seed);
                    rapt_number_put(c->data[which] + (uint64_t)at * rapt_dtype_size(t->dtype), t->dtype, x);
                }
}

/* ---- the reference */

/* One token of the n numbers of one channel's state, with the state-space operations. */
static double step_numbers(const scan_case *c, uint64_t h, uint64_t token, uint64_t channel, double x, double *s)
{
    const bool selective = c->desc.op == RAPT_SCAN_SELECTIVE, pairs = c->desc.flags & RAPT_SCAN_COMPLEX;
    double y = is_there(c, RAPT_S_SKIP) ? get(c, RAPT_S_SKIP, h, channel, 0, 0) * x : 0;
    double dt = selective ? get(c, RAPT_S_DT, 0, h, token, channel) : 0;
    if (c->desc.flags & RAPT_SCAN_SOFTPLUS)
        dt = log1p(exp(dt));
    for (uint64_t n = 0; n < c->states; n++) {
        if (selective) {
            s[n] = exp(dt * get(c, RAPT_S_COEF, h, channel, n, 0)) * s[n] + dt * get(c, RAPT_S_B, 0, h, token, n) * x;
            y += get(c, RAPT_S_C, 0, h, token, n) * s[n];
            continue;
        }
        const double a = get(c, RAPT_S_COEF, h, channel, n, 0), b = get(c, RAPT_S_B, h, channel, n, 0);
        if (!pairs) {
            s[n] = a * s[n] + b * x;
            y += get(c, RAPT_S_C, h, channel, n, 0) * s[n];
            continue;
        }
        const double ai = get(c, RAPT_S_COEF, h, channel, n + 1, 0), re = s[n], im = s[n + 1];
        s[n] = a * re - ai * im + b * x;
        s[n + 1] = a * im + ai * re + get(c, RAPT_S_B, h, channel, n + 1, 0) * x;
        y += get(c, RAPT_S_C, h, channel, n, 0) * s[n] - get(c, RAPT_S_C, h, channel, n + 1, 0) * s[n + 1];
        n++;
    }
    const double z = is_there(c, RAPT_S_Z) ? get(c, RAPT_S_Z, 0, h, token, channel) : 0;
    return is_there(c, RAPT_S_Z) ? y * z / (1 + exp(-z)) : y;
}

static double activated(const scan_case *c, double x)
{
    return c->desc.act == RAPT_SCAN_ACT_SILU      ? x / (1 + exp(-x))
           : c->desc.act == RAPT_SCAN_ACT_SIGMOID ? 1 / (1 + exp(-x))
                                                  : x;
}

/* A convolution along the tokens of sequence q; `i` counts in the order of the scan, `before` is what states began with. */
static double convolved(const scan_case *c, uint64_t q, uint64_t h, uint64_t i, uint64_t e, const double *before)
{
    const bool reverse = c->desc.flags & RAPT_SCAN_REVERSE, own = c->desc.weight.rank == 4;
    const uint64_t first = q * c->tokens, token = first + (reverse ? c->tokens - 1 - i : i), taps = c->states + 1;
    double y = is_there(c, RAPT_S_SKIP) ? get(c, RAPT_S_SKIP, h, e, 0, 0) : 0;
    for (uint64_t j = 0; j < taps; j++) {
        const int64_t at = (int64_t)(i + j + c->desc.ahead) - (int64_t)c->states;
        const double w = own ? get(c, RAPT_S_B, 0, h, token, e * taps + j) : get(c, RAPT_S_B, h, e, j, 0);
        if (at < 0)
            y += w * before[(int64_t)c->states + at];
        else if ((uint64_t)at < c->tokens)
            y += w * get(c, RAPT_S_X, 0, h, first + (reverse ? c->tokens - 1 - (uint64_t)at : (uint64_t)at), e);
    }
    return activated(c, y);
}

/* One on a grid: place (i, j, k) of x, which is (channels, Y, X) or (Y, X, channels). */
static double on_grid(const scan_case *c, uint64_t i, uint64_t j, uint64_t k)
{
    const bool last = c->desc.flags & RAPT_SCAN_CHANNELS_LAST;
    const uint64_t *size = c->desc.x.size, channel = last ? k : i, height = size[last ? 1 : 2], width = size[last ? 2 : 3];
    const uint64_t rows = c->desc.weight.size[1], columns = c->desc.weight.size[2];
    double sum = is_there(c, RAPT_S_SKIP) ? get(c, RAPT_S_SKIP, channel, 0, 0, 0) : 0;
    for (uint64_t a = 0; a < rows; a++)
        for (uint64_t b = 0; b < columns; b++) {
            const uint64_t y = (last ? i : j) + a - rows / 2, x = (last ? j : k) + b - columns / 2;
            if (y < height && x < width)
                sum += get(c, RAPT_S_B, channel, a, b, 0) *
                       (last ? get(c, RAPT_S_X, 0, y, x, k) : get(c, RAPT_S_X, 0, i, y, x));
        }
    return activated(c, sum);
}

/* One token of one channel; its output. */
static double step(const scan_case *c, uint64_t h, uint64_t token, uint64_t channel, double *s)
{
    const double x = get(c, RAPT_S_X, 0, h, token, channel);
    double a = is_there(c, RAPT_S_COEF) && (c->desc.op <= RAPT_SCAN_SOFTMAX || c->desc.op == RAPT_SCAN_HOLD) ? get(c, RAPT_S_COEF, 0, h, token, channel) : 1;
    switch (c->desc.op) {
    case RAPT_SCAN_MAX:
        return s[0] = fmax(s[0], x);
    case RAPT_SCAN_HOLD:
        return s[0] = fabs(x - s[0]) >= a ? x : s[0];
    case RAPT_SCAN_SUM:
        return s[0] += x;
    case RAPT_SCAN_LINEAR:
        a = c->desc.flags & RAPT_SCAN_LOG_A ? exp(a) : a;
        return s[0] = a * s[0] + (c->desc.flags & RAPT_SCAN_BLEND ? (1 - a) * x : x);
    case RAPT_SCAN_SOFTMAX: {
        const double top = fmax(s[0], a), keep = s[0] == -INFINITY ? 0 : exp(s[0] - top);
        const double weight = a == -INFINITY ? 0 : exp(a - top);
        s[0] = top;
        s[1] = s[1] * keep + weight;
        s[2] = s[2] * keep + weight * x;
        return s[1] > 0 ? s[2] / s[1] : 0;
    }
    default:
        return step_numbers(c, h, token, channel, x, s);
    }
}

static double share_of(double got, double want, double unit)
{
    if (got == want) /* infinities */
        return 0;
    const double error = fabs(got - want) / (unit * (1 + fabs(want)));
    return error == error ? error : INFINITY;
}

/* The worst error as a share of the tolerance; of final states in *states. `first`: what states begin with. */
static double worst_error(const scan_case *c, const uint8_t *first, double *states)
{
    const rapt_scan_desc *d = &c->desc;
    const double unit = d->x.dtype == RAPT_BF16 ? 0x1p-8 : d->x.dtype == RAPT_F16 ? 0x1p-10 : 0x1p-14;
    double worst = 0;
    *states = 0;
    for (uint64_t q = 0; q < c->sequences; q++)
        for (uint64_t h = 0; h < PROBE_HEADS; h++)
            for (uint64_t e = 0; e < c->channels; e++) {
                double s[RAPT_SCAN_MAX_STATES + 1] = {0};
                const rapt_tensor *t = is_there(c, RAPT_S_STATE_IN) ? &d->state_in : &d->state_out;
                if (d->op == RAPT_SCAN_MAX || d->op == RAPT_SCAN_SOFTMAX || d->op == RAPT_SCAN_HOLD)
                    s[0] = -INFINITY;
                for (uint64_t n = 0; n < c->states && first != NULL; n++)
                    s[n] = rapt_number_get(first + 4 * ((int64_t)q * t->stride[0] + (int64_t)h * t->stride[1] +
                                                        (int64_t)e * t->stride[2] + (int64_t)n),
                                           RAPT_F32);
                for (uint64_t i = 0; i < c->tokens; i++) {
                    const uint64_t token = q * c->tokens + (d->flags & RAPT_SCAN_REVERSE ? c->tokens - 1 - i : i);
                    const double want = d->op == RAPT_SCAN_CONV     ? convolved(c, q, h, i, e, s)
                                        : d->op == RAPT_SCAN_CONV2D ? on_grid(c, h, token, e)
                                                                    : step(c, h, token, e, s);
                    worst = fmax(worst, share_of(get(c, RAPT_S_OUT, 0, h, token, e), want, unit));
                }
                for (uint64_t n = 0; n < c->states && d->op == RAPT_SCAN_CONV; n++) { /* the last tokens */
                    const uint64_t at = c->tokens + n; /* behind what came before */
                    const uint64_t token = d->flags & RAPT_SCAN_REVERSE ? c->states - 1 - n : at - c->states;
                    s[n] = at < c->states ? s[at] : get(c, RAPT_S_X, 0, h, q * c->tokens + token, e);
                }
                for (uint64_t n = 0; n < c->states && is_there(c, RAPT_S_STATE_OUT); n++)
                    *states = fmax(*states, share_of(get(c, RAPT_S_STATE_OUT, q, h, e, n), s[n], 0x1p-14));
            }
    return worst;
}

/* ---- running it */

static rapt_status run_case(scan_case *c, rapt_plan *small, double *share, double *states, rapt_error *error)
{
    rapt_device *device = small->device;
    const rapt_allocator *a = &device->runtime->allocator;
    uint32_t seed = 815;
    rapt_status status = RAPT_OK;
    const bool in_place = c->desc.flags & RAPT_SCAN_IN_PLACE, recurs = c->desc.op < RAPT_SCAN_CONV;
    rapt_scan_args args = RAPT_SCAN_ARGS_INIT;
    rapt_slot *const slots[RAPT_S_COUNT] = {&args.x,  c->desc.op == RAPT_SCAN_SOFTMAX ? &args.scores : &args.a,
                                            recurs ? &args.b : &args.weight, &args.out,
                                            &args.c,  &args.dt,
                                            &args.z,  recurs ? &args.skip : &args.bias,
                                            &args.state_in, &args.state_out};
    for (unsigned t = 0; t < RAPT_S_COUNT && status == RAPT_OK; t++) {
        if (!is_there(c, t))
            continue;
        c->bytes[t] = rapt_align_up(rapt_tensor_bytes(c->tensor[t]), 4);
        c->data[t] = rapt_calloc(a, c->bytes[t], 1);
        if (c->data[t] == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
        memset(c->data[t], 0xff, c->bytes[t]); /* NaN wherever nothing is written below */
        if (t != RAPT_S_OUT && (t != RAPT_S_STATE_OUT || in_place))
            fill(c, t, &seed);
        status = rapt_buffer_create(device, c->bytes[t], &c->buffer[t], error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(c->buffer[t], 0, c->data[t], c->bytes[t], error);
        slots[t]->buffer = c->buffer[t];
    }
    const int32_t cu[3] = {0, (int32_t)c->tokens, (int32_t)(2 * c->tokens)};
    if (status == RAPT_OK && c->desc.sequences > 0) {
        status = rapt_buffer_create(device, sizeof cu, &c->cu_seqlens, error);
        args.cu_seqlens.buffer = c->cu_seqlens;
        if (status == RAPT_OK)
            status = rapt_buffer_upload(c->cu_seqlens, 0, cu, sizeof cu, error);
    }
    if (status == RAPT_OK)
        status = rapt_scan_bind(small, &args, &c->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(c->binding, error);
    c->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, c->binding, error);
    const unsigned begin = in_place ? RAPT_S_STATE_OUT : RAPT_S_STATE_IN;
    uint8_t *first = NULL;
    const uint64_t first_bytes = c->bytes[begin];
    if (status == RAPT_OK && (in_place || is_there(c, RAPT_S_STATE_IN))) { /* what it begins with may be written over */
        first = rapt_calloc(a, first_bytes, 1);
        if (first == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
        memcpy(first, c->data[begin], first_bytes);
    }
    for (unsigned t = RAPT_S_OUT; t <= RAPT_S_STATE_OUT && status == RAPT_OK; t += RAPT_S_STATE_OUT - RAPT_S_OUT)
        if (is_there(c, t))
            status = rapt_buffer_download(c->buffer[t], 0, c->data[t], c->bytes[t], error);
    if (status == RAPT_OK)
        *share = worst_error(c, first, states);
    rapt_free(a, first, first_bytes);
    return status;
}

static void free_case(scan_case *c, rapt_device *device)
{
    const rapt_allocator *a = &device->runtime->allocator;
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (c->binding == NULL || rapt_wait(c->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT ||
        atomic_load(&device->hung)) {
        rapt_binding_destroy(&c->binding);
        for (unsigned t = 0; t < RAPT_S_COUNT; t++)
            rapt_buffer_destroy(&c->buffer[t]);
        rapt_buffer_destroy(&c->cu_seqlens);
    }
    for (unsigned t = 0; t < RAPT_S_COUNT; t++)
        rapt_free(a, c->data[t], c->bytes[t]);
}

/* Whether the small plan goes through the very rows and constants of the other. */
static bool same_pipelines(const rapt_plan *a, const rapt_plan *b)
{
    bool same = a->pipeline_count == b->pipeline_count;
    for (uint32_t i = 0; same && i < a->pipeline_count; i++)
        same = a->pipelines[i].row == b->pipelines[i].row &&
               memcmp(a->pipelines[i].constants, b->pipelines[i].constants, sizeof a->pipelines[i].constants) == 0;
    return same;
}

rapt_status rapt_probe_scan(rapt_plan *plan, rapt_error *error)
{
    rapt_device *device = plan->device;
    const char *name = plan->pipelines[0].row->name;
    const uint64_t begin = rapt_now_ns();
    scan_case c;
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    rapt_error why = {0};
    make_case(plan, &c);
    const rapt_verdicts verdicts = rapt_device_verdicts(device); /* what is refused is refused here too */
    rapt_status status = rapt_scan_plan_new(device, &device->caps, &c.desc, &verdicts, &small, &why);
    if (status != RAPT_OK)
        rapt_fail_prefix(&why, status, "the probe of kernel '%s'", name);
    else if (!same_pipelines(small, plan))
        status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED, "the probe of kernel '%s' does not reach its constants", name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    double share = 0, states = 0;
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_case(&c, small, &share, &states, &why);
        free_case(&c, device);
    }
    rapt_plan_destroy(&small);
    if (rapt_probe_ended(plan, c.submitted, &status, &why, error))
        return status;
    share = fmax(share, states);
    char reason[160] = "";
    if (share > 1)
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        if (share <= 1 || i == 0)
            rapt_probe_note(plan, i, share <= 1 ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true, reason);
    rapt_log_write(&device->runtime->log, RAPT_LOG_DEBUG, "probe of %s: %.3g of the tolerance, %.1f ms", name, share,
                   (double)(rapt_now_ns() - begin) * 1e-6);
    return RAPT_OK;
}
