#include "tensor_file.h"
#include "tool.h"

#include "check/half.h"

#include <stdlib.h>

bool tool_save_data(const void *data, const rapt_tensor *t, uint32_t rank, const uint64_t *shape, const char *path, rapt_error *error)
{
    uint64_t count = 1;
    for (uint32_t axis = 0; axis < rank; axis++)
        count *= shape[axis];
    if (t->dtype != RAPT_BF16)
        return npy_write(path, t->dtype, rank, shape, data, error);
    float *wide = malloc((size_t)count * sizeof *wide + 1);
    if (!wide)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the result");
    for (uint64_t n = 0; n < count; n++)
        wide[n] = rapt_check_load(data, RAPT_BF16, (int64_t)n);
    const bool good = npy_write(path, RAPT_F32, rank, shape, wide, error);
    free(wide);
    return good;
}

bool tool_save(rapt_buffer *buffer, const rapt_tensor *t, uint32_t rank, const uint64_t *shape,
               const char *path, rapt_error *error)
{
    const size_t bytes = (size_t)rapt_tensor_bytes(t);
    void *data = malloc(bytes + 1);
    bool good = data || tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the result");
    good = good && (bytes == 0 || rapt_buffer_download(buffer, 0, data, bytes, error) == RAPT_OK);
    good = good && tool_save_data(data, t, rank, shape, path, error);
    free(data);
    return good;
}
