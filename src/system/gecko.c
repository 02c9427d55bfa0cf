/* Gecko, as its authors' code has it (XuezheMax/gecko-llm): a norm whose statistics decay, complex moving averages, and attention to two
 * chunks beside a memory of those before them (rapt/memory.h). The projections between the parts are the caller's. */
#include "system/system.h"

#include <string.h>

enum { Q = 0, K, MEMORY_Q, MEMORY_K, KINDS };

static rapt_system_view one_head(rapt_system_view view)
{
    return rapt_system_ranked(view, 4, (const int[]){0, -1, 1, 2});
}

/* out = weight x + bias, channel by channel: a convolution of one tap. x, out (batch, heads, n, d), weight and bias (heads, d). */
static bool affine(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view weight, rapt_system_view bias, rapt_system_view out)
{
    const rapt_scan_desc conv = {.struct_size = sizeof conv, .op = RAPT_SCAN_CONV};
    const rapt_system_view taps = rapt_system_ranked(weight, 3, (const int[]){0, 1, -1, -1});
    rapt_system_step *s = rapt_system_scan_step_add(b, what, &conv, x, out);
    if (s == NULL)
        return false;
    rapt_system_give(&s->scan.weight, &s->weight, &taps);
    rapt_system_give(&s->scan.bias, &s->bias, &bias);
    return true;
}

/* x / sqrt(mean of x^2 + eps), times `weight` (heads or 1, d) where it is not NULL. */
static bool rms_norm(rapt_system_builder *b, const char *what, rapt_system_view x, const rapt_system_view *weight, float eps, rapt_system_view out)
{
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &(rapt_system_term){x, 1, NULL}, 1);
    if (s == NULL)
        return false;
    s->combine.norm = 1;
    s->combine.norm_epsilon = eps;
    if (weight != NULL)
        rapt_system_give(&s->combine.norm_weight, &s->norm_weight, weight);
    return true;
}

/* ---- the norm whose statistics decay */

typedef struct decaying {
    rapt_system_view x;      /* float32, groups as heads: (batch, groups, n, d) */
    rapt_system_view ones;   /* (1, 1, 1, d) */
    rapt_system_view less;   /* (batch, groups, n, d): x less an average */
    rapt_system_view sums;   /* lines of (batch, 2 groups, n): of the sum of x over d, then of the squares of x less its average there */
    rapt_system_view moving; /* their moving averages */
    rapt_system_view over;   /* (1, 2, n, 1): 1 / (1 - beta^(t + 1)) */
    float beta[2], eps;
} decaying;

static rapt_system_view first_half(rapt_system_view lines)
{
    return rapt_system_part(lines, 1, 0, lines.tensor.size[1] / 2);
}
static rapt_system_view second_half(rapt_system_view lines)
{
    return rapt_system_part(lines, 1, lines.tensor.size[1] / 2, lines.tensor.size[1] / 2);
}

/* less = x - factor line. */
static bool subtract(rapt_system_builder *b, const char *what, const decaying *t, rapt_system_view line, float factor)
{
    const rapt_system_view weights = rapt_system_weights(line);
    const rapt_system_term terms[] = {{t->x, 1, NULL}, {t->ones, -factor, &weights}};
    return rapt_system_combine_step_add(b, what, t->less, terms, 2) != NULL;
}

static bool group_sums(rapt_system_builder *b, const decaying *t)
{
    const uint64_t *size = t->x.tensor.size;
    rapt_system_view ones = t->ones, some = t->x, squares;
    for (unsigned axis = 0; axis < 3; axis++) {
        some.tensor.size[axis] = 1;
        ones.tensor.size[axis] = axis < 2 ? size[axis] : 1; /* the same for all */
        ones.tensor.stride[axis] = 0;
    }
    const rapt_system_term term = {t->less, 1, NULL};
    if (!rapt_system_between(b, "squares", RAPT_F32, 4, size, &squares) || !rapt_system_map(b, "ones", t->ones, some, 0, 1, RAPT_COMBINE_ACT_NONE) ||
        !rapt_system_row_products(b, "sums of groups", t->x, ones, first_half(t->sums)) ||
        !subtract(b, "less the group's average", t, first_half(t->sums), 1 / (float)size[3]))
        return false;
    rapt_system_step *s = rapt_system_combine_step_add(b, "squares", squares, &term, 1);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_PRODUCT;
    rapt_system_give(&s->combine.gate, &s->gate, &t->less);
    return rapt_system_row_products(b, "sums of squares", squares, ones, second_half(t->sums));
}

