/* Forecasts of clusters against numbers made by hand. */
#include "support.h"

#include <rapt/simulate.h>

#include <math.h>

#define FREE 1e30 /* a second: costs nothing */

/* Four devices, 64 tokens of 2 heads of 8, float32. A block of 16 keys is 2 * 16 * 16 * 4 = 2,048 bytes, and 16 queries on it are 2 * 2 * 256 *
 * 16 = 16,384 FLOP: a second each, if not told otherwise. */
static rapt_cluster cluster(uint32_t devices)
{
    rapt_cluster c = RAPT_CLUSTER_INIT;
    c.devices = devices;
    c.flops = 16384;
    c.linear_flops = c.memory = FREE;
    c.link_bytes = 2048;
    return c;
}

static rapt_spread spread(rapt_spread_method method, rapt_spread_pattern pattern)
{
    rapt_spread s = RAPT_SPREAD_INIT;
    s.method = method;
    s.pattern = pattern;
    s.element_bytes = 4;
    s.q_heads = s.kv_heads = 2;
    s.tokens = 64;
    s.d_qk = s.d_v = 8;
    return s;
}

static rapt_forecast of(const rapt_cluster *c, const rapt_spread *s)
{
    rapt_forecast f = RAPT_FORECAST_INIT;
    rapt_error error = {0};
    if (rapt_simulate(c, s, &f, &error) != RAPT_OK)
        fail_msg("%s", error.message);
    return f;
}

static void equals(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fabs(b)))
        fail_msg("%.17g, want %.17g", a, b);
}

static void test_ring(void **state)
{
    (void)state;
    rapt_cluster c = cluster(4);
    const rapt_spread s = spread(RAPT_SPREAD_RING, RAPT_SPREAD_FULL);
    rapt_forecast f = of(&c, &s);
    equals(f.sent_most, 3 * 2048); /* (P - 1) blocks, and no byte more */
    equals(f.sent, 4 * 3 * 2048);
    equals(f.held, 2 * 2048);
    equals(f.seconds, 4); /* transfers hide behind the work */
    equals(f.alone, 16);
    equals(f.efficiency, 1);
    equals(f.balance, 1);
    equals(f.waiting + 1, 1);
    c.link_bytes = 1024; /* three transfers of two seconds, then a last second of work */
    f = of(&c, &s);
    equals(f.seconds, 7);
    equals(f.compute, 4);
    equals(f.waiting, 3);
    equals(f.efficiency, 16.0 / 28);
    c.link_bytes = 2048;
    c.link_seconds = 0.5; /* each of three transfers takes as much longer than its round */
    equals(of(&c, &s).seconds, 5.5);
    c.link_seconds = 0;
    c.call = 0.25; /* four of attention, three of merging */
    equals(of(&c, &s).seconds, 4 + 7 * 0.25);
    c.call = 0;
    c.at_once = 2; /* on half the cores */
    equals(of(&c, &s).seconds, 8);
    c.at_once = 0;
    c.copy = 1024; /* each block comes in two seconds, q and out in one each */
    equals(of(&c, &s).seconds, 1 + 4 * 3 + 1);
    c.copy_call = 0.125; /* q, four times k and v, out and lse */
    equals(of(&c, &s).seconds, 1 + 4 * 3 + 1 + 11 * 0.125);
    c.copy_call = 0;
    c.copy = 0;
    c.memory = 1.5 * 2 * 16 * (8 + 1) * 4; /* two results are read and one is written: two seconds */
    equals(of(&c, &s).seconds, 4 + 3 * 2);
}

/* 16 tokens on two devices: of zig-zag each has 36 pairs with itself and 32 with the other, of halves 36 and 36 + 64. */
static void test_causal(void **state)
{
    (void)state;
    rapt_cluster c = cluster(2);
    rapt_spread s = spread(RAPT_SPREAD_ZIGZAG, RAPT_SPREAD_CAUSAL);
    const double pair = 2 * 2 * 16 / c.flops; /* seconds of one, of both heads */
    s.tokens = 16;
    c.link_bytes = FREE;
    rapt_forecast f = of(&c, &s);
    equals(f.seconds, 68 * pair);
    equals(f.alone, 136 * pair);
    equals(f.balance, 1);
    equals(f.efficiency, 1);
    equals(f.sent_most, 2 * 8 * 16 * 4);
    s.method = RAPT_SPREAD_RING;
    f = of(&c, &s);
    equals(f.seconds, 100 * pair);
    equals(f.balance, 0.68);
    s.method = RAPT_SPREAD_GATHER;
    f = of(&c, &s);
    equals(f.seconds, 100 * pair);
    equals(f.sent_most, 2 * 8 * 16 * 4);
    equals(f.held, 2 * 16 * 16 * 4);
}

/* However a sequence is cut, the pairs are those of the definition. */
static void test_pairs(void **state)
{
    (void)state;
    for (uint64_t tokens = 12; tokens <= 41; tokens += 29)
        for (uint64_t window = 1; window <= 50; window += 7)
            for (int method = RAPT_SPREAD_RING; method <= RAPT_SPREAD_GATHER; method++) {
                rapt_cluster c = cluster(6);
                rapt_spread s = spread((rapt_spread_method)method, RAPT_SPREAD_WINDOW);
                double want = 0;
                for (uint64_t q = 0; q < tokens; q++)
                    for (uint64_t k = 0; k < tokens; k++)
                        want += k <= q && q - k < window;
                s.tokens = tokens;
                s.window = window;
                const rapt_forecast f = of(&c, &s);
                equals(f.alone * c.flops / (2 * 2 * 16), want);
                equals(f.balance * f.compute * 6 * c.flops / (2 * 2 * 16), want);
            }
    rapt_cluster c = cluster(4);
    rapt_spread s = spread(RAPT_SPREAD_RING, RAPT_SPREAD_WINDOW);
    s.window = 8; /* only the share before is seen: one block goes round once */
    equals(of(&c, &s).sent_most, 2048);
    s.pattern = RAPT_SPREAD_DENSITY;
    s.density = 0.25;
    equals(of(&c, &s).alone, 4);
}

