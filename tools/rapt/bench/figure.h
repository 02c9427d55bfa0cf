/* A measured number: its median, its range, and the interval that holds the true median. */
#ifndef RAPT_TOOL_BENCH_FIGURE_H
#define RAPT_TOOL_BENCH_FIGURE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#define BENCH_COVERAGE 0.95

typedef struct bench_figure {
    double median, min, max, low, high;
    double coverage; /* the probability that low..high holds the true median */
    size_t count;    /* 0: not measured */
} bench_figure;

bench_figure bench_figure_of(const double *samples, size_t count);
/* (high - low) / 2 as part of the median; negative where fewer than 6 samples give no interval. */
double bench_figure_spread(const bench_figure *figure);

/* Adds the figure (see RESULTS.md), or null for no samples. Samples are multiplied by `scale`. */
void bench_figure_add(cJSON *object, const char *name, const double *samples, size_t count, double scale);
/* What bench_figure_add wrote. False, leaving count 0, for anything else: not even the numbers of an object
 * that is not in order count. */
bool bench_figure_read(const cJSON *json, bench_figure *out);

#endif
