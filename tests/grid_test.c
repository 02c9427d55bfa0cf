/* Neighbourhoods of a grid without a device: what is seen, how it is tiled and counted, and what is refused.
 */
#include "check/cases_grid.h"
#include "check/oracle_grid.h"
#include "plan/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t places_of(const rapt_grid *g)
{
    uint64_t n = 1;
    for (uint32_t axis = 0; axis < g->rank; axis++)
        n *= g->size[axis];
    return n;
}

static rapt_grid canonical(const rapt_grid *given)
{
    rapt_grid g;
    rapt_error error = {0};
    assert_int_equal(rapt_grid_check(given, places_of(given), &g, &error), RAPT_OK);
    return g;
}

/* The definition agrees with the oracle's formula, and the pairs are those that are seen. */
static void sees_as_the_oracle_does(void **state)
{
    (void)state;
    rapt_random random = {5};
    for (unsigned n = 0; n < 300; n++) {
        const rapt_case c = rapt_grid_case_random(&random);
        const rapt_grid g = canonical(&c.grid);
        uint64_t pairs = 0;
        for (uint64_t i = 0; i < c.nq; i++)
            for (uint64_t j = 0; j < c.nk; j++) {
                const bool seen = rapt_grid_sees(&g, i, j);
                pairs += seen;
                if (seen != rapt_check_grid_sees(&c.grid, i, j))
                    fail_msg("grid %u: query %u, key %u", n, (unsigned)i, (unsigned)j);
            }
        assert_true(pairs == rapt_grid_pairs(&g) && (double)pairs == rapt_check_grid_pairs(&c.grid));
    }
}

/* The published rule for odd kernels without strides: the kernel_size nearest places of the group, and at a
 * border as many. */
static void is_nattens_rule(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 40; n++)
        for (uint32_t k = 1; k <= n; k += 2)
            for (uint32_t d = 1; k * d <= n; d++) {
                const rapt_grid given = {1, {n}, {k}, {d}};
                for (uint32_t x = 0; x < n; x++) {
                    const uint32_t group = x % d, m = (n - group + d - 1) / d, y = x / d;
                    const uint32_t first = y < k / 2 ? 0 : y + k / 2 >= m ? m - k : y - k / 2;
                    for (uint32_t j = 0; j < n; j++)
                        assert_int_equal(rapt_check_grid_sees(&given, x, j),
                                         j % d == group && j / d >= first && j / d < first + k);
                }
            }
}

/* Places of a group along an axis, as indices of the axis. */
static uint32_t at(const rapt_grid *g, unsigned axis, uint32_t residue, uint32_t y)
{
    return residue + y * g->dilation[axis];
}

typedef struct counted {
    uint64_t tiles, key_tiles;
    bool whole;
} counted;

/* One tile: the smallest box that holds all keys that its queries see by the oracle, counted key by key. */
static void count_tile(const rapt_grid *given, const rapt_grid *g, const uint32_t residue[3],
                       const uint32_t first[3], const uint32_t box[3], uint32_t keys_per_tile, counted *c)
{
    uint32_t low[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX}, high[3] = {0, 0, 0}, q[3], k[3], m[3];
    uint64_t queries = 0, seen = 0;
    c->tiles++;
    for (unsigned axis = 0; axis < 3; axis++) {
        m[axis] = rapt_grid_length(g, axis, residue[axis]);
        if (first[axis] >= m[axis])
            return;
    }
    for (q[0] = first[0]; q[0] < RAPT_MIN(first[0] + box[0], m[0]); q[0]++)
        for (q[1] = first[1]; q[1] < RAPT_MIN(first[1] + box[1], m[1]); q[1]++)
            for (q[2] = first[2]; q[2] < RAPT_MIN(first[2] + box[2], m[2]); q[2]++) {
                queries++;
                for (k[0] = 0; k[0] < m[0]; k[0]++)
                    for (k[1] = 0; k[1] < m[1]; k[1]++)
                        for (k[2] = 0; k[2] < m[2]; k[2]++) {
                            uint64_t i = 0, j = 0;
                            for (unsigned axis = 0; axis < 3; axis++) {
                                i = i * g->size[axis] + at(g, axis, residue[axis], q[axis]);
                                j = j * g->size[axis] + at(g, axis, residue[axis], k[axis]);
                            }
                            if (!rapt_check_grid_sees(given, i, j))
                                continue;
                            seen++;
                            for (unsigned axis = 0; axis < 3; axis++) {
                                low[axis] = RAPT_MIN(low[axis], k[axis]);
                                high[axis] = RAPT_MAX(high[axis], k[axis]);
                            }
                        }
            }
    uint64_t keys = 1;
    for (unsigned axis = 0; axis < 3; axis++)
        keys *= high[axis] - low[axis] + 1;
    c->key_tiles += (keys + keys_per_tile - 1) / keys_per_tile;
    c->whole = c->whole && keys % keys_per_tile == 0 && seen == keys * queries;
}

