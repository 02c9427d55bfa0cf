#include "grid_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* "7x7": numbers with an x between. */
static bool parse_sizes(const char *option, const char *text, uint32_t out[RAPT_GRID_MAX_RANK],
                        uint32_t *count, rapt_error *error)
{
    const char *at = text;
    for (*count = 0; *count < RAPT_GRID_MAX_RANK; at++) {
        char *end;
        if (*at < '0' || *at > '9')
            break;
        const unsigned long long value = strtoull(at, &end, 10);
        if (value < 1 || value > UINT32_MAX)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s '%.40s': numbers from 1 are needed", option,
                             text);
        out[(*count)++] = (uint32_t)value;
        at = end;
        if (*at == 0)
            return true;
        if (*at != 'x')
            break;
    }
    return tool_fail(error, RAPT_ERROR_INVALID,
                     "%s '%.40s': one to three numbers with an x between are needed, as 7x7", option, text);
}

static bool parse_causal(const char *text, rapt_grid *g, rapt_error *error)
{
    const char *at = text;
    for (;; at++) {
        char *end;
        if (*at < '0' || *at > '9')
            break;
        const unsigned long long axis = strtoull(at, &end, 10);
        if (axis >= g->rank)
            return tool_fail(error, RAPT_ERROR_INVALID, "--causal '%.40s': the axes of this grid are 0 to %u",
                             text, g->rank - 1);
        g->causal |= 1u << axis;
        at = end;
        if (*at == 0)
            return true;
        if (*at != ',')
            break;
    }
    return tool_fail(error, RAPT_ERROR_INVALID,
                     "--causal '%.40s': axis numbers with a comma between are needed, as 0,1", text);
}

bool tool_grid_parse(const tool_grid_options *o, rapt_grid *g, rapt_error *error)
{
    if (!o->kernel_size)
        return tool_fail(error, RAPT_ERROR_INVALID, "--kernel-size KxK is missing");
    if (!parse_sizes("--kernel-size", o->kernel_size, g->kernel_size, &g->rank, error))
        return false;
    const struct {
        const char *option, *text;
        uint32_t *out;
    } lists[] = {{"--dilation", o->dilation, g->dilation}, {"--stride", o->stride, g->stride}};
    for (size_t n = 0; n < TOOL_COUNT(lists); n++) {
        uint32_t count = g->rank;
        if (lists[n].text && !parse_sizes(lists[n].option, lists[n].text, lists[n].out, &count, error))
            return false;
        if (count != g->rank)
            return tool_fail(error, RAPT_ERROR_INVALID,
                             "%s '%.40s' has %u numbers, --kernel-size '%.40s' has %u", lists[n].option,
                             lists[n].text, count, o->kernel_size, g->rank);
        for (uint32_t axis = 0; axis < g->rank && !lists[n].text; axis++)
            lists[n].out[axis] = 1;
    }
    return !o->causal || parse_causal(o->causal, g, error);
}

bool tool_grid_sizes(const char *what, const uint64_t *shape, rapt_grid *g, uint64_t *places,
                     rapt_error *error)
{
    *places = 1;
    for (uint32_t axis = 0; axis < g->rank; axis++) {
        *places *= shape[axis];
        if (shape[axis] > 1u << 29 || *places > 1u << 29)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s: a grid has at most 2^29 places", what);
        g->size[axis] = (uint32_t)shape[axis];
    }
    return true;
}

bool tool_grid_flatten(const char *option, const char *path, bool bnhd, rapt_grid *g, tensor_file *t,
                       rapt_error *error)
{
    char shape[200];
    uint64_t places;
    tensor_file_shape(t->rank, t->shape, shape, sizeof shape);
    if (t->rank != g->rank + 3)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "%s %s: shape %s has %u axes; with --kernel-size for %u they are %u, %s", option,
                         path, shape, t->rank, g->rank, g->rank + 3,
                         bnhd ? "(batch, the grid's, heads, head_dim)"
                              : "(batch, heads, the grid's, head_dim)");
    const uint64_t *axes = t->shape + (bnhd ? 1 : 2), heads = t->shape[bnhd ? g->rank + 1 : 1],
                   dim = t->shape[g->rank + 2];
    for (uint32_t axis = 0; axis < g->rank && g->size[0] != 0; axis++)
        if (axes[axis] != g->size[axis])
            return tool_fail(error, RAPT_ERROR_INVALID,
                             "%s %s: axis %u of the grid is %" PRIu64 " long, that of the queries is %u",
                             option, path, axis, axes[axis], g->size[axis]);
    if (!tool_grid_sizes(path, axes, g, &places, error))
        return false;
    t->shape[bnhd ? 2 : 1] = heads;
    t->shape[bnhd ? 1 : 2] = places;
    t->shape[3] = dim;
    t->rank = 4;
    return true;
}

static void sizes_text(const rapt_grid *g, const uint32_t values[3], char text[40])
{
    text[0] = 0;
    for (uint32_t axis = 0; axis < g->rank; axis++)
        snprintf(text + strlen(text), 40 - strlen(text), "%s%u", axis ? "x" : "", values[axis]);
}

void tool_grid_line(const rapt_grid *g, char *text, size_t capacity)
{
    char n[40], k[40], d[40], s[40];
    sizes_text(g, g->size, n);
    sizes_text(g, g->kernel_size, k);
    sizes_text(g, g->dilation, d);
    sizes_text(g, g->stride, s);
    snprintf(text, capacity, ", grid %s, kernel %s, dilation %s, stride %s", n, k, d, s);
    for (uint32_t axis = 0; axis < g->rank; axis++)
        if (g->causal >> axis & 1)
            snprintf(text + strlen(text), capacity - strlen(text), ", causal axis %u", axis);
}

void tool_grid_json(const rapt_grid *g, cJSON *o)
{
    const struct {
        const char *name;
        const uint32_t *values;
    } lists[] = {
        {"size", g->size}, {"kernel_size", g->kernel_size}, {"dilation", g->dilation}, {"stride", g->stride}};
    cJSON *grid = cJSON_AddObjectToObject(o, "grid");
    for (size_t n = 0; n < TOOL_COUNT(lists); n++) {
        cJSON *list = cJSON_AddArrayToObject(grid, lists[n].name);
        for (uint32_t axis = 0; axis < g->rank; axis++)
            cJSON_AddItemToArray(list, cJSON_CreateNumber(lists[n].values[axis]));
    }
    cJSON *causal = cJSON_AddArrayToObject(grid, "causal");
    for (uint32_t axis = 0; axis < g->rank; axis++)
        if (g->causal >> axis & 1)
            cJSON_AddItemToArray(causal, cJSON_CreateNumber(axis));
}
