#include "oracle_attention.h"

#include "half.h"
#include "oracle_grid.h"
#include "oracle_place.h"
#include "quantised.h"

#include <math.h>
#include <stdlib.h>

/* The inputs without gaps, (batch, heads, sequence, head_dim), q and k as they are multiplied, and which keys are not
 * finite. */
typedef struct problem {
    const rapt_attention_desc *desc;
    const rapt_check_inputs *in;
    double *q, *k;
    float *v, *u_factors, *v_factors; /* factors of a low-rank bias: NULL without */
    uint8_t *bad; /* (batch, kv heads, keys): key or value holds a NaN or an infinity */
    uint8_t *missing; /* (batch, keys): no page; NULL without pages */
    double scale;
} problem;

/* What one output row is made of. */
typedef struct row {
    const double *q, *k;
    const float *v;
    const float *u_factors, *v_factors; /* of the row, and of its first key */
    const uint8_t *bad;
    int64_t place; /* of the query, as a key position */
    uint64_t batch, head, query; /* of the query: its batch entry or sequence, its head, its place in its sequence */
    uint64_t keys;
    double sink, slope, decay; /* -inf, 0, 1: none */
    const float *key_bias, *bias; /* of the row's keys; NULL: none */
    const int32_t *segments; /* of the row's keys; NULL: none */
    int64_t gate_at;         /* where its gate begins */
    int64_t segment_key;     /* the key whose segment the query shares; it may not exist */
} row;

/* The elements of one row that begins at element (or word) `at`. */
static void load_row(const rapt_tensor *t, const void *data, int64_t at, uint64_t dim, float *to)
{
    if (rapt_check_is_quantised(t->dtype)) {
        rapt_check_dequantise(t->dtype, (const uint32_t *)data + at, dim, to);
        return;
    }
    for (uint64_t e = 0; e < dim; e++)
        to[e] = rapt_check_load(data, t->dtype, at + (int64_t)e);
}

static float *gather(const rapt_tensor *t, const void *data)
{
    const uint64_t count = t->size[0] * t->size[1] * t->size[2] * t->size[3];
    float *out = malloc((size_t)(count + 1) * sizeof *out), *at = out;
    if (!out)
        return NULL;
    for (uint64_t b = 0; b < t->size[0]; b++)
        for (uint64_t h = 0; h < t->size[1]; h++)
            for (uint64_t i = 0; i < t->size[2]; i++, at += t->size[3])
                load_row(t, data, (int64_t)b * t->stride[0] + (int64_t)h * t->stride[1] + (int64_t)i * t->stride[2], t->size[3], at);
    return out;
}

/* Keys or values as (batch, heads, nk, dim), from the pages of a pool; those without a page are 0. */
static float *gather_pages(const rapt_attention_desc *d, const rapt_tensor *t, uint64_t dim, const int32_t *table,
                           const void *data, uint8_t *missing)
{
    const uint64_t batch = d->q.size[0], heads = t->size[1], nk = d->block_table.size[1] * d->page_size;
    float *out = calloc((size_t)(batch * heads * nk * dim + 1), sizeof *out);
    for (uint64_t b = 0; out && b < batch; b++)
        for (uint64_t j = 0; j < nk; j++) {
            const int64_t page = table[(int64_t)b * d->block_table.stride[0] + (int64_t)(j / d->page_size)];
            missing[b * nk + j] = page < 0 || page >= (int64_t)t->size[0];
            for (uint64_t h = 0; h < heads && !missing[b * nk + j]; h++)
                load_row(t, data, page * t->stride[0] + (int64_t)h * t->stride[1] + (int64_t)(j % d->page_size) * t->stride[2], dim,
                         out + ((b * heads + h) * nk + j) * dim);
        }
    return out;
}

static double *widen(float *from, const rapt_tensor *t)
{
    const uint64_t count = t->size[0] * t->size[1] * t->size[2] * t->size[3];
    double *out = from ? malloc((size_t)(count + 1) * sizeof *out) : NULL;
    for (uint64_t i = 0; out && i < count; i++)
        out[i] = (double)from[i];
    free(from);
    return out;
}

static bool finite_row(const double *k, uint64_t dim_k, const float *v, uint64_t dim_v)
{
    for (uint64_t e = 0; e < dim_k; e++)
        if (!isfinite(k[e]))
            return false;
    for (uint64_t e = 0; e < dim_v; e++)
        if (!isfinite(v[e]))
            return false;
    return true;
}

