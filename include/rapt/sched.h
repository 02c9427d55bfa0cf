/* Several devices as one. Part of rapt (MIT licence).
 *
 *     rapt_group_create -> rapt_group_attention, again and again -> rapt_group_destroy
 */
#ifndef RAPT_SCHED_H
#define RAPT_SCHED_H

#include <rapt/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Devices that share the work of each call: of any vendors and speeds, of one runtime or of several. A call is cut into parts
 * that are attentions themselves; each device takes as much at a time as fits its measured speed, and one that is free early
 * takes over what a slow or failing one has not finished. What a device computed counts once, however many ran it.
 *
 * A device that is lost, passes its deadline, reports work that did not run (RAPT_ERROR_INCOMPLETE) or cannot run any
 * kernel is quarantined: its parts run elsewhere, the call's results are complete and right, and `event`
 * and rapt_group_describe tell. Out of device memory, a device first gets smaller parts.
 *
 * Two devices of lavapipe share threads if they are of one VkInstance; rapt_device_open gives each one of its own.
 * Thread-safety: one thread at a time, but for rapt_group_describe, which is safe. The devices must outlive the group. While a
 * call runs, they may be used for other work too. */
typedef struct rapt_group rapt_group;

typedef enum rapt_group_event_kind {
    RAPT_GROUP_QUARANTINED = 1, /* the member takes no more parts, until rapt_group_set_device */
    RAPT_GROUP_SITS_OUT,        /* it takes no more parts of this call: its limits refuse them, or even the smallest part finds
                                 * no memory */
    RAPT_GROUP_SMALLER,         /* out of memory: its next parts are half as large */
    RAPT_GROUP_REFUSES,         /* of shards that lie on it: its limits refuse this one, or it finds no memory for it; it goes on with the others */
} rapt_group_event_kind;

typedef struct rapt_group_event {
    rapt_group_event_kind kind;
    uint32_t member;
    rapt_status status; /* what happened, and in words */
    const char *message;
} rapt_group_event;
/* May come from any of the group's threads, several at a time. Must not call into the group, but for rapt_group_describe. */
typedef void (*rapt_group_event_fn)(void *user, const rapt_group_event *event);

typedef struct rapt_group_options {
    uint32_t struct_size;
    uint32_t threads;     /* 1: the group has a thread for each device. 0: none; the thread that waits drives all devices */
    float deadline_ms;    /* of one part on its device, from its submission on; 0: 10,000, on software devices 60,000 */
    uint32_t parts;       /* at least so many parts for each device, where the shapes allow it; 0: 8 */
    rapt_group_event_fn event;
    void *event_user;
    uint32_t whole_keys;  /* 1: keys are never cut, so that every call has the bits of one device */
} rapt_group_options;
#define RAPT_GROUP_OPTIONS_INIT {.struct_size = sizeof(rapt_group_options)}

#define RAPT_GROUP_MAX 64 /* devices */

/* `options` may be NULL. The same device may not be in a group twice. */
RAPT_API rapt_status rapt_group_create(rapt_device *const *devices, uint32_t count, const rapt_group_options *options,
                                       rapt_group **group, rapt_error *error);
/* Ends a call that is under way, and waits for parts in flight, at most their deadline. NULL-safe; sets *group to NULL. */
RAPT_API void rapt_group_destroy(rapt_group **group);
/* Gives a member another device, or its own once more: it takes part again, as one whose speed is not known.
 * RAPT_ERROR_BUSY while a call runs or the member still waits for a part of an earlier one. After a loss: destroy the group's hold
 * with `device` NULL, destroy the device, open it again, and set it. */
RAPT_API rapt_status rapt_group_set_device(rapt_group *group, uint32_t member, rapt_device *device, rapt_error *error);

/* A member, and what it did in the last call. */
typedef struct rapt_group_member {
    uint32_t struct_size;
    uint32_t quarantined; /* 1: and `status` and `message` say why */
    rapt_status status;   /* of its last failure, RAPT_OK without one */
    char message[508];
    uint32_t parts;       /* whose results counted */
    uint32_t wasted;      /* that failed, or that another member finished first */
    double share;         /* of the call's work, 0 to 1 */
    double busy_ns;       /* from taking a part to its results, summed over parts */
    double rate;          /* work a second: flops as rapt_plan_info counts them; 0: not known yet */
} rapt_group_member;
#define RAPT_GROUP_MEMBER_INIT {.struct_size = sizeof(rapt_group_member)}
RAPT_API uint32_t rapt_group_count(const rapt_group *group);
RAPT_API rapt_status rapt_group_describe(rapt_group *group, uint32_t member, rapt_group_member *out, rapt_error *error);