/* h_t = beta h_(t-1) + (1 - beta) x_t of lines, of which each half has its own beta. */
static bool move(rapt_system_builder *b, const char *what, rapt_system_view beta, rapt_system_view x, rapt_system_view out)
{
    const rapt_scan_desc scan = {.struct_size = sizeof scan, .op = RAPT_SCAN_LINEAR, .flags = RAPT_SCAN_BLEND};
    rapt_system_step *s = rapt_system_scan_step_add(b, what, &scan, x, out);
    if (s != NULL)
        rapt_system_give(&s->scan.a, &s->a, &beta);
    return s != NULL;
}

/* What divides by 1 - beta^t is made of a moving average of ones: rounded as the others are, however close to 1 beta is. */
static bool statistics(rapt_system_builder *b, const decaying *t)
{
    const uint64_t n = t->x.tensor.size[2];
    rapt_system_view beta, ones, counts;
    if (!rapt_system_between(b, "beta", RAPT_F32, 4, (const uint64_t[]){1, 2, 1, 1}, &beta) ||
        !rapt_system_between(b, "ones of tokens", RAPT_F32, 4, (const uint64_t[]){1, 2, n, 1}, &ones) ||
        !rapt_system_between(b, "shares of tokens", RAPT_F32, 4, (const uint64_t[]){1, 2, n, 1}, &counts) ||
        !rapt_system_fill(b, "ones of tokens", ones, t->x, 1))
        return false;
    for (uint64_t half = 0; half < 2; half++)
        if (!rapt_system_fill(b, "beta", rapt_system_part(beta, 1, half, 1), t->x, t->beta[half]))
            return false;
    beta = rapt_system_ranked(beta, 2, (const int[]){1, 3, -1, -1});
    return move(b, "moving averages", beta, t->sums, t->moving) && move(b, "moving averages of ones", beta, ones, counts) &&
           rapt_system_map(b, "their reciprocals", t->over, counts, 1, 0, RAPT_COMBINE_ACT_RECIPROCAL);
}

/* out = (x - mean) / sqrt(variance + eps), out as x. */
static bool apply(rapt_system_builder *b, const decaying *t, rapt_system_view out)
{
    const uint64_t *size = t->x.tensor.size;
    const float each = 1 / (float)size[3];
    rapt_system_view mean, deviation, over;
    if (!rapt_system_between(b, "means", RAPT_F32, 4, (const uint64_t[]){size[0], size[1], size[2], 1}, &mean) ||
        !rapt_system_between(b, "deviations", RAPT_F32, 4, mean.tensor.size, &deviation) ||
        !rapt_system_between(b, "over deviations", RAPT_F32, 4, mean.tensor.size, &over) ||
        !rapt_system_weigh(b, "means", mean, first_half(t->moving), first_half(t->over), each, RAPT_COMBINE_ACT_NONE))
        return false;
    const rapt_system_view shares = rapt_system_weights(second_half(t->over));
    const rapt_system_term variance = {second_half(t->moving), each, &shares};
    rapt_system_step *s = rapt_system_combine_step_add(b, "deviations", deviation, &variance, 1);
    if (s == NULL)
        return false;
    s->combine.offset = t->eps;
    s->combine.act = RAPT_COMBINE_ACT_SQRT;
    return rapt_system_map(b, "over deviations", over, deviation, 1, 0, RAPT_COMBINE_ACT_RECIPROCAL) && subtract(b, "less the mean", t, mean, 1) &&
           rapt_system_weigh(b, "over the deviation", out, t->less, over, 1, RAPT_COMBINE_ACT_NONE);
}

