/* Multi-Token Attention (arXiv:2504.00927): logits are convolved over queries and keys, maps of neighbouring heads are mixed. The
 * logits are held, n x n numbers a head: routing writes them as scores of single keys, and they come back as a bias. */
#include "system/system.h"

#define MOST_MIXED RAPT_COMBINE_TERMS

typedef struct multi_token {
    rapt_system_qkv t;
    rapt_system_view logits; /* float32 (batch, heads, n, n) */
    rapt_attention_desc attend;
    uint64_t n, heads, mixed; /* heads that are mixed with each other */
} multi_token;

static bool between_f32(rapt_system_builder *b, const char *name, const uint64_t shape[4], rapt_system_view *view)
{
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, RAPT_F32, 4, shape, view);
}

/* Scores of every query and key, 0 where a key comes later. Those are -inf at first; the softmax over one term makes their
 * weight 0, that of all others 1. */
static bool add_logits(rapt_system_builder *b, multi_token *m)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    rapt_system_view scores, x, y, w;
    const uint64_t shape[4] = {m->t.q.tensor.size[0], m->heads, m->n, m->n};
    if (!between_f32(b, "scores", shape, &scores) || !between_f32(b, "logits", shape, &m->logits))
        return false;
    d.q = m->t.q.tensor;
    d.k = m->t.k.tensor;
    d.scores = scores.tensor;
    d.block_q = d.block_k = d.top_k = 1;
    d.flags = RAPT_ROUTE_CAUSAL | (m->attend.flags & RAPT_ATTENTION_SCALE ? RAPT_ROUTE_SCALE : 0u);
    d.scale = m->attend.scale;
    rapt_system_step *s = rapt_system_route_step_add(b, "logits", &d);
    if (s == NULL)
        return false;
    s->q = m->t.q.at;
    s->k = m->t.k.at;
    s->scores = scores.at;
    x = scores;
    y = m->logits; /* (batch heads, n, n, 1) */
    x.tensor.size[0] = y.tensor.size[0] = shape[0] * shape[1];
    x.tensor.stride[0] = y.tensor.stride[0] = x.tensor.stride[1];
    x.tensor.size[1] = y.tensor.size[1] = m->n;
    x.tensor.stride[1] = y.tensor.stride[1] = x.tensor.stride[2];
    x.tensor.size[3] = y.tensor.size[3] = 1;
    x.tensor.stride[2] = y.tensor.stride[2] = 1;
    w = x;
    w.tensor.rank = 3;
    const rapt_system_term term = {x, 1, &w};
    s = rapt_system_combine_step_add(b, "later keys are 0", y, &term, 1);
    if (s != NULL)
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
    return s != NULL;
}

/* Each head's kernel reaches back over c_q queries, and c_k / 2 keys to either side: rows of zeros behind it centre it. */
static bool add_convolution(rapt_system_builder *b, multi_token *m)
{
    rapt_scan_desc d = RAPT_SCAN_DESC_INIT;
    rapt_system_view kernel, centred, convolved;
    if (!rapt_system_in_f32(b, "kernel_qk", 3, (const uint64_t[]){m->heads, 0, 0}, &kernel))
        return false;
    const uint64_t rows = kernel.tensor.size[1], columns = kernel.tensor.size[2];
    if (rows == 0 || rows > 1024 || columns % 2 == 0 || columns > 1023)
        return rapt_system_refuse(b, "a kernel of %llu queries and %llu keys: 1 to 1024 of the first, and an odd number of the others are needed",
                                  (unsigned long long)rows, (unsigned long long)columns);
    const uint64_t shape[4] = {1, m->heads, 2 * rows - 1, columns};
    if (!between_f32(b, "kernel", shape, &centred) || !between_f32(b, "convolved", m->logits.tensor.size, &convolved))
        return false;
    kernel = rapt_system_axes(kernel, (const int[]){-1, 0, 1, 2});
    const rapt_system_term taps = {kernel, 1, NULL}, zeros = {rapt_system_part(kernel, 2, 0, 1), 0, NULL};
    if (!rapt_system_combine_step_add(b, "kernels", rapt_system_part(centred, 2, 0, rows), &taps, 1) ||
        (rows > 1 && !rapt_system_combine_step_add(b, "and zeros", rapt_system_part(centred, 2, rows, rows - 1), &zeros, 1)))
        return false;
    d.op = RAPT_SCAN_CONV2D;
    rapt_system_step *s = rapt_system_scan_step_add(b, "logits convolved", &d, m->logits, convolved);
    if (s == NULL)
        return false;
    const rapt_system_view weight = {centred.at,
                                     {.dtype = RAPT_F32,
                                      .rank = 3,
                                      .size = {m->heads, shape[2], columns},
                                      .stride = {(int64_t)(shape[2] * columns), (int64_t)columns, 1}}};
    rapt_system_give(&s->scan.weight, &s->weight, &weight);
    m->logits = convolved;
    return true;
}

