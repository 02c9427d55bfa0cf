/* What runs along a sequence channel by channel: associative scans (sums, maxima, gated recurrences, state-space
 * models, softmax of a prefix) and convolutions; gates, norms and sums around them: rapt/combine.h. Part of rapt (MIT licence). */
#ifndef RAPT_SCAN_H
#define RAPT_SCAN_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* h is the state of one channel, h_0 comes from state_in or is what the operation leaves alone (0, or -inf). */
typedef enum rapt_scan_op {
    RAPT_SCAN_SUM = 0,   /* h_t = h_(t-1) + x_t; out_t = h_t */
    RAPT_SCAN_MAX,       /* h_t = max(h_(t-1), x_t); out_t = h_t */
    RAPT_SCAN_LINEAR,    /* h_t = a_t h_(t-1) + x_t; out_t = h_t.  With RAPT_SCAN_BLEND a_t h_(t-1) + (1 - a_t) x_t:
                          * moving averages, and the gates of HGRN (Qin et al. 2023), minGRU (Feng et al. 2024), RAT */
    RAPT_SCAN_SOFTMAX,   /* out_t = sum_(j<=t) e^(s_j) x_j / sum_(j<=t) e^(s_j): attention of one query a head over
                          * every prefix, as a scan of (m, l, acc) (Aaren, Feng et al. 2024) */
    RAPT_SCAN_SSM,       /* n states a channel, h_t = a h_(t-1) + b x_t; out_t = sum_n c h_t + skip x_t, a, b and c fixed;
                          * complex with RAPT_SCAN_COMPLEX, of which the real part is taken: S4D (Gu et al. 2022), and the
                          * moving averages of Mega (Ma et al. 2022) and Megalodon */
    RAPT_SCAN_SELECTIVE, /* n states a channel, h_t = e^(dt_t a) h_(t-1) + dt_t b_t x_t; out_t = sum_n c_t h_t + skip x_t:
                          * the selective scan of Mamba (Gu and Dao 2023) */
    RAPT_SCAN_HOLD,      /* h_t = x_t where |x_t - h_(t-1)| >= a_t, else h_(t-1); out_t = h_t: what is left of a sequence whose
                          * small changes count as none (delta networks, Neil et al. 2017). Token by token only; NaN is not
                          * taken */
    /* Without a recurrence: */
    RAPT_SCAN_CONV,   /* depthwise convolution along the sequence: out_t = act(bias + sum_(j<W) w_j x_(t + j - W + 1 + ahead)),
                       * where x is 0, or what state_in holds, before the first token, and 0 after the last: the short
                       * convolutions before scans and delta rules, JetBlock's with a kernel for every token (Gu et al. 2025),
                       * and long ones */
    RAPT_SCAN_CONV2D, /* depthwise on a grid of Y x X places with zeros around it: out_yx = act(bias + sum_ij w_ij
                       * x_(y + i - KY / 2, x + j - KX / 2)), KY and KX odd */
    RAPT_SCAN_OP_COUNT
} rapt_scan_op;

/* How the tokens of a sequence are walked. */
typedef enum rapt_scan_form {
    RAPT_SCAN_AUTO = 0,  /* chunked where channels alone leave the device idle */
    RAPT_SCAN_RECURRENT, /* one after the other: a chain of N steps */
    RAPT_SCAN_CHUNKED,   /* what each chunk does to a state, side by side; then states from chunk to chunk; then outputs:
                          * a chain of two chunks and N / chunk steps */
} rapt_scan_form;

typedef enum rapt_scan_flags {
    RAPT_SCAN_LOG_A = 1,      /* linear: a holds the natural logarithm of what multiplies */
    RAPT_SCAN_BLEND = 2,      /* linear: x_t is multiplied by 1 - a_t */
    RAPT_SCAN_REVERSE = 4,    /* from the last token to the first: out_t depends on x_t and what follows */
    RAPT_SCAN_COMPLEX = 8,    /* ssm: a, b, c and states are pairs of real and imaginary part, side by side */
    RAPT_SCAN_SOFTPLUS = 16,  /* selective: dt stands for log(1 + e^dt) */
    RAPT_SCAN_IN_PLACE = 32,  /* the state is read from state_out and written back to it; state_in is absent */
    RAPT_SCAN_CHANNELS_LAST = 64, /* conv2d: x is (batch, Y, X, channels), else (batch, channels, Y, X) */
} rapt_scan_flags;

/* What an output of a convolution goes through. */
typedef enum rapt_scan_act {
    RAPT_SCAN_ACT_NONE = 0,
    RAPT_SCAN_ACT_SILU, /* x / (1 + e^(-x)) */
    RAPT_SCAN_ACT_SIGMOID,
    RAPT_SCAN_ACT_COUNT
} rapt_scan_act;

#define RAPT_SCAN_MAX_TAPS 16384u /* of a convolution along the sequence, which takes them one by one */
#define RAPT_SCAN_MAX_STATES 64u /* numbers a channel: n, or 2 n where they are complex */

