/* Systems of images: depthwise convolutions beside attention, pooled places, channels that attend to
 * channels. Tokens are the places of a map, row by row. */
#include "system/system.h"

#include <math.h>

#define MOST_PLACES (1ll << 29)

/* What q, k and v (batch, n, channels) are cut into. */
typedef struct image {
    rapt_system_view q, k, v, out;
    uint64_t batch, n, channels;
    int64_t height, width, heads;
    rapt_attention_desc attention;
} image;

static bool between(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *shape,
                    rapt_system_view *view)
{
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, b->dtype, rank, shape, view);
}

static bool take_sizes(rapt_system_builder *b, uint64_t n, int64_t *height, int64_t *width)
{
    if (!rapt_system_integer(b, "height", 1, MOST_PLACES, height) ||
        !rapt_system_integer(b, "width", 1, MOST_PLACES, width))
        return false;
    if ((uint64_t)*height * (uint64_t)*width != n)
        return rapt_system_refuse(b, "%llu tokens are not a map of %lld rows of %lld", (unsigned long long)n,
                                  (long long)*height, (long long)*width);
    return true;
}

static bool take(rapt_system_builder *b, image *t)
{
    t->attention = (rapt_attention_desc)RAPT_ATTENTION_DESC_INIT;
    t->heads = 1;
    if (!rapt_system_in(b, "v", 3, &t->v))
        return false;
    const uint64_t *size = t->v.tensor.size;
    t->batch = size[0];
    t->n = size[1];
    t->channels = size[2];
    if (t->batch == 0 || t->n == 0 || t->channels == 0)
        return rapt_system_refuse(b, "v is empty");
    if (!rapt_system_in_sized(b, "q", 3, (const uint64_t[]){t->batch, t->n, 0}, &t->q) ||
        !rapt_system_in_sized(b, "k", 3, (const uint64_t[]){t->batch, t->n, t->q.tensor.size[2]}, &t->k) ||
        !take_sizes(b, t->n, &t->height, &t->width) ||
        !rapt_system_integer(b, "heads", 1, 1 << 20, &t->heads) || !rapt_system_common(b, &t->attention))
        return false;
    const uint64_t heads = (uint64_t)t->heads, narrow = t->q.tensor.size[2];
    if (narrow == 0 || narrow % heads != 0 || t->channels % heads != 0)
        return rapt_system_refuse(b, "%llu channels of q and k, %llu of v: %llu heads must divide both",
                                  (unsigned long long)narrow, (unsigned long long)t->channels,
                                  (unsigned long long)heads);
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &t->out);
}

/* (batch, n, channels) as heads: (batch, heads, n, channels / heads). */
static rapt_system_view by_head(const image *t, rapt_system_view view)
{
    return rapt_system_ranked(rapt_system_split(view, 2, view.tensor.size[2] / (uint64_t)t->heads), 4,
                              (const int[]){0, 2, 1, 3});
}

static rapt_system_view one_head(rapt_system_view view)
{
    return rapt_system_ranked(view, 4, (const int[]){0, -1, 1, 2});
}

/* A depthwise convolution of (lines, n, channels); weight (channels, KY, KX), and a bias where it is given.
 */
static bool convolve(rapt_system_builder *b, rapt_system_view x, rapt_system_view weight,
                     const rapt_system_view *bias, int64_t width, rapt_system_view out)
{
    const rapt_scan_desc conv = {
        .struct_size = sizeof conv, .op = RAPT_SCAN_CONV2D, .flags = RAPT_SCAN_CHANNELS_LAST};
    rapt_system_step *s =
        rapt_system_scan_step_add(b, "depthwise convolution", &conv, rapt_system_split(x, 1, (uint64_t)width),
                                  rapt_system_split(out, 1, (uint64_t)width));
    if (s == NULL)
        return false;
    rapt_system_give(&s->scan.weight, &s->weight, &weight);
    if (bias != NULL)
        rapt_system_give(&s->scan.bias, &s->bias, bias);
    return true;
}

/* The kernel, of `side` x `side` taps, and its bias where it is given; then the convolution of v. */
static bool convolve_v(rapt_system_builder *b, const image *t, uint64_t side, rapt_system_view out)
{
    rapt_system_view weight, bias;
    const bool biased = rapt_system_given(b, "kernel_bias");
    return rapt_system_in_f32(b, "kernel", 3, (const uint64_t[]){t->channels, side, side}, &weight) &&
           (!biased || rapt_system_in_f32(b, "kernel_bias", 1, &t->channels, &bias)) &&
           convolve(b, t->v, weight, biased ? &bias : NULL, t->width, out);
}

