/* Pipelines, verdicts, and the disk caches of both. */
#include "vk/exec.h"

#include "common/attention_params.h"
#include "compiler/cache.h"
#include "compiler/user.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rapt_kernel_cache {
    rapt_mutex lock; /* guards everything here */
    rapt_kernel *kernels;
    VkPipelineCache pipelines;
    bool changed; /* pipelines were made since the cache was loaded */
    double flops_per_second;
};

/* What a probe's verdict looks like on disk. */
typedef struct stored_verdict {
    uint32_t verdict;
    char reason[160];
} stored_verdict;

static const rapt_hash pipelines_key = {0x70697065, 1};

/* A pipeline cache blob begins with the header that the specification defines; one for another device never
 * reaches the driver. */
static bool blob_matches(const rapt_device *device, const void *data, size_t size)
{
    uint32_t header[4];
    if (size < 32)
        return false;
    memcpy(header, data, sizeof header);
    return header[0] >= 32 && header[0] <= size && header[1] == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           header[2] == device->caps.vendor_id && header[3] == device->caps.device_id &&
           memcmp((const uint8_t *)data + 16, device->caps.pipeline_cache_uuid, 16) == 0;
}

rapt_status rapt_kernel_cache_create(rapt_device *device, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    struct rapt_kernel_cache *cache = rapt_calloc(a, 1, sizeof *cache);
    if (cache == NULL || !rapt_mutex_init(&cache->lock)) {
        rapt_free(a, cache, sizeof *cache);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the kernel cache");
    }
    void *data = NULL;
    size_t size = 0;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    if (rapt_store_read(&device->runtime->store, RAPT_STORE_PIPELINES, device->identity, pipelines_key, &data, &size) &&
        blob_matches(device, data, size)) {
        info.initialDataSize = size;
        info.pInitialData = data;
    }
    VkResult result = device->fn.vkCreatePipelineCache(device->handle, &info, NULL, &cache->pipelines);
    if (result != VK_SUCCESS && info.initialDataSize != 0) {
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        result = device->fn.vkCreatePipelineCache(device->handle, &info, NULL, &cache->pipelines);
    }
    if (data != NULL)
        rapt_free(a, data, size);
    if (result != VK_SUCCESS) {
        rapt_mutex_destroy(&cache->lock);
        rapt_free(a, cache, sizeof *cache);
        return rapt_vk_check(device, result, "vkCreatePipelineCache", error);
    }
    device->kernels = cache;
    return rapt_tuning_create(device, error);
}

/* Drivers that keep nothing answer with the bare header: not worth a file. */
static void save_pipelines(rapt_device *device)
{
    struct rapt_kernel_cache *cache = device->kernels;
    const rapt_allocator *a = &device->runtime->allocator;
    size_t size = 0;
    if (!cache->changed || atomic_load(&device->lost) ||
        device->fn.vkGetPipelineCacheData(device->handle, cache->pipelines, &size, NULL) != VK_SUCCESS || size <= 48)
        return;
    void *data = rapt_calloc(a, 1, size);
    if (data == NULL)
        return;
    size_t got = size;
    if (device->fn.vkGetPipelineCacheData(device->handle, cache->pipelines, &got, data) == VK_SUCCESS)
        rapt_store_write(&device->runtime->store, RAPT_STORE_PIPELINES, device->identity, pipelines_key, data, got);
    rapt_free(a, data, size);
}

static void destroy_objects(rapt_device *device, rapt_kernel *k)
{
    if (k->pipeline != VK_NULL_HANDLE)
        device->fn.vkDestroyPipeline(device->handle, k->pipeline, NULL);
    if (k->layout != VK_NULL_HANDLE)
        device->fn.vkDestroyPipelineLayout(device->handle, k->layout, NULL);
    if (k->set_layout != VK_NULL_HANDLE)
        device->fn.vkDestroyDescriptorSetLayout(device->handle, k->set_layout, NULL);
    k->pipeline = VK_NULL_HANDLE;
    k->layout = VK_NULL_HANDLE;
    k->set_layout = VK_NULL_HANDLE;
}

