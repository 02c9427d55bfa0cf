/* The known-answer probe of rows that are rewritten as they are placed in a cache. */
#include "api/api.h"

#include "api/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Rows of more than one block, the last one cut, into pages in no order; one row names no slot. */
enum { M = 5, D = 40, PAGES = 2, PAGE = 3, SLOTS = PAGES * PAGE, ROW_BYTES = 4 * (D + 8) };
static const int32_t slots_of_rows[M] = {4, 0, -1, 5, 1};
static const int32_t positions[M] = {0, 3, 8, -2, 100000};

/* What is in the buffers. */
enum { X, LIST, WEIGHT, POSITIONS, OUT, BUFFERS };

typedef struct probe {
    rapt_rows_desc desc;
    double x[M][D];
    float weights[D];
    uint8_t rows[M * ROW_BYTES], out[SLOTS * ROW_BYTES];
    rapt_buffer *buffer[BUFFERS];
    rapt_binding *binding;
    bool submitted;
} probe;

static void make_probe(const rapt_plan *plan, probe *r)
{
    const rapt_rows_problem *p = &plan->rows;
    const bool weighted = p->tensor[RAPT_M_NORM_WEIGHT].present;
    const int64_t width = p->format ? (int64_t)rapt_quantised_words(p->format, D) : D + !plan->aligned;
    rapt_rows_desc *d = &r->desc;
    *d = (rapt_rows_desc)RAPT_ROWS_DESC_INIT;
    d->kind = RAPT_ROWS_PLACE;
    d->x = rapt_tensor_bhnd(p->dtype, 1, 1, M, D);
    d->out = rapt_tensor_bhnd(p->format ? p->format : p->dtype, PAGES, 1, PAGE, (uint64_t)width);
    d->out.size[3] = p->format ? (uint64_t)width : D;
    d->out.align = plan->aligned ? 16 : 4;
    d->list = (rapt_tensor){.dtype = RAPT_I32, .rank = 3, .size = {1, 1, M}, .stride = {M, M, 1}};
    d->flags = (p->norm ? RAPT_ROWS_NORM : 0) | (p->rope_interleaved ? RAPT_ROWS_ROPE_INTERLEAVED : 0);
    d->norm_epsilon = p->norm ? 0.0625f : 0.0f;
    if (weighted)
        d->norm_weight = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {D}, .stride = {1}};
    if (p->rope_dim > 0) {
        d->rope_base = 100.0;
        d->rope_dim = D - 4;
        d->positions = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {1, M}, .stride = {M, 1}};
    }
    uint32_t seed = 9;
    for (int i = 0; i < M; i++)
        for (int e = 0; e < D; e++) {
            const float number = rapt_number_next(&seed);
            r->x[i][e] = (double)number;
            rapt_number_put(r->rows + (i * D + e) * (int)rapt_dtype_size(p->dtype), p->dtype, number);
        }
    for (int e = 0; e < D; e++)
        r->weights[e] = rapt_number_next(&seed) + 1.5f;
    memset(r->out, 0xff, sizeof r->out);
}

/* Row i as it is to be stored, but for its rounding. */
static void rewrite(const rapt_rows_desc *d, const probe *r, int i, double *y)
{
    const bool interleaved = d->flags & RAPT_ROWS_ROPE_INTERLEAVED;
    const uint32_t half = d->rope_dim / 2;
    double squares = 0;
    for (int e = 0; e < D; e++)
        squares += r->x[i][e] * r->x[i][e];
    for (int e = 0; e < D; e++) {
        y[e] = r->x[i][e] / (d->flags & RAPT_ROWS_NORM ? sqrt(squares / D + (double)d->norm_epsilon) : 1);
        y[e] *= d->norm_weight.dtype ? (double)r->weights[e] : 1;
    }
    for (uint32_t n = 0; n < half; n++) {
        double *a = &y[interleaved ? 2 * n : n], *b = &y[interleaved ? 2 * n + 1 : n + half];
        const double angle = positions[i] * pow(d->rope_base, -2.0 * n / d->rope_dim), first = *a;
        *a = first * cos(angle) - *b * sin(angle);
        *b = *b * cos(angle) + first * sin(angle);
    }
}

/* The worst error of a row at `row`, as a share of what is allowed; quantised: half a step, and as much again
 * for a device's own division. */
