#include "device_list.h"

#include <string.h>

#define SELECTOR 80 /* characters of one */

int tool_device_list_open(rapt_runtime *runtime, const char *list, const tool_device_options *given, FILE *tell, rapt_device *devices[RAPT_GROUP_MAX],
                          uint32_t *count)
{
    rapt_error error = {0};
    *count = 0;
    for (const char *at = list;; at++) {
        const size_t length = strcspn(at, ",");
        char selector[SELECTOR], line[1200];
        if (length == 0 || length >= sizeof selector || *count == RAPT_GROUP_MAX)
            return tool_error(TOOL_BAD_INPUT, "--devices '%.60s': 1 to %d of what --device takes, with commas between", list, RAPT_GROUP_MAX);
        memcpy(selector, at, length);
        selector[length] = 0;
        rapt_device_options o = RAPT_DEVICE_OPTIONS_INIT;
        o.selector = selector;
        o.caps_mask = given->caps;
        o.no_probe = given->no_probe;
        o.validation = given->validation;
        const rapt_status status = rapt_device_open(runtime, &o, &devices[*count], &error);
        if (status != RAPT_OK)
            return tool_status_error(status, &error);
        tool_device_line(rapt_device_caps(devices[*count]), given->caps, line, sizeof line);
        fprintf(tell, "%u: %s\n", *count, line);
        ++*count;
        at += length;
        if (*at == 0)
            return TOOL_GOOD;
    }
}

static void tell_event(void *user, const rapt_group_event *event)
{
    static const char *const what[] = {
        [RAPT_GROUP_QUARANTINED] = "takes no more parts", [RAPT_GROUP_SITS_OUT] = "sits this call out", [RAPT_GROUP_SMALLER] = "gets smaller parts",
        [RAPT_GROUP_REFUSES] = "refuses a shard"};
    (void)user;
    fprintf(stderr, "rapt: device %u of the group %s: %s\n", event->member, what[event->kind], event->message);
}

int tool_device_list_group(rapt_device *const *devices, uint32_t count, rapt_group **group)
{
    rapt_group_options o = RAPT_GROUP_OPTIONS_INIT;
    rapt_error error = {0};
    o.threads = 1;
    o.event = tell_event;
    const rapt_status status = rapt_group_create(devices, count, &o, group, &error);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}
