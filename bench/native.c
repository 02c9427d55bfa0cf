#include "native.h"
#include "native_kernels.h"
#include "native_loops.h"
#include "stats.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES                                                                                          \
    ((size_t)4 << 20) // memory is streamed in blocks of this size, the clock read between them
#define ROUNDS_MEASURED 9

struct rapt_native {
    int threads;
    size_t cache_bytes, buffer_bytes; // the buffer is a whole number of blocks for each thread, times two
    unsigned char *buffer;
    size_t *place; // per thread: the next block, so that short samples still stream the whole buffer
    const rapt_native_kernels *best;
};

static const rapt_native_kernels *kernels_of(rapt_native_item item)
{
    const rapt_native_kernels *k = NULL;
    switch (item) {
    case RAPT_NATIVE_FMA_PORTABLE:
        k = &rapt_native_portable;
        break;
#if defined(RAPT_NATIVE_X86)
    case RAPT_NATIVE_FMA_AVX2:
        k = &rapt_native_avx2;
        break;
    case RAPT_NATIVE_FMA_AVX512:
        k = &rapt_native_avx512;
        break;
#elif defined(RAPT_NATIVE_ARM)
    case RAPT_NATIVE_FMA_NEON:
        k = &rapt_native_neon;
        break;
#endif
    default:
        break;
    }
    return k && k->supported() ? k : NULL;
}

static const rapt_native_kernels *best_kernels(void)
{
    static const rapt_native_item order[] = {RAPT_NATIVE_FMA_AVX512, RAPT_NATIVE_FMA_AVX2,
                                             RAPT_NATIVE_FMA_NEON};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (kernels_of(order[i]))
            return kernels_of(order[i]);
    return &rapt_native_portable;
}

// ---- one sample ----

typedef struct sample {
    rapt_native *native;
    rapt_native_item item;
    size_t cache_bytes; // not 0: reads of so many bytes, whatever the item
    double seconds;
    atomic_uint *counter; // of all threads
    struct part {
        double begin, end, work; // work in flop, operations or bytes
        double result;           // consumed, so that no loop can be removed
        atomic_uint counter;     // of this thread
        char apart[96];          // keeps threads off one another's cache lines
    } * part;
} sample;

static volatile double sink;

static void fma_part(const sample *s, const rapt_native_kernels *k, struct part *part)
{
    const uint64_t rounds = 20000; // 50 to 200 microseconds between two looks at the clock
    part->begin = part->end = rapt_bench_now();
    do {
        part->result += k->fma(rounds, (float)(part->result * 1e-9) + 1.0f);
        part->work += (double)rounds * k->fma_flops;
        part->end = rapt_bench_now();
    } while (part->end - part->begin < s->seconds);
}

#define LIBRARY_CHAINS 16

// exp2(-x) and cos(x) again and again tend to their fixed points: neither overflow nor denormals.
static double library_rounds(rapt_native_item item, uint64_t rounds, float seed)
{
    float c[LIBRARY_CHAINS];
    double total = 0;
    for (int i = 0; i < LIBRARY_CHAINS; i++)
        c[i] = seed + (float)i * 0.05f;
    for (uint64_t round = 0; round < rounds; round++)
        for (int i = 0; i < LIBRARY_CHAINS; i++)
            c[i] = item == RAPT_NATIVE_COS ? cosf(c[i]) : exp2f(-c[i]);
    for (int i = 0; i < LIBRARY_CHAINS; i++)
        total += c[i];
    return total;
}

static double atomic_rounds(atomic_uint *counter, uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++)
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    return atomic_load(counter);
}

