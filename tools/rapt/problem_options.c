#include "problem_options.h"

#include "check/half.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIZE (1ull << 40)

static const struct {
    const char *option, *name;
    rapt_dtype dtype; /* NONE: the output's */
    uint32_t rank;    /* 0: shaped like the output */
    size_t tensor, slot; /* in rapt_attention_desc, rapt_attention_args */
} extras[TOOL_X_COUNT] = {
#define EXTRA(option, name, dtype, rank, member)                                                                       \
    {option, name, dtype, rank, offsetof(rapt_attention_desc, member), offsetof(rapt_attention_args, member)}
    [TOOL_X_SINKS] = EXTRA("--sinks", "sinks", RAPT_F32, 1, sinks),
    [TOOL_X_ALIBI] = EXTRA("--alibi", "alibi", RAPT_F32, 1, alibi),
    [TOOL_X_BIAS] = EXTRA("--bias", "bias", RAPT_F32, 4, bias),
    [TOOL_X_KEY_BIAS] = EXTRA("--bias-key", "bias_key", RAPT_F32, 3, key_bias),
    [TOOL_X_SEGMENTS] = EXTRA("--segments", "segments", RAPT_I32, 2, segments),
    [TOOL_X_GATE] = EXTRA("--gate", "gate", RAPT_DTYPE_NONE, 0, gate),
    [TOOL_X_BIAS_U] = EXTRA("--bias-lowrank", "bias_u", RAPT_DTYPE_NONE, 4, bias_u),
    [TOOL_X_BIAS_V] = EXTRA("--bias-lowrank", "bias_v", RAPT_DTYPE_NONE, 4, bias_v),
    [TOOL_X_RELATIVE] = EXTRA("--bias-relative", "bias_relative", RAPT_F32, 2, relative), /* or 3 axes, of a grid */
    [TOOL_X_DECAY] = EXTRA("--decay", "decay", RAPT_F32, 1, decay),
    [TOOL_X_BLOCK_MASK] = EXTRA("--block-mask", "block_mask", RAPT_I32, 4, block_mask), /* read by block_options.c */
#undef EXTRA
};

rapt_tensor *tool_extra_tensor(rapt_attention_desc *desc, unsigned extra)
{
    return (rapt_tensor *)((char *)desc + extras[extra].tensor);
}

rapt_slot *tool_extra_slot(rapt_attention_args *args, unsigned extra)
{
    return (rapt_slot *)((char *)args + extras[extra].slot);
}

static bool has_extra(const rapt_attention_desc *desc, unsigned extra)
{
    return ((const rapt_tensor *)((const char *)desc + extras[extra].tensor))->dtype != RAPT_DTYPE_NONE;
}

void tool_problem_free(tool_problem *p)
{
    tensor_file *files[] = {&p->q, &p->k, &p->v, &p->cu_q, &p->cu_k, &p->cache.table, &p->cache.lengths};
    for (size_t n = 0; n < TOOL_COUNT(files); n++)
        tensor_file_free(files[n]);
    for (size_t n = 0; n < TOOL_X_COUNT; n++)
        tensor_file_free(&p->extra[n]);
    tool_user_free(&p->user);
}

/* As four axes. */
static void file_shape(const rapt_tensor *t, bool bnhd, uint64_t shape[4])
{
    shape[0] = t->size[0];
    shape[1] = t->size[bnhd ? 2 : 1];
    shape[2] = t->size[bnhd ? 1 : 2];
    shape[3] = t->size[3];
}

/* The grid's axes in place of the sequence's, which is `sequence`. */
static uint32_t with_grid(const rapt_grid *g, uint32_t sequence, uint32_t rank, uint64_t shape[TENSOR_FILE_RANK])
{
    if (g->rank == 0)
        return rank;
    memmove(shape + sequence + g->rank, shape + sequence + 1, (rank - sequence - 1) * sizeof *shape);
    for (uint32_t axis = 0; axis < g->rank; axis++)
        shape[sequence + axis] = g->size[axis];
    return rank + g->rank - 1;
}

uint32_t tool_problem_out_shape(const tool_problem *p, uint64_t shape[TENSOR_FILE_RANK])
{
    file_shape(&p->desc.out, p->bnhd, shape);
    return with_grid(&p->desc.grid, p->bnhd ? 1 : 2, 4, shape);
}

