// NEON loops; every AArch64 CPU has them.
#include "native_kernels.h"
#include "native_loops.h"

#if defined(RAPT_NATIVE_ARM)
#include <arm_neon.h>

#define CHAINS 24 // four FMA units of latency 4 need 16; 24 and the two factors fit 32 registers

static bool has_neon(void)
{
    return true;
}

static double fma_neon(uint64_t rounds, float seed)
{
    const float32x4_t a = vdupq_n_f32(0.9990234375f), b = vdupq_n_f32(0.0009765625f);
    float32x4_t c[CHAINS];
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS; i++)
        c[i] = vdupq_n_f32(seed + (float)i);
    for (uint64_t round = 0; round < rounds; round++) {
        // The instruction adds into its first operand, so the chain runs through the addend here.
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++)
            c[i] = vfmaq_f32(c[i], a, b);
    }
    float32x4_t sum = c[0];
#pragma GCC unroll 32
    for (int i = 1; i < CHAINS; i++)
        sum = vaddq_f32(sum, c[i]);
    return (double)vaddvq_f32(sum);
}

static uint64_t read_neon(const void *memory, size_t bytes)
{
    const uint64_t *p = memory;
    const uint64_t *end = p + bytes / sizeof *p;
    uint64x2_t s[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        s[i] = vdupq_n_u64(0);
    for (; p < end; p += 16) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            s[i] = vaddq_u64(s[i], vld1q_u64(p + 2 * i));
    }
#pragma GCC unroll 8
    for (int i = 1; i < 8; i++)
        s[0] = vaddq_u64(s[0], s[i]);
    return vaddvq_u64(s[0]);
}

static void write_neon(void *memory, size_t bytes, uint32_t value)
{
    native_write(memory, bytes, value);
}

static void triad_neon(float *to, const float *from, const float *also, size_t bytes)
{
    native_triad(to, from, also, bytes);
}

static uint32_t mad_neon(uint64_t rounds, uint32_t seed)
{
    return native_mad(rounds, seed);
}

static float rsqrt_neon(uint64_t rounds, float seed)
{
    return native_rsqrt(rounds, seed);
}

const rapt_native_kernels rapt_native_neon = {
    .supported = has_neon,
    .fma = fma_neon,
    .fma_flops = 2.0 * CHAINS * 4,
    .read = read_neon,
    .write = write_neon,
    .triad = triad_neon,
    .mad = mad_neon,
    .rsqrt = rsqrt_neon,
};
#else
typedef int rapt_native_arm_absent; // an empty translation unit is not C
#endif
