/* Linear attention as an interface: what plans promise, what is refused and how, memory that is not there. */
#include "linear_problems.h"

static rig the_rig;

/* What a plan promises: its workspace below the limit however long the sequence, its chain. */
static void test_plans(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    for (uint64_t n = 1024; n <= 1u << 20; n *= 4) {
        rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
        rapt_plan *plan;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        d.q = d.k = d.v = d.out = rapt_tensor_bhnd(RAPT_F32, 1, 8, n, 64);
        d.form = RAPT_LINEAR_CHUNKED;
        RIG_OK(rapt_linear_plan(the_rig.device, &d, &plan, error));
        RIG_OK(rapt_plan_describe(plan, &info, error));
        assert_true(info.workspace_bytes <= 64u << 20);
        assert_int_equal(plan->layout.chain, n / plan->layout.chunk);
        const uint64_t spans = (n + plan->layout.span - 1) / plan->layout.span;
        assert_int_equal(info.chain, 3 * spans);
        uint64_t covered = 0; /* every token has one place in the passes that write outputs */
        for (uint32_t i = 0; i < plan->step_count; i++) {
            const rapt_step *s = &plan->steps[i];
            assert_true(s->barrier == (i > 0 && s->phase != plan->steps[i - 1].phase));
            covered += s->pipeline == 0 ? (uint64_t)s->groups[1] * s->groups[2] * plan->layout.chunk : 0;
        }
        assert_int_equal(covered, n * 8);
        char *text = malloc(1 << 20);
        assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, 1 << 20) < 1 << 20);
        char chain[64];
        snprintf(chain, sizeof chain, "a chain of %llu steps", (unsigned long long)(n / plan->layout.chunk));
        assert_non_null(strstr(text, chain));
        free(text);
        rapt_plan_destroy(&plan);
        d.form = RAPT_LINEAR_RECURRENT;
        RIG_OK(rapt_linear_plan(the_rig.device, &d, &plan, error));
        assert_int_equal(plan->layout.chain, n);
        rapt_plan_destroy(&plan);
    }
    rig_close(&the_rig);
}