uint32_t tool_problem_lse_shape(const tool_problem *p, uint64_t shape[TENSOR_FILE_RANK])
{
    memcpy(shape, p->desc.lse.size, 3 * sizeof *shape);
    return with_grid(&p->desc.grid, 2, 3, shape);
}

static bool invalid(rapt_error *error, const char *text, const char *what)
{
    return tool_fail(error, RAPT_ERROR_INVALID, text, what);
}

/* ---- reading ---- */

static bool read_one(const char *option, const char *path, tool_problem *p, tensor_file *t, rapt_error *error)
{
    if (!path)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s FILE is missing", option);
    if (!tensor_file_read(path, t, error))
        return false;
    char shape[200];
    tensor_file_shape(t->rank, t->shape, shape, sizeof shape);
    if (p->desc.grid.rank > 0 && !tool_grid_flatten(option, path, p->bnhd, &p->desc.grid, t, error))
        return false;
    if (t->rank != 4)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "%s %s: shape %s has %u axes; 4 are needed, (batch, heads, sequence, head_dim)",
                         option, path, shape, t->rank);
    if (t->dtype == RAPT_I32)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: int32; float32 or float16 is needed", option,
                         path);
    return true;
}

static bool read_cu_seqlens(const char *option, const char *path, uint64_t packed, tensor_file *t,
                            rapt_error *error)
{
    if (!tensor_file_read(path, t, error))
        return false;
    const int32_t *cu = t->data;
    if (t->dtype != RAPT_I32 || t->rank != 1)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s with %u axes; int32 with one axis is needed",
                         option, path, rapt_dtype_name(t->dtype), t->rank);
    if (t->count == 0 || cu[0] != 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: must begin with 0", option, path);
    for (uint64_t n = 1; n < t->count; n++)
        if (cu[n] < cu[n - 1])
            return tool_fail(error, RAPT_ERROR_INVALID,
                             "%s %s: entry %" PRIu64 " is %d, below the %d before it", option, path, n,
                             (int)cu[n], (int)cu[n - 1]);
    if ((uint64_t)cu[t->count - 1] != packed)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "%s %s: ends at %d, but the packed sequence axis has %" PRIu64, option, path,
                         (int)cu[t->count - 1], packed);
    return true;
}

/* The files' shapes must agree; the axes become those of a problem. */
static bool shapes_from_files(const tool_problem_options *o, tool_problem *p, uint64_t size[7],
                              rapt_error *error)
{
    const int heads = p->bnhd ? 2 : 1, sequence = p->bnhd ? 1 : 2;
    const uint64_t *q = p->q.shape, *k = p->k.shape, *v = p->v.shape;
    char qs[120], ks[120], vs[120];
    tensor_file_shape(4, q, qs, sizeof qs);
    tensor_file_shape(4, k, ks, sizeof ks);
    tensor_file_shape(4, v, vs, sizeof vs);
    if (p->q.dtype != p->k.dtype || p->q.dtype != p->v.dtype)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "Q, K and V differ in dtype: %s is %s, %s is %s, %s is %s", o->q,
                         rapt_dtype_name(p->q.dtype), o->k, rapt_dtype_name(p->k.dtype), o->v,
                         rapt_dtype_name(p->v.dtype));
    const bool pools = o->cache.block_table != NULL;
    const char *what = (!pools && q[0] != k[0]) || k[0] != v[0] ? (pools ? "numbers of pages" : "batch sizes")
                       : k[heads] != v[heads]       ? "numbers of kv heads"
                       : k[sequence] != v[sequence] ? "numbers of keys and values"
                       : q[3] != k[3]               ? "head_dim of Q and K"
                                                    : NULL;
    if (what)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "%s disagree: Q %s is %s, K %s is %s, V %s is %s (layout %s)", what, o->q, qs, o->k,
                         ks, o->v, vs, p->bnhd ? "bnhd" : "bhnd");
    const uint64_t sizes[7] = {q[0], q[heads], k[heads], q[sequence], k[sequence], q[3], v[3]};
    memcpy(size, sizes, sizeof sizes);
    return true;
}

