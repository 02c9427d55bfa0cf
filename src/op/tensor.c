#include "base/base.h"
#include <rapt/tensor.h>

uint32_t rapt_dtype_size(rapt_dtype dtype)
{
    switch (dtype) {
    case RAPT_F32:
    case RAPT_I32:
    case RAPT_INT8:
    case RAPT_INT4:
    case RAPT_FP8:
        return 4;
    case RAPT_F16:
    case RAPT_BF16:
        return 2;
    case RAPT_DTYPE_NONE:
        break;
    }
    return 0;
}

const char *rapt_dtype_name(rapt_dtype dtype)
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
    case RAPT_DTYPE_NONE:
        return "none";
    }
    return "unknown";
}

uint64_t rapt_quantised_words(rapt_dtype dtype, uint64_t head_dim)
{
    if (dtype < RAPT_INT8 || dtype > RAPT_FP8 || head_dim > UINT32_MAX)
        return 0;
    return rapt_align_up(rapt_div_up(head_dim, RAPT_QUANTISED_BLOCK), 4) + rapt_align_up(rapt_div_up(head_dim, dtype == RAPT_INT4 ? 8 : 4), 4);
}

/* A rank-4 tensor whose memory order of the axes is `order`, outermost first. */
static rapt_tensor contiguous(rapt_dtype dtype, const uint64_t size[4], const int order[4])
{
    rapt_tensor t = {.dtype = dtype, .rank = 4};
    uint64_t stride = 1;
    for (int i = 3; i >= 0; i--) {
        int axis = order[i];
        t.size[axis] = size[axis];
        t.stride[axis] = (int64_t)RAPT_MIN(stride, (uint64_t)INT64_MAX); /* overflow shows in rapt_tensor_bytes */
        if (size[axis] != 0 && !rapt_mul_u64(stride, size[axis], &stride))
            stride = UINT64_MAX;
    }
    return t;
}

rapt_tensor rapt_tensor_bhnd(rapt_dtype dtype, uint64_t batch, uint64_t heads, uint64_t sequence, uint64_t head_dim)
{
    return contiguous(dtype, (uint64_t[]){batch, heads, sequence, head_dim}, (int[]){0, 1, 2, 3});
}

rapt_tensor rapt_tensor_bnhd(rapt_dtype dtype, uint64_t batch, uint64_t heads, uint64_t sequence, uint64_t head_dim)
{
    return contiguous(dtype, (uint64_t[]){batch, heads, sequence, head_dim}, (int[]){0, 2, 1, 3});
}

uint64_t rapt_tensor_bytes(const rapt_tensor *tensor)
{
    uint64_t last = 0, span;
    if (tensor == NULL || tensor->rank > RAPT_MAX_RANK)
        return 0;
    for (unsigned axis = 0; axis < tensor->rank; axis++) {
        if (tensor->size[axis] == 0)
            return 0;
        if (tensor->stride[axis] < 0)
            return UINT64_MAX;
        if (!rapt_mul_u64(tensor->size[axis] - 1, (uint64_t)tensor->stride[axis], &span) ||
            !rapt_add_u64(last, span, &last))
            return UINT64_MAX;
    }
    uint64_t bytes;
    if (!rapt_add_u64(last, 1, &last) || !rapt_mul_u64(last, rapt_dtype_size(tensor->dtype), &bytes))
        return UINT64_MAX;
    return bytes;
}
