/* Measured choices: the fastest kernel for a problem on this device, and a list of kernels never to choose.
 * Part of rapt (MIT licence).
 *
 * What is found is kept in the cache folder, per device, driver (name, version, UUIDs) and build of rapt: after a new
 * driver or a new rapt, plans start from the built-in preferences again. A damaged file counts as none. */
#ifndef RAPT_TUNE_H
#define RAPT_TUNE_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One way to run the problem, and what came of it. */
typedef enum rapt_tune_state {
    RAPT_TUNE_TIMED = 0,
    RAPT_TUNE_SLOW,    /* left out of the later rounds, being far slower than the fastest */
    RAPT_TUNE_WRONG,   /* its results are wrong: its row goes onto the block list */
    RAPT_TUNE_FAILED,  /* it did not compile, failed its known-answer probe, or does not fit; `reason` says */
} rapt_tune_state;

typedef struct rapt_tune_candidate {
    char kernel[64];      /* the row */
    uint32_t key_splits;  /* parts that the keys are cut into */
    uint32_t chunk;       /* of linear attention: tokens a chunk; 0: token by token */
    uint32_t is_default;  /* 1: what plans take untuned */
    uint32_t is_winner;   /* 1: what plans take from now on */
    rapt_tune_state state;
    uint32_t samples;     /* timed runs; the figures below are 0 without */
    double median_ns, min_ns, max_ns; /* the device's own time where its queue has timestamps, else wall time */
    double speedup, speedup_low, speedup_high; /* the default's time by this one's, of runs that followed each other: median
                                                * and its interval of at least 95 %; low and high are 0 below 6 pairs */
    double error;         /* largest difference from the reference, as a share of what is allowed (WRONG: above 1) */
    char reason[160];     /* of WRONG and FAILED */
} rapt_tune_candidate;

/* What a call that tunes is about to do. Called on the caller's thread, between runs. */
typedef struct rapt_tune_progress {
    const char *stage;  /* "proving" or "timing" */
    const char *kernel; /* the candidate at work */
    uint32_t done, total; /* candidates proven; or hundredths of the time */
} rapt_tune_progress;

typedef struct rapt_tune_options {
    uint32_t struct_size;
    double seconds;      /* of timed runs, about; compiling and proving come on top. 0: 2 */
    uint32_t dry_run;    /* 1: nothing is kept, the block list stays as it is */
    uint32_t every_row;  /* 1: rows too that are not meant for this class of device; may take long to compile */
    int (*progress)(void *user, const rapt_tune_progress *progress); /* may be NULL; not 0: stop, and keep nothing */
    void *user;
} rapt_tune_options;
#define RAPT_TUNE_OPTIONS_INIT {.struct_size = sizeof(rapt_tune_options)}

typedef struct rapt_tune_result {
    uint32_t struct_size;
    uint32_t candidate_count; /* there were; rapt_attention_tune fills at most the `capacity` given */
    uint32_t rounds;
    uint32_t stopped;         /* 1: by `progress`; nothing was kept */
    uint32_t stored;          /* 1: the choice is on disk. 0 without a cache folder: it then holds for this device object */
    uint32_t blocked;         /* rows that went onto the block list */
    uint32_t key_splits, default_key_splits;
    uint32_t chunk, default_chunk; /* of linear attention */
    char kernel[64];          /* the winner; the default itself where none is faster beyond the spread */
    char default_kernel[64];
    double speedup, speedup_low, speedup_high; /* of the winner; 1 where it is the default */
    char problem[192];        /* what the choice holds for, in words */
} rapt_tune_result;
#define RAPT_TUNE_RESULT_INIT {.struct_size = sizeof(rapt_tune_result)}