static double row_error(const rapt_rows_desc *d, const uint8_t *row, const double *want)
{
    const rapt_dtype dtype = d->out.dtype;
    const uint32_t size = rapt_dtype_size(dtype);
    const bool quantised = rapt_dtype_is_quantised(dtype);
    double worst = 0;
    for (int e = 0; e < D; e++) {
        double largest = 0;
        for (int i = e / RAPT_QUANTISED_BLOCK * RAPT_QUANTISED_BLOCK;
             i < D && i < (e / RAPT_QUANTISED_BLOCK + 1) * RAPT_QUANTISED_BLOCK; i++)
            largest = fmax(largest, fabs(want[i]));
        const double steps = dtype == RAPT_INT8 ? 127 : dtype == RAPT_INT4 ? 7 : 16;
        const double unit = dtype == RAPT_F32 ? 0x1p-16 : dtype == RAPT_F16 ? 0x1p-10 : 0x1p-7;
        const double allowed =
            dtype == RAPT_FP8 ? fmax(fabs(want[e]) / steps, largest / 448 / 1024) * 1.01 + largest * 0x1p-16
            : quantised       ? largest / steps * 0.501
                              : unit * (1 + fabs(want[e]));
        const double got = quantised ? rapt_quantised_get(row, dtype, D, (uint64_t)e)
                                     : rapt_number_get(row + (uint32_t)e * size, dtype);
        const double error = fabs(got - want[e]) / allowed;
        worst = fmax(worst, error == error ? error : INFINITY);
    }
    return worst;
}

static double worst_error(const probe *r)
{
    const rapt_rows_desc *d = &r->desc;
    const uint32_t size = rapt_dtype_size(d->out.dtype);
    double worst = 0;
    for (int slot = 0; slot < SLOTS; slot++) {
        const uint8_t *row =
            r->out +
            ((int64_t)(slot / PAGE) * d->out.stride[0] + (int64_t)(slot % PAGE) * d->out.stride[2]) * size;
        int from = M;
        for (int i = 0; i < M; i++)
            from = slots_of_rows[i] == slot ? i : from;
        for (uint64_t byte = 0; from == M && byte < d->out.size[3] * size; byte++)
            worst = row[byte] == 0xff ? worst : INFINITY; /* what was there */
        double want[D];
        if (from < M) {
            rewrite(d, r, from, want);
            worst = fmax(worst, row_error(d, row, want));
        }
    }
    return worst;
}

static rapt_status run_probe(probe *r, rapt_plan *plan, double *share, rapt_error *error)
{
    const void *const data[BUFFERS] = {r->rows, slots_of_rows, r->weights, positions, r->out};
    const uint64_t bytes[BUFFERS] = {sizeof r->rows, sizeof slots_of_rows, sizeof r->weights,
                                     sizeof positions, sizeof r->out};
    rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
    rapt_slot *const slots[BUFFERS] = {&args.x, &args.list, &args.norm_weight, &args.positions, &args.out};
    rapt_status status = RAPT_OK;
    for (int n = 0; n < BUFFERS && status == RAPT_OK; n++) {
        status = rapt_buffer_create(plan->device, bytes[n], &r->buffer[n], error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(r->buffer[n], 0, data[n], bytes[n], error);
        slots[n]->buffer = r->buffer[n];
    }
    if (status == RAPT_OK)
        status = rapt_rows_bind(plan, &args, &r->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(r->binding, error);
    r->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(plan->device, r->binding, error);
    if (status == RAPT_OK)
        status = rapt_buffer_download(r->buffer[OUT], 0, r->out, sizeof r->out, error);
    if (status == RAPT_OK)
        *share = worst_error(r);
    return status;
}

rapt_status rapt_probe_place(rapt_plan *plan, rapt_error *error)
{
    rapt_device *device = plan->device;
    const rapt_plan_pipeline *pipeline = &plan->pipelines[0];
    const rapt_verdicts verdicts = rapt_device_verdicts(device);
    probe r = {.submitted = false};
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    rapt_error why = {0};
    double share = 0;
    char reason[160] = "";
    make_probe(plan, &r);
    rapt_status status = rapt_rows_plan_new(device, &device->caps, &r.desc, &verdicts, &small, &why);
    if (status == RAPT_OK &&
        (small->pipelines[0].row != pipeline->row ||
         memcmp(small->pipelines[0].constants, pipeline->constants, sizeof pipeline->constants) != 0))
        status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED,
                           "the probe of kernel '%s' does not reach its constants", pipeline->row->name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_probe(&r, small, &share, &why);
    }
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (r.binding == NULL || rapt_wait(r.binding, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT ||
        atomic_load(&device->hung)) {
        rapt_binding_destroy(&r.binding);
        for (int n = 0; n < BUFFERS; n++)
            rapt_buffer_destroy(&r.buffer[n]);
    }
    rapt_plan_destroy(&small);
    if (rapt_probe_ended(plan, r.submitted, &status, &why, error))
        return status;
    if (share > 1)
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
    rapt_probe_note(plan, 0, share <= 1 ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true, reason);
    return RAPT_OK;
}
