/* Systems that know keys at several grains: pyramids of means, chunks of any length. */
#include "system/system.h"

#include <math.h>
#include <string.h>

enum { MOST_LEVELS = 4, MOST = 1 << 29 };

/* ---- Pyramid Sparse Attention ---- */

/* Key blocks that a finer level has taken. */
static const char finer_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                 "{\n"
                                 "    uint tiles = uint(user_f(2)), blocks = uint(user_f(3));\n"
                                 "    return finer(((b * uint(user_f(4)) + h) * tiles + q / uint(user_f(0))) * blocks + k / uint(user_f(1))) == 0;\n"
                                 "}\n";

typedef struct pyramid {
    rapt_system_qkv t;
    rapt_attention_desc attention;
    rapt_system_view scores, mask[MOST_LEVELS], part[MOST_LEVELS], lse[MOST_LEVELS];
    uint64_t block, tiles, blocks, most[MOST_LEVELS]; /* key blocks down to a level */
    uint32_t levels;
} pyramid;

static bool take_pyramid(rapt_system_builder *b, pyramid *p)
{
    static const char *const masks[] = {"level 1", "levels 1 to 2", "levels 1 to 3", "levels 1 to 4"},
                            *const parts[] = {"of level 1", "of level 2", "of level 3", "of level 4"},
                            *const sums[] = {"lse 1", "lse 2", "lse 3", "lse 4"};
    float share[MOST_LEVELS], sum = 0;
    int64_t block = 1;
    *p = (pyramid){.attention = RAPT_ATTENTION_DESC_INIT};
    if (!rapt_system_qkv_take(b, &p->t) || !rapt_system_common(b, &p->attention) || !rapt_system_integer(b, "block", 1, MOST, &block) ||
        !rapt_system_numbers(b, "quota", share, MOST_LEVELS, &p->levels))
        return false;
    const uint64_t *q = p->t.q.tensor.size, nk = p->t.k.tensor.size[2], kv = p->t.k.tensor.size[1], pooled = 1ull << (p->levels - 1);
    p->block = (uint64_t)block;
    if (q[0] == 0 || q[2] == 0 || nk == 0 || kv == 0 || q[1] % kv != 0 || nk % pooled != 0 || p->block % pooled != 0 || q[2] > 1 << 23)
        return rapt_system_refuse(b, "%llu queries and %llu keys in blocks of %llu: kv heads that divide the query heads, and keys and blocks "
                                  "of whole means of %llu are needed", (unsigned long long)q[2], (unsigned long long)nk,
                                  (unsigned long long)p->block, (unsigned long long)pooled);
    p->tiles = rapt_div_up(q[2], p->block);
    p->blocks = rapt_div_up(nk, p->block);
    const uint64_t shape[4] = {q[0], q[1], p->tiles, p->blocks};
    for (uint32_t l = 0; l < p->levels; l++) {
        sum += share[l];
        if (!(share[l] >= 0) || sum > 1.0001f)
            return rapt_system_refuse(b, "parameter 'quota' must be shares that add up to at most 1");
        p->most[l] = RAPT_MIN((uint64_t)lroundf(sum * (float)p->blocks), p->blocks);
        if (!rapt_system_between(b, masks[l], RAPT_I32, 4, shape, &p->mask[l]) ||
            !rapt_system_between(b, parts[l], b->dtype, 4, p->t.out.tensor.size, &p->part[l]) ||
            !rapt_system_between(b, sums[l], RAPT_F32, 3, p->t.out.tensor.size, &p->lse[l]))
            return false;
    }
    return rapt_system_given(b, "scores") ? rapt_system_in_f32(b, "scores", 4, shape, &p->scores)
                                          : rapt_system_between(b, "importance", RAPT_F32, 4, shape, &p->scores);
}

/* Scores of pairs of blocks, where they are not given, and the blocks of largest score down to each level. */
static bool choose_levels(rapt_system_builder *b, const pyramid *p)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    d.nq = p->t.q.tensor.size[2];
    d.nk = p->t.k.tensor.size[2];
    d.block_q = d.block_k = p->block;
    d.scores = p->scores.tensor;
    for (uint32_t l = 0; l < p->levels; l++) {
        rapt_route_desc one = d;
        const bool made = l == 0 && !rapt_system_given(b, "scores");
        if (made) {
            one.q = p->t.q.tensor;
            one.k = p->t.k.tensor;
        } else {
            one.flags = RAPT_ROUTE_SCORES_GIVEN;
        }
        one.mask = p->mask[l].tensor;
        one.top_k = RAPT_MAX(p->most[l], 1);
        rapt_system_step *s = rapt_system_route_step_add(b, "blocks down to a level", &one);
        if (s == NULL)
            return false;
        if (made) {
            s->q = p->t.q.at;
            s->k = p->t.k.at;
        }
        s->scores = p->scores.at;
        s->mask = p->mask[l].at;
    }
    return true;
}