static void problem_free(problem *p)
{
    free(p->q);
    free(p->k);
    free(p->v);
    free(p->u_factors);
    free(p->v_factors);
    free(p->bad);
    free(p->missing);
}

/* The descriptor with keys and values as they are seen: rows of head_dim elements, and without pages. */
static rapt_attention_desc without_pages(const rapt_attention_desc *desc)
{
    rapt_attention_desc d = *desc;
    d.k.size[3] = desc->q.size[3];
    d.v.size[3] = desc->out.size[3];
    if (desc->block_table.dtype == RAPT_DTYPE_NONE)
        return d;
    d.k.size[0] = d.v.size[0] = desc->q.size[0];
    d.k.size[2] = d.v.size[2] = desc->block_table.size[1] * desc->page_size;
    return d;
}

/* desc: without_pages(stored). */
static bool problem_make(problem *p, const rapt_attention_desc *desc, const rapt_attention_desc *stored,
                         const rapt_check_inputs *in)
{
    const bool paged = in->block_table != NULL;
    *p = (problem){.desc = desc, .in = in};
    p->missing = paged ? calloc((size_t)(desc->k.size[0] * desc->k.size[2]) + 1, 1) : NULL;
    if (paged && !p->missing)
        return false;
    p->q = widen(gather(&desc->q, in->q), &desc->q);
    p->k = widen(paged ? gather_pages(desc, &stored->k, desc->k.size[3], in->block_table, in->k, p->missing) : gather(&desc->k, in->k),
                 &desc->k);
    if (desc->bias_u.dtype != RAPT_DTYPE_NONE) {
        p->u_factors = gather(&desc->bias_u, in->bias_u);
        p->v_factors = gather(&desc->bias_v, in->bias_v);
        if (!p->u_factors || !p->v_factors)
            return false;
    }
    p->v = paged ? gather_pages(desc, &stored->v, desc->v.size[3], in->block_table, in->v, p->missing) : gather(&desc->v, in->v);
    p->bad = calloc((size_t)(desc->k.size[0] * desc->k.size[1] * desc->k.size[2]) + 1, 1);
    p->scale = desc->flags & RAPT_ATTENTION_SCALE ? (double)desc->scale : 1 / sqrt((double)desc->q.size[3]);
    if (!p->q || !p->k || !p->v || !p->bad)
        return false;
    const uint64_t keys = desc->k.size[0] * desc->k.size[1] * desc->k.size[2], dim_k = desc->k.size[3], dim_v = desc->v.size[3];
    for (uint64_t j = 0; j < keys; j++)
        p->bad[j] = !finite_row(p->k + j * dim_k, dim_k, p->v + j * dim_v, dim_v);
    return true;
}

static uint64_t heads_out(const rapt_attention_desc *d)
{
    return d->q.size[1] > d->k.size[1] ? d->q.size[1] : d->k.size[1];
}

/* Whether the query at position p sees key j. */
static bool sees(const rapt_attention_desc *d, int64_t p, int64_t j)
{
    if (d->grid.rank > 0)
        return rapt_check_grid_sees(&d->grid, (uint64_t)p, (uint64_t)j);
    if ((d->flags & RAPT_ATTENTION_CAUSAL) && j > p)
        return false;
    if (!(d->flags & RAPT_ATTENTION_WINDOW) || (uint64_t)j < d->sink_tokens)
        return true;
    return (d->window_left < 0 || j >= p - d->window_left) && (d->window_right < 0 || j <= p + d->window_right);
}

/* Query i of nq stands at key position p = i + (nk - nq) + causal_offset; offsets beyond all keys and queries are kept
 * from overflowing. */
static int64_t place_of(const rapt_attention_desc *d, uint64_t i, uint64_t nq, uint64_t nk)
{
    if (d->grid.rank > 0) /* which has no offset */
        return (int64_t)i;
    const int64_t far = (int64_t)1 << 40;
    const int64_t offset = d->causal_offset > far ? far : d->causal_offset < -far ? -far : d->causal_offset;
    return (int64_t)i + (int64_t)nk - (int64_t)nq + offset;
}

/* Whether the block mask shows key j to a row. */
static bool block_shows(const problem *p, const row *r, uint64_t j)
{
    const rapt_tensor *m = &p->desc->block_mask;
    const uint64_t at[4] = {m->size[0] > 1 ? r->batch : 0, m->size[1] > 1 ? r->head : 0, r->query / p->desc->block_q,
                            j / p->desc->block_k};
    int64_t element = 0;
    for (int axis = 0; axis < 4; axis++)
        element += (int64_t)at[axis] * m->stride[axis];
    return p->in->block_mask[element] != 0;
}

