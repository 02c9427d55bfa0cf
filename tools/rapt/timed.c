/* Running a binding, once and for its time. */
#include "tool.h"

#include <stdlib.h>

rapt_status tool_submit(rapt_binding *binding, double *device_ns, double *wall_ns, rapt_error *error)
{
    const double start = tool_now_ns();
    rapt_status status = rapt_submit(binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(binding, UINT64_MAX, error);
    *wall_ns = tool_now_ns() - start;
    rapt_timing timing = {.device_ns = -1};
    if (status == RAPT_OK)
        rapt_binding_timing(binding, &timing);
    *device_ns = timing.device_ns;
    return status;
}

static void tell(tool_figures d, tool_figures w, size_t count, cJSON *json)
{
    const bool stamps = d.min >= 0;
    if (json) {
        cJSON *t = cJSON_AddObjectToObject(json, "time");
        cJSON_AddNumberToObject(t, "repeats", (double)count);
        if (stamps)
            tool_json_figures(t, "device", d);
        else
            cJSON_AddNullToObject(t, "device");
        tool_json_figures(t, "wall", w);
        return;
    }
    char a[32], b[32], c[32];
    tool_duration(stamps ? d.median : w.median, a);
    tool_duration(stamps ? d.min : w.min, b);
    tool_duration(stamps ? d.max : w.max, c);
    printf("%s time: median %s, min %s, max %s (%zu runs)\n", stamps ? "device" : "wall", a, b, c, count);
}

int tool_timed(rapt_binding *binding, int64_t repeats, cJSON *json)
{
    const size_t count = (size_t)repeats;
    double *device = malloc(count * sizeof *device), *wall = malloc(count * sizeof *wall);
    rapt_error error = {0};
    rapt_status status = device && wall ? RAPT_OK : RAPT_ERROR_OUT_OF_HOST_MEMORY;
    for (size_t n = 0; n < count && status == RAPT_OK; n++)
        status = tool_submit(binding, &device[n], &wall[n], &error);
    if (status == RAPT_OK)
        tell(tool_figures_of(device, count), tool_figures_of(wall, count), count, json);
    free(device);
    free(wall);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}
