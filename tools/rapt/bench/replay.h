/* Recorded problems of a real program: a file of JSON lines, as written under RAPT_RECORD. */
#ifndef RAPT_TOOL_BENCH_REPLAY_H
#define RAPT_TOOL_BENCH_REPLAY_H

#include "check/cases.h"

#include <rapt/linear.h>

typedef struct replay_problem {
    rapt_case c;              /* sizes; named by its shape and its place in the file: "1:B1H8D64N77f16", "2:delta-token-B1H8D64N77f16" */
    bool is_linear;           /* of c, then, name and dtype alone are set */
    rapt_attention_desc desc; /* strides, scale, bounds */
    rapt_linear_desc linear;
    uint32_t lengths[RAPT_CASE_SEQUENCES]; /* of linear attention's packed sequences */
    double count;             /* how often it was computed */
} replay_problem;

typedef struct replay {
    replay_problem *problems;
    size_t count;
    double omitted; /* calls that the recording counts alone: see rapt_runtime_record */
} replay;

/* False with one line in `error`, naming the file and the line in it. Free in any case. The lengths of packed
 * sequences are not recorded, only how many there are and their bounds: one gets the longest, the others
 * share what is left. */
bool replay_read(const char *path, replay *out, rapt_error *error);
void replay_free(replay *r);

#endif
