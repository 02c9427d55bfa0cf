/* Inputs, parameters and steps of a recipe, by name. */
#include "system/system.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool rapt_system_refuse(rapt_system_builder *b, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rapt_fail(b->error, RAPT_ERROR_INVALID, "%s: %s", b->info->name, text);
    return false;
}

/* ---- by name ---- */

static const rapt_system_field *field(const rapt_system_field *fields, uint32_t count, const char *name)
{
    for (uint32_t n = 0; n < count; n++)
        if (strcmp(fields[n].name, name) == 0)
            return &fields[n];
    return NULL;
}

static void names(const rapt_system_field *fields, uint32_t count, char *out, size_t capacity)
{
    rapt_text text = rapt_text_over(out, capacity);
    for (uint32_t n = 0; n < count; n++)
        rapt_text_add(&text, "%s%s", n ? ", " : "", fields[n].name);
    if (count == 0)
        rapt_text_add(&text, "none");
}

/* Every name of the request is one of the system's, and stands there once. */
static bool known(rapt_system_builder *b, const char *kind, const rapt_system_field *fields, uint32_t count,
                  const char *name)
{
    char list[200];
    if (name && field(fields, count, name))
        return true;
    names(fields, count, list, sizeof list);
    return rapt_system_refuse(b, "no %s is named '%.60s'; there are: %s", kind, name ? name : "", list);
}

static bool request_known(rapt_system_builder *b)
{
    const rapt_system_info *i = b->info;
    const rapt_system_request *r = b->request;
    for (uint32_t n = 0; n < r->input_count; n++) {
        const rapt_system_input *in = &r->inputs[n];
        if (!known(b, "input", i->inputs, i->input_count, in->name))
            return false;
        for (uint32_t other = 0; other < n; other++)
            if (strcmp(r->inputs[other].name, in->name) == 0)
                return rapt_system_refuse(b, "input '%s' is given twice", in->name);
        if (rapt_tensor_bytes(&in->tensor) == UINT64_MAX || in->tensor.rank > RAPT_MAX_RANK)
            return rapt_system_refuse(b, "input '%s': more than 64-bit offsets reach, or more than %d axes",
                                      in->name, RAPT_MAX_RANK);
    }
    for (uint32_t n = 0; n < r->setting_count; n++) {
        if (!known(b, "parameter", i->parameters, i->parameter_count, r->settings[n].name))
            return false;
        for (uint32_t other = 0; other < n; other++)
            if (strcmp(r->settings[other].name, r->settings[n].name) == 0)
                return rapt_system_refuse(b, "parameter '%s' is given twice", r->settings[n].name);
    }
    for (uint32_t n = 0; n < r->output_count; n++)
        if (!known(b, "output", i->outputs, i->output_count, r->outputs[n]))
            return false;
    return true;
}

/* ---- tensors ---- */

static bool find_input(rapt_system_builder *b, const char *name, const rapt_system_input **out)
{
    const rapt_system_field *f = field(b->info->inputs, b->info->input_count, name);
    for (uint32_t n = 0; n < b->request->input_count; n++)
        if (strcmp(b->request->inputs[n].name, name) == 0) {
            *out = &b->request->inputs[n];
            return true;
        }
    return rapt_system_refuse(b, "input '%s' is missing: %s %s", name, f ? f->shape : "", f ? f->about : "");
}

static bool add_tensor(rapt_system_builder *b, const rapt_system_tensor *t, rapt_system_operand *at)
{
    rapt_system_recipe *r = b->recipe;
    for (uint32_t n = 0; n < r->tensor_count; n++)
        if (strcmp(r->tensors[n].name, t->name) == 0) {
            *at = (rapt_system_operand){.tensor = (int32_t)n};
            return true;
        }
    if (r->tensor_count == RAPT_SYSTEM_TENSORS)
        return rapt_system_refuse(b, "more than %d tensors", RAPT_SYSTEM_TENSORS);
    *at = (rapt_system_operand){.tensor = (int32_t)r->tensor_count};
    r->tensors[r->tensor_count++] = *t;
    return true;
}

