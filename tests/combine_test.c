/* rapt/combine.h on a device, against its oracle; and what is refused. */
#include "rig.h"

#include "check/cases.h"
#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_combine.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

enum { X = 0, WEIGHT = RAPT_COMBINE_TERMS, NORM = 2 * RAPT_COMBINE_TERMS, GATE, OUT, LSE, TENSORS };

/* A problem's tensors on the host, in the order above, and on the device. */
typedef struct problem {
    rapt_combine_desc d;
    rapt_tensor *tensor[TENSORS];
    void *data[TENSORS];
    rapt_buffer *buffer[TENSORS];
} problem;

static uint64_t below(rapt_random *random, uint64_t bound)
{
    return rapt_random_below(random, bound);
}

/* Rows with gaps; axes may be 1 where `shared`. */
static rapt_tensor random_tensor(rapt_random *random, rapt_dtype dtype, const uint64_t *size, uint32_t rank, bool shared, bool odd)
{
    rapt_tensor t = {.dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        t.size[axis] = shared && axis < 3 && below(random, 3) == 0 ? 1 : size[axis];
        t.stride[axis] = stride;
        stride = stride * (int64_t)(t.size[axis] ? t.size[axis] : 1) + (odd ? (int64_t)below(random, 4) : 0);
    }
    t.align = odd ? rapt_dtype_size(dtype) : 16;
    return t;
}

static void describe(problem *p, rapt_random *random)
{
    static const uint64_t dims[] = {1, 3, 4, 31, 64, 65, 128, 300};
    const uint64_t size[4] = {1 + below(random, 3), 1 + below(random, 4), 1 + below(random, 40), dims[below(random, 8)]};
    const rapt_dtype dtype = (rapt_dtype[]){RAPT_F32, RAPT_F16, RAPT_BF16}[below(random, 3)];
    const bool odd = below(random, 2);
    rapt_combine_desc *d = &p->d;
    *d = (rapt_combine_desc)RAPT_COMBINE_DESC_INIT;
    d->weights = (rapt_combine_weights)below(random, RAPT_COMBINE_WEIGHTS_COUNT);
    const uint64_t terms = d->weights == RAPT_COMBINE_TOP ? 1 : 1 + below(random, RAPT_COMBINE_TERMS);
    d->out = random_tensor(random, dtype, size, 4, false, odd);
    const rapt_dtype from = below(random, 2) ? dtype : RAPT_F32;
    d->act = (rapt_combine_act)below(random, RAPT_COMBINE_ACT_COUNT);
    const bool positive = d->act >= RAPT_COMBINE_ACT_LOG; /* what it is taken of */
    d->offset = positive ? 6 : below(random, 2) ? 0 : (float)rapt_random_normal(random);
    for (uint64_t t = 0; t < terms; t++) {
        d->x[t] = random_tensor(random, from, size, 4, true, odd);
        if (d->weights == RAPT_COMBINE_SOFTMAX || below(random, 2))
            d->weight[t] = random_tensor(random, RAPT_F32, size, 3, true, odd);
        d->factor[t] = (float)rapt_random_normal(random) * (positive ? 0.05f : 1);
    }
    if (d->weights == RAPT_COMBINE_TOP) {
        d->weight[0] = random_tensor(random, RAPT_F32, size, 3, false, odd);
        d->top = 1 + (uint32_t)below(random, size[1]);
        d->top_normalise = (uint32_t)below(random, 2);
    }
    d->out_factor = below(random, 2) ? 1 : 0.75f;
    d->norm = positive ? 0 : (uint32_t)below(random, 2);
    d->norm_epsilon = d->norm ? 1e-3f : 0;
    if (d->norm && below(random, 2)) {
        const uint64_t shape[2] = {below(random, 2) ? 1 : size[1], size[3]};
        d->norm_weight = random_tensor(random, RAPT_F32, shape, 2, false, false);
    }
    if (terms < RAPT_COMBINE_TERMS && below(random, 2)) {
        d->gate = random_tensor(random, from, size, 4, false, odd);
        d->gate_kind = (rapt_gate_kind)below(random, RAPT_GATE_KIND_COUNT);
    }
    if (!d->norm && d->weights == RAPT_COMBINE_SOFTMAX)
        d->lse = random_tensor(random, RAPT_F32, size, 3, false, odd);
}

