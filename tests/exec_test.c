/* Plans that run: numbers, bits, binding and submitting, with the validation layers watching. */
#include "rig.h"

#include "check/half.h"
#include "kernel/kernel.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

#define SHAPE(b, hq, hkv, q, k, d, dv)                                                                       \
    .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = q, .nk = k, .d_qk = d, .d_v = dv, .seed = 7

static const rapt_case cases[] = {
    {"plain", SHAPE(1, 2, 2, 40, 50, 64, 64), .dtype = RAPT_F32},
    {"causal", SHAPE(2, 2, 2, 65, 65, 64, 64), .dtype = RAPT_F32, .causal = true},
    {"causal-f16", SHAPE(1, 2, 2, 33, 70, 64, 64), .dtype = RAPT_F16, .causal = true, .causal_offset = -3},
    {"gqa", SHAPE(1, 6, 2, 17, 40, 32, 32), .dtype = RAPT_F32, .causal = true},
    {"gqa-decode", SHAPE(2, 8, 2, 1, 90, 64, 64), .dtype = RAPT_F16},
    {"fewer-query-heads", SHAPE(1, 2, 6, 9, 33, 16, 24), .dtype = RAPT_F32},
    {"unaligned", SHAPE(2, 2, 1, 21, 37, 13, 7), .dtype = RAPT_F32, .layout = RAPT_LAYOUT_ODD},
    {"unaligned-f16", SHAPE(1, 2, 1, 21, 37, 33, 31), .dtype = RAPT_F16, .layout = RAPT_LAYOUT_ODD,
     .causal = true},
    {"bf16-bnhd", SHAPE(2, 2, 2, 20, 37, 40, 40), .dtype = RAPT_BF16, .layout = RAPT_LAYOUT_BNHD},
    {"packed-qkv", SHAPE(1, 2, 2, 30, 30, 32, 32), .dtype = RAPT_F32, .layout = RAPT_LAYOUT_PACKED},
    {"broadcast", SHAPE(3, 2, 2, 11, 30, 32, 32), .dtype = RAPT_F32, .layout = RAPT_LAYOUT_BROADCAST},
    {"varlen", SHAPE(1, 2, 1, 40, 60, 32, 32), .dtype = RAPT_F32, .causal = true, .sequences = 4,
     .length_q = {9, 0, 1, 30}, .length_k = {20, 3, 7, 30}},
    {"varlen-f16-split", SHAPE(1, 4, 2, 4, 600, 64, 64), .dtype = RAPT_F16, .sequences = 3,
     .length_q = {1, 2, 1}, .length_k = {300, 1, 299}, .key_splits = 3},
    {"varlen-short-bound", SHAPE(1, 2, 2, 24, 24, 16, 16), .dtype = RAPT_F32, .sequences = 2,
     .length_q = {12, 12}, .length_k = {12, 12}, .max_seqlen_q = 5},
    {"split", SHAPE(1, 2, 2, 5, 300, 64, 64), .dtype = RAPT_F32, .causal = true, .key_splits = 4},
    {"split-bf16-odd", SHAPE(1, 3, 1, 3, 200, 20, 12), .dtype = RAPT_BF16, .layout = RAPT_LAYOUT_ODD,
     .key_splits = 3},
    {"poisoned", SHAPE(1, 2, 2, 70, 70, 64, 64), .dtype = RAPT_F32, .causal = true,
     .input = RAPT_INPUT_POISONED},
    {"poisoned-split-f16", SHAPE(1, 4, 2, 4, 600, 64, 64), .dtype = RAPT_F16, .causal = true,
     .causal_offset = -70, .key_splits = 4, .input = RAPT_INPUT_POISONED},
    {"exact", SHAPE(1, 2, 2, 33, 70, 32, 24), .dtype = RAPT_F16, .input = RAPT_INPUT_EXACT},
    {"large-scores", SHAPE(1, 2, 2, 20, 70, 64, 64), .dtype = RAPT_F32, .input = RAPT_INPUT_LARGE},
    {"head-dim-1", SHAPE(1, 1, 1, 3, 5, 1, 1), .dtype = RAPT_F16},
    {"head-dim-576-512", SHAPE(1, 4, 1, 2, 40, 576, 512), .dtype = RAPT_F32},
    {"sees-nothing", SHAPE(1, 2, 2, 10, 10, 64, 64), .dtype = RAPT_F32, .causal = true,
     .causal_offset = -100},
    {"no-queries", SHAPE(2, 3, 3, 0, 5, 8, 8), .dtype = RAPT_F32},
    {"no-keys", SHAPE(2, 3, 3, 5, 0, 8, 8), .dtype = RAPT_F32},
    {"no-keys-f16-odd", SHAPE(1, 2, 1, 3, 0, 5, 7), .dtype = RAPT_F16, .layout = RAPT_LAYOUT_ODD},
    {"no-batch", SHAPE(0, 3, 3, 5, 5, 8, 8), .dtype = RAPT_F32},
    {"no-lse", SHAPE(1, 2, 2, 33, 33, 64, 64), .dtype = RAPT_F32, .no_lse = true},
    {"grid", SHAPE(1, 2, 2, 130, 130, 64, 64), .dtype = RAPT_F32, .grid = {2, {10, 13}, {5, 4}}, .input = RAPT_INPUT_POISONED},
    {"grid-f16", SHAPE(2, 4, 2, 126, 126, 40, 64), .dtype = RAPT_F16, .grid = {3, {3, 6, 7}, {3, 3, 3}, {1, 2, 2}, {2, 1, 3}, 5},
     .input = RAPT_INPUT_POISONED},
    {"grid-bf16-odd", SHAPE(1, 2, 2, 90, 90, 33, 31), .dtype = RAPT_BF16, .grid = {1, {90}, {7}, {4}, {2}},
     .layout = RAPT_LAYOUT_ODD},
};

