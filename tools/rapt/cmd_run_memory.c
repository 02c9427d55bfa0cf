/* rapt run memory: memories that learn while they read (rapt/memory.h), on tensors from files. */
#include "linear_options.h"
#include "plan_run.h"
#include "problem_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The files that may be given, in this order, and what is written. */
enum { Q, K, V, RATES, STATE_IN, INPUTS, OUT = INPUTS, STATE_OUT, TENSORS };
static const char *const input_names[INPUTS] = {"--q", "--k", "--v", "--rates", "--state-in"};

static const char *form_name(unsigned n)
{
    static const char *const names[] = {"linear", "mlp", "softmax"};
    return names[n];
}
static const char *act_name(unsigned n)
{
    static const char *const names[] = {"silu", "gelu"};
    return names[n];
}

typedef struct run_options {
    const char *in[INPUTS];
    const char *form, *act, *hidden, *chunk, *dtype, *limit, *out, *state_out, *time;
    tool_device_options device;
    bool read_start, explain, json;
} run_options;

/* Everything that must be put away at the end. */
typedef struct run {
    plan_run p;
    const run_options *o;
    rapt_memory_desc d;
    tensor_file file[INPUTS];
    rapt_buffer *buffer[TENSORS];
} run;

static void run_close(run *r)
{
    plan_run_unbind(&r->p);
    for (size_t n = 0; n < TENSORS; n++)
        rapt_buffer_destroy(&r->buffer[n]);
    for (size_t n = 0; n < INPUTS; n++)
        tensor_file_free(&r->file[n]);
    plan_run_close(&r->p);
}

static rapt_tensor *tensor_of(run *r, uint32_t n)
{
    rapt_tensor *const all[TENSORS] = {&r->d.q, &r->d.k, &r->d.v, &r->d.rates, &r->d.state_in, &r->d.out, &r->d.state_out};
    return all[n];
}

/* ---- the problem ---- */

static bool read_inputs(run *r, rapt_error *error)
{
    static const uint32_t ranks[INPUTS] = {4, 4, 4, 4, 3};
    for (int n = 0; n < INPUTS; n++) {
        const char *path = r->o->in[n];
        tensor_file *t = &r->file[n];
        if (!path && n <= V)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s FILE is missing", input_names[n]);
        if (!path)
            continue;
        if (!tensor_file_read(path, t, error))
            return false;
        if (t->rank != ranks[n] || t->dtype == RAPT_I32 || (n > V && t->dtype != RAPT_F32))
            return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s with %u axes; %s with %u is needed", input_names[n], path,
                             rapt_dtype_name(t->dtype), t->rank, n > V ? "float32" : "float32 or float16", ranks[n]);
    }
    return true;
}

static bool parse_words(run *r, rapt_dtype *dtype, rapt_error *error)
{
    const run_options *o = r->o;
    unsigned form = RAPT_MEMORY_LINEAR, act = RAPT_MEMORY_SILU, type = (unsigned)*dtype - RAPT_F32;
    int64_t hidden = 0, chunk = 0, limit = 0;
    if ((o->form && !tool_one_of("--form", o->form, form_name, 3, &form, "linear, mlp or softmax", error)) ||
        (o->act && !tool_one_of("--act", o->act, act_name, 2, &act, "silu or gelu", error)) ||
        (o->dtype && !tool_one_of("--dtype", o->dtype, tool_dtype_name, 3, &type, "f32, f16 or bf16", error)) ||
        (o->hidden && !tool_integer("--hidden", o->hidden, 1, 2048, &hidden, error)) ||
        (o->chunk && !tool_integer("--chunk", o->chunk, 1, 65536, &chunk, error)) ||
        (o->limit && !tool_integer("--workspace-limit", o->limit, 1, INT64_MAX, &limit, error)))
        return false;
    if (form != RAPT_MEMORY_MLP && o->act)
        return tool_fail(error, RAPT_ERROR_INVALID, "--act goes with --form mlp");
    if (form == RAPT_MEMORY_MLP && !o->in[STATE_IN])
        return tool_fail(error, RAPT_ERROR_INVALID, "--state-in FILE is missing: an MLP of zeros learns nothing");
    *dtype = (rapt_dtype)(RAPT_F32 + type);
    r->d.form = (rapt_memory_form)form;
    r->d.act = (rapt_memory_act)act;
    r->d.hidden = (uint32_t)hidden;
    r->d.chunk = (uint32_t)chunk;
    r->d.workspace_limit = (uint64_t)limit;
    r->d.flags = o->read_start ? RAPT_MEMORY_READ_START : 0;
    return true;
}

static bool describe(run *r, rapt_error *error)
{
    if (!read_inputs(r, error))
        return false;
    rapt_dtype dtype = r->file[Q].dtype;
    if (!parse_words(r, &dtype, error))
        return false;
    for (uint32_t n = 0; n < INPUTS; n++) {
        if (!r->o->in[n])
            continue;
        if (!tool_convert(&r->file[n], n <= V ? dtype : RAPT_F32, error))
            return false;
        *tensor_of(r, n) = tensor_contiguous(r->file[n].dtype, r->file[n].rank, r->file[n].shape);
    }
    const uint64_t *q = r->d.q.size;
    const uint64_t out[] = {q[0], q[1], q[2], r->d.v.size[3]},
                   state[] = {q[0], q[1], rapt_memory_numbers(r->d.form, q[3], r->d.v.size[3], r->d.hidden)};
    r->d.out = tensor_contiguous(dtype, 4, out);
    if (r->o->state_out)
        r->d.state_out = tensor_contiguous(RAPT_F32, 3, state);
    return true;
}

/* ---- the run ---- */

