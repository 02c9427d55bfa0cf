/* The capability snapshot, and its inverse: what to enable so that a snapshot holds. A new capability is a
 * line in rapt/caps.h and one in the tables here. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif
#endif
#include "vk/internal.h"
#include <stddef.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <unistd.h>
#endif

/* ---- Extensions ---- */

rapt_status rapt_extensions_query(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                                  rapt_extensions *out, rapt_error *error)
{
    VkResult result = VK_INCOMPLETE;
    *out = (rapt_extensions){0};
    for (int attempt = 0; attempt < 4 && result == VK_INCOMPLETE; attempt++) {
        rapt_extensions_free(instance, out);
        uint32_t count = 0;
        result = instance->fn.vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
        if (result != VK_SUCCESS || count == 0)
            break;
        out->list = rapt_calloc(instance->allocator, count, sizeof *out->list);
        if (out->list == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                             "no memory for the list of device extensions");
        out->count = count;
        result = instance->fn.vkEnumerateDeviceExtensionProperties(physical, NULL, &count, out->list);
    }
    if (result < 0) {
        rapt_extensions_free(instance, out);
        return rapt_vk_check(NULL, result, "vkEnumerateDeviceExtensionProperties", error);
    }
    return RAPT_OK;
}

void rapt_extensions_free(const rapt_vk_instance *instance, rapt_extensions *extensions)
{
    rapt_free(instance->allocator, extensions->list, extensions->count * sizeof *extensions->list);
    *extensions = (rapt_extensions){0};
}

bool rapt_extensions_have(const rapt_extensions *extensions, const char *name)
{
    for (uint32_t i = 0; i < extensions->count; i++)
        if (strcmp(extensions->list[i].extensionName, name) == 0)
            return true;
    return false;
}

/* ---- Features ---- */

/* The structures of rapt_features that are chained behind the core one, in their order there, and where each
 * comes from. */
static const struct feature_link {
    size_t offset;
    VkStructureType type;
    const char *extension;
    uint32_t core; /* the version that took the extension in; 0: none */
} feature_links[] = {
    {offsetof(rapt_features, storage16), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
     VK_KHR_16BIT_STORAGE_EXTENSION_NAME, VK_API_VERSION_1_1},
    {offsetof(rapt_features, storage8), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES,
     VK_KHR_8BIT_STORAGE_EXTENSION_NAME, VK_API_VERSION_1_2},
    {offsetof(rapt_features, small), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES,
     VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME, VK_API_VERSION_1_2},
    {offsetof(rapt_features, address), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES,
     VK_KHR_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME, VK_API_VERSION_1_2},
    {offsetof(rapt_features, timeline), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
     VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME, VK_API_VERSION_1_2},
    {offsetof(rapt_features, memory_model), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES,
     VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME, VK_API_VERSION_1_2},
    {offsetof(rapt_features, size_control), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
     VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, VK_API_VERSION_1_3},
    {offsetof(rapt_features, dot), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
     VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME, VK_API_VERSION_1_3},
    {offsetof(rapt_features, coopmat), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
     VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, 0},
    {offsetof(rapt_features, coopmat2), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
     VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME, 0},
    {offsetof(rapt_features, statistics),
     VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
     VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME, 0},
    {offsetof(rapt_features, fault), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FAULT_FEATURES_EXT,
     VK_EXT_DEVICE_FAULT_EXTENSION_NAME, 0},
};

/* The VkBool32 behind each capability that is a feature to enable. Two lines of one capability: both are
 * enabled, and the capability is there when the first of them is. */