static bool add_sum(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view y,
                    rapt_system_view out)
{
    const rapt_system_term terms[] = {{x, 1, NULL}, {y, 1, NULL}};
    return rapt_system_combine_step_add(b, what, out, terms, 2) != NULL;
}

/* FLatten: focused linear attention and a convolution of v, whose kernel all heads share. */
bool rapt_system_flatten(rapt_system_builder *b)
{
    rapt_system_view q, k, v, weight, mixed, convolved, out, lines;
    int64_t height = 0, width = 0;
    float power = 3;
    if (!rapt_system_in(b, "q", 4, &q))
        return false;
    const uint64_t *size = q.tensor.size;
    if (!rapt_system_in_sized(b, "k", 4, size, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){size[0], size[1], size[2], 0}, &v) ||
        !take_sizes(b, size[2], &height, &width) || !rapt_system_number(b, "p", &power))
        return false;
    for (unsigned axis = 0; axis < 4; axis++)
        if (size[axis] == 0 || k.tensor.size[axis] != size[axis] || v.tensor.size[3] == 0 ||
            (axis < 3 && v.tensor.size[axis] != size[axis]))
            return rapt_system_refuse(
                b, "q, k and v must agree in batch, heads, tokens and d, none of them empty");
    if (!(power >= 1.0f && power <= 16.0f))
        return rapt_system_refuse(b, "p is %g; 1 to 16 is needed", (double)power);
    if (!rapt_system_in_f32(b, "kernel", 3, (const uint64_t[]){v.tensor.size[3], 5, 5}, &weight) ||
        !between(b, "mixed", 4, v.tensor.size, &mixed) ||
        !between(b, "convolved", 4, v.tensor.size, &convolved) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, v.tensor.size, &out))
        return false;
    rapt_linear_desc linear = RAPT_LINEAR_DESC_INIT;
    linear.feature = RAPT_PHI_FOCUSED;
    linear.feature_power = power;
    linear.flags = RAPT_LINEAR_BIDIRECTIONAL | RAPT_LINEAR_NORMALIZE;
    rapt_system_step *s = rapt_system_linear_step_add(b, "focused linear attention", &linear);
    if (s == NULL)
        return false;
    rapt_system_give(&s->linear.q, &s->q, &q);
    rapt_system_give(&s->linear.k, &s->k, &k);
    rapt_system_give(&s->linear.v, &s->v, &v);
    rapt_system_give(&s->linear.out, &s->out, &mixed);
    lines = v;
    rapt_system_view to = convolved; /* contiguous: nothing is copied */
    return rapt_system_merge(b, "v_copy", &lines) && rapt_system_merge(b, "convolved_copy", &to) &&
           convolve(b, lines, weight, NULL, width, to) && add_sum(b, "their sum", mixed, convolved, out);
}

/* MambaOut's gated convolution: a depthwise convolution, times a branch of the caller's. */
bool rapt_system_gated_convolution(rapt_system_builder *b)
{
    image t = {0};
    rapt_system_view gate, convolved;
    if (!rapt_system_in(b, "x", 3, &t.v))
        return false;
    const uint64_t *size = t.v.tensor.size;
    t.channels = size[2];
    if (size[0] == 0 || size[1] == 0 || size[2] == 0)
        return rapt_system_refuse(b, "x is empty");
    if (!rapt_system_in_sized(b, "gate", 3, size, &gate) || !take_sizes(b, size[1], &t.height, &t.width) ||
        !between(b, "convolved", 3, size, &convolved) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &t.out) ||
        !convolve_v(b, &t, 7, convolved))
        return false;
    const rapt_system_term term = {one_head(convolved), 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, "times the gate", one_head(t.out), &term, 1);
    if (s == NULL)
        return false;
    const rapt_system_view lines = one_head(gate);
    s->combine.gate_kind = RAPT_GATE_PRODUCT;
    rapt_system_give(&s->combine.gate, &s->gate, &lines);
    return true;
}

