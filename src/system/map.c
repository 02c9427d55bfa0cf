/* Systems on maps: attention beside depthwise convolutions, and over what places were averaged to. Tokens are (batch, n, channels),
 * n places of a grid, row by row. */
#include "system/system.h"

static bool between(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *shape, rapt_system_view *view)
{
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, b->dtype, rank, shape, view);
}

/* Axis 1 cut in two, the second `inner` long: rank 4. */
static rapt_system_view split(rapt_system_view view, uint64_t inner)
{
    rapt_system_view out = rapt_system_axes(view, (const int[]){0, 1, 1, 2});
    out.tensor.size[1] /= inner;
    out.tensor.stride[1] *= (int64_t)inner;
    out.tensor.size[2] = inner;
    return out;
}

/* (batch, n, channels) as (batch, heads, n, d). */
static rapt_system_view heads_of(rapt_system_view view, uint64_t heads)
{
    rapt_system_view out = rapt_system_axes(view, (const int[]){0, -1, 1, 2});
    const uint64_t d = heads > 0 ? out.tensor.size[3] / heads : 0;
    out.tensor.size[1] = heads;
    out.tensor.stride[1] = (int64_t)d;
    out.tensor.size[3] = d;
    if (heads > 1) /* heads begin anywhere */
        out.tensor.align = rapt_dtype_size(out.tensor.dtype);
    return out;
}

typedef struct map {
    rapt_system_view q, k, v, out;
    uint64_t batch, n, channels, heads;
    uint32_t height, width;
} map;

static bool take(rapt_system_builder *b, map *m)
{
    uint32_t grid[2], count;
    int64_t heads = 1;
    if (!rapt_system_in(b, "q", 3, &m->q))
        return false;
    const uint64_t *s = m->q.tensor.size;
    m->batch = s[0];
    m->n = s[1];
    m->channels = s[2];
    if (!rapt_system_in_sized(b, "k", 3, s, &m->k) || !rapt_system_in_sized(b, "v", 3, s, &m->v) ||
        !rapt_system_integer(b, "heads", 1, 1 << 20, &heads) || !rapt_system_sizes(b, "grid", 1 << 23, grid, 2, &count) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, s, &m->out))
        return false;
    m->heads = (uint64_t)heads;
    m->height = grid[0];
    m->width = grid[1];
    if (count != 2 || (uint64_t)grid[0] * grid[1] != m->n || m->n > (1 << 23))
        return rapt_system_refuse(b, "parameter 'grid' must be height,width, whose product is n, %llu, at most 2^23",
                                  (unsigned long long)m->n);
    if (m->channels == 0 || m->channels % m->heads != 0)
        return rapt_system_refuse(b, "%llu channels for %llu heads", (unsigned long long)m->channels, (unsigned long long)m->heads);
    return true;
}

/* Means over cells of cell[0] x cell[1] places: along the rows, then along the columns; attention with all weights alike. */
static bool pool(rapt_system_builder *b, const map *m, rapt_system_view x, const char *rows_name, const char *name, const uint32_t cell[2],
                 rapt_system_view *out)
{
    rapt_attention_desc mean = RAPT_ATTENTION_DESC_INIT;
    const uint64_t down = m->height / cell[0], across = m->width / cell[1], c = m->channels;
    rapt_system_view rows, from, to;
    mean.flags = RAPT_ATTENTION_SCALE; /* 0 */
    if (!between(b, rows_name, 3, (const uint64_t[]){m->batch, m->height * across, c}, &rows) ||
        !between(b, name, 3, (const uint64_t[]){m->batch, down * across, c}, out))
        return false;
    from = split(x, cell[1]);
    if (!rapt_system_step_add(b, "means along rows", &mean, rapt_system_part(from, 2, 0, 1), from, from, split(rows, 1), NULL))
        return false;
    from = to = rows;
    from.tensor = (rapt_tensor){.dtype = b->dtype,
                                .rank = 4,
                                .size = {m->batch * down, across, cell[0], c},
                                .stride = {(int64_t)(cell[0] * across * c), (int64_t)c, (int64_t)(across * c), 1}};
    to.at = out->at;
    to.tensor = (rapt_tensor){.dtype = b->dtype,
                              .rank = 4,
                              .size = {m->batch * down, across, 1, c},
                              .stride = {(int64_t)(across * c), (int64_t)c, (int64_t)c, 1}};
    return rapt_system_step_add(b, "means along columns", &mean, rapt_system_part(from, 2, 0, 1), from, from, to, NULL);
}

