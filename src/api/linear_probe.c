/* The known-answer probe of linear attention: a small problem through the very rows and constants that a plan
 * will use, compared with the recurrence in double precision. */
#include "api/api.h"

#include "api/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What stands for every app's feature map: the row with code of an app is trusted when this comes out right. */
static const char probe_feature_map[] = "float feature_map(float x, uint b, uint h, uint t, uint i)\n"
                                        "{ return x * x + 0.25 * float(h) + 0.125 * float(t % 3u) + 0.0625 * float(i % 5u); }\n";
static double probe_feature(double x, uint64_t h, uint64_t t, uint64_t i)
{
    return x * x + 0.25 * (double)h + 0.125 * (double)(t % 3) + 0.0625 * (double)(i % 5);
}

/* Tensors in the order of RAPT_L_*. */
typedef struct linear_case {
    rapt_linear_desc desc;
    rapt_tensor *tensor[RAPT_L_COUNT];
    uint64_t heads, tokens, sequences; /* tokens of each */
    uint64_t rows;                     /* of states */
    uint8_t *data[RAPT_L_COUNT];
    uint64_t bytes[RAPT_L_COUNT];
    rapt_buffer *buffer[RAPT_L_COUNT], *cu_seqlens;
    double *state, *norm; /* (sequence, head, d_k, d_v) and (sequence, head, d_k): the reference's */
    uint64_t state_count, norm_count;
    rapt_binding *binding;
    bool submitted;
} linear_case;

static bool is_there(const linear_case *c, unsigned t)
{
    return c->tensor[t]->dtype != RAPT_DTYPE_NONE;
}

/* (batch, heads, rows, inner), rows as far apart as the plan's are aligned. rank 3: without inner. */
static rapt_tensor tensor_of(rapt_dtype dtype, uint32_t rank, uint64_t batch, uint64_t heads, uint64_t rows,
                             uint64_t inner, bool aligned)
{
    const uint64_t pitch = rank == 3 ? 1 : rapt_align_up(inner, 8) + !aligned;
    rapt_tensor t = {.dtype = dtype, .rank = rank, .size = {batch, heads, rows, inner}};
    t.stride[0] = (int64_t)(heads * rows * pitch);
    t.stride[1] = (int64_t)(rows * pitch);
    t.stride[2] = (int64_t)pitch;
    t.stride[3] = 1;
    t.align = aligned ? 16 : 4;
    return t;
}

