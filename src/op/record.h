/* A problem as a line of a recording: what an app ran, to be run again elsewhere. Knows nothing of files. */
#ifndef RAPT_OP_RECORD_H
#define RAPT_OP_RECORD_H

#include "op/attention.h"
#include "op/linear.h"

#define RAPT_RECORD_HEADER "{\"rapt_record\":1}\n"
#define RAPT_RECORD_LINE_MAX 6000 /* bytes of one line, at most */

/* Whether a line can hold a problem: not an app's code, not a block mask, whose content decides the work, and no further outputs. Lengths
 * of batch entries and segments lie on the device: that there are such is said. */
bool rapt_record_takes(const rapt_problem *problem);
/* Equal for problems whose lines differ in their count alone. */
rapt_hash rapt_record_key(const rapt_problem *problem);
/* Appends the line, with its newline. */
void rapt_record_line(const rapt_problem *problem, uint64_t count, rapt_text *text);

/* The same of linear attention. What a line cannot hold: an app's feature map, states at positions. */
bool rapt_record_takes_linear(const rapt_linear_problem *problem);
rapt_hash rapt_record_linear_key(const rapt_linear_problem *problem);
void rapt_record_linear_line(const rapt_linear_problem *problem, uint64_t count, rapt_text *text);

#endif
