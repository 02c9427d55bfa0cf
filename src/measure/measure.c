/* The public calls, and how a gauge becomes figures: grow until a run is long enough, then repeat. */
#include "measure/gauge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SECONDS 0.2
#define DEFAULT_LONGEST_MS 20.0
#define LEAST_SAMPLES 3
#define MOST_SAMPLES 4096

const rapt_kernel_row *rapt_peak_row(const char *name)
{
    const rapt_kernel_table *table = rapt_kernels();
    for (uint32_t i = 0; i < table->row_count; i++)
        if (table->rows[i].family == RAPT_FAMILY_PEAK && strcmp(table->rows[i].name, name) == 0)
            return &table->rows[i];
    return NULL;
}

uint32_t rapt_row_constant(const rapt_kernel_row *row, const char *name)
{
    for (uint32_t i = 0; i < row->constant_count; i++)
        if (strcmp(row->constants[i].name, name) == 0)
            return row->constants[i].value;
    return 1;
}

uint32_t rapt_row_constants(const rapt_device *device, const rapt_kernel_row *row,
                            uint32_t constants[RAPT_MAX_CONSTANTS])
{
    const rapt_caps *caps = &device->caps;
    uint32_t local_size = row->local_size;
    if (caps->device_class == RAPT_CLASS_SOFTWARE && caps->subgroup_size >= 4 && row->coopmat[0] == 0)
        local_size = RAPT_MIN(local_size, caps->subgroup_size);
    for (uint32_t i = 0; i < row->constant_count; i++)
        constants[i] =
            strcmp(row->constants[i].name, "LOCAL_SIZE") == 0 ? local_size : row->constants[i].value;
    return local_size;
}

rapt_status rapt_wrong(rapt_error *error, const rapt_gauge *gauge, const char *what, double got, double low,
                       double high)
{
    if (low == high)
        return rapt_fail(error, RAPT_ERROR_WRONG_RESULT, "gauge '%s': %s is %.9g, must be %.9g",
                         gauge->info.name, what, got, low);
    return rapt_fail(error, RAPT_ERROR_WRONG_RESULT, "gauge '%s': %s is %.9g, must be %.9g to %.9g",
                     gauge->info.name, what, got, low, high);
}

/* One run; its seconds by the better clock. */
static rapt_status run_once(rapt_session *s, double *seconds, rapt_error *error)
{
    rapt_lane_time time = {0};
    s->parts = 1;
    rapt_status status = s->gauge->kind->run(s, &time, error);
    s->device_clock = time.device > 0;
    *seconds = s->device_clock ? time.device : time.wall;
    if (status == RAPT_OK && !(*seconds > 0))
        *seconds = 1e-9; /* shorter than the clock's step */
    return status;
}

/* Grows the scale until a run takes about `longest` seconds, never much longer. */
static rapt_status grow(rapt_session *s, double longest, rapt_error *error)
{
    double seconds;
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 64 && status == RAPT_OK; i++) {
        status = run_once(s, &seconds, error);
        if (status != RAPT_OK || seconds >= longest * 0.5 || s->scale >= s->most)
            break;
        double factor = RAPT_MIN(longest * 0.8 / seconds, 8.0);
        uint64_t next = (uint64_t)((double)s->scale * factor);
        s->scale = RAPT_MIN(RAPT_MAX(next, s->scale + 1), s->most);
    }
    return status;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A run's value in the gauge's unit. */
static double value_of(const rapt_session *s, double seconds)
{
    return s->gauge->info.lower_is_better ? seconds / s->parts : s->work / seconds;
}

