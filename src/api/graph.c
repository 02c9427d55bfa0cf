/* Graphs: bindings in an order with barriers, recorded once, submitted again and again. */
#include "rapt/graph.h"

#include "rapt/vulkan.h"
#include "sched/hazard.h"
#include "vk/exec.h"

#include <string.h>

#define NODES_A_SUBMISSION 64

typedef struct node {
    rapt_binding *binding;
    uint32_t flags;
    VkSemaphore wait, signal;
    uint64_t wait_value, signal_value;
} node;

/* Recorded nodes [first, first + count) of the order; or, of one node, one slice of several. */
typedef struct submission {
    uint32_t first, count;
    uint32_t slice; /* UINT32_MAX: all of each */
    VkCommandBuffer commands;
    VkFence fence;
} submission;

struct rapt_graph {
    rapt_device *device;
    rapt_graph_options options;
    node *nodes; /* of node_room */
    uint32_t node_count, node_room;
    bool finished, in_flight;
    uint32_t *order;
    bool *barrier;
    uint32_t barriers;
    submission *submissions;
    uint32_t submission_count, submitted, done;
    VkCommandPool pool;
    rapt_buffer *canary; /* a word for each submission, and one for what an app's command buffer has */
    atomic_bool cancelled;
    uint64_t begun;
    double finish_ns, submit_ns;
};

/* ---- making ---- */

rapt_status rapt_graph_create(rapt_device *device, const rapt_graph_options *given, rapt_graph **out, rapt_error *error)
{
    rapt_graph_options options = RAPT_GRAPH_OPTIONS_INIT;
    if (device == NULL || out == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", device == NULL ? "device" : "graph");
    *out = NULL;
    if (given != NULL && given->struct_size < sizeof options)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_graph_options.struct_size is %u, expected %zu", given->struct_size,
                         sizeof options);
    if (given != NULL)
        options = *given;
    if (!(options.deadline_ms >= 0) || options.deadline_ms > 600000)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_graph_options.deadline_ms is %g, must be 0 to 600,000",
                         (double)options.deadline_ms);
    rapt_graph *graph = rapt_calloc(&device->runtime->allocator, 1, sizeof *graph);
    if (graph == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a graph");
    graph->device = device;
    graph->options = options;
    if (graph->options.nodes == 0)
        graph->options.nodes = NODES_A_SUBMISSION;
    *out = graph;
    return RAPT_OK;
}

static bool grow(rapt_graph *graph)
{
    const rapt_allocator *a = &graph->device->runtime->allocator;
    const uint32_t room = RAPT_MAX(2 * graph->node_room, 16);
    node *nodes = rapt_calloc(a, room, sizeof *nodes);
    if (nodes == NULL)
        return false;
    if (graph->nodes != NULL) {
        memcpy(nodes, graph->nodes, graph->node_count * sizeof *nodes);
        rapt_free(a, graph->nodes, graph->node_room * sizeof *nodes);
    }
    graph->nodes = nodes;
    graph->node_room = room;
    return true;
}

rapt_status rapt_graph_add(rapt_graph *graph, rapt_binding *binding, uint32_t flags, uint32_t *number, rapt_error *error)
{
    if (graph == NULL || binding == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", graph == NULL ? "graph" : "binding");
    if (graph->finished)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the graph is finished");
    if (binding->device != graph->device)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the binding is of another device than the graph");
    const uint32_t semaphores = RAPT_GRAPH_WAITS | RAPT_GRAPH_SIGNALS;
    if (flags & ~(semaphores | RAPT_GRAPH_URGENT))
        return rapt_fail(error, RAPT_ERROR_INVALID, "flags are 0x%x", flags);
    if ((flags & semaphores) != 0 && !(graph->device->caps.features & RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE)))
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "timeline semaphores are not enabled on %s", graph->device->caps.device_name);
    if (graph->node_count == RAPT_GRAPH_NODES)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "a graph has at most %d nodes", RAPT_GRAPH_NODES);
    if (graph->node_count == graph->node_room && !grow(graph))
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u nodes", graph->node_count + 1);
    if (number != NULL)
        *number = graph->node_count;
    graph->nodes[graph->node_count++] = (node){.binding = binding, .flags = flags};
    return RAPT_OK;
}

/* ---- recording ---- */

static bool has_barriers(const rapt_plan *plan)
{
    for (uint32_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].barrier)
            return true;
    return false;
}

