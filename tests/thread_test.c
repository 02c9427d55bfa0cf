/* Several threads on one device, rapt's own or an app's whose queue is shared, and devices of two runtimes side by
 * side: the same results, and nothing for the thread sanitizer to say. */
#include "rig.h"
#include "vk_support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { THREADS = 4, ROUNDS = 3, SHAPES = 4 };

/* Small, and forced to what compiles fast, but for one. Two threads at a time meet at each. */
static const struct shape {
    uint64_t q_heads, kv_heads, nq, nk, dim;
    uint32_t key_splits;
    bool causal;
    const char *kernel;
} shapes[SHAPES] = {
    {2, 2, 5, 70, 16, 0, true, NULL},
    {2, 1, 3, 130, 8, 2, false, "naive-f32"},
    {1, 1, 20, 20, 8, 0, true, "naive-f32"},
    {2, 2, 1, 300, 12, 3, false, "naive-f32"},
};

typedef struct work {
    rig_call call;
    char *memory[5];
    size_t out_bytes, lse_bytes;
} work;

static work works[SHAPES]; /* with the results of a run on one thread */

static void works_make(void)
{
    for (int i = 0; i < SHAPES; i++) {
        const struct shape *s = &shapes[i];
        work *w = &works[i];
        w->call.desc = rig_desc(RAPT_F32, 1, s->q_heads, s->kv_heads, s->nq, s->nk, s->dim, true);
        w->call.desc.flags = s->causal ? RAPT_ATTENTION_CAUSAL : 0;
        w->call.desc.key_splits = s->key_splits;
        w->call.desc.kernel = s->kernel;
        w->call.desc.slice_ms = i == 2 ? 1e-5f : 0; /* many submissions */
        w->out_bytes = rapt_tensor_bytes(&w->call.desc.out);
        w->lse_bytes = rapt_tensor_bytes(&w->call.desc.lse);
        w->call.q = w->memory[0] = rig_numbers(RAPT_F32, s->q_heads * s->nq * s->dim, 1);
        w->call.k = w->memory[1] = rig_numbers(RAPT_F32, s->kv_heads * s->nk * s->dim, 2);
        w->call.v = w->memory[2] = rig_numbers(RAPT_F32, s->kv_heads * s->nk * s->dim, 3);
        w->call.out = w->memory[3] = calloc(1, w->out_bytes);
        w->memory[4] = calloc(1, w->lse_bytes);
        w->call.lse = (float *)(void *)w->memory[4];
        assert_true(w->memory[3] && w->memory[4]);
    }
}

static void works_free(void)
{
    for (int i = 0; i < SHAPES; i++)
        for (int k = 0; k < 5; k++)
            free(works[i].memory[k]);
}

/* One thread. It cannot fail the test itself: its words are read after it ended. */
typedef struct worker {
    pthread_t thread;
    rapt_device *device;
    int first;   /* shape */
    int submits; /* of each binding; 0: 2 */
    atomic_int *here; /* how many are ready: all submit at once; may be NULL */
    char words[600];
} worker;

/* A whole use of the library; false with words. */
static bool use(worker *me, const work *w)
{
    rapt_error error = {0};
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_buffer *buffers[5] = {NULL};
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    const rapt_attention_desc *d = &w->call.desc;
    const rapt_tensor *const tensors[] = {&d->q, &d->k, &d->v, &d->out, &d->lse};
    rapt_slot *const slots[] = {&args.q, &args.k, &args.v, &args.out, &args.lse};
    const void *const data[] = {w->call.q, w->call.k, w->call.v};
    char *got = calloc(1, w->out_bytes + w->lse_bytes);
    rapt_status status =
        got ? rapt_attention_plan(me->device, d, &plan, &error) : RAPT_ERROR_OUT_OF_HOST_MEMORY;
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, &error);
    for (int i = 0; i < 5 && status == RAPT_OK; i++) {
        status = rapt_buffer_create(me->device, rapt_tensor_bytes(tensors[i]), &buffers[i], &error);
        slots[i]->buffer = buffers[i];
        if (status == RAPT_OK && i < 3)
            status = rapt_buffer_upload(buffers[i], 0, data[i], rapt_tensor_bytes(tensors[i]), &error);
    }
    if (status == RAPT_OK)
        status = rapt_attention_bind(plan, &args, &binding, &error);
    if (me->here)
        for (atomic_fetch_add(me->here, 1); atomic_load(me->here) < THREADS;)
            sched_yield();
    for (int i = 0; i < (me->submits ? me->submits : 2) && status == RAPT_OK; i++) {
        status = rapt_submit(binding, &error);
        if (status == RAPT_OK)
            status = rapt_wait(binding, UINT64_MAX, &error);
    }
    if (status == RAPT_OK)
        status = rapt_buffer_download(buffers[3], 0, got, w->out_bytes, &error);
    if (status == RAPT_OK)
        status = rapt_buffer_download(buffers[4], 0, got + w->out_bytes, w->lse_bytes, &error);
    if (status != RAPT_OK)
        snprintf(me->words, sizeof me->words, "%s: %s", rapt_status_name(status), error.message);
    else if (memcmp(got, w->call.out, w->out_bytes) != 0 ||
             memcmp(got + w->out_bytes, w->call.lse, w->lse_bytes) != 0)
        snprintf(me->words, sizeof me->words, "other bits than on one thread");
    rapt_binding_destroy(&binding);
    for (int i = 0; i < 5; i++)
        rapt_buffer_destroy(&buffers[i]);
    rapt_plan_destroy(&plan);
    free(got);
    return me->words[0] == 0;
}

