#include "host.h"

#include "compare.h"
#include "half.h"

#include <stdlib.h>
#include <string.h>

static const void *image(const rapt_check_problem *p, int operand)
{
    const rapt_check_operand *o = &p->operands[operand];
    return o->bytes > 0 ? (const char *)p->operands[o->shares].image + o->offset : NULL;
}

bool rapt_check_host_make(const rapt_case *c, double work, rapt_check_host *h)
{
    memset(h, 0, sizeof *h);
    const bool good = rapt_check_problem_make(c, rapt_check_problem_row_step(c, work), &h->problem);
    const rapt_check_problem *p = &h->problem;
    h->tolerance = p->tolerance_out;
    h->out = malloc((size_t)p->operands[RAPT_OP_OUT].bytes + 1);
    h->lse = malloc((size_t)p->operands[RAPT_OP_LSE].bytes + 1);
    if (!good || !h->out || !h->lse)
        return false;
    h->args = (rapt_group_attention_args)RAPT_GROUP_ATTENTION_ARGS_INIT;
    h->args.q = image(p, RAPT_OP_Q);
    h->args.k = image(p, RAPT_OP_K);
    h->args.v = image(p, RAPT_OP_V);
    h->args.cu_seqlens_q = image(p, RAPT_OP_CU_Q);
    h->args.cu_seqlens_k = image(p, RAPT_OP_CU_K);
    h->args.out = (char *)h->out + p->operands[RAPT_OP_OUT].offset;
    h->args.lse = p->operands[RAPT_OP_LSE].bytes > 0 ? (char *)h->lse + p->operands[RAPT_OP_LSE].offset : NULL;
    return true;
}

void rapt_check_host_free(rapt_check_host *h)
{
    rapt_check_problem_free(&h->problem);
    free(h->out);
    free(h->lse);
    h->out = h->lse = NULL;
}

bool rapt_check_host_right(const rapt_check_host *h, char *message, size_t capacity)
{
    const rapt_check_problem *p = &h->problem;
    const rapt_tensor *t = &p->desc.out;
    const uint64_t d = t->size[3], rows = t->size[0] * t->size[1] * t->size[2];
    double *got = malloc((size_t)(rows * d + 1) * sizeof *got);
    bool right = false;
    for (uint64_t i = 0; i < rows * d && got; i++) {
        const uint64_t row = i / d, line = row / t->size[2];
        const int64_t at = (int64_t)(line / t->size[1]) * t->stride[0] + (int64_t)(line % t->size[1]) * t->stride[1] +
                           (int64_t)(row % t->size[2]) * t->stride[2] + (int64_t)(i % d);
        got[i] = (double)rapt_check_load(h->args.out, t->dtype, at);
    }
    if (got) {
        const rapt_check_difference difference = rapt_check_compare(got, p->out, p->rows, p->rows_total, d, h->tolerance);
        right = difference.wrong == 0 && difference.compared > 0;
        rapt_check_describe(&difference, "out", t->size, message, capacity);
    }
    free(got);
    return right;
}