/* Head u of each group: the maps of all heads of the group over its own values, weighed; then the norm. */
static bool add_head(rapt_system_builder *b, const multi_token *m, uint64_t u, const rapt_system_view *mix, const rapt_system_view *norm,
                     float epsilon, float factor)
{
    static const char *const names[MOST_MIXED] = {"by_map_0", "by_map_1", "by_map_2"};
    const uint64_t groups = m->heads / m->mixed, *s = m->t.out.tensor.size;
    rapt_system_view part[MOST_MIXED], weight[MOST_MIXED];
    rapt_system_term terms[MOST_MIXED];
    for (uint64_t other = 0; other < m->mixed; other++) {
        rapt_attention_desc d = m->attend;
        const rapt_system_view bias = rapt_system_every(m->logits, 1, other, m->mixed);
        if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, names[other], b->dtype, 4, (const uint64_t[]){s[0], groups, s[2], s[3]}, &part[other]))
            return false;
        d.flags = RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_SCALE; /* 0: scores are the bias alone */
        d.scale = 0;
        d.bias = bias.tensor;
        rapt_system_step *step = rapt_system_step_add(b, "attention with the convolved logits", &d, rapt_system_every(m->t.q, 1, u, m->mixed),
                                                      rapt_system_every(m->t.k, 1, u, m->mixed), rapt_system_every(m->t.v, 1, u, m->mixed),
                                                      part[other], NULL);
        if (step == NULL)
            return false;
        step->bias = bias.at;
        if (mix != NULL) {
            weight[other] = rapt_system_axes(rapt_system_part(rapt_system_part(*mix, 1, u, 1), 2, other, 1), (const int[]){-1, 0, -1, -1});
            weight[other].tensor.rank = 3;
        }
        terms[other] = (rapt_system_term){part[other], 1, mix != NULL ? &weight[other] : NULL};
    }
    rapt_system_step *step = rapt_system_combine_step_add(b, "maps mixed, and the norm", rapt_system_every(m->t.out, 1, u, m->mixed), terms,
                                                          (uint32_t)m->mixed);
    if (step == NULL)
        return false;
    step->combine.norm = 1;
    step->combine.norm_epsilon = epsilon;
    step->combine.out_factor = factor;
    if (norm != NULL)
        rapt_system_give(&step->combine.norm_weight, &step->norm_weight, norm);
    return true;
}

bool rapt_system_multi_token(rapt_system_builder *b)
{
    multi_token m = {.attend = RAPT_ATTENTION_DESC_INIT, .mixed = 1};
    rapt_system_view mix, norm;
    float epsilon = 0, factor = 1;
    if (!rapt_system_qkv_take(b, &m.t) || !rapt_system_common(b, &m.attend) || !rapt_system_number(b, "eps", &epsilon) ||
        !rapt_system_number(b, "depth_scale", &factor))
        return false;
    const uint64_t *s = m.t.q.tensor.size;
    m.heads = s[1];
    m.n = s[2];
    const bool mixes = rapt_system_given(b, "kernel_heads"), weighed = rapt_system_given(b, "norm");
    if (m.heads == 0 || m.heads != m.t.k.tensor.size[1] || m.n != m.t.k.tensor.size[2] || m.n > (1 << 20) || s[0] > UINT32_MAX)
        return rapt_system_refuse(b, "as many queries as keys, and as many query heads as kv heads are needed");
    if (mixes && !rapt_system_in_f32(b, "kernel_heads", 3, (const uint64_t[]){0, 0, 0}, &mix))
        return false;
    m.mixed = mixes ? mix.tensor.size[1] : 1;
    if (m.mixed == 0 || m.mixed > MOST_MIXED || m.heads % m.mixed != 0 ||
        (mixes && (mix.tensor.size[0] != m.heads / m.mixed || mix.tensor.size[2] != m.mixed)))
        return rapt_system_refuse(b, "input 'kernel_heads' must be (groups, c, c) with groups c = %llu heads, c up to %d",
                                  (unsigned long long)m.heads, MOST_MIXED);
    if (weighed) {
        if (!rapt_system_in_f32(b, "norm", 1, &m.t.out.tensor.size[3], &norm))
            return false;
        norm = rapt_system_axes(norm, (const int[]){-1, 0, -1, -1}); /* one line for all heads */
        norm.tensor.rank = 2;
    }
    if (!add_logits(b, &m) || !add_convolution(b, &m))
        return false;
    for (uint64_t u = 0; u < m.mixed; u++)
        if (!add_head(b, &m, u, mixes ? &mix : NULL, weighed ? &norm : NULL, epsilon, factor))
            return false;
    return true;
}
