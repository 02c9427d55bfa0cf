/* What the tests of execution stand on: a runtime and a device whose log is kept, and problems run on them.
 */
#ifndef RAPT_TESTS_RIG_H
#define RAPT_TESTS_RIG_H

#include "support.h"

#include "check/runner.h"
#include "kernel/kernel.h"
#include "vk/vk.h"

/* Fails the test with the call's own message. `error` is there for the call to fill. */
#define RIG_OK(call)                                                                                         \
    do {                                                                                                     \
        rapt_error error_ = {0};                                                                             \
        rapt_error *error = &error_;                                                                         \
        const rapt_status status_ = (call);                                                                  \
        if (status_ != RAPT_OK || error_.status != RAPT_OK) /* which is filled on failure only */            \
            fail_msg("%s: %s: %s", #call, rapt_status_name(status_), error_.message);                        \
    } while (0)

/* The call must fail with this status and a message that has `part` in it. */
#define RIG_FAILS(call, expected, part)                                                                      \
    do {                                                                                                     \
        rapt_error error_ = {0};                                                                             \
        rapt_error *error = &error_;                                                                         \
        const rapt_status status_ = (call);                                                                  \
        if (status_ != (expected) || error_.status != (expected) || strstr(error_.message, part) == NULL)    \
            fail_msg("%s: %s: \"%s\", expected %s with \"%s\"", #call, rapt_status_name(status_),            \
                     error_.message, rapt_status_name(expected), part);                                      \
    } while (0)

#define RIG_LOG (1u << 18)

typedef struct rig {
    rapt_runtime *runtime;
    rapt_device *device;
    rapt_mutex lock; /* of the log */
    size_t length;
    char log[RIG_LOG]; /* all messages, a line each */
} rig;

typedef struct rig_options {
    const char *mask, *cache_dir, *override_dir;
    const char *compiler; /* librapt_compiler; NULL: wherever it is found */
    const rapt_allocator *allocator;
    bool validation, no_probe;
    PFN_vkGetInstanceProcAddr get_proc; /* in place of libvulkan's */
} rig_options;

/* Opens the default device, without disk caches unless a folder is given. Skips the test where there is no
 * Vulkan. `options` may be NULL. A rig is large: make it static. */
void rig_open(rig *r, const rig_options *options);
void rig_close(rig *r);
/* Messages that hold `part`, and with what they are forgotten. */
unsigned rig_logged(rig *r, const char *part);
void rig_forget(rig *r);
/* The validation layer is at work. */
bool rig_validated(const rig *r);

struct rapt_check_user;
/* rig_try with code of an app. */
rapt_result rig_try_user(rig *r, const rapt_case *c, const struct rapt_check_user *user, const char *kernel,
                         uint32_t repeats);

/* Makes the case a problem, runs it 1 + repeats times and fails the test when it is not right. `kernel`: the
 * row to force, or NULL. A refusal fails the test too. */
rapt_result rig_check(rig *r, const rapt_case *c, const char *kernel, uint32_t repeats);
/* The same, but lets a refusal pass. */
rapt_result rig_try(rig *r, const rapt_case *c, const char *kernel, uint32_t repeats);

/* Host tensors of one call, of contiguous (batch, heads, sequence, head_dim). `out` and `lse` are filled. */
typedef struct rig_call {
    rapt_attention_desc desc;
    const void *q, *k, *v;
    const int32_t *cu_q, *cu_k; /* with desc.sequences */
    void *out;
    float *lse; /* NULL: not wanted */
} rig_call;
/* The descriptor of such a call. */
rapt_attention_desc rig_desc(rapt_dtype dtype, uint64_t batch, uint64_t q_heads, uint64_t kv_heads,
                             uint64_t nq, uint64_t nk, uint64_t dim, bool lse);
/* Buffers with the call's inputs, and the arguments that name them. */
typedef struct rig_buffers {
    rapt_buffer *list[7];
    rapt_attention_args args;
} rig_buffers;
void rig_buffers_make(rapt_device *device, const rig_call *call, rig_buffers *b);
void rig_buffers_free(rig_buffers *b);
/* Downloads into the call's out and lse. */
void rig_buffers_take(const rig_call *call, rig_buffers *b);
/* rapt_attention_run and all around it. */
void rig_run(rapt_device *device, rig_call *call);

/* A buffer with these bytes. */
rapt_buffer *rig_upload(rapt_device *device, const void *data, uint64_t bytes);
/* Host tensors of one rapt_rows_run: inputs that the descriptor has not may be NULL; `out` is read and written. */
typedef struct rig_rows {
    const void *x, *list, *weight, *norm_weight, *positions;
    void *out;
} rig_rows;
void rig_run_rows(rapt_device *device, const rapt_rows_desc *desc, const rig_rows *rows);

/* `count` normally distributed numbers, stored as dtype; malloc'ed. */
void *rig_numbers(rapt_dtype dtype, size_t count, uint64_t seed);

/* Runs only the tests whose name has RAPT_TEST_ONLY in it, where that is set: for work on one of them. */
#define RIG_RUN(name, tests)                                                                                 \
    (rig_choose(tests, sizeof(tests) / sizeof((tests)[0])),                                                  \
     cmocka_run_group_tests_name(name, tests, NULL, NULL))
void rig_choose(struct CMUnitTest *tests, size_t count);

/* The module with an entry point that does nothing: declarations up to the first function stay, but for
 * names, and decorations of what is gone. The caller frees it. */
uint32_t *rig_hollow(const rapt_kernel_module *module, uint32_t *count);
/* The module of a row; and what is to stand for it, in a folder for rig_options.override_dir. */
const rapt_kernel_module *rig_module(const char *name);
void rig_override(const char *folder, const rapt_kernel_module *module, const void *data, size_t bytes);

/* Folders and files, for cache and override folders. */
void rig_folder(char out[512], const char *name);
void rig_remove_folder(const char *path);
/* Calls `each` for every file of a folder; the number of them. */
unsigned rig_each_file(const char *folder, void (*each)(const char *path, void *user), void *user);

#endif
