/* rapt run linear: linear attention and its relatives on tensors from files. */
#include "linear_options.h"
#include "plan_run.h"
#include "problem_options.h"
#include "user_options.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The files that may be given, in this order. */
enum { Q, K, V, DECAY, GATE, LOG_GATE, BETA, A, B, STATE_IN, NORM_IN, SCALE_Q, SCALE_K, CU_SEQLENS, STATES_AT, INPUTS };
static const char *const input_names[INPUTS] = {"--q",    "--k",        "--v",       "--decay",
                                                "--gate", "--log-gate", "--beta",    "--a",
                                                "--b",    "--state-in", "--norm-in", "--scale-q",
                                                "--scale-k", "--cu-seqlens", "--states-at"};

typedef struct run_options {
    const char *in[INPUTS];
    const char *out, *state_out, *norm_out, *states_out, *norms_out; /* the last two: of positions */
    const char *rule, *feature, *feature_k, *power, *feature_scale, *scale, *chunk, *dtype, *kernel, *limit, *time;
    tool_device_options device;
    bool normalize, recurrent, explain, json, bidirectional, normalize_keys, standardize;
} run_options;

/* Everything that must be put away at the end. */
typedef struct run {
    plan_run p;
    const run_options *o;
    rapt_linear_desc d;
    tensor_file file[INPUTS];
    rapt_buffer *buffer[INPUTS], *out, *state_out, *norm_out;
    char *map; /* GLSL of a feature map */
    uint64_t *positions;
} run;

static void run_close(run *r)
{
    plan_run_unbind(&r->p);
    for (size_t n = 0; n < INPUTS; n++) {
        rapt_buffer_destroy(&r->buffer[n]);
        tensor_file_free(&r->file[n]);
    }
    rapt_buffer_destroy(&r->out);
    rapt_buffer_destroy(&r->state_out);
    rapt_buffer_destroy(&r->norm_out);
    plan_run_close(&r->p);
    free(r->map);
    free(r->positions);
}

/* ---- files ---- */

static bool read_inputs(run *r, rapt_error *error)
{
    for (int n = 0; n < INPUTS; n++) {
        const char *path = r->o->in[n];
        tensor_file *t = &r->file[n];
        if (!path && n <= V)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s FILE is missing", input_names[n]);
        if (!path)
            continue;
        if (!tensor_file_read(path, t, error))
            return false;
        if (t->rank > RAPT_MAX_RANK || t->rank == 0)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %u axes, 1 to 4 are needed", input_names[n],
                             path, t->rank);
        if ((t->dtype == RAPT_I32) != (n >= CU_SEQLENS))
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s; %s is needed", input_names[n], path,
                             rapt_dtype_name(t->dtype), n >= CU_SEQLENS ? "int32" : "float32 or float16");
        if ((n == STATE_IN || n == NORM_IN) && t->dtype != RAPT_F32)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s; float32 is needed", input_names[n], path,
                             rapt_dtype_name(t->dtype));
    }
    for (int n = K; n <= V; n++)
        if (r->file[n].dtype != r->file[Q].dtype)
            return tool_fail(error, RAPT_ERROR_INVALID, "Q, K and V differ in dtype: %s is %s, %s is %s",
                             r->o->in[Q], rapt_dtype_name(r->file[Q].dtype), r->o->in[n],
                             rapt_dtype_name(r->file[n].dtype));
    return true;
}


#define FEATURES                                                                                             \
    "identity, elu1, relu, relu2, exp, softmax, taylor2, poly, focused, lognormal, cosine or a .glsl file"

/* A map by name, or by the file that has its text. */
static bool parse_feature(run *r, const char *option, const char *word, unsigned *out, rapt_error *error)
{
    const size_t length = strlen(word);
    if (length <= 5 || strcmp(word + length - 5, ".glsl") != 0)
        return tool_one_of(option, word, tool_feature_name, RAPT_PHI_USER, out, FEATURES, error);
    if (r->map)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s: one map of q and k may be a file, not each its own", option);
    *out = RAPT_PHI_USER;
    return tool_read_text(option, word, &r->map, error);
}

