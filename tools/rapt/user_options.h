/* The options for code of the user's own in the kernel: snippets, the buffers and constants that they read. */
#ifndef RAPT_TOOL_USER_OPTIONS_H
#define RAPT_TOOL_USER_OPTIONS_H

#include "args.h"
#include "tensor_file.h"
#include "tool.h"

/* As they stand on the command line. */
typedef struct tool_user_options {
    const char *score_mod, *mask_mod, *buffers, *constants;
} tool_user_options;

#define TOOL_OPTIONS_USER(u)                                                                                 \
    {"--score-mod", "FILE[,FILE..]",                                                                         \
     "GLSL that changes scores, compiled now: float score_mod(float score,\n"                                \
     "uint b, uint h, uint q, uint k), h the query head, q and k in their own\n"                             \
     "sequence; several files are chained",                                                                  \
     &(u).score_mod, NULL},                                                                                  \
        {"--mask-mod", "FILE[,FILE..]",                                                                      \
         "GLSL that hides keys: bool mask_mod(uint b, uint h, uint q, uint k), true:\n"                      \
         "visible; several files must all agree",                                                            \
         &(u).mask_mod, NULL},                                                                               \
        {"--user", "NAME=FILE[,..]",                                                                         \
         "buffers that the snippets read as float NAME(uint i) (float32 files) or\n"                         \
         "int NAME(uint i) (int32), the index clamped; at most 4",                                           \
         &(u).buffers, NULL},                                                                                \
    {                                                                                                        \
        "--user-const", "A,B,..", "numbers that the snippets read as user_f(0), user_f(1) ..; at most 16",   \
            &(u).constants, NULL                                                                             \
    }

/* What the descriptor's members point into. */
typedef struct tool_user {
    char *texts[2 * RAPT_USER_MODS];
    char *names[RAPT_USER_BUFFERS];
    tensor_file files[RAPT_USER_BUFFERS]; /* float32 or int32 */
} tool_user;

/* Reads files, and fills desc's members. Free in any case. */
bool tool_user_make(const tool_user_options *options, tool_user *user, rapt_attention_desc *desc, rapt_error *error);
void tool_user_free(tool_user *user);
void tool_user_json(const rapt_attention_desc *desc, cJSON *object);

/* A text file, from malloc: *out must be freed whatever is returned. */
bool tool_read_text(const char *option, const char *path, char **out, rapt_error *error);

#endif
