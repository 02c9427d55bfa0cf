/* rapt devices: what Vulkan devices there are and what they can do. */
#include "args.h"
#include "tool.h"

#include <inttypes.h>
#include <string.h>

static void print_row(uint32_t index, const rapt_caps *c, bool chosen)
{
    char memory[32];
    snprintf(memory, sizeof memory, "%.1f GiB", (double)c->device_heap / (1u << 30));
    const char *class_name = rapt_class_name(c->device_class);
    printf("%c%3u  %-10s %-9s %u.%-3u %6u KiB %5u %10s  %s (%s %s)\n", chosen ? '*' : ' ', index,
           tool_device_type_name(c->device_type), class_name ? class_name : "?", c->api_version >> 22 & 127,
           c->api_version >> 12 & 1023, c->max_shared_bytes / 1024, c->subgroup_size, memory, c->device_name,
           c->driver_name, c->driver_info);
}

static void print_details(const rapt_caps *c)
{
    printf("      uuid ");
    for (int n = 0; n < 16; n++)
        printf("%02x", c->device_uuid[n]);
    printf("\n      invocations %u, group %u x %u x %u, groups %u x %u x %u, storage buffers %u of %" PRIu64
           " bytes, push constants %u bytes\n",
           c->max_invocations, c->max_group_size[0], c->max_group_size[1], c->max_group_size[2],
           c->max_groups[0], c->max_groups[1], c->max_groups[2], c->max_storage_buffers, c->max_storage_range,
           c->max_push_bytes);
    printf("      texel buffers %" PRIu64 " texels, allocations %" PRIu64
           " bytes, alignment %u/%u/%u, subgroups %u to %u\n",
           c->max_texel_elements, c->max_allocation, c->storage_align, c->uniform_align, c->texel_align,
           c->subgroup_size_min, c->subgroup_size_max);
    printf("      features");
    for (uint32_t f = 0; f < RAPT_FEATURE_COUNT; f++)
        if (c->features >> f & 1)
            printf(" %s", rapt_feature_name(f));
    printf("\n");
    for (uint32_t m = 0; m < c->coopmat_count && m < RAPT_MAX_COOPMAT_SHAPES; m++)
        printf("      cooperative matrix %ux%ux%u, component types %u, %u, %u, %u, scope %u\n",
               c->coopmat[m].m, c->coopmat[m].n, c->coopmat[m].k, c->coopmat[m].a_type, c->coopmat[m].b_type,
               c->coopmat[m].c_type, c->coopmat[m].result_type, c->coopmat[m].scope);
    for (uint32_t m = 0; m < c->coopmat_flexible_count && m < RAPT_MAX_COOPMAT_FLEXIBLE; m++)
        printf("      cooperative matrix of a workgroup of %u, multiples of %ux%ux%u, component types %u, %u, %u, %u\n",
               c->coopmat_flexible[m].invocations, c->coopmat_flexible[m].m, c->coopmat_flexible[m].n,
               c->coopmat_flexible[m].k, c->coopmat_flexible[m].a_type, c->coopmat_flexible[m].b_type,
               c->coopmat_flexible[m].c_type, c->coopmat_flexible[m].result_type);
}

static int list(rapt_runtime *runtime, const char *selector, const char *mask, bool details, bool json)
{
    rapt_error error = {0};
    uint32_t count = 0, chosen = UINT32_MAX;
    rapt_status status = rapt_device_count(runtime, &count, &error);
    if (status == RAPT_OK)
        status = rapt_device_find(runtime, selector, &chosen, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    cJSON *root = json ? cJSON_CreateObject() : NULL,
          *array = json ? cJSON_AddArrayToObject(root, "devices") : NULL;
    if (!json)
        printf("  no.  type       class     API    shared subgr     memory  name (driver)\n");
    for (uint32_t index = 0; index < count && status == RAPT_OK; index++) {
        rapt_caps caps;
        status = rapt_device_query(runtime, index, &caps, &error);
        if (status == RAPT_OK)
            status = rapt_caps_mask(&caps, mask, &error);
        if (status != RAPT_OK)
            break;
        if (json) {
            cJSON *o = tool_caps_json(&caps);
            cJSON_AddNumberToObject(o, "index", index);
            cJSON_AddBoolToObject(o, "chosen", index == chosen);
            cJSON_AddItemToArray(array, o);
        } else {
            print_row(index, &caps, index == chosen);
            if (details)
                print_details(&caps);
        }
    }
    if (status != RAPT_OK) {
        cJSON_Delete(root);
        return tool_status_error(status, &error);
    }
    return json ? tool_json_print(root, NULL) : TOOL_GOOD;
}

int tool_devices(int argc, char **argv)
{
    tool_device_options o = {0};
    bool details = false, json = false;
    const tool_option options[] = {
        {"--device", "SEL", "which one counts as chosen (*): index, UUID, or part of a name", &o.device,
         NULL},
        {"--caps", "SPEC", "lower what is shown, see rapt run --help", &o.caps, NULL},
        {"--details", NULL, "limits and features of each", NULL, &details},
        {"--verbose", NULL, "tell what the library does, on standard error", NULL, &o.verbose},
        {"--json", NULL, "everything as JSON on standard output", NULL, &json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {"rapt devices", "rapt devices --details --device llvmpipe",
                                           "rapt devices --json | jq '.devices[] | {name, features}'", NULL};
    const tool_usage usage = {
        "rapt devices [options]",
        "Lists the Vulkan devices there are. The one marked * is what the other commands use\n"
        "when told nothing else: RAPT_DEVICE if set, else discrete, integrated, virtual, then\n"
        "lavapipe before other software devices.",
        examples, options};
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &count, &code))
        return code;
    rapt_runtime *runtime = NULL;
    code = tool_runtime_open(&o, &runtime);
    if (code == TOOL_GOOD)
        code = list(runtime, o.device, o.caps, details, json);
    rapt_runtime_destroy(&runtime);
    return code;
}
