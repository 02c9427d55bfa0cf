/* Binding: descriptor sets, buffer views, parameters, canaries and command buffers for one plan and its tensors. */
#include "vk/exec.h"

#include "common/attention_params.h"
#include <string.h>

VkFormat rapt_texel_format(rapt_operand_kind kind)
{
    switch (kind) {
    case RAPT_OPERAND_TEXEL_R32F:
        return VK_FORMAT_R32_SFLOAT;
    case RAPT_OPERAND_TEXEL_RGBA32F:
        return VK_FORMAT_R32G32B32A32_SFLOAT;
    case RAPT_OPERAND_TEXEL_RGBA16F:
        return VK_FORMAT_R16G16B16A16_SFLOAT;
    case RAPT_OPERAND_TEXEL_RG32UI:
        return VK_FORMAT_R32G32_UINT;
    case RAPT_OPERAND_TEXEL_RGBA32UI:
    case RAPT_OPERAND_TEXEL_WORDS:
        return VK_FORMAT_R32G32B32A32_UINT;
    case RAPT_OPERAND_TEXEL_R16F:
        return VK_FORMAT_R16_SFLOAT;
    case RAPT_OPERAND_TEXEL_R16UI:
        return VK_FORMAT_R16_UINT;
    case RAPT_OPERAND_STORAGE:
        break;
    }
    return VK_FORMAT_UNDEFINED;
}

/* What is bound for an operand of a step, in bytes of its VkBuffer. */
typedef struct region {
    rapt_buffer *buffer;
    uint64_t offset, range;
    uint64_t lead; /* bytes from the start of the region to the window's first byte */
} region;

/* What stands for operands that are not there lies behind the parameters. */
static uint64_t stand_in(const rapt_plan *plan)
{
    return rapt_align_up(plan->params_bytes, RAPT_STAND_IN_BYTES);
}

static bool is_unbound(const rapt_window *w)
{
    return w->first == UINT64_MAX;
}

/* Aligns a window to what descriptors and views allow. */
static rapt_status place(const rapt_binding *binding, const rapt_kernel_operand *op, const rapt_window *w,
                         const rapt_bound *bound, region *out, rapt_error *error)
{
    const rapt_caps *caps = &binding->device->caps;
    uint64_t texel = rapt_operand_texel_bytes((rapt_operand_kind)op->kind);
    if (w->bytes == 0) {
        /* Something must be bound. Of the binding's own, since it counts as touched, if only with those who look for missing barriers. */
        *out = (region){binding->params, binding->params->offset + stand_in(binding->plan), RAPT_STAND_IN_BYTES, 0};
        return RAPT_OK;
    }
    if (bound->buffer == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is not bound", rapt_role_name((rapt_role)op->role));
    uint64_t align = texel ? RAPT_MAX(caps->texel_align, texel) : caps->storage_align;
    uint64_t unit = texel ? texel : 4;
    uint64_t begin = bound->buffer->offset + bound->offset + w->first;
    uint64_t start = begin / RAPT_MAX(align, 1) * RAPT_MAX(align, 1);
    uint64_t range = rapt_align_up(begin - start + w->bytes, unit);
    uint64_t end = bound->buffer->offset + bound->buffer->capacity;
    if (start + range > end)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "%s ends %llu bytes before its buffer does, but kernels read whole words of %llu bytes",
                         rapt_role_name((rapt_role)op->role), (unsigned long long)(end - (begin + w->bytes)),
                         (unsigned long long)unit);
    *out = (region){bound->buffer, start, range, begin - start};
    return RAPT_OK;
}

static bool same_windows(const rapt_step *a, const rapt_step *b, uint32_t operands)
{
    return a->pipeline == b->pipeline && memcmp(a->windows, b->windows, operands * sizeof a->windows[0]) == 0;
}

