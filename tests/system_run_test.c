/* Every published system that works, run on the device against its oracle. */
#include "rig.h"

#include "check/half.h"
#include "check/systems.h"

#include <math.h>

static rig R;
static rapt_system_recipe recipe;
static rapt_check_system S;

typedef struct run {
    rapt_buffer *buffers[RAPT_SYSTEM_TENSORS];
    bool half_weights; /* a step's kernel rounds its weights */
} run;

static int32_t tensor_named(const char *name)
{
    for (uint32_t n = 0; n < recipe.tensor_count; n++)
        if (strcmp(recipe.tensors[n].name, name) == 0)
            return (int32_t)n;
    return -1;
}

/* How input n lies in memory: rows `gap` elements apart. */
static rapt_tensor layout(uint32_t n, uint64_t gap)
{
    const rapt_check_array *a = &S.inputs[n];
    rapt_tensor t = {.dtype = a->dtype, .rank = a->rank};
    uint64_t stride = 1;
    gap = a->bounds ? 0 : gap;
    for (uint32_t axis = a->rank; axis-- > 0;) {
        t.size[axis] = a->shape[axis];
        t.stride[axis] = (int64_t)stride;
        stride = stride * a->shape[axis] + (axis + 1 == a->rank && axis > 0 ? gap : 0);
    }
    return t;
}

static void make_recipe(uint32_t index, bool lse, uint64_t gap)
{
    rapt_system_input inputs[RAPT_CHECK_FIELDS];
    for (uint32_t n = 0; n < S.input_count; n++)
        inputs[n] = (rapt_system_input){S.inputs[n].name, layout(n, gap)};
    static const char *const wanted[] = {"lse"};
    rapt_system_request request = RAPT_SYSTEM_REQUEST_INIT;
    request.inputs = inputs;
    request.input_count = S.input_count;
    request.settings = S.settings;
    request.setting_count = S.setting_count;
    request.outputs = wanted;
    request.output_count = lse;
    RIG_OK(rapt_system_recipe_make(index, &request, &recipe, error));
}

static void upload(run *r, uint64_t gap)
{
    for (uint32_t n = 0; n < recipe.tensor_count; n++) {
        const uint64_t bytes = rapt_tensor_bytes(&recipe.tensors[n].tensor);
        RIG_OK(rapt_buffer_create(R.device, bytes + 4, &r->buffers[n], error));
        RIG_OK(rapt_buffer_fill(r->buffers[n], 0, (bytes + 4) / 4 * 4, RAPT_POISON, error));
        if (recipe.tensors[n].role == RAPT_SYSTEM_PATTERN) {
            int32_t *mask = malloc(bytes + 1);
            assert_non_null(mask);
            RIG_OK(rapt_pattern_fill(&recipe.pattern, mask, bytes / 4, error));
            RIG_OK(rapt_buffer_upload(r->buffers[n], 0, mask, bytes, error));
            free(mask);
        }
    }
    for (uint32_t n = 0; n < S.input_count; n++) {
        const rapt_check_array *a = &S.inputs[n];
        const int32_t t = tensor_named(a->name);
        const rapt_tensor l = layout(n, gap);
        const uint64_t bytes = rapt_tensor_bytes(&l), row = a->rank > 1 ? l.size[l.rank - 1] : a->count,
                       step = a->rank > 1 ? (uint64_t)l.stride[l.rank - 2] : a->count;
        void *data = malloc(bytes + 1);
        assert_true(t >= 0 && data);
        memset(data, 0xff, bytes); /* NaN in the gaps */
        if (a->bounds)
            memcpy(data, a->bounds, bytes);
        for (uint64_t e = 0; e < a->count && !a->bounds; e++)
            rapt_check_store(data, a->dtype, (int64_t)(e / row * step + e % row), (float)a->data[e]);
        RIG_OK(rapt_buffer_upload(r->buffers[t], 0, data, bytes, error));
        free(data);
    }
}

static void run_steps(run *r)
{
    for (uint32_t n = 0; n < recipe.step_count; n++) {
        const rapt_system_step *s = &recipe.steps[n];
        rapt_plan *plan = NULL;
        rapt_binding *binding = NULL;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        RIG_OK(rapt_system_step_plan(R.device, s, &plan, error));
        RIG_OK(rapt_plan_prepare(plan, error));
        RIG_OK(rapt_plan_describe(plan, &info, error));
        r->half_weights |= strstr(info.precision, RAPT_HALF_WEIGHTS) != NULL;
        RIG_OK(rapt_system_step_bind(plan, s, r->buffers, &binding, error));
        RIG_OK(rapt_submit(binding, error));
        RIG_OK(rapt_wait(binding, UINT64_MAX, error));
        rapt_binding_destroy(&binding);
        rapt_plan_destroy(&plan);
    }
}

