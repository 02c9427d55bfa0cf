/* What a result says of the run as a whole. */
#ifndef RAPT_TOOL_BENCH_HEAD_H
#define RAPT_TOOL_BENCH_HEAD_H

#include "bench.h"

/* schema, mode, command, started, rapt, host. */
cJSON *head_json(const char *mode, int argc, char **argv);

#endif
