/* Capabilities as data: names, the floor, and the mask that lowers. No Vulkan here. */
#include "base/base.h"
#include <rapt/caps.h>
#include <string.h>

const char *rapt_class_name(rapt_device_class device_class)
{
    switch (device_class) {
    case RAPT_CLASS_OTHER:
        return "other";
    case RAPT_CLASS_SOFTWARE:
        return "software";
    case RAPT_CLASS_AMD_RDNA:
        return "amd-rdna";
    case RAPT_CLASS_AMD_GCN:
        return "amd-gcn";
    case RAPT_CLASS_NVIDIA:
        return "nvidia";
    case RAPT_CLASS_INTEL:
        return "intel";
    case RAPT_CLASS_ADRENO:
        return "adreno";
    case RAPT_CLASS_MALI:
        return "mali";
    case RAPT_CLASS_APPLE:
        return "apple";
    case RAPT_CLASS_V3D:
        return "v3d";
    case RAPT_CLASS_POWERVR:
        return "powervr";
    case RAPT_CLASS_NVK:
        return "nvk";
    case RAPT_CLASS_COUNT:
        break;
    }
    return NULL;
}

static const struct {
    const char *name, *meaning;
} feature_texts[RAPT_FEATURE_COUNT] = {
#define RAPT_X(id, name, text) {name, text},
    RAPT_FEATURES(RAPT_X)
#undef RAPT_X
};

const char *rapt_feature_name(uint32_t index)
{
    return index < RAPT_FEATURE_COUNT ? feature_texts[index].name : NULL;
}

const char *rapt_feature_meaning(uint32_t index)
{
    return index < RAPT_FEATURE_COUNT ? feature_texts[index].meaning : NULL;
}

#define VULKAN_1_1 ((1u << 22) | (1u << 12))

void rapt_caps_floor(rapt_caps *caps)
{
    if (caps == NULL)
        return;
    *caps = (rapt_caps){
        .struct_size = sizeof *caps,
        .device_class = RAPT_CLASS_OTHER,
        .device_name = "floor",
        .driver_name = "none",
        .api_version = VULKAN_1_1,
        .subgroup_size = 1,
        .subgroup_size_min = 1,
        .subgroup_size_max = 1,
        .max_shared_bytes = 16384,
        .max_invocations = 128,
        .max_group_size = {128, 128, 64},
        .max_groups = {65535, 65535, 65535},
        .max_storage_buffers = 8,
        .max_push_bytes = 128,
        .max_storage_range = 1ull << 27,
        .max_uniform_range = 16384,
        .max_texel_elements = 65536,
        .max_allocation = 1ull << 30,
        .storage_align = 256,
        .uniform_align = 256,
        .texel_align = 256,
    };
}

static const uint64_t subgroup_features =
    RAPT_FEATURE_BIT(SUBGROUP_BASIC) | RAPT_FEATURE_BIT(SUBGROUP_VOTE) |
    RAPT_FEATURE_BIT(SUBGROUP_BALLOT) | RAPT_FEATURE_BIT(SUBGROUP_ARITHMETIC) | RAPT_FEATURE_BIT(SUBGROUP_SHUFFLE) |
    RAPT_FEATURE_BIT(SUBGROUP_CLUSTERED) | RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL) |
    RAPT_FEATURE_BIT(FULL_SUBGROUPS);

/* Clears features and what other members say of them. */
static void drop_features(rapt_caps *caps, uint64_t bits)
{
    if ((bits & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX)) != 0)
        bits |= RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2);
    caps->features &= ~bits;
    if ((caps->features & RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL)) == 0) {
        caps->subgroup_size_min = caps->subgroup_size;
        caps->subgroup_size_max = caps->subgroup_size;
    }
    if ((caps->features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX)) == 0) {
        caps->coopmat_count = 0;
        memset(caps->coopmat, 0, sizeof caps->coopmat);
    }
    if ((caps->features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2)) == 0) {
        caps->coopmat2_max_dimension = 0;
        caps->coopmat2_shared_bytes = 0;
        caps->coopmat_flexible_count = 0;
        memset(caps->coopmat_flexible, 0, sizeof caps->coopmat_flexible);
    }
}

static void lower_u32(uint32_t *value, uint32_t limit)
{
    *value = RAPT_MIN(*value, limit);
}

static void lower_u64(uint64_t *value, uint64_t limit)
{
    *value = RAPT_MIN(*value, limit);
}

static void lower_to_floor(rapt_caps *caps)
{
    rapt_caps least;
    rapt_caps_floor(&least);
    lower_u32(&caps->api_version, least.api_version);
    lower_u32(&caps->subgroup_size, least.subgroup_size);
    drop_features(caps, ~0ull);
    lower_u32(&caps->max_shared_bytes, least.max_shared_bytes);
    lower_u32(&caps->max_invocations, least.max_invocations);
    for (int axis = 0; axis < 3; axis++) {
        lower_u32(&caps->max_group_size[axis], least.max_group_size[axis]);
        lower_u32(&caps->max_groups[axis], least.max_groups[axis]);
    }
    lower_u32(&caps->max_storage_buffers, least.max_storage_buffers);
    lower_u32(&caps->max_push_bytes, least.max_push_bytes);
    lower_u64(&caps->max_storage_range, least.max_storage_range);
    lower_u64(&caps->max_uniform_range, least.max_uniform_range);
    lower_u64(&caps->max_texel_elements, least.max_texel_elements);
    lower_u64(&caps->max_allocation, least.max_allocation);
    /* A stricter alignment is the lesser capability. */
    caps->storage_align = RAPT_MAX(caps->storage_align, least.storage_align);
    caps->uniform_align = RAPT_MAX(caps->uniform_align, least.uniform_align);
    caps->texel_align = RAPT_MAX(caps->texel_align, least.texel_align);
}

