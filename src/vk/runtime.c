/* The runtime object: options, environment, the run-time compiler's library. */
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#elif !defined(_WIN32)
#define _GNU_SOURCE /* dladdr */
#endif
#include "vk/internal.h"
#include <stdio.h>
#include <stdlib.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#define CACHE_SECONDS (30.0 * 86400) /* for which files of other builds stay in the cache folder */

rapt_status rapt_options_take(void *to, size_t to_size, const void *from, const char *type_name,
                              rapt_error *error)
{
    uint32_t from_size;
    memcpy(&from_size, from, sizeof from_size);
    if (from_size < sizeof from_size)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s.struct_size is %u: set it to sizeof(%s)", type_name,
                         (unsigned)from_size, type_name);
    if (from_size > to_size) {
        if (from_size - to_size > 65536)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s.struct_size is %u: not a size of that structure",
                             type_name, (unsigned)from_size);
        const unsigned char *tail = (const unsigned char *)from + to_size;
        for (size_t i = 0; i < from_size - to_size; i++)
            if (tail[i] != 0)
                return rapt_fail(error, RAPT_ERROR_INVALID,
                                 "%s sets a member that this version of rapt (%s) does not know", type_name,
                                 rapt_version_string());
    }
    memcpy(to, from, RAPT_MIN((size_t)from_size, to_size));
    memcpy(to, &(uint32_t){(uint32_t)to_size}, sizeof(uint32_t));
    return RAPT_OK;
}

/* Copies a path or a name into the runtime; NULL counts as "". */
static rapt_status take_text(char *to, size_t capacity, const char *from, const char *what, rapt_error *error)
{
    size_t length = from == NULL ? 0 : strlen(from);
    if (length >= capacity)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is longer than %u bytes", what,
                         (unsigned)(capacity - 1));
    if (length > 0)
        memcpy(to, from, length);
    to[length] = '\0';
    return RAPT_OK;
}

/* The platform's cache folder, or "" where the environment does not tell one (which turns the disk caches
 * off). Relative XDG_CACHE_HOME is to be ignored, says its specification. */
static void default_cache_dir(char *out, size_t capacity)
{
    const char *base, *format;
    out[0] = '\0';
#if defined(_WIN32)
    base = getenv("LOCALAPPDATA");
    format = "%s\\rapt";
#else
    base = getenv("XDG_CACHE_HOME");
    format = "%s/rapt";
    if (base == NULL || base[0] != '/') {
        base = getenv("HOME");
        format = "%s/.cache/rapt";
    }
#endif
    if (base == NULL || base[0] == '\0')
        return;
    int length = snprintf(out, capacity, format, base);
    if (length < 0 || (size_t)length >= capacity)
        out[0] = '\0';
}

