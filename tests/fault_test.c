/* Whatever fails, fails with a status and a message, leaves nothing behind, and is not mistaken for success:
 * host memory, every Vulkan call, drivers that pretend to work, kernels that compute nonsense. RAPT_TEST_FEW: see support.h. */
#include "rig.h"
#include "vk_fault.h"

#include "kernel/kernel.h"

static rig the_rig;

/* ---- one life: everything from the runtime to the last destroy, on the kernel that compiles fastest ---- */

enum { LIFE_NQ = 3, LIFE_NK = 200, LIFE_DIM = 8, LIFE_OUT = 2 * LIFE_NQ * LIFE_DIM };

typedef struct life {
    const rapt_allocator *allocator;
    float out[LIFE_OUT];
    void *q, *k, *v;
} life;

static life the_life;

/* A lost device stays lost, whatever is asked of it. */
static void assert_lost(rapt_device *device, const rapt_attention_desc *d, rapt_binding *binding)
{
    rapt_buffer *buffer = NULL;
    rapt_plan *plan;
    RIG_FAILS(rapt_buffer_create(device, 64, &buffer, error), RAPT_ERROR_DEVICE_LOST, "lost");
    rapt_attention_desc any = *d;
    any.kernel = NULL;                                       /* the forced one may have its verdict by now */
    RIG_OK(rapt_attention_plan(device, &any, &plan, error)); /* a plan needs no device */
    RIG_FAILS(rapt_plan_prepare(plan, error), RAPT_ERROR_DEVICE_LOST, "lost");
    rapt_plan_destroy(&plan);
    if (binding) {
        (void)rapt_wait(binding, 0, NULL);
        RIG_FAILS(rapt_submit(binding, error), RAPT_ERROR_DEVICE_LOST, "lost");
    }
}

static rapt_status live(life *l, rapt_error *error)
{
    rapt_runtime_options options = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_runtime *runtime = NULL;
    rapt_device *device = NULL;
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_buffer *buffers[5] = {NULL};
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, LIFE_NQ, LIFE_NK, LIFE_DIM, true);
    const rapt_tensor *const tensors[] = {&d.q, &d.k, &d.v, &d.out, &d.lse};
    rapt_slot *const slots[] = {&args.q, &args.k, &args.v, &args.out, &args.lse};
    const void *const data[] = {l->q, l->k, l->v};
    d.kernel = "naive-f32";
    d.key_splits = 2;
    options.allocator = l->allocator;
    options.cache_dir = "";
    rapt_status status = rapt_runtime_create(&options, &runtime, error);
    if (status == RAPT_OK) {
        runtime->get_proc = vk_fault_get_instance_proc;
        status = rapt_device_open(runtime, NULL, &device, error);
    }
    if (status == RAPT_OK)
        status = rapt_attention_plan(device, &d, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    for (int i = 0; i < 5 && status == RAPT_OK; i++) {
        status = rapt_buffer_create(device, rapt_tensor_bytes(tensors[i]), &buffers[i], error);
        slots[i]->buffer = buffers[i];
        if (status == RAPT_OK && i < 3)
            status = rapt_buffer_upload(buffers[i], 0, data[i], rapt_tensor_bytes(tensors[i]), error);
    }
    if (status == RAPT_OK)
        status = rapt_attention_bind(plan, &args, &binding, error);
    for (int i = 0; i < 2 && status == RAPT_OK; i++) {
        status = rapt_submit(binding, error);
        if (status == RAPT_OK)
            status = rapt_wait(binding, UINT64_MAX, error);
    }
    if (status == RAPT_OK)
        status = rapt_buffer_download(buffers[3], 0, l->out, sizeof l->out, error);
    if (status == RAPT_ERROR_DEVICE_LOST && device)
        assert_lost(device, &d, binding);
    rapt_binding_destroy(&binding);
    for (int i = 0; i < 5; i++)
        rapt_buffer_destroy(&buffers[i]);
    rapt_plan_destroy(&plan);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
    return status;
}

/* What a life without faults gives. Skips where there is no device. */
static void life_begin(life *l, float expected[LIFE_OUT])
{
    rapt_error error = {0};
    memset(l, 0, sizeof *l);
    if (!vk_fault_open())
        skip();
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    l->q = rig_numbers(RAPT_F32, 2 * LIFE_NQ * LIFE_DIM, 1);
    l->k = rig_numbers(RAPT_F32, 2 * LIFE_NK * LIFE_DIM, 2);
    l->v = rig_numbers(RAPT_F32, 2 * LIFE_NK * LIFE_DIM, 3);
    const rapt_status status = live(l, &error);
    if (status == RAPT_ERROR_NO_DEVICE)
        skip();
    if (status != RAPT_OK)
        fail_msg("%s: %s", rapt_status_name(status), error.message);
    memcpy(expected, l->out, sizeof l->out);
}

