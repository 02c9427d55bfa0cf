/* The queue, fences, and what a VkResult comes to. */
#include "vk/internal.h"
#include <inttypes.h>

const char *rapt_vk_result_name(VkResult result)
{
    switch ((int)result) {
#define RAPT_NAME(name)                                                                                      \
    case name:                                                                                               \
        return #name;
        RAPT_NAME(VK_SUCCESS)
        RAPT_NAME(VK_NOT_READY)
        RAPT_NAME(VK_TIMEOUT)
        RAPT_NAME(VK_EVENT_SET)
        RAPT_NAME(VK_EVENT_RESET)
        RAPT_NAME(VK_INCOMPLETE)
        RAPT_NAME(VK_ERROR_OUT_OF_HOST_MEMORY)
        RAPT_NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        RAPT_NAME(VK_ERROR_INITIALIZATION_FAILED)
        RAPT_NAME(VK_ERROR_DEVICE_LOST)
        RAPT_NAME(VK_ERROR_MEMORY_MAP_FAILED)
        RAPT_NAME(VK_ERROR_LAYER_NOT_PRESENT)
        RAPT_NAME(VK_ERROR_EXTENSION_NOT_PRESENT)
        RAPT_NAME(VK_ERROR_FEATURE_NOT_PRESENT)
        RAPT_NAME(VK_ERROR_INCOMPATIBLE_DRIVER)
        RAPT_NAME(VK_ERROR_TOO_MANY_OBJECTS)
        RAPT_NAME(VK_ERROR_FORMAT_NOT_SUPPORTED)
        RAPT_NAME(VK_ERROR_FRAGMENTED_POOL)
        RAPT_NAME(VK_ERROR_UNKNOWN)
        RAPT_NAME(VK_ERROR_OUT_OF_POOL_MEMORY)
        RAPT_NAME(VK_ERROR_INVALID_EXTERNAL_HANDLE)
        RAPT_NAME(VK_ERROR_FRAGMENTATION)
        RAPT_NAME(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS)
        RAPT_NAME(VK_PIPELINE_COMPILE_REQUIRED)
        RAPT_NAME(VK_ERROR_VALIDATION_FAILED_EXT)
        RAPT_NAME(VK_ERROR_INVALID_SHADER_NV)
        RAPT_NAME(VK_ERROR_NOT_PERMITTED_KHR)
#undef RAPT_NAME
    default:
        return "an unknown VkResult";
    }
}

/* What the driver tells of the fault, once; "" where it tells nothing. */
static void fault_text(rapt_device *device, char *out, size_t capacity)
{
    VkDeviceFaultCountsEXT counts = {.sType = VK_STRUCTURE_TYPE_DEVICE_FAULT_COUNTS_EXT};
    VkDeviceFaultInfoEXT info = {.sType = VK_STRUCTURE_TYPE_DEVICE_FAULT_INFO_EXT};
    rapt_text text = rapt_text_over(out, capacity);
    out[0] = '\0';
    if (!device->fault_info || device->fn.vkGetDeviceFaultInfoEXT == NULL)
        return;
    VkResult result = device->fn.vkGetDeviceFaultInfoEXT(device->handle, &counts, NULL);
    if (result < 0)
        return;
    /* The description alone: with no room for the lists, the call comes back with VK_INCOMPLETE and the text.
     */
    counts.addressInfoCount = 0;
    counts.vendorInfoCount = 0;
    counts.vendorBinarySize = 0;
    result = device->fn.vkGetDeviceFaultInfoEXT(device->handle, &counts, &info);
    info.description[sizeof info.description - 1] = '\0';
    if (result >= 0 && info.description[0] != '\0')
        rapt_text_add(&text, "; the driver says: %s", info.description);
}

