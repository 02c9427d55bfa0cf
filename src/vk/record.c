/* Recording: dispatches, barriers, canaries. Neither allocates nor compiles. */
#include "vk/exec.h"

/* Full memory dependencies on both sides: some drivers drop execution-only barriers. */
static void barrier(const rapt_device *device, VkCommandBuffer commands, VkPipelineStageFlags from,
                    VkAccessFlags from_access, VkPipelineStageFlags to, VkAccessFlags to_access)
{
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = from_access,
                              .dstAccessMask = to_access};
    device->fn.vkCmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

#define SHADER_ACCESS (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT)
#define TRANSFER_ACCESS (VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)

void rapt_record_begin(const rapt_device *device, VkCommandBuffer commands)
{
    barrier(device, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
            SHADER_ACCESS | TRANSFER_ACCESS, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
            SHADER_ACCESS | VK_ACCESS_UNIFORM_READ_BIT);
}

void rapt_record_barrier(const rapt_device *device, VkCommandBuffer commands)
{
    barrier(device, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, SHADER_ACCESS, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, SHADER_ACCESS);
}

void rapt_record_end(const rapt_device *device, VkCommandBuffer commands, const rapt_buffer *canary, uint32_t first, uint32_t count)
{
    barrier(device, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, SHADER_ACCESS,
            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT,
            SHADER_ACCESS | TRANSFER_ACCESS | VK_ACCESS_HOST_READ_BIT);
    /* The canary: proof that the device got here. */
    device->fn.vkCmdFillBuffer(commands, canary->handle, canary->offset + first * 4ull, count * 4ull, RAPT_CANARY);
    barrier(device, commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
}

void rapt_record_steps(const rapt_binding *binding, VkCommandBuffer commands, uint32_t first, uint32_t last, bool timestamps)
{
    const rapt_device *device = binding->device;
    const rapt_plan *plan = binding->plan;
    const rapt_kernel *bound = NULL;
    uint32_t bound_set = UINT32_MAX;
    for (uint32_t slice = first; slice < last; slice++) {
        if (timestamps)
            device->fn.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, binding->queries, slice * 2);
        for (uint32_t i = binding->slice_first[slice]; i < binding->slice_first[slice + 1]; i++) {
            const rapt_step *step = &plan->steps[i];
            const rapt_kernel *kernel = plan->kernels[step->pipeline];
            if (step->barrier)
                rapt_record_barrier(device, commands);
            if (kernel != bound) {
                device->fn.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->pipeline);
                bound = kernel;
                bound_set = UINT32_MAX;
            }
            if (binding->step_set[i] != bound_set) {
                bound_set = binding->step_set[i];
                device->fn.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->layout, 0, 1,
                                                   &binding->sets[bound_set], 0, NULL);
            }
            device->fn.vkCmdPushConstants(commands, kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                          RAPT_PUSH_WORDS * 4, binding->push[i]);
            device->fn.vkCmdDispatch(commands, step->groups[0], step->groups[1], step->groups[2]);
        }
        if (timestamps)
            device->fn.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, binding->queries,
                                           slice * 2 + 1);
    }
}

void rapt_record_slices(const rapt_binding *binding, VkCommandBuffer commands, uint32_t first, uint32_t last,
                        bool timestamps)
{
    rapt_record_begin(binding->device, commands);
    rapt_record_steps(binding, commands, first, last, timestamps);
    rapt_record_end(binding->device, commands, binding->canary, first, last - first);
}

/* Puts the canaries back before work that will write them again. */
static void reset_canaries(rapt_binding *binding, uint32_t first, uint32_t last)
{
    volatile uint32_t *canary = binding->canary->mapped;
    for (uint32_t i = first; i < last; i++)
        canary[i] = 0;
}

