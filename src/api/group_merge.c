/* Parts over different keys become one attention: a second piece of work for the pool, made of combining steps. */
#include "api/group.h"

#include "op/copy.h"
#include <rapt/combine.h>

#include <math.h>
#include <string.h>

#define UNIT_BYTES (1u << 20) /* of the parts' rows of one unit, about */
#define MOST_STEPS (RAPT_GROUP_PARTS / 2 + 1)

/* Tensors of a run on its device, in places that the call's parts no longer need. The sums between steps lie twice: each step
 * reads one and writes the other. */
enum { PARTS, PARTS_LSE, SUMS, SUMS_LSE, OUT, OUT_LSE, TENSORS };

/* Read-only while runs are under way. */
struct rapt_group_merge {
    rapt_group *group;
    uint32_t parts;
    rapt_tensor out, lse; /* the app's */
    void *out_data, *lse_data;
    rapt_tensor part, part_lse; /* one part's */
    char *x;                    /* (parts, rows, d) of part.dtype */
    float *x_lse;               /* (parts, rows) */
    uint64_t rows, d;
    uint64_t per_unit; /* rows of a unit */
};

typedef struct run {
    const rapt_group_merge *m;
    rapt_group_seat *seat;
    rapt_device *device;
    uint64_t first, rows;
    rapt_plan *middle, *last; /* sums in float32, and the one that is stored */
    rapt_binding *bindings[MOST_STEPS];
    uint32_t steps;
} run;

/* ---- the parts ---- */

static uint64_t part_bytes(const rapt_group_merge *m)
{
    return m->rows * m->d * rapt_dtype_size(m->part.dtype);
}

void rapt_group_merge_free(rapt_group_merge *m)
{
    if (m == NULL)
        return;
    const rapt_allocator a = m->group->allocator;
    if (m->x != NULL)
        rapt_free(&a, m->x, (size_t)(m->parts * part_bytes(m)));
    if (m->x_lse != NULL)
        rapt_free(&a, m->x_lse, (size_t)(m->parts * m->rows) * sizeof *m->x_lse);
    rapt_free(&a, m, sizeof *m);
}

rapt_status rapt_group_merge_new(rapt_group *group, uint32_t parts, const rapt_tensor *out, void *out_data, const rapt_tensor *lse,
                                 void *lse_data, rapt_group_merge **merge, rapt_error *error)
{
    const uint64_t *size = out->size;
    rapt_group_merge *m = rapt_calloc(&group->allocator, 1, sizeof *m);
    if (m == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for parts of the keys");
    *m = (rapt_group_merge){.group = group, .parts = parts, .out = *out, .lse = *lse, .out_data = out_data, .lse_data = lse_data};
    m->rows = size[0] * size[1] * size[2];
    m->d = size[3];
    m->part = rapt_tensor_bhnd(out->dtype, size[0], size[1], size[2], size[3]);
    m->part_lse = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {size[0], size[1], size[2]},
                                .stride = {(int64_t)(size[1] * size[2]), (int64_t)size[2], 1}, .align = 4};
    m->part.align = rapt_dtype_size(out->dtype);
    m->per_unit = RAPT_MAX(UNIT_BYTES / (parts * m->d * sizeof(float)), rapt_div_up(m->rows, RAPT_POOL_UNITS));
    m->per_unit = RAPT_MIN(m->per_unit, m->rows);
    m->x = rapt_calloc(&group->allocator, (size_t)parts, (size_t)part_bytes(m));
    m->x_lse = rapt_calloc(&group->allocator, (size_t)(parts * m->rows), sizeof *m->x_lse);
    if (m->x == NULL || m->x_lse == NULL) {
        rapt_group_merge_free(m);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the results of %u parts of the keys", parts);
    }
    for (uint64_t i = 0; i < parts * m->rows; i++)
        m->x_lse[i] = -INFINITY;
    *merge = m;
    return RAPT_OK;
}

void rapt_group_merge_parts(const rapt_group_merge *m, rapt_tensor *out, void **out_data, rapt_tensor *lse, void **lse_data)
{
    *out = m->part;
    *out_data = m->x;
    *lse = m->part_lse;
    *lse_data = m->x_lse;
}

/* ---- a run: some rows ---- */

/* Bytes of `rows` numbers or rows, up to what any device takes as an offset. */
static uint64_t stretch(uint64_t rows, uint64_t width)
{
    return rapt_align_up(rows * width * sizeof(float), 256);
}

