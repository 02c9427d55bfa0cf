/* Systems that gather the tokens they choose, attend among these, and put the results back. */
#include "system/system.h"

#define MOST (1 << 29)

/* A contiguous tensor between steps: rows that were gathered. */
static bool new_rows(rapt_system_builder *b, const char *name, uint64_t batch, uint64_t heads, uint64_t rows, uint64_t width,
                     rapt_system_view *view)
{
    const uint64_t shape[4] = {batch, heads, rows, width};
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, b->dtype, 4, shape, view);
}

/* A list of rank 4, as routing writes it, as the entries of each head. */
static rapt_system_view entries(rapt_system_view list)
{
    list.tensor.rank = 3;
    list.tensor.size[2] *= list.tensor.size[3];
    list.tensor.stride[2] = 1;
    return list;
}

static bool new_list(rapt_system_builder *b, uint64_t batch, uint64_t heads, uint64_t rows, uint64_t entries_each,
                     rapt_system_view *list)
{
    const uint64_t shape[4] = {batch, heads, rows, entries_each};
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "list", RAPT_I32, 4, shape, list);
}

static bool gather(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view list, rapt_system_view out)
{
    return rapt_system_rows_step_add(b, what, RAPT_ROWS_GATHER, x, entries(list), out) != NULL;
}

/* MoSA: each head picks the tokens that score highest for it; their outputs, times their scores, go back. */
bool rapt_system_expert_choice(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_system_view router, list, q, k, v, out;
    int64_t top = 1, first = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "top", 1, MOST, &top) ||
        !rapt_system_integer(b, "first", 0, MOST, &first))
        return false;
    const uint64_t *size = t.q.tensor.size, batch = size[0], heads = size[1], n = size[2], m = RAPT_MIN((uint64_t)top, n);
    if (t.k.tensor.size[1] != heads || t.k.tensor.size[2] != n)
        return rapt_system_refuse(b, "q has %llu heads of %llu tokens, k %llu of %llu; they must be the same", (unsigned long long)heads,
                                  (unsigned long long)n, (unsigned long long)t.k.tensor.size[1], (unsigned long long)t.k.tensor.size[2]);
    if (n == 0)
        return rapt_system_refuse(b, "q is empty");
    if (!rapt_system_in_f32(b, "router", 3, size, &router) || !new_list(b, batch, heads, 1, m, &list) ||
        !new_rows(b, "chosen q", batch, heads, m, size[3], &q) || !new_rows(b, "chosen k", batch, heads, m, size[3], &k) ||
        !new_rows(b, "chosen v", batch, heads, m, t.v.tensor.size[3], &v) ||
        !new_rows(b, "of the chosen", batch, heads, m, t.v.tensor.size[3], &out))
        return false;
    route.flags = RAPT_ROUTE_SCORES_GIVEN;
    route.nq = route.block_q = route.block_k = 1;
    route.nk = n;
    route.top_k = (uint64_t)top;
    route.always_first = (uint64_t)first;
    route.scores = rapt_system_axes(router, (const int[]){0, 1, -1, 2}).tensor;
    route.list = list.tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "each head chooses its tokens", &route);
    if (s == NULL)
        return false;
    s->scores = router.at;
    s->list = list.at;
    d.flags |= RAPT_ATTENTION_CAUSAL; /* lists rise: the order of places */
    if (!gather(b, "their queries", t.q, list, q) || !gather(b, "their keys", t.k, list, k) ||
        !gather(b, "their values", t.v, list, v) || !rapt_system_step_add(b, "causal attention among them", &d, q, k, v, out, NULL))
        return false;
    s = rapt_system_rows_step_add(b, "back to their places", RAPT_ROWS_SCATTER, out, entries(list), t.out);
    if (s == NULL)
        return false;
    s->weight = router.at;
    s->rows.weight = router.tensor;
    return true;
}