/* p: what it is like: plan->linear, or another of no more than RAPT_LINEAR_MAX_DIM features. */
static void make_case(const rapt_plan *plan, const rapt_linear_problem *p, linear_case *c)
{
    const uint64_t rows = rapt_linear_state_rows((rapt_phi)p->feature, p->power, p->d_k);
    const bool aligned = plan->aligned, by_keys = p->normalize_keys,
               in = p->tensor[RAPT_L_STATE_IN].present || (p->mapped && !by_keys),
               out = (p->tensor[RAPT_L_STATE_OUT].present || plan->layout.carried || plan->layout.chunk != 0) && !by_keys;
    memset(c, 0, sizeof *c);
    c->heads = 2;
    c->sequences = p->varlen ? 2 : 1;
    c->tokens = plan->layout.chunk ? 2ull * plan->layout.chunk + 3 : RAPT_MAX(RAPT_MIN(p->tokens, 21), 1);
    rapt_linear_desc *d = &c->desc;
    d->struct_size = sizeof *d;
    d->flags = (p->normalize ? RAPT_LINEAR_NORMALIZE : 0) | (p->log_decay ? RAPT_LINEAR_LOG_DECAY : 0) |
               (p->in_place ? RAPT_LINEAR_IN_PLACE : 0) | RAPT_LINEAR_SCALE |
               (p->bidirectional && p->mapped ? RAPT_LINEAR_BIDIRECTIONAL : 0) |
               (by_keys && p->mapped ? RAPT_LINEAR_NORMALIZE_KEYS : 0) | (p->standardize && p->mapped ? RAPT_LINEAR_STANDARDIZE : 0) |
               (p->feature_k != p->feature ? RAPT_LINEAR_FEATURE_K : 0);
    d->scale = 0.5f;
    d->rule = (rapt_linear_rule)p->rule;
    d->feature = (rapt_phi)p->feature;
    d->form = plan->layout.chunk ? RAPT_LINEAR_CHUNKED : RAPT_LINEAR_RECURRENT;
    d->chunk = plan->layout.chunk;
    d->sequences = p->varlen ? (uint32_t)c->sequences : 0;
    d->max_seqlen = p->varlen ? c->tokens : 0;
    d->feature_k = p->feature_k != p->feature ? (rapt_phi)p->feature_k : RAPT_PHI_IDENTITY;
    d->feature_power = p->power;
    d->feature_scale = p->mapped ? 0.75f : 0.0f;
    d->feature_map = p->feature == RAPT_PHI_USER || p->feature_k == RAPT_PHI_USER ? probe_feature_map : NULL;
    /* A row that is forced takes all passes that it can: not where another adds up. */
    const bool adds = plan->pipeline_count > 1 && (plan->pipelines[1].row->supports & RAPT_ROW_ADDS) &&
                      (plan->pipelines[0].row->supports & RAPT_ROW_WALKS);
    d->kernel = p->mapped || p->bidirectional || adds ? NULL : plan->pipelines[0].row->name;
    rapt_tensor *const tensors[RAPT_L_COUNT] = {&d->q,
                                                &d->k,
                                                &d->v,
                                                &d->out,
                                                &d->a,
                                                &d->b,
                                                p->decay == RAPT_DECAY_CHANNEL ? &d->gate : &d->decay,
                                                &d->beta,
                                                &d->state_in,
                                                &d->state_out,
                                                &d->norm_in,
                                                &d->norm_out,
                                                &d->scale_q,
                                                &d->scale_k};
    memcpy(c->tensor, tensors, sizeof tensors);
    const uint64_t total = c->tokens * c->sequences;
    d->q = d->k = tensor_of(p->dtype, 4, 1, c->heads, total, p->d_k, aligned);
    d->v = d->out = tensor_of(p->dtype, 4, 1, c->heads, total, p->d_v, aligned);
    if (p->rule == RAPT_LINEAR_DPLR)
        d->a = d->b = d->q;
    if (p->decay == RAPT_DECAY_CHANNEL)
        d->gate = tensor_of(RAPT_F32, 4, 1, c->heads, total, p->d_k, aligned);
    else if (p->decay == RAPT_DECAY_TOKEN)
        d->decay = tensor_of(RAPT_F32, 3, 1, c->heads, total, 1, aligned);
    else if (p->decay == RAPT_DECAY_HEAD)
        d->decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {c->heads}, .stride = {1}, .align = 4};
    if (p->beta)
        d->beta = tensor_of(RAPT_F32, 3, 1, c->heads, total, 1, aligned);
    const rapt_tensor state = tensor_of(RAPT_F32, 4, c->sequences, c->heads, rows, p->d_v, aligned);
    const rapt_tensor norm = {.dtype = RAPT_F32,
                              .rank = 3,
                              .size = {c->sequences, c->heads, rows},
                              .stride = {(int64_t)(c->heads * rows), (int64_t)rows, 1},
                              .align = 4};
    if (in)
        d->state_in = state;
    if (out)
        d->state_out = state;
    if (p->normalize && in)
        d->norm_in = norm;
    if (p->normalize && out)
        d->norm_out = norm;
    c->rows = rows;
    c->state_count = c->sequences * c->heads * rows * p->d_v;
    c->norm_count = c->sequences * c->heads * rows;
}

/* Element (b, h, row, x) of a tensor, in elements. */
static uint64_t at(const rapt_tensor *t, uint64_t b, uint64_t h, uint64_t row, uint64_t x)
{
    if (t->rank == 1)
        return h;
    return b * (uint64_t)t->stride[0] + h * (uint64_t)t->stride[1] + row * (uint64_t)t->stride[2] + x;
}

static double get(const linear_case *c, unsigned t, uint64_t b, uint64_t h, uint64_t row, uint64_t x)
{
    const rapt_tensor *tensor = c->tensor[t];
    return rapt_number_get(c->data[t] + at(tensor, b, h, row, x) * rapt_dtype_size(tensor->dtype),
                           tensor->dtype);
}