static rapt_tensor rows_tensor(rapt_dtype dtype, uint64_t rows, uint64_t d)
{
    return rapt_tensor_bhnd(dtype, 1, 1, rows, d);
}

static rapt_status plan_step(run *r, uint32_t terms, bool is_last, rapt_plan **plan, rapt_error *error)
{
    rapt_combine_desc d = RAPT_COMBINE_DESC_INIT;
    d.weights = RAPT_COMBINE_SOFTMAX;
    for (uint32_t i = 0; i < terms; i++) {
        d.x[i] = rows_tensor(RAPT_F32, r->rows, r->m->d);
        d.weight[i] = rows_tensor(RAPT_F32, r->rows, 1);
        d.weight[i].rank = 3;
    }
    d.out = rows_tensor(is_last ? r->m->part.dtype : RAPT_F32, r->rows, r->m->d);
    d.lse = d.weight[0];
    rapt_status status = rapt_combine_plan(r->device, &d, plan, error);
    return status == RAPT_OK ? rapt_plan_prepare(*plan, error) : status;
}

/* Three terms at a time: the sum so far, after the first step, and the next parts. */
static rapt_status bind_steps(run *r, rapt_error *error)
{
    rapt_place *place = r->seat->places;
    const uint64_t row_bytes = stretch(r->rows, r->m->d), lse_bytes = stretch(r->rows, 1);
    uint32_t next = 0;
    rapt_status status = RAPT_OK;
    for (uint32_t step = 0; status == RAPT_OK && (step == 0 || next < r->m->parts); step++) {
        rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
        uint32_t terms = 0;
        if (step > 0) {
            args.x[0] = (rapt_slot){place[SUMS].buffer, (step - 1) % 2 * row_bytes};
            args.weight[0] = (rapt_slot){place[SUMS_LSE].buffer, (step - 1) % 2 * lse_bytes};
            terms = 1;
        }
        for (; terms < RAPT_COMBINE_TERMS && next < r->m->parts; terms++, next++) {
            args.x[terms] = (rapt_slot){place[PARTS].buffer, next * row_bytes};
            args.weight[terms] = (rapt_slot){place[PARTS_LSE].buffer, next * lse_bytes};
        }
        const bool is_last = next == r->m->parts;
        rapt_plan **plan = is_last ? &r->last : &r->middle;
        args.out = is_last ? (rapt_slot){place[OUT].buffer, 0} : (rapt_slot){place[SUMS].buffer, step % 2 * row_bytes};
        args.lse = is_last ? (rapt_slot){place[OUT_LSE].buffer, 0} : (rapt_slot){place[SUMS_LSE].buffer, step % 2 * lse_bytes};
        if (*plan == NULL)
            status = plan_step(r, terms, is_last, plan, error);
        if (status == RAPT_OK)
            status = rapt_combine_bind(*plan, &args, &r->bindings[r->steps++], error);
    }
    return status;
}

