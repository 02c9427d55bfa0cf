/* Systems that gate maps by what is pooled along their axes: CBAM, triplet attention, ResNeSt. Maps are (batch, channels, height, width). */
#include "system/system.h"

typedef struct gates {
    rapt_system_view x, run, out; /* x in single precision and without gaps; run: room for what is scanned */
    uint64_t batch, channels, height, width;
} gates;

/* out has `splits` times fewer channels. */
static bool take(rapt_system_builder *b, gates *t, uint64_t splits)
{
    rapt_system_view x;
    if (!rapt_system_in(b, "x", 4, &x))
        return false;
    const uint64_t *s = x.tensor.size;
    for (int axis = 0; axis < 4; axis++)
        if (s[axis] == 0)
            return rapt_system_refuse(b, "x is empty");
    *t = (gates){.batch = s[0], .channels = s[1], .height = s[2], .width = s[3]};
    const uint64_t out[4] = {s[0], s[1] / splits, s[2], s[3]};
    if (s[1] % splits != 0)
        return rapt_system_refuse(b, "%llu channels are not %llu splits", (unsigned long long)s[1], (unsigned long long)splits);
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, out, &t->out) && rapt_system_between(b, "scanned", RAPT_F32, 4, s, &t->run) &&
           (x.tensor.dtype == RAPT_F32
                ? rapt_system_between(b, "x single", RAPT_F32, 4, s, &t->x) && rapt_system_map(b, "without gaps", t->x, x, 1, 0, RAPT_COMBINE_ACT_NONE)
                : rapt_system_single(b, "x single", x, &t->x));
}

/* Largest numbers, or sums, along axis 2 of x; room: as large. *last: of all, with one entry along that axis. */
static bool pool(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view room, bool sums, rapt_system_view *last)
{
    const rapt_scan_desc d = {.struct_size = sizeof d, .op = sums ? RAPT_SCAN_SUM : RAPT_SCAN_MAX};
    *last = rapt_system_part(room, 2, x.tensor.size[2] - 1, 1);
    return rapt_system_scan_step_add(b, what, &d, x, room) != NULL;
}

/* Largest numbers and means of x along its axis 2 into the two maps of `maps`, (batch, 2, rows, columns), whose rows and columns are
 * axes `rows` and `columns` of x. */
static bool pool_both(rapt_system_builder *b, rapt_system_view x, rapt_system_view room, int rows, int columns, rapt_system_view maps)
{
    for (unsigned n = 0; n < 2; n++) {
        rapt_system_view last;
        if (!pool(b, n ? "sums along an axis" : "largest along an axis", x, room, n == 1, &last) ||
            !rapt_system_map(b, n ? "means" : "largest", rapt_system_axes(rapt_system_part(maps, 1, n, 1), (const int[]){0, 2, 3, 1}),
                             rapt_system_axes(last, (const int[]){0, rows, columns, 2}), n ? 1 / (float)x.tensor.size[2] : 1, 0,
                             RAPT_COMBINE_ACT_NONE))
            return false;
    }
    return true;
}

/* sigmoid of a convolution of two maps into one, plus a number; gate: the first of `convolved`. */
static bool gate_of(rapt_system_builder *b, rapt_system_view maps, rapt_system_view kernel, rapt_system_view shift, rapt_system_view convolved,
                    rapt_system_view gate)
{
    rapt_scan_desc d = RAPT_SCAN_DESC_INIT;
    static const int by_place[] = {0, 2, 3, 1};
    d.op = RAPT_SCAN_CONV2D;
    rapt_system_step *s = rapt_system_scan_step_add(b, "both maps convolved", &d, maps, convolved);
    if (s == NULL)
        return false;
    rapt_system_give(&s->scan.weight, &s->weight, &kernel);
    const rapt_system_term terms[] = {{rapt_system_axes(rapt_system_part(convolved, 1, 0, 1), by_place), 1, NULL},
                                      {rapt_system_axes(rapt_system_part(convolved, 1, 1, 1), by_place), 1, NULL},
                                      {rapt_system_axes(shift, (const int[]){-1, -1, -1, 0}), 1, NULL}};
    s = rapt_system_combine_step_add(b, "gates", rapt_system_axes(gate, by_place), terms, 3);
    if (s != NULL)
        s->combine.act = RAPT_COMBINE_ACT_SIGMOID;
    return s != NULL;
}

