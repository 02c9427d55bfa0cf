/* rapt run scan, and rapt explain scan: what runs along a sequence channel by channel, on tensors from files. */
#include "plan_run.h"
#include "problem_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The files that may be given, in this order. */
enum { X, A, LOG_A, SCORES, B, C, DT, SKIP, Z, WEIGHT, BIAS, STATE_IN, CU_SEQLENS, INPUTS };
static const char *const input_names[INPUTS] = {"--x",    "--a",  "--log-a", "--scores",   "--b",    "--c",
                                                "--dt", "--skip", "--z",     "--weight",   "--bias", "--state-in", "--cu-seqlens"};
#define OPERATIONS "sum, max, linear, softmax, ssm, selective, hold, conv or conv2d"

typedef struct run_options {
    const char *in[INPUTS];
    const char *op, *out, *state_out, *chunk, *dtype, *kernel, *limit, *time, *act, *ahead;
    const char *shape, *states, *coefficients, *taps; /* explain */
    tool_device_options device;
    bool reverse, blend, complex, softplus, channels_last, recurrent, explain, json, no_device;
} run_options;

/* Everything that must be put away at the end. */
typedef struct run {
    plan_run p;
    const run_options *o;
    rapt_scan_desc d;
    tensor_file file[INPUTS];
    rapt_buffer *buffer[INPUTS], *out, *state_out;
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
    plan_run_close(&r->p);
}

/* ---- the problem ---- */

static bool read_inputs(run *r, rapt_error *error)
{
    for (int n = 0; n < INPUTS; n++) {
        const char *path = r->o->in[n];
        tensor_file *t = &r->file[n];
        if (!path && n == X)
            return tool_fail(error, RAPT_ERROR_INVALID, "--x FILE is missing");
        if (!path)
            continue;
        if (!tensor_file_read(path, t, error))
            return false;
        if (t->rank > RAPT_MAX_RANK || t->rank == 0)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %u axes, 1 to 4 are needed", input_names[n], path, t->rank);
        if ((t->dtype == RAPT_I32) != (n == CU_SEQLENS))
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s; %s is needed", input_names[n], path,
                             rapt_dtype_name(t->dtype), n == CU_SEQLENS ? "int32" : "float32 or float16");
        if (n == STATE_IN && t->dtype != RAPT_F32)
            return tool_fail(error, RAPT_ERROR_INVALID, "--state-in %s: %s; float32 is needed", path,
                             rapt_dtype_name(t->dtype));
    }
    return true;
}

static bool parse_op(const char *word, rapt_scan_op *out, rapt_error *error)
{
    if (!word)
        return tool_fail(error, RAPT_ERROR_INVALID, "--op NAME is missing: " OPERATIONS);
    for (unsigned n = 0; n < RAPT_SCAN_OP_COUNT; n++)
        if (strcmp(word, rapt_scan_op_name((rapt_scan_op)n)) == 0) {
            *out = (rapt_scan_op)n;
            return true;
        }
    return tool_fail(error, RAPT_ERROR_INVALID, "--op '%.60s': " OPERATIONS " is needed", word);
}

static bool parse_dtype(const char *word, rapt_dtype *out, rapt_error *error)
{
    for (rapt_dtype t = RAPT_F32; t <= RAPT_BF16 && word; t++)
        if (strcmp(word, rapt_dtype_name(t)) == 0) {
            *out = t;
            return true;
        }
    return !word || tool_fail(error, RAPT_ERROR_INVALID, "--dtype '%.60s': f32, f16 or bf16 is needed", word);
}

static bool parse_act(const char *word, rapt_scan_act *out, rapt_error *error)
{
    for (unsigned n = 0; n < RAPT_SCAN_ACT_COUNT && word; n++)
        if (strcmp(word, rapt_scan_act_name((rapt_scan_act)n)) == 0) {
            *out = (rapt_scan_act)n;
            return true;
        }
    return !word || tool_fail(error, RAPT_ERROR_INVALID, "--act '%.60s': none, silu or sigmoid is needed", word);
}