static bool decaying_norm(rapt_system_builder *b)
{
    rapt_system_view x, weight, bias, normed, out;
    decaying t = {0};
    int64_t groups = 1;
    if (!rapt_system_in(b, "x", 3, &x) || !rapt_system_integer(b, "groups", 1, 1ll << 20, &groups) ||
        !rapt_system_number(b, "beta1", &t.beta[0]) || !rapt_system_number(b, "beta2", &t.beta[1]) || !rapt_system_number(b, "eps", &t.eps) ||
        !rapt_system_in_f32(b, "weight", 1, &x.tensor.size[2], &weight) || !rapt_system_in_f32(b, "bias", 1, &x.tensor.size[2], &bias))
        return false;
    const uint64_t *size = x.tensor.size, count = (uint64_t)groups, d = size[2] / count;
    const uint64_t lines[4] = {size[0], 2 * count, size[1], 1};
    if (size[0] == 0 || size[1] == 0 || d == 0 || size[2] % count != 0)
        return rapt_system_refuse(b, "x is empty, or its %llu channels are not %llu groups", (unsigned long long)size[2], (unsigned long long)count);
    for (int n = 0; n < 2; n++)
        if (!(t.beta[n] >= 0 && t.beta[n] < 1))
            return rapt_system_refuse(b, "beta%d is %g, must be at least 0 and below 1", n + 1, (double)t.beta[n]);
    if (!rapt_system_single(b, "x in single precision", rapt_system_axes(rapt_system_split(x, 2, d), (const int[]){0, 2, 1, 3}), &t.x) ||
        !rapt_system_between(b, "ones", RAPT_F32, 4, (const uint64_t[]){1, 1, 1, d}, &t.ones) ||
        !rapt_system_between(b, "x less an average", RAPT_F32, 4, t.x.tensor.size, &t.less) ||
        !rapt_system_between(b, "sums", RAPT_F32, 4, lines, &t.sums) || !rapt_system_between(b, "moving averages", RAPT_F32, 4, lines, &t.moving) ||
        !rapt_system_between(b, "over shares", RAPT_F32, 4, (const uint64_t[]){1, 2, size[1], 1}, &t.over) ||
        !rapt_system_between(b, "normed", b->dtype, 3, size, &normed) || !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out))
        return false;
    static const int by_channel[] = {-1, 0, -1, -1};
    return group_sums(b, &t) && statistics(b, &t) &&
           apply(b, &t, rapt_system_axes(rapt_system_split(normed, 2, d), (const int[]){0, 2, 1, 3})) &&
           affine(b, "weight and bias", one_head(normed), rapt_system_ranked(weight, 2, by_channel), rapt_system_ranked(bias, 2, by_channel), one_head(out));
}

/* ---- moving averages */

/* norm(x + Re sum over j of read_j h_j), h_j,t = keep_j h_j,t-1 + in_j x_t. */
static bool average(rapt_system_builder *b)
{
    rapt_system_view x, keep, in, read, weight, ones, added, out;
    float eps = 0;
    if (!rapt_system_in(b, "x", 3, &x) || !rapt_system_in_f32(b, "keep", 2, (const uint64_t[]){x.tensor.size[2], 0}, &keep))
        return false;
    const uint64_t *size = x.tensor.size, *ports = keep.tensor.size;
    if (size[2] == 0 || ports[1] == 0 || ports[1] % 2 != 0 || ports[1] > RAPT_SCAN_MAX_STATES)
        return rapt_system_refuse(b, "x has no channels, or keep %llu numbers a channel; pairs are needed, at most %u numbers",
                                  (unsigned long long)ports[1], RAPT_SCAN_MAX_STATES);
    if (!rapt_system_in_f32(b, "in", 2, ports, &in) || !rapt_system_in_f32(b, "read", 2, ports, &read) ||
        !rapt_system_in_f32(b, "weight", 1, &size[2], &weight) || !rapt_system_number(b, "eps", &eps) ||
        !rapt_system_between(b, "ones", RAPT_F32, 4, (const uint64_t[]){1, 1, 1, size[2]}, &ones) ||
        !rapt_system_between(b, "averaged", b->dtype, 3, size, &added) || !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out) ||
        !rapt_system_map(b, "ones", ones, rapt_system_ranked(weight, 4, (const int[]){-1, -1, -1, 0}), 0, 1, RAPT_COMBINE_ACT_NONE))
        return false;
    const rapt_scan_desc scan = {.struct_size = sizeof scan, .op = RAPT_SCAN_SSM, .flags = RAPT_SCAN_COMPLEX};
    rapt_system_step *s = rapt_system_scan_step_add(b, "complex moving averages beside x", &scan, one_head(x), one_head(added));
    if (s == NULL)
        return false;
    static const int by_channel[] = {-1, 0, 1, -1};
    const rapt_system_view row = rapt_system_ranked(weight, 2, (const int[]){-1, 0, -1, -1}),
                           views[] = {rapt_system_ranked(keep, 3, by_channel), rapt_system_ranked(in, 3, by_channel),
                                      rapt_system_ranked(read, 3, by_channel), rapt_system_ranked(ones, 2, (const int[]){1, 3, -1, -1})};
    rapt_system_give(&s->scan.a, &s->a, &views[0]);
    rapt_system_give(&s->scan.b, &s->b, &views[1]);
    rapt_system_give(&s->scan.c, &s->c, &views[2]);
    rapt_system_give(&s->scan.skip, &s->skip, &views[3]);
    return rms_norm(b, "norm", one_head(added), &row, eps, one_head(out));
}

