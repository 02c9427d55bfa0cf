#include "oracle_scan.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>

typedef struct scan {
    const rapt_scan_desc *d;
    const rapt_check_scan_inputs *in;
    bool single;
    uint64_t heads, channels, states;
} scan;

static double r(const scan *s, double x)
{
    return s->single ? (double)(float)x : x;
}

/* Element (i, j, k, l) of a tensor; `head` says which of the indices is a head of the whole, of which the tensor may share. */
static double element(const scan *s, const rapt_tensor *t, const void *data, unsigned head, uint64_t i, uint64_t j,
                      uint64_t k, uint64_t l)
{
    uint64_t at[4] = {i, j, k, l};
    int64_t place = 0;
    at[head] = at[head] * t->size[head] / s->heads;
    for (uint32_t axis = 0; axis < t->rank; axis++)
        place += (int64_t)at[axis] * t->stride[axis];
    return (double)rapt_check_load(data, t->dtype, place);
}
/* Of (batch, heads, N, ..), and of (heads, d, ..). */
static double of_token(const scan *s, const rapt_tensor *t, const void *data, uint64_t b, uint64_t h, uint64_t token,
                       uint64_t x)
{
    return element(s, t, data, 1, b, h, token, x);
}
static double of_channel(const scan *s, const rapt_tensor *t, const void *data, uint64_t h, uint64_t e, uint64_t n)
{
    return element(s, t, data, 0, h, e, n, 0);
}

/* One sequence of one channel, whose tokens in the order of the scan are `first`, `first + step`, .. */
typedef struct line {
    uint64_t b, h, e, tokens;
    int64_t first, step;
    double *state; /* before and after */
    double *out;   /* of token 0 of this (batch, head), channel e; rows lie `channels` apart */
} line;

static double linear_factor(const scan *s, const line *l, uint64_t token)
{
    const rapt_scan_desc *d = s->d;
    if ((d->op != RAPT_SCAN_LINEAR && d->op != RAPT_SCAN_HOLD) || d->a.dtype == RAPT_DTYPE_NONE)
        return 1;
    const double a = d->a.rank == 2 ? of_channel(s, &d->a, s->in->a, l->h, l->e, 0)
                                    : of_token(s, &d->a, s->in->a, l->b, l->h, token, l->e);
    return d->flags & RAPT_SCAN_LOG_A ? r(s, exp(a)) : a;
}

/* Sums, maxima, linear recurrences and values that are held. */
static void simple(const scan *s, const line *l)
{
    const rapt_scan_desc *d = s->d;
    double h = l->state[0];
    for (uint64_t i = 0; i < l->tokens; i++) {
        const uint64_t token = (uint64_t)(l->first + (int64_t)i * l->step);
        const double x = of_token(s, &d->x, s->in->x, l->b, l->h, token, l->e), a = linear_factor(s, l, token);
        if (d->op == RAPT_SCAN_MAX)
            h = x > h ? x : h;
        else if (d->op == RAPT_SCAN_HOLD)
            h = fabs(r(s, x - h)) >= a ? x : h;
        else
            h = r(s, r(s, a * h) + (d->flags & RAPT_SCAN_BLEND ? r(s, r(s, 1 - a) * x) : x));
        l->out[token * s->channels] = h;
    }
    l->state[0] = h;
}

/* Softmax of every prefix, each by itself: the state it begins with is one token more, of weight l and mean acc / l. */
static void softmax(const scan *s, const line *l)
{
    const rapt_scan_desc *d = s->d;
    double m = l->state[0], sum = 0, acc = 0;
    for (uint64_t end = 0; end < l->tokens; end++) {
        double top = l->state[0];
        for (uint64_t i = 0; i <= end; i++)
            top = fmax(top, of_token(s, &d->scores, s->in->scores, l->b, l->h,
                                     (uint64_t)(l->first + (int64_t)i * l->step), l->e));
        const double before = l->state[0] == -INFINITY ? 0 : r(s, exp(r(s, l->state[0] - top)));
        sum = r(s, before * l->state[1]);
        acc = r(s, before * l->state[2]);
        for (uint64_t i = 0; i <= end; i++) {
            const uint64_t token = (uint64_t)(l->first + (int64_t)i * l->step);
            const double score = of_token(s, &d->scores, s->in->scores, l->b, l->h, token, l->e);
            if (score == -INFINITY)
                continue;
            const double w = r(s, exp(r(s, score - top)));
            sum = r(s, sum + w);
            acc = r(s, acc + r(s, w * of_token(s, &d->x, s->in->x, l->b, l->h, token, l->e)));
        }
        m = top;
        l->out[(uint64_t)(l->first + (int64_t)end * l->step) * s->channels] = sum > 0 ? r(s, acc / sum) : 0;
    }
    if (l->tokens > 0) {
        l->state[0] = m;
        l->state[1] = sum;
        l->state[2] = acc;
    }
}

