/* From a descriptor of rows by index to its canonical problem. */
#include "op/rows.h"

#include <math.h>
#include <string.h>

#define MAX_ROWS (1ull << 29) /* row numbers fit 32-bit integers */
#define MAX_HEAD_DIM 576u

/* What one tensor must be: rank 4 with head_dim behind its rows, or rank 3. */
typedef struct shape {
    const char *name, *text;
    rapt_dtype dtype;
    uint32_t rank;
    uint64_t rows, batch;
    bool shares_batch, shares_heads;
} shape;

static rapt_status take(rapt_rows_problem *p, unsigned which, const rapt_tensor *t, const shape *s, rapt_error *error)
{
    if (t->dtype != s->dtype)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s, must be %s", s->name, rapt_dtype_name(t->dtype),
                         rapt_dtype_name(s->dtype));
    if (t->rank != s->rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: rank %u, must be %u: %s", s->name, t->rank, s->rank, s->text);
    if (t->size[0] != s->batch && !(s->shares_batch && t->size[0] == 1))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: batch %llu, must be %llu: %s", s->name, (unsigned long long)t->size[0],
                         (unsigned long long)s->batch, s->text);
    if (t->size[1] != p->heads && !(s->shares_heads && t->size[1] > 0 && p->heads % t->size[1] == 0))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: %llu heads, must be %s%llu: %s", s->name, (unsigned long long)t->size[1],
                         s->shares_heads ? "a divisor of " : "", (unsigned long long)p->heads, s->text);
    if (t->size[2] != s->rows || (s->rank == 4 && t->size[3] != p->head_dim))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: %llu rows of %llu, must be %llu of %u: %s", s->name,
                         (unsigned long long)t->size[2], (unsigned long long)(s->rank == 4 ? t->size[3] : 1),
                         (unsigned long long)s->rows, s->rank == 4 ? p->head_dim : 1, s->text);
    for (uint32_t axis = 0; axis < s->rank; axis++)
        if (t->size[axis] > 1 && (t->stride[axis] < 0 || (which == RAPT_M_OUT && t->stride[axis] == 0)))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of axis %u", s->name, (long long)t->stride[axis], axis);
    if (s->rank == 4 && t->size[3] > 1 && t->stride[3] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", s->name,
                         (long long)t->stride[3]);
    const uint32_t element = rapt_dtype_size(t->dtype);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < element))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least %u", s->name, t->align,
                         element);
    if (rapt_tensor_bytes(t) > UINT64_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", s->name);
    rapt_rows_tensor *out = &p->tensor[which];
    *out = (rapt_rows_tensor){.heads = t->size[1],
                              .rows = t->size[2],
                              .inner = s->rank == 4 ? t->size[3] : 1,
                              .bytes = rapt_tensor_bytes(t),
                              .element = element,
                              .align = t->align ? t->align : 16,
                              .usage = t->usage,
                              .present = true};
    for (uint32_t axis = 0; axis < 3; axis++)
        out->stride[axis] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
    return RAPT_OK;
}

