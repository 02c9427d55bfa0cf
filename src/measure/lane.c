/* Recording, submitting and timing small pieces of work, outside of plans. */
#include "measure/gauge.h"

#include "common/attention_params.h"
#include <string.h>

#define SHADER_ACCESS (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_UNIFORM_READ_BIT)
#define TRANSFER_ACCESS (VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)
#define HOST_ACCESS (VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT)
#define ALL_STAGES                                                                                           \
    (VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT)
#define RUN_TIMEOUT_NS (120ull * 1000 * 1000 * 1000)

rapt_status rapt_lane_open(rapt_device *device, rapt_lane *lane, rapt_error *error)
{
    *lane = (rapt_lane){.device = device};
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                    .queueFamilyIndex = device->queue_family};
    rapt_status status = rapt_device_alive(device, error);
    if (status == RAPT_OK)
        status =
            rapt_vk_check(device, device->fn.vkCreateCommandPool(device->handle, &pool, NULL, &lane->pool),
                          "vkCreateCommandPool", error);
    VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = lane->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
    if (status == RAPT_OK)
        status = rapt_vk_check(
            device, device->fn.vkAllocateCommandBuffers(device->handle, &allocate, &lane->commands),
            "vkAllocateCommandBuffers", error);
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    if (status == RAPT_OK)
        status = rapt_vk_check(device, device->fn.vkCreateFence(device->handle, &fence, NULL, &lane->fence),
                               "vkCreateFence", error);
    VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                     .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                     .queryCount = 2};
    if (status == RAPT_OK && device->caps.timestamp_period > 0)
        status = rapt_vk_check(device,
                               device->fn.vkCreateQueryPool(device->handle, &queries, NULL, &lane->queries),
                               "vkCreateQueryPool", error);
    if (status != RAPT_OK)
        rapt_lane_close(lane);
    return status;
}

void rapt_lane_close(rapt_lane *lane)
{
    rapt_device *device = lane->device;
    if (device != NULL && !atomic_load(&device->hung)) { /* else it may still touch them */
        if (lane->queries != VK_NULL_HANDLE)
            device->fn.vkDestroyQueryPool(device->handle, lane->queries, NULL);
        if (lane->fence != VK_NULL_HANDLE)
            device->fn.vkDestroyFence(device->handle, lane->fence, NULL);
        if (lane->pool != VK_NULL_HANDLE)
            device->fn.vkDestroyCommandPool(device->handle, lane->pool, NULL);
    }
    *lane = (rapt_lane){0};
}

static void barrier(const rapt_lane *lane, VkAccessFlags more)
{
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = SHADER_ACCESS | TRANSFER_ACCESS,
                              .dstAccessMask = SHADER_ACCESS | TRANSFER_ACCESS | more};
    lane->device->fn.vkCmdPipelineBarrier(
        lane->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        more != 0 ? ALL_STAGES : VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
        &memory, 0, NULL, 0, NULL);
}

void rapt_lane_barrier(rapt_lane *lane)
{
    barrier(lane, 0);
}

rapt_status rapt_lane_begin(rapt_lane *lane, rapt_error *error)
{
    rapt_device *device = lane->device;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    rapt_status status = rapt_vk_check(device, device->fn.vkResetCommandPool(device->handle, lane->pool, 0),
                                       "vkResetCommandPool", error);
    if (status == RAPT_OK)
        status = rapt_vk_check(device, device->fn.vkBeginCommandBuffer(lane->commands, &begin),
                               "vkBeginCommandBuffer", error);
    if (status != RAPT_OK)
        return status;
    barrier(lane, 0);
    if (lane->queries != VK_NULL_HANDLE) {
        device->fn.vkCmdResetQueryPool(lane->commands, lane->queries, 0, 2);
        device->fn.vkCmdWriteTimestamp(lane->commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, lane->queries, 0);
    }
    return RAPT_OK;
}

/* Seconds between the timestamps; 0 where there are none or they make no sense: work cannot have taken longer
 * on the device than from submission to the end of the wait. */
