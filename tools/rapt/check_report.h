/* What rapt check found, for a bug report: each failure with its row, shape, error, tolerance, seed, driver
 * and the command that shows it again. */
#ifndef RAPT_TOOL_CHECK_REPORT_H
#define RAPT_TOOL_CHECK_REPORT_H

#include "tool.h"

#include "check/runner.h"

typedef struct check_failure {
    char name[240];  /* of the case */
    char shape[700]; /* in one line; "": the name says it */
    char command[1024]; /* that shows it again */
    bool forced; /* the row was forced by name; else it is the planner's choice */
    const char *forced_kernel;
    const char *mask;   /* capabilities lowered by; "" for none */
    uint64_t seed; /* 0: the case has its own, always the same */
    rapt_result result; /* with the kernels that ran, as far as it came */
    char message[700];
} check_failure;

/* One line of the table of rows. */
typedef struct check_row {
    const char *kernel; /* or system; "(chosen)" for the planner's choice */
    const char *mask;
    size_t pass, fail, refused;
    double worst; /* largest error / tolerance of the passes */
    const char *worst_case, *refusal;
} check_row;

typedef struct check_report {
    const char *title; /* the command: "rapt check" */
    const rapt_caps *caps;
    const tool_device_options *device; /* as on the command line */
    const char *set;                   /* "quick", "full" or what it was narrowed to */
    uint32_t repeats;
    size_t runs, failures;      /* failures: all there were */
    size_t repeated, differing; /* repeats run, and those of other bits than their first run */
    double seconds;
    const check_failure *list;
    size_t list_count; /* may be less than `failures` */
    const check_row *rows;
    size_t row_count;
} check_report;

/* "batch 2, heads 4:2, nq 5, .." in one line. */
void check_shape_line(const rapt_case *c, char *text, size_t capacity);
/* Writes the command line that runs this failure alone: `start`, then the row or --chosen, mask, repeats and device. */
void check_command_line(check_failure *f, const tool_device_options *device, uint32_t repeats, const char *start);
cJSON *check_failure_json(const check_report *report, const check_failure *f);
/* Markdown. */
void check_report_write(const check_report *report, FILE *file);

/* A file for a report, opened for writing before anything runs; what it holds stays until the report is there. NULL path: none. */
int check_report_open(const char *path, FILE **file);
/* Writes it and closes the file; an exit code. *file may be NULL. */
int check_report_close(const check_report *report, const char *path, FILE **file);

/* What `rapt check all` gathers from its parts: which kernel rows had a pipeline on any device that they used, and which failed a
 * probe there, [rapt_kernel_count()]; with --json also their summaries, by name. */
typedef struct check_coverage {
    bool *used, *wrong;
    cJSON *json;
} check_coverage;
/* Adds what a device has done so far; coverage or device may be NULL. */
void check_coverage_add(check_coverage *coverage, rapt_device *device);

/* Prints a part's summary and deletes it, or keeps it under this name for `rapt check all`. An exit code. */
int check_json(check_coverage *coverage, const char *part, cJSON *summary);

/* The checks as commands of their own, and as parts of `rapt check all`, which gathers coverage; it may be NULL. */
int check_attention(int argc, char **argv, check_coverage *coverage);
int check_linear(int argc, char **argv, check_coverage *coverage);
int check_systems(int argc, char **argv, check_coverage *coverage);

/* The exit code that a check of any kind ends with, told in a line where it is none of its results. any: whether anything passed,
 * or had to. */
int tool_check_code(bool lost, size_t runs, size_t failures, bool any);

#endif
