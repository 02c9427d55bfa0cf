/* libvulkan: found at run time, function tables, instances, and the list of devices. */
#include "vk/internal.h"
#include <inttypes.h>

/* A pointer to a function from the loader's void(*)(void), without a cast that compilers warn of. */
#define RAPT_STORE_PROC(member, proc)                                                                        \
    do {                                                                                                     \
        PFN_vkVoidFunction proc_ = (proc);                                                                   \
        memcpy(&(member), &proc_, sizeof proc_);                                                             \
    } while (0)

#if defined(_WIN32)
static const char *const library_names[] = {"vulkan-1.dll"};
#define INSTALL_HINT "install the graphics driver of this machine"
#elif defined(__APPLE__)
static const char *const library_names[] = {"libvulkan.dylib", "libvulkan.1.dylib", "libMoltenVK.dylib"};
#define INSTALL_HINT "install the Vulkan SDK or MoltenVK"
#elif defined(__ANDROID__)
static const char *const library_names[] = {"libvulkan.so"};
#define INSTALL_HINT "this phone has no Vulkan"
#else
static const char *const library_names[] = {"libvulkan.so.1", "libvulkan.so"};
#define INSTALL_HINT                                                                                         \
    "install the Vulkan loader (package libvulkan1, vulkan-loader or vulkan-icd-loader) and a driver"
#endif

static bool open_library(rapt_runtime *runtime, const char *path)
{
    void *library = rapt_library_open(path);
    if (library == NULL)
        return false;
    void *symbol = rapt_library_symbol(library, "vkGetInstanceProcAddr");
    if (symbol == NULL)
        symbol =
            rapt_library_symbol(library, "vk_icdGetInstanceProcAddr"); /* a driver in place of the loader */
    if (symbol == NULL) {
        rapt_library_close(library);
        return false;
    }
    memcpy(&runtime->get_proc, &symbol, sizeof symbol);
    runtime->vulkan = library;
    return true;
}

