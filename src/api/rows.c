/* Planning, probing and binding rows by index, and the one-call form. */
#include "api/api.h"

#include "api/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

rapt_status rapt_rows_plan(rapt_device *device, const rapt_rows_desc *desc, rapt_plan **plan, rapt_error *error)
{
    rapt_status status = rapt_check_plan_device(device, plan, error);
    if (status != RAPT_OK)
        return status;
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    return rapt_plan_owned(rapt_rows_plan_new(device, &device->caps, desc, &verdicts, plan, error), plan);
}

rapt_status rapt_rows_plan_for_caps(const rapt_caps *caps, const rapt_rows_desc *desc, rapt_plan **plan, rapt_error *error)
{
    const rapt_status status = rapt_check_plan_caps(caps, plan, error);
    return status == RAPT_OK ? rapt_rows_plan_new(NULL, caps, desc, NULL, plan, error) : status;
}

rapt_status rapt_rows_bind(rapt_plan *plan, const rapt_rows_args *args, rapt_binding **binding, rapt_error *error)
{
    rapt_status status = rapt_check_bind(plan, RAPT_OP_ROWS, "one of rows by index", args ? &args->struct_size : NULL, sizeof *args,
                                         "rapt_rows_args", binding, error);
    if (status != RAPT_OK)
        return status;
    const rapt_rows_tensor *t = plan->rows.tensor;
    const rapt_named_slot slots[] = {
        {"x", RAPT_ROLE_ROWS, &args->x, t[RAPT_M_X].bytes, t[RAPT_M_X].align, false},
        {"list", RAPT_ROLE_LIST, &args->list, t[RAPT_M_LIST].bytes, t[RAPT_M_LIST].align, false},
        {"weight", RAPT_ROLE_WEIGHT, &args->weight, t[RAPT_M_WEIGHT].bytes, t[RAPT_M_WEIGHT].align, false},
        {"norm_weight", RAPT_ROLE_NORM_WEIGHT, &args->norm_weight, t[RAPT_M_NORM_WEIGHT].bytes, t[RAPT_M_NORM_WEIGHT].align, false},
        {"positions", RAPT_ROLE_POSITIONS, &args->positions, t[RAPT_M_POSITIONS].bytes, t[RAPT_M_POSITIONS].align, false},
        {"out", RAPT_ROLE_OUT, &args->out, t[RAPT_M_OUT].bytes, t[RAPT_M_OUT].align, true},
    };
    rapt_bound bound[RAPT_ROLE_COUNT] = {{0}};
    status = rapt_bind_slots(plan, slots, RAPT_COUNT(slots), bound, error);
    if (status == RAPT_OK)
        status = rapt_check_bound_usage(plan, bound, error);
    return status == RAPT_OK ? rapt_binding_create(plan->device, plan, bound, binding, error) : status;
}

