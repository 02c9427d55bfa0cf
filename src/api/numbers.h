/* Numbers in the storage types, for what tries kernels: the probe and tuning. */
#ifndef RAPT_API_NUMBERS_H
#define RAPT_API_NUMBERS_H

#include <rapt/tensor.h>
#include <stdint.h>

/* A pseudo-random multiple of 1/64 in [-1, 1): exact in f32, f16 and bf16 (7 significant bits). */
float rapt_number_next(uint32_t *state);
/* Stores what is exact in the dtype; loads anything. */
void rapt_number_put(uint8_t *at, rapt_dtype dtype, float value);
double rapt_number_get(const uint8_t *at, rapt_dtype dtype);
/* The same of element e of a row of `head_dim` elements of a quantised dtype (rapt/tensor.h). What is put is a pseudo-random number;
 * scales are powers of two, put with the first element of their blocks. */
void rapt_quantised_put(uint8_t *row, rapt_dtype dtype, uint64_t head_dim, uint64_t e, uint32_t *state);
double rapt_quantised_get(const uint8_t *row, rapt_dtype dtype, uint64_t head_dim, uint64_t e);

#endif
