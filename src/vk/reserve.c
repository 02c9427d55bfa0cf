/* Buffers whose memory comes piece by piece: sparse residency, where the device and its queue have it. Not for texel views: through
 * one, lavapipe 25.0 reads other bytes than are there (tests/reserve_test.c found it). */
#include "vk/internal.h"
#include <inttypes.h>

#define PIECE (2ull << 20) /* at least, but for the last */
#define BIND_TIMEOUT_NS (600ull * 1000 * 1000 * 1000)

static bool binds_pieces(const rapt_device *device)
{
    VkQueueFamilyProperties families[RAPT_MAX_FAMILIES];
    if ((device->caps.features & RAPT_FEATURE_BIT(SPARSE_BUFFER)) == 0)
        return false;
    const uint32_t count = rapt_queue_families(&device->instance, device->physical, families);
    return device->queue_family < count && (families[device->queue_family].queueFlags & VK_QUEUE_SPARSE_BINDING_BIT) != 0;
}

rapt_status rapt_buffer_reserve(rapt_device *device, uint64_t bytes, rapt_buffer **out, rapt_error *error)
{
    if (out == NULL || device == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_reserve: %s is NULL", out == NULL ? "buffer" : "device");
    *out = NULL;
    if (bytes == 0 || bytes > INT64_MAX || !binds_pieces(device))
        return rapt_buffer_create(device, bytes, out, error);
    rapt_status status = rapt_device_alive(device, error);
    if (status != RAPT_OK)
        return status;
    VkPhysicalDeviceProperties properties;
    device->instance.fn.vkGetPhysicalDeviceProperties(device->physical, &properties);
    if (bytes > properties.limits.sparseAddressSpaceSize)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%" PRIu64 " bytes are more than the %" PRIu64 " that %s can address in such buffers",
                         bytes, (uint64_t)properties.limits.sparseAddressSpaceSize, device->caps.device_name);
    const rapt_allocator *a = &device->runtime->allocator;
    rapt_buffer *buffer = rapt_calloc(a, 1, sizeof *buffer);
    if (buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a buffer object");
    const VkBufferCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .flags = VK_BUFFER_CREATE_SPARSE_BINDING_BIT | VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT,
        .size = rapt_align_up(bytes, 16),
        .usage = rapt_usage_of_device(device) & ~(VkBufferUsageFlags)VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    *buffer = (rapt_buffer){.device = device,
                            .size = bytes,
                            .capacity = create.size,
                            .usage = rapt_usage_from_vulkan(create.usage),
                            .owned = true};
    const VkResult result = device->fn.vkCreateBuffer(device->handle, &create, NULL, &buffer->handle);
    if (result != VK_SUCCESS) {
        buffer->handle = VK_NULL_HANDLE;
        status = rapt_vk_check(device, result, "vkCreateBuffer", error);
        rapt_buffer_destroy(&buffer);
        return rapt_fail_prefix(error, status, "reserving %" PRIu64 " bytes", bytes);
    }
    device->fn.vkGetBufferMemoryRequirements(device->handle, buffer->handle, &buffer->need);
    const uint64_t room = rapt_div_up(buffer->need.size, PIECE);
    buffer->pieces = room <= UINT32_MAX ? rapt_calloc(a, (size_t)room, sizeof *buffer->pieces) : NULL;
    if (buffer->pieces == NULL) {
        rapt_buffer_destroy(&buffer);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the pieces of %" PRIu64 " bytes", bytes);
    }
    buffer->piece_room = (uint32_t)room;
    *out = buffer;
    return RAPT_OK;
}

/* Binds memory to [offset, offset + piece->size) of the buffer, and waits for it. */
static rapt_status bind_piece(rapt_buffer *buffer, uint64_t offset, uint64_t size, const rapt_allocation *piece, rapt_error *error)
{
    rapt_device *device = buffer->device;
    VkFence fence = VK_NULL_HANDLE;
    const VkFenceCreateInfo create = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    const VkResult result = device->fn.vkCreateFence(device->handle, &create, NULL, &fence);
    if (result != VK_SUCCESS)
        return rapt_vk_check(device, result, "vkCreateFence", error);
    const VkSparseMemoryBind range = {.resourceOffset = offset, .size = size, .memory = piece->memory, .memoryOffset = piece->offset};
    const VkSparseBufferMemoryBindInfo ranges = {.buffer = buffer->handle, .bindCount = 1, .pBinds = &range};
    const VkBindSparseInfo bind = {.sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO, .bufferBindCount = 1, .pBufferBinds = &ranges};
    rapt_status status = rapt_queue_bind_sparse(device, &bind, fence, error);
    if (status == RAPT_OK) {
        status = rapt_fence_wait(device, fence, BIND_TIMEOUT_NS, NULL);
        if (status != RAPT_OK)
            status = rapt_fence_wait(device, fence, status == RAPT_ERROR_TIMEOUT ? 0 : BIND_TIMEOUT_NS, error); /* no memory for waiting, say */
        if (status != RAPT_OK)
            rapt_device_note_hung(device); /* the queue may still bind: neither fence nor memory goes */
    }
    if (!atomic_load(&device->hung))
        device->fn.vkDestroyFence(device->handle, fence, NULL);
    return status;
}

/* One piece more towards so many bytes. Pieces end at multiples of the alignment, or with the buffer; each but the last has PIECE bytes
 * at least, and none more than the device allocates at once. */
static rapt_status back_some(rapt_buffer *buffer, uint64_t bytes, rapt_error *error)
{
    VkMemoryRequirements need = buffer->need;
    const uint64_t first = rapt_align_up(buffer->backed, need.alignment), wanted = RAPT_MAX(bytes, first) - first;
    const uint64_t most = RAPT_MAX(buffer->device->caps.max_allocation / need.alignment * need.alignment, PIECE);
    need.size = RAPT_MIN(rapt_align_up(RAPT_MAX(RAPT_MIN(wanted, most), PIECE), need.alignment), buffer->need.size - first);
    rapt_allocation piece = {0};
    rapt_status status = rapt_memory_alloc(buffer->device, &need, RAPT_MEMORY_DEVICE, &piece, error);
    if (status != RAPT_OK)
        return rapt_fail_prefix(error, status, "%" PRIu64 " of %" PRIu64 " reserved bytes have memory", buffer->backed, buffer->size);
    status = bind_piece(buffer, first, need.size, &piece, error);
    if (status != RAPT_OK) {
        if (!atomic_load(&buffer->device->hung))
            rapt_memory_free(buffer->device, &piece);
        return status;
    }
    buffer->pieces[buffer->piece_count++] = piece;
    buffer->backed = RAPT_MIN(first + need.size, buffer->size);
    return RAPT_OK;
}

rapt_status rapt_buffer_back(rapt_buffer *buffer, uint64_t bytes, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    if (buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_back: buffer is NULL");
    if (bytes > buffer->size)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_back: %" PRIu64 " bytes; %" PRIu64 " were reserved", bytes, buffer->size);
    while (status == RAPT_OK && buffer->backed < bytes)
        status = back_some(buffer, bytes, error);
    return status;
}

uint64_t rapt_buffer_backed(const rapt_buffer *buffer)
{
    return buffer != NULL ? buffer->backed : 0;
}
