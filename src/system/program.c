/* Systems whose scores or masks are a few lines of GLSL: the app's own, or the paper's. */
#include "system/system.h"

#include <math.h>
#include <string.h>

/* A buffer of a step's code: what it is called, and which input it is. */
static bool add_buffer(rapt_system_builder *b, rapt_system_step *s, unsigned place, const char *name, const rapt_system_view *v)
{
    const uint64_t bytes = rapt_tensor_bytes(&v->tensor);
    if (bytes == 0)
        return rapt_system_refuse(b, "input '%s' is empty", name);
    s->attention.user[place] = (rapt_user_buffer){name, v->tensor.dtype, bytes / 4};
    s->user[place] = v->at;
    return true;
}

/* Strides as two exact numbers each, from user_f(first) on, which stride(first), stride(first + 2) .. of the code below read. */
#define STRIDES "uint stride(int i) { return uint(user_f(i)) * 65536u + uint(user_f(i + 1)); }\n"
static bool set_strides(rapt_system_builder *b, rapt_attention_desc *d, unsigned first, const rapt_tensor *t, unsigned count)
{
    for (unsigned axis = 0; axis < count; axis++) {
        const uint64_t stride = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
        if (stride > UINT32_MAX)
            return rapt_system_refuse(b, "a stride of %llu elements; code reaches 2^32", (unsigned long long)stride);
        d->user_constants[first + 2 * axis] = (float)(stride >> 16);
        d->user_constants[first + 2 * axis + 1] = (float)(stride & 0xffff);
    }
    return true;
}

/* FlexAttention: both functions and up to four buffers are the app's. */
bool rapt_system_flex(rapt_system_builder *b)
{
    static const char *const names[RAPT_USER_BUFFERS] = {"u0", "u1", "u2", "u3"};
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const char *score = rapt_system_text(b, "score_mod"), *mask = rapt_system_text(b, "mask_mod");
    d.score_mod[0] = strcmp(score, "none") ? score : NULL;
    d.mask_mod[0] = strcmp(mask, "none") ? mask : NULL;
    rapt_system_step *s = rapt_system_step_add(b, "attention with the app's code", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    for (unsigned n = 0, place = 0; n < RAPT_USER_BUFFERS && s != NULL; n++) {
        rapt_system_view u;
        if (rapt_system_given(b, names[n]) && (!rapt_system_in_numbers(b, names[n], &u) || !add_buffer(b, s, place++, names[n], &u)))
            return false;
    }
    return s != NULL;
}

/* ---- masks ---- */

/* UniCombine: text and image see all; a condition sees these and itself. */
static const char unicombine_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                      "{\n"
                                      "    int mine = segments(q), other = segments(k);\n"
                                      "    return mine < 2 || other < 2 || mine == other;\n"
                                      "}\n";

bool rapt_system_conditions(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view segments;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t n = t.q.tensor.size[2];
    if (n != t.k.tensor.size[2])
        return rapt_system_refuse(b, "%llu queries and %llu keys; as many of both are needed", (unsigned long long)n,
                                  (unsigned long long)t.k.tensor.size[2]);
    d.mask_mod[0] = unicombine_mask;
    if (!rapt_system_in_i32(b, "segments", 1, &n, &segments))
        return false;
    rapt_system_step *s = rapt_system_step_add(b, "joint attention", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    return s != NULL && add_buffer(b, s, 0, "segments", &segments);
}

/* CLEAR: circles around the places of an image; text sees all and is seen by all. */
static const char clear_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                 "{\n"
                                 "    int text = int(user_f(0)), width = int(user_f(1)), i = int(q) - text, j = int(k) - text;\n"
                                 "    if (i < 0 || j < 0)\n"
                                 "        return true;\n"
                                 "    int y = i / width - j / width, x = i % width - j % width;\n"
                                 "    return float(y * y + x * x) < user_f(2) * user_f(2);\n"
                                 "}\n";

/* Height and width of a grid that the last `places` tokens fill. */
static bool take_grid(rapt_system_builder *b, uint64_t places, uint32_t grid[2])
{
    uint32_t count;
    if (!rapt_system_sizes(b, "grid", 1 << 23, grid, 2, &count))
        return false;
    if (count != 2 || (uint64_t)grid[0] * grid[1] != places)
        return rapt_system_refuse(b, "parameter 'grid' must be height,width, whose product is %llu", (unsigned long long)places);
    return true;
}

bool rapt_system_circles(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t text = 0;
    uint32_t grid[2];
    float radius = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "text", 0, 1 << 23, &text) ||
        !rapt_system_number(b, "radius", &radius))
        return false;
    const uint64_t n = t.q.tensor.size[2];
    if (n != t.k.tensor.size[2] || n < (uint64_t)text || n > (1 << 23))
        return rapt_system_refuse(b, "%llu queries, %llu keys: as many of both, up to 2^23, and at least %lld of text are needed",
                                  (unsigned long long)n, (unsigned long long)t.k.tensor.size[2], (long long)text);
    if (!take_grid(b, n - (uint64_t)text, grid))
        return false;
    d.mask_mod[0] = clear_mask;
    d.user_constants[0] = (float)text;
    d.user_constants[1] = (float)grid[1];
    d.user_constants[2] = radius;
    return rapt_system_step_add(b, "attention in circles", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
}

/* Shifted windows: what a cyclic shift brings together that was apart stays apart, so windows at the borders are cut. */
static const char shifted_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                   "{\n"
                                   "    uint width = uint(user_f(0));\n"
                                   "    uvec2 size = uvec2(uint(user_f(1)), uint(user_f(2))), shift = uvec2(uint(user_f(3)), uint(user_f(4)));\n"
                                   "    uvec2 i = (uvec2(q / width, q % width) + size - shift) / size;\n"
                                   "    uvec2 j = (uvec2(k / width, k % width) + size - shift) / size;\n"
                                   "    return i == j;\n"
                                   "}\n";

/* A table's rows lie side by side, if need be in a copy. */
static bool without_gaps(rapt_system_builder *b, rapt_system_view *table)
{
    rapt_system_view copy;
    const uint64_t *s = table->tensor.size;
    if (table->tensor.stride[1] == (int64_t)s[2])
        return true;
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "table", RAPT_F32, 3, s, &copy))
        return false;
    static const int rows[] = {-1, 0, 1, 2};
    const rapt_system_term term = {rapt_system_axes(*table, rows), 1, NULL};
    const bool good = rapt_system_combine_step_add(b, "the table without gaps", rapt_system_axes(copy, rows), &term, 1) != NULL;
    *table = copy;
    return good;
}

