/* Mutexes, conditions, threads, and monotonic time. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "base/base.h"

#include <assert.h>
#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static_assert(sizeof(SRWLOCK) <= sizeof(rapt_mutex), "SRWLOCK does not fit into rapt_mutex");
static_assert(sizeof(CONDITION_VARIABLE) <= sizeof(rapt_cond), "CONDITION_VARIABLE does not fit into rapt_cond");
static_assert(sizeof(HANDLE) <= sizeof(((rapt_thread *)0)->opaque), "HANDLE does not fit into rapt_thread");

bool rapt_mutex_init(rapt_mutex *mutex)
{
    InitializeSRWLock((SRWLOCK *)mutex->opaque);
    return true;
}

void rapt_mutex_destroy(rapt_mutex *mutex)
{
    (void)mutex;
}

void rapt_mutex_lock(rapt_mutex *mutex)
{
    AcquireSRWLockExclusive((SRWLOCK *)mutex->opaque);
}

void rapt_mutex_unlock(rapt_mutex *mutex)
{
    ReleaseSRWLockExclusive((SRWLOCK *)mutex->opaque);
}

bool rapt_cond_init(rapt_cond *cond)
{
    InitializeConditionVariable((CONDITION_VARIABLE *)cond->opaque);
    return true;
}

void rapt_cond_destroy(rapt_cond *cond)
{
    (void)cond;
}

void rapt_cond_wait(rapt_cond *cond, rapt_mutex *mutex, uint64_t ns)
{
    const DWORD ms = ns == UINT64_MAX ? INFINITE : (DWORD)RAPT_MIN(ns / 1000000 + 1, 1u << 30);
    SleepConditionVariableSRW((CONDITION_VARIABLE *)cond->opaque, (SRWLOCK *)mutex->opaque, ms, 0);
}

void rapt_cond_wake_all(rapt_cond *cond)
{
    WakeAllConditionVariable((CONDITION_VARIABLE *)cond->opaque);
}

static DWORD WINAPI thread_main(void *argument)
{
    rapt_thread *thread = argument;
    thread->run(thread->user);
    return 0;
}

bool rapt_thread_start(rapt_thread *thread)
{
    thread->opaque[0] = CreateThread(NULL, 0, thread_main, thread, 0, NULL);
    return thread->opaque[0] != NULL;
}

void rapt_thread_join(rapt_thread *thread)
{
    WaitForSingleObject(thread->opaque[0], INFINITE);
    CloseHandle(thread->opaque[0]);
}

uint64_t rapt_now_ns(void)
{
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    uint64_t whole = (uint64_t)(ticks.QuadPart / rate.QuadPart);
    uint64_t rest = (uint64_t)(ticks.QuadPart % rate.QuadPart);
    return whole * 1000000000u + rest * 1000000000u / (uint64_t)rate.QuadPart;
}

#else
#include <pthread.h>
#include <time.h>

static_assert(sizeof(pthread_mutex_t) <= sizeof(rapt_mutex), "pthread_mutex_t does not fit into rapt_mutex");
static_assert(sizeof(pthread_cond_t) <= sizeof(rapt_cond), "pthread_cond_t does not fit into rapt_cond");
static_assert(sizeof(pthread_t) <= sizeof(((rapt_thread *)0)->opaque), "pthread_t does not fit into rapt_thread");

bool rapt_mutex_init(rapt_mutex *mutex)
{
    return pthread_mutex_init((pthread_mutex_t *)mutex->opaque, NULL) == 0;
}

void rapt_mutex_destroy(rapt_mutex *mutex)
{
    pthread_mutex_destroy((pthread_mutex_t *)mutex->opaque);
}

void rapt_mutex_lock(rapt_mutex *mutex)
{
    pthread_mutex_lock((pthread_mutex_t *)mutex->opaque);
}

void rapt_mutex_unlock(rapt_mutex *mutex)
{
    pthread_mutex_unlock((pthread_mutex_t *)mutex->opaque);
}

/* Where a condition can be told which clock its times are of, it is the one that nobody sets. */
#if defined(__APPLE__)
#define COND_CLOCK CLOCK_REALTIME
#else
#define COND_CLOCK CLOCK_MONOTONIC
#endif

bool rapt_cond_init(rapt_cond *cond)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
#if !defined(__APPLE__)
    bool made = pthread_condattr_setclock(&attributes, COND_CLOCK) == 0;
#else
    bool made = true;
#endif
    made = made && pthread_cond_init((pthread_cond_t *)cond->opaque, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return made;
}

void rapt_cond_destroy(rapt_cond *cond)
{
    pthread_cond_destroy((pthread_cond_t *)cond->opaque);
}

void rapt_cond_wait(rapt_cond *cond, rapt_mutex *mutex, uint64_t ns)
{
    pthread_cond_t *c = (pthread_cond_t *)cond->opaque;
    pthread_mutex_t *m = (pthread_mutex_t *)mutex->opaque;
    struct timespec t;
    if (ns == UINT64_MAX) {
        pthread_cond_wait(c, m);
        return;
    }
    clock_gettime(COND_CLOCK, &t);
    ns = RAPT_MIN(ns, 1000000000ull << 20) + (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    pthread_cond_timedwait(c, m, &t);
}

void rapt_cond_wake_all(rapt_cond *cond)
{
    pthread_cond_broadcast((pthread_cond_t *)cond->opaque);
}

static void *thread_main(void *argument)
{
    rapt_thread *thread = argument;
    thread->run(thread->user);
    return NULL;
}

bool rapt_thread_start(rapt_thread *thread)
{
    return pthread_create((pthread_t *)(void *)thread->opaque, NULL, thread_main, thread) == 0;
}

void rapt_thread_join(rapt_thread *thread)
{
    pthread_t id;
    memcpy(&id, thread->opaque, sizeof id);
    pthread_join(id, NULL);
}

uint64_t rapt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#endif