/* A kernel of an odd side for two maps: the `which`-th of `kernels`, (.., 2, k, k). */
static bool take_kernels(rapt_system_builder *b, uint64_t count, rapt_system_view *kernels, rapt_system_view *shifts)
{
    const uint64_t any[4] = {count, 2, 0, 0};
    if (!rapt_system_in_f32(b, "kernel", 4, any, kernels) || !rapt_system_in_f32(b, "shift", 1, &count, shifts))
        return false;
    if (kernels->tensor.size[2] % 2 == 0 || kernels->tensor.size[3] % 2 == 0)
        return rapt_system_refuse(b, "kernels of %llu x %llu taps; odd numbers are needed", (unsigned long long)kernels->tensor.size[2],
                                  (unsigned long long)kernels->tensor.size[3]);
    return true;
}

static rapt_system_view kernel_of(rapt_system_view kernels, uint64_t which)
{
    return rapt_system_ranked(rapt_system_part(kernels, 0, which, 1), 3, (const int[]){1, 2, 3, -1});
}

/* x times a gate for each (row, column), the same along its other axis, whose stride is 0. */
static bool multiply(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view gate, rapt_system_view out)
{
    const rapt_system_term term = {x, 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &term, 1);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_PRODUCT;
    rapt_system_give(&s->combine.gate, &s->gate, &gate);
    return true;
}

/* ---- triplet attention ---- */

bool rapt_system_triplet(rapt_system_builder *b)
{
    enum { PLACES, CHANNEL_WIDTH, HEIGHT_CHANNEL, BRANCHES };
    static const char *const of_maps[] = {"maps of places", "maps of channels and width", "maps of height and channels"},
                            *const of_convolved[] = {"places convolved", "channels and width convolved", "height and channels convolved"},
                            *const of_gates[] = {"gates of places", "gates of channels and width", "gates of height and channels"};
    gates t;
    rapt_system_view kernels, shifts, gate[BRANCHES], gated[2];
    if (!take(b, &t, 1) || !take_kernels(b, BRANCHES, &kernels, &shifts))
        return false;
    const uint64_t c = t.channels, h = t.height, w = t.width, *s = t.x.tensor.size;
    /* The axis that is pooled along comes third, the one that lies side by side last. */
    rapt_system_view by_row = t.x, room = t.run; /* (batch, channels height, width, 1) */
    for (int n = 0; n < 2; n++) {
        rapt_tensor *x = n ? &room.tensor : &by_row.tensor;
        x->size[1] = c * h;
        x->stride[1] = (int64_t)w;
        x->size[2] = w;
        x->stride[2] = 1;
        x->size[3] = 1;
    }
    const rapt_system_view across = rapt_system_axes(t.x, (const int[]){0, 2, 1, 3}), across_room = rapt_system_axes(t.run, (const int[]){0, 2, 1, 3});
    const uint64_t sizes[BRANCHES][2] = {{h, w}, {c, w}, {h, c}};
    for (uint64_t n = 0; n < BRANCHES; n++) {
        rapt_system_view maps, convolved;
        const uint64_t two[4] = {s[0], 2, sizes[n][0], sizes[n][1]}, one[4] = {s[0], 1, sizes[n][0], sizes[n][1]};
        if (!rapt_system_between(b, of_maps[n], RAPT_F32, 4, two, &maps) || !rapt_system_between(b, of_convolved[n], RAPT_F32, 4, two, &convolved) ||
            !rapt_system_between(b, of_gates[n], RAPT_F32, 4, one, &gate[n]))
            return false;
        if (n == HEIGHT_CHANNEL) { /* what was pooled is (batch, channels height, 1, 1): rows and columns within its second axis */
            for (unsigned which = 0; which < 2; which++) {
                rapt_system_view last;
                if (!pool(b, which ? "sums along the width" : "largest along the width", by_row, room, which == 1, &last))
                    return false;
                last.tensor.size[1] = h;
                last.tensor.stride[1] = (int64_t)w;
                last.tensor.size[2] = c;
                last.tensor.stride[2] = (int64_t)(h * w);
                if (!rapt_system_map(b, which ? "means" : "largest", rapt_system_axes(rapt_system_part(maps, 1, which, 1), (const int[]){0, 2, 3, 1}),
                                     last, which ? 1 / (float)w : 1, 0, RAPT_COMBINE_ACT_NONE))
                    return false;
            }
        } else if (!pool_both(b, n == PLACES ? across : t.x, n == PLACES ? across_room : t.run, 1, 3, maps)) {
            return false;
        }
        if (!gate_of(b, maps, kernel_of(kernels, n), rapt_system_part(shifts, 0, n, 1), convolved, gate[n]))
            return false;
    }
    gate[PLACES].tensor.size[1] = c; /* the same for all channels, and for all rows */
    gate[PLACES].tensor.stride[1] = 0;
    rapt_system_view rows = rapt_system_axes(gate[CHANNEL_WIDTH], (const int[]){0, 2, 1, 3});
    rows.tensor.size[2] = h;
    rows.tensor.stride[2] = 0;
    if (!rapt_system_between(b, "by places", RAPT_F32, 4, s, &gated[0]) || !rapt_system_between(b, "by channels and width", RAPT_F32, 4, s, &gated[1]) ||
        !multiply(b, "gated by places", t.x, gate[PLACES], gated[0]) || !multiply(b, "gated by channels and width", t.x, rows, gated[1]))
        return false;
    const rapt_system_view by_height = rapt_system_ranked(gate[HEIGHT_CHANNEL], 3, (const int[]){0, 3, 2, -1});
    const float third = 1.0f / 3;
    const rapt_system_term terms[] = {{gated[0], third, NULL}, {gated[1], third, NULL}, {t.x, third, &by_height}};
    return rapt_system_combine_step_add(b, "their mean", t.out, terms, 3) != NULL;
}

