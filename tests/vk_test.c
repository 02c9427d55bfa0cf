/* The lower half of the Vulkan layer: options, listing, opening, adopting, memory, buffers. */
#include "vk_support.h"
#if !defined(_WIN32)
#include <pthread.h>
#endif

/* ---- No device needed ---- */

static void test_options(void **state)
{
    (void)state;
    rapt_runtime *runtime = NULL;
    struct {
        rapt_runtime_options known;
        uint64_t future;
    } newer = {.known = {.struct_size = sizeof newer}};
    assert_ok(rapt_runtime_create(NULL, &runtime, error));
    rapt_runtime_destroy(&runtime);
    assert_null(runtime);
    rapt_runtime_destroy(&runtime);
    rapt_runtime_destroy(NULL);
    assert_fails(rapt_runtime_create(NULL, NULL, error), RAPT_ERROR_INVALID, "runtime");
    /* An older app's structure ends early; a newer one's may end late if it asks for nothing new. */
    rapt_runtime_options o = {.struct_size = offsetof(rapt_runtime_options, cache_dir),
                              .cache_dir = (const char *)1};
    assert_ok(rapt_runtime_create(&o, &runtime, error));
    rapt_runtime_destroy(&runtime);
    assert_ok(rapt_runtime_create(&newer.known, &runtime, error));
    rapt_runtime_destroy(&runtime);
    newer.future = 1;
    assert_fails(rapt_runtime_create(&newer.known, &runtime, error), RAPT_ERROR_INVALID, "does not know");
    o.struct_size = 0;
    assert_fails(rapt_runtime_create(&o, &runtime, error), RAPT_ERROR_INVALID, "struct_size");
    o = (rapt_runtime_options)RAPT_RUNTIME_OPTIONS_INIT;
    o.log_level = 9;
    assert_fails(rapt_runtime_create(&o, &runtime, error), RAPT_ERROR_INVALID, "log_level");
    o = (rapt_runtime_options)RAPT_RUNTIME_OPTIONS_INIT;
    rapt_allocator half = rapt_allocator_default();
    half.free = NULL;
    o.allocator = &half;
    assert_fails(rapt_runtime_create(&o, &runtime, error), RAPT_ERROR_INVALID, "rapt_allocator");
    char path[2000];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    o = (rapt_runtime_options)RAPT_RUNTIME_OPTIONS_INIT;
    o.vulkan_library = path;
    assert_fails(rapt_runtime_create(&o, &runtime, error), RAPT_ERROR_INVALID, "vulkan_library");
    o = (rapt_runtime_options)RAPT_RUNTIME_OPTIONS_INIT;
    o.cache_dir = path;
    assert_fails(rapt_runtime_create(&o, &runtime, error), RAPT_ERROR_INVALID, "cache_dir");
}

static void test_no_vulkan(void **state)
{
    (void)state;
    rapt_runtime_options o = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_runtime *runtime = NULL;
    rapt_device *device = NULL;
    uint32_t count = 7;
    o.vulkan_library = "/nonexistent/libvulkan.so.1";
    assert_ok(rapt_runtime_create(&o, &runtime, error));
    assert_fails(rapt_device_count(runtime, &count, error), RAPT_ERROR_NO_DEVICE,
                 "/nonexistent/libvulkan.so.1");
    assert_int_equal(count, 0);
    assert_fails(rapt_device_open(runtime, NULL, &device, error), RAPT_ERROR_NO_DEVICE, "no Vulkan");
    assert_null(device);
    rapt_runtime_destroy(&runtime);
}

static void test_no_compiler(void **state)
{
    (void)state;
    rapt_runtime_options o = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_runtime *runtime = NULL;
    const rapt_compiler_api *api;
    o.compiler_library = "";
    assert_ok(rapt_runtime_create(&o, &runtime, error));
    assert_fails(rapt_runtime_compiler(runtime, &api, error), RAPT_ERROR_UNSUPPORTED, "turned off");
    rapt_runtime_destroy(&runtime);
    o.compiler_library = "/nonexistent/librapt_compiler.so";
    assert_ok(rapt_runtime_create(&o, &runtime, error));
    assert_fails(rapt_runtime_compiler(runtime, &api, error), RAPT_ERROR_UNSUPPORTED,
                 "/nonexistent/librapt_compiler.so");
    assert_null(api);
    rapt_runtime_destroy(&runtime);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < RAPT_CLASS_COUNT; i++)
        assert_non_null(rapt_class_name((rapt_device_class)i));
    assert_null(rapt_class_name(RAPT_CLASS_COUNT));
    for (uint32_t i = 0; i < RAPT_FEATURE_COUNT; i++) {
        assert_non_null(rapt_feature_name(i));
        assert_non_null(rapt_feature_meaning(i));
    }
    assert_null(rapt_feature_name(RAPT_FEATURE_COUNT));
    assert_null(rapt_feature_meaning(RAPT_FEATURE_COUNT));
    for (int i = 0; i >= -13; i--)
        assert_string_not_equal(rapt_vk_result_name((VkResult)i), "an unknown VkResult");
}

