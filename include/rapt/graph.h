/* Several plans as one piece of work. Part of rapt (MIT licence).
 *
 *     rapt_graph_create -> rapt_graph_add, .. -> rapt_graph_finish -> rapt_graph_submit -> rapt_graph_wait, again and again
 */
#ifndef RAPT_GRAPH_H
#define RAPT_GRAPH_H

#include <rapt/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bindings that run on one device as if each began after the one added before it had ended. What each reads and writes is
 * known from its binding; barriers stand only where a binding needs what an earlier one wrote, or writes what an earlier one
 * touched: bindings without such ties run side by side, in an order that needs few barriers. Ranges of one VkBuffer are told
 * apart by bytes; VkBuffers that share memory are not known to.
 * Small work of another thread, submitted by itself or as a graph, goes behind what is in flight: a long graph that holds its slices back
 * (in_flight) lets it in after so many of them.
 *
 * Everything is recorded by rapt_graph_finish: submitting neither allocates, compiles nor records. rapt/vulkan.h records a graph into an
 * app's command buffer, and lets nodes wait for and signal timeline semaphores.
 *
 * Thread-safety: one thread at a time, but for rapt_graph_cancel, which is safe. The device and the bindings must outlive the graph; the
 * bindings cannot be submitted by themselves while it is in flight. */
typedef struct rapt_graph rapt_graph;

#define RAPT_GRAPH_NODES 4096 /* of one graph, at most */

typedef struct rapt_graph_options {
    uint32_t struct_size;
    uint32_t nodes;     /* of one submission, at most: deadlines and cancellation come between submissions. A node of several
                         * slices has a submission for each. 0: 64 */
    uint32_t in_flight; /* submissions at a time: the others are submitted by rapt_graph_wait. 0: all of them, by rapt_graph_submit */
    float deadline_ms;  /* from rapt_graph_submit on: what is not submitted by then is left out; 0: none */
} rapt_graph_options;
#define RAPT_GRAPH_OPTIONS_INIT {.struct_size = sizeof(rapt_graph_options)}

/* `options` may be NULL. */
RAPT_API rapt_status rapt_graph_create(rapt_device *device, const rapt_graph_options *options, rapt_graph **graph, rapt_error *error);
/* Waits for work in flight, as rapt_binding_destroy: what does not end in time is left as it is, and so are the bindings, when they are
 * destroyed. NULL-safe; sets *graph to NULL. */
RAPT_API void rapt_graph_destroy(rapt_graph **graph);

typedef enum rapt_graph_flags {
    RAPT_GRAPH_WAITS = 1,   /* the node waits for a timeline semaphore (rapt_graph_semaphores), and all nodes after it with it */
    RAPT_GRAPH_SIGNALS = 2, /* it signals one when it and all nodes before it are done */
    RAPT_GRAPH_URGENT = 4,  /* it, and the nodes that it needs, run before all others that lie between the same nodes that wait or signal,
                             * wherever they were added: not behind the slices of a long one */
} rapt_graph_flags;

/* A node. The same binding may be added several times. *node: its number, from 0 on; may be NULL.
 * Errors: RAPT_ERROR_INVALID (another device's binding, a graph that is finished), RAPT_ERROR_UNSUPPORTED (flags without timeline
 * semaphores on the device; too many nodes). */
RAPT_API rapt_status rapt_graph_add(rapt_graph *graph, rapt_binding *binding, uint32_t flags, uint32_t *node, rapt_error *error);
/* Derives barriers and records. */
RAPT_API rapt_status rapt_graph_finish(rapt_graph *graph, rapt_error *error);

/* Submits, in order. RAPT_ERROR_BUSY while the graph or one of its bindings is in flight. */
RAPT_API rapt_status rapt_graph_submit(rapt_graph *graph, rapt_error *error);
/* Waits until the last submit is done and the canary of each submission has been seen, and submits what is left meanwhile.
 * RAPT_ERROR_TIMEOUT leaves it in flight; RAPT_ERROR_CANCELLED: it was cancelled, or its deadline passed, and nothing is in flight any
 * more: the message says how many submissions ran. Others and timeout as of rapt_wait. */
RAPT_API rapt_status rapt_graph_wait(rapt_graph *graph, uint64_t timeout, rapt_error *error);
/* Nothing more of the submit under way is submitted; rapt_graph_wait tells. Semaphores of nodes left out are not signalled. */
RAPT_API void rapt_graph_cancel(rapt_graph *graph);

typedef struct rapt_graph_info {
    uint32_t struct_size;
    uint32_t nodes;
    uint32_t barriers;     /* between nodes, beside those of the nodes' own steps */
    uint32_t submissions;  /* of one rapt_graph_submit */
    uint32_t submitted, done; /* of the last one; 0 before there was one */
    double finish_ns;      /* host time of rapt_graph_finish */
    double submit_ns;      /* host time of the last rapt_graph_submit */
} rapt_graph_info;
#define RAPT_GRAPH_INFO_INIT {.struct_size = sizeof(rapt_graph_info)}
RAPT_API rapt_status rapt_graph_describe(const rapt_graph *graph, rapt_graph_info *info, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
