/* Cases by chance: everything at once, the same every time. */
#ifndef RAPT_CHECK_CASES_RANDOM_H
#define RAPT_CHECK_CASES_RANDOM_H

#include "cases.h"

/* One of what the list in cases.c has; no name, no groups. */
rapt_case rapt_case_mixed(rapt_random *random);
/* Parses a name that rapt_case_random gives; false: it is none. */
bool rapt_case_random_parse(const char *name, rapt_case *out);

#endif
