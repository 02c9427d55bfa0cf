#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* isatty, fileno */
#include <unistd.h>
#else
#include <io.h>
#define isatty _isatty
#define fileno _fileno
#endif
#include "progress.h"

#include "tool.h"

#include <stdio.h>

#define TERMINAL_NS 1e8 /* between two looks of the line */
#define LINES_NS 5e9    /* between two lines */

tool_progress tool_progress_begin(size_t total)
{
    tool_progress p = {.total = total, .terminal = isatty(fileno(stderr)) != 0};
    p.start = p.last = tool_now_ns();
    return p;
}

void tool_progress_step(tool_progress *p, size_t done, const char *what)
{
    const double now = tool_now_ns();
    p->done = done;
    if (now - p->last < (p->terminal ? TERMINAL_NS : LINES_NS))
        return;
    p->last = now;
    const double left = done > 0 ? (now - p->start) / (double)done * (double)(p->total - done) : 0;
    fprintf(stderr,
            p->terminal ? "\r\033[K%zu of %zu, about %.0f s left: %.60s"
                        : "%zu of %zu, about %.0f s left: %.60s\n",
            done, p->total, left / 1e9, what);
    p->shown = p->terminal;
    fflush(stderr);
}

void tool_progress_seconds(tool_progress *p, double done, double planned, const char *what)
{
    const double now = tool_now_ns();
    if (now - p->last < (p->terminal ? TERMINAL_NS : LINES_NS))
        return;
    p->last = now;
    double share = planned > 0 ? done / planned : 0;
    share = share > 0.999 ? 0.999 : share;
    const double left = share > 0.1 ? (now - p->start) / 1e9 * (1 - share) / share : planned - done;
    fprintf(stderr, p->terminal ? "\r\033[K%.0f %%, about %.0f s left: %.60s" : "%.0f %%, about %.0f s left: %.60s\n",
            100 * share, left, what);
    p->shown = p->terminal;
    fflush(stderr);
}

void tool_progress_clear(tool_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