static void *run(void *user)
{
    worker *me = user;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < SHAPES; i++)
            if (!use(me, &works[(me->first + i) % SHAPES]))
                return NULL;
    return NULL;
}

static void run_all(worker *workers)
{
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        if (workers[i].words[0])
            fail_msg("thread %d: %s", i, workers[i].words);
}

static rig rigs[2];

/* On a fresh device, so that pipelines and verdicts are made while others look for them. */
static void test_one_device(void **state)
{
    (void)state;
    worker workers[THREADS] = {{0}};
    rig_open(&rigs[0], NULL);
    works_make();
    for (int i = 0; i < SHAPES; i++)
        rig_run(rigs[0].device, &works[i].call);
    rapt_device_destroy(&rigs[0].device);
    RIG_OK(rapt_device_open(rigs[0].runtime, NULL, &rigs[0].device, error));
    for (int i = 0; i < THREADS; i++) {
        workers[i].device = rigs[0].device;
        workers[i].first = i / 2;
    }
    run_all(workers);
    works_free();
    rig_close(&rigs[0]);
}

/* Two runtimes share nothing but the cache folder. */
static void test_two_runtimes(void **state)
{
    (void)state;
    char folder[512];
    worker workers[THREADS] = {{0}};
    rig_folder(folder, "threads");
    rig_open(&rigs[0], &(rig_options){.cache_dir = folder});
    works_make();
    for (int i = 0; i < SHAPES; i++)
        rig_run(rigs[0].device, &works[i].call);
    rig_close(&rigs[0]);
    rig_remove_folder(folder);
    for (int i = 0; i < 2; i++)
        rig_open(&rigs[i], &(rig_options){.cache_dir = folder});
    for (int i = 0; i < THREADS; i++)
        workers[i].device = rigs[i % 2].device;
    run_all(workers);
    works_free();
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    rig_remove_folder(folder);
}

/* A device opened and destroyed by each thread, of one runtime. */
static void *open_and_destroy(void *user)
{
    worker *me = user;
    rapt_error error = {0};
    for (int i = 0; i < 2; i++) {
        const rapt_status status = rapt_device_open(rigs[0].runtime, NULL, &me->device, &error);
        if (status != RAPT_OK) {
            snprintf(me->words, sizeof me->words, "%s: %s", rapt_status_name(status), error.message);
            return NULL;
        }
        const bool good = use(me, &works[2]);
        rapt_device_destroy(&me->device);
        if (!good)
            return NULL;
    }
    return NULL;
}

static void test_devices_of_one_runtime(void **state)
{
    (void)state;
    worker workers[THREADS] = {{0}};
    rig_open(&rigs[0], NULL);
    works_make();
    rig_run(rigs[0].device, &works[2].call);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, open_and_destroy, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        if (workers[i].words[0])
            fail_msg("thread %d: %s", i, workers[i].words);
    works_free();
    rig_close(&rigs[0]);
}

/* ---- an app's queue ---- */

/* `guarded`: by a mutex, and the app submits too; without, rapt alone does, and it is rapt that keeps these callbacks apart. */
typedef struct shared_queue {
    app vulkan;
    bool guarded;
    pthread_mutex_t mutex;
    int depth; /* on purpose not atomic: the sanitizer sees who comes without the lock */
    unsigned submissions;
    bool overlapped;
} shared_queue;

static shared_queue queue;

static void queue_lock(void *user)
{
    shared_queue *q = user;
    if (q->guarded)
        pthread_mutex_lock(&q->mutex);
    q->overlapped |= q->depth++ != 0;
    q->submissions++;
}

static void queue_unlock(void *user)
{
    shared_queue *q = user;
    q->depth--;
    if (q->guarded)
        pthread_mutex_unlock(&q->mutex);
}

