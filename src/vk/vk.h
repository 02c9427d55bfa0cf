/* The Vulkan layer: function tables, snapshot, device, memory, buffers. Knows nothing of attention. */
#ifndef RAPT_VK_H
#define RAPT_VK_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "base/base.h"
#include "base/store.h"
#include "compiler/compiler.h"
#include "vk/compat.h"
#include "vk/functions.h"
#include <rapt/device.h>
#include <rapt/vulkan.h>
#include <stdatomic.h>

typedef struct rapt_vk_globals {
#define RAPT_X(name) PFN_##name name;
    RAPT_VK_GLOBAL_FUNCTIONS(RAPT_X, RAPT_X)
} rapt_vk_globals;
typedef struct rapt_vk_instance_table {
    RAPT_VK_INSTANCE_FUNCTIONS(RAPT_X, RAPT_X)
} rapt_vk_instance_table;
typedef struct rapt_vk_device_table {
    RAPT_VK_DEVICE_FUNCTIONS(RAPT_X, RAPT_X)
#undef RAPT_X
} rapt_vk_device_table;

/* One VkInstance, made by rapt or the app's. */
typedef struct rapt_vk_instance {
    const rapt_allocator *allocator; /* the runtime's */
    PFN_vkGetInstanceProcAddr get_proc;
    VkInstance handle;
    rapt_vk_instance_table fn;
    uint32_t api_version; /* what it was made with */
    bool owned;
    bool validation;      /* the validation layer is on: its messages go to the runtime's log and are counted */
    VkDebugUtilsMessengerEXT messenger;
} rapt_vk_instance;

struct rapt_runtime {
    rapt_allocator allocator;
    rapt_log log;
    rapt_store store;
    char vulkan_library[1024], compiler_library[1024], override_dir[1024], dump_dir[1024];
    char default_device[256]; /* RAPT_DEVICE at creation */
    rapt_mutex lock;          /* guards the lazy parts below */
    void *vulkan;             /* libvulkan */
    PFN_vkGetInstanceProcAddr get_proc; /* libvulkan's. A test that sets it before the first use sees, and may fail,
                                         * every Vulkan call: no library is loaded then */
    rapt_vk_globals globals;
    rapt_vk_instance instance; /* for listing; opened on first use */
    bool instance_lent;        /* a device of ours lives in it: the first one, so that start-up makes one instance */
    VkPhysicalDevice *devices;
    rapt_caps *caps;
    uint32_t device_count;
    bool compiler_off; /* the app gave "" for compiler_library */
    void *compiler_handle;
    const rapt_compiler_api *compiler; /* NULL until rapt_runtime_compiler succeeded */
    atomic_bool abandoned; /* a hung device was left as it is: its instance and the library must stay, too */
    atomic_uint validation_messages;   /* errors and warnings that validation layers reported */
    rapt_allocator *owner_allocator;   /* reserved */
    rapt_mutex record_lock; /* guards recorder */
    struct rapt_recorder *recorder; /* what is being recorded (src/vk/recorder.c), or NULL */
    atomic_bool recording;          /* recorder is not NULL: a look that costs nothing */
};

/* The run-time compiler, opened on first use. RAPT_ERROR_UNSUPPORTED with the path tried where it is not there. */
rapt_status rapt_runtime_compiler(rapt_runtime *runtime, const rapt_compiler_api **api, rapt_error *error);

/* How long destroying waits for work in flight: enough for anything that is not hung. */
#define RAPT_DESTROY_TIMEOUT_NS (10ull * 1000 * 1000 * 1000)

/* ---- Memory: sub-allocated from blocks; thread-safe. */
typedef enum rapt_memory_use {
    RAPT_MEMORY_DEVICE,   /* device-local; mapped as well where that costs nothing (unified memory) */
    RAPT_MEMORY_UPLOAD,   /* mapped, coherent, written by the host */
    RAPT_MEMORY_READBACK, /* mapped, coherent, cached where there is such a type */
    RAPT_MEMORY_HOST,     /* mapped, coherent, the host's own where that is not the device's */
} rapt_memory_use;

typedef struct rapt_allocation {
    VkDeviceMemory memory;
    uint64_t offset, size;
    void *mapped; /* at `offset`, or NULL */
    void *block;  /* the allocator's own */
} rapt_allocation;

typedef struct rapt_memory rapt_memory; /* blocks and their free lists; src/vk/memory.c */

