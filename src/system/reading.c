/* Systems of reading: attention between a context and a question both ways, and maps from a page's layout. */
#include "system/system.h"

/* ---- BiDAF ---- */

typedef struct flows {
    rapt_system_view h, u, w, out; /* h and u in single precision, as one head */
    rapt_system_view product, of_u, of_h, to_query, query_max, importance, to_context;
    uint64_t n, m, d;
} flows;

/* (batch, n, d) as one head, in single precision. */
static bool take_rows(rapt_system_builder *b, const char *name, const char *single, const uint64_t *sizes, rapt_system_view *to)
{
    rapt_system_view in;
    return rapt_system_in_sized(b, name, 3, sizes, &in) &&
           rapt_system_single(b, single, rapt_system_ranked(in, 4, (const int[]){0, -1, 1, 2}), to);
}

static bool take(rapt_system_builder *b, flows *t)
{
    if (!take_rows(b, "h", "h single", (const uint64_t[]){0, 0, 0}, &t->h) ||
        !take_rows(b, "u", "u single", (const uint64_t[]){t->h.tensor.size[0], 0, t->h.tensor.size[3]}, &t->u))
        return false;
    const uint64_t *s = t->h.tensor.size;
    t->n = s[2];
    t->m = t->u.tensor.size[2];
    t->d = s[3];
    if (s[0] == 0 || t->n == 0 || t->m == 0 || t->d == 0)
        return rapt_system_refuse(b, "h or u is empty");
    const uint64_t out[3] = {s[0], t->n, 4 * t->d}, of_u[4] = {s[0], 1, 1, t->m}, of_h[4] = {s[0], 1, 1, t->n}, one[4] = {s[0], 1, 1, t->d};
    return rapt_system_in_f32(b, "w", 2, (const uint64_t[]){3, t->d}, &t->w) && rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, out, &t->out) &&
           rapt_system_between(b, "h times w3", RAPT_F32, 4, s, &t->product) && rapt_system_between(b, "w2 u", RAPT_F32, 4, of_u, &t->of_u) &&
           rapt_system_between(b, "w1 h", RAPT_F32, 4, of_h, &t->of_h) && rapt_system_between(b, "to query", RAPT_F32, 4, s, &t->to_query) &&
           rapt_system_between(b, "best of query", RAPT_F32, 3, s, &t->query_max) && rapt_system_between(b, "importance", RAPT_F32, 4, of_h, &t->importance) &&
           rapt_system_between(b, "to context", RAPT_F32, 4, one, &t->to_context);
}

/* The products of a vector of w with all rows of x, side by side. */
static bool project(rapt_system_builder *b, const char *what, const flows *t, uint64_t which, rapt_system_view x, rapt_system_view to)
{
    rapt_system_view w = rapt_system_axes(rapt_system_part(t->w, 0, which, 1), (const int[]){-1, -1, 0, 1});
    w.tensor.size[0] = x.tensor.size[0];
    return rapt_system_row_products(b, what, w, x, to);
}

static bool multiply(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view x, rapt_system_view y)
{
    const rapt_system_term term = {x, 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &term, 1);
    if (s == NULL)
        return false;
    for (int axis = 0; axis < 3; axis++) /* what has one row has it for all */
        if (y.tensor.size[axis] == 1 && out.tensor.size[axis] != 1) {
            y.tensor.size[axis] = out.tensor.size[axis];
            y.tensor.stride[axis] = 0;
        }
    s->combine.gate_kind = RAPT_GATE_PRODUCT;
    rapt_system_give(&s->combine.gate, &s->gate, &y);
    return true;
}