static bool shapes_from_option(const char *text, rapt_grid *g, uint64_t size[7], rapt_error *error)
{
    size_t count = 0;
    const char *at = text;
    uint64_t given[8];
    const size_t axes = g->rank > 0 ? g->rank : 2, least = axes + 4; /* without DV */
    for (; count < least + 1; count++) {
        char *end;
        if (*at < '0' || *at > '9')
            break;
        given[count] = strtoull(at, &end, 10);
        at = end;
        if (given[count] > MAX_SIZE)
            break;
        if (*at != ',') {
            count++;
            break;
        }
        at++;
    }
    if ((*at != 0 || count < least || at[-1] == ',') && g->rank > 0)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "--shape '%.80s': with --kernel-size for %u axes, %zu or %zu whole numbers B,HQ,HKV,%s,D[,DV] are "
                         "needed",
                         text, g->rank, least, least + 1, (const char *[]){"X", "X,Y", "X,Y,Z"}[g->rank - 1]);
    if (*at != 0 || count < least || at[-1] == ',')
        return tool_fail(
            error, RAPT_ERROR_INVALID,
            "--shape '%.80s': six or seven whole numbers B,HQ,HKV,NQ,NK,D[,DV] up to 2^40 are needed", text);
    memcpy(size, given, 5 * sizeof *size);
    size[5] = given[least - 1];
    size[6] = given[count - 1];
    if (g->rank > 0 && !tool_grid_sizes("--shape", given + 3, g, &size[3], error))
        return false;
    size[4] = g->rank > 0 ? size[3] : size[4];
    return true;
}

/* ---- conversion ---- */

bool tool_convert(tensor_file *t, rapt_dtype dtype, rapt_error *error)
{
    if (t->dtype == dtype)
        return true;
    void *data = malloc((size_t)t->count * rapt_check_dtype_size(dtype) + 1);
    if (!data)
        return invalid(error, "%s: out of host memory", "conversion");
    for (uint64_t n = 0; n < t->count; n++)
        rapt_check_store(data, dtype, (int64_t)n, rapt_check_load(t->data, t->dtype, (int64_t)n));
    free(t->data);
    t->data = data;
    t->dtype = dtype;
    return true;
}

static bool parse_dtype(const char *text, rapt_dtype *out, rapt_error *error)
{
    for (int dtype = RAPT_F32; dtype <= RAPT_BF16; dtype++)
        if (strcmp(text, rapt_check_dtype_name((rapt_dtype)dtype)) == 0) {
            *out = (rapt_dtype)dtype;
            return true;
        }
    return invalid(error, "--dtype '%.40s': f32, f16 or bf16 is needed", text);
}

/* ---- all together ---- */

/* L, or L,R; and the sinks. */
static bool parse_window(const tool_problem_options *o, rapt_attention_desc *d, rapt_error *error)
{
    const int64_t most = 1 << 29;
    int64_t sinks = 0;
    if (!o->window)
        return !o->sink_tokens || invalid(error, "--sink-tokens %.40s: goes with --window", o->sink_tokens);
    const char *comma = strchr(o->window, ',');
    char left[32] = "";
    snprintf(left, sizeof left, "%.*s", (int)(comma ? comma - o->window : 31), o->window);
    if (strlen(left) >= sizeof left - 1)
        return invalid(error, "--window '%.40s': L or L,R is needed", o->window);
    if (!tool_integer("--window", left, -1, most, &d->window_left, error) ||
        !tool_integer("--window", comma ? comma + 1 : left, -1, most, &d->window_right, error) ||
        (o->sink_tokens && !tool_integer("--sink-tokens", o->sink_tokens, 0, most, &sinks, error)))
        return false;
    d->flags |= RAPT_ATTENTION_WINDOW;
    d->sink_tokens = (uint64_t)sinks;
    return true;
}

/* A name; clipped:GAMMA,ZETA and affine:ALPHA,BETA. */
static bool parse_link(const tool_problem_options *o, rapt_attention_desc *d, rapt_error *error)
{
    if (!o->link)
        return true;
    char name[16] = "", first[32] = "";
    const char *colon = strchr(o->link, ':');
    snprintf(name, sizeof name, "%.*s", (int)(colon ? colon - o->link : 15), o->link);
    while (d->link < RAPT_LINK_COUNT && strcmp(name, rapt_link_name(d->link)) != 0)
        d->link++;
    const bool numbers = d->link == RAPT_LINK_CLIPPED || d->link == RAPT_LINK_AFFINE;
    if (d->link == RAPT_LINK_COUNT || (colon != NULL) != numbers)
        return invalid(error,
                       "--link '%.40s': softmax, offbyone, signed, sigmoid, laplace, relu, none, clipped:GAMMA,ZETA or "
                       "affine:ALPHA,BETA is needed",
                       o->link);
    if (!colon)
        return true;
    const char *comma = strchr(colon, ',');
    double values[2];
    snprintf(first, sizeof first, "%.*s", (int)(comma ? comma - colon - 1 : 0), colon + 1);
    if (!comma || !tool_number("--link", first, &values[0], error) || !tool_number("--link", comma + 1, &values[1], error))
        return invalid(error, "--link '%.40s': two numbers are needed, as in clipped:-0.03,1.03", o->link);
    *(d->link == RAPT_LINK_CLIPPED ? &d->link_gamma : &d->link_alpha) = (float)values[0];
    *(d->link == RAPT_LINK_CLIPPED ? &d->link_zeta : &d->link_beta) = (float)values[1];
    return true;
}

