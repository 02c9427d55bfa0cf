/* Living in an app's own Vulkan: its device, buffers, command buffers, semaphores and memory. */
#include "rig.h"
#include "vk_fault.h"

#include <math.h>
#include <time.h>

/* ---- the app ---- */

typedef struct app_table {
#define X(name) PFN_##name name;
    RAPT_VK_DEVICE_FUNCTIONS(X, X)
    X(vkCreateSemaphore)
    X(vkDestroySemaphore)
    X(vkSignalSemaphore)
    X(vkGetSemaphoreCounterValue)
#undef X
} app_table;

typedef struct app {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t family, api_version;
    rapt_vk_instance_table in;
    app_table fn;
    VkDebugUtilsMessengerEXT messenger;
    bool validated;
    unsigned messages; /* of the validation layer */
    char first[400];
    int depth, locks; /* of the queue */
    VkCommandPool pool;
    VkFence fence;
    /* What it enables, as a chain; all the device offers of these. */
    VkPhysicalDeviceFeatures2 features;
    VkPhysicalDevice16BitStorageFeatures storage16;
    VkPhysicalDeviceShaderFloat16Int8Features small;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline;
    rapt_runtime *runtime;
    rapt_device *adopted;
    size_t allocations; /* by rapt, so far */
} app;

static app the_app;

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    app *a = user;
    (void)severity;
    if (!(types & VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT))
        return VK_FALSE;
    if (a->messages++ == 0)
        snprintf(a->first, sizeof a->first, "%.399s", data->pMessage);
    return VK_FALSE;
}

static void lock(void *user)
{
    app *a = user;
    assert_int_equal(a->depth++, 0);
    a->locks++;
}

static void unlock(void *user)
{
    app *a = user;
    assert_int_equal(--a->depth, 0);
}

static void *count_alloc(void *user, size_t size)
{
    ((app *)user)->allocations++;
    return malloc(size);
}

static void *count_realloc(void *user, void *old, size_t old_size, size_t size)
{
    (void)old_size;
    ((app *)user)->allocations++;
    return realloc(old, size);
}

static void count_free(void *user, void *old, size_t size)
{
    (void)user;
    (void)size;
    free(old);
}

static PFN_vkVoidFunction global(const char *name)
{
    return vk_fault_real(VK_NULL_HANDLE, name);
}

/* Instance and functions; the validation layer where it is installed. */
static void app_instance(app *a, bool validate)
{
    PFN_vkCreateInstance create;
    PFN_vkEnumerateInstanceLayerProperties layers;
    PFN_vkVoidFunction procs[2] = {global("vkCreateInstance"), global("vkEnumerateInstanceLayerProperties")};
    memcpy(&create, &procs[0], sizeof create);
    memcpy(&layers, &procs[1], sizeof layers);
    VkLayerProperties list[64];
    uint32_t count = RAPT_COUNT(list);
    layers(&count, list);
    for (uint32_t i = 0; i < count && validate; i++)
        a->validated |= strcmp(list[i].layerName, "VK_LAYER_KHRONOS_validation") == 0;
    const char *layer = "VK_LAYER_KHRONOS_validation";
    const char *extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    const VkValidationFeatureEnableEXT enable = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    const VkValidationFeaturesEXT validation = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                                .enabledValidationFeatureCount = 1,
                                                .pEnabledValidationFeatures = &enable};
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .apiVersion = a->api_version};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pNext = a->validated ? &validation : NULL,
                                       .pApplicationInfo = &application,
                                       .enabledLayerCount = a->validated,
                                       .ppEnabledLayerNames = &layer,
                                       .enabledExtensionCount = a->validated ? 2 : 0,
                                       .ppEnabledExtensionNames = extensions};
    if (create(&info, NULL, &a->instance) != VK_SUCCESS)
        skip();
    PFN_vkVoidFunction proc;
#define X(name)                                                                                              \
    proc = vk_fault_real(a->instance, #name);                                                                \
    memcpy(&a->in.name, &proc, sizeof proc);
    RAPT_VK_INSTANCE_FUNCTIONS(X, X)
#undef X
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = a};
    if (a->validated && a->in.vkCreateDebugUtilsMessengerEXT)
        a->in.vkCreateDebugUtilsMessengerEXT(a->instance, &messenger, NULL, &a->messenger);
    uint32_t one = 1;
    const VkResult listed = a->in.vkEnumeratePhysicalDevices(a->instance, &one, &a->physical);
    if (listed < 0 || one == 0)
        skip();
}

