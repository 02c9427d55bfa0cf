/* How far long work has come, on standard error: one line rewritten in place on a terminal, else a line now
 * and then. */
#ifndef RAPT_TOOL_PROGRESS_H
#define RAPT_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tool_progress {
    size_t total, done;
    double start, last; /* nanoseconds */
    bool terminal, shown;
} tool_progress;

tool_progress tool_progress_begin(size_t total);
/* `what` is being worked on; `done` things are behind. */
void tool_progress_step(tool_progress *p, size_t done, const char *what);
/* The same for work foreseen to take `planned` seconds, of which `done` are behind: estimates that what passes corrects. */
void tool_progress_seconds(tool_progress *p, double done, double planned, const char *what);
/* Takes the line away, so that something else can be printed. */
void tool_progress_clear(tool_progress *p);

#endif
