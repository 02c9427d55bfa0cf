/* pipestats: compile one SPIR-V compute shader with the Vulkan driver that the loader finds, and print what
 * VK_KHR_pipeline_executable_properties says of it. Nothing is ever submitted, so it runs on the no-op
 * drivers of run-on. One pipeline a process: a driver that aborts takes nothing else with it.
 *
 * Drivers do not validate. What the shader needs of the device (capabilities, limits, subgroup size) is
 * therefore checked before the driver sees the shader. */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "spirv_module.h"

#ifndef VK_KHR_cooperative_matrix /* Vulkan headers older than 1.3.255 */
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
typedef struct {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize, AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    uint32_t scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice, uint32_t *, VkCooperativeMatrixPropertiesKHR *);
#endif

enum { EXIT_BAD_INPUT = 2, EXIT_NO_DEVICE = 3, EXIT_REFUSED = 4 };
enum { MAX_SPECIALIZATIONS = 64, MAX_SETS = 8, MAX_DEVICES = 16, DEFAULT_PUSH_BYTES = 128 };

static const char usage[] =
    "usage: pipestats [OPTION]... [SHADER.spv]\n"
    "\n"
    "Compiles a SPIR-V compute shader with the Vulkan driver that the loader finds and prints the driver's\n"
    "statistics; without SHADER, prints what the device can do. The descriptor set layout comes from the "
    "shader.\n"
    "\n"
    "  --spec ID=VALUE    specialization constant (repeatable); give every one that the runtime gives\n"
    "  --push BYTES       push constant range (default 128 where the shader has push constants)\n"
    "  --subgroup SIZE    require this subgroup size\n"
    "  --full-subgroups   require full subgroups\n"
    "  --ir               print the driver's internal representations (assembly) too\n"
    "  --json             print one JSON object instead of text\n"
    "  --device INDEX     the physical device to use (default 0)\n"
    "\n"
    "exit status: 0 compiled; 2 bad input; 3 no usable device; 4 the device lacks what the shader needs,\n"
    "or the driver refused the pipeline\n";

