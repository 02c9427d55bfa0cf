#include "block_options.h"

#include "check/half.h"
#include "tool.h"

#include <rapt/pattern.h>

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

#define MOST_NUMBERS 2050

/* NAME and the numbers behind it. */
static bool parse_pattern(const char *text, rapt_pattern *p, double *numbers, size_t *count, rapt_error *error)
{
    char name[16] = "", number[32];
    const char *at = strchr(text, ':');
    snprintf(name, sizeof name, "%.*s", (int)(at && at - text < 15 ? at - text : 15), text);
    while (p->kind < RAPT_PATTERN_COUNT && strcmp(name, rapt_pattern_name(p->kind)) != 0)
        p->kind++;
    if (p->kind == RAPT_PATTERN_COUNT || !at)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "--pattern '%.40s': chunks, strided, dilated, radial, spans or prefix, and :N,N.. behind it, is needed",
                         text);
    for (*count = 0; at; (*count)++) {
        const char *comma = strchr(++at, ',');
        const size_t length = comma ? (size_t)(comma - at) : strlen(at);
        if (*count == MOST_NUMBERS || length >= sizeof number)
            return tool_fail(error, RAPT_ERROR_INVALID, "--pattern '%.40s': too many or too long numbers", text);
        memcpy(number, at, length);
        number[length] = 0;
        if (!tool_number("--pattern", number, &numbers[*count], error))
            return false;
        at = comma;
    }
    return true;
}

/* The pattern's own members from its numbers; alpha and beta have room for MOST_NUMBERS. */
static bool set_pattern(const char *text, rapt_pattern *p, const double *numbers, size_t count, float *alpha, float *beta,
                        rapt_error *error)
{
    const struct {
        size_t least, most;
        uint32_t *to[3];
    } forms[RAPT_PATTERN_COUNT] = {
        [RAPT_PATTERN_CHUNKS] = {2, 3, {&p->chunk, &p->before, &p->after}},
        [RAPT_PATTERN_STRIDED] = {2, 2, {&p->local, &p->stride}},
        [RAPT_PATTERN_DILATED] = {2, 2, {&p->local, &p->stride}},
        [RAPT_PATTERN_RADIAL] = {1, 1, {&p->frame}},
        [RAPT_PATTERN_SPANS] = {3, 1 + 2 * (size_t)p->heads, {&p->global}},
        [RAPT_PATTERN_PREFIX] = {2, 2, {&p->global, &p->local}},
    };
    const bool spans = p->kind == RAPT_PATTERN_SPANS;
    if (count < forms[p->kind].least || count > forms[p->kind].most ||
        (spans && count != 3 && count != forms[p->kind].most))
        return tool_fail(error, RAPT_ERROR_INVALID, "--pattern '%.40s': %zu numbers are not what it takes", text, count);
    for (size_t n = 0; n < (spans ? 1 : count); n++) {
        if (numbers[n] < 0 || numbers[n] > 1 << 29 || numbers[n] != (double)(uint32_t)numbers[n])
            return tool_fail(error, RAPT_ERROR_INVALID, "--pattern '%.40s': number %zu must be whole, 0 to 2^29", text, n + 1);
        *forms[p->kind].to[n] = (uint32_t)numbers[n];
    }
    for (uint32_t h = 0; h < p->heads && spans; h++) {
        alpha[h] = (float)numbers[count == 3 ? 1 : 1 + 2 * h];
        beta[h] = (float)numbers[count == 3 ? 2 : 2 + 2 * h];
    }
    p->alpha = alpha;
    p->beta = beta;
    return true;
}

static bool make_pattern(const tool_block_options *o, rapt_attention_desc *d, tensor_file *t, rapt_error *error)
{
    static double numbers[MOST_NUMBERS];
    static float alpha[MOST_NUMBERS], beta[MOST_NUMBERS];
    rapt_pattern p = RAPT_PATTERN_INIT;
    size_t count = 0;
    if (d->block_q != d->block_k)
        return tool_fail(error, RAPT_ERROR_INVALID, "--block %.40s: --pattern takes as many queries as keys", o->block);
    if (!parse_pattern(o->pattern, &p, numbers, &count, error))
        return false;
    p.nq = d->q.size[2];
    p.nk = d->k.size[2];
    p.block = d->block_q;
    const bool by_head = p.kind == RAPT_PATTERN_STRIDED || p.kind == RAPT_PATTERN_DILATED || p.kind == RAPT_PATTERN_SPANS;
    if (d->q.size[1] == 0 || d->q.size[1] > MOST_NUMBERS / 2)
        return tool_fail(error, RAPT_ERROR_INVALID, "--pattern takes 1 to %d query heads, not %" PRIu64, MOST_NUMBERS / 2,
                         d->q.size[1]);
    p.heads = by_head ? (uint32_t)d->q.size[1] : 1;
    if (!set_pattern(o->pattern, &p, numbers, count, alpha, beta, error) ||
        rapt_pattern_tensor(&p, &d->block_mask, error) != RAPT_OK)
        return false;
    t->dtype = RAPT_I32;
    t->rank = 4;
    memcpy(t->shape, d->block_mask.size, sizeof d->block_mask.size);
    if (!tensor_file_count("--pattern", t->rank, t->shape, &t->count, error))
        return false;
    t->data = malloc((size_t)t->count * sizeof(int32_t) + 1);
    if (!t->data)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
    return rapt_pattern_fill(&p, t->data, t->count, error) == RAPT_OK;
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
    if (!o->block && !o->mask && !o->pattern)
        return true;
    if (!o->mask == !o->pattern)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         o->mask ? "--block-mask and --pattern exclude each other" : "--block %.40s: goes with --block-mask or --pattern",
                         o->block);
    if (!o->block)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s %.200s: --block QxK is missing, the size of its blocks",
                         o->mask ? "--block-mask" : "--pattern", o->mask ? o->mask : o->pattern);
    if (o->pattern && d->sequences > 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--pattern is for sequences of one length: not with --cu-seqlens-q and -k");
    return parse_block(o->block, &d->block_q, &d->block_k, error) &&
           (o->mask ? read_mask(o, d, mask, error) : make_pattern(o, d, mask, error));
}
