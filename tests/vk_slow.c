// A libvulkan for the runtime of `schedule slow`: the tests' injection layer (tests/vk_fault.h) before the real loader, in a library of its own, so
// that a program on the public API can make one of its devices slower.
#include "vk_fault.h"

#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

EXPORT PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char *name);
EXPORT void slow_vulkan(const void *device, const void *queue, unsigned percent);

// Called first by the runtime's one thread that lists devices.
PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char *name)
{
    if (!vk_fault_real && !vk_fault_open())
        return NULL;
    return vk_fault_get_instance_proc(instance, name);
}

// The work of this device takes so many percent of its time.
void slow_vulkan(const void *device, const void *queue, unsigned percent)
{
    vk_fault_aim(device, queue);
    vk_fault_slow(percent);
}
