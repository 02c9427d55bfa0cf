#include "figure.h"

#include "tool.h"

#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>

bench_figure bench_figure_of(const double *samples, size_t count)
{
    if (count == 0)
        return (bench_figure){0};
    const rapt_stats s = rapt_stats_of(samples, count);
    const rapt_interval i = rapt_stats_interval(samples, count, BENCH_COVERAGE);
    return (bench_figure){.median = s.median,
                          .min = s.min,
                          .max = s.max,
                          .low = i.low,
                          .high = i.high,
                          .coverage = i.coverage,
                          .count = count};
}

double bench_figure_spread(const bench_figure *f)
{
    return f->coverage >= BENCH_COVERAGE && f->median > 0 ? (f->high - f->low) / 2 / f->median : -1;
}

void bench_figure_add(cJSON *object, const char *name, const double *samples, size_t count, double scale)
{
    double *scaled = malloc((count + 1) * sizeof *scaled);
    if (count == 0 || !scaled) {
        free(scaled);
        cJSON_AddNullToObject(object, name);
        return;
    }
    for (size_t n = 0; n < count; n++)
        scaled[n] = samples[n] * scale;
    const bench_figure f = bench_figure_of(scaled, count);
    cJSON *o = cJSON_AddObjectToObject(object, name);
    tool_json_number(o, "median", f.median);
    tool_json_number(o, "min", f.min);
    tool_json_number(o, "max", f.max);
    tool_json_number(o, "low", f.low);
    tool_json_number(o, "high", f.high);
    tool_json_number(o, "coverage", f.coverage);
    tool_json_number(o, "count", (double)count);
    cJSON_AddItemToObject(o, "samples", cJSON_CreateDoubleArray(scaled, (int)count));
    free(scaled);
}

static bool positive(const cJSON *object, const char *name, double *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    *out = cJSON_IsNumber(item) ? item->valuedouble : 0;
    return isfinite(*out) && *out > 0;
}

bool bench_figure_read(const cJSON *json, bench_figure *out)
{
    bench_figure f;
    double count;
    *out = (bench_figure){0};
    const bool numbers = cJSON_IsObject(json) && positive(json, "median", &f.median) &&
                         positive(json, "min", &f.min) && positive(json, "max", &f.max) &&
                         positive(json, "low", &f.low) && positive(json, "high", &f.high) &&
                         positive(json, "count", &count) && count < 1e9;
    const cJSON *coverage = cJSON_GetObjectItemCaseSensitive(json, "coverage");
    if (!numbers || !cJSON_IsNumber(coverage) ||
        !(coverage->valuedouble >= 0 && coverage->valuedouble <= 1) || f.min > f.low || f.low > f.median ||
        f.median > f.high || f.high > f.max)
        return false;
    f.coverage = coverage->valuedouble;
    f.count = (size_t)count;
    *out = f;
    return true;
}