static double device_seconds(const rapt_lane *lane, double wall)
{
    rapt_device *device = lane->device;
    uint64_t stamp[2];
    if (lane->queries == VK_NULL_HANDLE ||
        device->fn.vkGetQueryPoolResults(device->handle, lane->queries, 0, 2, sizeof stamp, stamp,
                                         sizeof stamp[0], VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
        return 0;
    const uint64_t mask = device->timestamp_bits < 64 ? (1ull << device->timestamp_bits) - 1 : UINT64_MAX;
    double seconds = (double)((stamp[1] - stamp[0]) & mask) * (double)device->caps.timestamp_period * 1e-9;
    return seconds <= wall * 1.01 ? seconds : 0;
}

rapt_status rapt_lane_run(rapt_lane *lane, rapt_lane_time *time, rapt_error *error)
{
    rapt_device *device = lane->device;
    *time = (rapt_lane_time){0};
    if (lane->queries != VK_NULL_HANDLE)
        device->fn.vkCmdWriteTimestamp(lane->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, lane->queries,
                                       1);
    barrier(lane, HOST_ACCESS);
    rapt_status status =
        rapt_vk_check(device, device->fn.vkEndCommandBuffer(lane->commands), "vkEndCommandBuffer", error);
    if (status == RAPT_OK)
        status = rapt_vk_check(device, device->fn.vkResetFences(device->handle, 1, &lane->fence),
                               "vkResetFences", error);
    if (status != RAPT_OK)
        return status;
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &lane->commands};
    uint64_t begin = rapt_now_ns();
    status = rapt_queue_submit(device, &submit, lane->fence, error);
    if (status != RAPT_OK)
        return status;
    status = rapt_fence_wait(device, lane->fence, RUN_TIMEOUT_NS, error);
    time->wall = (double)(rapt_now_ns() - begin) * 1e-9;
    if (status == RAPT_ERROR_TIMEOUT)
        rapt_device_note_hung(device); /* what is in flight cannot be destroyed */
    if (status == RAPT_OK)
        time->device = device_seconds(lane, time->wall);
    return status;
}

/* ---- kernels */

static rapt_status make_pool(rapt_tool *tool, rapt_error *error)
{
    rapt_device *device = tool->device;
    const rapt_kernel_row *row = tool->kernel->row;
    const rapt_allocator *a = &device->runtime->allocator;
    uint32_t texels = 0;
    for (uint32_t i = 0; i < row->operand_count; i++)
        texels += row->operands[i].kind != RAPT_OPERAND_STORAGE;
    tool->view_count = tool->set_count * texels;
    tool->sets = rapt_calloc(a, tool->set_count, sizeof *tool->sets);
    tool->views = rapt_calloc(a, RAPT_MAX(tool->view_count, 1), sizeof *tool->views);
    if (tool->sets == NULL || tool->views == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u descriptor sets",
                         tool->set_count);
    VkDescriptorPoolSize sizes[3] = {
        {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, tool->set_count},
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, tool->set_count * RAPT_MAX(row->operand_count - texels, 1)},
        {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, RAPT_MAX(tool->view_count, 1)},
    };
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = tool->set_count,
                                       .poolSizeCount = texels != 0 ? 3 : 2,
                                       .pPoolSizes = sizes};
    return rapt_vk_check(device, device->fn.vkCreateDescriptorPool(device->handle, &info, NULL, &tool->pool),
                         "vkCreateDescriptorPool", error);
}

static rapt_status write_set(rapt_tool *tool, uint32_t index, const rapt_operands *operands, uint32_t *view,
                             rapt_error *error)
{
    rapt_device *device = tool->device;
    const rapt_kernel_row *row = tool->kernel->row;
    VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = tool->pool,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &tool->kernel->set_layout};
    rapt_status status = rapt_vk_check(
        device, device->fn.vkAllocateDescriptorSets(device->handle, &allocate, &tool->sets[index]),
        "vkAllocateDescriptorSets", error);
    if (status != RAPT_OK)
        return status;
    VkDescriptorBufferInfo buffers[RAPT_MAX_OPERANDS + 1];
    VkWriteDescriptorSet writes[RAPT_MAX_OPERANDS + 1];
    uint32_t count = 1;
    buffers[0] =
        (VkDescriptorBufferInfo){tool->params->handle, tool->params->offset, sizeof(rapt_attention_params)};
    writes[0] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                       .dstSet = tool->sets[index],
                                       .dstBinding = RAPT_BIND_PARAMS,
                                       .descriptorCount = 1,
                                       .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
                                       .pBufferInfo = &buffers[0]};
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        const rapt_bound *b = &operands->bound[op->role];
        const uint64_t offset = b->buffer->offset + b->offset;
        VkWriteDescriptorSet *w = &writes[count];
        *w = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                    .dstSet = tool->sets[index],
                                    .dstBinding = op->binding,
                                    .descriptorCount = 1};
        if (op->kind == RAPT_OPERAND_STORAGE) {
            buffers[count] = (VkDescriptorBufferInfo){b->buffer->handle, offset, operands->bytes[op->role]};
            w->descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
            w->pBufferInfo = &buffers[count];
        } else {
            VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                           .buffer = b->buffer->handle,
                                           .format = rapt_texel_format((rapt_operand_kind)op->kind),
                                           .offset = offset,
                                           .range = operands->bytes[op->role]};
            status = rapt_vk_check(
                device, device->fn.vkCreateBufferView(device->handle, &info, NULL, &tool->views[*view]),
                "vkCreateBufferView", error);
            if (status != RAPT_OK)
                return status;
            w->descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
            w->pTexelBufferView = &tool->views[(*view)++];
        }
        count++;
    }
    device->fn.vkUpdateDescriptorSets(device->handle, count, writes, 0, NULL);
    return RAPT_OK;
}