/* ---- CBAM ---- */

/* to = x w^T, rows of x against rows of w, the same for all batch entries. */
static bool multiply_rows(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view w, rapt_system_view to)
{
    w = rapt_system_axes(w, (const int[]){-1, -1, 0, 1});
    w.tensor.size[0] = x.tensor.size[0];
    return rapt_system_row_products(b, what, x, w, to);
}

/* One number for each channel: sigmoid(MLP(means) + MLP(largest)), as (batch, 1, 1, channels). */
static bool gate_channels(rapt_system_builder *b, const gates *t, rapt_system_view *gate)
{
    rapt_system_view w[2], bias[2], columns, scanned, pooled, hidden, active, both;
    const uint64_t c = t->channels, n = t->batch;
    if (!rapt_system_in_f32(b, "w1", 2, (const uint64_t[]){0, c}, &w[0]))
        return false;
    const uint64_t size = w[0].tensor.size[0];
    if (size == 0 || size > 576 || c > 576)
        return rapt_system_refuse(b, "%llu channels, %llu hidden; 1 to 576 are possible", (unsigned long long)c, (unsigned long long)size);
    if (!rapt_system_in_f32(b, "b1", 1, &size, &bias[0]) || !rapt_system_in_f32(b, "w2", 2, (const uint64_t[]){c, size}, &w[1]) ||
        !rapt_system_in_f32(b, "b2", 1, &c, &bias[1]) ||
        !rapt_system_between(b, "scanned columns", RAPT_F32, 4, (const uint64_t[]){n, c, t->width, 1}, &scanned) ||
        !rapt_system_between(b, "pooled", RAPT_F32, 4, (const uint64_t[]){n, 1, 2, c}, &pooled) ||
        !rapt_system_between(b, "hidden", RAPT_F32, 4, (const uint64_t[]){n, 1, 2, size}, &hidden) ||
        !rapt_system_between(b, "active", RAPT_F32, 4, (const uint64_t[]){n, 1, 2, size}, &active) ||
        !rapt_system_between(b, "of both", RAPT_F32, 4, (const uint64_t[]){n, 1, 2, c}, &both) ||
        !rapt_system_between(b, "gates of channels", RAPT_F32, 4, (const uint64_t[]){n, 1, 1, c}, gate))
        return false;
    for (unsigned which = 0; which < 2; which++) {
        rapt_system_view last;
        if (!pool(b, "down columns", t->x, t->run, which == 0, &columns) ||
            !pool(b, "along what is left", rapt_system_axes(columns, (const int[]){0, 1, 3, 2}), scanned, which == 0, &last) ||
            !rapt_system_map(b, which ? "largest of channels" : "means of channels",
                             rapt_system_axes(rapt_system_part(pooled, 2, which, 1), (const int[]){0, 3, 2, 1}), last,
                             which ? 1 : 1 / (float)(t->height * t->width), 0, RAPT_COMBINE_ACT_NONE))
            return false;
    }
    static const int as_row[] = {-1, -1, -1, 0};
    const rapt_system_term first[] = {{hidden, 1, NULL}, {rapt_system_axes(bias[0], as_row), 1, NULL}};
    if (!multiply_rows(b, "the first layer", pooled, w[0], hidden))
        return false;
    rapt_system_step *s = rapt_system_combine_step_add(b, "its bias and relu", active, first, 2);
    if (s == NULL)
        return false;
    s->combine.act = RAPT_COMBINE_ACT_RELU;
    const rapt_system_term second[] = {
        {rapt_system_part(both, 2, 0, 1), 1, NULL}, {rapt_system_part(both, 2, 1, 1), 1, NULL}, {rapt_system_axes(bias[1], as_row), 2, NULL}};
    if (!multiply_rows(b, "the second layer", active, w[1], both))
        return false;
    s = rapt_system_combine_step_add(b, "gates of channels", *gate, second, 3);
    if (s != NULL)
        s->combine.act = RAPT_COMBINE_ACT_SIGMOID;
    return s != NULL;
}

