#include "block_options.h"

#include "check/half.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool parse_block(const char *text, uint32_t *q, uint32_t *k, rapt_error *error)
{
    uint64_t sizes[2] = {0, 0};
    const char *at = text;
    for (int n = 0; n < 2; n++) {
        char *end = (char *)at;
        if (*at >= '0' && *at <= '9')
            sizes[n] = strtoull(at, &end, 10);
        if (end == at || sizes[n] < 1 || sizes[n] > 1u << 29 || *end != (n == 0 ? 'x' : '\0'))
            return tool_fail(error, RAPT_ERROR_INVALID, "--block '%.40s': QxK is needed, two sizes from 1 to 2^29", text);
        at = end + 1;
    }
    *q = (uint32_t)sizes[0];
    *k = (uint32_t)sizes[1];
    return true;
}

/* Numbers become 0 and 1. */
static bool to_flags(tensor_file *t, rapt_error *error)
{
    int32_t *flags = malloc((size_t)t->count * sizeof *flags + 1);
    if (!flags)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
    for (uint64_t n = 0; n < t->count; n++)
        flags[n] = t->dtype == RAPT_I32 ? ((const int32_t *)t->data)[n] != 0
                                        : rapt_check_load(t->data, t->dtype, (int64_t)n) != 0.0f;
    free(t->data);
    t->data = flags;
    t->dtype = RAPT_I32;
    return true;
}

static bool read_mask(const tool_block_options *o, rapt_attention_desc *d, tensor_file *t, rapt_error *error)
{
    char shape[200];
    if (!tensor_file_read(o->mask, t, error))
        return false;
    tensor_file_shape(t->rank, t->shape, shape, sizeof shape);
    if (t->rank != 4)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "--block-mask %s: shape %s has %u axes; 4 are needed, (batch or 1, query heads or 1, blocks of "
                         "queries, blocks of keys)",
                         o->mask, shape, t->rank);
    if (!to_flags(t, error))
        return false;
    d->block_mask = (rapt_tensor){.dtype = RAPT_I32, .rank = 4};
    int64_t stride = 1;
    for (uint32_t axis = 4; axis-- > 0;) {
        d->block_mask.size[axis] = t->shape[axis];
        d->block_mask.stride[axis] = stride;
        stride *= (int64_t)(t->shape[axis] > 0 ? t->shape[axis] : 1);
    }
    return true;
}

bool tool_blocks_make(const tool_block_options *o, rapt_attention_desc *d, tensor_file *mask, rapt_error *error)
{
    static const char *const lists[] = {"choose", "never", "always"};
    if (o->lists) {
        while ((size_t)d->tile_lists < TOOL_COUNT(lists) && strcmp(o->lists, lists[d->tile_lists]) != 0)
            d->tile_lists++;
        if ((size_t)d->tile_lists == TOOL_COUNT(lists))
            return tool_fail(error, RAPT_ERROR_INVALID, "--tile-lists '%.40s': choose, never or always is needed", o->lists);
    }
    if (!o->block && !o->mask)
        return true;
    if (!o->mask)
        return tool_fail(error, RAPT_ERROR_INVALID, "--block %.40s: goes with --block-mask", o->block);
    if (!o->block)
        return tool_fail(error, RAPT_ERROR_INVALID, "--block-mask %.200s: --block QxK is missing, the size of its blocks",
                         o->mask);
    return parse_block(o->block, &d->block_q, &d->block_k, error) && read_mask(o, d, mask, error);
}
