#include "cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const rapt_bench_case_names[] = {
    "B1H8D64N1024f32",        "B1H8D64N1024f16",        "B1H8D64N2048f32",
    "B1H8D64N2048f16",        "B1H8D64N2048f32c",       "B1H8K2D64N1024f32",
    "B1H8D128N1024f32",       "B1H8D128N1024f16",       "B1H8D128N2048f32",
    "B1H8D128N2048f16",       "B1H32K8D128Q1N4096f32",  "B1H32K8D128Q1N4096f16",
    "B1H32K8D128Q1N16384f32", "B1H32K8D128Q1N16384f16", NULL,
};

// ---- names ----

static bool read_count(const char **at, char letter, int *out)
{
    if (**at != letter)
        return false;
    char *end;
    const long value = strtol(*at + 1, &end, 10);
    if (end == *at + 1 || value < 1 || value > 1 << 24)
        return false;
    *at = end;
    *out = (int)value;
    return true;
}

bool rapt_bench_case_parse(const char *name, rapt_bench_case *out, rapt_bench_error *error)
{
    rapt_bench_case c = {.batch = 0};
    const char *at = name;
    bool good = read_count(&at, 'B', &c.batch) && read_count(&at, 'H', &c.q_heads);
    if (good && !read_count(&at, 'K', &c.kv_heads))
        c.kv_heads = c.q_heads;
    good = good && read_count(&at, 'D', &c.head_dim);
    const bool queries = good && read_count(&at, 'Q', &c.nq);
    good = good && read_count(&at, 'N', &c.nk);
    if (good && !queries)
        c.nq = c.nk;
    good = good && at[0] == 'f' && (strncmp(at, "f32", 3) == 0 || strncmp(at, "f16", 3) == 0);
    if (good) {
        c.dtype = at[1] == '1' ? RAPT_BENCH_F16 : RAPT_BENCH_F32;
        at += 3;
        c.causal = *at == 'c';
        at += c.causal;
        good = *at == 0 && strlen(name) < sizeof c.name;
    }
    if (!good)
        return rapt_bench_fail(error, "case '%s': expected B<n>H<n>[K<n>]D<n>[Q<n>]N<n>f32|f16[c], as in %s",
                               name, rapt_bench_case_names[0]);
    if (c.q_heads % c.kv_heads != 0)
        return rapt_bench_fail(error, "case '%s': %d query heads are no multiple of %d kv heads", name,
                               c.q_heads, c.kv_heads);
    snprintf(c.name, sizeof c.name, "%s", name);
    *out = c;
    return true;
}

// ---- counts ----

size_t rapt_bench_q_count(const rapt_bench_case *c)
{
    return (size_t)c->batch * (size_t)c->q_heads * (size_t)c->nq * (size_t)c->head_dim;
}

size_t rapt_bench_kv_count(const rapt_bench_case *c)
{
    return (size_t)c->batch * (size_t)c->kv_heads * (size_t)c->nk * (size_t)c->head_dim;
}

static int visible_keys(const rapt_bench_case *c, int query)
{
    if (!c->causal)
        return c->nk;
    const int seen = query + (c->nk - c->nq) + 1;
    return seen < 0 ? 0 : seen < c->nk ? seen : c->nk;
}

double rapt_bench_flops(const rapt_bench_case *c)
{
    double pairs = 0;
    for (int query = 0; query < c->nq; query++)
        pairs += visible_keys(c, query);
    return 4.0 * c->batch * c->q_heads * pairs * c->head_dim;
}

double rapt_bench_kv_bytes(const rapt_bench_case *c)
{
    return 2.0 * (double)rapt_bench_kv_count(c) * (c->dtype == RAPT_BENCH_F16 ? 2 : 4);
}

// ---- half precision ----

uint16_t rapt_bench_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const float magnitude = fabsf(value);
    if (!(magnitude < 65520.0f)) // also NaN
        return (uint16_t)(sign | (isnan(value) ? 0x7e00 : 0x7c00));
    if (magnitude < 0x1p-14f) // subnormal: the quantum is 2^-24, and rintf rounds to even
        return (uint16_t)(sign | (uint16_t)rintf(magnitude * 0x1p24f));
    bits &= 0x7fffffff;
    const uint32_t rounded = bits + 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (uint16_t)((rounded >> 13) - (112 << 10)));
}

float rapt_bench_float(uint16_t half)
{
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    float magnitude =
        exponent == 0 ? ldexpf((float)mantissa, -24) : ldexpf((float)(mantissa + 1024), exponent - 25);
    if (exponent == 31)
        magnitude = mantissa ? NAN : INFINITY;
    return half & 0x8000 ? -magnitude : magnitude;
}

// ---- inputs ----

static double next_uniform(uint64_t *state) // splitmix64, in (0, 1)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static float next_normal(uint64_t *state)
{
    const double radius = sqrt(-2 * log(next_uniform(state)));
    return (float)(radius * cos(6.283185307179586 * next_uniform(state)));
}

static float element(const void *values, rapt_bench_dtype dtype, size_t i)
{
    return dtype == RAPT_BENCH_F16 ? rapt_bench_float(((const uint16_t *)values)[i])
                                   : ((const float *)values)[i];
}

static void *random_values(size_t count, rapt_bench_dtype dtype, uint64_t *state)
{
    void *values = malloc(count * (dtype == RAPT_BENCH_F16 ? sizeof(uint16_t) : sizeof(float)));
    for (size_t i = 0; values && i < count; i++) {
        const float x = next_normal(state);
        if (dtype == RAPT_BENCH_F16)
            ((uint16_t *)values)[i] = rapt_bench_half(x);
        else
            ((float *)values)[i] = x;
    }
    return values;
}