/* Whether a row sees key j. */
static bool row_sees(const problem *p, const row *r, uint64_t j)
{
    const rapt_check_user *u = p->in->user;
    if (p->missing && p->missing[r->batch * p->desc->k.size[2] + j])
        return false;
    if (p->desc->block_mask.dtype != RAPT_DTYPE_NONE && !block_shows(p, r, j))
        return false;
    if (!sees(p->desc, r->place, (int64_t)j) ||
        (r->segments && (r->segment_key < 0 || r->segments[j] != r->segments[r->segment_key])))
        return false;
    return !u || !u->mask_mod || u->mask_mod(u, r->batch, r->head, r->query, j);
}

/* The scaled dot product as it goes into the softmax. */
static double score_of(const problem *p, const row *r, uint64_t j, double score)
{
    const rapt_check_user *u = p->in->user;
    return u && u->score_mod ? u->score_mod(u, score, r->batch, r->head, r->query, j) : score;
}

static uint64_t visible_keys(const rapt_attention_desc *d, int64_t place, uint64_t nk)
{
    uint64_t count = 0;
    for (uint64_t j = 0; j < nk; j++)
        count += sees(d, place, (int64_t)j);
    return count;
}

/* The sequence that row i lies in: its place among that sequence's queries, and the sequence's lengths and
 * first key. False when nothing is written to row i. */
static bool find_sequence(const problem *p, uint64_t i, uint64_t *sequence, uint64_t *place, uint64_t *nq, uint64_t *nk,
                          uint64_t *key0)
{
    const rapt_attention_desc *d = p->desc;
    *sequence = 0;
    *place = i;
    *nq = d->q.size[2];
    *nk = d->k.size[2];
    *key0 = 0;
    if (d->sequences == 0)
        return true;
    const int32_t *cu_q = p->in->cu_seqlens_q, *cu_k = p->in->cu_seqlens_k;
    for (uint32_t s = 0; s < d->sequences; s++)
        if ((int64_t)i >= cu_q[s] && (int64_t)i < cu_q[s + 1]) {
            *sequence = s;
            *place = i - (uint64_t)cu_q[s];
            *nq = (uint64_t)(cu_q[s + 1] - cu_q[s]);
            *nk = (uint64_t)(cu_k[s + 1] - cu_k[s]);
            *key0 = (uint64_t)cu_k[s];
            return d->max_seqlen_q == 0 || *place < d->max_seqlen_q;
        }
    return false;
}

/* QK-norm and rotary positions of one row, as rapt/attention.h has them; in single precision and rounded as it is stored, or
 * in double. */
static void turn_f64(const rapt_attention_desc *d, double *x, int64_t place)
{
    const uint64_t dim = d->q.size[3], dim_rope = d->rope_dim ? d->rope_dim : dim;
    double squares = 0;
    for (uint64_t e = 0; e < dim; e++)
        squares += x[e] * x[e];
    for (uint64_t e = 0; e < dim && (d->flags & RAPT_ATTENTION_QK_NORM); e++)
        x[e] /= sqrt(squares / (double)dim + (double)d->qk_norm_epsilon);
    for (uint64_t i = 0; i < dim_rope / 2 && d->rope_base > 0; i++) {
        const bool interleaved = d->flags & RAPT_ATTENTION_ROPE_INTERLEAVED;
        const uint64_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + dim_rope / 2;
        const double angle = (double)place * pow(d->rope_base, -2.0 * (double)i / (double)dim_rope);
        const double a = x[first], b = x[second];
        x[first] = a * cos(angle) - b * sin(angle);
        x[second] = b * cos(angle) + a * sin(angle);
    }
}
static void turn_f32(const rapt_attention_desc *d, double *x, int64_t place)
{
    const uint64_t dim = d->q.size[3], dim_rope = d->rope_dim ? d->rope_dim : dim;
    float squares = 0;
    for (uint64_t e = 0; e < dim; e++)
        squares += (float)x[e] * (float)x[e];
    for (uint64_t e = 0; e < dim && (d->flags & RAPT_ATTENTION_QK_NORM); e++)
        x[e] = (double)((float)x[e] / sqrtf(squares / (float)dim + d->qk_norm_epsilon));
    for (uint64_t i = 0; i < dim_rope / 2 && d->rope_base > 0; i++) {
        const bool interleaved = d->flags & RAPT_ATTENTION_ROPE_INTERLEAVED;
        const uint64_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + dim_rope / 2;
        const double angle = (double)place * pow(d->rope_base, -2.0 * (double)i / (double)dim_rope);
        const float a = (float)x[first], b = (float)x[second], c = (float)cos(angle), s = (float)sin(angle);
        x[first] = (double)(a * c - b * s);
        x[second] = (double)(b * c + a * s);
    }
    for (uint64_t e = 0; e < dim; e++)
        x[e] = (double)rapt_check_round(d->q.dtype, (float)x[e]);
}

