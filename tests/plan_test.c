/* Plans without a device: selection and its reasons, boxes, windows, addresses, slices, workspace. */
#include "common/attention_params.h"
#include "plan/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- A small table of kernels that exist only here. */
static const rapt_kernel_operand attend_operands[] = {
    {RAPT_ROLE_Q, RAPT_BIND_Q, RAPT_OPERAND_STORAGE, 0},       {RAPT_ROLE_K, RAPT_BIND_K, RAPT_OPERAND_STORAGE, 0},
    {RAPT_ROLE_V, RAPT_BIND_V, RAPT_OPERAND_STORAGE, 0},       {RAPT_ROLE_OUT, RAPT_BIND_OUT, RAPT_OPERAND_STORAGE, 1},
    {RAPT_ROLE_LSE, RAPT_BIND_LSE, RAPT_OPERAND_STORAGE, 1},   {RAPT_ROLE_CU_Q, RAPT_BIND_CU_Q, RAPT_OPERAND_STORAGE, 0},
    {RAPT_ROLE_CU_K, RAPT_BIND_CU_K, RAPT_OPERAND_STORAGE, 0}, {RAPT_ROLE_PART_ACC, RAPT_BIND_OUT, RAPT_OPERAND_STORAGE, 1},
    {RAPT_ROLE_PART_ML, RAPT_BIND_LSE, RAPT_OPERAND_STORAGE, 1},
};
static const rapt_kernel_operand texel_operands[] = {
    {RAPT_ROLE_Q, RAPT_BIND_Q, RAPT_OPERAND_STORAGE, 0},
    {RAPT_ROLE_K, RAPT_BIND_TEXEL_K, RAPT_OPERAND_TEXEL_RGBA32F, 0},
    {RAPT_ROLE_V, RAPT_BIND_TEXEL_V, RAPT_OPERAND_TEXEL_RGBA32F, 0},
    {RAPT_ROLE_OUT, RAPT_BIND_OUT, RAPT_OPERAND_STORAGE, 1},
};
static const rapt_kernel_operand merge_operands[] = {
    {RAPT_ROLE_PART_ACC, 1, RAPT_OPERAND_STORAGE, 0},
    {RAPT_ROLE_PART_ML, 2, RAPT_OPERAND_STORAGE, 0},
    {RAPT_ROLE_OUT, RAPT_BIND_OUT, RAPT_OPERAND_STORAGE, 1},
    {RAPT_ROLE_LSE, RAPT_BIND_LSE, RAPT_OPERAND_STORAGE, 1},
};
static const rapt_kernel_constant constants[] = {
    {0, RAPT_CONST_LITERAL, 64, "LOCAL_SIZE"},
    {1, RAPT_CONST_HEAD_DIM_QK, 0, "HEAD_DIM_QK"},
    {2, RAPT_CONST_CAUSAL, 0, "CAUSAL"},
    {3, RAPT_CONST_WHOLE_KEYS, 0, "WHOLE_KEYS"},
};
#define ALL_TYPES (1u << RAPT_F32 | 1u << RAPT_F16 | 1u << RAPT_BF16)
#define ROW(row_name, row_family, support, dims, tile, keys, prefer, ops)                                              \
    {                                                                                                                  \
        .name = row_name, .family = row_family, .dtypes = ALL_TYPES, .supports = support, .head_dim_qk_min = 1,       \
        .head_dim_qk_max = dims, .head_dim_qk_multiple = 1, .head_dim_v_min = 1, .head_dim_v_max = dims,               \
        .head_dim_v_multiple = 1, .rows_per_tile = tile, .keys_per_tile = keys, .local_size = 64,                      \
        .shared_bytes = 8192, .score = {prefer, prefer, prefer, prefer, prefer, prefer, prefer, prefer, prefer,        \
                                        prefer, prefer},                                                               \
        .operand_count = RAPT_COUNT(ops), .constant_count = RAPT_COUNT(constants), .operands = ops,                    \
        .constants = constants                                                                                         \
    }
#define FULL (RAPT_ROW_CAUSAL | RAPT_ROW_VARLEN | RAPT_ROW_PARTIAL | RAPT_ROW_GROUP | RAPT_ROW_UNALIGNED)
static const rapt_kernel_row rows[] = {
    ROW("plain", RAPT_FAMILY_TILE, FULL, 576, 32, 16, 50, attend_operands),
    ROW("narrow", RAPT_FAMILY_TILE, RAPT_ROW_CAUSAL | RAPT_ROW_PARTIAL, 64, 32, 16, 80, texel_operands),
    ROW("yardstick", RAPT_FAMILY_NAIVE, FULL | RAPT_ROW_BENCH_ONLY, 576, 64, 1, 99, attend_operands),
    ROW("join", RAPT_FAMILY_MERGE, FULL, 576, 4, 1, 50, merge_operands),
};
static const rapt_kernel_table table = {rows, RAPT_COUNT(rows), NULL, 0};

static rapt_attention_desc describe(rapt_dtype t, uint64_t b, uint64_t hq, uint64_t hkv, uint64_t nq, uint64_t nk,
                                    uint64_t dqk, uint64_t dv)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = rapt_tensor_bhnd(t, b, hq, nq, dqk);
    d.k = rapt_tensor_bhnd(t, b, hkv, nk, dqk);
    d.v = rapt_tensor_bhnd(t, b, hkv, nk, dv);
    d.out = rapt_tensor_bhnd(t, b, hq > hkv ? hq : hkv, nq, dv);
    return d;
}

static rapt_status make(rapt_plan *plan, const rapt_attention_desc *d, const rapt_caps *caps,
                        const rapt_verdicts *verdicts, rapt_error *error)
{
    rapt_problem problem;
    memset(plan, 0, sizeof *plan);
    plan->allocator = rapt_allocator_default();
    rapt_status status = rapt_attention_problem(d, &problem, error);
    return status ? status : rapt_plan_make(plan, &problem, caps, &table, verdicts, error);
}

static const char *reason_of(const rapt_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->candidate_count; i++)
        if (plan->candidates[i].row && strcmp(plan->candidates[i].row->name, name) == 0)
            return plan->candidates[i].reason;
    return NULL;
}

/* ---- */