rapt_status rapt_runtime_create(const rapt_runtime_options *options, rapt_runtime **out, rapt_error *error)
{
    rapt_runtime_options o = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_status status;
    if (out == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_runtime_create: runtime is NULL");
    *out = NULL;
    if (options != NULL) {
        status = rapt_options_take(&o, sizeof o, options, "rapt_runtime_options", error);
        if (status != RAPT_OK)
            return status;
    }
    if ((int)o.log_level < 0 || o.log_level > RAPT_LOG_DEBUG)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_runtime_options.log_level is %d", (int)o.log_level);
    rapt_allocator allocator = rapt_allocator_default();
    if (o.allocator != NULL &&
        (o.allocator->alloc != NULL || o.allocator->realloc != NULL || o.allocator->free != NULL)) {
        if (o.allocator->alloc == NULL || o.allocator->realloc == NULL || o.allocator->free == NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "rapt_allocator: set alloc, realloc and free, or none of them");
        allocator = *o.allocator;
    }
    bool environment = o.ignore_environment == 0;
    rapt_runtime *runtime = rapt_calloc(&allocator, 1, sizeof *runtime);
    if (runtime == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                         "rapt_runtime_create: no memory for the runtime");
    runtime->allocator = allocator;
    runtime->log.fn = o.log;
    runtime->log.user = o.log_user;
    runtime->log.level = o.log_level == 0 ? RAPT_LOG_WARNING : o.log_level;
    atomic_init(&runtime->validation_messages, 0);
    atomic_init(&runtime->abandoned, false);
    atomic_init(&runtime->recording, false);
    bool locked = rapt_mutex_init(&runtime->lock);
    if (locked && !rapt_mutex_init(&runtime->record_lock)) {
        rapt_mutex_destroy(&runtime->lock);
        locked = false;
    }
    if (!locked) {
        status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "rapt_runtime_create: no mutex");
        goto fail;
    }

    char cache[1024];
    const char *cache_dir = o.cache_dir, *override_dir = o.shader_override_dir, *dump_dir = o.shader_dump_dir;
    const char *device = NULL, *record = NULL;
    if (environment) {
        if (cache_dir == NULL)
            cache_dir = getenv("RAPT_CACHE_DIR");
        if (cache_dir == NULL) {
            default_cache_dir(cache, sizeof cache);
            cache_dir = cache;
        }
        if (override_dir == NULL)
            override_dir = getenv("RAPT_SHADER_OVERRIDE");
        if (dump_dir == NULL)
            dump_dir = getenv("RAPT_SHADER_DUMP");
        device = getenv("RAPT_DEVICE");
        record = getenv("RAPT_RECORD");
    }
    const struct {
        char *to;
        size_t capacity;
        const char *from, *what;
    } texts[] = {
        {runtime->vulkan_library, sizeof runtime->vulkan_library, o.vulkan_library,
         "the path vulkan_library"},
        {runtime->compiler_library, sizeof runtime->compiler_library, o.compiler_library,
         "the path compiler_library"},
        {runtime->override_dir, sizeof runtime->override_dir, override_dir, "the path shader_override_dir"},
        {runtime->dump_dir, sizeof runtime->dump_dir, dump_dir, "the path shader_dump_dir"},
        {runtime->default_device, sizeof runtime->default_device, device, "RAPT_DEVICE"},
    };
    for (size_t i = 0; i < RAPT_COUNT(texts); i++) {
        status = take_text(texts[i].to, texts[i].capacity, texts[i].from, texts[i].what, error);
        if (status != RAPT_OK)
            goto fail;
    }
    runtime->compiler_off = o.compiler_library != NULL && o.compiler_library[0] == '\0';
    if (cache_dir != NULL && strlen(cache_dir) >= sizeof runtime->store.dir) {
        status = rapt_fail(error, RAPT_ERROR_INVALID, "the path cache_dir is longer than %u bytes",
                           (unsigned)(sizeof runtime->store.dir - 1));
        goto fail;
    }
    rapt_store_init(&runtime->store, &runtime->allocator, runtime->log, cache_dir);
    rapt_store_prune(&runtime->store, CACHE_SECONDS);
    rapt_error why;
    if (record != NULL && rapt_runtime_record(runtime, record, &why) != RAPT_OK) /* never the app's trouble */
        rapt_log_write(&runtime->log, RAPT_LOG_WARNING, "RAPT_RECORD: %s", why.message);
    *out = runtime;
    return RAPT_OK;

fail:
    if (locked) {
        rapt_mutex_destroy(&runtime->record_lock);
        rapt_mutex_destroy(&runtime->lock);
    }
    rapt_free(&allocator, runtime, sizeof *runtime);
    return status;
}

void rapt_runtime_destroy(rapt_runtime **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    rapt_runtime *runtime = *handle;
    *handle = NULL;
    rapt_error why;
    if (rapt_runtime_record(runtime, NULL, &why) != RAPT_OK)
        rapt_log_write(&runtime->log, RAPT_LOG_WARNING, "%s", why.message);
    rapt_loader_close(runtime);
    if (atomic_load(&runtime->abandoned))
        return; /* an abandoned instance may still call back into the runtime */
    rapt_library_close(runtime->compiler_handle);
    rapt_mutex_destroy(&runtime->record_lock);
    rapt_mutex_destroy(&runtime->lock);
    rapt_allocator allocator = runtime->allocator;
    rapt_free(&allocator, runtime, sizeof *runtime);
}

/* ---- The run-time compiler ---- */

