/* Bookkeeping of key-value caches: pages, who has them, and how sequences grow, branch and shrink. */
#include "base/base.h"
#include <rapt/cache.h>

#include <string.h>

#define MOST_KEYS (1u << 29)

struct rapt_cache {
    rapt_allocator allocator;
    uint32_t page_size, pages, sequences, width; /* width: pages of a line */
    uint32_t free_count, idle_count;
    uint32_t *owners;  /* (pages): how many lines have a page */
    uint32_t *free;    /* (pages): a stack of those that nobody has */
    uint32_t *idle;    /* (sequences): a stack of numbers that are not in use */
    uint8_t *alive;    /* (sequences) */
    uint64_t *lengths; /* (sequences): keys */
    int32_t *table;    /* (sequences, width): pages, div_up(length, page_size) of a line */
};

static uint32_t pages_for(const rapt_cache *c, uint64_t length)
{
    return (uint32_t)rapt_div_up(length, c->page_size);
}

static int32_t *line_of(const rapt_cache *c, uint32_t sequence)
{
    return c->table + (size_t)sequence * c->width;
}

static int32_t slot_of(const rapt_cache *c, uint32_t sequence, uint64_t key)
{
    return line_of(c, sequence)[key / c->page_size] * (int32_t)c->page_size + (int32_t)(key % c->page_size);
}

/* ---- pages ---- */

static int32_t take_page(rapt_cache *c)
{
    const uint32_t page = c->free[--c->free_count];
    c->owners[page] = 1;
    return (int32_t)page;
}

static void leave_page(rapt_cache *c, int32_t page)
{
    if (--c->owners[page] == 0)
        c->free[c->free_count++] = (uint32_t)page;
}

static bool is_shared(const rapt_cache *c, int32_t page)
{
    return c->owners[page] > 1;
}

/* A line ends before its entry `count`: the last page is given back first. */
static void leave_from(rapt_cache *c, uint32_t sequence, uint32_t count)
{
    for (uint32_t n = pages_for(c, c->lengths[sequence]); n > count; n--)
        leave_page(c, line_of(c, sequence)[n - 1]);
}

static rapt_status need_pages(const rapt_cache *c, const char *call, uint32_t sequence, uint64_t count, rapt_error *error)
{
    if (count <= c->free_count)
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_OUT_OF_DEVICE_MEMORY, "%s: sequence %u needs %llu pages more, %u of %u are free", call, sequence,
                     (unsigned long long)count, c->free_count, c->pages);
}

/* ---- life ---- */

static void free_all(rapt_cache *c)
{
    const rapt_allocator a = c->allocator;
    const size_t lines = c->sequences, pages = c->pages;
    rapt_free(&a, c->owners, pages * sizeof *c->owners);
    rapt_free(&a, c->free, pages * sizeof *c->free);
    rapt_free(&a, c->idle, lines * sizeof *c->idle);
    rapt_free(&a, c->alive, lines * sizeof *c->alive);
    rapt_free(&a, c->lengths, lines * sizeof *c->lengths);
    rapt_free(&a, c->table, lines * c->width * sizeof *c->table);
    rapt_free(&a, c, sizeof *c);
}

static rapt_status check_desc(const rapt_cache_desc *d, rapt_error *error)
{
    if (d->struct_size != sizeof *d)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_desc.struct_size is %u, expected %zu (use RAPT_CACHE_DESC_INIT)", d->struct_size,
                         sizeof *d);
    if (d->page_size < 1 || d->page_size > MOST_KEYS || d->pages < 1 || (uint64_t)d->page_size * d->pages > INT32_MAX)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_create: %u pages of %u keys; pages of 1 to %u, and 1 to %d keys in all are possible",
                         d->pages, d->page_size, MOST_KEYS, INT32_MAX);
    if (d->sequences < 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_create: sequences is 0");
    const rapt_allocator *a = d->allocator;
    if (a != NULL && (a->alloc == NULL || a->realloc == NULL || a->free == NULL))
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_create: allocator: all of alloc, realloc and free are needed");
    return RAPT_OK;
}

