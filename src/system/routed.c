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