#if defined(_WIN32)
static const char *const compiler_names[] = {"rapt_compiler-0.dll", "librapt_compiler-0.dll",
                                             "rapt_compiler.dll", "librapt_compiler.dll"};
#elif defined(__APPLE__)
static const char *const compiler_names[] = {"librapt_compiler.0.dylib", "librapt_compiler.dylib"};
#else
static const char *const compiler_names[] = {"librapt_compiler.so.0", "librapt_compiler.so"};
#endif

/* The folder of the library (or program) that this code is in, with its final separator; false if unknown. */
static bool own_folder(char *out, size_t capacity)
{
    char path[1024];
    path[0] = '\0';
#if defined(_WIN32)
    HMODULE module = NULL;
    wchar_t wide[1024];
    if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                                GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            (LPCWSTR)(const void *)compiler_names, &module))
        return false;
    DWORD length = GetModuleFileNameW(module, wide, RAPT_COUNT(wide));
    if (length == 0 || length >= RAPT_COUNT(wide) ||
        WideCharToMultiByte(CP_UTF8, 0, wide, -1, path, (int)sizeof path, NULL, NULL) <= 0)
        return false;
    char *slash = strrchr(path, '\\');
#else
    Dl_info info;
    if (dladdr((const void *)compiler_names, &info) == 0 || info.dli_fname == NULL ||
        strlen(info.dli_fname) >= sizeof path)
        return false;
    memcpy(path, info.dli_fname, strlen(info.dli_fname) + 1);
    char *slash = strrchr(path, '/');
#endif
    if (slash == NULL)
        return false;
    slash[1] = '\0';
    if (strlen(path) >= capacity)
        return false;
    memcpy(out, path, strlen(path) + 1);
    return true;
}

/* Opens `path` and asks it for the table. Leaves the runtime as it was when either fails. */
static bool try_compiler(rapt_runtime *runtime, const char *path, rapt_text *tried)
{
    rapt_text_add(tried, "%s%s", tried->length > 0 ? ", " : "", path);
    void *library = rapt_library_open(path);
    if (library == NULL)
        return false;
    void *symbol = rapt_library_symbol(library, "rapt_compiler_entry");
    const rapt_compiler_api *api = NULL;
    if (symbol != NULL) {
        rapt_compiler_entry_fn entry;
        memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast between the two kinds of pointer */
        api = entry(RAPT_COMPILER_ABI);
    }
    if (api == NULL || api->abi != RAPT_COMPILER_ABI) {
        rapt_text_add(tried, " (not a compiler for this rapt)");
        rapt_library_close(library);
        return false;
    }
    runtime->compiler_handle = library;
    runtime->compiler = api;
    rapt_log_write(&runtime->log, RAPT_LOG_INFO, "run-time compiler %s: %s", path, api->version);
    return true;
}

rapt_status rapt_runtime_compiler(rapt_runtime *runtime, const rapt_compiler_api **api, rapt_error *error)
{
    char text[384];
    rapt_text tried = rapt_text_over(text, sizeof text);
    rapt_status status = RAPT_OK;
    *api = NULL;
    if (runtime->compiler_off)
        return rapt_fail(
            error, RAPT_ERROR_UNSUPPORTED,
            "run-time compilation is turned off (rapt_runtime_options.compiler_library is \"\")");
    rapt_mutex_lock(&runtime->lock);
    if (runtime->compiler == NULL) {
        bool found = false;
        if (runtime->compiler_library[0] != '\0') {
            found = try_compiler(runtime, runtime->compiler_library, &tried);
        } else {
            char folder[1024], path[1088];
            if (own_folder(folder, sizeof folder)) {
                for (size_t i = 0; i < RAPT_COUNT(compiler_names) && !found; i++) {
                    snprintf(path, sizeof path, "%s%s", folder, compiler_names[i]);
                    found = try_compiler(runtime, path, &tried);
                }
            }
            for (size_t i = 0; i < RAPT_COUNT(compiler_names) && !found; i++)
                found = try_compiler(runtime, compiler_names[i], &tried);
        }
        if (!found)
            status = rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no run-time compiler; tried %s", text);
    }
    *api = runtime->compiler;
    rapt_mutex_unlock(&runtime->lock);
    return status;
}