/* Everything of feature maps. */
static bool parse_features(run *r, rapt_error *error)
{
    const run_options *o = r->o;
    rapt_linear_desc *d = &r->d;
    unsigned feature = 0, feature_k = 0;
    double power = 0, scale = 1;
    if (o->feature && !parse_feature(r, "--feature", o->feature, &feature, error))
        return false;
    if (o->feature_k && !parse_feature(r, "--feature-k", o->feature_k, &feature_k, error))
        return false;
    if (o->power && !tool_number("--feature-power", o->power, &power, error))
        return false;
    if (o->power && !(power >= 1 && power <= 64))
        return tool_fail(error, RAPT_ERROR_INVALID, "--feature-power '%.40s': 1 to 64 is needed", o->power);
    if (o->feature_scale && !tool_number("--feature-scale", o->feature_scale, &scale, error))
        return false;
    if ((float)scale == 0 || !isfinite((float)scale))
        return tool_fail(error, RAPT_ERROR_INVALID, "--feature-scale '%.40s': a single-precision number other than 0 is needed",
                         o->feature_scale);
    d->feature = (rapt_phi)feature;
    d->feature_scale = (float)scale;
    d->feature_k = (rapt_phi)feature_k;
    d->feature_power = (float)power;
    d->feature_map = r->map;
    d->flags |= (o->feature_k ? RAPT_LINEAR_FEATURE_K : 0) | (o->bidirectional ? RAPT_LINEAR_BIDIRECTIONAL : 0) |
                (o->normalize_keys ? RAPT_LINEAR_NORMALIZE_KEYS : 0) | (o->standardize ? RAPT_LINEAR_STANDARDIZE : 0);
    return true;
}

static bool parse_words(run *r, rapt_dtype *dtype, rapt_error *error)
{
    const run_options *o = r->o;
    rapt_linear_desc *d = &r->d;
    unsigned rule = 0, type = (unsigned)r->file[Q].dtype - RAPT_F32;
    int64_t chunk = 0, limit = 0;
    double scale = 1;
    if (o->rule &&
        !tool_one_of("--rule", o->rule, tool_rule_name, RAPT_LINEAR_RULE_COUNT, &rule, "none, delta or dplr", error))
        return false;
    if (o->dtype && !tool_one_of("--dtype", o->dtype, tool_dtype_name, 3, &type, "f32, f16 or bf16", error))
        return false;
    if (o->chunk && o->recurrent)
        return tool_fail(error, RAPT_ERROR_INVALID, "--chunk and --recurrent exclude each other");
    if (o->chunk && !tool_integer("--chunk", o->chunk, 1, 1024, &chunk, error))
        return false;
    if (o->limit && !tool_integer("--workspace-limit", o->limit, 1, INT64_MAX, &limit, error))
        return false;
    if (o->scale && !tool_number("--scale", o->scale, &scale, error))
        return false;
    if (!isfinite((float)scale))
        return tool_fail(error, RAPT_ERROR_INVALID, "--scale '%.40s': beyond single precision", o->scale);
    if (!!o->in[DECAY] + !!o->in[GATE] + !!o->in[LOG_GATE] > 1)
        return tool_fail(error, RAPT_ERROR_INVALID, "--decay, --gate and --log-gate exclude each other");
    if (o->in[STATE_IN] && o->normalize && !o->in[NORM_IN])
        return tool_fail(error, RAPT_ERROR_INVALID, "--normalize with --state-in needs --norm-in too");
    if ((o->in[NORM_IN] || o->norm_out || o->norms_out) && !o->normalize)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s needs --normalize",
                         o->in[NORM_IN] ? "--norm-in" : o->norm_out ? "--norm-out" : "--norms-out");
    if (!o->in[STATES_AT] != (!o->states_out && !o->norms_out))
        return tool_fail(error, RAPT_ERROR_INVALID, o->in[STATES_AT] ? "--states-at needs --states-out"
                                                                     : "--states-out and --norms-out need --states-at");
    *dtype = (rapt_dtype)(type + RAPT_F32);
    d->rule = (rapt_linear_rule)rule;
    d->form = o->recurrent ? RAPT_LINEAR_RECURRENT : o->chunk ? RAPT_LINEAR_CHUNKED : RAPT_LINEAR_AUTO;
    d->chunk = (uint32_t)chunk;
    d->workspace_limit = (uint64_t)limit;
    d->kernel = o->kernel;
    d->scale = (float)scale;
    d->flags = RAPT_LINEAR_SCALE | (o->normalize ? RAPT_LINEAR_NORMALIZE : 0) |
               (o->in[LOG_GATE] ? RAPT_LINEAR_LOG_DECAY : 0);
    return parse_features(r, error);
}