bool rapt_system_channels_then_places(rapt_system_builder *b)
{
    gates t;
    rapt_system_view channels, kernels, shifts, maps, convolved, gate, scaled;
    if (!take(b, &t, 1) || !take_kernels(b, 1, &kernels, &shifts) || !gate_channels(b, &t, &channels))
        return false;
    const uint64_t *s = t.x.tensor.size, two[4] = {s[0], 2, s[2], s[3]}, one[4] = {s[0], 1, s[2], s[3]};
    if (!rapt_system_between(b, "scaled", RAPT_F32, 4, s, &scaled) || !rapt_system_between(b, "maps", RAPT_F32, 4, two, &maps) ||
        !rapt_system_between(b, "convolved", RAPT_F32, 4, two, &convolved) || !rapt_system_between(b, "gates of places", RAPT_F32, 4, one, &gate) ||
        !rapt_system_weigh(b, "channels times their gates", scaled, t.x, rapt_system_axes(channels, (const int[]){0, 3, 1, -1}), 1,
                           RAPT_COMBINE_ACT_NONE) ||
        !pool_both(b, rapt_system_axes(scaled, (const int[]){0, 2, 1, 3}), rapt_system_axes(t.run, (const int[]){0, 2, 1, 3}), 1, 3, maps) ||
        !gate_of(b, maps, kernel_of(kernels, 0), shifts, convolved, gate))
        return false;
    gate.tensor.size[1] = t.channels;
    gate.tensor.stride[1] = 0;
    return multiply(b, "places times their gates", scaled, gate, t.out);
}

/* ---- ResNeSt ---- */

/* (batch, 1, 1, outputs) = w x + bias, through `act`. */
static bool layer(rapt_system_builder *b, const char *const names[2], rapt_system_view x, rapt_system_view w, rapt_system_view bias,
                  rapt_combine_act act, rapt_system_view *to)
{
    const uint64_t shape[4] = {x.tensor.size[0], 1, 1, w.tensor.size[0]};
    rapt_system_view product;
    if (!rapt_system_between(b, names[0], RAPT_F32, 4, shape, &product) || !rapt_system_between(b, names[1], RAPT_F32, 4, shape, to) ||
        !multiply_rows(b, names[0], x, w, product))
        return false;
    const rapt_system_term terms[] = {{product, 1, NULL}, {rapt_system_axes(bias, (const int[]){-1, -1, -1, 0}), 1, NULL}};
    rapt_system_step *s = rapt_system_combine_step_add(b, names[1], *to, terms, 2);
    if (s != NULL)
        s->combine.act = act;
    return s != NULL;
}

