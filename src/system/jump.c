/* Superlinear attention: a jump search for spans of keys, and softmax attention to those (arXiv:2601.18401). */
#include "system/system.h"

#include <math.h>

/* Anchor number i of a query at position p is key p + 1 - (i + jump)^power, i counting from 0 and jump = window index + 1: the first one
 * lies right before the local window, the others ever further apart. */
enum { MOST_SPANS = 3, MOST_ANCHORS = 576, MOST_PLACES = 1 << 23 };

#define ANCHOR "int anchor(int i, int p)\n"                                                            \
    "{\n"                                                                                              \
    "    float back = 1.0;\n"                                                                          \
    "    for (int n = 0; n < 6 && n < int(user_f(1)); n++)\n"                                          \
    "        back *= float(i) + user_f(2);\n"                                                          \
    "    return back > float(p) + 1.0 ? -1 : p + 1 - int(back);\n"                                     \
    "}\n"

/* Keys are anchors here: the product of the routing vectors of query and anchor, or what loses against any. */
static const char search_score[] = ANCHOR
    "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    int p = int(q) + int(user_f(0)), at = anchor(int(k), p);\n"
    "    uint width = uint(user_f(3)), heads = uint(user_f(4)), line_q = ((b * heads + h) * uint(user_f(5)) + q) * width,\n"
    "         line_k = ((b * uint(user_f(6)) + h * uint(user_f(6)) / heads) * uint(user_f(7)) + uint(max(at, 0))) * width;\n"
    "    float sum = 0.0;\n"
    "    for (uint e = 0u; e < 1024u && e < width; e++)\n"
    "        sum += routing_q(line_q + e) * routing_k(line_k + e);\n"
    "    return at < 0 ? -1e30 : sum;\n"
    "}\n";

/* The local window, and the span around one of the anchors that were found: extents are the least c with c >= factor sqrt(p + 1). */
static const char span_mask[] = ANCHOR
    "int extent(float factor, float tokens)\n"
    "{\n"
    "    float c = ceil(factor * sqrt(tokens)), square = factor * factor * tokens;\n"
    "    c -= c > 0.0 && (c - 1.0) * (c - 1.0) >= square ? 1.0 : 0.0;\n"
    "    c += c * c < square ? 1.0 : 0.0;\n"
    "    return int(min(c, 8388608.0));\n"
    "}\n"
    "bool mask_mod(uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    int p = int(q) + int(user_f(0)), j = int(k), window = int(user_f(3));\n"
    "    int at = anchor(found(((b * uint(user_f(4)) + h) * uint(user_f(5)) + q) * uint(user_f(6)) + uint(user_f(7))), p);\n"
    "    int first = at - extent(user_f(8), float(p + 1)), last = min(at + extent(user_f(9), float(p + 1)), p - window);\n"
    "    bool local = j > p - window && j <= p;\n"
    "    bool within = at >= 0 && j >= first && j <= last;\n"
    "    return local != within;\n" /* never both */
    "}\n";

typedef struct jump {
    rapt_system_qkv t;
    rapt_system_view routing_q, routing_k; /* float32, contiguous */
    rapt_system_view scores, list, chosen, part[MOST_SPANS];
    uint64_t anchors, spans;
    int64_t power, index, window;
    float backward, forward;
} jump;

static bool take_numbers(rapt_system_builder *b, jump *t)
{
    int64_t spans = 1;
    if (!rapt_system_integer(b, "spans", 1, MOST_SPANS, &spans) || !rapt_system_integer(b, "power", 2, 6, &t->power) ||
        !rapt_system_integer(b, "index", 0, 1 << 12, &t->index) || !rapt_system_number(b, "backward", &t->backward) ||
        !rapt_system_number(b, "forward", &t->forward))
        return false;
    if (!(t->backward >= 0 && t->backward <= 4096 && t->forward >= 0 && t->forward <= 4096))
        return rapt_system_refuse(b, "parameters 'backward' and 'forward' are %g and %g; 0 to 4096 are possible", (double)t->backward,
                                  (double)t->forward);
    t->spans = (uint64_t)spans;
    const double window = pow((double)t->index + 1, (double)t->power) - 1;
    if (window > MOST_PLACES)
        return rapt_system_refuse(b, "a local window of %.0f keys; at most %d are possible", window, MOST_PLACES);
    t->window = (int64_t)window;
    return true;
}

