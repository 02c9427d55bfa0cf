// AVX2 and AVX-512 loops. Each function carries its own target, so that the file needs no compiler flags and
// the rest of the program stays at the base instruction set.
#include "native_kernels.h"
#include "native_loops.h"

#if defined(RAPT_NATIVE_X86)
#include <cpuid.h>
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define F16C __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f")))

// Two FMA units of latency 4 or 5 need 10 independent chains; 12 and the two factors fit 16 registers.
#define CHAINS_AVX2 12
#define CHAINS_AVX512 24

static bool has_avx2(void)
{
    unsigned a, b, c, d; /* clang 14's builtin does not know f16c */
    const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}

AVX2 static double fma_avx2(uint64_t rounds, float seed)
{
    // x = x * a + b tends to b / (1 - a) = 1: neither overflow nor denormals, however long it runs.
    const __m256 a = _mm256_set1_ps(0.9990234375f), b = _mm256_set1_ps(0.0009765625f);
    __m256 c[CHAINS_AVX2];
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS_AVX2; i++)
        c[i] = _mm256_set1_ps(seed + (float)i);
    for (uint64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS_AVX2; i++)
            c[i] = _mm256_fmadd_ps(c[i], a, b);
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS_AVX2; i++)
            c[i] = _mm256_fmadd_ps(c[i], a, b);
    }
    __m256 sum = c[0];
#pragma GCC unroll 32
    for (int i = 1; i < CHAINS_AVX2; i++)
        sum = _mm256_add_ps(sum, c[i]);
    float lanes[8];
    _mm256_storeu_ps(lanes, sum);
    double total = 0;
    for (int i = 0; i < 8; i++)
        total += lanes[i];
    return total;
}

// Every CPU with AVX2 that was ever sold converts f16, too.
F16C static double half_f16c(uint64_t rounds, float seed)
{
    const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.5f); // tends to 1
    __m128i c[CHAINS_AVX2];
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS_AVX2; i++)
        c[i] = _mm256_cvtps_ph(_mm256_set1_ps(seed + (float)i), _MM_FROUND_TO_NEAREST_INT);
    for (uint64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS_AVX2; i++)
            c[i] = _mm256_cvtps_ph(_mm256_fmadd_ps(_mm256_cvtph_ps(c[i]), a, b), _MM_FROUND_TO_NEAREST_INT);
    }
    float lanes[8];
    double total = 0;
    for (int i = 0; i < CHAINS_AVX2; i++) {
        _mm256_storeu_ps(lanes, _mm256_cvtph_ps(c[i]));
        total += lanes[i % 8];
    }
    return total;
}

AVX2 static uint32_t dot_avx2(uint64_t rounds, uint32_t seed)
{
    const __m256i factor = _mm256_set1_epi8((char)(seed & 7)), ones = _mm256_set1_epi16(1);
    __m256i c[CHAINS_AVX2];
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS_AVX2; i++)
        c[i] = _mm256_set1_epi32((int)seed + i);
    for (uint64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS_AVX2; i++) // bytes without sign times bytes with: pairs in 16 bits, then fours in 32
            c[i] = _mm256_add_epi32(c[i], _mm256_madd_epi16(_mm256_maddubs_epi16(c[i], factor), ones));
    }
    uint32_t lanes[8], total = 0;
    for (int i = 0; i < CHAINS_AVX2; i++) {
        _mm256_storeu_si256((__m256i *)lanes, c[i]);
        total += lanes[i % 8];
    }
    return total;
}

AVX512 static double fma_avx512(uint64_t rounds, float seed)
{
    const __m512 a = _mm512_set1_ps(0.9990234375f), b = _mm512_set1_ps(0.0009765625f);
    __m512 c[CHAINS_AVX512];
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS_AVX512; i++)
        c[i] = _mm512_set1_ps(seed + (float)i);
    for (uint64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS_AVX512; i++)
            c[i] = _mm512_fmadd_ps(c[i], a, b);
    }
    __m512 sum = c[0];