/* Each mistake has its status and its words. */
static void test_mistakes(void **state)
{
    (void)state;
    rapt_plan *plan;
    rig_open(&the_rig, NULL);
    rapt_device *device = the_rig.device;
    rapt_linear_desc good = RAPT_LINEAR_DESC_INIT;
    good.q = good.k = rapt_tensor_bhnd(RAPT_F32, 1, 4, 100, 16);
    good.v = good.out = rapt_tensor_bhnd(RAPT_F32, 1, 4, 100, 24);
    const rapt_tensor scalars = {.dtype = RAPT_F32, .rank = 3, .size = {1, 4, 100}, .stride = {400, 100, 1}};
    const rapt_tensor states = rapt_tensor_bhnd(RAPT_F32, 1, 4, 16, 24);
#define WRONG(status, part, ...)                                                                             \
    do {                                                                                                     \
        rapt_linear_desc d = good;                                                                           \
        __VA_ARGS__;                                                                                         \
        RIG_FAILS(rapt_linear_plan(device, &d, &plan, error), status, part);                                 \
        assert_null(plan);                                                                                   \
    } while (0)
    const rapt_status bad = RAPT_ERROR_INVALID;
    WRONG(bad, "struct_size", d.struct_size = 8);
    WRONG(bad, "flags 0x100", d.flags = 256);
    WRONG(bad, "rule is 9", d.rule = (rapt_linear_rule)9);
    WRONG(bad, "feature is 77", d.feature = (rapt_phi)77);
    WRONG(bad, "form is 5", d.form = (rapt_linear_form)5);
    WRONG(bad, "q: dtype i32", d.q.dtype = RAPT_I32);
    WRONG(bad, "k is f16, must be f32", d.k.dtype = RAPT_F16);
    WRONG(bad, "v: axis 2 has 99 entries, must be 100", d.v.size[2] = 99);
    WRONG(bad, "k: axis 1 has 3 entries, must be a divisor of 4", d.k.size[1] = 3);
    WRONG(bad, "k: axis 3 has 8", d.k.size[3] = 8);
    WRONG(bad, "out: rank 3", d.out.rank = 3);
    WRONG(bad, "v: negative stride", d.v.stride[2] = -1);
    WRONG(bad, "q: stride 2 of its last axis", d.q.stride[3] = 2);
    WRONG(bad, "q: align 3", d.q.align = 3);
    WRONG(bad, "d_k is 257", d.q = d.k = rapt_tensor_bhnd(RAPT_F32, 1, 4, 100, 257));
    WRONG(bad, "exclude each other", d.decay = scalars, d.gate = d.q);
    WRONG(bad, "decay: rank 2", d.decay = scalars, d.decay.rank = 2);
    WRONG(bad, "decay is f16", d.decay = scalars, d.decay.dtype = RAPT_F16);
    WRONG(bad, "gate: axis 3", d.gate = good.v);
    WRONG(bad, "needs decay or gate", d.flags = RAPT_LINEAR_LOG_DECAY);
    WRONG(bad, "beta does not go with rule dplr", d.rule = RAPT_LINEAR_DPLR, d.a = d.b = d.k,
          d.beta = scalars);
    WRONG(bad, "needs a and b", d.rule = RAPT_LINEAR_DPLR, d.a = d.k);
    WRONG(bad, "rule dplr only", d.a = d.b = d.k);
    WRONG(bad, "normaliser needs rule none", d.rule = RAPT_LINEAR_DELTA, d.flags = RAPT_LINEAR_NORMALIZE);
    WRONG(bad, "come together", d.state_in = states, d.flags = RAPT_LINEAR_NORMALIZE);
    WRONG(bad, "need RAPT_LINEAR_NORMALIZE", d.norm_out = scalars);
    WRONG(bad, "IN_PLACE needs state_out", d.flags = RAPT_LINEAR_IN_PLACE);
    const uint64_t twice[] = {1, 1}, far[] = {1ull << 40};
    WRONG(bad, "positions is NULL", d.position_count = 1);
    WRONG(bad, "positions need state_out", d.positions = twice, d.position_count = 1);
#define WITHIN(list, count) d.state_out = rapt_tensor_bhnd(RAPT_F32, 1, 4, 16 * (count + 1), 24), d.positions = list, d.position_count = count
    WRONG(bad, "positions[1] is 1: they must rise", WITHIN(twice, 2));
    WRONG(bad, "must rise, up to", WITHIN(far, 1));
    WRONG(bad, "at most 65536", WITHIN(twice, 65537));
    WRONG(bad, "neither with RAPT_LINEAR_IN_PLACE", WITHIN(twice, 1), d.flags = RAPT_LINEAR_IN_PLACE);
    WRONG(bad, "(positions + 1) rows", WITHIN(twice, 1), d.state_out = states);
    WRONG(bad, "state_in: axis 3", d.state_in = states, d.state_in.size[3] = 25);
    WRONG(bad, "state_out is f16", d.state_out = states, d.state_out.dtype = RAPT_F16);
    WRONG(bad, "max_seqlen goes with", d.max_seqlen = 5);
    WRONG(bad, "need batch 1", d.sequences = 2, d.q.size[0] = 2);
    WRONG(bad, "scale is not finite", d.flags = RAPT_LINEAR_SCALE, d.scale = NAN);
    WRONG(bad, "chunk is 2000", d.chunk = 2000);
    WRONG(bad, "slice_ms", d.slice_ms = -1);
    WRONG(bad, "no kernel of linear attention is named 'nonsense'", d.kernel = "nonsense");
    WRONG(bad, "no kernel of linear attention is named 'naive-f32'", d.kernel = "naive-f32");
    WRONG(RAPT_ERROR_UNSUPPORTED, "'state-none-f16', does not store f32", d.kernel = "state-none-f16");
    WRONG(RAPT_ERROR_UNSUPPORTED, "does not know rule delta", d.rule = RAPT_LINEAR_DELTA,
          d.kernel = "state-none-f32");
    WRONG(RAPT_ERROR_UNSUPPORTED, "bytes at least, the limit is 1000", d.form = RAPT_LINEAR_CHUNKED,
          d.workspace_limit = 1000);
    WRONG(RAPT_ERROR_UNSUPPORTED, "packed sequences", d.rule = RAPT_LINEAR_DPLR, d.a = d.b = d.k, d.form = RAPT_LINEAR_RECURRENT,
          d.sequences = 2);
    WRONG(RAPT_ERROR_UNSUPPORTED, "usage on the buffer of", d.out.usage = RAPT_BUFFER_UNIFORM_TEXEL,
          d.kernel = "state-none-f32");
    RIG_FAILS(rapt_linear_plan(device, NULL, &plan, error), bad, "NULL");

    /* Binding. */
    rapt_buffer *small, *large;
    rapt_binding *binding;
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    RIG_OK(rapt_buffer_create(device, 64, &small, error));
    RIG_OK(rapt_buffer_create(device, 1 << 18, &large, error));
    RIG_OK(rapt_linear_plan(device, &good, &plan, error));
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "not prepared");
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "q is not bound");
    args.q.buffer = args.k.buffer = args.v.buffer = large;
    args.out.buffer = small;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "out needs 38400 bytes");
    args.out.buffer = large;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "overlap");
    args.out.offset = 1 << 17;
    RIG_OK(rapt_linear_bind(plan, &args, &binding, error));
    rapt_binding_destroy(&binding);
    args.out.offset += 4;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "promised a multiple of 16");
    args.struct_size = 4;
    RIG_FAILS(rapt_linear_bind(plan, &args, &binding, error), bad, "struct_size");
    const rapt_attention_args other = RAPT_ATTENTION_ARGS_INIT;
    RIG_FAILS(rapt_attention_bind(plan, &other, &binding, error), bad, "not one of attention");
    rapt_plan_destroy(&plan);
    rapt_buffer_destroy(&small);
    rapt_buffer_destroy(&large);
    rig_close(&the_rig);
}

