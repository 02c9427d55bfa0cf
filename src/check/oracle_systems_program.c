/* Oracles of systems with masks, scores or weights of their own. */
#include "oracle_system.h"

static int32_t class_of(oracle *o, const char *name, uint64_t at)
{
    const rapt_check_array *a = input(o, name);
    return a->bounds ? a->bounds[at] : 0;
}

/* Comma list of two numbers, or one for both. */
static void pair_of(oracle *o, const char *name, int64_t out[2])
{
    char *end;
    out[0] = strtoll(text_of(o, name), &end, 10);
    out[1] = *end == ',' ? strtoll(end + 1, NULL, 10) : out[0];
}

/* The row that is asked about, where rows() does not say: batch entry and query. */
typedef struct place {
    uint64_t b, h, i, j;
} place;
typedef bool (*pair_fn)(oracle *o, place at);
typedef double (*score_fn)(oracle *o, place at, double score);

/* Softmax attention over the pairs that are seen, with scores of any kind; out may have more room than d_v. */
static bool pairs(oracle *o, pair_fn sees, score_fn score, double *out, double *lse)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], d = q->shape[3], kv = k->shape[1], nk = k->shape[2], dv = v->shape[3];
    const double scale = scale_of(o, d);
    double unused;
    query one;
    const bool good = query_make(&one, nk, dv);
    for (uint64_t at = 0; at < q->shape[0] * heads * nq && good; at++) {
        place p = {at / (heads * nq), at / nq % heads, at % nq, 0};
        const uint64_t g = p.h * kv / heads;
        for (p.j = 0; p.j < nk; p.j++) {
            one.seen[p.j] = sees == NULL || sees(o, p);
            one.s[p.j] = product(o, row4(q, p.b, p.h, p.i), row4(k, p.b, g, p.j), d, scale);
            if (score != NULL)
                one.s[p.j] = score(o, p, one.s[p.j]);
            one.v[p.j] = row4(v, p.b, g, p.j);
        }
        one.out = out + at * dv;
        one.lse = lse ? lse + at : &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* The system is one such attention. */
static bool one_attention(oracle *o, pair_fn sees, score_fn score)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v");
    const uint64_t rows_all = q->shape[0] * q->shape[1] * q->shape[2];
    return room(o, rows_all * v->shape[3], rows_all) && pairs(o, sees, score, o->to->out, o->to->lse);
}

/* The code in the table's checks: scores from a table by distance, and documents of a packed sequence. */
static bool same_document(oracle *o, place at)
{
    const rapt_check_array *u = input(o, "u0");
    return u->data == NULL || (u->data[at.i] < 0) == (u->data[at.j] < 0);
}
static double by_distance(oracle *o, place at, double score)
{
    const rapt_check_array *u = input(o, "u1");
    return r(o, score + u->data[at.h * 8 + (uint64_t)llabs((int64_t)at.i - (int64_t)at.j) % 8]);
}
static bool flex(oracle *o)
{
    const bool masks = strcmp(text_of(o, "mask_mod"), "none") != 0, scores = strcmp(text_of(o, "score_mod"), "none") != 0;
    return one_attention(o, masks ? same_document : NULL, scores ? by_distance : NULL);
}

static bool shared_or_own(oracle *o, place at)
{
    const int32_t mine = class_of(o, "segments", at.i), other = class_of(o, "segments", at.j);
    return mine < 2 || other < 2 || mine == other; /* 0: text, 1: image */
}
static bool unicombine(oracle *o)
{
    return one_attention(o, shared_or_own, NULL);
}

/* CLEAR, equation 3: image tokens within a circle, text all. */
static bool in_circle(oracle *o, place at)
{
    const int64_t text = whole(o, "text"), i = (int64_t)at.i - text, j = (int64_t)at.j - text;
    const double radius = strtod(text_of(o, "radius"), NULL);
    int64_t grid[2];
    pair_of(o, "grid", grid);
    const double y = (double)(i / grid[1] - j / grid[1]), x = (double)(i % grid[1] - j % grid[1]);
    return i < 0 || j < 0 || sqrt(y * y + x * x) < radius;
}
static bool clear_attention(oracle *o)
{
    return one_attention(o, in_circle, NULL);
}

