/* What a case is and what came of it, as CASE of RESULTS.md. */
#include "bench.h"
#include "grid_options.h"

#include <string.h>

static rapt_system_info system_of(const bench_case *c)
{
    rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
    rapt_system_describe(c->system.index, &info, NULL);
    return info;
}

const char *bench_case_group(const bench_case *c)
{
    if (bench_case_is_system(c))
        return system_of(c).family;
    if (c->linear)
        return "linear";
    if (c->c.sequences > 0)
        return "varlen";
    if (c->c.nq <= 16 && c->c.nk > c->c.nq)
        return "decode";
    if (c->c.grid.rank > 0)
        return "neighborhood";
    if (c->c.q_heads != c->c.kv_heads)
        return "gqa";
    if (c->c.window)
        return "window";
    if (c->c.causal)
        return "causal";
    return c->c.nq != c->c.nk ? "cross" : "dense";
}

static void add_shape(cJSON *o, const rapt_case *c)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {{"batch", c->batch}, {"q_heads", c->q_heads},  {"kv_heads", c->kv_heads}, {"nq", c->nq},
                   {"nk", c->nk},       {"head_dim_qk", c->d_qk}, {"head_dim_v", c->d_v}};
    cJSON *shape = cJSON_AddObjectToObject(o, "shape");
    for (size_t n = 0; n < TOOL_COUNT(members); n++)
        cJSON_AddNumberToObject(shape, members[n].name, (double)members[n].value);
    if (c->sequences > 0)
        cJSON_AddNumberToObject(shape, "sequences", c->sequences);
}

static void add_attention(cJSON *o, const rapt_case *c)
{
    add_shape(o, c);
    cJSON_AddBoolToObject(o, "causal", c->causal);
    if (c->grid.rank > 0)
        tool_grid_json(&c->grid, o);
    if (c->window) {
        const int sides[] = {(int)c->window_left, (int)c->window_right};
        cJSON_AddItemToObject(o, "window", cJSON_CreateIntArray(sides, 2));
        cJSON_AddNumberToObject(o, "sink_tokens", (double)c->sink_tokens);
    }
}

static void add_plan(cJSON *o, const bench_case *c)
{
    const rapt_plan_info *i = &c->info;
    cJSON_AddStringToObject(o, "kernel", i->kernel);
    cJSON_AddStringToObject(o, "merge_kernel", i->merge_kernel);
    cJSON_AddStringToObject(o, "why", c->why);
    cJSON_AddStringToObject(o, "precision", i->precision);
    cJSON_AddNumberToObject(o, "key_splits", i->key_splits);
    cJSON_AddNumberToObject(o, "steps", i->steps);
    cJSON_AddNumberToObject(o, "slices", i->slices);
    cJSON_AddNumberToObject(o, "flops", c->flops);
    cJSON_AddNumberToObject(o, "bytes", c->bytes);
    cJSON_AddNumberToObject(o, "density", c->density);
    if (c->bytes > 0)
        cJSON_AddNumberToObject(o, "intensity", c->flops / c->bytes);
    cJSON_AddNumberToObject(o, "workspace_bytes", (double)i->workspace_bytes);
    cJSON_AddNumberToObject(o, "memory_bytes", (double)c->memory_bytes);
}

static void add_proof(cJSON *o, const bench_case *c)
{
    cJSON *proof = cJSON_AddObjectToObject(o, "proof");
    tool_json_number(proof, "max_error", c->proof.max_abs);
    tool_json_number(proof, "tolerance", c->proof.tolerance);
    cJSON_AddNumberToObject(proof, "rows", (double)c->rows);
    cJSON_AddBoolToObject(proof, "sampled", c->sampled);
}

static void add_times(cJSON *o, const bench_device *d, const bench_case *c)
{
    const bool stamps = bench_has_device_clock(c);
    const double median = bench_figure_of(bench_case_samples(c), c->count).median;
    bench_figure_add(o, "device", c->device, stamps ? c->count : 0, 1);
    bench_figure_add(o, "wall", c->wall, c->count, 1);
    cJSON_AddStringToObject(o, "clock", stamps ? "device" : "wall");
    tool_json_number(o, "cold_seconds", c->cold_seconds);
    if (c->joules > 0)
        cJSON_AddNumberToObject(o, "joules", c->joules);
    if (!(median > 0))
        return;
    cJSON_AddNumberToObject(o, "flops_per_second", c->flops / median);
    cJSON_AddNumberToObject(o, "bytes_per_second", c->bytes / median);
    const char *peak = "";
    bool memory;
    const double roof = bench_roof(&d->roof, c->info.kernel, c->c.dtype, c->flops, c->bytes, &peak, &memory);
    if (roof > 0) {
        cJSON_AddNumberToObject(o, "roof", roof);
        cJSON_AddNumberToObject(o, "of_roof", c->flops / median / roof);
        cJSON_AddStringToObject(o, "bound", memory ? "memory" : "compute");
        cJSON_AddStringToObject(o, "peak", peak);
    }
}

cJSON *bench_case_json(const bench_device *d, const bench_case *c)
{
    static const char *const names[] = {"untimed", "ok", "wrong", "refused", "failed"};
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", c->c.name);
    cJSON_AddStringToObject(o, "system", bench_case_is_system(c) ? system_of(c).name : c->linear ? "linear attention" : "attention");
    cJSON_AddStringToObject(o, "group", bench_case_group(c));
    cJSON_AddStringToObject(o, "dtype", rapt_dtype_name(c->c.dtype));
    if (bench_case_is_system(c))
        cJSON_AddStringToObject(o, "problem", c->system.problem);
    else if (c->linear)
        cJSON_AddStringToObject(o, "problem", strchr(c->c.name, ':') + 1);
    else
        add_attention(o, &c->c);
    if (c->weight > 0)
        cJSON_AddNumberToObject(o, "calls", c->weight);
    cJSON_AddStringToObject(o, "status", names[c->status]);
    if (c->message[0])
        cJSON_AddStringToObject(o, "message", c->message);
    if (c->info.kernel[0])
        add_plan(o, c);
    if (c->info.kernel[0] && c->status != BENCH_FAILED)
        add_proof(o, c);
    if (c->status == BENCH_OK)
        add_times(o, d, c);
    return o;
}