static void life_end(life *l)
{
    free(l->q);
    free(l->k);
    free(l->v);
    vk_fault_close();
}

/* ---- host memory ---- */

typedef struct counted {
    size_t alive, calls, fail_at;
    bool fired;
} counted;

static bool counted_fails(counted *c)
{
    const bool now = c->calls++ == c->fail_at;
    c->fired |= now;
    return now;
}

static void *counted_alloc(void *user, size_t size)
{
    counted *c = user;
    void *memory = counted_fails(c) ? NULL : malloc(size);
    c->alive += memory ? size : 0;
    return memory;
}

static void *counted_realloc(void *user, void *old, size_t old_size, size_t size)
{
    counted *c = user;
    void *memory = counted_fails(c) ? NULL : realloc(old, size);
    if (memory)
        c->alive += size - old_size;
    return memory;
}

static void counted_free(void *user, void *old, size_t size)
{
    counted *c = user;
    c->alive -= old ? size : 0;
    free(old);
}

static void test_every_allocation(void **state)
{
    (void)state;
    float expected[LIFE_OUT];
    unsigned refused = 0, survived = 0;
    counted c = {.fired = true};
    const rapt_allocator allocator = {&c, counted_alloc, counted_realloc, counted_free};
    life_begin(&the_life, expected);
    for (size_t n = 0; c.fired; n++) {
        rapt_error error = {0};
        if (!test_takes(n))
            continue;
        c = (counted){.fail_at = n};
        the_life.allocator = &allocator;
        memset(the_life.out, 0, sizeof the_life.out);
        const rapt_status status = live(&the_life, &error);
        if (status == RAPT_OK) {
            survived += c.fired;
            assert_memory_equal(the_life.out, expected, sizeof expected);
        } else {
            refused++;
            if (status != RAPT_ERROR_OUT_OF_HOST_MEMORY || error.status != status || error.message[0] == 0)
                fail_msg("allocation %zu: %s: \"%s\"", n, rapt_status_name(status), error.message);
        }
        if (c.alive != 0 || vk_fault_live() != 0)
            fail_msg("allocation %zu (%s): %zu bytes and %d objects left", n, error.message, c.alive,
                     vk_fault_live());
    }
    print_message("  %u allocations reported, %u made do without\n", refused, survived);
    assert_true(refused > (test_takes_all() ? 30 : 7));
    life_end(&the_life);
}

/* ---- every Vulkan call ---- */

static void every_call(VkResult result, const rapt_status expected_status)
{
    float expected[LIFE_OUT];
    unsigned refused = 0, survived = 0;
    life_begin(&the_life, expected);
    for (int n = 0;; n++) {
        rapt_error error = {0};
        if (!test_takes((size_t)n))
            continue;
        memset(the_life.out, 0, sizeof the_life.out);
        vk_fault_arm(n, result, NULL);
        const rapt_status status = live(&the_life, &error);
        const char *call = vk_fault_fired();
        vk_fault_arm(-1, VK_SUCCESS, NULL);
        if (status == RAPT_OK) {
            survived += call != NULL;
            assert_memory_equal(the_life.out, expected, sizeof expected);
        } else {
            refused++;
            if (status != expected_status || error.status != status || error.message[0] == 0)
                fail_msg("call %d, %s: %s: \"%s\"", n, call ? call : "none", rapt_status_name(status),
                         error.message);
        }
        if (vk_fault_live() != 0)
            fail_msg("call %d, %s: %d objects left", n, call ? call : "none", vk_fault_live());
        if (call == NULL)
            break;
    }
    print_message("  %s: %u calls reported, %u made do without\n", rapt_vk_result_name(result), refused,
                  survived);
    assert_true(refused > (test_takes_all() ? 50 : 12));
    life_end(&the_life);
}

static void test_every_call_out_of_memory(void **state)
{
    (void)state;
    every_call(VK_ERROR_OUT_OF_DEVICE_MEMORY, RAPT_ERROR_OUT_OF_DEVICE_MEMORY);
}

static void test_every_call_device_lost(void **state)
{
    (void)state;
    every_call(VK_ERROR_DEVICE_LOST, RAPT_ERROR_DEVICE_LOST);
}

/* ---- drivers that pretend ---- */

static rapt_case small_case(rapt_dtype dtype)
{
    return (rapt_case){.name = "small",
                       .batch = 1,
                       .q_heads = 2,
                       .kv_heads = 2,
                       .nq = 5,
                       .nk = 40,
                       .d_qk = 64,
                       .d_v = 64,
                       .dtype = dtype,
                       .seed = 3};
}

