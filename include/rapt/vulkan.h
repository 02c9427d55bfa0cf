/* Living inside an app's own Vulkan: the one header with Vulkan types. Part of rapt (MIT licence).
 * Include vulkan/vulkan.h (or volk, or vulkan.hpp) before or let this header do it. */
#ifndef RAPT_VULKAN_H
#define RAPT_VULKAN_H

#ifndef VK_VERSION_1_1
#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#define RAPT_UNDEF_NO_PROTOTYPES
#endif
#include <vulkan/vulkan_core.h>
#ifdef RAPT_UNDEF_NO_PROTOTYPES
#undef VK_NO_PROTOTYPES
#undef RAPT_UNDEF_NO_PROTOTYPES
#endif
#endif
#include <rapt/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The app's device. Everything stays the app's and must outlive the rapt_device.
 * What is not declared enabled is taken as absent, whatever the physical device offers. */
typedef struct rapt_vulkan_device {
    uint32_t struct_size;
    PFN_vkGetInstanceProcAddr get_instance_proc_addr; /* required */
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    uint32_t api_version;  /* VkApplicationInfo.apiVersion the instance was made with; 0: 1.1 */
    uint32_t queue_family; /* must support compute */
    VkQueue queue;
    const char *const *extensions; /* device extensions enabled at vkCreateDevice */
    uint32_t extension_count;
    const VkPhysicalDeviceFeatures2 *features; /* the chain given to vkCreateDevice (features enabled); NULL: none.
                                                * VkPhysicalDeviceVulkan11/12/13Features and the single structures
                                                * of promoted extensions are understood. Read during the call only. */
    void (*lock_queue)(void *user);   /* called around every vkQueueSubmit; both or neither. NULL: the app */
    void (*unlock_queue)(void *user); /* promises that no one else submits to this queue at the same time */
    void *lock_user;
    const char *caps_mask; /* see rapt_caps_mask */
    uint32_t no_probe;
} rapt_vulkan_device;
#define RAPT_VULKAN_DEVICE_INIT {.struct_size = sizeof(rapt_vulkan_device)}

RAPT_API rapt_status rapt_device_adopt(rapt_runtime *runtime, const rapt_vulkan_device *info, rapt_device **device,
                                       rapt_error *error);

/* The handles of a device that rapt opened, for apps that start from rapt. Any out pointer may be NULL. */
RAPT_API void rapt_device_handles(const rapt_device *device, VkInstance *instance, VkPhysicalDevice *physical_device,
                                  VkDevice *vk_device, VkQueue *queue, uint32_t *queue_family);

/* Uses [offset, offset + bytes) of the app's VkBuffer as a rapt_buffer. `usage` is what the buffer was created with:
 * rapt cannot ask, and refuses by name what would need more. `mapped`: a pointer to the same range if the app has it
 * mapped coherently, else NULL; uploads and downloads then go through staging and need the transfer usages. */
typedef struct rapt_vulkan_buffer {
    uint32_t struct_size;
    VkBuffer buffer;
    uint64_t offset, bytes;
    VkBufferUsageFlags usage;
    void *mapped;
} rapt_vulkan_buffer;
#define RAPT_VULKAN_BUFFER_INIT {.struct_size = sizeof(rapt_vulkan_buffer)}
RAPT_API rapt_status rapt_buffer_wrap(rapt_device *device, const rapt_vulkan_buffer *info, rapt_buffer **buffer,
                                      rapt_error *error);

/* The VkBuffer behind a rapt_buffer, and where it starts in it. */
RAPT_API VkBuffer rapt_buffer_handle(const rapt_buffer *buffer, uint64_t *offset);

/* Records slices [first, first + count) into the app's command buffer (compute-capable, outside a render pass). Begins
 * with a barrier against earlier compute and transfer writes, ends with one that makes results visible to later compute,
 * transfer and host reads, and writes the canary. Changes the bound compute pipeline, descriptor set 0 and push
 * constants. count = UINT32_MAX: all that remain. Neither allocates nor compiles. */
RAPT_API rapt_status rapt_record(rapt_binding *binding, VkCommandBuffer commands, uint32_t first, uint32_t count,
                                 rapt_error *error);
/* After the app has waited for a command buffer that ran all slices: was the canary written? */
RAPT_API rapt_status rapt_check_completion(rapt_binding *binding, rapt_error *error);

/* rapt_submit with timeline semaphores: waits for `wait` to reach `wait_value` before the first slice, signals `signal`
 * with `signal_value` after the last. VK_NULL_HANDLE leaves one out. RAPT_ERROR_UNSUPPORTED where timeline semaphores
 * are not enabled on the device. */
RAPT_API rapt_status rapt_submit_timeline(rapt_binding *binding, VkSemaphore wait, uint64_t wait_value,
                                          VkSemaphore signal, uint64_t signal_value, rapt_error *error);

/* What a node of a graph (rapt/graph.h) that was added with RAPT_GRAPH_WAITS or RAPT_GRAPH_SIGNALS waits for and signals, from
 * the next rapt_graph_submit on; VK_NULL_HANDLE leaves one out. Not while the graph is in flight. */
RAPT_API rapt_status rapt_graph_semaphores(rapt_graph *graph, uint32_t node, VkSemaphore wait, uint64_t wait_value,
                                           VkSemaphore signal, uint64_t signal_value, rapt_error *error);
/* Records all nodes of a finished graph into the app's command buffer, as rapt_record does a binding. Nodes' semaphores are the
 * app's to take care of. Neither allocates nor compiles; the command buffer must have ended before the graph is used again. */
RAPT_API rapt_status rapt_graph_record(rapt_graph *graph, VkCommandBuffer commands, rapt_error *error);
/* After the app has waited for that command buffer: was the canary written? */
RAPT_API rapt_status rapt_graph_check_completion(rapt_graph *graph, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
