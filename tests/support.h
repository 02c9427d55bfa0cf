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

#endif
