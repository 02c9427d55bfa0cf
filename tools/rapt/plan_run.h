/* A plan run from files to files: what rapt run linear, memory, scan, route and merge do alike once their options are
 * read. */
#ifndef RAPT_TOOL_PLAN_RUN_H
#define RAPT_TOOL_PLAN_RUN_H

#include "tool.h"

typedef struct plan_run {
    const tool_device_options *where;
    const char *kernel; /* --kernel; NULL: none, or the operator has no such option */
    bool explain;
    int64_t repeats; /* --time; 0: not timed */
    tool_device device;
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_plan_info info;
    cJSON *json; /* --json: what is printed in the end; NULL: text is */
} plan_run;

/* What an operator does itself, with a struct of its own that holds the plan_run. */
typedef struct plan_run_calls {
    bool (*describe)(void *own, rapt_error *error);    /* reads the inputs; no device yet */
    rapt_status (*plan)(void *own, rapt_error *error); /* makes ->plan on ->device */
    rapt_status (*bind)(void *own, rapt_error *error); /* makes ->binding */
    int (*write)(void *own);                           /* the outputs; an exit code */
} plan_run_calls;

/* An exit code. time: --time's value or NULL. plan_run_close is due in any case. */
int plan_run_all(plan_run *p, const char *time, bool json, const plan_run_calls *calls, void *own);
/* An output, as the file `path` and told by its name, or named in the JSON. An exit code. */
int plan_run_save(plan_run *p, const char *name, rapt_buffer *buffer, const rapt_tensor *t, const char *path);
/* The operator's buffers are destroyed between these two: a binding refers to them. */
void plan_run_unbind(plan_run *p);
void plan_run_close(plan_run *p);

#endif
