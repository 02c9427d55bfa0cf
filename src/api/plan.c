/* Plans for devices: making, preparing, destroying. */
#include "api/api.h"

#include "compiler/compiler.h"
#include "compiler/user.h"
#include "plan/combine.h"
#include "op/record.h"

#include <stdio.h>
#include <string.h>

/* A plan that may be refused: *plan is then still there, for explain. */
static rapt_status plan_or_refusal(rapt_device *device, const rapt_caps *caps, const rapt_attention_desc *desc,
                                   const rapt_verdicts *verdicts, rapt_plan **out, rapt_error *error)
{
    rapt_problem problem;
    *out = NULL;
    rapt_status status = rapt_attention_problem(desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    rapt_plan *plan;
    status = rapt_plan_begin(device, &plan, error);
    if (status != RAPT_OK)
        return status;
    if (desc->tile_lists == RAPT_TILE_LISTS_CHOOSE && !problem.blocks && !rapt_lists_fit(&problem, caps))
        problem.mask_tiles = false;
    const rapt_user_operands operands = {problem.varlen || problem.ragged, rapt_problem_has_extra_operand(&problem) || problem.bias,
                                         problem.bias};
    status = rapt_user_code_make(&plan->allocator, desc, operands, &plan->user_code, error);
    const rapt_compiler_api *compiler;
    if (status == RAPT_OK && plan->user_code != NULL && device != NULL) {
        status = rapt_runtime_compiler(device->runtime, &compiler, error);
        if (status != RAPT_OK)
            rapt_fail_prefix(error, status, "score_mod and mask_mod");
    }
    if (status != RAPT_OK) {
        rapt_plan_destroy(&plan);
        return status;
    }
    if (plan->user_code != NULL) {
        problem.user_code = plan->user_code->hash;
        problem.mask_by_batch = plan->user_code->mask_by_batch;
        problem.mask_by_head = plan->user_code->mask_by_head;
    }
    *out = plan;
    return rapt_plan_make(plan, &problem, caps, rapt_kernels(), verdicts, error);
}

rapt_status rapt_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_attention_desc *desc,
                          const rapt_verdicts *verdicts, rapt_plan **plan, rapt_error *error)
{
    rapt_status status = plan_or_refusal(device, caps, desc, verdicts, plan, error);
    if (status != RAPT_OK)
        rapt_plan_destroy(plan);
    return status;
}

