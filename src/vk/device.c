/* Devices of our own: listing, choosing, opening, destroying. */
#include "base/build_id.h"
#include "vk/internal.h"
#include <inttypes.h>

/* ---- Listing and choosing ---- */

rapt_status rapt_device_count(rapt_runtime *runtime, uint32_t *count, rapt_error *error)
{
    if (runtime == NULL || count == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_count: %s is NULL",
                         runtime == NULL ? "runtime" : "count");
    *count = 0;
    rapt_status status = rapt_runtime_list(runtime, error);
    if (status == RAPT_OK)
        *count = runtime->device_count;
    return status;
}

rapt_status rapt_device_query(rapt_runtime *runtime, uint32_t index, rapt_caps *caps, rapt_error *error)
{
    if (runtime == NULL || caps == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_query: %s is NULL",
                         runtime == NULL ? "runtime" : "caps");
    rapt_status status = rapt_runtime_list(runtime, error);
    if (status != RAPT_OK)
        return status;
    if (index >= runtime->device_count)
        return rapt_fail(error, RAPT_ERROR_NO_DEVICE,
                         "there is no device %" PRIu32 "; %" PRIu32 " are listed", index,
                         runtime->device_count);
    *caps = runtime->caps[index];
    return RAPT_OK;
}

/* The place of a device in the default order; lower is earlier. */
static int rank(const rapt_caps *caps)
{
    switch (caps->device_type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return caps->driver_id == VK_DRIVER_ID_MESA_LLVMPIPE ? 3 : 4;
    default:
        return 5;
    }
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool contains(const char *text, const char *part)
{
    for (; *text != '\0'; text++) {
        size_t i = 0;
        while (part[i] != '\0' && lower(text[i]) == lower(part[i]))
            i++;
        if (part[i] == '\0')
            return true;
    }
    return part[0] == '\0';
}

static int hex_digit(char c)
{
    c = lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 32 hex digits, dashes anywhere between them. */
static bool parse_uuid(const char *text, uint8_t uuid[16])
{
    int digits = 0;
    memset(uuid, 0, 16);
    for (; *text != '\0'; text++) {
        const int digit = hex_digit(*text);
        if (*text == '-')
            continue;
        if (digit < 0 || digits == 32)
            return false;
        uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 | digit);
        digits++;
    }
    return digits == 32;
}

static bool parse_index(const char *text, uint32_t *index)
{
    uint32_t value = 0;
    size_t length = strlen(text);
    if (length == 0 || length > 9)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint32_t)(*text - '0');
    }
    *index = value;
    return true;
}

rapt_status rapt_device_find(rapt_runtime *runtime, const char *selector, uint32_t *index, rapt_error *error)
{
    uint8_t uuid[16];
    uint32_t number = 0;
    if (runtime == NULL || index == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_find: %s is NULL",
                         runtime == NULL ? "runtime" : "index");
    *index = 0;
    rapt_status status = rapt_runtime_list(runtime, error);
    if (status != RAPT_OK)
        return status;
    if (selector == NULL || selector[0] == '\0')
        selector = runtime->default_device;
    const bool by_uuid = parse_uuid(selector, uuid);
    const bool by_number = !by_uuid && parse_index(selector, &number);
    bool found = false;
    for (uint32_t i = 0; i < runtime->device_count; i++) {
        const rapt_caps *caps = &runtime->caps[i];
        bool match;
        if (by_uuid)
            match = memcmp(caps->device_uuid, uuid, sizeof uuid) == 0;
        else if (by_number)
            match = i == number;
        else
            match = contains(caps->device_name, selector) || contains(caps->driver_name, selector);
        if (match && (!found || rank(caps) < rank(&runtime->caps[*index]))) {
            *index = i;
            found = true;
        }
    }
    if (found)
        return RAPT_OK;
    char names[384];
    rapt_text text = rapt_text_over(names, sizeof names);
    for (uint32_t i = 0; i < runtime->device_count; i++)
        rapt_text_add(&text, "%s%" PRIu32 " %s (%s)", i > 0 ? ", " : "", i, runtime->caps[i].device_name,
                      runtime->caps[i].driver_name);
    return rapt_fail(error, RAPT_ERROR_NO_DEVICE, "no device matches \"%.80s\"; there are: %s", selector,
                     names);
}

