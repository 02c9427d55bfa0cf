/* score_mod, mask_mod and feature_map as an app gives them: text that is hostile until this checker has seen it.
 *
 * Nothing but tokens that it knows reaches the compiler. What passes is written out again, line by line, with
 *  - every name of the snippet's own prefixed ("usr0_"), so that none can reach a kernel's names, macros or memory;
 *  - every loop under a count that runs down (`usr_tick() &&` in its condition), so that all end;
 *  - every computed index clamped to what it indexes.
 * In librapt: it needs no compiler. */
#ifndef RAPT_COMPILER_SNIPPET_H
#define RAPT_COMPILER_SNIPPET_H

#include "base/base.h"

#define RAPT_SNIPPET_BYTES (64u << 10) /* longest text */
#define RAPT_SNIPPET_TOKENS 16384u     /* most tokens, and most when every call is written out */
#define RAPT_SNIPPET_STATEMENT 1000u   /* most tokens of one statement */
#define RAPT_SNIPPET_NESTING 32u       /* deepest (, [ and { */
#define RAPT_SNIPPET_FUNCTIONS 64u
#define RAPT_SNIPPET_ELSES 256u      /* a chain of them nests */
#define RAPT_SNIPPET_ELEMENTS 1024u  /* of all arrays */
#define RAPT_SNIPPET_NAME 64u        /* longest name */
#define RAPT_SNIPPET_ITERATIONS 4096 /* of all loops in one call of score_mod or mask_mod */

typedef enum rapt_snippet_kind {
    RAPT_SNIPPET_SCORE, /* float score_mod(float score, uint b, uint h, uint q, uint k) */
    RAPT_SNIPPET_MASK,  /* bool mask_mod(uint b, uint h, uint q, uint k) */
    RAPT_SNIPPET_FEATURE, /* float feature_map(float x), or with uint b, uint h, uint t, uint i behind it */
} rapt_snippet_kind;

typedef struct rapt_snippet {
    rapt_snippet_kind kind;
    const char *label;          /* for messages: "score_mod" */
    unsigned number;            /* of its prefix */
    const char *text;
    const char *const *buffers; /* names of the user buffers, which the text calls as functions */
    uint32_t buffer_count;
} rapt_snippet;

/* Checks, and writes the text for the compiler into *out (from `a`, *size bytes with the NUL). RAPT_ERROR_INVALID: one
 * line that begins "label:line: ". *tokens (may be NULL): of the function with all that it calls written out. */
rapt_status rapt_snippet_translate(const rapt_allocator *a, const rapt_snippet *snippet, char **out, size_t *size,
                                   uint32_t *tokens, rapt_error *error);

/* Whether a user buffer may have this name: a name of the app's own, at most 32 characters. */
bool rapt_snippet_buffer_name(const char *name);

/* Takes the prefixes out of a compiler's message again, in place. */
void rapt_snippet_unprefix(char *message);

#endif