bool rapt_system_in(rapt_system_builder *b, const char *name, uint32_t rank, rapt_system_view *view)
{
    const rapt_system_input *in;
    const rapt_system_field *f = field(b->info->inputs, b->info->input_count, name);
    if (!find_input(b, name, &in))
        return false;
    const rapt_tensor *t = &in->tensor;
    if (t->dtype != RAPT_F32 && t->dtype != RAPT_F16 && t->dtype != RAPT_BF16)
        return rapt_system_refuse(b, "input '%s' is %s; f32, f16 or bf16 is needed", name,
                                  rapt_dtype_name(t->dtype));
    if (b->dtype != RAPT_DTYPE_NONE && t->dtype != b->dtype)
        return rapt_system_refuse(b, "input '%s' is %s, the inputs before it %s: one type for all", name,
                                  rapt_dtype_name(t->dtype), rapt_dtype_name(b->dtype));
    if (t->rank != rank)
        return rapt_system_refuse(b, "input '%s' has %u axes; %u are needed: %s", name, t->rank, rank,
                                  f->shape);
    b->dtype = t->dtype;
    view->tensor = *t;
    return add_tensor(b, &(rapt_system_tensor){.name = f->name, .role = RAPT_SYSTEM_IN, .tensor = *t},
                      &view->at);
}

/* Whether an input has the sizes that are wanted: 0 for an axis of any size. */
static bool sizes_are(rapt_system_builder *b, const rapt_system_field *f, const rapt_tensor *t, const uint64_t *want)
{
    for (uint32_t axis = 0; axis < t->rank; axis++)
        if (want[axis] != 0 && t->size[axis] != want[axis])
            return rapt_system_refuse(b, "input '%s' has %llu entries along axis %u; %llu are needed: %s", f->name,
                                      (unsigned long long)t->size[axis], axis, (unsigned long long)want[axis], f->shape);
    return true;
}

bool rapt_system_in_sized(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *want, rapt_system_view *view)
{
    return rapt_system_in(b, name, rank, view) &&
           sizes_are(b, field(b->info->inputs, b->info->input_count, name), &view->tensor, want);
}

bool rapt_system_in_f32(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *want,
                        rapt_system_view *view)
{
    const rapt_system_input *in;
    const rapt_system_field *f = field(b->info->inputs, b->info->input_count, name);
    if (!find_input(b, name, &in))
        return false;
    const rapt_tensor *t = &in->tensor;
    if (t->dtype != RAPT_F32 || t->rank != rank)
        return rapt_system_refuse(b, "input '%s' is %s with %u axes; f32 with %u is needed: %s", name,
                                  rapt_dtype_name(t->dtype), t->rank, rank, f->shape);
    if (!sizes_are(b, f, t, want))
        return false;
    view->tensor = *t;
    return add_tensor(b, &(rapt_system_tensor){.name = f->name, .role = RAPT_SYSTEM_IN, .tensor = *t}, &view->at);
}

bool rapt_system_in_i32(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *want, rapt_system_view *view)
{
    const rapt_system_input *in;
    const rapt_system_field *f = field(b->info->inputs, b->info->input_count, name);
    if (!find_input(b, name, &in))
        return false;
    const rapt_tensor *t = &in->tensor;
    if (t->dtype != RAPT_I32 || t->rank != rank)
        return rapt_system_refuse(b, "input '%s' is %s with %u axes; int32 with %u is needed: %s", name,
                                  rapt_dtype_name(t->dtype), t->rank, rank, f->shape);
    if (!sizes_are(b, f, t, want))
        return false;
    view->tensor = *t;
    return add_tensor(b, &(rapt_system_tensor){.name = f->name, .role = RAPT_SYSTEM_IN, .tensor = *t, .bounds = UINT64_MAX},
                      &view->at);
}

bool rapt_system_in_numbers(rapt_system_builder *b, const char *name, rapt_system_view *view)
{
    const rapt_system_input *in;
    if (!find_input(b, name, &in))
        return false;
    const rapt_tensor *t = &in->tensor;
    if (t->dtype != RAPT_F32 && t->dtype != RAPT_I32)
        return rapt_system_refuse(b, "input '%s' is %s; f32 or int32 is needed", name, rapt_dtype_name(t->dtype));
    uint64_t count = 1;
    for (uint32_t axis = 0; axis < t->rank; axis++)
        if (!rapt_mul_u64(count, t->size[axis], &count))
            count = UINT64_MAX;
    if (count > UINT64_MAX / 4 || rapt_tensor_bytes(t) != count * 4)
        return rapt_system_refuse(b, "input '%s' must lie without gaps", name);
    view->tensor = *t;
    return add_tensor(b, &(rapt_system_tensor){.name = field(b->info->inputs, b->info->input_count, name)->name,
                                               .role = RAPT_SYSTEM_IN, .tensor = *t, .bounds = UINT64_MAX}, &view->at);
}

