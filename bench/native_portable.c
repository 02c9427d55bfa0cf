// Loops in plain C, for CPUs without loops of their own.
#include "native_kernels.h"
#include "native_loops.h"

#include <string.h>

#define CHAINS 48

static bool always(void)
{
    return true;
}

static double fma_portable(uint64_t rounds, float seed)
{
    const float a = 0.9990234375f, b = 0.0009765625f;
    float c[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        c[i] = seed + (float)i;
    for (uint64_t round = 0; round < rounds; round++)
        for (int i = 0; i < CHAINS; i++)
            c[i] = c[i] * a + b;
    double total = 0;
    for (int i = 0; i < CHAINS; i++)
        total += c[i];
    return total;
}

static uint64_t read_portable(const void *memory, size_t bytes)
{
    const unsigned char *p = memory;
    uint64_t s[16] = {0};
    for (size_t at = 0; at < bytes; at += sizeof s) {
        uint64_t words[16];
        memcpy(words, p + at, sizeof words);
        for (int i = 0; i < 16; i++)
            s[i] += words[i];
    }
    uint64_t total = 0;
    for (int i = 0; i < 16; i++)
        total += s[i];
    return total;
}

static void write_portable(void *memory, size_t bytes, uint32_t value)
{
    native_write(memory, bytes, value);
}

static void triad_portable(float *to, const float *from, const float *also, size_t bytes)
{
    native_triad(to, from, also, bytes);
}

static uint32_t mad_portable(uint64_t rounds, uint32_t seed)
{
    return native_mad(rounds, seed);
}

static float rsqrt_portable(uint64_t rounds, float seed)
{
    return native_rsqrt(rounds, seed);
}

const rapt_native_kernels rapt_native_portable = {
    .supported = always,
    .fma = fma_portable,
    .fma_flops = 2.0 * CHAINS,
    .read = read_portable,
    .write = write_portable,
    .triad = triad_portable,
    .mad = mad_portable,
    .rsqrt = rsqrt_portable,
};
