// The inner loops, one set per instruction set. Each returns a value that depends on all of its work.
#ifndef RAPT_BENCH_NATIVE_KERNELS_H
#define RAPT_BENCH_NATIVE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rapt_native_kernels {
    bool (*supported)(void);
    // rounds times fma_flops floating-point operations; the seed keeps the compiler from knowing the result.
    double (*fma)(uint64_t rounds, float seed);
    double fma_flops;
    // Loads every byte; bytes is a multiple of 1024 and memory is page-aligned.
    uint64_t (*read)(const void *memory, size_t bytes);
    void (*write)(void *memory, size_t bytes, uint32_t value);
    // to = from + 3 also; the arrays do not overlap.
    void (*triad)(float *to, const float *from, const float *also, size_t bytes);
    // rounds times 2 * RAPT_NATIVE_MAD_CHAINS 32-bit integer operations: a multiply-add counts as two.
    uint32_t (*mad)(uint64_t rounds, uint32_t seed);
    // rounds times RAPT_NATIVE_RSQRT_CHAINS.
    float (*rsqrt)(uint64_t rounds, float seed);
    // As fma, with numbers kept as f16; NULL: not with these instructions.
    double (*half)(uint64_t rounds, float seed);
    double half_flops;
    // rounds times dot_ops 8-bit operations: a multiply-add counts as two; NULL as above.
    uint32_t (*dot)(uint64_t rounds, uint32_t seed);
    double dot_ops;
} rapt_native_kernels;

extern const rapt_native_kernels rapt_native_portable;
#if defined(__x86_64__) && defined(__GNUC__)
#define RAPT_NATIVE_X86 1
extern const rapt_native_kernels rapt_native_avx2;
extern const rapt_native_kernels rapt_native_avx512;
#elif defined(__aarch64__)
#define RAPT_NATIVE_ARM 1
extern const rapt_native_kernels rapt_native_neon;
#endif

#endif
