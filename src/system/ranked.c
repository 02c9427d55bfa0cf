/* Systems that read fewer keys than there are, or fewer that differ: in the order of their importance until enough is read (S2O), and
 * held until they change (DeltaLLM). */
#include "system/system.h"

#include <math.h>

enum { MOST_TILES = 21, MOST_GATHERED = 12, MOST = 1 << 29, OF_TILE = 0, BEFORE = 1 };

/* ---- S2O ---- */

/* In three parts: what a segment of queries sees in itself; the ranking of the keys before it, by its mean query; and tiles of
 * these keys in falling importance, each of which is read where it lies, by index. `rows`: of a head in tensors between steps, whole
 * segments. Everything between steps is (batch heads, rows, ..), and attention takes each segment of each head for a batch entry:
 * segments stop one by one. */
typedef struct ranked {
    rapt_system_qkv t;
    rapt_attention_desc attention;
    rapt_system_view q, k, v;                  /* (lines, 1, segment, d); pools of single keys, (batch kv_heads nk, 1, 1, d) */
    rapt_system_view scores, list, go;         /* importance; a tile's keys; whether a segment reads on, for each tile */
    rapt_system_view pairs, part, acc;          /* pairs: lse of a tile, and of all before it. acc: two of them, in turn */
    uint64_t batch, heads, kv_heads, nq, nk, d, d_v;
    uint64_t segment, segments, lines, rows, history; /* lines: segments of all heads. history: keys before the last segment */
    uint64_t tile[MOST_TILES], tiles;
    float budget;
    bool gathers; /* a tile's rows are copied side by side, instead of being read where they lie: for kernels that want whole pages */
    rapt_system_view lengths; /* then: how many rows of a tile there are, of each line; more than it has room for are all */
} ranked;

/* A contiguous tensor seen with other axes. */
static rapt_system_view shaped(rapt_system_view x, uint32_t rank, const uint64_t *size)
{
    int64_t stride = 1;
    x.tensor.rank = rank;
    for (uint32_t axis = rank; axis-- > 0;) {
        x.tensor.size[axis] = size[axis];
        x.tensor.stride[axis] = stride;
        stride *= (int64_t)size[axis];
    }
    return x;
}

/* What lies as (batch heads, rows, width), as (batch, heads, nq, width). */
static rapt_system_view by_head(const ranked *r, rapt_system_view x, uint64_t width)
{
    x = shaped(x, 4, (const uint64_t[]){r->batch, r->heads, r->rows, width});
    return rapt_system_part(x, 2, 0, r->nq);
}

/* The same as (lines, 1, segment, width). */
static rapt_system_view by_line(const ranked *r, rapt_system_view x, uint64_t width)
{
    return shaped(x, 4, (const uint64_t[]){r->lines, 1, r->segment, width});
}

/* One of the numbers of a tile's pairs: by head (batch, heads, nq), by line (lines, 1, segment). */
static rapt_system_view number_of(const ranked *r, uint64_t tile, unsigned which, bool line)
{
    rapt_system_view pairs = rapt_system_part(r->pairs, 0, tile, 1);
    pairs = rapt_system_part(line ? by_line(r, pairs, 2) : by_head(r, pairs, 2), 3, which, 1);
    pairs.tensor.rank = 3;
    return pairs;
}

/* Tiles that hold all keys before the last segment. */
static bool cut_tiles(rapt_system_builder *b, ranked *r, uint64_t tile, uint64_t growth)
{
    const uint64_t first = tile, most = r->gathers ? MOST_GATHERED : MOST_TILES;
    for (uint64_t left = r->history; left > 0; left -= r->tile[r->tiles - 1], tile = RAPT_MIN(tile * growth, MOST)) {
        if (r->tiles == most)
            return rapt_system_refuse(b, "%llu keys are more than %llu tiles, of %llu keys at first: take larger ones, or let them grow",
                                      (unsigned long long)r->history, (unsigned long long)most, (unsigned long long)first);
        r->tile[r->tiles++] = RAPT_MIN(tile, left);
    }
    return true;
}