/* Splits of the channels, weighed channel by channel by a softmax over the splits of two layers of their pooled sum. */
bool rapt_system_splits(rapt_system_builder *b)
{
    static const char *const first[] = {"the first layer", "its bias and relu"}, *const second[] = {"the second layer", "its bias"};
    gates t;
    rapt_system_view w[2], bias[2], columns, scanned, last, pooled, sum, hidden, logits;
    rapt_system_term terms[RAPT_COMBINE_TERMS];
    rapt_system_view weights[RAPT_COMBINE_TERMS];
    int64_t radix = 2;
    if (!rapt_system_integer(b, "radix", 2, RAPT_COMBINE_TERMS, &radix) || !take(b, &t, (uint64_t)radix))
        return false;
    const uint64_t n = t.batch, r = (uint64_t)radix, c = t.channels / r;
    if (!rapt_system_in_f32(b, "w1", 2, (const uint64_t[]){0, c}, &w[0]))
        return false;
    const uint64_t size = w[0].tensor.size[0];
    if (size == 0 || size > 576 || c > 576)
        return rapt_system_refuse(b, "%llu channels, %llu hidden; 1 to 576 are possible", (unsigned long long)c, (unsigned long long)size);
    if (!rapt_system_in_f32(b, "b1", 1, &size, &bias[0]) || !rapt_system_in_f32(b, "w2", 2, (const uint64_t[]){t.channels, size}, &w[1]) ||
        !rapt_system_in_f32(b, "b2", 1, &t.channels, &bias[1]) ||
        !rapt_system_between(b, "scanned columns", RAPT_F32, 4, (const uint64_t[]){n, t.channels, t.width, 1}, &scanned) ||
        !rapt_system_between(b, "pooled", RAPT_F32, 4, (const uint64_t[]){n, 1, r, c}, &pooled) ||
        !rapt_system_between(b, "sum of splits", RAPT_F32, 4, (const uint64_t[]){n, 1, 1, c}, &sum) ||
        !pool(b, "down columns", t.x, t.run, true, &columns) ||
        !pool(b, "along what is left", rapt_system_axes(columns, (const int[]){0, 1, 3, 2}), scanned, true, &last))
        return false;
    rapt_system_view flat = pooled; /* (batch, channels, 1, 1) */
    flat.tensor.size[1] = t.channels;
    flat.tensor.stride[1] = 1;
    flat.tensor.size[2] = flat.tensor.size[3] = 1;
    for (uint64_t split = 0; split < r; split++)
        terms[split] = (rapt_system_term){rapt_system_part(pooled, 2, split, 1), 1, NULL};
    if (!rapt_system_map(b, "means", flat, last, 1 / (float)(t.height * t.width), 0, RAPT_COMBINE_ACT_NONE) ||
        !rapt_system_combine_step_add(b, "their sum over the splits", sum, terms, (uint32_t)r) ||
        !layer(b, first, sum, w[0], bias[0], RAPT_COMBINE_ACT_RELU, &hidden) || !layer(b, second, hidden, w[1], bias[1], RAPT_COMBINE_ACT_NONE, &logits))
        return false;
    for (uint64_t split = 0; split < r; split++) {
        weights[split] = rapt_system_weights(rapt_system_axes(rapt_system_part(logits, 3, split * c, c), (const int[]){0, 3, 1, -1}));
        terms[split] = (rapt_system_term){rapt_system_part(t.x, 1, split * c, c), 1, &weights[split]};
    }
    rapt_system_step *s = rapt_system_combine_step_add(b, "splits weighed", t.out, terms, (uint32_t)r);
    if (s != NULL)
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
    return s != NULL;
}