/* a, b or c of state number n: (re, im). */
typedef struct pair {
    double re, im;
} pair;
static pair port(const scan *s, const rapt_tensor *t, const void *data, const line *l, uint64_t token, uint64_t n)
{
    const bool complex = s->d->flags & RAPT_SCAN_COMPLEX;
    const uint64_t at = complex ? 2 * n : n;
    pair out = {0, 0};
    out.re = t->rank == 3 ? of_channel(s, t, data, l->h, l->e, at) : of_token(s, t, data, l->b, l->h, token, at);
    if (complex)
        out.im = of_channel(s, t, data, l->h, l->e, at + 1);
    return out;
}
static pair product(const scan *s, pair a, pair b)
{
    return (pair){r(s, r(s, a.re * b.re) - r(s, a.im * b.im)), r(s, r(s, a.re * b.im) + r(s, a.im * b.re))};
}

/* Diagonal state-space models, fixed and selective. */
static void state_space(const scan *s, const line *l)
{
    const rapt_scan_desc *d = s->d;
    const bool selective = d->op == RAPT_SCAN_SELECTIVE, complex = d->flags & RAPT_SCAN_COMPLEX;
    const uint64_t states = complex ? s->states / 2 : s->states;
    for (uint64_t i = 0; i < l->tokens; i++) {
        const uint64_t token = (uint64_t)(l->first + (int64_t)i * l->step);
        const double x = of_token(s, &d->x, s->in->x, l->b, l->h, token, l->e);
        double dt = selective ? of_token(s, &d->dt, s->in->dt, l->b, l->h, token, l->e) : 0;
        if (d->flags & RAPT_SCAN_SOFTPLUS)
            dt = r(s, dt > 30 ? dt : log1p(exp(dt)));
        double y = d->skip.dtype ? r(s, of_channel(s, &d->skip, s->in->skip, l->h, l->e, 0) * x) : 0;
        for (uint64_t n = 0; n < states; n++) {
            double *h = l->state + (complex ? 2 * n : n);
            pair a = port(s, &d->a, s->in->a, l, token, n), b = port(s, &d->b, s->in->b, l, token, n);
            if (selective) {
                a.re = r(s, exp(r(s, dt * a.re)));
                b.re = r(s, dt * b.re);
            }
            pair now = product(s, a, (pair){h[0], complex ? h[1] : 0});
            now.re = r(s, now.re + r(s, b.re * x));
            now.im = r(s, now.im + r(s, b.im * x));
            h[0] = now.re;
            if (complex)
                h[1] = now.im;
            y = r(s, y + product(s, port(s, &d->c, s->in->c, l, token, n), now).re);
        }
        if (d->z.dtype) {
            const double z = of_token(s, &d->z, s->in->z, l->b, l->h, token, l->e);
            y = r(s, y * r(s, z / (1 + r(s, exp(-z)))));
        }
        l->out[token * s->channels] = y;
    }
}

static double activated(const scan *s, double x)
{
    if (s->d->act == RAPT_SCAN_ACT_NONE)
        return x;
    const double gate = r(s, 1 / r(s, 1 + r(s, exp(-x))));
    return s->d->act == RAPT_SCAN_ACT_SILU ? r(s, x * gate) : gate;
}

/* Tap j of token number `token`; j = taps - 1 is that of the newest token. */
static double tap(const scan *s, const line *l, uint64_t token, uint64_t j)
{
    const rapt_tensor *w = &s->d->weight;
    return w->rank == 3 ? of_channel(s, w, s->in->weight, l->h, l->e, j)
                        : of_token(s, w, s->in->weight, l->b, l->h, token, l->e * (s->states + 1) + j);
}

/* Convolution along the tokens: of the line of what came before and the tokens themselves, as the state leaves it. */
static bool convolution(const scan *s, const line *l)
{
    const rapt_scan_desc *d = s->d;
    const uint64_t before = s->states, taps = before + 1;
    double *x = calloc((size_t)(before + l->tokens + d->ahead), sizeof *x);
    if (x == NULL && before + l->tokens > 0)
        return false;
    for (uint64_t n = 0; n < before; n++)
        x[n] = l->state[n];
    for (uint64_t i = 0; i < l->tokens; i++)
        x[before + i] = of_token(s, &d->x, s->in->x, l->b, l->h, (uint64_t)(l->first + (int64_t)i * l->step), l->e);
    for (uint64_t i = 0; i < l->tokens; i++) {
        const uint64_t token = (uint64_t)(l->first + (int64_t)i * l->step);
        double y = d->bias.dtype ? of_channel(s, &d->bias, s->in->bias, l->h, l->e, 0) : 0;
        for (uint64_t j = 0; j < taps; j++)
            y = r(s, y + r(s, tap(s, l, token, j) * x[i + j + d->ahead]));
        l->out[token * s->channels] = activated(s, y);
    }
    for (uint64_t n = 0; n < before; n++)
        l->state[n] = x[l->tokens + n];
    free(x);
    return true;
}

