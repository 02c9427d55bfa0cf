/* What a device can do, as plain data. Part of rapt (MIT licence). */
#ifndef RAPT_CAPS_H
#define RAPT_CAPS_H

#include <rapt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which kind of machine the kernels are chosen for. Derived from vendor and driver, never trusted for correctness. */
typedef enum rapt_device_class {
    RAPT_CLASS_OTHER = 0,
    RAPT_CLASS_SOFTWARE, /* lanes of a CPU's vector registers: lavapipe, SwiftShader */
    RAPT_CLASS_AMD_RDNA,
    RAPT_CLASS_AMD_GCN,
    RAPT_CLASS_NVIDIA,
    RAPT_CLASS_INTEL,
    RAPT_CLASS_ADRENO,
    RAPT_CLASS_MALI,
    RAPT_CLASS_APPLE,
    RAPT_CLASS_V3D,
    RAPT_CLASS_POWERVR,
    RAPT_CLASS_NVK, /* NVIDIA under Mesa's driver, whose compiler is another */
    RAPT_CLASS_COUNT
} rapt_device_class;

/* Capabilities a kernel row can ask for: X(identifier, name in the mask and in the sidecars, meaning).
 * Adding one: a line here and its query in src/vk/snapshot.c. */
#define RAPT_FEATURES(X)                                                                                               \
    X(SUBGROUP_BASIC, "subgroup", "subgroup basic operations in compute shaders")                                      \
    X(SUBGROUP_VOTE, "subgroup-vote", "subgroup vote")                                                                 \
    X(SUBGROUP_BALLOT, "subgroup-ballot", "subgroup ballot and broadcast")                                             \
    X(SUBGROUP_ARITHMETIC, "subgroup-arithmetic", "subgroup arithmetic")                                               \
    X(SUBGROUP_SHUFFLE, "subgroup-shuffle", "subgroup shuffle")                                                        \
    X(SUBGROUP_CLUSTERED, "subgroup-clustered", "subgroup clustered operations")                                       \
    X(SUBGROUP_SIZE_CONTROL, "subgroup-size-control", "a required subgroup size can be set on compute pipelines")      \
    X(FULL_SUBGROUPS, "full-subgroups", "full subgroups can be required")                                              \
    X(FP16, "fp16", "16-bit float arithmetic (shaderFloat16)")                                                         \
    X(STORAGE_16BIT, "16bit", "16-bit storage buffer access")                                                          \
    X(STORAGE_8BIT, "8bit", "8-bit storage buffer access")                                                             \
    X(INT8, "int8", "8-bit integer arithmetic")                                                                        \
    X(INT8_DOT, "int8-dot", "dot products of four packed 8-bit integers")                                              \
    X(INT64, "int64", "64-bit integer arithmetic")                                                                     \
    X(BUFFER_DEVICE_ADDRESS, "bda", "buffer device addresses")                                                         \
    X(TEXEL_BUFFER, "texel", "uniform texel buffers of the formats that kernels use")                                  \
    X(COOPERATIVE_MATRIX, "coopmat", "KHR cooperative matrices")                                                       \
    X(COOPERATIVE_MATRIX_2, "coopmat2", "NV cooperative matrices of workgroups, of any size")                          \
    X(PUSH_DESCRIPTOR, "push-descriptor", "push descriptors")                                                          \
    X(TIMELINE_SEMAPHORE, "timeline", "timeline semaphores")                                                           \
    X(VULKAN_MEMORY_MODEL, "memory-model", "the Vulkan memory model")                                                  \
    X(PIPELINE_STATISTICS, "pipeline-statistics", "VK_KHR_pipeline_executable_properties")                             \
    X(MEMORY_BUDGET, "memory-budget", "VK_EXT_memory_budget")                                                          \
    X(SPARSE_BUFFER, "sparse", "buffers whose memory comes piece by piece (sparse residency)")

enum {
#define RAPT_X(id, name, text) RAPT_FEATURE_INDEX_##id,
    RAPT_FEATURES(RAPT_X)
#undef RAPT_X
        RAPT_FEATURE_COUNT
};
#define RAPT_FEATURE_BIT(id) (1ull << RAPT_FEATURE_INDEX_##id)

/* Component types of cooperative matrices, numbered as VkComponentTypeKHR. */
typedef struct rapt_coopmat_shape {
    uint32_t m, n, k;
    uint32_t a_type, b_type, c_type, result_type;
    uint32_t scope; /* VkScopeKHR; 3 = subgroup */
} rapt_coopmat_shape;
#define RAPT_MAX_COOPMAT_SHAPES 64