static uint32_t random_state = 7;
static uint64_t pick(uint64_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static void counts_visible_pairs(void **state)
{
    (void)state;
    const rapt_problem causal = {.causal = true};
    for (int nq = 0; nq < 9; nq++)
        for (int nk = 0; nk < 9; nk++)
            for (int offset = -12; offset < 13; offset++) {
                uint64_t want = 0;
                for (int i = 0; i < nq; i++)
                    for (int j = 0; j < nk; j++)
                        want += j <= i + nk - nq + offset;
                assert_int_equal(rapt_visible_pairs(&causal, (uint64_t)nq, (uint64_t)nk, offset), want);
            }
    const rapt_problem dense = {0};
    assert_int_equal(rapt_visible_pairs(&dense, 7, 5, 0), 35);
}

static void counts_visible_pairs_of_windows(void **state)
{
    (void)state;
    for (int n = 0; n < 4000; n++) {
        const int nq = (int)pick(12), nk = (int)pick(12), offset = (int)pick(25) - 12;
        const rapt_problem m = {.causal = pick(2), .window = true, .window_left = (int)pick(9) - 1,
                                .window_right = (int)pick(9) - 1, .sink_tokens = (uint32_t)pick(6)};
        uint64_t want = 0;
        for (int i = 0; i < nq; i++)
            for (int j = 0; j < nk; j++) {
                const int p = i + nk - nq + offset;
                const bool inside = j < (int)m.sink_tokens || ((m.window_left < 0 || j >= p - m.window_left) &&
                                                               (m.window_right < 0 || j <= p + m.window_right));
                want += inside && (!m.causal || j <= p);
            }
        assert_int_equal(rapt_visible_pairs(&m, (uint64_t)nq, (uint64_t)nk, offset), want);
    }
}

/* "plain" has tiles of 16 keys: 1 where they are whole, 2 where the last one is cut short. */
static void knows_when_keys_fill_their_tiles(void **state)
{
    (void)state;
    static const struct {
        uint64_t nk;
        bool causal, varlen;
        uint32_t splits, want;
    } cases[] = {{64, false, false, 1, 1}, {63, false, false, 1, 2}, {64, true, false, 1, 0},
                 {64, false, true, 1, 0},  {0, false, false, 1, 1},  {80, false, false, 3, 1}};
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        rapt_caps caps;
        rapt_plan plan;
        rapt_caps_floor(&caps);
        rapt_attention_desc d = describe(RAPT_F32, 1, 2, 2, 8, cases[i].nk, 32, 32);
        d.kernel = "plain";
        d.flags = cases[i].causal ? RAPT_ATTENTION_CAUSAL : 0;
        d.sequences = cases[i].varlen ? 2 : 0;
        d.key_splits = cases[i].splits;
        assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
        assert_int_equal(plan.pipelines[0].constants[3], cases[i].want);
        rapt_plan_clear(&plan);
    }
}

/* Sequences of any lengths have no more work together than one as long as all of them, and take no more slices. */
static void cuts_packed_sequences_by_what_they_can_have(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 1, 8, 8, 4096, 4096, 64, 64);
    d.kernel = "plain";
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    const uint32_t whole = plan.slice_count;
    assert_true(whole > 2);
    rapt_plan_clear(&plan);
    d.sequences = 64; /* of up to 4,096 tokens: one may have them all */
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_in_range(plan.slice_count, whole, whole + 1);
    double sum = 0;
    const double most = plan.flops_per_second * (double)plan.problem.slice_ms * 1e-3;
    for (uint32_t i = 0; i < plan.step_count; i++) {
        assert_true((double)plan.steps[i].flops <= most);
        sum += (double)plan.steps[i].flops;
    }
    assert_true(sum >= 8.0 * 4096 * 4096 * 2 * 128); /* none of it is forgotten */
    rapt_plan_clear(&plan);
    d.max_seqlen_q = d.max_seqlen_k = 64; /* all are of 64 */
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_int_equal(plan.slice_count, 1);
    rapt_plan_clear(&plan);
}

static void chooses_by_score_and_says_why(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 1, 4, 4, 100, 100, 64, 64);
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "narrow");
    assert_string_equal(reason_of(&plan, "plain"), "");
    assert_non_null(strstr(reason_of(&plan, "yardstick"), "forced"));
    rapt_plan_clear(&plan);

    d = describe(RAPT_F32, 1, 4, 4, 100, 100, 80, 64);
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "plain");
    assert_non_null(strstr(reason_of(&plan, "narrow"), "not 80"));
    rapt_plan_clear(&plan);

    d = describe(RAPT_F32, 1, 4, 4, 100, 100, 63, 64);
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "plain");
    assert_false(plan.aligned);
    rapt_plan_clear(&plan);
}

static void forcing_fails_loudly(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_error error;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 1, 4, 4, 10, 10, 80, 80);
    d.kernel = "narrow";
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "narrow"));
    assert_non_null(strstr(error.message, "80"));
    rapt_plan_clear(&plan);
    d.kernel = "no-such";
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_ERROR_INVALID);
    rapt_plan_clear(&plan);
    d.kernel = "yardstick";
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "yardstick");
    rapt_plan_clear(&plan);
}

static rapt_verdict_kind narrow_is_bad(void *user, const rapt_plan_pipeline *pipeline, const char **reason)
{
    (void)user;
    *reason = "it lied";
    return strcmp(pipeline->row->name, "narrow") == 0 ? RAPT_VERDICT_BAD : RAPT_VERDICT_UNKNOWN;
}

