/* Device memory: few large blocks, each cut into ranges. A block is a list of ranges in address order, free
 * or used, that covers it without a gap; a new allocation takes the first free range that fits, and
 * neighbours that are both free become one. All nodes a later free needs exist already, so that freeing
 * cannot fail. Buffers only: no granularity between linear and tiled resources has to be kept. Thread-safety:
 * safe; one lock around everything, vkAllocateMemory included. */
#include "vk/internal.h"
#include <inttypes.h>

#define FIRST_BLOCK (16ull << 20)
#define LARGEST_BLOCK (64ull << 20)
#define SMALLEST_BLOCK (1ull << 20)

typedef struct memory_range {
    struct memory_range *previous, *next;
    struct memory_block *block;
    uint64_t offset, size;
    bool used;
} memory_range;

typedef struct memory_block {
    struct memory_block *next;
    VkDeviceMemory memory;
    uint64_t size, used;
    uint32_t type;
    bool dedicated; /* for one request that was too large to share */
    char *mapped;   /* for as long as the block lives, or NULL */
    memory_range *first;
} memory_block;

struct rapt_memory {
    rapt_mutex lock;
    memory_block *blocks;
    rapt_memory_info info;
    uint64_t heap_bytes[VK_MAX_MEMORY_HEAPS];    /* allocated by us */
    uint32_t shared_blocks[VK_MAX_MEMORY_TYPES]; /* alive, without the dedicated ones */
    uint32_t max_allocations;
};

rapt_status rapt_memory_create(rapt_device *device, rapt_memory **out, rapt_error *error)
{
    VkPhysicalDeviceProperties properties = {0};
    *out = NULL;
    rapt_memory *memory = rapt_calloc(&device->runtime->allocator, 1, sizeof *memory);
    if (memory == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the device memory allocator");
    if (!rapt_mutex_init(&memory->lock)) {
        rapt_free(&device->runtime->allocator, memory, sizeof *memory);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no mutex for the device memory allocator");
    }
    device->instance.fn.vkGetPhysicalDeviceProperties(device->physical, &properties);
    memory->max_allocations = properties.limits.maxMemoryAllocationCount;
    *out = memory;
    return RAPT_OK;
}

/* ---- Blocks ---- */

static uint32_t heap_of(const rapt_device *device, uint32_t type)
{
    return device->memory_properties.memoryTypes[type].heapIndex;
}

static void block_destroy(rapt_device *device, rapt_memory *memory, memory_block *block)
{
    for (memory_block **link = &memory->blocks; *link != NULL; link = &(*link)->next) {
        if (*link == block) {
            *link = block->next;
            break;
        }
    }
    for (memory_range *range = block->first, *next; range != NULL; range = next) {
        next = range->next;
        rapt_free(&device->runtime->allocator, range, sizeof *range);
    }
    if (block->mapped != NULL)
        device->fn.vkUnmapMemory(device->handle, block->memory);
    device->fn.vkFreeMemory(device->handle, block->memory, NULL);
    memory->info.device_bytes -= block->size;
    memory->info.allocations--;
    memory->heap_bytes[heap_of(device, block->type)] -= block->size;
    if (!block->dedicated)
        memory->shared_blocks[block->type]--;
    rapt_free(&device->runtime->allocator, block, sizeof *block);
}

/* Allocates and, where the host can see it, maps. `must_map`: without a mapping it is of no use. */
static VkResult block_create(rapt_device *device, rapt_memory *memory, uint32_t type, uint64_t size,
                             bool dedicated, bool must_map, memory_block **out)
{
    const rapt_allocator *a = &device->runtime->allocator;
    const VkMemoryPropertyFlags flags = device->memory_properties.memoryTypes[type].propertyFlags;
    const VkMemoryPropertyFlags mappable =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryAllocateFlagsInfo address = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = (device->caps.features & RAPT_FEATURE_BIT(BUFFER_DEVICE_ADDRESS)) != 0 ? &address : NULL,
        .allocationSize = size,
        .memoryTypeIndex = type,
    };
    VkResult result = VK_ERROR_OUT_OF_HOST_MEMORY;
    VkDeviceMemory handle = VK_NULL_HANDLE;
    void *mapped = NULL;
    *out = NULL;
    memory_block *block = rapt_calloc(a, 1, sizeof *block);
    memory_range *range = rapt_calloc(a, 1, sizeof *range);
    if (block == NULL || range == NULL)
        goto fail;
    result = device->fn.vkAllocateMemory(device->handle, &allocate, NULL, &handle);
    if (result != VK_SUCCESS) {
        handle = VK_NULL_HANDLE;
        goto fail;
    }
    if ((flags & mappable) == mappable) {
        VkResult map_result = device->fn.vkMapMemory(device->handle, handle, 0, VK_WHOLE_SIZE, 0, &mapped);
        if (map_result != VK_SUCCESS) {
            mapped = NULL;
            if (must_map || map_result == VK_ERROR_DEVICE_LOST) {
                result = map_result;
                goto fail;
            }
        }
    }
    *range = (memory_range){.block = block, .size = size};
    *block = (memory_block){
        .next = memory->blocks,
        .memory = handle,
        .size = size,
        .type = type,
        .dedicated = dedicated,
        .mapped = mapped,
        .first = range,
    };
    memory->blocks = block;
    memory->info.device_bytes += size;
    memory->info.device_peak = RAPT_MAX(memory->info.device_peak, memory->info.device_bytes);
    memory->info.allocations++;
    memory->heap_bytes[heap_of(device, type)] += size;
    if (!dedicated)
        memory->shared_blocks[type]++;
    *out = block;
    return VK_SUCCESS;

fail:
    if (handle != VK_NULL_HANDLE)
        device->fn.vkFreeMemory(device->handle, handle, NULL);
    rapt_free(a, range, sizeof *range);
    rapt_free(a, block, sizeof *block);
    return result;
}