static rapt_caps rich_caps(void)
{
    rapt_caps caps;
    rapt_caps_floor(&caps);
    caps.features = (1ull << RAPT_FEATURE_COUNT) - 1;
    caps.api_version = VK_API_VERSION_1_3;
    caps.subgroup_size = 32;
    caps.subgroup_size_min = 16;
    caps.subgroup_size_max = 64;
    caps.max_shared_bytes = 65536;
    caps.max_invocations = 1024;
    caps.max_group_size[0] = caps.max_group_size[1] = caps.max_group_size[2] = 1024;
    caps.max_storage_buffers = 32;
    caps.max_push_bytes = 256;
    caps.max_storage_range = 1ull << 32;
    caps.max_texel_elements = 1u << 27;
    caps.storage_align = caps.uniform_align = caps.texel_align = 16;
    caps.coopmat_count = 1;
    caps.coopmat[0].m = 16;
    caps.coopmat2_max_dimension = 1024;
    caps.coopmat2_shared_bytes = 8192;
    caps.coopmat_flexible_count = 1;
    caps.coopmat_flexible[0].m = 32;
    return caps;
}

static void test_mask(void **state)
{
    (void)state;
    rapt_caps rich = rich_caps(), caps = rich, least;
    assert_ok(rapt_caps_mask(&caps, NULL, error));
    assert_ok(rapt_caps_mask(&caps, "", error));
    assert_memory_equal(&caps, &rich, sizeof caps);
    for (uint32_t i = 0; i < RAPT_FEATURE_COUNT; i++) {
        char word[64];
        caps = rich;
        snprintf(word, sizeof word, "no-%s", rapt_feature_name(i));
        assert_ok(rapt_caps_mask(&caps, word, error));
        assert_int_equal(caps.features & 1ull << i, 0);
        assert_int_equal(caps.masked, 1);
        if (i != RAPT_FEATURE_INDEX_SUBGROUP_BASIC && i != RAPT_FEATURE_INDEX_COOPERATIVE_MATRIX)
            assert_true((caps.features | 1ull << i) == rich.features);
    }
    caps = rich;
    assert_ok(rapt_caps_mask(&caps, "no-subgroup", error));
    assert_int_equal(caps.features & RAPT_FEATURE_BIT(SUBGROUP_SHUFFLE), 0);
    assert_int_equal(caps.features & RAPT_FEATURE_BIT(FULL_SUBGROUPS), 0);
    assert_int_equal(caps.subgroup_size_min, 32);
    assert_int_equal(caps.subgroup_size_max, 32);
    assert_int_equal(caps.coopmat_count, 1);
    assert_true((caps.features & RAPT_FEATURE_BIT(FP16)) != 0);
    caps = rich;
    assert_ok(rapt_caps_mask(
        &caps, "no-coopmat,shared=16384,invocations=128,buffers=8,push=128,range=134217728,texels=65536",
        error));
    assert_int_equal(caps.coopmat_count, 0);
    assert_int_equal(caps.max_shared_bytes, 16384);
    assert_int_equal(caps.max_invocations, 128);
    assert_int_equal(caps.max_group_size[0], 128);
    assert_int_equal(caps.max_storage_buffers, 8);
    assert_int_equal(caps.max_push_bytes, 128);
    assert_int_equal(caps.max_storage_range, 134217728);
    assert_int_equal(caps.max_texel_elements, 65536);
    assert_int_equal(caps.features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2), 0);
    assert_int_equal(caps.coopmat_flexible_count, 0);
    caps = rich;
    assert_ok(rapt_caps_mask(&caps, "no-coopmat2", error));
    assert_true((caps.features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX)) != 0);
    assert_int_equal(caps.coopmat_count, 1);
    assert_int_equal(caps.coopmat_flexible_count, 0);
    assert_int_equal(caps.coopmat_flexible[0].m, 0);
    assert_int_equal(caps.coopmat2_max_dimension, 0);
    assert_int_equal(caps.coopmat2_shared_bytes, 0);
    caps = rich;
    assert_ok(rapt_caps_mask(&caps, "shared=65536", error)); /* equal is no change */
    assert_int_equal(caps.masked, 0);
    assert_ok(rapt_caps_mask(&caps, "floor", error));
    rapt_caps_floor(&least);
    least.masked = 1;
    assert_memory_equal(&caps, &least, sizeof caps);

    static const char *const bad[] = {
        "no-such",
        "no-",
        "no",
        "shared",
        "shared=",
        "shared=x",
        "shared=1k",
        "shared=-1",
        "shared= 16",
        "shared=65537",
        "shared=0",
        "shared=99999999999999999999999",
        "=5",
        "floor,",
        ",",
        "no-fp16,",
        "no-fp16,,no-8bit",
        " no-fp16",
        "no-fp16 ",
        "floor,no-fp16",
        "Floor",
        "no-FP16",
        "range=4294967297",
        "unknown=1",
    };
    for (size_t i = 0; i < RAPT_COUNT(bad); i++) {
        caps = rich;
        rapt_error e = {0};
        if (rapt_caps_mask(&caps, bad[i], &e) != RAPT_ERROR_INVALID)
            fail_msg("mask \"%s\" was accepted", bad[i]);
        assert_true(e.message[0] != '\0');
        assert_memory_equal(&caps, &rich, sizeof caps);
    }
    caps = rich;
    assert_fails(rapt_caps_mask(&caps, "no-fp16,no-such,no-8bit", error), RAPT_ERROR_INVALID, "no-such");
    assert_memory_equal(&caps, &rich, sizeof caps);
    assert_fails(rapt_caps_mask(&caps, "shared=70000", error), RAPT_ERROR_INVALID, "65536");
}

