/* rapt bench --distributed: bench/distributed, a program of its own, which alone is linked with MPI. */
#include "bench.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

int bench_distributed(int argc, char **argv)
{
    char program[2048];
    if (!process_beside(RAPT_BENCH_DISTRIBUTED_BUILD, program, sizeof program) &&
        !process_beside(RAPT_BENCH_DISTRIBUTED_INSTALLED, program, sizeof program))
        return tool_error(TOOL_BAD_INPUT, "bench --distributed: this build is without MPI (-Dmpi=enabled, with MPICH or Open MPI)");
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    size_t count = 0;
    if (!words)
        return tool_no_memory();
    words[count++] = program;
    for (int n = 1; n < argc; n++)
        if (strcmp(argv[n], "--distributed") != 0)
            words[count++] = argv[n];
    const int code = process_become(words);
    free(words);
    return code >= 0 ? code : tool_error(TOOL_BAD_INPUT, "bench --distributed: %.2000s cannot be started", program);
}