void rapt_memory_destroy(rapt_device *device, rapt_memory **handle)
{
    rapt_memory *memory = *handle;
    if (memory == NULL)
        return;
    *handle = NULL;
    while (memory->blocks != NULL)
        block_destroy(device, memory, memory->blocks);
    rapt_mutex_destroy(&memory->lock);
    rapt_free(&device->runtime->allocator, memory, sizeof *memory);
}

/* ---- Ranges ---- */

/* Takes [offset, offset + size) out of a free range; the rest before and behind it stays free. false: no host
 * memory. */
static bool range_take(const rapt_allocator *a, memory_range *range, uint64_t offset, uint64_t size)
{
    const uint64_t before = offset - range->offset;
    const uint64_t behind = range->size - before - size;
    memory_range *head = NULL, *tail = NULL;
    if (before > 0)
        head = rapt_calloc(a, 1, sizeof *head);
    if (behind > 0)
        tail = rapt_calloc(a, 1, sizeof *tail);
    if ((before > 0 && head == NULL) || (behind > 0 && tail == NULL)) {
        rapt_free(a, head, sizeof *head);
        rapt_free(a, tail, sizeof *tail);
        return false;
    }
    if (head != NULL) {
        *head = (memory_range){
            .previous = range->previous,
            .next = range,
            .block = range->block,
            .offset = range->offset,
            .size = before,
        };
        if (head->previous != NULL)
            head->previous->next = head;
        else
            range->block->first = head;
        range->previous = head;
    }
    if (tail != NULL) {
        *tail = (memory_range){
            .previous = range,
            .next = range->next,
            .block = range->block,
            .offset = offset + size,
            .size = behind,
        };
        if (tail->next != NULL)
            tail->next->previous = tail;
        range->next = tail;
    }
    range->offset = offset;
    range->size = size;
    range->used = true;
    return true;
}

/* Adds `next`, which is free, to its predecessor. */
static void range_absorb_next(const rapt_allocator *a, memory_range *range)
{
    memory_range *next = range->next;
    range->size += next->size;
    range->next = next->next;
    if (range->next != NULL)
        range->next->previous = range;
    rapt_free(a, next, sizeof *next);
}

