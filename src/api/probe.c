/* The known-answer probe: a small problem through the very rows and constants that a plan will use, compared with a
 * plain double-precision attention. */
#include "api/api.h"

#include "api/numbers.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Microseconds of work. But the first dispatch may include compilation: minutes on software devices, which do not
 * hang either; elsewhere what takes longer than this is a hang, which no wait would end. */
#define PROBE_TIMEOUT_SOFTWARE_NS (300ull * 1000000000)
#define PROBE_TIMEOUT_NS (20ull * 1000000000)

static bool is_software(const rapt_device *device)
{
    return device->caps.device_class == RAPT_CLASS_SOFTWARE;
}

/* A probe's tensors on the host, as doubles that are exact in the storage dtype. */
typedef struct probe_case {
    rapt_attention_desc desc;
    uint64_t heads_q, heads_kv, heads_out, sequences;
    uint64_t nq, nk;         /* of one sequence */
    uint64_t begin_q, begin_k; /* varlen: first rows of the second sequence; 0 and 0 else */
    uint64_t room;             /* keys that there is room for in one sequence; nk but for k_lengths */
} probe_case;

/* Pages of keys come in descending order, behind one that nobody uses; the second one is missing. */
static bool key_is_there(const probe_case *c, uint64_t key)
{
    return c->desc.page_size == 0 || key / c->desc.page_size != 1;
}
static int32_t page_of(const probe_case *c, uint64_t number)
{
    return number == 1 ? -1 : (int32_t)(c->desc.k.size[0] - 1 - number);
}

/* RAPT_CONST_WHOLE_KEYS of the plan's main kernel. */
static uint32_t whole_keys(const rapt_plan *plan)
{
    const rapt_kernel_row *row = plan->pipelines[0].row;
    for (uint32_t i = 0; i < row->constant_count; i++)
        if (row->constants[i].source == RAPT_CONST_WHOLE_KEYS)
            return plan->pipelines[0].constants[i];
    return 0;
}

/* What stands for an app's code: the same kernel with another text shows that every index comes where it should. */
static const char probe_score_mod[] = "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
                                      "{\n"
                                      "    return score * 0.5 + 0.125 * float((b + 2u * h + 3u * q + 5u * k) % 7u);\n"
                                      "}\n";
static const char probe_mask_mod[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                     "{\n"
                                     "    return (b + h + 2u * q + 3u * k) % 5u != 1u;\n"
                                     "}\n";

static double probe_score(double score, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    return score * 0.5 + 0.125 * (double)((b + 2 * h + 3 * q + 5 * k) % 7);
}

static bool probe_mask(uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    return (b + h + 2 * q + 3 * k) % 5 != 1;
}

/* Element i of the block mask: of every three blocks, one is hidden. */
static int32_t probe_block(uint64_t i)
{
    return i % 3 != 1;
}

/* A block mask whose first block is the main kernel's own first tile but for a row: a whole tile, a hidden one and tiles that
 * are visible in part. By heads as the plan's lists are. */
static void make_blocks(const rapt_plan *plan, probe_case *c)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    rapt_attention_desc *d = &c->desc;
    d->tile_lists = p->mask_tiles ? RAPT_TILE_LISTS_ALWAYS : RAPT_TILE_LISTS_NEVER;
    if (!p->blocks)
        return;
    d->block_q = (uint32_t)RAPT_MAX(row->rows_per_tile / plan->group, 1) + 1;
    d->block_k = RAPT_MAX(row->keys_per_tile, 3);
    const uint64_t lines = rapt_div_up(c->nq, d->block_q), pitch = rapt_div_up(c->room, d->block_k);
    d->block_mask = (rapt_tensor){.dtype = RAPT_I32, .rank = 4, .size = {1, c->heads_q, lines, pitch},
                                  .stride = {0, (int64_t)(lines * pitch), (int64_t)pitch, 1}};
}

/* The extra vectors of the plan; of key biases the form that leaves heads packed or not as the plan has them. */
static void make_extras(const rapt_plan *plan, probe_case *c, uint64_t tokens_k)
{
    const uint32_t extras = plan->problem.extras;
    rapt_attention_desc *d = &c->desc;
    if (extras >> RAPT_X_SINKS & 1)
        d->sinks = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {c->heads_q}, .stride = {1}};
    if (extras >> RAPT_X_ALIBI & 1)
        d->alibi = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {c->heads_q}, .stride = {1}};
    if (extras >> RAPT_X_KEY_BIAS & 1)
        d->key_bias = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, plan->group > 1 ? 1 : c->heads_q, tokens_k},
                                    .stride = {0, (int64_t)tokens_k, 1}};
    d->place_width = c->desc.grid.rank == 0 && plan->problem.place_width > 0 ? 5 : 0;
    if (extras >> RAPT_X_RELATIVE & 1)
        d->relative = plan->problem.place_width > 0
                          ? (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {c->heads_q, 3, 5}, .stride = {15, 5, 1}}
                          : (rapt_tensor){.dtype = RAPT_F32, .rank = 2, .size = {c->heads_q, 9}, .stride = {9, 1}};
    if (extras >> RAPT_X_DECAY & 1)
        d->decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {c->heads_q}, .stride = {1}};
    if (extras >> RAPT_X_SEGMENTS & 1)
        d->segments = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {1, tokens_k}, .stride = {(int64_t)tokens_k, 1}};
}

/* Element i of the dense bias, a row for each query head and query; some hide a key. */
static float bias_number(uint64_t i)
{
    return i % 13 == 5 ? -INFINITY : (float)(i % 9) / 8.0f - 0.5f;
}

/* Element i of the factors of a low-rank bias: exact in every dtype, and so that u and v differ. */
static float factor_u(uint64_t i)
{
    return (float)(i * 5 % 7) / 8.0f - 0.375f;
}
static float factor_v(uint64_t i)
{
    return (float)(i * 3 % 11) / 16.0f - 0.25f;
}

static const rapt_tensor *extra_tensor(const rapt_attention_desc *d, unsigned extra)
{
    const rapt_tensor *const tensors[RAPT_X_COUNT] = {&d->sinks,    &d->alibi, &d->key_bias,  &d->segments,
                                                      &d->relative, &d->decay, &d->block_mask, &d->block_table};
    return tensors[extra];
}

/* Element i of an extra vector. Segments take turns of three keys. */
static float extra_number(unsigned extra, uint64_t i)
{
    const float sizes[RAPT_X_COUNT] = {[RAPT_X_SINKS] = 0.5f,     [RAPT_X_ALIBI] = 0.25f, [RAPT_X_KEY_BIAS] = -0.125f,
                                       [RAPT_X_RELATIVE] = 0.25f, [RAPT_X_DECAY] = 0.0625f};
    return sizes[extra] * (float)(i % 11 + 1);
}
static int32_t extra_segment(uint64_t i)
{
    return (int32_t)(i / 3 % 2);
}

