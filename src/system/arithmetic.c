/* Small sums that recipes are made of (rapt/combine.h), and numbers of rows. */
#include "system/system.h"

bool rapt_system_widen(rapt_system_builder *b, rapt_system_view x, rapt_system_view to)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT; /* what stands for a block of one row is that row, in single precision */
    d.k = x.tensor;
    d.summary = to.tensor;
    d.block_q = d.block_k = d.top_k = 1;
    rapt_system_step *s = rapt_system_route_step_add(b, "in single precision", &d);
    if (s == NULL)
        return false;
    s->k = x.at;
    s->summary = to.at;
    return true;
}

bool rapt_system_single_copy(rapt_system_builder *b, const char *name, rapt_system_view x, rapt_system_view *to)
{
    return rapt_system_between(b, name, RAPT_F32, 4, x.tensor.size, to) && rapt_system_widen(b, x, *to);
}

bool rapt_system_single(rapt_system_builder *b, const char *name, rapt_system_view x, rapt_system_view *to)
{
    *to = x;
    return x.tensor.dtype == RAPT_F32 || rapt_system_single_copy(b, name, x, to);
}

bool rapt_system_map(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view x, float factor, float offset,
                     rapt_combine_act act)
{
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &(rapt_system_term){x, factor, NULL}, 1);
    if (s == NULL)
        return false;
    s->combine.offset = offset;
    s->combine.act = act;
    return true;
}

rapt_system_view rapt_system_weights(rapt_system_view line)
{
    line.tensor.rank = 3;
    return line;
}

bool rapt_system_weigh(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view x, rapt_system_view line,
                       float factor, rapt_combine_act act)
{
    const rapt_system_view weights = rapt_system_weights(line);
    rapt_system_step *s = rapt_system_combine_step_add(b, what, out, &(rapt_system_term){x, factor, &weights}, 1);
    if (s != NULL)
        s->combine.act = act;
    return s != NULL;
}

bool rapt_system_fill(rapt_system_builder *b, const char *what, rapt_system_view line, rapt_system_view any, float value)
{
    any.tensor.rank = 4;
    for (unsigned axis = 0; axis < 4; axis++) {
        any.tensor.size[axis] = 1;
        any.tensor.stride[axis] = 1;
    }
    return rapt_system_map(b, what, line, any, 0, value, RAPT_COMBINE_ACT_NONE);
}

bool rapt_system_lines(rapt_system_builder *b, const char *name, uint64_t count, const uint64_t rows[3], rapt_system_view *lines)
{
    const uint64_t shape[4] = {count, rows[0], rows[1], rows[2]};
    return rapt_system_between(b, name, RAPT_F32, 4, shape, lines);
}

rapt_system_view rapt_system_line(rapt_system_view lines, uint64_t line)
{
    return rapt_system_axes(rapt_system_part(lines, 0, line, 1), (const int[]){1, 2, 3, -1});
}

void rapt_system_linear_give(rapt_system_step *s, rapt_system_view q, rapt_system_view k, rapt_system_view v, rapt_system_view out)
{
    rapt_system_give(&s->linear.q, &s->q, &q);
    rapt_system_give(&s->linear.k, &s->k, &k);
    rapt_system_give(&s->linear.v, &s->v, &v);
    rapt_system_give(&s->linear.out, &s->out, &out);
}

bool rapt_system_identity(rapt_system_builder *b, rapt_system_view one, uint64_t count, rapt_system_view *to)
{
    const uint64_t shape[4] = {1, 1, count, count};
    rapt_system_view scores, ones[2];
    for (unsigned axis = 0; axis < 4; axis++) {
        one.tensor.size[axis] = axis == 2 ? count : 1;
        one.tensor.stride[axis] = axis == 3;
    }
    one.tensor.rank = 4;
    if (!rapt_system_between(b, "triangle", RAPT_F32, 4, shape, &scores) || !rapt_system_between(b, "up to the diagonal", RAPT_F32, 4, shape, &ones[0]) ||
        !rapt_system_between(b, "before the diagonal", RAPT_F32, 4, shape, &ones[1]) || !rapt_system_between(b, "identity", RAPT_F32, 4, shape, to))
        return false;
    for (int n = 0; n < 2; n++) { /* products of which nothing is taken: 0, or -inf where causality hides them */
        rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
        d.q = d.k = one.tensor;
        d.scores = scores.tensor;
        d.block_q = d.block_k = d.top_k = 1;
        d.flags = RAPT_ROUTE_CAUSAL | RAPT_ROUTE_SCALE;
        d.causal_offset = -n;
        rapt_system_step *s = rapt_system_route_step_add(b, n ? "before the diagonal" : "up to the diagonal", &d);
        if (s == NULL)
            return false;
        s->q = s->k = one.at;
        s->scores = scores.at;
        if (!rapt_system_map(b, "as ones", ones[n], scores, 1, 0, RAPT_COMBINE_ACT_EXP))
            return false;
    }
    const rapt_system_term terms[] = {{ones[0], 1, NULL}, {ones[1], -1, NULL}};
    return rapt_system_combine_step_add(b, "the diagonal", *to, terms, 2) != NULL;
}

bool rapt_system_row_products(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view y, rapt_system_view to)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT; /* scores of blocks of one row */
    d.q = x.tensor;
    d.k = y.tensor;
    d.scores = to.tensor;
    d.block_q = d.block_k = d.top_k = 1;
    d.flags = RAPT_ROUTE_SCALE;
    d.scale = 1;
    rapt_system_step *s = rapt_system_route_step_add(b, what, &d);
    if (s == NULL)
        return false;
    s->q = x.at;
    s->k = y.at;
    s->scores = to.at;
    return true;
}