bool rapt_system_given(const rapt_system_builder *b, const char *name)
{
    for (uint32_t n = 0; n < b->request->input_count; n++)
        if (strcmp(b->request->inputs[n].name, name) == 0)
            return true;
    return false;
}

bool rapt_system_bounds(rapt_system_builder *b, const char *name, uint64_t end, rapt_system_operand *at,
                        uint64_t *count)
{
    const rapt_system_input *in;
    const rapt_system_field *f = field(b->info->inputs, b->info->input_count, name);
    if (!find_input(b, name, &in))
        return false;
    if (in->tensor.dtype != RAPT_I32 || in->tensor.rank != 1 || in->tensor.size[0] == 0)
        return rapt_system_refuse(b, "input '%s': int32 with one axis of at least one entry is needed", name);
    if (in->tensor.size[0] > UINT32_MAX)
        return rapt_system_refuse(b, "input '%s' has more than 2^32 - 1 entries", name);
    *count = in->tensor.size[0];
    return add_tensor(
        b,
        &(rapt_system_tensor){.name = f->name, .role = RAPT_SYSTEM_IN, .tensor = in->tensor, .bounds = end},
        at);
}

bool rapt_system_new(rapt_system_builder *b, rapt_system_role role, const char *name, rapt_dtype dtype,
                     uint32_t rank, const uint64_t *shape, rapt_system_view *view)
{
    rapt_tensor t = {.dtype = dtype, .rank = rank};
    uint64_t stride = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        t.size[axis] = shape[axis];
        t.stride[axis] = (int64_t)stride;
        if ((shape[axis] > 0 && !rapt_mul_u64(stride, shape[axis], &stride)) || stride > INT64_MAX)
            return rapt_system_refuse(b, "'%s' has more elements than 64-bit offsets reach", name);
    }
    if (rapt_tensor_bytes(&t) == UINT64_MAX)
        return rapt_system_refuse(b, "'%s' has more bytes than 64-bit offsets reach", name);
    view->tensor = t;
    return add_tensor(b, &(rapt_system_tensor){.name = name, .role = role, .tensor = t}, &view->at);
}

bool rapt_system_wants(const rapt_system_builder *b, const char *name)
{
    for (uint32_t n = 0; n < b->request->output_count; n++)
        if (strcmp(b->request->outputs[n], name) == 0)
            return true;
    return false;
}

/* What the engine may rely on: the largest power of two, up to 16, that divides the offset of a view whose
 * whole tensor keeps its own promise. */
static void set_align(rapt_system_view *v)
{
    uint32_t align = v->tensor.align ? v->tensor.align : 16;
    while (align > 1 && v->at.offset % align != 0)
        align /= 2;
    v->tensor.align = align;
}

rapt_system_view rapt_system_part(rapt_system_view view, unsigned axis, uint64_t first, uint64_t count)
{
    view.tensor.size[axis] = count;
    if (rapt_tensor_bytes(&view.tensor) > 0) { /* an empty part lies nowhere: the whole may be empty too */
        view.at.offset += first * (uint64_t)view.tensor.stride[axis] * rapt_dtype_size(view.tensor.dtype);
        set_align(&view);
    }
    return view;
}

rapt_system_view rapt_system_every(rapt_system_view view, unsigned axis, uint64_t first, uint64_t step)
{
    const uint64_t size = view.tensor.size[axis];
    view = rapt_system_part(view, axis, first, size > first ? (size - first + step - 1) / step : 0);
    view.tensor.stride[axis] *= (int64_t)step;
    return view;
}

rapt_system_view rapt_system_axes(rapt_system_view view, const int axes[4])
{
    rapt_system_view out = view;
    out.tensor.rank = 4;
    for (int n = 0; n < 4; n++) {
        out.tensor.size[n] = axes[n] < 0 ? 1 : view.tensor.size[axes[n]];
        out.tensor.stride[n] = axes[n] < 0 ? 0 : view.tensor.stride[axes[n]];
    }
    return out;
}

/* ---- parameters ---- */