/* A float32 copy without gaps: code in a kernel reads it by plain arithmetic. */
static bool take_routing(rapt_system_builder *b, const char *name, const char *copied, const rapt_tensor *like, uint64_t width,
                         rapt_system_view *to)
{
    rapt_system_view in;
    const uint64_t shape[4] = {like->size[0], like->size[1], like->size[2], width};
    if (!rapt_system_in_sized(b, name, 4, shape, &in))
        return false;
    if (in.tensor.size[3] < 1 || in.tensor.size[3] > MOST_ANCHORS)
        return rapt_system_refuse(b, "'%s' is %llu wide; 1 to %d are possible", name, (unsigned long long)in.tensor.size[3], MOST_ANCHORS);
    return rapt_system_single_copy(b, copied, in, to);
}

static bool take(rapt_system_builder *b, jump *t)
{
    static const char *const parts[MOST_SPANS] = {"span 1", "span 2", "span 3"};
    *t = (jump){0};
    if (!rapt_system_qkv_take(b, &t->t) || !take_numbers(b, t))
        return false;
    const rapt_tensor *q = &t->t.q.tensor, *k = &t->t.k.tensor;
    const uint64_t nq = q->size[2], nk = k->size[2];
    if (q->size[0] == 0 || k->size[1] == 0 || q->size[1] % k->size[1] != 0 || nq == 0 || nq > nk || nk > MOST_PLACES)
        return rapt_system_refuse(b, "%llu queries and %llu keys: at least one query, as many keys, at most %d, and kv heads that divide the "
                                  "query heads are needed", (unsigned long long)nq, (unsigned long long)nk, MOST_PLACES);
    while (pow((double)t->anchors + (double)t->index + 1, (double)t->power) <= (double)nk)
        t->anchors++;
    t->anchors = RAPT_MAX(t->anchors, t->spans); /* those beyond the first key are never better than others */
    if (t->anchors > MOST_ANCHORS)
        return rapt_system_refuse(b, "%llu anchors; at most %d are possible", (unsigned long long)t->anchors, MOST_ANCHORS);
    const uint64_t scores[4] = {q->size[0], q->size[1], nq, t->anchors}, list[4] = {q->size[0], q->size[1], nq, t->spans};
    for (uint64_t n = 0; n < t->spans; n++)
        if (!rapt_system_between(b, parts[n], b->dtype, 4, t->t.out.tensor.size, &t->part[n]))
            return false;
    return take_routing(b, "routing_q", "routing of queries", q, 0, &t->routing_q) &&
           take_routing(b, "routing_k", "routing of keys", k, t->routing_q.tensor.size[3], &t->routing_k) &&
           rapt_system_between(b, "scores of anchors", RAPT_F32, 4, scores, &t->scores) &&
           rapt_system_between(b, "anchors found", RAPT_I32, 4, list, &t->list) &&
           rapt_system_between(b, "their scores", RAPT_F32, 4, (const uint64_t[]){q->size[0] * q->size[1], nq, t->spans, 1}, &t->chosen);
}

static void give_buffer(rapt_system_step *s, unsigned place, const char *name, const rapt_system_view *v)
{
    s->attention.user[place] = (rapt_user_buffer){name, v->tensor.dtype, rapt_tensor_bytes(&v->tensor) / 4};
    s->user[place] = v->at;
}

