#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#endif
#include "tool.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = 1;
    signal(number, SIG_DFL); /* who asks twice means it */
}

void tool_catch_interrupts(void)
{
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
}

bool tool_interrupted(void)
{
    return interrupted != 0;
}

/* ---- errors ---- */

int tool_error(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("rapt: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

bool tool_fail(rapt_error *error, rapt_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error->status = status;
    vsnprintf(error->message, sizeof error->message, format, args);
    for (char *at = error->message; *at; at++) /* one line, whatever a file or an argument held */
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    va_end(args);
    return false;
}

int tool_exit_code(rapt_status status)
{
    switch (status) {
    case RAPT_OK:
        return TOOL_GOOD;
    case RAPT_ERROR_INVALID:
    case RAPT_ERROR_IO:
        return TOOL_BAD_INPUT;
    case RAPT_ERROR_NO_DEVICE:
        return TOOL_NO_DEVICE;
    case RAPT_ERROR_UNSUPPORTED:
    case RAPT_ERROR_OUT_OF_HOST_MEMORY:
    case RAPT_ERROR_OUT_OF_DEVICE_MEMORY:
        return TOOL_REFUSED;
    case RAPT_ERROR_DEVICE_LOST:
    case RAPT_ERROR_TIMEOUT:    /* the work may still be running: the device is as good as lost */
    case RAPT_ERROR_INCOMPLETE: /* the driver gave the work up */
        return TOOL_DEVICE_LOST;
    default:
        return TOOL_CHECK_FAILED;
    }
}

int tool_status_error(rapt_status status, const rapt_error *error)
{
    return tool_error(tool_exit_code(status), "%s",
                      error->message[0] ? error->message : rapt_status_name(status));
}

int tool_report(const rapt_error *error)
{
    return tool_status_error(error->status, error);
}

int tool_no_memory(void)
{
    return tool_error(TOOL_REFUSED, "out of host memory");
}

/* ---- the device ---- */

static void log_line(void *user, rapt_log_level level, const char *message)
{
    (void)user;
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    fprintf(stderr, "rapt: %s: %s\n",
            level >= RAPT_LOG_ERROR && level <= RAPT_LOG_DEBUG ? names[level] : "log", message);
}

int tool_runtime_open(const tool_device_options *options, rapt_runtime **runtime)
{
    rapt_runtime_options o = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_error error = {0};
    o.log = log_line;
    o.log_level = options->verbose ? RAPT_LOG_DEBUG : RAPT_LOG_WARNING;
    const rapt_status status = rapt_runtime_create(&o, runtime, &error);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}

const char *tool_device_type_name(uint32_t type)
{
    static const char *const names[] = {"other", "integrated", "discrete", "virtual", "cpu"};
    return type < TOOL_COUNT(names) ? names[type] : "unknown";
}

void tool_device_line(const rapt_caps *caps, const char *mask, char *text, size_t capacity)
{
    const bool masked = mask && mask[0];
    snprintf(text, capacity, "device: %s (%s, %s %s, Vulkan %u.%u%s%s)", caps->device_name,
             tool_device_type_name(caps->device_type), caps->driver_name, caps->driver_info,
             caps->api_version >> 22 & 127, caps->api_version >> 12 & 1023,
             masked ? ", lowered by --caps " : "", masked ? mask : "");
}

int tool_device_open(const tool_device_options *options, bool json, tool_device *out)
{
    rapt_error error = {0};
    *out = (tool_device){0};
    const int code = tool_runtime_open(options, &out->runtime);
    if (code != TOOL_GOOD)
        return code;
    rapt_device_options o = RAPT_DEVICE_OPTIONS_INIT;
    o.selector = options->device;
    o.caps_mask = options->caps;
    o.no_probe = options->no_probe;
    o.validation = options->validation;
    const rapt_status status = rapt_device_open(out->runtime, &o, &out->device, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    char line[1200];
    tool_device_line(rapt_device_caps(out->device), options->caps, line, sizeof line);
    fprintf(json ? stderr : stdout, "%s\n", line);
    return TOOL_GOOD;
}

void tool_device_close(tool_device *device)
{
    rapt_device_destroy(&device->device);
    rapt_runtime_destroy(&device->runtime);
}

static void add_hex(cJSON *object, const char *name, const uint8_t bytes[16])
{
    char text[33];
    for (int n = 0; n < 16; n++)
        snprintf(text + 2 * n, 3, "%02x", bytes[n]);
    cJSON_AddStringToObject(object, name, text);
}

static void add_three(cJSON *object, const char *name, const uint32_t values[3])
{
    cJSON *array = cJSON_AddArrayToObject(object, name);
    for (int n = 0; n < 3; n++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber(values[n]));
}

cJSON *tool_caps_json(const rapt_caps *c)
{
    cJSON *o = cJSON_CreateObject();
    const char *class_name = rapt_class_name(c->device_class);
    cJSON_AddStringToObject(o, "name", c->device_name);
    cJSON_AddStringToObject(o, "driver", c->driver_name);
    cJSON_AddStringToObject(o, "driver_info", c->driver_info);
    cJSON_AddStringToObject(o, "type", tool_device_type_name(c->device_type));
    cJSON_AddStringToObject(o, "class", class_name ? class_name : "unknown");
    char version[32];
    snprintf(version, sizeof version, "%u.%u.%u", c->api_version >> 22 & 127, c->api_version >> 12 & 1023,
             c->api_version & 4095);
    cJSON_AddStringToObject(o, "api_version", version);
    add_hex(o, "uuid", c->device_uuid);
    add_hex(o, "driver_uuid", c->driver_uuid);
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"vendor_id", c->vendor_id},
        {"device_id", c->device_id},
        {"driver_id", c->driver_id},
        {"driver_version", c->driver_version},
        {"subgroup_size", c->subgroup_size},
        {"subgroup_size_min", c->subgroup_size_min},
        {"subgroup_size_max", c->subgroup_size_max},
        {"max_shared_bytes", c->max_shared_bytes},
        {"max_invocations", c->max_invocations},
        {"max_storage_buffers", c->max_storage_buffers},
        {"max_push_bytes", c->max_push_bytes},
        {"max_storage_range", (double)c->max_storage_range},
        {"max_uniform_range", (double)c->max_uniform_range},
        {"max_texel_elements", (double)c->max_texel_elements},
        {"max_allocation", (double)c->max_allocation},
        {"storage_align", c->storage_align},
        {"uniform_align", c->uniform_align},
        {"texel_align", c->texel_align},
        {"compute_units", c->compute_units},
        {"timestamp_period_ns", (double)c->timestamp_period},
        {"device_heap_bytes", (double)c->device_heap},
        {"host_heap_bytes", (double)c->host_heap},
    };
    for (size_t n = 0; n < TOOL_COUNT(numbers); n++)
        cJSON_AddNumberToObject(o, numbers[n].name, numbers[n].value);
    add_three(o, "max_group_size", c->max_group_size);
    add_three(o, "max_groups", c->max_groups);
    cJSON_AddBoolToObject(o, "unified_memory", c->unified_memory != 0);
    cJSON_AddBoolToObject(o, "compiles_only", c->no_execution != 0);
    cJSON_AddBoolToObject(o, "masked", c->masked != 0);
    cJSON *features = cJSON_AddArrayToObject(o, "features");
    for (uint32_t f = 0; f < RAPT_FEATURE_COUNT; f++)
        if (c->features >> f & 1)
            cJSON_AddItemToArray(features, cJSON_CreateString(rapt_feature_name(f)));
    cJSON *matrices = cJSON_AddArrayToObject(o, "cooperative_matrices");
    for (uint32_t m = 0; m < c->coopmat_count && m < RAPT_MAX_COOPMAT_SHAPES; m++) {
        const rapt_coopmat_shape *s = &c->coopmat[m];
        const double fields[] = {s->m, s->n, s->k, s->a_type, s->b_type, s->c_type, s->result_type, s->scope};
        static const char *const names[] = {"m",      "n",      "k",           "a_type",
                                            "b_type", "c_type", "result_type", "scope"};
        cJSON *shape = cJSON_CreateObject();
        for (size_t f = 0; f < TOOL_COUNT(fields); f++)
            cJSON_AddNumberToObject(shape, names[f], fields[f]);
        cJSON_AddItemToArray(matrices, shape);
    }
    cJSON_AddNumberToObject(o, "coopmat2_max_dimension", c->coopmat2_max_dimension);
    cJSON_AddNumberToObject(o, "coopmat2_shared_bytes", c->coopmat2_shared_bytes);
    cJSON *flexible = cJSON_AddArrayToObject(o, "cooperative_matrices_of_workgroups");
    for (uint32_t m = 0; m < c->coopmat_flexible_count && m < RAPT_MAX_COOPMAT_FLEXIBLE; m++) {
        const rapt_coopmat_flexible *s = &c->coopmat_flexible[m];
        const double fields[] = {s->m, s->n, s->k, s->a_type, s->b_type, s->c_type, s->result_type, s->invocations};
        static const char *const names[] = {"m_multiple", "n_multiple", "k_multiple",  "a_type",
                                            "b_type",     "c_type",     "result_type", "invocations"};
        cJSON *shape = cJSON_CreateObject();
        for (size_t f = 0; f < TOOL_COUNT(fields); f++)
            cJSON_AddNumberToObject(shape, names[f], fields[f]);
        cJSON_AddItemToArray(flexible, shape);
    }
    return o;
}

int tool_kernel_known(const char *kernel)
{
    if (!kernel)
        return TOOL_GOOD;
    for (uint32_t n = 0; n < rapt_kernel_count(); n++) {
        rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
        if (rapt_kernel_describe(n, &info, NULL) == RAPT_OK && strcmp(info.name, kernel) == 0)
            return TOOL_GOOD;
    }
    return tool_error(TOOL_BAD_INPUT, "no kernel row is named '%.80s'; rapt compile --list shows all %u",
                      kernel, rapt_kernel_count());
}

/* ---- text ---- */

char *tool_explain(const rapt_plan *plan, rapt_text_format format)
{
    const size_t size = rapt_plan_explain(plan, format, NULL, 0);
    char *text = calloc(size + 1, 1);
    if (text)
        rapt_plan_explain(plan, format, text, size);
    return text;
}

char *tool_explain_refusal(rapt_device *device, const rapt_attention_desc *desc, rapt_text_format format)
{
    const size_t size = rapt_explain_refusal(device, desc, format, NULL, 0);
    char *text = calloc(size + 1, 1);
    if (text)
        rapt_explain_refusal(device, desc, format, text, size);
    return text;
}

/* ---- figures ---- */

double tool_now_ns(void)
{
    struct timespec t;
#if defined(CLOCK_MONOTONIC)
    clock_gettime(CLOCK_MONOTONIC, &t);
#else
    timespec_get(&t, TIME_UTC);
#endif
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

tool_figures tool_figures_of(double *samples, size_t count)
{
    if (count == 0)
        return (tool_figures){0};
    qsort(samples, count, sizeof *samples, ascending);
    return (tool_figures){.median = (samples[(count - 1) / 2] + samples[count / 2]) / 2,
                          .min = samples[0],
                          .max = samples[count - 1]};
}

void tool_duration(double ns, char out[32])
{
    if (ns < 0)
        snprintf(out, 32, "unknown");
    else if (ns < 1e3)
        snprintf(out, 32, "%.0f ns", ns);
    else if (ns < 1e6)
        snprintf(out, 32, "%.2f us", ns / 1e3);
    else if (ns < 1e9)
        snprintf(out, 32, "%.3f ms", ns / 1e6);
    else
        snprintf(out, 32, "%.3f s", ns / 1e9);
}

/* ---- JSON ---- */

void tool_json_number(cJSON *object, const char *name, double value)
{
    if (isfinite(value))
        cJSON_AddNumberToObject(object, name, value);
    else
        cJSON_AddNullToObject(object, name);
}

void tool_json_figures(cJSON *object, const char *name, tool_figures f)
{
    cJSON *o = cJSON_AddObjectToObject(object, name);
    tool_json_number(o, "median_ns", f.median);
    tool_json_number(o, "min_ns", f.min);
    tool_json_number(o, "max_ns", f.max);
}

int tool_json_print(cJSON *json, const char *path)
{
    char *text = cJSON_Print(json);
    cJSON_Delete(json);
    if (!text)
        return tool_no_memory();
    int code = TOOL_GOOD;
    if (!path || strcmp(path, "-") == 0) {
        puts(text);
    } else {
        FILE *file = fopen(path, "wb");
        const bool written = file && fputs(text, file) >= 0 && fputc('\n', file) != EOF;
        if ((file && fclose(file) != 0) || !written)
            code = tool_error(TOOL_BAD_INPUT, "%s: %s", path, strerror(errno));
    }
    cJSON_free(text);
    return code;
}