static rapt_status make(void *user, uint32_t member, uint64_t first, uint64_t count, void **out, rapt_error *error)
{
    const rapt_group_merge *m = user;
    run *r = rapt_calloc(&m->group->allocator, 1, sizeof *r);
    if (r == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for merging parts");
    *out = r;
    r->m = m;
    r->seat = &m->group->seats[member];
    r->device = rapt_pool_device(m->group->pool, member);
    r->first = first * m->per_unit;
    r->rows = RAPT_MIN(count * m->per_unit, m->rows - r->first);
    const uint64_t row_bytes = stretch(r->rows, m->d), lse_bytes = stretch(r->rows, 1);
    const uint64_t bytes[TENSORS] = {[PARTS] = m->parts * row_bytes, [PARTS_LSE] = m->parts * lse_bytes, [SUMS] = 2 * row_bytes,
                                     [SUMS_LSE] = 2 * lse_bytes,     [OUT] = row_bytes,                  [OUT_LSE] = lse_bytes};
    for (unsigned i = 0; i < TENSORS; i++) {
        rapt_status status = rapt_group_take_place(r->device, r->seat, i, bytes[i], error);
        if (status != RAPT_OK)
            return status;
        r->seat->places[i].call = 0;
    }
    return bind_steps(r, error);
}

static rapt_status load(void *user, rapt_error *error)
{
    run *r = user;
    const rapt_group_merge *m = r->m;
    const uint64_t row_bytes = stretch(r->rows, m->d), lse_bytes = stretch(r->rows, 1), element = rapt_dtype_size(m->part.dtype);
    rapt_status status = rapt_group_take_scratch(m->group, r->seat, row_bytes, error);
    for (uint32_t i = 0; status == RAPT_OK && i < m->parts; i++) {
        const uint64_t row = i * m->rows + r->first;
        rapt_widen(r->seat->scratch, m->x + row * m->d * element, m->part.dtype, r->rows * m->d);
        status = rapt_buffer_upload_within(r->seat->places[PARTS].buffer, i * row_bytes, r->seat->scratch,
                                           r->rows * m->d * sizeof(float), m->group->timeout, error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload_within(r->seat->places[PARTS_LSE].buffer, i * lse_bytes, m->x_lse + row,
                                               r->rows * sizeof(float), m->group->timeout, error);
    }
    for (uint32_t i = 0; status == RAPT_OK && i < r->steps; i++)
        status = rapt_submit(r->bindings[i], error);
    return status;
}

/* Steps end in order: what is left of the patience after the last one is for looking at the others. */
static rapt_status wait(void *user, uint64_t timeout, rapt_error *error)
{
    run *r = user;
    rapt_status status = rapt_wait(r->bindings[r->steps - 1], timeout, error);
    for (uint32_t i = 0; status == RAPT_OK && i + 1 < r->steps; i++)
        status = rapt_wait(r->bindings[i], timeout, error);
    return status;
}

/* Rows of the run to where the app has them. */
static void spread(const run *r, void *data, const rapt_tensor *t, uint64_t width)
{
    const uint64_t heads = t->size[1], n = t->size[2], bytes = width * rapt_dtype_size(t->dtype);
    for (uint64_t row = r->first; row < r->first + r->rows; row++) {
        const int64_t at = (int64_t)(row / (heads * n)) * t->stride[0] + (int64_t)(row / n % heads) * t->stride[1] +
                           (int64_t)(row % n) * t->stride[2];
        memcpy((char *)data + (uint64_t)at * rapt_dtype_size(t->dtype), (char *)r->seat->scratch + (row - r->first) * bytes, bytes);
    }
}

static rapt_status store(void *user, rapt_error *error)
{
    run *r = user;
    const rapt_group_merge *m = r->m;
    rapt_status status = rapt_buffer_download_within(r->seat->places[OUT].buffer, 0, r->seat->scratch,
                                                     r->rows * m->d * rapt_dtype_size(m->part.dtype), m->group->timeout, error);
    if (status != RAPT_OK)
        return status;
    spread(r, m->out_data, &m->out, m->d);
    if (m->lse.dtype == RAPT_DTYPE_NONE)
        return RAPT_OK;
    status = rapt_buffer_download_within(r->seat->places[OUT_LSE].buffer, 0, r->seat->scratch, r->rows * sizeof(float),
                                         m->group->timeout, error);
    if (status == RAPT_OK)
        spread(r, m->lse_data, &m->lse, 1);
    return status;
}

static void end(void *user)
{
    run *r = user;
    for (uint32_t i = 0; i < r->steps; i++)
        rapt_binding_destroy(&r->bindings[i]);
    rapt_plan_destroy(&r->middle);
    rapt_plan_destroy(&r->last);
    rapt_free(&r->m->group->allocator, r, sizeof *r);
}

/* ---- the work ---- */

static double weight(void *user, uint64_t first, uint64_t count)
{
    const rapt_group_merge *m = user;
    (void)first;
    return (double)count * (double)m->per_unit * (double)m->parts * (double)m->d;
}

static uint64_t fit(void *user, uint64_t first, uint64_t count)
{
    (void)user;
    (void)first;
    return count;
}

static void trim(void *user, uint32_t member)
{
    const rapt_group_merge *m = user;
    rapt_group_trim(m->group, member);
}

static void merge_free(void *user)
{
    rapt_group_merge_free(user);
}

rapt_status rapt_group_merge_begin(rapt_group_merge *m, rapt_error *error)
{
    const uint64_t kind[] = {m->d, m->parts, m->part.dtype, 0x6d65726765};
    const rapt_pool_work work = {.user = m,
                                 .units = rapt_div_up(m->rows, m->per_unit),
                                 .kind = rapt_hash_bytes(RAPT_HASH_INIT, kind, sizeof kind).lo,
                                 .continues = true,
                                 .weight = weight,
                                 .fit = fit,
                                 .make = make,
                                 .load = load,
                                 .wait = wait,
                                 .store = store,
                                 .end = end,
                                 .trim = trim,
                                 .free = merge_free};
    return rapt_pool_begin(m->group->pool, &work, error);
}