static void fill(problem *p, rapt_random *random)
{
    for (int t = 0; t < TENSORS; t++) {
        const rapt_tensor *x = p->tensor[t];
        const uint64_t bytes = (rapt_tensor_bytes(x) + 3) / 4 * 4;
        if (x->dtype == RAPT_DTYPE_NONE)
            continue;
        p->data[t] = malloc(bytes);
        memset(p->data[t], 0xff, bytes);
        uint64_t at[4] = {0};
        for (at[0] = 0; at[0] < x->size[0]; at[0]++)
            for (at[1] = 0; at[1] < x->size[1]; at[1]++)
                for (at[2] = 0; at[2] < (x->rank > 2 ? x->size[2] : 1); at[2]++)
                    for (at[3] = 0; at[3] < (x->rank > 3 ? x->size[3] : 1); at[3]++) {
                        int64_t place = 0;
                        for (uint32_t axis = 0; axis < x->rank; axis++)
                            place += (int64_t)at[axis] * x->stride[axis];
                        double number = rapt_random_normal(random);
                        if (t >= WEIGHT && t < NORM && below(random, 6) == 0) /* a term that is out of it */
                            number = p->d.weights == RAPT_COMBINE_SOFTMAX ? (double)-INFINITY : 0;
                        if (t < OUT)
                            rapt_check_store(p->data[t], x->dtype, place, (float)number);
                    }
        RIG_OK(rapt_buffer_create(the_rig.device, bytes, &p->buffer[t], error));
        RIG_OK(rapt_buffer_upload(p->buffer[t], 0, p->data[t], bytes, error));
    }
}

static void run(problem *p)
{
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
    for (int t = 0; t < RAPT_COMBINE_TERMS; t++) {
        args.x[t].buffer = p->buffer[X + t];
        args.weight[t].buffer = p->buffer[WEIGHT + t];
    }
    args.norm_weight.buffer = p->buffer[NORM];
    args.gate.buffer = p->buffer[GATE];
    args.out.buffer = p->buffer[OUT];
    args.lse.buffer = p->buffer[LSE];
    RIG_OK(rapt_combine_plan(the_rig.device, &p->d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_combine_bind(plan, &args, &binding, error));
    RIG_OK(rapt_submit(binding, error));
    RIG_OK(rapt_wait(binding, UINT64_MAX, error));
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    for (int t = OUT; t <= LSE; t++)
        if (p->buffer[t])
            RIG_OK(rapt_buffer_download(p->buffer[t], 0, p->data[t], rapt_tensor_bytes(p->tensor[t]), error));
}

/* Every row against the oracle, within twice the error of plain single precision. */
static void compare(const problem *p, uint64_t seed)
{
    const rapt_combine_desc *d = &p->d;
    rapt_check_combine_inputs in = {.gate = p->data[GATE], .norm_weight = p->data[NORM]};
    double want[300], plain[300], lse, plain_lse;
    for (int t = 0; t < RAPT_COMBINE_TERMS; t++) {
        in.x[t] = p->data[X + t];
        in.weight[t] = p->data[WEIGHT + t];
    }
    uint64_t row[3];
    for (row[0] = 0; row[0] < d->out.size[0]; row[0]++)
        for (row[1] = 0; row[1] < d->out.size[1]; row[1]++)
            for (row[2] = 0; row[2] < d->out.size[2]; row[2]++) {
                rapt_check_combine_row(d, &in, row, false, want, &lse);
                rapt_check_combine_row(d, &in, row, true, plain, &plain_lse);
                double error = 0, size = 4;
                for (uint64_t e = 0; e < d->out.size[3]; e++) {
                    error = fmax(error, rapt_check_distance(plain[e], want[e]));
                    size = fmax(size, fabs(want[e]));
                }
                size *= d->act != RAPT_COMBINE_ACT_NONE ? 4 : 1; /* drivers' functions may be off by 3 + 2 |x| units */
                for (uint64_t e = 0; e < d->out.size[3]; e++) {
                    const int64_t at = (int64_t)row[0] * d->out.stride[0] + (int64_t)row[1] * d->out.stride[1] +
                                       (int64_t)row[2] * d->out.stride[2] + (int64_t)e;
                    const double got = (double)rapt_check_load(p->data[OUT], d->out.dtype, at);
                    if (!(rapt_check_distance(got, want[e]) <= rapt_check_tolerance(error, size)))
                        fail_msg("seed %llu: out[%llu, %llu, %llu, %llu] is %.9g, not %.9g", (unsigned long long)seed,
                                 (unsigned long long)row[0], (unsigned long long)row[1], (unsigned long long)row[2],
                                 (unsigned long long)e, got, want[e]);
                }
                const int64_t at = (int64_t)row[0] * d->lse.stride[0] + (int64_t)row[1] * d->lse.stride[1] +
                                   (int64_t)row[2] * d->lse.stride[2];
                if (p->data[LSE] && !(rapt_check_distance((double)((const float *)p->data[LSE])[at], lse) <= 1e-5))
                    fail_msg("seed %llu: lse is %.9g, not %.9g", (unsigned long long)seed, (double)((const float *)p->data[LSE])[at], lse);
            }
}

static void random_problems(unsigned count, uint64_t first)
{
    for (uint64_t seed = first; seed < first + count; seed++) {
        rapt_random random = {seed};
        problem p = {0};
        rapt_combine_desc *d = &p.d;
        rapt_tensor *const tensors[TENSORS] = {&d->x[0],      &d->x[1],        &d->x[2], &d->weight[0], &d->weight[1],
                                               &d->weight[2], &d->norm_weight, &d->gate, &d->out,       &d->lse};
        memcpy(p.tensor, tensors, sizeof tensors);
        describe(&p, &random);
        fill(&p, &random);
        run(&p);
        compare(&p, seed);
        for (int t = 0; t < TENSORS; t++) {
            rapt_buffer_destroy(&p.buffer[t]);
            free(p.data[t]);
        }
    }
}

static void test_random(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    random_problems(300, 1);
    rig_close(&the_rig);
}

/* Windows of 16 KiB: rows are cut into many dispatches. */
static void test_small_ranges(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.mask = "range=16384"});
    random_problems(40, 1000);
    rig_close(&the_rig);
}