rapt_status rapt_cache_create(const rapt_cache_desc *desc, rapt_cache **cache, rapt_error *error)
{
    if (desc == NULL || cache == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_create: %s is NULL", desc == NULL ? "desc" : "cache");
    *cache = NULL;
    const rapt_status status = check_desc(desc, error);
    if (status != RAPT_OK)
        return status;
    const rapt_allocator a = desc->allocator != NULL ? *desc->allocator : rapt_allocator_default();
    rapt_cache *c = rapt_calloc(&a, 1, sizeof *c);
    if (c == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "rapt_cache_create: no memory");
    c->allocator = a;
    c->page_size = desc->page_size;
    c->pages = desc->pages;
    c->sequences = desc->sequences;
    c->width = desc->pages_each == 0 ? desc->pages : RAPT_MIN(desc->pages_each, desc->pages);
    c->owners = rapt_calloc(&a, c->pages, sizeof *c->owners);
    c->free = rapt_calloc(&a, c->pages, sizeof *c->free);
    c->idle = rapt_calloc(&a, c->sequences, sizeof *c->idle);
    c->alive = rapt_calloc(&a, c->sequences, sizeof *c->alive);
    c->lengths = rapt_calloc(&a, c->sequences, sizeof *c->lengths);
    uint64_t entries;
    c->table = rapt_mul_u64(c->sequences, c->width, &entries) && entries <= SIZE_MAX ? rapt_calloc(&a, (size_t)entries, sizeof *c->table) : NULL;
    if (c->owners == NULL || c->free == NULL || c->idle == NULL || c->alive == NULL || c->lengths == NULL || c->table == NULL) {
        free_all(c);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "rapt_cache_create: no memory for %u pages and %u lines of %u", desc->pages,
                         desc->sequences, desc->pages_each ? desc->pages_each : desc->pages);
    }
    for (uint32_t n = c->pages; n-- > 0;) /* page 0 first, sequence 0 first */
        c->free[c->free_count++] = n;
    for (uint32_t n = c->sequences; n-- > 0;)
        c->idle[c->idle_count++] = n;
    *cache = c;
    return RAPT_OK;
}

void rapt_cache_destroy(rapt_cache **cache)
{
    if (cache == NULL || *cache == NULL)
        return;
    free_all(*cache);
    *cache = NULL;
}

/* ---- sequences ---- */

static bool is_alive(const rapt_cache *c, uint32_t sequence)
{
    return c != NULL && sequence < c->sequences && c->alive[sequence];
}

static rapt_status need_alive(const rapt_cache *c, const char *call, uint32_t sequence, rapt_error *error)
{
    if (c == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: cache is NULL", call);
    return is_alive(c, sequence) ? RAPT_OK : rapt_fail(error, RAPT_ERROR_INVALID, "%s: sequence %u is not alive", call, sequence);
}

static rapt_status need_idle(const rapt_cache *c, const char *call, rapt_error *error)
{
    if (c->idle_count > 0)
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_OUT_OF_DEVICE_MEMORY, "%s: all of %u sequences are alive", call, c->sequences);
}

static uint32_t begin(rapt_cache *c)
{
    const uint32_t sequence = c->idle[--c->idle_count];
    c->alive[sequence] = 1;
    c->lengths[sequence] = 0;
    return sequence;
}

rapt_status rapt_cache_open(rapt_cache *c, uint32_t *sequence, rapt_error *error)
{
    if (c == NULL || sequence == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_open: %s is NULL", c == NULL ? "cache" : "sequence");
    const rapt_status status = need_idle(c, "rapt_cache_open", error);
    if (status == RAPT_OK)
        *sequence = begin(c);
    return status;
}

rapt_status rapt_cache_close(rapt_cache *c, uint32_t sequence, rapt_error *error)
{
    const rapt_status status = need_alive(c, "rapt_cache_close", sequence, error);
    if (status != RAPT_OK)
        return status;
    leave_from(c, sequence, 0);
    c->alive[sequence] = 0;
    c->lengths[sequence] = 0;
    c->idle[c->idle_count++] = sequence;
    return RAPT_OK;
}

static rapt_status need_keys(const rapt_cache *c, const char *call, uint32_t sequence, uint64_t length, rapt_error *error)
{
    if (length <= c->lengths[sequence])
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_INVALID, "%s: %llu keys; sequence %u has %llu", call, (unsigned long long)length, sequence,
                     (unsigned long long)c->lengths[sequence]);
}

rapt_status rapt_cache_fork(rapt_cache *c, uint32_t sequence, uint64_t length, uint32_t *branch, rapt_error *error)
{
    rapt_status status = need_alive(c, "rapt_cache_fork", sequence, error);
    if (status == RAPT_OK && branch == NULL)
        status = rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_fork: branch is NULL");
    if (status == RAPT_OK)
        status = need_keys(c, "rapt_cache_fork", sequence, length, error);
    if (status == RAPT_OK)
        status = need_idle(c, "rapt_cache_fork", error);
    if (status != RAPT_OK)
        return status;
    *branch = begin(c);
    for (uint32_t n = 0; n < pages_for(c, length); n++) {
        line_of(c, *branch)[n] = line_of(c, sequence)[n];
        c->owners[line_of(c, sequence)[n]]++;
    }
    c->lengths[*branch] = length;
    return RAPT_OK;
}

