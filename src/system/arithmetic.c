/* Small sums that recipes are made of (rapt/combine.h), and numbers of rows. */
#include "system/system.h"

bool rapt_system_single(rapt_system_builder *b, const char *name, rapt_system_view x, rapt_system_view *to)
{
    *to = x;
    if (x.tensor.dtype == RAPT_F32)
        return true;
    if (!rapt_system_between(b, name, RAPT_F32, 4, x.tensor.size, to))
        return false;
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT; /* what stands for a block of one row is that row, in single precision */
    d.k = x.tensor;
    d.summary = to->tensor;
    d.block_q = d.block_k = d.top_k = 1;
    rapt_system_step *s = rapt_system_route_step_add(b, "in single precision", &d);
    if (s == NULL)
        return false;
    s->k = x.at;
    s->summary = to->at;
    return true;
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
