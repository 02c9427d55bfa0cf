/* What the files of src/measure share: gauges, and the means to run them. */
#ifndef RAPT_MEASURE_GAUGE_H
#define RAPT_MEASURE_GAUGE_H

#include "vk/exec.h"
#include <rapt/measure.h>

/* ---- A lane of work: one command buffer, recorded, submitted and timed again and again (lane.c) */

typedef struct rapt_lane {
    rapt_device *device;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkQueryPool queries; /* two timestamps, or VK_NULL_HANDLE */
} rapt_lane;

typedef struct rapt_lane_time {
    double wall;   /* seconds from submit to the end of the wait */
    double device; /* between the timestamps; 0: unknown */
} rapt_lane_time;

rapt_status rapt_lane_open(rapt_device *device, rapt_lane *lane, rapt_error *error);
void rapt_lane_close(rapt_lane *lane);
/* Begins recording; what is recorded up to rapt_lane_run lies between the timestamps. */
rapt_status rapt_lane_begin(rapt_lane *lane, rapt_error *error);
/* A full memory dependency between what came before and what comes. */
void rapt_lane_barrier(rapt_lane *lane);
rapt_status rapt_lane_run(rapt_lane *lane, rapt_lane_time *time, rapt_error *error);

/* ---- A kernel with what is bound to it (lane.c) */

typedef struct rapt_operands {
    rapt_bound bound[RAPT_ROLE_COUNT];
    uint64_t bytes[RAPT_ROLE_COUNT];
} rapt_operands;

typedef struct rapt_tool {
    rapt_device *device;
    rapt_kernel *kernel;
    rapt_buffer *params;
    VkDescriptorPool pool;
    VkDescriptorSet *sets;
    VkBufferView *views;
    uint32_t set_count, view_count;
} rapt_tool;

/* Compiles the row and writes one descriptor set for each of `count` groups of operands. */
rapt_status rapt_tool_open(rapt_device *device, const rapt_kernel_row *row, const uint32_t *constants,
                           const rapt_operands *operands, uint32_t count, rapt_tool *tool, rapt_error *error);
void rapt_tool_close(rapt_tool *tool);
void rapt_tool_dispatch(const rapt_tool *tool, const rapt_lane *lane, uint32_t set,
                        const uint32_t push[RAPT_PUSH_WORDS], uint32_t groups);

/* ---- Gauges */

struct rapt_gauge;

/* One gauge while it is measured. */
typedef struct rapt_session {
    rapt_device *device;
    const struct rapt_gauge *gauge;
    rapt_lane lane;
    void *state;    /* the kind's own, of state_bytes, zeroed before open */
    uint64_t scale; /* how much a run does, in the kind's own unit; from 1 to `most` */
    uint64_t most;
    double work;  /* of a run at this scale; 0 for latencies */
    double parts; /* what a latency is divided by */
    bool device_clock;
} rapt_session;

/* A kind of gauge: how it is made ready, run once, proven and put away. */
typedef struct rapt_gauge_kind {
    size_t state_bytes;
    rapt_status (*open)(rapt_session *s, rapt_error *error); /* sets `most` */
    /* Runs once at s->scale, sets work (or parts) and the time taken. */
    rapt_status (*run)(rapt_session *s, rapt_lane_time *time, rapt_error *error);
    /* Is what the last run computed right? RAPT_ERROR_WRONG_RESULT. NULL: the run itself proves it. */
    rapt_status (*prove)(rapt_session *s, rapt_error *error);
    void (*close)(rapt_session *s);
} rapt_gauge_kind;

typedef struct rapt_gauge {
    rapt_gauge_info info;
    const rapt_gauge_kind *kind;
    const rapt_kernel_row *row; /* NULL: no kernel */
    double per_step;            /* operations of one step of one lane */
    uint32_t variant, detail;   /* the kind's own */
} rapt_gauge;

/* The gauge at `index`; false: there are no more. (catalogue.c) */
bool rapt_gauge_at(const rapt_device *device, uint32_t index, rapt_gauge *gauge);
/* Runs it; `values` and `result` as in rapt_device_measure, `options` filled in. (measure.c) */
rapt_status rapt_gauge_run(rapt_device *device, const rapt_gauge *gauge, const rapt_gauge_options *options,
                           double *values, uint32_t capacity, rapt_gauge_result *result, rapt_error *error);