/* ---- Listing and opening ---- */

static void test_list(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    uint32_t count = 0, index;
    char text[64];
    rapt_caps caps, again;
    assert_ok(rapt_device_count(runtime, &count, error));
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        assert_ok(rapt_device_query(runtime, i, &caps, error));
        assert_int_equal(caps.struct_size, sizeof caps);
        assert_true(caps.device_name[0] != '\0');
        print_message("  %u %s | %s %s | %s | Vulkan %u.%u | subgroup %u [%u, %u] | shared %u | invocations "
                      "%u | buffers %u | "
                      "units %u | heap %llu MiB | features",
                      i, caps.device_name, caps.driver_name, caps.driver_info,
                      rapt_class_name(caps.device_class), VK_API_VERSION_MAJOR(caps.api_version),
                      VK_API_VERSION_MINOR(caps.api_version), caps.subgroup_size, caps.subgroup_size_min,
                      caps.subgroup_size_max, caps.max_shared_bytes, caps.max_invocations,
                      caps.max_storage_buffers, caps.compute_units,
                      (unsigned long long)(caps.device_heap >> 20));
        for (uint32_t f = 0; f < RAPT_FEATURE_COUNT; f++)
            if ((caps.features & 1ull << f) != 0)
                print_message(" %s", rapt_feature_name(f));
        print_message(" | coopmat %u\n", caps.coopmat_count);
        snprintf(text, sizeof text, "%u", i);
        assert_ok(rapt_device_find(runtime, text, &index, error));
        assert_int_equal(index, i);
        /* By UUID: the first with this one, of which there may be several. */
        char *t = text;
        for (int b = 0; b < 16; b++)
            t += snprintf(t, 8, b == 4 || b == 6 ? "-%02X" : "%02x", caps.device_uuid[b]);
        assert_ok(rapt_device_find(runtime, text, &index, error));
        assert_ok(rapt_device_query(runtime, index, &again, error));
        assert_memory_equal(again.device_uuid, caps.device_uuid, 16);
        assert_ok(rapt_device_find(runtime, caps.device_name, &index, error));
        assert_ok(rapt_device_query(runtime, index, &again, error));
        assert_string_equal(again.device_name, caps.device_name);
    }
    assert_ok(rapt_device_find(runtime, NULL, &index, error));
    assert_ok(rapt_device_find(runtime, "", &index, error));
    assert_fails(rapt_device_find(runtime, "no such device", &index, error), RAPT_ERROR_NO_DEVICE,
                 caps.device_name);
    assert_fails(rapt_device_find(runtime, "99", &index, error), RAPT_ERROR_NO_DEVICE, "99");
    assert_fails(rapt_device_find(runtime, "00000000-0000-0000-0000-0000000000ff", &index, error),
                 RAPT_ERROR_NO_DEVICE, "0000ff");
    assert_fails(rapt_device_query(runtime, count, &caps, error), RAPT_ERROR_NO_DEVICE, "no device");
    rapt_runtime_destroy(&runtime);
}

