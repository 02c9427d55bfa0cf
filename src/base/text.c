/* Text that grows within a fixed buffer and counts what did not fit. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

rapt_text rapt_text_over(char *data, size_t capacity)
{
    if (data == NULL)
        capacity = 0;
    if (capacity > 0)
        data[0] = '\0';
    return (rapt_text){data, capacity, 0};
}

void rapt_text_add(rapt_text *text, const char *format, ...)
{
    size_t room = text->length < text->capacity ? text->capacity - text->length : 0;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(room ? text->data + text->length : NULL, room, format, args);
    va_end(args);
    if (n > 0)
        text->length += (size_t)n;
}

static void add_bytes(rapt_text *text, const char *bytes, size_t count)
{
    if (text->length + 1 < text->capacity) {
        size_t fits = RAPT_MIN(count, text->capacity - text->length - 1);
        memcpy(text->data + text->length, bytes, fits);
        text->data[text->length + fits] = '\0';
    }
    text->length += count;
}

void rapt_text_add_json(rapt_text *text, const char *string)
{
    add_bytes(text, "\"", 1);
    const char *run = string;
    for (const char *c = string;; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte >= ' ' && byte != '"' && byte != '\\' && byte != 0x7f)
            continue;
        add_bytes(text, run, (size_t)(c - run));
        run = c + 1;
        if (byte == '\0')
            break;
        switch (byte) {
        case '"':
            add_bytes(text, "\\\"", 2);
            break;
        case '\\':
            add_bytes(text, "\\\\", 2);
            break;
        case '\n':
            add_bytes(text, "\\n", 2);
            break;
        case '\t':
            add_bytes(text, "\\t", 2);
            break;
        default:
            rapt_text_add(text, "\\u%04x", (unsigned)byte);
            break;
        }
    }
    add_bytes(text, "\"", 1);
}
