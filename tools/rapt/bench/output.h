/* Where results go. */
#ifndef RAPT_TOOL_BENCH_OUTPUT_H
#define RAPT_TOOL_BENCH_OUTPUT_H

#include "tool.h"

/* Names of files, NULL: not wanted. "-" is standard output, but for a page and a picture. */
typedef struct output_files {
    const char *json, *csv, *html, *picture;
} output_files;

/* Before anything is measured: can each output be written, and is what makes the page there? */
bool output_check(const output_files *o, rapt_error *error);
/* Returns an exit code. What can be written is, whatever becomes of the rest. */
int output_write(const output_files *o, const cJSON *json);

#endif
