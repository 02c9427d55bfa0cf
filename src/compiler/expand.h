/* Include resolution: one text out of a source and the stock files it includes.
 *
 * glslang's C interface has had include callbacks only since version 12.3, so we resolve includes ourselves, for
 * every version alike. #line directives with source numbers keep the places; rapt_expansion maps them to names. */
#ifndef RAPT_COMPILER_EXPAND_H
#define RAPT_COMPILER_EXPAND_H

#include "compiler/compiler.h"

typedef struct rapt_expansion {
    const rapt_allocator *allocator;
    char *text; /* NUL-terminated */
    size_t length, capacity;
    char (*names)[256]; /* by source number; 0 is the source itself */
    size_t name_count, name_capacity;
    const rapt_compile_file *files; /* of the request */
    uint32_t file_count;
} rapt_expansion;

/* `name`: of the source, for messages and to find files beside it. RAPT_ERROR_COMPILE with file and line of an include
 * that is not there. The expansion is to be freed in either case. */
rapt_status rapt_expand(rapt_expansion *out, const rapt_allocator *a, const char *name, const char *source,
                        const rapt_compile_file *files, uint32_t file_count, rapt_error *error);
void rapt_expansion_free(rapt_expansion *expansion);

/* Rewrites glslang's messages: "ERROR: 2:14: text" becomes "common/io.glsl:14: error: text". The first error, without
 * its newline, also goes to `first` (of `first_size` bytes). */
void rapt_expansion_messages(const rapt_expansion *expansion, const char *messages, rapt_text *log, char *first,
                             size_t first_size);

#endif