/* Rows by cluster, (batch, heads, clusters m, d), as attention sees them: a head for each cluster, (batch heads, clusters, m, d). */
static rapt_system_view by_cluster(rapt_system_view x, uint64_t clusters)
{
    const uint64_t batch = x.tensor.size[0] * x.tensor.size[1], m = clusters ? x.tensor.size[2] / clusters : 0, d = x.tensor.size[3];
    rapt_system_view out = x;
    const uint64_t size[4] = {batch, clusters, m, d};
    int64_t stride = 1;
    for (unsigned axis = 4; axis-- > 0; stride *= (int64_t)size[axis]) {
        out.tensor.size[axis] = size[axis];
        out.tensor.stride[axis] = stride;
    }
    return out;
}

/* Heads of the Routing Transformer that route: the tokens nearest to each centroid attend among themselves. */
static bool clustered(rapt_system_builder *b, const rapt_attention_desc *base, rapt_system_view q, rapt_system_view v,
                      rapt_system_view out, uint64_t m)
{
    rapt_system_view centroids, list, chosen, values, of_clusters;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_attention_desc d = *base;
    const uint64_t *size = q.tensor.size, batch = size[0], heads = size[1];
    if (!rapt_system_in(b, "centroids", 3, &centroids))
        return false;
    const uint64_t clusters = centroids.tensor.size[1];
    if (centroids.tensor.size[0] != heads || centroids.tensor.size[2] != size[3] || clusters == 0)
        return rapt_system_refuse(b, "centroids are (%llu, %llu, %llu); (%llu, clusters, %llu) are needed",
                                  (unsigned long long)centroids.tensor.size[0], (unsigned long long)clusters,
                                  (unsigned long long)centroids.tensor.size[2], (unsigned long long)heads, (unsigned long long)size[3]);
    if (clusters > MOST / m)
        return rapt_system_refuse(b, "%llu clusters of %llu tokens are too many", (unsigned long long)clusters, (unsigned long long)m);
    if (!new_list(b, batch, heads, clusters, m, &list) || !new_rows(b, "q by cluster", batch, heads, clusters * m, size[3], &chosen) ||
        !new_rows(b, "v by cluster", batch, heads, clusters * m, v.tensor.size[3], &values) ||
        !new_rows(b, "out by cluster", batch, heads, clusters * m, v.tensor.size[3], &of_clusters))
        return false;
    route.flags = RAPT_ROUTE_SCALE;
    route.scale = 1;
    route.block_q = route.block_k = 1;
    route.top_k = m;
    route.q = rapt_system_axes(centroids, (const int[]){-1, 0, 1, 2}).tensor;
    route.q.size[0] = batch; /* the same for all, a stride of 0 */
    route.k = q.tensor;
    route.list = list.tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "each centroid chooses its nearest tokens", &route);
    if (s == NULL)
        return false;
    s->q = centroids.at;
    s->k = q.at;
    s->list = list.at;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    if (!gather(b, "queries, which are keys, by cluster", q, list, chosen) || !gather(b, "values by cluster", v, list, values) ||
        !rapt_system_step_add(b, "causal attention within clusters", &d, by_cluster(chosen, clusters), by_cluster(chosen, clusters),
                              by_cluster(values, clusters), by_cluster(of_clusters, clusters), NULL))
        return false;
    s = rapt_system_rows_step_add(b, "back to their places, averaged", RAPT_ROWS_SCATTER_MEAN, of_clusters, entries(list), out);
    if (s == NULL)
        return false;
    s->rows.runs = clusters;
    return true;
}

