/* Does the checker catch what it is there to catch? The library's calls are played here by a device in host
 * memory that computes with the oracle and then errs on purpose. */
#include "support.h"

#include "check/half.h"
#include "check/runner.h"

#include <math.h>

typedef enum fault {
    NO_FAULT,
    OFF_BY_A_LITTLE,  /* one element beyond the tolerance */
    A_NAN,            /* one element is NaN */
    ZERO_LSE,         /* the LSE of a row that sees nothing is 0 */
    LEFT_OUT,         /* one row is not written */
    WRITES_GAP,       /* a byte behind the last row changes */
    WRITES_BEFORE,    /* a byte before the first row changes */
    WRITES_UNTOUCHED, /* a row beyond max_seqlen_q is written */
    WRITES_WORKSPACE, /* a byte behind the workspace changes */
    OTHER_BITS,       /* the second run differs, within the tolerance */
    FLAKY,            /* every third run is wrong */
    FALSE_FLOPS,      /* the plan promises other flops */
    OTHER_KERNEL,     /* the plan ignores the forced kernel */
    REFUSES,          /* the plan refuses */
    PLAN_FAILS,
    BIND_FAILS,
    SUBMIT_FAILS,
    WAIT_FAILS,
} fault;

static struct {
    fault fault;
    unsigned runs, buffers, plans, bindings;
} fake;

struct rapt_buffer {
    uint64_t bytes;
    unsigned char *data;
};
struct rapt_plan {
    rapt_attention_desc desc;
};
struct rapt_binding {
    rapt_plan *plan;
    rapt_attention_args args;
};

static rapt_status says(rapt_error *error, rapt_status status)
{
    error->status = status;
    snprintf(error->message, sizeof error->message, "as told to");
    return status;
}

/* ---- the calls ---- */

rapt_status rapt_buffer_create(rapt_device *device, uint64_t bytes, rapt_buffer **buffer, rapt_error *error)
{
    (void)device;
    (void)error;
    *buffer = malloc(sizeof **buffer);
    **buffer = (rapt_buffer){bytes, calloc(1, bytes)};
    fake.buffers++;
    return RAPT_OK;
}

void rapt_buffer_destroy(rapt_buffer **buffer)
{
    if (!*buffer)
        return;
    free((*buffer)->data);
    free(*buffer);
    *buffer = NULL;
    fake.buffers--;
}

rapt_status rapt_buffer_upload(rapt_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                               rapt_error *error)
{
    (void)error;
    assert_true(offset + bytes <= buffer->bytes);
    memcpy(buffer->data + offset, data, bytes);
    return RAPT_OK;
}

rapt_status rapt_buffer_download(rapt_buffer *buffer, uint64_t offset, void *data, uint64_t bytes,
                                 rapt_error *error)
{
    (void)error;
    assert_true(offset + bytes <= buffer->bytes);
    memcpy(data, buffer->data + offset, bytes);
    return RAPT_OK;
}

rapt_status rapt_buffer_fill(rapt_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                             rapt_error *error)
{
    (void)error;
    assert_true(offset % 4 == 0 && bytes % 4 == 0 && offset + bytes <= buffer->bytes);
    for (uint64_t at = offset; at < offset + bytes; at += 4)
        memcpy(buffer->data + at, &pattern, 4);
    return RAPT_OK;
}

rapt_status rapt_attention_plan(rapt_device *device, const rapt_attention_desc *desc, rapt_plan **plan,
                                rapt_error *error)
{
    (void)device;
    if (fake.fault == REFUSES || fake.fault == PLAN_FAILS)
        return says(error, fake.fault == REFUSES ? RAPT_ERROR_UNSUPPORTED : RAPT_ERROR_VULKAN);
    *plan = malloc(sizeof **plan);
    (*plan)->desc = *desc;
    fake.plans++;
    return RAPT_OK;
}

void rapt_plan_destroy(rapt_plan **plan)
{
    fake.plans -= *plan != NULL;
    free(*plan);
    *plan = NULL;
}

rapt_status rapt_plan_prepare(rapt_plan *plan, rapt_error *error)
{
    (void)plan;
    (void)error;
    return RAPT_OK;
}