void rapt_kernel_cache_destroy(rapt_device *device)
{
    struct rapt_kernel_cache *cache = device->kernels;
    const rapt_allocator *a = &device->runtime->allocator;
    if (cache == NULL)
        return;
    rapt_tuning_destroy(device);
    save_pipelines(device);
    while (cache->kernels != NULL) {
        rapt_kernel *k = cache->kernels;
        cache->kernels = k->next;
        destroy_objects(device, k);
        rapt_free(a, k, sizeof *k);
    }
    device->fn.vkDestroyPipelineCache(device->handle, cache->pipelines, NULL);
    rapt_mutex_destroy(&cache->lock);
    rapt_free(a, cache, sizeof *cache);
    device->kernels = NULL;
}

/* Those that a row does not have are 0. */
static bool same_constants(const uint32_t *a, const uint32_t *b)
{
    return memcmp(a, b, RAPT_MAX_CONSTANTS * sizeof *a) == 0;
}

static rapt_kernel *find_locked(struct rapt_kernel_cache *cache, const rapt_plan_pipeline *p)
{
    const rapt_kernel_row *base = p->base != NULL ? p->base : p->row;
    for (rapt_kernel *k = cache->kernels; k != NULL; k = k->next)
        if (k->base == base && k->form == p->form && rapt_hash_equal(k->code, p->code) &&
            same_constants(k->constants, p->constants))
            return k;
    return NULL;
}

rapt_kernel *rapt_kernel_find(rapt_device *device, const rapt_plan_pipeline *pipeline)
{
    struct rapt_kernel_cache *cache = device->kernels;
    rapt_mutex_lock(&cache->lock);
    rapt_kernel *k = find_locked(cache, pipeline);
    if (k == NULL) {
        k = rapt_calloc(&device->runtime->allocator, 1, sizeof *k);
        if (k != NULL) {
            k->row = pipeline->row;
            k->base = pipeline->base != NULL ? pipeline->base : pipeline->row;
            k->form = pipeline->form;
            k->code = pipeline->code;
            if (k->row != k->base) {
                k->own_row = *pipeline->row;
                memcpy(k->own_operands, pipeline->row->operands,
                       pipeline->row->operand_count * sizeof k->own_operands[0]);
                memcpy(k->own_constants, pipeline->row->constants,
                       pipeline->row->constant_count * sizeof k->own_constants[0]);
                k->own_row.operands = k->own_operands;
                k->own_row.constants = k->own_constants;
                k->row = &k->own_row;
            }
            memcpy(k->constants, pipeline->constants, sizeof k->constants);
            k->next = cache->kernels;
            cache->kernels = k;
        }
    }
    rapt_mutex_unlock(&cache->lock);
    return k;
}

rapt_kernel *rapt_kernel_probed(rapt_device *device, const rapt_plan_pipeline *pipeline)
{
    rapt_plan_pipeline any = *pipeline;
    any.code = (rapt_hash){0, 0};
    return rapt_kernel_find(device, &any);
}

