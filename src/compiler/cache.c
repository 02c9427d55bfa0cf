/* Run-time compilation through the disk cache. */
#include "compiler/cache.h"

#include <string.h>

#define SPIRV_MAGIC 0x07230203u

static rapt_hash add_text(rapt_hash hash, const char *text)
{
    /* NULL and "" differ: without a source, the stock source of that name is meant. */
    return text != NULL ? rapt_hash_bytes(hash, text, strlen(text) + 1) : rapt_hash_bytes(hash, "", 0);
}

rapt_status rapt_compile_cached(const rapt_store *store, const rapt_compiler_api *api,
                                const rapt_compile_request *request, uint32_t **words, size_t *count, bool *cached,
                                rapt_text *log, rapt_error *error)
{
    rapt_hash context = add_text(RAPT_HASH_INIT, api->version);
    const unsigned char options[2] = {(unsigned char)request->vulkan_minor, request->optimise ? 1 : 0};
    rapt_hash key = rapt_hash_bytes(RAPT_HASH_INIT, options, sizeof options);
    key = add_text(key, request->source_name);
    key = add_text(key, request->source);
    key = add_text(key, request->defines != NULL ? request->defines : "");
    for (uint32_t i = 0; i < request->file_count; i++) {
        key = add_text(key, request->files[i].name);
        key = add_text(key, request->files[i].text);
    }

    void *data;
    size_t size;
    if (rapt_store_read(store, RAPT_STORE_SPIRV, context, key, &data, &size)) {
        uint32_t magic = 0;
        if (size >= 20 && size % 4 == 0)
            memcpy(&magic, data, sizeof magic);
        if (magic == SPIRV_MAGIC) {
            *words = data;
            *count = size / 4;
            if (cached != NULL)
                *cached = true;
            return RAPT_OK;
        }
        rapt_free(store->allocator, data, size);
    }
    if (cached != NULL)
        *cached = false;
    rapt_status status = api->compile(store->allocator, request, words, count, log, error);
    if (status == RAPT_OK)
        rapt_store_write(store, RAPT_STORE_SPIRV, context, key, *words, *count * sizeof **words);
    return status;
}
