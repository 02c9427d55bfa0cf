/* Where results go. */
#ifndef RAPT_TOOL_BENCH_OUTPUT_H
#define RAPT_TOOL_BENCH_OUTPUT_H

#include "bench.h"

/* Before anything is measured: can each output be written, and is what makes the page there? */
bool output_check(const bench_options *o, rapt_error *error);
/* Returns an exit code. What can be written is, whatever becomes of the rest. */
int output_write(const bench_options *o, const cJSON *json);

#endif