rapt_status rapt_plan_describe(const rapt_plan *plan, rapt_plan_info *info, rapt_error *error)
{
    const rapt_attention_desc *d = &plan->desc;
    (void)error;
    snprintf(info->kernel, sizeof info->kernel, "%s",
             fake.fault != OTHER_KERNEL && d->kernel ? d->kernel : "fake");
    info->workspace_bytes = 100;
    const rapt_check_inputs none = {0};
    info->flops =
        d->sequences
            ? 0
            : (uint64_t)(2 * (double)(d->q.size[3] + d->out.size[3]) * rapt_check_attention_pairs(d, &none)) +
                  (fake.fault == FALSE_FLOPS);
    return RAPT_OK;
}

rapt_status rapt_attention_bind(rapt_plan *plan, const rapt_attention_args *args, rapt_binding **binding,
                                rapt_error *error)
{
    if (fake.fault == BIND_FAILS)
        return says(error, RAPT_ERROR_INVALID);
    assert_true(args->workspace.buffer && args->workspace.buffer->bytes >= 100);
    *binding = malloc(sizeof **binding);
    **binding = (rapt_binding){plan, *args};
    fake.bindings++;
    return RAPT_OK;
}

void rapt_binding_destroy(rapt_binding **binding)
{
    fake.bindings -= *binding != NULL;
    free(*binding);
    *binding = NULL;
}

static unsigned char *at(const rapt_slot *slot)
{
    return slot->buffer ? slot->buffer->data + slot->offset : NULL;
}

static const void *words(const rapt_slot *slot)
{
    return at(slot);
}

/* What a device would do, and its fault. */
rapt_status rapt_submit(rapt_binding *b, rapt_error *error)
{
    const rapt_attention_desc *d = &b->plan->desc;
    const rapt_tensor *t = &d->out;
    const uint64_t heads = t->size[1], rows_total = t->size[0] * heads * t->size[2], dim = t->size[3];
    if (fake.fault == SUBMIT_FAILS)
        return says(error, RAPT_ERROR_DEVICE_LOST);
    const rapt_check_inputs in = {.q = at(&b->args.q),
                                  .k = at(&b->args.k),
                                  .v = at(&b->args.v),
                                  .cu_seqlens_q = words(&b->args.cu_seqlens_q),
                                  .cu_seqlens_k = words(&b->args.cu_seqlens_k),
                                  .sinks = words(&b->args.sinks),
                                  .alibi = words(&b->args.alibi),
                                  .key_bias = words(&b->args.key_bias),
                                  .bias = words(&b->args.bias),
                                  .bias_u = words(&b->args.bias_u),
                                  .bias_v = words(&b->args.bias_v),
                                  .segments = words(&b->args.segments),
                                  .gate = words(&b->args.gate),
                                  .relative = words(&b->args.relative),
                                  .decay = words(&b->args.decay),
                                  .block_mask = words(&b->args.block_mask),
                                  .block_table = words(&b->args.block_table),
                                  .k_lengths = words(&b->args.k_lengths)};
    double *out = calloc(rows_total * dim, sizeof *out), *lse = calloc(rows_total, sizeof *lse);
    uint8_t *rows = calloc(rows_total, 1);
    assert_true(rapt_check_attention_f32(d, &in, 1, out, lse, rows));
    if (fake.fault == OFF_BY_A_LITTLE)
        out[3] += t->dtype == RAPT_F32 ? 4e-6 : 0.02;
    if (fake.fault == A_NAN)
        out[5] = (double)NAN;
    if (fake.fault == OTHER_BITS && fake.runs > 0)
        out[4] += 3e-7;
    if (fake.fault == FLAKY && fake.runs % 3 == 2)
        out[4] += 1;
    for (uint64_t r = 0; r < rows_total; r++) {
        if (rows[r] == RAPT_ROW_UNTOUCHED ? fake.fault != WRITES_UNTOUCHED : fake.fault == LEFT_OUT && r == 2)
            continue;
        const uint64_t i = r % t->size[2], h = r / t->size[2] % heads, batch = r / t->size[2] / heads;
        for (uint64_t e = 0; e < dim; e++)
            rapt_check_store(at(&b->args.out), t->dtype,
                             (int64_t)(batch * (uint64_t)t->stride[0] + h * (uint64_t)t->stride[1] +
                                       i * (uint64_t)t->stride[2] + e),
                             (float)out[r * dim + e]);
        if (fake.fault == ZERO_LSE && lse[r] < -1e30)
            lse[r] = 0;
        rapt_check_store(at(&b->args.lse), RAPT_F32,
                         (int64_t)(batch * (uint64_t)d->lse.stride[0] + h * (uint64_t)d->lse.stride[1] +
                                   i * (uint64_t)d->lse.stride[2]),
                         (float)lse[r]);
    }
    if (fake.fault == WRITES_GAP)
        at(&b->args.out)[dim * rapt_check_dtype_size(t->dtype)] ^=
            1; /* behind the first row: the layout has gaps */
    if (fake.fault == WRITES_BEFORE)
        at(&b->args.lse)[-1] ^= 1;
    if (fake.fault == WRITES_WORKSPACE)
        at(&b->args.workspace)[112] ^= 1;
    free(out);
    free(lse);
    free(rows);
    fake.runs++;
    return RAPT_OK;
}

