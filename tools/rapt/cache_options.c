#include "cache_options.h"

#include "quantise.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MOST_KEYS (1 << 29)

static bool read_words(const char *option, const char *path, uint32_t rank, const char *shape, tensor_file *t,
                       rapt_error *error)
{
    if (!tensor_file_read(path, t, error))
        return false;
    if (t->dtype != RAPT_I32 || t->rank != rank)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s with %u axes; int32 %s is needed", option, path,
                         rapt_dtype_name(t->dtype), t->rank, shape);
    return true;
}

static bool read_lengths(const char *path, rapt_attention_desc *d, uint64_t keys, tensor_file *t, rapt_error *error)
{
    if (!read_words("--lengths", path, 1, "(batch)", t, error))
        return false;
    if (t->count != d->q.size[0])
        return tool_fail(error, RAPT_ERROR_INVALID, "--lengths %s: %" PRIu64 " entries, but Q has %" PRIu64 " batch entries", path,
                         t->count, d->q.size[0]);
    const int32_t *lengths = t->data;
    for (uint64_t b = 0; b < t->count; b++)
        if (lengths[b] < 0 || (uint64_t)lengths[b] > keys)
            return tool_fail(error, RAPT_ERROR_INVALID, "--lengths %s: entry %" PRIu64 " is %d, must be 0 to the %" PRIu64 " keys",
                             path, b, (int)lengths[b], keys);
    d->k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {t->count}, .stride = {1}};
    return true;
}

static void describe_table(rapt_attention_desc *d, uint64_t page_size, uint64_t numbers)
{
    d->page_size = (uint32_t)page_size;
    d->block_table = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {d->q.size[0], numbers}, .stride = {(int64_t)numbers, 1}};
}

static rapt_tensor pool_of(const rapt_tensor *t, bool bnhd, uint64_t pages, uint64_t page_size)
{
    return (bnhd ? rapt_tensor_bnhd : rapt_tensor_bhnd)(t->dtype, pages, t->size[1], page_size, t->size[3]);
}

/* A file of the keys of all batch entries becomes one of pages, key by key. What pages hold behind the last key is 0xff: NaN. */
static bool cut_file(const rapt_tensor *from, const rapt_tensor *pool, const int32_t *table, uint64_t numbers, tensor_file *file,
                     rapt_error *error)
{
    const size_t bytes = (size_t)rapt_tensor_bytes(pool), row = (size_t)(pool->size[3] * rapt_dtype_size(pool->dtype));
    const size_t element = rapt_dtype_size(pool->dtype);
    const uint64_t page_size = pool->size[2];
    char *to = malloc(bytes + 1);
    if (!to)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the pages");
    memset(to, 0xff, bytes);
    for (uint64_t b = 0; b < from->size[0]; b++)
        for (uint64_t h = 0; h < from->size[1]; h++)
            for (uint64_t j = 0; j < from->size[2]; j++) {
                const int64_t page = table[b * numbers + j / page_size];
                const int64_t at = (int64_t)b * from->stride[0] + (int64_t)h * from->stride[1] + (int64_t)j * from->stride[2];
                const int64_t place = page * pool->stride[0] + (int64_t)h * pool->stride[1] +
                                      (int64_t)(j % page_size) * pool->stride[2];
                memcpy(to + (size_t)place * element, (const char *)file->data + (size_t)at * element, row);
            }
    free(file->data);
    file->data = to;
    file->count = bytes / element;
    return true;
}

/* Which page holds the pages of all batch entries, one after the other: in an order that is no order, the same every time. */
static bool shuffle(uint64_t pages, tensor_file *table, rapt_error *error)
{
    int32_t *entries = malloc((size_t)(pages + 1) * sizeof *entries);
    if (!entries)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the block table");
    for (uint64_t n = 0; n < pages; n++)
        entries[n] = (int32_t)n;
    uint32_t random = 2463534242u;
    for (uint64_t n = pages; n > 1; n--) {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        const uint64_t other = random % n;
        const int32_t entry = entries[n - 1];
        entries[n - 1] = entries[other];
        entries[other] = entry;
    }
    *table = (tensor_file){.dtype = RAPT_I32, .rank = 1, .shape = {pages}, .count = pages, .data = entries};
    return true;
}

static bool cut_into_pages(uint64_t page_size, bool bnhd, rapt_attention_desc *d, tensor_file *k, tensor_file *v, tool_cache *cache,
                           rapt_error *error)
{
    const uint64_t numbers = (d->k.size[2] + page_size - 1) / page_size, pages = d->q.size[0] * numbers;
    if (pages > INT32_MAX)
        return tool_fail(error, RAPT_ERROR_INVALID, "--page-size %" PRIu64 ": %" PRIu64 " pages, at most 2^31 - 1", page_size, pages);
    const rapt_tensor k_pool = pool_of(&d->k, bnhd, pages, page_size), v_pool = pool_of(&d->v, bnhd, pages, page_size);
    if (!shuffle(pages, &cache->table, error) ||
        (k->data && (!cut_file(&d->k, &k_pool, cache->table.data, numbers, k, error) ||
                     !cut_file(&d->v, &v_pool, cache->table.data, numbers, v, error))))
        return false;
    d->k = k_pool;
    d->v = v_pool;
    describe_table(d, page_size, numbers);
    return true;
}

