/* What an app runs is recorded as it was asked for: each distinct problem once with its count, whichever
 * thread submits, and nothing that is rapt's own. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* setenv */
#endif
#include "rig.h"
#include "vk/exec.h"

#include <pthread.h>

static rig the_rig;

static char *read_text(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part))
        count++;
    return count;
}

/* A call with zeros, kept bound. */
typedef struct bound_call {
    rig_call call;
    rig_buffers buffers;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *row_max; /* where the descriptor has it */
    void *zeros;
} bound_call;

static void open_call(bound_call *b, rapt_attention_desc d, const int32_t *cu)
{
    d.kernel = "naive-f32";
    *b = (bound_call){.call = {.desc = d, .cu_q = cu, .cu_k = cu}, .zeros = calloc(1, 1 << 16)};
    assert_non_null(b->zeros);
    b->call.q = b->call.k = b->call.v = b->zeros;
    rig_buffers_make(the_rig.device, &b->call, &b->buffers);
    if (d.row_max.dtype != RAPT_DTYPE_NONE) {
        RIG_OK(rapt_buffer_create(the_rig.device, rapt_tensor_bytes(&d.row_max), &b->row_max, error));
        b->buffers.args.row_max.buffer = b->row_max;
    }
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &b->plan, error));
    RIG_OK(rapt_plan_prepare(b->plan, error));
    RIG_OK(rapt_attention_bind(b->plan, &b->buffers.args, &b->binding, error));
}

static void submit(bound_call *b, int times)
{
    for (int i = 0; i < times; i++) {
        RIG_OK(rapt_submit(b->binding, error));
        RIG_OK(rapt_wait(b->binding, UINT64_MAX, error));
    }
}

static void close_call(bound_call *b)
{
    rapt_binding_destroy(&b->binding);
    rapt_plan_destroy(&b->plan);
    rig_buffers_free(&b->buffers);
    rapt_buffer_destroy(&b->row_max);
    free(b->zeros);
}

static void path_in(char out[600], const char *folder, const char *name)
{
    snprintf(out, 600, "%s/%s", folder, name);
}