/* Swin, section 3.2: the map is rolled by half a window, cut into windows, and within a window only what was neighbours before
 * the roll sees each other. */
static bool in_window(oracle *o, place at)
{
    int64_t grid[2], window[2];
    pair_of(o, "grid", grid);
    pair_of(o, "window", window);
    const int64_t i[2] = {(int64_t)at.i / grid[1], (int64_t)at.i % grid[1]}, j[2] = {(int64_t)at.j / grid[1], (int64_t)at.j % grid[1]};
    for (int axis = 0; axis < 2; axis++) {
        const int64_t shift = whole(o, "shifted") ? window[axis] / 2 : 0, n = grid[axis];
        const int64_t a = (i[axis] - shift + n) % n, c = (j[axis] - shift + n) % n; /* rolled */
        if (a / window[axis] != c / window[axis] || (i[axis] < shift) != (j[axis] < shift))
            return false;
    }
    return true;
}
static double by_place(oracle *o, place at, double score)
{
    int64_t grid[2], window[2];
    pair_of(o, "grid", grid);
    pair_of(o, "window", window);
    const rapt_check_array *bias = input(o, "bias");
    const int64_t y = (int64_t)at.j / grid[1] - (int64_t)at.i / grid[1] + window[0] - 1,
                  x = (int64_t)at.j % grid[1] - (int64_t)at.i % grid[1] + window[1] - 1;
    if (y < 0 || x < 0 || y > 2 * (window[0] - 1) || x > 2 * (window[1] - 1))
        return score; /* in no window of its own */
    return r(o, score + bias->data[((int64_t)at.h * (2 * window[0] - 1) + y) * (2 * window[1] - 1) + x]);
}
static bool swin(oracle *o)
{
    bool biased = false;
    for (uint32_t n = 0; n < o->p->input_count; n++)
        biased |= strcmp(o->p->inputs[n].name, "bias") == 0;
    return one_attention(o, in_window, biased ? by_place : NULL);
}

/* The same window of a map. */
static bool in_block(oracle *o, place at)
{
    int64_t grid[2];
    const int64_t window = whole(o, "window");
    pair_of(o, "grid", grid);
    return (int64_t)at.i / grid[1] / window == (int64_t)at.j / grid[1] / window &&
           (int64_t)at.i % grid[1] / window == (int64_t)at.j % grid[1] / window;
}

/* Twins, sections 3.1 and 3.2: windows, or all of the keys there are. */
static bool twins(oracle *o)
{
    return one_attention(o, whole(o, "local") ? in_block : NULL, NULL);
}

/* Flux Attention: full causal attention where the router says so, else sinks and window. */
static bool by_layer_sees(oracle *o, place at)
{
    const int64_t p = (int64_t)(at.i + input(o, "k")->shape[2]) - (int64_t)input(o, "q")->shape[2], j = (int64_t)at.j;
    const bool full = input(o, "router")->data[whole(o, "layer")] > strtod(text_of(o, "threshold"), NULL);
    return j <= p && (full || j < whole(o, "sinks") || p - j < whole(o, "recent"));
}
static bool by_layer(oracle *o)
{
    return one_attention(o, by_layer_sees, NULL);
}

/* EMA-VFI, section 3.2: S V of the other frame, and S coords - coords, in windows that are not shifted. */
static bool inter_frame(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *coords = input(o, "coords");
    const uint64_t n = q->shape[2], rows_all = q->shape[0] * q->shape[1] * n, dv = v->shape[3];
    double *appearance = malloc((size_t)(rows_all * dv + 1) * sizeof *appearance);
    bool good = appearance && room(o, rows_all * (dv + 2), 0) && pairs(o, in_block, NULL, appearance, NULL);
    const rapt_check_array *k = input(o, "k");
    query one;
    good = query_make(&one, n, 2) && good;
    for (uint64_t at = 0; at < rows_all && good; at++) {
        place p = {at / (q->shape[1] * n), at / n % q->shape[1], at % n, 0};
        double moved[2], unused;
        for (p.j = 0; p.j < n; p.j++) {
            one.seen[p.j] = in_block(o, p);
            one.s[p.j] = product(o, row4(q, p.b, p.h, p.i), row4(k, p.b, p.h, p.j), q->shape[3], scale_of(o, q->shape[3]));
            one.v[p.j] = coords->data + p.j * 2;
        }
        one.out = moved;
        one.lse = &unused;
        softmax(o, &one);
        double *out = o->to->out + at * (dv + 2);
        memcpy(out, appearance + at * dv, dv * sizeof *out);
        for (uint64_t e = 0; e < 2; e++)
            out[dv + e] = stored(o, r(o, moved[e] - coords->data[p.i * 2 + e]));
    }
    query_free(&one);
    free(appearance);
    return good && !o->failed;
}