/* s_ij = w1 h_i + w2 u_j + (w3 h_i) u_j: what the context reads of the query, and of itself by its best scores. */
static bool read_both(rapt_system_builder *b, const flows *t)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    static const int by_key[] = {0, 1, 3, -1};
    const rapt_system_view w3 = rapt_system_axes(rapt_system_part(t->w, 0, 2, 1), (const int[]){-1, -1, 0, 1});
    d.flags = RAPT_ATTENTION_SCALE;
    d.scale = 1;
    if (!multiply(b, "h times w3", t->product, t->h, w3) || !project(b, "w2 u", t, 1, t->u, t->of_u) || !project(b, "w1 h", t, 0, t->h, t->of_h))
        return false;
    rapt_system_step *s = rapt_system_step_add(b, "context to query", &d, t->product, t->u, t->u, t->to_query, NULL);
    if (s == NULL)
        return false;
    const rapt_system_view of_u = rapt_system_weights(rapt_system_axes(t->of_u, by_key));
    rapt_system_give(&s->attention.key_bias, &s->key_bias, &of_u);
    rapt_system_give(&s->attention.row_max, &s->row_max, &t->query_max);
    const rapt_system_term both[] = {{rapt_system_axes(t->query_max, (const int[]){0, 1, 2, -1}), 1, NULL}, {rapt_system_axes(t->of_h, by_key), 1, NULL}};
    if (!rapt_system_combine_step_add(b, "best scores of the context", rapt_system_axes(t->importance, by_key), both, 2))
        return false;
    d.scale = 0; /* the bias alone */
    s = rapt_system_step_add(b, "query to context", &d, rapt_system_part(t->h, 2, 0, 1), t->h, t->h, t->to_context, NULL);
    if (s == NULL)
        return false;
    const rapt_system_view importance = rapt_system_weights(rapt_system_axes(t->importance, by_key));
    rapt_system_give(&s->attention.key_bias, &s->key_bias, &importance);
    return true;
}

bool rapt_system_both_ways(rapt_system_builder *b)
{
    flows t;
    if (!take(b, &t) || !read_both(b, &t))
        return false;
    const rapt_system_view out = rapt_system_ranked(t.out, 4, (const int[]){0, -1, 1, 2});
    const rapt_system_view part[4] = {rapt_system_part(out, 3, 0, t.d), rapt_system_part(out, 3, t.d, t.d), rapt_system_part(out, 3, 2 * t.d, t.d),
                                      rapt_system_part(out, 3, 3 * t.d, t.d)};
    return rapt_system_map(b, "the context", part[0], t.h, 1, 0, RAPT_COMBINE_ACT_NONE) &&
           rapt_system_map(b, "what it reads of the query", part[1], t.to_query, 1, 0, RAPT_COMBINE_ACT_NONE) &&
           multiply(b, "their product", part[2], t.h, t.to_query) && multiply(b, "its product with what it reads of itself", part[3], t.h, t.to_context);
}

/* ---- Skim-Attention ---- */

/* A map from the layout weighs values; or the keys that it ranks highest are those that another model's attention may see. */
bool rapt_system_skim(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_system_view q, k, mask;
    int64_t top = 1;
    if (!rapt_system_given(b, "q_text"))
        return rapt_system_dense(b);
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "top", 1, 1 << 29, &top))
        return false;
    const uint64_t *s = t.q.tensor.size, kv = t.k.tensor.size[1], shape[4] = {s[0], s[1], s[2], t.k.tensor.size[2]};
    if (kv == 0 || s[1] % kv != 0)
        return rapt_system_refuse(b, "%llu query heads are no multiple of %llu kv heads", (unsigned long long)s[1], (unsigned long long)kv);
    if (!rapt_system_in_sized(b, "q_text", 4, (const uint64_t[]){s[0], s[1], s[2], 0}, &q) ||
        !rapt_system_in_sized(b, "k_text", 4, (const uint64_t[]){s[0], kv, t.k.tensor.size[2], q.tensor.size[3]}, &k) ||
        !rapt_system_between(b, "mask", RAPT_I32, 4, shape, &mask))
        return false;
    route.flags = d.flags & RAPT_ATTENTION_CAUSAL ? RAPT_ROUTE_CAUSAL : 0;
    route.q = t.q.tensor;
    route.k = t.k.tensor;
    route.mask = mask.tensor;
    route.block_q = route.block_k = 1;
    route.top_k = (uint64_t)top;
    rapt_system_step *step = rapt_system_route_step_add(b, "the layout's best keys", &route);
    if (step == NULL)
        return false;
    step->q = t.q.at;
    step->k = t.k.at;
    step->mask = mask.at;
    step = rapt_system_step_add(b, "the text's attention to them", &d, q, k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    if (step == NULL)
        return false;
    rapt_system_give(&step->attention.block_mask, &step->block_mask, &mask);
    step->attention.block_q = step->attention.block_k = 1;
    return true;
}