/* Where element x of a row of the gate is, and what it holds: exact in every dtype. */
static float gate_number(uint64_t at)
{
    return (float)(at * 7 % 17) / 4.0f - 2.0f;
}

/* A grid of the plan's rank and causal axes, of some tiles with borders, dilation and blocks; or one whose every query sees
 * all keys, in whole tiles of them. */
static void make_grid(const rapt_plan *plan, unsigned shrink, bool whole, probe_case *c)
{
    const rapt_grid *own = &plan->problem.grid;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    rapt_grid *g = &c->desc.grid;
    if (own->rank == 0)
        return;
    g->rank = own->rank;
    g->causal = whole ? 0 : own->causal >> (RAPT_GRID_AXES - own->rank);
    c->nq = 1;
    for (uint32_t axis = 0; axis < g->rank; axis++) {
        const bool last = axis + 1 == g->rank;
        const uint32_t rows = RAPT_MAX(row->rows_per_tile >> shrink, 2);
        g->size[axis] = whole ? (last ? row->keys_per_tile * (uint32_t)rapt_div_up(rows, row->keys_per_tile) : 2)
                        : last ? rows / g->rank + 9
                               : 5;
        g->kernel_size[axis] = whole ? g->size[axis] : last ? 4 : 3;
        g->dilation[axis] = last && !whole ? 2 : 1;
        g->stride[axis] = last && !whole ? 3 : 1;
        c->nq *= g->size[axis];
    }
    c->nk = c->nq;
}

/* Room for more keys than there are, and pages, as the plan has them. */
static void make_room(const rapt_plan *plan, probe_case *c)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    c->room = c->nk;
    if (p->ragged)
        c->room += 5;
    if (!p->paged)
        return;
    c->desc.page_size = row->supports & RAPT_ROW_PAGED ? row->keys_per_tile / 4 + 1 : row->keys_per_tile;
    c->room = rapt_align_up(c->room, c->desc.page_size);
    c->nk = p->ragged ? c->nk : c->room;
}

/* The tensors of a cache; k and v are there. */
static void make_cache(const rapt_plan *plan, probe_case *c)
{
    rapt_attention_desc *d = &c->desc;
    if (plan->problem.ragged)
        d->k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {1}, .stride = {1}};
    if (!plan->problem.paged)
        return;
    const uint64_t numbers = c->room / d->page_size, pages = numbers + 1;
    d->block_table = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {1, numbers}, .stride = {(int64_t)numbers, 1}};
    rapt_tensor *const tensors[] = {&d->k, &d->v};
    for (unsigned i = 0; i < RAPT_COUNT(tensors); i++) {
        rapt_tensor *t = tensors[i];
        t->size[0] = pages;
        t->size[2] = d->page_size;
        t->stride[1] = t->stride[2] * (int64_t)t->size[2];
        t->stride[0] = t->stride[1] * (int64_t)t->size[1];
    }
}

/* The smallest problem that exercises tiles, tails and the plan's own constants. `shrink` halves it so many times:
 * a device that binds very little may hold no more of a tile than the plan itself touches. */
static void make_case(const rapt_plan *plan, unsigned shrink, probe_case *c)
{
    const rapt_problem *p = &plan->problem;
    const rapt_kernel_row *row = plan->pipelines[0].row;
    memset(c, 0, sizeof *c);
    c->heads_kv = plan->group > 1 ? 1 : 2;
    c->heads_q = c->heads_out = plan->group > 1 ? plan->group : p->col_sums_by_kv ? 3 : 2; /* 3 to 2: never packed */
    c->sequences = p->varlen ? 2 : 1;
    c->nq = row->rows_per_tile + 3ull;
    if (plan->group > 1 || row->nq_max != 0)
        c->nq = RAPT_MIN(RAPT_MIN(c->nq, 3), row->nq_max ? RAPT_MAX(row->nq_max / plan->group, 1) : 3);
    c->nq = p->nq == 1 ? 1 : RAPT_MAX(c->nq >> shrink, 2);
    c->nk = RAPT_MAX((2ull * row->keys_per_tile + 3) >> shrink, 1);
    const uint32_t whole = whole_keys(plan);
    if (whole == 1)
        c->nk = RAPT_MAX(c->nk / row->keys_per_tile, 1) * row->keys_per_tile;
    else if (whole == 2 && c->nk % row->keys_per_tile == 0)
        c->nk--;
    make_grid(plan, shrink, whole != 0, c);
    if (p->place_width > 0) /* every query stands at a key */
        c->nq = RAPT_MIN(c->nq, c->nk);
    make_room(plan, c);
    c->begin_q = p->varlen ? c->nq : 0;
    c->begin_k = p->varlen ? c->nk : 0;
    uint64_t tokens_q = c->nq * c->sequences, tokens_k = c->room * c->sequences;
    rapt_attention_desc *d = &c->desc;
    d->struct_size = sizeof *d;
    d->flags = (p->causal ? RAPT_ATTENTION_CAUSAL : 0) | (p->window ? RAPT_ATTENTION_WINDOW : 0);
    if (p->window) { /* begins in the midst of a tile, and leaves some sinks outside */
        d->window_left = row->keys_per_tile + 1;
        d->window_right = 1;
        d->sink_tokens = 2;
    }
    d->soft_cap = p->soft_cap > 0.0f ? 2.0f : 0.0f;
    d->link = (rapt_link)p->link;
    if (d->link == RAPT_LINK_CLIPPED) {
        d->link_gamma = -0.02f;
        d->link_zeta = 1.25f;
    }
    d->link_alpha = 1.5f;
    d->link_beta = -0.0625f;
    make_extras(plan, c, tokens_k);
    if (p->norm_epsilon >= 0.0f) {
        d->flags |= RAPT_ATTENTION_QK_NORM;
        d->qk_norm_epsilon = 0.0625f;
    }
    if (p->rope_dim > 0) { /* the first pair turns a radian a key */
        d->flags |= p->rope_interleaved ? RAPT_ATTENTION_ROPE_INTERLEAVED : 0;
        d->rope_base = 100.0;
        d->rope_dim = p->rope_dim;
    }
    if (p->rank > 0) {
        d->bias_u = rapt_tensor_bhnd(p->dtype, 1, c->heads_q, tokens_q, p->rank);
        d->bias_v = rapt_tensor_bhnd(p->dtype, 1, c->heads_q == c->heads_kv ? c->heads_q : 1, tokens_k, p->rank);
    }
    if (p->bias)
        d->bias = rapt_tensor_bhnd(RAPT_F32, 1, c->heads_q, tokens_q, tokens_k);
    make_blocks(plan, c);
    d->score_mod[0] = p->score_mod ? probe_score_mod : NULL;
    d->mask_mod[0] = p->mask_mod ? probe_mask_mod : NULL;
    const struct {
        rapt_tensor *t;
        uint64_t heads, tokens, dim;
    } tensors[] = {{&d->q, c->heads_q, tokens_q, p->prepared ? p->source_dim : p->head_dim_qk},
                   {&d->k, c->heads_kv, tokens_k, p->prepared ? p->source_dim : p->head_dim_qk},
                   {&d->v, c->heads_kv, tokens_k, p->head_dim_v},
                   {&d->out, c->heads_out, tokens_q, p->head_dim_v},
                   {&d->gate, c->heads_out, tokens_q, p->head_dim_v}};
    for (size_t i = 0; i < RAPT_COUNT(tensors) - !p->gate; i++) {
        rapt_tensor *t = tensors[i].t;
        const rapt_dtype format = t == &d->k ? p->k_format : t == &d->v ? p->v_format : RAPT_DTYPE_NONE;
        const uint64_t width = format ? rapt_quantised_words(format, tensors[i].dim) : tensors[i].dim;
        *t = rapt_tensor_bhnd(format ? format : p->dtype, 1, tensors[i].heads, tensors[i].tokens, width);
        /* Rows lie apart as aligned, or as unaligned, as the plan's own. */
        uint64_t pitch = rapt_align_up(width, 8) + (plan->aligned || format ? 0 : 1);
        t->stride[2] = (int64_t)pitch;
        t->stride[1] = (int64_t)(pitch * tensors[i].tokens);
        t->stride[0] = (int64_t)(pitch * tensors[i].tokens * tensors[i].heads);
        t->align = plan->aligned || format ? 16 : 4;
    }
    make_cache(plan, c);
    d->lse = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, c->heads_out, tokens_q},
                           .stride = {(int64_t)(c->heads_out * tokens_q), (int64_t)tokens_q, 1}};
    if (p->row_max)
        d->row_max = d->lse;
    if (p->col_sums) {
        const uint64_t heads = p->col_sums_by_kv ? c->heads_kv : c->heads_out;
        d->col_sums = (rapt_tensor){.dtype = RAPT_F32, .rank = 3, .size = {1, heads, tokens_k}, .stride = {0, (int64_t)tokens_k, 1}};
    }
    d->sequences = p->varlen ? (uint32_t)c->sequences : 0;
    d->max_seqlen_q = p->varlen ? c->nq : 0;
    d->max_seqlen_k = p->varlen ? c->nk : 0;
    d->kernel = row->name;
    d->key_splits = plan->splits > 1 ? 2 : 1;
}

