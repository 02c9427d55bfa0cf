/* Several threads on one device, and devices of two runtimes side by side: the same results, and nothing for
 * the thread sanitizer to say. */
#include "rig.h"

#include <pthread.h>

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
    int first; /* shape */
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
    for (int i = 0; i < 2 && status == RAPT_OK; i++) {
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

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_device),
        cmocka_unit_test(test_two_runtimes),
        cmocka_unit_test(test_devices_of_one_runtime),
    };
    return RIG_RUN("thread", tests);
}
