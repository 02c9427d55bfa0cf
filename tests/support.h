/* What every unit test includes: cmocka and its needs. */
#ifndef RAPT_TESTS_SUPPORT_H
#define RAPT_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Whether this run takes item `i` of a long list. All do, but with RAPT_TEST_FEW=K, for drivers that compile for minutes, it is one
 * in four: another one for each K from 1 to 4, so that lanes of CI share a list between them. */
static inline bool test_takes(size_t i)
{
    const char *few = getenv("RAPT_TEST_FEW");
    return few == NULL || few[0] == '\0' || i % 4 == (size_t)(few[0] - '1') % 4;
}

static inline bool test_takes_all(void)
{
    return test_takes(0) && test_takes(1);
}

/* A fresh folder below the system's (or Meson's) temporary one, made by the test. */
static inline void test_folder(char out[512], const char *name)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] == '\0')
        base = getenv("TEMP");
    if (base == NULL || base[0] == '\0')
        base = "/tmp";
    static unsigned count;
    snprintf(out, 512, "%.300s/rapt-%.60s-%lx-%u", base, name, (unsigned long)rand() ^ (unsigned long)(uintptr_t)out,
             count++);
}

/* An allocator of which call `fail_at`, counted from 1, fails; `bytes` are out. */
typedef struct failing {
    size_t calls, fail_at, bytes;
} failing;

static inline void *failing_alloc(void *user, size_t size)
{
    failing *f = user;
    if (++f->calls == f->fail_at)
        return NULL;
    f->bytes += size;
    return malloc(size);
}

static inline void failing_free(void *user, void *old, size_t size)
{
    ((failing *)user)->bytes -= size;
    free(old);
}

static inline void *failing_realloc(void *user, void *old, size_t old_size, size_t size)
{
    void *memory = failing_alloc(user, size);
    if (memory != NULL) {
        memcpy(memory, old, old_size < size ? old_size : size);
        failing_free(user, old, old_size);
    }
    return memory;
}

#endif