static const struct feature_bit {
    uint32_t feature;
    size_t offset;
    const char *extension_alone; /* instead of a VkBool32: the extension is all there is to it */
} feature_bits[] = {
    {RAPT_FEATURE_INDEX_SUBGROUP_SIZE_CONTROL, offsetof(rapt_features, size_control.subgroupSizeControl),
     NULL},
    {RAPT_FEATURE_INDEX_FULL_SUBGROUPS, offsetof(rapt_features, size_control.computeFullSubgroups), NULL},
    {RAPT_FEATURE_INDEX_FP16, offsetof(rapt_features, small.shaderFloat16), NULL},
    {RAPT_FEATURE_INDEX_STORAGE_16BIT, offsetof(rapt_features, storage16.storageBuffer16BitAccess), NULL},
    {RAPT_FEATURE_INDEX_STORAGE_8BIT, offsetof(rapt_features, storage8.storageBuffer8BitAccess), NULL},
    {RAPT_FEATURE_INDEX_INT8, offsetof(rapt_features, small.shaderInt8), NULL},
    {RAPT_FEATURE_INDEX_INT8_DOT, offsetof(rapt_features, dot.shaderIntegerDotProduct), NULL},
    {RAPT_FEATURE_INDEX_INT64, offsetof(rapt_features, core.features.shaderInt64), NULL},
    {RAPT_FEATURE_INDEX_BUFFER_DEVICE_ADDRESS, offsetof(rapt_features, address.bufferDeviceAddress), NULL},
    {RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX, offsetof(rapt_features, coopmat.cooperativeMatrix), NULL},
    {RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX_2, /* all of these: has_coopmat2 */
     offsetof(rapt_features, coopmat2.cooperativeMatrixWorkgroupScope), NULL},
    {RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX_2,
     offsetof(rapt_features, coopmat2.cooperativeMatrixFlexibleDimensions), NULL},
    {RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX_2, offsetof(rapt_features, coopmat2.cooperativeMatrixReductions), NULL},
    {RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX_2, offsetof(rapt_features, coopmat2.cooperativeMatrixConversions), NULL},
    {RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX_2,
     offsetof(rapt_features, coopmat2.cooperativeMatrixPerElementOperations), NULL},
    {RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX_2,
     offsetof(rapt_features, coopmat2.cooperativeMatrixTensorAddressing), NULL},
    {RAPT_FEATURE_INDEX_TIMELINE_SEMAPHORE, offsetof(rapt_features, timeline.timelineSemaphore), NULL},
    {RAPT_FEATURE_INDEX_VULKAN_MEMORY_MODEL, offsetof(rapt_features, memory_model.vulkanMemoryModel), NULL},
    {RAPT_FEATURE_INDEX_VULKAN_MEMORY_MODEL,
     offsetof(rapt_features, memory_model.vulkanMemoryModelDeviceScope), NULL},
    {RAPT_FEATURE_INDEX_PIPELINE_STATISTICS, offsetof(rapt_features, statistics.pipelineExecutableInfo),
     NULL},
    {RAPT_FEATURE_INDEX_PUSH_DESCRIPTOR, 0, VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME},
    {RAPT_FEATURE_INDEX_MEMORY_BUDGET, 0, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME},
    {RAPT_FEATURE_INDEX_SPARSE_BUFFER, offsetof(rapt_features, core.features.sparseResidencyBuffer), NULL},
    {RAPT_FEATURE_INDEX_SPARSE_BUFFER, offsetof(rapt_features, core.features.sparseBinding), NULL},
};

static void *at(void *base, size_t offset)
{
    return (char *)base + offset;
}

static VkBool32 *bit_of(rapt_features *features, const struct feature_bit *bit)
{
    return at(features, bit->offset);
}

/* What may be used: of the physical device, or of what an app declares. */
typedef struct rapt_have {
    uint32_t version; /* the lesser of the instance's and the device's */
    const rapt_extensions *offered;
    const rapt_enabled *enabled; /* NULL: all that is offered */
} rapt_have;

static bool has_extension(const rapt_have *have, const char *name)
{
    if (have->enabled == NULL)
        return rapt_extensions_have(have->offered, name);
    for (uint32_t i = 0; i < have->enabled->extension_count; i++)
        if (have->enabled->extensions[i] != NULL && strcmp(have->enabled->extensions[i], name) == 0)
            return true;
    return false;
}

static bool has_link(const rapt_have *have, const struct feature_link *link)
{
    return (link->core != 0 && have->version >= link->core) || has_extension(have, link->extension);
}