/* ---- attention and memory */

typedef struct chunks {
    rapt_system_view q, k, v, out; /* (lines, n, d or d_v) */
    rapt_attention_desc attention;
} chunks;

/* `count` chunks of `tokens` queries, from token `first` on: as heads, whose keys begin `before` tokens earlier. */
static bool attend(rapt_system_builder *b, const chunks *t, uint64_t first, uint64_t count, uint64_t tokens, uint64_t before)
{
    const rapt_system_view *const whole[] = {&t->q, &t->k, &t->v, &t->out};
    rapt_system_view view[4];
    if (count == 0 || tokens == 0)
        return true;
    for (int n = 0; n < 4; n++) {
        const bool keys = n == 1 || n == 2;
        view[n] = rapt_system_split(rapt_system_part(*whole[n], 1, keys ? first - before : first, count * tokens), 1, tokens);
        view[n].tensor.size[2] += keys ? before : 0; /* chunks share what lies before them */
    }
    return rapt_system_step_add(b, before ? "attention to a chunk and the one before" : "attention to the first chunk", &t->attention, view[0],
                                view[1], view[2], view[3], NULL) != NULL;
}

/* Every chunk sees itself causally and the one before it whole. Rotary positions count from the first key that a chunk sees: what turns
 * a query against a key is how far they are apart. */
static bool attend_all(rapt_system_builder *b, const rapt_system_view of[KINDS], rapt_system_view v, rapt_system_view out, uint64_t chunk)
{
    chunks t = {of[Q], of[K], v, out, RAPT_ATTENTION_DESC_INIT};
    const uint64_t n = v.tensor.size[2], first = n < chunk ? n : chunk, whole = (n - first) / chunk;
    float rope = 0;
    if (!rapt_system_common(b, &t.attention) || !rapt_system_number(b, "rope", &rope) || !rapt_system_merge(b, "", &t.q) ||
        !rapt_system_merge(b, "", &t.k) || !rapt_system_merge(b, "v side by side", &t.v) || !rapt_system_merge(b, "", &t.out))
        return false;
    t.attention.flags |= RAPT_ATTENTION_CAUSAL;
    if (rope != 0) {
        t.attention.flags |= RAPT_ATTENTION_ROPE_INTERLEAVED;
        t.attention.rope_base = (double)rope;
    }
    return attend(b, &t, 0, 1, first, 0) && attend(b, &t, first, whole, chunk, chunk) &&
           attend(b, &t, first + whole * chunk, 1, (n - first) % chunk, chunk);
}

/* out = x SiLU(r). */
static bool gated(rapt_system_builder *b, rapt_system_view x, rapt_system_view r, rapt_system_view out)
{
    rapt_system_step *s = rapt_system_combine_step_add(b, "gate", out, &(rapt_system_term){x, 1, NULL}, 1);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_SILU;
    rapt_system_give(&s->combine.gate, &s->gate, &r);
    return true;
}

