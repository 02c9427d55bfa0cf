/* rapt run route: which blocks of keys tiles of queries attend to, on tensors from files. */
#include "plan_run.h"
#include "problem_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_options {
    const char *q, *k, *mask, *list, *scores, *summary_out, *within;
    const char *within_blocks, *skip, *list_heads, *block, *summary, *select, *queries, *heads, *first, *last, *offset, *scale, *dtype, *limit, *time;
    tool_device_options device;
    bool causal, explain, json;
} run_options;

/* What is read, then what may be written, in this order. */
enum { Q, K, WITHIN, SUMMARY, SCORES, MASK, LIST, TENSORS };

/* Everything that must be put away at the end. */
typedef struct run {
    plan_run p;
    const run_options *o;
    rapt_route_desc d;
    tensor_file file[SUMMARY];
    rapt_buffer *buffer[TENSORS];
} run;

static void run_close(run *r)
{
    plan_run_unbind(&r->p);
    for (size_t n = 0; n < TENSORS; n++)
        rapt_buffer_destroy(&r->buffer[n]);
    for (size_t n = 0; n < SUMMARY; n++)
        tensor_file_free(&r->file[n]);
    plan_run_close(&r->p);
}

static const char *path_of(const run *r, int n)
{
    const char *const paths[TENSORS] = {r->o->q, r->o->k, r->o->within, r->o->summary_out, r->o->scores, r->o->mask, r->o->list};
    return paths[n];
}

static rapt_tensor *tensor_of(run *r, int n)
{
    rapt_tensor *const tensors[TENSORS] = {&r->d.q, &r->d.k, &r->d.within, &r->d.summary, &r->d.scores, &r->d.mask, &r->d.list};
    return tensors[n];
}

/* ---- words ---- */

/* NAME or NAME:REST: whether `word` begins so; *rest: what stands behind the colon, or NULL. */
static bool is_named(const char *word, const char *name, const char **rest)
{
    const size_t length = strlen(name);
    *rest = strncmp(word, name, length) == 0 && word[length] == ':' ? word + length + 1 : NULL;
    return *rest != NULL || strcmp(word, name) == 0;
}

static bool parse_block(const char *text, rapt_route_desc *d, rapt_error *error)
{
    char *end = NULL;
    d->block_k = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    d->block_q = d->block_k;
    if (end && *end == 'x' && end[1] >= '0' && end[1] <= '9') /* queries x keys */
        d->block_k = strtoull(end + 1, &end, 10);
    if (!end || *end != 0 || d->block_q < 1 || d->block_k < 1 || d->block_q > 1u << 29 || d->block_k > 1u << 29)
        return tool_fail(error, RAPT_ERROR_INVALID, "--block '%.40s': a size, or QUERIESxKEYS, from 1 to 2^29 is needed", text);
    return true;
}

static bool parse_summary(const char *word, rapt_route_desc *d, rapt_error *error)
{
    const char *rest;
    int64_t place = (int64_t)d->block_k - 1;
    unsigned n = 0;
    while (n < RAPT_SUMMARY_COUNT && !is_named(word, rapt_summary_name((rapt_summary)n), &rest))
        n++;
    if (n == RAPT_SUMMARY_COUNT || (rest && n != RAPT_SUMMARY_LANDMARK))
        return tool_fail(error, RAPT_ERROR_INVALID, "--summary '%.40s': mean, max, min-max, landmark or landmark:PLACE is needed",
                         word);
    if (rest && !tool_integer("--summary landmark", rest, 0, (int64_t)d->block_k - 1, &place, error))
        return false;
    d->summarise = (rapt_summary)n;
    d->landmark = n == RAPT_SUMMARY_LANDMARK ? (uint64_t)place : 0;
    return true;
}

static bool parse_select(const char *word, rapt_route_desc *d, rapt_error *error)
{
    const char *rest = NULL;
    int64_t top = 0;
    double x = 0;
    unsigned n = 0;
    while (n < RAPT_SELECT_COUNT && !is_named(word, rapt_select_name((rapt_select)n), &rest))
        n++;
    if (n == RAPT_SELECT_COUNT || !rest)
        return tool_fail(error, RAPT_ERROR_INVALID, "--select '%.40s': top-k:K, threshold:X or mass:P is needed", word);
    d->select = (rapt_select)n;
    if (n == RAPT_SELECT_TOP_K ? !tool_integer("--select top-k", rest, 1, INT64_MAX, &top, error)
                               : !tool_number(n == RAPT_SELECT_MASS ? "--select mass" : "--select threshold", rest, &x, error))
        return false;
    d->top_k = (uint64_t)top;
    d->threshold = d->mass = (float)x;
    return true;
}

