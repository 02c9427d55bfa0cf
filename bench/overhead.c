// overhead: what rapt costs beside the kernels. "first": the time from process start to a first correct
// result is this program's own run time. "record": CPU time of recording a planned attention into a command
// buffer.
#include "os.h"
#include "stats.h"

#include <rapt/rapt.h>
#define VK_NO_PROTOTYPES
#include <rapt/vulkan.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_DIM = 64, TOKENS = 64, RECORDS = 2000 };

static const char help[] =
    "Usage: overhead first | record\n"
    "\n"
    "  first   one attention, compared with double precision; run it under a clock:\n"
    "          time MESA_SHADER_CACHE_DISABLE=true RAPT_CACHE_DIR= overhead first\n"
    "  record  microseconds of CPU per rapt_record of a planned attention, median and quartiles\n"
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

static int record(setup *s, rapt_error *error)
{
    void *vulkan = rapt_bench_library_open("libvulkan.so.1", false, NULL);
    void *symbol = vulkan ? rapt_bench_library_symbol(vulkan, "vkGetInstanceProcAddr") : NULL;
    PFN_vkGetInstanceProcAddr get = NULL;
    memcpy(&get, &symbol, sizeof symbol); // ISO C has no cast from an object's to a function's address
    if (get == NULL) {
        snprintf(error->message, sizeof error->message, "libvulkan.so.1 cannot be opened");
        return 1;
    }
    VkInstance instance;
    VkDevice device;
    uint32_t family;
    rapt_device_handles(s->device, &instance, NULL, &device, NULL, &family);
#define GET(name) PFN_##name name = (PFN_##name)get(instance, #name)
    GET(vkCreateCommandPool);
    GET(vkAllocateCommandBuffers);
    GET(vkBeginCommandBuffer);
    GET(vkEndCommandBuffer);
    GET(vkResetCommandPool);
    GET(vkDestroyCommandPool);
#undef GET
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                         .queueFamilyIndex = family};
    if (vkCreateCommandPool(device, &pool_info, NULL, &pool) != VK_SUCCESS)
        return 1;
    VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = pool,
                                            .commandBufferCount = 1};
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    bool good = vkAllocateCommandBuffers(device, &allocate, &commands) == VK_SUCCESS;
    static double us[RECORDS];
    for (int i = 0; i < RECORDS && good; i++) {
        vkResetCommandPool(device, pool, 0);
        vkBeginCommandBuffer(commands, &begin);
        double before = rapt_bench_now();
        good = rapt_record(s->binding, commands, 0, UINT32_MAX, error) == RAPT_OK;
        us[i] = (rapt_bench_now() - before) * 1e6;
        vkEndCommandBuffer(commands);
    }
    vkDestroyCommandPool(device, pool, NULL);
    if (!good)
        return 1;
    rapt_stats stats = rapt_stats_of(us, RECORDS);
    printf("record: median %.2f us, middle half %.2f to %.2f us, of %d\n", stats.median, stats.q1, stats.q3,
           RECORDS);
    return 0;
}

int main(int argc, char **argv)
{
    bool is_first = argc == 2 && strcmp(argv[1], "first") == 0;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return 0;
    }
    if (argc != 2 || (!is_first && strcmp(argv[1], "record") != 0)) {
        fputs(help, stderr);
        return 2;
    }
    static setup s;
    rapt_error error = {0};
    int code = prepare(&s, &error) == RAPT_OK ? (is_first ? first_result : record)(&s, &error) : 1;
    if (code != 0)
        fprintf(stderr, "overhead: %s\n", error.message[0] ? error.message : "failed");
    finish(&s);
    return code;
}
