/* Buffers, and the blocking copies between them and the host. */
#include "vk/internal.h"
#include <inttypes.h>

#define LARGEST_STAGING (16ull << 20)
#define SMALLEST_STAGING (64ull << 10)
#define TRANSFER_TIMEOUT_NS (600ull * 1000 * 1000 * 1000)

static const struct {
    rapt_buffer_usage usage;
    VkBufferUsageFlags flag;
} usages[] = {
    {RAPT_BUFFER_STORAGE, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT},
    {RAPT_BUFFER_UNIFORM_TEXEL, VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT},
    {RAPT_BUFFER_TRANSFER_SRC, VK_BUFFER_USAGE_TRANSFER_SRC_BIT},
    {RAPT_BUFFER_TRANSFER_DST, VK_BUFFER_USAGE_TRANSFER_DST_BIT},
    {RAPT_BUFFER_INDIRECT, VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT},
    {RAPT_BUFFER_DEVICE_ADDRESS, VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT},
};

uint32_t rapt_usage_from_vulkan(VkBufferUsageFlags flags)
{
    uint32_t usage = 0;
    for (size_t i = 0; i < RAPT_COUNT(usages); i++)
        if ((flags & usages[i].flag) != 0)
            usage |= (uint32_t)usages[i].usage;
    return usage;
}

VkBufferUsageFlags rapt_usage_of_device(const rapt_device *device)
{
    VkBufferUsageFlags flags = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT |
                               VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                               VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT;
    if ((device->caps.features & RAPT_FEATURE_BIT(BUFFER_DEVICE_ADDRESS)) != 0)
        flags |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    return flags;
}