static rapt_status bind(run *r, rapt_error *error)
{
    rapt_memory_args args = RAPT_MEMORY_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.q, &args.k, &args.v, &args.rates, &args.state_in, &args.out, &args.state_out};
    for (uint32_t n = 0; n < TENSORS; n++) {
        if (!tensor_of(r, n)->dtype)
            continue;
        const uint64_t bytes = rapt_tensor_bytes(tensor_of(r, n));
        rapt_status status = rapt_buffer_create(r->p.device.device, bytes ? bytes : 1, &r->buffer[n], error);
        if (status == RAPT_OK && n < INPUTS && bytes)
            status = rapt_buffer_upload(r->buffer[n], 0, r->file[n].data, bytes, error);
        if (status != RAPT_OK)
            return status;
        slots[n]->buffer = r->buffer[n];
    }
    return rapt_memory_bind(r->p.plan, &args, &r->p.binding, error);
}

static int write_results(run *r)
{
    int code = TOOL_GOOD;
    for (uint32_t n = OUT; n < TENSORS && code == TOOL_GOOD; n++)
        if (tensor_of(r, n)->dtype)
            code = plan_run_save(&r->p, n == OUT ? "out" : "state", r->buffer[n], tensor_of(r, n), n == OUT ? r->o->out : r->o->state_out);
    return code;
}

static bool describe_own(void *own, rapt_error *error)
{
    return describe(own, error);
}
static rapt_status plan_own(void *own, rapt_error *error)
{
    run *r = own;
    return rapt_memory_plan(r->p.device.device, &r->d, &r->p.plan, error);
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
    "A memory of each head that learns from keys and values, chunk by chunk, while queries read it:\n"
    "  linear   M(x) = W^T x                    Titans; with M_c what the token's chunk begins with,\n"
    "  mlp      M(x) = W2^T act(W1^T x)         S_t = eta_t S_(t-1) - theta_t grad |M_c(k_t) - v_t|^2\n"
    "                                           M_t = (1 - alpha_t) M_(t-1) + S_t, out_t = M_t(q_t)\n"
    "  softmax  M(x) = W^T softmax(x)           Gecko; out_t = M_c(q_t), and behind each chunk\n"
    "           W += share (softmax(K)^T (V - M(K)) - W), softmax(K) along the chunk, share its part of\n"
    "           the sums of e^k so far, channel by channel\n"
    "\n"
    "Files are NumPy's .npy, or FILE.safetensors:NAME. q, k: (batch, heads, N, d), v: (batch, heads, N,\n"
    "d_v); rates of linear and mlp: float32 (batch, heads or 1, N, 3), alpha, eta and theta side by side.\n"
    "States are float32 (batch, heads, s): of linear W and S, each (d, d_v) row by row, s = 2 d d_v; of mlp\n"
    "W1 (d, hidden) and W2 (hidden, d_v), then S alike; of softmax W and, for each of d channels, the log\n"
    "of the sum of e^k. Without --state-in: zeros, and -inf for such a log. The output is stored in the\n"
    "type computed from: float16 for f16, else float32.";
static const char *const examples[] = {
    "rapt run memory --q Q.npy --k K.npy --v V.npy --rates R.npy --out O.npy --state-out S.npy",
    "rapt run memory --form mlp --hidden 256 --q Q.npy --k K.npy --v V.npy --rates R.npy --state-in S.npy --out O.npy",
    "rapt run memory --form softmax --q Q.npy --k K.npy --v V.npy --out O.npy --chunk 2048 --time 10",
    NULL,
};

int tool_run_memory(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--q", "FILE", "what reads: npy file, or FILE.safetensors:NAME", &o.in[Q], NULL},
        {"--k", "FILE", "what it learns to recall values by", &o.in[K], NULL},
        {"--v", "FILE", "what it learns to recall", &o.in[V], NULL},
        {"--out", "FILE", "where the output goes (npy)", &o.out, NULL},
        {"--form", "NAME", "linear (default), mlp or softmax", &o.form, NULL},
        {"--rates", "FILE", "linear, mlp: alpha, eta and theta of each token", &o.in[RATES], NULL},
        {"--state-in", "FILE", "the state to begin with", &o.in[STATE_IN], NULL},
        {"--state-out", "FILE", "also write the state at the end", &o.state_out, NULL},
        {"--hidden", "N", "mlp: width of the layer between", &o.hidden, NULL},
        {"--act", "NAME", "mlp: silu (default) or gelu", &o.act, NULL},
        {"--chunk", "N", "tokens of a chunk; default 64", &o.chunk, NULL},
        {"--read-start", NULL, "every token reads the memory that its chunk begins with; softmax always does", NULL, &o.read_start},
        {"--workspace-limit", "BYTES", "default 64 MiB; heads are taken as many at a time as fit", &o.limit, NULL},
        {"--dtype", "f32|f16|bf16", "type of q, k, v and out; default: that of the file of q", &o.dtype, NULL},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why this kernel was chosen and the others were not", NULL, &o.explain},
        {"--time", "N", "then run N times more and tell the time", &o.time, NULL},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {"rapt run memory --q FILE --k FILE --v FILE --out FILE [options]", text, examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 0, &count, &code))
        return code;
    if (!o.out)
        return tool_error(TOOL_BAD_INPUT, "--out FILE is missing");
    if (o.state_out && strcmp(o.state_out, o.out) == 0)
        return tool_error(TOOL_BAD_INPUT, "two outputs are the same file, %s", o.out);
    run r = {.o = &o, .d = RAPT_MEMORY_DESC_INIT, .p = {.where = &o.device, .explain = o.explain}};
    code = plan_run_all(&r.p, o.time, o.json, &calls, &r);
    run_close(&r);
    return code;
}
