/* Tensors put together row by row: sums with weights, a norm, a gate. What stands between, or behind, steps of attention.
 * Part of rapt (MIT licence). */
#ifndef RAPT_COMBINE_H
#define RAPT_COMBINE_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RAPT_COMBINE_TERMS 3

/* What a number of `weight` means. */
typedef enum rapt_combine_weights {
    RAPT_COMBINE_PLAIN = 0, /* itself */
    RAPT_COMBINE_SIGMOID,   /* 1 / (1 + exp(-w)) */
    RAPT_COMBINE_SOFTMAX,   /* exp(w_t) / sum over terms of exp(w_t): with w the log-sum-exps of attention over disjoint keys, and
                             * x its outputs, the sum is attention over all of them. All weights -inf: 0 */
    RAPT_COMBINE_TOP,       /* e_h = exp(w_h) / sum over all heads of exp(w), of the `top` heads of a row with the largest w, else 0: a
                             * router that sends each row to some heads (MoH, arXiv:2410.11842). Equal weights: the lower head goes
                             * first. With top_normalise over the sum of those taken alone (MoA, arXiv:2210.05144). For one term,
                             * whose weight has all heads */
    RAPT_COMBINE_WEIGHTS_COUNT
} rapt_combine_weights;

/* What an element goes through. */
typedef enum rapt_combine_act {
    RAPT_COMBINE_ACT_NONE = 0,
    RAPT_COMBINE_ACT_SIGMOID, /* 1 / (1 + exp(-y)) */
    RAPT_COMBINE_ACT_SILU,    /* y / (1 + exp(-y)) */
    RAPT_COMBINE_ACT_TANH,
    RAPT_COMBINE_ACT_RELU, /* max(y, 0) */
    RAPT_COMBINE_ACT_EXP,  /* of -inf: 0 */
    RAPT_COMBINE_ACT_LOG,  /* of 0: -inf */
    RAPT_COMBINE_ACT_SQRT,
    RAPT_COMBINE_ACT_RECIPROCAL,
    RAPT_COMBINE_ACT_COUNT
} rapt_combine_act;

/* y = sum over terms t of factor_t * f(weight_t) * x_t
 * with a norm:  y = y / sqrt(mean over d of y^2 + norm_epsilon) * norm_weight   (RMSNorm, arXiv:1910.07467, head by head)
 * out = act(out_factor * y + offset), with a gate times 1 / (1 + exp(-gate)), gate / (1 + exp(-gate)) or gate
 *
 * Sums are float32. A term whose weight comes to 0 counts nothing, whatever it holds: terms of factor 0 leave the offset alone. */
typedef struct rapt_combine_desc {
    uint32_t struct_size;
    rapt_combine_weights weights;
    rapt_tensor out; /* (batch, heads, n, d), f32, f16 or bf16; d at least 1. No two elements share a place */
    /* Terms that are there come first. Of the dtype of out, or all, and the gate, float32; each axis but d as out's, or 1: the same for all. The stride of d
     * is 1, those of other axes may be anything not negative. */
    rapt_tensor x[RAPT_COMBINE_TERMS];
    rapt_tensor weight[RAPT_COMBINE_TERMS]; /* float32 (batch or 1, heads or 1, n or 1); absent: 1. With SOFTMAX all are there */
    float factor[RAPT_COMBINE_TERMS], out_factor;
    uint32_t top, top_normalise; /* with TOP: 1 to heads; 0 or 1 */
    uint32_t norm;           /* 1: there is one */
    float norm_epsilon;      /* at least 0 */
    rapt_tensor norm_weight; /* float32 (heads or 1, d); absent: 1 */
    rapt_tensor gate;        /* like out, of the dtype of the terms; with at most two of them */
    rapt_gate_kind gate_kind;
    rapt_tensor lse;         /* with SOFTMAX and without a norm: float32 (batch, heads, n), log of the sum of exp(w_t); absent: not wanted */
    float slice_ms;          /* as of rapt_attention_desc */
    rapt_combine_act act;
    float offset;            /* any finite number */
} rapt_combine_desc;
#define RAPT_COMBINE_DESC_INIT {.struct_size = sizeof(rapt_combine_desc), .factor = {1, 1, 1}, .out_factor = 1}

typedef struct rapt_combine_args {
    uint32_t struct_size;
    rapt_slot out, x[RAPT_COMBINE_TERMS], weight[RAPT_COMBINE_TERMS], norm_weight, gate, lse; /* those that the descriptor has; out and lse
                                                                                             * overlap nothing */
} rapt_combine_args;
#define RAPT_COMBINE_ARGS_INIT {.struct_size = sizeof(rapt_combine_args)}

/* As rapt_attention_plan and rapt_attention_bind; everything else of plans and bindings (rapt/plan.h) is the same. */
RAPT_API rapt_status rapt_combine_plan(rapt_device *device, const rapt_combine_desc *desc, rapt_plan **plan, rapt_error *error);
RAPT_API rapt_status rapt_combine_plan_for_caps(const rapt_caps *caps, const rapt_combine_desc *desc, rapt_plan **plan,
                                                rapt_error *error);
RAPT_API rapt_status rapt_combine_bind(rapt_plan *plan, const rapt_combine_args *args, rapt_binding **binding, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
