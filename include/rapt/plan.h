/* Plan, prepare, bind, submit. Part of rapt (MIT licence).
 *
 *     rapt_attention_plan -> rapt_plan_prepare -> rapt_attention_bind -> rapt_submit / rapt_record -> rapt_wait
 */
#ifndef RAPT_PLAN_H
#define RAPT_PLAN_H

#include <rapt/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An ordered list of dispatches for one problem on one kind of device, and all that can be told of it beforehand.
 * Thread-safety: immutable after rapt_plan_prepare; prepare itself from one thread at a time. */
typedef struct rapt_plan rapt_plan;

/* Plans for the device's snapshot, its mask and its verdicts (probe results, the block list, and
 * what rapt/tune.h measured). No Vulkan call is made.
 * Errors: RAPT_ERROR_INVALID (the problem), RAPT_ERROR_UNSUPPORTED (no kernel row accepts it; the message has the
 * reason of the row that came closest, rapt_explain_refusal all of them). */
RAPT_API rapt_status rapt_attention_plan(rapt_device *device, const rapt_attention_desc *desc, rapt_plan **plan,
                                         rapt_error *error);
/* The same for any snapshot, without a device: to be looked at, not prepared. */
RAPT_API rapt_status rapt_attention_plan_for_caps(const rapt_caps *caps, const rapt_attention_desc *desc,
                                                  rapt_plan **plan, rapt_error *error);
RAPT_API void rapt_plan_destroy(rapt_plan **plan);

typedef struct rapt_plan_info {
    uint32_t struct_size;
    char kernel[64];           /* the row that does the main work */
    char merge_kernel[64];     /* the row that merges key splits; "" without */
    char precision[48];        /* "f16 storage, f32 accumulate"; on matrix units, whose operands are 16-bit, "f16 storage,
                                  f16 weights, f32 sums": the softmax weights are rounded before they multiply v */
    uint64_t workspace_bytes;  /* exactly what bind takes beside inputs and outputs */
    uint32_t workspace_align;
    uint64_t parameter_bytes;  /* uniform parameters and canary, at most: allocated by bind on top of the workspace */
    uint64_t flops;            /* 2 * (head_dim_qk + head_dim_v) per visible (query, key) pair */
    uint64_t bytes_read, bytes_written; /* compulsory traffic: every input and output once */
    uint32_t steps;            /* dispatches */
    uint32_t chain;            /* longest chain of dispatches that wait for each other */
    uint32_t slices;           /* parts that can be submitted apart */
    uint32_t key_splits;
    uint32_t generation;       /* grows when prepare had to plan again */
} rapt_plan_info;
#define RAPT_PLAN_INFO_INIT {.struct_size = sizeof(rapt_plan_info)}
RAPT_API rapt_status rapt_plan_describe(const rapt_plan *plan, rapt_plan_info *info, rapt_error *error);

/* Writes why this kernel was chosen, why each other one was not, and every step, as text or JSON, with a final NUL,
 * at most `capacity` bytes. Returns the bytes needed, the NUL included. */
typedef enum rapt_text_format { RAPT_TEXT = 0, RAPT_JSON = 1 } rapt_text_format;
RAPT_API size_t rapt_plan_explain(const rapt_plan *plan, rapt_text_format format, char *buffer, size_t capacity);

/* The same list of reasons for a problem that rapt_attention_plan refused (or would refuse). */
RAPT_API size_t rapt_explain_refusal(rapt_device *device, const rapt_attention_desc *desc, rapt_text_format format,
                                     char *buffer, size_t capacity);

/* Makes the pipelines and runs the known-answer probe of every (kernel row, constants) this device and driver have
 * not yet shown. A row that fails is noted and the plan is made again without it: look at rapt_plan_describe
 * again when `generation` has grown. A forced kernel that fails is an error instead.
 * Blocking; may take seconds on the first run of a driver. */
RAPT_API rapt_status rapt_plan_prepare(rapt_plan *plan, rapt_error *error);

/* A prepared plan with its tensors. May be submitted again and again, not while it is in flight.
 * Thread-safety: one thread at a time. The plan, the device and the buffers must outlive it. */
typedef struct rapt_binding rapt_binding;

/* Checks sizes, alignment, usage and overlaps; writes descriptor sets and parameters; takes the workspace. */
RAPT_API rapt_status rapt_attention_bind(rapt_plan *plan, const rapt_attention_args *args, rapt_binding **binding,
                                         rapt_error *error);
/* Waits for a submit in flight, at most 10 s: what a hung device may still touch is then left as it is, with an error in
 * the log, and the buffers it was bound to should be left too. NULL-safe; sets *binding to NULL. */
RAPT_API void rapt_binding_destroy(rapt_binding **binding);

