/* Gauges of a device: each gives a figure that is proven, or says why not. */
#include "rig.h"

#include "measure/gauge.h"
#include "vk_fault.h"

#include <math.h>

static rig the_rig;

static rapt_gauge_info info_of(uint32_t index)
{
    rapt_gauge_info info = RAPT_GAUGE_INFO_INIT;
    RIG_OK(rapt_device_gauge(the_rig.device, index, &info, error));
    return info;
}

static uint32_t gauges(void)
{
    uint32_t count = 0;
    RIG_OK(rapt_device_gauge_count(the_rig.device, &count, error));
    return count;
}

static uint32_t find(const char *name)
{
    const uint32_t count = gauges();
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(info_of(i).name, name) == 0)
            return i;
    fail_msg("no gauge '%s'", name);
    return 0;
}

/* Short runs: what is tested is that they are right. */
static const rapt_gauge_options quick = {sizeof quick, 0.001, 2};

static void check_info(const rapt_gauge_info *info)
{
    static const char *const groups[] = {"arithmetic", "matrix",   "memory",  "cache",   "shared",
                                         "atomic",     "transfer", "latency", "subgroup"};
    bool known = false;
    for (size_t i = 0; i < RAPT_COUNT(groups); i++)
        known |= strcmp(info->group, groups[i]) == 0;
    if (!known || info->name[0] == '\0' || info->what[0] == '\0')
        fail_msg("gauge '%s' of group '%s': '%s'", info->name, info->group, info->what);
    const bool rate = strcmp(info->unit, "FLOP/s") == 0 || strcmp(info->unit, "OP/s") == 0 ||
                      strcmp(info->unit, "B/s") == 0;
    assert_true(rate || strcmp(info->unit, "s") == 0);
    assert_int_equal(info->lower_is_better, strcmp(info->unit, "s") == 0);
    assert_true(strlen(info->what) + 1 < sizeof info->what); /* none is cut off */
    assert_true(strlen(info->limit) + 1 < sizeof info->limit);
    if (strcmp(info->group, "memory") == 0 || strcmp(info->group, "cache") == 0)
        assert_true(info->bytes > 0 || info->refusal[0] != '\0');
}

/* Every gauge of the device: refused with its reason, or a figure. Returns how many gave one. */
static uint32_t run_all(void)
{
    const uint32_t count = gauges();
    uint32_t good = 0, staging = 0;
    for (uint32_t i = 0; i < count; i++) {
        const rapt_gauge_info info = info_of(i);
        rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
        double values[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
        check_info(&info);
        for (uint32_t j = 0; j < i; j++)
            assert_string_not_equal(info.name, info_of(j).name);
        if (info.refusal[0] != '\0') {
            RIG_FAILS(rapt_device_measure(the_rig.device, i, &quick, values, 8, &result, error),
                      RAPT_ERROR_UNSUPPORTED, info.refusal);
            assert_true(values[0] == -1);
            continue;
        }
        rapt_memory_info before, after;
        rapt_device_memory(the_rig.device, &before);
        RIG_OK(rapt_device_measure(the_rig.device, i, &quick, values, 8, &result, error));
        rapt_device_memory(the_rig.device, &after);
        /* The device's staging buffers, up and down, stay, made on first use: where memory can be mapped, not by the first gauges. */
        const uint64_t kept = after.used_bytes > before.used_bytes ? after.used_bytes - before.used_bytes : 0;
        if (kept > 65536 && (staging++ > 1 || kept > 32u << 20))
            fail_msg("gauge '%s' kept %llu bytes", info.name, (unsigned long long)kept);
        if (!(result.median > 0 && isfinite(result.median)) || !(result.best > 0 && isfinite(result.best)))
            fail_msg("gauge '%s': median %g, best %g", info.name, result.median, result.best);
        assert_true(result.samples >= 3);
        assert_true(info.lower_is_better ? result.best <= result.median : result.best >= result.median);
        assert_true(info.lower_is_better ? result.work == 0 : result.work > 0);
        for (uint32_t v = 0; v < 8; v++)
            assert_true(v < result.samples ? values[v] > 0 && isfinite(values[v]) : values[v] == -1);
        good++;
    }
    return good;
}

static void test_all_under_validation(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    assert_true(run_all() > 20);
    const unsigned count = atomic_load(&the_rig.runtime->validation_messages);
    const char *at = strstr(the_rig.log, "validation: ");
    if (count != 0)
        fail_msg("%u validation messages, the first: %.600s", count, at ? at : "?");
    rapt_device_destroy(&the_rig.device);
    assert_int_equal(atomic_load(&the_rig.runtime->validation_messages),
                     0); /* nothing is left on the device */
    rig_close(&the_rig);
}

static void test_floor_refuses(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.mask = "floor"});
    static const char *const refused[] = {
        "fma-f16",          "fma-f16-vec2",        "dot-i8", "read-texel", "cache-texel-4MiB",
        "subgroup-shuffle", "timeline-signal-wait"};
    static const char *const taken[] = {"fma-f32", "mad-i32",     "read-storage",
                                        "copy",    "shared-read", "submit-wait"};
    const bool texel = (the_rig.device->caps.features & RAPT_FEATURE_BIT(TEXEL_BUFFER)) != 0;
    for (size_t i = 0; i < RAPT_COUNT(refused); i++)
        if (!(texel && strcmp(refused[i], "read-texel") == 0) && info_of(find(refused[i])).refusal[0] == '\0')
            fail_msg("'%s' is not refused", refused[i]);
    for (size_t i = 0; i < RAPT_COUNT(taken); i++)
        assert_string_equal(info_of(find(taken[i])).refusal, "");
    for (uint32_t i = 0; i < gauges(); i++)
        assert_string_not_equal(info_of(i).group, "matrix");
    rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
    RIG_OK(rapt_device_measure(the_rig.device, find("fma-f32"), &quick, NULL, 0, &result, error));
    RIG_OK(rapt_device_measure(the_rig.device, find("copy"), &quick, NULL, 0, &result, error));
    rig_close(&the_rig);
}