/* A key's index in its sequence. */
static uint64_t key_place(const problem *p, uint64_t j)
{
    for (uint32_t s = 0; s < p->desc->sequences; s++)
        if ((int64_t)j >= p->in->cu_seqlens_k[s] && (int64_t)j < p->in->cu_seqlens_k[s + 1])
            return j - (uint64_t)p->in->cu_seqlens_k[s];
    return j;
}

static void turn_all(problem *p, bool single)
{
    const rapt_attention_desc *d = p->desc;
    void (*const turn)(const rapt_attention_desc *, double *, int64_t) = single ? turn_f32 : turn_f64;
    const uint64_t dim = d->q.size[3], q_rows = d->q.size[0] * d->q.size[1] * d->q.size[2],
                   k_rows = d->k.size[0] * d->k.size[1] * d->k.size[2];
    if (!(d->flags & RAPT_ATTENTION_QK_NORM) && d->rope_base == 0)
        return;
    for (uint64_t n = 0; n < q_rows; n++) {
        uint64_t sequence, place, nq, nk, key0;
        if (find_sequence(p, n % d->q.size[2], &sequence, &place, &nq, &nk, &key0))
            turn(d, p->q + n * dim, place_of(d, place, nq, nk));
    }
    for (uint64_t n = 0; n < k_rows; n++)
        turn(d, p->k + n * dim, (int64_t)key_place(p, n % d->k.size[2]));
}

/* Row i of output head g of batch b. */
static bool find_row(const problem *p, uint64_t b, uint64_t g, uint64_t i, row *r)
{
    const rapt_tensor *q = &p->desc->q, *k = &p->desc->k, *v = &p->desc->v;
    const uint64_t heads = heads_out(p->desc), h = g * q->size[1] / heads, h_kv = g * k->size[1] / heads;
    uint64_t sequence, place, nq, nk, key0;
    if (!find_sequence(p, i, &sequence, &place, &nq, &nk, &key0))
        return false;
    if (p->in->k_lengths) {
        const int64_t length = p->in->k_lengths[b];
        nk = length < 0 ? 0 : (uint64_t)length < nk ? (uint64_t)length : nk;
    }
    const uint64_t key = (b * k->size[1] + h_kv) * k->size[2] + key0;
    r->q = p->q + ((b * q->size[1] + h) * q->size[2] + i) * q->size[3];
    r->k = p->k + key * k->size[3];
    r->v = p->v + key * v->size[3];
    r->bad = p->bad + key;
    const rapt_tensor *fu = &p->desc->bias_u, *fv = &p->desc->bias_v;
    r->u_factors = r->v_factors = NULL;
    if (p->u_factors) {
        r->u_factors = p->u_factors +
                       (((fu->size[0] > 1 ? b : 0) * fu->size[1] + (fu->size[1] > 1 ? h : 0)) * fu->size[2] + i) * fu->size[3];
        r->v_factors = p->v_factors +
                       (((fv->size[0] > 1 ? b : 0) * fv->size[1] + (fv->size[1] > 1 ? h : 0)) * fv->size[2] + key0) * fv->size[3];
    }
    r->keys = nk;
    r->place = place_of(p->desc, place, nq, nk);
    r->batch = p->desc->sequences > 0 ? sequence : b;
    r->head = h;
    r->query = place;
    const rapt_attention_desc *d = p->desc;
    r->sink = d->link == RAPT_LINK_OFFBYONE ? 0 : -INFINITY;
    if (d->sinks.dtype != RAPT_DTYPE_NONE)
        r->sink = (double)p->in->sinks[(int64_t)(g * d->sinks.size[0] / heads) * d->sinks.stride[0]];
    r->slope = d->alibi.dtype != RAPT_DTYPE_NONE ? (double)p->in->alibi[(int64_t)h * d->alibi.stride[0]] : 0;
    r->decay = d->decay.dtype != RAPT_DTYPE_NONE ? (double)p->in->decay[(int64_t)h * d->decay.stride[0]] : 1;
    r->key_bias = NULL;
    if (d->key_bias.dtype != RAPT_DTYPE_NONE)
        r->key_bias = p->in->key_bias + (d->key_bias.size[0] > 1 ? (int64_t)b * d->key_bias.stride[0] : 0) +
                      (d->key_bias.size[1] > 1 ? (int64_t)h * d->key_bias.stride[1] : 0) + key0;
    r->bias = NULL;
    if (d->bias.dtype != RAPT_DTYPE_NONE)
        r->bias = p->in->bias + (d->bias.size[0] > 1 ? (int64_t)b * d->bias.stride[0] : 0) +
                  (d->bias.size[1] > 1 ? (int64_t)h * d->bias.stride[1] : 0) + (int64_t)i * d->bias.stride[2];
    r->gate_at = (int64_t)b * d->gate.stride[0] + (int64_t)g * d->gate.stride[1] + (int64_t)i * d->gate.stride[2];
    r->segments = NULL;
    if (d->segments.dtype != RAPT_DTYPE_NONE)
        r->segments = p->in->segments + (int64_t)b * d->segments.stride[0] + key0;
    r->segment_key = (int64_t)place + (int64_t)nk - (int64_t)nq;
    return true;
}