rapt_status rapt_wait(rapt_binding *binding, uint64_t timeout, rapt_error *error)
{
    (void)binding;
    (void)timeout;
    return fake.fault == WAIT_FAILS ? says(error, RAPT_ERROR_INCOMPLETE) : RAPT_OK;
}

void rapt_binding_timing(const rapt_binding *binding, rapt_timing *timing)
{
    (void)binding;
    *timing = (rapt_timing){.device_ns = 42};
}

/* ---- the tests ---- */

static rapt_result check(fault f, const rapt_case *c, uint32_t repeats)
{
    rapt_check_problem p;
    memset(&fake, 0, sizeof fake);
    fake.fault = f;
    assert_true(rapt_check_problem_make(c, 1, &p));
    const rapt_result r = rapt_check_run(NULL, &p, "fake", repeats);
    rapt_check_problem_free(&p);
    assert_true(fake.buffers == 0 && fake.plans == 0 &&
                fake.bindings == 0); /* all put away, whatever happened */
    return r;
}

static const rapt_case plain = {.name = "plain",
                                .batch = 1,
                                .q_heads = 2,
                                .kv_heads = 1,
                                .nq = 6,
                                .nk = 5,
                                .d_qk = 8,
                                .d_v = 6,
                                .dtype = RAPT_F32,
                                .causal = true,
                                .layout = RAPT_LAYOUT_ODD,
                                .seed = 3};
static const rapt_case packed = {.name = "packed",
                                 .batch = 1,
                                 .q_heads = 1,
                                 .kv_heads = 1,
                                 .nq = 6,
                                 .nk = 6,
                                 .d_qk = 8,
                                 .d_v = 8,
                                 .dtype = RAPT_F32,
                                 .sequences = 2,
                                 .length_q = {4, 2},
                                 .length_k = {4, 2},
                                 .max_seqlen_q = 3,
                                 .seed = 4};

static void passes_what_is_right(void **state)
{
    (void)state;
    size_t count;
    rapt_case *cases = rapt_cases(RAPT_CASE_QUICK, NULL, &count);
    for (size_t n = 0; n < count; n++)
        if (!cases[n].no_lse) {
            const rapt_result r = check(NO_FAULT, &cases[n], 1);
            if (r.verdict != RAPT_CHECK_PASS)
                fail_msg("%s: %s %s", cases[n].name, r.message, r.error.message);
            assert_int_equal(fake.runs, 2);
            assert_true(r.device_ns == 42 && r.wall_ns >= 0);
        }
    free(cases);
}

