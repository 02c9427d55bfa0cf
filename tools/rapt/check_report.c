#include "check_report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

/* Appends; what does not fit is cut. */
TOOL_PRINTF(3, 4) static void add(char *text, size_t capacity, const char *format, ...)
{
    const size_t length = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + length, capacity - length, format, args);
    va_end(args);
}

void check_shape_line(const rapt_case *c, char *text, size_t capacity)
{
    text[0] = 0;
    add(text, capacity,
        "%s, batch %" PRIu64 ", heads %" PRIu64 ":%" PRIu64 ", nq %" PRIu64 ", nk %" PRIu64
        ", head_dim %" PRIu64 "/%" PRIu64,
        rapt_dtype_name(c->dtype), c->batch, c->q_heads, c->kv_heads, c->nq, c->nk, c->d_qk, c->d_v);
    if (c->causal)
        add(text, capacity, ", causal%+" PRId64, c->causal_offset);
    if (c->key_splits > 0)
        add(text, capacity, ", %u key splits", c->key_splits);
    for (uint32_t s = 0; s < c->sequences && s < RAPT_CASE_SEQUENCES; s++)
        add(text, capacity, "%s%u:%u%s", s == 0 ? ", packed sequences of queries:keys " : " ", c->length_q[s],
            c->length_k[s], s + 1 == c->sequences && c->max_seqlen_q > 0 ? " with max_seqlen_q below" : "");
    add(text, capacity, ", layout %s, inputs %s%s", rapt_case_layout_name(c->layout),
        rapt_case_input_name(c->input), c->no_lse ? ", no lse" : "");
}

void check_command_line(check_failure *f, const tool_device_options *device, uint32_t repeats, const char *start)
{
    char *text = f->command;
    const size_t capacity = sizeof f->command;
    text[0] = 0;
    add(text, capacity, "%s", start);
    if (f->forced)
        add(text, capacity, " --kernel %s", f->forced_kernel);
    if (f->mask[0])
        add(text, capacity, " --caps '%s'", f->mask);
    if (repeats > 0)
        add(text, capacity, " --repeat %u", repeats);
    if (device->device)
        add(text, capacity, " --device '%s'", device->device);
    if (device->no_probe)
        add(text, capacity, " --no-probe");
    if (device->validation)
        add(text, capacity, " --validation");
}

static const char *kernel_of(const check_failure *f)
{
    return f->result.info.kernel[0] ? f->result.info.kernel : f->forced ? f->forced_kernel : "(chosen)";
}

static bool find_kernel(const char *name, rapt_kernel_info *info)
{
    for (uint32_t n = 0; n < rapt_kernel_count(); n++) {
        *info = (rapt_kernel_info)RAPT_KERNEL_INFO_INIT;
        if (rapt_kernel_describe(n, info, NULL) == RAPT_OK && strcmp(info->name, name) == 0)
            return true;
    }
    return false;
}

/* ---- JSON ---- */

static void add_difference(cJSON *o, const char *name, const rapt_check_difference *d)
{
    if (d->compared == 0)
        return;
    cJSON *e = cJSON_AddObjectToObject(o, name);
    tool_json_number(e, "max_error", d->max_abs);
    tool_json_number(e, "tolerance", d->tolerance);
    cJSON_AddNumberToObject(e, "compared", (double)d->compared);
    cJSON_AddNumberToObject(e, "wrong", (double)d->wrong);
    cJSON_AddNumberToObject(e, "nans", (double)d->nans);
}

cJSON *check_failure_json(const check_report *r, const check_failure *f)
{
    char seed[24];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "case", f->name);
    cJSON_AddStringToObject(o, "kernel", kernel_of(f));
    cJSON_AddStringToObject(o, "merge_kernel", f->result.info.merge_kernel);
    cJSON_AddStringToObject(o, "caps", f->mask);
    cJSON_AddStringToObject(o, "shape", f->shape);
    snprintf(seed, sizeof seed, "0x%016" PRIx64, f->seed); /* 64 bits: more than a JSON number holds */
    if (f->seed != 0)
        cJSON_AddStringToObject(o, "seed", seed);
    cJSON_AddStringToObject(o, "driver_name", r->caps->driver_name);
    cJSON_AddStringToObject(o, "driver_info", r->caps->driver_info);
    add_difference(o, "out", &f->result.out);
    add_difference(o, "lse", &f->result.lse);
    cJSON_AddNumberToObject(o, "runs", f->result.runs);
    cJSON_AddNumberToObject(o, "runs_wrong", f->result.wrong);
    cJSON_AddNumberToObject(o, "repeats_differing", f->result.differing);
    cJSON_AddStringToObject(o, "message", f->message);
    cJSON_AddStringToObject(o, "command", f->command);
    return o;
}

