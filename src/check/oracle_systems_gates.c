/* Oracles of systems that gate maps by what is pooled, and of those that read: written from the papers' formulas, place by place. */
#include "oracle_system.h"

static double sigmoid(const oracle *o, double x)
{
    return r(o, 1 / r(o, 1 + r(o, exp(-x))));
}

/* ---- maps (channels, height, width) of one batch entry ---- */

typedef struct map {
    const double *x;
    uint64_t size[3]; /* channels, height, width */
} map;

static double at(const map *m, uint64_t c, uint64_t y, uint64_t x)
{
    return m->x[(c * m->size[1] + y) * m->size[2] + x];
}

/* Of the numbers along `axis` that go through place `p`: the largest, or their mean. */
static double pooled(const oracle *o, const map *m, unsigned axis, const uint64_t p[3], bool mean)
{
    double top = -INFINITY, sum = 0;
    uint64_t place[3] = {p[0], p[1], p[2]};
    for (place[axis] = 0; place[axis] < m->size[axis]; place[axis]++) {
        const double x = at(m, place[0], place[1], place[2]);
        top = fmax(top, x);
        sum = r(o, sum + x);
    }
    return mean ? r(o, sum / (double)m->size[axis]) : top;
}

/* sigmoid of a convolution of the largest numbers and the means along `axis`, at place p; rows and columns are the other two axes. */
static double gate_at(oracle *o, const map *m, unsigned axis, unsigned rows, unsigned columns, const uint64_t p[3], uint64_t which)
{
    const rapt_check_array *kernel = input(o, "kernel");
    const int64_t ky = (int64_t)kernel->shape[2], kx = (int64_t)kernel->shape[3];
    double sum = 0;
    for (uint64_t mean = 0; mean < 2; mean++)
        for (int64_t i = 0; i < ky; i++)
            for (int64_t j = 0; j < kx; j++) {
                const int64_t y = (int64_t)p[rows] + i - ky / 2, x = (int64_t)p[columns] + j - kx / 2;
                uint64_t place[3] = {0, 0, 0};
                if (y < 0 || x < 0 || y >= (int64_t)m->size[rows] || x >= (int64_t)m->size[columns])
                    continue;
                place[rows] = (uint64_t)y;
                place[columns] = (uint64_t)x;
                sum = r(o, sum + r(o, pooled(o, m, axis, place, mean == 1) * row4(kernel, which, mean, (uint64_t)i)[j]));
            }
    return sigmoid(o, r(o, sum + input(o, "shift")->data[which]));
}

/* Triplet attention (arXiv:2010.03045): the mean of x times the gates of (height, width), (channels, width) and (height, channels). */
static bool triplet(oracle *o)
{
    const rapt_check_array *x = input(o, "x");
    const uint64_t c = x->shape[1], h = x->shape[2], w = x->shape[3], each = c * h * w;
    const bool good = room(o, x->count, 0);
    for (uint64_t e = 0; e < x->count && good; e++) {
        const map m = {x->data + e / each * each, {c, h, w}};
        const uint64_t p[3] = {e % each / (h * w), e / w % h, e % w};
        const double gates = r(o, r(o, gate_at(o, &m, 0, 1, 2, p, 0) + gate_at(o, &m, 1, 0, 2, p, 1)) + gate_at(o, &m, 2, 1, 0, p, 2));
        o->to->out[e] = stored(o, r(o, r(o, x->data[e] * gates) / 3));
    }
    return good && !o->failed;
}