static void catches_faults(void **state)
{
    (void)state;
    static const struct {
        fault fault;
        const rapt_case *c;
        const char *message;
    } faults[] = {
        {OFF_BY_A_LITTLE, &plain, "1 of 72 elements of out wrong; worst out[0, 0, 0, 3]"},
        {A_NAN, &plain, "NaN, the first at out[0, 0, 0, 5]"},
        {ZERO_LSE, &plain, "lse[0, 0, 0, 0] is 0, not -inf"},
        {LEFT_OUT, &plain, "NaN"},
        {WRITES_GAP, &plain, "out: wrote outside its rows"},
        {WRITES_BEFORE, &plain, "lse: wrote outside its rows"},
        {WRITES_UNTOUCHED, &packed, "wrote outside its rows"},
        {WRITES_WORKSPACE, &plain, "workspace: wrote"},
        {OTHER_BITS, &plain, "run 2 gave other bits"},
        {FALSE_FLOPS, &plain, "flops"},
        {OTHER_KERNEL, &plain, "forced fake2, but the plan took fake"},
    };
    for (size_t n = 0; n < sizeof faults / sizeof faults[0]; n++) {
        rapt_result r = check(faults[n].fault, faults[n].c, 1);
        if (faults[n].fault == OTHER_KERNEL) {
            rapt_check_problem p;
            assert_true(rapt_check_problem_make(&plain, 1, &p));
            r = rapt_check_run(NULL, &p, "fake2", 0);
            rapt_check_problem_free(&p);
        }
        assert_int_equal(r.verdict, RAPT_CHECK_FAIL);
        if (!strstr(r.message, faults[n].message))
            fail_msg("expected '%s' in: %s", faults[n].message, r.message);
    }
    for (int layout = RAPT_LAYOUT_BHND; layout < RAPT_LAYOUT_COUNT;
         layout++) /* and in 16 bits, however laid out */
        for (int dtype = RAPT_F16; dtype <= RAPT_BF16; dtype++) {
            rapt_case c = plain;
            c.layout = (rapt_case_layout)layout;
            c.dtype = (rapt_dtype)dtype;
            assert_int_equal(check(NO_FAULT, &c, 0).verdict, RAPT_CHECK_PASS);
            assert_int_equal(check(OFF_BY_A_LITTLE, &c, 0).verdict, RAPT_CHECK_FAIL);
        }
}

/* Repeats go on behind a fault, and say how often it was there. */
static void counts_repeats(void **state)
{
    (void)state;
    static const struct {
        fault fault;
        uint32_t wrong, differing;
        const char *message;
    } faults[] = {
        {NO_FAULT, 0, 0, ""},
        {OFF_BY_A_LITTLE, 8, 0, "(8 of 8 runs wrong; 0 of 7 repeats gave other bits than the first run)"},
        {OTHER_BITS, 0, 7, "run 2 gave other bits than run 1 (0 of 8 runs wrong; 7 of 7 repeats"},
        {FLAKY, 2, 2, "(2 of 8 runs wrong; 2 of 7 repeats gave other bits than the first run)"},
    };
    for (size_t n = 0; n < sizeof faults / sizeof faults[0]; n++) {
        const rapt_result r = check(faults[n].fault, &plain, 7);
        assert_int_equal(r.verdict, faults[n].fault == NO_FAULT ? RAPT_CHECK_PASS : RAPT_CHECK_FAIL);
        assert_int_equal(r.runs, 8);
        assert_int_equal(r.wrong, faults[n].wrong);
        assert_int_equal(r.differing, faults[n].differing);
        if (!strstr(r.message, faults[n].message))
            fail_msg("expected '%s' in: %s", faults[n].message, r.message);
    }
    const rapt_result r = check(FLAKY, &plain, 7); /* of the first wrong run, not of the first one */
    assert_true(r.out.wrong > 0 && r.out.max_abs > r.out.tolerance);
}

static void tells_errors_apart(void **state)
{
    (void)state;
    static const struct {
        fault fault;
        rapt_check_verdict verdict;
        rapt_status status;
    } faults[] = {{REFUSES, RAPT_CHECK_REFUSED, RAPT_ERROR_UNSUPPORTED},
                  {PLAN_FAILS, RAPT_CHECK_ERROR, RAPT_ERROR_VULKAN},
                  {BIND_FAILS, RAPT_CHECK_ERROR, RAPT_ERROR_INVALID},
                  {SUBMIT_FAILS, RAPT_CHECK_ERROR, RAPT_ERROR_DEVICE_LOST},
                  {WAIT_FAILS, RAPT_CHECK_ERROR, RAPT_ERROR_INCOMPLETE}};
    for (size_t n = 0; n < sizeof faults / sizeof faults[0]; n++) {
        const rapt_result r = check(faults[n].fault, &plain, 0);
        assert_int_equal(r.verdict, faults[n].verdict);
        assert_int_equal(r.error.status, faults[n].status);
        assert_string_equal(r.error.message, "as told to");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_what_is_right),
        cmocka_unit_test(catches_faults),
        cmocka_unit_test(counts_repeats),
        cmocka_unit_test(tells_errors_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