/* ---- Markdown ---- */

/* Text that comes from outside: no character of it ends a cell or starts a line. */
static void print_cell(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (*text == '|' || *text == '\\' || *text == '<' || *text == '*' || *text == '`')
            fputc('\\', file);
        fputc((unsigned char)*text < 32 ? ' ' : *text, file);
    }
}

static void print_row(FILE *file, const char *name, const char *value)
{
    fprintf(file, "| %s | ", name);
    print_cell(file, value);
    fprintf(file, " |\n");
}

static void print_uuid(FILE *file, const char *name, const uint8_t uuid[16])
{
    char text[33];
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", uuid[i]);
    print_row(file, name, text);
}

static void print_device(const check_report *r, FILE *file)
{
    const rapt_caps *c = r->caps;
    char text[700];
    fprintf(file, "| | |\n|---|---|\n");
    print_row(file, "device", c->device_name);
    snprintf(text, sizeof text, "%s, vendor 0x%x, device 0x%x", tool_device_type_name(c->device_type),
             c->vendor_id, c->device_id);
    print_row(file, "kind", text);
    snprintf(text, sizeof text, "%s %s (version 0x%x)", c->driver_name, c->driver_info, c->driver_version);
    print_row(file, "driver", text);
    snprintf(text, sizeof text, "%u.%u.%u", c->api_version >> 22 & 127, c->api_version >> 12 & 1023,
             c->api_version & 4095);
    print_row(file, "Vulkan", text);
    print_uuid(file, "device UUID", c->device_uuid);
    print_uuid(file, "driver UUID", c->driver_uuid);
    print_row(file, "rapt", rapt_version_string());
    print_row(file, "cases", r->set);
    snprintf(text, sizeof text, "%zu, %zu failed, in %.1f s", r->runs, r->failures, r->seconds);
    print_row(file, "runs", text);
    if (r->repeats > 0) {
        snprintf(text, sizeof text, "%u of each; %zu of %zu gave other bits than their first run", r->repeats,
                 r->differing, r->repeated);
        print_row(file, "repeats", text);
    }
}

static void print_difference(FILE *file, const char *name, const rapt_check_difference *d)
{
    if (d->compared == 0)
        return;
    fprintf(file, "- %s: largest error %.6g, tolerance %.6g", name, d->max_abs, d->tolerance);
    if (d->tolerance > 0)
        fprintf(file, " (%.3g times)", d->max_abs / d->tolerance);
    else
        fprintf(file, " (must be equal)");
    fprintf(file, ", %" PRIu64 " of %" PRIu64 " elements wrong", d->wrong, d->compared);
    if (d->nans > 0)
        fprintf(file, ", %" PRIu64 " of them NaN", d->nans);
    fprintf(file, "\n");
}

static void print_failure(const check_report *r, size_t n, FILE *file)
{
    const check_failure *f = &r->list[n];
    rapt_kernel_info info;
    fprintf(file, "\n### %zu. %s, %s\n\n", n + 1, kernel_of(f), f->name);
    print_cell(file, f->message);
    fprintf(file, "\n\n- shape: %s\n", f->shape[0] ? f->shape : f->name);
    if (f->seed != 0)
        fprintf(file, "- seed: 0x%016" PRIx64 "\n", f->seed);
    fprintf(file, "- kernel: %s%s%s%s", kernel_of(f), f->result.info.merge_kernel[0] ? ", merged by " : "",
            f->result.info.merge_kernel, f->forced ? "" : ", the planner's choice");
    if (find_kernel(kernel_of(f), &info))
        fprintf(file, "; shaders/%s `%s`, SPIR-V %s", info.shader, info.defines, info.hash);
    fprintf(file, "\n- capabilities lowered by: %s\n", f->mask[0] ? f->mask : "nothing");
    print_difference(file, "out", &f->result.out);
    print_difference(file, "lse", &f->result.lse);
    if (f->result.runs > 1)
        fprintf(file, "- %u of %u runs wrong; %u of %u repeats gave other bits than the first run\n",
                f->result.wrong, f->result.runs, f->result.differing, f->result.runs - 1);
    fprintf(file, "- driver: ");
    print_cell(file, r->caps->driver_name);
    fprintf(file, " ");
    print_cell(file, r->caps->driver_info);
    fprintf(file, "\n\nTo see it again:\n\n    %s\n", f->command);
}

