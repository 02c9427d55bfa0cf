/* Log-Linear Attention: the past of each token in segments of powers of two, each a state of its own (arXiv:2506.04761). */
#include "system/system.h"

/* At level l >= 1 blocks of 2^l tokens have an earlier and a later half. A state that begins with nothing takes in the earlier half
 * and goes on through the later one, where nothing is written and it is read, decayed as its base model has it. The tokens before
 * number t fall into one earlier half for each bit of t. All are blocks of a power of two: what lies behind the last token changes
 * nothing before it, and is never set.
 *
 * Outputs are sums of what levels read, two levels at a time, with weights of 0 for earlier halves. Without beta nothing is written
 * where a beta of 0 says so; the delta rule goes on to erase, and has values of 0. */
typedef struct levels {
    rapt_system_view q, k, v, lambda, decay, beta, out; /* but for out (lines, room, ..): heads of the batch as lines */
    rapt_system_view weight, writes, masked, read[3], sum[2]; /* weight: lambda, 0 for earlier halves; writes: 1, then 0 */
    uint64_t lines, n, room;
    bool delta;
    unsigned count; /* levels */
} levels;

/* Tokens [first, first + count) of each block of `size` tokens as a head: (lines, blocks, count, w). */
static rapt_system_view part_of(rapt_system_view x, uint64_t size, uint64_t first, uint64_t count)
{
    rapt_system_view out = rapt_system_ranked(rapt_system_part(x, 1, first, count), 4, (const int[]){0, -1, 1, 2});
    out.tensor.size[1] = x.tensor.size[1] / size;
    out.tensor.stride[1] = x.tensor.stride[1] * (int64_t)size;
    return out;
}

static bool copy(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view x, float factor)
{
    return rapt_system_map(b, what, out, x, factor, 0, RAPT_COMBINE_ACT_NONE);
}

/* 1 for the earlier half of each block, else 0: the middle of `writes`, for all lines and blocks. */
static rapt_system_view earlier(const levels *t, uint64_t size)
{
    rapt_system_view out = rapt_system_part(t->writes, 1, t->room / 2 - size / 2, size);
    out.tensor.size[1] = 1;
    out.tensor.size[2] = size;
    out.tensor.size[0] = t->lines;
    out.tensor.stride[0] = out.tensor.stride[1] = 0;
    out.tensor.stride[2] = 1;
    return out;
}

/* Recurrences over all blocks of a level; read: what they give. */
static bool walk(rapt_system_builder *b, const levels *t, unsigned level, rapt_system_view read)
{
    const uint64_t size = 1ull << level, half = size / 2;
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.rule = t->delta ? RAPT_LINEAR_DELTA : RAPT_LINEAR_NONE;
    const bool masks = t->delta && level > 0;
    if (masks && (!copy(b, "values of earlier halves", part_of(t->masked, size, 0, half), part_of(t->v, size, 0, half), 1) ||
                  !copy(b, "none of later halves", part_of(t->masked, size, half, half), part_of(t->v, size, half, half), 0)))
        return false;
    rapt_system_step *s = rapt_system_linear_step_add(b, "states of a level", &d);
    if (s == NULL)
        return false;
    rapt_system_linear_give(s, part_of(t->q, size, 0, size), part_of(t->k, size, 0, size),
                            part_of(masks ? t->masked : t->v, size, 0, size), part_of(read, size, 0, size));
    const rapt_system_view decay = rapt_system_weights(part_of(t->decay, size, 0, size)),
                           beta = t->delta ? rapt_system_weights(part_of(t->beta, size, 0, size)) : earlier(t, size);
    rapt_system_give(&s->linear.decay, &s->decay, &decay);
    if (t->delta || level > 0)
        rapt_system_give(&s->linear.beta, &s->beta, &beta);
    return true;
}

/* All tokens of a line. */
static rapt_system_view tokens_of(const levels *t, rapt_system_view x)
{
    return part_of(x, t->room, 0, t->n);
}

/* Outputs: own tokens, then two levels at a time on top of the sum so far. */
static bool add_levels(rapt_system_builder *b, const levels *t)
{
    rapt_system_view out = t->out;
    out.tensor.size[0] = t->lines; /* contiguous */
    out.tensor.size[1] = 1;
    out.tensor.stride[0] = (int64_t)(t->n * out.tensor.size[3]);
    for (unsigned level = 0, sums = 0; level < t->count; sums++) {
        rapt_system_view weights[3];
        rapt_system_term terms[3];
        uint32_t count = 0;
        if (sums > 0)
            terms[count++] = (rapt_system_term){tokens_of(t, t->sum[(sums - 1) % 2]), 1, NULL};
        for (; count < 3 && level < t->count; level++, count++) {
            if (!walk(b, t, level, t->read[count]))
                return false;
            weights[count] = rapt_system_weights(tokens_of(t, rapt_system_part(t->weight, 2, level, 1)));
            terms[count] = (rapt_system_term){tokens_of(t, t->read[count]), 1, &weights[count]};
        }
        const rapt_system_view to = level == t->count ? out : tokens_of(t, t->sum[sums % 2]);
        if (rapt_system_combine_step_add(b, "what levels read", to, terms, count) == NULL)
            return false;
    }
    return true;
}