static void test_options_hold(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    const uint32_t index = find("fma-f32");
    rapt_gauge_options o = RAPT_GAUGE_OPTIONS_INIT;
    rapt_gauge_result small = RAPT_GAUGE_RESULT_INIT, large = RAPT_GAUGE_RESULT_INIT;
    o.seconds = 1e-6;
    o.longest_ms = 0.001; /* shorter than the least run: the least there is */
    RIG_OK(rapt_device_measure(the_rig.device, index, &o, NULL, 0, &small, error));
    assert_int_equal(small.samples, 3);
    o.longest_ms = 40;
    RIG_OK(rapt_device_measure(the_rig.device, index, &o, NULL, 0, &large, error));
    assert_int_equal(large.samples, 3);
    assert_true(large.work >= small.work);
    o.seconds = 0.3; /* more time, more samples */
    o.longest_ms = 0.001;
    RIG_OK(rapt_device_measure(the_rig.device, index, &o, NULL, 0, &small, error));
    assert_true(small.samples >= 3);
    assert_true(small.median * (double)small.samples > 0);
    rig_close(&the_rig);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_device *d = the_rig.device;
    uint32_t count = gauges();
    rapt_gauge_info info = RAPT_GAUGE_INFO_INIT;
    rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
    rapt_gauge_options o = RAPT_GAUGE_OPTIONS_INIT;
    RIG_FAILS(rapt_device_gauge_count(NULL, &count, error), RAPT_ERROR_INVALID, "device is NULL");
    RIG_FAILS(rapt_device_gauge_count(d, NULL, error), RAPT_ERROR_INVALID, "count is NULL");
    RIG_FAILS(rapt_device_gauge(NULL, 0, &info, error), RAPT_ERROR_INVALID, "device is NULL");
    RIG_FAILS(rapt_device_gauge(d, 0, NULL, error), RAPT_ERROR_INVALID, "info is NULL");
    RIG_FAILS(rapt_device_gauge(d, count, &info, error), RAPT_ERROR_INVALID, "gauge");
    RIG_FAILS(rapt_device_gauge(d, UINT32_MAX, &info, error), RAPT_ERROR_INVALID, "4294967295");
    info.struct_size = 8;
    RIG_FAILS(rapt_device_gauge(d, 0, &info, error), RAPT_ERROR_INVALID, "struct_size");
    RIG_FAILS(rapt_device_measure(NULL, 0, NULL, NULL, 0, &result, error), RAPT_ERROR_INVALID,
              "device is NULL");
    RIG_FAILS(rapt_device_measure(d, 0, NULL, NULL, 0, NULL, error), RAPT_ERROR_INVALID, "result is NULL");
    RIG_FAILS(rapt_device_measure(d, 0, NULL, NULL, 4, &result, error), RAPT_ERROR_INVALID, "values is NULL");
    RIG_FAILS(rapt_device_measure(d, count, NULL, NULL, 0, &result, error), RAPT_ERROR_INVALID, "gauge");
    static const double bad[] = {-1, NAN, INFINITY, 1e9};
    for (size_t i = 0; i < RAPT_COUNT(bad); i++) {
        o.seconds = bad[i];
        RIG_FAILS(rapt_device_measure(d, 0, &o, NULL, 0, &result, error), RAPT_ERROR_INVALID, "seconds");
        o.seconds = 0;
        o.longest_ms = bad[i];
        RIG_FAILS(rapt_device_measure(d, 0, &o, NULL, 0, &result, error), RAPT_ERROR_INVALID, "longest_ms");
        o.longest_ms = 0;
    }
    o.struct_size = 4;
    RIG_FAILS(rapt_device_measure(d, 0, &o, NULL, 0, &result, error), RAPT_ERROR_INVALID, "struct_size");
    result.struct_size = 1;
    RIG_FAILS(rapt_device_measure(d, 0, NULL, NULL, 0, &result, error), RAPT_ERROR_INVALID, "struct_size");
    rig_close(&the_rig);
}

