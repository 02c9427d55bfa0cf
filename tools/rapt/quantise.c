#include "quantise.h"

#include "tool.h"

#include <stdlib.h>
#include <string.h>

rapt_dtype tool_quantised_dtype(const char *name)
{
    static const rapt_dtype dtypes[] = {RAPT_INT8, RAPT_INT4, RAPT_FP8};
    for (size_t n = 0; n < TOOL_COUNT(dtypes); n++)
        if (strcmp(name, rapt_dtype_name(dtypes[n])) == 0)
            return dtypes[n];
    return RAPT_DTYPE_NONE;
}

static rapt_status make_buffer(rapt_device *device, const void *data, uint64_t bytes, rapt_slot *slot,
                               rapt_error *error)
{
    const rapt_status status = rapt_buffer_create(device, bytes > 0 ? bytes : 1, &slot->buffer, error);
    return status == RAPT_OK && data && bytes > 0 ? rapt_buffer_upload(slot->buffer, 0, data, bytes, error)
                                                  : status;
}

rapt_status tool_quantise(rapt_device *device, const rapt_tensor *from, const void *data,
                          const rapt_tensor *to, rapt_buffer **buffer, rapt_error *error)
{
    const uint64_t lines = from->size[0], rows = from->size[2], slots = lines * rows;
    rapt_rows_desc d = RAPT_ROWS_DESC_INIT;
    rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
    rapt_status status = make_buffer(device, NULL, rapt_tensor_bytes(to), &args.out, error);
    *buffer = args.out.buffer;
    if (status != RAPT_OK || !data || slots == 0)
        return status;
    d.kind = RAPT_ROWS_PLACE;
    d.x = *from;
    d.out = *to;
    d.list = (rapt_tensor){
        .dtype = RAPT_I32, .rank = 3, .size = {lines, 1, rows}, .stride = {(int64_t)rows, (int64_t)rows, 1}};
    int32_t *list = malloc((size_t)slots * sizeof *list);
    if (!list) {
        tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a list of slots");
        return RAPT_ERROR_OUT_OF_HOST_MEMORY;
    }
    for (uint64_t n = 0; n < slots; n++)
        list[n] = (int32_t)n;
    status = make_buffer(device, data, rapt_tensor_bytes(from), &args.x, error);
    if (status == RAPT_OK)
        status = make_buffer(device, list, slots * sizeof *list, &args.list, error);
    if (status == RAPT_OK)
        status = rapt_rows_run(device, &d, &args, error);
    free(list);
    rapt_buffer_destroy(&args.x.buffer);
    rapt_buffer_destroy(&args.list.buffer);
    return status;
}