/* ---- What open and adopt share ---- */

rapt_status rapt_device_new(rapt_runtime *runtime, rapt_device **out, rapt_error *error)
{
    *out = NULL;
    rapt_device *device = rapt_calloc(&runtime->allocator, 1, sizeof *device);
    if (device == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the device object");
    device->runtime = runtime;
    atomic_init(&device->lost, false);
    atomic_init(&device->hung, false);
    if (rapt_mutex_init(&device->queue_mutex)) {
        if (rapt_mutex_init(&device->transfer_lock)) {
            *out = device;
            return RAPT_OK;
        }
        rapt_mutex_destroy(&device->queue_mutex);
    }
    rapt_free(&runtime->allocator, device, sizeof *device);
    return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no mutex for the device object");
}

/* The context of all cache files: whatever may change the code that a driver makes, or the kernels we give
 * it. */
static rapt_hash identity_of(const rapt_caps *caps)
{
    rapt_hash hash = RAPT_HASH_INIT;
    const char *texts[] = {rapt_version_string(), RAPT_BUILD_ID, caps->device_name, caps->driver_name,
                           caps->driver_info};
    const uint32_t numbers[] = {caps->vendor_id, caps->device_id, caps->driver_id, caps->driver_version,
                                caps->device_type};
    for (size_t i = 0; i < RAPT_COUNT(texts); i++)
        hash = rapt_hash_bytes(hash, texts[i], strlen(texts[i]) + 1);
    hash = rapt_hash_bytes(hash, numbers, sizeof numbers);
    hash = rapt_hash_bytes(hash, caps->device_uuid, sizeof caps->device_uuid);
    hash = rapt_hash_bytes(hash, caps->driver_uuid, sizeof caps->driver_uuid);
    return rapt_hash_bytes(hash, caps->pipeline_cache_uuid, sizeof caps->pipeline_cache_uuid);
}

rapt_status rapt_device_finish(rapt_device *device, rapt_error *error)
{
    device->instance.fn.vkGetPhysicalDeviceMemoryProperties(device->physical, &device->memory_properties);
    device->identity = identity_of(&device->caps);
    rapt_status status = rapt_memory_create(device, &device->memory, error);
    if (status != RAPT_OK)
        return status;
    return rapt_kernel_cache_create(device, error);
}

/* Devices of one instance may share more than they should (lavapipe's threads), so only one borrows the
 * listing instance; making an instance loads every driver of the machine. */
static bool borrow_instance(rapt_device *device)
{
    rapt_runtime *runtime = device->runtime;
    rapt_mutex_lock(&runtime->lock);
    bool free_to_lend = !runtime->instance_lent && runtime->instance.handle != VK_NULL_HANDLE;
    if (free_to_lend) {
        runtime->instance_lent = device->borrows_instance = true;
        device->instance = runtime->instance;
        device->instance.owned = false;
    }
    rapt_mutex_unlock(&runtime->lock);
    return free_to_lend;
}

static void return_instance(rapt_device *device)
{
    if (!device->borrows_instance)
        return;
    rapt_mutex_lock(&device->runtime->lock);
    device->runtime->instance_lent = false;
    rapt_mutex_unlock(&device->runtime->lock);
}

/* Waits for what we submitted. false: it may still be running, and nothing it uses can be destroyed. */
static bool wait_for_own_work(rapt_device *device)
{
    const VkFenceCreateInfo create = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkFence fence = VK_NULL_HANDLE;
    if (atomic_load(&device->hung))
        return false;
    if (device->submitted == device->drained || atomic_load(&device->lost))
        return true;
    if (device->fn.vkCreateFence(device->handle, &create, NULL, &fence) != VK_SUCCESS)
        return device->owned ? device->fn.vkDeviceWaitIdle(device->handle) != VK_TIMEOUT : false;
    rapt_status status = rapt_queue_submit(device, NULL, fence, NULL);
    if (status == RAPT_OK)
        status = rapt_fence_wait(device, fence, RAPT_DESTROY_TIMEOUT_NS, NULL);
    if (status == RAPT_ERROR_TIMEOUT)
        return false; /* the fence is in use too */
    device->fn.vkDestroyFence(device->handle, fence, NULL);
    if (status != RAPT_OK && status != RAPT_ERROR_DEVICE_LOST && device->owned)
        device->fn.vkDeviceWaitIdle(device->handle);
    return true;
}

void rapt_device_release(rapt_device *device)
{
    rapt_runtime *runtime = device->runtime;
    const bool has_device = device->handle != VK_NULL_HANDLE && device->fn.vkDestroyDevice != NULL;
    if (has_device && !wait_for_own_work(device)) {
        /* Destroying what a hung device may still touch is undefined; losing it is not. */
        rapt_log_write(&runtime->log, RAPT_LOG_ERROR,
                       "%s: its work did not end in time; its Vulkan objects are left as they are",
                       device->caps.device_name);
        atomic_store(&runtime->abandoned, true);
        return;
    }
    if (device->kernels != NULL)
        rapt_kernel_cache_destroy(device);
    if (has_device) {
        rapt_buffer_destroy(&device->staging);
        if (device->transfer_fence != VK_NULL_HANDLE)
            device->fn.vkDestroyFence(device->handle, device->transfer_fence, NULL);
        if (device->transfer_pool != VK_NULL_HANDLE)
            device->fn.vkDestroyCommandPool(device->handle, device->transfer_pool, NULL);
        rapt_memory_destroy(device, &device->memory);
        if (device->owned)
            device->fn.vkDestroyDevice(device->handle, NULL);
    }
    rapt_instance_destroy(&device->instance);
    return_instance(device);
    rapt_mutex_destroy(&device->transfer_lock);
    rapt_mutex_destroy(&device->queue_mutex);
    rapt_free(&runtime->allocator, device, sizeof *device);
}

void rapt_device_destroy(rapt_device **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    rapt_device *device = *handle;
    *handle = NULL;
    rapt_device_release(device);
}

/* ---- Opening ---- */

static bool same_device(const rapt_caps *a, const rapt_caps *b)
{
    return a->vendor_id == b->vendor_id && a->device_id == b->device_id &&
           memcmp(a->device_uuid, b->device_uuid, sizeof a->device_uuid) == 0 &&
           strcmp(a->driver_name, b->driver_name) == 0 && strcmp(a->device_name, b->device_name) == 0;
}

/* The physical device of our own new instance that the runtime lists as `index`: the same place, unless the
 * list changed meanwhile. Fills device->physical and device->caps. */
static rapt_status find_physical(rapt_device *device, uint32_t index, rapt_error *error)
{
    const rapt_caps *wanted = &device->runtime->caps[index];
    VkPhysicalDevice *list = NULL;
    uint32_t count = 0;
    rapt_status status = rapt_physical_devices(&device->instance, &list, &count, error);
    if (status != RAPT_OK)
        return status;
    for (uint32_t i = 0; i < count && status == RAPT_OK; i++) {
        const uint32_t candidate = (index + i) % count;
        status = rapt_snapshot(&device->instance, list[candidate], NULL, &device->caps, error);
        if (status == RAPT_OK && same_device(&device->caps, wanted)) {
            device->physical = list[candidate];
            break;
        }
    }
    if (status == RAPT_OK && device->physical == VK_NULL_HANDLE)
        status = rapt_fail(error, RAPT_ERROR_NO_DEVICE, "the device %s is not listed any more",
                           wanted->device_name);
    rapt_free(device->instance.allocator, list, count * sizeof *list);
    return status;
}

static rapt_status create_device(rapt_device *device, rapt_error *error)
{
    const float priority = 1.0f;
    rapt_enable enable;
    VkPhysicalDeviceFeatures core;
    VkDevice handle = VK_NULL_HANDLE;
    rapt_status status = rapt_enable_for(&device->instance, device->physical, &device->caps, &enable, error);
    if (status != RAPT_OK)
        return status;
    core = enable.chain.core.features;
    const bool chained = device->instance.fn.vkGetPhysicalDeviceFeatures2 != NULL;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = device->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = chained ? &enable.chain.core : NULL,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = enable.name_count,
        .ppEnabledExtensionNames = enable.names,
        .pEnabledFeatures = chained ? NULL : &core,
    };
    VkResult result = device->instance.fn.vkCreateDevice(device->physical, &create, NULL, &handle);
    if (result != VK_SUCCESS)
        return rapt_fail_prefix(error, rapt_vk_check(device, result, "vkCreateDevice", error), "opening %s",
                                device->caps.device_name);
    device->handle = handle;
    device->owned = true;
    device->fault_info = enable.fault;
    status = rapt_device_table(device, error);
    if (status != RAPT_OK) {
        if (device->fn.vkDestroyDevice != NULL)
            device->fn.vkDestroyDevice(handle, NULL);
        device->handle = VK_NULL_HANDLE;
        return status;
    }
    device->fn.vkGetDeviceQueue(handle, device->queue_family, 0, &device->queue);
    return RAPT_OK;
}

