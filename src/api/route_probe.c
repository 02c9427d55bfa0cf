/* The known-answer probe of routing: a small problem through the very rows and constants that a plan will use, compared with
 * the definition in double precision. Its numbers are such that summaries and scores are exact, so that selections are too. */
#include "api/api.h"

#include "api/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A shape that any problem's rows and constants take: 4 query heads for 1 kv head, a last block and a last tile cut in half. */
enum { HEADS_Q = 4, BLOCK_K = 4, BLOCKS = 11, MANY_BLOCKS = 260, MOST_K = BLOCK_K * MANY_BLOCKS, TILES = 5, MOST_Q = 4 * TILES, LIST = 6, MOST_DIM = 8,
       COARSE = (MANY_BLOCKS + 1) / 2 };
/* A plan for one tile is probed with one, and with many blocks where it has many. With blocks of single keys there are as many keys,
 * and tiles are of 2 queries. */

typedef struct route_case {
    rapt_route_desc desc;
    uint64_t nq, nk, tiles, blocks;
    double q[HEADS_Q][MOST_Q][MOST_DIM], k[MOST_K][MOST_DIM];
    double scores[HEADS_Q][TILES][MANY_BLOCKS]; /* by row head */
    uint8_t q_data[4 * HEADS_Q * MOST_Q * (MOST_DIM + 1)], k_data[4 * MOST_K * (MOST_DIM + 1)];
    float scores_data[HEADS_Q * TILES * MANY_BLOCKS];
    int32_t mask[HEADS_Q * TILES * MANY_BLOCKS], list[HEADS_Q * TILES * LIST], within[HEADS_Q * TILES * COARSE];
    rapt_buffer *q_buffer, *k_buffer, *scores_buffer, *mask_buffer, *list_buffer, *within_buffer;
    rapt_binding *binding;
    bool submitted;
} route_case;

static uint64_t row_heads(const route_case *c)
{
    return c->desc.heads == RAPT_ROUTE_PER_HEAD ? HEADS_Q : 1;
}

/* Coarse blocks of two blocks each. */
static uint64_t coarse_of(const route_case *c)
{
    return (c->blocks + 1) / 2;
}

static rapt_tensor tensor_of(rapt_dtype dtype, uint64_t heads, uint64_t rows, uint64_t inner, uint64_t gap, uint32_t align)
{
    const uint64_t pitch = inner + gap;
    return (rapt_tensor){.dtype = dtype,
                         .rank = 4,
                         .size = {1, heads, rows, inner},
                         .stride = {(int64_t)(heads * rows * pitch), (int64_t)(rows * pitch), (int64_t)pitch, 1},
                         .align = align};
}