rapt_status rapt_vk_check(rapt_device *device, VkResult result, const char *what, rapt_error *error)
{
    rapt_status status;
    switch ((int)result) {
    case VK_SUCCESS:
    case VK_INCOMPLETE:
    case VK_EVENT_SET:
    case VK_EVENT_RESET:
        return RAPT_OK;
    case VK_TIMEOUT:
    case VK_NOT_READY:
        return rapt_fail(error, RAPT_ERROR_TIMEOUT, "%s: not done in time (%s)", what,
                         rapt_vk_result_name(result));
    case VK_ERROR_DEVICE_LOST: {
        char fault[320] = "";
        if (device != NULL) {
            bool before = atomic_exchange(&device->lost, true);
            if (!before)
                fault_text(device, fault, sizeof fault);
        }
        return rapt_fail(error, RAPT_ERROR_DEVICE_LOST, "%s: the device %s was lost (VK_ERROR_DEVICE_LOST)%s",
                         what, device != NULL ? device->caps.device_name : "", fault);
    }
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
        break;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_FRAGMENTATION:
    case VK_ERROR_TOO_MANY_OBJECTS:
        status = RAPT_ERROR_OUT_OF_DEVICE_MEMORY;
        break;
    case VK_ERROR_INVALID_SHADER_NV:
    case VK_PIPELINE_COMPILE_REQUIRED:
        status = RAPT_ERROR_COMPILE;
        break;
    default:
        if (result > 0)
            return RAPT_OK;
        status = RAPT_ERROR_VULKAN;
        break;
    }
    return rapt_fail(error, status, "%s: %s (%d)", what, rapt_vk_result_name(result), (int)result);
}

rapt_status rapt_device_alive(const rapt_device *device, rapt_error *error)
{
    if (atomic_load(&device->hung))
        return rapt_fail(error, RAPT_ERROR_DEVICE_LOST,
                         "the device %s hung earlier (a kernel did not end): destroy it and open it again",
                         device->caps.device_name);
    if (atomic_load(&device->lost))
        return rapt_fail(error, RAPT_ERROR_DEVICE_LOST,
                         "the device %s was lost earlier: destroy it and open it again",
                         device->caps.device_name);
    return RAPT_OK;
}

void rapt_device_note_hung(rapt_device *device)
{
    atomic_store(&device->hung, true);
}

static void lock_queue(rapt_device *device)
{
    rapt_mutex_lock(&device->queue_mutex);
    if (device->lock_queue != NULL)
        device->lock_queue(device->lock_user);
}

static void unlock_queue(rapt_device *device)
{
    if (device->unlock_queue != NULL)
        device->unlock_queue(device->lock_user);
    rapt_mutex_unlock(&device->queue_mutex);
}

rapt_status rapt_queue_submit(rapt_device *device, const VkSubmitInfo *submit, VkFence fence,
                              rapt_error *error)
{
    rapt_status status = rapt_device_alive(device, error);
    if (status != RAPT_OK)
        return status;
    lock_queue(device);
    VkResult result = device->fn.vkQueueSubmit(device->queue, submit != NULL ? 1 : 0, submit, fence);
    if (result == VK_SUCCESS)
        device->submitted++;
    unlock_queue(device);
    return rapt_vk_check(device, result, "vkQueueSubmit", error);
}

rapt_status rapt_queue_bind_sparse(rapt_device *device, const VkBindSparseInfo *bind, VkFence fence, rapt_error *error)
{
    rapt_status status = rapt_device_alive(device, error);
    if (status != RAPT_OK)
        return status;
    lock_queue(device);
    VkResult result = device->fn.vkQueueBindSparse(device->queue, 1, bind, fence);
    unlock_queue(device);
    return rapt_vk_check(device, result, "vkQueueBindSparse", error);
}

uint64_t rapt_queue_submitted(rapt_device *device)
{
    rapt_mutex_lock(&device->queue_mutex);
    uint64_t submitted = device->submitted;
    rapt_mutex_unlock(&device->queue_mutex);
    return submitted;
}

#define LONGEST_WAIT_NS (600ull * 1000 * 1000 * 1000)

rapt_status rapt_fence_wait(rapt_device *device, VkFence fence, uint64_t timeout, rapt_error *error)
{
    rapt_status status = rapt_device_alive(device, error);
    if (status != RAPT_OK)
        return status;
    timeout = RAPT_MIN(timeout, LONGEST_WAIT_NS); /* no wait of rapt's is without an end */
    VkResult result = device->fn.vkWaitForFences(device->handle, 1, &fence, VK_TRUE, timeout);
    if (result == VK_TIMEOUT || result == VK_NOT_READY)
        return rapt_fail(error, RAPT_ERROR_TIMEOUT, "the work on %s was not done after %" PRIu64 " ms",
                         device->caps.device_name, timeout / 1000000);
    return rapt_vk_check(device, result, "vkWaitForFences", error);
}
