/* What one attention would take on devices that are not here: step time, traffic and balance, from figures of one device and of the links.
 * Part of rapt (MIT licence).
 *
 * A pure function: no device is touched, nothing is kept. Thread-safety: any thread. */
#ifndef RAPT_SIMULATE_H
#define RAPT_SIMULATE_H

#include <rapt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How one attention lies over P devices. T tokens are shares of T_i; B is the bytes of keys and values of one token: batch kv_heads
 * (d_qk + d_v) element_bytes. What each device sends is what rapt/mpi.h's calls count, so that a run can be held against it. */
typedef enum rapt_spread_method {
    /* Ring Attention (arXiv:2310.01889), each share a piece of the sequence. Round r: device i is at the keys of device i - r, which it hands on
     * meanwhile, and merges what it has by the log-sum-exps. Sends B T_j for each share j that it hands on: (P - 1) B T / P in equal ones. The
     * ring ends after the last round in which any device sees a key (windows). */
    RAPT_SPREAD_RING = 0,
    /* The same, the sequence in 2 P chunks of which device i has i and 2 P - 1 - i (zig-zag): causal attention is then as much work for all. */
    RAPT_SPREAD_ZIGZAG,
    /* Keys and values of all are gathered before the work: sends (P - 1) B T_i. */
    RAPT_SPREAD_GATHER,
    /* DeepSpeed-Ulysses (arXiv:2309.14509): all-to-all from shares of the tokens to K_i kv heads each, with G query heads a kv head, and back.
     * Sends batch (T_i (kv_heads - K_i) (G d_qk + d_qk + d_v) element_bytes + (T - T_i) K_i G (d_v element_bytes + 4)), the 4 for log-sum-exps.
     * Of more devices than kv heads some have no work. */
    RAPT_SPREAD_HEADS,
    /* `queries` rows of each head over a cache of `tokens` that is spread over the devices; outputs and log-sum-exps (float32) are
     * gathered and merged on each: sends (P - 1) batch q_heads queries (d_v + 1) 4, however long the cache. */
    RAPT_SPREAD_DECODE,
    /* LASP-2 (arXiv:2502.07563), causal linear attention of q_heads heads: one all-gather of states (float32): sends (P - 1) batch q_heads d_qk d_v 4,
     * however long the sequence. */
    RAPT_SPREAD_LASP2,
    RAPT_SPREAD_METHODS
} rapt_spread_method;

/* "ring", "zigzag", "gather", "heads", "decode", "lasp2". NULL for what is none. */
RAPT_API const char *rapt_spread_name(rapt_spread_method method);

/* Which keys a query sees. Of rings, gathered keys and heads; decoding sees all, LASP-2 is causal. */
typedef enum rapt_spread_pattern {
    RAPT_SPREAD_FULL = 0,
    RAPT_SPREAD_CAUSAL,
    RAPT_SPREAD_WINDOW,  /* causal, itself and the window - 1 tokens before */
    RAPT_SPREAD_DENSITY, /* this part of all pairs, evenly spread */
} rapt_spread_pattern;

typedef struct rapt_spread {
    uint32_t struct_size;
    rapt_spread_method method;
    rapt_spread_pattern pattern;
    uint32_t element_bytes;             /* of q, k, v and out */
    uint64_t batch, q_heads, kv_heads;  /* q_heads a multiple of kv_heads */
    uint64_t tokens;                    /* of all devices together: at least one each, of zig-zag two */
    uint64_t queries;                   /* of decoding */
    uint64_t d_qk, d_v, window;
    double density;                     /* above 0, at most 1 */
    uint32_t cache_is_copied;           /* of decoding, 1: keys and values come from host memory in each call, as rapt_ranks_decode takes them; 0: they
                                         * lie on the devices */
} rapt_spread;
#define RAPT_SPREAD_INIT {.struct_size = sizeof(rapt_spread), .element_bytes = 2, .batch = 1, .queries = 1, .density = 1}

#define RAPT_CLUSTER_DEVICES 4096

/* Devices and the links between them, each device with a link of its own that sends and receives at the same time. */
typedef struct rapt_cluster {
    uint32_t struct_size;
    uint32_t devices;     /* P, 1 to RAPT_CLUSTER_DEVICES */
    /* One device of speed 1, as measured. */
    double flops;         /* a second, of attention: 2 (d_qk + d_v) for each visible pair and head */
    double linear_flops;  /* a second, of linear attention: 4 d_qk d_v for each token and head. For LASP-2 alone; else may be 0 */
    double memory;        /* bytes a second that decoding and merging read and write */
    double copy;          /* bytes a second between host and device, with buffers made anew; 0: tensors lie on the device */
    double copy_call;     /* seconds of one such copy of a tensor, beside its bytes */
    double call;          /* seconds that a call takes beside its work: plan, binding, submission, completion */
    const double *speeds; /* of each device, above 0: what its rates are multiplied with; NULL: all 1 */
    uint32_t equal_shares; /* 1: equal shares whatever the speeds; 0: in proportion to them */
    uint32_t at_once;     /* devices that run at full speed together, where they share cores: P on fewer are P / at_once times slower; 0: all */
    double link_bytes;    /* a second, each way; above 0 */
    double link_seconds;  /* latency of one message */
} rapt_cluster;
#define RAPT_CLUSTER_INIT {.struct_size = sizeof(rapt_cluster), .devices = 1}

typedef struct rapt_forecast {
    uint32_t struct_size;
    double seconds;     /* until the last device is done */
    double compute;     /* of the busiest device: work, calls and copies */
    double waiting;     /* of the device that is done last: transfers and other devices */
    double alone;       /* seconds that one device of speed 1 takes for all */
    double sent_most;   /* bytes, by the device that sends most */
    double sent;        /* bytes, by all */
    double held;        /* bytes of keys and values, or states, on the device that holds most at a time */
    double balance;     /* mean of the devices' work over the busiest one's: 1 is even */
    double efficiency;  /* alone / (seconds times the sum of speeds): 1 is a speed-up as large as the cluster */
} rapt_forecast;
#define RAPT_FORECAST_INIT {.struct_size = sizeof(rapt_forecast)}

/* Transfers run beside work where the method lets them (rings); each round of a ring begins on a device when it has the keys and its own
 * last round is done. Merges take three terms a call, as rapt/mpi.h's do. RAPT_ERROR_INVALID for numbers that make no sense. */
RAPT_API rapt_status rapt_simulate(const rapt_cluster *cluster, const rapt_spread *spread, rapt_forecast *forecast, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