typedef enum fit { FIT_NONE, FIT_DONE, FIT_NO_HOST_MEMORY } fit;

static fit block_fit(rapt_device *device, rapt_memory *memory, memory_block *block, uint64_t size,
                     uint64_t align, rapt_allocation *out)
{
    for (memory_range *range = block->first; range != NULL; range = range->next) {
        if (range->used)
            continue;
        const uint64_t offset = rapt_align_up(range->offset, align);
        const uint64_t skipped = offset - range->offset;
        if (skipped > range->size || range->size - skipped < size)
            continue;
        if (!range_take(&device->runtime->allocator, range, offset, size))
            return FIT_NO_HOST_MEMORY;
        block->used += size;
        memory->info.used_bytes += size;
        memory->info.used_peak = RAPT_MAX(memory->info.used_peak, memory->info.used_bytes);
        *out = (rapt_allocation){
            .memory = block->memory,
            .offset = offset,
            .size = size,
            .mapped = block->mapped != NULL ? block->mapped + offset : NULL,
            .block = range,
        };
        return FIT_DONE;
    }
    return FIT_NONE;
}

/* ---- Choice of the memory type ---- */

/* How well a type serves a use; negative: not at all. 1,000 and more: as it should be; less: better than
 * nothing. */
static int type_score(const rapt_device *device, uint32_t type, rapt_memory_use use)
{
    const VkMemoryPropertyFlags flags = device->memory_properties.memoryTypes[type].propertyFlags;
    const bool local = (flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) != 0;
    const bool mapped = (flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0 &&
                        (flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) != 0;
    const bool cached = (flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT) != 0;
    /* Where device and host share the memory, mapping it costs nothing; across a bus, reading it does. */
    const bool shared = device->caps.device_type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ||
                        device->caps.device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    const VkMemoryPropertyFlags plain =
        VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
        VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    int score;
    if ((flags & ~plain) != 0)
        return -1; /* protected, lazy, uncached for the device, ..: not for us, some need features */
    switch (use) {
    case RAPT_MEMORY_DEVICE:
        score = local ? 1000 : 100;
        if (shared)
            score += (mapped ? 20 : 0) + (mapped && cached ? 10 : 0);
        else
            score -= (flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0 ? 10 : 0;
        return score;
    case RAPT_MEMORY_UPLOAD:
        if (!mapped)
            return -1;
        return 1000 - (local && !shared ? 20 : 0) - (cached && !shared ? 10 : 0);
    case RAPT_MEMORY_READBACK:
        if (!mapped)
            return -1;
        return 1000 + (cached ? 50 : 0) - (local && !shared ? 20 : 0);
    case RAPT_MEMORY_HOST:
        if (!mapped)
            return -1;
        return 1000 + (cached ? 10 : 0) - (local && !shared ? 500 : 0);
    }
    return -1;
}

/* Types allowed by `bits`, best first; of equals the one with the larger heap. */
static uint32_t types_in_order(const rapt_device *device, uint32_t bits, rapt_memory_use use,
                               uint32_t types[VK_MAX_MEMORY_TYPES], int scores[VK_MAX_MEMORY_TYPES])
{
    const VkPhysicalDeviceMemoryProperties *m = &device->memory_properties;
    uint32_t count = 0;
    for (uint32_t type = 0; type < m->memoryTypeCount && type < VK_MAX_MEMORY_TYPES; type++) {
        const int score = type_score(device, type, use);
        uint32_t i = count;
        if ((bits & 1u << type) == 0 || score < 0)
            continue;
        while (i > 0 && (scores[i - 1] < score ||
                         (scores[i - 1] == score && m->memoryHeaps[heap_of(device, types[i - 1])].size <
                                                        m->memoryHeaps[heap_of(device, type)].size))) {
            types[i] = types[i - 1];
            scores[i] = scores[i - 1];
            i--;
        }
        types[i] = type;
        scores[i] = score;
        count++;
    }
    return count;
}

/* What is left in each heap: by the driver's budget where it tells one, else by what we took ourselves. */
static void heaps_left(rapt_device *device, const rapt_memory *memory, uint64_t left[VK_MAX_MEMORY_HEAPS])
{
    const VkPhysicalDeviceMemoryProperties *m = &device->memory_properties;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT,
    };
    VkPhysicalDeviceMemoryProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = &budget,
    };
    if ((device->caps.features & RAPT_FEATURE_BIT(MEMORY_BUDGET)) != 0)
        device->instance.fn.vkGetPhysicalDeviceMemoryProperties2(device->physical, &properties);
    for (uint32_t i = 0; i < m->memoryHeapCount && i < VK_MAX_MEMORY_HEAPS; i++) {
        const uint64_t limit = budget.heapBudget[i] != 0 ? budget.heapBudget[i] : m->memoryHeaps[i].size;
        const uint64_t used = budget.heapBudget[i] != 0 ? budget.heapUsage[i] : memory->heap_bytes[i];
        left[i] = limit > used ? limit - used : 0;
    }
}

