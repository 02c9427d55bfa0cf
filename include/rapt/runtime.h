/* The runtime: loader, callbacks, caches, and the list of devices. Part of rapt (MIT licence). */
#ifndef RAPT_RUNTIME_H
#define RAPT_RUNTIME_H

#include <rapt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rapt_log_level {
    RAPT_LOG_ERROR = 1,
    RAPT_LOG_WARNING = 2,
    RAPT_LOG_INFO = 3,
    RAPT_LOG_DEBUG = 4,
} rapt_log_level;

/* Called with one line without a newline; may be called from any thread that calls into rapt. */
typedef void (*rapt_log_fn)(void *user, rapt_log_level level, const char *message);

/* Host memory. All three or none. `realloc` and `free` also get the old size. `alloc` must return memory aligned
 * to 16 bytes, or NULL, which becomes RAPT_ERROR_OUT_OF_HOST_MEMORY. May be called from any thread. */
typedef struct rapt_allocator {
    void *user;
    void *(*alloc)(void *user, size_t size);
    void *(*realloc)(void *user, void *old, size_t old_size, size_t size);
    void (*free)(void *user, void *old, size_t size);
} rapt_allocator;

/* Zero (or NULL) in a member means its default. */
typedef struct rapt_runtime_options {
    uint32_t struct_size; /* sizeof(rapt_runtime_options); RAPT_RUNTIME_OPTIONS_INIT fills it */
    rapt_log_level log_level; /* messages up to this level reach `log`; default RAPT_LOG_WARNING */
    rapt_log_fn log;          /* default: none */
    void *log_user;
    const rapt_allocator *allocator; /* copied; default malloc */
    const char *vulkan_library;      /* path of libvulkan; default: the system's */
    const char *cache_dir;           /* "" turns the disk caches off. Default: RAPT_CACHE_DIR, else the platform's
                                      * cache folder (XDG_CACHE_HOME/rapt, ~/.cache/rapt, %LOCALAPPDATA%\rapt) */
    const char *compiler_library;    /* path of librapt_compiler; "" turns run-time compilation off */
    const char *shader_override_dir; /* <hash>.spv here replaces the kernel of that hash. Default RAPT_SHADER_OVERRIDE */
    const char *shader_dump_dir;     /* every kernel used is written here as <hash>.spv. Default RAPT_SHADER_DUMP */
    uint32_t ignore_environment;     /* 1: no environment variable fills a default */
} rapt_runtime_options;
#define RAPT_RUNTIME_OPTIONS_INIT {.struct_size = sizeof(rapt_runtime_options)}

/* The root object. Holds no device. Creating it loads nothing: libvulkan is loaded when devices are first listed or
 * opened, so that a machine without Vulkan gets a status, not a crash. One for the life of a process is best: NVIDIA's
 * driver (seen with 580) can be loaded and unloaded some 30 times only; then a process finds no device any more.
 * Thread-safety: safe; destroy it after everything made from it. */
typedef struct rapt_runtime rapt_runtime;

/* `options` may be NULL. Environment variables are read here and nowhere else. */
RAPT_API rapt_status rapt_runtime_create(const rapt_runtime_options *options, rapt_runtime **runtime,
                                         rapt_error *error);
/* Records from now on which problems are submitted (rapt_submit, rapt_submit_timeline, rapt_record of slice 0) on this
 * runtime's devices, and how often, into the file `path`; NULL or "" stops. rapt's own probes and measurements are not
 * counted. The file is written when recording stops, be it by another call of this or by destroying the runtime, and
 * replaced whole; until then it holds an empty recording. Its first line is {"rapt_record":1}; then comes a line of
 * JSON for each distinct problem, in the order of first use: op, count, dtype, causal, causal_offset, scale; dims and
 * strides (in elements) of q, k, v, out and lse (null where not wanted); sequences, max_seqlen_q, max_seqlen_k; where there are
 * any, by their names in rapt_attention_desc: window, sink_tokens, soft_cap, grid, link and its numbers, vectors, biases, gate,
 * what rewrites q and k, place_width, page_size, block_table, k_lengths (of tensors, sizes alone); k_dtype, v_dtype if quantised.
 * Of linear attention: rule, feature, feature_k, feature_power, feature_scale, scale, flags (a list of names), the tensors that
 * there are, sequences, max_seqlen. What such a line cannot say is counted alone, with a warning in the log and a last line
 * {"omitted":N}: attention with code of the app, block masks or further outputs, linear attention with a feature map of the app or
 * states at positions, and all other operators.
 * At most 4,096 distinct problems: submits of further ones are counted, and told in the log. Submitting still
 * allocates nothing. The environment variable RAPT_RECORD=FILE starts one in rapt_runtime_create; where that fails, the
 * log has a warning. Two runtimes must not record into one file.
 * Thread-safety: safe, submits in other threads included.
 * Errors: RAPT_ERROR_IO (the last recording, or the new one, cannot be written: nothing is recorded then),
 * RAPT_ERROR_INVALID, RAPT_ERROR_OUT_OF_HOST_MEMORY. */
RAPT_API rapt_status rapt_runtime_record(rapt_runtime *runtime, const char *path, rapt_error *error);

/* NULL-safe; sets *runtime to NULL. Ends a recording; a failure to write it is told in the log. */
RAPT_API void rapt_runtime_destroy(rapt_runtime **runtime);

#ifdef __cplusplus
}
#endif
#endif
