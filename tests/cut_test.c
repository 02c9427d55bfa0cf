/* Parts of an attention: what each query sees, where each tensor begins, and what cannot be cut. */
#include "support.h"

#include "op/copy.h"
#include "op/cut.h"

static rapt_attention_desc desc_of(uint64_t batch, uint64_t q_heads, uint64_t kv_heads, uint64_t nq, uint64_t nk)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = rapt_tensor_bhnd(RAPT_F32, batch, q_heads, nq, 8);
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, batch, kv_heads, nk, 8);
    d.out = rapt_tensor_bhnd(RAPT_F32, batch, RAPT_MAX(q_heads, kv_heads), nq, 8);
    return d;
}

/* Who knows all members of a descriptor must learn of new ones: a tensor that op/cut.c does not cut would be the whole's in each
 * part. Teach rapt_attention_cut and src/api/group_attention.c, then this number. */
static void test_knows_the_descriptor(void **state)
{
    (void)state;
    if (sizeof(void *) == 8)
        assert_int_equal(sizeof(rapt_attention_desc), RAPT_CUT_KNOWN_DESC);
}

/* A part of queries and keys sees of each pair what the whole does. */
static void check_pairs(const rapt_attention_desc *d, rapt_range queries, rapt_range keys)
{
    rapt_problem whole, part;
    rapt_attention_desc desc;
    uint64_t first[RAPT_CUT_TENSORS];
    rapt_error error;
    rapt_cut cut = rapt_cut_whole(d);
    cut.queries = queries;
    cut.keys = keys;
    rapt_attention_cut(d, &cut, NULL, NULL, &desc, first);
    assert_int_equal(rapt_attention_problem(d, &whole, &error), RAPT_OK);
    assert_int_equal(rapt_attention_problem(&desc, &part, &error), RAPT_OK);
    for (uint64_t i = 0; i < queries.count; i++)
        for (uint64_t j = 0; j < keys.count; j++) {
            const int64_t place = (int64_t)(i + queries.first + whole.nk) - (int64_t)whole.nq + whole.causal_offset;
            const int64_t own = (int64_t)(i + part.nk) - (int64_t)part.nq + part.causal_offset;
            assert_int_equal(rapt_problem_sees(&whole, place, (int64_t)(j + keys.first)), rapt_problem_sees(&part, own, (int64_t)j));
        }
    assert_int_equal(first[RAPT_CUT_Q], queries.first * 8);
    assert_int_equal(first[RAPT_CUT_K], keys.first * 8);
    assert_int_equal(desc.out.size[2], queries.count);
}

static void test_sees_what_the_whole_does(void **state)
{
    (void)state;
    static const struct {
        bool causal, window;
        int64_t offset, left, right;
        uint64_t sinks;
    } masks[] = {
        {false, false, 0, 0, 0, 0}, {true, false, 0, 0, 0, 0},   {true, false, -7, 0, 0, 0}, {true, false, 5, 0, 0, 0},
        {true, true, 0, 4, -1, 2},  {false, true, 3, 2, 3, 5},   {true, true, -3, 0, -1, 1},
    };
    for (size_t m = 0; m < RAPT_COUNT(masks); m++) {
        rapt_attention_desc d = desc_of(1, 1, 1, 23, 31);
        d.flags = (masks[m].causal ? RAPT_ATTENTION_CAUSAL : 0) | (masks[m].window ? RAPT_ATTENTION_WINDOW : 0);
        d.causal_offset = masks[m].offset;
        d.window_left = masks[m].left;
        d.window_right = masks[m].right;
        d.sink_tokens = masks[m].sinks;
        check_pairs(&d, (rapt_range){0, 23}, (rapt_range){0, 31});
        check_pairs(&d, (rapt_range){5, 9}, (rapt_range){0, 31});
        check_pairs(&d, (rapt_range){0, 23}, (rapt_range){0, 3});
        check_pairs(&d, (rapt_range){0, 23}, (rapt_range){3, 17});
        check_pairs(&d, (rapt_range){20, 3}, (rapt_range){1, 30});
    }
}

/* Heads that belong together stay together, whichever are more. */
static void test_heads(void **state)
{
    (void)state;
    static const struct {
        uint64_t q, kv, units;
    } heads[] = {{8, 8, 8}, {8, 2, 2}, {2, 6, 2}, {6, 4, 2}, {5, 3, 1}, {1, 1, 1}};
    for (size_t i = 0; i < RAPT_COUNT(heads); i++) {
        const uint64_t q = heads[i].q, kv = heads[i].kv, units = heads[i].units, out = RAPT_MAX(q, kv);
        const rapt_attention_desc d = desc_of(3, q, kv, 4, 5);
        rapt_cut cut = rapt_cut_whole(&d);
        assert_int_equal(cut.heads.count, units);
        for (uint64_t u = 0; u < units; u++) {
            rapt_attention_desc part;
            uint64_t first[RAPT_CUT_TENSORS];
            cut.batch = (rapt_range){1, 2};
            cut.heads = (rapt_range){u, 1};
            rapt_attention_cut(&d, &cut, NULL, NULL, &part, first);
            const uint64_t q0 = (first[RAPT_CUT_Q] - (uint64_t)d.q.stride[0]) / 32, k0 = (first[RAPT_CUT_K] - (uint64_t)d.k.stride[0]) / 40;
            assert_int_equal(part.q.size[0], 2);
            for (uint64_t h = 0; h < part.q.size[1] && q >= kv; h++) /* q head h0 + h reads kv head floor((h0 + h) kv / q) */
                assert_int_equal((q0 + h) * kv / q, k0 + h * part.k.size[1] / part.q.size[1]);
            for (uint64_t h = 0; h < part.k.size[1] && q < kv; h++)
                assert_int_equal((k0 + h) * q / kv, q0 + h * part.q.size[1] / part.k.size[1]);
            assert_int_equal(part.out.size[1], out / units);
        }
    }
}