/* `full`: with the features that the device offers, else with none. `validate`: under the validation layer.
 */
static void app_open(app *a, bool full, bool validate)
{
    memset(a, 0, sizeof *a);
    if (!vk_fault_open())
        skip();
    a->api_version = VK_API_VERSION_1_3;
    app_instance(a, validate);
    VkPhysicalDeviceProperties properties;
    a->in.vkGetPhysicalDeviceProperties(a->physical, &properties);
    a->features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    a->features.pNext = &a->storage16;
    a->storage16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES;
    if (full && properties.apiVersion >= VK_API_VERSION_1_2) {
        a->storage16.pNext = &a->small;
        a->small.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES;
        a->small.pNext = &a->timeline;
        a->timeline.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES;
    }
    if (full)
        a->in.vkGetPhysicalDeviceFeatures2(a->physical, &a->features);
    VkQueueFamilyProperties families[32];
    uint32_t count = RAPT_COUNT(families);
    a->in.vkGetPhysicalDeviceQueueFamilyProperties(a->physical, &count, families);
    while (a->family + 1 < count && !(families[a->family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        a->family++;
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = a->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = &a->features,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue};
    assert_int_equal(a->in.vkCreateDevice(a->physical, &info, NULL, &a->device), VK_SUCCESS);
    PFN_vkVoidFunction proc;
#define X(name)                                                                                              \
    proc = a->in.vkGetDeviceProcAddr(a->device, #name);                                                      \
    memcpy(&a->fn.name, &proc, sizeof proc);
    RAPT_VK_DEVICE_FUNCTIONS(X, X)
    X(vkCreateSemaphore)
    X(vkDestroySemaphore)
    X(vkSignalSemaphore)
    X(vkGetSemaphoreCounterValue)
#undef X
    a->fn.vkGetDeviceQueue(a->device, a->family, 0, &a->queue);
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = a->family};
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    assert_int_equal(a->fn.vkCreateCommandPool(a->device, &pool, NULL, &a->pool), VK_SUCCESS);
    assert_int_equal(a->fn.vkCreateFence(a->device, &fence, NULL, &a->fence), VK_SUCCESS);
    rapt_runtime_options options = RAPT_RUNTIME_OPTIONS_INIT;
    const rapt_allocator allocator = {a, count_alloc, count_realloc, count_free};
    options.cache_dir = "";
    options.allocator = &allocator;
    RIG_OK(rapt_runtime_create(&options, &a->runtime, error));
}

static void app_adopt(app *a, bool declare, const char *mask)
{
    rapt_vulkan_device info = RAPT_VULKAN_DEVICE_INIT;
    info.get_instance_proc_addr = vk_fault_real;
    info.instance = a->instance;
    info.physical_device = a->physical;
    info.device = a->device;
    info.api_version = a->api_version;
    info.queue_family = a->family;
    info.queue = a->queue;
    info.features = declare ? &a->features : NULL;
    info.lock_queue = lock;
    info.unlock_queue = unlock;
    info.lock_user = a;
    info.caps_mask = mask;
    RIG_OK(rapt_device_adopt(a->runtime, &info, &a->adopted, error));
}

static void app_close(app *a)
{
    rapt_device_destroy(&a->adopted);
    rapt_runtime_destroy(&a->runtime);
    a->fn.vkDestroyFence(a->device, a->fence, NULL);
    a->fn.vkDestroyCommandPool(a->device, a->pool, NULL);
    a->fn.vkDestroyDevice(a->device, NULL);
    if (a->messenger)
        a->in.vkDestroyDebugUtilsMessengerEXT(a->instance, a->messenger, NULL);
    a->in.vkDestroyInstance(a->instance, NULL);
    vk_fault_close();
    if (a->messages != 0)
        fail_msg("%u validation messages, the first: %s", a->messages, a->first);
}

static VkCommandBuffer app_begin(app *a)
{
    VkCommandBuffer commands;
    const VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                  .commandPool = a->pool,
                                                  .commandBufferCount = 1};
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    assert_int_equal(a->fn.vkAllocateCommandBuffers(a->device, &allocate, &commands), VK_SUCCESS);
    assert_int_equal(a->fn.vkBeginCommandBuffer(commands, &begin), VK_SUCCESS);
    return commands;
}

static void app_run(app *a, VkCommandBuffer commands)
{
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
    assert_int_equal(a->fn.vkResetFences(a->device, 1, &a->fence), VK_SUCCESS);
    assert_int_equal(a->fn.vkQueueSubmit(a->queue, 1, &submit, a->fence), VK_SUCCESS);
    assert_int_equal(a->fn.vkWaitForFences(a->device, 1, &a->fence, VK_TRUE, 60000000000ull), VK_SUCCESS);
}

/* ---- the app's buffer: all tensors in one VkBuffer ---- */

enum { AREA_Q, AREA_K, AREA_V, AREA_OUT, AREA_LSE, AREA_WORK, AREA_COUNT };
#define AREA_BYTES (256u << 10)
#define AREA_GAP 4096u /* of the app's own bytes before each tensor */

typedef struct arena {
    VkBuffer buffer;
    VkDeviceMemory memory;
    char *mapped;
    rapt_buffer *wrapped[AREA_COUNT];
} arena;

static char *area(const arena *r, int i)
{
    return r->mapped + (size_t)i * AREA_BYTES + AREA_GAP;
}

static void arena_make(app *a, arena *r, VkBufferUsageFlags usage)
{
    memset(r, 0, sizeof *r);
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .size = (uint64_t)AREA_COUNT * AREA_BYTES,
                                     .usage = usage};
    VkMemoryRequirements need;
    VkPhysicalDeviceMemoryProperties types;
    assert_int_equal(a->fn.vkCreateBuffer(a->device, &info, NULL, &r->buffer), VK_SUCCESS);
    a->fn.vkGetBufferMemoryRequirements(a->device, r->buffer, &need);
    a->in.vkGetPhysicalDeviceMemoryProperties(a->physical, &types);
    const VkMemoryPropertyFlags wanted =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = 0;
    while (type + 1 < types.memoryTypeCount &&
           (!(need.memoryTypeBits >> type & 1) || (types.memoryTypes[type].propertyFlags & wanted) != wanted))
        type++;
    const VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                           .allocationSize = need.size,
                                           .memoryTypeIndex = type};
    void *mapped;
    assert_int_equal(a->fn.vkAllocateMemory(a->device, &allocate, NULL, &r->memory), VK_SUCCESS);
    assert_int_equal(a->fn.vkBindBufferMemory(a->device, r->buffer, r->memory, 0), VK_SUCCESS);
    assert_int_equal(a->fn.vkMapMemory(a->device, r->memory, 0, VK_WHOLE_SIZE, 0, &mapped), VK_SUCCESS);
    r->mapped = mapped;
    memset(mapped, 0xfb, (size_t)AREA_COUNT * AREA_BYTES);
    for (int i = 0; i < AREA_COUNT; i++) {
        const rapt_vulkan_buffer wrap = {.struct_size = sizeof wrap,
                                         .buffer = r->buffer,
                                         .offset = (uint64_t)i * AREA_BYTES + AREA_GAP,
                                         .bytes = AREA_BYTES - AREA_GAP,
                                         .usage = usage};
        RIG_OK(rapt_buffer_wrap(a->adopted, &wrap, &r->wrapped[i], error));
    }
}