/* Starts an empty chain: types set, nothing linked, all features off. */
static void features_init(rapt_features *features)
{
    *features = (rapt_features){.core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    for (size_t i = 0; i < RAPT_COUNT(feature_links); i++)
        ((VkBaseOutStructure *)at(features, feature_links[i].offset))->sType = feature_links[i].type;
}

static void features_link(rapt_features *features, const struct feature_link *link)
{
    VkBaseOutStructure *structure = at(features, link->offset);
    structure->pNext = features->core.pNext;
    features->core.pNext = structure;
}

/* What the physical device supports. */
static void features_query(const rapt_vk_instance *instance, VkPhysicalDevice physical, const rapt_have *have,
                           rapt_features *features)
{
    features_init(features);
    if (instance->fn.vkGetPhysicalDeviceFeatures2 == NULL)
        return;
    for (size_t i = 0; i < RAPT_COUNT(feature_links); i++)
        if (has_link(have, &feature_links[i]))
            features_link(features, &feature_links[i]);
    instance->fn.vkGetPhysicalDeviceFeatures2(physical, &features->core);
}

/* What an app declares to have enabled. A structure whose extension it did not enable counts for nothing. */
static void features_declared(const rapt_have *have, rapt_features *features)
{
    features_init(features);
    if (have->enabled->features == NULL)
        return;
    features->core.features = have->enabled->features->features;
    for (const VkBaseInStructure *s = have->enabled->features->pNext; s != NULL; s = s->pNext) {
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES &&
            have->version >= VK_API_VERSION_1_2) {
            const VkPhysicalDeviceVulkan11Features *f = (const void *)s;
            features->storage16.storageBuffer16BitAccess |= f->storageBuffer16BitAccess;
        } else if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES &&
                   have->version >= VK_API_VERSION_1_2) {
            const VkPhysicalDeviceVulkan12Features *f = (const void *)s;
            features->storage8.storageBuffer8BitAccess |= f->storageBuffer8BitAccess;
            features->small.shaderFloat16 |= f->shaderFloat16;
            features->small.shaderInt8 |= f->shaderInt8;
            features->address.bufferDeviceAddress |= f->bufferDeviceAddress;
            features->timeline.timelineSemaphore |= f->timelineSemaphore;
            features->memory_model.vulkanMemoryModel |= f->vulkanMemoryModel;
            features->memory_model.vulkanMemoryModelDeviceScope |= f->vulkanMemoryModelDeviceScope;
        } else if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES &&
                   have->version >= VK_API_VERSION_1_3) {
            const VkPhysicalDeviceVulkan13Features *f = (const void *)s;
            features->size_control.subgroupSizeControl |= f->subgroupSizeControl;
            features->size_control.computeFullSubgroups |= f->computeFullSubgroups;
            features->dot.shaderIntegerDotProduct |= f->shaderIntegerDotProduct;
        }
        for (size_t i = 0; i < RAPT_COUNT(feature_links); i++) {
            const struct feature_link *link = &feature_links[i];
            if (s->sType != link->type || !has_link(have, link))
                continue;
            /* Only the members that some capability reads: the structures differ in size. */
            size_t end = i + 1 < RAPT_COUNT(feature_links) ? feature_links[i + 1].offset : sizeof *features;
            for (size_t b = 0; b < RAPT_COUNT(feature_bits); b++) {
                const struct feature_bit *bit = &feature_bits[b];
                if (bit->extension_alone == NULL && bit->offset >= link->offset && bit->offset < end)
                    *bit_of(features, bit) |=
                        *(const VkBool32 *)((const char *)s + (bit->offset - link->offset));
            }
        }
    }
}

/* ---- Queues ---- */

uint32_t rapt_queue_families(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                             VkQueueFamilyProperties families[RAPT_MAX_FAMILIES])
{
    uint32_t count = 0;
    instance->fn.vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, NULL);
    count = RAPT_MIN(count, RAPT_MAX_FAMILIES);
    if (count > 0)
        instance->fn.vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    return count;
}

bool rapt_compute_family(const rapt_vk_instance *instance, VkPhysicalDevice physical, uint32_t *family,
                         uint32_t *timestamp_bits)
{
    VkQueueFamilyProperties families[RAPT_MAX_FAMILIES];
    uint32_t count = rapt_queue_families(instance, physical, families);
    int best = -1, best_score = -1;
    for (uint32_t i = 0; i < count; i++) {
        if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0 || families[i].queueCount == 0)
            continue;
        /* A family without graphics does not delay a desktop's frames, and has the more patient watchdog. One
         * without timestamps could not measure its slices. */
        int score = (families[i].timestampValidBits > 0 ? 2 : 0) +
                    ((families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) == 0 ? 1 : 0);
        if (score > best_score) {
            best = (int)i;
            best_score = score;
        }
    }
    if (best < 0)
        return false;
    *family = (uint32_t)best;
    *timestamp_bits = families[best].timestampValidBits;
    return true;
}

/* ---- Properties ---- */

typedef struct rapt_properties {
    VkPhysicalDeviceProperties2 core;
    VkPhysicalDeviceIDProperties id;
    VkPhysicalDeviceMaintenance3Properties maintenance3;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceSubgroupSizeControlProperties size_control;
    VkPhysicalDeviceCooperativeMatrixPropertiesKHR coopmat;
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV coopmat2;
    VkPhysicalDeviceShaderCorePropertiesAMD amd;
    VkPhysicalDeviceShaderCoreProperties2AMD amd2;
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nv;
    VkPhysicalDeviceShaderCoreBuiltinsPropertiesARM arm;
} rapt_properties;