/* The layers report through the runtime's log; what they had to say is this test's message. */
static void assert_silent(rig *r)
{
    const unsigned count = atomic_load(&r->runtime->validation_messages);
    const char *at = strstr(r->log, "validation: ");
    if (count != 0)
        fail_msg("%u validation messages, the first: %.400s", count, at ? at : "?");
}

static void test_cases_under_validation(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        if (!test_takes(i))
            continue;
        rig_check(&the_rig, &cases[i], NULL, 1);
        assert_silent(&the_rig);
    }
    rapt_device_destroy(&the_rig.device);
    assert_silent(&the_rig); /* nothing left on the device either */
    rig_close(&the_rig);
}

/* Without this, silence would prove nothing: a wrong call and a missing barrier must be seen. */
static void test_validation_is_awake(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    rapt_device *d = the_rig.device;
    atomic_uint *messages = &the_rig.runtime->validation_messages;
    if (!rig_validated(&the_rig)) {
        rig_close(&the_rig);
        skip();
    }
    const VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                               .queueFamilyIndex = d->queue_family};
    VkCommandPool pool;
    VkCommandBuffer commands;
    rapt_buffer *buffer;
    RIG_OK(rapt_buffer_create(d, 256, &buffer, error));
    assert_int_equal(d->fn.vkCreateCommandPool(d->handle, &pool_info, NULL, &pool), VK_SUCCESS);
    const VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                  .commandPool = pool,
                                                  .commandBufferCount = 1};
    assert_int_equal(d->fn.vkAllocateCommandBuffers(d->handle, &allocate, &commands), VK_SUCCESS);
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    assert_int_equal(d->fn.vkBeginCommandBuffer(commands, &begin), VK_SUCCESS);
    d->fn.vkCmdFillBuffer(commands, buffer->handle, 2, 4, 0); /* offset: not a multiple of 4 */
    assert_true(atomic_load(messages) > 0);
    atomic_store(messages, 0);
    d->fn.vkCmdFillBuffer(commands, buffer->handle, 0, 16, 1);
    d->fn.vkCmdFillBuffer(commands, buffer->handle, 0, 16, 2); /* no barrier between two writes */
    assert_true(atomic_load(messages) > 0);
    d->fn.vkDestroyCommandPool(d->handle, pool, NULL);
    rapt_buffer_destroy(&buffer);
    rig_close(&the_rig);
}

/* ---- every row of the table ---- */

static rapt_dtype one_dtype(const rapt_kernel_row *row)
{
    for (int t = RAPT_F32; t <= RAPT_BF16; t++)
        if (row->dtypes >> t & 1)
            return (rapt_dtype)t;
    return RAPT_DTYPE_NONE;
}

static bool all_rows; /* else the first of each family and dtype that the device runs: compiling takes long */
static const char *named = ""; /* all_rows: those that have this in their names */

