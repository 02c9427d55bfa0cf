/* What a device has shown lasts longer than the process; what is on disk is never believed without proof. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* setenv */
#endif
#include "rig.h"
#include "vk_fault.h"

static rig the_rig;

static const rapt_case small = {.name = "small",
                                .batch = 1,
                                .q_heads = 2,
                                .kv_heads = 2,
                                .nq = 5,
                                .nk = 40,
                                .d_qk = 64,
                                .d_v = 64,
                                .dtype = RAPT_F32,
                                .seed = 3};

/* ---- a driver whose pipeline cache has contents ---- */

enum { BLOB = 200 };

static PFN_vkGetDeviceProcAddr real_device_proc;
static PFN_vkCreatePipelineCache real_create_cache;
static uint8_t blob[BLOB];   /* what the driver gives */
static uint8_t handed[BLOB]; /* what it was given */
static size_t handed_bytes;  /* at the last vkCreatePipelineCache */
static unsigned refusals;    /* of contents, still to come */

static VKAPI_ATTR VkResult VKAPI_CALL create_cache(VkDevice device, const VkPipelineCacheCreateInfo *info,
                                                   const VkAllocationCallbacks *allocator,
                                                   VkPipelineCache *cache)
{
    VkPipelineCacheCreateInfo empty = *info;
    handed_bytes = info->initialDataSize;
    if (handed_bytes != 0 && handed_bytes <= BLOB)
        memcpy(handed, info->pInitialData, handed_bytes);
    if (handed_bytes != 0 && refusals > 0) {
        refusals--;
        return VK_ERROR_UNKNOWN;
    }
    empty.initialDataSize = 0;
    empty.pInitialData = NULL;
    return real_create_cache(device, &empty, allocator, cache);
}

