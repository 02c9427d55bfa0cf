/* rapt run: an operator on tensors from files. */
#include "problem_options.h"
#include "quantise.h"
#include "run_group.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_options {
    tool_problem_options problem;
    tool_device_options device;
    const char *out, *lse, *row_max, *col_sums, *time, *devices;
    bool by_kv_head;
    bool explain, json;
} run_options;

/* Everything that must be put away at the end. */
typedef struct run {
    const run_options *o;
    tool_problem problem;
    tool_device device;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *q, *k, *v, *out, *lse, *row_max, *col_sums, *cu_q, *cu_k, *table, *lengths, *extra[TOOL_X_COUNT];
    rapt_buffer *user[RAPT_USER_BUFFERS];
    rapt_plan_info info;
    cJSON *json;
    int64_t repeats;
} run;

static void run_close(run *r)
{
    rapt_binding_destroy(&r->binding);
    rapt_buffer **const buffers[] = {&r->q,        &r->k,    &r->v,    &r->out,   &r->lse,    &r->row_max,
                                     &r->col_sums, &r->cu_q, &r->cu_k, &r->table, &r->lengths};
    for (size_t n = 0; n < TOOL_COUNT(buffers); n++)
        rapt_buffer_destroy(buffers[n]);
    for (size_t n = 0; n < TOOL_X_COUNT; n++)
        rapt_buffer_destroy(&r->extra[n]);
    for (size_t n = 0; n < RAPT_USER_BUFFERS; n++)
        rapt_buffer_destroy(&r->user[n]);
    rapt_plan_destroy(&r->plan);
    tool_device_close(&r->device);
    tool_problem_free(&r->problem);
    cJSON_Delete(r->json);
}

/* ---- the steps ---- */

static int explain(run *r)
{
    char *text = tool_explain(r->plan, r->o->json ? RAPT_JSON : RAPT_TEXT);
    if (!text)
        return tool_no_memory();
    if (r->o->json)
        cJSON_AddItemToObject(r->json, "explain", cJSON_Parse(text));
    else
        printf("%s%s", text, text[0] && text[strlen(text) - 1] == '\n' ? "" : "\n");
    free(text);
    return TOOL_GOOD;
}

static int refuse(run *r, rapt_status status, const rapt_error *error)
{
    if (r->o->explain && status == RAPT_ERROR_UNSUPPORTED) {
        char *text = tool_explain_refusal(r->device.device, &r->problem.desc, RAPT_TEXT);
        if (text)
            fprintf(r->o->json ? stderr : stdout, "%s\n", text);
        free(text);
    }
    return tool_status_error(status, error);
}

static rapt_status upload(run *r, const void *data, uint64_t bytes, rapt_buffer **buffer, rapt_error *error)
{
    const rapt_status status = rapt_buffer_create(r->device.device, bytes > 0 ? bytes : 1, buffer, error);
    if (status != RAPT_OK || !data || bytes == 0)
        return status;
    return rapt_buffer_upload(*buffer, 0, data, bytes, error);
}

