/* Gauges of transfers between the host's memory and the device's, and of the copy command. */
#include "measure/gauge.h"

#include <string.h>

#define BYTES RAPT_TRANSFER_BYTES
#define MOST_REPEATS 64

typedef struct transfer {
    uint8_t *host;
    rapt_buffer *device, *other; /* device memory */
    rapt_buffer *stage;          /* mapped */
    VkBuffer buffer;             /* of one memory type */
    VkDeviceMemory memory;
    uint8_t *mapped;
    bool coherent;
    uint32_t pattern; /* of what is moved; another one each proof */
} transfer;

const char *rapt_transfer_refusal(VkMemoryPropertyFlags flags)
{
    const VkMemoryPropertyFlags plain =
        VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
        VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    if ((flags & ~plain) != 0)
        return "this memory type has properties that need features which rapt does not enable";
    return NULL;
}

static bool is_mapped(const rapt_session *s)
{
    return s->gauge->variant == RAPT_TRANSFER_WRITE_MAPPED || s->gauge->variant == RAPT_TRANSFER_READ_MAPPED;
}

/* A buffer in memory of exactly that type. */
static rapt_status open_typed(rapt_session *s, rapt_error *error)
{
    transfer *g = s->state;
    rapt_device *device = s->device;
    const uint32_t type = s->gauge->detail;
    VkBufferCreateInfo create = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                 .size = BYTES,
                                 .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                                 .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
    rapt_status status =
        rapt_vk_check(device, device->fn.vkCreateBuffer(device->handle, &create, NULL, &g->buffer),
                      "vkCreateBuffer", error);
    if (status != RAPT_OK)
        return status;
    VkMemoryRequirements need;
    device->fn.vkGetBufferMemoryRequirements(device->handle, g->buffer, &need);
    if ((need.memoryTypeBits >> type & 1) == 0)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "gauge '%s': %s has no buffers in memory type %u",
                         s->gauge->info.name, device->caps.device_name, type);
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .allocationSize = need.size,
                                     .memoryTypeIndex = type};
    void *mapped;
    status = rapt_vk_check(device, device->fn.vkAllocateMemory(device->handle, &allocate, NULL, &g->memory),
                           "vkAllocateMemory", error);
    if (status == RAPT_OK)
        status = rapt_vk_check(device, device->fn.vkBindBufferMemory(device->handle, g->buffer, g->memory, 0),
                               "vkBindBufferMemory", error);
    if (status == RAPT_OK)
        status = rapt_vk_check(
            device, device->fn.vkMapMemory(device->handle, g->memory, 0, VK_WHOLE_SIZE, 0, &mapped),
            "vkMapMemory", error);
    if (status != RAPT_OK)
        return status;
    g->mapped = mapped;
    g->coherent = (device->memory_properties.memoryTypes[type].propertyFlags &
                   VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) != 0;
    return RAPT_OK;
}

static void fill_host(uint32_t *words, uint32_t pattern)
{
    for (uint64_t i = 0; i < BYTES / 4; i++)
        words[i] = pattern ^ (uint32_t)i;
}

