/* Flowformer: attention as a flow from keys (sources) to queries (sinks) that is conserved on both sides (arXiv:2202.06258). */
#include "system/system.h"

/* Numbers of tokens: capacities I of sinks and O of sources, what they are once the other side is conserved, and weights. */
enum { ONE, PLACE, BY_PLACE, IN, OUT, BY_IN, BY_OUT, FOR_SOURCES, SINK, SOURCE, WEIGHT, TOTAL, BY_TOTAL, BETA, ALLOCATION, LINES };

typedef struct flow {
    rapt_system_view q, k, v, lines, read, out; /* q and k: after the sigmoid. All but out in single precision */
    uint64_t n;
    bool causal;
} flow;

static rapt_system_view line(const flow *f, unsigned which)
{
    return rapt_system_line(f->lines, which);
}

/* to_i = a_i . sum over j of c_j x_j, over all tokens or those up to i. */
static rapt_system_step *sum(rapt_system_builder *b, const char *what, const flow *f, rapt_system_view a, rapt_system_view c,
                             rapt_system_view x, rapt_system_view to)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    d.flags = f->causal ? 0 : RAPT_LINEAR_BIDIRECTIONAL;
    rapt_system_step *s = rapt_system_linear_step_add(b, what, &d);
    if (s != NULL)
        rapt_system_linear_give(s, a, c, x, to);
    return s;
}

/* to_t = from_1 + .. + from_t. */
static bool running_sum(rapt_system_builder *b, const char *what, rapt_system_view from, rapt_system_view to)
{
    const rapt_scan_desc d = {.struct_size = sizeof d, .op = RAPT_SCAN_SUM};
    return rapt_system_scan_step_add(b, what, &d, from, to) != NULL;
}

/* to = 1 / from, times the number of tokens so far in the causal form, which has means for sums. */
static bool reciprocal(rapt_system_builder *b, const char *what, const flow *f, unsigned from, unsigned to)
{
    const rapt_system_term term = {line(f, from), 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, what, line(f, to), &term, 1);
    if (s == NULL)
        return false;
    s->combine.act = RAPT_COMBINE_ACT_RECIPROCAL;
    if (f->causal) {
        const rapt_system_view place = line(f, PLACE);
        rapt_system_give(&s->combine.gate, &s->gate, &place);
        s->combine.gate_kind = RAPT_GATE_PRODUCT;
    }
    return true;
}

static bool take(rapt_system_builder *b, flow *f)
{
    rapt_system_view in[3], single[2];
    int64_t causal = 0;
    if (!rapt_system_in(b, "q", 4, &in[0]) || !rapt_system_in_sized(b, "k", 4, in[0].tensor.size, &in[1]) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){in[0].tensor.size[0], in[0].tensor.size[1], in[0].tensor.size[2], 0}, &in[2]) ||
        !rapt_system_integer(b, "causal", 0, 1, &causal))
        return false;
    const uint64_t *s = in[0].tensor.size, *wide = in[2].tensor.size;
    if (s[0] == 0 || s[1] == 0 || s[2] == 0 || s[3] == 0)
        return rapt_system_refuse(b, "q is empty");
    f->n = s[2];
    f->causal = causal != 0;
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, wide, &f->out) &&
           rapt_system_single(b, "q single", in[0], &single[0]) && rapt_system_single(b, "k single", in[1], &single[1]) &&
           rapt_system_single(b, "v single", in[2], &f->v) && rapt_system_between(b, "phi(q)", RAPT_F32, 4, s, &f->q) &&
           rapt_system_between(b, "phi(k)", RAPT_F32, 4, s, &f->k) && rapt_system_between(b, "read", RAPT_F32, 4, wide, &f->read) &&
           rapt_system_lines(b, "flows", LINES, s, &f->lines) &&
           rapt_system_map(b, "phi(q)", f->q, single[0], 1, 0, RAPT_COMBINE_ACT_SIGMOID) &&
           rapt_system_map(b, "phi(k)", f->k, single[1], 1, 0, RAPT_COMBINE_ACT_SIGMOID) &&
           rapt_system_fill(b, "ones", line(f, ONE), single[0], 1) &&
           (!f->causal || (running_sum(b, "tokens so far", line(f, ONE), line(f, PLACE)) &&
                           rapt_system_map(b, "one over them", line(f, BY_PLACE), line(f, PLACE), 1, 0, RAPT_COMBINE_ACT_RECIPROCAL)));
}