bool tool_rope(const char *value, double *base, uint32_t *dim, bool *interleaved, rapt_error *error)
{
    char text[64];
    snprintf(text, sizeof text, "%s", value);
    char *comma = strrchr(text, ',');
    *interleaved = comma && strcmp(comma, ",interleaved") == 0;
    if (*interleaved) {
        *comma = 0;
        comma = strrchr(text, ',');
    }
    int64_t turned = 0;
    if (comma) {
        if (!tool_integer("--rope", comma + 1, 2, 1 << 20, &turned, error))
            return false;
        *comma = 0;
    }
    *dim = (uint32_t)turned;
    if (strlen(value) >= sizeof text || !tool_number("--rope", text, base, error))
        return invalid(error, "--rope '%.40s': BASE[,DIM][,interleaved] is needed", value);
    return *base > 1 || invalid(error, "--rope '%.40s': the base must be above 1", value);
}

static bool parse_rope(const tool_problem_options *o, rapt_attention_desc *d, rapt_error *error)
{
    bool interleaved = false;
    if (o->rope && !tool_rope(o->rope, &d->rope_base, &d->rope_dim, &interleaved, error))
        return false;
    d->flags |= interleaved ? RAPT_ATTENTION_ROPE_INTERLEAVED : 0;
    return true;
}

static bool parse_numbers(const tool_problem_options *o, rapt_attention_desc *d, rapt_error *error)
{
    int64_t splits = 0;
    if (o->causal)
        d->flags |= RAPT_ATTENTION_CAUSAL;
    if (o->causal_offset &&
        !tool_integer("--causal-offset", o->causal_offset, INT64_MIN, INT64_MAX, &d->causal_offset, error))
        return false;
    if (o->causal_offset && !o->causal && !o->window && !o->extra[TOOL_X_ALIBI] && !o->extra[TOOL_X_RELATIVE] &&
        !o->extra[TOOL_X_DECAY] && !o->rope)
        fprintf(stderr, "rapt: note: --causal-offset has no effect without --causal, --window, --alibi, --bias-relative, --decay or --rope\n");
    if (!parse_window(o, d, error))
        return false;
    if (o->soft_cap) {
        double cap;
        if (!tool_number("--softcap", o->soft_cap, &cap, error))
            return false;
        d->soft_cap = (float)cap;
        if (!(d->soft_cap > 0) || !isfinite(d->soft_cap))
            return invalid(error, "--softcap '%.40s': must be positive, within single precision", o->soft_cap);
    }
    if (!parse_link(o, d, error) || !parse_rope(o, d, error))
        return false;
    if (o->qk_norm) {
        double epsilon;
        if (!tool_number("--qk-norm", o->qk_norm, &epsilon, error))
            return false;
        d->flags |= RAPT_ATTENTION_QK_NORM;
        d->qk_norm_epsilon = (float)epsilon;
    }
    if (o->place_width) {
        int64_t width;
        if (!tool_integer("--place-width", o->place_width, 1, 1 << 29, &width, error))
            return false;
        d->place_width = (uint32_t)width;
    }
    if (o->key_splits && !tool_integer("--key-splits", o->key_splits, 0, 1 << 20, &splits, error))
        return false;
    d->key_splits = (uint32_t)splits;
    if (o->scale) {
        double scale;
        if (!tool_number("--scale", o->scale, &scale, error))
            return false;
        d->flags |= RAPT_ATTENTION_SCALE;
        d->scale = (float)scale;
        if (!isfinite(d->scale))
            return invalid(error, "--scale '%.40s': beyond single precision", o->scale);
    }
    d->kernel = o->kernel;
    return true;
}