static VKAPI_ATTR VkResult VKAPI_CALL cache_data(VkDevice device, VkPipelineCache cache, size_t *size,
                                                 void *data)
{
    (void)device;
    (void)cache;
    if (data) {
        assert_true(*size >= BLOB);
        memcpy(data, blob, BLOB);
    }
    *size = BLOB;
    return VK_SUCCESS;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL device_proc(VkDevice device, const char *name)
{
    PFN_vkVoidFunction real = real_device_proc(device, name);
    if (strcmp(name, "vkCreatePipelineCache") == 0) {
        memcpy(&real_create_cache, &real, sizeof real);
        return (PFN_vkVoidFunction)create_cache;
    }
    return strcmp(name, "vkGetPipelineCacheData") == 0 ? (PFN_vkVoidFunction)cache_data : real;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL instance_proc(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction real = vk_fault_real(instance, name);
    if (strcmp(name, "vkGetDeviceProcAddr") != 0)
        return real;
    memcpy(&real_device_proc, &real, sizeof real);
    return (PFN_vkVoidFunction)device_proc;
}

/* The header that the specification wants, and something behind it. */
static void make_blob(const rapt_caps *caps)
{
    const uint32_t header[4] = {32, VK_PIPELINE_CACHE_HEADER_VERSION_ONE, caps->vendor_id, caps->device_id};
    memcpy(blob, header, sizeof header);
    memcpy(blob + 16, caps->pipeline_cache_uuid, 16);
    for (int i = 32; i < BLOB; i++)
        blob[i] = (uint8_t)(i * 7);
}

static void open_with_blobs(const char *folder)
{
    handed_bytes = SIZE_MAX;
    rig_open(&the_rig, &(rig_options){.cache_dir = folder, .get_proc = instance_proc});
    make_blob(&the_rig.device->caps);
}

typedef struct found {
    char path[1024];
    const char *part;
    unsigned count;
} found;

static void find(const char *path, void *user)
{
    found *f = user;
    if (strstr(path, f->part)) {
        f->count++;
        snprintf(f->path, sizeof f->path, "%.1023s", path);
    }
}

static found files(const char *folder, const char *part)
{
    found f = {.part = part};
    rig_each_file(folder, find, &f);
    return f;
}

static size_t read_all(const char *path, uint8_t *data, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t size = fread(data, 1, capacity, file);
    fclose(file);
    return size;
}

static void write_all(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* ---- tests ---- */

static void test_pipeline_blobs(void **state)
{
    (void)state;
    char folder[512];
    uint8_t file[4096], bad[4096];
    if (!vk_fault_open())
        skip();
    rig_folder(folder, "blobs");
    open_with_blobs(folder);
    assert_int_equal(handed_bytes, 0);
    rig_check(&the_rig, &small, NULL, 0);
    rig_close(&the_rig);
    const found kept = files(folder, "pipelines-");
    assert_int_equal(kept.count, 1);

    open_with_blobs(folder);
    assert_int_equal(handed_bytes, BLOB);
    assert_memory_equal(handed, blob, BLOB);
    rig_close(&the_rig);

    /* Anything that is not as it was written never reaches the driver. */
    const size_t size = read_all(kept.path, file, sizeof file);
    assert_true(size > BLOB && size < sizeof file - 1);
    const size_t lengths[] = {0, 1, 50, size - BLOB - 1, size - BLOB, size - 1, size + 1};
    for (size_t i = 0; i < RAPT_COUNT(lengths) + size / 8; i++) {
        const size_t flip = (i - RAPT_COUNT(lengths)) * 8 + i % 8; /* in every field, and in the contents */
        size_t length = size;
        memcpy(bad, file, size);
        bad[size] = 0;
        if (i < RAPT_COUNT(lengths))
            length = lengths[i];
        else
            bad[flip] ^= (uint8_t)(1u << i % 8);
        write_all(kept.path, bad, length);
        open_with_blobs(folder);
        if (handed_bytes != 0)
            fail_msg("%zu bytes reached the driver of a file that was damaged (number %zu)", handed_bytes, i);
        rig_close(&the_rig);
    }

    /* Well kept, but of another device. */
    write_all(kept.path, file, size);
    open_with_blobs(folder);
    assert_int_equal(handed_bytes, BLOB);
    blob[17] ^= 1; /* the UUID */
    rig_check(&the_rig, &small, NULL, 0);
    rig_close(&the_rig);
    open_with_blobs(folder);
    assert_int_equal(handed_bytes, 0);
    rig_check(&the_rig, &small, NULL, 0); /* which keeps a good one again */
    rig_close(&the_rig);

    /* The driver does not want it: without, then. */
    refusals = 1;
    open_with_blobs(folder);
    assert_int_equal(refusals, 0);
    assert_int_equal(handed_bytes, 0);
    rig_check(&the_rig, &small, NULL, 0);
    rig_close(&the_rig);
    rig_remove_folder(folder);
    vk_fault_close();
}

static void test_verdicts_last(void **state)
{
    (void)state;
    char folder[512];
    rig_folder(folder, "verdicts");
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    const rapt_result first = rig_check(&the_rig, &small, NULL, 0);
    assert_int_equal(rig_logged(&the_rig, "probe of"), 1);
    rig_check(&the_rig, &small, NULL, 0); /* nor twice on one device */
    assert_int_equal(rig_logged(&the_rig, "probe of"), 1);
    rig_close(&the_rig);
    assert_int_equal(files(folder, "probes-").count, 1);
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    const rapt_result second = rig_check(&the_rig, &small, NULL, 0);
    assert_int_equal(rig_logged(&the_rig, "probe of"), 0);
    assert_string_equal(first.info.kernel, second.info.kernel);
    /* Other constants are another verdict. */
    rapt_case causal = small;
    causal.causal = true;
    causal.d_v = 32;
    rig_check(&the_rig, &causal, NULL, 0);
    assert_int_equal(rig_logged(&the_rig, "probe of"), 1);
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

static PFN_vkCreateComputePipelines real_pipelines;
static unsigned broken_pipelines; /* still to come */

static VKAPI_ATTR VkResult VKAPI_CALL break_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                      const VkComputePipelineCreateInfo *infos,
                                                      const VkAllocationCallbacks *allocator,
                                                      VkPipeline *pipelines)
{
    if (broken_pipelines == 0)
        return real_pipelines(device, cache, count, infos, allocator, pipelines);
    broken_pipelines--;
    return VK_ERROR_UNKNOWN;
}

/* A kernel that the driver cannot compile is not tried again. */
static void test_bad_verdicts_last(void **state)
{
    (void)state;
    char folder[512], made[128];
    rig_folder(folder, "bad-verdicts");
    rig_open(&the_rig, NULL);
    const rapt_result usual = rig_check(&the_rig, &small, NULL, 0);
    rig_close(&the_rig);
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    real_pipelines = the_rig.device->fn.vkCreateComputePipelines;
    the_rig.device->fn.vkCreateComputePipelines = break_pipelines;
    broken_pipelines = 1;
    const rapt_result first = rig_check(&the_rig, &small, NULL, 0);
    assert_int_equal(broken_pipelines, 0);
    assert_int_equal(first.info.generation, 1);
    assert_string_not_equal(first.info.kernel, usual.info.kernel);
    assert_true(rig_logged(&the_rig, "VK_ERROR_UNKNOWN") >= 1);
    rig_close(&the_rig);
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    const rapt_result second = rig_check(&the_rig, &small, NULL, 0);
    assert_string_equal(second.info.kernel, first.info.kernel);
    snprintf(made, sizeof made, "pipeline %s made", usual.info.kernel);
    assert_int_equal(rig_logged(&the_rig, made), 0);
    snprintf(made, sizeof made, "pipeline %s made", first.info.kernel);
    assert_int_equal(rig_logged(&the_rig, made), 1);
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

static void test_damaged_verdicts(void **state)
{
    (void)state;
    char folder[512];
    uint8_t file[4096], bad[4096];
    rig_folder(folder, "damaged");
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    const rapt_result usual = rig_check(&the_rig, &small, NULL, 0);
    const rapt_hash context = the_rig.device->identity;
    rig_close(&the_rig);
    const found kept = files(folder, "probes-");
    assert_int_equal(kept.count, 1);
    const size_t size = read_all(kept.path, file, sizeof file);
    assert_true(size > 104 && size < sizeof file);
    const size_t flips[] = {0, 8, 12, 16, 24, 40, 56, 72, 88, 104, 110, size - 1};
    for (size_t i = 0; i < RAPT_COUNT(flips) + 3; i++) {
        size_t length = size;
        memcpy(bad, file, size);
        if (i < RAPT_COUNT(flips))
            bad[flips[i]] ^= 2;
        else
            length = i == RAPT_COUNT(flips) ? 0 : i == RAPT_COUNT(flips) + 1 ? 104 : size / 2;
        write_all(kept.path, bad, length);
        rig_open(&the_rig, &(rig_options){.cache_dir = folder});
        assert_true(rapt_hash_equal(context, the_rig.device->identity));
        const rapt_result result = rig_check(&the_rig, &small, NULL, 0);
        assert_string_equal(result.info.kernel, usual.info.kernel);
        assert_int_equal(rig_logged(&the_rig, "probe of"), 1); /* believed nothing, asked again */
        rig_close(&the_rig);
    }
    rig_remove_folder(folder);
}

/* No cache, or none that can be used, is no error and not worth a warning. */
static void test_no_cache(void **state)
{
    (void)state;
    char folder[512], path[600];
    rig_folder(folder, "none");
    snprintf(path, sizeof path, "%s/file", folder);
    write_all(path, (const uint8_t *)"x", 1);
    rig_open(&the_rig, &(rig_options){.cache_dir = path}); /* a file where the folder should be */
    rig_check(&the_rig, &small, NULL, 0);
    assert_int_equal(rig_logged(&the_rig, "probe of"), 1);
    rig_close(&the_rig);
    assert_int_equal(rig_each_file(folder, NULL, NULL), 1);
    remove(path);
#if !defined(_WIN32)
    setenv("RAPT_CACHE_DIR", folder, 1); /* asked for none, whatever the environment says */
    rig_open(&the_rig, NULL);
    rig_check(&the_rig, &small, NULL, 0);
    rig_close(&the_rig);
    assert_int_equal(rig_each_file(folder, NULL, NULL), 0);
    unsetenv("RAPT_CACHE_DIR");
#endif
    rig_remove_folder(folder);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline_blobs),    cmocka_unit_test(test_verdicts_last),
        cmocka_unit_test(test_bad_verdicts_last), cmocka_unit_test(test_damaged_verdicts),
        cmocka_unit_test(test_no_cache),
    };
    return RIG_RUN("cache", tests);
}
