/* 16-bit floats on the host: bit-exact conversions, and typed loads and stores built on them. */
#ifndef RAPT_CHECK_HALF_H
#define RAPT_CHECK_HALF_H

#include <rapt/tensor.h>
#include <stddef.h>
#include <stdint.h>

/* IEEE 754 binary16 and bfloat16. Narrowing rounds to nearest, ties to even, through subnormals to infinity;
 * a NaN keeps its sign and leading payload bits and becomes quiet. Widening is exact, signalling NaNs become
 * quiet. */
uint16_t rapt_check_to_f16(float value);
float rapt_check_from_f16(uint16_t bits);
uint16_t rapt_check_to_bf16(float value);
float rapt_check_from_bf16(uint16_t bits);

/* Element `index` of an array of f32, f16 or bf16. */
float rapt_check_load(const void *data, rapt_dtype dtype, int64_t index);
void rapt_check_store(void *data, rapt_dtype dtype, int64_t index, float value);

/* The value a store and a load make of it. */
float rapt_check_round(rapt_dtype dtype, float value);

/* As rapt_dtype_size and rapt_dtype_name, without needing the library. */
size_t rapt_check_dtype_size(rapt_dtype dtype);
const char *rapt_check_dtype_name(rapt_dtype dtype);

#endif