static uint64_t element(const rapt_tensor *t, uint64_t head, uint64_t row)
{
    return head * (uint64_t)t->stride[1] + row * (uint64_t)t->stride[2];
}

/* The same of a key of k, or of its value, which is there. */
static uint64_t key_element(const probe_case *c, const rapt_tensor *t, uint64_t head, uint64_t key)
{
    const uint64_t size = c->desc.page_size;
    if (size == 0)
        return element(t, head, key);
    return (uint64_t)page_of(c, key / size) * (uint64_t)t->stride[0] + element(t, head, key % size);
}

/* What a probe runs on and what came back. */
typedef struct probe_run {
    const probe_case *c;
    const rapt_plan *plan;
    rapt_buffer *buffers[7]; /* q, k, v, out, lse, cu_seqlens, workspace */
    rapt_buffer *extras[RAPT_X_COUNT], *gate, *bias, *factors[2], *lengths;
    rapt_buffer *margins[2]; /* row_max, col_sums; NULL where they are not wanted */
    float *margin[2];        /* what they came to hold */
    double *sums;            /* and what col_sums are to be; NaN: not known */
    double row_max_error;    /* the worst, as a share of the tolerance */
    uint64_t bytes[7];
    uint8_t *data[5];
    double *q, *k;     /* as attention sees them: (head, token, element) without gaps */
    float *parts;      /* the workspace */
    double *out, *lse; /* results: (head, query row, element) and (head, query row) */
    double *scores;
    rapt_binding *binding;
    bool submitted;
} probe_run;

static uint64_t rows_of(const rapt_tensor *t)
{
    return t->size[0] * t->size[1] * t->size[2];
}

/* Keys of all sequences, those for which there is but room aside. */
static uint64_t key_count(const probe_case *c)
{
    return c->nk * c->sequences;
}

static uint64_t result_rows(const probe_case *c)
{
    return c->heads_out * c->desc.q.size[2];
}

/* Weights of links without a denominator; see rapt_link. */
static double additive_weight(rapt_link link, double s)
{
    switch (link) {
    case RAPT_LINK_SIGMOID:
        return 1 / (1 + exp(-s));
    case RAPT_LINK_LAPLACE: /* sqrt(1/2), and 1 / sqrt(2 / (4 pi)) */
        return 0.5 + 0.5 * erf((s - 0.70710678118654752) * 2.5066282746310005);
    case RAPT_LINK_RELU:
        return fmax(s, 0);
    default:
        return s;
    }
}

/* Element x of the row that begins at `at`. */
static double tensor_number(const rapt_tensor *t, uint64_t head_dim, const uint8_t *data, uint64_t at, uint64_t x)
{
    const uint32_t size = rapt_dtype_size(t->dtype);
    return rapt_dtype_is_quantised(t->dtype) ? rapt_quantised_get(data + at * size, t->dtype, head_dim, x)
                                             : rapt_number_get(data + (at + x) * size, t->dtype);
}

/* Where col_sums has a key of an output head, which reads kv head `kv`. */
static uint64_t column(const probe_run *r, uint64_t kv, uint64_t head, uint64_t key)
{
    const rapt_tensor *t = &r->c->desc.col_sums;
    return (r->plan->problem.col_sums_by_kv ? kv : head) * t->size[2] + key;
}

/* A row that is not judged: what it adds to its columns is not known. */
static double skip_row(probe_run *r, uint64_t kv, uint64_t head, uint64_t first_key)
{
    for (uint64_t j = 0; j < r->c->nk && r->sums != NULL; j++)
        r->sums[column(r, kv, head, first_key + j)] = NAN;
    return 0;
}

static double margin_error(double got, double want)
{
    const double error = isinf(want) ? (got == want ? 0 : INFINITY) : fabs(got - want) / (0x1p-12 * (1 + fabs(want)));
    return error == error ? error : INFINITY;
}

