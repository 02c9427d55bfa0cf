/* Block masks and lists of tiles: what is refused, and whether the lists that the device makes name the very tiles that have a
 * visible key, counted pair by pair. Results are checked as all others are (check/cases.c, and user_test.c for mask_mod).
 * RAPT_TEST_COMPILER is librapt_compiler. */
#include "rig.h"

#include "check/problem.h"
#include "plan/plan.h"

static rig the_rig;

/* ---- lists, read back ---- */

static bool near_diagonal(const rapt_check_user *user, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)user;
    return k + 20 * (h + 1) >= q && k <= q + 7 + 5 * b;
}

static const rapt_check_user near_user = {
    .mask_text = {"bool mask_mod(uint b, uint h, uint q, uint k) { return k + 20u * (h + 1u) >= q && k <= q + 7u + 5u * b; }"},
    .mask_mod = near_diagonal,
    .tile_lists = RAPT_TILE_LISTS_ALWAYS,
};

static bool pair_visible(const rapt_check_problem *p, uint64_t b, uint64_t h, uint64_t i, uint64_t j)
{
    const rapt_case *c = &p->c;
    const rapt_tensor *m = &p->desc.block_mask;
    const uint64_t nq = c->sequences ? c->length_q[b] : c->nq, nk = c->sequences ? c->length_k[b] : c->nk;
    const rapt_check_inputs in = rapt_check_problem_inputs(p);
    if (!rapt_check_attention_sees(&p->desc, i, nq, nk, j) || (p->user && !p->user->mask_mod(p->user, b, h, i, j)))
        return false;
    if (!c->blocks)
        return true;
    const int64_t at = (m->size[0] > 1 ? (int64_t)b * m->stride[0] : 0) + (m->size[1] > 1 ? (int64_t)h * m->stride[1] : 0) +
                       (int64_t)(i / c->block_q) * m->stride[2] + (int64_t)(j / c->block_k);
    return in.block_mask[at] != 0;
}

/* Pairs of one tile of a head group: how many there are (rows that do not exist have none), and how many are visible. */
static void count_pairs(const rapt_check_problem *p, const rapt_plan *plan, uint64_t b, uint64_t group, uint64_t tile,
                        uint64_t key_tile, uint64_t *all, uint64_t *visible)
{
    const rapt_case *c = &p->c;
    const rapt_list_layout *l = &plan->lists;
    const uint64_t nq = c->sequences ? c->length_q[b] : c->nq, nk = c->sequences ? c->length_k[b] : c->nk;
    *all = *visible = 0;
    for (uint64_t row = tile * l->rows; row < (tile + 1) * l->rows && row < nq * plan->group; row++)
        for (uint64_t j = key_tile * l->keys; j < (key_tile + 1) * l->keys; j++) {
            const uint64_t head = group * plan->group + row % plan->group;
            ++*all;
            *visible += j < nk && pair_visible(p, b, head * c->q_heads / p->heads, row / plan->group, j);
        }
}

/* Compares every list with a count of pairs; the number of visited tiles, and of all. */
static void compare_lists(const rapt_check_problem *p, const rapt_plan *plan, const uint32_t *words, uint64_t *visited,
                          uint64_t *tiles)
{
    const rapt_list_layout *l = &plan->lists;
    *visited = *tiles = 0;
    for (uint64_t b = 0; b < l->batch; b++)
        for (uint64_t g = 0; g < l->groups; g++)
            for (uint64_t t = 0; t < l->tiles; t++) {
                const uint32_t *list = words + l->first + b * l->stride_b + g * l->stride_g + t * l->pitch;
                const uint64_t key_tiles = rapt_div_up(p->c.sequences ? p->desc.max_seqlen_k : p->c.nk, l->keys);
                uint32_t spans = list[0], next = 0;
                assert_true(1 + 3ull * spans <= l->pitch);
                for (uint64_t k = 0; k < key_tiles; k++) {
                    while (next < spans && list[1 + 3 * next] < k / 32)
                        next++;
                    const uint32_t *span = next < spans && list[1 + 3 * next] == k / 32 ? &list[1 + 3 * next] : NULL;
                    const bool listed = span && (span[1] >> k % 32 & 1), whole = span && (span[2] >> k % 32 & 1);
                    uint64_t all, visible;
                    count_pairs(p, plan, b, g, t, k, &all, &visible);
                    if (listed != (visible > 0) || (listed && whole != (visible == all)))
                        fail_msg("%s: batch %u, group %u, tile %u, keys of tile %u: %s, %s; %u of %u pairs are visible",
                                 p->c.name, (unsigned)b, (unsigned)g, (unsigned)t, (unsigned)k, listed ? "listed" : "left out",
                                 whole ? "whole" : "in part", (unsigned)visible, (unsigned)all);
                    *visited += listed;
                    *tiles += all > 0;
                }
            }
}