static void test_mistakes(void **state)
{
    (void)state;
    rapt_plan *plan;
    rig_open(&the_rig, NULL);
    rapt_combine_desc good = RAPT_COMBINE_DESC_INIT;
    good.out = good.x[0] = good.x[1] = rapt_tensor_bhnd(RAPT_F32, 2, 3, 5, 8);
    const rapt_tensor weight = {.dtype = RAPT_F32, .rank = 3, .size = {2, 3, 5}, .stride = {15, 5, 1}};
    good.weight[0] = good.weight[1] = weight;
#define WRONG(part, ...)                                                                                     \
    do {                                                                                                     \
        rapt_combine_desc d = good;                                                                          \
        __VA_ARGS__;                                                                                         \
        RIG_FAILS(rapt_combine_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_INVALID, part);            \
        assert_null(plan);                                                                                   \
    } while (0)
    WRONG("struct_size", d.struct_size = 4);
    WRONG("weights is 7", d.weights = (rapt_combine_weights)7);
    WRONG("out: dtype i32", d.out.dtype = RAPT_I32);
    WRONG("out: elements overlap", d.out.stride[2] = 0);
    WRONG("x[0] is missing", d.x[0].dtype = d.x[1].dtype = RAPT_DTYPE_NONE, d.weight[0].dtype = d.weight[1].dtype = RAPT_DTYPE_NONE);
    WRONG("x[1] is there, but the one before", d.x[0].dtype = RAPT_DTYPE_NONE, d.weight[0].dtype = RAPT_DTYPE_NONE);
    WRONG("weight[2] goes with its term", d.weight[2] = weight);
    WRONG("x[1] is f16", d.x[1].dtype = RAPT_F16);
    WRONG("x[1]: axis 2 has 4 entries, must be 5 or 1", d.x[1].size[2] = 4);
    WRONG("x[0]: axis 3 has 1 entries, must be 8", d.x[0].size[3] = 1);
    WRONG("x[0]: stride 2 of its last axis", d.x[0].stride[3] = 2);
    WRONG("x[0]: align 3", d.x[0].align = 3);
    WRONG("weight[1] is missing", d.weights = RAPT_COMBINE_SOFTMAX, d.weight[1].dtype = RAPT_DTYPE_NONE);
    WRONG("factor[1] is not finite", d.factor[1] = NAN);
    WRONG("go with norm", d.norm_epsilon = 1);
    WRONG("norm_epsilon -1", d.norm = 1, d.norm_epsilon = -1);
    WRONG("norm_weight: axis 3 has 7", d.norm = 1, d.norm_weight = (rapt_tensor){.dtype = RAPT_F32, .rank = 2, .size = {1, 7}, .stride = {7, 1}});
    WRONG("at most two terms", d.x[2] = d.x[0], d.gate = d.out);
    WRONG("gate_kind is 3", d.gate = d.out, d.gate_kind = RAPT_GATE_KIND_COUNT);
    WRONG("are of one term", d.weights = RAPT_COMBINE_TOP);
    WRONG("top is 4, must be 1 to 3", d.weights = RAPT_COMBINE_TOP, d.x[1].dtype = d.weight[1].dtype = RAPT_DTYPE_NONE, d.top = 4);
    WRONG("lse goes with", d.lse = weight);
    WRONG("slice_ms", d.slice_ms = -1);
    WRONG("act is 9, of 9", d.act = RAPT_COMBINE_ACT_COUNT);
    WRONG("offset is inf", d.offset = INFINITY);
    WRONG("gate is f16", d.out.dtype = RAPT_F16, d.gate = d.out);
    WRONG("x[0] is f16", d.x[0].dtype = RAPT_F16);
#undef WRONG
    rapt_binding *binding;
    rapt_combine_args args = RAPT_COMBINE_ARGS_INIT;
    char text[2000];
    RIG_OK(rapt_combine_plan(the_rig.device, &good, &plan, error));
    RIG_FAILS(rapt_combine_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "not prepared");
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_FAILS(rapt_combine_bind(plan, &args, &binding, error), RAPT_ERROR_INVALID, "out");
    assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "combine f32, 2 terms with plain weights"));
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_small_ranges), cmocka_unit_test(test_mistakes)};
    return RIG_RUN("combine", tests);
}
