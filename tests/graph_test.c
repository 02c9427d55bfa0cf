/* Graphs of bindings: results as one after the other, barriers where they must be, deadlines, cancellation, semaphores. */
#include "rig.h"
#include "vk_fault.h"

#include "check/cases.h"
#include "rapt/vulkan.h"
#include "vk/exec.h"

#include <math.h>

enum { ROWS = 64, WIDTH = 64, COUNT = ROWS * WIDTH, TENSORS = 8, NODES = 40 };

static rig the_rig;

/* Tensors, and plans that make one of one or two others: each node is a product with powers of two and one sum, or two, in one order: the
 * same bits on host and device. */
typedef struct scene {
    rapt_buffer *buffer[TENSORS];
    rapt_plan *plan[2];
    rapt_binding *binding[NODES];
    uint32_t bindings;
    float before[TENSORS][COUNT], want[TENSORS][COUNT], got[COUNT];
} scene;

static scene the_scene;

static void scene_open_with(scene *s, const rig_options *options)
{
    rapt_random random = {.state = 3};
    rig_open(&the_rig, options);
    memset(s, 0, sizeof *s);
    for (int t = 0; t < TENSORS; t++) {
        for (int i = 0; i < COUNT; i++)
            s->before[t][i] = (float)rapt_random_below(&random, 64);
        s->buffer[t] = rig_upload(the_rig.device, s->before[t], sizeof s->before[t]);
    }
    for (uint32_t terms = 1; terms <= 2; terms++) {
        rapt_combine_desc d = RAPT_COMBINE_DESC_INIT;
        d.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, ROWS, WIDTH);
        d.factor[0] = terms == 1 ? 2 : 0.5f;
        d.factor[1] = 0.5f;
        d.offset = terms == 1 ? -3 : 1;
        for (uint32_t i = 0; i < terms; i++)
            d.x[i] = d.out;
        RIG_OK(rapt_combine_plan(the_rig.device, &d, &s->plan[terms - 1], error));
        RIG_OK(rapt_plan_prepare(s->plan[terms - 1], error));
    }
    memcpy(s->want, s->before, sizeof s->want);
}

static void scene_open(scene *s, bool validation)
{
    scene_open_with(s, &(rig_options){.validation = validation});
}

/* to = 2 a - 3, or with b (a + b) / 2 + 1; also what it must come to. b < 0: there is none. */
static rapt_binding *node(scene *s, int to, int a, int b)
{
    rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
    args.out.buffer = s->buffer[to];
    args.x[0].buffer = s->buffer[a];
    args.x[1].buffer = b >= 0 ? s->buffer[b] : NULL;
    rapt_binding **binding = &s->binding[s->bindings++];
    RIG_OK(rapt_combine_bind(s->plan[b >= 0], &args, binding, error));
    for (int i = 0; i < COUNT; i++)
        s->want[to][i] = b >= 0 ? (0.5f * s->want[a][i] + 0.5f * s->want[b][i]) + 1 : 2 * s->want[a][i] - 3;
    return *binding;
}

static void put_back(scene *s)
{
    for (int t = 0; t < TENSORS; t++)
        RIG_OK(rapt_buffer_upload(s->buffer[t], 0, s->before[t], sizeof s->before[t], error));
}

static void check(scene *s)
{
    for (int t = 0; t < TENSORS; t++) {
        RIG_OK(rapt_buffer_download(s->buffer[t], 0, s->got, sizeof s->got, error));
        for (int i = 0; i < COUNT; i++)
            if (s->got[i] != s->want[t][i])
                fail_msg("tensor %d, element %d: %g, want %g", t, i, (double)s->got[i], (double)s->want[t][i]);
    }
}

static void scene_close(scene *s)
{
    for (uint32_t i = 0; i < s->bindings; i++)
        rapt_binding_destroy(&s->binding[i]);
    for (int i = 0; i < 2; i++)
        rapt_plan_destroy(&s->plan[i]);
    for (int t = 0; t < TENSORS; t++)
        rapt_buffer_destroy(&s->buffer[t]);
    rig_close(&the_rig);
}