/* Each is forced, alone and with split keys, on the largest head_dim it takes. */
static void test_rows(void **state)
{
    (void)state;
    const rapt_kernel_table *table = rapt_kernels();
    unsigned ran = 0, refused = 0, merges = 0;
    bool done[RAPT_FAMILY_COUNT][RAPT_BF16 + 1] = {{false}};
    rig_open(&the_rig, NULL);
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        if (row->family == RAPT_FAMILY_MERGE) {
            merges++;
            continue;
        }
        if (row->family == RAPT_FAMILY_PEAK || row->family == RAPT_FAMILY_MAP || row->family == RAPT_FAMILY_ROUTE ||
            row->family == RAPT_FAMILY_STATE || row->family == RAPT_FAMILY_SCAN || row->dtypes == 0 || !strstr(row->name, named))
            continue; /* not attention, or not asked for */
        if (!all_rows && (done[row->family][one_dtype(row)] || rapt_quirk(row, &the_rig.device->caps) != NULL))
            continue; /* one is enough; or never chosen here, as this driver's compiler takes minutes for it */
        rapt_case c = {
            .batch = 1, .q_heads = 4, .kv_heads = 2, .nq = row->rows_per_tile / 2 + 3, .seed = i + 1};
        snprintf(c.name, sizeof c.name, "row %s", row->name);
        c.dtype = one_dtype(row);
        c.d_qk = row->head_dim_qk_max;
        c.d_v = row->head_dim_v_max;
        c.nk = row->keys_per_tile + 9;
        if (row->nq_max != 0)
            c.nq = RAPT_MAX(1, RAPT_MIN(c.nq, row->nq_max / 2));
        if (row->supports & RAPT_ROW_GRID) {
            c.grid = (rapt_grid){2, {3, (uint32_t)c.nq}, {2, 3}, {1, 1}, {2, 1}, 1};
            c.nq = c.nk = c.nq * 3;
        }
        c.causal = (row->supports & RAPT_ROW_CAUSAL) != 0;
        const uint64_t begin = rapt_now_ns();
        rapt_result result = rig_try(&the_rig, &c, row->name, 0);
        if (result.verdict == RAPT_CHECK_REFUSED) {
            refused++;
            if (all_rows)
                print_message("  %8.1f s  refused: %s\n", (double)(rapt_now_ns() - begin) * 1e-9,
                              result.error.message);
            assert_non_null(strstr(result.error.message, row->name));
            continue;
        }
        ran++;
        done[row->family][one_dtype(row)] = true;
        assert_string_equal(result.info.kernel, row->name);
        if (row->supports & RAPT_ROW_PARTIAL) {
            c.key_splits = 2;
            c.nk = 2ull * row->keys_per_tile + 5;
            c.nq = RAPT_MIN(c.nq, 3);
            result = rig_check(&the_rig, &c, row->name, 0);
            assert_true(result.info.key_splits >= 2);
            assert_true(result.info.merge_kernel[0] != 0);
            assert_int_equal(result.info.chain, 2);
        }
        if (all_rows) { /* nearly all of it is the driver's compiler */
            print_message("  %8.1f s  %s\n", (double)(rapt_now_ns() - begin) * 1e-9, row->name);
            fflush(stdout);
        }
    }
    print_message("  %u rows ran, %u refused, %u merge\n", ran, refused, merges);
    assert_true(ran > 0);
    assert_true(merges > 0);
    rig_close(&the_rig);
}

/* ---- the same bits ---- */

static void test_hundred_runs(void **state)
{
    (void)state;
    static const char *const chosen[] = {"causal-f16", "gqa-decode", "varlen-f16-split", "split"};
    rig_open(&the_rig, NULL);
    unsigned found = 0;
    for (size_t i = 0; i < RAPT_COUNT(cases); i++)
        for (size_t k = 0; k < RAPT_COUNT(chosen); k++)
            if (strcmp(cases[i].name, chosen[k]) == 0) {
                rig_check(&the_rig, &cases[i], NULL, 99);
                found++;
            }
    assert_int_equal(found, RAPT_COUNT(chosen));
    rig_close(&the_rig);
}

/* One sequence among others: sequence n of a batch of three, or of packed sequences, is as when it is alone.
 */
typedef struct mixture {
    rapt_dtype dtype;
    bool causal;
    uint64_t nq, nk;
    uint32_t key_splits;
} mixture;

enum { MIX_HEADS = 4, MIX_KV = 2, MIX_DIM = 64 };

static rig_call mixture_call(const mixture *m, uint64_t batch, char *q, char *k, char *v, char *out,
                             float *lse)
{
    rig_call call = {.desc = rig_desc(m->dtype, batch, MIX_HEADS, MIX_KV, m->nq, m->nk, MIX_DIM, true),
                     .q = q,
                     .k = k,
                     .v = v,
                     .out = out,
                     .lse = lse};
    call.desc.flags = m->causal ? RAPT_ATTENTION_CAUSAL : 0;
    call.desc.key_splits = m->key_splits;
    return call;
}

/* (heads, sequence, dim) of sequence `from` to a packed axis that begins at row `at` of `total`. */
static void pack(char *to, const char *from, uint64_t heads, uint64_t rows, uint64_t at, uint64_t total,
                 size_t row)
{
    for (uint64_t h = 0; h < heads; h++)
        memcpy(to + (h * total + at) * row, from + h * rows * row, rows * row);
}

