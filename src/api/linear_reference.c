#include "api/linear_reference.h"

#include "api/numbers.h"

#include <math.h>
#include <string.h>

const char rapt_linear_probe_feature_map[] = "float feature_map(float x, uint b, uint h, uint t, uint i)\n"
                                        "{ return x * x + 0.25 * float(h) + 0.125 * float(t % 3u) + 0.0625 * float(i % 5u); }\n";
static double probe_feature(double x, uint64_t h, uint64_t t, uint64_t i)
{
    return x * x + 0.25 * (double)h + 0.125 * (double)(t % 3) + 0.0625 * (double)(i % 5);
}

static bool is_there(const rapt_linear_trial *c, unsigned t)
{
    return c->tensor[t]->dtype != RAPT_DTYPE_NONE;
}

/* Element (b, h, row, x) of a tensor, in elements; h is one of the tensor's own heads. */
static uint64_t at(const rapt_tensor *t, uint64_t b, uint64_t h, uint64_t row, uint64_t x)
{
    if (t->rank == 1)
        return h * (uint64_t)t->stride[0];
    return b * (uint64_t)t->stride[0] + h * (uint64_t)t->stride[1] + row * (uint64_t)t->stride[2] + x;
}

/* h: a head of out. */
static double get(const rapt_linear_trial *c, unsigned t, uint64_t b, uint64_t h, uint64_t row, uint64_t x)
{
    const rapt_tensor *tensor = c->tensor[t];
    const uint64_t own = h * tensor->size[tensor->rank > 1] / c->heads;
    return rapt_number_get(c->data[t] + at(tensor, b, own, row, x) * rapt_dtype_size(tensor->dtype),
                           tensor->dtype);
}

/* Numbers that keep every rule's state small. */
static void fill(rapt_linear_trial *c, unsigned t, uint32_t *seed)
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
                        /* Features are longer than keys: less of them keeps what the delta rule subtracts below what is there. */
                        const bool long_keys = c->desc.rule == RAPT_LINEAR_DELTA && c->desc.feature != RAPT_PHI_IDENTITY;
                        number = (0.5f + 0.5f * number) / (long_keys ? (float)c->desc.k.size[3] : 1.0f);
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

/* One token of the recurrence. `token`: on the tensors' axis, `place`: in its sequence. */
static void step(const rapt_linear_trial *c, uint64_t b, uint64_t h, uint64_t token, uint64_t place, double *S, double *z)
{
    const rapt_linear_desc *d = &c->desc;
    const uint64_t n = c->rows, m = d->v.size[3];
    double k[RAPT_LINEAR_MAX_DIM] = {0}, read[RAPT_LINEAR_MAX_DIM];
    const double beta = is_there(c, RAPT_L_BETA) ? get(c, RAPT_L_BETA, b, h, token, 0) : 1;
    for (uint64_t i = 0; i < d->q.size[3]; i++)
        k[i] = get(c, RAPT_L_K, b, h, token, i);
    map_features(d, true, h, place, k);
    for (uint64_t e = 0; e < m; e++) {
        read[e] = 0;
        for (uint64_t i = 0; i < n && d->rule == RAPT_LINEAR_DPLR; i++)
            read[e] += get(c, RAPT_L_A, b, h, token, i) * S[i * m + e];
    }
    for (uint64_t i = 0; i < n && is_there(c, RAPT_L_DECAY); i++) {
        double alpha = get(c, RAPT_L_DECAY, b, h, token, c->tensor[RAPT_L_DECAY]->rank == 4 ? i : 0);
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
        const double add = beta * (get(c, RAPT_L_V, b, h, token, e) - known);
        for (uint64_t i = 0; i < n; i++) {
            S[i * m + e] += k[i] * add;
            if (d->rule == RAPT_LINEAR_DPLR)
                S[i * m + e] += get(c, RAPT_L_B, b, h, token, i) * read[e];
        }
    }
    for (uint64_t i = 0; i < n; i++)
        z[i] += k[i];
}

