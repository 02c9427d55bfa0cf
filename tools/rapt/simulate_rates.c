#include "simulate_rates.h"

#include "bench/text_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 7
#define WARM 2
#define COPY_BYTES (16u << 20)
#define MOST_FILE (256u << 20)

/* ---- on a device ---- */

enum { Q, K, V, OUT, BESIDE, TENSORS }; /* beside out: the lse, or the state behind the last token */

/* Attention or linear attention whose tensors all hold 1/16: times do not depend on what they hold. */
typedef struct trial {
    rapt_device *device;
    rapt_buffer *buffer[TENSORS];
    rapt_plan *plan;
    rapt_binding *binding;
} trial;

static uint32_t sixteenth(rapt_dtype dtype)
{
    return dtype == RAPT_F16 ? 0x2c002c00u : dtype == RAPT_BF16 ? 0x3d803d80u : 0x3d800000u;
}

static rapt_status make_buffers(trial *t, const rapt_tensor *const tensors[TENSORS], rapt_error *error)
{
    rapt_status status = RAPT_OK;
    for (int i = 0; i < TENSORS && status == RAPT_OK; i++) {
        const uint64_t bytes = (rapt_tensor_bytes(tensors[i]) + 3) / 4 * 4;
        status = rapt_buffer_create(t->device, bytes, &t->buffer[i], error);
        if (status == RAPT_OK)
            status = rapt_buffer_fill(t->buffer[i], 0, bytes, sixteenth(tensors[i]->dtype), error);
    }
    return status;
}

static void drop_plan(trial *t)
{
    rapt_binding_destroy(&t->binding);
    rapt_plan_destroy(&t->plan);
}

static void drop(trial *t)
{
    drop_plan(t);
    for (int i = 0; i < TENSORS; i++)
        rapt_buffer_destroy(&t->buffer[i]);
}