/* HaloNet, section 3: blocks of b x b queries, keys of the block and h around it; q r of the distance along each axis. */
static bool in_halo(oracle *o, place at)
{
    const int64_t block = whole(o, "block"), halo = whole(o, "halo");
    int64_t grid[2];
    pair_of(o, "grid", grid);
    const int64_t y = (int64_t)at.i / grid[1] / block * block, x = (int64_t)at.i % grid[1] / block * block,
                  ky = (int64_t)at.j / grid[1], kx = (int64_t)at.j % grid[1];
    return ky >= y - halo && ky < y + block + halo && kx >= x - halo && kx < x + block + halo;
}
static double with_distances(oracle *o, place at, double score)
{
    const rapt_check_array *ry = input(o, "r_y"), *rx = input(o, "r_x");
    const int64_t most = whole(o, "block") + whole(o, "halo") - 1;
    int64_t grid[2];
    pair_of(o, "grid", grid);
    const int64_t y = (int64_t)at.j / grid[1] - (int64_t)at.i / grid[1], x = (int64_t)at.j % grid[1] - (int64_t)at.i % grid[1];
    if (llabs(y) > most || llabs(x) > most)
        return score;
    o->to->score = fmax(o->to->score, fabs(row4(ry, at.b, at.h, at.i)[y + most]) + fabs(row4(rx, at.b, at.h, at.i)[x + most]));
    return r(o, r(o, score + row4(ry, at.b, at.h, at.i)[y + most]) + row4(rx, at.b, at.h, at.i)[x + most]);
}
static bool halo(oracle *o)
{
    return one_attention(o, in_halo, with_distances);
}

/* Neural Attention: s_ij = w relu(W_q q_i + W_k k_j + b), with a_i = W_q q_i + b and c_j = W_k k_j given. */
static bool neural(oracle *o)
{
    const rapt_check_array *v = input(o, "v"), *a = input(o, "a"), *c = input(o, "c"), *w = input(o, "w");
    const uint64_t heads = v->shape[1], nq = a->shape[2], nk = v->shape[2], hidden = a->shape[3], rows_all = v->shape[0] * heads * nq;
    double unused;
    query one;
    const bool good = query_make(&one, nk, v->shape[3]) && room(o, rows_all * v->shape[3], 0);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (heads * nq), h = at / nq % heads, i = at % nq;
        for (uint64_t j = 0; j < nk; j++) {
            double sum = 0, size = 0;
            for (uint64_t e = 0; e < hidden; e++) {
                const double x = r(o, w->data[h * hidden + e] * fmax(r(o, row4(a, b, h, i)[e] + row4(c, b, h, j)[e]), 0));
                sum = r(o, sum + x);
                size += fabs(x);
            }
            o->to->score = fmax(o->to->score, size);
            one.s[j] = sum;
            one.v[j] = row4(v, b, h, j);
            one.seen[j] = whole(o, "causal") == 0 || j + nq <= i + nk;
        }
        one.out = o->to->out + at * v->shape[3];
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    return good && !o->failed;
}

/* MixFormer, section 3.1, asymmetric: the target's queries see the target alone. */
static bool target_alone(oracle *o, place at)
{
    const uint64_t target = (uint64_t)whole(o, "target");
    return at.i >= target || at.j < target;
}
static bool mixformer(oracle *o)
{
    return one_attention(o, target_alone, NULL);
}

/* Luong, section 3: softmax over all, or over p - D .. p + D and then times exp(-(s - p)^2 / (2 (D / 2)^2)); scores q k, or
 * w tanh(W [q; k]) with a = W_q q, c = W_k k. */
