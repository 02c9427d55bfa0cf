/* rapt bench --devices: one attention shared by several devices, beside each of them alone. All are groups, of one device or of all, so that tensors
 * go the same ways: from host memory to the devices and back. */
#include "bench.h"
#include "device_list.h"

#include "check/host.h"
#include "check/runner.h"

#include <stdlib.h>
#include <string.h>

#define SAMPLES 7

typedef struct team {
    rapt_group *group;
    double seconds[BENCH_MAX_SAMPLES];
} team;

typedef struct sharing {
    rapt_device *devices[RAPT_GROUP_MAX];
    uint32_t count;
    team *teams; /* of each device alone, then of all */
    size_t samples;
    rapt_check_host host;
} sharing;

/* ---- one call ---- */

static rapt_status call(const sharing *s, const team *t, double *seconds, rapt_error *error)
{
    const double start = tool_now_ns();
    const rapt_status status = rapt_group_attention(t->group, &s->host.problem.desc, &s->host.args, error);
    *seconds = (tool_now_ns() - start) * 1e-9;
    return status;
}

/* ---- a case ---- */

static const char *name_of(const sharing *s, uint32_t team_index, char text[24])
{
    snprintf(text, 24, team_index == s->count ? "all" : "%u alone", team_index);
    return text;
}

/* Proof of each, and what it takes for shares to settle; then turns. */
static int measure(bench *b, sharing *s, const bench_case *c)
{
    rapt_error error = {0};
    char message[300], who[24];
    double seconds;
    rapt_status status = RAPT_OK;
    for (uint32_t t = 0; t <= s->count && status == RAPT_OK; t++)
        for (int n = 0; n < 4 && status == RAPT_OK; n++) {
            status = call(s, &s->teams[t], &seconds, &error);
            if (status == RAPT_OK && !rapt_check_host_right(&s->host, message, sizeof message)) {
                b->wrong++;
                fprintf(b->out, "%s: %s: %sWRONG%s: %s\n", c->c.name, name_of(s, t, who), bench_red(b), bench_plain(b), message);
                return TOOL_GOOD;
            }
        }
    for (size_t n = 0; n < s->samples && status == RAPT_OK && !tool_interrupted(); n++)
        for (uint32_t t = 0; t <= s->count && status == RAPT_OK; t++)
            status = call(s, &s->teams[t], &s->teams[t].seconds[n], &error);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}

static void tell(bench *b, const sharing *s, const bench_case *c, double flops, cJSON *array)
{
    double sum = 0;
    cJSON *o = cJSON_CreateObject(), *devices = cJSON_AddArrayToObject(o, "devices");
    cJSON_AddItemToArray(array, o);
    cJSON_AddStringToObject(o, "case", c->c.name);
    cJSON_AddNumberToObject(o, "flops", flops);
    fprintf(b->out, "%-28s %-10s %12s %12s %10s\n", c->c.name, "device", "median", "GFLOP/s", "share");
    for (uint32_t t = 0; t <= s->count; t++) {
        const bench_figure f = bench_figure_of(s->teams[t].seconds, s->samples);
        const bool all = t == s->count;
        char who[24], time[32];
        tool_duration(f.median * 1e9, time);
        fprintf(b->out, "%-28s %-10s %12s %12.4g", "", name_of(s, t, who), time, flops / f.median * 1e-9);
        if (all)
            fprintf(b->out, "%11s  %.3f of the sum of all rates\n", "", 1 / f.median / sum);
        rapt_group_member m = RAPT_GROUP_MEMBER_INIT;
        rapt_error ignored;
        cJSON *one = all ? cJSON_AddObjectToObject(o, "group") : cJSON_CreateObject();
        bench_figure_add(one, "wall", s->teams[t].seconds, s->samples, 1);
        if (all) {
            tool_json_number(one, "of_sum", 1 / f.median / sum);
            continue;
        }
        if (rapt_group_describe(s->teams[s->count].group, t, &m, &ignored) == RAPT_OK)
            cJSON_AddNumberToObject(one, "share", m.share);
        fprintf(b->out, " %9.1f%%\n", 100 * m.share);
        cJSON_AddStringToObject(one, "name", rapt_device_caps(s->devices[t])->device_name);
        cJSON_AddItemToArray(devices, one);
        sum += 1 / f.median;
    }
}