/* Swin: windows of a map, shifted or not, with a bias for each distance. */
bool rapt_system_windows(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view bias;
    uint32_t grid[2], size[2], count;
    int64_t shift[2] = {0, 0};
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t n = t.q.tensor.size[2];
    if (n != t.k.tensor.size[2] || n > (1 << 23))
        return rapt_system_refuse(b, "%llu queries and %llu keys; as many of both, up to 2^23, are needed", (unsigned long long)n,
                                  (unsigned long long)t.k.tensor.size[2]);
    if (!take_grid(b, n, grid) || !rapt_system_sizes(b, "window", 1 << 15, size, 2, &count))
        return false;
    size[1] = count == 1 ? size[0] : size[1];
    if (grid[0] % size[0] != 0 || grid[1] % size[1] != 0)
        return rapt_system_refuse(b, "a map of %u x %u is not whole windows of %u x %u", grid[0], grid[1], size[0], size[1]);
    int64_t by = 0;
    if (!rapt_system_integer(b, "shifted", 0, 1, &by))
        return false;
    for (int axis = 0; axis < 2; axis++)
        shift[axis] = by ? size[axis] / 2 : 0;
    if (by) {
        d.mask_mod[0] = shifted_mask;
        d.place_width = grid[1];
        d.user_constants[0] = (float)grid[1];
        for (int axis = 0; axis < 2; axis++) {
            d.user_constants[1 + axis] = (float)size[axis];
            d.user_constants[3 + axis] = (float)shift[axis];
        }
    } else {
        d.grid.rank = 2;
        for (int axis = 0; axis < 2; axis++) {
            d.grid.size[axis] = grid[axis];
            d.grid.kernel_size[axis] = d.grid.stride[axis] = size[axis];
        }
    }
    const bool biased = rapt_system_given(b, "bias");
    if (biased) {
        if (!rapt_system_in_f32(b, "bias", 3, (const uint64_t[]){t.q.tensor.size[1], 2 * size[0] - 1, 2 * size[1] - 1}, &bias))
            return false;
        if (!without_gaps(b, &bias))
            return false;
        d.relative = bias.tensor;
    } else {
        d.place_width = 0;
    }
    rapt_system_step *s = rapt_system_step_add(b, by ? "shifted windows" : "windows", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    if (s != NULL && biased)
        s->relative = bias.at;
    return s != NULL;
}

/* EMA-VFI: in windows, the other frame's values, and its coordinates less the own ones. */
bool rapt_system_inter_frame(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q, k, v, coords, moved, out;
    uint32_t grid[2];
    int64_t window = 1;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in_sized(b, "k", 4, q.tensor.size, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){q.tensor.size[0], q.tensor.size[1], q.tensor.size[2], 0}, &v) ||
        !rapt_system_common(b, &d))
        return false;
    const uint64_t *s = q.tensor.size, dv = v.tensor.size[3];
    if (dv > (1 << 20))
        return rapt_system_refuse(b, "d_v is %llu", (unsigned long long)dv);
    const uint64_t shape[4] = {s[0], s[1], s[2], dv + 2}, motion[4] = {s[0], s[1], s[2], 2};
    if (!take_grid(b, s[2], grid) || !rapt_system_integer(b, "window", 1, 1 << 15, &window) ||
        !rapt_system_in_sized(b, "coords", 2, (const uint64_t[]){s[2], 2}, &coords) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "moved", b->dtype, 4, motion, &moved) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &out))
        return false;
    if (grid[0] % window != 0 || grid[1] % window != 0)
        return rapt_system_refuse(b, "a map of %u x %u is not whole windows of %lld", grid[0], grid[1], (long long)window);
    d.grid = (rapt_grid){.rank = 2, .size = {grid[0], grid[1]}};
    for (int axis = 0; axis < 2; axis++)
        d.grid.kernel_size[axis] = d.grid.stride[axis] = (uint32_t)window;
    const rapt_system_view places = rapt_system_axes(coords, (const int[]){-1, -1, 0, 1});
    rapt_system_view values = places;
    values.tensor.size[0] = s[0];
    values.tensor.size[1] = s[1];
    const rapt_system_term terms[] = {{moved, 1, NULL}, {places, -1, NULL}};
    return rapt_system_step_add(b, "appearance", &d, q, k, v, rapt_system_part(out, 3, 0, dv), NULL) &&
           rapt_system_step_add(b, "where it comes from", &d, q, k, values, moved, NULL) &&
           rapt_system_combine_step_add(b, "motion", rapt_system_part(out, 3, dv, 2), terms, 2);
}

