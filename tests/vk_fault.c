#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#endif
#include "vk_fault.h"
#include "base/base.h"
#include "vk/compat.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
static void rest(void)
{
    Sleep(1);
}
#else
#include <dlfcn.h>
#include <time.h>
static void rest(void)
{
    const struct timespec t = {.tv_nsec = 200000};
    nanosleep(&t, NULL);
}
#endif

PFN_vkGetInstanceProcAddr vk_fault_real;
static void *library;
/* An instance of the test's own, which keeps drivers loaded: some (NVIDIA's) can be loaded some 30 times in a process only,
 * and others (lavapipe) take long. */
static VkInstance keeper;
static atomic_int countdown = -1, live, stall = -1;
static atomic_int fault_result; /* VkResult */
static _Atomic(const char *) fault_only, fired;
static atomic_bool skip_work, split_memory, stalled;
static _Atomic(const void *) aimed[2];
static atomic_ullong slow_percent = 100, submitted_at, memory_limit = UINT64_MAX;
static uint32_t real_types; /* memory types before they were doubled */

bool vk_fault_open(void)
{
    void *symbol = NULL;
#if defined(_WIN32)
    library = (void *)LoadLibraryA("vulkan-1.dll");
    if (library != NULL) {
        FARPROC proc = GetProcAddress((HMODULE)library, "vkGetInstanceProcAddr");
        memcpy(&symbol, &proc, sizeof symbol);
    }
#else
    const char *const names[] = {getenv("RAPT_TEST_LIBVULKAN"), "libvulkan.so.1", "libvulkan.so", "libvulkan.dylib"};
    for (size_t i = 0; i < sizeof names / sizeof names[0] && library == NULL; i++)
        library = names[i] != NULL ? dlopen(names[i], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library != NULL)
        symbol = dlsym(library, "vkGetInstanceProcAddr");
#endif
    memcpy(&vk_fault_real, &symbol, sizeof symbol);
    if (vk_fault_real == NULL)
        return false;
    PFN_vkVoidFunction proc = vk_fault_real(VK_NULL_HANDLE, "vkCreateInstance");
    PFN_vkCreateInstance create;
    memcpy(&create, &proc, sizeof create);
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
    if (create == NULL || create(&info, NULL, &keeper) != VK_SUCCESS)
        keeper = VK_NULL_HANDLE;
    return true;
}

void vk_fault_close(void)
{
    if (keeper != VK_NULL_HANDLE) {
        PFN_vkVoidFunction proc = vk_fault_real(keeper, "vkDestroyInstance");
        PFN_vkDestroyInstance destroy;
        memcpy(&destroy, &proc, sizeof destroy);
        destroy(keeper, NULL);
        keeper = VK_NULL_HANDLE;
    }
#if !defined(_WIN32)
    if (library != NULL)
        dlclose(library);
#endif
    library = NULL;
    vk_fault_real = NULL;
}

void vk_fault_arm(int calls, VkResult result, const char *only)
{
    countdown = -1;
    fault_result = result;
    fault_only = only;
    fired = NULL;
    countdown = calls; /* the last: other threads count from here on */
}

const char *vk_fault_fired(void)
{
    return fired;
}

void vk_fault_skip_work(bool skip)
{
    skip_work = skip;
}

void vk_fault_split_memory(bool split)
{
    split_memory = split;
}

int vk_fault_live(void)
{
    return live;
}

void vk_fault_aim(const void *device, const void *queue)
{
    atomic_store(&aimed[0], device);
    atomic_store(&aimed[1], queue);
}

void vk_fault_stall(int submits)
{
    atomic_store(&stall, submits);
    atomic_store(&stalled, false);
}

bool vk_fault_stalled(void)
{
    return atomic_load(&stalled);
}

void vk_fault_slow(unsigned percent)
{
    atomic_store(&slow_percent, percent);
}

void vk_fault_limit_memory(uint64_t bytes)
{
    atomic_store(&memory_limit, bytes);
}

static bool is_aimed_at(const void *handle)
{
    const void *const device = atomic_load(&aimed[0]);
    return device == NULL || handle == device || handle == atomic_load(&aimed[1]);
}

