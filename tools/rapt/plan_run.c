#include "plan_run.h"

#include "args.h"
#include "tensor_file.h"

#include <inttypes.h>
#include <stdlib.h>

static int report_plan(plan_run *p)
{
    const rapt_plan_info *i = &p->info;
    char *text = p->explain || p->json ? tool_explain(p->plan, p->json ? RAPT_JSON : RAPT_TEXT) : NULL;
    if (!text && (p->explain || p->json))
        return tool_no_memory();
    if (p->json) {
        cJSON_AddItemToObject(p->json, "device", tool_caps_json(rapt_device_caps(p->device.device)));
        cJSON_AddStringToObject(p->json, "kernel", i->kernel);
        cJSON_AddNumberToObject(p->json, "dispatches", i->steps);
        cJSON_AddNumberToObject(p->json, "workspace_bytes", (double)i->workspace_bytes);
        cJSON_AddItemToObject(p->json, "explain", cJSON_Parse(text));
    } else {
        printf("kernel: %s, %s, workspace %" PRIu64 " bytes\n%s", i->kernel, i->precision, i->workspace_bytes,
               text ? text : "");
    }
    free(text);
    return TOOL_GOOD;
}

static int make_plan(plan_run *p, const plan_run_calls *calls, void *own)
{
    rapt_error error = {0};
    if (!calls->describe(own, &error))
        return tool_report(&error);
    int code = tool_kernel_known(p->kernel);
    if (code == TOOL_GOOD)
        code = tool_device_open(p->where, p->json != NULL, &p->device);
    if (code != TOOL_GOOD)
        return code;
    rapt_status status = calls->plan(own, &error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(p->plan, &error);
    if (status == RAPT_OK)
        status = rapt_plan_describe(p->plan, &p->info, &error);
    return status == RAPT_OK ? report_plan(p) : tool_status_error(status, &error);
}

static int compute(plan_run *p, const plan_run_calls *calls, void *own)
{
    rapt_error error = {0};
    double device_ns, wall_ns;
    rapt_status status = calls->bind(own, &error);
    if (status == RAPT_OK)
        status = tool_submit(p->binding, &device_ns, &wall_ns, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    const int code = calls->write(own);
    return code == TOOL_GOOD && p->repeats > 0 ? tool_timed(p->binding, p->repeats, p->json) : code;
}

int plan_run_all(plan_run *p, const char *time, bool json, const plan_run_calls *calls, void *own)
{
    rapt_error error = {0};
    p->info = (rapt_plan_info)RAPT_PLAN_INFO_INIT;
    if (time && !tool_integer("--time", time, 1, 1000000, &p->repeats, &error))
        return tool_report(&error);
    p->json = json ? cJSON_CreateObject() : NULL;
    if (json && !p->json)
        return tool_no_memory();
    int code = make_plan(p, calls, own);
    if (code == TOOL_GOOD)
        code = compute(p, calls, own);
    if (code == TOOL_GOOD && p->json) {
        cJSON *all = p->json;
        p->json = NULL;
        code = tool_json_print(all, NULL);
    }
    return code;
}

int plan_run_save(plan_run *p, const char *name, rapt_buffer *buffer, const rapt_tensor *t, const char *path)
{
    rapt_error error = {0};
    char shape[160];
    if (!tool_save(buffer, t, t->rank, t->size, path, &error))
        return tool_report(&error);
    tensor_file_shape(t->rank, t->size, shape, sizeof shape);
    if (p->json)
        cJSON_AddStringToObject(p->json, name, path);
    else
        printf("%s: %s, %s %s\n", name, path, t->dtype == RAPT_I32 ? "int32" : t->dtype == RAPT_F16 ? "float16" : "float32", shape);
    return TOOL_GOOD;
}

void plan_run_unbind(plan_run *p)
{
    rapt_binding_destroy(&p->binding);
}

void plan_run_close(plan_run *p)
{
    plan_run_unbind(p);
    rapt_plan_destroy(&p->plan);
    tool_device_close(&p->device);
    cJSON_Delete(p->json);
}
