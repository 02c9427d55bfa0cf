/* How far a key lies from a query, and the entry of a table for that: rapt/attention.h's `relative`, `decay` and `place_width`,
 * written without looking at the library. */
#ifndef RAPT_CHECK_ORACLE_PLACE_H
#define RAPT_CHECK_ORACLE_PLACE_H

#include <rapt/attention.h>

double rapt_check_steps_apart(const rapt_attention_desc *desc, int64_t query, int64_t key);
/* What the table adds to a score; `head` of q. */
double rapt_check_relative(const rapt_attention_desc *desc, const float *table, uint64_t head, int64_t query, int64_t key);

#endif