static bool take_sizes(rapt_system_builder *b, ranked *r)
{
    int64_t segment = 1, tile = 1, growth = 1, gather = 0;
    *r = (ranked){.attention = RAPT_ATTENTION_DESC_INIT};
    if (!rapt_system_qkv_take(b, &r->t) || !rapt_system_common(b, &r->attention) || !rapt_system_integer(b, "segment", 1, MOST, &segment) ||
        !rapt_system_integer(b, "tile", 1, MOST, &tile) || !rapt_system_integer(b, "growth", 1, 16, &growth) ||
        !rapt_system_integer(b, "gather", 0, 1, &gather) || !rapt_system_number(b, "budget", &r->budget))
        return false;
    const uint64_t *q = r->t.q.tensor.size, *k = r->t.k.tensor.size;
    if (!(r->budget >= 0 && r->budget < 1))
        return rapt_system_refuse(b, "parameter 'budget' is %g; 0 to less than 1 is needed", (double)r->budget);
    if (q[0] == 0 || q[1] == 0 || k[1] == 0 || q[1] % k[1] != 0 || q[2] == 0 || q[2] > k[2] || k[2] > MOST)
        return rapt_system_refuse(b, "%llu query heads, %llu kv heads, %llu queries, %llu keys: kv heads that divide the query heads, and at "
                                  "least as many keys as queries are needed", (unsigned long long)q[1], (unsigned long long)k[1],
                                  (unsigned long long)q[2], (unsigned long long)k[2]);
    r->gathers = gather != 0;
    r->batch = q[0];
    r->heads = q[1];
    r->kv_heads = k[1];
    r->nq = q[2];
    r->nk = k[2];
    r->d = q[3];
    r->d_v = r->t.v.tensor.size[3];
    r->segment = RAPT_MIN((uint64_t)segment, r->nq);
    r->segments = rapt_div_up(r->nq, r->segment);
    r->rows = r->segments * r->segment;
    if (!rapt_mul_u64(r->batch * r->heads, r->segments, &r->lines) || r->lines > MOST)
        return rapt_system_refuse(b, "%llu segments of %llu heads are too many", (unsigned long long)r->segments,
                                  (unsigned long long)(r->batch * r->heads));
    r->history = r->nk - r->nq + (r->segments - 1) * r->segment;
    return cut_tiles(b, r, (uint64_t)tile, (uint64_t)growth);
}

/* Rows of all batch entries and heads at even distances, one after the other: a pool of pages of one row. Else a copy. */
static bool pool(rapt_system_builder *b, const char *name, rapt_system_view x, rapt_system_view *to)
{
    const uint64_t *s = x.tensor.size;
    const int64_t *stride = x.tensor.stride;
    rapt_system_view even = x;
    if ((s[1] > 1 && stride[1] != (int64_t)s[2] * stride[2]) || (s[0] > 1 && stride[0] != (int64_t)(s[1] * s[2]) * stride[2])) {
        const rapt_system_term term = {x, 1, NULL};
        if (!rapt_system_between(b, name, x.tensor.dtype, 4, s, &even) ||
            !rapt_system_combine_step_add(b, "rows of all heads side by side", even, &term, 1))
            return false;
    }
    const int64_t row = even.tensor.stride[2];
    *to = shaped(even, 4, (const uint64_t[]){s[0] * s[1] * s[2], 1, 1, s[3]});
    for (unsigned axis = 0; axis < 3; axis++)
        to->tensor.stride[axis] = row;
    return true;
}

/* Room for the rows of a tile, in place of pools. */
static bool make_gathered(rapt_system_builder *b, ranked *r, uint64_t most)
{
    return rapt_system_between(b, "keys side by side", b->dtype, 4, (const uint64_t[]){r->batch, r->heads, r->segments * most, r->d}, &r->k) &&
           rapt_system_between(b, "values side by side", b->dtype, 4, (const uint64_t[]){r->batch, r->heads, r->segments * most, r->d_v}, &r->v) &&
           rapt_system_between(b, "keys there are", RAPT_I32, 4, (const uint64_t[]){r->batch, r->heads, r->segments, 1}, &r->lengths);
}

/* Queries with whole segments; what is behind the last one is anything, and so is what comes of it. */
static bool pad_queries(rapt_system_builder *b, ranked *r)
{
    rapt_system_view padded;
    const rapt_system_term term = {r->t.q, 1, NULL};
    if (!rapt_system_between(b, "q in segments", b->dtype, 4, (const uint64_t[]){r->batch, r->heads, r->rows, r->d}, &padded))
        return false;
    r->q = by_line(r, padded, r->d);
    return rapt_system_combine_step_add(b, "queries in segments", rapt_system_part(padded, 2, 0, r->nq), &term, 1) != NULL;
}