/* YOLOv12: attention within areas of whole rows, and a convolution of v. */
bool rapt_system_area(rapt_system_builder *b)
{
    image t = {0};
    rapt_system_view attended, convolved;
    int64_t areas = 1;
    if (!take(b, &t) || !rapt_system_integer(b, "areas", 1, 32, &areas) ||
        !between(b, "attended", 3, t.v.tensor.size, &attended) ||
        !between(b, "convolved", 3, t.v.tensor.size, &convolved))
        return false;
    const uint64_t tokens = t.n / (uint64_t)areas;
    if (t.n % (uint64_t)areas != 0)
        return rapt_system_refuse(b, "%llu tokens are not %lld equal areas", (unsigned long long)t.n,
                                  (long long)areas);
    for (uint64_t n = 0; n < (uint64_t)areas; n++)
        if (!rapt_system_step_add(b, "attention within an area", &t.attention,
                                  by_head(&t, rapt_system_part(t.q, 1, n * tokens, tokens)),
                                  by_head(&t, rapt_system_part(t.k, 1, n * tokens, tokens)),
                                  by_head(&t, rapt_system_part(t.v, 1, n * tokens, tokens)),
                                  by_head(&t, rapt_system_part(attended, 1, n * tokens, tokens)), NULL))
            return false;
    return convolve_v(b, &t, 7, convolved) &&
           add_sum(b, "their sum", one_head(attended), one_head(convolved), one_head(t.out));
}

/* ---- pooling ---- */

/* The mean of `count` neighbours along axis 2, a few at a time; x (batch, a, count * c, channels), out
 * (batch, a, c, channels); spare: of the same shape. */
static bool mean_of_neighbours(rapt_system_builder *b, rapt_system_view x, uint64_t count,
                               rapt_system_view spare, rapt_system_view out)
{
    const uint64_t rounds =
        count <= RAPT_COMBINE_TERMS ? 1 : 1 + rapt_div_up(count - RAPT_COMBINE_TERMS, RAPT_COMBINE_TERMS - 1);
    uint64_t taken = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        const bool to_out = (rounds - 1 - round) % 2 == 0; /* the last one */
        rapt_system_term terms[RAPT_COMBINE_TERMS];
        uint32_t held = 0;
        if (round > 0)
            terms[held++] = (rapt_system_term){to_out ? spare : out, 1, NULL};
        for (; held < RAPT_COMBINE_TERMS && taken < count; taken++)
            terms[held++] = (rapt_system_term){rapt_system_every(x, 2, taken, count), 1, NULL};
        rapt_system_step *s =
            rapt_system_combine_step_add(b, "mean of neighbours", to_out ? out : spare, terms, held);
        if (s == NULL)
            return false;
        s->combine.out_factor = round + 1 == rounds ? 1.0f / (float)count : 1.0f;
    }
    return true;
}

/* Means of `rows` x `columns` places of (batch, n, channels), as (batch, pooled places, channels); `names`:
 * of what is between. */
static bool pool(rapt_system_builder *b, const image *t, const char *const names[4], rapt_system_view x,
                 uint64_t rows, uint64_t columns, rapt_system_view *out)
{
    const uint64_t channels = x.tensor.size[2], y = (uint64_t)t->height, down = y / rows,
                   across = (uint64_t)t->width / columns;
    const uint64_t half[4] = {t->batch, y, across, channels}, whole[3] = {t->batch, down * across, channels};
    rapt_system_view narrow, narrow_spare, spare;
    if (!between(b, names[0], 4, half, &narrow) || !between(b, names[1], 4, half, &narrow_spare) ||
        !between(b, names[2], 3, whole, &spare) || !between(b, names[3], 3, whole, out))
        return false;
    static const int turned[] = {0, 2, 1, 3};
    return mean_of_neighbours(b, rapt_system_split(x, 1, (uint64_t)t->width), columns, narrow_spare,
                              narrow) &&
           mean_of_neighbours(b, rapt_system_ranked(narrow, 4, turned), rows,
                              rapt_system_ranked(rapt_system_split(spare, 1, across), 4, turned),
                              rapt_system_ranked(rapt_system_split(*out, 1, across), 4, turned));
}

static bool pools_evenly(rapt_system_builder *b, const image *t, int64_t rows, int64_t columns)
{
    return (t->height % rows == 0 && t->width % columns == 0) ||
           rapt_system_refuse(b, "a map of %lld x %lld cannot be cut into equal parts of %lld x %lld",
                              (long long)t->height, (long long)t->width, (long long)rows, (long long)columns);
}

