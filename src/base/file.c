/* Files and shared libraries. Paths are UTF-8 on every platform. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <wchar.h>

#define WIDE_MAX 2048

static bool widen(const char *path, wchar_t out[WIDE_MAX])
{
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, out, WIDE_MAX) > 0;
}

static FILE *open_file(const char *path, bool create)
{
    wchar_t wide[WIDE_MAX];
    if (!widen(path, wide)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return _wfopen(wide, create ? L"wbx" : L"rb");
}

static bool move_over(const char *from, const char *to)
{
    wchar_t a[WIDE_MAX], b[WIDE_MAX];
    if (widen(from, a) && widen(to, b) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING))
        return true;
    errno = EACCES;
    return false;
}

void rapt_file_delete(const char *path)
{
    wchar_t wide[WIDE_MAX];
    if (widen(path, wide))
        DeleteFileW(wide);
}

static unsigned long process_number(void)
{
    return GetCurrentProcessId();
}

static bool make_dir(const char *path)
{
    wchar_t wide[WIDE_MAX];
    if (!widen(path, wide))
        return false;
    if (CreateDirectoryW(wide, NULL))
        return true;
    DWORD found = GetFileAttributesW(wide);
    return found != INVALID_FILE_ATTRIBUTES && (found & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

static bool is_separator(char c)
{
    return c == '/' || c == '\\';
}

void rapt_folder_old(const char *path, double seconds, void (*each)(void *user, const char *name), void *user)
{
    wchar_t wide[WIDE_MAX];
    char pattern[WIDE_MAX], name[3 * MAX_PATH];
    WIN32_FIND_DATAW found;
    FILETIME now;
    const int n = snprintf(pattern, sizeof pattern, "%s/*", path);
    if (n < 0 || (size_t)n >= sizeof pattern || !widen(pattern, wide))
        return;
    HANDLE search = FindFirstFileW(wide, &found);
    if (search == INVALID_HANDLE_VALUE)
        return;
    GetSystemTimeAsFileTime(&now);
    const uint64_t today = (uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime; /* in units of 100 ns */
    do {
        const uint64_t written = (uint64_t)found.ftLastWriteTime.dwHighDateTime << 32 | found.ftLastWriteTime.dwLowDateTime;
        if ((double)today - (double)written >= seconds * 1e7 &&
            WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, sizeof name, NULL, NULL) > 0)
            each(user, name);
    } while (FindNextFileW(search, &found));
    FindClose(search);
}

void *rapt_library_open(const char *path)
{
    wchar_t wide[WIDE_MAX];
    return widen(path, wide) ? (void *)LoadLibraryW(wide) : NULL;
}

void *rapt_library_symbol(void *library, const char *name)
{
    FARPROC found = GetProcAddress((HMODULE)library, name);
    void *symbol;
    memcpy(&symbol, &found, sizeof symbol);
    return symbol;
}

void rapt_library_close(void *library)
{
    if (library != NULL)
        FreeLibrary((HMODULE)library);
}

#else
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static FILE *open_file(const char *path, bool create)
{
    int fd = open(path, create ? O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0666);
    if (fd < 0)
        return NULL;
    FILE *file = fdopen(fd, create ? "wb" : "rb");
    if (file == NULL)
        close(fd);
    return file;
}

static bool move_over(const char *from, const char *to)
{
    return rename(from, to) == 0;
}

void rapt_file_delete(const char *path)
{
    unlink(path);
}

static unsigned long process_number(void)
{
    return (unsigned long)getpid();
}

static bool make_dir(const char *path)
{
    struct stat found;
    return mkdir(path, 0777) == 0 || (stat(path, &found) == 0 && S_ISDIR(found.st_mode));
}

static bool is_separator(char c)
{
    return c == '/';
}

void rapt_folder_old(const char *path, double seconds, void (*each)(void *user, const char *name), void *user)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    const time_t now = time(NULL);
    struct stat found;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (fstatat(dirfd(folder), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(found.st_mode) &&
            difftime(now, found.st_mtime) >= seconds)
            each(user, entry->d_name);
    closedir(folder);
}