static rapt_status derive(rapt_graph *graph, rapt_error *error)
{
    const rapt_allocator *a = &graph->device->runtime->allocator;
    const uint32_t count = graph->node_count;
    rapt_task *tasks = rapt_calloc(a, RAPT_MAX(count, 1), sizeof *tasks);
    uint32_t *level = rapt_calloc(a, RAPT_MAX(count, 1), sizeof *level);
    graph->order = rapt_calloc(a, RAPT_MAX(count, 1), sizeof *graph->order);
    graph->barrier = rapt_calloc(a, RAPT_MAX(count, 1), sizeof *graph->barrier);
    const bool good = tasks != NULL && level != NULL && graph->order != NULL && graph->barrier != NULL;
    for (uint32_t i = 0; i < count && good; i++) {
        const node *n = &graph->nodes[i];
        tasks[i] = (rapt_task){.accesses = n->binding->accesses,
                               .count = n->binding->access_count,
                               .barriers_inside = has_barriers(n->binding->plan),
                               .fence_before = n->flags & RAPT_GRAPH_WAITS,
                               .fence_behind = n->flags & RAPT_GRAPH_SIGNALS,
                               .urgent = n->flags & RAPT_GRAPH_URGENT};
    }
    if (good)
        rapt_order_tasks(tasks, count, level, graph->order, graph->barrier);
    if (tasks != NULL)
        rapt_free(a, tasks, RAPT_MAX(count, 1) * sizeof *tasks);
    if (level != NULL)
        rapt_free(a, level, RAPT_MAX(count, 1) * sizeof *level);
    return good ? RAPT_OK : rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u nodes", count);
}

static const node *recorded(const rapt_graph *graph, uint32_t index)
{
    return &graph->nodes[graph->order[index]];
}

/* How many nodes from `first` of the order on go into one submission, and in how many slices. */
static uint32_t stretch(const rapt_graph *graph, uint32_t first, uint32_t *slices)
{
    *slices = recorded(graph, first)->binding->plan->slice_count;
    if (*slices > 1)
        return 1;
    *slices = 1;
    uint32_t count = 1;
    while (first + count < graph->node_count && count < graph->options.nodes &&
           recorded(graph, first + count)->binding->plan->slice_count <= 1 &&
           !(recorded(graph, first + count)->flags & RAPT_GRAPH_WAITS) &&
           !(recorded(graph, first + count - 1)->flags & RAPT_GRAPH_SIGNALS))
        count++;
    return count;
}

/* Cuts the order into submissions: as many as there are, or, with room for them, the very ones. */
static uint32_t cut(const rapt_graph *graph, submission *to)
{
    uint32_t total = 0, slices;
    for (uint32_t first = 0, count; first < graph->node_count; first += count) {
        count = stretch(graph, first, &slices);
        for (uint32_t slice = 0; slice < slices; slice++, total++)
            if (to != NULL)
                to[total] = (submission){.first = first, .count = count, .slice = slices > 1 ? slice : UINT32_MAX};
    }
    return total;
}

/* Nodes between a barrier against all that was before and one to all that comes, with a canary at the end. Returns the barriers
 * in between. */
static uint32_t record(const rapt_graph *graph, VkCommandBuffer commands, const submission *s, uint32_t canary)
{
    uint32_t barriers = 0;
    rapt_record_begin(graph->device, commands);
    for (uint32_t i = s->first; i < s->first + s->count; i++) {
        const rapt_binding *binding = recorded(graph, i)->binding;
        const bool all = s->slice == UINT32_MAX;
        if (i > s->first && graph->barrier[i]) {
            rapt_record_barrier(graph->device, commands);
            barriers++;
        }
        rapt_record_steps(binding, commands, all ? 0 : s->slice, all ? binding->plan->slice_count : s->slice + 1, false);
    }
    rapt_record_end(graph->device, commands, graph->canary, canary, 1);
    return barriers;
}

static rapt_status record_submission(rapt_graph *graph, uint32_t index, rapt_error *error)
{
    rapt_device *device = graph->device;
    submission *s = &graph->submissions[index];
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    const VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                  .commandPool = graph->pool,
                                                  .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                                  .commandBufferCount = 1};
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    rapt_status status = rapt_vk_check(device, device->fn.vkCreateFence(device->handle, &fence, NULL, &s->fence), "vkCreateFence", error);
    if (status == RAPT_OK)
        status = rapt_vk_check(device, device->fn.vkAllocateCommandBuffers(device->handle, &allocate, &s->commands),
                               "vkAllocateCommandBuffers", error);
    if (status == RAPT_OK)
        status = rapt_vk_check(device, device->fn.vkBeginCommandBuffer(s->commands, &begin), "vkBeginCommandBuffer", error);
    if (status != RAPT_OK)
        return status;
    graph->barriers += record(graph, s->commands, s, index);
    return rapt_vk_check(device, device->fn.vkEndCommandBuffer(s->commands), "vkEndCommandBuffer", error);
}