static void arena_free(app *a, arena *r)
{
    for (int i = 0; i < AREA_COUNT; i++)
        rapt_buffer_destroy(&r->wrapped[i]);
    a->fn.vkDestroyBuffer(a->device, r->buffer, NULL);
    a->fn.vkFreeMemory(a->device, r->memory, NULL);
}

static rapt_attention_args arena_args(const arena *r)
{
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q.buffer = r->wrapped[AREA_Q];
    args.k.buffer = r->wrapped[AREA_K];
    args.v.buffer = r->wrapped[AREA_V];
    args.out.buffer = r->wrapped[AREA_OUT];
    args.lse.buffer = r->wrapped[AREA_LSE];
    return args;
}

static void arena_fill(const arena *r, const rapt_attention_desc *d)
{
    const rapt_tensor *tensors[] = {&d->q, &d->k, &d->v};
    for (int i = 0; i < 3; i++) {
        const size_t bytes = rapt_tensor_bytes(tensors[i]);
        assert_true(bytes <= AREA_BYTES - AREA_GAP);
        void *numbers = rig_numbers(d->q.dtype, bytes / rapt_dtype_size(d->q.dtype), (uint64_t)i + 1);
        memcpy(area(r, i), numbers, bytes);
        free(numbers);
    }
}

static void arena_clear(const arena *r)
{
    memset(area(r, AREA_OUT), 0xfb, AREA_BYTES - AREA_GAP);
    memset(area(r, AREA_LSE), 0xfb, AREA_BYTES - AREA_GAP);
}

