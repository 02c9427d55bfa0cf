#include "oracle_place.h"

#include <math.h>

/* A place's row and column. */
typedef struct spot {
    double y, x;
} spot;

static spot spot_of(const rapt_attention_desc *d, int64_t position)
{
    const uint32_t width = d->place_width > 0 ? d->place_width : d->grid.rank == 2 ? d->grid.size[1] : 0;
    if (width == 0)
        return (spot){0, (double)position};
    const double y = floor((double)position / width);
    return (spot){y, (double)position - y * width};
}

double rapt_check_steps_apart(const rapt_attention_desc *d, int64_t query, int64_t key)
{
    const spot a = spot_of(d, query), b = spot_of(d, key);
    return fabs(a.y - b.y) + fabs(a.x - b.x);
}

/* Of an axis with 2 m + 1 entries. */
static int64_t clipped(double apart, uint64_t size)
{
    const double m = (double)(size - 1) / 2;
    return (int64_t)(m + fmin(fmax(apart, -m), m));
}

double rapt_check_relative(const rapt_attention_desc *d, const float *table, uint64_t head, int64_t query, int64_t key)
{
    const rapt_tensor *t = &d->relative;
    const spot a = spot_of(d, query), b = spot_of(d, key);
    int64_t at = t->size[0] > 1 ? (int64_t)head * t->stride[0] : 0;
    if (t->rank == 3)
        at += clipped(b.y - a.y, t->size[1]) * t->stride[1];
    return (double)table[at + clipped(b.x - a.x, t->size[t->rank - 1])];
}