/* A bias of attention, where it is given: (heads, nq, nk). */
static bool give_bias(rapt_system_builder *b, const char *name, const uint64_t size[3], rapt_system_step *s)
{
    rapt_system_view bias;
    if (!rapt_system_given(b, name))
        return true;
    if (!rapt_system_in_f32(b, name, 3, size, &bias))
        return false;
    bias = rapt_system_ranked(bias, 4, (const int[]){-1, 0, 1, 2});
    rapt_system_give(&s->attention.bias, &s->bias, &bias);
    return true;
}

/* Agent attention: pooled queries gather values, which queries then read. */
bool rapt_system_agent(rapt_system_builder *b)
{
    static const char *const names[] = {"half_pooled", "half_pooled_2", "agents_2", "agents"};
    image t = {0};
    rapt_system_view agents, gathered, attended, convolved;
    int64_t side = 1;
    if (!take(b, &t) || !rapt_system_integer(b, "side", 1, 1024, &side))
        return false;
    if (t.height % side != 0 || t.width % side != 0)
        return rapt_system_refuse(b, "a map of %lld x %lld does not pool evenly to %lld x %lld",
                                  (long long)t.height, (long long)t.width, (long long)side, (long long)side);
    const uint64_t count = (uint64_t)(side * side), heads = (uint64_t)t.heads;
    if (!pool(b, &t, names, t.q, (uint64_t)(t.height / side), (uint64_t)(t.width / side), &agents) ||
        !between(b, "gathered", 3, (const uint64_t[]){t.batch, count, t.channels}, &gathered) ||
        !between(b, "attended", 3, t.v.tensor.size, &attended) ||
        !between(b, "convolved", 3, t.v.tensor.size, &convolved))
        return false;
    rapt_system_step *s =
        rapt_system_step_add(b, "agents gather", &t.attention, by_head(&t, agents), by_head(&t, t.k),
                             by_head(&t, t.v), by_head(&t, gathered), NULL);
    if (s == NULL || !give_bias(b, "bias1", (const uint64_t[]){heads, count, t.n}, s))
        return false;
    s = rapt_system_step_add(b, "queries read the agents", &t.attention, by_head(&t, t.q),
                             by_head(&t, agents), by_head(&t, gathered), by_head(&t, attended), NULL);
    return s != NULL && give_bias(b, "bias2", (const uint64_t[]){heads, t.n, count}, s) &&
           convolve_v(b, &t, 3, convolved) &&
           add_sum(b, "their sum", one_head(attended), one_head(convolved), one_head(t.out));
}

/* S2AFormer: keys and values pooled in space. */
bool rapt_system_pooled_keys(rapt_system_builder *b)
{
    static const char *const k_names[] = {"k_half", "k_half_2", "k_pooled_2", "k_pooled"},
                             *const v_names[] = {"v_half", "v_half_2", "v_pooled_2", "v_pooled"};
    image t = {0};
    rapt_system_view k, v;
    int64_t side = 1;
    return take(b, &t) && rapt_system_integer(b, "pool", 1, 64, &side) && pools_evenly(b, &t, side, side) &&
           pool(b, &t, k_names, t.k, (uint64_t)side, (uint64_t)side, &k) &&
           pool(b, &t, v_names, t.v, (uint64_t)side, (uint64_t)side, &v) &&
           rapt_system_step_add(b, "attention to pooled keys", &t.attention, by_head(&t, t.q), by_head(&t, k),
                                by_head(&t, v), by_head(&t, t.out), NULL);
}

/* ---- channels that attend to channels ---- */

/* A copy with tokens and channels exchanged: x and out are (batch, a, b), the copy's axes (batch, b, a). */
static bool add_transposed(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view out)
{
    const rapt_system_term term = {rapt_system_ranked(x, 4, (const int[]){0, 2, 1, -1}), 1, NULL};
    return rapt_system_combine_step_add(b, what, rapt_system_ranked(out, 4, (const int[]){0, 1, 2, -1}),
                                        &term, 1) != NULL;
}