static rapt_status bind(run *r, rapt_error *error)
{
    const rapt_attention_desc *d = &r->problem.desc;
    const struct {
        const void *data;
        uint64_t bytes;
        rapt_buffer **buffer;
    } tensors[] = {
        {r->problem.q.data, rapt_tensor_bytes(&d->q), &r->q},
        {r->problem.k.data, rapt_tensor_bytes(&d->k), &r->k},
        {r->problem.v.data, rapt_tensor_bytes(&d->v), &r->v},
        {NULL, rapt_tensor_bytes(&d->out), &r->out},
        {NULL, d->lse.dtype ? rapt_tensor_bytes(&d->lse) : 0, d->lse.dtype ? &r->lse : NULL},
        {NULL, d->row_max.dtype ? rapt_tensor_bytes(&d->row_max) : 0, d->row_max.dtype ? &r->row_max : NULL},
        {NULL, d->col_sums.dtype ? rapt_tensor_bytes(&d->col_sums) : 0, d->col_sums.dtype ? &r->col_sums : NULL},
        {r->problem.cu_q.data, r->problem.cu_q.count * 4, d->sequences > 0 ? &r->cu_q : NULL},
        {r->problem.cu_k.data, r->problem.cu_k.count * 4, d->sequences > 0 ? &r->cu_k : NULL},
        {r->problem.cache.table.data, r->problem.cache.table.count * 4, d->page_size > 0 ? &r->table : NULL},
        {r->problem.cache.lengths.data, r->problem.cache.lengths.count * 4, d->k_lengths.dtype ? &r->lengths : NULL},
    };
    for (size_t n = 0; n < TOOL_COUNT(tensors); n++) {
        if (!tensors[n].buffer)
            continue;
        const rapt_tensor *plain = tensors[n].buffer == &r->k   ? &r->problem.cache.plain[0]
                                   : tensors[n].buffer == &r->v ? &r->problem.cache.plain[1]
                                                                : NULL;
        const rapt_status status =
            plain && plain->dtype != RAPT_DTYPE_NONE
                ? tool_quantise(r->device.device, plain, tensors[n].data, plain == r->problem.cache.plain ? &d->k : &d->v, tensors[n].buffer, error)
                : upload(r, tensors[n].data, tensors[n].bytes, tensors[n].buffer, error);
        if (status != RAPT_OK)
            return status;
    }
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q.buffer = r->q;
    args.k.buffer = r->k;
    args.v.buffer = r->v;
    args.out.buffer = r->out;
    args.lse.buffer = r->lse;
    args.row_max.buffer = r->row_max;
    args.col_sums.buffer = r->col_sums;
    args.cu_seqlens_q.buffer = r->cu_q;
    args.cu_seqlens_k.buffer = r->cu_k;
    args.block_table.buffer = r->table;
    args.k_lengths.buffer = r->lengths;
    for (unsigned n = 0; n < TOOL_X_COUNT; n++) {
        const rapt_tensor *t = tool_extra_tensor(&r->problem.desc, n);
        if (t->dtype == RAPT_DTYPE_NONE)
            continue;
        const rapt_status status = upload(r, r->problem.extra[n].data, rapt_tensor_bytes(t), &r->extra[n], error);
        if (status != RAPT_OK)
            return status;
        tool_extra_slot(&args, n)->buffer = r->extra[n];
    }
    for (size_t n = 0; n < RAPT_USER_BUFFERS && d->user[n].name; n++) {
        const rapt_status status = upload(r, r->problem.user.files[n].data, d->user[n].count * 4, &r->user[n], error);
        if (status != RAPT_OK)
            return status;
        args.user[n].buffer = r->user[n];
    }
    return rapt_attention_bind(r->plan, &args, &r->binding, error);
}

static int write_results(run *r)
{
    const rapt_attention_desc *d = &r->problem.desc;
    rapt_error error = {0};
    uint64_t shape[TENSOR_FILE_RANK], lse_shape[TENSOR_FILE_RANK];
    const uint32_t rank = tool_problem_out_shape(&r->problem, shape), lse_rank = tool_problem_lse_shape(&r->problem, lse_shape);
    if (!tool_save(r->out, &d->out, rank, shape, r->o->out, &error) ||
        (r->o->lse && !tool_save(r->lse, &d->lse, lse_rank, lse_shape, r->o->lse, &error)) ||
        (r->o->row_max && !tool_save(r->row_max, &d->row_max, 3, d->row_max.size, r->o->row_max, &error)) ||
        (r->o->col_sums && !tool_save(r->col_sums, &d->col_sums, 3, d->col_sums.size, r->o->col_sums, &error)))
        return tool_report(&error);
    char text[160];
    tensor_file_shape(rank, shape, text, sizeof text);
    const char *type = d->out.dtype == RAPT_F16 ? "float16" : "float32";
    if (r->o->json) {
        cJSON *out = cJSON_AddObjectToObject(r->json, "out");
        cJSON_AddStringToObject(out, "file", r->o->out);
        cJSON_AddStringToObject(out, "dtype", type);
        cJSON *axes = cJSON_AddArrayToObject(out, "shape");
        for (uint32_t axis = 0; axis < rank; axis++)
            cJSON_AddItemToArray(axes, cJSON_CreateNumber((double)shape[axis]));
        if (r->o->lse)
            cJSON_AddStringToObject(r->json, "lse", r->o->lse);
        if (r->o->row_max)
            cJSON_AddStringToObject(r->json, "row_max", r->o->row_max);
        if (r->o->col_sums)
            cJSON_AddStringToObject(r->json, "col_sums", r->o->col_sums);
    } else {
        printf("out: %s, %s %s\n", r->o->out, type, text);
        if (r->o->lse)
            printf("lse: %s, float32\n", r->o->lse);
        if (r->o->row_max)
            printf("row_max: %s, float32\n", r->o->row_max);
        if (r->o->col_sums)
            printf("col_sums: %s, float32\n", r->o->col_sums);
    }
    return TOOL_GOOD;
}