static void test_open(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = NULL, *second = NULL;
    rapt_device_options o = RAPT_DEVICE_OPTIONS_INIT;
    rapt_memory_info info;
    assert_ok(rapt_device_open(runtime, NULL, &device, error));
    assert_non_null(rapt_device_caps(device));
    o.caps_mask = "floor";
    assert_ok(rapt_device_open(runtime, &o, &second, error)); /* two at once, on the same hardware */
    assert_int_equal(rapt_device_caps(second)->features, 0);
    assert_int_equal(rapt_device_caps(second)->max_shared_bytes, 16384);
    assert_true(rapt_hash_equal(device->identity, second->identity));
    rapt_device_memory(device, &info);
    assert_true(info.used_bytes <= 65536); /* staging */
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    uint32_t family;
    rapt_device_handles(device, &instance, &physical, &handle, &queue, &family);
    assert_true(instance != NULL && physical != NULL && handle != NULL && queue != NULL);
    rapt_device_handles(device, NULL, NULL, NULL, NULL, NULL);
    rapt_device_destroy(&device);
    assert_null(device);
    rapt_device_destroy(&device);
    rapt_device_destroy(&second);
    o.caps_mask = "shared=1,nonsense";
    assert_fails(rapt_device_open(runtime, &o, &device, error), RAPT_ERROR_INVALID, "nonsense");
    o.caps_mask = NULL;
    o.selector = "no such device";
    assert_fails(rapt_device_open(runtime, &o, &device, error), RAPT_ERROR_NO_DEVICE, "no such device");
    assert_null(device);
    rapt_runtime_destroy(&runtime);
}

/* ---- Buffers ---- */

static uint8_t pattern_at(uint64_t i, uint32_t seed)
{
    return (uint8_t)((i * 2654435761u + seed) >> 11);
}

/* Uploads, downloads and fills at odd places; what was not touched must not change. */
static void exercise(rapt_buffer *buffer)
{
    const uint64_t size = rapt_buffer_size(buffer);
    uint8_t *mirror = malloc(size), *data = malloc(size), *back = malloc(size);
    assert_true(mirror != NULL && data != NULL && back != NULL);
    for (uint64_t i = 0; i < size; i++)
        mirror[i] = pattern_at(i, 1);
    assert_ok(rapt_buffer_upload(buffer, 0, mirror, size, error));
    const struct {
        uint64_t offset, bytes;
    } parts[] = {{0, 1},        {1, 1},        {3, 5},    {7, 4097}, {size / 2 + 1, 65537},
                 {1, size - 2}, {size - 1, 1}, {0, size}, {size, 0}};
    for (size_t p = 0; p < RAPT_COUNT(parts); p++) {
        if (parts[p].offset > size || parts[p].bytes > size - parts[p].offset)
            continue;
        for (uint64_t i = 0; i < parts[p].bytes; i++)
            mirror[parts[p].offset + i] = data[i] = pattern_at(i, (uint32_t)p * 977 + 5);
        assert_ok(rapt_buffer_upload(buffer, parts[p].offset, data, parts[p].bytes, error));
        memset(back, 0xee, size);
        assert_ok(rapt_buffer_download(buffer, parts[p].offset, back, parts[p].bytes, error));
        assert_memory_equal(back, data, parts[p].bytes);
        assert_ok(rapt_buffer_download(buffer, 0, back, size, error));
        assert_true(memcmp(back, mirror, size) == 0);
    }
    if (size >= 64) {
        const uint32_t word = 0xdeadbeef;
        assert_ok(rapt_buffer_fill(buffer, 8, 48, word, error));
        for (int i = 0; i < 12; i++)
            memcpy(mirror + 8 + i * 4, &word, 4);
        assert_ok(rapt_buffer_download(buffer, 0, back, size, error));
        assert_true(memcmp(back, mirror, size) == 0);
        assert_fails(rapt_buffer_fill(buffer, 2, 4, 0, error), RAPT_ERROR_INVALID, "multiples of 4");
        assert_fails(rapt_buffer_fill(buffer, 4, 3, 0, error), RAPT_ERROR_INVALID, "multiples of 4");
    }
    assert_fails(rapt_buffer_upload(buffer, 1, data, size, error), RAPT_ERROR_INVALID, "do not lie in");
    assert_fails(rapt_buffer_download(buffer, UINT64_MAX, back, 2, error), RAPT_ERROR_INVALID,
                 "do not lie in");
    assert_fails(rapt_buffer_upload(buffer, 0, NULL, 1, error), RAPT_ERROR_INVALID, "NULL");
    assert_fails(rapt_buffer_upload(NULL, 0, data, 1, error), RAPT_ERROR_INVALID, "NULL");
    free(mirror);
    free(data);
    free(back);
}

