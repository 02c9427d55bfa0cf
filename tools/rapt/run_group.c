/* rapt run attention --devices: one attention on several devices. */
#include "run_group.h"

#include "device_list.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct group_run {
    const tool_group_options *o;
    tool_problem *problem;
    rapt_runtime *runtime;
    rapt_device *devices[RAPT_GROUP_MAX];
    uint32_t count;
    rapt_group *group;
    void *out, *lse;
    cJSON *json;
} group_run;

/* ---- the call ---- */

/* Where the group's arguments have one of the tensors beside q, k and v. */
static const void **extra_place(rapt_group_attention_args *args, unsigned extra)
{
    rapt_attention_args slots = RAPT_ATTENTION_ARGS_INIT;
    const struct {
        const rapt_slot *slot;
        const void **place;
    } places[] = {
        {&slots.sinks, &args->sinks},           {&slots.alibi, &args->alibi},       {&slots.key_bias, &args->key_bias},
        {&slots.segments, &args->segments},     {&slots.gate, &args->gate},         {&slots.bias, &args->bias},
        {&slots.bias_u, &args->bias_u},         {&slots.bias_v, &args->bias_v},     {&slots.block_mask, &args->block_mask},
        {&slots.relative, &args->relative},     {&slots.decay, &args->decay},
    };
    const rapt_slot *slot = tool_extra_slot(&slots, extra);
    for (size_t n = 0; n < TOOL_COUNT(places); n++)
        if (places[n].slot == slot)
            return places[n].place;
    return NULL;
}

static rapt_status call(group_run *r, double *wall_ns, rapt_error *error)
{
    const rapt_attention_desc *d = &r->problem->desc;
    rapt_group_attention_args args = RAPT_GROUP_ATTENTION_ARGS_INIT;
    args.q = r->problem->q.data;
    args.k = r->problem->k.data;
    args.v = r->problem->v.data;
    args.out = r->out;
    args.lse = r->lse;
    args.cu_seqlens_q = r->problem->cu_q.data;
    args.cu_seqlens_k = r->problem->cu_k.data;
    for (unsigned n = 0; n < TOOL_X_COUNT; n++) {
        const void **place = extra_place(&args, n);
        if (place != NULL && tool_extra_tensor(&r->problem->desc, n)->dtype != RAPT_DTYPE_NONE)
            *place = r->problem->extra[n].data;
    }
    for (size_t n = 0; n < RAPT_USER_BUFFERS && d->user[n].name; n++)
        args.user[n] = r->problem->user.files[n].data;
    const double start = tool_now_ns();
    const rapt_status status = rapt_group_attention(r->group, d, &args, error);
    *wall_ns = tool_now_ns() - start;
    return status;
}

/* ---- what is told ---- */

static void tell_member(group_run *r, uint32_t index, cJSON *list)
{
    rapt_group_member m = RAPT_GROUP_MEMBER_INIT;
    rapt_error error = {0};
    if (rapt_group_describe(r->group, index, &m, &error) != RAPT_OK)
        return;
    if (list) {
        cJSON *o = tool_caps_json(rapt_device_caps(r->devices[index]));
        cJSON_AddNumberToObject(o, "share", m.share);
        cJSON_AddNumberToObject(o, "parts", m.parts);
        cJSON_AddNumberToObject(o, "wasted", m.wasted);
        cJSON_AddNumberToObject(o, "busy_ns", m.busy_ns);
        tool_json_number(o, "flops_per_s", m.rate);
        cJSON_AddBoolToObject(o, "quarantined", m.quarantined != 0);
        cJSON_AddStringToObject(o, "status", rapt_status_name(m.status));
        cJSON_AddStringToObject(o, "message", m.message);
        cJSON_AddItemToArray(list, o);
        return;
    }
    char busy[32];
    tool_duration(m.busy_ns, busy);
    printf("%u: share %.1f %%, %u part%s, busy %s", index, 100 * m.share, m.parts, m.parts == 1 ? "" : "s", busy);
    if (m.wasted > 0)
        printf(", %u for nothing", m.wasted);
    if (m.rate > 0)
        printf(", %.4g GFLOP/s", m.rate * 1e-9);
    printf("%s%s%s\n", m.quarantined ? ", QUARANTINED: " : m.status != RAPT_OK ? ", last failure: " : "", m.message, "");
}