/* ---- scores ---- */

/* HaloNet: blocks of queries, the keys around them, and a term for each distance along either axis. */
static const char halo_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                "{\n"
                                "    int width = int(user_f(0)), block = int(user_f(1)), halo = int(user_f(2));\n"
                                "    ivec2 i = ivec2(int(q) / width, int(q) % width), j = ivec2(int(k) / width, int(k) % width);\n"
                                "    ivec2 from = i / block * block - halo;\n"
                                "    return all(greaterThanEqual(j, from)) && all(lessThan(j, from + block + 2 * halo));\n"
                                "}\n";
static const char halo_score[] = STRIDES
    "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    int width = int(user_f(0)), most = int(user_f(1)) + int(user_f(2)) - 1;\n"
    "    int y = int(k) / width - int(q) / width, x = int(k) % width - int(q) % width;\n"
    "    uint line_y = b * stride(3) + h * stride(5) + q * stride(7), line_x = b * stride(9) + h * stride(11) + q * stride(13);\n"
    "    return score + r_y(line_y + uint(clamp(y, -most, most) + most)) + r_x(line_x + uint(clamp(x, -most, most) + most));\n"
    "}\n";

bool rapt_system_halo(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view r[2];
    uint32_t grid[2];
    int64_t block = 1, halo = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "block", 1, 1 << 15, &block) ||
        !rapt_system_integer(b, "halo", 0, 1 << 15, &halo))
        return false;
    const uint64_t *s = t.q.tensor.size, lines[4] = {s[0], s[1], s[2], 2 * (uint64_t)(block + halo) - 1};
    if (s[2] != t.k.tensor.size[2] || s[2] > (1 << 23))
        return rapt_system_refuse(b, "%llu queries and %llu keys; as many of both, up to 2^23, are needed", (unsigned long long)s[2],
                                  (unsigned long long)t.k.tensor.size[2]);
    if (!take_grid(b, s[2], grid) || !rapt_system_in_f32(b, "r_y", 4, lines, &r[0]) || !rapt_system_in_f32(b, "r_x", 4, lines, &r[1]))
        return false;
    d.mask_mod[0] = halo_mask;
    d.score_mod[0] = halo_score;
    d.user_constants[0] = (float)grid[1];
    d.user_constants[1] = (float)block;
    d.user_constants[2] = (float)halo;
    for (unsigned n = 0; n < 2; n++)
        if (!set_strides(b, &d, 3 + 6 * n, &r[n].tensor, 3))
            return false;
    rapt_system_step *step = rapt_system_step_add(b, "blocks and their halos", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    return step != NULL && add_buffer(b, step, 0, "r_y", &r[0]) && add_buffer(b, step, 1, "r_x", &r[1]);
}

/* Neural Attention: a score from a hidden layer over what query and key give to it. */
static const char hidden_score[] = STRIDES
    "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    uint hidden = uint(user_f(0)), mine = b * stride(1) + h * stride(3) + q * stride(5),\n"
    "         other = b * stride(7) + h * stride(9) + k * stride(11), line = h * stride(13);\n"
    "    float sum = 0.0;\n"
    "    for (uint i = 0u; i < 1024u && i < hidden; i++)\n"
    "        sum += w(line + i) * max(a(mine + i) + c(other + i), 0.0);\n"
    "    return sum;\n"
    "}\n";