/* S = Q^T K / sqrt(d) of each group: the state that linear attention ends with. */
static bool products_of_channels(rapt_system_builder *b, const image *t, rapt_system_view *scores)
{
    const uint64_t groups = (uint64_t)t->heads, d = t->channels / groups, size[4] = {t->batch, groups, d, d};
    rapt_system_view sums, unread;
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "products", RAPT_F32, 4, size, &sums) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "scores", RAPT_F32, 4, size, scores) ||
        !between(b, "unread", 3, t->v.tensor.size, &unread))
        return false;
    const rapt_linear_desc linear = RAPT_LINEAR_DESC_INIT;
    rapt_system_step *s = rapt_system_linear_step_add(b, "products of channels", &linear);
    if (s == NULL)
        return false;
    const rapt_system_view views[] = {by_head(t, t->q), by_head(t, t->k), by_head(t, unread)};
    rapt_system_give(&s->linear.q, &s->q, &views[0]);
    rapt_system_give(&s->linear.k, &s->k, &views[0]);
    rapt_system_give(&s->linear.v, &s->v, &views[1]);
    rapt_system_give(&s->linear.out, &s->out, &views[2]);
    rapt_system_give(&s->linear.state_out, &s->state_out, &sums);
    const rapt_system_term term = {sums, 1, NULL};
    s = rapt_system_combine_step_add(b, "scaled", *scores, &term, 1);
    if (s == NULL)
        return false;
    s->combine.out_factor =
        t->attention.flags & RAPT_ATTENTION_SCALE ? t->attention.scale : 1 / sqrtf((float)d);
    return true;
}

/* out = V softmax(S)^T: attention whose queries and keys are channels and whose scores are given, on values
 * that run along the tokens, some of them at a time. */
static bool channel_attention(rapt_system_builder *b, image *t)
{
    const uint64_t groups = (uint64_t)t->heads, d = t->channels / groups;
    const uint64_t turned[3] = {t->batch, t->channels, t->n};
    const uint64_t piece = RAPT_MIN(RAPT_MAX(rapt_align_up(rapt_div_up(t->n, 32), 4), 64), 512);
    rapt_system_view scores, values, attended;
    if (t->q.tensor.size[2] != t->channels || d > 256)
        return rapt_system_refuse(
            b,
            "q has %llu channels, v %llu, in groups of %llu: as many are needed, and groups of at most 256",
            (unsigned long long)t->q.tensor.size[2], (unsigned long long)t->channels, (unsigned long long)d);
    if (!products_of_channels(b, t, &scores) || !between(b, "values_turned", 3, turned, &values) ||
        !between(b, "out_turned", 3, turned, &attended) || !add_transposed(b, "v by channels", t->v, values))
        return false;
    const rapt_system_view v = rapt_system_split(values, 1, d), out = rapt_system_split(attended, 1, d),
                           any = rapt_system_part(v, 3, 0, 1);
    rapt_attention_desc attention = RAPT_ATTENTION_DESC_INIT;
    attention.flags = RAPT_ATTENTION_SCALE;
    attention.scale = 0; /* all of the scores is in the bias */
    for (uint64_t first = 0; first < t->n; first += piece) {
        const uint64_t count = RAPT_MIN(piece, t->n - first);
        rapt_system_step *s = rapt_system_step_add(b, "channels attend", &attention, any, any,
                                                   rapt_system_part(v, 3, first, count),
                                                   rapt_system_part(out, 3, first, count), NULL);
        if (s == NULL)
            return false;
        rapt_system_give(&s->attention.bias, &s->bias, &scores);
    }
    return add_transposed(b, "out by tokens", attended, t->out);
}

/* DaViT: windows in space, or groups of channels. */
bool rapt_system_dual(rapt_system_builder *b)
{
    image t = {0};
    int64_t channel = 0, window = 7;
    if (!take(b, &t) || !rapt_system_integer(b, "channel", 0, 1, &channel) ||
        !rapt_system_integer(b, "window", 1, 1 << 15, &window))
        return false;
    if (channel)
        return channel_attention(b, &t);
    if (t.height % window != 0 || t.width % window != 0)
        return rapt_system_refuse(b, "a map of %lld x %lld is not cut into windows of %lld x %lld; pad it",
                                  (long long)t.height, (long long)t.width, (long long)window,
                                  (long long)window);
    rapt_grid *g = &t.attention.grid;
    g->rank = 2;
    g->size[0] = (uint32_t)t.height;
    g->size[1] = (uint32_t)t.width;
    g->kernel_size[0] = g->kernel_size[1] = g->stride[0] = g->stride[1] =
        (uint32_t)window; /* a block's own window */
    return rapt_system_step_add(b, "attention within windows", &t.attention, by_head(&t, t.q),
                                by_head(&t, t.k), by_head(&t, t.v), by_head(&t, t.out), NULL) != NULL;
}