static bool describe(tool_problem *p, const uint64_t size[7], rapt_dtype dtype, bool want_lse,
                     rapt_error *error)
{
    rapt_attention_desc *d = &p->desc;
    rapt_tensor (*const make)(rapt_dtype, uint64_t, uint64_t, uint64_t, uint64_t) =
        p->bnhd ? rapt_tensor_bnhd : rapt_tensor_bhnd;
    const uint64_t heads = size[1] > size[2] ? size[1] : size[2];
    d->q = make(dtype, size[0], size[1], size[3], size[5]);
    d->k = make(dtype, size[0], size[2], size[4], size[5]);
    d->v = make(dtype, size[0], size[2], size[4], size[6]);
    d->out = make(dtype, size[0], heads, size[3], size[6]);
    if (want_lse)
        d->lse = (rapt_tensor){.dtype = RAPT_F32,
                               .rank = 3,
                               .size = {size[0], heads, size[3]},
                               .stride = {(int64_t)(heads * size[3]), (int64_t)size[3], 1}};
    const rapt_tensor *tensors[] = {&d->q, &d->k, &d->v, &d->out};
    for (size_t n = 0; n < TOOL_COUNT(tensors); n++) {
        uint64_t shape[4], count;
        file_shape(tensors[n], p->bnhd, shape);
        if (!tensor_file_count(n == 3 ? "the output" : "the problem", 4, shape, &count, error))
            return false;
    }
    return true;
}

/* Sequence bounds; both files together, on one batch. */
static bool read_sequences(const tool_problem_options *o, tool_problem *p, rapt_error *error)
{
    rapt_attention_desc *d = &p->desc;
    if (!o->cu_q && !o->cu_k)
        return true;
    if (!o->cu_q || !o->cu_k)
        return invalid(error, "%s is missing: both or neither",
                       o->cu_q ? "--cu-seqlens-k" : "--cu-seqlens-q");
    if (d->q.size[0] != 1)
        return tool_fail(
            error, RAPT_ERROR_INVALID,
            "with --cu-seqlens-q and -k the batch must be 1 and the sequences packed; it is %" PRIu64,
            d->q.size[0]);
    if (!read_cu_seqlens("--cu-seqlens-q", o->cu_q, d->q.size[2], &p->cu_q, error) ||
        !read_cu_seqlens("--cu-seqlens-k", o->cu_k, d->k.size[2], &p->cu_k, error))
        return false;
    if (p->cu_q.count != p->cu_k.count)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "%s has %" PRIu64 " entries, %s has %" PRIu64
                         ": one more than there are sequences in both",
                         o->cu_q, p->cu_q.count, o->cu_k, p->cu_k.count);
    if (p->cu_q.count - 1 > UINT32_MAX)
        return invalid(error, "%s: more than 2^32 - 1 sequences", o->cu_q);
    d->sequences = (uint32_t)(p->cu_q.count - 1);
    for (uint64_t s = 0; s < d->sequences; s++) {
        const int32_t *cu_q = p->cu_q.data, *cu_k = p->cu_k.data;
        const uint64_t nq = (uint64_t)(cu_q[s + 1] - cu_q[s]), nk = (uint64_t)(cu_k[s + 1] - cu_k[s]);
        d->max_seqlen_q = nq > d->max_seqlen_q ? nq : d->max_seqlen_q;
        d->max_seqlen_k = nk > d->max_seqlen_k ? nk : d->max_seqlen_k;
    }
    return true;
}

/* Shaped like the output, in the layout of the other files. */
static bool read_like_output(const char *option, const char *path, tool_problem *p, tensor_file *t, rapt_error *error)
{
    const rapt_tensor *out = &p->desc.out;
    uint64_t shape[4];
    char got[200], want[200];
    if (!read_one(option, path, p, t, error) || !tool_convert(t, out->dtype, error))
        return false;
    file_shape(out, p->bnhd, shape);
    tensor_file_shape(4, t->shape, got, sizeof got);
    tensor_file_shape(4, shape, want, sizeof want);
    return memcmp(shape, t->shape, sizeof shape) == 0 ||
           tool_fail(error, RAPT_ERROR_INVALID, "%s %s: shape %s; %s is needed, as the output's", option, path, got, want);
}

/* --bias-lowrank U,V: two paths. */
static bool split_factors(const tool_problem_options *o, char paths[2][1024], rapt_error *error)
{
    const char *comma = o->low_rank ? strchr(o->low_rank, ',') : NULL;
    if (!o->low_rank)
        return true;
    if (!comma || comma == o->low_rank || comma[1] == 0 || strchr(comma + 1, ',') || strlen(o->low_rank) >= 1024)
        return invalid(error, "--bias-lowrank '%.80s': U,V is needed, two files (whose names have no comma)", o->low_rank);
    snprintf(paths[0], 1024, "%.*s", (int)(comma - o->low_rank), o->low_rank);
    snprintf(paths[1], 1024, "%s", comma + 1);
    return true;
}