static void tell_members(group_run *r)
{
    cJSON *list = r->json ? cJSON_AddArrayToObject(r->json, "devices") : NULL;
    for (uint32_t i = 0; i < r->count; i++)
        tell_member(r, i, list);
}

static int timed(group_run *r)
{
    const size_t count = (size_t)r->o->repeats;
    double *wall = malloc(count * sizeof *wall);
    rapt_error error = {0};
    rapt_status status = wall ? RAPT_OK : RAPT_ERROR_OUT_OF_HOST_MEMORY;
    for (size_t n = 0; n < count && status == RAPT_OK; n++)
        status = call(r, &wall[n], &error);
    if (status == RAPT_OK) {
        const tool_figures w = tool_figures_of(wall, count);
        char a[32], b[32], c[32];
        tool_duration(w.median, a);
        tool_duration(w.min, b);
        tool_duration(w.max, c);
        if (r->json) {
            cJSON *t = cJSON_AddObjectToObject(r->json, "time");
            cJSON_AddNumberToObject(t, "repeats", (double)count);
            tool_json_figures(t, "wall", w);
            tool_json_number(t, "flops", tool_problem_flops(r->problem));
        } else {
            printf("wall time: median %s, min %s, max %s (%zu runs, transfers and all)\n", a, b, c, count);
        }
    }
    free(wall);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}

static int write_results(group_run *r)
{
    const rapt_attention_desc *d = &r->problem->desc;
    rapt_error error = {0};
    uint64_t shape[TENSOR_FILE_RANK], lse_shape[TENSOR_FILE_RANK];
    const uint32_t rank = tool_problem_out_shape(r->problem, shape), lse_rank = tool_problem_lse_shape(r->problem, lse_shape);
    if (!tool_save_data(r->out, &d->out, rank, shape, r->o->out, &error) ||
        (r->o->lse && !tool_save_data(r->lse, &d->lse, lse_rank, lse_shape, r->o->lse, &error)))
        return tool_report(&error);
    if (r->json) {
        cJSON_AddStringToObject(r->json, "out", r->o->out);
        if (r->o->lse)
            cJSON_AddStringToObject(r->json, "lse", r->o->lse);
        return TOOL_GOOD;
    }
    printf("out: %s\n", r->o->out);
    if (r->o->lse)
        printf("lse: %s\n", r->o->lse);
    return TOOL_GOOD;
}

static int run_open(group_run *r)
{
    const rapt_attention_desc *d = &r->problem->desc;
    rapt_error error = {0};
    double wall;
    r->out = malloc((size_t)rapt_tensor_bytes(&d->out) + 1);
    r->lse = malloc(d->lse.dtype ? (size_t)rapt_tensor_bytes(&d->lse) + 1 : 1);
    if (!r->out || !r->lse)
        return tool_no_memory();
    char line[400];
    tool_problem_line(r->problem, line, sizeof line);
    if (r->json)
        cJSON_AddItemToObject(r->json, "problem", tool_problem_json(r->problem));
    else
        printf("%s\n", line);
    const rapt_status status = call(r, &wall, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    int code = write_results(r);
    if (code == TOOL_GOOD && r->o->repeats > 0)
        code = timed(r);
    if (code == TOOL_GOOD)
        tell_members(r); /* of the last call */
    return code;
}

int tool_run_group(const tool_group_options *options, tool_problem *problem)
{
    group_run r = {.o = options, .problem = problem, .json = options->json ? cJSON_CreateObject() : NULL};
    int code = options->json && !r.json ? tool_no_memory() : tool_runtime_open(&options->device, &r.runtime);
    if (code == TOOL_GOOD)
        code = tool_device_list_open(r.runtime, options->devices, &options->device, r.json ? stderr : stdout, r.devices, &r.count);
    if (code == TOOL_GOOD)
        code = tool_device_list_group(r.devices, r.count, &r.group);
    if (code == TOOL_GOOD)
        code = run_open(&r);
    rapt_group_destroy(&r.group);
    for (uint32_t i = 0; i < r.count; i++)
        rapt_device_destroy(&r.devices[i]);
    rapt_runtime_destroy(&r.runtime);
    free(r.out);
    free(r.lse);
    if (code == TOOL_GOOD && r.json)
        return tool_json_print(r.json, NULL);
    cJSON_Delete(r.json);
    return code;
}
