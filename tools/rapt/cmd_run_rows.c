/* rapt run rows: rows of tensors gathered by a list, put back, or placed in a cache, on tensors from files. */
#include "problem_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_options {
    const char *op, *x, *list, *weight, *cache, *rows, *runs, *out, *dtype, *time;
    const char *norm, *norm_weight, *rope, *positions;
    tool_device_options device;
    bool explain, json;
} run_options;

/* What is read, the cache among them, and then what is written. */
enum { X, LIST, WEIGHT, NORM_WEIGHT, POSITIONS, CACHE, FILES, OUT = CACHE };

/* Everything that must be put away at the end. */
typedef struct run {
    const run_options *o;
    rapt_rows_desc d;
    tensor_file file[FILES];
    tool_device device;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *buffer[FILES];
    rapt_plan_info info;
    cJSON *json;
    int64_t repeats, rows, runs;
} run;

static void run_close(run *r)
{
    rapt_binding_destroy(&r->binding);
    for (size_t n = 0; n < FILES; n++) {
        rapt_buffer_destroy(&r->buffer[n]);
        tensor_file_free(&r->file[n]);
    }
    rapt_plan_destroy(&r->plan);
    tool_device_close(&r->device);
    cJSON_Delete(r->json);
}

static rapt_tensor *tensor_of(run *r, unsigned n)
{
    rapt_tensor *const tensors[FILES] = {&r->d.x, &r->d.list, &r->d.weight, &r->d.norm_weight, &r->d.positions, &r->d.out};
    return tensors[n];
}

/* One of the words; false: `option` has another. */
static bool parse_word(const char *option, const char *word, const char *const *names, unsigned count, unsigned *out, rapt_error *error)
{
    for (*out = 0; *out < count; ++*out)
        if (word && strcmp(word, names[*out]) == 0)
            return true;
    return tool_fail(error, RAPT_ERROR_INVALID, "%s '%.40s': %s, %s, %s%s%s is needed", option, word ? word : "", names[0], names[1],
                     names[2], count > 3 ? ", " : "", count > 3 ? names[3] : "");
}

static bool read_file(run *r, unsigned n, const char *option, const char *path, uint32_t rank, bool of_rows, rapt_dtype dtype,
                      rapt_error *error)
{
    tensor_file *f = &r->file[n];
    if (!tensor_file_read(path, f, error))
        return false;
    if (f->rank != rank || (of_rows ? f->dtype == RAPT_I32 : f->dtype != dtype))
        return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s with %u axes are needed", option, path,
                         of_rows ? "floats" : rapt_dtype_name(dtype), rank);
    return true;
}

/* Norm and rotary positions of rows that are placed. */
static bool describe_rewriting(run *r, bool places, rapt_error *error)
{
    const run_options *o = r->o;
    double epsilon = 0;
    bool interleaved = false;
    if (!places && (o->norm || o->norm_weight || o->rope || o->positions))
        return tool_fail(error, RAPT_ERROR_INVALID, "--norm, --norm-weight, --rope and --positions go with place");
    if ((o->norm_weight && !o->norm) || !o->rope != !o->positions)
        return tool_fail(error, RAPT_ERROR_INVALID, "--norm-weight goes with --norm, and --rope with --positions");
    if ((o->norm && !tool_number("--norm", o->norm, &epsilon, error)) ||
        (o->rope && !tool_rope(o->rope, &r->d.rope_base, &r->d.rope_dim, &interleaved, error)) ||
        (o->norm_weight && !read_file(r, NORM_WEIGHT, "--norm-weight", o->norm_weight, 1, false, RAPT_F32, error)) ||
        (o->positions && !read_file(r, POSITIONS, "--positions", o->positions, 2, false, RAPT_I32, error)))
        return false;
    r->d.flags = (o->norm ? RAPT_ROWS_NORM : 0) | (interleaved ? RAPT_ROWS_ROPE_INTERLEAVED : 0);
    r->d.norm_epsilon = (float)epsilon;
    return true;
}

