/* The device's own peaks, measured with kernels of family "peak" on hand-made plans. */
#include "api/api.h"

#include "common/attention_params.h"
#include <stdio.h>
#include <string.h>

#define READ_WINDOW (64ull << 20) /* bytes a step reads */
#define READ_WINDOWS 4
#define LOCAL_SIZE 64
#define GROUPS 1024          /* workgroups of a step */
#define LONGEST_RUN_NS 20e6 /* runs grow until they take this long, and no longer */

/* One measuring kernel with its buffers. */
typedef struct gauge {
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *source, *sums;
} gauge;

static const rapt_kernel_row *find_row(const char *name)
{
    const rapt_kernel_table *table = rapt_kernels();
    for (uint32_t i = 0; i < table->row_count; i++)
        if (strcmp(table->rows[i].name, name) == 0)
            return &table->rows[i];
    return NULL;
}

static uint32_t constant(const rapt_kernel_row *row, const char *name)
{
    for (uint32_t i = 0; i < row->constant_count; i++)
        if (strcmp(row->constants[i].name, name) == 0)
            return row->constants[i].value;
    return 1;
}

static void close_gauge(gauge *g)
{
    rapt_binding_destroy(&g->binding);
    rapt_plan_destroy(&g->plan);
    rapt_buffer_destroy(&g->source);
    rapt_buffer_destroy(&g->sums);
}