rapt_status rapt_linear_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_linear_desc *desc,
                                 const rapt_verdicts *verdicts, rapt_plan **out, rapt_error *error)
{
    rapt_linear_problem problem;
    *out = NULL;
    rapt_status status = rapt_linear_problem_make(desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_plan_begin(device, out, error);
    if (status != RAPT_OK)
        return status;
    rapt_plan *plan = *out;
    if (problem.position_count != 0) { /* the app's may be gone when the plan is made again */
        plan->positions = rapt_calloc(&plan->allocator, problem.position_count, sizeof *plan->positions);
        if (plan->positions == NULL) {
            rapt_plan_destroy(out);
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u positions", problem.position_count);
        }
        memcpy(plan->positions, problem.positions, problem.position_count * sizeof *plan->positions);
        problem.positions = plan->positions;
        plan->outer = problem;
    }
    status = rapt_user_feature_make(&plan->allocator, desc->feature_map, &plan->user_code, error);
    if (status == RAPT_OK && plan->user_code != NULL) {
        const rapt_compiler_api *compiler;
        plan->user_hash = plan->user_code->hash;
        status = device ? rapt_runtime_compiler(device->runtime, &compiler, error) : RAPT_OK;
        if (status != RAPT_OK)
            rapt_fail_prefix(error, status, "feature_map");
    }
    if (status == RAPT_OK)
        status = rapt_linear_plan_make(plan, &problem, caps, rapt_kernels(), verdicts, error);
    if (status != RAPT_OK)
        rapt_plan_destroy(out);
    return status;
}

rapt_status rapt_route_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_route_desc *desc,
                                const rapt_verdicts *verdicts, rapt_plan **out, rapt_error *error)
{
    rapt_route_problem problem;
    *out = NULL;
    rapt_status status = rapt_route_problem_make(desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_plan_begin(device, out, error);
    if (status != RAPT_OK)
        return status;
    rapt_plan *plan = *out;
    status = rapt_route_plan_make(plan, &problem, caps, rapt_kernels(), verdicts, error);
    if (status != RAPT_OK)
        rapt_plan_destroy(out);
    return status;
}

rapt_status rapt_scan_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_scan_desc *desc,
                               const rapt_verdicts *verdicts, rapt_plan **out, rapt_error *error)
{
    rapt_scan_problem problem;
    *out = NULL;
    rapt_status status = rapt_scan_problem_make(desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_plan_begin(device, out, error);
    if (status != RAPT_OK)
        return status;
    rapt_plan *plan = *out;
    status = rapt_scan_plan_make(plan, &problem, caps, rapt_kernels(), verdicts, error);
    if (status != RAPT_OK)
        rapt_plan_destroy(out);
    return status;
}

rapt_status rapt_rows_plan_new(rapt_device *device, const rapt_caps *caps, const rapt_rows_desc *desc,
                               const rapt_verdicts *verdicts, rapt_plan **out, rapt_error *error)
{
    rapt_rows_problem problem;
    *out = NULL;
    rapt_status status = rapt_rows_problem_make(desc, &problem, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_plan_begin(device, out, error);
    if (status != RAPT_OK)
        return status;
    rapt_plan *plan = *out;
    status = rapt_rows_plan_make(plan, &problem, caps, rapt_kernels(), verdicts, error);
    if (status != RAPT_OK)
        rapt_plan_destroy(out);
    return status;
}

rapt_status rapt_plan_owned(rapt_status status, rapt_plan **plan)
{
    if (status == RAPT_OK)
        (*plan)->own = true;
    return status;
}

rapt_status rapt_attention_plan(rapt_device *device, const rapt_attention_desc *desc, rapt_plan **plan,
                                rapt_error *error)
{
    rapt_status status = rapt_check_plan_device(device, plan, error);
    if (status != RAPT_OK)
        return status;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    status = rapt_plan_owned(rapt_plan_new(device, &device->caps, desc, &verdicts, plan, error), plan);
    if (status == RAPT_OK) {
        (*plan)->recorded = rapt_record_takes(&(*plan)->problem);
        (*plan)->record_key = rapt_record_key(&(*plan)->problem);
    }
    return status;
}

rapt_status rapt_attention_plan_for_caps(const rapt_caps *caps, const rapt_attention_desc *desc, rapt_plan **plan,
                                         rapt_error *error)
{
    const rapt_status status = rapt_check_plan_caps(caps, plan, error);
    return status == RAPT_OK ? rapt_plan_new(NULL, caps, desc, NULL, plan, error) : status;
}

size_t rapt_explain_refusal(rapt_device *device, const rapt_attention_desc *desc, rapt_text_format format,
                            char *buffer, size_t capacity)
{
    if (device == NULL)
        return 0;
    rapt_plan *plan;
    rapt_error error = {0};
    rapt_verdicts verdicts = rapt_device_verdicts(device);
    rapt_status status = plan_or_refusal(device, &device->caps, desc, &verdicts, &plan, &error);
    size_t needed;
    if (plan == NULL) { /* not even a problem: the message is all there is */
        rapt_text text = rapt_text_over(buffer, capacity);
        if (format == RAPT_JSON) {
            rapt_text_add(&text, "{\"refused\":");
            rapt_text_add_json(&text, error.message);
            rapt_text_add(&text, "}");
        } else {
            rapt_text_add(&text, "refused  %s\n", error.message);
        }
        return text.length + 1;
    }
    needed = rapt_plan_explain_to(plan, format, status == RAPT_OK ? NULL : error.message, buffer, capacity);
    rapt_plan_destroy(&plan);
    return needed;
}

void rapt_plan_destroy(rapt_plan **pointer)
{
    if (pointer == NULL || *pointer == NULL)
        return;
    rapt_plan *plan = *pointer;
    rapt_allocator a = plan->allocator;
    if (plan->kernels != NULL)
        rapt_free(&a, plan->kernels, RAPT_MAX_PIPELINES * sizeof *plan->kernels);
    rapt_plan_clear(plan);
    rapt_user_code_free(&plan->user_code);
    if (plan->positions != NULL)
        rapt_free(&a, plan->positions, plan->outer.position_count * sizeof *plan->positions);
    rapt_free(&a, plan, sizeof *plan);
    *pointer = NULL;
}

rapt_status rapt_plan_compile(rapt_plan *plan, rapt_kernel **failed, rapt_error *error)
{
    if (plan->kernels == NULL)
        plan->kernels = rapt_calloc(&plan->allocator, RAPT_MAX_PIPELINES, sizeof *plan->kernels);
    if (plan->kernels == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the plan's kernels");
    *failed = NULL;
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        rapt_kernel *kernel = rapt_kernel_find(plan->device, &plan->pipelines[i]);
        if (kernel == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a kernel");
        rapt_status status = rapt_kernel_compile(plan->device, kernel, plan->pipelines[i].user, error);
        if (status != RAPT_OK) {
            *failed = kernel;
            return status;
        }
        plan->kernels[i] = kernel;
    }
    return RAPT_OK;
}

/* The first of the plan's kernels with this verdict, or NULL. */
static rapt_kernel *kernel_with(const rapt_plan *plan, rapt_verdict_kind verdict)
{
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        rapt_kernel *kernel = rapt_kernel_find(plan->device, &plan->pipelines[i]);
        if (plan->pipelines[i].form != 0) { /* its own verdict is bad or none */
            if (kernel != NULL && verdict == RAPT_VERDICT_BAD && rapt_kernel_verdict(plan->device, kernel) == verdict)
                return kernel;
            kernel = rapt_kernel_probed(plan->device, &plan->pipelines[i]);
        }
        if (kernel != NULL && rapt_kernel_verdict(plan->device, kernel) == verdict)
            return kernel;
    }
    return NULL;
}

/* Plans the same problem again with what has been learnt. */
static rapt_status plan_again(rapt_plan *plan, rapt_error *error)
{
    rapt_device *device = plan->device;
    rapt_problem problem = plan->problem;
    const rapt_route_problem route = plan->route;
    const rapt_rows_problem rows = plan->rows;
    const rapt_scan_problem scan = plan->scan;
    const rapt_combine_problem combine = plan->combine;
    const rapt_memory_problem memory = plan->memory;
    const rapt_linear_problem linear = plan->outer;
    uint32_t generation = plan->generation + 1;
    rapt_verdicts verdicts = rapt_device_verdicts(device);
    rapt_plan_clear(plan);
    plan->generation = generation;
    plan->pipeline_count = 0;
    rapt_status status =
        plan->op == RAPT_OP_LINEAR
            ? rapt_linear_plan_make(plan, &linear, &device->caps, rapt_kernels(), &verdicts, error)
        : plan->op == RAPT_OP_ROUTE
            ? rapt_route_plan_make(plan, &route, &device->caps, rapt_kernels(), &verdicts, error)
        : plan->op == RAPT_OP_ROWS
            ? rapt_rows_plan_make(plan, &rows, &device->caps, rapt_kernels(), &verdicts, error)
        : plan->op == RAPT_OP_SCAN
            ? rapt_scan_plan_make(plan, &scan, &device->caps, rapt_kernels(), &verdicts, error)
        : plan->op == RAPT_OP_MEMORY
            ? rapt_memory_plan_make(plan, &memory, &device->caps, rapt_kernels(), &verdicts, error)
        : plan->op == RAPT_OP_COMBINE
            ? rapt_combine_plan_make(plan, &combine, &device->caps, rapt_kernels(), &verdicts, error)
            : rapt_plan_make(plan, &problem, &device->caps, rapt_kernels(), &verdicts, error);
    plan->refused = status != RAPT_OK;
    return status;
}

static bool is_probed(const rapt_device *device)
{
    return !device->no_probe && !device->caps.no_execution;
}

/* One attempt: compiles, probes what is unknown. *bad: a kernel failed and has been noted. */
static rapt_status prepare_once(rapt_plan *plan, rapt_kernel **bad, rapt_error *error)
{
    rapt_device *device = plan->device;
    *bad = kernel_with(plan, RAPT_VERDICT_BAD);
    if (*bad != NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "kernel '%s' is refused on this device and driver: %s",
                         (*bad)->row->name, (*bad)->reason);
    rapt_kernel *failed;
    rapt_error why = {0};
    rapt_status status = rapt_plan_compile(plan, &failed, &why);
    if (status == RAPT_ERROR_COMPILE && failed != NULL) {
        rapt_kernel_note(device, failed, RAPT_VERDICT_BAD, failed->form == 0, why.message); /* another compiler may do */
        *bad = failed;
        if (failed->form != 0 && strstr(why.message, RAPT_EXTENSION_UNKNOWN) != NULL) {
            const rapt_error compiler = why;
            status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED, "kernel '%s' cannot take code of an app: librapt_compiler's glslang is too old for it (%.160s)",
                               failed->row->name, compiler.message);
        }
    }
    if (status != RAPT_OK) {
        if (error != NULL)
            *error = why;
        return status;
    }
    if (!is_probed(device) || kernel_with(plan, RAPT_VERDICT_UNKNOWN) == NULL)
        return RAPT_OK;
    status = rapt_probe_plan(plan, error);
    if (status != RAPT_OK)
        return status;
    *bad = kernel_with(plan, RAPT_VERDICT_BAD);
    if (*bad != NULL)
        return rapt_fail(error, RAPT_ERROR_WRONG_RESULT, "kernel '%s' failed on this device and driver: %s",
                         (*bad)->row->name, (*bad)->reason);
    return RAPT_OK;
}

rapt_status rapt_plan_prepare(rapt_plan *plan, rapt_error *error)
{
    if (plan == NULL || plan->device == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, plan == NULL ? "plan is NULL" : "the plan was made without a device");
    if (plan->prepared)
        return RAPT_OK;
    rapt_status status = rapt_device_alive(plan->device, error);
    if (status != RAPT_OK)
        return status;
    if (plan->refused) {
        status = plan_again(plan, error);
        if (status != RAPT_OK)
            return status;
    }
    rapt_kernel *bad;
    rapt_error why = {0};
    /* Each round takes a row out of the running, so this ends. */
    while ((status = prepare_once(plan, &bad, &why)) != RAPT_OK) {
        if (bad == NULL || (plan->problem.kernel[0] != 0 && bad->row->family != RAPT_FAMILY_MERGE)) {
            if (error != NULL)
                *error = why;
            return status;
        }
        rapt_log_write(&plan->device->runtime->log, RAPT_LOG_WARNING, "kernel %s is out: %s", bad->row->name,
                       bad->reason);
        status = plan_again(plan, error);
        if (status != RAPT_OK)
            return status;
    }
    plan->prepared = true;
    return RAPT_OK;
}

rapt_status rapt_kernel_statistics(rapt_plan *plan, rapt_text_format format, uint32_t internal, char *buffer,
                                   size_t capacity, size_t *needed, rapt_error *error)
{
    if (plan == NULL || plan->device == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, plan == NULL ? "plan is NULL" : "the plan was made without a device");
    rapt_text text = rapt_text_over(buffer, capacity);
    bool json = format == RAPT_JSON;
    if (json)
        rapt_text_add(&text, "[");
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        if (json && i > 0)
            rapt_text_add(&text, ",");
        rapt_status status =
            rapt_kernel_driver_text(plan->device, &plan->pipelines[i], format, internal != 0, &text, error);
        if (status != RAPT_OK)
            return status;
    }
    if (json)
        rapt_text_add(&text, "]");
    if (needed != NULL)
        *needed = text.length + 1;
    return RAPT_OK;
}