static void test_lines(void **state)
{
    (void)state;
    char folder[512], path[600];
    bound_call dense, causal, packed;
    const int32_t cu[3] = {0, 3, 7};
    rig_folder(folder, "recorder");
    path_in(path, folder, "r.jsonl");
    rig_open(&the_rig, NULL);
    open_call(&dense, rig_desc(RAPT_F32, 2, 4, 2, 3, 5, 8, true), NULL);
    submit(&dense, 1); /* not yet */
    RIG_OK(rapt_runtime_record(the_rig.runtime, path, error));
    assert_string_equal(read_text(path), "{\"rapt_record\":1}\n");
    submit(&dense, 3); /* bound before */
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 1, 1, 4, 4, 8, false);
    d.flags = RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_SCALE;
    d.causal_offset = -2;
    d.scale = 0.375f;
    open_call(&causal, d, NULL); /* its probe, if any, is not counted */
    submit(&causal, 1);
    rapt_attention_desc v = rig_desc(RAPT_F32, 1, 2, 2, 7, 7, 8, false);
    v.sequences = 2;
    v.max_seqlen_q = 4;
    open_call(&packed, v, cu);
    submit(&packed, 2);
    /* The same problem through another plan, and asked for in another way. */
    bound_call again;
    rapt_attention_desc same = rig_desc(RAPT_F32, 2, 4, 2, 3, 5, 8, true);
    same.key_splits = 2;
    open_call(&again, same, NULL);
    submit(&again, 2);
    bound_call linked, further;
    rapt_attention_desc link = rig_desc(RAPT_F32, 2, 4, 2, 3, 5, 8, true);
    link.link = RAPT_LINK_CLIPPED;
    link.link_gamma = -0.25f;
    link.link_zeta = 1.5f;
    open_call(&linked, link, NULL);
    submit(&linked, 1);
    /* A problem that a line does not describe is left out. */
    rapt_attention_desc more = rig_desc(RAPT_F32, 2, 4, 2, 3, 5, 8, true);
    more.row_max = more.lse;
    open_call(&further, more, NULL);
    submit(&further, 2);
    assert_string_equal(read_text(path), "{\"rapt_record\":1}\n"); /* replaced whole, at the end */
    RIG_OK(rapt_runtime_record(the_rig.runtime, NULL, error));
    submit(&dense, 1); /* no more */
    assert_string_equal(
        read_text(path),
        "{\"rapt_record\":1}\n"
        "{\"op\":\"attention\",\"count\":5,\"dtype\":\"f32\",\"causal\":false,\"causal_offset\":0,\"scale\":"
        "0.353553385,"
        "\"q\":{\"dims\":[2,4,3,8],\"strides\":[96,24,8,1]},\"k\":{\"dims\":[2,2,5,8],\"strides\":[80,40,8,1]"
        "},"
        "\"v\":{\"dims\":[2,2,5,8],\"strides\":[80,40,8,1]},\"out\":{\"dims\":[2,4,3,8],\"strides\":[96,24,8,"
        "1]},"
        "\"lse\":{\"dims\":[2,4,3],\"strides\":[12,3,1]},\"sequences\":0,\"max_seqlen_q\":0,\"max_seqlen_k\":"
        "0}\n"
        "{\"op\":\"attention\",\"count\":1,\"dtype\":\"f32\",\"causal\":true,\"causal_offset\":-2,\"scale\":"
        "0.375,"
        "\"q\":{\"dims\":[1,1,4,8],\"strides\":[0,0,8,1]},\"k\":{\"dims\":[1,1,4,8],\"strides\":[0,0,8,1]},"
        "\"v\":{\"dims\":[1,1,4,8],\"strides\":[0,0,8,1]},\"out\":{\"dims\":[1,1,4,8],\"strides\":[0,0,8,1]},"
        "\"lse\":null,\"sequences\":0,\"max_seqlen_q\":0,\"max_seqlen_k\":0}\n"
        "{\"op\":\"attention\",\"count\":2,\"dtype\":\"f32\",\"causal\":false,\"causal_offset\":0,\"scale\":"
        "0.353553385,"
        "\"q\":{\"dims\":[1,2,7,8],\"strides\":[0,56,8,1]},\"k\":{\"dims\":[1,2,7,8],\"strides\":[0,56,8,1]},"
        "\"v\":{\"dims\":[1,2,7,8],\"strides\":[0,56,8,1]},\"out\":{\"dims\":[1,2,7,8],\"strides\":[0,56,8,1]"
        "},"
        "\"lse\":null,\"sequences\":2,\"max_seqlen_q\":4,\"max_seqlen_k\":0}\n"
        "{\"op\":\"attention\",\"count\":1,\"dtype\":\"f32\",\"causal\":false,\"causal_offset\":0,\"scale\":"
        "0.353553385,\"link\":\"clipped\",\"link_gamma\":-0.25,\"link_zeta\":1.5,"
        "\"q\":{\"dims\":[2,4,3,8],\"strides\":[96,24,8,1]},\"k\":{\"dims\":[2,2,5,8],\"strides\":[80,40,8,1]},"
        "\"v\":{\"dims\":[2,2,5,8],\"strides\":[80,40,8,1]},\"out\":{\"dims\":[2,4,3,8],\"strides\":[96,24,8,1]},"
        "\"lse\":{\"dims\":[2,4,3],\"strides\":[12,3,1]},\"sequences\":0,\"max_seqlen_q\":0,\"max_seqlen_k\":0}\n"
        "{\"omitted\":2}\n");
    /* A second recording starts from nothing; destroying the runtime ends it. */
    RIG_OK(rapt_runtime_record(the_rig.runtime, path, error));
    submit(&causal, 4);
    close_call(&dense);
    close_call(&causal);
    close_call(&packed);
    close_call(&again);
    close_call(&linked);
    close_call(&further);
    rig_close(&the_rig);
    const char *text = read_text(path);
    assert_int_equal(count_of(text, "\n"), 2);
    assert_non_null(strstr(text, "\"count\":4,"));
    assert_int_equal(rig_each_file(folder, NULL, NULL), 1); /* no temporary file is left */
    rig_remove_folder(folder);
}

