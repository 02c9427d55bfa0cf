/* Gauges of latency: what it costs to have something done at all. */
#include "measure/gauge.h"

#include "common/attention_params.h"
#include <string.h>

#define MOST_IN_BATCH 4096

typedef struct latency {
    rapt_tool tool;      /* of the empty kernel */
    rapt_kernel *kernel; /* whose layout the pipelines have */
    VkSemaphore timeline;
    PFN_vkWaitSemaphores wait_semaphores;
    PFN_vkCreateSemaphore create_semaphore;
    PFN_vkDestroySemaphore destroy_semaphore;
    uint64_t value;
    VkPipelineCache cache;
    uint32_t salt; /* makes each pipeline another */
    uint32_t *spirv; /* of the empty kernel, where pipelines are made */
} latency;

static rapt_status open_timeline(rapt_session *s, rapt_error *error)
{
    latency *g = s->state;
    rapt_device *device = s->device;
    PFN_vkGetDeviceProcAddr get = device->instance.fn.vkGetDeviceProcAddr;
    g->create_semaphore = (PFN_vkCreateSemaphore)get(device->handle, "vkCreateSemaphore");
    g->destroy_semaphore = (PFN_vkDestroySemaphore)get(device->handle, "vkDestroySemaphore");
    g->wait_semaphores = (PFN_vkWaitSemaphores)get(device->handle, "vkWaitSemaphores");
    if (g->wait_semaphores == NULL)
        g->wait_semaphores = (PFN_vkWaitSemaphores)get(device->handle, "vkWaitSemaphoresKHR");
    if (g->create_semaphore == NULL || g->destroy_semaphore == NULL || g->wait_semaphores == NULL)
        return rapt_fail(error, RAPT_ERROR_VULKAN, "%s has timeline semaphores, but not the calls for them",
                         device->caps.device_name);
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    return rapt_vk_check(device, g->create_semaphore(device->handle, &info, NULL, &g->timeline),
                         "vkCreateSemaphore", error);
}

static rapt_status open_latency(rapt_session *s, rapt_error *error)
{
    latency *g = s->state;
    rapt_device *device = s->device;
    s->most = 1;
    g->salt = (uint32_t)rapt_now_ns();
    switch ((rapt_latency)s->gauge->variant) {
    case RAPT_LATENCY_SUBMIT:
        return RAPT_OK;
    case RAPT_LATENCY_TIMELINE:
        return open_timeline(s, error);
    case RAPT_LATENCY_BATCH:
    case RAPT_LATENCY_BATCH_BARRIERS:
    case RAPT_LATENCY_BARRIER:
        s->most = MOST_IN_BATCH;
        break;
    default:
        break;
    }
    const rapt_operands nothing = {0};
    if (s->gauge->variant != RAPT_LATENCY_PIPELINE_COLD && s->gauge->variant != RAPT_LATENCY_PIPELINE_CACHED)
        return rapt_tool_open(device, s->gauge->row, NULL, &nothing, 1, &g->tool, error);
    rapt_plan_pipeline pipeline = {.row = s->gauge->row, .constants = {s->gauge->row->local_size, 0}};
    g->kernel = rapt_kernel_find(device, &pipeline);
    if (g->kernel == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a pipeline");
    const rapt_kernel_module *module = &rapt_kernels()->modules[s->gauge->row->module];
    g->spirv = rapt_calloc(&device->runtime->allocator, module->words, sizeof *g->spirv);
    if (g->spirv == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a kernel");
    rapt_status status = rapt_kernel_unpack(module, &device->runtime->allocator, g->spirv, error);
    if (status == RAPT_OK)
        status = rapt_kernel_compile(device, g->kernel, NULL, error);
    if (status == RAPT_OK && s->gauge->variant == RAPT_LATENCY_PIPELINE_CACHED) {
        VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
        status =
            rapt_vk_check(device, device->fn.vkCreatePipelineCache(device->handle, &info, NULL, &g->cache),
                          "vkCreatePipelineCache", error);
    }
    return status;
}

/* Submits an empty command buffer that signals the semaphore, and waits for that on the host. */
static rapt_status run_timeline(rapt_session *s, rapt_lane_time *time, rapt_error *error)
{
    latency *g = s->state;
    rapt_device *device = s->device;
    g->value++;
    VkTimelineSemaphoreSubmitInfo values = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                            .signalSemaphoreValueCount = 1,
                                            .pSignalSemaphoreValues = &g->value};
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .pNext = &values,
                           .signalSemaphoreCount = 1,
                           .pSignalSemaphores = &g->timeline};
    VkSemaphoreWaitInfo wait = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &g->timeline,
                                .pValues = &g->value};
    uint64_t begin = rapt_now_ns();
    rapt_status status = rapt_queue_submit(device, &submit, VK_NULL_HANDLE, error);
    if (status != RAPT_OK)
        return status;
    VkResult result = g->wait_semaphores(device->handle, &wait, RAPT_DESTROY_TIMEOUT_NS);
    time->wall = (double)(rapt_now_ns() - begin) * 1e-9;
    if (result == VK_TIMEOUT)
        rapt_device_note_hung(device); /* what is in flight cannot be destroyed */
    return rapt_vk_check(device, result, "vkWaitSemaphores", error);
}

