// Loops that a compiler makes good vector code of by itself, once for each instruction set: a file includes
// this and calls them from functions that carry the target.
#ifndef RAPT_BENCH_NATIVE_LOOPS_H
#define RAPT_BENCH_NATIVE_LOOPS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RAPT_NATIVE_INLINE static inline __attribute__((always_inline))
#else
#define RAPT_NATIVE_INLINE static inline
#endif

#define RAPT_NATIVE_RSQRT_CHAINS 64
#define RAPT_NATIVE_MAD_CHAINS 96 // twelve vectors of eight lanes: integer products take up to ten cycles

RAPT_NATIVE_INLINE void native_write(void *memory, size_t bytes, uint32_t value)
{
    uint32_t *p = memory;
    for (size_t i = 0; i < bytes / sizeof *p; i++)
        p[i] = value + (uint32_t)i; // a constant would become a call of memset
}

RAPT_NATIVE_INLINE void native_triad(float *restrict to, const float *restrict from,
                                     const float *restrict also, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *to; i++)
        to[i] = from[i] + 3.0f * also[i];
}

RAPT_NATIVE_INLINE float native_rsqrt(uint64_t rounds, float seed)
{
    float c[RAPT_NATIVE_RSQRT_CHAINS];
    for (int i = 0; i < RAPT_NATIVE_RSQRT_CHAINS; i++)
        c[i] = seed + (float)i;
    for (uint64_t round = 0; round < rounds; round++)
        for (int i = 0; i < RAPT_NATIVE_RSQRT_CHAINS; i++)
            c[i] = 1.0f / sqrtf(c[i]);
    float total = 0;
    for (int i = 0; i < RAPT_NATIVE_RSQRT_CHAINS; i++)
        total += c[i];
    return total;
}

RAPT_NATIVE_INLINE uint32_t native_mad(uint64_t rounds, uint32_t seed)
{
    const uint32_t factor = 1664525u | seed;
    uint32_t c[RAPT_NATIVE_MAD_CHAINS];
    for (int i = 0; i < RAPT_NATIVE_MAD_CHAINS; i++)
        c[i] = seed + (uint32_t)i;
    for (uint64_t round = 0; round < rounds; round++)
        for (int i = 0; i < RAPT_NATIVE_MAD_CHAINS; i++)
            c[i] = c[i] * factor + factor;
    uint32_t total = 0;
    for (int i = 0; i < RAPT_NATIVE_MAD_CHAINS; i++)
        total += c[i];
    return total;
}

#endif
