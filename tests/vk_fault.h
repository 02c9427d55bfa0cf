/* A Vulkan loader between rapt (or a test) and the real one: counts the objects alive, and makes one chosen call fail.
 * Give vk_fault_get_instance_proc to rapt_runtime.get_proc or rapt_vulkan_device.get_instance_proc_addr.
 * One process-wide state, which threads may meet. */
#ifndef RAPT_TESTS_VK_FAULT_H
#define RAPT_TESTS_VK_FAULT_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>
#include <stdbool.h>
#include <stdint.h>

/* Loads libvulkan; false where there is none. */
bool vk_fault_open(void);
void vk_fault_close(void);
/* The real loader's, and the one in between. */
extern PFN_vkGetInstanceProcAddr vk_fault_real;
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vk_fault_get_instance_proc(VkInstance instance, const char *name);

/* Lets `countdown` fallible calls pass, then makes one return `result`; negative: none. Waits are done before they
 * report a failure, so that nothing is torn down under a device at work. `only`: count the calls of this name, or NULL. */
void vk_fault_arm(int countdown, VkResult result, const char *only);
/* The name of the call that failed since, or NULL. */
const char *vk_fault_fired(void);
/* Makes every submission pretend: it signals its fence and runs nothing, as a no-op driver. */
void vk_fault_skip_work(bool skip);
/* Faults of all kinds hit this device alone, its calls that name the device or the queue; NULL: everything. */
void vk_fault_aim(const void *device, const void *queue);
/* Lets so many submissions pass; those after them are accepted, run nothing and signal no fence: a hang. Negative: none. */
void vk_fault_stall(int submits);
/* Whether that has happened. */
bool vk_fault_stalled(void);
/* Work takes so many percent of its time, as far as waits show; 100: as it is. */
void vk_fault_slow(unsigned percent);
/* Allocations of more bytes find no device memory. UINT64_MAX: all do. */
void vk_fault_limit_memory(uint64_t bytes);
/* Devices listed from now on have the memory types of a discrete GPU: local ones that cannot be mapped, and mapped ones
 * that are not local. (Each real type is shown twice.) */
void vk_fault_split_memory(bool split);
/* Objects made and not destroyed. */
int vk_fault_live(void);

#endif