/* Attention without a softmax whose scores the code makes, times the identity: the scores themselves. */
static bool search(rapt_system_builder *b, const jump *t)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view identity, k = rapt_system_part(t->routing_k, 2, 0, 1), v;
    const rapt_tensor *q = &t->t.q.tensor;
    if (!rapt_system_identity(b, t->routing_q, t->anchors, &identity))
        return false;
    v = identity;
    k.tensor.size[1] = v.tensor.size[1] = 1;
    v.tensor.size[0] = q->size[0]; /* the same for all, strides of 0 */
    v.tensor.stride[0] = 0;
    k.tensor.size[2] = t->anchors; /* not looked at */
    k.tensor.stride[2] = 0;
    d.link = RAPT_LINK_NONE;
    d.score_mod[0] = search_score;
    const float numbers[] = {(float)(t->t.k.tensor.size[2] - q->size[2]), (float)t->power, (float)(t->index + 1),
                             (float)t->routing_q.tensor.size[3],          (float)q->size[1], (float)q->size[2],
                             (float)t->t.k.tensor.size[1],                (float)t->t.k.tensor.size[2]};
    for (unsigned n = 0; n < RAPT_COUNT(numbers); n++)
        d.user_constants[n] = numbers[n];
    rapt_system_step *s = rapt_system_step_add(b, "scores of anchors", &d, t->routing_q, k, v, t->scores, NULL);
    if (s == NULL)
        return false;
    give_buffer(s, 0, "routing_q", &t->routing_q);
    give_buffer(s, 1, "routing_k", &t->routing_k);
    return true;
}

/* The best anchors of each query, and their scores as (batch heads, nq, spans, 1). */
static bool choose(rapt_system_builder *b, const jump *t)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    d.flags = RAPT_ROUTE_SCORES_GIVEN;
    d.nq = t->t.q.tensor.size[2];
    d.nk = t->anchors;
    d.block_q = d.block_k = 1;
    d.top_k = t->spans;
    d.scores = t->scores.tensor;
    d.list = t->list.tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "the best anchors", &d);
    if (s == NULL)
        return false;
    s->scores = t->scores.at;
    s->list = t->list.at;
    rapt_system_view scores = t->scores, list = t->list;
    if (!rapt_system_merge(b, "scores by line", &scores) || !rapt_system_merge(b, "anchors by line", &list))
        return false;
    return rapt_system_rows_step_add(b, "their scores", RAPT_ROWS_GATHER, rapt_system_axes(scores, (const int[]){0, 1, 2, -1}), list,
                                     t->chosen) != NULL;
}

static bool attend(rapt_system_builder *b, const jump *t, uint64_t span, const rapt_attention_desc *base, rapt_system_view out)
{
    rapt_attention_desc d = *base;
    const rapt_tensor *q = &t->t.q.tensor;
    const float numbers[] = {(float)(t->t.k.tensor.size[2] - q->size[2]), (float)t->power, (float)(t->index + 1), (float)t->window,
                             (float)q->size[1], (float)q->size[2], (float)t->spans, (float)span, t->backward, t->forward};
    for (unsigned n = 0; n < RAPT_COUNT(numbers); n++)
        d.user_constants[n] = numbers[n];
    d.flags |= RAPT_ATTENTION_CAUSAL;
    d.mask_mod[0] = span_mask;
    rapt_system_step *s = rapt_system_step_add(b, "attention to a span and the local window", &d, t->t.q, t->t.k, t->t.v, out, NULL);
    if (s == NULL)
        return false;
    give_buffer(s, 0, "found", &t->list);
    return true;
}

/* A softmax over the scores of the anchors weighs the spans. */
bool rapt_system_jump_search(rapt_system_builder *b)
{
    jump t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view weight[MOST_SPANS];
    rapt_system_term terms[MOST_SPANS];
    if (!take(b, &t) || !rapt_system_common(b, &d) || !search(b, &t) || !choose(b, &t))
        return false;
    const uint64_t *q = t.t.q.tensor.size;
    for (uint64_t n = 0; n < t.spans; n++) {
        if (!attend(b, &t, n, &d, t.part[n]))
            return false;
        weight[n] = rapt_system_ranked(rapt_system_part(t.chosen, 2, n, 1), 3, (const int[]){-1, 0, 1, -1});
        weight[n].tensor.size[0] = q[0]; /* batch and heads apart again */
        weight[n].tensor.size[1] = q[1];
        weight[n].tensor.stride[0] = weight[n].tensor.stride[1] * (int64_t)q[1];
        terms[n] = (rapt_system_term){t.part[n], 1, &weight[n]};
    }
    rapt_system_step *s = rapt_system_combine_step_add(b, "spans weighed by their anchors' scores", t.t.out, terms, (uint32_t)t.spans);
    if (s != NULL)
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
    return s != NULL;
}
