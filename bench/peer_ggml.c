// ggml's fused attention (ggml_flash_attn_ext) through its public C API, on its Vulkan and its CPU backend.
// The library is opened at run time; see README.md in this folder for where it is looked for.
#include "ggml_abi.h"
#include "peer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- the library: one for the process, as its own registry of devices is ----

static struct ggml_api {
#define FUNCTION(name) __typeof__(&name) name;
    RAPT_GGML_FUNCTIONS(FUNCTION)
#undef FUNCTION
    // Newer libraries have the first, older ones the second.
    bool (*ggml_prec_set_acc)(struct ggml_tensor *, enum ggml_prec);
    void (*ggml_flash_attn_ext_set_prec)(struct ggml_tensor *, enum ggml_prec);
    const char *(*ggml_version)(void);
    bool ready, verbose;
} ggml;

static void on_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)level;
    (void)user;
    if (ggml.verbose)
        fputs(text, stderr);
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

typedef struct folder_search {
    const char *folder;
    char base[600], main[600], backends[600];
    bool has_backend;
} folder_search;

// libggml-base.so[.0], and the registry: libggml.so[.0], or libggml.vulkan.v0.5.0.so as one distribution has
// it.
static bool see_library(void *context, const char *name)
{
    folder_search *s = context;
    if (starts_with(name, "libggml-base.so") || strcmp(name, "ggml-base.dll") == 0)
        snprintf(s->base, sizeof s->base, "%s/%s", s->folder, name);
    else if ((starts_with(name, "libggml.") && strstr(name, ".so")) || strcmp(name, "ggml.dll") == 0)
        snprintf(s->main, sizeof s->main, "%s/%s", s->folder, name);
    return false;
}

static bool see_backend(void *context, const char *name)
{
    folder_search *s = context;
    s->has_backend = starts_with(name, "libggml-cpu") || starts_with(name, "ggml-cpu");
    return s->has_backend;
}

static bool see_backends_folder(void *context, const char *name)
{
    folder_search *s = context;
    if (!starts_with(name, "backends"))
        return false;
    snprintf(s->backends, sizeof s->backends, "%s/ggml/%s", s->folder, name);
    return true;
}

// Backends are separate libraries, beside the main one or in ggml/backends* below its folder (Debian).
static void load_backends(const char *folder)
{
    folder_search s = {.folder = folder};
    char below[512];
    snprintf(below, sizeof below, "%s/ggml", folder);
    if (rapt_bench_folder_each(folder, see_backend, &s))
        ggml.ggml_backend_load_all_from_path(folder);
    else if (rapt_bench_folder_each(below, see_backends_folder, &s))
        ggml.ggml_backend_load_all_from_path(s.backends);
    else
        ggml.ggml_backend_load_all_from_path(NULL);
}