static bool is_out_of_memory(VkResult result)
{
    return result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY ||
           result == VK_ERROR_MEMORY_MAP_FAILED || result == VK_ERROR_TOO_MANY_OBJECTS;
}

/* A new block of `type` for a request of `size`: a shared one, smaller where the driver refuses, or one of
 * its own. */
static VkResult block_for(rapt_device *device, rapt_memory *memory, uint32_t type, uint64_t size,
                          uint64_t left, bool must_map, memory_block **out)
{
    const uint64_t heap = device->memory_properties.memoryHeaps[heap_of(device, type)].size;
    uint64_t shared = FIRST_BLOCK << RAPT_MIN(memory->shared_blocks[type], 2u);
    shared = RAPT_MIN(RAPT_MIN(shared, LARGEST_BLOCK), RAPT_MIN(heap / 8, device->caps.max_allocation));
    shared = shared / 4096 * 4096;
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    for (; size <= shared / 2 && shared >= SMALLEST_BLOCK; shared /= 2) {
        if (shared > left && shared / 2 >= SMALLEST_BLOCK && size <= shared / 4)
            continue; /* rather a smaller block than one above the budget */
        result = block_create(device, memory, type, shared, false, must_map, out);
        if (result == VK_SUCCESS || !is_out_of_memory(result))
            return result;
    }
    return block_create(device, memory, type, size, true, must_map, out);
}

