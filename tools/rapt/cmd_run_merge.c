/* rapt run merge: parts of one attention, over disjoint keys, put together by their log-sum-exps. */
#include "plan_run.h"
#include "problem_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PARTS RAPT_COMBINE_TERMS

typedef struct run_options {
    const char *part[PARTS], *out, *lse, *dtype, *time;
    tool_device_options device;
    bool explain, json;
} run_options;

/* Everything that must be put away at the end. Tensors: outputs of parts, their lses, out and lse. */
enum { LSES = PARTS, OUT = 2 * PARTS, LSE, TENSORS };
typedef struct run {
    plan_run p;
    const run_options *o;
    uint32_t parts;
    rapt_combine_desc d;
    tensor_file file[OUT];
    rapt_buffer *buffer[TENSORS];
} run;

static void run_close(run *r)
{
    plan_run_unbind(&r->p);
    for (size_t n = 0; n < TENSORS; n++)
        rapt_buffer_destroy(&r->buffer[n]);
    for (size_t n = 0; n < OUT; n++)
        tensor_file_free(&r->file[n]);
    plan_run_close(&r->p);
}

static rapt_tensor *tensor_of(run *r, uint32_t n)
{
    return n < LSES ? &r->d.x[n] : n < OUT ? &r->d.weight[n - LSES] : n == OUT ? &r->d.out : &r->d.lse;
}

