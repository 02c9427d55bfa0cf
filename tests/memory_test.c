/* rapt/memory.h on a device, against its oracle; states handed on; and what is refused. */
#include "rig.h"

#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_attention.h"
#include "check/oracle_memory.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

/* One problem. */
typedef struct task {
    const char *name;
    rapt_dtype dtype;
    rapt_memory_form form;
    uint64_t batch, heads, n, d, d_v, hidden, chunk;
    rapt_memory_act act;
    bool read_start, state_in, state_out, odd, one_rate;
    float slice_ms;
    uint64_t workspace_limit;
} task;

typedef struct problem {
    const task *task;
    rapt_memory_desc d;
    rapt_tensor *tensor[RAPT_MEM_COUNT];
    void *data[RAPT_MEM_COUNT];
} problem;

/* Rows with gaps where `odd`. */
static rapt_tensor tensor_of(rapt_dtype dtype, uint32_t rank, const uint64_t *size, bool odd)
{
    rapt_tensor t = {.dtype = dtype, .rank = rank, .align = odd ? rapt_dtype_size(dtype) : 16};
    int64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        t.size[axis] = size[axis];
        t.stride[axis] = stride;
        stride = stride * (int64_t)(size[axis] ? size[axis] : 1) + (odd ? 3 : 0);
    }
    return t;
}

static problem make(const task *m)
{
    problem p = {.task = m, .d = RAPT_MEMORY_DESC_INIT};
    rapt_memory_desc *d = &p.d;
    const uint64_t keys[4] = {m->batch, m->heads, m->n, m->d}, values[4] = {m->batch, m->heads, m->n, m->d_v};
    const uint64_t rates[4] = {m->batch, m->one_rate ? 1 : m->heads, m->n, 3};
    const uint64_t state[3] = {m->batch, m->heads, rapt_memory_numbers(m->form, m->d, m->d_v, m->hidden)};
    d->form = m->form;
    d->act = m->act;
    d->hidden = (uint32_t)m->hidden;
    d->chunk = (uint32_t)m->chunk;
    d->flags = m->read_start ? RAPT_MEMORY_READ_START : 0;
    d->slice_ms = m->slice_ms;
    d->workspace_limit = m->workspace_limit;
    d->q = d->k = tensor_of(m->dtype, 4, keys, m->odd);
    d->v = d->out = tensor_of(m->dtype, 4, values, m->odd);
    if (m->form != RAPT_MEMORY_SOFTMAX)
        d->rates = tensor_of(RAPT_F32, 4, rates, m->odd);
    if (m->state_in)
        d->state_in = tensor_of(RAPT_F32, 3, state, m->odd);
    if (m->state_out)
        d->state_out = tensor_of(RAPT_F32, 3, state, m->odd);
    return p;
}

/* Normally distributed numbers of a size that a memory bears; rates in (0, 0.4). */
static void fill(problem *p)
{
    rapt_tensor *const tensors[RAPT_MEM_COUNT] = {&p->d.q, &p->d.k, &p->d.v, &p->d.out, &p->d.rates, &p->d.state_in, &p->d.state_out};
    memcpy(p->tensor, tensors, sizeof tensors);
    for (unsigned t = 0; t < RAPT_MEM_COUNT; t++) {
        const rapt_tensor *x = p->tensor[t];
        if (x->dtype == RAPT_DTYPE_NONE)
            continue;
        const size_t count = (size_t)(rapt_tensor_bytes(x) / rapt_dtype_size(x->dtype));
        p->data[t] = rig_numbers(x->dtype, count + 2, 40 + t);
        assert_non_null(p->data[t]);
        for (size_t i = 0; i < count; i++) {
            const double number = rapt_check_load(p->data[t], x->dtype, (int64_t)i);
            const double size = t == RAPT_MEM_K ? 1 / sqrt((double)p->task->d) : t == RAPT_MEM_STATE_IN ? 0.3 : 1;
            if (t == RAPT_MEM_RATES)
                ((float *)p->data[t])[i] = (float)(0.4 / (1 + exp(-number)));
            else
                rapt_check_store(p->data[t], x->dtype, (int64_t)i, (float)(number * size));
        }
        if (t == RAPT_MEM_OUT || t == RAPT_MEM_STATE_OUT)
            memset(p->data[t], 0xff, count * rapt_dtype_size(x->dtype));
    }
}