static rapt_graph *graph_of(const rapt_graph_options *options)
{
    rapt_graph *graph = NULL;
    RIG_OK(rapt_graph_create(the_rig.device, options, &graph, error));
    return graph;
}

static rapt_graph_info info_of(const rapt_graph *graph)
{
    rapt_graph_info info = RAPT_GRAPH_INFO_INIT;
    RIG_OK(rapt_graph_describe(graph, &info, error));
    return info;
}

static void assert_silent(void)
{
    const char *at = strstr(the_rig.log, "validation: ");
    if (atomic_load(&the_rig.runtime->validation_messages) != 0)
        fail_msg("%.500s", at ? at : "validation has something to say");
}

/* Random nodes over few tensors: as one after the other, however many are in a submission, and the layers see no missing barrier. */
static void test_random(void **state)
{
    scene *s = &the_scene;
    rapt_random random = {.state = 9};
    (void)state;
    scene_open(s, true);
    rapt_graph *graphs[2] = {graph_of(NULL), graph_of(&(rapt_graph_options){.struct_size = sizeof(rapt_graph_options), .nodes = 3, .in_flight = 2})};
    for (int n = 0; n < NODES; n++) {
        const int to = (int)rapt_random_below(&random, TENSORS), a = (to + 1 + (int)rapt_random_below(&random, TENSORS - 1)) % TENSORS;
        const int b = (to + 1 + (int)rapt_random_below(&random, TENSORS - 1)) % TENSORS;
        rapt_binding *binding = node(s, to, a, n % 5 == 0 ? -1 : b);
        for (int g = 0; g < 2; g++) {
            uint32_t number;
            RIG_OK(rapt_graph_add(graphs[g], binding, 0, &number, error));
            assert_int_equal(number, n);
        }
    }
    for (int g = 0; g < 2; g++) {
        RIG_OK(rapt_graph_finish(graphs[g], error));
        for (int runs = 0; runs < 2; runs++) {
            put_back(s);
            RIG_OK(rapt_graph_submit(graphs[g], error));
            RIG_OK(rapt_graph_wait(graphs[g], UINT64_MAX, error));
            check(s);
        }
    }
    const rapt_graph_info info = info_of(graphs[0]);
    assert_int_equal(info.nodes, NODES);
    assert_int_equal(info.submissions, 1);
    assert_true(info.barriers > 0 && info.barriers < NODES - 1);
    assert_int_equal(info_of(graphs[1]).submissions, (NODES + 2) / 3);
    assert_silent();
    for (int g = 0; g < 2; g++)
        rapt_graph_destroy(&graphs[g]);
    scene_close(s);
}

typedef struct app {
    VkCommandPool pool;
    VkCommandBuffer commands;
} app;

static void app_begin(app *a)
{
    const rapt_device *d = the_rig.device;
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = d->queue_family};
    assert_int_equal(d->fn.vkCreateCommandPool(d->handle, &pool, NULL, &a->pool), VK_SUCCESS);
    const VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = a->pool, .commandBufferCount = 1};
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    assert_int_equal(d->fn.vkAllocateCommandBuffers(d->handle, &allocate, &a->commands), VK_SUCCESS);
    assert_int_equal(d->fn.vkBeginCommandBuffer(a->commands, &begin), VK_SUCCESS);
}

static void app_run(app *a)
{
    rapt_device *d = the_rig.device;
    const VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &a->commands};
    assert_int_equal(d->fn.vkEndCommandBuffer(a->commands), VK_SUCCESS);
    RIG_OK(rapt_queue_submit(d, &submit, VK_NULL_HANDLE, error));
    assert_int_equal(d->fn.vkDeviceWaitIdle(d->handle), VK_SUCCESS);
}

