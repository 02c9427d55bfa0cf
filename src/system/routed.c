/* Systems that choose, on the device, what each query attends to. */
#include "system/system.h"

/* The mask that a route step writes and attention reads. */
static bool new_mask(rapt_system_builder *b, rapt_route_desc *d, rapt_system_view *mask)
{
    const uint64_t tiles = rapt_div_up(d->q.size[2], d->block_q), blocks = rapt_div_up(d->k.size[2], d->block_k);
    const uint64_t shape[4] = {d->q.size[0], d->q.size[1], tiles, blocks};
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "mask", RAPT_I32, 4, shape, mask))
        return false;
    d->mask = mask->tensor;
    return true;
}

/* Blocks are chosen, then attended to. */
static bool route_then_attend(rapt_system_builder *b, const rapt_system_qkv *t, rapt_route_desc *route,
                              const rapt_attention_desc *attention, const char *what)
{
    rapt_system_view mask;
    route->q = t->q.tensor;
    route->k = t->k.tensor;
    if (t->q.tensor.size[1] == 0 || t->k.tensor.size[1] == 0 || t->q.tensor.size[1] % t->k.tensor.size[1] != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads",
                                  (unsigned long long)t->q.tensor.size[1], (unsigned long long)t->k.tensor.size[1]);
    if (!new_mask(b, route, &mask))
        return false;
    rapt_system_step *s = rapt_system_route_step_add(b, "blocks are chosen", route);
    if (s == NULL)
        return false;
    s->q = t->q.at;
    s->k = t->k.at;
    s->mask = mask.at;
    s = rapt_system_step_add(b, what, attention, t->q, t->k, t->v, t->out, t->has_lse ? &t->lse : NULL);
    if (s == NULL)
        return false;
    s->block_mask = mask.at;
    s->attention.block_mask = mask.tensor;
    s->attention.block_q = (uint32_t)route->block_q;
    s->attention.block_k = (uint32_t)route->block_k;
    return true;
}

/* MoBA: the own block, and the past blocks whose mean key is nearest. */
bool rapt_system_moba(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    int64_t block = 1, top = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "block", 1, 1 << 29, &block) || !rapt_system_integer(b, "top", 1, 1 << 29, &top))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    route.flags = RAPT_ROUTE_CAUSAL;
    route.block_q = 1;
    route.block_k = (uint64_t)block;
    route.top_k = (uint64_t)top;
    route.always_last = 1;
    return route_then_attend(b, &t, &route, &d, "causal attention to the chosen blocks");
}

/* Each query keeps its best keys, and attends to these alone. */
bool rapt_system_top_keys(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    int64_t top = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "top", 1, 1 << 29, &top))
        return false;
    route.block_q = route.block_k = 1;
    route.top_k = (uint64_t)top;
    return route_then_attend(b, &t, &route, &d, "attention to the chosen keys");
}

/* A number for each key and kv head, contiguous, as the scores of `tiles` tiles of queries, the same for all. */
static bool take_scores(rapt_system_builder *b, const char *name, const rapt_system_qkv *t, uint64_t tiles, rapt_route_desc *route,
                        rapt_system_view *scores)
{
    const rapt_tensor *q = &t->q.tensor, *k = &t->k.tensor;
    if (!rapt_system_in_f32(b, name, 3, k->size, scores))
        return false;
    if (k->size[1] == 0 || q->size[1] % k->size[1] != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads", (unsigned long long)q->size[1],
                                  (unsigned long long)k->size[1]);
    route->flags |= RAPT_ROUTE_SCORES_GIVEN;
    route->nq = q->size[2];
    route->nk = k->size[2];
    if (route->nq == 0 || route->nk == 0)
        return rapt_system_refuse(b, "%s is empty", route->nq == 0 ? "q" : "k");
    if (scores->tensor.size[2] > 1 && scores->tensor.stride[2] != 1)
        return rapt_system_refuse(b, "input '%s': the numbers of a head must lie side by side", name);
    route->scores = (rapt_tensor){.dtype = RAPT_F32,
                                  .rank = 4,
                                  .size = {k->size[0], k->size[1], tiles, k->size[2]},
                                  .stride = {scores->tensor.stride[0], scores->tensor.stride[1], 0, 1},
                                  .align = 4};
    return true;
}

/* Blocks are chosen by scores that are given. */
static bool choose_by_scores(rapt_system_builder *b, const rapt_system_qkv *t, rapt_route_desc *route, rapt_system_view scores,
                             rapt_system_view *mask)
{
    const uint64_t shape[4] = {t->q.tensor.size[0], t->q.tensor.size[1], route->scores.size[2], route->scores.size[3]};
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "mask", RAPT_I32, 4, shape, mask))
        return false;
    route->mask = mask->tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "keys are chosen", route);
    if (s == NULL)
        return false;
    s->scores = scores.at;
    s->mask = mask->at;
    return true;
}

static void use_mask(rapt_system_step *s, rapt_system_view mask, const rapt_route_desc *route)
{
    s->block_mask = mask.at;
    s->attention.block_mask = mask.tensor;
    s->attention.block_q = (uint32_t)route->block_q;
    s->attention.block_k = (uint32_t)route->block_k;
}

/* Attention-Gate: keys that the gate lets live, and the first ones. All queries of a head see the same keys. */
bool rapt_system_kept_keys(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_view keep, mask;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    int64_t always = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "always", 0, 1 << 29, &always) ||
        !rapt_system_number(b, "threshold", &route.threshold) || !take_scores(b, "keep", &t, 1, &route, &keep))
        return false;
    route.block_q = RAPT_MIN(route.nq, 1ull << 29);
    route.block_k = 1;
    route.select = RAPT_SELECT_THRESHOLD;
    route.always_first = (uint64_t)always;
    if (!choose_by_scores(b, &t, &route, keep, &mask))
        return false;
    rapt_system_step *s =
        rapt_system_step_add(b, "attention to the keys that are kept", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    if (s != NULL)
        use_mask(s, mask, &route);
    return s != NULL;
}

/* Dynamic Mask Attention: the most important keys before a query, with their importance as a bias. A bias is of query heads:
 * those of a kv head, which share one, make a step. */
bool rapt_system_key_importance(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_system_view delta, mask;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    int64_t keep = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "keep", 1, 1 << 29, &keep) ||
        !take_scores(b, "delta", &t, t.q.tensor.size[2], &route, &delta))
        return false;
    route.flags |= RAPT_ROUTE_CAUSAL;
    route.block_q = route.block_k = 1;
    route.top_k = (uint64_t)keep;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    if (!choose_by_scores(b, &t, &route, delta, &mask))
        return false;
    const uint64_t kv_heads = t.k.tensor.size[1], group = t.q.tensor.size[1] / kv_heads;
    for (uint64_t g = 0; g < kv_heads; g++) {
        const rapt_system_view bias = rapt_system_part(delta, 1, g, 1), lse = rapt_system_part(t.lse, 1, g * group, t.has_lse ? group : 0);
        rapt_system_step *s = rapt_system_step_add(b, "causal attention to the most important keys", &d,
                                                   rapt_system_part(t.q, 1, g * group, group), rapt_system_part(t.k, 1, g, 1),
                                                   rapt_system_part(t.v, 1, g, 1), rapt_system_part(t.out, 1, g * group, group),
                                                   t.has_lse ? &lse : NULL);
        if (s == NULL)
            return false;
        use_mask(s, rapt_system_part(mask, 1, g * group, group), &route);
        s->key_bias = bias.at;
        s->attention.key_bias = bias.tensor;
    }
    return true;
}