static bool make_room(rapt_system_builder *b, ranked *r)
{
    const uint64_t lines = r->batch * r->heads;
    uint64_t most = 0;
    for (uint64_t t = 0; t < r->tiles; t++)
        most = RAPT_MAX(most, r->tile[t]);
    if (r->gathers ? !make_gathered(b, r, most) : !pool(b, "pool of k", r->t.k, &r->k) || !pool(b, "pool of v", r->t.v, &r->v))
        return false;
    return rapt_system_between(b, "importance", RAPT_F32, 4, (const uint64_t[]){r->batch, r->heads, r->segments, r->nk}, &r->scores) &&
           rapt_system_between(b, "keys of a tile", RAPT_I32, 4, (const uint64_t[]){r->batch, r->heads, r->segments, most}, &r->list) &&
           rapt_system_between(b, "who reads on", RAPT_I32, 4, (const uint64_t[]){r->tiles, r->batch, r->heads, r->segments}, &r->go) &&
           rapt_system_between(b, "lse by tile", RAPT_F32, 4, (const uint64_t[]){r->tiles + 1, lines, r->rows, 2}, &r->pairs) &&
           rapt_system_between(b, "of a tile", b->dtype, 3, (const uint64_t[]){lines, r->rows, r->d_v}, &r->part) &&
           rapt_system_between(b, "so far", b->dtype, 4, (const uint64_t[]){2, lines, r->rows, r->d_v}, &r->acc);
}

/* Which pairs of a segment of queries and one of the last nq keys are one: those always taken. */
static bool mark_own(rapt_system_builder *b, const ranked *r, rapt_system_view *mask)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    rapt_system_view zeros;
    const uint64_t n = r->segments;
    if (!rapt_system_between(b, "zeros", RAPT_F32, 4, (const uint64_t[]){1, 1, n, 1}, &zeros) ||
        !rapt_system_between(b, "own segment", RAPT_I32, 4, (const uint64_t[]){1, 1, n, n}, mask) ||
        !rapt_system_fill(b, "zeros", zeros, r->scores, 0))
        return false;
    d.flags = RAPT_ROUTE_SCORES_GIVEN | RAPT_ROUTE_CAUSAL;
    d.nq = d.nk = r->nq;
    d.block_q = d.block_k = r->segment;
    d.top_k = d.always_last = 1;
    d.scores = shaped(zeros, 4, (const uint64_t[]){1, 1, n, n}).tensor;
    d.scores.stride[0] = d.scores.stride[1] = d.scores.stride[2] = 0; /* one line for all */
    d.mask = mask->tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "each segment's own keys", &d);
    if (s == NULL)
        return false;
    s->scores = zeros.at;
    s->mask = mask->at;
    return true;
}

/* Causal attention of each query to its own segment. */
static bool attend_own(rapt_system_builder *b, const ranked *r, rapt_system_view out, const rapt_system_view *lse)
{
    rapt_attention_desc d = r->attention;
    rapt_system_view mask;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    if (r->segments > 1 && !mark_own(b, r, &mask))
        return false;
    rapt_system_step *s = rapt_system_step_add(b, "causal attention to the own segment", &d, r->t.q,
                                               rapt_system_part(r->t.k, 2, r->nk - r->nq, r->nq),
                                               rapt_system_part(r->t.v, 2, r->nk - r->nq, r->nq), out, lse);
    if (s == NULL)
        return false;
    if (r->segments > 1) {
        rapt_system_give(&s->attention.block_mask, &s->block_mask, &mask);
        s->attention.block_q = s->attention.block_k = (uint32_t)r->segment;
    }
    return true;
}

/* Scores of a segment's mean query and each key. */
static bool rate(rapt_system_builder *b, const ranked *r)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    d.flags = r->attention.flags & RAPT_ATTENTION_SCALE ? RAPT_ROUTE_SCALE : 0;
    d.scale = r->attention.scale;
    d.q = r->t.q.tensor;
    d.k = r->t.k.tensor;
    d.scores = r->scores.tensor;
    d.block_q = r->segment;
    d.block_k = d.top_k = 1;
    rapt_system_step *s = rapt_system_route_step_add(b, "keys are rated by the mean query of a segment", &d);
    if (s == NULL)
        return false;
    s->q = r->t.q.at;
    s->k = r->t.k.at;
    s->scores = r->scores.at;
    return true;
}