static void check_mixture(rapt_device *device, const mixture *m)
{
    const size_t e = rapt_check_dtype_size(m->dtype), row = MIX_DIM * e;
    const size_t q1 = MIX_HEADS * m->nq * MIX_DIM, k1 = MIX_KV * m->nk * MIX_DIM, rows = MIX_HEADS * m->nq;
    char *q = rig_numbers(m->dtype, 3 * q1, 1), *k = rig_numbers(m->dtype, 3 * k1, 2);
    char *v = rig_numbers(m->dtype, 3 * k1, 3);
    char *alone = calloc(1, q1 * e), *three = calloc(3, q1 * e);
    float *lse_alone = calloc(rows, sizeof(float)), *lse_three = calloc(3 * rows, sizeof(float));
    assert_true(alone && three && lse_alone && lse_three);
    rig_call one = mixture_call(m, 1, q + q1 * e, k + k1 * e, v + k1 * e, alone, lse_alone);
    rig_call all = mixture_call(m, 3, q, k, v, three, lse_three);
    rig_run(device, &one);
    rig_run(device, &all);
    assert_memory_equal(alone, three + q1 * e, q1 * e);
    assert_memory_equal(lse_alone, lse_three + rows, rows * sizeof(float));

    /* Packed: the sequence in the middle of shorter ones, and the same alone, under the same bounds. */
    const uint64_t before_q = m->nq > 2 ? m->nq - 2 : 1, before_k = m->nk - m->nk / 3, after = 1;
    const uint64_t total_q = before_q + m->nq + after, total_k = before_k + m->nk + after;
    const int32_t cu_q[] = {0, (int32_t)before_q, (int32_t)(before_q + m->nq), (int32_t)total_q};
    const int32_t cu_k[] = {0, (int32_t)before_k, (int32_t)(before_k + m->nk), (int32_t)total_k};
    const int32_t cu_q1[] = {0, (int32_t)m->nq}, cu_k1[] = {0, (int32_t)m->nk};
    char *pq = rig_numbers(m->dtype, MIX_HEADS * total_q * MIX_DIM, 4);
    char *pk = rig_numbers(m->dtype, MIX_KV * total_k * MIX_DIM, 5);
    char *pv = rig_numbers(m->dtype, MIX_KV * total_k * MIX_DIM, 6);
    char *pout = calloc(MIX_HEADS * total_q, row), *packed = calloc(1, q1 * e);
    float *plse = calloc(MIX_HEADS * total_q, sizeof(float)), *packed_lse = calloc(rows, sizeof(float));
    assert_true(pout && packed && plse && packed_lse);
    pack(pq, one.q, MIX_HEADS, m->nq, before_q, total_q, row);
    pack(pk, one.k, MIX_KV, m->nk, before_k, total_k, row);
    pack(pv, one.v, MIX_KV, m->nk, before_k, total_k, row);
    mixture p = *m;
    p.nq = total_q;
    p.nk = total_k;
    rig_call among = mixture_call(&p, 1, pq, pk, pv, pout, plse);
    rig_call single = mixture_call(m, 1, q + q1 * e, k + k1 * e, v + k1 * e, packed, packed_lse);
    among.desc.sequences = 3;
    single.desc.sequences = 1;
    among.cu_q = cu_q;
    among.cu_k = cu_k;
    single.cu_q = cu_q1;
    single.cu_k = cu_k1;
    among.desc.max_seqlen_q = single.desc.max_seqlen_q = m->nq;
    among.desc.max_seqlen_k = single.desc.max_seqlen_k = m->nk;
    rig_run(device, &among);
    rig_run(device, &single);
    for (uint64_t h = 0; h < MIX_HEADS; h++) {
        const char *got = pout + (h * total_q + before_q) * row;
        assert_memory_equal(got, packed + h * m->nq * row, m->nq * row);
        assert_memory_equal(got, alone + h * m->nq * row, m->nq * row); /* and dense is as packed */
        assert_memory_equal(plse + h * total_q + before_q, lse_alone + h * m->nq, m->nq * sizeof(float));
    }
    void *all_memory[] = {q,  k,  v,  alone, three,  lse_alone, lse_three,
                          pq, pk, pv, pout,  packed, plse,      packed_lse};
    for (size_t i = 0; i < RAPT_COUNT(all_memory); i++)
        free(all_memory[i]);
}

static void test_batch_composition(void **state)
{
    (void)state;
    static const mixture mixtures[] = {
        {RAPT_F32, true, 37, 37, 0},
        {RAPT_F32, false, 1, 500, 0},
        {RAPT_F32, false, 1, 500, 3},
        {RAPT_F16, true, 20, 300, 4},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(mixtures); i++)
        check_mixture(the_rig.device, &mixtures[i]);
    rig_close(&the_rig);
}