rapt_status rapt_loader_open(rapt_runtime *runtime, rapt_error *error)
{
    const char *missing = NULL;
    if (runtime->globals.vkCreateInstance != NULL)
        return RAPT_OK;
    if (runtime->get_proc == NULL) {
        bool found = false;
        if (runtime->vulkan_library[0] != '\0') {
            if (!open_library(runtime, runtime->vulkan_library))
                return rapt_fail(error, RAPT_ERROR_NO_DEVICE, "no Vulkan: cannot load the library \"%s\"",
                                 runtime->vulkan_library);
            found = true;
        }
        for (size_t i = 0; i < RAPT_COUNT(library_names) && !found; i++)
            found = open_library(runtime, library_names[i]);
        if (!found)
            return rapt_fail(error, RAPT_ERROR_NO_DEVICE, "no Vulkan on this machine: cannot load %s; %s",
                             library_names[0], INSTALL_HINT);
    }
    rapt_vk_globals globals = {0};
#define RAPT_X(name)                                                                                         \
    RAPT_STORE_PROC(globals.name, runtime->get_proc(VK_NULL_HANDLE, #name));                                 \
    if (globals.name == NULL)                                                                                \
        missing = #name;
#define RAPT_O(name) RAPT_STORE_PROC(globals.name, runtime->get_proc(VK_NULL_HANDLE, #name));
    RAPT_VK_GLOBAL_FUNCTIONS(RAPT_X, RAPT_O)
#undef RAPT_X
#undef RAPT_O
    if (missing != NULL) {
        if (runtime->vulkan != NULL) {
            rapt_library_close(runtime->vulkan);
            runtime->vulkan = NULL;
            runtime->get_proc = NULL;
        }
        return rapt_fail(error, RAPT_ERROR_NO_DEVICE, "the Vulkan loader lacks the function %s", missing);
    }
    runtime->globals = globals;
    return RAPT_OK;
}

void rapt_loader_close(rapt_runtime *runtime)
{
    rapt_free(&runtime->allocator, runtime->caps, runtime->device_count * sizeof *runtime->caps);
    rapt_free(&runtime->allocator, runtime->devices, runtime->device_count * sizeof *runtime->devices);
    runtime->caps = NULL;
    runtime->devices = NULL;
    runtime->device_count = 0;
    if (runtime->instance_lent) { /* a hung device was left in it: so are instance and library */
        runtime->vulkan = NULL;
        runtime->get_proc = NULL;
        return;
    }
    rapt_instance_destroy(&runtime->instance);
    runtime->globals = (rapt_vk_globals){0};
    if (runtime->vulkan != NULL) {
        rapt_library_close(runtime->vulkan);
        runtime->vulkan = NULL;
        runtime->get_proc = NULL;
    }
}

rapt_status rapt_instance_table(rapt_vk_instance *instance, rapt_error *error)
{
    const char *missing = NULL;
    rapt_vk_instance_table *fn = &instance->fn;
#define RAPT_X(name)                                                                                         \
    RAPT_STORE_PROC(fn->name, instance->get_proc(instance->handle, #name));                                  \
    if (fn->name == NULL)                                                                                    \
        missing = #name;
#define RAPT_O(name) RAPT_STORE_PROC(fn->name, instance->get_proc(instance->handle, #name));
    RAPT_VK_INSTANCE_FUNCTIONS(RAPT_X, RAPT_O)
#undef RAPT_X
#undef RAPT_O
    /* An instance of Vulkan 1.0 has the core functions of 1.1 under their extension's names, if at all. */
    const struct {
        PFN_vkVoidFunction *to;
        const char *name;
    } aliases[] = {
        {(PFN_vkVoidFunction *)&fn->vkGetPhysicalDeviceProperties2, "vkGetPhysicalDeviceProperties2KHR"},
        {(PFN_vkVoidFunction *)&fn->vkGetPhysicalDeviceFeatures2, "vkGetPhysicalDeviceFeatures2KHR"},
        {(PFN_vkVoidFunction *)&fn->vkGetPhysicalDeviceMemoryProperties2,
         "vkGetPhysicalDeviceMemoryProperties2KHR"},
    };
    for (size_t i = 0; i < RAPT_COUNT(aliases); i++) {
        PFN_vkVoidFunction have;
        memcpy(&have, aliases[i].to, sizeof have);
        if (have == NULL) {
            have = instance->get_proc(instance->handle, aliases[i].name);
            memcpy(aliases[i].to, &have, sizeof have);
        }
    }
    if (missing != NULL)
        return rapt_fail(error, RAPT_ERROR_VULKAN, "the Vulkan instance lacks the function %s", missing);
    return RAPT_OK;
}

rapt_status rapt_device_table(rapt_device *device, rapt_error *error)
{
    const char *missing = NULL;
    rapt_vk_device_table *fn = &device->fn;
    PFN_vkGetDeviceProcAddr get = device->instance.fn.vkGetDeviceProcAddr;
#define RAPT_X(name)                                                                                         \
    RAPT_STORE_PROC(fn->name, get(device->handle, #name));                                                   \
    if (fn->name == NULL)                                                                                    \
        missing = #name;
#define RAPT_O(name) RAPT_STORE_PROC(fn->name, get(device->handle, #name));
    RAPT_VK_DEVICE_FUNCTIONS(RAPT_X, RAPT_O)
#undef RAPT_X
#undef RAPT_O
    if (missing != NULL)
        return rapt_fail(error, RAPT_ERROR_VULKAN, "the driver of %s lacks the function %s",
                         device->caps.device_name, missing);
    return RAPT_OK;
}

/* ---- Instances ---- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    rapt_runtime *runtime = user;
    rapt_log_level level =
        severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT ? RAPT_LOG_ERROR : RAPT_LOG_WARNING;
    const char *text = data != NULL && data->pMessage != NULL ? data->pMessage : "";
    if ((types & VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT) != 0) {
        atomic_fetch_add(&runtime->validation_messages, 1);
        rapt_log_write(&runtime->log, level, "validation: %s", text);
    } else {
        rapt_log_write(&runtime->log, RAPT_LOG_DEBUG, "vulkan: %s", text); /* the loader's own chatter */
    }
    return VK_FALSE;
}

static rapt_status check_result(VkResult result, const char *what, rapt_error *error)
{
    return rapt_vk_check(NULL, result, what, error);
}

/* Extensions of an instance, or of a layer. At most a few tries: the list may grow between the two calls. */
static rapt_status instance_extensions(rapt_runtime *runtime, const char *layer, VkExtensionProperties **list,
                                       uint32_t *count, rapt_error *error)
{
    VkResult result = VK_INCOMPLETE;
    *list = NULL;
    *count = 0;
    for (int attempt = 0; attempt < 4 && result == VK_INCOMPLETE; attempt++) {
        rapt_free(&runtime->allocator, *list, *count * sizeof **list);
        *list = NULL;
        *count = 0;
        uint32_t n = 0;
        result = runtime->globals.vkEnumerateInstanceExtensionProperties(layer, &n, NULL);
        if (result != VK_SUCCESS || n == 0)
            break;
        *list = rapt_calloc(&runtime->allocator, n, sizeof **list);
        if (*list == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                             "no memory for the list of instance extensions");
        *count = n;
        result = runtime->globals.vkEnumerateInstanceExtensionProperties(layer, &n, *list);
    }
    if (result < 0) {
        rapt_free(&runtime->allocator, *list, *count * sizeof **list);
        *list = NULL;
        *count = 0;
        return check_result(result, "vkEnumerateInstanceExtensionProperties", error);
    }
    return RAPT_OK;
}

static bool has_extension(const VkExtensionProperties *list, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].extensionName, name) == 0)
            return true;
    return false;
}

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

static rapt_status has_validation_layer(rapt_runtime *runtime, bool *found, rapt_error *error)
{
    uint32_t count = 0, capacity;
    *found = false;
    VkResult result = runtime->globals.vkEnumerateInstanceLayerProperties(&count, NULL);
    if (result < 0)
        return check_result(result, "vkEnumerateInstanceLayerProperties", error);
    if (count == 0)
        return RAPT_OK;
    capacity = count;
    VkLayerProperties *layers = rapt_calloc(&runtime->allocator, capacity, sizeof *layers);
    if (layers == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the list of layers");
    result = runtime->globals.vkEnumerateInstanceLayerProperties(&count, layers);
    for (uint32_t i = 0; result >= 0 && i < RAPT_MIN(count, capacity); i++)
        *found = *found || strcmp(layers[i].layerName, VALIDATION_LAYER) == 0;
    rapt_free(&runtime->allocator, layers, capacity * sizeof *layers);
    return result < 0 ? check_result(result, "vkEnumerateInstanceLayerProperties", error) : RAPT_OK;
}

rapt_status rapt_instance_create(rapt_runtime *runtime, bool validation, rapt_vk_instance *out,
                                 rapt_error *error)
{
    rapt_vk_instance instance = {
        .allocator = &runtime->allocator, .get_proc = runtime->get_proc, .owned = true};
    VkExtensionProperties *extensions = NULL, *layer_extensions = NULL;
    uint32_t extension_count = 0, layer_extension_count = 0;
    const char *names[6], *layer = VALIDATION_LAYER;
    uint32_t name_count = 0;
    VkInstanceCreateFlags flags = 0;
    uint32_t version = VK_API_VERSION_1_0;
    rapt_status status;

    if (runtime->globals.vkEnumerateInstanceVersion != NULL) {
        VkResult result = runtime->globals.vkEnumerateInstanceVersion(&version);
        if (result < 0)
            return check_result(result, "vkEnumerateInstanceVersion", error);
    }
    if (version < VK_API_VERSION_1_1)
        return rapt_fail(error, RAPT_ERROR_NO_DEVICE,
                         "the Vulkan loader of this machine is version 1.0, rapt needs 1.1 or later");
    instance.api_version = RAPT_MIN(version, VK_API_VERSION_1_3);

    status = instance_extensions(runtime, NULL, &extensions, &extension_count, error);
    if (status != RAPT_OK)
        goto done;
    /* Needed for devices that are still at Vulkan 1.0. */
    if (has_extension(extensions, extension_count, VK_KHR_GET_PHYSICAL_DEVICE_PROPERTIES_2_EXTENSION_NAME))
        names[name_count++] = VK_KHR_GET_PHYSICAL_DEVICE_PROPERTIES_2_EXTENSION_NAME;
    if (has_extension(extensions, extension_count, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
        names[name_count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
    bool debug_utils = false, validation_features = false;
    if (validation) {
        status = has_validation_layer(runtime, &instance.validation, error);
        if (status != RAPT_OK)
            goto done;
        if (instance.validation) {
            status = instance_extensions(runtime, VALIDATION_LAYER, &layer_extensions, &layer_extension_count,
                                         error);
            if (status != RAPT_OK)
                goto done;
            debug_utils =
                has_extension(extensions, extension_count, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) ||
                has_extension(layer_extensions, layer_extension_count, VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
            validation_features = has_extension(layer_extensions, layer_extension_count,
                                                VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
            if (debug_utils)
                names[name_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
            if (validation_features)
                names[name_count++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
        } else {
            rapt_log_write(&runtime->log, RAPT_LOG_WARNING,
                           "validation was asked for, but the layer " VALIDATION_LAYER " is not installed");
        }
    }

    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType =
            VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = runtime,
    };
    const VkValidationFeatureEnableEXT enables[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = debug_utils ? &messenger : NULL,
        .enabledValidationFeatureCount = RAPT_COUNT(enables),
        .pEnabledValidationFeatures = enables,
    };
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "rapt",
        .applicationVersion = RAPT_VERSION,
        .pEngineName = "rapt",
        .engineVersion = RAPT_VERSION,
        .apiVersion = instance.api_version,
    };
    const VkInstanceCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation_features ? (void *)&features
                 : debug_utils       ? (void *)&messenger
                                     : NULL,
        .flags = flags,
        .pApplicationInfo = &application,
        .enabledLayerCount = instance.validation ? 1 : 0,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = name_count,
        .ppEnabledExtensionNames = names,
    };
    VkResult result = runtime->globals.vkCreateInstance(&create, NULL, &instance.handle);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        instance.handle = VK_NULL_HANDLE;
        status =
            rapt_fail(error, RAPT_ERROR_NO_DEVICE,
                      "no Vulkan driver on this machine: the loader is there, but found none that works");
        goto done;
    }
    if (result != VK_SUCCESS) {
        instance.handle = VK_NULL_HANDLE;
        status = check_result(result, "vkCreateInstance", error);
        goto done;
    }
    status = rapt_instance_table(&instance, error);
    if (status != RAPT_OK)
        goto done;
    if (debug_utils && instance.fn.vkCreateDebugUtilsMessengerEXT != NULL &&
        instance.fn.vkDestroyDebugUtilsMessengerEXT != NULL) {
        result = instance.fn.vkCreateDebugUtilsMessengerEXT(instance.handle, &messenger, NULL,
                                                            &instance.messenger);
        if (result != VK_SUCCESS) {
            instance.messenger = VK_NULL_HANDLE;
            status = check_result(result, "vkCreateDebugUtilsMessengerEXT", error);
        }
    }

done:
    rapt_free(&runtime->allocator, layer_extensions, layer_extension_count * sizeof *layer_extensions);
    rapt_free(&runtime->allocator, extensions, extension_count * sizeof *extensions);
    if (status != RAPT_OK)
        rapt_instance_destroy(&instance);
    *out = instance;
    return status;
}

void rapt_instance_destroy(rapt_vk_instance *instance)
{
    if (instance->owned && instance->handle != VK_NULL_HANDLE) {
        if (instance->messenger != VK_NULL_HANDLE)
            instance->fn.vkDestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
        if (instance->fn.vkDestroyInstance != NULL)
            instance->fn.vkDestroyInstance(instance->handle, NULL);
    }
    *instance = (rapt_vk_instance){0};
}

/* ---- Devices ---- */

rapt_status rapt_physical_devices(const rapt_vk_instance *instance, VkPhysicalDevice **devices,
                                  uint32_t *count, rapt_error *error)
{
    VkResult result = VK_INCOMPLETE;
    *devices = NULL;
    *count = 0;
    for (int attempt = 0; attempt < 4 && result == VK_INCOMPLETE; attempt++) {
        rapt_free(instance->allocator, *devices, *count * sizeof **devices);
        *devices = NULL;
        *count = 0;
        uint32_t n = 0, filled;
        result = instance->fn.vkEnumeratePhysicalDevices(instance->handle, &n, NULL);
        if (result != VK_SUCCESS || n == 0)
            break;
        *devices = rapt_calloc(instance->allocator, n, sizeof **devices);
        if (*devices == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the list of devices");
        *count = n;
        filled = n;
        result = instance->fn.vkEnumeratePhysicalDevices(instance->handle, &filled, *devices);
        if (result == VK_SUCCESS && filled < n) { /* one went away: keep the size that the allocator knows */
            VkPhysicalDevice *fewer =
                rapt_realloc_array(instance->allocator, *devices, n, filled, sizeof *fewer);
            if (fewer != NULL || filled == 0) {
                *devices = fewer;
                *count = filled;
            } else {
                result = VK_ERROR_OUT_OF_HOST_MEMORY;
            }
        }
    }
    if (result < 0) {
        rapt_free(instance->allocator, *devices, *count * sizeof **devices);
        *devices = NULL;
        *count = 0;
        if (result == VK_ERROR_INITIALIZATION_FAILED || result == VK_ERROR_INCOMPATIBLE_DRIVER)
            return rapt_fail(error, RAPT_ERROR_NO_DEVICE,
                             "no Vulkan driver of this machine could be initialised (%s)",
                             rapt_vk_result_name(result));
        return check_result(result, "vkEnumeratePhysicalDevices", error);
    }
    if (*count == 0)
        return rapt_fail(error, RAPT_ERROR_NO_DEVICE,
                         "Vulkan is installed on this machine, but it lists no device");
    return RAPT_OK;
}

rapt_status rapt_runtime_list(rapt_runtime *runtime, rapt_error *error)
{
    rapt_vk_instance instance = {0};
    VkPhysicalDevice *devices = NULL;
    rapt_caps *caps = NULL;
    uint32_t count = 0;
    rapt_status status;

    rapt_mutex_lock(&runtime->lock);
    if (runtime->devices != NULL) {
        rapt_mutex_unlock(&runtime->lock);
        return RAPT_OK;
    }
    status = rapt_loader_open(runtime, error);
    if (status != RAPT_OK)
        goto done;
    status = rapt_instance_create(runtime, false, &instance, error);
    if (status != RAPT_OK)
        goto done;
    status = rapt_physical_devices(&instance, &devices, &count, error);
    if (status != RAPT_OK)
        goto done;
    caps = rapt_calloc(&runtime->allocator, count, sizeof *caps);
    if (caps == NULL) {
        status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                           "no memory for the snapshots of %" PRIu32 " devices", count);
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) {
        status = rapt_snapshot(&instance, devices[i], NULL, &caps[i], error);
        if (status != RAPT_OK)
            goto done;
    }
    runtime->instance = instance;
    runtime->devices = devices;
    runtime->caps = caps;
    runtime->device_count = count;

done:
    if (status != RAPT_OK) {
        rapt_free(&runtime->allocator, caps, count * sizeof *caps);
        rapt_free(&runtime->allocator, devices, count * sizeof *devices);
        rapt_instance_destroy(&instance);
    }
    rapt_mutex_unlock(&runtime->lock);
    return status;
}