/* Whether the device does what it is told. Where the driver only compiles, no_probe says that the app knows.
 */
static rapt_status check_execution(rapt_device *device, rapt_error *error)
{
    bool executes = false;
    rapt_status status = rapt_device_executes(device, &executes, error);
    if (status != RAPT_OK)
        return rapt_fail_prefix(error, status, "%s: first use of the queue", device->caps.device_name);
    if (!executes && !device->no_probe)
        return rapt_fail(
            error, RAPT_ERROR_INCOMPLETE,
            "%s: the driver reports success for work that it does not run (a compiler-only driver is opened "
            "with rapt_device_options.no_probe)",
            device->caps.device_name);
    if (executes && device->caps.api_version < VK_API_VERSION_1_1)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "%s: its driver offers Vulkan 1.0, rapt needs 1.1 or later",
                         device->caps.device_name);
    device->caps.no_execution = !executes;
    return RAPT_OK;
}

rapt_status rapt_device_open(rapt_runtime *runtime, const rapt_device_options *given, rapt_device **out,
                             rapt_error *error)
{
    rapt_device_options options = RAPT_DEVICE_OPTIONS_INIT;
    rapt_device *device = NULL;
    uint32_t index;
    rapt_status status;
    if (out == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_open: device is NULL");
    *out = NULL;
    if (runtime == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_open: runtime is NULL");
    if (given != NULL) {
        status = rapt_options_take(&options, sizeof options, given, "rapt_device_options", error);
        if (status != RAPT_OK)
            return status;
    }
    status = rapt_device_find(runtime, options.selector, &index, error);
    if (status != RAPT_OK)
        return status;
    if (runtime->caps[index].api_version < VK_API_VERSION_1_1 && options.no_probe == 0)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "%s: its driver offers Vulkan 1.0, rapt needs 1.1 or later",
                         runtime->caps[index].device_name);

    status = rapt_device_new(runtime, &device, error);
    if (status != RAPT_OK)
        return status;
    device->no_probe = options.no_probe != 0;
    if (options.validation == 0 && borrow_instance(device)) {
        device->physical = runtime->devices[index];
        device->caps = runtime->caps[index];
    } else {
        status = rapt_instance_create(runtime, options.validation != 0, &device->instance, error);
        if (status != RAPT_OK)
            goto fail;
        status = find_physical(device, index, error);
        if (status != RAPT_OK)
            goto fail;
    }
    status = rapt_caps_mask(&device->caps, options.caps_mask, error);
    if (status != RAPT_OK)
        goto fail;
    if (!rapt_compute_family(&device->instance, device->physical, &device->queue_family,
                             &device->timestamp_bits)) {
        status =
            rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s has no queue for compute", device->caps.device_name);
        goto fail;
    }
    status = create_device(device, error);
    if (status != RAPT_OK)
        goto fail;
    status = rapt_device_finish(device, error);
    if (status != RAPT_OK)
        goto fail;
    status = check_execution(device, error);
    if (status != RAPT_OK)
        goto fail;
    *out = device;
    return RAPT_OK;

fail:
    rapt_device_release(device);
    return status;
}

const rapt_caps *rapt_device_caps(const rapt_device *device)
{
    return device != NULL ? &device->caps : NULL;
}

void rapt_device_handles(const rapt_device *device, VkInstance *instance, VkPhysicalDevice *physical_device,
                         VkDevice *vk_device, VkQueue *queue, uint32_t *queue_family)
{
    if (device == NULL)
        return;
    if (instance != NULL)
        *instance = device->instance.handle;
    if (physical_device != NULL)
        *physical_device = device->physical;
    if (vk_device != NULL)
        *vk_device = device->handle;
    if (queue != NULL)
        *queue = device->queue;
    if (queue_family != NULL)
        *queue_family = device->queue_family;
}