static int timed(run *r)
{
    const size_t count = (size_t)r->repeats;
    double *device = malloc(count * sizeof *device), *wall = malloc(count * sizeof *wall);
    rapt_error error = {0};
    rapt_status status = device && wall ? RAPT_OK : RAPT_ERROR_OUT_OF_HOST_MEMORY;
    for (size_t n = 0; n < count && status == RAPT_OK; n++)
        status = tool_submit(r->binding, &device[n], &wall[n], &error);
    if (status == RAPT_OK) {
        const tool_figures d = tool_figures_of(device, count), w = tool_figures_of(wall, count);
        const bool stamps = d.min >= 0;
        const double ns = stamps ? d.median : w.median, flops = tool_problem_flops(&r->problem);
        const double bytes = (double)r->info.bytes_read + (double)r->info.bytes_written;
        const double tflops = ns > 0 ? flops / ns / 1e3 : 0, gbytes = ns > 0 ? bytes / ns : 0;
        if (r->o->json) {
            cJSON *t = cJSON_AddObjectToObject(r->json, "time");
            cJSON_AddNumberToObject(t, "repeats", (double)count);
            if (stamps)
                tool_json_figures(t, "device", d);
            else
                cJSON_AddNullToObject(t, "device");
            tool_json_figures(t, "wall", w);
            tool_json_number(t, "flops", flops);
            tool_json_number(t, "bytes", bytes);
            tool_json_number(t, "tflops_per_s", tflops);
            tool_json_number(t, "gbytes_per_s", gbytes);
        } else {
            char a[32], b[32], c[32];
            if (stamps) {
                tool_duration(d.median, a);
                tool_duration(d.min, b);
                tool_duration(d.max, c);
                printf("device time: median %s, min %s, max %s (%zu runs)\n", a, b, c, count);
            } else {
                printf("device time: unknown, the queue has no timestamps\n");
            }
            tool_duration(w.median, a);
            tool_duration(w.min, b);
            tool_duration(w.max, c);
            printf("wall time:   median %s, min %s, max %s\n", a, b, c);
            printf("rate: %.4g TFLOP/s, %.4g GB/s, by the median %s time\n", tflops, gbytes,
                   stamps ? "device" : "wall");
        }
    }
    free(device);
    free(wall);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}

static void report_plan(run *r)
{
    const rapt_plan_info *i = &r->info;
    if (r->o->json) {
        cJSON_AddItemToObject(r->json, "device", tool_caps_json(rapt_device_caps(r->device.device)));
        cJSON_AddItemToObject(r->json, "problem", tool_problem_json(&r->problem));
        cJSON_AddStringToObject(r->json, "kernel", i->kernel);
        cJSON_AddStringToObject(r->json, "merge_kernel", i->merge_kernel);
        cJSON_AddStringToObject(r->json, "precision", i->precision);
        cJSON_AddNumberToObject(r->json, "key_splits", i->key_splits);
        cJSON_AddNumberToObject(r->json, "dispatches", i->steps);
        cJSON_AddNumberToObject(r->json, "slices", i->slices);
        cJSON_AddNumberToObject(r->json, "workspace_bytes", (double)i->workspace_bytes);
        return;
    }
    char line[400];
    tool_problem_line(&r->problem, line, sizeof line);
    printf("%s\n", line);
    printf("kernel: %s%s%s, %s, workspace %" PRIu64 " bytes\n", i->kernel, i->merge_kernel[0] ? " + " : "",
           i->merge_kernel, i->precision, i->workspace_bytes);
}