/* The set that an earlier step with the same windows uses, or UINT32_MAX. Equal windows lie close together. */
static uint32_t shared_set(const rapt_binding *binding, uint32_t index)
{
    const rapt_step *steps = binding->plan->steps;
    uint32_t operands = binding->plan->pipelines[steps[index].pipeline].row->operand_count;
    for (uint32_t back = 1; back <= 8 && back <= index; back++)
        if (same_windows(&steps[index], &steps[index - back], operands))
            return binding->step_set[index - back];
    return UINT32_MAX;
}

static uint32_t texel_operands(const rapt_kernel_row *row)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < row->operand_count; i++)
        count += row->operands[i].kind != RAPT_OPERAND_STORAGE;
    return count;
}

/* Assigns sets to steps and makes the pool. */
static rapt_status make_pool(rapt_binding *binding, rapt_error *error)
{
    rapt_device *device = binding->device;
    const rapt_allocator *a = &device->runtime->allocator;
    const rapt_plan *plan = binding->plan;
    uint64_t storage = 0, texel = 0, views = 0;
    binding->set_count = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const rapt_kernel_row *row = plan->pipelines[plan->steps[i].pipeline].row;
        uint32_t set = shared_set(binding, i);
        if (set == UINT32_MAX) {
            set = binding->set_count++;
            uint32_t texels = texel_operands(row);
            texel += texels;
            views += texels;
            storage += row->operand_count - texels;
        }
        binding->step_set[i] = set;
    }
    binding->sets = rapt_calloc(a, binding->set_count, sizeof *binding->sets);
    binding->views = rapt_calloc(a, RAPT_MAX(views, 1), sizeof *binding->views);
    binding->view_count = (uint32_t)views; /* what destroying it goes by */
    if (binding->sets == NULL || binding->views == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u descriptor sets", binding->set_count);
    VkDescriptorPoolSize sizes[3] = {
        {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, binding->set_count},
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, (uint32_t)RAPT_MAX(storage, 1)},
        {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, (uint32_t)RAPT_MAX(texel, 1)},
    };
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = binding->set_count,
                                       .poolSizeCount = texel ? 3 : 2,
                                       .pPoolSizes = sizes};
    return rapt_vk_check(device, device->fn.vkCreateDescriptorPool(device->handle, &info, NULL, &binding->pool),
                         "vkCreateDescriptorPool", error);
}

/* Fills the set of a step; `view` counts the views in use. */
static rapt_status write_set(rapt_binding *binding, uint32_t index, const rapt_bound *bound, uint32_t *view,
                             rapt_error *error)
{
    rapt_device *device = binding->device;
    const rapt_step *step = &binding->plan->steps[index];
    const rapt_kernel *kernel = binding->plan->kernels[step->pipeline];
    const rapt_kernel_row *row = kernel->row;
    VkDescriptorSet *set = &binding->sets[binding->step_set[index]];
    VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = binding->pool,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &kernel->set_layout};
    rapt_status status = rapt_vk_check(device, device->fn.vkAllocateDescriptorSets(device->handle, &allocate, set),
                                       "vkAllocateDescriptorSets", error);
    if (status != RAPT_OK)
        return status;
    VkDescriptorBufferInfo buffers[RAPT_MAX_OPERANDS + 1];
    VkWriteDescriptorSet writes[RAPT_MAX_OPERANDS + 1];
    uint32_t count = 0;
    buffers[0] = (VkDescriptorBufferInfo){binding->params->handle, binding->params->offset,
                                          binding->plan->params_bytes};
    writes[count++] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                             .dstSet = *set,
                                             .dstBinding = RAPT_BIND_PARAMS,
                                             .descriptorCount = 1,
                                             .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
                                             .pBufferInfo = &buffers[0]};
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        region r;
        if (is_unbound(&step->windows[i]))
            continue;
        status = place(binding, op, &step->windows[i], &bound[op->role], &r, error);
        if (status != RAPT_OK)
            return status;
        VkWriteDescriptorSet *w = &writes[count];
        *w = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                    .dstSet = *set,
                                    .dstBinding = op->binding,
                                    .descriptorCount = 1};
        if (op->kind == RAPT_OPERAND_STORAGE) {
            buffers[count] = (VkDescriptorBufferInfo){r.buffer->handle, r.offset, r.range};
            w->descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
            w->pBufferInfo = &buffers[count];
        } else {
            VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                           .buffer = r.buffer->handle,
                                           .format = rapt_texel_format((rapt_operand_kind)op->kind),
                                           .offset = r.offset,
                                           .range = r.range};
            status = rapt_vk_check(device,
                                   device->fn.vkCreateBufferView(device->handle, &info, NULL, &binding->views[*view]),
                                   "vkCreateBufferView", error);
            if (status != RAPT_OK)
                return status;
            w->descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
            w->pTexelBufferView = &binding->views[(*view)++];
        }
        count++;
    }
    device->fn.vkUpdateDescriptorSets(device->handle, count, writes, 0, NULL);
    return RAPT_OK;
}