rapt_status rapt_graph_finish(rapt_graph *graph, rapt_error *error)
{
    if (graph == NULL || graph->finished)
        return rapt_fail(error, RAPT_ERROR_INVALID, graph == NULL ? "graph is NULL" : "the graph is finished");
    rapt_device *device = graph->device;
    const uint64_t begin = rapt_now_ns();
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = device->queue_family};
    graph->finished = true; /* whatever comes of it */
    rapt_status status = derive(graph, error);
    if (status != RAPT_OK)
        return status;
    const uint32_t count = cut(graph, NULL);
    graph->submissions = rapt_calloc(&device->runtime->allocator, count + 1ull, sizeof *graph->submissions);
    if (graph->submissions == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u submissions", count);
    graph->submission_count = cut(graph, graph->submissions);
    status = rapt_buffer_create_internal(device, (count + 1ull) * 4, RAPT_MEMORY_READBACK, &graph->canary, error);
    if (status == RAPT_OK)
        status = rapt_vk_check(device, device->fn.vkCreateCommandPool(device->handle, &pool, NULL, &graph->pool), "vkCreateCommandPool",
                               error);
    for (uint32_t i = 0; i < count && status == RAPT_OK; i++)
        status = record_submission(graph, i, error);
    graph->finish_ns = (double)(rapt_now_ns() - begin);
    if (status != RAPT_OK) { /* it is of no use but to be destroyed */
        rapt_buffer_destroy(&graph->canary);
        return status;
    }
    return RAPT_OK;
}

/* ---- running ---- */

static rapt_status check_ready(const rapt_graph *graph, rapt_error *error)
{
    if (graph == NULL || graph->canary == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, graph == NULL ? "graph is NULL" : "the graph is not finished");
    if (graph->in_flight)
        return rapt_fail(error, RAPT_ERROR_BUSY, "the graph is in flight: wait for it first");
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const node *n = &graph->nodes[i];
        if (n->binding->in_flight || n->binding->graphs > 0)
            return rapt_fail(error, RAPT_ERROR_BUSY, "the binding of node %u is in flight: wait for it first", i);
    }
    return rapt_device_alive(graph->device, error);
}

/* Marks the bindings as in flight, or not any more. */
static void hold(rapt_graph *graph, bool held)
{
    graph->in_flight = held;
    for (uint32_t i = 0; i < graph->node_count; i++)
        graph->nodes[i].binding->graphs = held;
}

static volatile uint32_t *canary_word(const rapt_graph *graph, uint32_t index)
{
    return (volatile uint32_t *)graph->canary->mapped + index;
}

static rapt_status submit_one(rapt_graph *graph, rapt_error *error)
{
    const submission *s = &graph->submissions[graph->submitted];
    const node *first = recorded(graph, s->first), *last = recorded(graph, s->first + s->count - 1);
    const uint32_t slices = s->slice == UINT32_MAX ? 1 : first->binding->plan->slice_count, slice = s->slice == UINT32_MAX ? 0 : s->slice;
    const bool waits = first->wait != VK_NULL_HANDLE && slice == 0;
    const bool signals = last->signal != VK_NULL_HANDLE && slice + 1 == slices;
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                                    .waitSemaphoreValueCount = waits,
                                                    .pWaitSemaphoreValues = &first->wait_value,
                                                    .signalSemaphoreValueCount = signals,
                                                    .pSignalSemaphoreValues = &last->signal_value};
    const VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                 .pNext = waits || signals ? &timeline : NULL,
                                 .waitSemaphoreCount = waits,
                                 .pWaitSemaphores = &first->wait,
                                 .pWaitDstStageMask = &stage,
                                 .commandBufferCount = 1,
                                 .pCommandBuffers = &s->commands,
                                 .signalSemaphoreCount = signals,
                                 .pSignalSemaphores = &last->signal};
    *canary_word(graph, graph->submitted) = 0;
    rapt_status status = rapt_vk_check(graph->device, graph->device->fn.vkResetFences(graph->device->handle, 1, &s->fence), "vkResetFences",
                                       error);
    if (status == RAPT_OK)
        status = rapt_queue_submit(graph->device, &submit, s->fence, error);
    graph->submitted += status == RAPT_OK;
    return status;
}