static bool parse_words(run *r, rapt_dtype *dtype, rapt_error *error)
{
    const run_options *o = r->o;
    rapt_scan_desc *d = &r->d;
    int64_t chunk = 0, limit = 0, ahead = 0;
    if (!parse_op(o->op, &d->op, error) || !parse_dtype(o->dtype, dtype, error) || !parse_act(o->act, &d->act, error))
        return false;
    if (o->chunk && o->recurrent)
        return tool_fail(error, RAPT_ERROR_INVALID, "--chunk and --recurrent exclude each other");
    if (o->chunk && !tool_integer("--chunk", o->chunk, 1, 65536, &chunk, error))
        return false;
    if (o->limit && !tool_integer("--workspace-limit", o->limit, 1, INT64_MAX, &limit, error))
        return false;
    if (o->ahead && !tool_integer("--ahead", o->ahead, 0, RAPT_SCAN_MAX_TAPS - 1, &ahead, error))
        return false;
    if (o->in[A] && o->in[LOG_A])
        return tool_fail(error, RAPT_ERROR_INVALID, "--a and --log-a exclude each other");
    d->form = o->recurrent ? RAPT_SCAN_RECURRENT : o->chunk ? RAPT_SCAN_CHUNKED : RAPT_SCAN_AUTO;
    d->chunk = (uint32_t)chunk;
    d->workspace_limit = (uint64_t)limit;
    d->ahead = (uint32_t)ahead;
    d->kernel = o->kernel;
    d->flags = (o->in[LOG_A] ? RAPT_SCAN_LOG_A : 0) | (o->blend ? RAPT_SCAN_BLEND : 0) |
               (o->reverse ? RAPT_SCAN_REVERSE : 0) | (o->complex ? RAPT_SCAN_COMPLEX : 0) |
               (o->softplus ? RAPT_SCAN_SOFTPLUS : 0) | (o->channels_last ? RAPT_SCAN_CHANNELS_LAST : 0);
    return true;
}

static bool take_cu_seqlens(run *r, uint64_t packed, rapt_error *error)
{
    const tensor_file *t = &r->file[CU_SEQLENS];
    const int32_t *cu = t->data;
    const char *path = r->o->in[CU_SEQLENS];
    if (t->rank != 1 || t->count < 2 || t->count > 1u << 30 || cu[0] != 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--cu-seqlens %s: one axis of at least two entries, which begins with 0, "
                         "is needed", path);
    r->d.sequences = (uint32_t)t->count - 1;
    for (uint64_t n = 1; n < t->count; n++) {
        if (cu[n] < cu[n - 1])
            return tool_fail(error, RAPT_ERROR_INVALID, "--cu-seqlens %s: entry %" PRIu64 " is %d, below the %d before it",
                             path, n, (int)cu[n], (int)cu[n - 1]);
        if ((uint64_t)(cu[n] - cu[n - 1]) > r->d.max_seqlen)
            r->d.max_seqlen = (uint64_t)(cu[n] - cu[n - 1]);
    }
    return (uint64_t)cu[t->count - 1] == packed ||
           tool_fail(error, RAPT_ERROR_INVALID, "--cu-seqlens %s: ends at %d, but the packed sequence axis has %" PRIu64, path,
                     (int)cu[t->count - 1], packed);
}

/* (batch or sequences, heads, d, s) */
static rapt_tensor state_tensor(const rapt_scan_desc *d)
{
    const uint64_t channels = d->x.size[3] ? d->x.size[3] : 1;
    const uint64_t taps = d->weight.rank == 4 ? d->weight.size[3] / channels : d->weight.size[2];
    const uint64_t states = d->op == RAPT_SCAN_SOFTMAX                               ? 3
                            : d->op == RAPT_SCAN_SSM || d->op == RAPT_SCAN_SELECTIVE ? d->a.size[2]
                            : d->op == RAPT_SCAN_CONV                                ? taps - (taps > 0)
                                                                                     : 1;
    return tensor_contiguous(RAPT_F32, 4, (uint64_t[]){d->sequences ? d->sequences : d->x.size[0], d->x.size[1], d->x.size[3], states});
}