static void test_unwritable(void **state)
{
    (void)state;
    char folder[512], path[600], path2[600], longest[1100];
    rig_folder(folder, "recorder-bad");
    path_in(path, folder, "none/r.jsonl");
    path_in(path2, folder, "r.jsonl");
    rig_open(&the_rig, NULL);
    RIG_FAILS(rapt_runtime_record(NULL, path, error), RAPT_ERROR_INVALID, "runtime");
    RIG_FAILS(rapt_runtime_record(the_rig.runtime, path, error), RAPT_ERROR_IO, path);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    RIG_FAILS(rapt_runtime_record(the_rig.runtime, longest, error), RAPT_ERROR_INVALID, "longer");
    RIG_OK(rapt_runtime_record(the_rig.runtime, NULL, error)); /* nothing to stop */
    /* The file cannot be written any more when it is done. */
    RIG_OK(rapt_runtime_record(the_rig.runtime, path2, error));
    rig_remove_folder(folder);
    RIG_FAILS(rapt_runtime_record(the_rig.runtime, NULL, error), RAPT_ERROR_IO, "recording");
    RIG_OK(rapt_runtime_record(the_rig.runtime, NULL, error)); /* told once */
    rig_close(&the_rig);
}

#if !defined(_WIN32)
static unsigned warnings;

static void count_warnings(void *user, rapt_log_level level, const char *message)
{
    (void)user;
    warnings += level == RAPT_LOG_WARNING && strstr(message, "RAPT_RECORD") != NULL;
}
#endif

static void test_environment(void **state)
{
#if defined(_WIN32)
    (void)state;
    skip();
#else
    (void)state;
    char folder[512], path[600];
    rapt_runtime *runtime;
    rapt_runtime_options options = RAPT_RUNTIME_OPTIONS_INIT;
    options.log = count_warnings;
    options.cache_dir = "";
    rig_folder(folder, "recorder-env");
    path_in(path, folder, "r.jsonl");
    setenv("RAPT_RECORD", path, 1);
    options.ignore_environment = 1;
    RIG_OK(rapt_runtime_create(&options, &runtime, error));
    assert_int_equal(rig_each_file(folder, NULL, NULL), 0);
    rapt_runtime_destroy(&runtime);
    options.ignore_environment = 0;
    RIG_OK(rapt_runtime_create(&options, &runtime, error));
    setenv("RAPT_RECORD", "/nonexistent/r.jsonl", 1); /* read at creation alone */
    rapt_runtime_destroy(&runtime);
    assert_string_equal(read_text(path), "{\"rapt_record\":1}\n");
    assert_int_equal(warnings, 0);
    RIG_OK(rapt_runtime_create(&options, &runtime, error)); /* a warning, never a failure */
    assert_int_equal(warnings, 1);
    rapt_runtime_destroy(&runtime);
    unsetenv("RAPT_RECORD");
    rig_remove_folder(folder);
#endif
}

/* More problems than there is room for: counted through the layer that submits call, on plans that need no
 * device. */
