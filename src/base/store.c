/* The disk cache. See store.h.
 *
 * A file: a header of HEADER bytes, little-endian, then the data.
 *      0  magic "RAPTBLOB"          24  hash of the library's build
 *      8  format version            40  context
 *     12  kind                      56  key
 *     16  length of the data        72  hash of the data        88  hash of the 88 bytes before */
#include "base/store.h"

#include "base/build_id.h"

#include <stdio.h>
#include <string.h>

#define FORMAT 1
#define HEADER 104
#define DATA_MAX ((size_t)1 << 28)

static const char magic[8] = {'R', 'A', 'P', 'T', 'B', 'L', 'O', 'B'};

static unsigned char *put(unsigned char *p, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *p++ = (unsigned char)(value >> (8 * i));
    return p;
}

static unsigned char *put_hash(unsigned char *p, rapt_hash hash)
{
    return put(put(p, hash.lo, 8), hash.hi, 8);
}

static rapt_hash build_hash(void)
{
    static const char build[] = RAPT_BUILD_ID;
    return rapt_hash_bytes(RAPT_HASH_INIT, build, sizeof build);
}

static void make_header(unsigned char out[HEADER], rapt_store_kind kind, rapt_hash context, rapt_hash key,
                        const void *data, size_t size)
{
    memcpy(out, magic, sizeof magic);
    unsigned char *p = put(out + sizeof magic, FORMAT, 4);
    p = put(p, (uint64_t)kind, 4);
    p = put(p, size, 8);
    p = put_hash(p, build_hash());
    p = put_hash(p, context);
    p = put_hash(p, key);
    p = put_hash(p, rapt_hash_bytes(RAPT_HASH_INIT, data, size));
    put_hash(p, rapt_hash_bytes(RAPT_HASH_INIT, out, HEADER - 16));
}

static const char *const prefixes[] = {"data", "spirv", "pipelines", "probes", "tuning"}; /* by rapt_store_kind */

/* One file per kind, context and key: entries of other devices and drivers stay. */
static bool make_path(const rapt_store *store, rapt_store_kind kind, rapt_hash context, rapt_hash key, char *path,
                      size_t capacity)
{
    unsigned char bytes[16];
    char hex[33];
    put_hash(bytes, key);
    rapt_hash_hex(rapt_hash_bytes(context, bytes, sizeof bytes), hex);
    int n = snprintf(path, capacity, "%s/%s-%s.bin", store->dir,
                     prefixes[(unsigned)kind < RAPT_COUNT(prefixes) ? (unsigned)kind : 0], hex);
    return n > 0 && (size_t)n < capacity;
}

void rapt_store_init(rapt_store *store, const rapt_allocator *allocator, rapt_log log, const char *dir)
{
    store->allocator = allocator;
    store->log = log;
    store->dir[0] = '\0';
    size_t length = dir != NULL ? strlen(dir) : 0;
    if (length >= sizeof store->dir)
        rapt_log_write(&log, RAPT_LOG_WARNING, "the cache folder's path is longer than %zu bytes: no disk cache",
                       sizeof store->dir - 1);
    else if (length > 0)
        memcpy(store->dir, dir, length + 1);
}

bool rapt_store_read(const rapt_store *store, rapt_store_kind kind, rapt_hash context, rapt_hash key, void **data,
                     size_t *size)
{
    *data = NULL;
    *size = 0;
    char path[1200];
    if (store->dir[0] == '\0' || !make_path(store, kind, context, key, path, sizeof path))
        return false;
    void *memory;
    size_t length;
    if (rapt_file_read(store->allocator, path, HEADER + DATA_MAX, &memory, &length, NULL) != RAPT_OK)
        return false;
    /* The header that this very data should have: any difference, be it in one bit, is a miss. */
    unsigned char *bytes = memory;
    unsigned char header[HEADER];
    bool good = length >= HEADER;
    if (good) {
        make_header(header, kind, context, key, bytes + HEADER, length - HEADER);
        good = memcmp(header, bytes, HEADER) == 0;
    }
    if (good) {
        memmove(bytes, bytes + HEADER, length - HEADER);
        void *exact = rapt_realloc_array(store->allocator, memory, length, length - HEADER, 1);
        if (exact != NULL) {
            *data = exact;
            *size = length - HEADER;
            return true;
        }
    } else {
        rapt_log_write(&store->log, RAPT_LOG_DEBUG, "cache: %s is damaged or of another build: ignored", path);
    }
    rapt_free(store->allocator, memory, length);
    return false;
}

void rapt_store_write(const rapt_store *store, rapt_store_kind kind, rapt_hash context, rapt_hash key,
                      const void *data, size_t size)
{
    char path[1200];
    if (store->dir[0] == '\0' || size > DATA_MAX || !make_path(store, kind, context, key, path, sizeof path))
        return;
    unsigned char *file = rapt_calloc(store->allocator, HEADER + size, 1);
    if (file == NULL)
        return;
    if (size > 0)
        memcpy(file + HEADER, data, size);
    make_header(file, kind, context, key, file + HEADER, size);
    rapt_error error;
    if (!rapt_make_dirs(store->dir))
        rapt_log_write(&store->log, RAPT_LOG_DEBUG, "cache: the folder %s cannot be made", store->dir);
    else if (rapt_file_replace(path, file, HEADER + size, &error) != RAPT_OK)
        rapt_log_write(&store->log, RAPT_LOG_DEBUG, "cache: %s", error.message);
    rapt_free(store->allocator, file, HEADER + size);
}

typedef struct pruning {
    const rapt_store *store;
    unsigned count;
} pruning;

/* KIND-HASH.bin, or what was to become one and was left behind: KIND-HASH.bin.X.tmp */
static bool is_named(const char *name, bool *temporary)
{
    for (size_t i = 1; i < RAPT_COUNT(prefixes); i++) {
        const size_t length = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], length) != 0 || name[length] != '-')
            continue;
        const char *end = name + length + 1;
        const size_t digits = strspn(end, "0123456789abcdef"), rest = strlen(end);
        *temporary = rest > digits + 8 && strcmp(end + rest - 4, ".tmp") == 0;
        return digits == 32 && strncmp(end + 32, ".bin", 4) == 0 && (end[36] == 0 || *temporary);
    }
    return false;
}

static void prune_one(void *user, const char *name)
{
    pruning *p = user;
    unsigned char header[40], own[16];
    char path[1400];
    bool temporary;
    const int n = snprintf(path, sizeof path, "%s/%s", p->store->dir, name);
    if (n < 0 || (size_t)n >= sizeof path || !is_named(name, &temporary))
        return;
    const size_t got = rapt_file_begin(path, header, sizeof header);
    put_hash(own, build_hash());
    if (!temporary && (got < sizeof header || memcmp(header, magic, sizeof magic) != 0 || memcmp(header + 24, own, sizeof own) == 0))
        return;
    rapt_file_delete(path);
    p->count++;
}

unsigned rapt_store_prune(const rapt_store *store, double seconds)
{
    pruning p = {store, 0};
    if (store->dir[0] != '\0')
        rapt_folder_old(store->dir, seconds, prune_one, &p);
    if (p.count > 0)
        rapt_log_write(&store->log, RAPT_LOG_DEBUG, "cache: %u old files of other builds removed from %s", p.count, store->dir);
    return p.count;
}
