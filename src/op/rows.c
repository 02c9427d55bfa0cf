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
    if (t->size[2] != s->rows || (s->rank == 4 && t->size[3] != p->head_dim && !(which == RAPT_M_OUT && p->format)))
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

/* What rewrites rows as they are placed. */
static rapt_status check_rewriting(const rapt_rows_desc *d, rapt_rows_problem *p, rapt_error *error)
{
    const bool norm = d->flags & RAPT_ROWS_NORM, rope = d->rope_base != 0.0;
    if (d->flags & ~(uint32_t)(RAPT_ROWS_NORM | RAPT_ROWS_ROPE_INTERLEAVED))
        return rapt_fail(error, RAPT_ERROR_INVALID, "unknown flags of rows 0x%x", d->flags);
    p->format = rapt_quantised_words(d->out.dtype, 1) > 0 ? d->out.dtype : RAPT_DTYPE_NONE;
    p->rewrites = norm || rope || p->format != RAPT_DTYPE_NONE;
    if (p->rewrites && d->kind != RAPT_ROWS_PLACE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s goes with placing", norm ? "a norm" : rope ? "rope" : rapt_dtype_name(d->out.dtype));
    if (!norm && (d->norm_epsilon != 0.0f || d->norm_weight.dtype != RAPT_DTYPE_NONE))
        return rapt_fail(error, RAPT_ERROR_INVALID, "norm_epsilon and norm_weight go with RAPT_ROWS_NORM");
    if (!(d->norm_epsilon >= 0.0f) || !isfinite(d->norm_epsilon))
        return rapt_fail(error, RAPT_ERROR_INVALID, "norm_epsilon is %g, must be at least 0", (double)d->norm_epsilon);
    if (!rope && (d->rope_dim != 0 || d->positions.dtype != RAPT_DTYPE_NONE || (d->flags & RAPT_ROWS_ROPE_INTERLEAVED)))
        return rapt_fail(error, RAPT_ERROR_INVALID, "rope_dim, positions and RAPT_ROWS_ROPE_INTERLEAVED go with rope_base");
    if (rope && (!(d->rope_base > 1.0) || !isfinite(d->rope_base)))
        return rapt_fail(error, RAPT_ERROR_INVALID, "rope_base is %g, must be above 1", d->rope_base);
    if (rope && d->positions.dtype == RAPT_DTYPE_NONE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rope_base goes with positions");
    const uint64_t rope_dim = d->rope_dim ? d->rope_dim : d->x.size[3];
    if (rope && (rope_dim % 2 != 0 || rope_dim > d->x.size[3]))
        return rapt_fail(error, RAPT_ERROR_INVALID, "rope_dim is %llu, must be even and at most %llu", (unsigned long long)rope_dim,
                         (unsigned long long)d->x.size[3]);
    p->norm = norm;
    p->norm_epsilon = d->norm_epsilon;
    p->rope_dim = rope ? (uint32_t)rope_dim : 0;
    p->rope_interleaved = rope && (d->flags & RAPT_ROWS_ROPE_INTERLEAVED);
    p->rope_base = d->rope_base;
    return RAPT_OK;
}

/* A vector beside the rows: norm_weight, (d), or positions, (batch or 1, m). */
static rapt_status take_vector(rapt_rows_problem *p, unsigned which, const rapt_tensor *t, const char *name, rapt_dtype dtype,
                               uint64_t batch, uint64_t count, rapt_error *error)
{
    const uint32_t rank = which == RAPT_M_POSITIONS ? 2 : 1;
    const uint64_t lines = rank == 2 ? t->size[0] : 1, length = t->size[rank - 1];
    if (t->dtype != dtype || t->rank != rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s of rank %u, must be %s of rank %u", name, rapt_dtype_name(t->dtype), t->rank,
                         rapt_dtype_name(dtype), rank);
    if ((lines != batch && lines != 1) || length != count)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: %llu x %llu entries, must be %llu or 1 x %llu", name, (unsigned long long)lines,
                         (unsigned long long)length, (unsigned long long)batch, (unsigned long long)count);
    for (uint32_t axis = 0; axis < rank; axis++)
        if (t->size[axis] > 1 && t->stride[axis] < (which == RAPT_M_POSITIONS ? 0 : 1))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of axis %u", name, (long long)t->stride[axis], axis);
    if (which == RAPT_M_NORM_WEIGHT && length > 1 && t->stride[0] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld, must be 1", name, (long long)t->stride[0]);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < 4))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least 4", name, t->align);
    if (rapt_tensor_bytes(t) > UINT64_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", name);
    p->tensor[which] = (rapt_rows_tensor){.heads = 1,
                                          .rows = rank == 2 ? length : 1,
                                          .inner = rank == 2 ? 1 : length,
                                          .stride = {rank == 2 && lines > 1 ? (uint64_t)t->stride[0] : 0, 0,
                                                     rank == 2 && length > 1 ? (uint64_t)t->stride[1] : 0},
                                          .bytes = rapt_tensor_bytes(t),
                                          .element = 4,
                                          .align = t->align ? t->align : 16,
                                          .usage = t->usage,
                                          .present = true};
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
    const uint64_t words = rapt_quantised_words(d->out.dtype, d->x.size[3]), head_dim = words > 0 ? d->x.size[3] : d->out.size[3];
    if (head_dim < 1 || head_dim > MAX_HEAD_DIM)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rows of %llu elements, must be 1 to %u", (unsigned long long)head_dim, MAX_HEAD_DIM);
    if (words > 0 && d->out.size[3] != words)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "out has rows of %llu words, but %llu elements of %s are %llu words (rapt_quantised_words)",
                         (unsigned long long)d->out.size[3], (unsigned long long)head_dim, rapt_dtype_name(d->out.dtype),
                         (unsigned long long)words);
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
    if (status == RAPT_OK)
        status = check_rewriting(d, p, error);
    if (status != RAPT_OK)
        return status;
    const bool gathers = d->kind == RAPT_ROWS_GATHER, places = d->kind == RAPT_ROWS_PLACE;
    const rapt_tensor *by = places ? &d->x : &d->out; /* whose batch, heads and rows are gone through */
    p->dtype = d->x.dtype;
    p->kind = d->kind;
    p->head_dim = (uint32_t)(p->format ? d->x.size[3] : d->out.size[3]);
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
    const shape out = {"out", out_text, p->format ? p->format : p->dtype, 4, d->out.size[2], d->out.size[0], false, false};
    status = take(p, RAPT_M_X, &d->x, &x, error);
    if (status == RAPT_OK)
        status = take(p, RAPT_M_LIST, &d->list, &list, error);
    if (status == RAPT_OK && d->weight.dtype != RAPT_DTYPE_NONE)
        status = take(p, RAPT_M_WEIGHT, &d->weight, &weight, error);
    if (status == RAPT_OK)
        status = take(p, RAPT_M_OUT, &d->out, &out, error);
    if (status == RAPT_OK && d->norm_weight.dtype != RAPT_DTYPE_NONE)
        status = take_vector(p, RAPT_M_NORM_WEIGHT, &d->norm_weight, "norm_weight", RAPT_F32, 1, p->head_dim, error);
    if (status == RAPT_OK && p->rope_dim > 0)
        status = take_vector(p, RAPT_M_POSITIONS, &d->positions, "positions", RAPT_I32, p->batch, p->rows, error);
    if (status != RAPT_OK)
        return status;
    p->bytes_written = p->tensor[places ? RAPT_M_X : RAPT_M_OUT].bytes;
    p->bytes_read = p->bytes_written;
    p->flops = p->bytes_written / p->tensor[RAPT_M_OUT].element;
    return RAPT_OK;
}