/* NULL: the row has no such parameter. `needed` parameters that are not given have "". */
static const char *setting(const rapt_system_builder *b, const char *name)
{
    const rapt_system_field *f = field(b->info->parameters, b->info->parameter_count, name);
    for (uint32_t n = 0; n < b->request->setting_count; n++)
        if (strcmp(b->request->settings[n].name, name) == 0)
            return b->request->settings[n].value ? b->request->settings[n].value : "";
    return f ? f->shape : NULL;
}

static bool missing(rapt_system_builder *b, const char *name)
{
    return rapt_system_refuse(b, "parameter '%s' is missing: %s", name,
                              field(b->info->parameters, b->info->parameter_count, name)->about);
}

static bool whole_number(const char *text, char **end, int64_t *out)
{
    errno = 0;
    *out = strtoll(text, end, 10);
    return *end != text && errno == 0 && text[0] != ' ';
}

bool rapt_system_integer(rapt_system_builder *b, const char *name, int64_t low, int64_t high, int64_t *out)
{
    const char *text = setting(b, name);
    char *end;
    int64_t value;
    if (!text)
        return true;
    if (text[0] == 0)
        return missing(b, name);
    if (!whole_number(text, &end, &value) || *end != 0 || value < low || value > high)
        return rapt_system_refuse(b, "parameter '%s' is '%.40s'; a whole number from %lld to %lld is needed",
                                  name, text, (long long)low, (long long)high);
    *out = value;
    return true;
}

bool rapt_system_list(rapt_system_builder *b, const char *name, int64_t high, int64_t *out, uint32_t capacity,
                      uint32_t *count)
{
    const char *text = setting(b, name);
    *count = 0;
    if (!text || strcmp(text, "none") == 0)
        return true;
    if (text[0] == 0)
        return missing(b, name);
    for (const char *at = text;; at++) {
        char *end;
        int64_t value;
        if (!whole_number(at, &end, &value) || (*end != ',' && *end != 0) || value < 0 || value > high ||
            (*count > 0 && value <= out[*count - 1]) || *count == capacity)
            return rapt_system_refuse(
                b,
                "parameter '%s' is '%.40s'; none, or a rising comma list of at most %u whole "
                "numbers from 0 to %lld is needed",
                name, text, capacity, (long long)high);
        out[(*count)++] = value;
        at = end;
        if (*at == 0)
            return true;
    }
}

bool rapt_system_sizes(rapt_system_builder *b, const char *name, int64_t high, uint32_t *out, uint32_t capacity,
                       uint32_t *count)
{
    const char *text = setting(b, name);
    *count = 0;
    if (!text)
        return true;
    if (text[0] == 0)
        return missing(b, name);
    for (const char *at = text;; at++) {
        char *end;
        int64_t value;
        if (!whole_number(at, &end, &value) || (*end != ',' && *end != 0) || value < 1 || value > high || *count == capacity)
            return rapt_system_refuse(
                b, "parameter '%s' is '%.40s'; a comma list of at most %u whole numbers from 1 to %lld is needed", name, text,
                capacity, (long long)high);
        out[(*count)++] = (uint32_t)value;
        at = end;
        if (*at == 0)
            return true;
    }
}

/* [-+]digits[.digits][e[-+]digits], whatever the app's locale makes of strtod. False: not of that form. */
static bool decimal(const char *at, double *out)
{
    const bool minus = *at == '-';
    double value = 0;
    int digits = 0, exponent = 0;
    at += minus || *at == '+';
    for (; *at >= '0' && *at <= '9'; at++, digits++)
        value = value * 10 + (*at - '0');
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++, digits++, exponent--)
            value = value * 10 + (*at - '0');
    if (digits > 0 && (*at == 'e' || *at == 'E')) {
        char *end;
        int64_t more;
        if (!whole_number(++at, &end, &more) || more < -1000 || more > 1000)
            return false;
        exponent += (int)more;
        at = end;
    }
    *out = (minus ? -value : value) * pow(10, exponent);
    return digits > 0 && digits < 300 && *at == 0;
}

static bool number(rapt_system_builder *b, const char *name, const char *text, float *out)
{
    double value;
    if (!decimal(text, &value) || !isfinite((float)value))
        return rapt_system_refuse(b, "parameter '%s' is '%.40s'; a number within single precision is needed",
                                  name, text);
    *out = (float)value;
    return true;
}

