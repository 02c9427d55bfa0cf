#include "baseline.h"

#include "text_file.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)64 << 20)
#define SCHEMA "rapt-bench/1"

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text(const cJSON *object, const char *name)
{
    const cJSON *item = member(object, name);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static size_t length(const cJSON *array)
{
    return cJSON_IsArray(array) ? (size_t)cJSON_GetArraySize(array) : 0;
}

/* ---- reading ---- */

static bool read_case(const cJSON *json, const char *where, baseline_case *c, rapt_error *error)
{
    static const char *const clocks[] = {"device", "wall"};
    c->name = text(json, "name");
    const char *status = text(json, "status");
    if (!c->name || !status)
        return tool_fail(error, RAPT_ERROR_IO, "%s: a case without %s", where, c->name ? "status" : "name");
    c->ok = strcmp(status, "ok") == 0;
    for (int n = 0; n < 2 && c->ok; n++) {
        const cJSON *figure = member(json, clocks[n]);
        if (figure && !cJSON_IsNull(figure) && !bench_figure_read(figure, &c->clock[n]))
            return tool_fail(error, RAPT_ERROR_IO,
                             "%s: case '%.80s': its %s time is no figure of positive seconds", where, c->name,
                             clocks[n]);
    }
    if (c->ok && c->clock[0].count == 0 && c->clock[1].count == 0)
        return tool_fail(error, RAPT_ERROR_IO, "%s: case '%.80s' is ok but has no time", where, c->name);
    return true;
}

static bool read_cases(baseline *b, const cJSON *cases, const char *where, const char *device, bool by_name,
                       rapt_error *error)
{
    const cJSON *json;
    baseline_case *more = realloc(b->cases, (b->count + length(cases) + 1) * sizeof *more);
    if (!more)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
    b->cases = more;
    cJSON_ArrayForEach(json, cases)
    {
        baseline_case *c = &b->cases[b->count];
        *c = (baseline_case){.device = device, .by_name = by_name};
        if (!read_case(json, where, c, error))
            return false;
        b->count++;
    }
    return true;
}

/* The points of the sweeps are cases too. */
static bool read_sweeps(baseline *b, const cJSON *device, const char *where, const char *name,
                        rapt_error *error)
{
    const cJSON *sweep, *series, *point;
    cJSON_ArrayForEach(sweep, member(device, "sweeps"))
    {
        cJSON_ArrayForEach(series, member(sweep, "series"))
        {
            cJSON_ArrayForEach(point, member(series, "points"))
            {
                const cJSON *json = member(point, "case");
                baseline_case *more = realloc(b->cases, (b->count + 1) * sizeof *more);
                if (!more)
                    return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
                b->cases = more;
                b->cases[b->count] = (baseline_case){.device = name, .by_name = true};
                if (!read_case(json, where, &b->cases[b->count], error))
                    return false;
                b->count++;
            }
        }
    }
    return true;
}

static bool read_device(baseline *b, const cJSON *json, const char *path, size_t index, rapt_error *error)
{
    char where[400];
    snprintf(where, sizeof where, "%.300s: device %zu", path, index);
    const cJSON *cases = member(json, "cases");
    const char *name = text(member(json, "device"), "name");
    if (!name || (cases && !cJSON_IsArray(cases)))
        return tool_fail(error, RAPT_ERROR_IO, "%s: %s", where, name ? "its cases are no list" : "no name");
    return read_cases(b, cases, where, name, !member(json, "replay"), error) &&
           read_sweeps(b, json, where, name, error);
}

bool baseline_read(const char *path, baseline *b, rapt_error *error)
{
    size_t size, index = 0;
    *b = (baseline){.started = ""};
    char *file = text_file_read(path, MOST_BYTES, &size, error);
    if (!file)
        return false;
    const char *end = file;
    b->json = cJSON_ParseWithOpts(file, &end, 1);
    if (!b->json)
        tool_fail(error, RAPT_ERROR_IO,
                  "%s: not a result of rapt bench --json: no JSON, from byte %zu of %zu on", path,
                  (size_t)(end - file), size);
    free(file);
    if (!b->json)
        return false;
    const char *schema = text(b->json, "schema");
    const cJSON *devices = member(b->json, "devices"), *device;
    if (!schema || strncmp(schema, "rapt-bench/", 11) != 0 || !cJSON_IsArray(devices))
        return tool_fail(error, RAPT_ERROR_IO,
                         "%s: not a result of rapt bench --json: no \"schema\": \"" SCHEMA "\"", path);
    if (strcmp(schema, SCHEMA) != 0)
        return tool_fail(error, RAPT_ERROR_IO, "%s: of schema '%.40s', this program reads " SCHEMA, path,
                         schema);
    cJSON_ArrayForEach(device, devices)
    {
        if (!read_device(b, device, path, index++, error))
            return false;
    }
    if (text(b->json, "started"))
        b->started = text(b->json, "started");
    if (b->count == 0)
        return tool_fail(error, RAPT_ERROR_IO, "%s: holds no case", path);
    return true;
}

void baseline_free(baseline *b)
{
    cJSON_Delete(b->json);
    free(b->cases);
    *b = (baseline){0};
}

bool baseline_knows(const baseline *b, const char *device)
{
    bool known = false;
    for (size_t n = 0; n < b->count; n++)
        known = known || strcmp(b->cases[n].device, device) == 0;
    return known;
}

const baseline_case *baseline_find(const baseline *b, const char *device, const char *name)
{
    const baseline_case *other = NULL;
    bool several = false;
    for (size_t n = 0; n < b->count; n++) {
        several = several || strcmp(b->cases[n].device, b->cases[0].device) != 0;
        if (strcmp(b->cases[n].name, name) != 0)
            continue;
        if (strcmp(b->cases[n].device, device) == 0)
            return &b->cases[n];
        other = &b->cases[n];
    }
    return several ? NULL : other;
}

/* ---- judging ---- */

const char *baseline_verdict_name(baseline_verdict verdict)
{
    static const char *const names[] = {"same", "slower", "faster", "new", "missing", "wrong", "unknown"};
    return (unsigned)verdict < TOOL_COUNT(names) ? names[verdict] : "?";
}

baseline_verdict baseline_judge(const baseline_case *old, const bench_figure now[2], double threshold,
                                baseline_ratio *ratio)
{
    for (int clock = 0; clock < 2; clock++) {
        const bench_figure *was = &old->clock[clock], *is = &now[clock];
        if (was->count == 0 || is->count == 0)
            continue;
        *ratio = (baseline_ratio){.median = is->median / was->median,
                                  .low = is->low / was->high,
                                  .high = is->high / was->low,
                                  .device_clock = clock == 0};
        if (was->coverage < BENCH_COVERAGE || is->coverage < BENCH_COVERAGE)
            return BASELINE_UNKNOWN;
        if (is->low > was->high && ratio->median > 1 + threshold)
            return BASELINE_SLOWER;
        if (is->high < was->low && ratio->median * (1 + threshold) < 1)
            return BASELINE_FASTER;
        return BASELINE_SAME;
    }
    return BASELINE_NEW;
}