static rapt_status sample(rapt_session *s, const rapt_gauge_options *options, double *values,
                          uint32_t capacity, rapt_gauge_result *result, rapt_error *error)
{
    const rapt_allocator *a = &s->device->runtime->allocator;
    double *all = rapt_calloc(a, MOST_SAMPLES, sizeof *all);
    if (all == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for samples");
    rapt_status status = RAPT_OK;
    uint32_t count = 0;
    bool device_clock = true;
    const uint64_t end = rapt_now_ns() + (uint64_t)(options->seconds * 1e9);
    while (status == RAPT_OK && count < MOST_SAMPLES && (count < LEAST_SAMPLES || rapt_now_ns() < end)) {
        double seconds = 0;
        status = run_once(s, &seconds, error);
        if (status != RAPT_OK)
            break;
        device_clock = device_clock && s->device_clock;
        all[count++] = value_of(s, seconds);
    }
    if (status == RAPT_OK && s->gauge->kind->prove != NULL)
        status = s->gauge->kind->prove(s, error);
    if (status == RAPT_OK) {
        for (uint32_t i = 0; i < RAPT_MIN(count, capacity); i++)
            values[i] = all[i];
        qsort(all, count, sizeof *all, by_size);
        result->samples = count;
        result->device_clock = device_clock;
        result->work = s->gauge->info.lower_is_better ? 0 : s->work;
        result->median = (all[(count - 1) / 2] + all[count / 2]) / 2;
        result->best = s->gauge->info.lower_is_better ? all[0] : all[count - 1];
    }
    rapt_free(a, all, MOST_SAMPLES * sizeof *all);
    return status;
}

rapt_status rapt_gauge_run(rapt_device *device, const rapt_gauge *gauge, const rapt_gauge_options *options,
                           double *values, uint32_t capacity, rapt_gauge_result *result, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    rapt_session s = {.device = device, .gauge = gauge, .scale = 1, .most = 1};
    s.state = rapt_calloc(a, 1, gauge->kind->state_bytes);
    if (s.state == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for gauge '%s'", gauge->info.name);
    rapt_status status = rapt_lane_open(device, &s.lane, error);
    if (status == RAPT_OK)
        status = gauge->kind->open(&s, error);
    double seconds;
    if (status == RAPT_OK)
        status = run_once(&s, &seconds, error); /* compiles, touches memory: does not count */
    if (status == RAPT_OK && gauge->kind->prove != NULL)
        status = gauge->kind->prove(&s, error);
    if (status == RAPT_OK)
        status = grow(&s, options->longest_ms * 1e-3, error);
    if (status == RAPT_OK)
        status = sample(&s, options, values, capacity, result, error);
    gauge->kind->close(&s);
    rapt_lane_close(&s.lane);
    rapt_free(a, s.state, gauge->kind->state_bytes);
    return status;
}

/* ---- the public calls */

static rapt_status check_device(const rapt_device *device, const char *call, rapt_error *error)
{
    return device == NULL ? rapt_fail(error, RAPT_ERROR_INVALID, "%s: device is NULL", call) : RAPT_OK;
}

static rapt_status check_size(uint32_t size, size_t expected, const char *type, rapt_error *error)
{
    if (size >= expected)
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_INVALID, "%s.struct_size is %u, expected %zu", type, size, expected);
}

static uint32_t count_gauges(const rapt_device *device)
{
    rapt_gauge gauge;
    uint32_t count = 0;
    while (rapt_gauge_at(device, count, &gauge))
        count++;
    return count;
}

static rapt_status find_gauge(const rapt_device *device, uint32_t index, rapt_gauge *gauge, rapt_error *error)
{
    if (rapt_gauge_at(device, index, gauge))
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_INVALID, "gauge %u: %s has %u", index, device->caps.device_name,
                     count_gauges(device));
}

rapt_status rapt_device_gauge_count(rapt_device *device, uint32_t *count, rapt_error *error)
{
    rapt_status status = check_device(device, "rapt_device_gauge_count", error);
    if (status != RAPT_OK)
        return status;
    if (count == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_gauge_count: count is NULL");
    *count = count_gauges(device);
    return RAPT_OK;
}

rapt_status rapt_device_gauge(rapt_device *device, uint32_t index, rapt_gauge_info *info, rapt_error *error)
{
    rapt_status status = check_device(device, "rapt_device_gauge", error);
    if (status == RAPT_OK && info == NULL)
        status = rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_gauge: info is NULL");
    if (status == RAPT_OK)
        status = check_size(info->struct_size, sizeof *info, "rapt_gauge_info", error);
    rapt_gauge gauge;
    if (status == RAPT_OK)
        status = find_gauge(device, index, &gauge, error);
    if (status != RAPT_OK)
        return status;
    gauge.info.struct_size = info->struct_size;
    *info = gauge.info;
    return RAPT_OK;
}

rapt_status rapt_device_measure(rapt_device *device, uint32_t index, const rapt_gauge_options *given,
                                double *values, uint32_t capacity, rapt_gauge_result *result,
                                rapt_error *error)
{
    rapt_gauge_options options = RAPT_GAUGE_OPTIONS_INIT;
    rapt_status status = check_device(device, "rapt_device_measure", error);
    if (status == RAPT_OK && (result == NULL || (values == NULL && capacity != 0)))
        status = rapt_fail(error, RAPT_ERROR_INVALID, "rapt_device_measure: %s is NULL",
                           result == NULL ? "result" : "values");
    if (status == RAPT_OK)
        status = check_size(result->struct_size, sizeof *result, "rapt_gauge_result", error);
    if (status == RAPT_OK && given != NULL) {
        status = check_size(given->struct_size, sizeof *given, "rapt_gauge_options", error);
        if (status == RAPT_OK)
            options = *given;
    }
    if (status != RAPT_OK)
        return status;
    /* Written so that a NaN is refused, too. */
    if (!(options.seconds >= 0 && options.seconds <= 3600) ||
        !(options.longest_ms >= 0 && options.longest_ms <= 1000))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "rapt_gauge_options: seconds %g (0 to 3600), longest_ms %g (0 to 1000)",
                         options.seconds, options.longest_ms);
    if (options.seconds == 0)
        options.seconds = DEFAULT_SECONDS;
    if (options.longest_ms == 0)
        options.longest_ms = DEFAULT_LONGEST_MS;
    *result = (rapt_gauge_result){.struct_size = result->struct_size};
    rapt_gauge gauge;
    status = find_gauge(device, index, &gauge, error);
    if (status != RAPT_OK)
        return status;
    if (gauge.info.refusal[0] != '\0')
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "gauge '%s': %s", gauge.info.name,
                         gauge.info.refusal);
    return rapt_gauge_run(device, &gauge, &options, values, capacity, result, error);
}