/* Keys of whole pages that are not there, behind the last ones: lengths hide them. */
static bool make_lengths(rapt_attention_desc *d, uint64_t keys, tensor_file *t, rapt_error *error)
{
    const uint64_t batch = d->q.size[0];
    int32_t *lengths = malloc((size_t)(batch + 1) * sizeof *lengths);
    if (!lengths)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the lengths");
    for (uint64_t b = 0; b < batch; b++)
        lengths[b] = (int32_t)keys;
    *t = (tensor_file){.dtype = RAPT_I32, .rank = 1, .shape = {batch}, .count = batch, .data = lengths};
    d->k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {batch}, .stride = {1}};
    return true;
}

static bool describe_quantised(const tool_cache_options *o, bool bnhd, rapt_attention_desc *d, tool_cache *cache, rapt_error *error)
{
    static const char *const options[2] = {"--k-dtype", "--v-dtype"};
    rapt_tensor *const tensors[2] = {&d->k, &d->v};
    for (int n = 0; n < 2; n++) {
        rapt_tensor *t = tensors[n];
        if (!o->quantised[n] || strcmp(o->quantised[n], rapt_dtype_name(t->dtype)) == 0)
            continue;
        const rapt_dtype dtype = tool_quantised_dtype(o->quantised[n]);
        if (dtype == RAPT_DTYPE_NONE)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s '%.40s': int8, int4, fp8 or %s, as the rest is, is needed", options[n],
                             o->quantised[n], rapt_dtype_name(t->dtype));
        cache->plain[n] = *t;
        *t = (bnhd ? rapt_tensor_bnhd : rapt_tensor_bhnd)(dtype, t->size[0], t->size[1], t->size[2],
                                                          rapt_quantised_words(dtype, t->size[3]));
    }
    return true;
}

static bool make_cache(const tool_cache_options *o, bool bnhd, rapt_attention_desc *d, tensor_file *k, tensor_file *v, tool_cache *cache,
                       rapt_error *error)
{
    int64_t page_size = 0;
    if (o->page_size && !tool_integer("--page-size", o->page_size, 1, MOST_KEYS, &page_size, error))
        return false;
    uint64_t keys = d->k.size[2];
    if (o->block_table) {
        tensor_file *t = &cache->table;
        if (!k->data)
            return tool_fail(error, RAPT_ERROR_INVALID, "--block-table goes with files, not with --shape: give --page-size");
        if (!read_words("--block-table", o->block_table, 2, "(batch, max pages)", t, error))
            return false;
        if (t->shape[0] != d->q.size[0])
            return tool_fail(error, RAPT_ERROR_INVALID, "--block-table %s: %" PRIu64 " lines, but Q has %" PRIu64 " batch entries",
                             o->block_table, t->shape[0], d->q.size[0]);
        if (page_size != 0 && (uint64_t)page_size != keys)
            return tool_fail(error, RAPT_ERROR_INVALID, "--page-size is %" PRId64 ", but K has pages of %" PRIu64 " keys", page_size,
                             keys);
        if (keys == 0 || keys > MOST_KEYS || t->shape[1] > MOST_KEYS / keys)
            return tool_fail(error, RAPT_ERROR_INVALID, "--block-table %s: %" PRIu64 " pages of %" PRIu64 " keys; 1 to 2^29 keys are "
                             "needed", o->block_table, t->shape[1], keys);
        describe_table(d, keys, t->shape[1]);
        keys *= t->shape[1];
    } else if (page_size != 0) {
        if (!cut_into_pages((uint64_t)page_size, bnhd, d, k, v, cache, error))
            return false;
        if (!o->lengths && keys % (uint64_t)page_size != 0)
            return make_lengths(d, keys, &cache->lengths, error);
    }
    return !o->lengths || read_lengths(o->lengths, d, keys, &cache->lengths, error);
}

bool tool_cache_make(const tool_cache_options *o, bool bnhd, rapt_attention_desc *d, tensor_file *k, tensor_file *v, tool_cache *cache,
                     rapt_error *error)
{
    return make_cache(o, bnhd, d, k, v, cache, error) && describe_quantised(o, bnhd, d, cache, error);
}

void tool_cache_line(const rapt_attention_desc *d, char *text, size_t capacity)
{
    text[0] = 0;
    if (d->k.dtype != d->q.dtype || d->v.dtype != d->q.dtype)
        snprintf(text, capacity, ", K %s, V %s", rapt_dtype_name(d->k.dtype), rapt_dtype_name(d->v.dtype));
    if (d->page_size > 0)
        snprintf(text + strlen(text), capacity - strlen(text), ", %" PRIu64 " pages of %u keys", d->k.size[0], d->page_size);
    if (d->k_lengths.dtype != RAPT_DTYPE_NONE)
        snprintf(text + strlen(text), capacity - strlen(text), ", lengths by batch entry");
}
