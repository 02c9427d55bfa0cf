#include "tensor_file.h"
#include "tool.h"

#include "check/half.h"

#include <stdlib.h>

bool tool_save(rapt_buffer *buffer, const rapt_tensor *t, uint32_t rank, const uint64_t *shape,
               const char *path, rapt_error *error)
{
    uint64_t count = 1;
    for (uint32_t axis = 0; axis < rank; axis++)
        count *= shape[axis];
    const size_t bytes = (size_t)count * rapt_dtype_size(t->dtype);
    void *data = malloc(bytes + 1), *wide = NULL;
    bool good = data || tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the result");
    good = good && (bytes == 0 || rapt_buffer_download(buffer, 0, data, bytes, error) == RAPT_OK);
    if (good && t->dtype == RAPT_BF16) {
        wide = malloc((size_t)count * 4 + 1);
        good = wide || tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the result");
        for (uint64_t n = 0; n < count && wide; n++)
            ((float *)wide)[n] = rapt_check_load(data, RAPT_BF16, (int64_t)n);
    }
    good = good && npy_write(path, wide ? RAPT_F32 : t->dtype, rank, shape, wide ? wide : data, error);
    free(data);
    free(wide);
    return good;
}