static void make_case(const rapt_plan *plan, route_case *c)
{
    const rapt_route_problem *p = &plan->route;
    memset(c, 0, sizeof *c);
    rapt_route_desc *d = &c->desc;
    const uint64_t heads = p->heads_q > p->row_heads && !p->scores_given ? 1 : HEADS_Q, gap = plan->aligned ? 0 : 1;
    const uint32_t align = plan->aligned ? 16 : 4;
    *d = (rapt_route_desc)RAPT_ROUTE_DESC_INIT;
    d->flags = RAPT_ROUTE_CAUSAL | RAPT_ROUTE_SCALE;
    d->scale = 0.5f;
    const bool single = p->block_k == 1 && p->tensor[RAPT_R_K].present && !p->tensor[RAPT_R_SUMMARY].present;
    d->block_q = p->block_q == 1 ? 1 : single ? 2 : 4;
    d->block_k = single ? 1 : BLOCK_K;
    c->tiles = p->tiles <= 1 ? 1 : TILES;
    c->nq = c->tiles == 1 ? d->block_q : d->block_q * TILES - d->block_q / 2;
    c->blocks = c->tiles == 1 && p->blocks >= RAPT_ROUTE_MANY_BLOCKS ? MANY_BLOCKS : BLOCKS;
    c->nk = single ? c->blocks : BLOCK_K * c->blocks - 2;
    d->landmark = single ? 0 : 1;
    d->summarise = (rapt_summary)p->summarise;
    d->select = (rapt_select)p->select;
    d->queries = (rapt_route_queries)p->queries;
    d->heads = p->heads_q > p->row_heads ? (rapt_route_heads)p->heads : RAPT_ROUTE_PER_HEAD; /* a group of one is none */
    d->top_k = 4;
    d->threshold = 0.125f;
    d->mass = 0.625f;
    d->skip = p->skip > 0 ? 2 : 0;
    d->always_first = d->always_last = p->skip > 0 ? 0 : 1;
    d->q = tensor_of(p->dtype, HEADS_Q, c->nq, MOST_DIM, gap, align);
    d->k = tensor_of(p->dtype, 1, c->nk, MOST_DIM, gap, align);
    if (!p->scores_given) {
        d->scores = tensor_of(RAPT_F32, heads, c->tiles, c->blocks, 0, 4);
        d->within = tensor_of(RAPT_I32, HEADS_Q, c->tiles, coarse_of(c), 0, 4); /* for any plan: the verdict holds for those that have it too */
        d->within_blocks = 2;
    } else {
        d->flags |= RAPT_ROUTE_SCORES_GIVEN;
        d->heads = RAPT_ROUTE_PER_HEAD;
        d->nq = c->nq;
        d->nk = c->nk;
        d->scores = tensor_of(RAPT_F32, HEADS_Q, c->tiles, c->blocks, 0, 4);
        d->q.dtype = d->k.dtype = RAPT_DTYPE_NONE;
    }
    if (p->selects) {
        d->mask = tensor_of(RAPT_I32, HEADS_Q, c->tiles, c->blocks, 0, 4);
        d->list = tensor_of(RAPT_I32, heads, c->tiles, LIST, 0, 4);
    }
}

/* ---- the definition */

static double summary_of(const route_case *c, uint64_t block, uint64_t e, bool low)
{
    const uint64_t begin = block * c->desc.block_k, end = RAPT_MIN(begin + c->desc.block_k, c->nk);
    double sum = 0, least = INFINITY, most = -INFINITY;
    for (uint64_t j = begin; j < end; j++) {
        sum += c->k[j][e];
        least = fmin(least, c->k[j][e]);
        most = fmax(most, c->k[j][e]);
    }
    switch (c->desc.summarise) {
    case RAPT_SUMMARY_MAX:
        return most;
    case RAPT_SUMMARY_MIN_MAX:
        return low ? least : most;
    case RAPT_SUMMARY_LANDMARK:
        return c->k[RAPT_MIN(begin + c->desc.landmark, end - 1)][e];
    default:
        return sum / (double)(end - begin);
    }
}

static double product(const route_case *c, const double *q, uint64_t block)
{
    double sum = 0;
    for (uint64_t e = 0; e < MOST_DIM; e++)
        sum += fmax(q[e] * summary_of(c, block, e, true), q[e] * summary_of(c, block, e, false));
    return sum * (double)c->desc.scale;
}

static double score_of_head(const route_case *c, uint64_t head, uint64_t tile, uint64_t block)
{
    const uint64_t begin = tile * c->desc.block_q, end = RAPT_MIN(begin + c->desc.block_q, c->nq);
    double mean[MOST_DIM] = {0}, most = -INFINITY;
    for (uint64_t i = begin; i < end; i++) {
        for (uint64_t e = 0; e < MOST_DIM; e++)
            mean[e] += c->q[head][i][e] / (double)(end - begin);
        most = fmax(most, product(c, c->q[head][i], block));
    }
    return c->desc.queries == RAPT_ROUTE_MAX_QUERY ? most : product(c, mean, block);
}

/* Blocks that a tile sees, and the first of its own. */
static uint64_t visible(const route_case *c, uint64_t tile, uint64_t *own)
{
    const uint64_t diagonal = c->nk - c->nq, first = tile * c->desc.block_q;
    *own = (first + diagonal) / c->desc.block_k;
    return (RAPT_MIN(first + c->desc.block_q, c->nq) - 1 + diagonal) / c->desc.block_k + 1;
}