/* What each device would make of the case alone: its FLOP, and the tolerance that the least precise of the kernels needs. */
static int plan_all(sharing *s, double *flops)
{
    rapt_error error = {0};
    rapt_status status = RAPT_OK;
    bool half_weights = false;
    for (uint32_t i = 0; i < s->count && status == RAPT_OK; i++) {
        rapt_plan *plan = NULL;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        status = rapt_attention_plan(s->devices[i], &s->host.problem.desc, &plan, &error);
        if (status == RAPT_OK)
            status = rapt_plan_describe(plan, &info, &error);
        half_weights |= strstr(info.precision, RAPT_HALF_WEIGHTS) != NULL;
        *flops = (double)info.flops;
        rapt_plan_destroy(&plan);
    }
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    if (half_weights)
        s->host.tolerance = rapt_check_problem_half_weights(&s->host.problem);
    return s->host.tolerance < 0 ? tool_no_memory() : TOOL_GOOD;
}

static int share_case(bench *b, sharing *s, const bench_case *c, cJSON *array)
{
    const size_t wrong = b->wrong;
    double flops = 0;
    int code = rapt_check_host_make(&c->c, 4e8, &s->host) ? plan_all(s, &flops) : tool_no_memory();
    if (code == TOOL_GOOD)
        code = measure(b, s, c);
    if (code == TOOL_GOOD && b->wrong == wrong && !tool_interrupted())
        tell(b, s, c, flops, array);
    rapt_check_host_free(&s->host);
    return code;
}

/* ---- the whole ---- */

static int open_teams(sharing *s)
{
    int code = TOOL_GOOD;
    s->teams = calloc(s->count + 1, sizeof *s->teams);
    if (!s->teams)
        return tool_no_memory();
    for (uint32_t t = 0; t <= s->count && code == TOOL_GOOD; t++)
        code = tool_device_list_group(t == s->count ? s->devices : &s->devices[t], t == s->count ? s->count : 1, &s->teams[t].group);
    return code;
}

static void close_all(sharing *s)
{
    for (uint32_t t = 0; t <= s->count && s->teams; t++)
        rapt_group_destroy(&s->teams[t].group);
    for (uint32_t i = 0; i < s->count; i++)
        rapt_device_destroy(&s->devices[i]);
    free(s->teams);
}

int bench_shared(bench *b)
{
    sharing s = {.samples = b->samples > 0 ? (size_t)b->samples : SAMPLES};
    const tool_device_options given = {.caps = b->o->caps, .verbose = b->o->verbose};
    rapt_error error = {0};
    size_t count = 0;
    bench_case *cases = NULL;
    int code = tool_runtime_open(&given, &b->runtime);
    if (code == TOOL_GOOD)
        code = tool_device_list_open(b->runtime, b->o->shared, &given, b->out, s.devices, &s.count);
    if (code == TOOL_GOOD)
        code = open_teams(&s);
    const bench_device first = {.device = s.devices[0], .caps = code == TOOL_GOOD ? rapt_device_caps(s.devices[0]) : NULL};
    if (code == TOOL_GOOD && !(cases = bench_suite(b, &first, &count, &error)))
        code = tool_report(&error);
    cJSON *array = cJSON_AddArrayToObject(b->json, "shared");
    for (size_t n = 0; n < count && code == TOOL_GOOD && !tool_interrupted(); n++)
        code = bench_case_is_system(&cases[n]) ? tool_error(TOOL_BAD_INPUT, "--devices shares attention, not systems such as %.60s", cases[n].c.name)
                                               : share_case(b, &s, &cases[n], array);
    for (size_t n = 0; n < count; n++)
        bench_case_free(&cases[n]);
    free(cases);
    close_all(&s);
    return code;
}