/* Whatever a descriptor holds, planning ends with a plan that keeps to its tensors and limits, or with words.
 */
static void test_any_descriptor(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0,   1,   2,   3,    4,        7,          16,         33,        64,
                                     100, 256, 257, 4096, 1u << 20, 1ull << 29, 1ull << 40, UINT64_MAX};
    static const rapt_dtype dtypes[] = {RAPT_DTYPE_NONE, RAPT_F32, RAPT_F16,
                                        RAPT_BF16,       RAPT_I32, (rapt_dtype)77};
    rig_open(&the_rig, NULL);
    seed_state = 99;
    unsigned planned = 0;
#define ANY(array) (array)[(size_t)(uniform() * (double)RAPT_COUNT(array))]
    for (int round = 0; round < 5000; round++) {
        const lin l = {"any",
                       ANY(((const rapt_dtype[]){RAPT_F32, RAPT_F16, RAPT_BF16})),
                       .batch = 1 + (uint64_t)(uniform() * 3),
                       .heads = 4,
                       .n = ANY(((const uint64_t[]){1, 5, 64, 1000, 100000})),
                       D(4 * (1 + (uint64_t)(uniform() * 20)), 1 + (uint64_t)(uniform() * 80)),
                       .rule = (rapt_linear_rule)(uniform() * 3),
                       .form = (rapt_linear_form)(uniform() * 3)};
        rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
        d.q = d.k = view(l.dtype, 4, l.batch, l.heads, l.n, l.d_k, round & 1);
        d.v = d.out = view(l.dtype, 4, l.batch, l.heads, l.n, l.d_v, round & 1);
        if (l.rule == RAPT_LINEAR_DPLR)
            d.a = d.b = d.q;
        else if (uniform() < 0.5)
            d.beta = view(RAPT_F32, 3, l.batch, l.heads, l.n, 1, round & 2);
        if (uniform() < 0.3)
            d.gate = view(RAPT_F32, 4, l.batch, l.heads, l.n, l.d_k, false);
        else if (uniform() < 0.5)
            d.decay = view(RAPT_F32, 3, l.batch, l.heads, l.n, 1, false);
        if (uniform() < 0.5)
            d.state_in = view(RAPT_F32, 4, l.batch, l.heads, l.d_k, l.d_v, false);
        if (uniform() < 0.5)
            d.state_out = view(RAPT_F32, 4, l.batch, l.heads, l.d_k, l.d_v, false);
        d.rule = l.rule;
        d.form = l.form;
        d.chunk = ANY(((const uint32_t[]){0, 1, 16, 100, 1024}));
        d.workspace_limit = ANY(((const uint64_t[]){0, 1000, 1u << 20, UINT64_MAX}));
        rapt_tensor *const tensors[] = {&d.q,    &d.k,    &d.v,        &d.out,      &d.decay,
                                        &d.gate, &d.beta, &d.state_in, &d.state_out};
        for (int hits = (int)(uniform() * 3); hits > 0; hits--) { /* most are good */
            rapt_tensor *t = ANY(tensors);
            switch ((int)(uniform() * 8)) {
            case 0:
                t->dtype = ANY(dtypes);
                break;
            case 1:
                t->rank = (uint32_t)(uniform() * 6);
                break;
            case 2:
                t->align = ANY(((const uint32_t[]){0, 1, 2, 4, 8, 16, 3}));
                break;
            case 3:
                t->stride[(int)(uniform() * 4)] = (int64_t)ANY(sizes);
                break;
            case 4:
                d.flags = (uint32_t)(uniform() * 33);
                break;
            case 5:
                d.sequences = (uint32_t)ANY(sizes);
                d.max_seqlen = ANY(sizes);
                break;
            default: {
                const uint64_t size = ANY(sizes);
                const int axis = (int)(uniform() * 4);
                for (size_t i = 0; i < RAPT_COUNT(tensors) && uniform() < 0.9; i++)
                    tensors[i]->size[axis] = size;
            }
            }
        }
        rapt_plan *plan;
        rapt_error error = {0};
        if (rapt_linear_plan(the_rig.device, &d, &plan, &error) != RAPT_OK) {
            assert_null(plan);
            assert_true(error.message[0] != 0);
            continue;
        }
        planned++;
        const rapt_caps *caps = &plan->caps;
        assert_true(plan->workspace_bytes <= plan->linear.workspace_limit);
        for (uint32_t i = 0; i < plan->step_count; i++) {
            const rapt_step *step = &plan->steps[i];
            const rapt_kernel_row *row = plan->pipelines[step->pipeline].row;
            for (int axis = 0; axis < 3; axis++)
                assert_true(step->groups[axis] >= 1 && step->groups[axis] <= caps->max_groups[axis]);
            for (uint32_t k = 0; k < row->operand_count; k++) {
                const rapt_window *w = &step->windows[k];
                if (w->first == UINT64_MAX || w->bytes == 0)
                    continue;
                uint64_t bytes = 0;
                for (uint32_t n = 0; n < plan->slot_count; n++)
                    if (plan->slots[n].role == row->operands[k].role)
                        bytes = plan->slots[n].bytes;
                static const int8_t of[RAPT_ROLE_COUNT] = {[RAPT_ROLE_Q] = RAPT_L_Q + 1,
                                                           [RAPT_ROLE_K] = RAPT_L_K + 1,
                                                           [RAPT_ROLE_V] = RAPT_L_V + 1,
                                                           [RAPT_ROLE_OUT] = RAPT_L_OUT + 1,
                                                           [RAPT_ROLE_A] = RAPT_L_A + 1,
                                                           [RAPT_ROLE_B] = RAPT_L_B + 1,
                                                           [RAPT_ROLE_DECAY] = RAPT_L_DECAY + 1,
                                                           [RAPT_ROLE_BETA] = RAPT_L_BETA + 1,
                                                           [RAPT_ROLE_STATE_IN] = RAPT_L_STATE_IN + 1};
                if (of[row->operands[k].role] != 0)
                    bytes = plan->linear.tensor[of[row->operands[k].role] - 1].bytes;
                if (bytes != 0)
                    assert_true(w->first <= bytes && w->bytes <= bytes - w->first);
                assert_true(w->bytes <= rapt_window_limit(caps, (rapt_operand_kind)row->operands[k].kind));
            }
        }
        rapt_plan_destroy(&plan);
    }
    print_message("  %u of 5000 could be planned\n", planned);
    assert_true(planned > 1000);
    rig_close(&the_rig);
}