/* By the coarser mask: the second entry of odd tiles. */
static bool is_left_out(const route_case *c, uint64_t tile, uint64_t block)
{
    return c->desc.within.dtype && (tile % 2 == 1 || c->tiles == 1) && block / 2 == 1;
}

static void fill(route_case *c)
{
    for (uint64_t e = 0; e < RAPT_COUNT(c->within); e++)
        c->within[e] = !is_left_out(c, e / coarse_of(c) % c->tiles, e % coarse_of(c) * 2);
    uint32_t seed = 11;
    const rapt_dtype dtype = c->desc.q.dtype ? c->desc.q.dtype : RAPT_F32;
    const uint32_t size = rapt_dtype_size(dtype);
    memset(c->q_data, 0xff, sizeof c->q_data); /* NaN between the rows */
    memset(c->k_data, 0xff, sizeof c->k_data);
    memset(c->mask, 0xff, sizeof c->mask);
    for (uint64_t h = 0; h < HEADS_Q; h++)
        for (uint64_t i = 0; i < c->nq; i++)
            for (uint64_t e = 0; e < MOST_DIM; e++) {
                c->q[h][i][e] = (double)rapt_number_next(&seed);
                rapt_number_put(c->q_data + ((h * c->nq + i) * (uint64_t)c->desc.q.stride[2] + e) * size, dtype,
                                (float)c->q[h][i][e]);
            }
    for (uint64_t j = 0; j < c->nk; j++)
        for (uint64_t e = 0; e < MOST_DIM; e++) {
            c->k[j][e] = (double)rapt_number_next(&seed);
            rapt_number_put(c->k_data + (j * (uint64_t)c->desc.k.stride[2] + e) * size, dtype, (float)c->k[j][e]);
        }
    for (uint64_t h = 0; h < row_heads(c); h++)
        for (uint64_t t = 0; t < c->tiles; t++)
            for (uint64_t j = 0; j < c->blocks; j++) {
                uint64_t own;
                double s = score_of_head(c, h, t, j);
                for (uint64_t g = 1; g < HEADS_Q && c->desc.heads != RAPT_ROUTE_PER_HEAD; g++) {
                    const double other = score_of_head(c, g, t, j);
                    s = c->desc.heads == RAPT_ROUTE_GROUP_SUM ? s + other : fmax(s, other);
                }
                c->scores[h][t][j] = j < visible(c, t, &own) && !is_left_out(c, t, j) ? s : -INFINITY;
                c->scores_data[(h * c->tiles + t) * c->blocks + j] = (float)c->scores[h][t][j];
            }
}

/* Whether those taken of `n` visible blocks are the top_k behind the `skip` largest. */
static bool is_right_behind(const route_case *c, const double *s, const int32_t *taken, uint64_t n)
{
    for (uint64_t j = 0; j < c->blocks; j++) {
        uint64_t rank = 0;
        for (uint64_t i = 0; i < n; i++)
            rank += s[i] > s[j] || (s[i] == s[j] && i < j);
        if (taken[j] != (j < n && rank >= c->desc.skip && rank - c->desc.skip < c->desc.top_k))
            return false;
    }
    return true;
}

/* Whether the blocks taken, `n` visible ones of which `forced` are taken in any case, are those of the definition. */
static bool is_right(const route_case *c, const double *s, const int32_t *taken, const bool *forced, uint64_t n)
{
    double lowest = INFINITY, total = 0, have = 0, top = -INFINITY, spared = 0;
    uint64_t count = 0, always = 0, last_taken = 0, first_left = UINT64_MAX;
    double highest_left = -INFINITY;
    if (c->desc.skip > 0)
        return is_right_behind(c, s, taken, n);
    for (uint64_t j = 0; j < n; j++)
        top = fmax(top, s[j]);
    for (uint64_t j = 0; j < c->blocks; j++) {
        if ((taken[j] != 0 && taken[j] != 1) || (j >= n && taken[j] != 0) || (j < n && forced[j] && !taken[j]))
            return false;
        if (j >= n)
            continue;
        total += exp(s[j] - top);
        count += (uint64_t)taken[j];
        always += forced[j];
        have += taken[j] ? exp(s[j] - top) : 0;
        if (taken[j] && !forced[j] && s[j] <= lowest) {
            lowest = s[j];
            last_taken = j;
        }
        if (!taken[j] && s[j] > highest_left) {
            highest_left = s[j];
            first_left = j;
        }
    }
    if (highest_left > lowest || (highest_left == lowest && first_left < last_taken))
        return false; /* one that is left goes before one that is taken */
    spared = lowest < INFINITY ? exp(lowest - top) : 0;
    switch (c->desc.select) {
    case RAPT_SELECT_TOP_K:
        return count == RAPT_MIN(n, RAPT_MAX(c->desc.top_k, always));
    case RAPT_SELECT_THRESHOLD:
        return !(highest_left >= (double)c->desc.threshold) && !(lowest < (double)c->desc.threshold);
    default:
        return have >= ((double)c->desc.mass - 1e-4) * total &&
               (count == always || have - spared < ((double)c->desc.mass + 1e-4) * total);
    }
}

