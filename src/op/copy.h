/* Copies between tensors in host memory. */
#ifndef RAPT_OP_COPY_H
#define RAPT_OP_COPY_H

#include "base/base.h"
#include <rapt/tensor.h>

/* The tensor without gaps, in the order of its axes; an axis of stride 0 stays one. It promises no more alignment than the
 * elements of `t` have, so that a kernel chosen for one is chosen for the other. */
rapt_tensor rapt_tensor_packed(const rapt_tensor *t);
/* Whether both lie alike, from the first to the last element without a gap. */
bool rapt_tensor_lies_alike(const rapt_tensor *a, const rapt_tensor *b);
/* Copies all elements; sizes and dtype are the same. An axis of stride 0 in both is copied once. */
void rapt_tensor_copy(void *to, const rapt_tensor *to_tensor, const void *from, const rapt_tensor *from_tensor);
/* The numbers as float32, exactly; f32, f16 or bf16, without gaps. */
void rapt_widen(float *to, const void *from, rapt_dtype dtype, uint64_t count);

#endif
