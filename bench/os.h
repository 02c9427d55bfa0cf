// The few operating-system services the benchmark needs: a clock, threads, big buffers, shared libraries.
#ifndef RAPT_BENCH_OS_H
#define RAPT_BENCH_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// An error's one line of text; functions that take one write it only when they fail.
typedef struct rapt_bench_error {
    char text[512];
} rapt_bench_error;

#if defined(__clang__)
__attribute__((format(printf, 2, 3)))
#elif defined(__GNUC__)
__attribute__((format(gnu_printf, 2, 3)))
#endif
bool rapt_bench_fail(rapt_bench_error *error, const char *format, ...); // always false

double rapt_bench_now(void);           // seconds, monotonic
double rapt_bench_thread_cpu(void);    // CPU seconds the calling thread has used, -1 where unknown
void rapt_bench_sleep(double seconds); // at least that long
// CPU seconds that everything but this process has used so far, this machine's host included where it tells;
// in steps of about 0.01 s. -1 where unknown.
double rapt_bench_others_cpu(void);
// Which part of all CPUs that is since a moment when it was others_then and the time was then; -1 where
// unknown.
double rapt_bench_others_share(double others_then, double then);
int rapt_bench_cpus(void); // the CPUs this process may run on
bool rapt_bench_cpu_name(char *out, size_t size);
size_t rapt_bench_cache_bytes(void); // last-level cache this process's CPUs can reach; a guess where unknown
size_t rapt_bench_ram_bytes(void);   // 0 where unknown
bool rapt_bench_setenv_default(const char *name, const char *value); // only where unset

// Runs work(context, 0..threads-1), each on a thread of its own (the caller's is 0), starting them together.
// False if a thread could not be made: then no work has run.
bool rapt_bench_parallel(int threads, void (*work)(void *context, int thread), void *context);

// Page-aligned memory, in huge pages where the system gives them.
void *rapt_bench_big_alloc(size_t bytes);
void rapt_bench_big_free(void *memory, size_t bytes);

void *rapt_bench_library_open(const char *path, bool global, rapt_bench_error *error);
void *rapt_bench_library_symbol(void *library, const char *name);
// The folder of the file that holds this symbol's address, without a trailing slash.
bool rapt_bench_library_folder(const void *address, char *out, size_t size);
// Calls see() with the name of every entry of the folder until it returns true; true if it did.
bool rapt_bench_folder_each(const char *folder, bool (*see)(void *context, const char *name), void *context);

#endif
