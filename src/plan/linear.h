/* What the files that plan linear attention share: rows (linear_rows.c), launches and the workspace (linear_steps.c), and the
 * two forms (linear_recurrent.c, linear_chunked.c). linear.c joins them. */
#ifndef RAPT_PLAN_LINEAR_H
#define RAPT_PLAN_LINEAR_H

#include "plan/plan.h"

#define RAPT_LINEAR_CHUNK 64 /* tokens, where the caller does not say */
#define RAPT_LINEAR_LEAP 32  /* the same of rows that leap: they take this or half of it */
#define RAPT_LINEAR_IN_PASSES (RAPT_ROW_WALKS | RAPT_ROW_OUTPUTS | RAPT_ROW_ADDS) /* rows that know RAPT_PASS_* */
#define RAPT_LINEAR_BY_CHUNK (RAPT_LINEAR_IN_PASSES | RAPT_ROW_SOLVES) /* rows with a workgroup for each chunk */

/* Part of the problem: (batch, head) numbers [bh0, bh1), tokens [t0, t1) of each. */
typedef struct rapt_linear_part {
    uint64_t bh0, bh1, t0, t1;
} rapt_linear_part;

/* One launch kind. */
typedef struct rapt_linear_launch {
    rapt_plan *plan;
    uint8_t pipeline;
    uint32_t pass; /* of rows that walk */
    uint32_t flags;
    uint32_t phase;
    uint32_t chunk, chunks;
    uint32_t groups_x;
    double flops; /* per token and head */
    uint64_t state_row; /* of running states: the first that it works on */
    uint32_t place, back; /* where states within a sequence are wanted: which of them is written; 1: the one before is read */
} rapt_linear_launch;

/* A form that is ready to walk spans of tokens. */
typedef struct rapt_linear_form_plan {
    bool chunked;
    rapt_linear_launch walk;             /* token by token */
    rapt_linear_launch begin, pass, end; /* what chunks add, states from one to the next, outputs; end.plan NULL: none */
} rapt_linear_form_plan;

/* ---- rows */

/* The best row for `kind` (RAPT_ROW_WALKS and so on) in the passes given. */
rapt_status rapt_linear_select(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                               uint32_t kind, const uint32_t *passes, uint32_t pass_count,
                               const rapt_kernel_row **out, rapt_error *error);
/* The row that writes outputs in chunks: one that leaps only where another solves for it. */
rapt_status rapt_linear_select_chunked(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                       const rapt_kernel_row **out, rapt_error *error);
/* Specialization constants of a pipeline whose row is set. */
void rapt_linear_constants(rapt_plan_pipeline *pipeline, const rapt_plan *plan, uint32_t pass);
/* The tensor of a role, or -1. STATE and NORM are those that are written, or those given where none are. */
int rapt_linear_role_tensor(const rapt_linear_problem *p, rapt_role role);
/* Whether what walks may take four columns at a time. */
bool rapt_linear_is_aligned(const rapt_linear_problem *p);

/* ---- launches */

/* Adds the steps of a part, cut in halves along batch and heads until its windows and its grid fit. */
rapt_status rapt_linear_add_part(const rapt_linear_launch *l, const rapt_linear_part *x, rapt_error *error);
/* Halves a span of tokens until what one head needs of it fits; whole units while there are such. */
rapt_status rapt_linear_fit_span(const rapt_linear_launch *l, uint64_t unit, uint64_t *span, rapt_error *error);
/* Workgroups side by side along `columns` columns of a state. */
uint32_t rapt_linear_column_blocks(const rapt_kernel_row *row, uint32_t columns);
double rapt_linear_token_flops(const rapt_linear_problem *p); /* of one head */

/* The tokens between two hand-overs of the running state; zeroed before the first. */
typedef struct rapt_linear_span {
    rapt_linear_part part;
    uint32_t place; /* of the state after it, or after others up to the same position */
    bool started, first, begins, ends; /* of all; of its place */
} rapt_linear_span;
/* Chunks of all tokens: they begin anew at positions. */
uint64_t rapt_linear_chain(const rapt_linear_problem *p, uint64_t chunk);
/* Goes on to the next span of a plan whose layout is there; false: there is none. */
bool rapt_linear_next_span(const rapt_plan *plan, rapt_linear_span *span);

/* ---- the workspace */

void rapt_linear_add_slot(rapt_plan *plan, rapt_role role, uint64_t bytes);
/* Running states in the workspace: their bytes (false: more than the limit), and their slots. */
bool rapt_linear_carry_bytes(const rapt_plan *plan, uint64_t *bytes);
rapt_status rapt_linear_add_carry(rapt_plan *plan, rapt_error *error);
/* Fills plan->params of a plan whose layout is there. */
void rapt_linear_fill_params(rapt_plan *plan);

/* ---- the forms */

/* Chooses the rows of a form, from pipeline 0 on (`row` is the main one), and plan->layout.span. flags: RAPT_LINEAR_NO_OUT. */
#define RAPT_LINEAR_NO_OUT 1u /* states alone are wanted */
rapt_status rapt_linear_recurrent_form(rapt_plan *plan, const rapt_kernel_row *row, double slice_flops,
                                       rapt_linear_form_plan *form, rapt_error *error);
rapt_status rapt_linear_chunked_form(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                     const rapt_kernel_row *row, double slice_flops, uint32_t flags,
                                     rapt_linear_form_plan *form, rapt_error *error);
/* Workspace slots of the chunked form. */
void rapt_linear_chunk_slots(rapt_plan *plan, const rapt_linear_form_plan *form);
/* The steps of one span in the chunked form; its phases begin at *phase, which goes on. flags: of what passes states on. */
rapt_status rapt_linear_add_chunks(rapt_linear_form_plan *form, const rapt_linear_part *x, uint32_t flags, uint32_t *phase,
                                   rapt_error *error);
uint32_t rapt_linear_leap_chunk(const rapt_linear_problem *p); /* tokens of a chunk, of rows that leap */
/* Whether chunks are worth their work on this device. */
bool rapt_linear_prefers_chunks(const rapt_plan *plan, const rapt_kernel_row *row);
/* Features made ahead of the rest (linear_mapped.c). plan->outer is the problem; plan->linear becomes what is left of it. */
rapt_status rapt_linear_plan_mapped(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                    double slice_flops, rapt_error *error);

rapt_status rapt_linear_plan_recurrent(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                       const rapt_kernel_row *row, double slice_flops, rapt_error *error);
rapt_status rapt_linear_plan_chunked(rapt_plan *plan, const rapt_kernel_table *table, const rapt_verdicts *verdicts,
                                     const rapt_kernel_row *row, double slice_flops, rapt_error *error);

#endif