rapt_status rapt_tool_open(rapt_device *device, const rapt_kernel_row *row, const uint32_t *constants,
                           const rapt_operands *operands, uint32_t count, rapt_tool *tool, rapt_error *error)
{
    *tool = (rapt_tool){.device = device, .set_count = count};
    rapt_plan_pipeline pipeline = {.row = row};
    for (uint32_t i = 0; i < row->constant_count; i++)
        pipeline.constants[i] = constants != NULL ? constants[i] : row->constants[i].value;
    tool->kernel = rapt_kernel_find(device, &pipeline);
    if (tool->kernel == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a pipeline");
    rapt_status status = rapt_kernel_compile(device, tool->kernel, NULL, error);
    if (status == RAPT_OK)
        status = rapt_buffer_create_internal(device, sizeof(rapt_attention_params), RAPT_MEMORY_UPLOAD,
                                             &tool->params, error);
    if (status == RAPT_OK) {
        /* 1 as a float, and the factor of integer chains: what compilers must not know. */
        rapt_attention_params params = {.scale_log2 = 1.0f, .nq = 1664525u, .nk = 1};
        for (uint32_t i = 0; i < RAPT_COUNT(params.lane); i++)
            params.lane[i] = i;
        memcpy(tool->params->mapped, &params, sizeof params);
        status = make_pool(tool, error);
    }
    uint32_t view = 0;
    for (uint32_t i = 0; i < count && status == RAPT_OK; i++)
        status = write_set(tool, i, &operands[i], &view, error);
    if (status != RAPT_OK)
        rapt_tool_close(tool);
    return status;
}

void rapt_tool_close(rapt_tool *tool)
{
    rapt_device *device = tool->device;
    if (device == NULL)
        return;
    const rapt_allocator *a = &device->runtime->allocator;
    if (!atomic_load(&device->hung)) {
        if (tool->pool != VK_NULL_HANDLE)
            device->fn.vkDestroyDescriptorPool(device->handle, tool->pool, NULL);
        for (uint32_t i = 0; tool->views != NULL && i < tool->view_count; i++)
            if (tool->views[i] != VK_NULL_HANDLE)
                device->fn.vkDestroyBufferView(device->handle, tool->views[i], NULL);
    }
    rapt_free(a, tool->sets, tool->set_count * sizeof *tool->sets);
    rapt_free(a, tool->views, RAPT_MAX(tool->view_count, 1) * sizeof *tool->views);
    rapt_buffer_destroy(&tool->params);
    *tool = (rapt_tool){0};
}

void rapt_tool_dispatch(const rapt_tool *tool, const rapt_lane *lane, uint32_t set,
                        const uint32_t push[RAPT_PUSH_WORDS], uint32_t groups)
{
    const rapt_vk_device_table *fn = &lane->device->fn;
    fn->vkCmdBindPipeline(lane->commands, VK_PIPELINE_BIND_POINT_COMPUTE, tool->kernel->pipeline);
    fn->vkCmdBindDescriptorSets(lane->commands, VK_PIPELINE_BIND_POINT_COMPUTE, tool->kernel->layout, 0, 1,
                                &tool->sets[set], 0, NULL);
    fn->vkCmdPushConstants(lane->commands, tool->kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                           RAPT_PUSH_WORDS * 4, push);
    fn->vkCmdDispatch(lane->commands, groups, 1, 1);
}
