/* Any bytes as an .npy file: an array or an error, nothing else. */
#include "tensor_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FILE *stream = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "rb") : NULL;
    tensor_file t;
    rapt_error error = {0};
    if (!stream)
        return 0;
    if (npy_read(stream, "fuzz", &t, &error)) {
        if (!t.data || t.rank > TENSOR_FILE_RANK || t.count > size)
            abort();
        tensor_file_free(&t);
    } else if (t.data || error.status == RAPT_OK || !error.message[0]) {
        abort();
    }
    fclose(stream);
    return 0;
}