bool rapt_system_number(rapt_system_builder *b, const char *name, float *out)
{
    const char *text = setting(b, name);
    if (!text)
        return true;
    return text[0] ? number(b, name, text, out) : missing(b, name);
}

bool rapt_system_numbers(rapt_system_builder *b, const char *name, float *out, uint32_t capacity, uint32_t *count)
{
    const char *text = setting(b, name);
    char one[64];
    *count = 0;
    if (!text)
        return true;
    if (text[0] == 0)
        return missing(b, name);
    for (const char *at = text;; at++) {
        const size_t length = strcspn(at, ",");
        if (*count == capacity || length >= sizeof one)
            return rapt_system_refuse(b, "parameter '%s' is '%.40s'; a comma list of at most %u numbers is needed", name, text, capacity);
        memcpy(one, at, length);
        one[length] = 0;
        if (!number(b, name, one, &out[(*count)++]))
            return false;
        at += length;
        if (*at == 0)
            return true;
    }
}

const char *rapt_system_text(rapt_system_builder *b, const char *name)
{
    return setting(b, name);
}

bool rapt_system_common(rapt_system_builder *b, rapt_attention_desc *d)
{
    const char *scale = setting(b, "scale"), *cap = setting(b, "soft_cap");
    int64_t causal = 0, splits = 0;
    if (!rapt_system_integer(b, "causal", 0, 1, &causal) ||
        !rapt_system_integer(b, "key_splits", 0, 1 << 20, &splits))
        return false;
    if (causal)
        d->flags |= RAPT_ATTENTION_CAUSAL;
    d->key_splits = (uint32_t)splits;
    if (scale && strcmp(scale, "1/sqrt(d)") != 0) {
        if (!number(b, "scale", scale, &d->scale))
            return false;
        d->flags |= RAPT_ATTENTION_SCALE;
    }
    if (cap && strcmp(cap, "none") != 0) {
        if (!number(b, "soft_cap", cap, &d->soft_cap))
            return false;
        if (!(d->soft_cap > 0))
            return rapt_system_refuse(
                b, "parameter 'soft_cap' is '%.40s'; none or a positive number is needed", cap);
    }
    return true;
}

/* ---- steps ---- */

/* One more step, all operands absent. */
static rapt_system_step *new_step(rapt_system_builder *b, const char *what)
{
    rapt_system_recipe *r = b->recipe;
    if (r->step_count == RAPT_SYSTEM_STEPS) {
        rapt_fail(b->error, RAPT_ERROR_UNSUPPORTED, "%s: needs more than %d steps", b->info->name, RAPT_SYSTEM_STEPS);
        return NULL;
    }
    rapt_system_step *s = &r->steps[r->step_count++];
    *s = (rapt_system_step){.what = what};
    rapt_system_operand *const operands[] = {
        &s->q,      &s->k,      &s->v,          &s->out,   &s->lse,       &s->cu_seqlens_q, &s->cu_seqlens_k, &s->gate,
        &s->bias_u, &s->bias_v, &s->block_mask, &s->sinks, &s->alibi,     &s->key_bias,     &s->segments,     &s->bias,
        &s->relative, &s->decays, &s->user[0], &s->user[1], &s->user[2], &s->user[3], &s->decay,  &s->beta,  &s->state_in,
        &s->state_out, &s->a, &s->b, &s->norm_in, &s->norm_out, &s->scale_q, &s->scale_k, &s->summary, &s->scores, &s->mask,
        &s->list, &s->x, &s->weight, &s->term[0], &s->term[1], &s->term[2], &s->term_weight[0], &s->term_weight[1], &s->term_weight[2], &s->norm_weight,
        &s->c, &s->dt, &s->skip, &s->z, &s->within, &s->row_max,
        &s->k_lengths, &s->block_table, &s->rates};
    for (size_t n = 0; n < RAPT_COUNT(operands); n++)
        operands[n]->tensor = -1;
    return s;
}