static const struct property_link {
    size_t offset;
    VkStructureType type;
    const char *extension; /* NULL: none */
    uint32_t core;         /* 0: none */
} property_links[] = {
    {offsetof(rapt_properties, id), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, NULL,
     VK_API_VERSION_1_1},
    {offsetof(rapt_properties, maintenance3), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
     VK_KHR_MAINTENANCE_3_EXTENSION_NAME, VK_API_VERSION_1_1},
    {offsetof(rapt_properties, maintenance4), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES,
     VK_KHR_MAINTENANCE_4_EXTENSION_NAME, VK_API_VERSION_1_3},
    {offsetof(rapt_properties, subgroup), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, NULL,
     VK_API_VERSION_1_1},
    {offsetof(rapt_properties, driver), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
     VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME, VK_API_VERSION_1_2},
    {offsetof(rapt_properties, size_control),
     VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES,
     VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, VK_API_VERSION_1_3},
    {offsetof(rapt_properties, coopmat), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR,
     VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, 0},
    {offsetof(rapt_properties, coopmat2), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV,
     VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME, 0},
    {offsetof(rapt_properties, amd), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD,
     VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME, 0},
    {offsetof(rapt_properties, amd2), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD,
     VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME, 0},
    {offsetof(rapt_properties, nv), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV,
     VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME, 0},
    {offsetof(rapt_properties, arm), VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_BUILTINS_PROPERTIES_ARM,
     VK_ARM_SHADER_CORE_BUILTINS_EXTENSION_NAME, 0},
};

