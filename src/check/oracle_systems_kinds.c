/* Oracles of systems with heads or layers of two kinds, feedback, pyramids and chunks. */
#include "oracle_system.h"

/* softmax(s) V kept in single precision: what is between steps. */
static void average(const oracle *o, const query *q)
{
    double top = -INFINITY, sum = 0;
    for (uint64_t j = 0; j < q->n; j++)
        top = q->seen[j] ? fmax(top, q->s[j]) : top;
    for (uint64_t e = 0; e < q->d_v; e++)
        q->out[e] = 0;
    for (uint64_t j = 0; j < q->n; j++) {
        const double w = q->seen[j] ? r(o, exp(r(o, q->s[j] - top))) : 0;
        sum = r(o, sum + w);
        for (uint64_t e = 0; e < q->d_v && q->seen[j]; e++)
            q->out[e] = r(o, q->out[e] + r(o, w * q->v[j][e]));
    }
    for (uint64_t e = 0; e < q->d_v && sum > 0; e++)
        q->out[e] = r(o, q->out[e] / sum);
}

/* ---- Sessa (arXiv:2604.18580): s_t = f_t + gamma_t sum over j < t of softmax_j(q_t . k_j) s_j, by forward substitution ---- */

static bool sessa(oracle *o)
{
    const rapt_check_array *q = input(o, "q_b"), *k = input(o, "k_b"), *gamma = input(o, "gamma"), *f = has(o, "f") ? input(o, "f") : NULL,
                           *v = f ? f : input(o, "v");
    const uint64_t heads = q->shape[1], n = q->shape[2], d = q->shape[3], dv = v->shape[3], lines = q->shape[0] * heads;
    const double most = strtod(text_of(o, "gamma_max"), NULL);
    const rapt_check_array *qf = f ? f : input(o, "q"), *kf = f ? f : input(o, "k");
    double *s = malloc((size_t)(n * dv + dv + 1) * sizeof *s), *past = s ? s + n * dv : NULL;
    query one;
    const bool good = query_make(&one, n, dv) && s && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t line = at / n, t = at % n;
        double *st = s + t * dv;
        for (uint64_t j = 0; j < n && !f; j++) {
            const uint64_t g = line % heads * kf->shape[1] / heads;
            one.seen[j] = j <= t;
            one.s[j] = product(o, qf->data + at * qf->shape[3], row4(kf, line / heads, g, j), qf->shape[3], scale_of(o, qf->shape[3]));
            one.v[j] = row4(v, line / heads, g, j);
        }
        one.out = st;
        if (f)
            memcpy(st, f->data + at * dv, (size_t)dv * sizeof *st);
        else
            average(o, &one);
        for (uint64_t j = 0; j < n; j++) {
            one.seen[j] = j < t;
            one.s[j] = product(o, q->data + at * d, k->data + (line * n + j) * d, d, 1 / sqrt((double)d));
            one.v[j] = s + j * dv;
        }
        one.out = past;
        average(o, &one);
        const double gate = r(o, most * r(o, tanh(gamma->data[at])));
        for (uint64_t e = 0; e < dv; e++) {
            st[e] = r(o, st[e] + r(o, gate * past[e]));
            o->to->out[at * dv + e] = stored(o, st[e]);
        }
    }
    query_free(&one);
    free(s);
    return good && !o->failed;
}

/* ---- WuNeng (arXiv:2504.19191): softmax heads, RWKV-7 heads, and heads between them ---- */

/* Head `line` of the state heads: S_t = (diag(w_t) - (a_t * kappa_t) kappa_t^T) S_(t-1) + k_t v_t^T, out_t = S_t^T r_t. */
static void state_head(oracle *o, uint64_t line, double *state, double *out)
{
    const rapt_check_array *q = input(o, "r"), *k = input(o, "k_state"), *v = input(o, "v_state"), *w = input(o, "w"), *kappa = input(o, "kappa"),
                           *a = input(o, "a");
    const uint64_t n = q->shape[2], d = q->shape[3], dv = v->shape[3];
    for (uint64_t t = 0; t < n; t++)
        for (uint64_t e = 0; e < dv; e++) {
            const uint64_t at = line * n + t;
            double known = 0, sum = 0;
            for (uint64_t c = 0; c < d; c++) {
                state[c * dv + e] = t == 0 ? 0 : state[c * dv + e];
                known = r(o, known + r(o, kappa->data[at * d + c] * state[c * dv + e]));
            }
            for (uint64_t c = 0; c < d; c++) {
                const uint64_t x = at * d + c;
                const double off = r(o, stored(o, r(o, a->data[x] * kappa->data[x])) * known);
                state[c * dv + e] = r(o, r(o, r(o, w->data[x] * state[c * dv + e]) - off) + r(o, k->data[x] * v->data[at * dv + e]));
                sum = r(o, sum + r(o, q->data[x] * state[c * dv + e]));
                o->to->score = fmax(o->to->score, fabs(q->data[x] * state[c * dv + e]) * (double)d);
            }
            out[t * dv + e] = stored(o, sum);
        }
}

