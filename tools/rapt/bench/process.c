#if !defined(_WIN32)
#define _GNU_SOURCE /* readlink, posix_spawnp, environ */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <crt_externs.h>
#include <mach-o/dyld.h>
#define environ (*_NSGetEnviron())
#else
extern char **environ;
#endif
#else
#include <windows.h>
#include <io.h>
#include <process.h>
#endif
#include "process.h"

#include "bench/os.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool process_file_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

static bool own_path(char *out, size_t capacity)
{
#if defined(_WIN32)
    const DWORD length = GetModuleFileNameA(NULL, out, (DWORD)capacity);
    return length > 0 && length < capacity;
#elif defined(__APPLE__)
    uint32_t size = (uint32_t)capacity;
    return _NSGetExecutablePath(out, &size) == 0;
#else
    const ssize_t length = readlink("/proc/self/exe", out, capacity - 1);
    if (length < 0)
        return false;
    out[length] = 0;
    return true;
#endif
}

bool process_beside(const char *relative, char *out, size_t capacity)
{
    char path[2048];
    if (!relative[0] || !own_path(path, sizeof path))
        return false;
    char *slash = strrchr(path, '/');
#if defined(_WIN32)
    char *back = strrchr(path, '\\');
    slash = !slash || (back && back > slash) ? back : slash;
#endif
    if (!slash)
        return false;
    *slash = 0;
    int length = snprintf(out, capacity, "%s/%s", path, relative);
    if (length > 0 && (size_t)length < capacity && process_file_exists(out))
        return true;
    /* Started through a dynamic loader by name, that one is the program that runs. */
    if (!rapt_bench_library_folder((const void *)(uintptr_t)process_file_exists, path, sizeof path))
        return false;
    length = snprintf(out, capacity, "%s/%s", path, relative);
    return length > 0 && (size_t)length < capacity && process_file_exists(out);
}

#if defined(_WIN32)
int process_run(const char *const *words, FILE *output)
{
    /* The child inherits what 1 is while it starts. */
    fflush(stdout);
    const int kept = _dup(1);
    if (kept < 0 || _dup2(_fileno(output ? output : stderr), 1) != 0)
        return -1;
    char *quoted[64] = {0};
    size_t count = 0;
    bool good = true;
    for (; words[count] && count + 1 < 64 && good; count++) {
        quoted[count] = malloc(strlen(words[count]) + 3);
        good = quoted[count] != NULL;
        if (good)
            sprintf(quoted[count], "\"%s\"", words[count]);
    }
    const intptr_t code = good ? _spawnvp(_P_WAIT, words[0], (const char *const *)quoted) : -1;
    for (size_t n = 0; n < count; n++)
        free(quoted[n]);
    _dup2(kept, 1);
    _close(kept);
    return (int)code;
}

int process_become(const char *const *words)
{
    return process_run(words, stdout);
}
#else
int process_run(const char *const *words, FILE *output)
{
    posix_spawn_file_actions_t actions;
    pid_t child;
    int state = 0;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return -1;
    fflush(stdout);
    const bool good =
        posix_spawn_file_actions_adddup2(&actions, fileno(output ? output : stderr), STDOUT_FILENO) == 0 &&
        posix_spawnp(&child, words[0], &actions, NULL, (char *const *)(uintptr_t)words, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    if (!good)
        return -1;
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR)
            return -1;
    if (!WIFEXITED(state))
        return -2;
    return WEXITSTATUS(state) == 127 ? -1 : WEXITSTATUS(state); /* 127: what posix_spawnp could not start */
}

int process_become(const char *const *words)
{
    fflush(stdout);
    execv(words[0], (char *const *)(uintptr_t)words);
    return -1;
}
#endif
