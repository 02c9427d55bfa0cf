#if !defined(_WIN32)
#define _GNU_SOURCE // sched_getaffinity, dladdr
#endif

#include "os.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#endif

bool rapt_bench_fail(rapt_bench_error *error, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return false;
}

// ---- clock ----

#if defined(_WIN32)
double rapt_bench_now(void)
{
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    return (double)ticks.QuadPart / (double)rate.QuadPart;
}

double rapt_bench_thread_cpu(void)
{
    FILETIME made, ended, kernel, user;
    if (!GetThreadTimes(GetCurrentThread(), &made, &ended, &kernel, &user))
        return -1;
    const double high = (double)kernel.dwHighDateTime + (double)user.dwHighDateTime;
    return (high * 4294967296.0 + (double)kernel.dwLowDateTime + (double)user.dwLowDateTime) * 1e-7;
}

void rapt_bench_sleep(double seconds)
{
    Sleep((DWORD)(seconds * 1e3 + 1));
}
#else
static double seconds_of(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        return -1;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double rapt_bench_now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double rapt_bench_thread_cpu(void)
{
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

void rapt_bench_sleep(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}
#endif

// ---- the machine ----

int rapt_bench_cpus(void)
{
#if defined(_WIN32)
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwNumberOfProcessors > 0 ? (int)info.dwNumberOfProcessors : 1;
#else
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
#endif
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)count : 1;
#endif
}

double rapt_bench_others_cpu(void)
{
#if defined(__linux__)
    // user nice system idle iowait irq softirq steal, in clock ticks
    unsigned long long t[8];
    FILE *file = fopen("/proc/stat", "r");
    const bool read = file && fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2],
                                     &t[3], &t[4], &t[5], &t[6], &t[7]) == 8;
    if (file)
        fclose(file);
    const double ticks = (double)sysconf(_SC_CLK_TCK), own = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    if (!read || ticks <= 0 || own < 0)
        return -1;
    return (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / ticks - own;
#else
    return -1;
#endif
}

double rapt_bench_others_share(double others_then, double then)
{
    const double others = rapt_bench_others_cpu(), seconds = rapt_bench_now() - then;
#if defined(__linux__)
    const double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
#else
    const double cpus = rapt_bench_cpus();
#endif
    if (others_then < 0 || others < 0 || seconds <= 0 || cpus <= 0)
        return -1;
    const double share = (others - others_then) / (seconds * cpus);
    return share < 0 ? 0 : share; // two clocks, read one after the other
}

bool rapt_bench_cpu_name(char *out, size_t size)
{
    if (size == 0)
        return false;
    snprintf(out, size, "unknown CPU");
#if defined(__linux__)
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file)
        return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value)
            continue;
        value += strspn(value, ": \t");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
        found = true;
    }
    fclose(file);
    return found;
#elif defined(_WIN32)
    const char *name = getenv("PROCESSOR_IDENTIFIER");
    if (name)
        snprintf(out, size, "%s", name);
    return name != NULL;
#else
    return false;
#endif
}

#if defined(__linux__)
static bool read_line(const char *path, char *out, int size)
{
    FILE *file = fopen(path, "r");
    const bool read = file && fgets(out, size, file);
    if (file)
        fclose(file);
    return read;
}

static int cpus_in_list(const char *list) // "0-3,8": 5
{
    int count = 0;
    while (*list) {
        char *end;
        const long first = strtol(list, &end, 10);
        if (end == list)
            break;
        long last = first;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        count += (int)(last - first + 1);
        list = *end == ',' ? end + 1 : end;
        if (*list == '\n')
            break;
    }
    return count;
}

// This CPU's part of its outermost cache.
static size_t cache_part(int cpu)
{
    char path[128], line[256];
    size_t bytes = 0;
    for (int index = 9; index >= 0; index--) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/size", cpu, index);
        if (!read_line(path, line, sizeof line))
            continue;
        char *unit;
        bytes = strtoul(line, &unit, 10);
        bytes *= *unit == 'M' ? (size_t)1 << 20 : *unit == 'K' ? 1024 : 1;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/shared_cpu_list", cpu,
                 index);
        const int sharers = read_line(path, line, sizeof line) ? cpus_in_list(line) : 1;
        return bytes / (size_t)(sharers > 0 ? sharers : 1);
    }
    return bytes;
}
#endif

size_t rapt_bench_cache_bytes(void)
{
    size_t bytes = 0;
#if defined(__linux__)
    const long cpus = sysconf(_SC_NPROCESSORS_CONF);
    for (int cpu = 0; cpu < cpus; cpu++)
        bytes += cache_part(cpu);
#elif defined(_WIN32)
    DWORD size = 0;
    GetLogicalProcessorInformation(NULL, &size);
    SYSTEM_LOGICAL_PROCESSOR_INFORMATION *rows = malloc(size ? size : 1);
    if (rows && GetLogicalProcessorInformation(rows, &size)) {
        int outermost = 0;
        for (size_t i = 0; i < size / sizeof *rows; i++)
            if (rows[i].Relationship == RelationCache && rows[i].Cache.Level > outermost)
                outermost = rows[i].Cache.Level;
        for (size_t i = 0; i < size / sizeof *rows; i++)
            if (rows[i].Relationship == RelationCache && rows[i].Cache.Level == outermost)
                bytes += rows[i].Cache.Size;
    }
    free(rows);
#endif
    return bytes > 0 ? bytes : (size_t)32 << 20;
}

size_t rapt_bench_ram_bytes(void)
{
#if defined(_WIN32)
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    return GlobalMemoryStatusEx(&status) ? (size_t)status.ullTotalPhys : 0;
#elif defined(_SC_PHYS_PAGES)
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;
#else
    return 0;
#endif
}

