/* Modules out of the blocks in which generate.py put them, packed by liblzma where the build has it (option `pack`). */
#include "base/base.h"
#include "kernel/kernel.h"

#include <string.h>

#ifdef RAPT_PACK
#include <lzma.h>

/* liblzma frees without a size, so what it gets begins behind one. */
#define HEADER 16

static void *decoder_alloc(void *opaque, size_t count, size_t size)
{
    const rapt_allocator *allocator = opaque;
    uint64_t bytes;
    if (!rapt_mul_u64(count, size, &bytes) || bytes > PTRDIFF_MAX - HEADER)
        return NULL;
    unsigned char *memory = rapt_calloc(allocator, HEADER + (size_t)bytes, 1);
    if (memory == NULL)
        return NULL;
    *(size_t *)(void *)memory = (size_t)bytes;
    return memory + HEADER;
}

static void decoder_free(void *opaque, void *memory)
{
    if (memory == NULL)
        return;
    unsigned char *whole = (unsigned char *)memory - HEADER;
    rapt_free(opaque, whole, HEADER + *(size_t *)(void *)whole);
}

/* The next `size` bytes of a stream. */
static lzma_ret decode(lzma_stream *stream, void *out, size_t size)
{
    lzma_ret result = LZMA_OK;
    stream->next_out = out;
    stream->avail_out = size;
    while (result == LZMA_OK && stream->avail_out > 0)
        result = lzma_code(stream, LZMA_RUN);
    return stream->avail_out == 0 ? LZMA_OK : result == LZMA_STREAM_END ? LZMA_DATA_ERROR : result;
}

rapt_status rapt_kernel_unpack(const rapt_kernel_module *module, const rapt_allocator *allocator, void *words,
                               rapt_error *error)
{
    const lzma_allocator memory = {decoder_alloc, decoder_free, (void *)allocator};
    lzma_stream stream = LZMA_STREAM_INIT;
    stream.allocator = &memory;
    stream.next_in = (const uint8_t *)module->block->bytes;
    stream.avail_in = module->block->size;
    lzma_ret result = lzma_stream_decoder(&stream, UINT64_MAX, 0);
    unsigned char before[4096];
    for (size_t left = module->offset; left > 0 && result == LZMA_OK;) {
        const size_t size = RAPT_MIN(left, sizeof before);
        result = decode(&stream, before, size);
        left -= size;
    }
    if (result == LZMA_OK)
        result = decode(&stream, words, module->words * sizeof(uint32_t));
    lzma_end(&stream);
    if (result == LZMA_MEM_ERROR)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory to unpack %s", module->shader);
    if (result != LZMA_OK)
        return rapt_fail(error, RAPT_ERROR_COMPILE, "%s cannot be unpacked: liblzma says %d", module->shader, (int)result);
    return RAPT_OK;
}

#else

rapt_status rapt_kernel_unpack(const rapt_kernel_module *module, const rapt_allocator *allocator, void *words,
                               rapt_error *error)
{
    (void)allocator;
    (void)error;
    memcpy(words, module->block->bytes + module->offset, module->words * sizeof(uint32_t));
    return RAPT_OK;
}

#endif