static counted count_tiles(const rapt_grid *given, const rapt_grid *g, const rapt_grid_tiling *t,
                           uint32_t keys_per_tile)
{
    counted c = {0, 0, true};
    uint32_t r[3], n[3];
    for (r[0] = 0; r[0] < g->dilation[0]; r[0]++)
        for (r[1] = 0; r[1] < g->dilation[1]; r[1]++)
            for (r[2] = 0; r[2] < g->dilation[2]; r[2]++)
                for (n[0] = 0; n[0] < t->tiles[0]; n[0]++)
                    for (n[1] = 0; n[1] < t->tiles[1]; n[1]++)
                        for (n[2] = 0; n[2] < t->tiles[2]; n[2]++)
                            count_tile(
                                given, g, r,
                                (const uint32_t[]){n[0] * t->box[0], n[1] * t->box[1], n[2] * t->box[2]},
                                t->box, keys_per_tile, &c);
    return c;
}

static void counts_visited_tiles(void **state)
{
    (void)state;
    static const uint32_t tiles[][2] = {{32, 4}, {24, 3}, {8, 2}, {32, 32}, {16, 64}, {4, 1}};
    rapt_random random = {11};
    for (unsigned n = 0; n < 120; n++) {
        const rapt_case c = rapt_grid_case_random(&random);
        const rapt_grid g = canonical(&c.grid);
        const uint32_t rows = tiles[n % 6][0], keys = tiles[n % 6][1];
        rapt_grid_tiling t;
        rapt_grid_tile(&g, rows, keys, &t);
        assert_int_equal(t.box[0] * t.box[1] * t.box[2], rows);
        const counted want = count_tiles(&c.grid, &g, &t, keys);
        assert_true(t.tile_count == want.tiles && t.key_tiles == want.key_tiles && t.whole == want.whole);
    }
}

/* Tokens of tiles lie in the ranges told for them; of few tiles of one group the ranges are narrow. */
static void ranges_hold_their_tiles(void **state)
{
    (void)state;
    rapt_random random = {17};
    unsigned narrow = 0;
    for (unsigned n = 0; n < 100; n++) {
        const rapt_case c = rapt_grid_case_random(&random);
        const rapt_grid g = canonical(&c.grid);
        rapt_grid_tiling t;
        rapt_grid_tile(&g, 8, 2, &t);
        const uint64_t tile0 = rapt_random_below(&random, t.tile_count);
        const uint64_t tile1 = tile0 + 1 + rapt_random_below(&random, RAPT_MIN(t.tile_count - tile0, 5));
        const rapt_grid_range r = rapt_grid_tokens(&g, &t, tile0, tile1);
        assert_true(r.q0 < r.q1 && r.q1 <= c.nq && r.k0 < r.k1 && r.k1 <= c.nk);
        narrow += r.k1 - r.k0 < c.nk;
        for (uint64_t tile = tile0; tile < tile1; tile++) {
            uint64_t rest = tile;
            uint32_t first[3], residue[3];
            for (unsigned axis = 3; axis-- > 0; rest /= t.tiles[axis])
                first[axis] = (uint32_t)(rest % t.tiles[axis]) * t.box[axis];
            for (unsigned axis = 3; axis-- > 0; rest /= g.dilation[axis])
                residue[axis] = (uint32_t)(rest % g.dilation[axis]);
            for (uint32_t row = 0; row < 8; row++) {
                const uint32_t in[3] = {row / t.box[2] / t.box[1], row / t.box[2] % t.box[1], row % t.box[2]};
                uint64_t i = 0;
                bool exists = true;
                for (unsigned axis = 0; axis < 3; axis++) {
                    exists = exists && first[axis] + in[axis] < rapt_grid_length(&g, axis, residue[axis]);
                    i = i * g.size[axis] + at(&g, axis, residue[axis], first[axis] + in[axis]);
                }
                assert_true(!exists || (i >= r.q0 && i < r.q1));
                for (uint64_t j = 0; j < c.nk && exists; j++)
                    assert_true((j >= r.k0 && j < r.k1) || !rapt_grid_sees(&g, i, j));
            }
        }
    }
    assert_true(narrow > 20);
}

