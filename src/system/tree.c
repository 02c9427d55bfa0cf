/* Systems that search for keys from coarse to fine: chunks in halves, blocks in frames, pages in larger pages. */
#include "system/system.h"

enum { MOST = 1 << 29 };

/* A search: the mask of the last step, which the next is made within. Masks of two steps lie in turn in two tensors. */
typedef struct search {
    rapt_system_view q, k, room[2], mask;
    uint64_t block_q, tiles, block; /* keys of a block of the last step; 0: there was none */
    unsigned steps;
} search;

static bool search_begin(rapt_system_builder *b, search *s, rapt_system_view q, rapt_system_view k, uint64_t block_q, uint64_t finest)
{
    static const char *const names[] = {"mask", "mask of the step before"};
    *s = (search){.q = q, .k = k, .block_q = block_q, .tiles = rapt_div_up(q.tensor.size[2], block_q)};
    const uint64_t shape[4] = {q.tensor.size[0], q.tensor.size[1], s->tiles, rapt_div_up(k.tensor.size[2], finest)};
    if (k.tensor.size[1] == 0 || q.tensor.size[1] % k.tensor.size[1] != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads", (unsigned long long)q.tensor.size[1],
                                  (unsigned long long)k.tensor.size[1]);
    for (int n = 0; n < 2; n++)
        if (!rapt_system_between(b, names[n], RAPT_I32, 4, shape, &s->room[n]))
            return false;
    return true;
}

/* One step, of blocks that divide those of the step before; base: how blocks are scored and chosen. */
static bool search_step(rapt_system_builder *b, const char *what, search *s, const rapt_route_desc *base, uint64_t block)
{
    rapt_route_desc d = *base;
    rapt_system_view mask = s->room[s->steps % 2];
    rapt_tensor *t = &mask.tensor;
    t->size[3] = rapt_div_up(s->k.tensor.size[2], block); /* without gaps, from the begin of the tensor */
    for (int axis = 2; axis >= 0; axis--)
        t->stride[axis] = t->stride[axis + 1] * (int64_t)t->size[axis + 1];
    d.q = s->q.tensor;
    d.k = s->k.tensor;
    d.block_q = s->block_q;
    d.block_k = block;
    d.mask = mask.tensor;
    if (s->steps > 0) {
        d.within = s->mask.tensor;
        d.within_blocks = s->block / block;
    }
    rapt_system_step *step = rapt_system_route_step_add(b, what, &d);
    if (step == NULL)
        return false;
    step->q = s->q.at;
    step->k = s->k.at;
    step->mask = mask.at;
    if (s->steps > 0)
        step->within = s->mask.at;
    s->mask = mask;
    s->block = block;
    s->steps++;
    return true;
}

/* Attention to what a mask of blocks leaves. */
static bool attend(rapt_system_builder *b, const char *what, const rapt_attention_desc *base, const rapt_system_qkv *t, rapt_system_view mask,
                   uint64_t block_q, uint64_t block_k)
{
    rapt_system_step *step = rapt_system_step_add(b, what, base, t->q, t->k, t->v, t->out, t->has_lse ? &t->lse : NULL);
    if (step == NULL)
        return false;
    rapt_system_give(&step->attention.block_mask, &step->block_mask, &mask);
    step->attention.block_q = (uint32_t)block_q;
    step->attention.block_k = (uint32_t)block_k;
    return true;
}