static void test_bounded(void **state)
{
    (void)state;
    enum { MORE = 10 };
    char folder[512], path[600];
    rig_folder(folder, "recorder-many");
    path_in(path, folder, "r.jsonl");
    rig_open(&the_rig, NULL);
    RIG_OK(rapt_runtime_record(the_rig.runtime, path, error));
    for (int round = 0; round < 2; round++)
        for (uint64_t n = 1; n <= RAPT_RECORD_PROBLEMS + MORE; n++) {
            rapt_attention_desc d = rig_desc(RAPT_F32, 1, 1, 1, 1, n, 8, false);
            rapt_plan *plan;
            RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
            rapt_recorder_count(the_rig.runtime, plan);
            rapt_plan_destroy(&plan);
        }
    assert_int_equal(rig_logged(&the_rig, "more than 4096 distinct problems"), 1);
    RIG_OK(rapt_runtime_record(the_rig.runtime, NULL, error));
    assert_int_equal(rig_logged(&the_rig, "20 submits of problems beyond"), 1);
    rig_close(&the_rig);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static char line[4096];
    unsigned lines = 0;
    while (fgets(line, sizeof line, file)) {
        assert_non_null(strchr(line, '\n'));
        if (lines++ > 0)
            assert_non_null(strstr(line, "\"count\":2,"));
    }
    fclose(file);
    assert_int_equal(lines, RAPT_RECORD_PROBLEMS + 1);
    rig_remove_folder(folder);
}

/* ---- linear attention ---- */

static void count_linear(const rapt_linear_desc *d, int times)
{
    rapt_plan *plan;
    RIG_OK(rapt_linear_plan(the_rig.device, d, &plan, error));
    for (int i = 0; i < times; i++)
        rapt_recorder_count(the_rig.runtime, plan);
    rapt_plan_destroy(&plan);
}

/* By the layer that submits call, on plans that need no device. */
static void test_linear(void **state)
{
    (void)state;
    char folder[512], path[600];
    rig_folder(folder, "recorder-linear");
    path_in(path, folder, "r.jsonl");
    rig_open(&the_rig, NULL);
    RIG_OK(rapt_runtime_record(the_rig.runtime, path, error));
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.q = rapt_tensor_bhnd(RAPT_F16, 2, 4, 30, 8);
    d.k = rapt_tensor_bhnd(RAPT_F16, 2, 2, 30, 8);
    d.v = d.out = rapt_tensor_bhnd(RAPT_F16, 2, 4, 30, 16);
    d.rule = RAPT_LINEAR_DELTA;
    d.gate = rapt_tensor_bhnd(RAPT_F32, 2, 4, 30, 8);
    d.state_out = rapt_tensor_bhnd(RAPT_F32, 2, 4, 8, 16);
    d.flags = RAPT_LINEAR_LOG_DECAY | RAPT_LINEAR_IN_PLACE | RAPT_LINEAR_SCALE;
    d.scale = 0.5f;
    count_linear(&d, 2);
    d.form = RAPT_LINEAR_CHUNKED; /* how it is run makes no other problem */
    d.chunk = 16;
    count_linear(&d, 1);
    rapt_linear_desc packed = RAPT_LINEAR_DESC_INIT;
    packed.q = packed.k = packed.v = packed.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, 12, 4);
    packed.sequences = 3;
    packed.max_seqlen = 7;
    packed.feature = RAPT_PHI_FOCUSED;
    packed.flags = RAPT_LINEAR_NORMALIZE;
    packed.decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {1}, .stride = {1}};
    packed.state_in = rapt_tensor_bhnd(RAPT_F32, 3, 1, 4, 4);
    packed.norm_in = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {3, 1, 4}, .stride = {4, 4, 1}};
    count_linear(&packed, 1);
    const uint64_t at[] = {5};
    rapt_linear_desc within = RAPT_LINEAR_DESC_INIT; /* states at positions: no line can say it */
    within.q = within.k = within.v = within.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, 12, 4);
    within.state_out = rapt_tensor_bhnd(RAPT_F32, 1, 1, 8, 4);
    within.positions = at;
    within.position_count = 1;
    count_linear(&within, 4);
    RIG_OK(rapt_runtime_record(the_rig.runtime, NULL, error));
    assert_string_equal(
        read_text(path),
        "{\"rapt_record\":1}\n"
        "{\"op\":\"linear\",\"count\":3,\"dtype\":\"f16\",\"rule\":\"delta\",\"feature\":\"identity\",\"feature_k\":\"identity\","
        "\"feature_power\":0,\"feature_scale\":1,\"scale\":0.5,\"flags\":[\"log_decay\",\"in_place\"],"
        "\"q\":{\"dims\":[2,4,30,8],\"strides\":[960,240,8,1]},\"k\":{\"dims\":[2,2,30,8],\"strides\":[480,240,8,1]},"
        "\"v\":{\"dims\":[2,4,30,16],\"strides\":[1920,480,16,1]},\"out\":{\"dims\":[2,4,30,16],\"strides\":[1920,480,16,1]},"
        "\"gate\":{\"dims\":[2,4,30,8],\"strides\":[960,240,8,1]},\"state_out\":{\"dims\":[2,4,8,16],\"strides\":[512,128,16,1]},"
        "\"sequences\":0,\"max_seqlen\":0}\n"
        "{\"op\":\"linear\",\"count\":1,\"dtype\":\"f32\",\"rule\":\"none\",\"feature\":\"focused\",\"feature_k\":\"focused\","
        "\"feature_power\":3,\"feature_scale\":1,\"scale\":1,\"flags\":[\"normalize\"],"
        "\"q\":{\"dims\":[1,1,12,4],\"strides\":[0,0,4,1]},\"k\":{\"dims\":[1,1,12,4],\"strides\":[0,0,4,1]},"
        "\"v\":{\"dims\":[1,1,12,4],\"strides\":[0,0,4,1]},\"out\":{\"dims\":[1,1,12,4],\"strides\":[0,0,4,1]},"
        "\"decay\":{\"dims\":[1],\"strides\":[0]},\"state_in\":{\"dims\":[3,1,4,4],\"strides\":[16,0,4,1]},"
        "\"norm_in\":{\"dims\":[3,1,4],\"strides\":[4,0,1]},\"sequences\":3,\"max_seqlen\":7}\n"
        "{\"omitted\":4}\n");
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