/* Means of 2^level rows, in the type of all; they lie where those of the level before were. */
static bool pool(rapt_system_builder *b, const char *single, const char *name, rapt_system_view x, unsigned level, rapt_system_view *to)
{
    *to = x;
    if (level == 0)
        return true;
    const uint64_t *s = x.tensor.size, shape[4] = {s[0], s[1], s[2] / 2, s[3]}, count = s[2] >> level;
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    if (!rapt_system_between(b, single, RAPT_F32, 4, shape, to))
        return false;
    *to = rapt_system_part(*to, 2, 0, count);
    d.k = x.tensor;
    d.summary = to->tensor;
    d.block_q = d.top_k = 1;
    d.block_k = 1ull << level;
    rapt_system_step *step = rapt_system_route_step_add(b, "means", &d);
    if (step == NULL)
        return false;
    step->k = x.at;
    step->summary = to->at;
    const rapt_system_view means = *to;
    if (b->dtype == RAPT_F32)
        return true;
    if (!rapt_system_between(b, name, b->dtype, 4, shape, to))
        return false;
    *to = rapt_system_part(*to, 2, 0, count);
    return rapt_system_map(b, "in the type of all", *to, means, 1, 0, RAPT_COMBINE_ACT_NONE);
}

/* Attention to the means of one level, each of which counts as all that it is the mean of. */
static bool attend_level(rapt_system_builder *b, const pyramid *p, unsigned l, rapt_system_view *lse)
{
    static const char *const counted[] = {"", "lse of twos", "lse of fours", "lse of eights"};
    rapt_attention_desc d = p->attention;
    rapt_system_view k, v;
    d.block_q = (uint32_t)p->block;
    d.block_k = (uint32_t)(p->block >> l);
    const bool excludes = l > 0 && p->most[l - 1] > 0;
    if (excludes) {
        d.mask_mod[0] = finer_mask;
        d.user_constants[0] = (float)d.block_q;
        d.user_constants[1] = (float)d.block_k;
        d.user_constants[2] = (float)p->tiles;
        d.user_constants[3] = (float)p->blocks;
        d.user_constants[4] = (float)p->t.q.tensor.size[1];
    }
    if (!pool(b, "means of k, single", "means of k", p->t.k, l, &k) || !pool(b, "means of v, single", "means of v", p->t.v, l, &v))
        return false;
    rapt_system_step *s = rapt_system_step_add(b, "attention to a level", &d, p->t.q, k, v, p->part[l], &p->lse[l]);
    if (s == NULL)
        return false;
    rapt_system_give(&s->attention.block_mask, &s->block_mask, &p->mask[l]);
    *lse = p->lse[l];
    if (excludes) {
        s->attention.user[0] = (rapt_user_buffer){"finer", RAPT_I32, rapt_tensor_bytes(&p->mask[l - 1].tensor) / 4};
        s->user[0] = p->mask[l - 1].at;
    }
    if (l == 0)
        return true;
    static const int numbers[] = {0, 1, 2, -1};
    if (!rapt_system_between(b, counted[l], RAPT_F32, 3, p->t.out.tensor.size, lse))
        return false;
    return rapt_system_map(b, "a mean counts as all of its keys", rapt_system_axes(*lse, numbers), rapt_system_axes(p->lse[l], numbers), 1,
                           (float)l * 0.69314718f, RAPT_COMBINE_ACT_NONE);
}

/* Parts over disjoint keys under one softmax, and its logarithm unless that is NULL. */
static bool merge(rapt_system_builder *b, const rapt_system_view *part, const rapt_system_view *lse, uint32_t count, rapt_system_view out,
                  const rapt_system_view *out_lse)
{
    rapt_system_term terms[RAPT_COMBINE_TERMS];
    for (uint32_t l = 0; l < count; l++)
        terms[l] = (rapt_system_term){part[l], 1, &lse[l]};
    rapt_system_step *s = rapt_system_combine_step_add(b, "levels under one softmax", out, terms, count);
    if (s == NULL)
        return false;
    s->combine.weights = RAPT_COMBINE_SOFTMAX;
    if (out_lse != NULL)
        rapt_system_give(&s->combine.lse, &s->lse, out_lse);
    return true;
}

bool rapt_system_pyramid(rapt_system_builder *b)
{
    pyramid p;
    rapt_system_view part[MOST_LEVELS], lse[MOST_LEVELS], joined, joined_lse;
    uint32_t count = 0;
    if (!take_pyramid(b, &p) || !choose_levels(b, &p))
        return false;
    for (uint32_t l = 0; l < p.levels; l++) {
        if (p.most[l] == (l > 0 ? p.most[l - 1] : 0))
            continue; /* nothing is left for it */
        if (!attend_level(b, &p, l, &lse[count]))
            return false;
        part[count++] = p.part[l];
    }
    if (count == 0)
        return rapt_system_refuse(b, "parameter 'quota' leaves no block");
    const rapt_system_view *const all = p.t.has_lse ? &p.t.lse : NULL;
    if (count <= RAPT_COMBINE_TERMS)
        return merge(b, part, lse, count, p.t.out, all);
    if (!rapt_system_between(b, "three levels", b->dtype, 4, p.t.out.tensor.size, &joined) ||
        !rapt_system_between(b, "their lse", RAPT_F32, 3, p.t.out.tensor.size, &joined_lse))
        return false;
    const rapt_system_view last[] = {joined, part[3]}, last_lse[] = {joined_lse, lse[3]};
    return merge(b, part, lse, RAPT_COMBINE_TERMS, joined, &joined_lse) && merge(b, last, last_lse, 2, p.t.out, all);
}