/* sigmoid(MLP(mean) + MLP(largest)) of channel `c`. */
static double channel_gate(oracle *o, const map *m, uint64_t c)
{
    const rapt_check_array *w1 = input(o, "w1"), *w2 = input(o, "w2");
    const uint64_t channels = m->size[0], hidden = w1->shape[0], places = m->size[1] * m->size[2];
    double sum = r(o, 2 * input(o, "b2")->data[c]);
    for (int largest = 0; largest < 2; largest++)
        for (uint64_t u = 0; u < hidden; u++) {
            double unit = input(o, "b1")->data[u];
            for (uint64_t x = 0; x < channels; x++) {
                double top = -INFINITY, mean = 0;
                for (uint64_t e = 0; e < places; e++) {
                    top = fmax(top, m->x[x * places + e]);
                    mean = r(o, mean + m->x[x * places + e]);
                }
                unit = r(o, unit + r(o, w1->data[u * channels + x] * (largest ? top : r(o, mean / (double)places))));
            }
            sum = r(o, sum + r(o, w2->data[c * hidden + u] * fmax(unit, 0)));
        }
    return sigmoid(o, sum);
}

/* CBAM (arXiv:1807.06521): channels first, then places. */
static bool cbam(oracle *o)
{
    const rapt_check_array *x = input(o, "x");
    const uint64_t c = x->shape[1], h = x->shape[2], w = x->shape[3], each = c * h * w;
    double *scaled = malloc((size_t)(each + 1) * sizeof *scaled);
    const bool good = scaled && room(o, x->count, 0);
    for (uint64_t b = 0; b < x->shape[0] && good; b++) {
        const map m = {x->data + b * each, {c, h, w}}, after = {scaled, {c, h, w}};
        for (uint64_t channel = 0; channel < c; channel++) {
            const double gate = channel_gate(o, &m, channel);
            for (uint64_t e = channel * h * w; e < (channel + 1) * h * w; e++)
                scaled[e] = r(o, gate * m.x[e]);
        }
        for (uint64_t e = 0; e < each; e++) {
            const uint64_t p[3] = {e / (h * w), e / w % h, e % w};
            o->to->out[b * each + e] = stored(o, r(o, scaled[e] * gate_at(o, &after, 0, 1, 2, p, 0)));
        }
    }
    free(scaled);
    return good && !o->failed;
}

/* ResNeSt (arXiv:2004.08955), equations 2 and 3 with one cardinal group: sum over splits r of softmax_r(W2 relu(W1 s + b1) + b2) x_r, s the
 * mean over places of the sum of splits. */
static double split_logit(oracle *o, const map *m, uint64_t channels, uint64_t split, uint64_t c)
{
    const rapt_check_array *w1 = input(o, "w1"), *w2 = input(o, "w2");
    const uint64_t hidden = w1->shape[0], places = m->size[1] * m->size[2], row = split * channels + c;
    double sum = input(o, "b2")->data[row];
    for (uint64_t u = 0; u < hidden; u++) {
        double unit = input(o, "b1")->data[u];
        for (uint64_t x = 0; x < channels; x++) {
            double mean = 0;
            for (uint64_t y = x; y < m->size[0]; y += channels)
                for (uint64_t e = 0; e < places; e++)
                    mean = r(o, mean + r(o, m->x[y * places + e] / (double)places));
            unit = r(o, unit + r(o, w1->data[u * channels + x] * mean));
        }
        sum = r(o, sum + r(o, w2->data[row * hidden + u] * fmax(unit, 0)));
    }
    return sum;
}

static bool resnest(oracle *o)
{
    const rapt_check_array *x = input(o, "x");
    const uint64_t splits = (uint64_t)whole(o, "radix"), c = x->shape[1] / splits, places = x->shape[2] * x->shape[3];
    const bool good = room(o, x->count / splits, 0);
    for (uint64_t b = 0; b < x->shape[0] && good; b++)
        for (uint64_t channel = 0; channel < c; channel++) {
            const map m = {x->data + b * x->shape[1] * places, {x->shape[1], x->shape[2], x->shape[3]}};
            double weight[3], top = -INFINITY, sum = 0;
            for (uint64_t s = 0; s < splits; s++)
                top = fmax(top, weight[s] = split_logit(o, &m, c, s, channel));
            for (uint64_t s = 0; s < splits; s++)
                sum = r(o, sum + (weight[s] = r(o, exp(r(o, weight[s] - top)))));
            for (uint64_t e = 0; e < places; e++) {
                double y = 0;
                for (uint64_t s = 0; s < splits; s++)
                    y = r(o, y + r(o, r(o, weight[s] / sum) * m.x[(s * c + channel) * places + e]));
                o->to->out[(b * c + channel) * places + e] = stored(o, y);
            }
        }
    return good && !o->failed;
}