/* The tensors of one call, in host memory, laid out as the descriptor says; NULL where it has none. */
typedef struct rapt_group_attention_args {
    uint32_t struct_size;
    const void *q, *k, *v;
    void *out, *lse;
    const int32_t *cu_seqlens_q, *cu_seqlens_k; /* sequences + 1 entries that do not fall, within the packed length */
    const void *user[RAPT_USER_BUFFERS];
    const void *sinks, *alibi, *key_bias, *segments;
    const void *gate, *bias, *bias_u, *bias_v;
    const void *block_mask, *relative, *decay;
} rapt_group_attention_args;
#define RAPT_GROUP_ATTENTION_ARGS_INIT {.struct_size = sizeof(rapt_group_attention_args)}

/* One attention, shared. Cut by batch entries (packed sequences: by sequences) and heads, which changes no bit of what one
 * device computes; by queries where that gives too few parts; by keys, about 1,024 a part or more, where that is not enough: a decode
 * step of few heads over a long cache. Such parts give (O, lse) each, and one device merges them by their lse (as rapt/combine.h
 * does) in float32: the same bits every time on equal devices, within rounding of what one device computes. Descriptors with score_mod or mask_mod are not cut: the first
 * device that is free runs them.
 * Errors: RAPT_ERROR_INVALID (the descriptor, a missing tensor); RAPT_ERROR_UNSUPPORTED (block_table, k_lengths); where no device is left, the status of the last one's
 * failure (RAPT_ERROR_DEVICE_LOST for one that did not end in time), with all of them in the message: outputs may then be written in part. */
RAPT_API rapt_status rapt_group_attention(rapt_group *group, const rapt_attention_desc *desc,
                                          const rapt_group_attention_args *args, rapt_error *error);
/* The same in two calls. What `desc` points to is copied; the tensors must stay until rapt_group_wait has returned something
 * else than RAPT_ERROR_TIMEOUT. RAPT_ERROR_BUSY while an earlier call was not waited for. */
RAPT_API rapt_status rapt_group_attention_begin(rapt_group *group, const rapt_attention_desc *desc,
                                                const rapt_group_attention_args *args, rapt_error *error);
/* ---- Keys and values that stay where they were put ---- */

/* A part of the keys and values, in buffers of one member's device: an attention of its own, whatever holds its cache (pages, lengths,
 * quantised rows, windows). */
typedef struct rapt_group_shard {
    uint32_t struct_size;
    uint32_t member; /* whose device has the buffers */
    uint32_t part;   /* from 0 on without gaps. Shards of one part are copies of each other: any of them will do */
    uint32_t first_batch, first_head; /* where its q and out begin in the whole's, batch entries and heads of q */
    const rapt_attention_desc *desc;  /* q has the sizes of its part of the whole's q, of out only the last size counts; lse is ignored.
                                       * `sinks` are of one shard of a row alone: each adds its own. With softmax as its link, and as many heads of q as of k, or more. Shards see their
                                       * own keys alone: one of keys first .. first + count of nk that must be causal in the whole has
                                       * causal_offset = nk - first - count */
    const rapt_attention_args *args;  /* all tensors of desc but q, out and lse. The buffers must stay until rapt_group_wait has returned
                                       * something else than RAPT_ERROR_TIMEOUT */
} rapt_group_shard;
#define RAPT_GROUP_SHARD_INIT {.struct_size = sizeof(rapt_group_shard)}

#define RAPT_GROUP_SHARDS 64 /* of one call; and parts */

/* The tensors of all shards together, in host memory. */
typedef struct rapt_group_resident {
    uint32_t struct_size;
    rapt_tensor q, out, lse; /* as of rapt_attention_desc; lse may be absent */
    const void *q_data;
    void *out_data, *lse_data;
} rapt_group_resident;
#define RAPT_GROUP_RESIDENT_INIT {.struct_size = sizeof(rapt_group_resident)}

/* Attention of q over the keys of all shards together: each is computed where it lies, and the parts that a row of out has are merged
 * by their lse on one device. Only q, (out, lse) of each shard and the result move, however long the caches are (attention offloading:
 * Lamina, arXiv:2405.01814). Shards of different heads or batch entries lie side by side, those of different keys add up; rows that no
 * shard has give 0 and lse -inf.
 * A shard that its member's limits refuse, or that finds no memory, is left to its copies; the member's other shards are not touched by that.
 * Where a member fails and no copy of its shard is left, that member's status (RAPT_ERROR_NO_DEVICE if it was out before), and out is as it
 * was: its keys are lost with it.
 * begin is the first half, as of rapt_group_attention_begin. */
RAPT_API rapt_status rapt_group_attention_resident(rapt_group *group, const rapt_group_resident *whole, const rapt_group_shard *shards,
                                                   uint32_t count, rapt_error *error);
RAPT_API rapt_status rapt_group_attention_resident_begin(rapt_group *group, const rapt_group_resident *whole,
                                                         const rapt_group_shard *shards, uint32_t count, rapt_error *error);
/* timeout in nanoseconds; 0: just look. Without threads this is what drives the devices: call it again and again; without a call it looks
 * after a part of an earlier one that a slow member is still at. */
RAPT_API rapt_status rapt_group_wait(rapt_group *group, uint64_t timeout, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
