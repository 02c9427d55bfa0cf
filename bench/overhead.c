// overhead: what rapt costs beside the kernels. "first": the time from process start to a first correct
// result is this program's own run time. "record": CPU time of recording a planned attention into a command
// buffer; "graph": the same, and of submitting, for a node of a graph.
#include "os.h"
#include "stats.h"

#include <rapt/rapt.h>
#define VK_NO_PROTOTYPES
#include <rapt/vulkan.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_DIM = 64, TOKENS = 64, RECORDS = 2000, NODES = 256, GRAPHS = 50 };

static const char help[] =
    "Usage: overhead first | record | graph\n"
    "\n"
    "  first   one attention, compared with double precision; run it under a clock:\n"
    "          time MESA_SHADER_CACHE_DISABLE=true RAPT_CACHE_DIR= overhead first\n"
    "  record  microseconds of CPU per rapt_record of a planned attention, median and quartiles\n"
    "  graph   the same per node of a graph of 256, each after a barrier: finishing, recording, submitting\n"
    "\n"
    "The device is RAPT_DEVICE, or the default. Exit status: 0 good, 1 wrong result or failure, 2 bad "
    "input.\n";

typedef struct setup {
    rapt_runtime *runtime;
    rapt_device *device;
    rapt_buffer *buffers[4];
    rapt_plan *plan;
    rapt_binding *binding;
    float q[TOKENS * HEAD_DIM], k[TOKENS * HEAD_DIM], v[TOKENS * HEAD_DIM], out[TOKENS * HEAD_DIM];
} setup;

static rapt_status prepare(setup *s, rapt_error *error)
{
    float *inputs[3] = {s->q, s->k, s->v};
    uint32_t state = 1;
    for (int i = 0; i < 3; i++)
        for (int x = 0; x < TOKENS * HEAD_DIM; x++) {
            state = state * 1664525u + 1013904223u;
            inputs[i][x] = (float)(state >> 8) / 8388608.0f - 1.0f;
        }
    rapt_attention_desc desc = RAPT_ATTENTION_DESC_INIT;
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    desc.q = desc.k = desc.v = desc.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, TOKENS, HEAD_DIM);
    rapt_slot *slots[4] = {&args.q, &args.k, &args.v, &args.out};
    rapt_status status = rapt_runtime_create(NULL, &s->runtime, error);
    if (status == RAPT_OK)
        status = rapt_device_open(s->runtime, NULL, &s->device, error);
    for (int i = 0; i < 4 && status == RAPT_OK; i++) {
        status = rapt_buffer_create(s->device, sizeof s->q, &s->buffers[i], error);
        slots[i]->buffer = s->buffers[i];
        if (status == RAPT_OK && i < 3)
            status = rapt_buffer_upload(s->buffers[i], 0, inputs[i], sizeof s->q, error);
    }
    if (status == RAPT_OK)
        status = rapt_attention_plan(s->device, &desc, &s->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(s->plan, error);
    return status ? status : rapt_attention_bind(s->plan, &args, &s->binding, error);
}

static void finish(setup *s)
{
    rapt_binding_destroy(&s->binding);
    rapt_plan_destroy(&s->plan);
    for (int i = 0; i < 4; i++)
        rapt_buffer_destroy(&s->buffers[i]);
    rapt_device_destroy(&s->device);
    rapt_runtime_destroy(&s->runtime);
}

// Largest difference from the definition in double precision.
static double largest_error(const setup *s)
{
    double worst = 0;
    for (int i = 0; i < TOKENS; i++) {
        double weight[TOKENS], sum = 0;
        for (int j = 0; j < TOKENS; j++) {
            double score = 0;
            for (int d = 0; d < HEAD_DIM; d++)
                score += (double)s->q[i * HEAD_DIM + d] * s->k[j * HEAD_DIM + d];
            sum += weight[j] = exp(score / sqrt(HEAD_DIM));
        }
        for (int d = 0; d < HEAD_DIM; d++) {
            double want = 0;
            for (int j = 0; j < TOKENS; j++)
                want += weight[j] / sum * s->v[j * HEAD_DIM + d];
            double error = fabs(want - s->out[i * HEAD_DIM + d]);
            worst = error > worst || error != error ? error : worst;
        }
    }
    return worst;
}

static int first_result(setup *s, rapt_error *error)
{
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    if (rapt_submit(s->binding, error) || rapt_wait(s->binding, UINT64_MAX, error) ||
        rapt_buffer_download(s->buffers[3], 0, s->out, sizeof s->out, error) ||
        rapt_plan_describe(s->plan, &info, error))
        return 1;
    double worst = largest_error(s);
    printf("%s on %s: largest error %.3g\n", info.kernel, rapt_device_caps(s->device)->device_name, worst);
    return worst < 1e-5 ? 0 : 1;
}

typedef struct recording {
    PFN_vkResetCommandPool reset;
    PFN_vkDestroyCommandPool destroy;
    PFN_vkBeginCommandBuffer begin;
    PFN_vkEndCommandBuffer end;
    VkDevice device;
    VkCommandPool pool;
    VkCommandBuffer commands;
} recording;