/* Of what the dimensions of matrices (m x k) (k x n) are to be multiples, in workgroups of so many invocations
 * (VkCooperativeMatrixFlexibleDimensionsPropertiesNV of workgroup scope). */
typedef struct rapt_coopmat_flexible {
    uint32_t m, n, k;
    uint32_t a_type, b_type, c_type, result_type;
    uint32_t invocations;
} rapt_coopmat_flexible;
#define RAPT_MAX_COOPMAT_FLEXIBLE 64

/* A snapshot of one device, in no way live. Sizes in bytes unless said.
 * Thread-safety: plain data. */
typedef struct rapt_caps {
    uint32_t struct_size; /* set by rapt */
    rapt_device_class device_class;
    char device_name[256];
    char driver_name[256];
    char driver_info[256];
    uint32_t vendor_id, device_id, driver_id, driver_version, api_version;
    uint32_t device_type; /* VkPhysicalDeviceType */
    uint8_t device_uuid[16], driver_uuid[16], pipeline_cache_uuid[16];

    uint64_t features; /* RAPT_FEATURE_BIT(...) */
    uint32_t subgroup_size; /* the default size */
    uint32_t subgroup_size_min, subgroup_size_max; /* with size control; else both are subgroup_size */
    uint32_t max_shared_bytes;
    uint32_t max_invocations;      /* per workgroup */
    uint32_t max_group_size[3];
    uint32_t max_groups[3];        /* workgroups per axis of a dispatch */
    uint32_t max_storage_buffers;  /* per stage */
    uint32_t max_push_bytes;
    uint64_t max_storage_range;    /* bytes of one storage buffer binding */
    uint64_t max_uniform_range;
    uint64_t max_texel_elements;   /* texels of one texel buffer view */
    uint64_t max_allocation;       /* bytes of one allocation */
    uint32_t storage_align, uniform_align, texel_align; /* of binding offsets */
    uint32_t compute_units;        /* cores, SMs, CUs or host threads; 0 unknown */
    float timestamp_period;        /* nanoseconds per tick; 0: no timestamps on the compute queue */
    uint64_t device_heap, host_heap; /* bytes of the largest device-local heap and of all other heaps */
    uint32_t unified_memory;       /* 1: device-local memory can be mapped */
    uint32_t no_execution;         /* 1: a compiler-only driver; nothing runs (pipelines are made without probing) */
    uint32_t coopmat_count;
    rapt_coopmat_shape coopmat[RAPT_MAX_COOPMAT_SHAPES];
    uint32_t masked; /* 1 when rapt_caps_mask lowered something */

    /* With the feature coopmat2, else 0. */
    uint32_t coopmat2_max_dimension;
    uint32_t coopmat2_shared_bytes; /* of max_shared_bytes, which the driver keeps for matrices of workgroups */
    uint32_t coopmat_flexible_count;
    rapt_coopmat_flexible coopmat_flexible[RAPT_MAX_COOPMAT_FLEXIBLE];
} rapt_caps;

/* Name of a device class ("software", "amd-rdna", ..) and of a feature (by its index); NULL when out of range. */
RAPT_API const char *rapt_class_name(rapt_device_class device_class);
RAPT_API const char *rapt_feature_name(uint32_t index);
RAPT_API const char *rapt_feature_meaning(uint32_t index);

/* Fills `caps` with the least that rapt runs on: Vulkan 1.1, no optional capability, 16 KiB shared memory, 128
 * invocations, 65,535 groups an axis, 8 storage buffers, 128-byte push constants, 128 MiB ranges, 256-byte alignment. */
RAPT_API void rapt_caps_floor(rapt_caps *caps);

/* Lowers `caps` by `spec`: "floor", or a comma list of no-subgroup, no-fp16, no-16bit, no-8bit, no-int64, no-bda,
 * no-texel, no-coopmat (and with it coopmat2), no-push-descriptor, no-timeline (any "no-" + feature name), shared=N, invocations=N,
 * buffers=N, push=N, range=N, texels=N. A limit above the device's own is refused: a mask only lowers.
 * NULL and "" change nothing. Errors: RAPT_ERROR_INVALID naming the word; `caps` is then unchanged. */
RAPT_API rapt_status rapt_caps_mask(rapt_caps *caps, const char *spec, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
