/* Whole files: read at once, and written so that a reader sees the old one or the new one. */
#ifndef RAPT_TOOL_BENCH_TEXT_FILE_H
#define RAPT_TOOL_BENCH_TEXT_FILE_H

#include <rapt/status.h>
#include <stdbool.h>
#include <stddef.h>

/* Everything in the file, with a NUL behind it; *size without that. NULL, with one line in `error`: no such
 * file, more than `most` bytes, a NUL inside (no text), no memory. The caller frees it. */
char *text_file_read(const char *path, size_t most, size_t *size, rapt_error *error);

/* Can a file of this name be written? Leaves no trace. */
bool text_file_writable(const char *path, rapt_error *error);
/* Beside it first, then renamed. What is no regular file (a pipe, /dev/stdout) is written as it is. */
bool text_file_write(const char *path, const char *text, size_t size, rapt_error *error);

#endif