/* One of two words, or neither given: 0. */
static bool parse_choice(const char *option, const char *word, const char *const names[3], unsigned *out, rapt_error *error)
{
    *out = 0;
    for (unsigned n = 0; word && n < 3 && names[n]; n++)
        if (strcmp(word, names[n]) == 0) {
            *out = n;
            return true;
        }
    return !word || tool_fail(error, RAPT_ERROR_INVALID, "%s '%.40s': %s, %s%s%s is needed", option, word, names[0], names[1],
                              names[2] ? " or " : "", names[2] ? names[2] : "");
}

static bool parse_words(run *r, rapt_dtype *dtype, rapt_error *error)
{
    static const char *const queries[3] = {"mean", "max", NULL}, *const heads[3] = {"each", "sum", "max"},
                             *const dtypes[3] = {"f32", "f16", "bf16"};
    const run_options *o = r->o;
    rapt_route_desc *d = &r->d;
    unsigned which_queries, which_heads, type;
    int64_t first = 0, last = 0, offset = 0, limit = 0, within = 1, skip = 0, list_heads = 0;
    double scale = 0;
    if (!o->block || !o->select)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s is missing", o->block ? "--select" : "--block");
    if (!parse_block(o->block, d, error) || !parse_summary(o->summary ? o->summary : "mean", d, error) ||
        !parse_select(o->select, d, error) || !parse_choice("--queries", o->queries, queries, &which_queries, error) ||
        !parse_choice("--heads", o->heads, heads, &which_heads, error) ||
        !parse_choice("--dtype", o->dtype, dtypes, &type, error))
        return false;
    if ((o->first && !tool_integer("--always-first", o->first, 0, INT64_MAX, &first, error)) ||
        (o->last && !tool_integer("--always-last", o->last, 0, INT64_MAX, &last, error)) ||
        (o->offset && !tool_integer("--causal-offset", o->offset, -(1 << 29), 1 << 29, &offset, error)) ||
        (o->within_blocks && !tool_integer("--within-blocks", o->within_blocks, 1, 1 << 29, &within, error)) ||
        (o->skip && !tool_integer("--skip", o->skip, 0, INT64_MAX, &skip, error)) ||
        (o->list_heads && !tool_integer("--list-heads", o->list_heads, 1, INT64_MAX, &list_heads, error)) ||
        (o->limit && !tool_integer("--workspace-limit", o->limit, 1, INT64_MAX, &limit, error)) ||
        (o->scale && !tool_number("--scale", o->scale, &scale, error)))
        return false;
    if (o->dtype)
        *dtype = (rapt_dtype)(RAPT_F32 + type);
    d->queries = (rapt_route_queries)which_queries;
    d->heads = (rapt_route_heads)which_heads;
    d->always_first = (uint64_t)first;
    d->always_last = (uint64_t)last;
    d->causal_offset = offset;
    d->workspace_limit = (uint64_t)limit;
    d->skip = (uint64_t)skip;
    d->list_heads = (uint64_t)list_heads;
    d->within_blocks = o->within ? (uint64_t)within : 0;
    d->scale = (float)scale;
    d->flags = (o->causal ? RAPT_ROUTE_CAUSAL : 0) | (o->scale ? RAPT_ROUTE_SCALE : 0);
    return true;
}

/* ---- files ---- */

static bool read_inputs(run *r, rapt_error *error)
{
    for (int n = Q; n <= K; n++) {
        const char *path = path_of(r, n), *option = n == Q ? "--q" : "--k";
        if (!path)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s FILE is missing", option);
        if (!tensor_file_read(path, &r->file[n], error))
            return false;
        if (r->file[n].rank != 4 || r->file[n].dtype == RAPT_I32)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: floats with four axes, (batch, heads, sequence, head_dim), are needed",
                             option, path);
    }
    if (r->file[Q].dtype != r->file[K].dtype)
        return tool_fail(error, RAPT_ERROR_INVALID, "Q and K differ in dtype: %s is %s, %s is %s", r->o->q,
                         rapt_dtype_name(r->file[Q].dtype), r->o->k, rapt_dtype_name(r->file[K].dtype));
    if (r->o->within && !tensor_file_read(r->o->within, &r->file[WITHIN], error))
        return false;
    if (r->o->within && (r->file[WITHIN].rank != 4 || r->file[WITHIN].dtype != RAPT_I32))
        return tool_fail(error, RAPT_ERROR_INVALID, "--within %s: int32 with four axes, (batch, heads, tiles, blocks / N), is needed", r->o->within);
    return true;
}

