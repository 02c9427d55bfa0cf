/* What a device can do, measured: rates, bandwidths, latencies. Part of rapt (MIT licence).
 *
 * A gauge is one such measurement: a small kernel (or a command, or an API call) that does one thing and nothing else.
 * Which gauges there are depends on the device: its matrix shapes, its memory types, its features. */
#ifndef RAPT_MEASURE_H
#define RAPT_MEASURE_H

#include <rapt/device.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rapt_gauge_info {
    uint32_t struct_size;
    char name[64];           /* "fma-f32-vec4", "coopmat-f16-f32-16x16x16", "copy", "dispatch-empty" */
    char group[24];          /* "arithmetic", "matrix", "memory", "cache", "shared", "atomic", "transfer", "latency",
                              * "subgroup" */
    char unit[16];           /* "FLOP/s", "OP/s" (integers, transcendentals, atomics), "B/s", "s" (latencies) */
    char what[192];          /* one sentence for people: what a run does, what is counted */
    char kernel[64];         /* the row that does it; "" where it is no kernel */
    char refusal[192];       /* why it cannot run on this device; "": it can */
    char limit[224];         /* what in this driver is known to hold the figure down, with the evidence; "": nothing known */
    uint32_t lower_is_better; /* 1 for latencies */
    uint64_t bytes;          /* working set of memory, cache, shared and transfer gauges; else 0 */
} rapt_gauge_info;
#define RAPT_GAUGE_INFO_INIT {.struct_size = sizeof(rapt_gauge_info)}

/* The gauges of this device, those it refuses included; the list never changes while the device lives. */
RAPT_API rapt_status rapt_device_gauge_count(rapt_device *device, uint32_t *count, rapt_error *error);
RAPT_API rapt_status rapt_device_gauge(rapt_device *device, uint32_t index, rapt_gauge_info *info, rapt_error *error);

typedef struct rapt_gauge_options {
    uint32_t struct_size;
    double seconds;    /* of timed runs, on top of compiling; 0: 0.2. At least 3 runs are made */
    double longest_ms; /* a run grows until it takes about this long, and no longer; 0: 20 */
} rapt_gauge_options;
#define RAPT_GAUGE_OPTIONS_INIT {.struct_size = sizeof(rapt_gauge_options)}

typedef struct rapt_gauge_result {
    uint32_t struct_size;
    uint32_t samples;      /* runs timed; values[] has the first `capacity` of them */
    uint32_t device_clock; /* 1: timestamps of the device; 0: wall clock */
    double work;           /* of one run, in operations or bytes; 0 for latencies */
    double median, best;   /* over all samples, in the gauge's unit */
} rapt_gauge_result;
#define RAPT_GAUGE_RESULT_INIT {.struct_size = sizeof(rapt_gauge_result)}

/* Runs one gauge. Blocking; may compile. `values` receives one value per run in the gauge's unit, at most `capacity`;
 * may be NULL with capacity 0. `options` may be NULL.
 * What a kernel computed is compared with what it must be: RAPT_ERROR_WRONG_RESULT if it is not, and then no
 * rate is given. RAPT_ERROR_UNSUPPORTED, with the refusal, where the device cannot.
 * Device memory: at most rapt_gauge_info.bytes and 16 MiB, given back before it returns; pipelines stay with the device.
 * Thread-safety: one thread at a time per device. */
RAPT_API rapt_status rapt_device_measure(rapt_device *device, uint32_t index, const rapt_gauge_options *options,
                                         double *values, uint32_t capacity, rapt_gauge_result *result,
                                         rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