/* `word` as it is shown in messages: cut where it is absurdly long. */
#define WORD_SHOWN(length) ((int)RAPT_MIN((length), (size_t)80))

/* Decimal digits only, at least one. */
static bool parse_number(const char *text, size_t length, uint64_t *out)
{
    uint64_t value = 0;
    if (length == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        if (!rapt_mul_u64(value, 10, &value) || !rapt_add_u64(value, (uint64_t)(text[i] - '0'), &value))
            return false;
    }
    *out = value;
    return true;
}

static bool word_is(const char *word, size_t length, const char *name)
{
    return strlen(name) == length && memcmp(word, name, length) == 0;
}

static rapt_status mask_feature(rapt_caps *caps, const char *word, size_t length, rapt_error *error)
{
    const char *name = word + 3;
    size_t name_length = length - 3;
    /* "no-subgroup" takes away all that subgroups are good for, not the basic operations alone. */
    if (word_is(name, name_length, rapt_feature_name(RAPT_FEATURE_INDEX_SUBGROUP_BASIC))) {
        drop_features(caps, subgroup_features);
        return RAPT_OK;
    }
    for (uint32_t i = 0; i < RAPT_FEATURE_COUNT; i++) {
        if (word_is(name, name_length, rapt_feature_name(i))) {
            drop_features(caps, 1ull << i);
            return RAPT_OK;
        }
    }
    return rapt_fail(error, RAPT_ERROR_INVALID, "capability mask: no feature is named \"%.*s\" in \"%.*s\"",
                     WORD_SHOWN(name_length), name, WORD_SHOWN(length), word);
}

static rapt_status mask_limit(rapt_caps *caps, const char *word, size_t length, size_t key_length,
                              rapt_error *error)
{
    const struct {
        const char *key;
        uint32_t *u32;
        uint64_t *u64;
    } limits[] = {
        {"shared", &caps->max_shared_bytes, NULL},     {"invocations", &caps->max_invocations, NULL},
        {"buffers", &caps->max_storage_buffers, NULL}, {"push", &caps->max_push_bytes, NULL},
        {"range", NULL, &caps->max_storage_range},     {"texels", NULL, &caps->max_texel_elements},
    };
    for (size_t i = 0; i < RAPT_COUNT(limits); i++) {
        if (!word_is(word, key_length, limits[i].key))
            continue;
        uint64_t own = limits[i].u32 != NULL ? *limits[i].u32 : *limits[i].u64;
        uint64_t value;
        if (!parse_number(word + key_length + 1, length - key_length - 1, &value) || value == 0)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "capability mask: \"%.*s\" needs a whole number above 0", WORD_SHOWN(length),
                             word);
        if (value > own)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "capability mask: \"%.*s\" is above the device's own %llu; a mask only lowers",
                             WORD_SHOWN(length), word, (unsigned long long)own);
        if (limits[i].u64 != NULL)
            *limits[i].u64 = value;
        else
            *limits[i].u32 = (uint32_t)value;
        for (int axis = 0; axis < 3; axis++) /* no axis of a group can be longer than the group */
            lower_u32(&caps->max_group_size[axis], caps->max_invocations);
        return RAPT_OK;
    }
    return rapt_fail(error, RAPT_ERROR_INVALID, "capability mask: unknown limit in \"%.*s\"",
                     WORD_SHOWN(length), word);
}

static rapt_status mask_word(rapt_caps *caps, const char *word, size_t length, rapt_error *error)
{
    if (length > 3 && memcmp(word, "no-", 3) == 0)
        return mask_feature(caps, word, length, error);
    const char *equals = memchr(word, '=', length);
    if (equals != NULL)
        return mask_limit(caps, word, length, (size_t)(equals - word), error);
    if (word_is(word, length, "floor"))
        return rapt_fail(error, RAPT_ERROR_INVALID, "capability mask: \"floor\" stands alone, not in a list");
    return rapt_fail(error, RAPT_ERROR_INVALID, "capability mask: unknown word \"%.*s\"", WORD_SHOWN(length),
                     word);
}

rapt_status rapt_caps_mask(rapt_caps *caps, const char *spec, rapt_error *error)
{
    if (caps == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "capability mask: caps is NULL");
    if (spec == NULL || spec[0] == '\0')
        return RAPT_OK;
    rapt_caps lowered = *caps;
    if (strcmp(spec, "floor") == 0) {
        lower_to_floor(&lowered);
    } else {
        const char *word = spec;
        for (;;) {
            size_t length = strcspn(word, ",");
            rapt_status status = mask_word(&lowered, word, length, error);
            if (status != RAPT_OK)
                return status;
            if (word[length] == '\0')
                break;
            word += length + 1;
        }
    }
    if (memcmp(&lowered, caps, sizeof lowered) != 0) {
        lowered.masked = 1;
        *caps = lowered;
    }
    return RAPT_OK;
}