rapt_status rapt_rows_run(rapt_device *device, const rapt_rows_desc *desc, const rapt_rows_args *args, rapt_error *error)
{
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_status status = rapt_rows_plan(device, desc, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    if (status == RAPT_OK)
        status = rapt_rows_bind(plan, args, &binding, error);
    return rapt_run_once(status, &plan, &binding, error);
}

/* ---- the known-answer probe: numbers and weights that are exact, so that every bit must agree */

enum { N = 13, M = 8, RUNS = 2, RUN = M / RUNS, D = 8 };

typedef struct rows_case {
    rapt_rows_desc desc;
    uint8_t x[4 * N * (D + 1)], out[4 * N * (D + 1)];
    rapt_buffer *x_buffer, *list_buffer, *weight_buffer, *out_buffer;
    rapt_binding *binding;
    bool submitted;
} rows_case;

/* Two runs that rise; -1 ends the first, and both name row 4. */
static const int32_t entries[M] = {0, 4, 12, -1, 2, 4, 5, 11};
/* Of a cache of PAGES pages of 3 slots, 4 rows apart: one entry names none, one is beyond the last. */
enum { PAGES = 3, PAGE = 3, PAGE_ROWS = 4 };
static const int32_t slots_of_rows[M] = {0, 4, 8, -1, 2, 7, 5, PAGES * PAGE};
static const float weights[N] = {1, 2, 0.5f, 3, -1, 0.25f, 1, 1, 2, 1, 1, -2, 4};

static rapt_tensor rows_of(rapt_dtype dtype, uint64_t rows, bool aligned)
{
    const int64_t pitch = D + !aligned;
    return (rapt_tensor){.dtype = dtype,
                         .rank = 4,
                         .size = {1, 1, rows, D},
                         .stride = {(int64_t)rows * pitch, (int64_t)rows * pitch, pitch, 1},
                         .align = aligned ? 16 : 4};
}

static void make_case(const rapt_plan *plan, rows_case *c)
{
    const rapt_rows_problem *p = &plan->rows;
    const bool gathers = p->kind == RAPT_ROWS_GATHER;
    memset(c, 0, sizeof *c);
    c->desc = (rapt_rows_desc)RAPT_ROWS_DESC_INIT;
    c->desc.kind = (rapt_rows_kind)p->kind;
    c->desc.x = rows_of(p->dtype, gathers ? N : M, plan->aligned);
    c->desc.out = rows_of(p->dtype, gathers ? M : N, plan->aligned);
    if (p->kind == RAPT_ROWS_PLACE) {
        rapt_tensor *t = &c->desc.out;
        t->size[0] = PAGES;
        t->size[2] = PAGE;
        t->stride[0] = t->stride[1] = PAGE_ROWS * t->stride[2];
    }
    c->desc.list = (rapt_tensor){.dtype = RAPT_I32, .rank = 3, .size = {1, 1, M}, .stride = {M, M, 1}, .align = 4};
    if (p->tensor[RAPT_M_WEIGHT].present)
        c->desc.weight = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, 1, N}, .stride = {N, N, 1}, .align = 4};
    c->desc.runs = gathers || p->kind == RAPT_ROWS_PLACE ? 1 : RUNS;
    uint32_t seed = 5;
    memset(c->x, 0xff, sizeof c->x); /* NaN between the rows */
    for (uint64_t row = 0; row < c->desc.x.size[2]; row++)
        for (uint64_t e = 0; e < D; e++)
            rapt_number_put(c->x + (row * (uint64_t)c->desc.x.stride[2] + e) * rapt_dtype_size(p->dtype), p->dtype,
                            rapt_number_next(&seed));
}

static double x_of(const rows_case *c, uint64_t row, uint64_t e)
{
    return rapt_number_get(c->x + (row * (uint64_t)c->desc.x.stride[2] + e) * rapt_dtype_size(c->desc.x.dtype), c->desc.x.dtype);
}

static double expected(const rows_case *c, uint64_t row, uint64_t e)
{
    const bool weighted = c->desc.weight.dtype != RAPT_DTYPE_NONE;
    if (c->desc.kind == RAPT_ROWS_GATHER)
        return entries[row] < 0 ? 0 : x_of(c, (uint64_t)entries[row], e) * (weighted ? (double)weights[entries[row]] : 1);
    double sum = 0, count = 0;
    for (uint64_t i = 0; i < M; i++)
        if (entries[i] == (int32_t)row) {
            sum += x_of(c, i, e);
            count++;
        }
    if (c->desc.kind == RAPT_ROWS_SCATTER_MEAN && count > 0)
        sum /= count;
    return sum * (weighted ? (double)weights[row] : 1);
}

/* What row `row` of the cache's memory must hold; NaN: what was there. */
static double placed(const rows_case *c, uint64_t row, uint64_t e)
{
    for (uint64_t i = 0; i < M && row % PAGE_ROWS < PAGE; i++)
        if (slots_of_rows[i] == (int32_t)(row / PAGE_ROWS * PAGE + row % PAGE_ROWS))
            return x_of(c, i, e);
    return (double)NAN;
}