/* A chain in an app's command buffer; and the same without its barriers, which the layers must see. */
static void test_record(void **state)
{
    scene *s = &the_scene;
    app a;
    (void)state;
    scene_open(s, true);
    rapt_graph *graph = graph_of(NULL);
    for (int t = 1; t < TENSORS; t++)
        RIG_OK(rapt_graph_add(graph, node(s, t, t - 1, -1), 0, NULL, error));
    RIG_OK(rapt_graph_add(graph, node(s, 0, TENSORS - 1, 3), 0, NULL, error)); /* writes what the first one read */
    RIG_FAILS(rapt_graph_submit(graph, error), RAPT_ERROR_INVALID, "not finished");
    RIG_OK(rapt_graph_finish(graph, error));
    RIG_FAILS(rapt_graph_add(graph, s->binding[0], 0, NULL, error), RAPT_ERROR_INVALID, "finished");
    assert_int_equal(info_of(graph).barriers, TENSORS - 1);
    app_begin(&a);
    RIG_OK(rapt_graph_record(graph, a.commands, error));
    RIG_FAILS(rapt_graph_check_completion(graph, error), RAPT_ERROR_INCOMPLETE, "did not run");
    app_run(&a);
    RIG_OK(rapt_graph_check_completion(graph, error));
    check(s);
    assert_silent();
    the_rig.device->fn.vkDestroyCommandPool(the_rig.device->handle, a.pool, NULL);
    if (rig_validated(&the_rig)) {
        app_begin(&a);
        rapt_record_begin(the_rig.device, a.commands);
        rapt_record_steps(s->binding[0], a.commands, 0, 1, false);
        rapt_record_steps(s->binding[1], a.commands, 0, 1, false);
        assert_true(atomic_load(&the_rig.runtime->validation_messages) > 0);
        the_rig.device->fn.vkDestroyCommandPool(the_rig.device->handle, a.pool, NULL);
    }
    rapt_graph_destroy(&graph);
    scene_close(s);
}

/* Nothing more is submitted after a deadline or a cancellation; the graph is good again afterwards. */
static void test_cancel(void **state)
{
    scene *s = &the_scene;
    (void)state;
    scene_open(s, false);
    rapt_graph *graph = graph_of(&(rapt_graph_options){.struct_size = sizeof(rapt_graph_options), .nodes = 1, .in_flight = 1});
    rapt_graph *late = graph_of(&(rapt_graph_options){.struct_size = sizeof(rapt_graph_options), .nodes = 1, .in_flight = 1, .deadline_ms = 1e-3f});
    for (int t = 1; t < TENSORS; t++) {
        rapt_binding *binding = node(s, t, t - 1, -1);
        RIG_OK(rapt_graph_add(graph, binding, 0, NULL, error));
        RIG_OK(rapt_graph_add(late, binding, 0, NULL, error));
    }
    RIG_OK(rapt_graph_finish(graph, error));
    RIG_OK(rapt_graph_finish(late, error));
    RIG_OK(rapt_graph_submit(graph, error));
    RIG_FAILS(rapt_graph_submit(late, error), RAPT_ERROR_BUSY, "binding of node 0");
    RIG_FAILS(rapt_submit(s->binding[0], error), RAPT_ERROR_BUSY, "in flight");
    rapt_graph_cancel(graph);
    RIG_FAILS(rapt_graph_wait(graph, UINT64_MAX, error), RAPT_ERROR_CANCELLED, "cancelled after 1 of 7");
    RIG_OK(rapt_graph_submit(late, error));
    RIG_FAILS(rapt_graph_wait(late, UINT64_MAX, error), RAPT_ERROR_CANCELLED, "deadline passed after");
    assert_true(info_of(late).done < 7);
    put_back(s);
    RIG_OK(rapt_graph_submit(graph, error));
    RIG_OK(rapt_graph_wait(graph, UINT64_MAX, error));
    check(s);
    assert_int_equal(info_of(graph).done, 7);
    RIG_FAILS(rapt_graph_semaphores(graph, 9, VK_NULL_HANDLE, 0, VK_NULL_HANDLE, 0, error), RAPT_ERROR_INVALID, "no node 9");
    rapt_graph_destroy(&graph);
    rapt_graph_destroy(&late);
    scene_close(s);
}

