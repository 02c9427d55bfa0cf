/* rapt: attention on any Vulkan device, from the command line. */
#include "tool.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"devices", tool_devices, "list the Vulkan devices and what they can do"},
    {"run", tool_run, "run an operator on tensors from files"},
    {"explain", tool_explain_command, "tell which kernel would run and why"},
    {"check", tool_check, "hold every kernel against the oracle on this device"},
    {"bench", tool_bench, "measure the device, and time attention on it"},
    {"simulate", tool_simulate, "tell what attention over many devices would take"},
    {"tune", tool_tune, "time every kernel for a problem and keep the fastest"},
    {"systems", tool_systems, "list the published systems covered"},
    {"compile", tool_compile, "show a kernel row from GLSL to driver statistics"},
};

static int help(void)
{
    printf("Usage: rapt COMMAND [options]\n\nAttention kernels on any Vulkan device.\n\nCommands:\n");
    for (size_t n = 0; n < TOOL_COUNT(commands); n++)
        printf("  %-10s %s\n", commands[n].name, commands[n].what);
    printf("\n"
           "  rapt COMMAND --help   its options and examples\n"
           "  rapt --version\n"
           "\n"
           "Environment:\n"
           "  RAPT_DEVICE           the device, where --device does not say: index, UUID or part of a name\n"
           "  RAPT_CACHE_DIR        folder of the disk caches\n"
           "  RAPT_SHADER_OVERRIDE  folder whose <hash>.spv replaces the kernel of that hash\n"
           "  RAPT_SHADER_DUMP      folder into which each kernel used is written\n"
           "  RAPT_RECORD           file into which the problems that are run are recorded\n"
           "\n"
           "Exit codes: 0 good, 1 a check failed or a regression, 2 bad input, 3 no device,\n"
           "4 refused by the device's limits, 5 device lost.\n"
           "\n"
           "Examples:\n"
           "  rapt devices\n"
           "  rapt run attention --q Q.npy --k K.npy --v V.npy --out O.npy --causal\n"
           "  rapt check --quick\n");
    return TOOL_GOOD;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2)
        return tool_error(TOOL_BAD_INPUT, "no command; rapt --help lists them");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return help();
    if (strcmp(argv[1], "--version") == 0) {
        printf("rapt %s\n", rapt_version_string());
        return TOOL_GOOD;
    }
    for (size_t n = 0; n < TOOL_COUNT(commands); n++)
        if (strcmp(argv[1], commands[n].name) == 0)
            return commands[n].run(argc - 1, argv + 1);
    return tool_error(TOOL_BAD_INPUT, "unknown command '%.60s'; rapt --help lists them", argv[1]);
}

int main(int argc, char **argv)
{
    const int code = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout))
        return tool_error(TOOL_BAD_INPUT, "standard output could not be written");
    return code;
}