/* ---- reading ---- */

/* Pointer Networks (arXiv:1506.03134), equation 3: softmax_j(w . tanh(c_j + a_i)). */
static bool pointer(oracle *o)
{
    const rapt_check_array *a = input(o, "a"), *c = input(o, "c"), *w = input(o, "w");
    const uint64_t m = a->shape[1], n = c->shape[1], hidden = a->shape[2];
    const bool good = room(o, a->shape[0] * m * n, 0);
    for (uint64_t row = 0; row < a->shape[0] * m && good; row++) {
        double top = -INFINITY, sum = 0, *out = o->to->out + row * n;
        for (uint64_t j = 0; j < n; j++) {
            out[j] = 0;
            for (uint64_t e = 0; e < hidden; e++)
                out[j] = r(o, out[j] + r(o, w->data[e] * r(o, tanh(r(o, a->data[row * hidden + e] + c->data[(row / m * n + j) * hidden + e])))));
            top = fmax(top, out[j]);
            o->to->score = fmax(o->to->score, (double)hidden);
        }
        for (uint64_t j = 0; j < n; j++)
            sum = r(o, sum + (out[j] = r(o, exp(r(o, out[j] - top)))));
        for (uint64_t j = 0; j < n; j++)
            out[j] = r(o, out[j] / sum);
    }
    return good && !o->failed;
}

/* SinkLoRA (arXiv:2406.05678): LongLoRA's groups, those of the last heads half a group further, sinks; or, at inference, H2O's keys. */
static bool in_group(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    const int64_t group = whole(o, "group");
    const uint64_t heads = input(o, "q")->shape[1];
    const bool moved = (double)o->head >= floor((1 - strtod(text_of(o, "shifted"), NULL)) * (double)heads + 0.5);
    (void)kv;
    return j <= p && (j < whole(o, "sinks") || (p + (moved ? group / 2 : 0)) / group == (j + (moved ? group / 2 : 0)) / group);
}