static void test_buffers(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = open_validated(runtime, NULL);
    rapt_buffer *buffer = NULL;
    rapt_memory_info info;
    const uint64_t sizes[] = {1, 15, 17, 1000, 65536, (16u << 20) + 3, (40u << 20) + 1};
    for (size_t i = 0; i < RAPT_COUNT(sizes); i++) {
        assert_ok(rapt_buffer_create(device, sizes[i], &buffer, error));
        assert_int_equal(rapt_buffer_size(buffer), sizes[i]);
        exercise(buffer);
        /* The same buffer seen as one that cannot be mapped: through staging, in several pieces. */
        void *mapped = buffer->mapped;
        buffer->mapped = NULL;
        exercise(buffer);
        buffer->mapped = mapped;
        rapt_buffer_destroy(&buffer);
        assert_null(buffer);
    }
    assert_true(device->staging->size <= 16u << 20);
    rapt_buffer_destroy(&buffer);
    assert_fails(rapt_buffer_create(device, 0, &buffer, error), RAPT_ERROR_INVALID, "at least 1 byte");
    static const uint64_t absurd[] = {UINT64_MAX, UINT64_MAX - 16, 1ull << 62, 1ull << 46};
    for (size_t i = 0; i < RAPT_COUNT(absurd); i++) {
        assert_fails(rapt_buffer_create(device, absurd[i], &buffer, error), RAPT_ERROR_OUT_OF_DEVICE_MEMORY,
                     "asked for");
        assert_null(buffer);
    }
    rapt_device_memory(device, &info);
    assert_int_equal(info.used_bytes, device->staging->allocation.size);
    rapt_device_destroy(&device);
    assert_int_equal(atomic_load(&runtime->validation_messages), 0);
    rapt_runtime_destroy(&runtime);
}

static void test_wrap(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = open_validated(runtime, NULL);
    rapt_buffer *own = NULL, *view = NULL;
    uint64_t offset = 0;
    uint8_t bytes[16] = {0};
    assert_ok(rapt_buffer_create(device, 100000, &own, error));
    rapt_vulkan_buffer info = RAPT_VULKAN_BUFFER_INIT;
    info.buffer = rapt_buffer_handle(own, &offset);
    info.offset = 1003; /* not a multiple of 4, so that a fill has to go the long way */
    info.bytes = 70001;
    info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    assert_ok(rapt_buffer_wrap(device, &info, &view, error));
    assert_int_equal(view->usage, RAPT_BUFFER_STORAGE | RAPT_BUFFER_TRANSFER_SRC | RAPT_BUFFER_TRANSFER_DST);
    exercise(view);
    assert_true(rapt_buffer_handle(view, &offset) == info.buffer);
    assert_int_equal(offset, 1003);
    rapt_buffer_destroy(&view);
    info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;
    assert_ok(rapt_buffer_wrap(device, &info, &view, error));
    assert_fails(rapt_buffer_upload(view, 0, bytes, 16, error), RAPT_ERROR_UNSUPPORTED,
                 "VK_BUFFER_USAGE_TRANSFER_DST_BIT");
    assert_fails(rapt_buffer_download(view, 0, bytes, 16, error), RAPT_ERROR_UNSUPPORTED,
                 "VK_BUFFER_USAGE_TRANSFER_SRC_BIT");
    assert_fails(rapt_buffer_fill(view, 0, 16, 0, error), RAPT_ERROR_UNSUPPORTED,
                 "VK_BUFFER_USAGE_TRANSFER_DST_BIT");
    rapt_buffer_destroy(&view);
    info.bytes = 0;
    assert_fails(rapt_buffer_wrap(device, &info, &view, error), RAPT_ERROR_INVALID, "not a range");
    info.bytes = UINT64_MAX;
    assert_fails(rapt_buffer_wrap(device, &info, &view, error), RAPT_ERROR_INVALID, "not a range");
    info.buffer = VK_NULL_HANDLE;
    assert_fails(rapt_buffer_wrap(device, &info, &view, error), RAPT_ERROR_INVALID, "VK_NULL_HANDLE");
    info.struct_size = 0;
    assert_fails(rapt_buffer_wrap(device, &info, &view, error), RAPT_ERROR_INVALID, "struct_size");
    rapt_buffer_destroy(&own);
    rapt_device_destroy(&device);
    assert_int_equal(atomic_load(&runtime->validation_messages), 0);
    rapt_runtime_destroy(&runtime);
}