static rapt_status buffer_create(rapt_device *device, uint64_t bytes, rapt_memory_use use,
                                 VkBufferUsageFlags more, rapt_buffer **out, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    const VkBufferUsageFlags flags = rapt_usage_of_device(device) | more;
    VkMemoryRequirements need = {0};
    VkResult result;
    *out = NULL;
    rapt_status status = rapt_device_alive(device, error);
    if (status != RAPT_OK)
        return status;
    if (bytes == 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a buffer needs at least 1 byte");
    if (bytes > UINT64_MAX - 15 || rapt_align_up(bytes, 16) > device->caps.max_allocation)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_DEVICE_MEMORY,
                         "asked for a buffer of %" PRIu64 " bytes; the device %s allocates at most %" PRIu64
                         " in one piece (its largest heap has %" PRIu64 ")",
                         bytes, device->caps.device_name, device->caps.max_allocation,
                         device->caps.device_heap);
    rapt_buffer *buffer = rapt_calloc(a, 1, sizeof *buffer);
    if (buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a buffer object");
    buffer->device = device;
    buffer->size = bytes;
    buffer->backed = bytes;
    buffer->capacity = rapt_align_up(bytes, 16);
    buffer->usage = rapt_usage_from_vulkan(flags);
    buffer->owned = true;
    const VkBufferCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = buffer->capacity,
        .usage = flags,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    result = device->fn.vkCreateBuffer(device->handle, &create, NULL, &buffer->handle);
    if (result != VK_SUCCESS) {
        buffer->handle = VK_NULL_HANDLE;
        status = rapt_vk_check(device, result, "vkCreateBuffer", error);
        goto fail;
    }
    device->fn.vkGetBufferMemoryRequirements(device->handle, buffer->handle, &need);
    status = rapt_memory_alloc(device, &need, use, &buffer->allocation, error);
    if (status != RAPT_OK)
        goto fail;
    result = device->fn.vkBindBufferMemory(device->handle, buffer->handle, buffer->allocation.memory,
                                           buffer->allocation.offset);
    status = rapt_vk_check(device, result, "vkBindBufferMemory", error);
    if (status != RAPT_OK)
        goto fail;
    buffer->mapped = buffer->allocation.mapped;
    *out = buffer;
    return RAPT_OK;

fail:
    rapt_buffer_destroy(&buffer);
    return status;
}

rapt_status rapt_buffer_create(rapt_device *device, uint64_t bytes, rapt_buffer **buffer, rapt_error *error)
{
    if (buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_create: buffer is NULL");
    *buffer = NULL;
    if (device == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_create: device is NULL");
    return buffer_create(device, bytes, RAPT_MEMORY_DEVICE, 0, buffer, error);
}

rapt_status rapt_buffer_create_host(rapt_device *device, uint64_t bytes, rapt_buffer **buffer, rapt_error *error)
{
    if (buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_create_host: buffer is NULL");
    *buffer = NULL;
    if (device == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_create_host: device is NULL");
    return buffer_create(device, bytes, RAPT_MEMORY_HOST, 0, buffer, error);
}

void *rapt_buffer_map(rapt_buffer *buffer)
{
    return buffer != NULL ? buffer->mapped : NULL;
}

rapt_status rapt_buffer_create_internal(rapt_device *device, uint64_t bytes, rapt_memory_use use,
                                        rapt_buffer **buffer, rapt_error *error)
{
    return buffer_create(device, bytes, use, VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT, buffer, error);
}

rapt_status rapt_buffer_wrap(rapt_device *device, const rapt_vulkan_buffer *given, rapt_buffer **out,
                             rapt_error *error)
{
    rapt_vulkan_buffer info = RAPT_VULKAN_BUFFER_INIT;
    uint64_t end;
    if (out == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_wrap: buffer is NULL");
    *out = NULL;
    if (device == NULL || given == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_wrap: %s is NULL",
                         device == NULL ? "device" : "info");
    rapt_status status = rapt_options_take(&info, sizeof info, given, "rapt_vulkan_buffer", error);
    if (status != RAPT_OK)
        return status;
    if (info.buffer == VK_NULL_HANDLE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_vulkan_buffer.buffer is VK_NULL_HANDLE");
    if (info.bytes == 0 || !rapt_add_u64(info.offset, info.bytes, &end))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "rapt_vulkan_buffer: %" PRIu64 " bytes at offset %" PRIu64 " are not a range",
                         info.bytes, info.offset);
    rapt_buffer *buffer = rapt_calloc(&device->runtime->allocator, 1, sizeof *buffer);
    if (buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a buffer object");
    buffer->device = device;
    buffer->handle = info.buffer;
    buffer->offset = info.offset;
    buffer->size = info.bytes;
    buffer->backed = info.bytes;
    buffer->capacity = info.bytes; /* what lies behind is the app's */
    buffer->usage = rapt_usage_from_vulkan(info.usage);
    if ((device->caps.features & RAPT_FEATURE_BIT(BUFFER_DEVICE_ADDRESS)) == 0)
        buffer->usage &= ~(uint32_t)RAPT_BUFFER_DEVICE_ADDRESS;
    buffer->mapped = info.mapped;
    *out = buffer;
    return RAPT_OK;
}

void rapt_buffer_destroy(rapt_buffer **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    rapt_buffer *buffer = *handle;
    rapt_device *device = buffer->device;
    *handle = NULL;
    if (buffer->owned && !atomic_load(&device->hung)) { /* else the device may still touch it */
        if (buffer->handle != VK_NULL_HANDLE)
            device->fn.vkDestroyBuffer(device->handle, buffer->handle, NULL);
        rapt_memory_free(device, &buffer->allocation);
        for (uint32_t n = 0; n < buffer->piece_count; n++)
            rapt_memory_free(device, &buffer->pieces[n]);
    }
    rapt_free(&device->runtime->allocator, buffer->pieces, buffer->piece_room * sizeof *buffer->pieces);
    rapt_free(&device->runtime->allocator, buffer, sizeof *buffer);
}

uint64_t rapt_buffer_size(const rapt_buffer *buffer)
{
    return buffer != NULL ? buffer->size : 0;
}

uint32_t rapt_buffer_uses(const rapt_buffer *buffer)
{
    return buffer != NULL ? buffer->usage : 0;
}

VkBuffer rapt_buffer_handle(const rapt_buffer *buffer, uint64_t *offset)
{
    if (offset != NULL)
        *offset = buffer != NULL ? buffer->offset : 0;
    return buffer != NULL ? buffer->handle : VK_NULL_HANDLE;
}

/* ---- Transfers: all under device->transfer_lock ---- */

/* Makes the command pool, buffer and fence on first use. What is already there stays when a later one fails.
 */
static rapt_status transfer_objects(rapt_device *device, rapt_error *error)
{
    VkResult result = VK_SUCCESS;
    if (device->transfer_pool == VK_NULL_HANDLE) {
        const VkCommandPoolCreateInfo pool = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
            .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
            .queueFamilyIndex = device->queue_family,
        };
        result = device->fn.vkCreateCommandPool(device->handle, &pool, NULL, &device->transfer_pool);
        if (result != VK_SUCCESS) {
            device->transfer_pool = VK_NULL_HANDLE;
            return rapt_vk_check(device, result, "vkCreateCommandPool", error);
        }
    }
    if (device->transfer_commands == NULL) {
        const VkCommandBufferAllocateInfo allocate = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = device->transfer_pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        result = device->fn.vkAllocateCommandBuffers(device->handle, &allocate, &device->transfer_commands);
        if (result != VK_SUCCESS) {
            device->transfer_commands = NULL;
            return rapt_vk_check(device, result, "vkAllocateCommandBuffers", error);
        }
    }
    if (device->transfer_fence == VK_NULL_HANDLE) {
        const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
        result = device->fn.vkCreateFence(device->handle, &fence, NULL, &device->transfer_fence);
        if (result != VK_SUCCESS) {
            device->transfer_fence = VK_NULL_HANDLE;
            return rapt_vk_check(device, result, "vkCreateFence", error);
        }
    }
    return RAPT_OK;
}

/* Waits for the transfer in flight; when that times out it stays pending, and nothing reuses its command
 * buffer. */
static rapt_status transfer_wait(rapt_device *device, rapt_error *error)
{
    rapt_status status = rapt_fence_wait(device, device->transfer_fence, device->transfer_timeout, error);
    if (status == RAPT_OK)
        device->transfer_pending = false;
    return status;
}

/* Both sides of every transfer: all that was written before is visible, all that comes after waits. A full
 * memory dependency, since some drivers drop execution-only ones. */
static void full_barrier(rapt_device *device, VkPipelineStageFlags from, VkAccessFlags from_access,
                         VkPipelineStageFlags to, VkAccessFlags to_access)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = from_access,
        .dstAccessMask = to_access,
    };
    device->fn.vkCmdPipelineBarrier(device->transfer_commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static rapt_status transfer_begin(rapt_device *device, rapt_error *error)
{
    rapt_status status = rapt_device_alive(device, error);
    if (status != RAPT_OK)
        return status;
    status = transfer_objects(device, error);
    if (status != RAPT_OK)
        return status;
    if (device->transfer_pending) {
        status = transfer_wait(device, error);
        if (status != RAPT_OK)
            return rapt_fail_prefix(error, status, "an earlier transfer is still under way");
    }
    VkResult result = device->fn.vkResetFences(device->handle, 1, &device->transfer_fence);
    status = rapt_vk_check(device, result, "vkResetFences", error);
    if (status != RAPT_OK)
        return status;
    result = device->fn.vkResetCommandPool(device->handle, device->transfer_pool, 0);
    status = rapt_vk_check(device, result, "vkResetCommandPool", error);
    if (status != RAPT_OK)
        return status;
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    result = device->fn.vkBeginCommandBuffer(device->transfer_commands, &begin);
    status = rapt_vk_check(device, result, "vkBeginCommandBuffer", error);
    if (status != RAPT_OK)
        return status;
    full_barrier(device, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                 VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
                 VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
    return RAPT_OK;
}

static rapt_status transfer_end(rapt_device *device, rapt_error *error)
{
    full_barrier(device, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                 VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT,
                 VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT,
                 VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT | VK_ACCESS_HOST_READ_BIT |
                     VK_ACCESS_HOST_WRITE_BIT);
    VkResult result = device->fn.vkEndCommandBuffer(device->transfer_commands);
    rapt_status status = rapt_vk_check(device, result, "vkEndCommandBuffer", error);
    if (status != RAPT_OK)
        return status;
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &device->transfer_commands,
    };
    const uint64_t before = rapt_queue_submitted(device);
    status = rapt_queue_submit(device, &submit, device->transfer_fence, error);
    if (status != RAPT_OK)
        return status;
    device->transfer_pending = true;
    status = transfer_wait(device, error);
    /* Our own batch is done, and with it all that were submitted before it, at least `before` + 1 in all. */
    if (status == RAPT_OK)
        device->drained = RAPT_MAX(device->drained, before + 1);
    return status;
}

/* Waits for all that was submitted, and makes its writes visible to the host. */
static rapt_status drain(rapt_device *device, rapt_error *error)
{
    rapt_status status = transfer_begin(device, error);
    return status == RAPT_OK ? transfer_end(device, error) : status;
}

/* A staging buffer for pieces of a transfer of `bytes`: kept, and replaced by a larger one when that is worth
 * it. */
static rapt_status staging_for(rapt_device *device, uint64_t bytes, rapt_error *error)
{
    uint64_t size = SMALLEST_STAGING;
    rapt_buffer *larger = NULL;
    rapt_status status = RAPT_OK;
    while (size < bytes && size < LARGEST_STAGING)
        size *= 2;
    if (device->staging != NULL && device->staging->size >= size)
        return RAPT_OK;
    /* Cached memory: the host reads it at full speed, and writes it no slower. */
    for (; size >= SMALLEST_STAGING; size /= 2) {
        if (device->staging != NULL && device->staging->size >= size)
            return RAPT_OK; /* no memory for a larger one, but this one serves */
        status = rapt_buffer_create_internal(device, size, RAPT_MEMORY_READBACK, &larger, error);
        if (status != RAPT_ERROR_OUT_OF_DEVICE_MEMORY)
            break;
    }
    if (status != RAPT_OK)
        return device->staging != NULL && status != RAPT_ERROR_DEVICE_LOST
                   ? RAPT_OK
                   : rapt_fail_prefix(error, status, "staging buffer");
    rapt_buffer_destroy(&device->staging);
    device->staging = larger;
    return RAPT_OK;
}

static rapt_status check_range(const rapt_buffer *buffer, uint64_t offset, uint64_t bytes, const char *call,
                               rapt_error *error)
{
    uint64_t end;
    if (buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: buffer is NULL", call);
    if (!rapt_add_u64(offset, bytes, &end) || end > buffer->size)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "%s: %" PRIu64 " bytes at offset %" PRIu64 " do not lie in a buffer of %" PRIu64,
                         call, bytes, offset, buffer->size);
    if (end > buffer->backed)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "%s: %" PRIu64 " bytes at offset %" PRIu64 " lie beyond the %" PRIu64 " that have memory (rapt_buffer_back)",
                         call, bytes, offset, buffer->backed);
    return rapt_device_alive(buffer->device, error);
}

static rapt_status check_usage(const rapt_buffer *buffer, rapt_buffer_usage usage, const char *call,
                               rapt_error *error)
{
    if ((buffer->usage & (uint32_t)usage) != 0)
        return RAPT_OK;
    return rapt_fail(
        error, RAPT_ERROR_UNSUPPORTED,
        "%s: the wrapped buffer is not mapped and was not created with VK_BUFFER_USAGE_TRANSFER_%s_BIT", call,
        usage == RAPT_BUFFER_TRANSFER_SRC ? "SRC" : "DST");
}

/* Copies between the host and a buffer in pieces of the staging buffer's size: from `data` where it is not
 * NULL, by repeating `pattern` where both are NULL, else to `out`. */
static rapt_status staged_copy(rapt_buffer *buffer, uint64_t offset, uint64_t bytes, const char *data,
                               char *out, uint32_t pattern, rapt_error *error)
{
    rapt_device *device = buffer->device;
    rapt_status status = staging_for(device, bytes, error);
    if (status != RAPT_OK)
        return status;
    /* A transfer that timed out may still read or write the staging buffer. */
    if (device->transfer_pending) {
        status = transfer_wait(device, error);
        if (status != RAPT_OK)
            return rapt_fail_prefix(error, status, "an earlier transfer is still under way");
    }
    rapt_buffer *staging = device->staging;
    for (uint64_t done = 0; done < bytes;) {
        const uint64_t piece = RAPT_MIN(bytes - done, staging->size);
        VkBufferCopy region = {.size = piece};
        if (data != NULL) {
            memcpy(staging->mapped, data + done, (size_t)piece);
        } else if (out == NULL) {
            for (uint64_t i = 0; i < piece; i += sizeof pattern)
                memcpy((char *)staging->mapped + i, &pattern, sizeof pattern);
        }
        status = transfer_begin(device, error);
        if (status != RAPT_OK)
            return status;
        if (out == NULL) {
            region.dstOffset = buffer->offset + offset + done;
            device->fn.vkCmdCopyBuffer(device->transfer_commands, staging->handle, buffer->handle, 1,
                                       &region);
        } else {
            region.srcOffset = buffer->offset + offset + done;
            device->fn.vkCmdCopyBuffer(device->transfer_commands, buffer->handle, staging->handle, 1,
                                       &region);
        }
        status = transfer_end(device, error);
        if (status != RAPT_OK)
            return status;
        if (out != NULL)
            memcpy(out + done, staging->mapped, (size_t)piece);
        done += piece;
    }
    return RAPT_OK;
}

/* Begins and ends the use of the transfer's objects, each wait of which is to end after `timeout`. */
static void transfer_lock(rapt_device *device, uint64_t timeout)
{
    rapt_mutex_lock(&device->transfer_lock);
    device->transfer_timeout = timeout;
}

rapt_status rapt_buffer_upload(rapt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                               rapt_error *error)
{
    return rapt_buffer_upload_within(buffer, offset, data, bytes, TRANSFER_TIMEOUT_NS, error);
}

rapt_status rapt_buffer_download(rapt_buffer *buffer, uint64_t offset, void *data, uint64_t bytes,
                                 rapt_error *error)
{
    return rapt_buffer_download_within(buffer, offset, data, bytes, TRANSFER_TIMEOUT_NS, error);
}

rapt_status rapt_buffer_upload_within(rapt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                                      uint64_t timeout, rapt_error *error)
{
    rapt_status status = check_range(buffer, offset, bytes, "rapt_buffer_upload", error);
    if (status != RAPT_OK || bytes == 0)
        return status;
    if (data == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_upload: data is NULL");
    rapt_device *device = buffer->device;
    transfer_lock(device, timeout);
    if (buffer->mapped != NULL) {
        /* Work in flight may still read what is about to be overwritten. */
        if (rapt_queue_submitted(device) != device->drained)
            status = drain(device, error);
        if (status == RAPT_OK)
            memcpy((char *)buffer->mapped + offset, data, (size_t)bytes);
    } else {
        status = check_usage(buffer, RAPT_BUFFER_TRANSFER_DST, "rapt_buffer_upload", error);
        if (status == RAPT_OK)
            status = staged_copy(buffer, offset, bytes, data, NULL, 0, error);
    }
    rapt_mutex_unlock(&device->transfer_lock);
    return status;
}

rapt_status rapt_buffer_download_within(rapt_buffer *buffer, uint64_t offset, void *data, uint64_t bytes,
                                        uint64_t timeout, rapt_error *error)
{
    rapt_status status = check_range(buffer, offset, bytes, "rapt_buffer_download", error);
    if (status != RAPT_OK || bytes == 0)
        return status;
    if (data == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_buffer_download: data is NULL");
    rapt_device *device = buffer->device;
    transfer_lock(device, timeout);
    if (buffer->mapped != NULL) {
        /* Always: work that the app recorded and submitted itself is not in our count. */
        status = drain(device, error);
        if (status == RAPT_OK)
            memcpy(data, (const char *)buffer->mapped + offset, (size_t)bytes);
    } else {
        status = check_usage(buffer, RAPT_BUFFER_TRANSFER_SRC, "rapt_buffer_download", error);
        if (status == RAPT_OK)
            status = staged_copy(buffer, offset, bytes, NULL, data, 0, error);
    }
    rapt_mutex_unlock(&device->transfer_lock);
    return status;
}

rapt_status rapt_buffer_fill(rapt_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                             rapt_error *error)
{
    rapt_status status = check_range(buffer, offset, bytes, "rapt_buffer_fill", error);
    if (status != RAPT_OK)
        return status;
    if (offset % 4 != 0 || bytes % 4 != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "rapt_buffer_fill: offset %" PRIu64 " and %" PRIu64 " bytes must be multiples of 4",
                         offset, bytes);
    if (bytes == 0)
        return RAPT_OK;
    rapt_device *device = buffer->device;
    transfer_lock(device, TRANSFER_TIMEOUT_NS);
    if (buffer->mapped != NULL) {
        if (rapt_queue_submitted(device) != device->drained)
            status = drain(device, error);
        for (uint64_t i = 0; status == RAPT_OK && i < bytes; i += sizeof pattern)
            memcpy((char *)buffer->mapped + offset + i, &pattern, sizeof pattern);
        goto done;
    }
    status = check_usage(buffer, RAPT_BUFFER_TRANSFER_DST, "rapt_buffer_fill", error);
    if (status != RAPT_OK)
        goto done;
    if ((buffer->offset + offset) % 4 !=
        0) { /* a wrapped range may start anywhere; vkCmdFillBuffer may not */
        status = staged_copy(buffer, offset, bytes, NULL, NULL, pattern, error);
        goto done;
    }
    status = transfer_begin(device, error);
    if (status != RAPT_OK)
        goto done;
    device->fn.vkCmdFillBuffer(device->transfer_commands, buffer->handle, buffer->offset + offset, bytes,
                               pattern);
    status = transfer_end(device, error);

done:
    rapt_mutex_unlock(&device->transfer_lock);
    return status;
}

rapt_status rapt_device_executes(rapt_device *device, bool *executes, rapt_error *error)
{
    const uint32_t pattern = 0x72617074u;
    *executes = false;
    transfer_lock(device, TRANSFER_TIMEOUT_NS);
    /* In the staging buffer, which lives as long as the device: if the wait fails, it may be written later.
     */
    rapt_status status = staging_for(device, sizeof pattern, error);
    if (status != RAPT_OK)
        goto done;
    memset(device->staging->mapped, 0, sizeof pattern);
    status = transfer_begin(device, error);
    if (status != RAPT_OK)
        goto done;
    device->fn.vkCmdFillBuffer(device->transfer_commands, device->staging->handle, 0, sizeof pattern,
                               pattern);
    status = transfer_end(device, error);
    if (status == RAPT_OK)
        *executes = memcmp(device->staging->mapped, &pattern, sizeof pattern) == 0;

done:
    rapt_mutex_unlock(&device->transfer_lock);
    return status;
}