rapt_status rapt_cache_cut(rapt_cache *c, uint32_t sequence, uint64_t length, rapt_error *error)
{
    rapt_status status = need_alive(c, "rapt_cache_cut", sequence, error);
    if (status == RAPT_OK)
        status = need_keys(c, "rapt_cache_cut", sequence, length, error);
    if (status != RAPT_OK)
        return status;
    leave_from(c, sequence, pages_for(c, length));
    c->lengths[sequence] = length;
    return RAPT_OK;
}

static rapt_status need_moves(const char *call, uint64_t count, uint64_t capacity, bool there, rapt_error *error)
{
    if (count <= capacity && (count == 0 || there))
        return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_INVALID, "%s: %llu moves, room for %llu", call, (unsigned long long)count,
                     (unsigned long long)(there ? capacity : 0));
}

rapt_status rapt_cache_append(rapt_cache *c, uint32_t sequence, uint64_t count, int32_t *slots, rapt_cache_move *moves, uint64_t move_capacity,
                              uint64_t *move_count, rapt_error *error)
{
    static const char call[] = "rapt_cache_append";
    rapt_status status = need_alive(c, call, sequence, error);
    if (status != RAPT_OK)
        return status;
    if (move_count == NULL || (slots == NULL && count > 0))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: %s is NULL", call, move_count == NULL ? "move_count" : "slots");
    const uint64_t length = c->lengths[sequence], room = (uint64_t)c->width * c->page_size, begun = length % c->page_size;
    if (count > room - length)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s: %llu keys behind %llu; a sequence has room for %llu", call, (unsigned long long)count,
                         (unsigned long long)length, (unsigned long long)room);
    int32_t *line = line_of(c, sequence);
    const uint32_t had = pages_for(c, length), needed = pages_for(c, length + count);
    const bool copies = count > 0 && begun > 0 && is_shared(c, line[had - 1]);
    status = need_pages(c, call, sequence, (uint64_t)(needed - had) + copies, error);
    if (status == RAPT_OK)
        status = need_moves(call, copies ? begun : 0, move_capacity, moves != NULL, error);
    if (status != RAPT_OK)
        return status;
    *move_count = copies ? begun : 0;
    if (copies) {
        const int32_t from = line[had - 1] * (int32_t)c->page_size;
        leave_page(c, line[had - 1]);
        line[had - 1] = take_page(c);
        for (uint64_t n = 0; n < begun; n++)
            moves[n] = (rapt_cache_move){from + (int32_t)n, line[had - 1] * (int32_t)c->page_size + (int32_t)n};
    }
    for (uint32_t n = had; n < needed; n++)
        line[n] = take_page(c);
    for (uint64_t n = 0; n < count; n++)
        slots[n] = slot_of(c, sequence, length + n);
    c->lengths[sequence] = length + count;
    return RAPT_OK;
}

/* ---- eviction ---- */

/* Which keys of the new page n are not in their place yet: from the first such on. */
static uint64_t first_moved(const rapt_cache *c, const uint32_t *keys, uint64_t count, uint32_t n)
{
    uint64_t key = (uint64_t)n * c->page_size;
    const uint64_t end = RAPT_MIN(key + c->page_size, count);
    while (key < end && keys[key] == key)
        key++;
    return key;
}

static rapt_status check_keys(const rapt_cache *c, uint32_t sequence, const uint32_t *keys, uint64_t count, rapt_error *error)
{
    const uint64_t length = c->lengths[sequence];
    if (count > 0 && keys == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_keep: keys is NULL");
    for (uint64_t n = 0; n < count; n++)
        if (keys[n] >= length || (n > 0 && keys[n] <= keys[n - 1]))
            return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_keep: keys[%llu] is %u; they must rise and be below sequence %u's %llu",
                             (unsigned long long)n, keys[n], sequence, (unsigned long long)length);
    return RAPT_OK;
}

/* What new page n takes: moves from the first key that is not in place on, or all of its keys where the page is another's too. */
static uint64_t moves_begin(const rapt_cache *c, uint32_t sequence, const uint32_t *keys, uint64_t count, uint32_t n, bool *copies)
{
    const uint64_t moved = first_moved(c, keys, count, n), end = RAPT_MIN(((uint64_t)n + 1) * c->page_size, count);
    *copies = moved < end && is_shared(c, line_of(c, sequence)[n]);
    return *copies ? (uint64_t)n * c->page_size : moved;
}