bool rapt_system_hidden_scores(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view v, a, c, w, out, any;
    int64_t causal = 0;
    if (!rapt_system_in(b, "v", 4, &v) || !rapt_system_integer(b, "causal", 0, 1, &causal))
        return false;
    const uint64_t *s = v.tensor.size;
    if (!rapt_system_in_f32(b, "a", 4, (const uint64_t[]){s[0], s[1], 0, 0}, &a))
        return false;
    const uint64_t hidden = a.tensor.size[3], nq = a.tensor.size[2];
    if (hidden == 0 || hidden > 1024)
        return rapt_system_refuse(b, "%llu hidden units; 1 to 1024 are needed", (unsigned long long)hidden);
    if (!rapt_system_in_f32(b, "c", 4, (const uint64_t[]){s[0], s[1], s[2], hidden}, &c) ||
        !rapt_system_in_f32(b, "w", 2, (const uint64_t[]){s[1], hidden}, &w) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, (const uint64_t[]){s[0], s[1], nq, s[3]}, &out))
        return false;
    d.flags = RAPT_ATTENTION_SCALE | (causal ? RAPT_ATTENTION_CAUSAL : 0u); /* 0: scores are the code's alone */
    d.score_mod[0] = hidden_score;
    d.user_constants[0] = (float)hidden;
    if (!set_strides(b, &d, 1, &a.tensor, 3) || !set_strides(b, &d, 7, &c.tensor, 3) || !set_strides(b, &d, 13, &w.tensor, 1))
        return false;
    any = rapt_system_part(v, 2, 0, s[2] > 0 ? 1 : 0); /* queries that nothing depends on */
    any.tensor.size[2] = nq;
    any.tensor.stride[2] = 0;
    if (s[2] == 0)
        return rapt_system_refuse(b, "there is no key");
    rapt_system_step *step = rapt_system_step_add(b, "attention with scores of a network", &d, any, v, v, out, NULL);
    return step != NULL && add_buffer(b, step, 0, "a", &a) && add_buffer(b, step, 1, "c", &c) && add_buffer(b, step, 2, "w", &w);
}

/* ---- weights changed after the softmax ---- */

/* Keys of one class. */
static const char class_mask[] = STRIDES "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                         "{\n"
                                         "    return classes(b * stride(1) + k) == int(user_f(0));\n"
                                         "}\n";

/* VAR: in some heads the weight of visual sinks is cut to a share, and other image keys get what is freed in proportion. Attention
 * over each class by itself, then w_sink p, w_image + w_sink (1 - p) and w_other of their softmaxes. */
bool rapt_system_redistributed(rapt_system_builder *b)
{
    static const char *const outs[] = {"of_others", "of_sinks", "of_images"}, *const sums[] = {"sum_others", "sum_sinks", "sum_images"};
    enum { OTHER, SINK, IMAGE, CLASSES };
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view classes, part[CLASSES], lse[CLASSES], freed;
    int64_t chosen[RAPT_SYSTEM_STEPS];
    uint32_t count, next = 0;
    float share = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_number(b, "p", &share))
        return false;
    const uint64_t *s = t.out.tensor.size;
    if (s[1] == 0 || s[1] > RAPT_SYSTEM_STEPS / 3 - 1)
        return rapt_system_refuse(b, "%llu heads; 1 to %d are needed", (unsigned long long)s[1], RAPT_SYSTEM_STEPS / 3 - 1);
    if (!rapt_system_list(b, "chosen", (int64_t)s[1] - 1, chosen, RAPT_SYSTEM_STEPS, &count) ||
        !rapt_system_in_i32(b, "classes", 2, (const uint64_t[]){s[0], t.k.tensor.size[2]}, &classes) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "freed", b->dtype, 4, s, &freed))
        return false;
    d.mask_mod[0] = class_mask;
    if (!set_strides(b, &d, 1, &classes.tensor, 1))
        return false;
    for (int c = 0; c < CLASSES; c++) {
        d.user_constants[0] = (float)c;
        if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, outs[c], b->dtype, 4, s, &part[c]) ||
            !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, sums[c], RAPT_F32, 3, s, &lse[c]))
            return false;
        rapt_system_step *step = rapt_system_step_add(b, "keys of one class", &d, t.q, t.k, t.v, part[c], &lse[c]);
        if (step == NULL || !add_buffer(b, step, 0, "classes", &classes))
            return false;
    }
    for (uint64_t h = 0; h < s[1]; h++) { /* one by one: which heads are chosen is a list */
        const bool moves = next < count && (uint64_t)chosen[next] == h;
        rapt_system_view x[CLASSES], w[CLASSES], out = rapt_system_part(t.out, 1, h, 1), more = rapt_system_part(freed, 1, h, 1);
        next += moves;
        for (int c = 0; c < CLASSES; c++) {
            x[c] = rapt_system_part(part[c], 1, h, 1);
            w[c] = rapt_system_part(lse[c], 1, h, 1);
        }
        const rapt_system_term kept[] = {{x[OTHER], 1, &w[OTHER]}, {x[SINK], moves ? share : 1, &w[SINK]}, {x[IMAGE], 1, &w[IMAGE]}};
        const rapt_system_term given[] = {{x[IMAGE], 0, &w[OTHER]}, {x[IMAGE], 1 - share, &w[SINK]}, {x[IMAGE], 0, &w[IMAGE]}};
        const rapt_system_term both[] = {{more, 1, NULL}, {rapt_system_part(part[SINK], 1, h, 1), 1, NULL}};
        rapt_system_step *step = rapt_system_combine_step_add(b, "kept weights", moves ? more : out, kept, 3);
        if (step == NULL)
            return false;
        step->combine.weights = RAPT_COMBINE_SOFTMAX;
        if (!moves)
            continue;
        step = rapt_system_combine_step_add(b, "what the sinks gave up", both[1].x, given, 3); /* over the sinks' own, read by now */
        if (step == NULL || !rapt_system_combine_step_add(b, "their sum", out, both, 2))
            return false;
        step->combine.weights = RAPT_COMBINE_SOFTMAX;
    }
    return true;
}