/* A node in the middle waits for the app and tells it; those after it wait too. */
static void test_semaphores(void **state)
{
    scene *s = &the_scene;
    uint32_t middle;
    (void)state;
    scene_open(s, true);
    rapt_device *d = the_rig.device;
    if (!(d->caps.features & RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE))) {
        scene_close(s);
        skip();
    }
#define GET(name) const PFN_##name name = (PFN_##name)d->instance.fn.vkGetDeviceProcAddr(d->handle, #name)
    GET(vkCreateSemaphore);
    GET(vkDestroySemaphore);
    /* Of Vulkan 1.2, or of VK_KHR_timeline_semaphore. */
#define GET_KHR(name)                                                                                               \
    PFN_##name name = (PFN_##name)d->instance.fn.vkGetDeviceProcAddr(d->handle, #name);                             \
    if (!name)                                                                                                      \
        name = (PFN_##name)d->instance.fn.vkGetDeviceProcAddr(d->handle, #name "KHR");                              \
    assert_non_null(name)
    GET_KHR(vkSignalSemaphore);
    GET_KHR(vkGetSemaphoreCounterValue);
    const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkSemaphore before, after;
    uint64_t value = 0;
    assert_int_equal(vkCreateSemaphore(d->handle, &info, NULL, &before), VK_SUCCESS);
    assert_int_equal(vkCreateSemaphore(d->handle, &info, NULL, &after), VK_SUCCESS);
    rapt_graph *graph = graph_of(NULL);
    RIG_OK(rapt_graph_add(graph, node(s, 1, 0, -1), 0, NULL, error));
    RIG_OK(rapt_graph_add(graph, node(s, 2, 1, -1), RAPT_GRAPH_WAITS | RAPT_GRAPH_SIGNALS, &middle, error));
    RIG_OK(rapt_graph_add(graph, node(s, 3, 0, -1), 0, NULL, error));
    RIG_OK(rapt_graph_finish(graph, error));
    assert_int_equal(info_of(graph).submissions, 3);
    RIG_OK(rapt_graph_semaphores(graph, middle, before, 5, after, 7, error));
    RIG_FAILS(rapt_graph_semaphores(graph, 0, before, 5, VK_NULL_HANDLE, 0, error), RAPT_ERROR_INVALID, "without RAPT_GRAPH_WAITS");
    rapt_binding *other = node(s, 4, 0, -1);
    RIG_OK(rapt_submit(other, error));
    RIG_OK(rapt_graph_submit(graph, error));
    RIG_OK(rapt_wait(other, UINT64_MAX, error)); /* not for the graph too, whose end nobody has given leave for yet */
    for (int i = 0; i < 3000 && info_of(graph).done < 1; i++) /* its driver may compile now */
        RIG_FAILS(rapt_graph_wait(graph, 20000000, error), RAPT_ERROR_TIMEOUT, "not done");
    RIG_FAILS(rapt_graph_wait(graph, 20000000, error), RAPT_ERROR_TIMEOUT, "not done");
    assert_int_equal(info_of(graph).done, 1);
    assert_int_equal(vkGetSemaphoreCounterValue(d->handle, after, &value), VK_SUCCESS);
    assert_int_equal(value, 0);
    const VkSemaphoreSignalInfo go = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, .semaphore = before, .value = 5};
    assert_int_equal(vkSignalSemaphore(d->handle, &go), VK_SUCCESS);
    RIG_OK(rapt_graph_wait(graph, UINT64_MAX, error));
    check(s);
    for (int i = 0; i < 10000 && value < 7; i++) /* its fence need not come first */
        assert_int_equal(vkGetSemaphoreCounterValue(d->handle, after, &value), VK_SUCCESS);
    assert_int_equal(value, 7);
    rapt_timing timing;
    rapt_binding_timing(other, &timing); /* read now */
    assert_true(timing.device_ns > 0 || d->timestamp_bits == 0);
    rapt_graph_destroy(&graph);
    assert_int_equal(d->fn.vkDeviceWaitIdle(d->handle), VK_SUCCESS);
    vkDestroySemaphore(d->handle, before, NULL);
    vkDestroySemaphore(d->handle, after, NULL);
    assert_silent();
    scene_close(s);
}