rapt_status rapt_cache_keep(rapt_cache *c, uint32_t sequence, const uint32_t *keys, uint64_t count, rapt_cache_move *moves,
                            uint64_t move_capacity, uint64_t *move_count, rapt_error *error)
{
    static const char call[] = "rapt_cache_keep";
    rapt_status status = need_alive(c, call, sequence, error);
    if (status == RAPT_OK && move_count == NULL)
        status = rapt_fail(error, RAPT_ERROR_INVALID, "%s: move_count is NULL", call);
    if (status == RAPT_OK)
        status = check_keys(c, sequence, keys, count, error);
    if (status != RAPT_OK)
        return status;
    const uint32_t left = pages_for(c, count);
    uint64_t total = 0, taken = 0;
    bool copies;
    for (uint32_t n = 0; n < left; n++) {
        const uint64_t first = moves_begin(c, sequence, keys, count, n, &copies);
        total += RAPT_MIN(((uint64_t)n + 1) * c->page_size, count) - first;
        taken += copies;
    }
    status = need_pages(c, call, sequence, taken, error);
    if (status == RAPT_OK)
        status = need_moves(call, total, move_capacity, moves != NULL, error);
    if (status != RAPT_OK)
        return status;
    int32_t *line = line_of(c, sequence);
    uint64_t at = 0;
    for (uint32_t n = 0; n < left; n++) {
        const uint64_t first = moves_begin(c, sequence, keys, count, n, &copies), end = RAPT_MIN(((uint64_t)n + 1) * c->page_size, count);
        for (uint64_t key = first; key < end; key++)
            moves[at++].from = slot_of(c, sequence, keys[key]);
    }
    leave_from(c, sequence, left);
    c->lengths[sequence] = count;
    at = 0;
    for (uint32_t n = 0; n < left; n++) {
        const uint64_t end = RAPT_MIN(((uint64_t)n + 1) * c->page_size, count);
        uint64_t key = moves_begin(c, sequence, keys, count, n, &copies);
        if (copies) {
            leave_page(c, line[n]);
            line[n] = take_page(c);
        }
        for (; key < end; key++)
            moves[at++].to = slot_of(c, sequence, key);
    }
    *move_count = total;
    return RAPT_OK;
}

/* ---- what is there ---- */

uint64_t rapt_cache_length(const rapt_cache *c, uint32_t sequence)
{
    return is_alive(c, sequence) ? c->lengths[sequence] : 0;
}

rapt_status rapt_cache_table(const rapt_cache *c, const uint32_t *sequences, uint32_t count, uint32_t width, int32_t *table, int32_t *lengths,
                             rapt_error *error)
{
    if (count > 0 && sequences == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_table: sequences is NULL");
    for (uint32_t n = 0; n < count; n++) {
        const rapt_status status = need_alive(c, "rapt_cache_table", sequences[n], error);
        if (status != RAPT_OK)
            return status;
        if (table != NULL && pages_for(c, c->lengths[sequences[n]]) > width)
            return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_table: sequence %u has %u pages, width is %u", sequences[n],
                             pages_for(c, c->lengths[sequences[n]]), width);
    }
    for (uint32_t n = 0; n < count; n++) {
        const uint32_t used = pages_for(c, c->lengths[sequences[n]]);
        for (uint32_t i = 0; i < width && table != NULL; i++)
            table[(size_t)n * width + i] = i < used ? line_of(c, sequences[n])[i] : -1;
        if (lengths != NULL)
            lengths[n] = (int32_t)c->lengths[sequences[n]];
    }
    return RAPT_OK;
}

rapt_status rapt_cache_describe(const rapt_cache *c, rapt_cache_info *info, rapt_error *error)
{
    if (c == NULL || info == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_describe: %s is NULL", c == NULL ? "cache" : "info");
    if (info->struct_size != sizeof *info)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_cache_info.struct_size is %u, expected %zu (use RAPT_CACHE_INFO_INIT)",
                         info->struct_size, sizeof *info);
    *info = (rapt_cache_info){.struct_size = sizeof *info, .pages = c->pages, .free_pages = c->free_count,
                              .sequences = c->sequences - c->idle_count};
    for (uint32_t n = 0; n < c->pages; n++)
        info->shared_pages += c->owners[n] > 1;
    for (uint32_t n = 0; n < c->sequences; n++)
        info->keys += c->lengths[n];
    return RAPT_OK;
}

rapt_tensor rapt_cache_rows(const rapt_cache *c, rapt_dtype dtype, uint64_t heads, uint64_t width)
{
    return rapt_tensor_bhnd(dtype, 1, heads, c == NULL ? 0 : (uint64_t)c->pages * c->page_size, width);
}

rapt_tensor rapt_cache_pool(const rapt_cache *c, rapt_dtype dtype, uint64_t heads, uint64_t width)
{
    rapt_tensor t = rapt_cache_rows(c, dtype, heads, width);
    if (c == NULL)
        return t;
    t.size[0] = c->pages;
    t.size[2] = c->page_size;
    t.stride[0] = (int64_t)c->page_size * t.stride[2];
    return t;
}
