#include "check/spread.h"

#include <math.h>
#include <stdlib.h>

/* Element `at` of a tensor of the whole problem: the same on every rank. */
static float number(int tensor, uint64_t at)
{
    uint64_t x = (at + 1) * 0x9e3779b97f4a7c15ull + (uint64_t)tensor * 0xbf58476d1ce4e5b9ull;
    x ^= x >> 31;
    x *= 0x94d049bb133111ebull;
    return (float)(x >> 40) / 8388608.0f - 1.0f;
}

/* Entry e of a token of a line (batch and head). */
static float entry(const rapt_check_spread *s, int tensor, uint64_t line, uint64_t token, uint64_t e)
{
    const uint64_t tokens = tensor == RAPT_CHECK_SPREAD_Q ? s->queries : s->keys, width = tensor == RAPT_CHECK_SPREAD_V ? s->d_v : s->d_qk;
    return number(tensor, (line * tokens + token) * width + e);
}

float *rapt_check_spread_share(const rapt_check_spread *s, int tensor, const uint64_t *map, uint64_t n)
{
    const uint64_t lines = s->batch * (tensor == RAPT_CHECK_SPREAD_Q ? s->q_heads : s->kv_heads),
                   width = tensor == RAPT_CHECK_SPREAD_V ? s->d_v : s->d_qk;
    float *to = malloc((size_t)(lines * n * width) * sizeof *to);
    for (uint64_t i = 0; i < lines * n * width && to; i++)
        to[i] = entry(s, tensor, i / width / n, map[i / width % n], i % width);
    return to;
}

bool rapt_check_spread_attention(const rapt_check_spread *s, uint64_t batch, uint64_t head, uint64_t query, double *out, double *lse)
{
    const uint64_t q_line = batch * s->q_heads + head, line = batch * s->kv_heads + head * s->kv_heads / s->q_heads;
    const uint64_t seen = s->causal ? s->keys - s->queries + query + 1 : s->keys;
    double *score = malloc((size_t)seen * sizeof *score), top = -INFINITY, sum = 0;
    if (!score)
        return false;
    for (uint64_t j = 0; j < seen; j++) {
        score[j] = 0;
        for (uint64_t e = 0; e < s->d_qk; e++)
            score[j] += (double)entry(s, RAPT_CHECK_SPREAD_Q, q_line, query, e) * (double)entry(s, RAPT_CHECK_SPREAD_K, line, j, e);
        score[j] /= sqrt((double)s->d_qk);
        top = fmax(top, score[j]);
    }
    for (uint64_t e = 0; e < s->d_v; e++)
        out[e] = 0;
    for (uint64_t j = 0; j < seen; j++) {
        const double w = exp(score[j] - top);
        sum += w;
        for (uint64_t e = 0; e < s->d_v; e++)
            out[e] += w * (double)entry(s, RAPT_CHECK_SPREAD_V, line, j, e);
    }
    for (uint64_t e = 0; e < s->d_v; e++)
        out[e] /= sum;
    *lse = top + log(sum);
    free(score);
    return true;
}

void rapt_check_spread_linear(const rapt_check_spread *s, uint64_t batch, uint64_t head, uint64_t query, double *out, double *size)
{
    const uint64_t line = batch * s->q_heads + head;
    for (uint64_t e = 0; e < s->d_v; e++)
        out[e] = size[e] = 0;
    for (uint64_t j = 0; j <= query; j++) {
        double product = 0, sizes = 0;
        for (uint64_t c = 0; c < s->d_qk; c++) {
            const double term = (double)entry(s, RAPT_CHECK_SPREAD_Q, line, query, c) * (double)entry(s, RAPT_CHECK_SPREAD_K, line, j, c);
            product += term;
            sizes += fabs(term);
        }
        for (uint64_t e = 0; e < s->d_v; e++) {
            const double value = (double)entry(s, RAPT_CHECK_SPREAD_V, line, j, e);
            out[e] += product * value;
            size[e] += sizes * fabs(value);
        }
    }
}

double rapt_check_spread_bound(const rapt_check_spread *s)
{
    return (double)(s->keys + s->d_qk) * 0x1p-24;
}