static bool around(oracle *o, place at)
{
    const rapt_check_array *p = input(o, "p");
    return fabs((double)at.j - p->data[at.b * p->shape[1] + at.i]) <= (double)whole(o, "D");
}
static double additive(oracle *o, place at, double score)
{
    const rapt_check_array *a = input(o, "a"), *c = input(o, "c"), *w = input(o, "w");
    double sum = 0;
    (void)score;
    for (uint64_t e = 0; e < a->shape[3]; e++)
        sum = r(o, sum + r(o, w->data[at.h * a->shape[3] + e] * r(o, tanh(r(o, row4(a, at.b, at.h, at.i)[e] + row4(c, at.b, at.h, at.j)[e])))));
    return sum;
}
static bool luong(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    bool local = false, adds = false;
    for (uint32_t n = 0; n < o->p->input_count; n++) {
        local |= strcmp(o->p->inputs[n].name, "p") == 0;
        adds |= strcmp(o->p->inputs[n].name, "a") == 0;
    }
    if (!one_attention(o, local ? around : NULL, adds ? additive : NULL) || !local)
        return !o->failed;
    const uint64_t nq = q->shape[2], dv = v->shape[3];
    const double scale = scale_of(o, q->shape[3]), sigma = (double)whole(o, "D") / 2;
    for (uint64_t at = 0; at < q->shape[0] * q->shape[1] * nq; at++) {
        place p = {at / (q->shape[1] * nq), at / nq % q->shape[1], at % nq, 0};
        double *out = o->to->out + at * dv;
        for (uint64_t e = 0; e < dv; e++)
            out[e] = 0;
        for (p.j = 0; p.j < k->shape[2]; p.j++) {
            if (!around(o, p))
                continue;
            const double apart = (double)p.j - input(o, "p")->data[p.b * nq + p.i],
                         s = product(o, row4(q, p.b, p.h, p.i), row4(k, p.b, p.h, p.j), q->shape[3], scale);
            const double w = weight(o, r(o, r(o, exp(r(o, s - o->to->lse[at]))) * r(o, exp(-apart * apart / (2 * sigma * sigma)))));
            for (uint64_t e = 0; e < dv; e++)
                out[e] = r(o, out[e] + r(o, w * row4(v, p.b, p.h, p.j)[e]));
        }
        for (uint64_t e = 0; e < dv; e++)
            out[e] = stored(o, out[e]);
    }
    return true;
}

/* TAPA: s_ij = (q_i k_j scale) cos(phase |i - j|^alpha), phase = q_i W k_j with q_i W given. */
static double with_phase(oracle *o, place at, double score)
{
    const rapt_check_array *q = input(o, "q_phase"), *k = input(o, "k");
    const double alpha = strtod(text_of(o, "alpha"), NULL),
                 apart = fabs((double)at.i + (double)k->shape[2] - (double)q->shape[2] - (double)at.j), before = o->to->score,
                 phase = product(o, row4(q, at.b, at.h, at.i), row4(k, at.b, at.h * k->shape[1] / q->shape[1], at.j), q->shape[3], 1);
    const double angle = r(o, phase * r(o, pow(apart, alpha)));
    o->to->score = fmax(before, fabs(score) * (1 + fabs(angle))); /* an error of the angle counts with the score */
    return r(o, score * r(o, cos(angle)));
}
static bool before_or_at(oracle *o, place at)
{
    return whole(o, "causal") == 0 || at.j + input(o, "q")->shape[2] <= at.i + input(o, "k")->shape[2];
}
static bool tapa(oracle *o)
{
    return one_attention(o, before_or_at, with_phase);
}