static rapt_status open_transfer(rapt_session *s, rapt_error *error)
{
    transfer *g = s->state;
    rapt_status status = RAPT_OK;
    g->pattern = 0x5eed0001u ^ (uint32_t)rapt_now_ns(); /* memory may still hold what an earlier run copied */
    s->most = MOST_REPEATS;
    g->host = rapt_calloc(&s->device->runtime->allocator, 1, BYTES);
    if (g->host == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %llu bytes on the host", BYTES);
    fill_host((uint32_t *)(void *)g->host, g->pattern);
    if (is_mapped(s)) {
        status = open_typed(s, error);
        if (status == RAPT_OK && s->gauge->variant == RAPT_TRANSFER_READ_MAPPED)
            memcpy(g->mapped, g->host, BYTES);
        return status;
    }
    status = rapt_buffer_create(s->device, BYTES, &g->device, error);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(g->device, 0, g->host, BYTES, error);
    if (status == RAPT_OK && s->gauge->variant == RAPT_TRANSFER_COPY_COMMAND) {
        status = rapt_buffer_create(s->device, BYTES, &g->other, error);
        if (status == RAPT_OK)
            status = rapt_buffer_fill(g->other, 0, BYTES, 0, error);
    } else if (status == RAPT_OK) {
        status = rapt_buffer_create_internal(
            s->device, BYTES,
            s->gauge->variant == RAPT_TRANSFER_UPLOAD_STAGED ? RAPT_MEMORY_UPLOAD : RAPT_MEMORY_READBACK,
            &g->stage, error);
        if (status == RAPT_OK)
            memset(g->stage->mapped, 0, BYTES);
    }
    return status;
}

static rapt_status copy_command(rapt_session *s, const rapt_buffer *from, const rapt_buffer *to,
                                uint64_t repeats, rapt_lane_time *time, rapt_error *error)
{
    rapt_status status = rapt_lane_begin(&s->lane, error);
    if (status != RAPT_OK)
        return status;
    VkBufferCopy copy = {from->offset, to->offset, BYTES};
    for (uint64_t i = 0; i < repeats; i++) {
        if (i > 0)
            rapt_lane_barrier(&s->lane);
        s->device->fn.vkCmdCopyBuffer(s->lane.commands, from->handle, to->handle, 1, &copy);
    }
    return rapt_lane_run(&s->lane, time, error);
}

static rapt_status run_transfer(rapt_session *s, rapt_lane_time *time, rapt_error *error)
{
    transfer *g = s->state;
    rapt_device *device = s->device;
    rapt_lane_time command;
    rapt_status status = RAPT_OK;
    VkMappedMemoryRange range = {
        .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE, .memory = g->memory, .size = VK_WHOLE_SIZE};
    s->work = (double)s->scale * BYTES;
    if (s->gauge->variant == RAPT_TRANSFER_COPY_COMMAND) {
        s->work *= 2;
        return copy_command(s, g->device, g->other, s->scale, time, error);
    }
    uint64_t begin = rapt_now_ns();
    for (uint64_t i = 0; i < s->scale && status == RAPT_OK; i++) {
        switch ((rapt_transfer)s->gauge->variant) {
        case RAPT_TRANSFER_WRITE_MAPPED:
            memcpy(g->mapped, g->host, BYTES);
            if (!g->coherent)
                status =
                    rapt_vk_check(device, device->fn.vkFlushMappedMemoryRanges(device->handle, 1, &range),
                                  "vkFlushMappedMemoryRanges", error);
            break;
        case RAPT_TRANSFER_READ_MAPPED:
            if (!g->coherent)
                status = rapt_vk_check(device,
                                       device->fn.vkInvalidateMappedMemoryRanges(device->handle, 1, &range),
                                       "vkInvalidateMappedMemoryRanges", error);
            if (status == RAPT_OK)
                memcpy(g->host, g->mapped, BYTES);
            break;
        case RAPT_TRANSFER_UPLOAD_STAGED:
            memcpy(g->stage->mapped, g->host, BYTES);
            status = copy_command(s, g->stage, g->device, 1, &command, error);
            break;
        default:
            status = copy_command(s, g->device, g->stage, 1, &command, error);
            if (status == RAPT_OK)
                memcpy(g->host, g->stage->mapped, BYTES);
            break;
        }
    }
    time->wall = (double)(rapt_now_ns() - begin) * 1e-9;
    return status;
}

/* What arrived, then another pattern for the next time. */
static rapt_status prove_transfer(rapt_session *s, rapt_error *error)
{
    transfer *g = s->state;
    const bool to_host =
        s->gauge->variant == RAPT_TRANSFER_READ_MAPPED || s->gauge->variant == RAPT_TRANSFER_DOWNLOAD_STAGED;
    uint32_t *host = (uint32_t *)(void *)g->host;
    const uint32_t *arrived = host;
    rapt_status status = RAPT_OK;
    if (s->gauge->variant == RAPT_TRANSFER_WRITE_MAPPED)
        arrived = (const uint32_t *)(const void *)g->mapped;
    else if (!to_host) {
        memset(host, 0, BYTES);
        status = rapt_buffer_download(s->gauge->variant == RAPT_TRANSFER_COPY_COMMAND ? g->other : g->device,
                                      0, host, BYTES, error);
    }
    for (uint64_t i = 0; i < BYTES / 4 && status == RAPT_OK; i++)
        if (arrived[i] != (g->pattern ^ (uint32_t)i))
            status = rapt_wrong(error, s->gauge, "a word that arrived", arrived[i], g->pattern ^ (uint32_t)i,
                                g->pattern ^ (uint32_t)i);
    if (status != RAPT_OK)
        return status;
    g->pattern++;
    fill_host(host, g->pattern);
    if (s->gauge->variant == RAPT_TRANSFER_READ_MAPPED)
        memcpy(g->mapped, host, BYTES);
    else if (g->device != NULL && s->gauge->variant != RAPT_TRANSFER_UPLOAD_STAGED)
        status = rapt_buffer_upload(g->device, 0, host, BYTES, error);
    if (to_host)
        memset(host, 0, BYTES);
    return status;
}

static void close_transfer(rapt_session *s)
{
    transfer *g = s->state;
    rapt_device *device = s->device;
    rapt_buffer_destroy(&g->device);
    rapt_buffer_destroy(&g->other);
    rapt_buffer_destroy(&g->stage);
    if (g->buffer != VK_NULL_HANDLE && !atomic_load(&device->hung)) /* else it may still touch them */
        device->fn.vkDestroyBuffer(device->handle, g->buffer, NULL);
    if (g->memory != VK_NULL_HANDLE && !atomic_load(&device->hung))
        device->fn.vkFreeMemory(device->handle, g->memory, NULL);
    rapt_free(&device->runtime->allocator, g->host, BYTES);
}

const rapt_gauge_kind rapt_gauge_transfer = {sizeof(transfer), open_transfer, run_transfer, prove_transfer,
                                             close_transfer};