static bool wuneng(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *re = input(o, "r"), *gate = has(o, "gate") ? input(o, "gate") : NULL;
    const uint64_t batch = q->shape[0], heads = q->shape[1], n = q->shape[2], dv = v->shape[3], states = re->shape[1],
                   middle = (uint64_t)whole(o, "middle"), all = heads + states + middle;
    double *state = malloc((size_t)(re->shape[3] * dv + 1) * sizeof *state);
    query one;
    const bool good = query_make(&one, n, dv) && state && room(o, batch * all * n * dv, 0);
    for (uint64_t b = 0; b < batch && good; b++) {
        double *out = o->to->out + b * all * n * dv;
        for (uint64_t at = 0; at < heads * n; at++) {
            for (uint64_t j = 0; j < n; j++)
                one.seen[j] = j <= at % n;
            attend_row(o, &one, b, at / n, at % n, out + at * dv);
        }
        for (uint64_t h = 0; h < states; h++)
            state_head(o, b * states + h, state, out + (heads + h) * n * dv);
        for (uint64_t e = 0; e < middle * n * dv; e++) {
            const double x = out[e], y = out[heads * n * dv + e], g = gate ? gate->data[b * middle * n * dv + e] : 0;
            const double apart = stored(o, r(o, r(o, x - y) * r(o, 1 / r(o, 1 + r(o, exp(-g))))));
            out[(heads + states) * n * dv + e] = stored(o, r(o, gate ? apart + y : x + y));
        }
    }
    query_free(&one);
    free(state);
    return good && !o->failed;
}

/* ---- Pyramid Sparse Attention (arXiv:2512.04025) ---- */

/* For a tile of queries the level of each key block, 0: skipped; by descending importance, `quota` shares of the blocks. */
static void choose_levels(oracle *o, uint64_t b, uint64_t h, uint64_t tile, uint64_t block, uint64_t blocks, double *score, int *level)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *given = has(o, "scores") ? input(o, "scores") : NULL;
    const uint64_t nq = q->shape[2], nk = k->shape[2], d = q->shape[3], g = h * k->shape[1] / q->shape[1],
                   end_q = tile * block + block < nq ? tile * block + block : nq;
    for (uint64_t n = 0; n < blocks; n++) {
        const uint64_t end = n * block + block < nk ? n * block + block : nk;
        level[n] = 0;
        score[n] = given ? row4(given, b, h, tile)[n] : 0;
        for (uint64_t e = 0; e < d && !given; e++) {
            double mean_q = 0, mean_k = 0;
            for (uint64_t i = tile * block; i < end_q; i++)
                mean_q = r(o, mean_q + row4(q, b, h, i)[e]);
            for (uint64_t j = n * block; j < end; j++)
                mean_k = r(o, mean_k + row4(k, b, g, j)[e]);
            score[n] = r(o, score[n] + r(o, r(o, mean_q / (double)(end_q - tile * block)) * r(o, mean_k / (double)(end - n * block))));
        }
    }
    const char *text = text_of(o, "quota");
    double share = 0;
    int64_t taken = 0;
    for (int l = 1; *text; l++) {
        char *rest;
        share += strtod(text, &rest);
        text = *rest == ',' ? rest + 1 : rest;
        for (; taken < lround(share * (double)blocks) && taken < (int64_t)blocks; taken++) {
            uint64_t best = blocks;
            for (uint64_t n = 0; n < blocks; n++)
                if (level[n] == 0 && (best == blocks || score[n] > score[best]))
                    best = n;
            level[best] = l;
        }
    }
}

/* One softmax over all that has a level, made of one for each level, which are stored between steps: three together, then the fourth.
 * room_for: 5 rows. */
static void by_level(const oracle *o, const query *all, const int *level, double *room_for)
{
    double lse[5];
    const double *part[5];
    bool seen[5] = {true, true, true, true, true};
    query one = *all, join = {.d_v = all->d_v, .s = lse, .seen = seen, .v = part, .out = all->out, .lse = all->lse};
    for (int l = 1; l <= 4; l++) {
        bool any = false;
        for (uint64_t j = 0; j < all->n; j++) {
            one.seen[j] = level[j] == l;
            any |= one.seen[j];
        }
        part[join.n] = one.out = room_for + join.n * all->d_v;
        one.lse = &lse[join.n];
        softmax(o, &one);
        join.n += any;
    }
    if (join.n > 3) {
        query three = join;
        three.n = 3;
        three.out = room_for + 4 * all->d_v;
        three.lse = &lse[4];
        softmax(o, &three);
        part[4] = three.out;
        seen[0] = seen[1] = seen[2] = false;
        join.n = 5;
    }
    softmax(o, &join);
}