/* The module's SPIR-V as it is built in. */
static rapt_status unpack_spirv(const rapt_runtime *rt, const rapt_kernel_module *module, uint32_t **words, size_t *count,
                                rapt_error *error)
{
    *count = module->words;
    *words = rapt_calloc(&rt->allocator, *count, sizeof **words);
    if (*words == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %s", module->shader);
    const rapt_status status = rapt_kernel_unpack(module, &rt->allocator, *words, error);
    if (status != RAPT_OK) {
        rapt_free(&rt->allocator, *words, *count * sizeof **words);
        *words = NULL;
        return status;
    }
    if (rt->dump_dir[0] != 0) {
        char path[1200];
        snprintf(path, sizeof path, "%s/%s.spv", rt->dump_dir, module->hash);
        rapt_error failed;
        if (!rapt_make_dirs(rt->dump_dir) || rapt_file_replace(path, *words, *count * sizeof **words, &failed))
            rapt_log_write(&rt->log, RAPT_LOG_WARNING, "cannot dump %s", path);
        else
            rapt_log_write(&rt->log, RAPT_LOG_INFO, "dumped %s (%s %s)", path, module->shader, module->defines);
    }
    return RAPT_OK;
}

/* The app's replacement of a module from the override folder, or *words NULL where there is none. */
static rapt_status override_spirv(const rapt_runtime *rt, const rapt_kernel_module *module, uint32_t **words, size_t *count,
                                  rapt_error *error)
{
    char path[1200];
    void *file;
    size_t size;
    *words = NULL;
    if (rt->override_dir[0] == 0)
        return RAPT_OK;
    snprintf(path, sizeof path, "%s/%s.spv", rt->override_dir, module->hash);
    if (rapt_file_read(&rt->allocator, path, 64u << 20, &file, &size, NULL) != RAPT_OK)
        return RAPT_OK;
    if (size < 20 || size % 4 != 0 || *(const uint32_t *)file != 0x07230203u) {
        rapt_free(&rt->allocator, file, size);
        return rapt_fail(error, RAPT_ERROR_COMPILE, "the override %s is not SPIR-V", path);
    }
    rapt_log_write(&rt->log, RAPT_LOG_WARNING, "%s replaces %s %s", path, module->shader, module->defines);
    *words = file;
    *count = size / 4;
    return RAPT_OK;
}

/* The module's SPIR-V, the app's or ours: *count words, to be freed by the caller. */
static rapt_status load_spirv(const rapt_runtime *rt, const rapt_kernel_module *module, uint32_t **words, size_t *count,
                              rapt_error *error)
{
    uint32_t *ours = NULL;
    size_t ours_count = 0;
    rapt_status status = override_spirv(rt, module, words, count, error);
    if (status != RAPT_OK || (*words != NULL && rt->dump_dir[0] == 0))
        return status;
    status = unpack_spirv(rt, module, &ours, &ours_count, error); /* what is dumped is always ours */
    if (*words != NULL) {
        rapt_free(&rt->allocator, ours, ours_count * sizeof *ours);
        return status;
    }
    *words = ours;
    *count = ours_count;
    return status;
}

/* The stock source of a module with code of an app in it, compiled now or before. */
static rapt_status compile_user(rapt_device *device, const rapt_kernel *k, uint32_t **words, size_t *count,
                                rapt_error *error)
{
    rapt_runtime *rt = device->runtime;
    const rapt_kernel_module *module = &rapt_kernels()->modules[k->row->module];
    const rapt_compiler_api *api;
    rapt_status status = rapt_runtime_compiler(rt, &api, error);
    if (status != RAPT_OK)
        return status;
    const size_t size = strlen(module->defines) + sizeof k->user->defines + 2;
    char *defines = rapt_calloc(&rt->allocator, size, 1);
    if (defines == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for definitions");
    snprintf(defines, size, "%s %s", module->defines, k->user->defines);
    const rapt_compile_request request = {.source_name = module->shader,
                                          .defines = defines,
                                          .vulkan_minor = module->vulkan_minor,
                                          .files = k->user->files,
                                          .file_count = k->user->file_count};
    uint64_t begin = rapt_now_ns();
    bool cached;
    rapt_error why = {0};
    status = rapt_compile_cached(&rt->store, api, &request, words, count, &cached, NULL, &why);
    rapt_free(&rt->allocator, defines, size);
    if (status == RAPT_OK)
        rapt_log_write(&rt->log, RAPT_LOG_DEBUG, "%s with the app's code: %s in %.1f ms", k->row->name,
                       cached ? "found" : "compiled", (double)(rapt_now_ns() - begin) * 1e-6);
    /* The stock source is known to compile, but for extensions that this compiler may be too old for: another row then. What
     * else is wrong is wrong with the app's code, on every row. */
    if (status == RAPT_ERROR_COMPILE && strstr(why.message, RAPT_EXTENSION_UNKNOWN) == NULL) {
        status = why.status = RAPT_ERROR_INVALID;
        rapt_snippet_unprefix(why.message);
    }
    if (status != RAPT_OK && error != NULL)
        *error = why;
    return status;
}

static VkDescriptorType operand_type(uint8_t kind)
{
    return kind == RAPT_OPERAND_STORAGE ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER : VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
}

static rapt_status make_layouts(rapt_device *device, rapt_kernel *k, rapt_error *error)
{
    VkDescriptorSetLayoutBinding bindings[RAPT_MAX_OPERANDS + 1] = {
        {RAPT_BIND_PARAMS, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL}};
    uint32_t count = 1;
    for (uint32_t i = 0; i < k->row->operand_count; i++) {
        const rapt_kernel_operand *op = &k->row->operands[i];
        bool known = false;
        for (uint32_t j = 1; j < count; j++)
            known |= bindings[j].binding == op->binding;
        if (!known)
            bindings[count++] = (VkDescriptorSetLayoutBinding){op->binding, operand_type(op->kind), 1,
                                                               VK_SHADER_STAGE_COMPUTE_BIT, NULL};
    }
    VkDescriptorSetLayoutCreateInfo sets = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                            .bindingCount = count,
                                            .pBindings = bindings};
    rapt_status status = rapt_vk_check(
        device, device->fn.vkCreateDescriptorSetLayout(device->handle, &sets, NULL, &k->set_layout),
        "vkCreateDescriptorSetLayout", error);
    if (status != RAPT_OK)
        return status;
    VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, RAPT_PUSH_WORDS * 4};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &k->set_layout,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &push};
    return rapt_vk_check(device, device->fn.vkCreatePipelineLayout(device->handle, &layout, NULL, &k->layout),
                         "vkCreatePipelineLayout", error);
}

