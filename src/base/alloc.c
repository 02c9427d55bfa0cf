/* Host memory: the default allocator, checked arrays, arenas; and checked arithmetic. */
#include "base/base.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 16

/* malloc aligns to max_align_t, which is 16 bytes on every 64-bit platform; elsewhere we pad, and the byte before the
 * memory tells by how much. */
#define PAD (alignof(max_align_t) < ALIGN ? ALIGN : 0)

static void *default_alloc(void *user, size_t size)
{
    (void)user;
    if (size > PTRDIFF_MAX - PAD)
        return NULL;
    unsigned char *raw = malloc((size ? size : 1) + PAD);
    if (raw == NULL || PAD == 0)
        return raw;
    size_t shift = ALIGN - (uintptr_t)raw % ALIGN;
    raw[shift - 1] = (unsigned char)shift;
    return raw + shift;
}

static void default_free(void *user, void *old, size_t size)
{
    (void)user;
    (void)size;
    unsigned char *memory = old;
    if (memory != NULL && PAD != 0)
        memory -= memory[-1];
    free(memory);
}

static void *default_realloc(void *user, void *old, size_t old_size, size_t size)
{
    if (PAD == 0)
        return size > PTRDIFF_MAX ? NULL : realloc(old, size ? size : 1);
    void *memory = default_alloc(user, size);
    if (memory != NULL && old != NULL) {
        memcpy(memory, old, RAPT_MIN(old_size, size));
        default_free(user, old, old_size);
    }
    return memory;
}

rapt_allocator rapt_allocator_default(void)
{
    return (rapt_allocator){NULL, default_alloc, default_realloc, default_free};
}

bool rapt_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    *out = a * b;
    return b == 0 || a <= UINT64_MAX / b;
}

bool rapt_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    *out = a + b;
    return a <= UINT64_MAX - b;
}

static bool array_bytes(size_t count, size_t size, size_t *bytes)
{
    uint64_t product;
    if (!rapt_mul_u64(count, size, &product) || product > PTRDIFF_MAX)
        return false;
    *bytes = (size_t)product;
    return true;
}

void *rapt_calloc(const rapt_allocator *a, size_t count, size_t size)
{
    size_t bytes;
    if (!array_bytes(count, size, &bytes))
        return NULL;
    void *memory = a->alloc(a->user, bytes ? bytes : 1);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

void *rapt_realloc_array(const rapt_allocator *a, void *old, size_t old_count, size_t count, size_t size)
{
    size_t bytes, old_bytes;
    if (old == NULL)
        return rapt_calloc(a, count, size);
    if (!array_bytes(count, size, &bytes) || !array_bytes(old_count, size, &old_bytes))
        return NULL;
    /* An empty array has one byte, as rapt_calloc and rapt_free have it. */
    char *memory = a->realloc(a->user, old, old_bytes ? old_bytes : 1, bytes ? bytes : 1);
    if (memory != NULL && bytes > old_bytes)
        memset(memory + old_bytes, 0, bytes - old_bytes);
    return memory;
}

void rapt_free(const rapt_allocator *a, void *memory, size_t size)
{
    if (memory != NULL)
        a->free(a->user, memory, size ? size : 1);
}

/* ---- Arena ---- */

typedef struct rapt_arena_block {
    struct rapt_arena_block *next;
    size_t size; /* of the whole block */
    size_t used; /* header included */
} rapt_arena_block;

#define BLOCK_BYTES 8192
#define HEADER ((sizeof(rapt_arena_block) + ALIGN - 1) / ALIGN * ALIGN)

void rapt_arena_init(rapt_arena *arena, const rapt_allocator *allocator)
{
    arena->allocator = allocator;
    arena->blocks = NULL;
}

void *rapt_arena_alloc(rapt_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!array_bytes(count, size, &bytes) || bytes > PTRDIFF_MAX - BLOCK_BYTES)
        return NULL;
    bytes = (RAPT_MAX(bytes, 1) + ALIGN - 1) / ALIGN * ALIGN;
    rapt_arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < bytes) {
        size_t whole = RAPT_MAX(HEADER + bytes, BLOCK_BYTES);
        block = rapt_calloc(arena->allocator, whole, 1);
        if (block == NULL)
            return NULL;
        block->size = whole;
        block->used = HEADER;
        if (whole > BLOCK_BYTES && arena->blocks != NULL) {
            block->next = arena->blocks->next; /* full at once: the block in use stays in front */
            arena->blocks->next = block;
        } else {
            block->next = arena->blocks;
            arena->blocks = block;
        }
    }
    void *memory = (char *)block + block->used;
    block->used += bytes;
    return memory;
}

char *rapt_arena_strdup(rapt_arena *arena, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = rapt_arena_alloc(arena, bytes, 1);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

void rapt_arena_free(rapt_arena *arena)
{
    rapt_arena_block *block = arena->blocks;
    while (block != NULL) {
        rapt_arena_block *next = block->next;
        rapt_free(arena->allocator, block, block->size);
        block = next;
    }
    arena->blocks = NULL;
}