/* Means of 1, 2, 4 or 8 keys, each with log(count) added to its score. */
static bool psa(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const uint64_t heads = q->shape[1], nq = q->shape[2], nk = k->shape[2], d = q->shape[3], dv = v->shape[3], lines = q->shape[0] * heads,
                   block = (uint64_t)whole(o, "block"), blocks = (nk + block - 1) / block;
    double *room_for = malloc((size_t)(nk * (d + dv + 1) + 5 * dv + 1) * sizeof *room_for), *keys = room_for, *values = keys + nk * d,
           *parts = values + nk * dv, *score = parts + 5 * dv;
    int *level = malloc((size_t)(blocks + nk + 1) * sizeof *level), *of_key = level + blocks;
    query one;
    const bool good = query_make(&one, nk, dv) && room_for && level && room(o, lines * nq * dv, lines * nq);
    for (uint64_t at = 0; at < lines * nq && good; at++) {
        const uint64_t b = at / nq / heads, h = at / nq % heads, i = at % nq, g = h * k->shape[1] / heads;
        choose_levels(o, b, h, i / block, block, blocks, score, level);
        for (uint64_t j = 0; j < nk; j++) {
            const int l = level[j / block];
            const uint64_t count = l > 0 ? 1ull << (l - 1) : 1;
            of_key[j] = j % count == 0 ? l : 0;
            for (uint64_t e = 0; e < d; e++) {
                double sum = 0;
                for (uint64_t c = 0; c < count && of_key[j] > 0; c++)
                    sum = r(o, sum + row4(k, b, g, j + c)[e]);
                keys[j * d + e] = stored(o, r(o, sum / (double)count));
            }
            for (uint64_t e = 0; e < dv; e++) {
                double sum = 0;
                for (uint64_t c = 0; c < count && of_key[j] > 0; c++)
                    sum = r(o, sum + row4(v, b, g, j + c)[e]);
                values[j * dv + e] = stored(o, r(o, sum / (double)count));
            }
            one.s[j] = r(o, product(o, row4(q, b, h, i), keys + j * d, d, scale_of(o, d)) + r(o, log((double)count)));
            one.v[j] = values + j * dv;
        }
        one.out = o->to->out + at * dv;
        one.lse = o->to->lse + at;
        by_level(o, &one, of_key, parts);
    }
    query_free(&one);
    free(room_for);
    free(level);
    return good && !o->failed;
}

/* ---- DHSA, section 3 (arXiv:2510.24606) ---- */

/* sqrt(length) times the mean, over the chunk of token t, of channel e. */
static double chunk_of(const oracle *o, const rapt_check_array *x, const int32_t *chunk, uint64_t b, uint64_t h, uint64_t t, uint64_t e)
{
    double sum = 0, count = 0;
    for (uint64_t j = 0; j < x->shape[2]; j++)
        if (chunk[b * x->shape[2] + j] == chunk[b * x->shape[2] + t]) {
            sum = r(o, sum + row4(x, b, h, j)[e]);
            count++;
        }
    return r(o, r(o, sum / count) * r(o, sqrt(count)));
}

static bool dhsa(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"), *chunk = input(o, "chunk");
    const uint64_t heads = q->shape[1], n = q->shape[2], d = q->shape[3], dv = v->shape[3], lines = q->shape[0] * heads;
    double *score = malloc((size_t)(n + 1) * sizeof *score);
    query one;
    const bool good = query_make(&one, n, dv) && score && chunk->bounds && room(o, lines * n * dv, 0);
    for (uint64_t at = 0; at < lines * n && good; at++) {
        const uint64_t b = at / n / heads, h = at / n % heads, t = at % n, g = h * k->shape[1] / heads;
        for (uint64_t j = 0; j < n; j++) {
            one.seen[j] = false;
            score[j] = j <= t ? 0 : -INFINITY;
            for (uint64_t e = 0; e < d && j <= t; e++)
                score[j] = r(o, score[j] + r(o, chunk_of(o, q, chunk->bounds, b, h, t, e) * chunk_of(o, k, chunk->bounds, b, g, j, e)));
        }
        take_largest(score, n, whole(o, "budget"), one.seen);
        attend_row(o, &one, b, h, t, o->to->out + at * dv);
    }
    query_free(&one);
    free(score);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"Sessa (Selective State Space Attention)", sessa},
    {"WuNeng (RWKV-7 state heads)", wuneng},
    {"Pyramid Sparse Attention (PSA)", psa},
    {"DHSA (on-device)", dhsa},
};
const oracle_family rapt_oracles_kinds = {entries, sizeof entries / sizeof *entries};
