#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *sorted_copy(const double *values, size_t count)
{
    double *copy = count ? malloc(count * sizeof *copy) : NULL;
    if (copy) {
        memcpy(copy, values, count * sizeof *copy);
        qsort(copy, count, sizeof *copy, by_value);
    }
    return copy;
}

static double quantile_sorted(const double *sorted, size_t count, double p)
{
    const double at = p * (double)(count - 1);
    const size_t below = (size_t)at;
    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

double rapt_stats_quantile(const double *values, size_t count, double p)
{
    double *sorted = sorted_copy(values, count);
    const double result = sorted ? quantile_sorted(sorted, count, p < 0 ? 0 : p > 1 ? 1 : p) : NAN;
    free(sorted);
    return result;
}

rapt_stats rapt_stats_of(const double *values, size_t count)
{
    rapt_stats s = {
        .count = count, .median = NAN, .min = NAN, .max = NAN, .q1 = NAN, .q3 = NAN, .spread = NAN};
    double *sorted = sorted_copy(values, count);
    if (!sorted)
        return s;
    s.median = quantile_sorted(sorted, count, 0.5);
    s.min = sorted[0];
    s.max = sorted[count - 1];
    s.q1 = quantile_sorted(sorted, count, 0.25);
    s.q3 = quantile_sorted(sorted, count, 0.75);
    s.spread = s.median != 0 ? (s.q3 - s.q1) / s.median : 0;
    free(sorted);
    return s;
}

rapt_interval rapt_stats_interval(const double *values, size_t count, double coverage)
{
    rapt_interval r = {.count = count, .median = NAN, .low = NAN, .high = NAN};
    double *sorted = sorted_copy(values, count);
    if (!sorted)
        return r;
    r.median = quantile_sorted(sorted, count, 0.5);
    r.low = sorted[0];
    r.high = sorted[count - 1];
    // The number X of values below the true median is binomial(count, 1/2). The range that leaves out k
    // values at each end misses it with probability 2 P(X <= k): leave out as many as the asked coverage
    // allows.
    const double n = (double)count;
    double tail = exp(-n * log(2.0)); // P(X <= 0)
    r.coverage = 1 - 2 * tail;
    if (r.coverage < 0)
        r.coverage = 0;
    for (size_t k = 1; 2 * k < count; k++) {
        const double kd = (double)k;
        tail += exp(lgamma(n + 1) - lgamma(kd + 1) - lgamma(n - kd + 1) - n * log(2.0));
        if (1 - 2 * tail < coverage)
            break;
        r.low = sorted[k];
        r.high = sorted[count - 1 - k];
        r.coverage = 1 - 2 * tail;
    }
    r.enough = r.coverage >= coverage;
    free(sorted);
    return r;
}

rapt_interval rapt_stats_ratio(const double *a, const double *b, size_t count, double coverage)
{
    double *ratios = count ? malloc(count * sizeof *ratios) : NULL;
    if (!ratios)
        return rapt_stats_interval(NULL, 0, coverage);
    for (size_t i = 0; i < count; i++)
        ratios[i] = a[i] / b[i];
    const rapt_interval r = rapt_stats_interval(ratios, count, coverage);
    free(ratios);
    return r;
}