/* Whether no more may be submitted. */
static bool is_over(const rapt_graph *graph)
{
    const double gone = (double)(rapt_now_ns() - graph->begun) * 1e-6;
    return atomic_load(&graph->cancelled) || (graph->options.deadline_ms > 0 && gone > (double)graph->options.deadline_ms);
}

/* As many submissions as may be in flight. */
static rapt_status submit_some(rapt_graph *graph, rapt_error *error)
{
    const uint32_t most = graph->options.in_flight > 0 ? graph->options.in_flight : UINT32_MAX;
    rapt_status status = RAPT_OK;
    while (status == RAPT_OK && graph->submitted < graph->submission_count && graph->submitted - graph->done < most && !is_over(graph))
        status = submit_one(graph, error);
    return status;
}

static rapt_status wait_one(rapt_graph *graph, uint64_t timeout, rapt_error *error)
{
    rapt_device *device = graph->device;
    rapt_status status = rapt_fence_wait(device, graph->submissions[graph->done].fence, timeout, error);
    if (status != RAPT_OK)
        return status;
    if (*canary_word(graph, graph->done) != RAPT_CANARY && !device->caps.no_execution)
        return rapt_fail(error, RAPT_ERROR_INCOMPLETE,
                         "%s reported success, but submission %u of %u did not finish: its completion canary was not written",
                         device->caps.device_name, graph->done, graph->submission_count);
    graph->done++;
    return RAPT_OK;
}

/* What is in flight must end before the graph can be used again: after a failure between submissions. What does not end, or may never,
 * keeps the graph and its bindings in flight for ever: both are left as they are when they are destroyed. */
