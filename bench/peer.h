// Anything that computes attention and can be timed beside anything else: one interface, one file for each.
#ifndef RAPT_BENCH_PEER_H
#define RAPT_BENCH_PEER_H

#include "cases.h"
#include "os.h"

typedef struct rapt_peer rapt_peer;         // an opened library on one device; the implementer's own struct
typedef struct rapt_peer_job rapt_peer_job; // one case with its inputs in place, ready to run again and again

typedef struct rapt_peer_options {
    const char *library; // folder or file of the peer's library; NULL: where the system finds it
    const char *device;  // part of the device's name; NULL: the first
    bool verbose;        // the library's own log on standard error
} rapt_peer_options;

typedef struct rapt_peer_kind {
    const char *name; // as --backend has it
    const char *what; // one line for --list
    // The errors against the double-precision result that this backend is known to make on these inputs;
    // anything beyond is a wrong result, which is never timed.
    rapt_bench_difference (*tolerance)(const rapt_bench_case *c);
    rapt_peer *(*open)(const struct rapt_peer_kind *kind, const rapt_peer_options *options,
                       rapt_bench_error *error);
    const char *(*describe)(const rapt_peer *peer); // library version and device
    // Copies the inputs; several jobs may live side by side.
    rapt_peer_job *(*prepare)(rapt_peer *peer, const rapt_bench_case *c, const rapt_bench_inputs *inputs,
                              rapt_bench_error *error);
    bool (*run)(rapt_peer_job *job, rapt_bench_error *error);              // blocks until the output is there
    bool (*read)(rapt_peer_job *job, float *out, rapt_bench_error *error); // (batch, heads, query, head_dim)
    void (*release)(rapt_peer_job *job);
    void (*close)(rapt_peer *peer);
} rapt_peer_kind;

extern const rapt_peer_kind rapt_peer_rapt;       // where RAPT_BENCH_HAVE_RAPT is set
extern const rapt_peer_kind rapt_peer_rapt_naive; // likewise
extern const rapt_peer_kind rapt_peer_ggml_vulkan;
extern const rapt_peer_kind rapt_peer_ggml_vulkan_sleep; // its host thread waiting, not polling a fence
extern const rapt_peer_kind rapt_peer_ggml_cpu;          // one thread per CPU
extern const rapt_peer_kind rapt_peer_ncnn_vulkan;
extern const rapt_peer_kind rapt_peer_ncnn_cpu;
extern const rapt_peer_kind rapt_peer_aule;

#endif