/* Its output into `o`. */
static void output(const rapt_linear_trial *c, uint64_t b, uint64_t h, uint64_t token, uint64_t place, const double *S, const double *z, double *o)
{
    const rapt_linear_desc *d = &c->desc;
    const uint64_t n = c->rows, m = d->v.size[3];
    double q[RAPT_LINEAR_MAX_DIM] = {0}, sum = 0;
    for (uint64_t i = 0; i < d->q.size[3]; i++)
        q[i] = get(c, RAPT_L_Q, b, h, token, i) * (d->feature_scale == 0.0f ? 1 : (double)d->feature_scale);
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
    if (got == want)
        return 0;
    const double error = fabs(got - want) / (unit * (size + fabs(want)));
    return error == error ? error : INFINITY;
}

/* Of what is allowed of outputs: storage rounds them; normalisers near 0 make much of roundings of the sums. */
static double unit_of(rapt_dtype dtype)
{
    return dtype == RAPT_BF16 ? 0x1p-8 : dtype == RAPT_F16 ? 0x1p-10 : 0x1p-14;
}

/* The state that sequence s and head h begin with. */
static void begin_state(rapt_linear_trial *c, uint64_t s, uint64_t h)
{
    const rapt_linear_desc *d = &c->desc;
    const bool in_place = d->flags & RAPT_LINEAR_IN_PLACE, given = in_place || is_there(c, RAPT_L_STATE_IN);
    const unsigned from = in_place ? RAPT_L_STATE_OUT : RAPT_L_STATE_IN, norm = in_place ? RAPT_L_NORM_OUT : RAPT_L_NORM_IN;
    const uint64_t n = c->rows, m = d->v.size[3];
    for (uint64_t i = 0; i < n; i++) {
        for (uint64_t e = 0; e < m; e++)
            c->state[i * m + e] = given ? get(c, from, s, h, i, e) : 0;
        c->norm[i] = given && (d->flags & RAPT_LINEAR_NORMALIZE) ? get(c, norm, s, h, i, 0) : 0;
    }
}

/* The first most_tokens tokens of one sequence and head, into *worst, and what they come to into *states. */
static void judge(rapt_linear_trial *c, const rapt_linear_result *r, uint64_t s, uint64_t h, uint64_t most_tokens, double *worst,
                  double *states)
{
    const rapt_linear_desc *d = &c->desc;
    const uint64_t n = c->rows, m = d->v.size[3], tokens = RAPT_MIN(c->tokens, most_tokens);
    const uint64_t b = d->sequences > 0 ? 0 : s, first = d->sequences > 0 ? s * c->tokens : 0;
    const bool both = d->flags & RAPT_LINEAR_BIDIRECTIONAL;
    double *S = c->state, *z = c->norm, o[RAPT_LINEAR_MAX_DIM], size = 1;
    begin_state(c, s, h);
    for (uint64_t t = 0; t < c->tokens && both; t++)
        step(c, b, h, first + t, t, S, z);
    for (uint64_t t = 0; t < tokens; t++) {
        if (!both)
            step(c, b, h, first + t, t, S, z);
        output(c, b, h, first + t, t, S, z, o);
        size = 1;
        for (uint64_t e = 0; e < m; e++)
            size = fmax(size, fabs(o[e]));
        /* A normaliser near 0 is cancellation, which says nothing of the kernel. */
        const bool judged = !(d->flags & RAPT_LINEAR_NORMALIZE) || size <= 16;
        for (uint64_t e = 0; e < m && judged; e++) {
            const double got = rapt_number_get(r->out + at(&d->out, b, h, first + t, e) * rapt_dtype_size(d->out.dtype), d->out.dtype);
            *worst = fmax(*worst, share_of(got, o[e], unit_of(d->q.dtype), size));
        }
    }
    if (tokens < c->tokens)
        return;
    size = 1;
    for (uint64_t i = 0; i < n * m; i++)
        size = fmax(size, fabs(S[i]));
    for (uint64_t i = 0; i < n; i++) {
        for (uint64_t e = 0; e < m && r->state != NULL; e++)
            *states = fmax(*states, share_of(rapt_number_get(r->state + at(&d->state_out, s, h, i, e) * 4, RAPT_F32), S[i * m + e],
                                             0x1p-14, size));
        if (r->norm != NULL)
            *states = fmax(*states,
                           share_of(rapt_number_get(r->norm + at(&d->norm_out, s, h, i, 0) * 4, RAPT_F32), z[i], 0x1p-14, 1));
    }
}