/* The next most important keys before each segment, as pages of the pool; holes where there are no more. */
static bool choose_tile(rapt_system_builder *b, const ranked *r, uint64_t tile, uint64_t before, rapt_system_view *list)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    const uint64_t count = r->tile[tile];
    *list = shaped(r->list, 4, (const uint64_t[]){r->batch, r->heads, r->segments, count});
    d.flags = RAPT_ROUTE_SCORES_GIVEN | RAPT_ROUTE_CAUSAL;
    d.nq = r->rows;
    d.nk = r->nk;
    d.causal_offset = (int64_t)(r->rows - r->nq) - (int64_t)r->segment; /* up to where the segment begins */
    d.block_q = r->segment;
    d.block_k = 1;
    d.top_k = count;
    d.skip = before;
    d.scores = r->scores.tensor;
    d.list = list->tensor;
    d.list_heads = r->gathers ? 0 : r->kv_heads;
    rapt_system_step *s = rapt_system_route_step_add(b, "a tile of the most important keys left", &d);
    if (s == NULL)
        return false;
    s->scores = r->scores.at;
    s->list = list->at;
    *list = shaped(*list, 2, (const uint64_t[]){r->lines, count});
    return true;
}

/* Whether a segment reads on: to one of its queries this tile added at least `budget` of its weights before. */
static bool judge(rapt_system_builder *b, const ranked *r, uint64_t tile, rapt_system_view signs)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    const rapt_system_view pairs = by_head(r, rapt_system_part(r->pairs, 0, tile, 1), 2);
    const rapt_system_view go = shaped(rapt_system_part(r->go, 0, tile, 1), 4, (const uint64_t[]){r->batch, r->heads, r->segments, 1});
    d.flags = RAPT_ROUTE_SCALE;
    d.scale = 1;
    d.q = pairs.tensor; /* (lse of the tile, lse before) . (1, -1) */
    d.k = signs.tensor;
    d.mask = go.tensor;
    d.block_q = r->segment;
    d.block_k = 1;
    d.queries = RAPT_ROUTE_MAX_QUERY;
    d.select = RAPT_SELECT_THRESHOLD;
    d.threshold = logf(r->budget);
    rapt_system_step *s = rapt_system_route_step_add(b, "segments that still gain read on", &d);
    if (s == NULL)
        return false;
    s->q = pairs.at;
    s->k = signs.at;
    s->mask = go.at;
    return true;
}

/* The rows that a list names, (batch, heads, segments count, width). */
static bool gather(rapt_system_builder *b, const char *what, const ranked *r, rapt_system_view x, rapt_system_view list, rapt_system_view to)
{
    const uint64_t count = r->segments * list.tensor.size[1], width = x.tensor.size[3];
    return rapt_system_rows_step_add(b, what, RAPT_ROWS_GATHER, x, shaped(list, 3, (const uint64_t[]){r->batch, r->heads, count}),
                                     shaped(to, 4, (const uint64_t[]){r->batch, r->heads, count, width})) != NULL;
}

/* How many keys are left to each segment: the place of its first query among the keys, less those before the tile. It is the first of
 * its own places, if these are counted from there; none, which is -1, are no keys either. */
static bool count_left(rapt_system_builder *b, const ranked *r, uint64_t before)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    d.flags = RAPT_ROUTE_SCORES_GIVEN | RAPT_ROUTE_CAUSAL;
    d.nq = r->rows;
    d.nk = r->nk;
    d.causal_offset = (int64_t)(r->rows - r->nq) - (int64_t)before;
    d.block_q = r->segment;
    d.block_k = d.top_k = d.always_last = 1;
    d.scores = r->scores.tensor;
    d.list = r->lengths.tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "how many keys are left", &d);
    if (s == NULL)
        return false;
    s->scores = r->scores.at;
    s->list = r->lengths.at;
    return true;
}

