/* Block masks of published patterns: rapt/pattern.h has the formulas. */
#include <rapt/pattern.h>

#include "op/attention.h"

#include <math.h>
#include <string.h>

const char *rapt_pattern_name(rapt_pattern_kind kind)
{
    static const char *const names[] = {"chunks", "strided", "dilated", "radial", "spans", "prefix"};
    _Static_assert(RAPT_COUNT(names) == RAPT_PATTERN_COUNT, "a pattern has no name");
    return (unsigned)kind < RAPT_PATTERN_COUNT ? names[kind] : "unknown";
}

static rapt_status check(const rapt_pattern *p, rapt_error *error)
{
    if (p == NULL || p->struct_size < sizeof *p)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_pattern is NULL or its struct_size is not %zu (use RAPT_PATTERN_INIT)",
                         sizeof *p);
    if ((unsigned)p->kind >= RAPT_PATTERN_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "pattern %u, of %u", (unsigned)p->kind, (unsigned)RAPT_PATTERN_COUNT);
    const char *name = rapt_pattern_name(p->kind);
    const struct {
        const char *what;
        uint64_t value, low, high;
    } limits[] = {
        {"nq", p->nq, 0, RAPT_MAX_SEQUENCE},
        {"nk", p->nk, 0, RAPT_MAX_SEQUENCE},
        {"heads", p->heads, 1, 1u << 20},
        {"block", p->block, 1, RAPT_MAX_SEQUENCE},
        {"chunk", p->chunk, p->kind == RAPT_PATTERN_CHUNKS, RAPT_MAX_SEQUENCE},
        {"before", p->before, 0, RAPT_MAX_SEQUENCE},
        {"after", p->after, 0, RAPT_MAX_SEQUENCE},
        {"local", p->local, 0, RAPT_MAX_SEQUENCE},
        {"stride", p->stride, p->kind == RAPT_PATTERN_STRIDED || p->kind == RAPT_PATTERN_DILATED, RAPT_MAX_SEQUENCE},
        {"global", p->global, 0, RAPT_MAX_SEQUENCE},
        {"frame", p->frame, p->kind == RAPT_PATTERN_RADIAL, RAPT_MAX_SEQUENCE},
    };
    for (size_t i = 0; i < RAPT_COUNT(limits); i++)
        if (limits[i].value < limits[i].low || limits[i].value > limits[i].high)
            return rapt_fail(error, RAPT_ERROR_INVALID, "pattern %s: %s is %llu, must be %llu to %llu", name, limits[i].what,
                             (unsigned long long)limits[i].value, (unsigned long long)limits[i].low,
                             (unsigned long long)limits[i].high);
    if (p->kind == RAPT_PATTERN_RADIAL ? p->nq != p->nk
                                       : (RAPT_MAX(p->nq, p->nk) - RAPT_MIN(p->nq, p->nk)) % p->block != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "pattern %s: %llu queries and %llu keys; %s is needed", name,
                         (unsigned long long)p->nq, (unsigned long long)p->nk,
                         p->kind == RAPT_PATTERN_RADIAL ? "as many of both" : "a difference of whole blocks");
    for (uint32_t h = 0; p->kind == RAPT_PATTERN_SPANS && h < p->heads; h++)
        if (p->alpha == NULL || p->beta == NULL || !(p->alpha[h] >= 0.0f && p->beta[h] >= 0.0f) || isinf(p->alpha[h]) ||
            isinf(p->beta[h]))
            return rapt_fail(error, RAPT_ERROR_INVALID, "pattern spans: alpha and beta of head %u must be there, finite and not below 0",
                             h);
    return RAPT_OK;
}

rapt_status rapt_pattern_tensor(const rapt_pattern *p, rapt_tensor *t, rapt_error *error)
{
    rapt_status status = check(p, error);
    if (status != RAPT_OK)
        return status;
    const uint64_t lines = rapt_div_up(p->nq, p->block), pitch = rapt_div_up(p->nk, p->block);
    uint64_t line; /* of all heads */
    if (!rapt_mul_u64(lines * p->heads, pitch, &line) || line > INT64_MAX / 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "pattern %s: the mask has more than 2^61 elements", rapt_pattern_name(p->kind));
    *t = (rapt_tensor){.dtype = RAPT_I32, .rank = 4, .size = {1, p->heads, lines, pitch},
                       .stride = {(int64_t)line, (int64_t)(lines * pitch), (int64_t)pitch, 1}};
    return RAPT_OK;
}