/* Slices of any size are cuts between rows or key splits that are there anyhow: the same bits. */
static void test_slices_keep_bits(void **state)
{
    (void)state;
    const size_t count = 2ull * 3 * 200 * 64;
    rig_open(&the_rig, NULL);
    char *q = rig_numbers(RAPT_F32, count, 1), *k = rig_numbers(RAPT_F32, count, 2);
    char *v = rig_numbers(RAPT_F32, count, 3), *out[2] = {calloc(count, 4), calloc(count, 4)};
    assert_true(out[0] && out[1]);
    for (int i = 0; i < 2; i++) {
        rig_call call = {
            .desc = rig_desc(RAPT_F32, 2, 3, 3, 200, 200, 64, false), .q = q, .k = k, .v = v, .out = out[i]};
        rapt_plan *plan;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        call.desc.flags = RAPT_ATTENTION_CAUSAL;
        call.desc.key_splits = 2;
        call.desc.slice_ms = i == 0 ? 1e6f : 1e-6f;
        RIG_OK(rapt_attention_plan(the_rig.device, &call.desc, &plan, error));
        RIG_OK(rapt_plan_describe(plan, &info, error));
        rapt_plan_destroy(&plan);
        if (i == 0)
            assert_int_equal(info.slices, 1);
        else
            assert_true(info.slices > 10);
        rig_run(the_rig.device, &call);
    }
    assert_memory_equal(out[0], out[1], count * 4);
    void *all[] = {q, k, v, out[0], out[1]};
    for (size_t i = 0; i < RAPT_COUNT(all); i++)
        free(all[i]);
    rig_close(&the_rig);
}

/* ---- binding and submitting ---- */

typedef struct bound {
    rig_call call;
    rig_buffers buffers;
    rapt_plan *plan;
    rapt_binding *binding;
    char *memory[4];
} bound;

static void bound_make(rapt_device *device, bound *b, rapt_attention_desc desc)
{
    const uint64_t q = desc.q.size[0] * (uint64_t)desc.q.stride[0],
                   k = desc.k.size[0] * (uint64_t)desc.k.stride[0];
    *b = (bound){.call.desc = desc};
    b->memory[0] = rig_numbers(desc.q.dtype, q, 1);
    b->memory[1] = rig_numbers(desc.q.dtype, k, 2);
    b->memory[2] = rig_numbers(desc.q.dtype, k, 3);
    b->memory[3] = calloc(1, rapt_tensor_bytes(&desc.out));
    assert_non_null(b->memory[3]);
    b->call.q = b->memory[0];
    b->call.k = b->memory[1];
    b->call.v = b->memory[2];
    b->call.out = b->memory[3];
    rig_buffers_make(device, &b->call, &b->buffers);
    RIG_OK(rapt_attention_plan(device, &desc, &b->plan, error));
    RIG_OK(rapt_plan_prepare(b->plan, error));
    RIG_OK(rapt_attention_bind(b->plan, &b->buffers.args, &b->binding, error));
}

static void bound_free(bound *b)
{
    rapt_binding_destroy(&b->binding);
    rapt_plan_destroy(&b->plan);
    rig_buffers_free(&b->buffers);
    for (int i = 0; i < 4; i++)
        free(b->memory[i]);
}