const rapt_kernel_row *rapt_peak_row(const char *name);
/* The literal constant of that name; 1 where the row has none. */
uint32_t rapt_row_constant(const rapt_kernel_row *row, const char *name);
/* The row's constants for this device, and its local size: one subgroup on software devices, where a larger
 * workgroup is a loop over subgroups, each of which walks with the stride of the whole. */
uint32_t rapt_row_constants(const rapt_device *device, const rapt_kernel_row *row,
                            uint32_t constants[RAPT_MAX_CONSTANTS]);
/* RAPT_ERROR_WRONG_RESULT, saying what is wrong. */
rapt_status rapt_wrong(rapt_error *error, const rapt_gauge *gauge, const char *what, double got, double low,
                       double high);

/* alu.c */
extern const rapt_gauge_kind rapt_gauge_alu;
typedef enum rapt_alu {
    RAPT_ALU_COUNT_F32, /* counts the steps in floats: exact up to 2^24 */
    RAPT_ALU_COUNT_F16, /* the same in halves, up to 2048 */
    RAPT_ALU_MAD_I32,   /* a known sequence modulo 2^32 */
    RAPT_ALU_DOT_I8,
    RAPT_ALU_EXP2, /* fixed points */
    RAPT_ALU_RSQRT,
    RAPT_ALU_COS,
    RAPT_ALU_SHARED_READ, /* sums of known numbers */
    RAPT_ALU_SHARED_ONE,  /* atomic counters */
    RAPT_ALU_SHARED_SPREAD,
    RAPT_ALU_GLOBAL_ONE,
    RAPT_ALU_GLOBAL_SPREAD,
    RAPT_ALU_SHUFFLE, /* counters that add what the subgroup operation gave */
    RAPT_ALU_ADD,
    RAPT_ALU_BROADCAST,
    RAPT_ALU_BALLOT,
    RAPT_ALU_MATRIX,     /* sums of products; work is counted by subgroup */
    RAPT_ALU_MATRIX_F16, /* the same, exact as far as an f16 accumulator is */
} rapt_alu;

/* transfer.c */
extern const rapt_gauge_kind rapt_gauge_transfer;
typedef enum rapt_transfer {
    RAPT_TRANSFER_WRITE_MAPPED, /* detail: memory type */
    RAPT_TRANSFER_READ_MAPPED,
    RAPT_TRANSFER_UPLOAD_STAGED,
    RAPT_TRANSFER_DOWNLOAD_STAGED,
    RAPT_TRANSFER_COPY_COMMAND, /* from device memory to device memory */
} rapt_transfer;
#define RAPT_TRANSFER_BYTES (16ull << 20)
/* Why the memory type is not for us; NULL: it is. */
const char *rapt_transfer_refusal(VkMemoryPropertyFlags flags);

/* latency.c */
extern const rapt_gauge_kind rapt_gauge_latency;
typedef enum rapt_latency {
    RAPT_LATENCY_SUBMIT,         /* an empty command buffer, submitted and waited for */
    RAPT_LATENCY_DISPATCH,       /* one empty dispatch, submitted and waited for */
    RAPT_LATENCY_BATCH,          /* dispatches of one command buffer */
    RAPT_LATENCY_BATCH_BARRIERS, /* with a barrier between them */
    RAPT_LATENCY_BARRIER,        /* barriers alone */
    RAPT_LATENCY_TIMELINE, /* an empty submission that signals a timeline semaphore, waited for by the host */
    RAPT_LATENCY_PIPELINE_COLD,
    RAPT_LATENCY_PIPELINE_CACHED,
} rapt_latency;

/* memory.c */
extern const rapt_gauge_kind rapt_gauge_memory;
typedef enum rapt_stream {
    RAPT_STREAM_READ,
    RAPT_STREAM_WRITE,
    RAPT_STREAM_COPY,
    RAPT_STREAM_TRIAD,
    RAPT_STREAM_CACHE, /* reads of a small working set, again and again */
} rapt_stream;
/* Bytes that a memory gauge works on, all its buffers together; 0: the device is too small. */
uint64_t rapt_stream_bytes(const rapt_device *device, const rapt_kernel_row *row, rapt_stream stream);

#endif