static const struct {
    rapt_case c;
    bool user;
} listed[] = {
#define SHAPE(b, hq, hkv, q, k, d)                                                                           \
    .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = q, .nk = k, .d_qk = d, .d_v = d, .seed = 5
    {{"aligned", SHAPE(1, 2, 2, 128, 256, 32), .dtype = RAPT_F32, .blocks = 3, .block_q = 32, .block_k = 64}, false},
    {{"odd", SHAPE(2, 2, 1, 101, 203, 32), .dtype = RAPT_F32, .blocks = 1, .block_q = 7, .block_k = 5}, false},
    {{"causal", SHAPE(1, 2, 2, 130, 190, 32), .dtype = RAPT_F32, .causal = true, .causal_offset = -11, .blocks = 2,
      .block_q = 24, .block_k = 40},
     false},
    {{"window", SHAPE(1, 2, 2, 150, 333, 32), .dtype = RAPT_F32, .window = true, .window_left = 40, .window_right = 9,
      .blocks = 2, .block_q = 50, .block_k = 30},
     false},
    {{"large blocks", SHAPE(1, 2, 2, 70, 300, 32), .dtype = RAPT_F32, .blocks = 2, .block_q = 1000, .block_k = 100}, false},
    {{"packed heads", SHAPE(2, 8, 2, 3, 500, 64), .dtype = RAPT_F32, .blocks = 1, .block_q = 1, .block_k = 16}, false},
    {{"split", SHAPE(1, 2, 2, 40, 700, 32), .dtype = RAPT_F32, .blocks = 3, .block_q = 16, .block_k = 33, .key_splits = 3}, false},
    {{"packed sequences", SHAPE(1, 2, 2, 100, 120, 32), .dtype = RAPT_F32, .causal = true, .blocks = 1, .block_q = 9,
      .block_k = 12, .sequences = 3, .length_q = {60, 0, 40}, .length_k = {50, 30, 40}},
     false},
    {{"mask_mod", SHAPE(2, 2, 2, 133, 257, 32), .dtype = RAPT_F32}, true},
    {{"mask_mod, packed heads", SHAPE(2, 4, 2, 5, 257, 32), .dtype = RAPT_F32, .causal = true}, true},
    {{"mask_mod and blocks", SHAPE(2, 2, 2, 70, 157, 32), .dtype = RAPT_F32, .causal = true, .blocks = 2, .block_q = 10,
      .block_k = 11},
     true},
};