/* Single-precision results against the oracle, and untouched bytes around them. */
static void arena_judge(const arena *r, const rapt_attention_desc *d)
{
    const size_t rows = d->out.size[0] * d->out.size[1] * d->out.size[2], dim = d->out.size[3];
    double *out = calloc(rows * dim, sizeof *out), *lse = calloc(rows, sizeof *lse);
    uint8_t *which = calloc(rows, 1);
    const rapt_check_inputs in = {.q = area(r, AREA_Q), .k = area(r, AREA_K), .v = area(r, AREA_V)};
    assert_true(out && lse && which);
    assert_true(rapt_check_attention_f64(d, &in, 1, out, lse, which));
    const float *got = (const float *)(const void *)area(r, AREA_OUT);
    const float *got_lse = (const float *)(const void *)area(r, AREA_LSE);
    for (size_t i = 0; i < rows * dim; i++)
        if (!(fabs((double)got[i] - out[i]) <= 1e-5))
            fail_msg("out[%zu] is %g, not %g", i, (double)got[i], out[i]);
    for (size_t i = 0; i < rows; i++)
        if (!(fabs((double)got_lse[i] - lse[i]) <= 1e-5))
            fail_msg("lse[%zu] is %g, not %g", i, (double)got_lse[i], lse[i]);
    for (int i = AREA_OUT; i <= AREA_LSE; i++) {
        const char *end = area(r, i) + (i == AREA_OUT ? rows * dim : rows) * sizeof(float);
        for (const char *at = area(r, i) - AREA_GAP; at < area(r, i + 1) - AREA_GAP; at++)
            if (at < area(r, i) || at >= end)
                assert_int_equal((unsigned char)*at, 0xfb);
    }
    free(out);
    free(lse);
    free(which);
}

#define ALL_USES                                                                                             \
    (VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT |                         \
     VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT)

/* ---- tests ---- */