// One look at the clock's worth of an item that works on registers or counters; adds what it did to part->work.
static void registers_once(const sample *s, struct part *part)
{
    const rapt_native_kernels *k = s->native->best;
    const uint32_t seed = (uint32_t)part->work | 1u;
    const float start = (float)(part->result * 1e-9) + 1.0f;
    switch (s->item) {
    case RAPT_NATIVE_FMA_F16:
        part->result += k->half(10000, start);
        part->work += 10000 * k->half_flops;
        break;
    case RAPT_NATIVE_DOT_I8:
        part->result += k->dot(10000, seed);
        part->work += 10000 * k->dot_ops;
        break;
    case RAPT_NATIVE_RSQRT:
        part->result += (double)k->rsqrt(2000, start);
        part->work += 2000.0 * RAPT_NATIVE_RSQRT_CHAINS;
        break;
    case RAPT_NATIVE_EXP2:
    case RAPT_NATIVE_COS:
        part->result += library_rounds(s->item, 1000, start);
        part->work += 1000.0 * LIBRARY_CHAINS;
        break;
    case RAPT_NATIVE_ATOMIC_ONE:
    case RAPT_NATIVE_ATOMIC_SPREAD:
        part->result += atomic_rounds(s->item == RAPT_NATIVE_ATOMIC_ONE ? s->counter : &part->counter, 4000);
        part->work += 4000;
        break;
    default:
        part->result += k->mad(10000, seed);
        part->work += 10000.0 * 2 * RAPT_NATIVE_MAD_CHAINS;
        break;
    }
}

static void registers_part(const sample *s, struct part *part)
{
    part->begin = part->end = rapt_bench_now();
    do {
        registers_once(s, part);
        part->end = rapt_bench_now();
    } while (part->end - part->begin < s->seconds);
}

static void cache_part(const sample *s, struct part *part)
{
    const size_t repeats = BLOCK_BYTES / s->cache_bytes + 1; // between two looks at the clock
    part->begin = part->end = rapt_bench_now();
    do {
        for (size_t i = 0; i < repeats; i++)
            part->result += (double)s->native->best->read(s->native->buffer, s->cache_bytes);
        part->work += (double)s->cache_bytes * (double)repeats;
        part->end = rapt_bench_now();
    } while (part->end - part->begin < s->seconds);
}

// How many equal streams of the thread's part an item walks, and how many bytes it moves for each byte of
// one.
static size_t streams_of(rapt_native_item item)
{
    return item == RAPT_NATIVE_COPY ? 2 : item == RAPT_NATIVE_TRIAD ? 3 : 1;
}

static void memory_part(const sample *s, int thread, struct part *part)
{
    rapt_native *n = s->native;
    const size_t own = n->buffer_bytes / (size_t)n->threads, streams = streams_of(s->item);
    const size_t count = own / BLOCK_BYTES / streams;
    unsigned char *base = n->buffer + own * (size_t)thread;
    part->begin = part->end = rapt_bench_now();
    do {
        unsigned char *block = base + (n->place[thread]++ % count) * BLOCK_BYTES;
        void *second = block + count * BLOCK_BYTES, *third = block + 2 * count * BLOCK_BYTES;
        switch (s->item) {
        case RAPT_NATIVE_COPY:
            memcpy(second, block, BLOCK_BYTES);
            part->result += *(unsigned char *)second;
            break;
        case RAPT_NATIVE_TRIAD:
            n->best->triad((float *)third, (float *)(void *)block, (float *)second, BLOCK_BYTES);
            part->result += *(unsigned char *)third;
            break;
        case RAPT_NATIVE_WRITE:
            n->best->write(block, BLOCK_BYTES, 0x3f000000u);
            part->result += *block;
            break;
        default:
            part->result += (double)n->best->read(block, BLOCK_BYTES);
            break;
        }
        part->work += (double)BLOCK_BYTES * (double)streams;
        part->end = rapt_bench_now();
    } while (part->end - part->begin < s->seconds);
}

static bool is_memory(rapt_native_item item)
{
    return item == RAPT_NATIVE_READ || item == RAPT_NATIVE_COPY || item == RAPT_NATIVE_WRITE ||
           item == RAPT_NATIVE_TRIAD;
}