/* With the memory of a discrete GPU, where nothing that is local can be mapped. */
static void test_split_memory(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    rapt_buffer *buffer = NULL, *upload = NULL;
    runtime->get_proc = vk_fault_get_instance_proc;
    vk_fault_split_memory(true);
    rapt_device *device = open_validated(runtime, NULL);
    assert_ok(rapt_buffer_create(device, (16u << 20) + 77, &buffer, error));
    assert_null(buffer->mapped);
    assert_ok(rapt_buffer_create_internal(device, 1000, RAPT_MEMORY_UPLOAD, &upload, error));
    assert_non_null(upload->mapped);
    exercise(buffer);
    exercise(upload);
    rapt_buffer_destroy(&upload);
    rapt_buffer_destroy(&buffer);
    /* The local memory is full: it goes elsewhere, and says so. */
    vk_fault_arm(0, VK_ERROR_OUT_OF_DEVICE_MEMORY, "vkAllocateMemory");
    assert_ok(rapt_buffer_create(device, 80u << 20, &buffer, error));
    assert_string_equal(vk_fault_fired(), "vkAllocateMemory");
    if (device->memory_properties.memoryTypeCount == 2) /* one real type, shown twice: the other can be mapped */
        assert_non_null(buffer->mapped);
    exercise(buffer);
    rapt_buffer_destroy(&buffer);
    rapt_device_destroy(&device);
    vk_fault_split_memory(false);
    assert_int_equal(atomic_load(&runtime->validation_messages), 0);
    rapt_runtime_destroy(&runtime);
}

/* That the silence of the other tests means something. */
static void test_validation_speaks(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime_options o = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_runtime *runtime = NULL;
    assert_ok(rapt_runtime_create(&o, &runtime, error));
    rapt_device *device = open_validated(runtime, NULL);
    const bool installed = device->instance.validation;
    const VkBufferCreateInfo empty = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                      .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    VkBuffer handle = VK_NULL_HANDLE;
    if (installed && device->fn.vkCreateBuffer(device->handle, &empty, NULL, &handle) == VK_SUCCESS)
        device->fn.vkDestroyBuffer(device->handle, handle, NULL);
    if (installed)
        assert_true(atomic_load(&runtime->validation_messages) > 0);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
    if (!installed)
        skip();
}

/* ---- The allocator ---- */

typedef struct held {
    rapt_allocation a;
    uint32_t type_bits;
} held;

static void test_allocator(void **state)
{
    (void)state;
    NEED_VULKAN();
    enum { SLOTS = 300, ROUNDS = 20000 };
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = open_validated(runtime, NULL);
    held *slots = calloc(SLOTS, sizeof *slots);
    assert_non_null(slots);
    uint64_t random = 42, used = 0, peak = 0;
    rapt_memory_info info, before;
    rapt_device_memory(device, &before);
    for (int round = 0; round < ROUNDS; round++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        const uint32_t r = (uint32_t)(random >> 33);
        held *slot = &slots[r % SLOTS];
        if (slot->a.block != NULL) {
            used -= slot->a.size;
            rapt_memory_free(device, &slot->a);
            assert_null(slot->a.block);
            continue;
        }
        VkMemoryRequirements need = {
            .size = 1 + (r >> 9) % ((r & 0x100) != 0 ? 200000 : 3000),
            .alignment = 1ull << (r >> 5) % 9,
            .memoryTypeBits = ~0u,
        };
        if (round % 997 == 0)
            need.size = 20u << 20; /* one that gets a block of its own */
        assert_ok(rapt_memory_alloc(device, &need, (rapt_memory_use)(r % 3), &slot->a, error));
        assert_true(slot->a.size >= need.size && slot->a.offset % need.alignment == 0);
        used += slot->a.size;
        peak = RAPT_MAX(peak, used);
        for (int i = 0; i < SLOTS; i++) {
            const rapt_allocation *other = &slots[i].a;
            if (other == &slot->a || other->block == NULL || other->memory != slot->a.memory)
                continue;
            assert_true(other->offset + other->size <= slot->a.offset ||
                        slot->a.offset + slot->a.size <= other->offset);
        }
        if (slot->a.mapped != NULL)
            memset(slot->a.mapped, (int)r,
                   (size_t)slot->a.size); /* the sanitizer and the others' bytes would tell */
        rapt_device_memory(device, &info);
        assert_int_equal(info.used_bytes, before.used_bytes + used);
    }
    for (int i = 0; i < SLOTS; i++)
        rapt_memory_free(device, &slots[i].a);
    rapt_device_memory(device, &info);
    assert_int_equal(info.used_bytes, before.used_bytes);
    assert_int_equal(info.used_peak, before.used_bytes + peak);
    assert_true(info.allocations <= 3); /* at most one empty block of each type that was used */
    assert_true(info.device_peak >= peak);
    VkMemoryRequirements need = {.size = 1ull << 50, .alignment = 1, .memoryTypeBits = ~0u};
    rapt_allocation a;
    assert_fails(rapt_memory_alloc(device, &need, RAPT_MEMORY_DEVICE, &a, error),
                 RAPT_ERROR_OUT_OF_DEVICE_MEMORY, "asked for");
    need.memoryTypeBits = 0;
    need.size = 16;
    assert_fails(rapt_memory_alloc(device, &need, RAPT_MEMORY_DEVICE, &a, error), RAPT_ERROR_UNSUPPORTED,
                 "memory type");
    free(slots);
    rapt_device_destroy(&device);
    assert_int_equal(atomic_load(&runtime->validation_messages), 0);
    rapt_runtime_destroy(&runtime);
}