/* Routing Transformer: heads that route, then heads of a causal window. */
bool rapt_system_clusters(rapt_system_builder *b)
{
    rapt_system_view q, k, v, out;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t members = 1, window = 1;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in(b, "v", 4, &v) || !rapt_system_common(b, &d) ||
        !rapt_system_integer(b, "members", 1, MOST, &members) || !rapt_system_integer(b, "window", 1, MOST, &window))
        return false;
    const uint64_t *size = q.tensor.size, n = size[2], heads = size[1];
    for (unsigned axis = 0; axis < 3; axis++)
        if (v.tensor.size[axis] != size[axis])
            return rapt_system_refuse(b, "q and v disagree in axis %u: %llu and %llu", axis, (unsigned long long)size[axis],
                                      (unsigned long long)v.tensor.size[axis]);
    if (n == 0 || n > MOST)
        return rapt_system_refuse(b, "%llu tokens; 1 to %d are possible", (unsigned long long)n, MOST);
    const bool has_local = rapt_system_given(b, "k");
    if (has_local && !rapt_system_in(b, "k", 4, &k))
        return false;
    const uint64_t local = has_local ? k.tensor.size[1] : 0, want[4] = {size[0], local, n, size[3]};
    for (unsigned axis = 0; axis < 4 && has_local; axis++)
        if (k.tensor.size[axis] != want[axis] || local > heads)
            return rapt_system_refuse(b, "k, of the local heads, disagrees with q in axis %u", axis);
    if (!rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, v.tensor.size, &out))
        return false;
    const uint64_t routed = heads - local;
    if (routed > 0 && !clustered(b, &d, rapt_system_part(q, 1, 0, routed), rapt_system_part(v, 1, 0, routed),
                                 rapt_system_part(out, 1, 0, routed), RAPT_MIN((uint64_t)members, n)))
        return false;
    if (!has_local)
        return true;
    d.flags |= RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_WINDOW;
    d.window_left = window - 1;
    d.window_right = -1;
    return rapt_system_step_add(b, "local heads", &d, rapt_system_part(q, 1, routed, local), k, rapt_system_part(v, 1, routed, local),
                                rapt_system_part(out, 1, routed, local), NULL) != NULL;
}

/* ---- layers that hand on which tokens count ---- */

enum { MOST_KINDS = 256 };

/* A decode step through layers, the first axis of all tensors: some attend to all keys and choose tokens, others attend to what
 * the last that chose, chose. */
typedef struct layers {
    rapt_system_qkv t;
    rapt_system_view list, keys, values;
    rapt_attention_desc attention;
    uint64_t count, kv_heads, group;
} layers;

static rapt_system_view of_layer(rapt_system_view x, uint64_t layer, uint64_t head0, uint64_t heads)
{
    return rapt_system_part(rapt_system_part(x, 0, layer, 1), 1, head0, heads);
}