/* The tensors beside q, k and v; the library judges their shapes. */
static bool read_extras(const tool_problem_options *o, tool_problem *p, rapt_error *error)
{
    char factors[2][1024] = {"", ""};
    if (!split_factors(o, factors, error))
        return false;
    for (unsigned n = 0; n < TOOL_X_COUNT; n++) {
        const char *path = o->extra[n], *option = extras[n].option;
        tensor_file *t = &p->extra[n];
        rapt_tensor *out = tool_extra_tensor(&p->desc, n);
        if ((n == TOOL_X_BIAS_U || n == TOOL_X_BIAS_V) && o->low_rank)
            path = factors[n - TOOL_X_BIAS_U];
        if (!path)
            continue;
        if (extras[n].rank == 0) {
            if (!read_like_output(option, path, p, t, error))
                return false;
            *out = p->desc.out;
            continue;
        }
        if (extras[n].dtype == RAPT_DTYPE_NONE) {
            if (!tensor_file_read(path, t, error))
                return false;
            if (t->dtype == RAPT_I32 || t->rank != extras[n].rank)
                return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s with %u axes; a float type with %u is needed", option,
                                 path, rapt_dtype_name(t->dtype), t->rank, extras[n].rank);
            if (!tool_convert(t, p->desc.q.dtype, error))
                return false;
        } else if (!tensor_file_read(path, t, error)) {
            return false;
        } else if (t->dtype != extras[n].dtype || (t->rank != extras[n].rank && !(n == TOOL_X_RELATIVE && t->rank == 3))) {
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s with %u axes; %s with %u %s needed", option, path,
                             rapt_dtype_name(t->dtype), t->rank, extras[n].dtype == RAPT_I32 ? "int32" : "float32",
                             extras[n].rank, extras[n].rank == 1 ? "is" : "are");
        }
        *out = (rapt_tensor){.dtype = t->dtype, .rank = t->rank};
        int64_t stride = 1;
        for (uint32_t axis = t->rank; axis-- > 0;) {
            out->size[axis] = t->shape[axis];
            out->stride[axis] = stride;
            stride *= (int64_t)(t->shape[axis] > 0 ? t->shape[axis] : 1);
        }
    }
    return tool_blocks_make(&o->blocks, &p->desc, &p->extra[TOOL_X_BLOCK_MASK], error);
}

bool tool_problem_make(const tool_problem_options *o, bool want_lse, tool_problem *p, rapt_error *error)
{
    *p = (tool_problem){.desc = RAPT_ATTENTION_DESC_INIT};
    uint64_t size[7];
    if (o->layout && strcmp(o->layout, "bhnd") != 0 && strcmp(o->layout, "bnhd") != 0)
        return invalid(error, "--layout '%.40s': bhnd or bnhd is needed", o->layout);
    p->bnhd = o->layout && strcmp(o->layout, "bnhd") == 0;
    rapt_dtype dtype = RAPT_DTYPE_NONE;
    if (o->grid.used && !tool_grid_parse(&o->grid, &p->desc.grid, error))
        return false;
    if (!parse_numbers(o, &p->desc, error) || !tool_user_make(&o->user, &p->user, &p->desc, error) || (o->dtype && !parse_dtype(o->dtype, &dtype, error)))
        return false;
    if (o->shape) {
        if (o->q || o->k || o->v)
            return invalid(error, "%s: either --shape or files, not both", "--shape");
        if (!shapes_from_option(o->shape, &p->desc.grid, size, error))
            return false;
        p->file_dtype = dtype != RAPT_DTYPE_NONE ? dtype : RAPT_F32;
    } else {
        if (!read_one("--q", o->q, p, &p->q, error) || !read_one("--k", o->k, p, &p->k, error) ||
            !read_one("--v", o->v, p, &p->v, error) || !shapes_from_files(o, p, size, error))
            return false;
        p->file_dtype = p->q.dtype;
    }
    if (dtype == RAPT_DTYPE_NONE)
        dtype = p->file_dtype;
    if (!describe(p, size, dtype, want_lse, error) || !read_sequences(o, p, error) || !read_extras(o, p, error))
        return false;
    if (!o->shape &&
        (!tool_convert(&p->q, dtype, error) || !tool_convert(&p->k, dtype, error) || !tool_convert(&p->v, dtype, error)))
        return false;
    if (o->cache.block_table) {
        p->desc.k = (p->bnhd ? rapt_tensor_bnhd : rapt_tensor_bhnd)(dtype, p->k.shape[0], size[2], size[4], size[5]);
        p->desc.v = (p->bnhd ? rapt_tensor_bnhd : rapt_tensor_bhnd)(dtype, p->v.shape[0], size[2], size[4], size[6]);
    }
    return !o->cache.used || tool_cache_make(&o->cache, p->bnhd, &p->desc, &p->k, &p->v, &p->cache, error);
}