/* Attention in several slices, with key splits and a workspace of the app's that two bindings share. */
static void test_shared_workspace(void **state)
{
    float *out[2] = {malloc(2 * 8 * 64 * 4), malloc(2 * 8 * 64 * 4)}, *want = malloc(2 * 8 * 64 * 4);
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, 8, 700, 64, false);
    rig_call call = {.desc = d};
    rapt_binding *bindings[2];
    rapt_buffer *second, *workspace;
    rapt_plan *plan;
    rig_buffers b;
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    call.desc.key_splits = 4;
    call.q = rig_numbers(RAPT_F32, 2 * 8 * 64, 1);
    call.k = rig_numbers(RAPT_F32, 2 * 700 * 64, 2);
    call.v = rig_numbers(RAPT_F32, 2 * 700 * 64, 3);
    call.out = want;
    rig_run(the_rig.device, &call);
    rig_buffers_make(the_rig.device, &call, &b);
    RIG_OK(rapt_attention_plan(the_rig.device, &call.desc, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    assert_true(info.workspace_bytes > 0 && info.chain == 2);
    RIG_OK(rapt_buffer_create(the_rig.device, info.workspace_bytes, &workspace, error));
    RIG_OK(rapt_buffer_create(the_rig.device, 2 * 8 * 64 * 4, &second, error));
    rapt_buffer *first = b.args.out.buffer;
    b.args.workspace.buffer = workspace;
    RIG_OK(rapt_attention_bind(plan, &b.args, &bindings[0], error));
    b.args.out.buffer = second;
    RIG_OK(rapt_attention_bind(plan, &b.args, &bindings[1], error));
    rapt_graph *graph = graph_of(NULL);
    for (int i = 0; i < 2; i++)
        RIG_OK(rapt_graph_add(graph, bindings[i], 0, NULL, error));
    RIG_OK(rapt_graph_finish(graph, error));
    assert_int_equal(info_of(graph).barriers, 1);
    RIG_OK(rapt_graph_submit(graph, error));
    RIG_OK(rapt_graph_wait(graph, UINT64_MAX, error));
    RIG_OK(rapt_buffer_download(first, 0, out[0], 2 * 8 * 64 * 4, error));
    RIG_OK(rapt_buffer_download(second, 0, out[1], 2 * 8 * 64 * 4, error));
    for (int i = 0; i < 2; i++)
        assert_memory_equal(out[i], want, 2 * 8 * 64 * 4);
    assert_silent();
    rapt_graph_destroy(&graph);
    for (int i = 0; i < 2; i++)
        rapt_binding_destroy(&bindings[i]);
    b.args.out.buffer = first;
    rapt_plan_destroy(&plan);
    rapt_buffer_destroy(&workspace);
    rapt_buffer_destroy(&second);
    rig_buffers_free(&b);
    rig_close(&the_rig);
    free((void *)(uintptr_t)call.q);
    free((void *)(uintptr_t)call.k);
    free((void *)(uintptr_t)call.v);
    free(out[0]);
    free(out[1]);
    free(want);
}

/* Small work that was added behind attention of many slices: urgent, it runs before the first of them, with what it needs. Cancelling at once
 * shows what was submitted. */
static void test_urgent(void **state)
{
    scene *s = &the_scene;
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 1, 1, 512, 512, 64, false);
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    rapt_plan *plan = NULL;
    rapt_binding *attention = NULL;
    rapt_buffer *tensor = NULL;
    (void)state;
    scene_open(s, true);
    d.slice_ms = 0.05f;
    rapt_slot *slots[4] = {&args.q, &args.k, &args.v, &args.out};
    RIG_OK(rapt_buffer_create(the_rig.device, 4 * 512 * 64 * 4, &tensor, error));
    RIG_OK(rapt_buffer_fill(tensor, 0, 4 * 512 * 64 * 4, 0, error));
    for (int i = 0; i < 4; i++)
        *slots[i] = (rapt_slot){.buffer = tensor, .offset = (uint64_t)i * 512 * 64 * 4};
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    assert_true(info.slices > 2);
    RIG_OK(rapt_attention_bind(plan, &args, &attention, error));
    rapt_binding *needed = node(s, 1, 0, -1), *small = node(s, 2, 1, -1);
    for (int urgent = 0; urgent < 2; urgent++) {
        rapt_graph *graph = graph_of(&(rapt_graph_options){.struct_size = sizeof(rapt_graph_options), .in_flight = 1});
        RIG_OK(rapt_graph_add(graph, attention, 0, NULL, error));
        RIG_OK(rapt_graph_add(graph, needed, 0, NULL, error));
        RIG_OK(rapt_graph_add(graph, small, urgent ? RAPT_GRAPH_URGENT : 0, NULL, error));
        RIG_OK(rapt_graph_finish(graph, error));
        assert_int_equal(info_of(graph).submissions, info.slices + 1);
        put_back(s);
        RIG_OK(rapt_graph_submit(graph, error));
        rapt_graph_cancel(graph);
        RIG_FAILS(rapt_graph_wait(graph, UINT64_MAX, error), RAPT_ERROR_CANCELLED, "after 1 of");
        RIG_OK(rapt_buffer_download(s->buffer[2], 0, s->got, sizeof s->got, error));
        assert_int_equal(memcmp(s->got, s->want[2], sizeof s->got) == 0, urgent);
        RIG_OK(rapt_graph_submit(graph, error));
        RIG_OK(rapt_graph_wait(graph, UINT64_MAX, error));
        check(s);
        rapt_graph_destroy(&graph);
    }
    assert_silent();
    rapt_binding_destroy(&attention);
    rapt_plan_destroy(&plan);
    rapt_buffer_destroy(&tensor);
    scene_close(s);
}