static void sample_part(void *context, int thread)
{
    const sample *s = context;
    struct part *part = &s->part[thread];
    if (s->cache_bytes != 0)
        cache_part(s, part);
    else if (is_memory(s->item))
        memory_part(s, thread, part);
    else if (s->item >= RAPT_NATIVE_MAD_I32)
        registers_part(s, part);
    else
        fma_part(s, kernels_of(s->item), part);
}

static double take(sample s)
{
    rapt_native *native = s.native;
    double rate = -1;
    atomic_uint counter = 0;
    s.counter = &counter;
    s.part = calloc((size_t)native->threads, sizeof *s.part);
    if (!s.part)
        return -1;
    if (rapt_bench_parallel(native->threads, sample_part, &s)) {
        double begin = s.part[0].begin, end = s.part[0].end, work = 0, result = 0;
        for (int i = 0; i < native->threads; i++) {
            begin = s.part[i].begin < begin ? s.part[i].begin : begin;
            end = s.part[i].end > end ? s.part[i].end : end;
            work += s.part[i].work;
            result += s.part[i].result;
        }
        sink = result;
        if (end > begin)
            rate = work / (end - begin) * 1e-9;
    }
    free(s.part);
    return rate;
}

double rapt_native_sample(rapt_native *native, rapt_native_item item, double seconds)
{
    return rapt_native_has(native, item) ? take((sample){.native = native, .item = item, .seconds = seconds})
                                         : -1;
}

double rapt_native_sample_cache(rapt_native *native, size_t bytes, double seconds)
{
    const size_t whole = bytes / 1024 * 1024;
    if (whole == 0 || whole > native->buffer_bytes)
        return -1;
    return take((sample){.native = native, .cache_bytes = whole, .seconds = seconds});
}

// ---- open and close ----

static void fill_part(void *context, int thread)
{
    rapt_native *n = context;
    const size_t own = n->buffer_bytes / (size_t)n->threads;
    uint64_t *words = (uint64_t *)(void *)(n->buffer + own * (size_t)thread);
    for (size_t i = 0; i < own / sizeof *words; i++) // written, or every page would be the one zero page
        words[i] = i * 0x9e3779b97f4a7c15u;
}

rapt_native *rapt_native_open(rapt_bench_error *error)
{
    rapt_native *n = calloc(1, sizeof *n);
    if (!n) {
        rapt_bench_fail(error, "native peaks: out of memory");
        return NULL;
    }
    n->threads = rapt_bench_cpus();
    n->cache_bytes = rapt_bench_cache_bytes();
    n->best = best_kernels();
    // Four times the cache, half of which is what copy reads; never more than a quarter of the memory.
    size_t bytes = n->cache_bytes * 4;
    const size_t ram = rapt_bench_ram_bytes();
    if (ram > 0 && bytes > ram / 4)
        bytes = ram / 4;
    const size_t unit = (size_t)n->threads * 2 * BLOCK_BYTES;
    n->buffer_bytes = (bytes / unit + 1) * unit;
    n->buffer = rapt_bench_big_alloc(n->buffer_bytes);
    n->place = calloc((size_t)n->threads, sizeof *n->place);
    if (!n->buffer || !n->place || !rapt_bench_parallel(n->threads, fill_part, n)) {
        rapt_bench_fail(error, "native peaks: no memory for a buffer of %zu MiB, or no %d threads",
                        n->buffer_bytes >> 20, n->threads);
        rapt_native_close(n);
        return NULL;
    }
    return n;
}

void rapt_native_close(rapt_native *native)
{
    if (!native)
        return;
    rapt_bench_big_free(native->buffer, native->buffer_bytes);
    free(native->place);
    free(native);
}

bool rapt_native_has(const rapt_native *native, rapt_native_item item)
{
    if (item == RAPT_NATIVE_FMA_F16)
        return native->best->half != NULL;
    if (item == RAPT_NATIVE_DOT_I8)
        return native->best->dot != NULL;
    return is_memory(item) || (item >= RAPT_NATIVE_MAD_I32 && item < RAPT_NATIVE_ALL_COUNT) || kernels_of(item) != NULL;
}

