/* rapt check: one of its parts, or all of them, with a list of the kernel rows that none of them ran. */
#include "args.h"
#include "check_report.h"

#include <stdlib.h>
#include <string.h>

typedef int part_fn(int argc, char **argv, check_coverage *coverage);

static const struct part {
    const char *name;
    part_fn *run;
} parts[] = {{"attention", check_attention}, {"linear", check_linear}, {"systems", check_systems}};

typedef struct all_options {
    tool_device_options device;
    bool full, json;
} all_options;

/* Runs a part as its own command would. */
static int run_part(const struct part *part, const all_options *o, check_coverage *coverage)
{
    char name[32];
    char *argv[16];
    int argc = 0;
    snprintf(name, sizeof name, "check %s", part->name);
    argv[argc++] = name;
    if (o->full)
        argv[argc++] = "--full";
    else if (part->run == check_attention)
        argv[argc++] = "--every-row";
    if (o->device.device) {
        argv[argc++] = "--device";
        argv[argc++] = (char *)o->device.device;
    }
    if (o->device.no_probe)
        argv[argc++] = "--no-probe";
    if (o->device.validation)
        argv[argc++] = "--validation";
    if (o->device.verbose)
        argv[argc++] = "--verbose";
    if (o->json)
        argv[argc++] = "--json";
    argv[argc] = NULL;
    fprintf(o->json ? stderr : stdout, "== %s\n", part->name);
    fflush(stdout);
    return part->run(argc, argv, coverage);
}

/* Peak rows measure; rapt bench holds their results against known answers. */
static bool is_measured(const rapt_kernel_info *info)
{
    return strcmp(info->family, "peak") == 0;
}

static void tell_rows(const check_coverage *coverage, cJSON *json)
{
    size_t rows = 0, used = 0;
    cJSON *unused = json ? cJSON_AddArrayToObject(json, "rows_not_run") : NULL;
    char line[4000] = "";
    for (uint32_t n = 0; n < rapt_kernel_count(); n++) {
        rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
        if (rapt_kernel_describe(n, &info, NULL) != RAPT_OK || is_measured(&info))
            continue;
        rows++;
        used += coverage->used[n];
        if (coverage->used[n])
            continue;
        if (unused)
            cJSON_AddItemToArray(unused, cJSON_CreateString(info.name));
        const size_t length = strlen(line);
        snprintf(line + length, sizeof line - length, "\n  %s%s", info.name,
                 coverage->wrong[n] ? ": the driver does not compile it, or its probe failed" : "");
    }
    if (json) {
        cJSON_AddNumberToObject(json, "rows", (double)rows);
        cJSON_AddNumberToObject(json, "rows_run", (double)used);
        return;
    }
    printf("== rows\n%zu of %zu kernel rows ran%s%s\n", used, rows,
           used < rows ? "; not these, which need what the device or this check does not have:" : "", line);
}

static int check_all(int argc, char **argv)
{
    all_options o = {0};
    const tool_option options[] = {
        {"--full", NULL, "every part with --full: hours on a software device", NULL, &o.full},
        {"--device", "SEL", "index, UUID, or part of a name; default as for rapt devices", &o.device.device, NULL},
        {"--no-probe", NULL, "without the known-answer probe before a row's first use", NULL, &o.device.no_probe},
        {"--validation", NULL, "run under the Vulkan validation layer, where installed", NULL, &o.device.validation},
        {"--verbose", NULL, "tell what the library does, on standard error", NULL, &o.device.verbose},
        {"--json", NULL, "the parts' summaries and the rows that did not run as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {"rapt check all", "rapt check all --full --device llvmpipe --json > all.json", NULL};
    const tool_usage usage = {
        "rapt check all [options]",
        "Everything that can be checked on this device: rapt check --every-row, rapt check linear and\n"
        "rapt check systems, one after the other, and then the kernel rows that none of them ran. Exit\n"
        "code 1 if any failed, 5 at once if the device was lost.",
        examples, options};
    size_t words;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &words, &code))
        return code;
    check_coverage coverage = {.used = calloc(rapt_kernel_count(), sizeof(bool)),
                               .wrong = calloc(rapt_kernel_count(), sizeof(bool)),
                               .json = o.json ? cJSON_CreateObject() : NULL};
    code = coverage.used && coverage.wrong ? TOOL_GOOD : tool_no_memory();
    bool whole = code == TOOL_GOOD;
    for (size_t n = 0; n < TOOL_COUNT(parts) && whole; n++) {
        const int part = run_part(&parts[n], &o, &coverage);
        whole = part == TOOL_GOOD || part == TOOL_CHECK_FAILED || part == TOOL_REFUSED;
        code = !whole || code == TOOL_GOOD || (part == TOOL_CHECK_FAILED && code == TOOL_REFUSED) ? part : code;
    }
    if (whole)
        tell_rows(&coverage, coverage.json);
    if (coverage.json && coverage.used) { /* also what there was before the device was lost, or Ctrl-C */
        cJSON_AddBoolToObject(coverage.json, "whole", whole);
        const int printed = tool_json_print(coverage.json, NULL);
        coverage.json = NULL;
        code = printed == TOOL_GOOD ? code : printed;
    }
    cJSON_Delete(coverage.json);
    free(coverage.used);
    free(coverage.wrong);
    return code;
}

int tool_check(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "all") == 0)
        return check_all(argc - 1, argv + 1);
    for (size_t n = 0; n < TOOL_COUNT(parts) && argc > 1; n++)
        if (strcmp(argv[1], parts[n].name) == 0)
            return parts[n].run(argc - 1, argv + 1, NULL);
    return check_attention(argc, argv, NULL);
}
