/* Static patterns, element by element against their formulas, and what they promise of all heads together. */
#include "support.h"

#include "op/attention.h"
#include <rapt/pattern.h>

#include <math.h>

#define MOST 4096

static int32_t mask[MOST];

static rapt_tensor fill(const rapt_pattern *p)
{
    rapt_tensor t;
    rapt_error error = {0};
    if (rapt_pattern_tensor(p, &t, &error) != RAPT_OK)
        fail_msg("%s", error.message);
    const uint64_t count = t.size[0] * t.size[1] * t.size[2] * t.size[3];
    assert_true(count <= MOST && t.size[1] == p->heads && t.size[2] == (p->nq + p->block - 1) / p->block &&
                t.size[3] == (p->nk + p->block - 1) / p->block);
    memset(mask, 0x55, sizeof mask);
    if (rapt_pattern_fill(p, mask, count, &error) != RAPT_OK)
        fail_msg("%s", error.message);
    assert_true(count == MOST || mask[count] == 0x55555555);
    return t;
}

static bool at(const rapt_tensor *t, uint64_t h, uint64_t i, uint64_t j)
{
    const int32_t x = mask[(h * t->size[2] + i) * t->size[3] + j];
    assert_true(x == 0 || x == 1);
    return x != 0;
}

#define EACH(t, h, i, j)                                                                                     \
    for (int h = 0; h < (int)(t).size[1]; h++)                                                               \
        for (int i = 0; i < (int)(t).size[2]; i++)                                                           \
            for (int j = 0; j < (int)(t).size[3]; j++)

static void chunks(void **state)
{
    (void)state;
    for (uint32_t causal = 0; causal < 2; causal++) {
        const rapt_pattern p = {.struct_size = sizeof p, .kind = RAPT_PATTERN_CHUNKS, .nq = 230, .nk = 230, .heads = 1,
                                .block = 10, .chunk = 4, .before = 1, .after = 0, .causal = causal};
        const rapt_tensor t = fill(&p);
        EACH(t, h, i, j)
            assert_int_equal(at(&t, (uint64_t)h, (uint64_t)i, (uint64_t)j),
                             (i / 4 == j / 4 || i / 4 == j / 4 + 1) && (!causal || j <= i));
    }
    /* the queries are the last 60 of 100 tokens */
    const rapt_pattern p = {.struct_size = sizeof p, .kind = RAPT_PATTERN_CHUNKS, .nq = 60, .nk = 100, .heads = 1, .block = 10,
                            .chunk = 3, .after = 1};
    const rapt_tensor t = fill(&p);
    EACH(t, h, i, j)
        assert_int_equal(at(&t, (uint64_t)h, (uint64_t)i, (uint64_t)j), j / 3 == (i + 4) / 3 || j / 3 == (i + 4) / 3 + 1);
}

static void strided(void **state)
{
    (void)state;
    const rapt_pattern p = {.struct_size = sizeof p, .kind = RAPT_PATTERN_STRIDED, .nq = 300, .nk = 300, .heads = 4, .block = 10,
                            .local = 3, .stride = 8};
    const rapt_tensor t = fill(&p);
    EACH(t, h, i, j)
        assert_int_equal(at(&t, (uint64_t)h, (uint64_t)i, (uint64_t)j), j <= i && (i - j < 3 || (j + h * 2 + 1) % 8 == 0));
    /* as many heads as the stride: together they see everything that is causal */
    const rapt_pattern all = {.struct_size = sizeof all, .kind = RAPT_PATTERN_STRIDED, .nq = 160, .nk = 160, .heads = 8,
                              .block = 10, .local = 1, .stride = 8};
    const rapt_tensor u = fill(&all);
    for (uint64_t i = 0; i < 16; i++)
        for (uint64_t j = 0; j < 16; j++) {
            unsigned seen = 0;
            for (uint64_t h = 0; h < 8; h++)
                seen += at(&u, h, i, j);
            assert_int_equal(seen, j > i ? 0 : i == j ? 8 : 1);
        }
}

static void dilated(void **state)
{
    (void)state;
    const rapt_pattern p = {.struct_size = sizeof p, .kind = RAPT_PATTERN_DILATED, .nq = 200, .nk = 200, .heads = 3, .block = 10,
                            .local = 2, .stride = 3};
    const rapt_tensor t = fill(&p);
    unsigned seen[20][20] = {{0}};
    EACH(t, h, i, j) {
        const bool shown = i == j || (abs(i - j) <= 6 && (i - j + h + 300) % 3 == 0);
        assert_int_equal(at(&t, (uint64_t)h, (uint64_t)i, (uint64_t)j), shown);
        seen[i][j] += shown;
    }
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < 20; j++)
            assert_int_equal(seen[i][j] > 0, abs(i - j) <= 6);
}

/* The rule of pattern.h for one pair of tokens. */
static bool radial_pair(int frame, int q, int k)
{
    const int i = q / frame, j = k / frame, apart = abs(i - j), inside = abs(q % frame - k % frame);
    const double e = pow(2, floor(log2(apart > 1 ? apart : 1)));
    return j == 0 || (e <= frame && inside + 1 <= frame / e) || (apart % (int)ceil(e / frame) == 0 && inside == 0);
}

