// What the benchmark's figures rest on: statistics, half precision, case names, the naive result.
#include "cases.h"
#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            failures++;                                                                                      \
        }                                                                                                    \
    } while (0)

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * (1 + fabs(b));
}

static void test_stats(void)
{
    const double five[] = {5, 1, 4, 2, 3};
    CHECK(near(rapt_stats_quantile(five, 5, 0.5), 3));
    CHECK(near(rapt_stats_quantile(five, 5, 0.1), 1.4));
    CHECK(near(rapt_stats_quantile(five, 5, 0), 1) && near(rapt_stats_quantile(five, 5, 1), 5));
    CHECK(isnan(rapt_stats_quantile(five, 0, 0.5)));
    const rapt_stats s = rapt_stats_of(five, 5);
    CHECK(s.count == 5 && near(s.median, 3) && near(s.min, 1) && near(s.max, 5) && near(s.spread, 2.0 / 3));

    // Five values cannot give 95 %; six can with their whole range; nine leave out one at each end.
    rapt_interval r = rapt_stats_interval(five, 5, 0.95);
    CHECK(!r.enough && near(r.low, 1) && near(r.high, 5) && near(r.coverage, 1 - 2.0 / 32));
    const double nine[] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
    r = rapt_stats_interval(nine, 6, 0.95);
    CHECK(r.enough && near(r.low, 4) && near(r.high, 9) && near(r.coverage, 1 - 2.0 / 64));
    r = rapt_stats_interval(nine, 9, 0.95);
    CHECK(r.enough && near(r.median, 5) && near(r.low, 2) && near(r.high, 8));
    CHECK(near(r.coverage, 1 - 2 * 10.0 / 512));
    r = rapt_stats_interval(NULL, 0, 0.95);
    CHECK(!r.enough && isnan(r.median) && r.count == 0);

    // A machine that slows down by half half-way leaves the pairs' ratio alone.
    const double a[] = {1, 1, 1, 1, 2, 2, 2, 2}, b[] = {4, 4, 4, 4, 8, 8, 8, 8};
    r = rapt_stats_ratio(a, b, 8, 0.95);
    CHECK(near(r.median, 0.25) && near(r.low, 0.25) && near(r.high, 0.25) && r.enough);
}

static void test_half(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const float value = rapt_bench_float((uint16_t)bits);
        if (isnan(value))
            CHECK((rapt_bench_half(value) & 0x7fff) > 0x7c00);
        else
            CHECK(rapt_bench_half(value) == bits);
    }
    CHECK(rapt_bench_half(1.0f) == 0x3c00 && rapt_bench_half(-2.0f) == 0xc000);
    CHECK(rapt_bench_half(65519.0f) == 0x7bff && rapt_bench_half(65520.0f) == 0x7c00);
    CHECK(rapt_bench_half(0x1.002p0f) == 0x3c00 && rapt_bench_half(0x1.006p0f) == 0x3c02); // ties to even
    CHECK(rapt_bench_half(0x1p-25f) == 0 && rapt_bench_half(0x1.8p-24f) == 2 &&
          rapt_bench_half(0x1.ffep-15f) == 0x400);
}

static void test_names(void)
{
    rapt_bench_case c;
    rapt_bench_error error;
    CHECK(rapt_bench_case_parse("B2H32K8D128Q1N4096f16c", &c, &error));
    CHECK(c.batch == 2 && c.q_heads == 32 && c.kv_heads == 8 && c.head_dim == 128 && c.nq == 1 &&
          c.nk == 4096);
    CHECK(c.dtype == RAPT_BENCH_F16 && c.causal && strcmp(c.name, "B2H32K8D128Q1N4096f16c") == 0);
    CHECK(rapt_bench_case_parse("B1H8D64N1024f32", &c, &error) && c.kv_heads == 8 && c.nq == 1024 &&
          !c.causal);
    CHECK(near(rapt_bench_flops(&c), 4.0 * 8 * 1024 * 1024 * 64) &&
          near(rapt_bench_kv_bytes(&c), 2.0 * 8 * 1024 * 256));
    CHECK(rapt_bench_case_parse("B1H1D8N4f32c", &c, &error) && near(rapt_bench_flops(&c), 4.0 * 10 * 8));
    static const char *const bad[] = {"",
                                      "B1",
                                      "B1H8D64N1024",
                                      "B1H8D64N1024f64",
                                      "B1H8D64N0f32",
                                      "B1H8D64N9f32x",
                                      "B1H8K3D64N9f32",
                                      "B1H8D-4N9f32",
                                      "B1H8D64N99999999999f32"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!rapt_bench_case_parse(bad[i], &c, &error));
    for (const char *const *name = rapt_bench_case_names; *name; name++)
        CHECK(rapt_bench_case_parse(*name, &c, &error));
}

static void test_expected(void)
{
    rapt_bench_case c;
    rapt_bench_inputs in;
    rapt_bench_error error;
    // One key: the output is its value. Three queries and one key, causal: the first two see nothing.
    CHECK(rapt_bench_case_parse("B2H4K2D5Q3N1f32c", &c, &error));
    if (!rapt_bench_inputs_make(&c, 7, &in, &error)) {
        CHECK(!"inputs");
        return;
    }
    float out[2 * 4 * 3 * 5];
    for (int batch = 0; batch < 2; batch++)
        for (int head = 0; head < 4; head++)
            for (int query = 0; query < 3; query++)
                for (int e = 0; e < 5; e++) {
                    const int kv_head = head / 2;
                    const float value = ((const float *)in.v)[(batch * 2 + kv_head) * 5 + e];
                    out[((batch * 4 + head) * 3 + query) * 5 + e] = query == 2 ? value : 0;
                }
    rapt_bench_difference d = rapt_bench_compare(&c, &in, out);
    CHECK(d.max_abs == 0 && d.rms == 0);
    out[17] += 0.5f;
    CHECK(near(rapt_bench_compare(&c, &in, out).max_abs, fabs((double)out[17] - in.expected[17])));
    out[17] = NAN;
    CHECK(isinf(rapt_bench_compare(&c, &in, out).max_abs));
    rapt_bench_inputs_free(&in);
}

int main(void)
{
    test_stats();
    test_half();
    test_names();
    test_expected();
    if (failures == 0)
        puts("bench: all good");
    return failures != 0;
}