rapt_native_item rapt_native_reference(const rapt_native *native)
{
    if (rapt_native_has(native, RAPT_NATIVE_FMA_AVX2))
        return RAPT_NATIVE_FMA_AVX2;
    return rapt_native_has(native, RAPT_NATIVE_FMA_NEON) ? RAPT_NATIVE_FMA_NEON : RAPT_NATIVE_FMA_PORTABLE;
}

// ---- all of them ----

void rapt_native_describe(const rapt_native *native, rapt_native_peaks *out)
{
    *out = (rapt_native_peaks){
        .threads = native->threads,
        .cache_bytes = native->cache_bytes,
        .buffer_bytes = native->buffer_bytes,
        .reference = rapt_native_reference(native),
        .others_share = -1,
    };
    rapt_bench_cpu_name(out->cpu, sizeof out->cpu);
}

void rapt_native_judge(rapt_native_peaks *peaks, const double *avx2, const double *avx512, size_t rounds)
{
    peaks->avx2_to_avx512 = 0;
    peaks->reference_valid = peaks->item[peaks->reference].measured;
    if (avx2 && avx512 && rounds > 0) {
        peaks->avx2_to_avx512 = rapt_stats_ratio(avx2, avx512, rounds, 0.95).median;
        peaks->reference_valid = peaks->avx2_to_avx512 >= RAPT_NATIVE_VALID_RATIO;
    }
}

bool rapt_native_measure(rapt_native_peaks *out, double seconds_per_item, rapt_bench_error *error)
{
    rapt_native *native = rapt_native_open(error);
    if (!native)
        return false;
    rapt_native_describe(native, out);
    double rates[RAPT_NATIVE_ITEM_COUNT][ROUNDS_MEASURED];
    const double others = rapt_bench_others_cpu(), then = rapt_bench_now();
    bool good = true;
    for (int round = 0; good && round < ROUNDS_MEASURED; round++)
        for (int item = 0; good && item < RAPT_NATIVE_ITEM_COUNT; item++)
            if (rapt_native_has(native, item)) {
                rates[item][round] = rapt_native_sample(native, item, seconds_per_item / ROUNDS_MEASURED);
                good = rates[item][round] >= 0;
            }
    for (int item = 0; good && item < RAPT_NATIVE_ITEM_COUNT; item++)
        if (rapt_native_has(native, item)) {
            const rapt_stats s = rapt_stats_of(rates[item], ROUNDS_MEASURED);
            out->item[item] = (rapt_native_rate){true, s.median, s.max, ROUNDS_MEASURED};
        }
    out->others_share = rapt_bench_others_share(others, then);
    const bool narrow = rapt_native_has(native, RAPT_NATIVE_FMA_AVX2);
    const bool wide = rapt_native_has(native, RAPT_NATIVE_FMA_AVX512);
    rapt_native_judge(out, narrow ? rates[RAPT_NATIVE_FMA_AVX2] : NULL,
                      wide ? rates[RAPT_NATIVE_FMA_AVX512] : NULL, good ? ROUNDS_MEASURED : 0);
    rapt_native_close(native);
    return good || rapt_bench_fail(error, "native peaks: a thread could not be made");
}

const char *rapt_native_item_name(rapt_native_item item)
{
    static const char *const names[RAPT_NATIVE_ALL_COUNT] = {
        "fma_portable", "fma_avx2", "fma_avx512", "fma_neon", "memory_read", "memory_copy", "memory_write", "memory_triad",
        "mad_i32", "fma_f16c", "dot_i8", "rsqrt", "exp2f", "cosf", "atomic_one", "atomic_spread",
    };
    return item < RAPT_NATIVE_ALL_COUNT ? names[item] : "unknown";
}

const char *rapt_native_item_unit(rapt_native_item item)
{
    if (item >= RAPT_NATIVE_MAD_I32 && item != RAPT_NATIVE_FMA_F16)
        return "GOP/s";
    return is_memory(item) ? "GB/s" : "GFLOP/s";
}