/* How large the cells are of which `parameter` says how many lie down and across. */
static bool cells(rapt_system_builder *b, const map *m, const char *parameter, uint32_t cell[2])
{
    uint32_t count, most[2] = {1, 1};
    if (!rapt_system_sizes(b, parameter, 1 << 20, most, 2, &count))
        return false;
    most[1] = count == 1 ? most[0] : most[1];
    if (m->height % most[0] != 0 || m->width % most[1] != 0 || m->n == 0)
        return rapt_system_refuse(b, "a map of %u x %u is not %u x %u whole cells", m->height, m->width, most[0], most[1]);
    cell[0] = m->height / most[0];
    cell[1] = m->width / most[1];
    return true;
}

/* out = attended + the depthwise convolution of v. */
static bool add_convolution(rapt_system_builder *b, const map *m, rapt_system_view attended)
{
    rapt_scan_desc d = RAPT_SCAN_DESC_INIT;
    rapt_system_view kernel, bias, made;
    const bool biased = rapt_system_given(b, "kernel_bias");
    if (!rapt_system_in_f32(b, "kernel", 3, (const uint64_t[]){m->channels, 0, 0}, &kernel) ||
        (biased && !rapt_system_in_f32(b, "kernel_bias", 1, &m->channels, &bias)) || !between(b, "convolved", 3, m->v.tensor.size, &made))
        return false;
    d.op = RAPT_SCAN_CONV2D;
    d.flags = RAPT_SCAN_CHANNELS_LAST;
    rapt_system_step *s = rapt_system_scan_step_add(b, "values convolved", &d, split(m->v, m->width), split(made, m->width));
    if (s == NULL)
        return false;
    rapt_system_give(&s->scan.weight, &s->weight, &kernel);
    if (biased)
        rapt_system_give(&s->scan.bias, &s->bias, &bias);
    const rapt_system_term terms[] = {{heads_of(attended, 1), 1, NULL}, {heads_of(made, 1), 1, NULL}};
    return rapt_system_combine_step_add(b, "their sum", heads_of(m->out, 1), terms, 2) != NULL;
}

/* BiFormer: whether the region of a key was chosen for the region of a query. */
static const char region_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                  "{\n"
                                  "    uint width = uint(user_f(0)), across = uint(user_f(3)), count = uint(user_f(4));\n"
                                  "    uvec2 cell = uvec2(uint(user_f(1)), uint(user_f(2)));\n"
                                  "    uvec2 i = uvec2(q / width, q % width) / cell, j = uvec2(k / width, k % width) / cell;\n"
                                  "    return chosen((b * count + i.x * across + i.y) * count + j.x * across + j.y) != 0;\n"
                                  "}\n";

bool rapt_system_regions(rapt_system_builder *b)
{
    map m;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_system_view q, k, mask, attended;
    uint32_t cell[2];
    int64_t top = 1;
    if (!take(b, &m) || !rapt_system_common(b, &d) || !cells(b, &m, "regions", cell) || !rapt_system_integer(b, "top", 1, 1 << 20, &top) ||
        !pool(b, &m, m.q, "q_rows", "q_regions", cell, &q) || !pool(b, &m, m.k, "k_rows", "k_regions", cell, &k))
        return false;
    const uint64_t count = q.tensor.size[1], shape[4] = {m.batch, 1, count, count};
    if (m.batch == 0 || !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "chosen", RAPT_I32, 4, shape, &mask) ||
        !between(b, "attended", 3, m.q.tensor.size, &attended))
        return m.batch == 0 ? rapt_system_refuse(b, "the batch is empty") : false;
    route.q = heads_of(q, 1).tensor;
    route.k = heads_of(k, 1).tensor;
    route.mask = mask.tensor;
    route.block_q = route.block_k = 1;
    route.top_k = (uint64_t)top;
    rapt_system_step *s = rapt_system_route_step_add(b, "regions are chosen", &route);
    if (s == NULL)
        return false;
    s->q = q.at;
    s->k = k.at;
    s->mask = mask.at;
    d.mask_mod[0] = region_mask;
    const uint32_t constants[] = {m.width, cell[0], cell[1], m.width / cell[1], (uint32_t)count};
    for (unsigned n = 0; n < RAPT_COUNT(constants); n++)
        d.user_constants[n] = (float)constants[n];
    d.user[0] = (rapt_user_buffer){"chosen", RAPT_I32, m.batch * count * count};
    s = rapt_system_step_add(b, "attention to the chosen regions", &d, heads_of(m.q, m.heads), heads_of(m.k, m.heads), heads_of(m.v, m.heads),
                             heads_of(attended, m.heads), NULL);
    if (s == NULL)
        return false;
    s->user[0] = mask.at;
    return add_convolution(b, &m, attended);
}

