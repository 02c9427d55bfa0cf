/* What fuzzers of plans share: host memory that ends, any device's capabilities, and words about a plan. */
#ifndef RAPT_FUZZ_PLAN_INPUT_H
#define RAPT_FUZZ_PLAN_INPUT_H

#include "input.h"

#include "plan/plan.h"

/* Host memory that ends, since steps of a hostile problem may be a million. */
typedef struct budget {
    size_t left;
} budget;

static inline void *budget_alloc(void *user, size_t size)
{
    budget *b = user;
    void *memory = size <= b->left ? malloc(size) : NULL;
    b->left -= memory ? size : 0;
    return memory;
}

static inline void budget_free(void *user, void *memory, size_t size)
{
    ((budget *)user)->left += memory ? size : 0;
    free(memory);
}

static inline void *budget_realloc(void *user, void *old, size_t old_size, size_t size)
{
    budget *b = user;
    if (size > b->left + old_size)
        return NULL;
    void *memory = realloc(old, size);
    if (memory)
        b->left = b->left + old_size - size;
    return memory;
}

static inline rapt_caps take_caps(input *in)
{
    rapt_caps caps;
    const uint8_t what = take_byte(in);
    rapt_caps_floor(&caps);
    caps.device_class = (rapt_device_class)(take_byte(in) % RAPT_CLASS_COUNT);
    caps.compute_units = (uint32_t)take_number(in);
    if (what & 1) {
        caps.features = what & 2 ? ~0ull >> (64 - RAPT_FEATURE_COUNT) : take_number(in);
        caps.subgroup_size = caps.subgroup_size_min = 1u << take_byte(in) % 8;
        caps.subgroup_size_max = caps.subgroup_size_min << take_byte(in) % 3;
        caps.max_shared_bytes = 65536;
        caps.max_invocations = caps.max_group_size[0] = 1024;
        caps.max_storage_range = UINT32_MAX;
        caps.max_texel_elements = 1u << 27;
        caps.coopmat_count = 2;
        caps.coopmat[0] = (rapt_coopmat_shape){8, 8, 16, 0, 0, 1, 1, 3};
        caps.coopmat[1] = (rapt_coopmat_shape){16, 16, 16, 0, 0, 1, 1, 3};
        caps.coopmat_flexible_count = 2;
        caps.coopmat_flexible[0] = (rapt_coopmat_flexible){32, 32, 16, 0, 0, 1, 1, 128};
        caps.coopmat_flexible[1] = (rapt_coopmat_flexible){32, 64, 32, 0, 0, 1, 1, 256};
        caps.coopmat2_max_dimension = 1024;
    }
    if (what & 4) { /* odd drivers: the quirks ask for these */
        caps.driver_id = take_byte(in);
        snprintf(caps.driver_info, sizeof caps.driver_info, "Mesa %u.1", take_byte(in));
    }
    if (what & 8)
        caps.max_storage_range = take_number(in) & UINT32_MAX; /* 32 bits in Vulkan */
    if (what & 16)
        caps.max_texel_elements = take_number(in) & UINT32_MAX;
    for (int axis = 0; axis < 3 && (what & 32); axis++) {
        const uint64_t most = take_number(in);
        caps.max_groups[axis] = (uint32_t)RAPT_MIN(RAPT_MAX(most, 1), UINT32_MAX);
    }
    if (what & 64) {
        caps.max_shared_bytes = (uint32_t)take_number(in);
        caps.max_invocations = (uint32_t)take_number(in);
        caps.max_storage_buffers = (uint32_t)take_number(in);
        caps.max_push_bytes = (uint32_t)take_number(in);
    }
    if (what & 128) /* powers of two, up to 256 */
        caps.storage_align = caps.texel_align = 1u << take_byte(in) % 9;
    return caps;
}

/* The same text whatever the room, and never beyond it. */
static inline void check_explain(const rapt_plan *plan, const char *failure)
{
    if (plan->step_count > 100)
        return;
    for (int format = RAPT_TEXT; format <= RAPT_JSON; format++) {
        char few[64];
        const size_t needed = rapt_plan_explain_to(plan, (rapt_text_format)format, failure, NULL, 0);
        char *all = malloc(needed);
        MUST(all);
        MUST(rapt_plan_explain_to(plan, (rapt_text_format)format, failure, all, needed) == needed);
        MUST(strlen(all) == needed - 1);
        MUST(rapt_plan_explain_to(plan, (rapt_text_format)format, failure, few, sizeof few) == needed);
        MUST(strlen(few) < sizeof few && strncmp(few, all, strlen(few)) == 0);
        free(all);
    }
}

#endif
