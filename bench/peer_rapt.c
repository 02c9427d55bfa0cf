// rapt itself as a peer: the public C API, a binding prepared once and submitted again and again.
#include "peer.h"

#include <rapt/rapt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rapt_peer {
    rapt_runtime *runtime;
    rapt_device *device;
    const char *kernel; // forced row, or NULL
    char text[700];
};

struct rapt_peer_job {
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_buffer *q, *k, *v, *out;
    rapt_dtype dtype;
    size_t out_count;
};

static bool fail(rapt_bench_error *error, const char *what, const rapt_error *from)
{
    return rapt_bench_fail(error, "rapt: %s: %s: %s", what, rapt_status_name(from->status), from->message);
}

static void close_peer(rapt_peer *peer)
{
    if (peer == NULL)
        return;
    rapt_device_destroy(&peer->device);
    rapt_runtime_destroy(&peer->runtime);
    free(peer);
}

static rapt_peer *open_kernel(const rapt_peer_options *options, rapt_bench_error *error, const char *kernel)
{
    rapt_peer *peer = calloc(1, sizeof *peer);
    rapt_device_options device = RAPT_DEVICE_OPTIONS_INIT;
    rapt_error why = {0};
    if (peer == NULL) {
        rapt_bench_fail(error, "rapt: no memory");
        return NULL;
    }
    device.selector = options->device;
    peer->kernel = kernel;
    if (rapt_runtime_create(NULL, &peer->runtime, &why) != RAPT_OK ||
        rapt_device_open(peer->runtime, &device, &peer->device, &why) != RAPT_OK) {
        fail(error, "opening", &why);
        close_peer(peer);
        return NULL;
    }
    const rapt_caps *caps = rapt_device_caps(peer->device);
    snprintf(peer->text, sizeof peer->text, "rapt %s on %s, %s", rapt_version_string(), caps->device_name,
             caps->driver_info);
    return peer;
}

static rapt_peer *open_best(const rapt_peer_kind *kind, const rapt_peer_options *options,
                            rapt_bench_error *error)
{
    (void)kind;
    return open_kernel(options, error, getenv("RAPT_BENCH_KERNEL"));
}

static rapt_peer *open_naive(const rapt_peer_kind *kind, const rapt_peer_options *options,
                             rapt_bench_error *error)
{
    (void)kind;
    return open_kernel(options, error, "naive");
}

static const char *describe(const rapt_peer *peer)
{
    return peer->text;
}

static void release(rapt_peer_job *job)
{
    if (job == NULL)
        return;
    rapt_binding_destroy(&job->binding);
    rapt_plan_destroy(&job->plan);
    rapt_buffer_destroy(&job->q);
    rapt_buffer_destroy(&job->k);
    rapt_buffer_destroy(&job->v);
    rapt_buffer_destroy(&job->out);
    free(job);
}

static rapt_status make_input(rapt_device *device, const void *data, size_t bytes, rapt_buffer **buffer,
                              rapt_error *error)
{
    rapt_status status = rapt_buffer_create(device, bytes, buffer, error);
    return status ? status : rapt_buffer_upload(*buffer, 0, data, bytes, error);
}

