/* An app that has a Vulkan device of its own: rapt adopts it, wraps the app's buffers and records attention into the
 * app's command buffer, which the app submits and waits for. Prints one line; status 0 when the result is right. */
#include <rapt/rapt.h>
#include <vulkan/vulkan.h>
#include <rapt/vulkan.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 2, QUERIES = 19, KEYS = 37, DIM = 24 };

#define VK(call)                                                                                             \
    do {                                                                                                     \
        VkResult result_ = (call);                                                                           \
        if (result_ != VK_SUCCESS) {                                                                         \
            fprintf(stderr, "embed: %s: VkResult %d\n", #call, (int)result_);                                \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

#define RAPT(call)                                                                                           \
    do {                                                                                                     \
        rapt_error error_ = {RAPT_OK, ""}, *error = &error_;                                                 \
        rapt_status status_ = (call);                                                                        \
        if (status_ != RAPT_OK) {                                                                            \
            fprintf(stderr, "embed: %s: %s: %s\n", #call, rapt_status_name(status_), error_.message);        \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

typedef struct app {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    uint32_t family;
    VkQueue queue;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkBuffer buffer; /* q, k, v and out, one after the other */
    VkDeviceMemory memory;
    float *mapped;
    int locks;
} app;

#define PART 8192 /* bytes of the buffer for each tensor */

static void lock_queue(void *user)
{
    ((app *)user)->locks++;
}

static void unlock_queue(void *user)
{
    ((app *)user)->locks--;
}

static int open_vulkan(app *a)
{
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_1};
    VkInstanceCreateInfo instance = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                     .pApplicationInfo = &application};
    VK(vkCreateInstance(&instance, NULL, &a->instance));
    uint32_t count = 1;
    VkResult listed = vkEnumeratePhysicalDevices(a->instance, &count, &a->physical);
    if ((listed != VK_SUCCESS && listed != VK_INCOMPLETE) || count == 0) {
        fprintf(stderr, "embed: no Vulkan device\n");
        return 1;
    }
    VkQueueFamilyProperties families[16];
    uint32_t family_count = 16;
    vkGetPhysicalDeviceQueueFamilyProperties(a->physical, &family_count, families);
    while (a->family < family_count && !(families[a->family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        a->family++;
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = a->family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo device = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                 .queueCreateInfoCount = 1,
                                 .pQueueCreateInfos = &queue};
    VK(vkCreateDevice(a->physical, &device, NULL, &a->device));
    vkGetDeviceQueue(a->device, a->family, 0, &a->queue);

    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = a->family};
    VK(vkCreateCommandPool(a->device, &pool, NULL, &a->pool));
    VkCommandBufferAllocateInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = a->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
    VK(vkAllocateCommandBuffers(a->device, &commands, &a->commands));
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VK(vkCreateFence(a->device, &fence, NULL, &a->fence));

    VkBufferCreateInfo buffer = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                 .size = 4 * PART,
                                 .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    VK(vkCreateBuffer(a->device, &buffer, NULL, &a->buffer));
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(a->device, a->buffer, &needs);
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(a->physical, &memory);
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = 0;
    while (type < memory.memoryTypeCount &&
           (!(needs.memoryTypeBits & 1u << type) || (memory.memoryTypes[type].propertyFlags & wanted) != wanted))
        type++;
    VkMemoryAllocateInfo allocation = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .allocationSize = needs.size,
                                       .memoryTypeIndex = type};
    VK(vkAllocateMemory(a->device, &allocation, NULL, &a->memory));
    VK(vkBindBufferMemory(a->device, a->buffer, a->memory, 0));
    void *mapped;
    VK(vkMapMemory(a->device, a->memory, 0, VK_WHOLE_SIZE, 0, &mapped));
    a->mapped = mapped;
    return 0;
}

static void close_vulkan(app *a)
{
    vkDestroyBuffer(a->device, a->buffer, NULL);
    vkFreeMemory(a->device, a->memory, NULL);
    vkDestroyFence(a->device, a->fence, NULL);
    vkDestroyCommandPool(a->device, a->pool, NULL);
    vkDestroyDevice(a->device, NULL);
    vkDestroyInstance(a->instance, NULL);
}

/* Largest difference to softmax(q k^T / sqrt(d)) v, causal, in double precision. */
static double largest_error(const float *q, const float *k, const float *v, const float *out)
{
    double worst = 0;
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < QUERIES; i++) {
            double score[KEYS], top = -INFINITY, sum = 0;
            const int visible = i + KEYS - QUERIES + 1;
            for (int j = 0; j < visible; j++) {
                score[j] = 0;
                for (int d = 0; d < DIM; d++)
                    score[j] += (double)q[(h * QUERIES + i) * DIM + d] * (double)k[(h * KEYS + j) * DIM + d];
                score[j] /= sqrt(DIM);
                top = fmax(top, score[j]);
            }
            for (int j = 0; j < visible; j++)
                sum += score[j] = exp(score[j] - top);
            for (int d = 0; d < DIM; d++) {
                double o = 0;
                for (int j = 0; j < visible; j++)
                    o += score[j] / sum * (double)v[(h * KEYS + j) * DIM + d];
                double error = fabs(o - (double)out[(h * QUERIES + i) * DIM + d]);
                worst = error == error ? fmax(worst, error) : INFINITY;
            }
        }
    return worst;
}

static int attend(app *a, rapt_device *device)
{
    float *q = a->mapped, *k = q + PART / 4, *v = k + PART / 4, *out = v + PART / 4;
    srand(1);
    for (int i = 0; i < 4 * PART / 4; i++)
        a->mapped[i] = i < 3 * PART / 4 ? (float)rand() / (float)RAND_MAX - 0.5f : NAN;

    rapt_buffer *buffer;
    rapt_vulkan_buffer wrap = RAPT_VULKAN_BUFFER_INIT;
    wrap.buffer = a->buffer;
    wrap.bytes = 4 * PART;
    wrap.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;
    wrap.mapped = a->mapped;
    RAPT(rapt_buffer_wrap(device, &wrap, &buffer, error));

    rapt_attention_desc desc = RAPT_ATTENTION_DESC_INIT;
    desc.flags = RAPT_ATTENTION_CAUSAL;
    desc.q = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, QUERIES, DIM);
    desc.k = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, KEYS, DIM);
    desc.v = desc.k;
    desc.out = desc.q;
    desc.q.usage = desc.k.usage = desc.v.usage = desc.out.usage = RAPT_BUFFER_STORAGE;
    rapt_plan *plan;
    RAPT(rapt_attention_plan(device, &desc, &plan, error));
    RAPT(rapt_plan_prepare(plan, error));

    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q = (rapt_slot){buffer, 0};
    args.k = (rapt_slot){buffer, PART};
    args.v = (rapt_slot){buffer, 2 * PART};
    args.out = (rapt_slot){buffer, 3 * PART};
    rapt_binding *binding;
    RAPT(rapt_attention_bind(plan, &args, &binding, error));

    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VK(vkBeginCommandBuffer(a->commands, &begin));
    RAPT(rapt_record(binding, a->commands, 0, UINT32_MAX, error));
    VK(vkEndCommandBuffer(a->commands));
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .commandBufferCount = 1,
                           .pCommandBuffers = &a->commands};
    VK(vkQueueSubmit(a->queue, 1, &submit, a->fence));
    VK(vkWaitForFences(a->device, 1, &a->fence, VK_TRUE, 60000000000ull));
    RAPT(rapt_check_completion(binding, error));

    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    RAPT(rapt_plan_describe(plan, &info, error));
    double worst = largest_error(q, k, v, out);
    printf("embed: rapt %s on %s: kernel %s, largest error %.2g\n", rapt_version_string(),
           rapt_device_caps(device)->device_name, info.kernel, worst);
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    rapt_buffer_destroy(&buffer);
    return worst < 1e-5 && a->locks == 0 ? 0 : 1;
}

int main(void)
{
    app a;
    memset(&a, 0, sizeof a);
    if (open_vulkan(&a) != 0)
        return 1;
    rapt_runtime *runtime;
    rapt_device *device;
    RAPT(rapt_runtime_create(NULL, &runtime, error));
    rapt_vulkan_device info = RAPT_VULKAN_DEVICE_INIT;
    info.get_instance_proc_addr = vkGetInstanceProcAddr;
    info.instance = a.instance;
    info.physical_device = a.physical;
    info.device = a.device;
    info.api_version = VK_API_VERSION_1_1;
    info.queue_family = a.family;
    info.queue = a.queue;
    info.lock_queue = lock_queue;
    info.unlock_queue = unlock_queue;
    info.lock_user = &a;
    RAPT(rapt_device_adopt(runtime, &info, &device, error));
    int bad = attend(&a, device);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
    close_vulkan(&a);
    return bad;
}