void rapt_bench_inputs_free(rapt_bench_inputs *inputs)
{
    free(inputs->q);
    free(inputs->k);
    free(inputs->v);
    free(inputs->expected);
    *inputs = (rapt_bench_inputs){0};
}

// ---- the naive result: softmax(q k^T / sqrt(d)) v, in double precision, a row at a time ----

typedef struct oracle {
    const rapt_bench_case *c;
    const float *q, *k, *v;
    double *out, *scores; // scores: one row for each thread
    int threads;
} oracle;

static void oracle_row(const oracle *o, size_t row, double *scores)
{
    const rapt_bench_case *c = o->c;
    const size_t d = (size_t)c->head_dim, nq = (size_t)c->nq, heads = (size_t)c->q_heads;
    const size_t query = row % nq, head = row / nq % heads, batch = row / nq / heads;
    const size_t kv_head = head * (size_t)c->kv_heads / heads;
    const size_t kv_at = (batch * (size_t)c->kv_heads + kv_head) * (size_t)c->nk * d;
    const float *q = o->q + row * d, *k = o->k + kv_at, *v = o->v + kv_at;
    double *out = o->out + row * d;
    const int keys = visible_keys(c, (int)query);
    const double scale = 1 / sqrt((double)d);
    double largest = -INFINITY, sum = 0;
    for (int j = 0; j < keys; j++) {
        double dot = 0;
        for (size_t e = 0; e < d; e++)
            dot += (double)q[e] * (double)k[(size_t)j * d + e];
        scores[j] = dot * scale;
        largest = scores[j] > largest ? scores[j] : largest;
    }
    for (size_t e = 0; e < d; e++)
        out[e] = 0;
    for (int j = 0; j < keys; j++) {
        const double p = exp(scores[j] - largest);
        sum += p;
        for (size_t e = 0; e < d; e++)
            out[e] += p * (double)v[(size_t)j * d + e];
    }
    for (size_t e = 0; e < d; e++)
        out[e] = keys > 0 ? out[e] / sum : 0;
}

static void oracle_part(void *context, int thread)
{
    const oracle *o = context;
    const size_t rows = rapt_bench_q_count(o->c) / (size_t)o->c->head_dim;
    for (size_t row = (size_t)thread; row < rows; row += (size_t)o->threads)
        oracle_row(o, row, o->scores + (size_t)thread * (size_t)o->c->nk);
}

static float *as_float(const void *values, rapt_bench_dtype dtype, size_t count)
{
    float *copy = malloc(count * sizeof *copy);
    for (size_t i = 0; copy && i < count; i++)
        copy[i] = element(values, dtype, i);
    return copy;
}

static bool expect(const rapt_bench_case *c, rapt_bench_inputs *in)
{
    const size_t count = rapt_bench_q_count(c), kv = rapt_bench_kv_count(c);
    oracle o = {.c = c, .q = in->q, .out = in->expected, .threads = rapt_bench_cpus()};
    float *k = as_float(in->k, c->dtype, kv), *v = as_float(in->v, c->dtype, kv);
    o.k = k;
    o.v = v;
    o.scores = malloc((size_t)o.threads * (size_t)c->nk * sizeof *o.scores);
    const bool good = k && v && o.scores && rapt_bench_parallel(o.threads, oracle_part, &o);
    free(k);
    free(v);
    free(o.scores);
    double squares = 0;
    for (size_t i = 0; good && i < count; i++)
        squares += in->expected[i] * in->expected[i];
    in->expected_rms = sqrt(squares / (double)count);
    return good;
}

bool rapt_bench_inputs_make(const rapt_bench_case *c, uint64_t seed, rapt_bench_inputs *out,
                            rapt_bench_error *error)
{
    const size_t count = rapt_bench_q_count(c), kv = rapt_bench_kv_count(c);
    uint64_t state = seed;
    *out = (rapt_bench_inputs){.q = malloc(count * sizeof *out->q),
                               .expected = malloc(count * sizeof *out->expected)};
    out->k = random_values(kv, c->dtype, &state);
    out->v = random_values(kv, c->dtype, &state);
    const bool good = out->q && out->k && out->v && out->expected;
    for (size_t i = 0; good && i < count; i++) {
        const float x = next_normal(&state);
        out->q[i] = c->dtype == RAPT_BENCH_F16 ? rapt_bench_float(rapt_bench_half(x)) : x;
    }
    if (good && expect(c, out))
        return true;
    rapt_bench_inputs_free(out);
    return rapt_bench_fail(error, "case '%s': out of memory or threads for its inputs", c->name);
}

rapt_bench_difference rapt_bench_compare(const rapt_bench_case *c, const rapt_bench_inputs *inputs,
                                         const float *out)
{
    const size_t count = rapt_bench_q_count(c);
    rapt_bench_difference d = {0};
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        const double error = fabs((double)out[i] - inputs->expected[i]);
        if (!isfinite(error)) {
            d.max_abs = d.rms = INFINITY;
            return d;
        }
        d.max_abs = error > d.max_abs ? error : d.max_abs;
        squares += error * error;
    }
    d.rms = inputs->expected_rms > 0 ? sqrt(squares / (double)count) / inputs->expected_rms : sqrt(squares);
    return d;
}
