/* Oracles of systems that scan in several directions. */
#include "oracle_system.h"

static double silu(const oracle *o, double x)
{
    return r(o, x * r(o, 1 / r(o, 1 + r(o, exp(-x)))));
}

static bool given(const oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->input_count; n++)
        if (strcmp(o->p->inputs[n].name, name) == 0)
            return true;
    return false;
}

/* Mamba's recurrence with the parameters of direction k: x and out (batch, n, channels) in row order of a map
 * `width` wide. dt, b and c of a direction along columns stand in the order of columns; none are turned
 * around. */
static void scan(oracle *o, uint64_t k, bool back, bool columns, const double *x, uint64_t width, double *out)
{
    const rapt_check_array *dt = input(o, "dt"), *a = input(o, "a"), *in = input(o, "b"),
                           *read = input(o, "c"), *skip = input(o, "skip"),
                           *z = given(o, "z") ? input(o, "z") : NULL;
    const uint64_t count = dt->shape[1], n = dt->shape[2], channels = dt->shape[3], states = a->shape[2],
                   height = n / width;
    decaying s[RAPT_SCAN_MAX_STATES];
    for (uint64_t line = 0; line < dt->shape[0] * channels && !o->failed; line++) {
        const uint64_t b = line / channels, c = line % channels;
        memset(s, 0, sizeof s);
        for (uint64_t step = 0; step < n; step++) {
            const uint64_t t = back ? n - 1 - step : step,
                           place = columns ? t % height * width + t / height : t;
            const uint64_t at = (b * n + place) * channels + c, own = (b * count + k) * n + t;
            const double delta = r(o, log1p(exp(dt->data[own * channels + c])));
            double y = r(o, skip->data[k * channels + c] * x[at]), size = fabs(y);
            for (uint64_t i = 0; i < states; i++) {
                decay_step(o, &s[i], r(o, exp(r(o, delta * a->data[(k * channels + c) * states + i]))),
                           r(o, r(o, delta * in->data[own * states + i]) * x[at]));
                y = r(o, y + r(o, read->data[own * states + i] * s[i].h));
                size += fabs(read->data[own * states + i] * s[i].reach);
            }
            o->to->score = fmax(o->to->score, size);
            out[at] = stored(o, z ? r(o, y * silu(o, z->data[at])) : y);
        }
    }
}

/* Vim, algorithm 1: forth and back, each on its own x. */
static bool two_ways(oracle *o)
{
    const rapt_check_array *x = input(o, "x"), *x_back = input(o, "x_back");
    double *back = malloc((size_t)(x->count + 1) * sizeof *back);
    const bool good = back && room(o, x->count, 0);
    if (good) {
        scan(o, 0, false, false, x->data, x->shape[1], o->to->out);
        scan(o, 1, true, false, x_back->data, x->shape[1], back);
    }
    for (uint64_t i = 0; i < x->count && good; i++)
        o->to->out[i] = stored(o, r(o, o->to->out[i] + back[i]));
    free(back);
    return good && !o->failed;
}

/* SS2D, section 4.2 of VMamba: rows, columns, and both from the end, added in row order; and `residual`, if
 * any. */
static bool four_ways(oracle *o, const double *residual)
{
    const rapt_check_array *x = input(o, "x");
    const uint64_t width = (uint64_t)whole(o, "width");
    double *way = malloc((size_t)(x->count + 1) * sizeof *way);
    const bool good = way && room(o, x->count, 0);
    for (uint64_t i = 0; i < x->count && good; i++)
        o->to->out[i] = 0;
    for (uint64_t k = 0; k < 4 && good; k++) {
        scan(o, k, k >= 2, k % 2 == 1, x->data, width, way);
        for (uint64_t i = 0; i < x->count; i++)
            o->to->out[i] = r(o, o->to->out[i] + way[i]);
    }
    for (uint64_t i = 0; i < x->count && good; i++)
        o->to->out[i] = stored(o, residual ? r(o, o->to->out[i] + residual[i]) : o->to->out[i]);
    free(way);
    return good && !o->failed;
}
static bool cross_scan(oracle *o)
{
    return four_ways(o, NULL);
}

/* The window of NATTEN around query p of the grid, moved inward at borders: keys from clamp(x - K / 2, 0, n -
 * K) on. */
static bool near(oracle *o, uint64_t kv, int64_t p, int64_t j)
{
    char *end;
    const int64_t height = strtoll(text_of(o, "grid"), &end, 10),
                  width = strtoll(*end ? end + 1 : "0", NULL, 10), k = whole(o, "kernel_size");
    const int64_t at[2] = {p / width, p % width}, key[2] = {j / width, j % width}, size[2] = {height, width};
    (void)kv;
    for (int axis = 0; axis < 2; axis++) {
        int64_t first = at[axis] - k / 2;
        first = first < 0 ? 0 : first > size[axis] - k ? size[axis] - k : first;
        if (key[axis] < first || key[axis] >= first + k)
            return false;
    }
    return true;
}

/* SegMAN, section 3.2: neighborhood attention, and what four scans of its output give, added to it. */
static bool local_and_scan(oracle *o)
{
    return whole(o, "attention") != 0 ? rows(o, near, softmax, 0) : four_ways(o, input(o, "attended")->data);
}

static const oracle_entry entries[] = {
    {"Vim (Vision Mamba)", two_ways},
    {"VMamba (SS2D)", cross_scan},
    {"SegMAN encoder (LASS)", local_and_scan},
};
const oracle_family rapt_oracles_directions = {entries, sizeof entries / sizeof *entries};