void *rapt_library_open(const char *path)
{
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

void *rapt_library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

void rapt_library_close(void *library)
{
    if (library != NULL)
        dlclose(library);
}
#endif

rapt_status rapt_file_read(const rapt_allocator *a, const char *path, size_t max, void **data, size_t *size,
                           rapt_error *error)
{
    *data = NULL;
    *size = 0;
    FILE *file = open_file(path, false);
    if (file == NULL)
        return rapt_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));

    /* Read until the end rather than trust a size, so that pipes work too. */
    char *memory = NULL;
    size_t capacity = 0, used = 0;
    rapt_status status = RAPT_OK;
    for (;;) {
        if (used == capacity) {
            size_t wanted = capacity == 0 ? 65536 : capacity > SIZE_MAX / 2 ? SIZE_MAX : capacity * 2;
            if (max < SIZE_MAX)
                wanted = RAPT_MIN(wanted, max + 1); /* one more, to see that there is more */
            char *grown = wanted > capacity ? rapt_realloc_array(a, memory, capacity, wanted, 1) : NULL;
            if (grown == NULL) {
                status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "%s: no memory to read the file", path);
                break;
            }
            memory = grown;
            capacity = wanted;
        }
        size_t got = fread(memory + used, 1, capacity - used, file);
        used += got;
        if (used > max) {
            status = rapt_fail(error, RAPT_ERROR_IO, "%s: larger than %zu bytes", path, max);
            break;
        }
        if (got == 0) {
            if (ferror(file))
                status = rapt_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
            break;
        }
    }
    fclose(file);
    if (status == RAPT_OK && used > 0) {
        void *exact = rapt_realloc_array(a, memory, capacity, used, 1);
        if (exact != NULL) {
            *data = exact;
            *size = used;
            return RAPT_OK;
        }
        status = rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "%s: no memory to read the file", path);
    }
    rapt_free(a, memory, capacity);
    return status;
}

size_t rapt_file_begin(const char *path, void *data, size_t size)
{
    FILE *file = open_file(path, false);
    if (file == NULL)
        return 0;
    const size_t got = fread(data, 1, size, file);
    fclose(file);
    return got;
}

rapt_status rapt_file_replace(const char *path, const void *data, size_t size, rapt_error *error)
{
    char temporary[2048];
    FILE *file = NULL;
    for (int attempt = 0; attempt < 16 && file == NULL; attempt++) {
        /* Unique by process, thread (the address of a local) and time; exclusive creation settles the rest. */
        int n = snprintf(temporary, sizeof temporary, "%s.%lx-%llx-%llx.tmp", path, process_number(),
                         (unsigned long long)(uintptr_t)&file, (unsigned long long)rapt_now_ns());
        if (n < 0 || (size_t)n >= sizeof temporary)
            return rapt_fail(error, RAPT_ERROR_IO, "%s: the path is too long", path);
        file = open_file(temporary, true);
        if (file == NULL && errno != EEXIST)
            break;
    }
    if (file == NULL)
        return rapt_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(errno));
    bool ok = size == 0 || fwrite(data, 1, size, file) == size;
    int reason = ok ? 0 : errno;
    if (fclose(file) != 0 && ok) {
        ok = false;
        reason = errno;
    }
    if (ok && !move_over(temporary, path)) {
        ok = false;
        reason = errno;
    }
    if (ok)
        return RAPT_OK;
    rapt_file_delete(temporary);
    return rapt_fail(error, RAPT_ERROR_IO, "%s: %s", path, strerror(reason));
}

bool rapt_make_dirs(const char *path)
{
    char part[2048];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return false;
    memcpy(part, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (!is_separator(part[i]) || is_separator(part[i - 1]) || part[i - 1] == ':')
            continue;
        char separator = part[i];
        part[i] = '\0';
        make_dir(part); /* the last one tells whether it worked */
        part[i] = separator;
    }
    return make_dir(part);
}