/* Two ranges of slices in two command buffers, key splits and merge among them. */
static void test_recorded_slices(void **state)
{
    (void)state;
    app *a = &the_app;
    arena r;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    app_open(a, false, true);
    app_adopt(a, false, NULL);
    arena_make(a, &r, ALL_USES);
    rapt_attention_desc d = rig_desc(RAPT_F32, 2, 2, 2, 70, 150, 32, true);
    d.flags = RAPT_ATTENTION_CAUSAL;
    d.key_splits = 2;
    d.slice_ms = 1e-5f;
    arena_fill(&r, &d);
    RIG_OK(rapt_attention_plan(a->adopted, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    assert_true(info.slices >= 6);
    assert_true(info.workspace_bytes <= AREA_BYTES - AREA_GAP);
    rapt_attention_args args = arena_args(&r);
    args.workspace.buffer = r.wrapped[AREA_WORK];
    RIG_OK(rapt_attention_bind(plan, &args, &binding, error));
    RIG_FAILS(rapt_check_completion(binding, error), RAPT_ERROR_INCOMPLETE, "slice 0");

    VkCommandBuffer one = app_begin(a), two = app_begin(a);
    const uint32_t half = info.slices / 2;
    RIG_OK(rapt_record(binding, one, 0, half, error));
    RIG_OK(rapt_record(binding, two, half, UINT32_MAX, error));
    assert_int_equal(a->fn.vkEndCommandBuffer(one), VK_SUCCESS);
    assert_int_equal(a->fn.vkEndCommandBuffer(two), VK_SUCCESS);
    char slice[64];
    snprintf(slice, sizeof slice, "slice %u of %u", half, info.slices);
    app_run(a, one);
    RIG_FAILS(rapt_check_completion(binding, error), RAPT_ERROR_INCOMPLETE, slice);
    app_run(a, two);
    RIG_OK(rapt_check_completion(binding, error));
    arena_judge(&r, &d);
    assert_int_equal(a->depth, 0);

    /* Recorded once more: what the last run left does not count as done. */
    arena_clear(&r);
    VkCommandBuffer all = app_begin(a);
    for (uint32_t i = 0; i < info.slices; i++)
        RIG_OK(rapt_record(binding, all, i, 1, error));
    RIG_OK(rapt_record(binding, all, info.slices, UINT32_MAX, error)); /* none remain */
    assert_int_equal(a->fn.vkEndCommandBuffer(all), VK_SUCCESS);
    RIG_FAILS(rapt_check_completion(binding, error), RAPT_ERROR_INCOMPLETE, "slice 0");
    app_run(a, all);
    RIG_OK(rapt_check_completion(binding, error));
    arena_judge(&r, &d);

    /* And submitted by rapt: as many submissions under the app's lock as there are slices. */
    arena_clear(&r);
    const int before = a->locks;
    RIG_OK(rapt_submit(binding, error));
    assert_int_equal(a->locks - before, info.slices);
    VkCommandBuffer busy = app_begin(a);
    RIG_FAILS(rapt_record(binding, busy, 0, 1, error), RAPT_ERROR_BUSY, "in flight");
    RIG_OK(rapt_wait(binding, UINT64_MAX, error));
    arena_judge(&r, &d);

    char refused[64];
    snprintf(refused, sizeof refused, "slices %u to %u of %u", info.slices, info.slices + 1, info.slices);
    RIG_FAILS(rapt_record(binding, busy, info.slices, 1, error), RAPT_ERROR_INVALID, refused);
    RIG_FAILS(rapt_record(binding, busy, info.slices + 1, UINT32_MAX, error), RAPT_ERROR_INVALID, "slices");
    RIG_FAILS(rapt_record(binding, VK_NULL_HANDLE, 0, 1, error), RAPT_ERROR_INVALID, "commands is NULL");
    RIG_FAILS(rapt_record(NULL, busy, 0, 1, error), RAPT_ERROR_INVALID, "binding is NULL");
    RIG_FAILS(rapt_check_completion(NULL, error), RAPT_ERROR_INVALID, "binding is NULL");
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    arena_free(a, &r);
    app_close(a);
}

/* What the app does not declare is not there, whatever its device has. */
static void test_declared_features(void **state)
{
    (void)state;
    app *a = &the_app;
    app_open(a, true, true);
    app_adopt(a, false, NULL);
    const uint64_t optional = RAPT_FEATURE_BIT(STORAGE_16BIT) | RAPT_FEATURE_BIT(FP16) |
                              RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE) | RAPT_FEATURE_BIT(INT8);
    assert_int_equal(rapt_device_caps(a->adopted)->features & optional, 0);
    rapt_device_destroy(&a->adopted);
    app_adopt(a, true, NULL);
    const uint64_t features = rapt_device_caps(a->adopted)->features;
    assert_int_equal((features & RAPT_FEATURE_BIT(STORAGE_16BIT)) != 0,
                     a->storage16.storageBuffer16BitAccess);
    assert_int_equal((features & RAPT_FEATURE_BIT(FP16)) != 0, a->small.shaderFloat16);
    assert_int_equal((features & RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE)) != 0, a->timeline.timelineSemaphore);
    app_close(a);
}