/* Numbers that keep every rule's state small. */
static void fill(linear_case *c, unsigned t, uint32_t *seed)
{
    const rapt_tensor *tensor = c->tensor[t];
    const uint32_t size = rapt_dtype_size(tensor->dtype);
    const uint64_t inner = tensor->rank == 4 ? tensor->size[3] : 1,
                   rows = tensor->rank == 1 ? 1 : tensor->size[2];
    const uint64_t batch = tensor->rank == 1 ? 1 : tensor->size[0];
    for (uint64_t b = 0; b < batch; b++)
        for (uint64_t h = 0; h < tensor->size[tensor->rank > 1]; h++)
            for (uint64_t row = 0; row < rows; row++)
                for (uint64_t x = 0; x < inner; x++) {
                    float number = rapt_number_next(seed); /* in [-1, 1) */
                    if (t == RAPT_L_DECAY) {
                        number = 0.75f + 0.25f * number;
                        number = c->desc.flags & RAPT_LINEAR_LOG_DECAY ? logf(number) : number;
                    } else if (t == RAPT_L_K || t == RAPT_L_A || t == RAPT_L_B) {
                        number *= 0.125f;
                    } else if (t == RAPT_L_BETA) {
                        number = 0.5f + 0.5f * number;
                    } else if (t == RAPT_L_NORM_IN ||
                               (t == RAPT_L_NORM_OUT && (c->desc.flags & RAPT_LINEAR_IN_PLACE))) {
                        number = fabsf(number) + 0.5f; /* at least as much as feature maps give */
                    }
                    rapt_number_put(c->data[t] + at(tensor, b, h, row, x) * size, tensor->dtype, number);
                }
}

/* 1, x_i, x_i x_j: x has room for them. */
static void map_products(double *x, uint64_t n, bool linear)
{
    uint64_t at = n + 1;
    memmove(x + 1, x, n * sizeof *x);
    x[0] = 1;
    for (uint64_t i = 1; i <= n && !linear; i++)
        for (uint64_t j = i; j <= n; j++)
            x[at++] = x[i] * x[j] * (i == j ? sqrt(0.5) : 1);
}

/* Those that divide by the norm of a row, or keep it. */
static void map_norms(rapt_phi feature, double power, double *x, uint64_t n)
{
    double before = 0, after = 0;
    for (uint64_t i = 0; i < n; i++) {
        x[i] = feature == RAPT_PHI_FOCUSED ? fmax(x[i], 0) : x[i];
        before += x[i] * x[i];
        x[i] = feature == RAPT_PHI_FOCUSED ? pow(x[i], power) : x[i];
        after += x[i] * x[i];
    }
    for (uint64_t i = 0; i < n; i++)
        x[i] *= after == 0 ? 0 : feature == RAPT_PHI_FOCUSED ? sqrt(before / after) : 1 / sqrt(after);
}

