/* A 128-bit hash for cache keys and file integrity.
 *
 * Every step is a bijection of the state for given input and of the input block for a given state, so that a change
 * within one 16-byte block always changes the result. The same on every platform, whatever its byte order. */
#include "base/base.h"

#include <string.h>

#define P1 0x9fb21c651e98df25ull
#define P2 0xd6e8feb86659fd93ull
#define P3 0xff51afd7ed558ccdull
#define P4 0xc4ceb9fe1a85ec53ull

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static uint64_t load(const unsigned char *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

static rapt_hash mix(rapt_hash h, uint64_t a, uint64_t b)
{
    h.lo = (h.lo ^ a) * P1;
    h.hi = (h.hi ^ b) * P2;
    h.lo ^= h.lo >> 29;
    h.hi ^= h.hi >> 32;
    h.lo += rotate(h.hi, 23);
    h.hi += rotate(h.lo, 41);
    return h;
}

static uint64_t finish(uint64_t x)
{
    x = (x ^ x >> 33) * P3;
    x = (x ^ x >> 33) * P4;
    return x ^ x >> 33;
}

rapt_hash rapt_hash_bytes(rapt_hash seed, const void *data, size_t size)
{
    const unsigned char *p = data;
    rapt_hash h = seed;
    size_t left = size;
    for (; left >= 16; left -= 16, p += 16)
        h = mix(h, load(p), load(p + 8));
    unsigned char tail[16] = {0};
    if (left > 0)
        memcpy(tail, p, left);
    h = mix(h, load(tail), load(tail + 8));
    h = mix(h, (uint64_t)size, P3);
    h.lo = finish(h.lo);
    h.hi += h.lo;
    h.hi = finish(h.hi);
    h.lo += h.hi;
    return h;
}

bool rapt_hash_equal(rapt_hash a, rapt_hash b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

void rapt_hash_hex(rapt_hash hash, char out[33])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        out[i] = digits[hash.hi >> (60 - 4 * i) & 15];
        out[16 + i] = digits[hash.lo >> (60 - 4 * i) & 15];
    }
    out[32] = '\0';
}