static void verdicts_take_rows_out(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_caps_floor(&caps);
    rapt_verdicts verdicts = {.lookup = narrow_is_bad};
    rapt_attention_desc d = describe(RAPT_F32, 1, 4, 4, 100, 100, 64, 64);
    assert_int_equal(make(&plan, &d, &caps, &verdicts, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "plain");
    assert_non_null(strstr(reason_of(&plan, "narrow"), "it lied"));
    rapt_plan_clear(&plan);
}

static const rapt_kernel_operand sum_operands[] = {
    {RAPT_ROLE_Q, RAPT_BIND_Q, RAPT_OPERAND_STORAGE, 0},
    {RAPT_ROLE_K, RAPT_BIND_K, RAPT_OPERAND_STORAGE, 0},
    {RAPT_ROLE_COL_SUMS, RAPT_BIND_OUT, RAPT_OPERAND_STORAGE, 1},
    {RAPT_ROLE_LSE, RAPT_BIND_LSE, RAPT_OPERAND_STORAGE, 0},
};

/* Of kernels for the same map the best one that the device takes, wherever it stands in the table; of equals the first. */
static void maps_are_chosen_by_score(void **state)
{
    (void)state;
    enum { GOOD = 2, BEST, EQUAL, BELOW };
    rapt_kernel_row some[] = {
        ROW("plain", RAPT_FAMILY_TILE, FULL, 576, 32, 16, 50, attend_operands),
        ROW("never", RAPT_FAMILY_MAP, FULL, 576, 64, 64, -1, sum_operands),
        ROW("good", RAPT_FAMILY_MAP, FULL, 576, 64, 64, 50, sum_operands),
        ROW("best", RAPT_FAMILY_MAP, FULL, 576, 64, 64, 60, sum_operands),
        ROW("equal", RAPT_FAMILY_MAP, FULL, 576, 64, 64, 60, sum_operands),
        ROW("below", RAPT_FAMILY_MAP, FULL, 576, 64, 64, 40, sum_operands),
    };
    const rapt_kernel_table mine = {some, RAPT_COUNT(some), NULL, 0};
    static const char *const order[] = {"best", "equal", "good", "below"}; /* as those before are taken out, one by one */
    static const int rank[] = {BEST, EQUAL, GOOD, BELOW};
    rapt_caps caps;
    rapt_plan plan;
    rapt_problem problem;
    rapt_error error;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 1, 2, 2, 100, 100, 64, 64);
    d.col_sums = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, 2, 100}, .stride = {200, 100, 1}};
    assert_int_equal(rapt_attention_problem(&d, &problem, &error), RAPT_OK);
    for (size_t n = 0; n <= RAPT_COUNT(order); n++) {
        plan = (rapt_plan){.allocator = rapt_allocator_default()};
        const rapt_status status = rapt_plan_make(&plan, &problem, &caps, &mine, NULL, &error);
        assert_int_equal(status, n < RAPT_COUNT(order) ? RAPT_OK : RAPT_ERROR_UNSUPPORTED);
        if (n < RAPT_COUNT(order)) {
            assert_string_equal(plan.pipelines[plan.pipeline_count - 1].row->name, order[n]);
            some[rank[n]].shared_bytes = 1u << 30; /* more than the floor has */
        }
        rapt_plan_clear(&plan);
    }
}

static void limits_are_named_with_both_numbers(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_error error;
    rapt_caps_floor(&caps);
    caps.max_shared_bytes = 4096;
    rapt_attention_desc d = describe(RAPT_F32, 1, 1, 1, 4, 4, 80, 80);
    d.kernel = "plain";
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "8192"));
    assert_non_null(strstr(error.message, "4096"));
    rapt_plan_clear(&plan);
}

/* Every (head group, tile, split) is computed exactly once, through windows within the limits that contain every
 * element a kernel would touch. */
static void check_cover(const rapt_plan *plan, const rapt_caps *caps)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    uint64_t groups = p->heads_out / plan->group, tiles = rapt_div_up(p->nq * plan->group, row->rows_per_tile);
    uint64_t cells = p->batch * groups * tiles * plan->splits;
    uint8_t *seen = calloc(cells + 1, 1);
    uint64_t merged_rows = 0;
    assert_non_null(seen);
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const rapt_step *s = &plan->steps[i];
        const rapt_kernel_row *r = plan->pipelines[s->pipeline].row;
        rapt_attention_push push;
        memcpy(&push, s->push, sizeof push);
        for (unsigned a = 0; a < 3; a++)
            assert_in_range(s->groups[a], 1, caps->max_groups[a]);
        for (uint32_t k = 0; k < r->operand_count; k++)
            if (s->windows[k].first != UINT64_MAX)
                assert_true(s->windows[k].bytes <= rapt_window_limit(caps, (rapt_operand_kind)r->operands[k].kind));
        if (s->pipeline == 1) {
            merged_rows += push.rows;
            continue;
        }
        for (uint32_t z = 0; z < s->groups[2]; z++)
            for (uint32_t y = 0; y < s->groups[1]; y++)
                for (uint32_t x = 0; x < s->groups[0]; x++) {
                    uint64_t bh = push.bh0 + z, split = push.split0 + y, tile = push.tile0 + x;
                    uint64_t cell = (bh * plan->splits + split) * tiles + tile;
                    assert_true(cell < cells);
                    assert_int_equal(seen[cell]++, 0);
                    /* The addresses of its first and last query and key rows lie in the windows. */
                    uint64_t b = bh / groups, h = bh % groups * plan->group;
                    uint64_t q[2] = {tile * row->rows_per_tile / plan->group,
                                     RAPT_MIN(p->nq, rapt_div_up((tile + 1) * row->rows_per_tile, plan->group)) - 1};
                    uint64_t j[2] = {split * plan->split_keys,
                                     RAPT_MIN(p->nk, (split + 1) * plan->split_keys) - 1};
                    for (uint32_t k = 0; k < r->operand_count; k++) {
                        int t = rapt_role_tensor((rapt_role)r->operands[k].role);
                        if (t < 0 || s->windows[k].first == UINT64_MAX || s->windows[k].bytes == 0 || p->varlen)
                            continue;
                        uint32_t binding = r->operands[k].binding == RAPT_BIND_TEXEL_K   ? RAPT_BIND_K
                                           : r->operands[k].binding == RAPT_BIND_TEXEL_V ? RAPT_BIND_V
                                                                                         : r->operands[k].binding;
                        uint64_t heads = t == RAPT_T_Q                        ? p->heads_q
                                         : t == RAPT_T_OUT || t == RAPT_T_LSE ? p->heads_out
                                                                              : p->heads_kv;
                        uint32_t dim = t == RAPT_T_V || t == RAPT_T_OUT ? p->head_dim_v
                                       : t == RAPT_T_LSE                ? 1
                                                                        : p->head_dim_qk;
                        uint32_t element = t == RAPT_T_LSE ? 4 : rapt_dtype_size(p->dtype);
                        for (int end = 0; end < 2; end++) {
                            uint64_t sequence = t == RAPT_T_K || t == RAPT_T_V ? j[end] : q[end];
                            uint64_t hh = (h + (uint64_t)end * (plan->group - 1)) * heads / p->heads_out;
                            uint32_t index = s->push[binding - 1] + (uint32_t)(b * p->stride[t][0]) +
                                             (uint32_t)(hh * p->stride[t][1]) +
                                             (uint32_t)(sequence * p->stride[t][2]);
                            assert_true(((uint64_t)index + dim) * element <= s->windows[k].bytes);
                        }
                    }
                }
    }
    for (uint64_t c = 0; c < cells; c++)
        assert_int_equal(seen[c], 1);
    if (plan->splits > 1)
        assert_int_equal(merged_rows, p->batch * p->heads_out * p->nq);
    free(seen);
}