/* Judges the row's largest score, of r->scores. */
static void note_row_max(probe_run *r, uint64_t head, uint64_t qrow)
{
    double largest = -INFINITY;
    for (uint64_t j = 0; j < r->c->nk; j++)
        largest = fmax(largest, r->scores[j]);
    if (r->margin[0] != NULL)
        r->row_max_error = fmax(r->row_max_error, margin_error((double)r->margin[0][head * r->c->desc.q.size[2] + qrow], largest));
}

static double col_sums_error(const probe_run *r)
{
    const rapt_tensor *t = &r->c->desc.col_sums;
    double worst = 0;
    for (uint64_t h = 0; h < t->size[1] && r->sums != NULL; h++)
        for (uint64_t j = 0; j < key_count(r->c); j++)
            if (r->sums[h * t->size[2] + j] == r->sums[h * t->size[2] + j])
                worst = fmax(worst, margin_error((double)r->margin[1][h * t->size[2] + j], r->sums[h * t->size[2] + j]));
    return worst;
}

/* Compares one output row with the definition. Returns the worst error as a share of the tolerance; NaN counts as
 * infinite. */
static double row_error(probe_run *r, uint64_t sequence, uint64_t head, uint64_t query)
{
    const probe_case *c = r->c;
    const rapt_attention_desc *d = &c->desc;
    rapt_dtype dtype = d->q.dtype;
    uint64_t dim_qk = d->q.size[3], dim_v = d->out.size[3];
    uint64_t kv = head * c->heads_kv / c->heads_out;
    uint64_t qrow = sequence * c->begin_q + query, k0 = sequence * c->begin_k;
    const double *q = r->q + (head * c->heads_q / c->heads_out * d->q.size[2] + qrow) * dim_qk;
    double scale = 1.0 / sqrt((double)dim_qk), max = -DBL_MAX, sum = 0, worst = 0, *scores = r->scores;
    const uint64_t head_q = head * c->heads_q / c->heads_out;
    const int64_t place = (int64_t)query + (int64_t)c->nk - (int64_t)c->nq;
    const bool sinks = d->sinks.dtype != RAPT_DTYPE_NONE, segments = d->segments.dtype != RAPT_DTYPE_NONE;
    const bool second = rapt_link_two_passes(d->link), additive = d->link >= RAPT_LINK_SIGMOID && !second, is_signed = d->link == RAPT_LINK_SIGNED;
    const double sink = sinks                                ? (double)extra_number(RAPT_X_SINKS, head_q)
                        : d->link == RAPT_LINK_OFFBYONE ? 0
                                                             : -INFINITY;
    uint64_t visible = !isinf(sink) || additive;
    if (!isinf(sink))
        max = sink;
    for (uint64_t j = 0; j < c->nk; j++) {
        scores[j] = -INFINITY;
        if (!rapt_problem_sees(&r->plan->problem, place, (int64_t)j) || !key_is_there(c, j) ||
            (segments && (place < 0 || extra_segment(k0 + j) != extra_segment(k0 + (uint64_t)place))) ||
            (r->plan->problem.blocks &&
             !probe_block(rapt_block_element(&r->plan->problem, sequence, head_q, query, j))) ||
            (d->mask_mod[0] != NULL && !probe_mask(sequence, head, query, j)))
            continue;
        visible++;
        const double *k = r->k + (kv * key_count(c) + k0 + j) * dim_qk;
        double s = 0;
        for (uint64_t x = 0; x < dim_qk; x++)
            s += q[x] * k[x];
        scores[j] = rapt_problem_score(&r->plan->problem, s * scale);
        if (d->key_bias.dtype != RAPT_DTYPE_NONE)
            scores[j] += (double)extra_number(RAPT_X_KEY_BIAS,
                                              (d->key_bias.size[1] > 1 ? head_q : 0) * d->key_bias.size[2] + k0 + j);
        for (uint64_t x = 0; x < d->bias_u.size[3]; x++)
            scores[j] += (double)factor_u((head_q * d->q.size[2] + qrow) * d->bias_u.size[3] + x) *
                         (double)factor_v(((d->bias_v.size[1] > 1 ? kv : 0) * d->bias_v.size[2] + k0 + j) * d->bias_v.size[3] + x);
        if (d->bias.dtype != RAPT_DTYPE_NONE)
            scores[j] += (double)bias_number((head_q * c->nq + query) * c->room + j);
        if (d->alibi.dtype != RAPT_DTYPE_NONE)
            scores[j] -= (double)extra_number(RAPT_X_ALIBI, head_q) *
                         (double)rapt_problem_distance(&r->plan->problem, place, (int64_t)j);
        if (d->relative.dtype != RAPT_DTYPE_NONE)
            scores[j] += (double)extra_number(RAPT_X_RELATIVE,
                                              head_q * (uint64_t)d->relative.stride[0] +
                                                  rapt_problem_relative_entry(&r->plan->problem, place, (int64_t)j));
        if (d->score_mod[0] != NULL)
            scores[j] = probe_score(scores[j], sequence, head, query, j);
        if (is_signed && fabs(scores[j]) < 1e-4) /* its sign, and so the row, is a matter of rounding */
            return skip_row(r, kv, head, k0);
        max = fmax(max, is_signed && !isinf(scores[j]) ? fabs(scores[j]) : scores[j]);
    }
    note_row_max(r, head, qrow);
    if (additive)
        max = 0; /* and the denominator is 1 */
    for (uint64_t j = 0; j < c->nk; j++) {
        const double s = scores[j];
        scores[j] = isinf(s) ? 0 : additive ? additive_weight(d->link, s) : exp((is_signed ? fabs(s) : s) - max);
        sum += scores[j];
        scores[j] *= is_signed && s <= 0 ? (s < 0 ? -1 : 0) : 1;
    }
    sum = additive ? 1 : sum + (isinf(sink) ? 0 : exp(sink - max));
    if (sum == 0) /* biases hide what there was to see */
        visible = 0;
    double denominator = sum;
    if (second) {
        denominator = 1;
        for (uint64_t j = 0; j < c->nk; j++)
            scores[j] = d->link == RAPT_LINK_AFFINE
                            ? (scores[j] > 0 ? (double)d->link_alpha * scores[j] / sum + (double)d->link_beta : 0)
                            : fmin(fmax(((double)d->link_zeta - (double)d->link_gamma) * scores[j] / sum +
                                            (double)d->link_gamma, 0), 1);
    }
    for (uint64_t j = 0; j < c->nk && d->decay.dtype != RAPT_DTYPE_NONE; j++)
        scores[j] *= pow((double)extra_number(RAPT_X_DECAY, head_q),
                         (double)rapt_problem_distance(&r->plan->problem, place, (int64_t)j));
    for (uint64_t j = 0; j < c->nk && r->sums != NULL && visible; j++)
        r->sums[column(r, kv, head, k0 + j)] += scores[j] / denominator;
    /* f16 matrices round the weights to 11 bits; storage rounds the output, with a gate twice. */
    double unit = dtype == RAPT_BF16 ? 0x1p-8 : dtype == RAPT_F16 ? 0x1p-10 : 0x1p-15;
    unit *= d->gate.dtype != RAPT_DTYPE_NONE ? 2 : 1;
    uint64_t row = head * d->q.size[2] + qrow;
    for (uint64_t x = 0; x < dim_v; x++) {
        double want = 0, size = 0; /* size: of what is summed, beside which the sum may be small */
        for (uint64_t j = 0; j < c->nk; j++) {
            const double part = scores[j] != 0 || !d->page_size
                                    ? scores[j] * tensor_number(&d->v, dim_v, r->data[2], key_element(c, &d->v, kv, k0 + j), x)
                                    : 0;
            want += part;
            size += fabs(part);
        }
        want = visible ? want / denominator : 0;
        if (d->gate.dtype != RAPT_DTYPE_NONE)
            want /= 1 + exp(-(double)gate_number(element(&d->gate, head, qrow) + x));
        /* Weights that do not sum to one are as wrong as the scores that they are made of. */
        double error = fabs(r->out[row * dim_v + x] - want) / (unit * (1 + (additive ? size : fabs(want))));
        worst = error <= worst ? worst : error == error ? error : INFINITY;
    }
    double want = visible ? max + log(sum) : -INFINITY, lse = r->lse[row];
    double error = isinf(want) ? (lse == want ? 0 : INFINITY)
                               : fabs(lse - want) / (fmax(unit, 0x1p-12) * (1 + fabs(want)));
    return error <= worst ? worst : error == error ? error : INFINITY;
}