/* Eight query heads on four kv heads: two and one for each of four devices. */
static void test_heads(void **state)
{
    (void)state;
    rapt_cluster c = cluster(4);
    rapt_spread s = spread(RAPT_SPREAD_HEADS, RAPT_SPREAD_CAUSAL);
    s.q_heads = 8;
    s.kv_heads = 4;
    rapt_forecast f = of(&c, &s);
    /* 16 tokens to three others, 2 x 8 of q, 8 of k and 8 of v each; 48 tokens of others back, 2 x 8 and 2 of lse. */
    equals(f.sent_most, 4 * (16 * 3 * 32 + 48 * 18));
    equals(f.balance, 1);
    equals(f.compute, 2 * 2 * (64 * 65 / 2) * 16 / c.flops);
    equals(f.seconds, f.compute + f.sent_most / c.link_bytes);
    c.devices = 8; /* of which four have no head */
    f = of(&c, &s);
    equals(f.balance, 0.5);
}

/* What moves does not know how long the sequence is. */
static void test_long(void **state)
{
    (void)state;
    rapt_cluster c = cluster(4);
    for (uint64_t tokens = 64; tokens <= 1 << 24; tokens <<= 9) {
        rapt_spread s = spread(RAPT_SPREAD_LASP2, RAPT_SPREAD_CAUSAL);
        s.tokens = tokens;
        equals(of(&c, &s).sent_most, 3 * 2 * 8 * 8 * 4);
        s.method = RAPT_SPREAD_DECODE;
        equals(of(&c, &s).sent_most, 3 * 2 * (8 + 1) * 4);
    }
    /* One device walks once, the others twice: 4 * 2 * 64 * 16 FLOP each time. States: 512 bytes, a quarter of a second, three times. */
    rapt_spread s = spread(RAPT_SPREAD_LASP2, RAPT_SPREAD_CAUSAL);
    c.linear_flops = 8192;
    const rapt_forecast f = of(&c, &s);
    equals(f.seconds, 1 + 3 * 0.25 + 1);
    equals(f.compute, 2);
    equals(f.balance, 7.0 / 8);
    equals(f.alone, 4);
    /* Decoding by bytes: 2,048 of each cache. A merge of four takes two calls, which read 4 results and the sum, and write two. */
    s.method = RAPT_SPREAD_DECODE;
    c.memory = 2048;
    c.flops = c.link_bytes = FREE;
    c.call = 1;
    equals(of(&c, &s).seconds, 1 + 1 + 2 + 7 * 72.0 / 2048);
}

static void test_mixed(void **state)
{
    (void)state;
    const double speeds[] = {3, 1};
    rapt_cluster c = cluster(2);
    rapt_spread s = spread(RAPT_SPREAD_RING, RAPT_SPREAD_FULL);
    c.link_bytes = FREE;
    c.speeds = speeds;
    rapt_forecast f = of(&c, &s);
    equals(f.balance, 1); /* 48 tokens and 16 */
    equals(f.seconds, 4);
    equals(f.efficiency, 1);
    c.equal_shares = 1;
    f = of(&c, &s);
    equals(f.seconds, 8); /* of the slow one */
    equals(f.balance, 2.0 / 3);
}

static void test_refusals(void **state)
{
    (void)state;
    rapt_error error = {0};
    rapt_forecast f = RAPT_FORECAST_INIT;
    const rapt_cluster good = cluster(4);
    const rapt_spread ring = spread(RAPT_SPREAD_RING, RAPT_SPREAD_FULL);
    rapt_cluster c = good;
    c.devices = RAPT_CLUSTER_DEVICES + 1;
    assert_int_equal(rapt_simulate(&c, &ring, &f, &error), RAPT_ERROR_INVALID);
    c = good;
    c.link_bytes = 0;
    assert_int_equal(rapt_simulate(&c, &ring, &f, &error), RAPT_ERROR_INVALID);
    c = good;
    c.flops = NAN;
    assert_int_equal(rapt_simulate(&c, &ring, &f, &error), RAPT_ERROR_INVALID);
    rapt_spread s = ring;
    s.tokens = 3;
    assert_int_equal(rapt_simulate(&good, &s, &f, &error), RAPT_ERROR_INVALID);
    assert_non_null(strstr(error.message, "3 tokens do not give each of 4"));
    s = ring;
    s.kv_heads = 3;
    assert_int_equal(rapt_simulate(&good, &s, &f, &error), RAPT_ERROR_INVALID);
    s = ring;
    s.pattern = RAPT_SPREAD_WINDOW;
    assert_int_equal(rapt_simulate(&good, &s, &f, &error), RAPT_ERROR_INVALID);
    assert_int_equal(rapt_simulate(NULL, &s, &f, &error), RAPT_ERROR_INVALID);
    assert_null(rapt_spread_name(RAPT_SPREAD_METHODS));
    assert_string_equal(rapt_spread_name(RAPT_SPREAD_LASP2), "lasp2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring), cmocka_unit_test(test_causal), cmocka_unit_test(test_pairs), cmocka_unit_test(test_heads),
        cmocka_unit_test(test_long), cmocka_unit_test(test_mixed),  cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("simulate", tests, NULL, NULL);
}