/* A graph from nothing to its results, while the n-th call of Vulkan fails: a status, and nothing leaks. */
static rapt_status whole_life(scene *s, rapt_error *error)
{
    rapt_graph *graph;
    rapt_status status = rapt_graph_create(the_rig.device, &(rapt_graph_options){.struct_size = sizeof(rapt_graph_options), .nodes = 2}, &graph, error);
    for (uint32_t i = 0; i < s->bindings && status == RAPT_OK; i++)
        status = rapt_graph_add(graph, s->binding[i], 0, NULL, error);
    if (status == RAPT_OK)
        status = rapt_graph_finish(graph, error);
    if (status == RAPT_OK)
        status = rapt_graph_submit(graph, error);
    if (status == RAPT_OK)
        status = rapt_graph_wait(graph, UINT64_MAX, error);
    rapt_graph_destroy(&graph);
    return status;
}

static void test_every_call_fails(void **state)
{
    scene *s = &the_scene;
    rapt_error why = {0};
    int n = 0;
    (void)state;
    if (!vk_fault_open())
        skip();
    vk_fault_aim(NULL, NULL);
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    scene_open_with(s, &(rig_options){.get_proc = vk_fault_get_instance_proc});
    for (int t = 1; t < 5; t++)
        node(s, t, t - 1, -1);
    for (; n < 100; n++) {
        vk_fault_arm(n, VK_ERROR_OUT_OF_DEVICE_MEMORY, NULL);
        const rapt_status status = whole_life(s, &why);
        const bool fired = vk_fault_fired() != NULL;
        vk_fault_arm(-1, VK_SUCCESS, NULL);
        if (!fired)
            break;
        if (status != RAPT_OK && status != RAPT_ERROR_OUT_OF_DEVICE_MEMORY)
            fail_msg("after %d calls: %s: %s", n, rapt_status_name(status), why.message);
    }
    assert_in_range(n, 5, 99);
    RIG_OK(whole_life(s, error));
    put_back(s);
    RIG_OK(whole_life(s, error));
    check(s);
    scene_close(s);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),     cmocka_unit_test(test_record),           cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_semaphores), cmocka_unit_test(test_shared_workspace), cmocka_unit_test(test_every_call_fails),
        cmocka_unit_test(test_urgent),
    };
    return RIG_RUN("graph", tests);
}
