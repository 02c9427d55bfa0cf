/* Any bytes as a snippet: an error with a line, or text whose every token is known. The first byte chooses the kind. */
#include "compiler/snippet.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Names that a kernel would know must not stand in what is written without a prefix. */
static void look_for(const char *text, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name)) {
        const char before = at == text ? ' ' : at[-1], after = at[length];
        const bool whole = !(before == '_' || (before >= '0' && before <= '9') || (before >= 'a' && before <= 'z') ||
                             (before >= 'A' && before <= 'Z')) &&
                           !(after == '_' || (after >= '0' && after <= '9') || (after >= 'a' && after <= 'z') ||
                             (after >= 'A' && after <= 'Z'));
        for (const char *dot = at; whole && dot > text;)
            if (*--dot == '.')
                break; /* a field */
            else if (*dot != ' ' && *dot != '\n')
                abort();
        if (whole && at == text)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const buffers[] = {"table", "bias"};
    static const char *const kernels[] = {"p", "pc", "main", "weights", "q_words1", "layout", "shared", "buffer", "barrier"};
    rapt_allocator a = rapt_allocator_default();
    rapt_error error = {0};
    char *out, *text = size > 0 ? malloc(size) : NULL;
    size_t length;
    uint32_t tokens = 0;
    if (text == NULL)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    const rapt_snippet snippet = {.kind = data[0] & 1 ? RAPT_SNIPPET_MASK : RAPT_SNIPPET_SCORE,
                                  .label = "fuzz",
                                  .number = 5,
                                  .text = text,
                                  .buffers = buffers,
                                  .buffer_count = 2};
    const rapt_status status = rapt_snippet_translate(&a, &snippet, &out, &length, &tokens, &error);
    if (status == RAPT_OK) {
        if (out == NULL || strlen(out) + 1 != length || tokens == 0 || tokens > 2 * RAPT_SNIPPET_TOKENS ||
            strpbrk(out, "#\\\"'`$@") != NULL)
            abort();
        for (size_t i = 0; i < RAPT_COUNT(kernels); i++)
            look_for(out, kernels[i]);
        rapt_free(&a, out, length);
    } else if (out != NULL || error.status != status || strncmp(error.message, "fuzz:", 5) != 0 ||
               strchr(error.message, '\n') != NULL) {
        abort();
    }
    free(text);
    return 0;
}
