/* Oracles of systems of images: depthwise convolutions beside attention, pooled places, channels that attend
 * to channels. Tokens are the places of a map, row by row. */
#include "oracle_system.h"

static const double *array_or_null(oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->input_count; n++)
        if (strcmp(o->p->inputs[n].name, name) == 0)
            return o->p->inputs[n].data;
    return NULL;
}

/* A map of channels in memory, some of them (first .. first + count) at hand. */
typedef struct map {
    const double *data; /* of one batch entry */
    int64_t height, width;
    uint64_t channels;
} map;

/* The convolution at place n, of channel c by the taps of `kernel` (side x side). */
static double convolved(oracle *o, const map *m, uint64_t n, uint64_t c, const double *kernel, int64_t side,
                        double bias)
{
    const int64_t y = (int64_t)n / m->width, x = (int64_t)n % m->width;
    double sum = bias, size = fabs(bias);
    for (int64_t i = 0; i < side; i++)
        for (int64_t j = 0; j < side; j++) {
            const int64_t from_y = y + i - side / 2, from_x = x + j - side / 2;
            if (from_y < 0 || from_y >= m->height || from_x < 0 || from_x >= m->width)
                continue;
            const double part = r(o, kernel[i * side + j] *
                                         m->data[(uint64_t)(from_y * m->width + from_x) * m->channels + c]);
            sum = r(o, sum + part);
            size += fabs(part);
        }
    o->to->score = fmax(o->to->score, size);
    return stored(o, sum);
}

/* FLatten, equations 6 to 8: phi(x) = |y| y^p / |y^p|, y = relu(x); a kernel that the heads share. */
static void focused(const oracle *o, const double *x, uint64_t d, double p, double *out)
{
    double before = 0, after = 0;
    for (uint64_t e = 0; e < d; e++) {
        const double y = x[e] > 0 ? x[e] : 0;
        out[e] = r(o, pow(y, p));
        before = r(o, before + r(o, y * y));
        after = r(o, after + r(o, out[e] * out[e]));
    }
    for (uint64_t e = 0; e < d; e++)
        out[e] = after > 0 ? r(o, out[e] * r(o, sqrt(before) / sqrt(after))) : 0;
}

static bool flatten(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v"),
                           *kernel = input(o, "kernel");
    const uint64_t n = q->shape[2], d = q->shape[3], d_v = v->shape[3], lines = q->shape[0] * q->shape[1];
    const double p = strtod(text_of(o, "p"), NULL);
    double *phi_k = malloc((size_t)((n + 1) * d + 1) * sizeof *phi_k), *phi_q = phi_k + n * d;
    const bool good = phi_k && room(o, lines * n * d_v, 0);
    for (uint64_t line = 0; line < lines && good; line++) {
        const map m = {v->data + line * n * d_v, whole(o, "height"), whole(o, "width"), d_v};
        for (uint64_t j = 0; j < n; j++)
            focused(o, k->data + (line * n + j) * d, d, p, phi_k + j * d);
        for (uint64_t i = 0; i < n; i++) {
            double *out = o->to->out + (line * n + i) * d_v, norm = 0;
            focused(o, q->data + (line * n + i) * d, d, p, phi_q);
            for (uint64_t e = 0; e < d_v; e++)
                out[e] = 0;
            for (uint64_t j = 0; j < n; j++) {
                double weight_j = 0;
                for (uint64_t c = 0; c < d; c++)
                    weight_j = r(o, weight_j + r(o, phi_q[c] * phi_k[j * d + c]));
                norm = r(o, norm + weight_j);
                for (uint64_t e = 0; e < d_v; e++)
                    out[e] = r(o, out[e] + r(o, weight_j * m.data[j * d_v + e]));
            }
            for (uint64_t e = 0; e < d_v; e++) {
                const double mixed = norm != 0 ? stored(o, r(o, out[e] / norm)) : 0;
                out[e] = stored(o, r(o, mixed + convolved(o, &m, i, e, kernel->data + e * 25, 5, 0)));
            }
        }
    }
    free(phi_k);
    return good && !o->failed;
}

/* Row i of head h of (batch, n, channels). */
static const double *row_of(const double *data, uint64_t n, uint64_t channels, uint64_t heads, uint64_t b,
                            uint64_t h, uint64_t i)
{
    return data + (b * n + i) * channels + h * (channels / heads);
}

/* Tokens (batch, n, channels) that attend by heads. */
typedef struct tokens {
    const double *data;
    uint64_t n, channels;
} tokens;

/* softmax(scale q k^T + bias) v of each head and query; query i sees the keys [first, end) that `range` gives
 * it; NULL: all. */