/* Push constants of a step: the plan's, and where each window begins in what is bound. */
static rapt_status write_push(rapt_binding *binding, uint32_t index, const rapt_bound *bound, rapt_error *error)
{
    const rapt_step *step = &binding->plan->steps[index];
    const rapt_kernel_row *row = binding->plan->pipelines[step->pipeline].row;
    memcpy(binding->push[index], step->push, sizeof binding->push[index]);
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        region r;
        if (is_unbound(&step->windows[i]) || step->windows[i].bytes == 0)
            continue;
        rapt_status status = place(binding, op, &step->windows[i], &bound[op->role], &r, error);
        if (status != RAPT_OK)
            return status;
        uint32_t element = rapt_plan_role_element(binding->plan, (rapt_role)op->role);
        uint32_t texel = rapt_operand_texel_bytes((rapt_operand_kind)op->kind);
        if (r.lead % element != 0 || (texel != 0 && r.lead % texel != 0))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: offset is not a multiple of %u bytes",
                             rapt_role_name((rapt_role)op->role), texel ? texel : element);
        if (op->role >= RAPT_ROLE_USER) {
            rapt_attention_params *params = binding->params->mapped;
            params->user_base[op->role - RAPT_ROLE_USER] = (uint32_t)(r.lead / element);
            continue;
        }
        binding->push[index][rapt_binding_base(op->binding) - 1] += (uint32_t)(r.lead / element);
    }
    return RAPT_OK;
}

static rapt_status make_commands(rapt_binding *binding, rapt_error *error)
{
    rapt_device *device = binding->device;
    const rapt_allocator *a = &device->runtime->allocator;
    uint32_t slices = binding->plan->slice_count;
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    rapt_status status = rapt_vk_check(device, device->fn.vkCreateFence(device->handle, &fence, NULL, &binding->fence),
                                       "vkCreateFence", error);
    if (status != RAPT_OK || slices == 0)
        return status;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = device->queue_family};
    status = rapt_vk_check(device, device->fn.vkCreateCommandPool(device->handle, &pool, NULL, &binding->command_pool),
                           "vkCreateCommandPool", error);
    if (status != RAPT_OK)
        return status;
    binding->commands = rapt_calloc(a, slices, sizeof *binding->commands);
    if (binding->commands == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u command buffers", slices);
    VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = binding->command_pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = slices};
    status = rapt_vk_check(device,
                           device->fn.vkAllocateCommandBuffers(device->handle, &allocate, binding->commands),
                           "vkAllocateCommandBuffers", error);
    if (status == RAPT_OK && device->caps.timestamp_period > 0) {
        VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                         .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                         .queryCount = slices * 2};
        status = rapt_vk_check(device,
                               device->fn.vkCreateQueryPool(device->handle, &queries, NULL, &binding->queries),
                               "vkCreateQueryPool", error);
    }
    for (uint32_t i = 0; i < slices && status == RAPT_OK; i++) {
        VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
        status = rapt_vk_check(device, device->fn.vkBeginCommandBuffer(binding->commands[i], &begin),
                               "vkBeginCommandBuffer", error);
        if (status != RAPT_OK)
            break;
        bool stamps = binding->queries != VK_NULL_HANDLE;
        if (stamps)
            device->fn.vkCmdResetQueryPool(binding->commands[i], binding->queries, i * 2, 2);
        rapt_record_slices(binding, binding->commands[i], i, i + 1, stamps);
        status = rapt_vk_check(device, device->fn.vkEndCommandBuffer(binding->commands[i]), "vkEndCommandBuffer",
                               error);
    }
    return status;
}