/* ---- Adopting an app's device ---- */

static const uint64_t must_be_enabled =
    RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL) | RAPT_FEATURE_BIT(FULL_SUBGROUPS) | RAPT_FEATURE_BIT(FP16) |
    RAPT_FEATURE_BIT(STORAGE_16BIT) | RAPT_FEATURE_BIT(STORAGE_8BIT) | RAPT_FEATURE_BIT(INT8) |
    RAPT_FEATURE_BIT(INT64) | RAPT_FEATURE_BIT(BUFFER_DEVICE_ADDRESS) | RAPT_FEATURE_BIT(COOPERATIVE_MATRIX) |
    RAPT_FEATURE_BIT(PUSH_DESCRIPTOR) | RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE) |
    RAPT_FEATURE_BIT(VULKAN_MEMORY_MODEL) | RAPT_FEATURE_BIT(PIPELINE_STATISTICS) |
    RAPT_FEATURE_BIT(MEMORY_BUDGET) | RAPT_FEATURE_BIT(SPARSE_BUFFER);

static void test_adopt(void **state)
{
    (void)state;
    NEED_VULKAN();
    app a;
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = NULL;
    rapt_buffer *buffer = NULL;
    app_create(&a, VK_API_VERSION_1_1, vk_fault_real, NULL);
    rapt_vulkan_device info = app_info(&a, vk_fault_real);
    info.lock_queue = app_lock;
    info.unlock_queue = app_unlock;
    info.lock_user = &a;
    assert_ok(rapt_device_adopt(runtime, &info, &device, error));
    assert_int_equal(rapt_device_caps(device)->features & must_be_enabled, 0); /* nothing was declared */
    assert_int_equal(rapt_device_caps(device)->api_version, VK_API_VERSION_1_1);
    assert_ok(rapt_buffer_create(device, 100001, &buffer, error));
    exercise(buffer);
    buffer->mapped = NULL;
    exercise(buffer);
    assert_true(a.locks > 0 && a.locked == 0);
    rapt_buffer_destroy(&buffer);
    rapt_device_destroy(&device);

    const char *names[] = {NULL};
    struct {
        rapt_vulkan_device info;
        const char *part;
        rapt_status status;
    } bad[16];
    int n = 0;
#define BAD(assignment, text, code)                                                                          \
    do {                                                                                                     \
        bad[n].info = info;                                                                                  \
        bad[n].info.assignment;                                                                              \
        bad[n].part = text;                                                                                  \
        bad[n++].status = code;                                                                              \
    } while (0)
    BAD(struct_size = 3, "struct_size", RAPT_ERROR_INVALID);
    BAD(get_instance_proc_addr = NULL, "get_instance_proc_addr", RAPT_ERROR_INVALID);
    BAD(instance = NULL, "instance", RAPT_ERROR_INVALID);
    BAD(physical_device = NULL, "physical_device", RAPT_ERROR_INVALID);
    BAD(device = NULL, "device", RAPT_ERROR_INVALID);
    BAD(queue = NULL, "queue", RAPT_ERROR_INVALID);
    BAD(queue_family = 1000, "does not exist", RAPT_ERROR_INVALID);
    BAD(extension_count = 1, "extensions", RAPT_ERROR_INVALID);
    BAD(extension_count = 1; bad[n].info.extensions = names, "extensions[0]", RAPT_ERROR_INVALID);
    BAD(unlock_queue = NULL, "unlock_queue", RAPT_ERROR_INVALID);
    BAD(api_version = VK_API_VERSION_1_0, "1.1 or later", RAPT_ERROR_UNSUPPORTED);
    BAD(caps_mask = "nonsense", "nonsense", RAPT_ERROR_INVALID);
#undef BAD
    for (int i = 0; i < n; i++) {
        assert_fails(rapt_device_adopt(runtime, &bad[i].info, &device, error), bad[i].status, bad[i].part);
        assert_null(device);
    }
    app_destroy(&a);
    rapt_runtime_destroy(&runtime);
}

static void test_adopt_features(void **state)
{
    (void)state;
    NEED_VULKAN();
    app a;
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = NULL;
    rapt_caps own;
    assert_ok(rapt_device_query(runtime, 0, &own, error));
    if (own.api_version < VK_API_VERSION_1_3) {
        rapt_runtime_destroy(&runtime);
        skip();
    }
    const uint64_t wanted =
        own.features & (RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL) | RAPT_FEATURE_BIT(STORAGE_16BIT) |
                        RAPT_FEATURE_BIT(STORAGE_8BIT) | RAPT_FEATURE_BIT(FP16) |
                        RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE) | RAPT_FEATURE_BIT(INT64));
