/* From a descriptor of rapt/memory.h to its canonical problem. */
#include "op/memory.h"

#include "op/attention.h"

#include <math.h>
#include <string.h>

#define MAX_DIM 512u
#define MAX_HIDDEN 2048u
#define MAX_TOKENS (1ull << 31)

uint64_t rapt_memory_numbers(rapt_memory_form form, uint64_t d, uint64_t d_v, uint64_t hidden)
{
    if (form == RAPT_MEMORY_MLP)
        return 2 * hidden * (d + d_v);
    return form == RAPT_MEMORY_SOFTMAX ? d * d_v + d : 2 * d * d_v;
}

/* A tensor of these sizes; its heads may be 1 where `one_head`. */
static rapt_status take(const rapt_tensor *t, const char *name, rapt_dtype dtype, uint32_t rank, const uint64_t want[4],
                        bool one_head, bool written, rapt_memory_tensor *out, rapt_error *error)
{
    if (t->dtype != dtype || t->rank != rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s of rank %u, must be %s of rank %u", name, rapt_dtype_name(t->dtype),
                         t->rank, rapt_dtype_name(dtype), rank);
    for (uint32_t axis = 0; axis < rank; axis++) {
        if (t->size[axis] != want[axis] && !(one_head && axis == 1 && t->size[1] == 1))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: axis %u has %llu entries, must be %llu%s", name, axis,
                             (unsigned long long)t->size[axis], (unsigned long long)want[axis], one_head && axis == 1 ? " or 1" : "");
        if (t->size[axis] > 1 && t->stride[axis] < 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: negative stride %lld of axis %u", name, (long long)t->stride[axis], axis);
    }
    if (t->size[rank - 1] > 1 && t->stride[rank - 1] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", name, (long long)t->stride[rank - 1]);
    const uint32_t element = rapt_dtype_size(dtype);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < element))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least %u", name, t->align, element);
    const uint64_t bytes = rapt_tensor_bytes(t);
    if (bytes > UINT64_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", name);
    *out = (rapt_memory_tensor){.rows = rank == 4 ? t->size[2] : 1,
                                .inner = t->size[rank - 1],
                                .bytes = bytes,
                                .element = element,
                                .align = t->align ? t->align : 16,
                                .usage = t->usage,
                                .present = true};
    for (unsigned axis = 0; axis + 1 < rank; axis++)
        out->stride[axis] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
    return written ? rapt_tensor_check(t, name, rank, true, error) : RAPT_OK;
}

static bool is_there(const rapt_tensor *t)
{
    return t->dtype != RAPT_DTYPE_NONE;
}