static rapt_status make_buffers(rapt_binding *binding, rapt_bound bound[RAPT_ROLE_COUNT], rapt_error *error)
{
    rapt_device *device = binding->device;
    const rapt_plan *plan = binding->plan;
    const uint64_t params = stand_in(plan) + RAPT_STAND_IN_BYTES;
    rapt_status status = rapt_buffer_create_internal(device, params, RAPT_MEMORY_UPLOAD, &binding->params, error);
    if (status == RAPT_OK)
        status = rapt_buffer_create_internal(device, RAPT_MAX(plan->slice_count, 1) * 4ull, RAPT_MEMORY_READBACK,
                                             &binding->canary, error);
    if (status != RAPT_OK)
        return status;
    memset(binding->params->mapped, 0, (size_t)params);
    memcpy(binding->params->mapped, plan->params, plan->params_bytes);
    memset(binding->canary->mapped, 0, RAPT_MAX(plan->slice_count, 1) * 4ull);
    if (plan->workspace_bytes == 0)
        return RAPT_OK;
    if (bound[RAPT_ROLE_PART_ACC].buffer == NULL) {
        status = rapt_buffer_create_internal(device, plan->workspace_bytes, RAPT_MEMORY_DEVICE, &binding->workspace,
                                             error);
        if (status != RAPT_OK)
            return status;
        bound[RAPT_ROLE_PART_ACC].buffer = binding->workspace;
        bound[RAPT_ROLE_PART_ACC].offset = 0;
    }
    rapt_bound base = bound[RAPT_ROLE_PART_ACC];
    for (uint32_t i = 0; i < plan->slot_count; i++)
        bound[plan->slots[i].role] = (rapt_bound){.buffer = base.buffer, .offset = base.offset + plan->slots[i].offset};
    return RAPT_OK;
}

/* What the binding touches that others may touch too: the app's tensors and, where it is the app's, the workspace. Roles that
 * stand for one tensor count once more, which does no harm. */
