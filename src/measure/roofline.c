/* The two lines of the roofline: the best of the gauges that measure them. */
#include "measure/gauge.h"

#include <rapt/plan.h>
#include <stdio.h>
#include <string.h>

static bool is_flops(const rapt_gauge *g)
{
    return strcmp(g->info.group, "arithmetic") == 0 && g->variant == RAPT_ALU_COUNT_F32;
}

static bool is_read(const rapt_gauge *g)
{
    return strcmp(g->info.group, "memory") == 0 && g->variant == RAPT_STREAM_READ;
}

rapt_status rapt_device_measure_roofline(rapt_device *device, double seconds, rapt_roofline *roofline,
                                         rapt_error *error)
{
    if (device == NULL || roofline == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", device == NULL ? "device" : "roofline");
    if (roofline->struct_size < sizeof *roofline)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_roofline.struct_size is %u, expected %zu",
                         roofline->struct_size, sizeof *roofline);
    if (device->caps.no_execution)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s only compiles", device->caps.device_name);
    if (!(seconds > 0))
        seconds = 0.5;
    *roofline = (rapt_roofline){.struct_size = roofline->struct_size};
    rapt_gauge gauge;
    uint32_t eligible = 0;
    for (uint32_t i = 0; rapt_gauge_at(device, i, &gauge); i++)
        eligible += (is_flops(&gauge) || is_read(&gauge)) && gauge.info.refusal[0] == '\0';
    rapt_status status = RAPT_OK;
    for (uint32_t i = 0; status == RAPT_OK && rapt_gauge_at(device, i, &gauge); i++) {
        if (!(is_flops(&gauge) || is_read(&gauge)) || gauge.info.refusal[0] != '\0')
            continue;
        rapt_gauge_options options = {sizeof options, seconds / eligible, 20};
        rapt_gauge_result result = RAPT_GAUGE_RESULT_INIT;
        status = rapt_gauge_run(device, &gauge, &options, NULL, 0, &result, error);
        if (status != RAPT_OK)
            break;
        if (is_flops(&gauge)) {
            roofline->flops_per_second = RAPT_MAX(roofline->flops_per_second, result.best);
        } else if (result.best > roofline->read_bytes_per_second) {
            roofline->read_bytes_per_second = result.best;
            roofline->read_bytes = gauge.info.bytes;
            snprintf(roofline->read_kernel, sizeof roofline->read_kernel, "%s", gauge.info.kernel);
        }
    }
    return status;
}