static rapt_status check_canaries(const rapt_binding *binding, rapt_error *error)
{
    const volatile uint32_t *canary = binding->canary->mapped;
    if (binding->device->caps.no_execution)
        return RAPT_OK;
    for (uint32_t i = 0; i < binding->plan->slice_count; i++)
        if (canary[i] != RAPT_CANARY)
            return rapt_fail(error, RAPT_ERROR_INCOMPLETE,
                             "%s reported success, but slice %u of %u did not finish: its completion canary was not "
                             "written (a watchdog may have cancelled it)",
                             binding->device->caps.device_name, i, binding->plan->slice_count);
    return RAPT_OK;
}

rapt_status rapt_record(rapt_binding *binding, VkCommandBuffer commands, uint32_t first, uint32_t count,
                        rapt_error *error)
{
    if (binding == NULL || commands == VK_NULL_HANDLE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", binding == NULL ? "binding" : "commands");
    uint32_t slices = binding->plan->slice_count;
    if (first > slices || (count != UINT32_MAX && count > slices - first))
        return rapt_fail(error, RAPT_ERROR_INVALID, "slices %u to %llu of %u", first,
                         (unsigned long long)first + count, slices);
    uint32_t last = count == UINT32_MAX ? slices : first + count;
    if (binding->in_flight || binding->graphs > 0) /* its canaries are the device's now */
        return rapt_fail(error, RAPT_ERROR_BUSY, "the binding is in flight: wait for it first");
    if (first == last)
        return RAPT_OK;
    reset_canaries(binding, first, last);
    rapt_record_slices(binding, commands, first, last, false);
    if (first == 0) /* however many parts the rest comes in */
        rapt_recorder_count(binding->device->runtime, binding->plan);
    return RAPT_OK;
}

rapt_status rapt_check_completion(rapt_binding *binding, rapt_error *error)
{
    if (binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "binding is NULL");
    return check_canaries(binding, error);
}

/* Slices already queued must end before the binding can be touched again. Waiting for the whole device is only ours
 * to do where the device is: the app may be using other queues of its own. */
static void end_partial(rapt_binding *binding)
{
    rapt_device *device = binding->device;
    if (rapt_queue_submit(device, NULL, binding->fence, NULL) == RAPT_OK)
        rapt_fence_wait(device, binding->fence, UINT64_MAX, NULL);
    else if (device->owned)
        device->fn.vkDeviceWaitIdle(device->handle);
}

rapt_status rapt_binding_submit(rapt_binding *binding, VkSemaphore wait, uint64_t wait_value, VkSemaphore signal,
                                uint64_t signal_value, rapt_error *error)
{
    rapt_device *device = binding->device;
    uint32_t slices = binding->plan->slice_count;
    if (binding->in_flight || binding->graphs > 0)
        return rapt_fail(error, RAPT_ERROR_BUSY, "the binding is in flight: wait for it first");
    rapt_status status = rapt_device_alive(device, error);
    if (status != RAPT_OK)
        return status;
    if ((wait != VK_NULL_HANDLE || signal != VK_NULL_HANDLE) &&
        !(device->caps.features & RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE)))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "timeline semaphores are not enabled on %s",
                         device->caps.device_name);
    uint64_t begin = rapt_now_ns();
    if (slices > 0)
        reset_canaries(binding, 0, slices);
    status = rapt_vk_check(device, device->fn.vkResetFences(device->handle, 1, &binding->fence), "vkResetFences",
                           error);
    if (status != RAPT_OK)
        return status;
    /* One submission a slice, so that a driver's watchdog sees each by itself; an empty plan still signals. */
    uint32_t batches = RAPT_MAX(slices, 1);
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    for (uint32_t i = 0; i < batches; i++) {
        bool waits = i == 0 && wait != VK_NULL_HANDLE, signals = i + 1 == batches && signal != VK_NULL_HANDLE;
        VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                                  .waitSemaphoreValueCount = waits,
                                                  .pWaitSemaphoreValues = &wait_value,
                                                  .signalSemaphoreValueCount = signals,
                                                  .pSignalSemaphoreValues = &signal_value};
        VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .pNext = waits || signals ? &timeline : NULL,
                               .waitSemaphoreCount = waits,
                               .pWaitSemaphores = &wait,
                               .pWaitDstStageMask = &stage,
                               .commandBufferCount = slices > 0,
                               .pCommandBuffers = slices > 0 ? &binding->commands[i] : NULL,
                               .signalSemaphoreCount = signals,
                               .pSignalSemaphores = &signal};
        status = rapt_queue_submit(device, &submit, i + 1 == batches ? binding->fence : VK_NULL_HANDLE, error);
        if (status != RAPT_OK) {
            if (i > 0 && status != RAPT_ERROR_DEVICE_LOST)
                end_partial(binding);
            return status;
        }
    }
    binding->submitted_at = begin;
    binding->batch = rapt_queue_submitted(device);
    binding->unread = false;
    binding->timing.submit_ns = (double)(rapt_now_ns() - begin);
    binding->in_flight = true;
    rapt_recorder_count(device->runtime, binding->plan);
    return RAPT_OK;
}