static bool describe(run *r, rapt_error *error)
{
    static const char *const kinds[] = {"gather", "scatter", "scatter-mean", "place"}, *const dtypes[] = {"f32", "f16", "bf16"};
    const run_options *o = r->o;
    unsigned kind, word = 0;
    if (!parse_word("--op", o->op, kinds, 4, &kind, error) || (o->dtype && !parse_word("--dtype", o->dtype, dtypes, 3, &word, error)))
        return false;
    const bool places = kind == RAPT_ROWS_PLACE, scatters = kind == RAPT_ROWS_SCATTER || kind == RAPT_ROWS_SCATTER_MEAN;
    if (places != (o->cache != NULL) || scatters != (o->rows != NULL))
        return tool_fail(error, RAPT_ERROR_INVALID, "--cache goes with place, and --rows with scattering: one of them is %s",
                         places || scatters ? "missing, or one too many" : "one too many");
    if (!read_file(r, X, "--x", o->x, 4, true, RAPT_F32, error) || !read_file(r, LIST, "--list", o->list, 3, false, RAPT_I32, error) ||
        (o->weight && !read_file(r, WEIGHT, "--weight", o->weight, 3, false, RAPT_F32, error)) ||
        (places && !read_file(r, CACHE, "--cache", o->cache, 4, true, RAPT_F32, error)))
        return false;
    if (!describe_rewriting(r, places, error))
        return false;
    const rapt_dtype dtype = o->dtype ? (rapt_dtype)(RAPT_F32 + word) : r->file[X].dtype;
    if (!tool_convert(&r->file[X], dtype, error) || (places && !tool_convert(&r->file[CACHE], dtype, error)))
        return false;
    r->d.kind = (rapt_rows_kind)kind;
    r->d.runs = (uint64_t)r->runs;
    for (unsigned n = X; n < FILES; n++)
        if (r->file[n].data)
            *tensor_of(r, n) = tensor_contiguous(r->file[n].dtype, r->file[n].rank, r->file[n].shape);
    const uint64_t *x = r->file[X].shape, *list = r->file[LIST].shape, heads = list[1] > x[1] ? list[1] : x[1];
    if (!places)
        r->d.out = rapt_tensor_bhnd(dtype, x[0], heads, scatters ? (uint64_t)r->rows : list[2], x[3]);
    return true;
}

static rapt_status bind(run *r, rapt_error *error)
{
    rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
    rapt_slot *const slots[FILES] = {&args.x, &args.list, &args.weight, &args.norm_weight, &args.positions, &args.out};
    for (unsigned n = 0; n < FILES; n++) {
        if (!tensor_of(r, n)->dtype)
            continue;
        const uint64_t bytes = rapt_tensor_bytes(tensor_of(r, n));
        rapt_status status = rapt_buffer_create(r->device.device, bytes ? bytes : 1, &r->buffer[n], error);
        if (status == RAPT_OK && bytes && r->file[n].data)
            status = rapt_buffer_upload(r->buffer[n], 0, r->file[n].data, bytes, error);
        if (status != RAPT_OK)
            return status;
        slots[n]->buffer = r->buffer[n];
    }
    return rapt_rows_bind(r->plan, &args, &r->binding, error);
}

static int report_plan(run *r)
{
    const rapt_plan_info *i = &r->info;
    char *text = r->o->explain || r->o->json ? tool_explain(r->plan, r->o->json ? RAPT_JSON : RAPT_TEXT) : NULL;
    if (!text && (r->o->explain || r->o->json))
        return tool_no_memory();
    if (r->o->json) {
        cJSON_AddItemToObject(r->json, "device", tool_caps_json(rapt_device_caps(r->device.device)));
        cJSON_AddStringToObject(r->json, "kernel", i->kernel);
        cJSON_AddItemToObject(r->json, "explain", cJSON_Parse(text));
    } else {
        printf("kernel: %s, %s\n%s", i->kernel, i->precision, text ? text : "");
    }
    free(text);
    return TOOL_GOOD;
}

static int write_result(run *r)
{
    rapt_error error = {0};
    char text[160];
    if (!tool_save(r->buffer[OUT], &r->d.out, 4, r->d.out.size, r->o->out, &error))
        return tool_report(&error);
    tensor_file_shape(4, r->d.out.size, text, sizeof text);
    if (r->json)
        cJSON_AddStringToObject(r->json, "out", r->o->out);
    else
        printf("out: %s, %s %s\n", r->o->out, rapt_dtype_name(r->d.out.dtype), text);
    return TOOL_GOOD;
}