static rapt_status make_pipeline(rapt_device *device, rapt_kernel *k, VkPipelineCreateFlags flags,
                                 rapt_error *error)
{
    const rapt_kernel_row *row = k->row;
    const rapt_kernel_module *module = &rapt_kernels()->modules[row->module];
    uint32_t *words = NULL;
    size_t count = 0;
    VkShaderModule shader = VK_NULL_HANDLE;
    rapt_status status = k->user != NULL ? compile_user(device, k, &words, &count, error)
                                         : load_spirv(device->runtime, module, &words, &count, error);
    if (status == RAPT_OK)
        status = make_layouts(device, k, error);
    if (status != RAPT_OK)
        goto done;
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = count * 4,
                                            .pCode = words};
    status = rapt_vk_check(device, device->fn.vkCreateShaderModule(device->handle, &module_info, NULL, &shader),
                           "vkCreateShaderModule", error);
    if (status != RAPT_OK)
        goto done;
    VkSpecializationMapEntry entries[RAPT_MAX_CONSTANTS];
    for (uint32_t i = 0; i < row->constant_count; i++)
        entries[i] = (VkSpecializationMapEntry){row->constants[i].id, i * 4, 4};
    VkSpecializationInfo constants = {row->constant_count, entries, row->constant_count * 4, k->constants};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = row->subgroup_exact};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = flags,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = shader,
                  .pName = "main",
                  .pSpecializationInfo = row->constant_count ? &constants : NULL},
        .layout = k->layout,
        .basePipelineIndex = -1};
    if (row->subgroup_exact != 0 && (device->caps.features & RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL))) {
        info.stage.pNext = &subgroup;
        if ((device->caps.features & RAPT_FEATURE_BIT(FULL_SUBGROUPS)) && row->local_size % row->subgroup_exact == 0)
            info.stage.flags |= VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    }
    VkResult result = device->fn.vkCreateComputePipelines(device->handle, device->kernels->pipelines, 1, &info, NULL,
                                                          &k->pipeline);
    if (result != VK_SUCCESS) {
        k->pipeline = VK_NULL_HANDLE;
        status = rapt_vk_check(device, result, "vkCreateComputePipelines", error);
        if (status == RAPT_ERROR_VULKAN)
            status = rapt_fail(error, RAPT_ERROR_COMPILE, "the driver cannot compile kernel '%s': %s", row->name,
                               rapt_vk_result_name(result));
    }
done:
    if (shader != VK_NULL_HANDLE)
        device->fn.vkDestroyShaderModule(device->handle, shader, NULL);
    rapt_free(&device->runtime->allocator, words, count * sizeof *words);
    if (status != RAPT_OK)
        destroy_objects(device, k);
    return status;
}

