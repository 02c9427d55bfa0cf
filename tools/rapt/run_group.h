/* rapt run attention on several devices. */
#ifndef RAPT_TOOL_RUN_GROUP_H
#define RAPT_TOOL_RUN_GROUP_H

#include "problem_options.h"

typedef struct tool_group_options {
    const char *devices; /* a comma list of what --device takes */
    tool_device_options device; /* what all of them are opened with */
    const char *out, *lse; /* files; lse may be NULL */
    int64_t repeats;       /* for --time; 0: none */
    bool json;
} tool_group_options;

/* Runs it, writes the results and tells who did what. An exit code. */
int tool_run_group(const tool_group_options *options, tool_problem *problem);

#endif