static PFN_vkDeviceWaitIdle real_vkDeviceWaitIdle;

/* What a call is to fail with; VK_SUCCESS: it is not. `handle`: the first thing that it is given. A device that is lost does nothing any more: this one ends its work first, as
 * what it works on may be destroyed from now on. */
static VkResult fault_of(const void *handle, const char *name)
{
    const VkResult result = (VkResult)atomic_load(&fault_result); /* before the count: it may be set back meanwhile */
    const char *only = atomic_load(&fault_only);
    if (atomic_load(&countdown) < 0 || (only != NULL && strcmp(name, only) != 0) || !is_aimed_at(handle))
        return VK_SUCCESS;
    if (atomic_fetch_sub(&countdown, 1) != 0)
        return VK_SUCCESS;
    void *const device = (void *)(uintptr_t)atomic_load(&aimed[0]);
    if (result == VK_ERROR_DEVICE_LOST && device != NULL && real_vkDeviceWaitIdle != NULL)
        real_vkDeviceWaitIdle((VkDevice)device);
    atomic_store(&fired, name);
    return result;
}

/* Calls that may fail: X(name, parameters, arguments, objects made, done first). "Done first" runs the real
 * call even when it is to fail. */
#define FALLIBLE(X)                                                                                          \
    X(vkCreateInstance, (const VkInstanceCreateInfo *a, const VkAllocationCallbacks *b, VkInstance *c),      \
      (a, b, c), 1, 0)                                                                                       \
    X(vkEnumerateInstanceExtensionProperties, (const char *a, uint32_t *b, VkExtensionProperties *c),        \
      (a, b, c), 0, 0)                                                                                       \
    X(vkEnumerateInstanceLayerProperties, (uint32_t * a, VkLayerProperties * b), (a, b), 0, 0)               \
    X(vkEnumerateInstanceVersion, (uint32_t * a), (a), 0, 0)                                                 \
    X(vkEnumeratePhysicalDevices, (VkInstance a, uint32_t * b, VkPhysicalDevice * c), (a, b, c), 0, 0)       \
    X(vkEnumerateDeviceExtensionProperties,                                                                  \
      (VkPhysicalDevice a, const char *b, uint32_t *c, VkExtensionProperties *d), (a, b, c, d), 0, 0)        \
    X(vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR,                                                     \
      (VkPhysicalDevice a, uint32_t * b, VkCooperativeMatrixPropertiesKHR * c), (a, b, c), 0, 0)             \
    X(vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV,                                    \
      (VkPhysicalDevice a, uint32_t * b, VkCooperativeMatrixFlexibleDimensionsPropertiesNV * c), (a, b, c), 0, 0) \
    X(vkCreateDevice,                                                                                        \
      (VkPhysicalDevice a, const VkDeviceCreateInfo *b, const VkAllocationCallbacks *c, VkDevice *d),        \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkCreateDebugUtilsMessengerEXT,                                                                        \
      (VkInstance a, const VkDebugUtilsMessengerCreateInfoEXT *b, const VkAllocationCallbacks *c,            \
       VkDebugUtilsMessengerEXT *d),                                                                         \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkDeviceWaitIdle, (VkDevice a), (a), 0, 1)                                                             \
    X(vkMapMemory,                                                                                           \
      (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, void **f),          \
      (a, b, c, d, e, f), 0, 0)                                                                              \
    X(vkFlushMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c), 0, 0)    \
    X(vkInvalidateMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c), 0,  \
      0)                                                                                                     \
    X(vkCreateBuffer,                                                                                        \
      (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d), (a, b, c, d),  \
      1, 0)                                                                                                  \
    X(vkBindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d), (a, b, c, d), 0, 0)    \
    X(vkQueueBindSparse, (VkQueue a, uint32_t b, const VkBindSparseInfo *c, VkFence d), (a, b, c, d), 0, 0)  \
    X(vkCreateBufferView,                                                                                    \
      (VkDevice a, const VkBufferViewCreateInfo *b, const VkAllocationCallbacks *c, VkBufferView *d),        \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkCreateShaderModule,                                                                                  \
      (VkDevice a, const VkShaderModuleCreateInfo *b, const VkAllocationCallbacks *c, VkShaderModule *d),    \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkCreatePipelineCache,                                                                                 \
      (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineCache *d),  \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkGetPipelineCacheData, (VkDevice a, VkPipelineCache b, size_t * c, void *d), (a, b, c, d), 0, 0)      \
    X(vkCreatePipelineLayout,                                                                                \
      (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c,                      \
       VkPipelineLayout *d),                                                                                 \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkCreateDescriptorSetLayout,                                                                           \
      (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b, const VkAllocationCallbacks *c,                 \
       VkDescriptorSetLayout *d),                                                                            \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkCreateDescriptorPool,                                                                                \
      (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c,                      \
       VkDescriptorPool *d),                                                                                 \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkAllocateDescriptorSets, (VkDevice a, const VkDescriptorSetAllocateInfo *b, VkDescriptorSet *c),      \
      (a, b, c), 0, 0)                                                                                       \
    X(vkCreateCommandPool,                                                                                   \
      (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c, VkCommandPool *d),      \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkResetCommandPool, (VkDevice a, VkCommandPool b, VkCommandPoolResetFlags c), (a, b, c), 0, 0)         \
    X(vkAllocateCommandBuffers, (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c),      \
      (a, b, c), 0, 0)                                                                                       \
    X(vkBeginCommandBuffer, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b), 0, 0)            \
    X(vkEndCommandBuffer, (VkCommandBuffer a), (a), 0, 0)                                                    \
    X(vkCreateQueryPool,                                                                                     \
      (VkDevice a, const VkQueryPoolCreateInfo *b, const VkAllocationCallbacks *c, VkQueryPool *d),          \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkGetQueryPoolResults,                                                                                 \
      (VkDevice a, VkQueryPool b, uint32_t c, uint32_t d, size_t e, void *f, VkDeviceSize g,                 \
       VkQueryResultFlags h),                                                                                \
      (a, b, c, d, e, f, g, h), 0, 1)                                                                        \
    X(vkCreateFence, (VkDevice a, const VkFenceCreateInfo *b, const VkAllocationCallbacks *c, VkFence *d),   \
      (a, b, c, d), 1, 0)                                                                                    \
    X(vkResetFences, (VkDevice a, uint32_t b, const VkFence *c), (a, b, c), 0, 0)                            \
    X(vkGetFenceStatus, (VkDevice a, VkFence b), (a, b), 0, 0)

