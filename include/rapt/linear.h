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
    /* Those from here on are made by a pass ahead of the others, in single precision, in the workspace: */
    RAPT_PHI_TAYLOR2, /* phi(q).phi(k) = 1 + s + s^2 / 2, s = q.k: the order-2 Taylor form of exp (BASED,
                       * arXiv:2402.18668, which has feature_scale = 1 / sqrt(d_k)) */
    RAPT_PHI_POLY,    /* phi(q).phi(k) = sum of s^l / l! over l <= feature_power, which is 1 or 2; 0: 2 (Fastmax,
                       * arXiv:2402.07901, which standardises q and k: RAPT_LINEAR_STANDARDIZE) */
    RAPT_PHI_FOCUSED, /* y^p |y| / |y^p|, y = relu(x), p = feature_power, at least 1; 0: 3. It keeps the norm of y
                       * (FLatten, arXiv:2308.00442) */
    RAPT_PHI_LOGNORMAL, /* exp(scale_q q), exp(scale_k k): the alpha and beta of LLN (arXiv:2311.13541) */
    RAPT_PHI_COSINE,    /* x / |x|: products are cosines; 0 stays 0 */
    RAPT_PHI_USER,      /* feature_map */
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
    RAPT_LINEAR_BIDIRECTIONAL = 16, /* every token sees all: o_t from the state after the last token. Rule none,
                                     * without decay */
    RAPT_LINEAR_FEATURE_K = 32,     /* keys have a feature map of their own: feature_k */
    RAPT_LINEAR_NORMALIZE_KEYS = 64, /* divide each row of the state by its sum z: the weights of each feature over the
                                      * tokens sum to 1 (a softmax over tokens where feature_k is exp); bidirectional only,
                                      * in place of RAPT_LINEAR_NORMALIZE */
    RAPT_LINEAR_STANDARDIZE = 128,   /* q and k less their mean over d_k, over their standard deviation, before the map */
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
 *
 * Maps of products (taylor2, poly) make 1 + d_k + d_k (d_k + 1) / 2 features of d_k: 1, x_i, and x_i x_j for i <= j (those
 * of i = j over sqrt(2)). States have a row for each: rapt_linear_state_rows, which is up to a multiple of 4, for more
 * than 128 features of equal blocks of at most 128; rows past the features are 0. They go with rule none, and with rule
 * delta up to 128 features; not with gate.
 * Sums are float32. Decays are multiplied up as they come, never divided or exponentiated: 0, and logarithms
 * of -80 and below, are as good as any. Where a normaliser is 0 the output is 0.
 *
 * Packed sequences of different lengths: set `sequences`. The batch of q .. b is then 1, their sequence axes
 * are packed, and cu_seqlens (int32, sequences + 1 entries, rising from 0 to the packed length) is bound on
 * the device; states have `sequences` as their batch. Kernels clamp what they read from it. An empty sequence
 * hands its state on.
 *
 * States within a sequence, for taking back tokens (speculative decoding) and for caches of prefixes: `positions`, numbers of
 * tokens p_0 < p_1 < .. <= N. state_out then has (position_count + 1) times the rows, norm_out as many features: the
 * states after p_0, p_1, .. tokens, and S_N behind them. A packed sequence that is shorter gives its last state. Not in
 * place, nor bidirectional.
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
    rapt_phi feature_k;       /* with RAPT_LINEAR_FEATURE_K */
    float feature_power;      /* of poly and focused; 0: theirs */
    float feature_scale;      /* q is multiplied by it, and by scale_q, before the map; 0: 1 */
    rapt_tensor scale_q, scale_k; /* (heads) float32, heads shared as others: q and k are multiplied by it before the map */
    /* RAPT_PHI_USER: GLSL text with float feature_map(float x) or float feature_map(float x, uint b, uint h, uint t, uint i),
     * x being feature i of token t of head h of batch entry (or sequence) b. Taken for hostile, as score_mod
     * (rapt/attention.h), and compiled at run time. */
    const char *feature_map;
    const uint64_t *positions; /* copied by the call */
    uint32_t position_count;   /* 0: state_out is S_N */
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
    rapt_slot scale_q, scale_k;
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
/* Rows of states and normalisers: how many features the map makes of d_k, up to a multiple of 4 where it makes more of
 * them. 0: d_k is 0 or above 256. */
RAPT_API uint32_t rapt_linear_state_rows(rapt_phi feature, float feature_power, uint32_t d_k);
RAPT_API const char *rapt_linear_rule_name(rapt_linear_rule rule);

#ifdef __cplusplus
}
#endif
#endif