/* Submits all slices, in order. Neither allocates nor compiles. RAPT_ERROR_BUSY while in flight. */
RAPT_API rapt_status rapt_submit(rapt_binding *binding, rapt_error *error);
/* Waits until the last submit is done and its canary has been seen. RAPT_ERROR_TIMEOUT leaves it in flight;
 * RAPT_ERROR_INCOMPLETE means that the driver reported success for work that did not run.
 * timeout in nanoseconds; 0: just look; UINT64_MAX: the longest that rapt waits, 10 minutes. */
RAPT_API rapt_status rapt_wait(rapt_binding *binding, uint64_t timeout, rapt_error *error);

typedef struct rapt_timing {
    double device_ns; /* between timestamps around the work, summed over slices; negative: the queue has none */
    double submit_ns; /* host time of recording and submitting */
} rapt_timing;
/* Of the last submit that was waited for. On software devices it waits for what else has been submitted since, if there is any: not while
 * the binding is in flight again. */
RAPT_API void rapt_binding_timing(const rapt_binding *binding, rapt_timing *timing);

/* Plan, prepare, bind, submit and wait in one blocking call. For loops, keep the binding instead. */
RAPT_API rapt_status rapt_attention_run(rapt_device *device, const rapt_attention_desc *desc,
                                        const rapt_attention_args *args, rapt_error *error);

/* ---- Measuring the device ------------------------------------------------------------------------------------ */

/* What the device reached in small kernels that do nothing else: the two lines of its roofline. */
typedef struct rapt_roofline {
    uint32_t struct_size;
    double flops_per_second;      /* f32 multiply-adds from registers, two operations each */
    double read_bytes_per_second; /* of memory read once, all of `read_bytes` */
    uint64_t read_bytes;
    char read_kernel[64];         /* the way of reading that was fastest */
} rapt_roofline;
#define RAPT_ROOFLINE_INIT {.struct_size = sizeof(rapt_roofline)}

/* The best of the gauges of rapt/measure.h that are meant for it: multiply-adds of f32, scalar and packed, and reads of
 * memory. Blocking; takes about `seconds` (0: 0.5) on top of compiling five small kernels and filling what is read. The
 * best of several runs counts, each far shorter than a watchdog's patience. Needs up to 384 MiB of device memory for the
 * time of the call, on software devices 768 MiB; never more than an eighth of the heap.
 * RAPT_ERROR_WRONG_RESULT where a kernel computed something else than it must. */
RAPT_API rapt_status rapt_device_measure_roofline(rapt_device *device, double seconds, rapt_roofline *roofline,
                                                  rapt_error *error);

/* ---- The kernels built in ------------------------------------------------------------------------------------ */

typedef struct rapt_kernel_info {
    uint32_t struct_size;
    const char *name;    /* of the row; valid for ever */
    const char *family;  /* "tile", "broadcast", "coopmat", "merge", .. */
    const char *shader;  /* source file under shaders/ */
    const char *defines; /* "-DDTYPE=2 -D..." the module was compiled with */
    char hash[33];       /* of the SPIR-V: the file name for override and dump */
    uint64_t spirv_bytes;
} rapt_kernel_info;
#define RAPT_KERNEL_INFO_INIT {.struct_size = sizeof(rapt_kernel_info)}
RAPT_API uint32_t rapt_kernel_count(void);
RAPT_API rapt_status rapt_kernel_describe(uint32_t index, rapt_kernel_info *info, rapt_error *error);
/* Writes row `index`'s SPIR-V to `spirv`, memory of the caller of `bytes` bytes, at least info.spirv_bytes. Thread-safety: safe.
 * Errors: RAPT_ERROR_INVALID, _OUT_OF_HOST_MEMORY. */
RAPT_API rapt_status rapt_kernel_spirv(uint32_t index, void *spirv, uint64_t bytes, rapt_error *error);

/* What a device has done with a row since it was opened. */
typedef struct rapt_kernel_use {
    uint32_t struct_size;
    uint32_t pipelines; /* made of it: one for each set of constants that plans prepared here asked for */
    uint32_t proven;    /* sets of constants that passed the known-answer probe, in this run or, by the cache, in an earlier one */
    uint32_t wrong;     /* that failed it, or that the driver would not compile */
    char reason[160];   /* of the last that is wrong; else "" */
} rapt_kernel_use;
#define RAPT_KERNEL_USE_INIT {.struct_size = sizeof(rapt_kernel_use)}
/* Of row `index` of rapt_kernel_count(). Thread-safety: safe. Errors: RAPT_ERROR_INVALID. */
RAPT_API rapt_status rapt_device_kernel_use(rapt_device *device, uint32_t index, rapt_kernel_use *use, rapt_error *error);

/* What the driver's compiler says of one kernel row with the constants of this plan (VK_KHR_pipeline_executable_properties):
 * text or JSON as in rapt_plan_explain; 0 where the device does not tell. `internal` adds the driver's own listings. */
RAPT_API rapt_status rapt_kernel_statistics(rapt_plan *plan, rapt_text_format format, uint32_t internal, char *buffer,
                                            size_t capacity, size_t *needed, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