/* The app's own work on that queue, until it is told to stop: a command buffer of its own, by its own fence. */
typedef struct app_work {
    pthread_t thread;
    rapt_device *device;
    atomic_bool stop;
    unsigned submissions;
    VkResult result;
} app_work;

static void *app_submits(void *user)
{
    app_work *me = user;
    const rapt_device *d = me->device;
    const VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                               .queueFamilyIndex = queue.vulkan.family};
    const VkFenceCreateInfo fence_info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkCommandPool pool = VK_NULL_HANDLE;
    VkFence fence = VK_NULL_HANDLE;
    VkCommandBuffer commands;
    me->result = d->fn.vkCreateCommandPool(d->handle, &pool_info, NULL, &pool);
    if (me->result == VK_SUCCESS)
        me->result = d->fn.vkCreateFence(d->handle, &fence_info, NULL, &fence);
    const VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                  .commandPool = pool,
                                                  .commandBufferCount = 1};
    if (me->result == VK_SUCCESS)
        me->result = d->fn.vkAllocateCommandBuffers(d->handle, &allocate, &commands);
    if (me->result == VK_SUCCESS)
        me->result = d->fn.vkBeginCommandBuffer(commands, &begin);
    if (me->result == VK_SUCCESS)
        me->result = d->fn.vkEndCommandBuffer(commands);
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
    while (me->result == VK_SUCCESS && (me->submissions == 0 || !atomic_load(&me->stop))) {
        queue_lock(&queue);
        me->result = d->fn.vkQueueSubmit(queue.vulkan.queue, 1, &submit, fence);
        queue_unlock(&queue);
        if (me->result == VK_SUCCESS)
            me->result = d->fn.vkWaitForFences(d->handle, 1, &fence, VK_TRUE, 60000000000ull);
        if (me->result == VK_SUCCESS)
            me->result = d->fn.vkResetFences(d->handle, 1, &fence);
        me->submissions++;
    }
    d->fn.vkDestroyFence(d->handle, fence, NULL);
    d->fn.vkDestroyCommandPool(d->handle, pool, NULL);
    return NULL;
}

static void *submit_often(void *user)
{
    worker *me = user;
    use(me, &works[me->first]);
    return NULL;
}

/* Every thread has a binding of its own on the one adopted device and submits it again and again. */
static void submit_to_app(bool app_too)
{
    worker workers[THREADS] = {{0}};
    app_work own = {.result = VK_SUCCESS};
    atomic_int here = 0;
    rapt_device *device = NULL;
    rig_open(&rigs[0], NULL); /* skips where there is no device; its runtime is what adopts */
    if (!vk_fault_open()) {
        rig_close(&rigs[0]);
        skip();
    }
    memset(&queue, 0, sizeof queue);
    queue.guarded = app_too;
    assert_int_equal(pthread_mutex_init(&queue.mutex, NULL), 0);
    app_create(&queue.vulkan, VK_API_VERSION_1_1, vk_fault_real, NULL);
    rapt_vulkan_device info = app_info(&queue.vulkan, vk_fault_real);
    info.lock_queue = queue_lock;
    info.unlock_queue = queue_unlock;
    info.lock_user = &queue;
    RIG_OK(rapt_device_adopt(rigs[0].runtime, &info, &device, error));
    works_make();
    for (int i = 1; i < SHAPES; i++)
        rig_run(device, &works[i].call);
    const unsigned before = queue.submissions;
    own.device = device;
    if (app_too)
        assert_int_equal(pthread_create(&own.thread, NULL, app_submits, &own), 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.device = device, .first = 1 + i % (SHAPES - 1), .submits = 25, .here = &here};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, submit_often, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    atomic_store(&own.stop, true);
    if (app_too)
        assert_int_equal(pthread_join(own.thread, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        if (workers[i].words[0])
            fail_msg("thread %d: %s", i, workers[i].words);
    assert_int_equal(own.result, VK_SUCCESS);
    assert_false(queue.overlapped);
    assert_int_equal(queue.depth, 0);
    assert_true(queue.submissions - before >= THREADS * 25 + own.submissions);
    assert_true(!app_too || own.submissions > 0);
    works_free();
    rapt_device_destroy(&device);
    app_destroy(&queue.vulkan);
    pthread_mutex_destroy(&queue.mutex);
    rig_close(&rigs[0]);
}

static void test_adopted_queue(void **state)
{
    (void)state;
    submit_to_app(false);
}

static void test_adopted_queue_shared_with_the_app(void **state)
{
    (void)state;
    submit_to_app(true);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_device),
        cmocka_unit_test(test_two_runtimes),
        cmocka_unit_test(test_devices_of_one_runtime),
        cmocka_unit_test(test_adopted_queue),
        cmocka_unit_test(test_adopted_queue_shared_with_the_app),
    };
    return RIG_RUN("thread", tests);
}