static void test_packed_sequences(void **state)
{
    (void)state;
    const int32_t cu_q[] = {0, 3, 3, 10, 12}, cu_k[] = {0, 5, 6, 20, 21};
    rapt_attention_desc d = desc_of(1, 2, 2, 12, 21), part;
    uint64_t first[RAPT_CUT_TENSORS];
    d.sequences = 4;
    rapt_cut cut = rapt_cut_whole(&d);
    assert_int_equal(cut.batch.count, 4);
    cut.batch = (rapt_range){1, 2};
    cut.heads = (rapt_range){1, 1};
    rapt_attention_cut(&d, &cut, cu_q, cu_k, &part, first);
    assert_int_equal(part.sequences, 2);
    assert_int_equal(part.q.size[0], 1);
    assert_int_equal(part.q.size[2], 7);
    assert_int_equal(part.k.size[2], 15);
    assert_int_equal(first[RAPT_CUT_Q], (12 + 3) * 8);
    assert_int_equal(first[RAPT_CUT_V], (21 + 5) * 8);
}

static void test_refusals(void **state)
{
    (void)state;
    uint64_t unit;
    rapt_attention_desc d = desc_of(1, 2, 2, 12, 12);
    assert_null(rapt_cut_refuses_heads(&d));
    assert_null(rapt_cut_refuses_queries(&d, &unit));
    assert_null(rapt_cut_refuses_keys(&d, &unit));
    d.rope_base = 10000;
    assert_null(rapt_cut_refuses_queries(&d, &unit));
    assert_non_null(rapt_cut_refuses_keys(&d, &unit));
    d.segments = (rapt_tensor){.dtype = RAPT_I32, .rank = 2};
    assert_non_null(rapt_cut_refuses_queries(&d, &unit));
    d = desc_of(1, 2, 2, 12, 12);
    d.link = RAPT_LINK_SIGMOID;
    assert_null(rapt_cut_refuses_queries(&d, &unit));
    assert_non_null(rapt_cut_refuses_keys(&d, &unit));
    d.mask_mod[0] = "bool mask_mod(uint b, uint h, uint q, uint k) { return true; }";
    assert_non_null(rapt_cut_refuses_heads(&d));
    assert_non_null(rapt_cut_refuses_queries(&d, &unit));
}

/* Every layout to a packed one and back, without touching what lies between. */
static void test_copies(void **state)
{
    (void)state;
    rapt_tensor gaps = {.dtype = RAPT_F32, .rank = 4, .size = {2, 3, 4, 5}, .stride = {7, 100, 20, 1}};
    rapt_tensor shared = {.dtype = RAPT_F32, .rank = 4, .size = {2, 3, 4, 5}, .stride = {0, 20, 5, 1}};
    const rapt_tensor bnhd = rapt_tensor_bnhd(RAPT_F32, 2, 3, 4, 5);
    const rapt_tensor *const all[] = {&gaps, &shared, &bnhd};
    for (size_t n = 0; n < RAPT_COUNT(all); n++) {
        const rapt_tensor *t = all[n], packed = rapt_tensor_packed(t);
        float from[400], back[400], there[120];
        for (int i = 0; i < 400; i++) {
            from[i] = (float)i;
            back[i] = -1;
        }
        assert_false(rapt_tensor_lies_alike(t, &packed) && n != 1);
        assert_int_equal(rapt_tensor_bytes(&packed), (n == 1 ? 60 : 120) * sizeof(float));
        rapt_tensor_copy(there, &packed, from, t);
        rapt_tensor_copy(back, t, there, &packed);
        unsigned copied = 0;
        for (int i = 0; i < 400; i++) {
            assert_true(back[i] < 0 || back[i] == from[i]);
            copied += back[i] >= 0;
        }
        assert_int_equal(copied, n == 1 ? 60 : 120);
    }
    assert_int_equal(rapt_tensor_packed(&gaps).align, 4);  /* as little as its elements' places promise */
    assert_int_equal(rapt_tensor_packed(&bnhd).align, 4);
    gaps.stride[0] = 8;
    assert_int_equal(rapt_tensor_packed(&gaps).align, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_knows_the_descriptor), cmocka_unit_test(test_sees_what_the_whole_does),
        cmocka_unit_test(test_heads),                cmocka_unit_test(test_packed_sequences),
        cmocka_unit_test(test_refusals),             cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