rapt_status rapt_kernel_compile(rapt_device *device, rapt_kernel *kernel, const struct rapt_user_code *user,
                                rapt_error *error)
{
    rapt_kernel made;
    rapt_mutex_lock(&device->kernels->lock);
    bool there = kernel->pipeline != VK_NULL_HANDLE;
    made = *kernel;
    made.user = user;
    rapt_mutex_unlock(&device->kernels->lock);
    if (there)
        return RAPT_OK;
    /* Compiled outside the lock: two threads may do the same work, one result is kept. */
    uint64_t begin = rapt_now_ns();
    rapt_status status = make_pipeline(device, &made, 0, error);
    if (status != RAPT_OK)
        return status;
    rapt_log_write(&device->runtime->log, RAPT_LOG_DEBUG, "pipeline %s made in %.1f ms", made.row->name,
                   (double)(rapt_now_ns() - begin) * 1e-6);
    rapt_mutex_lock(&device->kernels->lock);
    if (kernel->pipeline == VK_NULL_HANDLE) {
        kernel->pipeline = made.pipeline;
        kernel->layout = made.layout;
        kernel->set_layout = made.set_layout;
        device->kernels->changed = true;
        there = true;
    }
    rapt_mutex_unlock(&device->kernels->lock);
    if (!there)
        destroy_objects(device, &made);
    return RAPT_OK;
}

static rapt_hash verdict_key(const rapt_kernel *k)
{
    const rapt_kernel_row *row = k->row;
    rapt_hash h = rapt_hash_bytes(RAPT_HASH_INIT, row->name, strlen(row->name) + 1);
    h = rapt_hash_bytes(h, rapt_kernels()->modules[row->module].hash, 32);
    h = rapt_hash_bytes(h, k->constants, row->constant_count * sizeof *k->constants);
    if (k->form == 0)
        return h;
    h = rapt_hash_bytes(h, &k->form, sizeof k->form);
    return rapt_hash_bytes(h, &k->code, sizeof k->code);
}

/* A bad verdict stays, and so do its words, which others may be reading: false. */
static bool set_verdict(rapt_device *device, rapt_kernel *kernel, const stored_verdict *v)
{
    rapt_mutex_lock(&device->kernels->lock);
    const bool open = kernel->verdict != RAPT_VERDICT_BAD;
    if (open) {
        memcpy(kernel->reason, v->reason, sizeof v->reason);
        kernel->verdict = (rapt_verdict_kind)v->verdict;
    }
    rapt_mutex_unlock(&device->kernels->lock);
    return open;
}

rapt_verdict_kind rapt_kernel_verdict(rapt_device *device, rapt_kernel *kernel)
{
    rapt_mutex_lock(&device->kernels->lock);
    rapt_verdict_kind verdict = kernel->verdict;
    rapt_mutex_unlock(&device->kernels->lock);
    if (verdict != RAPT_VERDICT_UNKNOWN)
        return verdict;
    void *data;
    size_t size;
    /* An overridden kernel is not the one that was probed. */
    if (device->runtime->override_dir[0] != 0 ||
        !rapt_store_read(&device->runtime->store, RAPT_STORE_PROBES, device->identity, verdict_key(kernel), &data,
                         &size))
        return RAPT_VERDICT_UNKNOWN;
    if (size == sizeof(stored_verdict)) {
        stored_verdict v;
        memcpy(&v, data, sizeof v);
        v.reason[sizeof v.reason - 1] = 0;
        if (v.verdict == RAPT_VERDICT_GOOD || v.verdict == RAPT_VERDICT_BAD) {
            verdict = set_verdict(device, kernel, &v) ? (rapt_verdict_kind)v.verdict : RAPT_VERDICT_BAD;
        }
    }
    rapt_free(&device->runtime->allocator, data, size);
    return verdict;
}

void rapt_kernel_note(rapt_device *device, rapt_kernel *kernel, rapt_verdict_kind verdict, bool lasting,
                      const char *reason)
{
    stored_verdict v = {.verdict = (uint32_t)verdict};
    snprintf(v.reason, sizeof v.reason, "%s", reason ? reason : "");
    if (set_verdict(device, kernel, &v) && lasting && device->runtime->override_dir[0] == 0)
        rapt_store_write(&device->runtime->store, RAPT_STORE_PROBES, device->identity, verdict_key(kernel), &v,
                         sizeof v);
}