/* The weight of a score where the link has no denominator; the formulas of rapt_link. */
static double additive_weight(rapt_link link, double s)
{
    const double m = sqrt(0.5), d = sqrt(1 / (4 * 3.14159265358979323846));
    switch (link) {
    case RAPT_LINK_SIGMOID:
        return 1 / (1 + exp(-s));
    case RAPT_LINK_LAPLACE:
        return 0.5 * (1 + erf((s - m) / (d * sqrt(2))));
    case RAPT_LINK_RELU:
        return fmax(s, 0);
    default:
        return s;
    }
}
static float additive_weight_f32(rapt_link link, float s)
{
    const float m = sqrtf(0.5f), d = sqrtf(1 / (4 * 3.14159265f));
    switch (link) {
    case RAPT_LINK_SIGMOID:
        return 1 / (1 + expf(-s));
    case RAPT_LINK_LAPLACE:
        return 0.5f * (1 + erff((s - m) / (d * sqrtf(2))));
    case RAPT_LINK_RELU:
        return fmaxf(s, 0);
    default:
        return s;
    }
}

static bool is_additive(rapt_link link)
{
    return link >= RAPT_LINK_SIGMOID && link < RAPT_LINK_CLIPPED;
}

/* The clipped and the affine link's weight in place of softmax's. */
static bool two_passes(rapt_link link)
{
    return link == RAPT_LINK_CLIPPED || link == RAPT_LINK_AFFINE;
}
static double clip_f64(const rapt_attention_desc *d, double weight)
{
    if (d->link == RAPT_LINK_AFFINE)
        return (double)d->link_alpha * weight + (double)d->link_beta;
    return fmin(fmax(((double)d->link_zeta - (double)d->link_gamma) * weight + (double)d->link_gamma, 0), 1);
}
static float clip_f32(const rapt_attention_desc *d, float weight)
{
    if (d->link == RAPT_LINK_AFFINE)
        return d->link_alpha * weight + d->link_beta;
    return fminf(fmaxf((d->link_zeta - d->link_gamma) * weight + d->link_gamma, 0), 1);
}

/* What is added by where key j lies from the query, ALiBi's share and the table's; and what its weight is multiplied by. */
static double place_bias(const problem *p, const row *r, uint64_t j)
{
    double bias = r->slope != 0 ? -r->slope * rapt_check_steps_apart(p->desc, r->place, (int64_t)j) : 0;
    if (p->desc->relative.dtype != RAPT_DTYPE_NONE)
        bias += rapt_check_relative(p->desc, p->in->relative, r->head, r->place, (int64_t)j);
    return bias;
}
static double decay(const problem *p, const row *r, uint64_t j)
{
    return r->decay != 1 ? pow(r->decay, rapt_check_steps_apart(p->desc, r->place, (int64_t)j)) : 1;
}

/* Links without a denominator: out = sum of weight(s_j) v_j, lse = 0. Keys whose bias is -inf have no weight. */
static void add_up_f64(const problem *p, const row *r, const double *s, double *out, double *lse)
{
    const uint64_t dim_v = p->desc->v.size[3];
    for (uint64_t e = 0; e < dim_v; e++)
        out[e] = 0;
    for (uint64_t j = 0; j < r->keys; j++)
        if (row_sees(p, r, j) && s[j] > -INFINITY)
            for (uint64_t e = 0; e < dim_v; e++)
                out[e] += additive_weight(p->desc->link, s[j]) * decay(p, r, j) * (double)r->v[j * dim_v + e];
    *lse = 0;
}
/* A weight as units that multiply 16-bit operands take it: over the largest size of its row, rounded to the storage type. */
static float half_weight(const problem *p, float weight, float largest)
{
    return largest > 0 ? rapt_check_round(p->desc->q.dtype, weight / largest) * largest : 0;
}