/* OUT,LSE: the files of part n. */
static bool read_part(run *r, uint32_t n, rapt_error *error)
{
    const char *words = r->o->part[n], *comma = strchr(words, ',');
    char path[1024];
    if (!comma || comma == words || comma[1] == 0 || strchr(comma + 1, ',') || strlen(words) >= sizeof path)
        return tool_fail(error, RAPT_ERROR_INVALID, "--part '%.80s': OUT,LSE is needed, two files (whose names have no comma)", words);
    snprintf(path, sizeof path, "%.*s", (int)(comma - words), words);
    tensor_file *out = &r->file[n], *lse = &r->file[LSES + n], *first = &r->file[0];
    if (!tensor_file_read(path, out, error) || !tensor_file_read(comma + 1, lse, error))
        return false;
    if (out->rank != 4 || out->dtype == RAPT_I32)
        return tool_fail(error, RAPT_ERROR_INVALID, "--part %s: floats with four axes, (batch, heads, sequence, head_dim), are needed", path);
    if (lse->rank != 3 || lse->dtype != RAPT_F32 || memcmp(lse->shape, out->shape, 3 * sizeof *lse->shape) != 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--part %s: float32 (batch, heads, sequence) of %s is needed", comma + 1, path);
    if (out->dtype != first->dtype || memcmp(out->shape, first->shape, 4 * sizeof *out->shape) != 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--part %s: its type or shape is not the first part's", path);
    return true;
}

static bool describe(run *r, rapt_error *error)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    rapt_combine_desc *d = &r->d;
    for (uint32_t n = 0; n < r->parts; n++)
        if (!read_part(r, n, error))
            return false;
    rapt_dtype dtype = r->file[0].dtype;
    unsigned word = 0;
    while (r->o->dtype && word < TOOL_COUNT(names) && strcmp(r->o->dtype, names[word]) != 0)
        word++;
    if (word == TOOL_COUNT(names))
        return tool_fail(error, RAPT_ERROR_INVALID, "--dtype '%.40s': f32, f16 or bf16 is needed", r->o->dtype);
    if (r->o->dtype)
        dtype = (rapt_dtype)(RAPT_F32 + word);
    const uint64_t *shape = r->file[0].shape;
    d->weights = RAPT_COMBINE_SOFTMAX;
    d->out = rapt_tensor_bhnd(dtype, shape[0], shape[1], shape[2], shape[3]);
    rapt_tensor lse = rapt_tensor_bhnd(RAPT_F32, shape[0], shape[1], shape[2], 1);
    lse.rank = 3;
    for (uint32_t n = 0; n < r->parts; n++) {
        if (!tool_convert(&r->file[n], dtype, error))
            return false;
        d->x[n] = d->out;
        d->weight[n] = lse;
    }
    if (r->o->lse)
        d->lse = lse;
    return true;
}

static rapt_status bind(run *r, rapt_error *error)
{
    rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
    for (uint32_t n = 0; n < TENSORS; n++) {
        if (!tensor_of(r, n)->dtype)
            continue;
        const uint64_t bytes = rapt_tensor_bytes(tensor_of(r, n));
        rapt_status status = rapt_buffer_create(r->p.device.device, bytes ? bytes : 1, &r->buffer[n], error);
        if (status == RAPT_OK && n < OUT && bytes)
            status = rapt_buffer_upload(r->buffer[n], 0, r->file[n].data, bytes, error);
        if (status != RAPT_OK)
            return status;
        rapt_slot *slot = n < LSES ? &args.x[n] : n < OUT ? &args.weight[n - LSES] : n == OUT ? &args.out : &args.lse;
        slot->buffer = r->buffer[n];
    }
    return rapt_combine_bind(r->p.plan, &args, &r->p.binding, error);
}

static int write_results(run *r)
{
    int code = TOOL_GOOD;
    for (uint32_t n = OUT; n < TENSORS && code == TOOL_GOOD; n++)
        if (tensor_of(r, n)->dtype)
            code = plan_run_save(&r->p, n == OUT ? "out" : "lse", r->buffer[n], tensor_of(r, n), n == OUT ? r->o->out : r->o->lse);
    return code;
}

static bool describe_own(void *own, rapt_error *error)
{
    return describe(own, error);
}
static rapt_status plan_own(void *own, rapt_error *error)
{
    run *r = own;
    return rapt_combine_plan(r->p.device.device, &r->d, &r->p.plan, error);
}
static rapt_status bind_own(void *own, rapt_error *error)
{
    return bind(own, error);
}
static int write_own(void *own)
{
    return write_results(own);
}
static const plan_run_calls calls = {describe_own, plan_own, bind_own, write_own};

static const char text[] =
    "Attention over several sets of keys as if over all of them at once: each part's output\n"
    "weighs e^(its LSE), out = sum_p e^(L_p - L) O_p, L = log sum_p e^L_p. What a shared prefix\n"
    "and a sequence's own keys, two caches, or two devices computed each for itself.\n"
    "\n"
    "Files are NumPy's .npy, or FILE.safetensors:NAME. A part: what rapt run attention writes to\n"
    "--out and --lse, (batch, heads, N, head_dim) and float32 (batch, heads, N). A part of LSE\n"
    "-inf counts nothing; rows of which all are give 0 and LSE -inf. More parts than three: merge\n"
    "the first, and that with the others.";
static const char *const examples[] = {
    "rapt run merge --part PREFIX.npy,PREFIX_LSE.npy --part OWN.npy,OWN_LSE.npy --out O.npy --lse L.npy",
    NULL,
};

int tool_run_merge(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--part", "OUT,LSE", "output and log-sum-exp of a part; two or three times", o.part, NULL, PARTS},
        {"--out", "FILE", "where the output goes (npy)", &o.out, NULL},
        {"--lse", "FILE", "also write the log-sum-exp over all", &o.lse, NULL},
        {"--dtype", "f32|f16|bf16", "type to store; default: that of the files", &o.dtype, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more and tell the time", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {"rapt run merge --part OUT,LSE --part OUT,LSE --out FILE [options]", text, examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 0, &count, &code))
        return code;
    run r = {.o = &o, .d = RAPT_COMBINE_DESC_INIT, .p = {.where = &o.device, .explain = o.explain}};
    while (r.parts < PARTS && o.part[r.parts])
        r.parts++;
    if (r.parts < 2)
        return tool_error(TOOL_BAD_INPUT, "--part OUT,LSE is needed twice at least");
    if (!o.out)
        return tool_error(TOOL_BAD_INPUT, "--out FILE is missing");
    if (o.lse && strcmp(o.lse, o.out) == 0)
        return tool_error(TOOL_BAD_INPUT, "--out and --lse are the same file, %s", o.out);
    code = plan_run_all(&r.p, o.time, o.json, &calls, &r);
    run_close(&r);
    return code;
}