static bool library_ready(const char *where, bool verbose, rapt_bench_error *error)
{
    ggml.verbose = verbose;
    if (ggml.ready)
        return true;
    if (!where)
        where = getenv("RAPT_BENCH_GGML");
    void *main = NULL, *base = NULL;
    folder_search s = {.folder = where};
    if (where) {
        rapt_bench_folder_each(where, see_library, &s);
        if (s.base[0])
            base = rapt_bench_library_open(s.base, true, error);
        main = rapt_bench_library_open(s.main[0] ? s.main : where, true, error);
    } else {
        static const char *const names[] = {"libggml.so.0", "libggml.so", "libggml.dylib", "ggml.dll"};
        for (size_t i = 0; !main && i < sizeof names / sizeof *names; i++)
            main = rapt_bench_library_open(names[i], true, error);
    }
    if (!main)
        return rapt_bench_fail(error,
                               "ggml: no library %s%s (set RAPT_BENCH_GGML or --library to its folder)",
                               where ? "in " : "on the system's search path", where ? where : "");
    // Assigned through a void pointer's bytes: ISO C has no cast from object to function pointer.
    void *symbol;
#define FIND(name)                                                                                           \
    symbol = rapt_bench_library_symbol(main, #name);                                                         \
    if (!symbol && base)                                                                                     \
        symbol = rapt_bench_library_symbol(base, #name);                                                     \
    memcpy(&ggml.name, &symbol, sizeof symbol)
#define NEED(name)                                                                                           \
    FIND(name);                                                                                              \
    if (!symbol)                                                                                             \
        return rapt_bench_fail(error, "ggml: the library has no function %s (too old?)", #name);
    RAPT_GGML_FUNCTIONS(NEED)
    FIND(ggml_prec_set_acc);
    FIND(ggml_flash_attn_ext_set_prec);
    FIND(ggml_version);
#undef NEED
#undef FIND
    // ggml hides software devices unless they are named by index.
    rapt_bench_setenv_default("GGML_VK_VISIBLE_DEVICES", "0");
    ggml.ggml_log_set(on_log, NULL);
    if (ggml.ggml_backend_dev_count() == 0) {
        char folder[400];
        void *address;
        memcpy(&address, &ggml.ggml_backend_dev_count, sizeof address);
        load_backends(rapt_bench_library_folder(address, folder, sizeof folder) ? folder : "");
    }
    ggml.ready = true;
    return true;
}

// ---- a device ----

struct rapt_peer {
    ggml_backend_t backend;
    bool sleeps;
    char description[256];
};

static ggml_backend_dev_t find_device(const char *registry, const char *wanted)
{
    for (size_t i = 0; i < ggml.ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml.ggml_backend_dev_get(i);
        const char *name = ggml.ggml_backend_reg_name(ggml.ggml_backend_dev_backend_reg(device));
        if (strcmp(name, registry) == 0 &&
            (!wanted || strstr(ggml.ggml_backend_dev_description(device), wanted)))
            return device;
    }
    return NULL;
}

static void peer_close(rapt_peer *peer)
{
    if (peer && peer->backend)
        ggml.ggml_backend_free(peer->backend);
    free(peer);
}

static rapt_peer *peer_open(const rapt_peer_kind *kind, const rapt_peer_options *options,
                            rapt_bench_error *error)
{
    const bool cpu = kind == &rapt_peer_ggml_cpu;
    const char *registry = cpu ? "CPU" : "Vulkan";
    if (!library_ready(options->library, options->verbose, error))
        return NULL;
    ggml_backend_dev_t device = find_device(registry, cpu ? NULL : options->device);
    rapt_peer *peer = device ? calloc(1, sizeof *peer) : NULL;
    if (peer)
        peer->backend = ggml.ggml_backend_dev_init(device, NULL);
    if (!peer || !peer->backend) {
        rapt_bench_fail(error, "ggml: no %s device%s%s that it can open", registry,
                        options->device && !cpu ? " named like " : "",
                        options->device && !cpu ? options->device : "");
        peer_close(peer);
        return NULL;
    }
    peer->sleeps = kind == &rapt_peer_ggml_vulkan_sleep;
    if (cpu) {
        void *symbol = ggml.ggml_backend_reg_get_proc_address(ggml.ggml_backend_dev_backend_reg(device),
                                                              "ggml_backend_set_n_threads");
        ggml_backend_set_n_threads_t set_threads;
        memcpy(&set_threads, &symbol, sizeof symbol);
        if (!set_threads) {
            rapt_bench_fail(error, "ggml: its CPU backend does not let the number of threads be set");
            peer_close(peer);
            return NULL;
        }
        set_threads(peer->backend, rapt_bench_cpus());
    }
    snprintf(peer->description, sizeof peer->description, "ggml %s, %s, %s",
             ggml.ggml_version ? ggml.ggml_version() : "of unknown version",
             ggml.ggml_backend_dev_name(device), ggml.ggml_backend_dev_description(device));
    return peer;
}

static const char *peer_describe(const rapt_peer *peer)
{
    return peer->description;
}

// ---- a case ----

// The Vulkan backend polls a fence without sleeping until a graph is done, which takes a CPU away from a
// device that runs on CPUs. Only when the last fifth of a graph's nodes begins does it submit with a second
// fence on which it really waits. Views are nodes but no work: this many before the one that works put that
// one into the last fifth.
#define IDLE_NODES 16

struct rapt_peer_job {
    rapt_peer *peer;
    rapt_bench_case c;
    struct ggml_context *context;
    struct ggml_cgraph *graph;
    struct ggml_tensor *out;
    ggml_backend_buffer_t buffer;
};

static void job_release(rapt_peer_job *job)
{
    if (!job)
        return;
    if (job->buffer)
        ggml.ggml_backend_buffer_free(job->buffer);
    if (job->context)
        ggml.ggml_free(job->context);
    free(job);
}

// nq rows of nk halves: 0 where the key is visible, -infinity where not.
static bool set_causal_mask(struct ggml_tensor *mask, const rapt_bench_case *c)
{
    const size_t rows = (size_t)c->nq, columns = (size_t)c->nk;
    uint16_t *values = malloc(rows * columns * sizeof *values);
    for (size_t i = 0; values && i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            values[i * columns + j] = (long long)j <= (long long)i + c->nk - c->nq ? 0 : 0xfc00;
    if (values)
        ggml.ggml_backend_tensor_set(mask, values, 0, rows * columns * sizeof *values);
    free(values);
    return values != NULL;
}

static rapt_peer_job *job_prepare(rapt_peer *peer, const rapt_bench_case *c, const rapt_bench_inputs *inputs,
                                  rapt_bench_error *error)
{
    rapt_peer_job *job = calloc(1, sizeof *job);
    if (job) {
        *job = (rapt_peer_job){.peer = peer, .c = *c};
        const size_t size = ggml.ggml_tensor_overhead() * (IDLE_NODES + 8) + ggml.ggml_graph_overhead();
        job->context = ggml.ggml_init((struct ggml_init_params){size, NULL, true});
    }
    if (!job || !job->context) {
        rapt_bench_fail(error, "ggml: out of memory");
        job_release(job);
        return NULL;
    }
    struct ggml_context *context = job->context;
    const enum ggml_type type = c->dtype == RAPT_BENCH_F16 ? GGML_TYPE_F16 : GGML_TYPE_F32;
    struct ggml_tensor *q =
        ggml.ggml_new_tensor_4d(context, GGML_TYPE_F32, c->head_dim, c->nq, c->q_heads, c->batch);
    struct ggml_tensor *k = ggml.ggml_new_tensor_4d(context, type, c->head_dim, c->nk, c->kv_heads, c->batch);
    struct ggml_tensor *v = ggml.ggml_new_tensor_4d(context, type, c->head_dim, c->nk, c->kv_heads, c->batch);
    struct ggml_tensor *mask =
        c->causal ? ggml.ggml_new_tensor_4d(context, GGML_TYPE_F16, c->nk, c->nq, 1, 1) : NULL;
    struct ggml_tensor *last = q;
    for (int i = 0; peer->sleeps && i < IDLE_NODES; i++)
        last = ggml.ggml_reshape_4d(context, last, c->head_dim, c->nq, c->q_heads, c->batch);
    job->out = ggml.ggml_flash_attn_ext(context, last, k, v, mask, 1 / sqrtf((float)c->head_dim), 0, 0);
    if (ggml.ggml_prec_set_acc)
        ggml.ggml_prec_set_acc(job->out, GGML_PREC_F32);
    else if (ggml.ggml_flash_attn_ext_set_prec)
        ggml.ggml_flash_attn_ext_set_prec(job->out, GGML_PREC_F32);
    job->graph = ggml.ggml_new_graph(context);
    ggml.ggml_build_forward_expand(job->graph, job->out);
    const bool supported = ggml.ggml_backend_supports_op(peer->backend, job->out);
    job->buffer = supported ? ggml.ggml_backend_alloc_ctx_tensors(context, peer->backend) : NULL;
    if (!job->buffer) {
        rapt_bench_fail(error, "ggml: case %s %s", c->name,
                        supported ? "does not fit its memory" : "is not supported");
        job_release(job);
        return NULL;
    }
    ggml.ggml_backend_tensor_set(q, inputs->q, 0, ggml.ggml_nbytes(q));
    ggml.ggml_backend_tensor_set(k, inputs->k, 0, ggml.ggml_nbytes(k));
    ggml.ggml_backend_tensor_set(v, inputs->v, 0, ggml.ggml_nbytes(v));
    if (mask && !set_causal_mask(mask, c)) {
        rapt_bench_fail(error, "ggml: out of memory for the mask");
        job_release(job);
        return NULL;
    }
    return job;
}

static bool job_run(rapt_peer_job *job, rapt_bench_error *error)
{
    const enum ggml_status status = ggml.ggml_backend_graph_compute(job->peer->backend, job->graph);
    ggml.ggml_backend_synchronize(job->peer->backend);
    return status == GGML_STATUS_SUCCESS ||
           rapt_bench_fail(error, "ggml: case %s failed with status %d", job->c.name, (int)status);
}

// ggml writes (batch, query, heads, head_dim).
static bool job_read(rapt_peer_job *job, float *out, rapt_bench_error *error)
{
    const rapt_bench_case *c = &job->c;
    const size_t bytes = ggml.ggml_nbytes(job->out), count = rapt_bench_q_count(c);
    float *values = bytes == count * sizeof *values ? malloc(bytes) : NULL;
    if (!values)
        return rapt_bench_fail(error, "ggml: case %s: no memory, or an output of %zu bytes", c->name, bytes);
    ggml.ggml_backend_tensor_get(job->out, values, 0, bytes);
    const size_t d = (size_t)c->head_dim, heads = (size_t)c->q_heads, nq = (size_t)c->nq;
    for (size_t row = 0; row < count / d; row++) {
        const size_t head = row % heads, query = row / heads % nq, batch = row / heads / nq;
        memcpy(out + ((batch * heads + head) * nq + query) * d, values + row * d, d * sizeof *out);
    }
    free(values);
    return true;
}

// ggml computes parts of this in half precision, whatever precision is asked for: its Vulkan backend in every
// case, its CPU backend in its sums over f16 values, whose error grows with the number of keys.
static rapt_bench_difference tolerance(const rapt_bench_case *c)
{
    (void)c;
    return (rapt_bench_difference){.max_abs = 1e-2, .rms = 3e-2};
}

#define GGML_PEER(backend_name, text)                                                                        \
    {                                                                                                        \
        .name = backend_name, .what = text, .tolerance = tolerance, .open = peer_open,                       \
        .describe = peer_describe, .prepare = job_prepare, .run = job_run, .read = job_read,                 \
        .release = job_release, .close = peer_close,                                                         \
    }

const rapt_peer_kind rapt_peer_ggml_vulkan = GGML_PEER("ggml-vulkan", "ggml's Vulkan backend, as it comes");
const rapt_peer_kind rapt_peer_ggml_vulkan_sleep =
    GGML_PEER("ggml-vulkan-sleep", "the same, its host thread waiting instead of polling a fence");
const rapt_peer_kind rapt_peer_ggml_cpu = GGML_PEER("ggml-cpu", "ggml's CPU backend, one thread per CPU");
