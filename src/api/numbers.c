/* See numbers.h. */
#include "api/numbers.h"

#include <math.h>
#include <string.h>

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 1023u, bits;
    if (exponent == 0)
        return (sign ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
    bits = exponent == 31 ? 0x7f800000u | mantissa << 13 : (exponent + 112) << 23 | mantissa << 13;
    bits |= sign;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

float rapt_number_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)((int)(*state >> 25) - 64) / 64.0f;
}

void rapt_number_put(uint8_t *at, rapt_dtype dtype, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (dtype == RAPT_F32) {
        memcpy(at, &value, 4);
        return;
    }
    uint16_t h;
    if (dtype == RAPT_BF16) {
        h = (uint16_t)(bits >> 16);
    } else {
        int exponent = (int)(bits >> 23 & 255) - 112;
        h = value == 0.0f
                ? 0
                : (uint16_t)((bits >> 16 & 0x8000u) | (uint32_t)exponent << 10 | (bits >> 13 & 1023u));
    }
    memcpy(at, &h, 2);
}

double rapt_number_get(const uint8_t *at, rapt_dtype dtype)
{
    uint16_t h;
    if (dtype == RAPT_F32) {
        float f;
        memcpy(&f, at, 4);
        return f;
    }
    memcpy(&h, at, 2);
    if (dtype == RAPT_F16)
        return half_to_float(h);
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* Where the elements of a row begin, and the word and the lowest bit of element e. */
static uint32_t *word_of(uint8_t *row, rapt_dtype dtype, uint64_t head_dim, uint64_t e, uint32_t *shift)
{
    const uint32_t bits = dtype == RAPT_INT4 ? 4 : 8, per_word = 32 / bits;
    const uint64_t scales = (head_dim + 4 * RAPT_QUANTISED_BLOCK - 1) / (4 * RAPT_QUANTISED_BLOCK) * 4;
    *shift = (uint32_t)(e % per_word) * bits;
    return (uint32_t *)(void *)row + scales + e / per_word;
}

void rapt_quantised_put(uint8_t *row, rapt_dtype dtype, uint64_t head_dim, uint64_t e, uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    const uint32_t block = (uint32_t)(e / RAPT_QUANTISED_BLOCK), random = *state >> 20;
    uint32_t shift, *word = word_of(row, dtype, head_dim, e, &shift), bits;
    if (e % RAPT_QUANTISED_BLOCK == 0) {
        const float unit = dtype == RAPT_INT8 ? 0x1p-7f : dtype == RAPT_INT4 ? 0x1p-3f : 0x1p-8f;
        const float scale = block % 2 == 0 ? unit : unit / 2;
        memcpy(row + 4 * block, &scale, 4);
    }
    if (dtype == RAPT_FP8)
        bits = (random & 0x7f) == 0x7f ? random & 0x80 : random & 0xff;
    else
        bits = (uint32_t)((int32_t)(random % (dtype == RAPT_INT8 ? 255 : 15)) - (dtype == RAPT_INT8 ? 127 : 7));
    const uint32_t mask = dtype == RAPT_INT4 ? 15 : 255;
    *word = (*word & ~(mask << shift)) | (bits & mask) << shift;
}

double rapt_quantised_get(const uint8_t *row, rapt_dtype dtype, uint64_t head_dim, uint64_t e)
{
    uint32_t shift;
    const uint32_t *word = word_of((uint8_t *)row, dtype, head_dim, e, &shift), bits = *word >> shift;
    const double scale = rapt_number_get(row + 4 * (e / RAPT_QUANTISED_BLOCK), RAPT_F32);
    if (dtype == RAPT_INT4)
        return scale * ((int32_t)((bits & 15) ^ 8) - 8);
    if (dtype == RAPT_INT8)
        return scale * ((int32_t)((bits & 255) ^ 128) - 128);
    const int exponent = (int)(bits >> 3 & 15), mantissa = (int)(bits & 7);
    const double size = exponent > 0 ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    return (bits & 128 ? -scale : scale) * size;
}