/* Weights of what is read, and which tokens write. */
static bool make_weights(rapt_system_builder *b, levels *t)
{
    const uint64_t shape[3] = {t->lines, t->room, t->count}, line[3] = {1, t->room, 1};
    bool good = rapt_system_between(b, "weights", RAPT_F32, 3, shape, &t->weight) &&
                copy(b, "weights", tokens_of(t, t->weight), tokens_of(t, t->lambda), 1) &&
                rapt_system_between(b, "writes", RAPT_F32, 3, line, &t->writes);
    for (unsigned level = 1; level < t->count && good; level++) {
        const uint64_t size = 1ull << level;
        good = rapt_system_fill(b, "no weights of earlier halves", part_of(rapt_system_part(t->weight, 2, level, 1), size, 0, size / 2), t->lambda, 0);
    }
    for (unsigned later = 0; later < 2 && good && !t->delta && t->room > 1; later++)
        good = rapt_system_fill(b, "which tokens write", part_of(t->writes, t->room, later * t->room / 2, t->room / 2), t->lambda, later ? 0 : 1);
    return good;
}

/* An input of rank 4, by line and with room behind the last token. */
static bool place(rapt_system_builder *b, const levels *t, const char *single, const char *name, rapt_system_view in, rapt_system_view *to)
{
    const uint64_t *s = in.tensor.size, shape[4] = {s[0], s[1], t->room, s[3]};
    if (!rapt_system_single(b, single, in, &in) || !rapt_system_between(b, name, RAPT_F32, 4, shape, to) ||
        !copy(b, name, rapt_system_part(*to, 2, 0, t->n), in, 1))
        return false;
    to->tensor = (rapt_tensor){.dtype = RAPT_F32,
                               .rank = 3,
                               .size = {t->lines, t->room, s[3]},
                               .stride = {(int64_t)(t->room * s[3]), (int64_t)s[3], 1},
                               .align = to->tensor.align};
    return true;
}

static bool place_numbers(rapt_system_builder *b, const levels *t, const char *name, const char *placed, const uint64_t sizes[3],
                          rapt_system_view *to)
{
    rapt_system_view in;
    return rapt_system_in_f32(b, name, 3, sizes, &in) &&
           place(b, t, "", placed, rapt_system_axes(in, (const int[]){0, 1, 2, -1}), to);
}

static bool take(rapt_system_builder *b, levels *t)
{
    rapt_system_view q, k, v, lambda;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in_sized(b, "k", 4, q.tensor.size, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){q.tensor.size[0], q.tensor.size[1], q.tensor.size[2], 0}, &v))
        return false;
    const uint64_t *s = q.tensor.size, dv = v.tensor.size[3];
    t->delta = rapt_system_given(b, "beta");
    t->lines = s[0] * s[1];
    t->n = s[2];
    if (s[0] == 0 || s[1] == 0 || s[1] > UINT32_MAX || s[0] > UINT32_MAX || t->n == 0 || t->n > (1 << 29) || s[3] == 0 || dv == 0)
        return rapt_system_refuse(b, "q or v is empty, or larger than 2^29 tokens");
    t->count = 1;
    for (t->room = 1; t->room < t->n; t->room *= 2)
        t->count++;
    if (!rapt_system_in_f32(b, "lambda", 4, (const uint64_t[]){s[0], s[1], s[2], t->count}, &lambda) ||
        !place(b, t, "q single", "q by line", q, &t->q) || !place(b, t, "k single", "k by line", k, &t->k) ||
        !place(b, t, "v single", "v by line", v, &t->v) || !place(b, t, "", "lambda by line", lambda, &t->lambda) ||
        !place_numbers(b, t, "alpha", "alpha by line", s, &t->decay) ||
        (t->delta && !place_numbers(b, t, "beta", "beta by line", s, &t->beta)))
        return false;
    if (!t->delta)
        t->beta = t->decay; /* not read */
    const uint64_t rows[3] = {t->lines, t->room, dv};
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, v.tensor.size, &t->out) &&
           (!t->delta || rapt_system_between(b, "masked", RAPT_F32, 3, rows, &t->masked)) &&
           rapt_system_between(b, "read", RAPT_F32, 3, rows, &t->read[0]) && rapt_system_between(b, "read too", RAPT_F32, 3, rows, &t->read[1]) &&
           rapt_system_between(b, "read first", RAPT_F32, 3, rows, &t->read[2]) &&
           rapt_system_between(b, "sum", RAPT_F32, 3, rows, &t->sum[0]) && rapt_system_between(b, "other sum", RAPT_F32, 3, rows, &t->sum[1]);
}

bool rapt_system_log_linear(rapt_system_builder *b)
{
    levels t;
    return take(b, &t) && make_weights(b, &t) && add_levels(b, &t);
}
