/* From a descriptor of routing to its canonical problem. */
#include "op/route.h"

#include <math.h>
#include <string.h>

#define MAX_LENGTH (1ull << 29) /* token numbers, and sums of them, fit 32-bit integers */
#define MAX_HEAD_DIM 576u

static const char *const names[RAPT_R_COUNT] = {"q", "k", "summary", "scores", "mask", "list", "within"};

const char *rapt_summary_name(rapt_summary summary)
{
    static const char *const summaries[] = {"mean", "max", "min-max", "landmark"};
    _Static_assert(RAPT_COUNT(summaries) == RAPT_SUMMARY_COUNT, "a summary has no name");
    return (unsigned)summary < RAPT_SUMMARY_COUNT ? summaries[summary] : "unknown";
}

const char *rapt_select_name(rapt_select select)
{
    static const char *const selects[] = {"top-k", "threshold", "mass"};
    _Static_assert(RAPT_COUNT(selects) == RAPT_SELECT_COUNT, "a selection has no name");
    return (unsigned)select < RAPT_SELECT_COUNT ? selects[select] : "unknown";
}

static uint64_t sat_mul(uint64_t a, uint64_t b)
{
    uint64_t out;
    return rapt_mul_u64(a, b, &out) ? out : UINT64_MAX;
}

static uint64_t sat_add(uint64_t a, uint64_t b)
{
    uint64_t out;
    return rapt_add_u64(a, b, &out) ? out : UINT64_MAX;
}

static bool is_there(const rapt_tensor *t)
{
    return t->dtype != RAPT_DTYPE_NONE;
}

/* ---- tensors */

/* One tensor against the axes it must have, and into the problem. */
static rapt_status take(rapt_route_problem *p, unsigned which, const rapt_tensor *t, rapt_dtype dtype, const uint64_t size[4],
                        const char *shape, rapt_error *error)
{
    const char *name = names[which];
    if (!is_there(t))
        return RAPT_OK;
    if (t->dtype != dtype)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s, must be %s", name, rapt_dtype_name(t->dtype),
                         rapt_dtype_name(dtype));
    if (t->rank != 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: rank %u, must be 4: %s", name, t->rank, shape);
    for (uint32_t axis = 0; axis < 4; axis++) {
        if (t->size[axis] != size[axis])
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: axis %u has %llu entries, must be %llu: %s", name, axis,
                             (unsigned long long)t->size[axis], (unsigned long long)size[axis], shape);
        if (t->size[axis] > 1 && t->stride[axis] < 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: negative stride %lld of axis %u", name,
                             (long long)t->stride[axis], axis);
    }
    if (t->size[3] > 1 && t->stride[3] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", name, (long long)t->stride[3]);
    if (which == RAPT_R_MASK && t->size[2] > 1 && t->stride[2] != (int64_t)t->size[3])
        return rapt_fail(error, RAPT_ERROR_INVALID, "mask: stride %lld of tiles, must be %llu, without gaps",
                         (long long)t->stride[2], (unsigned long long)t->size[3]);
    const uint32_t element = rapt_dtype_size(dtype);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < element))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least %u", name, t->align, element);
    if (rapt_tensor_bytes(t) > UINT64_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", name);
    rapt_route_tensor *out = &p->tensor[which];
    *out = (rapt_route_tensor){.inner = t->size[3],
                               .bytes = rapt_tensor_bytes(t),
                               .element = element,
                               .align = t->align ? t->align : 16,
                               .usage = t->usage,
                               .present = true};
    for (uint32_t axis = 0; axis < 3; axis++)
        out->stride[axis] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
    return RAPT_OK;
}

static bool is_written(const rapt_route_problem *p, unsigned which)
{
    return which >= RAPT_R_SUMMARY && which != RAPT_R_WITHIN && !(which == RAPT_R_SCORES && p->scores_given);
}