rapt_system_step *rapt_system_step_add(rapt_system_builder *b, const char *what,
                                       const rapt_attention_desc *base, rapt_system_view q,
                                       rapt_system_view k, rapt_system_view v, rapt_system_view out,
                                       const rapt_system_view *lse)
{
    rapt_system_step *s = new_step(b, what);
    if (s == NULL)
        return NULL;
    s->attention = *base;
    s->q = q.at;
    s->k = k.at;
    s->v = v.at;
    s->out = out.at;
    if (lse)
        s->lse = lse->at;
    s->attention.struct_size = sizeof s->attention;
    s->attention.q = q.tensor;
    s->attention.k = k.tensor;
    s->attention.v = v.tensor;
    s->attention.out = out.tensor;
    if (lse)
        s->attention.lse = lse->tensor;
    return s;
}

rapt_system_step *rapt_system_linear_step_add(rapt_system_builder *b, const char *what, const rapt_linear_desc *base)
{
    rapt_system_step *s = new_step(b, what);
    if (s == NULL)
        return NULL;
    s->op = RAPT_SYSTEM_LINEAR;
    s->linear = *base;
    return s;
}

rapt_system_step *rapt_system_route_step_add(rapt_system_builder *b, const char *what, const rapt_route_desc *base)
{
    rapt_system_step *s = new_step(b, what);
    if (s == NULL)
        return NULL;
    s->op = RAPT_SYSTEM_ROUTE;
    s->route = *base;
    return s;
}

rapt_system_step *rapt_system_rows_step_add(rapt_system_builder *b, const char *what, rapt_rows_kind kind, rapt_system_view x,
                                            rapt_system_view list, rapt_system_view out)
{
    rapt_system_step *s = new_step(b, what);
    if (s == NULL)
        return NULL;
    s->op = RAPT_SYSTEM_ROWS;
    s->rows = (rapt_rows_desc)RAPT_ROWS_DESC_INIT;
    s->rows.kind = kind;
    s->rows.x = x.tensor;
    s->rows.list = list.tensor;
    s->rows.out = out.tensor;
    s->x = x.at;
    s->list = list.at;
    s->out = out.at;
    return s;
}

rapt_system_step *rapt_system_combine_step_add(rapt_system_builder *b, const char *what, rapt_system_view out,
                                               const rapt_system_term *terms, uint32_t count)
{
    rapt_system_step *s = new_step(b, what);
    if (s == NULL)
        return NULL;
    s->op = RAPT_SYSTEM_COMBINE;
    s->combine = (rapt_combine_desc)RAPT_COMBINE_DESC_INIT;
    s->combine.out = out.tensor;
    s->out = out.at;
    for (uint32_t t = 0; t < count; t++) {
        s->combine.x[t] = terms[t].x.tensor;
        s->combine.factor[t] = terms[t].factor;
        s->term[t] = terms[t].x.at;
        if (terms[t].weight != NULL) {
            s->combine.weight[t] = terms[t].weight->tensor;
            s->term_weight[t] = terms[t].weight->at;
        }
    }
    return s;
}

rapt_system_step *rapt_system_scan_step_add(rapt_system_builder *b, const char *what, const rapt_scan_desc *base,
                                            rapt_system_view x, rapt_system_view out)
{
    rapt_system_step *s = new_step(b, what);
    if (s == NULL)
        return NULL;
    s->op = RAPT_SYSTEM_SCAN;
    s->scan = *base;
    s->scan.x = x.tensor;
    s->scan.out = out.tensor;
    s->x = x.at;
    s->out = out.at;
    return s;
}

rapt_system_step *rapt_system_memory_step_add(rapt_system_builder *b, const char *what, const rapt_memory_desc *base, rapt_system_view q,
                                              rapt_system_view k, rapt_system_view v, rapt_system_view out)
{
    rapt_system_step *s = new_step(b, what);
    if (s == NULL)
        return NULL;
    s->op = RAPT_SYSTEM_MEMORY;
    s->memory = *base;
    rapt_system_give(&s->memory.q, &s->q, &q);
    rapt_system_give(&s->memory.k, &s->k, &k);
    rapt_system_give(&s->memory.v, &s->v, &v);
    rapt_system_give(&s->memory.out, &s->out, &out);
    return s;
}

rapt_system_view rapt_system_ranked(rapt_system_view view, uint32_t rank, const int axes[4])
{
    rapt_system_view out = rapt_system_axes(view, axes);
    out.tensor.rank = rank;
    return out;
}

