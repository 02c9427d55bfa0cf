/* One oracle per published system, each from the paper's own formula: it knows nothing of recipes,
 * descriptors or kernels. Written for small problems and for reading. Every operation goes through r(), which
 * rounds to single precision where that is asked for. */
#include "oracle_system.h"

#include "oracle_grid.h"

/* Rabe & Staats, section 2: one pass with the running maximum m*, and v* and s* rescaled when it grows. */
static void rabe_staats(const oracle *o, const query *q)
{
    double m = -INFINITY, s = 0;
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = 0;
    for (uint64_t j = 0; j < q->n; j++) {
        if (!q->seen[j])
            continue;
        const double next = fmax(m, q->s[j]), keep = r(o, exp(m - next)), w = weight(o, exp(q->s[j] - next));
        for (uint64_t e = 0; e < q->d_v; e++)
            q->out[e] = r(o, r(o, q->out[e] * keep) + r(o, w * q->v[j][e]));
        s = r(o, r(o, s * keep) + w);
        m = next;
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = s > 0 ? stored(o, r(o, q->out[e] / s)) : 0;
    *q->lse = s > 0 ? r(o, m + r(o, log(s))) : -INFINITY;
}

/* Tiles of B keys. FlashAttention, algorithm 1, keeps its output divided after each tile; FlashAttention-2,
 * algorithm 1, divides at the end. */
static void tiles(const oracle *o, const query *q, bool divided)
{
    enum { B = 8 };
    double m = -INFINITY, l = 0;
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = 0;
    for (uint64_t first = 0; first < q->n; first += B) {
        const uint64_t end = first + B < q->n ? first + B : q->n;
        double top = m, sum = 0;
        for (uint64_t j = first; j < end; j++)
            if (q->seen[j])
                top = fmax(top, q->s[j]);
        if (top == -INFINITY)
            continue; /* no key of this tile, nor of those before, is seen */
        const double keep = r(o, exp(m - top));
        for (uint64_t e = 0; e < q->d_v; e++)
            q->out[e] = r(o, q->out[e] * (divided ? r(o, l * keep) : keep));
        for (uint64_t j = first; j < end; j++) {
            if (!q->seen[j])
                continue;
            const double w = weight(o, exp(r(o, q->s[j] - top)));
            sum = r(o, sum + w);
            for (uint64_t e = 0; e < q->d_v; e++)
                q->out[e] = r(o, q->out[e] + r(o, w * q->v[j][e]));
        }
        l = r(o, r(o, l * keep) + sum);
        m = top;
        for (uint64_t e = 0; e < q->d_v && divided; e++)
            q->out[e] = r(o, q->out[e] / l);
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = l > 0 ? stored(o, divided ? q->out[e] : r(o, q->out[e] / l)) : 0;
    *q->lse = l > 0 ? r(o, m + r(o, log(l))) : -INFINITY;
}

static void flash_attention(const oracle *o, const query *q)
{
    tiles(o, q, true);
}
static void flash_attention_2(const oracle *o, const query *q)
{
    tiles(o, q, false);
}

#define MOST_DECODED 128 /* elements of a value */

/* Flash-Decoding: each part by itself, then L = log sum exp(L_p) and out = sum exp(L_p - L) O_p. */
static void flash_decoding(const oracle *o, const query *q)
{
    enum { PARTS = 3 };
    double part[PARTS][MOST_DECODED] = {{0}}, lse[PARTS], top = -INFINITY, sum = 0;
    for (int p = 0; p < PARTS; p++) {
        const uint64_t first = q->n * (uint64_t)p / PARTS, end = q->n * (uint64_t)(p + 1) / PARTS;
        query one = *q;
        one.n = end - first;
        one.s += first;
        one.seen += first;
        one.v += first;
        one.out = part[p];
        one.lse = &lse[p];
        oracle unrounded = *o; /* partial outputs stay in single precision */
        rapt_check_system wide = *o->p;
        wide.dtype = RAPT_F32;
        if (o->precision == RAPT_CHECK_SINGLE)
            unrounded.p = &wide;
        softmax(&unrounded, &one);
        top = fmax(top, lse[p]);
    }
    for (int p = 0; p < PARTS && top > -INFINITY; p++)
        sum = r(o, sum + r(o, exp(lse[p] - top)));
    for (uint64_t e = 0; e < q->d_v; e++) {
        q->out[e] = 0;
        for (int p = 0; p < PARTS && top > -INFINITY; p++)
            q->out[e] = r(o, q->out[e] + r(o, r(o, exp(lse[p] - top) / sum) * part[p][e]));
        q->out[e] = stored(o, q->out[e]);
    }
    *q->lse = top > -INFINITY ? r(o, top + r(o, log(sum))) : -INFINITY;
}

/* FuseMax, the one-pass cascade: running max RM, running denominator RD, running numerator RNV; the division
 * is last. */
static void fusemax(const oracle *o, const query *q)
{
    double rm = -INFINITY, rd = 0;
    for (uint64_t f = 0; f < q->d_v; f++)
        q->out[f] = 0;
    for (uint64_t m = 0; m < q->n; m++) {
        const double next = fmax(rm, q->s[m]), prm = r(o, exp(rm - next)),
                     sln = weight(o, exp(q->s[m] - next));
        rd = r(o, r(o, rd * prm) + sln);
        for (uint64_t f = 0; f < q->d_v; f++)
            q->out[f] = r(o, r(o, q->out[f] * prm) + r(o, sln * q->v[m][f]));
        rm = next;
    }
    for (uint64_t f = 0; f < q->d_v; f++)
        q->out[f] = stored(o, r(o, q->out[f] / rd));
    *q->lse = r(o, rm + r(o, log(rd)));
}

/* ---- dense ---- */

/* Vaswani et al., equation 1; grouped heads as in Shazeer's and Ainslie et al.'s texts. */
static bool plain(oracle *o)
{
    return rows(o, maybe_causal, softmax, 0);
}
static bool cross(oracle *o)
{
    return rows(o, NULL, softmax, 0);
}
static bool flash_1(oracle *o)
{
    return rows(o, maybe_causal, flash_attention, 0);
}
static bool flash_2(oracle *o)
{
    return rows(o, maybe_causal, flash_attention_2, 0);
}
static bool decoding(oracle *o)
{
    return input(o, "v")->shape[3] <= MOST_DECODED && rows(o, maybe_causal, flash_decoding, 0);
}
static bool memory_efficient(oracle *o)
{
    return rows(o, maybe_causal, rabe_staats, 0);
}
static bool one_pass(oracle *o)
{
    return rows(o, NULL, fusemax, 0);
}
/* All visual keys, and the text's up to the query: with the text last these are the keys up to its position.
 */
static bool ee_mllm(oracle *o)
{
    return rows(o, always_causal, softmax, 0);
}

/* The sequence that token t is in, as its index. */
static int64_t sequence_of(const rapt_check_array *cu, int64_t t)
{
    int64_t s = 0;
    while (s + 1 < (int64_t)cu->count && cu->bounds[s + 1] <= t)
        s++;
    return s;
}

static bool same_sequence(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    const rapt_check_array *cu = input(o, "cu_seqlens");
    (void)kv;
    return sequence_of(cu, p) == sequence_of(cu, j);
}

static bool packed(oracle *o)
{
    return rows(o, same_sequence, softmax, 0);
}

/* Scores x W x^T with q = x W, values x: out_i = sum_j softmax_j(scale q_i x_j) x_j. */
static bool minimal(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *x = input(o, "x");
    const uint64_t batch = q->shape[0], heads = q->shape[1], nq = q->shape[2], width = q->shape[3],
                   n = x->shape[1];
    const double scale = scale_of(o, width);
    query one;
    bool good = query_make(&one, n, width) && room(o, batch * heads * nq * width, batch * heads * nq);
    for (uint64_t at = 0; at < batch * heads * nq && good; at++) {
        const uint64_t b = at / (heads * nq), i = at % nq;
        for (uint64_t j = 0; j < n; j++) {
            one.v[j] = x->data + (b * n + j) * width;
            one.seen[j] = maybe_causal(o, 0, (int64_t)(i + n - nq), (int64_t)j);
            one.s[j] = product(o, q->data + at * width, one.v[j], width, scale);
        }
        one.out = o->to->out + at * width;
        one.lse = o->to->lse + at;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* UMoE: z_e = softmax(q_e K^T) x. */
static bool pre_mixing(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *x = input(o, "x");
    const uint64_t heads = q->shape[1], nq = q->shape[2], n = x->shape[1], width = x->shape[2], rows_all = q->shape[0] * heads * nq;
    const double scale = scale_of(o, q->shape[3]);
    query one;
    bool good = query_make(&one, n, width) && room(o, rows_all * width, rows_all);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (heads * nq);
        for (uint64_t j = 0; j < n; j++) {
            one.v[j] = x->data + (b * n + j) * width;
            one.seen[j] = maybe_causal(o, 0, (int64_t)(at % nq + n - nq), (int64_t)j);
            one.s[j] = product(o, q->data + at * q->shape[3], row4(k, b, 0, j), q->shape[3], scale);
        }
        one.out = o->to->out + at * width;
        one.lse = o->to->lse + at;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* Token t, head h: keys are the layers l. */
static bool shortcuts(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t tokens = q->shape[0], heads = q->shape[1], d = q->shape[2], layers = k->shape[0],
                   d_v = v->shape[3];
    const double scale = scale_of(o, d);
    query one;
    bool good = query_make(&one, layers, d_v) && room(o, tokens * heads * d_v, tokens * heads);
    for (uint64_t at = 0; at < tokens * heads && good; at++) {
        for (uint64_t l = 0; l < layers; l++) {
            one.v[l] = row4(v, l, at / heads, at % heads);
            one.seen[l] = true;
            one.s[l] = product(o, q->data + at * d, row4(k, l, at / heads, at % heads), d, scale);
        }
        one.out = o->to->out + at * d_v;
        one.lse = o->to->lse + at;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* ---- windows ---- */

/* Longformer, section 3.1: w / 2 tokens on each side. */
static bool in_window(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    return llabs(p - j) <= whole(o, "window") / 2;
}

/* Mistral 7B, section 2: the token itself and those before it, window of them. */
static bool in_last(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    return j <= p && p - j < whole(o, "window");
}

/* Xiao et al., figure 1 (d): sinks and the latest. */
static bool sink_or_recent(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    return j <= p && (j < whole(o, "sinks") || j > p - whole(o, "recent"));
}

/* Gemma 2, section 2: local layers see a window, global ones all that is causal. */
static bool local_or_global(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    const int64_t window = whole(o, "window");
    (void)kv;
    return j <= p && (window == 0 || j > p - window);
}

/* DuoAttention, equations of section 2.2 with the heads' labels final: full attention or streaming attention.
 */
static bool by_head(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    const char *text = text_of(o, "retrieval");
    for (const char *at = text; strcmp(text, "none") != 0; at++) {
        char *end;
        if ((uint64_t)strtoll(at, &end, 10) == kv)
            return j <= p;
        at = end;
        if (*at == 0)
            break;
    }
    return sink_or_recent(o, kv, p, j);
}

static bool longformer(oracle *o)
{
    return rows(o, in_window, softmax, 0);
}
static bool mistral(oracle *o)
{
    return rows(o, in_last, softmax, 0);
}
static bool streaming(oracle *o)
{
    return rows(o, sink_or_recent, softmax, 0);
}
static bool duo(oracle *o)
{
    return rows(o, by_head, softmax, 0);
}
static bool gemma_2(oracle *o)
{
    return rows(o, local_or_global, softmax, strtod(text_of(o, "soft_cap"), NULL));
}

/* ---- other scores, weights, outputs ---- */

/* Cog Attention: the exponential of |s|, with the sign of s. */
static void signed_weights(const oracle *o, const query *q)
{
    double top = -INFINITY, sum = 0;
    for (uint64_t j = 0; j < q->n; j++)
        if (q->seen[j])
            top = fmax(top, fabs(q->s[j]));
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = 0;
    for (uint64_t j = 0; j < q->n; j++) {
        if (!q->seen[j])
            continue;
        const double w = weight(o, exp(r(o, fabs(q->s[j]) - top))), sign = q->s[j] > 0 ? 1 : q->s[j] < 0 ? -1 : 0;
        sum = r(o, sum + w);
        for (uint64_t e = 0; e < q->d_v; e++)
            q->out[e] = r(o, q->out[e] + r(o, sign * w * q->v[j][e]));
    }
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = sum > 0 ? stored(o, r(o, q->out[e] / sum)) : 0;
    *q->lse = sum > 0 ? r(o, top + r(o, log(sum))) : -INFINITY;
}
static bool cog(oracle *o)
{
    return rows(o, maybe_causal, signed_weights, 0);
}

/* FlashBias: b = U W^T. In the order of the paper's equation: sqrt(d) U stands behind Q, and is stored. */
static double product_of_factors(oracle *o, uint64_t b, uint64_t h, uint64_t i, uint64_t j, double scale)
{
    const rapt_check_array *u = input(o, "u"), *w = input(o, "w");
    const double *from_u = row4(u, b, h, i), *from_w = row4(w, b, h, j);
    double sum = 0, size = 0;
    for (uint64_t e = 0; e < u->shape[3]; e++) {
        sum = r(o, sum + r(o, stored(o, from_u[e] / scale) * from_w[e]));
        size += fabs(from_u[e] * from_w[e]);
    }
    o->to->score = fmax(o->to->score, size);
    return r(o, scale * sum);
}
static bool flash_bias(oracle *o)
{
    o->bias = product_of_factors;
    return rows(o, maybe_causal, softmax, 0);
}

/* out * sigmoid(g), g of all of `each` elements in a row. */
static bool gate(oracle *o, uint64_t each)
{
    const rapt_check_array *g = input(o, "g");
    for (uint64_t n = 0; n < o->to->out_count && !o->failed; n++)
        o->to->out[n] = stored(o, r(o, o->to->out[n] / r(o, 1 + r(o, exp(-g->data[n / each])))));
    return !o->failed;
}
static bool gated_attention(oracle *o)
{
    return rows(o, maybe_causal, softmax, 0) && gate(o, input(o, "g")->shape[3] == 1 ? input(o, "v")->shape[3] : 1);
}

static bool gated_alone(oracle *o)
{
    return rows(o, NULL, softmax, 0) && gate(o, 1);
}

/* Quantizable Transformers, section 4: clip((zeta - gamma) softmax(s) + gamma, 0, 1), or a gate. */
static void clipped(const oracle *o, const query *q)
{
    oracle *with = (oracle *)o; /* to read parameters, which may note that one is missing */
    const double gamma = strtod(text_of(with, "gamma"), NULL), zeta = strtod(text_of(with, "zeta"), NULL);
    softmax(o, q);
    for (uint64_t e = 0; e < q->d_v; e++) {
        double sum = 0;
        for (uint64_t j = 0; j < q->n; j++)
            if (q->seen[j])
                sum = r(o, sum + r(o, fmin(fmax(r(o, r(o, (zeta - gamma) * r(o, exp(q->s[j] - *q->lse))) + gamma), 0), 1) *
                                          q->v[j][e]));
        q->out[e] = stored(o, sum);
    }
}
static bool quantizable(oracle *o)
{
    if (whole(o, "gated") == 0)
        return rows(o, maybe_causal, clipped, 0);
    return rows(o, maybe_causal, softmax, 0) && gate(o, input(o, "v")->shape[3]);
}

/* Block-Attention, section 2: a token of a passage sees that passage up to itself; one of the last block
 * everything up to itself. */
static bool in_block(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    const rapt_check_array *cu = input(o, "cu_seqlens");
    const int64_t last = cu->bounds[cu->count - 1];
    (void)kv;
    return j <= p && (p >= last || sequence_of(cu, p) == sequence_of(cu, j));
}

static bool block_attention(oracle *o)
{
    return rows(o, in_block, softmax, 0);
}

/* ---- patterns ---- */

/* S2-Attention, the local and strided blocks of the authors' kernels; query head h of H. */
static bool local_or_strided(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    const int64_t block = whole(o, "block"), stride = whole(o, "stride"), heads = (int64_t)input(o, "q")->shape[1];
    const int64_t step = stride / heads > 1 ? stride / heads : 1, mine = p / block, key = j / block;
    (void)kv;
    return j <= p && (mine - key < whole(o, "local") || (key + (int64_t)o->head * step + 1) % stride == 0);
}

static bool s2(oracle *o)
{
    return rows(o, local_or_strided, softmax, 0);
}

/* Radial Attention, equation 4, and its attention sink. */
static bool in_band(oracle *o, uint64_t kv, int64_t p, int64_t key)
{
    const int64_t s = whole(o, "places"), i = p / s, j = key / s, k = p % s, l = key % s;
    const double power = pow(2, floor(log2((double)(llabs(i - j) > 1 ? llabs(i - j) : 1))));
    (void)kv;
    if (j == 0)
        return true;
    if (power <= (double)s && (double)llabs(k - l) + 1 <= (double)s / power)
        return true;
    return k == l && llabs(i - j) % (int64_t)ceil(power / (double)s) == 0;
}

static bool radial(oracle *o)
{
    return rows(o, in_band, softmax, 0);
}

/* ---- latents ---- */

/* FLARE: W_encode = softmax over tokens of latents K^T, z = W_encode V; W_decode = softmax over latents of K
 * latents^T, out = W_decode z. */
static bool flare(oracle *o)
{
    const rapt_check_array *l = input(o, "latents"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = k->shape[1], n = k->shape[2], d = k->shape[3], m = l->shape[1], d_v = v->shape[3];
    const double scale = scale_of(o, d);
    double *z = malloc((size_t)(m * d_v + 1) * sizeof *z), unused;
    query encode, decode;
    const bool made = query_make(&encode, n, d_v), also = query_make(&decode, m, d_v);
    bool good = z && made && also && room(o, k->shape[0] * heads * n * d_v, 0);
    for (uint64_t bh = 0; bh < k->shape[0] * heads && good; bh++) {
        const uint64_t b = bh / heads, h = bh % heads;
        for (uint64_t a = 0; a < m; a++) {
            for (uint64_t j = 0; j < n; j++) {
                encode.seen[j] = true;
                encode.v[j] = row4(v, b, h, j);
                encode.s[j] = product(o, l->data + (h * m + a) * d, row4(k, b, h, j), d, scale);
            }
            encode.out = z + a * d_v;
            encode.lse = &unused;
            softmax(o, &encode);
        }
        for (uint64_t j = 0; j < n; j++) {
            for (uint64_t a = 0; a < m; a++) {
                decode.seen[a] = true;
                decode.v[a] = z + a * d_v;
                decode.s[a] = product(o, row4(k, b, h, j), l->data + (h * m + a) * d, d, scale);
            }
            decode.out = o->to->out + (bh * n + j) * d_v;
            decode.lse = &unused;
            softmax(o, &decode);
        }
    }
    query_free(&encode);
    query_free(&decode);
    free(z);
    return good && !o->failed;
}

/* Comma list; one number stands for all axes. */
static void axes_of(oracle *o, const char *name, uint32_t rank, uint32_t out[3])
{
    const char *at = text_of(o, name);
    for (uint32_t axis = 0; axis < rank; axis++) {
        char *end;
        out[axis] = (uint32_t)strtoul(at, &end, 10);
        at = *end == ',' ? end + 1 : at;
    }
}

/* A place sees the keys of its neighbourhood: oracle_grid.c has the formula. */
static bool neighborhood_sees(oracle *o, bool strides, int64_t p, int64_t j)
{
    rapt_grid g = {.rank = 1};
    for (const char *at = text_of(o, "grid"); *at; at++)
        g.rank += *at == ',';
    axes_of(o, "grid", g.rank, g.size);
    axes_of(o, "kernel_size", g.rank, g.kernel_size);
    axes_of(o, "dilation", g.rank, g.dilation);
    if (strides)
        axes_of(o, "stride", g.rank, g.stride);
    for (const char *at = text_of(o, "causal_axes"); *at; at++)
        if (*at >= '0' && *at <= '2')
            g.causal |= 1u << (*at - '0');
    return rapt_check_grid_sees(&g, (uint64_t)p, (uint64_t)j);
}
static bool natten_sees(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    return neighborhood_sees(o, false, p, j);
}
static bool gna_sees(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    return neighborhood_sees(o, true, p, j);
}
static bool natten(oracle *o)
{
    return rows(o, natten_sees, softmax, 0);
}
/* FreeSwim: windows pushed inward are neighbourhoods; the other branch sees all. */
static bool inward_sees(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    (void)kv;
    if (whole(o, "full"))
        return true;
    rapt_grid g = {.rank = 1};
    for (const char *at = text_of(o, "grid"); *at; at++)
        g.rank += *at == ',';
    axes_of(o, "grid", g.rank, g.size);
    axes_of(o, "kernel_size", g.rank, g.kernel_size);
    return rapt_check_grid_sees(&g, (uint64_t)p, (uint64_t)j);
}
static bool inward(oracle *o)
{
    return rows(o, inward_sees, softmax, 0);
}
static bool gna(oracle *o)
{
    return rows(o, gna_sees, softmax, 0);
}

/* ---- by name ---- */

static const oracle_entry oracles[] = {
    {"Multi-head attention", plain},
    {"Cross attention (encoder-decoder)", cross},
    {"FlashAttention", flash_1},
    {"FlashAttention-2", flash_2},
    {"Flash-Decoding", decoding},
    {"Memory-efficient attention (Rabe & Staats)", memory_efficient},
    {"MQA (multi-query attention)", plain},
    {"GQA (grouped-query attention)", plain},
    {"SQA (Sparse Query Attention)", plain},
    {"ByteTransformer (padding-free attention)", packed},
    {"FuseMax", one_pass},
    {"Minimal transformer (collapsed QK, symmetric, no V/O)", minimal},
    {"EE-MLLM composite attention", ee_mllm},
    {"Layerwise attention shortcuts", shortcuts},
    {"Fixed head size MHA", plain},
    {"Sliding-window attention (Longformer window)", longformer},
    {"Mistral 7B sliding window", mistral},
    {"StreamingLLM", streaming},
    {"Block-Attention for RAG", block_attention},
    {"DuoAttention", duo},
    {"Gemma 2 (logit soft cap)", gemma_2},
    {"Cog Attention (negative weights)", cog},
    {"FlashBias", flash_bias},
    {"Gated Attention (post-SDPA sigmoid gate)", gated_attention},
    {"iFormer (mobile modulation attention)", gated_alone},
    {"UMoE (pre-mixing attention)", pre_mixing},
    {"FreeSwim (inward sliding window)", inward},
    {"Clipped softmax / gated attention (Quantizable Transformers)", quantizable},
    {"FLARE", flare},
    {"Faster Neighborhood Attention (FNA / NATTEN)", natten},
    {"Generalized Neighborhood Attention (GNA)", gna},
    {"S2-Attention / DKernel", s2},
    {"Radial Attention", radial},
};

static const oracle_family here = {oracles, sizeof oracles / sizeof *oracles};
static const oracle_family *const families[] = {
    &here,
    &rapt_oracles_routed,
    &rapt_oracles_gathered,
    &rapt_oracles_gates,
    &rapt_oracles_hierarchy,
    &rapt_oracles_kinds,
    &rapt_oracles_memory, &rapt_oracles_merged,
    &rapt_oracles_mixture,
    &rapt_oracles_multi_token,
    &rapt_oracles_ranked,
    &rapt_oracles_search,
    &rapt_oracles_state,
    &rapt_oracles_tree,
    &rapt_oracles_scan,
    &rapt_oracles_convolved,
    &rapt_oracles_directions,
    &rapt_oracles_distributed,
    &rapt_oracles_program,
    &rapt_oracles_vision,
};

static const oracle_entry *entry_of(const char *name)
{
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        for (size_t n = 0; n < families[f]->count; n++)
            if (strcmp(families[f]->entries[n].name, name) == 0)
                return &families[f]->entries[n];
    return NULL;
}

bool rapt_check_system_has_oracle(const char *name)
{
    return entry_of(name) != NULL;
}

bool rapt_check_system_expect(const rapt_check_system *system, rapt_check_precision precision,
                              rapt_check_expected *expected)
{
    oracle o = {.p = system, .precision = precision, .to = expected};
    const oracle_entry *entry = entry_of(system->info->name);
    *expected = (rapt_check_expected){0};
    return entry != NULL && entry->fn(&o) && !o.failed;
}

void rapt_check_expected_free(rapt_check_expected *expected)
{
    free(expected->out);
    free(expected->lse);
    *expected = (rapt_check_expected){0};
}