/* HiP: chunks are halved, the middle key of each half speaks for it, and the best halves go on. */
bool rapt_system_halving(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    int64_t block_q = 1, block_k = 1, top = 1;
    search s;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "block_q", 1, MOST, &block_q) ||
        !rapt_system_integer(b, "block_k", 1, MOST, &block_k) || !rapt_system_integer(b, "top", 1, MOST, &top))
        return false;
    if (top < block_k || top % block_k != 0)
        return rapt_system_refuse(b, "parameter 'top' is %lld; a multiple of block_k, %lld, is needed", (long long)top, (long long)block_k);
    const uint64_t nk = t.k.tensor.size[2], kept = (uint64_t)(top / block_k);
    d.flags |= RAPT_ATTENTION_CAUSAL;
    if (nk <= (uint64_t)top)
        return rapt_system_step_add(b, "causal attention, few keys", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL) != NULL;
    if (!search_begin(b, &s, t.q, t.k, (uint64_t)block_q, (uint64_t)block_k))
        return false;
    uint64_t size = (uint64_t)block_k;
    while (size < MOST && rapt_div_up(nk, size) > kept)
        size *= 2; /* so long are the chunks that all take part at first */
    route.flags = RAPT_ROUTE_CAUSAL;
    route.summarise = RAPT_SUMMARY_LANDMARK;
    route.queries = RAPT_ROUTE_MAX_QUERY;
    route.top_k = kept;
    for (size /= 2; size >= (uint64_t)block_k; size /= 2) {
        route.landmark = size / 2;
        if (!search_step(b, "the best halves", &s, &route, size))
            return false;
    }
    return attend(b, "causal attention to the blocks left", &d, &t, s.mask, s.block_q, s.block);
}

/* Light Forcing: the best frames, then the best blocks in them, and the latest. */
bool rapt_system_frames_then_blocks(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    int64_t frame = 1, frames = 1, block = 1, top = 1, local = 0;
    search s;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "frame", 1, MOST, &frame) ||
        !rapt_system_integer(b, "frames", 1, MOST, &frames) || !rapt_system_integer(b, "block", 1, MOST, &block) ||
        !rapt_system_integer(b, "top", 1, MOST, &top) || !rapt_system_integer(b, "local", 0, MOST, &local))
        return false;
    if (frame % block != 0)
        return rapt_system_refuse(b, "frames of %lld tokens are not whole blocks of %lld", (long long)frame, (long long)block);
    if (!search_begin(b, &s, t.q, t.k, (uint64_t)block, (uint64_t)block))
        return false;
    route.top_k = (uint64_t)frames;
    if (!search_step(b, "frames are chosen", &s, &route, (uint64_t)frame))
        return false;
    route.top_k = (uint64_t)top + (uint64_t)local;
    route.always_last = (uint64_t)local;
    return search_step(b, "blocks in them are chosen", &s, &route, (uint64_t)block) &&
           attend(b, "attention to these", &d, &t, s.mask, s.block_q, s.block);
}

/* ---- LServe ---- */

/* Heads [first, first + count) of what has query heads, and their kv heads. */
static rapt_system_qkv heads_of(const rapt_system_qkv *t, uint64_t first, uint64_t count)
{
    const uint64_t group = t->q.tensor.size[1] / t->k.tensor.size[1];
    return (rapt_system_qkv){.q = rapt_system_part(t->q, 1, first * group, count * group),
                             .k = rapt_system_part(t->k, 1, first, count),
                             .v = rapt_system_part(t->v, 1, first, count),
                             .out = rapt_system_part(t->out, 1, first * group, count * group)};
}