static void die(int status, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
static void die(int status, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fputs("pipestats: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        die(EXIT_BAD_INPUT, "no memory for %zu x %zu bytes", count, size);
    return memory;
}

/* ---- Vulkan entry points ---- */

#define GLOBAL_FUNCTIONS(F)                                                                                  \
    F(vkEnumerateInstanceVersion)                                                                            \
    F(vkCreateInstance)
#define INSTANCE_FUNCTIONS(F)                                                                                \
    F(vkEnumeratePhysicalDevices)                                                                            \
    F(vkEnumerateDeviceExtensionProperties)                                                                  \
    F(vkGetPhysicalDeviceProperties2)                                                                        \
    F(vkGetPhysicalDeviceFeatures2)                                                                          \
    F(vkGetPhysicalDeviceQueueFamilyProperties)                                                              \
    F(vkGetDeviceProcAddr)                                                                                   \
    F(vkCreateDevice)
#define DEVICE_FUNCTIONS(F)                                                                                  \
    F(vkCreateShaderModule)                                                                                  \
    F(vkCreateDescriptorSetLayout)                                                                           \
    F(vkCreatePipelineLayout)                                                                                \
    F(vkCreateComputePipelines)
#define STATISTICS_FUNCTIONS(F)                                                                              \
    F(vkGetPipelineExecutablePropertiesKHR)                                                                  \
    F(vkGetPipelineExecutableStatisticsKHR)                                                                  \
    F(vkGetPipelineExecutableInternalRepresentationsKHR)

#define DECLARE(name) static PFN_##name name;
static PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
GLOBAL_FUNCTIONS(DECLARE)
INSTANCE_FUNCTIONS(DECLARE)
DEVICE_FUNCTIONS(DECLARE)
STATISTICS_FUNCTIONS(DECLARE)

static PFN_vkVoidFunction required(PFN_vkVoidFunction function, const char *name)
{
    if (!function)
        die(EXIT_NO_DEVICE, "the loader or driver has no %s", name);
    return function;
}

/* ---- the device ---- */

typedef struct {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    uint32_t api_version;
    VkExtensionProperties *extensions;
    uint32_t extension_count;

    VkPhysicalDeviceFeatures2 features;
    VkPhysicalDevice16BitStorageFeatures storage16;
    VkPhysicalDevice8BitStorageFeatures storage8;
    VkPhysicalDeviceShaderFloat16Int8Features float16_int8;
    VkPhysicalDeviceShaderAtomicInt64Features atomic_int64;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
    VkPhysicalDeviceScalarBlockLayoutFeatures scalar_layout;
    VkPhysicalDeviceShaderSubgroupExtendedTypesFeatures subgroup_types;
    VkPhysicalDeviceBufferDeviceAddressFeatures device_address;
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product;
    VkPhysicalDeviceMaintenance4Features maintenance4;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR cooperative_matrix;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable_properties;

    VkPhysicalDeviceProperties2 properties;
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceSubgroupSizeControlProperties subgroup_sizes;
} Device;

/* A structure for the features or properties query: linked where the device's API version is at least `core`
 * (0: never core) or it has the extension. */
typedef struct {
    void *structure;
    VkStructureType type;
    uint32_t core;
    const char *extension;
} QueryLink;

static bool has_extension(const Device *device, const char *name)
{
    for (uint32_t i = 0; i < device->extension_count; i++)
        if (!strcmp(device->extensions[i].extensionName, name))
            return true;
    return false;
}

/* Links what the device knows behind `head`; adds the extensions that must be enabled for it to `enabled`. */
static uint32_t link_queries(const Device *device, void *head, const QueryLink *links, size_t count,
                             const char **enabled)
{
    VkBaseOutStructure *tail = head;
    uint32_t enabled_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool core = links[i].core && device->api_version >= links[i].core;
        VkBaseOutStructure *structure = links[i].structure;
        structure->sType = links[i].type;
        if (!core && !(links[i].extension && has_extension(device, links[i].extension)))
            continue;
        if (!core)
            enabled[enabled_count++] = links[i].extension;
        tail = tail->pNext = structure;
    }
    return enabled_count;
}

static void open_instance(Device *device)
{
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die(EXIT_NO_DEVICE, "no Vulkan loader: %s", dlerror());
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    memcpy(&vkGetInstanceProcAddr, &symbol, sizeof symbol);
    required((PFN_vkVoidFunction)vkGetInstanceProcAddr, "vkGetInstanceProcAddr");
#define LOAD(name) name = (PFN_##name)required(vkGetInstanceProcAddr(VK_NULL_HANDLE, #name), #name);
    GLOBAL_FUNCTIONS(LOAD)
#undef LOAD
    VkApplicationInfo application = {VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "pipestats",
                                     .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    VkResult result = vkCreateInstance(&info, NULL, &device->instance);
    if (result != VK_SUCCESS)
        die(EXIT_NO_DEVICE, "vkCreateInstance returned %d", result);
#define LOAD(name) name = (PFN_##name)required(vkGetInstanceProcAddr(device->instance, #name), #name);
    INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
}

static void pick_physical_device(Device *device, uint32_t index)
{
    VkPhysicalDevice found[MAX_DEVICES];
    uint32_t count = MAX_DEVICES;
    VkResult result = vkEnumeratePhysicalDevices(device->instance, &count, found);
    if (result < 0)
        die(EXIT_NO_DEVICE, "vkEnumeratePhysicalDevices returned %d", result);
    if (index >= count)
        die(EXIT_NO_DEVICE, "no physical device %u: the loader found %u", index, count);
    device->physical = found[index];
    result = vkEnumerateDeviceExtensionProperties(device->physical, NULL, &device->extension_count, NULL);
    if (result == VK_SUCCESS) {
        device->extensions = allocate(device->extension_count, sizeof *device->extensions);
        result = vkEnumerateDeviceExtensionProperties(device->physical, NULL, &device->extension_count,
                                                      device->extensions);
    }
    if (result < 0)
        die(EXIT_NO_DEVICE, "vkEnumerateDeviceExtensionProperties returned %d", result);
}

static void query_and_open(Device *device)
{
    VkPhysicalDeviceProperties2 version = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    vkGetPhysicalDeviceProperties2(device->physical, &version);
    device->api_version = version.properties.apiVersion;

    const char *enabled[16], *ignored[16];
#define TYPE(name) VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_##name
    const QueryLink features[] = {
        {&device->storage16, TYPE(16BIT_STORAGE_FEATURES), VK_API_VERSION_1_1, "VK_KHR_16bit_storage"},
        {&device->storage8, TYPE(8BIT_STORAGE_FEATURES), VK_API_VERSION_1_2, "VK_KHR_8bit_storage"},
        {&device->float16_int8, TYPE(SHADER_FLOAT16_INT8_FEATURES), VK_API_VERSION_1_2,
         "VK_KHR_shader_float16_int8"},
        {&device->atomic_int64, TYPE(SHADER_ATOMIC_INT64_FEATURES), VK_API_VERSION_1_2,
         "VK_KHR_shader_atomic_int64"},
        {&device->memory_model, TYPE(VULKAN_MEMORY_MODEL_FEATURES), VK_API_VERSION_1_2,
         "VK_KHR_vulkan_memory_model"},
        {&device->scalar_layout, TYPE(SCALAR_BLOCK_LAYOUT_FEATURES), VK_API_VERSION_1_2,
         "VK_EXT_scalar_block_layout"},
        {&device->subgroup_types, TYPE(SHADER_SUBGROUP_EXTENDED_TYPES_FEATURES), VK_API_VERSION_1_2,
         "VK_KHR_shader_subgroup_extended_types"},
        {&device->device_address, TYPE(BUFFER_DEVICE_ADDRESS_FEATURES), VK_API_VERSION_1_2,
         "VK_KHR_buffer_device_address"},
        {&device->size_control, TYPE(SUBGROUP_SIZE_CONTROL_FEATURES), VK_API_VERSION_1_3,
         "VK_EXT_subgroup_size_control"},
        {&device->dot_product, TYPE(SHADER_INTEGER_DOT_PRODUCT_FEATURES), VK_API_VERSION_1_3,
         "VK_KHR_shader_integer_dot_product"},
        {&device->maintenance4, TYPE(MAINTENANCE_4_FEATURES), VK_API_VERSION_1_3, "VK_KHR_maintenance4"},
        {&device->cooperative_matrix, TYPE(COOPERATIVE_MATRIX_FEATURES_KHR), 0, "VK_KHR_cooperative_matrix"},
        {&device->executable_properties, TYPE(PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR), 0,
         "VK_KHR_pipeline_executable_properties"},
    };
    const QueryLink properties[] = {
        {&device->subgroup, TYPE(SUBGROUP_PROPERTIES), VK_API_VERSION_1_1, NULL},
        {&device->driver, TYPE(DRIVER_PROPERTIES), VK_API_VERSION_1_2, "VK_KHR_driver_properties"},
        {&device->subgroup_sizes, TYPE(SUBGROUP_SIZE_CONTROL_PROPERTIES), VK_API_VERSION_1_3,
         "VK_EXT_subgroup_size_control"},
    };
    device->features.sType = TYPE(FEATURES_2);
    device->properties.sType = TYPE(PROPERTIES_2);
#undef TYPE
    uint32_t enabled_count =
        link_queries(device, &device->features, features, sizeof features / sizeof *features, enabled);
    link_queries(device, &device->properties, properties, sizeof properties / sizeof *properties, ignored);
    vkGetPhysicalDeviceFeatures2(device->physical, &device->features);
    vkGetPhysicalDeviceProperties2(device->physical, &device->properties);
    /* robust buffer access changes the code; capture and replay of addresses is for debuggers */
    device->features.features.robustBufferAccess = VK_FALSE;
    device->device_address.bufferDeviceAddressCaptureReplay = VK_FALSE;
    device->device_address.bufferDeviceAddressMultiDevice = VK_FALSE;

    VkQueueFamilyProperties families[32];
    uint32_t family_count = 32, family = 0;
    vkGetPhysicalDeviceQueueFamilyProperties(device->physical, &family_count, families);
    while (family < family_count && !(families[family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        family++;
    if (family == family_count)
        die(EXIT_NO_DEVICE, "%s has no compute queue", device->properties.properties.deviceName);
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = family,
                                     .queueCount = 1, .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &device->features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = enabled_count,
                               .ppEnabledExtensionNames = enabled};
    VkResult result = vkCreateDevice(device->physical, &info, NULL, &device->device);
    if (result != VK_SUCCESS)
        die(EXIT_NO_DEVICE, "vkCreateDevice on %s returned %d", device->properties.properties.deviceName,
            result);
#define LOAD(name) name = (PFN_##name)required(vkGetDeviceProcAddr(device->device, #name), #name);
    DEVICE_FUNCTIONS(LOAD)
    if (device->executable_properties.pipelineExecutableInfo) {
        STATISTICS_FUNCTIONS(LOAD)
    }
#undef LOAD
}

/* ---- does the device have what the shader needs? ---- */

typedef struct {
    uint32_t number;
    const char *name;
    VkBool32 supported;
} Capability;

static void check_capabilities(const Device *device, const SpirvModule *module)
{
    const VkPhysicalDeviceFeatures *core = &device->features.features;
    VkSubgroupFeatureFlags operations = device->subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT
                                            ? device->subgroup.supportedOperations
                                            : 0;
    const Capability capabilities[] = {
        {0, "Matrix", VK_TRUE},
        {1, "Shader", VK_TRUE},
        {9, "Float16", device->float16_int8.shaderFloat16},
        {10, "Float64", core->shaderFloat64},
        {11, "Int64", core->shaderInt64},
        {12, "Int64Atomics", device->atomic_int64.shaderBufferInt64Atomics},
        {22, "Int16", core->shaderInt16},
        {39, "Int8", device->float16_int8.shaderInt8},
        {46, "SampledBuffer", VK_TRUE},
        {47, "ImageBuffer", VK_TRUE},
        {50, "ImageQuery", VK_TRUE},
        {55, "StorageImageReadWithoutFormat", core->shaderStorageImageReadWithoutFormat},
        {56, "StorageImageWriteWithoutFormat", core->shaderStorageImageWriteWithoutFormat},
        {61, "GroupNonUniform", operations & VK_SUBGROUP_FEATURE_BASIC_BIT},
        {62, "GroupNonUniformVote", operations & VK_SUBGROUP_FEATURE_VOTE_BIT},
        {63, "GroupNonUniformArithmetic", operations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT},
        {64, "GroupNonUniformBallot", operations & VK_SUBGROUP_FEATURE_BALLOT_BIT},
        {65, "GroupNonUniformShuffle", operations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT},
        {66, "GroupNonUniformShuffleRelative", operations & VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT},
        {67, "GroupNonUniformClustered", operations & VK_SUBGROUP_FEATURE_CLUSTERED_BIT},
        {68, "GroupNonUniformQuad", operations & VK_SUBGROUP_FEATURE_QUAD_BIT},
        {4433, "StorageBuffer16BitAccess", device->storage16.storageBuffer16BitAccess},
        {4434, "UniformAndStorageBuffer16BitAccess", device->storage16.uniformAndStorageBuffer16BitAccess},
        {4435, "StoragePushConstant16", device->storage16.storagePushConstant16},
        {4448, "StorageBuffer8BitAccess", device->storage8.storageBuffer8BitAccess},
        {4449, "UniformAndStorageBuffer8BitAccess", device->storage8.uniformAndStorageBuffer8BitAccess},
        {4450, "StoragePushConstant8", device->storage8.storagePushConstant8},
        {5345, "VulkanMemoryModel", device->memory_model.vulkanMemoryModel},
        {5346, "VulkanMemoryModelDeviceScope", device->memory_model.vulkanMemoryModelDeviceScope},
        {5347, "PhysicalStorageBufferAddresses", device->device_address.bufferDeviceAddress},
        {6016, "DotProductInputAll", device->dot_product.shaderIntegerDotProduct},
        {6017, "DotProductInput4x8Bit", device->dot_product.shaderIntegerDotProduct},
        {6018, "DotProductInput4x8BitPacked", device->dot_product.shaderIntegerDotProduct},
        {6019, "DotProduct", device->dot_product.shaderIntegerDotProduct},
        {6022, "CooperativeMatrixKHR", device->cooperative_matrix.cooperativeMatrix},
    };
    const size_t count = sizeof capabilities / sizeof *capabilities;
    for (uint32_t i = 0; i < module->capability_count; i++) {
        size_t row = 0;
        while (row < count && capabilities[row].number != module->capabilities[i])
            row++;
        if (row == count)
            die(EXIT_BAD_INPUT, "the shader declares SPIR-V capability %u, which pipestats does not know",
                module->capabilities[i]);
        if (!capabilities[row].supported)
            die(EXIT_REFUSED, "%s has no %s, which the shader declares",
                device->properties.properties.deviceName, capabilities[row].name);
    }
}

static void check_limit(const Device *device, const char *what, uint64_t needed, uint64_t limit)
{
    if (needed > limit)
        die(EXIT_REFUSED, "the shader needs %" PRIu64 " %s; %s has %" PRIu64, needed, what,
            device->properties.properties.deviceName, limit);
}

static void check_limits(const Device *device, const SpirvModule *module, const uint32_t local_size[3],
                         uint64_t shared_bytes, uint32_t push_bytes)
{
    const VkPhysicalDeviceLimits *limits = &device->properties.properties.limits;
    uint32_t spirv = device->api_version >= VK_API_VERSION_1_3   ? VK_MAKE_API_VERSION(0, 1, 6, 0)
                     : device->api_version >= VK_API_VERSION_1_2 ? VK_MAKE_API_VERSION(0, 1, 5, 0)
                     : has_extension(device, "VK_KHR_spirv_1_4") ? VK_MAKE_API_VERSION(0, 1, 4, 0)
                     : device->api_version >= VK_API_VERSION_1_1 ? VK_MAKE_API_VERSION(0, 1, 3, 0)
                                                                 : VK_MAKE_API_VERSION(0, 1, 0, 0);
    if (module->version > spirv)
        die(EXIT_REFUSED, "the shader is SPIR-V 1.%u; %s takes up to 1.%u",
            VK_API_VERSION_MINOR(module->version), device->properties.properties.deviceName,
            VK_API_VERSION_MINOR(spirv));
    uint64_t invocations = 1;
    for (int axis = 0; axis < 3; axis++) {
        check_limit(device, "invocations along an axis of the workgroup", local_size[axis],
                    limits->maxComputeWorkGroupSize[axis]);
        invocations *= local_size[axis];
    }
    check_limit(device, "invocations a workgroup", invocations, limits->maxComputeWorkGroupInvocations);
    check_limit(device, "bytes of shared memory", shared_bytes, limits->maxComputeSharedMemorySize);
    check_limit(device, "bytes of push constants", push_bytes, limits->maxPushConstantsSize);
    uint64_t storage = 0, uniform = 0, sampled = 0, images = 0;
    for (uint32_t i = 0; i < module->binding_count; i++) {
        const SpirvBinding *binding = &module->bindings[i];
        check_limit(device, "descriptor sets", binding->set + UINT64_C(1), limits->maxBoundDescriptorSets);
        storage += binding->type == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER ? binding->count : 0;
        uniform += binding->type == VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER ? binding->count : 0;
        sampled += binding->type == VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER ? binding->count : 0;
        images += binding->type == VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER ? binding->count : 0;
    }
    check_limit(device, "storage buffers a stage", storage, limits->maxPerStageDescriptorStorageBuffers);
    check_limit(device, "uniform buffers a stage", uniform, limits->maxPerStageDescriptorUniformBuffers);
    check_limit(device, "uniform texel buffers a stage", sampled, limits->maxPerStageDescriptorSampledImages);
    check_limit(device, "storage texel buffers a stage", images, limits->maxPerStageDescriptorStorageImages);
}

/* Whether the pipeline must require `size`: a device that has but one size need not be told. */
static bool check_subgroup(const Device *device, uint32_t size, bool full)
{
    const char *name = device->properties.properties.deviceName;
    if (full && !device->size_control.computeFullSubgroups)
        die(EXIT_REFUSED, "%s has no computeFullSubgroups", name);
    if (!size)
        return false;
    if (!device->size_control.subgroupSizeControl ||
        !(device->subgroup_sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)) {
        if (size != device->subgroup.subgroupSize)
            die(EXIT_REFUSED, "%s cannot require a subgroup size; its own is %u, not %u", name,
                device->subgroup.subgroupSize, size);
        return false;
    }
    if (size < device->subgroup_sizes.minSubgroupSize || size > device->subgroup_sizes.maxSubgroupSize ||
        (size & (size - 1)))
        die(EXIT_REFUSED, "subgroup size %u required; %s has powers of two from %u to %u", size, name,
            device->subgroup_sizes.minSubgroupSize, device->subgroup_sizes.maxSubgroupSize);
    return true;
}

/* ---- output ---- */

static void print_json_string(const char *text, size_t length)
{
    putchar('"');
    for (size_t i = 0; i < length && text[i]; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c == '\n')
            fputs("\\n", stdout);
        else if (c < 0x20 || c >= 0x7f)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_json_field(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    print_json_string(text, strlen(text));
}

static const char *component_name(uint32_t type)
{
    static const char *const names[] = {"f16", "f32", "f64", "s8",  "s16", "s32",
                                        "s64", "u8",  "u16", "u32", "u64"};
    return type < sizeof names / sizeof *names ? names[type] : "other";
}

/* The cooperative matrix shapes without saturation, " MxNxK:A*B+C" each. */
static char *matrix_shapes(const Device *device)
{
    uint32_t count = 0;
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get = NULL;
    if (device->cooperative_matrix.cooperativeMatrix)
        get = (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            device->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    if (get && get(device->physical, &count, NULL) < 0)
        count = 0;
    VkCooperativeMatrixPropertiesKHR *shapes = allocate(count, sizeof *shapes);
    for (uint32_t i = 0; i < count; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (get && get(device->physical, &count, shapes) < 0)
        count = 0;
    enum { SHAPE_LENGTH = 64 };
    char *text = allocate(count * SHAPE_LENGTH + 1, 1), *end = text;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *s = &shapes[i];
        if (!s->saturatingAccumulation)
            end += snprintf(end, SHAPE_LENGTH, "%s%ux%ux%u:%s*%s+%s", end == text ? "" : " ", s->MSize,
                            s->NSize, s->KSize, component_name(s->AType), component_name(s->BType),
                            component_name(s->CType));
    }
    free(shapes);
    return text;
}

static void print_device(const Device *device, bool json)
{
    const VkPhysicalDeviceProperties *properties = &device->properties.properties;
    const VkPhysicalDeviceLimits *limits = &properties->limits;
    char *shapes = matrix_shapes(device);
    char api[32];
    snprintf(api, sizeof api, "%u.%u.%u", VK_API_VERSION_MAJOR(properties->apiVersion),
             VK_API_VERSION_MINOR(properties->apiVersion), VK_API_VERSION_PATCH(properties->apiVersion));
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"vendor_id", properties->vendorID},
        {"device_id", properties->deviceID},
        {"subgroup_size", device->subgroup.subgroupSize},
        {"min_subgroup_size", device->subgroup_sizes.minSubgroupSize},
        {"max_subgroup_size", device->subgroup_sizes.maxSubgroupSize},
        {"subgroup_size_control", device->size_control.subgroupSizeControl},
        {"full_subgroups", device->size_control.computeFullSubgroups},
        {"subgroup_operations", device->subgroup.supportedOperations},
        {"max_shared_bytes", limits->maxComputeSharedMemorySize},
        {"max_invocations", limits->maxComputeWorkGroupInvocations},
        {"max_push_bytes", limits->maxPushConstantsSize},
        {"max_storage_buffers", limits->maxPerStageDescriptorStorageBuffers},
        {"max_storage_range", limits->maxStorageBufferRange},
        {"max_texel_elements", limits->maxTexelBufferElements},
        {"float16", device->float16_int8.shaderFloat16},
        {"int8", device->float16_int8.shaderInt8},
        {"int16", device->features.features.shaderInt16},
        {"int64", device->features.features.shaderInt64},
        {"storage16", device->storage16.storageBuffer16BitAccess},
        {"storage8", device->storage8.storageBuffer8BitAccess},
        {"device_address", device->device_address.bufferDeviceAddress},
        {"memory_model", device->memory_model.vulkanMemoryModel},
        {"dot_product", device->dot_product.shaderIntegerDotProduct},
        {"cooperative_matrix", device->cooperative_matrix.cooperativeMatrix},
        {"pipeline_statistics", device->executable_properties.pipelineExecutableInfo},
    };
    if (json) {
        fputs("\"device\": {", stdout);
        print_json_field("name", properties->deviceName);
        fputs(", ", stdout);
        print_json_field("driver", device->driver.driverName);
        fputs(", ", stdout);
        print_json_field("driver_info", device->driver.driverInfo);
        fputs(", ", stdout);
        print_json_field("api", api);
        fputs(", ", stdout);
        print_json_field("matrix_shapes", shapes);
        for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
            printf(", \"%s\": %" PRIu64, figures[i].name, figures[i].value);
        putchar('}');
    } else {
        printf("device %s, driver %s %s, Vulkan %s\n", properties->deviceName, device->driver.driverName,
               device->driver.driverInfo, api);
        for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
            printf("  %-24s %" PRIu64 "\n", figures[i].name, figures[i].value);
        printf("  %-24s %s\n", "matrix_shapes", *shapes ? shapes : "none");
    }
    free(shapes);
}

static void print_shader(const SpirvModule *module, const uint32_t local_size[3], uint64_t shared_bytes,
                         double milliseconds, bool json)
{
    if (json)
        printf(", \"shader\": {\"local_size\": [%u, %u, %u], \"shared_bytes\": %" PRIu64
               ", \"bindings\": %u, \"compile_ms\": %.1f}",
               local_size[0], local_size[1], local_size[2], shared_bytes, module->binding_count,
               milliseconds);
    else
        printf(
            "workgroup %u x %u x %u, %" PRIu64 " bytes of shared memory, %u bindings, compiled in %.1f ms\n",
            local_size[0], local_size[1], local_size[2], shared_bytes, module->binding_count, milliseconds);
}

static void format_value(const VkPipelineExecutableStatisticKHR *statistic, char *text, size_t size)
{
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        snprintf(text, size, "%s", statistic->value.b32 ? "true" : "false");
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        snprintf(text, size, "%" PRId64, statistic->value.i64);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        snprintf(text, size, "%" PRIu64, statistic->value.u64);
        break;
    default:
        snprintf(text, size, "%.9g", statistic->value.f64);
    }
}

static void print_representations(VkDevice device, const VkPipelineExecutableInfoKHR *executable, bool json)
{
    uint32_t count = 0;
    VkResult result = vkGetPipelineExecutableInternalRepresentationsKHR(device, executable, &count, NULL);
    VkPipelineExecutableInternalRepresentationKHR *found = allocate(count, sizeof *found);
    for (uint32_t i = 0; i < count; i++)
        found[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
    if (result >= 0) /* once for the sizes, once for the text */
        result = vkGetPipelineExecutableInternalRepresentationsKHR(device, executable, &count, found);
    for (uint32_t i = 0; i < count; i++)
        found[i].pData = allocate(found[i].dataSize + 1, 1);
    if (result >= 0)
        result = vkGetPipelineExecutableInternalRepresentationsKHR(device, executable, &count, found);
    if (result < 0)
        die(EXIT_REFUSED, "vkGetPipelineExecutableInternalRepresentationsKHR returned %d", result);
    if (json)
        fputs(", \"representations\": [", stdout);
    for (uint32_t i = 0; i < count; i++) {
        size_t length = found[i].isText ? found[i].dataSize : 0;
        if (json) {
            fputs(i ? ", {" : "{", stdout);
            print_json_field("name", found[i].name);
            fputs(", ", stdout);
            print_json_field("description", found[i].description);
            fputs(", \"text\": ", stdout);
            print_json_string(found[i].pData, length);
            putchar('}');
        } else {
            printf("---- %s (%s)\n%.*s\n", found[i].name, found[i].description, (int)length,
                   (char *)found[i].pData);
        }
        free(found[i].pData);
    }
    if (json)
        putchar(']');
    free(found);
}

static void print_statistics(VkDevice device, const VkPipelineExecutableInfoKHR *executable, bool json)
{
    uint32_t count = 0;
    VkResult result = vkGetPipelineExecutableStatisticsKHR(device, executable, &count, NULL);
    VkPipelineExecutableStatisticKHR *found = allocate(count, sizeof *found);
    for (uint32_t i = 0; i < count; i++)
        found[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    if (result >= 0)
        result = vkGetPipelineExecutableStatisticsKHR(device, executable, &count, found);
    if (result < 0)
        die(EXIT_REFUSED, "vkGetPipelineExecutableStatisticsKHR returned %d", result);
    if (json)
        fputs(", \"statistics\": [", stdout);
    for (uint32_t i = 0; i < count; i++) {
        char value[64];
        format_value(&found[i], value, sizeof value);
        if (json) {
            fputs(i ? ", {" : "{", stdout);
            print_json_field("name", found[i].name);
            printf(", \"value\": %s, ", value);
            print_json_field("description", found[i].description);
            putchar('}');
        } else {
            printf("  %-32s %-12s %s\n", found[i].name, value, found[i].description);
        }
    }
    if (json)
        putchar(']');
    free(found);
}

static void print_executables(VkDevice device, VkPipeline pipeline, bool representations, bool json)
{
    VkPipelineInfoKHR info = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    uint32_t count = 0;
    VkResult result = vkGetPipelineExecutablePropertiesKHR(device, &info, &count, NULL);
    VkPipelineExecutablePropertiesKHR *found = allocate(count, sizeof *found);
    for (uint32_t i = 0; i < count; i++)
        found[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    if (result >= 0)
        result = vkGetPipelineExecutablePropertiesKHR(device, &info, &count, found);
    if (result < 0)
        die(EXIT_REFUSED, "vkGetPipelineExecutablePropertiesKHR returned %d", result);
    for (uint32_t i = 0; i < count; i++) {
        if (json) {
            fputs(i ? ", {" : "{", stdout);
            print_json_field("name", found[i].name);
            printf(", \"subgroup_size\": %u", found[i].subgroupSize);
        } else {
            printf("executable %s (%s), subgroup size %u\n", found[i].name, found[i].description,
                   found[i].subgroupSize);
        }
        VkPipelineExecutableInfoKHR executable = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                                  .pipeline = pipeline, .executableIndex = i};
        print_statistics(device, &executable, json);
        if (representations)
            print_representations(device, &executable, json);
        if (json)
            putchar('}');
    }
    free(found);
}

/* ---- the pipeline ---- */

typedef struct {
    const char *path;
    const char *specializations[MAX_SPECIALIZATIONS];
    uint32_t specialization_count;
    uint32_t push_bytes;
    bool has_push_bytes, representations, json, full_subgroups;
    uint32_t subgroup_size, device_index;
} Options;

static VkPipelineLayout make_layout(const Device *device, const SpirvModule *module, uint32_t push_bytes)
{
    VkDescriptorSetLayout sets[MAX_SETS];
    uint32_t set_count = 0;
    for (uint32_t i = 0; i < module->binding_count; i++)
        set_count = module->bindings[i].set >= set_count ? module->bindings[i].set + 1 : set_count;
    if (set_count > MAX_SETS)
        die(EXIT_BAD_INPUT, "the shader uses descriptor set %u; pipestats takes up to %d", set_count - 1,
            MAX_SETS);
    for (uint32_t set = 0; set < set_count; set++) {
        VkDescriptorSetLayoutBinding bindings[SPIRV_MAX_BINDINGS];
        uint32_t count = 0;
        for (uint32_t i = 0; i < module->binding_count; i++)
            if (module->bindings[i].set == set)
                bindings[count++] =
                    (VkDescriptorSetLayoutBinding){.binding = module->bindings[i].binding,
                                                   .descriptorType = module->bindings[i].type,
                                                   .descriptorCount = module->bindings[i].count,
                                                   .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
        VkDescriptorSetLayoutCreateInfo info = {VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                .bindingCount = count, .pBindings = bindings};
        VkResult result = vkCreateDescriptorSetLayout(device->device, &info, NULL, &sets[set]);
        if (result != VK_SUCCESS)
            die(EXIT_REFUSED, "vkCreateDescriptorSetLayout for set %u returned %d", set, result);
    }
    VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes};
    VkPipelineLayoutCreateInfo info = {
        VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = set_count, .pSetLayouts = sets,
        .pushConstantRangeCount = push_bytes ? 1 : 0, .pPushConstantRanges = &range};
    VkPipelineLayout layout;
    VkResult result = vkCreatePipelineLayout(device->device, &info, NULL, &layout);
    if (result != VK_SUCCESS)
        die(EXIT_REFUSED, "vkCreatePipelineLayout returned %d", result);
    return layout;
}

static VkPipeline make_pipeline(const Device *device, const SpirvModule *module, const Options *options,
                                uint32_t push_bytes, double *milliseconds)
{
    VkShaderModuleCreateInfo module_info = {VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = module->word_count * sizeof *module->words,
                                            .pCode = module->words};
    VkShaderModule shader;
    VkResult result = vkCreateShaderModule(device->device, &module_info, NULL, &shader);
    if (result != VK_SUCCESS)
        die(EXIT_REFUSED, "vkCreateShaderModule returned %d", result);

    VkSpecializationMapEntry entries[SPIRV_MAX_CONSTANTS];
    uint64_t values[SPIRV_MAX_CONSTANTS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < module->constant_count; i++) {
        const SpirvConstant *constant = &module->constants[i];
        bool repeated = false; /* glslang declares one constant twice where it is the workgroup size too */
        for (uint32_t k = 0; k < count; k++)
            repeated |= entries[k].constantID == constant->constant_id;
        if (!constant->specialized || repeated)
            continue;
        entries[count] = (VkSpecializationMapEntry){constant->constant_id, count * (uint32_t)sizeof *values,
                                                    constant->size};
        values[count++] = constant->value; /* little-endian: the low bytes come first */
    }
    VkSpecializationInfo specialization = {count, entries, count * sizeof *values, values};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = options->subgroup_size};
    VkPipelineCreateFlags flags = 0;
    if (device->executable_properties.pipelineExecutableInfo)
        flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR |
                (options->representations ? VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR : 0);
    VkComputePipelineCreateInfo info = {
        VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO, .flags = flags,
        .stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = options->subgroup_size ? &subgroup : NULL,
                  .flags = options->full_subgroups
                               ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT
                               : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = shader, .pName = module->entry_point,
                  .pSpecializationInfo = &specialization},
        .layout = make_layout(device, module, push_bytes)};
    VkPipeline pipeline;
    struct timespec start, stop;
    clock_gettime(CLOCK_MONOTONIC, &start);
    result = vkCreateComputePipelines(device->device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline);
    clock_gettime(CLOCK_MONOTONIC, &stop);
    if (result != VK_SUCCESS)
        die(EXIT_REFUSED, "vkCreateComputePipelines on %s returned %d",
            device->properties.properties.deviceName, result);
    *milliseconds = (double)(stop.tv_sec - start.tv_sec) * 1e3 + (double)(stop.tv_nsec - start.tv_nsec) / 1e6;
    return pipeline;
}

/* ---- the command line ---- */

static uint32_t *read_words(const char *path, size_t *word_count)
{
    enum { LARGEST_BYTES = 64 << 20 };
    FILE *file = fopen(path, "rb");
    if (!file)
        die(EXIT_BAD_INPUT, "%s: %s", path, strerror(errno));
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0)
        die(EXIT_BAD_INPUT, "%s: %s", path, strerror(errno));
    if (size == 0 || size % 4 || size > LARGEST_BYTES)
        die(EXIT_BAD_INPUT, "%s: %ld bytes, not a positive multiple of 4 up to %d", path, size,
            LARGEST_BYTES);
    uint32_t *words = allocate((size_t)size, 1);
    if (fread(words, 1, (size_t)size, file) != (size_t)size)
        die(EXIT_BAD_INPUT, "%s: cannot read its %ld bytes", path, size);
    fclose(file);
    *word_count = (size_t)size / 4;
    return words;
}

static uint32_t parse_number(const char *option, const char *text, char terminator, const char **end)
{
    char *stop;
    errno = 0;
    unsigned long value = strtoul(text, &stop, 10);
    if (text[0] < '0' || text[0] > '9' || *stop != terminator || errno || value > UINT32_MAX)
        die(EXIT_BAD_INPUT, "%s: '%s' is not what it takes (see --help)", option, text);
    if (end)
        *end = stop + 1;
    return (uint32_t)value;
}

static Options parse_options(int argc, char **argv)
{
    Options options = {0};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (!strcmp(option, "--help") || !strcmp(option, "-h")) {
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        } else if (!strcmp(option, "--ir")) {
            options.representations = true;
        } else if (!strcmp(option, "--json")) {
            options.json = true;
        } else if (!strcmp(option, "--full-subgroups")) {
            options.full_subgroups = true;
        } else if (option[0] != '-') {
            if (options.path)
                die(EXIT_BAD_INPUT, "one shader at a time: '%s' and '%s'", options.path, option);
            options.path = option;
        } else if (i + 1 == argc) {
            die(EXIT_BAD_INPUT, "unknown option, or one without its value: '%s' (see --help)", option);
        } else if (!strcmp(option, "--spec")) {
            if (options.specialization_count == MAX_SPECIALIZATIONS)
                die(EXIT_BAD_INPUT, "more than %d --spec options", MAX_SPECIALIZATIONS);
            options.specializations[options.specialization_count++] = argv[++i];
        } else if (!strcmp(option, "--push")) {
            options.push_bytes = parse_number(option, argv[++i], '\0', NULL);
            options.has_push_bytes = true;
        } else if (!strcmp(option, "--subgroup")) {
            options.subgroup_size = parse_number(option, argv[++i], '\0', NULL);
        } else if (!strcmp(option, "--device")) {
            options.device_index = parse_number(option, argv[++i], '\0', NULL);
        } else {
            die(EXIT_BAD_INPUT, "unknown option '%s' (see --help)", option);
        }
    }
    return options;
}

static void specialize(SpirvModule *module, const Options *options)
{
    for (uint32_t i = 0; i < options->specialization_count; i++) {
        const char *value;
        uint32_t id = parse_number("--spec", options->specializations[i], '=', &value);
        bool found;
        if (!spirv_specialize(module, id, value, &found))
            die(EXIT_BAD_INPUT, "%s: %s", options->path, module->error);
        if (!found)
            fprintf(stderr, "pipestats: note: %s has no specialization constant %u; ignored\n", options->path,
                    id);
    }
}

int main(int argc, char **argv)
{
    Options options = parse_options(argc, argv);
    SpirvModule module = {0};
    uint32_t *words = NULL, local_size[3] = {1, 1, 1};
    uint64_t shared_bytes = 0;
    if (options.path) {
        size_t word_count;
        words = read_words(options.path, &word_count);
        if (!spirv_parse(&module, words, word_count))
            die(EXIT_BAD_INPUT, "%s: %s", options.path, module.error);
        specialize(&module, &options);
        if (!spirv_workgroup(&module, local_size, &shared_bytes))
            die(EXIT_BAD_INPUT, "%s: %s", options.path, module.error);
        if (module.uses_push_constants && !options.has_push_bytes)
            options.push_bytes = DEFAULT_PUSH_BYTES;
        if (module.uses_push_constants && (options.push_bytes == 0 || options.push_bytes % 4))
            die(EXIT_BAD_INPUT, "--push %u: the shader has push constants, in positive multiples of 4 bytes",
                options.push_bytes);
    }

    static Device device;
    open_instance(&device);
    pick_physical_device(&device, options.device_index);
    query_and_open(&device);
    VkPipeline pipeline = VK_NULL_HANDLE;
    double milliseconds = 0;
    if (options.path) {
        check_capabilities(&device, &module);
        check_limits(&device, &module, local_size, shared_bytes, options.push_bytes);
        if (!check_subgroup(&device, options.subgroup_size, options.full_subgroups))
            options.subgroup_size = 0;
        pipeline = make_pipeline(&device, &module, &options, options.push_bytes, &milliseconds);
    }

    if (options.json)
        putchar('{');
    if (options.json || !options.path)
        print_device(&device, options.json);
    else
        printf("device %s, driver %s %s\n", device.properties.properties.deviceName, device.driver.driverName,
               device.driver.driverInfo);
    if (options.path) {
        print_shader(&module, local_size, shared_bytes, milliseconds, options.json);
        if (options.json)
            fputs(", \"executables\": [", stdout);
        if (device.executable_properties.pipelineExecutableInfo)
            print_executables(device.device, pipeline, options.representations, options.json);
        else if (!options.json)
            puts("this driver has no VK_KHR_pipeline_executable_properties");
        if (options.json)
            putchar(']');
    }
    if (options.json)
        puts("}");
    spirv_release(&module);
    free(words);
    /* The driver's objects go with the process: some no-op drivers crash on destroying them. */
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_BAD_INPUT;
}
