/* NumPy's .npy: "\x93NUMPY", version, length of a header, the header (a Python dictionary literal with the
 * keys descr, fortran_order and shape), the elements. */
#include "tensor_file.h"
#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER (1u << 20)

/* ---- the header ---- */

typedef struct parser {
    const char *at; /* NUL-terminated text */
    const char *path;
    rapt_error *error;
    bool narrow; /* the elements are bytes */
} parser;

static bool bad(parser *p, const char *what)
{
    return tool_fail(p->error, RAPT_ERROR_IO, "%s: bad npy header: %s", p->path, what);
}

static void skip_space(parser *p)
{
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')
        p->at++;
}

static bool take(parser *p, char c)
{
    skip_space(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

static bool take_word(parser *p, const char *word)
{
    skip_space(p);
    const size_t length = strlen(word);
    if (strncmp(p->at, word, length) != 0 || isalnum((unsigned char)p->at[length]))
        return false;
    p->at += length;
    return true;
}

/* A quoted string without escapes. */
static bool take_string(parser *p, char *out, size_t capacity)
{
    skip_space(p);
    const char quote = *p->at;
    if (quote != '\'' && quote != '"')
        return bad(p, "expected a quoted string");
    const char *end = strchr(p->at + 1, quote);
    if (!end || memchr(p->at, '\\', (size_t)(end - p->at)))
        return bad(p, "a string without an end");
    const size_t length = (size_t)(end - p->at - 1);
    if (length >= capacity)
        return bad(p, "a string that is too long");
    memcpy(out, p->at + 1, length);
    out[length] = 0;
    p->at = end + 1;
    return true;
}

static bool take_descr(parser *p, tensor_file *t)
{
    char descr[32];
    skip_space(p);
    if (*p->at == '[')
        return tool_fail(p->error, RAPT_ERROR_IO, "%s: structured dtypes are not supported", p->path);
    if (!take_string(p, descr, sizeof descr))
        return false;
    t->dtype = strcmp(descr, "<f4") == 0   ? RAPT_F32
               : strcmp(descr, "<f2") == 0 ? RAPT_F16
               : strcmp(descr, "<i4") == 0 ? RAPT_I32
                                           : RAPT_DTYPE_NONE;
    p->narrow = strcmp(descr, "|b1") == 0 || strcmp(descr, "|u1") == 0;
    if (p->narrow)
        t->dtype = RAPT_I32;
    if (t->dtype == RAPT_DTYPE_NONE)
        return tool_fail(
            p->error, RAPT_ERROR_IO,
            "%s: dtype '%s' is not supported; little-endian float32 (<f4), float16 (<f2), int32 (<i4), bool and uint8 (as int32) are",
            p->path, descr);
    return true;
}

static bool take_shape(parser *p, tensor_file *t)
{
    if (!take(p, '('))
        return bad(p, "shape is no tuple");
    while (!take(p, ')')) {
        if (t->rank > 0 && !take(p, ','))
            return bad(p, "shape is no tuple of whole numbers");
        if (t->rank > 0 && take(p, ')'))
            return true;
        skip_space(p);
        if (!isdigit((unsigned char)*p->at))
            return bad(p, "shape is no tuple of whole numbers");
        char *end;
        errno = 0;
        const unsigned long long size = strtoull(p->at, &end, 10);
        if (errno == ERANGE)
            return bad(p, "a size in shape is beyond 2^64");
        p->at = *end == 'L' ? end + 1 : end; /* as Python 2 wrote it */
        if (t->rank == TENSOR_FILE_RANK)
            return tool_fail(p->error, RAPT_ERROR_IO, "%s: more than %d axes", p->path, TENSOR_FILE_RANK);
        t->shape[t->rank++] = size;
    }
    return true;
}

static bool parse_header(parser *p, tensor_file *t)
{
    bool descr = false, order = false, shape = false;
    if (!take(p, '{'))
        return bad(p, "no dictionary");
    while (!take(p, '}')) {
        char key[32];
        if (!take_string(p, key, sizeof key))
            return false;
        if (!take(p, ':'))
            return bad(p, "a key without a value");
        if (strcmp(key, "descr") == 0 && !descr) {
            descr = take_descr(p, t);
            if (!descr)
                return false;
        } else if (strcmp(key, "fortran_order") == 0 && !order) {
            if (take_word(p, "True"))
                return tool_fail(p->error, RAPT_ERROR_IO,
                                 "%s: in Fortran order; C order is needed (numpy.ascontiguousarray)",
                                 p->path);
            order = take_word(p, "False");
            if (!order)
                return bad(p, "fortran_order is neither True nor False");
        } else if (strcmp(key, "shape") == 0 && !shape) {
            shape = take_shape(p, t);
            if (!shape)
                return false;
        } else {
            return bad(p, "an unknown or repeated key");
        }
        if (!take(p, ',')) {
            if (!take(p, '}'))
                return bad(p, "expected ',' or '}'");
            break;
        }
    }
    skip_space(p);
    if (*p->at != 0)
        return bad(p, "text behind the dictionary");
    if (!descr || !order || !shape)
        return bad(p, !descr ? "no descr" : !order ? "no fortran_order" : "no shape");
    return true;
}

/* Reads magic, version and header text (to be freed). */
static char *read_header(FILE *stream, const char *path, rapt_error *error)
{
    unsigned char start[12];
    if (fread(start, 1, 8, stream) != 8 || memcmp(start, "\x93NUMPY", 6) != 0) {
        tool_fail(error, RAPT_ERROR_IO, ferror(stream) ? "%s: cannot be read" : "%s: not an npy file", path);
        return NULL;
    }
    if (start[6] < 1 || start[6] > 3 || start[7] != 0) {
        tool_fail(error, RAPT_ERROR_IO, "%s: npy version %u.%u is not supported; 1.0, 2.0 and 3.0 are", path,
                  start[6], start[7]);
        return NULL;
    }
    const size_t size_bytes = start[6] == 1 ? 2 : 4;
    uint32_t length = 0;
    if (fread(start + 8, 1, size_bytes, stream) == size_bytes)
        for (size_t n = size_bytes; n-- > 0;)
            length = length << 8 | start[8 + n];
    if (length == 0 || length > MAX_HEADER) {
        tool_fail(error, RAPT_ERROR_IO, "%s: bad npy header: its length is %" PRIu32 " bytes", path, length);
        return NULL;
    }
    void *text = NULL;
    if (!tensor_file_bytes(stream, path, length, &text, error))
        return NULL;
    ((char *)text)[length] = 0; /* there is room, see tensor_file_bytes */
    if (memchr(text, 0, length)) {
        tool_fail(error, RAPT_ERROR_IO, "%s: bad npy header: a zero byte", path);
        free(text);
        return NULL;
    }
    return text;
}

/* Bytes become int32. */
static bool widen(tensor_file *t, rapt_error *error)
{
    const uint8_t *bytes = t->data;
    int32_t *words = malloc((size_t)t->count * sizeof *words + 1);
    if (!words)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
    for (uint64_t n = 0; n < t->count; n++)
        words[n] = bytes[n];
    free(t->data);
    t->data = words;
    return true;
}

bool npy_read(FILE *stream, const char *path, tensor_file *out, rapt_error *error)
{
    *out = (tensor_file){0};
    char *header = read_header(stream, path, error);
    if (!header)
        return false;
    parser p = {.at = header, .path = path, .error = error};
    bool good = parse_header(&p, out) && tensor_file_count(path, out->rank, out->shape, &out->count, error);
    free(header);
    const uint64_t bytes = out->count * (p.narrow ? 1 : out->dtype == RAPT_F16 ? 2 : 4);
    good = good && tensor_file_bytes(stream, path, bytes, &out->data, error) && (!p.narrow || widen(out, error));
    if (good && fgetc(stream) != EOF) {
        char shape[160];
        tensor_file_shape(out->rank, out->shape, shape, sizeof shape);
        good = tool_fail(error, RAPT_ERROR_IO, "%s: more data than its shape %s needs", path, shape);
    }
    if (!good)
        tensor_file_free(out);
    return good;
}

/* ---- writing ---- */

bool npy_write(const char *path, rapt_dtype dtype, uint32_t rank, const uint64_t *shape, const void *data,
               rapt_error *error)
{
    const char *descr = dtype == RAPT_F32   ? "<f4"
                        : dtype == RAPT_F16 ? "<f2"
                        : dtype == RAPT_I32 ? "<i4"
                                            : NULL;
    if (!descr)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s: npy has no such type", path);
    char text[256], header[320];
    tensor_file_shape(rank, shape, text, sizeof text);
    int length = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                          descr, text);
    while ((10 + length + 1) % 64 != 0) /* data is aligned to 64 bytes */
        header[length++] = ' ';
    header[length++] = '\n';
    const unsigned char start[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(length & 255), (unsigned char)(length >> 8)};
    size_t bytes = dtype == RAPT_F16 ? 2 : 4;
    for (uint32_t axis = 0; axis < rank; axis++)
        bytes *= (size_t)shape[axis];
    FILE *file = fopen(path, "wb");
    if (!file)
        return tool_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
    bool good = fwrite(start, 1, sizeof start, file) == sizeof start &&
                fwrite(header, 1, (size_t)length, file) == (size_t)length &&
                (bytes == 0 || fwrite(data, 1, bytes, file) == bytes);
    good = (fclose(file) == 0) && good;
    return good || tool_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
}
