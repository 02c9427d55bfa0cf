/* How many turns the loops of a kernel take, for drivers that end loops on their own (quirks.c): all loops of one invocation
 * together, counted upwards wherever a compiler may or may not unroll one. An app's own loops, in its code, are not counted. */
#ifndef RAPT_PLAN_TURNS_H
#define RAPT_PLAN_TURNS_H

#include "plan/plan.h"

/* How many steps of `turns` each one invocation may take, at least 1; RAPT_ANY_STEPS where no driver counts. */
#define RAPT_ANY_STEPS UINT64_MAX
uint64_t rapt_most_steps(const rapt_caps *caps, uint64_t turns);
/* RAPT_OK, or RAPT_ERROR_UNSUPPORTED that says what would end too early. `what`: "a convolution of 70000 taps". */
rapt_status rapt_check_turns(const rapt_caps *caps, uint64_t turns, const char *what, rapt_error *error);

/* Attention: how many keys one key split of this row may have, a multiple of its tile; tiles of a grid likewise. */
uint64_t rapt_most_keys(const rapt_kernel_row *row, const rapt_problem *problem, const rapt_caps *caps);
/* Whether the loops of this row come to their end when it makes lists of tiles for the main row. */
bool rapt_lists_end(const rapt_kernel_row *row, const rapt_problem *problem, const rapt_caps *caps, const rapt_choice *main);
/* Linear attention and scans, of one token. */
uint64_t rapt_linear_token_turns(const rapt_linear_problem *problem);
uint64_t rapt_scan_token_turns(const rapt_scan_problem *problem);
/* Of one output of a convolution. */
uint64_t rapt_conv_turns(const rapt_scan_problem *problem);

#endif
