/* What the files of the Vulkan layer's lower half (loader to submit) share with each other only. */
#ifndef RAPT_VK_INTERNAL_H
#define RAPT_VK_INTERNAL_H

#include "vk/vk.h"
#include <string.h>

/* Copies an app's options, whose first member is struct_size, over `to` (already filled with defaults): the
 * members that an older, smaller struct lacks keep their default. A newer, larger one is taken if what we do
 * not know is zero. */
rapt_status rapt_options_take(void *to, size_t to_size, const void *from, const char *type_name,
                              rapt_error *error);

/* ---- loader.c */
/* Loads libvulkan and fills runtime->globals. Under runtime->lock. */
rapt_status rapt_loader_open(rapt_runtime *runtime, rapt_error *error);
/* Closes the listing instance and libvulkan. */
void rapt_loader_close(rapt_runtime *runtime);
rapt_status rapt_instance_create(rapt_runtime *runtime, bool validation, rapt_vk_instance *instance,
                                 rapt_error *error);
/* Destroys an owned one; forgets an app's. */
void rapt_instance_destroy(rapt_vk_instance *instance);
/* Fills instance->fn from instance->get_proc and instance->handle. */
rapt_status rapt_instance_table(rapt_vk_instance *instance, rapt_error *error);
/* Fills device->fn. */
rapt_status rapt_device_table(rapt_device *device, rapt_error *error);
/* All physical devices, in memory from the allocator (*count entries). RAPT_ERROR_NO_DEVICE when there are
 * none. */
rapt_status rapt_physical_devices(const rapt_vk_instance *instance, VkPhysicalDevice **devices,
                                  uint32_t *count, rapt_error *error);
/* Lists devices and their snapshots, once. Takes runtime->lock. */
rapt_status rapt_runtime_list(rapt_runtime *runtime, rapt_error *error);

/* ---- snapshot.c */
/* One structure of every kind that holds a feature we know, to be chained as far as the device understands
 * it. */
typedef struct rapt_features {
    VkPhysicalDeviceFeatures2 core;
    VkPhysicalDevice16BitStorageFeatures storage16;
    VkPhysicalDevice8BitStorageFeatures storage8;
    VkPhysicalDeviceShaderFloat16Int8Features small;
    VkPhysicalDeviceBufferDeviceAddressFeatures address;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coopmat;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV coopmat2;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics;
    VkPhysicalDeviceFaultFeaturesEXT fault;
} rapt_features;

typedef struct rapt_extensions {
    VkExtensionProperties *list; /* from the instance's allocator */
    uint32_t count;
} rapt_extensions;
rapt_status rapt_extensions_query(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                                  rapt_extensions *out, rapt_error *error);
void rapt_extensions_free(const rapt_vk_instance *instance, rapt_extensions *extensions);
bool rapt_extensions_have(const rapt_extensions *extensions, const char *name);

/* What is to be given to vkCreateDevice so that `caps` holds: `chain.core` starts the pNext chain (it points
 * into *out, which must not move), names[] are the device extensions. */
#define RAPT_MAX_EXTENSIONS 32
typedef struct rapt_enable {
    rapt_features chain;
    const char *names[RAPT_MAX_EXTENSIONS];
    uint32_t name_count;
    bool fault; /* VK_EXT_device_fault is among them */
} rapt_enable;
rapt_status rapt_enable_for(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                            const rapt_caps *caps, rapt_enable *out, rapt_error *error);

/* The queue family that rapt uses on its own devices, and how many bits its timestamps have. false: none
 * computes. */
bool rapt_compute_family(const rapt_vk_instance *instance, VkPhysicalDevice physical, uint32_t *family,
                         uint32_t *timestamp_bits);
/* Queue families of a device, at most RAPT_MAX_FAMILIES of them. */
#define RAPT_MAX_FAMILIES 32
uint32_t rapt_queue_families(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                             VkQueueFamilyProperties families[RAPT_MAX_FAMILIES]);

/* ---- buffer.c */
uint32_t rapt_usage_from_vulkan(VkBufferUsageFlags flags); /* rapt_buffer_usage bits */
VkBufferUsageFlags rapt_usage_of_device(const rapt_device *device); /* all that our own buffers are made with */
/* Has the device write a word, and looks for it: a no-op driver reports success and writes nothing. */
rapt_status rapt_device_executes(rapt_device *device, bool *executes, rapt_error *error);

/* ---- device.c: what open and adopt share */
/* A zeroed device with its locks. */
rapt_status rapt_device_new(rapt_runtime *runtime, rapt_device **device, rapt_error *error);
/* From instance, physical, handle, caps and queue to a working device. */
rapt_status rapt_device_finish(rapt_device *device, rapt_error *error);
/* Destroys a device in whatever state of making it is, after waiting for its work. */
void rapt_device_release(rapt_device *device);

#endif