/* Makes a pipeline of the row, and destroys it. */
static rapt_status run_pipeline(rapt_session *s, rapt_lane_time *time, rapt_error *error)
{
    latency *g = s->state;
    rapt_device *device = s->device;
    const rapt_kernel_row *row = s->gauge->row;
    const rapt_kernel_module *module = &rapt_kernels()->modules[row->module];
    const bool cold = s->gauge->variant == RAPT_LATENCY_PIPELINE_COLD;
    /* Another constant makes another pipeline, which no cache has, the driver's own on disk included. */
    uint32_t constants[2] = {row->local_size, cold ? g->salt++ : 1u};
    VkSpecializationMapEntry entries[2] = {{0, 0, 4}, {1, 4, 4}};
    VkSpecializationInfo specialization = {2, entries, sizeof constants, constants};
    VkShaderModuleCreateInfo shader_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = module->words * 4u,
                                            .pCode = g->spirv};
    VkShaderModule shader = VK_NULL_HANDLE;
    VkPipeline pipeline = VK_NULL_HANDLE;
    uint64_t begin = rapt_now_ns();
    rapt_status status =
        rapt_vk_check(device, device->fn.vkCreateShaderModule(device->handle, &shader_info, NULL, &shader),
                      "vkCreateShaderModule", error);
    if (status != RAPT_OK)
        return status;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = shader,
                  .pName = "main",
                  .pSpecializationInfo = &specialization},
        .layout = g->kernel->layout,
        .basePipelineIndex = -1};
    status = rapt_vk_check(
        device, device->fn.vkCreateComputePipelines(device->handle, g->cache, 1, &info, NULL, &pipeline),
        "vkCreateComputePipelines", error);
    time->wall = (double)(rapt_now_ns() - begin) * 1e-9;
    device->fn.vkDestroyShaderModule(device->handle, shader, NULL);
    if (status == RAPT_OK)
        device->fn.vkDestroyPipeline(device->handle, pipeline, NULL);
    return status;
}

static rapt_status run_latency(rapt_session *s, rapt_lane_time *time, rapt_error *error)
{
    latency *g = s->state;
    const rapt_latency variant = (rapt_latency)s->gauge->variant;
    const uint32_t push[RAPT_PUSH_WORDS] = {0};
    if (variant == RAPT_LATENCY_TIMELINE)
        return run_timeline(s, time, error);
    if (variant == RAPT_LATENCY_PIPELINE_COLD || variant == RAPT_LATENCY_PIPELINE_CACHED)
        return run_pipeline(s, time, error);
    rapt_status status = rapt_lane_begin(&s->lane, error);
    if (status != RAPT_OK)
        return status;
    for (uint64_t i = 0; i < s->scale && variant != RAPT_LATENCY_SUBMIT; i++) {
        if (variant == RAPT_LATENCY_BARRIER || (variant == RAPT_LATENCY_BATCH_BARRIERS && i > 0))
            rapt_lane_barrier(&s->lane);
        if (variant != RAPT_LATENCY_BARRIER)
            rapt_tool_dispatch(&g->tool, &s->lane, 0, push, 1);
    }
    status = rapt_lane_run(&s->lane, time, error);
    s->parts = (double)s->scale;
    if (variant == RAPT_LATENCY_SUBMIT || variant == RAPT_LATENCY_DISPATCH)
        time->device = 0; /* what the host waits is meant */
    return status;
}

static void close_latency(rapt_session *s)
{
    latency *g = s->state;
    rapt_device *device = s->device;
    rapt_tool_close(&g->tool);
    if (g->spirv != NULL)
        rapt_free(&device->runtime->allocator, g->spirv,
                  rapt_kernels()->modules[s->gauge->row->module].words * sizeof *g->spirv);
    if (g->cache != VK_NULL_HANDLE)
        device->fn.vkDestroyPipelineCache(device->handle, g->cache, NULL);
    if (g->timeline != VK_NULL_HANDLE && !atomic_load(&device->hung))
        g->destroy_semaphore(device->handle, g->timeline, NULL);
}

const rapt_gauge_kind rapt_gauge_latency = {sizeof(latency), open_latency, run_latency, NULL, close_latency};
