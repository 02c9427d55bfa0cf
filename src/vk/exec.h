/* From a plan to work on a queue: pipelines and verdicts, bindings, recording. Knows steps, windows and roles, not what
 * a kernel computes. */
#ifndef RAPT_VK_EXEC_H
#define RAPT_VK_EXEC_H

#include "plan/plan.h"
#include "vk/vk.h"

/* A pipeline with its layouts, and what this device has shown of it. Lives as long as the device. */
typedef struct rapt_kernel {
    const rapt_kernel_row *row; /* of the table, or own_row */
    uint32_t constants[RAPT_MAX_CONSTANTS];
    const rapt_kernel_row *base; /* of the table */
    uint32_t form;               /* as in rapt_plan_pipeline */
    rapt_hash code;
    const struct rapt_user_code *user; /* only while it is being made */
    rapt_kernel_row own_row;           /* with code of an app */
    rapt_kernel_operand own_operands[RAPT_MAX_OPERANDS];
    rapt_kernel_constant own_constants[RAPT_MAX_CONSTANTS];
    VkPipeline pipeline; /* VK_NULL_HANDLE until made */
    VkPipelineLayout layout;
    VkDescriptorSetLayout set_layout;
    rapt_verdict_kind verdict;
    char reason[160];
    struct rapt_kernel *next;
} rapt_kernel;

/* The entry of (row, constants), made on first use without a pipeline. NULL: out of memory. Thread-safe. */
rapt_kernel *rapt_kernel_find(rapt_device *device, const rapt_plan_pipeline *pipeline);
/* The entry that a probe's verdict on this pipeline is kept in. With code of an app the probe runs code of its own: its
 * verdict holds for the row, its constants and form. NULL: out of memory. Thread-safe. */
rapt_kernel *rapt_kernel_probed(rapt_device *device, const rapt_plan_pipeline *pipeline);
/* Makes the pipeline if there is none, with the app's code in it if `user` is not NULL. RAPT_ERROR_COMPILE when the driver
 * refuses it, RAPT_ERROR_INVALID when the app's code does not compile. Thread-safe. */
rapt_status rapt_kernel_compile(rapt_device *device, rapt_kernel *kernel, const struct rapt_user_code *user,
                                rapt_error *error);
/* Reads the verdict from the disk cache if memory has none; notes one in memory and on disk. Thread-safe. */
rapt_verdict_kind rapt_kernel_verdict(rapt_device *device, rapt_kernel *kernel);
/* `lasting`: also on disk. */
void rapt_kernel_note(rapt_device *device, rapt_kernel *kernel, rapt_verdict_kind verdict, bool lasting,
                      const char *reason);
/* What memory holds of verdicts and throughput, for planning. Valid as long as the device. */
rapt_verdicts rapt_device_verdicts(rapt_device *device);
/* The throughput that slices assume, 0 for none yet: tuning, which runs slow kernels too, puts back what was there. */
double rapt_device_throughput(rapt_device *device, const double *replace);
/* Notes that `flops` took `seconds`, for the slices of later plans. */
void rapt_device_note_throughput(rapt_device *device, double flops, double seconds);
/* Measured choices and the block list: read from disk when the device is opened. The first two are as rapt_verdicts has them,
 * with the device as `user`. `stored`: on disk too. Thread-safe. */
rapt_status rapt_tuning_create(rapt_device *device, rapt_error *error);
void rapt_tuning_destroy(rapt_device *device);
bool rapt_tuning_find(void *user, rapt_hash key, rapt_tuned *out);
bool rapt_tuning_blocked(void *user, const rapt_kernel_row *row, char *reason, size_t capacity);
rapt_status rapt_tuning_keep(rapt_device *device, rapt_hash key, const rapt_tuned *tuned, bool *stored,
                             rapt_error *error);
/* The format of a texel operand; VK_FORMAT_UNDEFINED for storage. */
VkFormat rapt_texel_format(rapt_operand_kind kind);
/* Driver statistics of one kernel: a pipeline is made for that alone. */
rapt_status rapt_kernel_driver_text(rapt_device *device, const rapt_plan_pipeline *pipeline, rapt_text_format format,
                                    bool internal, rapt_text *out, rapt_error *error);

/* Where the tensors lie, by role; `bytes` is what the plan expects of it. */
typedef struct rapt_bound {
    rapt_buffer *buffer;
    uint64_t offset;
    uint64_t bytes; /* of an app's tensor, from the offset on; 0: in the workspace */
    bool written;
} rapt_bound;

/* What a slice leaves behind when it is done. */
#define RAPT_CANARY 0x72617074u

struct rapt_binding {
    rapt_device *device;
    const rapt_plan *plan;
    rapt_buffer *workspace; /* owned, or NULL */
    rapt_buffer *params;    /* uniform block */
    rapt_buffer *canary;    /* one word per slice, written by the device after the slice's last dispatch */
    VkDescriptorPool pool;
    VkDescriptorSet *sets;
    uint32_t set_count;
    VkBufferView *views;
    uint32_t view_count;
    uint32_t *step_set;                /* index of the set of each step */
    uint32_t (*push)[RAPT_PUSH_WORDS]; /* of each step */
    uint32_t *slice_first;             /* first step of each slice, and step_count at the end */
    VkCommandPool command_pool;
    VkCommandBuffer *commands; /* one per slice, recorded at bind */
    VkQueryPool queries;       /* two timestamps per slice, or VK_NULL_HANDLE */
    VkFence fence;
    bool in_flight;
    uint32_t graphs;       /* in flight that it is a node of */
    rapt_access *accesses; /* of what others may touch too */
    uint32_t access_count, access_room;
    uint32_t submits; /* finished so far */
    uint64_t submitted_at;
    uint64_t batch; /* how many batches the queue had been given behind its last one */
    rapt_timing timing;
    bool unread; /* the timestamps of the last submit have not been read yet */
};

/* Checks nothing of meaning, only that windows lie inside buffers; `bound` is indexed by rapt_role. */
rapt_status rapt_binding_create(rapt_device *device, const rapt_plan *plan, const rapt_bound bound[RAPT_ROLE_COUNT],
                                rapt_binding **binding, rapt_error *error);
rapt_status rapt_binding_submit(rapt_binding *binding, VkSemaphore wait, uint64_t wait_value, VkSemaphore signal,
                                uint64_t signal_value, rapt_error *error);
/* Counts a submit of the plan's problem where the runtime records. Allocates nothing. Thread-safe. */
#define RAPT_RECORD_PROBLEMS 4096 /* distinct ones, at most */
void rapt_recorder_count(rapt_runtime *runtime, const rapt_plan *plan);
/* Parts of what rapt_record_slices does: a barrier against all that was before; one between steps; the steps of slices [first, last), with
 * the barriers of the plan's own; a barrier to all that comes, and `count` canaries from word `first` on. */
void rapt_record_begin(const rapt_device *device, VkCommandBuffer commands);
void rapt_record_barrier(const rapt_device *device, VkCommandBuffer commands);
void rapt_record_steps(const rapt_binding *binding, VkCommandBuffer commands, uint32_t first, uint32_t last, bool timestamps);
void rapt_record_end(const rapt_device *device, VkCommandBuffer commands, const rapt_buffer *canary, uint32_t first, uint32_t count);
/* Records slices [first, last) with barriers around and the canaries after. */
void rapt_record_slices(const rapt_binding *binding, VkCommandBuffer commands, uint32_t first, uint32_t last,
                        bool timestamps);

#endif