#define HAS(feature) ((wanted & RAPT_FEATURE_BIT(feature)) != 0)
    VkPhysicalDeviceVulkan13Features f13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
                                            .subgroupSizeControl = HAS(SUBGROUP_SIZE_CONTROL)};
    VkPhysicalDeviceVulkan12Features f12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                            .pNext = &f13,
                                            .storageBuffer8BitAccess = HAS(STORAGE_8BIT),
                                            .shaderFloat16 = HAS(FP16),
                                            .timelineSemaphore = HAS(TIMELINE_SEMAPHORE)};
    VkPhysicalDeviceVulkan11Features f11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                            .pNext = &f12,
                                            .storageBuffer16BitAccess = HAS(STORAGE_16BIT)};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &f11,
                                          .features.shaderInt64 = HAS(INT64)};
    app_create(&a, VK_API_VERSION_1_3, vk_fault_real, &features);
    rapt_vulkan_device info = app_info(&a, vk_fault_real);
    info.api_version = VK_API_VERSION_1_3;
    info.features = &features;
    assert_ok(rapt_device_adopt(runtime, &info, &device, error));
    assert_true((rapt_device_caps(device)->features & must_be_enabled) == wanted);
    rapt_device_destroy(&device);
    /* The single structures say the same. */
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
        .timelineSemaphore = HAS(TIMELINE_SEMAPHORE)};
    VkPhysicalDevice16BitStorageFeatures storage16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .pNext = &timeline,
        .storageBuffer16BitAccess = HAS(STORAGE_16BIT)};
    features.pNext = &storage16;
    assert_ok(rapt_device_adopt(runtime, &info, &device, error));
    assert_true((rapt_device_caps(device)->features & must_be_enabled) ==
                (wanted & (RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE) | RAPT_FEATURE_BIT(STORAGE_16BIT) |
                           RAPT_FEATURE_BIT(INT64))));
    rapt_device_destroy(&device);
    /* In an instance of 1.1 without the extension, a structure of 1.2 means nothing. */
    info.api_version = VK_API_VERSION_1_1;
    assert_ok(rapt_device_adopt(runtime, &info, &device, error));
    assert_int_equal(rapt_device_caps(device)->features & RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE), 0);
    rapt_device_destroy(&device);
    app_destroy(&a);
    rapt_runtime_destroy(&runtime);
#undef HAS
}

/* ---- Threads ---- */

#if !defined(_WIN32)
typedef struct worker {
    rapt_device *device;
    uint32_t seed;
    bool failed;
} worker;

static void *work(void *user)
{
    worker *w = user;
    uint8_t data[3000], back[3000];
    for (uint32_t round = 0; round < 60 && !w->failed; round++) {
        rapt_buffer *buffer = NULL;
        const uint32_t bytes = 1 + (w->seed * 7919 + round * 104729) % sizeof data;
        for (uint32_t i = 0; i < bytes; i++)
            data[i] = pattern_at(i, w->seed + round);
        w->failed = rapt_buffer_create(w->device, bytes, &buffer, NULL) != RAPT_OK;
        if (!w->failed && round % 2 == 0)
            buffer->mapped = NULL; /* every other one through the staging buffer that all threads share */
        w->failed = w->failed || rapt_buffer_upload(buffer, 0, data, bytes, NULL) != RAPT_OK ||
                    rapt_buffer_download(buffer, 0, back, bytes, NULL) != RAPT_OK ||
                    memcmp(data, back, bytes) != 0;
        rapt_buffer_destroy(&buffer);
    }
    return NULL;
}

/* Several threads on one device, others on a second one of the same hardware. */
static void test_threads(void **state)
{
    (void)state;
    NEED_VULKAN();
    enum { THREADS = 6 };
    rapt_runtime *runtime = new_runtime();
    rapt_device *devices[2] = {open_validated(runtime, NULL), open_validated(runtime, NULL)};
    pthread_t threads[THREADS];
    worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){devices[i % 3 == 2], i * 1000, false};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_false(workers[i].failed);
    rapt_device_destroy(&devices[0]);
    rapt_device_destroy(&devices[1]);
    assert_int_equal(atomic_load(&runtime->validation_messages), 0);
    rapt_runtime_destroy(&runtime);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_no_vulkan),
        cmocka_unit_test(test_no_compiler),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_split_memory),
        cmocka_unit_test(test_validation_speaks),
        cmocka_unit_test(test_allocator),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_adopt_features),
#if !defined(_WIN32)
        cmocka_unit_test(test_threads),
#endif
    };
    return cmocka_run_group_tests(tests, find_vulkan, NULL);
}