rapt_check_inputs tool_problem_inputs(const tool_problem *p)
{
    return (rapt_check_inputs){.q = p->q.data,
                               .k = p->k.data,
                               .v = p->v.data,
                               .cu_seqlens_q = p->cu_q.data,
                               .cu_seqlens_k = p->cu_k.data,
                               .sinks = p->extra[TOOL_X_SINKS].data,
                               .alibi = p->extra[TOOL_X_ALIBI].data,
                               .bias = p->extra[TOOL_X_BIAS].data,
                               .bias_u = p->extra[TOOL_X_BIAS_U].data,
                               .bias_v = p->extra[TOOL_X_BIAS_V].data,
                               .key_bias = p->extra[TOOL_X_KEY_BIAS].data,
                               .segments = p->extra[TOOL_X_SEGMENTS].data,
                               .gate = p->extra[TOOL_X_GATE].data,
                               .relative = p->extra[TOOL_X_RELATIVE].data,
                               .decay = p->extra[TOOL_X_DECAY].data,
                               .block_mask = p->extra[TOOL_X_BLOCK_MASK].data,
                               .block_table = p->cache.table.data,
                               .k_lengths = p->cache.lengths.data};
}

double tool_problem_flops(const tool_problem *p)
{
    const rapt_check_inputs in = tool_problem_inputs(p);
    return 2.0 * (double)(p->desc.q.size[3] + p->desc.out.size[3]) * rapt_check_attention_pairs(&p->desc, &in);
}

static uint64_t keys_of(const rapt_attention_desc *d)
{
    return d->page_size > 0 ? d->block_table.size[1] * d->page_size : d->k.size[2];
}

cJSON *tool_problem_json(const tool_problem *p)
{
    const rapt_attention_desc *d = &p->desc;
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"batch", (double)d->q.size[0]},      {"q_heads", (double)d->q.size[1]},
        {"kv_heads", (double)d->k.size[1]},   {"nq", (double)d->q.size[2]},
        {"nk", (double)keys_of(d)},           {"head_dim_qk", (double)d->q.size[3]},
        {"head_dim_v", (double)d->out.size[3]}, {"sequences", (double)d->sequences},
    };
    cJSON *o = cJSON_CreateObject();
    for (size_t n = 0; n < TOOL_COUNT(numbers); n++)
        cJSON_AddNumberToObject(o, numbers[n].name, numbers[n].value);
    cJSON_AddStringToObject(o, "dtype", rapt_dtype_name(d->q.dtype));
    if (d->k.dtype != d->q.dtype || d->v.dtype != d->q.dtype) {
        cJSON_AddStringToObject(o, "k_dtype", rapt_dtype_name(d->k.dtype));
        cJSON_AddStringToObject(o, "v_dtype", rapt_dtype_name(d->v.dtype));
    }
    cJSON_AddStringToObject(o, "layout", p->bnhd ? "bnhd" : "bhnd");
    cJSON_AddBoolToObject(o, "causal", (d->flags & RAPT_ATTENTION_CAUSAL) != 0);
    cJSON_AddNumberToObject(o, "causal_offset", (double)d->causal_offset);
    if (d->flags & RAPT_ATTENTION_WINDOW) {
        cJSON_AddNumberToObject(o, "window_left", (double)d->window_left);
        cJSON_AddNumberToObject(o, "window_right", (double)d->window_right);
        cJSON_AddNumberToObject(o, "sink_tokens", (double)d->sink_tokens);
    }
    if (d->grid.rank > 0)
        tool_grid_json(&d->grid, o);
    if (d->rope_base > 0) {
        tool_json_number(o, "rope_base", d->rope_base);
        cJSON_AddNumberToObject(o, "rope_dim", (double)(d->rope_dim ? d->rope_dim : d->q.size[3]));
        cJSON_AddBoolToObject(o, "rope_interleaved", (d->flags & RAPT_ATTENTION_ROPE_INTERLEAVED) != 0);
    }
    if (d->place_width > 0)
        cJSON_AddNumberToObject(o, "place_width", d->place_width);
    if (d->flags & RAPT_ATTENTION_QK_NORM)
        tool_json_number(o, "qk_norm", (double)d->qk_norm_epsilon);
    if (d->soft_cap > 0)
        tool_json_number(o, "softcap", (double)d->soft_cap);
    if (d->link != RAPT_LINK_SOFTMAX)
        cJSON_AddStringToObject(o, "link", rapt_link_name(d->link));
    for (unsigned n = 0; n < TOOL_X_COUNT; n++)
        if (has_extra(d, n))
            cJSON_AddBoolToObject(o, extras[n].name, true);
    if (d->block_mask.dtype != RAPT_DTYPE_NONE) {
        cJSON_AddNumberToObject(o, "block_q", d->block_q);
        cJSON_AddNumberToObject(o, "block_k", d->block_k);
    }
    if (d->page_size > 0) {
        cJSON_AddNumberToObject(o, "page_size", d->page_size);
        cJSON_AddNumberToObject(o, "pages", (double)d->k.size[0]);
    }
    tool_user_json(d, o);
    cJSON_AddNumberToObject(o, "scale",
                            d->flags & RAPT_ATTENTION_SCALE ? (double)d->scale
                            : d->q.size[3] > 0              ? 1 / sqrt((double)d->q.size[3])
                                                            : 0);
    return o;
}