static bool sink_lora(oracle *o)
{
    bool heavy = false;
    for (uint32_t n = 0; n < o->p->input_count; n++)
        heavy |= strcmp(o->p->inputs[n].name, "sums") == 0;
    if (!heavy)
        return rows(o, in_group, softmax, 0);
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *sums = input(o, "sums");
    const uint64_t heads = q->shape[1], kv = k->shape[1], nk = k->shape[2], dv = v->shape[3];
    double unused;
    query one;
    const bool good = query_make(&one, nk, dv) && room(o, q->shape[0] * heads * dv, 0);
    for (uint64_t row = 0; row < q->shape[0] * heads && good; row++) {
        const uint64_t b = row / heads, h = row % heads, g = h * kv / heads;
        for (uint64_t j = 0; j < nk; j++) {
            one.seen[j] = (int64_t)(nk - j) <= whole(o, "recent");
            one.s[j] = product(o, row4(q, b, h, 0), row4(k, b, g, j), q->shape[3], scale_of(o, q->shape[3]));
            one.v[j] = row4(v, b, g, j);
        }
        take_largest(sums->data + (b * kv + g) * nk, nk, whole(o, "keep"), one.seen);
        one.out = o->to->out + row * dv;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* BiDAF (arXiv:1611.01603): s_ij = w1 h_i + w2 u_j + w3 (h_i u_j); a_i = softmax_j(s_i) u, h~ = softmax_i(max_j s_ij) h; [h; a; h a; h h~]. */
static bool bidaf(oracle *o)
{
    const rapt_check_array *h = input(o, "h"), *u = input(o, "u"), *w = input(o, "w");
    const uint64_t n = h->shape[1], m = u->shape[1], d = h->shape[2];
    double *s = malloc((size_t)(n * m + n + d + 1) * sizeof *s), *best = s + n * m, *context = best + n;
    const bool good = s && room(o, h->shape[0] * n * 4 * d, 0);
    for (uint64_t b = 0; b < h->shape[0] && good; b++) {
        double top = -INFINITY, sum = 0;
        for (uint64_t i = 0; i < n; i++) {
            best[i] = -INFINITY;
            for (uint64_t j = 0; j < m; j++) {
                double *x = &s[i * m + j], size = 0;
                *x = 0;
                for (uint64_t e = 0; e < d; e++) {
                    const double hi = h->data[(b * n + i) * d + e], uj = u->data[(b * m + j) * d + e];
                    *x = r(o, *x + r(o, r(o, w->data[e] * hi) + r(o, r(o, w->data[d + e] * uj) + r(o, r(o, w->data[2 * d + e] * hi) * uj))));
                    size += fabs(w->data[e] * hi) + fabs(w->data[d + e] * uj) + fabs(w->data[2 * d + e] * hi * uj);
                }
                o->to->score = fmax(o->to->score, size);
                best[i] = fmax(best[i], *x);
            }
            top = fmax(top, best[i]);
        }
        for (uint64_t i = 0; i < n; i++)
            sum = r(o, sum + r(o, exp(r(o, best[i] - top))));
        for (uint64_t e = 0; e < d; e++) {
            context[e] = 0;
            for (uint64_t i = 0; i < n; i++)
                context[e] = r(o, context[e] + r(o, r(o, r(o, exp(r(o, best[i] - top))) / sum) * h->data[(b * n + i) * d + e]));
        }
        for (uint64_t i = 0; i < n; i++) {
            double all = 0, *out = o->to->out + (b * n + i) * 4 * d;
            for (uint64_t j = 0; j < m; j++)
                all = r(o, all + r(o, exp(r(o, s[i * m + j] - best[i]))));
            for (uint64_t e = 0; e < d; e++) {
                const double hi = h->data[(b * n + i) * d + e];
                double a = 0;
                for (uint64_t j = 0; j < m; j++)
                    a = r(o, a + r(o, r(o, r(o, exp(r(o, s[i * m + j] - best[i]))) / all) * u->data[(b * m + j) * d + e]));
                out[e] = stored(o, hi);
                out[d + e] = stored(o, a);
                out[2 * d + e] = stored(o, r(o, hi * a));
                out[3 * d + e] = stored(o, r(o, hi * context[e]));
            }
        }
    }
    free(s);
    return good && !o->failed;
}

/* Skim-Attention (arXiv:2109.01078): the map of boxes over values; or its highest keys of each row are what the text may see. */
static bool skim(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    bool masks = false;
    for (uint32_t n = 0; n < o->p->input_count; n++)
        masks |= strcmp(o->p->inputs[n].name, "q_text") == 0;
    if (!masks)
        return rows(o, maybe_causal, softmax, 0);
    const rapt_check_array *qt = input(o, "q_text"), *kt = input(o, "k_text");
    const uint64_t heads = q->shape[1], n = q->shape[2], nk = k->shape[2], dv = v->shape[3];
    double *score = malloc((size_t)(nk + 1) * sizeof *score), unused;
    query one;
    const bool good = query_make(&one, nk, dv) && score && room(o, q->shape[0] * heads * n * dv, 0);
    for (uint64_t row = 0; row < q->shape[0] * heads * n && good; row++) {
        const uint64_t b = row / n / heads, h = row / n % heads, i = row % n, g = h * k->shape[1] / heads;
        for (uint64_t j = 0; j < nk; j++) {
            one.seen[j] = false;
            score[j] = whole(o, "causal") != 0 && j > i + nk - n ? -INFINITY : product(o, row4(q, b, h, i), row4(k, b, g, j), q->shape[3], 1);
            one.s[j] = product(o, row4(qt, b, h, i), row4(kt, b, g, j), qt->shape[3], scale_of(o, qt->shape[3]));
            one.v[j] = row4(v, b, g, j);
        }
        take_largest(score, nk, whole(o, "top"), one.seen);
        one.out = o->to->out + row * dv;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    free(score);
    return good && !o->failed;
}

/* Softmax attention of query `i` of head (b, h) over all of k and v, or those up to it. */
static void read_source(oracle *o, query *one, const char *k_name, const char *v_name, uint64_t b, uint64_t h, uint64_t i, bool causal, double *out)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, k_name), *v = input(o, v_name);
    const uint64_t nk = k->shape[2], g = h * k->shape[1] / q->shape[1];
    double unused;
    one->n = nk;
    for (uint64_t j = 0; j < nk; j++) {
        one->seen[j] = !causal || j <= i + nk - q->shape[2];
        one->s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), q->shape[3], scale_of(o, q->shape[3]));
        one->v[j] = row4(v, b, g, j);
    }
    one->out = out;
    one->lse = &unused;
    softmax(o, one);
}

