/* Log lines to the app's callback. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

void rapt_log_write(const rapt_log *log, rapt_log_level level, const char *format, ...)
{
    if (log == NULL || log->fn == NULL || level > log->level)
        return;
    char line[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0)
        return;
    if ((size_t)n >= sizeof line)
        memcpy(line + sizeof line - 4, "...", 4);
    for (char *c = line; *c != '\0'; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    log->fn(log->user, level, line);
}