/* Convolution on a grid, all of it: x is (batch, channels, Y, X), or (batch, Y, X, channels). */
static void grid(const scan *s, double *out)
{
    const rapt_scan_desc *d = s->d;
    const bool last = d->flags & RAPT_SCAN_CHANNELS_LAST;
    const uint64_t *size = d->x.size;
    const int64_t height = (int64_t)size[last ? 1 : 2], width = (int64_t)size[last ? 2 : 3];
    const int64_t rows = (int64_t)d->weight.size[1], columns = (int64_t)d->weight.size[2];
    for (uint64_t i = 0; i < size[0] * size[1] * size[2] * size[3]; i++) {
        const uint64_t at[4] = {i / size[3] / size[2] / size[1], i / size[3] / size[2] % size[1], i / size[3] % size[2],
                                i % size[3]};
        const uint64_t channel = last ? at[3] : at[1];
        const int64_t y = (int64_t)at[last ? 1 : 2], x = (int64_t)at[last ? 2 : 3];
        double sum = d->bias.dtype ? s->in->bias[(int64_t)channel * d->bias.stride[0]] : 0;
        for (int64_t a = 0; a < rows; a++)
            for (int64_t b = 0; b < columns; b++) {
                const int64_t from_y = y + a - rows / 2, from_x = x + b - columns / 2;
                if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width)
                    continue;
                const int64_t place[4] = {(int64_t)at[0], last ? from_y : (int64_t)channel, last ? from_x : from_y,
                                          last ? (int64_t)channel : from_x};
                const int64_t from = place[0] * d->x.stride[0] + place[1] * d->x.stride[1] + place[2] * d->x.stride[2] +
                                     place[3] * d->x.stride[3];
                const double w = s->in->weight[(int64_t)channel * d->weight.stride[0] + a * d->weight.stride[1] +
                                               b * d->weight.stride[2]];
                sum = r(s, sum + r(s, w * (double)rapt_check_load(s->in->x, d->x.dtype, from)));
            }
        out[i] = activated(s, sum);
    }
}

static uint64_t states_of(const rapt_scan_desc *d)
{
    switch (d->op) {
    case RAPT_SCAN_SOFTMAX:
        return 3;
    case RAPT_SCAN_SSM:
    case RAPT_SCAN_SELECTIVE:
        return d->a.size[2];
    case RAPT_SCAN_CONV:
        return (d->weight.rank == 3 ? d->weight.size[2] : d->x.size[3] ? d->weight.size[3] / d->x.size[3] : 1) - 1;
    default:
        return 1;
    }
}

static void begin(const scan *s, const line *l, uint64_t sequence)
{
    const rapt_scan_desc *d = s->d;
    for (uint64_t n = 0; n < s->states; n++)
        l->state[n] = d->state_in.dtype
                          ? element(s, &d->state_in, s->in->state_in, 1, sequence, l->h, l->e, n)
                          : n == 0 && (d->op == RAPT_SCAN_MAX || d->op == RAPT_SCAN_SOFTMAX || d->op == RAPT_SCAN_HOLD) ? -INFINITY : 0;
}

bool rapt_check_scan(const rapt_scan_desc *desc, const rapt_check_scan_inputs *in, bool single, double *out,
                     double *state)
{
    const rapt_scan_desc *d = desc;
    const bool stateful = d->op == RAPT_SCAN_SSM || d->op == RAPT_SCAN_SELECTIVE;
    const scan s = {d, in, single, d->x.size[1], d->x.size[3], states_of(d)};
    const uint64_t total = d->x.size[2], sequences = d->sequences ? d->sequences : d->x.size[0];
    double *numbers = malloc((size_t)(s.states + 1) * sizeof *numbers);
    bool good = numbers != NULL;
    if (d->op == RAPT_SCAN_CONV2D)
        grid(&s, out);
    for (uint64_t q = 0; q < sequences && good && d->op != RAPT_SCAN_CONV2D; q++)
        for (uint64_t h = 0; h < s.heads; h++)
            for (uint64_t e = 0; e < s.channels; e++) {
                line l = {.b = d->sequences ? 0 : q, .h = h, .e = e, .tokens = total, .step = 1, .state = numbers};
                if (d->sequences) {
                    l.first = in->cu_seqlens[q];
                    l.tokens = (uint64_t)(in->cu_seqlens[q + 1] - in->cu_seqlens[q]);
                    if (d->max_seqlen != 0 && l.tokens > d->max_seqlen)
                        l.tokens = d->max_seqlen;
                }
                if (d->flags & RAPT_SCAN_REVERSE) {
                    l.first += (int64_t)l.tokens - 1;
                    l.step = -1;
                }
                l.out = out + (l.b * s.heads + h) * total * s.channels + e;
                begin(&s, &l, q);
                if (d->op == RAPT_SCAN_CONV)
                    good &= convolution(&s, &l);
                else if (stateful)
                    state_space(&s, &l);
                else if (d->op == RAPT_SCAN_SOFTMAX)
                    softmax(&s, &l);
                else
                    simple(&s, &l);
                for (uint64_t n = 0; n < s.states && state != NULL; n++)
                    state[((q * s.heads + h) * s.channels + e) * s.states + n] = numbers[n];
            }
    free(numbers);
    const uint64_t count = d->x.size[0] * s.heads * total * s.channels;
    for (uint64_t i = 0; i < count && single; i++)
        if (!isnan(out[i]))
            out[i] = (double)rapt_check_round(d->out.dtype, (float)out[i]);
    return good;
}
