/* What the subcommands of `rapt` share: exit codes, errors, the device, figures, JSON. */
#ifndef RAPT_TOOL_H
#define RAPT_TOOL_H

#include <rapt/rapt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cjson/cJSON.h>

#if defined(__GNUC__)
#define TOOL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define TOOL_PRINTF(fmt, args)
#endif

#define TOOL_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Exit codes: a contract, see main.c. */
enum {
    TOOL_GOOD = 0,
    TOOL_CHECK_FAILED = 1, /* a check failed, or a regression */
    TOOL_BAD_INPUT = 2,
    TOOL_NO_DEVICE = 3,
    TOOL_REFUSED = 4, /* by the device's limits */
    TOOL_DEVICE_LOST = 5,
    TOOL_INTERRUPTED = 130, /* by Ctrl-C, as shells give it */
};

/* ---- Ctrl-C ---- */

/* From here on the first Ctrl-C, or SIGTERM, is only noted, for long work to end in good order; the second one ends the program. */
void tool_catch_interrupts(void);
bool tool_interrupted(void);

/* ---- errors ---- */

/* Prints "rapt: .." as one line to standard error and returns `code`. */
int tool_error(int code, const char *format, ...) TOOL_PRINTF(2, 3);
/* The same for a failed call of the library: its message, and the exit code that its status stands for. */
int tool_status_error(rapt_status status, const rapt_error *error);
int tool_exit_code(rapt_status status);
/* Fills `error` with a status and a message; returns false. */
bool tool_fail(rapt_error *error, rapt_status status, const char *format, ...) TOOL_PRINTF(3, 4);
/* The message of `error` behind "rapt: ", exit code by its status. */
int tool_report(const rapt_error *error);
int tool_no_memory(void);

/* ---- the device ---- */

/* What --device, --caps, --no-probe, --verbose say; pointers into argv. */
typedef struct tool_device_options {
    const char *device, *caps;
    bool no_probe, validation, verbose;
} tool_device_options;

typedef struct tool_device {
    rapt_runtime *runtime;
    rapt_device *device;
} tool_device;

/* Returns an exit code; TOOL_GOOD with an open device. The device is printed: to standard output, or to
 * standard error when `json` has standard output. Close in any case. */
int tool_runtime_open(const tool_device_options *options, rapt_runtime **runtime);
int tool_device_open(const tool_device_options *options, bool json, tool_device *out);
void tool_device_close(tool_device *device);

/* One line: name, driver, kind, mask. */
void tool_device_line(const rapt_caps *caps, const char *mask, char *text, size_t capacity);
cJSON *tool_caps_json(const rapt_caps *caps);
const char *tool_device_type_name(uint32_t type);

/* Is there a kernel row of this name? NULL is fine. Prints what there is, if not. */
int tool_kernel_known(const char *kernel);

/* ---- text of variable length ---- */

/* What rapt_plan_explain says, to be freed. NULL when there is no memory. */
char *tool_explain(const rapt_plan *plan, rapt_text_format format);
char *tool_explain_refusal(rapt_device *device, const rapt_attention_desc *desc, rapt_text_format format);

/* ---- figures ---- */

double tool_now_ns(void);

typedef struct tool_figures {
    double median, min, max;
} tool_figures;
tool_figures tool_figures_of(double *samples, size_t count); /* sorts */

/* "1.234 ms" */
void tool_duration(double ns, char out[32]);

/* Runs a binding once and waits. *device_ns is -1 where the queue has no timestamps. */
rapt_status tool_submit(rapt_binding *binding, double *device_ns, double *wall_ns, rapt_error *error);
/* Runs it `repeats` times more and tells the times: a line, or "time" of `json` where that is not NULL. An exit code. */
int tool_timed(rapt_binding *binding, int64_t repeats, cJSON *json);

/* ---- JSON ---- */

void tool_json_number(cJSON *object, const char *name, double value); /* null for what is not finite */
void tool_json_figures(cJSON *object, const char *name, tool_figures figures); /* in nanoseconds */
/* Prints and deletes it: to a file, or to standard output for NULL or "-". Returns an exit code. */
int tool_json_print(cJSON *json, const char *path);

/* ---- the subcommands: argv[0] is the name of the command ---- */
int tool_devices(int argc, char **argv);
int tool_run(int argc, char **argv);
int tool_run_system(int argc, char **argv);
int tool_run_linear(int argc, char **argv);
int tool_run_route(int argc, char **argv);
int tool_run_merge(int argc, char **argv);
int tool_run_rows(int argc, char **argv);
int tool_run_memory(int argc, char **argv);
int tool_run_scan(int argc, char **argv);
int tool_explain_scan(int argc, char **argv);
int tool_explain_command(int argc, char **argv);
int tool_check(int argc, char **argv);
int tool_bench(int argc, char **argv);
int tool_simulate(int argc, char **argv);
int tool_systems(int argc, char **argv);
int tool_tune(int argc, char **argv);
int tool_compile(int argc, char **argv);

#endif