static rapt_status ready_attention(trial *t, const rapt_attention_desc *d, rapt_error *error)
{
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q.buffer = t->buffer[Q];
    args.k.buffer = t->buffer[K];
    args.v.buffer = t->buffer[V];
    args.out.buffer = t->buffer[OUT];
    args.lse.buffer = t->buffer[BESIDE];
    rapt_status status = rapt_attention_plan(t->device, d, &t->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(t->plan, error);
    return status == RAPT_OK ? rapt_attention_bind(t->plan, &args, &t->binding, error) : status;
}

static rapt_status ready_linear(trial *t, const rapt_linear_desc *d, rapt_error *error)
{
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    args.q.buffer = t->buffer[Q];
    args.k.buffer = t->buffer[K];
    args.v.buffer = t->buffer[V];
    args.out.buffer = t->buffer[OUT];
    args.state_out.buffer = t->buffer[BESIDE];
    rapt_status status = rapt_linear_plan(t->device, d, &t->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(t->plan, error);
    return status == RAPT_OK ? rapt_linear_bind(t->plan, &args, &t->binding, error) : status;
}

/* The median of several runs of what is bound, in seconds. */
static rapt_status median_run(trial *t, double *seconds, rapt_error *error)
{
    double wall[RUNS], device_ns;
    rapt_status status = RAPT_OK;
    for (int n = -WARM; n < RUNS && status == RAPT_OK; n++)
        status = tool_submit(t->binding, &device_ns, &wall[n < 0 ? 0 : n], error);
    *seconds = status == RAPT_OK ? tool_figures_of(wall, RUNS).median * 1e-9 : 0;
    return status;
}

/* With an lse, and outputs that may begin anywhere, as results that are to be merged have them. */
static rapt_attention_desc attention(const simulate_problem *p, uint64_t queries, uint64_t keys, bool causal)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = rapt_tensor_bhnd(p->dtype, p->batch, p->q_heads, queries, p->d_qk);
    d.k = rapt_tensor_bhnd(p->dtype, p->batch, p->kv_heads, keys, p->d_qk);
    d.v = rapt_tensor_bhnd(p->dtype, p->batch, p->kv_heads, keys, p->d_v);
    d.out = rapt_tensor_bhnd(p->dtype, p->batch, p->q_heads, queries, p->d_v);
    d.lse = d.out;
    d.lse.dtype = RAPT_F32;
    d.lse.rank = 3;
    d.lse.stride[0] = (int64_t)(p->q_heads * queries);
    d.lse.stride[1] = (int64_t)queries;
    d.lse.stride[2] = 1;
    d.q.align = d.out.align = d.lse.align = 4;
    d.flags = causal ? RAPT_ATTENTION_CAUSAL : 0u;
    return d;
}

/* Seconds of one run. `whole`: from the plan on, as who plans each call anew. */
static rapt_status time_attention(rapt_device *device, const rapt_attention_desc *d, bool whole, double *seconds, rapt_error *error)
{
    trial t = {.device = device};
    const rapt_tensor *const tensors[TENSORS] = {&d->q, &d->k, &d->v, &d->out, &d->lse};
    double wall[RUNS];
    rapt_status status = make_buffers(&t, tensors, error);
    for (int n = -WARM; n < RUNS && status == RAPT_OK && whole; n++) {
        const double start = tool_now_ns();
        double device_ns, run;
        status = ready_attention(&t, d, error);
        if (status == RAPT_OK)
            status = tool_submit(t.binding, &device_ns, &run, error);
        drop_plan(&t);
        wall[n < 0 ? 0 : n] = tool_now_ns() - start;
    }
    if (status == RAPT_OK && whole)
        *seconds = tool_figures_of(wall, RUNS).median * 1e-9;
    if (status == RAPT_OK && !whole)
        status = ready_attention(&t, d, error);
    if (status == RAPT_OK && !whole)
        status = median_run(&t, seconds, error);
    drop(&t);
    return status;
}

static rapt_status time_linear(rapt_device *device, const simulate_problem *p, double *seconds, rapt_error *error)
{
    trial t = {.device = device};
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.q = d.k = rapt_tensor_bhnd(p->dtype, p->batch, p->q_heads, p->tokens, p->d_qk);
    d.v = d.out = rapt_tensor_bhnd(p->dtype, p->batch, p->q_heads, p->tokens, p->d_v);
    d.state_out = rapt_tensor_bhnd(RAPT_F32, p->batch, p->q_heads, p->d_qk, p->d_v);
    const rapt_tensor *const tensors[TENSORS] = {&d.q, &d.k, &d.v, &d.out, &d.state_out};
    rapt_status status = make_buffers(&t, tensors, error);
    if (status == RAPT_OK)
        status = ready_linear(&t, &d, error);
    if (status == RAPT_OK)
        status = median_run(&t, seconds, error);
    drop(&t);
    return status;
}

/* Both ways between host and device, once, with a buffer made anew, as calls that take tensors of the host do. */
static rapt_status time_copies(rapt_device *device, uint64_t bytes, double *seconds, rapt_error *error)
{
    rapt_buffer *buffer = NULL;
    double wall[RUNS];
    void *host = calloc(1, bytes);
    rapt_status status = RAPT_OK;
    if (!host) {
        tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %llu bytes", (unsigned long long)bytes);
        status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
    }
    for (int n = -WARM; n < RUNS && status == RAPT_OK; n++) {
        const double start = tool_now_ns();
        status = rapt_buffer_create(device, bytes, &buffer, error);
        if (status == RAPT_OK)
            status = rapt_buffer_upload(buffer, 0, host, bytes, error);
        if (status == RAPT_OK)
            status = rapt_buffer_download(buffer, 0, host, bytes, error);
        rapt_buffer_destroy(&buffer);
        wall[n < 0 ? 0 : n] = tool_now_ns() - start;
    }
    *seconds = status == RAPT_OK ? tool_figures_of(wall, RUNS).median * 1e-9 : 0;
    free(host);
    return status;
}

int simulate_measure(rapt_device *device, const simulate_problem *p, simulate_rates *out)
{
    rapt_error error = {0};
    double seconds = 0;
    const double d = (double)(p->d_qk + p->d_v), n = (double)p->tokens, heads = (double)(p->batch * p->q_heads);
    const rapt_attention_desc tiny = attention(p, 1, 1, false), work = attention(p, p->tokens, p->tokens, p->causal),
                              step = attention(p, 1, p->keys, false);
    rapt_status status = time_attention(device, &tiny, true, &out->call, &error);
    if (status == RAPT_OK)
        status = time_copies(device, 4, &seconds, &error);
    out->copy_call = seconds / 2;
    if (status == RAPT_OK)
        status = time_copies(device, COPY_BYTES, &seconds, &error);
    out->copy = 2.0 * COPY_BYTES / seconds;
    if (status == RAPT_OK && p->attention) {
        status = time_attention(device, &work, false, &seconds, &error);
        out->flops = 2 * heads * (p->causal ? n * (n + 1) / 2 : n * n) * d / seconds;
    }
    if (status == RAPT_OK) { /* merging goes by it too */
        status = time_attention(device, &step, false, &seconds, &error);
        out->memory = (double)(p->batch * p->kv_heads * p->keys * rapt_dtype_size(p->dtype)) * d / seconds;
        if (!p->attention)
            out->flops = 2 * heads * (double)p->keys * d / seconds;
    }
    if (status == RAPT_OK && p->linear) {
        status = time_linear(device, p, &seconds, &error);
        out->linear_flops = 4 * heads * n * (double)(p->d_qk * p->d_v) / seconds;
    }
    snprintf(out->from, sizeof out->from, "measured on %.200s, %.200s: medians of %d runs with %llu tokens, %llu keys",
             rapt_device_caps(device)->device_name, rapt_device_caps(device)->driver_info, RUNS, (unsigned long long)p->tokens,
             (unsigned long long)p->keys);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}

/* ---- from a file ---- */

static double number(const cJSON *o, const char *name)
{
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(o, name);
    return cJSON_IsNumber(x) && isfinite(x->valuedouble) && x->valuedouble > 0 ? x->valuedouble : 0;
}

static bool says(const cJSON *o, const char *name, const char *want)
{
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(o, name);
    return cJSON_IsString(x) && strcmp(x->valuestring, want) == 0;
}

/* How far a case is from the problem; below 0: it is another kind of work. */
static double distance(const cJSON *c, const simulate_problem *p, bool decode)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(c, "shape"), *causal = cJSON_GetObjectItemCaseSensitive(c, "causal");
    const double d = number(shape, "head_dim_qk"), queries = number(shape, "nq");
    if (!says(c, "status", "ok") || !says(c, "system", "attention") || !says(c, "dtype", rapt_dtype_name(p->dtype)) || d <= 0 || queries <= 0)
        return -1;
    if (decode ? !says(c, "group", "decode") : !says(c, "group", "dense") && !says(c, "group", "causal"))
        return -1;
    const double far = fabs(log2(d / (double)p->d_qk)) * 10 + fabs(log2(number(shape, "nk") / (double)(decode ? p->keys : p->tokens)));
    return far + (!decode && cJSON_IsTrue(causal) != p->causal ? 1 : 0);
}

