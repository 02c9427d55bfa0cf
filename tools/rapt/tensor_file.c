#include "tensor_file.h"

#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ELEMENTS (1ull << 56)
#define FIRST_PIECE (1u << 20)

void tensor_file_free(tensor_file *t)
{
    free(t->data);
    *t = (tensor_file){0};
}

void tensor_file_shape(uint32_t rank, const uint64_t *shape, char *text, size_t capacity)
{
    size_t used = (size_t)snprintf(text, capacity, "(");
    for (uint32_t axis = 0; axis < rank && used < capacity; axis++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%" PRIu64 "%s", axis > 0 ? ", " : "",
                                 shape[axis], rank == 1 ? "," : "");
    if (used < capacity)
        snprintf(text + used, capacity - used, ")");
}

bool tensor_file_count(const char *path, uint32_t rank, const uint64_t *shape, uint64_t *count,
                       rapt_error *error)
{
    uint64_t product = 1; /* of the sizes that are not 0, so that strides fit too */
    *count = 1;
    for (uint32_t axis = 0; axis < rank; axis++) {
        const uint64_t size = shape[axis] > 0 ? shape[axis] : 1;
        if (size > MAX_ELEMENTS / product)
            return tool_fail(error, RAPT_ERROR_IO, "%s: the shape has more than 2^56 elements", path);
        product *= size;
        *count *= shape[axis];
    }
    return true;
}

bool tensor_file_bytes(FILE *stream, const char *path, uint64_t bytes, void **data, rapt_error *error)
{
    unsigned char *all = NULL;
    size_t used = 0, capacity = 0;
    do {
        if (used == capacity) {
            const uint64_t wish = capacity > 0 ? (uint64_t)capacity * 2 : FIRST_PIECE;
            capacity = (size_t)(wish < bytes ? wish : bytes);
            unsigned char *more = realloc(all, capacity + 1);
            if (!more) {
                free(all);
                return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "%s: no memory for %" PRIu64 " bytes",
                                 path, bytes);
            }
            all = more;
        }
        errno = 0;
        const size_t got = fread(all + used, 1, capacity - used, stream);
        used += got;
        if (got == 0 && used < bytes) {
            free(all);
            if (ferror(stream))
                return tool_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
            return tool_fail(error, RAPT_ERROR_IO,
                             "%s: truncated: %" PRIu64 " bytes of data expected, %zu there", path, bytes,
                             used);
        }
    } while (used < bytes);
    *data = all;
    return true;
}

bool tensor_file_read(const char *path, tensor_file *out, rapt_error *error)
{
    static const char suffix[] = ".safetensors";
    *out = (tensor_file){0};
    const char *dot = strstr(path, ".safetensors:");
    const size_t length = strlen(path);
    const char *name = dot ? dot + sizeof suffix : NULL;
    const bool safetensors =
        dot || (length >= sizeof suffix - 1 && strcmp(path + length - (sizeof suffix - 1), suffix) == 0);
    char *file = malloc(length + 1);
    if (!file)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "%s: no memory", path);
    memcpy(file, path, length + 1);
    if (dot)
        file[dot - path + sizeof suffix - 1] = 0;
    FILE *stream = fopen(file, "rb");
    bool good = stream != NULL;
    if (!stream)
        tool_fail(error, RAPT_ERROR_IO, "%s: %s", file, strerror(errno));
    else if (safetensors)
        good = safetensors_read(stream, file, name, out, error);
    else
        good = npy_read(stream, file, out, error);
    if (stream)
        fclose(stream);
    free(file);
    return good;
}

rapt_tensor tensor_contiguous(rapt_dtype dtype, uint32_t rank, const uint64_t *shape)
{
    rapt_tensor out = {.dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        out.size[axis] = shape[axis];
        out.stride[axis] = stride;
        stride *= (int64_t)(shape[axis] ? shape[axis] : 1);
    }
    return out;
}