/* MindSkip: rows that the router sends past attention see no key, and so get 0; the others are multiplied by its score. */
static const char routed_mask[] = STRIDES "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                          "{\n"
                                          "    return r(b * stride(1) + q) > user_f(0);\n"
                                          "}\n";

bool rapt_system_skipped(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view r, attended;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_number(b, "threshold", &d.user_constants[0]))
        return false;
    const uint64_t *s = t.out.tensor.size;
    if (!rapt_system_in_f32(b, "r", 2, (const uint64_t[]){s[0], s[2]}, &r) || !set_strides(b, &d, 1, &r.tensor, 1) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "attended", b->dtype, 4, s, &attended))
        return false;
    d.mask_mod[0] = routed_mask;
    rapt_system_step *step = rapt_system_step_add(b, "attention of the rows that are routed to it", &d, t.q, t.k, t.v, attended, NULL);
    if (step == NULL || !add_buffer(b, step, 0, "r", &r))
        return false;
    rapt_system_view weight = rapt_system_axes(r, (const int[]){0, -1, 1, -1});
    weight.tensor.rank = 3;
    const rapt_system_term term = {attended, 1, &weight};
    return rapt_system_combine_step_add(b, "times the router's score", t.out, &term, 1) != NULL;
}

/* Flux Attention: the router's answer for this layer opens all keys; else sinks and the latest are seen. It stays on the device: the
 * mask reads it, and tiles that it hides are left out. */
static const char flux_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                "{\n"
                                "    uint sinks = uint(user_f(2)), recent = uint(user_f(3)), at = q + uint(user_f(4));\n"
                                "    return router(uint(user_f(0))) > user_f(1) || k < sinks || k + recent > at;\n"
                                "}\n";

bool rapt_system_by_layer(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view router;
    int64_t layer = 0, sinks = 0, recent = 1;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_in_f32(b, "router", 1, (const uint64_t[]){0}, &router) ||
        !rapt_system_integer(b, "layer", 0, (int64_t)RAPT_MIN(router.tensor.size[0], 1u << 23) - 1, &layer) ||
        !rapt_system_number(b, "threshold", &d.user_constants[1]) || !rapt_system_integer(b, "sinks", 0, 1 << 23, &sinks) ||
        !rapt_system_integer(b, "recent", 1, 1 << 23, &recent))
        return false;
    const uint64_t nq = t.q.tensor.size[2], nk = t.k.tensor.size[2];
    if (nq > nk || nk > (1 << 23))
        return rapt_system_refuse(b, "%llu queries and %llu keys; no more of the first, and at most 2^23 of the others",
                                  (unsigned long long)nq, (unsigned long long)nk);
    d.flags |= RAPT_ATTENTION_CAUSAL;
    d.mask_mod[0] = flux_mask;
    d.user_constants[0] = (float)layer;
    d.user_constants[2] = (float)sinks;
    d.user_constants[3] = (float)recent;
    d.user_constants[4] = (float)(nk - nq);
    rapt_system_step *s = rapt_system_step_add(b, "causal attention, or a part of it", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    return s != NULL && add_buffer(b, s, 0, "router", &router);
}

/* Luong: a score of two layers where it is given so. */
static const char additive_score[] = STRIDES
    "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    uint hidden = uint(user_f(0)), mine = b * stride(1) + h * stride(3) + q * stride(5),\n"
    "         other = b * stride(7) + h * stride(9) + k * stride(11), line = h * stride(13);\n"
    "    float sum = 0.0;\n"
    "    for (uint i = 0u; i < 1024u && i < hidden; i++)\n"
    "        sum += w(line + i) * tanh(a(mine + i) + c(other + i));\n"
    "    return sum;\n"
    "}\n";