static bool lists_agree(const route_case *c, const int32_t *taken, const int32_t *list)
{
    uint64_t place = 0;
    for (int32_t j = 0; j < (int32_t)c->blocks; j++)
        if (taken[j] && place < LIST && list[place++] != j)
            return false;
    for (; place < LIST; place++)
        if (list[place] != -1)
            return false;
    return true;
}

/* What is wrong: "" nothing, else which of scores, mask and list; *stage: the pipeline at fault, counted from the last step. */
static const char *judge(const route_case *c, uint32_t *stage)
{
    const uint64_t heads = row_heads(c);
    for (uint64_t row = 0; row < heads * c->tiles; row++) {
        const uint64_t h = row / c->tiles, t = row % c->tiles;
        uint64_t own;
        const uint64_t n = visible(c, t, &own);
        bool forced[MANY_BLOCKS] = {false};
        for (uint64_t j = 0; j < n; j++) {
            const double got = (double)c->scores_data[row * c->blocks + j], want = c->scores[h][t][j];
            *stage = 1;
            if (!(fabs(got - want) <= 1e-5 * (1 + fabs(want))) && got != want)
                return "scores";
            forced[j] = j == 0 || j >= own;
        }
        *stage = 0;
        for (uint64_t g = 0; g < HEADS_Q / heads && c->desc.mask.dtype; g++)
            if (!is_right(c, c->scores[h][t], &c->mask[((h * (HEADS_Q / heads) + g) * c->tiles + t) * c->blocks], forced, n))
                return "mask";
        if (c->desc.list.dtype && !lists_agree(c, &c->mask[(h * (HEADS_Q / heads) * c->tiles + t) * c->blocks], &c->list[row * LIST]))
            return "list";
    }
    return "";
}

/* ---- the run */

static rapt_status give(rapt_device *device, rapt_buffer **buffer, const void *data, uint64_t bytes, rapt_slot *slot,
                        rapt_error *error)
{
    rapt_status status = rapt_buffer_create(device, bytes, buffer, error);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(*buffer, 0, data, bytes, error);
    slot->buffer = *buffer;
    return status;
}

static rapt_status run_case(route_case *c, rapt_plan *small, rapt_error *error)
{
    rapt_device *device = small->device;
    rapt_route_args args = RAPT_ROUTE_ARGS_INIT;
    fill(c);
    const bool given = c->desc.flags & RAPT_ROUTE_SCORES_GIVEN;
    rapt_status status = RAPT_OK;
    if (!given)
        status = give(device, &c->q_buffer, c->q_data, sizeof c->q_data, &args.q, error);
    if (status == RAPT_OK && !given)
        status = give(device, &c->k_buffer, c->k_data, sizeof c->k_data, &args.k, error);
    if (status == RAPT_OK)
        status = give(device, &c->scores_buffer, c->scores_data, sizeof c->scores_data, &args.scores, error);
    if (status == RAPT_OK && c->desc.mask.dtype)
        status = give(device, &c->mask_buffer, c->mask, sizeof c->mask, &args.mask, error);
    if (status == RAPT_OK && c->desc.list.dtype)
        status = give(device, &c->list_buffer, c->list, sizeof c->list, &args.list, error);
    if (status == RAPT_OK && c->desc.within.dtype)
        status = give(device, &c->within_buffer, c->within, sizeof c->within, &args.within, error);
    if (status == RAPT_OK)
        status = rapt_route_bind(small, &args, &c->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(c->binding, error);
    c->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, c->binding, error);
    if (status == RAPT_OK && !given)
        status = rapt_buffer_download(c->scores_buffer, 0, c->scores_data, sizeof c->scores_data, error);
    if (status == RAPT_OK && c->mask_buffer != NULL)
        status = rapt_buffer_download(c->mask_buffer, 0, c->mask, sizeof c->mask, error);
    if (status == RAPT_OK && c->list_buffer != NULL)
        status = rapt_buffer_download(c->list_buffer, 0, c->list, sizeof c->list, error);
    return status;
}

