/* Every Vulkan call and every allocation of the layer's lower half fails once: a status with a message comes
 * back, and nothing is left behind. */
#include "vk_support.h"

/* An allocator that knows its bytes, and fails one request. */
typedef struct counted {
    size_t bytes;
    int countdown; /* negative: none fails */
    bool fired;
} counted;

static bool counted_fails(counted *c)
{
    if (c->countdown < 0 || c->countdown-- > 0)
        return false;
    c->fired = true;
    return true;
}

static void *counted_alloc(void *user, size_t size)
{
    counted *c = user;
    void *p = counted_fails(c) ? NULL : malloc(size);
    if (p != NULL)
        c->bytes += size;
    return p;
}

static void *counted_realloc(void *user, void *old, size_t old_size, size_t size)
{
    counted *c = user;
    void *p = counted_fails(c) ? NULL : realloc(old, size);
    if (p != NULL)
        c->bytes += size - old_size;
    return p;
}

static void counted_free(void *user, void *old, size_t size)
{
    counted *c = user;
    if (old != NULL)
        c->bytes -= size;
    free(old);
}

static rapt_status use_device(rapt_device *device, rapt_error *error)
{
    rapt_buffer *buffer = NULL, *large = NULL;
    uint8_t bytes[5000];
    rapt_status status = rapt_buffer_create(device, sizeof bytes, &buffer, error);
    if (status == RAPT_OK)
        status = rapt_buffer_create(device, 20u << 20, &large, error);
    memset(bytes, 1, sizeof bytes);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(buffer, 0, bytes, sizeof bytes, error);
    if (status == RAPT_OK) {
        buffer->mapped = NULL; /* from here through staging */
        status = rapt_buffer_download(buffer, 0, bytes, sizeof bytes, error);
    }
    if (status == RAPT_OK)
        status = rapt_buffer_fill(buffer, 0, 4096, 3, error);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(buffer, 1, bytes, 200, error);
    rapt_buffer_destroy(&large);
    rapt_buffer_destroy(&buffer);
    return status;
}

/* The whole life of a runtime, opened or adopted. */
static rapt_status life(const rapt_allocator *allocator, app *adopted, bool validation, rapt_error *error)
{
    rapt_runtime_options o = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_device_options d = RAPT_DEVICE_OPTIONS_INIT;
    rapt_runtime *runtime = NULL;
    rapt_device *device = NULL;
    o.allocator = allocator;
    o.cache_dir = "";
    d.validation = validation;
    rapt_status status = rapt_runtime_create(&o, &runtime, error);
    if (status != RAPT_OK)
        return status;
    runtime->get_proc = vk_fault_get_instance_proc;
    if (adopted != NULL) {
        rapt_vulkan_device info = app_info(adopted, vk_fault_get_instance_proc);
        status = rapt_device_adopt(runtime, &info, &device, error);
    } else {
        status = rapt_device_open(runtime, &d, &device, error);
    }
    if (status == RAPT_OK)
        status = use_device(device, error);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
    return status;
}

static void every_call(app *adopted, VkResult result)
{
    counted c = {.countdown = -1};
    rapt_allocator allocator = {&c, counted_alloc, counted_realloc, counted_free};
    const int before = vk_fault_live();
    for (int n = 0;; n++) {
        rapt_error error = {0};
        vk_fault_arm(n, result, NULL);
        rapt_status status = life(&allocator, adopted, false, &error);
        const char *fired = vk_fault_fired();
        vk_fault_arm(-1, VK_SUCCESS, NULL);
        if (vk_fault_live() != before || c.bytes != 0)
            fail_msg("after %s failed: %d objects and %zu bytes are left", fired != NULL ? fired : "nothing",
                     vk_fault_live() - before, c.bytes);
        if (status != RAPT_OK && (error.message[0] == '\0' || error.status != status))
            fail_msg("after %s failed: status %d without a message", fired, (int)status);
        if (result == VK_ERROR_DEVICE_LOST && fired != NULL && strcmp(fired, "vkQueueSubmit") == 0)
            assert_int_equal(status, RAPT_ERROR_DEVICE_LOST);
        if (fired == NULL) {
            assert_int_equal(status, RAPT_OK);
            assert_true(n > 20);
            break;
        }
    }
}

static void test_failing_calls(void **state)
{
    (void)state;
    NEED_VULKAN();
    every_call(NULL, VK_ERROR_OUT_OF_HOST_MEMORY);
    every_call(NULL, VK_ERROR_OUT_OF_DEVICE_MEMORY);
    every_call(NULL, VK_ERROR_DEVICE_LOST);
    every_call(NULL, VK_ERROR_UNKNOWN);
    app a;
    app_create(&a, VK_API_VERSION_1_1, vk_fault_real, NULL);
    every_call(&a, VK_ERROR_OUT_OF_DEVICE_MEMORY);
    every_call(&a, VK_ERROR_DEVICE_LOST);
    app_destroy(&a);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    NEED_VULKAN();
    const int before = vk_fault_live();
    for (int n = 0;; n++) {
        counted c = {.countdown = n};
        rapt_allocator allocator = {&c, counted_alloc, counted_realloc, counted_free};
        rapt_error error = {0};
        rapt_status status = life(&allocator, NULL, false, &error);
        assert_int_equal(c.bytes, 0);
        assert_int_equal(vk_fault_live(), before);
        if (!c.fired) {
            assert_int_equal(status, RAPT_OK);
            assert_true(n > 10);
            break;
        }
        if (status != RAPT_OK)
            assert_int_equal(error.status, status);
    }
}