/* Attention of every segment that reads on to its keys of a tile. */
static bool attend_tile(rapt_system_builder *b, const ranked *r, uint64_t tile, uint64_t before, rapt_system_view list)
{
    const uint64_t keys[4] = {r->lines, 1, r->tile[tile], r->d}, values[4] = {r->lines, 1, r->tile[tile], r->d_v};
    const rapt_system_view k = r->gathers ? shaped(r->k, 4, keys) : r->k, v = r->gathers ? shaped(r->v, 4, values) : r->v;
    if (r->gathers && (!gather(b, "keys of a tile", r, r->t.k, list, r->k) || !gather(b, "values of a tile", r, r->t.v, list, r->v) ||
                       !count_left(b, r, before)))
        return false;
    const rapt_system_view lse = number_of(r, tile, OF_TILE, true);
    rapt_system_step *s = rapt_system_step_add(b, "attention to a tile of keys", &r->attention, r->q, k, v,
                                               by_line(r, r->part, r->d_v), &lse);
    if (s == NULL)
        return false;
    if (r->gathers) {
        const rapt_system_view lengths = shaped(r->lengths, 1, (const uint64_t[]){r->lines});
        rapt_system_give(&s->attention.k_lengths, &s->k_lengths, &lengths);
    } else {
        rapt_system_give(&s->attention.block_table, &s->block_table, &list);
        s->attention.page_size = 1;
    }
    if (tile > 0 && r->budget > 0) {
        const rapt_system_view go = shaped(rapt_system_part(r->go, 0, tile - 1, 1), 4, (const uint64_t[]){r->lines, 1, 1, 1});
        rapt_system_give(&s->attention.block_mask, &s->block_mask, &go);
        s->attention.block_q = (uint32_t)r->segment;
        s->attention.block_k = (uint32_t)r->tile[tile];
    }
    return true;
}

/* What was so far and a tile's, under one softmax. */
static bool join_tile(rapt_system_builder *b, const ranked *r, uint64_t tile)
{
    const bool last = tile + 1 == r->tiles;
    const rapt_system_view before = number_of(r, tile, BEFORE, false), of_tile = number_of(r, tile, OF_TILE, false),
                           sum = last && r->t.has_lse ? r->t.lse : number_of(r, tile + 1, BEFORE, false);
    const rapt_system_term terms[] = {{by_head(r, rapt_system_part(r->acc, 0, tile % 2, 1), r->d_v), 1, &before},
                                      {by_head(r, r->part, r->d_v), 1, &of_tile}};
    const rapt_system_view to = last ? r->t.out : by_head(r, rapt_system_part(r->acc, 0, (tile + 1) % 2, 1), r->d_v);
    rapt_system_step *s = rapt_system_combine_step_add(b, "with all before it, under one softmax", to, terms, 2);
    if (s == NULL)
        return false;
    s->combine.weights = RAPT_COMBINE_SOFTMAX;
    rapt_system_give(&s->combine.lse, &s->lse, &sum);
    return true;
}

/* What each tile added to the weights of each query, as a share of those before. */
static bool tell_shares(rapt_system_builder *b, const ranked *r)
{
    rapt_system_view shares;
    const uint64_t lines = r->batch * r->heads;
    if (!rapt_system_new(b, RAPT_SYSTEM_OUT, "shares", RAPT_F32, 4, (const uint64_t[]){r->tiles, r->batch, r->heads, r->nq}, &shares))
        return false;
    if (r->tiles == 0)
        return true;
    shares = shaped(shares, 4, (const uint64_t[]){r->tiles, lines, r->nq, 1});
    rapt_system_view pair[2];
    for (unsigned n = 0; n < 2; n++)
        pair[n] = rapt_system_part(rapt_system_part(rapt_system_part(r->pairs, 0, 0, r->tiles), 2, 0, r->nq), 3, n, 1);
    const rapt_system_term terms[] = {{pair[OF_TILE], 1, NULL}, {pair[BEFORE], -1, NULL}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "shares of the tiles", shares, terms, 2);
    if (s == NULL)
        return false;
    s->combine.act = RAPT_COMBINE_ACT_EXP;
    return true;
}

bool rapt_system_ranked_keys(rapt_system_builder *b)
{
    ranked r;
    rapt_system_view signs, list, own_lse;
    if (!take_sizes(b, &r))
        return false;
    if (r.tiles == 0)
        return attend_own(b, &r, r.t.out, r.t.has_lse ? &r.t.lse : NULL) && (!rapt_system_wants(b, "shares") || tell_shares(b, &r));
    if (!make_room(b, &r) || !pad_queries(b, &r) || !rate(b, &r))
        return false;
    own_lse = number_of(&r, 0, BEFORE, false);
    if (!attend_own(b, &r, by_head(&r, rapt_system_part(r.acc, 0, 0, 1), r.d_v), &own_lse) ||
        !rapt_system_between(b, "signs", RAPT_F32, 4, (const uint64_t[]){1, 1, 1, 2}, &signs) ||
        !rapt_system_fill(b, "plus one", rapt_system_part(signs, 3, 0, 1), r.scores, 1) ||
        !rapt_system_fill(b, "minus one", rapt_system_part(signs, 3, 1, 1), r.scores, -1))
        return false;
    signs.tensor.size[0] = r.batch; /* the same for all, a stride of 0 */
    signs.tensor.stride[0] = 0;
    uint64_t before = 0;
    for (uint64_t tile = 0; tile < r.tiles; before += r.tile[tile++])
        if (!choose_tile(b, &r, tile, before, &list) || !attend_tile(b, &r, tile, before, list) || !join_tile(b, &r, tile) ||
            (tile + 1 < r.tiles && r.budget > 0 && !judge(b, &r, tile, signs)))
            return false;
    return !rapt_system_wants(b, "shares") || tell_shares(b, &r);
}