/* Its windows: whole numbers of tokens around a place of each query's own. */
static const char around_mask[] = STRIDES "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                          "{\n"
                                          "    return abs(float(k) - p(b * stride(1) + q)) <= user_f(0);\n"
                                          "}\n";
/* What is left of the softmax over the window, by its log-sum-exp, times a Gaussian of D / 2. */
static const char gaussian_score[] = STRIDES
    "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    float apart = (float(k) - p(b * stride(1) + q)) / (0.5 * user_f(0));\n"
    "    return exp(score - sums(b * stride(3) + h * stride(5) + q) - 0.5 * apart * apart);\n"
    "}\n";

bool rapt_system_luong(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view a, c, w, p, unused, sums;
    int64_t half = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "D", 1, 1 << 23, &half))
        return false;
    const uint64_t *s = t.out.tensor.size, nk = t.k.tensor.size[2];
    const bool local = rapt_system_given(b, "p"), additive = rapt_system_given(b, "a");
    if (s[1] != t.k.tensor.size[1] || (local && additive))
        return rapt_system_refuse(b, "%s", local && additive ? "a window goes with the dot and the general score"
                                                              : "as many query heads as kv heads are needed");
    if (additive) {
        if (!rapt_system_in_f32(b, "a", 4, (const uint64_t[]){s[0], s[1], s[2], 0}, &a))
            return false;
        const uint64_t hidden = a.tensor.size[3];
        if (hidden == 0 || hidden > 1024)
            return rapt_system_refuse(b, "%llu hidden units; 1 to 1024 are needed", (unsigned long long)hidden);
        if (!rapt_system_in_f32(b, "c", 4, (const uint64_t[]){s[0], s[1], nk, hidden}, &c) ||
            !rapt_system_in_f32(b, "w", 2, (const uint64_t[]){s[1], hidden}, &w) || !set_strides(b, &d, 1, &a.tensor, 3) ||
            !set_strides(b, &d, 7, &c.tensor, 3) || !set_strides(b, &d, 13, &w.tensor, 1))
            return false;
        d.user_constants[0] = (float)hidden;
        d.score_mod[0] = additive_score;
        rapt_system_step *step = rapt_system_step_add(b, "attention with additive scores", &d, t.q, t.k, t.v, t.out, NULL);
        return step != NULL && add_buffer(b, step, 0, "a", &a) && add_buffer(b, step, 1, "c", &c) && add_buffer(b, step, 2, "w", &w);
    }
    if (!local)
        return rapt_system_step_add(b, "attention", &d, t.q, t.k, t.v, t.out, NULL);
    if (!rapt_system_in_f32(b, "p", 2, (const uint64_t[]){s[0], s[2]}, &p) || !set_strides(b, &d, 1, &p.tensor, 1) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "before", b->dtype, 4, s, &unused) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "sums", RAPT_F32, 3, s, &sums) || !set_strides(b, &d, 3, &sums.tensor, 2))
        return false;
    d.user_constants[0] = (float)half;
    d.mask_mod[0] = around_mask;
    rapt_system_step *step = rapt_system_step_add(b, "sums over the windows", &d, t.q, t.k, t.v, unused, &sums);
    if (step == NULL || !add_buffer(b, step, 0, "p", &p))
        return false;
    d.score_mod[0] = gaussian_score;
    d.link = RAPT_LINK_NONE;
    step = rapt_system_step_add(b, "weights times Gaussians", &d, t.q, t.k, t.v, t.out, NULL);
    return step != NULL && add_buffer(b, step, 0, "p", &p) && add_buffer(b, step, 1, "sums", &sums);
}

/* Pointer Networks: the weights of an additive score are the output: their sum over rows of the identity. */
bool rapt_system_pointer(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view a, c, w, one, identity, q, k, out;
    if (!rapt_system_in_f32(b, "a", 3, (const uint64_t[]){0, 0, 0}, &a))
        return false;
    const uint64_t s[3] = {a.tensor.size[0], a.tensor.size[1], a.tensor.size[2]}, hidden = s[2];
    if (!rapt_system_in_f32(b, "c", 3, (const uint64_t[]){s[0], 0, hidden}, &c) || !rapt_system_in_f32(b, "w", 1, &hidden, &w))
        return false;
    const uint64_t n = c.tensor.size[1], m = s[1], shape[3] = {s[0], m, n};
    if (hidden == 0 || hidden > 1024 || n == 0 || n > 576 || s[0] == 0 || m == 0)
        return rapt_system_refuse(b, "%llu hidden units and %llu inputs; 1 to 1024, and 1 to 576, are possible", (unsigned long long)hidden,
                                  (unsigned long long)n);
    a = rapt_system_ranked(a, 4, (const int[]){0, -1, 1, 2});
    c = rapt_system_ranked(c, 4, (const int[]){0, -1, 1, 2});
    if (!rapt_system_between(b, "one", RAPT_F32, 4, (const uint64_t[]){1, 1, 1, 1}, &one) || !rapt_system_fill(b, "one", one, a, 1) ||
        !rapt_system_identity(b, one, n, &identity) || !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", RAPT_F32, 3, shape, &out) ||
        !set_strides(b, &d, 1, &a.tensor, 3) || !set_strides(b, &d, 7, &c.tensor, 3))
        return false;
    q = k = one; /* scores are the code's alone */
    q.tensor.size[0] = k.tensor.size[0] = identity.tensor.size[0] = s[0];
    q.tensor.size[2] = m;
    k.tensor.size[2] = n;
    for (int axis = 0; axis < 3; axis++)
        q.tensor.stride[axis] = k.tensor.stride[axis] = 0;
    identity.tensor.stride[0] = 0;
    d.flags = RAPT_ATTENTION_SCALE;
    d.user_constants[0] = (float)hidden;
    d.score_mod[0] = additive_score;
    rapt_system_step *step = rapt_system_step_add(b, "weights of an additive score", &d, q, k, identity,
                                                  rapt_system_ranked(out, 4, (const int[]){0, -1, 1, 2}), NULL);
    return step != NULL && add_buffer(b, step, 0, "a", &a) && add_buffer(b, step, 1, "c", &c) && add_buffer(b, step, 2, "w", &w);
}

