#include "half.h"

#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* value >> shift, rounded to nearest, ties to even; shift is 1 to 31. */
static uint32_t shift_rounded(uint32_t value, uint32_t shift)
{
    const uint32_t half = 1u << (shift - 1), rest = value & ((1u << shift) - 1), whole = value >> shift;
    return whole + (rest > half || (rest == half && (whole & 1)));
}

uint16_t rapt_check_to_f16(float value)
{
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) /* NaN */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) /* 65536 and more; what rounds up to it is caught by the carry below */
        return (uint16_t)(sign | 0x7c00);
    const uint32_t exponent = magnitude >> 23;
    if (exponent >= 113) /* normal: a carry out of the mantissa raises the exponent, up to infinity */
        return (uint16_t)(sign | shift_rounded(magnitude - (112u << 23), 13));
    const uint32_t shift = 126 - exponent; /* subnormal: in units of 2^-24 */
    if (shift > 25)
        return (uint16_t)sign;
    return (uint16_t)(sign | shift_rounded((magnitude & 0x7fffff) | 0x800000, shift));
}

float rapt_check_from_f16(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
                   mantissa = bits & 0x3ff;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    if (exponent == 0) {
        const float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t rapt_check_to_bf16(float value)
{
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000) /* NaN */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)shift_rounded(bits, 16);
}

float rapt_check_from_bf16(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    return float_of((wide & 0x7fffffff) > 0x7f800000 ? wide | 0x400000 : wide);
}

float rapt_check_load(const void *data, rapt_dtype dtype, int64_t index)
{
    if (dtype == RAPT_F16)
        return rapt_check_from_f16(((const uint16_t *)data)[index]);
    if (dtype == RAPT_BF16)
        return rapt_check_from_bf16(((const uint16_t *)data)[index]);
    return ((const float *)data)[index];
}

void rapt_check_store(void *data, rapt_dtype dtype, int64_t index, float value)
{
    if (dtype == RAPT_F16)
        ((uint16_t *)data)[index] = rapt_check_to_f16(value);
    else if (dtype == RAPT_BF16)
        ((uint16_t *)data)[index] = rapt_check_to_bf16(value);
    else
        ((float *)data)[index] = value;
}

float rapt_check_round(rapt_dtype dtype, float value)
{
    if (dtype == RAPT_F16)
        return rapt_check_from_f16(rapt_check_to_f16(value));
    if (dtype == RAPT_BF16)
        return rapt_check_from_bf16(rapt_check_to_bf16(value));
    return value;
}

size_t rapt_check_dtype_size(rapt_dtype dtype)
{
    switch (dtype) {
    case RAPT_F32:
    case RAPT_I32:
    case RAPT_INT8: /* of words */
    case RAPT_INT4:
    case RAPT_FP8:
        return 4;
    case RAPT_F16:
    case RAPT_BF16:
        return 2;
    default:
        return 0;
    }
}

const char *rapt_check_dtype_name(rapt_dtype dtype)
{
    switch (dtype) {
    case RAPT_F32:
        return "f32";
    case RAPT_F16:
        return "f16";
    case RAPT_BF16:
        return "bf16";
    case RAPT_I32:
        return "i32";
    case RAPT_INT8:
        return "int8";
    case RAPT_INT4:
        return "int4";
    case RAPT_FP8:
        return "fp8";
    default:
        return "none";
    }
}
