/* Base layer: errors, allocation, logging, text, hashing, arenas. Knows nothing of what is built on it. */
#ifndef RAPT_BASE_H
#define RAPT_BASE_H

#include <rapt/runtime.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__MINGW32__) && !defined(__clang__)
#define RAPT_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#elif defined(__GNUC__)
#define RAPT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define RAPT_PRINTF(fmt, args)
#endif

#define RAPT_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RAPT_MIN(a, b) ((a) < (b) ? (a) : (b))
#define RAPT_MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- Errors: fill `error` (may be NULL) and return `status`, so that `return rapt_fail(..)` reads well. */
rapt_status rapt_fail(rapt_error *error, rapt_status status, const char *format, ...) RAPT_PRINTF(3, 4);
/* Puts "prefix: " before the message of an error that passes through. Returns error->status (or `status`). */
rapt_status rapt_fail_prefix(rapt_error *error, rapt_status status, const char *format, ...) RAPT_PRINTF(3, 4);

/* ---- Host memory through the app's callbacks. */
rapt_allocator rapt_allocator_default(void);
/* Zeroed memory for count * size bytes (overflow checked); NULL when there is none. */
void *rapt_calloc(const rapt_allocator *a, size_t count, size_t size);
void *rapt_realloc_array(const rapt_allocator *a, void *old, size_t old_count, size_t count, size_t size);
void rapt_free(const rapt_allocator *a, void *memory, size_t size);

/* Memory that is freed all at once. Zeroed. */
typedef struct rapt_arena {
    const rapt_allocator *allocator;
    struct rapt_arena_block *blocks;
} rapt_arena;
void rapt_arena_init(rapt_arena *arena, const rapt_allocator *allocator);
void *rapt_arena_alloc(rapt_arena *arena, size_t count, size_t size);
char *rapt_arena_strdup(rapt_arena *arena, const char *text);
void rapt_arena_free(rapt_arena *arena);

/* ---- Log: carries level and callback; copied into devices. NULL log function: silent. */
typedef struct rapt_log {
    rapt_log_fn fn;
    void *user;
    rapt_log_level level;
} rapt_log;
void rapt_log_write(const rapt_log *log, rapt_log_level level, const char *format, ...) RAPT_PRINTF(3, 4);

/* ---- Text: appends to a fixed buffer and counts what would have been needed (as snprintf). */
typedef struct rapt_text {
    char *data;
    size_t capacity;
    size_t length; /* without the NUL; may exceed capacity */
} rapt_text;
rapt_text rapt_text_over(char *data, size_t capacity);
void rapt_text_add(rapt_text *text, const char *format, ...) RAPT_PRINTF(2, 3);
void rapt_text_add_json(rapt_text *text, const char *string); /* quoted and escaped */

/* ---- 128-bit hash of bytes (two independent 64-bit lanes), for cache keys and file integrity; not cryptographic. */
typedef struct rapt_hash {
    uint64_t lo, hi;
} rapt_hash;
#define RAPT_HASH_INIT ((rapt_hash){0x9e3779b97f4a7c15ull, 0xc2b2ae3d27d4eb4full})
rapt_hash rapt_hash_bytes(rapt_hash seed, const void *data, size_t size);
bool rapt_hash_equal(rapt_hash a, rapt_hash b);
void rapt_hash_hex(rapt_hash hash, char out[33]);

/* ---- Checked arithmetic: false on overflow. */
bool rapt_mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool rapt_add_u64(uint64_t a, uint64_t b, uint64_t *out);
static inline uint64_t rapt_align_up(uint64_t x, uint64_t align) { return (x + align - 1) / align * align; }
static inline uint64_t rapt_div_up(uint64_t x, uint64_t y) { return x / y + (x % y != 0); }
static inline bool rapt_is_pow2(uint64_t x) { return x != 0 && (x & (x - 1)) == 0; }

/* ---- Threads: mutexes, conditions, threads, and monotonic time. */
typedef struct rapt_mutex {
    void *opaque[8];
} rapt_mutex;
typedef struct rapt_cond {
    void *opaque[8];
} rapt_cond;
typedef struct rapt_thread {
    void *opaque[2];
    void (*run)(void *user);
    void *user;
} rapt_thread;
bool rapt_mutex_init(rapt_mutex *mutex);
void rapt_mutex_destroy(rapt_mutex *mutex);
void rapt_mutex_lock(rapt_mutex *mutex);
void rapt_mutex_unlock(rapt_mutex *mutex);
bool rapt_cond_init(rapt_cond *cond);
void rapt_cond_destroy(rapt_cond *cond);
/* Gives the mutex back, waits until it is woken or for `ns` (UINT64_MAX: without an end), and takes it again. May wake early. */
void rapt_cond_wait(rapt_cond *cond, rapt_mutex *mutex, uint64_t ns);
void rapt_cond_wake_all(rapt_cond *cond);
/* Runs thread->run(thread->user), both set by the caller, in a thread of its own; *thread must stay where it is until it is
 * joined. */
bool rapt_thread_start(rapt_thread *thread);
void rapt_thread_join(rapt_thread *thread);
uint64_t rapt_now_ns(void);

/* ---- Files and libraries, the few that librapt needs on every platform. */
/* Reads a whole file of at most `max` bytes into memory from `a` (size in *size). RAPT_ERROR_IO with the reason. */
rapt_status rapt_file_read(const rapt_allocator *a, const char *path, size_t max, void **data, size_t *size,
                           rapt_error *error);
/* Writes to a temporary file beside `path`, then renames it over: readers see the old or the new file, never half. */
rapt_status rapt_file_replace(const char *path, const void *data, size_t size, rapt_error *error);
bool rapt_make_dirs(const char *path);
/* The first bytes of a file, `size` at most; how many there are. */
size_t rapt_file_begin(const char *path, void *data, size_t size);
void rapt_file_delete(const char *path);
/* Calls `each` with the name of every entry of a folder that has not been written to for `seconds`. No folder: no calls. The entry may
 * be deleted. */
void rapt_folder_old(const char *path, double seconds, void (*each)(void *user, const char *name), void *user);
void *rapt_library_open(const char *path); /* NULL when it cannot be loaded */
void *rapt_library_symbol(void *library, const char *name);
void rapt_library_close(void *library);

#endif