/* Tokens behind the first chunk: gated attention, and what their queries read of the chunks before the two that it sees. */
static bool remember(rapt_system_builder *b, const rapt_system_view of[KINDS], rapt_system_view v, rapt_system_view attended, rapt_system_view r,
                     rapt_system_view out, uint64_t chunk)
{
    const uint64_t *size = v.tensor.size, rest = size[2] - chunk, shape[4] = {size[0], size[1], rest, size[3]};
    const rapt_memory_desc d = {.struct_size = sizeof d, .form = RAPT_MEMORY_SOFTMAX, .chunk = (uint32_t)chunk};
    rapt_system_view x, read;
    if (!rapt_system_between(b, "attended, gated", b->dtype, 4, shape, &x) || !rapt_system_between(b, "remembered", b->dtype, 4, shape, &read) ||
        !gated(b, rapt_system_part(attended, 2, chunk, rest), rapt_system_part(r, 2, chunk, rest), x) ||
        !rapt_system_memory_step_add(b, "memory", &d, rapt_system_part(of[MEMORY_Q], 2, chunk, rest), rapt_system_part(of[MEMORY_K], 2, 0, rest),
                                     rapt_system_part(v, 2, 0, rest), read))
        return false;
    const rapt_system_term terms[] = {{x, 1, NULL}, {read, 1, NULL}};
    return rapt_system_combine_step_add(b, "both", rapt_system_part(out, 2, chunk, rest), terms, 2) != NULL;
}

/* q, k and those of the memory: norm(z) gamma + beta, of each its own. */
static bool four_kinds(rapt_system_builder *b, rapt_system_view z, rapt_system_view of[KINDS])
{
    static const char *const names[KINDS] = {"q", "k", "q of the memory", "k of the memory"};
    const uint64_t *size = z.tensor.size, shape[3] = {KINDS, size[1], size[3]};
    rapt_system_view gamma, beta, normed;
    float eps = 0;
    if (!rapt_system_in_f32(b, "gamma", 3, shape, &gamma) || !rapt_system_in_f32(b, "beta", 3, shape, &beta) || !rapt_system_number(b, "eps", &eps) ||
        !rapt_system_between(b, "normed", b->dtype, 4, size, &normed) || !rms_norm(b, "norm of heads", z, NULL, eps, normed))
        return false;
    for (int n = 0; n < KINDS; n++) {
        static const int axes[] = {1, 2, -1, -1};
        const rapt_system_view g = rapt_system_ranked(rapt_system_part(gamma, 0, (uint64_t)n, 1), 2, axes),
                               plus = rapt_system_ranked(rapt_system_part(beta, 0, (uint64_t)n, 1), 2, axes);
        if (!rapt_system_between(b, names[n], b->dtype, 4, size, &of[n]) || !affine(b, names[n], normed, g, plus, of[n]))
            return false;
    }
    return true;
}

static bool attention(rapt_system_builder *b)
{
    rapt_system_view z, v, r, attended, out, of[KINDS];
    int64_t tokens = 1;
    if (!rapt_system_in(b, "z", 4, &z) || !rapt_system_integer(b, "chunk", 1, 65536, &tokens))
        return false;
    const uint64_t *size = z.tensor.size, chunk = (uint64_t)tokens;
    if (size[0] == 0 || size[1] == 0 || size[2] == 0 || size[3] == 0)
        return rapt_system_refuse(b, "z is empty");
    if (!rapt_system_in_sized(b, "v", 4, (const uint64_t[]){size[0], size[1], size[2], 0}, &v) ||
        !rapt_system_in_sized(b, "r", 4, v.tensor.size, &r) || !rapt_system_between(b, "attended", b->dtype, 4, v.tensor.size, &attended) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, v.tensor.size, &out))
        return false;
    if (v.tensor.size[3] == 0)
        return rapt_system_refuse(b, "v is empty");
    const uint64_t first = size[2] < chunk ? size[2] : chunk;
    return four_kinds(b, z, of) && attend_all(b, of, v, attended, chunk) &&
           gated(b, rapt_system_part(attended, 2, 0, first), rapt_system_part(r, 2, 0, first), rapt_system_part(out, 2, 0, first)) &&
           (first == size[2] || remember(b, of, v, attended, r, out, chunk));
}

bool rapt_system_gecko(rapt_system_builder *b)
{
    const char *part = rapt_system_text(b, "part");
    part = part != NULL ? part : "";
    return strcmp(part, "norm") == 0        ? decaying_norm(b)
           : strcmp(part, "average") == 0   ? average(b)
           : strcmp(part, "attention") == 0 ? attention(b)
                                            : rapt_system_refuse(b, "part is '%.40s'; norm, average or attention is needed", part);
}