struct rapt_device {
    rapt_runtime *runtime;
    rapt_caps caps; /* lowered by the mask */
    rapt_vk_instance instance;
    VkPhysicalDevice physical;
    VkPhysicalDeviceMemoryProperties memory_properties;
    VkDevice handle;
    rapt_vk_device_table fn;
    bool owned, no_probe;
    bool borrows_instance; /* the runtime's listing instance; `instance` is then a copy that owns nothing */
    uint32_t queue_family;
    uint32_t timestamp_bits; /* valid bits of a timestamp on the queue; 0: none */
    bool fault_info;         /* VK_EXT_device_fault is enabled */
    VkQueue queue;
    void (*lock_queue)(void *user);
    void (*unlock_queue)(void *user);
    void *lock_user;
    rapt_mutex queue_mutex;
    atomic_bool lost; /* sticky */
    atomic_bool hung; /* sticky: work did not end when it had to. Counts as lost, but may still touch its objects */
    uint64_t submitted; /* batches given to the queue; under the queue's lock */
    rapt_memory *memory;
    rapt_hash identity; /* of device, driver, versions, UUIDs and library build: the context of every cache file */
    /* Transfers: one command buffer and a staging buffer, under transfer_lock, made on first use. */
    rapt_mutex transfer_lock;
    VkCommandPool transfer_pool;
    VkCommandBuffer transfer_commands;
    VkFence transfer_fence;
    uint64_t transfer_timeout; /* ns, of each wait of the transfer under way */
    bool transfer_pending; /* a transfer timed out: its fence must signal before the command buffer is used again */
    uint64_t drained;      /* the batches up to this one are known to be done */
    rapt_buffer *staging;
    struct rapt_kernel_cache *kernels; /* pipelines and verdicts: src/vk/pipeline.c */
    struct rapt_tuning *tuning;        /* measured choices and the block list: src/vk/tuning.c */
};

struct rapt_buffer {
    rapt_device *device;
    VkBuffer handle;
    uint64_t offset; /* of this view in the VkBuffer */
    uint64_t size;   /* as asked for; `capacity` is what may be touched (rounded up to 16 for own buffers) */
    uint64_t capacity;
    uint64_t backed; /* bytes from the first on that have memory; of all but rapt_buffer_reserve's: size */
    uint32_t usage; /* rapt_buffer_usage bits */
    void *mapped;
    rapt_allocation allocation;
    rapt_allocation *pieces; /* memory that came later, in order; room for piece_room */
    uint32_t piece_count, piece_room;
    VkMemoryRequirements need; /* of a buffer of pieces */
    bool owned;
};

/* Maps a VkResult to a status, marks the device lost, and fills the message with `what` and the result's name. */
rapt_status rapt_vk_check(rapt_device *device, VkResult result, const char *what, rapt_error *error);
const char *rapt_vk_result_name(VkResult result);
/* RAPT_ERROR_DEVICE_LOST when the device was lost before. */
rapt_status rapt_device_alive(const rapt_device *device, rapt_error *error);
/* Gives the device up: from now on nothing is submitted or waited for, and Vulkan objects are left as they are. */
void rapt_device_note_hung(rapt_device *device);

/* Fills caps from a physical device. `enabled`: what an adopted device declares (extensions, feature chain), or NULL for
 * everything that the physical device offers. src/vk/snapshot.c */
typedef struct rapt_enabled {
    const char *const *extensions;
    uint32_t extension_count;
    const VkPhysicalDeviceFeatures2 *features;
} rapt_enabled;
rapt_status rapt_snapshot(const rapt_vk_instance *instance, VkPhysicalDevice physical, const rapt_enabled *enabled,
                          rapt_caps *caps, rapt_error *error);

rapt_status rapt_memory_create(rapt_device *device, rapt_memory **memory, rapt_error *error);
void rapt_memory_destroy(rapt_device *device, rapt_memory **memory);
rapt_status rapt_memory_alloc(rapt_device *device, const VkMemoryRequirements *need, rapt_memory_use use,
                              rapt_allocation *out, rapt_error *error);
void rapt_memory_free(rapt_device *device, rapt_allocation *allocation);

/* A buffer for rapt's own use: parameters, workspaces, staging, canaries. */
rapt_status rapt_buffer_create_internal(rapt_device *device, uint64_t bytes, rapt_memory_use use, rapt_buffer **buffer,
                                        rapt_error *error);

/* rapt_buffer_upload and rapt_buffer_download with an end to each of their waits, in ns. After RAPT_ERROR_TIMEOUT the device may
 * still be at the copy, but not in `data`. */
rapt_status rapt_buffer_upload_within(rapt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes, uint64_t timeout,
                                      rapt_error *error);
rapt_status rapt_buffer_download_within(rapt_buffer *buffer, uint64_t offset, void *data, uint64_t bytes, uint64_t timeout,
                                        rapt_error *error);

/* Under the queue's locks: submits one batch. Marks the device lost when it is. */
rapt_status rapt_queue_submit(rapt_device *device, const VkSubmitInfo *submit, VkFence fence, rapt_error *error);
rapt_status rapt_queue_bind_sparse(rapt_device *device, const VkBindSparseInfo *bind, VkFence fence, rapt_error *error);
/* Batches submitted so far. */
uint64_t rapt_queue_submitted(rapt_device *device);
/* Waits at most `timeout` ns. RAPT_ERROR_TIMEOUT, RAPT_ERROR_DEVICE_LOST. */
rapt_status rapt_fence_wait(rapt_device *device, VkFence fence, uint64_t timeout, rapt_error *error);

/* The device's pipelines and verdicts (src/vk/pipeline.c). */
rapt_status rapt_kernel_cache_create(rapt_device *device, rapt_error *error);
void rapt_kernel_cache_destroy(rapt_device *device);

#endif