static int run_rows(run *r)
{
    rapt_error error = {0};
    double device_ns, wall_ns;
    if (!describe(r, &error))
        return tool_report(&error);
    int code = tool_device_open(&r->o->device, r->o->json, &r->device);
    if (code != TOOL_GOOD)
        return code;
    rapt_status status = rapt_rows_plan(r->device.device, &r->d, &r->plan, &error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(r->plan, &error);
    if (status == RAPT_OK)
        status = rapt_plan_describe(r->plan, &r->info, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    code = report_plan(r);
    if (code != TOOL_GOOD)
        return code;
    status = bind(r, &error);
    if (status == RAPT_OK)
        status = tool_submit(r->binding, &device_ns, &wall_ns, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    code = write_result(r);
    if (code == TOOL_GOOD && r->repeats > 0)
        code = tool_timed(r->binding, r->repeats, r->json);
    if (code == TOOL_GOOD && r->o->json) {
        cJSON *json = r->json;
        r->json = NULL;
        code = tool_json_print(json, NULL);
    }
    return code;
}

static const char text[] =
    "Moves rows that a list names. gather: row i of the output is row list[i] of X. scatter: row\n"
    "list[i] of the output is row i of X, summed over the runs of the list that name it, or their\n"
    "mean; rows that none names are 0. place: row i of X is written to slot list[i] of a cache\n"
    "(pages, heads, page size, head_dim), slot s being place s % page size of page s / page size,\n"
    "and the rest of the cache stays: new keys or values for rapt run decode --block-table.\n"
    "\n"
    "Files are NumPy's .npy, or FILE.safetensors:NAME. X: (batch, heads, rows, head_dim). List:\n"
    "int32 (batch or 1, heads, entries), as rapt run route --list-out writes it less its axis of\n"
    "one tile; -1 names no row. Each run of a list that is scattered by rises up to its first -1.";
static const char *const examples[] = {
    "rapt run rows --op gather --x K.npy --list L.npy --out CHOSEN.npy",
    "rapt run rows --op scatter --x O.npy --list L.npy --weight R.npy --rows 4096 --out O_ALL.npy",
    "rapt run rows --op place --x K_NEW.npy --list SLOTS.npy --cache K_POOL.npy --out K_POOL.npy",
    "rapt run rows --op place --x K_NEW.npy --list SLOTS.npy --cache K_POOL.npy --norm 1e-6 --rope 10000 --positions P.npy --out K_POOL.npy",
    NULL,
};

int tool_run_rows(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--op", "WHAT", "gather, scatter, scatter-mean or place", &o.op, NULL},
        {"--x", "FILE", "the rows", &o.x, NULL},
        {"--list", "FILE", "their numbers, or slots", &o.list, NULL},
        {"--weight", "FILE",
         "rows are multiplied by the weight of the row that they come from or go\nto: float32 (batch, heads, numbered rows)",
         &o.weight, NULL},
        {"--rows", "N", "scattering: rows of the output", &o.rows, NULL},
        {"--runs", "N", "scattering: runs of the list; default 1", &o.runs, NULL},
        {"--cache", "FILE", "placing: the cache as it is", &o.cache, NULL},
        {"--norm", "EPS", "placing: rows are divided by sqrt(mean of squares + EPS) first", &o.norm, NULL},
        {"--norm-weight", "FILE", "and multiplied by this: float32 (head_dim)", &o.norm_weight, NULL},
        {"--rope", "BASE[,DIM][,interleaved]",
         "placing: then their first DIM elements (default: all) are turned, in pairs\n(i, i + DIM/2), interleaved: (2i, 2i + 1)",
         &o.rope, NULL},
        {"--positions", "FILE", "by their positions: int32 (batch or 1, rows)", &o.positions, NULL},
        {"--out", "FILE", "where the output, or the cache as it is then, goes (npy)", &o.out, NULL},
        {"--dtype", "f32|f16|bf16", "type to store; default: that of X", &o.dtype, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more and tell the time", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {"rapt run rows --op WHAT --x FILE --list FILE --out FILE [options]", text, examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 0, &count, &code))
        return code;
    const char *const needed[][2] = {{"--op", o.op}, {"--x", o.x}, {"--list", o.list}, {"--out", o.out}};
    for (size_t n = 0; n < TOOL_COUNT(needed); n++)
        if (!needed[n][1])
            return tool_error(TOOL_BAD_INPUT, "%s is missing", needed[n][0]);
    rapt_error error = {0};
    run r = {.o = &o, .d = RAPT_ROWS_DESC_INIT, .info = RAPT_PLAN_INFO_INIT};
    if ((o.time && !tool_integer("--time", o.time, 1, 1000000, &r.repeats, &error)) ||
        (o.rows && !tool_integer("--rows", o.rows, 0, 1 << 29, &r.rows, &error)) ||
        (o.runs && !tool_integer("--runs", o.runs, 1, 1 << 29, &r.runs, &error)))
        return tool_report(&error);
    r.json = o.json ? cJSON_CreateObject() : NULL;
    code = o.json && !r.json ? tool_no_memory() : run_rows(&r);
    run_close(&r);
    return code;
}
