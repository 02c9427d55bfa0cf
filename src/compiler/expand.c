/* Include resolution. See expand.h. */
#include "compiler/expand.h"

#include "compiler/stock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32
#define TEXT_MAX ((size_t)1 << 24)

const rapt_stock_file *rapt_stock_find(const char *name)
{
    size_t low = 0, high = rapt_stock_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, rapt_stock_files[middle].name);
        if (order == 0)
            return &rapt_stock_files[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static bool append(rapt_expansion *e, const char *text, size_t length)
{
    if (e->capacity - e->length <= length) {
        size_t capacity = RAPT_MAX(e->capacity * 2, e->length + length + 4096);
        char *grown = rapt_realloc_array(e->allocator, e->text, e->capacity, capacity, 1);
        if (grown == NULL)
            return false;
        e->text = grown;
        e->capacity = capacity;
    }
    memcpy(e->text + e->length, text, length);
    e->length += length;
    e->text[e->length] = '\0';
    return true;
}

/* The number of a new source. */
static bool add_name(rapt_expansion *e, const char *name, size_t *number)
{
    if (e->name_count == e->name_capacity) {
        size_t capacity = e->name_capacity + 32;
        char(*grown)[256] = rapt_realloc_array(e->allocator, e->names, e->name_capacity, capacity, sizeof *grown);
        if (grown == NULL)
            return false;
        e->names = grown;
        e->name_capacity = capacity;
    }
    *number = e->name_count;
    snprintf(e->names[e->name_count++], sizeof *e->names, "%s", name);
    return true;
}

/* base's folder / name, without "." and ".." parts; false when it leaves the tree or is too long. */
static bool join(const char *base, const char *name, char out[256])
{
    char whole[512];
    const char *slash = base != NULL ? strrchr(base, '/') : NULL;
    int n = snprintf(whole, sizeof whole, "%.*s%s", slash != NULL ? (int)(slash - base + 1) : 0,
                     slash != NULL ? base : "", name);
    if (n < 0 || (size_t)n >= sizeof whole)
        return false;
    size_t length = 0;
    for (const char *part = whole; *part != '\0';) {
        size_t size = strcspn(part, "/");
        if (size == 2 && part[0] == '.' && part[1] == '.') {
            if (length == 0)
                return false;
            do
                length--;
            while (length > 0 && out[length] != '/');
        } else if (size > 0 && !(size == 1 && part[0] == '.')) {
            if (length + size + 2 > 256)
                return false;
            if (length > 0)
                out[length++] = '/';
            memcpy(out + length, part, size);
            length += size;
        }
        part += size + (part[size] == '/');
    }
    out[length] = '\0';
    return length > 0;
}

/* The file name of an #include line; false for any other line. */
static bool include_name(const char *line, size_t length, char out[256])
{
    const char *end = line + length;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    if (line == end || *line++ != '#')
        return false;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    if (end - line < 8 || memcmp(line, "include", 7) != 0)
        return false;
    line += 7;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    if (line == end || *line++ != '"')
        return false;
    const char *close = memchr(line, '"', (size_t)(end - line));
    if (close == NULL || close == line || close - line >= 256)
        return false;
    memcpy(out, line, (size_t)(close - line));
    out[close - line] = '\0';
    return true;
}

/* Whether a block comment is open after `line`. */
static bool comment_after(const char *line, size_t length, bool open)
{
    for (size_t i = 0; i + 1 < length; i++) {
        if (open && line[i] == '*' && line[i + 1] == '/') {
            open = false;
            i++;
        } else if (!open && line[i] == '/' && line[i + 1] == '*') {
            open = true;
            i++;
        } else if (!open && line[i] == '/' && line[i + 1] == '/') {
            break;
        }
    }
    return open;
}

static bool find_given(const rapt_expansion *e, const char *name, rapt_compile_file *out)
{
    for (uint32_t i = 0; i < e->file_count; i++)
        if (strcmp(e->files[i].name, name) == 0) {
            *out = e->files[i];
            return true;
        }
    return false;
}

static bool find_stock(const char *path, rapt_compile_file *out)
{
    const rapt_stock_file *file = rapt_stock_find(path);
    if (file != NULL)
        *out = (rapt_compile_file){file->name, file->text};
    return file != NULL;
}

static rapt_status no_memory(rapt_error *error)
{
    return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory to resolve includes");
}

static rapt_status expand_file(rapt_expansion *e, size_t number, const char *source, unsigned depth, rapt_error *error)
{
    char name[256];
    memcpy(name, e->names[number], sizeof name);
    if (depth > DEPTH_MAX)
        return rapt_fail(error, RAPT_ERROR_COMPILE, "%s:1: includes nest deeper than %d", name, DEPTH_MAX);
    bool comment = false;
    unsigned line_number = 1;
    for (const char *line = source; *line != '\0'; line_number++) {
        size_t length = strcspn(line, "\n");
        char wanted[256], path[256];
        if (comment || !include_name(line, length, wanted)) {
            if (!append(e, line, length) || !append(e, "\n", 1))
                return no_memory(error);
        } else {
            rapt_compile_file file = {0};
            if (!find_given(e, wanted, &file) && !(join(name, wanted, path) && find_stock(path, &file)) &&
                !(join(NULL, wanted, path) && find_stock(path, &file)))
                return rapt_fail(error, RAPT_ERROR_COMPILE, "%s:%u: included file '%s' not found", name, line_number,
                                 wanted);
            size_t included;
            char mark[64];
            if (!add_name(e, file.name, &included))
                return no_memory(error);
            int n = snprintf(mark, sizeof mark, "#line 1 %zu\n", included);
            if (!append(e, mark, (size_t)n))
                return no_memory(error);
            rapt_status status = expand_file(e, included, file.text, depth + 1, error);
            if (status != RAPT_OK)
                return status;
            n = snprintf(mark, sizeof mark, "#line %u %zu\n", line_number + 1, number);
            if (!append(e, mark, (size_t)n))
                return no_memory(error);
        }
        if (e->length > TEXT_MAX)
            return rapt_fail(error, RAPT_ERROR_COMPILE, "%s: more than %zu bytes with all its includes", e->names[0],
                             TEXT_MAX);
        comment = comment_after(line, length, comment);
        line += length + (line[length] == '\n');
    }
    return RAPT_OK;
}

rapt_status rapt_expand(rapt_expansion *out, const rapt_allocator *a, const char *name, const char *source,
                        const rapt_compile_file *files, uint32_t file_count, rapt_error *error)
{
    *out = (rapt_expansion){.allocator = a, .files = files, .file_count = file_count};
    size_t number;
    if (!add_name(out, name, &number) || !append(out, "", 0))
        return no_memory(error);
    return expand_file(out, number, source, 0, error);
}

void rapt_expansion_free(rapt_expansion *expansion)
{
    rapt_free(expansion->allocator, expansion->text, expansion->capacity);
    rapt_free(expansion->allocator, expansion->names, expansion->name_capacity * sizeof *expansion->names);
    expansion->text = NULL;
    expansion->names = NULL;
}

void rapt_expansion_messages(const rapt_expansion *expansion, const char *messages, rapt_text *log, char *first,
                             size_t first_size)
{
    static const struct {
        const char *mark, *word;
    } kinds[] = {{"ERROR: ", "error"}, {"WARNING: ", "warning"}};
    first[0] = '\0';
    for (const char *line = messages; line != NULL && *line != '\0';) {
        size_t length = strcspn(line, "\n");
        const char *rest = line;
        char text[1024];
        int n = snprintf(text, sizeof text, "%.*s", (int)RAPT_MIN(length, sizeof text - 1), line);
        bool is_error = false;
        for (size_t k = 0; k < RAPT_COUNT(kinds); k++) {
            size_t mark = strlen(kinds[k].mark);
            if (length <= mark || memcmp(line, kinds[k].mark, mark) != 0)
                continue;
            is_error = k == 0;
            /* "<source>:<line>: message", or a message about the whole. */
            char *after_source, *after_line;
            rest = line + mark;
            unsigned long source = strtoul(rest, &after_source, 10);
            unsigned long number = 0;
            bool placed = after_source != rest && *after_source == ':';
            if (placed) {
                number = strtoul(after_source + 1, &after_line, 10);
                placed = after_line != after_source + 1 && *after_line == ':' && source < expansion->name_count;
            }
            if (placed)
                n = snprintf(text, sizeof text, "%s:%lu: %s%.*s", expansion->names[source], number, kinds[k].word,
                             (int)(line + length - after_line), after_line);
            else
                n = snprintf(text, sizeof text, "%s: %s: %.*s", expansion->names[0], kinds[k].word,
                             (int)(line + length - rest), rest);
        }
        size_t used = n < 0 ? 0 : RAPT_MIN((size_t)n, sizeof text - 1);
        while (used > 0 && text[used - 1] == ' ')
            text[--used] = '\0';
        if (used > 0 && log != NULL)
            rapt_text_add(log, "%s\n", text);
        if (is_error && first[0] == '\0')
            snprintf(first, first_size, "%s", text);
        line += length + (line[length] == '\n');
    }
}