void tool_problem_line(const tool_problem *p, char *text, size_t capacity)
{
    const rapt_attention_desc *d = &p->desc;
    char cache[112] = "", user[64] = "", grid[200] = "", causal[48] = "", window[96] = "", cap[32] = "", beside[192] = "", sequences[48] = "", dim_v[32] = "";
    if (d->flags & RAPT_ATTENTION_CAUSAL)
        snprintf(causal, sizeof causal, ", causal%+" PRId64, d->causal_offset);
    if (d->flags & RAPT_ATTENTION_WINDOW)
        snprintf(window, sizeof window, ", window %" PRId64 ",%" PRId64 ", %" PRIu64 " sink tokens", d->window_left,
                 d->window_right, d->sink_tokens);
    if (d->grid.rank > 0)
        tool_grid_line(&d->grid, grid, sizeof grid);
    if (d->soft_cap > 0)
        snprintf(cap, sizeof cap, ", soft cap %g", (double)d->soft_cap);
    if (d->link != RAPT_LINK_SOFTMAX)
        snprintf(beside, sizeof beside, ", link %s", rapt_link_name(d->link));
    if (d->flags & RAPT_ATTENTION_QK_NORM)
        snprintf(beside + strlen(beside), sizeof beside - strlen(beside), ", QK-norm %g", (double)d->qk_norm_epsilon);
    if (d->rope_base > 0)
        snprintf(beside + strlen(beside), sizeof beside - strlen(beside), ", rope %g", d->rope_base);
    for (unsigned n = 0; n < TOOL_X_COUNT; n++)
        if (has_extra(d, n))
            snprintf(beside + strlen(beside), sizeof beside - strlen(beside), ", %s", extras[n].name);
    if (d->score_mod[0] || d->mask_mod[0])
        snprintf(user, sizeof user, "%s%s", d->score_mod[0] ? ", score_mod" : "", d->mask_mod[0] ? ", mask_mod" : "");
    tool_cache_line(d, cache, sizeof cache);
    if (d->sequences > 0)
        snprintf(sequences, sizeof sequences, ", %u sequences", d->sequences);
    if (d->out.size[3] != d->q.size[3])
        snprintf(dim_v, sizeof dim_v, "/%" PRIu64, d->out.size[3]);
    snprintf(text, capacity,
             "problem: batch %" PRIu64 ", %" PRIu64 " query heads, %" PRIu64 " kv heads, %" PRIu64
             " queries, %" PRIu64 " keys, head_dim %" PRIu64 "%s, %s%s%s%s%s%s%s%s%s",
             d->q.size[0], d->q.size[1], d->k.size[1], d->q.size[2], keys_of(d), d->q.size[3], dim_v,
             rapt_dtype_name(d->q.dtype), cache, grid, causal, window, cap, beside, user, sequences);
}