static void radial(void **state)
{
    (void)state;
    static const struct {
        uint32_t tokens, frame, block, causal;
    } cases[] = {{60, 5, 1, 0}, {63, 3, 1, 1}, {64, 2, 1, 0}, {60, 6, 4, 0}, {64, 7, 10, 1}, {40, 64, 8, 0}, {60, 1, 1, 0}};
    for (size_t n = 0; n < RAPT_COUNT(cases); n++) {
        const int frame = (int)cases[n].frame, block = (int)cases[n].block, tokens = (int)cases[n].tokens;
        const rapt_pattern p = {.struct_size = sizeof p, .kind = RAPT_PATTERN_RADIAL, .nq = cases[n].tokens, .nk = cases[n].tokens,
                                .heads = 1, .block = cases[n].block, .frame = cases[n].frame, .causal = cases[n].causal};
        const rapt_tensor t = fill(&p);
        unsigned shown = 0;
        EACH(t, h, i, j) {
            bool want = false;
            for (int q = i * block; q < tokens && q < (i + 1) * block; q++)
                for (int k = j * block; k < tokens && k < (j + 1) * block; k++)
                    want = want || radial_pair(frame, q, k);
            want = want && (!cases[n].causal || j <= i);
            if (at(&t, (uint64_t)h, (uint64_t)i, (uint64_t)j) != want)
                fail_msg("case %u: block %d of queries, %d of keys", (unsigned)n, i, j);
            shown += want;
        }
        assert_true(shown > 0 && (n > 2 || shown < t.size[2] * t.size[3]));
    }
}

static void spans(void **state)
{
    (void)state;
    const float alpha[3] = {0, 25, 1e9f}, beta[3] = {0.25f, 0, 1};
    const rapt_pattern p = {.struct_size = sizeof p, .kind = RAPT_PATTERN_SPANS, .nq = 200, .nk = 200, .heads = 3, .block = 10,
                            .global = 1, .alpha = alpha, .beta = beta};
    const rapt_tensor t = fill(&p);
    static const int blocks[3] = {5, 3, 20}; /* 50, 25 and all 200 tokens */
    EACH(t, h, i, j)
        assert_int_equal(at(&t, (uint64_t)h, (uint64_t)i, (uint64_t)j), j <= i && (j < 1 || i - j < blocks[h]));
}

static void prefix(void **state)
{
    (void)state;
    const rapt_pattern p = {.struct_size = sizeof p, .kind = RAPT_PATTERN_PREFIX, .nq = 195, .nk = 195, .heads = 2, .block = 10,
                            .global = 2, .local = 3};
    const rapt_tensor t = fill(&p);
    EACH(t, h, i, j)
        assert_int_equal(at(&t, (uint64_t)h, (uint64_t)i, (uint64_t)j), j < 2 || i < 2 || abs(i - j) < 3);
}

static void bad_patterns(void **state)
{
    (void)state;
    const float good[2] = {1, 1}, bad[2] = {1, -1};
    const rapt_pattern base = {.struct_size = sizeof base, .nq = 40, .nk = 40, .heads = 2, .block = 8, .chunk = 1, .stride = 1,
                               .frame = 4, .alpha = good, .beta = good};
    rapt_error error = {0};
    rapt_tensor t;
#define REFUSED(part, change)                                                                                \
    do {                                                                                                     \
        rapt_pattern p = base;                                                                               \
        change;                                                                                              \
        assert_int_equal(rapt_pattern_fill(&p, mask, 50, &error), RAPT_ERROR_INVALID);                       \
        if (strstr(error.message, part) == NULL)                                                             \
            fail_msg("%s: %s", part, error.message);                                                         \
    } while (0)
    assert_int_equal(rapt_pattern_fill(&base, mask, 50, &error), RAPT_OK);
    assert_int_equal(rapt_pattern_fill(&base, mask, 49, &error), RAPT_ERROR_INVALID);
    assert_int_equal(rapt_pattern_tensor(NULL, &t, &error), RAPT_ERROR_INVALID);
    REFUSED("struct_size", p.struct_size = 8);
    REFUSED("pattern 6, of 6", p.kind = RAPT_PATTERN_COUNT);
    REFUSED("heads is 0", p.heads = 0);
    REFUSED("block is 0", p.block = 0);
    REFUSED("chunks: chunk is 0", p.chunk = 0);
    REFUSED("strided: stride is 0", (p.kind = RAPT_PATTERN_STRIDED, p.stride = 0));
    REFUSED("radial: frame is 0", (p.kind = RAPT_PATTERN_RADIAL, p.frame = 0));
    REFUSED("as many of both", (p.kind = RAPT_PATTERN_RADIAL, p.nq = 32));
    REFUSED("whole blocks", p.nq = 33);
    REFUSED("of head 1", (p.kind = RAPT_PATTERN_SPANS, p.beta = bad));
    REFUSED("nk is", p.nk = 1ull << 40);
#undef REFUSED
    assert_string_equal(rapt_pattern_name(RAPT_PATTERN_RADIAL), "radial");
    assert_string_equal(rapt_pattern_name((rapt_pattern_kind)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks), cmocka_unit_test(strided), cmocka_unit_test(dilated), cmocka_unit_test(radial),
        cmocka_unit_test(spans),  cmocka_unit_test(prefix),  cmocka_unit_test(bad_patterns),
    };
    return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