static void free_case(route_case *c, rapt_device *device)
{
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (c->binding != NULL && rapt_wait(c->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) == RAPT_ERROR_TIMEOUT &&
        !atomic_load(&device->hung))
        return;
    rapt_binding_destroy(&c->binding);
    rapt_buffer_destroy(&c->q_buffer);
    rapt_buffer_destroy(&c->k_buffer);
    rapt_buffer_destroy(&c->scores_buffer);
    rapt_buffer_destroy(&c->mask_buffer);
    rapt_buffer_destroy(&c->list_buffer);
    rapt_buffer_destroy(&c->within_buffer);
}

/* Whether the small plan goes through all rows and constants of the other. It may have more: it makes summaries always. */
static bool covers(const rapt_plan *small, const rapt_plan *plan)
{
    for (uint32_t i = 0; i < plan->pipeline_count; i++) {
        bool found = false;
        for (uint32_t j = 0; j < small->pipeline_count; j++)
            found |= plan->pipelines[i].row == small->pipelines[j].row &&
                     memcmp(plan->pipelines[i].constants, small->pipelines[j].constants,
                            sizeof plan->pipelines[i].constants) == 0;
        if (!found)
            return false;
    }
    return true;
}

rapt_status rapt_probe_route(rapt_plan *plan, rapt_error *error)
{
    rapt_device *device = plan->device;
    const rapt_allocator *a = &device->runtime->allocator;
    const char *name = plan->pipelines[0].row->name;
    const uint64_t begin = rapt_now_ns();
    route_case *c = rapt_calloc(a, 1, sizeof *c);
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    rapt_error why = {0};
    if (c == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
    make_case(plan, c);
    const rapt_verdicts verdicts = rapt_device_verdicts(device); /* what is refused is refused here too */
    rapt_status status = rapt_route_plan_new(device, &device->caps, &c->desc, &verdicts, &small, &why);
    if (status != RAPT_OK)
        rapt_fail_prefix(&why, status, "the probe of kernel '%s'", name);
    else if (!covers(small, plan))
        status = rapt_fail(&why, RAPT_ERROR_UNSUPPORTED, "the probe of kernel '%s' does not reach its constants", name);
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    const char *wrong = "";
    uint32_t stage = 0;
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_case(c, small, &why);
        free_case(c, device);
        if (status == RAPT_OK)
            wrong = judge(c, &stage);
    }
    const bool submitted = c->submitted;
    rapt_plan_destroy(&small);
    rapt_free(a, c, sizeof *c);
    if (rapt_probe_ended(plan, submitted, &status, &why, error))
        return status;
    char reason[160] = "";
    if (wrong[0] != 0)
        snprintf(reason, sizeof reason, "its known-answer probe gave a wrong %s", wrong);
    /* Wrong scores are the fault of what makes them, or of the summaries before; wrong selections are the first row's. */
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        if (wrong[0] == 0 || i == RAPT_MIN(stage, plan->pipeline_count - 1))
            rapt_probe_note(plan, i, wrong[0] == 0 ? RAPT_VERDICT_GOOD : RAPT_VERDICT_BAD, true, reason);
    rapt_log_write(&device->runtime->log, RAPT_LOG_DEBUG, "probe of %s: %s, %.1f ms", name, wrong[0] ? wrong : "good",
                   (double)(rapt_now_ns() - begin) * 1e-6);
    return RAPT_OK;
}
