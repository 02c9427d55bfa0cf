/* The fuzzer's bytes as numbers. Where they have ended, everything is 0. */
#ifndef RAPT_FUZZ_INPUT_H
#define RAPT_FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What must hold; libFuzzer keeps the input that breaks it. */
#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static inline uint8_t take_byte(input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static inline uint64_t take_bytes(input *in, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)take_byte(in) << 8 * i;
    return value;
}

/* One byte: a small number, one beside a power of two, or the mark of a longer one. */
static inline uint64_t take_number(input *in)
{
    const uint8_t first = take_byte(in);
    if (first < 128)
        return first;
    if (first < 248)
        return (1ull << (first - 128) % 40 << 7) + (uint64_t)((first - 128) / 40) - 1;
    return take_bytes(in, first < 252 ? 4 : 8);
}

#endif