/* What is not a tensor. */
static rapt_status take_numbers(const rapt_memory_desc *d, rapt_memory_problem *p, rapt_error *error)
{
    const rapt_tensor *q = &d->q, *v = &d->v;
    if ((unsigned)d->form >= RAPT_MEMORY_FORM_COUNT || (unsigned)d->act >= RAPT_MEMORY_ACT_COUNT || d->flags > RAPT_MEMORY_READ_START)
        return rapt_fail(error, RAPT_ERROR_INVALID, "form %u of %u, act %u of %u, flags %u: unknown", (unsigned)d->form,
                         RAPT_MEMORY_FORM_COUNT, (unsigned)d->act, RAPT_MEMORY_ACT_COUNT, d->flags);
    if (q->dtype != RAPT_F32 && q->dtype != RAPT_F16 && q->dtype != RAPT_BF16)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q: dtype %s, must be f32, f16 or bf16", rapt_dtype_name(q->dtype));
    if (q->rank != 4 || v->rank != 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q is of rank %u, v of %u, must be 4", q->rank, v->rank);
    if (q->size[3] == 0 || q->size[3] > MAX_DIM || v->size[3] == 0 || v->size[3] > MAX_DIM)
        return rapt_fail(error, RAPT_ERROR_INVALID, "d is %llu and d_v %llu, must be 1 to %u", (unsigned long long)q->size[3],
                         (unsigned long long)v->size[3], MAX_DIM);
    if (q->size[2] > MAX_TOKENS || q->size[0] > UINT32_MAX || q->size[1] > UINT32_MAX ||
        q->size[0] * q->size[1] > UINT32_MAX)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q: more than %llu tokens, or 2^32 heads of all batch entries", MAX_TOKENS);
    const bool mlp = d->form == RAPT_MEMORY_MLP, soft = d->form == RAPT_MEMORY_SOFTMAX;
    if (mlp ? d->hidden == 0 || d->hidden > MAX_HIDDEN : d->hidden != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "hidden is %u, must be 1 to %u for an MLP, else 0", d->hidden, MAX_HIDDEN);
    const uint32_t most = soft ? 65536 : 1024;
    if (d->chunk > most)
        return rapt_fail(error, RAPT_ERROR_INVALID, "chunk is %u, must be at most %u", d->chunk, most);
    if (d->slice_ms < 0.0f || !isfinite(d->slice_ms))
        return rapt_fail(error, RAPT_ERROR_INVALID, "slice_ms %g, must be finite and at least 0", (double)d->slice_ms);
    if (soft ? is_there(&d->rates) : !is_there(&d->rates))
        return rapt_fail(error, RAPT_ERROR_INVALID, soft ? "rates do not go with a softmax memory" : "rates are missing");
    p->dtype = q->dtype;
    p->batch = q->size[0];
    p->heads = q->size[1];
    p->n = q->size[2];
    p->d = (uint32_t)q->size[3];
    p->d_v = (uint32_t)v->size[3];
    p->form = d->form;
    p->hidden = d->hidden;
    p->act = mlp ? d->act : 0;
    p->read_start = !soft && d->flags & RAPT_MEMORY_READ_START;
    p->chunk = (uint32_t)RAPT_MIN(d->chunk ? d->chunk : 64, RAPT_MAX(p->n, 1));
    p->numbers = rapt_memory_numbers(d->form, p->d, p->d_v, p->hidden);
    p->weights = soft ? (uint64_t)p->d * p->d_v : p->numbers / 2;
    p->slice_ms = d->slice_ms > 0.0f ? d->slice_ms : 50.0f;
    p->workspace_limit = d->workspace_limit ? d->workspace_limit : 64ull << 20;
    return RAPT_OK;
}

rapt_status rapt_memory_problem_make(const rapt_memory_desc *d, rapt_memory_problem *p, rapt_error *error)
{
    memset(p, 0, sizeof *p);
    if (d == NULL || d->struct_size < sizeof *d)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_memory_desc is NULL, or its struct_size is not %zu", sizeof *d);
    rapt_status status = take_numbers(d, p, error);
    if (status != RAPT_OK)
        return status;
    const struct {
        const rapt_tensor *tensor;
        const char *name;
        rapt_dtype dtype;
        uint64_t size[4];
        uint32_t rank;
    } all[RAPT_MEM_COUNT] = {
        {&d->q, "q", p->dtype, {p->batch, p->heads, p->n, p->d}, 4},
        {&d->k, "k", p->dtype, {p->batch, p->heads, p->n, p->d}, 4},
        {&d->v, "v", p->dtype, {p->batch, p->heads, p->n, p->d_v}, 4},
        {&d->out, "out", p->dtype, {p->batch, p->heads, p->n, p->d_v}, 4},
        {&d->rates, "rates", RAPT_F32, {p->batch, p->heads, p->n, 3}, 4},
        {&d->state_in, "state_in", RAPT_F32, {p->batch, p->heads, p->numbers}, 3},
        {&d->state_out, "state_out", RAPT_F32, {p->batch, p->heads, p->numbers}, 3},
    };
    for (unsigned t = 0; t < RAPT_MEM_COUNT && status == RAPT_OK; t++) {
        if (t > RAPT_MEM_OUT && !is_there(all[t].tensor))
            continue;
        status = take(all[t].tensor, all[t].name, all[t].dtype, all[t].rank, all[t].size, t == RAPT_MEM_RATES,
                      t == RAPT_MEM_OUT || t == RAPT_MEM_STATE_OUT, &p->tensor[t], error);
        *(t == RAPT_MEM_OUT || t == RAPT_MEM_STATE_OUT ? &p->bytes_written : &p->bytes_read) += p->tensor[t].bytes;
    }
    if (status != RAPT_OK)
        return status;
    /* Reading, recalling keys, learning, and, of MLPs, going back; scores within chunks. */
    const double token = (double)p->weights * (p->hidden ? 12 : 8) + 2.0 * p->chunk * (p->d + p->d_v + 2.0 * p->hidden);
    p->flops = (uint64_t)RAPT_MIN(token * (double)p->n * (double)p->batch * (double)p->heads, 1.8e19);
    return RAPT_OK;
}