static bool check_cu_seqlens(const run *r, uint64_t packed, rapt_error *error)
{
    const tensor_file *t = &r->file[CU_SEQLENS];
    const int32_t *cu = t->data;
    const char *path = r->o->in[CU_SEQLENS];
    if (t->rank != 1 || t->count < 1 || cu[0] != 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--cu-seqlens %s: one axis that begins with 0 is needed",
                         path);
    for (uint64_t n = 1; n < t->count; n++)
        if (cu[n] < cu[n - 1])
            return tool_fail(error, RAPT_ERROR_INVALID,
                             "--cu-seqlens %s: entry %" PRIu64 " is %d, below the %d before it", path, n,
                             (int)cu[n], (int)cu[n - 1]);
    if ((uint64_t)cu[t->count - 1] != packed)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "--cu-seqlens %s: ends at %d, but the packed sequence axis has %" PRIu64, path,
                         (int)cu[t->count - 1], packed);
    return true;
}

/* Positions from their file; the library says which of them cannot be. */
static bool read_positions(run *r, rapt_error *error)
{
    const tensor_file *t = &r->file[STATES_AT];
    const int32_t *at = t->data;
    if (t->rank != 1 || t->count == 0 || t->count > UINT32_MAX)
        return tool_fail(error, RAPT_ERROR_INVALID, "--states-at %s: one axis of positions is needed", r->o->in[STATES_AT]);
    r->positions = malloc(t->count * sizeof *r->positions);
    if (!r->positions)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for positions");
    for (uint64_t n = 0; n < t->count; n++) {
        if (at[n] < 0)
            return tool_fail(error, RAPT_ERROR_INVALID, "--states-at %s: entry %" PRIu64 " is %d", r->o->in[STATES_AT], n, (int)at[n]);
        r->positions[n] = (uint64_t)at[n];
    }
    r->d.positions = r->positions;
    r->d.position_count = (uint32_t)t->count;
    return true;
}

static bool describe(run *r, rapt_error *error)
{
    const run_options *o = r->o;
    rapt_linear_desc *d = &r->d;
    rapt_dtype dtype = RAPT_F32;
    if (!read_inputs(r, error) || !parse_words(r, &dtype, error))
        return false;
    for (int n = 0; n < CU_SEQLENS; n++)
        if (o->in[n] && !tool_convert(&r->file[n], n <= V || n == A || n == B ? dtype : RAPT_F32, error))
            return false;
    rapt_tensor *const tensors[CU_SEQLENS] = {&d->q,    &d->k, &d->v, &d->decay,    &d->gate,   &d->gate,
                                              &d->beta, &d->a, &d->b, &d->state_in, &d->norm_in, &d->scale_q, &d->scale_k};
    for (int n = 0; n < CU_SEQLENS; n++)
        if (o->in[n])
            *tensors[n] = tensor_contiguous(r->file[n].dtype, r->file[n].rank, r->file[n].shape);
    if (d->q.rank != 4 || d->v.rank != 4 || d->k.rank != 4)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "Q, K and V need four axes, (batch, heads, sequence, features)");
    uint64_t heads = d->q.size[1];
    heads = d->k.size[1] > heads ? d->k.size[1] : heads;
    heads = d->v.size[1] > heads ? d->v.size[1] : heads;
    d->out = rapt_tensor_bhnd(dtype, d->q.size[0], heads, d->q.size[2], d->v.size[3]);
    uint64_t states = d->q.size[0];
    if (o->in[CU_SEQLENS]) {
        if (!check_cu_seqlens(r, d->q.size[2], error))
            return false;
        const int32_t *cu = r->file[CU_SEQLENS].data;
        states = r->file[CU_SEQLENS].count - 1;
        if (states == 0 || states > 1u << 30)
            return tool_fail(error, RAPT_ERROR_INVALID, "--cu-seqlens %s: no sequences, or more than 2^30",
                             o->in[CU_SEQLENS]);
        d->sequences = (uint32_t)states;
        for (uint64_t n = 0; n < states; n++)
            if ((uint64_t)(cu[n + 1] - cu[n]) > d->max_seqlen)
                d->max_seqlen = (uint64_t)(cu[n + 1] - cu[n]);
    }
    /* Features beyond what the library takes are refused there, in its words. */
    const uint32_t d_k = (uint32_t)(d->q.size[3] < 4096 ? d->q.size[3] : 4096);
    if (o->in[STATES_AT] && !read_positions(r, error))
        return false;
    const uint64_t rows = rapt_linear_state_rows(d->feature, d->feature_power, d_k) * (d->position_count + 1ull);
    if (o->state_out || o->in[STATES_AT])
        d->state_out = rapt_tensor_bhnd(RAPT_F32, states, heads, rows, d->v.size[3]);
    if (o->norm_out || o->norms_out)
        d->norm_out = (rapt_tensor){.dtype = RAPT_F32,
                                    .rank = 3,
                                    .size = {states, heads, rows},
                                    .stride = {(int64_t)(heads * rows), (int64_t)rows, 1}};
    return true;
}

