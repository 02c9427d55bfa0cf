/* See numbers.h. */
#include "api/numbers.h"

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
