/* Systems that scan in several directions: sequences forth and back, maps by rows and by columns. */
#include "system/system.h"

#define MOST_DIRECTIONS 4

/* What each direction has for itself; tokens are places, in the order that the direction's axis of the map
 * gives. */
typedef struct directions {
    uint64_t count, batch, n, channels;
    rapt_system_view dt, a, b, c, skip, z;
    bool has_z;
} directions;

static bool take(rapt_system_builder *b, directions *t, const rapt_system_view *x, uint64_t count)
{
    const uint64_t *size = x->tensor.size;
    t->count = count;
    t->batch = size[0];
    t->n = size[1];
    t->channels = size[2];
    if (t->batch == 0 || t->n == 0 || t->channels == 0)
        return rapt_system_refuse(b, "there are no tokens or no channels");
    if (!rapt_system_in_f32(b, "a", 3, (const uint64_t[]){count, t->channels, 0}, &t->a))
        return false;
    const uint64_t states = t->a.tensor.size[2], ports[4] = {t->batch, count, t->n, states};
    if (states == 0 || states > RAPT_SCAN_MAX_STATES)
        return rapt_system_refuse(b, "a has %llu states a channel; 1 to %u are needed",
                                  (unsigned long long)states, RAPT_SCAN_MAX_STATES);
    t->has_z = rapt_system_given(b, "z");
    return rapt_system_in_f32(b, "dt", 4, (const uint64_t[]){t->batch, count, t->n, t->channels}, &t->dt) &&
           rapt_system_in_f32(b, "b", 4, ports, &t->b) && rapt_system_in_f32(b, "c", 4, ports, &t->c) &&
           rapt_system_in_f32(b, "skip", 2, (const uint64_t[]){count, t->channels}, &t->skip) &&
           (!t->has_z || rapt_system_in_sized(b, "z", 3, size, &t->z));
}

static rapt_system_view one_head(rapt_system_view view)
{
    return rapt_system_ranked(view, 4, (const int[]){0, -1, 1, 2});
}

/* Direction `which`, forth or back, on (batch, n, channels). */
static bool scan(rapt_system_builder *b, const directions *t, uint64_t which, bool back, rapt_system_view x,
                 rapt_system_view out)
{
    const rapt_scan_desc desc = {.struct_size = sizeof desc,
                                 .op = RAPT_SCAN_SELECTIVE,
                                 .flags = RAPT_SCAN_SOFTPLUS | (back ? RAPT_SCAN_REVERSE : 0)};
    rapt_system_step *s = rapt_system_scan_step_add(
        b, back ? "selective scan from the end" : "selective scan", &desc, one_head(x), one_head(out));
    if (s == NULL)
        return false;
    const rapt_system_view dt = rapt_system_part(t->dt, 1, which, 1),
                           in = rapt_system_part(t->b, 1, which, 1),
                           read = rapt_system_part(t->c, 1, which, 1),
                           a = rapt_system_part(t->a, 0, which, 1),
                           skip = rapt_system_part(t->skip, 0, which, 1), z = one_head(t->z);
    rapt_system_give(&s->scan.dt, &s->dt, &dt);
    rapt_system_give(&s->scan.b, &s->b, &in);
    rapt_system_give(&s->scan.c, &s->c, &read);
    rapt_system_give(&s->scan.a, &s->a, &a);
    rapt_system_give(&s->scan.skip, &s->skip, &skip);
    if (t->has_z)
        rapt_system_give(&s->scan.z, &s->z, &z);
    return true;
}