static bool attend(oracle *o, const tokens *q, const tokens *k, const tokens *v, const double *bias,
                   uint64_t batch, uint64_t heads,
                   void (*range)(oracle *, uint64_t, uint64_t, uint64_t *, uint64_t *), double *out)
{
    const uint64_t d = q->channels / heads, d_v = v->channels / heads;
    const double scale = scale_of(o, d);
    double lse;
    query one;
    const bool good = query_make(&one, k->n, d_v);
    for (uint64_t at = 0; at < batch * heads * q->n && good; at++) {
        const uint64_t b = at / heads / q->n, h = at / q->n % heads, i = at % q->n;
        uint64_t first = 0, end = k->n;
        if (range != NULL)
            range(o, i, k->n, &first, &end);
        for (uint64_t j = 0; j < k->n; j++) {
            one.seen[j] = j >= first && j < end;
            one.s[j] = product(o, row_of(q->data, q->n, q->channels, heads, b, h, i),
                               row_of(k->data, k->n, k->channels, heads, b, h, j), d, scale);
            if (bias != NULL)
                one.s[j] = r(o, one.s[j] + bias[(h * q->n + i) * k->n + j]);
            one.v[j] = row_of(v->data, v->n, v->channels, heads, b, h, j);
        }
        one.out = out + (b * q->n + i) * v->channels + h * d_v;
        one.lse = &lse;
        softmax(o, &one);
    }
    query_free(&one);
    return good;
}

static tokens tokens_of(const rapt_check_array *a)
{
    return (tokens){a->data, a->shape[1], a->shape[2]};
}

/* Adds the convolution of v by `kernel` to out (batch, n, channels). */
static void add_convolution(oracle *o, const rapt_check_array *v, int64_t side, double *out)
{
    const rapt_check_array *kernel = input(o, "kernel");
    const double *bias = array_or_null(o, "kernel_bias");
    const uint64_t n = v->shape[1], channels = v->shape[2];
    for (uint64_t at = 0; at < v->count && !o->failed; at++) {
        const uint64_t b = at / channels / n, i = at / channels % n, c = at % channels;
        const map m = {v->data + b * n * channels, whole(o, "height"), whole(o, "width"), channels};
        out[at] = stored(o, r(o, out[at] + convolved(o, &m, i, c, kernel->data + c * (uint64_t)(side * side),
                                                     side, bias ? bias[c] : 0)));
    }
}

/* YOLOv12, section 3.2: equal areas of whole rows. */
static void own_area(oracle *o, uint64_t i, uint64_t n, uint64_t *first, uint64_t *end)
{
    const uint64_t area = n / (uint64_t)whole(o, "areas");
    *first = i / area * area;
    *end = *first + area;
}
static bool area(oracle *o)
{
    const rapt_check_array *v = input(o, "v");
    const tokens q = tokens_of(input(o, "q")), k = tokens_of(input(o, "k")), values = tokens_of(v);
    if (!room(o, v->count, 0) ||
        !attend(o, &q, &k, &values, NULL, v->shape[0], (uint64_t)whole(o, "heads"), own_area, o->to->out))
        return false;
    add_convolution(o, v, 7, o->to->out);
    return !o->failed;
}

/* Means over rows x columns places of (batch, n, channels); along a row first. NULL: no memory. */
static double *pooled(oracle *o, const rapt_check_array *x, int64_t rows, int64_t columns)
{
    const int64_t height = whole(o, "height"), width = whole(o, "width"), down = height / rows,
                  across = width / columns;
    const int64_t channels = (int64_t)x->shape[2], batch = (int64_t)x->shape[0];
    double *half = malloc((size_t)(batch * height * across * channels + 1) * sizeof *half),
           *out = malloc((size_t)(batch * down * across * channels + 1) * sizeof *out);
    for (int64_t at = 0; at < batch * height * across * channels && half && out; at++) {
        const int64_t c = at % channels, place = at / channels % across, line = at / channels / across;
        double sum = 0;
        for (int64_t i = 0; i < columns; i++)
            sum = r(o, sum + x->data[(line * width + place * columns + i) * channels + c]);
        half[at] = stored(o, r(o, sum / (double)columns));
    }
    for (int64_t at = 0; at < batch * down * across * channels && half && out; at++) {
        const int64_t c = at % channels, place = at / channels % across, y = at / channels / across % down,
                      b = at / channels / across / down;
        double sum = 0;
        for (int64_t i = 0; i < rows; i++)
            sum = r(o, sum + half[((b * height + y * rows + i) * across + place) * channels + c]);
        out[at] = stored(o, r(o, sum / (double)rows));
    }
    const bool good = half && out;
    free(half);
    if (!good) {
        free(out);
        out = NULL;
    }
    return out;
}

/* Agent attention, equation 5 and section 3.3: agents gather by softmax(A K^T + B1) V, queries read softmax(Q
 * A^T + B2). */
static bool agent(oracle *o)
{
    const rapt_check_array *v = input(o, "v"), *q = input(o, "q");
    const int64_t side = whole(o, "side");
    const uint64_t count = (uint64_t)(side * side), heads = (uint64_t)whole(o, "heads"), batch = v->shape[0];
    const tokens queries = tokens_of(q), k = tokens_of(input(o, "k")), values = tokens_of(v);
    double *a = pooled(o, q, whole(o, "height") / side, whole(o, "width") / side),
           *gathered = malloc((size_t)(batch * count * v->shape[2] + 1) * sizeof *gathered);
    const tokens agents = {a, count, q->shape[2]}, between = {gathered, count, v->shape[2]};
    bool good =
        a && gathered && room(o, v->count, 0) &&
        attend(o, &agents, &k, &values, array_or_null(o, "bias1"), batch, heads, NULL, gathered) &&
        attend(o, &queries, &agents, &between, array_or_null(o, "bias2"), batch, heads, NULL, o->to->out);
    if (good)
        add_convolution(o, v, 3, o->to->out);
    free(a);
    free(gathered);
    return good && !o->failed;
}