static bool describe(run *r, rapt_error *error)
{
    rapt_route_desc *d = &r->d;
    if (!read_inputs(r, error))
        return false;
    rapt_dtype dtype = r->file[Q].dtype;
    if (!parse_words(r, &dtype, error) || !tool_convert(&r->file[Q], dtype, error) || !tool_convert(&r->file[K], dtype, error))
        return false;
    const uint64_t *q = r->file[Q].shape, *k = r->file[K].shape;
    d->q = rapt_tensor_bhnd(dtype, q[0], q[1], q[2], q[3]);
    d->k = rapt_tensor_bhnd(dtype, k[0], k[1], k[2], k[3]);
    const uint64_t tiles = (q[2] + d->block_q - 1) / d->block_q, blocks = (k[2] + d->block_k - 1) / d->block_k;
    const uint64_t rows = d->heads == RAPT_ROUTE_PER_HEAD ? q[1] : k[1];
    const uint64_t list = d->select == RAPT_SELECT_TOP_K && d->top_k > d->always_first + d->always_last && d->top_k < blocks
                              ? d->top_k
                              : blocks;
    const rapt_tensor all[TENSORS] = {
        [SUMMARY] = rapt_tensor_bhnd(RAPT_F32, k[0], k[1], blocks, k[3] * (d->summarise == RAPT_SUMMARY_MIN_MAX ? 2 : 1)),
        [SCORES] = rapt_tensor_bhnd(RAPT_F32, q[0], rows, tiles, blocks),
        [MASK] = rapt_tensor_bhnd(RAPT_I32, q[0], q[1], tiles, blocks),
        [LIST] = rapt_tensor_bhnd(RAPT_I32, q[0], rows, tiles, list)};
    for (int n = SUMMARY; n < TENSORS; n++)
        if (path_of(r, n))
            *tensor_of(r, n) = all[n];
    const uint64_t *w = r->file[WITHIN].shape;
    if (r->o->within)
        d->within = rapt_tensor_bhnd(RAPT_I32, w[0], w[1], w[2], w[3]);
    return true;
}

/* ---- the steps ---- */

static rapt_status bind(run *r, rapt_error *error)
{
    rapt_route_args args = RAPT_ROUTE_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.q, &args.k, &args.within, &args.summary, &args.scores, &args.mask, &args.list};
    for (int n = 0; n < TENSORS; n++) {
        if (!tensor_of(r, n)->dtype)
            continue;
        const uint64_t bytes = rapt_tensor_bytes(tensor_of(r, n));
        rapt_status status = rapt_buffer_create(r->p.device.device, bytes ? bytes : 1, &r->buffer[n], error);
        if (status == RAPT_OK && n < SUMMARY && bytes)
            status = rapt_buffer_upload(r->buffer[n], 0, r->file[n].data, bytes, error);
        if (status != RAPT_OK)
            return status;
        slots[n]->buffer = r->buffer[n];
    }
    return rapt_route_bind(r->p.plan, &args, &r->p.binding, error);
}

static int write_results(run *r)
{
    static const char *const names[TENSORS] = {"", "", "", "summary", "scores", "mask", "list"};
    int code = TOOL_GOOD;
    for (int n = SUMMARY; n < TENSORS && code == TOOL_GOOD; n++)
        if (tensor_of(r, n)->dtype)
            code = plan_run_save(&r->p, names[n], r->buffer[n], tensor_of(r, n), path_of(r, n));
    return code;
}