/* x, out    (batch, heads, N, d)  f32, f16 or bf16, both alike; a channel is a (head, d). Everything else is float32 unless
 *           it says otherwise.
 * a         linear, and hold, which needs it: (heads, d) fixed, (batch, heads, N) or (batch, heads, N, d); absent: 1.
 *           ssm and selective: (heads, d, n)
 * scores    softmax: s, (batch, heads, N) or, for every channel its own, (batch, heads, N, d). -inf hides a token: what x
 *           has there reaches no output
 * b, c      ssm: (heads, d, n); selective: (batch, heads, N, n), one for all d of a head
 * dt        selective: (batch, heads, N, d)
 * skip      (heads, d): ssm and selective; absent: 0
 * z         (batch, heads, N, d), of the type of x: ssm and selective, where out is multiplied by z sigmoid(z)
 * weight    conv: (heads, d, W), the last tap the newest token's, or for every token its own, (batch, heads, N, d W), taps
 *           side by side; conv2d: (channels, KY, KX)
 * bias      (heads, d): conv; conv2d: (channels)
 * state_in, state_out  (batch, heads, d, s) with s numbers a channel: 1; of softmax 3, (m, l, acc): the largest score, the
 *           sum of e^(score - m), and the same of x; of ssm and selective n, or 2 n; of conv the last W - 1 tokens, the
 *           oldest first (W at most 65).  Any strides.
 *
 * n counts complex numbers as two: with RAPT_SCAN_COMPLEX the last axes of a, b and c have 2 n entries.
 * `heads` is that of x; a, scores, b, c, dt, skip, z, and weight and bias of conv, may have fewer, of which it is a multiple:
 * head h reads head floor(h * its heads / heads).  Sums are float32.  What multiplies is multiplied up as it comes, never
 * divided: 0, 1 and logarithms of -80 and below are as good as any. An output of softmax before the first visible token is 0.
 *
 * Packed sequences of different lengths: set `sequences`. The batch of x .. z is then 1, their sequence axes are packed, and
 * cu_seqlens (int32, sequences + 1 entries, rising from 0 to the packed length) is bound on the device; states have
 * `sequences` as their batch.  Kernels clamp what they read from it. An empty sequence hands its state on.
 *
 * conv2d reads x as (batch, channels, Y, X), or (batch, Y, X, channels), and out likewise. Operations without a recurrence
 * have no form, chunk or workspace.
 *
 * out and state_out must not overlap each other or an input.  The last axis of x, out, z and of a, scores and dt of rank 4
 * lies side by side (stride 1). */
typedef struct rapt_scan_desc {
    uint32_t struct_size;
    uint32_t flags; /* rapt_scan_flags */
    rapt_scan_op op;
    rapt_scan_form form;
    rapt_tensor x, out;
    /* Absent while their dtype is RAPT_DTYPE_NONE: */
    rapt_tensor a, scores, b, c, dt, skip, z;
    rapt_tensor weight, bias;
    rapt_tensor state_in, state_out;
    uint32_t chunk;      /* tokens a chunk in the chunked form, at most 65,536; 0: choose */
    uint32_t sequences;  /* 0: dense */
    uint64_t max_seqlen; /* a bound on one sequence's length (0: the packed length); tokens beyond it are left out */
    uint64_t workspace_limit; /* bytes; 0: 64 MiB. Long sequences are then taken in spans; what does not fit however short
                               * they are is refused with both numbers */
    float slice_ms;           /* time target of one slice in milliseconds; 0: 50 */
    rapt_scan_act act;        /* conv, conv2d */
    uint32_t ahead;           /* conv: tokens after t that out_t sees; states then are not */
    const char *kernel;       /* force the kernel row of this name for the main work; NULL: choose */
} rapt_scan_desc;
#define RAPT_SCAN_DESC_INIT {.struct_size = sizeof(rapt_scan_desc)}

/* The tensors of one call. */
typedef struct rapt_scan_args {
    uint32_t struct_size;
    rapt_slot x, out, a, scores, b, c, dt, skip, z;
    rapt_slot weight, bias;
    rapt_slot state_in, state_out, cu_seqlens;
    rapt_slot workspace; /* as in rapt_attention_args */
} rapt_scan_args;
#define RAPT_SCAN_ARGS_INIT {.struct_size = sizeof(rapt_scan_args)}

/* As their counterparts of attention (rapt/plan.h); prepare, describe, explain, submit, record and wait are the same. */
RAPT_API rapt_status rapt_scan_plan(rapt_device *device, const rapt_scan_desc *desc, rapt_plan **plan, rapt_error *error);
RAPT_API rapt_status rapt_scan_plan_for_caps(const rapt_caps *caps, const rapt_scan_desc *desc, rapt_plan **plan,
                                             rapt_error *error);
RAPT_API rapt_status rapt_scan_bind(rapt_plan *plan, const rapt_scan_args *args, rapt_binding **binding,
                                    rapt_error *error);
RAPT_API rapt_status rapt_scan_run(rapt_device *device, const rapt_scan_desc *desc, const rapt_scan_args *args,
                                   rapt_error *error);
/* "sum", "max", "linear", ..: as the tool names them. "unknown" beyond the last. */
RAPT_API const char *rapt_scan_op_name(rapt_scan_op op);
/* "none", "silu", "sigmoid". */
RAPT_API const char *rapt_scan_act_name(rapt_scan_act act);

#ifdef __cplusplus
}
#endif
#endif