static const cJSON *nearest(const cJSON *cases, const simulate_problem *p, bool decode)
{
    const cJSON *c, *best = NULL;
    cJSON_ArrayForEach(c, cases)
    {
        const double far = distance(c, p, decode);
        if (far >= 0 && (best == NULL || far < distance(best, p, decode)))
            best = c;
    }
    return best;
}

/* A gauge's median; 0 without. */
static double gauge(const cJSON *device, const char *name)
{
    const cJSON *g;
    cJSON_ArrayForEach(g, cJSON_GetObjectItemCaseSensitive(device, "gauges"))
    {
        if (says(g, "name", name) && says(g, "status", "ok"))
            return number(cJSON_GetObjectItemCaseSensitive(g, "value"), "median");
    }
    return 0;
}

static const char *name_of(const cJSON *c)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(c, "name");
    return cJSON_IsString(name) ? name->valuestring : "none";
}

static bool take(const char *path, const cJSON *json, const simulate_problem *p, simulate_rates *out, rapt_error *error)
{
    const cJSON *device = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "devices"), 0);
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(device, "cases");
    if (!says(json, "schema", "rapt-bench/1") || !cJSON_IsArray(cases))
        return tool_fail(error, RAPT_ERROR_INVALID, "%.300s: not what rapt bench --json writes, or without a device", path);
    const cJSON *work = nearest(cases, p, false), *step = nearest(cases, p, true);
    out->flops = number(work, "flops_per_second");
    out->memory = number(step, "bytes_per_second");
    out->call = gauge(device, "submit-wait");
    out->copy = gauge(device, "upload-staged");
    snprintf(out->from, sizeof out->from, "of %.300s: cases %.80s, %.80s", path, name_of(work), name_of(step));
    return out->flops > 0 || !p->attention ||
           tool_fail(error, RAPT_ERROR_INVALID, "%.300s: no dense or causal case of %s was timed", path, rapt_dtype_name(p->dtype));
}

bool simulate_read_rates(const char *path, const simulate_problem *p, simulate_rates *out, rapt_error *error)
{
    size_t size;
    char *text = text_file_read(path, MOST_FILE, &size, error);
    if (!text)
        return false;
    cJSON *json = cJSON_Parse(text);
    const bool good = json ? take(path, json, p, out, error) : tool_fail(error, RAPT_ERROR_INVALID, "%.300s: not JSON", path);
    cJSON_Delete(json);
    free(text);
    return good;
}
