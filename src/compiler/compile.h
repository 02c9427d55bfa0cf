/* The parts of librapt_compiler: glslang through its C interface (compile.c), SPIRV-Tools' optimizer, which has a C++
 * interface only in the versions we support, and the guard that keeps exceptions inside (guard.cpp). */
#ifndef RAPT_COMPILER_COMPILE_H
#define RAPT_COMPILER_COMPILE_H

#ifdef __cplusplus
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#endif

#include "compiler/compiler.h"

/* May throw std::bad_alloc, as glslang does: called through the guard only. */
rapt_status rapt_glsl_compile(const rapt_allocator *a, const rapt_compile_request *request, uint32_t **words,
                              size_t *count, rapt_text *log, rapt_error *error);
const char *rapt_glsl_stock_source(const char *name);
bool rapt_glsl_disassemble(const uint32_t *words, size_t count, rapt_text *out);
/* "glslang 12.0.0, SPIRV-Tools v2023.1, sources <hash>": made once by rapt_glsl_start, which counts on being called
 * by one thread at a time (the guard sees to that). false: glslang does not start. */
bool rapt_glsl_start(char *version, size_t capacity);
void rapt_glsl_stop(void);

/* Runs the performance passes over *words, replacing them (both from `a`). */
rapt_status rapt_spirv_optimise(const rapt_allocator *a, uint32_t **words, size_t *count, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
