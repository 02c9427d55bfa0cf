/* What pipestats must know of a SPIR-V compute module to make its pipeline: capabilities, descriptor
 * bindings, specialization constants, workgroup size and shared memory under given constants. */
#ifndef RAPT_LAB_SPIRV_MODULE_H
#define RAPT_LAB_SPIRV_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vulkan/vulkan_core.h>

enum { SPIRV_MAX_CAPABILITIES = 64, SPIRV_MAX_BINDINGS = 64, SPIRV_MAX_CONSTANTS = 128 };

typedef struct {
    uint32_t set, binding, count;
    VkDescriptorType type;
} SpirvBinding;

typedef struct {
    uint32_t constant_id;
    uint32_t size; /* bytes in a VkSpecializationMapEntry */
    bool is_float;
    uint64_t value; /* the default, or what spirv_specialize stored */
    bool specialized;
} SpirvConstant;

typedef struct SpirvInstruction SpirvInstruction;

typedef struct {
    const uint32_t *words;
    size_t word_count;
    uint32_t version; /* VK_MAKE_API_VERSION(0, major, minor, 0) */
    char entry_point[64];
    bool uses_push_constants;
    uint32_t capabilities[SPIRV_MAX_CAPABILITIES], capability_count;
    SpirvBinding bindings[SPIRV_MAX_BINDINGS];
    uint32_t binding_count;
    SpirvConstant constants[SPIRV_MAX_CONSTANTS];
    uint32_t constant_count;

    SpirvInstruction *ids; /* by result id */
    uint32_t id_bound;
    char error[256];
} SpirvModule;

/* Each of these returns false with a message in module->error when the module is malformed or beyond what
 * is understood here. `words` must outlive the module. */
bool spirv_parse(SpirvModule *module, const uint32_t *words, size_t word_count);
bool spirv_workgroup(SpirvModule *module, uint32_t local_size[3], uint64_t *shared_bytes);

/* Sets constant `constant_id` from text; false when the text is no such value. A module without that
 * constant ignores it (as Vulkan does), and *found says so. */
bool spirv_specialize(SpirvModule *module, uint32_t constant_id, const char *text, bool *found);

void spirv_release(SpirvModule *module);

#endif