/* f16 without 16-bit storage, on the app's device as on any other: right numbers, or a refusal by name. */
static void test_half_without_features(void **state)
{
    (void)state;
    app *a = &the_app;
    const rapt_case c = {.name = "f16 on a bare device",
                         .batch = 1,
                         .q_heads = 2,
                         .kv_heads = 2,
                         .nq = 20,
                         .nk = 33,
                         .d_qk = 64,
                         .d_v = 64,
                         .dtype = RAPT_F16,
                         .causal = true,
                         .seed = 5};
    rapt_check_problem problem;
    app_open(a, true, true);
    app_adopt(a, false, NULL);
    assert_true(rapt_check_problem_make(&c, 1, &problem));
    const rapt_result result = rapt_check_run(a->adopted, &problem, NULL, 1);
    if (result.verdict != RAPT_CHECK_PASS)
        fail_msg("%s: %s%s", rapt_check_verdict_name(result.verdict), result.message, result.error.message);
    rapt_check_problem_free(&problem);
    app_close(a);
}

/* A buffer that cannot be a texel buffer: bind names kernel, use and tensor; told in the plan, another row is
 * taken. */
static void test_missing_usage(void **state)
{
    (void)state;
    app *a = &the_app;
    arena r;
    rapt_plan *plan;
    rapt_binding *binding = NULL;
    rapt_plan_info first = RAPT_PLAN_INFO_INIT, second = RAPT_PLAN_INFO_INIT;
    app_open(a, false, true);
    app_adopt(a, false, NULL);
    arena_make(a, &r, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT);
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, 40, 60, 64, true);
    arena_fill(&r, &d);
    const rapt_attention_args args = arena_args(&r);
    RIG_OK(rapt_attention_plan(a->adopted, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &first, error));
    rapt_error why = {0};
    const rapt_status status = rapt_attention_bind(plan, &args, &binding, &why);
    const bool texels = status == RAPT_ERROR_UNSUPPORTED;
    if (texels) {
        assert_non_null(strstr(why.message, first.kernel));
        assert_non_null(strstr(why.message, "uniform texel"));
        assert_non_null(strstr(why.message, "rapt_tensor.usage"));
        assert_null(binding);
    } else {
        assert_int_equal(status, RAPT_OK);
    }
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);

    d.q.usage = d.k.usage = d.v.usage = d.out.usage = d.lse.usage = RAPT_BUFFER_STORAGE;
    RIG_OK(rapt_attention_plan(a->adopted, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &second, error));
    assert_int_equal(strcmp(first.kernel, second.kernel) != 0, texels);
    RIG_OK(rapt_attention_bind(plan, &args, &binding, error));
    RIG_OK(rapt_submit(binding, error));
    RIG_OK(rapt_wait(binding, UINT64_MAX, error));
    arena_judge(&r, &d);
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    if (texels) { /* forced, it says what is missing */
        d.kernel = first.kernel;
        RIG_FAILS(rapt_attention_plan(a->adopted, &d, &plan, error), RAPT_ERROR_UNSUPPORTED,
                  "uniform texel usage");
        d.kernel = NULL;
    }
    d.q.usage = RAPT_BUFFER_UNIFORM_TEXEL;
    RIG_FAILS(rapt_attention_plan(a->adopted, &d, &plan, error), RAPT_ERROR_UNSUPPORTED,
              "storage usage on the buffer of q");
    arena_free(a, &r);
    app_close(a);
}