static void test_submit_and_wait(void **state)
{
    (void)state;
    bound b;
    rapt_timing timing;
    rig_open(&the_rig, &(rig_options){.validation = true});
    bound_make(the_rig.device, &b, rig_desc(RAPT_F32, 1, 4, 4, 200, 200, 64, false));
    RIG_OK(rapt_wait(b.binding, 0, error)); /* nothing is under way */
    rapt_binding_timing(b.binding, &timing);
    assert_true(timing.device_ns < 0);
    RIG_OK(rapt_submit(b.binding, error));
    RIG_FAILS(rapt_submit(b.binding, error), RAPT_ERROR_BUSY, "in flight");
    RIG_OK(rapt_wait(b.binding, UINT64_MAX, error));
    RIG_OK(rapt_wait(b.binding, UINT64_MAX, error)); /* once more: nothing to wait for */
    rapt_binding_timing(b.binding, &timing);
    assert_true(timing.submit_ns > 0);
    if (the_rig.device->caps.timestamp_period > 0)
        assert_true(timing.device_ns > 0 && timing.device_ns < 60e9);
    else
        assert_true(timing.device_ns < 0);
    /* New contents, the same binding. */
    char *first = malloc(rapt_tensor_bytes(&b.call.desc.out));
    assert_non_null(first);
    rig_buffers_take(&b.call, &b.buffers);
    memcpy(first, b.call.out, rapt_tensor_bytes(&b.call.desc.out));
    RIG_OK(rapt_buffer_upload(b.buffers.list[2], 0, b.call.k, rapt_tensor_bytes(&b.call.desc.v), error));
    RIG_OK(rapt_submit(b.binding, error));
    RIG_OK(rapt_wait(b.binding, UINT64_MAX, error));
    rig_buffers_take(&b.call, &b.buffers);
    assert_memory_not_equal(first, b.call.out, rapt_tensor_bytes(&b.call.desc.out));
    RIG_OK(rapt_buffer_upload(b.buffers.list[2], 0, b.call.v, rapt_tensor_bytes(&b.call.desc.v), error));
    RIG_OK(rapt_submit(b.binding, error));
    RIG_OK(rapt_wait(b.binding, UINT64_MAX, error));
    rig_buffers_take(&b.call, &b.buffers);
    assert_memory_equal(first, b.call.out, rapt_tensor_bytes(&b.call.desc.out));
    free(first);
    /* Destroyed while in flight: waits for its work. */
    RIG_OK(rapt_submit(b.binding, error));
    bound_free(&b);
    rapt_binding_timing(NULL, &timing);
    assert_true(timing.device_ns < 0);
    RIG_FAILS(rapt_submit(NULL, error), RAPT_ERROR_INVALID, "binding is NULL");
    RIG_FAILS(rapt_wait(NULL, 0, error), RAPT_ERROR_INVALID, "binding is NULL");
    assert_silent(&the_rig);
    rig_close(&the_rig);
}

/* A wait that runs out of time leaves the work in flight. The semaphore holds it back for certain. */
static void test_wait_runs_out(void **state)
{
    (void)state;
    bound b;
    rig_open(&the_rig, &(rig_options){.validation = true});
    rapt_device *d = the_rig.device;
    if (!(d->caps.features & RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE))) {
        rig_close(&the_rig);
        skip();
    }
    PFN_vkCreateSemaphore create;
    PFN_vkDestroySemaphore destroy;
    PFN_vkSignalSemaphore signal_semaphore;
    PFN_vkVoidFunction procs[3] = {
        d->instance.fn.vkGetDeviceProcAddr(d->handle, "vkCreateSemaphore"),
        d->instance.fn.vkGetDeviceProcAddr(d->handle, "vkDestroySemaphore"),
        d->instance.fn.vkGetDeviceProcAddr(d->handle, "vkSignalSemaphore"),
    };
    if (procs[2] == NULL)
        procs[2] = d->instance.fn.vkGetDeviceProcAddr(d->handle, "vkSignalSemaphoreKHR");
    memcpy(&create, &procs[0], sizeof create);
    memcpy(&destroy, &procs[1], sizeof destroy);
    memcpy(&signal_semaphore, &procs[2], sizeof signal_semaphore);
    const VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                            .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkSemaphore semaphore;
    assert_int_equal(create(d->handle, &info, NULL, &semaphore), VK_SUCCESS);
    bound_make(d, &b, rig_desc(RAPT_F32, 1, 2, 2, 20, 20, 64, false));
    RIG_OK(rapt_submit_timeline(b.binding, semaphore, 1, VK_NULL_HANDLE, 0, error));
    RIG_FAILS(rapt_wait(b.binding, 0, error), RAPT_ERROR_TIMEOUT, "not done");
    RIG_FAILS(rapt_wait(b.binding, 2000000, error), RAPT_ERROR_TIMEOUT, "2 ms");
    RIG_FAILS(rapt_submit(b.binding, error), RAPT_ERROR_BUSY, "in flight");
    const VkSemaphoreSignalInfo go = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, .semaphore = semaphore, .value = 1};
    assert_int_equal(signal_semaphore(d->handle, &go), VK_SUCCESS);
    RIG_OK(rapt_wait(b.binding, UINT64_MAX, error));
    bound_free(&b);
    destroy(d->handle, semaphore, NULL);
    assert_silent(&the_rig);
    rig_close(&the_rig);
}

/* A queue may count time in fewer than 64 bits; the counter then wraps around. */
static VKAPI_ATTR VkResult VKAPI_CALL wrapping_stamps(VkDevice device, VkQueryPool pool, uint32_t first,
                                                      uint32_t count, size_t size, void *data,
                                                      VkDeviceSize stride, VkQueryResultFlags flags)
{
    uint64_t *stamps = data;
    (void)device;
    (void)pool;
    (void)first;
    (void)stride;
    (void)flags;
    assert_true(size >= count * sizeof *stamps);
    for (uint32_t i = 0; i < count; i++)
        stamps[i] = i % 2 == 0 ? (1ull << 36) - 700 : 300;
    return VK_SUCCESS;
}