static bool is_right(const rows_case *c)
{
    const rapt_tensor *t = &c->desc.out;
    const bool places = c->desc.kind == RAPT_ROWS_PLACE;
    for (uint64_t row = 0; row < (places ? PAGES * PAGE_ROWS : t->size[2]); row++)
        for (uint64_t e = 0; e < D; e++) {
            const double got = rapt_number_get(c->out + (row * (uint64_t)t->stride[2] + e) * rapt_dtype_size(t->dtype), t->dtype);
            const double want = places ? placed(c, row, e) : expected(c, row, e);
            if (isnan(want) ? !isnan(got) : !(fabs(got - want) <= 0x1p-8 * fabs(want)))
                return false;
        }
    return true;
}

static rapt_status give(rapt_device *device, rapt_buffer **buffer, const void *data, uint64_t bytes, rapt_error *error)
{
    const rapt_status status = rapt_buffer_create(device, bytes, buffer, error);
    return status == RAPT_OK ? rapt_buffer_upload(*buffer, 0, data, bytes, error) : status;
}

static rapt_status run_case(rows_case *c, rapt_plan *small, rapt_error *error)
{
    rapt_device *device = small->device;
    memset(c->out, 0xff, sizeof c->out);
    rapt_status status = give(device, &c->x_buffer, c->x, sizeof c->x, error);
    if (status == RAPT_OK)
        status = give(device, &c->list_buffer, c->desc.kind == RAPT_ROWS_PLACE ? slots_of_rows : entries, sizeof entries, error);
    if (status == RAPT_OK)
        status = give(device, &c->weight_buffer, weights, sizeof weights, error);
    if (status == RAPT_OK)
        status = give(device, &c->out_buffer, c->out, sizeof c->out, error);
    rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
    args.x.buffer = c->x_buffer;
    args.list.buffer = c->list_buffer;
    args.weight.buffer = c->weight_buffer;
    args.out.buffer = c->out_buffer;
    if (status == RAPT_OK)
        status = rapt_rows_bind(small, &args, &c->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(c->binding, error);
    c->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, c->binding, error);
    return status == RAPT_OK ? rapt_buffer_download(c->out_buffer, 0, c->out, sizeof c->out, error) : status;
}

static void free_case(rows_case *c, rapt_device *device)
{
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (c->binding != NULL && rapt_wait(c->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) == RAPT_ERROR_TIMEOUT &&
        !atomic_load(&device->hung))
        return;
    rapt_binding_destroy(&c->binding);
    rapt_buffer_destroy(&c->x_buffer);
    rapt_buffer_destroy(&c->list_buffer);
    rapt_buffer_destroy(&c->weight_buffer);
    rapt_buffer_destroy(&c->out_buffer);
}

rapt_status rapt_probe_rows(rapt_plan *plan, rapt_error *error)
{
    if (plan->rows.rewrites)
        return rapt_probe_place(plan, error);
    rapt_device *device = plan->device;
    const rapt_plan_pipeline *pipeline = &plan->pipelines[0];
    rows_case c;
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    rapt_error why = {0};
    make_case(plan, &c);
    const rapt_verdicts verdicts = rapt_device_verdicts(device); /* what is refused is refused here too */
    rapt_status status = rapt_rows_plan_new(device, &device->caps, &c.desc, &verdicts, &small, &why);
    if (status == RAPT_OK && (small->pipelines[0].row != pipeline->row ||
                              memcmp(small->pipelines[0].constants, pipeline->constants, sizeof pipeline->constants) != 0))
        status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED, "the probe of kernel '%s' does not reach its constants",
                           pipeline->row->name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    bool right = false;
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_case(&c, small, &why);
        free_case(&c, device);
        right = status == RAPT_OK && is_right(&c);
    }
    rapt_plan_destroy(&small);
    if (rapt_probe_ended(plan, c.submitted, &status, &why, error))
        return status;
    rapt_probe_note(plan, 0, right ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true,
                    right ? "" : "its known-answer probe gave wrong rows");
    return RAPT_OK;
}