static bool layers_take(rapt_system_builder *b, layers *l)
{
    int64_t top = 1;
    *l = (layers){.attention = RAPT_ATTENTION_DESC_INIT};
    if (!rapt_system_qkv_take(b, &l->t) || !rapt_system_common(b, &l->attention) || !rapt_system_integer(b, "top", 1, MOST, &top))
        return false;
    const uint64_t *q = l->t.q.tensor.size, *k = l->t.k.tensor.size, m = RAPT_MIN((uint64_t)top, k[2]);
    l->count = q[0];
    l->kv_heads = k[1];
    if (l->count == 0 || l->kv_heads == 0 || k[2] == 0)
        return rapt_system_refuse(b, "no layers, heads or keys");
    if (q[1] % k[1] != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads", (unsigned long long)q[1], (unsigned long long)k[1]);
    if (q[2] != 1)
        return rapt_system_refuse(b, "q has %llu tokens; a decode step has one", (unsigned long long)q[2]);
    l->group = q[1] / k[1];
    return new_list(b, 1, l->kv_heads, 1, m, &l->list) && new_rows(b, "chosen k", 1, l->kv_heads, m, k[3], &l->keys) &&
           new_rows(b, "chosen v", 1, l->kv_heads, m, l->t.v.tensor.size[3], &l->values);
}

/* kv heads [g0, g1) of a layer attend to all keys; `choose`: and say which count. */
static bool attend_to_all(rapt_system_builder *b, const layers *l, uint64_t layer, uint64_t g0, uint64_t g1, bool choose)
{
    const rapt_system_view q = of_layer(l->t.q, layer, g0 * l->group, (g1 - g0) * l->group);
    const rapt_system_view k = of_layer(l->t.k, layer, g0, g1 - g0), list = of_layer(l->list, 0, g0, g1 - g0);
    if (choose) {
        rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
        route.q = q.tensor;
        route.k = k.tensor;
        route.list = list.tensor;
        route.block_q = route.block_k = 1;
        route.top_k = list.tensor.size[3];
        route.heads = RAPT_ROUTE_GROUP_SUM;
        rapt_system_step *s = rapt_system_route_step_add(b, "tokens are chosen", &route);
        if (s == NULL)
            return false;
        s->q = q.at;
        s->k = k.at;
        s->list = list.at;
    }
    return rapt_system_step_add(b, "attention to all keys", &l->attention, q, k, of_layer(l->t.v, layer, g0, g1 - g0),
                                of_layer(l->t.out, layer, g0 * l->group, (g1 - g0) * l->group), NULL) != NULL;
}

static bool attend_to_chosen(rapt_system_builder *b, const layers *l, uint64_t layer, uint64_t g0, uint64_t g1)
{
    const uint64_t heads = g1 - g0;
    const rapt_system_view list = of_layer(l->list, 0, g0, heads), keys = of_layer(l->keys, 0, g0, heads),
                           values = of_layer(l->values, 0, g0, heads);
    return gather(b, "keys of the chosen tokens", of_layer(l->t.k, layer, g0, heads), list, keys) &&
           gather(b, "values of the chosen tokens", of_layer(l->t.v, layer, g0, heads), list, values) &&
           rapt_system_step_add(b, "attention to the chosen tokens", &l->attention,
                                of_layer(l->t.q, layer, g0 * l->group, heads * l->group), keys, values,
                                of_layer(l->t.out, layer, g0 * l->group, heads * l->group), NULL) != NULL;
}

/* HyLRA: layers that attend to all keys are listed. */
bool rapt_system_layers(rapt_system_builder *b)
{
    layers l;
    int64_t sensitive[MOST_KINDS];
    uint32_t count, next = 0;
    if (!layers_take(b, &l) || !rapt_system_list(b, "sensitive", (int64_t)RAPT_MIN(l.count, MOST) - 1, sensitive, MOST_KINDS, &count))
        return false;
    if (count == 0 || sensitive[0] != 0)
        return rapt_system_refuse(b, "the first layer must be sensitive: there is no choice before it");
    for (uint64_t layer = 0; layer < l.count; layer++) {
        const bool full = next < count && (uint64_t)sensitive[next] == layer;
        next += full;
        const bool handed_on = layer + 1 < l.count && !(next < count && (uint64_t)sensitive[next] == layer + 1);
        if (!(full ? attend_to_all(b, &l, layer, 0, l.kv_heads, handed_on) : attend_to_chosen(b, &l, layer, 0, l.kv_heads)))
            return false;
    }
    return true;
}

/* LycheeDecode: sparse kv heads are listed, as numbers layer * kv_heads + head; runs of heads of one kind go together. */
bool rapt_system_layers_by_head(rapt_system_builder *b)
{
    layers l;
    int64_t sparse[MOST_KINDS];
    uint32_t count, next = 0;
    uint64_t all;
    if (!layers_take(b, &l))
        return false;
    if (!rapt_mul_u64(l.count, l.kv_heads, &all) || all > MOST)
        return rapt_system_refuse(b, "%llu layers of %llu kv heads are too many", (unsigned long long)l.count, (unsigned long long)l.kv_heads);
    if (!rapt_system_list(b, "sparse", (int64_t)all - 1, sparse, MOST_KINDS, &count))
        return false;
    if (count > 0 && (uint64_t)sparse[0] < l.kv_heads)
        return rapt_system_refuse(b, "heads of the first layer cannot be sparse: there is no choice before it");
    for (uint64_t at = 0; at < all;) {
        const uint64_t layer = at / l.kv_heads, g0 = at % l.kv_heads;
        const bool is_sparse = next < count && (uint64_t)sparse[next] == at;
        uint64_t g1 = g0;
        for (bool same = true; same; same = g1 < l.kv_heads && (next < count && (uint64_t)sparse[next] == at) == is_sparse) {
            next += is_sparse;
            at++;
            g1++;
        }
        if (!(is_sparse ? attend_to_chosen(b, &l, layer, g0, g1) : attend_to_all(b, &l, layer, g0, g1, layer + 1 < l.count)))
            return false;
    }
    return true;
}