/* ---- the steps ---- */

static rapt_status bind(run *r, rapt_error *error)
{
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[INPUTS] = {&args.q,     &args.k,        &args.v,       &args.decay,
                                      &args.decay, &args.decay,    &args.beta,    &args.a,
                                      &args.b,     &args.state_in, &args.norm_in, &args.scale_q,
                                      &args.scale_k, &args.cu_seqlens, NULL};
    for (int n = 0; n < INPUTS; n++) {
        if (!r->o->in[n] || !slots[n])
            continue;
        const uint64_t bytes = r->file[n].count * rapt_dtype_size(r->file[n].dtype);
        rapt_status status = rapt_buffer_create(r->p.device.device, bytes ? bytes : 1, &r->buffer[n], error);
        if (status == RAPT_OK && bytes)
            status = rapt_buffer_upload(r->buffer[n], 0, r->file[n].data, bytes, error);
        if (status != RAPT_OK)
            return status;
        slots[n]->buffer = r->buffer[n];
    }
    const struct {
        const rapt_tensor *tensor;
        rapt_buffer **buffer;
        rapt_slot *slot;
    } outputs[] = {{&r->d.out, &r->out, &args.out},
                   {&r->d.state_out, &r->state_out, &args.state_out},
                   {&r->d.norm_out, &r->norm_out, &args.norm_out}};
    for (size_t n = 0; n < TOOL_COUNT(outputs); n++) {
        if (!outputs[n].tensor->dtype)
            continue;
        const uint64_t bytes = rapt_tensor_bytes(outputs[n].tensor);
        const rapt_status status =
            rapt_buffer_create(r->p.device.device, bytes ? bytes : 1, outputs[n].buffer, error);
        if (status != RAPT_OK)
            return status;
        outputs[n].slot->buffer = *outputs[n].buffer;
    }
    return rapt_linear_bind(r->p.plan, &args, &r->p.binding, error);
}

/* Writes places [first, first + count) of the states (or normalisers) that lie after each other in a tensor; single: without
 * the axis of positions. */
static bool save_places(const run *r, rapt_buffer *buffer, const rapt_tensor *t, uint64_t first, uint64_t count, bool single,
                        const char *path, rapt_error *error)
{
    const uint64_t heads = t->size[0] * t->size[1], places = r->d.position_count + 1ull, rows = t->size[2] / places;
    const uint64_t inner = t->rank == 4 ? t->size[3] : 1, each = rows * inner;
    const uint64_t shape[] = {t->size[0], t->size[1], count, rows, inner}, whole[] = {t->size[0], t->size[1], rows, inner};
    const size_t bytes = (size_t)(heads * places * each) * sizeof(float);
    float *data = malloc(bytes + 1);
    bool good = data || tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the states");
    good = good && (bytes == 0 || rapt_buffer_download(buffer, 0, data, bytes, error) == RAPT_OK);
    for (uint64_t h = 0; h < heads && good; h++) /* moved up in place: targets lie before sources */
        memmove(data + h * count * each, data + (h * places + first) * each, (size_t)(count * each) * sizeof(float));
    good = good && npy_write(path, RAPT_F32, t->rank + !single, single ? whole : shape, data, error);
    free(data);
    return good;
}

static bool save_states(const run *r, rapt_error *error)
{
    const run_options *o = r->o;
    const uint64_t count = r->d.position_count;
    const rapt_tensor *s = &r->d.state_out, *z = &r->d.norm_out;
    return (!o->state_out || save_places(r, r->state_out, s, count, 1, true, o->state_out, error)) &&
           (!o->states_out || save_places(r, r->state_out, s, 0, count, false, o->states_out, error)) &&
           (!o->norm_out || save_places(r, r->norm_out, z, count, 1, true, o->norm_out, error)) &&
           (!o->norms_out || save_places(r, r->norm_out, z, 0, count, false, o->norms_out, error));
}