static rapt_status note_accesses(rapt_binding *binding, const rapt_bound *bound, rapt_error *error)
{
    binding->access_room = RAPT_ROLE_COUNT;
    binding->accesses = rapt_calloc(&binding->device->runtime->allocator, RAPT_ROLE_COUNT, sizeof *binding->accesses);
    if (binding->accesses == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a binding");
    for (uint32_t role = 0; role < RAPT_ROLE_COUNT; role++) {
        const rapt_bound *b = &bound[role];
        if (b->buffer == NULL || b->bytes == 0)
            continue;
        rapt_access *a = &binding->accesses[binding->access_count++];
        memcpy(&a->memory, &b->buffer->handle, sizeof b->buffer->handle);
        a->begin = b->buffer->offset + b->offset;
        a->end = a->begin + b->bytes;
        a->written = b->written;
    }
    return RAPT_OK;
}

rapt_status rapt_binding_create(rapt_device *device, const rapt_plan *plan, const rapt_bound given[RAPT_ROLE_COUNT],
                                rapt_binding **out, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    rapt_bound bound[RAPT_ROLE_COUNT];
    memcpy(bound, given, sizeof bound);
    rapt_binding *binding = rapt_calloc(a, 1, sizeof *binding);
    if (binding == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a binding");
    binding->device = device;
    binding->plan = plan;
    binding->timing.device_ns = -1.0;
    uint32_t steps = plan->step_count;
    rapt_status status = RAPT_OK;
    binding->step_set = rapt_calloc(a, RAPT_MAX(steps, 1), sizeof *binding->step_set);
    binding->push = rapt_calloc(a, RAPT_MAX(steps, 1), sizeof *binding->push);
    binding->slice_first = rapt_calloc(a, plan->slice_count + 1ull, sizeof *binding->slice_first);
    if (binding->step_set == NULL || binding->push == NULL || binding->slice_first == NULL)
        status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u steps", steps);
    if (status == RAPT_OK)
        status = note_accesses(binding, bound, error);
    if (status == RAPT_OK)
        status = make_buffers(binding, bound, error);
    if (status == RAPT_OK && steps > 0)
        status = make_pool(binding, error);
    uint32_t written = 0, view = 0;
    for (uint32_t i = 0; i < steps && status == RAPT_OK; i++) {
        binding->slice_first[plan->steps[i].slice + 1] = i + 1;
        if (binding->step_set[i] == written) {
            status = write_set(binding, i, bound, &view, error);
            written++;
        }
        if (status == RAPT_OK)
            status = write_push(binding, i, bound, error);
    }
    if (status == RAPT_OK)
        status = make_commands(binding, error);
    if (status != RAPT_OK)
        rapt_binding_destroy(&binding);
    *out = binding;
    return status;
}

void rapt_binding_destroy(rapt_binding **pointer)
{
    if (pointer == NULL || *pointer == NULL)
        return;
    rapt_binding *binding = *pointer;
    rapt_device *device = binding->device;
    const rapt_allocator *a = &device->runtime->allocator;
    *pointer = NULL;
    if (binding->graphs > 0 || /* in one whose work did not end */
        (binding->in_flight &&
         (atomic_load(&device->hung) ||
          rapt_fence_wait(device, binding->fence, RAPT_DESTROY_TIMEOUT_NS, NULL) == RAPT_ERROR_TIMEOUT))) {
        /* Destroying what a hung device may still touch is undefined; losing it is not. */
        rapt_log_write(&device->runtime->log, RAPT_LOG_ERROR,
                       "%s: a binding's work did not end in time; its Vulkan objects are left as they are",
                       device->caps.device_name);
        return;
    }
    if (binding->command_pool != VK_NULL_HANDLE)
        device->fn.vkDestroyCommandPool(device->handle, binding->command_pool, NULL);
    if (binding->queries != VK_NULL_HANDLE)
        device->fn.vkDestroyQueryPool(device->handle, binding->queries, NULL);
    if (binding->fence != VK_NULL_HANDLE)
        device->fn.vkDestroyFence(device->handle, binding->fence, NULL);
    if (binding->pool != VK_NULL_HANDLE)
        device->fn.vkDestroyDescriptorPool(device->handle, binding->pool, NULL);
    if (binding->views != NULL) {
        for (uint32_t i = 0; i < binding->view_count; i++)
            if (binding->views[i] != VK_NULL_HANDLE)
                device->fn.vkDestroyBufferView(device->handle, binding->views[i], NULL);
        rapt_free(a, binding->views, RAPT_MAX(binding->view_count, 1) * sizeof *binding->views);
    }
    uint32_t steps = RAPT_MAX(binding->plan->step_count, 1);
    rapt_free(a, binding->sets, binding->set_count * sizeof *binding->sets);
    rapt_free(a, binding->commands, binding->plan->slice_count * sizeof *binding->commands);
    rapt_free(a, binding->step_set, steps * sizeof *binding->step_set);
    rapt_free(a, binding->push, steps * sizeof *binding->push);
    rapt_free(a, binding->slice_first, (binding->plan->slice_count + 1ull) * sizeof *binding->slice_first);
    if (binding->accesses != NULL)
        rapt_free(a, binding->accesses, binding->access_room * sizeof *binding->accesses);
    rapt_buffer_destroy(&binding->workspace);
    rapt_buffer_destroy(&binding->params);
    rapt_buffer_destroy(&binding->canary);
    rapt_free(a, binding, sizeof *binding);
}