rapt_status rapt_memory_alloc(rapt_device *device, const VkMemoryRequirements *need, rapt_memory_use use,
                              rapt_allocation *out, rapt_error *error)
{
    static const char *const uses[] = {"device", "upload", "readback", "host"};
    const VkPhysicalDeviceMemoryProperties *m = &device->memory_properties;
    rapt_memory *memory = device->memory;
    const uint64_t size = need->size;
    const uint64_t align = RAPT_MAX(need->alignment, 16);
    const bool must_map = use != RAPT_MEMORY_DEVICE;
    uint32_t types[VK_MAX_MEMORY_TYPES];
    int scores[VK_MAX_MEMORY_TYPES];
    uint64_t left[VK_MAX_MEMORY_HEAPS];
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    rapt_status status = RAPT_OK;
    memory_block *block = NULL;

    *out = (rapt_allocation){0};
    if (size > device->caps.max_allocation)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_DEVICE_MEMORY,
                         "asked for %" PRIu64 " bytes in one piece; the device allocates at most %" PRIu64,
                         size, device->caps.max_allocation);
    const uint32_t count = types_in_order(device, need->memoryTypeBits, use, types, scores);
    if (count == 0)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the device %s has no memory type for %s buffers",
                         device->caps.device_name, uses[use]);

    rapt_mutex_lock(&memory->lock);
    bool room = false;
    for (uint32_t i = 0; i < count; i++) {
        if (scores[i] != scores[0] && heap_of(device, types[i]) != heap_of(device, types[0]) &&
            scores[i] < 1000)
            break; /* a poorer kind of memory: only when new blocks of the better one are refused */
        for (memory_block *b = memory->blocks; b != NULL; b = b->next) {
            if (b->type != types[i] || b->dedicated || (must_map && b->mapped == NULL))
                continue;
            const fit found = block_fit(device, memory, b, size, align, out);
            if (found == FIT_DONE)
                goto done;
            if (found == FIT_NO_HOST_MEMORY) {
                status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                                   "no memory to note a range of device memory");
                goto done;
            }
        }
    }
    heaps_left(device, memory, left);
    if (memory->info.allocations >= memory->max_allocations) {
        status =
            rapt_fail(error, RAPT_ERROR_OUT_OF_DEVICE_MEMORY,
                      "asked for %" PRIu64 " bytes; the device's limit of %" PRIu32 " allocations is reached",
                      size, memory->max_allocations);
        goto done;
    }
    /* First within the budgets, then above them (the driver may make room), always the better types first. */
    for (int pass = 0; pass < 2 && block == NULL; pass++) {
        for (uint32_t i = 0; i < count && block == NULL; i++) {
            const uint32_t heap = heap_of(device, types[i]);
            const bool within = size <= left[heap];
            if (size > m->memoryHeaps[heap].size || within != (pass == 0))
                continue;
            room = true;
            result = block_for(device, memory, types[i], size, left[heap], must_map, &block);
            if (result != VK_SUCCESS && !is_out_of_memory(result)) {
                status = rapt_vk_check(device, result, "vkAllocateMemory", error);
                goto done;
            }
            if (result == VK_SUCCESS && scores[i] < 1000 && scores[0] >= 1000)
                rapt_log_write(&device->runtime->log, RAPT_LOG_WARNING,
                               "%s: %" PRIu64 " bytes for a %s buffer lie in slower memory (type %" PRIu32
                               "): the device's own is full",
                               device->caps.device_name, size, uses[use], types[i]);
        }
    }
    if (block == NULL) {
        const uint32_t heap = heap_of(device, types[0]);
        status = rapt_fail(error, RAPT_ERROR_OUT_OF_DEVICE_MEMORY,
                           "asked for %" PRIu64 " bytes for a %s buffer: %s; heap %" PRIu32
                           " of %s has %" PRIu64 " bytes, its budget leaves %" PRIu64 ", rapt holds %" PRIu64,
                           size, uses[use], room ? rapt_vk_result_name(result) : "larger than the heap", heap,
                           device->caps.device_name, m->memoryHeaps[heap].size, left[heap],
                           memory->heap_bytes[heap]);
        goto done;
    }
    if (block_fit(device, memory, block, size, align, out) != FIT_DONE) {
        block_destroy(device, memory, block);
        status =
            rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory to note a range of device memory");
    }

done:
    rapt_mutex_unlock(&memory->lock);
    return status;
}

void rapt_memory_free(rapt_device *device, rapt_allocation *allocation)
{
    memory_range *range = allocation->block;
    rapt_memory *memory = device->memory;
    const rapt_allocator *a = &device->runtime->allocator;
    if (range == NULL)
        return;
    rapt_mutex_lock(&memory->lock);
    memory_block *block = range->block;
    block->used -= range->size;
    memory->info.used_bytes -= range->size;
    range->used = false;
    if (range->next != NULL && !range->next->used)
        range_absorb_next(a, range);
    if (range->previous != NULL && !range->previous->used)
        range_absorb_next(a, range->previous);
    if (block->used == 0) {
        /* One empty block of a type stays, for the next request. */
        bool spare = block->dedicated;
        for (memory_block *b = memory->blocks; b != NULL && !spare; b = b->next)
            spare = b != block && b->type == block->type && !b->dedicated && b->used == 0;
        if (spare)
            block_destroy(device, memory, block);
    }
    rapt_mutex_unlock(&memory->lock);
    *allocation = (rapt_allocation){0};
}

void rapt_device_memory(const rapt_device *device, rapt_memory_info *info)
{
    if (info == NULL)
        return;
    *info = (rapt_memory_info){0};
    if (device == NULL || device->memory == NULL)
        return;
    rapt_mutex_lock(&device->memory->lock);
    *info = device->memory->info;
    rapt_mutex_unlock(&device->memory->lock);
}