static bool describe_own(void *own, rapt_error *error)
{
    return describe(own, error);
}
static rapt_status plan_own(void *own, rapt_error *error)
{
    run *r = own;
    return rapt_route_plan(r->p.device.device, &r->d, &r->p.plan, error);
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
    "Which blocks of keys each tile of queries attends to, decided on the device: a summary\n"
    "stands for each block, scores are scale * q . summary, and the best blocks are taken. The\n"
    "mask is what rapt run attention --block-mask takes, with the same --block.\n"
    "\n"
    "Files are NumPy's .npy, or FILE.safetensors:NAME. Q: (batch, heads, Nq, head_dim), K: (batch,\n"
    "kv heads, Nk, head_dim), of one type. Query i stands at key position i + (Nk - Nq) + offset.\n"
    "Equal scores: the lower block goes first. Blocks that are always taken use up the budget.\n"
    "\n"
    "Mask: int32 (batch, heads, tiles, blocks), 1 for blocks taken. List: int32 (batch, heads or\n"
    "kv heads, tiles, K or blocks), the blocks taken, rising, then -1.";
static const char *const examples[] = {
    "rapt run route --q Q.npy --k K.npy --block 64 --summary mean --select top-k:16 --causal --mask-out M.npy",
    "rapt run route --q Q.npy --k K.npy --block 1x16 --summary min-max --select top-k:64 --heads max --list-out L.npy",
    "rapt run route --q Q.npy --k K.npy --block 128x64 --select mass:0.95 --always-first 1 --always-last 2 --causal "
    "--mask-out M.npy --explain",
    NULL,
};

int tool_run_route(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--q", "FILE", "queries: npy file, or FILE.safetensors:NAME", &o.q, NULL},
        {"--k", "FILE", "keys", &o.k, NULL},
        {"--block", "N|QxK", "queries of a tile and keys of a block; one number: both", &o.block, NULL},
        {"--summary", "NAME",
         "what stands for a block: mean (the default), max, min-max (the bound\n"
         "sum_c max(q_c min_c, q_c max_c)), or landmark[:PLACE] (one of its keys;\ndefault the last)",
         &o.summary, NULL},
        {"--select", "WHAT",
         "top-k:K, threshold:X (scores of at least X), or mass:P (the fewest\n"
         "blocks whose softmax weights add up to P)",
         &o.select, NULL},
        {"--mask-out", "FILE", "where the block mask goes (npy)", &o.mask, NULL},
        {"--list-out", "FILE", "where the lists of blocks go (npy)", &o.list, NULL},
        {"--scores-out", "FILE", "where the scores go (npy); -inf: not visible", &o.scores, NULL},
        {"--summary-out", "FILE", "where the summaries go (npy)", &o.summary_out, NULL},
        {"--queries", "mean|max",
         "a tile's score: that of the mean of its queries (the default), or the\nlargest of theirs", &o.queries, NULL},
        {"--heads", "each|sum|max",
         "each query head selects for itself (the default), or those of a kv head\n"
         "together, by the sum or the largest of their scores",
         &o.heads, NULL},
        {"--causal", NULL, "blocks behind a tile's last query are not visible", NULL, &o.causal},
        {"--causal-offset", "N", "the offset; may be negative; default 0", &o.offset, NULL},
        {"--always-first", "N", "the first N blocks are always taken", &o.first, NULL},
        {"--always-last", "N",
         "the blocks of the tile's own positions and the N - 1 before them are\nalways taken; 0 (the default): none",
         &o.last, NULL},
        {"--skip", "N", "with top-k: the blocks behind the N largest", &o.skip, NULL},
        {"--list-heads", "N",
         "entries of the lists count through the batch and N heads, which divide those that\nselect: a block table of the keys as one pool",
         &o.list_heads, NULL},
        {"--within", "FILE",
         "a coarser mask, int32 (batch, heads, tiles, blocks / N): blocks whose entry is 0\nare left out; the mask of a step before with N times as large blocks",
         &o.within, NULL},
        {"--within-blocks", "N", "blocks of one entry of --within; default 1", &o.within_blocks, NULL},
        {"--scale", "X", "of the scores; default 1/sqrt(head_dim)", &o.scale, NULL},
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default: that of the files", &o.dtype, NULL},
        {"--workspace-limit", "BYTES", "default 64 MiB", &o.limit, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why these kernels were chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more and tell the time", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {"rapt run route --q FILE --k FILE --block N --select WHAT --mask-out FILE [options]", text, examples,
                              options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 0, &count, &code))
        return code;
    const char *const outs[] = {o.mask, o.list, o.scores, o.summary_out};
    if (!o.mask && !o.list && !o.scores && !o.summary_out)
        return tool_error(TOOL_BAD_INPUT, "nothing to write: --mask-out, --list-out, --scores-out or --summary-out is needed");
    for (size_t n = 0; n < TOOL_COUNT(outs); n++)
        for (size_t m = 0; m < n; m++)
            if (outs[n] && outs[m] && strcmp(outs[n], outs[m]) == 0)
                return tool_error(TOOL_BAD_INPUT, "two outputs are the same file, %s", outs[n]);
    run r = {.o = &o, .d = RAPT_ROUTE_DESC_INIT, .p = {.where = &o.device, .explain = o.explain}};
    code = plan_run_all(&r.p, o.time, o.json, &calls, &r);
    run_close(&r);
    return code;
}