/* Properties are the physical device's whatever is enabled, so they go by what it offers. */
static void properties_query(const rapt_vk_instance *instance, VkPhysicalDevice physical, uint32_t version,
                             const rapt_extensions *offered, rapt_properties *p)
{
    *p = (rapt_properties){.core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    if (instance->fn.vkGetPhysicalDeviceProperties2 == NULL) {
        instance->fn.vkGetPhysicalDeviceProperties(physical, &p->core.properties);
        return;
    }
    for (size_t i = 0; i < RAPT_COUNT(property_links); i++) {
        const struct property_link *link = &property_links[i];
        if ((link->core == 0 || version < link->core) &&
            (link->extension == NULL || !rapt_extensions_have(offered, link->extension)))
            continue;
        VkBaseOutStructure *structure = at(p, link->offset);
        structure->sType = link->type;
        structure->pNext = p->core.pNext;
        p->core.pNext = structure;
    }
    instance->fn.vkGetPhysicalDeviceProperties2(physical, &p->core);
}

static rapt_device_class classify(const rapt_properties *p)
{
    const VkPhysicalDeviceProperties *core = &p->core.properties;
    if (core->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU)
        return RAPT_CLASS_SOFTWARE;
    switch (core->vendorID) {
    case 0x1002: {
        /* RDNA runs waves of 32 lanes (and 64), GCN and CDNA only of 64. */
        uint32_t least =
            p->size_control.minSubgroupSize != 0 ? p->size_control.minSubgroupSize : p->subgroup.subgroupSize;
        return least != 0 && least <= 32 ? RAPT_CLASS_AMD_RDNA : RAPT_CLASS_AMD_GCN;
    }
    case 0x10de:
        return (int)p->driver.driverID == VK_DRIVER_ID_MESA_NVK ? RAPT_CLASS_NVK : RAPT_CLASS_NVIDIA;
    case 0x8086:
        return RAPT_CLASS_INTEL;
    case 0x5143:
        return RAPT_CLASS_ADRENO;
    case 0x13b5:
        return RAPT_CLASS_MALI;
    case 0x106b:
        return RAPT_CLASS_APPLE;
    case 0x14e4:
        return RAPT_CLASS_V3D;
    case 0x1010:
        return RAPT_CLASS_POWERVR;
    default:
        break;
    }
    switch ((int)p->driver.driverID) {
    case VK_DRIVER_ID_MESA_LLVMPIPE:
    case VK_DRIVER_ID_GOOGLE_SWIFTSHADER:
        return RAPT_CLASS_SOFTWARE;
    case VK_DRIVER_ID_NVIDIA_PROPRIETARY:
        return RAPT_CLASS_NVIDIA;
    case VK_DRIVER_ID_MESA_NVK:
        return RAPT_CLASS_NVK;
    case VK_DRIVER_ID_QUALCOMM_PROPRIETARY:
    case VK_DRIVER_ID_MESA_TURNIP:
        return RAPT_CLASS_ADRENO;
    case VK_DRIVER_ID_ARM_PROPRIETARY:
    case VK_DRIVER_ID_MESA_PANVK:
        return RAPT_CLASS_MALI;
    case VK_DRIVER_ID_MESA_V3DV:
    case VK_DRIVER_ID_BROADCOM_PROPRIETARY:
        return RAPT_CLASS_V3D;
    case VK_DRIVER_ID_IMAGINATION_PROPRIETARY:
    case VK_DRIVER_ID_IMAGINATION_OPEN_SOURCE_MESA:
        return RAPT_CLASS_POWERVR;
    case RAPT_DRIVER_ID_MESA_HONEYKRISP:
        return RAPT_CLASS_APPLE;
    default:
        return RAPT_CLASS_OTHER;
    }
}

static uint32_t host_threads(void)
{
#if defined(_WIN32)
    DWORD count = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return (uint32_t)count;
#else
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 0;
#endif
}

static uint32_t compute_units(const rapt_properties *p, rapt_device_class device_class)
{
    if (device_class == RAPT_CLASS_SOFTWARE)
        return host_threads();
    if (p->amd2.sType != 0 && p->amd2.activeComputeUnitCount != 0)
        return p->amd2.activeComputeUnitCount;
    if (p->amd.sType != 0)
        return p->amd.shaderEngineCount * p->amd.shaderArraysPerEngineCount *
               p->amd.computeUnitsPerShaderArray;
    if (p->nv.sType != 0)
        return p->nv.shaderSMCount;
    if (p->arm.sType != 0)
        return p->arm.shaderCoreCount;
    return 0;
}

static uint64_t subgroup_features(const rapt_properties *p)
{
    static const struct {
        VkSubgroupFeatureFlags flag;
        uint64_t feature;
    } operations[] = {
        {VK_SUBGROUP_FEATURE_BASIC_BIT, RAPT_FEATURE_BIT(SUBGROUP_BASIC)},
        {VK_SUBGROUP_FEATURE_VOTE_BIT, RAPT_FEATURE_BIT(SUBGROUP_VOTE)},
        {VK_SUBGROUP_FEATURE_BALLOT_BIT, RAPT_FEATURE_BIT(SUBGROUP_BALLOT)},
        {VK_SUBGROUP_FEATURE_ARITHMETIC_BIT, RAPT_FEATURE_BIT(SUBGROUP_ARITHMETIC)},
        {VK_SUBGROUP_FEATURE_SHUFFLE_BIT, RAPT_FEATURE_BIT(SUBGROUP_SHUFFLE)},
        {VK_SUBGROUP_FEATURE_CLUSTERED_BIT, RAPT_FEATURE_BIT(SUBGROUP_CLUSTERED)},
    };
    uint64_t features = 0;
    if ((p->subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) == 0)
        return 0;
    for (size_t i = 0; i < RAPT_COUNT(operations); i++)
        if ((p->subgroup.supportedOperations & operations[i].flag) != 0)
            features |= operations[i].feature;
    return features;
}

static bool texel_formats(const rapt_vk_instance *instance, VkPhysicalDevice physical)
{
    static const VkFormat formats[] = {
        VK_FORMAT_R32_SFLOAT,        VK_FORMAT_R32G32B32A32_SFLOAT, VK_FORMAT_R32G32_UINT,
        VK_FORMAT_R32G32B32A32_UINT, VK_FORMAT_R16G16B16A16_SFLOAT, VK_FORMAT_R16_SFLOAT,
        VK_FORMAT_R16_UINT,
    };
    for (size_t i = 0; i < RAPT_COUNT(formats); i++) {
        VkFormatProperties properties = {0};
        instance->fn.vkGetPhysicalDeviceFormatProperties(physical, formats[i], &properties);
        if ((properties.bufferFeatures & VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER_BIT) == 0)
            return false;
    }
    return true;
}

/* Shapes of plain (not saturating) matrices; what exceeds the table is dropped. */
static rapt_status coopmat_shapes(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                                  rapt_caps *caps, rapt_error *error)
{
    uint32_t count = 0, capacity;
    caps->coopmat_count = 0;
    if (instance->fn.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR == NULL)
        return RAPT_OK;
    VkResult result = instance->fn.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, NULL);
    if (result < 0)
        return rapt_vk_check(NULL, result, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR", error);
    if (count == 0)
        return RAPT_OK;
    capacity = count;
    VkCooperativeMatrixPropertiesKHR *list = rapt_calloc(instance->allocator, capacity, sizeof *list);
    if (list == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                         "no memory for the list of cooperative matrix shapes");
    for (uint32_t i = 0; i < capacity; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    result = instance->fn.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, list);
    for (uint32_t i = 0; result >= 0 && i < RAPT_MIN(count, capacity); i++) {
        if (list[i].saturatingAccumulation || caps->coopmat_count == RAPT_MAX_COOPMAT_SHAPES)
            continue;
        caps->coopmat[caps->coopmat_count++] = (rapt_coopmat_shape){
            .m = list[i].MSize,
            .n = list[i].NSize,
            .k = list[i].KSize,
            .a_type = (uint32_t)list[i].AType,
            .b_type = (uint32_t)list[i].BType,
            .c_type = (uint32_t)list[i].CType,
            .result_type = (uint32_t)list[i].ResultType,
            .scope = (uint32_t)list[i].scope,
        };
    }
    rapt_free(instance->allocator, list, capacity * sizeof *list);
    return result < 0
               ? rapt_vk_check(NULL, result, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR", error)
               : RAPT_OK;
}

/* Of what matrices of workgroups have dimensions; what exceeds the table is dropped. Subgroups' are left to coopmat_shapes. */
static rapt_status flexible_shapes(const rapt_vk_instance *instance, VkPhysicalDevice physical, rapt_caps *caps,
                                   rapt_error *error)
{
    static const char name[] = "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV";
    uint32_t count = 0, capacity;
    caps->coopmat_flexible_count = 0;
    if (instance->fn.vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV == NULL)
        return RAPT_OK;
    VkResult result =
        instance->fn.vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(physical, &count, NULL);
    if (result < 0)
        return rapt_vk_check(NULL, result, name, error);
    if (count == 0)
        return RAPT_OK;
    capacity = count;
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list =
        rapt_calloc(instance->allocator, capacity, sizeof *list);
    if (list == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                         "no memory for the list of the dimensions of cooperative matrices");
    for (uint32_t i = 0; i < capacity; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    result = instance->fn.vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(physical, &count, list);
    for (uint32_t i = 0; result >= 0 && i < RAPT_MIN(count, capacity); i++) {
        if (list[i].saturatingAccumulation || list[i].scope != VK_SCOPE_WORKGROUP_KHR ||
            caps->coopmat_flexible_count == RAPT_MAX_COOPMAT_FLEXIBLE)
            continue;
        caps->coopmat_flexible[caps->coopmat_flexible_count++] = (rapt_coopmat_flexible){
            .m = list[i].MGranularity,
            .n = list[i].NGranularity,
            .k = list[i].KGranularity,
            .a_type = (uint32_t)list[i].AType,
            .b_type = (uint32_t)list[i].BType,
            .c_type = (uint32_t)list[i].CType,
            .result_type = (uint32_t)list[i].ResultType,
            .invocations = list[i].workgroupInvocations,
        };
    }
    rapt_free(instance->allocator, list, capacity * sizeof *list);
    return result < 0 ? rapt_vk_check(NULL, result, name, error) : RAPT_OK;
}

/* Whether everything is there (or enabled) that rows for them use. */
static bool has_coopmat2(const rapt_features *features)
{
    const VkPhysicalDeviceCooperativeMatrix2FeaturesNV *f = &features->coopmat2;
    return f->cooperativeMatrixWorkgroupScope == VK_TRUE && f->cooperativeMatrixFlexibleDimensions == VK_TRUE &&
           f->cooperativeMatrixReductions == VK_TRUE && f->cooperativeMatrixConversions == VK_TRUE &&
           f->cooperativeMatrixPerElementOperations == VK_TRUE && f->cooperativeMatrixTensorAddressing == VK_TRUE;
}

static void heaps(const rapt_vk_instance *instance, VkPhysicalDevice physical, rapt_caps *caps)
{
    VkPhysicalDeviceMemoryProperties memory = {0};
    uint64_t total = 0;
    uint32_t largest = UINT32_MAX;
    instance->fn.vkGetPhysicalDeviceMemoryProperties(physical, &memory);
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++) {
        total += memory.memoryHeaps[i].size;
        if ((memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0 &&
            memory.memoryHeaps[i].size > caps->device_heap) {
            caps->device_heap = memory.memoryHeaps[i].size;
            largest = i;
        }
    }
    caps->host_heap = total - caps->device_heap;
    const VkMemoryPropertyFlags mapped = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                         VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t i = 0; i < memory.memoryTypeCount; i++)
        if (memory.memoryTypes[i].heapIndex == largest &&
            (memory.memoryTypes[i].propertyFlags & mapped) == mapped)
            caps->unified_memory = 1;
}

static void copy_text(char *to, size_t capacity, const char *from)
{
    size_t length = 0;
    while (length + 1 < capacity && from[length] != '\0')
        length++;
    memcpy(to, from, length);
    to[length] = '\0';
}

/* The limits of matrices of workgroups; without any such matrices the feature is not there. */
static rapt_status coopmat2_limits(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                                   const VkPhysicalDeviceCooperativeMatrix2PropertiesNV *limits, rapt_caps *caps,
                                   rapt_error *error)
{
    rapt_status status = flexible_shapes(instance, physical, caps, error);
    for (uint32_t i = caps->coopmat_flexible_count; i-- > 0;) /* what no workgroup may be as large as */
        if (caps->coopmat_flexible[i].invocations > limits->cooperativeMatrixWorkgroupScopeMaxWorkgroupSize) {
            caps->coopmat_flexible[i] = caps->coopmat_flexible[--caps->coopmat_flexible_count];
            caps->coopmat_flexible[caps->coopmat_flexible_count] = (rapt_coopmat_flexible){0};
        }
    if (caps->coopmat_flexible_count == 0) {
        caps->features &= ~RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2);
        return status;
    }
    caps->coopmat2_max_dimension = limits->cooperativeMatrixFlexibleDimensionsMaxDimension;
    caps->coopmat2_shared_bytes = limits->cooperativeMatrixWorkgroupScopeReservedSharedMemory;
    return status;
}

static uint32_t usable_version(const rapt_vk_instance *instance, const VkPhysicalDeviceProperties *core)
{
    return RAPT_MIN(instance->api_version, core->apiVersion);
}

rapt_status rapt_snapshot(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                          const rapt_enabled *enabled, rapt_caps *caps, rapt_error *error)
{
    rapt_extensions offered;
    rapt_properties p;
    rapt_features features;
    VkPhysicalDeviceProperties basic = {0};
    rapt_status status;

    memset(caps, 0, sizeof *caps); /* padding too: snapshots are compared as bytes */
    status = rapt_extensions_query(instance, physical, &offered, error);
    if (status != RAPT_OK)
        return status;
    instance->fn.vkGetPhysicalDeviceProperties(physical, &basic);
    const rapt_have have = {usable_version(instance, &basic), &offered, enabled};
    properties_query(instance, physical, have.version, &offered, &p);
    if (enabled != NULL)
        features_declared(&have, &features);
    else
        features_query(instance, physical, &have, &features);

    const VkPhysicalDeviceProperties *core = &p.core.properties;
    const VkPhysicalDeviceLimits *limits = &core->limits;
    caps->struct_size = sizeof *caps;
    caps->device_class = classify(&p);
    copy_text(caps->device_name, sizeof caps->device_name, core->deviceName);
    copy_text(caps->driver_name, sizeof caps->driver_name, p.driver.driverName);
    copy_text(caps->driver_info, sizeof caps->driver_info, p.driver.driverInfo);
    caps->vendor_id = core->vendorID;
    caps->device_id = core->deviceID;
    caps->driver_id = (uint32_t)p.driver.driverID;
    caps->driver_version = core->driverVersion;
    caps->api_version = have.version;
    caps->device_type = (uint32_t)core->deviceType;
    memcpy(caps->device_uuid, p.id.deviceUUID, sizeof caps->device_uuid);
    memcpy(caps->driver_uuid, p.id.driverUUID, sizeof caps->driver_uuid);
    memcpy(caps->pipeline_cache_uuid, core->pipelineCacheUUID, sizeof caps->pipeline_cache_uuid);

    caps->subgroup_size = p.subgroup.subgroupSize != 0 ? p.subgroup.subgroupSize : 1;
    caps->subgroup_size_min = caps->subgroup_size;
    caps->subgroup_size_max = caps->subgroup_size;
    caps->max_shared_bytes = limits->maxComputeSharedMemorySize;
    caps->max_invocations = limits->maxComputeWorkGroupInvocations;
    for (int axis = 0; axis < 3; axis++) {
        caps->max_group_size[axis] = limits->maxComputeWorkGroupSize[axis];
        caps->max_groups[axis] = limits->maxComputeWorkGroupCount[axis];
    }
    caps->max_storage_buffers =
        RAPT_MIN(limits->maxPerStageDescriptorStorageBuffers, limits->maxDescriptorSetStorageBuffers);
    caps->max_push_bytes = limits->maxPushConstantsSize;
    caps->max_storage_range = limits->maxStorageBufferRange;
    caps->max_uniform_range = limits->maxUniformBufferRange;
    caps->max_texel_elements = limits->maxTexelBufferElements;
    caps->max_allocation =
        p.maintenance3.maxMemoryAllocationSize != 0 ? p.maintenance3.maxMemoryAllocationSize : 1u << 30;
    if (p.maintenance4.maxBufferSize != 0) /* an allocation of ours holds one buffer at least */
        caps->max_allocation = RAPT_MIN(caps->max_allocation, p.maintenance4.maxBufferSize);
    caps->storage_align = (uint32_t)limits->minStorageBufferOffsetAlignment;
    caps->uniform_align = (uint32_t)limits->minUniformBufferOffsetAlignment;
    caps->texel_align = (uint32_t)limits->minTexelBufferOffsetAlignment;
    caps->compute_units = compute_units(&p, caps->device_class);
    uint32_t family, timestamp_bits;
    if (rapt_compute_family(instance, physical, &family, &timestamp_bits) && timestamp_bits != 0)
        caps->timestamp_period = limits->timestampPeriod;
    heaps(instance, physical, caps);

    caps->features = have.version >= VK_API_VERSION_1_1 ? subgroup_features(&p) : 0;
    uint64_t decided = 0; /* the first line of a capability decides */
    for (size_t i = 0; i < RAPT_COUNT(feature_bits); i++) {
        uint64_t bit = 1ull << feature_bits[i].feature;
        if ((decided & bit) != 0)
            continue;
        decided |= bit;
        if (feature_bits[i].extension_alone != NULL ? has_extension(&have, feature_bits[i].extension_alone)
                                                    : *bit_of(&features, &feature_bits[i]) == VK_TRUE)
            caps->features |= bit;
    }
    if (texel_formats(instance, physical))
        caps->features |= RAPT_FEATURE_BIT(TEXEL_BUFFER);
    /* Features that need more than their bit. */
    if ((p.size_control.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) == 0)
        caps->features &= ~RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL);
    if (instance->fn.vkGetPhysicalDeviceMemoryProperties2 == NULL)
        caps->features &= ~RAPT_FEATURE_BIT(MEMORY_BUDGET);
    if ((caps->features & RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL)) != 0) {
        caps->subgroup_size_min = p.size_control.minSubgroupSize;
        caps->subgroup_size_max = p.size_control.maxSubgroupSize;
    }
    if ((caps->features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX)) != 0) {
        if ((p.coopmat.cooperativeMatrixSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0)
            status = coopmat_shapes(instance, physical, caps, error);
        if (caps->coopmat_count == 0)
            caps->features &= ~RAPT_FEATURE_BIT(COOPERATIVE_MATRIX);
    }
    if (!has_coopmat2(&features) || (caps->features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX)) == 0)
        caps->features &= ~RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2);
    if (status == RAPT_OK && (caps->features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2)) != 0)
        status = coopmat2_limits(instance, physical, &p.coopmat2, caps, error);
    rapt_extensions_free(instance, &offered);
    return status;
}