/* A page's score is the highest of its logical pages', each a bound of its keys' scores by their smallest and largest elements. */
static bool choose_pages(rapt_system_builder *b, const rapt_system_qkv *t, uint64_t page, uint64_t logical, uint64_t top, rapt_system_view *mask)
{
    const uint64_t *q = t->q.tensor.size, kv = t->k.tensor.size[1], nk = t->k.tensor.size[2], each = page / logical, pages = rapt_div_up(nk, page),
                   all = rapt_div_up(nk, logical);
    const uint64_t padded[4] = {q[0] * kv, pages, each, 1}, shape[4] = {q[0], kv, 1, pages}, chosen[4] = {q[0], q[1], 1, pages};
    rapt_system_view bounds, highest, scores;
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    if (!rapt_system_between(b, "bounds", RAPT_F32, 4, padded, &bounds) || !rapt_system_between(b, "highest", RAPT_F32, 4, padded, &highest) ||
        !rapt_system_between(b, "scores of pages", RAPT_F32, 4, shape, &scores) || !rapt_system_between(b, "mask", RAPT_I32, 4, chosen, mask))
        return false;
    rapt_system_view flat = bounds; /* without the last page's missing parts */
    flat.tensor.size[0] = q[0];
    flat.tensor.size[1] = kv;
    flat.tensor.size[2] = 1;
    flat.tensor.size[3] = all;
    flat.tensor.stride[0] = (int64_t)(kv * pages * each);
    flat.tensor.stride[1] = flat.tensor.stride[2] = (int64_t)(pages * each);
    if (!rapt_system_fill(b, "less than any bound", bounds, highest, -3e38f))
        return false;
    d.q = t->q.tensor;
    d.k = t->k.tensor;
    d.scores = flat.tensor;
    d.block_q = d.top_k = 1;
    d.block_k = logical;
    d.summarise = RAPT_SUMMARY_MIN_MAX;
    d.heads = RAPT_ROUTE_GROUP_MAX;
    rapt_system_step *s = rapt_system_route_step_add(b, "bounds of logical pages", &d);
    if (s == NULL)
        return false;
    s->q = t->q.at;
    s->k = t->k.at;
    s->scores = flat.at;
    const rapt_scan_desc scan = {.struct_size = sizeof scan, .op = RAPT_SCAN_MAX};
    rapt_system_view last = rapt_system_part(highest, 2, each - 1, 1), to = scores;
    to.tensor = last.tensor;
    to.tensor.stride[0] = (int64_t)pages;
    to.tensor.stride[1] = to.tensor.stride[2] = to.tensor.stride[3] = 1;
    if (!rapt_system_scan_step_add(b, "the highest of each page", &scan, bounds, highest) ||
        !rapt_system_map(b, "side by side", to, last, 1, 0, RAPT_COMBINE_ACT_NONE))
        return false;
    d = (rapt_route_desc)RAPT_ROUTE_DESC_INIT;
    d.flags = RAPT_ROUTE_SCORES_GIVEN;
    d.nq = d.block_q = 1;
    d.nk = nk;
    d.block_k = page;
    d.top_k = top;
    d.always_first = d.always_last = 1;
    d.scores = scores.tensor;
    d.mask = mask->tensor;
    s = rapt_system_route_step_add(b, "pages are chosen", &d);
    if (s == NULL)
        return false;
    s->scores = scores.at;
    s->mask = mask->at;
    return true;
}

/* A decode step: the first kv heads read pages of their choice, the others sinks and the latest keys. */
bool rapt_system_pages_or_stream(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view mask;
    int64_t page = 1, logical = 1, budget = 1, streaming = 0, sinks = 0, recent = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "page", 1, MOST, &page) ||
        !rapt_system_integer(b, "logical", 1, MOST, &logical) || !rapt_system_integer(b, "budget", 1, MOST, &budget) ||
        !rapt_system_integer(b, "sinks", 0, MOST, &sinks) || !rapt_system_integer(b, "recent", 1, MOST, &recent))
        return false;
    const uint64_t *q = t.q.tensor.size, kv = t.k.tensor.size[1], nk = t.k.tensor.size[2];
    if (q[0] == 0 || kv == 0 || q[1] % kv != 0 || q[2] != 1 || nk == 0)
        return rapt_system_refuse(b, "one query, keys, and kv heads that divide the query heads are needed");
    if (page % logical != 0 || !rapt_system_integer(b, "streaming", 0, (int64_t)RAPT_MIN(kv, MOST), &streaming))
        return b->error->status != RAPT_OK ? false : rapt_system_refuse(b, "pages of %lld keys are not whole logical pages of %lld",
                                                                        (long long)page, (long long)logical);
    const uint64_t reading = kv - (uint64_t)streaming;
    if (reading > 0) {
        const rapt_system_qkv part = heads_of(&t, 0, reading);
        if (!choose_pages(b, &part, (uint64_t)page, (uint64_t)logical, rapt_div_up((uint64_t)budget, (uint64_t)page), &mask) ||
            !attend(b, "attention to the pages", &d, &part, mask, 1, (uint64_t)page))
            return false;
    }
    if (streaming == 0)
        return true;
    const rapt_system_qkv part = heads_of(&t, reading, (uint64_t)streaming);
    d.flags |= RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW;
    d.window_left = recent - 1;
    d.window_right = -1;
    d.sink_tokens = (uint64_t)sinks;
    return rapt_system_step_add(b, "streaming heads", &d, part.q, part.k, part.v, part.out, NULL) != NULL;
}