static void boxes_cover_everything_within_limits(void **state)
{
    (void)state;
    int refused = 0, made = 0, split = 0;
    for (int round = 0; round < 3000; round++) {
        rapt_caps caps;
        rapt_plan plan;
        rapt_error error = {0};
        rapt_caps_floor(&caps);
        caps.max_storage_range = 1024u << pick(12);
        caps.max_texel_elements = caps.max_storage_range / 16;
        caps.storage_align = 16u << pick(5);
        caps.max_groups[0] = 1 + (uint32_t)pick(40);
        caps.max_groups[1] = 1 + (uint32_t)pick(10);
        caps.max_groups[2] = 1 + (uint32_t)pick(10);
        uint64_t hkv = 1 + pick(5), hq = pick(3) ? hkv * (1 + pick(4)) : 1 + pick(7);
        const rapt_dtype types[] = {RAPT_F32, RAPT_F16, RAPT_BF16};
        rapt_attention_desc d = describe(types[pick(3)], 1 + pick(4), hq, hkv, 1 + pick(300), pick(300), 1 + pick(80),
                                         1 + pick(80));
        if (pick(2)) {
            uint64_t b = d.q.size[0], h = d.q.size[1], n = d.q.size[2], dim = d.q.size[3];
            d.q = rapt_tensor_bnhd(d.q.dtype, b, h, n, dim);
        }
        if (pick(2))
            d.lse = (rapt_tensor){.dtype = RAPT_F32, .rank = 3,
                                  .size = {d.out.size[0], d.out.size[1], d.out.size[2]},
                                  .stride = {(int64_t)(d.out.size[1] * d.out.size[2]), (int64_t)d.out.size[2], 1}};
        d.flags = pick(2) ? RAPT_ATTENTION_CAUSAL : 0;
        d.causal_offset = (int64_t)pick(9) - 4;
        d.key_splits = (uint32_t)(pick(2) ? 0 : pick(5));
        rapt_status status = make(&plan, &d, &caps, NULL, &error);
        if (status == RAPT_OK) {
            made++;
            split += plan.splits > 1;
            check_cover(&plan, &caps);
            /* Workspace slots follow each other. */
            for (uint32_t i = 0; i < plan.slot_count; i++)
                assert_true(plan.slots[i].offset + plan.slots[i].bytes <= plan.workspace_bytes);
            if (plan.slot_count == 2)
                assert_true(plan.slots[0].offset + plan.slots[0].bytes <= plan.slots[1].offset);
        } else {
            refused++;
            assert_int_equal(status, RAPT_ERROR_UNSUPPORTED);
            assert_true(error.message[0] != 0);
        }
        rapt_plan_clear(&plan);
    }
    /* The sweep must not be vacuous. */
    assert_true(made > 1500);
    assert_true(split > 200);
    assert_true(refused > 0);
}

static void slices_respect_the_target(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 2, 8, 8, 4096, 4096, 64, 64);
    d.kernel = "plain";
    rapt_verdicts verdicts = {.flops_per_second = 1e11};
    assert_int_equal(make(&plan, &d, &caps, &verdicts, NULL), RAPT_OK);
    double target = 1e11 * 50e-3, sum = 0, total = 0;
    uint32_t slice = 0;
    assert_true(plan.slice_count > 1);
    for (uint32_t i = 0; i < plan.step_count; i++) {
        if (plan.steps[i].slice != slice)
            sum = 0;
        assert_true(plan.steps[i].slice == slice || plan.steps[i].slice == slice + 1);
        slice = plan.steps[i].slice;
        sum += (double)plan.steps[i].flops;
        total += (double)plan.steps[i].flops;
        assert_true(sum <= target);
    }
    assert_int_equal(slice + 1, plan.slice_count);
    assert_true(fabs(total / (double)plan.problem.flops - 1) < 1e-6);
    rapt_plan_clear(&plan);
}

static void splits_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan one, many;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 1, 8, 2, 1, 8192, 64, 64);
    assert_int_equal(make(&one, &d, &caps, NULL, NULL), RAPT_OK);
    d = describe(RAPT_F32, 64, 8, 2, 1, 8192, 64, 64);
    assert_int_equal(make(&many, &d, &caps, NULL, NULL), RAPT_OK);
    assert_true(one.splits > 1);
    assert_int_equal(one.splits, many.splits);
    assert_int_equal(one.split_keys, many.split_keys);
    assert_ptr_equal(one.pipelines[0].row, many.pipelines[0].row);
    assert_int_equal(one.phase_count, 2);
    rapt_plan_clear(&one);
    rapt_plan_clear(&many);
}

static void quirks_follow_the_driver_version(void **state)
{
    (void)state;
    const rapt_kernel_row broadcast = {.name = "broadcast", .family = RAPT_FAMILY_BROADCAST};
    const rapt_kernel_row quantised = {.name = "tile-quantised", .family = RAPT_FAMILY_BROADCAST};
    const rapt_kernel_row tile = {.name = "tile", .family = RAPT_FAMILY_TILE};
    rapt_caps caps;
    rapt_caps_floor(&caps);
    caps.driver_id = 13;
    snprintf(caps.driver_info, sizeof caps.driver_info, "Mesa 22.3.6 (LLVM 15.0.6)");
    assert_non_null(rapt_quirk(&broadcast, &caps));
    assert_null(rapt_quirk(&quantised, &caps)); /* excepted by its name */
    assert_null(rapt_quirk(&tile, &caps));
    snprintf(caps.driver_info, sizeof caps.driver_info, "Mesa 25.0.7-2");
    assert_null(rapt_quirk(&broadcast, &caps));
    caps.driver_id = 1;
    snprintf(caps.driver_info, sizeof caps.driver_info, "Mesa 22.3.6");
    assert_null(rapt_quirk(&broadcast, &caps));
    /* Only the patches that are too large for the compiler of this one, whatever its version. */
    const rapt_kernel_row large = {.name = "large", .family = RAPT_FAMILY_TILE, .rows_per_tile = 32,
                                   .keys_per_tile = 32, .local_size = 32};
    const rapt_kernel_row patch = {.name = "patch", .family = RAPT_FAMILY_TILE, .rows_per_tile = 8,
                                   .keys_per_tile = 32, .local_size = 64};
    assert_null(rapt_quirk(&large, &caps));
    caps.driver_id = 10;
    assert_non_null(rapt_quirk(&large, &caps));
    assert_null(rapt_quirk(&patch, &caps));
}