static void put_away(problem *p)
{
    for (unsigned t = 0; t < RAPT_MEM_COUNT; t++)
        free(p->data[t]);
}

static void run(problem *p)
{
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    rapt_buffer *buffer[RAPT_MEM_COUNT] = {NULL};
    rapt_memory_args args = RAPT_MEMORY_ARGS_INIT;
    rapt_slot *const slots[RAPT_MEM_COUNT] = {&args.q, &args.k, &args.v, &args.out, &args.rates, &args.state_in, &args.state_out};
    RIG_OK(rapt_memory_plan(the_rig.device, &p->d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    for (unsigned t = 0; t < RAPT_MEM_COUNT; t++)
        if (p->data[t] != NULL) {
            const uint64_t bytes = rapt_tensor_bytes(p->tensor[t]);
            slots[t]->buffer = buffer[t] = rig_upload(the_rig.device, p->data[t], (bytes ? bytes + 3 : 4) / 4 * 4);
        }
    RIG_OK(rapt_memory_bind(plan, &args, &binding, error));
    RIG_OK(rapt_submit(binding, error));
    RIG_OK(rapt_wait(binding, UINT64_MAX, error));
    for (unsigned t = RAPT_MEM_OUT; t < RAPT_MEM_COUNT; t++)
        if (buffer[t] != NULL && rapt_tensor_bytes(p->tensor[t]) > 0)
            RIG_OK(rapt_buffer_download(buffer[t], 0, p->data[t], rapt_tensor_bytes(p->tensor[t]), error));
    rapt_binding_destroy(&binding);
    for (unsigned t = 0; t < RAPT_MEM_COUNT; t++)
        rapt_buffer_destroy(&buffer[t]);
    rapt_plan_destroy(&plan);
}

/* Element (b, h, i, e) of a tensor; its heads may be one for all. */
static double element(const problem *p, unsigned t, uint64_t b, uint64_t h, uint64_t i, uint64_t e)
{
    const rapt_tensor *x = p->tensor[t];
    const int64_t head = x->size[1] == 1 ? 0 : (int64_t)h * x->stride[1];
    const int64_t at = (int64_t)b * x->stride[0] + head + (x->rank == 4 ? (int64_t)i * x->stride[2] : 0) + (int64_t)e;
    return rapt_check_load(p->data[t], x->dtype, at);
}

/* A head's rows without gaps; NULL where there is no such tensor. */
static double *head_of(const problem *p, unsigned t, uint64_t b, uint64_t h)
{
    const rapt_tensor *x = p->tensor[t];
    if (x->dtype == RAPT_DTYPE_NONE)
        return NULL;
    const uint64_t rows = x->rank == 4 ? x->size[2] : 1, inner = x->size[x->rank - 1];
    double *to = malloc((size_t)(rows * inner + 1) * sizeof *to);
    assert_non_null(to);
    for (uint64_t i = 0; i < rows * inner; i++)
        to[i] = element(p, t, b, h, i / inner, i % inner);
    return to;
}

/* What is wanted of one head, in double and in the plainest single precision, against what came. */
static void compare(const problem *p, unsigned t, uint64_t b, uint64_t h, const double *want, double *plain, uint64_t count)
{
    const uint8_t row = RAPT_ROW_DONE; /* all of it as one row */
    double *got = head_of(p, t, b, h), magnitude = 0;
    for (uint64_t i = 0; i < count; i++) {
        plain[i] = rapt_check_round(p->tensor[t]->dtype, (float)plain[i]);
        magnitude = fmax(magnitude, isfinite(want[i]) ? fabs(want[i]) : 0);
    }
    const double error = rapt_check_max_distance(plain, want, &row, 1, count);
    const rapt_check_difference d = rapt_check_compare(got, want, &row, 1, count, rapt_check_tolerance(error, magnitude));
    if (d.wrong != 0)
        fail_msg("%s: %s of (%llu, %llu): %.9g is not %.9g; off by %.3g, tolerance %.3g", p->task->name,
                 t == RAPT_MEM_OUT ? "out" : "state", (unsigned long long)b, (unsigned long long)h, d.got, d.want, d.max_abs, d.tolerance);
    free(got);
}

static void check_head(const problem *p, uint64_t b, uint64_t h)
{
    const task *m = p->task;
    const uint64_t outs = m->n * m->d_v, numbers = rapt_memory_numbers(m->form, m->d, m->d_v, m->hidden);
    double *in[RAPT_MEM_COUNT] = {NULL}, *to[4];
    for (unsigned t = 0; t < RAPT_MEM_STATE_OUT; t++)
        in[t] = t == RAPT_MEM_OUT ? NULL : head_of(p, t, b, h);
    for (unsigned i = 0; i < 4; i++)
        assert_non_null(to[i] = malloc((size_t)((i % 2 ? numbers : outs) + 1) * sizeof(double)));
    const rapt_check_memory memory = {.form = m->form, .act = m->act, .n = m->n, .d = m->d, .d_v = m->d_v, .hidden = m->hidden,
                                      .chunk = m->chunk ? m->chunk : 64, .read_start = m->read_start, .q = in[RAPT_MEM_Q],
                                      .k = in[RAPT_MEM_K], .v = in[RAPT_MEM_V], .rates = in[RAPT_MEM_RATES],
                                      .state = in[RAPT_MEM_STATE_IN]};
    assert_true(rapt_check_memory_run(&memory, false, to[0], to[1]) && rapt_check_memory_run(&memory, true, to[2], to[3]));
    if (outs > 0)
        compare(p, RAPT_MEM_OUT, b, h, to[0], to[2], outs);
    if (m->state_out)
        compare(p, RAPT_MEM_STATE_OUT, b, h, to[1], to[3], numbers);
    for (unsigned t = 0; t < RAPT_MEM_COUNT; t++)
        free(in[t]);
    for (unsigned i = 0; i < 4; i++)
        free(to[i]);
}

/* Nothing between the rows is written. */
static void check_gaps(const problem *p)
{
    const rapt_tensor *x = p->tensor[RAPT_MEM_OUT];
    for (uint64_t i = 0; p->task->odd && i + 1 < x->size[2]; i++)
        for (int64_t e = (int64_t)x->size[3]; e < x->stride[2]; e++)
            if (!isnan(rapt_check_load(p->data[RAPT_MEM_OUT], x->dtype, (int64_t)i * x->stride[2] + e)))
                fail_msg("%s: written between the rows", p->task->name);
}

static void test_against_oracle(void **state)
{
    (void)state;
    static const task tasks[] = {
        {"linear", RAPT_F32, RAPT_MEMORY_LINEAR, 2, 2, 37, 16, 12, 0, 8, .state_in = true, .state_out = true},
        {"linear of nothing", RAPT_F16, RAPT_MEMORY_LINEAR, 1, 3, 20, 7, 5, 0, 6, .odd = true, .one_rate = true},
        {"linear, token by token", RAPT_F32, RAPT_MEMORY_LINEAR, 1, 1, 9, 8, 8, 0, 1, .state_out = true},
        {"linear, read at the start", RAPT_BF16, RAPT_MEMORY_LINEAR, 1, 2, 21, 8, 8, 0, 8, .read_start = true, .state_in = true},
        {"mlp", RAPT_F32, RAPT_MEMORY_MLP, 1, 2, 37, 12, 10, 20, 8, .state_in = true, .state_out = true},
        {"mlp, gelu", RAPT_F16, RAPT_MEMORY_MLP, 2, 1, 18, 8, 8, 16, 0, RAPT_MEMORY_GELU, .state_in = true, .odd = true},
        {"mlp, read at the start", RAPT_F32, RAPT_MEMORY_MLP, 1, 2, 21, 8, 6, 9, 8, .read_start = true, .state_in = true, .state_out = true},
        {"mlp, one chunk read", RAPT_F32, RAPT_MEMORY_MLP, 1, 1, 5, 8, 6, 9, 8, .read_start = true, .state_in = true},
        {"softmax", RAPT_F32, RAPT_MEMORY_SOFTMAX, 2, 2, 37, 12, 10, 0, 8, .state_in = true, .state_out = true},
        {"softmax of nothing", RAPT_BF16, RAPT_MEMORY_SOFTMAX, 1, 2, 24, 9, 7, 0, 8, .odd = true, .state_out = true},
        {"few heads at a time", RAPT_F32, RAPT_MEMORY_LINEAR, 3, 2, 10, 8, 8, 0, 4, .state_in = true, .state_out = true, .workspace_limit = 2048},
        {"slices", RAPT_F32, RAPT_MEMORY_LINEAR, 2, 3, 40, 16, 16, 0, 8, .state_out = true, .slice_ms = 0.0001f},
        {"no tokens", RAPT_F32, RAPT_MEMORY_LINEAR, 1, 2, 0, 4, 4, 0, 0, .state_in = true, .state_out = true},
    };
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(tasks); i++) {
        problem p = make(&tasks[i]);
        fill(&p);
        run(&p);
        for (uint64_t line = 0; line < tasks[i].batch * tasks[i].heads; line++)
            check_head(&p, line / tasks[i].heads, line % tasks[i].heads);
        check_gaps(&p);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", tasks[i].name, strstr(the_rig.log, "validation: "));
        put_away(&p);
    }
    rig_close(&the_rig);
}

/* A sequence in two calls that meet between chunks is the sequence, to the bit. */
static void test_continues(void **state)
{
    (void)state;
    static const rapt_memory_form forms[] = {RAPT_MEMORY_LINEAR, RAPT_MEMORY_MLP, RAPT_MEMORY_SOFTMAX};
    rig_open(&the_rig, NULL);
    for (size_t f = 0; f < RAPT_COUNT(forms); f++) {
        const uint64_t hidden = forms[f] == RAPT_MEMORY_MLP ? 12 : 0;
        const task whole = {"whole", RAPT_F32, forms[f], 1, 1, 24, 8, 8, hidden, 8, .state_in = true, .state_out = true};
        task first = whole, second = whole;
        first.n = 16;
        second.n = 8;
        problem p[3] = {make(&whole), make(&first), make(&second)};
        for (unsigned i = 0; i < 3; i++)
            fill(&p[i]);
        for (unsigned t = 0; t < RAPT_MEM_STATE_IN; t++) { /* one head: the parts are the whole's rows */
            const uint64_t row = t < RAPT_MEM_RATES ? 8 : 3;
            if (p[0].data[t] == NULL)
                continue;
            memcpy(p[1].data[t], p[0].data[t], (size_t)(16 * row * 4));
            memcpy(p[2].data[t], (const float *)p[0].data[t] + 16 * row, (size_t)(8 * row * 4));
        }
        run(&p[0]);
        run(&p[1]);
        memcpy(p[2].data[RAPT_MEM_STATE_IN], p[1].data[RAPT_MEM_STATE_OUT], (size_t)rapt_tensor_bytes(&p[1].d.state_out));
        run(&p[2]);
        assert_memory_equal(p[1].data[RAPT_MEM_OUT], p[0].data[RAPT_MEM_OUT], 16 * 8 * 4);
        assert_memory_equal(p[2].data[RAPT_MEM_OUT], (const float *)p[0].data[RAPT_MEM_OUT] + 16 * 8, 8 * 8 * 4);
        assert_memory_equal(p[2].data[RAPT_MEM_STATE_OUT], p[0].data[RAPT_MEM_STATE_OUT], (size_t)rapt_tensor_bytes(&p[0].d.state_out));
        for (unsigned i = 0; i < 3; i++)
            put_away(&p[i]);
    }
    rig_close(&the_rig);
}

static void test_refusals(void **state)
{
    (void)state;
    static const task plain = {"plain", RAPT_F32, RAPT_MEMORY_LINEAR, 1, 2, 8, 4, 4, 0, 4, .state_in = true};
    rig_open(&the_rig, NULL);
    rapt_device *device = the_rig.device;
    rapt_plan *plan = NULL;
    rapt_memory_desc d = make(&plain).d;
    d.rates.dtype = RAPT_DTYPE_NONE;
    RIG_FAILS(rapt_memory_plan(device, &d, &plan, error), RAPT_ERROR_INVALID, "rates are missing");
    d = make(&plain).d;
    d.form = RAPT_MEMORY_SOFTMAX;
    RIG_FAILS(rapt_memory_plan(device, &d, &plan, error), RAPT_ERROR_INVALID, "softmax");
    d = make(&plain).d;
    d.form = RAPT_MEMORY_MLP;
    RIG_FAILS(rapt_memory_plan(device, &d, &plan, error), RAPT_ERROR_INVALID, "hidden is 0");
    d = make(&plain).d;
    d.v.size[2] = 7;
    RIG_FAILS(rapt_memory_plan(device, &d, &plan, error), RAPT_ERROR_INVALID, "v: axis 2 has 7 entries, must be 8");
    d = make(&plain).d;
    d.state_in.size[2] = 16;
    RIG_FAILS(rapt_memory_plan(device, &d, &plan, error), RAPT_ERROR_INVALID, "state_in: axis 2 has 16 entries, must be 32");
    d = make(&plain).d;
    d.chunk = 2000;
    RIG_FAILS(rapt_memory_plan(device, &d, &plan, error), RAPT_ERROR_INVALID, "chunk is 2000");
    d = make(&plain).d;
    d.workspace_limit = 64;
    RIG_FAILS(rapt_memory_plan(device, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "there may be 64");
    d = make(&plain).d;
    rapt_binding *binding = NULL;
    RIG_OK(rapt_memory_plan(device, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_FAILS(rapt_memory_bind(plan, &(rapt_memory_args)RAPT_MEMORY_ARGS_INIT, &binding, error), RAPT_ERROR_INVALID, "q");
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
}

/* Chunks of a softmax memory have no products with each other, however long they are. */
static void test_long_chunks(void **state)
{
    (void)state;
    static const task far = {"long chunks", RAPT_F32, RAPT_MEMORY_SOFTMAX, 1, 1, 70000, 8, 8, 0, 65536};
    const rapt_memory_desc d = make(&far).d;
    rapt_plan *plan = NULL;
    rapt_caps caps;
    rapt_caps_floor(&caps);
    RIG_OK(rapt_memory_plan_for_caps(&caps, &d, &plan, error));
    rapt_plan_destroy(&plan);
}

/* On a device that binds less than a tensor, chunks are bound one by one. */
static void test_small_windows(void **state)
{
    (void)state;
    static const task far = {"windows", RAPT_F32, RAPT_MEMORY_LINEAR, 1, 2, 300, 16, 16, 0, 8, .state_in = true, .state_out = true};
    rig_open(&the_rig, &(rig_options){.mask = "range=16384"});
    problem p = make(&far);
    fill(&p);
    run(&p);
    for (uint64_t h = 0; h < far.heads; h++)
        check_head(&p, 0, h);
    put_away(&p);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_oracle),
        cmocka_unit_test(test_continues),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_long_chunks),
        cmocka_unit_test(test_small_windows),
    };
    return RIG_RUN("memory", tests);
}
