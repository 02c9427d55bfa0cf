/* Other programs: where they lie, and running them. */
#ifndef RAPT_TOOL_BENCH_PROCESS_H
#define RAPT_TOOL_BENCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* `relative` to the folder of the running program; false if nothing of that name is there. */
bool process_beside(const char *relative, char *out, size_t capacity);
bool process_file_exists(const char *path);

/* Runs a program found on PATH or by its path, without a shell, and waits for it: words[0] is the program,
 * the last is NULL. Its standard output goes to `output`, NULL: to standard error. Returns its exit code; -1:
 * it could not be started; -2: a signal ended it. */
int process_run(const char *const *words, FILE *output);
/* This program ends, and the other one is in its place, with its files and its number (where the system can, else as process_run). Returns only
 * where that failed, or what process_run does. */
int process_become(const char *const *words);

#endif
