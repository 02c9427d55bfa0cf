/* Linear attention and its relatives as an operator: a state per head instead of a row of scores. Part of
 * rapt (MIT licence). */
#ifndef RAPT_LINEAR_H
#define RAPT_LINEAR_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a token changes the state. A_t below is the decay of step t: 1, a number, or a diagonal matrix. */
typedef enum rapt_linear_rule {
    RAPT_LINEAR_NONE = 0, /* S_t = A_t S_(t-1) + beta_t k_t v_t^T */
    RAPT_LINEAR_DELTA,    /* S_t = (I - beta_t k_t k_t^T) A_t S_(t-1) + beta_t k_t v_t^T */
    RAPT_LINEAR_DPLR,     /* S_t = (A_t + b_t a_t^T) S_(t-1) + k_t v_t^T: a_t reads the state, b_t writes */
    RAPT_LINEAR_RULE_COUNT
} rapt_linear_rule;

/* What is applied to q and k before anything else. */
typedef enum rapt_phi {
    RAPT_PHI_IDENTITY = 0,
    RAPT_PHI_ELU1, /* elu(x) + 1 */
    RAPT_PHI_RELU,
    RAPT_PHI_RELU2, /* relu(x)^2 */
    RAPT_PHI_EXP,
    RAPT_PHI_SOFTMAX, /* over the d_k features of a token */
    RAPT_PHI_COUNT
} rapt_phi;

/* How the tokens of a sequence are walked. */
typedef enum rapt_linear_form {
    RAPT_LINEAR_AUTO = 0,  /* recurrent for few tokens, else chunked */
    RAPT_LINEAR_RECURRENT, /* token by token: a chain of N steps */
    RAPT_LINEAR_CHUNKED, /* chunks side by side, and states passed from one to the next: a chain of N / chunk
                            steps */
} rapt_linear_form;

typedef enum rapt_linear_flags {
    RAPT_LINEAR_NORMALIZE = 1, /* divide by scale * phi(q_t)^T z_t, z_t = A_t z_(t-1) + phi(k_t); rule none only */
    RAPT_LINEAR_SCALE = 2,     /* `scale` is set; else 1 */
    RAPT_LINEAR_LOG_DECAY = 4, /* decay or gate holds the natural logarithm of A_t */
    RAPT_LINEAR_IN_PLACE = 8,  /* the state is read from state_out (norm_out) and written back to it: no copy
                                * is made.  state_in and norm_in are absent */
} rapt_linear_flags;

/* o_t = scale * S_t^T phi(q_t), with phi applied to k too (a and b are taken as they are)
 *
 * q      (batch, heads, N, d_k)  f32, f16 or bf16; q, k, v, a, b and out share one dtype
 * k      (batch, heads, N, d_k)
 * v      (batch, heads, N, d_v)
 * out    (batch, heads, N, d_v)
 * decay  (heads) or (batch, heads, N) float32: A_t = alpha_t, fixed or per token
 * gate   (batch, heads, N, d_k) float32: A_t = Diag(alpha_t); at most one of decay and gate, neither: A_t = 1
 * beta   (batch, heads, N) float32; absent: 1; not with rule dplr
 * a, b   (batch, heads, N, d_k): with rule dplr only
 * state_in, state_out  (batch, heads, d_k, d_v) float32: S_0 (absent: 0) and S_N (absent: not wanted)
 * norm_in, norm_out    (batch, heads, d_k) float32: z_0 and z_N, with RAPT_LINEAR_NORMALIZE only; with state_in, norm_in is
 *                      needed too
 *
 * `heads` is that of out; each other tensor may have fewer, of which it is a multiple: head h reads head
 * floor(h * its heads / heads). States have all of them. d_k and d_v: 1 to 256, independent of each other.
 * Sums are float32. Decays are multiplied up as they come, never divided or exponentiated: 0, and logarithms
 * of -80 and below, are as good as any. Where a normaliser is 0 the output is 0.
 *
 * Packed sequences of different lengths: set `sequences`. The batch of q .. b is then 1, their sequence axes
 * are packed, and cu_seqlens (int32, sequences + 1 entries, rising from 0 to the packed length) is bound on
 * the device; states have `sequences` as their batch. Kernels clamp what they read from it. An empty sequence
 * hands its state on.
 *
 * out and the written states must not overlap each other or an input. The last axis of every tensor lies side
 * by side (stride 1), but for those of decay and beta, which may have any stride. */
typedef struct rapt_linear_desc {
    uint32_t struct_size;
    uint32_t flags; /* rapt_linear_flags */
    rapt_tensor q, k, v, out;
    /* Absent while their dtype is RAPT_DTYPE_NONE: */
    rapt_tensor decay, gate, beta, a, b;
    rapt_tensor state_in, state_out, norm_in, norm_out;
    rapt_linear_rule rule;
    rapt_phi feature;
    rapt_linear_form form;
    float scale;         /* any finite number */
    uint32_t chunk;      /* tokens a chunk in the chunked form, at most 1,024; 0: choose */
    uint32_t sequences;  /* 0: dense */
    uint64_t max_seqlen; /* a bound on one sequence's length (0: the packed length); tokens beyond it are left
                            out */
    uint64_t workspace_limit; /* bytes; 0: 64 MiB. Long sequences are then taken in spans of chunks; what does
                               * not fit however short the spans is refused with both numbers */
    float slice_ms;           /* time target of one slice in milliseconds; 0: 50 */
    const char *kernel;       /* force the kernel row of this name for the main work; NULL: choose */
} rapt_linear_desc;
#define RAPT_LINEAR_DESC_INIT {.struct_size = sizeof(rapt_linear_desc)}

/* The tensors of one call. */
typedef struct rapt_linear_args {
    uint32_t struct_size;
    rapt_slot q, k, v, out;
    rapt_slot decay; /* or gate */
    rapt_slot beta, a, b;
    rapt_slot state_in, state_out, norm_in, norm_out;
    rapt_slot cu_seqlens;
    rapt_slot workspace; /* as in rapt_attention_args */
} rapt_linear_args;
#define RAPT_LINEAR_ARGS_INIT {.struct_size = sizeof(rapt_linear_args)}

/* As their counterparts of attention (rapt/plan.h); prepare, describe, explain, submit, record and wait are
 * the same. */
RAPT_API rapt_status rapt_linear_plan(rapt_device *device, const rapt_linear_desc *desc, rapt_plan **plan,
                                      rapt_error *error);
RAPT_API rapt_status rapt_linear_plan_for_caps(const rapt_caps *caps, const rapt_linear_desc *desc,
                                               rapt_plan **plan, rapt_error *error);
RAPT_API rapt_status rapt_linear_bind(rapt_plan *plan, const rapt_linear_args *args, rapt_binding **binding,
                                      rapt_error *error);
RAPT_API rapt_status rapt_linear_run(rapt_device *device, const rapt_linear_desc *desc,
                                     const rapt_linear_args *args, rapt_error *error);
/* "identity", "elu1", ..: as the tool names them; "none", "delta", "dplr". "unknown" beyond the last. */
RAPT_API const char *rapt_phi_name(rapt_phi feature);
RAPT_API const char *rapt_linear_rule_name(rapt_linear_rule rule);

#ifdef __cplusplus
}
#endif
#endif
