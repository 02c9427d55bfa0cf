/* Tensors as views: dtype, sizes, strides. Part of rapt (MIT licence). */
#ifndef RAPT_TENSOR_H
#define RAPT_TENSOR_H

#include <rapt/device.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rapt_dtype {
    RAPT_DTYPE_NONE = 0, /* an absent tensor */
    RAPT_F32 = 1,
    RAPT_F16 = 2,
    RAPT_BF16 = 3,
    RAPT_I32 = 4,
    RAPT_INT8 = 5, /* quantised keys and values of attention: see below */
    RAPT_INT4 = 6,
    RAPT_FP8 = 7, /* E4M3 */
} rapt_dtype;

/* Rows of quantised tensors. An element of such a tensor is a 32-bit word, in sizes and strides too, and its last axis is the
 * rapt_quantised_words(dtype, head_dim) words of one row, one token of one head; a multiple of 4. These are
 *
 *   a float32 scale for each RAPT_QUANTISED_BLOCK elements of the row, up to a multiple of 4 words, the rest of them 0;
 *   the elements, each in a word's next lowest bits, up to a multiple of 4 words, the rest of them 0: of RAPT_INT8 four a word,
 *   two's complement, -127 to 127; of RAPT_INT4 eight a word, -7 to 7; of RAPT_FP8 four a word, OCP's E4M3 (sign, 4 bits of
 *   exponent of bias 7, 3 bits of mantissa; subnormals; at most 448; 0x7f and 0xff are not used).
 *
 * Element e is what is stored times scale e / RAPT_QUANTISED_BLOCK. rapt/rows.h quantises: the scale is the block's largest |x|
 * over 127, 7 or 448, and numbers are rounded to nearest, so that int8 and int4 are off by at most half of their scale, fp8 by
 * |x| / 16 or 2^-10 of it. A block with a NaN or an infinity gets the scale NaN, and so is NaN as a whole. */
#define RAPT_QUANTISED_BLOCK 32

/* Words of a row of `head_dim` elements; 0 for dtypes that are not quantised. */
RAPT_API uint64_t rapt_quantised_words(rapt_dtype dtype, uint64_t head_dim);

/* Bytes of one element (0 for RAPT_DTYPE_NONE; of quantised dtypes a word's), and its name ("f32", ..). */
RAPT_API uint32_t rapt_dtype_size(rapt_dtype dtype);
RAPT_API const char *rapt_dtype_name(rapt_dtype dtype);

#define RAPT_MAX_RANK 4

/* The shape of a tensor; where it lies is said when it is bound. Attention tensors have rank 4 and the axes
 * (batch, heads, sequence, head_dim) whatever their order in memory: strides, in elements, tell that. The stride of
 * head_dim must be 1. Strides may be 0 on inputs (broadcast) and must not be negative. Zero sizes are legal.
 * `align` promises that the bound byte offset is a multiple of it (power of two; 0: 16 bytes); less than 16
 * costs speed. `usage` lists the uses that the buffer to be bound has (0: all, as rapt's own buffers).
 * Thread-safety: plain data. */
typedef struct rapt_tensor {
    rapt_dtype dtype;
    uint32_t rank;
    uint64_t size[RAPT_MAX_RANK];
    int64_t stride[RAPT_MAX_RANK];
    uint32_t align;
    uint32_t usage; /* rapt_buffer_usage bits */
} rapt_tensor;

/* A contiguous tensor of axes (batch, heads, sequence, head_dim) in that order in memory. */
RAPT_API rapt_tensor rapt_tensor_bhnd(rapt_dtype dtype, uint64_t batch, uint64_t heads, uint64_t sequence,
                                      uint64_t head_dim);
/* The same axes, laid out as (batch, sequence, heads, head_dim) in memory. */
RAPT_API rapt_tensor rapt_tensor_bnhd(rapt_dtype dtype, uint64_t batch, uint64_t heads, uint64_t sequence,
                                      uint64_t head_dim);
/* Bytes from the first to the end of the last element: what the bound buffer must hold after the offset.
 * UINT64_MAX when that overflows. */
RAPT_API uint64_t rapt_tensor_bytes(const rapt_tensor *tensor);

/* Where a tensor lies: `offset` bytes into `buffer`. buffer == NULL: absent. */
typedef struct rapt_slot {
    rapt_buffer *buffer;
    uint64_t offset;
} rapt_slot;

#ifdef __cplusplus
}
#endif
#endif