/* A row whose smallest window the device cannot bind is passed over for one that can, and says why. */
static void rows_that_cannot_be_cut_to_fit_are_passed_over(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_error error;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 1, 4, 4, 300, 300, 64, 64);
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_OK);
    const rapt_kernel_row *first = plan.pipelines[0].row;
    rapt_plan_clear(&plan);
    /* Keys so far apart that one tile of this row spans more than a binding may. */
    const uint64_t pitch = (caps.max_storage_range / first->keys_per_tile / 4 + 64) / 4 * 4;
    d.k.stride[2] = (int64_t)pitch;
    d.k.stride[1] = (int64_t)(pitch * 300);
    d.k.stride[0] = d.k.stride[1] * 4;
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_OK);
    assert_true(plan.pipelines[0].row != first);
    assert_non_null(strstr(reason_of(&plan, first->name), "do not fit this device's buffer ranges"));
    rapt_plan_clear(&plan);
    d.kernel = first->name; /* forced, there is no other */
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "do not fit this device's buffer ranges"));
    rapt_plan_clear(&plan);
}

static void empty_problems_have_no_steps(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan plan;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 0, 4, 4, 10, 10, 64, 64);
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_int_equal(plan.step_count, 0);
    rapt_plan_clear(&plan);
    d = describe(RAPT_F32, 1, 4, 4, 10, 0, 64, 64); /* no keys: zeros must still be written */
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_true(plan.step_count > 0);
    rapt_plan_clear(&plan);
}

