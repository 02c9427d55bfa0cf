/* Run-time compilation through the disk cache. In librapt; the compiler itself is behind `api`. */
#ifndef RAPT_COMPILER_CACHE_H
#define RAPT_COMPILER_CACHE_H

#include "base/store.h"
#include "compiler/compiler.h"

/* As api->compile, but first looks into the store under a hash of all that the result depends on: source name and
 * text, definitions, its files, target, optimisation, and api->version, which holds the versions of glslang and SPIRV-Tools and a
 * hash of every stock source. *cached (may be NULL) tells whether it was there. Words are freed with rapt_free and the
 * store's allocator. Thread-safety: safe. */
rapt_status rapt_compile_cached(const rapt_store *store, const rapt_compiler_api *api,
                                const rapt_compile_request *request, uint32_t **words, size_t *count, bool *cached,
                                rapt_text *log, rapt_error *error);

#endif