/* Vim: a scan forth and one back, each behind a convolution of its own, gated alike and added. */
bool rapt_system_two_ways(rapt_system_builder *b)
{
    static const char *const names[2][2] = {{"x", "forth"}, {"x_back", "back"}};
    directions t = {0};
    rapt_system_view x[2], way[2], out;
    if (!rapt_system_in(b, "x", 3, &x[0]) || !take(b, &t, &x[0], 2) ||
        !rapt_system_in_sized(b, "x_back", 3, x[0].tensor.size, &x[1]) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, x[0].tensor.size, &out))
        return false;
    for (unsigned n = 0; n < 2; n++)
        if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, names[n][1], b->dtype, 3, x[0].tensor.size, &way[n]) ||
            !scan(b, &t, n, n == 1, x[n], way[n]))
            return false;
    const rapt_system_term terms[] = {{one_head(way[0]), 1, NULL}, {one_head(way[1]), 1, NULL}};
    return rapt_system_combine_step_add(b, "their sum", one_head(out), terms, 2) != NULL;
}

/* The places of a map column by column: (batch, width, height, channels) of what lies row by row. */
static rapt_system_view by_columns(rapt_system_view view, uint64_t width)
{
    return rapt_system_ranked(rapt_system_split(view, 1, width), 4, (const int[]){0, 2, 1, 3});
}

/* A map, scanned along rows and along columns, forth and back; the sum of all, and of `residual` where there
 * is one. */
static bool four_ways(rapt_system_builder *b, const rapt_system_view *x, const rapt_system_view *residual)
{
    static const char *const names[MOST_DIRECTIONS] = {"rows", "columns", "rows_back", "columns_back"};
    directions t = {0};
    rapt_system_view way[MOST_DIRECTIONS], turned, sum, out;
    int64_t height = 0, width = 0;
    if (!rapt_system_integer(b, "height", 1, 1 << 29, &height) ||
        !rapt_system_integer(b, "width", 1, 1 << 29, &width) || !take(b, &t, x, MOST_DIRECTIONS))
        return false;
    const uint64_t *size = x->tensor.size, w = (uint64_t)width, h = (uint64_t)height;
    if (w * h != t.n)
        return rapt_system_refuse(b, "%llu tokens are not a map of %lld rows of %lld",
                                  (unsigned long long)t.n, (long long)height, (long long)width);
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "turned", b->dtype, 3, size, &turned) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "sum", b->dtype, 3, size, &sum) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out))
        return false;
    const rapt_system_term copy = {by_columns(*x, w), 1, NULL};
    if (!rapt_system_combine_step_add(b, "places column by column", rapt_system_split(turned, 1, h), &copy,
                                      1))
        return false;
    for (unsigned n = 0; n < MOST_DIRECTIONS; n++)
        if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, names[n], b->dtype, 3, size, &way[n]) ||
            !scan(b, &t, n, n >= 2, n % 2 == 0 ? *x : turned, way[n]))
            return false;
    const rapt_system_term first[] = {{rapt_system_split(way[0], 1, w), 1, NULL},
                                      {by_columns(way[1], h), 1, NULL},
                                      {rapt_system_split(way[2], 1, w), 1, NULL}};
    rapt_system_term second[] = {
        {rapt_system_split(sum, 1, w), 1, NULL}, {by_columns(way[3], h), 1, NULL}, {{{0}}, 1, NULL}};
    if (residual != NULL)
        second[2].x = rapt_system_split(*residual, 1, w);
    return rapt_system_combine_step_add(b, "three of them together", rapt_system_split(sum, 1, w), first,
                                        3) &&
           rapt_system_combine_step_add(b, "all together", rapt_system_split(out, 1, w), second,
                                        residual != NULL ? 3 : 2);
}

/* VMamba's SS2D. */
bool rapt_system_cross_scan(rapt_system_builder *b)
{
    rapt_system_view x;
    return rapt_system_in(b, "x", 3, &x) && four_ways(b, &x, NULL);
}

/* SegMAN: neighborhood attention, or scans of what it gave, added to it. */
bool rapt_system_local_and_scan(rapt_system_builder *b)
{
    rapt_system_view x, attended;
    int64_t attention = 0;
    if (!rapt_system_integer(b, "attention", 0, 1, &attention))
        return false;
    if (attention)
        return rapt_system_neighborhood(b);
    return rapt_system_in(b, "x", 3, &x) &&
           rapt_system_in_sized(b, "attended", 3, x.tensor.size, &attended) && four_ways(b, &x, &attended);
}