/* A plan of `steps` dispatches of one row, each with its own window of `window` bytes of the source (0: none). */
static rapt_status make_plan(rapt_device *device, const rapt_kernel_row *row, uint32_t steps, uint64_t window,
                             uint32_t rounds, rapt_plan **out, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    rapt_plan *plan = rapt_calloc(a, 1, sizeof *plan);
    *out = plan;
    if (plan == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->allocator = *a;
    plan->device = device;
    plan->problem.dtype = RAPT_F32;
    rapt_arena_init(&plan->arena, &plan->allocator);
    plan->steps = rapt_calloc(a, steps, sizeof *plan->steps);
    if (plan->steps == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a plan");
    plan->step_count = plan->step_capacity = steps;
    plan->slice_count = plan->phase_count = plan->pipeline_count = 1;
    plan->pipelines[0].row = row;
    for (uint32_t i = 0; i < row->constant_count; i++)
        plan->pipelines[0].constants[i] = row->constants[i].value;
    rapt_attention_params params = {.scale_log2 = 1.0f};
    memcpy(plan->params, &params, sizeof params);
    plan->params_bytes = sizeof params;
    for (uint32_t i = 0; i < steps; i++) {
        rapt_step *step = &plan->steps[i];
        rapt_attention_push push = {.rows = rounds};
        memcpy(step->push, &push, sizeof push);
        step->groups[0] = GROUPS;
        step->groups[1] = step->groups[2] = 1;
        for (uint32_t k = 0; k < row->operand_count; k++)
            step->windows[k] = row->operands[k].role == RAPT_ROLE_K
                                   ? (rapt_window){i * window, window}
                                   : (rapt_window){0, GROUPS * LOCAL_SIZE * 4ull};
    }
    rapt_kernel *failed;
    rapt_status status = rapt_plan_compile(plan, &failed, error);
    plan->prepared = status == RAPT_OK;
    return status;
}

static rapt_status open_gauge(rapt_device *device, const rapt_kernel_row *row, uint32_t steps, uint64_t window,
                              uint32_t rounds, gauge *g, rapt_error *error)
{
    rapt_bound bound[RAPT_ROLE_COUNT] = {{NULL, 0}};
    rapt_status status = make_plan(device, row, steps, window, rounds, &g->plan, error);
    if (status == RAPT_OK && g->sums == NULL)
        status = rapt_buffer_create(device, GROUPS * LOCAL_SIZE * 4ull, &g->sums, error);
    if (status == RAPT_OK && window != 0 && g->source == NULL) {
        status = rapt_buffer_create(device, steps * window, &g->source, error);
        if (status == RAPT_OK) /* memory that was never written may not be there */
            status = rapt_buffer_fill(g->source, 0, steps * window, 0x3f800000u, error);
    }
    bound[RAPT_ROLE_OUT].buffer = g->sums;
    bound[RAPT_ROLE_K].buffer = g->source;
    if (status == RAPT_OK)
        status = rapt_binding_create(device, g->plan, bound, &g->binding, error);
    return status;
}

/* Nanoseconds of one run. */
static rapt_status run(gauge *g, double *ns, rapt_error *error)
{
    uint64_t begin = rapt_now_ns();
    rapt_status status = rapt_submit(g->binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(g->binding, UINT64_MAX, error);
    rapt_timing timing;
    rapt_binding_timing(g->binding, &timing);
    *ns = timing.device_ns > 0 ? timing.device_ns : (double)(rapt_now_ns() - begin);
    return status;
}

/* The shortest of the runs that fit into `seconds`, at least 3. The first, which may compile, does not count. */
static rapt_status best_run(gauge *g, double seconds, double *best, rapt_error *error)
{
    uint64_t end = 0;
    rapt_status status = RAPT_OK;
    *best = 0;
    for (int i = 0; status == RAPT_OK && (i < 4 || rapt_now_ns() < end); i++) {
        double ns;
        status = run(g, &ns, error);
        if (i == 0)
            end = rapt_now_ns() + (uint64_t)(seconds * 1e9);
        else if (ns > 0 && (*best == 0 || ns < *best))
            *best = ns;
    }
    return status;
}

static rapt_status measure_flops(rapt_device *device, double seconds, rapt_roofline *out, rapt_error *error)
{
    const rapt_kernel_row *row = find_row("peak-fma-f32");
    if (row == NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "kernel 'peak-fma-f32' is not built in");
    double per_round = 2.0 * GROUPS * LOCAL_SIZE * constant(row, "CHAINS") * constant(row, "STEPS");
    rapt_status status = RAPT_OK;
    for (uint32_t rounds = 1; status == RAPT_OK; rounds *= 4) {
        gauge g = {0};
        double ns = 0;
        status = open_gauge(device, row, 1, 0, rounds, &g, error);
        if (status == RAPT_OK)
            status = best_run(&g, 0, &ns, error);
        bool grown = ns > LONGEST_RUN_NS / 4 || rounds >= 1u << 20;
        if (status == RAPT_OK && grown)
            status = best_run(&g, seconds, &ns, error);
        if (status == RAPT_OK && ns > 0)
            out->flops_per_second = RAPT_MAX(out->flops_per_second, per_round * rounds / (ns * 1e-9));
        close_gauge(&g);
        if (grown)
            break;
    }
    return status;
}

static rapt_status measure_read(rapt_device *device, const char *name, double seconds, rapt_roofline *out,
                                rapt_error *error)
{
    const rapt_kernel_row *row = find_row(name);
    if (row == NULL || (row->features & ~device->caps.features) != 0)
        return RAPT_OK;
    /* A window is GROUPS * LOCAL_SIZE * rounds vec4, rounds a multiple of 8. */
    uint64_t unit = GROUPS * LOCAL_SIZE * 16ull * 8;
    uint64_t limit = RAPT_MIN(READ_WINDOW, rapt_window_limit(&device->caps, (rapt_operand_kind)row->operands[0].kind));
    limit = RAPT_MIN(limit, device->caps.device_heap / 16);
    uint64_t window = limit / unit * unit;
    if (window == 0)
        return RAPT_OK;
    gauge g = {0};
    double ns = 0;
    rapt_status status = open_gauge(device, row, READ_WINDOWS, window, (uint32_t)(window / (GROUPS * LOCAL_SIZE * 16ull)),
                                    &g, error);
    if (status == RAPT_OK)
        status = best_run(&g, seconds, &ns, error);
    close_gauge(&g);
    double rate = ns > 0 ? (double)(READ_WINDOWS * window) / (ns * 1e-9) : 0;
    if (status == RAPT_OK && rate > out->read_bytes_per_second) {
        out->read_bytes_per_second = rate;
        out->read_bytes = READ_WINDOWS * window;
        snprintf(out->read_kernel, sizeof out->read_kernel, "%s", name);
    }
    return status;
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
    rapt_status status = measure_flops(device, seconds / 3, roofline, error);
    if (status == RAPT_OK)
        status = measure_read(device, "peak-read-storage", seconds / 3, roofline, error);
    if (status == RAPT_OK)
        status = measure_read(device, "peak-read-texel", seconds / 3, roofline, error);
    return status;
}