/* SinkLoRA: groups of tokens, those of some heads half a group further; the first tokens are seen by all. */
static const char sink_groups_mask[] = "bool mask_mod(uint b, uint h, uint q, uint k)\n"
                                       "{\n"
                                       "    uint group = uint(user_f(0)), moved = h >= uint(user_f(1)) ? group / 2u : 0u;\n"
                                       "    return k < uint(user_f(2)) || (q + moved) / group == (k + moved) / group;\n"
                                       "}\n";

/* At inference: the keys whose weights have added up to most so far, and the latest. */
static bool keep_heavy(rapt_system_builder *b, const rapt_system_qkv *t, rapt_attention_desc *d)
{
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    rapt_system_view sums, mask;
    int64_t keep = 1, recent = 1;
    const uint64_t *q = t->q.tensor.size, *k = t->k.tensor.size;
    if (!rapt_system_in_f32(b, "sums", 3, k, &sums) || !rapt_system_integer(b, "keep", 1, 1 << 29, &keep) ||
        !rapt_system_integer(b, "recent", 1, 1 << 29, &recent))
        return false;
    if (q[0] == 0 || k[1] == 0 || q[1] % k[1] != 0 || q[2] != 1 || k[2] == 0 || (k[2] > 1 && sums.tensor.stride[2] != 1))
        return rapt_system_refuse(b, "with sums, one query, keys, kv heads that divide the query heads, and sums side by side are needed");
    if (!rapt_system_between(b, "mask", RAPT_I32, 4, (const uint64_t[]){q[0], q[1], 1, k[2]}, &mask))
        return false;
    route.flags = RAPT_ROUTE_SCORES_GIVEN;
    route.nq = route.block_q = route.block_k = 1;
    route.nk = k[2];
    route.top_k = (uint64_t)(keep + recent);
    route.always_last = (uint64_t)recent;
    route.scores = rapt_system_axes(sums, (const int[]){0, 1, -1, 2}).tensor;
    route.mask = mask.tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "keys that live on", &route);
    if (s == NULL)
        return false;
    s->scores = sums.at;
    s->mask = mask.at;
    s = rapt_system_step_add(b, "attention to them", d, t->q, t->k, t->v, t->out, NULL);
    if (s == NULL)
        return false;
    rapt_system_give(&s->attention.block_mask, &s->block_mask, &mask);
    s->attention.block_q = s->attention.block_k = 1;
    return true;
}

bool rapt_system_sink_groups(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t group = 1, sinks = 0;
    float shifted = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_integer(b, "group", 1, 1 << 23, &group) ||
        !rapt_system_integer(b, "sinks", 0, 1 << 23, &sinks) || !rapt_system_number(b, "shifted", &shifted))
        return false;
    if (rapt_system_given(b, "sums"))
        return keep_heavy(b, &t, &d);
    const uint64_t *s = t.q.tensor.size;
    if (s[2] != t.k.tensor.size[2] || s[2] > (1 << 23) || s[1] > (1 << 20) || !(shifted >= 0 && shifted <= 1))
        return rapt_system_refuse(b, "as many queries as keys, up to 2^23, and a share of the heads are needed");
    d.flags |= RAPT_ATTENTION_CAUSAL;
    d.mask_mod[0] = sink_groups_mask;
    d.user_constants[0] = (float)group;
    d.user_constants[1] = roundf((1 - shifted) * (float)s[1]);
    d.user_constants[2] = (float)sinks;
    return rapt_system_step_add(b, "causal attention in groups", &d, t.q, t.k, t.v, t.out, NULL) != NULL;
}

/* ---- scores of two products: the second is held, nq x nk numbers a head, as routing's scores of single keys ---- */

static bool add_products(rapt_system_builder *b, const char *what, rapt_system_view q, rapt_system_view k, float scale, rapt_system_view *out)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    const uint64_t *s = q.tensor.size, shape[4] = {s[0], s[1], s[2], k.tensor.size[2]};
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "products", RAPT_F32, 4, shape, out))
        return false;
    d.q = q.tensor;
    d.k = k.tensor;
    d.scores = out->tensor;
    d.block_q = d.block_k = d.top_k = 1;
    d.flags = RAPT_ROUTE_SCALE;
    d.scale = scale;
    rapt_system_step *step = rapt_system_route_step_add(b, what, &d);
    if (step == NULL)
        return false;
    step->q = q.at;
    step->k = k.at;
    step->scores = out->at;
    return true;
}

/* TAPA: the score of content times the cosine of a phase that grows with the distance. */
static const char phase_score[] = STRIDES
    "// More exact than a driver's has to be: the rest of whole turns, then 1 - 2 sin(x / 2)^2 by Taylor's series.\n"
    "float cosine(float x)\n"
    "{\n"
    "    float turns = round(x * 0.15915494);\n"
    "    float half_angle = 0.5 * ((x - turns * 6.28125) - turns * 0.0019353072);\n"
    "    float y = half_angle * half_angle;\n"
    "    float s = half_angle * (1.0 + y * (-1.6666667e-1 + y * (8.3333333e-3 + y * (-1.9841270e-4 + y * (2.7557319e-6 - y * 2.5052108e-8)))));\n"
    "    return 1.0 - 2.0 * s * s;\n"
    "}\n"
    "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    float apart = abs(float(q) + user_f(1) - float(k));\n"
    "    float phase = products(b * stride(2) + h * stride(4) + q * stride(6) + k);\n"
    "    return score * cosine(phase * (apart > 0.0 ? pow(apart, user_f(0)) : 0.0));\n"
    "}\n";