static void test_driver_that_fails(void **state)
{
    (void)state;
    NEED_VULKAN();
    static const struct {
        const char *call;
        VkResult result;
        const char *part;
    } cases[] = {
        {"vkCreateInstance", VK_ERROR_INCOMPATIBLE_DRIVER, "no Vulkan driver"},
        {"vkEnumeratePhysicalDevices", VK_ERROR_INITIALIZATION_FAILED, "could be initialised"},
    };
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        rapt_runtime *runtime = new_runtime();
        uint32_t count;
        runtime->get_proc = vk_fault_get_instance_proc;
        vk_fault_arm(0, cases[i].result, cases[i].call);
        assert_fails(rapt_device_count(runtime, &count, error), RAPT_ERROR_NO_DEVICE, cases[i].part);
        vk_fault_arm(-1, VK_SUCCESS, NULL);
        assert_ok(rapt_device_count(runtime, &count, error)); /* the next try is a fresh one */
        rapt_runtime_destroy(&runtime);
    }
}

static void test_lost_device(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = NULL;
    rapt_buffer *buffer = NULL, *more = NULL;
    uint8_t bytes[64] = {0};
    runtime->get_proc = vk_fault_get_instance_proc;
    assert_ok(rapt_device_open(runtime, NULL, &device, error));
    assert_ok(rapt_buffer_create(device, 64, &buffer, error));
    buffer->mapped = NULL;
    vk_fault_arm(0, VK_ERROR_DEVICE_LOST, "vkQueueSubmit");
    assert_fails(rapt_buffer_upload(buffer, 0, bytes, 64, error), RAPT_ERROR_DEVICE_LOST,
                 "VK_ERROR_DEVICE_LOST");
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    /* It stays lost. */
    assert_fails(rapt_buffer_upload(buffer, 0, bytes, 64, error), RAPT_ERROR_DEVICE_LOST, "lost earlier");
    assert_fails(rapt_buffer_download(buffer, 0, bytes, 64, error), RAPT_ERROR_DEVICE_LOST, "lost earlier");
    assert_fails(rapt_buffer_create(device, 64, &more, error), RAPT_ERROR_DEVICE_LOST, "lost earlier");
    rapt_buffer_destroy(&buffer);
    rapt_device_destroy(&device);
    assert_ok(rapt_device_open(runtime, NULL, &device, error)); /* and a new one works */
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
}

static void test_timeout(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = NULL;
    rapt_buffer *buffer = NULL;
    uint8_t bytes[64] = {1}, back[64];
    runtime->get_proc = vk_fault_get_instance_proc;
    assert_ok(rapt_device_open(runtime, NULL, &device, error));
    assert_ok(rapt_buffer_create(device, 64, &buffer, error));
    buffer->mapped = NULL;
    vk_fault_arm(0, VK_TIMEOUT, "vkWaitForFences");
    assert_fails(rapt_buffer_upload(buffer, 0, bytes, 64, error), RAPT_ERROR_TIMEOUT, "not done");
    assert_true(device->transfer_pending);
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    assert_ok(rapt_buffer_download(buffer, 0, back, 64, error)); /* waits for the earlier one first */
    assert_memory_equal(back, bytes, 64);
    rapt_buffer_destroy(&buffer);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
}

static void test_no_op_driver(void **state)
{
    (void)state;
    NEED_VULKAN();
    rapt_runtime *runtime = new_runtime();
    rapt_device *device = NULL;
    rapt_device_options o = RAPT_DEVICE_OPTIONS_INIT;
    runtime->get_proc = vk_fault_get_instance_proc;
    vk_fault_skip_work(true);
    assert_fails(rapt_device_open(runtime, NULL, &device, error), RAPT_ERROR_INCOMPLETE, "no_probe");
    o.no_probe = 1;
    assert_ok(rapt_device_open(runtime, &o, &device, error));
    assert_int_equal(rapt_device_caps(device)->no_execution, 1);
    rapt_device_destroy(&device);
    vk_fault_skip_work(false);
    assert_ok(rapt_device_open(runtime, &o, &device, error));
    assert_int_equal(rapt_device_caps(device)->no_execution, 0);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_calls),     cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_driver_that_fails), cmocka_unit_test(test_lost_device),
        cmocka_unit_test(test_timeout),           cmocka_unit_test(test_no_op_driver),
    };
    return cmocka_run_group_tests(tests, find_vulkan, NULL);
}
