#include "runner_system.h"

#include "half.h"
#include "oracle_attention.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 1024 /* of a case in the list */

/* ---- opening ---- */

static int32_t tensor_named(const rapt_system_recipe *recipe, const char *name)
{
    for (uint32_t n = 0; n < recipe->tensor_count; n++)
        if (strcmp(recipe->tensors[n].name, name) == 0)
            return (int32_t)n;
    return -1;
}

/* How an input lies in memory. */
static rapt_tensor layout(const rapt_check_array *a, uint64_t gap)
{
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

static rapt_status make_recipe(rapt_system_trial *t, uint32_t index, rapt_error *error)
{
    static const char *const wanted[] = {"lse"};
    const rapt_check_system *s = t->system;
    rapt_system_input inputs[RAPT_CHECK_FIELDS];
    for (uint32_t n = 0; n < s->input_count; n++)
        inputs[n] = (rapt_system_input){s->inputs[n].name, t->layouts[n]};
    for (uint32_t n = 0; n < s->info->output_count; n++)
        t->lse |= strcmp(s->info->outputs[n].name, wanted[0]) == 0;
    rapt_system_request request = RAPT_SYSTEM_REQUEST_INIT;
    request.inputs = inputs;
    request.input_count = s->input_count;
    request.settings = s->settings;
    request.setting_count = s->setting_count;
    request.outputs = wanted;
    request.output_count = t->lse;
    return rapt_system_recipe_make(index, &request, t->recipe, error);
}

static rapt_status upload_pattern(const rapt_system_trial *t, uint32_t n, rapt_error *error)
{
    const uint64_t bytes = rapt_tensor_bytes(&t->recipe->tensors[n].tensor);
    int32_t *mask = malloc((size_t)bytes + 1);
    rapt_status status = mask ? rapt_pattern_fill(&t->recipe->pattern, mask, bytes / 4, error) : RAPT_ERROR_OUT_OF_HOST_MEMORY;
    if (status == RAPT_OK)
        status = rapt_buffer_upload(t->buffers[n], 0, mask, bytes, error);
    free(mask);
    return status;
}

static rapt_status upload_input(const rapt_system_trial *t, uint32_t n, rapt_error *error)
{
    const rapt_check_array *a = &t->system->inputs[n];
    const rapt_tensor *l = &t->layouts[n];
    const int32_t to = tensor_named(t->recipe, a->name);
    const uint64_t bytes = rapt_tensor_bytes(l), row = a->rank > 1 ? l->size[l->rank - 1] : a->count,
                   step = a->rank > 1 ? (uint64_t)l->stride[l->rank - 2] : a->count;
    if (to < 0) /* given, and not needed */
        return RAPT_OK;
    void *data = malloc((size_t)bytes + 1);
    if (!data)
        return RAPT_ERROR_OUT_OF_HOST_MEMORY;
    memset(data, 0xff, (size_t)bytes); /* NaN in the gaps */
    if (a->bounds)
        memcpy(data, a->bounds, (size_t)bytes);
    for (uint64_t e = 0; e < a->count && !a->bounds; e++)
        rapt_check_store(data, a->dtype, (int64_t)(e / row * step + e % row), (float)a->data[e]);
    const rapt_status status = rapt_buffer_upload(t->buffers[to], 0, data, bytes, error);
    free(data);
    return status;
}

static rapt_status upload(rapt_system_trial *t, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    for (uint32_t n = 0; n < t->recipe->tensor_count && status == RAPT_OK; n++) {
        const uint64_t bytes = (rapt_tensor_bytes(&t->recipe->tensors[n].tensor) + 7) / 4 * 4;
        if (!t->buffers[n])
            status = rapt_buffer_create(t->device, bytes, &t->buffers[n], error);
        if (status == RAPT_OK)
            status = rapt_buffer_fill(t->buffers[n], 0, bytes, RAPT_POISON, error);
        if (status == RAPT_OK && t->recipe->tensors[n].role == RAPT_SYSTEM_PATTERN)
            status = upload_pattern(t, n, error);
    }
    for (uint32_t n = 0; n < t->system->input_count && status == RAPT_OK; n++)
        status = upload_input(t, n, error);
    return status;
}

static void add_up(rapt_system_trial *t)
{
    uint64_t most = 0;
    rapt_plan_info sum = RAPT_PLAN_INFO_INIT;
    for (uint32_t n = 0; n < t->recipe->step_count; n++) {
        const rapt_plan_info *i = &t->steps[n].info;
        if (i->flops > most) {
            most = i->flops;
            t->main_step = n;
        }
        sum.flops += i->flops;
        sum.steps += i->steps;
        sum.slices += i->slices;
        sum.chain += i->chain;
        sum.workspace_bytes = i->workspace_bytes > sum.workspace_bytes ? i->workspace_bytes : sum.workspace_bytes;
        sum.parameter_bytes += i->parameter_bytes;
    }
    const rapt_plan_info *of = &t->steps[t->main_step].info;
    memcpy(sum.kernel, of->kernel, sizeof sum.kernel);
    memcpy(sum.merge_kernel, of->merge_kernel, sizeof sum.merge_kernel);
    memcpy(sum.precision, of->precision, sizeof sum.precision);
    sum.key_splits = of->key_splits;
    for (uint32_t n = 0; n < t->recipe->tensor_count; n++) {
        const rapt_system_tensor *x = &t->recipe->tensors[n];
        uint64_t bytes = rapt_dtype_size(x->tensor.dtype);
        for (uint32_t axis = 0; axis < x->tensor.rank; axis++)
            bytes *= x->tensor.size[axis];
        sum.bytes_read += x->role == RAPT_SYSTEM_IN || x->role == RAPT_SYSTEM_PATTERN ? bytes : 0;
        sum.bytes_written += x->role == RAPT_SYSTEM_OUT ? bytes : 0;
    }
    t->info = sum;
}

static rapt_status open_step(rapt_system_trial *t, uint32_t n, rapt_error *error)
{
    rapt_system_trial_step *s = &t->steps[n];
    s->info = (rapt_plan_info)RAPT_PLAN_INFO_INIT;
    rapt_status status = rapt_system_step_plan(t->device, &t->recipe->steps[n], &s->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(s->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_describe(s->plan, &s->info, error);
    if (status == RAPT_OK)
        status = rapt_system_step_bind(s->plan, &t->recipe->steps[n], t->buffers, &s->binding, error);
    if (status != RAPT_OK) {
        const rapt_error inner = *error;
        snprintf(error->message, sizeof error->message, "step %u, %.80s: %.300s", n + 1, t->recipe->steps[n].what,
                 inner.message[0] ? inner.message : rapt_status_name(status));
    }
    return status;
}

/* Tolerances are earned from the plain implementation that rounds what the kernels round. */
static rapt_status expect(rapt_system_trial *t, rapt_error *error)
{
    bool half_weights = false;
    for (uint32_t n = 0; n < t->recipe->step_count; n++)
        half_weights |= strstr(t->steps[n].info.precision, RAPT_HALF_WEIGHTS) != NULL;
    if (rapt_check_system_expect(t->system, RAPT_CHECK_DOUBLE, &t->exact) &&
        rapt_check_system_expect(t->system, half_weights ? RAPT_CHECK_HALF_WEIGHTS : RAPT_CHECK_SINGLE, &t->plain))
        return RAPT_OK;
    error->status = RAPT_ERROR_UNSUPPORTED;
    snprintf(error->message, sizeof error->message, "%s: the oracle cannot compute this problem", t->system->info->name);
    return error->status;
}

rapt_status rapt_system_trial_open(rapt_device *device, uint32_t index, const rapt_check_system *system, uint64_t gap,
                                   rapt_system_trial *t, rapt_error *error)
{
    *t = (rapt_system_trial){.device = device, .system = system, .recipe = malloc(sizeof *t->recipe)};
    if (!t->recipe)
        return RAPT_ERROR_OUT_OF_HOST_MEMORY;
    for (uint32_t n = 0; n < system->input_count; n++)
        t->layouts[n] = layout(&system->inputs[n], gap);
    t->recipe->tensor_count = t->recipe->step_count = 0;
    const double start = rapt_check_now_ns();
    rapt_status status = make_recipe(t, index, error);
    t->open_ns = rapt_check_now_ns() - start;
    if (status == RAPT_OK)
        status = upload(t, error);
    const double plan = rapt_check_now_ns();
    for (uint32_t n = 0; n < t->recipe->step_count && status == RAPT_OK; n++)
        status = open_step(t, n, error);
    t->open_ns += rapt_check_now_ns() - plan;
    if (status != RAPT_OK)
        return status;
    add_up(t);
    return expect(t, error);
}

void rapt_system_trial_close(rapt_system_trial *t)
{
    for (size_t n = 0; n < RAPT_SYSTEM_STEPS; n++)
        rapt_binding_destroy(&t->steps[n].binding);
    for (size_t n = 0; n < RAPT_SYSTEM_TENSORS; n++)
        rapt_buffer_destroy(&t->buffers[n]);
    for (size_t n = 0; n < RAPT_SYSTEM_STEPS; n++)
        rapt_plan_destroy(&t->steps[n].plan);
    rapt_check_expected_free(&t->exact);
    rapt_check_expected_free(&t->plain);
    free(t->recipe);
    t->recipe = NULL;
}

/* ---- running ---- */

rapt_status rapt_system_trial_submit(rapt_system_trial *t, double *device_ns, double *wall_ns, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    const double start = rapt_check_now_ns();
    double device = 0;
    for (uint32_t n = 0; n < t->recipe->step_count && status == RAPT_OK; n++) {
        rapt_timing timing = {0};
        status = rapt_submit(t->steps[n].binding, error);
        if (status == RAPT_OK)
            status = rapt_wait(t->steps[n].binding, UINT64_MAX, error);
        rapt_binding_timing(t->steps[n].binding, &timing);
        device = timing.device_ns < 0 || device < 0 ? -1 : device + timing.device_ns;
    }
    if (wall_ns)
        *wall_ns = rapt_check_now_ns() - start;
    if (device_ns)
        *device_ns = device;
    return status;
}

/* The output of this name against the oracle's. */
static rapt_status compare(rapt_system_trial *t, const char *name, const double *want, const double *plain, uint64_t count,
                           double magnitude, rapt_check_difference *difference, rapt_result *r)
{
    const int32_t n = tensor_named(t->recipe, name);
    const rapt_tensor *at = n < 0 ? NULL : &t->recipe->tensors[n].tensor;
    const uint64_t bytes = at ? rapt_tensor_bytes(at) : 0;
    if (!at || bytes != count * rapt_dtype_size(at->dtype)) {
        r->verdict = RAPT_CHECK_FAIL;
        snprintf(r->message, sizeof r->message, "%s has %llu bytes, the oracle gives %llu numbers", name, (unsigned long long)bytes,
                 (unsigned long long)count);
        return RAPT_OK;
    }
    void *data = malloc((size_t)bytes + 1);
    if (!data)
        return RAPT_ERROR_OUT_OF_HOST_MEMORY;
    const rapt_status status = rapt_buffer_download(t->buffers[n], 0, data, bytes, &r->error);
    double error = 0;
    for (uint64_t e = 0; e < count; e++)
        error = fmax(error, rapt_check_distance(plain[e], want[e]));
    rapt_check_difference d = {.compared = count, .tolerance = rapt_check_tolerance(error, magnitude)};
    for (uint64_t e = 0; e < count && status == RAPT_OK; e++) {
        const double got = (double)rapt_check_load(data, at->dtype, (int64_t)e);
        const double off = rapt_check_distance(got, want[e]);
        d.max_abs = off <= d.max_abs ? d.max_abs : off;
        if (off <= d.tolerance)
            continue;
        if (d.wrong++ == 0 && r->verdict == RAPT_CHECK_PASS)
            snprintf(r->message, sizeof r->message, "%s[%llu] of %llu is %.9g, not %.9g within %.3g", name, (unsigned long long)e,
                     (unsigned long long)count, got, want[e], d.tolerance);
        r->verdict = RAPT_CHECK_FAIL;
    }
    free(data);
    *difference = d;
    return status;
}

/* Steps whose block mask was made by the steps before: their plans count every pair, here those that the mask shows. */
static rapt_status count_pairs(rapt_system_trial *t, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    for (uint32_t n = 0; n < t->recipe->step_count && status == RAPT_OK && !t->counted; n++) {
        const rapt_system_step *s = &t->recipe->steps[n];
        if (s->op != RAPT_SYSTEM_ATTENTION || s->block_mask.tensor < 0 || s->attention.block_mask.dtype == RAPT_DTYPE_NONE)
            continue;
        const uint64_t bytes = rapt_tensor_bytes(&t->recipe->tensors[s->block_mask.tensor].tensor);
        char *mask = malloc((size_t)bytes + 1);
        status = mask ? rapt_buffer_download(t->buffers[s->block_mask.tensor], 0, mask, bytes, error) : RAPT_ERROR_OUT_OF_HOST_MEMORY;
        if (status == RAPT_OK) {
            const rapt_check_inputs in = {.block_mask = (const int32_t *)(const void *)(mask + s->block_mask.offset)};
            const double pairs = rapt_check_attention_block_pairs(&s->attention, &in),
                         flops = 2.0 * (double)(s->attention.q.size[3] + s->attention.v.size[3]) * pairs;
            t->info.flops = t->info.flops - t->steps[n].info.flops + (uint64_t)flops;
            t->steps[n].info.flops = (uint64_t)flops;
        }
        free(mask);
    }
    t->counted = true;
    return status;
}

rapt_result rapt_system_trial_check(rapt_system_trial *t)
{
    rapt_result r = {.info = t->info, .runs = 1};
    rapt_status status = upload(t, &r.error);
    if (status == RAPT_OK)
        status = rapt_system_trial_submit(t, &r.device_ns, &r.wall_ns, &r.error);
    if (status == RAPT_OK)
        status = count_pairs(t, &r.error);
    r.info = t->info;
    double largest = 0, largest_lse = fmax(1, t->exact.score);
    for (uint32_t n = 0; n < t->system->input_count; n++)
        for (uint64_t e = 0; e < t->system->inputs[n].count && t->system->inputs[n].data; e++)
            largest = fmax(largest, fabs(t->system->inputs[n].data[e]));
    if (status == RAPT_OK)
        status = compare(t, "out", t->exact.out, t->plain.out, t->exact.out_count, largest * fmax(1, t->exact.score / 4), &r.out, &r);
    for (uint64_t e = 0; e < t->exact.lse_count && t->lse; e++)
        largest_lse = isfinite(t->exact.lse[e]) ? fmax(largest_lse, fabs(t->exact.lse[e])) : largest_lse;
    if (status == RAPT_OK && t->lse)
        status = compare(t, "lse", t->exact.lse, t->plain.lse, t->exact.lse_count, largest_lse, &r.lse, &r);
    r.wrong = r.verdict == RAPT_CHECK_FAIL;
    if (status != RAPT_OK) {
        r.verdict = RAPT_CHECK_ERROR;
        r.error.status = status;
    }
    return r;
}

/* ---- cases ---- */

/* Letters and digits in lower case, anything else as one dash. */
static void slug(const char *name, size_t length, char *out, size_t capacity)
{
    size_t n = 0;
    for (size_t i = 0; i < length && name[i] && n + 2 < capacity; i++) {
        if (isalnum((unsigned char)name[i]))
            out[n++] = (char)tolower((unsigned char)name[i]);
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n > 0 && out[n - 1] == '-')
        n--;
    out[n] = 0;
}

/* The short one where it names this system and no other. */
static void name_of(uint32_t index, const char *name, char *out, size_t capacity)
{
    uint32_t found;
    slug(name, strcspn(name, "("), out, capacity);
    if (rapt_system_find(out, &found, NULL) != RAPT_OK || found != index)
        slug(name, strlen(name), out, capacity);
}

/* The table's problem, with a number of tokens for each N that stands alone and 1 + ceil(log2 N) for each L. */
static bool with_tokens(const char *bench, unsigned long tokens, char *out, size_t capacity)
{
    size_t n = 0;
    unsigned levels = 1;
    while (1ul << (levels - 1) < tokens)
        levels++;
    for (const char *at = bench; *at; at++) {
        const bool alone = at > bench && strchr("=,", at[-1]) && (at[1] == 0 || strchr(", *", at[1]));
        const int wrote = alone && *at == 'N'   ? snprintf(out + n, capacity - n, "%lu", tokens)
                          : alone && *at == 'L' ? snprintf(out + n, capacity - n, "%u", levels)
                                                : snprintf(out + n, capacity - n, "%c", *at);
        n += wrote > 0 ? (size_t)wrote : 0;
        if (n >= capacity)
            return false;
    }
    return true;
}

static bool parse_dtype(const char *text, rapt_dtype *dtype)
{
    static const rapt_dtype types[] = {RAPT_F32, RAPT_F16, RAPT_BF16};
    for (size_t n = 0; n < sizeof types / sizeof *types; n++)
        if (strcmp(text, rapt_dtype_name(types[n])) == 0) {
            *dtype = types[n];
            return true;
        }
    return false;
}

bool rapt_system_case_parse(const char *name, rapt_system_case *out)
{
    char system[sizeof out->name], number[8];
    const size_t length = strcspn(name, "@#"), digits = name[length] ? strspn(name + length + 1, "0123456789") : 0;
    rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
    if (strlen(name) >= sizeof out->name || length == 0 || digits == 0 || digits >= sizeof number)
        return false;
    snprintf(system, sizeof system, "%.*s", (int)length, name);
    snprintf(number, sizeof number, "%.*s", (int)digits, name + length + 1);
    const unsigned long count = strtoul(number, NULL, 10);
    *out = (rapt_system_case){.index = 0};
    snprintf(out->name, sizeof out->name, "%s", name);
    if (count == 0 || !parse_dtype(name + length + 1 + digits, &out->dtype) ||
        rapt_system_find(system, &out->index, NULL) != RAPT_OK || rapt_system_describe(out->index, &info, NULL) != RAPT_OK ||
        !info.works)
        return false;
    if (name[length] == '@')
        return info.bench[0] && with_tokens(info.bench, count, out->problem, sizeof out->problem);
    return count <= info.check_count && strlen(info.checks[count - 1]) < sizeof out->problem &&
           snprintf(out->problem, sizeof out->problem, "%s", info.checks[count - 1]) > 0;
}

rapt_system_case *rapt_system_cases(size_t *count)
{
    rapt_system_case *list = calloc(rapt_system_count() + 1, sizeof *list);
    *count = 0;
    for (uint32_t n = 0; n < rapt_system_count() && list; n++) {
        rapt_system_info info = RAPT_SYSTEM_INFO_INIT;
        char name[100], whole[sizeof list->name];
        if (rapt_system_describe(n, &info, NULL) != RAPT_OK || !info.works)
            continue;
        name_of(n, info.name, name, sizeof name);
        if (info.bench[0])
            snprintf(whole, sizeof whole, "%s@%df32", name, TOKENS);
        else
            snprintf(whole, sizeof whole, "%s#1f32", name);
        *count += rapt_system_case_parse(whole, &list[*count]);
    }
    return list;
}