/* acc = weights V, of weights that are not divided by a sum; 0 for keys that the row does not see. */
static void weigh_f32(const problem *p, const row *r, bool half_weights, const float *weights, float *acc)
{
    const uint64_t dim_v = p->desc->v.size[3];
    float largest = 0;
    for (uint64_t j = 0; j < r->keys; j++)
        largest = fmaxf(largest, fabsf(weights[j]));
    for (uint64_t e = 0; e < dim_v; e++)
        acc[e] = 0;
    for (uint64_t j = 0; j < r->keys; j++)
        if (row_sees(p, r, j) && weights[j] != 0)
            for (uint64_t e = 0; e < dim_v; e++)
                acc[e] += (half_weights ? half_weight(p, weights[j], largest) : weights[j]) * r->v[j * dim_v + e];
}

/* s: scores, and weights in their place afterwards. */
static void add_up_f32(const problem *p, const row *r, bool half_weights, float *s, float *acc, double *out, double *lse)
{
    const uint64_t dim_v = p->desc->v.size[3];
    for (uint64_t j = 0; j < r->keys; j++)
        s[j] = row_sees(p, r, j) && s[j] > -INFINITY ? additive_weight_f32(p->desc->link, s[j]) * (float)decay(p, r, j) : 0;
    weigh_f32(p, r, half_weights, s, acc);
    for (uint64_t e = 0; e < dim_v; e++)
        out[e] = (double)rapt_check_round(p->desc->q.dtype, acc[e]);
    *lse = 0;
}

/* With the signed link, weights are sign(s) exp(|s|). A bias of -inf still means no weight. */
static double exponent(const rapt_attention_desc *d, double s)
{
    return d->link == RAPT_LINK_SIGNED && s > -INFINITY ? fabs(s) : s;
}
static double factor(const rapt_attention_desc *d, double s)
{
    return d->link != RAPT_LINK_SIGNED ? 1 : s > 0 ? 1 : s < 0 ? -1 : 0;
}

/* out = softmax(s) V over the visible keys, lse = log(sum(exp(s))), of the scores s = cap(scale * q K^T) + biases; a sink
 * is one more key, with a score and a value of 0. s: room for the scores. */
static void attend_f64(const problem *p, const row *r, double *s, double *out, double *lse)
{
    const uint64_t dim_qk = p->desc->q.size[3], dim_v = p->desc->v.size[3];
    const uint64_t rank = p->desc->bias_u.size[3];
    double largest = r->sink, sum = 0;
    for (uint64_t j = 0; j < r->keys; j++) {
        if (!row_sees(p, r, j))
            continue;
        double dot = 0;
#pragma omp simd reduction(+ : dot)
        for (uint64_t e = 0; e < dim_qk; e++)
            dot += r->q[e] * r->k[j * dim_qk + e];
        s[j] = p->scale * dot;
        if (p->desc->soft_cap > 0)
            s[j] = (double)p->desc->soft_cap * tanh(s[j] / (double)p->desc->soft_cap);
        for (uint64_t e = 0; r->u_factors && e < rank; e++)
            s[j] += (double)r->u_factors[e] * (double)r->v_factors[j * rank + e];
        s[j] += (r->bias ? (double)r->bias[j] : 0) + (r->key_bias ? (double)r->key_bias[j] : 0) + place_bias(p, r, j);
        s[j] = score_of(p, r, j, s[j]);
        largest = fmax(largest, exponent(p->desc, s[j]));
    }
    if (is_additive(p->desc->link)) {
        add_up_f64(p, r, s, out, lse);
        return;
    }
    for (uint64_t e = 0; e < dim_v; e++)
        out[e] = 0;
    for (uint64_t j = 0; j < r->keys && largest > -INFINITY; j++) {
        if (!row_sees(p, r, j))
            continue;
        double weight = exp(exponent(p->desc, s[j]) - largest);
        sum += weight;
        weight *= factor(p->desc, s[j]) * decay(p, r, j);
#pragma omp simd
        for (uint64_t e = 0; e < dim_v; e++)
            out[e] += weight * (double)r->v[j * dim_v + e];
    }
    if (r->sink > -INFINITY)
        sum += exp(r->sink - largest);
    for (uint64_t e = 0; e < dim_v && sum > 0; e++)
        out[e] /= sum;
    for (uint64_t e = 0; e < dim_v && two_passes(p->desc->link); e++) {
        out[e] = 0;
        for (uint64_t j = 0; j < r->keys && sum > 0; j++)
            if (row_sees(p, r, j) && s[j] > -INFINITY)
                out[e] += clip_f64(p->desc, exp(s[j] - largest) / sum) * decay(p, r, j) * (double)r->v[j * dim_v + e];
    }
    *lse = sum > 0 ? largest + log(sum) : -INFINITY;
}