/* QK-norm and rotary positions in double precision: one row of q or k, in place. */
static void turn_row(const rapt_attention_desc *d, double *x, int64_t place)
{
    const uint64_t dim = d->q.size[3], half = d->rope_dim / 2;
    const bool interleaved = d->flags & RAPT_ATTENTION_ROPE_INTERLEAVED;
    double squares = 0;
    for (uint64_t i = 0; i < dim; i++)
        squares += x[i] * x[i];
    for (uint64_t i = 0; i < dim && (d->flags & RAPT_ATTENTION_QK_NORM); i++)
        x[i] /= sqrt(squares / (double)dim + (double)d->qk_norm_epsilon);
    for (uint64_t i = 0; i < half; i++) {
        const double angle = (double)place * pow(d->rope_base, -2.0 * (double)i / d->rope_dim);
        double *a = &x[interleaved ? 2 * i : i], *b = &x[interleaved ? 2 * i + 1 : i + half], old = *a;
        *a = old * cos(angle) - *b * sin(angle);
        *b = *b * cos(angle) + old * sin(angle);
    }
}

/* q and k as attention sees them. */
static void take_inputs(probe_run *r)
{
    const probe_case *c = r->c;
    const rapt_tensor *tensors[2] = {&c->desc.q, &c->desc.k};
    const uint64_t dim = c->desc.q.size[3];
    double *x = r->q;
    for (unsigned t = 0; t < 2; t++, x = r->k)
        for (uint64_t h = 0; h < tensors[t]->size[1]; h++)
            for (uint64_t i = 0; i < (t ? key_count(c) : tensors[t]->size[2]); i++, x += dim) {
                if (t && !key_is_there(c, i))
                    continue;
                const uint64_t at = t ? key_element(c, tensors[t], h, i) : element(tensors[t], h, i);
                for (uint64_t e = 0; e < dim; e++)
                    x[e] = tensor_number(tensors[t], dim, r->data[t], at, e);
                turn_row(&c->desc, x, (int64_t)(t ? i % c->nk : i % c->nq + c->nk) - (t ? 0 : (int64_t)c->nq));
            }
}

static double worst_error(probe_run *r)
{
    double worst = 0;
    if (r->sums != NULL)
        memset(r->sums, 0, rapt_tensor_bytes(&r->c->desc.col_sums) * 2);
    r->row_max_error = 0;
    for (uint64_t s = 0; s < r->c->sequences; s++)
        for (uint64_t h = 0; h < r->c->heads_out; h++)
            for (uint64_t i = 0; i < r->c->nq; i++)
                worst = fmax(worst, row_error(r, s, h, i));
    return worst;
}

/* The device's results. */
static void take_results(probe_run *r)
{
    const rapt_attention_desc *d = &r->c->desc;
    uint64_t dim = d->out.size[3], tokens = d->q.size[2];
    for (uint64_t h = 0; h < r->c->heads_out; h++)
        for (uint64_t i = 0; i < tokens; i++) {
            const uint8_t *o = r->data[3] + element(&d->out, h, i) * rapt_dtype_size(d->out.dtype);
            for (uint64_t x = 0; x < dim; x++)
                r->out[(h * tokens + i) * dim + x] = rapt_number_get(o + x * rapt_dtype_size(d->out.dtype), d->out.dtype);
            r->lse[h * tokens + i] = rapt_number_get(r->data[4] + (h * tokens + i) * 4, RAPT_F32);
        }
}

/* The results that the partial ones in the workspace come to: what shaders/merge/merge.comp should have made. */
static void merge_results(probe_run *r)
{
    const probe_case *c = r->c;
    const rapt_plan *plan = r->plan;
    const float *acc = r->parts + plan->slots[0].offset / 4, *ml = r->parts + plan->slots[1].offset / 4;
    uint64_t dim = c->desc.out.size[3], tokens = c->desc.q.size[2], splits = plan->splits;
    for (uint64_t n = 0; n < result_rows(c); n++) {
        uint64_t query = n % c->nq, head = n / c->nq % c->heads_out, sequence = n / c->nq / c->heads_out;
        uint64_t row = head * tokens + sequence * c->begin_q + query;
        double top = -INFINITY, sum = 0;
        for (uint64_t s = 0; s < splits; s++)
            if (ml[(n * splits + s) * 2 + 1] != 0)
                top = fmax(top, (double)ml[(n * splits + s) * 2]);
        for (uint64_t x = 0; x < dim; x++)
            r->out[row * dim + x] = 0;
        for (uint64_t s = 0; s < splits; s++) {
            const float *m = ml + (n * splits + s) * 2;
            double share = m[1] != 0 ? exp2((double)m[0] - top) : 0;
            sum += m[1] != 0 ? share * (double)m[1] : 0;
            for (uint64_t x = 0; x < dim && share != 0; x++)
                r->out[row * dim + x] += share * (double)acc[(n * splits + s) * plan->part_stride + x];
        }
        for (uint64_t x = 0; x < dim && sum != 0; x++)
            r->out[row * dim + x] /= sum;
        const rapt_tensor *gate = &c->desc.gate;
        for (uint64_t x = 0; x < dim && gate->dtype != RAPT_DTYPE_NONE; x++)
            r->out[row * dim + x] /=
                1 + exp(-(double)gate_number(element(gate, head, sequence * c->begin_q + query) + x));
        r->lse[row] = sum != 0 ? (top + log2(sum)) * 0.6931471805599453 : -INFINITY;
    }
}