static bool is_causal(const rapt_pattern *p)
{
    return p->causal || p->kind == RAPT_PATTERN_STRIDED || p->kind == RAPT_PATTERN_SPANS;
}

/* Division that rounds down, as blocks before the first key have negative numbers. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* Whether block P sees block j, by all patterns but radial. */
static bool shows(const rapt_pattern *p, uint32_t h, int64_t place, int64_t j)
{
    const int64_t far = place > j ? place - j : j - place, local = p->local, stride = p->stride, global = p->global;
    switch (p->kind) {
    case RAPT_PATTERN_CHUNKS: {
        const int64_t chunks = floor_div(place, p->chunk) - floor_div(j, p->chunk);
        return chunks <= (int64_t)p->before && chunks >= -(int64_t)p->after;
    }
    case RAPT_PATTERN_STRIDED:
        return place - j < local || (j + h * RAPT_MAX(1, stride / p->heads) + 1) % stride == 0;
    case RAPT_PATTERN_DILATED: {
        const int64_t step = place - j + h;
        return place == j || (far <= local * stride && step - floor_div(step, stride) * stride == 0);
    }
    case RAPT_PATTERN_SPANS: {
        const double span = fmin((double)p->nk, (double)p->alpha[h] + (double)p->beta[h] * (double)p->nk);
        return j < global || place - j < (int64_t)ceil(span / p->block);
    }
    default: /* prefix */
        return j < global || place < global || far < local;
    }
}

/* Marks the blocks that hold the tokens [first, last] of a frame, as far as they exist. */
static void mark(const rapt_pattern *p, int32_t *line, uint64_t place, uint64_t first, uint64_t last)
{
    last = RAPT_MIN(last, p->nk - 1);
    for (uint64_t j = first / p->block; first <= last && j <= last / p->block; j++)
        line[j] = line[j] || !p->causal || j <= place;
}

/* One line of the radial mask: for each query and each frame, the tokens that it sees lie side by side. */
static void fill_radial(const rapt_pattern *p, int32_t *line, uint64_t place)
{
    const uint64_t s = p->frame, frames = rapt_div_up(p->nk, s);
    for (uint64_t q = place * p->block; q < RAPT_MIN(p->nq, (place + 1) * p->block); q++) {
        const uint64_t i = q / s, k = q % s;
        mark(p, line, place, 0, s - 1);
        for (uint64_t j = 0; j < frames; j++) {
            const uint64_t apart = i > j ? i - j : j - i;
            uint64_t e = 1;
            while (e * 2 <= apart)
                e *= 2;
            const uint64_t width = s / e; /* 0: e > s */
            if (width > 0)
                mark(p, line, place, j * s + (k + 1 > width ? k + 1 - width : 0), j * s + RAPT_MIN(s - 1, k + width - 1));
            else if (apart % rapt_div_up(e, s) == 0)
                mark(p, line, place, j * s + k, j * s + k);
        }
    }
}

rapt_status rapt_pattern_fill(const rapt_pattern *p, int32_t *mask, uint64_t count, rapt_error *error)
{
    rapt_tensor t;
    rapt_status status = rapt_pattern_tensor(p, &t, error);
    if (status != RAPT_OK)
        return status;
    const uint64_t lines = t.size[2], pitch = t.size[3], all = p->heads * lines * pitch;
    if (count != all || (mask == NULL && all > 0))
        return rapt_fail(error, RAPT_ERROR_INVALID, "pattern %s: the mask has %llu elements, not %llu", rapt_pattern_name(p->kind),
                         (unsigned long long)all, (unsigned long long)(mask == NULL ? 0 : count));
    const int64_t shift = ((int64_t)p->nk - (int64_t)p->nq) / (int64_t)p->block;
    for (uint64_t h = 0; h < p->heads; h++)
        for (uint64_t i = 0; i < lines; i++) {
            int32_t *line = mask + (h * lines + i) * pitch;
            const int64_t place = (int64_t)i + shift;
            if (p->kind == RAPT_PATTERN_RADIAL) {
                memset(line, 0, pitch * sizeof *line);
                fill_radial(p, line, i);
            }
            for (uint64_t j = 0; j < pitch && p->kind != RAPT_PATTERN_RADIAL; j++)
                line[j] = (!is_causal(p) || (int64_t)j <= place) && shows(p, (uint32_t)h, place, (int64_t)j);
        }
    return RAPT_OK;
}