/* The same, term by term, in single precision, and rounded to the storage type; the weights too if `half_weights`.
 * acc: room for a row of v. */
static void attend_f32(const problem *p, const row *r, bool half_weights, float *s, float *acc, double *out, double *lse)
{
    const uint64_t dim_qk = p->desc->q.size[3], dim_v = p->desc->v.size[3];
    const uint64_t rank = p->desc->bias_u.size[3];
    const float scale = (float)p->scale;
    float largest = (float)r->sink, sum = 0;
    for (uint64_t j = 0; j < r->keys; j++) {
        if (!row_sees(p, r, j))
            continue;
        float dot = 0;
        for (uint64_t e = 0; e < dim_qk; e++)
            dot += (float)r->q[e] * (float)r->k[j * dim_qk + e];
        for (uint64_t e = 0; r->u_factors && e < rank; e++) /* behind q, where the scale meets it */
            dot += rapt_check_round(p->desc->q.dtype, r->u_factors[e] / scale) * r->v_factors[j * rank + e];
        s[j] = scale * dot;
        if (p->desc->soft_cap > 0)
            s[j] = p->desc->soft_cap * tanhf(s[j] / p->desc->soft_cap);
        s[j] += r->bias ? r->bias[j] : 0;
        s[j] += r->key_bias ? r->key_bias[j] : 0;
        s[j] += (float)place_bias(p, r, j);
        s[j] = (float)score_of(p, r, j, (double)s[j]);
        largest = fmaxf(largest, (float)exponent(p->desc, (double)s[j]));
    }
    if (is_additive(p->desc->link)) {
        add_up_f32(p, r, half_weights, s, acc, out, lse);
        return;
    }
    for (uint64_t e = 0; e < dim_v; e++)
        acc[e] = 0;
    for (uint64_t j = 0; j < r->keys && largest > -INFINITY; j++) {
        if (!row_sees(p, r, j))
            continue;
        float weight = expf((float)exponent(p->desc, (double)s[j]) - largest);
        if (half_weights)
            weight = rapt_check_round(p->desc->q.dtype, weight);
        sum += weight;
        weight *= (float)factor(p->desc, (double)s[j]) * (float)decay(p, r, j);
        if (half_weights)
            weight = rapt_check_round(p->desc->q.dtype, weight);
        for (uint64_t e = 0; e < dim_v; e++)
            acc[e] += weight * r->v[j * dim_v + e];
    }
    if (r->sink > -INFINITY)
        sum += expf((float)r->sink - largest);
    if (two_passes(p->desc->link)) {
        for (uint64_t j = 0; j < r->keys; j++)
            s[j] = sum > 0 && row_sees(p, r, j) && s[j] > -INFINITY
                       ? clip_f32(p->desc, expf(s[j] - largest) / sum) * (float)decay(p, r, j)
                       : 0;
        weigh_f32(p, r, half_weights, s, acc);
    }
    const float divisor = two_passes(p->desc->link) ? 1 : sum;
    for (uint64_t e = 0; e < dim_v; e++)
        out[e] = sum > 0 ? (double)rapt_check_round(p->desc->q.dtype, acc[e] / divisor) : 0;
    *lse = sum > 0 ? (double)(largest + logf(sum)) : (double)-INFINITY;
}

static bool any_bad(const problem *p, const row *r)
{
    for (uint64_t j = 0; j < r->keys; j++)
        if (r->bad[j] && row_sees(p, r, j))
            return true;
    return false;
}

enum precision { DOUBLE, SINGLE, SINGLE_HALF_WEIGHTS };

