/* Devices and buffers. Part of rapt (MIT licence). */
#ifndef RAPT_DEVICE_H
#define RAPT_DEVICE_H

#include <rapt/caps.h>
#include <rapt/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An opened (or adopted, see rapt/vulkan.h) device with one compute queue.
 * Thread-safety: safe; calls that submit take the queue's lock for the time of vkQueueSubmit only. */
typedef struct rapt_device rapt_device;

/* Number of devices the loader lists, and the snapshot of each; indices are stable while the runtime lives. */
RAPT_API rapt_status rapt_device_count(rapt_runtime *runtime, uint32_t *count, rapt_error *error);
RAPT_API rapt_status rapt_device_query(rapt_runtime *runtime, uint32_t index, rapt_caps *caps, rapt_error *error);

/* The index that `selector` means: a number, 32 hex digits of a device UUID (dashes allowed), or a case-insensitive part
 * of the device's or driver's name. NULL or "": the default device, that is RAPT_DEVICE if set (read when the
 * runtime was created), else discrete, integrated, virtual, lavapipe, other software devices, in that order.
 * Errors: RAPT_ERROR_NO_DEVICE, naming the devices there are. */
RAPT_API rapt_status rapt_device_find(rapt_runtime *runtime, const char *selector, uint32_t *index, rapt_error *error);

typedef struct rapt_device_options {
    uint32_t struct_size;
    const char *selector;  /* see rapt_device_find */
    const char *caps_mask; /* see rapt_caps_mask */
    uint32_t validation;   /* 1: enable VK_LAYER_KHRONOS_validation with synchronization validation where installed */
    uint32_t no_probe;     /* 1: trust every kernel without its known-answer probe (for compiler-only drivers) */
} rapt_device_options;
#define RAPT_DEVICE_OPTIONS_INIT {.struct_size = sizeof(rapt_device_options)}

/* Opens a device of our own. `options` may be NULL. The runtime must outlive it. */
RAPT_API rapt_status rapt_device_open(rapt_runtime *runtime, const rapt_device_options *options, rapt_device **device,
                                      rapt_error *error);
/* Waits for rapt's own work (at most 10 s), writes the caches, and destroys. NULL-safe; sets *device to NULL.
 * Buffers, plans and bindings of this device must be destroyed before. */
RAPT_API void rapt_device_destroy(rapt_device **device);

/* The snapshot the device's plans are made for (lowered by the mask). Valid as long as the device. */
RAPT_API const rapt_caps *rapt_device_caps(const rapt_device *device);

/* What rapt holds on this device now, and the most it has held. */
typedef struct rapt_memory_info {
    uint64_t device_bytes, device_peak; /* device memory allocated, in blocks */
    uint64_t used_bytes, used_peak;     /* of it handed out to buffers, workspaces and parameters */
    uint32_t allocations;               /* vkAllocateMemory calls alive */
} rapt_memory_info;
RAPT_API void rapt_device_memory(const rapt_device *device, rapt_memory_info *info);

/* ---- Buffers ------------------------------------------------------------------------------------------------- */

/* What a buffer may be used for. Kernels that need a use that a wrapped buffer does not declare are refused by name. */
typedef enum rapt_buffer_usage {
    RAPT_BUFFER_STORAGE = 1,
    RAPT_BUFFER_UNIFORM_TEXEL = 2,
    RAPT_BUFFER_TRANSFER_SRC = 4,
    RAPT_BUFFER_TRANSFER_DST = 8,
    RAPT_BUFFER_INDIRECT = 16,
    RAPT_BUFFER_DEVICE_ADDRESS = 32,
} rapt_buffer_usage;

/* A range of device memory, our own or the app's (rapt_buffer_wrap in rapt/vulkan.h).
 * Thread-safety: contents are the caller's to order; the object itself is immutable. */
typedef struct rapt_buffer rapt_buffer;

/* A buffer of `bytes` (at least 1; rounded up to 16) with every usage the device has. Contents are undefined. */
RAPT_API rapt_status rapt_buffer_create(rapt_device *device, uint64_t bytes, rapt_buffer **buffer, rapt_error *error);
/* The same in the host's memory, which the device reads and writes where it lies, across its bus if there is one: for more than the
 * device has room for, keys and values that are seldom looked at (rapt/rows.h says how they come back). The host may touch it
 * through rapt_buffer_map. RAPT_ERROR_UNSUPPORTED where the device sees no such memory. */
RAPT_API rapt_status rapt_buffer_create_host(rapt_device *device, uint64_t bytes, rapt_buffer **buffer, rapt_error *error);
/* Where the host sees the buffer, as long as it lives; NULL where it does not (that of rapt_buffer_create_host it always does). What is
 * written there is seen by work submitted afterwards, what the device writes once it was waited for; not both at a time. */
RAPT_API void *rapt_buffer_map(rapt_buffer *buffer);
/* A buffer of `bytes` addresses whose memory comes as it is asked for: a cache with room for the longest sequence, which kernels see
 * as one piece, without block tables (vAttention, arXiv:2405.04437). Memory comes in pieces of 2 MiB where the device has sparse
 * residency (RAPT_FEATURE_BIT(SPARSE_BUFFER), and a queue that binds); elsewhere all of it is taken here, and rapt_buffer_backed says
 * so. Kernels may be bound to all of it: what has no memory reads as anything and keeps nothing that is written, so it must be hidden,
 * by k_lengths for instance. Uses are fewer than of other buffers (no RAPT_BUFFER_UNIFORM_TEXEL): a tensor that lies there says so,
 * usage = rapt_buffer_uses(buffer), so that its plan takes kernels that can read it. */
RAPT_API rapt_status rapt_buffer_reserve(rapt_device *device, uint64_t bytes, rapt_buffer **buffer, rapt_error *error);
/* Memory for the first `bytes`, if it is not there yet; contents of what is new are undefined, what was there stays. Blocking. Memory is not given back before the buffer is destroyed. On failure nothing is lost:
 * rapt_buffer_backed says what is there. Not while another thread uses the buffer object. */
RAPT_API rapt_status rapt_buffer_back(rapt_buffer *buffer, uint64_t bytes, rapt_error *error);
/* What a buffer may be used for, as rapt_tensor.usage has it: rapt_buffer_usage bits. */
RAPT_API uint32_t rapt_buffer_uses(const rapt_buffer *buffer);
/* Bytes from the first on that have memory: of other buffers all. */
RAPT_API uint64_t rapt_buffer_backed(const rapt_buffer *buffer);
/* Must not be in flight. NULL-safe; sets *buffer to NULL. A wrapped VkBuffer itself is left alone. */
RAPT_API void rapt_buffer_destroy(rapt_buffer **buffer);
RAPT_API uint64_t rapt_buffer_size(const rapt_buffer *buffer);

/* Blocking copies between host memory and [offset, offset + bytes) of the buffer, in pieces through staging memory of
 * bounded size where the memory cannot be mapped. Ordered after everything rapt submitted before on this device. */
RAPT_API rapt_status rapt_buffer_upload(rapt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                                        rapt_error *error);
RAPT_API rapt_status rapt_buffer_download(rapt_buffer *buffer, uint64_t offset, void *data, uint64_t bytes,
                                          rapt_error *error);
/* Blocking fill with a 32-bit pattern; offset and bytes are multiples of 4. */
RAPT_API rapt_status rapt_buffer_fill(rapt_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                                      rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