static void test_work_that_does_not_run(void **state)
{
    (void)state;
    const rapt_case c = small_case(RAPT_F32);
    rapt_check_problem problem;
    rapt_trial trial;
    rapt_plan *plan;
    if (!vk_fault_open())
        skip();
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    rapt_runtime_options options = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_runtime *runtime;
    rapt_device *device;
    rapt_error why = {0};
    options.cache_dir = "";
    RIG_OK(rapt_runtime_create(&options, &runtime, error));
    runtime->get_proc = vk_fault_get_instance_proc;
    rapt_status status = rapt_device_open(runtime, NULL, &device, &why);
    if (status == RAPT_ERROR_NO_DEVICE) {
        rapt_runtime_destroy(&runtime);
        skip();
    }
    assert_int_equal(status, RAPT_OK);
    assert_true(rapt_check_problem_make(&c, 1, &problem));
    status = rapt_trial_open(device, &problem, NULL, &trial, &why);
    if (status != RAPT_OK)
        fail_msg("%s", why.message);
    RIG_OK(rapt_trial_submit(&trial, NULL, NULL, error));
    vk_fault_skip_work(true);
    RIG_FAILS(rapt_trial_submit(&trial, NULL, NULL, error), RAPT_ERROR_INCOMPLETE, "canary");
    RIG_FAILS(rapt_trial_submit(&trial, NULL, NULL, error), RAPT_ERROR_INCOMPLETE, "slice 0 of 1");
    /* A probe that does not run says nothing for its kernel. */
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, 3, 20, 8, false);
    d.kernel = "naive-f32";
    RIG_OK(rapt_attention_plan(device, &d, &plan, error));
    RIG_FAILS(rapt_plan_prepare(plan, error), RAPT_ERROR_WRONG_RESULT, "did not finish");
    rapt_plan_destroy(&plan);
    vk_fault_skip_work(false);
    assert_int_equal(rapt_trial_check(&trial, 1).verdict, RAPT_CHECK_PASS); /* the device itself is well */
    rapt_trial_close(&trial);
    rapt_check_problem_free(&problem);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

/* A kernel that hangs a GPU is named, the device given up without another wait, and the next one is spared it. */
static void test_probe_hangs(void **state)
{
    (void)state;
    char folder[512];
    rapt_plan *plan;
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    const rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, 3, 20, 8, false);
    if (!vk_fault_open())
        skip();
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    rig_folder(folder, "hang");
    const rig_options options = {.get_proc = vk_fault_get_instance_proc, .cache_dir = folder};
    rig_open(&the_rig, &options);
    rapt_device *device = the_rig.device;
    device->caps.device_class = RAPT_CLASS_OTHER; /* software devices are given minutes, as they compile late */
    RIG_OK(rapt_attention_plan(device, &d, &plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    const uint64_t begin = rapt_now_ns();
    rapt_error why = {0};
    rapt_status status = RAPT_ERROR_TIMEOUT;
    for (int n = 0; status == RAPT_ERROR_TIMEOUT; n++) { /* waits for uploads come first where memory is not mapped */
        vk_fault_arm(n, VK_TIMEOUT, "vkWaitForFences");
        status = rapt_plan_prepare(plan, &why);
    }
    assert_int_equal(status, RAPT_ERROR_DEVICE_LOST);
    assert_non_null(strstr(why.message, info.kernel));
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    RIG_FAILS(rapt_plan_prepare(plan, error), RAPT_ERROR_DEVICE_LOST, "open it again");
    rapt_plan_destroy(&plan);
    rapt_device_destroy(&the_rig.device);
    assert_true(rig_logged(&the_rig, "left as they are") >= 2); /* the probe's binding and the device */
    assert_true(rapt_now_ns() - begin < RAPT_DESTROY_TIMEOUT_NS); /* nothing waited for it again */
    rig_close(&the_rig);
    rig_open(&the_rig, &options);
    the_rig.device->caps.device_class = RAPT_CLASS_OTHER;
    rapt_plan_info after = RAPT_PLAN_INFO_INIT;
    char text[1 << 16];
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error)); /* reads what the disk knows */
    RIG_OK(rapt_plan_describe(plan, &after, error));
    assert_string_not_equal(after.kernel, info.kernel);
    assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text) <= sizeof text);
    assert_non_null(strstr(text, "hung the device"));
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
    rig_remove_folder(folder);
    vk_fault_close();
}