static void test_timestamps_wrap(void **state)
{
    (void)state;
    bound b;
    rapt_timing timing;
    rig_open(&the_rig, NULL);
    if (the_rig.device->caps.timestamp_period <= 0) {
        rig_close(&the_rig);
        skip();
    }
    the_rig.device->fn.vkGetQueryPoolResults = wrapping_stamps;
    the_rig.device->timestamp_bits = 36;
    the_rig.device->caps.timestamp_period = 2.0f;
    bound_make(the_rig.device, &b, rig_desc(RAPT_F32, 1, 1, 1, 5, 5, 16, false));
    RIG_OK(rapt_submit(b.binding, error));
    RIG_OK(rapt_wait(b.binding, UINT64_MAX, error));
    rapt_binding_timing(b.binding, &timing);
    assert_true(timing.device_ns == 2000.0);
    bound_free(&b);
    rig_close(&the_rig);
}

static void test_bind_refuses(void **state)
{
    (void)state;
    bound b;
    rapt_binding *binding = NULL;
    rapt_plan *plan, *unprepared;
    rig_open(&the_rig, NULL);
    rapt_device *d = the_rig.device;
    bound_make(d, &b, rig_desc(RAPT_F32, 1, 2, 2, 20, 300, 64, true));
    plan = b.plan;
    const rapt_attention_args good = b.buffers.args;
    rapt_attention_args args = good;
    args.k.buffer = NULL;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "k is not bound");
    args = good;
    args.lse.buffer = NULL;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "lse is not bound");
    args = good;
    args.v.offset = 16;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID,
              "v needs 153600 bytes at offset 16");
    args.v.offset = UINT64_MAX - 15;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "v needs");
    args = good;
    args.out.buffer = good.k.buffer; /* large enough for both */
    args.q.buffer = good.k.buffer;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "overlap");
    args = good;
    args.q = (rapt_slot){good.k.buffer, 8};
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "multiple of 16");
    args.struct_size = 8;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "struct_size");
    RIG_FAILS(rapt_attention_bind(plan, NULL, &binding, error), RAPT_ERROR_INVALID, "args is NULL");
    RIG_OK(rapt_attention_plan(d, &b.call.desc, &unprepared, error));
    RIG_FAILS(rapt_attention_bind(unprepared, &good, &binding, error), RAPT_ERROR_INVALID, "not prepared");
    rapt_plan_destroy(&unprepared);
    RIG_OK(rapt_attention_plan_for_caps(rapt_device_caps(d), &b.call.desc, &unprepared, error));
    RIG_FAILS(rapt_plan_prepare(unprepared, error), RAPT_ERROR_INVALID, "without a device");
    rapt_plan_destroy(&unprepared);
    /* The other device's buffers. */
    rapt_device *other = NULL;
    rapt_buffer *foreign = NULL;
    RIG_OK(rapt_device_open(the_rig.runtime, NULL, &other, error));
    RIG_OK(rapt_buffer_create(other, 1 << 20, &foreign, error));
    args = good;
    args.q.buffer = foreign;
    RIG_FAILS(rapt_attention_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "another device");
    rapt_buffer_destroy(&foreign);
    rapt_device_destroy(&other);
    assert_null(binding);
    bound_free(&b);

    /* A workspace of the caller's: aligned and large enough, or named in the refusal. */
    rapt_attention_desc desc = rig_desc(RAPT_F32, 1, 2, 2, 20, 300, 64, true);
    desc.key_splits = 2;
    bound_make(d, &b, desc);
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    rapt_buffer *workspace;
    RIG_OK(rapt_plan_describe(b.plan, &info, error));
    assert_int_equal(info.key_splits, 2);
    assert_int_equal(info.workspace_bytes % 4, 0);
    RIG_OK(rapt_buffer_create(d, info.workspace_bytes + 256, &workspace, error));
    args = b.buffers.args;
    args.workspace = (rapt_slot){workspace, 16};
    RIG_FAILS(rapt_attention_bind(b.plan, &args, &binding, error), RAPT_ERROR_INVALID,
              "workspace lies at byte 16");
    args.workspace.offset = 512;
    RIG_FAILS(rapt_attention_bind(b.plan, &args, &binding, error), RAPT_ERROR_INVALID, "workspace needs");
    args.workspace.offset = 256;
    RIG_OK(rapt_attention_bind(b.plan, &args, &binding, error));
    RIG_OK(rapt_submit(binding, error));
    RIG_OK(rapt_wait(binding, UINT64_MAX, error));
    rapt_binding_destroy(&binding);
    rapt_buffer_destroy(&workspace);
    bound_free(&b);
    rig_close(&the_rig);
}