/* RCMHA: causal depthwise convolutions along the tokens, then s_ij = ((q_i + u) k_j + (q_i + w) r_(i-j)) scale. */
static double *convolved_tokens(oracle *o, const char *name, const char *kernel_name)
{
    const rapt_check_array *x = input(o, name), *kernel = input(o, kernel_name);
    const uint64_t n = x->shape[2], d = x->shape[3], taps = kernel->shape[2];
    double *out = calloc((size_t)x->count + 1, sizeof *out);
    for (uint64_t at = 0; at < x->count && out && !o->failed; at++) {
        const uint64_t e = at % d, i = at / d % n, h = at / (n * d) % x->shape[1];
        double sum = 0;
        for (uint64_t t = 0; t < taps && t <= i; t++)
            sum = r(o, sum + r(o, kernel->data[(h * d + e) * taps + taps - 1 - t] * x->data[at - t * d]));
        out[at] = stored(o, sum);
    }
    return out;
}
static bool rcmha(oracle *o)
{
    const rapt_check_array *in = input(o, "q"), *values = input(o, "v"), *u = input(o, "u"), *w = input(o, "w"), *places = input(o, "r");
    const uint64_t heads = in->shape[1], n = in->shape[2], d = in->shape[3], dv = values->shape[3], rows_all = in->shape[0] * heads * n;
    const double scale = scale_of(o, d);
    double *q = convolved_tokens(o, "q", "kernel_q"), *k = convolved_tokens(o, "k", "kernel_k"), *v = convolved_tokens(o, "v", "kernel_v"),
           *sum = malloc((size_t)(2 * d + 1) * sizeof *sum), unused;
    query one;
    const bool good = query_make(&one, n, dv) && q && k && v && sum && room(o, rows_all * dv, 0);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t h = at / n % heads, i = at % n, first = at - i;
        for (uint64_t e = 0; e < d; e++) {
            sum[e] = stored(o, r(o, q[at * d + e] + u->data[h * d + e]));
            sum[d + e] = stored(o, r(o, q[at * d + e] + w->data[h * d + e]));
        }
        for (uint64_t j = 0; j < n; j++) {
            one.seen[j] = whole(o, "causal") == 0 || j <= i;
            one.s[j] = r(o, product(o, sum, k + (first + j) * d, d, scale) + product(o, sum + d, places->data + (i + n - 1 - j) * d, d, scale));
            one.v[j] = v + (first + j) * dv;
        }
        one.out = o->to->out + at * dv;
        one.lse = &unused;
        softmax(o, &one);
    }
    query_free(&one);
    free(q);
    free(k);
    free(v);
    free(sum);
    return good && !o->failed;
}

/* VAR, section 4: alpha of the sinks times p; what is freed goes to the other image keys in proportion. 1: sink, 2: image. */
static bool redistribute(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], dv = v->shape[3], rows_all = q->shape[0] * heads * nq;
    const double share = strtod(text_of(o, "p"), NULL), scale = scale_of(o, q->shape[3]);
    double *alpha = malloc((size_t)(nk + 1) * sizeof *alpha), unused;
    query one;
    const bool good = query_make(&one, nk, dv) && alpha && room(o, rows_all * dv, 0);
    for (uint64_t at = 0; at < rows_all && good; at++) {
        const uint64_t b = at / (heads * nq), h = at / nq % heads, i = at % nq, g = h * k->shape[1] / heads;
        double sums[3] = {0};
        bool moves = false;
        for (const char *c = text_of(o, "chosen"); c && *c >= '0' && *c <= '9'; c = strchr(c, ',') ? strchr(c, ',') + 1 : NULL)
            moves |= strtoull(c, NULL, 10) == h;
        for (uint64_t j = 0; j < nk; j++) {
            one.s[j] = product(o, row4(q, b, h, i), row4(k, b, g, j), q->shape[3], scale);
            one.v[j] = row4(v, b, g, j);
            one.seen[j] = whole(o, "causal") == 0 || j + nq <= i + nk;
        }
        one.out = o->to->out + at * dv;
        one.lse = &unused;
        softmax(o, &one);
        for (uint64_t j = 0; j < nk; j++)
            sums[class_of(o, "classes", b * nk + j)] += alpha[j] = one.seen[j] ? r(o, exp(r(o, one.s[j] - unused))) : 0;
        for (uint64_t e = 0; e < dv; e++) { /* the mean of each class, stored */
            double mean[3] = {0};
            for (uint64_t j = 0; j < nk; j++)
                mean[class_of(o, "classes", b * nk + j)] += r(o, alpha[j] * one.v[j][e]);
            for (int c = 0; c < 3; c++)
                mean[c] = sums[c] > 0 ? stored(o, r(o, mean[c] / sums[c])) : 0;
            const double kept = r(o, r(o, sums[0] * mean[0]) + r(o, (moves ? share : 1) * sums[1] * mean[1]) + r(o, sums[2] * mean[2]));
            const double freed = r(o, (1 - share) * sums[1] * mean[2]);
            one.out[e] = moves ? stored(o, r(o, stored(o, kept) + stored(o, freed))) : stored(o, kept);
        }
    }
    query_free(&one);
    free(alpha);
    return good && !o->failed;
}