bool rapt_bench_setenv_default(const char *name, const char *value)
{
#if defined(_WIN32)
    return getenv(name) || _putenv_s(name, value) == 0;
#else
    return setenv(name, value, 0) == 0;
#endif
}

// ---- threads ----

typedef struct gate {
    atomic_int ready;
    atomic_int state; // 0 wait, 1 go, -1 go home
    void (*work)(void *, int);
    void *context;
} gate;

typedef struct worker {
    gate *gate;
    int index;
#if defined(_WIN32)
    HANDLE handle;
#else
    pthread_t handle;
#endif
} worker;

static void yield_cpu(void)
{
#if defined(_WIN32)
    SwitchToThread();
#else
    sched_yield();
#endif
}

static void worker_body(worker *self)
{
    gate *g = self->gate;
    atomic_fetch_add(&g->ready, 1);
    int state;
    while ((state = atomic_load(&g->state)) == 0)
        yield_cpu();
    if (state > 0)
        g->work(g->context, self->index);
}

#if defined(_WIN32)
static DWORD WINAPI worker_main(LPVOID self)
{
    worker_body(self);
    return 0;
}

static bool worker_start(worker *w)
{
    w->handle = CreateThread(NULL, 0, worker_main, w, 0, NULL);
    return w->handle != NULL;
}

static void worker_join(worker *w)
{
    WaitForSingleObject(w->handle, INFINITE);
    CloseHandle(w->handle);
}
#else
static void *worker_main(void *self)
{
    worker_body(self);
    return NULL;
}

static bool worker_start(worker *w)
{
    return pthread_create(&w->handle, NULL, worker_main, w) == 0;
}

static void worker_join(worker *w)
{
    pthread_join(w->handle, NULL);
}
#endif

bool rapt_bench_parallel(int threads, void (*work)(void *context, int thread), void *context)
{
    if (threads < 1)
        return false;
    worker *workers = calloc((size_t)threads, sizeof *workers);
    if (!workers)
        return false;
    gate g = {.work = work, .context = context};
    atomic_init(&g.ready, 1);
    atomic_init(&g.state, 0);
    int started = 1;
    for (; started < threads; started++) {
        workers[started].gate = &g;
        workers[started].index = started;
        if (!worker_start(&workers[started]))
            break;
    }
    const bool good = started == threads;
    while (good && atomic_load(&g.ready) < threads)
        yield_cpu();
    atomic_store(&g.state, good ? 1 : -1);
    if (good)
        work(context, 0);
    for (int i = 1; i < started; i++)
        worker_join(&workers[i]);
    free(workers);
    return good;
}

// ---- big buffers ----

void *rapt_bench_big_alloc(size_t bytes)
{
#if defined(_WIN32)
    return VirtualAlloc(NULL, bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
#else
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#if defined(MADV_HUGEPAGE)
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
#endif
}

void rapt_bench_big_free(void *memory, size_t bytes)
{
    if (!memory)
        return;
#if defined(_WIN32)
    (void)bytes;
    VirtualFree(memory, 0, MEM_RELEASE);
#else
    munmap(memory, bytes);
#endif
}

// ---- shared libraries and folders ----

#if defined(_WIN32)
void *rapt_bench_library_open(const char *path, bool global, rapt_bench_error *error)
{
    (void)global;
    HMODULE library = LoadLibraryExA(path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    if (!library)
        rapt_bench_fail(error, "%s: LoadLibrary error %lu", path, (unsigned long)GetLastError());
    return library;
}

void *rapt_bench_library_symbol(void *library, const char *name)
{
    FARPROC found = GetProcAddress(library, name);
    void *address;
    memcpy(&address, &found, sizeof address);
    return address;
}

bool rapt_bench_library_folder(const void *address, char *out, size_t size)
{
    HMODULE module;
    const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    if (!GetModuleHandleExA(flags, address, &module) || GetModuleFileNameA(module, out, (DWORD)size) >= size)
        return false;
    char *slash = strrchr(out, '\\');
    if (slash)
        *slash = 0;
    return slash != NULL;
}

bool rapt_bench_folder_each(const char *folder, bool (*see)(void *context, const char *name), void *context)
{
    char pattern[MAX_PATH];
    snprintf(pattern, sizeof pattern, "%s\\*", folder);
    WIN32_FIND_DATAA entry;
    HANDLE find = FindFirstFileA(pattern, &entry);
    if (find == INVALID_HANDLE_VALUE)
        return false;
    bool seen = false;
    do
        seen = see(context, entry.cFileName);
    while (!seen && FindNextFileA(find, &entry));
    FindClose(find);
    return seen;
}
#else
void *rapt_bench_library_open(const char *path, bool global, rapt_bench_error *error)
{
    void *library = dlopen(path, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
    if (!library) {
        const char *text = dlerror();
        rapt_bench_fail(error, "%s", text ? text : path);
    }
    return library;
}

void *rapt_bench_library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

bool rapt_bench_library_folder(const void *address, char *out, size_t size)
{
    Dl_info info;
    if (!dladdr(address, &info) || !info.dli_fname || strlen(info.dli_fname) >= size)
        return false;
    snprintf(out, size, "%s", info.dli_fname);
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = 0;
    return slash != NULL;
}

bool rapt_bench_folder_each(const char *folder, bool (*see)(void *context, const char *name), void *context)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return false;
    bool seen = false;
    for (struct dirent *entry; !seen && (entry = readdir(directory));)
        seen = see(context, entry->d_name);
    closedir(directory);
    return seen;
}
#endif
