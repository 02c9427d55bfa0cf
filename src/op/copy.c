/* Rows of tensors, from one layout to another. */
#include "op/copy.h"

#include <string.h>

static uint32_t alignment_of(const rapt_tensor *t)
{
    const uint32_t element = rapt_dtype_size(t->dtype);
    uint32_t align = RAPT_MIN(t->align ? t->align : 16u, 16u);
    for (uint32_t axis = 0; axis < t->rank; axis++)
        while (t->size[axis] > 1 && axis + 1 < t->rank && align > element &&
               (uint64_t)t->stride[axis] * element % align != 0)
            align /= 2;
    return RAPT_MAX(align, element);
}

rapt_tensor rapt_tensor_packed(const rapt_tensor *t)
{
    rapt_tensor packed = *t;
    uint64_t stride = 1;
    for (uint32_t axis = t->rank; axis-- > 0;) {
        const bool shared = t->size[axis] > 1 && t->stride[axis] == 0;
        packed.stride[axis] = shared ? 0 : (int64_t)stride;
        stride *= shared ? 1 : RAPT_MAX(t->size[axis], 1);
    }
    packed.align = alignment_of(t);
    packed.usage = 0;
    return packed;
}

bool rapt_tensor_lies_alike(const rapt_tensor *a, const rapt_tensor *b)
{
    uint64_t elements = 1;
    for (uint32_t axis = 0; axis < a->rank; axis++) {
        if (a->size[axis] > 1 && a->stride[axis] != b->stride[axis])
            return false;
        elements *= a->stride[axis] != 0 || a->size[axis] == 0 ? a->size[axis] : 1;
    }
    return rapt_tensor_bytes(a) == elements * rapt_dtype_size(a->dtype);
}

void rapt_tensor_copy(void *to, const rapt_tensor *to_tensor, const void *from, const rapt_tensor *from_tensor)
{
    const size_t element = rapt_dtype_size(from_tensor->dtype);
    uint64_t size[RAPT_MAX_RANK] = {1, 1, 1, 1}, run = 1;
    int64_t a[RAPT_MAX_RANK] = {0}, b[RAPT_MAX_RANK] = {0};
    bool inside = true; /* the run that both have in one piece still grows */
    for (uint32_t axis = from_tensor->rank, at = RAPT_MAX_RANK; axis-- > 0;) {
        const uint64_t n = from_tensor->size[axis];
        if (n == 0)
            return;
        if (n == 1 || (to_tensor->stride[axis] == 0 && from_tensor->stride[axis] == 0))
            continue;
        inside = inside && to_tensor->stride[axis] == (int64_t)run && from_tensor->stride[axis] == (int64_t)run;
        if (inside) {
            run *= n;
            continue;
        }
        at--;
        size[at] = n;
        a[at] = to_tensor->stride[axis];
        b[at] = from_tensor->stride[axis];
    }
    for (uint64_t i = 0; i < size[0]; i++)
        for (uint64_t j = 0; j < size[1]; j++)
            for (uint64_t k = 0; k < size[2]; k++)
                for (uint64_t l = 0; l < size[3]; l++) {
                    const int64_t x = (int64_t)i * a[0] + (int64_t)j * a[1] + (int64_t)k * a[2] + (int64_t)l * a[3];
                    const int64_t y = (int64_t)i * b[0] + (int64_t)j * b[1] + (int64_t)k * b[2] + (int64_t)l * b[3];
                    memcpy((char *)to + (size_t)x * element, (const char *)from + (size_t)y * element, run * element);
                }
}

/* An exponent of all ones lies at 2^16 after scaling, where no finite number does. */
static float widen_half(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    float x;
    memcpy(&x, &bits, sizeof x);
    x *= 0x1p112f;
    memcpy(&bits, &x, sizeof bits);
    bits |= (x >= 65536.0f ? 0x7f800000u : 0) | (uint32_t)(half & 0x8000) << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void rapt_widen(float *to, const void *from, rapt_dtype dtype, uint64_t count)
{
    const uint16_t *half = from;
    if (dtype == RAPT_F32)
        memcpy(to, from, count * sizeof *to);
    for (uint64_t i = 0; i < count && dtype == RAPT_BF16; i++) {
        const uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
    for (uint64_t i = 0; i < count && dtype == RAPT_F16; i++)
        to[i] = widen_half(half[i]);
}
