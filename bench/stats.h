// Order statistics of repeated measurements, and ratios of interleaved pairs with their interval.
#ifndef RAPT_BENCH_STATS_H
#define RAPT_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rapt_stats {
    size_t count;
    double median, min, max, q1, q3;
    double spread; // (q3 - q1) / median: the middle half's width
} rapt_stats;

// The p-quantile, interpolated between neighbours. NaN for no values or no memory. Values stay as they are.
double rapt_stats_quantile(const double *values, size_t count, double p);
rapt_stats rapt_stats_of(const double *values, size_t count);

typedef struct rapt_interval {
    size_t count;
    double median, low, high;
    double coverage; // the probability that low..high holds the true median, whatever the distribution
    bool enough;     // coverage is at least what was asked; else low..high is the whole range
} rapt_interval;

// The median's interval from order statistics: the narrowest symmetric pair of ranks with at least the asked
// coverage (0.95 needs 6 values).
rapt_interval rapt_stats_interval(const double *values, size_t count, double coverage);

// The ratio a[i] / b[i] of pairs measured one right after the other: drift of the machine that is slower than
// a pair cancels. A median of ratios, not a ratio of medians.
rapt_interval rapt_stats_ratio(const double *a, const double *b, size_t count, double coverage);

#endif