/* ---- What to enable ---- */

static void add_name(rapt_enable *out, const char *name)
{
    for (uint32_t i = 0; i < out->name_count; i++)
        if (strcmp(out->names[i], name) == 0)
            return;
    if (out->name_count < RAPT_MAX_EXTENSIONS)
        out->names[out->name_count++] = name;
}

rapt_status rapt_enable_for(const rapt_vk_instance *instance, VkPhysicalDevice physical,
                            const rapt_caps *caps, rapt_enable *out, rapt_error *error)
{
    rapt_extensions offered;
    rapt_features supported;
    VkPhysicalDeviceProperties basic = {0};
    memset(out, 0, sizeof *out);
    rapt_status status = rapt_extensions_query(instance, physical, &offered, error);
    if (status != RAPT_OK)
        return status;
    instance->fn.vkGetPhysicalDeviceProperties(physical, &basic);
    const rapt_have have = {usable_version(instance, &basic), &offered, NULL};
    features_query(instance, physical, &have, &supported);

    features_init(&out->chain);
    for (size_t i = 0; i < RAPT_COUNT(feature_bits); i++) {
        const struct feature_bit *bit = &feature_bits[i];
        if ((caps->features & 1ull << bit->feature) == 0)
            continue;
        if (bit->extension_alone != NULL)
            add_name(out, bit->extension_alone);
        else
            *bit_of(&out->chain, bit) = *bit_of(&supported, bit);
    }
    out->fault = supported.fault.deviceFault == VK_TRUE;
    out->chain.fault.deviceFault = supported.fault.deviceFault;

    for (size_t i = 0; i < RAPT_COUNT(feature_links); i++) {
        const struct feature_link *link = &feature_links[i];
        bool wanted = link->type == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FAULT_FEATURES_EXT && out->fault;
        size_t end = i + 1 < RAPT_COUNT(feature_links) ? feature_links[i + 1].offset : sizeof out->chain;
        for (size_t b = 0; b < RAPT_COUNT(feature_bits); b++) {
            const struct feature_bit *bit = &feature_bits[b];
            if (bit->extension_alone == NULL && bit->offset >= link->offset && bit->offset < end)
                wanted = wanted || *bit_of(&out->chain, bit) == VK_TRUE;
        }
        if (!wanted)
            continue;
        features_link(&out->chain, link);
        if (link->core == 0 || have.version < link->core)
            add_name(out, link->extension);
    }
    if (have.version < VK_API_VERSION_1_1 &&
        rapt_extensions_have(&offered, VK_KHR_STORAGE_BUFFER_STORAGE_CLASS_EXTENSION_NAME))
        add_name(out,
                 VK_KHR_STORAGE_BUFFER_STORAGE_CLASS_EXTENSION_NAME); /* our modules use that storage class */
    if (rapt_extensions_have(&offered, VK_KHR_PORTABILITY_SUBSET_EXTENSION_NAME))
        add_name(out, VK_KHR_PORTABILITY_SUBSET_EXTENSION_NAME); /* must be enabled where it is offered */
    rapt_extensions_free(instance, &offered);
    return RAPT_OK;
}