static bool describe(run *r, rapt_error *error)
{
    const run_options *o = r->o;
    rapt_scan_desc *d = &r->d;
    if (!read_inputs(r, error))
        return false;
    rapt_dtype dtype = r->file[X].dtype;
    if (!parse_words(r, &dtype, error))
        return false;
    for (int n = 0; n < CU_SEQLENS; n++)
        if (o->in[n] && !tool_convert(&r->file[n], n == X || n == Z ? dtype : RAPT_F32, error))
            return false;
    rapt_tensor *const tensors[CU_SEQLENS] = {&d->x, &d->a,  &d->a,    &d->scores, &d->b,
                                              &d->c, &d->dt, &d->skip, &d->z,      &d->weight, &d->bias, &d->state_in};
    for (int n = 0; n < CU_SEQLENS; n++)
        if (o->in[n])
            *tensors[n] = tensor_contiguous(r->file[n].dtype, r->file[n].rank, r->file[n].shape);
    if (d->x.rank != 4)
        return tool_fail(error, RAPT_ERROR_INVALID, "--x %s: four axes are needed, (batch, heads, N, d)", o->in[X]);
    d->out = tensor_contiguous(dtype, 4, d->x.size);
    if (o->in[CU_SEQLENS] && !take_cu_seqlens(r, d->x.size[2], error))
        return false;
    if (o->state_out)
        d->state_out = state_tensor(d);
    return true;
}

/* ---- the steps ---- */

static rapt_status bind(run *r, rapt_error *error)
{
    rapt_scan_args args = RAPT_SCAN_ARGS_INIT;
    rapt_slot *const slots[INPUTS] = {&args.x,  &args.a,    &args.a, &args.scores,   &args.b,         &args.c,
                                      &args.dt, &args.skip, &args.z, &args.weight,   &args.bias,      &args.state_in,
                                      &args.cu_seqlens};
    for (int n = 0; n < INPUTS; n++) {
        if (!r->o->in[n])
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
    } outputs[] = {{&r->d.out, &r->out, &args.out}, {&r->d.state_out, &r->state_out, &args.state_out}};
    for (size_t n = 0; n < TOOL_COUNT(outputs); n++) {
        if (!outputs[n].tensor->dtype)
            continue;
        const uint64_t bytes = rapt_tensor_bytes(outputs[n].tensor);
        const rapt_status status = rapt_buffer_create(r->p.device.device, bytes ? bytes : 1, outputs[n].buffer, error);
        if (status != RAPT_OK)
            return status;
        outputs[n].slot->buffer = *outputs[n].buffer;
    }
    return rapt_scan_bind(r->p.plan, &args, &r->p.binding, error);
}

static int write_results(run *r)
{
    rapt_error error = {0};
    const run_options *o = r->o;
    if (!tool_save(r->out, &r->d.out, 4, r->d.out.size, o->out, &error) ||
        (o->state_out && !tool_save(r->state_out, &r->d.state_out, 4, r->d.state_out.size, o->state_out, &error)))
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
    return TOOL_GOOD;
}