static void bad_problems_are_refused_by_name(void **state)
{
    (void)state;
    rapt_error error;
    rapt_problem p;
    rapt_attention_desc good = describe(RAPT_F32, 2, 4, 2, 10, 12, 64, 32), d;
    assert_int_equal(rapt_attention_problem(&good, &p, &error), RAPT_OK);
#define REFUSED(word, statement)                                                                                       \
    do {                                                                                                               \
        d = good;                                                                                                      \
        statement;                                                                                                     \
        memset(&error, 0, sizeof error);                                                                               \
        assert_int_equal(rapt_attention_problem(&d, &p, &error), RAPT_ERROR_INVALID);                                  \
        assert_non_null(strstr(error.message, word));                                                                  \
    } while (0)
    REFUSED("struct_size", d.struct_size = 3);
    REFUSED("flags", d.flags = 1u << 30);
    REFUSED("k is f16", d.k.dtype = RAPT_F16);
    REFUSED("i32", d.q.dtype = RAPT_I32);
    REFUSED("rank", d.v.rank = 3);
    REFUSED("batch", d.k.size[0] = 3);
    REFUSED("heads", d.v.size[1] = 3);
    REFUSED("head_dim", d.k.size[3] = 63);
    REFUSED("head_dim", (d.q.size[3] = d.k.size[3] = 577, d.q.stride[2] = d.k.stride[2] = 577));
    REFUSED("negative", d.q.stride[1] = -1);
    REFUSED("stride 2 of head_dim", d.q.stride[3] = 2);
    REFUSED("overlap", d.out.stride[2] = 31);
    REFUSED("overlap", d.out.stride[1] = 0);
    REFUSED("overflow", d.k.stride[0] = INT64_MAX);
    REFUSED("power of two", d.k.align = 12);
    REFUSED("less than an element", d.k.align = 2);
    REFUSED("finite", (d.flags = RAPT_ATTENTION_SCALE, d.scale = NAN));
    REFUSED("batch 1", d.sequences = 4);
    REFUSED("max_seqlen", d.max_seqlen_q = 4);
    REFUSED("slice_ms", d.slice_ms = -1);
    REFUSED("RAPT_ATTENTION_WINDOW", d.window_left = 4);
    REFUSED("RAPT_ATTENTION_WINDOW", d.sink_tokens = 4);
    REFUSED("window_left is -2", (d.flags = RAPT_ATTENTION_WINDOW, d.window_left = -2));
    REFUSED("window_right", (d.flags = RAPT_ATTENTION_WINDOW, d.window_right = INT64_MAX));
    REFUSED("soft_cap", d.soft_cap = -1);
    REFUSED("soft_cap", d.soft_cap = NAN);
#define VECTOR(n) {.dtype = RAPT_F32, .rank = 1, .size = {n}, .stride = {1}}
    REFUSED("sinks is f16", d.sinks = (rapt_tensor){.dtype = RAPT_F16});
    REFUSED("sinks: must be", d.sinks = (rapt_tensor)VECTOR(3));
    REFUSED("alibi: rank 2", (d.alibi = (rapt_tensor)VECTOR(4), d.alibi.rank = 2));
    REFUSED("alibi: align 2", (d.alibi = (rapt_tensor)VECTOR(d.q.size[1]), d.alibi.align = 2));
    REFUSED("at most 2^29", (d.alibi = (rapt_tensor)VECTOR(d.q.size[1]), d.causal_offset = 1ll << 30));
    REFUSED("key_bias: rank 1", d.key_bias = (rapt_tensor)VECTOR(4));
    REFUSED("qk_norm_epsilon -1", (d.flags = RAPT_ATTENTION_QK_NORM, d.qk_norm_epsilon = -1));
    REFUSED("goes with RAPT_ATTENTION_QK_NORM", d.qk_norm_epsilon = 1);
    REFUSED("go with rope_base", d.rope_dim = 2);
    REFUSED("rope_base 1,", d.rope_base = 1);
    REFUSED("rope_base inf", d.rope_base = INFINITY);
    REFUSED("rope_dim 3", (d.rope_base = 10, d.rope_dim = 3));
    REFUSED("rope_dim 600", (d.rope_base = 10, d.rope_dim = 600));
    REFUSED("bias_v is missing", (d.bias_u = rapt_tensor_bhnd(d.q.dtype, 1, 1, d.q.size[2], 4)));
#define FACTORS(r) (d.bias_u = rapt_tensor_bhnd(d.q.dtype, 1, 1, d.q.size[2], r), d.bias_v = rapt_tensor_bhnd(d.q.dtype, 1, 1, d.k.size[2], r))
    REFUSED("at most 576", FACTORS(576));
    REFUSED("rank 0", FACTORS(0));
    REFUSED("not both", (FACTORS(4), d.soft_cap = 2));
    REFUSED("scale 0", (FACTORS(4), d.flags = RAPT_ATTENTION_SCALE));
    REFUSED("bias_v is (1, 1,", (FACTORS(4), d.bias_v.size[2]++));
    REFUSED("bias_u is i32", (FACTORS(4), d.bias_u.dtype = RAPT_I32));
#undef FACTORS
    REFUSED("bias is f16", (d.bias = rapt_tensor_bhnd(RAPT_F16, 1, 1, d.q.size[2], d.k.size[2])));
    REFUSED("bias is (1, 1,", (d.bias = rapt_tensor_bhnd(RAPT_F32, 1, 1, d.q.size[2] + 1, d.k.size[2])));
    REFUSED("stride 2 of head_dim", (d.bias = rapt_tensor_bhnd(RAPT_F32, 1, 1, d.q.size[2], d.k.size[2]), d.bias.stride[3] = 2));
    REFUSED("link_zeta 0.5", (d.link = RAPT_LINK_CLIPPED, d.link_zeta = 0.5f));
    REFUSED("gate is f32", (d.q.dtype = d.k.dtype = d.v.dtype = d.out.dtype = RAPT_F16, d.gate = d.out, d.gate.dtype = RAPT_F32));
    REFUSED("gate and out disagree", (d.gate = d.out, d.gate.size[2]++));
    REFUSED("link_alpha inf", (d.link = RAPT_LINK_AFFINE, d.link_alpha = INFINITY));
    REFUSED("link is 9", d.link = RAPT_LINK_COUNT);
    REFUSED("not with link relu", (d.link = RAPT_LINK_RELU, d.sinks = (rapt_tensor)VECTOR(d.q.size[1])));
    REFUSED("segments is f32", d.segments = (rapt_tensor)VECTOR(4));
    REFUSED("decay: must be", d.decay = (rapt_tensor)VECTOR(d.q.size[1] + 1));
    REFUSED("relative is f32 of rank 1", d.relative = (rapt_tensor)VECTOR(5));
#define TABLE(heads, entries) {.dtype = RAPT_F32, .rank = 2, .size = {heads, entries}, .stride = {entries, 1}}
    REFUSED("odd behind the heads", d.relative = (rapt_tensor)TABLE(1, 4));
    REFUSED("do not fit q_heads", d.relative = (rapt_tensor)TABLE(d.q.size[1] + 1, 5));
    REFUSED("without gaps", (d.relative = (rapt_tensor)TABLE(1, 5), d.relative.stride[1] = 2));
    REFUSED("stride -1 of the heads", (d.relative = (rapt_tensor)TABLE(d.q.size[1], 5), d.relative.stride[0] = -1));
    REFUSED("relative: align 2", (d.relative = (rapt_tensor)TABLE(1, 5), d.relative.align = 2));
    REFUSED("of rank 2, must be f32, (q_heads or 1, 2 Y + 1", (d.relative = (rapt_tensor)TABLE(1, 5), d.place_width = 2));
    REFUSED("place_width goes with", d.place_width = 2);
    REFUSED("place_width is 4294967295", (d.decay = (rapt_tensor)VECTOR(d.q.size[1]), d.place_width = UINT32_MAX));
    REFUSED("place_width needs", (d.decay = (rapt_tensor)VECTOR(d.q.size[1]), d.place_width = 2, d.causal_offset = 1));
    REFUSED("at most 2^29 with alibi, decay", (d.decay = (rapt_tensor)VECTOR(d.q.size[1]), d.causal_offset = 1ll << 30));
#undef TABLE
#undef VECTOR
    REFUSED("lse is f16", (d.lse.dtype = RAPT_F16, d.lse.rank = 3, d.lse.size[0] = 2));
#undef REFUSED
    rapt_caps caps;
    rapt_plan *plan = NULL;
    rapt_caps_floor(&caps);
    caps.device_class = RAPT_CLASS_COUNT;
    assert_int_equal(rapt_attention_plan_for_caps(&caps, &good, &plan, &error), RAPT_ERROR_INVALID);
    assert_non_null(strstr(error.message, "device_class"));
    assert_null(plan);
}

static void refuses_block_masks_where_there_is_no_form(void **state)
{
    (void)state;
    rapt_plan plan;
    rapt_caps caps;
    rapt_error error;
    rapt_caps_floor(&caps);
    rapt_attention_desc d = describe(RAPT_F32, 1, 2, 2, 30, 50, 64, 64);
    d.block_q = d.block_k = 16;
    d.block_mask = (rapt_tensor){.dtype = RAPT_I32, .rank = 4, .size = {1, 1, 2, 4}, .stride = {8, 8, 4, 1}};
    assert_int_equal(make(&plan, &d, &caps, NULL, &error), RAPT_ERROR_UNSUPPORTED);
    assert_string_equal(reason_of(&plan, "plain"), "has no form for block masks");
    rapt_plan_clear(&plan);
}

/* ---- measured choices and the block list: inputs like any other */

typedef struct measured {
    rapt_hash key;
    rapt_tuned tuned;
    const char *blocked;
} measured;

static bool find_measured(void *user, rapt_hash key, rapt_tuned *out)
{
    const measured *m = user;
    *out = m->tuned;
    return rapt_hash_equal(key, m->key);
}

static bool is_blocked(void *user, const rapt_kernel_row *row, char *reason, size_t capacity)
{
    const measured *m = user;
    snprintf(reason, capacity, "for a test");
    return m->blocked && strcmp(row->name, m->blocked) == 0;
}

static void measure(measured *m, const rapt_attention_desc *d, const rapt_caps *caps, const char *kernel, uint32_t splits)
{
    rapt_problem problem;
    memset(m, 0, sizeof *m);
    assert_int_equal(rapt_attention_problem(d, &problem, NULL), RAPT_OK);
    assert_true(rapt_tuning_key(&problem, caps, &m->key));
    snprintf(m->tuned.kernel, sizeof m->tuned.kernel, "%s", kernel);
    snprintf(m->tuned.default_kernel, sizeof m->tuned.default_kernel, "narrow");
    m->tuned.key_splits = splits;
    m->tuned.speedup = 1.5;
}