#pragma GCC unroll 32
    for (int i = 1; i < CHAINS_AVX512; i++)
        sum = _mm512_add_ps(sum, c[i]);
    float lanes[16];
    _mm512_storeu_ps(lanes, sum);
    double total = 0;
    for (int i = 0; i < 16; i++)
        total += lanes[i];
    return total;
}

AVX2 static uint64_t read_avx2(const void *memory, size_t bytes)
{
    const __m256i *p = memory;
    const __m256i *end = p + bytes / sizeof *p;
    __m256i s[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        s[i] = _mm256_setzero_si256();
    for (; p < end; p += 8) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            s[i] = _mm256_add_epi64(s[i], _mm256_load_si256(p + i));
    }
#pragma GCC unroll 8
    for (int i = 1; i < 8; i++)
        s[0] = _mm256_add_epi64(s[0], s[i]);
    uint64_t lanes[4];
    _mm256_storeu_si256((__m256i *)lanes, s[0]);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

AVX512 static uint64_t read_avx512(const void *memory, size_t bytes)
{
    const __m512i *p = memory;
    const __m512i *end = p + bytes / sizeof *p;
    __m512i s[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        s[i] = _mm512_setzero_si512();
    for (; p < end; p += 8) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            s[i] = _mm512_add_epi64(s[i], _mm512_load_si512(p + i));
    }
#pragma GCC unroll 8
    for (int i = 1; i < 8; i++)
        s[0] = _mm512_add_epi64(s[0], s[i]);
    uint64_t lanes[8], total = 0;
    _mm512_storeu_si512(lanes, s[0]);
    for (int i = 0; i < 8; i++)
        total += lanes[i];
    return total;
}

AVX2 static void write_avx2(void *memory, size_t bytes, uint32_t value)
{
    native_write(memory, bytes, value);
}

AVX2 static void triad_avx2(float *to, const float *from, const float *also, size_t bytes)
{
    native_triad(to, from, also, bytes);
}

AVX2 static uint32_t mad_avx2(uint64_t rounds, uint32_t seed)
{
    return native_mad(rounds, seed);
}

AVX2 static float rsqrt_avx2(uint64_t rounds, float seed)
{
    return native_rsqrt(rounds, seed);
}

AVX512 static void write_avx512(void *memory, size_t bytes, uint32_t value)
{
    native_write(memory, bytes, value);
}

AVX512 static void triad_avx512(float *to, const float *from, const float *also, size_t bytes)
{
    native_triad(to, from, also, bytes);
}

AVX512 static uint32_t mad_avx512(uint64_t rounds, uint32_t seed)
{
    return native_mad(rounds, seed);
}

AVX512 static float rsqrt_avx512(uint64_t rounds, float seed)
{
    return native_rsqrt(rounds, seed);
}

const rapt_native_kernels rapt_native_avx2 = {
    .supported = has_avx2,
    .fma = fma_avx2,
    .fma_flops = 2.0 * 2 * CHAINS_AVX2 * 8,
    .read = read_avx2,
    .write = write_avx2,
    .triad = triad_avx2,
    .mad = mad_avx2,
    .rsqrt = rsqrt_avx2,
    .half = half_f16c,
    .half_flops = 2.0 * CHAINS_AVX2 * 8,
    .dot = dot_avx2,
    .dot_ops = 8.0 * CHAINS_AVX2 * 8,
};

const rapt_native_kernels rapt_native_avx512 = {
    .supported = has_avx512,
    .fma = fma_avx512,
    .fma_flops = 2.0 * CHAINS_AVX512 * 16,
    .read = read_avx512,
    .write = write_avx512,
    .triad = triad_avx512,
    .mad = mad_avx512,
    .rsqrt = rsqrt_avx512,
    .half = half_f16c,
    .half_flops = 2.0 * CHAINS_AVX2 * 8,
    .dot = dot_avx2,
    .dot_ops = 8.0 * CHAINS_AVX2 * 8,
};
#else
typedef int rapt_native_x86_absent; // an empty translation unit is not C
#endif