rapt_system_view rapt_system_split(rapt_system_view view, unsigned axis, uint64_t inner)
{
    rapt_tensor *t = &view.tensor;
    for (unsigned n = t->rank; n > axis + 1; n--) {
        t->size[n] = t->size[n - 1];
        t->stride[n] = t->stride[n - 1];
    }
    t->rank++;
    t->size[axis + 1] = inner;
    t->stride[axis + 1] = t->stride[axis];
    t->size[axis] = inner > 0 ? t->size[axis] / inner : 0;
    t->stride[axis] *= (int64_t)inner;
    return view;
}

bool rapt_system_merge(rapt_system_builder *b, const char *name, rapt_system_view *view)
{
    rapt_tensor *t = &view->tensor;
    if (t->size[0] > 1 && t->size[1] > 1 && t->stride[0] != t->stride[1] * (int64_t)t->size[1]) {
        const rapt_system_term term = {*view, 1, NULL};
        if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, t->dtype, 4, t->size, view) ||
            !rapt_system_combine_step_add(b, "batch and heads side by side", *view, &term, 1))
            return false;
    }
    const uint64_t heads = t->size[1];
    if (t->size[0] > 0 && heads > UINT64_MAX / t->size[0])
        return rapt_system_refuse(b, "%llu heads in a batch of %llu are too many", (unsigned long long)heads,
                                  (unsigned long long)t->size[0]);
    if (heads > 1)
        t->stride[0] = t->stride[1];
    t->size[0] *= heads;
    for (unsigned n = 1; n < t->rank - 1; n++) {
        t->size[n] = t->size[n + 1];
        t->stride[n] = t->stride[n + 1];
    }
    t->rank--;
    return true;
}

bool rapt_system_qkv_take(rapt_system_builder *b, rapt_system_qkv *t)
{
    *t = (rapt_system_qkv){.has_lse = rapt_system_wants(b, "lse")};
    if (!rapt_system_in(b, "q", 4, &t->q) || !rapt_system_in(b, "k", 4, &t->k) ||
        !rapt_system_in(b, "v", 4, &t->v))
        return false;
    const uint64_t *q = t->q.tensor.size, *k = t->k.tensor.size, *v = t->v.tensor.size;
    const char *what = q[0] != k[0] || q[0] != v[0] ? "batch sizes"
                       : k[1] != v[1]               ? "numbers of kv heads"
                       : k[2] != v[2]               ? "numbers of keys and values"
                       : q[3] != k[3]               ? "head dims of q and k"
                                                    : NULL;
    if (what)
        return rapt_system_refuse(
            b,
            "%s disagree: q (%llu, %llu, %llu, %llu), k (%llu, %llu, %llu, %llu), v (%llu, %llu, %llu, %llu)",
            what, (unsigned long long)q[0], (unsigned long long)q[1], (unsigned long long)q[2],
            (unsigned long long)q[3], (unsigned long long)k[0], (unsigned long long)k[1],
            (unsigned long long)k[2], (unsigned long long)k[3], (unsigned long long)v[0],
            (unsigned long long)v[1], (unsigned long long)v[2], (unsigned long long)v[3]);
    const uint64_t out[4] = {q[0], RAPT_MAX(q[1], k[1]), q[2], v[3]};
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, out, &t->out) &&
           (!t->has_lse || rapt_system_new(b, RAPT_SYSTEM_OUT, "lse", RAPT_F32, 3, out, &t->lse));
}

rapt_status rapt_system_recipe_make(uint32_t index, const rapt_system_request *request,
                                    rapt_system_recipe *recipe, rapt_error *error)
{
    rapt_error unread = {0};
    if (!request || !recipe)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_system_recipe_make: %s is NULL",
                         request ? "recipe" : "request");
    if (index >= rapt_system_row_count)
        return rapt_fail(error, RAPT_ERROR_INVALID, "system %u: there are %u", index, rapt_system_row_count);
    const rapt_system_row *row = &rapt_system_rows[index];
    if (!row->recipe)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "%s is planned, not there yet%s%s", row->info.name,
                         row->info.reduces[0] ? "; its part that is: " : "", row->info.reduces);
    memset(recipe, 0, sizeof *recipe);
    recipe->struct_size = sizeof *recipe;
    rapt_system_builder b = {
        .info = &row->info, .request = request, .recipe = recipe, .error = error ? error : &unread};
    b.error->status = RAPT_OK;
    return request_known(&b) && row->recipe(&b) ? RAPT_OK : b.error->status;
}