/* Wings (arXiv:2406.03496): the main attention, and what two learners read of their modalities, weighed token by token. LLM Modules
 * (arXiv:2502.08213): x + g times cross attention. */
static bool added(oracle *o, bool wings)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *weights = input(o, wings ? "r" : "g");
    const uint64_t heads = q->shape[1], n = q->shape[2], dv = v->shape[3], all = q->shape[0] * heads * n,
                   most = k->shape[2] + (wings ? input(o, "k_visual")->shape[2] + input(o, "k_text")->shape[2] : 0);
    double *part = malloc((size_t)(3 * dv + 1) * sizeof *part);
    query one;
    const bool good = query_make(&one, most, dv) && part && room(o, all * dv, 0);
    for (uint64_t row = 0; row < all && good; row++) {
        const uint64_t b = row / n / heads, h = row / n % heads, i = row % n;
        read_source(o, &one, "k", "v", b, h, i, wings && whole(o, "causal") != 0, part);
        if (wings) {
            read_source(o, &one, "k_visual", "v_visual", b, h, i, false, part + dv);
            read_source(o, &one, "k_text", "v_text", b, h, i, false, part + 2 * dv);
        }
        for (uint64_t e = 0; e < dv; e++) {
            const double *w = weights->data + (b * n + i) * (wings ? 2 : 1);
            const double sum = wings ? r(o, r(o, part[e] + r(o, w[0] * part[dv + e])) + r(o, w[1] * part[2 * dv + e]))
                                     : r(o, row4(input(o, "x"), b, h, i)[e] + r(o, w[0] * part[e]));
            o->to->out[row * dv + e] = stored(o, sum);
        }
    }
    query_free(&one);
    free(part);
    return good && !o->failed;
}
static bool wings(oracle *o)
{
    return added(o, true);
}
static bool llm_modules(oracle *o)
{
    return added(o, false);
}

static const oracle_entry entries[] = {
    {"Wings (LoRRA)", wings},
    {"LLM Modules (enhanced cross-attention)", llm_modules},
    {"Triplet attention", triplet},
    {"CBAM", cbam},
    {"ResNeSt split-attention", resnest},
    {"BiDAF", bidaf},
    {"Pointer Networks", pointer},
    {"SinkLoRA (SF-Attn over S2-Attn, H2O)", sink_lora},
    {"Skim-Attention", skim},
};
const oracle_family rapt_oracles_gates = {entries, sizeof entries / sizeof *entries};