/* A tensor, if it is there, with numbers by element index. */
static rapt_status make_tensor_buffer(rapt_device *device, const rapt_tensor *t, float (*number)(uint64_t),
                                      rapt_buffer **buffer, rapt_slot *slot, rapt_error *error)
{
    const uint64_t bytes = rapt_align_up(rapt_tensor_bytes(t), 4), size = rapt_dtype_size(t->dtype);
    if (bytes == 0)
        return RAPT_OK;
    uint8_t *numbers = rapt_calloc(&device->runtime->allocator, bytes, 1);
    if (numbers == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
    for (uint64_t i = 0; (i + 1) * size <= bytes; i++)
        rapt_number_put(numbers + i * size, t->dtype, number(i));
    rapt_status status = rapt_buffer_create(device, bytes, buffer, error);
    slot->buffer = *buffer;
    if (status == RAPT_OK)
        status = rapt_buffer_upload(*buffer, 0, numbers, bytes, error);
    rapt_free(&device->runtime->allocator, numbers, bytes);
    return status;
}

static rapt_status make_extra_buffers(probe_run *r, rapt_device *device, rapt_attention_args *args, rapt_error *error)
{
    rapt_slot *slots[RAPT_X_COUNT] = {&args->sinks, &args->alibi, &args->key_bias, &args->segments,
                                      &args->relative, &args->decay, &args->block_mask, &args->block_table};
    rapt_status status = RAPT_OK;
    for (unsigned x = 0; x < RAPT_X_COUNT && status == RAPT_OK; x++) {
        const uint64_t bytes = rapt_tensor_bytes(extra_tensor(&r->c->desc, x));
        if (bytes == 0)
            continue;
        uint32_t *words = rapt_calloc(&device->runtime->allocator, bytes / 4, 4);
        if (words == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
        for (uint64_t i = 0; i < bytes / 4; i++) {
            const float number = extra_number(x, i);
            const int32_t integer = x == RAPT_X_PAGES    ? page_of(r->c, i)
                                    : x == RAPT_X_BLOCKS ? probe_block(i)
                                                         : extra_segment(i);
            memcpy(&words[i], x == RAPT_X_PAGES || x == RAPT_X_BLOCKS || x == RAPT_X_SEGMENTS ? (const void *)&integer : (const void *)&number, 4);
        }
        status = rapt_buffer_create(device, bytes, &r->extras[x], error);
        slots[x]->buffer = r->extras[x];
        if (status == RAPT_OK)
            status = rapt_buffer_upload(r->extras[x], 0, words, bytes, error);
        rapt_free(&device->runtime->allocator, words, bytes);
    }
    if (status == RAPT_OK)
        status = make_tensor_buffer(device, &r->c->desc.gate, gate_number, &r->gate, &args->gate, error);
    if (status == RAPT_OK)
        status = make_tensor_buffer(device, &r->c->desc.bias_u, factor_u, &r->factors[0], &args->bias_u, error);
    if (status == RAPT_OK)
        status = make_tensor_buffer(device, &r->c->desc.bias_v, factor_v, &r->factors[1], &args->bias_v, error);
    if (status == RAPT_OK)
        status = make_tensor_buffer(device, &r->c->desc.bias, bias_number, &r->bias, &args->bias, error);
    return status;
}

/* Numbers for q, k or v (i: 0, 1, 2). */
static void fill_input(const probe_run *r, int i, const rapt_tensor *t, uint32_t *state)
{
    const probe_case *c = r->c;
    const uint32_t size = rapt_dtype_size(t->dtype);
    const uint64_t dim = i == 2 ? c->desc.out.size[3] : c->desc.q.size[3];
    for (uint64_t h = 0; h < t->size[1]; h++)
        for (uint64_t s = 0; s < (i > 0 ? key_count(c) : t->size[2]); s++) {
            if (i > 0 && !key_is_there(c, s))
                continue;
            uint8_t *row = r->data[i] + (i > 0 ? key_element(c, t, h, s) : element(t, h, s)) * size;
            if (rapt_dtype_is_quantised(t->dtype))
                memset(row, 0, t->size[3] * size);
            for (uint64_t x = 0; x < dim; x++)
                if (rapt_dtype_is_quantised(t->dtype))
                    rapt_quantised_put(row, t->dtype, dim, x, state);
                else
                    rapt_number_put(row + x * size, t->dtype, rapt_number_next(state) * (i == 0 ? 4.0f : 1.0f));
        }
}

/* Row maxima and column sums. */
static rapt_status make_margins(probe_run *r, rapt_device *device, rapt_attention_args *args, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    const rapt_tensor *tensors[2] = {&r->c->desc.row_max, &r->c->desc.col_sums};
    rapt_slot *slots[2] = {&args->row_max, &args->col_sums};
    rapt_status status = RAPT_OK;
    for (unsigned i = 0; i < 2 && status == RAPT_OK; i++) {
        const uint64_t bytes = rapt_tensor_bytes(tensors[i]);
        if (bytes == 0)
            continue;
        r->margin[i] = rapt_calloc(a, 1, bytes);
        if (i == 1)
            r->sums = rapt_calloc(a, 2, bytes);
        if (r->margin[i] == NULL || (i == 1 && r->sums == NULL))
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
        status = rapt_buffer_create(device, bytes, &r->margins[i], error);
        slots[i]->buffer = r->margins[i];
    }
    return status;
}

/* Host memory and inputs on the device. */
static rapt_status run_make(probe_run *r, rapt_device *device, rapt_attention_args *args, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    const probe_case *c = r->c;
    const rapt_tensor *tensors[5] = {&c->desc.q, &c->desc.k, &c->desc.v, &c->desc.out, &c->desc.lse};
    rapt_slot *slots[7] = {&args->q, &args->k, &args->v, &args->out, &args->lse, &args->cu_seqlens_q, &args->workspace};
    int32_t cu[6] = {0, (int32_t)c->begin_q, (int32_t)(2 * c->begin_q), 0, (int32_t)c->begin_k,
                     (int32_t)(2 * c->begin_k)};
    uint32_t state = 12345;
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 7; i++)
        r->bytes[i] = i < 5 ? rapt_align_up(rapt_tensor_bytes(tensors[i]), 4) : i == 5 ? sizeof cu
                                                                                      : r->plan->workspace_bytes;
    bool enough = true;
    for (int i = 0; i < 5; i++)
        enough &= (r->data[i] = rapt_calloc(a, 1, r->bytes[i])) != NULL;
    enough &= (r->parts = rapt_calloc(a, 1, RAPT_MAX(r->bytes[6], 4))) != NULL;
    enough &= (r->out = rapt_calloc(a, result_rows(c) * c->desc.out.size[3], sizeof *r->out)) != NULL;
    enough &= (r->lse = rapt_calloc(a, result_rows(c), sizeof *r->lse)) != NULL;
    enough &= (r->scores = rapt_calloc(a, c->nk, sizeof *r->scores)) != NULL;
    enough &= (r->q = rapt_calloc(a, rows_of(&c->desc.q), c->desc.q.size[3] * sizeof *r->q)) != NULL;
    enough &= (r->k = rapt_calloc(a, rows_of(&c->desc.k), c->desc.q.size[3] * sizeof *r->k)) != NULL;
    if (!enough)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a probe");
    for (int i = 0; i < 7 && status == RAPT_OK; i++) {
        if (r->bytes[i] == 0)
            continue;
        status = rapt_buffer_create(device, r->bytes[i], &r->buffers[i], error);
        slots[i]->buffer = r->buffers[i];
        if (status != RAPT_OK || i >= 5)
            continue;
        memset(r->data[i], 0xff, r->bytes[i]); /* NaN wherever nothing is written below */
        if (i < 3)
            fill_input(r, i, tensors[i], &state);
        status = rapt_buffer_upload(r->buffers[i], 0, r->data[i], r->bytes[i], error);
    }
    take_inputs(r);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(r->buffers[5], 0, cu, sizeof cu, error);
    if (status == RAPT_OK)
        status = make_extra_buffers(r, device, args, error);
    args->cu_seqlens_k = (rapt_slot){r->buffers[5], 3 * sizeof cu[0]};
    const int32_t keys = (int32_t)c->nk;
    if (status == RAPT_OK && r->plan->problem.ragged)
        status = rapt_buffer_create(device, sizeof keys, &r->lengths, error);
    if (status == RAPT_OK && r->plan->problem.ragged)
        status = rapt_buffer_upload(r->lengths, 0, &keys, sizeof keys, error);
    args->k_lengths.buffer = r->lengths;
    return status == RAPT_OK ? make_margins(r, device, args, error) : status;
}

static void run_free(probe_run *r, const rapt_allocator *a)
{
    const probe_case *c = r->c;
    /* Work that is still running may touch binding and buffers: they are then left to it. */
    if (r->binding == NULL || rapt_wait(r->binding, RAPT_DESTROY_TIMEOUT_NS, NULL) != RAPT_ERROR_TIMEOUT ||
        atomic_load(&r->binding->device->hung)) {
        rapt_binding_destroy(&r->binding);
        for (int i = 0; i < 7; i++)
            rapt_buffer_destroy(&r->buffers[i]);
        for (unsigned x = 0; x < RAPT_X_COUNT; x++)
            rapt_buffer_destroy(&r->extras[x]);
        rapt_buffer_destroy(&r->gate);
        rapt_buffer_destroy(&r->bias);
        rapt_buffer_destroy(&r->lengths);
        for (unsigned i = 0; i < RAPT_COUNT(r->factors); i++)
            rapt_buffer_destroy(&r->factors[i]);
        for (unsigned i = 0; i < RAPT_COUNT(r->margins); i++)
            rapt_buffer_destroy(&r->margins[i]);
    }
    rapt_free(a, r->margin[0], rapt_tensor_bytes(&c->desc.row_max));
    rapt_free(a, r->margin[1], rapt_tensor_bytes(&c->desc.col_sums));
    rapt_free(a, r->sums, rapt_tensor_bytes(&c->desc.col_sums) * 2);
    for (int i = 0; i < 5; i++)
        rapt_free(a, r->data[i], r->bytes[i]);
    rapt_free(a, r->parts, RAPT_MAX(r->bytes[6], 4));
    rapt_free(a, r->out, result_rows(c) * c->desc.out.size[3] * sizeof *r->out);
    rapt_free(a, r->lse, result_rows(c) * sizeof *r->lse);
    rapt_free(a, r->scores, c->nk * sizeof *r->scores);
    rapt_free(a, r->q, rows_of(&c->desc.q) * c->desc.q.size[3] * sizeof *r->q);
    rapt_free(a, r->k, rows_of(&c->desc.k) * c->desc.q.size[3] * sizeof *r->k);
}

/* Runs the plan and judges. *share above 1: wrong, and then *culprit is the pipeline at fault. */
static rapt_status run_case(probe_run *r, rapt_device *device, double *share, uint32_t *culprit, rapt_error *error)
{
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_status status = run_make(r, device, &args, error);
    /* The plan is complete; only its memory is not const to bind. */
    if (status == RAPT_OK)
        status = rapt_attention_bind((rapt_plan *)r->plan, &args, &r->binding, error);
    if (status == RAPT_OK)
        status = rapt_submit(r->binding, error);
    r->submitted = status == RAPT_OK;
    if (status == RAPT_OK)
        status = rapt_probe_wait(device, r->binding, error);
    for (int i = 3; i < 5 && status == RAPT_OK; i++)
        status = rapt_buffer_download(r->buffers[i], 0, r->data[i], r->bytes[i], error);
    for (unsigned i = 0; i < 2 && status == RAPT_OK; i++)
        if (r->margins[i] != NULL)
            status = rapt_buffer_download(r->margins[i], 0, r->margin[i],
                                          rapt_tensor_bytes(i ? &r->c->desc.col_sums : &r->c->desc.row_max), error);
    *culprit = 0;
    if (status != RAPT_OK)
        return status;
    take_results(r);
    *share = worst_error(r);
    const double sums = col_sums_error(r);
    if (*share <= 1 && fmax(sums, r->row_max_error) > 1) { /* their pipelines are the last, sums behind maxima */
        *culprit = r->plan->pipeline_count - (r->row_max_error > 1 && r->sums != NULL ? 2 : 1);
        *share = fmax(sums, r->row_max_error);
        return RAPT_OK;
    }
    if (rapt_link_two_passes(r->plan->problem.link))
        *culprit = 1; /* the second pass, which is the rarer one */
    if (*share <= 1 || r->plan->splits < 2) /* what packs vectors is not told apart from what reads them */
        return RAPT_OK;
    status = rapt_buffer_download(r->buffers[6], 0, r->parts, r->bytes[6], error);
    if (status != RAPT_OK)
        return status;
    merge_results(r);
    *culprit = worst_error(r) <= 1;
    return RAPT_OK;
}

rapt_status rapt_probe_wait(rapt_device *device, rapt_binding *binding, rapt_error *error)
{
    const rapt_status status =
        rapt_wait(binding, is_software(device) ? PROBE_TIMEOUT_SOFTWARE_NS : PROBE_TIMEOUT_NS, error);
    if (status == RAPT_ERROR_TIMEOUT && !is_software(device))
        rapt_device_note_hung(device);
    return status;
}

void rapt_probe_note(const rapt_plan *plan, uint32_t pipeline, rapt_verdict_kind verdict, bool lasting, const char *reason)
{
    rapt_kernel *kernel = rapt_kernel_probed(plan->device, &plan->pipelines[pipeline]);
    if (kernel != NULL)
        rapt_kernel_note(plan->device, kernel, verdict, lasting, reason);
}

/* Of a probe's small problem: whether its plan is to be made without this row, because `user`, the plan to be probed, has none of it. */
static bool stands_aside(void *user, const rapt_kernel_row *row, char *why, size_t size)
{
    const rapt_plan *plan = user;
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        if (plan->pipelines[i].base == row)
            return false;
    snprintf(why, size, "no row of the plan that is probed");
    return true;
}

/* The plan of the probe's problem, through the very rows and constants of `plan`. */
static rapt_status plan_case(const rapt_plan *plan, unsigned shrink, probe_case *c, rapt_plan **small,
                             rapt_error *error)
{
    const char *name = plan->pipelines[0].row->name;
    make_case(plan, shrink, c);
    const rapt_verdicts rows = {.user = (void *)(uintptr_t)plan, .blocked = stands_aside};
    rapt_status status = rapt_plan_new(plan->device, &plan->device->caps, &c->desc, &rows, small, error);
    if (status != RAPT_OK)
        return rapt_fail_prefix(error, status, "the probe of kernel '%s'", name);
    bool same = (*small)->pipeline_count == plan->pipeline_count;
    for (uint32_t i = 0; same && i < plan->pipeline_count; i++)
        same = (*small)->pipelines[i].base == plan->pipelines[i].base &&
               (*small)->pipelines[i].form == plan->pipelines[i].form &&
               memcmp((*small)->pipelines[i].constants, plan->pipelines[i].constants,
                      sizeof plan->pipelines[i].constants) == 0;
    if (same)
        return RAPT_OK;
    rapt_plan_destroy(small);
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the probe of kernel '%s' does not reach its constants", name);
}

bool rapt_probe_ended(const rapt_plan *plan, bool submitted, rapt_status *status, const rapt_error *why, rapt_error *error)
{
    rapt_device *device = plan->device;
    if (atomic_load(&device->hung)) { /* remembered on disk: whoever opens the device again is spared this */
        rapt_probe_note(plan, 0, RAPT_VERDICT_BAD, true, "its known-answer probe hung the device");
        *status = rapt_fail(error, RAPT_ERROR_DEVICE_LOST,
                         "kernel '%s' hung %s: its known-answer probe did not end within %u s. It is refused from now on: "
                         "destroy the device and open it again",
                         plan->pipelines[0].row->name, device->caps.device_name,
                         (unsigned)(PROBE_TIMEOUT_NS / 1000000000));
        return true;
    }
    if ((*status == RAPT_ERROR_TIMEOUT && submitted) || *status == RAPT_ERROR_INCOMPLETE) {
        /* Out of time may only mean a busy machine: true for this process, not for the next. */
        rapt_probe_note(plan, 0, RAPT_VERDICT_BAD, *status == RAPT_ERROR_INCOMPLETE, "its known-answer probe did not finish");
        *status = RAPT_OK;
        return true;
    }
    if (*status == RAPT_ERROR_DEVICE_LOST && submitted) /* for whoever opens the device again */
        rapt_probe_note(plan, 0, RAPT_VERDICT_BAD, true, "its known-answer probe lost the device");
    if (*status != RAPT_OK) {
        if (error != NULL)
            *error = *why;
        return true;
    }
    return false;
}

rapt_status rapt_probe_plan(rapt_plan *plan, rapt_error *error)
{
    if (plan->op == RAPT_OP_LINEAR)
        return rapt_probe_linear(plan, error);
    if (plan->op == RAPT_OP_ROUTE)
        return rapt_probe_route(plan, error);
    if (plan->op == RAPT_OP_ROWS)
        return rapt_probe_rows(plan, error);
    if (plan->op == RAPT_OP_SCAN)
        return rapt_probe_scan(plan, error);
    if (plan->op == RAPT_OP_MEMORY)
        return rapt_probe_memory(plan, error);
    if (plan->op == RAPT_OP_COMBINE)
        return rapt_probe_combine(plan, error);
    rapt_device *device = plan->device;
    probe_case c;
    rapt_plan *small = NULL;
    rapt_kernel *failed;
    uint64_t begin = rapt_now_ns();
    rapt_status status = RAPT_ERROR_UNSUPPORTED;
    rapt_error why = {0};
    for (unsigned shrink = 0; status == RAPT_ERROR_UNSUPPORTED && shrink < 8; shrink++) {
        why.status = RAPT_OK;
        status = plan_case(plan, shrink, &c, &small, &why);
    }
    if (status == RAPT_OK)
        status = rapt_plan_compile(small, &failed, &why);
    double share = 0;
    uint32_t culprit = 0;
    probe_run run = {.c = &c, .plan = small};
    if (status == RAPT_OK) {
        small->prepared = true;
        status = run_case(&run, device, &share, &culprit, &why);
        run_free(&run, &device->runtime->allocator);
    }
    rapt_plan_destroy(&small);
    if (rapt_probe_ended(plan, run.submitted, &status, &why, error))
        return status;
    char reason[160] = "";
    if (share > 1)
        snprintf(reason, sizeof reason, "its known-answer probe is off by %.3g times the tolerance", share);
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        if (share <= 1 || i < culprit)
            rapt_probe_note(plan, i, RAPT_VERDICT_GOOD, true, "");
    if (share > 1)
        rapt_probe_note(plan, culprit, RAPT_VERDICT_BAD, true, reason);
    rapt_log_write(&device->runtime->log, RAPT_LOG_DEBUG, "probe of %s: %.3g of the tolerance, %.1f ms",
                   plan->pipelines[0].row->name, share, (double)(rapt_now_ns() - begin) * 1e-6);
    return RAPT_OK;
}