/* ---- threads ---- */

enum { THREADS = 4, SUBMITS = 20 };

typedef struct worker {
    pthread_t thread;
    bound_call call;
    rapt_error error;
} worker;

static void *submit_often(void *user)
{
    worker *me = user;
    for (int i = 0; i < SUBMITS && me->error.status == RAPT_OK; i++)
        if (rapt_submit(me->call.binding, &me->error) == RAPT_OK)
            rapt_wait(me->call.binding, UINT64_MAX, &me->error);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    char folder[512], path[600], expected[64];
    worker workers[THREADS] = {{0}};
    rig_folder(folder, "recorder-threads");
    path_in(path, folder, "r.jsonl");
    rig_open(&the_rig, NULL);
    for (int i = 0; i < THREADS; i++) /* two problems */
        open_call(&workers[i].call, rig_desc(RAPT_F32, 1, 1, 1, 2, (uint64_t)(3 + i % 2), 8, false), NULL);
    for (int round = 0; round < 2; round++) {
        RIG_OK(rapt_runtime_record(the_rig.runtime, path, error));
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&workers[i].thread, NULL, submit_often, &workers[i]), 0);
        if (round == 1) /* stopped and started under way */
            for (int i = 0; i < 10; i++)
                RIG_OK(rapt_runtime_record(the_rig.runtime, i % 2 ? NULL : path, error));
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
            assert_int_equal(workers[i].error.status, RAPT_OK);
        }
        RIG_OK(rapt_runtime_record(the_rig.runtime, NULL, error));
        snprintf(expected, sizeof expected, "\"count\":%d,", THREADS / 2 * SUBMITS);
        if (round == 0)
            assert_int_equal(count_of(read_text(path), expected), 2);
    }
    for (int i = 0; i < THREADS; i++)
        close_call(&workers[i].call);
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),   cmocka_unit_test(test_unwritable), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_bounded), cmocka_unit_test(test_linear),     cmocka_unit_test(test_threads),
    };
    return RIG_RUN("recorder", tests);
}
