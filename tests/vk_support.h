/* What the tests of the Vulkan layer share: a runtime that logs, checks with the error's text, an app's own
 * device. */
#ifndef RAPT_TESTS_VK_SUPPORT_H
#define RAPT_TESTS_VK_SUPPORT_H

#include "support.h"
#include "vk/internal.h"
#include "vk_fault.h"

#if defined(RAPT_TEST_WITHOUT_KERNELS) /* the layer alone, without pipeline.c */
rapt_status rapt_kernel_cache_create(rapt_device *device, rapt_error *error)
{
    (void)device;
    (void)error;
    return RAPT_OK;
}
void rapt_kernel_cache_destroy(rapt_device *device)
{
    (void)device;
}
#endif

static bool have_vulkan; /* some device is listed */

#define NEED_VULKAN()                                                                                        \
    if (!have_vulkan)                                                                                        \
    skip()

static inline void print_log(void *user, rapt_log_level level, const char *message)
{
    (void)user;
    fprintf(stderr, "  [%d] %s\n", (int)level, message);
}

#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        rapt_error error_ = {0};                                                                             \
        rapt_error *error = &error_;                                                                         \
        rapt_status status_ = (call);                                                                        \
        if (status_ != RAPT_OK)                                                                              \
            fail_msg("%s: %s: %s", #call, rapt_status_name(status_), error_.message);                        \
    } while (0)

#define assert_fails(call, expected, part)                                                                   \
    do {                                                                                                     \
        rapt_error error_ = {0};                                                                             \
        rapt_error *error = &error_;                                                                         \
        rapt_status status_ = (call);                                                                        \
        if (status_ != (expected) || error_.status != (expected) || strstr(error_.message, part) == NULL)    \
            fail_msg("%s: %s: \"%s\", expected %s with \"%s\"", #call, rapt_status_name(status_),            \
                     error_.message, rapt_status_name(expected), part);                                      \
    } while (0)

static inline rapt_runtime *new_runtime(void)
{
    rapt_runtime_options options = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_runtime *runtime = NULL;
    options.log = print_log;
    options.cache_dir = "";
    assert_ok(rapt_runtime_create(&options, &runtime, error));
    return runtime;
}

static inline rapt_device *open_validated(rapt_runtime *runtime, const char *mask)
{
    rapt_device_options o = RAPT_DEVICE_OPTIONS_INIT;
    rapt_device *device = NULL;
    o.validation = 1;
    o.caps_mask = mask;
    assert_ok(rapt_device_open(runtime, &o, &device, error));
    return device;
}

typedef struct app {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    PFN_vkDestroyDevice destroy_device;
    PFN_vkDestroyInstance destroy_instance;
    int locked; /* depth of the queue's lock */
    int locks;
} app;

static inline void app_lock(void *user)
{
    app *a = user;
    assert_int_equal(a->locked, 0);
    a->locked = 1;
    a->locks++;
}

static inline void app_unlock(void *user)
{
    app *a = user;
    assert_int_equal(a->locked, 1);
    a->locked = 0;
}

/* An instance and a device as an app would make them; without any extension. */
static inline void app_create(app *a, uint32_t api_version, PFN_vkGetInstanceProcAddr get,
                              const void *features)
{
    *a = (app){0};
    PFN_vkCreateInstance create_instance = (PFN_vkCreateInstance)get(NULL, "vkCreateInstance");
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .apiVersion = api_version};
    const VkInstanceCreateInfo instance = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                           .pApplicationInfo = &application};
    assert_int_equal(create_instance(&instance, NULL, &a->instance), VK_SUCCESS);
#define PROC(name) PFN_##name name = (PFN_##name)get(a->instance, #name)
    PROC(vkEnumeratePhysicalDevices);
    PROC(vkGetPhysicalDeviceQueueFamilyProperties);
    PROC(vkCreateDevice);
    PROC(vkGetDeviceQueue);
    a->destroy_device = (PFN_vkDestroyDevice)get(a->instance, "vkDestroyDevice");
    a->destroy_instance = (PFN_vkDestroyInstance)get(a->instance, "vkDestroyInstance");
#undef PROC
    uint32_t one = 1;
    assert_true(vkEnumeratePhysicalDevices(a->instance, &one, &a->physical) >= 0);
    VkQueueFamilyProperties families[16];
    uint32_t count = 16;
    vkGetPhysicalDeviceQueueFamilyProperties(a->physical, &count, families);
    while ((families[a->family].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0)
        a->family++;
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = a->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo device = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                       .pNext = features,
                                       .queueCreateInfoCount = 1,
                                       .pQueueCreateInfos = &queue};
    assert_int_equal(vkCreateDevice(a->physical, &device, NULL, &a->device), VK_SUCCESS);
    vkGetDeviceQueue(a->device, a->family, 0, &a->queue);
}

static inline void app_destroy(app *a)
{
    a->destroy_device(a->device, NULL);
    a->destroy_instance(a->instance, NULL);
}

static inline rapt_vulkan_device app_info(app *a, PFN_vkGetInstanceProcAddr get)
{
    rapt_vulkan_device info = RAPT_VULKAN_DEVICE_INIT;
    info.get_instance_proc_addr = get;
    info.instance = a->instance;
    info.physical_device = a->physical;
    info.device = a->device;
    info.queue = a->queue;
    info.queue_family = a->family;
    return info;
}

static inline int find_vulkan(void **state)
{
    (void)state;
    rapt_runtime *runtime = NULL;
    uint32_t count = 0;
    if (rapt_runtime_create(NULL, &runtime, NULL) == RAPT_OK) {
        have_vulkan = rapt_device_count(runtime, &count, NULL) == RAPT_OK && count > 0 && vk_fault_open();
        rapt_runtime_destroy(&runtime);
    }
    return 0;
}

#endif