static rapt_status check_members(const rapt_rows_desc *d, rapt_error *error)
{
    if ((unsigned)d->kind >= RAPT_ROWS_KIND_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "kind is %u, of %u kinds", (unsigned)d->kind, (unsigned)RAPT_ROWS_KIND_COUNT);
    if (d->x.dtype != RAPT_F32 && d->x.dtype != RAPT_F16 && d->x.dtype != RAPT_BF16)
        return rapt_fail(error, RAPT_ERROR_INVALID, "x: dtype %s, must be f32, f16 or bf16", rapt_dtype_name(d->x.dtype));
    if (d->x.rank != 4 || d->out.rank != 4 || d->list.rank != 3)
        return rapt_fail(error, RAPT_ERROR_INVALID, "x, out and list have ranks %u, %u and %u, must be 4, 4 and 3", d->x.rank,
                         d->out.rank, d->list.rank);
    if (d->out.size[3] < 1 || d->out.size[3] > MAX_HEAD_DIM)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rows of %llu elements, must be 1 to %u", (unsigned long long)d->out.size[3],
                         MAX_HEAD_DIM);
    if (d->x.size[2] > MAX_ROWS || d->out.size[2] > MAX_ROWS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu rows, at most %llu",
                         (unsigned long long)RAPT_MAX(d->x.size[2], d->out.size[2]), MAX_ROWS);
    if (d->kind == RAPT_ROWS_GATHER && d->runs > 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "runs goes with scattering");
    if (d->kind == RAPT_ROWS_PLACE && (d->runs > 1 || d->weight.dtype != RAPT_DTYPE_NONE))
        return rapt_fail(error, RAPT_ERROR_INVALID, "placing goes without runs and weight");
    if (d->kind == RAPT_ROWS_PLACE && d->out.size[2] > 0 && d->out.size[0] > MAX_ROWS / d->out.size[2])
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu pages of %llu slots, at most %llu slots", (unsigned long long)d->out.size[0],
                         (unsigned long long)d->out.size[2], MAX_ROWS);
    if (d->runs > 1 && d->list.size[2] % d->runs != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu entries are no %llu runs", (unsigned long long)d->list.size[2],
                         (unsigned long long)d->runs);
    if (d->slice_ms < 0.0f || !isfinite(d->slice_ms))
        return rapt_fail(error, RAPT_ERROR_INVALID, "slice_ms %g, must be positive", (double)d->slice_ms);
    return RAPT_OK;
}

rapt_status rapt_rows_problem_make(const rapt_rows_desc *d, rapt_rows_problem *p, rapt_error *error)
{
    memset(p, 0, sizeof *p);
    if (d == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the rows descriptor is NULL");
    if (d->struct_size < sizeof *d)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_rows_desc.struct_size is %u, expected %zu (use RAPT_ROWS_DESC_INIT)",
                         d->struct_size, sizeof *d);
    rapt_status status = check_members(d, error);
    if (status != RAPT_OK)
        return status;
    const bool gathers = d->kind == RAPT_ROWS_GATHER, places = d->kind == RAPT_ROWS_PLACE;
    const rapt_tensor *by = places ? &d->x : &d->out; /* whose batch, heads and rows are gone through */
    p->dtype = d->x.dtype;
    p->kind = d->kind;
    p->head_dim = (uint32_t)d->out.size[3];
    p->batch = by->size[0];
    p->heads = by->size[1];
    p->rows = by->size[2];
    p->n = gathers ? d->x.size[2] : places ? d->out.size[0] * d->out.size[2] : d->out.size[2];
    p->runs = RAPT_MAX(d->runs, 1);
    p->run = places ? d->out.size[2] : d->list.size[2] / p->runs;
    p->slice_ms = d->slice_ms > 0.0f ? d->slice_ms : 50.0f;
    const uint64_t m = gathers ? p->rows : d->x.size[2];
    const char *const out_text = gathers ? "(batch, heads, m, d)" : places ? "(pages, heads, page_size, d)" : "(batch, heads, n, d)";
    const shape x = {"x",      gathers ? "(batch, heads, n, d)" : "(batch, heads, m, d)", p->dtype, 4, gathers ? p->n : m,
                     p->batch, false, !places};
    const shape list = {"list", "(batch, heads, m)", RAPT_I32, 3, m, p->batch, true, true};
    const shape weight = {"weight", "(batch, heads, n)", RAPT_F32, 3, p->n, p->batch, true, true};
    const shape out = {"out", out_text, p->dtype, 4, d->out.size[2], d->out.size[0], false, false};
    status = take(p, RAPT_M_X, &d->x, &x, error);
    if (status == RAPT_OK)
        status = take(p, RAPT_M_LIST, &d->list, &list, error);
    if (status == RAPT_OK && d->weight.dtype != RAPT_DTYPE_NONE)
        status = take(p, RAPT_M_WEIGHT, &d->weight, &weight, error);
    if (status == RAPT_OK)
        status = take(p, RAPT_M_OUT, &d->out, &out, error);
    if (status != RAPT_OK)
        return status;
    p->bytes_written = p->tensor[places ? RAPT_M_X : RAPT_M_OUT].bytes;
    p->bytes_read = p->bytes_written;
    p->flops = p->bytes_written / p->tensor[RAPT_M_OUT].element;
    return RAPT_OK;
}