/* The third of many submissions fails: the first two are waited for, and the binding can be used again. */
static void test_submission_breaks_off(void **state)
{
    (void)state;
    enum { COUNT = 2 * 70 * 8 };
    float out[2][COUNT];
    rig_buffers b;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    if (!vk_fault_open())
        skip();
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    rig_open(&the_rig, &(rig_options){.get_proc = vk_fault_get_instance_proc});
    rig_call call = {.desc = rig_desc(RAPT_F32, 1, 2, 2, 70, 70, 8, false)};
    void *const q = rig_numbers(RAPT_F32, COUNT, 1), *const k = rig_numbers(RAPT_F32, COUNT, 2);
    call.q = q;
    call.k = call.v = k;
    call.desc.kernel = "naive-f32";
    call.desc.key_splits = 2;
    call.desc.slice_ms = 1e-5f;
    rig_buffers_make(the_rig.device, &call, &b);
    RIG_OK(rapt_attention_plan(the_rig.device, &call.desc, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    assert_true(info.slices > 3);
    RIG_OK(rapt_attention_bind(plan, &b.args, &binding, error));
    for (int i = 0; i < 2; i++) {
        vk_fault_arm(2, VK_ERROR_OUT_OF_DEVICE_MEMORY, "vkQueueSubmit");
        if (i == 1)
            RIG_FAILS(rapt_submit(binding, error), RAPT_ERROR_OUT_OF_DEVICE_MEMORY, "vkQueueSubmit");
        vk_fault_arm(-1, VK_SUCCESS, NULL);
        RIG_OK(rapt_submit(binding, error));
        RIG_OK(rapt_wait(binding, UINT64_MAX, error));
        call.out = out[i];
        rig_buffers_take(&call, &b);
    }
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    rig_buffers_free(&b);
    rig_close(&the_rig);
    free(q);
    free(k);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

/* ---- kernels that lie ---- */

/* The kernel, and the merge, that a device takes for a descriptor on its own. */
static rapt_plan_info default_plan(rapt_device *device, const rapt_attention_desc *d)
{
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    rapt_plan *plan;
    RIG_OK(rapt_attention_plan(device, d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    rapt_plan_destroy(&plan);
    return info;
}

static void test_lying_kernel(void **state)
{
    (void)state;
    static char text[1 << 18];
    char folder[512], cache[512];
    uint32_t words;
    rapt_plan *plan;
    rapt_plan_info before, after = RAPT_PLAN_INFO_INIT;
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, 5, 40, 64, true);
    rig_folder(folder, "override");
    rig_folder(cache, "override-cache");
    rig_open(&the_rig, NULL);
    before = default_plan(the_rig.device, &d);
    rig_close(&the_rig);
    uint32_t *lie = rig_hollow(rig_module(before.kernel), &words);
    rig_override(folder, rig_module(before.kernel), lie, words * sizeof *lie);
    free(lie);

    rig_open(&the_rig, &(rig_options){.override_dir = folder, .cache_dir = cache});
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    RIG_OK(rapt_plan_describe(plan, &after, error));
    assert_string_equal(after.kernel, before.kernel);
    assert_int_equal(after.generation, 0);
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &after, error));
    assert_string_not_equal(after.kernel, before.kernel);
    assert_true(after.generation >= 1);
    assert_true(rig_logged(&the_rig, "is out: its known-answer probe is off by inf") >= 1);
    assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text) > 1);
    assert_non_null(strstr(text, "its known-answer probe is off"));
    rapt_plan_destroy(&plan);
    /* Now known, it is not even planned with. */
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    RIG_OK(rapt_plan_describe(plan, &after, error));
    assert_string_not_equal(after.kernel, before.kernel);
    rapt_plan_destroy(&plan);
    const rapt_case c = small_case(RAPT_F32);
    const rapt_result result = rig_check(&the_rig, &c, NULL, 1);
    assert_string_not_equal(result.info.kernel, before.kernel);
    /* By force: a refusal with the reason. */
    d.kernel = before.kernel;
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_UNSUPPORTED,
              "its known-answer probe");
    rig_close(&the_rig);
    rig_open(&the_rig, &(rig_options){.override_dir = folder, .cache_dir = cache});
    RIG_OK(
        rapt_attention_plan(the_rig.device, &d, &plan, error)); /* another runtime: it was not written down */
    RIG_FAILS(rapt_plan_prepare(plan, error), RAPT_ERROR_WRONG_RESULT, before.kernel);
    RIG_FAILS(rapt_plan_prepare(plan, error), RAPT_ERROR_UNSUPPORTED, "its known-answer probe");
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
    d.kernel = NULL;

    /* The verdict on the replacement is not one on the kernel itself. */
    rig_open(&the_rig, &(rig_options){.cache_dir = cache});
    after = default_plan(the_rig.device, &d);
    assert_string_equal(after.kernel, before.kernel);
    rig_close(&the_rig);

    /* No SPIR-V at all. */
    rig_override(folder, rig_module(before.kernel), "nonsense", 8);
    rig_open(&the_rig, &(rig_options){.override_dir = folder});
    after = default_plan(the_rig.device, &d);
    assert_string_not_equal(after.kernel, before.kernel);
    assert_true(rig_logged(&the_rig, "is not SPIR-V") >= 1);
    rig_close(&the_rig);
    rig_remove_folder(folder);
    rig_remove_folder(cache);
}

