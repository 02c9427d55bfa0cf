/* Where queries and keys lie: on a line, or on a grid of columns; and biases that depend on nothing else. */
#include "op/attention.h"

/* Row and column; of a line all lie in row 0, some maybe before column 0. */
static void place_of(const rapt_problem *p, int64_t position, int64_t at[2])
{
    at[0] = p->place_width > 0 ? position / p->place_width : 0;
    at[1] = position - at[0] * p->place_width;
}

uint64_t rapt_problem_distance(const rapt_problem *p, int64_t place, int64_t key)
{
    int64_t a[2], b[2];
    place_of(p, place, a);
    place_of(p, key, b);
    const int64_t rows = b[0] - a[0], columns = b[1] - a[1];
    return (uint64_t)(RAPT_MAX(rows, -rows) + RAPT_MAX(columns, -columns));
}

uint64_t rapt_problem_relative_entry(const rapt_problem *p, int64_t place, int64_t key)
{
    int64_t a[2], b[2], entry[2];
    place_of(p, place, a);
    place_of(p, key, b);
    for (int axis = 0; axis < 2; axis++) {
        const int64_t half = p->relative_size[axis] / 2;
        entry[axis] = half + RAPT_MAX(-half, RAPT_MIN(half, b[axis] - a[axis]));
    }
    return (uint64_t)(entry[0] * p->relative_size[1] + entry[1]);
}

static rapt_status check_width(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    const bool alone = d->relative.dtype == RAPT_DTYPE_NONE && d->alibi.dtype == RAPT_DTYPE_NONE && d->decay.dtype == RAPT_DTYPE_NONE;
    if (p->grid.rank == 2 && d->relative.dtype != RAPT_DTYPE_NONE)
        p->place_width = p->grid.size[RAPT_GRID_AXES - 1]; /* axes that the grid lacks stand in front */
    if (d->place_width == 0 || d->place_width == p->place_width)
        return RAPT_OK;
    if (p->grid.rank > 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "place_width is %u, but a grid has its own", d->place_width);
    if (alone)
        return rapt_fail(error, RAPT_ERROR_INVALID, "place_width goes with relative, alibi or decay");
    if (d->place_width > RAPT_MAX_SEQUENCE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "place_width is %u, at most 2^29", d->place_width);
    if (p->varlen || p->nq > p->nk || p->causal_offset != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "place_width needs every query to stand at a key: nq at most nk, causal_offset 0, no packed sequences");
    p->place_width = d->place_width;
    return RAPT_OK;
}

/* An axis of a table: as many entries on either side of its middle. */
static bool odd_size(uint64_t size)
{
    return size % 2 == 1 && size <= 2 * RAPT_MAX_SEQUENCE;
}

static rapt_status check_relative(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    const rapt_tensor *t = &d->relative;
    const bool plane = p->place_width > 0;
    const char *shape = plane ? "(q_heads or 1, 2 Y + 1, 2 X + 1)" : "(q_heads or 1, 2 X + 1)";
    if (t->dtype != RAPT_F32 || t->rank != (plane ? 3 : 2))
        return rapt_fail(error, RAPT_ERROR_INVALID, "relative is %s of rank %u, must be f32, %s", rapt_dtype_name(t->dtype), t->rank,
                         shape);
    const uint64_t rows = plane ? t->size[1] : 1, columns = t->size[t->rank - 1];
    if ((t->size[0] != p->heads_q && t->size[0] != 1) || !odd_size(rows) || !odd_size(columns))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "relative: must be %s, odd behind the heads; %llu, %llu and %llu do not fit q_heads %llu", shape,
                         (unsigned long long)t->size[0], (unsigned long long)rows, (unsigned long long)columns,
                         (unsigned long long)p->heads_q);
    if ((columns > 1 && t->stride[t->rank - 1] != 1) || (rows > 1 && t->stride[1] != (int64_t)columns))
        return rapt_fail(error, RAPT_ERROR_INVALID, "relative: the axes behind the heads must lie without gaps");
    const uint64_t count = rows * columns; /* 2^60 at most */
    uint64_t extent = count, span;
    if (t->size[0] > 1 && (t->stride[0] < 0 || !rapt_mul_u64(t->size[0] - 1, (uint64_t)t->stride[0], &span) ||
                           !rapt_add_u64(extent, span, &extent) || extent > UINT64_MAX / 8))
        return rapt_fail(error, RAPT_ERROR_INVALID, "relative: stride %lld of the heads is negative or too large",
                         (long long)t->stride[0]);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < 4))
        return rapt_fail(error, RAPT_ERROR_INVALID, "relative: align %u, must be a power of two, at least 4", t->align);
    p->relative_size[0] = (uint32_t)rows;
    p->relative_size[1] = (uint32_t)columns;
    p->extras |= 1u << RAPT_X_RELATIVE;
    p->extra[RAPT_X_RELATIVE] = (rapt_extra){.batch = 1,
                                             .heads = t->size[0],
                                             .count = count,
                                             .stride_h = t->size[0] > 1 ? (uint64_t)t->stride[0] : 0,
                                             .bytes = t->size[0] ? extent * 4 : 0,
                                             .usage = t->usage};
    return RAPT_OK;
}

rapt_status rapt_problem_places(const rapt_attention_desc *desc, rapt_problem *p, rapt_error *error)
{
    rapt_status status = check_width(desc, p, error);
    if (status != RAPT_OK || desc->relative.dtype == RAPT_DTYPE_NONE)
        return status;
    if (p->grid.rank == 3)
        return rapt_fail(error, RAPT_ERROR_INVALID, "relative does not go with a grid of three axes");
    return check_relative(desc, p, error);
}