static void map_standard(double *x, uint64_t n)
{
    double mean = 0, variance = 0;
    for (uint64_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (uint64_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (uint64_t i = 0; i < n; i++)
        x[i] = variance > 0 ? (x[i] - mean) / sqrt(variance) : 0;
}

static void map_features(const rapt_linear_desc *d, bool keys, uint64_t h, uint64_t token, double *x)
{
    const rapt_phi feature = keys && (d->flags & RAPT_LINEAR_FEATURE_K) ? d->feature_k : d->feature;
    const uint64_t n = d->q.size[3];
    double top = -INFINITY, sum = 0;
    if (d->flags & RAPT_LINEAR_STANDARDIZE)
        map_standard(x, n);
    for (uint64_t i = 0; i < n; i++)
        top = fmax(top, x[i]);
    if (feature == RAPT_PHI_TAYLOR2 || feature == RAPT_PHI_POLY)
        map_products(x, n, feature == RAPT_PHI_POLY && d->feature_power == 1.0f);
    else if (feature == RAPT_PHI_FOCUSED || feature == RAPT_PHI_COSINE)
        map_norms(feature, (double)d->feature_power, x, n);
    for (uint64_t i = 0; i < n; i++) {
        const double relu = fmax(x[i], 0);
        x[i] = feature == RAPT_PHI_ELU1                                   ? relu + exp(fmin(x[i], 0))
               : feature == RAPT_PHI_RELU                                 ? relu
               : feature == RAPT_PHI_RELU2                                ? relu * relu
               : feature == RAPT_PHI_EXP || feature == RAPT_PHI_LOGNORMAL ? exp(x[i])
               : feature == RAPT_PHI_SOFTMAX                              ? exp(x[i] - top)
               : feature == RAPT_PHI_USER                                 ? probe_feature(x[i], h, token, i)
                                                                          : x[i];
        sum += x[i];
    }
    for (uint64_t i = 0; i < n && feature == RAPT_PHI_SOFTMAX; i++)
        x[i] /= sum;
}

/* One token of the recurrence. `token`: on the packed axis, `place`: in its sequence. */
static void step(const linear_case *c, uint64_t h, uint64_t token, uint64_t place, double *S, double *z)
{
    const rapt_linear_desc *d = &c->desc;
    const uint64_t n = c->rows, m = d->v.size[3];
    double k[RAPT_LINEAR_MAX_DIM] = {0}, read[RAPT_LINEAR_MAX_DIM];
    const double beta = is_there(c, RAPT_L_BETA) ? get(c, RAPT_L_BETA, 0, h, token, 0) : 1;
    for (uint64_t i = 0; i < d->q.size[3]; i++)
        k[i] = get(c, RAPT_L_K, 0, h, token, i);
    map_features(d, true, h, place, k);
    for (uint64_t e = 0; e < m; e++) {
        read[e] = 0;
        for (uint64_t i = 0; i < n && d->rule == RAPT_LINEAR_DPLR; i++)
            read[e] += get(c, RAPT_L_A, 0, h, token, i) * S[i * m + e];
    }
    for (uint64_t i = 0; i < n && is_there(c, RAPT_L_DECAY); i++) {
        double alpha = get(c, RAPT_L_DECAY, 0, h, token, c->tensor[RAPT_L_DECAY]->rank == 4 ? i : 0);
        if (d->flags & RAPT_LINEAR_LOG_DECAY)
            alpha = exp(alpha);
        z[i] *= alpha;
        for (uint64_t e = 0; e < m; e++)
            S[i * m + e] *= alpha;
    }
    for (uint64_t e = 0; e < m; e++) {
        double known = 0;
        for (uint64_t i = 0; i < n && d->rule == RAPT_LINEAR_DELTA; i++)
            known += k[i] * S[i * m + e];
        const double add = beta * (get(c, RAPT_L_V, 0, h, token, e) - known);
        for (uint64_t i = 0; i < n; i++) {
            S[i * m + e] += k[i] * add;
            if (d->rule == RAPT_LINEAR_DPLR)
                S[i * m + e] += get(c, RAPT_L_B, 0, h, token, i) * read[e];
        }
    }
    for (uint64_t i = 0; i < n; i++)
        z[i] += k[i];
}

/* Its output into `o`. */
static void output(const linear_case *c, uint64_t h, uint64_t token, uint64_t place, const double *S, const double *z, double *o)
{
    const rapt_linear_desc *d = &c->desc;
    const uint64_t n = c->rows, m = d->v.size[3];
    double q[RAPT_LINEAR_MAX_DIM] = {0}, sum = 0;
    for (uint64_t i = 0; i < d->q.size[3]; i++)
        q[i] = get(c, RAPT_L_Q, 0, h, token, i) * (d->feature_scale == 0.0f ? 1 : (double)d->feature_scale);
    map_features(d, false, h, place, q);
    for (uint64_t i = 0; i < n; i++) {
        sum += q[i] * z[i];
        if (d->flags & RAPT_LINEAR_NORMALIZE_KEYS)
            q[i] = z[i] == 0 ? 0 : q[i] / z[i];
    }
    for (uint64_t e = 0; e < m; e++) {
        o[e] = 0;
        for (uint64_t i = 0; i < n; i++)
            o[e] += q[i] * S[i * m + e];
        if (d->flags & RAPT_LINEAR_NORMALIZE)
            o[e] = sum == 0 ? 0 : o[e] / sum;
        else
            o[e] *= (double)d->scale;
    }
}

static double share_of(double got, double want, double unit, double size)
{
    const double error = fabs(got - want) / (unit * (size + fabs(want)));
    return error == error ? error : INFINITY;
}

/* The worst error as a share of the tolerance: of outputs, and of final states in *states. */
static double worst_error(linear_case *c, const uint8_t *out, const uint8_t *state_out,
                          const uint8_t *norm_out, double *states)
{
    const rapt_linear_desc *d = &c->desc;
    const uint64_t n = c->rows, m = d->v.size[3];
    /* Storage rounds the output; normalisers near 0 make much of roundings of the sums. */
    const double unit = d->q.dtype == RAPT_BF16 ? 0x1p-8 : d->q.dtype == RAPT_F16 ? 0x1p-10 : 0x1p-14;
    double worst = 0, o[RAPT_LINEAR_MAX_DIM];
    *states = 0;
    for (uint64_t s = 0; s < c->sequences; s++)
        for (uint64_t h = 0; h < c->heads; h++) {
            double *S = c->state + (s * c->heads + h) * n * m, *z = c->norm + (s * c->heads + h) * n;
            const bool both = d->flags & RAPT_LINEAR_BIDIRECTIONAL;
            for (uint64_t t = 0; t < c->tokens && both; t++)
                step(c, h, s * c->tokens + t, t, S, z);
            for (uint64_t t = 0; t < c->tokens; t++) {
                const uint64_t token = s * c->tokens + t;
                if (!both)
                    step(c, h, token, t, S, z);
                output(c, h, token, t, S, z, o);
                double size = 1;
                for (uint64_t e = 0; e < m; e++)
                    size = fmax(size, fabs(o[e]));
                /* A normaliser near 0 is cancellation, which says nothing of the kernel. */
                const bool judged = !(d->flags & RAPT_LINEAR_NORMALIZE) || size <= 16;
                for (uint64_t e = 0; e < m && judged; e++) {
                    const double got = rapt_number_get(
                        out + at(&d->out, 0, h, token, e) * rapt_dtype_size(d->out.dtype), d->out.dtype);
                    worst = fmax(worst, share_of(got, o[e], unit, size));
                }
            }
            double size = 1;
            for (uint64_t i = 0; i < n * m; i++)
                size = fmax(size, fabs(S[i]));
            for (uint64_t i = 0; i < n; i++) {
                for (uint64_t e = 0; e < m && state_out != NULL; e++) {
                    const double got =
                        rapt_number_get(state_out + at(&d->state_out, s, h, i, e) * 4, RAPT_F32);
                    *states = fmax(*states, share_of(got, S[i * m + e], 0x1p-14, size));
                }
                if (norm_out != NULL)
                    *states =
                        fmax(*states,
                             share_of(rapt_number_get(norm_out + ((s * c->heads + h) * n + i) * 4, RAPT_F32),
                                      z[i], 0x1p-14, 1));
            }
        }
    return worst;
}

static void begin_states(linear_case *c)
{
    const rapt_linear_desc *d = &c->desc;
    const unsigned from = is_there(c, RAPT_L_STATE_IN)        ? RAPT_L_STATE_IN
                          : (d->flags & RAPT_LINEAR_IN_PLACE) ? RAPT_L_STATE_OUT
                                                              : RAPT_L_COUNT;
    const uint64_t n = c->rows, m = d->v.size[3];
    for (uint64_t s = 0; s < c->sequences && from != RAPT_L_COUNT; s++)
        for (uint64_t h = 0; h < c->heads; h++)
            for (uint64_t i = 0; i < n; i++) {
                for (uint64_t e = 0; e < m; e++)
                    c->state[((s * c->heads + h) * n + i) * m + e] = get(c, from, s, h, i, e);
                if (d->flags & RAPT_LINEAR_NORMALIZE)
                    c->norm[(s * c->heads + h) * n + i] =
                        rapt_number_get(c->data[from + 2] + ((s * c->heads + h) * n + i) * 4, RAPT_F32);
            }
}

static rapt_status run_case(linear_case *c, rapt_plan *small, double *share, double *states,
                            rapt_error *error)
{
    rapt_device *device = small->device;
    const rapt_allocator *a = &device->runtime->allocator;
    uint32_t seed = 4711;
    rapt_status status = RAPT_OK;
    bool enough = (c->state = rapt_calloc(a, c->state_count, sizeof *c->state)) != NULL;
    enough &= (c->norm = rapt_calloc(a, c->norm_count, sizeof *c->norm)) != NULL;
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[RAPT_L_COUNT] = {&args.q,        &args.k,         &args.v,       &args.out,
                                            &args.a,        &args.b,         &args.decay,   &args.beta,
                                            &args.state_in, &args.state_out, &args.norm_in, &args.norm_out,
                                            &args.scale_q,  &args.scale_k};
    const bool in_place = c->desc.flags & RAPT_LINEAR_IN_PLACE;
    for (unsigned t = 0; t < RAPT_L_COUNT && status == RAPT_OK && enough; t++) {
        if (!is_there(c, t))
            continue;
        c->bytes[t] = rapt_align_up(rapt_tensor_bytes(c->tensor[t]), 4);
        c->data[t] = rapt_calloc(a, c->bytes[t], 1);
        enough = c->data[t] != NULL;
        if (!enough)
            break;
        memset(c->data[t], 0xff, c->bytes[t]); /* NaN wherever nothing is written below */
        if (t != RAPT_L_OUT && ((t != RAPT_L_STATE_OUT && t != RAPT_L_NORM_OUT) || in_place))
            fill(c, t, &seed);
        status = rapt_buffer_create(device, c->bytes[t], &c->buffer[t], error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(c->buffer[t], 0, c->data[t], c->bytes[t], error);
        slots[t]->buffer = c->buffer[t];
    }
    if (!enough)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
    const int32_t cu[3] = {0, (int32_t)c->tokens, (int32_t)(2 * c->tokens)};
    if (status == RAPT_OK && c->desc.sequences > 0) {
        status = rapt_buffer_create(device, sizeof cu, &c->cu_seqlens, error);
        args.cu_seqlens.buffer = c->cu_seqlens;
        if (status == RAPT_OK)
            status = rapt_buffer_upload(c->cu_seqlens, 0, cu, sizeof cu, error);
    }
    if (status == RAPT_OK)
        begin_states(c);
    if (status == RAPT_OK)
        status = rapt_linear_bind(small, &args, &c->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(c->binding, error);
    c->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, c->binding, error);
    const unsigned results[] = {RAPT_L_OUT, RAPT_L_STATE_OUT, RAPT_L_NORM_OUT};
    for (unsigned i = 0; i < RAPT_COUNT(results) && status == RAPT_OK; i++)
        if (is_there(c, results[i]))
            status = rapt_buffer_download(c->buffer[results[i]], 0, c->data[results[i]], c->bytes[results[i]],
                                          error);
    if (status == RAPT_OK)
        *share =
            worst_error(c, c->data[RAPT_L_OUT], c->data[RAPT_L_STATE_OUT], c->data[RAPT_L_NORM_OUT], states);
    return status;
}

static void free_case(linear_case *c, rapt_device *device)
{
    const rapt_allocator *a = &device->runtime->allocator;
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (c->binding == NULL || rapt_wait(c->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT ||
        atomic_load(&device->hung)) {
        rapt_binding_destroy(&c->binding);
        for (unsigned t = 0; t < RAPT_L_COUNT; t++)
            rapt_buffer_destroy(&c->buffer[t]);
        rapt_buffer_destroy(&c->cu_seqlens);
    }
    for (unsigned t = 0; t < RAPT_L_COUNT; t++)
        rapt_free(a, c->data[t], c->bytes[t]);
    rapt_free(a, c->state, c->state_count * sizeof *c->state);
    rapt_free(a, c->norm, c->norm_count * sizeof *c->norm);
}

static bool same_pipeline(const rapt_plan_pipeline *a, const rapt_plan_pipeline *b)
{
    return a->row == b->row && a->form == b->form && memcmp(a->constants, b->constants, sizeof a->constants) == 0;
}

/* The first pipeline of the plan that the small one does not go through; pipeline_count: all are. Of plans that make features
 * first: those that are `maps` or those that are not. */
static uint32_t missing_pipeline(const rapt_plan *plan, const rapt_plan *small, bool maps)
{
    const uint32_t own = RAPT_ROW_MAPS | RAPT_ROW_FINISHES | RAPT_ROW_MOVES | RAPT_ROW_APPLIES;
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        bool there = maps != ((plan->pipelines[i].row->supports & own) != 0);
        for (uint32_t k = 0; k < small->pipeline_count; k++)
            there |= same_pipeline(&plan->pipelines[i], &small->pipelines[k]);
        if (!there)
            return i;
    }
    return plan->pipeline_count;
}

/* Notes what a probe has shown of the pipelines that both plans have. */
static void note_pipelines(const rapt_plan *plan, const rapt_plan *small, const rapt_plan_pipeline *culprit, bool good,
                           const char *reason)
{
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        for (uint32_t k = 0; k < small->pipeline_count; k++)
            if (same_pipeline(&plan->pipelines[i], &small->pipelines[k]) && (good || &small->pipelines[k] == culprit))
                rapt_probe_note(plan, i, good ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true, reason);
}

/* Runs one case; the plan's pipelines that it goes through are then known. */
static rapt_status probe_case(rapt_plan *plan, const rapt_linear_problem *p, rapt_error *error)
{
    rapt_device *device = plan->device;
    const bool maps = p->mapped;
    const char *name = plan->pipelines[0].row->name;
    const uint64_t begin = rapt_now_ns();
    linear_case c;
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    rapt_error why = {0};
    make_case(plan, p, &c);
    const rapt_verdicts verdicts = rapt_device_verdicts(device); /* what is refused is refused here too */
    rapt_status status = rapt_linear_plan_new(device, &device->caps, &c.desc, &verdicts, &small, &why);
    if (status != RAPT_OK)
        rapt_fail_prefix(&why, status, "the probe of kernel '%s'", name);
    else if (missing_pipeline(plan, small, maps) != plan->pipeline_count)
        status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED, "the probe of kernel '%s' does not reach its constants",
                           plan->pipelines[missing_pipeline(plan, small, maps)].row->name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    double share = 0, states = 0;
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_case(&c, small, &share, &states, &why);
        free_case(&c, device);
    }
    if (rapt_probe_ended(plan, c.submitted, &status, &why, error)) {
        rapt_plan_destroy(&small);
        return status;
    }
    /* Wrong states of chunks are the fault of what adds them up (or scans them, which is simpler); what is wrong where
     * features are made first, of what makes them. */
    uint32_t culprit = states > 1 && small->layout.chunk != 0 ? 1 : 0;
    for (uint32_t i = 0; i < small->pipeline_count && maps; i++)
        if (small->pipelines[i].row->supports & RAPT_ROW_MAPS)
            culprit = i;
    share = fmax(share, states);
    char reason[160] = "";
    if (share > 1)
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
    note_pipelines(plan, small, &small->pipelines[culprit], share <= 1, reason);
    rapt_log_write(&device->runtime->log, RAPT_LOG_DEBUG, "probe of %s%s: %.3g of the tolerance, %.1f ms", name,
                   maps ? " with features" : "", share, (double)(rapt_now_ns() - begin) * 1e-6);
    rapt_plan_destroy(&small);
    return RAPT_OK;
}

rapt_status rapt_probe_linear(rapt_plan *plan, rapt_error *error)
{
    rapt_linear_problem p = plan->linear;
    if (plan->outer.mapped) { /* what walks, by itself; then what makes features and the like, with few of them */
        p.mapped = false;
        p.power = 0;
    }
    rapt_status status = probe_case(plan, &p, error);
    if (status != RAPT_OK || !plan->outer.mapped)
        return status;
    p = plan->outer;
    const bool first_order = p.feature == RAPT_PHI_POLY && p.power == 1.0f;
    p.d_k = RAPT_MIN(p.d_k, p.blocks == 1 ? 7 : first_order ? 128 : 15); /* the fewest that make more than one block too */
    p.in_place = false;
    return probe_case(plan, &p, error);
}