/* Times every kernel row that accepts the problem, the naive one included, and row by row several numbers of key splits
 * where the queries are few; each is first proven: a sample of rows of the first one against double precision, all elements
 * of the others against that one's. Candidates take turns; one replaces the default only if it is faster by more than 2 % at the
 * lower end of its interval. Later plans of the problem on this device take the winner, rapt_plan_explain says so;
 * a forced kernel (rapt_attention_desc.kernel) still wins, and a winner that later fails its probe or is blocked is passed over.
 *
 * What the choice holds for: problems of equal dtype, head counts, head dims, query and key counts (with packed sequences:
 * max_seqlen_q and max_seqlen_k, which must be set), causal mask with offset, window, soft cap, grid, sinks, ALiBi, pages and their size,
 * types of quantised keys and values, lengths or none, packed or dense, alignment of strides and
 * bases to 4 elements, key_splits as asked, on equal capabilities. Not batch, LSE, scale and strides as such: a row's
 * bits do not depend on the batch around it. With RAPT_ATTENTION_BATCH_TUNED it holds for this batch and these packed
 * lengths only. The descriptor's batch is what is timed, on random numbers; packed sequences are of even lengths, and batch
 * entries with k_lengths have all keys. Not tuned (RAPT_ERROR_UNSUPPORTED), since nothing proves results of these: other modifiers, block
 * masks, code of an app, further outputs.
 *
 * Blocking; takes device memory for the tensors, and host memory for a copy of them. `options` and `candidates` (of `capacity`
 * entries, in the order tried) may be NULL. Other work on the device disturbs the times, not the results.
 * Errors: RAPT_ERROR_INVALID (the problem; a forced kernel), RAPT_ERROR_UNSUPPORTED (see above; nothing accepts it),
 * RAPT_ERROR_WRONG_RESULT (no candidate is right), and what running can come to; nothing is kept then but the block list. */
RAPT_API rapt_status rapt_attention_tune(rapt_device *device, const rapt_attention_desc *desc,
                                         const rapt_tune_options *options, rapt_tune_result *result,
                                         rapt_tune_candidate *candidates, uint32_t capacity, rapt_error *error);

/* The same of linear attention (rapt/linear.h): every kernel row that accepts the problem, token by token and in chunks of 16 to 256
 * tokens. The first candidate is what is taken by default. Of each the first tokens of two heads, as many as are gone through in
 * about a second, are held against the recurrence in double precision, and all outputs against the first candidate's. What is wrong is left out, and
 * no row blocked: a candidate is several rows, and each has its known-answer probe.
 *
 * What the choice holds for: problems of equal dtype, rule, decay, feature map, heads of each tensor, tokens, d_k, d_v, with or
 * without beta, normaliser and states, alignment, on equal capabilities, that leave kernel, form and chunk at 0. Not batch.
 * Not tuned (RAPT_ERROR_UNSUPPORTED): packed sequences, states at positions, the bidirectional form, features made ahead. */
struct rapt_linear_desc;
RAPT_API rapt_status rapt_linear_tune(rapt_device *device, const struct rapt_linear_desc *desc, const rapt_tune_options *options,
                                      rapt_tune_result *result, rapt_tune_candidate *candidates, uint32_t capacity,
                                      rapt_error *error);

/* A choice that is kept. */
typedef struct rapt_tuned {
    uint32_t struct_size;
    uint32_t key_splits;      /* that the winner is asked for; 0: as it chooses by itself */
    uint32_t form, chunk;     /* the same of linear attention: rapt_linear_form, and tokens a chunk; 0: as the default */
    uint32_t candidates;      /* that were timed */
    char kernel[64], default_kernel[64];
    double speedup, speedup_low, speedup_high;
    char problem[192];
} rapt_tuned;
#define RAPT_TUNED_INIT {.struct_size = sizeof(rapt_tuned)}

/* The choices that hold on this device, oldest first. Thread-safety: safe; the list may change between calls. */
RAPT_API uint32_t rapt_device_tuned_count(rapt_device *device);
RAPT_API rapt_status rapt_device_tuned(rapt_device *device, uint32_t index, rapt_tuned *tuned, rapt_error *error);
/* Forgets all of them, on disk too. The block list stays. Returns how many there were. */
RAPT_API uint32_t rapt_device_forget_tuned(rapt_device *device);

/* The block list: rows that plans do not choose on this device. A row that is forced by name runs all the same. */
typedef struct rapt_blocked {
    uint32_t struct_size;
    char kernel[64];
    char reason[160];
} rapt_blocked;
#define RAPT_BLOCKED_INIT {.struct_size = sizeof(rapt_blocked)}
RAPT_API uint32_t rapt_device_blocked_count(rapt_device *device);
RAPT_API rapt_status rapt_device_blocked(rapt_device *device, uint32_t index, rapt_blocked *blocked, rapt_error *error);
/* `reason` may be NULL. `stored` (may be NULL): 1 if it is on disk, too. Errors: RAPT_ERROR_INVALID for a name that no row
 * has, and, when unblocking, for a row that is not blocked. Thread-safety: safe; plans made before stay as they are. */
RAPT_API rapt_status rapt_device_block(rapt_device *device, const char *kernel, const char *reason, uint32_t *stored,
                                       rapt_error *error);
RAPT_API rapt_status rapt_device_unblock(rapt_device *device, const char *kernel, uint32_t *stored, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