/* Perfectly block-sparse: a stride equal to the kernel, tiled by the blocks, visits what is seen and nothing
 * else. */
static void blocks_are_whole(void **state)
{
    (void)state;
    const rapt_grid given = {2, {64, 64}, {8, 8}, {1, 1}, {8, 8}};
    const rapt_grid g = canonical(&given);
    rapt_grid_tiling t;
    rapt_grid_tile(&g, 32, 4, &t);
    assert_true(t.whole && t.tile_count == 128 && t.key_tiles == 128 * 16 && t.most_key_tiles == 16);
    assert_true(t.key_tiles * 4 * 32 == rapt_grid_pairs(&g));
    /* A window of 7 x 7 in boxes of 4 x 8: the interior ones visit 10 x 14 keys. */
    const rapt_grid sliding = canonical(&(rapt_grid){2, {64, 64}, {7, 7}});
    rapt_grid_tile_as(&sliding, (const uint32_t[]){1, 4, 8}, 4, &t);
    assert_true(!t.whole && t.tile_count == 128 && t.most_key_tiles == 35);
}

/* Ends soon, whatever the lengths, and still tiles everything. */
static void tiles_what_is_large(void **state)
{
    (void)state;
    const rapt_grid grids[] = {
        {1, {1u << 29}, {1u << 28}, {2}, {3}, 1},
        {2, {1u << 28, 2}, {1u << 27, 1}, {1, 2}, {1u << 20, 1}, 1},
        {3, {1u << 10, 1u << 10, 1u << 9}, {1u << 9, 1u << 9, 1u << 8}, {1, 1, 1}, {1, 1, 1}, 7}};
    for (size_t n = 0; n < RAPT_COUNT(grids); n++) {
        const rapt_grid g = canonical(&grids[n]);
        rapt_grid_tiling t;
        rapt_grid_tile(&g, 32, 4, &t);
        assert_true(t.tile_count * 32 >= places_of(&grids[n]) && t.key_tiles >= t.tile_count);
        assert_true(rapt_grid_pairs(&g) >= places_of(&grids[n]));
    }
}

static rapt_attention_desc describe(const rapt_grid *g, uint64_t tokens)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = d.k = d.v = d.out = rapt_tensor_bhnd(RAPT_F32, 1, 2, tokens, 64);
    d.grid = *g;
    return d;
}

static void expect_refusal(const rapt_attention_desc *d, const char *words)
{
    rapt_problem p;
    rapt_error error = {0};
    assert_int_equal(rapt_attention_problem(d, &p, &error), RAPT_ERROR_INVALID);
    if (strstr(error.message, words) == NULL)
        fail_msg("'%s' says nothing of '%s'", error.message, words);
}

