/* A case made real: descriptor, host images of every tensor with poisoned gaps, and what the oracle expects.
 */
#ifndef RAPT_CHECK_PROBLEM_H
#define RAPT_CHECK_PROBLEM_H

#include "cases.h"
#include "oracle_attention.h"

/* Fills 32-bit words of outputs, gaps and workspace: a NaN in every storage type. */
#define RAPT_POISON 0xfffbfffbu

/* The bytes of a buffer, and where a tensor starts in it. */
typedef struct rapt_check_operand {
    void *image; /* NULL for out and lse: all poison */
    uint64_t bytes, offset;
    int shares; /* index of the operand whose image and buffer this one lies in; its own index if none */
} rapt_check_operand;

enum { RAPT_OP_Q, RAPT_OP_K, RAPT_OP_V, RAPT_OP_OUT, RAPT_OP_LSE, RAPT_OP_CU_Q, RAPT_OP_CU_K,
       RAPT_OP_SINKS, RAPT_OP_ALIBI, RAPT_OP_KEY_BIAS, RAPT_OP_SEGMENTS, RAPT_OP_GATE, RAPT_OP_BIAS, RAPT_OP_BIAS_U, RAPT_OP_BIAS_V,
       RAPT_OP_BLOCKS, RAPT_OP_RELATIVE, RAPT_OP_DECAY, RAPT_OP_TABLE, RAPT_OP_LENGTHS, RAPT_OP_COUNT };

typedef struct rapt_check_problem {
    rapt_case c;
    const rapt_check_user *user; /* NULL: no code of an app */
    rapt_attention_desc desc;
    rapt_check_operand operands[RAPT_OP_COUNT];
    uint64_t rows_total, heads; /* batch * heads * nq; heads of the output */
    float *numbers[2];          /* of quantised keys and values, (batch or pages, kv heads, keys, head_dim); what is stored, once it is */
    double *out, *lse;          /* expected; see oracle_attention.h */
    uint8_t *rows;
    bool exact; /* the output is compared for equality */
    double tolerance_out, tolerance_lse;
    double plain_out, plain_lse; /* the plain implementation's largest errors */
    double magnitude_out;        /* see rapt_check_tolerance */
    uint64_t row_step;
} rapt_check_problem;

/* Builds inputs and, unless row_step is 0, the expected results: every row for row_step 1, else about every
 * row_step-th. False when there is no memory. Free in any case. */
bool rapt_check_problem_make(const rapt_case *c, uint64_t row_step, rapt_check_problem *problem);
/* The same for tensors laid out as `as` says: its strides, scale and bounds count, its sizes, dtype and mask must be those of
 * `c`. Each tensor gets a buffer of its own, aligned to 16 bytes. */
bool rapt_check_problem_make_as(const rapt_case *c, const rapt_attention_desc *as, uint64_t row_step,
                                rapt_check_problem *problem);
/* The same with code of an app, which must outlive the problem. Poison is then also put into keys that its mask_mod hides
 * from all queries and heads of the first batch entry. */
bool rapt_check_problem_make_user(const rapt_case *c, const rapt_check_user *user, uint64_t row_step,
                                  rapt_check_problem *problem);
void rapt_check_problem_free(rapt_check_problem *problem);

/* tolerance_out for kernels whose weights are 16-bit: earned from a plain implementation that rounds them too. 0 where
 * outputs are exact. Costs what the oracle does; negative when there is no memory. */
double rapt_check_problem_half_weights(const rapt_check_problem *problem);

/* A row step that keeps the oracle's work on this case to about `limit` multiply-adds; 1: all rows. */
uint64_t rapt_check_problem_row_step(const rapt_case *c, double limit);

/* The oracle's view of the images. */
rapt_check_inputs rapt_check_problem_inputs(const rapt_check_problem *problem);

#endif
