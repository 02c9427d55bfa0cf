/* The app's own device, taken as it is declared. */
#include "vk/internal.h"
#include <inttypes.h>

/* Is VK_EXT_device_fault enabled, by name and by feature? */
static bool declares_fault(const rapt_vulkan_device *info)
{
    bool named = false;
    for (uint32_t i = 0; i < info->extension_count; i++)
        named = named || strcmp(info->extensions[i], VK_EXT_DEVICE_FAULT_EXTENSION_NAME) == 0;
    if (!named || info->features == NULL)
        return false;
    for (const VkBaseInStructure *s = info->features->pNext; s != NULL; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FAULT_FEATURES_EXT)
            return ((const VkPhysicalDeviceFaultFeaturesEXT *)(const void *)s)->deviceFault == VK_TRUE;
    return false;
}

static rapt_status check_info(const rapt_vulkan_device *info, rapt_error *error)
{
    const struct {
        bool missing;
        const char *name;
    } required[] = {
        {info->get_instance_proc_addr == NULL, "get_instance_proc_addr"},
        {info->instance == VK_NULL_HANDLE, "instance"},
        {info->physical_device == VK_NULL_HANDLE, "physical_device"},
        {info->device == VK_NULL_HANDLE, "device"},
        {info->queue == VK_NULL_HANDLE, "queue"},
        {info->extension_count > 0 && info->extensions == NULL, "extensions"},
    };
    for (size_t i = 0; i < RAPT_COUNT(required); i++)
        if (required[i].missing)
            return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_vulkan_device.%s is not set", required[i].name);
    for (uint32_t i = 0; i < info->extension_count; i++)
        if (info->extensions[i] == NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_vulkan_device.extensions[%" PRIu32 "] is NULL",
                             i);
    if (info->features != NULL && info->features->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2)
        return rapt_fail(
            error, RAPT_ERROR_INVALID,
            "rapt_vulkan_device.features does not start with a VkPhysicalDeviceFeatures2 (sType is %d)",
            (int)info->features->sType);
    if ((info->lock_queue == NULL) != (info->unlock_queue == NULL))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "rapt_vulkan_device: set lock_queue and unlock_queue, or neither");
    if (info->api_version != 0 && info->api_version < VK_API_VERSION_1_1)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "rapt_vulkan_device.api_version is %" PRIu32 ".%" PRIu32 ", rapt needs 1.1 or later",
                         VK_API_VERSION_MAJOR(info->api_version), VK_API_VERSION_MINOR(info->api_version));
    return RAPT_OK;
}

rapt_status rapt_device_adopt(rapt_runtime *runtime, const rapt_vulkan_device *given, rapt_device **out,
                              rapt_error *error)
{
    rapt_vulkan_device info = RAPT_VULKAN_DEVICE_INIT;
    VkQueueFamilyProperties families[RAPT_MAX_FAMILIES];
    VkPhysicalDeviceProperties properties = {0};
    rapt_device *device = NULL;
    if (out == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_adopt: device is NULL");
    *out = NULL;
    if (runtime == NULL || given == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_adopt: %s is NULL",
                         runtime == NULL ? "runtime" : "info");
    rapt_status status = rapt_options_take(&info, sizeof info, given, "rapt_vulkan_device", error);
    if (status != RAPT_OK)
        return status;
    status = check_info(&info, error);
    if (status != RAPT_OK)
        return status;

    status = rapt_device_new(runtime, &device, error);
    if (status != RAPT_OK)
        return status;
    device->no_probe = info.no_probe != 0;
    device->instance = (rapt_vk_instance){
        .allocator = &runtime->allocator,
        .get_proc = info.get_instance_proc_addr,
        .handle = info.instance,
        .api_version = info.api_version != 0 ? info.api_version : VK_API_VERSION_1_1,
    };
    device->physical = info.physical_device;
    device->queue_family = info.queue_family;
    device->queue = info.queue;
    device->lock_queue = info.lock_queue;
    device->unlock_queue = info.unlock_queue;
    device->lock_user = info.lock_user;
    device->fault_info = declares_fault(&info);
    status = rapt_instance_table(&device->instance, error);
    if (status != RAPT_OK)
        goto fail;
    device->instance.fn.vkGetPhysicalDeviceProperties(device->physical, &properties);
    if (properties.apiVersion < VK_API_VERSION_1_1) {
        status =
            rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                      "%s: its driver offers Vulkan 1.0, rapt needs 1.1 or later", properties.deviceName);
        goto fail;
    }
    const uint32_t count = rapt_queue_families(&device->instance, device->physical, families);
    if (info.queue_family >= count || (families[info.queue_family].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0) {
        status =
            rapt_fail(error, RAPT_ERROR_INVALID,
                      "rapt_vulkan_device.queue_family %" PRIu32 " of %s %s (it has %" PRIu32 " families)",
                      info.queue_family, properties.deviceName,
                      info.queue_family >= count ? "does not exist" : "does not compute", count);
        goto fail;
    }
    const rapt_enabled enabled = {info.extensions, info.extension_count, info.features};
    status = rapt_snapshot(&device->instance, device->physical, &enabled, &device->caps, error);
    if (status != RAPT_OK)
        goto fail;
    device->timestamp_bits = families[info.queue_family].timestampValidBits;
    device->caps.timestamp_period = device->timestamp_bits != 0 ? properties.limits.timestampPeriod : 0;
    status = rapt_caps_mask(&device->caps, info.caps_mask, error);
    if (status != RAPT_OK)
        goto fail;
    device->handle = info.device;
    status = rapt_device_table(device, error);
    if (status != RAPT_OK) {
        device->handle = VK_NULL_HANDLE; /* nothing was made on it */
        goto fail;
    }
    status = rapt_device_finish(device, error);
    if (status != RAPT_OK)
        goto fail;
    if (device->no_probe) { /* is that because the driver only compiles? Else the probes would have told */
        bool executes = false;
        status = rapt_device_executes(device, &executes, error);
        if (status != RAPT_OK)
            goto fail;
        device->caps.no_execution = !executes;
    }
    *out = device;
    return RAPT_OK;

fail:
    rapt_device_release(device);
    return status;
}
