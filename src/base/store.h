/* The disk cache: small blobs under a key, each in a file of its own.
 *
 * A file holds magic, format version, library build, a context hash (device, driver, driver version, UUIDs: given
 * by the caller), the key, length and hash of the data. Any mismatch, short file or bad hash is a miss, never an error, and the data
 * never reaches the caller. Files are replaced atomically. Used for SPIR-V, pipelines, probes and tuning.
 * Thread-safety: safe; two processes may share a folder. */
#ifndef RAPT_STORE_H
#define RAPT_STORE_H

#include "base/base.h"

typedef struct rapt_store {
    const rapt_allocator *allocator;
    rapt_log log;
    char dir[1024]; /* "" : the store is off, every read a miss and every write dropped */
} rapt_store;

typedef enum rapt_store_kind {
    RAPT_STORE_SPIRV = 1,
    RAPT_STORE_PIPELINES = 2,
    RAPT_STORE_PROBES = 3,
    RAPT_STORE_TUNING = 4,
} rapt_store_kind;

/* `dir` may be "" or NULL. Creates the folder at the first write, not here. */
void rapt_store_init(rapt_store *store, const rapt_allocator *allocator, rapt_log log, const char *dir);
/* true and memory of *size bytes from the allocator (to be freed with rapt_free), or false. */
bool rapt_store_read(const rapt_store *store, rapt_store_kind kind, rapt_hash context, rapt_hash key, void **data,
                     size_t *size);
/* Deletes what other builds of the library wrote into the folder and has not been written to for `seconds`: nobody reads it again, or
 * so seldom that making it anew is no matter. Nothing but files of this kind is touched. Returns how many it was. */
unsigned rapt_store_prune(const rapt_store *store, double seconds);
/* Failure to write is logged once at debug level and otherwise ignored. */
void rapt_store_write(const rapt_store *store, rapt_store_kind kind, rapt_hash context, rapt_hash key,
                      const void *data, size_t size);

#endif