/* The output against the oracle, within twice the error of the plainest single precision. */
static void compare(const run *r, const char *check, const char *output, const double *want,
                    const double *plain, uint64_t count, double magnitude)
{
    const int32_t t = tensor_named(output);
    assert_true(t >= 0);
    const rapt_dtype dtype = recipe.tensors[t].tensor.dtype;
    const uint64_t bytes = rapt_tensor_bytes(&recipe.tensors[t].tensor);
    assert_int_equal(bytes, count * rapt_dtype_size(dtype));
    void *data = malloc(bytes + 1);
    assert_non_null(data);
    RIG_OK(rapt_buffer_download(r->buffers[t], 0, data, bytes, error));
    double error = 0;
    for (uint64_t e = 0; e < count; e++)
        error = fmax(error, rapt_check_distance(plain[e], want[e]));
    const double tolerance = rapt_check_tolerance(error, magnitude);
    for (uint64_t e = 0; e < count; e++) {
        const double got = (double)rapt_check_load(data, dtype, (int64_t)e);
        if (!(rapt_check_distance(got, want[e]) <= tolerance))
            fail_msg("%s, %s, %s: %s[%llu] is %.9g, not %.9g within %.3g", S.info->name, check,
                     rapt_dtype_name(S.dtype), output, (unsigned long long)e, got, want[e], tolerance);
    }
    free(data);
}

static void check_one(uint32_t index, const rapt_system_info *info, const char *check, rapt_dtype dtype,
                      uint64_t gap)
{
    bool lse = false;
    for (uint32_t n = 0; n < info->output_count; n++)
        lse |= strcmp(info->outputs[n].name, "lse") == 0;
    if (!rapt_check_system_make(info, check, dtype, 0x5e3d + index, &S))
        fail_msg("%s: %s", info->name, check);
    make_recipe(index, lse, gap);
    bool needs_compiler = false;
    for (uint32_t n = 0; n < recipe.step_count; n++)
        needs_compiler |= recipe.steps[n].attention.mask_mod[0] != NULL || recipe.steps[n].attention.score_mod[0] != NULL;
    if (needs_compiler && !getenv("RAPT_TEST_COMPILER")) { /* built without a compiler */
        rapt_check_system_free(&S);
        return;
    }
    run r = {.half_weights = false};
    upload(&r, gap);
    run_steps(&r);
    rapt_check_expected exact, plain;
    if (!rapt_check_system_expect(&S, RAPT_CHECK_DOUBLE, &exact) ||
        !rapt_check_system_expect(&S, r.half_weights ? RAPT_CHECK_HALF_WEIGHTS : RAPT_CHECK_SINGLE, &plain))
        fail_msg("%s: the oracle cannot do %s", info->name, check);
    double largest = 0, largest_lse = fmax(1, exact.score);
    for (uint32_t n = 0; n < S.input_count; n++)
        for (uint64_t e = 0; e < S.inputs[n].count && S.inputs[n].data; e++)
            largest = fmax(largest, fabs(S.inputs[n].data[e]));
    compare(&r, check, "out", exact.out, plain.out, exact.out_count, largest * fmax(1, exact.score / 4));
    for (uint64_t e = 0; e < exact.lse_count && lse; e++)
        largest_lse = isfinite(exact.lse[e]) ? fmax(largest_lse, fabs(exact.lse[e])) : largest_lse;
    if (lse)
        compare(&r, check, "lse", exact.lse, plain.lse, exact.lse_count, largest_lse);
    for (uint32_t n = 0; n < recipe.tensor_count; n++)
        rapt_buffer_destroy(&r.buffers[n]);
    rapt_check_expected_free(&exact);
    rapt_check_expected_free(&plain);
    rapt_check_system_free(&S);
}

static void every_system_that_works(void **state)
{
    unsigned count = 0;
    const char *only = getenv("RAPT_TEST_SYSTEM"); /* part of a name: for work on one of them */
    const bool few = getenv("RAPT_TEST_FEW");      /* one check each: for drivers that compile for minutes */
    (void)state;
    rig_open(&R, &(rig_options){.compiler = getenv("RAPT_TEST_COMPILER")});
    for (uint32_t n = 0; n < rapt_system_count(); n++) {
        rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
        RIG_OK(rapt_system_describe(n, &info, error));
        if (only && !strstr(info.name, only))
            continue;
        if (few && info.works && info.check_count > 0) {
            check_one(n, &info, info.checks[0], RAPT_F32, 3);
            count++;
            continue;
        }
        for (uint32_t c = 0; c < info.check_count && info.works; c++) {
            check_one(n, &info, info.checks[c], RAPT_F32, 0);
            if (c == 0) /* once in 16 bits, once with gaps: each makes pipelines of its own, which takes time */
                check_one(n, &info, info.checks[c], RAPT_F16, 0);
            if (c + 1 == info.check_count)
                check_one(n, &info, info.checks[c], RAPT_F32, 3);
            count++;
        }
    }
    assert_true(count > 0);
    rig_close(&R);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_system_that_works)};
    return cmocka_run_group_tests_name("system_run", tests, NULL, NULL);
}