void check_report_write(const check_report *r, FILE *file)
{
    fprintf(file, "# %s: %zu of %zu runs failed on ", r->title, r->failures, r->runs);
    print_cell(file, r->caps->device_name);
    fprintf(file, "\n\n");
    print_device(r, file);
    if (r->failures > 0)
        fprintf(file, "\n## Failures\n");
    for (size_t n = 0; n < r->list_count; n++)
        print_failure(r, n, file);
    if (r->list_count < r->failures)
        fprintf(file, "\nFurther %zu failures are counted only.\n", r->failures - r->list_count);
    fprintf(file, "\n## All that was tried\n\n"
                  "Errors are shares of the tolerance, which is twice the error of a plain single-precision\n"
                  "computation of the same inputs.\n\n"
                  "| what | capabilities lowered by | pass | fail | refused | largest error | case, or why "
                  "it never ran |\n"
                  "|---|---|---|---|---|---|---|\n");
    for (size_t n = 0; n < r->row_count; n++) {
        const check_row *t = &r->rows[n];
        fprintf(file, "| ");
        print_cell(file, t->kernel);
        fprintf(file, " | %s | %zu | %zu | %zu | ", t->mask, t->pass, t->fail, t->refused);
        if (t->pass > 0)
            fprintf(file, "%.3f | %s |\n", t->worst, t->worst_case ? t->worst_case : "");
        else {
            fprintf(file, "| ");
            print_cell(file, t->refusal);
            fprintf(file, " |\n");
        }
    }
}

int check_report_open(const char *path, FILE **file)
{
    *file = path ? fopen(path, "ab") : NULL;
    return !path || *file ? TOOL_GOOD : tool_error(TOOL_BAD_INPUT, "%s: %s", path, strerror(errno));
}

int check_report_close(const check_report *report, const char *path, FILE **file)
{
    if (!*file)
        return TOOL_GOOD;
    FILE *out = freopen(path, "wb", *file); /* only now: an earlier report stays until there is a new one */
    *file = NULL;
    if (!out)
        return tool_error(TOOL_BAD_INPUT, "%s: %s", path, strerror(errno));
    check_report_write(report, out);
    const bool good = !ferror(out);
    const bool closed = fclose(out) == 0;
    return good && closed ? TOOL_GOOD : tool_error(TOOL_BAD_INPUT, "%s: %s", path, strerror(errno));
}

void check_coverage_add(check_coverage *coverage, rapt_device *device)
{
    for (uint32_t n = 0; coverage && device && n < rapt_kernel_count(); n++) {
        rapt_kernel_use use = RAPT_KERNEL_USE_INIT;
        if (rapt_device_kernel_use(device, n, &use, NULL) != RAPT_OK)
            continue;
        coverage->used[n] |= use.pipelines > 0;
        coverage->wrong[n] |= use.wrong > 0;
    }
}

int check_json(check_coverage *coverage, const char *part, cJSON *summary)
{
    if (!coverage || !coverage->json)
        return tool_json_print(summary, NULL);
    cJSON_AddItemToObject(coverage->json, part, summary);
    return TOOL_GOOD;
}

int tool_check_code(bool lost, size_t runs, size_t failures, bool any)
{
    if (lost)
        return tool_error(TOOL_DEVICE_LOST, "the device was lost; the rest did not run");
    if (tool_interrupted())
        return tool_error(TOOL_INTERRUPTED, "interrupted: %zu runs, %zu failed; the rest did not run", runs, failures);
    if (failures > 0)
        return TOOL_CHECK_FAILED;
    return any ? TOOL_GOOD : tool_error(TOOL_REFUSED, "nothing ran: everything was refused");
}