/* LKCA: one convolution of a large kernel. */
bool rapt_system_large_kernel(rapt_system_builder *b)
{
    rapt_scan_desc d = RAPT_SCAN_DESC_INIT;
    rapt_system_view x, kernel, out;
    if (!rapt_system_in(b, "x", 4, &x) || !rapt_system_in_f32(b, "kernel", 3, (const uint64_t[]){x.tensor.size[1], 0, 0}, &kernel) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, x.tensor.size, &out))
        return false;
    d.op = RAPT_SCAN_CONV2D;
    rapt_system_step *s = rapt_system_scan_step_add(b, "a depthwise convolution", &d, x, out);
    if (s != NULL)
        rapt_system_give(&s->scan.weight, &s->weight, &kernel);
    return s != NULL;
}

/* ECA: channels times the sigmoid of a convolution, over channels, of their means. */
bool rapt_system_channel_gates(rapt_system_builder *b)
{
    rapt_attention_desc mean = RAPT_ATTENTION_DESC_INIT;
    rapt_scan_desc d = RAPT_SCAN_DESC_INIT;
    rapt_system_view x, kernel, means, gates, out;
    if (!rapt_system_in(b, "x", 3, &x) || !rapt_system_in_f32(b, "kernel", 1, (const uint64_t[]){0}, &kernel))
        return false;
    const uint64_t *s = x.tensor.size, taps = kernel.tensor.size[0], line[3] = {s[0], s[2], 1};
    if (taps % 2 == 0 || s[1] == 0)
        return rapt_system_refuse(b, "%llu taps and %llu places: an odd number of the first, and one or more of the other are needed",
                                  (unsigned long long)taps, (unsigned long long)s[1]);
    if (!between(b, "means", 3, line, &means) || !between(b, "gates", 3, line, &gates) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, s, &out))
        return false;
    const rapt_system_view tokens = heads_of(x, 1);
    mean.flags = RAPT_ATTENTION_SCALE; /* 0: all weights alike */
    if (!rapt_system_step_add(b, "means of channels", &mean, rapt_system_part(tokens, 2, 0, 1), tokens, tokens,
                              rapt_system_axes(means, (const int[]){0, -1, 2, 1}), NULL))
        return false;
    d.op = RAPT_SCAN_CONV;
    d.act = RAPT_SCAN_ACT_SIGMOID;
    d.ahead = (uint32_t)(taps / 2);
    rapt_system_step *step = rapt_system_scan_step_add(b, "gates of channels", &d, heads_of(means, 1), heads_of(gates, 1));
    if (step == NULL)
        return false;
    kernel = rapt_system_axes(kernel, (const int[]){-1, -1, 0, -1});
    kernel.tensor.rank = 3;
    rapt_system_give(&step->scan.weight, &step->weight, &kernel);
    const rapt_system_term term = {tokens, 1, NULL};
    step = rapt_system_combine_step_add(b, "channels times gates", heads_of(out, 1), &term, 1);
    if (step == NULL)
        return false;
    rapt_system_view gate = rapt_system_axes(gates, (const int[]){0, -1, 2, 1});
    gate.tensor.size[2] = s[1]; /* the same for all places */
    gate.tensor.stride[2] = 0;
    step->combine.gate_kind = RAPT_GATE_PRODUCT;
    rapt_system_give(&step->combine.gate, &step->gate, &gate);
    return true;
}