/* I and O, and with each side conserved what the other then has. */
static bool conserve(rapt_system_builder *b, const flow *f)
{
    return sum(b, "incoming flow", f, f->q, f->k, line(f, ONE), line(f, IN)) &&
           sum(b, "outgoing flow", f, f->k, f->q, line(f, ONE), line(f, OUT)) &&
           rapt_system_map(b, "one over incoming", line(f, BY_IN), line(f, IN), 1, 0, RAPT_COMBINE_ACT_RECIPROCAL) &&
           reciprocal(b, "for conserved sinks", f, IN, FOR_SOURCES) && reciprocal(b, "for conserved sources", f, OUT, BY_OUT) &&
           sum(b, "conserved incoming flow", f, f->q, f->k, line(f, BY_OUT), line(f, SINK)) &&
           sum(b, "conserved outgoing flow", f, f->k, f->q, line(f, FOR_SOURCES), line(f, SOURCE));
}

/* Sources compete by a softmax times n; sinks are given a share, over I. */
static bool compete(rapt_system_builder *b, const flow *f)
{
    rapt_system_step *s;
    if (f->causal) {
        if (!rapt_system_weigh(b, "exp(outgoing)", line(f, WEIGHT), line(f, SOURCE), line(f, BY_PLACE), 1, RAPT_COMBINE_ACT_EXP) ||
            !running_sum(b, "their sums", line(f, WEIGHT), line(f, TOTAL)) || !reciprocal(b, "one over the means", f, TOTAL, BY_TOTAL) ||
            !rapt_system_weigh(b, "competition", line(f, BETA), line(f, WEIGHT), line(f, BY_TOTAL), 1, RAPT_COMBINE_ACT_NONE))
            return false;
        const rapt_system_view by_place = rapt_system_weights(line(f, BY_PLACE));
        s = rapt_system_combine_step_add(b, "allocation", line(f, ALLOCATION), &(rapt_system_term){line(f, SINK), 1, &by_place}, 1);
        if (s == NULL)
            return false;
        s->combine.act = RAPT_COMBINE_ACT_SIGMOID;
    } else {
        const rapt_system_view all = rapt_system_part(line(f, TOTAL), 2, f->n - 1, 1), by_all = rapt_system_part(line(f, BY_TOTAL), 2, 0, 1);
        const rapt_system_view share = rapt_system_weights(line(f, SINK));
        if (!rapt_system_map(b, "competition", line(f, BETA), line(f, SOURCE), 1, 0, RAPT_COMBINE_ACT_EXP) ||
            !running_sum(b, "its sum", line(f, BETA), line(f, TOTAL)) ||
            !rapt_system_map(b, "one over it", by_all, all, 1, 0, RAPT_COMBINE_ACT_RECIPROCAL))
            return false;
        s = rapt_system_combine_step_add(b, "allocation", line(f, ALLOCATION), &(rapt_system_term){by_all, (float)f->n, &share}, 1);
        if (s == NULL)
            return false;
        s->combine.weights = RAPT_COMBINE_SIGMOID;
    }
    const rapt_system_view by_in = line(f, BY_IN);
    rapt_system_give(&s->combine.gate, &s->gate, &by_in);
    s->combine.gate_kind = RAPT_GATE_PRODUCT;
    return true;
}

bool rapt_system_flow(rapt_system_builder *b)
{
    flow f;
    if (!take(b, &f) || !conserve(b, &f) || !compete(b, &f))
        return false;
    rapt_system_step *s = sum(b, "competing values, aggregated", &f, f.q, f.k, f.v, f.read);
    if (s == NULL)
        return false;
    const rapt_system_view beta = rapt_system_weights(line(&f, BETA));
    rapt_system_give(&s->linear.beta, &s->beta, &beta);
    return rapt_system_weigh(b, "allocated", f.out, f.read, line(&f, ALLOCATION), 1, RAPT_COMBINE_ACT_NONE);
}
