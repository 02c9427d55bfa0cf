/* Any text as a capability mask: it lowers what a device can do, or changes nothing and says why. */
#include "input.h"

#include "base/base.h"
#include <rapt/caps.h>

static void fill(rapt_caps *caps)
{
    rapt_caps_floor(caps);
    caps->device_class = RAPT_CLASS_NVIDIA;
    caps->api_version = (1u << 22) | (3u << 12);
    caps->features = (1ull << RAPT_FEATURE_COUNT) - 1;
    caps->subgroup_size = 32;
    caps->subgroup_size_min = 8;
    caps->subgroup_size_max = 64;
    caps->max_shared_bytes = 65536;
    caps->max_invocations = 1024;
    for (int axis = 0; axis < 3; axis++) {
        caps->max_group_size[axis] = 1024;
        caps->max_groups[axis] = INT32_MAX;
    }
    caps->max_storage_buffers = 1u << 20;
    caps->max_push_bytes = 256;
    caps->max_storage_range = UINT32_MAX;
    caps->max_texel_elements = 1u << 27;
    caps->max_allocation = 1ull << 40;
    caps->storage_align = caps->uniform_align = caps->texel_align = 16;
    caps->coopmat_count = 1;
    caps->coopmat[0] = (rapt_coopmat_shape){16, 16, 16, 0, 0, 1, 1, 3};
    caps->coopmat_flexible_count = 1;
    caps->coopmat_flexible[0] = (rapt_coopmat_flexible){32, 32, 16, 0, 0, 1, 1, 128};
}

static bool lower(const rapt_caps *a, const rapt_caps *b)
{
    bool good = (a->features & ~b->features) == 0 && a->max_shared_bytes <= b->max_shared_bytes &&
                a->max_invocations <= b->max_invocations && a->max_storage_buffers <= b->max_storage_buffers &&
                a->max_push_bytes <= b->max_push_bytes && a->max_storage_range <= b->max_storage_range &&
                a->max_texel_elements <= b->max_texel_elements && a->max_allocation <= b->max_allocation &&
                a->storage_align >= b->storage_align && a->uniform_align >= b->uniform_align &&
                a->texel_align >= b->texel_align && a->coopmat_count <= b->coopmat_count &&
                a->coopmat_flexible_count <= b->coopmat_flexible_count;
    for (int axis = 0; axis < 3; axis++)
        good = good && a->max_group_size[axis] <= b->max_group_size[axis] &&
               a->max_groups[axis] <= b->max_groups[axis] && a->max_group_size[axis] <= b->max_invocations;
    return good && a->subgroup_size_min <= a->subgroup_size_max && a->subgroup_size_max <= b->subgroup_size_max;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rapt_caps before, after, again;
    rapt_error error = {0};
    char *spec = malloc(size + 1);
    MUST(spec);
    if (size > 0)
        memcpy(spec, data, size);
    spec[size] = '\0';
    fill(&before);
    after = before;
    const rapt_status status = rapt_caps_mask(&after, spec, &error);
    if (status == RAPT_OK) {
        MUST(error.status == RAPT_OK);
        MUST(lower(&after, &before));
        MUST(after.masked == (memcmp(&after, &before, sizeof after) != 0));
        again = after; /* "range=6,range=3" is refused the second time, or else there is nothing left to lower */
        if (rapt_caps_mask(&again, spec, NULL) == RAPT_OK)
            MUST(memcmp(&again, &after, sizeof again) == 0);
    } else {
        MUST(status == RAPT_ERROR_INVALID && error.status == status && error.message[0]);
        MUST(memcmp(&after, &before, sizeof after) == 0);
    }
    free(spec);
    return 0;
}