#define X(name, parameters, arguments, makes, first)                                                         \
    static PFN_##name real_##name;                                                                           \
    static VKAPI_ATTR VkResult VKAPI_CALL fault_##name parameters                                            \
    {                                                                                                        \
        const VkResult fault = fault_of((const void *)a, #name);                                             \
        if (fault != VK_SUCCESS && !(first))                                                                 \
            return fault;                                                                                    \
        VkResult result = real_##name arguments;                                                             \
        if (result == VK_SUCCESS)                                                                            \
            live += makes;                                                                                   \
        return fault != VK_SUCCESS ? fault : result;                                                         \
    }
FALLIBLE(X)
#undef X

/* Pipelines come in arrays. */
static PFN_vkCreateComputePipelines real_vkCreateComputePipelines;
static VKAPI_ATTR VkResult VKAPI_CALL fault_vkCreateComputePipelines(VkDevice a, VkPipelineCache b,
                                                                     uint32_t n,
                                                                     const VkComputePipelineCreateInfo *c,
                                                                     const VkAllocationCallbacks *d,
                                                                     VkPipeline *e)
{
    const VkResult fault = fault_of(a, "vkCreateComputePipelines");
    if (fault != VK_SUCCESS) {
        for (uint32_t i = 0; i < n; i++)
            e[i] = VK_NULL_HANDLE;
        return fault;
    }
    VkResult result = real_vkCreateComputePipelines(a, b, n, c, d, e);
    for (uint32_t i = 0; i < n; i++)
        live += e[i] != VK_NULL_HANDLE;
    return result;
}

static PFN_vkQueueSubmit real_vkQueueSubmit;
static VKAPI_ATTR VkResult VKAPI_CALL fault_vkQueueSubmit(VkQueue a, uint32_t n, const VkSubmitInfo *b,
                                                          VkFence c)
{
    const VkResult fault = fault_of(a, "vkQueueSubmit");
    if (fault != VK_SUCCESS)
        return fault;
    if (!is_aimed_at(a))
        return real_vkQueueSubmit(a, n, b, c);
    if (atomic_load(&stall) >= 0 && atomic_fetch_sub(&stall, 1) <= 0) {
        atomic_store(&stall, 0); /* and so for all that follow */
        atomic_store(&stalled, true);
        return VK_SUCCESS;
    }
    atomic_store(&submitted_at, rapt_now_ns());
    return skip_work ? real_vkQueueSubmit(a, 0, NULL, c) : real_vkQueueSubmit(a, n, b, c);
}

/* A wait that succeeds ends as much later as the device is made slower. */
static PFN_vkWaitForFences real_vkWaitForFences;
static VKAPI_ATTR VkResult VKAPI_CALL fault_vkWaitForFences(VkDevice a, uint32_t b, const VkFence *c, VkBool32 d,
                                                            uint64_t e)
{
    const VkResult fault = fault_of(a, "vkWaitForFences");
    /* To its end, however short the caller's patience: nothing is torn down under a device at work. */
    const uint64_t patience = fault != VK_SUCCESS && !vk_fault_stalled() ? UINT64_MAX : e;
    const VkResult result = real_vkWaitForFences(a, b, c, d, patience);
    const uint64_t percent = atomic_load(&slow_percent);
    if (percent > 100 && result == VK_SUCCESS && is_aimed_at(a)) {
        const uint64_t begin = atomic_load(&submitted_at), end = begin + (rapt_now_ns() - begin) * percent / 100;
        while (rapt_now_ns() < end)
            rest();
    }
    return fault != VK_SUCCESS ? fault : result;
}

static PFN_vkGetPhysicalDeviceMemoryProperties real_vkGetPhysicalDeviceMemoryProperties;
static VKAPI_ATTR void VKAPI_CALL
fault_vkGetPhysicalDeviceMemoryProperties(VkPhysicalDevice a, VkPhysicalDeviceMemoryProperties *m)
{
    real_vkGetPhysicalDeviceMemoryProperties(a, m);
    if (!split_memory || m->memoryTypeCount * 2 > VK_MAX_MEMORY_TYPES)
        return;
    real_types = m->memoryTypeCount;
    for (uint32_t i = 0; i < real_types; i++) {
        m->memoryTypes[real_types + i] = m->memoryTypes[i];
        m->memoryTypes[real_types + i].propertyFlags &=
            ~(VkMemoryPropertyFlags)VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
        m->memoryTypes[i].propertyFlags &= VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    }
    m->memoryTypeCount *= 2;
}

static PFN_vkGetBufferMemoryRequirements real_vkGetBufferMemoryRequirements;
static VKAPI_ATTR void VKAPI_CALL fault_vkGetBufferMemoryRequirements(VkDevice a, VkBuffer b,
                                                                      VkMemoryRequirements *c)
{
    real_vkGetBufferMemoryRequirements(a, b, c);
    if (split_memory && real_types != 0)
        c->memoryTypeBits |= c->memoryTypeBits << real_types;
}

static PFN_vkAllocateMemory real_vkAllocateMemory;
static VKAPI_ATTR VkResult VKAPI_CALL fault_vkAllocateMemory(VkDevice a, const VkMemoryAllocateInfo *b,
                                                             const VkAllocationCallbacks *c,
                                                             VkDeviceMemory *d)
{
    VkMemoryAllocateInfo info = *b;
    const VkResult fault = fault_of(a, "vkAllocateMemory");
    if (fault != VK_SUCCESS)
        return fault;
    if (is_aimed_at(a) && b->allocationSize > atomic_load(&memory_limit))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    if (split_memory && real_types != 0 && info.memoryTypeIndex >= real_types)
        info.memoryTypeIndex -= real_types;
    VkResult result = real_vkAllocateMemory(a, &info, c, d);
    live += result == VK_SUCCESS;
    return result;
}

/* What destroys: X(name, type of the parent, type of the object). */
#define DESTROYERS(X)                                                                                        \
    X(vkDestroyDebugUtilsMessengerEXT, VkInstance, VkDebugUtilsMessengerEXT)                                 \
    X(vkFreeMemory, VkDevice, VkDeviceMemory)                                                                \
    X(vkDestroyBuffer, VkDevice, VkBuffer)                                                                   \
    X(vkDestroyBufferView, VkDevice, VkBufferView)                                                           \
    X(vkDestroyShaderModule, VkDevice, VkShaderModule)                                                       \
    X(vkDestroyPipelineCache, VkDevice, VkPipelineCache)                                                     \
    X(vkDestroyPipeline, VkDevice, VkPipeline)                                                               \
    X(vkDestroyPipelineLayout, VkDevice, VkPipelineLayout)                                                   \
    X(vkDestroyDescriptorSetLayout, VkDevice, VkDescriptorSetLayout)                                         \
    X(vkDestroyDescriptorPool, VkDevice, VkDescriptorPool)                                                   \
    X(vkDestroyCommandPool, VkDevice, VkCommandPool)                                                         \
    X(vkDestroyQueryPool, VkDevice, VkQueryPool)                                                             \
    X(vkDestroyFence, VkDevice, VkFence)

#define X(name, parent, type)                                                                                \
    static PFN_##name real_##name;                                                                           \
    static VKAPI_ATTR void VKAPI_CALL fault_##name(parent a, type b, const VkAllocationCallbacks *c)         \
    {                                                                                                        \
        live -= b != VK_NULL_HANDLE;                                                                         \
        real_##name(a, b, c);                                                                                \
    }
DESTROYERS(X)
#undef X

static PFN_vkDestroyInstance real_vkDestroyInstance;
static VKAPI_ATTR void VKAPI_CALL fault_vkDestroyInstance(VkInstance a, const VkAllocationCallbacks *b)
{
    live -= a != NULL;
    real_vkDestroyInstance(a, b);
}

static PFN_vkDestroyDevice real_vkDestroyDevice;
static VKAPI_ATTR void VKAPI_CALL fault_vkDestroyDevice(VkDevice a, const VkAllocationCallbacks *b)
{
    live -= a != NULL;
    real_vkDestroyDevice(a, b);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL fault_vkGetDeviceProcAddr(VkDevice device, const char *name);
static PFN_vkGetDeviceProcAddr real_vkGetDeviceProcAddr;

/* The function in between for `found`, or `found` itself. */
static PFN_vkVoidFunction between(const char *name, PFN_vkVoidFunction found)
{
    if (found == NULL)
        return NULL;
#define TAKE(function)                                                                                       \
    if (strcmp(name, #function) == 0) {                                                                      \
        if (memcmp(&real_##function, &found, sizeof found) != 0) /* other threads may be calling it */        \
            memcpy(&real_##function, &found, sizeof found);                                                  \
        return (PFN_vkVoidFunction)fault_##function;                                                         \
    }
#define X(function, parameters, arguments, makes, first) TAKE(function)
    FALLIBLE(X)
#undef X
#define X(function, parent, type) TAKE(function)
    DESTROYERS(X)
#undef X
    TAKE(vkCreateComputePipelines)
    TAKE(vkQueueSubmit)
    TAKE(vkWaitForFences)
    TAKE(vkGetPhysicalDeviceMemoryProperties)
    TAKE(vkGetBufferMemoryRequirements)
    TAKE(vkAllocateMemory)
    TAKE(vkDestroyInstance)
    TAKE(vkDestroyDevice)
    TAKE(vkGetDeviceProcAddr)
#undef TAKE
    return found;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL fault_vkGetDeviceProcAddr(VkDevice device, const char *name)
{
    return between(name, real_vkGetDeviceProcAddr(device, name));
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vk_fault_get_instance_proc(VkInstance instance, const char *name)
{
    return between(name, vk_fault_real(instance, name));
}