/* ---- DHSA ---- */

/* What stands for the chunk of each row of x: sqrt(length) times the mean of its rows. */
static bool of_chunks(rapt_system_builder *b, const char *const names[4], rapt_system_view x, rapt_system_view list, rapt_system_view roots,
                      uint64_t chunks, rapt_system_view *to)
{
    const uint64_t *s = x.tensor.size, shape[4] = {s[0], s[1], chunks, s[3]};
    rapt_system_view single, means, scaled;
    if (!rapt_system_single(b, names[0], x, &single) || !rapt_system_between(b, names[1], RAPT_F32, 4, shape, &means) ||
        !rapt_system_between(b, names[2], RAPT_F32, 4, shape, &scaled) || !rapt_system_between(b, names[3], RAPT_F32, 4, s, to))
        return false;
    rapt_system_step *step = rapt_system_rows_step_add(b, "means of chunks", RAPT_ROWS_SCATTER_MEAN, single, list, means);
    if (step == NULL)
        return false;
    step->rows.runs = s[2];
    return rapt_system_weigh(b, "times the root of their length", scaled, means, roots, 1, RAPT_COMBINE_ACT_NONE) &&
           rapt_system_rows_step_add(b, "each token's chunk", RAPT_ROWS_GATHER, scaled, list, *to) != NULL;
}

/* Chunks of any length, given; each query keeps the tokens whose chunks are most like its own. */
bool rapt_system_length_scaled_chunks(rapt_system_builder *b)
{
    static const char *const of_q[] = {"q single", "means of q", "chunks of q", "chunk of each q"},
                            *const of_k[] = {"k single", "means of k", "chunks of k", "chunk of each k"};
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_system_view chunk, list, ones, lengths, roots, q, k, mask;
    int64_t chunks = 1, budget = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "chunks", 1, MOST, &chunks) ||
        !rapt_system_integer(b, "budget", 1, MOST, &budget))
        return false;
    const uint64_t *s = t.q.tensor.size, n = s[2], kv = t.k.tensor.size[1];
    if (s[0] == 0 || n == 0 || n != t.k.tensor.size[2] || kv == 0 || s[1] % kv != 0)
        return rapt_system_refuse(b, "as many queries as keys, and kv heads that divide the query heads, are needed");
    const uint64_t numbers[4] = {s[0], 1, (uint64_t)chunks, 1}, pairs[4] = {s[0], s[1], n, n};
    if (!rapt_system_in_i32(b, "chunk", 2, (const uint64_t[]){s[0], n}, &chunk) ||
        !rapt_system_between(b, "ones", RAPT_F32, 4, (const uint64_t[]){s[0], 1, n, 1}, &ones) ||
        !rapt_system_between(b, "lengths", RAPT_F32, 4, numbers, &lengths) || !rapt_system_between(b, "roots", RAPT_F32, 4, numbers, &roots) ||
        !rapt_system_between(b, "mask", RAPT_I32, 4, pairs, &mask))
        return false;
    list = rapt_system_ranked(chunk, 3, (const int[]){0, -1, 1, -1});
    rapt_system_view any = t.q;
    if (!rapt_system_single(b, of_q[0], t.q, &any) || !rapt_system_fill(b, "ones", ones, any, 1))
        return false;
    rapt_system_step *step = rapt_system_rows_step_add(b, "lengths of chunks", RAPT_ROWS_SCATTER, ones, list, lengths);
    if (step == NULL)
        return false;
    step->rows.runs = n;
    if (!rapt_system_map(b, "their roots", roots, lengths, 1, 0, RAPT_COMBINE_ACT_SQRT) ||
        !of_chunks(b, of_q, any, list, roots, (uint64_t)chunks, &q) || !of_chunks(b, of_k, t.k, list, roots, (uint64_t)chunks, &k))
        return false;
    route.flags = RAPT_ROUTE_CAUSAL;
    route.q = q.tensor;
    route.k = k.tensor;
    route.mask = mask.tensor;
    route.block_q = route.block_k = 1;
    route.top_k = (uint64_t)budget;
    step = rapt_system_route_step_add(b, "tokens of the most similar chunks", &route);
    if (step == NULL)
        return false;
    step->q = q.at;
    step->k = k.at;
    step->mask = mask.at;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    step = rapt_system_step_add(b, "causal attention to these", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    if (step == NULL)
        return false;
    rapt_system_give(&step->attention.block_mask, &step->block_mask, &mask);
    step->attention.block_q = step->attention.block_k = 1;
    return true;
}