double rapt_linear_trial_error(rapt_linear_trial *c, const rapt_linear_result *r, uint64_t pairs, uint64_t most_tokens,
                              double *states)
{
    const uint64_t all = c->sequences * c->heads, count = RAPT_MIN(pairs, all);
    double worst = 0;
    *states = 0;
    for (uint64_t n = 0; n < count; n++) {
        const uint64_t pair = count > 1 ? n * (all - 1) / (count - 1) : 0;
        judge(c, r, pair / c->heads, pair % c->heads, most_tokens, &worst, states);
    }
    return worst;
}

double rapt_linear_trial_difference(const rapt_linear_trial *c, const rapt_linear_result *a, const rapt_linear_result *b)
{
    const rapt_tensor *t = &c->desc.out;
    const uint32_t bytes = rapt_dtype_size(t->dtype);
    double worst = 0;
    for (uint64_t s = 0; s < t->size[0]; s++)
        for (uint64_t h = 0; h < t->size[1]; h++)
            for (uint64_t token = 0; token < t->size[2]; token++) {
                const uint64_t row = at(t, s, h, token, 0) * bytes;
                double size = 1;
                for (uint64_t e = 0; e < t->size[3]; e++)
                    size = fmax(size, fabs(rapt_number_get(b->out + row + e * bytes, t->dtype)));
                if ((c->desc.flags & RAPT_LINEAR_NORMALIZE) && size > 16)
                    continue;
                for (uint64_t e = 0; e < t->size[3]; e++)
                    worst = fmax(worst, share_of(rapt_number_get(a->out + row + e * bytes, t->dtype),
                                                 rapt_number_get(b->out + row + e * bytes, t->dtype), 2 * unit_of(t->dtype), size));
            }
    return worst;
}

/* ---- memory */

void rapt_linear_trial_name(rapt_linear_trial *c)
{
    rapt_linear_desc *d = &c->desc;
    rapt_tensor *const tensors[RAPT_L_COUNT] = {&d->q, &d->k, &d->v, &d->out, &d->a, &d->b,
                                                d->gate.dtype != RAPT_DTYPE_NONE ? &d->gate : &d->decay, &d->beta,
                                                &d->state_in, &d->state_out, &d->norm_in, &d->norm_out,
                                                &d->scale_q, &d->scale_k};
    memcpy(c->tensor, tensors, sizeof tensors);
}

/* What a run writes, and whether it reads it first. */
static bool is_result(unsigned t)
{
    return t == RAPT_L_OUT || t == RAPT_L_STATE_OUT || t == RAPT_L_NORM_OUT;
}

