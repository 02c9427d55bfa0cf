#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* getpid, stat */
#include <unistd.h>
#else
#include <windows.h>
#include <process.h>
#define getpid _getpid
#endif
#include "text_file.h"

#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *text_file_read(const char *path, size_t most, size_t *size, rapt_error *error)
{
    FILE *file = fopen(path, "rb");
    size_t capacity = 1 << 16, used = 0;
    char *text = malloc(capacity + 1);
    const char *why = !file ? strerror(errno) : !text ? "out of host memory" : NULL;
    while (!why) {
        const size_t got = fread(text + used, 1, capacity - used, file);
        used += got;
        if (ferror(file)) /* a folder, for one */
            why = strerror(errno);
        else if (used < capacity)
            break;
        else if (used >= most)
            why = "is too large for what it should be";
        char *more = why ? NULL : realloc(text, 2 * capacity + 1);
        if (!why && !more)
            why = "out of host memory";
        if (more) {
            text = more;
            capacity *= 2;
        }
    }
    if (!why && memchr(text, 0, used))
        why = "is no text file";
    if (file)
        fclose(file);
    if (why) {
        free(text);
        tool_fail(error, RAPT_ERROR_IO, "%s: %s", path, why);
        return NULL;
    }
    text[used] = 0;
    *size = used;
    return text;
}

static bool special(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

/* The name of a file beside `path`, to be freed. */
static char *beside(const char *path)
{
    const size_t size = strlen(path) + 32;
    char *name = malloc(size);
    if (name)
        snprintf(name, size, "%s.%ld.tmp", path, (long)getpid());
    return name;
}

static bool replace(const char *from, const char *to)
{
#if defined(_WIN32)
    return MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING);
#else
    return rename(from, to) == 0;
#endif
}

bool text_file_writable(const char *path, rapt_error *error)
{
    struct stat s;
    if (path[0] == 0)
        return tool_fail(error, RAPT_ERROR_IO, "an output file without a name");
    if (special(path))
        return true;
    const bool exists = stat(path, &s) == 0;
    if (exists && S_ISDIR(s.st_mode))
        return tool_fail(error, RAPT_ERROR_IO, "%s: is a folder", path);
    if (exists) { /* a file that is write-protected is left alone, though it could be replaced */
        FILE *file = fopen(path, "ab");
        if (!file)
            return tool_fail(error, RAPT_ERROR_IO, "%s: cannot be written: %s", path, strerror(errno));
        fclose(file);
    }
    char *name = beside(path);
    FILE *file = name ? fopen(name, "wb") : NULL;
    const int why = errno;
    if (file) {
        fclose(file);
        remove(name);
    }
    free(name);
    return file || tool_fail(error, RAPT_ERROR_IO, "%s: cannot be written: %s", path, strerror(why));
}

bool text_file_write(const char *path, const char *text, size_t size, rapt_error *error)
{
    char *name = special(path) ? NULL : beside(path);
    const char *target = name ? name : path;
    FILE *file = fopen(target, "wb");
    bool good = file && fwrite(text, 1, size, file) == size && fflush(file) == 0;
    int why = errno;
    if (file && fclose(file) != 0 && good) {
        good = false;
        why = errno;
    }
    if (good && name && !replace(name, path)) {
        good = false;
        why = errno;
    }
    if (!good && name)
        remove(name);
    free(name);
    return good || tool_fail(error, RAPT_ERROR_IO, "%s: cannot be written: %s", path, strerror(why));
}
