/* Memories that learn while they read: a small network per head whose weights follow the gradient of what it should recall.
 * Part of rapt (MIT licence). */
#ifndef RAPT_MEMORY_H
#define RAPT_MEMORY_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What M is. */
typedef enum rapt_memory_form {
    RAPT_MEMORY_LINEAR = 0, /* M(x) = W^T x, W a d x d_v matrix */
    RAPT_MEMORY_MLP,        /* M(x) = W2^T act(W1^T x), W1 d x hidden, W2 hidden x d_v */
    RAPT_MEMORY_SOFTMAX,    /* M(x) = W^T softmax(x); learns by the share of a chunk (Gecko) */
    RAPT_MEMORY_FORM_COUNT
} rapt_memory_form;

typedef enum rapt_memory_act {
    RAPT_MEMORY_SILU = 0, /* x / (1 + e^(-x)) */
    RAPT_MEMORY_GELU,     /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
    RAPT_MEMORY_ACT_COUNT
} rapt_memory_act;

typedef enum rapt_memory_flags {
    RAPT_MEMORY_READ_START = 1, /* every token reads the memory that its chunk begins with; SOFTMAX always does */
} rapt_memory_flags;

/* LINEAR and MLP (Titans, arXiv:2501.00663): with the chunk of token t beginning at memory M_c,
 *
 *     S_t = eta_t S_(t-1) - theta_t grad l(M_c; k_t, v_t)      l(M; k, v) = |M(k) - v|^2, so that its gradient has a factor 2
 *     M_t = (1 - alpha_t) M_(t-1) + S_t                        for each weight of M
 *     out_t = M_t(q_t), or M_c(q_t) with RAPT_MEMORY_READ_START
 *
 * SOFTMAX (the adaptive working memory of Gecko): out_t = W^T softmax(q_t); when a chunk has been read, for each channel r of k,
 * with c_r the log of the sum of exp(k_ir) over its tokens i and z_r the same over all tokens so far, the chunk's among them,
 *
 *     W_r += exp(c_r - z_r) (sum_i exp(k_ir - c_r) (v_i - W^T softmax(k_i)) - W_r)
 *
 * q, k   (batch, heads, n, d)    f32, f16 or bf16, as v and out; d, d_v at most 512
 * v, out (batch, heads, n, d_v)
 * rates  (batch, heads or 1, n, 3)  float32: alpha, eta and theta side by side. LINEAR and MLP alone
 * state_in, state_out  (batch, heads, s)  float32, s = rapt_memory_numbers: of LINEAR and MLP the weights of M, row by row, W1
 *        before W2, and then S in the same order; of SOFTMAX W, and then z. state_in absent: zeros, and z = -inf. An MLP of
 *        zeros has no gradient and learns nothing: give it a state.
 *
 * Last axes lie side by side; other strides may be anything not negative. Chunks are counted from the first token of a call; the
 * last may be shorter and is learnt as it is. Sums are float32. out and state_out overlap nothing. */
typedef struct rapt_memory_desc {
    uint32_t struct_size;
    uint32_t flags; /* rapt_memory_flags */
    rapt_memory_form form;
    rapt_memory_act act; /* MLP */
    rapt_tensor q, k, v, out;
    rapt_tensor rates, state_in, state_out; /* absent while their dtype is RAPT_DTYPE_NONE */
    uint32_t hidden;          /* MLP: 1 to 2,048 */
    uint32_t chunk;           /* tokens, at most 1,024 (SOFTMAX: 65,536); 0: 64 */
    uint64_t workspace_limit; /* bytes; 0: 64 MiB */
    float slice_ms;           /* as of rapt_attention_desc */
} rapt_memory_desc;
#define RAPT_MEMORY_DESC_INIT {.struct_size = sizeof(rapt_memory_desc)}

typedef struct rapt_memory_args {
    uint32_t struct_size;
    rapt_slot q, k, v, out, rates, state_in, state_out; /* those that the descriptor has */
    rapt_slot workspace; /* as in rapt_attention_args */
} rapt_memory_args;
#define RAPT_MEMORY_ARGS_INIT {.struct_size = sizeof(rapt_memory_args)}

/* Numbers of a head's state. `hidden` counts for MLP alone. */
RAPT_API uint64_t rapt_memory_numbers(rapt_memory_form form, uint64_t d, uint64_t d_v, uint64_t hidden);

/* As their counterparts of attention (rapt/plan.h). */
RAPT_API rapt_status rapt_memory_plan(rapt_device *device, const rapt_memory_desc *desc, rapt_plan **plan, rapt_error *error);
RAPT_API rapt_status rapt_memory_plan_for_caps(const rapt_caps *caps, const rapt_memory_desc *desc, rapt_plan **plan,
                                               rapt_error *error);
RAPT_API rapt_status rapt_memory_bind(rapt_plan *plan, const rapt_memory_args *args, rapt_binding **binding, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