rapt_status rapt_linear_trial_open(rapt_linear_trial *c, rapt_device *device, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    const bool in_place = c->desc.flags & RAPT_LINEAR_IN_PLACE;
    uint32_t seed = 4711;
    rapt_status status = RAPT_OK;
    bool enough = (c->state = rapt_calloc(a, c->rows * c->desc.v.size[3], sizeof *c->state)) != NULL;
    enough &= (c->norm = rapt_calloc(a, c->rows, sizeof *c->norm)) != NULL;
    c->args = (rapt_linear_args)RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[RAPT_L_COUNT] = {&c->args.q, &c->args.k, &c->args.v, &c->args.out, &c->args.a, &c->args.b,
                                            &c->args.decay, &c->args.beta, &c->args.state_in, &c->args.state_out,
                                            &c->args.norm_in, &c->args.norm_out, &c->args.scale_q, &c->args.scale_k};
    for (unsigned t = 0; t < RAPT_L_COUNT && status == RAPT_OK && enough; t++) {
        if (!is_there(c, t))
            continue;
        c->bytes[t] = rapt_align_up(rapt_tensor_bytes(c->tensor[t]), 4);
        c->data[t] = rapt_calloc(a, c->bytes[t], 1);
        enough = c->data[t] != NULL;
        if (!enough)
            break;
        memset(c->data[t], 0xff, c->bytes[t]); /* NaN wherever nothing is written below */
        if (!is_result(t) || (t != RAPT_L_OUT && in_place))
            fill(c, t, &seed);
        status = rapt_buffer_create(device, c->bytes[t], &c->buffer[t], error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(c->buffer[t], 0, c->data[t], c->bytes[t], error);
        slots[t]->buffer = c->buffer[t];
    }
    const uint64_t cu_bytes = (c->sequences + 1) * sizeof *c->cu;
    if (enough && status == RAPT_OK && c->desc.sequences > 0) {
        enough = (c->cu = rapt_calloc(a, c->sequences + 1, sizeof *c->cu)) != NULL;
        for (uint64_t s = 0; s <= c->sequences && enough; s++)
            c->cu[s] = (int32_t)(s * c->tokens);
        if (enough)
            status = rapt_buffer_create(device, cu_bytes, &c->cu_seqlens, error);
        c->args.cu_seqlens.buffer = c->cu_seqlens;
        if (enough && status == RAPT_OK)
            status = rapt_buffer_upload(c->cu_seqlens, 0, c->cu, cu_bytes, error);
    }
    return enough ? status : rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for numbers to try kernels with");
}

void rapt_linear_trial_close(rapt_linear_trial *c, rapt_device *device, bool idle)
{
    const rapt_allocator *a = &device->runtime->allocator;
    for (unsigned t = 0; t < RAPT_L_COUNT; t++) {
        if (idle)
            rapt_buffer_destroy(&c->buffer[t]);
        rapt_free(a, c->data[t], c->bytes[t]);
    }
    if (idle)
        rapt_buffer_destroy(&c->cu_seqlens);
    rapt_free(a, c->cu, (c->sequences + 1) * sizeof *c->cu);
    rapt_free(a, c->state, c->rows * c->desc.v.size[3] * sizeof *c->state);
    rapt_free(a, c->norm, c->rows * sizeof *c->norm);
}

/* The parts of a result, and which tensor each is. */
static void parts_of(rapt_linear_result *r, uint8_t **parts[3], unsigned tensors[3])
{
    uint8_t **const all[] = {&r->out, &r->state, &r->norm};
    memcpy(parts, all, sizeof all);
    memcpy(tensors, (const unsigned[]){RAPT_L_OUT, RAPT_L_STATE_OUT, RAPT_L_NORM_OUT}, 3 * sizeof *tensors);
}

rapt_status rapt_linear_result_make(const rapt_linear_trial *c, const rapt_device *device, rapt_linear_result *r, rapt_error *error)
{
    uint8_t **parts[3];
    unsigned tensors[3];
    *r = (rapt_linear_result){NULL, NULL, NULL};
    parts_of(r, parts, tensors);
    for (unsigned i = 0; i < 3; i++)
        if (is_there(c, tensors[i]) &&
            (*parts[i] = rapt_calloc(&device->runtime->allocator, c->bytes[tensors[i]], 1)) == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for results of kernels that are tried");
    return RAPT_OK;
}

void rapt_linear_result_free(const rapt_linear_trial *c, const rapt_device *device, rapt_linear_result *r)
{
    uint8_t **parts[3];
    unsigned tensors[3];
    parts_of(r, parts, tensors);
    for (unsigned i = 0; i < 3; i++)
        rapt_free(&device->runtime->allocator, *parts[i], c->bytes[tensors[i]]);
    *r = (rapt_linear_result){NULL, NULL, NULL};
}

rapt_status rapt_linear_trial_reset(rapt_linear_trial *c, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    for (unsigned t = 0; t < RAPT_L_COUNT && status == RAPT_OK; t++)
        if (is_result(t) && is_there(c, t))
            status = rapt_buffer_upload(c->buffer[t], 0, c->data[t], c->bytes[t], error);
    return status;
}

rapt_status rapt_linear_trial_fetch(rapt_linear_trial *c, rapt_linear_result *r, rapt_error *error)
{
    uint8_t **parts[3];
    unsigned tensors[3];
    rapt_status status = RAPT_OK;
    parts_of(r, parts, tensors);
    for (unsigned i = 0; i < 3 && status == RAPT_OK; i++)
        if (*parts[i] != NULL)
            status = rapt_buffer_download(c->buffer[tensors[i]], 0, *parts[i], c->bytes[tensors[i]], error);
    return status;
}