/* Bind takes from the device what the plan said, and gives it all back. */
static void test_memory_is_as_planned(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    rapt_attention_desc split = rig_desc(RAPT_F32, 1, 2, 2, 20, 300, 64, true);
    split.key_splits = 3;
    const rapt_attention_desc descs[] = {rig_desc(RAPT_F32, 2, 4, 2, 33, 65, 64, true), split,
                                         rig_desc(RAPT_F16, 1, 8, 2, 1, 4096, 128, false)};
    for (size_t n = 0; n < sizeof descs / sizeof *descs; n++) {
        rapt_memory_info before, after;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        rapt_binding *binding = NULL;
        bound b;
        bound_make(the_rig.device, &b, descs[n]); /* the first binding: uploads and their staging are behind it */
        RIG_OK(rapt_plan_describe(b.plan, &info, error));
        rapt_device_memory(the_rig.device, &before);
        RIG_OK(rapt_attention_bind(b.plan, &b.buffers.args, &binding, error));
        rapt_device_memory(the_rig.device, &after);
        const uint64_t taken = after.used_bytes - before.used_bytes; /* parameters: as the driver rounds them */
        assert_in_range(taken, info.workspace_bytes + 4, info.workspace_bytes + info.parameter_bytes);
        rapt_binding_destroy(&binding);
        rapt_device_memory(the_rig.device, &after);
        assert_int_equal(after.used_bytes, before.used_bytes);
        bound_free(&b);
    }
    rig_close(&the_rig);
}

/* Every row that merges, by splits of which some see nothing, and by more than a workgroup has lanes. */
static void test_merges(void **state)
{
    (void)state;
    static const rapt_case shapes[] = {
        {"merge few", SHAPE(2, 2, 1, 3, 300, 64, 20), .causal = true, .key_splits = 5, .input = RAPT_INPUT_POISONED},
        {"merge many", SHAPE(1, 1, 1, 1, 2192, 8, 128), .key_splits = 137},
        {"merge sequences", SHAPE(1, 1, 1, 4, 600, 16, 37), .sequences = 3, .length_q = {1, 2, 1}, .length_k = {300, 1, 299}, .key_splits = 3},
        {"merge wide", SHAPE(1, 2, 1, 1, 130, 16, 516), .key_splits = 4},
    };
    const rapt_kernel_table *table = rapt_kernels();
    rig_open(&the_rig, NULL);
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        if (row->family != RAPT_FAMILY_MERGE)
            continue;
        for (uint32_t k = 0; k < table->row_count; k++)
            if (table->rows[k].family == RAPT_FAMILY_MERGE && k != i)
                RIG_OK(rapt_device_block(the_rig.device, table->rows[k].name, "not in this test", NULL, error));
        for (size_t n = 0; n < RAPT_COUNT(shapes); n++) {
            rapt_case c = shapes[n];
            c.dtype = one_dtype(row);
            c.seed = n + 1;
            char kernel[64];
            snprintf(kernel, sizeof kernel, "naive-%s", rapt_dtype_name(c.dtype));
            const rapt_result result = rig_check(&the_rig, &c, kernel, 0);
            assert_string_equal(result.info.merge_kernel, row->name);
            assert_int_equal(result.info.key_splits, c.key_splits);
        }
        for (uint32_t k = 0; k < table->row_count; k++)
            if (table->rows[k].family == RAPT_FAMILY_MERGE && k != i)
                RIG_OK(rapt_device_unblock(the_rig.device, table->rows[k].name, NULL, error));
    }
    rig_close(&the_rig);
}

/* exec_test rows [PART]: every row of the table (with PART in its name), and nothing else. */
int main(int argc, char **argv)
{
    const struct CMUnitTest rows[] = {cmocka_unit_test(test_rows)};
    all_rows = argc > 1 && strcmp(argv[1], "rows") == 0;
    if (argc > 2)
        named = argv[2];
    if (all_rows)
        return cmocka_run_group_tests_name("exec, all rows", rows, NULL, NULL);
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases_under_validation),
        cmocka_unit_test(test_validation_is_awake),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_hundred_runs),
        cmocka_unit_test(test_batch_composition),
        cmocka_unit_test(test_slices_keep_bits),
        cmocka_unit_test(test_submit_and_wait),
        cmocka_unit_test(test_wait_runs_out),
        cmocka_unit_test(test_timestamps_wrap),
        cmocka_unit_test(test_bind_refuses),
        cmocka_unit_test(test_memory_is_as_planned),
    };
    return RIG_RUN("exec", tests);
}