/* With the row that makes lists on software devices, and with the one for GPUs. */
static void check_lists(bool wide)
{
    static char chosen[RAPT_COUNT(listed)][64]; /* by the device as it is: without a probe, none that hangs may be */
    /* Without a probe where it is taken for hardware: that is given seconds, and a software device compiles late. */
    rig_open(&the_rig, &(rig_options){.compiler = getenv("RAPT_TEST_COMPILER"), .no_probe = wide});
    if (wide)
        the_rig.device->caps.device_class = RAPT_CLASS_OTHER;
    /* SwiftShader takes a minute to compile the second one. */
    const size_t count = strstr(the_rig.device->caps.device_name, "SwiftShader") ? 1 : 2;
    for (size_t i = 0; i < RAPT_COUNT(listed); i++)
        for (size_t k = 0; k < count; k++) {
            const char *kernel = k > 0 ? "tile-r3-f32-d64" : wide ? chosen[i] : NULL;
            rapt_check_problem p;
            rapt_trial t;
            uint64_t visited, tiles;
            assert_true(rapt_check_problem_make_user(&listed[i].c, listed[i].user ? &near_user : NULL, 0, &p));
            RIG_OK(rapt_trial_open(the_rig.device, &p, kernel, &t, error));
            assert_true(t.plan->lists.listed);
            if (k == 0 && !wide)
                snprintf(chosen[i], sizeof chosen[i], "%s", t.info.kernel);
            const char *row = t.plan->pipelines[t.plan->pipeline_count - 1].base->name;
            if (wide || the_rig.device->caps.device_class == RAPT_CLASS_SOFTWARE)
                assert_string_equal(row, wide ? "tiles-wide" : "tiles");
            RIG_OK(rapt_trial_submit(&t, NULL, NULL, error));
            uint32_t *words = malloc(t.info.workspace_bytes);
            uint64_t offset = 0;
            for (uint32_t s = 0; s < t.plan->slot_count; s++)
                if (t.plan->slots[s].role == RAPT_ROLE_EXTRA)
                    offset = t.plan->slots[s].offset;
            assert_non_null(words);
            RIG_OK(rapt_buffer_download(t.workspace, 0, words, t.info.workspace_bytes, error));
            compare_lists(&p, t.plan, words + offset / 4, &visited, &tiles);
            if (k == 0 && !wide)
                print_message("  %-24s %llu of %llu tiles\n", listed[i].c.name, (unsigned long long)visited,
                              (unsigned long long)tiles);
            const bool narrow = strncmp(t.info.kernel, "broadcast", 9) == 0; /* other kernels' tiles are larger */
            assert_true(visited > 0 && (visited < tiles || !narrow || wide));
            free(words);
            rapt_trial_close(&t);
            rapt_check_problem_free(&p);
        }
    rig_close(&the_rig);
}

static void test_lists(void **state)
{
    (void)state;
    check_lists(false);
}

static void test_wide_lists(void **state)
{
    (void)state;
    check_lists(true);
}

/* Slices that begin in the middle of the queries find their own lists. */
static void test_slices(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.compiler = getenv("RAPT_TEST_COMPILER")});
    for (size_t i = 0; i < RAPT_COUNT(listed); i++) {
        rapt_check_problem p;
        rapt_trial t;
        assert_true(rapt_check_problem_make_user(&listed[i].c, listed[i].user ? &near_user : NULL, 1, &p));
        p.desc.slice_ms = 1e-6f;
        RIG_OK(rapt_trial_open(the_rig.device, &p, NULL, &t, error));
        assert_true(t.plan->lists.listed && t.info.slices > 1);
        const rapt_result r = rapt_trial_check(&t, 0);
        if (r.verdict != RAPT_CHECK_PASS)
            fail_msg("%s: %s%s", listed[i].c.name, r.message, r.error.message);
        rapt_trial_close(&t);
        rapt_check_problem_free(&p);
    }
    rig_close(&the_rig);
}

/* ---- plans ---- */

static rapt_attention_desc desc_with_blocks(uint64_t lines, uint64_t pitch)
{
    rapt_attention_desc d = rig_desc(RAPT_F32, 2, 4, 2, 100, 200, 64, false);
    d.block_q = 32;
    d.block_k = 64;
    d.block_mask = (rapt_tensor){.dtype = RAPT_I32, .rank = 4, .size = {1, 4, lines, pitch},
                                 .stride = {0, (int64_t)(lines * pitch), (int64_t)pitch, 1}};
    return d;
}

static void refused(const rapt_attention_desc *d, const char *part)
{
    rapt_problem p;
    RIG_FAILS(rapt_attention_problem(d, &p, error), RAPT_ERROR_INVALID, part);
}

static void test_bad_masks(void **state)
{
    (void)state;
    rapt_problem p;
    rapt_attention_desc d = desc_with_blocks(4, 4);
    RIG_OK(rapt_attention_problem(&d, &p, error));
    assert_true(p.blocks && p.extra[RAPT_X_BLOCKS].bytes == 4 * 16 * 4 && !rapt_problem_is_tunable(&p));
    d = desc_with_blocks(3, 4);
    refused(&d, "(2 or 1, 4 or 1, 4, 4) with blocks of 32 x 64; (1, 4, 3, 4) does not fit");
    d = desc_with_blocks(4, 4);
    d.block_mask.size[1] = 2;
    refused(&d, "does not fit");
    d.block_mask.size[1] = 1;
    d.block_mask.size[0] = 2;
    RIG_OK(rapt_attention_problem(&d, &p, error));
    d.block_mask.stride[0] = -1;
    refused(&d, "negative stride -1");
    d.block_mask.stride[0] = INT64_MAX;
    refused(&d, "overflows");
    d = desc_with_blocks(4, 4);
    d.block_mask.stride[2] = 5;
    refused(&d, "strides 5 and 1 of its last axes, must be 4 and 1");
    d = desc_with_blocks(4, 4);
    d.block_mask.align = 3;
    refused(&d, "align 3");
    d.block_mask.align = 0;
    d.block_mask.dtype = RAPT_F32;
    refused(&d, "block_mask is f32 of rank 4");
    d.block_mask.dtype = RAPT_I32;
    d.block_k = 0;
    refused(&d, "block_k is 0");
    d.block_k = (1u << 29) + 1;
    refused(&d, "must be 1 to 2^29");
    d = rig_desc(RAPT_F32, 1, 1, 1, 10, 10, 64, false);
    d.block_q = 3;
    refused(&d, "go with block_mask");
    d.block_q = 0;
    d.tile_lists = (rapt_tile_lists)3;
    refused(&d, "tile_lists is 3");
}

