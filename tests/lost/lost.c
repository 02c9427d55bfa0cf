/* A libvulkan between a program and the real one, for a program that is to lose its device: found by LD_LIBRARY_PATH, it lets
 * RAPT_TEST_LOST_AFTER submissions pass and fails the next. RAPT_TEST_LIBVULKAN is the path of the real one (../vk_fault.c). */
#include "vk_fault.h"

#include <stdlib.h>

__attribute__((visibility("default"))) VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance instance,
                                                                                                       const char *name);

PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char *name)
{
    if (vk_fault_real == NULL) {
        const char *after = getenv("RAPT_TEST_LOST_AFTER");
        if (!vk_fault_open())
            return NULL;
        vk_fault_arm(after ? atoi(after) : 0, VK_ERROR_DEVICE_LOST, "vkQueueSubmit");
    }
    return vk_fault_get_instance_proc(instance, name);
}
