/* Arrays in files: .npy, and tensors inside .safetensors files. Whatever a file holds, reading it ends with
 * an array or with one line that names the file and the reason; memory taken stays in proportion to what the
 * file really has. */
#ifndef RAPT_TOOL_TENSOR_FILE_H
#define RAPT_TOOL_TENSOR_FILE_H

#include <rapt/tensor.h>
#include <stdbool.h>
#include <stdio.h>

#define TENSOR_FILE_RANK 8

/* C order, little-endian. */
typedef struct tensor_file {
    rapt_dtype dtype;
    uint32_t rank;
    uint64_t shape[TENSOR_FILE_RANK];
    uint64_t count; /* elements */
    void *data;     /* from malloc; never NULL after a successful read */
} tensor_file;

/* PATH.npy (or any other name), or PATH.safetensors:NAME. */
bool tensor_file_read(const char *path, tensor_file *out, rapt_error *error);
void tensor_file_free(tensor_file *t);

/* Writes version 1.0, float32, float16 or int32 (bf16 is refused: npy has no such type). */
bool npy_write(const char *path, rapt_dtype dtype, uint32_t rank, const uint64_t *shape, const void *data,
               rapt_error *error);

/* Writes a contiguous tensor of host memory; bf16 becomes float32. */
bool tool_save_data(const void *data, const rapt_tensor *t, uint32_t rank, const uint64_t *shape, const char *path, rapt_error *error);
/* Downloads a contiguous tensor and writes it; bf16 becomes float32. */
bool tool_save(rapt_buffer *buffer, const rapt_tensor *t, uint32_t rank, const uint64_t *shape, const char *path,
               rapt_error *error);

/* The parsers behind tensor_file_read; `path` is for messages. `name`: of the tensor; NULL or "" is an error
 * that lists the names. The stream of a safetensors file must be seekable. */
bool npy_read(FILE *stream, const char *path, tensor_file *out, rapt_error *error);
bool safetensors_read(FILE *stream, const char *path, const char *name, tensor_file *out, rapt_error *error);

/* "(2, 8, 64, 64)" */
void tensor_file_shape(uint32_t rank, const uint64_t *shape, char *text, size_t capacity);
/* A tensor of these axes whose elements lie side by side. */
rapt_tensor tensor_contiguous(rapt_dtype dtype, uint32_t rank, const uint64_t *shape);

/* For the parsers: the number of elements, refusing what no memory could hold; and `bytes` bytes of a stream,
 * in pieces, so that a false size costs no memory. */
bool tensor_file_count(const char *path, uint32_t rank, const uint64_t *shape, uint64_t *count,
                       rapt_error *error);
bool tensor_file_bytes(FILE *stream, const char *path, uint64_t bytes, void **data, rapt_error *error);

#endif