rapt_status rapt_device_kernel_use(rapt_device *device, uint32_t index, rapt_kernel_use *use, rapt_error *error)
{
    const rapt_kernel_table *table = rapt_kernels();
    if (device == NULL || use == NULL || use->struct_size < sizeof *use)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s",
                         device == NULL ? "device is NULL"
                         : use == NULL  ? "use is NULL"
                                        : "rapt_kernel_use.struct_size: use RAPT_KERNEL_USE_INIT");
    if (index >= table->row_count)
        return rapt_fail(error, RAPT_ERROR_INVALID, "kernel %u of %u", index, table->row_count);
    *use = (rapt_kernel_use){.struct_size = use->struct_size};
    rapt_mutex_lock(&device->kernels->lock);
    for (const rapt_kernel *k = device->kernels->kernels; k != NULL; k = k->next) {
        if (k->base != &table->rows[index])
            continue;
        use->pipelines += k->pipeline != VK_NULL_HANDLE;
        use->proven += k->verdict == RAPT_VERDICT_GOOD;
        use->wrong += k->verdict == RAPT_VERDICT_BAD;
        if (k->verdict == RAPT_VERDICT_BAD)
            snprintf(use->reason, sizeof use->reason, "%s", k->reason);
    }
    rapt_mutex_unlock(&device->kernels->lock);
    return RAPT_OK;
}

static rapt_verdict_kind lookup(void *user, const rapt_plan_pipeline *pipeline, const char **reason)
{
    rapt_device *device = user;
    rapt_plan_pipeline any = *pipeline; /* see rapt_kernel_probed */
    any.code = (rapt_hash){0, 0};
    rapt_mutex_lock(&device->kernels->lock);
    rapt_kernel *k = find_locked(device->kernels, pipeline);
    if (k == NULL || k->verdict != RAPT_VERDICT_BAD)
        k = find_locked(device->kernels, &any);
    rapt_verdict_kind verdict = k ? k->verdict : RAPT_VERDICT_UNKNOWN;
    if (verdict == RAPT_VERDICT_BAD && reason != NULL)
        *reason = k->reason;
    rapt_mutex_unlock(&device->kernels->lock);
    return verdict;
}

rapt_verdicts rapt_device_verdicts(rapt_device *device)
{
    rapt_mutex_lock(&device->kernels->lock);
    rapt_verdicts v = {.lookup = lookup,
                       .user = device,
                       .flops_per_second = device->kernels->flops_per_second,
                       .tuned = rapt_tuning_find,
                       .blocked = rapt_tuning_blocked};
    rapt_mutex_unlock(&device->kernels->lock);
    return v;
}

double rapt_device_throughput(rapt_device *device, const double *replace)
{
    rapt_mutex_lock(&device->kernels->lock);
    double was = device->kernels->flops_per_second;
    if (replace != NULL)
        device->kernels->flops_per_second = *replace;
    rapt_mutex_unlock(&device->kernels->lock);
    return was;
}

void rapt_device_note_throughput(rapt_device *device, double flops, double seconds)
{
    if (seconds < 5e-3 || flops <= 0) /* too short to tell */
        return;
    struct rapt_kernel_cache *cache = device->kernels;
    rapt_mutex_lock(&cache->lock);
    double now = flops / seconds;
    cache->flops_per_second = cache->flops_per_second > 0 ? 0.75 * cache->flops_per_second + 0.25 * now : now;
    rapt_mutex_unlock(&cache->lock);
}

/* ---- driver statistics */

static void add_statistic(rapt_text *out, bool json, bool first, const VkPipelineExecutableStatisticKHR *s)
{
    if (json) {
        rapt_text_add(out, "%s{\"name\":", first ? "" : ",");
        rapt_text_add_json(out, s->name);
        rapt_text_add(out, ",\"value\":");
    } else {
        rapt_text_add(out, "  %-36s ", s->name);
    }
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        rapt_text_add(out, "%s", s->value.b32 ? "true" : "false");
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        rapt_text_add(out, "%lld", (long long)s->value.i64);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        rapt_text_add(out, "%llu", (unsigned long long)s->value.u64);
        break;
    default:
        rapt_text_add(out, "%g", s->value.f64);
        break;
    }
    rapt_text_add(out, json ? "}" : "\n");
}