bool rapt_system_phases(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view turned, products;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !rapt_system_number(b, "alpha", &d.user_constants[0]))
        return false;
    const uint64_t *s = t.q.tensor.size, kv = t.k.tensor.size[1], nk = t.k.tensor.size[2];
    if (kv == 0 || s[1] % kv != 0 || s[2] > nk || nk > (1 << 23) || !(d.user_constants[0] > 0))
        return rapt_system_refuse(b, "kv heads that divide the query heads, no more queries than keys, up to 2^23, and a positive alpha are needed");
    if (!rapt_system_in_sized(b, "q_phase", 4, s, &turned) || !add_products(b, "phases", turned, t.k, 1, &products) ||
        !set_strides(b, &d, 2, &products.tensor, 3))
        return false;
    d.user_constants[1] = (float)(nk - s[2]);
    d.score_mod[0] = phase_score;
    rapt_system_step *step = rapt_system_step_add(b, "attention with phases", &d, t.q, t.k, t.v, t.out, t.has_lse ? &t.lse : NULL);
    return step != NULL && add_buffer(b, step, 0, "products", &products);
}

/* RCMHA: content and positions, (q + u) k + (q + w) r, behind depthwise convolutions of q, k and v along the tokens. */
static const char relative_score[] = STRIDES
    "float score_mod(float score, uint b, uint h, uint q, uint k)\n"
    "{\n"
    "    uint places = uint(user_f(0)); // i - j + n - 1 is r's row\n"
    "    return score + products(b * stride(1) + h * stride(3) + q * stride(5) + q + places - 1u - k);\n"
    "}\n";

bool rapt_system_convolved_relative(rapt_system_builder *b)
{
    static const char *const kernels[] = {"kernel_q", "kernel_k", "kernel_v"}, *const convolved[] = {"q_convolved", "k_convolved", "v_convolved"},
                            *const vectors[] = {"u", "w"}, *const sums[] = {"q_content", "q_position"};
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view *const in[3] = {&t.q, &t.k, &t.v}, added[2], r, products;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *s = t.q.tensor.size, heads = s[1], n = s[2], dim = s[3];
    if (heads == 0 || heads != t.k.tensor.size[1] || n == 0 || n != t.k.tensor.size[2] || n > (1 << 22) || dim == 0)
        return rapt_system_refuse(b, "as many queries as keys, up to 2^22, and as many query heads as kv heads are needed");
    for (int i = 0; i < 3; i++) {
        rapt_scan_desc conv = RAPT_SCAN_DESC_INIT;
        rapt_system_view kernel, to;
        if (!rapt_system_in_f32(b, kernels[i], 3, (const uint64_t[]){heads, in[i]->tensor.size[3], 0}, &kernel) ||
            !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, convolved[i], b->dtype, 4, in[i]->tensor.size, &to))
            return false;
        conv.op = RAPT_SCAN_CONV;
        rapt_system_step *step = rapt_system_scan_step_add(b, convolved[i], &conv, *in[i], to);
        if (step == NULL)
            return false;
        rapt_system_give(&step->scan.weight, &step->weight, &kernel);
        *in[i] = to;
    }
    for (int i = 0; i < 2; i++) {
        rapt_system_view v;
        if (!rapt_system_in_sized(b, vectors[i], 2, (const uint64_t[]){heads, dim}, &v) ||
            !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, sums[i], b->dtype, 4, t.q.tensor.size, &added[i]))
            return false;
        const rapt_system_term terms[] = {{t.q, 1, NULL}, {rapt_system_axes(v, (const int[]){-1, 0, -1, 1}), 1, NULL}};
        if (!rapt_system_combine_step_add(b, sums[i], added[i], terms, 2))
            return false;
    }
    if (!rapt_system_in_sized(b, "r", 2, (const uint64_t[]){2 * n - 1, dim}, &r))
        return false;
    r = rapt_system_axes(r, (const int[]){-1, -1, 0, 1}); /* for every batch entry and head */
    r.tensor.size[0] = s[0];
    r.tensor.size[1] = heads;
    const float scale = d.flags & RAPT_ATTENTION_SCALE ? d.scale : 1 / sqrtf((float)dim);
    if (!add_products(b, "products with positions", added[1], r, scale, &products) || !set_strides(b, &d, 1, &products.tensor, 3))
        return false;
    d.user_constants[0] = (float)n;
    d.score_mod[0] = relative_score;
    rapt_system_step *step = rapt_system_step_add(b, "attention to content and positions", &d, added[0], t.k, t.v, t.out, NULL);
    return step != NULL && add_buffer(b, step, 0, "products", &products);
}
