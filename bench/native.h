// What this machine's CPU can do, measured in the same run as everything that is compared with it:
// multiply-add rates, memory and cache rates, each with one thread per CPU.
#ifndef RAPT_BENCH_NATIVE_H
#define RAPT_BENCH_NATIVE_H

#include "os.h"

typedef enum rapt_native_item {
    RAPT_NATIVE_FMA_PORTABLE, // plain C, whatever the compiler makes of it for the build's base instruction
                              // set
    RAPT_NATIVE_FMA_AVX2,
    RAPT_NATIVE_FMA_AVX512,
    RAPT_NATIVE_FMA_NEON,
    RAPT_NATIVE_READ,       // vector loads from a buffer several times the last-level cache
    RAPT_NATIVE_COPY,       // memcpy between its halves; bytes read plus bytes written
    RAPT_NATIVE_ITEM_COUNT, // the items above are in rapt_native_peaks; those below are sampled when asked
                            // for
    RAPT_NATIVE_WRITE = RAPT_NATIVE_ITEM_COUNT, // vector stores over the same buffer
    RAPT_NATIVE_TRIAD,                          // a = b + 3 c; bytes read plus bytes written
    RAPT_NATIVE_MAD_I32, // 32-bit integer multiply-adds, with the widest vectors there are
    RAPT_NATIVE_FMA_F16, // f32 multiply-adds of numbers kept as f16: converted before and after (F16C)
    RAPT_NATIVE_DOT_I8,  // dot products of four 8-bit integers, summed in 32 bits, in vectors of 32 bytes (AVX2)
    RAPT_NATIVE_RSQRT,   // 1 / sqrt(x) in f32, rounded rightly, in vectors
    RAPT_NATIVE_EXP2,    // exp2f of the C library, number by number
    RAPT_NATIVE_COS,     // cosf of the C library, number by number
    RAPT_NATIVE_ATOMIC_ONE,    // atomic additions, of all threads to one counter
    RAPT_NATIVE_ATOMIC_SPREAD, // of each thread to one of its own
    RAPT_NATIVE_ALL_COUNT
} rapt_native_item;

// An AVX2 loop slower than this part of the AVX-512 loop is no peak: something disturbed it.
#define RAPT_NATIVE_VALID_RATIO 0.45

typedef struct rapt_native_rate {
    bool measured;
    double median, best; // FMA: GFLOP/s in f32, a multiply-add counting as two; READ, COPY: GB/s (1e9)
    int samples;
} rapt_native_rate;

typedef struct rapt_native_peaks {
    char cpu[96];
    int threads;
    size_t cache_bytes, buffer_bytes;
    rapt_native_rate item[RAPT_NATIVE_ITEM_COUNT];
    rapt_native_item reference; // the loop that percentages refer to: AVX2, else NEON, else portable
    double avx2_to_avx512;      // median of the rounds' ratios; 0 where one of them is missing
    bool reference_valid;       // false if avx2_to_avx512 is known and below RAPT_NATIVE_VALID_RATIO
    double others_share;        // of all CPUs' time meanwhile, what other programs took; -1 where unknown
} rapt_native_peaks;

// Holds the buffer and the place reached in it. One thread at a time.
typedef struct rapt_native rapt_native;

rapt_native *rapt_native_open(rapt_bench_error *error);
void rapt_native_close(rapt_native *native);
bool rapt_native_has(const rapt_native *native, rapt_native_item item);
rapt_native_item rapt_native_reference(const rapt_native *native);
// One sample, in the units above, lasting about this long; negative if the item is missing or a thread could
// not be made. Meant for interleaving with other measurements: 0.02 s or so.
double rapt_native_sample(rapt_native *native, rapt_native_item item, double seconds);
// Reads of the first `bytes` of the buffer (at least 1024; rounded down to whole KiB) again and again, by
// every thread: what the caches of that size give. GB/s; negative as above, or where the buffer is smaller.
double rapt_native_sample_cache(rapt_native *native, size_t bytes, double seconds);
void rapt_native_describe(const rapt_native *native, rapt_native_peaks *out); // all but what is measured
// The ratio and the flag, from the rounds' rates, which are NULL where that loop is missing.
void rapt_native_judge(rapt_native_peaks *peaks, const double *avx2, const double *avx512, size_t rounds);

// All items this CPU has, in interleaved samples that sum to seconds_per_item each.
bool rapt_native_measure(rapt_native_peaks *out, double seconds_per_item, rapt_bench_error *error);

const char *rapt_native_item_name(rapt_native_item item);
const char *rapt_native_item_unit(rapt_native_item item);

#endif