/* A wrapped range may end where the tensor does, in the middle of a word that kernels read whole. */
static void test_wrapped_to_the_byte(void **state)
{
    (void)state;
    app *a = &the_app;
    arena r;
    rapt_plan *plan;
    rapt_binding *binding = NULL;
    rapt_buffer *tight;
    app_open(a, false, true);
    app_adopt(a, false, NULL);
    arena_make(a, &r, ALL_USES);
    rapt_attention_desc d = rig_desc(RAPT_F16, 1, 1, 1, 3, 5, 7, false);
    d.q.align = d.k.align = d.v.align = d.out.align = 2;
    d.k.usage = RAPT_BUFFER_STORAGE; /* not as texels, which may be single elements */
    const uint64_t bytes = rapt_tensor_bytes(&d.k);
    assert_int_equal(bytes % 4, 2);
    RIG_OK(rapt_attention_plan(a->adopted, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    rapt_vulkan_buffer wrap = {.struct_size = sizeof wrap,
                               .buffer = r.buffer,
                               .offset = AREA_GAP,
                               .bytes = bytes,
                               .usage = ALL_USES};
    RIG_OK(rapt_buffer_wrap(a->adopted, &wrap, &tight, error));
    rapt_attention_args args = arena_args(&r);
    args.k.buffer = tight;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_UNSUPPORTED, "whole words");
    rapt_buffer_destroy(&tight);
    wrap.bytes = bytes + 2;
    RIG_OK(rapt_buffer_wrap(a->adopted, &wrap, &tight, error));
    args.k.buffer = tight;
    RIG_OK(rapt_attention_bind(plan, &args, &binding, error));
    rapt_binding_destroy(&binding);
    /* At an odd element; the binding starts at what the device can bind. */
    args = arena_args(&r);
    args.k.offset = 6;
    args.v.offset = 2;
    RIG_OK(rapt_attention_bind(plan, &args, &binding, error));
    RIG_OK(rapt_submit(binding, error));
    RIG_OK(rapt_wait(binding, UINT64_MAX, error));
    rapt_binding_destroy(&binding);
    rapt_buffer_destroy(&tight);
    rapt_plan_destroy(&plan);
    arena_free(a, &r);
    app_close(a);
}

/* The counter once it is at least `want`, or after 10 s whatever it is: the fence that rapt_wait waits for and a semaphore
 * of the same submission are signalled in no order that the other's waiter may rely on. */
static uint64_t semaphore_reaches(app *a, VkSemaphore semaphore, uint64_t want)
{
    uint64_t value = 0;
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(a->fn.vkGetSemaphoreCounterValue(a->device, semaphore, &value), VK_SUCCESS);
        if (value >= want)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return value;
}

static void test_timeline(void **state)
{
    (void)state;
    app *a = &the_app;
    arena r;
    rapt_plan *plan;
    rapt_binding *binding;
    app_open(a, true, true);
    if (!a->timeline.timelineSemaphore) {
        app_close(a);
        skip();
    }
    const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkSemaphore before, after;
    assert_int_equal(a->fn.vkCreateSemaphore(a->device, &info, NULL, &before), VK_SUCCESS);
    assert_int_equal(a->fn.vkCreateSemaphore(a->device, &info, NULL, &after), VK_SUCCESS);
    const char *const masks[] = {"no-timeline", NULL};
    for (int masked = 0; masked < 2; masked++) {
        app_adopt(a, true, masks[masked]);
        arena_make(a, &r, ALL_USES);
        rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, 40, 60, 64, true);
        d.slice_ms = 1e-5f;
        arena_fill(&r, &d);
        const rapt_attention_args args = arena_args(&r);
        RIG_OK(rapt_attention_plan(a->adopted, &d, &plan, error));
        RIG_OK(rapt_plan_prepare(plan, error));
        RIG_OK(rapt_attention_bind(plan, &args, &binding, error));
        if (masks[masked] != NULL) {
            RIG_FAILS(rapt_submit_timeline(binding, before, 5, after, 9, error), RAPT_ERROR_UNSUPPORTED,
                      "timeline");
            RIG_OK(rapt_submit_timeline(binding, VK_NULL_HANDLE, 0, VK_NULL_HANDLE, 0,
                                        error)); /* asks for none */
            RIG_OK(rapt_wait(binding, UINT64_MAX, error));
        } else {
            uint64_t value = 0;
            RIG_OK(rapt_submit_timeline(binding, before, 5, after, 9, error));
            RIG_FAILS(rapt_wait(binding, 0, error), RAPT_ERROR_TIMEOUT, "not done");
            assert_int_equal(a->fn.vkGetSemaphoreCounterValue(a->device, after, &value), VK_SUCCESS);
            assert_int_equal(value, 0);
            const VkSemaphoreSignalInfo go = {
                .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, .semaphore = before, .value = 5};
            assert_int_equal(a->fn.vkSignalSemaphore(a->device, &go), VK_SUCCESS);
            RIG_OK(rapt_wait(binding, UINT64_MAX, error));
            assert_int_equal(semaphore_reaches(a, after, 9), 9);
            arena_judge(&r, &d);
        }
        rapt_binding_destroy(&binding);
        rapt_plan_destroy(&plan);
        /* An empty problem has nothing to run, but signals all the same. */
        if (masks[masked] == NULL) {
            rapt_attention_args none = RAPT_ATTENTION_ARGS_INIT;
            rapt_attention_desc empty = rig_desc(RAPT_F32, 1, 2, 2, 0, 60, 64, false);
            none.k = args.k;
            none.v = args.v;
            RIG_OK(rapt_attention_plan(a->adopted, &empty, &plan, error));
            RIG_OK(rapt_plan_prepare(plan, error));
            RIG_OK(rapt_attention_bind(plan, &none, &binding, error));
            RIG_OK(rapt_submit_timeline(binding, before, 5, after, 12, error));
            RIG_OK(rapt_wait(binding, UINT64_MAX, error));
            RIG_OK(rapt_check_completion(binding, error));
            assert_int_equal(semaphore_reaches(a, after, 12), 12);
            rapt_binding_destroy(&binding);
            rapt_plan_destroy(&plan);
        }
        arena_free(a, &r);
        rapt_device_destroy(&a->adopted);
    }
    a->fn.vkDestroySemaphore(a->device, before, NULL);
    a->fn.vkDestroySemaphore(a->device, after, NULL);
    app_close(a);
}