static void takes_what_was_measured(void **state)
{
    (void)state;
    static char text[1 << 16];
    rapt_caps caps;
    rapt_plan plan;
    measured m;
    rapt_caps_floor(&caps);
    caps.features |= RAPT_FEATURE_BIT(TEXEL_BUFFER);
    const rapt_verdicts verdicts = {.user = &m, .tuned = find_measured, .blocked = is_blocked};
    rapt_attention_desc d = describe(RAPT_F32, 1, 2, 2, 64, 640, 64, 64);
    assert_int_equal(make(&plan, &d, &caps, NULL, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "narrow");
    rapt_plan_clear(&plan);
    measure(&m, &d, &caps, "plain", 4);
    /* Whatever the batch, the scale and the slices; not for another shape. */
    for (uint64_t batch = 1; batch <= 4; batch += 3) {
        rapt_attention_desc more = describe(RAPT_F32, batch, 2, 2, 64, 640, 64, 64);
        more.slice_ms = (float)batch;
        assert_int_equal(make(&plan, &more, &caps, &verdicts, NULL), RAPT_OK);
        assert_string_equal(plan.pipelines[0].row->name, "plain");
        assert_int_equal(plan.splits, 4);
        assert_true(rapt_plan_is_tuned(&plan));
        assert_true(rapt_plan_explain_to(&plan, RAPT_TEXT, NULL, text, sizeof text) < sizeof text);
        assert_non_null(strstr(text, "1.50x the default narrow"));
        assert_true(rapt_plan_explain_to(&plan, RAPT_JSON, NULL, text, sizeof text) < sizeof text);
        assert_non_null(strstr(text, "\"tuned\":{\"kernel\":\"plain\",\"taken\":true"));
        rapt_plan_clear(&plan);
    }
    rapt_attention_desc other = describe(RAPT_F32, 1, 2, 2, 64, 641, 64, 64);
    assert_int_equal(make(&plan, &other, &caps, &verdicts, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "narrow");
    rapt_plan_clear(&plan);
    rapt_caps lower = caps;
    lower.max_shared_bytes--; /* another device, to a plan */
    assert_int_equal(make(&plan, &d, &lower, &verdicts, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "narrow");
    rapt_plan_clear(&plan);
    rapt_attention_desc batch_tuned = d;
    batch_tuned.flags = RAPT_ATTENTION_BATCH_TUNED; /* a choice of its own */
    assert_int_equal(make(&plan, &batch_tuned, &caps, &verdicts, NULL), RAPT_OK);
    assert_false(plan.has_tuned);
    rapt_plan_clear(&plan);
    /* Who forces a kernel gets it, and who asks for splits does. */
    rapt_attention_desc forced = d;
    forced.kernel = "narrow";
    assert_int_equal(make(&plan, &forced, &caps, &verdicts, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "narrow");
    assert_false(plan.has_tuned);
    rapt_plan_clear(&plan);
    /* The yardstick may be the fastest, and a row of no preference. */
    measure(&m, &d, &caps, "yardstick", 0);
    assert_int_equal(make(&plan, &d, &caps, &verdicts, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "yardstick");
    rapt_plan_clear(&plan);
    /* Blocked, or of a name that is not there: the default, with words. */
    m.blocked = "yardstick";
    assert_int_equal(make(&plan, &d, &caps, &verdicts, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "narrow");
    assert_string_equal(reason_of(&plan, "yardstick"), "is on the block list: for a test");
    assert_true(rapt_plan_explain_to(&plan, RAPT_TEXT, NULL, text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "yardstick was the fastest measured, but cannot be taken now"));
    rapt_plan_clear(&plan);
    forced.kernel = "yardstick"; /* by force it runs */
    assert_int_equal(make(&plan, &forced, &caps, &verdicts, NULL), RAPT_OK);
    rapt_plan_clear(&plan);
    measure(&m, &d, &caps, "gone", 2);
    m.blocked = "join"; /* and without a merge nothing is split */
    assert_int_equal(make(&plan, &d, &caps, &verdicts, NULL), RAPT_OK);
    assert_string_equal(plan.pipelines[0].row->name, "narrow");
    assert_int_equal(plan.splits, 1);
    rapt_plan_clear(&plan);
}

/* Packed sequences: only lengths that the caller bounds are the problem's own. */
static void packed_choices_need_bounds(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_problem p;
    rapt_hash keys[2];
    rapt_caps_floor(&caps);
    for (int i = 0; i < 2; i++) {
        rapt_attention_desc d = describe(RAPT_F32, 1, 2, 2, i ? 100 : 64, i ? 80 : 64, 64, 64);
        d.sequences = i ? 5 : 3;
        assert_int_equal(rapt_attention_problem(&d, &p, NULL), RAPT_OK);
        assert_false(rapt_tuning_key(&p, &caps, &keys[i]));
        d.max_seqlen_q = 20;
        assert_int_equal(rapt_attention_problem(&d, &p, NULL), RAPT_OK);
        assert_false(rapt_tuning_key(&p, &caps, &keys[i]));
        d.max_seqlen_k = 30;
        assert_int_equal(rapt_attention_problem(&d, &p, NULL), RAPT_OK);
        assert_true(rapt_tuning_key(&p, &caps, &keys[i]));
    }
    assert_true(rapt_hash_equal(keys[0], keys[1])); /* of any batch of such sequences */
}

/* Slices of a first plan follow the device where its class tells what a unit can do. */
static void assumed_rates_follow_compute_units(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    for (int units = 0; units <= 132; units += 132) {
        caps.compute_units = (uint32_t)units;
        caps.device_class = RAPT_CLASS_NVIDIA;
        assert_true(rapt_assumed_flops_per_second(&caps) == (units ? 132 * 2e10 : 2e11));
        caps.device_class = RAPT_CLASS_OTHER;
        assert_true(rapt_assumed_flops_per_second(&caps) == 2e11);
        caps.device_class = RAPT_CLASS_MALI;
        assert_true(rapt_assumed_flops_per_second(&caps) == 1e10);
    }
}

/* Matrices of a workgroup: by what their dimensions are multiples of, workgroup size, shared memory that the driver keeps. */
static void matrices_of_workgroups_are_accepted_by_their_dimensions(void **state)
{
    (void)state;
    rapt_kernel_row row = ROW("matrices", RAPT_FAMILY_COOPMAT2, FULL, 128, 64, 32, 90, attend_operands);
    row.features = RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2);
    row.local_size = 128;
    row.coopmat[0] = 64;
    row.coopmat[1] = row.coopmat[2] = 32;
    rapt_kernel_row both[] = {row, ROW("plain", RAPT_FAMILY_TILE, FULL, 576, 32, 16, 50, attend_operands)};
    const rapt_kernel_table own = {both, 2, NULL, 0};
    rapt_caps caps;
    char why[256] = "";
    rapt_caps_floor(&caps);
    caps.max_shared_bytes = 49152;
    assert_false(rapt_device_accepts(&row, &caps, why, sizeof why));
    assert_non_null(strstr(why, "coopmat2"));
    caps.features = RAPT_FEATURE_BIT(COOPERATIVE_MATRIX) | RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2);
    caps.coopmat2_max_dimension = 1024;
    caps.coopmat2_shared_bytes = 8192;
    caps.coopmat_flexible_count = 2;
    caps.coopmat_flexible[0] = (rapt_coopmat_flexible){32, 16, 16, 0, 0, 0, 0, 128}; /* of f16 accumulators */
    caps.coopmat_flexible[1] = (rapt_coopmat_flexible){32, 32, 16, 0, 0, 1, 1, 256};
    assert_false(rapt_device_accepts(&row, &caps, why, sizeof why));
    assert_non_null(strstr(why, "workgroups of 128"));
    caps.coopmat_flexible[1].invocations = 128;
    assert_true(rapt_device_accepts(&row, &caps, why, sizeof why));
    caps.coopmat_flexible[1].k = 64;
    assert_false(rapt_device_accepts(&row, &caps, why, sizeof why));
    assert_non_null(strstr(why, "64x32x32"));
    caps.coopmat_flexible[1].k = 16;
    caps.coopmat2_max_dimension = 64;
    assert_false(rapt_device_accepts(&row, &caps, why, sizeof why));
    assert_non_null(strstr(why, "128 rows or columns, the device has 64"));
    caps.coopmat2_max_dimension = 1024;
    caps.coopmat2_shared_bytes = 49152 - 8191;
    assert_false(rapt_device_accepts(&row, &caps, why, sizeof why));
    assert_non_null(strstr(why, "needs 8192 bytes of shared memory, the device has 8191"));
    caps.coopmat2_shared_bytes = 8192;

    rapt_problem problem;
    rapt_attention_desc d = describe(RAPT_F16, 1, 4, 4, 100, 100, 64, 64);
    assert_int_equal(rapt_attention_problem(&d, &problem, NULL), RAPT_OK);
    rapt_candidate candidates[2];
    rapt_choice choice;
    for (int mode = 0; mode < 3; mode++) { /* as it is; keys of odd rows; without the capability */
        memset(candidates, 0, sizeof candidates);
        if (mode == 1)
            problem.stride[RAPT_T_K][2] += 4;
        if (mode == 2)
            assert_int_equal(rapt_caps_mask(&caps, "no-coopmat", NULL), RAPT_OK);
        assert_int_equal(rapt_select_row(&problem, &caps, &own, NULL, NULL, 1, candidates, &choice, NULL), RAPT_OK);
        assert_string_equal(choice.row->name, mode == 0 ? "matrices" : "plain");
        if (mode > 0)
            assert_non_null(strstr(candidates[0].reason, mode == 1 ? "k and v that are multiples of 8" : "coopmat2"));
    }
    /* Their windows begin at key 0, whatever a query sees: others' begin where the first one looks. */
    d = describe(RAPT_F16, 1, 4, 4, 4, 1000, 64, 64);
    d.flags = RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW;
    d.window_left = 100;
    d.window_right = -1;
    both[0].supports = both[1].supports |= RAPT_ROW_WINDOW;
    assert_int_equal(rapt_attention_problem(&d, &problem, NULL), RAPT_OK);
    caps.features = row.features;
    caps.coopmat2_max_dimension = 1024;
    caps.coopmat_flexible_count = 1;
    caps.coopmat_flexible[0] = (rapt_coopmat_flexible){32, 32, 16, 0, 0, 1, 1, 128};
    for (int mode = 0; mode < 2; mode++) {
        rapt_plan plan = {.allocator = rapt_allocator_default()};
        snprintf(problem.kernel, sizeof problem.kernel, "%s", both[mode].name);
        assert_int_equal(rapt_plan_make(&plan, &problem, &caps, &own, NULL, NULL), RAPT_OK);
        assert_true(plan.first_key > 0);
        for (uint32_t i = 0; i < 3; i++)
            if (attend_operands[i].role == RAPT_ROLE_K || attend_operands[i].role == RAPT_ROLE_V)
                assert_true((plan.steps[0].windows[i].first == 0) == (mode == 0));
        rapt_plan_clear(&plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_visible_pairs), cmocka_unit_test(counts_visible_pairs_of_windows),
        cmocka_unit_test(knows_when_keys_fill_their_tiles),
        cmocka_unit_test(cuts_packed_sequences_by_what_they_can_have),
        cmocka_unit_test(chooses_by_score_and_says_why),
        cmocka_unit_test(forcing_fails_loudly),
        cmocka_unit_test(verdicts_take_rows_out), cmocka_unit_test(maps_are_chosen_by_score),
        cmocka_unit_test(limits_are_named_with_both_numbers),
        cmocka_unit_test(boxes_cover_everything_within_limits),
        cmocka_unit_test(slices_respect_the_target),
        cmocka_unit_test(splits_do_not_depend_on_the_batch),
        cmocka_unit_test(quirks_follow_the_driver_version),
        cmocka_unit_test(rows_that_cannot_be_cut_to_fit_are_passed_over),
        cmocka_unit_test(empty_problems_have_no_steps),
        cmocka_unit_test(bad_problems_are_refused_by_name),
        cmocka_unit_test(takes_what_was_measured), cmocka_unit_test(packed_choices_need_bounds),
        cmocka_unit_test(refuses_block_masks_where_there_is_no_form),
        cmocka_unit_test(assumed_rates_follow_compute_units),
        cmocka_unit_test(matrices_of_workgroups_are_accepted_by_their_dimensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