/* MindSkip: r Attention(x) where r is above the threshold, else 0. */
static bool is_routed(oracle *o, place at)
{
    const rapt_check_array *score = input(o, "r");
    return score->data[at.b * score->shape[1] + at.i] > strtod(text_of(o, "threshold"), NULL) &&
           (whole(o, "causal") == 0 || at.j <= at.i);
}
static bool skipped(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *score = input(o, "r");
    const uint64_t n = q->shape[2], each = q->shape[1] * n * v->shape[3];
    const bool good = one_attention(o, is_routed, NULL);
    for (uint64_t at = 0; at < q->shape[0] * each && good; at++)
        o->to->out[at] = stored(o, r(o, score->data[at / each * n + at / v->shape[3] % n] * o->to->out[at]));
    return good;
}

/* Combiner, equations 5 to 8, spans of one length: one softmax over the tokens of the own span up to the query, and the spans
 * before, whose key is the mean of their keys and whose value is what their mean query attends to. */
static bool combiner(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t n = q->shape[2], d = q->shape[3], dv = v->shape[3], span = (uint64_t)whole(o, "span"), spans = n / span,
                   lines = q->shape[0] * q->shape[1];
    const double scale = scale_of(o, d);
    double *mean[2], *gathered = malloc((size_t)(spans * dv + 1) * sizeof *gathered), unused;
    query one;
    bool good = query_make(&one, span + spans, dv) && gathered && room(o, lines * n * dv, lines * n);
    for (int t = 0; t < 2; t++)
        good = (mean[t] = calloc((size_t)(spans * d + 1), sizeof(double))) != NULL && good;
    for (uint64_t line = 0; line < lines && good; line++) {
        const double *x[2] = {q->data + line * n * d, k->data + line * n * d}, *values = v->data + line * n * dv;
        for (uint64_t s = 0; s < spans; s++) {
            for (uint64_t e = 0; e < d; e++)
                for (int t = 0; t < 2; t++) {
                    double sum = 0;
                    for (uint64_t j = 0; j < span; j++)
                        sum = r(o, sum + x[t][(s * span + j) * d + e]);
                    mean[t][s * d + e] = stored(o, r(o, sum / (double)span));
                }
            one.n = span;
            for (uint64_t j = 0; j < span; j++) {
                one.seen[j] = true;
                one.s[j] = product(o, mean[0] + s * d, x[1] + (s * span + j) * d, d, scale);
                one.v[j] = values + (s * span + j) * dv;
            }
            one.out = gathered + s * dv;
            one.lse = &unused;
            softmax(o, &one);
        }
        for (uint64_t i = 0; i < n; i++) {
            one.n = span + spans;
            for (uint64_t j = 0; j < span + spans; j++) {
                const bool token = j < span;
                const uint64_t at = token ? i / span * span + j : j - span;
                one.seen[j] = token ? at <= i : at < i / span;
                one.s[j] = product(o, x[0] + i * d, token ? x[1] + at * d : mean[1] + at * d, d, scale);
                one.v[j] = token ? values + at * dv : gathered + at * dv;
            }
            one.out = o->to->out + (line * n + i) * dv;
            one.lse = o->to->lse + line * n + i;
            softmax(o, &one);
        }
    }
    query_free(&one);
    free(mean[0]);
    free(mean[1]);
    free(gathered);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"FlexAttention", flex},
    {"UniCombine (Conditional MMDiT attention)", unicombine},
    {"CLEAR (conv-like local attention DiT)", clear_attention},
    {"Swin Transformer (W-MSA / SW-MSA)", swin},
    {"EMA-VFI (inter-frame attention)", inter_frame},
    {"Twins-SVT (LSA + GSA)", twins},
    {"Flux Attention", by_layer},
    {"MixFormer (mixed attention)", mixformer},
    {"Luong global/local attention", luong},
    {"TAPA", tapa},
    {"RCMHA", rcmha},
    {"HaloNet", halo},
    {"Neural Attention (FFN scores)", neural},
    {"VAR (visual attention redistribution)", redistribute},
    {"MindSkip (Router-Tuning)", skipped},
    {"Combiner", combiner},
};
const oracle_family rapt_oracles_program = {entries, sizeof entries / sizeof *entries};