/* A gauge whose kernel computes something else than it must is no figure. */
static void test_wrong_results_are_seen(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    static const struct {
        const char *name, *instead;
    } swaps[] = {
        {"fma-f32", "peak-exp2"},
        {"mad-i32", "peak-fma-f32"},
        {"exp2-f32", "peak-rsqrt"},
        {"triad", "peak-copy"},
        {"atomic-global-one", "peak-atomic-global-spread"},
        {"atomic-shared-spread", "peak-atomic-shared-one"},
    };
    for (size_t i = 0; i < RAPT_COUNT(swaps); i++) {
        rapt_gauge gauge;
        rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
        assert_true(rapt_gauge_at(the_rig.device, find(swaps[i].name), &gauge));
        gauge.row = rapt_peak_row(swaps[i].instead);
        assert_non_null(gauge.row);
        rapt_error e = {0};
        if (rapt_gauge_run(the_rig.device, &gauge, &quick, NULL, 0, &result, &e) != RAPT_ERROR_WRONG_RESULT)
            fail_msg("'%s' took the results of %s: %s", swaps[i].name, swaps[i].instead, e.message);
        assert_non_null(strstr(e.message, swaps[i].name));
        assert_int_equal(result.samples, 0);
    }
    rig_close(&the_rig);
}

static const rapt_gauge_options shortest = {sizeof shortest, 1e-6, 0.001};

/* Every Vulkan call of a measurement fails once: a status, a message, and nothing left behind. */
static void test_failing_calls(void **state)
{
    (void)state;
    static const char *const names[] = {"fma-f32",        "cache-storage-16KiB", "upload-staged",
                                        "copy-command",   "dispatch-batch",      "pipeline-cold",
                                        "pipeline-cached"};
    if (!vk_fault_open())
        skip();
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    rig_open(&the_rig, &(rig_options){.get_proc = vk_fault_get_instance_proc});
    for (size_t i = 0; i < RAPT_COUNT(names); i++) {
        const uint32_t index = find(names[i]);
        rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
        RIG_OK(rapt_device_measure(the_rig.device, index, &shortest, NULL, 0, &result,
                                   error)); /* makes pipelines */
        const int alive = vk_fault_live();
        int n = 0;
        for (bool fired = true; fired; n++) {
            rapt_error e = {0};
            vk_fault_arm(n, VK_ERROR_OUT_OF_DEVICE_MEMORY, NULL);
            const rapt_status status =
                rapt_device_measure(the_rig.device, index, &shortest, NULL, 0, &result, &e);
            fired = vk_fault_fired() != NULL;
            const char *call = fired ? vk_fault_fired() : "none";
            vk_fault_arm(-1, VK_SUCCESS, NULL);
            if (vk_fault_live() != alive)
                fail_msg("'%s', call %d, %s: %d objects, before %d", names[i], n, call, vk_fault_live(),
                         alive);
            /* What timestamps cost may fail unseen: the wall clock takes over. */
            if (fired && status == RAPT_OK && strcmp(call, "vkGetQueryPoolResults") != 0)
                fail_msg("'%s', call %d: %s failed unseen", names[i], n, call);
            if (status != RAPT_OK)
                assert_true(e.message[0] != '\0' && result.samples == 0);
        }
        assert_true(n > 5);
    }
    rig_close(&the_rig);
    assert_int_equal(vk_fault_live(), 0);
    vk_fault_close();
}