static void add_internal(rapt_device *device, VkPipelineExecutableInfoKHR *which, rapt_text *out, bool json)
{
    const rapt_allocator *a = &device->runtime->allocator;
    VkPipelineExecutableInternalRepresentationKHR irs[16];
    uint32_t count = RAPT_COUNT(irs);
    if (device->fn.vkGetPipelineExecutableInternalRepresentationsKHR == NULL)
        return;
    memset(irs, 0, sizeof irs);
    for (uint32_t i = 0; i < count; i++)
        irs[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
    if (device->fn.vkGetPipelineExecutableInternalRepresentationsKHR(device->handle, which, &count, irs) < 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        irs[i].pData = rapt_calloc(a, 1, irs[i].dataSize + 1);
        if (irs[i].pData == NULL)
            irs[i].dataSize = 0;
    }
    size_t sizes[16];
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = irs[i].dataSize;
    device->fn.vkGetPipelineExecutableInternalRepresentationsKHR(device->handle, which, &count, irs);
    for (uint32_t i = 0; i < count; i++) {
        if (irs[i].pData != NULL && irs[i].isText) {
            if (json) {
                rapt_text_add(out, ",\"internal %s\":", irs[i].name);
                rapt_text_add_json(out, irs[i].pData);
            } else {
                rapt_text_add(out, "---- %s\n%s\n", irs[i].name, (const char *)irs[i].pData);
            }
        }
        if (irs[i].pData != NULL)
            rapt_free(a, irs[i].pData, sizes[i] + 1);
    }
}

rapt_status rapt_kernel_driver_text(rapt_device *device, const rapt_plan_pipeline *pipeline, rapt_text_format format,
                                    bool internal, rapt_text *out, rapt_error *error)
{
    bool json = format == RAPT_JSON;
    if (!(device->caps.features & RAPT_FEATURE_BIT(PIPELINE_STATISTICS)) ||
        device->fn.vkGetPipelineExecutablePropertiesKHR == NULL ||
        device->fn.vkGetPipelineExecutableStatisticsKHR == NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s gives no pipeline statistics", device->caps.device_name);
    rapt_kernel k = {.row = pipeline->row};
    memcpy(k.constants, pipeline->constants, sizeof k.constants);
    rapt_status status =
        make_pipeline(device, &k,
                      VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR |
                          (internal ? VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR : 0u),
                      error);
    if (status != RAPT_OK)
        return status;
    VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = k.pipeline};
    VkPipelineExecutablePropertiesKHR properties[8];
    VkPipelineExecutableStatisticKHR statistics[64];
    uint32_t count = RAPT_COUNT(properties);
    memset(properties, 0, sizeof properties);
    for (uint32_t i = 0; i < count; i++)
        properties[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    if (device->fn.vkGetPipelineExecutablePropertiesKHR(device->handle, &info, &count, properties) < 0)
        count = 0;
    rapt_text_add(out, json ? "{\"kernel\":\"%s\",\"executables\":[" : "kernel %s\n", pipeline->row->name);
    for (uint32_t e = 0; e < count; e++) {
        VkPipelineExecutableInfoKHR which = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                             .pipeline = k.pipeline,
                                             .executableIndex = e};
        uint32_t stats = RAPT_COUNT(statistics);
        memset(statistics, 0, sizeof statistics);
        for (uint32_t i = 0; i < stats; i++)
            statistics[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
        if (device->fn.vkGetPipelineExecutableStatisticsKHR(device->handle, &which, &stats, statistics) < 0)
            stats = 0;
        if (json) {
            rapt_text_add(out, "%s{\"name\":", e ? "," : "");
            rapt_text_add_json(out, properties[e].name);
            rapt_text_add(out, ",\"subgroup_size\":%u,\"statistics\":[", properties[e].subgroupSize);
        } else {
            rapt_text_add(out, "%s, subgroup size %u\n", properties[e].name, properties[e].subgroupSize);
        }
        for (uint32_t i = 0; i < stats; i++)
            add_statistic(out, json, i == 0, &statistics[i]);
        if (json)
            rapt_text_add(out, "]");
        if (internal)
            add_internal(device, &which, out, json);
        if (json)
            rapt_text_add(out, "}");
    }
    if (json)
        rapt_text_add(out, "]}");
    destroy_objects(device, &k);
    return RAPT_OK;
}