static rapt_peer_job *prepare(rapt_peer *peer, const rapt_bench_case *c, const rapt_bench_inputs *inputs,
                              rapt_bench_error *error)
{
    rapt_peer_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        rapt_bench_fail(error, "rapt: no memory");
        return NULL;
    }
    job->dtype = c->dtype == RAPT_BENCH_F16 ? RAPT_F16 : RAPT_F32;
    job->out_count = rapt_bench_q_count(c);
    size_t element = rapt_dtype_size(job->dtype), q_bytes = job->out_count * element;
    size_t kv_bytes = rapt_bench_kv_count(c) * element;
    void *q = malloc(q_bytes);
    rapt_error why = {0};
    char kernel[80];
    if (q == NULL) {
        rapt_bench_fail(error, "rapt: no memory for q");
        release(job);
        return NULL;
    }
    if (job->dtype == RAPT_F32)
        memcpy(q, inputs->q, q_bytes);
    else
        for (size_t i = 0; i < job->out_count; i++)
            ((uint16_t *)q)[i] = rapt_bench_half(inputs->q[i]);

    rapt_attention_desc desc = RAPT_ATTENTION_DESC_INIT;
    uint64_t b = (uint64_t)c->batch, hq = (uint64_t)c->q_heads, hk = (uint64_t)c->kv_heads,
             d = (uint64_t)c->head_dim;
    desc.q = rapt_tensor_bhnd(job->dtype, b, hq, (uint64_t)c->nq, d);
    desc.k = desc.v = rapt_tensor_bhnd(job->dtype, b, hk, (uint64_t)c->nk, d);
    desc.out = desc.q;
    desc.flags = c->causal ? RAPT_ATTENTION_CAUSAL : 0;
    if (peer->kernel != NULL && strcmp(peer->kernel, "naive") == 0) {
        snprintf(kernel, sizeof kernel, "naive-%s", rapt_dtype_name(job->dtype));
        desc.kernel = kernel;
    } else {
        desc.kernel = peer->kernel;
    }
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_status status = make_input(peer->device, q, q_bytes, &job->q, &why);
    if (status == RAPT_OK)
        status = make_input(peer->device, inputs->k, kv_bytes, &job->k, &why);
    if (status == RAPT_OK)
        status = make_input(peer->device, inputs->v, kv_bytes, &job->v, &why);
    if (status == RAPT_OK)
        status = rapt_buffer_create(peer->device, q_bytes, &job->out, &why);
    if (status == RAPT_OK)
        status = rapt_attention_plan(peer->device, &desc, &job->plan, &why);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(job->plan, &why);
    args.q.buffer = job->q;
    args.k.buffer = job->k;
    args.v.buffer = job->v;
    args.out.buffer = job->out;
    if (status == RAPT_OK)
        status = rapt_attention_bind(job->plan, &args, &job->binding, &why);
    free(q);
    if (status != RAPT_OK) {
        fail(error, c->name, &why);
        release(job);
        return NULL;
    }
    return job;
}

static bool run(rapt_peer_job *job, rapt_bench_error *error)
{
    rapt_error why = {0};
    if (rapt_submit(job->binding, &why) != RAPT_OK || rapt_wait(job->binding, UINT64_MAX, &why) != RAPT_OK)
        return fail(error, "running", &why);
    return true;
}

static bool read_output(rapt_peer_job *job, float *out, rapt_bench_error *error)
{
    rapt_error why = {0};
    size_t bytes = job->out_count * rapt_dtype_size(job->dtype);
    uint16_t *half = job->dtype == RAPT_F16 ? malloc(bytes) : NULL;
    if (job->dtype == RAPT_F16 && half == NULL)
        return rapt_bench_fail(error, "rapt: no memory for the output");
    rapt_status status = rapt_buffer_download(job->out, 0, half ? (void *)half : out, bytes, &why);
    if (half != NULL && status == RAPT_OK)
        for (size_t i = 0; i < job->out_count; i++)
            out[i] = rapt_bench_float(half[i]);
    free(half);
    return status == RAPT_OK || fail(error, "reading", &why);
}

// f32: what float arithmetic gives. f16: the output is rounded to 11 bits.
static rapt_bench_difference tolerance(const rapt_bench_case *c)
{
    return c->dtype == RAPT_BENCH_F16 ? (rapt_bench_difference){2e-3, 1e-3}
                                      : (rapt_bench_difference){5e-6, 5e-6};
}

// Both differ in what they open only.
#define RAPT_PEER(variable, peer_name, text, open_function)                                                  \
    const rapt_peer_kind variable = {                                                                        \
        .name = peer_name, .what = text, .tolerance = tolerance, .open = open_function,                      \
        .describe = describe, .prepare = prepare, .run = run, .read = read_output,                           \
        .release = release, .close = close_peer,                                                             \
    }
RAPT_PEER(rapt_peer_rapt, "rapt", "rapt with the kernel that plan chooses, or RAPT_BENCH_KERNEL", open_best);
RAPT_PEER(rapt_peer_rapt_naive, "rapt-naive",
          "rapt's yardstick: one invocation per query row, no tile reuse, fp32", open_naive);
