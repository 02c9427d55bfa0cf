/* .safetensors: 8 bytes of header length, a JSON object {name: {dtype, shape, data_offsets: [begin, end]}},
 * the data. */
#if !defined(_WIN32)
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L /* fseeko */
#endif
#include "tensor_file.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 100000000u /* as the format's own reader has it */

#if defined(_WIN32)
#define seek _fseeki64
#define tell _ftelli64
#else
#define seek fseeko
#define tell ftello
#endif

static bool bad(const char *path, const char *name, const char *what, rapt_error *error)
{
    return tool_fail(error, RAPT_ERROR_IO, "%s: tensor '%.100s': %s", path, name, what);
}

/* A whole number that double holds exactly. */
static bool whole(const cJSON *item, uint64_t *out)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > 0x1p53 ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *out = (uint64_t)item->valuedouble;
    return true;
}

static bool no_such_tensor(const cJSON *header, const char *path, const char *name, rapt_error *error)
{
    char list[300] = "";
    size_t used = 0, more = 0;
    for (const cJSON *item = header->child; item; item = item->next) {
        if (!item->string || strcmp(item->string, "__metadata__") == 0)
            continue;
        if (used + strlen(item->string) + 3 > sizeof list - 1)
            more++;
        else
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%s", used > 0 ? ", " : "", item->string);
    }
    if (!name || !name[0])
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "%.100s: name a tensor as FILE.safetensors:NAME; it has %s%s", path, list,
                         more > 0 ? ", .." : "");
    return tool_fail(error, RAPT_ERROR_IO, "%.100s: no tensor '%.60s'; it has %s%s", path, name, list,
                     more > 0 ? ", .." : "");
}

/* What the header says of the tensor: dtype, shape, and where its data lie behind the header. */
static bool describe(const cJSON *header, const char *path, const char *name, uint64_t data_bytes,
                     tensor_file *t, uint64_t *begin, rapt_error *error)
{
    const cJSON *item = name ? cJSON_GetObjectItemCaseSensitive(header, name) : NULL;
    if (!item || strcmp(name, "__metadata__") == 0)
        return no_such_tensor(header, path, name, error);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    if (!cJSON_IsString(dtype) || !cJSON_IsArray(shape) || !cJSON_IsArray(offsets) ||
        cJSON_GetArraySize(offsets) != 2)
        return bad(path, name, "dtype, shape or data_offsets is missing or of the wrong kind", error);
    const char *type = dtype->valuestring;
    t->dtype = strcmp(type, "F32") == 0    ? RAPT_F32
               : strcmp(type, "F16") == 0  ? RAPT_F16
               : strcmp(type, "BF16") == 0 ? RAPT_BF16
               : strcmp(type, "I32") == 0  ? RAPT_I32
                                           : RAPT_DTYPE_NONE;
    if (t->dtype == RAPT_DTYPE_NONE)
        return tool_fail(error, RAPT_ERROR_IO,
                         "%s: tensor '%.100s': dtype '%.20s' is not supported; F32, F16, BF16 and I32 are",
                         path, name, type);
    for (const cJSON *size = shape->child; size; size = size->next) {
        if (t->rank == TENSOR_FILE_RANK)
            return bad(path, name, "more than 8 axes", error);
        if (!whole(size, &t->shape[t->rank++]))
            return bad(path, name, "a size in shape is no whole number", error);
    }
    if (!tensor_file_count(path, t->rank, t->shape, &t->count, error))
        return false;
    uint64_t end;
    if (!whole(offsets->child, begin) || !whole(offsets->child->next, &end) || *begin > end)
        return bad(path, name, "data_offsets are no ascending whole numbers", error);
    const uint64_t bytes = t->count * (t->dtype == RAPT_F16 || t->dtype == RAPT_BF16 ? 2 : 4);
    if (end - *begin != bytes)
        return tool_fail(error, RAPT_ERROR_IO,
                         "%s: tensor '%.100s': data_offsets span %" PRIu64
                         " bytes, dtype and shape need %" PRIu64,
                         path, name, end - *begin, bytes);
    if (end > data_bytes)
        return tool_fail(error, RAPT_ERROR_IO,
                         "%s: truncated: tensor '%.100s' ends at byte %" PRIu64 " of the data, %" PRIu64
                         " are there",
                         path, name, end, data_bytes);
    return true;
}

bool safetensors_read(FILE *stream, const char *path, const char *name, tensor_file *out, rapt_error *error)
{
    *out = (tensor_file){0};
    unsigned char start[8];
    if (seek(stream, 0, SEEK_END) != 0)
        return tool_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
    const int64_t size = (int64_t)tell(stream);
    if (size < 0 || seek(stream, 0, SEEK_SET) != 0)
        return tool_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
    if (size < 8 || fread(start, 1, 8, stream) != 8)
        return tool_fail(error, RAPT_ERROR_IO, "%s: not a safetensors file: shorter than 8 bytes", path);
    uint64_t length = 0;
    for (int n = 8; n-- > 0;)
        length = length << 8 | start[n];
    if (length > MAX_HEADER || length > (uint64_t)size - 8)
        return tool_fail(error, RAPT_ERROR_IO,
                         "%s: not a safetensors file, or truncated: a header of %" PRIu64
                         " bytes in a file of %" PRId64,
                         path, length, size);
    void *text = NULL;
    if (!tensor_file_bytes(stream, path, length, &text, error))
        return false;
    cJSON *header = cJSON_ParseWithLength(text, (size_t)length);
    free(text);
    uint64_t begin = 0;
    bool good = cJSON_IsObject(header);
    if (!good)
        tool_fail(error, RAPT_ERROR_IO, "%s: not a safetensors file: its header is no JSON object", path);
    good = good && describe(header, path, name, (uint64_t)size - 8 - length, out, &begin, error);
    cJSON_Delete(header);
    if (good && seek(stream, (int64_t)(8 + length + begin), SEEK_SET) != 0)
        good = tool_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
    const uint64_t bytes = out->count * (out->dtype == RAPT_F16 || out->dtype == RAPT_BF16 ? 2 : 4);
    good = good && tensor_file_bytes(stream, path, bytes, &out->data, error);
    if (!good)
        tensor_file_free(out);
    return good;
}
