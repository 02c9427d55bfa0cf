/* rapt systems: the published systems that rapt covers. */
#include "args.h"
#include "tool.h"

/* One row per system; the first of many. */
static const struct {
    const char *name, *engine, *operator_name, *status, *what;
} systems[] = {
    {"FlashAttention", "tile", "attention", "ready",
     "exact softmax attention: MHA, GQA, MQA, SQA, cross, causal, varlen, split-KV decode"},
};

int tool_systems(int argc, char **argv)
{
    bool json = false;
    const tool_option options[] = {
        {"--json", NULL, "as JSON on standard output", NULL, &json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {"rapt systems", "rapt systems --json", NULL};
    const tool_usage usage = {
        "rapt systems [options]",
        "Lists the published attention systems that rapt computes, by engine, with their state.", examples,
        options};
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &count, &code))
        return code;
    cJSON *root = json ? cJSON_CreateObject() : NULL,
          *array = json ? cJSON_AddArrayToObject(root, "systems") : NULL;
    if (!json)
        printf("%-16s %-8s %-12s %-8s %s\n", "system", "engine", "operator", "state", "what");
    for (size_t n = 0; n < TOOL_COUNT(systems); n++) {
        if (!json) {
            printf("%-16s %-8s %-12s %-8s %s\n", systems[n].name, systems[n].engine, systems[n].operator_name,
                   systems[n].status, systems[n].what);
            continue;
        }
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", systems[n].name);
        cJSON_AddStringToObject(o, "engine", systems[n].engine);
        cJSON_AddStringToObject(o, "operator", systems[n].operator_name);
        cJSON_AddStringToObject(o, "status", systems[n].status);
        cJSON_AddStringToObject(o, "what", systems[n].what);
        cJSON_AddItemToArray(array, o);
    }
    return json ? tool_json_print(root, NULL) : TOOL_GOOD;
}