/* ---- host memory */

typedef struct counted {
    size_t alive, calls, fail_at;
} counted;

static void *counted_alloc(void *user, size_t size)
{
    counted *c = user;
    void *memory = c->calls++ == c->fail_at ? NULL : malloc(size);
    c->alive += memory ? size : 0;
    return memory;
}

static void *counted_realloc(void *user, void *old, size_t old_size, size_t size)
{
    counted *c = user;
    void *memory = c->calls++ == c->fail_at ? NULL : realloc(old, size);
    if (memory)
        c->alive += size - old_size;
    return memory;
}

static void counted_free(void *user, void *old, size_t size)
{
    counted *c = user;
    c->alive -= old ? size : 0;
    free(old);
}

/* Every allocation fails once: a message, nothing left behind, and the next call works. */
static void test_every_allocation(void **state)
{
    (void)state;
    static const lin l = {
        "memory",     RAPT_F32,         .heads = 2,       .n = 70, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA,
        .beta = true, .state_in = true, .state_out = true};
    counted c = {.fail_at = SIZE_MAX};
    const rapt_allocator allocator = {&c, counted_alloc, counted_realloc, counted_free};
    made m;
    make(&l, &m);
    rig_open(&the_rig, &(rig_options){.allocator = &allocator});
    rapt_buffer *buffers[TENSORS] = {NULL};
    rapt_linear_args args = RAPT_LINEAR_ARGS_INIT;
    rapt_slot *const slots[TENSORS] = {&args.q,         &args.k,         &args.v,       &args.out,
                                       &args.a,         &args.b,         &args.decay,   &args.beta,
                                       &args.state_in,  &args.state_out, &args.norm_in, &args.norm_out,
                                       &args.cu_seqlens};
    for (int t = 0; t < TENSORS; t++)
        if (m.data[t] != NULL) {
            RIG_OK(rapt_buffer_create(the_rig.device, m.bytes[t], &buffers[t], error));
            RIG_OK(rapt_buffer_upload(buffers[t], 0, m.data[t], m.bytes[t], error));
            slots[t]->buffer = buffers[t];
        }
    unsigned refused = 0;
    rapt_status status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
    for (size_t n = 0; n < 400; n++) {
        rapt_error error = {0};
        c.fail_at = c.calls + n;
        status = rapt_linear_run(the_rig.device, &m.d, &args, &error);
        const bool fired = c.calls > c.fail_at;
        c.fail_at = SIZE_MAX;
        if (status != RAPT_OK && (error.status != RAPT_ERROR_OUT_OF_HOST_MEMORY || error.message[0] == 0))
            fail_msg("allocation %zu: %s: \"%s\"", n, rapt_status_name(status), error.message);
        refused += status != RAPT_OK;
        if (!fired)
            break;
    }
    assert_int_equal(status, RAPT_OK);
    const size_t alive = c.alive;
    RIG_OK(rapt_linear_run(the_rig.device, &m.d, &args, error));
    assert_int_equal(c.alive, alive); /* what a run takes it gives back */
    print_message("  %u allocations reported\n", refused);
    assert_true(refused > 10);
    for (int t = 0; t < TENSORS; t++)
        rapt_buffer_destroy(&buffers[t]);
    rig_close(&the_rig);
    assert_int_equal(c.alive, 0);
    drop(&m);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_any_descriptor),
        cmocka_unit_test(test_every_allocation),
    };
    return RIG_RUN("linear_api", tests);
}