static int write_results(run *r)
{
    rapt_error error = {0};
    const run_options *o = r->o;
    if (!tool_save(r->out, &r->d.out, 4, r->d.out.size, o->out, &error) || !save_states(r, &error))
        return tool_report(&error);
    if (o->json) {
        cJSON_AddStringToObject(r->p.json, "out", o->out);
        return TOOL_GOOD;
    }
    char text[160];
    tensor_file_shape(4, r->d.out.size, text, sizeof text);
    printf("out: %s, %s %s\n", o->out, r->d.out.dtype == RAPT_F16 ? "float16" : "float32", text);
    if (o->state_out)
        printf("state: %s, float32\n", o->state_out);
    if (o->states_out)
        printf("states: %s, float32, after %u positions\n", o->states_out, r->d.position_count);
    return TOOL_GOOD;
}

static bool describe_own(void *own, rapt_error *error)
{
    return describe(own, error);
}
static rapt_status plan_own(void *own, rapt_error *error)
{
    run *r = own;
    return rapt_linear_plan(r->p.device.device, &r->d, &r->p.plan, error);
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
    "Linear attention: a state per head instead of scores. With phi the feature map (on Q and K)\n"
    "and alpha_t the decay or gate of step t (1 without):\n"
    "  none   S_t = alpha_t S_(t-1) + beta_t k_t v_t^T\n"
    "  delta  S_t = (I - beta_t k_t k_t^T) Diag(alpha_t) S_(t-1) + beta_t k_t v_t^T\n"
    "  dplr   S_t = (Diag(alpha_t) + b_t a_t^T) S_(t-1) + k_t v_t^T\n"
    "then o_t = scale * S_t^T phi(q_t); --normalize divides by scale * phi(q_t)^T z_t, where\n"
    "z_t = alpha_t z_(t-1) + phi(k_t). Causal: token t sees tokens up to itself; --bidirectional: all.\n"
    "\n"
    "Feature maps make of x (a row of Q or K, d_k wide): elu1 elu(x) + 1; relu; relu2 relu(x)^2; exp;\n"
    "softmax over d_k; taylor2 (BASED) features with phi(q).phi(k) = 1 + q.k + (q.k)^2 / 2, unscaled:\n"
    "scale with --feature-scale; poly (Fastmax) sum of (q.k)^l / l! up to --feature-power 1 or 2;\n"
    "focused (FLatten) relu(x)^p of the length of relu(x), p = --feature-power, default 3; lognormal\n"
    "(LLN) exp(x), with its alpha and beta as --scale-q and --scale-k; cosine x / |x|; or FILE.glsl\n"
    "with float feature_map(float x) or feature_map(float x, uint b, uint h, uint t, uint i). States\n"
    "of taylor2 and poly have 1 + d_k + d_k (d_k + 1) / 2 rows (order 1: 1 + d_k): 1, x_i, then\n"
    "x_i x_j for i <= j (i = j over sqrt(2)), up to a multiple of 4; above 128 of them up to equal\n"
    "blocks of at most 128.\n"
    "\n"
    "Files are NumPy's .npy, or FILE.safetensors:NAME. Q, K: (batch, heads, N, d_k), V: (batch,\n"
    "heads, N, d_v), of one type; each may have fewer heads than the widest, of which it is a\n"
    "divisor: head h reads head floor(h * its heads / heads). Decays, gates, beta and states are\n"
    "computed with as float32. The output is stored in the type computed from: float16 for f16,\n"
    "else float32.";
static const char *const examples[] = {
    "rapt run linear --q Q.npy --k K.npy --v V.npy --decay lambda.npy --out O.npy",
    "rapt run linear --q Q.npy --k K.npy --v V.npy --log-gate G.npy --out O.npy --state-out S.npy",
    "rapt run linear --q Q.npy --k K.npy --v V.npy --rule delta --beta B.npy --out O.npy --chunk 64 "
    "--explain",
    "rapt run linear --q Q.npy --k K.npy --v V.npy --feature elu1 --normalize --out O.npy --recurrent --time "
    "20",
    NULL,
};

int tool_run_linear(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--q", "FILE", "queries: npy file, or FILE.safetensors:NAME", &o.in[Q], NULL},
        {"--k", "FILE", "keys", &o.in[K], NULL},
        {"--v", "FILE", "values", &o.in[V], NULL},
        {"--out", "FILE", "where the output goes (npy)", &o.out, NULL},
        {"--decay", "FILE", "alpha: (heads), fixed, or (batch, heads, N)", &o.in[DECAY], NULL},
        {"--gate", "FILE", "alpha of each channel: (batch, heads, N, d_k)", &o.in[GATE], NULL},
        {"--log-gate", "FILE", "its natural logarithm, shaped alike", &o.in[LOG_GATE], NULL},
        {"--beta", "FILE", "(batch, heads, N); default 1; not with dplr", &o.in[BETA], NULL},
        {"--rule", "none|delta|dplr", "how a token changes the state; default none", &o.rule, NULL},
        {"--a", "FILE", "dplr: what reads the state, (batch, heads, N, d_k)", &o.in[A], NULL},
        {"--b", "FILE", "dplr: what writes it", &o.in[B], NULL},
        {"--feature", "NAME",
         "feature map of Q and K: identity (the default), elu1, relu, relu2, exp,\nsoftmax, taylor2, poly, focused, "
         "lognormal, cosine, or a .glsl file",
         &o.feature, NULL},
        {"--feature-k", "NAME", "another one for K", &o.feature_k, NULL},
        {"--feature-power", "X", "of poly (1 or 2, default 2) and focused (default 3)", &o.power, NULL},
        {"--feature-scale", "X", "Q times this, before the map; default 1", &o.feature_scale, NULL},
        {"--scale-q", "FILE", "(heads) float32: Q times this, before the map", &o.in[SCALE_Q], NULL},
        {"--scale-k", "FILE", "(heads) float32: K times this, before the map", &o.in[SCALE_K], NULL},
        {"--standardize", NULL, "Q and K less their mean over d_k, over their deviation, before the map", NULL,
         &o.standardize},
        {"--bidirectional", NULL, "every token sees all; rule none, without decay", NULL, &o.bidirectional},
        {"--normalize", NULL, "divide by the normaliser; rule none only", NULL, &o.normalize},
        {"--normalize-keys", NULL,
         "with --bidirectional: each feature's weights over the tokens sum to 1 (a\nsoftmax over tokens with "
         "--feature-k exp)",
         NULL, &o.normalize_keys},
        {"--scale", "X", "default 1", &o.scale, NULL},
        {"--state-in", "FILE", "S_0: float32 (batch, heads, d_k, d_v), or more rows (above); default 0", &o.in[STATE_IN], NULL},
        {"--state-out", "FILE", "also write S_N", &o.state_out, NULL},
        {"--norm-in", "FILE", "z_0: float32 (batch, heads, d_k); needed with --normalize and --state-in",
         &o.in[NORM_IN], NULL},
        {"--norm-out", "FILE", "also write z_N", &o.norm_out, NULL},
        {"--states-at", "FILE", "int32, rising: also the states after so many tokens (of each sequence)", &o.in[STATES_AT], NULL},
        {"--states-out", "FILE", "where they go: (batch, heads, positions, d_k, d_v)", &o.states_out, NULL},
        {"--norms-out", "FILE", "their normalisers: (batch, heads, positions, d_k)", &o.norms_out, NULL},
        {"--chunk", "N", "in chunks of N tokens, side by side; default: chosen", &o.chunk, NULL},
        {"--recurrent", NULL, "token by token", NULL, &o.recurrent},
        {"--cu-seqlens", "FILE",
         "sequences of different lengths, packed along the sequence axis of one\n"
         "batch: int32, rising from 0 to the packed length; states are then\n(sequences, heads, ..)",
         &o.in[CU_SEQLENS], NULL},
        {"--workspace-limit", "BYTES", "of the chunked form; default 64 MiB", &o.limit, NULL},
        {"--dtype", "f32|f16|bf16", "type to store and compute from; default: that of the files", &o.dtype,
         NULL},
        {"--kernel", "NAME", "force this kernel row (see rapt compile --list); refused where it\ncannot run",
         &o.kernel, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more and tell the time", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {"rapt run linear --q FILE --k FILE --v FILE --out FILE [options]", text,
                              examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 0, &count, &code))
        return code;
    const char *const outs[] = {o.out, o.state_out, o.norm_out, o.states_out, o.norms_out};
    if (!o.out)
        return tool_error(TOOL_BAD_INPUT, "--out FILE is missing");
    for (size_t n = 0; n < TOOL_COUNT(outs); n++)
        for (size_t m = 0; m < n; m++)
            if (outs[n] && outs[m] && strcmp(outs[n], outs[m]) == 0)
                return tool_error(TOOL_BAD_INPUT, "two outputs are the same file, %s", outs[n]);
    run r = {.o = &o, .d = RAPT_LINEAR_DESC_INIT, .p = {.where = &o.device, .explain = o.explain, .kernel = o.kernel}};
    code = plan_run_all(&r.p, o.time, o.json, &calls, &r);
    run_close(&r);
    return code;
}