static int run_attention(run *r)
{
    rapt_error error = {0};
    if (!tool_problem_make(&r->o->problem, r->o->lse != NULL, &r->problem, &error))
        return tool_report(&error);
    tool_want_margins(&r->problem.desc, r->o->row_max != NULL, r->o->col_sums != NULL, r->o->by_kv_head);
    int code = tool_kernel_known(r->o->problem.kernel);
    if (code == TOOL_GOOD && r->o->devices) {
        const tool_group_options group = {r->o->devices, r->o->device, r->o->out, r->o->lse, r->repeats, r->o->json};
        return tool_run_group(&group, &r->problem);
    }
    if (code == TOOL_GOOD)
        code = tool_device_open(&r->o->device, r->o->json, &r->device);
    if (code != TOOL_GOOD)
        return code;
    rapt_status status = rapt_attention_plan(r->device.device, &r->problem.desc, &r->plan, &error);
    if (status != RAPT_OK)
        return refuse(r, status, &error);
    status = rapt_plan_prepare(r->plan, &error);
    if (status == RAPT_OK)
        status = rapt_plan_describe(r->plan, &r->info, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    report_plan(r);
    if (r->o->explain)
        code = explain(r);
    if (code != TOOL_GOOD)
        return code;
    double device_ns, wall_ns;
    status = bind(r, &error);
    if (status == RAPT_OK)
        status = tool_submit(r->binding, &device_ns, &wall_ns, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    code = write_results(r);
    if (code == TOOL_GOOD && r->repeats > 0)
        code = timed(r);
    if (code == TOOL_GOOD && r->o->json) {
        cJSON *json = r->json;
        r->json = NULL;
        code = tool_json_print(json, NULL);
    }
    return code;
}

static const char text[] =
    "Computes O = softmax(scale * Q K^T) V on a Vulkan device, from files to a file.\n"
    "\n"
    "Files are NumPy's .npy (float32 or float16, C order), or one tensor of a .safetensors\n"
    "file written as FILE.safetensors:NAME (F32, F16, or BF16, which runs as bf16):\n"
    "(batch, heads, sequence, head_dim), or with --layout bnhd\n"
    "(batch, sequence, heads, head_dim). Q, K and V have one type.\n"
    "\n"
    "Query head h reads kv head floor(h * kv_heads / q_heads). With fewer query heads than\n"
    "kv heads the output has kv_heads heads, head g being query head\n"
    "floor(g * q_heads / kv_heads) on kv head g. Query i of Nq stands at key position\n"
    "p = i + (Nk - Nq) + causal offset; --causal shows it keys j <= p, --window L,R those of\n"
    "p - L to p + R, --segments those of its own segment, --block-mask those of blocks that\n"
    "are not 0; together what all show. Q and K are first normed (--qk-norm) and turned\n"
    "(--rope: key j by j, query i by p). Scores are scaled, then capped (--softcap), then\n"
    "biased (--bias, --bias-lowrank, --bias-key, --alibi), then changed by --score-mod, then\n"
    "masked: all rules of visibility, --mask-mod among them, hold at once.\n"
    "A row that sees no key gives 0 and LSE -inf (with --sinks: its sink's logit). Links\n"
    "sigmoid, laplace, relu and none have no denominator: their LSE is 0. With\n"
    "--cu-seqlens-q and -k the batch is 1, the sequence axis is packed, and each sequence\n"
    "is aligned by itself.\n"
    "\n"
    "The output has Q's layout and is stored in the type computed from: float16 for f16,\n"
    "else float32 (bf16 rounds float32 files and writes float32).";
static const char *const examples[] = {
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --causal --causal-offset -5 --lse L.npy",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --causal --window 1024 --sink-tokens 4",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --score-mod alibi.glsl --user slopes=S.npy",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --causal --alibi slopes.npy --sinks S.npy",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --block-mask M.npy --block 64x64",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --causal --col-sums C.npy --row-max M.npy",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --causal --devices 0,1 --time 10",
    "rapt run attention --q m.safetensors:q --k m.safetensors:k --v m.safetensors:v --out O.npy --time 20",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --dtype f16 --caps no-subgroup --explain",
    "rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --cu-seqlens-q A.npy --cu-seqlens-k B.npy",
    "rapt run decode --help",
    "rapt run neighborhood --help",
    "rapt run linear --help",
    "rapt run memory --help",
    "rapt run route --help",
    "rapt run scan --help",
    "rapt run system --help",
    NULL,
};

static const char grid_text[] =
    "Neighborhood attention (NATTEN; with strides GNA): O = softmax(scale * Q K^T) V where a\n"
    "query sees keys of a window around it, along each axis of a grid.\n"
    "\n"
    "Files are as of rapt run attention, with one to three axes in place of the sequence:\n"
    "(batch, heads, X[, Y[, Z]], head_dim); the grid of the keys is that of the queries.\n"
    "\n"
    "Along an axis of n places with kernel size K, dilation d and stride s, the query at x sees\n"
    "keys of its group x mod d, whose m places are numbered y = floor(x / d). It has the window\n"
    "of c = min(floor(y / s) s + floor(s / 2), m - 1): K keys from clamp(c - floor(K / 2), 0, m - K).\n"
    "Along a causal axis c = min(floor(y / s) s + s - 1, m - 1), and it sees the keys\n"
    "max(0, c - K + 1) .. c that are <= y. K d <= n and s <= K. In snippets, q and k are indices of\n"
    "the flattened grid, the last axis fastest.\n"
    "\n"
    "The LSE is (batch, heads, X[, Y[, Z]]).";
static const char *const grid_examples[] = {
    "rapt run neighborhood --q Q.npy --k K.npy --v V.npy --out O.npy --kernel-size 7x7",
    "rapt run neighborhood --q Q.npy --k K.npy --v V.npy --out O.npy --kernel-size 13 --dilation 4 --lse L.npy",
    "rapt run neighborhood --q Q.npy --k K.npy --v V.npy --out O.npy --kernel-size 8x8x4 --stride 4x4x4 --causal 0",
    "rapt explain neighborhood --shape 1,8,8,64,64,64 --kernel-size 7x7",
    NULL,
};

static const char decode_text[] =
    "Decodes: attention of the last queries of each batch entry over its key-value cache.\n"
    "\n"
    "A cache is, by what is given:\n"
    "  contiguous      K and V are (batch, kv heads, Nk, head_dim), room for Nk keys each\n"
    "  ragged          --lengths says how many of them each batch entry has; what lies behind is\n"
    "                  never seen, NaN included, and a batch entry of none gives 0, LSE -inf\n"
    "  paged           --page-size P cuts K and V into pages of P keys, in a pool, in no order;\n"
    "                  or --block-table says which pages of a pool each batch entry has: pages may\n"
    "                  be shared (prefixes), and missing (holes)\n"
    "\n"
    "Query i of Nq stands at key position p = i + (length - Nq): --causal shows it keys j <= p,\n"
    "--window those of p - L to p + R. Query head h reads kv head floor(h * kv_heads / q_heads).\n"
    "Files and output are as of rapt run attention.";
static const char *const decode_examples[] = {
    "rapt run decode --q Q.npy --k K.npy --v V.npy --out O.npy",
    "rapt run decode --q Q.npy --k K.npy --v V.npy --out O.npy --lengths L.npy --page-size 16",
    "rapt run decode --q Q.npy --k pool_K.npy --v pool_V.npy --out O.npy --lengths L.npy --block-table T.npy",
    "rapt run decode --q Q.npy --k K.npy --v V.npy --out O.npy --splits 8 --lse L.npy --time 100",
    "rapt explain decode --shape 8,32,8,1,4096,128 --dtype f16 --page-size 16",
    NULL,
};

/* Two outputs besides: what scores come to along keys, and along queries. */
#define RUN_MARGINS                                                                                                    \
    {"--row-max", "FILE", "also write each query's largest score: float32 (batch, heads, Nq)", &o.row_max, NULL},      \
        {"--col-sums", "FILE",                                                                                         \
         "also write, for each key, the sum of its weights over all queries:\nfloat32 (batch, heads, Nk)",             \
         &o.col_sums, NULL},                                                                                           \
        {"--by-kv-head", NULL, "column sums over all heads that read a kv head: (batch, kv heads, Nk)", NULL,          \
         &o.by_kv_head}

/* Whether two of the outputs go to one file. */
static const char *same_file(const run_options *o)
{
    const char *const files[] = {o->out, o->lse, o->row_max, o->col_sums};
    for (size_t i = 0; i < TOOL_COUNT(files); i++)
        for (size_t j = 0; j < i; j++)
            if (files[i] && files[j] && strcmp(files[i], files[j]) == 0)
                return files[i];
    return NULL;
}

int tool_run(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        TOOL_OPTIONS_FILES(o.problem),
        {"--out", "FILE", "where the output goes (npy)", &o.out, NULL},
        {"--lse", "FILE",
         "also write the natural log of the sum of exp(score): float32\n(batch, heads, Nq) in either layout",
         &o.lse, NULL},
        RUN_MARGINS,
        TOOL_OPTIONS_MEANING(o.problem),
        TOOL_OPTIONS_DEVICE(o.device),
        {"--devices", "SEL,SEL[,..]",
         "share the work among these devices by their speed; tells each one's share,\ntime, and what became of those that failed",
         &o.devices, NULL},
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more: device and wall time, TFLOP/s, GB/s", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_option grid_options[] = {
        {"--q", "FILE", "queries: npy file, or FILE.safetensors:NAME", &o.problem.q, NULL},
        {"--k", "FILE", "keys", &o.problem.k, NULL},
        {"--v", "FILE", "values", &o.problem.v, NULL},
        {"--out", "FILE", "where the output goes (npy)", &o.out, NULL},
        {"--lse", "FILE", "also write the natural log of the sum of exp(score)", &o.lse, NULL},
        TOOL_OPTIONS_NEIGHBORHOOD(o.problem),
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more: device and wall time, TFLOP/s, GB/s", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_option decode_options[] = {
        TOOL_OPTIONS_DECODE(o.problem),
        {"--out", "FILE", "where the output goes (npy)", &o.out, NULL},
        {"--lse", "FILE", "also write the natural log of the sum of exp(score)", &o.lse, NULL},
        RUN_MARGINS,
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more: device and wall time, TFLOP/s, GB/s", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage decode_usage = {"rapt run decode --q FILE --k FILE --v FILE --out FILE [options]", decode_text,
                                     decode_examples, decode_options};
    const tool_usage grid_usage = {"rapt run neighborhood --q FILE --k FILE --v FILE --out FILE --kernel-size KxK [options]",
                                   grid_text, grid_examples, grid_options};
    const tool_usage usage = {"rapt run attention --q FILE --k FILE --v FILE --out FILE [options]", text,
                              examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (argc > 1 && strcmp(argv[1], "system") == 0)
        return tool_run_system(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "linear") == 0)
        return tool_run_linear(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "route") == 0)
        return tool_run_route(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "merge") == 0)
        return tool_run_merge(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "rows") == 0)
        return tool_run_rows(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "memory") == 0)
        return tool_run_memory(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "scan") == 0)
        return tool_run_scan(argc - 1, argv + 1);
    o.problem.grid.used = argc > 1 && strcmp(argv[1], "neighborhood") == 0;
    o.problem.cache.used = argc > 1 && strcmp(argv[1], "decode") == 0;
    const tool_usage *chosen = o.problem.grid.used ? &grid_usage : o.problem.cache.used ? &decode_usage : &usage;
    if (!tool_arguments(argc, argv, chosen, words, 1, &count, &code))
        return code;
    if (count == 0)
        return tool_error(TOOL_BAD_INPUT,
                          "which operator? rapt run attention .., decode .., neighborhood .., linear .., memory .., merge .., route .., rows .., scan .., or system NAME ..");
    if (chosen == &usage && strcmp(words[0], "attention") != 0)
        return tool_error(TOOL_BAD_INPUT,
                          "unknown operator '%.60s'; attention, decode, neighborhood, linear, memory, merge, route, rows, scan, or system NAME, is what there is",
                          words[0]);
    if (!o.out)
        return tool_error(TOOL_BAD_INPUT, "--out FILE is missing");
    if (same_file(&o))
        return tool_error(TOOL_BAD_INPUT, "two of --out, --lse, --row-max and --col-sums are the same file, %s", same_file(&o));
    if (o.by_kv_head && !o.col_sums)
        return tool_error(TOOL_BAD_INPUT, "--by-kv-head goes with --col-sums");
    if (o.devices && (o.device.device || o.explain || o.row_max || o.col_sums))
        return tool_error(TOOL_BAD_INPUT, "--devices goes without --device, --explain, --row-max and --col-sums");
    rapt_error error = {0};
    run r = {.o = &o, .info = RAPT_PLAN_INFO_INIT};
    if (o.time && !tool_integer("--time", o.time, 1, 1000000, &r.repeats, &error))
        return tool_report(&error);
    r.json = o.json ? cJSON_CreateObject() : NULL;
    code = o.json && !r.json ? tool_no_memory() : run_attention(&r);
    run_close(&r);
    return code;
}