/* When all merges lie, keys that need not be split are not, and asking for splits is refused, again and
 * again. */
static void test_lying_merge(void **state)
{
    (void)state;
    char folder[512];
    uint32_t words;
    rapt_plan *plan;
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 1, 1, 1, 3000, 16, false);
    rig_folder(folder, "merge-override");
    rig_open(&the_rig, NULL);
    const rapt_plan_info before = default_plan(the_rig.device, &d);
    rig_close(&the_rig);
    rapt_attention_desc split = d;
    split.key_splits = 3;
    split.kernel = "naive-f32";
    static const char *const merges[] = {"merge-f32", "merge-wide-f32"};
    for (size_t i = 0; i < RAPT_COUNT(merges); i++) {
        uint32_t *lie = rig_hollow(rig_module(merges[i]), &words);
        rig_override(folder, rig_module(merges[i]), lie, words * sizeof *lie);
        free(lie);
    }
    rig_open(&the_rig, &(rig_options){.override_dir = folder});
    if (before.key_splits > 1) { /* what this device would have split */
        const rapt_plan_info after = default_plan(the_rig.device, &d);
        assert_int_equal(after.key_splits, 1);
        assert_true(after.generation >= 1);
        rapt_case c = {.name = "one query, no merge",
                       .batch = 1,
                       .q_heads = 1,
                       .kv_heads = 1,
                       .nq = 1,
                       .nk = 3000,
                       .d_qk = 16,
                       .d_v = 16,
                       .dtype = RAPT_F32,
                       .seed = 4};
        const rapt_result result = rig_check(&the_rig, &c, NULL, 0);
        assert_int_equal(result.info.key_splits, 1);
    }
    rig_close(&the_rig);
    rig_open(&the_rig, &(rig_options){.override_dir = folder}); /* who knows nothing yet */
    RIG_OK(rapt_attention_plan(the_rig.device, &split, &plan, error));
    for (int i = 0; i < 2; i++) {
        rapt_error error = {0};
        const rapt_status status = rapt_plan_prepare(plan, &error);
        assert_true(status == RAPT_ERROR_WRONG_RESULT || status == RAPT_ERROR_UNSUPPORTED);
        assert_non_null(strstr(error.message, "known-answer probe"));
    }
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

/* Every row of a dtype lies: planning ends, with a reason, and preparing once more does not make it good. */
static void test_all_kernels_lie(void **state)
{
    (void)state;
    char folder[512];
    const rapt_kernel_table *table = rapt_kernels();
    rapt_plan *plan;
    rapt_binding *binding = NULL;
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    const rapt_attention_desc d = rig_desc(RAPT_BF16, 1, 1, 1, 3, 20, 576, false); /* few rows take these */
    rig_folder(folder, "all-override");
    for (uint32_t i = 0; i < table->row_count; i++)
        if (table->rows[i].dtypes >> RAPT_BF16 & 1)
            rig_override(folder, &table->modules[table->rows[i].module], "nonsense", 8);
    rig_open(&the_rig, &(rig_options){.override_dir = folder});
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    RIG_FAILS(rapt_plan_prepare(plan, error), RAPT_ERROR_UNSUPPORTED, "refused on this device and driver");
    RIG_FAILS(rapt_plan_prepare(plan, error), RAPT_ERROR_UNSUPPORTED, "refused on this device and driver");
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "not prepared");
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation),
        cmocka_unit_test(test_every_call_out_of_memory),
        cmocka_unit_test(test_every_call_device_lost),
        cmocka_unit_test(test_work_that_does_not_run),
        cmocka_unit_test(test_submission_breaks_off),
        cmocka_unit_test(test_lying_kernel),
        cmocka_unit_test(test_lying_merge),
        cmocka_unit_test(test_all_kernels_lie),
        cmocka_unit_test(test_probe_hangs), /* the last: it leaves a device behind, as it must */
    };
    return RIG_RUN("fault", tests);
}
