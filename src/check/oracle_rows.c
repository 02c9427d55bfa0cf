#include "oracle_rows.h"

#include <math.h>
#include <stdbool.h>

void rapt_check_place_row(const rapt_rows_desc *d, uint64_t dim, const float *weights, int32_t position,
                          double *x)
{
    double squares = 0;
    for (uint64_t e = 0; e < dim; e++)
        squares += x[e] * x[e];
    for (uint64_t e = 0; e < dim && (d->flags & RAPT_ROWS_NORM); e++)
        x[e] *= (weights ? (double)weights[e] : 1) / sqrt(squares / (double)dim + (double)d->norm_epsilon);
    const uint64_t turned = d->rope_base == 0 ? 0 : d->rope_dim > 0 ? d->rope_dim : dim;
    for (uint64_t i = 0; i < turned / 2; i++) {
        const bool interleaved = d->flags & RAPT_ROWS_ROPE_INTERLEAVED;
        const uint64_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + turned / 2;
        const double angle = position * pow(d->rope_base, -2.0 * (double)i / (double)turned);
        const double a = x[first], b = x[second];
        x[first] = a * cos(angle) - b * sin(angle);
        x[second] = a * sin(angle) + b * cos(angle);
    }
}
