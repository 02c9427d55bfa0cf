/* One attention over several processes, on one machine or many: librapt_mpi, built where MPI is (-Dmpi=enabled). Part of rapt (MIT
 * licence). Needs no header of MPI.
 *
 *     rapt_ranks_create -> rapt_ranks_ring, .._gather, .._heads, .._decode, .._linear, again and again -> rapt_ranks_destroy
 */
#ifndef RAPT_MPI_H
#define RAPT_MPI_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The ranks of a communicator, each with a device of its own. All calls below are made by all ranks alike (they are collective), with
 * equal shapes. Tensors are float32 in host memory, contiguous (batch, heads, tokens, d).
 *
 * Every transfer has a deadline. A rank that dies or falls behind gives the others RAPT_ERROR_TIMEOUT or RAPT_ERROR_IO with words, never
 * a hang; afterwards the object refuses further calls, as nobody knows what the others have seen: destroy it. (MPICH's mpirun ends all ranks
 * with the first that dies of a signal, and with one that just ends unless told -disable-auto-cleanup.) A rank whose device fails returns that status, and the others their
 * deadline's.
 * Thread-safety: one thread at a time; MPI must be initialised. */
typedef struct rapt_ranks rapt_ranks;

typedef struct rapt_ranks_options {
    uint32_t struct_size;
    float deadline_ms; /* of one transfer; 0: 30,000 */
    float speed;       /* of this rank's device, measured in any unit that all ranks share; 0: 1. Each rank may have another. */
} rapt_ranks_options;
#define RAPT_RANKS_OPTIONS_INIT {.struct_size = sizeof(rapt_ranks_options)}

/* Collective, and without a deadline: every rank of the communicator must come here, also one whose device could not be opened must let the
 * others know by the app's own means. `communicator` points to an MPI_Comm, which is duplicated; errors of the copy are returned, not fatal. The device must outlive it.
 * `options` may be NULL. */
RAPT_API rapt_status rapt_ranks_create(rapt_device *device, const void *communicator, const rapt_ranks_options *options, rapt_ranks **ranks,
                                       rapt_error *error);
/* Collective where nothing failed. NULL-safe; sets *ranks to NULL. */
RAPT_API void rapt_ranks_destroy(rapt_ranks **ranks);

typedef struct rapt_ranks_info {
    uint32_t struct_size;
    uint32_t rank, count;
    uint64_t bytes_sent; /* to other ranks by the last call, as the algorithm counts them: MPI may take other ways */
} rapt_ranks_info;
#define RAPT_RANKS_INFO_INIT {.struct_size = sizeof(rapt_ranks_info)}
RAPT_API rapt_status rapt_ranks_describe(const rapt_ranks *ranks, rapt_ranks_info *info, rapt_error *error);

/* This rank's share of one attention. */
typedef struct rapt_ranks_attention {
    uint32_t struct_size;
    uint64_t batch, q_heads, kv_heads; /* q_heads a multiple of kv_heads */
    uint64_t queries, keys;            /* of this rank, the same on all of them, at least 1 */
    uint64_t d_qk, d_v;
    uint32_t causal;       /* 1: later keys are hidden; queries and keys are then the same tokens */
    float scale;           /* 0: 1 / sqrt(d_qk) */
    const float *q, *k, *v;
    float *out;            /* (batch, q_heads, queries, d_v) */
    float *lse;            /* (batch, q_heads, queries); NULL: not wanted */
} rapt_ranks_attention;
#define RAPT_RANKS_ATTENTION_INIT {.struct_size = sizeof(rapt_ranks_attention)}

/* Ring Attention (arXiv:2310.01889): every rank keeps its queries; keys and values go round, the next ones on their way while the device
 * is at work on those that are there, and (out, lse) of each round is merged on the device. Sends (ranks - 1) times the bytes of k and v.
 * causal: the sequence is 2 ranks chunks of equal length, and rank r has chunks r and 2 ranks - 1 - r, one behind the other (zig-zag), so that
 * all have as much to do; tokens are then even in number. */
RAPT_API rapt_status rapt_ranks_ring(rapt_ranks *ranks, const rapt_ranks_attention *share, rapt_error *error);

/* The same with keys and values of all ranks gathered first, as LASP-2H does for its softmax layers. causal: rank r has the r-th part of
 * the sequence. MPI reads k and v where they are: after an error they must stay until MPI is finalised. */
RAPT_API rapt_status rapt_ranks_gather(rapt_ranks *ranks, const rapt_ranks_attention *share, rapt_error *error);

/* Parallel over heads, as DeepSpeed-Ulysses (arXiv:2309.14509): kv heads, and the query heads of each, are shared out in proportion to
 * rapt_ranks_options.speed, rounded (a slow rank may get none); two exchanges of all with all bring each rank the tokens of its heads, and take
 * the results back. Each rank sends the other ranks' heads of its own tokens (q, k, v), and of its own heads the other ranks' tokens (out, lse):
 * with as many kv heads as query heads about 2 / ranks of what gathering sends. causal: rank r has the r-th part of the sequence. */
RAPT_API rapt_status rapt_ranks_heads(rapt_ranks *ranks, const rapt_ranks_attention *share, rapt_error *error);

/* Decoding over a cache that is spread over the ranks: q is the same on all, k and v are each rank's own. (out, lse) of all ranks are gathered
 * and merged on each one's device, so that all have the result. Sends (ranks - 1) times the bytes of out and lse, however long the cache. Not
 * with causal. */
RAPT_API rapt_status rapt_ranks_decode(rapt_ranks *ranks, const rapt_ranks_attention *share, rapt_error *error);

/* This rank's part, the r-th, of one causal linear attention, S_t = S_(t-1) + k_t v_t^T, out_t = S_t^T q_t. */
typedef struct rapt_ranks_state {
    uint32_t struct_size;
    uint64_t batch, heads, tokens, d_k, d_v;
    const float *q, *k, *v;
    float *out; /* (batch, heads, tokens, d_v) */
} rapt_ranks_state;
#define RAPT_RANKS_STATE_INIT {.struct_size = sizeof(rapt_ranks_state)}

/* LASP-2 (arXiv:2502.07563): every rank makes the state of its tokens, all states are gathered once, and each rank begins with the sum of
 * those before it. Sends (ranks - 1) states, however long the sequence. */
RAPT_API rapt_status rapt_ranks_linear(rapt_ranks *ranks, const rapt_ranks_state *share, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