/* When mask_mod alone makes lists: as rapt_tile_lists says. */
static void test_choice(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    for (unsigned n = 0; n < 6; n++) {
        rapt_plan *plan;
        rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, n == 1 ? 127 : 128, n == 2 ? 255 : 256, 64, false);
        d.mask_mod[0] = near_user.mask_text[0];
        d.tile_lists = n == 3 ? RAPT_TILE_LISTS_NEVER : n == 4 ? RAPT_TILE_LISTS_ALWAYS : RAPT_TILE_LISTS_CHOOSE;
        for (unsigned u = 0; u < 3 && n >= 4; u++) /* the floor's 8 buffers are then too few */
            d.user[u] = (rapt_user_buffer){u == 0 ? "one" : u == 1 ? "two" : "three", RAPT_F32, 4};
        if (n == 4) {
            RIG_FAILS(rapt_attention_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED,
                      "needs 9 storage buffers with those of the user, the device has 8");
            continue;
        }
        RIG_OK(rapt_attention_plan_for_caps(&caps, &d, &plan, error));
        assert_int_equal(plan->lists.listed, n == 0);
        rapt_plan_destroy(&plan);
    }
}

/* Lists are shared by what the mask_mod does not name. */
static void test_shared_lists(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool batch, head;
    } masks[] = {
        {"bool mask_mod(uint b, uint h, uint q, uint k) { return k <= q; }", false, false},
        {"bool mask_mod ( uint b,uint h,uint q,uint k ){ return k <= q + h; }", false, true},
        {"bool mask_mod(uint b, uint h, uint q, uint k) { return k <= q + b; }", true, false},
        {"bool mask_mod(uint batch, uint the_head, uint q, uint k) { return batch < k || the_head < q; }", true, true},
        {"bool mask_mod(uint b, uint bh, uint q, uint k) { return k <= q + b; } // bh", true, false},
        {"bool far(uint h, uint k) { return h < k; } bool mask_mod(uint b, uint h, uint q, uint k) { return far(q, k); }", false,
         true},
        {"bool near(uint b, uint x) { return b == x; }\nbool mask_mod(uint i, uint h, uint q, uint k) { return near(q, k); }",
         false, false},
    };
    rapt_caps caps;
    rapt_caps_floor(&caps);
    for (size_t n = 0; n < 2 * RAPT_COUNT(masks); n++) {
        const bool lengths = n % 2; /* of batch entries' own: the last keys, and where queries stand, are others */
        rapt_plan *plan;
        rapt_attention_desc d = rig_desc(RAPT_F32, 3, 4, 4, 200, 300, 64, false);
        d.mask_mod[0] = masks[n / 2].text;
        if (lengths)
            d.k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {3}, .stride = {1}};
        RIG_OK(rapt_attention_plan_for_caps(&caps, &d, &plan, error));
        if (plan->lists.batch != (masks[n / 2].batch || lengths ? 3 : 1) || plan->lists.groups != (masks[n / 2].head ? 4 : 1))
            fail_msg("%s: lists for %u batch entries and %u heads", masks[n / 2].text, (unsigned)plan->lists.batch,
                     (unsigned)plan->lists.groups);
        rapt_plan_destroy(&plan);
    }
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_masks),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_shared_lists),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_wide_lists),
        cmocka_unit_test(test_slices),
    };
    return RIG_RUN("blocks", tests);
}