static void refuses_bad_grids(void **state)
{
    (void)state;
    static const struct {
        rapt_grid grid;
        uint64_t tokens;
        const char *words;
    } bad[] = {
        {{4, {1, 1, 1}, {1, 1, 1}}, 1, "rank 4, must be 1 to 3"},
        {{2, {5, 7}, {3, 0}}, 35, "kernel size of axis 1 is 0"},
        {{2, {5, 7}, {3, 8}}, 35, "kernel size 8 times dilation 1 of axis 1 is more than its length 7"},
        {{2, {5, 7}, {3, 3}, {2, 1}},
         35,
         "kernel size 3 times dilation 2 of axis 0 is more than its length 5"},
        {{2, {5, 7}, {3, 3}, {1, 1}, {1, 4}}, 35, "stride 4 of axis 1 is more than its kernel size 3"},
        {{1, {UINT32_MAX}, {UINT32_MAX}, {UINT32_MAX}}, 35, "more than its length"},
        {{2, {5, 7}, {3, 3}}, 36, "come to 35 places, but nq and nk are 36"},
        {{3, {1u << 31, 1u << 31, 1u << 31}, {1, 1, 1}}, 36, "places"},
        {{1, {5}, {3}, {1}, {1}, 2}, 5, "causal axes 0x2 of a grid of 1"},
        {{1, {0}, {1}}, 0, "more than its length 0"},
    };
    for (size_t n = 0; n < RAPT_COUNT(bad); n++) {
        const rapt_attention_desc d = describe(&bad[n].grid, bad[n].tokens);
        expect_refusal(&d, bad[n].words);
    }
    const rapt_attention_desc good = describe(&(rapt_grid){2, {5, 7}, {3, 3}}, 35);
    rapt_attention_desc d = good;
    d.flags = RAPT_ATTENTION_CAUSAL;
    expect_refusal(&d, "RAPT_ATTENTION_CAUSAL");
    d.flags = RAPT_ATTENTION_WINDOW;
    expect_refusal(&d, "RAPT_ATTENTION_WINDOW");
    d = good;
    d.sequences = 1;
    expect_refusal(&d, "packed sequences");
    d = good;
    d.alibi = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {2}, .stride = {1}};
    expect_refusal(&d, "alibi");
    d = good;
    d.key_splits = 2;
    expect_refusal(&d, "key_splits");
    d = good;
    d.k.size[2] = d.v.size[2] = 34;
    expect_refusal(&d, "35 and 34");
}

/* What is left out is 1, and equal grids are equal problems. */
static void fills_in_defaults(void **state)
{
    (void)state;
    rapt_problem a, b;
    const rapt_attention_desc x = describe(&(rapt_grid){2, {5, 7}, {3, 3}}, 35);
    const rapt_attention_desc y = describe(&(rapt_grid){2, {5, 7, 9}, {3, 3, 9}, {1, 1, 9}, {1, 1, 9}}, 35);
    assert_int_equal(rapt_attention_problem(&x, &a, NULL), RAPT_OK);
    assert_int_equal(rapt_attention_problem(&y, &b, NULL), RAPT_OK);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.flops == 2ull * 2 * 128 * 35 * 9);
}

/* On every class of device some row takes a grid; every other row, matrix units included, says why not. */
static void every_class_has_a_row(void **state)
{
    (void)state;
    const rapt_attention_desc d = describe(&(rapt_grid){2, {20, 30}, {7, 7}}, 600);
    for (unsigned class = 0; class < RAPT_CLASS_COUNT; class ++) {
        rapt_caps caps;
        rapt_caps_floor(&caps);
        caps.device_class = (rapt_device_class) class;
        rapt_problem problem;
        rapt_error error = {0};
        rapt_plan plan = {.allocator = rapt_allocator_default()};
        assert_int_equal(rapt_attention_problem(&d, &problem, &error), RAPT_OK);
        assert_int_equal(rapt_plan_make(&plan, &problem, &caps, rapt_kernels(), NULL, &error), RAPT_OK);
        assert_true(plan.pipelines[0].row->supports & RAPT_ROW_GRID);
        assert_true(plan.grid.tile_count * plan.pipelines[0].row->rows_per_tile >= 600);
        for (uint32_t i = 0; i < plan.candidate_count; i++) {
            const rapt_candidate *c = &plan.candidates[i];
            if (c->row != NULL && !(c->row->supports & RAPT_ROW_GRID))
                assert_true(c->reason[0] != 0 || c->row->family == RAPT_FAMILY_MERGE);
        }
        rapt_plan_clear(&plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sees_as_the_oracle_does), cmocka_unit_test(is_nattens_rule),
        cmocka_unit_test(counts_visited_tiles), cmocka_unit_test(ranges_hold_their_tiles),    cmocka_unit_test(blocks_are_whole),
        cmocka_unit_test(tiles_what_is_large),     cmocka_unit_test(refuses_bad_grids),
        cmocka_unit_test(fills_in_defaults),       cmocka_unit_test(every_class_has_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