/* A tensor that is written has no two elements in one place. */
static rapt_status check_written(const rapt_tensor *t, const char *name, rapt_error *error)
{
    for (uint32_t axis = 0; is_there(t) && axis < 3; axis++)
        if (t->size[axis] > 1 && t->stride[axis] == 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride 0 of axis %u, but it is written", name, axis);
    return RAPT_OK;
}

/* ---- what goes together */

static rapt_status check_enums(const rapt_route_desc *d, rapt_error *error)
{
    const uint32_t known = RAPT_ROUTE_CAUSAL | RAPT_ROUTE_SCALE | RAPT_ROUTE_SCORES_GIVEN;
    if (d->flags & ~known)
        return rapt_fail(error, RAPT_ERROR_INVALID, "unknown route flags 0x%x", d->flags & ~known);
    if ((unsigned)d->summarise >= RAPT_SUMMARY_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "summarise is %u, of %u summaries", (unsigned)d->summarise,
                         (unsigned)RAPT_SUMMARY_COUNT);
    if ((unsigned)d->select >= RAPT_SELECT_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "select is %u, of %u selections", (unsigned)d->select,
                         (unsigned)RAPT_SELECT_COUNT);
    if ((unsigned)d->queries >= RAPT_ROUTE_QUERIES_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "queries is %u, of %u ways to score tiles", (unsigned)d->queries,
                         (unsigned)RAPT_ROUTE_QUERIES_COUNT);
    if ((unsigned)d->heads >= RAPT_ROUTE_HEADS_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "heads is %u, of %u ways to share a selection", (unsigned)d->heads,
                         (unsigned)RAPT_ROUTE_HEADS_COUNT);
    if (d->block_q < 1 || d->block_q > MAX_LENGTH || d->block_k < 1 || d->block_k > MAX_LENGTH)
        return rapt_fail(error, RAPT_ERROR_INVALID, "blocks of %llu queries and %llu keys, must be 1 to %llu",
                         (unsigned long long)d->block_q, (unsigned long long)d->block_k, MAX_LENGTH);
    if (d->slice_ms < 0.0f || !isfinite(d->slice_ms))
        return rapt_fail(error, RAPT_ERROR_INVALID, "slice_ms %g, must be positive", (double)d->slice_ms);
    return RAPT_OK;
}

static rapt_status check_numbers(const rapt_route_desc *d, bool selects, rapt_error *error)
{
    if (d->summarise == RAPT_SUMMARY_LANDMARK && d->landmark >= d->block_k)
        return rapt_fail(error, RAPT_ERROR_INVALID, "landmark is place %llu of blocks of %llu keys",
                         (unsigned long long)d->landmark, (unsigned long long)d->block_k);
    if (selects && d->select == RAPT_SELECT_TOP_K && d->top_k < 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "top_k is 0, must be at least 1");
    if (d->skip > 0 && (!selects || d->select != RAPT_SELECT_TOP_K || d->always_first > 0 || d->always_last > 0))
        return rapt_fail(error, RAPT_ERROR_INVALID, "skip goes with a selection of the top_k largest, without always_first and always_last");
    if (selects && d->select == RAPT_SELECT_MASS && !(d->mass > 0.0f && d->mass <= 1.0f))
        return rapt_fail(error, RAPT_ERROR_INVALID, "mass is %g, must be above 0 and at most 1", (double)d->mass);
    if (selects && d->select == RAPT_SELECT_THRESHOLD && isnan(d->threshold))
        return rapt_fail(error, RAPT_ERROR_INVALID, "threshold is not a number");
    if ((d->flags & RAPT_ROUTE_SCALE) && !isfinite(d->scale))
        return rapt_fail(error, RAPT_ERROR_INVALID, "scale is not finite");
    if (d->causal_offset > (int64_t)MAX_LENGTH || d->causal_offset < -(int64_t)MAX_LENGTH)
        return rapt_fail(error, RAPT_ERROR_INVALID, "causal_offset is %lld, must be within %llu",
                         (long long)d->causal_offset, MAX_LENGTH);
    return RAPT_OK;
}

static rapt_status check_members(const rapt_route_desc *d, rapt_error *error)
{
    const bool q = is_there(&d->q), k = is_there(&d->k), summary = is_there(&d->summary), scores = is_there(&d->scores);
    const bool selects = is_there(&d->mask) || is_there(&d->list), given = d->flags & RAPT_ROUTE_SCORES_GIVEN;
    const char *wrong = NULL;
    if (given && !scores)
        wrong = "RAPT_ROUTE_SCORES_GIVEN without scores";
    else if (given && (q || k || summary))
        wrong = "RAPT_ROUTE_SCORES_GIVEN goes without q, k and summary";
    else if (given && !selects)
        wrong = "RAPT_ROUTE_SCORES_GIVEN needs mask or list";
    else if (given && d->heads != RAPT_ROUTE_PER_HEAD)
        wrong = "RAPT_ROUTE_SCORES_GIVEN: heads that select together have one row of scores";
    else if (!given && !selects && !scores && !summary)
        wrong = "none of summary, scores, mask and list is wanted";
    else if (!given && (selects || scores) && !q)
        wrong = "q is missing";
    else if (!given && !k && !summary)
        wrong = "k is missing";
    else if (!summary && d->first_block != 0)
        wrong = "first_block goes with summary";
    else if (is_there(&d->within) ? d->within_blocks < 1 : d->within_blocks != 0)
        wrong = "within and within_blocks, at least 1, go together";
    else if (is_there(&d->within) && (given || !(selects || scores)))
        wrong = "within goes with scores that are made";
    if (wrong != NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s", wrong);
    return RAPT_OK;
}

/* A length that is given, or an axis of a tensor, or both. */
static rapt_status length_of(const char *name, uint64_t given, const rapt_tensor *t, uint64_t *out, rapt_error *error)
{
    const bool axis = is_there(t) && t->rank == 4;
    *out = axis ? t->size[2] : given;
    if (axis && given != 0 && given != t->size[2])
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %llu, the tensor has %llu", name, (unsigned long long)given,
                         (unsigned long long)t->size[2]);
    if (!axis && given == 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is needed, as the tensor that would say it is absent", name);
    if (*out > MAX_LENGTH)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %llu, at most %llu", name, (unsigned long long)*out, MAX_LENGTH);
    return RAPT_OK;
}

/* Batch, heads and head_dim, from whatever tensor says them. */
static rapt_status find_axes(const rapt_route_desc *d, rapt_route_problem *p, rapt_error *error)
{
    const rapt_tensor *keys = is_there(&d->k) ? &d->k : &d->summary, *rows = is_there(&d->q) ? &d->q : keys;
    if (p->scores_given)
        rows = is_there(&d->mask) ? &d->mask : &d->list, keys = &d->scores;
    if (rows->rank != 4 || keys->rank != 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q, k, summary, scores, mask and list have rank 4");
    p->batch = rows->size[0];
    p->heads_q = rows->size[1];
    p->heads_k = keys->size[1];
    if (p->heads_k == 0 ? p->heads_q != 0 : p->heads_q % p->heads_k != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu heads of %s are no multiple of %llu of %s",
                         (unsigned long long)p->heads_q, p->scores_given ? "mask" : "q", (unsigned long long)p->heads_k,
                         p->scores_given ? "scores" : "k");
    p->row_heads = p->heads == RAPT_ROUTE_PER_HEAD && !p->scores_given ? p->heads_q : p->heads_k;
    uint64_t head_dim = p->scores_given ? 1 : rows->size[3];
    if (rows == &d->summary && p->summarise == RAPT_SUMMARY_MIN_MAX)
        head_dim /= 2;
    if (head_dim < 1 || head_dim > MAX_HEAD_DIM)
        return rapt_fail(error, RAPT_ERROR_INVALID, "head_dim is %llu, must be 1 to %u", (unsigned long long)head_dim,
                         MAX_HEAD_DIM);
    p->head_dim = (uint32_t)head_dim;
    p->dtype = p->scores_given || !(is_there(&d->q) || is_there(&d->k)) ? RAPT_F32 : is_there(&d->q) ? d->q.dtype : d->k.dtype;
    if (p->dtype != RAPT_F32 && p->dtype != RAPT_F16 && p->dtype != RAPT_BF16)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q and k are %s, must be f32, f16 or bf16", rapt_dtype_name(p->dtype));
    return RAPT_OK;
}

/* Entries that count through several heads. */
static rapt_status check_list_heads(const rapt_route_desc *d, rapt_route_problem *p, rapt_error *error)
{
    if (d->list_heads == 0)
        return RAPT_OK;
    if (!is_there(&d->list) || p->row_heads % d->list_heads != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "list_heads is %llu, it goes with list and divides %llu row heads",
                         (unsigned long long)d->list_heads, (unsigned long long)p->row_heads);
    p->list_heads = d->list_heads;
    if (sat_mul(sat_mul(p->batch, p->list_heads), p->blocks) > INT32_MAX)
        return rapt_fail(error, RAPT_ERROR_INVALID, "list_heads: batch %llu times %llu heads times %llu blocks are more than 2^31 - 1 entries",
                         (unsigned long long)p->batch, (unsigned long long)p->list_heads, (unsigned long long)p->blocks);
    return RAPT_OK;
}

static void count(rapt_route_problem *p)
{
    for (unsigned i = 0; i < RAPT_R_COUNT; i++) {
        uint64_t *bytes = is_written(p, i) ? &p->bytes_written : &p->bytes_read;
        *bytes = sat_add(*bytes, p->tensor[i].bytes);
    }
    const uint64_t heads = sat_mul(p->batch, p->heads_q), scores = sat_mul(sat_mul(heads, p->tiles), p->blocks);
    const uint64_t queries = p->queries == RAPT_ROUTE_MAX_QUERY ? p->block_q : 1;
    if (!p->scores_given)
        p->flops = sat_mul(sat_mul(sat_mul(p->batch, p->heads_k), p->nk), p->head_dim);
    if (p->rates)
        p->flops = sat_add(p->flops, sat_mul(scores, 2ull * p->head_dim * queries));
    if (p->selects)
        p->flops = sat_add(p->flops, sat_mul(scores, 32));
}

rapt_status rapt_route_problem_make(const rapt_route_desc *d, rapt_route_problem *p, rapt_error *error)
{
    memset(p, 0, sizeof *p);
    if (d == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the route descriptor is NULL");
    if (d->struct_size < sizeof *d)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_route_desc.struct_size is %u, expected %zu (use RAPT_ROUTE_DESC_INIT)",
                         d->struct_size, sizeof *d);
    p->selects = is_there(&d->mask) || is_there(&d->list);
    p->scores_given = d->flags & RAPT_ROUTE_SCORES_GIVEN;
    p->rates = !p->scores_given && (p->selects || is_there(&d->scores));
    p->summarise = d->summarise;
    p->heads = d->heads;
    rapt_status status = check_enums(d, error);
    if (status == RAPT_OK)
        status = check_members(d, error);
    if (status == RAPT_OK)
        status = check_numbers(d, p->selects, error);
    if (status == RAPT_OK)
        status = find_axes(d, p, error);
    if (status == RAPT_OK)
        status = length_of("nk", d->nk, &d->k, &p->nk, error);
    if (status == RAPT_OK && (p->rates || p->selects))
        status = length_of("nq", d->nq, &d->q, &p->nq, error);
    if (status != RAPT_OK)
        return status;
    p->block_q = d->block_q;
    p->block_k = d->block_k;
    p->tiles = rapt_div_up(p->nq, p->block_q);
    p->blocks = rapt_div_up(p->nk, p->block_k);
    p->list_size = is_there(&d->list) && d->list.rank == 4 ? d->list.size[3] : 0;
    p->within_blocks = RAPT_MIN(d->within_blocks, MAX_LENGTH);
    const uint64_t coarse = p->within_blocks ? rapt_div_up(p->blocks, p->within_blocks) : 0;
    const uint64_t width = (uint64_t)p->head_dim * (p->summarise == RAPT_SUMMARY_MIN_MAX ? 2 : 1);
    const struct {
        const rapt_tensor *tensor;
        rapt_dtype dtype;
        uint64_t size[4];
        const char *shape;
    } all[RAPT_R_COUNT] = {
        {&d->q, p->dtype, {p->batch, p->heads_q, p->nq, p->head_dim}, "(batch, q_heads, nq, head_dim)"},
        {&d->k, p->dtype, {p->batch, p->heads_k, p->nk, p->head_dim}, "(batch, kv_heads, nk, head_dim)"},
        {&d->summary, RAPT_F32, {p->batch, p->heads_k, p->blocks, width}, "(batch, kv_heads, blocks, head_dim, twice for min-max)"},
        {&d->scores, RAPT_F32, {p->batch, p->row_heads, p->tiles, p->blocks}, "(batch, row heads, tiles, blocks)"},
        {&d->mask, RAPT_I32, {p->batch, p->heads_q, p->tiles, p->blocks}, "(batch, q_heads, tiles, blocks)"},
        {&d->list, RAPT_I32, {p->batch, p->row_heads, p->tiles, p->list_size}, "(batch, row heads, tiles, any)"},
        {&d->within, RAPT_I32, {p->batch, p->heads_q, p->tiles, coarse}, "(batch, q_heads, tiles, blocks / within_blocks)"},
    };
    for (unsigned i = 0; i < RAPT_R_COUNT && status == RAPT_OK; i++) {
        status = take(p, i, all[i].tensor, all[i].dtype, all[i].size, all[i].shape, error);
        if (status == RAPT_OK && is_written(p, i))
            status = check_written(all[i].tensor, names[i], error);
    }
    if (status == RAPT_OK)
        status = check_list_heads(d, p, error);
    if (status != RAPT_OK)
        return status;
    p->first_block = p->tensor[RAPT_R_K].present ? RAPT_MIN(d->first_block, p->blocks) : p->blocks;
    if (!p->tensor[RAPT_R_K].present && !p->scores_given && d->first_block < p->blocks)
        return rapt_fail(error, RAPT_ERROR_INVALID, "k is missing: blocks %llu to %llu are to be summarised",
                         (unsigned long long)d->first_block, (unsigned long long)p->blocks);
    if (p->summarise == RAPT_SUMMARY_LANDMARK)
        p->landmark = d->landmark;
    p->queries = p->block_q > 1 ? d->queries : RAPT_ROUTE_MEAN_QUERY;
    p->select = d->select;
    p->causal = d->flags & RAPT_ROUTE_CAUSAL;
    p->top_k = p->select == RAPT_SELECT_TOP_K ? RAPT_MIN(d->top_k, UINT32_MAX) : 0;
    p->threshold = p->select == RAPT_SELECT_THRESHOLD ? d->threshold : 0;
    p->mass = p->select == RAPT_SELECT_MASS ? d->mass : 0;
    p->always_first = RAPT_MIN(d->always_first, p->blocks);
    p->always_last = RAPT_MIN(d->always_last, MAX_LENGTH);
    p->diagonal = (int32_t)((int64_t)p->nk - (int64_t)p->nq + d->causal_offset);
    p->scale = d->flags & RAPT_ROUTE_SCALE ? d->scale : 1.0f / sqrtf((float)p->head_dim);
    p->slice_ms = d->slice_ms > 0.0f ? d->slice_ms : 50.0f;
    p->workspace_limit = d->workspace_limit ? d->workspace_limit : 64ull << 20;
    p->skip = RAPT_MIN(d->skip, p->blocks);
    p->empty = p->batch == 0 || p->heads_q == 0;
    count(p);
    return RAPT_OK;
}