static bool describe_own(void *own, rapt_error *error)
{
    return describe(own, error);
}
static rapt_status plan_own(void *own, rapt_error *error)
{
    run *r = own;
    return rapt_scan_plan(r->p.device.device, &r->d, &r->p.plan, error);
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
    "What runs along a sequence, each channel by itself; a channel is one of the d of a head:\n"
    "  sum        h_t = h_(t-1) + x_t                     out_t = h_t\n"
    "  max        h_t = max(h_(t-1), x_t)                 out_t = h_t\n"
    "  linear     h_t = a_t h_(t-1) + x_t                 out_t = h_t\n"
    "             with --blend a_t h_(t-1) + (1 - a_t) x_t: moving averages, HGRN, minGRU, RAT\n"
    "  softmax    out_t = sum_(j<=t) e^(s_j) x_j / sum_(j<=t) e^(s_j), s the scores: Aaren\n"
    "  ssm        h_t = a h_(t-1) + b x_t                 out_t = sum_n c h_t + skip x_t\n"
    "             n states a channel, with --complex complex ones: S4D, Mega's moving average\n"
    "  selective  h_t = e^(dt_t a) h_(t-1) + dt_t b_t x_t out_t = sum_n c_t h_t + skip x_t: Mamba\n"
    "  hold       h_t = x_t where |x_t - h_(t-1)| >= a_t, else h_(t-1); out_t = h_t\n"
    "ssm and selective multiply out_t by z_t / (1 + e^(-z_t)) where --z is given.\n"
    "Without a recurrence, each channel by itself too:\n"
    "  conv       out_t = act(bias + sum_(j<W) w_j x_(t + j - W + 1 + ahead)), w fixed or of the token\n"
    "  conv2d     the same on a grid of Y x X places around the place; zeros outside\n"
    "\n"
    "Files are NumPy's .npy, or FILE.safetensors:NAME. x, z: (batch, heads, N, d); a of linear\n"
    "and hold: (heads, d), (batch, heads, N) or (batch, heads, N, d), and scores likewise but for the first;\n"
    "a of ssm and selective: (heads, d, n); b, c: (heads, d, n) for ssm, (batch, heads, N, n) for\n"
    "selective; dt: (batch, heads, N, d); skip: (heads, d). Complex numbers are two entries of the\n"
    "last axis, 2 n in all. weight of conv: (heads, d, W), or (batch, heads, N, d W), the last tap\n"
    "the newest token's; bias: (heads, d). conv2d: x (batch, channels, Y, X), with --channels-last\n"
    "(batch, Y, X, channels), weight (channels, KY, KX), bias (channels). Else all but x may have\n"
    "fewer heads, a divisor of those of x: head h reads head floor(h * its heads / heads). All but\n"
    "x and z are computed with as float32. States are\n"
    "float32 (batch, heads, d, s): s 1, for softmax 3 (largest score m, sum of e^(s - m), the\n"
    "same of x), n or 2 n, of conv the last W - 1 tokens, else 1. The output is stored in the type\n"
    "computed from: float16 for f16, else float32.";
static const char *const examples[] = {
    "rapt run scan --op linear --x X.npy --a A.npy --out H.npy --state-out S.npy",
    "rapt run scan --op linear --blend --x X.npy --log-a F.npy --out H.npy --chunk 256 --explain",
    "rapt run scan --op softmax --x V.npy --scores S.npy --out O.npy",
    "rapt run scan --op ssm --complex --x X.npy --a A.npy --b B.npy --c C.npy --skip D.npy --out Y.npy",
    "rapt run scan --op selective --softplus --x X.npy --dt T.npy --a A.npy --b B.npy --c C.npy --skip D.npy --z Z.npy --out Y.npy",
    "rapt run scan --op conv --x X.npy --weight W.npy --act silu --out Y.npy --state-out S.npy",
    "rapt explain scan --op linear --shape 1,1,65536,64",
    NULL,
};

#define SCAN_OPTIONS(o)                                                                                                \
    {"--op", "NAME", OPERATIONS, &(o).op, NULL},                                                                       \
        {"--reverse", NULL, "from the last token to the first", NULL, &(o).reverse},                                   \
        {"--blend", NULL, "linear: x_t counts 1 - a_t times", NULL, &(o).blend},                                       \
        {"--complex", NULL, "ssm: a, b, c and states are pairs of real and imaginary part", NULL, &(o).complex},       \
        {"--softplus", NULL, "selective: dt stands for log(1 + e^dt)", NULL, &(o).softplus},                           \
        {"--act", "NAME", "conv, conv2d: what the output goes through: none (default), silu or sigmoid", &(o).act, NULL},  \
        {"--ahead", "N", "conv: tokens after its own that an output sees; default 0", &(o).ahead, NULL},               \
        {"--channels-last", NULL, "conv2d: x is (batch, Y, X, channels)", NULL, &(o).channels_last},                   \
        {"--chunk", "N", "in chunks of N tokens, side by side; default: chosen", &(o).chunk, NULL},                    \
        {"--recurrent", NULL, "one token after the other", NULL, &(o).recurrent},                                      \
        {"--workspace-limit", "BYTES", "of the chunked form; default 64 MiB", &(o).limit, NULL},                       \
        {"--dtype", "f32|f16|bf16", "type of x, z and out; default: that of the file", &(o).dtype, NULL},              \
    {                                                                                                                  \
        "--kernel", "NAME", "force this kernel row (see rapt compile --list); refused where it\ncannot run",           \
            &(o).kernel, NULL                                                                                          \
    }

int tool_run_scan(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--x", "FILE", "what is scanned: npy file, or FILE.safetensors:NAME", &o.in[X], NULL},
        {"--out", "FILE", "where the output goes (npy)", &o.out, NULL},
        {"--a", "FILE", "what multiplies the state; linear without: 1. hold: least changes", &o.in[A], NULL},
        {"--log-a", "FILE", "linear: its natural logarithm, shaped alike", &o.in[LOG_A], NULL},
        {"--scores", "FILE", "softmax: s; -inf hides a token", &o.in[SCORES], NULL},
        {"--b", "FILE", "ssm, selective: what writes the state", &o.in[B], NULL},
        {"--c", "FILE", "ssm, selective: what reads it", &o.in[C], NULL},
        {"--dt", "FILE", "selective: steps", &o.in[DT], NULL},
        {"--skip", "FILE", "ssm, selective: x's own share of the output; Mamba's D", &o.in[SKIP], NULL},
        {"--z", "FILE", "ssm, selective: gate of the output", &o.in[Z], NULL},
        {"--weight", "FILE", "conv, conv2d: taps", &o.in[WEIGHT], NULL},
        {"--bias", "FILE", "conv, conv2d: what is added to them", &o.in[BIAS], NULL},
        {"--state-in", "FILE", "the state to begin with; default 0, of maxima and scores -inf", &o.in[STATE_IN], NULL},
        {"--state-out", "FILE", "also write the state at the end", &o.state_out, NULL},
        {"--cu-seqlens", "FILE",
         "sequences of different lengths, packed along the sequence axis of one\n"
         "batch: int32, rising from 0 to the packed length; states are then\n(sequences, heads, ..)",
         &o.in[CU_SEQLENS], NULL},
        SCAN_OPTIONS(o),
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more and tell the time", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {"rapt run scan --op NAME --x FILE --out FILE [options]", text, examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 0, &count, &code))
        return code;
    if (!o.out)
        return tool_error(TOOL_BAD_INPUT, "--out FILE is missing");
    if (o.state_out && strcmp(o.state_out, o.out) == 0)
        return tool_error(TOOL_BAD_INPUT, "two outputs are the same file, %s", o.out);
    run r = {.o = &o, .d = RAPT_SCAN_DESC_INIT, .p = {.where = &o.device, .explain = o.explain, .kernel = o.kernel}};
    code = plan_run_all(&r.p, o.time, o.json, &calls, &r);
    run_close(&r);
    return code;
}

/* ---- explain ---- */

/* The usual tensors of an operation, from a shape. */
static bool describe_shape(run *r, rapt_error *error)
{
    const run_options *o = r->o;
    rapt_scan_desc *d = &r->d;
    rapt_dtype dtype = RAPT_F32;
    uint64_t x[4];
    int64_t states = 16;
    const char *at = o->shape;
    for (int axis = 0; axis < 4; axis++) {
        char *end;
        x[axis] = *at >= '0' && *at <= '9' ? strtoull(at, &end, 10) : UINT64_MAX;
        if (x[axis] > 1ull << 40 || *end != (axis < 3 ? ',' : 0))
            return tool_fail(error, RAPT_ERROR_INVALID, "--shape '%.60s': B,H,N,D is needed, four whole numbers", o->shape);
        at = end + 1;
    }
    if (!parse_words(r, &dtype, error) ||
        (o->states && !tool_integer("--states", o->states, 1, RAPT_SCAN_MAX_STATES, &states, error)))
        return false;
    const bool ssm = d->op == RAPT_SCAN_SSM, selective = d->op == RAPT_SCAN_SELECTIVE;
    const char *per = o->coefficients ? o->coefficients : "token";
    const bool channel = strcmp(per, "channel") == 0;
    if (!channel && strcmp(per, "token") != 0 && strcmp(per, "fixed") != 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--per '%.40s': fixed, token or channel is needed", per);
    d->x = d->out = tensor_contiguous(dtype, 4, x);
    const uint64_t numbers[] = {x[1], x[3], (uint64_t)states}, ports[] = {x[0], x[1], x[2], (uint64_t)states};
    if (ssm || selective)
        d->a = d->b = d->c = tensor_contiguous(RAPT_F32, 3, numbers);
    else if (d->op == RAPT_SCAN_LINEAR || d->op == RAPT_SCAN_SOFTMAX || d->op == RAPT_SCAN_HOLD)
        *(d->op == RAPT_SCAN_SOFTMAX ? &d->scores : &d->a) = per[0] == 'f' ? tensor_contiguous(RAPT_F32, 2, numbers)
                                                            : channel      ? tensor_contiguous(RAPT_F32, 4, x)
                                                                           : tensor_contiguous(RAPT_F32, 3, x);
    int64_t taps = 4;
    if (o->taps && !tool_integer("--taps", o->taps, 1, RAPT_SCAN_MAX_TAPS, &taps, error))
        return false;
    const uint64_t planes = d->flags & RAPT_SCAN_CHANNELS_LAST ? x[3] : x[1], side = o->taps ? (uint64_t)taps : 3;
    if (d->op == RAPT_SCAN_CONV)
        d->weight = tensor_contiguous(RAPT_F32, 3, (uint64_t[]){x[1], x[3], (uint64_t)taps});
    else if (d->op == RAPT_SCAN_CONV2D)
        d->weight = tensor_contiguous(RAPT_F32, 3, (uint64_t[]){planes, side, side});
    if (selective) {
        d->b = d->c = tensor_contiguous(RAPT_F32, 4, ports);
        d->dt = tensor_contiguous(RAPT_F32, 4, x);
    }
    return true;
}

static int explain_scan(run *r)
{
    const run_options *o = r->o;
    rapt_error error = {0};
    if (!describe_shape(r, &error))
        return tool_report(&error);
    int code = tool_kernel_known(o->kernel);
    if (code != TOOL_GOOD)
        return code;
    rapt_status status;
    if (o->no_device) {
        rapt_caps caps;
        rapt_caps_floor(&caps);
        status = rapt_caps_mask(&caps, o->device.caps, &error);
        if (status == RAPT_OK)
            status = rapt_scan_plan_for_caps(&caps, &r->d, &r->p.plan, &error);
    } else {
        code = tool_device_open(&o->device, o->json, &r->p.device);
        if (code != TOOL_GOOD)
            return code;
        status = rapt_scan_plan(r->p.device.device, &r->d, &r->p.plan, &error);
    }
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    char *text_of_plan = tool_explain(r->p.plan, o->json ? RAPT_JSON : RAPT_TEXT);
    if (!text_of_plan)
        return tool_no_memory();
    printf("%s%s", text_of_plan, o->json ? "\n" : "");
    free(text_of_plan);
    return TOOL_GOOD;
}

int tool_explain_scan(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--shape", "B,H,N,D", "batch, heads, tokens, channels of a head", &o.shape, NULL},
        {"--per", "fixed|token|channel", "linear: a for each channel alone, for each token (the default), or for each\n"
         "token and channel; scores of softmax likewise, but for the first", &o.coefficients, NULL},
        {"--states", "N", "ssm, selective: numbers of state a channel; default 16", &o.states, NULL},
        {"--taps", "N", "conv: default 4; conv2d: along each axis, default 3", &o.taps, NULL},
        SCAN_OPTIONS(o),
        {"--no-device", NULL, "plan for the least that rapt runs on (and --caps), without a device", NULL, &o.no_device},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--json", NULL, "as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const shapes[] = {"rapt explain scan --op linear --shape 1,1,65536,64 --per channel",
                                         "rapt explain scan --op selective --shape 1,1,2048,4096 --states 16 --json", NULL};
    const tool_usage usage = {"rapt explain scan --op NAME --shape B,H,N,D [options]",
                              "Plans a scan and tells which kernel would run, in chunks or not, with what workspace and\n"
                              "steps, and why each other kernel would not. Nothing runs. See rapt run scan --help.",
                              shapes, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 0, &count, &code))
        return code;
    if (!o.shape)
        return tool_error(TOOL_BAD_INPUT, "--shape B,H,N,D is missing");
    run r = {.o = &o, .d = RAPT_SCAN_DESC_INIT};
    code = explain_scan(&r);
    run_close(&r);
    return code;
}