/* ---- DeltaLLM ---- */

/* Keys as a sequence whose small changes count as none: given, or made here. */
static bool hold_keys(rapt_system_builder *b, rapt_system_view k, rapt_system_view any, rapt_system_view *held)
{
    rapt_scan_desc d = RAPT_SCAN_DESC_INIT;
    rapt_system_view least;
    float threshold = 0;
    const uint64_t *s = k.tensor.size;
    if (rapt_system_given(b, "held"))
        return rapt_system_in_sized(b, "held", 4, s, held);
    if (!rapt_system_number(b, "threshold", &threshold))
        return false;
    if (!(threshold >= 0))
        return rapt_system_refuse(b, "parameter 'threshold' is %g; at least 0 is needed", (double)threshold);
    if (!rapt_system_new(b, rapt_system_wants(b, "held_keys") ? RAPT_SYSTEM_OUT : RAPT_SYSTEM_BETWEEN, "held_keys", b->dtype, 4, s, held) ||
        !rapt_system_between(b, "least change", RAPT_F32, 4, (const uint64_t[]){1, 1, s[3], 1}, &least) ||
        !rapt_system_fill(b, "least change", least, any, threshold))
        return false;
    rapt_system_step *step = rapt_system_scan_step_add(b, "keys are held until they change", &d, k, *held);
    if (step == NULL)
        return false;
    step->scan.op = RAPT_SCAN_HOLD;
    least = rapt_system_ranked(least, 2, (const int[]){1, 2, -1, -1}); /* the same for all heads */
    rapt_system_give(&step->scan.a, &step->a, &least);
    return true;
}

/* Keys of a window as they are, those before it as they are held. */
bool rapt_system_held_keys(rapt_system_builder *b)
{
    enum { NEAR, FAR, PARTS };
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view held, part[PARTS], lse[PARTS];
    int64_t window = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "window", 1, MOST, &window))
        return false;
    const uint64_t *q = t.q.tensor.size, kv = t.k.tensor.size[1];
    if (kv == 0 || q[1] % kv != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads", (unsigned long long)q[1], (unsigned long long)kv);
    if (!rapt_system_between(b, "of the window", b->dtype, 4, t.out.tensor.size, &part[NEAR]) ||
        !rapt_system_between(b, "of what is before it", b->dtype, 4, t.out.tensor.size, &part[FAR]) ||
        !rapt_system_between(b, "lse of the window", RAPT_F32, 3, t.out.tensor.size, &lse[NEAR]) ||
        !rapt_system_between(b, "lse of what is before it", RAPT_F32, 3, t.out.tensor.size, &lse[FAR]) ||
        !hold_keys(b, t.k, lse[NEAR], &held))
        return false;
    rapt_attention_desc near = d, far = d;
    near.flags |= RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW;
    near.window_left = window - 1;
    near.window_right = -1;
    far.flags |= RAPT_ATTENTION_CAUSAL;
    far.causal_offset = -window;
    const rapt_system_term terms[] = {{part[NEAR], 1, &lse[NEAR]}, {part[FAR], 1, &lse[FAR]}};
    if (!rapt_system_step_add(b, "causal attention to the window", &near, t.q, t.k, t.v, part[NEAR], &lse[NEAR]) ||
        !rapt_system_step_add(b, "attention to held keys before it", &far, t.q, held, t.v, part[FAR], &lse[FAR]))
        return false;
    rapt_system_step *s = rapt_system_combine_step_add(b, "both under one softmax", t.out, terms, PARTS);
    if (s == NULL)
        return false;
    s->combine.weights = RAPT_COMBINE_SOFTMAX;
    if (t.has_lse)
        rapt_system_give(&s->combine.lse, &s->lse, &t.lse);
    return true;
}
