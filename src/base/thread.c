/* A mutex and monotonic time. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "base/base.h"

#include <assert.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static_assert(sizeof(SRWLOCK) <= sizeof(rapt_mutex), "SRWLOCK does not fit into rapt_mutex");

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

uint64_t rapt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
#endif