static int by_time(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Recording, submitting and waiting take no memory; and how long recording takes, for the reader. */
static void test_no_allocation(void **state)
{
    (void)state;
    enum { RECORDS = 500 };
    static uint64_t times[RECORDS];
    app *a = &the_app;
    arena r;
    char folder[512], recording[600];
    rig_folder(folder, "record-allocations");
    snprintf(recording, sizeof recording, "%s/r.jsonl", folder);
    app_open(a, false, false);
    app_adopt(a, false, NULL);
    arena_make(a, &r, ALL_USES);
    for (int split = 0; split < 2; split++) {
        rapt_plan *plan;
        rapt_binding *binding;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        rapt_attention_desc d = rig_desc(RAPT_F32, 1, 4, 4, 32, 128, 64, true);
        d.key_splits = split ? 2 : 1;
        arena_fill(&r, &d);
        const rapt_attention_args args = arena_args(&r);
        RIG_OK(rapt_attention_plan(a->adopted, &d, &plan, error));
        RIG_OK(rapt_plan_prepare(plan, error));
        RIG_OK(rapt_plan_describe(plan, &info, error));
        RIG_OK(rapt_attention_bind(plan, &args, &binding, error));
        if (split) /* nor where the app's problems are recorded */
            RIG_OK(rapt_runtime_record(a->runtime, recording, error));
        const size_t before = a->allocations;
        assert_true(before > 0);
        for (int i = 0; i < 3; i++) {
            RIG_OK(rapt_submit(binding, error));
            RIG_OK(rapt_wait(binding, UINT64_MAX, error));
        }
        for (int i = 0; i < RECORDS; i++) {
            VkCommandBuffer commands = app_begin(a);
            const uint64_t begin = rapt_now_ns();
            const rapt_status status = rapt_record(binding, commands, 0, UINT32_MAX, NULL);
            times[i] = rapt_now_ns() - begin;
            assert_int_equal(status, RAPT_OK);
            assert_int_equal(a->fn.vkEndCommandBuffer(commands), VK_SUCCESS);
            a->fn.vkResetCommandPool(a->device, a->pool, VK_COMMAND_POOL_RESET_RELEASE_RESOURCES_BIT);
        }
        (void)rapt_check_completion(binding, NULL);
        assert_int_equal(a->allocations, before);
        qsort(times, RECORDS, sizeof times[0], by_time);
        print_message("  rapt_record of %u steps: %.1f us median, %.1f us 95th percentile\n", info.steps,
                      (double)times[RECORDS / 2] * 1e-3, (double)times[RECORDS * 95 / 100] * 1e-3);
        rapt_binding_destroy(&binding);
        rapt_plan_destroy(&plan);
    }
    arena_free(a, &r);
    app_close(a);
    rig_remove_folder(folder);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_slices),       cmocka_unit_test(test_declared_features),
        cmocka_unit_test(test_half_without_features), cmocka_unit_test(test_missing_usage),
        cmocka_unit_test(test_wrapped_to_the_byte),   cmocka_unit_test(test_timeline),
        cmocka_unit_test(test_no_allocation),
    };
    return RIG_RUN("record", tests);
}