static void give_up(rapt_graph *graph)
{
    rapt_device *device = graph->device;
    bool ended = true;
    for (uint32_t i = graph->done; i < graph->submitted && ended; i++)
        ended = rapt_fence_wait(device, graph->submissions[i].fence, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT;
    if (ended && !atomic_load(&device->hung))
        hold(graph, false);
}

rapt_status rapt_graph_submit(rapt_graph *graph, rapt_error *error)
{
    rapt_status status = check_ready(graph, error);
    if (status != RAPT_OK)
        return status;
    graph->begun = rapt_now_ns();
    graph->submitted = graph->done = 0;
    atomic_store(&graph->cancelled, false);
    hold(graph, true);
    status = submit_some(graph, error);
    if (status != RAPT_OK)
        give_up(graph);
    graph->submit_ns = (double)(rapt_now_ns() - graph->begun);
    for (uint32_t i = 0; i < graph->node_count && status == RAPT_OK; i++)
        rapt_recorder_count(graph->device->runtime, graph->nodes[i].binding->plan);
    return status;
}

rapt_status rapt_graph_wait(rapt_graph *graph, uint64_t timeout, rapt_error *error)
{
    if (graph == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "graph is NULL");
    if (!graph->in_flight)
        return RAPT_OK;
    const uint64_t begin = rapt_now_ns();
    rapt_status status = RAPT_OK;
    while (status == RAPT_OK && (graph->done < graph->submitted || (graph->submitted < graph->submission_count && !is_over(graph)))) {
        status = submit_some(graph, error);
        const uint64_t gone = rapt_now_ns() - begin;
        if (status == RAPT_OK && graph->done < graph->submitted)
            status = wait_one(graph, timeout > gone ? timeout - gone : 0, error);
    }
    if (status == RAPT_ERROR_TIMEOUT)
        return status;
    if (status != RAPT_OK)
        give_up(graph);
    else
        hold(graph, false);
    if (status == RAPT_OK && graph->done < graph->submission_count)
        return rapt_fail(error, RAPT_ERROR_CANCELLED, "%s after %u of %u submissions",
                         atomic_load(&graph->cancelled) ? "cancelled" : "the graph's deadline passed", graph->done,
                         graph->submission_count);
    return status;
}

void rapt_graph_cancel(rapt_graph *graph)
{
    if (graph != NULL)
        atomic_store(&graph->cancelled, true);
}

rapt_status rapt_graph_describe(const rapt_graph *graph, rapt_graph_info *info, rapt_error *error)
{
    if (graph == NULL || info == NULL || info->struct_size < sizeof *info)
        return rapt_fail(error, RAPT_ERROR_INVALID, "graph or info is NULL, or info->struct_size is not %zu", sizeof *info);
    *info = (rapt_graph_info){.struct_size = info->struct_size,
                              .nodes = graph->node_count,
                              .barriers = graph->barriers,
                              .submissions = graph->submission_count,
                              .submitted = graph->submitted,
                              .done = graph->done,
                              .finish_ns = graph->finish_ns,
                              .submit_ns = graph->submit_ns};
    return RAPT_OK;
}

void rapt_graph_destroy(rapt_graph **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    rapt_graph *graph = *handle;
    rapt_device *device = graph->device;
    const rapt_allocator *a = &device->runtime->allocator;
    *handle = NULL;
    if (graph->in_flight)
        give_up(graph);
    if (graph->in_flight || atomic_load(&device->hung)) { /* as of bindings */
        rapt_log_write(&device->runtime->log, RAPT_LOG_ERROR, "%s: a graph's work did not end in time; its Vulkan objects are left as they are",
                       device->caps.device_name);
        return;
    }
    for (uint32_t i = 0; i < graph->submission_count; i++)
        if (graph->submissions[i].fence != VK_NULL_HANDLE)
            device->fn.vkDestroyFence(device->handle, graph->submissions[i].fence, NULL);
    if (graph->pool != VK_NULL_HANDLE)
        device->fn.vkDestroyCommandPool(device->handle, graph->pool, NULL);
    rapt_buffer_destroy(&graph->canary);
    const uint32_t nodes = RAPT_MAX(graph->node_count, 1);
    if (graph->submissions != NULL)
        rapt_free(a, graph->submissions, (graph->submission_count + 1ull) * sizeof *graph->submissions);
    if (graph->order != NULL)
        rapt_free(a, graph->order, nodes * sizeof *graph->order);
    if (graph->barrier != NULL)
        rapt_free(a, graph->barrier, nodes * sizeof *graph->barrier);
    if (graph->nodes != NULL)
        rapt_free(a, graph->nodes, graph->node_room * sizeof *graph->nodes);
    rapt_free(a, graph, sizeof *graph);
}

/* ---- inside an app's Vulkan ---- */

rapt_status rapt_graph_semaphores(rapt_graph *graph, uint32_t number, VkSemaphore wait, uint64_t wait_value, VkSemaphore signal,
                                  uint64_t signal_value, rapt_error *error)
{
    if (graph == NULL || number >= graph->node_count)
        return rapt_fail(error, RAPT_ERROR_INVALID, "graph is NULL, or has no node %u", number);
    node *n = &graph->nodes[number];
    if (graph->in_flight)
        return rapt_fail(error, RAPT_ERROR_BUSY, "the graph is in flight: wait for it first");
    if ((wait != VK_NULL_HANDLE && !(n->flags & RAPT_GRAPH_WAITS)) || (signal != VK_NULL_HANDLE && !(n->flags & RAPT_GRAPH_SIGNALS)))
        return rapt_fail(error, RAPT_ERROR_INVALID, "node %u was added without RAPT_GRAPH_WAITS or RAPT_GRAPH_SIGNALS", number);
    n->wait = wait;
    n->wait_value = wait_value;
    n->signal = signal;
    n->signal_value = signal_value;
    return RAPT_OK;
}

rapt_status rapt_graph_record(rapt_graph *graph, VkCommandBuffer commands, rapt_error *error)
{
    rapt_status status = check_ready(graph, error);
    if (status != RAPT_OK)
        return status;
    if (commands == VK_NULL_HANDLE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "commands is NULL");
    const submission all = {.first = 0, .count = graph->node_count, .slice = UINT32_MAX};
    *canary_word(graph, graph->submission_count) = 0;
    record(graph, commands, &all, graph->submission_count);
    for (uint32_t i = 0; i < graph->node_count; i++)
        rapt_recorder_count(graph->device->runtime, graph->nodes[i].binding->plan);
    return RAPT_OK;
}

rapt_status rapt_graph_check_completion(rapt_graph *graph, rapt_error *error)
{
    if (graph == NULL || graph->canary == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "graph is NULL, or not finished");
    if (*canary_word(graph, graph->submission_count) != RAPT_CANARY && !graph->device->caps.no_execution)
        return rapt_fail(error, RAPT_ERROR_INCOMPLETE, "the command buffer that the graph was recorded into did not run to its end");
    return RAPT_OK;
}
