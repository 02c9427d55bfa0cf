#include "quantised.h"

#include <math.h>
#include <string.h>

bool rapt_check_is_quantised(rapt_dtype dtype)
{
    return dtype == RAPT_INT8 || dtype == RAPT_INT4 || dtype == RAPT_FP8;
}

static uint64_t fours(uint64_t words)
{
    return (words + 3) / 4 * 4;
}

static uint64_t scale_words(uint64_t dim)
{
    return fours((dim + RAPT_QUANTISED_BLOCK - 1) / RAPT_QUANTISED_BLOCK);
}

uint64_t rapt_check_row_words(rapt_dtype dtype, uint64_t dim)
{
    const uint64_t bits = dtype == RAPT_INT4 ? 4 : 8;
    return rapt_check_is_quantised(dtype) ? scale_words(dim) + fours((dim * bits + 31) / 32) : 0;
}

/* The value of an E4M3 code: (-1)^s 2^(e - 7) (1 + m / 8), or (-1)^s 2^-6 m / 8 with e = 0. */
static double e4m3_value(uint32_t code)
{
    const int e = (int)(code >> 3 & 15), m = (int)(code & 7);
    const double size = e > 0 ? ldexp(1 + m / 8.0, e - 7) : ldexp(m / 8.0, -6);
    return code & 128 ? -size : size;
}

/* The nearest code, of two the even one: found by looking at all. */
static uint32_t e4m3_code(double x)
{
    uint32_t best = 0;
    for (uint32_t code = 1; code < 127; code++) {
        const double d = fabs(fabs(x) - e4m3_value(code)), least = fabs(fabs(x) - e4m3_value(best));
        if (d < least || (d == least && code % 2 == 0))
            best = code;
    }
    return best | (x < 0 ? 128u : 0u);
}

static double largest_code(rapt_dtype dtype)
{
    return dtype == RAPT_INT8 ? 127 : dtype == RAPT_INT4 ? 7 : 448;
}

static void put_code(rapt_dtype dtype, uint32_t *words, uint64_t e, uint32_t code)
{
    const uint32_t bits = dtype == RAPT_INT4 ? 4 : 8;
    words[e * bits / 32] |= (code & ((1u << bits) - 1)) << e * bits % 32;
}

void rapt_check_quantise(rapt_dtype dtype, const float *x, uint64_t dim, uint32_t *row)
{
    memset(row, 0, (size_t)rapt_check_row_words(dtype, dim) * 4);
    uint32_t *words = row + scale_words(dim);
    for (uint64_t first = 0; first < dim; first += RAPT_QUANTISED_BLOCK) {
        const uint64_t end = first + RAPT_QUANTISED_BLOCK < dim ? first + RAPT_QUANTISED_BLOCK : dim;
        float largest = 0;
        for (uint64_t e = first; e < end; e++)
            largest = isfinite(x[e]) ? fmaxf(largest, fabsf(x[e])) : (float)NAN;
        for (uint64_t e = first; e < end; e++)
            largest = isfinite(x[e]) ? largest : (float)NAN;
        const float scale = (float)((double)largest / largest_code(dtype));
        memcpy(&row[first / RAPT_QUANTISED_BLOCK], &scale, 4);
        for (uint64_t e = first; e < end && scale > 0; e++) {
            const double number = (double)x[e] / (double)scale;
            put_code(dtype, words, e,
                     dtype == RAPT_FP8 ? e4m3_code(number) : (uint32_t)(int32_t)nearbyint(number));
        }
    }
}

void rapt_check_dequantise(rapt_dtype dtype, const uint32_t *row, uint64_t dim, float *x)
{
    const uint32_t *words = row + scale_words(dim);
    const uint32_t bits = dtype == RAPT_INT4 ? 4 : 8;
    for (uint64_t e = 0; e < dim; e++) {
        const uint32_t code = words[e * bits / 32] >> e * bits % 32 & ((1u << bits) - 1);
        const int number = (int)code - (code >> (bits - 1) ? 1 << bits : 0);
        float scale;
        memcpy(&scale, &row[e / RAPT_QUANTISED_BLOCK], 4);
        x[e] = (float)((dtype == RAPT_FP8 ? e4m3_value(code) : number) * (double)scale);
    }
}

double rapt_check_quantised_bound(rapt_dtype dtype, double x, double largest)
{
    const double scale = largest / largest_code(dtype), rounding = 0x1p-20 * largest;
    if (dtype != RAPT_FP8)
        return scale / 2 + rounding;
    return fmax(fabs(x) / 16, scale * 0x1p-10) + rounding;
}