/* A driver that signals its fences and runs nothing gives no figures. */
static void test_work_that_was_not_done(void **state)
{
    (void)state;
    static const char *const names[] = {"fma-f32", "mad-i32", "shared-read", "atomic-global-one",
                                        "copy-command"};
    if (!vk_fault_open())
        skip();
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    rig_open(&the_rig, &(rig_options){.get_proc = vk_fault_get_instance_proc});
    for (size_t i = 0; i < RAPT_COUNT(names); i++) {
        rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
        const uint32_t index = find(names[i]);
        vk_fault_skip_work(true);
        rapt_error e = {0};
        const rapt_status status =
            rapt_device_measure(the_rig.device, index, &shortest, NULL, 0, &result, &e);
        vk_fault_skip_work(false);
        if (status != RAPT_ERROR_WRONG_RESULT)
            fail_msg("'%s': %s: %s", names[i], rapt_status_name(status), e.message);
    }
    rig_close(&the_rig);
    vk_fault_close();
}

/* A device whose own memory cannot be mapped. */
static void test_split_memory(void **state)
{
    (void)state;
    static const char *const names[] = {"fma-f32",       "cache-storage-64KiB", "write",
                                        "upload-staged", "download-staged",     "copy-command"};
    if (!vk_fault_open())
        skip();
    vk_fault_arm(-1, VK_SUCCESS, NULL);
    vk_fault_split_memory(true);
    rig_open(&the_rig, &(rig_options){.get_proc = vk_fault_get_instance_proc});
    rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
    for (size_t i = 0; i < RAPT_COUNT(names); i++)
        RIG_OK(rapt_device_measure(the_rig.device, find(names[i]), &quick, NULL, 0, &result, error));
    uint32_t mapped = 0;
    for (uint32_t i = 0; i < gauges(); i++)
        if (strncmp(info_of(i).name, "write-mapped-type", 17) == 0) {
            RIG_OK(rapt_device_measure(the_rig.device, i, &quick, NULL, 0, &result, error));
            mapped++;
        }
    assert_true(mapped > 0);
    rig_close(&the_rig);
    vk_fault_split_memory(false);
    vk_fault_close();
}

static void test_roofline_is_of_the_gauges(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_roofline roof = RAPT_ROOFLINE_INIT;
    RIG_OK(rapt_device_measure_roofline(the_rig.device, 0.05, &roof, error));
    assert_true(roof.flops_per_second > 0 && roof.read_bytes_per_second > 0 && roof.read_bytes > 0);
    bool found = false;
    for (uint32_t i = 0; i < gauges(); i++) {
        const rapt_gauge_info info = info_of(i);
        found |= strcmp(info.group, "memory") == 0 && strcmp(info.kernel, roof.read_kernel) == 0 &&
                 info.bytes == roof.read_bytes;
    }
    assert_true(found);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_all_under_validation),
        cmocka_unit_test(test_floor_refuses),
        cmocka_unit_test(test_options_hold),
        cmocka_unit_test(test_wrong_results_are_seen),
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_work_that_was_not_done),
        cmocka_unit_test(test_split_memory),
        cmocka_unit_test(test_roofline_is_of_the_gauges),
    };
    return RIG_RUN("measure", tests);
}