static bool recording_open(setup *s, recording *r, rapt_error *error)
{
    void *vulkan = rapt_bench_library_open("libvulkan.so.1", false, NULL);
    void *symbol = vulkan ? rapt_bench_library_symbol(vulkan, "vkGetInstanceProcAddr") : NULL;
    PFN_vkGetInstanceProcAddr get = NULL;
    memcpy(&get, &symbol, sizeof symbol); // ISO C has no cast from an object's to a function's address
    if (get == NULL) {
        snprintf(error->message, sizeof error->message, "libvulkan.so.1 cannot be opened");
        return false;
    }
    VkInstance instance;
    uint32_t family;
    rapt_device_handles(s->device, &instance, NULL, &r->device, NULL, &family);
#define GET(name) PFN_##name name = (PFN_##name)get(instance, #name)
    GET(vkCreateCommandPool);
    GET(vkAllocateCommandBuffers);
    GET(vkBeginCommandBuffer);
    GET(vkEndCommandBuffer);
    GET(vkResetCommandPool);
    GET(vkDestroyCommandPool);
#undef GET
    r->reset = vkResetCommandPool;
    r->destroy = vkDestroyCommandPool;
    r->begin = vkBeginCommandBuffer;
    r->end = vkEndCommandBuffer;
    VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                         .queueFamilyIndex = family};
    if (vkCreateCommandPool(r->device, &pool_info, NULL, &r->pool) != VK_SUCCESS)
        return false;
    VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = r->pool,
                                            .commandBufferCount = 1};
    return vkAllocateCommandBuffers(r->device, &allocate, &r->commands) == VK_SUCCESS;
}

static void tell(const char *what, double *us, int count)
{
    rapt_stats stats = rapt_stats_of(us, count);
    printf("%s: median %.2f us, middle half %.2f to %.2f us, of %d\n", what, stats.median, stats.q1, stats.q3, count);
}

static int record(setup *s, rapt_error *error)
{
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    static double us[RECORDS];
    recording r;
    if (!recording_open(s, &r, error))
        return 1;
    bool good = true;
    for (int i = 0; i < RECORDS && good; i++) {
        r.reset(r.device, r.pool, 0);
        r.begin(r.commands, &begin);
        double before = rapt_bench_now();
        good = rapt_record(s->binding, r.commands, 0, UINT32_MAX, error) == RAPT_OK;
        us[i] = (rapt_bench_now() - before) * 1e6;
        r.end(r.commands);
    }
    r.destroy(r.device, r.pool, NULL);
    if (good)
        tell("record", us, RECORDS);
    return good ? 0 : 1;
}

static int graph(setup *s, rapt_error *error)
{
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    rapt_graph_info info = RAPT_GRAPH_INFO_INIT;
    static double recorded[GRAPHS], submitted[GRAPHS];
    rapt_graph *g = NULL;
    recording r;
    if (!recording_open(s, &r, error) || rapt_graph_create(s->device, NULL, &g, error))
        return 1;
    bool good = true;
    for (int i = 0; i < NODES && good; i++) // each writes what the one before it wrote
        good = rapt_graph_add(g, s->binding, 0, NULL, error) == RAPT_OK;
    good = good && rapt_graph_finish(g, error) == RAPT_OK;
    for (int i = 0; i < GRAPHS && good; i++) {
        r.reset(r.device, r.pool, 0);
        r.begin(r.commands, &begin);
        double before = rapt_bench_now();
        good = rapt_graph_record(g, r.commands, error) == RAPT_OK;
        recorded[i] = (rapt_bench_now() - before) * 1e6 / NODES;
        r.end(r.commands);
        good = good && rapt_graph_submit(g, error) == RAPT_OK && rapt_graph_describe(g, &info, error) == RAPT_OK &&
               rapt_graph_wait(g, UINT64_MAX, error) == RAPT_OK;
        submitted[i] = info.submit_ns * 1e-3 / NODES;
    }
    if (good) {
        printf("graph of %u nodes: %u barriers, %u submissions, finished in %.2f us a node\n", info.nodes, info.barriers, info.submissions,
               info.finish_ns * 1e-3 / NODES);
        tell("recording a node", recorded, GRAPHS);
        tell("submitting a node", submitted, GRAPHS);
    }
    rapt_graph_destroy(&g);
    r.destroy(r.device, r.pool, NULL);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    bool is_first = argc == 2 && strcmp(argv[1], "first") == 0;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return 0;
    }
    bool is_graph = argc == 2 && strcmp(argv[1], "graph") == 0;
    if (argc != 2 || (!is_first && !is_graph && strcmp(argv[1], "record") != 0)) {
        fputs(help, stderr);
        return 2;
    }
    static setup s;
    rapt_error error = {0};
    int code = prepare(&s, &error) == RAPT_OK ? (is_first ? first_result : is_graph ? graph : record)(&s, &error) : 1;
    if (code != 0)
        fprintf(stderr, "overhead: %s\n", error.message[0] ? error.message : "failed");
    finish(&s);
    return code;
}
