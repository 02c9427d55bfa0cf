#include "compare.h"

#include "oracle_attention.h"

#include <math.h>
#include <stdio.h>

double rapt_check_distance(double got, double want)
{
    if (got == want)
        return 0;
    const double distance = fabs(got - want);
    return isnan(distance) ? (double)INFINITY : distance;
}

double rapt_check_max_distance(const double *a, const double *b, const uint8_t *rows, uint64_t row_count,
                               uint64_t row_size)
{
    double largest = 0;
    for (uint64_t r = 0; r < row_count; r++)
        for (uint64_t e = 0; e < row_size && rows[r] == RAPT_ROW_DONE; e++)
            largest = fmax(largest, rapt_check_distance(a[r * row_size + e], b[r * row_size + e]));
    return largest;
}

double rapt_check_tolerance(double plain_error, double magnitude)
{
    return RAPT_CHECK_FACTOR * plain_error + RAPT_CHECK_FLOOR * magnitude;
}

rapt_check_difference rapt_check_compare(const double *got, const double *want, const uint8_t *rows,
                                         uint64_t row_count, uint64_t row_size, double tolerance)
{
    rapt_check_difference d = {.tolerance = tolerance};
    double squares = 0;
    for (uint64_t r = 0; r < row_count; r++) {
        if (rows[r] != RAPT_ROW_DONE)
            continue;
        for (uint64_t at = r * row_size; at < (r + 1) * row_size; at++) {
            const double distance = rapt_check_distance(got[at], want[at]);
            if (d.compared++ == 0 || distance > d.max_abs) {
                d.max_abs = distance;
                d.worst = at;
                d.got = got[at];
                d.want = want[at];
            }
            if (isnan(got[at]) && d.nans++ == 0)
                d.first_nan = at;
            d.wrong += !(distance <= tolerance);
            squares += isfinite(distance) ? distance * distance : 0;
        }
    }
    d.rms = d.compared > 0 ? sqrt(squares / (double)d.compared) : 0;
    return d;
}

void rapt_check_describe(const rapt_check_difference *d, const char *tensor, const uint64_t size[4],
                         char *text, size_t capacity)
{
    uint64_t index[4], rest = d->nans > 0 ? d->first_nan : d->worst;
    for (int axis = 3; axis >= 0; axis--) {
        index[axis] = size[axis] > 0 ? rest % size[axis] : 0;
        rest = size[axis] > 0 ? rest / size[axis] : 0;
    }
    char where[96];
    snprintf(where, sizeof where, "%s[%llu, %llu, %llu, %llu]", tensor, (unsigned long long)index[0],
             (unsigned long long)index[1], (unsigned long long)index[2], (unsigned long long)index[3]);
    if (d->nans > 0)
        snprintf(text, capacity, "%llu of %llu elements of %s wrong, %llu of them NaN, the first at %s",
                 (unsigned long long)d->wrong, (unsigned long long)d->compared, tensor,
                 (unsigned long long)d->nans, where);
    else
        snprintf(text, capacity,
                 "%llu of %llu elements of %s wrong; worst %s is %.9g, not %.9g: off by %.3g, allowed %.3g",
                 (unsigned long long)d->wrong, (unsigned long long)d->compared, tensor, where, d->got,
                 d->want, d->max_abs, d->tolerance);
}