/* MambaOut, section 3.3: the convolution, times the other branch. */
static bool gated_convolution(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *gate = input(o, "gate");
    if (!room(o, x->count, 0))
        return false;
    for (uint64_t i = 0; i < x->count; i++)
        o->to->out[i] = 0;
    add_convolution(o, x, 7, o->to->out);
    for (uint64_t i = 0; i < x->count; i++) {
        o->to->out[i] = stored(o, r(o, o->to->out[i] * gate->data[i]));
        o->to->score = fmax(o->to->score, fabs(o->to->out[i]));
    }
    return !o->failed;
}

/* S2AFormer: softmax(Q pool(K)^T) pool(V). */
static bool pooled_keys(oracle *o)
{
    const rapt_check_array *v = input(o, "v"), *k = input(o, "k");
    const int64_t side = whole(o, "pool");
    const uint64_t places = v->shape[1] / (uint64_t)(side * side);
    const tokens q = tokens_of(input(o, "q"));
    double *short_k = pooled(o, k, side, side), *short_v = pooled(o, v, side, side);
    const tokens keys = {short_k, places, k->shape[2]}, values = {short_v, places, v->shape[2]};
    const bool good =
        short_k && short_v && room(o, v->count, 0) &&
        attend(o, &q, &keys, &values, NULL, v->shape[0], (uint64_t)whole(o, "heads"), NULL, o->to->out);
    free(short_k);
    free(short_v);
    return good && !o->failed;
}

/* DaViT, equations 3 and 4: softmax within windows; or A = softmax(Q^T K / sqrt(d)) of each group's channels,
 * out = V A^T. */
static bool own_window(oracle *o, uint64_t i, uint64_t j)
{
    const uint64_t width = (uint64_t)whole(o, "width"), window = (uint64_t)whole(o, "window");
    return i / width / window == j / width / window && i % width / window == j % width / window;
}

static bool dual(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *v = input(o, "v");
    const bool channel = whole(o, "channel") != 0;
    const uint64_t n = v->shape[1], channels = v->shape[2], heads = (uint64_t)whole(o, "heads"),
                   d = channels / heads;
    const double scale = scale_of(o, channel ? d : q->shape[2] / heads);
    const uint64_t dq = q->shape[2] / heads, rows_of_one = channel ? d : n;
    double *line = malloc((size_t)(n + 1) * sizeof *line), lse;
    double *values = malloc((size_t)(n * d + 1) * sizeof *values);
    query one;
    const bool good =
        query_make(&one, rows_of_one, channel ? n : d) && line && values && room(o, v->count, 0);
    for (uint64_t at = 0; at < v->shape[0] * heads * rows_of_one && good; at++) {
        const uint64_t b = at / heads / rows_of_one, h = at / rows_of_one % heads, i = at % rows_of_one;
        double *out = o->to->out + b * n * channels + h * d;
        for (uint64_t j = 0; j < rows_of_one; j++) {
            double sum = 0, size = 0;
            one.seen[j] = channel || own_window(o, i, j);
            for (uint64_t e = 0; e < (channel ? n : dq); e++) {
                const double x = channel ? q->data[(b * n + e) * channels + h * d + i]
                                         : q->data[(b * n + i) * q->shape[2] + h * dq + e],
                             y = channel ? k->data[(b * n + e) * channels + h * d + j]
                                         : k->data[(b * n + j) * q->shape[2] + h * dq + e];
                sum = r(o, sum + r(o, x * y));
                size += fabs(x * y);
            }
            one.s[j] = r(o, sum * r(o, scale));
            o->to->score = fmax(o->to->score, size * fabs(scale));
            for (uint64_t e = 0; e < n && channel; e++)
                values[j * n + e] = v->data[(b * n + e) * channels + h * d + j];
            one.v[j] = channel ? values + j * n : row_of(v->data, n, channels, heads, b, h, j);
        }
        one.out = channel ? line : out + i * channels;
        one.lse = &lse;
        softmax(o, &one);
        for (uint64_t e = 0; e < n && channel; e++)
            out[e * channels + i] = line[e];
    }
    query_free(&one);
    free(line);
    free(values);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"FLatten (Focused Linear Attention)", flatten},
    {"YOLOv12 Area Attention", area},
    {"MambaOut (Gated CNN)", gated_convolution},
    {"Agent Attention", agent},
    {"DaViT (dual attention)", dual},
    {"S2AFormer (strip self-attention)", pooled_keys},
};
const oracle_family rapt_oracles_convolved = {entries, sizeof entries / sizeof *entries};