rapt_status rapt_submit(rapt_binding *binding, rapt_error *error)
{
    if (binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "binding is NULL");
    return rapt_binding_submit(binding, VK_NULL_HANDLE, 0, VK_NULL_HANDLE, 0, error);
}

rapt_status rapt_submit_timeline(rapt_binding *binding, VkSemaphore wait, uint64_t wait_value, VkSemaphore signal,
                                 uint64_t signal_value, rapt_error *error)
{
    if (binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "binding is NULL");
    return rapt_binding_submit(binding, wait, wait_value, signal, signal_value, error);
}

/* Device time between the timestamps of each slice, summed; negative: there are none. */
static double read_timestamps(const rapt_binding *binding)
{
    const rapt_device *device = binding->device;
    if (binding->queries == VK_NULL_HANDLE)
        return -1.0;
    double ticks = 0;
    const uint64_t mask = device->timestamp_bits < 64 ? (1ull << device->timestamp_bits) - 1 : UINT64_MAX;
    for (uint32_t i = 0; i < binding->plan->slice_count; i++) {
        uint64_t stamp[2];
        if (device->fn.vkGetQueryPoolResults(device->handle, binding->queries, i * 2, 2, sizeof stamp, stamp,
                                             sizeof stamp[0], VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
            return -1.0;
        ticks += (double)((stamp[1] - stamp[0]) & mask); /* the counter wraps around */
    }
    return ticks * (double)device->caps.timestamp_period;
}

/* Whether reading them waits for nothing else: lavapipe lets its whole queue run dry first, the slices of another client's long work too. */
static bool reads_at_once(rapt_binding *binding)
{
    rapt_device *device = binding->device;
    return device->caps.device_class != RAPT_CLASS_SOFTWARE || rapt_queue_submitted(device) == binding->batch;
}

rapt_status rapt_wait(rapt_binding *binding, uint64_t timeout, rapt_error *error)
{
    if (binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "binding is NULL");
    if (!binding->in_flight)
        return RAPT_OK;
    rapt_device *device = binding->device;
    rapt_status status = rapt_fence_wait(device, binding->fence, timeout, error);
    if (status == RAPT_ERROR_TIMEOUT || atomic_load(&device->hung))
        return status;
    binding->in_flight = false;
    if (status != RAPT_OK)
        return status;
    double wall = (double)(rapt_now_ns() - binding->submitted_at);
    binding->unread = !reads_at_once(binding);
    binding->timing.device_ns = binding->unread ? -1.0 : read_timestamps(binding);
    double ns = binding->timing.device_ns > 0 ? binding->timing.device_ns : wall;
    /* The first run of a pipeline may include the driver's compilation. */
    if (!device->caps.no_execution && binding->submits++ > 0 && !binding->unread && binding->plan->op == RAPT_OP_ATTENTION)
        rapt_device_note_throughput(device, (double)binding->plan->problem.flops, ns * 1e-9);
    return check_canaries(binding, error);
}

void rapt_binding_timing(const rapt_binding *binding, rapt_timing *timing)
{
    if (timing == NULL)
        return;
    *timing = binding ? binding->timing : (rapt_timing){-1.0, 0.0};
    if (binding && binding->unread)
        timing->device_ns = read_timestamps(binding);
}
