/* Planning of rapt/combine.h: pure, as plan.h says. */
#ifndef RAPT_PLAN_COMBINE_H
#define RAPT_PLAN_COMBINE_H

#include "plan/plan.h"

/* As rapt_plan_make. */
rapt_status rapt_combine_plan_make(rapt_plan *plan, const rapt_combine_problem *problem, const rapt_caps *caps,
                                   const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error);
/* Bytes of one element of a role's buffer. */
uint32_t rapt_combine_role_element(const rapt_plan *plan, rapt_role role);
/* Its lines of explain. */
void rapt_combine_explain_problem(const rapt_plan *plan, rapt_text *text);
void rapt_combine_explain_problem_json(const rapt_plan *plan, rapt_text *text);

#endif
