// The part of ggml's public C API that the peer uses. With ggml's headers at build time (RAPT_HAVE_GGML) they
// are the source; without them these declarations, which have kept their form since ggml's backend registry
// came into being (2024-10), serve just as well, as the library is only opened at run time.
#ifndef RAPT_BENCH_GGML_ABI_H
#define RAPT_BENCH_GGML_ABI_H

#if defined(RAPT_HAVE_GGML)
#include <ggml.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ggml_context;
struct ggml_tensor;
struct ggml_cgraph;
struct ggml_backend_buffer;
typedef struct ggml_backend_buffer *ggml_backend_buffer_t;
typedef struct ggml_backend *ggml_backend_t;
typedef struct ggml_backend_reg *ggml_backend_reg_t;
typedef struct ggml_backend_device *ggml_backend_dev_t;

enum ggml_type { GGML_TYPE_F32 = 0, GGML_TYPE_F16 = 1 };
enum ggml_prec { GGML_PREC_DEFAULT = 0, GGML_PREC_F32 = 10 };
enum ggml_status {
    GGML_STATUS_ALLOC_FAILED = -2,
    GGML_STATUS_FAILED,
    GGML_STATUS_SUCCESS,
    GGML_STATUS_ABORTED
};
enum ggml_log_level { GGML_LOG_LEVEL_NONE, GGML_LOG_LEVEL_DEBUG, GGML_LOG_LEVEL_INFO, GGML_LOG_LEVEL_WARN };

struct ggml_init_params {
    size_t mem_size;
    void *mem_buffer;
    bool no_alloc;
};

typedef void (*ggml_log_callback)(enum ggml_log_level level, const char *text, void *user_data);
typedef void (*ggml_backend_set_n_threads_t)(ggml_backend_t backend, int n_threads);

void ggml_log_set(ggml_log_callback callback, void *user_data);
struct ggml_context *ggml_init(struct ggml_init_params params);
void ggml_free(struct ggml_context *context);
size_t ggml_tensor_overhead(void);
size_t ggml_graph_overhead(void);
size_t ggml_nbytes(const struct ggml_tensor *tensor);
struct ggml_tensor *ggml_new_tensor_4d(struct ggml_context *context, enum ggml_type type, int64_t ne0,
                                       int64_t ne1, int64_t ne2, int64_t ne3);
struct ggml_tensor *ggml_reshape_4d(struct ggml_context *context, struct ggml_tensor *source, int64_t ne0,
                                    int64_t ne1, int64_t ne2, int64_t ne3);
struct ggml_tensor *ggml_flash_attn_ext(struct ggml_context *context, struct ggml_tensor *q,
                                        struct ggml_tensor *k, struct ggml_tensor *v,
                                        struct ggml_tensor *mask, float scale, float max_bias,
                                        float logit_softcap);
struct ggml_cgraph *ggml_new_graph(struct ggml_context *context);
void ggml_build_forward_expand(struct ggml_cgraph *graph, struct ggml_tensor *tensor);
struct ggml_backend_buffer *ggml_backend_alloc_ctx_tensors(struct ggml_context *context,
                                                           ggml_backend_t backend);
void ggml_backend_buffer_free(ggml_backend_buffer_t buffer);
void ggml_backend_free(ggml_backend_t backend);
void ggml_backend_tensor_set(struct ggml_tensor *tensor, const void *data, size_t offset, size_t size);
void ggml_backend_tensor_get(const struct ggml_tensor *tensor, void *data, size_t offset, size_t size);
void ggml_backend_synchronize(ggml_backend_t backend);
enum ggml_status ggml_backend_graph_compute(ggml_backend_t backend, struct ggml_cgraph *graph);
bool ggml_backend_supports_op(ggml_backend_t backend, const struct ggml_tensor *op);
const char *ggml_backend_dev_name(ggml_backend_dev_t device);
const char *ggml_backend_dev_description(ggml_backend_dev_t device);
ggml_backend_reg_t ggml_backend_dev_backend_reg(ggml_backend_dev_t device);
ggml_backend_t ggml_backend_dev_init(ggml_backend_dev_t device, const char *params);
const char *ggml_backend_reg_name(ggml_backend_reg_t reg);
void *ggml_backend_reg_get_proc_address(ggml_backend_reg_t reg, const char *name);
size_t ggml_backend_dev_count(void);
ggml_backend_dev_t ggml_backend_dev_get(size_t index);
void ggml_backend_load_all_from_path(const char *folder);
#endif

// Everything is looked up by these names in the library opened at run time.
#define RAPT_GGML_FUNCTIONS(X)                                                                               \
    X(ggml_log_set)                                                                                          \
    X(ggml_init)                                                                                             \
    X(ggml_free)                                                                                             \
    X(ggml_tensor_overhead)                                                                                  \
    X(ggml_graph_overhead)                                                                                   \
    X(ggml_nbytes)                                                                                           \
    X(ggml_new_tensor_4d)                                                                                    \
    X(ggml_reshape_4d)                                                                                       \
    X(ggml_flash_attn_ext)                                                                                   \
    X(ggml_new_graph)                                                                                        \
    X(ggml_build_forward_expand)                                                                             \
    X(ggml_backend_alloc_ctx_tensors)                                                                        \
    X(ggml_backend_buffer_free)                                                                              \
    X(ggml_backend_free)                                                                                     \
    X(ggml_backend_tensor_set)                                                                               \
    X(ggml_backend_tensor_get)                                                                               \
    X(ggml_backend_synchronize)                                                                              \
    X(ggml_backend_graph_compute)                                                                            \
    X(ggml_backend_supports_op)                                                                              \
    X(ggml_backend_dev_name)                                                                                 \
    X(ggml_backend_dev_description)                                                                          \
    X(ggml_backend_dev_backend_reg)                                                                          \
    X(ggml_backend_dev_init)                                                                                 \
    X(ggml_backend_reg_name)                                                                                 \
    X(ggml_backend_reg_get_proc_address)                                                                     \
    X(ggml_backend_dev_count)                                                                                \
    X(ggml_backend_dev_get)                                                                                  \
    X(ggml_backend_load_all_from_path)

#endif
