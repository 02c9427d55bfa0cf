/* The run-time compiler: GLSL -> SPIR-V, in a library of its own (librapt_compiler) that librapt opens when it is first
 * needed. Without it the stock kernels, compiled at build time, still run.
 *
 * librapt sees only this table of functions, obtained through the one exported symbol `rapt_compiler_entry`. */
#ifndef RAPT_COMPILER_H
#define RAPT_COMPILER_H

#include "base/base.h"

#define RAPT_COMPILER_ABI 2

/* In the message for a source whose extension this glslang does not know. */
#define RAPT_EXTENSION_UNKNOWN "extension not supported"

/* A text that a source may include by this name, before any stock file of that name. */
typedef struct rapt_compile_file {
    const char *name, *text;
} rapt_compile_file;

typedef struct rapt_compile_request {
    const char *source_name; /* for messages */
    const char *source;      /* GLSL text; NULL: the stock source of that name (shaders/<source_name>) */
    const char *defines;     /* "-DA=1 -DB=2" */
    uint32_t vulkan_minor;   /* target environment: 0 for Vulkan 1.0, 1 for 1.1, 3 for 1.3 */
    bool optimise;           /* run SPIRV-Tools' performance passes */
    const rapt_compile_file *files;
    uint32_t file_count;
} rapt_compile_request;

/* The Vulkan version that a module was compiled for, by its SPIR-V version. */
static inline uint32_t rapt_spirv_vulkan_minor(const uint32_t *words)
{
    return words[1] >= 0x10600 ? 3 : words[1] >= 0x10500 ? 2 : words[1] >= 0x10300 ? 1 : 0;
}

typedef struct rapt_compiler_api {
    uint32_t abi; /* RAPT_COMPILER_ABI */
    const char *version; /* of glslang and SPIRV-Tools: part of cache keys */
    /* Compiles and validates. On success *words (from `a`, to be freed with rapt_free) and *count. On failure
     * RAPT_ERROR_COMPILE (or _INVALID, _OUT_OF_HOST_MEMORY) with the first compiler message, and, if `log` is not NULL,
     * all of them in it. Thread-safety: safe. */
    rapt_status (*compile)(const rapt_allocator *a, const rapt_compile_request *request, uint32_t **words,
                           size_t *count, rapt_text *log, rapt_error *error);
    /* The text of a stock source or include ("tile/tile.comp"), or NULL. */
    const char *(*stock_source)(const char *name);
    /* Disassembly of SPIR-V into text; false when it is not valid. */
    bool (*disassemble)(const uint32_t *words, size_t count, rapt_text *out);
} rapt_compiler_api;

typedef const rapt_compiler_api *(*rapt_compiler_entry_fn)(uint32_t abi);

#endif