static bool attention(const rapt_attention_desc *stored, const rapt_check_inputs *in, enum precision precision,
                      uint64_t row_step, double *out, double *lse, uint8_t *rows)
{
    const rapt_attention_desc seen = without_pages(stored), *const desc = &seen;
    const uint64_t heads = heads_out(desc), nq = desc->q.size[2], nk = desc->k.size[2],
                   dim_v = desc->v.size[3];
    problem p;
    double *s = malloc((size_t)(nk + dim_v + 1) * sizeof *s);
    const bool good = problem_make(&p, desc, stored, in) && s;
    if (good)
        turn_all(&p, precision != DOUBLE);
    for (uint64_t b = 0; good && b < desc->q.size[0]; b++)
        for (uint64_t g = 0; g < heads; g++)
            for (uint64_t i = 0; i < nq; i++) {
                const uint64_t at = (b * heads + g) * nq + i;
                row r;
                if (!find_row(&p, b, g, i, &r))
                    rows[at] = RAPT_ROW_UNTOUCHED;
                else if (row_step > 1 && at % row_step != 0 && i != 0 && i != nq - 1)
                    rows[at] = RAPT_ROW_SKIPPED;
                else if (any_bad(&p, &r))
                    rows[at] = RAPT_ROW_ANY;
                else {
                    rows[at] = RAPT_ROW_DONE;
                    if (precision != DOUBLE)
                        attend_f32(&p, &r, precision == SINGLE_HALF_WEIGHTS, (float *)s, (float *)s + nk, out + at * dim_v, lse + at);
                    else
                        attend_f64(&p, &r, s, out + at * dim_v, lse + at);
                    for (uint64_t e = 0; e < dim_v && desc->gate.dtype != RAPT_DTYPE_NONE; e++) {
                        const double g_e = (double)rapt_check_load(in->gate, desc->gate.dtype, r.gate_at + (int64_t)e);
                        double *o = &out[at * dim_v + e];
                        if (precision == DOUBLE)
                            *o /= 1 + exp(-g_e);
                        else
                            *o = (double)rapt_check_round(desc->q.dtype, (float)*o / (1 + expf((float)-g_e)));
                    }
                }
            }
    problem_free(&p);
    free(s);
    return good;
}

bool rapt_check_attention_f64(const rapt_attention_desc *desc, const rapt_check_inputs *in, uint64_t row_step,
                              double *out, double *lse, uint8_t *rows)
{
    return attention(desc, in, DOUBLE, row_step, out, lse, rows);
}

bool rapt_check_attention_f32(const rapt_attention_desc *desc, const rapt_check_inputs *in, uint64_t row_step,
                              double *out, double *lse, uint8_t *rows)
{
    return attention(desc, in, SINGLE, row_step, out, lse, rows);
}

bool rapt_check_attention_half_weights(const rapt_attention_desc *desc, const rapt_check_inputs *in, uint64_t row_step,
                                       double *out, double *lse, uint8_t *rows)
{
    return attention(desc, in, SINGLE_HALF_WEIGHTS, row_step, out, lse, rows);
}

bool rapt_check_attention_sees(const rapt_attention_desc *desc, uint64_t i, uint64_t nq, uint64_t nk, uint64_t j)
{
    return sees(desc, place_of(desc, i, nq, nk), (int64_t)j);
}

double rapt_check_attention_pairs(const rapt_attention_desc *stored, const rapt_check_inputs *in)
{
    const rapt_attention_desc seen = without_pages(stored), *const desc = &seen;
    const problem p = {.desc = desc, .in = in};
    double pairs = desc->grid.rank > 0 ? rapt_check_grid_pairs(&desc->grid) : 0;
    for (uint64_t i = 0; i < desc->q.size[2] && desc->grid.rank == 0; i++) {
        uint64_t sequence, place, nq, nk, key0;
        if (find_sequence(&p, i, &sequence, &place, &nq, &nk, &key0))
            pairs += (double)visible_keys(desc, place_of(desc, place, nq, nk), nk);
    }
    return pairs * (double)desc->q.size[0] * (double)heads_out(desc);
}

double rapt_check_attention_block_pairs(const rapt_attention_desc *desc, const rapt_check_inputs *in)
{
    const problem p = {.desc = desc, .in = in};
    const rapt_tensor *m = &desc->block_mask;
    const uint64_t nq = desc->q.size[2], nk = desc->k.size[2];
    double pairs = 0;
    for (uint64_t b = 0; b < m->size[0]; b++)
        for (uint64_t h = 0; h < m->size[1]; h++)
            for (uint64_t i = 0; i < nq; i++) {
                const row r = {.batch = b, .head = h, .query = i};
                for (uint64_t j = 0; j < nk; j++)
                    pairs += block_shows(&p, &r, j) && sees(desc, place_of(desc, i, nq, nk), (int64_t)j);
            }
    return pairs * (double)desc->q.size[0] * (double)heads_out(desc) / ((double)m->size[0] * (double)m->size[1]);
}
